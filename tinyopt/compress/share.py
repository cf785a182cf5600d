"""Weight sharing: all weights of a layer take one of K values, which are found by k-means and then trained.

Start with `lloyd_step`, then `kmeans`, which repeats it, both on arrays; `share` puts codebooks into a model as
views (`nn/views.py`). Training then moves the K centroids, each by the summed gradient of its members (`ops.lookup`).
"""

import numpy as np

from tinyopt import backend
from tinyopt.compress.layers import by_layer, chosen_weights
from tinyopt.nn import Codebook, Mask, Quantize


def lloyd_step(x, centroids):
    """Move each centroid to the mean of the numbers that are nearest to it: one step of k-means.

        label[i] = the j with the smallest |x[i] − c[j]|        c[j] ← mean of the x[i] labelled j

    On a line the nearest centroid changes only at the midpoints between neighbours. So in sorted numbers each
    cluster is one piece, and K − 1 searches find where the pieces begin. A number half way goes up.

    Shapes: x (n,) and centroids (K,), both ascending -> new centroids (K',), ascending, and the number of
            members of each (K',); K' < K if nothing is nearest to some: an empty cluster is dropped.
    Source: Lloyd (1982), "Least squares quantization in PCM", IEEE Trans. Information Theory 28(2).
    """
    midpoints = (centroids[1:] + centroids[:-1]) / 2
    begins = np.concatenate([[0], np.searchsorted(x, midpoints)])  # (K,)
    counts = np.diff(begins, append=x.size)
    filled = counts > 0
    return np.add.reduceat(x, begins[filled]) / counts[filled], counts[filled]


def kmeans(values, k, *, start="linear", max_steps=100, rng=None):
    """Group numbers into k clusters so that the squared distances to the centroids are small.

        minimise  Σ (x[i] − c[label[i]])²        by `lloyd_step`, until no number changes its cluster

    No step makes the sum larger. It ends in a minimum that depends on the start, not always in the best one.

    Shapes: values (n,) -> centroids (K,) in ascending order, labels (n,); K ≤ k, since clusters that
            hold nothing are dropped, and there are no more clusters than distinct values.
    Start:  "linear": evenly from the smallest to the largest value; "density": at even quantiles;
            "random": distinct values drawn with `rng`.
    Raises: ValueError for k < 1, no values, or values that are not finite.
    Source: Lloyd (1982), "Least squares quantization in PCM", IEEE Trans. Information Theory 28(2);
            Han, Mao & Dally (2016), "Deep Compression", arXiv:1510.00149, Section 3 (the starts).
    """
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        raise ValueError(f"kmeans needs a row of finite numbers, at least one; got shape {values.shape}")
    if not isinstance(k, (int, np.integer)) or k < 1:
        raise ValueError(f"k is the number of clusters, an integer of 1 or more; got {k!r}")
    x = np.sort(values).astype(np.float64)
    centroids, counts = _start(x, min(k, len(np.unique(x))), start, rng), None
    for _ in range(max_steps):
        before = counts
        centroids, counts = lloyd_step(x, centroids)
        if np.array_equal(counts, before):
            break
    smallest = x[np.cumsum(counts)[:-1]]  # the first member of each cluster but the first
    labels = np.searchsorted(smallest, values, side="right")
    return centroids.astype(values.dtype), labels


def _start(x, k, start, rng):
    """The first k centroids, ascending, from values that are sorted."""
    if start == "linear":
        return np.linspace(x[0], x[-1], k)
    if start == "density":
        return np.unique(np.quantile(x, (np.arange(k) + 0.5) / k))
    if start == "random":
        return np.sort(backend.generator(rng).choice(np.unique(x), k, replace=False))
    raise ValueError(f"start is 'linear', 'density' or 'random'; got {start!r}")


def share(model, n_values=16, *, start="linear", skip=(), rng=None):
    """Give each weight matrix of a model a codebook of at most `n_values` values, in place.

    Pruned weights need no value: only survivors are clustered.

    Units:  n_values: an integer, or {layer: integer}; 16 values are 4 bits a label. Returns {name: squared error}.
    Raises: ValueError if n_values is below 1 or names an unknown layer, or for weights that are quantized, NaN
            or infinite; the model is then as it was.
    Source: Han, Mao & Dally (2016), "Deep Compression", arXiv:1510.00149, Section 3.
    """
    weights = chosen_weights(model, skip)
    found, errors = {}, {}
    for name, k in by_layer(weights, n_values).items():
        parameter = weights[name]
        if any(view.level == Quantize.level for view in parameter.views):
            raise ValueError(f"a weight is stored in one way; {name} is rounded already: bake() it first")
        before, mask = backend.to_host(parameter.read().data), parameter.view(Mask)
        keep = np.ones(before.shape, bool) if mask is None else backend.to_host(mask.keep)
        if not keep.any():
            continue  # the whole layer is pruned: there is nothing to share
        centroids, labels = kmeans(before[keep], k, start=start, rng=rng)
        whole = np.zeros(before.shape, np.min_scalar_type(len(centroids) - 1))
        whole[keep] = labels
        found[name] = centroids, whole
        errors[name] = float(((centroids[labels] - before[keep]) ** 2).sum())
    for name, (centroids, labels) in found.items():
        device = weights[name].device
        weights[name].data = backend.to_device(centroids, device)
        weights[name].attach(Codebook(backend.to_device(labels, device)))
    return errors

r"""Weight sharing: all weights of a layer take one of K values, which are found by k-means and then trained.

Start with these three: `lloyd_step`; `kmeans`, which repeats it, both on arrays; and `share`, which puts codebooks into
a model as views (`nn/views.py`). Training then moves the K values, each by the summed gradient of its members.

The idea once, as mathematics. n weights θ read K shared values c through an assignment matrix A, which is never trained:

    θ = A c                  A (n, K), one number that is not 0 in each row: which value this weight reads
    ∂L/∂c = Aᵀ g             g = ∂L/∂θ (n,): a value is used many times, and the chain rule adds over all uses
    c = (Aᵀ A)⁻¹ Aᵀ θ        the values nearest to given weights: AᵀA is diagonal and counts members, so these are means

The starting values are means. The gradient is a sum: the mean of the members' gradients, (AᵀA)⁻¹ Aᵀ g, is no derivative
of the loss. A value with m members then moves m times less; clusters are unequal, so no one learning rate makes up for
it (`tests/benchmarks/weight_sharing.py` trains with both). Three choices of A:

    k-means codebooks   this file      A[i, k] = 1 where c[k] is nearest to the trained weight; labels are stored
    hashing             hashed.py      A[i, k] = ±1 where k = hash(i) mod K; nothing is stored, nothing fits at first
    tying               tied.py        A = identity matrices, one below the other; a whole layer is used again
"""

import numpy as np

from tinyopt import backend
from tinyopt.compress.kmeans_starts import START
from tinyopt.compress.layers import by_layer, chosen_weights
from tinyopt.nn import Codebook, Mask
from tinyopt.nn.grouped import GroupedCodebook, bands


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


def kmeans(values, k, *, start="linear", empty="drop", max_steps=100, rng=None):
    """Group numbers into k clusters so that the squared distances to the centroids are small.

        minimise  Σ (x[i] − c[label[i]])²        by `lloyd_step`, until no number changes its cluster

    No step makes the sum larger. It ends in a minimum that depends on the start, not always in the best one.

    Shapes: values (n,) -> centroids (K,) in ascending order, labels (n,); K ≤ k, since clusters that
            hold nothing may be dropped, and there are no more clusters than distinct values.
    Start:  one of `kmeans_starts.START`: "linear", evenly from the smallest to the largest value; "density", at even
            quantiles; "random", distinct values drawn with `rng`; "k-means++", values drawn far from each other. Or
            a function (x, k, rng) -> centroids, such as these are; x are the values, sorted.
    Raises: ValueError for k < 1, no values, or values that are not finite; another start, or another `empty`.
    Source: Lloyd (1982), "Least squares quantization in PCM", IEEE Trans. Information Theory 28(2);
            Han, Mao & Dally (2016), "Deep Compression", arXiv:1510.00149, Section 3 (the starts).

    empty="drop" forgets a cluster that no number is nearest to; "refill" moves it to the number that is farthest
    from its own centroid, so that no label is wasted (`lloyd`).
    """
    check_values(values, k)
    if not callable(start) and start not in [*START]:
        *names, last = map(repr, START)
        raise ValueError(f"start is {', '.join(names)} or {last}, or a function (x, k, rng); got {start!r}")
    x = np.sort(values).astype(np.float64)
    first = (start if callable(start) else START[start])(x, min(int(k), len(np.unique(x))), rng)
    return lloyd(values, first, empty=empty, max_steps=max_steps)[:2]


def lloyd(values, centroids, *, empty="refill", max_steps=100):
    """Steps of k-means from these centroids on, until no number changes its cluster.

        (c, members) ← lloyd_step(x, c)        for each centroid that lost all members: the number farthest from its own

    An empty cluster is a label that stands for nothing. Moved to the number with the largest error, it takes
    that error away, so the sum still never grows.

    Shapes: values (n,), centroids (K,) -> centroids (K',) ascending, labels (n,), the number of steps; K' < K only
            if there are no more distinct values, or steps, or with empty="drop".
    Raises: ValueError as `kmeans`.
    Source: Lloyd (1982), "Least squares quantization in PCM", IEEE Trans. Information Theory 28(2).
    """
    check_values(values, len(centroids))
    if np.ndim(centroids) != 1 or not np.isfinite(centroids).all():
        raise ValueError(f"the first centroids are a row of finite numbers; got {np.array2string(np.asarray(centroids))}")
    if empty not in ("drop", "refill"):
        raise ValueError(f"empty is 'drop' or 'refill': what becomes of a cluster without members; got {empty!r}")
    if not isinstance(max_steps, (int, np.integer)) or max_steps < 1:
        raise ValueError(f"max_steps is an integer of 1 or more; got {max_steps!r}")
    x, centroids = np.sort(values).astype(np.float64), np.unique(centroids).astype(np.float64)
    k = min(len(centroids), len(np.unique(x))) if empty == "refill" else 0
    steps, before = 0, None
    while steps < max_steps:
        steps += 1
        centroids, counts = lloyd_step(x, centroids)
        if len(counts) >= k and np.array_equal(counts, before):
            break
        before = counts
        if len(counts) < k and steps < max_steps:
            centroids = np.unique(np.concatenate([centroids, _farthest(x, centroids, counts, k - len(counts))]))
    edges = x[np.cumsum(counts)[:-1]]  # the first member of each cluster but the first
    return centroids.astype(values.dtype), np.searchsorted(edges, values, side="right"), steps


def _farthest(x, centroids, counts, n):
    """Of as many clusters as possible, those with the largest such error, the member farthest from the centroid."""
    distance = abs(x - np.repeat(centroids, counts))
    order = np.lexsort((-distance, np.repeat(np.arange(len(counts)), counts)))  # each cluster's farthest comes first
    farthest = order[np.cumsum(counts) - counts]
    return x[farthest[np.argsort(-distance[farthest], kind="stable")[:n]]]


def check_values(values, k):
    """Raise a ValueError unless these numbers can be put into k clusters."""
    if not isinstance(values, np.ndarray) or values.dtype.kind != "f":
        came = getattr(values, "dtype", type(values).__name__)
        raise ValueError(f"k-means works on an array of floats; got {came}. Write np.array(values, float)")
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        raise ValueError(f"k-means needs a row of finite numbers, at least one; got shape {values.shape}")
    if not isinstance(k, (int, np.integer)) or isinstance(k, bool) or k < 1:
        raise ValueError(f"k is the number of clusters, an integer of 1 or more; got {k!r}")


def share(model, n_values=16, *, start="linear", groups=1, empty="drop", skip=(), rng=None):
    """Give each weight matrix of a model a codebook of at most `n_values` values, in place.

    Pruned weights need no value: only survivors are clustered, and what is zero stays so, whatever training does.

    Units:  n_values: an integer, or {layer: integer}; 16 values are 4 bits a label. groups, too: so many codebooks for
            each weight matrix, one for each band of neighbouring rows (output channels), of n_values each. Returns
            {name: squared error}.
    Start:  `start` and `empty` as in `kmeans`.
    Raises: ValueError if n_values is below 1 or above the number of distinct weights there are to share it, or names
            an unknown layer; for groups below 1 or above the number of rows; for weights that are stored in another way
            already, NaN or infinite; the model is then as it was.
    Source: Han, Mao & Dally (2016), "Deep Compression", arXiv:1510.00149, Section 3.
    """
    weights = chosen_weights(model, skip)
    n_groups, found, errors = by_layer(weights, groups), {}, {}
    for name, k in by_layer(weights, n_values).items():
        parameter = weights[name]
        other = [type(v).__name__ for v in parameter.views if type(v) not in (Codebook, GroupedCodebook, Mask)]
        if other:
            raise ValueError(f"a weight is stored in one way; {name} is read through a {other[0]}: bake() it first")
        before, mask = backend.to_host(parameter.read().data), parameter.view(Mask)
        keep = np.ones(before.shape, bool) if mask is None else backend.to_host(mask.keep)
        if not keep.any():
            continue  # the whole layer is pruned: there is nothing to share
        settings = {"start": start, "empty": empty, "rng": rng}
        centroids, labels = _by_band(name, before, keep, k, n_groups.get(name, 1), settings)
        found[name] = centroids, labels, n_groups.get(name, 1)
        errors[name] = float(((centroids[labels] - before)[keep] ** 2).sum())
    for name, (centroids, labels, g) in found.items():
        parameter, labels = weights[name], backend.to_device(labels, weights[name].device)
        parameter.views = [view for view in parameter.views if isinstance(view, Mask)]
        parameter.data = backend.to_device(centroids, parameter.device)
        parameter.attach(Codebook(labels) if g == 1 else GroupedCodebook(labels, g))
    return errors


def _by_band(name, weight, keep, k, groups, settings):
    """Cluster each band of rows: all codebooks in a row (G · K,), and the labels, band · K + j."""
    band, books = bands(len(weight), groups), []
    labels = np.zeros(weight.shape, np.int64)
    for g in range(groups):
        here = keep & (band == g).reshape(-1, *[1] * (weight.ndim - 1))
        values = weight[here] if here.any() else np.zeros(1, weight.dtype)  # a band that is pruned reads nothing
        _check_enough(name, values, k if here.any() else 1)
        book, labels[here] = kmeans(values, k, **settings) if here.any() else (values, 0)
        books.append(book)
    n = max(map(len, books))
    books = [np.pad(book, (0, n - len(book)), mode="edge") for book in books]  # all of one size, some values unused
    labels += (band * n).reshape(-1, *[1] * (weight.ndim - 1))
    return np.concatenate(books), labels.astype(np.min_scalar_type(n * groups - 1))


def _check_enough(name, values, k):
    """Raise a ValueError for weights that are not finite, or fewer than the centroids that are to stand for them."""
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite; some of it is NaN or infinite. Did training diverge?")
    check_values(values, k)
    distinct = len(np.unique(values))
    if k > distinct:
        raise ValueError(
            f"more values than weights to share them: n_values is {k}, and {name} has {distinct} distinct ones (pruned ones "
            "do not count, and each group stands alone). Give {layer: number}, or leave the layer out with skip"
        )

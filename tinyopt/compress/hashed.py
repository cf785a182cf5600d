"""HashedNets: a layer's weights share K values, and a hash of each weight's position says which one it reads.

Start with these three: `shared_means`, on arrays; `nn.hashed.Hashed`, the view; `hash_weights`, which puts such views
into a model, to be trained.

    hash_weights(model, 1 / 8)

Weights share at random. So a trained network that is hashed has lost most of what it knew: HashedNets are trained
from the start. The paper finds them more accurate than smaller dense networks with as many numbers.
"""

import numpy as np

from tinyopt import backend
from tinyopt.compress.layers import by_layer, chosen_weights
from tinyopt.nn import Mask
from tinyopt.nn.hashed import Hashed, hashed_labels, hashed_signs


def shared_means(weight, n_values, seed, *, signed=True, keep=None):
    """The K values with which a hashed weight comes nearest to this one.

        minimise ‖θ − A c‖²        A[i, label[i]] = ξ[i]        c = (Aᵀ A)⁻¹ Aᵀ θ

    Each row of A has one number, 1 or −1. So Aᵀ A is diagonal and counts the members of each value, and c[k] is the
    mean of ξ[i] · θ[i] over them.

    Shapes: weight (...), keep Booleans alike, or None for all -> c (n_values,); 0 where no weight reads it.
    Source: Chen, Wilson, Tyree, Weinberger & Chen (2015), "Compressing Neural Networks with the Hashing Trick",
            arXiv:1504.04788, Section 4 (the labels); the projection is linear least squares.
    """
    kept = np.ones_like(weight, dtype=bool) if keep is None else keep
    labels = hashed_labels(weight, weight.shape, n_values, seed).reshape(-1)
    signs = hashed_signs(weight, weight.shape, seed) if signed else 1
    sums = np.bincount(labels, weights=(weight * signs * kept).reshape(-1), minlength=n_values)
    counts = np.bincount(labels, weights=kept.reshape(-1).astype(weight.dtype), minlength=n_values)
    return (sums / np.maximum(counts, 1)).astype(weight.dtype)


def hash_weights(model, n_values=1 / 8, *, start="draw", signed=True, seed=0, skip=(), rng=None):
    """Let the weights of each layer share n_values numbers by a hash, in place. Train the model then.

    Masks stay. The file keeps the numbers and a seed (`storage/hashed.py`); arithmetic costs as before.

    Units:  n_values: an integer, or a fraction of the layer's weights in (0, 1), rounded up; or {layer: either}.
            Returns {name: number of values}. Layer after layer takes the seed `seed`, `seed` + 1, ...
    Start:  "draw": n_values of the layer's own weights, drawn with `rng`: they have the variance with which the layer
            began, as training needs. "means": `shared_means`, the nearest to the weights there are; but a mean of m
            independent weights has only 1/m of their variance.
    Raises: ValueError for n_values below 1 or above the number of weights, a name that is unknown, weights
            that are not finite, or stored in another way already; the model is then as it was.
    Source: Chen, Wilson, Tyree, Weinberger & Chen (2015), "Compressing Neural Networks with the Hashing Trick",
            arXiv:1504.04788, Section 4.
    """
    if start not in ("draw", "means"):
        raise ValueError(f"start is 'draw' or 'means'; got {start!r}")
    weights, rng, found = chosen_weights(model, skip), backend.generator(rng), {}
    for place, (name, wanted) in enumerate(by_layer(weights, n_values).items()):
        parameter = weights[name]
        view, k = Hashed(parameter.shape, seed + place, signed), _count(name, parameter, wanted)
        view.check(_row_like(parameter), parameter.views)
        mask = parameter.view(Mask)
        weight = backend.to_host(parameter.read().data)
        keep = np.ones(weight.shape, bool) if mask is None else backend.to_host(mask.keep)
        if not np.isfinite(weight).all():
            raise ValueError(f"{name} must be finite; some of it is NaN or infinite. Did training diverge?")
        if start == "means":
            values = shared_means(weight, k, view.seed, signed=signed, keep=keep)
        else:
            values = rng.choice(weight[keep] if keep.any() else weight.reshape(-1), k)
        found[name] = values, view
    for name, (values, view) in found.items():
        weights[name].data = backend.to_device(values, weights[name].device)
        weights[name].attach(view)
    return {name: len(values) for name, (values, _) in found.items()}


def _row_like(parameter):
    """A parameter as it will be: data in a row, so that the view can be checked before anything changes."""
    return type(parameter)(parameter.data.reshape(-1))


def _count(name, parameter, wanted):
    """The number of shared values that was asked for."""
    whole = isinstance(wanted, (int, np.integer)) and not isinstance(wanted, bool)
    share = isinstance(wanted, float) and 0 < wanted < 1
    k = int(np.ceil(wanted * parameter.size)) if share else wanted
    if not (whole or share) or not 1 <= k <= parameter.size:
        raise ValueError(
            f"n_values is a number of shared values, 1 to {parameter.size} for {name}, or a fraction of them in (0, 1); "
            f"got {wanted!r}"
        )
    return int(k)

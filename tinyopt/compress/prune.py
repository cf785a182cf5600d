"""Pruning: remove the weights that matter least, and keep them removed.

Start with `magnitude_mask`, which works on one array, then `prune`, a short loop over a model. A mask is a
view of the parameter (`nn/views.py`): layers read the weight through it, so no optimizer, momentum or
weight decay can bring a pruned weight back. `top_mask` ranks by any other scores (`importance/`).
`schedules.PruneAt` prunes during training, on the schedule of `cubic_sparsity` or another.
"""

import warnings

import numpy as np

from tinyopt import backend
from tinyopt.compress.layers import by_layer, chosen_weights
from tinyopt.errors import ShapeError
from tinyopt.nn import Mask


def magnitude_mask(weight, *, sparsity):
    """Choose which weights to keep: the largest in magnitude.

    Shapes: weight, an array of any shape -> mask, same shape; True keeps.
    Units:  `sparsity` is the fraction *removed*: 0.9 leaves one weight in ten.
    Raises: ValueError if sparsity lies outside [0, 1), or if a weight is not finite.
    Source: Han, Pool, Tran & Dally (2015), "Learning both Weights and Connections
            for Efficient Neural Networks", arXiv:1506.02626, Sections 3–4.
    Differs: they cut at a multiple of the layer's standard deviation; we cut an exact
            count, as Zhu & Gupta (2017), arXiv:1710.01878. Ties go by memory order.
    """
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity is removed/all, in [0, 1): 90 % is 0.9; got {sparsity}")
    if not np.isfinite(weight).all():
        raise ValueError("magnitude_mask needs finite weights; some are NaN or infinite. Did training diverge?")
    n_removed = int(sparsity * weight.size)  # rounded down: something is always left
    smallest_first = np.argsort(abs(weight), axis=None, kind="stable")
    mask = np.ones_like(weight, shape=weight.size, dtype=bool)
    mask[smallest_first[:n_removed]] = False
    return mask.reshape(weight.shape)


def top_mask(scores, sparsity):
    """Choose which weights to keep: those with the highest scores.

        keep = all but the ⌊sparsity · size⌋ lowest        ties go by memory order: the first is removed first

    On the scores |w| it is `magnitude_mask`. A score of −∞ goes before all others, one of +∞ goes last.

    Shapes: scores, an array of any shape, higher = keep -> mask, same shape; True keeps.
    Units:  `sparsity` is the fraction *removed*, in [0, 1).
    Raises: ValueError for another sparsity, or a score that is NaN.
    """
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity is removed/all, in [0, 1): 90 % is 0.9; got {sparsity}")
    if np.isnan(scores).any():
        raise ValueError("NaN is neither high nor low, so scores with NaN cannot be ranked. Did training diverge?")
    lowest_first = np.argsort(scores, axis=None, kind="stable")
    mask = np.ones_like(scores, shape=scores.size, dtype=bool)
    mask[lowest_first[: int(sparsity * scores.size)]] = False
    return mask.reshape(scores.shape)


def prune(model, sparsity, *, scope="global", skip=(), scores=None):
    """Mask the smallest weights of a model, in place; biases and norms stay dense.

    scope="global" ranks all weights together, so each layer keeps what it needs; "layer" removes the
    same share of each. A dictionary {layer: sparsity} sets the share of those layers, and leaves the others
    as they are. `scores` ranks by something else than magnitude: {layer or parameter: scores, higher = keep},
    where layers without scores stay as they are, or the name of a criterion that needs no data ("random").
    With them, a weight that is pruned already counts as the lowest. A ranking of all weights together may leave
    nothing of a layer; that is done, and warned of.

    Units:  sparsity, fraction removed, in [0, 1); returns {parameter name: mask}.
    Raises: ValueError for a sparsity outside [0, 1), an unknown scope or layer, weights that are NaN or
            infinite, scores that are NaN, or a model with nothing to prune; ShapeError for scores of another
            shape than their weight; the model is then as it was.
    Source: Han et al. (2015), arXiv:1506.02626 (by layer).
    """
    weights = chosen_weights(model, skip)
    if scores is None:
        values, choose = {name: parameter.read().data for name, parameter in weights.items()}, magnitude_mask
    else:
        values, choose = _ranked(model, weights, scores, skip), top_mask
    if isinstance(sparsity, dict) or scope == "layer":
        shares = by_layer({name: weights[name] for name in values}, sparsity)
        masks = {name: choose(values[name], sparsity=share) for name, share in shares.items()}
    elif scope == "global":
        flat = np.concatenate([value.reshape(-1) for value in values.values()])
        masks = _split(choose(flat, sparsity=sparsity), values)
    else:
        raise ValueError(f"scope is 'global' or 'layer'; got {scope!r}")
    for name, mask in masks.items():
        if not mask.any():
            warnings.warn(f"nothing is left of {name}: no signal passes. Protect it by skip, or use scope='layer'",
                          stacklevel=2)  # fmt: skip
        weights[name].prune(mask)
    return masks


def cubic_sparsity(step, begin, end, initial, final):
    """How much is pruned away at a step of training: much early, while weights are plenty, little at the end.

        s(t) = s_f + (s_i − s_f) · (1 − (t − t₀) / (t₁ − t₀))³        s_i before t₀ = begin, s_f after t₁ = end

    Units:  step, begin and end count steps of the optimizer; initial and final are fractions *removed*.
    Raises: ValueError unless begin < end.
    Source: Zhu & Gupta (2017), "To prune, or not to prune: exploring the efficacy of pruning for model
            compression", arXiv:1710.01878 (their n·Δt is end − begin).
    """
    if not begin < end:
        raise ValueError(f"a schedule runs from `begin` to a later `end`; got begin={begin}, end={end}")
    progress = min(max((step - begin) / (end - begin), 0), 1)
    return final + (initial - final) * (1 - progress) ** 3


def _ranked(model, weights, scores, skip):
    """The scores of each weight, on its device; of those that are masked already, −∞."""
    if not isinstance(scores, dict):
        from tinyopt.compress import importance  # which itself builds on this file

        scores = importance.score(model, scores, skip=skip)
    ranked = {}
    given = by_layer(chosen_weights(model), scores)  # those of skipped layers are not looked at
    for name, array in ((name, array) for name, array in given.items() if name in weights):
        parameter, array = weights[name], array if backend.is_array(array) else np.array(array)
        if array.shape != parameter.shape:
            raise ShapeError(f"{name} needs a score for each weight, of shape {parameter.shape}; got {array.shape}")
        array, mask = backend.to_device(array, parameter.device), parameter.view(Mask)
        ranked[name] = array if mask is None else np.where(mask.keep, array, -np.inf)
    if not ranked:
        raise ValueError(f"these scores rank no weight: give scores for some of {', '.join(weights)}")
    return ranked


def _split(flat, values):
    """Cut one long array back into pieces of the shapes of `values`."""
    pieces, start = {}, 0
    for name, value in values.items():
        pieces[name] = flat[start : start + value.size].reshape(value.shape)
        start += value.size
    return pieces

"""Patterns: masks whose zeros lie where hardware and sparse formats can use them.

Start with these three: `n_m_mask` keeps n of every m neighbours, `block_mask` keeps whole blocks; both work on an
array of scores. `put_masks` puts masks into a model, by name. `prune_n_m` and `prune_blocks` are loops around them.
"""

import numpy as np

from tinyopt import backend
from tinyopt.compress.layers import by_layer, chosen_weights
from tinyopt.compress.prune import top_mask
from tinyopt.errors import DtypeError, ShapeError
from tinyopt.nn import Mask


def n_m_mask(scores, n=2, m=4):
    """Of every m neighbours along the inputs, keep the n with the highest scores.

    A product then has the same number of terms for each output, and a position takes log₂ m bits: with 2:4,
    NVIDIA's sparse tensor cores do half the products.

    Shapes: scores (O, I, ...), such as |weight|; groups lie along axis 1, the inputs or input channels
            -> mask, same shape; True keeps. I must be a multiple of m.
    Units:  0 < n < m, counts; 1 − n/m of the weights are removed, of every group. Ties go by memory order.
    Raises: ValueError for other n and m, or scores that are NaN; ShapeError if groups do not fit.
    Source: Mishra et al. (2021), "Accelerating Sparse Deep Neural Networks", arXiv:2104.08378 (2:4).
    """
    if not 0 < n < m:
        raise ValueError(f"n of every m weights are kept, 0 < n < m, such as 2 of 4; got n={n}, m={m}")
    if np.isnan(scores).any():
        raise ValueError("NaN is neither high nor low, so scores with NaN cannot be ranked. Did training diverge?")
    if scores.ndim < 2 or scores.shape[1] % m:
        raise ShapeError(
            f"groups of {m} lie along the inputs, axis 1, whose length must be a multiple of {m}; got scores of shape "
            f"{scores.shape}. Leave such a layer out: skip=(name,)"
        )
    last = np.moveaxis(scores, 1, -1)  # (O, ..., I)
    groups = last.reshape(-1, m)
    mask = np.ones_like(groups, dtype=bool)
    lowest_first = np.argsort(groups, axis=1, kind="stable")
    np.put_along_axis(mask, lowest_first[:, : m - n], False, axis=1)
    return np.moveaxis(mask.reshape(last.shape), -1, 1).copy(order="C")


def block_mask(scores, block, *, sparsity):
    """Keep or remove whole blocks of weights: those with the lowest mean score go, an exact count.

        score of a block = mean of its scores        removed blocks = ⌊sparsity · number of blocks⌋

    A block has one position for all its weights, and its product is a small dense one. Where `block` does not
    divide an axis, the last blocks there are smaller; the mean treats them alike.

    Shapes: scores (O, I, ...), such as |weight|; block, a length for each of the first axes: (4, 4) on a
            filter (O, I, kh, kw) takes whole kernels, 4 × 4 × kh × kw -> mask, same shape; True keeps.
    Units:  sparsity, fraction of blocks *removed*, in [0, 1). Ties go by memory order of the blocks.
    Raises: ValueError for another sparsity or block, or scores that are NaN.
    Source: Narang, Undersander & Diamos (2017), "Block-Sparse Recurrent Neural Networks", arXiv:1711.02782.
    Differs: they take the largest magnitude of a block; we its mean.
    """
    whole = all(isinstance(side, (int, np.integer)) and side > 0 for side in block)
    if not whole or not 1 <= len(block) <= scores.ndim:
        raise ValueError(f"block has a length of 1 or more for each axis, {scores.ndim} at most; got {block}")
    sides = (*block, *scores.shape[len(block) :])
    means = scores
    for axis, side in enumerate(sides):  # the mean of means is the mean: blocks are rectangles
        starts = range(0, scores.shape[axis], side)
        means = np.stack([means[_along(axis, start, side)].mean(axis=axis) for start in starts], axis=axis)
    mask = top_mask(means, sparsity)
    for axis, side in enumerate(sides):
        mask = np.repeat(mask, side, axis=axis)[_along(axis, 0, scores.shape[axis])]
    return mask.copy(order="C")


def put_masks(model, masks):
    """Mask the parameters of a model by name, in place: all of them, or none if one does not fit.

    Shapes: masks, {parameter name: Booleans of its shape}, as `prune` returns them.
    Raises: ValueError for a mask whose parameter is not there (was its layer removed?), or that keeps nothing;
            ShapeError for another shape; DtypeError for what is not Boolean.
    """
    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        if name not in parameters:
            raise ValueError(
                f"a mask for {name}, which this model does not have: was its layer removed or replaced? "
                f"It has {', '.join(parameters)}"
            )
        if mask.shape != parameters[name].shape:
            raise ShapeError(f"a mask for {name} needs its shape, {parameters[name].shape}; got {mask.shape}")
        if mask.dtype != bool:
            raise DtypeError(f"a mask holds Booleans, True keeps; that of {name} holds {mask.dtype}")
        if not bool(mask.any()):
            raise ValueError(f"a mask that keeps nothing would empty {name}: leave it a weight, or remove the layer")
    for name, mask in masks.items():
        parameters[name].prune(backend.to_device(mask, parameters[name].device))
    return masks


def prune_n_m(model, n=2, m=4, *, skip=(), scores=None):
    """Give every weight of a model an n:m mask, in place; see `n_m_mask`. Returns {parameter name: mask}.

    A weight that is pruned already counts as the lowest, and stays pruned.

    Shapes: scores, {parameter name: array of its shape, higher = keep}; |weight| unless given.
    Raises: as `n_m_mask`, with the name of the layer; the model is then as it was.
    """
    weights = chosen_weights(model, skip)
    masks = {}
    for name, array in _scores_of(weights, scores).items():
        keep = kept(weights[name])
        masks[name] = keep & _named(name, n_m_mask, np.where(keep, array, -np.inf), n, m)
    return put_masks(model, masks)


def prune_blocks(model, block, sparsity, *, skip=(), scores=None):
    """Mask the weakest blocks of every weight, in place; see `block_mask`. Returns {parameter name: mask}.

    A weight that is pruned already stays pruned.

    Shapes: scores, {parameter name: array of its shape, higher = keep}; |weight| unless given.
    Units:  sparsity, fraction of each layer's blocks removed, in [0, 1), or {layer: fraction}.
    Raises: as `block_mask`, with the name of the layer; the model is then as it was.
    """
    weights = chosen_weights(model, skip)
    scores, masks = _scores_of(weights, scores), {}
    for name, share in by_layer(weights, sparsity).items():
        masks[name] = kept(weights[name]) & _named(name, block_mask, scores[name], block, sparsity=share)
    return put_masks(model, masks)


def _scores_of(weights, scores):
    """A score for each of these weights, on its device: |weight|, unless `scores` has others, which must fit."""
    if scores is None:
        return {name: abs(parameter.read().data) for name, parameter in weights.items()}
    for name, parameter in weights.items():
        if name not in scores:
            raise ValueError(f"no scores for {name}; there are some for {', '.join(scores) or 'nothing'}")
        if scores[name].shape != parameter.shape:
            raise ShapeError(f"scores for {name} need its shape, {parameter.shape}; got {scores[name].shape}")
    return {name: backend.to_device(scores[name], parameter.device) for name, parameter in weights.items()}


def kept(parameter):
    """What a parameter's mask keeps; all, where it has none."""
    mask, weight = parameter.view(Mask), parameter.read().data
    return np.ones_like(weight, dtype=bool) if mask is None else mask.keep


def _along(axis, start, length):
    """The index of a stretch of one axis."""
    return (slice(None),) * axis + (slice(start, start + length),)


def _named(name, function, *arguments, **settings):
    """Call a function on the array of one layer; a complaint says which."""
    try:
        return function(*arguments, **settings)
    except (ValueError, ShapeError) as problem:
        raise type(problem)(f"{name}: {problem}") from None

"""Ops that move numbers and compute none. Start with `reshape`, `broadcast_to` and `getitem`.

The pullback of "read from there" is "add to there": a number read twice gets both gradients.
"""

import numpy as np

from tinyopt import backend
from tinyopt.errors import DeviceError
from tinyopt.ops.rule import op
from tinyopt.tensor import Tensor


@op
def reshape(x, *, shape):
    """The same numbers in another shape; one entry may be −1.        ∂L/∂x = g, in x's shape"""
    return x.reshape(shape), (lambda g: g.reshape(x.shape),)


@op
def transpose(x, *, axes=None):
    """Permute the axes; None reverses them.        ∂L/∂x = g, permuted back"""
    y = x.transpose(axes)

    def grad_x(g):
        return g.transpose(None if axes is None else sorted(range(x.ndim), key=lambda i: axes[i] % x.ndim))

    return y, (grad_x,)


@op
def broadcast_to(x, *, shape):
    """Repeat x to a larger shape, by NumPy's rules.        ∂L/∂x = g, which the engine sums back"""
    return np.broadcast_to(x, shape), (lambda g: g,)


@op
def expand(x, *, shape):
    """PyTorch's name for `broadcast_to`, where −1 keeps the length of an axis."""
    shape = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    own = (1,) * (len(shape) - x.ndim) + x.shape
    return np.broadcast_to(x, tuple(n if s == -1 else s for s, n in zip(shape, own))), (lambda g: g,)


@op
def squeeze(x, *, axis=None):
    """Drop axes of length 1: all, or those named.        ∂L/∂x = g, in x's shape"""
    return x.squeeze(axis=axis), (lambda g: g.reshape(x.shape),)


@op
def expand_dims(x, *, axis):
    """Insert an axis of length 1, or several: the opposite of `squeeze`.        ∂L/∂x = g, in x's shape"""
    return np.expand_dims(x, axis), (lambda g: g.reshape(x.shape),)


@op
def concatenate(*arrays, axis=0):
    """Join arrays along an axis that exists: `concatenate([a, b], axis=0)`.

        ∂L/∂a = the part of g that a became

    Shapes: (..., n_i, ...) each -> (..., Σ n_i, ...).
    """
    y = np.concatenate(arrays, axis=axis)
    pullbacks, start = [], 0
    for array in arrays:
        stop = start + array.shape[axis]
        part = (slice(None),) * (axis % y.ndim) + (slice(start, stop),)
        pullbacks.append(lambda g, part=part: g[part])
        start = stop
    return y, tuple(pullbacks)


@op
def stack(*arrays, axis=0):
    """Join arrays of one shape along a new axis: `stack([a, b], axis=0)`.

    Shapes: n arrays (...) -> (..., n, ...).
    """
    y = np.stack(arrays, axis=axis)
    before = (slice(None),) * (axis % y.ndim)
    return y, tuple(lambda g, i=i: g[before + (i,)] for i in range(len(arrays)))


@op
def pad(x, *, pad_width, value=0.0):
    """Add a border of a constant: `pad_width` as in NumPy, ((before, after), ...) for each axis.

        ∂L/∂x = g, without the border
    """
    pairs = np.broadcast_to(pad_width, (x.ndim, 2)).tolist()  # one number or one pair may stand for all axes
    inner = tuple(slice(before, before + n) for (before, _), n in zip(pairs, x.shape))
    return np.pad(x, pairs, mode="constant", constant_values=value), (lambda g: g[inner],)


@op
def flip(x, *, axis=None):
    """Reverse the order along an axis, several, or all.        ∂L/∂x = g, flipped"""
    return np.flip(x, axis), (lambda g: np.flip(g, axis),)


@op
def getitem(x, *, index):
    """x[index], for all of NumPy's indices: slices, integers, None, ..., Boolean and integer arrays.

        ∂L/∂x = zeros, with g added at the places that were read (twice where read twice)

    Source: NumPy reference, "Indexing on ndarrays".
    """
    parts = tuple(_on_device_of(x, part) for part in (index if isinstance(index, tuple) else (index,)))
    repeats = any(backend.is_array(p) and p.dtype.kind in "iu" for p in parts)

    def grad_x(g):
        total = np.zeros_like(x)
        if repeats:
            np.add.at(total, parts, g)
        else:
            total[parts] = g
        return total

    return x[parts], (grad_x,)


def _on_device_of(x, part):
    """One part of an index for x: lists and host arrays are moved to x's device, as PyTorch does."""
    if isinstance(part, (list, tuple)):
        part = np.array(part, dtype=None if len(part) else int)
    if isinstance(part, (Tensor, np.ndarray)):
        part = Tensor(part).data  # nobody else's to change
        if isinstance(part, np.ndarray):
            return backend.to_device(part, backend.device_of(x).name)
        if isinstance(x, np.ndarray):
            raise DeviceError("an index on the GPU cannot read a tensor on the host. Move it first: index.to('cpu')")
    return part


@op
def to(x, *, device):
    """The same numbers on another device; the gradient comes back to x's own."""
    home = backend.device_of(x).name
    return backend.to_device(x, device), (lambda g: backend.to_device(g, home),)

r"""Floats to small integers with a scale, and back: x ≈ scale · (q − zero_point).

A straight line maps a range of floats onto the integers of b bits. There are two ways to lay it:

    symmetric   zero_point = 0, the line goes through the origin: ±max|x| lands on ±(2^(b−1) − 1).
                For weights, which lie about evenly around 0; products need no correction.
    affine      min x lands on the lowest integer, max x on the highest, for all 2^b of them.
                For activations, which a ReLU leaves on one side of 0.

In both, 0.0 comes back as exactly 0.0 from 2 bits on, since pruned weights, padding and ReLU all make zeros.

How many numbers share a line is a second choice: all of them, those of one channel (`axis`), or `group_size`
neighbours in a channel's row. The fewer share, the finer the steps, and the more scales there are to store.

**One bit** has two levels and none to spare for 0: they are the two *ends* of the range, so the error is still at
most scale / 2. The zero point is then no integer but a float in [−1, 0]: −1/2 on the symmetric line, whose levels are
±max|x|. All formulas stay, but for one: the sum x / scale + zero_point is rounded, not only its first part.

Start here: `quantize`, which is `choose_scale` and then `to_integers`; then `dequantize`. A scale is chosen in
two steps, the range (`min_max`) and the line (`scale_from_range`), so that a range may come from elsewhere:
from data, say (`compress/calibrate.py`). All of it runs on whichever device the array lies.
"""

import numpy as np

from tinyopt.errors import DtypeError, ShapeError


def quantize(x, *, bits=8, axis=None, symmetric=True, group_size=None):
    """Turn floats into integers of `bits` bits, a scale and a zero point.

        q = clip(round(x / scale) + zero_point)        |x − scale · (q − zero_point)| ≤ scale / 2

    Shapes: x (..., C, ...), float32 or float64, with C at `axis` -> q, same shape, int8 (int16
            above 8 bits); scale and zero_point (C,), or () when axis is None, or (n_groups,), as
            `in_groups` counts them.
    Units:  bits in 1..16. Ties are rounded to the even integer. scale has x's dtype; that is what
            limits the error above at 16 bits, where float32 itself is only 256 times finer.
    Raises: ValueError on other bits, or on NaN and Inf (looked for only on the host: on a GPU the
            answer would have to be waited for); DtypeError on other dtypes; ShapeError on an empty x,
            an axis that it lacks, or a group size that does not divide.
    Source: Jacob et al. (2018), "Quantization and Training of Neural Networks for Efficient
            Integer-Arithmetic-Only Inference", arXiv:1712.05877, Section 2.1, equation 1; one scale a
            channel: Krishnamoorthi (2018), "Quantizing deep convolutional networks for efficient
            inference: A whitepaper", arXiv:1806.08342, Section 2.
    """
    if group_size is not None:
        q, scale, zero_point = quantize(in_groups(x, group_size, axis), bits=bits, axis=0, symmetric=symmetric)
        return q.reshape(x.shape), scale, zero_point
    scale, zero_point = choose_scale(x, bits=bits, axis=axis, symmetric=symmetric)
    q = to_integers(x, scale, zero_point, bits=bits, axis=axis, symmetric=symmetric)
    return q, scale, zero_point


def choose_scale(x, *, bits=8, axis=None, symmetric=True):
    """Lay the line for an array: first the range of x, then the line for that range.

    Shapes: x (..., C, ...) -> scale (C,) in x's dtype, zero_point (C,) int32 (x's dtype at 1 bit); () when
            axis is None.
    Raises: as `min_max` and `scale_from_range`.
    """
    low, high = min_max(x, axis=axis)
    return scale_from_range(low, high, bits=bits, symmetric=symmetric)


def min_max(x, *, axis=None):
    """The whole range of x: its smallest and its largest number.

    Nothing is cut off; a single far number sets the range. `compress/calibrate.py` has the alternative.

    Shapes: x (..., C, ...), float32 or float64, with C at `axis` -> low, high (C,); () when axis is None.
    Raises: ValueError on NaN and Inf (looked for only on the host); DtypeError on other dtypes; ShapeError
            on an empty x or an axis that it lacks.
    """
    others = other_axes(x, axis)
    low, high = x.min(axis=others), x.max(axis=others)
    if isinstance(x, np.ndarray) and not (np.isfinite(low).all() and np.isfinite(high).all()):
        n_bad = np.count_nonzero(~np.isfinite(x))
        raise ValueError(f"quantize needs finite numbers; {n_bad} of {x.size} are NaN or Inf. "
                         "Look for the training step that made them.")
    return low, high


def scale_from_range(low, high, *, bits=8, symmetric=True):
    """Lay the line that maps a range, widened to hold 0, onto the integers of `bits` bits.

        low ← min(low, 0)        high ← max(high, 0)
        symmetric   scale = max(high, −low) / (2^(b−1) − 1)     zero_point = 0
        affine      scale = (high − low) / (2^b − 1)            zero_point = −2^(b−1) − round(low / scale)
        1 bit       scale = high − low                          zero_point = −1 − low / scale
                    (symmetric: the same for the range ±max(high, −low), so zero_point = −1/2)

    Without the widening, the range [5, 10] would put the integer for 0 far outside of what b bits hold.

    Shapes: low, high () or (C,), floats -> scale of that shape and dtype, zero_point int32 (a float at 1 bit).
    Start:  the scale is never below the smallest normal float, so an all-zero channel divides by
            that and comes back as zeros.
    Raises: ValueError on bits outside 1..16.
    Source: PyTorch's observers compute the same, in `calculate_qparams`.
    Differs: PyTorch's symmetric line divides by (2^b − 1) / 2, half a step more, and has −2^(b−1) too.
    """
    lowest, highest = integer_range(bits, symmetric)
    low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
    tiny = float(np.finfo(low.dtype).tiny)
    if symmetric:
        high = np.maximum(high, -low)
        low = -high
    if symmetric and bits > 1:
        scale = np.maximum(high / highest, tiny)
        return scale[...], np.zeros_like(scale, dtype=np.int32)[...]  # [...] makes an array of a NumPy number
    n_steps = highest - lowest
    scale = np.maximum(high / n_steps - low / n_steps, tiny)  # high − low could overflow
    if bits == 1:
        return scale[...], (lowest - low / scale)[...]
    zero_point = (lowest - np.rint(low / scale)).astype(np.int32)
    return scale[...], zero_point[...]


def to_integers(x, scale, zero_point, *, bits=8, axis=None, symmetric=True):
    """Round x to integers on a line that is already laid; what lies beyond its ends is clipped.

        q = clip(round(x / scale) + zero_point, lowest, highest)
        1 bit:  clip(round(x / scale + zero_point), −1, 0)

    Shapes: x (..., C, ...); scale, zero_point (C,), or () when axis is None -> q, shape of x.
    Units:  q is int8 up to 8 bits, else int16. Symmetric: −(2^(b−1) − 1) .. 2^(b−1) − 1, one short of
            what fits, so that −x is always there too. Affine: −2^(b−1) .. 2^(b−1) − 1; so is 1 bit.
    Raises: ShapeError if scale does not have one number for each place along `axis`.
    """
    lowest, highest = integer_range(bits, symmetric)
    steps, zero_point = x / along(scale, x, axis), along(zero_point, x, axis).astype(x.dtype)
    steps = np.rint(steps + zero_point) if bits == 1 else np.rint(steps) + zero_point
    return np.clip(steps, lowest, highest).astype(np.int8 if bits <= 8 else np.int16)


def dequantize(q, scale, zero_point, axis=None, group_size=None):
    """Turn integers back into floats: x̂ = scale · (q − zero_point).

    Shapes: q (..., C, ...); scale, zero_point (C,), or () when axis is None, or (n_groups,) -> shape of q,
            scale's dtype.
    Raises: ShapeError if scale does not have one number for each place along `axis`, or each group.
    """
    if group_size is not None:
        return dequantize(in_groups(q, group_size, axis), scale, zero_point, axis=0).reshape(q.shape)
    steps = q.astype(np.int32) - along(zero_point, q, axis)  # int8 − int8 would wrap round
    return steps.astype(scale.dtype) * along(scale, q, axis)


def integer_range(bits, symmetric=True):
    """The lowest and the highest integer that `bits` bits are used for: (−7, 7) or (−8, 7) for 4 bits.

    One bit has two, (−1, 0), on both lines.

    Raises: ValueError on bits outside 1..16.
    """
    if bits is True or bits not in range(1, 17):
        raise ValueError(f"quantize needs bits in 1..16; got {bits!r}. 8 is the usual choice")
    half = 2 ** (bits - 1)
    return (1 - half if symmetric and bits > 1 else -half), half - 1


def in_groups(x, group_size, axis=None):
    """Cut the row of each output channel into groups of neighbours: each group becomes a row of its own.

    So one scale for each group is one scale for each row of this, axis=0. A channel's row holds its weights in
    C order: all of one filter's numbers, say.

    Shapes: x (O, ...), or (n,), which counts as one row -> (n_groups, group_size); n_groups = x.size / group_size.
    Raises: ShapeError if group_size is no whole number that divides a row, or x has no axis; ValueError for
            another axis than 0 or None.
    """
    if axis not in (None, 0):
        raise ValueError(f"groups lie in the rows of axis 0; got axis={axis} and group_size={group_size}. Move that "
                         "axis to the front: np.moveaxis(x, axis, 0)")  # fmt: skip
    if x.ndim == 0 or x.size == 0:
        raise ShapeError(f"quantize needs at least one row of numbers to cut into groups; got shape {x.shape}")
    row = x.size if x.ndim == 1 else x.size // len(x)
    if group_size not in range(1, row + 1) or row % group_size:
        fits = ", ".join(str(n) for n in range(1, row + 1) if row % n == 0)
        raise ShapeError(f"a group size divides the row of a channel, which has {row} numbers in shape {x.shape}; "
                         f"got {group_size!r}. Those that do: {fits}")  # fmt: skip
    return x.reshape(-1, group_size)


def other_axes(x, axis):
    """Check an array of floats, and list all its axes but `axis`; None stands for all.

    Raises: DtypeError, or ShapeError for an empty x or an axis that it lacks.
    """
    if getattr(x, "dtype", None) not in (np.float32, np.float64):
        raise DtypeError("quantize takes an array of float32 or float64; "
                         f"got {getattr(x, 'dtype', type(x))}. Use x.astype(np.float32).")
    if x.size == 0:
        raise ShapeError(f"quantize needs at least one number to take a range from; got shape {x.shape}")
    kept = None if axis is None else _real_axis(axis, x.ndim)
    return None if axis is None else tuple(i for i in range(x.ndim) if i != kept)


def _real_axis(axis, ndim):
    """Count `axis` from the front."""
    if not -ndim <= axis < ndim:
        raise ShapeError(f"axis {axis} is not among the array's {ndim} axes; axis=None is one scale for all")
    return axis % ndim


def along(numbers, x, axis):
    """Give one number a channel the shape (1, ..., C, ..., 1) that broadcasts along `axis` of x.

    Shapes: numbers (C,), or () when axis is None.
    Raises: ShapeError for any other shape.
    """
    axis = None if axis is None else _real_axis(axis, x.ndim)
    if numbers.shape != (() if axis is None else (x.shape[axis],)):
        raise ShapeError(f"axis={axis} of an array {x.shape} needs one scale and zero point for each "
                         f"place along it; got shape {numbers.shape}. Pass the axis quantize was given.")
    return numbers if axis is None else numbers.reshape([-1 if i == axis else 1 for i in range(x.ndim)])

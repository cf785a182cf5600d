r"""Floats to small integers with a scale, and back: x ≈ scale · (q − zero_point).

A straight line maps a range of floats onto the integers of b bits. There are two ways to lay it:

    symmetric   zero_point = 0, the line goes through the origin: ±max|x| lands on ±(2^(b−1) − 1).
                For weights, which lie about evenly around 0; products need no correction.
    affine      min x lands on the lowest integer, max x on the highest, for all 2^b of them.
                For activations, which a ReLU leaves on one side of 0.

In both, 0.0 comes back as exactly 0.0, since pruned weights, padding and ReLU all make zeros.

Start here: `quantize`, which is `choose_scale` and then `to_integers`; then `dequantize`. A scale is chosen in
two steps, the range (`min_max`) and the line (`scale_from_range`), so that a range may come from elsewhere:
from data, say (`compress/calibrate.py`). All of it runs on whichever device the array lies.
"""

import numpy as np

from tinyopt.errors import DtypeError, ShapeError


def quantize(x, *, bits=8, axis=None, symmetric=True):
    """Turn floats into integers of `bits` bits, a scale and a zero point.

        q = clip(round(x / scale) + zero_point)        |x − scale · (q − zero_point)| ≤ scale / 2

    Shapes: x (..., C, ...), float32 or float64, with C at `axis` -> q, same shape, int8 (int16
            above 8 bits); scale and zero_point (C,), or () when axis is None.
    Units:  bits in 2..16. Ties are rounded to the even integer. scale has x's dtype; that is what
            limits the error above at 16 bits, where float32 itself is only 256 times finer.
    Raises: ValueError on other bits, or on NaN and Inf (looked for only on the host: on a GPU the
            answer would have to be waited for); DtypeError on other dtypes; ShapeError on an empty x
            or an axis that it lacks.
    Source: Jacob et al. (2018), "Quantization and Training of Neural Networks for Efficient
            Integer-Arithmetic-Only Inference", arXiv:1712.05877, Section 2.1, equation 1; one scale a
            channel: Krishnamoorthi (2018), "Quantizing deep convolutional networks for efficient
            inference: A whitepaper", arXiv:1806.08342, Section 2.
    """
    scale, zero_point = choose_scale(x, bits=bits, axis=axis, symmetric=symmetric)
    q = to_integers(x, scale, zero_point, bits=bits, axis=axis, symmetric=symmetric)
    return q, scale, zero_point


def choose_scale(x, *, bits=8, axis=None, symmetric=True):
    """Lay the line for an array: first the range of x, then the line for that range.

    Shapes: x (..., C, ...) -> scale (C,) in x's dtype, zero_point (C,) int32; () when axis is None.
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

    Without the widening, the range [5, 10] would put the integer for 0 far outside of what b bits hold.

    Shapes: low, high () or (C,), floats -> scale of that shape and dtype, zero_point int32.
    Start:  the scale is never below the smallest normal float, so an all-zero channel divides by
            that and comes back as zeros.
    Raises: ValueError on bits outside 2..16.
    Source: PyTorch's observers compute the same, in `calculate_qparams`.
    Differs: PyTorch's symmetric line divides by (2^b − 1) / 2, half a step more, and has −2^(b−1) too.
    """
    lowest, highest = integer_range(bits, symmetric)
    low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
    tiny = float(np.finfo(low.dtype).tiny)
    if symmetric:
        scale = np.maximum(np.maximum(high, -low) / highest, tiny)
        return scale[...], np.zeros_like(scale, dtype=np.int32)[...]  # [...] makes an array of a NumPy number
    n_steps = highest - lowest
    scale = np.maximum(high / n_steps - low / n_steps, tiny)  # high − low could overflow
    zero_point = (lowest - np.rint(low / scale)).astype(np.int32)
    return scale[...], zero_point[...]


def to_integers(x, scale, zero_point, *, bits=8, axis=None, symmetric=True):
    """Round x to integers on a line that is already laid; what lies beyond its ends is clipped.

        q = clip(round(x / scale) + zero_point, lowest, highest)

    Shapes: x (..., C, ...); scale, zero_point (C,), or () when axis is None -> q, shape of x.
    Units:  q is int8 up to 8 bits, else int16. Symmetric: −(2^(b−1) − 1) .. 2^(b−1) − 1, one short of
            what fits, so that −x is always there too. Affine: −2^(b−1) .. 2^(b−1) − 1.
    Raises: ShapeError if scale does not have one number for each place along `axis`.
    """
    lowest, highest = integer_range(bits, symmetric)
    steps = np.rint(x / along(scale, x, axis)) + along(zero_point, x, axis).astype(x.dtype)
    return np.clip(steps, lowest, highest).astype(np.int8 if bits <= 8 else np.int16)


def dequantize(q, scale, zero_point, axis=None):
    """Turn integers back into floats: x̂ = scale · (q − zero_point).

    Shapes: q (..., C, ...); scale, zero_point (C,), or () when axis is None -> shape of q, scale's dtype.
    Raises: ShapeError if scale does not have one number for each place along `axis`.
    """
    steps = q.astype(np.int32) - along(zero_point, q, axis)  # int8 − int8 would wrap round
    return steps.astype(scale.dtype) * along(scale, q, axis)


def integer_range(bits, symmetric=True):
    """The lowest and the highest integer that `bits` bits are used for: (−7, 7) or (−8, 7) for 4 bits.

    Raises: ValueError on bits outside 2..16.
    """
    if bits not in range(2, 17):
        raise ValueError(f"quantize needs bits in 2..16; got {bits!r}")
    half = 2 ** (bits - 1)
    return (1 - half if symmetric else -half), half - 1


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

r"""Fixed-point arithmetic: what an integer network does with its accumulators, on arrays.

Start with these three: `fixed_point`, which writes a factor as an integer and a shift; `requantize`, which multiplies
accumulators by it; `exact_parts`, which says when a product of floats gives exact integers. `nn/integer.py` makes
layers of them, and `compress/integer/reference.py` says the same once more, slowly, in Python's own integers.
"""

import numpy as np

from tinyopt import backend
from tinyopt.errors import DtypeError

EXACT = 2**24  # float32 holds every integer up to here, and not 2²⁴ + 1
MOST = 128  # the largest magnitude of an int8: −128


def fixed_point(factor, *, bits=31):
    """Write factors as integers and right shifts, so that a multiplication by them needs no float.

        factor ≈ multiplier · 2^(−shift)        2^(bits−1) ≤ multiplier < 2^bits

    A factor so small that its shift would pass 62 keeps that, and has fewer bits: nothing may pass 63.

    Shapes: factor (...), floats -> multiplier (...), int32; shift (...), int8.
    Units:  shift in bits, 31 to 62; the relative error is at most 2^(−bits).
    Raises: ValueError for a factor of 0 or less, or of 2^(bits − 31) or more: the result might not fit 32 bits.
    Source: Jacob et al. (2018), "Quantization and Training of Neural Networks for Efficient
            Integer-Arithmetic-Only Inference", arXiv:1712.05877, Section 2.2, equations 5 and 6.
    """
    factor = np.array(factor, np.float64)
    if not ((factor > 0) & (factor < 2.0 ** (bits - 31))).all():
        raise ValueError(f"a factor of {bits} bits lies in (0, 2^{bits - 31}); got {factor.min()} to {factor.max()}. "
                         "Is the output's scale finer than input scale · weight scale?")  # fmt: skip
    _, exponent = np.frexp(factor)  # factor = mantissa · 2^exponent, 1/2 ≤ mantissa < 1
    shift = np.minimum(bits - exponent, 62)
    multiplier = np.rint(np.ldexp(factor, shift))
    full, room = multiplier == 2**bits, shift > 31  # the mantissa was rounded up to 1
    multiplier = np.where(full, np.where(room, 2 ** (bits - 1), 2**bits - 1), multiplier)
    shift = shift - (full & room)
    return multiplier.astype(np.int32), shift.astype(np.int8)


def requantize(acc, multiplier, shift, zero_point, *, relu=False):
    """Bring accumulators onto the 8-bit line of a layer's output, in integers alone.

        p = acc · multiplier                                        exact in int64: 31 + 31 bits
        r = sign(p) · ⌊(|p| + 2^(shift−1)) / 2^shift⌋               round to nearest, half away from zero
        q = clip(r + zero_point, low, 127)                          saturate; low = −128, after a ReLU zero_point

    A right shift divides by 2^shift and rounds down. So for p < 0 the half is made smaller by 1: then an exact half
    goes down, away from zero, and nothing else changes:

        r = (p + 2^(shift−1) − [p < 0]) >> shift

    Proof: for p ≥ 0 that is the definition. For p < 0, −⌊(−p + h) / s⌋ = ⌈(p − h) / s⌉ = ⌊(p − h + s − 1) / s⌋ with
    s = 2^shift and h = s / 2, and −h + s − 1 = h − 1. Under a ReLU all of these are clipped, so the 1 is left out.

    Shapes: acc (N, C, ...), int32; multiplier and shift (C,) or (1,), as `fixed_point` gives them; zero_point, a
            number or an array (), in [−128, 127] -> q, as acc, int8, in memory with the channels last.
    Source: Jacob et al. (2018), arXiv:1712.05877, Section 2.2.
    Differs: gemmlowp's `SaturatingRoundingDoublingHighMul` rounds the product to 32 bits first and then once
            more, at the shift; here there is one rounding, so q is the nearest integer to acc · factor.
    """
    return requantize_rows(acc, channel_rows(multiplier, shift, acc.shape[1]), zero_point, relu=relu)


def requantize_rows(acc, rows, zero_point, *, relu=False):
    """`requantize`, with its factors as `channel_rows` makes them: a layer keeps those from call to call."""
    last = acc.transpose(0, *range(2, acc.ndim), 1)  # (N, ..., C)
    flat = (last if last.flags.c_contiguous else last.copy(order="C")).reshape(-1)
    q, size = np.empty_like(flat, dtype=np.int8), len(rows[0])
    p, t, r = (np.empty_like(q, shape=min(size, len(q)), dtype=dtype) for dtype in (np.int64, np.int64, np.int32))
    for start in range(0, len(q), size):  # a block that stays in the cache
        n = min(size, len(q) - start)
        cut = [row[:n] for row in rows]
        _requantize_block(flat[start : start + n], p[:n], t[:n], r[:n], *cut, zero_point, relu)
        q[start : start + n] = r[:n]
    return q.reshape(last.shape).transpose(0, last.ndim - 1, *range(1, last.ndim - 1))


def _requantize_block(acc, p, t, r, multiplier, half, shift, zero_point, relu):
    """The formula of `requantize`; the result is left in r. p, t and r are there to be written to."""
    p[...] = acc
    p *= multiplier
    if not relu:
        p += np.right_shift(p, 63, out=t)  # −1 where negative, else 0
    p += half
    p >>= shift
    r[...] = p  # it fits 32 bits, by the bound that `fixed_point` keeps
    np.maximum(r, 0 if relu else -128 - zero_point, out=r)
    np.minimum(r, 127 - zero_point, out=r)
    r += zero_point


def channel_rows(multiplier, shift, n_channels):
    """What `requantize_rows` reads of each channel, repeated: NumPy is slow at broadcasting along few channels.

    Shapes: multiplier and shift (C,) or (1,) -> the multiplier, a half, the shift: int64 (m · n_channels,), about as
            long as a block in the cache.
    """
    times = max(1, backend.device_of(shift).chunk_bytes // 64 // n_channels)  # 16,384 numbers on the host
    times = times if len(shift) == n_channels else times * n_channels
    multiplier, shift = multiplier.astype(np.int64), shift.astype(np.int64)
    return [np.tile(row, times) for row in (multiplier, 1 << (shift - 1), shift)]


def exact_parts(weight, bias):
    """Cut a layer's inner sum into parts, each of which float32 adds up exactly.

    Float32 has 24 bits, so it holds every integer up to 2²⁴, and a sum of integers is exact as long as no partial
    sum passes that. In whatever order it is added, also by fused multiply-adds and by blocks, a partial sum of

        Σ over some i of  w[o, i] · x[i]        is at most  Σ over all i of  |w[o, i]| · 128

    since an int8 is at most 128 in magnitude. (Each product, at most 127 · 128 < 2¹⁴, is exact as well.) So a part
    may take input channels up to where the largest right side over all o reaches 2²⁴; what the parts make is
    added in int32. Whatever the weights, 1,032 numbers fit: 1032 · 128 · 127 < 2²⁴ = 16,777,216 < 1033 · 128 · 127.

    Shapes: weight (O, I, ...), integers; bias (O,), integers, which the first part adds -> [slice of I, ...];
            or None where one channel alone, or the bias, is too much: float64 holds those sums, to 2⁵³.
    """
    load = MOST * abs(weight.astype(np.int64)).reshape(*weight.shape[:2], -1).sum(axis=2)  # (O, I)
    parts, start, held = [], 0, abs(bias.astype(np.int64))
    if (held >= EXACT).any() or (load >= EXACT).any():
        return None
    for i in range(load.shape[1]):
        if (held + load[:, i] >= EXACT).any():
            parts.append(slice(start, i))
            start, held = i, np.zeros_like(held)
        held = held + load[:, i]
    return [*parts, slice(start, load.shape[1])]


# --- for the layers ----------------------------------------------------------------------------------


def framed(x, padding, number, dtype):
    """x in this type with a frame of one number around each image, in memory as (N, H, W, C)."""
    (ph, pw), (n, c, height, width) = padding, x.shape
    if not ph and not pw:
        return x.astype(dtype, copy=False)
    framed = np.empty_like(x, shape=(n, height + 2 * ph, width + 2 * pw, c), dtype=dtype, order="C")
    framed[...] = number
    framed[:, ph : ph + height, pw : pw + width] = x.transpose(0, 2, 3, 1)
    return framed.transpose(0, 3, 1, 2)


def check_type(layer, x, *dtypes):
    """Raise DtypeError unless x holds integers of one of these types: what comes in is part of the proof."""
    if x.dtype not in dtypes:
        due = " or ".join(np.dtype(dtype).name for dtype in dtypes)
        raise DtypeError(f"{type(layer).__name__} takes {due}; got {x.dtype}. Floats enter through QuantizeInput")

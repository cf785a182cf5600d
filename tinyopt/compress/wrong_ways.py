"""Wrong ways to quantize that people print, to run and to measure beside the right way. Do not use them.

Each is a function on an array, and returns the array that comes back; its docstring says why it is wrong. What is
right is `codec.quantize` and then `codec.dequantize`:

    round_to_whole           no scale at all
    uncentred                back to the lower edge of each step, not to its middle
    one_value_too_many       2^bits steps have 2^bits + 1 ends; the last one does not fit
    cast_before_clamp        a number beyond the range wraps around: a large plus becomes a minus
    clipped_zero_point       a range without 0 needs a zero point that does not fit; cut off, it moves the line
    range_without_zero       the same with a wide zero point: the range is right, but 0 is lost
    scaled_by_outlier        one far number sets the step for all
    bias_in_8_bits           a bias is added once to a sum of hundreds of products: it needs the sum's own fine steps
    float_requantization     "integer-only", but for one product of floats, which another machine rounds otherwise
"""

import numpy as np

from tinyopt.codec.affine import dequantize, integer_range, min_max, quantize


def round_to_whole(x):
    """Round to the nearest whole number: "integers need less memory".

    Most weights are smaller than 1/2, so they become 0. The integers were meant to count *steps* of a size that fits
    the range; here the step is 1, whatever the range.

    Shapes: x, any -> what comes back, same shape.
    """
    return np.rint(x)


def uncentred(x, *, bits=8):
    """Cut the range into 2^bits steps, number them, and come back at the lower edge of each.

        step = (max − min) / 2^b        q = floor((x − min) / step)        back = min + step · q

    The error x − back lies in [0, step], not in ±step / 2. Its mean is half a step and does not cancel: a neuron adds
    up hundreds of weights that are all too small. And 0 comes back as something else.

    Shapes: x, floats of any shape -> what comes back, same shape and dtype.
    """
    low, high = min_max(x)
    step = np.maximum((high - low) / 2**bits, np.finfo(x.dtype).tiny)
    q = np.clip(np.floor((x - low) / step), 0, 2**bits - 1)
    return low + step * q


def one_value_too_many(x, *, bits=8):
    """Divide the range by 2^bits, where there are only 2^bits − 1 steps between 2^bits values.

        step = (max − min) / 2^b        q = round((x − min) / step) in 0..2^b

    The largest number gets q = 2^b, which has b + 1 bits. Stored in b bits it is 0: the largest comes back as
    the smallest.

    Shapes: x, floats of any shape -> what comes back, same shape and dtype.
    """
    low, high = min_max(x)
    step = np.maximum((high - low) / 2**bits, np.finfo(x.dtype).tiny)
    q = np.rint((x - low) / step).astype(np.int64) & (2**bits - 1)  # what b bits keep of q
    return low + step * q.astype(x.dtype)


def cast_before_clamp(x, scale):
    """Turn steps into int8 first, and clip afterwards, when it is too late.

        q = clip(int8(round(x / scale)), −127, 127)

    An int8 keeps the lowest 8 bits: 128 becomes −128, 200 becomes −56, 256 becomes 0. The clip then sees numbers
    that look right. Nothing happens as long as all x are in range, which is why tests on calibration data pass.

    Shapes: x, floats of any shape; scale, a number -> what comes back, same shape.
    """
    steps = np.rint(x / scale).astype(np.int64)  # float to int8 directly is undefined in C: it differs by machine
    q = np.clip(steps.astype(np.int8), -127, 127)
    return q.astype(x.dtype) * scale


def clipped_zero_point(x, low, high, *, bits=8):
    """Lay the line for exactly [low, high], without widening it to hold 0, and clip the zero point into the integers.

        scale = (high − low) / (2^b − 1)        zero_point = clip(−2^(b−1) − round(low / scale))

    For [5, 10] the zero point should be −383 at 8 bits. Clipped to −128, the line covers [0, 5], and all
    of [5, 10] comes back as 5. It is right as long as low ≤ 0 ≤ high, so tests on weights pass.

    Shapes: x, floats of any shape; low < high, numbers -> what comes back, same shape.
    """
    scale, zero_point, ends = _tight_line(low, high, bits)
    zero_point = min(max(zero_point, ends[0]), ends[1])
    return (np.clip(np.rint(x / scale) + zero_point, *ends) - zero_point) * scale


def range_without_zero(x, low, high, *, bits=8):
    """Lay the line for exactly [low, high], without widening it to hold 0, and keep the zero point as a wide integer.

    Numbers of the range come back well, even better than by the right way, since the steps are finer. But 0, which
    padding, ReLU and pruning make all the time, is not on the line: it is clipped to the end that is nearest.

    Shapes: x, floats of any shape; low < high, numbers -> what comes back, same shape.
    """
    scale, zero_point, ends = _tight_line(low, high, bits)
    return (np.clip(np.rint(x / scale) + zero_point, *ends) - zero_point) * scale


def scaled_by_outlier(x, *, bits=8):
    """Give a whole array one scale from its largest magnitude, however far that lies from the rest.

    Nothing is wrong with the line; wrong is to lay it for one number. If one weight in a thousand is 50 times
    larger than the others, those share the few integers around 0. The ways out are a scale for each channel, and
    a range that cuts the outlier off (`calibrate.percentile`).

    Shapes: x, floats of any shape -> what comes back, same shape and dtype.
    """
    return dequantize(*quantize(x, bits=bits))


def bias_in_8_bits(bias, product_scale=None):
    """Give a bias 8 bits, as the weights have: "all parameters are int8".

        q = clip(round(b / s), −127, 127)        s = max|b| / 127, or input scale · weight scale

    An accumulator counts steps of input scale · weight scale, which are hundreds of times finer than 1/127 of the
    largest bias, and the bias is added to it. On its own line, the bias is off by up to s / 2; unlike the rounding
    errors of weights, that is the same for every image and every pixel, and does not cancel. On the accumulator's line
    (`product_scale` given), hardly any bias fits: all others are cut off. Right is an int32 on the accumulator's line,
    `round(b / product_scale)`: 4 bytes for each output, next to hundreds of weights of 1 byte.

    Shapes: bias (O,), floats; product_scale, a number, () or (O,), or None -> what comes back, (O,), same dtype.
    Source: Jacob et al. (2018), arXiv:1712.05877, Section 2.4, on why biases are int32.
    """
    if product_scale is None:
        return dequantize(*quantize(bias))
    return (np.clip(np.rint(bias / product_scale), -127, 127) * product_scale).astype(bias.dtype)


def float_requantization(accumulators, factor, *, dtype=np.float32):
    """Bring int32 accumulators to int8 with a product of floats, in a network that is said to be integer-only.

        q = clip(round(acc · factor), −128, 127)        factor = input scale · weight scale / output scale

    The numbers come out nearly right. But a processor without floats cannot do it; float32 has no integers of its own
    beyond 2²⁴, and rounds the product once more before the result is rounded; and `rint` takes halves to the even
    integer, where others take them away from zero. So float32, float64 and fixed-point arithmetic
    (`nn.integer_math.requantize`) give results that differ by 1 here and there: what was tested is not what runs.

    Shapes: accumulators, integers of any shape; factor, a number; dtype, the floats to compute in -> int8, same shape.
    """
    return np.clip(np.rint(accumulators.astype(dtype) * dtype(factor)), -128, 127).astype(np.int8)


def _tight_line(low, high, bits):
    """Scale and zero point for exactly [low, high], and the two ends of the integers."""
    lowest, highest = integer_range(bits, symmetric=False)
    scale = (high - low) / (highest - lowest)
    return scale, lowest - round(low / scale), (lowest, highest)

"""Wrong answers that students give, and words that the verdict on each must contain."""

import numpy as np

from tinyopt import codec
from tinyopt.codec.affine import along, integer_range, min_max, other_axes
from tinyopt.course import wrong

# --- 12.1 ---


@wrong("12.1", says="16 values have 15 steps")
def sixteen_steps():
    return 0.375, -4, 2, 2.25


@wrong("12.1", says="That is the symmetric line")
def symmetric_by_hand():
    return 4.5 / 7, 0, 4, 4 * 4.5 / 7


@wrong("12.1", says="counts from 0 up")
def without_sign():
    return 0.4, 4, 10, 2.4


@wrong("12.1", says="count up")
def counted_down():
    return 0.4, -12, -6, 2.4


@wrong("12.1", says="must be a whole number")
def broken_zero():
    return 0.4, -4.25, 1.5, 2.3


@wrong("12.1", says="do not cut off")
def cut_off():
    return 0.4, -4, 1, 2.0


@wrong("12.1", says="so add it")
def zero_forgotten():
    return 0.4, -4, 6, 2.4


@wrong("12.1", says="First take the zero point off")
def back_without_zero():
    return 0.4, -4, 2, 0.8


@wrong("12.1", says="it was rounded")
def nothing_lost():
    return 0.4, -4, 2, 2.3


@wrong("12.1", says="count up", blind=True)
def sign_of_low_lost():
    scale, zero_point = 6 / 15, -8 - 4  # due is −8 − (−4)
    q = 6 + zero_point
    return scale, zero_point, q, 0.4 * (q - zero_point)


# --- 12.2 ---


def right_line(low, high, bits, symmetric, n_steps=None, widen=True):
    """A right line, unless it is told otherwise."""
    lowest, highest = integer_range(bits, symmetric)
    if widen:
        low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
    if symmetric:
        scale = np.maximum(np.maximum(high, -low) / highest, 1e-30)
        return scale, np.zeros_like(scale)
    scale = np.maximum((high - low) / (n_steps or highest - lowest), 1e-30)
    return scale, lowest - np.rint(low / scale)


@wrong("12.2", says="2^bits − 1 steps between them")
def one_step_more(low, high, *, bits=8, symmetric=True):
    return right_line(low, high, bits, symmetric, n_steps=2**bits)


@wrong("12.2", says="does not widen the range")
def not_widened(low, high, *, bits=8, symmetric=True):
    return right_line(low, high, bits, symmetric, widen=False)


@wrong("12.2", says="counts the integers from 0")
def unsigned(low, high, *, bits=8, symmetric=True):
    scale, zero_point = right_line(low, high, bits, symmetric)
    return scale, zero_point if symmetric else zero_point + 2 ** (bits - 1)


@wrong("12.2", says="so count up")
def sign_of_the_shift(low, high, *, bits=8, symmetric=True):
    scale, zero_point = right_line(low, high, bits, symmetric)
    return scale, zero_point if symmetric else -(2**bits) - zero_point


@wrong("12.2", says="no whole number")
def not_rounded(low, high, *, bits=8, symmetric=True):
    lowest, _ = integer_range(bits, symmetric)
    scale, zero_point = right_line(low, high, bits, symmetric)
    return scale, zero_point if symmetric else lowest - np.minimum(low, 0) / scale


@wrong("12.2", says="looks at high alone")
def high_alone(low, high, *, bits=8, symmetric=True):
    scale, zero_point = right_line(low, high, bits, symmetric)
    return (np.maximum(high, 0) / (2 ** (bits - 1) - 1), 0) if symmetric else (scale, zero_point)


@wrong("12.2", says="The highest integer is one less")
def half_of_all(low, high, *, bits=8, symmetric=True):
    scale, zero_point = right_line(low, high, bits, symmetric)
    return (np.maximum(high, -low) / 2 ** (bits - 1), 0) if symmetric else (scale, zero_point)


@wrong("12.2", says="is divided by later")
def scale_of_zero(low, high, *, bits=8, symmetric=True):
    low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
    if symmetric:
        return np.maximum(high, -low) / (2 ** (bits - 1) - 1), np.zeros(np.shape(low))
    scale = (high - low) / (2**bits - 1)
    return scale, -(2 ** (bits - 1)) - np.rint(low / scale)


@wrong("12.2", says="One scale came for three ranges", blind=True)
def largest_of_all_channels(low, high, *, bits=8, symmetric=True):
    if not symmetric:
        return right_line(low, high, bits, symmetric)
    low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
    scale = np.max(np.abs([low, high])) / integer_range(bits, symmetric)[1]  # no axis: over the channels, too
    scale = np.where(scale == 0, 1.0, scale)
    return scale, np.zeros(scale.shape, dtype=int)


@wrong("12.2", says="need three scales and three zero points")
def one_zero_for_all(low, high, *, bits=8, symmetric=True):
    scale, zero_point = right_line(low, high, bits, symmetric)
    return scale, 0 if symmetric else zero_point


# --- 12.3 ---


def right_integers(x, scale, zero_point, bits, axis, symmetric, rounding=None):
    """Right integers, unless another rounding is given."""
    steps = (rounding or np.rint)(x / along(scale, x, axis)) + along(zero_point, x, axis)
    return np.clip(steps, *integer_range(bits, symmetric)).astype(np.int8 if bits <= 8 else np.int16)


@wrong("12.3", says="cuts the decimals off")
def truncated(x, scale, zero_point, *, bits=8, axis=None, symmetric=True):
    return right_integers(x, scale, zero_point, bits, axis, symmetric, rounding=np.trunc)


@wrong("12.3", says="always rounds down")
def rounded_down(x, scale, zero_point, *, bits=8, axis=None, symmetric=True):
    return right_integers(x, scale, zero_point, bits, axis, symmetric, rounding=np.floor)


@wrong("12.3", says="It rounds after adding")
def rounded_late(x, scale, zero_point, *, bits=8, axis=None, symmetric=True):
    steps = np.rint(x / along(scale, x, axis) + along(zero_point, x, axis))
    return np.clip(steps, *integer_range(bits, symmetric)).astype(np.int8 if bits <= 8 else np.int16)


@wrong("12.3", says="is not added")
def no_zero_point(x, scale, zero_point, *, bits=8, axis=None, symmetric=True):
    return right_integers(x, scale, zero_point * 0, bits, axis, symmetric)


@wrong("12.3", says="add it on the way there")
def zero_point_taken_off(x, scale, zero_point, *, bits=8, axis=None, symmetric=True):
    return right_integers(x, scale, -zero_point, bits, axis, symmetric)


@wrong("12.3", says="casts before it clips")
def cast_first(x, scale, zero_point, *, bits=8, axis=None, symmetric=True):
    steps = np.rint(x / along(scale, x, axis)) + along(zero_point, x, axis)
    stored = steps.astype(np.int64).astype(np.int8 if bits <= 8 else np.int16)
    return np.clip(stored, *integer_range(bits, symmetric))


@wrong("12.3", says="It does not clip")
def unclipped(x, scale, zero_point, *, bits=8, axis=None, symmetric=True):
    return np.rint(x / along(scale, x, axis)) + along(zero_point, x, axis)


@wrong("12.3", says="clip the sum")
def clipped_too_early(x, scale, zero_point, *, bits=8, axis=None, symmetric=True):
    steps = np.clip(np.rint(x / along(scale, x, axis)), *integer_range(bits, symmetric))
    return np.minimum(steps + along(zero_point, x, axis), 2 ** (bits - 1) - 1).astype(np.int8)


@wrong("12.3", says="is another one")
def still_floats(x, scale, zero_point, *, bits=8, axis=None, symmetric=True):
    return right_integers(x, scale, zero_point, bits, axis, symmetric).astype(float)


@wrong("12.3", says="begin one later")
def one_below(x, scale, zero_point, *, bits=8, axis=None, symmetric=True):
    if bits == 8:
        return right_integers(x, scale, zero_point, bits, axis, symmetric)
    return right_integers(x, scale, zero_point, bits, axis, symmetric=False)


@wrong("12.3", says="divides each column by one")
def along_the_last_axis(x, scale, zero_point, *, bits=8, axis=None, symmetric=True):
    steps = np.clip(np.rint(x / scale) + zero_point, *integer_range(bits, symmetric))
    return steps.astype(np.int8 if bits <= 8 else np.int16)


@wrong("12.3", says="out of reach")
def by_the_package(x, scale, zero_point, *, bits=8, axis=None, symmetric=True):
    return codec.quantize(x, bits=bits, axis=axis, symmetric=symmetric)[0]


@wrong("12.3", says="It clips at −128", blind=True)
def ends_of_the_slow_loop(x, scale, zero_point, *, bits=8, axis=None, symmetric=True):
    lowest, highest = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1  # right for the affine line only
    steps = np.rint(x / along(scale, x, axis)) + along(zero_point, x, axis)
    return np.clip(steps, lowest, highest).astype(np.int8 if bits <= 8 else np.int16)


@wrong("12.3", says="The affine line uses the lowest, too")
def always_symmetric_ends(x, scale, zero_point, *, bits=8, axis=None, symmetric=True):
    steps = np.rint(x / along(scale, x, axis)) + along(zero_point, x, axis)
    return np.clip(steps, *integer_range(bits)).astype(np.int8 if bits <= 8 else np.int16)


# --- 12.4 ---


@wrong("12.4", says="2.5 % off at each end")
def shared_between_the_ends(x, percent=99.9, *, axis=None):
    half = (100 - percent) / 2
    return tuple(np.percentile(x, [half, 100 - half], axis=other_axes(x, axis)))


@wrong("12.4", says="percentile of |x|")
def of_magnitudes(x, percent=99.9, *, axis=None):
    high = np.percentile(abs(x), percent, axis=other_axes(x, axis))
    return -high, high


@wrong("12.4", says="are exchanged")
def exchanged(x, percent=99.9, *, axis=None):
    return tuple(np.percentile(x, [percent, 100 - percent], axis=other_axes(x, axis)))


@wrong("12.4", says="cuts the upper end only")
def upper_only(x, percent=99.9, *, axis=None):
    return x.min(axis=other_axes(x, axis)), np.percentile(x, percent, axis=other_axes(x, axis))


@wrong("12.4", says="Count numbers, not length")
def share_of_the_range(x, percent=99.9, *, axis=None):
    low, high = min_max(x, axis=axis)
    cut = (high - low) * (100 - percent) / 100 / 2
    return low + cut, high - cut


@wrong("12.4", says="It keeps the other axis")
def axis_that_goes(x, percent=99.9, *, axis=None):
    return np.percentile(x, 100 - percent, axis=axis), np.percentile(x, percent, axis=axis)


@wrong("12.4", says="It gives one range for all")
def no_axis(x, percent=99.9, *, axis=None):
    return np.percentile(x, 100 - percent), np.percentile(x, percent)


@wrong("12.4", says="percentile of |x|", blind=True)
def mirrored(x, percent=99.9, *, axis=None):
    high = np.percentile(np.abs(x), percent, axis=other_axes(x, axis))  # as if x lay evenly around 0
    low = -high
    return low, high


# --- 12.5 ---


@wrong("12.5", says="turned does not come back negative")
def too_far():
    return 30.0, 25.6, 38.3


@wrong("12.5", says="lost does not come back as 0")
def not_quite_lost():
    return 15.0, 25.5, 38.3


@wrong("12.5", says="the two ways differ there")
def visible():
    return 15.0, 25.6, 30.0


@wrong("12.5", says="is still in range")
def inside():
    return 15.0, 0.0, 12.7


@wrong("12.5", says="is still in range")
def minus_to_plus():
    return -15.0, 25.6, 38.3


@wrong("12.5", says="One round of an int8 is 256 steps", blind=True)
def rounds_of_255():
    turned, lost = 12.8, 25.6
    hidden = 25.5 + 12.7  # 382 steps come back as 126
    return turned, lost, hidden


@wrong("12.5", says="One round of an int8 is 256 steps")
def lost_after_255():
    return 15.0, 25.5, 38.3


@wrong("12.5", says="These are steps")
def steps_not_numbers():
    return 150, 256, 383

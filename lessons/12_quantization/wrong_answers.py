"""Wrong answers that students give, and words that the verdict on each must contain."""

import itertools

import numpy as np

from tinyopt import codec
from tinyopt.codec import floats
from tinyopt.codec.affine import along, integer_range, min_max, other_axes
from tinyopt.codec.floats import fields, named
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


# --- 12.6 ---


def read_as(codes, format, bias=None, m=None, front=None, least=1):
    """A right reading, unless it is told otherwise."""
    f, (sign, exponent, mantissa) = named(format), fields(codes, format)
    bias, m = f.bias if bias is None else bias, f.mantissa_bits if m is None else m
    digits = ((exponent > 0) if front is None else front) + mantissa / 2**m
    return ((1 - 2 * sign) * 2.0 ** (np.maximum(exponent, least) - bias) * digits).astype(np.float32)


@wrong("12.6", says="The 1 in front of the mantissa is missing")
def no_one_in_front(codes, format):
    return read_as(codes, format, front=0)


@wrong("12.6", says="so that there is no 0")
def all_are_normal(codes, format):
    return read_as(codes, format, front=1, least=0)


@wrong("12.6", says="not −bias")
def gap_before_the_first(codes, format):
    return read_as(codes, format, least=0)


@wrong("12.6", says="one less")
def bias_of_all(codes, format):
    return read_as(codes, format, bias=2 ** (named(format).exponent_bits - 1))


@wrong("12.6", says="is not taken off")
def no_bias(codes, format):
    return read_as(codes, format, bias=0)


@wrong("12.6", says="bias of E4M3, 7, for all formats")
def bias_seven(codes, format):
    return read_as(codes, format, bias=named(format).bias if "fp8" in format else 7)


@wrong("12.6", says="divided by 8 in every format")
def three_bits_always(codes, format):
    return read_as(codes, format, m=named(format).mantissa_bits if "fp8" in format else 3)


@wrong("12.6", says="has no effect")
def no_sign(codes, format):
    return abs(read_as(codes, format))


@wrong("12.6", says="parts of 2^m")
def one_part_less(codes, format):
    _, exponent, mantissa = fields(codes, format)
    m = named(format).mantissa_bits
    whole = (exponent > 0) + mantissa / 2**m
    return read_as(codes, format) / np.where(whole > 0, whole, 1) * ((exponent > 0) + mantissa / (2**m - 1))


@wrong("12.6", says="became 0")
def flushed_to_zero(codes, format):
    return np.where(fields(codes, format)[1] > 0, read_as(codes, format), 0)


@wrong("12.6", says="out of reach")
def looked_up(codes, format):
    return floats.levels(format)[codes]


@wrong("12.6", says="The exponent decides which line holds", blind=True)
def larger_of_both_lines(codes, format):
    sign, exponent, mantissa = fields(codes, format)
    f = named(format)
    normal = (-1.0) ** sign * 2.0 ** (exponent - f.bias) * (1 + mantissa / 2**f.mantissa_bits)
    small = (-1.0) ** sign * 2.0 ** (1 - f.bias) * (mantissa / 2**f.mantissa_bits)
    return np.maximum(normal, small).astype(np.float32)


@wrong("12.6", says="It has a line of its own")
def larger_of_both_sizes(codes, format):
    sign, exponent, mantissa = fields(codes, format)
    f = named(format)
    normal = 2.0 ** (exponent - f.bias) * (1 + mantissa / 2**f.mantissa_bits)
    small = 2.0 ** (1 - f.bias) * (mantissa / 2**f.mantissa_bits)
    return (np.where(sign == 1, -1, 1) * np.maximum(normal, small)).astype(np.float32)


# --- 12.7 ---


def ways_of(costs, sizes):
    """Every choice: [(cost, size, options)]."""
    ways = itertools.product(range(costs.shape[1]), repeat=len(costs))
    layers = range(len(costs))
    return [(costs[layers, way].sum(), sizes[layers, way].sum(), way) for way in ways]


@wrong("12.7", says="a greedy walk finds")
def greedy(costs, sizes, budget):
    options = sizes.argmax(axis=1)
    layers = np.arange(len(costs))
    while sizes[layers, options].sum() > budget:
        saved = sizes[layers, options][:, None] - sizes
        price = (costs - costs[layers, options][:, None]) / np.where(saved > 0, saved, 1)
        layer, option = divmod(np.where(saved > 0, price, np.inf).argmin(), costs.shape[1])
        options[layer] = option
    return options


@wrong("12.7", says="sum to more than the budget")
def without_budget(costs, sizes, budget):
    return costs.argmin(axis=1)


@wrong("12.7", says="sum to more than the budget")
def each_layer_the_whole_budget(costs, sizes, budget):
    return np.where(sizes <= budget, costs, np.inf).argmin(axis=1)


@wrong("12.7", says="All layers have the same option")
def same_for_all(costs, sizes, budget):
    return np.full(len(costs), np.where(sizes.sum(axis=0) <= budget, costs.sum(axis=0), np.inf).argmin())


@wrong("12.7", says="Only the sum must keep it")
def equal_shares(costs, sizes, budget):
    return np.where(sizes <= budget / len(costs), costs, np.inf).argmin(axis=1)


@wrong("12.7", says="That is the smallest choice")
def smallest(costs, sizes, budget):
    return sizes.argmin(axis=1)


@wrong("12.7", says="*largest* sum of costs")
def dearest(costs, sizes, budget):
    return max(way for way in ways_of(costs, sizes) if way[1] <= budget)[2]


@wrong("12.7", says="not how much is left over")
def fullest(costs, sizes, budget):
    return max((size, way) for _, size, way in ways_of(costs, sizes) if size <= budget)[1]


@wrong("12.7", says="It is allowed: <=, not <")
def strictly_below(costs, sizes, budget):
    return min(way for way in ways_of(costs, sizes) if way[1] < budget)[2]


@wrong("12.7", says="not its size")
def sizes_not_options(costs, sizes, budget):
    best = min(way for way in ways_of(costs, sizes) if way[1] <= budget)[2]
    return [int(row[k]) for row, k in zip(sizes, best)]


@wrong("12.7", says="dropped each other, and both are lost", blind=True)
def equal_ways_drop_each_other(costs, sizes, budget):
    ways = [((), 0, 0)]
    for layer_costs, layer_sizes in zip(costs, sizes):
        longer = [(way + (k,), cost + layer_costs[k], size + layer_sizes[k])
                  for way, cost, size in ways for k in range(len(layer_costs))
                  if size + layer_sizes[k] <= budget]  # fmt: skip
        ways = [a for a in longer
                if not any(b is not a and b[1] <= a[1] and b[2] <= a[2] for b in longer)]  # fmt: skip
    return np.array(min(ways, key=lambda way: way[1])[0])


@wrong("12.7", says="only the last was kept")
def last_way_of_each_size(costs, sizes, budget):
    ways = {0: (0, ())}  # sum of sizes -> (sum of costs, options)
    for layer_costs, layer_sizes in zip(costs, sizes):
        ways = {size + layer_sizes[k]: (cost + layer_costs[k], way + (k,))
                for size, (cost, way) in ways.items() for k in range(len(layer_costs))}  # fmt: skip
    return np.array(min(value for size, value in ways.items() if size <= budget)[1])

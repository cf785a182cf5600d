"""Wrong answers that students give, and words that the verdict on each must contain."""

import numpy as np

from tinyopt.compress.integer import convert, reference
from tinyopt.course import wrong
from tinyopt.nn import integer_math

# --- 13.1 ---


@wrong("13.1", says="weight's scale")
def bias_of_the_weights_line():
    return 12, 76, 184, 40, 7, 127


@wrong("13.1", says="sign is turned")
def share_turned():
    return 120, 56, 292, 40, 7, 127


@wrong("13.1", says="share, −z · Σ w, is missing")
def share_forgotten():
    return 120, 120, 292, 40, 7, 127


@wrong("13.1", says="zero point twice")
def zero_point_twice():
    return 120, 184, 356, 40, 7, 127


@wrong("13.1", says="zero point is still in the inputs")
def zero_point_never():
    return 120, 184, 228, 40, 7, 127


@wrong("13.1", says="29.66")
def exact_factor():
    return 120, 184, 292, 39, 7, 127


@wrong("13.1", says="*away* from zero")
def half_to_even():
    return 120, 184, 292, 40, 8, 127


@wrong("13.1", says="saturate")
def not_clamped():
    return 120, 184, 292, 40, 7, 162


@wrong("13.1", says="wraps around")
def wrapped():
    return 120, 184, 292, 40, 7, -94


@wrong("13.1", says="zero point twice", blind=True)
def stored_bias_and_shifted_inputs():
    bias, stored = 120, 120 + 16 * (7 - 3)
    acc = 7 * (12 + 16) - 3 * (-8 + 16) + stored  # due is + bias
    return bias, stored, acc, 46, 7, 127


# --- 13.2 ---


def layer_with(weight, bias, in_scale, z, per_channel, stored):
    """w and scale as they should be; the stored bias by a rule (b, w, sums, in_scale, scale, z)."""
    bias = np.zeros(len(weight)) if bias is None else bias
    scale = abs(weight).reshape(len(weight), -1).max(axis=1) / 127
    scale = scale if per_channel else np.full_like(scale, scale.max())
    w = np.rint(weight / scale.reshape(-1, *[1] * (weight.ndim - 1))).astype(np.int8)
    sums = w.astype(np.int64).reshape(len(w), -1).sum(axis=1)
    return w, stored(bias, w, sums, in_scale, scale, z).astype(np.int32), scale


@wrong("13.2", says="share is missing")
def no_share(weight, bias, in_scale, in_zero_point, *, per_channel=True):
    rule = lambda b, w, sums, s, scale, z: np.rint(b / (s * scale))
    return layer_with(weight, bias, in_scale, in_zero_point, per_channel, rule)


@wrong("13.2", says="wrong sign")
def share_added(weight, bias, in_scale, in_zero_point, *, per_channel=True):
    rule = lambda b, w, sums, s, scale, z: np.rint(b / (s * scale)) + z * sums
    return layer_with(weight, bias, in_scale, in_zero_point, per_channel, rule)


@wrong("13.2", says="steps of the weight's scale")
def weights_line(weight, bias, in_scale, in_zero_point, *, per_channel=True):
    rule = lambda b, w, sums, s, scale, z: np.rint(b / scale) - z * sums
    return layer_with(weight, bias, in_scale, in_zero_point, per_channel, rule)


@wrong("13.2", says="sum of one output's weights")
def one_sum_for_all(weight, bias, in_scale, in_zero_point, *, per_channel=True):
    rule = lambda b, w, sums, s, scale, z: np.rint(b / (s * scale)) - z * sums.sum()
    return layer_with(weight, bias, in_scale, in_zero_point, per_channel, rule)


@wrong("13.2", says="needs 32 bits")
def bias_clipped(weight, bias, in_scale, in_zero_point, *, per_channel=True):
    rule = lambda b, w, sums, s, scale, z: np.clip(np.rint(b / (s * scale)) - z * sums, -128, 127)
    return layer_with(weight, bias, in_scale, in_zero_point, per_channel, rule)


@wrong("13.2", says="wrapped around")
def narrow_sum(weight, bias, in_scale, in_zero_point, *, per_channel=True):
    rule = lambda b, w, sums, s, scale, z: np.rint(b / (s * scale)) - z * w.reshape(len(w), -1).sum(axis=1, dtype=np.int8)
    return layer_with(weight, bias, in_scale, in_zero_point, per_channel, rule)


@wrong("13.2", says="out of reach")
def asked_convert(weight, bias, in_scale, in_zero_point, *, per_channel=True):
    return convert.quantize_layer(weight, bias, in_scale, in_zero_point, per_channel=per_channel)


@wrong("13.2", says="sums the floats W", blind=True)
def share_of_floats(weight, bias, in_scale, in_zero_point, *, per_channel=True):
    floats = weight.reshape(len(weight), -1).sum(axis=1)  # and not the integers that the layer multiplies by
    rule = lambda b, w, sums, s, scale, z: np.rint(b / (s * scale) - z * floats / scale)
    return layer_with(weight, bias, in_scale, in_zero_point, per_channel, rule)


# --- 13.3 ---


@wrong("13.3", says="sign of the shift")
def shift_turned(factor, *, bits=31):
    mantissa, exponent = np.frexp(factor)
    return np.rint(mantissa * 2**bits).astype(np.int64), exponent - bits


@wrong("13.3", says="cuts off")
def cut_off(factor, *, bits=31):
    mantissa, exponent = np.frexp(factor)
    return np.floor(mantissa * 2**bits).astype(np.int64), bits - exponent


@wrong("13.3", says="wastes bits")
def one_shift_for_all(factor, *, bits=31):
    shift = np.full(np.shape(factor), 31)
    return np.rint(np.ldexp(factor, shift)).astype(np.int64), shift


@wrong("13.3", says="factor of 2")
def off_by_one(factor, *, bits=31):
    mantissa, exponent = np.frexp(factor)
    return np.rint(mantissa * 2**bits).astype(np.int64), bits - exponent - 1


@wrong("13.3", says="stops there")
def long_shift(factor, *, bits=31):
    mantissa, exponent = np.frexp(factor)
    return np.minimum(np.rint(mantissa * 2**bits), 2**31 - 1).astype(np.int64), bits - exponent


@wrong("13.3", says="out of reach")
def asked_the_package(factor, *, bits=31):
    return integer_math.fixed_point(factor, bits=bits)


@wrong("13.3", says="whatever `bits` is", blind=True)
def bits_of_the_example(factor, *, bits=31):
    _, exponent = np.frexp(factor)
    shift = np.minimum(31 - exponent, 62)  # due is bits − exponent
    multiplier = np.rint(np.ldexp(factor, shift)).astype(np.int64)
    full = multiplier == 2**31
    return np.where(full, np.where(shift > 31, 2**30, 2**31 - 1), multiplier), shift - (full & (shift > 31))


@wrong("13.3", says="whatever `bits` is")
def bits_in_the_multiplier_alone(factor, *, bits=31):
    _, exponent = np.frexp(factor)
    shift = np.minimum(31 - exponent, 62)
    multiplier = np.rint(np.ldexp(factor, shift + bits - 31)).astype(np.int64)
    full = multiplier == 2**bits
    return np.where(full, np.where(shift > 31, 2 ** (bits - 1), 2**bits - 1), multiplier), shift - (full & (shift > 31))


# --- 13.4 ---


def clamp(r, zero_point, relu):
    return min(max(r + zero_point, zero_point if relu else -128), 127)


@wrong("13.4", says="only shifts")
def shift_alone(acc, multiplier, shift, zero_point, *, relu=False):
    return clamp((acc * multiplier) >> shift, zero_point, relu)


@wrong("13.4", says="*away* from zero")
def half_up(acc, multiplier, shift, zero_point, *, relu=False):
    return clamp((acc * multiplier + (1 << (shift - 1))) >> shift, zero_point, relu)


@wrong("13.4", says="*away* from zero")
def python_round(acc, multiplier, shift, zero_point, *, relu=False):
    return clamp(round(acc * multiplier / 2**shift), zero_point, relu)


@wrong("13.4", says="A double has 53 bits")
def in_floats(acc, multiplier, shift, zero_point, *, relu=False):
    exact = acc * multiplier / 2**shift
    return clamp(int(abs(exact) + 0.5) * (1 if exact >= 0 else -1), zero_point, relu)


@wrong("13.4", says="zero point is missing")
def no_zero_point(acc, multiplier, shift, zero_point, *, relu=False):
    return min(max(reference_round(acc * multiplier, shift), -128), 127)


def reference_round(p, shift):
    return ((abs(p) + 2 ** (shift - 1)) // 2**shift) * (1 if p >= 0 else -1)


@wrong("13.4", says="does not saturate")
def no_clamp(acc, multiplier, shift, zero_point, *, relu=False):
    r = reference_round(acc * multiplier, shift)
    return max(r, 0) + zero_point if relu else r + zero_point


@wrong("13.4", says="wraps around")
def cast_first(acc, multiplier, shift, zero_point, *, relu=False):
    return int(np.int64(reference_round(acc * multiplier, shift) + zero_point).astype(np.int8))


@wrong("13.4", says="Clamp last")
def clamped_early(acc, multiplier, shift, zero_point, *, relu=False):
    r = min(max(reference_round(acc * multiplier, shift), 0 if relu else -128), 127)
    return r + zero_point


@wrong("13.4", says="lower end is the zero point")
def relu_forgotten(acc, multiplier, shift, zero_point, *, relu=False):
    return clamp(reference_round(acc * multiplier, shift), zero_point, False)


@wrong("13.4", says="out of reach")
def asked_round_shift(acc, multiplier, shift, zero_point, *, relu=False):
    r = reference.round_shift(acc * multiplier, shift) + zero_point
    return min(max(r, zero_point if relu else -128), 127)


@wrong("13.4", says="rounds *down* once more", blind=True)
def half_as_in_c(acc, multiplier, shift, zero_point, *, relu=False):
    p, half = acc * multiplier, 1 << (shift - 1)
    return clamp((p + half if p >= 0 else p - half) >> shift, zero_point, relu)  # in C, a division cuts off


# --- 13.5 ---


@wrong("13.5", says="does not pass 2²⁴")
def too_short():
    return 127, 127, 1040, 96, 96


@wrong("13.5", says="multiple of 2")
def even_products():
    return 128 - 2, 64, 4095, 96, 96


@wrong("13.5", says="no int8")
def unsigned():
    return 255, 255, 1041, 96, 96


@wrong("13.5", says="4,096 inputs")
def too_long():
    return 63, 63, 5001, 96, 96


@wrong("13.5", says="is wrong, too")
def same_twice():
    return 127, 127, 2001, 127, 127


@wrong("13.5", says="The friend's sum, n · w2 · x2, does not pass")
def small_test():
    return 127, 127, 2001, 1, 1


@wrong("13.5", says="The friend's sum, n · w2 · x2, does not pass", blind=True)
def reaches_the_border():
    w, x, n = 127, 127, 4096
    return w, x, n, 64, 64  # 64 · 64 · 4096 is 2²⁴ itself

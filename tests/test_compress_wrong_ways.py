"""The wrong ways are wrong in the way that their docstrings say, and the right way is not."""

import numpy as np
import pytest

from tinyopt.codec import dequantize, quantize
from tinyopt.compress import wrong_ways

WEIGHTS = np.random.default_rng(0).normal(0, 0.1, 20_000)


def right(x, bits, symmetric=True):
    return dequantize(*quantize(x, bits=bits, symmetric=symmetric))


def test_rounding_to_whole_numbers_leaves_nothing_of_small_weights():
    assert not wrong_ways.round_to_whole(WEIGHTS).any()
    assert wrong_ways.round_to_whole(np.array([0.6, -1.4, 2.5])).tolist() == [1, -1, 2]


@pytest.mark.parametrize("bits", [3, 8])
def test_without_centring_every_error_points_down_and_the_mean_is_half_a_step(bits):
    step = np.ptp(WEIGHTS) / 2**bits
    error = wrong_ways.uncentred(WEIGHTS, bits=bits) - WEIGHTS
    inside = WEIGHTS < WEIGHTS.max()
    assert (error[inside] <= 1e-12).all() and error.min() > -step * 1.000001
    assert abs(error.mean() + step / 2) < 0.02 * step
    assert abs((right(WEIGHTS, bits, symmetric=False) - WEIGHTS).mean()) < 0.02 * step
    assert len(np.unique(wrong_ways.uncentred(WEIGHTS, bits=bits))) <= 2**bits


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_with_a_step_too_many_the_largest_comes_back_as_the_smallest(bits):
    back = wrong_ways.one_value_too_many(WEIGHTS, bits=bits)
    largest, step = WEIGHTS.argmax(), np.ptp(WEIGHTS) / 2**bits
    assert np.isclose(back[largest], WEIGHTS.min())
    good = WEIGHTS < WEIGHTS.max() - step / 2
    assert abs(back - WEIGHTS)[good].max() <= step / 2 * 1.000001  # so a test on typical numbers passes
    right_error = abs(right(WEIGHTS, bits, symmetric=False) - WEIGHTS).max()
    assert abs(back - WEIGHTS).max() > (2**bits - 2) * right_error


def test_a_cast_before_the_clamp_wraps_round():
    x = np.array([12.7, 12.8, 15.0, 25.6, 38.3, -15.0])
    assert np.allclose(wrong_ways.cast_before_clamp(x, 0.1), [12.7, -12.7, -10.6, 0, 12.7, 10.6])
    calm = WEIGHTS / abs(WEIGHTS).max()  # inside the range there is no difference
    assert np.allclose(wrong_ways.cast_before_clamp(calm, 1 / 127), right(calm, 8))


def test_zero_points_of_a_range_without_zero():
    x = np.append(np.linspace(5, 10, 101), 0.0)
    clipped, wide = wrong_ways.clipped_zero_point(x, 5.0, 10.0), wrong_ways.range_without_zero(x, 5.0, 10.0)
    best = right(x, 8, symmetric=False)
    assert np.allclose(clipped[:-1], 5) and clipped[-1] == 0
    assert abs(wide - x)[:-1].max() <= 2.5 / 255 * 1.0001 and np.isclose(wide[-1], 5, atol=0.01)
    assert abs(best - x).max() <= 5 / 255 * 1.0001 and best[-1] == 0


@pytest.mark.parametrize("way", [wrong_ways.clipped_zero_point, wrong_ways.range_without_zero])
def test_around_zero_both_are_right_which_is_why_nobody_notices(way):
    x = np.linspace(-1, 2, 301)
    assert np.allclose(way(x, -1.0, 2.0, bits=5), right(x, 5, symmetric=False))


def test_an_outlier_takes_the_steps_of_all_the_others():
    x = np.append(WEIGHTS, 100 * abs(WEIGHTS).max())
    back = wrong_ways.scaled_by_outlier(x, bits=6)
    assert not back[:-1].any() and back[-1] == x[-1]
    assert abs(right(WEIGHTS, 6) - WEIGHTS).max() < abs(WEIGHTS).max() / 60


def test_a_bias_in_8_bits_is_off_by_many_steps_of_the_accumulator_and_an_int32_by_half_a_step():
    bias = np.random.default_rng(1).normal(0, 0.3, 50)
    product_scale = 0.2 / 127 / 255  # weights in ±0.2, images in [0, 1]
    own, sums, exact = (
        wrong_ways.bias_in_8_bits(bias), wrong_ways.bias_in_8_bits(bias, product_scale),
        np.rint(bias / product_scale) * product_scale,
    )  # fmt: skip
    assert abs(exact - bias).max() <= product_scale / 2 * 1.001
    assert product_scale * 50 < abs(own - bias).mean() and abs(own - bias).max() <= abs(bias).max() / 127 / 2 * 1.001
    assert np.allclose(abs(sums), np.minimum(abs(bias), 127 * product_scale), atol=product_scale)
    assert abs(sums - bias).mean() > 0.99 * abs(bias).mean()  # hardly anything is left


def fixed(acc, factor):
    """Halves away from zero, exactly: a factor of doubles as a fraction."""
    from fractions import Fraction

    p = [Fraction(factor) * int(a) for a in acc]
    return [max(-128, min(127, int(abs(v) + Fraction(1, 2)) * (1 if v >= 0 else -1))) for v in p]


def test_float_requantization_is_right_but_for_halves_and_for_what_float32_cannot_hold():
    acc = np.arange(-600, 600)
    floats = wrong_ways.float_requantization(acc, 0.25)
    right_ones = np.array(fixed(acc, 0.25))
    differ = floats != right_ones
    assert floats.dtype == np.int8 and (abs(floats - right_ones) <= 1).all()
    inside = abs(acc) < 4 * 127
    assert np.isclose(differ[inside].mean(), 1 / 8, atol=0.01)  # halves are 1 in 4, and half of them go otherwise
    assert (acc[differ] % 4 == 2).all()
    factor = np.pi * 1e-7
    acc = np.rint((np.arange(-100, 100) + 0.5) / factor).astype(np.int64)  # next to a half
    single, double = (wrong_ways.float_requantization(acc, factor, dtype=t) for t in (np.float32, np.float64))
    assert double.tolist() == fixed(acc, factor) and (single != double).any()

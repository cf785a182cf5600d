"""Levels chosen for an array, against loops over single numbers and numbers worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinyopt.codec.levels import nearest_level, power_of_two_levels, quantile_levels
from tinyopt.errors import DtypeError, ShapeError

numbers = hnp.arrays(np.float32, hnp.array_shapes(max_dims=3), elements=st.floats(-100, 100, width=32))


@given(x=numbers, held=hnp.arrays(np.float32, st.integers(1, 9), elements=st.integers(-9, 9), unique=True))
def test_the_nearest_level_is_found_and_half_way_goes_up(x, held):
    held = np.sort(held)
    labels = nearest_level(x, held)
    assert labels.shape == x.shape and labels.dtype == np.uint8
    for number, label in zip(x.flat, labels.flat):
        distances = [abs(float(level) - float(number)) for level in held]
        assert label == max(j for j, d in enumerate(distances) if d == min(distances))


@given(n=st.integers(1, 6), bits=st.integers(1, 4), seed=st.integers(0, 99))
def test_quantiles_give_every_level_the_same_number_of_members(n, bits, seed):
    x = np.random.default_rng(seed).permutation(np.arange(n * 2**bits, dtype=np.float64))
    held = quantile_levels(x, bits)
    assert np.allclose(held, np.sort(x).reshape(-1, n).mean(axis=1), atol=0.5)  # the middle of each piece
    assert np.bincount(nearest_level(x, held)).tolist() == [n] * 2**bits


def test_quantiles_that_coincide_are_one_level():
    assert quantile_levels(np.float32([0, 0, 0, 0, 5]), 2).tolist() == [0, 2.5]  # the last lies half way from the 4th to the 5th
    assert quantile_levels(np.full(7, 3.0), 4).tolist() == [3]


@given(x=numbers, bits=st.integers(2, 8))
def test_powers_of_two_and_the_nearest_to_the_largest_number_is_one_of_them(x, bits):
    held = power_of_two_levels(x, bits)
    assert held.dtype == x.dtype and len(held) <= 2**bits - 1 and (np.diff(held) > 0).all()
    assert np.array_equal(held, -held[::-1]) and 0 in held
    assert all(math.frexp(level)[0] == 0.5 for level in held[held > 0].tolist())
    largest = float(abs(x).max())
    if largest:
        near = min((2.0**e for e in range(-160, 12)), key=lambda power: (abs(power - largest), -power))
        assert held[-1] == np.float32(near)
        assert np.array_equal(held[held > 0], held[-1] * 2.0 ** np.arange(1 - (held > 0).sum(), 1))


def test_powers_of_two_by_hand():
    assert power_of_two_levels(np.float64([1.4, -0.1]), 3).tolist() == [-1, -0.5, -0.25, 0, 0.25, 0.5, 1]
    assert power_of_two_levels(np.float64([-1.5]), 2).tolist() == [-2, 0, 2]  # half way between 1 and 2 goes up
    assert power_of_two_levels(np.float64([0.74]), 2).tolist() == [-0.5, 0, 0.5]  # INQ's example: n1 = −1
    assert power_of_two_levels(np.zeros(3), 4).tolist() == [0]


ONES = np.ones(3)


@pytest.mark.parametrize("choose", [quantile_levels, power_of_two_levels])
@pytest.mark.parametrize("bits", [0, 17, 2.5])
def test_other_numbers_of_bits_are_refused(choose, bits):
    with pytest.raises(ValueError, match=rf"{choose.__name__} needs bits in .*got {bits}"):
        choose(ONES, bits)


@pytest.mark.parametrize(
    "attempt, error, sentence",
    [
        (lambda: quantile_levels(ONES * np.nan, 4), ValueError, "finite numbers; 3 of 3 are NaN or Inf"),
        (lambda: power_of_two_levels(ONES * np.inf, 4), ValueError, "finite numbers; 3 of 3 are NaN or Inf"),
        (lambda: power_of_two_levels(np.arange(3), 4), DtypeError, "float32 or float64; got int64"),
        (lambda: quantile_levels(np.ones(0), 4), ShapeError, "at least one number"),
        (lambda: power_of_two_levels(ONES, 1), ValueError, r"bits in 2\.\.8; got 1"),
        (lambda: nearest_level(ONES, np.ones((2, 2))), ShapeError, r"levels are a row.*got shape \(2, 2\)"),
        (lambda: nearest_level(ONES, np.float32([1, 0])), ValueError, "have to ascend"),
        (lambda: nearest_level(ONES * np.nan, ONES[:1]), ValueError, "3 of 3 numbers are NaN"),
    ],
)
def test_what_has_no_levels_is_refused_in_a_sentence(attempt, error, sentence):
    with pytest.raises(error, match=sentence):
        attempt()

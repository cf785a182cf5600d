"""Ranges by squared error, divergence and deviation: each against a slow loop that says the same."""

import functools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standin import StandInArray

from tinyopt import compress, models
from tinyopt.codec.affine import dequantize, scale_from_range, to_integers
from tinyopt.compress.calibrate import best_cut, entropy, k_sigma, min_max, mse_optimal, percentile
from tinyopt.errors import DtypeError, ShapeError

numbers = st.lists(st.integers(-60, 60).map(lambda n: n / 7), min_size=1, max_size=12).map(np.array)


def squared_error(x, low, high, bits, symmetric):
    """What rounding on the line of a range costs."""
    scale, zero_point = scale_from_range(np.float64(low), np.float64(high), bits=bits, symmetric=symmetric)
    q = to_integers(x, scale, zero_point, bits=bits, symmetric=symmetric)
    return ((dequantize(q, scale, zero_point) - x) ** 2).sum()


def brute_force(x, bits, symmetric, n=400):
    """The smallest error over many scales, up to the one that clips nothing, and all zero points."""
    steps = 2**bits - (2 if symmetric else 1)
    low, high = min(0, x.min()), max(0, x.max())
    widest = 2 * max(high, -low) if symmetric else high - low
    below = np.array([steps // 2] if symmetric else range(steps + 1))[:, None]
    scale = np.maximum(np.linspace(1 / n, 1, n) * widest / steps, 1e-30)[:, None, None]
    q = np.clip(np.rint(x / scale), -below, steps - below)  # (scales, zero points, numbers)
    return ((q * scale - x) ** 2).sum(axis=-1).min()


@pytest.mark.parametrize("bits, symmetric", [(2, True), (3, True), (5, True), (2, False), (3, False)])
@settings(max_examples=12, deadline=None)
@given(x=numbers)
def test_no_range_of_brute_force_has_a_smaller_squared_error(bits, symmetric, x):
    low, high = mse_optimal(x, bits, symmetric=symmetric)
    error, least = squared_error(x, low, high, bits, symmetric), brute_force(x, bits, symmetric)
    assert error <= least * (1 + 1e-9) + 1e-12
    assert high - low <= (2 * abs(x).max() if symmetric else np.ptp(np.append(x, 0))) * (1 + 1e-9)


def test_brute_force_comes_close_to_the_optimum_from_above():
    x = np.random.default_rng(0).standard_t(3, 25)
    for symmetric in (True, False):
        error = squared_error(x, *mse_optimal(x, 3, symmetric=symmetric), 3, symmetric)
        assert error <= brute_force(x, 3, symmetric, 4000) < error * 1.0001


def test_of_normal_numbers_the_best_range_is_the_published_multiple_of_the_deviation():
    """Uniform quantizers for a Gaussian: Max (1960), Table II: a step of 0.3352 σ for 16 levels, 0.5860 σ for 8."""
    x = np.random.default_rng(1).normal(size=40_000)
    for bits, step in ((4, 0.3352), (3, 0.5860)):
        low, high = mse_optimal(x, bits, symmetric=False)
        scale = float(scale_from_range(low, high, bits=bits, symmetric=False)[0])
        assert abs(scale - step) < 0.08 * step  # Max's levels lie half a step beside 0: it has none there


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_search_among_groups_is_nearly_as_good_as_among_all(symmetric, monkeypatch):
    x = np.random.default_rng(2).laplace(size=2000)
    found = squared_error(x, *mse_optimal(x, 8, symmetric=symmetric), 8, symmetric)
    low, high = mse_optimal(x[:500], 8, symmetric=symmetric)  # few enough to be searched as they are
    others = [(low * c, high * c) for c in np.linspace(0.7, 1.4, 40)] + [min_max(x)]
    assert found <= 1.01 * min(squared_error(x, *ends, 8, symmetric) for ends in others)


def slow_cut(counts, levels):
    """Migacz's pseudocode, bin by bin."""
    best, least = len(counts), math.inf
    for i in range(levels, len(counts) + 1):
        if sum(c > 0 for c in counts[:i]) < levels:
            continue
        p = [float(c) for c in counts[:i]]
        p[-1] += sum(counts[i:])
        q = [0.0] * i
        for level in range(levels):
            bins = [j for j in range(i) if j * levels // i == level]
            filled = [j for j in bins if counts[j] > 0]
            for j in filled:
                q[j] = sum(counts[j] for j in bins) / len(filled)
        divergence = 0.0
        for a, b in zip(p, q):
            if a > 0:
                divergence += math.inf if b == 0 else a / sum(p) * math.log((a / sum(p)) / (b / sum(q)))
        if divergence < least - 1e-12:
            best, least = i, divergence
    return best


@settings(max_examples=30, deadline=None)
@given(counts=st.lists(st.integers(0, 30), min_size=1, max_size=24), last=st.integers(1, 9), bits=st.integers(1, 3))
def test_the_cut_is_that_of_the_pseudocode(counts, last, bits):
    counts = np.array([*counts, last])
    cut = best_cut(counts, 2**bits)
    if len(counts) <= 2**bits:
        assert cut == len(counts)
    else:
        assert cut == slow_cut(counts, 2**bits)


def test_the_cut_of_a_histogram_with_gaps_keeps_something_to_merge():
    """One filled bin alone would have no divergence at all: a cut there keeps 1 grey of 255."""
    greys = np.zeros(2048)
    greys[8::8] = np.arange(255) + 50
    assert best_cut(greys, 8) > 1800 and best_cut(greys, 256) == len(np.trim_zeros(greys, "b"))


def test_entropy_cuts_a_long_tail_and_leaves_evenly_spread_numbers_alone():
    rng = np.random.default_rng(3)
    tail = rng.exponential(size=8_000)
    low, high = entropy(tail, 4, symmetric=False)
    assert low == tail.min() and 2.5 < high < 0.97 * tail.max()
    assert entropy(tail, 4)[1] < high  # half as many levels
    even = rng.uniform(-1, 1, 5_000)
    assert np.allclose(entropy(even, 4), min_max(even), atol=0.02)
    assert entropy(np.append(even, np.zeros(10**5)), 4) == entropy(even, 4)  # zeros do not count
    assert entropy(np.zeros(9)) == (0, 0) and entropy(np.full(9, 2.5)) == (2.5, 2.5)


def test_k_sigma_is_mean_and_deviation_within_the_ends():
    x = np.random.default_rng(4).normal(2, 0.5, 10_000).astype(np.float32)
    low, high = k_sigma(x, 2)
    assert np.allclose([low, high], [x.mean() - 2 * x.std(), x.mean() + 2 * x.std()], rtol=1e-5)
    assert abs((x < low).mean() - 0.0228) < 0.005
    assert k_sigma(np.array([0.0, 0.0, 1.0]), 3) == (0, 1) and k_sigma(np.array([4.0])) == (4, 4)


RULES = [k_sigma, functools.partial(mse_optimal, bits=4), functools.partial(mse_optimal, bits=3, symmetric=False),
         functools.partial(entropy, bits=4)]  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_each_channel_has_the_range_of_itself_alone_on_any_device(rule, axis):
    x = np.random.default_rng(5).normal(size=(3, 4, 5)).astype(np.float32)
    low, high = rule(x, axis=axis)
    alone = [rule(channel.copy()) for channel in np.moveaxis(x, axis, 0)]
    assert np.allclose(low, [a for a, _ in alone]) and np.allclose(high, [b for _, b in alone])
    assert low.shape == high.shape == (x.shape[axis],) and low.dtype == high.dtype == np.float32


@pytest.mark.parametrize("rule", RULES)
def test_what_has_no_range_is_refused(rule):
    with pytest.raises(ValueError, match="1 of 2 are NaN or Inf"):
        rule(np.array([1.0, np.inf]))
    with pytest.raises(DtypeError, match="int64"):
        rule(np.arange(3))
    with pytest.raises(ShapeError, match="at least one number"):
        rule(np.ones(0))
    assert rule(np.zeros(4)) == (0, 0)


def test_settings_out_of_range_are_refused():
    for rule in (mse_optimal, entropy):
        for bits in (0, 1, 11, 17, 2.5):
            with pytest.raises(ValueError, match=r"bits in 2..10; got"):
                rule(np.ones(3), bits)
    for k in (0, -1, math.nan, math.inf):
        with pytest.raises(ValueError, match="standard deviations to each side"):
            k_sigma(np.ones(3), k)


def test_a_model_takes_any_of_these_rules_and_squared_error_is_least_with_its_own():
    errors = {}
    for name, rule in {"mse": functools.partial(mse_optimal, bits=3), "3 sigma": k_sigma, "whole": min_max,
                       "percentile": functools.partial(percentile, percent=99)}.items():  # fmt: skip
        model = models.lenet5(image_size=8, filters=(4, 6), units=20, rng=0)
        before = model.get("fc1.weight").data
        compress.quantize(model, 3, calibrate=rule)
        errors[name] = ((model.get("fc1.weight").read().data - before) ** 2).sum()
    assert min(errors, key=errors.get) == "mse" and errors["mse"] < 0.99 * errors["whole"]


def test_a_device_array_gives_the_same_range_there():
    x = np.random.default_rng(6).normal(size=(4, 50)).astype(np.float32)
    for rule in RULES[:1]:  # the searches come to the host: test_devices_calibration has them
        there = rule(StandInArray(x), axis=0)
        assert all(np.allclose(a.get(), b) for a, b in zip(there, rule(x, axis=0)))

"""Ranges for quantization: percentiles against counting, and what a model does with a range."""

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standin import StandInArray, transfers

from tinyopt import compress, models, nn
from tinyopt.compress.calibrate import min_max, percentile
from tinyopt.errors import DtypeError, ShapeError


def between(ordered, percent):
    """A percentile of sorted numbers, read off the line between its two neighbours."""
    place = (len(ordered) - 1) * percent / 100
    below = min(int(place), len(ordered) - 2) if len(ordered) > 1 else 0
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


@given(
    numbers=st.lists(st.integers(-50, 50), min_size=1, max_size=30), percent=st.sampled_from([51, 75, 90, 99.9, 100])
)
def test_percentile_is_read_off_the_sorted_numbers(numbers, percent):
    low, high = percentile(np.array(numbers, float), percent)
    ordered = sorted(numbers)
    assert np.allclose([low, high], [between(ordered, 100 - percent), between(ordered, percent)])
    assert min(numbers) <= low <= high <= max(numbers)


def test_of_1001_numbers_one_lies_beyond_each_end():
    x = np.random.default_rng(0).permutation(1001).astype(np.float32)
    low, high = percentile(x)
    assert ((x < low).sum(), (x > high).sum()) == (1, 1)
    assert low.dtype == high.dtype == np.float32
    assert percentile(x, 100) == min_max(x) == (0, 1000)


@pytest.mark.parametrize("rule", [min_max, percentile])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_each_channel_has_the_range_of_itself_alone(rule, axis):
    x = np.random.default_rng(1).normal(size=(3, 4, 5)).astype(np.float32)
    low, high = rule(x, axis=axis)
    alone = [rule(channel.copy()) for channel in np.moveaxis(x, axis, 0)]
    assert np.allclose(low, [a for a, _ in alone]) and np.allclose(high, [b for _, b in alone])
    assert low.shape == high.shape == (x.shape[axis],)


@pytest.mark.parametrize("axis", [None, 0])
def test_a_device_array_gives_the_same_range_and_never_comes_to_the_host(axis):
    x = np.random.default_rng(2).normal(size=(4, 5)).astype(np.float32)
    transfers.reset()
    there = percentile(StandInArray(x), 90, axis=axis)
    assert (transfers.to_host, transfers.to_device) == (0, 0)
    assert all((a.get() == b).all() for a, b in zip(there, percentile(x, 90, axis=axis)))


def test_what_has_no_range_is_refused():
    for percent in (50, 0.999, 101, float("nan")):
        with pytest.raises(ValueError, match=r"\(50, 100\], such as 99.9"):
            percentile(np.ones(3), percent)
    with pytest.raises(ValueError, match="1 of 2 are NaN or Inf"):
        percentile(np.array([1.0, np.nan]))
    with pytest.raises(DtypeError, match="int64"):
        percentile(np.arange(3))
    with pytest.raises(ShapeError, match="at least one number"):
        percentile(np.ones(0))
    with pytest.raises(ShapeError, match="axis 2"):
        percentile(np.ones((2, 3)), axis=2)


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("symmetric", [True, False])
def test_a_model_is_clipped_to_the_range_and_rounded_inside(per_channel, symmetric):
    model = models.lenet5(image_size=8, rng=0)
    before = model.get("fc1.weight").data
    rule = functools.partial(percentile, percent=95)
    errors = compress.quantize(model, 4, per_channel=per_channel, symmetric=symmetric, calibrate=rule)
    after, view = model.get("fc1.weight").read().data, model.get("fc1.weight").view(nn.Quantize)
    low, high = rule(before, axis=0 if per_channel else None)
    if symmetric:
        high = np.maximum(high, -low)
        low = -high
    low, high = (np.reshape(end, (-1, 1) if per_channel else ()) for end in (low, high))
    inside = (before >= low) & (before <= high)
    outside = ~inside.copy()
    assert 0.88 < inside.mean() < 1 and outside.any()
    assert (abs(after - before) <= view.scale * 0.5001)[inside].all()
    end = np.broadcast_to(np.where(before > 0, high, low), before.shape)
    assert (abs(after - end) <= view.scale * 0.5001)[outside].all()
    assert errors["fc1.weight"] == abs(after - before).max()


def test_min_max_is_the_default_range_of_a_model():
    one, other = models.lenet5(image_size=8, rng=0), models.lenet5(image_size=8, rng=0)
    compress.quantize(one, 3)
    compress.quantize(other, 3, calibrate=functools.partial(percentile, percent=100))
    for p, q in zip(one.parameters(), other.parameters()):
        assert (p.read().data == q.read().data).all()

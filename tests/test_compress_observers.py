"""Observers against the rules on all numbers at once, and the ranges of a model's activations."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyopt import nn
from tinyopt.compress.calibrate import entropy, k_sigma, mse_optimal, percentile
from tinyopt.compress.observers import (
    EntropyObserver,
    HistogramObserver,
    KSigmaObserver,
    MinMaxObserver,
    MovingAverageMinMaxObserver,
    PercentileObserver,
    calibrate,
)  # fmt: skip
from tinyopt.data import Part
from tinyopt.errors import ShapeError

OBSERVERS = [MinMaxObserver, MovingAverageMinMaxObserver, KSigmaObserver, HistogramObserver, PercentileObserver,
             EntropyObserver]  # fmt: skip
whole = st.integers(-3000, 3000)
batch = st.lists(whole, min_size=1, max_size=8).map(lambda numbers: np.array(numbers, np.float32))
batches = st.lists(batch, min_size=1, max_size=6)


def shown(observer, parts):
    for part in parts:
        observer.observe(part)
    return observer


def drawn(n=5, seed=0):
    """Batches of growing spread, with a ReLU's zeros."""
    rng = np.random.default_rng(seed)
    return [np.maximum(rng.normal(0.3, 1 + i, (40, 30)), 0).astype(np.float32) for i in range(n)]


@given(parts=batches)
def test_min_max_and_k_sigma_of_batches_are_those_of_all_numbers(parts):
    x = np.concatenate(parts).astype(np.float64)
    assert shown(MinMaxObserver(), parts).range() == (x.min(), x.max())
    assert np.allclose(shown(KSigmaObserver(1.5), parts).range(), k_sigma(x, 1.5), atol=1e-9)


@given(parts=batches, part=st.sampled_from([0.01, 0.3, 1.0]))
def test_a_moving_average_weighs_batches_by_their_age(parts, part):
    low, high = shown(MovingAverageMinMaxObserver(part), parts).range()
    n = len(parts)
    shares = [(1 - part) ** (n - 1)] + [part * (1 - part) ** (n - 1 - i) for i in range(1, n)]
    assert np.isclose(sum(shares), 1)
    assert np.isclose(low, sum(s * p.min() for s, p in zip(shares, parts)), atol=1e-3)
    assert np.isclose(high, sum(s * p.max() for s, p in zip(shares, parts)), atol=1e-3)


def test_the_moving_average_starts_as_pytorch_does_at_its_constant():
    observer = shown(MovingAverageMinMaxObserver(), [np.array([-1.0, 2.0]), np.array([-3.0, 1.0])])
    assert observer.averaging_constant == 0.01 and np.allclose(observer.range(), (-1.02, 1.99))


@settings(max_examples=25)
@given(parts=batches, order=st.randoms(use_true_random=False))
def test_a_histogram_that_grew_counts_what_one_made_at_once_counts(parts, order):
    grown = shown(HistogramObserver(bins=16), parts)
    x = np.concatenate(parts)
    if not x.any():
        assert (grown.n_zeros, grown.counts.sum()) == (x.size, 0) and grown.range() == (0, 0)
        return
    counts, _ = np.histogram(x[x != 0], grown.edges)  # its last bin holds its upper edge, where nothing lies
    assert grown.counts.tolist() == counts.tolist() and grown.n_zeros == (x == 0).sum()
    assert grown.bins / 2 * grown.width <= abs(x).max() < grown.bins * grown.width
    order.shuffle(parts)
    again = shown(HistogramObserver(bins=16), parts)
    assert (again.counts == grown.counts).all() and again.width == grown.width


@pytest.mark.parametrize("symmetric", [True, False])
def test_ranges_from_a_histogram_are_those_of_all_numbers_to_a_bin(symmetric):
    parts = drawn()
    x = np.concatenate(parts).astype(np.float64)
    pairs = [
        (PercentileObserver(99), percentile(x, 99)),
        (HistogramObserver(bits=4, symmetric=symmetric), mse_optimal(x, 4, symmetric=symmetric)),
    ]
    for observer, expected in pairs:
        found = shown(observer, parts).range()
        assert np.allclose(found, expected, atol=3 * observer.width), type(observer)
    both = [part * np.sign(np.random.default_rng(1).normal(size=part.shape)) for part in parts]
    observer = shown(PercentileObserver(95), both)
    assert np.allclose(observer.range(), percentile(np.concatenate(both), 95), atol=observer.width)


def test_the_entropy_observer_finds_the_function_s_range_from_the_same_bins():
    x = np.random.default_rng(2).exponential(size=20_000)
    x = x / x.max() * (1 - 1e-9)  # the histogram for numbers below 1 has the same bins then
    for bits in (4, 6):
        found = shown(EntropyObserver(bits=bits), np.split(x, 4)).range()
        assert np.allclose(found, entropy(x, bits, symmetric=False), atol=1e-6)


@pytest.mark.parametrize("kind", OBSERVERS)
def test_an_observer_refuses_what_has_no_range(kind):
    with pytest.raises(ValueError, match="has seen nothing: call observe"):
        kind().range()
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(ValueError, match="finite numbers; NaN or infinity came"):
            kind().observe(np.array([1.0, bad]))
    with pytest.raises(ShapeError, match="at least one number"):
        kind().observe(np.ones((0, 3)))
    assert shown(kind(), [np.zeros(3)]).range() == (0, 0)


@pytest.mark.parametrize("make, sentence", [
    (lambda: MovingAverageMinMaxObserver(0), r"in \(0, 1\]; got 0"),
    (lambda: KSigmaObserver(-1), "above 0, such as 3; got -1"),
    (lambda: PercentileObserver(50), r"\(50, 100\]"),
    (lambda: HistogramObserver(bits=17), "bits in 2..10; got 17"),
    (lambda: HistogramObserver(bins=1000), "power of two, such as 2048; got 1000"),
])  # fmt: skip
def test_an_observer_refuses_settings_that_make_no_sense(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


# --- a model's activations -----------------------------------------------------------------------------


def network():
    return nn.Sequential(fc=nn.Linear(4, 6, rng=0), relu=nn.ReLU(), drop=nn.Dropout(0.5), out=nn.Linear(6, 3, rng=1))


IMAGES = np.random.default_rng(3).normal(size=(50, 4)).astype(np.float32)
PART = Part(IMAGES, np.zeros(50, int))


@pytest.mark.parametrize("part", [PART, (IMAGES, PART.labels), IMAGES])
def test_calibrate_gives_the_range_of_each_layer_s_output_in_eval_mode(part):
    model = network()
    ranges = calibrate(model, part, batch_size=7)
    fc, out = model.get("fc"), model.get("out")
    first = IMAGES @ fc.weight.data.T + fc.bias.data
    last = np.maximum(first, 0) @ out.weight.data.T + out.bias.data
    expected = {"input": IMAGES, "fc": first, "relu": np.maximum(first, 0), "drop": np.maximum(first, 0), "out": last}
    assert list(ranges) == list(expected)
    for name, made in expected.items():
        assert np.allclose(ranges[name], (made.min(), made.max()), atol=1e-6), name
    assert model.training and model.get("drop").training
    assert calibrate(model, part, functools.partial(PercentileObserver, 90), ["relu"])["relu"][1] < ranges["relu"][1]


def test_a_layer_that_stands_in_two_places_is_found_under_both_names():
    layer = nn.Linear(4, 4, rng=0)
    ranges = calibrate(nn.Sequential(first=layer, second=layer), PART, layers=["first", "second"])
    assert ranges["first"] == ranges["second"]


def test_a_layer_that_runs_twice_is_watched_both_times():
    class Twice(nn.Module):
        def __init__(self):
            self.layer, self.idle = nn.Linear(4, 4, rng=2), nn.ReLU()

        def forward(self, x):
            return self.layer(self.layer(x) * 10)

    model = Twice()
    weight, bias = model.layer.weight.data, model.layer.bias.data
    first = IMAGES @ weight.T + bias
    second = 10 * first @ weight.T + bias
    ranges = calibrate(model, PART)
    assert np.allclose(ranges["layer"], (min(first.min(), second.min()), max(first.max(), second.max())), rtol=1e-5)
    assert "idle" not in ranges
    with pytest.raises(ValueError, match="does not run: idle"):
        calibrate(model, PART, layers=["layer", "idle"])


def test_data_without_a_range_are_refused_in_one_sentence_that_names_the_layer():
    model = network()
    for empty in (PART.take(slice(0, 0)), IMAGES[:0], []):
        with pytest.raises(ValueError, match=r"needs examples .* data.train.sample\(512, rng=0\)"):
            calibrate(model, empty)
    broken = IMAGES.copy()
    broken[33, 1] = np.nan
    with pytest.raises(ValueError, match="^the calibration images hold NaN or infinity"):
        calibrate(model, broken)
    with pytest.raises(ValueError, match="from calibration data, 'relu' makes NaN"):
        calibrate(model, broken, layers=["relu"])
    model.get("out").weight.data = np.full((3, 6), 3e38, np.float32)
    too_large = "from calibration data, 'out' makes NaN or infinity"
    with np.errstate(all="ignore"), pytest.raises(ValueError, match=too_large):
        calibrate(model, 1e3 * IMAGES)
    with pytest.raises(KeyError, match="no layer or parameter is called 'fc9'; there are: fc"):
        calibrate(model, PART, layers=["fc9"])

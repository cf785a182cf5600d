"""Sparse from the start: counts against a search for ε, and RigL's moves against a slow loop."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyopt import Tensor, compress, data, losses, models, nn, optim, train
from tinyopt.compress.dynamic import (
    RigL, dense_gradients, drop_and_grow, erk_counts, sparse_start, uniform_counts, whole_counts,
)  # fmt: skip
from tinyopt.errors import ShapeError

PART = (data.digits().train.take(slice(0, 256)), None)  # 4 steps of 64 an epoch
SHAPES = st.lists(
    st.tuples(st.integers(4, 40), st.integers(4, 40))
    | st.tuples(st.integers(4, 12), st.integers(2, 12), st.just(3), st.just(3)),
    min_size=1, max_size=5,
)  # fmt: skip


# --- how many weights each layer gets ------------------------------------------------------------------


def by_search(shapes, n_kept, kernel):
    """Densities min(1, ε · raw), with the ε that gives the total, found by halving an interval."""
    sizes = np.array([math.prod(shape) for shape in shapes])
    raw = np.array([sum(s if kernel else s[:2]) / math.prod(s if kernel else s[:2]) for s in shapes])
    low, high = 0.0, 1 / raw.min()
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if (np.minimum(1, middle * raw) * sizes).sum() < n_kept else (low, middle)
    return np.minimum(1, high * raw) * sizes


@given(shapes=SHAPES, sparsity=st.floats(0, 0.9), kernel=st.booleans())
@settings(max_examples=60)
def test_counts_have_the_exact_total_and_are_those_of_the_formula(shapes, sparsity, kernel):
    n = sum(map(math.prod, shapes))
    counts = erk_counts(shapes, sparsity, kernel=kernel)
    assert sum(counts) == n - int(sparsity * n)
    assert all(1 <= count <= math.prod(shape) for count, shape in zip(counts, shapes))
    assert np.abs(counts - by_search(shapes, sum(counts), kernel)).max() < 1 + 1e-6


def test_counts_by_hand():
    # raw 4×4: 8/16 = ½, 10×10: 20/100 = ⅕. ε (½ · 16 + ⅕ · 100) = 14 gives ε = ½: densities ¼ and ⅒
    assert erk_counts([(4, 4), (10, 10)], 102 / 116) == [4, 10]
    # to keep 58: ε = 58/28 > 2 would be over 1 for the first, which stays dense: 42 are left for the second
    assert erk_counts([(4, 4), (10, 10)], 0.5) == [16, 42]
    assert uniform_counts([(4, 4), (10, 10)], 0.5) == [8, 50]
    assert erk_counts([(3, 3)], 0) == [9]


@given(ideal=st.lists(st.floats(1, 50), min_size=1, max_size=8))
def test_whole_counts_are_near_and_add_up(ideal):
    ideal = np.array(ideal)
    total = int(ideal.sum())
    ideal *= total / ideal.sum()
    if (ideal < 1).any():
        return
    counts = whole_counts(ideal, total)
    assert sum(counts) == total and np.abs(counts - ideal).max() < 1 + 1e-6


@pytest.mark.parametrize("distribution", ["erk", "er", "uniform"])
def test_a_model_starts_sparse_with_exact_counts_and_other_places_for_another_seed(distribution):
    model = models.lenet5(image_size=8, rng=0)
    masks = sparse_start(model, 0.8, distribution=distribution, skip="conv1", rng=0)
    shapes = [mask.shape for mask in masks.values()]
    counts = {"erk": erk_counts, "er": lambda *a: erk_counts(*a, kernel=False), "uniform": uniform_counts}
    assert [int(mask.sum()) for mask in masks.values()] == counts[distribution](shapes, 0.8)
    assert list(masks) == ["conv2.weight", "fc1.weight", "fc2.weight"] and not model.get("conv1.weight").views
    again = sparse_start(models.lenet5(image_size=8, rng=0), 0.8, distribution=distribution, skip="conv1", rng=0)
    other = sparse_start(models.lenet5(image_size=8, rng=0), 0.8, distribution=distribution, skip="conv1", rng=1)
    assert all(np.array_equal(masks[name], again[name]) for name in masks)
    assert not any(np.array_equal(masks[name], other[name]) for name in masks if not masks[name].all())


# --- drop and grow -------------------------------------------------------------------------------------


@given(seed=st.integers(0, 9999), fraction=st.floats(0, 1))
def test_the_smallest_are_dropped_and_the_largest_gradients_grow(seed, fraction):
    rng = np.random.default_rng(seed)
    weight, gradient = rng.integers(-4, 5, (2, 4, 5)).astype(float)  # with ties
    mask = rng.random((4, 5)) < rng.random()
    new = drop_and_grow(weight, gradient, mask, fraction)
    k = min(int(fraction * mask.sum()), (~mask).sum())
    dropped, grown, stayed, out = mask & ~new, new & ~mask, mask & new, ~mask & ~new
    assert new.sum() == mask.sum() and dropped.sum() == grown.sum() == k
    if k and stayed.any():
        assert abs(weight[dropped]).max() <= abs(weight[stayed]).min()
    if k and out.any():
        assert abs(gradient[grown]).min() >= abs(gradient[out]).max()


def test_gradients_of_masked_weights_are_those_of_weights_that_are_zero():
    model = models.lenet_300_100(image_size=8, rng=0)
    sparse_start(model, 0.7, distribution="uniform", rng=0)
    x, y = Tensor(PART[0].images[:32]), Tensor(PART[0].labels[:32])
    found = dense_gradients(model, train.classify, x, y)
    assert all(parameter.grad is None for parameter in model.parameters())
    plain = models.lenet_300_100(image_size=8, rng=0)
    for name, parameter in plain.named_parameters():
        parameter.data = model.get(name).read().data  # zeros that nothing masks
    losses.cross_entropy(plain(x), y).backward()
    for name, parameter in plain.named_parameters():
        assert np.array_equal(parameter.grad, found[name])
        assert parameter.data.ndim < 2 or (found[name][parameter.data == 0] != 0).any()


def test_gradients_are_looked_up_without_a_trace_in_the_model():
    model = nn.Sequential(nn.Conv2d(1, 4, 3, rng=0), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5, rng=3), nn.Flatten(),
                          nn.Linear(144, 10, rng=1))  # fmt: skip
    compress.prune(model, 0.5)
    before, generator = model.state_dict(), str(model.get("3").rng.bit_generator.state)
    dense_gradients(model, train.classify, Tensor(PART[0].images[:32]), Tensor(PART[0].labels[:32]))
    after = model.state_dict()
    assert all(before[name] is after[name] or np.array_equal(before[name], after[name]) for name in before)
    assert str(model.get("3").rng.bit_generator.state) == generator


# --- RigL in a run -------------------------------------------------------------------------------------


class Record:
    """Masks and weights after each step: this callback runs after RigL."""

    def __init__(self):
        self.masks, self.weights, self.restarted = [], [], []

    def after_step(self, run):
        weight = run.model.get("fc1.weight")
        self.masks.append(weight.view(nn.Mask).keep)
        self.weights.append(weight.read().data)
        self.restarted.append(weight.restarted)


def test_rigl_moves_connections_when_due_keeps_their_number_and_grows_from_zero():
    model, record = models.lenet_300_100(image_size=8, rng=0), Record()
    masks = sparse_start(model, 0.9, rng=0)
    optimizer = optim.Adam(model.parameters())
    train.fit(model, PART, epochs=4, optimizer=optimizer, callbacks=[RigL(every=3, end=10), record], progress=False)
    n, before = int(masks["fc1.weight"].sum()), masks["fc1.weight"]
    for step, (mask, weight, restarted) in enumerate(zip(record.masks, record.weights, record.restarted), start=1):
        grown = mask & ~before
        due = step in (3, 6, 9)
        share = 0.15 * (1 + math.cos(math.pi * step / 10))
        assert mask.sum() == n and grown.sum() == (int(share * n) if due else 0)
        assert (weight[grown] == 0).all() and (not due or np.array_equal(restarted, grown))
        before = mask
    assert all(int(model.get(name).view(nn.Mask).keep.sum()) == int(mask.sum()) for name, mask in masks.items())
    assert (record.weights[-1][record.masks[-1] & ~masks["fc1.weight"]] != 0).any()  # what grew has learned


def test_rigl_stops_at_three_quarters_of_the_run_unless_told():
    model, record = models.lenet_300_100(image_size=8, rng=0), Record()
    sparse_start(model, 0.9, rng=0)
    train.fit(model, PART, epochs=3, callbacks=[RigL(every=1), record], progress=False)
    moved = [not np.array_equal(a, b) for a, b in zip(record.masks, record.masks[1:])]
    assert moved == [True] * 7 + [False] * 4  # after steps 2 to 8, of 12; at step 9 the fraction is 0


def rigl_on(change):
    model = models.lenet_300_100(image_size=8, rng=0)
    change(model)
    train.fit(model, PART, epochs=1, callbacks=[RigL()], progress=False)


def prune_and_share(model):
    compress.prune(model, 0.5)
    compress.share(model, 4)


ONES = np.ones((2, 2))
REFUSED = [
    (lambda: erk_counts([(3, 3)], 1.0), ValueError, r"in \[0, 1\): 90 % is 0.9; got 1.0"),
    (lambda: erk_counts([(3, 3), (500, 500)], 0.99999), ValueError, "would empty layer number 1 of 2"),
    (lambda: sparse_start(nn.Sequential(nn.ReLU()), 0.5), ValueError, "no weight matrix or filter"),
    (
        lambda: sparse_start(nn.Linear(3, 2), 0.5, distribution="best"),
        ValueError,
        "one of erk, er, uniform; got 'best'",
    ),
    (lambda: drop_and_grow(ONES, ONES, np.ones((2, 3), bool), 0.3), ShapeError, r"one shape; got .*\(2, 3\)"),
    (lambda: drop_and_grow(ONES, ONES * np.nan, ONES > 0, 0.3), ValueError, "must be finite"),
    (lambda: drop_and_grow(ONES, ONES, ONES > 0, 1.3), ValueError, r"moved/kept, in \[0, 1\]; got 1.3"),
    (lambda: RigL(every=0), ValueError, "every is a number of steps"),
    (lambda: RigL(end=0), ValueError, "end is the step"),
    (lambda: RigL(fraction=0), ValueError, r"in \(0, 1\]; got 0"),
    (lambda: rigl_on(lambda model: None), ValueError, "mask it first, with sparse_start"),
    (lambda: rigl_on(prune_and_share), ValueError, "which shared ones cannot.*Share afterwards"),
]


@pytest.mark.parametrize("attempt, error, sentence", REFUSED)
def test_what_cannot_be_done_is_refused_in_a_sentence(attempt, error, sentence):
    with pytest.raises(error, match=sentence):
        attempt()

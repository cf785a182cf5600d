"""Bits under a byte budget: the choice against all combinations, the scan against trials, bytes against files."""

import copy
import itertools
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyopt import compress, data, files, measure, models, nn
from tinyopt.compress.bit_budget import BitScan, cheapest, scan_bits

DIGITS = data.digits()


class Guarded:
    val = DIGITS.val.take(slice(0, 60))

    @property
    def test(self):
        raise AssertionError("the test part was read")


@settings(max_examples=60)
@given(data=st.data(), n_layers=st.integers(1, 5), n_options=st.integers(1, 4))
def test_no_combination_within_the_budget_is_cheaper(data, n_layers, n_options):
    def grid(low, high):
        row = st.lists(st.integers(low, high), min_size=n_options, max_size=n_options)
        return np.array(data.draw(st.lists(row, min_size=n_layers, max_size=n_layers)))

    costs, sizes = grid(-3, 9) / 8, grid(0, 12)  # eighths: sums are exact, and ties are many
    budget = data.draw(st.integers(0, int(sizes.max(axis=1).sum()) + 1))
    layers = np.arange(n_layers)
    every = [np.array(options) for options in itertools.product(range(n_options), repeat=n_layers)]
    fitting = [options for options in every if sizes[layers, options].sum() <= budget]
    if not fitting:
        with pytest.raises(ValueError, match=f"of {budget} bytes .*smallest choice has {sizes.min(axis=1).sum()}"):
            cheapest(costs, sizes, budget)
        return
    best = min((costs[layers, options].sum(), sizes[layers, options].sum()) for options in fitting)
    chosen = cheapest(costs, sizes, budget)
    assert (costs[layers, chosen].sum(), sizes[layers, chosen].sum()) == best  # and of the cheapest, the smallest


def test_many_layers_of_real_sizes_are_chosen_exactly_too():
    """With costs that are convex in the size, and sizes alike, greed is exact: one step down where it costs least."""
    rng = np.random.default_rng(0)
    n_layers, bits = 40, np.array([8, 6, 4, 2])
    sizes = np.broadcast_to(bits * 12345, (n_layers, 4))
    steps = np.sort(rng.random((n_layers, 3)), axis=1)  # each two bits less cost more than the last two
    costs = np.concatenate([np.zeros((n_layers, 1)), np.cumsum(steps, axis=1)], axis=1)
    for n_down in (0, 1, 17, 60, 119, 120):
        budget = int(sizes[:, 0].sum()) - n_down * 2 * 12345
        chosen = cheapest(costs, sizes, budget)
        assert np.isclose(costs[np.arange(n_layers), chosen].sum(), np.sort(steps.ravel())[:n_down].sum())


def test_a_scan_looks_at_one_layer_at_a_time_and_never_at_the_test_part():
    model = models.lenet_300_100(image_size=8, rng=0)
    found = scan_bits(model, Guarded(), (4, 1), skip="fc3", symmetric=False)
    assert found.names == ("fc1.weight", "fc2.weight") and found.bits.tolist() == [32, 4, 1]
    assert not any(parameter.views for parameter in model.parameters())
    for i, name in enumerate(found.names):
        for j, bits in enumerate(found.bits.tolist()):
            trial = copy.deepcopy(model)
            if bits < 32:
                compress.quantize(trial, {name: bits}, symmetric=False)
            quality = measure.evaluate(trial, Guarded.val)
            assert (quality.loss, quality.accuracy) == (found.loss[i, j], found.accuracy[i, j])
    assert "fc2.weight" in str(found) and "4 bits" in str(found)
    assert found.sizes[:, 0].tolist() == [4 * 64 * 300, 4 * 300 * 100]


@pytest.mark.parametrize("way", [{}, {"symmetric": False, "per_channel": False}, {"group_size": 4, "skip": "fc3"}])
def test_the_file_of_what_is_chosen_fits_the_budget_and_its_bytes_are_known(way, tmp_path):
    model, path = models.lenet_300_100(image_size=8, rng=0), tmp_path / "model"
    compress.prune(model, {"fc1": 0.5})
    skip = way.pop("skip", ())
    found = scan_bits(model, Guarded(), (16, 8, 4, 2), skip=skip, **way)
    smallest = int(found.sizes.min(axis=1).sum() + found.rest)
    for budget in np.linspace(smallest, found.sizes.max(axis=1).sum() + found.rest, 6).astype(int).tolist():
        chosen, trial = found.choose(budget), copy.deepcopy(model)
        compress.quantize(trial, chosen, **way)
        files.save(trial, path)
        assert os.path.getsize(path) <= budget
        columns = [found.bits.tolist().index(chosen.get(name, 32)) for name in found.names]
        by_name = {name: 0 for name in found.names}
        for name, _, _, size in files.ledger(path):
            by_name[name] = by_name.get(name, 0) + size
        assert [by_name[name] for name in found.names] == [row[j] for row, j in zip(found.sizes.tolist(), columns)]
    assert set(found.choose(smallest).values()) == {2}
    with pytest.raises(ValueError, match=f"budget of {smallest - 1:,} bytes is too small.*has {smallest:,}"):
        found.choose(smallest - 1)


def test_a_budget_is_spent_where_the_loss_rises_most():
    sizes = np.array([[400, 50, 25], [400, 50, 25]])
    loss = np.array([[1.0, 1.0, 1.01], [1.0, 1.2, 3.0]])
    found = BitScan(("a", "b"), np.array([32, 4, 2]), sizes, 10, loss, 1 / loss)
    assert found.choose(85) == {"a": 2, "b": 4} and found.choose(60) == {"a": 2, "b": 2}
    assert found.choose(460) == {"a": 4} and found.sizes[0, 0] == 400  # "a" costs nothing at 4 bits; "b" stays


def test_what_seems_to_gain_by_fewer_bits_counts_as_what_came_before_it():
    sizes, loss = np.array([[400, 50, 25], [400, 50, 25]]), np.array([[1.0, 1.1, 0.5], [1.0, 0.9, 0.8]])
    found = BitScan(("a", "b"), np.array([32, 4, 2]), sizes, 0, loss, 1 / loss)
    assert found.choose(900) == {"b": 2} and found.choose(424) == {"a": 2, "b": 2}


PLAIN = nn.Sequential(nn.Flatten(), nn.Linear(64, 10, rng=0))
REFUSED = [
    (lambda: scan_bits(PLAIN, DIGITS.test), TypeError, "takes a Dataset.*test part"),
    (lambda: scan_bits(PLAIN, DIGITS, (2, 4)), ValueError, r"descending, in 1\.\.16"),
    (lambda: scan_bits(PLAIN, DIGITS, (17, 4)), ValueError, r"descending, in 1\.\.16"),
    (lambda: scan_bits(PLAIN, DIGITS, ()), ValueError, "descending"),
    (lambda: scan_bits(PLAIN, DIGITS, (4, 2), group_size=48), ValueError, "1.weight: a group size divides.*64"),
    (lambda: scan_bits(nn.Sequential(nn.Flatten()), DIGITS), ValueError, "no weight matrix"),
    (lambda: cheapest(np.full((1, 2), np.nan), np.ones((1, 2), int), 5), ValueError, "costs must be finite"),
    (lambda: cheapest(np.zeros((1, 2)), np.ones((1, 2), int), float("nan")), ValueError, "too small"),
]


@pytest.mark.parametrize("attempt, error, sentence", REFUSED)
def test_a_scan_of_bits_that_cannot_be_is_refused_in_a_sentence(attempt, error, sentence):
    with pytest.raises(error, match=sentence):
        attempt()

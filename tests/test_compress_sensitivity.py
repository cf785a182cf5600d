"""Sensitivity of layers: the choice against all others on a grid, the scan against trials by hand."""

import copy

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tinyopt import compress, data, measure, models, nn, train
from tinyopt.compress.sensitivity import Scan, balanced, scan

DIGITS = data.digits()
PLAIN = nn.Sequential(nn.Flatten(), nn.Linear(64, 5, rng=0))
GRID = np.array([0.0, 0.25, 0.5, 0.75])


@given(seed=st.integers(0, 9999), total=st.floats(0, 0.74))
@settings(max_examples=30)
def test_no_choice_of_shares_with_this_total_has_a_smaller_worst_rise(seed, total):
    rng = np.random.default_rng(seed)
    rises = np.cumsum(rng.integers(-1, 3, (2, 4)) * rng.random((2, 4)), axis=1)  # flat stretches, and dips
    rises[:, 0], sizes = 0, rng.integers(1, 50, 2).astype(float)

    def worst(shares):
        return max(np.interp(share, GRID, rise) for share, rise in zip(shares, np.maximum.accumulate(rises, axis=1)))

    shares = balanced(GRID, rises, sizes, total)
    assert shares @ sizes == pytest.approx(total * sizes.sum()) and (0 <= shares).all() and (shares <= 0.75).all()
    for first in np.linspace(0, 0.75, 76):  # all others on a grid
        second = (total * sizes.sum() - first * sizes[0]) / sizes[1]
        if 0 <= second <= 0.75:
            assert worst(shares) <= worst((first, second)) + 1e-9


def test_balanced_by_hand():
    rises = np.array([[0.0, 1, 2, 3], [0.0, 2, 4, 6]])  # 4 s and 8 s: equal at s₁ = 2 s₂
    assert np.allclose(balanced(GRID, rises, np.array([10, 20]), 0.3), [0.45, 0.225])
    dip = np.array([[0.0, -1, -1, 0], [0.0, 2, 4, 6]])  # the first does not mind at all
    assert np.allclose(balanced(GRID, dip, np.array([10, 10]), 0.375), [0.75, 0])


def test_a_scan_by_other_scores_prunes_by_them():
    model, part = models.lenet_300_100(image_size=8, rng=0), DIGITS.val.take(slice(0, 40))
    weights = {name: parameter.data for name, parameter in model.named_parameters() if parameter.data.ndim > 1}
    reverse = {name: -abs(weight) for name, weight in weights.items()}

    class Data:
        val = part

    found = scan(model, Data, (0.5,), scores=reverse)
    trial = copy.deepcopy(model)
    trial.get("fc1.weight").prune(~compress.magnitude_mask(weights["fc1.weight"], sparsity=0.5))  # the large ones go
    assert found.loss[0, 1] == pytest.approx(measure.evaluate(trial, part).loss, rel=1e-6)
    assert found.loss[0, 1] != scan(model, Data, (0.5,)).loss[0, 1]


def a_scan():
    rises = np.array([[1.0, 1.1, 1.5, 3], [1.0, 1.2, 1.3, 1.4]])
    return Scan(("fc1.weight", "fc2.weight"), np.array([49, 98]), GRID, rises, 1 / rises)


@given(total=st.floats(0, 0.74))
@settings(max_examples=30)
@example(total=2.5 / 147)  # one weight of 49, and 1 / 49 · 49 is below 1
def test_what_a_scan_chooses_removes_an_exact_count(total):
    model = nn.Sequential(fc1=nn.Linear(7, 7, rng=0), fc2=nn.Linear(49, 2, rng=1))
    masks = compress.prune(model, a_scan().choose(total))
    assert sum(int((~mask).sum()) for mask in masks.values()) == int(total * 147)


def test_a_scan_looks_at_one_layer_at_a_time_and_never_at_the_test_part():
    class Guarded:
        val = DIGITS.val.take(slice(0, 60))

        @property
        def test(self):
            raise AssertionError("the test part was read")

    model = models.lenet_300_100(image_size=8, rng=0)
    train.fit(model, (DIGITS.train, None), epochs=1, progress=False)
    found = scan(model, Guarded(), (0.5, 0.9), skip="fc3")
    assert found.names == ("fc1.weight", "fc2.weight") and found.sparsities.tolist() == [0, 0.5, 0.9]
    assert not any(parameter.views for parameter in model.parameters())
    for i, name in enumerate(found.names):
        for j, share in enumerate(found.sparsities):
            trial = copy.deepcopy(model)
            trial.get(name).prune(compress.magnitude_mask(trial.get(name).data, sparsity=share))
            quality = measure.evaluate(trial, Guarded.val)
            assert (quality.loss, quality.accuracy) == (found.loss[i, j], found.accuracy[i, j])
    assert "fc2.weight" in str(found) and "90%" in str(found)
    chosen = found.choose(0.8)
    compress.prune(model, chosen)
    zeros = sum(int((model.get(name).read().data == 0).sum()) for name in chosen)
    assert zeros == int(0.8 * found.sizes.sum()) and not model.get("fc3.weight").views


SENSITIVITY_REFUSED = [
    (lambda: scan(PLAIN, DIGITS.test), TypeError, "takes a Dataset.*test part"),
    (lambda: scan(PLAIN, (DIGITS.train, DIGITS.val)), TypeError, "takes a Dataset"),
    (lambda: scan(PLAIN, DIGITS, (0.5, 1.0)), ValueError, r"ascending.*in \(0, 1\)"),
    (lambda: scan(PLAIN, DIGITS, (0.9, 0.5)), ValueError, "ascending"),
    (lambda: scan(nn.Sequential(nn.Flatten()), DIGITS), ValueError, "no weight matrix"),
    (lambda: a_scan().choose(0.8), ValueError, "from 0 to 0.75 removed.*Scan higher"),
    (lambda: a_scan().choose(1.0), ValueError, r"removed/all, in \[0, 1\)"),
    (lambda: a_scan().choose(float("nan")), ValueError, r"removed/all, in \[0, 1\)"),
    (lambda: balanced(GRID, np.full((2, 4), np.nan), np.ones(2), 0.5), ValueError, "finite at every scanned"),
]


@pytest.mark.parametrize("attempt, error, sentence", SENSITIVITY_REFUSED)
def test_a_scan_that_cannot_be_is_refused_in_a_sentence(attempt, error, sentence):
    with pytest.raises(error, match=sentence):
        attempt()

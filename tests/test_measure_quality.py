"""`evaluate`, `compare` and `latency`: by hand, by slow loops, and on a clock that the test moves."""

import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyopt import Tensor, models, nn
from tinyopt.errors import DtypeError, ShapeError
from tinyopt.measure import compare, evaluate, latency
from tinyopt.measure.quality import Quality


class Says(nn.Module):
    """A model whose logits are its input."""

    def forward(self, x):
        return x


def part(labels, predictions, n_classes):
    """A part on which `Says` predicts what is wanted."""
    return np.eye(n_classes, dtype=np.float32)[np.array(predictions)], np.array(labels)


def scores_loop(labels, predictions, c):
    """Precision, recall and F1 of one class, by counting pairs."""
    hits = said = true = 0
    for truth, guess in zip(labels, predictions):
        hits += truth == c and guess == c
        said += guess == c
        true += truth == c
    precision, recall = hits / said if said else 0, hits / true if true else 0
    return precision, recall, 2 * precision * recall / (precision + recall) if precision + recall else 0


def test_an_example_by_hand():
    result = evaluate(Says(), part([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 0, 0], 4))
    assert result.accuracy == 3 / 6 and result.standard_error == math.sqrt(0.5 * 0.5 / 6) and result.n == 6
    assert result.confusion.tolist() == [[2, 1, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert result.precision.tolist() == [2 / 4, 1 / 2, 0, 0]  # class 2 is never said, class 3 is not there
    assert result.recall.tolist() == [2 / 3, 1 / 2, 0, 0]
    np.testing.assert_allclose(result.f1, [4 / 7, 1 / 2, 0, 0])
    assert result.predictions.tolist() == [0, 0, 1, 1, 0, 0]
    right, wrong = math.log(math.e + 3) - 1, math.log(math.e + 3)
    assert result.loss == pytest.approx((3 * right + 3 * wrong) / 6, rel=1e-6)


@given(
    pairs=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30),
    batch_size=st.integers(1, 40),
)
def test_scores_are_those_of_the_loop_whatever_the_batch_size(pairs, batch_size):
    labels, predictions = zip(*pairs)
    result = evaluate(Says(), part(labels, predictions, 4), batch_size=batch_size)
    assert result.accuracy == sum(a == b for a, b in pairs) / len(pairs)
    assert result.n == result.confusion.sum() == len(pairs)
    for c in range(4):
        got = (result.precision[c], result.recall[c], result.f1[c])
        assert got == pytest.approx(scores_loop(labels, predictions, c))
    whole = evaluate(Says(), part(labels, predictions, 4))
    assert result.loss == pytest.approx(whole.loss, rel=1e-6)


def test_evaluation_runs_in_eval_mode_and_restores_each_modules_own():
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5), Says())
    model[0].eval()
    x, y = np.random.default_rng(0).normal(size=(50, 3)).astype("f4"), np.zeros(50, int)
    first, second = evaluate(model, (x, y)), evaluate(model, [x.tolist(), y.tolist()], batch_size=7)
    assert (first.predictions == second.predictions).all() and first.loss == pytest.approx(second.loss)
    assert [module.training for module in model.modules()] == [True, False, True, True]
    assert model[0].num_batches_tracked == 0


def test_compare_by_hand():
    before = evaluate(Says(), part([0, 0, 1, 1], [0, 0, 1, 0], 3))
    after = evaluate(Says(), part([0, 0, 1, 1], [0, 1, 1, 1], 3))
    result = compare(before, after)  # d = 0, −1, 0, +1
    assert result.difference == 0 and result.standard_error == pytest.approx(math.sqrt((1 + 1) / 4) / 2)
    assert (result.worst_class, result.worst_recall_change) == (0, -0.5)
    better = compare(before, evaluate(Says(), part([0, 0, 1, 1], [0, 0, 1, 1], 3)))
    assert (better.difference, better.worst_class, better.worst_recall_change) == (0.25, 0, 0.0)
    assert str(result) == "accuracy +0.00 ± 35.36 points; worst recall -50.00 points (class 0)"


@given(data=st.lists(st.tuples(*[st.integers(0, 2)] * 3), min_size=1, max_size=20))
def test_compare_is_what_the_loop_says(data):
    labels, first, second = zip(*data)
    before, after = (evaluate(Says(), part(labels, guess, 3)) for guess in (first, second))
    result = compare(before, after)
    d = [(s == t) - (f == t) for t, f, s in data]
    mean = sum(d) / len(d)
    assert result.difference == pytest.approx(mean) == pytest.approx(after.accuracy - before.accuracy)
    variance = sum((x - mean) ** 2 for x in d) / len(d)
    assert result.standard_error == pytest.approx(math.sqrt(variance / len(d)))
    changes = {c: scores_loop(labels, second, c)[1] - scores_loop(labels, first, c)[1] for c in set(labels)}
    assert result.worst_recall_change == pytest.approx(min(changes.values()))
    assert changes[result.worst_class] == pytest.approx(min(changes.values()))


def test_a_paired_error_is_smaller_than_that_of_two_independent_draws():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 2000)
    first = np.where(rng.random(2000) < 0.1, (labels + 1) % 10, labels)
    second = np.where(rng.random(2000) < 0.01, (labels + 1) % 10, first)
    a, b = Quality(labels, first, 10, 0.0), Quality(labels, second, 10, 0.0)
    assert compare(a, b).standard_error < 0.5 * math.hypot(a.standard_error, b.standard_error)


def test_the_printed_result_names_every_class():
    lines = str(evaluate(Says(), part([0, 0, 1, 2], [0, 1, 1, 2], 3))).split("\n")
    assert lines[0].startswith("accuracy 75.00% ± 21.65%, loss") and lines[0].endswith("on 4 examples")
    assert lines[3].split() == ["0", "1.0000", "0.5000", "0.6667", "2"] and len(lines) == 6


X = np.zeros((4, 3), np.float32)
GOOD = evaluate(Says(), part([0, 1], [0, 1], 3))
WRONG = [
    (lambda: evaluate(Says(), (X[:0], np.zeros(0, int))), ValueError, "no examples"),
    (lambda: evaluate(Says(), (X, [0, 1, 2, 3])), ValueError, r"in \[0, 3\), one for each logit.*got 3"),
    (lambda: evaluate(Says(), (X, [0, 1, 2, -1])), ValueError, "got -1"),
    (lambda: evaluate(Says(), (np.where(X == X[1], np.nan, X), [0] * 4)), ValueError, "image . holds NaN.*of 4 do"),
    (lambda: evaluate(Says(), (X, [0, 1])), ShapeError, r"got \(4, 3\) and \(2,\)"),
    (lambda: evaluate(Says(), (X, np.eye(4, 3))), ShapeError, r"labels \(n,\)"),
    (lambda: evaluate(Says(), (X, np.zeros(4))), DtypeError, "integers; got float64"),
    (lambda: evaluate(Says(), X), TypeError, r"pair \(images, labels\); got ndarray"),
    (lambda: evaluate(Says(), (X, [0, 1, 2, 0]), batch_size=0), ValueError, "an integer of 1 or more; got 0"),
    (lambda: evaluate(Says(), (X[:, 0], [0, 1, 2, 0])), ShapeError, r"logits \(N, C\).*made \(4,\)"),
    (lambda: evaluate(nn.Linear(3, 3), (X.astype("u1"), [0, 1, 2, 0])), DtypeError, "got uint8.*/ 255"),
    (lambda: compare(GOOD, evaluate(Says(), part([1, 0], [0, 1], 3))), ValueError, "same examples"),
    (lambda: compare(GOOD, evaluate(Says(), part([0], [0], 3))), ValueError, "hold 2 and 1"),
    (lambda: latency(Says(), X, repeats=0), ValueError, "1 or more; got 0"),
]


@pytest.mark.parametrize("attempt, error, sentence", WRONG)
def test_bad_input_is_one_clear_sentence(attempt, error, sentence):
    with pytest.raises(error, match=sentence):
        attempt()


class Clock:
    """Stands still, but for models that take their time."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def model(self, durations):
        clock = self

        class Slow(nn.Module):
            calls, modes, shapes = 0, set(), set()

            def forward(self, x):
                clock.now += durations[self.calls % len(durations)]
                self.calls += 1
                self.modes.add(self.training)
                self.shapes.add(x.shape)
                return x

        return Slow()


def test_latency_is_the_median_and_the_quartiles_after_a_warm_up(monkeypatch):
    model = Clock(monkeypatch).model([100, 100, 1, 2, 3, 4, 50])  # the first two are the warm-up
    result = latency(model, X, repeats=5)
    assert (result.seconds, result.lower_quartile, result.upper_quartile) == pytest.approx((3, 2, 4))
    assert (result.repeats, result.batch_size, model.calls) == (5, 4, 7)
    assert model.modes == {False} and model.shapes == {(4, 3)} and model.training
    assert str(result) == "3000.000 ms (median of 5, batch 4; half of them between 2000.000 and 4000.000)"


@pytest.mark.parametrize("duration, repeats", [(10.0, 5), (0.02, 25), (1e-6, 1000)])
def test_latency_repeats_as_the_budget_allows(monkeypatch, duration, repeats):
    result = latency(Clock(monkeypatch).model([duration]), Tensor(X), budget=0.49)
    assert result.repeats == repeats and result.seconds == pytest.approx(duration)


def test_latency_of_a_real_model_is_a_time():
    result = latency(models.lenet_300_100(image_size=8), np.zeros((3, 64), np.float32), repeats=3)
    assert 0 < result.lower_quartile <= result.seconds <= result.upper_quartile

"""Losses by hand, and what they say to labels that do not fit; beside PyTorch's in `test_nn_layers.py`."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyopt import Tensor
from tinyopt.errors import DtypeError, ShapeError
from tinyopt.losses import cross_entropy, mse_loss


def cross_entropy_loop(logits, labels, smoothing):
    """One example and one class at a time."""
    total = 0.0
    for row, label in zip(logits.tolist(), labels.tolist()):
        log_sum = math.log(sum(math.exp(z) for z in row))
        for c, z in enumerate(row):
            t = (1 - smoothing) * (c == label) + smoothing / len(row)
            total -= t * (z - log_sum)
    return total / len(labels)


@given(n=st.integers(1, 5), n_classes=st.integers(2, 5), smoothing=st.sampled_from([0.0, 0.1, 1.0]))
def test_cross_entropy_is_the_loops_sum(n, n_classes, smoothing):
    rng = np.random.default_rng(10 * n + n_classes)
    logits, labels = 3 * rng.normal(size=(n, n_classes)), rng.integers(0, n_classes, n)
    due = cross_entropy_loop(logits, labels, smoothing)
    assert cross_entropy(logits, labels, label_smoothing=smoothing).item() == pytest.approx(due, rel=1e-12)
    one_hot = np.eye(n_classes)[labels]
    assert cross_entropy(logits, one_hot, label_smoothing=smoothing).item() == pytest.approx(due, rel=1e-12)


def test_equal_logits_cost_log_of_the_number_of_classes():
    assert cross_entropy([[7.0] * 10], [3]).item() == pytest.approx(math.log(10), rel=1e-6)


def test_huge_logits_do_not_overflow():
    x = Tensor([[1e4, -1e4], [-1e4, 1e4]], requires_grad=True)
    loss = cross_entropy(x, [0, 0])
    loss.backward()
    assert loss.item() == pytest.approx(1e4) and np.isfinite(x.grad).all()


def test_reductions_agree():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(5, 3)), rng.integers(0, 3, 5)
    each = cross_entropy(logits, labels, reduction="none").data
    assert each.shape == (5,)
    assert cross_entropy(logits, labels, reduction="sum").item() == pytest.approx(each.sum())
    assert cross_entropy(logits, labels).item() == pytest.approx(each.mean())


def test_lists_are_labels_if_whole_numbers_and_else_probabilities():
    for given, array in (
        ([0, 2], np.array([0, 2])),
        ([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]], np.float32([[0.5, 0.5, 0], [0, 0, 1]])),
    ):
        logits = Tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 3.0]])
        assert cross_entropy(logits, given).item() == cross_entropy(logits, array).item()


def test_mse_loss_by_hand():
    x = Tensor([1.0, 2.0, 4.0], requires_grad=True)
    loss = mse_loss(x, [1.0, 0.0, 1.0])
    loss.backward()
    assert loss.item() == pytest.approx((0 + 4 + 9) / 3)
    np.testing.assert_allclose(x.grad, [0, 4 / 3, 2], rtol=1e-6)


LOGITS = np.zeros((2, 3), np.float32)
WRONG = [
    (lambda: cross_entropy(LOGITS, [0, 3]), ValueError, r"labels must lie in \[0, 3\).*got 3"),
    (lambda: cross_entropy(LOGITS, [0, -1]), ValueError, r"labels must lie in \[0, 3\).*got -1"),
    (lambda: cross_entropy(LOGITS, [0.0, 1.0]), DtypeError, r"integers; got float32.*astype\('int64'\)"),
    (lambda: cross_entropy(LOGITS, [0, 1, 2]), ShapeError, r"logits \(2, 3\) need labels \(2,\).*got \(3,\)"),
    (lambda: cross_entropy(LOGITS, np.zeros((2, 4), np.float32)), ShapeError, r"got \(2, 4\)"),
    (lambda: cross_entropy(LOGITS[0], [1]), ShapeError, r"logits \(N, C\).*got \(3,\)"),
    (lambda: cross_entropy(LOGITS[:0], []), ShapeError, "N of 1 or more"),
    (lambda: cross_entropy(LOGITS, [0, 1], label_smoothing=2), ValueError, "label_smoothing is a fraction"),
    (lambda: cross_entropy(LOGITS, [0, 1], reduction="avg"), ValueError, "mean, sum, none; got 'avg'"),
    (lambda: mse_loss(LOGITS, LOGITS[:1]), ShapeError, r"one shape.*\(2, 3\) and \(1, 3\)"),
    (lambda: mse_loss(LOGITS[:0], LOGITS[:0]), ShapeError, "not empty"),
]


@pytest.mark.parametrize("attempt, error, sentence", WRONG)
def test_bad_input_is_one_clear_sentence(attempt, error, sentence):
    with pytest.raises(error, match=sentence):
        attempt()

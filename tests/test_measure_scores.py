"""The score functions against loops over examples, hand numbers, and all tosses of a coin, one by one."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyopt.errors import ShapeError
from tinyopt.measure import compare, confusion_matrix, mcnemar, paired_difference, precision_recall_f1
from tinyopt.measure.quality import Quality

pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40)
rights = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40)


@given(pairs=pairs)
def test_the_confusion_matrix_counts_pairs_one_by_one(pairs):
    cells = [[0] * 5 for _ in range(5)]
    for truth, said in pairs:
        cells[truth][said] += 1
    labels, predictions = zip(*pairs)
    assert confusion_matrix(labels, predictions, 5).tolist() == cells
    small = confusion_matrix(np.uint8(labels), np.int16(predictions), 5)
    assert small.tolist() == cells and small.dtype.kind == "i"


def test_many_classes_do_not_overflow_a_small_type():
    cells = confusion_matrix(np.uint8([200, 3]), np.uint8([199, 3]), 201)  # 200 · 201 + 199 > 255
    assert cells[200, 199] == cells[3, 3] == 1 and cells.sum() == 2
    assert confusion_matrix([], [], 2).tolist() == [[0, 0], [0, 0]]


@given(pairs=pairs)
def test_precision_and_recall_change_places_when_truth_and_prediction_do(pairs):
    cells = confusion_matrix(*zip(*pairs), 4)
    precision, recall, f1 = precision_recall_f1(cells)
    turned = precision_recall_f1(cells.T.tolist())
    np.testing.assert_array_equal(turned[:2], (recall, precision))
    for c in range(4):
        hits, said, true = cells[c, c], cells[:, c].sum(), cells[c].sum()
        assert recall[c] == (hits / true if true else 0)
        assert f1[c] == pytest.approx(2 * hits / (said + true) if said + true else 0)  # Dice's form of F1
        assert min(precision[c], recall[c]) <= f1[c] + 1e-12 <= max(precision[c], recall[c]) + 2e-12


def test_scores_of_shares_are_those_of_counts():
    cells = np.array([[3, 1], [2, 4]])
    np.testing.assert_allclose(precision_recall_f1(cells / 10), precision_recall_f1(cells))


@given(rights=rights)
def test_the_paired_error_from_two_counts_alone(rights):
    before, after = zip(*rights)
    lost, gained = (sum(pair == kind for pair in rights) for kind in ((True, False), (False, True)))
    n = len(rights)
    difference, error = paired_difference(before, after)
    assert difference == pytest.approx((gained - lost) / n)
    assert error == pytest.approx(math.sqrt(max(0, (gained + lost) / n - difference**2) / n), abs=1e-9)
    again = paired_difference(np.float32(after), np.int8(before))
    assert again == pytest.approx((-difference, error))


@pytest.mark.parametrize("lost, gained", list(itertools.product(range(5), range(6))))
def test_mcnemar_tries_every_run_of_the_coin(lost, gained):
    n, few = lost + gained, min(lost, gained)
    extreme = [min(sum(run), n - sum(run)) <= few for run in itertools.product((0, 1), repeat=n)]
    assert mcnemar(lost, gained) == pytest.approx(sum(extreme) / len(extreme))
    assert mcnemar(lost, gained) == mcnemar(gained, lost)


def test_mcnemar_of_many_disagreements_is_a_share_of_whole_numbers():
    exact = 2 * sum(math.comb(2000, k) for k in range(951)) / 2**2000
    assert mcnemar(950, 1050) == pytest.approx(exact, rel=1e-9)
    assert 0 <= mcnemar(0, 50_000) < 1e-300 and mcnemar(30_000, 30_000) == 1


def test_a_comparison_tells_what_was_lost_and_gained():
    labels = np.array([0, 0, 1, 1, 1, 1])
    before, after = (Quality(labels, np.array(p), 2, 0.0) for p in ([0, 0, 1, 0, 0, 0], [0, 1, 1, 1, 1, 0]))
    result = compare(before, after)
    assert (result.lost, result.gained) == (1, 2) and result.difference == pytest.approx(1 / 6)
    assert result.p_value == mcnemar(1, 2) == 1.0


WRONG = [
    (lambda: confusion_matrix([0, 1], [0], 2), ShapeError, "needs one prediction; got 2 and 1"),
    (lambda: confusion_matrix([0, 2], [0, 1], 2), ValueError, r"in \[0, 2\); got 0 to 2"),
    (lambda: confusion_matrix([0, 1], [-1, 1], 2), ValueError, "got -1 to 1"),
    (lambda: precision_recall_f1(np.ones((2, 3))), ShapeError, r"square.*got \(2, 3\)"),
    (lambda: precision_recall_f1([1, 2]), ShapeError, r"square.*got \(2,\)"),
    (lambda: paired_difference([1, 0], [1]), ShapeError, "same examples.*got 2 and 1"),
    (lambda: paired_difference([], []), ShapeError, "1 or more; got 0 and 0"),
    (lambda: paired_difference([1, 7], [1, 3]), ValueError, "predictions == labels"),
    (lambda: mcnemar(3, -1), ValueError, "0 or more; got 3 and -1"),
]


@pytest.mark.parametrize("attempt, error, sentence", WRONG)
def test_bad_input_is_one_clear_sentence(attempt, error, sentence):
    with pytest.raises(error, match=sentence):
        attempt()

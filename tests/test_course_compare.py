"""`same` finds the worst entry, and names the classic mistake."""

import numpy as np
import pytest

from tinyopt import Tensor
from tinyopt.course.compare import NotWritten, Wrong, same

DUE = np.array([[1.0, -2.0], [3.0, 4.5]])


@pytest.mark.parametrize(
    "came, says",
    [
        (-DUE, "Every sign is turned"),
        (2 * DUE, "Everything is 2 times what is due"),
        (DUE / 3, "Everything is 0.3333 times"),
        (DUE.T, "It is transposed"),
        (DUE[::-1], "in the wrong places"),
        (0 * DUE, "All of it is 0"),
        (DUE * np.nan, "NaN"),
        (DUE + [[0, 0], [0, 1]], "1 of 4 numbers differ"),
        (DUE.sum(axis=0), "too few entries"),
        (np.ones((2, 2, 2)), "too many entries: a sum is missing"),
        (DUE.reshape(4), "reshape, or keepdims, is missing"),
        ("four", "should be numbers; yours is of type str"),
        (None, "differ|shape|numbers"),
        (lambda g: g, "should be numbers; yours is of type function"),
    ],
)
def test_each_classic_mistake_is_named(came, says):
    with pytest.raises(Wrong, match=says):
        same(came, DUE, "the value")


@pytest.mark.parametrize(
    "came, says", [(-6.0, "Its sign is turned"), (9.0, "1.5 times"), (6.1, "number differs")]
)
def test_a_single_number(came, says):
    with pytest.raises(Wrong, match=says) as caught:
        same(came, 6.0, "the slope")
    assert "worst at" not in caught.value.facts


def test_the_worst_entry_is_named_with_all_three_numbers():
    with pytest.raises(Wrong) as caught:
        same(DUE + [[0.1, 0], [0, 7]], DUE, "the gradient", slope=lambda index: 10.0 * index[0] + index[1])
    facts = {"worst at": "index (1, 1)", "yours": "11.5", "due": "4.5", "central differences": "11"}
    assert caught.value.facts == facts
    assert str(caught.value).startswith(
        "The gradient is wrong. 2 of 4 numbers differ.; worst at: index (1, 1)"
    )


def test_labels_stand_for_indices_and_minus_zero_is_zero():
    with pytest.raises(Wrong) as caught:
        same([1.0, 2.0], [1.0, -0.0], "a derivative", labels=["∂L/∂w", "∂L/∂b"])
    assert caught.value.facts == {"worst at": "∂L/∂b", "yours": "2", "due": "0"}


@pytest.mark.parametrize("came", [DUE, DUE + 1e-9, DUE.tolist(), Tensor(DUE)])
def test_what_is_equal_up_to_rounding_passes(came):
    same(came, DUE, "the value")


@pytest.mark.parametrize("came", [..., [..., 1.0]])
def test_dots_are_not_written(came):
    with pytest.raises(NotWritten):
        same(came, [1.0, 1.0], "the value")


def test_one_number_in_an_array_of_one_axis():
    with pytest.raises(Wrong, match="0.5 times what is due"):
        same([1.0], [2.0], "the number")

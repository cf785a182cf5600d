"""`same` finds the worst entry, `recognise` the known mistake; and the numbers that the lessons draw."""

import numpy as np
import pytest

from tinyopt import Tensor
from tinyopt.course.compare import NotWritten, Wrong, alike, recognise, same, two_arrays
from tinyopt.course.draws import central, leaf, normal

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
        (DUE.astype(str), "should be numbers; yours is of type ndarray"),
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


MISTAKES = {"The sign is turned.": -DUE, "The first row alone.": DUE[0], "It is doubled.": 2 * DUE}


@pytest.mark.parametrize(
    "came, says",
    [
        (-DUE, "The sign is turned."),
        ((-DUE).tolist(), "The sign is turned."),
        (Tensor(2 * DUE), "It is doubled."),
        (DUE[0] * (1 + 1e-7), "The first row alone."),
    ],
)
def test_a_known_mistake_is_recognised(came, says):
    with pytest.raises(Wrong) as caught:
        recognise(came, MISTAKES, {"due": 3})
    assert (caught.value.says, caught.value.facts) == (says, {"due": 3})


@pytest.mark.parametrize(
    "came",
    [DUE, DUE[:1], DUE[0] * (1 + 1e-5), -DUE[np.newaxis], DUE * np.nan, (-DUE).astype(str), "four", None]
    + [..., [..., 1.0], [[1.0], [2.0, 3.0]], lambda g: -DUE],
)
def test_nothing_else_is_recognised(came):
    recognise(came, MISTAKES)


def test_the_first_of_two_mistakes_is_named_and_tolerances_can_be_set():
    two = {"first": [1.0, 2.0], "second": [1.0, 2.0]}
    with pytest.raises(Wrong, match="first"):
        recognise((1, 2), two)
    recognise([1.01, 2.0], two, rtol=0.005)
    for tolerance in ({"rtol": 0.02}, {"atol": 0.02}):
        with pytest.raises(Wrong, match="first"):
            recognise([1.01, 2.0], two, **tolerance)


def test_what_is_due_is_no_mistake():
    by_chance = {"You forgot to sort.": [1.0, 2.0]}
    recognise([1.0, 2.0 + 1e-9], by_chance, due=[1.0, 2.0])
    with pytest.raises(Wrong, match="sort"):
        recognise([1.0, 2.0], by_chance, due=[1.0, 3.0])


def test_alike():
    assert alike(True, 1) and alike([1.0, 2], (1, 2)) and alike(1e-10, 0)
    assert not alike([1.0], 1) and not alike("1", 1) and not alike(np.nan, np.nan) and not alike(None, 0)


@pytest.mark.parametrize(
    "answer, says",
    [
        (([1, 2],), "Two arrays are due: return x, g"),
        ("ab", "Two arrays are due: return x, g"),
        (np.zeros(3), "Two arrays are due: return x, g"),
        (([1, 2], [3, np.inf]), "g holds NaN or infinity"),
        (([np.nan], [3.0]), "x holds NaN or infinity"),
        (([1.0], None), "g holds NaN or infinity"),
        (("four", [1.0]), "Array x should be numbers; yours is of type str"),
    ],
)
def test_an_answer_that_is_no_two_arrays(answer, says):
    with pytest.raises(Wrong, match=says):
        two_arrays(answer, "x", "g")


@pytest.mark.parametrize("kind", [tuple, list, np.array])
def test_two_arrays_come_as_floats(kind):
    x, g = two_arrays(kind([[1, 2], [3, 4]]), "x", "g")
    assert x.tolist() == [1.0, 2.0] and g.tolist() == [3.0, 4.0] and x.dtype == g.dtype == float
    with pytest.raises(NotWritten):
        two_arrays(([1, ...], [3, 4]), "x", "g")


def test_normal_is_frozen_short_and_never_near_0():
    x = normal(40, 50)
    assert x.shape == (40, 50) and abs(x).min() >= 0.1 and np.array_equal(x, x.round(2))
    assert np.array_equal(x, normal(40, 50)) and not np.array_equal(x, normal(40, 50, seed=2))
    assert abs(x.mean()) < 0.1 and abs(x.std() - 1) < 0.1
    with pytest.raises(ValueError, match="read-only"):
        x[0, 0] = 1.0


def test_central_is_the_slope_of_a_polynomial():
    x, g = normal(2, 3), normal(2, 3, seed=2)
    slope = central(lambda x: x**2, x, g)
    came = [[slope((i, j)) for j in range(3)] for i in range(2)]
    np.testing.assert_allclose(came, 2 * g * x, rtol=1e-8)
    assert central(lambda x: x**3, np.array(2.0), 1.0, h=0.25)(()) == 12.0625  # 3x² + h²


def test_leaf_is_a_parameter_in_float64():
    w = leaf([1, 2])
    (w * w).sum().backward()
    assert w.dtype == np.float64 and w.grad.tolist() == [2.0, 4.0]

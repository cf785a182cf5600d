"""Test the tester: `gradcheck` passes right rules, and notices rules that are slightly wrong."""

import re

import numpy as np
import pytest

from tinyopt import Tensor, differentiable, gradcheck, ops
from tinyopt.errors import DtypeError
from tinyopt.gradcheck import central_differences

SQUARE = np.array([[0.5, -1.5], [2.0, 3.0]])


def rule_of(value, *pullbacks):
    """An op from its value and its pullbacks, each a function of g and all arrays."""
    def rule(*arrays):
        return value(*arrays), tuple(lambda g, p=p: p(g, *arrays) for p in pullbacks)

    return differentiable(rule)


WRONG = {
    "by 1 %": (rule_of(lambda x: x**2, lambda g, x: 2.02 * x * g), [SQUARE], 0),
    "by 1 in 100,000": (rule_of(lambda x: x**2, lambda g, x: 2.00002 * x * g), [SQUARE], 0),
    "by a sign": (rule_of(lambda x, y: x - y, lambda g, x, y: g, lambda g, x, y: g), [SQUARE, SQUARE], 1),
    "by a missing factor": (
        rule_of(lambda x, y: x * y, lambda g, x, y: g, lambda g, x, y: g * x),
        [SQUARE, SQUARE + 3],
        0,
    ),
    "by a transposed axis": (rule_of(lambda x: x.T, lambda g, x: g), [SQUARE], 0),
    "by a transposed factor": (
        rule_of(lambda x, y: x @ y, lambda g, x, y: g @ y.T, lambda g, x, y: x @ g),
        [SQUARE, SQUARE],
        1,
    ),
    "in one entry": (rule_of(lambda x: x, lambda g, x: g * (x < 2.5)), [SQUARE], 0),
    "by NaN": (rule_of(lambda x: x, lambda g, x: g * np.nan), [SQUARE], 0),
    "by infinity": (rule_of(lambda x: x, lambda g, x: g * np.where(x < 2.5, 1, np.inf)), [SQUARE], 0),
    "by a constant": (rule_of(lambda x: x.sum(), lambda g, x: g + 1e-3 + 0 * x), [SQUARE], 0),
    "by being cut off": (lambda x: x.detach() * x, [SQUARE], 0),
    "for softmax, hidden from g = 1": (
        rule_of(lambda x: np.exp(x) / np.exp(x).sum(), lambda g, x: 0 * x),
        [SQUARE],
        0,
    ),
}


@pytest.mark.parametrize("f, inputs, argument", WRONG.values(), ids=WRONG)
def test_gradcheck_notices_a_rule_that_is_wrong(f, inputs, argument):
    with pytest.raises(AssertionError, match=rf"argument {argument}, index \(.*central differences"):
        gradcheck(f, *inputs)


def test_failure_names_argument_worst_index_and_both_numbers():
    def rule(x, y):  # wrong in one entry of the second argument
        factor = np.ones_like(x)
        factor[1, 0] = 1.01
        return x + 3 * y, (lambda g: g, lambda g: 3 * g * factor)

    with pytest.raises(AssertionError) as caught:
        gradcheck(differentiable(rule), SQUARE, SQUARE)
    found = re.match(
        r"argument 1, index \(1, 0\): the rule says (\S+), central differences say (\S+) "
        r"\(relative error 9.9e-03, for a random incoming gradient\); 1 of 4 entries differ$",
        str(caught.value),
    )
    says, due = map(float, found.groups())
    assert says / due == pytest.approx(1.01, rel=1e-8)
    assert due == pytest.approx(3 * np.random.default_rng(0).standard_normal((2, 2))[1, 0], rel=1e-8)


def test_right_rules_pass_at_all_scales():
    x = np.array([[1e-2, -3.0, 40.0], [1e3, 2e-1, -7e2]])
    assert gradcheck(lambda x: x * x * x - 5 * x, x) is True
    assert gradcheck(lambda x: (x * x).sum(axis=0), x / 100)
    assert gradcheck(lambda x: 1 / x, x)
    assert gradcheck(lambda x: x.log(), abs(x))
    assert gradcheck(lambda x, y: (x @ y).tanh().exp(), x / 1e3, x.T / 1e3)
    assert gradcheck(lambda x: x, x)  # the output may be the input itself
    assert gradcheck(lambda x: x.sum(), np.zeros((0, 3)))


def test_what_is_no_float_is_handed_on():
    labels, keep = np.array([2, 0]), np.array([True, False])
    z = np.array([[1.0, 2.0, 3.0], [0.0, -1.0, 1.0]])
    assert gradcheck(ops.cross_entropy, z, labels)
    assert gradcheck(ops.where, keep, z[:, :2], -z[:, :2])
    assert gradcheck(ops.linear, z, z, None)
    assert gradcheck(lambda x, n: x**n, 3.0, 2)
    with pytest.raises(ValueError, match="no float argument"):
        gradcheck(ops.add, labels, labels)


def test_inputs_and_their_gradients_are_left_alone():
    x = Tensor(SQUARE, requires_grad=True)
    x.grad = SQUARE
    assert gradcheck(ops.exp, x)
    assert x.grad is SQUARE and np.array_equal(x.data, [[0.5, -1.5], [2.0, 3.0]])


def test_float32_is_refused_with_the_way_to_convert():
    with pytest.raises(DtypeError, match=r"needs float64.*convert argument 1 first: x.astype\('float64'\)"):
        gradcheck(ops.add, SQUARE, SQUARE.astype("float32"))
    with pytest.raises(DtypeError, match="stays in float64; it returned float32"):
        gradcheck(lambda x: x.astype("float32"), SQUARE)


def test_what_cannot_be_checked_is_named():
    with pytest.raises(ValueError, match="argument 1 holds NaN or infinity"):
        gradcheck(ops.add, SQUARE, np.array([np.nan, 1.0]))
    with np.errstate(divide="ignore"), pytest.raises(ValueError, match="f returned NaN or infinity"):
        gradcheck(ops.log, np.zeros(2))
    with pytest.raises(TypeError, match="returns one Tensor; got tuple"):
        gradcheck(lambda x: (x, x), SQUARE)
    with pytest.raises(TypeError, match="returns one Tensor; got ndarray"):
        gradcheck(lambda x: x.data, SQUARE)
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="two values for one input"):
        gradcheck(lambda x: x * rng.random(), SQUARE)


def test_gradcheck_is_public_also_after_its_module_was_imported():
    import tinyopt.gradcheck  # noqa: F401  (must not hide the function)

    assert tinyopt.gradcheck is gradcheck and callable(gradcheck)


def test_central_differences_of_a_cube_are_off_by_exactly_h_squared():
    x = np.array([[1.0, -2.0], [0.5, 3.0]])
    slopes = central_differences(lambda v: (v**3).sum(), x, h=0.25)
    assert np.allclose(slopes, 3 * x**2 + 0.25**2, rtol=1e-12)


def test_central_differences_of_a_quadratic_form_are_its_gradient():
    matrix = np.random.default_rng(0).standard_normal((4, 4))
    x = np.random.default_rng(1).standard_normal(4)
    assert np.allclose(central_differences(lambda v: v @ matrix @ v, x), (matrix + matrix.T) @ x, rtol=1e-8)


@pytest.mark.parametrize("dtype", [np.int64, np.float32])
def test_central_differences_work_in_float64_and_leave_x_alone(dtype):
    x = np.array([2, 5], dtype=dtype)
    assert np.allclose(central_differences(lambda v: v[0] * v[1], x), [5, 2], rtol=1e-9)
    assert x.dtype == dtype and x.tolist() == [2, 5]

"""While an exercise is checked, no way leads to the package's own function; before and after, all do."""

import sys

import numpy as np
import pytest

import tinyopt
from tinyopt import OPS, Tensor, autograd, nn, ops, optim
from tinyopt.course.reach import Curtain, OutOfReach, installed
from tinyopt.ops import relu as imported_long_ago

X = np.array([-1.0, 2.0])
KEPT_RULE = ops.relu.rule  # what a clever student keeps in a variable
ROUTES = {
    "op": lambda: ops.relu(Tensor(X)),
    "method": lambda: Tensor(X).relu(),
    "table": lambda: OPS["relu"](Tensor(X)),
    "imported name": lambda: imported_long_ago(Tensor(X)),
    "module": lambda: tinyopt.ops.elementwise.relu(Tensor(X)),
    "layer": lambda: nn.ReLU()(Tensor(X)),
    "rule": lambda: ops.relu.rule(X)[0],
    "kept rule": lambda: KEPT_RULE(X)[0],
    "wrapped": lambda: ops.relu.__wrapped__(X)[0],
}


@pytest.mark.parametrize("route", ROUTES)
def test_every_way_to_a_hidden_op_is_walled(route):
    curtain = Curtain([KEPT_RULE])
    with curtain.closed():
        with pytest.raises(OutOfReach, match="relu"):
            ROUTES[route]()
        with curtain.lifted():
            assert np.array_equal(ROUTES[route](), [0, 2])
        with pytest.raises(OutOfReach):
            ROUTES[route]()
    assert np.array_equal(ROUTES[route](), [0, 2])


def test_functions_and_methods_can_be_hidden_too():
    x = Tensor(2.0, requires_grad=True)
    with Curtain([Tensor.backward, autograd.unbroadcast]).closed():
        with pytest.raises(OutOfReach, match="Tensor.backward"):
            (x * x).backward()
        with pytest.raises(OutOfReach, match="unbroadcast"):
            autograd.unbroadcast(np.ones((2, 3)), (3,))
    (x * x).backward()
    assert x.grad == 4


def test_an_exception_opens_the_curtain_again():
    with pytest.raises(ZeroDivisionError), Curtain([KEPT_RULE]).closed():
        1 / 0
    assert np.array_equal(KEPT_RULE(X)[0], [0, 2])


@pytest.mark.parametrize("function", [np.exp, len, ops.relu.rule(X)[1][0]])
def test_what_has_no_plain_code_is_refused(function):
    with pytest.raises(TypeError, match="only a plain function"):
        Curtain([function])


def test_an_op_runs_on_the_installed_rule():
    with installed(ops.relu, lambda x: (x + 10, (lambda g: g,))):
        assert np.array_equal(nn.ReLU()(Tensor(X)), [9, 12])
    assert ops.relu.rule is KEPT_RULE


def test_a_function_is_replaced_wherever_it_was_imported():
    own, calls = autograd.backpropagate, []

    def counted(output, g):
        calls.append(1)
        return own(output, g)

    x = Tensor([1.0, 2.0], requires_grad=True)
    with installed(own, counted):
        (x * x).sum().backward()
        with pytest.raises(ZeroDivisionError), installed(autograd.unbroadcast, None):
            1 / 0
    assert np.array_equal(x.grad, [2, 4]) and len(calls) == 1
    assert sys.modules["tinyopt.tensor"].backpropagate is own is autograd.backpropagate
    assert callable(autograd.unbroadcast)


def test_a_method_is_replaced_in_its_class_for_all_that_inherit_it():
    class Smaller(optim.GD):
        pass

    def step_of_one(self, theta, g, state, t):
        return theta - np.sign(g) + self.lr * 0

    weight = nn.Parameter(np.array([3.0, -3.0]))
    with installed(optim.GD.update, step_of_one):
        for optimizer in (optim.GD([weight]), Smaller([weight])):
            weight.grad = np.array([5.0, -5.0])
            optimizer.step()
    assert np.array_equal(weight.data, [1.0, -1.0])
    assert optim.GD.update.__qualname__ == "GD.update"

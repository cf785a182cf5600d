"""The table `OPS`: every caller looks a rule up there at call time, so that it can be counted or replaced."""

import contextlib
import inspect
import re

import numpy as np
import pytest
from cases import CASES
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyopt
from tinyopt import OPS, Tensor, differentiable, ops, substitute
from tinyopt.ops import relu as relu_imported_by_name


@contextlib.contextmanager
def counting(name):
    """The op's own rule, and a list that grows by one with each call of it."""
    own, calls = OPS[name].rule, []

    def rule(*arrays, **settings):
        calls.append(name)
        return own(*arrays, **settings)

    with substitute(name, rule):
        yield calls


@pytest.mark.parametrize("name", sorted(OPS))
@settings(max_examples=3)
@given(data=st.data())
def test_a_counting_rule_sees_every_call_of_the_function(name, data):
    case = data.draw(CASES[name])
    with counting(name) as calls:
        getattr(tinyopt.ops, name)(*case.args, **case.settings)
        assert len(calls) == 1
        OPS[name](*[Tensor(a) if isinstance(a, np.ndarray) else a for a in case.args], **case.settings)
        assert len(calls) == 2
    getattr(tinyopt.ops, name)(*case.args, **case.settings)
    assert len(calls) == 2


ARRAY = np.array([[1.0, 2.0], [3.0, 4.0]], dtype="float32")
SPELLINGS = {  # every way in which a Tensor itself calls an op
    "add": [lambda x: x + x, lambda x: x + 1, lambda x: 1 + x, lambda x: ARRAY + x, lambda x: x + ARRAY],
    "sub": [lambda x: x - x, lambda x: x - 1, lambda x: 1 - x, lambda x: ARRAY - x],
    "mul": [lambda x: x * x, lambda x: x * 2, lambda x: 2 * x, lambda x: ARRAY * x],
    "div": [lambda x: x / x, lambda x: x / 2, lambda x: 2 / x, lambda x: ARRAY / x],
    "pow": [lambda x: x**x, lambda x: x**2, lambda x: 2**x, lambda x: ARRAY**x],
    "matmul": [lambda x: x @ x, lambda x: ARRAY @ x, lambda x: x @ ARRAY],
    "neg": [lambda x: -x],
    "abs": [abs, lambda x: x.abs()],
    "getitem": [lambda x: x[0], lambda x: x[x > 2], lambda x: next(iter(x))],
    "transpose": [lambda x: x.T, lambda x: x.transpose(), lambda x: x.transpose(1, 0),
                  lambda x: x.transpose((1, 0))],
    "reshape": [lambda x: x.reshape(4), lambda x: x.reshape(1, -1), lambda x: x.reshape((4, 1))],
    "squeeze": [lambda x: x.squeeze(), lambda x: x.squeeze(axis=())],
    "clip": [lambda x: x.clip(0, 1), lambda x: x.clip(max=2)],
    "astype": [lambda x: x.astype("float64")],
    "to": [lambda x: x.to("cpu")],
    **{name: [lambda x, name=name: getattr(x, name)()]
       for name in ("exp", "log", "sqrt", "relu", "sigmoid", "tanh", "sum", "mean", "max", "min", "var")},
}  # fmt: skip


def test_all_spellings_of_a_tensor_are_listed():
    named = set(re.findall(r'OPS\["(\w+)"\]', inspect.getsource(tinyopt.tensor.Tensor)))
    assert named == set(SPELLINGS)


@pytest.mark.parametrize("name", sorted(SPELLINGS))
def test_a_counting_rule_sees_every_operator_and_method(name):
    for spelling in SPELLINGS[name]:
        with counting(name) as calls:
            assert isinstance(spelling(Tensor(ARRAY)), Tensor)
        assert len(calls) == 1


@pytest.mark.parametrize("name", sorted(OPS))
def test_every_op_is_in_the_table_once_and_says_what_it_does(name):
    function = getattr(tinyopt.ops, name)
    assert function is OPS[name]
    assert function.__name__ == name and function.rule.__name__ == name
    assert inspect.getdoc(function)
    for p in inspect.signature(function).parameters.values():  # arrays by position, settings by keyword
        assert p.default in (inspect.Parameter.empty, None) or p.kind == p.KEYWORD_ONLY


def twice(x):
    return 2 * x, (lambda g: 2 * g,)


def test_substitute_reaches_methods_and_names_imported_before():
    x = Tensor([1.0, -1.0], requires_grad=True)
    with substitute("relu", twice) as function:
        assert function is relu_imported_by_name
        y = relu_imported_by_name(x)
        assert np.array_equal(y.data, [2, -2])
        assert np.array_equal(x.relu().data, [2, -2]) and np.array_equal(ops.relu(x).data, [2, -2])
    y.sum().backward()  # the pullback is the one of the forward pass
    assert np.array_equal(x.grad, [2, 2])
    assert np.array_equal(relu_imported_by_name(x).data, [1, 0])


def test_substitute_ends_when_an_error_does_and_nests():
    before = OPS["relu"].rule
    with pytest.raises(ZeroDivisionError), substitute("relu", twice):
        1 / 0
    assert OPS["relu"].rule is before
    with substitute("relu", twice):
        with substitute("relu", lambda x: (3 * x, (None,))):
            assert ops.relu(2.0).item() == 6
        assert ops.relu(2.0).item() == 4
    assert OPS["relu"].rule is before


def test_substitute_of_an_unknown_op_lists_the_known_ones():
    with pytest.raises(KeyError, match="no op is called 'rely'.*relu.*softmax"):
        with substitute("rely", twice):
            pass


def test_differentiable_stays_outside_the_table():
    function = differentiable(twice)
    assert function(3.0).item() == 6 and "twice" not in OPS


@pytest.mark.parametrize("rule", [
    lambda x, y: x + y,
    lambda x, y: (x + y, lambda g: g),
    lambda x, y: (x + y, (lambda g: g,)),
    lambda x, y: (x + y, lambda g: g, lambda g: g),
])  # fmt: skip
def test_a_rule_that_returns_something_else_is_told_what_is_due(rule):
    with pytest.raises(TypeError, match=r"'add' must return \(value, \(pullback, .*each of its 2 arrays"):
        with substitute("add", rule):
            Tensor([1.0]) + Tensor([2.0])


def test_variadic_ops_take_arrays_or_one_list_of_them():
    a, b = Tensor([1.0, 2.0], requires_grad=True), Tensor([3.0, 4.0], requires_grad=True)
    for function, wanted in ((ops.concatenate, [1, 2, 3, 4]), (ops.stack, [[1, 2], [3, 4]])):
        for y in (function(a, b), function([a, b]), function((a, b)), function([a, b], axis=0)):
            assert np.array_equal(y.data, wanted)
        function([a, b, a]).sum().backward()
    assert np.array_equal(a.grad, [4, 4]) and np.array_equal(b.grad, [2, 2])

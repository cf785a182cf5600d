"""The gradient of every op against central differences, over drawn shapes, for a random incoming gradient."""

import itertools

import numpy as np
import pytest
from cases import CASES
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyopt import OPS, Tensor, differentiable, gradcheck, ops


def test_every_op_has_a_gradient_case_and_every_case_an_op():
    assert set(CASES) == set(OPS)


def plain(name, case):
    """The op as a function of all its arguments."""
    return lambda *tensors: getattr(ops, name)(*tensors, **case.settings), case.args


def with_own_statistics(name, case):
    """In training, batch_norm's mean and variance are functions of x, so they have to move when x does."""
    if not case.settings["training"]:
        x, weight, bias, mean, var = case.args
        return lambda *tensors: ops.batch_norm(*tensors, mean, var, **case.settings), (x, weight, bias)

    def f(x, weight, bias):
        others = (0, 2, 3)[: x.ndim - 1]
        mean, var = x.data.mean(axis=others), x.data.var(axis=others)
        return ops.batch_norm(x, weight, bias, mean, var, **case.settings)

    return f, case.args[:3]


def as_if_not_rounded(name, case):
    """Differences of a rounding are 0 or huge. The straight-through rule claims to be the derivative of the
    same op without its rounding, a clip at the edges of the outermost steps: so that is what is compared."""
    x, scale, zero_point = case.args
    low = (case.settings["low"] - zero_point - 0.5) * scale
    high = (case.settings["high"] - zero_point + 0.5) * scale

    def rule(x):
        _, pullbacks = OPS["fake_quantize"].rule(x, scale, zero_point, **case.settings)
        return np.clip(x, low, high), pullbacks[:1]

    return differentiable(rule), (x,)


def as_if_rounding_added_a_constant(name, case):
    """The rule for a learned step claims to be the derivative of the same op if what rounding adds stayed the
    same: y = (clip(x / s) + δ) s. The step's gradient is also scaled, which is undone here."""
    x, step = case.args
    low, high, count = (case.settings[key] for key in ("low", "high", "count"))
    added = np.rint(np.clip(x / step, low, high)) - np.clip(x / step, low, high)

    def rule(x, step):
        _, (grad_x, grad_step) = OPS["lsq"].rule(x, step, **case.settings)
        pullbacks = grad_x, lambda g: grad_step(g) * np.sqrt(count * high)
        return (np.clip(x / step, low, high) + added) * step, pullbacks

    return differentiable(rule), (x, step)


def as_if_sign_were_a_ramp(name, case):
    """The rule for signs claims to be the derivative of s · clip(x / limit, −1, 1), and of share · x besides."""
    x, scale = case.args
    limit, share = case.settings["limit"], case.settings["share"]

    def rule(x):
        _, pullbacks = OPS["binary_weight"].rule(x, scale, **case.settings)
        return share * x + scale * np.clip(x / limit, -1, 1), pullbacks[:1]

    return differentiable(rule), (x,)


def as_if_the_choice_were_fixed(name, case):
    """Rules for three values claim to be the derivative where each weight stays what it is: +, 0 or −; and x passes as
    it is, or times the value that it stands for."""
    x, *values = case.args
    positive, negative = values[-2:]
    y = OPS[name].rule(*case.args, **case.settings)[0]
    slopes = np.where(y > 0, positive, np.where(y < 0, negative, 1)) if "fraction" in case.settings else 1

    def rule(x, positive, negative):
        _, pullbacks = OPS[name].rule(x, *values[:-2], positive, negative, **case.settings)
        return x * slopes + (y > 0) * positive - (y < 0) * negative, (pullbacks[0], *pullbacks[-2:])

    if "fraction" in case.settings:
        return differentiable(rule), (x, positive, negative)
    return differentiable(lambda x: (rule(x, positive, negative)[0], rule(x, positive, negative)[1][:1])), (x,)


def without_draws(name, case):
    """The uniform draws are floats, but nothing to learn: the op gives them no gradient."""
    return lambda x: ops.dropout(x, case.args[1], **case.settings), case.args[:1]


FORMS = {
    "batch_norm": with_own_statistics,
    "dropout": without_draws,
    "fake_quantize": as_if_not_rounded,
    "lsq": as_if_rounding_added_a_constant,
    "binary_weight": as_if_sign_were_a_ramp,
    "ternary_weight": as_if_the_choice_were_fixed,
    "trained_ternary_weight": as_if_the_choice_were_fixed,
}


@pytest.mark.parametrize("name", sorted(OPS))
@settings(max_examples=12)
@given(data=st.data())
def test_gradient_matches_central_differences(name, data):
    f, inputs = FORMS.get(name, plain)(name, data.draw(CASES[name]))
    gradcheck(f, *[np.array(value) if isinstance(value, float) else value for value in inputs])


@pytest.mark.parametrize("kh, kw", [(1, 1), (1, 3), (2, 2), (3, 1), (3, 2), (3, 3)])
def test_conv2d_gradients_over_a_grid_of_settings(kh, kw):
    """A convolution is linear in x and in its weight: exactly <g, conv(x, w)> = <∂L/∂x, x> = <∂L/∂w, w>, also
    for another x or another w in its place. That needs no small steps, so many settings can be tried."""
    strides, paddings = (1, 2, (1, 3)), (0, 1, (0, 2), (1, 0))
    for q, stride, padding, groups in itertools.product((1, 2, 3, 5), strides, paddings, (1, 2)):
        rng = np.random.default_rng(0)
        x, other_x = rng.standard_normal((2, 2, 2 * groups, kh + 2, kw + q - 1))
        w, other_w = rng.standard_normal((2, 3 * groups, 2, kh, kw))
        settings = {"stride": stride, "padding": padding, "groups": groups}
        leaves = Tensor(x, requires_grad=True), Tensor(w, requires_grad=True)
        y = ops.conv2d(*leaves, **settings)
        g = rng.standard_normal(y.shape)
        y.backward(g)
        for leaf, other, conv in (
            (leaves[0], other_x, ops.conv2d(other_x, w, **settings)),
            (leaves[1], other_w, ops.conv2d(x, other_w, **settings)),
        ):
            assert (leaf.grad * other).sum() == pytest.approx((g * conv.data).sum(), rel=1e-9, abs=1e-9)


def test_astype_brings_the_gradient_back_in_its_own_type():
    x = Tensor(np.array([1.0, 2.0]), requires_grad=True)  # float64
    y = x.astype("float32")
    assert y.dtype == np.float32
    (y * y).sum().backward()
    assert x.grad.dtype == np.float64 and np.array_equal(x.grad, [2.0, 4.0])
    assert not x.astype("int64").requires_grad

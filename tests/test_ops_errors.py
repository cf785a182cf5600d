"""Bad input meets one clear sentence: the rule, what came, the likely fix; no traceback from inside NumPy."""

import numpy as np
import pytest

from tinyopt import Tensor, ops
from tinyopt.errors import DtypeError, ShapeError


def t(*shape, dtype="float32"):
    return Tensor(np.ones(shape, dtype))


SHAPES = [  # (a call, the op and the shapes that its message names)
    (lambda: t(3) + t(4), "add", "(3,)", "(4,)"),
    (lambda: t(2, 3) * t(2), "mul", "(2, 3)", "(2,)"),
    (lambda: t(3) + np.ones(4, "float32"), "add", "(3,)", "(4,)"),
    (lambda: ops.maximum(t(2), t(3)), "maximum", "(2,)", "(3,)"),
    (lambda: ops.where(t(2) > 0, t(3), t(3)), "where", "(2,)", "(3,)"),
    (lambda: ops.dropout(t(2), t(3)), "dropout", "(2,)", "(3,)"),
    (lambda: t(2, 3).sum(axis=2), "sum", "(2, 3)", "axis 2"),
    (lambda: t(2, 3).mean(axis=(0, 0)), "mean", "(2, 3)", "axis"),
    (lambda: t(0).mean(), "mean", "(0,)", "undefined"),
    (lambda: t(0, 2).max(axis=0), "max", "(0, 2)", "undefined"),
    (lambda: t(1).var(), "var", "(1,)", "needs more than 1"),
    (lambda: ops.softmax(t(2), axis=1), "softmax", "(2,)", "axis 1"),
    (lambda: ops.logsumexp(t(0)), "logsumexp", "(0,)", "undefined"),
    (lambda: t(2, 3).reshape(4), "reshape", "(2, 3)", "(4,)"),
    (lambda: t(2, 3).reshape(-1, -1), "reshape", "(2, 3)", "unknown dimension"),
    (lambda: t(2, 3).transpose(0, 0), "transpose", "(2, 3)", "axis"),
    (lambda: t(2, 3).transpose(0), "transpose", "(2, 3)", "axes"),
    (lambda: ops.broadcast_to(t(2), shape=(3,)), "broadcast_to", "(2,)", "(3,)"),
    (lambda: ops.expand(t(2, 3), shape=(3,)), "expand", "(2, 3)", ""),
    (lambda: t(2, 3).squeeze(axis=0), "squeeze", "(2, 3)", "axis"),
    (lambda: ops.concatenate([t(2, 3), t(2, 4)]), "concatenate", "(2, 3)", "(2, 4)"),
    (lambda: ops.concatenate([]), "concatenate", "at least one", ""),
    (lambda: ops.stack([t(2), t(3)]), "stack", "(2,)", "(3,)"),
    (lambda: ops.pad(t(2, 3), pad_width=((1, 1),) * 3), "pad", "(2, 3)", ""),
    (lambda: ops.flip(t(2), axis=1), "flip", "(2,)", "axis 1"),
    (lambda: ops.linear(t(2, 3), t(4, 5)), "linear", "(4, 5)", "(2, 3)"),
    (lambda: ops.linear(t(64, 28, 28), t(300, 784)), "linear", "(300, 784)", "x.reshape(64, -1)"),
    (lambda: ops.linear(t(2, 3), t(4, 3), t(2, 4)), "linear", "(4,)", "(2, 4)"),
    (lambda: t(2, 3) @ t(2, 3), "matmul", "(2, 3) and (2, 3)", "k"),
    (lambda: t(2, 2, 3) @ t(3, 3, 4), "matmul", "(2, 2, 3)", "(3, 3, 4)"),
    (lambda: t() @ t(2), "matmul", "()", "(2,)"),
    (lambda: ops.conv2d(t(8, 28, 28), t(4, 1, 3, 3)), "conv2d", "(8, 28, 28)", "x.reshape(8, 1, 28, 28)"),
    (lambda: ops.conv2d(t(8, 3, 9, 9), t(4, 1, 3, 3)), "conv2d", "(8, 3, 9, 9)", "(4, 1, 3, 3)"),
    (lambda: ops.conv2d(t(8, 2, 9, 9), t(3, 1, 3, 3), groups=2), "conv2d", "(3, 1, 3, 3)", "2 equal groups"),
    (lambda: ops.conv2d(t(8, 1, 2, 2), t(4, 1, 3, 3)), "conv2d", "(3, 3)", "(2, 2)"),
    (lambda: ops.conv2d(t(8, 1, 9, 9), t(4, 1, 3, 3), t(1)), "conv2d", "(4,)", "(1,)"),
    (lambda: ops.max_pool2d(t(8, 28, 28), kernel_size=2), "pooling", "(8, 28, 28)", "(N, C, H, W)"),
    (lambda: ops.avg_pool2d(t(1, 1, 2, 2), kernel_size=3), "pooling", "(3, 3)", "(2, 2)"),
    (lambda: ops.max_pool2d(t(1, 1, 4, 4), kernel_size=2, padding=2), "pooling", "(2, 2)", "half"),
    (lambda: ops.batch_norm(t(4, 3), t(2), t(3), t(3), t(3)), "batch_norm", "(4, 3)", "(2,)"),
    (lambda: ops.mask(t(2, 3), np.ones((3, 2), bool)), "mask", "(2, 3)", "(3, 2)"),
    (lambda: ops.fake_quantize(t(2), t(3), t(3), low=0, high=1), "fake_quantize", "(2,)", "(3,)"),
    (lambda: ops.cross_entropy(t(3), np.array([0, 1, 2])), "cross_entropy", "(3,)", "axis 1"),
]  # fmt: skip


@pytest.mark.parametrize("call, name, first, second", SHAPES, ids=[f"{s[1]} {s[2]} {s[3]}" for s in SHAPES])
def test_shapes_that_do_not_fit_are_named_with_the_op(call, name, first, second):
    with pytest.raises(ShapeError) as caught:
        call()
    message = str(caught.value)
    assert name in message and first in message and second in message
    assert "\n" not in message and len(message) < 300


SETTINGS = [
    (lambda: t(2).clip(), "clip needs min, max or both"),
    (lambda: ops.dropout(t(2), t(2), p=2), r"fraction removed, in \[0, 1\]; got 2"),
    (lambda: ops.conv2d(t(1, 1, 4, 4), t(1, 1, 2, 2), stride=0), "stride and groups of at least 1"),
    (lambda: ops.conv2d(t(1, 1, 4, 4), t(1, 1, 2, 2), padding=-1), "padding is an integer of 0 or more"),
    (lambda: ops.conv2d(t(1, 1, 4, 4), t(1, 1, 2, 2), groups=0), "groups of at least 1"),
    (lambda: ops.max_pool2d(t(1, 1, 4, 4), kernel_size=(0, 2)), "kernel and stride of at least 1"),
    (lambda: ops.max_pool2d(t(1, 1, 4, 4), kernel_size=2, stride=(0, 1)), "kernel and stride of at least 1"),
    (lambda: ops.avg_pool2d(t(1, 1, 4, 4), kernel_size=2.5), "kernel_size is an integer"),
]


@pytest.mark.parametrize("call, message", SETTINGS)
def test_settings_out_of_range_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


PLACES = [
    (lambda: t(3)[5], "getitem.*out of bounds"),
    (lambda: t(2, 3)[0, 0, 0], "getitem.*too many indices"),
    (lambda: t(3)[t(2)], "getitem.*integer"),
    (lambda: t(3)[0.5], "getitem.*valid indices"),
    (lambda: ops.lookup(t(3), np.array([3])), "lookup.*out of bounds"),
    (lambda: ops.cross_entropy(t(2, 3), np.array([0, 3])), "cross_entropy.*out of bounds"),
    (lambda: ops.cross_entropy(t(3, 4), np.array([0, 1])), r"cross_entropy.*\(3, 4\), \(2,\)"),
]


@pytest.mark.parametrize("call, message", PLACES)
def test_places_that_do_not_exist_are_index_errors(call, message):
    with pytest.raises(IndexError, match=message):
        call()


def image(dtype):
    return Tensor(np.ones((1, 1, 3, 3), dtype))


TYPES = [  # (a call, what its message says); each message also says how to convert
    (lambda: t(2) + t(2, dtype="float64"), "add needs one type of floats; got float32 and float64"),
    (lambda: ops.linear(t(2, 3), t(4, 3, dtype="float64")), "linear needs one type of floats"),
    (lambda: t(2) + np.ones(2), "add needs one type of floats; got float32 and float64"),
    (lambda: t(2) * t(2, dtype="int64"), "mul was given float32 and made float64"),
    (lambda: ops.linear(t(2, 3, dtype="int64"), t(4, 3)), "linear needs x of its weight's type.*got int64"),
    (lambda: ops.linear(t(2, 3, dtype="uint8"), t(4, 3)), "linear needs x of its weight's type.*got uint8"),
    (lambda: ops.conv2d(image("int64"), t(1, 1, 2, 2)), "conv2d needs x of its weight's type.*got int64"),
    (lambda: ops.conv2d(image("uint8"), t(1, 1, 2, 2)), "conv2d needs x of its weight's type.*got uint8"),
    (lambda: -Tensor(np.array([True])), "neg cannot be applied to bool"),
    (lambda: t(2) @ 3.0, r"matmul cannot be applied to float32 \(2,\), 3.0"),
    (lambda: t(2) + None, r"add cannot be applied to float32 \(2,\), None"),
    (lambda: ops.linear(3.0, t(2, 3)), r"linear cannot be applied to 3.0, float32 \(2, 3\)"),
]


@pytest.mark.parametrize("call, message", TYPES)
def test_types_that_do_not_fit_are_named_with_the_way_to_convert(call, message):
    with pytest.raises(DtypeError, match=rf"{message}.*x\.astype\('float(32|64)'\)"):
        call()


CALLS = [
    (lambda: ops.sum(t(2, 3), 0), r"sum\(x, \*, axis=None, keepdims=False\) takes arrays by position"),
    (lambda: ops.reshape(t(4), (2, 2)), r"reshape\(x, \*, shape\) takes .* settings by keyword"),
    (lambda: ops.relu(t(2), slope=0.1), r"relu\(x\) takes.*slope"),
    (lambda: ops.add(t(2)), r"add\(x, y\) takes.*missing.*'y'"),
]


@pytest.mark.parametrize("call, message", CALLS)
def test_a_call_that_no_rule_takes_shows_the_signature(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_a_rule_without_an_array_as_its_value_is_named():
    from tinyopt import differentiable

    def listed(x):
        return [1.0, 2.0], (lambda g: g,)

    with pytest.raises(TypeError, match="rule of 'listed' must return an array as its value; got list"):
        differentiable(listed)(t(2))


def test_tensors_hold_no_other_types():
    with pytest.raises(DtypeError, match="tensors hold float32, float64.*float16 is none"):
        t(2).astype("float16")
    for data in ("text", [1j], [None], np.array(["a"])):
        with pytest.raises(DtypeError, match="a tensor holds real numbers"):
            Tensor(data)


def test_an_error_inside_a_rule_on_floats_is_shown_as_it_is():
    """A student's slip in a rule must not be dressed up as a wrong type of input."""
    from tinyopt import differentiable

    with pytest.raises(AttributeError, match="has no attribute 'summ'"):
        differentiable(lambda x: (x.summ(), (None,)))(t(2))

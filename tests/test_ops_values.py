"""The value of every op against an oracle of other means: NumPy's own function, a formula, or slow loops."""

import math

import numpy as np
import pytest
from cases import CASES
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyopt import OPS, Tensor, ops
from tinyopt.ops.conv import conv2d_loop


def clip(x, min, max):
    low, high = (-math.inf if min is None else min), (math.inf if max is None else max)
    return np.array([low if v < low else high if v > high else v for v in x.flat]).reshape(x.shape)


def softmax(x, axis):
    e = np.exp(x)
    return e / np.expand_dims(np.add.reduce(e, axis), axis)


def linear(x, weight, bias=None):
    return np.einsum("...i,oi->...o", x, weight) + (0 if bias is None else bias)


def matmul(x, y):
    rows, columns = x[None, :] if x.ndim == 1 else x, y[:, None] if y.ndim == 1 else y
    product = (rows[..., :, :, None] * columns[..., None, :, :]).sum(axis=-2)
    product = product[..., 0] if y.ndim == 1 else product
    return product[..., 0] if x.ndim == y.ndim == 1 else product[..., 0, :] if x.ndim == 1 else product


def pool_loop(x, kernel_size, stride, padding, choose, border):
    def both(value):
        return value if isinstance(value, tuple) else (value, value)

    (kh, kw), (ph, pw) = both(kernel_size), both(padding)
    sh, sw = both(kernel_size if stride is None else stride)
    x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)), constant_values=border)
    y = np.zeros((*x.shape[:2], (x.shape[2] - kh) // sh + 1, (x.shape[3] - kw) // sw + 1))
    for n, c, p, q in np.ndindex(*y.shape):
        y[n, c, p, q] = choose(x[n, c, p * sh : p * sh + kh, q * sw : q * sw + kw])
    return y


def batch_norm(x, weight, bias, mean, var, eps, training):
    y = np.empty_like(x)
    for c in range(x.shape[1]):
        y[:, c] = weight[c] * (x[:, c] - mean[c]) / math.sqrt(var[c] + eps) + bias[c]
    return y


def cross_entropy(logits, target, reduction, label_smoothing):
    losses = []
    for z, t in zip(logits, target):
        wanted = t if np.ndim(t) else [float(k == t) for k in range(len(z))]
        wanted = [(1 - label_smoothing) * w + label_smoothing / len(z) for w in wanted]
        total = math.log(sum(math.exp(v) for v in z))
        losses.append(sum(w * (total - v) for w, v in zip(wanted, z)))
    return {"none": np.array(losses), "sum": sum(losses), "mean": sum(losses) / len(losses)}[reduction]


def fake_quantize(x, scale, zero_point, low, high):
    y = np.empty_like(x)
    for place, (v, s, z) in zip(np.ndindex(*x.shape), np.broadcast(x, scale, zero_point)):
        y[place] = (min(max(round(v / s) + z, low), high) - z) * s
    return y


def lsq(x, step, low, high, count):
    y = np.empty_like(x)
    for place, (v, s) in zip(np.ndindex(*x.shape), np.broadcast(x, step)):
        y[place] = round(min(max(v / s, low), high)) * s  # Equations 1 and 2
    return y


def ternary_weight(x, threshold, positive, negative):
    y = np.empty_like(x)
    for place, (v, t, p, n) in zip(np.ndindex(*x.shape), np.broadcast(x, threshold, positive, negative)):
        y[place] = p if v > t else -n if v < -t else 0
    return y


def trained_ternary_weight(x, positive, negative, fraction):
    return ternary_weight(x, fraction * max(map(abs, x.flat)), positive, negative)


ORACLES = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "pow": np.power,
    "neg": np.negative,
    "exp": np.vectorize(math.exp, otypes="d"),
    "log": np.vectorize(math.log, otypes="d"),
    "sqrt": np.vectorize(math.sqrt, otypes="d"),
    "abs": np.vectorize(math.fabs, otypes="d"),
    "tanh": np.vectorize(math.tanh, otypes="d"),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "relu": lambda x: x * (x > 0),
    "maximum": np.vectorize(max, otypes="d"),
    "minimum": np.vectorize(min, otypes="d"),
    "clip": clip,
    "where": np.vectorize(lambda condition, x, y: x if condition else y, otypes="d"),
    "dropout": lambda x, uniform, p: np.where(uniform < p, 0, x / (1 - p) if p < 1 else 0),
    "astype": lambda x, dtype: x,
    "sum": np.sum,
    "mean": np.mean,
    "max": np.amax,
    "min": np.amin,
    "var": lambda x, axis, keepdims, correction: np.var(x, axis=axis, keepdims=keepdims, ddof=correction),
    "logsumexp": lambda x, axis, keepdims: np.log(np.sum(np.exp(x), axis=axis, keepdims=keepdims)),
    "softmax": softmax,
    "log_softmax": lambda x, axis: np.log(softmax(x, axis)),
    "reshape": lambda x, shape: x.reshape(shape),
    "transpose": np.transpose,
    "broadcast_to": lambda x, shape: np.zeros(shape) + x,
    "expand": lambda x, shape: np.zeros([1 if n == -1 else n for n in shape]) + x,
    "expand_dims": lambda x, axis: x[None],
    "squeeze": np.squeeze,
    "concatenate": lambda *arrays, axis: np.concatenate(arrays, axis),
    "stack": lambda *arrays, axis: np.stack(arrays, axis),
    "pad": lambda x, pad_width, value: np.pad(x, pad_width, constant_values=value),
    "flip": np.flip,
    "getitem": lambda x, index: x[index],
    "to": lambda x, device: x,
    "linear": linear,
    "matmul": matmul,
    "conv2d": conv2d_loop,
    "max_pool2d": lambda x, **where: pool_loop(x, **where, choose=np.max, border=-np.inf),
    "avg_pool2d": lambda x, **where: pool_loop(x, **where, choose=np.mean, border=0),
    "batch_norm": batch_norm,
    "cross_entropy": cross_entropy,
    "mask": lambda x, keep: np.where(keep, x, 0),
    "lookup": lambda codebook, labels: np.array([codebook[k] for k in labels.flat]).reshape(labels.shape),
    "fake_quantize": fake_quantize,
    "lsq": lsq,
    "binary_weight": np.vectorize(lambda x, scale, limit, share: -scale if x < 0 else scale, otypes="d"),
    "ternary_weight": ternary_weight,
    "trained_ternary_weight": trained_ternary_weight,
}


def test_every_op_has_an_oracle():
    assert set(ORACLES) == set(OPS)


@pytest.mark.parametrize("name", sorted(OPS))
@settings(max_examples=15)
@given(data=st.data())
def test_value_is_the_oracles(name, data):
    case = data.draw(CASES[name])
    y = getattr(ops, name)(*case.args, **case.settings)
    wanted = ORACLES[name](*case.args, **case.settings)
    assert y.shape == np.shape(wanted)
    np.testing.assert_allclose(y.numpy(), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", sorted(set(OPS) - {"astype"}))  # which is made to change the type
@settings(max_examples=5)
@given(data=st.data())
def test_float32_goes_in_and_comes_out_forward_and_back(name, data):
    case = data.draw(CASES[name])
    inputs = [Tensor(a.astype("float32"), requires_grad=True) if _is_float(a) else a for a in case.args]
    y = getattr(ops, name)(*inputs, **case.settings)
    assert y.dtype == np.float32
    y.backward(np.ones_like(y.data))
    for t in inputs:
        if isinstance(t, Tensor) and t.grad is not None:
            assert (t.grad.dtype, t.grad.shape) == (np.float32, t.shape)


def _is_float(value):
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def test_extreme_scores_neither_overflow_nor_vanish():
    z = Tensor(np.array([[1000.0, 0.0, -1000.0]]))
    with np.errstate(all="raise", under="ignore"):
        assert np.array_equal(ops.softmax(z).data, [[1, 0, 0]])
        assert np.array_equal(ops.log_softmax(z).data, [[0, -1000, -2000]])
        assert ops.logsumexp(z).item() == 1000
        assert np.array_equal(ops.sigmoid(z).data, [[1, 0.5, 0]])
        assert ops.cross_entropy(z, np.array([2])).item() == 2000


@pytest.mark.filterwarnings("ignore:divide by zero")
def test_logsumexp_of_infinities_is_pytorchs():
    inf = np.inf
    z = Tensor([[-inf, -inf], [0.0, -inf], [inf, 1.0]])
    assert np.array_equal(ops.logsumexp(z, axis=1).data, [-inf, 0, inf])


def test_without_floats_numbers_become_float32():
    count = Tensor(np.arange(3))
    for y in (count.mean(), count / 2, ops.exp(count), ops.where(count > 1, 1.0, 0.0)):
        assert y.dtype == np.float32
    assert (count + 1).dtype == np.int64 and count.astype("float64").dtype == np.float64


def test_conv2d_in_one_piece_equals_conv2d_in_many(monkeypatch):
    """Images are handled in groups that fit the cache; with a tiny cache each image is its own group."""
    from tinyopt.backend import CPU

    rng = np.random.default_rng(0)
    x, weight, g = map(rng.standard_normal, [(5, 3, 7, 7), (4, 3, 3, 3), (5, 4, 5, 5)])
    results = []
    for chunk_bytes in (1 << 30, 1):
        monkeypatch.setattr(CPU, "chunk_bytes", chunk_bytes)
        tensors = Tensor(x, requires_grad=True), Tensor(weight, requires_grad=True)
        y = ops.conv2d(*tensors)
        y.backward(g)
        results.append([y.data, *(t.grad for t in tensors)])
    for one, many in zip(*results):
        np.testing.assert_allclose(one, many, rtol=1e-12)


def test_images_in_nhwc_memory_give_the_same_numbers():
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((2, 3, 6, 6)), rng.standard_normal((4, 3, 3, 3))
    nhwc = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    for f in (
        lambda x: ops.conv2d(x, weight, padding=1),
        lambda x: ops.max_pool2d(x, kernel_size=2),
        lambda x: ops.avg_pool2d(x, kernel_size=3, stride=2, padding=1),
        lambda x: ops.getitem(x, index=(slice(None), [0, 2, 2])),
        lambda x: ops.reshape(x, shape=(2, -1)),
    ):
        a, b = Tensor(x, requires_grad=True), Tensor(nhwc, requires_grad=True)
        for t in (a, b):
            y = f(t)
            y.backward(np.cos(np.arange(y.size)).reshape(y.shape))
        np.testing.assert_allclose(f(a).data, f(b).data, rtol=1e-12)
        np.testing.assert_allclose(a.grad, b.grad, rtol=1e-12)


def test_one_number_is_a_shape_too():
    assert ops.expand(2.0, shape=3).shape == ops.broadcast_to(2.0, shape=3).shape == (3,)


def test_getitem_takes_a_copy_of_its_index():
    index = np.array([0, 1])
    x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = x[index]
    index[:] = 2
    y.sum().backward()
    assert np.array_equal(x.grad, [1, 1, 0])

"""The layers of an integer-only network against Python's own integers, at the ends of what they can hold too."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyopt import Tensor, nn
from tinyopt.compress.integer import reference
from tinyopt.errors import DtypeError, ShapeError
from tinyopt.nn.integer import (
    SUM_STEPS, Dequantize, IntegerAdd, IntegerAvgPool2d, IntegerConv2d, IntegerLinear, IntegerMaxPool2d, IntegerNet,
    QuantizeInput, Requantize,
)  # fmt: skip
from tinyopt.nn.integer_math import EXACT, exact_parts, fixed_point, requantize

INT8, INT32 = st.integers(-128, 127), st.integers(-(2**31), 2**31 - 1)


def int8(rng, *shape):
    return rng.integers(-128, 128, shape).astype(np.int8)


def same(layer, *inputs):
    """The layer's output, once it is seen to be that of the reference."""
    y = layer(*inputs).data
    assert np.array_equal(y, reference.run(layer, *inputs))
    return y


# --- fixed point ---------------------------------------------------------------------------------------


@given(factor=st.floats(2.0**-31, 1, exclude_max=True), bits=st.sampled_from([31, 30]))
def test_a_factor_as_an_integer_and_a_shift(factor, bits):
    factor = factor * 2.0 ** (bits - 31)
    multiplier, shift = fixed_point(factor, bits=bits)
    assert (multiplier.dtype, shift.dtype) == (np.int32, np.int8) and 31 <= shift <= 62
    assert 2 ** (bits - 1) <= multiplier < 2**bits
    error = abs(Fraction(int(multiplier), 2 ** int(shift)) - Fraction(factor))
    assert error <= Fraction(factor) / 2**bits or multiplier == 2**bits - 1  # just below 1: the largest there is
    assert error <= Fraction(factor) / 2 ** (bits - 1)


def test_factors_that_round_up_are_tiny_or_do_not_fit():
    just_below = [math.nextafter(1.0, 0), math.nextafter(0.25, 0)]
    assert [part.tolist() for part in fixed_point(just_below)] == [[2**31 - 1, 2**30], [31, 32]]
    assert [part.tolist() for part in fixed_point([0.5, 2.0**-40, 2.0**-70])] == [[2**30, 2**22, 0], [31, 62, 62]]
    for wrong in (0.0, -0.5, 1.0, np.nan):
        with pytest.raises(ValueError, match=r"a factor of 31 bits lies in \(0, 2\^0\).*finer than"):
            fixed_point([0.5, wrong])


@given(number=st.integers(-(2**70), 2**70), shift=st.integers(1, 62))
def test_the_reference_rounds_half_away_from_zero(number, shift):
    exact = Fraction(number, 2**shift)
    sign = -1 if number < 0 else 1  # no float may come into this, not even for a sign
    assert reference.round_shift(number, shift) == sign * math.floor(abs(exact) + Fraction(1, 2))


@given(
    acc=st.lists(INT32 | st.sampled_from([-(2**31), 2**31 - 1, 0, 1, -1]), min_size=1, max_size=12),
    multiplier=st.integers(1, 2**31 - 1) | st.sampled_from([2**30, 2**31 - 1]),
    shift=st.integers(31, 62), zero_point=INT8, relu=st.booleans(),
)  # fmt: skip
def test_requantize_bit_for_bit(acc, multiplier, shift, zero_point, relu):
    arrays = np.array([acc], np.int32).T, np.array([multiplier], np.int32), np.array([shift], np.int8)
    q = requantize(*arrays, np.array(zero_point, np.int32), relu=relu)
    assert q.dtype == np.int8
    assert q.ravel().tolist() == [reference.requantize(a, multiplier, shift, zero_point, relu=relu) for a in acc]


def test_ties_go_away_from_zero_and_the_ends_saturate():
    acc = np.array([[5, -5, 1, -1, 4, -4, 3, -3, 2**31 - 1, -(2**31)]], np.int32).T
    half = np.array([2**30], np.int32), np.array([31], np.int8)
    assert requantize(acc, *half, 0).ravel().tolist() == [3, -3, 1, -1, 2, -2, 2, -2, 127, -128]
    assert requantize(acc, *half, -3, relu=True).ravel().tolist() == [0, -3, -2, -3, -1, -3, -1, -3, 127, -3]


@settings(max_examples=25)
@given(seed=st.integers(0, 999), c=st.integers(1, 5), one=st.booleans(), n=st.integers(0, 3), spatial=st.booleans())
def test_requantize_and_sums_in_any_order_of_memory(seed, c, one, n, spatial):
    rng, size = np.random.default_rng(seed), (2, 3) if spatial else ()
    shape, known = (n, c, *size), 1 if one else c
    layer = Requantize(known, relu=bool(seed % 2))
    layer.multiplier, layer.shift = fixed_point(rng.uniform(1e-4, 0.9, known))
    layer.zero_point = np.array(rng.integers(-128, 128), np.int32)
    wide = rng.integers(-(2**20), 2**20, shape).astype(np.int32)
    last = wide.transpose(0, *range(2, wide.ndim), 1).copy().transpose(0, wide.ndim - 1, *range(1, wide.ndim - 1))
    assert same(layer, wide).shape == shape and np.array_equal(same(layer, last), layer(wide).data)
    add = IntegerAdd()
    add.multiplier = rng.integers(0, SUM_STEPS + 1, 2).astype(np.int32)
    add.zero_points = rng.integers(-128, 128, 2).astype(np.int32)
    assert same(add, int8(rng, *shape), last.astype(np.int8)).dtype == np.int32


@pytest.mark.parametrize("a, b", [(-128, 127), (127, -128)])
def test_the_largest_sums_do_not_wrap_round(a, b):
    add = IntegerAdd()  # both sides with the largest multiplier, as far from their zero points as can be
    add.zero_points = np.array([b, b], np.int32)
    ends = np.full((1, 1), a, np.int8)
    assert same(add, ends, ends).tolist() == [[2 * (a - b) * 2**22]]


def test_many_blocks_and_the_largest_product():
    rng = np.random.default_rng(0)
    acc = rng.integers(-(2**31), 2**31, (9, 7, 30, 30)).astype(np.int32)  # several blocks, the last one cut short
    multiplier, shift = fixed_point(rng.uniform(2.0**-26, 2.0**-22, 7))
    p = acc.astype(object) * multiplier.astype(object).reshape(7, 1, 1)
    s = 2 ** shift.astype(object).reshape(7, 1, 1)
    expected = np.where(p >= 0, (p + s // 2) // s, -((-p + s // 2) // s))
    assert np.array_equal(requantize(acc, multiplier, shift, 5), np.clip(expected + 5, -128, 127).astype(np.int64))
    ends = np.array([[-(2**31)], [2**31 - 1]], np.int32)
    for exponent, q in ((31, [-128, 127]), (62, [-1, 1])):
        most = np.array([2**31 - 1], np.int32), np.array([exponent], np.int8)
        assert requantize(ends, *most, 0).ravel().tolist() == q  # 2³¹ · 2³¹ and a half of 2⁶² pass no 2⁶³


# --- products -------------------------------------------------------------------------------------------


def filled(layer, rng, zero_point=-7):
    layer.weight = rng.integers(-127, 128, layer.weight.shape).astype(np.int8)
    layer.bias = rng.integers(-5000, 5000, layer.bias.shape).astype(np.int32)
    layer.zero_point = np.array(zero_point, np.int32)
    return layer


@given(seed=st.integers(0, 999), n=st.integers(0, 3), d_in=st.integers(1, 6), d_out=st.integers(1, 4))
def test_linear(seed, n, d_in, d_out):
    rng = np.random.default_rng(seed)
    assert same(filled(IntegerLinear(d_in, d_out), rng), int8(rng, n, d_in)).dtype == np.int32


@settings(max_examples=30)
@given(
    seed=st.integers(0, 999), n=st.integers(1, 2), groups=st.integers(1, 3), each=st.tuples(*[st.integers(1, 2)] * 2),
    kernel=st.tuples(*[st.integers(1, 3)] * 2), stride=st.tuples(*[st.integers(1, 2)] * 2),
    padding=st.tuples(*[st.integers(0, 2)] * 2), zero_point=INT8,
)  # fmt: skip
def test_conv2d_pads_with_the_zero_point(seed, n, groups, each, kernel, stride, padding, zero_point):
    rng = np.random.default_rng(seed)
    c, o = groups * each[0], groups * each[1]
    layer = filled(IntegerConv2d(c, o, kernel, stride, padding, groups=groups), rng, zero_point)
    x = int8(rng, n, c, 4, 3)
    y = same(layer, x)
    last = x.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)
    assert y.dtype == np.int32 and np.array_equal(layer(last).data, y)


@pytest.mark.parametrize("n, n_parts", [(1032, 1), (1033, 2), (3000, 3)])
def test_no_partial_sum_passes_two_to_the_24th_in_the_worst_case(n, n_parts):
    layer = IntegerLinear(n, 2)
    layer.weight = np.array([[-127] * n, [127] * n], np.int8)
    x = np.full((3, n), -128, np.int8)
    x[1, n // 2] = -127  # an odd total, which float32 would lose above 2²⁴
    parts = exact_parts(layer.weight, layer.bias)
    assert len(parts) == n_parts and [i for part in parts for i in range(n)[part]] == list(range(n))
    assert all(128 * 127 * len(range(n)[part]) < EXACT for part in parts)
    assert layer.prepare()[0][1].dtype == np.float32
    y = layer(x).data
    assert y.tolist() == [[128 * 127 * n * s - 127 * s * (i == 1) for s in (1, -1)] for i in range(3)]
    if n == 3000:  # what the bound is for: all in one sum of float32
        at_once = x.astype(np.float32) @ layer.weight.T.astype(np.float32)
        assert not np.array_equal(at_once.astype(np.int64), y)


def test_the_bias_counts_and_a_convolution_is_cut_by_channels_or_runs_in_float64():
    rng = np.random.default_rng(0)
    bias = np.array([EXACT - 128 * 127 * 2], np.int32)
    assert exact_parts(np.full((1, 2), 127, np.int8), bias) == [slice(0, 1), slice(1, 2)]
    assert exact_parts(np.full((1, 2), 127, np.int8), bias - 1) == [slice(0, 2)]
    assert exact_parts(np.ones((1, 2), np.int8), np.array([EXACT], np.int32)) is None
    cases = {  # shape of the convolution -> parts, type
        (50, 1, (5, 5), 1): (2, np.float32),
        (1, 2, (36, 36), 1): (1, np.float64),  # one channel alone is too much
        (100, 2, (5, 5), 2): (1, np.float64),  # groups are not cut
    }
    for (c, o, kernel, groups), (n_parts, dtype) in cases.items():
        layer = IntegerConv2d(c, o, kernel, groups=groups)
        layer.weight[...], layer.bias[...] = -127, 3
        x = np.full((2, c, *kernel), -128, np.int8)
        x[0, 0, 0, 0] = 1
        parts = layer.prepare()
        assert (len(parts), parts[0][1].dtype) == (n_parts, dtype)
        n = math.prod(layer.weight.shape[1:])
        assert layer(x).data[:, 0].ravel().tolist() == [127 * 128 * n - 127 * 129 + 3, 127 * 128 * n + 3]
    layer = IntegerLinear(4, 2)
    layer.bias = np.array([2**31 - 1, -(2**31)], np.int32)
    assert layer(np.zeros((1, 4), np.int8)).data.tolist() == [[2**31 - 1, -(2**31)]]
    layer.weight, layer.bias = int8(rng, 2, 4), layer.bias * 0  # new buffers are seen
    same(layer, int8(rng, 3, 4))


# --- pooling, ends and wires ----------------------------------------------------------------------------


@given(
    seed=st.integers(0, 999), kernel=st.tuples(*[st.integers(1, 3)] * 2), stride=st.integers(1, 2),
    padded=st.booleans(), dtype=st.sampled_from([np.int8, np.int32]),
)  # fmt: skip
def test_pooling(seed, kernel, stride, padded, dtype):
    rng, padding = np.random.default_rng(seed), tuple(k // 2 * padded for k in kernel)
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    x = rng.integers(low, high, (2, 2, 4, 3), endpoint=True).astype(dtype)
    x[0] = low
    assert same(IntegerMaxPool2d(kernel, stride, padding), x).dtype == dtype
    mean = IntegerAvgPool2d(kernel, stride, padding)
    mean.zero_point = np.array(rng.integers(-128, 128), np.int32)
    assert same(mean, int8(rng, 2, 2, 4, 3)).dtype == np.int32


def test_pooling_before_or_after_requantizing_is_the_same():
    rng, layer = np.random.default_rng(1), Requantize(3)
    layer.multiplier, layer.shift = fixed_point(rng.uniform(0.01, 0.1, 3))
    acc = rng.integers(-3000, 3000, (2, 3, 6, 6)).astype(np.int32)
    pool = IntegerMaxPool2d(2)
    assert np.array_equal(layer(pool(acc)).data, pool(layer(acc)).data)


def test_floats_enter_and_leave():
    first, last = QuantizeInput(), Dequantize()
    first.scale = last.scale = np.array(0.5, np.float32)
    first.zero_point = last.zero_point = np.array(-3, np.int32)
    for dtype in ("float32", "float64"):
        q = first(np.array([[0.0, 0.25, 0.75, -0.26, 99, -99]], dtype)).data
        assert q.dtype == np.int8 and q.tolist() == [[-3, -3, -1, -4, 127, -128]]
    y = last(q).data
    assert y.dtype == np.float32 and y.tolist() == [[0, 0, 1, -0.5, 65, -62.5]]
    assert last(np.array([2**20], np.int32)).data.tolist() == [(2**20 + 3) / 2]


def test_wires_are_followed_and_checked():
    net = IntegerNet([["a", [""]], ["b", ["a"]], ["sum", ["b", "a"]]], a=nn.Identity(), b=nn.ReLU(), sum=nn.Add())
    assert net(Tensor([1.0, -2.0])).data.tolist() == [2, -2]
    assert net.integers(np.float32([1, -2])).data.tolist() == [1, 0]
    assert net.get("b") is net.layers["b"] and [name for name, _ in net.named_children()] == ["a", "b", "sum"]
    net.replace("b", nn.Identity())
    assert net(Tensor([1.0, -2.0])).data.tolist() == [2, -4]
    for wires in ([["c", [""]]], [["a", ["b"]]]):
        with pytest.raises(ValueError, match="wires are .* in order; got"):
            IntegerNet(wires, a=nn.Identity(), b=nn.Identity())


def test_what_does_not_fit_is_told():
    floats, wide = np.zeros((1, 2, 3, 3), np.float32), np.zeros((1, 2, 3, 3), np.int32)
    for layer, x in ((IntegerConv2d(2, 1, 1), floats), (IntegerAvgPool2d(2), wide), (IntegerMaxPool2d(2), floats),
                     (Requantize(2), wide.astype(np.int8)), (Dequantize(), floats)):  # fmt: skip
        with pytest.raises(DtypeError, match=f"{type(layer).__name__} takes int.*got.*enter through QuantizeInput"):
            layer(x)
    with pytest.raises(DtypeError, match="QuantizeInput takes floats.*got int32"):
        QuantizeInput()(wide)
    with pytest.raises(ShapeError, match=r"Requantize\(3\) needs \(N, 3, ...\); got \(1, 2, 3, 3\)"):
        Requantize(3)(wide)
    narrow = wide.astype(np.int8)
    with pytest.raises(ShapeError, match="IntegerAdd adds arrays of one shape"):
        IntegerAdd()(narrow, narrow[..., 0])
    with pytest.raises(DtypeError, match="IntegerAdd takes int8; got int32"):
        IntegerAdd()(narrow, wide)
    with pytest.raises(ShapeError, match="needs x"):
        IntegerLinear(3, 1)(np.zeros((1, 2), np.int8))

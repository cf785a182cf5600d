"""Integer quantization against a loop over single numbers, and its error bound over drawn arrays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from standin import StandInArray, transfers

from tinyopt.codec import choose_scale, dequantize, quantize, to_integers
from tinyopt.codec.affine import integer_range, min_max, scale_from_range
from tinyopt.errors import DtypeError, ShapeError

dtypes = st.sampled_from([np.float32, np.float64])
shapes = hnp.array_shapes(min_dims=1, max_dims=4, max_side=5)


@st.composite
def arrays(draw):
    dtype = draw(dtypes)
    size = draw(st.sampled_from([1e-42, 1e-3, 1.0, 1e4, 1e30]))  # 1e-42: below float32's normal numbers
    numbers = st.floats(-size, size, width=8 * np.dtype(dtype).itemsize).map(dtype) if size == 1 else \
        st.floats(-1, 1, width=32).map(lambda v: dtype(v * size))
    return draw(hnp.arrays(dtype, draw(shapes), elements=numbers))


def quantized_by_hand(channel, bits, symmetric):
    """One channel, one number at a time, with Python's round (ties to even)."""
    one = channel.dtype.type
    low, high = min(channel.min(), one(0)), max(channel.max(), one(0))
    smallest = np.finfo(one).tiny
    if symmetric:
        bottom, top = -(2 ** (bits - 1) - 1), 2 ** (bits - 1) - 1
        scale = max(max(high, -low) / one(top), smallest)
        zero = 0
    else:
        bottom, top = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        scale = max(high / one(top - bottom) - low / one(top - bottom), smallest)
        zero = bottom - round(float(low / scale))
    return [min(max(round(float(v / scale)) + zero, bottom), top) for v in channel.reshape(-1)], scale, zero


@given(x=arrays(), bits=st.integers(2, 16), symmetric=st.booleans(), data=st.data())
@settings(max_examples=80)
def test_equals_the_loop_and_errs_by_at_most_half_a_step(x, bits, symmetric, data):
    axis = data.draw(st.sampled_from([None, *range(-x.ndim, x.ndim)]))
    q, scale, zero_point = quantize(x, bits=bits, axis=axis, symmetric=symmetric)
    assert q.dtype == (np.int8 if bits <= 8 else np.int16) and q.shape == x.shape
    assert scale.dtype == x.dtype and zero_point.dtype == np.int32
    assert scale.shape == zero_point.shape == (() if axis is None else (x.shape[axis],))

    back = dequantize(q, scale, zero_point, axis)
    assert back.dtype == x.dtype and back.shape == x.shape
    channels = [np.s_[...]]
    if axis is not None:
        channels = [(np.s_[:],) * (axis % x.ndim) + (c,) for c in range(x.shape[axis])]
    for where, one_scale, one_zero in zip(channels, scale.reshape(-1), zero_point.reshape(-1), strict=True):
        by_hand, hand_scale, hand_zero = quantized_by_hand(x[where], bits, symmetric)
        assert q[where].reshape(-1).tolist() == by_hand and one_scale == hand_scale and one_zero == hand_zero
        error = abs(x[where].astype(np.float64) - back[where]).max()
        rounding = 8 * np.finfo(x.dtype).eps * abs(x[where]).max()
        assert error <= one_scale / 2 + rounding
    assert (back[x == 0] == 0).all()


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("x", [
    np.zeros((3, 4)), np.full((3, 4), 7.25), np.full((3, 4), -1e-30), np.linspace(5, 10, 12).reshape(3, 4),
    np.linspace(-10, -5, 12).reshape(3, 4), np.array([[0, 0, 0, 0], [1, 2, 3, 4], [-9, 0, 0, 9.0]]),
])
def test_ranges_that_break_careless_code(x, symmetric):
    for dtype in (np.float32, np.float64):
        for axis in (None, 0, 1):
            q, scale, zero_point = quantize(x.astype(dtype), axis=axis, symmetric=symmetric)
            back = dequantize(q, scale, zero_point, axis)
            assert np.isfinite(back).all() and (scale > 0).all()
            half_step = scale / 2 if axis is None else np.expand_dims(scale / 2, 1 - axis)
            assert (abs(back - x) <= half_step * 1.0001).all()
            assert (back[x == 0] == 0).all()


def test_narrow_integers_do_not_wrap_round():
    q, zero_point = np.array([-128, 0, 127], np.int8), np.array(-128, np.int8)
    assert dequantize(q, np.array(2.0), zero_point).tolist() == [0, 256, 510]


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("axis", [None, 1])
def test_a_device_array_gives_the_same_integers_and_never_comes_to_the_host(symmetric, axis):
    x = np.random.default_rng(0).normal(1, 2, (4, 5)).astype(np.float32)
    here = quantize(x, axis=axis, symmetric=symmetric)
    transfers.reset()
    there = quantize(StandInArray(x), axis=axis, symmetric=symmetric)
    back = dequantize(*there, axis)
    assert (transfers.to_host, transfers.to_device) == (0, 0)
    for a, b in zip([*there, back], [*here, dequantize(*here, axis)], strict=True):
        assert (a.get() == b).all() and a.dtype == b.dtype and a.shape == b.shape


def test_ties_go_to_even_and_symmetric_is_narrow():
    q, scale, _ = quantize(np.array([127, 0.5, 1.5, 2.5, -0.5, -1.5, -127.0]))
    assert scale == 1 and q.tolist() == [127, 0, 2, 2, 0, -2, -127]
    assert to_integers(np.array([-128.0, -1000, 1000]), scale, np.int32(0)).tolist() == [-127, -127, 127]


def test_affine_uses_every_integer_of_a_one_sided_range():
    q, scale, zero_point = quantize(np.arange(256.0), symmetric=False)
    assert scale == 1 and zero_point == -128 and q.tolist() == list(range(-128, 128))


def test_one_scale_a_channel_keeps_a_small_channel_alive():
    x = np.array([[1000.0, -500], [0.01, 0.02]])
    whole, each = quantize(x), quantize(x, axis=0)
    assert (dequantize(*whole)[1] == 0).all()
    np.testing.assert_allclose(dequantize(*each, axis=0)[1], x[1], atol=0.02 / 254 * 1.0001)


@pytest.mark.parametrize("symmetric", [True, False])
@given(low=st.integers(-40, 40), length=st.integers(0, 60), bits=st.integers(2, 8))
def test_a_range_is_widened_to_zero_and_both_its_ends_come_back(symmetric, low, length, bits):
    """Ends of a range are no numbers of an array: they come from data, or from a percentile."""
    low, high = low / 8, (low + length) / 8
    scale, zero_point = scale_from_range(low, high, bits=bits, symmetric=symmetric)
    assert (scale.shape, scale.dtype, zero_point.dtype) == ((), np.float64, np.int32)
    lowest, highest = integer_range(bits, symmetric)
    assert lowest <= zero_point <= highest
    ends = np.array([low, high, 0.0])
    back = dequantize(to_integers(ends, scale, zero_point, bits=bits, symmetric=symmetric), scale, zero_point)
    assert (abs(back - ends) <= scale * 0.5001).all() and back[2] == 0


def test_a_scale_is_chosen_from_the_range_and_nothing_else():
    x = np.random.default_rng(0).normal(1, 2, (4, 50)).astype(np.float32)
    for axis in (None, 0, 1):
        for symmetric in (True, False):
            low, high = min_max(x, axis=axis)
            chosen = choose_scale(x, bits=5, axis=axis, symmetric=symmetric)
            for a, b in zip(chosen, scale_from_range(low, high, bits=5, symmetric=symmetric), strict=True):
                assert (a == b).all() and a.dtype == b.dtype and a.shape == b.shape


def test_integer_ranges():
    assert [integer_range(b) for b in (1, 2, 8)] == [(-1, 0), (-1, 1), (-127, 127)]
    assert [integer_range(b, symmetric=False) for b in (1, 2, 8)] == [(-1, 0), (-2, 1), (-128, 127)]


def test_bad_input_is_refused_with_a_reason():
    x = np.ones((2, 3), np.float32)
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(ValueError, match="1 of 2 are NaN or Inf"):
            quantize(np.array([1.0, bad]))
    with pytest.raises(DtypeError, match="int64"):
        quantize(np.arange(3))
    with pytest.raises(DtypeError, match="list"):
        quantize([1.0, 2.0])
    with pytest.raises(DtypeError, match="float16"):
        quantize(np.ones(3, np.float16))
    for bits in (0, 17, -1, 4.5, True, None):
        with pytest.raises(ValueError, match=r"1\.\.16; got"):
            quantize(x, bits=bits)
    with pytest.raises(ShapeError, match="at least one number"):
        quantize(x[:0])
    with pytest.raises(ShapeError, match="axis 2"):
        quantize(x, axis=2)
    q, scale, zero_point = quantize(x, axis=0)
    with pytest.raises(ShapeError, match=r"got shape \(2,\)"):
        dequantize(q, scale, zero_point, axis=1)
    with pytest.raises(ShapeError, match=r"got shape \(2,\)"):
        dequantize(q, scale, zero_point)

"""One bit, and one scale for each group: against loops over single numbers, and slices quantized alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from standin import StandInArray, transfers

from tinyopt import Tensor, ops
from tinyopt.codec import dequantize, quantize, to_integers
from tinyopt.codec.affine import in_groups, integer_range, scale_from_range
from tinyopt.errors import ShapeError

numbers = st.integers(-40, 40).map(lambda i: i / 8)
channels = hnp.arrays(st.sampled_from([np.float32, np.float64]), st.integers(1, 12), elements=numbers)


@given(x=channels, symmetric=st.booleans())
def test_one_bit_takes_the_nearer_end_of_the_range(x, symmetric):
    q, scale, zero_point = quantize(x, bits=1, symmetric=symmetric)
    back = dequantize(q, scale, zero_point)
    assert q.dtype == np.int8 and set(q.tolist()) <= {-1, 0} and back.dtype == zero_point.dtype == x.dtype
    low, high = min(x.min(), 0), max(x.max(), 0)
    if symmetric and (low or high):
        low, high = -max(-low, high), max(-low, high)
        assert zero_point == -0.5
    assert (abs(back - x) <= float(scale) * 0.50001).all()
    for number, came in zip(x.tolist(), back.tolist()):
        nearer = min(abs(number - low), abs(number - high))
        assert abs(abs(came - number) - nearer) <= 1e-6 * (high - low)


@pytest.mark.parametrize("x, affine, symmetric", [  # what comes back, in ascending order
    (np.zeros(4), [0], [0]),
    (np.full(4, 7.25), [7.25], [7.25]),
    (np.full(4, -1e-30), [-1e-30], [-1e-30]),
    (np.linspace(5.5, 10, 11), [10], [10]),
    (np.linspace(-10, -4, 11), [-10, 0], [-10]),
    (np.array([-3.0, 0, 1, 5]), [-3, 5], [-5, 5]),
])  # fmt: skip
def test_one_bit_on_ranges_that_break_careless_code(x, affine, symmetric):
    for dtype in (np.float32, np.float64):
        for line, due in ((False, affine), (True, symmetric)):
            q, scale, zero_point = quantize(x.astype(dtype), bits=1, symmetric=line)
            back = dequantize(q, scale, zero_point)
            assert scale > 0 and (abs(back - x) <= scale / 2 * 1.0001).all()
            assert np.allclose(np.unique(back), due, rtol=1e-6, atol=0)


def test_the_levels_of_one_bit_are_the_two_ends_that_calibration_gives():
    """So the best binary weights are a range away: ± the mean magnitude (XNOR-Net)."""
    x = np.random.default_rng(0).normal(size=500)
    for low, high, symmetric in ((-0.7, 0.7, True), (-0.3, 1.1, False), (0.0, 2.0, False), (-2.0, 0.0, False)):
        scale, zero_point = scale_from_range(low, high, bits=1, symmetric=symmetric)
        back = dequantize(to_integers(x, scale, zero_point, bits=1, symmetric=symmetric), scale, zero_point)
        assert np.allclose(back, np.where(x > (low + high) / 2, high, low)) and np.issubdtype(zero_point.dtype, "f8")


@given(x=hnp.arrays(np.float32, (3, 4), elements=st.floats(-2, 2, width=32)), bits=st.integers(1, 8),
       symmetric=st.booleans())  # fmt: skip
def test_the_straight_through_op_rounds_as_the_codec_does(x, bits, symmetric):
    q, scale, zero_point = quantize(x, bits=bits, symmetric=symmetric)
    low, high = integer_range(bits, symmetric)
    y = ops.fake_quantize(x, scale, zero_point.astype(x.dtype), low=low, high=high)
    assert (y.data == dequantize(q, scale, zero_point)).all() and y.dtype == np.float32


def test_one_bit_passes_gradients_up_to_half_a_step_beyond_its_levels():
    x = Tensor(np.array([-2.1, -1.9, -0.3, 0.3, 1.9, 2.1]), requires_grad=True)
    y = ops.fake_quantize(x, np.array(2.0), np.array(-0.5), low=-1, high=0)
    assert y.data.tolist() == [-1, -1, -1, 1, 1, 1]
    y.sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 1, 0]


@settings(max_examples=40)
@given(data=st.data(), bits=st.sampled_from([1, 2, 3, 8, 16]), symmetric=st.booleans())
def test_each_group_is_quantized_as_if_it_were_alone(data, bits, symmetric):
    shape = data.draw(st.sampled_from([(6,), (2, 6), (3, 2, 2, 3), (1, 12), (4, 1)]))
    x = data.draw(hnp.arrays(np.float32, shape, elements=numbers))
    row = x.size if x.ndim == 1 else x.size // len(x)
    group_size = data.draw(st.sampled_from([n for n in range(1, row + 1) if row % n == 0]))
    q, scale, zero_point = quantize(x, bits=bits, symmetric=symmetric, group_size=group_size)
    back = dequantize(q, scale, zero_point, group_size=group_size)
    assert q.shape == back.shape == x.shape and scale.shape == zero_point.shape == (x.size // group_size,)
    flat = x.reshape(-1)  # neighbours in C order, and a group never leaves its row
    for i in range(x.size // group_size):
        part = slice(i * group_size, (i + 1) * group_size)
        alone = quantize(flat[part], bits=bits, symmetric=symmetric)
        assert q.reshape(-1)[part].tolist() == alone[0].tolist() and (scale[i], zero_point[i]) == alone[1:]
        assert (abs(back.reshape(-1)[part] - flat[part]) <= scale[i] * 0.5001).all()


def test_a_small_group_beside_a_far_number_stays_alive():
    x = np.array([[1000.0, -500, 0.01, 0.02]])
    assert (dequantize(*quantize(x, axis=0), axis=0)[0, 2:] == 0).all()
    back = dequantize(*quantize(x, group_size=2), group_size=2)
    np.testing.assert_allclose(back[0, 2:], x[0, 2:], atol=0.02 / 254 * 1.0001)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [1, 4])
def test_groups_and_one_bit_stay_on_the_device(bits, symmetric):
    x = np.random.default_rng(0).normal(1, 2, (4, 6)).astype(np.float32)
    here = quantize(x, bits=bits, symmetric=symmetric, group_size=3)
    transfers.reset()
    there = quantize(StandInArray(x), bits=bits, symmetric=symmetric, group_size=3)
    back = dequantize(*there, group_size=3)
    assert (transfers.to_host, transfers.to_device) == (0, 0)
    for a, b in zip([*there, back], [*here, dequantize(*here, group_size=3)], strict=True):
        assert (a.get() == b).all() and a.dtype == b.dtype and a.shape == b.shape


def test_groups_that_cannot_be_are_refused_in_a_sentence():
    x = np.ones((4, 3, 2), np.float32)
    for group_size in (4, 0, 12, -1, 1.5, "2"):
        with pytest.raises(ShapeError, match=r"has 6 numbers in shape \(4, 3, 2\).*Those that do: 1, 2, 3, 6$"):
            quantize(x, group_size=group_size)
    with pytest.raises(ValueError, match="rows of axis 0; got axis=1"):
        quantize(x, axis=1, group_size=2)
    for nothing in (x[:0], np.ones(()), np.ones((2, 0))):
        with pytest.raises(ShapeError, match="at least one row"):
            in_groups(nothing, 1)
    with pytest.raises(ValueError, match="1 of 2 are NaN"):
        quantize(np.array([1, np.nan], np.float32), group_size=2)
    with pytest.raises(ShapeError, match=r"got shape \(4,\)"):
        dequantize(np.zeros((4, 6), np.int8), np.ones(4), np.zeros(4), group_size=3)

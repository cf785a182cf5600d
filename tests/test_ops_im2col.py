"""Windows to columns and back: against plain loops, PyTorch's printed numbers, and the identity of a transpose."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyopt import Tensor, ops
from tinyopt.gradcheck import gradcheck
from tinyopt.ops.conv import col2im, conv2d_im2col, conv2d_loop, conv_output_size, im2col
from tinyopt.ops.rule import differentiable, substitute


@st.composite
def placed(draw):
    """An image's shape, a kernel that fits into it, stride and padding; height and width differ."""
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    padding = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    size = [draw(st.integers(max(1, k - 2 * p), k + 4)) for k, p in zip(kernel, padding)]
    shape = (draw(st.integers(0, 2)), draw(st.integers(1, 3)), *size)
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    return shape, {"kernel_size": kernel, "stride": stride, "padding": padding}


def windows(x, kernel_size, stride, padding):
    """Yield (column number, the window) of every place, in a plain loop."""
    (kh, kw), (sh, sw), (ph, pw) = kernel_size, stride, padding
    framed = np.zeros((*x.shape[:2], x.shape[2] + 2 * ph, x.shape[3] + 2 * pw))
    framed[:, :, ph : ph + x.shape[2], pw : pw + x.shape[3]] = x
    number = 0
    for top in range(0, framed.shape[2] - kh + 1, sh):
        for left in range(0, framed.shape[3] - kw + 1, sw):
            yield number, framed[:, :, top : top + kh, left : left + kw]
            number += 1


@given(size=st.integers(1, 20), kernel=st.integers(1, 5), stride=st.integers(1, 4), padding=st.integers(0, 3))
def test_output_size_counts_the_places(size, kernel, stride, padding):
    places = range(0, size + 2 * padding - kernel + 1, stride)
    assert max(0, conv_output_size(size, kernel, stride, padding)) == len(places)


@settings(max_examples=60)
@given(case=placed())
def test_a_column_is_a_window(case):
    shape, where = case
    x = np.random.default_rng(0).standard_normal(shape)
    columns, due = im2col(x, **where), list(windows(x, **where))
    assert columns.shape == (shape[0], shape[1] * np.prod(where["kernel_size"]), len(due))
    for number, window in due:
        np.testing.assert_array_equal(columns[:, :, number], window.reshape(columns.shape[:2]))


@settings(max_examples=60)
@given(case=placed())
def test_col2im_is_the_transpose_of_im2col(case):
    """<im2col(x), c> = <x, col2im(c)> for all x and c: that is what a transpose means."""
    shape, where = case
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape)
    columns = im2col(x, **where)
    other = rng.standard_normal(columns.shape)
    back = col2im(other, shape[2:], **where)
    assert back.shape == shape
    np.testing.assert_allclose((columns * other).sum(), (x * back).sum(), rtol=1e-12, atol=1e-12)


def test_the_layout_is_pytorchs():
    """torch.nn.functional.unfold and fold of PyTorch 2.13 printed these numbers."""
    x = np.arange(24.0).reshape(1, 2, 3, 4)
    columns = im2col(x, (2, 3), stride=(1, 2), padding=(0, 1))
    due = [[0, 1, 0, 5], [0, 2, 4, 6], [1, 3, 5, 7], [0, 5, 0, 9], [4, 6, 8, 10], [5, 7, 9, 11],
           [0, 13, 0, 17], [12, 14, 16, 18], [13, 15, 17, 19], [0, 17, 0, 21], [16, 18, 20, 22],
           [17, 19, 21, 23]]  # fmt: skip
    np.testing.assert_array_equal(columns, [due])
    back = col2im(np.ones((1, 9, 4)), (4, 4), 3, stride=1)
    np.testing.assert_array_equal(back, [[[[1, 2, 2, 1], [2, 4, 4, 2], [2, 4, 4, 2], [1, 2, 2, 1]]]])


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("stride, padding", [(1, 0), (2, 1), ((1, 3), (0, 2))])
def test_the_rule_by_columns_is_the_loop_and_has_its_gradients(groups, stride, padding):
    rng = np.random.default_rng(1)
    x, weight, bias = map(rng.standard_normal, [(2, 4, 5, 6), (6, 4 // groups, 3, 2), (6,)])
    how = {"stride": stride, "padding": padding, "groups": groups}
    y, _ = conv2d_im2col(x, weight, bias, **how)
    np.testing.assert_allclose(y, conv2d_loop(x, weight, bias, **how), rtol=1e-12, atol=1e-12)
    gradcheck(differentiable(lambda *arrays: conv2d_im2col(*arrays, **how)), x, weight, bias)


def test_the_rule_by_columns_can_run_a_network_and_agrees_with_the_fast_one():
    rng = np.random.default_rng(2)
    x, weight, g = map(rng.standard_normal, [(2, 3, 6, 6), (4, 3, 3, 3), (2, 4, 6, 6)])

    def gradients():
        leaves = [Tensor(array, requires_grad=True) for array in (x, weight)]
        y = ops.conv2d(*leaves, padding=1)
        y.backward(g)
        return y.data, *(leaf.grad for leaf in leaves)

    fast = gradients()
    with substitute("conv2d", conv2d_im2col):
        for one, other in zip(fast, gradients()):
            np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)

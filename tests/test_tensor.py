"""`Tensor` as a user meets it: making, types, operators, reading, copying."""

import copy
import pickle

import numpy as np
import pytest

from tinyopt import Tensor, ops
from tinyopt.errors import DtypeError, ShapeError

# --- types ---


@pytest.mark.parametrize("data, dtype", [
    (1, "float32"), (2.5, "float32"), ([1, 2], "float32"), ([[1.0]], "float32"), ([], "float32"),
    ([True], "bool"), (np.ones(2, "float32"), "float32"), (np.ones(2), "float64"), (np.float64(1), "float64"),
    (np.float32(1), "float32"), (np.ones(2, "float16"), "float32"), (np.array([1, 2], "int64"), "int64"),
    (np.ones(2, "uint8"), "uint8"), (np.ones(2, bool), "bool"),
    (np.ones(2).view(np.recarray), "float64"), (Tensor([1]), "float32"),
])  # fmt: skip
def test_float32_unless_float64_was_given(data, dtype):
    x = Tensor(data)
    assert x.dtype == dtype and type(x.data) is np.ndarray and x.shape == np.shape(data)


def test_a_float64_number_does_not_promote_a_float32_tensor():
    x = Tensor([1.0, 4.0], requires_grad=True)
    for number in (0.5, 2, True, np.float64(0.5), np.float32(0.5), np.int64(2), np.sqrt(2 / 3)):
        for y in (x + number, x * number, number - x, number / x, x**number, ops.maximum(x, number)):
            assert y.dtype == np.float32
            y.sum().backward()
    assert x.clip(np.float64(2)).dtype == ops.softmax(x, axis=np.int64(0)).dtype == np.float32
    assert x.grad.dtype == np.float32


def test_mixing_the_two_float_types_says_how_to_convert():
    single, double = Tensor(np.ones(2, "float32")), Tensor(np.ones(2))
    message = r"add needs one type of floats; got float32 and float64. Convert.*: x.astype\('float64'\)"
    for make in (lambda: single + double, lambda: single + np.ones(2), lambda: np.ones(2) + single):
        with pytest.raises(DtypeError, match=message):
            make()
    assert (single.astype("float64") + double).dtype == np.float64
    assert (single + np.ones(2, "float32")).dtype == np.float32


def test_integers_and_booleans_have_no_gradient():
    labels = np.array([1, 2])
    with pytest.raises(DtypeError, match=r"only floats have gradients; got int64.*x.astype\('float32'\)"):
        Tensor(labels, requires_grad=True)
    x = Tensor([1.0], requires_grad=True)
    with pytest.raises(DtypeError, match="only floats have gradients; got int64"):
        x.data = labels
    assert x.data == 1  # as it was
    with pytest.raises(DtypeError, match=r"mul was given float32 and made float64.*x.astype\('float32'\)"):
        x * labels
    assert (x * Tensor(labels).astype("float32")).dtype == np.float32


def test_rows_of_different_lengths_are_refused_in_words():
    with pytest.raises(ShapeError, match="all its rows of one length"):
        Tensor([[1, 2], [3]])


# --- operators ---


def test_arrays_on_either_side_give_tensors():
    a, b = np.array([[1.0, 2.0]]), np.array([[3.0], [5.0]])
    x = Tensor(a, requires_grad=True)
    for y, wanted in [
        (b + x, b + a), (b - x, b - a), (b * x, b * a), (b / x, b / a), (b**x, b**a), (b @ x, b @ a),
        (x + b, a + b), (x - b, a - b), (x * b, a * b), (x / b, a / b), (x**b, a**b), (x @ b, a @ b),
        (2 - x, 2 - a), (2 / x, 2 / a), (2**x, 2**a), (-x, -a), (abs(-x), a),
    ]:  # fmt: skip
        assert isinstance(y, Tensor) and y.requires_grad
        np.testing.assert_allclose(y.data, wanted, rtol=1e-15)


def test_comparisons_give_booleans_without_gradient():
    a, b = np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0])
    x = Tensor(a, requires_grad=True)
    for y, wanted in [
        (x == b, a == b), (x != b, a != b), (x < b, a < b), (x <= b, a <= b), (x > b, a > b),
        (x >= b, a >= b), (b < x, b < a), (b >= x, b >= a),
        (x > 1.5, a > 1.5), (2 <= x, 2 <= a), (x == Tensor(b), a == b),
    ]:  # fmt: skip
        assert isinstance(y, Tensor) and not y.requires_grad and y.dtype == bool
        assert np.array_equal(y.data, wanted)
    with pytest.raises(ShapeError, match=r"less needs shapes that broadcast.*\(3,\) \(2,\)"):
        x < np.ones(2)
    assert len({x, x, Tensor(a)}) == 2  # == compares numbers, hash compares objects


def test_getitem_adds_gradients_where_a_number_is_read_again():
    x = Tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    y = x[[0, 0, 1]] * np.array([[1.0], [10.0], [100.0]])
    y.sum().backward()
    assert np.array_equal(x.grad, [[11, 11, 11], [100, 100, 100]])
    assert np.array_equal(x[x > 2].data, [3, 4, 5])
    assert np.array_equal(x[Tensor(np.array([1])), 2:].data, [[5]])


# --- reading ---


def test_facts_about_a_tensor():
    x = Tensor(np.zeros((2, 3, 1)))
    assert (x.shape, x.ndim, x.size, x.dtype, x.device, len(x)) == ((2, 3, 1), 3, 6, np.float64, "cpu", 2)
    assert x.T.shape == (1, 3, 2) and [row.shape for row in x] == [(3, 1)] * 2
    with pytest.raises(TypeError, match="len.* needs a tensor with an axis"):
        len(Tensor(1.0))


def test_one_number_reads_as_a_python_number():
    x = Tensor([[2.5]])
    assert (x.item(), float(x), int(x), bool(x)) == (2.5, 2.5, 2, True) and type(x.item()) is float
    with pytest.raises(ShapeError, match=r"item\(\) needs a tensor of one number; got shape \(2,\)"):
        Tensor([1, 2]).item()
    with pytest.raises(ShapeError, match="one number"):
        bool(Tensor([1, 2]) > 1)


def test_numpy_reads_a_tensor():
    x = Tensor([1.0, 2.0], requires_grad=True)
    assert isinstance(x.numpy(), np.ndarray) and np.array_equal(np.asarray(x), [1, 2])
    assert np.array(x, dtype="float64").dtype == np.float64
    mine = np.array(x)
    mine[0] = 5  # a copy, as np.array promises
    assert x.data[0] == 1
    with pytest.raises(TypeError, match="ufunc"):
        np.exp(x)  # would lose the graph without a word


def test_repr_shows_numbers_shape_type_and_gradient():
    assert repr(Tensor([1, 2.5])) == "Tensor([1. , 2.5], shape=(2,), dtype=float32)"
    assert repr(Tensor(1, requires_grad=True)) == "Tensor(1., shape=(), dtype=float32, requires_grad=True)"
    assert len(repr(Tensor(np.zeros((100, 100))))) < 400


# --- copying ---


def test_a_tensor_of_a_tensor_is_cut_off_from_the_graph():
    x = Tensor([1.0], requires_grad=True)
    y = Tensor(x * 2)
    assert not y.requires_grad and y.data == 2


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_are_equal_and_frozen_too(clone):
    x = Tensor([1.0, 2.0], requires_grad=True)
    x.sum().backward()
    x.nickname = "a"
    y = clone(x)
    assert np.array_equal(y.data, x.data) and np.array_equal(y.grad, x.grad)
    assert y.requires_grad and y.nickname == "a"
    with pytest.raises(ValueError, match="read-only"):
        y.data[0] = 5
    with pytest.raises(ValueError, match="read-only"):
        y.grad[0] = 5

"""The loader: every sample once, in an order that (seed, epoch) decides; no copy too many; bad input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standin import StandInArray, standin, transfers  # noqa: F401 (a fixture)

from tinyopt import data
from tinyopt.data import DataLoader, Part
from tinyopt.errors import DeviceError, DtypeError, ShapeError
from tinyopt.tensor import Tensor

sizes = st.integers(1, 40)
batch_sizes = st.integers(1, 45)
seeds = st.integers(0, 2**40)
epochs = st.integers(0, 9)


def numbered(n):
    """n samples that know their number: image i is filled with i, and so is label i."""
    return np.repeat(np.arange(n, dtype=np.float32), 6).reshape(n, 1, 2, 3), np.arange(n)


def labels_of(batches):
    return [y.numpy().tolist() for _, y in batches]


# --- order ------------------------------------------------------------------------------------------


@given(n=sizes, batch_size=batch_sizes, shuffle=st.booleans(), seed=seeds, epoch=st.integers(0, 1000))
def test_an_epoch_has_each_sample_once_with_its_label(n, batch_size, shuffle, seed, epoch):
    loader = DataLoader(numbered(n), batch_size, shuffle=shuffle, seed=seed)
    loader.set_epoch(epoch)
    batches = list(loader)
    assert len(batches) == len(loader) and loader.epoch == epoch + 1
    for x, y in batches:
        assert x.shape == (len(y), 1, 2, 3) and (x.numpy() == y.numpy()[:, None, None, None]).all()
    assert [len(y) for _, y in batches[:-1]] == [batch_size] * (len(loader) - 1)
    visited = np.concatenate([y.numpy() for _, y in batches])
    assert sorted(visited) == list(range(n))
    expected = np.random.default_rng([seed, epoch]).permutation(n) if shuffle else np.arange(n)
    np.testing.assert_array_equal(visited, expected)
    np.testing.assert_array_equal(visited, loader.order(epoch))


@given(n=sizes, batch_size=batch_sizes, seed=seeds, epoch=epochs, shuffle=st.booleans(), draw=st.data())
def test_a_run_resumed_in_the_middle_sees_what_it_would_have_seen(n, batch_size, seed, epoch, shuffle, draw):
    whole = DataLoader(numbered(n), batch_size, shuffle=shuffle, seed=seed)
    whole_run = [labels_of(whole) for _ in range(epoch + 2)]
    resumed = DataLoader(numbered(n), batch_size, shuffle=shuffle, seed=seed)
    start = draw.draw(st.integers(0, len(resumed)))
    assert labels_of(resumed.batches(epoch, start)) == whole_run[epoch][start:]
    resumed.set_epoch(epoch + 1)
    assert labels_of(resumed) == whole_run[epoch + 1]


@given(n=sizes, batch_size=batch_sizes)
def test_drop_last_leaves_out_only_an_incomplete_batch(n, batch_size):
    if batch_size > n:
        with pytest.raises(ValueError, match=f"{n} samples .* no batch of size {batch_size}"):
            DataLoader(numbered(n), batch_size, drop_last=True)
    else:
        batches = labels_of(DataLoader(numbered(n), batch_size, drop_last=True))
        assert batches == [b for b in labels_of(DataLoader(numbered(n), batch_size)) if len(b) == batch_size]


def test_epochs_and_seeds_differ_in_order():
    loader = DataLoader(numbered(40), 40, shuffle=True)
    first, second = labels_of(loader), labels_of(loader)
    assert first != second
    assert labels_of(DataLoader(numbered(40), 40, shuffle=True, seed=1)) != first


def test_an_epoch_broken_off_does_not_count():
    loader = DataLoader(numbered(10), 2, shuffle=True)
    next(iter(loader))
    assert loader.epoch == 0
    list(loader.batches(0))
    assert loader.epoch == 0


# --- copies and devices -----------------------------------------------------------------------------


def test_batches_are_views_of_frozen_data_or_one_new_array_that_the_tensor_keeps(monkeypatch):
    part = data.digits().val
    for x, y in DataLoader(part, 50):
        assert np.shares_memory(x.data, part.images) and np.shares_memory(y.data, part.labels)
    for x, _ in DataLoader(part, 50, shuffle=True):
        assert x.data.base is None and not x.data.flags.writeable
        assert x.data.dtype == np.float32 and not x.requires_grad

    class Witness(Tensor):
        def __init__(self, array):
            super().__init__(array)
            assert self.data is array

    monkeypatch.setattr("tinyopt.data.loader.Tensor", Witness)
    assert all(type(x) is Witness for batch in DataLoader(part, 50, shuffle=True) for x in batch)


def test_arrays_that_may_still_change_are_copied_once_and_left_writable():
    images, labels = numbered(4)
    loader = DataLoader((images, labels), 4)
    images[:] = 99
    x, _ = next(iter(loader))
    assert x.numpy().max() == 3 and images.flags.writeable


def test_on_another_device_data_move_once_and_the_order_once_an_epoch(standin):  # noqa: F811
    part = data.digits().val
    loader = DataLoader(part, 16, shuffle=True, seed=4, device=standin)
    assert (transfers.to_device, transfers.to_host) == (2, 0)  # images, labels
    batches = list(loader)
    assert (transfers.to_device, transfers.to_host) == (3, 0)  # the order
    assert all(isinstance(t.data, StandInArray) and t.device == standin for batch in batches for t in batch)
    for there, here in zip(batches, DataLoader(part, 16, shuffle=True, seed=4), strict=True):
        for a, b in zip(there, here):
            np.testing.assert_array_equal(a.numpy(), b.numpy())
    transfers.reset()
    assert len(list(DataLoader((loader.images, loader.labels), 16, device=standin))) == 12
    with pytest.raises(DeviceError, match="a device is one of"):
        DataLoader(part, device="tpu")


# --- what it takes ----------------------------------------------------------------------------------


def test_lists_tensors_and_regression_targets_are_taken():
    x, y = next(iter(DataLoader(([[0.5, 1.0], [0.0, 0.25]], [1, 0]))))
    assert x.dtype == np.float32 and y.dtype == np.int64
    x, y = next(iter(DataLoader((Tensor([[1.0], [2.0]]), Tensor([[3.0], [4.0]])))))
    assert y.dtype == np.float32 and y.shape == (2, 1)
    x, y = next(iter(DataLoader((np.ones((2, 3)), np.array([1, 2], np.uint8)))))
    assert x.dtype == np.float64 and y.dtype == np.int64
    _, y = next(iter(DataLoader((np.ones((2, 3)), np.full((2, 4), 0.25)), n_classes=4)))  # soft labels
    assert y.shape == (2, 4)
    assert len(DataLoader(Part(*numbered(5)), 2)) == 3


def test_repr_tells_sizes_and_settings():
    text = repr(DataLoader(numbered(5), 2, shuffle=True))
    assert text.startswith("DataLoader(5 samples (1, 2, 3) in 3 batches, batch_size=2, shuffle=True, seed=0")


# --- what it refuses, each in one sentence ------------------------------------------------------------

X = np.ones((6, 1, 2, 2), np.float32)
Y = np.array([0, 1, 2, 0, 1, 2])


def with_value(array, place, value):
    array = array.copy()
    array[place] = value
    return array


@pytest.mark.parametrize("pair, error, message", [
    ((X[:0], Y[:0]), ShapeError, r"the data are empty: images has shape \(0, 1, 2, 2\)"),
    (([], []), ShapeError, "the data are empty"),
    ((np.float32(1), Y), ShapeError, "the data are empty"),
    ((X, Y[:5]), ShapeError, "6 images and 5 labels"),
    (((X * 255).astype(np.uint8), Y), DtypeError, r"got uint8.*divide by 255"),
    (([[0, 255]] * 6, Y), DtypeError, "got int.*divide by 255"),
    ((X > 0, Y), DtypeError, "images are floats.*got bool"),
    (([[1.0, 2.0], [3.0]], Y[:2]), ShapeError, "images make no array"),
    ((with_value(X, (4, 0, 1, 0), np.nan), Y), ValueError, r"image 4 is not finite: nan at \(4, 0, 1, 0\)"),
    ((with_value(X, (2, 0, 0, 0), -np.inf), Y), ValueError, "image 2 is not finite: -inf"),
    ((X, with_value(Y, 3, -1)), ValueError, "label 3 is -1"),
    ((X, Y + 1), ValueError, "from 0 to 2; label 2 is 3.*subtract 1"),
    ((X, with_value(Y, 5, 255).astype(np.uint8)), ValueError, "label 5 is 255"),
    ((X, Y.astype(np.float32)), DtypeError, "whole numbers.*astype"),
    ((X, Y > 0), DtypeError, "labels are whole numbers.*got bool"),
    ((X, list("abcabc")), DtypeError, "labels are whole numbers.*got <U1"),
    ((X, np.int64(3)), DtypeError, "labels are whole numbers"),
    ((X, np.full((6, 3), np.nan)), ValueError, "label 0 is not finite"),
    ((X, Y, Y), TypeError, "one part of a data set.*got tuple"),
    (data.digits(), TypeError, r"data\.train.*got Dataset"),
])  # fmt: skip
def test_bad_data_is_refused_when_the_loader_is_made(pair, error, message):
    with pytest.raises(error, match=message) as caught:
        DataLoader(pair, n_classes=3)
    assert caught.type is error and "\n" not in str(caught.value)


@pytest.mark.parametrize("settings, message", [
    ({"batch_size": 0}, "batch_size is a whole number >= 1; got 0"),
    ({"batch_size": 2.5}, "batch_size is a whole number >= 1; got 2.5"),
    ({"seed": -1}, "seed is a whole number >= 0; got -1"),
    ({"seed": None}, "seed is a whole number"),
])  # fmt: skip
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        DataLoader((X, Y), **settings)
    with pytest.raises(ValueError, match="epoch is a whole number"):
        DataLoader((X, Y)).set_epoch(-1)


def test_float_labels_without_n_classes_are_targets():
    _, y = next(iter(DataLoader((X, Y.astype(np.float32)))))
    assert y.dtype == np.float32


# --- synthetic problems -------------------------------------------------------------------------------


@given(n=st.integers(0, 60), seed=seeds)
def test_two_moons_without_noise_lie_on_their_half_circles(n, seed):
    x, y = data.two_moons(n, noise=0, rng=seed)
    assert x.shape == (n, 2) and x.dtype == np.float32 and y.dtype == np.int64
    assert y.sum() == n - n // 2
    centre = np.stack([y, y / 2], axis=1)
    np.testing.assert_allclose(np.hypot(*(x - centre).T), 1, atol=1e-6)
    assert ((x - centre)[:, 1] * (1 - 2 * y) >= -1e-6).all()  # class 0 above its centre, class 1 below


@given(n=st.integers(0, 60), n_classes=st.integers(1, 5), seed=seeds)
def test_spirals_without_noise_lie_on_their_arms(n, n_classes, seed):
    x, y = data.spirals(n, n_classes, noise=0, rng=seed)
    counts = np.bincount(y, minlength=n_classes)
    assert len(counts) == n_classes and counts.max() - counts.min() <= 1
    turns = np.arctan2(x[:, 1], x[:, 0]) / (2 * np.pi) - np.hypot(x[:, 0], x[:, 1]) - y / n_classes
    np.testing.assert_allclose(turns - np.rint(turns), 0, atol=1e-5)


def test_linear_regression_is_solved_by_least_squares():
    x, y = data.linear_regression(4000, weight=(3.0, -2.0, 0.5), bias=1.5, noise=0.1, rng=0)
    assert x.shape == (4000, 3) and y.shape == (4000, 1) and x.dtype == y.dtype == np.float32
    found = np.linalg.lstsq(np.hstack([x, np.ones_like(y)]), y, rcond=None)[0]
    np.testing.assert_allclose(found[:, 0], [3.0, -2.0, 0.5, 1.5], atol=0.01)
    rest = y - np.hstack([x, np.ones_like(y)]) @ found
    assert 0.095 < rest.std() < 0.105


def test_synthetic_problems_repeat_for_the_same_seed_only():
    for make in (data.two_moons, data.spirals, data.linear_regression):
        np.testing.assert_array_equal(make(20, rng=1)[0], make(20, rng=1)[0])
        assert (make(20, rng=1)[0] != make(20, rng=2)[0]).any()

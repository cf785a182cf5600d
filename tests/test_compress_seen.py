"""What pruning did, made visible: paths against products of masks and against changed pixels; answers by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyopt import compress, measure, models, nn
from tinyopt.compress.seen import changed_answers, pixels_read, readers
from tinyopt.errors import ShapeError


def test_readers_of_a_pixel_by_hand():
    mask = np.array([[True, False, False, False], [True, True, False, False]])
    assert readers(mask, (1, 2, 2)).tolist() == [[[2, 1], [0, 0]]]
    with pytest.raises(ShapeError, match=r"is \(O, 4\); got \(2, 3\)"):
        readers(mask[:, :3], (1, 2, 2))


def test_paths_through_dense_layers_are_the_product_of_their_masks():
    model = models.lenet_300_100(image_size=8, rng=0)
    compress.prune(model, 0.98, scope="layer")
    counts = np.ones((1, 10))
    for name in ("fc3.weight", "fc2.weight", "fc1.weight"):
        counts = counts @ model.get(name).view(nn.Mask).keep
    paths = pixels_read(model, (1, 8, 8))
    assert np.array_equal(paths.ravel(), counts[0]) and (paths == 0).any() and (paths > 0).any()


@pytest.mark.parametrize("name", ["lenet5", "resnet8", "mobilenet_tiny"])
def test_a_pixel_is_read_if_and_only_if_changing_it_changes_an_output(name):
    small = {"lenet5": {"filters": (3, 4), "units": 6}, "resnet8": {"width": 2}, "mobilenet_tiny": {"width": 0.1}}[name]
    model = models.make(name, image_size=8, rng=0, **small).astype("float64")
    first = next(name for name, p in model.named_parameters() if p.data.ndim == 4)
    keep = np.zeros(model.get(first).shape, bool)
    keep[0, 0, 0, 0] = True  # one pixel of each window, and of those what strides and pooling leave
    model.get(first).prune(keep)
    for parameter in model.parameters():  # all positive: nothing cancels, no ReLU is off
        parameter.data = abs(parameter.data) + 0.1
    base = np.random.default_rng(0).random((1, 1, 8, 8))
    changed = np.repeat(base, 64, axis=0)
    changed.reshape(64, 64)[np.arange(64), np.arange(64)] += 100  # so that it is its window's maximum
    with measure.inference(model):
        moved = (abs(model(changed).data - model(base).data) > 1e-9).any(axis=1)
    assert np.array_equal(pixels_read(model, (1, 8, 8)).ravel() > 0, moved) and moved.any() and not moved.all()


def test_a_channel_whose_norm_has_scale_zero_reads_nothing():
    model = nn.Sequential(nn.Conv2d(1, 2, 1, rng=0), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3, rng=1))
    model.get("3.weight").prune(np.repeat([[True] * 4 + [False, False, True, False]], 3, axis=0))
    assert (pixels_read(model, (1, 2, 2)) > 0).all()
    model.get("1.weight").prune(np.array([False, True]))
    assert (pixels_read(model, (1, 2, 2)) > 0).tolist() == [[[False, False], [True, False]]]


def test_changed_answers_by_hand_and_by_class():
    labels = np.array([0, 0, 1, 1, 2, 2])
    before = np.array([0, 1, 1, 1, 0, 0])
    after = np.array([0, 0, 2, 0, 1, 0])
    found = changed_answers(labels, before, after)
    assert (found.lost.tolist(), found.gained.tolist(), found.other.tolist()) == ([2, 3], [1], [4])
    assert found.by_class(3).tolist() == [[0, 1, 0, 2], [2, 0, 0, 2], [0, 0, 1, 2]]
    with pytest.raises(ShapeError, match="for the same images"):
        changed_answers(labels, before, after[:5])


@given(seed=st.integers(0, 999))
@settings(max_examples=20)
def test_changed_answers_account_for_the_difference_of_accuracy(seed):
    labels, before, after = np.random.default_rng(seed).integers(0, 4, (3, 30))
    found = changed_answers(labels, before, after)
    assert len(found.gained) - len(found.lost) == (after == labels).sum() - (before == labels).sum()
    assert len(found.lost) + len(found.gained) + len(found.other) == (before != after).sum()
    assert found.by_class(4)[:, 3].sum() == 30

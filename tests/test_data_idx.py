"""IDX files: what is written comes back to the bit, and what is damaged is refused."""

import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinyopt import data
from tinyopt.data import idx
from tinyopt.errors import DtypeError, FormatError

TYPES = [np.uint8, np.int8, np.int16, np.int32, np.float32, np.float64]
shapes = hnp.array_shapes(min_dims=0, min_side=0)
arrays = st.sampled_from(TYPES).flatmap(lambda kind: hnp.arrays(kind, shapes))


@settings(deadline=None)  # each file is flushed to the disk
@given(array=arrays, ending=st.sampled_from(["", ".gz"]))
def test_an_array_comes_back_from_its_idx_file(array, ending, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / f"array{ending}"
    data.write_idx(path, array)
    again = data.read_idx(path)
    assert again.dtype == array.dtype and again.dtype.isnative and again.shape == array.shape
    assert again.tobytes() == array.tobytes()  # to the bit: NaN and -0.0 too


def test_the_same_array_gives_the_same_gzipped_bytes(tmp_path):
    data.write_idx(tmp_path / "x.gz", np.arange(3, dtype=np.uint8))
    header = (tmp_path / "x.gz").read_bytes()[:8]
    assert header == b"\x1f\x8b\x08" + bytes(5)  # no file name, and no time


def test_the_bytes_are_those_of_the_format():
    header = bytes([0, 0, 11, 2, 0, 0, 0, 1, 0, 0, 0, 2])  # int16, shape (1, 2)
    assert idx.decode_idx(header + bytes([1, 2, 255, 254]), "here").tolist() == [[258, -2]]


@pytest.mark.parametrize("damage, message", [
    (lambda data: b"", "no IDX file"),
    (lambda data: b"\x89PNG\r\n", "no IDX file.*begins with"),
    (lambda data: data[:2] + b"\x0a" + data[3:], "no IDX file"),  # there is no type 10
    (lambda data: data[:9], "cut short"),  # in the header
    (lambda data: data[:-1], "cut short or changed.*36 bytes in all; it has 35"),
    (lambda data: data + b"\0", "36 bytes in all; it has 37"),
    (lambda data: gzip.compress(data)[:-9], "gzipped, but damaged or cut short"),
    (lambda data: gzip.compress(data)[:20] + b"\xff\xff" + gzip.compress(data)[22:], "gzipped, but damaged"),
])  # fmt: skip
def test_a_damaged_idx_file_is_refused_in_one_sentence(damage, message, tmp_path):
    path = tmp_path / "some-idx"
    data.write_idx(path, np.arange(24, dtype=np.uint8).reshape(4, 6))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(FormatError, match=message) as caught:
        data.read_idx(path)
    assert str(path) in str(caught.value)


def test_a_type_that_idx_lacks_is_refused(tmp_path):
    with pytest.raises(DtypeError, match="int8, int16, int32, float32, float64; got int64"):
        data.write_idx(tmp_path / "x", np.arange(3))

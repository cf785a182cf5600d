"""Trits in bytes, and products by counting bits: against Python's own integers and against float products."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyopt.codec.popcount import binary_product, pack_signs, pack_words, plane_product, ternary_product
from tinyopt.codec.trits import pack_trits, unpack_trits
from tinyopt.errors import DtypeError, FormatError, ShapeError


@given(trits=st.lists(st.integers(0, 2), max_size=23))
def test_five_trits_make_a_byte_in_base_three(trits):
    packed = pack_trits(np.array(trits, int))
    rows = [[*trits[i : i + 5], 0, 0, 0, 0][:5] for i in range(0, len(trits), 5)]
    assert packed.tolist() == [int("".join(map(str, row)), 3) for row in rows] and packed.dtype == np.uint8
    assert unpack_trits(packed.tobytes(), len(trits)).tolist() == trits


def test_all_243_bytes_come_back():
    every = np.array(list(itertools.product(range(3), repeat=5)))
    assert np.array_equal(pack_trits(every), np.arange(243))
    assert np.array_equal(unpack_trits(bytes(range(243)), 1215).reshape(243, 5), every)


def test_what_are_no_trits_is_refused():
    with pytest.raises(ValueError, match=r"0, 1 or 2; got -1\.\.1. Write t \+ 1"):
        pack_trits(np.array([-1, 0, 1]))
    with pytest.raises(DtypeError, match="whole numbers; got float32"):
        pack_trits(np.float32([1]))
    with pytest.raises(FormatError, match="6 numbers .* take 2 bytes; got 1"):
        unpack_trits(b"1", 6)
    with pytest.raises(FormatError, match="up to 242; got 243"):
        unpack_trits(b"\xf3", 5)


lengths = st.one_of(st.integers(0, 5), st.sampled_from([63, 64, 65, 127, 128, 130, 200]))


def test_words_are_the_bits_of_each_row_filled_up_with_zeros():
    for length in (1, 8, 63, 64, 65, 130):
        signs = np.random.default_rng(length).normal(size=(2, 3, length))
        words = pack_signs(signs)
        assert words.shape == (2, 3, -(-length // 64)) and words.dtype == np.uint64
        bits = np.unpackbits(words.view(np.uint8), axis=-1)
        assert np.array_equal(bits[..., :length], signs >= 0) and not bits[..., length:].any()
    assert np.unpackbits(pack_signs(np.array([0.0, -0.0, -1e-45])).view(np.uint8))[:3].tolist() == [1, 1, 0]


@given(length=lengths, n=st.integers(0, 4), o=st.integers(1, 4), seed=st.integers(0, 99))
def test_counts_of_bits_are_the_products_of_signs_and_of_three_values(length, n, o, seed):
    rng = np.random.default_rng(seed)
    x, w = rng.choice([-1, 1], (n, length)), rng.choice([-1, 1], (o, length))
    a, b = rng.integers(-1, 2, (n, length)), rng.integers(-1, 2, (o, length))

    def slow(one, other):
        return [[sum(int(p) * int(q) for p, q in zip(row, column)) for column in other] for row in one]

    def same(got, wanted):
        assert got.dtype == np.int64 and got.shape == (n, o) and got.tolist() == wanted

    same(binary_product(pack_signs(x), pack_signs(w), length), slow(x, w))
    same(plane_product(pack_signs(x), pack_words(b > 0)), slow(x, b > 0))
    planes = [(pack_words(side > 0), pack_words(side < 0)) for side in (a, b)]
    same(ternary_product(*planes), slow(a, b))
    same(plane_product(pack_signs(x), planes[1][0]) - plane_product(pack_signs(x), planes[1][1]), slow(x, b))


def test_many_rows_and_words_equal_the_float_product():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(70, 801)).astype("f4"), rng.normal(size=(500, 801)).astype("f4")  # several blocks of rows
    signs = [np.where(side >= 0, np.float32(1), np.float32(-1)) for side in (x, w)]
    assert np.array_equal(binary_product(pack_signs(x), pack_signs(w), 801), signs[0] @ signs[1].T)
    ones = np.ones((1, 100_000))  # the worst case: every bit counts
    assert binary_product(pack_signs(ones), pack_signs(-ones), 100_000).tolist() == [[-100_000]]


def test_tables_that_do_not_fit_are_refused():
    a = pack_signs(np.ones((2, 65)))
    with pytest.raises(ShapeError, match=r"2 words in a row for 65 signs; got \(2, 2\) and \(2, 1\)"):
        binary_product(a, a[:, :1], 65)
    with pytest.raises(ShapeError, match="1 words in a row for 64 signs"):
        binary_product(a, a, 64)
    with pytest.raises(ShapeError, match="2 words in a row; got"):
        plane_product(a, a[0])

"""Positions of non-zeros against loops that walk the array element by element."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tinyopt.codec import best_gap_bits, decode_positions, encode_positions, gap_symbols, positions_from_gaps
from tinyopt.codec.huffman import encode
from tinyopt.codec.sparse import filler_of, zeros_before
from tinyopt.errors import FormatError

LAYOUTS = ["bitmap", "gaps", "huffman", "auto"]
sizes_and_positions = st.integers(0, 300).flatmap(
    lambda size: st.tuples(
        st.just(size), st.lists(st.integers(0, max(size - 1, 0)), unique=True, max_size=size).map(sorted)
    )
)


def gaps_by_walking(positions, bits):
    """Walk over the array; count zeros, write a filler whenever the count is full."""
    is_value = set(positions)
    symbols, zeros = [], 0
    for i in range(max(positions, default=-1) + 1):
        if i in is_value:
            symbols.append(zeros)
            zeros = 0
        else:
            zeros += 1
            if zeros == 2**bits - 1:
                symbols.append(zeros)
                zeros = 0
    return symbols


@given(sizes_and_positions, st.integers(1, 16))
def test_gap_symbols_as_one_meets_them_walking(case, bits):
    _, positions = case
    symbols = gap_symbols(np.array(positions, int), bits)
    assert symbols.tolist() == gaps_by_walking(positions, bits)
    assert positions_from_gaps(symbols, bits).tolist() == positions


@given(sizes_and_positions)
def test_zeros_before_counts_the_zeros_of_each_stretch(case):
    size, positions = case
    text = "".join("x" if i in set(positions) else "." for i in range(size))
    assert zeros_before(np.array(positions, int)).tolist() == [len(part) for part in text.split("x")[:-1]]
    assert [filler_of(bits) for bits in (1, 3, 8)] == [1, 7, 255]


def test_figure_2_of_deep_compression():
    """Non-zeros at 1, 4 and 15 and three bits: the one long gap, of 10 zeros, is broken by a filler."""
    assert gap_symbols(np.array([1, 4, 15]), 3).tolist() == [1, 2, 7, 3]


@given(sizes_and_positions)
@example((0, []))
@example((1, [0]))
@example((300, []))
@example((300, [0]))
@example((300, [299]))
@example((300, [0, 299]))
@example((300, list(range(300))))
@settings(max_examples=60)
def test_every_layout_comes_back_and_auto_is_the_smallest(case):
    size, positions = case
    lengths = {}
    for layout in LAYOUTS:
        data = encode_positions(np.array(positions, int), size, layout=layout)
        assert decode_positions(data, size).tolist() == positions
        lengths[layout] = len(data)
    assert lengths["auto"] == min(lengths.values())
    assert lengths["bitmap"] == 1 + -(-size // 8)


@given(sizes_and_positions)
def test_the_plain_chooser_tries_as_brute_force_does(case):
    positions = np.array(case[1], int)
    n_bits = [bits * len(gaps_by_walking(case[1], bits)) for bits in range(1, 17)]
    assert n_bits[best_gap_bits(positions) - 1] == min(n_bits)
    assert len(encode_positions(positions, case[0], layout="gaps")) == 1 + -(-min(n_bits) // 8)


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.5])
def test_the_coded_chooser_is_within_one_percent_of_the_best_and_near_the_bound(fraction):
    positions = np.flatnonzero(np.random.default_rng(0).random(50_000) < fraction)
    chosen = len(encode_positions(positions, 50_000, layout="huffman"))
    best = min(len(encode(gap_symbols(positions, bits))) for bits in range(1, 17))
    p = positions.size / 50_000
    bound = -50_000 / 8 * (p * np.log2(p) + (1 - p) * np.log2(1 - p))
    assert chosen <= 1.01 * best + 2 and chosen < 1.03 * bound + 60


def test_values_go_back_to_their_places():
    x = np.zeros((20, 30), np.float32)
    x[3, 4], x[19, 29], x[0, 0] = 1.5, np.nan, -2
    positions = np.flatnonzero(x)
    back = np.zeros_like(x)
    back.reshape(-1)[decode_positions(encode_positions(positions, x.size), x.size)] = x.reshape(-1)[positions]
    assert back.tobytes() == x.tobytes()


def test_bad_positions_are_refused():
    for bad in ([3, 3], [4, 2], [-1, 2]):
        with pytest.raises(ValueError, match="flatnonzero"):
            encode_positions(np.array(bad), 10)
    for bad in (np.array([0.5]), np.ones((2, 2), int)):
        with pytest.raises(ValueError, match="flatnonzero"):
            gap_symbols(bad, 4)
    with pytest.raises(ValueError, match=r"0\.\.9; got 10"):
        encode_positions(np.array([10]), 10)
    with pytest.raises(ValueError, match="got 'csr'"):
        encode_positions(np.array([1]), 10, layout="csr")
    for bits in (0, 17):
        with pytest.raises(ValueError, match=r"1\.\.16"):
            gap_symbols(np.array([1]), bits)


def test_damaged_bytes_are_refused():
    for layout in LAYOUTS:
        data = encode_positions(np.array([2, 50]), 100, layout=layout)
        with pytest.raises(FormatError):
            decode_positions(data, 50)  # not that array
    for data in (b"", b"\x20", b"\x11\x00", b"\x40\x00", b"\xff"):
        with pytest.raises(FormatError):
            decode_positions(data, 100)
    with pytest.raises(FormatError, match=r"0\.\.7"):
        positions_from_gaps([8], 3)


@given(st.binary(min_size=1, max_size=8))
def test_any_bytes_are_read_or_refused(data):
    try:
        positions = decode_positions(data[:1] + b"\x05" + data[1:], 40)  # at most 5 Huffman symbols
    except FormatError:
        return
    assert positions.size <= 40 and (np.diff(positions) > 0).all() and (positions < 40).all()

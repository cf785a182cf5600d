"""Bit packing against Python's own binary notation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyopt.codec import bits_needed, pack_bits, read_varint, unpack_bits, write_varint
from tinyopt.errors import DtypeError, FormatError

widths = st.integers(0, 32)
values_and_bits = widths.flatmap(
    lambda bits: st.tuples(st.lists(st.integers(0, 2**bits - 1), max_size=40), st.just(bits))
)


def packed_by_hand(values, bits):
    """The specification: write each number in binary, join, fill with zeros, cut into bytes."""
    text = "".join(format(v, f"0{bits}b") for v in values) if bits else ""
    text += "0" * (-len(text) % 8)
    return bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))


@given(values_and_bits)
def test_bytes_are_those_of_binary_notation_and_come_back(case):
    values, bits = case
    packed = pack_bits(np.array(values, np.int64), bits)
    assert packed.dtype == np.uint8 and packed.tobytes() == packed_by_hand(values, bits)
    for form in (packed, packed.tobytes(), bytearray(packed), memoryview(packed)):
        assert unpack_bits(form, bits, len(values)).tolist() == values


def test_the_worked_example_of_the_docstring():
    assert pack_bits([5, 2, 7, 0, 1, 6, 3, 4], 3).tolist() == [0b10101011, 0b10000011, 0b10011100]


def test_no_values_take_no_bytes():
    for bits in (0, 3, 32):
        assert pack_bits([], bits).size == 0 and unpack_bits(b"", bits, 0).shape == (0,)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32, np.int64, bool])
def test_any_integer_dtype_shape_and_memory_order(dtype):
    values = np.arange(24).reshape(4, 6).T % 2
    assert unpack_bits(pack_bits(values.astype(dtype), 1), 1, 24).tolist() == values.reshape(-1).tolist()


def test_a_value_takes_its_bits_and_not_a_byte():
    assert pack_bits(np.zeros(8000, int), 3).size == 3000


def test_bad_input_is_refused_with_a_reason():
    with pytest.raises(ValueError, match="0..7; got 0..8"):
        pack_bits([0, 8], 3)
    with pytest.raises(ValueError, match="got -1..2"):
        pack_bits([-1, 2], 3)
    with pytest.raises(ValueError, match="0 bits hold 0..0"):
        pack_bits([1], 0)
    with pytest.raises(DtypeError, match="float64"):
        pack_bits([0.5], 3)
    for bits in (-1, 33, 2.5):
        with pytest.raises(ValueError, match="whole number in 0..32"):
            pack_bits([0], bits)
        with pytest.raises(ValueError, match="whole number in 0..32"):
            unpack_bits(b"", bits, 0)
    for n_bytes in (0, 2, 4):
        with pytest.raises(FormatError, match=f"take 3 bytes; got {n_bytes}"):
            unpack_bits(bytes(n_bytes), 3, 8)


@given(st.integers(1, 2**31))
def test_bits_needed_is_the_smallest_that_suffices(n):
    bits = bits_needed(n)
    assert 2**bits >= n and (bits == 0 or 2 ** (bits - 1) < n)


@given(st.integers(0, 2**63 - 1), st.binary(max_size=3), st.binary(max_size=3))
def test_varint_roundtrip_among_other_bytes(number, before, after):
    written = write_varint(number)
    assert len(written) == max(1, -(-number.bit_length() // 7))
    assert read_varint(before + written + after, len(before)) == (number, len(before) + len(written))
    with pytest.raises(FormatError, match="cut short"):
        read_varint(before + written[:-1], len(before))


def test_varint_limits():
    for number in (-1, 2**63):
        with pytest.raises(ValueError, match="varint"):
            write_varint(number)
    with pytest.raises(FormatError):
        read_varint(b"\xff" * 10, 0)

"""Whole numbers of b bits, written side by side: a 3-bit value costs 3 bits, not a byte.

A computer hands out memory in bytes; the smallest NumPy integer has 8 bits. A label that only says
which of 8 centroids a weight uses needs 3. Here eight such labels become three bytes:

    values   5    2    7    0    1    6    3    4        bits = 3
    bits    101  010  111  000  001  110  011  100       most significant bit first
    bytes   10101011  10000011  10011100

Start here: `pack_bits`, then `unpack_bits`, which walks the same road backwards. The last two
functions write one integer of any size, for the few counts that a format must carry.
"""

import numpy as np

from tinyopt.errors import DtypeError, FormatError

MOST_BITS = 32


def bits_needed(n_values):
    """Say how many bits tell n_values things apart: ⌈log₂ n⌉.

    Units: 1 value needs 0 bits, 2 need 1, 32 need 5, 33 need 6.
    """
    return max(int(n_values) - 1, 0).bit_length()


def pack_bits(values, bits):
    """Write unsigned integers with `bits` bits each, leaving no gap between them.

    Shapes: values, any shape, read in C order -> uint8 (⌈size · bits / 8⌉,).
    Units:  bits in 0..32; with 0 bits every value must be 0, and nothing is stored. The last
            byte is filled up with zero bits.
    Raises: ValueError if bits is out of range or a value does not fit; DtypeError if they are no integers.
    """
    width = _bytes_wide(bits)
    values = np.asarray(values)
    if values.size and values.dtype.kind not in "bui":
        raise DtypeError(f"pack_bits writes whole numbers; got {values.dtype}. Quantize them first.")
    if values.size and not 0 <= int(values.min()) <= int(values.max()) < 2**bits:
        raise ValueError(f"{bits} bits hold 0..{2**bits - 1}; got {values.min()}..{values.max()}. "
                         "Take more bits, or shift the values to start at 0.")
    as_bytes = values.reshape(-1).astype(f">u{width}").view(np.uint8)  # ">": high byte first
    each_bit = np.unpackbits(as_bytes.reshape(-1, width), axis=1)  # (n, 8·width)
    return np.packbits(each_bit[:, 8 * width - bits :])  # keep the low bits, close the gaps


def unpack_bits(packed, bits, count):
    """Read back `count` unsigned integers of `bits` bits each: the inverse of `pack_bits`.

    Shapes: packed, bytes or uint8 (⌈count · bits / 8⌉,) -> (count,), uint8, uint16 or uint32.
    Raises: FormatError if there are more or fewer bytes than that; ValueError if bits is out of range.
    """
    width = _bytes_wide(bits)
    packed = np.frombuffer(packed, np.uint8)
    n_bytes = -(-count * bits // 8)
    if packed.size != n_bytes:
        raise FormatError(f"{count} values of {bits} bits take {n_bytes} bytes; got {packed.size}. "
                          "The data was cut short, or count or bits is not what it was written with.")
    each_bit = np.zeros((count, 8 * width), np.uint8)
    each_bit[:, 8 * width - bits :] = np.unpackbits(packed, count=count * bits).reshape(count, bits)
    return np.packbits(each_bit, axis=1).view(f">u{width}").astype(f"u{width}").reshape(count)


def _bytes_wide(bits):
    """The smallest NumPy integer that holds `bits` bits, in bytes."""
    if bits not in range(MOST_BITS + 1):
        raise ValueError(f"bits must be a whole number in 0..{MOST_BITS}; got {bits!r}")
    return 1 if bits <= 8 else 2 if bits <= 16 else 4


def write_varint(number):
    """Write one unsigned integer in as few bytes as it needs: 7 bits in each, low bits first.

    The top bit of a byte says that another follows.

    Units:  0..127 take 1 byte, up to 16,383 take 2, up to 2,097,151 take 3.
    Raises: ValueError if number is negative or above 2^63 − 1.
    Source: the DWARF debugging format's unsigned LEB128, DWARF 4 (2010), Section 7.6.
    """
    if not 0 <= number < 2**63:
        raise ValueError(f"a varint lies in 0..2^63 − 1; got {number}")
    out = bytearray()
    while number >= 128:
        out.append(number % 128 + 128)
        number //= 128
    return bytes(out) + bytes([number])


def read_varint(data, at):
    """Read the integer that `write_varint` wrote at byte `at`; return it and where the next byte is.

    Raises: FormatError if the bytes end in the middle of it, or it is longer than 9 bytes (63 bits).
    """
    number = 0
    for i, byte in enumerate(bytes(data[at : at + 9])):
        number += byte % 128 << 7 * i
        if byte < 128:
            return number, at + i + 1
    raise FormatError(f"no whole number at byte {at} of {len(data)}: the data was cut short or changed")

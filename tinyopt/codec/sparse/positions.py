"""Where the non-zeros are, in few bytes: a bitmap, or the gaps between them.

After pruning, most of an array is zeros. Its values are then the few that are left, in memory order,
and their positions:

    array       0  7  0  0  5  0  0  0  0  0  0  0  0  0  0  3        size 16
    positions      1        4                                15
    bitmap      0  1  0  0  1  0  0  0  0  0  0  0  0  0  0  1        16 bits, however many are left
    zeros before   1        2                                10
    3-bit gaps     1        2                    7            3        4 symbols, 12 bits

A symbol of b bits says how many zeros come before the next value; the largest, 2^b − 1, says that
many zeros and no value. Gaps can be Huffman coded on top, since short ones are the most frequent.

Start with these three: `gap_symbols`, the gaps of some bits; `best_gap_bits`, of how many; `encode_positions`, which
takes whichever of the layouts is smallest. Model files are written with it; `rows.py` and its neighbours have the
layouts to compute with.
"""

import numpy as np

from tinyopt.errors import FormatError

from .. import huffman
from ..bits import pack_bits, unpack_bits

MOST_GAP_BITS = 16
HUFFMAN = 32  # an encoded string's first byte: 0 is the bitmap, b gaps of b bits, 32 + b those Huffman coded


def zeros_before(positions):
    """Count the zeros that come before each non-zero.

        gap = position − previous position − 1        before the first, the previous is −1

    Shapes: positions (n,), strictly increasing integers ≥ 0 -> gaps (n,) int64.
    Raises: ValueError if positions are no such row.
    """
    positions = np.asarray(positions)
    if positions.ndim != 1 or (positions.size and positions.dtype.kind not in "ui"):
        raise ValueError(f"positions are a row of integers; got shape {positions.shape}, {positions.dtype}. "
                         "np.flatnonzero(x) makes them.")
    gaps = np.diff(positions.astype(np.int64), prepend=-1) - 1
    if gaps.size and gaps.min() < 0:
        raise ValueError("positions must be ≥ 0, each above the one before. np.flatnonzero(x) makes them.")
    return gaps


def filler_of(bits):
    """The largest symbol of `bits` bits, 2^b − 1: it stands for that many zeros and no value.

    Raises: ValueError on bits outside 1..16.
    """
    if bits not in range(1, MOST_GAP_BITS + 1):
        raise ValueError(f"a gap takes 1..{MOST_GAP_BITS} bits; got {bits!r}")
    return 2**bits - 1


def gap_symbols(positions, bits):
    """Turn positions into gaps that fit `bits` bits.

        ⌊gap / (2^b − 1)⌋ fillers, then gap mod (2^b − 1)        gap = zeros before the value

    With one bit that is a bitmap again: a 1 for every zero, a 0 for every value.

    Shapes: positions (n,), strictly increasing integers ≥ 0 -> symbols (m,), m ≥ n, in 0..2^b − 1.
    Units:  bits in 1..16.
    Raises: ValueError on other bits, or if positions are out of order.
    Source: Han, Mao & Dally (2016), "Deep Compression", arXiv:1510.00149, Section 2, Figure 2.
    Differs: their filler is a weight of value 0, which costs a label and a place among the
            centroids; ours stands for no weight, so that values are stored for non-zeros only.
    """
    gaps = zeros_before(positions)
    filler = filler_of(bits)
    n_fillers, rest = np.divmod(gaps, filler)
    ends = np.cumsum(n_fillers + 1)
    symbols = np.full(gaps.size + n_fillers.sum(), filler)
    symbols[ends - 1] = rest
    return symbols


def positions_from_gaps(symbols, bits):
    """Turn gap symbols back into positions: the inverse of `gap_symbols`.

    Shapes: symbols (m,) -> positions (n,) int64, n the number of symbols that are no fillers.
    Raises: FormatError if a symbol lies outside 0..2^b − 1.
    """
    symbols, filler = np.asarray(symbols).astype(np.int64), filler_of(bits)
    if symbols.size and not 0 <= symbols.min() <= symbols.max() <= filler:
        raise FormatError(f"gaps of {bits} bits lie in 0..{filler}; got {symbols.min()}..{symbols.max()}")
    is_value = symbols < filler
    return np.cumsum(symbols + is_value)[is_value] - 1  # each symbol skips its zeros, a value itself too


def best_gap_bits(positions, *, coded=False):
    """Choose the number of bits a gap with which these positions take the least room.

        plain    b · Σ (⌊gap / (2^b − 1)⌋ + 1)
        coded    Σ count · code length, and about 3 bits of Huffman table for each symbol

    Few bits mean many fillers, many bits are wasted on short gaps.

    Shapes: positions (n,) -> an integer in 1..16.
    """
    room = []
    for bits in range(1, MOST_GAP_BITS + 1):
        symbols = gap_symbols(positions, bits)
        if coded:
            counts = np.bincount(symbols)
            table = counts.size + 2 * np.count_nonzero(counts)
            room.append(int(counts @ huffman.code_lengths(counts)) + table)
        else:
            room.append(bits * symbols.size)
    return 1 + int(np.argmin(room))


def encode_positions(positions, size, *, layout="auto"):
    """Write where the non-zeros of an array lie; the first byte says how.

    Shapes: positions (n,), strictly increasing in 0..size − 1 -> bytes. np.flatnonzero(x) makes them,
            and x.reshape(-1)[positions] are the values that belong to them.
    Units:  "bitmap", 1 bit an element; "gaps", 1..16 bits a non-zero and filler; "huffman", those
            gaps Huffman coded; "auto", whichever is smallest.
    Raises: ValueError if positions are not in order, or not in the array; or on an unknown layout.
    """
    writers = {"bitmap": _write_bitmap, "gaps": _write_gaps, "huffman": _write_huffman}
    if layout not in ("auto", *writers):
        raise ValueError(f"layout is 'auto', 'bitmap', 'gaps' or 'huffman'; got {layout!r}")
    positions = np.asarray(positions)
    zeros_before(positions)  # refuses what are no positions
    if positions.size and positions[-1] >= size:
        raise ValueError(f"positions must lie in 0..{size - 1}; got {positions[-1]}. "
                         "size counts all elements, zeros too.")
    chosen = writers.values() if layout == "auto" else [writers[layout]]
    return min((write(positions, size) for write in chosen), key=len)


def decode_positions(data, size):
    """Read back the positions that `encode_positions` wrote for an array of `size` elements.

    Shapes: data, bytes -> positions (n,) int64, strictly increasing in 0..size − 1.
    Raises: FormatError if these are not the positions of so many elements.
    """
    if len(data) == 0:
        raise FormatError("positions begin with a byte for their layout; got no bytes at all")
    layout, body = data[0], data[1:]
    bits = layout % HUFFMAN
    if layout == 0:
        positions = np.flatnonzero(unpack_bits(body, 1, size))
    elif layout // HUFFMAN < 2 and 1 <= bits <= MOST_GAP_BITS:
        plain = layout < HUFFMAN
        symbols = unpack_bits(body, bits, len(body) * 8 // bits) if plain else huffman.decode(body)
        positions = positions_from_gaps(symbols, bits)
    else:
        raise FormatError(f"there is no layout {layout} of positions: the data was changed, or is newer")
    if positions.size and positions[-1] >= size:
        raise FormatError(f"positions reach {positions[-1]} in an array of {size} elements: "
                          "the data was changed, or belongs to another shape")
    return positions


def _write_bitmap(positions, size):
    is_value = np.zeros(size, np.uint8)
    is_value[positions] = 1
    return bytes([0]) + pack_bits(is_value, 1).tobytes()


def _write_gaps(positions, size):
    bits = best_gap_bits(positions)
    symbols = gap_symbols(positions, bits)
    n_spare = -symbols.size * bits % 8 // bits  # whole symbols' room in the last byte: fillers say nothing
    padded = np.append(symbols, np.full(n_spare, filler_of(bits)))
    return bytes([bits]) + pack_bits(padded, bits).tobytes()


def _write_huffman(positions, size):
    bits = best_gap_bits(positions, coded=True)
    return bytes([HUFFMAN + bits]) + huffman.encode(gap_symbols(positions, bits))

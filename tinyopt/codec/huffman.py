"""Huffman coding: frequent symbols get short codes, and no code begins another.

    symbols   a a b a c a b a        counts a 5, b 2, c 1
    lengths   a 1, b 2, c 2          a symbol of probability p deserves log₂ 1/p bits
    codes     a 0, b 10, c 11        11 bits for the 8 symbols, where 2 bits each would take 16

Two facts make the stored table small. The codes follow from the lengths alone ("canonical": codes
of one length are consecutive numbers, in the order of their symbols), so only the lengths are
stored; and neighbouring symbols tend to have similar counts, so only the lengths' differences are.

Start here: `tree_depths` is Huffman's algorithm, `canonical_codes` turns lengths into codes. Then
`encode` and `decode`, which put the table and the codes into one string of bits and read it back.
"""

import heapq

import numpy as np

from tinyopt.errors import DtypeError, FormatError

from .bits import bits_needed, read_varint, write_varint

LONGEST = 16  # bits; a decoder looks a code up in a table of 2^LONGEST rows
WIDEST = 1 << 16  # how far apart the smallest and the largest symbol may lie
MOST_SYMBOLS = 1 << 31


def entropy_bits(counts):
    """Compute Shannon's bound: the bits per symbol that no code of whole symbols can go below.

        H = Σ p log₂ 1/p        p = count / Σ counts

    A Huffman code's mean length lies in [H, H + 1).

    Shapes: counts (K,) -> a float.
    Units:  bits per symbol; 0 for an alphabet of one symbol or none.
    Source: Shannon (1948), "A Mathematical Theory of Communication", Bell System Technical
            Journal 27, Sections 6 and 9.
    """
    counts = np.asarray(counts, np.float64)
    p = counts[counts > 0] / counts.sum()
    return float(abs(p @ np.log2(p)))


def code_lengths(counts, *, longest=LONGEST):
    """Choose each symbol's code length so that Σ count · length is as small as can be.

    Huffman's algorithm: merge the two rarest nodes into one, until one is left. A symbol's length
    is its depth in that tree. Only if one comes out longer than `longest` are they all chosen again,
    as the best under that limit.

    Shapes: counts (K,) -> lengths (K,) uint8; 0 for a symbol that never occurs, and for one that is
            alone: nothing need be said to tell it from others.
    Raises: ValueError if counts are negative or no integers, or if the limit leaves too few codes.
    Source: Huffman (1952), "A Method for the Construction of Minimum-Redundancy Codes",
            Proceedings of the IRE 40(9).
    """
    counts = np.asarray(counts)
    if counts.ndim != 1 or (counts.size and (counts.dtype.kind not in "ui" or counts.min() < 0)):
        raise ValueError(f"counts must be a row of integers ≥ 0; got shape {counts.shape}, {counts.dtype}")
    used = np.flatnonzero(counts)
    if used.size > 2**longest:
        raise ValueError(f"{used.size} symbols cannot all have codes of at most {longest} bits")
    lengths = np.zeros(counts.size, np.uint8)
    if used.size > 1:
        depths = tree_depths(counts[used].tolist())
        lengths[used] = depths if max(depths) <= longest else _package_merge(counts[used], longest)
    return lengths


def tree_depths(counts):
    """Build Huffman's tree and tell how deep each leaf lies: the length of its symbol's code.

    Nodes are numbered: the leaves from 0, then each merger of the two rarest nodes, the root last.

    Shapes: counts, a list of K integers ≥ 1 -> a list of K depths; 0 for one that is alone.
    Source: Huffman (1952), as in `code_lengths`. Ties go to the older node, which makes a flatter tree.
    """
    n_leaves = len(counts)
    heap = [(count, leaf) for leaf, count in enumerate(counts)]
    heapq.heapify(heap)
    parent = [0] * (2 * n_leaves - 1)
    for node in range(n_leaves, 2 * n_leaves - 1):
        (count_a, a), (count_b, b) = heapq.heappop(heap), heapq.heappop(heap)
        parent[a] = parent[b] = node
        heapq.heappush(heap, (count_a + count_b, node))
    depth = [0] * (2 * n_leaves - 1)
    for node in reversed(range(2 * n_leaves - 2)):  # the root is last, and parents come after children
        depth[node] = depth[parent[node]] + 1
    return depth[:n_leaves]


def _package_merge(counts, longest):
    """Choose the best code lengths of at most `longest` bits.

    Think of coins. A code of l bits costs one coin of each value 2^−1, 2^−2, …, 2^−l, each weighing
    the symbol's count; a complete code is coins worth K − 1, and the lightest such set is wanted.
    Starting from the smallest value, coins are taken in pairs, lightest first; a pair is a package
    of the next value and is sorted among that value's own coins.

    Source: Larmore & Hirschberg (1990), "A Fast Algorithm for Optimal Length-Limited Huffman
            Codes", Journal of the ACM 37(3), Section 2.
    """
    rarest_first = np.argsort(counts, kind="stable")
    coins = counts[rarest_first].astype(np.int64)
    packages = coins[:0]
    is_coin = []  # per value: which of the sorted items are coins, not packages
    for _ in range(longest):
        items = np.concatenate([coins, packages])
        order = np.argsort(items, kind="stable")
        is_coin.append(order < coins.size)
        items = items[order]
        packages = items[: items.size // 2 * 2].reshape(-1, 2).sum(axis=1)

    lengths = np.zeros(coins.size, np.uint8)
    n_taken = 2 * coins.size - 2  # items of value 1/2, worth K − 1 together
    for coin_here in reversed(is_coin):
        n_coins = np.count_nonzero(coin_here[:n_taken])
        lengths[rarest_first[:n_coins]] += 1
        n_taken = 2 * (n_taken - n_coins)  # the packages among them are opened
    return lengths


def canonical_codes(lengths):
    """Give every symbol its code: shorter codes first, equal lengths in the order of the symbols.

    Written as a fraction 0.code, each code is the sum of 2^−length over all before it.

    Shapes: lengths (K,), 0 = no code -> codes (K,) uint32; the low `length` bits are the code.
    Raises: FormatError if the lengths leave no room for all codes (Kraft's sum Σ 2^−length > 1).
    Source: Schwartz & Kallick (1964), "Generating a canonical prefix encoding", Communications of
            the ACM 7(3); the same codes as in RFC 1951 (Deflate), Section 3.2.2.
    """
    lengths = np.asarray(lengths).astype(np.int64)
    order, room = _rows(lengths)
    codes = np.zeros(lengths.size, np.uint32)
    codes[order] = (np.cumsum(room) - room) // np.maximum(room, 1)
    return codes


def _rows(lengths):
    """Divide a table of 2^L rows, L the longest length: a code takes all rows that begin with it.

    Returns the symbols in canonical order, and how many rows each takes.
    """
    if lengths.size and not 0 <= lengths.min() <= lengths.max() <= 32:
        raise FormatError(f"code lengths lie in 0..32; got {lengths.min()}..{lengths.max()}")
    used = np.flatnonzero(lengths)
    order = used[np.argsort(lengths[used], kind="stable")]
    longest = int(lengths.max(initial=0))
    room = 1 << (longest - lengths[order])
    if room.sum() > 1 << longest:
        raise FormatError(f"these code lengths need {room.sum() / 2**longest:.3f} times the codes there are: "
                          "the table is damaged")
    return order, room


def encode(symbols):
    """Write integers as Huffman codes, with all that `decode` needs to read them.

        varint count · varint lowest symbol (zigzag) · varint K − 1 · bits: table, then codes

    The table tells, in unary, the K − 1 gaps between the K symbols that occur and the K differences
    between their lengths. With one symbol, or none, the three numbers say it all.

    Shapes: symbols, integers of any shape, read in C order -> bytes.
    Units:  about 3 bits of table a symbol of the alphabet; codes of at most 16 bits.
    Raises: DtypeError if symbols are no integers; ValueError if they lie more than 65,535 apart, or
            beyond ±2^62.
    """
    symbols = np.asarray(symbols).reshape(-1)
    head = write_varint(symbols.size)
    if symbols.size == 0:
        return head
    if symbols.dtype.kind not in "ui" or symbols.dtype == np.uint64:
        raise DtypeError(f"Huffman coding takes integers (int64 or smaller); got {symbols.dtype}")
    lowest = int(symbols.min())
    if int(symbols.max()) - lowest >= WIDEST:
        raise ValueError(f"symbols may lie {WIDEST - 1} apart; got {lowest}..{symbols.max()}. "
                         "Number them first: np.unique(symbols, return_inverse=True)")
    symbols = symbols.astype(np.int64) - lowest
    counts = np.bincount(symbols)
    alphabet = np.flatnonzero(counts)
    head += write_varint(_zigzag(lowest)) + write_varint(alphabet.size - 1)
    if alphabet.size == 1:
        return head
    lengths = code_lengths(counts).astype(np.int64)
    jumps = np.diff(lengths[alphabet], prepend=bits_needed(alphabet.size))
    table = _unary_bits(np.concatenate([np.diff(alphabet) - 1, _zigzag(jumps)]))
    return head + np.packbits(np.concatenate([table, _code_bits(symbols, lengths)])).tobytes()


def _code_bits(symbols, lengths):
    """Line up the codes of all symbols, one bit to a byte."""
    longest = lengths.max()
    at_left = canonical_codes(lengths) << (16 - lengths)  # the code's first bit is the highest of 16
    each_bit = np.unpackbits(at_left.astype(">u2").view(np.uint8).reshape(-1, 2), axis=1)[:, :longest]
    is_code = np.arange(longest) < lengths[:, None]  # (K, L); the rest of a row is filling
    parts = np.array_split(symbols, 1 + symbols.size // 65536)  # cache-sized
    return np.concatenate([each_bit[part][is_code[part]] for part in parts])


def decode(data):
    """Read back the integers that `encode` wrote.

    A code's end is known only once it is read, so the codes cannot be told apart all at once. But
    for every bit one can look up which code would begin there; then it remains to hop from each
    code to the next.

    Shapes: data, bytes -> int64 (count,).
    Raises: FormatError if the data was cut short, goes on too long, or is no such code. (A changed
            bit that makes another valid code is for the container's checksum to notice.)
    """
    count, at = read_varint(data, 0)
    lowest = n_used = 0
    if count:
        lowest, at = read_varint(data, at)
        n_used, at = read_varint(data, at)
        n_used += 1
    bits = np.unpackbits(np.frombuffer(data[at:], np.uint8))
    if count > (MOST_SYMBOLS if n_used < 2 else bits.size) or n_used > WIDEST or (n_used < 2 and bits.size):
        raise FormatError(f"Huffman data promises {count} symbols and brings {bits.size} bits for them: "
                          "it was cut short or changed")
    if n_used < 2:
        return np.full(count, _unzigzag(lowest))
    alphabet, lengths, bits = _read_table(bits, n_used)
    return _unzigzag(lowest) + alphabet[_read_codes(bits, lengths, count)]


def _read_table(bits, n_used):
    """Return the alphabet, its code lengths, and the bits that follow the table."""
    ends = np.flatnonzero(bits)[: 2 * n_used - 1]
    numbers = np.diff(ends, prepend=-1) - 1
    gaps, jumps = numbers[: n_used - 1], numbers[n_used - 1 :]
    alphabet = np.concatenate([[0], np.cumsum(gaps + 1)])
    lengths = bits_needed(n_used) + np.cumsum(_unzigzag(jumps))
    complete = lengths.size == n_used and 1 <= lengths.min() <= lengths.max() <= LONGEST
    if not complete or alphabet[-1] >= WIDEST or (2.0**-lengths).sum() != 1:
        raise FormatError("the table of a Huffman code is not one: the data was cut short or changed")
    return alphabet, lengths, bits[ends[-1] + 1 :]


def _read_codes(bits, lengths, count):
    """Return which code stands at each of `count` places, as its number in the alphabet."""
    longest = int(lengths.max())
    order, room = _rows(lengths)
    code_of = np.repeat(order, room)  # (2^L,): the next L bits, as a number, -> which code
    window = np.zeros(bits.size, np.uint16)  # at every bit: the next L bits as a number
    padded = np.concatenate([bits, np.zeros(longest, np.uint8)])
    for i in range(longest):
        window <<= 1
        window |= padded[i : i + bits.size]

    hop = lengths.astype(np.uint8)[code_of][window].tobytes()  # bytes: the fastest to index from a loop
    starts, at = [], 0
    try:
        for _ in range(count):
            starts.append(at)
            at += hop[at]
    except IndexError:
        at = bits.size + 1
    if at > bits.size or bits.size - at > 7 or bits[at:].any():
        raise FormatError(f"{count} Huffman codes should end with the data: it was cut short or changed")
    return code_of[window[starts]]


def _zigzag(number):
    """Fold the integers onto 0, 1, 2, …: 0, −1, 1, −2, 2, … so that small ones stay small."""
    return abs(2 * number + (number < 0))


def _unzigzag(folded):
    return (folded >> 1) ^ -(folded & 1)


def _unary_bits(numbers):
    """Write each n ≥ 0 as n zeros and a one."""
    ends = np.cumsum(numbers + 1)
    bits = np.zeros(ends[-1], np.uint8)
    bits[ends - 1] = 1
    return bits

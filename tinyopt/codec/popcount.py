"""Products of signs by counting bits: 64 multiplications and additions in one XOR and one count.

Where every number is +1 or −1, it is one bit, and 64 of them are one word:

    a   +1 −1 −1 +1  ->  1001        a · b = (+1) + (+1) + (−1) + (+1) = 2
    b   +1 −1 +1 +1  ->  1011        XOR 0010: they differ in 1 place of 4, and 4 − 2 · 1 = 2

Start with `pack_signs`, then `binary_product`, which does that; `plane_product` is for weights that may be 0, too. All
results are exact integers. Words that are not full end in zeros, which change no count here.
"""

import numpy as np

from tinyopt.errors import ShapeError

WORD = 64
AT_ONCE = 1 << 15  # sums that are made together: with their words, they fit into the cache


def pack_words(bits):
    """Booleans along the last axis into words of 64 bits, the last one filled up with zeros.

    Shapes: bits (..., D) -> uint64 (..., ⌈D / 64⌉).
    """
    packed = np.packbits(bits, axis=-1)  # (..., ⌈D / 8⌉)
    n_words = -(-bits.shape[-1] // WORD)
    words = np.zeros((*bits.shape[:-1], n_words * WORD // 8), np.uint8)
    words[..., : packed.shape[-1]] = packed
    return words.view(np.uint64)


def pack_signs(x):
    """One bit for the sign of each number, 1 for x ≥ 0: zero counts as positive.

    Shapes: x (..., D) -> uint64 (..., ⌈D / 64⌉).
    """
    return pack_words(x >= 0)


def binary_product(a, b, length):
    """Σ_i a[n, i] · b[o, i] for signs, from their words.

        Σ = (places that agree) − (places that differ) = D − 2 · popcount(a XOR b)

    That is XNOR-Net's product; it counts the agreements, XNOR, and so has to leave out the words' unused ends.

    Shapes: a (n, K) and b (O, K), words of `pack_signs`; `length` is D, the signs in a row -> int64 (n, O).
    Raises: ShapeError if the words are not as many as D signs take.
    Source: Rastegari, Ordonez, Redmon & Farhadi (2016), "XNOR-Net", arXiv:1603.05279, Section 3.2 (Figure 2).
    """
    _check(a, b, length)
    return length - 2 * _counted(np.bitwise_xor, a, b)


def plane_product(a, plane):
    """Σ of a[n, i] over the places i of a plane, for signs a and each of the O planes.

        Σ = (signs +1 there) − (signs −1 there) = 2 · popcount(a AND plane) − popcount(plane)

    A ternary weight has two planes, where it is +1 and where it is −1; its product is that of the first minus that of
    the second. With two trained values: W_p · the first − W_n · the second.

    Shapes: a (n, K), words of `pack_signs`; plane (O, K), words of `pack_words` -> int64 (n, O).
    """
    _check(a, plane)
    return 2 * _counted(np.bitwise_and, a, plane) - np.bitwise_count(plane).sum(axis=1, dtype=np.int64)


def ternary_product(a, b):
    """Σ_i a[n, i] · b[o, i] for numbers in {−1, 0, 1}, each side given as two planes (where +1, where −1).

        Σ = #(+ +) + #(− −) − #(+ −) − #(− +)        # = popcount of an AND

    Shapes: a = (plus, minus), each (n, K); b = (plus, minus), each (O, K); words of `pack_words` -> int64 (n, O).
    """
    _check(a[0], b[0])
    same = sum(_counted(np.bitwise_and, one, other) for one, other in zip(a, b))
    return same - sum(_counted(np.bitwise_and, one, other) for one, other in zip(a, b[::-1]))


def _counted(join, a, b):
    """popcount of join(a[n], b[o]), added up over their words: (n, K), (O, K) -> int64 (n, O).

    Rows are taken in blocks, and in a block one word after the other, so that O sums are made in a row.
    """
    total = np.zeros((len(a), len(b)), np.int64)
    columns = np.ascontiguousarray(b.T)  # (K, O); no copy if they lie in memory like that
    n_rows = max(1, AT_ONCE // max(1, len(b)))
    for start in range(0, len(a), n_rows):
        block, sums = a[start : start + n_rows], total[start : start + n_rows]
        for word, column in zip(block.T, columns):
            sums += np.bitwise_count(join(word[:, None], column))
    return total


def _check(a, b, length=None):
    due = a.shape[-1] if length is None else -(-length // WORD)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != due or b.shape[1] != due:
        what = f"{due} words in a row" + ("" if length is None else f" for {length} signs")
        raise ShapeError(f"a product of packed rows needs two tables with {what}; got {a.shape} and {b.shape}")

"""Positions in few bits: a bitmap, or the gaps between values. The smallest layouts, and not made for products.

Start with these three: `Bitmap`; `RelativeIndex.from_dense`, where fillers break long gaps; `RelativeIndex.positions`,
which adds the gaps up again.
"""

import functools
import math

import numpy as np

from ..bits import pack_bits, unpack_bits
from .matrix import SparseMatrix, check_dense, is_stored
from .positions import filler_of, zeros_before
from .rows import CSR

MOST_BITS = 16  # of a gap


class InOrder(SparseMatrix):
    """The base of the two layouts whose positions have to be read from bits first: products go through CSR.

    That reading is done at each product; who multiplies often keeps `to_csr()`.
    """

    def to_csr(self):
        """The same array as `CSR`, without fillers."""
        real = is_stored(self.values)
        return CSR.from_positions(self.values[real], self.positions()[real], self.shape)

    def _times(self, dense):
        return self.to_csr()._times(dense)

    @functools.cached_property
    def T(self):
        """Rows and columns exchanged, as `CSC`."""
        return self.to_csr().T


class Bitmap(InOrder):
    """One bit for each element, 1 where a value is stored.

    Shapes: values (n,) in C order; packed, bytes (⌈size / 8⌉,); shape, that of the dense array.
    Units:  4 bytes a float32 value, and ⅛ byte for each element, however many are left.
    Raises: ValueError if the ones are not as many as the values, or bits are set past the end.
    """

    number = 5
    fields = ("values", "packed")

    def __init__(self, values, packed, shape):
        self._take(shape, {}, {"values": values, "packed": packed})
        ones = np.flatnonzero(np.unpackbits(self.packed))
        if ones.size != self.n_stored or (ones.size and ones[-1] >= math.prod(self.shape)):
            raise ValueError(f"a bitmap has a 1 for each value, inside the array; got {ones.size} for {self.n_stored} "
                             f"values of {math.prod(self.shape)} elements")  # fmt: skip

    @classmethod
    def from_dense(cls, x):
        """Keep what is not 0, and the bits that say where."""
        x = check_dense(x)
        keep = is_stored(x).reshape(-1)
        return cls(x.reshape(-1)[keep], pack_bits(keep, 1), x.shape)

    @staticmethod
    def sizes(shape, dtype, n):
        """The type and shape of each array, for n values."""
        return {"values": (dtype, (n,)), "packed": (np.dtype("u1"), (-(-math.prod(shape) // 8),))}

    def positions(self):
        """Where each value lies in C order."""
        return np.flatnonzero(np.unpackbits(self.packed))


class RelativeIndex(InOrder):
    """How many zeros come before each value, in b bits; longer gaps are broken by a filler, a value of 0.

        gap = zeros before the value        ⌊gap / 2^b⌋ fillers, then gap mod 2^b

    A filler says 2^b − 1 zeros and then a value, which is 0: it covers 2^b zeros, and costs a value's bytes.

    Shapes: values (n,), fillers included; packed, n gaps of b bits side by side; shape, that of the dense array.
    Units:  4 bytes and b bits a float32 value or filler; bits in 1..16, None for those that take the fewest bytes.
    Raises: ValueError for other bits, or gaps that lead past the end of the array.
    Source: Han, Mao & Dally (2016), "Deep Compression", arXiv:1510.00149, Section 2 and Figure 2.
    Differs: they write the difference to the index before, from 1; we write it less one, so that no symbol is
            unused. `gap_symbols`, which the files of tinyopt are written with, has a filler without a value.
    """

    number = 6
    fields = ("values", "packed")
    settings = ("bits",)

    def __init__(self, values, packed, bits, shape):
        filler_of(bits)  # refuses other bits
        self._take(shape, {"bits": bits}, {"values": values, "packed": packed})
        places = self.positions()
        if places.size and places[-1] >= math.prod(self.shape):
            raise ValueError(f"gaps lead to element {places[-1]} of an array of {math.prod(self.shape)}")

    @classmethod
    def from_dense(cls, x, bits=None):
        """Keep what is not 0, and a filler wherever a gap is too long for `bits`."""
        x = check_dense(x)
        positions = np.flatnonzero(is_stored(x))
        gaps = zeros_before(positions)
        if bits is None:
            room = [(b + 8 * x.itemsize) * (gaps.size + (gaps >> b).sum()) for b in range(1, MOST_BITS + 1)]
            bits = 1 + int(np.argmin(room))
        step = filler_of(bits) + 1
        ends = np.cumsum(gaps // step + 1) - 1  # where each value comes, after its fillers
        symbols = np.full(ends[-1] + 1 if ends.size else 0, step - 1)
        values = np.zeros(symbols.size, x.dtype)
        symbols[ends], values[ends] = gaps % step, x.reshape(-1)[positions]
        return cls(values, pack_bits(symbols, bits), bits, x.shape)

    @staticmethod
    def sizes(shape, dtype, n, bits):
        """The type and shape of each array, for n values and fillers."""
        return {"values": (dtype, (n,)), "packed": (np.dtype("u1"), (-(-n * bits // 8),))}

    def positions(self):
        """Where each value lies in C order, and each filler's 0."""
        gaps = unpack_bits(self.packed, self.bits, len(self.values)).astype(np.int64)
        return np.cumsum(gaps + 1) - 1

"""Sparse arrays: the values that are not 0, and where they lie. Six layouts, their bytes, their products.

              col 0  1  2  3
    row 0         ·  7  ·  ·      COO      values 7 5 3    rows 0 1 1       columns 1 0 3
    row 1         5  ·  ·  3      CSR      values 7 5 3    columns 1 0 3    starts 0 1 3 3
    row 2         ·  ·  ·  ·      CSC      values 5 7 3    rows 1 0 1       starts 0 1 2 2 3
                                  Bitmap   values 7 5 3    one bit an element: 0100 1001 0000
                                  RelativeIndex 7 5 3      zeros before each: 1 2 2
    BSR, blocks of 1×2            values [0 7] [5 0] [0 3] columns 0 0 1    starts 0 1 3 3

Each is a class with `from_dense`, `to_dense`, `to_bytes`, `nbytes` and `@`. Start with these three: `COO`, which
says everything; `CSR`, which says each row once, and multiplies fastest; `sizes.cross_over`, which layout is smallest
for how many values. The files, in this order:

    matrix.py     what all six share: what is stored, how narrow an index is, bytes, products
    rows.py       COO, CSR, CSC
    bits.py       Bitmap, RelativeIndex
    blocks.py     BSR
    products.py   sparse times dense, on bare arrays
    sizes.py      bytes against density, in closed form
    positions.py  what model files use: only positions, as a bitmap or as gaps, Huffman coded or not
"""

from .bits import Bitmap, RelativeIndex
from .blocks import BSR
from .matrix import SparseMatrix, index_type, is_stored
from .positions import (
    best_gap_bits, decode_positions, encode_positions, filler_of, gap_symbols, positions_from_gaps, zeros_before,
)  # fmt: skip
from .rows import COO, CSC, CSR
from .sizes import cross_over, expected_bytes

LAYOUTS = {kind.__name__: kind for kind in (COO, CSR, CSC, BSR, Bitmap, RelativeIndex)}

__all__ = [
    *LAYOUTS, "LAYOUTS", "SparseMatrix", "best_gap_bits", "cross_over", "decode_positions", "encode_positions",
    "expected_bytes", "filler_of", "gap_symbols", "index_type", "is_stored", "positions_from_gaps", "zeros_before",
]  # fmt: skip

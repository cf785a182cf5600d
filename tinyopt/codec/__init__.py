"""Arrays to bytes and back: the room where a model's size is really made.

Nothing here knows of tensors, layers or training; NumPy arrays go in, bytes come out, and the same
arrays come back. Read the files in this order, each stands on those before it:

    bits.py       whole numbers of b bits, side by side: a 3-bit value costs 3 bits
    affine.py     floats to small integers with a scale, and back
    floats.py     fp16, bf16, fp8, fp4 and NF4: where a float's bits go
    levels.py     numbers by the nearest of a few levels: quantiles, powers of two
    trits.py      five numbers of −1, 0, 1 in a byte
    popcount.py   products of signs, 64 at once
    huffman.py    frequent symbols get short codes
    sparse/       where the non-zeros are: bitmap, gaps, coordinates, rows, blocks; and products with them
    codebook.py   few distinct values: each once, and a label per weight
    container.py  a header and named byte strings in one file, under one checksum

Huffman's two verbs carry its name here (`huffman_encode`, `huffman_decode`), since `encode` alone
would not say which code.
"""

from .affine import choose_scale, dequantize, in_groups, quantize, to_integers
from .bits import bits_needed, pack_bits, read_varint, unpack_bits, write_varint
from .codebook import decode_codebook, encode_codebook
from .container import atomic_write, ledger, read_container, write_container
from .floats import FORMATS
from .huffman import canonical_codes, code_lengths, entropy_bits
from .huffman import decode as huffman_decode
from .huffman import encode as huffman_encode
from .levels import nearest_level, power_of_two_levels, quantile_levels
from .popcount import binary_product, pack_signs, ternary_product
from .sparse import (
    BSR, COO, CSC, CSR, Bitmap, RelativeIndex, SparseMatrix, best_gap_bits, decode_positions, encode_positions,
    gap_symbols, positions_from_gaps,
)  # fmt: skip
from .trits import pack_trits, unpack_trits

__all__ = [
    "BSR", "Bitmap", "COO", "CSC", "CSR", "FORMATS", "RelativeIndex", "SparseMatrix", "atomic_write",
    "best_gap_bits", "binary_product", "bits_needed", "canonical_codes", "choose_scale", "code_lengths",
    "decode_codebook", "decode_positions", "dequantize", "encode_codebook", "encode_positions",
    "entropy_bits", "gap_symbols", "huffman_decode", "huffman_encode", "in_groups", "ledger",
    "nearest_level", "pack_bits", "pack_signs", "pack_trits", "positions_from_gaps", "power_of_two_levels",
    "quantile_levels", "quantize", "read_container", "read_varint", "ternary_product", "to_integers",
    "unpack_bits", "unpack_trits", "write_container", "write_varint",
]  # fmt: skip

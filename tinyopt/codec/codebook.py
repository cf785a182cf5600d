"""Few distinct values: each is stored once, and every weight says which one it is.

    weights     0.1  −0.4  0.1  0.1  0.7  −0.4
    centroids   −0.4  0.1  0.7                   K = 3 floats of 32 bits
    labels      1  0  1  1  2  0                 ⌈log₂ 3⌉ = 2 bits each, fewer under a Huffman code

Start here: `encode_codebook`; what comes back from `decode_codebook` is used as centroids[labels].
"""

import numpy as np

from tinyopt.errors import FormatError

from . import huffman
from .bits import bits_needed, pack_bits, read_varint, unpack_bits, write_varint

FLOATS = ("<f4", "<f8")  # "<": low byte first, on every machine


def encode_codebook(labels, centroids, *, coding="auto"):
    """Write labels and centroids into one string of bytes.

        first byte: 1 = float64, 2 = Huffman · varint K · centroids · labels

    Shapes: labels, integers of any shape, read in C order, in 0..K − 1; centroids (K,), float32 or
            float64 -> bytes.
    Units:  coding "packed" takes ⌈log₂ K⌉ bits a label, "huffman" near the labels' entropy and about
            3 bits of table a centroid; "auto" takes the smaller.
    Raises: ValueError on labels that are no places in centroids, other dtypes, or an unknown coding.
    Source: Han, Mao & Dally (2016), "Deep Compression", arXiv:1510.00149, Sections 3 and 4.
    """
    labels, centroids = np.asarray(labels), np.asarray(centroids)
    if coding not in ("auto", "packed", "huffman"):
        raise ValueError(f"coding is 'auto', 'packed' or 'huffman'; got {coding!r}")
    if centroids.ndim != 1 or centroids.dtype not in (np.float32, np.float64):
        raise ValueError("centroids are a row of float32 or float64; "
                         f"got shape {centroids.shape}, {centroids.dtype}")
    if labels.dtype.kind not in "ui" or not _within(labels, centroids.size):
        raise ValueError(f"labels are integers in 0..{centroids.size - 1}, each a place in centroids; "
                         f"got {labels.dtype}, up to {labels.max(initial=0)}")
    is_double = centroids.dtype == np.float64
    table = write_varint(centroids.size) + centroids.astype(FLOATS[is_double]).tobytes()
    strings = []
    if coding != "huffman":
        packed = pack_bits(labels, bits_needed(centroids.size)).tobytes()
        strings.append(bytes([is_double]) + table + packed)
    if coding != "packed":
        strings.append(bytes([is_double + 2]) + table + huffman.encode(labels))
    return min(strings, key=len)


def decode_codebook(data, count):
    """Read back what `encode_codebook` wrote for `count` labels; the weights are centroids[labels].

    Shapes: data, bytes -> labels (count,) of an integer dtype, centroids (K,) in the dtype they had.
    Raises: FormatError if these are not the labels of so many weights.
    """
    if len(data) == 0 or data[0] > 3:
        raise FormatError("a codebook begins with a byte in 0..3; "
                          f"got {data[0] if len(data) else 'no bytes at all'}: the data was changed")
    n_centroids, at = read_varint(data, 1)
    dtype = np.dtype(FLOATS[data[0] % 2])
    labels_at = at + n_centroids * dtype.itemsize
    if labels_at > len(data):
        raise FormatError(f"a codebook promises {n_centroids} centroids, which take more than its "
                          f"{len(data)} bytes: it was cut short or changed")
    centroids = np.frombuffer(data[at:labels_at], dtype).astype(dtype.newbyteorder("="))
    if data[0] >= 2:
        labels = huffman.decode(data[labels_at:])
    else:
        labels = unpack_bits(data[labels_at:], bits_needed(n_centroids), count)
    if labels.size != count or not _within(labels, n_centroids):
        raise FormatError(f"{count} labels in 0..{n_centroids - 1} are due; got {labels.size}, "
                          f"up to {labels.max(initial=0)}: the data was changed, or belongs to another shape")
    return labels, centroids


def _within(labels, n_centroids):
    return labels.size == 0 or 0 <= labels.min() <= labels.max() < n_centroids

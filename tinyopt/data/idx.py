"""IDX, the file format of MNIST: a type, a shape, the numbers.

    2 bytes     zero
    1 byte      type of number, see TYPES
    1 byte      number of axes
    4 bytes     for each axis its length, big-endian
    ...         the numbers, big-endian, last axis fastest

A file may be gzipped; reading finds that out from its first bytes, whatever its name.
"""

import gzip
import math
import os
import zlib
from pathlib import Path

import numpy as np

from tinyopt.codec.container import atomic_write
from tinyopt.errors import DtypeError, FormatError

TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
GZIP_MAGIC = b"\x1f\x8b"


def read_idx(path):
    """Read an IDX file, plain or gzipped, into an array.

    Raises: FileNotFoundError if there is no such file; FormatError if it is no IDX file, or has too few or
            too many bytes.
    Source: LeCun, Cortes & Burges, "The MNIST database of handwritten digits", section on file formats.
    """
    return decode_idx(unzipped(Path(path).read_bytes(), path), path)


def write_idx(path, array):
    """Write an array as an IDX file, gzipped if the name ends in .gz; the same array gives the same bytes.

    Raises: DtypeError for a type of number that IDX does not have; OSError if the file cannot be written.
    """
    codes = {np.dtype(kind): code for code, kind in TYPES.items()}
    array = np.asarray(array)
    big_endian = array.dtype.newbyteorder(">")
    if big_endian not in codes:
        names = ", ".join(np.dtype(kind).newbyteorder("=").name for kind in TYPES.values())
        raise DtypeError(f"an IDX file holds {names}; got {array.dtype}. Convert: array.astype('int32')")
    sizes = np.array(array.shape, ">u4")
    data = bytes([0, 0, codes[big_endian], array.ndim]) + sizes.tobytes() + array.astype(big_endian).tobytes()
    atomic_write(path, gzip.compress(data, mtime=0) if os.fspath(path).endswith(".gz") else data)


def unzipped(data, where):
    """The content of a gzipped file's bytes; plain bytes are returned as they are. `where` is for errors."""
    if not data.startswith(GZIP_MAGIC):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as problem:
        raise FormatError(f"{where} is gzipped, but damaged or cut short ({problem}). Get it again") from None


def decode_idx(data, where):
    """The array that an IDX file's bytes describe: a read-only view of them if they need no swapping."""
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in TYPES:
        raise FormatError(f"{where} is no IDX file: such a file begins with two zero bytes and a type, one "
                          f"of {list(TYPES)}; this one begins with {list(data[:4])}")
    kind, n_axes = np.dtype(TYPES[data[2]]), data[3]
    start = 4 + 4 * n_axes
    shape = tuple(int.from_bytes(data[i : i + 4], "big") for i in range(4, start, 4))
    due = start + math.prod(shape) * kind.itemsize
    if len(data) < start or len(data) != due:
        raise FormatError(f"{where} was cut short or changed: its header tells of {kind.name} {shape}, {due} "
                          f"bytes in all; it has {len(data)}. Get it again")
    return np.frombuffer(data, kind, offset=start).reshape(shape).astype(kind.newbyteorder("="), copy=False)

"""One file for everything: a header, named strings of bytes, and a checksum over all of it.

    3 bytes     "µop" as Latin-1 writes it: this is one of ours
    1 byte      version of the layout, 1
    1–3 bytes   varint: the header's length, n
    n bytes     header: JSON [what the caller says, {name of a blob: its length, ...}], deflated
    ...         the blobs, one after the other, nothing between them
    8 bytes     BLAKE2b of every byte before

A model's size in this house is the size of such a file, so the layout itself takes 13 to 15 bytes; the
rest is what the caller says. Nothing is parsed, and no memory is taken for it, before the checksum
has been found right. There is no pickle: reading a file can run nobody's code.

Start here: `write_container` and `read_container`. `atomic_write` is for every other file the house
writes, and `ledger` says where the bytes of a container went.
"""

import contextlib
import hashlib
import json
import os
import zlib

from tinyopt.errors import FormatError

from .bits import read_varint, write_varint

MAGIC = b"\xb5op"
VERSION = 1
CHECKSUM_BYTES = 8
BARE = -15  # zlib's word for Deflate (RFC 1951) without a header and a checksum of its own


def write_container(path, header, blobs):
    """Write a header and named strings of bytes into one file, whole or not at all.

    Shapes: header, what JSON can say (lists come back for tuples, strings for other keys); blobs, a
            dictionary of name -> bytes, or an array, whose bytes are taken in C order.
    Units:  returns the file's size in bytes.
    Raises: ValueError if the header is no JSON; OSError if the file cannot be written.
    """
    blobs = {name: memoryview(blob).tobytes() for name, blob in blobs.items()}
    index = {name: len(blob) for name, blob in blobs.items()}
    try:
        text = json.dumps([header, index], separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        plain = text.encode("utf-8")
    except (TypeError, ValueError) as error:
        raise ValueError(f"a container's header holds only what JSON can say: {error}. "
                         "Convert arrays with .tolist(), or make them blobs.") from error
    deflate = zlib.compressobj(9, zlib.DEFLATED, BARE)
    deflated = deflate.compress(plain) + deflate.flush()
    data = b"".join([MAGIC, bytes([VERSION]), write_varint(len(deflated)), deflated, *blobs.values()])
    data += _checksum(data)
    atomic_write(path, data)
    return len(data)


def read_container(path):
    """Read back what `write_container` wrote: (header, blobs), blobs a dictionary of name -> bytes.

    Raises: FileNotFoundError if there is no such file; FormatError if it is not a container, is of a
            newer version, or if any byte of it is missing, added or changed.
    """
    return _read(path)[:2]


def ledger(path):
    """Say where every byte of a container went.

    Units:  returns [(name, bytes), ...] in file order, the layout's own parts in parentheses; the
            bytes add up to os.path.getsize(path).
    Raises: as `read_container`.
    """
    _, blobs, n_size, n_header = _read(path)
    rows = [("(magic and version)", len(MAGIC) + 1), ("(header length)", n_size), ("(header)", n_header)]
    return [*rows, *((name, len(blob)) for name, blob in blobs.items()), ("(checksum)", CHECKSUM_BYTES)]


def _read(path):
    """Return (header, blobs, bytes of the header's length field, bytes of the header)."""
    data = _checked_bytes(path)
    try:
        n_header, start = read_varint(data, len(MAGIC) + 1)
        header, index = json.loads(zlib.decompress(data[start : start + n_header], wbits=BARE))
        at, blobs = start + n_header, {}
        for name, size in index.items():
            blobs[name] = data[at : at + size]
            at += size
    except (ValueError, TypeError, AttributeError, RecursionError, zlib.error) as error:
        raise FormatError(f"{path}: the checksum is right, but the header cannot be read ({error}); "
                          "another program may have written this file") from error
    if at != len(data) or min(index.values(), default=0) < 0:
        raise FormatError(f"{path}: the header tells of {at} bytes, the file has {len(data)}; "
                          "another program may have written it")
    return header, blobs, start - len(MAGIC) - 1, n_header


def _checked_bytes(path):
    """Return a container's bytes without the checksum, once that has been found right."""
    if os.path.isdir(path):
        raise FormatError(f"{path} is a folder; give the path of one file")
    if not os.path.exists(path):
        raise FileNotFoundError(f"there is no file {path}. Check its spelling; you are in {os.getcwd()}.")
    with open(path, "rb") as file:
        magic = file.read(len(MAGIC))
        if not magic:
            raise FormatError(f"{path} is empty: what should have written it did not finish. Make it again.")
        if not MAGIC.startswith(magic):
            raise FormatError(f"{path} is not a tinyopt file: it begins with {magic!r}, ours with "
                              f"{MAGIC!r}. tinyopt.save writes them.")
        data = magic + file.read()
    body, checksum = data[:-CHECKSUM_BYTES], data[-CHECKSUM_BYTES:]
    if len(body) <= len(MAGIC) or _checksum(body) != checksum:
        raise FormatError(f"{path} is damaged: its {len(data)} bytes do not match their checksum. It was "
                          "cut short or changed after it was written; copy or make it again.")
    version = body[len(MAGIC)]
    if version != VERSION:
        raise FormatError(f"{path} has layout version {version}; this tinyopt reads version {VERSION}. "
                          "Update tinyopt.")
    return body


def _checksum(data):
    return hashlib.blake2b(data, digest_size=CHECKSUM_BYTES).digest()


def atomic_write(path, data):
    """Write a file so that at every moment either the old or the whole new one is there.

    The bytes go to a temporary name in the same folder and down to the disk; then the name is moved,
    which a file system does in one step. A failure on the way leaves no temporary file behind.

    Shapes: data, bytes. Text first: text.encode("utf-8").
    Raises: FileNotFoundError, IsADirectoryError, PermissionError or another OSError, with the reason.
    """
    target = os.path.realpath(path)  # a link stays a link; what it points to is replaced
    folder = os.path.dirname(target)
    if os.path.isdir(target):
        raise IsADirectoryError(f"cannot write {path}: it is a folder. Add a file name.")
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"cannot write {path}: there is no folder {folder}. "
                                "Make it first, or correct the path.")
    temporary = os.path.join(folder, f".tinyopt-{os.urandom(6).hex()}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        raise type(error)(f"cannot write {path}: {error.strerror or error}. "
                          "Choose a folder that you may write to, on a disk with room.") from error
    finally:
        with contextlib.suppress(OSError):  # after os.replace it is gone, as it should be
            os.remove(temporary)

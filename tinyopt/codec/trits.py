"""Numbers of three values, five in a byte: 3⁵ = 243 of a byte's 256 values, 1.6 bits each where log₂ 3 = 1.585 are due.

    trits    2  0  1  1  2        byte   2·81 + 0·27 + 1·9 + 1·3 + 2·1 = 176

Start with `pack_trits`, then `unpack_trits`. Two bits each, as `bits.py` would write them, take a quarter more.
"""

import numpy as np

from tinyopt.errors import DtypeError, FormatError

PLACES = np.array([81, 27, 9, 3, 1], np.uint8)


def pack_trits(values):
    """Write numbers in {0, 1, 2}, five to a byte, the first with the greatest weight.

    Shapes: values, any shape, read in C order -> uint8 (⌈size / 5⌉,); the last byte is filled up with 0.
    Raises: ValueError if a number is none of the three; DtypeError if they are no integers.
    """
    values = np.asarray(values)
    if values.size and values.dtype.kind not in "bui":
        raise DtypeError(f"pack_trits writes whole numbers; got {values.dtype}")
    if values.size and not 0 <= int(values.min()) <= int(values.max()) <= 2:
        raise ValueError(f"a trit is 0, 1 or 2; got {values.min()}..{values.max()}. Write t + 1 for t in −1, 0, 1")
    trits = np.zeros((-(-values.size // 5), 5), np.uint8)
    trits.reshape(-1)[: values.size] = values.reshape(-1)
    return (trits * PLACES).sum(axis=1, dtype=np.uint8)


def unpack_trits(packed, count):
    """Read back `count` numbers: the inverse of `pack_trits`.

    Shapes: packed, bytes or uint8 (⌈count / 5⌉,) -> uint8 (count,).
    Raises: FormatError for more or fewer bytes, or a byte above 242, which is none of ours.
    """
    packed = np.frombuffer(packed, np.uint8)
    if packed.size != -(-count // 5):
        raise FormatError(f"{count} numbers of three values take {-(-count // 5)} bytes; got {packed.size}")
    if packed.size and packed.max() > 242:
        raise FormatError(f"five numbers of three values make a byte up to 242; got {packed.max()}: it is damaged")
    return (packed[:, None] // PLACES % 3).reshape(-1)[:count]

"""How a file holds binary and ternary weights: 1 bit each, or five in a byte, and their scales.

Start with `Signs.pack`; the protocol is that of `storage.storage`, trits are those of `codec/trits.py`.
"""

import math

import numpy as np

from tinyopt import backend, codec
from tinyopt.codec.trits import pack_trits, unpack_trits
from tinyopt.nn.low_bit import Binary, Ternary
from tinyopt.storage.registry import n_stored, plain, read_numbers, spread, storage, survivors


@storage("binary")
class Signs:
    """One bit for the sign of each number, and the scales."""

    view = Binary

    @staticmethod
    def pack(parameter, view, keep, coding):
        view = view.map(backend.to_host)
        positive, _ = view.planes(backend.to_host(parameter.data))
        settings, scales = _pack_scales(view, ("scale",))
        bits, how = _coded(np.packbits(survivors(positive, keep)), coding)
        return {**settings, **how, "limit": view.limit, "share": view.share}, {**scales, "signs": bits}

    @staticmethod
    def unpack(settings, parts, shape, keep):
        n = n_stored(shape, keep)
        (scale,) = _unpack_scales(settings, parts, ("scale",))
        bits = codec.unpack_bits(_decoded(parts["signs"], settings), 1, n)
        signs = spread(bits.astype(scale.dtype) * 2 - 1, shape, keep)
        return signs * np.where(scale > 0, scale, 1), Binary(scale, settings["limit"], settings["share"])


@storage("ternary")
class Trits:
    """A number in −1, 0, 1 for each weight, five in a byte; the threshold, and the two values.

    What is read back lies beyond the threshold where it was, so that training can go on.
    """

    view = Ternary

    @staticmethod
    def pack(parameter, view, keep, coding):
        view = view.map(backend.to_host)
        above, below = view.planes(backend.to_host(parameter.data))
        names = Ternary.fields[: 2 if np.array_equal(view.positive, view.negative) else 3]
        settings, scales = _pack_scales(view, names)
        trits, how = _coded(pack_trits(survivors(above + np.uint8(1) - below, keep)), coding)
        return {**settings, **how}, {**scales, "trits": trits}

    @staticmethod
    def unpack(settings, parts, shape, keep):
        names = [name for name in Ternary.fields if name in settings]
        threshold, *values = _unpack_scales(settings, parts, names)
        positive, negative = values[0], values[-1]
        trits = unpack_trits(_decoded(parts["trits"], settings), n_stored(shape, keep))
        trits = spread(trits.astype(positive.dtype) - 1, shape, keep)
        beyond = [np.where(value > threshold, value, 2 * threshold + 1) for value in (positive, negative)]
        return trits * np.where(trits > 0, *beyond), Ternary(threshold, positive, negative)


def _pack_scales(view, names):
    """Fields of a view: their shapes and type for the header, and their bytes."""
    arrays = {name: getattr(view, name) for name in names}
    settings = {name: list(array.shape) for name, array in arrays.items()}
    dtype = plain(arrays[names[-1]]).dtype.str
    settings |= {} if dtype == "<f4" else {"dtype": dtype}
    return settings, {name: plain(array).tobytes() for name, array in arrays.items()}


def _unpack_scales(settings, parts, names):
    dtype = settings.get("dtype", "<f4")
    return [read_numbers(parts[n], dtype, math.prod(settings[n])).reshape(tuple(settings[n])) for n in names]


def _coded(packed, coding):
    """Bytes, or their Huffman code if that is asked for and shorter; and what the header says of it."""
    coded = codec.huffman_encode(packed) if coding == "huffman" else b""
    return (coded, {"huffman": 1}) if 0 < len(coded) < packed.size else (packed.tobytes(), {})


def _decoded(data, settings):
    return codec.huffman_decode(data).astype(np.uint8).tobytes() if "huffman" in settings else data

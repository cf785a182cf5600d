"""How a file holds weights in a small float format: codes of b bits, side by side, and their scales.

Start with `Formats.pack`; the protocol is that of `storage.storage`, the codes are those of `codec/floats.py`.
"""

import math

import numpy as np

from tinyopt import backend, codec
from tinyopt.codec.floats import decode, named, rescale, to_codes
from tinyopt.nn.formats import Format
from tinyopt.storage.registry import n_stored, plain, read_numbers, spread, storage, survivors


@storage("format")
class Formats:
    """A code of the format for each number, and the scales, unless it is a single 1."""

    view = Format

    @staticmethod
    def pack(parameter, view, keep, coding):
        data, scale = backend.to_host(parameter.data), backend.to_host(view.scale)
        codes = survivors(to_codes(data, scale, view.format), keep)
        settings, parts = {"format": view.format, "scale": list(scale.shape)}, {}
        settings |= {"dtype": plain(scale).dtype.str} if scale.dtype != np.float32 else {}
        if scale.shape != () or scale != 1:
            parts["scale"] = plain(scale).tobytes()
        packed = codec.pack_bits(codes, named(view.format).bits).tobytes()
        coded = codec.huffman_encode(codes) if coding == "huffman" else packed
        if len(coded) < len(packed):
            return {**settings, "huffman": 1}, {**parts, "codes": coded}
        return settings, {**parts, "codes": packed}

    @staticmethod
    def unpack(settings, parts, shape, keep):
        n, f = n_stored(shape, keep), named(settings["format"])
        codes = codec.huffman_decode(parts["codes"]) if "huffman" in settings else \
            codec.unpack_bits(parts["codes"], f.bits, n)  # fmt: skip
        scale_shape, dtype = tuple(settings["scale"]), settings.get("dtype", "<f4")
        scale = np.ones((), np.dtype(dtype).newbyteorder("="))
        if "scale" in parts:
            scale = read_numbers(parts["scale"], dtype, math.prod(scale_shape)).reshape(scale_shape)
        numbers = spread(decode(codes, f.name), shape, keep)  # where nothing is stored: 0, not code 0
        return rescale(numbers, scale), Format(scale, f.name)

"""The kinds of storage that weights had first: plain numbers, survivors of a mask, integers, codebook labels.

Start with `Dense`, then `Sparse`: under a mask, the survivors are stored by whichever kind lies below.
"""

import math

import numpy as np

from tinyopt import backend, codec, nn
from tinyopt.storage.registry import STORAGE, n_stored, plain, read_numbers, spread, storage, survivors
from tinyopt.tensor import Tensor


@storage("dense")
class Dense:
    """The numbers themselves, little-endian, in C order; under a mask, only the survivors."""

    view = None

    @staticmethod
    def pack(parameter, view, keep, coding):
        values = plain(backend.to_host(parameter.data))
        settings = {} if values.dtype == np.float32 else {"dtype": values.dtype.str}
        return settings, {"values": survivors(values, keep).tobytes()}

    @staticmethod
    def unpack(settings, parts, shape, keep):
        values = read_numbers(parts["values"], settings.get("dtype", "<f4"), n_stored(shape, keep))
        return spread(values, shape, keep), None


STORAGE["factors"] = Dense  # the same bytes; the name says that the matrix is half of a product


@storage("sparse")
class Sparse:
    """Which numbers are kept; their values are stored by the kind below."""

    view = nn.Mask

    @staticmethod
    def pack(parameter, view, keep, coding):
        positions = np.flatnonzero(backend.to_host(view.keep))
        layouts = ["bitmap", "gaps"] if coding == "packed" else ["bitmap", "gaps", "huffman"]
        ways = [codec.encode_positions(positions, view.keep.size, layout=layout) for layout in layouts]
        return {}, {"positions": min(ways, key=len)}

    @staticmethod
    def unpack(settings, parts, shape, keep):
        positions = codec.decode_positions(parts["positions"], math.prod(shape))
        keep = np.zeros(math.prod(shape), bool)
        keep[positions] = True
        return None, nn.Mask(keep.reshape(shape))


@storage("integers")
class Integers:
    """Integers of b bits, and the scale (and zero point, unless all are 0) of each channel or group."""

    view = nn.Quantize

    @staticmethod
    def pack(parameter, view, keep, coding):
        view = view.map(backend.to_host)
        scale, zero = view.scale, view.zero_point
        y = view(Tensor(backend.to_host(parameter.data))).data  # what layers read, so the integers are those they use
        q = np.rint(y.reshape(view.rows(y.shape)) / scale + zero).astype(np.int64)
        q = survivors(q, keep) - view.low  # from 0 up
        settings = {"bits": view.bits, "low": view.low, "high": view.high, "scale": list(scale.shape)}
        settings |= {"dtype": plain(scale).dtype.str} if scale.dtype != np.float32 else {}
        how, zeros = _pack_zero(zero, view)
        settings, parts = {**settings, **how}, {"scale": plain(scale).tobytes(), **zeros}
        packed = codec.pack_bits(q, view.bits).tobytes()
        coded = codec.huffman_encode(q) if coding == "huffman" else packed
        if len(coded) < len(packed):
            return {**settings, "huffman": 1}, {**parts, "integers": coded}
        return settings, {**parts, "integers": packed}

    @staticmethod
    def unpack(settings, parts, shape, keep):
        n = n_stored(shape, keep)
        if "huffman" in settings:
            q = codec.huffman_decode(parts["integers"])
        else:
            q = codec.unpack_bits(parts["integers"], settings["bits"], n)
        scale_shape = tuple(settings["scale"])
        scale = read_numbers(parts["scale"], settings.get("dtype", "<f4"), math.prod(scale_shape)).reshape(scale_shape)
        zero = _unpack_zero(settings, parts, scale)
        view = nn.Quantize(scale, zero, settings["bits"], settings["low"], settings["high"])
        q = spread(q.astype(np.int64) + settings["low"], shape, keep)
        steps = (q.reshape(view.rows(shape)) - zero).astype(scale.dtype)
        return (steps * scale).reshape(shape), view


def _pack_zero(zero, view):
    """Zero points: a number in the header if all are alike, else b bits each; floats if they are none (at 1 bit)."""
    if (zero == zero.flat[0]).all():
        return ({"zero_point": float(zero.flat[0])} if zero.any() else {}), {}
    if (zero == np.rint(zero)).all() and view.low <= zero.min() <= zero.max() <= view.high:
        packed = codec.pack_bits(zero.astype(np.int64) - view.low, view.bits)
        return {"zero_point": "packed"}, {"zero_point": packed.tobytes()}
    return {"zero_point": "floats"}, {"zero_point": plain(zero).tobytes()}


def _unpack_zero(settings, parts, scale):
    """The inverse of `_pack_zero`; a file of tinyopt's first version says nothing and has int32."""
    how = settings.get("zero_point", "int32" if "zero_point" in parts else 0)
    if how == "packed":
        zero = codec.unpack_bits(parts["zero_point"], settings["bits"], scale.size).astype(np.int64) + settings["low"]
    elif how in ("floats", "int32"):
        zero = read_numbers(parts["zero_point"], "<i4" if how == "int32" else plain(scale).dtype.str, scale.size)
    else:
        zero = np.full(scale.size, how)
    return zero.astype(scale.dtype).reshape(scale.shape)


@storage("codebook")
class Shared:
    """The centroids, and a label for each number; under a mask, only the survivors' labels."""

    view = nn.Codebook

    @staticmethod
    def pack(parameter, view, keep, coding):
        labels = survivors(backend.to_host(view.labels), keep)
        how = "packed" if coding == "packed" else "auto"
        return {}, {"codebook": codec.encode_codebook(labels, backend.to_host(parameter.data), coding=how)}

    @staticmethod
    def unpack(settings, parts, shape, keep):
        labels, centroids = codec.decode_codebook(parts["codebook"], n_stored(shape, keep))
        smallest = np.min_scalar_type(max(0, len(centroids) - 1))
        return centroids, nn.Codebook(spread(labels.astype(smallest), shape, keep))

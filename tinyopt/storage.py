"""A parameter to bytes and back: one kind of storage after the other, from its top view to the bottom.

Start with `Dense`, then `Sparse`: under a mask, the survivors are stored by whichever kind lies below.
What a kind must offer is in the docstring of `storage`, which registers it by name.
"""

import math

import numpy as np

from tinyopt import backend, codec, nn
from tinyopt.errors import FormatError

STORAGE = {}  # name of a kind -> its class; `@storage("name")` adds one


def storage(name):
    """Register a kind: a class with `view` (its class, or None), `pack` and `unpack`.

        pack(parameter, view, keep, coding) -> settings for the header, {part: bytes}
        unpack(settings, parts, shape, keep) -> data, or None if a kind below holds them; the view, or None

    Shapes: keep, Booleans (n,) in C order, True for the numbers to store, or None for all; `shape`, the weight's.
    """

    def register(kind):
        STORAGE[name] = kind
        return kind

    return register


def pack(parameter, plain_kind, coding):
    """The kinds of a parameter's views, top to bottom, each with its settings; and all their bytes."""
    keep, stack, parts = None, [], {}
    views = {type(view): view for view in parameter.views}
    names = [name for view in reversed(parameter.views) for name, kind in STORAGE.items() if kind.view is type(view)]
    if len(names) < len(views):
        raise ValueError(f"no storage kind is registered for all of {', '.join(v.__name__ for v in views)}")
    if all(name == "sparse" for name in names):
        names.append(plain_kind)  # nothing below stores the numbers themselves
    for name in names:
        kind = STORAGE[name]
        settings, more = kind.pack(parameter, views.get(kind.view), keep, coding)
        stack.append([name, settings])
        parts.update(more)
        keep = backend.to_host(views[kind.view].keep).reshape(-1) if name == "sparse" else keep
    return stack, parts


def unpack(stack, parts, shape):
    """The inverse of `pack`: (data, [view, ...])."""
    data, views, keep = None, [], None
    for name, settings in stack:
        if name not in STORAGE:
            raise FormatError(f"the file stores a weight as {name!r}, which this tinyopt does not know. Update tinyopt")
        data, view = STORAGE[name].unpack(settings, parts, shape, keep)
        keep = view.keep.reshape(-1) if name == "sparse" else keep
        views += [view] if view is not None else []
    return data, views


@storage("dense")
class Dense:
    """The numbers themselves, little-endian, in C order; under a mask, only the survivors."""

    view = None

    @staticmethod
    def pack(parameter, view, keep, coding):
        values = plain(backend.to_host(parameter.data))
        settings = {} if values.dtype == np.float32 else {"dtype": values.dtype.str}
        return settings, {"values": _survivors(values, keep).tobytes()}

    @staticmethod
    def unpack(settings, parts, shape, keep):
        values = _array(parts["values"], settings.get("dtype", "<f4"), _n_stored(shape, keep))
        return _spread(values, shape, keep), None


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
    """Integers of b bits, and the scale (and zero point, unless all are 0) of each channel."""

    view = nn.Quantize

    @staticmethod
    def pack(parameter, view, keep, coding):
        scale, zero = backend.to_host(view.scale), backend.to_host(view.zero_point)
        q = np.clip(np.rint(backend.to_host(parameter.data) / scale) + zero, view.low, view.high).astype(np.int64)
        q = _survivors(q, keep) - view.low  # from 0 up
        settings = {"bits": view.bits, "low": view.low, "high": view.high, "scale": list(scale.shape)}
        parts = {"scale": plain(scale).tobytes()}
        if zero.any():
            parts["zero_point"] = zero.astype("<i4").tobytes()
        settings |= {"dtype": plain(scale).dtype.str} if scale.dtype != np.float32 else {}
        packed = codec.pack_bits(q, view.bits).tobytes()
        coded = codec.huffman_encode(q) if coding == "huffman" else packed
        if len(coded) < len(packed):
            return {**settings, "huffman": 1}, {**parts, "integers": coded}
        return settings, {**parts, "integers": packed}

    @staticmethod
    def unpack(settings, parts, shape, keep):
        n = _n_stored(shape, keep)
        if "huffman" in settings:
            q = codec.huffman_decode(parts["integers"])
        else:
            q = codec.unpack_bits(parts["integers"], settings["bits"], n)
        scale_shape = tuple(settings["scale"])
        scale = _array(parts["scale"], settings.get("dtype", "<f4"), math.prod(scale_shape)).reshape(scale_shape)
        zero = np.zeros(scale_shape, np.int32)
        if "zero_point" in parts:
            zero = _array(parts["zero_point"], "<i4", zero.size).reshape(scale_shape)
        q = q.astype(np.int64) + settings["low"]
        steps = _spread(q, shape, keep) - zero
        view = nn.Quantize(scale, zero.astype(scale.dtype), settings["bits"], settings["low"], settings["high"])
        return steps.astype(scale.dtype) * scale, view


@storage("codebook")
class Shared:
    """The centroids, and a label for each number; under a mask, only the survivors' labels."""

    view = nn.Codebook

    @staticmethod
    def pack(parameter, view, keep, coding):
        labels = _survivors(backend.to_host(view.labels), keep)
        how = "packed" if coding == "packed" else "auto"
        return {}, {"codebook": codec.encode_codebook(labels, backend.to_host(parameter.data), coding=how)}

    @staticmethod
    def unpack(settings, parts, shape, keep):
        labels, centroids = codec.decode_codebook(parts["codebook"], _n_stored(shape, keep))
        smallest = np.min_scalar_type(max(0, len(centroids) - 1))
        return centroids, nn.Codebook(_spread(labels.astype(smallest), shape, keep))


def plain(array):
    """The same numbers, little-endian."""
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def _array(data, dtype, count):
    """`count` numbers from bytes, in this machine's byte order."""
    if len(data) != count * np.dtype(dtype).itemsize:
        raise FormatError(f"{count} numbers of {dtype} are due; got {len(data)} bytes: the file fits another model")
    return np.frombuffer(data, dtype).astype(np.dtype(dtype).newbyteorder("="))


def _survivors(values, keep):
    return values.reshape(-1) if keep is None else values.reshape(-1)[keep]


def _n_stored(shape, keep):
    return math.prod(shape) if keep is None else int(keep.sum())


def _spread(values, shape, keep):
    """Survivors back to their places; the others are 0."""
    if keep is None:
        return values.reshape(shape)
    whole = np.zeros(math.prod(shape), values.dtype)
    whole[keep] = values
    return whole.reshape(shape)

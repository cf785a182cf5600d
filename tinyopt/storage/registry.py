"""A parameter to bytes and back: one kind of storage after the other, from its top view to the bottom.

Start with `pack`. What a kind must offer is in the docstring of `storage`, which registers it by name; the kinds
themselves are in the files beside this one: `kinds.py` (dense, sparse, integers, codebook), `formats.py`, `low_bit.py`.
"""

import math

import numpy as np

from tinyopt import backend
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


def plain(array):
    """The same numbers, little-endian."""
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def read_numbers(data, dtype, count):
    """`count` numbers from bytes, in this machine's byte order."""
    if len(data) != count * np.dtype(dtype).itemsize:
        raise FormatError(f"{count} numbers of {dtype} are due; got {len(data)} bytes: the file fits another model")
    return np.frombuffer(data, dtype).astype(np.dtype(dtype).newbyteorder("="))


def survivors(values, keep):
    """The numbers that a mask keeps, in a row; all of them without a mask."""
    return values.reshape(-1) if keep is None else values.reshape(-1)[keep]


def n_stored(shape, keep):
    """How many numbers a file holds."""
    return math.prod(shape) if keep is None else int(keep.sum())


def spread(values, shape, keep):
    """Survivors back to their places; the others are 0."""
    if keep is None:
        return values.reshape(shape)
    whole = np.zeros(math.prod(shape), values.dtype)
    whole[keep] = values
    return whole.reshape(shape)

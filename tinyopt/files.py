"""A model to one file and back: each weight is stored as its views say.

    weight's views           what the file holds
    none                     dense: 4 bytes a number          (factors: the same, of thin matrices)
    Mask                     sparse: positions, then the survivors by one of the other kinds
    Quantize                 integers: b bits a number, a scale for each channel
    Codebook                 codebook: the centroids, and a label for each number

Start with `save` and `load`, then any class under `STORAGE`. The size of a model is the size of this
file, `os.path.getsize(path)`; `ledger` says which tensor took which bytes, and they add up to it. The
file holds no code: a model made of tinyopt's own layers is rebuilt from their names and arguments.
"""

import math

import numpy as np

from tinyopt import backend, codec, nn
from tinyopt.errors import FormatError

STORAGE = {}  # name of a kind -> its class; `@storage("name")` adds one


def save(model, path, *, coding="packed", notes=None):
    """Write a model into one file, atomically.

    coding="packed" gives every integer, label and gap the same number of bits; "huffman" gives
    frequent ones fewer.

    Units:  returns the file's size in bytes.
    Raises: TypeError for what is no model; ValueError for an unknown coding; OSError if it cannot be written.
    Source: Han, Mao & Dally (2016), "Deep Compression", arXiv:1510.00149 (prune, share, code).
    """
    if coding not in ("packed", "huffman"):
        raise ValueError(f"coding is 'packed' or 'huffman'; got {coding!r}")
    _check_model("save(model, path)", model)
    kinds = {name: "factors" for path_, m in model.named_modules() if isinstance(m, nn.LowRankLinear)
             for name in (f"{path_}.down", f"{path_}.up")}  # fmt: skip
    tensors, blobs = {}, {}
    for name, parameter in model.named_parameters():
        stack, parts = _pack(parameter, kinds.get(name, "dense"), coding)
        tensors[name] = [list(parameter.shape), stack]
        blobs.update({f"{name}/{part}": data for part, data in parts.items()})
    for name, array in model.named_buffers():
        array = backend.to_host(array)
        tensors[name] = [list(array.shape), [["dense", {"dtype": _plain(array).dtype.str}]]]
        blobs[f"{name}/values"] = _plain(array).tobytes()
    header = {"model": _describe(model), "tensors": tensors, **({"notes": notes} if notes else {})}
    return codec.write_container(path, header, blobs)


def load(path, into=None, device="cpu"):
    """Read a model back, in eval mode. In the same process or another, it computes the same numbers.

    A model of your own classes cannot be rebuilt from a file without code: pass an instance, and its
    weights and views are replaced: `load(path, into=MyNet())`. If layers of it were replaced before it was
    saved (low rank), replace them in the instance first.

    Raises: FileNotFoundError; FormatError for a damaged, foreign, newer or other model's file; TypeError for no model.
    """
    if into is not None:
        _check_model("load(path, into=model)", into)
    header, blobs = codec.read_container(path)
    if "model" not in header or "tensors" not in header:
        raise FormatError(f"{path} holds no model: it may be a checkpoint of train.fit, which resumes from it")
    tree = header["model"]
    if into is None and len(tree) == 1:
        raise FormatError(f"{path} holds a {tree[0]}, which is not tinyopt's own: load(path, into={tree[0]}(...))")
    model = _build(tree) if into is None else into
    _fill(model, header["tensors"], blobs, path)
    return model.to(device).eval()


def _check_model(call, model):
    if not isinstance(model, nn.Module):
        hint = f". Make one: {model.__name__}()" if isinstance(model, type) else ""
        raise TypeError(f"{call} takes a model, an nn.Module; got {model!r}{hint}")


def notes(path):
    """What `save(notes=...)` was given, or {}."""
    return codec.read_container(path)[0].get("notes", {})


def ledger(path):
    """Where every byte of a model file went: [(tensor, kind, part, bytes), ...], which add up to its size.

    The layout's own bytes have the kind "file".
    """
    tensors = codec.read_container(path)[0].get("tensors", {})
    rows = []
    for blob, n_bytes in codec.ledger(path):
        name, slash, part = blob.rpartition("/")
        kind = "+".join(kind for kind, _ in tensors[name][1]) if slash and name in tensors else "file"
        rows.append((name, kind, part, n_bytes) if kind != "file" else (blob, kind, "", n_bytes))
    return rows


# --- a model to its description and back ------------------------------------------------------------


def _describe(module):
    """[class, constructor's arguments, {name: child}], or [class] alone for a class of the user's."""
    if nn.LAYERS.get(type(module).__name__) is not type(module):
        return [type(module).__name__]
    children = {name: _describe(child) for name, child in module.named_children()}
    if any(len(child) == 1 for child in children.values()):
        return [f"{type(module).__name__} with parts of your own"]
    return [type(module).__name__, module.config(), children]


def _build(tree):
    kind, config, children = tree
    if kind not in nn.LAYERS:
        raise FormatError(f"the file holds a layer {kind!r}, which this tinyopt does not know. Update tinyopt")
    inner = [(name, child) for name, child in children.items() if (kind, name) != ("Residual", "add")]  # makes its own
    children = {name: _build(child) for name, child in inner}
    return nn.LAYERS[kind](**{k: tuple(v) if isinstance(v, list) else v for k, v in config.items()}, **children)


def _fill(model, tensors, blobs, path):
    """Put each stored tensor into the model, once all are read; a failure leaves the model as it was."""
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    missing = [name for name in (*parameters, *buffers) if name not in tensors]
    unexpected = [name for name in tensors if name not in parameters and name not in buffers]
    if missing or unexpected:
        raise FormatError(
            f"{path} does not fit this {type(model).__name__}: the file lacks {', '.join(missing) or 'nothing'} "
            f"and holds besides {', '.join(unexpected) or 'nothing'}. If layers were replaced or shared before it was "
            "saved, do the same to a model first and pass it: load(path, into=model)"
        )
    state = {}
    for name, (shape, stack) in tensors.items():
        due = parameters[name].shape if name in parameters else buffers[name].shape
        if tuple(shape) != due:
            raise FormatError(f"{path} does not fit this {type(model).__name__}: {name} is {tuple(shape)}, should be {due}")
        parts = {key[len(name) + 1 :]: data for key, data in blobs.items() if key.rpartition("/")[0] == name}
        data, views = _unpack(stack, parts, tuple(shape))
        state[name] = data
        for view in views:
            state.update({f"{name}.views.{type(view).__name__.lower()}.{f}": getattr(view, f) for f in view.fields})
            state.update({f"{name}.views.{type(view).__name__.lower()}.{f}": np.array(getattr(view, f)) for f in view.settings})
    floats = {state[name].dtype for name in parameters}
    if len(floats) == 1:
        model.astype(floats.pop())
    model.load_state_dict(state)


# --- a parameter to bytes and back: one kind after the other, from the top view to the bottom ---------


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


def _pack(parameter, plain_kind, coding):
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


def _unpack(stack, parts, shape):
    """The inverse of `_pack`: (data, [view, ...])."""
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
        values = _plain(backend.to_host(parameter.data))
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
        return {}, {"positions": min((codec.encode_positions(positions, view.keep.size, layout=l) for l in layouts), key=len)}

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
        parts = {"scale": _plain(scale).tobytes()}
        if zero.any():
            parts["zero_point"] = zero.astype("<i4").tobytes()
        settings |= {"dtype": _plain(scale).dtype.str} if scale.dtype != np.float32 else {}
        packed, coded = codec.pack_bits(q, view.bits).tobytes(), codec.huffman_encode(q) if coding == "huffman" else None
        if coded is not None and len(coded) < len(packed):
            return {**settings, "huffman": 1}, {**parts, "integers": coded}
        return settings, {**parts, "integers": packed}

    @staticmethod
    def unpack(settings, parts, shape, keep):
        n = _n_stored(shape, keep)
        q = codec.huffman_decode(parts["integers"]) if "huffman" in settings else codec.unpack_bits(parts["integers"], settings["bits"], n)
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


def _plain(array):
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

"""A model to one file and back: each weight is stored as its views say.

    weight's views           what the file holds
    none                     dense: 4 bytes a number          (factors: the same, of thin matrices)
    Mask                     sparse: positions, then the survivors by one of the other kinds
    Quantize                 integers: b bits a number, a scale for each channel or group
    Codebook                 codebook: the centroids, and a label for each number
    Format                   format: a small float's code for each number, and scales
    Binary                   binary: 1 bit a number, and scales
    Hashed                   hashed: the shared values and a seed; labels are computed, never stored
    Ternary                  ternary: 1.6 bits a number, five in a byte, and scales
    GroupedCodebook          codebooks: one for each band of rows, and a label for each number

A parameter that stands at several places (`compress.tied`) is stored once, under its first name; the file says which
other names it has, and `load` makes one parameter of them again.

Start with `save` and `load`; each kind of storage is a class in `storage/`. The size of a model is the size of this
file, `os.path.getsize(path)`; `ledger` says which tensor took which bytes, and they add up to it. The
file holds no code: a model made of tinyopt's own layers is rebuilt from their names and arguments.
"""

import numpy as np

from tinyopt import backend, codec, nn
from tinyopt.errors import FormatError
from tinyopt.nn.tied import places, tied_names
from tinyopt.storage import pack, plain, unpack


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
        stack, parts = pack(parameter, kinds.get(name, "dense"), coding)
        tensors[name] = [list(parameter.shape), stack]
        blobs.update({f"{name}/{part}": data for part, data in parts.items()})
    for name, array in model.named_buffers():
        array = backend.to_host(array)
        tensors[name] = [list(array.shape), [["dense", {"dtype": plain(array).dtype.str}]]]
        blobs[f"{name}/values"] = plain(array).tobytes()
    tied = tied_names(model)
    more = {"tied": tied} if tied else {}
    header = {"model": _describe(model), "tensors": tensors, **more, **({"notes": notes} if notes else {})}
    return codec.write_container(path, header, blobs)


def load(path, into=None, device="cpu"):
    """Read a model back, in eval mode. In the same process or another, it computes the same numbers.

    A model of your own classes cannot be rebuilt from a file without code: pass an instance, and its
    weights and views are replaced: `load(path, into=MyNet())`. If layers of it were replaced before it was
    saved (low rank), replace them in the instance first. Weights that were tied are tied in it.

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
    before = _tie(model, header.get("tied", {}), path)
    try:
        _fill(model, header["tensors"], blobs, path)
    except Exception:
        for module, attribute, parameter in before:
            setattr(module, attribute, parameter)
        raise
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
    children = {name: _build(child) for name, child in children.items()}
    add = {"add": children.pop("add")} if kind == "Residual" else {}  # it makes its own, which may have been replaced
    layer = nn.LAYERS[kind](**{k: tuple(v) if isinstance(v, list) else v for k, v in config.items()}, **children)
    vars(layer).update(add)
    return layer


def _tie(model, tied, path):
    """Let places have one parameter that had one when the file was written: {name: first name}.

    Returns what stood there: [(module, attribute, parameter), ...], to go back to if the file does not fit.
    """
    known, changed = places(model), []
    for name, first in tied.items():
        if name not in known or first not in known or known[name][2].shape != known[first][2].shape:
            raise FormatError(
                f"{path} does not fit this {type(model).__name__}: in the file, {name} and {first} are one parameter, "
                "and here they are not two of one shape"
            )
        changed.append(known[name])
    for (module, attribute, _), first in zip(changed, tied.values()):
        setattr(module, attribute, known[first][2])
    return changed


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
            raise FormatError(
                f"{path} does not fit this {type(model).__name__}: {name} is {tuple(shape)}, should be {due}"
            )
        parts = {key[len(name) + 1 :]: data for key, data in blobs.items() if key.rpartition("/")[0] == name}
        data, views = unpack(stack, parts, tuple(shape))
        state[name] = data
        for view in views:
            state.update({f"{name}.views.{type(view).__name__.lower()}.{f}": getattr(view, f) for f in view.fields})
            state.update(
                {f"{name}.views.{type(view).__name__.lower()}.{f}": np.array(getattr(view, f)) for f in view.settings}
            )
    floats = {state[name].dtype for name in parameters}
    if len(floats) == 1:
        model.astype(floats.pop())
    model.load_state_dict(state)

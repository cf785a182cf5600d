"""A stand-in for a CuPy array, on machines without a GPU: stricter than CuPy, and never silent.

`StandInArray` holds a hidden NumPy array, is no subclass of `np.ndarray`, and answers NumPy's two
protocols as CuPy 14 does (`cupy/_core/core.pyx`): a function runs only if CuPy has one of its name,
and only on stand-ins and scalars. What CuPy does without a word is refused here (uploading an index,
iterating) or counted (`float()`, `bool()`, printing). So code that runs on it runs on CuPy, and
`transfers` says how often it would have waited for the device.

Differs from CuPy: also refused are 0-d host arrays in comparisons, lists as indices and `where=` of a
ufunc. An integer index array that is out of range wraps round, as in CuPy. Not imitated: the order in
which a GPU adds, and CuPy's undefined result where an assignment names one place twice.
"""

import collections
import types

import numpy as np
import pytest
from cupy_rules import (
    ARRAYS_ONLY, ATOMIC_TYPES, CUPY_NAMES, FACTS, METHODS, NEVER_DISPATCHED, NUMPY_ONLY, PRINTING,
    UFUNC_KEYWORDS, UFUNC_METHODS,
)  # fmt: skip

from tinyopt import backend

SCALARS = (bool, int, float, complex, np.generic)


class Transfers:
    """How many arrays were moved explicitly since `reset()`."""

    def __init__(self):
        self.reset()

    def reset(self):
        self.to_host = self.to_device = 0


transfers = Transfers()


class StandInArray(np.lib.mixins.NDArrayOperatorsMixin):
    """An array on an imagined device. The mixin's operators call ufuncs, and these `__array_ufunc__`."""

    __slots__ = ("_hidden",)
    __hash__ = None

    def __init__(self, hidden):
        self._hidden = hidden

    # --- facts, which cost no transfer ---

    T = property(lambda self: StandInArray(self._hidden.T))
    mT = property(lambda self: StandInArray(self._hidden.mT))

    @property
    def flags(self):
        known = self._hidden.flags
        return types.SimpleNamespace(
            **{n: getattr(known, n) for n in ("c_contiguous", "f_contiguous", "owndata")}
        )

    def __len__(self):
        return len(self._hidden)

    # --- to the host: counted, or refused ---

    def get(self):
        transfers.to_host += 1
        return self._hidden.copy()

    item = lambda self: self.get().item()
    tolist = lambda self: self.get().tolist()
    __bool__ = lambda self: bool(self.get())
    __int__ = lambda self: int(self.get())
    __float__ = lambda self: float(self.get())
    __complex__ = lambda self: complex(self.get())
    __repr__ = lambda self: f"StandInArray({self.get()!r})"
    __reduce__ = lambda self: (StandInArray, (self.get(),))

    def __array__(self, dtype=None, copy=None):
        raise TypeError("an implicit conversion of a device array to NumPy: call backend.to_host")

    def __iter__(self):
        raise TypeError(
            "iterating over a device array starts one kernel for each entry: use whole-array operations"
        )

    # --- on the device ---

    def __copy__(self):
        return self.copy()

    def __deepcopy__(self, memo):
        return self.copy()

    def __getitem__(self, index):
        return StandInArray(self._hidden[_index(self._hidden, index)])

    def __setitem__(self, index, value):
        self._hidden[_index(self._hidden, index)] = _operand(value, "assignment")

    def __array_ufunc__(self, ufunc, method, *inputs, **settings):
        name, out = ufunc.__name__, settings.pop("out", None)
        if (
            name not in CUPY_NAMES
            or method not in ("__call__", "outer")
            and name not in UFUNC_METHODS[method]
        ):
            raise TypeError(f"CuPy has no {name}{'' if method == '__call__' else '.' + method}")
        _only(settings, UFUNC_KEYWORDS, name)
        if method == "at":
            array, index, *values = inputs
            hidden, values = _operand(array, name), [_operand(value, name) for value in values]
            if hidden.dtype not in ATOMIC_TYPES:
                raise TypeError(f"CuPy's {name}.at takes {', '.join(ATOMIC_TYPES)}; got {hidden.dtype}")
            return ufunc.at(hidden, _index(hidden, index), *values)
        if out is not None:
            if len(out) != 1 or not isinstance(out[0], StandInArray):
                raise TypeError(f"out= of {name} on the device must be one device array")
            settings["out"] = out[0]._hidden
        result = getattr(ufunc, method)(*(_operand(value, name) for value in inputs), **settings)
        return _wrapped(result) if out is None else out[0]

    def __array_function__(self, function, its_types, args, settings):
        module = function.__module__.partition("numpy")[2].lstrip(".")
        name, path = function.__name__, f"{module}.{function.__name__}".lstrip(".")
        if path not in CUPY_NAMES:
            raise TypeError(f"CuPy has no {path}")
        if name in NEVER_DISPATCHED or name in PRINTING or not _any_device_array((args, settings)):
            raise TypeError(f"np.{name} with like=, or printing or saving: moves arrays without a word")
        _only(NUMPY_ONLY.intersection(settings), {"where"} if name == "copyto" else (), name)
        if settings.get("shape") == ():
            raise TypeError(f"CuPy's {name} reads shape=() as no shape: write x.sum() * 0")
        first = args[0] if name in ARRAYS_ONLY else args[:1] if name == "where" else ()
        if not all(isinstance(array, StandInArray) for array in first):
            raise TypeError(f"CuPy's {name} takes arrays only, also as a condition")
        args, settings = _stable(name, *_inside((args, settings), name))
        result = function(*_modulo(name, args, settings), **settings)
        return result if name in FACTS else _wrapped(result)


def _method(name, keywords):
    def method(self, *args, **settings):
        _only(settings, keywords, name)
        args, settings = _stable(name, *_inside((args, settings), name), first=0)
        if name == "take":
            settings["mode"] = "wrap"
        return _wrapped(getattr(self._hidden, name)(*args, **settings))

    method.__name__ = name
    return method


for _name, _keywords in METHODS.items():
    setattr(StandInArray, _name, _method(_name, _keywords))
for _name in ("shape", "ndim", "size", "dtype", "strides", "itemsize", "nbytes"):
    setattr(StandInArray, _name, property(lambda self, name=_name: getattr(self._hidden, name)))


def _only(settings, allowed, name):
    for keyword in settings:
        if keyword not in allowed:
            raise TypeError(f"CuPy's {name} has no keyword {keyword}")


def _operand(value, name):
    """The hidden array of a stand-in, or a scalar as it is."""
    if isinstance(value, StandInArray):
        return value._hidden
    if isinstance(value, SCALARS):
        return value
    raise TypeError(f"{name} of a device array and {type(value).__name__}: a silent transfer")


def _inside(value, name):
    """`value` with every stand-in, however deep in lists, replaced by its hidden array."""
    if isinstance(value, (tuple, list)):
        return type(value)([_inside(part, name) for part in value])
    if isinstance(value, dict):
        return {key: _inside(part, name) for key, part in value.items()}
    return _operand(value, name) if isinstance(value, (StandInArray, np.ndarray)) else value


def _any_device_array(value):
    if isinstance(value, dict):
        value = list(value.values())
    return (
        any(map(_any_device_array, value))
        if isinstance(value, (tuple, list))
        else isinstance(value, StandInArray)
    )


def _wrapped(result):
    """What NumPy returned, as CuPy would: scalars are 0-d arrays, named tuples are plain ones."""
    if isinstance(result, (np.ndarray, bool, np.generic)):
        return StandInArray(np.asarray(result))
    if isinstance(result, tuple):
        return tuple(map(_wrapped, result))
    return [_wrapped(part) for part in result] if isinstance(result, list) else result


def _stable(name, args, settings, first=1):
    """CuPy sorts stably and knows no other kind."""
    if name in ("sort", "argsort"):
        if len(args) > first + 1 or settings.get("kind") not in (None, "stable"):
            raise TypeError(f"CuPy's {name} takes an axis, and no kind but 'stable'")
        settings = {**settings, "kind": "stable"}
    return args, settings


def _modulo(name, args, settings):
    """The arguments, where integer index arrays that are out of range wrap round."""
    if name not in ("take", "take_along_axis", "put_along_axis"):
        return args
    array, indices, *rest = args
    axis = settings.get("axis", rest[-1] if rest and name != "take" else rest[0] if rest else None)
    return array, indices % (array.size if axis is None else array.shape[axis]), *rest


def _index(array, index):
    """An index of stand-ins, integers, slices, None and ... for NumPy; arrays out of range wrap round."""
    parts = list(index) if isinstance(index, tuple) else [index]
    masks = [part for part in parts if isinstance(part, StandInArray) and part.dtype == bool]
    if len(masks) > 1:
        raise TypeError("CuPy takes one Boolean array in an index")
    n_read = sum(part is not None and part is not Ellipsis for part in parts)
    n_read += sum(mask.ndim - 1 for mask in masks)
    if not any(part is Ellipsis for part in parts):
        parts.append(Ellipsis)  # also makes x[0] a 0-d array that views x, as in CuPy
    axis, result = 0, []
    for part in parts:
        if isinstance(part, StandInArray):
            hidden = part._hidden
            result.append(hidden if hidden.dtype == bool else hidden % array.shape[axis])
            axis += hidden.ndim if hidden.dtype == bool else 1
        elif part is None or part is Ellipsis:
            result.append(part)
            axis += 0 if part is None else array.ndim - n_read
        elif isinstance(part, (slice, int, np.integer)) and not isinstance(part, bool):
            result.append(part)
            axis += 1
        else:
            raise TypeError(f"an index of type {type(part).__name__} into a device array: a silent transfer")
    return tuple(result)


class StandIn:
    """The stand-in's device, as `backend.CUDA` is CuPy's."""

    name = "standin"
    chunk_bytes = 1 << 14  # small, so that tests walk over several chunks

    def owns(self, array):
        return isinstance(array, StandInArray)

    def from_host(self, array):
        transfers.to_device += 1
        return StandInArray(np.array(array))

    def to_host(self, array):
        return array.get()

    def uniform(self, rng, shape, dtype):
        return StandInArray(rng.random(shape, dtype=dtype))

    def synchronize(self):
        pass


@pytest.fixture
def standin():
    """The name of the stand-in's device, which exists during the test only; the counters start at 0."""
    backend.MAKERS["standin"] = StandIn
    transfers.reset()
    yield "standin"
    del backend.MAKERS["standin"]
    backend._devices.pop("standin", None)


Device = collections.namedtuple("Device", "name transfers")


@pytest.fixture
def device(standin):
    """The device under test, and its count of explicit transfers; `test_gpu.py` has a GPU in its place."""
    return Device(standin, transfers)

"""`Tensor`: an array that remembers how it was made.

Read `autograd.py` first, then this, then `ops/rule.py` and any other file in `ops/`. The operators
below look ops up in the table `OPS` by name, at call time. So this file imports no rule, and
`with substitute("relu", mine):` runs any network on a rule of one's own.
"""

import numpy as np

from tinyopt import backend
from tinyopt.autograd import backpropagate
from tinyopt.errors import DeviceError, DtypeError, ShapeError

OPS = {}  # name -> op; filled by the files in ops/


class Tensor:
    """An array with a gradient: `data`, and after `backward()` also `grad`, of the same shape.

    Start:  Python numbers and lists become float32; float32 and float64 arrays keep their type, as do
            integers and Booleans (labels, masks), which can have no gradient.
    Raises: DtypeError for complex numbers, text or objects, or for `requires_grad` on integers.
    Differs: from PyTorch: `data` and `grad` are arrays, not tensors. On the CPU they are frozen, so
            no array that a pullback still needs can be changed in place: write `t.data = t.data - step`.
    """

    __slots__ = ("_data", "requires_grad", "grad", "node", "keeps_grad", "__weakref__", "__dict__")
    __array_ufunc__ = None  # so that `ndarray + tensor` asks the tensor
    views = ()  # only a Parameter has any

    def __init__(self, data, requires_grad=False):
        self.requires_grad = bool(requires_grad)
        self.data = data
        self.grad = self.node = None
        self.keeps_grad = False

    @classmethod
    def _from_op(cls, array):
        """A tensor on an array that nobody else will write to: no check, no copy."""
        tensor = Tensor.__new__(Tensor)
        tensor._data = array
        tensor.requires_grad = tensor.keeps_grad = False
        tensor.grad = tensor.node = None
        return tensor

    @property
    def data(self):
        return self._data

    @data.setter
    def data(self, value):
        value = _as_array(value)
        if self.requires_grad and value.dtype.kind != "f":
            raise DtypeError(f"only floats have gradients; got {value.dtype}. Convert first: x.astype('float32')")
        self._data = value

    shape = property(lambda self: self._data.shape)
    ndim = property(lambda self: len(self.shape))
    size = property(lambda self: self._data.size)
    dtype = property(lambda self: self._data.dtype)
    device = property(lambda self: backend.device_of(self._data).name)
    T = property(lambda self: self.transpose())

    def numpy(self):
        """The numbers as a (read-only) NumPy array, moved to the host if need be."""
        return backend.to_host(self.detach()._data)

    def item(self):
        """The single number of a tensor of size 1, as a Python number."""
        if self.size != 1:
            raise ShapeError(f"item() needs a tensor of one number; got shape {self.shape}")
        return self.numpy().item()

    def detach(self):
        """The same numbers, cut off from the graph."""
        return Tensor._from_op((self.read() if self.views else self)._data)

    def retain_grad(self):
        """Keep `grad` on this tensor too, though it is no leaf."""
        self.keeps_grad = True

    def backward(self, grad=None):
        """Add ∂L/∂t to `t.grad` of every leaf t behind this tensor; twice adds twice.

        Shapes: grad, as this tensor; may be left out where this tensor is a single number (then 1).
        Raises: RuntimeError if no gradient is wanted; ShapeError if `grad` has another shape.
        """
        if not self.requires_grad:
            raise RuntimeError("backward() needs a tensor made from one with requires_grad=True, outside no_grad()")
        if grad is None and self.size != 1:
            due = "the incoming gradient: backward(grad), or sum() first"
            raise ShapeError(f"backward() of shape {self.shape} needs {due}")
        one = np.ones_like(self._data) if grad is None else Tensor(grad)._data
        if one.shape != self.shape or one.dtype != self.dtype:
            got = f"{one.dtype} of {one.shape}"
            raise ShapeError(f"backward(grad) needs {self.dtype} of shape {self.shape}; got {got}")
        for tensor, g in backpropagate(self, one):
            if tensor.node is None or tensor.keeps_grad:
                tensor.grad = _frozen(g if tensor.grad is None else tensor.grad + g)

    def graph(self, path=None):
        """Draw the expression behind this tensor, with values and gradients; see `tinyopt.graph.draw`."""
        from tinyopt.graph import draw

        return draw(self, path)

    def __repr__(self):
        text = np.array2string(self.numpy(), separator=", ", prefix="Tensor(", threshold=20, precision=4)
        notes = [text, f"shape={self.shape}", f"dtype={self.dtype}"]
        notes += [f"device={self.device!r}"] * (self.device != "cpu") + ["requires_grad=True"] * self.requires_grad
        return f"{type(self).__name__}({', '.join(notes)})"

    def __array__(self, dtype=None, copy=None):
        if self.device != "cpu":
            raise DeviceError("this tensor is on the GPU; NumPy reads the host only. Move it first: x.numpy()")
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __setstate__(self, state):
        """Copies and unpickled arrays can be written to: freeze them again."""
        attributes, slots = state
        self.__dict__.update(attributes or {})
        for name, value in slots.items():
            setattr(self, name, _frozen(value) if name in ("_data", "grad") else value)

    def __len__(self):
        if not self.ndim:
            raise TypeError("len() needs a tensor with an axis; this one is a single number")
        return self.shape[0]

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __float__(self):
        return float(self.item())

    def __int__(self):
        return int(self.item())

    def __bool__(self):
        return bool(self.item())

    # Operators, by name from the table at call time. Comparisons carry no gradient.
    __add__ = __radd__ = lambda a, b: OPS["add"](a, b)
    __mul__ = __rmul__ = lambda a, b: OPS["mul"](a, b)
    __sub__ = lambda a, b: OPS["sub"](a, b)
    __rsub__ = lambda a, b: OPS["sub"](b, a)
    __truediv__ = lambda a, b: OPS["div"](a, b)
    __rtruediv__ = lambda a, b: OPS["div"](b, a)
    __pow__ = lambda a, b: OPS["pow"](a, b)
    __rpow__ = lambda a, b: OPS["pow"](b, a)
    __matmul__ = lambda a, b: OPS["matmul"](a, b)
    __rmatmul__ = lambda a, b: OPS["matmul"](b, a)
    __neg__ = lambda a: OPS["neg"](a)
    __abs__ = lambda a: OPS["abs"](a)
    __getitem__ = lambda a, index: OPS["getitem"](a, index=index)
    __hash__ = object.__hash__
    __eq__ = lambda a, b: _compare(np.equal, a, b)
    __ne__ = lambda a, b: _compare(np.not_equal, a, b)
    __lt__ = lambda a, b: _compare(np.less, a, b)
    __le__ = lambda a, b: _compare(np.less_equal, a, b)
    __gt__ = lambda a, b: _compare(np.greater, a, b)
    __ge__ = lambda a, b: _compare(np.greater_equal, a, b)

    # Methods where NumPy's arrays or PyTorch's tensors have one; each is described at its op: help(tinyopt.ops.sum).

    def exp(self):
        return OPS["exp"](self)

    def log(self):
        return OPS["log"](self)

    def sqrt(self):
        return OPS["sqrt"](self)

    def abs(self):
        return OPS["abs"](self)

    def relu(self):
        return OPS["relu"](self)

    def sigmoid(self):
        return OPS["sigmoid"](self)

    def tanh(self):
        return OPS["tanh"](self)

    def clip(self, min=None, max=None):
        return OPS["clip"](self, min=min, max=max)

    def sum(self, axis=None, keepdims=False):
        return OPS["sum"](self, axis=axis, keepdims=keepdims)

    def mean(self, axis=None, keepdims=False):
        return OPS["mean"](self, axis=axis, keepdims=keepdims)

    def max(self, axis=None, keepdims=False):
        return OPS["max"](self, axis=axis, keepdims=keepdims)

    def min(self, axis=None, keepdims=False):
        return OPS["min"](self, axis=axis, keepdims=keepdims)

    def var(self, axis=None, keepdims=False, correction=1):
        return OPS["var"](self, axis=axis, keepdims=keepdims, correction=correction)

    def reshape(self, *shape):
        return OPS["reshape"](self, shape=shape[0] if len(shape) == 1 else shape)

    def transpose(self, *axes):
        return OPS["transpose"](self, axes=axes[0] if len(axes) == 1 and type(axes[0]) is not int else axes or None)

    def squeeze(self, axis=None):
        return OPS["squeeze"](self, axis=axis)

    def astype(self, dtype):
        return OPS["astype"](self, dtype=np.dtype(dtype))

    def to(self, device):
        return OPS["to"](self, device=device)


def _compare(ufunc, a, b):
    a, b = (t.detach()._data if isinstance(t, Tensor) else t for t in (a, b))
    try:
        return Tensor._from_op(_frozen(ufunc(a, b)))
    except ValueError as problem:
        raise ShapeError(f"{ufunc.__name__} needs shapes that broadcast: {problem}") from None


def _as_array(data):
    """`data` as an array of a type that tensors hold, which no one else can change."""
    if isinstance(data, Tensor):
        return data.detach()._data
    if not backend.is_array(data):
        try:
            array = np.array(data)
        except ValueError as problem:
            raise ShapeError(f"a tensor is a full box of numbers, all its rows of one length: {problem}") from None
        data = array.astype(np.float32) if array.dtype.kind in "iuf" and not isinstance(data, np.generic) else array
    elif isinstance(data, np.ndarray):
        data = np.asarray(data)  # a memmap or matrix as a plain array
    if data.dtype.kind not in "fiub":
        raise DtypeError(f"a tensor holds real numbers; got {data.dtype}")
    if data.dtype.kind == "f" and data.dtype not in (np.float32, np.float64):
        return _frozen(data.astype(np.float32))
    return data if _is_frozen(data) else _frozen(data.copy(order="K"))


def _frozen(array):
    if isinstance(array, np.generic):
        array = np.array(array)
    if type(array) is np.ndarray:
        array.setflags(write=False)
    return array


def _is_frozen(array):
    """True if nobody can write to this memory: neither this array nor any that it is a view of."""
    while isinstance(array, np.ndarray):
        if array.flags.writeable:
            return False
        array = array.base
    return True

"""What all sparse layouts share: which elements they store, how narrow an index may be, and their bytes.

A layout keeps the elements that are not 0 in `values`, and one or two more arrays that say where they lie.
The layouts themselves are in `rows.py`, `bits.py` and `blocks.py`, their products in `products.py`.

Start with these three: `is_stored`, which elements those are; `index_type`, how many bytes an index takes;
`SparseMatrix.to_bytes`, what the whole then costs.
"""

import math

import numpy as np

from tinyopt.errors import DtypeError, FormatError, ShapeError

from ..bits import read_varint, write_varint

DTYPES = [np.dtype(code) for code in ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8")]
FORMATS = {}  # a layout's number in a file -> its class


def is_stored(x):
    """Which elements a sparse layout keeps: all but +0, so that x comes back bit by bit.

    NaN is kept, and so is −0.0: it equals 0, but has a bit of its own. A weight times a mask is −0.0 wherever
    a negative weight was removed; `weight + 0.0` makes +0 of those, and changes nothing else.

    Shapes: x of any shape -> Booleans, same shape.
    """
    return (x != 0) | np.signbit(x) if x.dtype.kind == "f" else x != 0


def index_type(n_places):
    """The smallest unsigned type that can name each of so many places, 0 to n_places − 1.

    A column of a 784-wide matrix fits uint16, 2 bytes; the int64 that NumPy's own indices have would take 8.
    """
    return np.min_scalar_type(max(int(n_places) - 1, 0))


def matrix_shape(shape):
    """The rows and columns behind a shape: the first axis, and all others as one; a vector is one row.

    Shapes: (O, I, kh, kw) -> (O, I · kh · kw); (m, n) -> (m, n); (n,) -> (1, n).
    """
    return (1, *shape) if len(shape) == 1 else (shape[0], math.prod(shape[1:]))


class SparseMatrix:
    """The base of all layouts: to and from dense, to and from bytes, and the products.

    A subclass names its arrays in `fields` and its numbers in `settings`, and has these: `from_dense`;
    `positions`, where in C order each of its values lies; `sizes`, the type and shape of each of its arrays;
    `_times`, its product with a dense matrix; `T`. What it is given it checks and freezes: it never changes.

    Attributes: shape, that of the dense array; rows and columns, those of the matrix (`matrix_shape`); values,
                integers or floats of the dense array's type; indices, each in the narrowest type for its shape.
    """

    number = 0  # in a file
    fields = ("values",)
    settings = ()
    __array_ufunc__ = None  # so that `array @ sparse` asks the sparse one

    def __init_subclass__(cls):
        if cls.number:
            FORMATS[cls.number] = cls

    def _take(self, shape, settings, arrays):
        """Keep each array, in the type and shape that `sizes` asks for; those that can be written to are copied."""
        self.shape = tuple(int(size) for size in shape)
        if not self.shape or min(self.shape) < 0 or math.prod(self.shape) >= 2**62:
            raise ShapeError(f"a sparse array has a shape of one axis or more, as (300, 784); got {shape}")
        self.rows, self.columns = matrix_shape(self.shape)
        for name, setting in settings.items():
            setattr(self, name, int(setting))
        values = check_dense(arrays["values"])
        for name, (dtype, due) in self.sizes(self.shape, values.dtype, len(values), **settings).items():
            array = np.asarray(arrays[name])
            if array.shape != due:
                raise ShapeError(f"{type(self).__name__} of shape {self.shape} with {len(values)} values needs "
                                 f"{name} of shape {due}; got {array.shape}")  # fmt: skip
            if name != "values":
                n_places = {"row_of": self.rows, "column_of": self.columns}.get(name, 2**62)
                check_integers(name, array, min(n_places - 1, np.iinfo(dtype).max))
            array = array.astype(dtype, order="C", copy=array.flags.writeable)
            array.setflags(write=False)
            setattr(self, name, array)

    @property
    def dtype(self):
        """The type of the values, and of the dense array."""
        return self.values.dtype

    @property
    def n_stored(self):
        """How many values are stored, zeros that a layout needs for itself included."""
        return self.values.size

    @property
    def nbytes(self):
        """The bytes of all its arrays. (A product keeps wider copies of the indices for the next one.)"""
        return sum(getattr(self, name).nbytes for name in self.fields)

    def to_dense(self):
        """The array that `from_dense` was given, bit by bit."""
        flat = np.zeros(math.prod(self.shape), self.dtype)
        flat[self.positions()] = self.values
        return flat.reshape(self.shape)

    # --- bytes ---

    def to_bytes(self):
        """All of it as bytes: a header of a few, then each array, little-endian.

            layout · type · varints: number of axes, the shape, settings, number of values · the arrays

        Units: about 10 bytes of header, then `nbytes`.
        """
        settings = [getattr(self, name) for name in self.settings]
        numbers = [len(self.shape), *self.shape, *settings, len(self.values)]
        head = bytes([self.number, DTYPES.index(self.dtype)]) + b"".join(map(write_varint, numbers))
        arrays = [getattr(self, name) for name in self.fields]
        return head + b"".join(a.astype(a.dtype.newbyteorder("<")).tobytes() for a in arrays)

    @staticmethod
    def from_bytes(data):
        """Read back what `to_bytes` of any layout wrote.

        Raises: FormatError if the bytes are none of its, cut short, too many, or of arrays that do not fit together.
        """
        try:
            kind, dtype, numbers, at = _header(data)
            shape, count = tuple(numbers[1 : 1 + numbers[0]]), numbers[-1]
            settings = dict(zip(kind.settings, numbers[1 + numbers[0] : -1]))
            sizes = kind.sizes(shape, dtype, count, **settings)
            n_bytes = [dtype.itemsize * math.prod(due) for dtype, due in sizes.values()]
            if at + sum(n_bytes) != len(data):
                raise FormatError(f"{at + sum(n_bytes)} bytes are due, {len(data)} came")
            arrays = {}
            for (name, (dtype, due)), size in zip(sizes.items(), n_bytes):
                array = np.frombuffer(data[at : at + size], dtype.newbyteorder("<"))
                arrays[name], at = array.astype(dtype).reshape(due), at + size
            return kind(**arrays, **settings, shape=shape)
        except (ValueError, OverflowError) as problem:
            raise FormatError(f"these bytes are no sparse array, or were changed: {problem}") from None

    # --- products ---

    def __matmul__(self, dense):
        """sparse @ dense.

        Shapes: sparse (rows, columns), dense (columns, k) -> (rows, k); dense (columns,) -> (rows,).
        Raises: ShapeError, DtypeError if they do not fit, or are not both floats.
        """
        dense = self._operand(dense, 0, self.columns)
        product = self._times(dense.reshape(self.columns, -1 if dense.size else math.prod(dense.shape[1:])))
        return product.reshape(self.rows, *dense.shape[1:])

    def __rmatmul__(self, dense):
        """dense @ sparse, as the product of the transposes: X S = (Sᵀ Xᵀ)ᵀ.

        Shapes: dense (k, rows), sparse (rows, columns) -> (k, columns); dense (rows,) -> (columns,).
        """
        dense = self._operand(dense, -1, self.rows)
        return (self.T @ dense.T).T

    def _operand(self, dense, axis, due):
        dense = np.asarray(dense)
        if dense.ndim not in (1, 2) or dense.shape[axis] != due:
            side = f"({due}, k) or ({due},)" if axis == 0 else f"(k, {due}) or ({due},)"
            raise ShapeError(f"a product with a sparse matrix {self.rows, self.columns} on this side needs a dense "
                             f"{side}; got {dense.shape}")  # fmt: skip
        if dense.dtype.kind != "f" or self.dtype.kind != "f":
            raise DtypeError(f"sparse products are of floats; got {self.dtype} and {dense.dtype}. "
                             "Convert first: x.astype('float32')")  # fmt: skip
        return dense

    def __repr__(self):
        share = self.n_stored / max(1, math.prod(self.shape))
        what = f"{self.shape}, {self.dtype}, {self.n_stored:,} stored ({share:.1%}), {self.nbytes:,} bytes"
        return f"{type(self).__name__}({what})"


def check_dense(x):
    """A dense array that a layout can store, in this machine's byte order.

    Raises: DtypeError for other types than integers and floats; ShapeError for a single number.
    """
    x = np.asarray(x)
    x = x.astype(x.dtype.newbyteorder("="), copy=False)
    if x.dtype not in DTYPES:
        raise DtypeError(f"sparse layouts store integers and floats; got {x.dtype}")
    if x.ndim == 0:
        raise ShapeError("a sparse array has rows and columns; got a single number")
    return x


def check_integers(name, array, highest):
    """Raise DtypeError if indices are no integers, ValueError if one lies outside 0..highest."""
    if array.size and array.dtype.kind not in "ui":
        raise DtypeError(f"{name} are integers; got {array.dtype}")
    if array.size and not 0 <= int(array.min()) <= int(array.max()) <= highest:
        raise ValueError(f"{name} must lie in 0..{highest}; got {array.min()}..{array.max()}")


def _header(data):
    """(class, type of the values, [number of axes, *shape, *settings, number of values], where the arrays begin)."""
    if len(data) < 2 or data[0] not in FORMATS or data[1] >= len(DTYPES):
        raise FormatError("they begin with no known layout and type")
    kind = FORMATS[data[0]]
    n_axes, at = read_varint(data, 2)
    if not 1 <= n_axes <= 32:
        raise FormatError(f"an array of {n_axes} axes")
    numbers = [n_axes]
    for _ in range(n_axes + len(kind.settings) + 1):
        number, at = read_varint(data, at)
        numbers.append(number)
    return kind, DTYPES[data[1]], numbers, at

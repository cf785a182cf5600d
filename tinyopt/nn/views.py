"""Views: what may stand between a parameter's `data` and the layers that read it.

    level 0   Codebook     data are K centroids; each weight is one of them
    level 1   Quantize     each weight is rounded to what a small integer can say
    level 2   Mask         weights are removed

Views stand in the list by level: a codebook below a mask, so that zero needs no centroid and only the
survivors' labels are stored. A view never changes: a new mask is a new object. How each one is
stored in a file is in `storage.py`.
"""

import math

from tinyopt.errors import DtypeError, ShapeError
from tinyopt.tensor import OPS, Tensor

KINDS = {}  # a view's class by its name in small letters, as state dicts spell it


class View:
    """The base: a rule on tensors, and the arrays that it needs, by name in `fields`.

    A subclass takes its fields and settings as constructor arguments of the same names, and is known to state
    dicts from then on; a file needs to be told how to store it (`storage.storage`).
    """

    level = 0
    fields = ()  # names of arrays
    settings = ()  # names of plain numbers

    def __init_subclass__(cls):
        KINDS[cls.__name__.lower()] = cls

    def __call__(self, x):
        raise NotImplementedError(f"{type(self).__name__} needs a rule: def __call__(self, x)")

    def shape(self, shape):
        """The shape that comes out, given the one below; views keep it, a codebook does not."""
        return shape

    def check(self, parameter, others):
        """Raise a clear error if this view cannot stand on `parameter` beside the `others`.

        Below a mask is what a file stores, and that is one thing: integers, labels, or codes of another kind.
        """
        kinds = [type(view).__name__ for view in others if view.level < Mask.level and type(view) is not type(self)]
        if kinds and self.level < Mask.level:
            raise ValueError(f"a weight is stored in one way; this one has a {kinds[0]} view already: bake() it first")

    def map(self, change):
        """The same view with each array replaced by `change(array)`: for moving between devices."""
        arrays = {name: change(getattr(self, name)) for name in self.fields}
        return type(self)(**arrays, **{name: getattr(self, name) for name in self.settings})


class Mask(View):
    """Only the weights that are kept are read; the others count as 0 and get no gradient.

    Shapes: keep, Booleans of the weight's shape.
    """

    level = 2
    fields = ("keep",)

    def __init__(self, keep):
        self.keep = Tensor(keep).data
        if self.keep.dtype != bool:
            raise DtypeError(f"a mask holds Booleans, True keeps; got {self.keep.dtype}. Write mask = weight != 0")

    def __call__(self, x):
        return OPS["mask"](x, Tensor._from_op(self.keep))

    def check(self, parameter, others):
        if self.keep.shape != parameter.shape:
            raise ShapeError(f"a mask for a weight of shape {parameter.shape} needs that shape; got {self.keep.shape}")


class Quantize(View):
    """Each weight is rounded to (q − zero_point) · scale with an integer q of `bits` bits.

    Shapes: scale and zero_point broadcast against the weight: () per tensor, (O, 1, ...) per channel. Or they are
            (O, G, 1), and the weight is read as (O, G, group_size): each row in G groups of neighbours.
    Units:  bits, 1 to 16; symmetric codes span ±(2^(bits − 1) − 1), others, and those of 1 bit, 2^bits values.
    """

    level = 1
    fields = ("scale", "zero_point")
    settings = ("bits", "low", "high")

    def __init__(self, scale, zero_point, bits, low, high):
        self.scale, self.zero_point = Tensor(scale).data, Tensor(zero_point).data
        self.bits, self.low, self.high = int(bits), int(low), int(high)

    grouped = property(lambda self: self.scale.ndim == 3)

    def __call__(self, x):
        line = Tensor._from_op(self.scale), Tensor._from_op(self.zero_point)
        rows = x.reshape(self.rows(x.shape)) if self.grouped else x
        y = OPS["fake_quantize"](rows, *line, low=self.low, high=self.high)
        return y.reshape(x.shape) if self.grouped else y

    def rows(self, shape):
        """The shape in which a weight of this shape meets the scale: (O, G, group_size) if that is for groups."""
        return (*self.scale.shape[:2], -1) if self.grouped else shape

    def check(self, parameter, others):
        super().check(parameter, others)
        n_lines, shape = math.prod(self.scale.shape), parameter.shape
        if self.grouped and (self.scale.shape[0] != shape[0] or math.prod(shape) % n_lines):
            raise ShapeError(
                f"a scale {self.scale.shape} is for {self.scale.shape[0]} rows in {self.scale.shape[1]} groups of one "
                f"size; the weight has the shape {shape}"
            )


class Codebook(View):
    """Every weight is one of K shared values: data are the values, labels say which is whose.

    Shapes: data (K,), labels of the weight's shape, integers in [0, K).
    """

    level = 0
    fields = ("labels",)

    def __init__(self, labels):
        self.labels = Tensor(labels).data
        if self.labels.dtype.kind not in "iu":
            raise DtypeError(f"labels say which centroid, in integers; got {self.labels.dtype}. Use np.array(labels)")

    def __call__(self, x):
        return OPS["lookup"](x, Tensor._from_op(self.labels))

    def shape(self, shape):
        return self.labels.shape

    def check(self, parameter, others):
        super().check(parameter, others)
        if parameter._data.ndim != 1:
            raise ShapeError(f"under a codebook, data are the K centroids, shape (K,); got {parameter._data.shape}")
        n, (low, high) = len(parameter._data), (int(self.labels.min()), int(self.labels.max()))
        if low < 0 or high >= n:
            raise ValueError(f"labels must lie in [0, {n}), one for each centroid; got {low} to {high}")

"""`Parameter`: a tensor that is trained, and the views through which layers read it.

A compressed weight is not another kind of layer. It is the same parameter, read through a list of
views, bottom to top: *looked up* in a codebook, *rounded* to integers, *masked*. `data` is always what
is trained (under a codebook: the centroids). Any op that is given a parameter reads it through its
views, so they compose, gradients pass through them, and no layer knows of any.
"""

import numpy as np

from tinyopt import backend
from tinyopt.autograd import Node, is_grad_enabled
from tinyopt.errors import ShapeError
from tinyopt.nn.views import Mask
from tinyopt.ops.rule import SUBSTITUTED
from tinyopt.tensor import Tensor


class Parameter(Tensor):
    """A leaf tensor that wants gradients, with `views` between it and the layers.

    Attributes: `name`, its dotted name in the model that last listed it; `restarted`, None or where
    pruned weights just returned: the optimizer clears its state there.
    """

    def __init__(self, data, requires_grad=True):
        super().__init__(data, requires_grad=requires_grad)
        self.views = []
        self.name = ""
        self.restarted = None
        self._read = None  # the last value read without a graph: (data, views and rules, tensor)

    @property
    def data(self):
        return self._data

    @data.setter
    def data(self, value):
        Tensor.data.fset(self, value)
        if not self._data.flags.c_contiguous:  # a file is read back in C order: so products add in one order
            Tensor.data.fset(self, self._data.copy(order="C"))

    @property
    def shape(self):
        """The shape that layers see."""
        shape = self._data.shape
        for view in self.views:
            shape = view.shape(shape)
        return shape

    size = property(lambda self: int(np.prod(self.shape)))

    def read(self):
        """The weight as layers see it: `data`, passed through each view from bottom to top.

        Outside training nothing changes between two reads, so the value is kept: a compressed model
        then runs as fast as its arithmetic allows.
        """
        how = None if is_grad_enabled() else (*self.views, *SUBSTITUTED)  # what the value depends on, but data
        if how is not None and self._read is not None:
            data, known, value = self._read
            if data is self._data and known == how:
                return value
        value = Tensor._from_op(self._data)  # a node by hand: an op would read through the views again
        if is_grad_enabled() and self.requires_grad:
            value.requires_grad = True
            value.node = Node("data", (self,), (lambda g: g,))
        for view in self.views:
            value = view(value)
        self._read = None if how is None else (self._data, how, value)
        return value

    def view(self, kind):
        """The view of this class, or None."""
        return next((view for view in self.views if isinstance(view, kind)), None)

    def attach(self, view):
        """Read through one more view. It replaces one of its own kind and takes its level in the list."""
        others = [v for v in self.views if type(v) is not type(view)]
        view.check(self, others)
        self.views = sorted([*others, view], key=lambda v: v.level)

    def prune(self, keep):
        """Mask this weight: False removes. Weights that return start at 0, with empty optimizer state.

        Shapes: keep, Booleans of the weight's shape.
        Raises: ShapeError for another shape; ValueError if weights return under a codebook.
        """
        before, mask = self.view(Mask), Mask(keep)
        if mask.keep.shape != self.shape:
            raise ShapeError(f"a mask for a weight of shape {self.shape} needs that shape; got {mask.keep.shape}")
        if before is not None and self._data.shape == self.shape:
            back = mask.keep & ~before.keep
            self.data = self._data * ~back
            self.restarted = back if self.restarted is None else self.restarted | back
        elif before is not None and bool((mask.keep & ~before.keep).any()):
            raise ValueError("pruned weights cannot return under a codebook: they have no label. Prune before sharing")
        self.attach(mask)

    def bake(self):
        """Replace `data` by what layers see and drop the views: the opposite of compressing."""
        self.data, self.views = self.read()._data, []

    def move(self, device):
        """Put data, gradient and views on a device, in place: the same object stays in the optimizer."""
        self.data = backend.to_device(self._data, device)
        self.grad = None if self.grad is None else backend.to_device(self.grad, device)
        self.restarted = None if self.restarted is None else backend.to_device(self.restarted, device)
        self.views = [view.map(lambda array: backend.to_device(array, device)) for view in self.views]

    def __deepcopy__(self, memo):
        copy = type(self)(self._data, requires_grad=self.requires_grad)  # frozen arrays may be shared
        copy.views, copy.name, copy.restarted = list(self.views), self.name, self.restarted
        memo[id(self)] = copy
        return copy

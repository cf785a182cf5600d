"""`Format`: a view that rounds each weight to what a small float, or a table, can hold. See `codec/floats.py`.

Start with `Format`, then `round_to_format`, its rule. Its level is that of `Quantize`: above a codebook's,
below a mask's.
"""

import math

import numpy as np

from tinyopt.codec.floats import absmax_scale, beside, from_codes, named, to_codes
from tinyopt.errors import ShapeError
from tinyopt.nn.views import View
from tinyopt.ops.rule import differentiable
from tinyopt.tensor import Tensor


@differentiable
def round_to_format(x, scale, *, format):
    """Round x to the numbers that a format holds, times a scale.

        y = decode(encode(x / scale)) · scale
        ∂L/∂x = g where |x| / scale is at most half a step above the largest number, else 0    (straight-through)

    Shapes: x (...); scale () or (O, 1, ...), or (O, G, 1) for groups -> y, as x.
    Source: Bengio, Léonard & Courville (2013), "Estimating or Propagating Gradients Through Stochastic Neurons
            for Conditional Computation", arXiv:1308.3432 (straight-through).
    """
    f = named(format)

    def grad_x(g):
        size = abs(beside(x, scale) / scale).reshape(x.shape)
        return g * (size <= f.largest + f.last_step / 2)

    return from_codes(to_codes(x, scale, format), scale, format), (grad_x, None)


class Format(View):
    """Each weight is one of the numbers that a format holds, times a scale: of all, of its channel or its group.

    Shapes: scale () or (O, 1, ...); or (O, G, 1), each row in G groups of neighbours.
    """

    level = 1
    fields = ("scale",)
    settings = ("format",)

    def __init__(self, scale, format):
        self.scale, self.format = Tensor(scale).data, named(str(format)).name

    def __call__(self, x):
        return round_to_format(x, Tensor._from_op(self.scale), format=self.format)

    def check(self, parameter, others):
        super().check(parameter, others)
        shape, due = parameter.shape, self.scale.shape
        in_rows = due[:1] == shape[:1] and math.prod(shape) % math.prod(due) == 0
        if due != () and not (in_rows and (len(due) == 3 or due == shape[:1] + (1,) * (len(shape) - 1))):
            raise ShapeError(f"a scale is (), one for each row, (O, 1, ...), or one for each of G groups in a row, "
                             f"(O, G, 1); got {due} for a weight {shape}")  # fmt: skip


def format_view(weight, format, *, per_channel=True, group_size=None):
    """The view that stores an array (O, ...) in a format, with a scale for each of its rows, each group, or for all.

    fp16 and bf16 hold any usual weight as it is: their scale is 1.

    Shapes: weight (O, ...); with a group size, each row in groups of so many neighbours.
    Raises: as `codec.floats.absmax_scale`, and ValueError for weights that are too large for fp16.
    """
    f = named(format)
    scale = absmax_scale(weight, format, axis=0 if per_channel else None, group_size=group_size)
    if f.bits == 16:
        widest = float(abs(weight).max())
        if widest > f.largest:
            raise ValueError(f"{f.name} holds numbers up to {f.largest:,.0f}; the largest weight is {widest:,.0f}. "
                             "bf16 reaches 3.4e38")  # fmt: skip
        scale = np.ones_like(weight, shape=1).reshape(())
    return Format(scale, format)

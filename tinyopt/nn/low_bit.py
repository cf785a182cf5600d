"""Views for weights of two or three values: `Binary`, one bit each, and `Ternary`, 1.6 bits each.

Start with `Binary`; its rule and gradient are in `ops/low_bit.py`, `binary_weight`. The level of both is that of
`Quantize`: above a codebook's, below a mask's. `compress.binary` and `compress.ternary` choose their numbers.
"""

from tinyopt.errors import ShapeError
from tinyopt.nn.views import View
from tinyopt.tensor import OPS, Tensor


class _LowBit:
    """What both have to check."""

    level = 1

    def check(self, parameter, others):
        super().check(parameter, others)
        shape = parameter.shape
        for name in self.fields:
            due = getattr(self, name).shape
            if due not in ((), shape[:1] + (1,) * (len(shape) - 1)):
                raise ShapeError(f"{name} is (), or one for each row, (O, 1, ...); got {due} for a weight {shape}")


class Binary(_LowBit, View):
    """Each weight is +scale or −scale, by its sign; zero counts as positive. Under a mask: three values.

    Shapes: scale () or (O, 1, ...).
    Units:  limit and share are those of the gradient: see `ops.binary_weight`.
    """

    fields = ("scale",)
    settings = ("limit", "share")

    def __init__(self, scale, limit=1.0, share=0.0):
        self.scale, self.limit, self.share = Tensor(scale).data, float(limit), float(share)

    def __call__(self, x):
        return OPS["binary_weight"](x, Tensor._from_op(self.scale), limit=self.limit, share=self.share)

    def planes(self, x):
        """Where the weight is positive, and where it is negative: two arrays of Booleans, like x."""
        return x >= 0, x < 0


class Ternary(_LowBit, View):
    """Each weight is `positive` above the threshold, −`negative` below −threshold, and 0 between.

    Shapes: all three () or (O, 1, ...).
    """

    fields = ("threshold", "positive", "negative")

    def __init__(self, threshold, positive, negative):
        self.threshold, self.positive, self.negative = (Tensor(a).data for a in (threshold, positive, negative))

    def __call__(self, x):
        return OPS["ternary_weight"](x, *(Tensor._from_op(getattr(self, name)) for name in self.fields))

    def planes(self, x):
        """Where the weight is `positive`, and where it is −`negative`: two arrays of Booleans, like x."""
        return x > self.threshold, x < -self.threshold

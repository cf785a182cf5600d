r"""`FakeQuantize`: a layer that rounds activations to what b-bit integers can say, and lets gradients through.

Start with `FakeQuantize.forward`, then `observe`. Weights are rounded by a view (`views.Quantize`); activations are
made anew for each batch, so theirs is a layer that stands in the tree: `compress.qat.insert_after` puts it there.
"""

import numpy as np

from tinyopt.codec.affine import integer_range, min_max, scale_from_range
from tinyopt.nn.module import Module
from tinyopt.tensor import OPS, Tensor


class FakeQuantize(Module):
    """Round activations to (q − zero_point) · scale with an integer q of `bits` bits; y = x until a range is known.

        q = clip(round(x / scale) + zero_point)        y = (q − zero_point) · scale
        ∂L/∂x = g inside the range, 0 where clipped                                    (straight-through)
        low ← (1 − momentum) · low + momentum · min x, and high so        in training, with a momentum

    `has_range` says whether one is known. It comes from `observe(low, high)`; or, if `momentum` is a number, from the batches of training, as batch
    norm's running averages do. In eval mode it stays. `low`, `high`, `scale` and `zero_point` are saved.

    Shapes: x (...) -> y, same shape; one range for all.
    Start:  scale 0, which stands for "no range yet"; with a momentum, the range of the first batch.
    Units:  bits as `codec.affine.quantize`; momentum in (0, 1], or None.
    Raises: ValueError for bits out of range or another momentum.
    Source: Jacob et al. (2018), "Quantization and Training of Neural Networks for Efficient
            Integer-Arithmetic-Only Inference", arXiv:1712.05877, Section 3.1 (moving averages of activation ranges).
    """

    buffers = ("low", "high", "scale", "zero_point")

    def __init__(self, bits=8, symmetric=False, momentum=None):
        integer_range(bits, symmetric)  # refuses other bits
        if momentum is not None and not 0 < momentum <= 1:
            raise ValueError(f"momentum is the newest batch's share of the range, in (0, 1], or None; got {momentum!r}")
        self.bits, self.symmetric, self.momentum = bits, symmetric, momentum
        self.low = self.high = self.scale = self.zero_point = np.zeros((), np.float32)

    @property
    def scale(self):
        return self._scale

    @scale.setter
    def scale(self, value):
        self._scale, self.has_range = value, bool(value > 0)  # asked here: no forward waits for a GPU's answer

    def forward(self, x):
        if self.training and self.momentum is not None:
            self._follow(x.data)
        if not self.has_range:
            return x
        lowest, highest = integer_range(self.bits, self.symmetric)
        line = Tensor._from_op(self.scale), Tensor._from_op(self.zero_point)
        return OPS["fake_quantize"](x, *line, low=lowest, high=highest)

    def observe(self, low, high):
        """Lay the line for the range [low, high], widened to hold 0: `codec.affine.scale_from_range`.

        Raises: ValueError if an end is NaN or infinite, or low is above high.
        """
        ends = float(low), float(high)
        if not (np.isfinite(ends).all() and ends[0] <= ends[1]):
            raise ValueError(f"a range is two finite numbers, low ≤ high; got {ends[0]} and {ends[1]}. "
                             "Was it taken from numbers that are NaN or infinite?")  # fmt: skip
        self._lay(*(np.full_like(self.scale, end) for end in ends))

    def _follow(self, x):
        """Move the range towards the batch's, or take that if it is the first."""
        low, high = (end.astype(self.scale.dtype) for end in min_max(x))
        if self.has_range:
            part = self.momentum
            low, high = self.low + part * (low - self.low), self.high + part * (high - self.high)
        self._lay(low[...], high[...])  # [...] makes an array of a NumPy number

    def _lay(self, low, high):
        scale, zero_point = scale_from_range(low, high, bits=self.bits, symmetric=self.symmetric)
        self.low, self.high, self._scale, self.zero_point = low, high, scale, zero_point.astype(scale.dtype)
        self.has_range = True

    def config(self):
        return {"bits": self.bits, "symmetric": self.symmetric, "momentum": self.momentum}

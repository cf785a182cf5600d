"""Layers whose step of rounding is trained beside the weights: LSQ. They stand in a model only while it trains.

Start with `LearnedStep`, for activations. `LearnedStepLinear` and `LearnedStepConv2d` are the layers that they are
named after, but for a parameter `step`. `compress.lsq` puts all three into a model, and takes them out in the end.
"""

import numpy as np

from tinyopt.codec.affine import integer_range
from tinyopt.nn.layers import Conv2d, Linear
from tinyopt.nn.module import Module
from tinyopt.nn.parameter import Parameter
from tinyopt.tensor import OPS


def step_range(bits, signed=True):
    """The lowest and the highest number of steps: −2^(b−1) .. 2^(b−1) − 1, or from 0 up, 0 .. 2^b − 1.

    Raises: ValueError for bits outside 2..16, since one bit has no number of steps above 0.
    """
    if bits not in range(2, 17):
        raise ValueError(f"a learned step needs bits in 2..16; got {bits!r}")
    low, high = integer_range(bits, symmetric=False)
    return (low, high) if signed else (0, high - low)


class LearnedStep(Module):
    """Round activations to multiples of a trained `step`: y = step · round(clip(x / step)); see `ops.lsq`.

    Shapes: x (N, ...) -> y, same shape; one step for all.
    Units:  bits in 2..16; `signed` numbers of steps begin at −2^(b−1), others at 0, for what a ReLU made.
    Start:  step 1; `compress.lsq.first_step` says a better one.
    Source: Esser et al. (2020), "Learned Step Size Quantization", arXiv:1902.08153.
    """

    def __init__(self, bits=8, signed=False):
        step_range(bits)  # refuses other bits
        self.bits, self.signed = bits, signed
        self.step = Parameter(np.ones((), np.float32))

    def forward(self, x):
        low, high = step_range(self.bits, self.signed)
        return OPS["lsq"](x, self.step, low=low, high=high, count=max(1, x.size // max(1, len(x))))

    def config(self):
        return {"bits": self.bits, "signed": self.signed}


class _LearnedStepWeight:
    """What `LearnedStepLinear` and `LearnedStepConv2d` add to a layer: bits, a step, and a weight rounded with it."""

    def _add_step(self, bits, per_channel):
        step_range(bits)  # refuses other bits
        self.bits, self.per_channel = bits, per_channel
        self.step = Parameter(np.ones(self.weight.shape[0] if per_channel else (), np.float32))

    def step_shape(self):
        """The shape in which `step` broadcasts against the weight: (O, 1, ...), or ()."""
        return (-1, *[1] * (len(self.weight.shape) - 1)) if self.per_channel else ()

    def rounded(self):
        """The weight that the layer computes with."""
        low, high = step_range(self.bits)
        step = OPS["reshape"](self.step, shape=self.step_shape())
        return OPS["lsq"](self.weight, step, low=low, high=high, count=self.weight.size // self.step.size)

    def config(self):
        return {**super().config(), "bits": self.bits, "per_channel": self.per_channel}


class LearnedStepLinear(_LearnedStepWeight, Linear):
    """`Linear` whose weight is rounded to `bits` bits with a trained step, one for all or one for each output.

    Shapes: as `Linear`; step () or (out_features,).
    """

    def __init__(self, in_features, out_features, bias=True, *, bits=8, per_channel=False, rng=None):
        super().__init__(in_features, out_features, bias, rng)
        self._add_step(bits, per_channel)

    def forward(self, x):
        return OPS["linear"](x, self.rounded(), self.bias)


class LearnedStepConv2d(_LearnedStepWeight, Conv2d):
    """`Conv2d` whose weight is rounded to `bits` bits with a trained step, one for all or one for each filter.

    Shapes: as `Conv2d`; step () or (out_channels,).
    """

    def __init__(self, in_channels, out_channels, kernel_size, *args, bits=8, per_channel=False, **settings):
        super().__init__(in_channels, out_channels, kernel_size, *args, **settings)
        self._add_step(bits, per_channel)

    def forward(self, x):
        where = {"stride": self.stride, "padding": self.padding, "groups": self.groups}
        return OPS["conv2d"](x, self.rounded(), self.bias, **where)

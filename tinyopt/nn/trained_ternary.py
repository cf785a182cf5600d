"""Layers whose weights are ternary with two trained values: TTQ. They stand in a model only while it trains.

Start with `TrainedTernaryLinear`; the rule is `ops.trained_ternary_weight`. `compress.ternary` puts these layers into
a model and takes them out in the end, as `compress.lsq` does with trained steps.
"""

import numpy as np

from tinyopt.nn.layers import Conv2d, Linear
from tinyopt.nn.parameter import Parameter
from tinyopt.tensor import OPS


class _TrainedTernary:
    """What both layers add: parameters `positive` and `negative`, and a weight of three values."""

    def _add_values(self, fraction):
        if not 0 <= fraction < 1:
            raise ValueError(f"fraction says which share of the largest weight becomes 0, in [0, 1); got {fraction!r}")
        self.fraction = float(fraction)
        self.positive, self.negative = Parameter(np.ones((), np.float32)), Parameter(np.ones((), np.float32))

    def ternary(self):
        """The weight that the layer computes with."""
        return OPS["trained_ternary_weight"](self.weight, self.positive, self.negative, fraction=self.fraction)

    def config(self):
        return {**super().config(), "fraction": self.fraction}


class TrainedTernaryLinear(_TrainedTernary, Linear):
    """`Linear` whose weights are W_p, 0 or −W_n; both numbers are trained, and every layer has its own.

    Shapes: as `Linear`; positive = W_p and negative = W_n, ().
    Units:  fraction · max |weight| is the threshold below which a weight is 0.
    Start:  W_p = W_n = 1; `compress.ternary.prepare_ttq` takes the mean of the weights that they stand for.
    Source: Zhu, Han, Mao & Dally (2017), "Trained Ternary Quantization", arXiv:1612.01064.
    """

    def __init__(self, in_features, out_features, bias=True, *, fraction=0.05, rng=None):
        super().__init__(in_features, out_features, bias, rng)
        self._add_values(fraction)

    def forward(self, x):
        return OPS["linear"](x, self.ternary(), self.bias)


class TrainedTernaryConv2d(_TrainedTernary, Conv2d):
    """`Conv2d` whose weights are W_p, 0 or −W_n; see `TrainedTernaryLinear`.

    Shapes: as `Conv2d`; positive and negative, ().
    """

    def __init__(self, in_channels, out_channels, kernel_size, *args, fraction=0.05, **settings):
        super().__init__(in_channels, out_channels, kernel_size, *args, **settings)
        self._add_values(fraction)

    def forward(self, x):
        where = {"stride": self.stride, "padding": self.padding, "groups": self.groups}
        return OPS["conv2d"](x, self.ternary(), self.bias, **where)

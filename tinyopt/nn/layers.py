"""Layers: each a few parameters and a call of an op. Start with `Linear`.

Argument names, defaults, weight layouts and initial distributions are PyTorch's.
"""

import math

import numpy as np

from tinyopt import backend
from tinyopt.nn.module import Module
from tinyopt.nn.parameter import Parameter
from tinyopt.ops.conv import pair
from tinyopt.tensor import OPS


def uniform_parameter(rng, bound, *shape):
    """A parameter drawn uniformly from ±bound, in float32."""
    return Parameter(rng.uniform(-bound, bound, size=shape).astype(np.float32))


def at_least_one(**sizes):
    """Raise ValueError unless each named size is an integer of 1 or more."""
    for name, value in sizes.items():
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} is an integer of 1 or more; got {value!r}")


class Linear(Module):
    """y = x Wᵀ + b.

    Shapes: x (..., in_features) -> y (..., out_features); weight (out_features, in_features).
    Start:  weight and bias uniform in ±1/√in_features, as PyTorch.
    Source: LeCun, Bottou, Orr & Müller (1998), "Efficient BackProp" (scale by fan-in).
    """

    def __init__(self, in_features, out_features, bias=True, rng=None):
        at_least_one(in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        rng, bound = backend.generator(rng), 1 / math.sqrt(in_features)
        self.weight = uniform_parameter(rng, bound, out_features, in_features)
        self.bias = uniform_parameter(rng, bound, out_features) if bias else None

    def forward(self, x):
        return OPS["linear"](x, self.weight, self.bias)

    def config(self):
        return {"in_features": self.in_features, "out_features": self.out_features, "bias": self.bias is not None}


class LowRankLinear(Module):
    """A dense layer whose weight is a product of two thin factors: y = (x Vᵀ) Uᵀ + b.

        W ≈ U V        r (in + out) numbers and products instead of in · out

    Shapes: x (..., in_features) -> y (..., out_features); down = V (rank, in_features), up = U (out_features, rank).
    Start:  as `Linear`, each factor by its own fan-in; `compress.lowrank` puts the singular vectors here.
    """

    def __init__(self, in_features, out_features, rank, bias=True, rng=None):
        at_least_one(in_features=in_features, out_features=out_features, rank=rank)
        self.in_features, self.out_features, self.rank = in_features, out_features, rank
        rng = backend.generator(rng)
        self.down = uniform_parameter(rng, 1 / math.sqrt(in_features), rank, in_features)
        self.up = uniform_parameter(rng, 1 / math.sqrt(rank), out_features, rank)
        self.bias = uniform_parameter(rng, 1 / math.sqrt(in_features), out_features) if bias else None

    def forward(self, x):
        return OPS["linear"](OPS["linear"](x, self.down), self.up, self.bias)

    def config(self):
        sizes = {"in_features": self.in_features, "out_features": self.out_features, "rank": self.rank}
        return {**sizes, "bias": self.bias is not None}


class Conv2d(Module):
    """Slide out_channels filters over images; see `ops.conv2d`.

    Shapes: x (N, in_channels, H, W) -> y (N, out_channels, P, Q); weight (out, in / groups, kh, kw).
    Start:  weight and bias uniform in ±1/√(in / groups · kh · kw), as PyTorch.
    Raises: ValueError for sizes below 1, or groups that do not divide both channel counts.
    Source: LeCun et al. (1998), "Gradient-based learning applied to document recognition", Proc. IEEE 86(11).
    Differs: from PyTorch: there is no dilation, which stands before groups there; so groups goes by keyword.
    """

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, *, groups=1, bias=True, rng=None):
        at_least_one(in_channels=in_channels, out_channels=out_channels, groups=groups)
        if in_channels % groups or out_channels % groups:
            channels = f"{in_channels} -> {out_channels}"
            raise ValueError(f"groups must divide both channel counts; got {channels}, groups={groups}")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride = pair(kernel_size, "kernel_size"), pair(stride, "stride")
        self.padding = pair(padding, "padding")
        at_least_one(kernel_size=min(self.kernel_size), stride=min(self.stride))
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        rng, bound = backend.generator(rng), 1 / math.sqrt(math.prod(shape[1:]))
        self.weight = uniform_parameter(rng, bound, *shape)
        self.bias = uniform_parameter(rng, bound, out_channels) if bias else None

    def forward(self, x):
        return OPS["conv2d"](x, self.weight, self.bias, stride=self.stride, padding=self.padding, groups=self.groups)

    def config(self):
        names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "groups")
        return {**{name: getattr(self, name) for name in names}, "bias": self.bias is not None}


class ReLU(Module):
    """max(x, 0), elementwise."""

    def forward(self, x):
        return OPS["relu"](x)


class Pool2d(Module):
    """The base of the pooling layers; subclasses name their op."""

    op = ""

    def __init__(self, kernel_size, stride=None, padding=0):
        self.kernel_size = pair(kernel_size, "kernel_size")
        self.stride = self.kernel_size if stride is None else pair(stride, "stride")
        self.padding = pair(padding, "padding")
        at_least_one(kernel_size=min(self.kernel_size), stride=min(self.stride))

    def forward(self, x):
        return OPS[self.op](x, kernel_size=self.kernel_size, stride=self.stride, padding=self.padding)

    def config(self):
        return {"kernel_size": self.kernel_size, "stride": self.stride, "padding": self.padding}


class MaxPool2d(Pool2d):
    """The largest number of each window; stride=None is the kernel's size."""

    op = "max_pool2d"


class AvgPool2d(Pool2d):
    """The mean of each window; stride=None is the kernel's size."""

    op = "avg_pool2d"


class Flatten(Module):
    """Make one row of each example: (N, ...) -> (N, D)."""

    def forward(self, x):
        return OPS["reshape"](x, shape=(x.shape[0], math.prod(x.shape[1:])))  # not −1, so that N may be 0


class Identity(Module):
    """y = x."""

    def forward(self, x):
        return x


class Dropout(Module):
    """In training, set each number to 0 with probability p and scale the rest by 1 / (1 − p); else y = x.

    Units:  p is the fraction *removed*, in [0, 1].
    """

    def __init__(self, p=0.5, rng=None):
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout's p is the fraction removed, in [0, 1]; got {p}")
        self.p = p
        self.rng = None if rng is None else backend.generator(rng)

    def forward(self, x):
        if not self.training or self.p == 0:
            return x
        return OPS["dropout"](x, backend.uniform_like(x.data, self.rng), p=self.p)

    def config(self):
        return {"p": self.p}


class Add(Module):
    """The sum of its inputs: a residual connection as a module, so that surgery and fusion can see it."""

    def forward(self, *inputs):
        total = inputs[0]
        for x in inputs[1:]:
            total = OPS["add"](total, x)
        return total

"""Layers of an integer-only network: int8 goes in, int32 accumulators come out, `Requantize` makes int8 of them.

Start with these three: `IntegerLinear`, `Requantize`, `IntegerNet`. The arithmetic is in `integer_math.py`, and
`compress.integer.integerize` makes such a network of a trained one. They are for inference: nothing has a gradient.

    float image → QuantizeInput → int8 → IntegerConv2d → int32 → Requantize → int8 → … → int32 logits → Dequantize

An int8 number q of the activations stands for scale · (q − zero_point), with one line for a whole array. A weight w,
in −127 .. 127, stands for scale[o] · w, with a scale for each output channel o. So an accumulator
Σ w · (q − zero_point) stands for the product of both scales times itself, and is computed without either.

All arithmetic is NumPy's on int8, int32 and int64, but for one place. NumPy has no fast product of integer matrices,
so in there, and nowhere else, integers travel as floats: exact ones, by the bound in `integer_math.exact_parts`.
"""

import math

import numpy as np

from tinyopt import backend
from tinyopt.errors import ShapeError
from tinyopt.nn.integer_math import channel_rows, check_type, exact_parts, framed, requantize_rows
from tinyopt.nn.integer_net import Dequantize, IntegerAvgPool2d, IntegerMaxPool2d, IntegerNet, QuantizeInput
from tinyopt.nn.layers import at_least_one
from tinyopt.nn.module import Module
from tinyopt.ops.conv import pair
from tinyopt.ops.conv_inference import conv2d_then
from tinyopt.tensor import Tensor

SUM_STEPS = 2**22  # of an accumulator of `IntegerAdd`, in one step of the coarser side


class _Product(Module):
    """The base of `IntegerLinear` and `IntegerConv2d`: acc = W x + bias.

    `bias` holds the zero point's share as well, so that x is multiplied as it comes:

        Σ w · (x − zero_point) + b  =  Σ w · x + bias        bias = b − zero_point · Σ w

    `prepare` lays the weight out in floats for BLAS, at the first forward: 4 bytes more for each number, in memory.
    """

    buffers = ("weight", "bias", "zero_point")
    groups = 1

    def _start(self, *shape):
        self.weight, self.bias = np.zeros(shape, np.int8), np.zeros(shape[0], np.int32)
        self.zero_point, self._known = np.zeros((), np.int32), ()

    def forward(self, x):
        check_type(self, x, np.int8)
        parts, total = self.prepare(), None
        floats = self.floats(x.data, parts[0][1].dtype)
        for channels, weight, bias in parts:
            part = floats if len(parts) == 1 else floats[:, channels]
            acc = self.product(part, weight, bias).astype(np.int32)
            total = acc if total is None else total + acc
        return Tensor._from_op(total)

    def macs(self, shape):
        """Multiply-adds for an output of this shape: what `measure.summary` counts."""
        return math.prod(shape) * math.prod(self.weight.shape[1:])

    def prepare(self):
        """[(input channels, weight, bias or None)]: what is multiplied at once; anew when the buffers have changed."""
        if not _same(self._known, (self.weight, self.bias)):
            weight, bias = backend.to_host(self.weight), backend.to_host(self.bias)
            parts, dtype = exact_parts(weight, bias), np.float32
            if parts is None or (len(parts) > 1 and self.groups > 1):
                parts, dtype = [slice(None)], np.float64  # exact up to 2⁵³, far above an int32
            home = backend.device_of(self.weight).name
            pairs = [(weight[:, channels], bias if i == 0 else None) for i, channels in enumerate(parts)]
            pairs = [[a if a is None else backend.to_device(a.astype(dtype), home) for a in p] for p in pairs]
            self._known = self.weight, self.bias, [(part, *arrays) for part, arrays in zip(parts, pairs)]
        return self._known[-1]


class IntegerLinear(_Product):
    """acc[n, o] = Σ over i of  weight[o, i] · x[n, i]  + bias[o]: a dense layer on integers.

    Shapes: x (N, in_features), int8 -> acc (N, out_features), int32; weight (out_features, in_features), int8; bias
            (out_features,), int32, with the zero point's share in it; zero_point (), int32, of x.
    Raises: DtypeError for anything but int8; ShapeError if x does not fit.
    Source: Jacob et al. (2018), "Quantization and Training of Neural Networks for Efficient
            Integer-Arithmetic-Only Inference", arXiv:1712.05877, Sections 2.2 to 2.4.
    """

    def __init__(self, in_features, out_features):
        at_least_one(in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        self._start(out_features, in_features)

    def floats(self, x, dtype):
        if x.ndim != 2 or x.shape[1] != self.in_features:
            raise ShapeError(f"IntegerLinear({self.in_features}, ...) needs x (N, {self.in_features}); got {x.shape}")
        return x.astype(dtype)

    @staticmethod
    def product(x, weight, bias):
        acc = x @ weight.T
        if bias is not None:
            acc += bias
        return acc

    def config(self):
        return {"in_features": self.in_features, "out_features": self.out_features}


class IntegerConv2d(_Product):
    """A convolution on integers, whose padding is the zero point: the integer that stands for 0.

        acc[n, o, p, q] = Σ over c, i, j of  weight[o, c, i, j] · x[n, c', p·s + i, q·s + j]  + bias[o]

    Shapes: x (N, in_channels, H, W), int8 -> acc (N, out_channels, P, Q), int32; weight (out, in / groups, kh, kw),
            int8; bias (out,), int32, with the zero point's share in it; zero_point (), int32, of x.
    Raises: as `IntegerLinear`.
    Source: as `IntegerLinear`; the formula is that of `ops.conv2d`.
    """

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, *, groups=1):
        at_least_one(in_channels=in_channels, out_channels=out_channels, groups=groups)
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride = pair(kernel_size, "kernel_size"), pair(stride, "stride")
        self.padding = pair(padding, "padding")
        self._start(out_channels, in_channels // groups, *self.kernel_size)

    def floats(self, x, dtype):
        return framed(x, self.padding, self.zero_point, dtype)

    def product(self, x, weight, bias):
        return conv2d_then(x, weight, bias, stride=self.stride, groups=self.groups)[0]

    def config(self):
        names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "groups")
        return {name: getattr(self, name) for name in names}


class Requantize(Module):
    """Bring int32 accumulators onto the int8 line of what reads them; see `integer_math.requantize`.

        q = clip(round(acc · multiplier / 2^shift) + zero_point, low, 127)        low = −128, or zero_point if `relu`

    Shapes: acc (N, channels, ...), int32 -> q, same shape, int8; multiplier, int32 (31 bits), and shift, int8,
            (channels,), or (1,) for one factor for all; zero_point (), int32, of q.
    Raises: DtypeError for anything but int32; ShapeError for another number of channels.
    """

    buffers = ("multiplier", "shift", "zero_point")

    def __init__(self, channels=1, relu=False):
        at_least_one(channels=channels)
        self.channels, self.relu, self._known = channels, relu, ()
        self.multiplier, self.shift = np.full(channels, 2**30, np.int32), np.full(channels, 31, np.int8)
        self.zero_point = np.zeros((), np.int32)

    def forward(self, x):
        check_type(self, x, np.int32)
        if x.ndim < 2 or self.channels not in (1, x.shape[1]):
            raise ShapeError(f"Requantize({self.channels}) needs (N, {self.channels}, ...); got {x.shape}")
        if not _same(self._known, (self.multiplier, self.shift)):
            self._known = self.multiplier, self.shift, channel_rows(self.multiplier, self.shift, x.shape[1])
        return Tensor._from_op(requantize_rows(x.data, self._known[-1], self.zero_point, relu=self.relu))

    def config(self):
        return {"channels": self.channels, "relu": self.relu}


class IntegerAdd(Module):
    """A residual sum: two int8 arrays on different lines, added on one fine line.

        acc = multiplier₀ · (a − zero_point₀) + multiplier₁ · (b − zero_point₁)

    A multiplier says how many steps of the accumulator one step of its side is; the coarser side has 2²², so the
    sides' scales are kept to 22 bits. |q − zero_point| ≤ 255, so |acc| ≤ 2 · 255 · 2²² < 2³¹: nothing is rounded and
    nothing saturates here. The `Requantize` that follows rounds, once.

    Shapes: a, b (N, ...), alike, int8 -> acc, same shape, int32; multiplier (2,), int32, in 0 .. 2²²; zero_points
            (2,), int32.
    Raises: DtypeError for anything but int8; ShapeError for other shapes.
    Source: Jacob et al. (2018), arXiv:1712.05877, Appendix A.2. Differs: gemmlowp shifts both sides left by 20 and
            rounds each where it is rescaled; here a product of integers brings both to the same line, exactly.
    """

    buffers = ("multiplier", "zero_points")

    def __init__(self):
        self.multiplier, self.zero_points = np.full(2, SUM_STEPS, np.int32), np.zeros(2, np.int32)

    def forward(self, a, b):
        for x in (a, b):
            check_type(self, x, np.int8)
        if a.shape != b.shape:
            raise ShapeError(f"IntegerAdd adds arrays of one shape; got {a.shape} and {b.shape}")
        acc = np.multiply(a.data, self.multiplier[0], dtype=np.int32)
        acc += np.multiply(b.data, self.multiplier[1], dtype=np.int32)
        acc -= (self.multiplier * self.zero_points).sum(dtype=np.int32)
        return Tensor._from_op(acc)


LAYERS = (
    Dequantize, IntegerAdd, IntegerAvgPool2d, IntegerConv2d, IntegerLinear, IntegerMaxPool2d, IntegerNet, QuantizeInput,
    Requantize,
)  # fmt: skip


def _same(known, arrays):
    """True if what was prepared came from these very arrays."""
    return len(known) > len(arrays) and all(a is b for a, b in zip(known, arrays))

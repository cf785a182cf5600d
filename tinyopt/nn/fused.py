"""A layer and what follows it as one layer: ReLU, and pooling, on numbers that were just made. For inference.

Start with these three: `relu_in_place`, `FusedLinear`, `FusedConv2d`. `compress.fuse` puts these layers into a model.
They are no subclasses of `Linear`, `Conv2d` and `Add`: who looks for one of those, to fold a norm into it or to
quantize it, would not see the ReLU behind it. With a graph, or where someone listens to the ops (as `trace` does) or
has put a rule of their own in the place of one, they apply the plain ops one after the other.
"""

import numpy as np

from tinyopt import backend
from tinyopt.autograd import is_grad_enabled
from tinyopt.nn.layers import Add, Conv2d, Linear, at_least_one
from tinyopt.nn.module import Module
from tinyopt.ops.conv import pair
from tinyopt.ops.conv_inference import conv2d_then
from tinyopt.ops.rule import LISTENERS, SUBSTITUTED, differentiable
from tinyopt.tensor import OPS


def add_relu(x, y):
    """max(x + y, 0), a few examples at a time: they are still in the cache when the maximum is taken."""
    total = np.empty_like(x)
    for chunk in backend.chunks(x, 3 * x[:1].nbytes):
        np.maximum(np.add(x[chunk], y[chunk], out=total[chunk]), 0, out=total[chunk])
    return total, (None, None)


apply_add_relu = differentiable(add_relu)
apply_conv2d_then = differentiable(conv2d_then)  # to tensors; not an op of the table, as it has no gradient


def in_the_open():
    """True if each op must be run as an op: a pullback may need its result, or someone watches or replaces it."""
    return is_grad_enabled() or bool(SUBSTITUTED) or bool(LISTENERS)


def relu_in_place(y):
    """max(y, 0), written over y, which must be an op's own new result that nobody else has seen.

    No second array is made, and none is moved through memory; `in_the_open`, it is the plain op.

    Shapes: y, a tensor of any shape -> the same tensor, or a new one.
    """
    if in_the_open():
        return OPS["relu"](y)
    array = y.data
    if isinstance(array, np.ndarray):
        array.setflags(write=True)  # an op's result is frozen; this one is ours
    np.maximum(array, 0, out=array)
    if isinstance(array, np.ndarray):
        array.setflags(write=False)
    return y


class FusedLinear(Module):
    """y = max(x Wᵀ + b, 0); without the maximum if relu=False.

    Shapes, Start: as `Linear`, whose parameters it has.
    """

    def __init__(self, in_features, out_features, bias=True, relu=True, rng=None):
        vars(self).update(vars(Linear(in_features, out_features, bias, rng=rng)))
        self.relu = relu

    def forward(self, x):
        y = Linear.forward(self, x)
        return relu_in_place(y) if self.relu else y

    def config(self):
        return {**Linear.config(self), "relu": self.relu}


class FusedAdd(Module):
    """max(the sum of its inputs, 0): the end of a residual block."""

    def forward(self, *inputs):
        if not in_the_open() and len(inputs) == 2 and inputs[0].shape == inputs[1].shape:
            return apply_add_relu(*inputs)
        return OPS["relu"](Add.forward(self, *inputs))


class FusedConv2d(Module):
    """y = pool(max(conv2d(x, W) + b, 0)); without the maximum if relu=False, without the pooling if pool is None.

    All that is done to a few images while they are in the cache, before the next few: see `ops/conv_inference.py`.

    Shapes, Start: as `Conv2d`, whose parameters it has. Pooling is over windows of pool_size that do not overlap.
    Units:  pool is None, "max" or "mean"; pool_size in pixels.
    Raises: as `Conv2d`; ValueError for another pool, or one without a size.
    """

    def __init__(
        self, in_channels, out_channels, kernel_size, stride=1, padding=0, *, groups=1, bias=True, relu=True,
        pool=None, pool_size=None, rng=None,
    ):  # fmt: skip
        sizes = in_channels, out_channels, kernel_size, stride, padding
        vars(self).update(vars(Conv2d(*sizes, groups=groups, bias=bias, rng=rng)))
        if pool not in (None, "max", "mean") or (pool is None) != (pool_size is None):
            came = f"{pool!r} and {pool_size!r}"
            raise ValueError(f'pool is "max" or "mean" with a pool_size, or both are None; got {came}')
        self.relu, self.pool = relu, pool
        self.pool_size = None if pool is None else pair(pool_size, "pool_size")
        at_least_one(pool_size=1 if pool is None else min(self.pool_size))

    def forward(self, x):
        if not in_the_open():
            return apply_conv2d_then(x, self.weight, self.bias, **self.settings())
        y = Conv2d.forward(self, x)
        y = OPS["relu"](y) if self.relu else y
        return y if self.pool is None else OPS[POOLS[self.pool]](y, kernel_size=self.pool_size)

    def settings(self):
        """What `conv2d_then` has to know besides the arrays."""
        names = "stride", "padding", "groups", "relu", "pool", "pool_size"
        return {name: getattr(self, name) for name in names}

    def config(self):
        return {**Conv2d.config(self), "relu": self.relu, "pool": self.pool, "pool_size": self.pool_size}


POOLS = {"max": "max_pool2d", "mean": "avg_pool2d"}
LAYERS = FusedAdd, FusedConv2d, FusedLinear  # what a file can rebuild

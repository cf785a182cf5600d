"""A layer and the ReLU after it as one: the ReLU works in place, on numbers that were just made. For inference.

Start with `relu_in_place`. `compress.fuse` puts these layers into a model. They are no subclasses of `Linear` and
`Conv2d`: who looks for one of those, to fold a norm into it or to quantize it, would not see the ReLU behind it.
"""

import numpy as np

from tinyopt.autograd import is_grad_enabled
from tinyopt.nn.layers import Conv2d, Linear
from tinyopt.nn.module import Module
from tinyopt.ops.rule import SUBSTITUTED
from tinyopt.tensor import OPS


def relu_in_place(y):
    """max(y, 0), written over y, which must be an op's own new result that nobody else has seen.

    No second array is made, and none is moved through memory. With a graph, where a pullback may still need y, and
    inside `with substitute(...)`, where y may be anyone's, it is the plain op.

    Shapes: y, a tensor of any shape -> the same tensor, or a new one.
    """
    if is_grad_enabled() or SUBSTITUTED:
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


class FusedConv2d(Module):
    """y = max(conv2d(x, W) + b, 0); without the maximum if relu=False.

    Shapes, Start, Raises: as `Conv2d`, whose parameters it has.
    """

    def __init__(
        self, in_channels, out_channels, kernel_size, stride=1, padding=0, *, groups=1, bias=True, relu=True, rng=None
    ):
        sizes = in_channels, out_channels, kernel_size, stride, padding
        vars(self).update(vars(Conv2d(*sizes, groups=groups, bias=bias, rng=rng)))
        self.relu = relu

    def forward(self, x):
        y = Conv2d.forward(self, x)
        return relu_in_place(y) if self.relu else y

    def config(self):
        return {**Conv2d.config(self), "relu": self.relu}

"""Give a channel another scale without changing what the network computes.

    relu(x / s) = relu(x) / s,  and so for maxima, means, flattening and sums, for every s > 0

So what makes a channel may be divided by s, if all that reads it is multiplied by s. Start with these three:
`divide_rows` and `multiply_columns`, on a layer; `stretches`, which finds the channels of a model that allow it.
`equalize.py` and `smooth.py` each choose an s.
"""

import numpy as np

from tinyopt import backend, nn
from tinyopt.compress import channels

HOMOGENEOUS = {kind: rule for kind, rule in channels.RULES.items() if kind != "tanh"}  # f(x / s) = f(x) / s
PRODUCTS, NORMS = (nn.Linear, nn.Conv2d), (nn.BatchNorm1d, nn.BatchNorm2d)


def stretches(model, example):
    """Number the channels of a model by how they may be scaled: those with one number need one scale.

    Every product (also a depthwise one) and every norm reads channels and makes new ones; all other ops hand them on,
    or fix them: the model's input and output, what an op computes that is not homogeneous, shared weights.

    Shapes: example, an input of the model (N, ...) -> a `channels.Flow`, whose `reads` and `makes` say which
            number stands at each place of a layer's input and output; `fixed` numbers keep scale 1.
    Raises: ValueError if all are fixed, or for a weight under a view other than a mask: its data are no longer what
            layers multiply with.
    """
    for name, layer in model.named_modules():
        views = layer.weight.views if isinstance(layer, PRODUCTS) else ()
        if any(not isinstance(view, nn.Mask) for view in views):
            kind = type(views[0]).__name__
            raise ValueError(f"scales are moved before quantizing or sharing; {name}.weight has a view {kind}: bake()")
    flow = channels.follow(model, example, dict.fromkeys(PRODUCTS + NORMS, _remade), HOMOGENEOUS)
    if all(int(number) in flow.fixed for numbers in flow.makes.values() for number in numbers):
        raise ValueError(f"no channel of this {type(model).__name__} can get another scale: that takes two layers with "
                         "nothing but ReLU, pooling, norm, flattening or a residual sum between them")  # fmt: skip
    return flow


def _remade(walk, step):
    """A product or a norm reads channels, and makes new ones."""
    axis = len(step.output.shape) - 1 if isinstance(step.module, nn.Linear) else 1
    walk.read(step, step.inputs[0], axis)
    walk.make(step, axis, walk.new(step.output.shape[axis]))


def rescale(model, flow, scale):
    """Divide every channel by its scale where it is made, and multiply by it where it is read, in place.

    Shapes: scale (flow.size,), > 0, 1 for the fixed, on the host.
    """
    for name, numbers in flow.makes.items():
        layer = model.get(name)
        divide_rows(layer, _there(scale[numbers], layer.weight))
    for name, numbers in flow.reads.items():
        layer = model.get(name)
        multiply_columns(layer, _there(scale[numbers], layer.weight))


def divide_rows(layer, s):
    """Let a layer make y / s: divide the rows of its weight and its bias.

    Shapes: s (O,), on the layer's device. A norm's weight and bias are (O,) too.
    """
    for parameter in (layer.weight, layer.bias):
        if parameter is not None:
            parameter.data = (parameter.data / _rows(s, parameter.data)).astype(parameter.dtype)


def multiply_columns(layer, s):
    """Let a layer that is given x / s make what it made of x: multiply the columns of its weight.

    A norm takes the scale off again: (x − mean) · weight = (x / s − mean / s) · (s · weight).

    Shapes: s (I,), on the layer's device.
    """
    weight = layer.weight
    if isinstance(layer, NORMS):
        weight.data = (weight.data * s).astype(weight.dtype)
        layer.running_mean = (layer.running_mean / s).astype(layer.running_mean.dtype)
    else:
        by_input = _by_input(layer, weight.data)  # (groups, O / groups, I / groups, kh·kw)
        new = by_input * s.reshape(len(by_input), 1, -1, 1)
        weight.data = new.reshape(weight.data.shape).astype(weight.dtype)


def magnitudes(model, flow):
    """How large the weights are that lead from each channel that a layer reads to each that it makes.

    Shapes: -> {product: (groups, O / groups, I / groups)}, the largest |w| of each kernel, and {norm: (C,)}, its
            slope |weight| / √(var + ε); on the host, in float64.
    Raises: ValueError for a weight that is NaN or infinite.
    """
    sizes, slopes = {}, {}
    for name in flow.makes:
        layer = model.get(name)
        weight = abs(layer.weight.read().data)
        if not bool(np.isfinite(weight).all()):
            raise ValueError(f"{name}.weight must be finite; it holds NaN or infinity. Did training diverge?")
        if isinstance(layer, NORMS):
            slopes[name] = backend.to_host(weight / np.sqrt(layer.running_var + layer.eps)).astype(np.float64)
        else:
            sizes[name] = backend.to_host(_by_input(layer, weight).max(axis=3)).astype(np.float64)
    return sizes, slopes


def ranges(flow, sizes, slopes, scale):
    """For each channel, the largest |w| of the rows that make it and of the columns that read it, once rescaled.

    A norm is no weight to be rounded, but is to be folded into the layer before it: what it makes has the range of
    that layer's rows times its slope, and what it reads is not counted.

    Shapes: sizes and slopes as `magnitudes`, scale (flow.size,) -> made and read (flow.size,); 0 if there are none.
    """
    made, read = np.zeros(flow.size), np.zeros(flow.size)
    for name, numbers in flow.makes.items():  # in the order in which they run
        inputs = flow.reads[name]
        if name in slopes:
            before = np.where(made[inputs] > 0, made[inputs], 1.0)
            np.maximum.at(made, numbers, slopes[name] * scale[inputs] / scale[numbers] * before)
        else:
            size, groups = sizes[name], len(sizes[name])
            scaled = size * scale[inputs].reshape(groups, 1, -1) / scale[numbers].reshape(groups, -1, 1)
            np.maximum.at(made, numbers, scaled.max(axis=2).reshape(-1))
            np.maximum.at(read, inputs, scaled.max(axis=1).reshape(-1))
    return made, read


def _by_input(layer, weight):
    groups = getattr(layer, "groups", 1)
    return weight.reshape(groups, len(weight) // groups, weight.shape[1], -1)


def _rows(s, array):
    return s.reshape([-1] + [1] * (array.ndim - 1))


def _there(s, parameter):
    return backend.to_device(s, parameter.device)

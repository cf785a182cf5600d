"""What each integer layer computes, in Python's own integers: slow, exact, and without a float. The specification.

Start with `requantize` and `conv2d`; then `network`, which runs a whole `IntegerNet` in this way. Python's integers
have no largest one, so nothing here can wrap round or be rounded. The fast layers must give the same integers, every one:
`nn/integer.py`, whose products travel as floats and whose zero points are hidden in biases.
"""

import numpy as np

from tinyopt import backend, nn
from tinyopt.nn import integer
from tinyopt.ops.conv import conv_output_size


def round_shift(number, shift):
    """number / 2^shift, rounded to the nearest integer, a half away from zero."""
    magnitude = (abs(number) + 2 ** (shift - 1)) // 2**shift
    return magnitude if number >= 0 else -magnitude


def requantize(acc, multiplier, shift, zero_point, *, relu=False):
    """One accumulator to one int8: see `nn.integer_math.requantize`. All are Python integers."""
    low = zero_point if relu else -128
    return min(max(round_shift(acc * multiplier, shift) + zero_point, low), 127)


def linear(x, weight, bias, zero_point):
    """acc[n, o] = bias[o] + zero_point · Σ w[o]  +  Σ over i of  w[o, i] · (x[n, i] − zero_point)

    The stored bias has −zero_point · Σ w in it; here that is taken out again, and the zero point subtracted from x.
    """
    acc = np.zeros((len(x), len(weight)), np.int64)
    for n, o in np.ndindex(*acc.shape):
        acc[n, o] = _dot(weight[o], x[n], bias[o], zero_point)
    return acc


def conv2d(x, weight, bias, zero_point, *, stride, padding, groups):
    """The seven loops of `ops.conv.conv2d_loop` on integers, whose padding is the zero point.

    Shapes: x (N, C, H, W), weight (O, C / groups, kh, kw), bias (O,), integers -> acc (N, O, P, Q), int64.
    """
    x = _framed(x, padding, zero_point)
    n_out, c_group, kh, kw = weight.shape
    size = [conv_output_size(x.shape[2 + i], weight.shape[2 + i], stride[i]) for i in range(2)]
    acc = np.zeros((len(x), n_out, *size), np.int64)
    for n, o, p, q in np.ndindex(*acc.shape):
        first, (top, left) = o // (n_out // groups) * c_group, (p * stride[0], q * stride[1])
        window = x[n, first : first + c_group, top : top + kh, left : left + kw]
        acc[n, o, p, q] = _dot(weight[o], window, bias[o], zero_point)
    return acc


def windows(x, layer, border):
    """Yield ((n, c, p, q), [the integers of that window]) for a pooling layer."""
    x = _framed(x, layer.padding, border)
    (kh, kw), (sh, sw) = layer.kernel_size, layer.stride
    p, q = conv_output_size(x.shape[2], kh, sh), conv_output_size(x.shape[3], kw, sw)
    for n, c, i, j in np.ndindex(*x.shape[:2], p, q):
        yield (n, c, i, j), x[n, c, i * sh : i * sh + kh, j * sw : j * sw + kw].ravel().tolist()


def _pooled(x, layer, border, function):
    found = {place: function(numbers) for place, numbers in windows(x, layer, border)}
    y = np.zeros([1 + max(axis) for axis in zip(*found)], np.int64)
    for place, number in found.items():
        y[place] = number
    return y


def _dot(weight, x, bias, zero_point):
    """The sum over one window, with the zero point subtracted from x and not hidden in the bias."""
    pairs = list(zip(weight.ravel().tolist(), x.ravel().tolist()))
    bias = int(bias) + zero_point * sum(w for w, _ in pairs)
    return bias + sum(w * (number - zero_point) for w, number in pairs)


def _framed(x, padding, number):
    (ph, pw), x = padding, x.astype(np.int64)
    return np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)), constant_values=number)


def add(a, b, multipliers, zero_points):
    """acc = Σ over both sides of  multiplier · (q − zero_point), place by place."""
    acc, sides = np.zeros(a.shape, np.int64), list(zip((a, b), multipliers, zero_points))
    for place in np.ndindex(*acc.shape):
        acc[place] = sum(multiplier * (int(q[place]) - zero_point) for q, multiplier, zero_point in sides)
    return acc


def _requantized(acc, layer, multiplier, shift, zero_point):
    """q of every place."""
    q = np.zeros(acc.shape, np.int64)
    for place in np.ndindex(*q.shape):
        c = place[1] if len(shift) > 1 else 0
        q[place] = requantize(int(acc[place]), int(multiplier[c]), int(shift[c]), int(zero_point), relu=layer.relu)
    return q


def run(layer, *inputs):
    """One layer's output, as int64, from what it reads.

    Raises: KeyError for a layer that has no integers on both sides.
    """
    host = {name: backend.to_host(array) for name, array in layer.named_buffers()}
    return LAYERS[type(layer)](layer, host, *(x.astype(np.int64) for x in inputs))


LAYERS = {
    integer.IntegerLinear: lambda layer, b, x: linear(x, b["weight"], b["bias"], int(b["zero_point"])),
    integer.IntegerConv2d: lambda layer, b, x: conv2d(
        x, b["weight"], b["bias"], int(b["zero_point"]), stride=layer.stride, padding=layer.padding, groups=layer.groups
    ),
    integer.IntegerMaxPool2d: lambda layer, b, x: _pooled(x, layer, -(2**31), max),
    integer.IntegerAvgPool2d: lambda layer, b, x: _pooled(
        x, layer, int(b["zero_point"]), lambda numbers: sum(number - int(b["zero_point"]) for number in numbers)
    ),
    integer.Requantize: lambda layer, b, x: _requantized(x, layer, **b),
    integer.IntegerAdd: lambda layer, b, *x: add(*x, b["multiplier"].tolist(), b["zero_points"].tolist()),
    nn.Flatten: lambda layer, b, x: x.reshape(len(x), -1),
}


def network(net, images):
    """All values of an `IntegerNet` on some images: {layer: int64 array}, but for `dequantize`.

    The first layer turns floats into int8, and is taken as it is: what is specified here begins after it.
    """
    values = {"": images}
    for name, sources in net.wires[:-1]:
        layer, inputs = net.layers[name], [values[source] for source in sources]
        if isinstance(layer, integer.QuantizeInput):
            values[name] = layer(*inputs).numpy().astype(np.int64)
        else:
            values[name] = run(layer, *inputs)
    return values

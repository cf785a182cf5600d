"""A trained model to an integer-only network. Start with `quantize_layer`, on arrays, then `integerize`.

Three kinds of factors are known when a network is made, and gone when it runs: an activation's scale, one for a whole
array; a weight's, one for each output channel; and the factor of a `Requantize`, input scale · weight scale / output
scale, which is written as an integer and a shift.
"""

import math

import numpy as np

from tinyopt import backend, nn
from tinyopt.codec.affine import quantize, scale_from_range
from tinyopt.compress.integer.plan import plan
from tinyopt.compress.integer.ranges import ranges
from tinyopt.compress.observers import MinMaxObserver, images_of
from tinyopt.measure import trace
from tinyopt.nn import integer
from tinyopt.nn.integer_math import fixed_point

BIAS_BITS = 22  # a bias that needs more makes its channel's weights coarser


def quantize_layer(weight, bias, in_scale, in_zero_point, *, per_channel=True):
    """A layer's weight and bias as integers on the line of its accumulators, input scale · weight scale.

        scale[o] = max(max |W[o]| / 127,  |b[o]| / (input scale · 2²²))
        w = round(W / scale)        bias = round(b / (input scale · scale)) − zero point · Σ w

    so that Σ w · q + bias stands for W x + b, where q stands for input scale · (q − zero point) = x. The second term
    of the scale is for a channel with tiny weights and a bias: in steps of such weights, the bias would not fit.

    Shapes: weight (O, ...), float64; bias (O,) or None; two numbers -> w, as weight, int8 in −127 .. 127; bias (O,),
            int32; scale (O,), float64, all alike unless `per_channel`.
    Source: Jacob et al. (2018), "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
            Inference", arXiv:1712.05877, Sections 2.3 and 2.4; Krishnamoorthi (2018), arXiv:1806.08342, Section 2
            (weights symmetric, for each channel).
    """
    bias = np.zeros(len(weight)) if bias is None else bias
    scale = np.maximum(quantize(weight, axis=0)[1], abs(bias) / (in_scale * 2**BIAS_BITS))
    top = scale.max() if scale.max() > 1e-30 else 1.0  # all weights are 0
    scale = np.maximum(scale, top * 2.0**-24) if per_channel else np.full_like(scale, top)
    w = np.rint(weight / scale.reshape(-1, *[1] * (weight.ndim - 1))).astype(np.int8)
    sums = w.astype(np.int64).reshape(len(w), -1).sum(axis=1)
    steps = np.rint(bias / (in_scale * scale)).astype(np.int64) - in_zero_point * sums
    return w, steps.astype(np.int32), scale


def integerize(model, calibration, *, observer=MinMaxObserver, batch_size=256):
    """The same network in integers alone: int8 activations and weights, int32 accumulators and biases.

    The model runs once to see how it is wired, then on the calibration images to see which ranges its activations
    have. Norms are folded into the weights before them, and a ReLU becomes a clamp. The last layer's outputs share
    one scale, so its int32 logits can be compared as they are: `net.integers(x)`; `net(x)` gives them in floats.

    Shapes: calibration, training images (n, ...) or a part of them, such as `data.train.sample(512, rng=0)`; observer,
            what makes an observer of `compress/observers.py`, such as `functools.partial(PercentileObserver, 99.9)`.
            -> an `nn.integer.IntegerNet`, which `tinyopt.save` and `load` know. The model stays as it was.
    Raises: ValueError for a layer that has no integer version, named, with the reason; for no calibration images, or
            if NaN or infinity comes by.
    Source: Jacob et al. (2018), arXiv:1712.05877, Section 2.
    """
    example = backend.to_device(images_of(calibration)[:1], next((p.device for p in model.parameters()), "cpu"))
    run = trace(model, example).as_ops()
    groups = plan(model, run)
    asked = [run.inputs[0], *(group.value for group in groups if group.rescales)]
    builder = _Builder(model, run, ranges(model, run, asked, calibration, observer, batch_size=batch_size))
    for group in groups:
        builder.add(group)
    return builder.net()


class _Builder:
    """The integer network so far: its layers and wires, and what the integers of each value stand for."""

    def __init__(self, model, run, seen):
        self.model, self.output, self.seen = model, run.outputs[0], seen
        self.layers, self.wires, self.places, self.lines = {}, [], {}, {}
        self.readers = {value: len(run.consumers(value)) for step in run for value in step.outputs}
        self.place("quantize", integer.QuantizeInput(), [""], run.inputs[0])
        self.line(run.inputs[0], self.layers["quantize"], seen[run.inputs[0]])

    def place(self, name, layer, sources, value):
        """Put a layer into the network; `value` is what its output now stands for."""
        self.layers[name], self.places[value] = layer, name
        self.wires.append([name, sources])

    def line(self, value, layer, ends, finest=0.0):
        """Lay the line of a value over a range, with steps no finer than those of the accumulators; set the layer's."""
        low, high = (np.float32(end)[...] for end in ends)
        scale, zero_point = scale_from_range(low, high, symmetric=False)
        if scale <= finest:
            scale = np.float32(finest * (1 + 1e-6))
            zero_point = np.int32(max(-128, -128 - round(min(low, 0) / scale)))
        self.lines[value] = float(scale), int(zero_point)
        layer.zero_point = np.array(zero_point, np.int32)
        if "scale" in layer.buffers:
            layer.scale = np.array(scale, np.float32)

    def add(self, group):
        """The layers of one group."""
        sources, lines = ([known[value] for value in group.sources] for known in (self.places, self.lines))
        if group.kind in MAKERS:
            last = group.value == self.output and not (self.readers[group.value] or group.relu or group.line)
            layer, steps = MAKERS[group.kind](group, lines, last)
            self.place(group.name, layer, sources, group.value)
            for name, settings in group.pools:
                self.place(name, integer.IntegerMaxPool2d(**settings), [self.places[group.value]], group.value)
            if last:
                self.lines[group.value] = steps[0], 0  # int32 accumulators, whose line has no offset
            else:
                self.requantize(group, steps)
        else:
            self.lines[group.value], self.places[group.value] = lines[0], sources[0]
            if group.kind != "fake_quantize":  # else its line is that of the int8 that it reads
                layer = nn.Flatten() if group.kind == "reshape" else integer.IntegerMaxPool2d(**group.settings)
                self.place(group.name, layer, sources, group.value)

    def requantize(self, group, steps):
        """From accumulators, of which 1 stands for `steps`, (C,) or (1,), to int8."""
        layer = integer.Requantize(len(steps), group.relu)
        self.line(group.value, layer, group.line or self.seen[group.value], finest=float(steps.max()))
        layer.multiplier, layer.shift = fixed_point(steps / self.lines[group.value][0])
        before = self.places[group.value]
        self.place(f"{before}_requantize", layer, [before], group.value)

    def net(self):
        """The network, with the floats' scale at its end."""
        layer = integer.Dequantize()
        scale, zero_point = self.lines[self.output]
        layer.scale, layer.zero_point = np.array(scale, np.float32), np.array(zero_point, np.int32)
        self.place("dequantize", layer, [self.places[self.output]], self.output)
        return integer.IntegerNet(self.wires, **self.layers).eval()


# Each makes a layer for a group, and says what 1 of its accumulators stands for: from the lines (scale, zero point) of
# what it reads, and whether it is the last one.


def _add(group, lines, last):
    layer, scales = integer.IntegerAdd(), np.array([scale for scale, _ in lines])
    step = scales.max() / integer.SUM_STEPS
    layer.multiplier = np.rint(scales / step).astype(np.int32)
    layer.zero_points = np.array([zero_point for _, zero_point in lines], np.int32)
    return layer, np.array([step])


def _linear(group, lines, last):
    layer = integer.IntegerLinear(*reversed(group.weight.shape))
    return layer, _fill(layer, group, *lines, last)


def _conv2d(group, lines, last):
    n_out, c_group, *kernel = group.weight.shape
    settings = {"groups": 1, **group.settings}
    layer = integer.IntegerConv2d(c_group * settings["groups"], n_out, tuple(kernel), **settings)
    return layer, _fill(layer, group, *lines, last)


def _fill(layer, group, line, last):
    layer.weight, layer.bias, scale = quantize_layer(group.weight, group.bias, *line, per_channel=not last)
    layer.zero_point = np.array(line[1], np.int32)
    return line[0] * scale


def _avg_pool2d(group, lines, last):
    layer, (line,) = integer.IntegerAvgPool2d(**group.settings), lines
    layer.zero_point = np.array(line[1], np.int32)
    return layer, np.array([line[0] / math.prod(layer.kernel_size)])


MAKERS = {"add": _add, "avg_pool2d": _avg_pool2d, "conv2d": _conv2d, "linear": _linear, "sparse_linear": _linear}

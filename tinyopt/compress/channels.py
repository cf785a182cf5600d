"""A channel followed through a network: who makes it, who reads it, and what it is tied to.

Start with `follow`, then `RULES`, which says how each op treats channels. Channels are told apart by numbers.
A convolution makes new ones; a ReLU, a pooling or a norm hands on those that it was given; flattening repeats
each H·W times; an addition makes one of two. What is left at the end is, for every layer, one number for each
place of its input and of its output, and surgery needs no more: to remove a channel is to remove
all places with its number.

    conv1 makes 0 1 2 · norm1 hands on 0 1 2 · flatten 0 0 0 0 1 1 1 1 2 2 2 2 · fc reads these, and makes 3 4 5
"""

import dataclasses
import math

import numpy as np

from tinyopt import nn
from tinyopt.measure import trace


@dataclasses.dataclass
class Flow:
    """Where the channels of a network lie, in numbers; equal numbers are one channel.

    reads, makes  {layer: (places,)}: the number at each place along the axis of its input, of its output
    fixed         {number: why it cannot be removed}
    grouped       {convolution: its groups}, for those that read more than one channel in each group

    A norm makes what it reads.
    """

    reads: dict
    makes: dict
    fixed: dict
    grouped: dict

    @property
    def size(self):
        """How many numbers there may be."""
        return 1 + max((int(part.max()) for part in (*self.reads.values(), *self.makes.values())), default=-1)


@dataclasses.dataclass(frozen=True)
class Carried:
    """The channels that a value carries: `numbers`, one for each place along `axis`."""

    axis: int
    numbers: np.ndarray


def follow(model, example, layers=None, rules=None):
    """Run the model once, and follow every channel from the layer that makes it to those that read it.

    `layers` and `rules` say how layers with weights, and all other ops, treat channels: `LAYERS` and `RULES`, unless
    given. An op that has no rule fixes what it reads.

    Shapes: example, an input of the model (N, ...), or a tuple of several inputs -> a `Flow`.
    Source: Fang, Ma, Song, Mi & Wang (2023), "DepGraph: Towards Any Structural Pruning", arXiv:2301.12900.
    Differs: they make a graph of layers that must be cut together; we number the channels themselves.
    """
    run = trace(model, *(example if isinstance(example, tuple) else (example,)))
    walk, layers, rules = _Walk(_readers(run)), layers or LAYERS, rules or RULES
    for step in run:
        if step.passes_through or step.weight_side:
            continue
        if type(step.module) in layers:
            layers[type(step.module)](walk, step)
        else:
            for op in step.opened():
                rules.get(op.kind, _unknown)(walk, op, step)
    for value in run.outputs:
        walk.fix(value, "they are the model's output")
    return walk.flow()


class _Walk:
    """What is known of the channels so far."""

    def __init__(self, readers):
        self.readers = readers  # parameter -> the steps that read it
        self.carried = {}  # value -> Carried
        self.number = np.zeros(0, int)  # number given first -> number that it has now, after additions
        self.reads, self.makes, self.fixed, self.grouped = {}, {}, {}, {}

    def new(self, n):
        """Numbers for n channels."""
        first = len(self.number)
        self.number = np.append(self.number, np.arange(first, first + n))
        return np.arange(first, first + n)

    def fix(self, what, reason):
        """These channels cannot be removed: numbers, or all that a value carries."""
        if not isinstance(what, np.ndarray):
            what = self.carried[what].numbers if what in self.carried else ()
        for number in what:
            self.fixed.setdefault(int(number), reason)

    def join(self, a, b):
        """Channels a[i] and b[i] are one from now on."""
        for first, second in zip(self.number[a], self.number[b]):
            self.number[self.number == second] = first

    def read(self, step, value, axis):
        """The numbers that a layer reads along an axis; fixed ones, if none came or they lie along another."""
        carried = self.carried.get(value)
        if carried is not None and carried.axis == axis:
            numbers = carried.numbers
        else:
            self.fix(value, f"{_named(step)} reads another axis than theirs")
            numbers = self.new(value.shape[axis])
            self.fix(numbers, f"{_named(step)} reads the model's input, or what surgery cannot follow")
        return self.once(self.reads, step, numbers)

    def make(self, step, axis, numbers):
        """A layer hands on these numbers."""
        self.carried[step.output] = Carried(axis, self.once(self.makes, step, numbers))

    def once(self, known, step, numbers):
        """A layer that runs twice has the same channels both times; one that shares a weight keeps them all."""
        others = [other for name in step.parameters for other in self.readers[name] if other != _named(step)]
        if others:
            self.fix(numbers, f"{_named(step)} shares a weight with {others[0]}")
        if step.name in known:
            self.join(known[step.name], numbers)
        return known.setdefault(step.name, numbers)

    def flow(self):
        """The numbers as they are after all additions."""
        reads, makes = ({name: self.number[n] for name, n in part.items()} for part in (self.reads, self.makes))
        fixed = {int(self.number[number]): reason for number, reason in self.fixed.items()}
        return Flow(reads, makes, fixed, self.grouped)


def _readers(run):
    """Which steps read each parameter: {parameter: [steps, in words]}."""
    readers = {}
    for step in run:
        for name in step.parameters:
            known = readers.setdefault(name, [])
            known += [_named(step)] * (_named(step) not in known)
    return readers


def _named(step):
    """A step in words, for errors."""
    if step.module is not None:
        return f"{step.name} ({step.kind})"
    return f"{step.kind} in the forward of {step.name or 'the model'}"


# --- layers that have weights: rule(walk, step) ----------------------------------------------------------


def _dense(walk, step):
    """Linear: reads all channels of the last axis and makes new ones there."""
    axis = len(step.output.shape) - 1
    walk.read(step, step.inputs[0], axis)
    walk.make(step, axis, walk.new(step.output.shape[axis]))


def _convolution(walk, step):
    """A filter reads the channels of its group; one that reads a single channel (depthwise) is tied to it."""
    groups, n_out = step.settings["groups"], step.settings["out_channels"]
    numbers = walk.read(step, step.inputs[0], 1)
    if len(numbers) == groups > 1:
        walk.make(step, 1, np.repeat(numbers, n_out // groups))
    else:
        walk.make(step, 1, walk.new(n_out))
        walk.grouped.update({step.name: groups} if groups > 1 else {})


def _norm(walk, step):
    """Batch norm has a scale, a shift and running moments for each channel, and hands on the channel."""
    walk.make(step, 1, walk.read(step, step.inputs[0], 1))


LAYERS = {
    nn.BatchNorm1d: _norm,
    nn.BatchNorm2d: _norm,
    nn.Conv2d: _convolution,
    nn.Linear: _dense,
    nn.LowRankLinear: _dense,
}


# --- ops, of all other layers and of a model's own forward: rule(walk, op, step) -------------------------


def _unknown(walk, op, step):
    """An op without a rule: what it reads must stay as it is."""
    did = f"its op {op.kind} " if step.module is not None else ""
    for value in op.inputs:
        walk.fix(value, f"{_named(step)} reads them, and {did}may compute with all of them together")


def _alike(walk, op, step):
    """One input, and a channel of zeros stays one of zeros: f(0) = 0."""
    value, *others = op.inputs
    if value in walk.carried and not any(others):
        walk.carried[op.output] = walk.carried[value]
    else:
        _unknown(walk, op, step)


def _pooled(walk, op, step):
    """Windows over the image, for each channel; the border of a maximum, −∞, never wins."""
    carried = walk.carried.get(op.inputs[0])
    (_alike if carried is not None and carried.axis == 1 else _unknown)(walk, op, step)


def _added(walk, op, step):
    """A residual sum: channel i of one and channel i of the other can only be removed together."""
    a, b = (walk.carried.get(value) for value in op.inputs)
    if a is None or b is None or (a.axis, len(a.numbers)) != (b.axis, len(b.numbers)):
        for value in op.inputs:
            walk.fix(value, f"{_named(step)} adds them to what no layer made: the model's input, or a weight")
    else:
        walk.join(a.numbers, b.numbers)
        walk.carried[op.output] = a


def _reduced(walk, op, step):
    """A mean or a maximum over other axes than that of the channels, nor over the batch."""
    carried, ndim, axis = walk.carried.get(op.inputs[0]), len(op.inputs[0].shape), op.settings.get("axis")
    axes = {i % ndim for i in (axis if isinstance(axis, (tuple, list)) else range(ndim) if axis is None else (axis,))}
    if carried is None or axes & {0, carried.axis}:
        return _unknown(walk, op, step)
    before = 0 if op.settings.get("keepdims") else sum(i < carried.axis for i in axes)
    walk.carried[op.output] = Carried(carried.axis - before, carried.numbers)


def _reshaped(walk, op, step):
    """Flattening: (N, C, H, W) -> (N, C·H·W), where each channel becomes a block of H·W places."""
    value, shape = op.inputs[0], op.inputs[0].shape
    if value not in walk.carried or op.output.shape != (shape[0], math.prod(shape[1:])):
        return _unknown(walk, op, step)
    carried = walk.carried[value]
    ones = [1] * (len(shape) - 1)
    ones[carried.axis - 1] = -1
    walk.carried[op.output] = Carried(1, np.broadcast_to(carried.numbers.reshape(ones), shape[1:]).reshape(-1))


RULES = {
    **dict.fromkeys(("relu", "tanh", "abs", "neg", "mul", "div"), _alike),  # the last two, by a plain number
    **dict.fromkeys(("max_pool2d", "avg_pool2d"), _pooled),
    **dict.fromkeys(("mean", "sum", "max", "min"), _reduced),
    "add": _added,
    "reshape": _reshaped,
}

"""Inference in one reused workspace: every value between two layers has its place in one array, planned before.

Start with these three: `place`, on numbers; `Workspace`, which runs a model so; `peak_memory`, which measures what was
planned.

A value is alive from the step that makes it to the last that reads it. Two that are never alive together may lie in
the same place, and a step such as ReLU may write over what it reads, if that dies there.
"""

import math

import numpy as np

from tinyopt import backend
from tinyopt.autograd import no_grad
from tinyopt.compress.one_run import as_example, refuse_branches, refuse_training
from tinyopt.errors import ShapeError
from tinyopt.measure import inference, trace
from tinyopt.nn import (
    Add, AvgPool2d, BatchNorm1d, BatchNorm2d, Conv2d, Dropout, Flatten, Identity, Linear, MaxPool2d, Module, ReLU,
)  # fmt: skip
from tinyopt.nn.fused import FusedAdd, FusedConv2d, FusedLinear
from tinyopt.ops.conv_inference import conv2d_then, pool_into
from tinyopt.ops.rule import SUBSTITUTED, check_floats
from tinyopt.tensor import Tensor

IN_PLACE = Add, BatchNorm1d, BatchNorm2d, Flatten, FusedAdd, ReLU  # each example is written where it was read
EACH_ALONE = *IN_PLACE, AvgPool2d, Conv2d, Dropout, FusedConv2d, FusedLinear, Identity, Linear, MaxPool2d

# --- the plan, on numbers ----------------------------------------------------------------------------


def place(sizes, first, last):
    """Where each value lies in one array, so that no two overlap while both are alive: greedy by size.

    The largest is placed first; each next one in the smallest gap that is large enough between those placed before
    that are alive with it, or behind them all. Not always the best plan; the best is at least `most_alive`.

    Shapes: sizes, first, last: n numbers each; value i is alive in the steps first[i] … last[i] -> n offsets.
    Units:  sizes and offsets alike, in numbers of the array; steps from 0.
    Source: Pisarchyk & Lee (2020), "Efficient Memory Management for Deep Neural Net Inference", arXiv:2001.03288,
            Section 5.2 (greedy by size).
    """
    offsets = [0] * len(sizes)
    placed = []
    for i in sorted(range(len(sizes)), key=lambda i: (-sizes[i], first[i])):
        others = sorted((offsets[j], sizes[j]) for j in placed if first[j] <= last[i] and first[i] <= last[j])
        end, gaps = 0, []
        for offset, size in others:
            if offset - end >= sizes[i]:
                gaps.append((offset - end, end))
            end = max(end, offset + size)
        offsets[i] = min(gaps)[1] if gaps else end
        placed.append(i)
    return offsets


def most_alive(sizes, first, last):
    """The largest total size of the values that are alive in one step: no plan can take less.

    Shapes, Units: as `place` -> a number.
    """
    steps = range(max(last, default=-1) + 1)
    return max((sum(s for s, a, b in zip(sizes, first, last) if a <= step <= b) for step in steps), default=0)


# --- a model -----------------------------------------------------------------------------------------


class Workspace(Module):
    """Run a model in eval mode, every value at its planned place in one array that all runs use again.

    Layers compute into their result's place, a few images at a time. What one needs besides is not in the plan: the
    windows of a convolution and its padded images, one piece of 1 MiB or one image's, and its filters in another
    order. After the first run nothing else is asked of the system but the answer, which is a copy. A workspace is for
    one caller at a time, and has no gradients. The model's weights may change; its layers and the shape of an example
    may not.

    Attributes: `planned`, numbers of the workspace for one example; `least`, that no plan could undercut; `separate`,
    what they would be with a place for each value.

    Shapes: example, an input of the model (N, ...), of which one is enough; called with (n, ...), any n.
    Raises: ValueError for a model with ops outside of layers, or with a layer of which it is not known that each
            example is computed alone, or with several outputs, or with a batch norm in training mode, or whose way
            depends on its numbers; ShapeError when called with examples of another shape.
    """

    def __init__(self, model, example):
        refuse_training(model)
        example = as_example(model, example)
        refuse_branches(model, example)
        run = trace(model, example)
        for step in run:
            if not isinstance(step.module, EACH_ALONE):
                what = f"layer {step.name} ({step.kind})" if step.module is not None else f"op {step.kind}"
                known = ", ".join(kind.__name__ for kind in EACH_ALONE)
                raise ValueError(f"a workspace is planned for layers that run each example alone: {known}; got {what}")
        self.model, self.run = model, run
        self.steps = [step for step in run if not step.passes_through]
        known = {*run.inputs, *(step.output for step in self.steps)}
        if len(run.outputs) != 1 or run.outputs[0] in run.inputs or not known.issuperset(
            value for step in self.steps for value in step.inputs
        ):  # fmt: skip
            raise ValueError("a workspace is planned for models that compute one output from their input and nothing else")
        self.home = self._homes()
        sizes, first, last = self._lives()
        self.offsets = dict(zip(sizes, place(*(list(part.values()) for part in (sizes, first, last)))))
        self.least = most_alive(*(list(part.values()) for part in (sizes, first, last)))
        self.planned = max((self.offsets[home] + sizes[home] for home in sizes), default=0)
        self.separate = sum(math.prod(step.output.shape[1:]) for step in self.steps)
        self.array = self.jobs = self.n = None  # of the batch that came last

    def _last(self, value):
        """The number of the last step that reads a value; of the answer, the one after all."""
        if value in self.run.outputs:
            return len(self.steps)
        return max((self.steps.index(step) for step in self.run.consumers(value)), default=-1)

    def _homes(self):
        """{value: the value whose place it takes}: its own, or that of an input that dies where this is made."""
        homes = {}
        for i, step in enumerate(self.steps):
            size = math.prod(step.output.shape[1:])
            dying = (
                value for value in step.inputs
                if isinstance(step.module, IN_PLACE) and value in homes
                and self._last(value) == i and math.prod(value.shape[1:]) == size
            )  # fmt: skip
            homes[step.output] = homes.get(next(dying, None), step.output)
        return homes

    def _lives(self):
        """{home: size of one example}, {home: first step}, {home: last step}."""
        sizes, first, last = {}, {}, {}
        for i, step in enumerate(self.steps):
            home = self.home[step.output]
            sizes.setdefault(home, math.prod(step.output.shape[1:]))
            first.setdefault(home, i)
            last[home] = max(last.get(home, i), self._last(step.output), i)
        return sizes, first, last

    def forward(self, x):
        (given,) = self.run.inputs
        if x.shape[1:] != given.shape[1:]:
            raise ShapeError(f"this workspace was planned for examples of shape {given.shape[1:]}; got {x.shape[1:]}")
        fits = type(self.array) is type(x.data) and self.array.dtype == x.dtype
        if not fits or self.array.size < self.planned * len(x):
            self.array = self.jobs = None  # first let go of the old one, and of all views of it
            self.array = np.empty_like(x.data, shape=self.planned * len(x))
            self.n = None
        if self.n != len(x):
            self.n, self.jobs = len(x), self._jobs(len(x))
        with no_grad():
            for layer, inputs, out in self.jobs:
                _run(layer, [x.data if array is None else array for array in inputs], out)
        return Tensor(self._place_of(self.run.outputs[0], len(x)).copy(order="K"))

    def __getstate__(self):
        """What a copy gets: the plan. It makes an array of its own."""
        return {**vars(self), "array": None, "jobs": None, "n": None}

    def _jobs(self, n):
        """What to do with n examples: [(layer, where it reads, where it writes)]. Where None stands, it reads them."""
        places = {step.output: self._place_of(step.output, n) for step in self.steps}
        places[self.run.inputs[0]] = None
        return [(step.module, [places[value] for value in step.inputs], places[step.output]) for step in self.steps]

    def _place_of(self, value, n):
        """The part of the workspace in which a value lies: images in the order of memory (n, H, W, C)."""
        start, shape = self.offsets[self.home[value]] * n, value.shape[1:]
        part = self.array[start : start + math.prod(shape) * n]
        if len(shape) != 3:
            return part.reshape(n, *shape)
        channels, height, width = shape
        return part.reshape(n, height, width, channels).transpose(0, 3, 1, 2)


# --- layers that compute into a given place -----------------------------------------------------------


def _run(layer, inputs, out):
    """Let a layer compute into `out`, which may be where an input lies if the layer is of those IN_PLACE."""
    into = None if SUBSTITUTED else INTO.get(type(layer))
    if into is not None and (into is not _add or [x.shape for x in inputs] == 2 * [out.shape]):
        into(layer, *inputs, out=out)
        return
    for chunk in backend.chunks(out, sum(x[:1].nbytes for x in inputs) + out[:1].nbytes):
        out[chunk] = layer(*(Tensor._from_op(x[chunk]) for x in inputs)).data


def _conv(layer, x, *, out):
    names = "stride", "padding", "groups"
    settings = layer.settings() if type(layer) is FusedConv2d else {name: getattr(layer, name) for name in names}
    conv2d_then(x, *_weights(layer), **settings, out=out)


def _linear(layer, x, *, out):
    weight, bias = _weights(layer)
    check_floats("linear", x, weight)
    np.matmul(x, weight.T, out=out)
    if bias is not None:
        out += bias
    if type(layer) is FusedLinear and layer.relu:
        np.maximum(out, 0, out=out)


def _add(layer, x, y, *, out):
    for chunk in backend.chunks(out, 3 * out[:1].nbytes):
        part = np.add(x[chunk], y[chunk], out=out[chunk])
        if type(layer) is FusedAdd:
            np.maximum(part, 0, out=part)


def _pool(layer, x, *, out):
    settings = layer.config()
    for chunk in backend.chunks(out, x[:1].nbytes + out[:1].nbytes):
        pool_into(out[chunk], x[chunk], kind="max" if type(layer) is MaxPool2d else "mean", **settings)


def _relu(layer, x, *, out):
    np.maximum(x, 0, out=out)


def _weights(layer):
    return [None if parameter is None else parameter.read().data for parameter in (layer.weight, layer.bias)]


INTO = {
    **dict.fromkeys((Conv2d, FusedConv2d), _conv), **dict.fromkeys((Linear, FusedLinear), _linear),
    **dict.fromkeys((AvgPool2d, MaxPool2d), _pool), **dict.fromkeys((Add, FusedAdd), _add), ReLU: _relu,
}  # fmt: skip; all others compute a few images at a time, and the result is copied


def peak_memory(model, batch):
    """Measure how many bytes more than before are in use at the worst moment of one forward pass.

    A `Workspace` that has not run yet makes its array in this pass, so it counts.

    Units:  bytes that Python and NumPy asked for; not what BLAS keeps for itself.
    Source: docs.python.org/3/library/tracemalloc.html.
    """
    import tracemalloc

    batch, tracing = Tensor(batch), tracemalloc.is_tracing()
    if not tracing:
        tracemalloc.start()
    try:
        with inference(model):
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            model(batch)
            return tracemalloc.get_traced_memory()[1] - before
    finally:
        if not tracing:
            tracemalloc.stop()

"""Inference in one reused workspace: every value between two layers has its place in one array, planned before.

Start with `place`, on numbers; then `Workspace`, which runs a model so; `peak_memory` measures what was planned.

A value is alive from the step that makes it to the last that reads it. Two that are never alive together may lie in
the same place, and a step such as ReLU may write over what it reads, if that dies there.
"""

import math

import numpy as np

from tinyopt import backend
from tinyopt.autograd import no_grad
from tinyopt.errors import ShapeError
from tinyopt.measure import inference, trace
from tinyopt.nn import (
    Add, AvgPool2d, BatchNorm1d, BatchNorm2d, Conv2d, Dropout, Flatten, Identity, Linear, MaxPool2d, Module, ReLU,
)  # fmt: skip
from tinyopt.nn.fused import FusedConv2d, FusedLinear
from tinyopt.tensor import Tensor

IN_PLACE = Add, BatchNorm1d, BatchNorm2d, Flatten, ReLU  # each example is written where it was read
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

    A layer runs over a few images at a time, and its result is copied into its place: so what it needs besides, such
    as the windows of a convolution, is small. That saves memory, not time. The answer is a copy. A workspace is for one
    caller at a time, and has no gradients. The model's weights may change; its layers and the shape of an example may
    not.

    Attributes: `planned`, numbers of the workspace for one example; `least`, that no plan could undercut; `separate`,
    what they would be with a place for each value.

    Shapes: example, an input of the model (N, ...), of which one is enough; called with (n, ...), any n.
    Raises: ValueError for a model with ops outside of layers, or with a layer of which it is not known that each
            example is computed alone; ShapeError when called with examples of another shape.
    """

    def __init__(self, model, example):
        where = next((parameter.device for parameter in model.parameters()), "cpu")
        run = trace(model, backend.to_device(example, where))
        for step in run:
            if not isinstance(step.module, EACH_ALONE):
                what = f"layer {step.name} ({step.kind})" if step.module is not None else f"op {step.kind}"
                known = ", ".join(kind.__name__ for kind in EACH_ALONE)
                raise ValueError(f"a workspace is planned for layers that run each example alone: {known}; got {what}")
        self.model, self.run = model, run
        self.steps = [step for step in run if not step.passes_through]
        self.home = self._homes()
        sizes, first, last = self._lives()
        self.offsets = dict(zip(sizes, place(*(list(part.values()) for part in (sizes, first, last)))))
        self.least = most_alive(*(list(part.values()) for part in (sizes, first, last)))
        self.planned = max((self.offsets[home] + sizes[home] for home in sizes), default=0)
        self.separate = sum(math.prod(step.output.shape[1:]) for step in self.steps)
        self.array = None

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
        if self.array is None or self.array.size < self.planned * len(x) or self.array.dtype != x.dtype:
            self.array = None  # first let go of the old one
            self.array = np.empty_like(x.data, shape=self.planned * len(x))
        values = {given: x.data}
        with no_grad():
            for step in self.steps:
                out = values[step.output] = self._place_of(step.output, len(x))
                _run(step.module, [values[value] for value in step.inputs], out)
        return Tensor(values[self.run.outputs[0]].copy(order="K"))

    def _place_of(self, value, n):
        """The part of the workspace in which a value lies: images in the order of memory (n, H, W, C)."""
        start, shape = self.offsets[self.home[value]] * n, value.shape[1:]
        part = self.array[start : start + math.prod(shape) * n]
        if len(shape) != 3:
            return part.reshape(n, *shape)
        channels, height, width = shape
        return part.reshape(n, height, width, channels).transpose(0, 3, 1, 2)


def _run(layer, inputs, out):
    """Let a layer compute into `out`, which may be where an input lies."""
    if type(layer) is ReLU:
        np.maximum(inputs[0], 0, out=out)
    elif type(layer) is Add and len(inputs) == 2:
        np.add(*inputs, out=out)
    else:
        grouped = isinstance(layer, (Conv2d, FusedConv2d)) and layer.groups > 1
        windows = math.prod(layer.kernel_size) if grouped else 1  # the other rule makes few windows at a time
        row_bytes = sum(x[:1].nbytes for x in inputs) * windows + out[:1].nbytes
        for chunk in backend.chunks(out, row_bytes):
            out[chunk] = layer(*(Tensor._from_op(x[chunk]) for x in inputs)).data


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

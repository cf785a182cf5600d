"""From a trace to groups of steps that one integer layer and one `Requantize` stand for.

Start with `plan`, then `RULES`, which says what each op becomes. A group begins with a product, a sum or a pooling,
whose accumulators are int32. A norm is folded into it; a max pooling and a ReLU that alone read it stay on the
accumulators; then they are requantized, and the next group reads int8:

    conv2d · batch_norm · relu · max_pool2d   →   IntegerConv2d · IntegerMaxPool2d · Requantize(relu=True)
"""

import dataclasses

import numpy as np

from tinyopt import backend
from tinyopt.autograd import no_grad
from tinyopt.compress.fold import fold_norm
from tinyopt.measure.trace import Value

# A "fake_quantize" that starts a group stands behind int8, which has its line already: nothing is left of it.

STARTS = ("conv2d", "linear", "sparse_linear", "avg_pool2d", "add")  # ops whose result needs a line of its own


@dataclasses.dataclass
class Group:
    """One integer layer, and what is done with its accumulators before the next layer reads them.

    name     the float layer's; `kind`, the op that it begins with; `settings`, that op's
    sources  the `Value`s that it reads; `value`, the one that it ends with
    weight, bias   float64 arrays with norms folded in; bias may be None
    pools    [(name, settings)] of the max poolings of its accumulators; `relu`, True if it ends with one
    line     a range (low, high) that the model itself sets for its value, or None
    """

    name: str
    kind: str
    settings: dict
    sources: tuple
    value: Value
    weight: np.ndarray | None = None
    bias: np.ndarray | None = None
    pools: list = dataclasses.field(default_factory=list)
    relu: bool = False
    line: tuple | None = None

    @property
    def rescales(self):
        """True if a new line is laid for its value; a max pooling of int8 and a flattening keep what they read."""
        return self.kind in STARTS


def plan(model, run):
    """The groups of a traced model, in order.

    Raises: ValueError that names a layer without an integer version, and says why it has none.
    """
    walk = _Walk(model, run)
    if len(run.inputs) != 1 or len(run.outputs) != 1:
        raise ValueError(f"an integer network has one input and one output; this model has {len(run.inputs)} and "
                         f"{len(run.outputs)}")  # fmt: skip
    for step in run:
        if not step.passes_through and not step.weight_side:
            RULES.get(step.kind, _unknown)(walk, step)
    if run.outputs[0] not in walk.makers:
        raise ValueError("the model computes nothing from its input that an integer network could compute")
    return list(walk.groups.values())


class _Walk:
    """The groups so far, by name, and which one ends with which value."""

    def __init__(self, model, run):
        self.model, self.run = model, run
        self.groups, self.makers = {}, {}

    def start(self, step, sources, **parts):
        """A new group, named after the layer."""
        for value in sources:
            if value is None or (value not in self.makers and value not in self.run.inputs):
                refuse(self.model, step, "it reads something that is not computed from the model's input")
        name = step.name or step.kind
        while name in self.groups or any(name == pool for g in self.groups.values() for pool, _ in g.pools):
            name += "_again"
        group = Group(name, step.kind, step.settings, tuple(sources), step.output, **parts)
        self.groups[name] = self.makers[step.output] = group
        return group

    def extend(self, step):
        """The group whose accumulators this step alone reads, which now ends with this step; or None."""
        value = step.inputs[0]
        group = self.makers.get(value)
        alone = self.run.consumers(value) == [step] and value not in self.run.outputs
        if group is None or group.kind not in STARTS or not alone or group.line is not None:
            return None
        group.value = step.output
        self.makers[step.output] = group
        return group

    def array(self, step, value, what):
        """A parameter as the layers see it, through its views, in float64."""
        if value is None:
            return None
        if value.source != "parameter":
            refuse(self.model, step, f"its {what} is computed in a forward, and is no parameter. Make it one first")
        with no_grad():
            array = backend.to_host(self.model.get(value.id).read().data).astype(np.float64)
        if not np.isfinite(array).all():
            refuse(self.model, step, f"its {what} holds NaN or infinity. Look for the training step that made them")
        return array


def _product(walk, step):
    x, weight, bias = (*step.inputs, None)[:3]
    if step.kind != "conv2d" and len(x.shape) != 2:
        refuse(walk.model, step, f"it is applied to {x.shape}, and the integer version takes (N, D). Flatten first")
    arrays = walk.array(step, weight, "weight"), walk.array(step, bias, "bias")
    walk.start(step, (x,), weight=arrays[0], bias=arrays[1])


def _add(walk, step):
    walk.start(step, step.inputs)
    first, second = (value.shape for value in step.inputs)
    if first != second:
        refuse(walk.model, step, f"it adds {first} and {second}, and the integer version broadcasts nothing")


def _norm(walk, step):
    group = walk.extend(step)
    if group is None or group.weight is None or group.relu or group.pools:
        refuse(walk.model, step, "a norm is folded into the weights before it, so it must follow a convolution or a "
                                 "dense layer directly, and nothing else may read that layer")  # fmt: skip
    norm, (_, gamma, beta, *_) = walk.model.get(step.name), step.inputs
    statistics = [backend.to_host(a).astype(np.float64) for a in (norm.running_mean, norm.running_var)]
    scale, shift = walk.array(step, gamma, "weight"), walk.array(step, beta, "bias")
    group.weight, group.bias = fold_norm(group.weight, group.bias, scale, shift, *statistics, eps=step.settings["eps"])


def _relu(walk, step):
    group = walk.extend(step)
    if group is None:
        refuse(walk.model, step, "a ReLU is the lower clamp of the layer before it, so it must follow a product, a "
                                 "sum or a pooling directly, and nothing else may read that layer")  # fmt: skip
    group.relu = True


def _max_pool(walk, step):
    group = walk.extend(step)
    if group is not None:
        group.pools.append((step.name or f"{group.name}_pool", step.settings))
    else:
        walk.start(step, step.inputs)


def _flatten(walk, step):
    (x,), n = step.inputs, step.output.shape
    if len(n) != 2 or x is None or n[0] != x.shape[0]:
        refuse(walk.model, step, f"it reshapes {x.shape} to {n}, and only flattening, to (N, D), is known")
    walk.start(step, (x,))


def _line(walk, step):
    """A `FakeQuantize` says which range its value shall have: learned in training, or calibrated before."""
    layer, value = walk.model.get(step.name), step.inputs[0]
    if (layer.bits, layer.symmetric) != (8, False):
        refuse(walk.model, step, "integer activations have 8 bits and a zero point: FakeQuantize(bits=8)")
    group = walk.makers.get(value)
    if group is None or group.kind not in STARTS:
        walk.start(step, (value,))
    elif walk.extend(step) is None:
        refuse(walk.model, step, "something else reads the layer before it, past the rounding")
    else:
        group.line = float(layer.low), float(layer.high)


def _unknown(walk, step):
    refuse(walk.model, step, f"there is no integer version of {step.kind!r}; there is one of {', '.join(RULES)}")


def refuse(model, step, why):
    """Raise ValueError, naming the layer."""
    layer = type(model.get(step.name) if step.name else model).__name__
    name = repr(step.name) if step.name else "the model's own forward"
    raise ValueError(f"{name} ({layer}) cannot be integerized: {why}")


RULES = {
    "add": _add,
    "avg_pool2d": lambda walk, step: walk.start(step, step.inputs),
    "batch_norm": _norm,
    "conv2d": _product,
    "fake_quantize": _line,
    "linear": _product,
    "max_pool2d": _max_pool,
    "relu": _relu,
    "reshape": _flatten,
    "sparse_linear": _product,
}

"""Fusion: fewer operations that compute the same. For inference; nothing here changes an answer but by rounding.

Start with these three: `merge_linears`, on arrays; `RULES`, which says which two neighbours become one; `fuse`, which
runs them over a model until none applies. A norm's rule is in `fold.py`.

    removed   what hands on its input in eval mode        Dropout, Identity, Flatten of rows, ReLU of a ReLU
    folded    a norm into the layer before it             (x W + b) · s + t        is one linear map
    merged    two linear maps in a row                    W₂ (W₁ x + b₁) + b₂      is one, if that is no more work
    in place  ReLU at the end of the layer before it      no second array; see `nn/fused.py`
    pooled    a convolution and the pooling after it      what is pooled away never reaches memory
    in pieces a convolution that is still alone           its padding and windows stay in the cache
    baked     weights under views                         a mask or a codebook is read once, now
"""

import copy
import dataclasses
import math

from tinyopt.compress.fold import fold_norm
from tinyopt.compress.one_run import as_example, refuse_branches, refuse_training
from tinyopt.errors import ShapeError
from tinyopt.measure import trace
from tinyopt.measure.table import text_table
from tinyopt.nn import (
    Add, AvgPool2d, BatchNorm1d, BatchNorm2d, Conv2d, Dropout, Flatten, Identity, Linear, MaxPool2d, Parameter, ReLU,
    Sequential,
)  # fmt: skip
from tinyopt.nn.fused import FusedAdd, FusedConv2d, FusedLinear

# --- on arrays ---------------------------------------------------------------------------------------


def merge_linears(first, first_bias, second, second_bias):
    """The weight and bias of one dense layer that computes two in a row.

        W₂ (W₁ x + b₁) + b₂  =  (W₂ W₁) x + (W₂ b₁ + b₂)

    Shapes: first (H, I), first_bias (H,) or None; second (O, H), second_bias (O,) or None -> (O, I), (O,) or None.
    Raises: ShapeError if the second does not read what the first makes.
    """
    _check_chain(first, second)
    return second @ first, _merged_bias(first_bias, second, second_bias)


def merge_convs(first, first_bias, second, second_bias):
    """The weight and bias of one convolution that computes one and, on its pixels, a pointwise one (1×1) after it.

        W[o, c, i, j] = Σ over h of  W₂[o, h] · W₁[h, c, i, j]        b = W₂ b₁ + b₂

    Each pixel goes through a dense layer; strides multiply, and the padding is the first's.

    Shapes: first (H, C, kh, kw), first_bias (H,) or None; second (O, H, 1, 1), second_bias (O,) or None
            -> (O, C, kh, kw), (O,) or None.
    Raises: as `merge_linears`.
    """
    _check_chain(first, second)
    rows = second.reshape(len(second), -1)  # (O, H)
    weight = rows @ first.reshape(len(first), -1)  # (O, C·kh·kw)
    return weight.reshape(-1, *first.shape[1:]), _merged_bias(first_bias, rows, second_bias)


def _check_chain(first, second):
    if first.ndim < 2 or second.shape[1:2] != first.shape[:1] or any(side > 1 for side in second.shape[2:]):
        raise ShapeError(f"the second weight (O, H), or (O, H, 1, 1), reads the H outputs of the first, (H, ...); got "
                         f"first {first.shape} and second {second.shape}")  # fmt: skip


def _merged_bias(first_bias, second, second_bias):
    if first_bias is None:
        return second_bias
    carried = second @ first_bias
    return carried if second_bias is None else carried + second_bias


# --- two neighbours: what they become, or None -------------------------------------------------------


def fold(before, after, step):
    """A layer with the norm after it in its weights; None where the norm's channels are not the layer's outputs."""
    if isinstance(before, Linear) and len(step.output.shape) != 2:
        return None  # rows of a sequence: the norm's channels are axis 1, the layer's outputs the last
    weight, bias = _arrays(before)
    averages = after.running_mean, after.running_var
    return _rebuilt(before, *fold_norm(weight, bias, after.weight.data, after.bias.data, *averages, eps=after.eps))


def merge_dense(before, after, step):
    """One Linear for two, unless that is more work: thin factors, as of a low rank, stay two."""
    if before.in_features * after.out_features > before.out_features * (before.in_features + after.out_features):
        return None
    weight, bias = merge_linears(*_arrays(before), *_arrays(after))
    return _rebuilt(before, weight, bias, out_features=after.out_features)


def merge_pointwise(before, after, step):
    """One Conv2d for a convolution and a pointwise one after it, unless that is more work."""
    if after.kernel_size != (1, 1) or after.padding != (0, 0) or before.groups > 1 or after.groups > 1:
        return None  # with padding, the second reads zeros where the first would have made numbers
    taps, (sh, sw) = before.in_channels * math.prod(before.kernel_size), after.stride
    if taps * after.out_channels > before.out_channels * (taps * sh * sw + after.out_channels):
        return None
    weight, bias = merge_convs(*_arrays(before), *_arrays(after))
    stride = before.stride[0] * sh, before.stride[1] * sw
    return _rebuilt(before, weight, bias, out_channels=after.out_channels, stride=stride)


def relu_inside(before, after, step):
    """The layer that ends in ReLU. A maximum over windows before the ReLU may come after it as well."""
    if isinstance(before, Add):
        return FusedAdd()
    if isinstance(before, FusedConv2d) and before.pool == "mean":
        return None
    return _with_weights_of(before, FusedLinear if isinstance(before, Linear) else FusedConv2d, relu=True)


def pool_inside(before, after, step):
    """The convolution that ends in pooling; None for a second pooling, and for windows that overlap or are padded."""
    if after.stride != after.kernel_size or after.padding != (0, 0) or getattr(before, "pool", None):
        return None
    how = {"pool": "max" if isinstance(after, MaxPool2d) else "mean", "pool_size": after.kernel_size}
    return _with_weights_of(before, FusedConv2d, relu=getattr(before, "relu", False), **how)


def _with_weights_of(layer, kind, **changed):
    fused = kind(**{**layer.config(), **changed}, rng=0)
    fused.weight, fused.bias = layer.weight, layer.bias
    return fused


def drop(before, after, step):
    """The layer alone: what comes after it changes nothing any more."""
    return before


RULES = {  # (class, class of what follows) -> what was done, and the rule
    (Conv2d, BatchNorm2d): ("norm folded", fold),
    (Linear, BatchNorm1d): ("norm folded", fold),
    (Linear, Linear): ("merged", merge_dense),
    (Conv2d, Conv2d): ("merged", merge_pointwise),
    (ReLU, ReLU): ("removed", drop),
}
LAST = {  # when no more of the others applies: a ReLU inside a layer would hide it from them
    (Linear, ReLU): ("ReLU in place", relu_inside),
    (Add, ReLU): ("ReLU in place", relu_inside),
    **{(conv, ReLU): ("ReLU in place", relu_inside) for conv in (Conv2d, FusedConv2d)},
    **{(conv, pool): ("pooled", pool_inside) for conv in (Conv2d, FusedConv2d) for pool in (AvgPool2d, MaxPool2d)},
}


# --- into the model ----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Fused:
    """One thing that `fuse` did: to the layer `name`, which is now part of the layer `into` ("" if it is just gone)."""

    what: str
    name: str
    into: str = ""


class Report(list):
    """What `fuse` did, in order: a list of `Fused`, which prints as a table."""

    def __str__(self):
        if not self:
            return "nothing was fused"
        return text_table(["what", "layer", "into"], [[f.what, f.name, f.into or "–"] for f in self], left=3)

    __repr__ = __str__

    def names(self, what):
        """The layers to which this was done: `report.names("norm folded")`."""
        return [fused.name for fused in self if fused.what == what]


def fuse(model, example):
    """A model with fewer operations that answers as the given one does in eval mode, and a `Report` of what went.

    Two layers are neighbours if nothing else reads what passes between them. Layers that run twice, stand at two
    places or share a weight stay as they are, as do all of kinds that `RULES` does not know. A layer keeps its
    name; what was fused into it is gone from a `Sequential`, elsewhere an `Identity`. Fuse last: the result is for
    inference, its views are baked, and an optimizer has nothing to find there.

    Which layer reads what another made is not written down anywhere: the model is run once, on the example, and
    watched (`measure.trace`). The example's numbers do not matter, its shape and type do: for `lenet5`,
    np.zeros((1, 1, 28, 28), "float32") will do. A copy is fused; the model itself stays as it is.

    Shapes: example, an input of the model (N, ...); one is enough. -> (new model, in eval mode; report)
    Raises: ValueError if a batch norm is in training mode, or if other numbers take another way through the model.
    Source: Jacob et al. (2018), arXiv:1712.05877, Section 3.2 (norms); Chen et al. (2018), "TVM: An Automated
            End-to-End Optimizing Compiler for Deep Learning", arXiv:1802.04799, Section 3.1 (rules on neighbours).
    """
    refuse_training(model)
    model, report = copy.deepcopy(model).eval(), Report()
    example = as_example(model, example)
    refuse_branches(model, example)
    for name, parameter in model.named_parameters():
        if parameter.views:
            parameter.bake()
            report.append(Fused("baked", name))
    _remove_idle(model, example, report)
    for rules in (RULES, LAST):
        while _apply_one(model, example, rules, report):
            pass
    _in_pieces(model, example, report)
    _clear(model)
    return model.eval(), report


def _remove_idle(model, example, report):
    """Put an Identity in the place of every layer that hands on its input."""
    run = trace(model, example)
    in_a_row = {id(layer) for module in model.modules() if type(module) is Sequential for layer in module}
    for step in run:
        if step.module is None or len(run.calls(step.name)) > 1 or not _hands_on(step):
            continue
        if isinstance(step.module, Identity) and id(step.module) not in in_a_row:
            continue  # its place has to be filled, as a residual's shortcut
        report.append(Fused("removed", step.name))
        if not isinstance(step.module, Identity):
            model.replace(step.name, Identity())


def _hands_on(step):
    """True for Identity and Dropout, for a Flatten of rows, and for pooling over windows of one pixel."""
    if isinstance(step.module, Flatten):
        return step.inputs[0].shape == step.output.shape
    if isinstance(step.module, (AvgPool2d, MaxPool2d)):
        module = step.module
        return module.kernel_size == module.stride == (1, 1) and module.padding == (0, 0)
    return isinstance(step.module, (Identity, Dropout))


def _apply_one(model, example, rules, report):
    """Run the first rule that applies to two neighbours; False if there is none."""
    run = trace(model, example)
    alone = _alone(model, run)
    for step in run:
        before = run.producer(step.inputs[0]) if step.inputs and step.inputs[0] is not None else None
        if before is None or not {before.name, step.name} <= alone or before.output in run.outputs:
            continue
        what, rule = rules.get((type(before.module), type(step.module)), ("", None))
        if rule is None or len(run.consumers(before.output)) > 1:
            continue
        layer = rule(before.module, step.module, step)
        if layer is None:
            continue
        model.replace(before.name, layer)
        model.replace(step.name, Identity())
        model.eval()
        report.append(Fused(what, step.name, before.name))
        return True
    return False


def _in_pieces(model, example, report):
    """Let convolutions that are still alone run a few images at a time as well, from the padding on."""
    run = trace(model, example)
    alone = _alone(model, run)
    for step in run:
        if type(step.module) is Conv2d and step.name in alone:
            model.replace(step.name, _with_weights_of(step.module, FusedConv2d, relu=False))
            report.append(Fused("in pieces", step.name))


def _alone(model, run):
    """Names of the layers that run once, stand at one place, and whose parameters nothing else reads."""
    places, readers = {}, {}
    for _, module in model.named_modules():
        places[id(module)] = places.get(id(module), 0) + 1
    for step in run:
        for name in step.parameters:
            readers.setdefault(name, []).append(step)
    return {
        step.name
        for step in run
        if step.name and step.module is not None and places[id(step.module)] == 1
        and len(run.calls(step.name)) == 1 and all(len(readers[name]) == 1 for name in step.parameters)
    }  # fmt: skip


def _clear(model):
    """Take the Identities out of every Sequential; where a place has to be filled, they stay."""
    for module in list(model.modules()):
        if type(module) is Sequential:
            module.layers = {name: layer for name, layer in module.layers.items() if type(layer) is not Identity}


def _arrays(layer):
    return layer.weight.data, None if layer.bias is None else layer.bias.data


def _rebuilt(layer, weight, bias, **changed):
    """A layer of the same class with these arrays."""
    new = type(layer)(**{**layer.config(), **changed, "bias": bias is not None}, rng=0)
    new.weight, new.bias = Parameter(weight), None if bias is None else Parameter(bias)
    return new

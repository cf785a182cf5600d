"""Surgery: a removed channel is gone from the layer that made it and from every layer that read it.

Start with these three: `cut_weight`, on an array; `remove`, which makes the smaller model; `masked`, which writes
zeros instead and so says what `remove` must compute. Which channels hang together is found in `channels.py`.

    pruned   W x with zeros in W         as many products as before; the file may be smaller
    removed  fewer rows and columns      parameters, products, bytes and time all fall
"""

import copy
import dataclasses

import numpy as np

from tinyopt import backend, nn
from tinyopt.compress.channels import follow
from tinyopt.errors import ShapeError
from tinyopt.measure import inference
from tinyopt.measure.capture import tensors_in

# --- on arrays ---------------------------------------------------------------------------------------


def cut_weight(weight, makes, reads=None, groups=1):
    """What is left of a weight: the rows of outputs that stay and, in them, the columns of inputs that stay.

        W′ = W[makes][:, reads]        for each group of a grouped convolution, with its own inputs

    Shapes: weight (O, I / groups, ...), or (O,) as a bias or a norm's; makes (O,) and reads (I,), Booleans
            that keep. An axis of length 1 that stands for all, as of a scale, stays.
    """
    if weight.ndim == 0 or len(weight) != len(makes):
        return weight
    if weight.ndim == 1 or reads is None:
        return weight[makes]
    blocks = []
    for block, rows, columns in zip(*(np.split(part, groups) for part in (weight, makes, reads))):
        whole = block.shape[1] == len(columns)
        blocks.append(block[rows][:, columns] if whole else block[rows])
    return np.concatenate([block for block in blocks if block.size])


# --- what hangs together ------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Group:
    """Layers whose channels can only be removed together, how many channels these are, and why none can, or ""."""

    layers: tuple
    n_channels: int
    fixed: str


def groups_of(model, example):
    """Which layers' channels are tied: a list of `Group`s, each layer with channels in one of them.

    A norm is tied to the layer before it, a depthwise convolution to what it reads, and a residual sum ties all
    that it adds. To cut one of a group is to cut all.

    Shapes: example, an input of the model (N, ...), or a tuple of inputs.
    """
    flow = follow(model, example)
    return [
        Group(
            tuple(layers),
            len({int(n) for name in layers for n in flow.makes[name]}),
            next((flow.fixed[int(n)] for name in layers for n in flow.makes[name] if int(n) in flow.fixed), ""),
        )
        for layers in tied(flow)
    ]


def whole_cut(model, example, channels):
    """All that goes when these channels go: {layer: indices}, the tied ones included.

    Shapes, Raises: as `remove`, which this is the plan of.
    """
    flow = follow(model, example)
    removed = _removed(model, flow, channels)
    cut = {name: np.flatnonzero(removed[numbers]) for name, numbers in flow.makes.items()}
    return {name: indices for name, indices in cut.items() if indices.size}


def tied(flow):
    """Lists of the layers that have a channel in common, in the order of their first runs."""
    groups, order = [], list(flow.makes)
    for name, numbers in flow.makes.items():
        layers, own = [name], set(numbers.tolist())
        for group in [group for group in groups if group[1] & own]:
            groups.remove(group)
            layers, own = [*group[0], *layers], group[1] | own
        groups.append((layers, own))
    return sorted((sorted(layers, key=order.index) for layers, _ in groups), key=lambda layers: order.index(layers[0]))


# --- into the model -----------------------------------------------------------------------------------


def remove(model, example, channels):
    """A smaller model without these channels; the given one stays as it is.

        f′(x) = f(x) with the channels' activations set to 0, after the norm if there is one

    The cut follows the run of the model: through norms, pooling and flattening into the layers that read the
    channels, and along depthwise convolutions and residual sums, whose other sides lose the same channels (see
    `whole_cut`). If all inputs of one group of a grouped convolution go, or all its filters, the
    group goes. Views are cut along: masks, scales and labels. An optimizer has to be made anew.

    Shapes: example, an input of the model (N, ...), or a tuple of inputs; channels, {layer: indices to remove,
            or Booleans (C,) of which True keeps}. Returns a model of the same classes.
    Raises: ValueError, naming the layer: for one that is unknown; indices out of range; a layer that would be
            left empty; channels that reach the model's output, or a layer that computes with all of them
            together, as LayerNorm does, or that is unknown; groups of a convolution left with unequal sizes.
            ShapeError for Booleans of another shape.
    Source: Li, Kadav, Durdanovic, Samet & Graf (2017), "Pruning Filters for Efficient ConvNets",
            arXiv:1608.08710, Section 3; Fang et al. (2023), arXiv:2301.12900 (any network).
    """
    flow = follow(model, example)
    kept = ~_removed(model, flow, channels)
    smaller = copy.deepcopy(model)
    for name, numbers in flow.reads.items():
        layer, makes = smaller.get(name), kept[flow.makes[name]]
        CUTS[type(layer)](layer, makes, kept[numbers])
        if layer.bias is not None:
            _cut(layer.bias, makes)
    _check_same(_zeroed(model, flow, ~kept), smaller, example)
    return smaller


def masked(model, example, channels):
    """A model of the same size in which these channels are 0 after the norm: masks on all that makes them.

    It computes what `remove` does, in the old time: an oracle, and a way to try a cut. Training keeps the zeros.

    Shapes, Raises: as `remove`.
    """
    flow = follow(model, example)
    return _zeroed(model, flow, _removed(model, flow, channels))


# --- the plan: which numbers go ----------------------------------------------------------------------


def _removed(model, flow, channels):
    """Booleans over all numbers, True for those that go; or an error that says why they cannot."""
    if not isinstance(channels, dict):
        raise TypeError(f"channels is {{layer: indices to remove}}, such as {{'conv1': [0, 3]}}; got {channels!r}")
    removed, asked = np.zeros(flow.size, bool), []
    for name, which in channels.items():
        asked.append(layer_of(model, flow, name))
        numbers = flow.makes[asked[-1]]
        removed[numbers[_indices(name, which, len(numbers))]] = True
    _take_groups_along(flow, removed)
    for name in (*asked, *flow.makes):
        gone = removed[flow.makes[name]]
        for i in np.flatnonzero(gone):
            if int(flow.makes[name][i]) in flow.fixed:
                raise ValueError(f"{name} cannot lose channel {i}: {flow.fixed[int(flow.makes[name][i])]}")
        if gone.all():
            raise ValueError(f"this cut would leave {name} with none of its {gone.size} channels; keep at least one")
    for name, groups in flow.grouped.items():
        for what, numbers in (("inputs", flow.reads[name]), ("filters", flow.makes[name])):
            left = (~removed[numbers]).reshape(groups, -1).sum(axis=1)
            if len(set(left[left > 0].tolist())) > 1:
                raise ValueError(
                    f"{name} has {groups} groups, which must keep equally many {what}; this cut leaves "
                    f"{', '.join(map(str, left))}. Cut as many in each group, or a whole group"
                )
    return removed


def _take_groups_along(flow, removed):
    """A group of a convolution that loses all inputs or all filters goes as a whole, until nothing more does."""
    before = None
    while before != (before := int(removed.sum())):
        for name, groups in flow.grouped.items():
            reads, makes = (part[name].reshape(groups, -1) for part in (flow.reads, flow.makes))
            dead = removed[reads].all(axis=1) | removed[makes].all(axis=1)
            removed[reads[dead]] = removed[makes[dead]] = True


def layer_of(model, flow, name):
    """The name under which a layer's channels are known; a layer may stand in the model under several."""
    modules = dict(model.named_modules())
    same = [known for known in flow.makes if name in modules and modules[known] is modules[name]]
    if not same:
        raise ValueError(f"no layer with channels is called {name!r}; there are {', '.join(flow.makes)}")
    return same[0]


def _indices(name, which, n):
    """Where to cut a layer of n channels."""
    which = backend.to_host(which) if backend.is_array(which) else np.array(which)
    if which.dtype == bool:
        if which.shape != (n,):
            raise ShapeError(f"{name} has {n} channels: a mask of those to keep has shape ({n},); got {which.shape}")
        return ~which
    if which.size and (which.dtype.kind not in "iu" or which.ndim != 1):
        raise ValueError(f"the channels of {name} to remove are a list of integers; got {which.tolist()}")
    if which.size and not 0 <= which.min() <= which.max() < n:
        raise ValueError(f"{name} has the channels 0 to {n - 1}; got {which.tolist()}")
    return which.astype(int).reshape(-1)


# --- the cut of each layer ---------------------------------------------------------------------------


def _cut(parameter, makes, reads=None, groups=1):
    """Cut a parameter and its views: a codebook's labels, scales of channels and masks have their share of it."""
    if makes.all() and (reads is None or reads.all()):
        return
    known = (nn.Codebook, nn.Mask, nn.Quantize)
    unknown = [type(v).__name__ for v in parameter.views if type(v) not in known or getattr(v, "grouped", False)]
    if unknown:
        raise ValueError(f"surgery cannot cut the view {unknown[0]} of {parameter.name}: call its bake() first")

    def left(array):
        device = backend.device_of(array).name
        return backend.to_device(cut_weight(backend.to_host(array), makes, reads, groups), device)

    parameter.views = [view.map(left) for view in parameter.views]
    if parameter.view(nn.Codebook) is None:
        parameter.data = left(parameter.data)
    parameter.restarted = None


def _cut_linear(layer, makes, reads):
    _cut(layer.weight, makes, reads)
    layer.in_features, layer.out_features = int(reads.sum()), int(makes.sum())


def _cut_low_rank(layer, makes, reads):
    _cut(layer.down, np.ones(layer.rank, bool), reads)
    _cut(layer.up, makes)
    layer.in_features, layer.out_features = int(reads.sum()), int(makes.sum())


def _cut_convolution(layer, makes, reads):
    _cut(layer.weight, makes, reads, layer.groups)
    layer.in_channels, layer.out_channels = int(reads.sum()), int(makes.sum())
    layer.groups = int(makes.reshape(layer.groups, -1).any(axis=1).sum())


def _cut_norm(layer, makes, reads):
    _cut(layer.weight, makes)
    for name in ("running_mean", "running_var"):
        array = getattr(layer, name)
        kept = cut_weight(backend.to_host(array), makes)
        setattr(layer, name, backend.to_device(kept, backend.device_of(array).name))
    layer.num_features = int(makes.sum())


CUTS = {  # makes and reads: Booleans over its outputs and inputs, True for those that stay; the bias is cut for all
    nn.BatchNorm1d: _cut_norm,
    nn.BatchNorm2d: _cut_norm,
    nn.Conv2d: _cut_convolution,
    nn.Linear: _cut_linear,
    nn.LowRankLinear: _cut_low_rank,
}


def _zeroed(model, flow, removed):
    """A copy in which the filters, biases, scales and shifts of removed channels are masked."""
    copied = copy.deepcopy(model)
    for name, numbers in flow.makes.items():
        layer, keep = copied.get(name), ~removed[numbers]
        if keep.all():
            continue
        for parameter in (layer.up if isinstance(layer, nn.LowRankLinear) else layer.weight, layer.bias):
            if parameter is not None:
                mask, rows = parameter.view(nn.Mask), keep.reshape(-1, *[1] * (len(parameter.shape) - 1))
                whole = backend.to_device(np.broadcast_to(rows, parameter.shape).copy(), parameter.device)
                parameter.prune(whole if mask is None else mask.keep & whole)
    return copied


def _check_same(oracle, smaller, example):
    """Raise ValueError unless both compute the same: a model's own forward may do what a trace does not see."""
    try:
        expected, got = (_outputs(model, example) for model in (oracle, smaller))
    except (ValueError, TypeError, IndexError) as problem:
        raise ValueError(
            f"the smaller model does not run: {problem}. If its forward has a size written into it, take that from "
            "x.shape"
        ) from problem
    for a, b in zip(expected, got):
        if not np.allclose(a, b, rtol=1e-3, atol=1e-3 * max(1.0, float(abs(a).max(initial=0))), equal_nan=True):
            raise ValueError(
                "the smaller model computes other numbers than the masked one: a forward of its own must use ops "
                "on tensors, not their data, for its channels to be followed"
            )


def _outputs(model, example):
    with inference(model):
        return [y.numpy() for y in tensors_in(model(*(example if isinstance(example, tuple) else (example,))))]

"""LoRA: train a low-rank adapter beside each frozen weight, then add it in.

Start with these three: `nn.lora.LoRALinear`, the layer; `add_adapters`; `merge_adapters`. Train with any optimizer in
between:

    add_adapters(model, rank=4)
    optimizer = optim.Adam([p for p in model.parameters() if p.requires_grad])
    ...
    merge_adapters(model)

It compresses no weight, but what fine-tuning has to store: gradients and optimizer state of r (in + out) numbers a
layer instead of in · out; and for each further task these numbers alone.
"""

import numpy as np

from tinyopt import backend, nn
from tinyopt.compress.distill import freeze
from tinyopt.compress.lowrank import positive
from tinyopt.nn.lora import LoRALinear


def merged_weight(weight, down, up, *, alpha):
    """The weight that computes alone what it and its adapter compute.

        W′ = W + (α / r) B A        x Wᵀ + (α / r)(x Aᵀ) Bᵀ = x W′ᵀ

    Shapes: weight W (O, I), down A (r, I), up B (O, r) -> W′ (O, I).
    Source: Hu et al. (2022), "LoRA: Low-Rank Adaptation of Large Language Models", arXiv:2106.09685, Section 4.1.
    """
    return weight + (alpha / len(down)) * (up @ down)


def add_adapters(model, rank=4, *, alpha=None, layers=None, but=(), rng=None):
    """Put an adapter beside the weight of dense layers, in place, and freeze everything else.

    The outputs stay as they are until the first step. The optimizer has to be made anew. The frozen weights are the
    very same parameters, with their views: of a quantized layer the integers stay.

    Shapes: layers, names of Linear layers, or None for all that are large enough for the rank; but, names of layers
            or parameters that are trained as well, such as a new head, which gets no adapter.
    Units:  alpha / rank scales the adapter; None is the rank, a factor of 1. Returns the number of numbers trained.
    Raises: ValueError for a layer that is no Linear, a rank outside 1..min(in, out) of one that is named, or if there
            is none; KeyError for a name in `but` that is not in the model.
    Source: as `merged_weight`.
    """
    if not positive(rank):
        raise ValueError(f"rank is an integer of 1 or more; got {rank!r}")
    but = (but,) if isinstance(but, str) else tuple(but)
    for name in but:
        model.get(name)
    linears = {name: m for name, m in model.named_modules() if type(m) is nn.Linear and not _within(name, but)}
    if layers is None:
        layers = [name for name, m in linears.items() if rank <= min(m.in_features, m.out_features)]
    layers = [layers] if isinstance(layers, str) else list(layers)
    unknown = [name for name in layers if name not in linears]
    if unknown or not layers:
        known, got = ", ".join(linears) or "this model has none", repr(unknown[0]) if unknown else "none of them"
        raise ValueError(f"adapters stand beside Linear layers large enough for the rank: {known}; got {got}")
    rng = backend.generator(rng)
    adapted = {name: _adapted(linears[name], rank, alpha, rng) for name in layers}
    for name, layer in adapted.items():
        model.replace(name, layer)
    return freeze(model, but=[*but, *(f"{name}.{part}" for name in adapted for part in ("down", "up"))])


def merge_adapters(model):
    """Add each adapter to its weight and put a plain `Linear` in its place, in place; the outputs stay the same.

    What was frozen stays frozen: `freeze` changes that. Returns the names of the layers merged.

    Raises: ValueError if there is no adapter, or a weight has a view: the sum of integers, or of a masked weight,
            and an adapter is neither. Then nothing is merged.
    """
    adapted = {name: m for name, m in model.named_modules() if isinstance(m, LoRALinear)}
    if not adapted:
        raise ValueError("this model has no adapters to merge: add_adapters(model, rank) comes first")
    for name, layer in adapted.items():
        if layer.weight.views:
            view = type(layer.weight.views[0]).__name__
            raise ValueError(f"{name}.weight is read through a view {view}, which a sum with an adapter does not fit: "
                             "bake() it before merging, and compress it again after")  # fmt: skip
    for name, layer in adapted.items():
        model.replace(name, _merged(layer))
    return list(adapted)


def _adapted(linear, rank, alpha, rng):
    """A `LoRALinear` around the parameters of a `Linear`, on their device and in their type of floats."""
    layer = LoRALinear(linear.in_features, linear.out_features, rank, linear.bias is not None, alpha, rng)
    layer = layer.astype(_floats(linear.weight)).to(linear.weight.device)
    layer.weight, layer.bias = linear.weight, linear.bias
    return layer.train(linear.training)


def _merged(layer):
    """A `Linear` with weights of its own: another layer may share those under the adapter."""
    linear = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None, rng=0)
    parts = (part.read().data for part in (layer.weight, layer.down, layer.up))
    linear.weight = nn.Parameter(merged_weight(*parts, alpha=layer.alpha), requires_grad=layer.weight.requires_grad)
    linear.bias = layer.bias
    return linear.train(layer.training)


def _floats(parameter):
    return np.float64 if parameter.read().data.dtype == np.float64 else np.float32


def _within(name, parts):
    return any(name == part or name.startswith(f"{part}.") for part in parts)

"""Formats in which the levels lie unevenly: small floats, NF4, and levels chosen for each weight matrix.

Start with `codec/floats.py` and `codec/levels.py`, which work on arrays; then `store_as` and `quantize_levels`, which
put them into a model as views. Both views are trained under: floats straight-through, levels by their gradients.
"""

import numpy as np

from tinyopt import backend
from tinyopt.codec.floats import named
from tinyopt.codec.levels import nearest_level, power_of_two_levels, quantile_levels
from tinyopt.compress.layers import by_layer, chosen_weights
from tinyopt.compress.share import kmeans
from tinyopt.nn import Codebook, Mask
from tinyopt.nn.formats import format_view

METHODS = {  # name -> (numbers (n,), bits) to ascending levels (K,), K ≤ 2^bits
    "kmeans": lambda x, bits: kmeans(x, 2**bits)[0],
    "quantile": quantile_levels,
    "power_of_two": power_of_two_levels,
}


def store_as(model, format, *, per_channel=True, group_size=None, skip=()):
    """Round every weight of a model to a float format or NF4, in place; biases stay float32.

        w ≈ scale · decode(code)        scale = max|w| / the format's largest number; always 1 for fp16 and bf16

    With a group size, that many neighbours in a channel's row share a scale. Smaller groups have finer steps, and
    cost a float32 each: with 64 weights to a group, half a bit a weight.

    Units:  format, a name in `codec.floats.FORMATS`; group_size, in weights (it goes before per_channel), an integer
            or {layer: integer}, what it does not name having a scale by channel. Returns {parameter name: largest error}.
    Raises: ValueError for an unknown format, weights that are quantized or shared, NaN or Inf, or too large for
            fp16; ShapeError for a group size that does not divide the rows. The model is then as it was.
    Source: beside `codec.floats.FORMATS`; scales by group: Dettmers, Pagnoni, Holtzman & Zettlemoyer (2023), "QLoRA",
            arXiv:2305.14314, Section 2.
    Differs: their scales are stored in 8 bits (double quantization), and their groups run on from row to row.
    """
    named(format)  # refuses what is none
    weights, views, errors = chosen_weights(model, skip), {}, {}
    sizes = by_layer(weights, group_size)
    for name, parameter in weights.items():
        before = parameter.read().data
        try:
            views[name] = format_view(before, format, per_channel=per_channel, group_size=sizes.get(name))
            views[name].check(parameter, parameter.views)
        except ValueError as problem:
            raise type(problem)(f"{name}: {problem}") from None
    for name, parameter in weights.items():
        before = parameter.read().data
        parameter.attach(views[name])
        errors[name] = float(abs(parameter.read().data - before).max())
    return errors


def quantize_levels(model, bits=4, *, method="kmeans", skip=()):
    """Choose 2^bits levels for each weight matrix of a model, in place, and let each weight be one of them: a codebook.

    "kmeans" has the smallest squared error, "quantile" labels that are used equally often, "power_of_two" levels
    whose products are shifts (until they are trained: then they move). With 2 bits the one power is near the largest
    weight, and most others become 0. Pruned weights need no level.

    Units:  bits, 1 to 16 ("power_of_two": 2 to 8), or {layer: bits}. Returns {name: squared error}.
    Raises: ValueError for other bits, an unknown method, weights stored in another way, NaN or Inf. The model is then
            as it was.
    Source: beside each of `METHODS`.
    """
    if method not in METHODS:
        raise ValueError(f"method is one of {', '.join(METHODS)}; got {method!r}")
    weights = chosen_weights(model, skip)
    found, errors = {}, {}
    for name, n_bits in by_layer(weights, bits).items():
        if n_bits not in range(1, 17):
            raise ValueError(f"levels need bits in 1..16; got {n_bits!r} for {name}")
        found[name] = _levels_and_labels(name, weights[name], n_bits, METHODS[method])
    for name, (levels, labels) in found.items():
        parameter, before = weights[name], weights[name].read().data
        parameter.data = backend.to_device(levels, parameter.device)
        parameter.attach(Codebook(backend.to_device(labels, parameter.device)))
        errors[name] = float(((parameter.read().data - before) ** 2).sum())
    return errors


def _levels_and_labels(name, parameter, bits, choose):
    """The levels that are used, (K,), and the label of each weight, 0 where it is pruned."""
    if any(view.level == 1 for view in parameter.views):
        raise ValueError(f"a weight is stored in one way; {name} is rounded already: bake() it first")
    before, mask = backend.to_host(parameter.read().data), parameter.view(Mask)
    if not np.isfinite(before).all():
        raise ValueError(f"levels need finite weights; {name} holds NaN or infinity. Did training diverge?")
    keep = np.ones(before.shape, bool) if mask is None else backend.to_host(mask.keep)
    kept = before[keep] if keep.any() else np.zeros(1, before.dtype)
    levels = choose(kept, bits)
    used, labels = np.unique(nearest_level(kept, levels), return_inverse=True)
    whole = np.zeros(before.shape, np.min_scalar_type(len(used) - 1))
    whole[keep] = labels if keep.any() else 0
    return levels[used], whole

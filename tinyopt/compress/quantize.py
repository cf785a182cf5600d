"""Quantization of weights: a small integer and a scale for each, in place of 32 bits.

Start with `codec/affine.py`, which maps floats to integers, and `calibrate.py`, which chooses the range that they
cover; `quantize` puts that into a model, as a view. What goes wrong without care is in `wrong_ways.py`; how many bits
each layer should get, in `bit_budget.py`. The view is straight-through, so that training goes on under it
(quantization-aware training).
"""

import numpy as np

from tinyopt.codec.affine import in_groups, integer_range, min_max, scale_from_range
from tinyopt.compress.layers import by_layer, chosen_weights
from tinyopt.nn import Quantize


def quantize(model, bits=8, *, per_channel=True, group_size=None, symmetric=True, calibrate=min_max, skip=()):
    """Round every weight of a model to `bits` bits, in place; biases stay float32.

        w ≈ scale · (q − zero_point)        q an integer of `bits` bits, a scale for each output channel

    With a group size, each `group_size` neighbours in a channel's row share a scale: finer steps, for 32 / group_size
    more bits a weight. `calibrate` finds the range of each scale, (weight, axis=...) -> low, high:
    `calibrate.percentile` clips the few largest weights, and gives finer steps to the others.

    Units:  bits, 1 to 16, or {layer: bits}, where a layer that is not named stays float32; group_size in weights,
            or {layer: size}, where one that is not named has no groups. Returns {parameter name: largest error of a
            weight}.
    Raises: ValueError for bits outside 1..16, unknown layers, shared weights, or weights that are NaN or infinite;
            ShapeError for a group size that does not divide a layer's rows. The model is then as it was.
    Source: Krishnamoorthi (2018), "Quantizing deep convolutional networks for efficient
            inference: A whitepaper", arXiv:1806.08342, Section 2 (per channel).
    """
    weights, views, errors = chosen_weights(model, skip), {}, {}
    group_sizes = by_layer(weights, group_size)
    for name, n_bits in by_layer(weights, bits).items():
        before = weights[name].read().data
        settings = {"per_channel": per_channel, "symmetric": symmetric, "calibrate": calibrate}
        if not np.isfinite(before).all():
            raise ValueError(f"quantize needs finite weights; {name} holds NaN or infinity. Did training diverge?")
        try:
            views[name] = weight_view(before, n_bits, group_size=group_sizes.get(name), **settings)
        except (ValueError, TypeError) as error:
            raise type(error)(f"{name}: {error}") from error
        views[name].check(weights[name], weights[name].views)
    for name, view in views.items():
        before = weights[name].read().data
        weights[name].attach(view)
        errors[name] = float(abs(weights[name].read().data - before).max())
    return errors


def weight_view(weight, bits=8, *, per_channel=True, group_size=None, symmetric=True, calibrate=min_max):
    """The view that rounds `weight`, an array (O, ...): one scale for each group, each of its O rows, or for all.

    Shapes: weight (O, ...) -> a `Quantize` view with scale (O, G, 1) if there is a group size, else (O, 1, ...) or ().
    Raises: as `codec.affine.in_groups` and `scale_from_range`.
    """
    if group_size is not None:
        shape, (low, high) = (len(weight), -1, 1), calibrate(in_groups(weight, group_size), axis=0)
    elif per_channel:
        shape, (low, high) = (-1,) + (1,) * (weight.ndim - 1), calibrate(weight, axis=0)
    else:
        shape, (low, high) = (), calibrate(weight, axis=None)
    scale, zero_point = scale_from_range(low, high, bits=bits, symmetric=symmetric)
    lowest, highest = integer_range(bits, symmetric)
    return Quantize(scale.reshape(shape), zero_point.reshape(shape).astype(weight.dtype), bits, lowest, highest)

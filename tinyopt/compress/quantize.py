"""Quantization of weights: a small integer and a scale for each, in place of 32 bits.

Start with `codec/affine.py`, which maps floats to integers, and `calibrate.py`, which chooses the range that they
cover; `quantize` puts that into a model, as a view. What goes wrong without care is in `wrong_ways.py`. The view
is straight-through, so that training goes on under it (quantization-aware training).
"""

import numpy as np

from tinyopt.codec.affine import integer_range, min_max, scale_from_range
from tinyopt.compress.layers import chosen_weights
from tinyopt.nn import Quantize


def quantize(model, bits=8, *, per_channel=True, symmetric=True, calibrate=min_max, skip=()):
    """Round every weight of a model to `bits` bits, in place; biases stay float32.

        w ≈ scale · (q − zero_point)        q an integer of `bits` bits, a scale for each output channel

    `calibrate` finds the range of each scale, (weight, axis=...) -> low, high: `calibrate.percentile` clips the
    few largest weights, and gives finer steps to the others.

    Units:  bits, 2 to 16; returns {parameter name: largest error of a weight}.
    Raises: ValueError for bits outside 2..16, shared weights, or weights that are NaN or infinite; the model
            is then as it was.
    Source: Krishnamoorthi (2018), "Quantizing deep convolutional networks for efficient
            inference: A whitepaper", arXiv:1806.08342, Section 2 (per channel).
    """
    weights, views, errors = chosen_weights(model, skip), {}, {}
    for name, parameter in weights.items():
        before = parameter.read().data
        if not np.isfinite(before).all():
            raise ValueError(f"quantize needs finite weights; {name} holds NaN or infinity. Did training diverge?")
        views[name] = weight_view(before, bits, per_channel=per_channel, symmetric=symmetric, calibrate=calibrate)
        views[name].check(parameter, parameter.views)
    for name, parameter in weights.items():
        before = parameter.read().data
        parameter.attach(views[name])
        errors[name] = float(abs(parameter.read().data - before).max())
    return errors


def weight_view(weight, bits=8, *, per_channel=True, symmetric=True, calibrate=min_max):
    """The view that rounds `weight`, an array (O, ...): one scale for each of its O rows, or one for all.

    Shapes: weight (O, ...) -> a `Quantize` view with scale (O, 1, ...) or ().
    """
    low, high = calibrate(weight, axis=0 if per_channel else None)
    scale, zero_point = scale_from_range(low, high, bits=bits, symmetric=symmetric)
    shape = (-1,) + (1,) * (weight.ndim - 1) if per_channel else ()
    lowest, highest = integer_range(bits, symmetric)
    return Quantize(scale.reshape(shape), zero_point.reshape(shape).astype(weight.dtype), bits, lowest, highest)

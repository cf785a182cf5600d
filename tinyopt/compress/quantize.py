"""Quantization of weights: a small integer and a scale for each, in place of 32 bits.

Start with `codec/affine.py`, which maps floats to integers; `quantize` puts that into a model, as a view. The
view is straight-through, so that training goes on under it (quantization-aware training).
"""

import numpy as np

from tinyopt.codec import choose_scale
from tinyopt.compress.layers import chosen_weights
from tinyopt.nn import Quantize


def quantize(model, bits=8, *, per_channel=True, symmetric=True, skip=()):
    """Round every weight of a model to `bits` bits, in place; biases stay float32.

        w ≈ scale · (q − zero_point)        q an integer of `bits` bits, a scale for each output channel

    Units:  bits, 2 to 16; returns {parameter name: largest rounding error}.
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
        views[name] = weight_view(before, bits, per_channel=per_channel, symmetric=symmetric)
        views[name].check(parameter, parameter.views)
    for name, parameter in weights.items():
        before = parameter.read().data
        parameter.attach(views[name])
        errors[name] = float(abs(parameter.read().data - before).max())
    return errors


def weight_view(weight, bits=8, *, per_channel=True, symmetric=True):
    """The view that rounds `weight`, an array (O, ...): one scale for each of its O rows, or one for all.

    Shapes: weight (O, ...) -> a `Quantize` view with scale (O, 1, ...) or ().
    """
    scale, zero_point = choose_scale(weight, bits=bits, axis=0 if per_channel else None, symmetric=symmetric)
    shape = (-1,) + (1,) * (weight.ndim - 1) if per_channel else ()
    half = 2 ** (bits - 1)
    low = 1 - half if symmetric else -half
    return Quantize(scale.reshape(shape), zero_point.reshape(shape).astype(weight.dtype), bits, low, half - 1)

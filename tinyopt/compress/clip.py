"""Clipping weights to a range: it saves nothing, and helps what saves.

Start with `clip_weight`, on an array, then `clip_weights`, on a model.

A clipped weight is a float of 4 bytes as before, so a file keeps its size to the byte. But the range of its layer is
narrower then, and so are the steps of integers of a given number of bits. Clipping first and quantizing by min–max
then gives what `quantize(model, symmetric=False, calibrate=rule)` gives, which lays the line for the narrow range at
once. (A symmetric line reaches as far on the other side, so that there less is clipped.)
"""

import numpy as np

from tinyopt.codec.affine import along
from tinyopt.compress.calibrate import percentile
from tinyopt.compress.layers import by_layer, chosen_weights
from tinyopt.nn import Mask


def clip_weight(weight, low, high, *, axis=None):
    """Move what lies outside of a range to its nearest end.

        w ← min(max(w, low), high)

    Shapes: weight (..., C, ...) with C at `axis`; low and high (C,), or () when axis is None -> shape of weight.
    Raises: ValueError for a low above its high; ShapeError for ends of another shape.
    """
    low, high = (end if hasattr(end, "dtype") else weight.dtype.type(end) for end in (low, high))
    if not (low <= high).all():
        raise ValueError("a range goes from low up to high; got a low that is above its high, or NaN")
    return np.clip(weight, along(low, weight, axis), along(high, weight, axis))


def clip_weights(model, bounds=percentile, *, per_channel=False, skip=()):
    """Clip the weights of a model to a range, in place; biases stay.

    Units:  bounds, a rule of `calibrate.py`, (weight, axis=...) -> (low, high), or such a pair of numbers; or one of
            these for each layer, {layer: ...}, which then chooses the layers. Returns {parameter name: fraction moved}.
    Raises: ValueError for an unknown layer, weights that are quantized or shared (clip before that), NaN or infinite,
            or ends in the wrong order; the model is then as it was.
    Source: Migacz (2017), "8-bit Inference with TensorRT", GTC 2017 (saturation, for activations); Zhao, Hu, Dotzel,
            De Sa & Zhang (2019), "Improving Neural Network Quantization without Retraining using Outlier Channel
            Splitting", arXiv:1901.09504 (for weights too, as the common remedy).
    """
    weights, clipped = chosen_weights(model, skip), {}
    for name, rule in by_layer(weights, bounds).items():
        parameter, axis = weights[name], 0 if per_channel and callable(rule) else None
        if any(not isinstance(view, Mask) for view in parameter.views):
            kind = next(type(view).__name__ for view in parameter.views if not isinstance(view, Mask))
            raise ValueError(f"{name} is read through a {kind}: clip weights before quantizing or sharing them")
        try:
            ends = rule(parameter.read().data, axis=axis) if callable(rule) else rule
            clipped[name] = clip_weight(parameter.data, *ends, axis=axis)
        except ValueError as problem:
            raise ValueError(f"{name} cannot be clipped: {problem}") from None
    moved = {name: float((clipped[name] != weights[name].data).mean()) for name in clipped}
    for name, data in clipped.items():
        weights[name].data = data
    return moved

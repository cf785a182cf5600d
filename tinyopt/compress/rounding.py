"""Choosing integers by what a layer makes of them: the frame that AdaRound and GPTQ share.

    minimise over integers q   ‖X (ŵ − w)‖² = (ŵ − w) H (ŵ − w)ᵀ        ŵ = scale · (q − zero_point),  H = XᵀX

Rounding each weight to the nearest integer makes every |ŵ − w| as small as can be, but errors of different weights
add up in the output, or cancel. Which it is, H knows. Start with these three: `output_error`, the measure;
`exhaustive`, the best choice there is, for few weights; `round_layers`, the loop over a model.

A row of the weight makes one output, and H is the same for all rows, so each row is a problem of its own.
"""

import typing

import numpy as np

from tinyopt import backend, nn
from tinyopt.compress.layers import by_layer, chosen_weights
from tinyopt.compress.quantize import weight_view
from tinyopt.compress.reconstruct import inputs_by_group
from tinyopt.measure import capture, inference
from tinyopt.tensor import Tensor

MOST_CHOICES = 2**16


class Rounded(typing.NamedTuple):
    """The output error of a layer, ‖X (ŵ − w)‖² / ‖X w‖², if rounded to the nearest, by the technique, and as kept."""

    nearest: float
    technique: float
    kept: float


def output_error(change, gram):
    """How much a change of the weights changes each output, summed over the inputs: ‖X δ‖² = δ H δᵀ.

    Shapes: change δ (..., O, I), gram H = XᵀX (..., I, I) -> (..., O), never below 0.
    """
    return np.maximum(((change @ gram) * change).sum(axis=-1), 0.0)


def nearest(weight, scale, zero_point, *, low, high):
    """Round to the nearest integer, half to even, as `codec.quantize` does: clip(round(w / scale) + zero_point)."""
    return np.clip(np.rint(weight / scale) + zero_point, low, high)


def exhaustive(weight, gram, scale, zero_point, *, low, high, reach=0):
    """The best choice of integers, by trying all: for few weights, to see how near a quicker way comes.

        q_i ∈ {⌊w_i / scale⌋ − reach, ..., ⌊w_i / scale⌋ + 1 + reach} + zero_point        of 2^I choices for reach 0

    Shapes: weight (O, I), gram (I, I); scale and zero_point broadcast against weight -> q (O, I), whole numbers.
    Raises: ValueError for more than 2¹⁶ choices a row: 16 weights up or down, or 8 with reach 1.
    """
    steps, n = 2 + 2 * reach, weight.shape[-1]
    if steps**n > MOST_CHOICES:
        raise ValueError(f"trying all choices is for 2^16 of them at most; {n} weights with {steps} integers each "
                         f"have {steps}^{n}. Take fewer weights of the row")  # fmt: skip
    digits = np.arange(steps**n)[:, None] // steps ** np.arange(n) % steps - reach  # (choices, I)
    digits = backend.to_device(digits.astype(np.float64), backend.device_of(weight).name)
    line = [np.broadcast_to(part, weight.shape) for part in (scale, zero_point)]
    rows = []
    for w, s, zero in zip(_listed(weight), *map(_listed, line)):
        q = np.clip(np.floor(w / s) + zero + digits, low, high)  # (choices, I)
        best = output_error((q - zero) * s - w, gram).argmin().reshape(1)
        rows.append(q[best])
    return np.concatenate(rows)


def better_rows(weight, gram, scale, zero_point, near, chosen):
    """For each row the better of two choices of integers, by its output error; the nearest one if they are equal.

    Shapes: near and chosen (..., O, I) -> q (..., O, I), and the three errors, summed over the rows.
    """
    errors = [output_error((q - zero_point) * scale - weight, gram) for q in (near, chosen)]  # (..., O)
    kept = np.where((errors[1] < errors[0])[..., None], chosen, near)
    return kept, Rounded(*(float(error.sum()) for error in (*errors, np.minimum(*errors))))


def round_layers(model, images, choose, bits, *, group_size=None, skip=(), **line):
    """Round every Linear and Conv2d to the integers that `choose` finds, in place, first layer first.

    Each layer is given what the layers before it, rounded by then, make of the images. Its line is laid as
    `quantize` does. For each row, the nearest integers stay if they are better. The weight's data become the numbers
    that the integers stand for, so the view's own rounding, and a file, give these integers back. A weight of
    exactly 0, a pruned one, stays 0.

    Shapes: images (n, ...), from the training part; choose(weight, gram, scale, zero_point, low=, high=) -> q, on
            arrays (groups, O / groups, I), but gram (groups, I, I), in float64. `line` is as in `quantize`:
            per_channel, symmetric, calibrate.
    Units:  bits, 2 to 16, or {layer: bits}; group_size in weights, or {layer: size}. Returns {layer: `Rounded`}.
    Raises: ValueError for other bits, images or weights that are not finite, no images, a weight with another view
            than a mask, of another layer than Linear or Conv2d, or of one that does not run; ShapeError for a group
            size that does not divide. The model is then as it was.
    """
    images = checked_images(model, images)
    layers, results = _layers_to_round(model, bits, group_size, skip, line), {}
    ran = _captured(model, images)
    idle = [name for name in layers if name not in ran]
    if idle:
        raise ValueError(f"{idle[0]} does not run when the model is called, so no inputs tell its errors: skip it")
    for name in [name for name in ran if name in layers]:
        results[name] = _round_layer(model.get(name), _captured(model, images)[name], choose, layers[name])
    return results


def _round_layer(layer, ran, choose, view):
    """Round one layer to the line of a view, given what the layer was called with."""
    before = layer.weight.read().data
    gram = sum(x.swapaxes(1, 2) @ x for x in inputs_of(layer, ran))
    gram = gram[:, : before[0].size, : before[0].size]  # without the 1 for the bias
    weight = before.reshape(len(gram), -1, gram.shape[-1]).astype(np.float64)  # (groups, O / groups, I)
    rows = before.reshape(view.rows(before.shape)).shape  # in groups, if each has a scale
    lines = (part.astype(np.float64) for part in (view.scale, view.zero_point))
    scale, zero_point = (np.broadcast_to(part, rows).reshape(weight.shape) for part in lines)
    ends = {"low": view.low, "high": view.high}
    near = nearest(weight, scale, zero_point, **ends)
    q, errors = better_rows(weight, gram, scale, zero_point, near, choose(weight, gram, scale, zero_point, **ends))
    layer.weight.data = ((q - zero_point) * scale).reshape(before.shape).astype(before.dtype)
    layer.weight.attach(view)
    whole = max(float(output_error(weight, gram).sum()), np.finfo(np.float64).tiny)
    return Rounded(*(error / whole for error in errors))


def inputs_of(layer, ran):
    """What each group of a layer's rows is multiplied with, a few images at a time; the last number is a bias's 1.

    Shapes: ran, a layer as `measure.capture` has it; yields (groups, n, I + 1), or (groups, n, I) without a bias.
    """
    for x in (call.inputs[0].data for call in ran.calls):
        yield from (inputs_by_group(layer, x[start : start + 64]) for start in range(0, len(x), 64))


def checked_images(model, images):
    """Calibration images as a tensor on the model's device.

    Raises: ValueError if there are none, or some are NaN or infinite.
    """
    if len(images) == 0:
        raise ValueError("calibration needs images, from the training part: a few hundred are enough; got none")
    home = next((parameter.device for parameter in model.parameters()), "cpu")
    images = Tensor(backend.to_device(images, home))
    if not bool(np.isfinite(images.data).all()):
        raise ValueError("calibration images must be finite; some numbers are NaN or infinite. Look at how they are read")
    return images


def _layers_to_round(model, bits, group_size, skip, line):
    """{layer's name: the view that says which line its weight is rounded to}, once all of them can be rounded."""
    weights, layers = chosen_weights(model, skip), {}
    readers, group_sizes = _readers(model), by_layer(weights, group_size)
    for name, n_bits in by_layer(weights, bits).items():
        parameter, (path, layer), *others = weights[name], *readers.get(id(weights[name]), [(name, model)])
        if not isinstance(layer, (nn.Linear, nn.Conv2d)):
            kind = type(layer).__name__
            raise ValueError(f"only Linear and Conv2d are rounded by their outputs; {name} is a {kind}'s: skip={path!r}")
        if others:
            raise ValueError(f"{path} shares its weight with {others[0][0]}, which has other inputs: skip={path!r}")
        views = [view for view in parameter.views if not isinstance(view, nn.Mask)]
        if views:
            raise ValueError(f"{name} is under a view {type(views[0]).__name__} already: bake() it first, or skip it")
        if not bool(np.isfinite(parameter.data).all()):
            raise ValueError(f"{name} must be finite; it holds NaN or infinity. Did training diverge?")
        if n_bits == 1:
            raise ValueError("1 bit has two values and no 0, so there is no up and down to choose: take 2 bits or more")
        layers[path] = weight_view(parameter.read().data, n_bits, group_size=group_sizes.get(name), **line)
    return layers


def _readers(model):
    """{id of a parameter: the layers that have it, with their names}."""
    readers = {}
    for path, layer in model.named_modules():
        for value in vars(layer).values():
            if isinstance(value, nn.Parameter):
                readers.setdefault(id(value), []).append((path, layer))
    return readers


def _captured(model, images):
    with inference(model), capture(model) as layers:
        model(images)
    return layers


def _listed(rows):
    return [rows[i] for i in range(len(rows))]

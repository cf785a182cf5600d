"""Bias correction: rounded weights move the mean of every output; take that off the bias.

Start with these two: `expected_shift`, on arrays; `correct_bias`, the loop over a model.

    whole = copy.deepcopy(model)
    quantize(model, 4)
    correct_bias(model, whole, digits.train.sample(500, rng=0).images)

The errors of a row's weights have no reason to add up to 0, and after a ReLU all inputs are positive: so the output
is too large on average, or too small. A bias is there anyway, and stays float32, so that mending it costs no byte.
"""

import numpy as np

from tinyopt import nn
from tinyopt.compress.reconstruct import with_bias
from tinyopt.compress.rounding import checked_images, inputs_of
from tinyopt.measure import capture, inference, trace


def expected_shift(weight, rounded, mean, mean_now=None):
    """How far the outputs move on average when the weights are rounded.

        E[Ŵ x] − E[W x] = (Ŵ − W) E[x]        or Ŵ E[x̂] − W E[x], if rounding changed the inputs too

    Shapes: weight, rounded (..., O, I); mean E[x] and mean_now E[x̂] (..., I), x for None -> (..., O).
    Source: Nagel, van Baalen, Blankevoort & Welling (2019), "Data-Free Quantization Through Weight Equalization
            and Bias Correction", arXiv:1906.04721, Section 4.2; with data, Appendix D.
    """
    mean_now = mean if mean_now is None else mean_now
    return (rounded @ mean_now[..., None] - weight @ mean[..., None])[..., 0]


def correct_bias(model, whole, images):
    """Move the bias of every Linear and Conv2d so that its mean output is that of the whole model, in place.

        b̂ ← b̂ − (E[Ŵ x̂ + b̂] − E[W x + b])

    First layer first: x̂ is what the corrected layers before it make. If a norm follows a layer without a bias, its
    running mean takes the shift; else the layer gets a bias.

    Shapes: images (n, ...), from the training part. model: `whole`, with its weights rounded in whichever way.
            Returns {layer: shift (O,)}.
    Raises: ValueError for images or weights that are not finite, no images, or layers that `whole` lacks; the
            model is then as it was.
    Source: as `expected_shift`.
    Differs: there, E[x] comes from the norms' statistics, with data only in Appendix D; here always from data.
    """
    images = checked_images(model, images)
    names = [name for name, layer in model.named_modules() if isinstance(layer, (nn.Linear, nn.Conv2d))]
    _check(model, whole, names)
    norms, known, shifts = _norms_after(model, images.data[:1]), _mean_inputs(whole, images), {}
    for name in [name for name in known if name in names]:
        layer, twin = model.get(name), whole.get(name)
        now = _mean_inputs(model, images, only=name)[name]
        shift = expected_shift(_matrix(twin), _matrix(layer), known[name], now).reshape(-1)
        _take_off(layer, norms.get(name), shift)
        shifts[name] = shift
    if not shifts:
        raise ValueError(f"this {type(model).__name__} runs no Linear or Conv2d whose bias could be corrected")
    return shifts


def _take_off(layer, norm, shift):
    """Subtract a shift of the layer's outputs: from its bias, or as (y − shift) − mean = y − (mean + shift)."""
    if layer.bias is None and norm is not None:
        norm.running_mean = (norm.running_mean + shift).astype(norm.running_mean.dtype)
        return
    if layer.bias is None:
        layer.bias = nn.Parameter(np.zeros_like(shift, dtype=layer.weight.dtype))
    layer.bias.data = (layer.bias.data - shift).astype(layer.weight.dtype)


def _mean_inputs(model, images, only=None):
    """{layer: the mean of what its matrix is multiplied with (groups, I + 1)}, in float64; the last is 1, for a bias."""
    means, modules = {}, dict(model.named_modules())
    with inference(model), capture(model) as layers:
        model(images)
    for name, ran in layers.items():
        layer = modules[name]
        if isinstance(layer, (nn.Linear, nn.Conv2d)) and only in (None, name):
            parts = [(x.sum(axis=1), x.shape[1]) for x in inputs_of(layer, ran)]
            means[name] = sum(total for total, _ in parts) / sum(n for _, n in parts)
    return means


def _matrix(layer):
    bias = None if layer.bias is None else layer.bias.read().data
    return with_bias(layer, layer.weight.read().data, bias).astype(np.float64)


def _norms_after(model, example):
    """{layer: the norm that alone reads its output, and reads nothing else}."""
    run, norms = trace(model, example), {}
    for step in run:
        if isinstance(step.module, (nn.BatchNorm1d, nn.BatchNorm2d)) and len(run.calls(step.name)) == 1:
            maker = run.producer(step.inputs[0])
            if maker is not None and run.after(maker) == [step] and maker.output not in run.outputs:
                norms[maker.name] = step.module
    return norms


def _check(model, whole, names):
    twins = dict(whole.named_modules())
    for name in names:
        layer, twin = model.get(name), twins.get(name)
        if type(twin) is not type(layer) or twin.weight.shape != layer.weight.shape:
            raise ValueError(f"the whole model needs the layers of the rounded one; it has no such {name}")
        if (twin.bias is None) != (layer.bias is None):
            raise ValueError(f"{name} has a bias in only one of the two models: correct the bias once")
        if not all(bool(np.isfinite(_matrix(m)).all()) for m in (layer, twin)):
            raise ValueError(f"{name} must be finite; it holds NaN or infinity. Did training diverge?")

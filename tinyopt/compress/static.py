"""Static quantization: weights and activations on lines that are laid beforehand, from training data.

Start with these three: `observers.calibrate`, which finds the ranges; `nn.FakeQuantize`, which rounds activations;
`quantize_static`, which does both to a model. What multiplies these integers as integers is `compress.integer`.
"""

import copy
import functools

from tinyopt import nn
from tinyopt.compress.observers import HistogramObserver, calibrate, images_of
from tinyopt.compress.qat import insert_after, read_by_products
from tinyopt.compress.quantize import quantize


def quantize_static(model, part, bits=8, *, weight_bits=8, observer=None, per_channel=True, skip=()):
    """Quantize the weights of a model, and every activation that meets one, in place.

        x ≈ s (q − z)        w ≈ s′ (q′ − z′)        what a product reads is q and q′, and nothing else

    The ranges of activations are found on the float model, in eval mode. A `FakeQuantize` then stands behind each
    layer whose output a Linear or Conv2d reads, as `<name>_quant`, and one for the images in front, as `input_quant`.
    The model goes on in floats, which tell just these values: it says how accurate integers are, not how fast.

    Shapes: part, training images, as `observers.calibrate` takes them: a few hundred are enough.
    Units:  bits of activations and weight_bits, each 2 to 16; observer, what makes one, such as
            `functools.partial(PercentileObserver, 99.99)`: HistogramObserver for these bits if None (2 to 10).
            Returns {layer: (low, high)}.
    Raises: ValueError for other bits, no example, NaN or Inf in weights or activations (naming the layer), a layer
            that stands in no Sequential, or a model that is quantized so already; the model is then as it was.
    Source: Jacob et al. (2018), "Quantization and Training of Neural Networks for Efficient
            Integer-Arithmetic-Only Inference", arXiv:1712.05877; Krishnamoorthi (2018), arXiv:1806.08342, Section 3.
    """
    nn.FakeQuantize(bits)  # refuses other bits
    there = [name for name, layer in model.named_modules() if isinstance(layer, nn.FakeQuantize)]
    if there:
        raise ValueError(f"this model's activations are quantized already, by {there[0]}: start from the float model")
    images = images_of(part)
    layers = read_by_products(model, images[:1], skip)
    observer = functools.partial(HistogramObserver, bits=bits) if observer is None else observer
    ranges = calibrate(model, images, observer, layers)
    rehearsal = copy.deepcopy(model)
    for each in (rehearsal, model):  # what cannot be done is found out on the copy
        quantize(each, weight_bits, per_channel=per_channel, skip=skip)
        for name, ends in ranges.items():
            _insert(each, name, bits, ends)
    return ranges


def _insert(model, name, bits, ends):
    """Put a `FakeQuantize` for this range behind a layer, or in front of all."""
    layer = nn.FakeQuantize(bits)
    layer.observe(*ends)
    layer.to(next(parameter.device for parameter in model.parameters())).train(model.training)
    if name != "input":
        insert_after(model, name, layer)
    elif not isinstance(model, nn.Sequential):
        raise ValueError(f"the images are quantized by a new first layer of a Sequential; this is a "
                         f"{type(model).__name__}. Put it into one: Sequential(net=model)")  # fmt: skip
    else:
        model.layers = {"input_quant": layer, **model.layers}

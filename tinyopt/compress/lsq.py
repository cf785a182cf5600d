"""Learned step size quantization (LSQ): the step of each layer's integers is trained like a weight.

Start with `first_step`, then `prepare_lsq`; the gradient is in `ops/view.py`, `lsq`:

    prepare_lsq(model, digits.train, weight_bits=3, activation_bits=3)
    train.fit(model, digits, epochs=3, optimizer=SGD(model.parameters(), lr=0.01, momentum=0.9))
    finish(model)
    tinyopt.save(model, path)                                                   # holds 3-bit integers

In between, layers are `nn.LearnedStepLinear` and the like, whose `step` is a parameter as any other. `finish` makes
of it an ordinary model, with the views and layers of `qat.py`, that computes the same numbers.
"""

import math

import numpy as np

from tinyopt import backend
from tinyopt.compress.fold import fold_norms
from tinyopt.compress.layers import chosen_weights
from tinyopt.compress.observers import images_of
from tinyopt.compress.qat import insert_after, quantizers
from tinyopt.measure import inference
from tinyopt.nn import Conv2d, FakeQuantize, Linear, Mask, Quantize
from tinyopt.nn.learned_step import LearnedStep, LearnedStepConv2d, LearnedStepLinear, step_range

STEPPED = {Linear: LearnedStepLinear, Conv2d: LearnedStepConv2d}


def first_step(x, high, *, axis=None):
    """Where the training of a step begins: s = 2 · mean|x| / √high.

    Never below the smallest normal float, so that all-zero numbers can be divided by it.

    Shapes: x (C, ...), floats -> (), or (C,) for axis=0, in x's dtype.
    Units:  high, the largest number of steps: 2^(b−1) − 1 for signed numbers.
    Source: Esser et al. (2020), "Learned Step Size Quantization", arXiv:1902.08153, Section 2.1.
    """
    others = None if axis is None else tuple(i for i in range(x.ndim) if i != axis)
    step = abs(x).mean(axis=others) * (2 / math.sqrt(high))
    return np.maximum(step, float(np.finfo(x.dtype).tiny))[...]  # [...] makes an array of a NumPy number


def prepare_lsq(model, part, *, weight_bits=8, activation_bits=8, per_channel=False, skip=(), fold=True, n_images=256):
    """Give each weight and activation a step that is trained, in place; returns the names of the steps.

    As `qat.prepare_qat`: norms are folded, and activations are rounded behind each layer whose output a product
    reads. What is never negative on the first n_images training images is rounded from 0 up. Make the optimizer
    afterwards, so that it finds the steps.

    Shapes: part, the training part, or some of its images.
    Units:  bits in 2..16, or None to leave weights or activations as floats.
    Raises: ValueError for other bits, an unknown name in skip, weights that are already stored in fewer bits, or
            layers with weights that are no Linear or Conv2d: name them in skip.
    Source: Esser et al. (2020), "Learned Step Size Quantization", arXiv:1902.08153: one step a layer.
    Differs: they keep the first and the last layer at 8 bits; here `skip` leaves layers as floats.
    """
    images = images_of(part)[:n_images]
    chosen_weights(model, skip)  # refuses unknown names
    if weight_bits is None and activation_bits is None:
        raise ValueError("there is nothing to round: give weight_bits or activation_bits, such as 8")
    for bits in (weight_bits, activation_bits):
        step_range(8 if bits is None else bits)
    layers = _plain_layers(model, skip) if weight_bits is not None else {}
    if fold:
        with inference(model):  # folded is what inference would compute, also while the model trains
            fold_norms(model, images[:1])
    made = {}
    if activation_bits is not None:
        made = quantizers(model, images, lambda x: _started(activation_bits, x), skip)
    for name, layer in layers.items():
        model.replace(name, _stepped(layer, weight_bits, per_channel))
    behind = [insert_after(model, name, layer) for name, layer in made.items()]
    return [f"{name}.step" for name in (*layers, *behind)]


def finish(model):
    """Take learned steps for final: of each layer, make an ordinary one that computes the same, in place.

    Weights are read through a `Quantize` view, stored as integers of b bits; activations go through
    a `FakeQuantize`, whose range `qat.ranges` tells.

    Raises: ValueError if training drove a step to 0 or below: what it rounds has been 0 since.
    """
    _check_steps(model)
    for name, layer in list(model.named_modules()):
        if isinstance(layer, LearnedStep):
            model.replace(name, _fixed(layer))
        elif type(layer) in STEPPED.values():
            model.replace(name, _ordinary(layer))


def _check_steps(model):
    gone = [name for name, p in model.named_parameters() if name.endswith("step") and not bool((p.data > 0).all())]
    if gone:
        raise ValueError(f"a step is above 0; training drove {', '.join(gone)} through it, and all that it rounds is 0 "
                         "since. Train again from the float model, at a smaller learning rate")  # fmt: skip


def _plain_layers(model, skip):
    """The layers whose weights get steps, by name."""
    layers = {}
    for name, parameter in chosen_weights(model, skip).items():
        layer = model.get(name.rpartition(".")[0])
        if type(layer) not in STEPPED:
            kind = type(layer).__name__
            raise ValueError(f"learned steps are for Linear and Conv2d; {name} is of a {kind}. Name it in skip")
        kinds = [type(view).__name__ for view in parameter.views if not isinstance(view, Mask)]
        if kinds:
            raise ValueError(f"{name} is stored in fewer bits already ({', '.join(kinds)}): start from float weights")
        layers[name.rpartition(".")[0]] = layer
    return layers


def _stepped(layer, bits, per_channel):
    """The same layer, with the same parameters and a step."""
    new = STEPPED[type(layer)](**layer.config(), bits=bits, per_channel=per_channel, rng=0)
    new.weight, new.bias, new.training = layer.weight, layer.bias, layer.training
    new.step.data = first_step(layer.weight.read().data, step_range(bits)[1], axis=0 if per_channel else None)
    return new


def _started(bits, x):
    """A `LearnedStep` for activations like x."""
    layer = LearnedStep(bits, signed=bool((x < 0).any()))
    layer.step.data = first_step(x, step_range(bits, layer.signed)[1])
    return layer


def _ordinary(layer):
    """The layer that it was, its weight read through a view."""
    settings = {key: value for key, value in layer.config().items() if key not in ("bits", "per_channel")}
    plain = next(kind for kind, stepped in STEPPED.items() if stepped is type(layer))(**settings, rng=0)
    plain.weight, plain.bias, plain.training = layer.weight, layer.bias, layer.training
    scale = _positive(layer.step.data).reshape(layer.step_shape())
    plain.weight.attach(Quantize(scale, np.zeros_like(scale), layer.bits, *step_range(layer.bits)))
    return plain


def _fixed(layer):
    """The `FakeQuantize` that does what a trained `LearnedStep` does."""
    fixed = FakeQuantize(layer.bits).to(backend.device_of(layer.step.data).name)
    low, high = step_range(layer.bits, layer.signed)
    fixed.scale = _positive(layer.step.data)
    fixed.low, fixed.high = (fixed.scale * low)[...], (fixed.scale * high)[...]
    fixed.zero_point = np.full_like(fixed.scale, step_range(layer.bits)[0] - low)
    fixed.training = layer.training
    return fixed


def _positive(step):
    """The step that `ops.lsq` computes with."""
    return np.maximum(step, float(np.finfo(step.dtype).tiny))[...]

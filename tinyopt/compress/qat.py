"""Training with quantization (QAT): every forward pass of training sees what the integers will say.

Start with `prepare_qat`, then the callback `QAT` that it returns:

    qat = prepare_qat(model, digits.train, weight_bits=4, activation_bits=4)
    train.fit(model, digits, epochs=3, optimizer=SGD(model.parameters(), lr=0.01), callbacks=[qat])
    tinyopt.save(model, path)                                                   # holds 4-bit integers

Weights are rounded by the same view as after training (`quantize.py`), activations by `nn.FakeQuantize`. Both are
straight-through: rounding has slope 0 nearly everywhere, and gradients pass as if it had slope 1. So a float weight
is trained, of which the network only ever sees the nearest integer. `lsq.py` trains the steps, too.
"""

from tinyopt import backend
from tinyopt.codec.affine import min_max
from tinyopt.compress.fold import fold_norms
from tinyopt.compress.layers import by_layer, chosen_weights
from tinyopt.compress.observers import MinMaxObserver, images_of
from tinyopt.compress.quantize import quantize, weight_view
from tinyopt.measure import capture, inference, trace
from tinyopt.nn import FakeQuantize, LearnedStep, Mask, Quantize, Residual, Sequential
from tinyopt.tensor import Tensor


def prepare_qat(
    model, part, *, weight_bits=8, activation_bits=8, per_channel=True, group_size=None, symmetric=True,
    calibrate=min_max, observer=MinMaxObserver, momentum=0.1, skip=(), fold=True, n_images=256,
):  # fmt: skip
    """Make a trained model ready for training with quantization, in place; returns the callback for `train.fit`.

    1. Batch norms are folded into the layers before them (`fold_norms`): rounded are the weights that inference uses.
    2. Behind each layer whose output a product reads comes a `FakeQuantize` (`insert_after`). Its first range is
       what an `observer()` says of some training images; in training it follows the smallest and largest numbers.
    3. Each weight gets a `Quantize` view. What comes of these three alone is post-training quantization.

    None for weight_bits or activation_bits leaves those as floats. The model's input is not rounded: pixels have
    8 bits as they come. `skip` leaves layers as they are, their inputs too.

    Shapes: part, the training part, or some of its images; the first n_images are looked at.
    Units:  bits, group_size and calibrate as `quantize`; momentum is the newest batch's share of an activation's range.
    Raises: ValueError for other bits, an unknown name in skip, no image, NaN or Inf, or nothing to round.
    Source: Jacob et al. (2018), "Quantization and Training of Neural Networks for Efficient
            Integer-Arithmetic-Only Inference", arXiv:1712.05877, Section 3.
    Differs: Jacob et al. fold with each batch's own statistics; here the running averages are folded once, before
            training: Krishnamoorthi (2018), arXiv:1806.08342, goes over to that, "freezing", after some steps.
    """
    if weight_bits is None and activation_bits is None:
        raise ValueError("there is nothing to round: give weight_bits or activation_bits, such as 8")
    images, weights = images_of(part)[:n_images], chosen_weights(model, skip)
    FakeQuantize(8 if activation_bits is None else activation_bits)  # refuses other bits before anything changes
    if fold:
        with inference(model):  # folded is what inference would compute, also while the model trains
            fold_norms(model, images[:1])
    made = {}
    if activation_bits is not None:
        made = quantizers(model, images, lambda x: _ranged(x, activation_bits, momentum, observer()), skip)
    lines = {}
    if weight_bits is not None:
        settings = {"per_channel": per_channel, "symmetric": symmetric, "calibrate": calibrate}
        quantize(model, weight_bits, group_size=group_size, skip=skip, **settings)
        sizes = by_layer(weights, group_size)
        lines = {name: {"group_size": sizes.get(name), **settings} for name, p in weights.items() if p.view(Quantize)}
    for name, layer in made.items():
        insert_after(model, name, layer)
    return QAT(lines)


def _ranged(x, bits, momentum, observer):
    """A `FakeQuantize` whose first range is what the observer says of x."""
    observer.observe(x)
    layer = FakeQuantize(bits, momentum=momentum)
    layer.observe(*observer.range())
    return layer


class QAT:
    """The callback of `train.fit` for a model that `prepare_qat` made ready: the lines follow the weights.

    After every step, each weight's scale and zero point are laid anew for the weight as it is then. Activations'
    ranges follow by themselves (`nn.FakeQuantize`); after the run they stay, in training mode too. It has no state
    of its own: lines and ranges are part of the model, so a resumed run goes on with them.

    Shapes: lines, {parameter name: settings of `quantize.weight_view`, but for the bits, which the view knows}.
    """

    def __init__(self, lines):
        self.lines = lines

    def after_step(self, run):
        parameters = dict(run.model.named_parameters())
        for name, settings in self.lines.items():
            lay_anew(parameters[name], **settings)

    def after_fit(self, run):
        for layer in run.model.modules():
            if isinstance(layer, FakeQuantize):
                layer.momentum = None


def lay_anew(parameter, **settings):
    """Lay a quantized weight's line for its data as they are now; settings as `quantize.weight_view`."""
    weight, mask = parameter.data, parameter.view(Mask)
    weight = weight if mask is None else weight * mask.keep
    parameter.attach(weight_view(weight, parameter.view(Quantize).bits, **settings))


# --- activations -----------------------------------------------------------------------------------


def quantizers(model, images, make, skip=()):
    """Layers that round what products read: {name of a layer: `make(x)`, to be put behind it}; x is that layer's output.

    Shapes: images, some of those that the model is trained on; x, an array, what the layer makes of them in eval mode.
    Raises: ValueError if one of the layers has no place behind it, as `insert_after`.
    """
    where = next((parameter.device for parameter in model.parameters()), "cpu")
    images = backend.to_device(images, where)
    places = [name for name in read_by_products(model, images[:1], skip) if name != "input"]
    for name in places:
        _parent(model, name)
    with inference(model), capture(model) as layers:
        model(Tensor(images))
        return {name: make(layers[name].output.data).to(where) for name in places}


def read_by_products(model, example, skip=()):
    """The layers whose output a Conv2d, Linear or AvgPool2d reads, in order: what integers would be multiplied.

    Layers that make no new numbers (Flatten, Dropout) are seen through; of a `Residual`'s sum, the Residual is named.
    "input" is the model's own input.

    Raises: ValueError if what is read is rounded already, or made by an op that is no layer; KeyError for an unknown
            name in `skip`.
    """
    skip = (skip,) if isinstance(skip, str) else tuple(skip)
    for name in skip:
        model.get(name)  # raises, with the names there are
    run, names = trace(model, example), []
    residuals = {name for name, module in model.named_modules() if isinstance(module, Residual)}
    for step in run:
        if step.kind not in ("AvgPool2d", "Conv2d", "Linear", "LowRankLinear") or _within(step.name, skip):
            continue
        maker = run.producer(step.inputs[0])
        while maker is not None and maker.kind in ("Flatten", "reshape"):
            maker = run.producer(maker.inputs[0])
        if maker is not None:
            _check_maker(step, maker)
            path = maker.name.rpartition(".")[0]
            names.append(path if path in residuals and maker.kind == "Add" else maker.name)
        else:
            names.append("input")
    return list(dict.fromkeys(names))


def _check_maker(step, maker):
    if maker.module is None:
        raise ValueError(f"{step.name} reads what the op {maker.kind!r} made, and no layer can be put behind an op. "
                         "Make it a layer of a Sequential, such as nn.ReLU()")  # fmt: skip
    if isinstance(maker.module, (FakeQuantize, LearnedStep)):
        raise ValueError(f"what {step.name} reads is rounded already, by {maker.name}: start from the float model")


def _within(name, places):
    return any(name == place or name.startswith(f"{place}.") for place in places)


def insert_after(model, name, module):
    """Put a module behind the layer called `name`, as a new child `<name>_quant` of the same `Sequential`.

    All other names stay; it takes the mode, training or eval, of the layer before. Returns the new child's dotted name.

    Raises: KeyError for an unknown name; ValueError if the layer does not stand in a `Sequential`, where one layer
            is given what the last one made, or has such a child already.
    """
    parent, layers = _parent(model, name), {}
    child = name.rpartition(".")[2]
    module.train(parent.layers[child].training)
    for key, layer in parent.layers.items():
        layers |= {key: layer, f"{child}_quant": module} if key == child else {key: layer}
    parent.layers = layers
    return f"{name}_quant"


def _parent(model, name):
    """The `Sequential` that a layer stands in, if there is a place behind it."""
    model.get(name)
    path, _, child = name.rpartition(".")
    parent = dict(model.named_modules()).get(path)
    if not isinstance(parent, Sequential) or child not in parent.layers:
        where = type(parent).__name__ if name and parent is not None else "no Sequential"
        raise ValueError(f"a layer goes in behind a layer of a Sequential; {name!r} stands in {where}. "
                         "Build that part of the model as Sequential(...)")  # fmt: skip
    if f"{child}_quant" in parent.layers:
        raise ValueError(f"{name!r} has a '{child}_quant' behind it already: take that, model.get('{name}_quant')")
    return parent


def ranges(model):
    """The ranges of activations that training found: {name of the layer behind which they are rounded: (low, high)}.

    Laid anew for the same bits, each gives the same line: `scale_from_range(low, high, ...)`. Unranged layers are
    left out.

    Units:  floats, in units of that layer's output.
    """
    found = {name: layer for name, layer in model.named_modules() if isinstance(layer, FakeQuantize)}
    return {name.removesuffix("_quant"): (float(layer.low), float(layer.high))
            for name, layer in found.items() if layer.has_range}  # fmt: skip

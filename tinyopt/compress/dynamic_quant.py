"""Dynamic quantization: dense layers multiply integers, and find the range of their input at run time.

Start with these three: `nn.dynamic.dynamic_linear`, the arithmetic; `nn.dynamic.DynamicQuantLinear`, the layer;
`quantize_dynamic`, which puts it into a model.

    weight-only   `quantize`            integers in the file, floats in the product
    dynamic       here                  integers in the product too; no calibration
    static        `static.py`           ranges of activations found beforehand, on training data
"""

from tinyopt import nn
from tinyopt.compress.quantize import weight_view
from tinyopt.nn.dynamic import DynamicQuantLinear


def quantize_dynamic(model, bits=8, *, weight_bits=8, per_channel=True, skip=()):
    """Replace the `Linear` layers of a model by ones that multiply integers, in place.

    Weights that are quantized already, on a symmetric line or an affine one, keep their integers. Convolutions stay
    as they are: `quantize` stores their weights as integers too.

    Units:  bits, of activations, 2 to 8; weight_bits, 2 to 16. Returns {layer: largest error of a weight}.
    Raises: ValueError for other bits, for a model without a Linear layer inside, for weights that are NaN, infinite or
            shared, or `skip` that names none of its parts; the model is then as it was.
    Source: PyTorch, `torch.ao.quantization.quantize_dynamic`.
    """
    skip = (skip,) if isinstance(skip, str) else tuple(skip)
    for name in skip:
        model.get(name)  # raises, with the names there are
    layers = {
        name: layer
        for name, layer in model.named_modules()
        if type(layer) is nn.Linear and name and not any(f"{name}.".startswith(f"{s}.") for s in skip)
    }
    if not layers:
        raise ValueError(f"this {type(model).__name__} holds no Linear layer to replace. Convolutions are for "
                         "static quantization; a single layer goes into a Sequential")  # fmt: skip
    made, errors = {}, {}
    for name, layer in layers.items():
        if id(layer) not in made:  # a layer that stands in two places is replaced by one
            made[id(layer)] = _dynamic(name, layer, bits, weight_bits, per_channel)
        errors[name] = made[id(layer)][1]
    for name, layer in layers.items():
        model.replace(name, made[id(layer)][0])
    return errors


def _dynamic(name, layer, bits, weight_bits, per_channel):
    """The new layer, with the weight's views and one that rounds; and the largest error of a weight."""
    before = layer.weight.read().data
    new = DynamicQuantLinear(layer.in_features, layer.out_features, layer.bias is not None, bits, rng=0)
    new.weight, new.bias, new.training = nn.Parameter(layer.weight.data), layer.bias, layer.training
    new.weight.views, new.weight.name = list(layer.weight.views), layer.weight.name
    new.weight.requires_grad = layer.weight.requires_grad
    if new.weight.view(nn.Quantize) is None:
        try:
            new.weight.attach(weight_view(before, weight_bits, per_channel=per_channel))
        except ValueError as problem:
            raise ValueError(f"layer {name!r} cannot be quantized: {problem}") from None
    new.integers()  # refuses scales that do not fit
    return new, float(abs(new.weight.read().data - before).max())

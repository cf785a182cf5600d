"""A norm folded into the layer before it: two linear maps in a row are one.

Start with `fold_norm`, on arrays; `fold_norms` does it to a model. In eval mode a batch norm multiplies each channel by
a fixed number and adds another, which the weights and the bias of the layer before it can do as well. So nothing is
left of it at run time.
"""

import numpy as np

from tinyopt.compress.one_run import as_example, refuse_training
from tinyopt.measure import trace
from tinyopt.nn import BatchNorm1d, BatchNorm2d, Conv2d, Identity, Linear, Mask, Parameter


def fold_norm(weight, bias, gamma, beta, mean, var, *, eps=1e-5):
    """The weight and bias of one layer that computes what a layer and a batch norm after it compute.

        γ · (W x + b − mean) / √(var + ε) + β  =  W′ x + b′
        W′[o] = s[o] · W[o]        b′ = s · (b − mean) + β        s = γ / √(var + ε)

    Shapes: weight (O, ...), of a dense layer or a convolution; bias (O,) or None, which is 0; gamma, beta, mean, var
            (O,), the norm's weight, bias and running statistics -> W′, as weight; b′ (O,).
    Source: Jacob et al. (2018), "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
            Inference", arXiv:1712.05877, Section 3.2, equation 14.
    """
    slope = gamma / np.sqrt(var + eps)
    start = -mean if bias is None else bias - mean
    return weight * slope.reshape(-1, *[1] * (weight.ndim - 1)), slope * start + beta


def fold_norms(model, example):
    """Fold each batch norm that stands directly behind a Linear or Conv2d into it, in place, with its running averages.

    The norm's place is taken by an `Identity`, so that all other names stay; the layer has a bias afterwards. In
    eval mode the model computes the same as before, up to rounding. Integers are laid for the weights that inference
    runs with, and those are the folded ones: fold first, quantize then. Returns the names of the norms folded.

    Shapes: example, images as the model takes them; one is enough.
    Raises: ValueError if a batch norm is in training mode, or such a layer's weight is already stored as integers or
            codebook labels.
    """
    refuse_training(model)
    run, done = trace(model, as_example(model, example)), []
    for step in run:
        before = run.producer(step.inputs[0]) if isinstance(step.module, (BatchNorm1d, BatchNorm2d)) else None
        if before is None or not isinstance(before.module, (Linear, Conv2d)):
            continue
        if len(run.consumers(before.output)) > 1 or len(run.calls(before.name)) > 1 or len(run.calls(step.name)) > 1:
            continue  # others read the unnormalised numbers, or a layer runs twice
        if before.output in run.outputs or _owners(model, before.module.weight) > 1:
            continue  # the model hands them out, too; or another layer computes with this weight
        if isinstance(before.module, Linear) and len(before.output.shape) != 2:
            continue  # of (N, T, D), the layer makes the last axis and the norm divides the middle one
        _fold(before.name, before.module, step.module)
        model.replace(step.name, Identity())
        done.append(step.name)
    return done


def _owners(model, parameter):
    """How many layers have this very parameter."""
    return sum(value is parameter for module in model.modules() for value in vars(module).values())


def _fold(name, layer, norm):
    """Put the norm into the layer; a mask on the weight stays."""
    kinds = [type(view).__name__ for view in layer.weight.views if not isinstance(view, Mask)]
    if kinds:
        raise ValueError(f"fold norms before compressing: {name}.weight is read through {', '.join(kinds)}")
    bias = None if layer.bias is None else layer.bias.data
    averages = norm.running_mean, norm.running_var
    layer.weight.data, bias = fold_norm(layer.weight.data, bias, norm.weight.data, norm.bias.data, *averages, eps=norm.eps)
    if layer.bias is None:
        layer.bias = Parameter(bias)
    else:
        layer.bias.data = bias

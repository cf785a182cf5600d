"""Binary weights: a sign each, and one number for how large they all are. Signs of activations, too.

Start with `mean_scale`, then `binarize`; the gradient is in `ops/low_bit.py`, `binary_weight`:

    follow = binarize(model, skip=["conv1", "fc2"])                     # a view on each weight, and a callback
    train.fit(model, digits, epochs=5, optimizer=Adam(model.parameters(), lr=0.001), callbacks=[follow])
    tinyopt.save(model, path)                                           # holds 1 bit a weight

A float weight is trained, of which the network only sees the sign: small steps add up in it until the sign turns.
`ternary.py` adds a third value, zero.
"""

import math

import numpy as np

from tinyopt import backend
from tinyopt.compress.layers import chosen_weights
from tinyopt.measure import capture, inference
from tinyopt.nn import Linear, Mask
from tinyopt.nn.low_bit import Binary, Ternary
from tinyopt.nn.low_bit_linear import BinaryLinear
from tinyopt.tensor import Tensor


def mean_scale(weight, keep=None):
    """XNOR-Net's scale, the best one for signs: α = mean |w| over each row.

        minimise  ‖w − α b‖²  over α and b in {−1, +1}ⁿ        b = sign(w),  α = Σ |w| / n

    Since ‖w − α b‖² = ‖w‖² − 2 α (w · b) + α² n, the best b makes w · b as large as it can be, Σ |w|; then a parabola
    in α is left. Pruned weights are not counted.

    Shapes: weight (O, ...), keep Booleans alike or None -> (O, 1, ...), in the weight's type.
    Source: Rastegari, Ordonez, Redmon & Farhadi (2016), "XNOR-Net: ImageNet Classification Using Binary Convolutional
            Neural Networks", arXiv:1603.05279, Equations 2 to 6.
    """
    others = tuple(range(1, weight.ndim))
    if keep is None:
        return abs(weight).mean(axis=others, keepdims=True)
    n = np.maximum(keep.sum(axis=others, keepdims=True), 1)
    return abs(weight * keep).sum(axis=others, keepdims=True) / n.astype(weight.dtype)


def glorot_scale(shape):
    """A constant for a layer that no batch norm follows: H = √(1.5 / (n_in + n_out)).

    Weights drawn uniformly from ±2 H are Glorot's, which neither grow nor shrink what passes through; ±H has their
    mean size.

    Shapes: shape, (O, ...) -> a number; n_in and n_out count a filter's pixels as well.
    Source: Courbariaux, Bengio & David (2015), "BinaryConnect", arXiv:1511.00363: the authors' code, where ±H takes
            the place of the paper's ±1; Glorot & Bengio (2010), "Understanding the difficulty of training deep
            feedforward neural networks", AISTATS, Equation 16.
    """
    n_pixels = math.prod(shape[2:])
    return math.sqrt(1.5 / (n_pixels * (shape[0] + shape[1])))


def binary_view(weight, scale="mean", keep=None):
    """The view that keeps the signs of an array (O, ...); `scale` as in `binarize`.

    Shapes: weight (O, ...), keep Booleans alike or None.
    Raises: ValueError for another scale.
    """
    if scale == "mean":
        return Binary(mean_scale(weight, keep), 1.0, share=len(weight) / weight.size)
    number = glorot_scale(weight.shape) if scale == "glorot" else scale
    if isinstance(number, (str, bool)) or not 0 < number < math.inf:
        raise ValueError(f"scale is 'mean' (XNOR-Net), 'glorot' or a number above 0 (BinaryConnect); got {scale!r}")
    return Binary(weight.reshape(-1)[0] * 0 + number, float(number))


def binarize(model, scale="mean", *, skip=()):
    """Let a model see only the signs of its weights, in place; returns the callback for `train.fit`.

        scale="mean"      w ≈ α sign(w), α = mean |w| of each output channel         XNOR-Net's binary weights
        scale=1.0         w ≈ sign(w); the papers' networks have batch norms         BinaryConnect
        scale="glorot"    w ≈ H sign(w), H a constant of the layer                   BinaryConnect, authors' code

    Without training most of the accuracy is lost: give the callback to `train.fit`. After each step it clips the float
    weights to ±limit (1, or the constant), beyond which they would only drift, and finds α anew. Papers keep the
    first and the last layer as floats: `skip` does.

    Raises: ValueError for another scale, an unknown name in skip, or weights that are NaN, infinite or stored in
            another way; the model is then as it was.
    Source: as `ops.binary_weight`.
    Differs: signs are those of the weights; BinaryConnect may also draw them (its "stochastic" form). XNOR-Net's code
            also takes the mean over the inputs off each filter, in each step.
    """
    weights = chosen_weights(model, skip)

    def lay(parameter):
        keep = parameter.view(Mask)
        return binary_view(parameter.data, scale, None if keep is None else keep.keep)

    attach_all(weights, lay)
    return Follow(weights, lay)


def attach_all(weights, lay):
    """Attach the view `lay(parameter)` to each of {name: parameter}; all of them or none."""
    views = {}
    for name, parameter in weights.items():
        others = [view for view in parameter.views if not isinstance(view, (Binary, Ternary))]
        check_finite(name, parameter.data)
        try:
            views[name] = lay(parameter)
            views[name].check(parameter, others)
        except ValueError as problem:
            raise type(problem)(f"{name}: {problem}") from None
    for name, view in views.items():
        parameter = weights[name]
        parameter.views = [old for old in parameter.views if not isinstance(old, (Binary, Ternary))]
        parameter.attach(view)


def check_finite(name, weight):
    """Raise ValueError for NaN or infinity."""
    if not bool(np.isfinite(weight).all()):
        raise ValueError(f"signs are of finite weights; {name} holds NaN or infinity. Did training diverge?")


class Follow:
    """The callback of `train.fit` for binary and ternary weights: after each step, their views are laid anew.

    Before that, the float weights under a `Binary` view are clipped to ±limit. It has no state of its own: views are
    part of the model, so a resumed run goes on with them.

    Shapes: weights, {name: parameter}; `lay(parameter)` makes a view.
    """

    def __init__(self, weights, lay):
        self.names, self.lay = tuple(weights), lay

    def after_step(self, run):
        parameters = dict(run.model.named_parameters())
        for parameter in (parameters[name] for name in self.names):
            view = parameter.view(Binary)
            if view is not None:
                parameter.data = np.clip(parameter.data, -view.limit, view.limit)
            parameter.attach(self.lay(parameter))


def binarize_inputs(model, layers, images):
    """Let `Linear` layers read only the signs of their input, in place: their products are counts of bits then.

        y = β · W sign(x) + b        β = mean |x| of the example

    They become `nn.BinaryLinear` layers, with the same parameters. Weights that are not binary or ternary yet become
    binary with XNOR-Net's scale; for training, call `binarize` or `ternarize` first, and train afterwards.

    Shapes: layers, names; images, some of the training part's, on which it is checked that there are signs to read.
    Raises: ValueError for a layer that is no Linear, or whose input is never negative; KeyError for an unknown name.
    Source: Rastegari, Ordonez, Redmon & Farhadi (2016), "XNOR-Net", arXiv:1603.05279, Section 3.2.
    """
    names = (layers,) if isinstance(layers, str) else tuple(layers)
    found = {name: model.get(name) for name in names}
    where = next((parameter.device for parameter in model.parameters()), "cpu")
    with inference(model), capture(model) as seen:
        model(Tensor(backend.to_device(images, where)))
    for name, layer in found.items():
        if type(layer) is not Linear:
            raise ValueError(f"signs are read by Linear layers; {name!r} is a {type(layer).__name__}")
        if not bool((seen[name].inputs[0].data < 0).any()):
            raise ValueError(f"{name!r} reads nothing below 0 on these images, so all its signs would be +1. Take away "
                             "the ReLU before it, or put a batch norm there")  # fmt: skip
    for name, layer in found.items():
        new = BinaryLinear(layer.in_features, layer.out_features, layer.bias is not None, rng=0)
        new.weight, new.bias, new.training = layer.weight, layer.bias, layer.training
        if new.weight.view(Binary) is None and new.weight.view(Ternary) is None:
            keep = new.weight.view(Mask)
            new.weight.attach(binary_view(new.weight.data, keep=None if keep is None else keep.keep))
        model.replace(name, new)

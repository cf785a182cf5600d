"""Ternary weights: plus, minus or nothing. Zeros for the smallest make the other two fit better than signs alone.

Start with `twn_line`, then `ternarize`; the gradients are in `ops/low_bit.py`:

    follow = ternarize(model)                                           # TWN: a view on each weight, and a callback
    train.fit(model, digits, epochs=5, optimizer=Adam(model.parameters(), lr=0.001), callbacks=[follow])

    prepare_ttq(model)                                                  # TTQ: layers with two trained values each
    train.fit(model, digits, epochs=5, optimizer=Adam(model.parameters(), lr=0.001))
    finish_ttq(model)                                                   # ordinary layers with views again

    tinyopt.save(model, path)                                           # holds 1.6 bits a weight
"""

import numpy as np

from tinyopt.compress.binary import Follow, attach_all, check_finite
from tinyopt.compress.layers import chosen_weights
from tinyopt.nn import Conv2d, Linear, Mask
from tinyopt.nn.low_bit import Ternary
from tinyopt.nn.trained_ternary import TrainedTernaryConv2d, TrainedTernaryLinear

TRAINED = {Linear: TrainedTernaryLinear, Conv2d: TrainedTernaryConv2d}


def twn_line(weight, keep=None, *, per_channel=True):
    """The threshold below which weights become 0, and the value of the others, in magnitude.

        Δ = 0.7 · mean |w|        α = mean of the |w| above Δ

    For weights that are chosen as non-zero, that α is the best: it minimises ‖w − α t‖² for t in {−1, 0, 1}ⁿ. The best
    Δ takes a search; 0.7 times the mean is near it for uniform weights (exactly 2/3) and Gaussian ones (0.75).
    Pruned weights are not counted.

    Shapes: weight (O, ...), keep Booleans alike or None -> Δ and α, both (O, 1, ...), or () for one for all; in the
            weight's type.
    Source: Li, Zhang & Liu (2016), "Ternary Weight Networks", arXiv:1605.04711, Section 2.2.
    """
    others = tuple(range(1, weight.ndim)) if per_channel else None
    size = abs(weight) if keep is None else abs(weight * keep)
    count = np.ones_like(weight) if keep is None else keep.astype(weight.dtype)

    def mean(chosen):
        """Of those sizes, in each row."""
        sums = (size * chosen).sum(axis=others, keepdims=per_channel)
        return sums / np.maximum(chosen.sum(axis=others, keepdims=per_channel), 1)

    threshold = mean(count) * 0.7
    return threshold, mean((size > threshold).astype(weight.dtype))


def ternarize(model, *, per_channel=True, skip=()):
    """Let a model see its weights as −α, 0 or α, in place: TWN. Returns the callback for `train.fit`.

    After each step of training the callback finds threshold and α anew.

    Raises: ValueError for an unknown name in skip, or weights that are NaN, infinite or stored in another way; the
            model is then as it was.
    Source: Li, Zhang & Liu (2016), "Ternary Weight Networks", arXiv:1605.04711.
    Differs: they have one threshold and α for each layer: per_channel=False.
    """
    weights = chosen_weights(model, skip)

    def lay(parameter):
        keep = parameter.view(Mask)
        line = twn_line(parameter.data, None if keep is None else keep.keep, per_channel=per_channel)
        return Ternary(line[0], line[1], line[1])

    attach_all(weights, lay)
    return Follow(weights, lay)


def ttq_values(weight, fraction=0.05):
    """Where the training of TTQ's two values begins: the means of the weights that each will stand for.

        Δ = fraction · max |w|        W_p = mean of the w above Δ        W_n = mean of the −w below −Δ

    Shapes: weight (...) -> Δ, W_p and W_n, each (); 0 for the mean of none.
    Source: Zhu, Han, Mao & Dally (2017), "Trained Ternary Quantization", arXiv:1612.01064, Equation 9 (Δ).
    """
    threshold = abs(weight).max() * fraction
    sides = [(side > threshold).astype(weight.dtype) for side in (weight, -weight)]
    means = [abs(weight * side).sum() / np.maximum(side.sum(), 1) for side in sides]
    return tuple(number[...] for number in (threshold, *means))  # [...] makes an array of a NumPy number


def prepare_ttq(model, *, fraction=0.05, skip=()):
    """Give each layer two values that are trained, W_p and W_n, in place; returns their names.

    Make the optimizer afterwards, so that it finds them; `finish_ttq` ends the training.

    Units:  fraction · max |w| is the threshold of a layer, below which weights are 0; fraction in [0, 1).
    Raises: ValueError for another fraction, an unknown name in skip, weights that are NaN, infinite or stored in
            another way, or layers that are no Linear or Conv2d: name them in skip.
    Source: Zhu, Han, Mao & Dally (2017), "Trained Ternary Quantization", arXiv:1612.01064, Section 3.
    Differs: they scale the weights to [−1, 1] first; Δ follows the largest weight, so that changes only what a step of
            a given length does.
    """
    new = {}
    for name, parameter in chosen_weights(model, skip).items():
        layer = model.get(name.rpartition(".")[0])
        if type(layer) not in TRAINED:
            kind = type(layer).__name__
            raise ValueError(f"TTQ is for Linear and Conv2d; {name} is of a {kind}. Name it in skip")
        if any(not isinstance(view, Mask) for view in parameter.views):
            raise ValueError(f"{name} is stored in fewer bits already: bake() it first")
        check_finite(name, parameter.data)
        new[name.rpartition(".")[0]] = _trained(layer, fraction)
    for name, layer in new.items():
        model.replace(name, layer)
    return [f"{name}.{value}" for name in new for value in ("positive", "negative")]


def finish_ttq(model):
    """Take the trained values for final: make ordinary layers that compute the same, in place."""
    for name, layer in list(model.named_modules()):
        if type(layer) in TRAINED.values():
            model.replace(name, _ordinary(layer))


def _trained(layer, fraction):
    """The same layer, with the same parameters and two values."""
    new = TRAINED[type(layer)](**layer.config(), fraction=fraction, rng=0)
    new.weight, new.bias, new.training = layer.weight, layer.bias, layer.training
    _, new.positive.data, new.negative.data = ttq_values(layer.weight.read().data, fraction)
    return new


def _ordinary(layer):
    """The layer that it was, its weight read through a view."""
    settings = {key: value for key, value in layer.config().items() if key != "fraction"}
    plain = next(kind for kind, trained in TRAINED.items() if trained is type(layer))(**settings, rng=0)
    plain.weight, plain.bias, plain.training = layer.weight, layer.bias, layer.training
    threshold, _, _ = ttq_values(layer.weight.read().data, layer.fraction)
    plain.weight.attach(Ternary(threshold, layer.positive.data, layer.negative.data))
    return plain

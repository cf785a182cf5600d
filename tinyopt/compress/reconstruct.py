"""Reconstruction: after pruning, let the survivors of each layer take over what the removed weights did.

Start with these three: `least_squares`, the closed form, and `by_gradient`, the same minimum in small steps, both
on arrays; `reconstruct` goes through a model, layer by layer:

    whole = copy.deepcopy(model)
    prune(model, 0.9)
    reconstruct(model, whole, digits.train.sample(500, rng=0).images)

No labels are needed and no loss: a layer's own outputs are the target. Fine-tuning trains all layers together on
the loss; `tests/benchmarks/fine_tune_or_reconstruct.py` compares the two.
"""

import numpy as np

from tinyopt import backend, nn
from tinyopt.compress.patterns import kept
from tinyopt.errors import ShapeError
from tinyopt.measure import capture, inference
from tinyopt.ops.conv import im2col
from tinyopt.tensor import Tensor


def least_squares(weight, keep, gram, target, *, damping=1e-6):
    """The best weights that a mask allows, in closed form: one small linear system for each row.

        minimise  ‖X w′ − y‖² + λ ‖w′ − w‖²        with w′ = 0 where the mask removes
        (H + λ I)_SS (w′ − w)_S = (Xᵀ y − H w)_S        S: the survivors of the row,  H = Xᵀ X

    With y = X w, what the whole row made, the right side is what the removed weights did, as far as the
    survivors' inputs can tell. λ keeps a weight that no input reaches as it was, where H alone has no inverse.

    Shapes: weight and keep (O, I); gram H (I, I) and target XᵀY (I, O), summed over inputs x (n, I) and
            outputs y (n, O) -> new weights (O, I), 0 where not kept.
    Units:  λ = damping · mean of H's diagonal.
    Raises: ShapeError for other shapes; ValueError for numbers that are not finite, or a negative damping.
    Source: Hassibi & Stork (1993), "Second order derivatives for network pruning: Optimal Brain Surgeon", NIPS 5
            (with y = X w: their update for all removed weights at once); He, Zhang & Sun (2017), "Channel Pruning
            for Accelerating Very Deep Neural Networks", arXiv:1707.06168, Section 3.1 (y from the whole model).
    """
    _check(weight, keep, gram, target, damping)
    new = weight * keep
    missing = target.T - new @ gram  # (O, I): Xᵀ (y − what the survivors make)
    damped = gram.copy(order="C")  # H + λ I
    damped.reshape(-1)[:: len(gram) + 1] += np.maximum(damping * gram.diagonal().mean(), np.finfo(gram.dtype).tiny)
    for i in range(len(weight)):
        survivors = np.flatnonzero(keep[i])
        if len(survivors):
            new[i, survivors] += _solved(damped[survivors][:, survivors], missing[i, survivors])
    return new


def by_gradient(weight, keep, gram, target, *, steps=200):
    """The same minimum without a linear system: all rows at once go down the slope, with momentum.

        g = (w′ H − (XᵀY)ᵀ) ⊙ keep        at a point u that is ahead:  w′ ← u − g / L,  u = w′ + (t − 1)/(t + 2) · Δw′

    L is the largest eigenvalue of H: no direction is steeper, so no step goes too far. Directions in which the
    inputs hardly vary are flat and hardly move: after few steps it is close to the minimum in the output, not in
    the weights, which is as good.

    Shapes: as `least_squares`.
    Units:  steps, each one product (O, I) · (I, I).
    Raises: as `least_squares`; ValueError for steps below 0.
    Source: Nesterov (1983), "A method of solving a convex programming problem with convergence rate O(1/k²)",
            Soviet Mathematics Doklady 27.
    """
    _check(weight, keep, gram, target, steps)
    steepest = np.maximum(np.linalg.eigvalsh(gram)[-1], np.finfo(gram.dtype).tiny)
    now = ahead = weight * keep
    for t in range(1, steps + 1):
        before, now = now, ahead - (ahead @ gram - target.T) * keep / steepest
        ahead = now + (t - 1) / (t + 2) * (now - before)
    return now


METHODS = {"least_squares": least_squares, "gradient": by_gradient}


def reconstruct(model, whole, images, *, method="least_squares", **settings):
    """Fit each masked layer of a pruned model to what it made in the whole one, in place, first layer first.

        minimise  ‖f(W′, x) − f(W, x₀)‖²        x₀: the layer's inputs in the whole model,  x: in the pruned one

    The bias is fitted too, as a weight whose input is always 1. Earlier layers are done by then, so that a layer
    also makes up for what those could not.

    Shapes: images (n, ...), from the training part; a few hundred are enough. model and whole have the same
            layers; those of `model` are fitted that are Linear or Conv2d and have a mask.
    Units:  returns {layer: (error before, after)}, ‖f(W′, x) − f(W, x₀)‖² / ‖f(W, x₀) − its mean‖².
    Raises: ValueError for another method, a model without masked layers, one whose weights are quantized or
            shared, or layers that `whole` lacks.
    Source: as `least_squares`.
    Differs: from ‖f(W′, x) − f(W, x)‖² by the x of the whole model's side; for a first layer the two are one.
    """
    if method not in METHODS:
        raise ValueError(f"method is one of {', '.join(METHODS)}; got {method!r}")
    names, errors = _masked_layers(model, whole), {}
    images = Tensor(backend.to_device(images, model.parameters()[0].device))
    with inference(whole), capture(whole) as known:
        whole(images)
    for name in [name for name in known if name in names]:
        with inference(model), capture(model) as now:
            model(images)
        layer = model.get(name)
        pairs = [(a.inputs[0].data, b.output.data) for a, b in zip(now[name].calls, known[name].calls)]
        errors[name] = _fit(layer, pairs, lambda *arrays: METHODS[method](*arrays, **settings))
    return errors


def _fit(layer, pairs, fitted):
    """Fit one layer to pairs (its inputs, its outputs in the whole model); the error before and after."""
    weight, bias = layer.weight, layer.bias
    matrix = with_bias(layer, weight.read().data, bias if bias is None else bias.read().data).astype(np.float64)
    keep = with_bias(layer, kept(weight), bias if bias is None else kept(bias))
    parts, before, after = [], 0.0, 0.0
    sums = [_sums(layer, x, y) for x, y in pairs]
    gram, target, power, spread = (sum(part) for part in zip(*sums))  # (groups, I+1, I+1), (groups, I+1, O), ()
    for group in range(len(matrix)):
        arrays = matrix[group], keep[group], gram[group], target[group]
        parts.append(fitted(*arrays))
        before += _error(matrix[group] * keep[group], *arrays[2:])
        after += _error(parts[-1], *arrays[2:])
    new = np.stack(parts)
    weight.data = new[:, :, : weight.size // len(weight.data)].reshape(weight.shape).astype(weight.dtype)
    if bias is not None:
        bias.data = new[:, :, -1].reshape(-1).astype(bias.dtype)
    spread = np.maximum(spread, np.finfo(np.float64).tiny)
    return tuple(max(0.0, float((error + power) / spread)) for error in (before, after))


def _error(weight, gram, target):
    """‖X w′ − y‖² − ‖y‖², summed over the rows: what a choice of weights changes."""
    return ((weight @ gram - 2 * target.T) * weight).sum()


def _sums(layer, x, y):
    """XᵀX, XᵀY, ‖Y‖² and ‖Y − mean‖² of one call of a layer, in float64, a few images at a time."""
    gram = target = power = 0
    outputs = _outputs(layer, y)
    spread = ((outputs - outputs.mean(axis=1, keepdims=True)) ** 2).sum()
    for start in range(0, len(x), 64):
        inputs = inputs_by_group(layer, x[start : start + 64])  # (groups, n, I + 1)
        outputs = _outputs(layer, y[start : start + 64])  # (groups, n, O)
        gram = gram + inputs.swapaxes(1, 2) @ inputs
        target = target + inputs.swapaxes(1, 2) @ outputs
        power = power + (outputs**2).sum()
    return gram, target, power, spread


def inputs_by_group(layer, x):
    """What each row of the layer's matrix is multiplied with, and a 1 for the bias: (groups, n, I + 1)."""
    if isinstance(layer, nn.Conv2d):
        columns = im2col(x, layer.kernel_size, stride=layer.stride, padding=layer.padding)  # (N, C·kh·kw, P·Q)
        n, _, places = columns.shape
        parts = columns.reshape(n, layer.groups, -1, places).transpose(1, 0, 3, 2)
        parts = parts.reshape(layer.groups, n * places, -1)
    else:
        parts = x.reshape(1, -1, x.shape[-1])
    parts = parts.astype(np.float64)
    ones = np.ones_like(parts, shape=(*parts.shape[:2], int(layer.bias is not None)))
    return np.concatenate([parts, ones], axis=2)


def _outputs(layer, y):
    """The outputs in the same order: (groups, n, O)."""
    if isinstance(layer, nn.Conv2d):
        y = y.transpose(1, 0, 2, 3).reshape(layer.groups, y.shape[1] // layer.groups, -1).swapaxes(1, 2)
    else:
        y = y.reshape(1, -1, y.shape[-1])
    return y.astype(np.float64)


def with_bias(layer, weight, bias):
    """Something of the weight as a matrix for each group, (groups, O, I + 1), that of the bias as its last column."""
    groups = getattr(layer, "groups", 1)
    matrix = weight.reshape(groups, len(weight) // groups, -1)
    return matrix if bias is None else np.concatenate([matrix, bias.reshape(groups, -1, 1)], axis=2)


def _masked_layers(model, whole):
    """The names of the layers to fit, once all of them can be."""
    names = []
    for name, layer in model.named_modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)) and layer.weight.view(nn.Mask) is not None:
            others = [type(view).__name__ for view in layer.weight.views if not isinstance(view, nn.Mask)]
            if others:
                raise ValueError(f"reconstruct before other views come on, or bake() first; {name} has {others[0]}")
            twin = dict(whole.named_modules()).get(name)
            if type(twin) is not type(layer) or twin.weight.shape != layer.weight.shape:
                raise ValueError(f"the whole model needs the layers of the pruned one; it has no such {name}")
            names.append(name)
    if not names:
        raise ValueError(f"this {type(model).__name__} has no masked layer to reconstruct: prune(model, 0.9) first")
    return names


def _solved(system, due):
    try:
        return np.linalg.solve(system, due[:, None])[:, 0]
    except np.linalg.LinAlgError:
        raise ValueError("some inputs say the same, so H has no inverse: take damping above 0, such as 1e-6") from None


def _check(weight, keep, gram, target, setting):
    n_out, n_in = weight.shape
    due = {"keep": (n_out, n_in), "gram": (n_in, n_in), "target": (n_in, n_out)}
    for (name, shape), array in zip(due.items(), (keep, gram, target)):
        if array.shape != shape:
            raise ShapeError(f"for a weight {weight.shape}, {name} has shape {shape}; got {array.shape}")
    if not setting >= 0:
        raise ValueError(f"damping, and the number of steps, are 0 or more; got {setting}")
    for name, array in (("weight", weight), ("gram", gram), ("target", target)):
        if not bool(np.isfinite(array).all()):
            raise ValueError(f"{name} must be finite; some of it is NaN or infinite. Did training diverge?")

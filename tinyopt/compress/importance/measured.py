"""What criteria need to know of a model: gradients, their squares, curvature, the inputs of each layer.

Start with `mean_gradient`, then `MEASURES`: the functions by what they measure, which is also the name of the
argument under which a criterion asks for it. Each takes a model in eval mode, its weights {name: parameter} and a
`DataLoader`, and returns {name: array of the weight's shape}, on the model's device.
"""

import copy

import numpy as np

from tinyopt import losses, nn
from tinyopt.autograd import no_grad
from tinyopt.compress.importance.second_order import softmax_roots, squared_gradients
from tinyopt.measure import capture, trace
from tinyopt.nn.norm import BatchNorm
from tinyopt.ops.conv import im2col
from tinyopt.tensor import Tensor


def mean_gradient(model, weights, loader):
    """∂L/∂w of the mean loss over all examples."""
    return _mean_over_batches(model, weights, loader, "sum", lambda g: g, 1 / loader.n_samples)


def batch_square(model, weights, loader):
    """The mean over batches of g_b², where g_b is the gradient of the batch's mean loss."""
    return _mean_over_batches(model, weights, loader, "mean", lambda g: g**2, 1 / len(loader))


def example_square(model, weights, loader):
    """The mean over examples of g_n², where g_n is the gradient of that example's loss."""

    def from_labels(logits, labels):
        logits = Tensor(logits, requires_grad=True)
        losses.cross_entropy(logits, labels, reduction="sum").backward()
        return [logits.grad]

    return _squares(model, weights, loader, from_labels)


def curvature(model, weights, loader):
    """The diagonal of the Gauss–Newton matrix of the mean cross-entropy: as many backward passes as classes."""

    def of_every_class(logits, labels):
        roots = softmax_roots(logits)
        return [roots[c] for c in range(len(roots))]

    return _squares(model, weights, loader, of_every_class)


def total(model, weights, loader):
    """Σ over all weights of |w · g|: one number, the same for every weight."""
    gradients = mean_gradient(model, weights, loader)
    number = sum(abs(weights[name].read().data * g).sum() for name, g in gradients.items())
    return dict.fromkeys(weights, number)


def flow(model, weights, loader):
    """∂R/∂|w| for R, the sum of the outputs if all weights were positive and the input 1 everywhere; float64."""
    twin = copy.deepcopy(model).astype("float64")
    for module in twin.modules():
        if isinstance(module, BatchNorm):
            module.running_mean = np.zeros_like(module.running_mean)
    for name, parameter in twin.named_parameters():
        is_bias = name.rpartition(".")[2] == "bias"
        parameter.data = np.zeros_like(parameter.data) if is_bias else abs(parameter.data)
    images, _ = next(loader.batches(0))
    twin(Tensor(np.ones_like(images.data[:1], dtype=np.float64))).sum().backward()
    return _gradients_of({name: twin.get(name) for name in weights})


def gram(model, weights, loader):
    """X Xᵀ of the inputs that each weight multiplies, over all examples and places: (groups, K, K) in float64."""
    layers = _layers_of(model, weights, loader)
    missing = [name for name in weights if name not in layers]
    if missing:
        raise ValueError(
            f"X Xᵀ is known of Linear and Conv2d layers that run once; not of {', '.join(missing)}. "
            f"Leave them out: skip={tuple(missing)!r}"
        )
    sums = dict.fromkeys(weights, 0.0)
    for images, _ in loader:
        with no_grad(), capture(model) as seen:
            model(images)
        for name, layer in layers.items():
            x = inputs_of(model.get(layer), seen[layer].inputs[0].data).astype(np.float64)  # (N, groups, K, places)
            x = x.transpose(1, 2, 0, 3).reshape(*x.shape[1:3], -1)
            sums[name] = sums[name] + x @ x.swapaxes(1, 2)
    return sums


MEASURES = {
    "gradient": mean_gradient,
    "batch_square": batch_square,
    "example_square": example_square,
    "curvature": curvature,
    "total": total,
    "flow": flow,
    "gram": gram,
}


# --- how ---------------------------------------------------------------------------------------------


def inputs_of(layer, x):
    """What the rows of a layer's weight multiply: (N, groups, K, places)."""
    if isinstance(layer, nn.Linear):
        return x.reshape(len(x), -1, x.shape[-1]).swapaxes(1, 2)[:, None]  # (N, 1, D, T)
    x = im2col(x, layer.kernel_size, stride=layer.stride, padding=layer.padding)
    return x.reshape(len(x), layer.groups, -1, x.shape[2])


def _outputs_of(layer, g):
    """The gradient of a layer's output, arranged as `inputs_of`: (N, groups, O / groups, places)."""
    if isinstance(layer, nn.Linear):
        return g.reshape(len(g), -1, g.shape[-1]).swapaxes(1, 2)[:, None]
    return g.reshape(len(g), layer.groups, g.shape[1] // layer.groups, -1)


def _gradients_of(weights):
    """{name: gradient}, zeros for a weight that the loss does not reach."""
    return {name: np.zeros_like(p.data) if p.grad is None else p.grad for name, p in weights.items()}


def _mean_over_batches(model, weights, loader, reduction, change, share):
    """Σ over batches of change(gradient) · share."""
    sums = dict.fromkeys(weights, 0.0)
    for images, labels in loader:
        model.zero_grad()
        losses.cross_entropy(model(images), labels, reduction=reduction).backward()
        sums = {name: sums[name] + change(g) * share for name, g in _gradients_of(weights).items()}
    return sums


def _layers_of(model, weights, loader):
    """{weight: its layer}, of weights that one Linear or Conv2d reads, once: a product y = W x of known inputs."""
    images, _ = next(loader.batches(0))
    readers = {}
    for step in trace(model, Tensor(images.data[:1])):
        for name in step.parameters:
            readers.setdefault(name, []).append(step)
    once = {name: steps[0] for name, steps in readers.items() if name in weights and len(steps) == 1}
    return {name: step.name for name, step in once.items() if isinstance(step.module, (nn.Linear, nn.Conv2d))}


def _squares(model, weights, loader, starts):
    """The mean over examples of Σ over `starts(logits, labels)` of (∂/∂w of start · logits)².

    A product's squares add without making each gradient; for other weights, the examples go one by one.
    """
    layers = _layers_of(model, weights, loader)
    others = {name: parameter for name, parameter in weights.items() if name not in layers}
    sums = dict.fromkeys(weights, 0.0)
    for images, labels in loader:
        with capture(model, gradients=True) as seen:
            logits = model(images)
        for start in starts(logits.data, labels.data):
            for layer in layers.values():
                seen[layer].output.grad = None
            logits.backward(start)
            for name, layer in layers.items():
                call, module = seen[layer], model.get(layer)
                squares = squared_gradients(inputs_of(module, call.inputs[0].data), _outputs_of(module, call.grad))
                sums[name] = sums[name] + squares.reshape(weights[name].shape)
        for i in range(len(images) if others else 0):
            logits = model(images[i : i + 1])
            for start in starts(logits.data, labels.data[i : i + 1]):
                model.zero_grad()
                logits.backward(start)
                sums |= {name: sums[name] + g**2 for name, g in _gradients_of(others).items()}
    model.zero_grad()
    return {name: value / loader.n_samples for name, value in sums.items()}

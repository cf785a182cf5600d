"""Importance of the channels of a whole model: a short loop that looks where each is read, and asks a criterion.

Start with `channel_scores`; the criteria are in `neurons.py`, and what is done with the scores in `thin.py`:

    thin.prune_channels(model, example, importance.channel_scores(model, "apoz", data.train), 0.5)
"""

import numpy as np

from tinyopt import losses
from tinyopt.compress.importance import neurons
from tinyopt.compress.importance.asked import loader_of, named, needs_of, twin_of
from tinyopt.measure import capture, trace
from tinyopt.nn import Conv2d, Linear
from tinyopt.nn.norm import BatchNorm
from tinyopt.tensor import Tensor

CHANNEL_CRITERIA = {
    "l1": neurons.l1,
    "l2": neurons.l2,
    "bn_scale": neurons.bn_scale,
    "taylor": neurons.channel_taylor,
    "apoz": neurons.active_share,
    "mean_activation": neurons.mean_activation,
    "entropy": neurons.entropy,
    "mutual_information": neurons.mutual_information,
}
OFFERED = ("weight", "scale", "activation", "gradient", "pooled", "labels")


def channel_scores(model, criterion, part, *, skip=(), batch_size=64, rng=0):
    """Rank the neurons and filters of each layer: {layer: scores, higher = keep}, for `prune_channels`.

    An activation is looked at where it is read: after the norm and the ReLU that follow the layer. Layers that make
    the model's output have no scores, nor, for "bn_scale", those without a norm behind them. All is measured on a
    copy in eval mode: the model stays as it is.

    Shapes: criterion, a name of `CHANNEL_CRITERIA` or a function on arrays with arguments out of `OFFERED`; part,
            images and labels (of train): "l1", "l2" and "bn_scale" read only the shape of an image -> scores (C,).
    Units:  batch_size in examples.
    Raises: ValueError for an unknown criterion, no data, or a model without such layers.
    """
    technique = named(criterion, CHANNEL_CRITERIA)
    needs, twin = needs_of(technique, OFFERED), twin_of(model)
    loader = loader_of(criterion, model, part, batch_size, rng)
    layers = _layers(twin, next(loader.batches(0))[0], skip, "scale" in needs)
    if not layers:
        lack = "a batch norm behind it" if "scale" in needs else "channels to remove"
        raise ValueError(f"no Linear or Conv2d layer of this {type(model).__name__} has {lack}")
    known = {name: {"weight": twin.get(name).weight.read().data} for name in layers}
    for name, (_, norm) in layers.items():
        known[name]["scale"] = twin.get(norm).weight.read().data if norm else None
    if "pooled" in needs:
        _add_pooled(known, _activations(twin, loader, layers, False))
    if "activation" not in needs and "gradient" not in needs:
        return {name: technique(**{need: known[name][need] for need in needs}) for name in layers}
    sums = dict.fromkeys(layers, 0.0)
    for seen, labels in _activations(twin, loader, layers, "gradient" in needs):
        for name, measured in seen.items():
            value = technique(**{need: {**known[name], **measured, "labels": labels}[need] for need in needs})
            sums[name] = sums[name] + value * (len(labels) / loader.n_samples)
    return sums


def _layers(model, images, skip, with_norm):
    """{layer: (step that hands its channels on, name of its norm or "")}."""
    run, found = trace(model, Tensor(images.data[:1])), {}
    left_out = (skip,) if isinstance(skip, str) else tuple(skip)
    for name in left_out:
        model.get(name)  # raises, with the names there are
    for step in run:
        if not isinstance(step.module, (Linear, Conv2d)) or step.name in left_out or len(run.calls(step.name)) > 1:
            continue
        last, norm, readers = step, "", run.consumers(step.output)
        while len(readers) == 1 and last.kind != "ReLU":
            if not isinstance(readers[0].module, BatchNorm) and readers[0].kind != "ReLU":
                break
            last, norm = readers[0], readers[0].name if readers[0].kind != "ReLU" else norm
            readers = run.consumers(last.output)
        if last.output not in run.outputs and (norm or not with_norm):
            found[step.name] = (last, norm)
    return found


def _activations(model, loader, layers, gradients):
    """Yield ({layer: {"activation", "gradient" of each example's own loss}}, labels) for each batch."""
    for images, labels in loader:
        with capture(model, gradients=gradients) as seen:
            logits = model(images)
        if gradients:
            losses.cross_entropy(logits, labels, reduction="sum").backward()
        found = {}
        for name, (last, _) in layers.items():
            call = seen[last.name].calls[last.call]
            found[name] = {"activation": _channels_second(model.get(name), call.output.data)}
            if gradients:
                found[name]["gradient"] = _channels_second(model.get(name), call.grad)
        yield found, labels.data


def _channels_second(layer, array):
    """A dense layer's channels lie last, those of a convolution second: (N, C, ...) for both."""
    return np.moveaxis(array, -1, 1) if isinstance(layer, Linear) else array


def _add_pooled(known, batches):
    """Put the mean activation of each example (N, C), and the labels (N,), into what is known of each layer."""
    rows, all_labels = {name: [] for name in known}, []
    for seen, labels in batches:
        all_labels.append(labels)
        for name, measured in seen.items():
            activation = measured["activation"]
            rows[name].append(activation.reshape(*activation.shape[:2], -1).mean(axis=2))
    for name, parts in rows.items():
        known[name] |= {"pooled": np.concatenate(parts), "labels": np.concatenate(all_labels)}

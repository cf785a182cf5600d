"""Importance of the weights of a whole model: short loops that measure, and ask a criterion.

Start with these three: `score`, which ranks; `prune_below`, which cuts at a threshold instead; `surgeon`, which
prunes and refits what is left.

    compress.prune(model, 0.9, scores=importance.score(model, "fisher", data.train))
"""

import numpy as np

from tinyopt import backend, losses, optim
from tinyopt.compress.importance import at_start, second_order, weights
from tinyopt.compress.importance.asked import loader_of, named, needs_of, twin_of
from tinyopt.compress.importance.measured import MEASURES, gram
from tinyopt.compress.layers import by_layer, chosen_weights
from tinyopt.compress.prune import prune

CRITERIA = {
    "random": weights.random,
    "magnitude": weights.magnitude,
    "sigma": weights.sigma,
    "gradient": weights.gradient_size,
    "saliency": weights.saliency,
    "taylor": weights.taylor,
    "movement": weights.movement,
    "obd": second_order.obd,
    "fisher": second_order.fisher,
    "obs": second_order.obs,
    "obc": second_order.obc,
    "snip": at_start.snip,
    "synflow": at_start.synflow,
}


def score(model, criterion, part=None, *, skip=(), batch_size=64, rng=0, lr=0.01):
    """Rank a model's weights: {parameter name: scores, higher = keep}, for `prune(model, ..., scores=...)`.

    The criterion's arguments say what is measured for it, on a copy in eval mode: the model stays as it is, its
    gradients too. Weights are those that layers read; one that is masked counts as 0. The loss is cross-entropy.
    "movement" trains the copy for one epoch of SGD; to watch your own training, use the callback `Movement`. "obs"
    and "obc" count in the output of each layer: prune with scope="layer", or by `surgeon`, which refits as well.

    Shapes: criterion, a name of `CRITERIA` or a function on arrays with such arguments; part, images and labels
            (train on, never the test part); "random", "magnitude" and "sigma" need none.
    Units:  batch_size in examples; lr, of "movement" alone.
    Raises: ValueError for an unknown criterion, one that needs data and got none, or weights that are NaN or
            infinite; ValueError, as `obs`, of layers that are no Linear or Conv2d.
    """
    technique = named(criterion, CRITERIA)
    twin = twin_of(model)
    chosen = chosen_weights(twin, skip)
    _check_finite(chosen)
    if technique is weights.movement:
        moved = _after_an_epoch(twin, loader_of(criterion, model, part, batch_size, rng), lr)
        return {name: moved[name] for name in chosen}
    needs = needs_of(technique, ("weight", "rng", *MEASURES))
    known = {"weight": {name: parameter.read().data for name, parameter in chosen.items()}}
    if "rng" in needs:
        known["rng"] = dict.fromkeys(chosen, backend.generator(rng))
    for need in (need for need in needs if need not in known):
        known[need] = MEASURES[need](twin, chosen, loader_of(criterion, model, part, batch_size, rng))
    return {name: technique(**{need: known[need][name] for need in needs}) for name in chosen}


def prune_below(model, threshold, *, unit="weight", skip=()):
    """Mask all weights up to a threshold, in place: how many go is what comes out, not what is asked for.

    unit="weight" compares |w| itself, "sigma" the multiple of its layer's deviation: |w| > threshold · σ stays.

    Shapes: threshold, a number or {layer: number}; layers without one stay as they are. Returns {name: mask}.
    Raises: ValueError for another unit, a threshold below 0, or one that would leave a layer empty; the model
            is then as it was.
    Source: Han, Pool, Tran & Dally (2015), arXiv:1506.02626.
    """
    if unit not in ("weight", "sigma"):
        raise ValueError(f"unit is 'weight' or 'sigma', what the threshold counts; got {unit!r}")
    chosen, masks = chosen_weights(model, skip), {}
    _check_finite(chosen)
    for name, limit in by_layer(chosen, threshold).items():
        values = chosen[name].read().data
        masks[name] = weights.above(values if unit == "weight" else weights.sigma(values), limit)
        if not masks[name].any():
            largest = float((values if unit == "weight" else weights.sigma(values)).max())
            raise ValueError(f"{name} would be left empty: its largest weight is {largest:.3g} {unit}; got {limit}")
    for name, mask in masks.items():
        chosen[name].prune(mask)
    return masks


def surgeon(model, sparsity, part, *, scores="obs", skip=(), batch_size=64, rng=0, damping=0.01):
    """Prune each layer, in place, and refit the weights that are left so that its output changes least.

    Every layer is fitted to its own output, on the inputs that it had before any was pruned; nothing is trained.

    Shapes: scores, a criterion, or {parameter name: scores}; part, images and labels, of which the images are read.
            Returns {parameter name: mask}.
    Units:  sparsity, fraction removed of each layer, in [0, 1), or {layer: sparsity}.
    Raises: as `prune` and `score`; ValueError for a shared weight: its survivors cannot move by themselves.
    Source: as `obs`, one ranking, or `obc`, greedy; survivors of any other criterion are refitted too.
    """
    chosen = chosen_weights(model, skip)
    shared = [name for name, p in chosen.items() if p.data.shape != p.shape]
    if shared:
        names = ", ".join(shared)
        raise ValueError(f"{names} is shared: its weights cannot be refitted one by one. Prune before sharing")
    before = {name: p.read().data for name, p in chosen.items()}
    if not isinstance(scores, dict):
        scores = score(model, scores, part, skip=skip, batch_size=batch_size, rng=rng)
    twin = twin_of(model)
    grams = gram(twin, chosen_weights(twin, skip), loader_of("surgeon", model, part, batch_size, rng))
    masks = prune(model, sparsity, scope="layer", skip=skip, scores=scores)
    for name, keep in masks.items():
        chosen[name].data = second_order.update_survivors(before[name], keep, grams[name], damping=damping)
    return masks


def _after_an_epoch(twin, loader, lr):
    """Movement scores of one epoch of plain SGD."""
    watch, optimizer = weights.Movement(), optim.SGD(twin.parameters(), lr=lr)
    for images, labels in loader:
        optimizer.zero_grad()
        losses.cross_entropy(twin(images), labels).backward()
        watch.gather(twin, lr)
        optimizer.step()
    return watch.scores


def _check_finite(chosen):
    for name, parameter in chosen.items():
        if not np.isfinite(parameter.read().data).all():
            raise ValueError(f"{name} holds NaN or infinity, which cannot be ranked. Did training diverge?")

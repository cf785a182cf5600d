"""Sparse from the start: a network that never was dense, and whose few connections move while it trains.

Start with these three: `erk_counts` says how many weights each layer gets, `drop_and_grow` moves some of a layer's
to better places, both on arrays; `sparse_start` masks a model before its first step, and `RigL` is the callback
of `train.fit` that then moves them:

    sparse_start(model, 0.9)
    train.fit(model, digits, callbacks=[RigL(every=50)])
"""

import copy
import math

import numpy as np

from tinyopt import backend
from tinyopt.compress.layers import chosen_weights
from tinyopt.compress.patterns import put_masks
from tinyopt.errors import ShapeError
from tinyopt.nn import Mask
from tinyopt.ops.rule import substitute


def erk_counts(shapes, sparsity, *, kernel=True):
    """Share weights out among layers: thick layers are thinned more, small ones less (Erdős–Rényi–Kernel).

        density of a layer = min(1, ε · (sum of its axes) / (product of its axes))        ε: so that the total is right

    The axes are outputs and inputs, and with kernel=True the kernel's height and width too; without it (ER),
    only the first two count. A layer with density 1 stays dense, and the others make up for it.

    Shapes: shapes, a list of weights' shapes, (O, I) or (O, I, kh, kw) -> a list of counts, one for each.
    Units:  sparsity, fraction of all weights *removed*, in [0, 1). Counts of weights kept: their sum is exactly
            n − ⌊sparsity · n⌋, and each differs from the formula by less than 1.
    Raises: ValueError for another sparsity, or one that would leave a layer without weights.
    Source: Mocanu et al. (2018), "Scalable training of artificial neural networks with adaptive sparse
            connectivity inspired by network science", Nature Communications 9 (ER); Evci, Gale, Menick, Castro
            & Elsen (2020), "Rigging the Lottery: Making All Tickets Winners", arXiv:1911.11134, Section 3 (ERK).
    """
    sizes = np.array([math.prod(shape) for shape in shapes])
    n_kept = _n_kept(sizes, sparsity)
    axes = [shape if kernel else shape[:2] for shape in shapes]
    raw = np.array([sum(part) / math.prod(part) for part in axes])
    dense = np.zeros(len(shapes), bool)
    while not dense.all():  # each round makes at least one more layer dense
        epsilon = (n_kept - sizes[dense].sum()) / (raw * sizes)[~dense].sum()
        over = ~dense & (epsilon * raw > 1)
        if not over.any():
            break
        dense |= over
    return whole_counts(np.where(dense, 1, epsilon * raw) * sizes, n_kept)


def uniform_counts(shapes, sparsity):
    """The same share for every layer; Shapes, Units and Raises as `erk_counts`."""
    sizes = np.array([math.prod(shape) for shape in shapes])
    n_kept = _n_kept(sizes, sparsity)
    return whole_counts(sizes * (n_kept / sizes.sum()), n_kept)


def whole_counts(ideal, total):
    """Round numbers to integers whose sum is `total`: all down, then the largest remainders up, the first first.

    Shapes: ideal (L,), with a sum of `total` -> a list of L integers, each less than 1 away.
    Raises: ValueError if one becomes 0.
    """
    counts = np.floor(ideal + 1e-9).astype(int)
    largest_first = np.argsort(counts - ideal, kind="stable")
    counts[largest_first[: total - counts.sum()]] += 1
    if (counts < 1).any():
        i = int(counts.argmin())
        raise ValueError(
            f"this sparsity would empty layer number {i + 1} of {len(counts)}: {ideal[i]:.2f} of its weights would be "
            "left. Lower it, or skip that layer"
        )
    return counts.tolist()


DISTRIBUTIONS = {
    "erk": erk_counts,
    "er": lambda shapes, sparsity: erk_counts(shapes, sparsity, kernel=False),
    "uniform": uniform_counts,
}


def sparse_start(model, sparsity, *, distribution="erk", skip=(), rng=None):
    """Mask a model at random before it is trained, in place: an exact count for each layer.

    Units:  sparsity, fraction *removed* of all weights that are not skipped, in [0, 1); distribution, "erk", "er"
            or "uniform". Returns {parameter name: mask}.
    Raises: ValueError for another sparsity or distribution, or a layer that would be emptied; the model is then
            as it was.
    Source: as `erk_counts`.
    """
    if distribution not in DISTRIBUTIONS:
        raise ValueError(f"distribution is one of {', '.join(DISTRIBUTIONS)}; got {distribution!r}")
    weights, rng = chosen_weights(model, skip), backend.generator(rng)
    counts = DISTRIBUTIONS[distribution]([parameter.shape for parameter in weights.values()], sparsity)
    masks = {
        name: (rng.permutation(parameter.size) < count).reshape(parameter.shape)
        for (name, parameter), count in zip(weights.items(), counts)
    }
    return put_masks(model, masks)


def drop_and_grow(weight, gradient, mask, fraction):
    """Move a share of a layer's connections: drop the weakest, grow where the loss asks for them most.

        k = ⌊fraction · kept⌋ · drop: the k smallest |w| of those kept · grow: the k largest |∂L/∂w| of the others

    Their number stays. A grown weight starts at 0, so that nothing changes at once (`Parameter.prune` sees to it).

    Shapes: weight, gradient and mask alike; the gradient is that of the masked ones too -> a new mask.
    Units:  fraction in [0, 1]; k is at most the number of weights that are masked. Ties go by memory order.
    Raises: ShapeError if they are not alike; ValueError for another fraction, or a gradient that is not finite.
    Source: Evci et al. (2020), arXiv:1911.11134, Section 3 and Algorithm 1.
    Differs: there, what was dropped may grow again in the same update; here k others come.
    """
    if not weight.shape == gradient.shape == mask.shape:
        shapes = f"{weight.shape}, {gradient.shape} and {mask.shape}"
        raise ShapeError(f"weight, gradient and mask have one shape; got {shapes}")
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction is moved/kept, in [0, 1]; got {fraction}")
    if not bool((np.isfinite(weight) & np.isfinite(gradient)).all()):
        raise ValueError("weights and gradients must be finite to be ranked; some are not. Did training diverge?")
    kept = int(mask.sum())
    k = min(int(fraction * kept), mask.size - kept)
    drop_first = np.argsort(np.where(mask, abs(weight), np.inf), axis=None, kind="stable")
    grow_first = np.argsort(np.where(mask, np.inf, -abs(gradient)), axis=None, kind="stable")
    moved = mask.reshape(-1).copy()
    moved[drop_first[:k]] = False
    moved[grow_first[:k]] = True
    return moved.reshape(mask.shape)


def dense_gradients(model, objective, images, labels):
    """∂L/∂w for all weights, also for those that are masked: as if each stood there with the value 0.

    The backward pass runs on a copy of the model, with a mask that lets gradients through; so no gradient, no
    running mean and no generator of a layer is touched.

    Shapes: objective(model, images, labels) -> (loss, outputs), as in `train.fit` -> {parameter name: gradient}.
    """
    copied = copy.deepcopy(model)
    with substitute("mask", lambda x, keep: (x * keep, (lambda g: g, None))):
        objective(copied, images, labels)[0].backward()
    return {name: parameter.grad for name, parameter in copied.named_parameters()}


class RigL:
    """A callback of `train.fit`: every so often, move some connections of a sparse model; see `drop_and_grow`.

        fraction(t) = α/2 · (1 + cos(π t / end))        from α at the first step to 0 at `end`

    The gradient is that of the latest batch. A weight that returns starts with empty optimizer state.

    Units:  every and end in steps; end=None is three quarters of the run. fraction, α, moved/kept, in (0, 1].
    Raises: ValueError for other settings, a model without masks, or one whose weights are shared (those cannot
            return).
    Source: Evci et al. (2020), arXiv:1911.11134, Section 3 (α = 0.3, every = 100 steps, end at 3/4).
    Differs: they update in place of a step of the optimizer; we after it.
    """

    def __init__(self, every=100, end=None, fraction=0.3):
        if every < 1:
            raise ValueError(f"every is a number of steps, 1 or more; got {every}")
        if end is not None and end < 1:
            raise ValueError(f"end is the step after which nothing moves, 1 or more, or None; got {end}")
        if not 0 < fraction <= 1:
            raise ValueError(f"fraction is moved/kept, in (0, 1]; got {fraction}")
        self.every, self.end, self.fraction = every, end, fraction

    def before_fit(self, run):
        if not any(bool((~mask.keep).any()) for _, _, mask in _masked(run.model)):
            raise ValueError("RigL moves the weights of a sparse model: mask it first, with sparse_start(model, 0.9)")
        if any(parameter.data.shape != parameter.shape for _, parameter, _ in _masked(run.model)):
            raise ValueError("RigL lets weights return, which shared ones cannot: they have no label. Share afterwards")
        self.last = 3 * run.n_steps // 4 if self.end is None else self.end

    def after_step(self, run):
        if run.step % self.every or run.step >= self.last:
            return
        gradients = dense_gradients(run.model, run.objective, run.images, run.labels)
        fraction = self.fraction / 2 * (1 + math.cos(math.pi * run.step / self.last))
        for name, parameter, mask in _masked(run.model):
            if gradients[name] is not None:
                parameter.prune(drop_and_grow(parameter.read().data, gradients[name], mask.keep, fraction))


def _n_kept(sizes, sparsity):
    """How many of all weights are left."""
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity is removed/all, in [0, 1): 90 % is 0.9; got {sparsity}")
    return int(sizes.sum() - int(sparsity * sizes.sum()))


def _masked(model):
    """(name, parameter, mask) of the parameters that have a mask, in a list."""
    pairs = [(name, parameter, parameter.view(Mask)) for name, parameter in model.named_parameters()]
    return [found for found in pairs if found[2] is not None]

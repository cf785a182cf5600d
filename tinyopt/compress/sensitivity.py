"""Sensitivity: how much each layer minds being pruned, and how much to prune each for a total.

Start with these three: `balanced` chooses shares from curves, on arrays; `scan` measures the curves, a loop over
layers; `Scan.choose` brings them together:

    found = scan(model, digits)                      # looks at the validation part, and at no other
    prune(model, found.choose(0.9))                  # {parameter name: sparsity}, 90 % in all
"""

import copy
import dataclasses
import functools

import numpy as np

from tinyopt.compress.dynamic import whole_counts
from tinyopt.compress.layers import chosen_weights
from tinyopt.compress.prune import prune
from tinyopt.measure import evaluate
from tinyopt.measure.table import text_table

SPARSITIES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)


def balanced(sparsities, rises, sizes, total):
    """Prune every layer until it hurts equally: the worst rise of any layer is as small as can be.

        minimise  max over layers of rise_l(s_l)        so that  Σ size_l · s_l = total · Σ size_l

    rise_l(s) is the line through the measured points, and never falls: a dip counts as what came before it. So the
    furthest that a layer may go grows with the rise that is allowed, and bisection finds the rise that gives the total.

    Shapes: sparsities (K,), ascending from 0; rises (L, K) of the loss, 0 at sparsity 0; sizes (L,) -> (L,) sparsities.
    Units:  sparsities and total, fraction *removed*; rises in the loss's unit.
    Raises: ValueError for a total above the largest sparsity, or rises that are not finite.
    Source: own, after Han et al. (2015), arXiv:1506.02626, Section 3 and Figure 6, who choose a threshold for
            each layer by hand from such curves.
    """
    if not 0 <= total <= sparsities[-1]:
        raise ValueError(
            f"the scan went from 0 to {sparsities[-1]} removed: a total lies between these; got {total}. "
            "Scan higher sparsities for more"
        )
    if not np.isfinite(rises).all():
        raise ValueError("the loss must be finite at every scanned sparsity; some are NaN or infinite")
    curves = np.maximum.accumulate(rises, axis=1)

    def furthest(level):
        return np.array([_reach(sparsities, curve, level) for curve in curves])

    low, high = 0.0, float(curves[:, -1].max())  # rises: too little is removed, enough is
    if furthest(low) @ sizes >= total * sizes.sum():
        high = low
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if furthest(middle) @ sizes < total * sizes.sum() else (low, middle)
    less = furthest(low) if low < high else np.zeros(len(sizes))
    more = furthest(high)  # where a curve is flat, the two differ: any mix of them is as good
    gap = (more - less) @ sizes
    return less + (more - less) * ((total * sizes.sum() - less @ sizes) / gap if gap > 0 else 0)


def _reach(sparsities, curve, level):
    """The largest sparsity at which a curve that never falls is no higher than `level`."""
    i = int(np.searchsorted(curve, level, side="right")) - 1
    if i == len(curve) - 1:
        return sparsities[i]
    return sparsities[i] + (level - curve[i]) / (curve[i + 1] - curve[i]) * (sparsities[i + 1] - sparsities[i])


@dataclasses.dataclass(frozen=True, eq=False)
class Scan:
    """What `scan` found: validation loss and accuracy with one layer pruned and all others whole.

    Shapes: names, L parameters; sizes (L,); sparsities (K,), the first is 0: nothing pruned; loss and accuracy (L, K).
    Units:  sparsities, fraction *removed* of that layer; loss in nats.
    """

    names: tuple
    sizes: np.ndarray
    sparsities: np.ndarray
    loss: np.ndarray
    accuracy: np.ndarray

    def choose(self, total):
        """Sparsities for all layers, so that `total` of their weights goes and the worst rise of the loss is least.

        Units:  total, fraction *removed* -> {parameter name: sparsity}; `prune` then removes ⌊total · n⌋ weights.
        Raises: as `balanced`; ValueError if a layer would be emptied.
        """
        if not 0 <= total < 1:
            raise ValueError(f"total is removed/all, in [0, 1): 90 % is 0.9; got {total}")
        n_all = self.sizes.sum()
        n_kept = int(n_all - int(total * n_all))
        shares = balanced(self.sparsities, self.loss - self.loss[:, :1], self.sizes, 1 - n_kept / n_all)
        kept = whole_counts((1 - shares) * self.sizes, n_kept)
        removed = {name: size - n for name, size, n in zip(self.names, self.sizes.tolist(), kept)}
        # half a weight more, so that ⌊sparsity · size⌋ is that count whatever the rounding
        return {name: (n and n + 0.5) / size for (name, n), size in zip(removed.items(), self.sizes.tolist())}

    def __str__(self):
        header = ["validation accuracy, %", "weights", *(f"{share:.0%}" for share in self.sparsities)]
        rows = zip(self.names, self.sizes.tolist(), self.accuracy)
        return text_table(header, [[name, n, *(f"{100 * a:.1f}" for a in line)] for name, n, line in rows])


def scan(model, data, sparsities=SPARSITIES, *, skip=(), scores=None):
    """Prune one layer at a time, more and more, and look each time how the model does on validation data.

    Each trial is a copy: the model stays as it was. That layers hurt more together than one by one is not seen.

    Shapes: data, a `Dataset`, of which only `val` is read: what is chosen by looking at the test part cannot
            be judged on it. scores, {parameter name: array, higher = keep}, are handed to `prune`.
    Units:  sparsities, fraction *removed*, ascending, in (0, 1). Returns a `Scan`.
    Raises: TypeError for data without a validation part; ValueError for other sparsities, or nothing to prune.
    Source: Han et al. (2015), arXiv:1506.02626, Figure 6; Li, Kadav, Durdanovic, Samet & Graf (2017), "Pruning
            Filters for Efficient ConvNets", arXiv:1608.08710, Section 3.2.
    """
    sparsities = list(sparsities)
    if not sparsities or sparsities != sorted({*sparsities}) or not 0 < sparsities[0] <= sparsities[-1] < 1:
        raise ValueError(f"sparsities to scan are ascending, removed/all, in (0, 1); got {sparsities}")
    weights, settings = chosen_weights(model, skip), {} if scores is None else {"scores": scores}
    sizes = np.array([parameter.size for parameter in weights.values()])
    loss, accuracy = one_at_a_time(model, data, weights, sparsities, functools.partial(prune, **settings))
    return Scan(tuple(weights), sizes, np.array([0.0, *sparsities]), loss, accuracy)


def one_at_a_time(model, data, names, settings, change):
    """Change one weight at a time, in a copy, to each setting, and look how the copy does on validation data.

    Shapes: names, L parameters; settings, K of them; change, a technique (model, {name: setting}) -> loss and accuracy
            (L, 1 + K), the first of the unchanged model.
    Raises: TypeError for data without a validation part.
    """
    if getattr(data, "val", None) is None:
        raise TypeError(
            f"scan takes a Dataset and reads its validation part; got {type(data).__name__}. "
            "A part alone could be the test part, which nothing may be chosen on"
        )
    whole, found = evaluate(model, data.val), []
    for name in names:
        found.append([whole])
        for setting in settings:
            trial = copy.deepcopy(model)
            change(trial, {name: setting})
            found[-1].append(evaluate(trial, data.val))
    return tuple(np.array([[getattr(q, score) for q in line] for line in found]) for score in ("loss", "accuracy"))

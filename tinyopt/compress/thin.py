"""Thinning: choose the channels that matter least, by scores, and take them out.

Start with these three: `weakest`, on an array of scores; `weakest_channels`, which keeps together what hangs
together; `prune_channels`, which hands its choice to the surgery of `surgery.py`.
"""

import numpy as np

from tinyopt import backend
from tinyopt.compress.channels import follow
from tinyopt.compress.surgery import layer_of, remove, tied
from tinyopt.errors import ShapeError


def weakest(scores, fraction):
    """The channels with the lowest scores, an exact count; ties go by position.

    Shapes: scores (C,) -> indices, ascending.
    Units:  fraction removed, in [0, 1); the count is rounded down, so one channel is always left.
    Raises: ValueError for another fraction, or scores that are not finite.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"fraction is removed/all, in [0, 1): half of the channels is 0.5; got {fraction}")
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite to be ranked; some are NaN or infinite. Did training diverge?")
    return np.sort(np.argsort(scores, kind="stable")[: int(fraction * len(scores))])


def weakest_channels(model, example, scores, fraction):
    """Choose the channels to remove from scores, as {layer: indices}: of each group, the lowest.

    The scores that tied layers have for one channel are added. Of each group of a grouped convolution as many
    channels are chosen.

    Shapes: scores, {layer: (C,)}, higher = keep; layers without scores keep what is not tied to others.
    Units:  fraction removed of each layer, in [0, 1), or {layer: fraction}.
    Raises: as `weakest`; ShapeError for scores of another shape; ValueError for layers that are unknown or
            have no scores, or two fractions for tied layers.
    Source: Li et al. (2017), arXiv:1608.08710 (by layer); Fang et al. (2023), arXiv:2301.12900 (sums over groups).
    """
    flow = follow(model, example)
    scores = {layer_of(model, flow, name): value for name, value in scores.items()}
    scores = {name: _checked(name, value, len(flow.makes[name])) for name, value in scores.items()}
    shares = fraction if isinstance(fraction, dict) else dict.fromkeys(scores, fraction)
    shares = {layer_of(model, flow, name): share for name, share in shares.items()}
    if not shares.keys() <= scores.keys():
        raise ValueError(f"a fraction needs scores of its layer: {', '.join(shares.keys() - scores.keys())} has none")
    chosen = {}
    for layers in tied(flow):
        scored = [name for name in layers if name in scores]
        asked = {shares[name] for name in layers if name in shares}
        if len(asked) > 1:
            raise ValueError(f"{', '.join(layers)} lose the same channels: give them one fraction; got {sorted(asked)}")
        for share in asked:
            total = np.zeros(flow.size)
            for name in scored:
                np.add.at(total, flow.makes[name], scores[name])
            parts = _parts(flow, np.unique(np.concatenate([flow.makes[name] for name in scored])))
            lowest = np.concatenate([part[weakest(total[part], share)] for part in parts])
            chosen |= {name: np.flatnonzero(np.isin(flow.makes[name], lowest)) for name in scored}
    return chosen


def prune_channels(model, example, scores, fraction):
    """A smaller model without the lowest scored channels: `remove` what `weakest_channels` chooses."""
    return remove(model, example, weakest_channels(model, example, scores, fraction))


def _checked(name, scores, n):
    """A layer's scores, on the host."""
    scores = backend.to_host(scores) if backend.is_array(scores) else np.array(scores)
    if scores.shape != (n,):
        raise ShapeError(f"{name} has {n} channels, so its scores have the shape ({n},); got {scores.shape}")
    return scores


def _parts(flow, numbers):
    """Numbers apart by the groups of convolutions that they stand in: of each part equally many go."""
    keys = np.zeros((len(numbers), 0), int)
    for name, groups in flow.grouped.items():
        for places in (flow.reads[name], flow.makes[name]):
            group = {number: i * groups // len(places) for i, number in enumerate(places.tolist())}
            keys = np.column_stack([keys, [group.get(number, -1) for number in numbers.tolist()]])
    return [numbers[(keys == key).all(axis=1)] for key in np.unique(keys, axis=0)] if keys.size else [numbers]

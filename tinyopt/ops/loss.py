"""Losses as one op each, where fusing is faster and safer than composing. See `losses.py` for how to call them."""

import numpy as np

from tinyopt.ops.rule import op


@op
def cross_entropy(logits, target, *, reduction="mean", label_smoothing=0.0):
    """The surprise of a softmax classifier at the right answers.

        L = − Σ over c of t[c] · log_softmax(z)[c]        t = one-hot or given, smoothed
        ∂L/∂z = g · (softmax(z) · Σ t − t)                averaged over the batch

    Label smoothing s replaces t by (1 − s) t + s / C.

    Shapes: logits (N, C); target (N,) integers in [0, C), or (N, C) probabilities -> L () or (N,).
    Units:  nats.
    Source: Szegedy et al. (2016), "Rethinking the Inception Architecture for Computer Vision",
            arXiv:1512.00567, Section 7 (label smoothing).
    """
    shifted = logits - logits.max(axis=1, keepdims=True)  # the largest is now 0: exp cannot overflow
    e = np.exp(shifted)
    total = e.sum(axis=1, keepdims=True)
    log_total = np.log(total)
    n_classes = logits.shape[1]
    if target.ndim == 1:
        picked = np.take_along_axis(shifted, target[:, None], axis=1)  # (N, 1)
        loss = (log_total - picked)[:, 0]
        if label_smoothing:
            loss = (1 - label_smoothing) * loss + label_smoothing * (log_total[:, 0] - shifted.mean(axis=1))
    else:
        t = (1 - label_smoothing) * target + label_smoothing / n_classes
        loss = (t * (log_total - shifted)).sum(axis=1)

    def grad_logits(g):
        scale = g[:, None] if reduction == "none" else (g / len(logits) if reduction == "mean" else g)
        if target.ndim == 2:
            return (e / total * t.sum(axis=1, keepdims=True) - t) * scale
        z = e / total
        if label_smoothing:
            z -= label_smoothing / n_classes
        at = target[:, None]
        np.put_along_axis(z, at, np.take_along_axis(z, at, axis=1) - (1 - label_smoothing), axis=1)
        z *= scale
        return z

    def grad_target(g):
        scale = g[:, None] if reduction == "none" else (g / len(logits) if reduction == "mean" else g)
        return (log_total - shifted) * ((1 - label_smoothing) * scale)

    value = loss if reduction == "none" else loss.mean() if reduction == "mean" else loss.sum()
    return value, (grad_logits, grad_target if target.ndim == 2 else None)

"""Losses: how wrong the outputs are, as one number to make small. Start with `cross_entropy`.

Each checks what it is given, then calls an op; the names, arguments and numbers are PyTorch's.
"""

import numpy as np

from tinyopt.errors import DtypeError, ShapeError
from tinyopt.tensor import OPS, Tensor

_REDUCTIONS = ("mean", "sum", "none")


def cross_entropy(input, target, reduction="mean", label_smoothing=0.0):
    """The surprise of a softmax classifier at the right answers.

        L = − Σ over classes of t · log_softmax(input)        t = one-hot, or given, smoothed by s:
                                                              (1 − s) t + s / C
    Shapes: input, logits (N, C); target (N,) integers in [0, C), or (N, C) probabilities -> L, a number,
            or (N,) for reduction="none".
    Units:  nats; the mean over the batch.
    Raises: ShapeError, DtypeError or ValueError for shapes, types or labels that do not fit.
    Source: Goodfellow, Bengio & Courville (2016), "Deep Learning", Section 6.2.2.
    """
    input, target = _tensor(input), _labels(target)
    if input.ndim != 2 or input.shape[0] == 0:
        raise ShapeError(f"cross_entropy needs logits (N, C) with N of 1 or more; got {input.shape}")
    if target.ndim == 1 and target.dtype.kind not in "iu":
        raise DtypeError(
            f"labels of shape (N,) are class numbers, integers; got {target.dtype}. Use labels.astype('int64')"
        )
    if target.shape not in (input.shape[:1], input.shape):
        raise ShapeError(
            f"logits {input.shape} need labels {input.shape[:1]} or probabilities {input.shape}; got {target.shape}"
        )
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing is a fraction in [0, 1]; got {label_smoothing}")
    if target.ndim == 1 and type(target.data) is np.ndarray:  # on a GPU this would wait: train.fit asks the loader
        low, high = target.data.min(), target.data.max()
        if low < 0 or high >= input.shape[1]:
            wrong = low if low < 0 else high
            raise ValueError(f"labels must lie in [0, {input.shape[1]}), one for each logit; got {wrong}")
    return OPS["cross_entropy"](input, target, reduction=_reduction(reduction), label_smoothing=label_smoothing)


def mse_loss(input, target, reduction="mean"):
    """The mean squared error.

        L = mean of (input − target)²

    Shapes: input and target alike, any shape -> L, a number, or their shape for reduction="none".
    Raises: ShapeError if the shapes differ: broadcasting here is nearly always a mistake.
    """
    input, target = _tensor(input), _tensor(target)
    if input.shape != target.shape or input.size == 0:
        raise ShapeError(
            f"mse_loss needs input and target of one shape, not empty; got {input.shape} and {target.shape}"
        )
    square = (input - target) ** 2
    return square if _reduction(reduction) == "none" else square.mean() if reduction == "mean" else square.sum()


def _tensor(value):
    return value if isinstance(value, Tensor) else Tensor(value)


def _labels(target):
    """A list of integers stays integers here; elsewhere lists become float32, as probabilities do here."""
    listed = np.array(target) if isinstance(target, (list, tuple)) else None
    return _tensor(target if listed is None or listed.dtype.kind == "f" else listed)


def _reduction(reduction):
    if reduction not in _REDUCTIONS:
        raise ValueError(f"reduction is one of {', '.join(_REDUCTIONS)}; got {reduction!r}")
    return reduction

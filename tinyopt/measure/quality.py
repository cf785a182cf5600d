"""How well a classifier does on a part of the data, and whether another is better. Start with `evaluate`."""

import dataclasses
import functools
import math

import numpy as np

from tinyopt import backend
from tinyopt.errors import DtypeError, ShapeError
from tinyopt.losses import cross_entropy
from tinyopt.measure.modes import inference
from tinyopt.measure.scores import confusion_matrix, mcnemar, paired_difference, precision_recall_f1
from tinyopt.measure.table import text_table
from tinyopt.tensor import Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Quality:
    """What a model said about n examples, and the scores that follow from it.

        accuracy p = right / n                      its standard error = √(p (1 − p) / n)

    The others are those of `confusion_matrix` and `precision_recall_f1`.

    Shapes: labels and predictions (n,); confusion (C, C), row = truth, column = prediction;
            precision, recall, f1 (C,).
    Units:  loss in nats, the mean over the examples.
    """

    labels: np.ndarray
    predictions: np.ndarray
    n_classes: int
    loss: float

    @property
    def n(self):
        return len(self.labels)

    @property
    def accuracy(self):
        return float((self.predictions == self.labels).mean())

    @property
    def standard_error(self):
        return math.sqrt(self.accuracy * (1 - self.accuracy) / self.n)

    @functools.cached_property
    def confusion(self):
        return confusion_matrix(self.labels, self.predictions, self.n_classes)

    precision = property(lambda self: precision_recall_f1(self.confusion)[0])
    recall = property(lambda self: precision_recall_f1(self.confusion)[1])
    f1 = property(lambda self: precision_recall_f1(self.confusion)[2])

    def __str__(self):
        scores = zip(*precision_recall_f1(self.confusion), self.confusion.sum(axis=1).tolist())
        rows = [[c, f"{p:.4f}", f"{r:.4f}", f"{f:.4f}", n] for c, (p, r, f, n) in enumerate(scores)]
        head = f"accuracy {self.accuracy:.2%} ± {self.standard_error:.2%}, loss {self.loss:.4f}"
        table = text_table(["class", "precision", "recall", "F1", "examples"], rows)
        return f"{head}, on {self.n:,} examples\n{table}"


def evaluate(model, part, batch_size=256):
    """Let a model classify a part of the data, in eval mode and without a graph; its modes come back after.

    Shapes: part, a pair: images (n, ...) and labels (n,), integers; the model makes logits (batch, C)
            -> a `Quality`.
    Raises: ValueError for an empty part, labels without a logit, or images on the host that are NaN or
            infinite; ShapeError or DtypeError for what does not fit together.
    """
    images, labels = _checked_part(part)
    if isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
        raise ValueError(f"batch_size is an integer of 1 or more; got {batch_size!r}")
    home = next((parameter.device for parameter in model.parameters()), "cpu")
    predictions, loss = [], 0.0
    with inference(model):
        for start in range(0, len(labels), batch_size):
            batch = slice(start, start + batch_size)
            logits = model(Tensor(backend.to_device(images[batch], home))).numpy()
            _check_logits(logits, labels[batch])
            loss += cross_entropy(logits, labels[batch], reduction="sum").item()
            predictions.append(logits.argmax(axis=1))
    return Quality(labels, np.concatenate(predictions), logits.shape[1], loss / len(labels))


@dataclasses.dataclass(frozen=True)
class Comparison:
    """How the second of two models differs from the first on the same examples; see `compare`.

    Attributes: `difference` of accuracy and its `standard_error`; `worst_class`, the class whose recall
    changed for the worse the most (or improved the least), and `worst_recall_change`; `lost`, the number of
    examples that only the first has right, and `gained`, of those that only the second has.
    """

    difference: float
    standard_error: float
    worst_class: int
    worst_recall_change: float
    lost: int
    gained: int

    @property
    def p_value(self):
        """How rare so uneven a split of the disagreements were, if neither was better; see `mcnemar`."""
        return mcnemar(self.lost, self.gained)

    def __str__(self):
        change = f"accuracy {100 * self.difference:+.2f} ± {100 * self.standard_error:.2f} points"
        worst = f"{100 * self.worst_recall_change:+.2f} points (class {self.worst_class})"
        return f"{change}; worst recall {worst}"


def compare(before, after):
    """The paired difference of two models' accuracy: both saw the same examples, so luck largely cancels.

    See `paired_difference` and `mcnemar` for the formulas, and `Comparison` for what is told.

    Shapes: before and after, two `Quality` of the same examples -> a `Comparison`.
    Raises: ValueError if their labels differ.
    Source: Dietterich (1998), "Approximate Statistical Tests for Comparing Supervised Classification
            Learning Algorithms", Neural Computation 10(7) (paired tests on one test set).
    """
    if not np.array_equal(before.labels, after.labels):
        raise ValueError(
            f"compare needs two results on the same examples; these hold {before.n} and {after.n} "
            "with other labels. Evaluate both models on one part"
        )
    truth = before.labels
    right_before, right_after = before.predictions == truth, after.predictions == truth
    difference, standard_error = paired_difference(right_before, right_after)
    lost, gained = int((right_before & ~right_after).sum()), int((right_after & ~right_before).sum())
    d = right_after.astype(float) - right_before
    classes = np.unique(truth)  # a class without examples has no recall that could change
    change = np.array([d[truth == c].mean() for c in classes])
    worst = int(change.argmin())
    return Comparison(difference, standard_error, int(classes[worst]), float(change[worst]), lost, gained)


def _checked_part(part):
    """Images as an array of any device, labels as integers on the host, as many of each."""
    try:
        images, labels = part
    except (TypeError, ValueError):
        raise TypeError(f"a part is a pair (images, labels); got {type(part).__name__}") from None
    images = images if backend.is_array(images) else Tensor(images).data
    labels = backend.to_host(Tensor(np.array(labels) if isinstance(labels, (list, tuple)) else labels).data)
    if labels.size == 0:
        raise ValueError("this part has no examples: there is nothing to measure")
    if labels.ndim != 1 or images.ndim == 0 or len(images) != len(labels):
        raise ShapeError(f"a part is images (n, ...) with labels (n,); got {images.shape} and {labels.shape}")
    if labels.dtype.kind not in "iu":
        raise DtypeError(f"labels are class numbers: integers; got {labels.dtype}. Use labels.astype(int)")
    if isinstance(images, np.ndarray) and not np.isfinite(images).all():
        wrong = np.flatnonzero(~np.isfinite(images).reshape(len(images), -1).all(axis=1))
        count = f"{len(wrong)} of {len(images)}"
        raise ValueError(f"image {wrong[0]} holds NaN or infinity ({count} do). Mend them or leave them out")
    return images, labels.astype(np.int64)


def _check_logits(logits, labels):
    if logits.ndim != 2 or len(logits) != len(labels):
        n = len(labels)
        raise ShapeError(f"a classifier makes logits (N, C); for N = {n} this one made {logits.shape}")
    low, high = labels.min(), labels.max()
    if low < 0 or high >= logits.shape[1]:
        wrong, n_classes = (low if low < 0 else high), logits.shape[1]
        raise ValueError(f"labels must lie in [0, {n_classes}), one for each logit of the model; got {wrong}")

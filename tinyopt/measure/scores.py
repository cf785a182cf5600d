"""Scores of a classifier, and of a difference: plain functions on arrays. `quality.py` is made of them."""

import math

import numpy as np

from tinyopt.errors import ShapeError


def confusion_matrix(labels, predictions, n_classes):
    """Count which class was taken for which.

        cell[t, p] = number of examples that are t and were said to be p

    Shapes: labels and predictions (n,), integers in [0, C) -> (C, C): row = truth, column = prediction.
    Raises: ShapeError if there are not as many of each; ValueError for an integer outside [0, C).
    """
    if len(labels) != len(predictions):
        raise ShapeError(f"each label needs one prediction; got {len(labels)} and {len(predictions)}")
    truth, said = np.stack([labels, predictions]).astype(np.int64)
    for classes in (truth, said):
        if classes.size and (classes.min() < 0 or classes.max() >= n_classes):
            raise ValueError(f"classes lie in [0, {n_classes}); got {classes.min()} to {classes.max()}")
    cells = np.bincount(n_classes * truth + said, minlength=n_classes**2)  # one number for each pair
    return cells.reshape(n_classes, n_classes)


def precision_recall_f1(confusion):
    """Three scores for each class, from the confusion matrix.

        precision[c] = right as c / said to be c        recall[c] = right as c / truly c
        f1[c] = 2 · precision[c] · recall[c] / (precision[c] + recall[c])

    0 / 0 counts as 0: the precision of a class that was never said, the recall of one without examples,
    and the F1 of a class whose precision and recall are both 0.

    Shapes: confusion (C, C), row = truth, column = prediction -> precision, recall, f1, each (C,).
    Raises: ShapeError for a matrix that is not square.
    Source: van Rijsbergen (1979), "Information Retrieval", 2nd ed., Chapter 7 (precision, recall, F).
    """
    if np.ndim(confusion) != 2 or len(confusion) != len(confusion[0]):
        raise ShapeError(f"a confusion matrix is square, (C, C); got {np.shape(confusion)}")

    def ratio(part, whole):
        return np.divide(part, whole, out=np.zeros(len(whole)), where=whole != 0)

    right = np.diagonal(confusion)
    precision, recall = ratio(right, np.sum(confusion, axis=0)), ratio(right, np.sum(confusion, axis=1))
    return precision, recall, ratio(2 * precision * recall, precision + recall)


def paired_difference(before, after):
    """How much more often the second of two models is right, and the standard error of that.

        d[i] = after[i] − before[i], in {−1, 0, 1}      difference = mean of d
        standard error = √(mean of (d − difference)²) / √n

    Images that both models name rightly, or both wrongly, have d = 0: their luck cancels.

    Shapes: before and after (n,): 1 (True) where that model is right, on the same examples -> two floats.
    Raises: ShapeError if there are not as many of each, or none; ValueError for what is not 0 or 1.
    """
    if not len(before) == len(after) > 0:
        raise ShapeError(f"both models see the same examples, 1 or more; got {len(before)} and {len(after)}")
    d = np.subtract(after, before, dtype=float)
    if not np.isin(d, (-1, 0, 1)).all():
        raise ValueError("before and after hold 1 where that model is right, else 0: predictions == labels")
    return float(d.mean()), float(d.std() / math.sqrt(len(d)))


def mcnemar(lost, gained):
    """The p-value of McNemar's exact test: could the models' disagreements be tosses of a fair coin?

        p = 2 · P(at most min(lost, gained) heads in lost + gained tosses), at most 1

    A small p says: if neither model were better, so uneven a split would be rare. It stays true where
    lost + gained is small, and a difference divided by its standard error promises too much.

    Units:  `lost`, the examples that only the first model has right; `gained`, those that only the second.
    Raises: ValueError for a count below 0.
    Source: McNemar (1947), "Note on the sampling error of the difference between correlated proportions or
            percentages", Psychometrika 12(2); recommended by Dietterich (1998), Neural Computation 10(7).
    Differs: both approximate the coin by a χ² distribution; this sums the binomial itself.
    """
    if min(lost, gained) < 0:
        raise ValueError(f"lost and gained count examples, 0 or more; got {lost} and {gained}")
    n = lost + gained

    def chance(heads):  # C(n, heads) / 2ⁿ, in logarithms: n may be large
        ways = math.lgamma(n + 1) - math.lgamma(heads + 1) - math.lgamma(n - heads + 1)
        return math.exp(ways - n * math.log(2))

    return min(1.0, 2 * sum(map(chance, range(min(lost, gained) + 1))))

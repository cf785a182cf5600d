"""Wrong answers that students give, and words that the verdict on each must contain."""

import math

import numpy as np

from tinyopt import measure
from tinyopt.course import wrong

# --- 6.1 ---


@wrong("6.1", says="times 100")
def as_a_share():
    return 0.015, 0.0212, 3600


@wrong("6.1", says="A root is missing")
def the_variance():
    return 0.0225, 0.045, 3600


@wrong("6.1", says="n is not under the root")
def n_outside():
    return 100 * math.sqrt(0.9 * 0.1) / 400, 0.106, 3600


@wrong("6.1", says="The two errors are added")
def added():
    return 1.5, 3.0, 3600


@wrong("6.1", says="not more")
def mean_of_two():
    return 1.5, 1.06, 3600


@wrong("6.1", says="√3 = 1.7 times smaller")
def three_times():
    return 1.5, 2.12, 1200


@wrong("6.1", says="One model is asked for", blind=True)
def images_for_the_difference():
    return 1.5, 2.12, 7200


# --- 6.2 ---


@wrong("6.2", says="Its sign is turned")
def turned(before, after):
    d = np.subtract(before, after, dtype=float)
    return d.mean(), d.std() / math.sqrt(len(d))


@wrong("6.2", says="two separate sets")
def unpaired(before, after):
    p, q = np.mean(before), np.mean(after)
    return q - p, math.sqrt((p * (1 - p) + q * (1 - q)) / len(before))


@wrong("6.2", says="the error for one image")
def not_divided(before, after):
    d = np.subtract(after, before, dtype=float)
    return d.mean(), d.std()


@wrong("6.2", says="falls with √n")
def divided_by_n(before, after):
    d = np.subtract(after, before, dtype=float)
    return d.mean(), d.std() / len(d)


@wrong("6.2", says="share of disagreements")
def disagreements(before, after):
    d = np.array(after) != np.array(before)
    return d.mean(), d.std() / math.sqrt(len(d))


@wrong("6.2", says="A root is missing")
def variance(before, after):
    d = np.subtract(after, before, dtype=float)
    return d.mean(), d.var() / len(d)


@wrong("6.2", says="out of reach")
def the_package_own(before, after):
    return measure.paired_difference(before, after)


@wrong("6.2", says="both agree are left out", blind=True)
def spread_of_disagreements(before, after):
    d = np.subtract(after, before, dtype=float)
    return d.mean(), d[d != 0].std() / math.sqrt(len(d))


@wrong("6.2", says="both agree are left out")
def disagreements_alone(before, after):
    d = np.subtract(after, before, dtype=float)
    d = d[d != 0]
    return d.mean(), d.std() / math.sqrt(len(d))


# --- 6.3 ---


@wrong("6.3", says="The bars do not overlap")
def far_apart():
    return np.arange(200) < 100, np.arange(200) < 160


@wrong("6.3", says="never disagree")
def twins():
    return np.arange(200) < 100, np.arange(200) < 100


@wrong("6.3", says="in both directions")
def both_directions():
    return np.arange(200) < 100, np.arange(200) >= 95


@wrong("6.3", says="too few disagreements")
def five_more():
    return np.arange(200) < 100, np.arange(200) < 105


@wrong("6.3", says="two arrays of the same length")
def other_images():
    return np.arange(100) < 90, np.arange(1000) < 930


@wrong("6.3", says="1 (right) or 0 (wrong)")
def accuracies():
    return np.full(100, 0.9), np.full(100, 0.91)


@wrong("6.3", says="in both directions", blind=True)
def drawn_independently():
    rng = np.random.default_rng(0)
    before = (rng.random(1000) < 0.97).astype(int)
    after = (rng.random(1000) < 0.96).astype(int)
    return before, after


# --- 6.4 ---


@wrong("6.4", says="Rows and columns are exchanged")
def exchanged(labels, predictions, n_classes):
    cells = np.zeros((n_classes, n_classes), dtype=int)
    np.add.at(cells, (predictions, labels), 1)
    return cells


@wrong("6.4", says="count only once")
def counted_once(labels, predictions, n_classes):
    cells = np.zeros((n_classes, n_classes), dtype=int)
    cells[labels, predictions] += 1
    return cells


@wrong("6.4", says="Only right answers are counted")
def diagonal_only(labels, predictions, n_classes):
    return np.diag(np.bincount(labels[labels == predictions], minlength=n_classes))


@wrong("6.4", says="wrong shape")
def no_minlength(labels, predictions, n_classes):
    n = max(labels.max(), predictions.max()) + 1
    return np.bincount(n * labels + predictions, minlength=n * n).reshape(n, n)


@wrong("6.4", says="shares of each row")
def shares(labels, predictions, n_classes):
    cells = np.zeros((n_classes, n_classes))
    np.add.at(cells, (labels, predictions), 1)
    return cells / np.maximum(cells.sum(axis=1, keepdims=True), 1)


@wrong("6.4", says="only know the classes that occur", blind=True)
def bins_from_smallest_to_largest(labels, predictions, n_classes):
    counts, _, _ = np.histogram2d(labels, predictions, bins=n_classes)
    return counts.astype(int)


# --- 6.5 ---


def divided(part, whole):
    return part / np.maximum(whole, 1e-12)


@wrong("6.5", says="Precision and recall are exchanged")
def rows_for_columns(confusion):
    right = np.diagonal(confusion)
    p, r = divided(right, confusion.sum(axis=1)), divided(right, confusion.sum(axis=0))
    return p, r, divided(2 * p * r, p + r)


@wrong("6.5", says="There is a NaN in it")
def nan(confusion):
    right = np.diagonal(confusion)
    p, r = right / confusion.sum(axis=0), right / confusion.sum(axis=1)
    return p, r, 2 * p * r / (p + r)


@wrong("6.5", says="It is the plain mean")
def plain_mean(confusion):
    right = np.diagonal(confusion)
    p, r = divided(right, confusion.sum(axis=0)), divided(right, confusion.sum(axis=1))
    return p, r, (p + r) / 2


@wrong("6.5", says="A factor 2 is missing")
def no_two(confusion):
    right = np.diagonal(confusion)
    p, r = divided(right, confusion.sum(axis=0)), divided(right, confusion.sum(axis=1))
    return p, r, divided(p * r, p + r)


@wrong("6.5", says="by its own sum")
def by_all(confusion):
    share = np.diagonal(confusion) / confusion.sum()
    return share, share, share


@wrong("6.5", says="0 / 0 counts as 0")
def counts_as_one(confusion):
    right, said, true = np.diagonal(confusion), confusion.sum(axis=0), confusion.sum(axis=1)
    p = np.where(said > 0, divided(right, said), 1.0)
    r = np.where(true > 0, divided(right, true), 1.0)
    return p, r, divided(2 * p * r, p + r)


@wrong("6.5", says="P + R was replaced by 1", blind=True)
def guard_of_counts(confusion):
    right = np.diag(confusion)
    precision = right / np.maximum(confusion.sum(axis=0), 1)
    recall = right / np.maximum(confusion.sum(axis=1), 1)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1)
    return precision, recall, f1


# --- 6.6 ---


@wrong("6.6", says="biases are missing")
def no_bias():
    return 600, 21_600, 2400


@wrong("6.6", says="one output position")
def macs_are_weights():
    return 608, 600, 2432


@wrong("6.6", says="The stride is forgotten")
def no_stride():
    return 608, 86_400, 2432


@wrong("6.6", says="the first position counts")
def off_by_one():
    return 608, 15_000, 2432


@wrong("6.6", says="A multiply and its add are one MAC")
def flops():
    return 608, 43_200, 2432


@wrong("6.6", says="These are bits")
def bits():
    return 608, 21_600, 608 * 32


@wrong("6.6", says="Both sides are padded", blind=True)
def padded_on_one_side():
    side = (12 + 2 - 5) // 2 + 1
    return 608, side * side * 600, 2432

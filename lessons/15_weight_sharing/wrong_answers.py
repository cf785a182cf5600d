"""Wrong answers that students give, and words that the verdict on each must contain."""

import math

import numpy as np

from tinyopt.course import wrong
from tinyopt.nn.hashed import hashed_labels, hashed_signs

# --- 15.1 ---


@wrong("15.1", says="Nothing moved in your second step")
def labels_kept():
    return 4.0, 8.5, 4.0, 8.5


@wrong("15.1", says="not the middle number")
def middle_of_the_ends():
    return 3.5, 8.5, 3.0, 8.0


@wrong("15.1", says="These are sums")
def sums():
    return 16.0, 17.0, 9.0, 24.0


@wrong("15.1", says="high stands where low is due")
def exchanged():
    return 8.5, 4.0, 8.0, 3.0


@wrong("15.1", says="after the third step")
def one_step_too_far():
    return 4.0, 8.5, 1.5, 7.5


@wrong("15.1", says="The old centroid was averaged", blind=True)
def old_centroid_as_a_member():
    low_1, high_1 = (0 + 3 + 6 + 7 + 3) / 5, (8 + 9 + 12) / 3
    return low_1, high_1, (0 + 3 + 6 + low_1) / 4, (7 + 8 + 9 + high_1) / 4


@wrong("15.1", says="the centroids at the beginning")
def read_from_the_start():
    return 3.0, 12.0, 4.0, 8.5


# --- 15.2 ---


def labelled(x, centroids):
    return abs(np.asarray(x)[:, None] - np.asarray(centroids)).argmin(axis=1)


@wrong("15.2", says="cuts at the centroids themselves")
def cut_at_the_centroids(x, centroids):
    begins = np.concatenate([[0], np.searchsorted(x, centroids[1:])])
    counts = np.diff(begins, append=x.size)
    filled = counts > 0
    return np.add.reduceat(x, begins[filled]) / counts[filled], counts[filled]


@wrong("15.2", says="0/0, which is NaN")
def empty_ones_divided(x, centroids):
    labels = labelled(x, centroids)
    counts = np.bincount(labels, minlength=len(centroids))
    return np.bincount(labels, weights=x, minlength=len(centroids)) / counts, counts


@wrong("15.2", says="was not dropped")
def empty_ones_kept(x, centroids):
    labels = labelled(x, centroids)
    counts = np.bincount(labels, minlength=len(centroids))
    sums = np.bincount(labels, weights=x, minlength=len(centroids))
    return np.where(counts > 0, sums / np.maximum(counts, 1), centroids), counts


@wrong("15.2", says="Divide by the counts")
def sums_not_means(x, centroids):
    labels = labelled(x, centroids)
    filled = np.unique(labels)
    return np.bincount(labels, weights=x)[filled], np.bincount(labels)[filled]


@wrong("15.2", says="Means and counts are exchanged")
def the_other_order(x, centroids):
    labels = labelled(x, centroids)
    filled = np.unique(labels)
    counts = np.bincount(labels)[filled]
    return counts, np.bincount(labels, weights=x)[filled] / counts


@wrong("15.2", says="running totals")
def totals(x, centroids):
    labels = labelled(x, centroids)
    filled = np.unique(labels)
    counts = np.bincount(labels)[filled]
    return np.bincount(labels, weights=x)[filled] / counts, np.cumsum(counts)


@wrong("15.2", says="have not moved")
def only_labelled(x, centroids):
    labels = labelled(x, centroids)
    filled = np.unique(labels)
    return centroids[filled], np.bincount(labels)[filled]


@wrong("15.2", says="Only one step is due", blind=True)
def until_nothing_changes(x, centroids):
    means = np.asarray(centroids, dtype=float)
    while True:
        labels = np.searchsorted((means[:-1] + means[1:]) / 2, x)
        counts = np.bincount(labels, minlength=len(means))
        sums = np.bincount(labels, weights=x, minlength=len(means))
        new = sums[counts > 0] / counts[counts > 0]
        if len(new) == len(means) and np.allclose(new, means):
            return new, counts[counts > 0]
        means = new


# --- 15.3 ---


@wrong("15.3", says="takes the mean of the members")
def mean_of_members(codebook, labels):
    def grad_codebook(g):
        means = [g[labels == k].mean() if (labels == k).any() else 0.0 for k in range(len(codebook))]
        return np.array(means, dtype=codebook.dtype)

    return codebook[labels], (grad_codebook, None)


@wrong("15.3", says="the others were overwritten")
def added_once(codebook, labels):
    def grad_codebook(g):
        sums = np.zeros_like(codebook)
        sums[labels] += g
        return sums

    return codebook[labels], (grad_codebook, None)


@wrong("15.3", says="minlength")
def too_short(codebook, labels):
    def grad_codebook(g):
        return np.bincount(labels.reshape(-1), weights=g.reshape(-1)).astype(codebook.dtype)

    return codebook[labels], (grad_codebook, None)


@wrong("15.3", says="one gradient for each weight")
def as_a_mask(codebook, labels):
    return codebook[labels], (lambda g: g, None)


@wrong("15.3", says="g is not used")
def counted(codebook, labels):
    def grad_codebook(g):
        return np.bincount(labels.reshape(-1), minlength=len(codebook)).astype(codebook.dtype)

    return codebook[labels], (grad_codebook, None)


@wrong("15.3", says="Every sign is turned")
def turned(codebook, labels):
    def grad_codebook(g):
        sums = np.zeros_like(codebook)
        np.add.at(sums, labels, -g)
        return sums

    return codebook[labels], (grad_codebook, None)


@wrong("15.3", says="The gradient has another type")
def in_float64(codebook, labels):
    def grad_codebook(g):
        return np.bincount(labels.reshape(-1), weights=g.reshape(-1), minlength=len(codebook))

    return codebook[labels], (grad_codebook, None)


@wrong("15.3", says="Take that of the codebook", blind=True)
def always_float32(codebook, labels):
    def pull_codebook(g):
        sums = np.bincount(labels.reshape(-1), weights=g.reshape(-1), minlength=len(codebook))
        return sums.astype(np.float32)

    return codebook[labels], (pull_codebook, None)


# --- 15.4 ---


@wrong("15.4", says="one bit too many")
def length_of_n(n_values):
    return int(n_values).bit_length()


@wrong("15.4", says="rounds down")
def floor(n_values):
    return int(math.log2(n_values))


@wrong("15.4", says="A float has rounded")
def in_floats(n_values):
    return math.ceil(math.log2(n_values))


@wrong("15.4", says="no label at all: 0 bits")
def at_least_one(n_values):
    return max(1, (n_values - 1).bit_length())


@wrong("15.4", says="whole number of bits")
def not_rounded(n_values):
    return math.log2(n_values)


@wrong("15.4", says="no label at all: 0 bits", blind=True)
def digits_of_the_largest_label(n_values):
    return len(bin(n_values - 1)) - 2


# --- 15.5 ---


@wrong("15.5", says="Each centroid has two members")
def equal_sizes():
    return np.array([0, 0, 1, 1, 2, 2]), np.array([5.0, -1.0, 2.0, 7.0, 0.0, 1.0])


@wrong("15.5", says="g is 0")
def no_gradient():
    return np.array([0, 0, 0, 0, 1, 2]), np.zeros(6)


@wrong("15.5", says="only one sum is not 0")
def cancelled():
    return np.array([0, 0, 0, 0, 1, 2]), np.array([1.0, -1.0, 2.0, -2.0, 0.0, 3.0])


@wrong("15.5", says="each must occur")
def two_labels():
    return np.array([0, 0, 0, 0, 1, 1]), np.ones(6)


@wrong("15.5", says="differ too little")
def one_sum_rules():
    return np.array([0, 0, 0, 0, 1, 2]), np.array([9.0, 9.0, 9.0, 9.0, 0.1, 0.1])


@wrong("15.5", says="differ too little", blind=True)
def one_label_changed():
    return np.array([0, 1, 2, 0, 1, 1]), np.array([3.0, -1.0, 0.5, 1.0, 2.0, 0.5])


# --- 15.6 ---


def squares(piece):
    return ((piece - piece.mean()) ** 2).sum()


def from_cuts(values, cuts):
    """Centroids and labels of the sorted values, cut before these places."""
    order = np.argsort(values)
    pieces = np.split(order, list(cuts))
    labels = np.zeros(len(values), int)
    for m, piece in enumerate(pieces):
        labels[piece] = m
    return np.array([values[piece].mean() for piece in pieces]), labels


def table(values, k, cost=squares, last_row=False):
    """The dynamic program; if you like with another cost, or a walk back through the last row alone."""
    x, n = np.sort(values).astype(float), len(values)
    error, begin = np.full((k + 1, n + 1), np.inf), np.zeros((k + 1, n + 1), int)
    error[0, 0] = 0
    for m in range(1, k + 1):
        for j in range(m, n + 1):
            tried = [error[m - 1, i] + cost(x[i:j]) for i in range(m - 1, j)]
            begin[m, j], error[m, j] = m - 1 + int(np.argmin(tried)), min(tried)
    cuts, j = [], n
    for m in range(k, 1, -1):
        j = begin[k if last_row else m, j]
        cuts.insert(0, j)
    return from_cuts(values, cuts)


@wrong("15.6", says="Lloyd's steps can stop here")
def lloyds_steps(values, k):
    x, c = np.sort(values), np.linspace(values.min(), values.max(), k)
    for _ in range(50):
        labels = abs(x[:, None] - c).argmin(axis=1)
        c = np.array([x[labels == m].mean() if (labels == m).any() else c[m] for m in range(k)])
    return c, abs(values[:, None] - c).argmin(axis=1)


@wrong("15.6", says="each where it helps most")
def one_cut_after_the_other(values, k):
    x, cuts = np.sort(values), []
    while len(cuts) < k - 1:
        tries = [sorted({*cuts, at}) for at in range(1, len(x)) if at not in cuts]
        cuts = min(tries, key=lambda some: sum(squares(piece) for piece in np.split(x, some)))
    return from_cuts(values, cuts)


@wrong("15.6", says="widest gaps")
def at_the_widest_gaps(values, k):
    return from_cuts(values, sorted(np.argsort(np.diff(np.sort(values)))[len(values) - k :] + 1))


@wrong("15.6", says="The row of 3 centroids is wrong")
def equally_many(values, k):
    return from_cuts(values, [len(values) * m // k for m in range(1, k)])


@wrong("15.6", says="|x − c|")
def absolute_error(values, k):
    return table(values, k, lambda piece: abs(piece - np.median(piece)).sum())


@wrong("15.6", says="a large piece counts as much as a small one")
def mean_of_each_piece(values, k):
    return table(values, k, lambda piece: squares(piece) / len(piece))


@wrong("15.6", says="labels belong to the sorted numbers")
def labels_of_the_sorted(values, k):
    centroids, labels = table(values, k)
    return centroids, np.sort(labels)


@wrong("15.6", says="The labels were carried back the wrong way", blind=True)
def sorted_once_more(values, k):
    centroids, labels = table(values, k)
    return centroids, np.sort(labels)[np.argsort(values)]


@wrong("15.6", says="always reads the notes of the last row", blind=True)
def walks_back_in_the_last_row(values, k):
    return table(values, k, last_row=True)


@wrong("15.6", says="exchanged")
def the_other_way_round(values, k):
    return table(values, k)[::-1]


@wrong("15.6", says="the last one")
def ends_before_the_last(values, k):
    order = np.argsort(values)
    centroids, labels = table(values[order[:-1]], k)
    return centroids, np.append(labels, k - 1)[np.argsort(order)]


# --- 15.7 ---


def read_by(weight, n_values, seed, signed):
    labels = hashed_labels(weight, weight.shape, n_values, seed).reshape(-1)
    return labels, hashed_signs(weight, weight.shape, seed) if signed else np.ones_like(weight)


def add(labels, weights, n_values):
    return np.bincount(labels, weights=np.asarray(weights, float).reshape(-1), minlength=n_values)


@wrong("15.7", says="divide by how many there are")
def only_added_up(weight, n_values, seed, *, signed=True, keep=None):
    labels, signs = read_by(weight, n_values, seed, signed)
    kept = np.ones(weight.shape) if keep is None else keep
    return add(labels, weight * signs * kept, n_values).astype(weight.dtype)


@wrong("15.7", says="The signs are not used")
def without_signs(weight, n_values, seed, *, signed=True, keep=None):
    labels, _ = read_by(weight, n_values, seed, signed)
    kept = np.ones(weight.shape) if keep is None else keep
    counts = np.maximum(add(labels, kept, n_values), 1)
    return (add(labels, weight * kept, n_values) / counts).astype(weight.dtype)


@wrong("15.7", says="divides by the sum of the signs")
def over_the_signs(weight, n_values, seed, *, signed=True, keep=None):
    labels, signs = read_by(weight, n_values, seed, signed)
    total = add(labels, signs, n_values)
    return add(labels, weight * signs, n_values) / np.where(total == 0, 1, total)


@wrong("15.7", says="divides by the sum of the signs", blind=True)
def over_the_signs_or_zero(weight, n_values, seed, *, signed=True, keep=None):
    labels, signs = read_by(weight, n_values, seed, signed)
    kept = np.ones(weight.shape) if keep is None else keep
    sums, total = add(labels, weight * signs * kept, n_values), add(labels, signs * kept, n_values)
    return np.divide(sums, total, out=np.zeros(n_values), where=total != 0).astype(weight.dtype)


@wrong("15.7", says="pruned are still counted")
def counts_the_pruned(weight, n_values, seed, *, signed=True, keep=None):
    labels, signs = read_by(weight, n_values, seed, signed)
    kept = np.ones(weight.shape) if keep is None else keep
    counts = np.maximum(add(labels, np.ones(weight.shape), n_values), 1)
    return (add(labels, weight * signs * kept, n_values) / counts).astype(weight.dtype)


@wrong("15.7", says="does not look at `keep`")
def no_mask(weight, n_values, seed, *, signed=True, keep=None):
    labels, signs = read_by(weight, n_values, seed, signed)
    counts = np.maximum(add(labels, np.ones(weight.shape), n_values), 1)
    return (add(labels, weight * signs, n_values) / counts).astype(weight.dtype)


@wrong("15.7", says="the others were overwritten")
def the_last_member(weight, n_values, seed, *, signed=True, keep=None):
    labels, signs = read_by(weight, n_values, seed, signed)
    values = np.zeros(n_values)
    values[labels] = (weight * signs).reshape(-1)
    return values


@wrong("15.7", says="0/0, which is NaN")
def divides_by_nobody(weight, n_values, seed, *, signed=True, keep=None):
    labels, signs = read_by(weight, n_values, seed, signed)
    kept = np.ones(weight.shape) if keep is None else keep
    return add(labels, weight * signs * kept, n_values) / add(labels, kept, n_values)


@wrong("15.7", says="minlength", blind=True)
def only_those_that_are_read(weight, n_values, seed, *, signed=True, keep=None):
    labels = hashed_labels(weight, weight.shape, n_values, seed)
    signs = hashed_signs(weight, weight.shape, seed) if signed else np.ones_like(weight)
    keep = np.ones(weight.shape, dtype=bool) if keep is None else keep
    sums = np.bincount(labels[keep], weights=(signs * weight)[keep])
    return (sums / np.maximum(np.bincount(labels[keep]), 1)).astype(weight.dtype)


@wrong("15.7", says="another type than the weight")
def always_float64(weight, n_values, seed, *, signed=True, keep=None):
    labels, signs = read_by(weight, n_values, seed, signed)
    kept = np.ones(weight.shape) if keep is None else keep
    return add(labels, weight * signs * kept, n_values) / np.maximum(add(labels, kept, n_values), 1)

"""Wrong answers that students give, and words that the verdict on each must contain."""

import math

import numpy as np

from tinyopt.course import wrong

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

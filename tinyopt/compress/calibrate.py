"""Calibration: which range of numbers the integers should cover, found by looking at an array.

Start with these three: `min_max`, `percentile`, `mse_optimal`.

    min_max       all of it: nothing is clipped, but one far number makes every step large
    percentile    all but a few of the largest and smallest: those are clipped, and the others get finer steps
    k_sigma       the mean and k deviations to each side
    mse_optimal   the range with the smallest squared error, of rounding and clipping together
    entropy       the range that changes the histogram least, by Kullback–Leibler divergence

A range is a pair (low, high). `codec.affine.scale_from_range` lays the line for it; numbers outside are clipped to
its ends. `quantize(model, calibrate=...)` takes any function of this form. For weights, the array is the weight. For
activations, it is what a layer made on some *training* images: `observers.py` watches them batch by batch.
"""

import numpy as np

from tinyopt import backend
from tinyopt.codec.affine import integer_range, min_max, other_axes

__all__ = ["best_cut", "best_range", "best_scale", "entropy", "k_sigma", "min_max", "mse_optimal", "percentile"]

N_BINS = 2048  # of a histogram for `entropy`, as in its source


def percentile(x, percent=99.9, *, axis=None):
    """The range that `percent` % of the numbers do not exceed at the upper end, nor fall below at the lower.

        low = the (100 − percent)-th percentile of x        high = the percent-th

    So (100 − percent) % are cut off at each end. Between two numbers, a percentile is read off the straight
    line that joins them, as `np.percentile` does.

    Shapes: x (..., C, ...), float32 or float64, with C at `axis` -> low, high (C,); () when axis is None.
    Units:  percent, in (50, 100]; 100 is `min_max`.
    Raises: ValueError for another percent, or on NaN and Inf; DtypeError and ShapeError as `min_max`.
    Source: NVIDIA Model Optimizer, `HistogramCalibrator.compute_amax("percentile")`.
    Differs: that finds one largest magnitude, for a symmetric range, from a histogram; here each end has its own,
            so that an affine line profits too, and it is read off the numbers themselves.
    """
    check_percent(percent)
    min_max(x, axis=axis)  # refuses what has no range
    ends = np.percentile(x, [100 - percent, percent], axis=other_axes(x, axis)).astype(x.dtype)  # (2,) or (2, C)
    return ends[0], ends[1]


def check_percent(percent):
    """Raise ValueError unless percent lies in (50, 100]."""
    if not 50 < percent <= 100:
        raise ValueError(f"percent is the share of numbers to cover, in (50, 100], such as 99.9; got {percent!r}")


def k_sigma(x, k=3.0, *, axis=None):
    """The mean and k standard deviations to each side, but no further than the numbers go.

        low = max(μ − k σ, min x)        high = min(μ + k σ, max x)        σ² = mean of (x − μ)²

    It asks for two sums only, no sorting. Of normal numbers, k = 3 cuts off 0.13 % at each end; of numbers with a
    long tail, as a ReLU makes them, it cuts off more, and nothing says that this is the right amount.

    Shapes: x (..., C, ...), float32 or float64, with C at `axis` -> low, high (C,); () when axis is None.
    Raises: ValueError for k ≤ 0, or on NaN and Inf; DtypeError and ShapeError as `min_max`.
    Source: Lin, Talathi & Annapureddy (2016), "Fixed Point Quantization of Deep Convolutional Networks",
            arXiv:1511.06393 (a step in proportion to a layer's deviation).
    Differs: they take the multiple of σ that is best for normal numbers of that many bits; here it is given.
    """
    check_k(k)
    least, most = min_max(x, axis=axis)
    others = other_axes(x, axis)
    mean, deviation = x.mean(axis=others), x.std(axis=others)
    return np.maximum(mean - k * deviation, least), np.minimum(mean + k * deviation, most)


def check_k(k):
    """Raise ValueError unless k is above 0."""
    if not 0 < k < float("inf"):
        raise ValueError(f"k counts standard deviations to each side, above 0, such as 3; got {k!r}")


# --- the smallest squared error ------------------------------------------------------------------------


def mse_optimal(x, bits=8, *, symmetric=True, axis=None):
    """The range with the smallest squared error between the numbers and what comes back of them.

        minimise over ranges no wider than the numbers    Σ (x − x̂)²        x̂ = scale · (q − zero_point)

    A wide range makes large steps, a narrow one clips; the best lies between, the narrower the fewer bits there are.
    It is found exactly (`best_scale`) for an array of up to 2^18 / 2^bits numbers and, if the line is affine, for up
    to 5 bits; else among numbers that were grouped first (`grouped`), and zero points from coarse to fine.

    Shapes: x (..., C, ...), float32 or float64, with C at `axis` -> low, high (C,); () when axis is None. The search
            runs on the host.
    Units:  bits, 2 to 10: the range is for these, on a `symmetric` line or an affine one.
    Raises: ValueError for other bits, or on NaN and Inf; DtypeError and ShapeError as `min_max`.
    Source: Sung, Shin & Hwang (2015), "Resiliency of Deep Neural Networks under Quantization", arXiv:1511.06488
            (the step that minimises the squared error). The search is own.
    """
    check_bits(bits)
    return _by_channel(x, axis, lambda row: best_range(*grouped(row, np.ones(row.size), bits), bits, symmetric))


def check_bits(bits):
    """Raise ValueError unless bits is one of 2 to 10."""
    if bits not in range(2, 11):
        raise ValueError(f"a range is searched for bits in 2..10; got {bits!r}. With more there is next to nothing to "
                         "gain by clipping: take min_max")  # fmt: skip


def best_range(values, counts, bits, symmetric):
    """The range (low, high) with the smallest squared error, for numbers of which each comes `counts` times.

    On an affine line, each number `below` of steps below 0 leaves 2^b − 1 − below above it: for each there is a best
    scale, and the best of these is taken. All are tried up to 5 bits, from there on coarse to fine around the best.

    Shapes: values (n,) and counts (n,) -> two numbers.
    """
    lowest, highest = integer_range(bits, symmetric)
    n_steps = highest - lowest
    least, most = min(values.min(initial=0), 0), max(values.max(initial=0), 0)
    widest = max(most, -least) / highest if symmetric else (most - least) / n_steps  # the scale that clips nothing
    if symmetric:
        below, above = highest, highest
    elif least == 0 or most == 0:  # all on one side: so are all steps
        below, above = (0, n_steps) if least == 0 else (n_steps, 0)
    else:
        below, scale = _best_split(_crossings(values, counts, n_steps), n_steps, widest)
        return -below * scale, (n_steps - below) * scale
    scale, _ = best_scale(values, counts, below, above, widest)
    return -below * scale, above * scale


def best_scale(values, counts, below, above, widest):
    """The scale with which integers from −below to above tell the numbers with the smallest squared error: exact.

        q(s) = clip(round(x / s), −below, above)        error(s) = Σ count · (x − s q(s))²        0 < s ≤ widest

    For given integers q, the error is a parabola in s, Σ x² − 2 s Σ x q + s² Σ q², lowest at s = Σ x q / Σ q². And q
    changes only where an |x| / s crosses k + 1/2, at s = |x| / (k + 1/2). Sorted from large to small, these crossings
    lead through every q that rounding can make, each differing from the one before by 1 in one place: running sums
    give the lowest point of every parabola, and the lowest of them all is the answer. (There, rounding makes this q or
    one that is as good: nothing is nearer than the nearest integer.)

    Shapes: values (n,), counts (n,) -> the scale, and by how much the error lies below Σ count · x².
    """
    return _lowest(_crossings(values, counts, max(below, above)), below, above, widest)


def _crossings(values, counts, n_steps):
    """Where |x| / s crosses k + 1/2, from large s to small: k, if x < 0, and what Σ x q and Σ q² gain there."""
    k = np.arange(n_steps)
    order = np.argsort(-abs(values)[:, None] / (k + 0.5), axis=None)  # of (n, K)
    number, k = np.divmod(order, n_steps)
    return k, values[number] < 0, (counts * abs(values))[number], counts[number] * (2 * k + 1.0)


def _lowest(crossings, below, above, widest):
    """The scale at the lowest point of all parabolas, and how deep that is; 0, 0 if no number has an integer."""
    k, negative, xq, qq = crossings
    used = k < np.where(negative, below, above)
    xq, qq = np.cumsum(xq[used]), np.cumsum(qq[used])
    if not xq.size or xq[-1] == 0:
        return 0.0, 0.0
    s = np.minimum(xq / qq, widest)
    deep = s * (2 * xq - s * qq)
    i = deep.argmax()
    return float(s[i]), float(deep[i])


def _best_split(crossings, n_steps, widest):
    """How many of the steps to lay below 0, and the scale."""
    found, distance = {}, max(1, n_steps // 16)
    trials = range(0, n_steps + 1, distance)
    while True:
        for below in trials:
            if 0 <= below <= n_steps and below not in found:
                found[below] = _lowest(crossings, below, n_steps - below, widest)
        best = max(found, key=lambda below: found[below][1])
        if distance == 1:
            return best, found[best][0]
        distance //= 2
        trials = (best - distance, best + distance)


def grouped(x, counts, bits):
    """Numbers and how often they come, few enough to search: the numbers themselves, or means of neighbours.

    Their range is cut into 2^18 / 2^bits pieces of equal width, but at least 4 for each step of the integers.

    Shapes: x and counts (n,) -> values and counts (m,), float64.
    """
    x, n_groups = x.astype(np.float64), max(2**18 >> bits, 4 << bits)
    if x.size <= n_groups or x.min() == x.max():
        return x, counts
    place = np.minimum(((x - x.min()) * (n_groups / np.ptp(x))).astype(np.int64), n_groups - 1)
    together, sums = np.bincount(place, weights=counts), np.bincount(place, weights=counts * x)
    filled = together > 0
    return sums[filled] / together[filled], together[filled]


# --- the smallest divergence ---------------------------------------------------------------------------


def entropy(x, bits=8, *, symmetric=True, axis=None):
    """The range whose integers keep most of what a histogram tells, by Kullback–Leibler divergence.

        low = max(−T, min x)        high = min(T, max x)        T by `best_cut` of the histogram of |x|, in 2048 bins

    The integers have 2^(b−1) levels for |x|; an affine line on numbers of one sign, as after a ReLU, has 2^b. It was
    made for 8 bits. With 3, it may cut right behind a value that very many numbers have, such as what a convolution
    makes of an empty background: `tests/benchmarks/calibration.py` shows it.

    Shapes: x (..., C, ...), float32 or float64, with C at `axis` -> low, high (C,); () when axis is None. The search
            runs on the host, some 0.05 s for each channel. It needs tens of thousands of numbers: a bin that holds one
            tells nothing.
    Raises: ValueError for bits outside 2..10, or on NaN and Inf; DtypeError and ShapeError as `min_max`.
    Source: Migacz (2017), "8-bit Inference with TensorRT", GTC 2017, "Entropy Calibration – pseudocode".
    Differs: zeros are not counted: they come back as 0 whatever the range, and after a ReLU they would outweigh all
            else. T is the end of the last bin that is kept, not half a bin beyond. Each end is drawn in to the
            numbers, and bits other than 8 have as many levels as they have.
    """
    check_bits(bits)

    def of_row(row):
        least, most = float(row.min()), float(row.max())
        sizes = abs(row[row != 0]).astype(np.float64)
        if not sizes.size:
            return 0.0, 0.0
        largest = sizes.max()
        place = np.minimum((sizes * (N_BINS / largest)).astype(np.int64), N_BINS - 1)
        cut = best_cut(np.bincount(place, minlength=N_BINS), n_levels(bits, symmetric, least, most))
        return cut_ends(cut * largest / N_BINS, least, most)

    return _by_channel(x, axis, of_row)


def n_levels(bits, symmetric, least, most):
    """How many integers there are for magnitudes: all on an affine line of numbers of one sign, else half."""
    return 2**bits if not symmetric and (least >= 0 or most <= 0) else 2 ** (bits - 1)


def cut_ends(threshold, least, most):
    """The range ±threshold, drawn in to the numbers."""
    return max(-threshold, least), min(threshold, most)


def best_cut(counts, n_levels):
    """After how many bins to cut a histogram of magnitudes, so that `n_levels` integers lose least of it.

        P = c_0 … c_(i−2), c_(i−1) + all beyond        what clipping at bin i makes of the numbers
        Q = c_0 … c_(i−1), merged into n_levels runs, each spread again over its bins that hold any
        minimise over i = n_levels … n    Σ P log(P / Q)         both divided by their sums

    Few bins: much is clipped, and P has a peak at its end that Q lacks. Many bins: each level merges more of them.

    Shapes: counts (n,), from 0 outwards -> the number i of bins that are kept; up to the last that holds any if no more
            than n_levels do.
    Source: as `entropy`.
    Differs: n_levels of the bins that are kept hold some. With fewer there is nothing to merge, and a single one, as
            a cut through the first of an image's 255 greys leaves it, would have no divergence at all.
    """
    counts = np.trim_zeros(np.asarray(counts, np.float64), "b")
    total, inside, filled = counts.sum(), np.cumsum(counts), counts > 0
    best, smallest = len(counts), np.inf
    for i in np.flatnonzero(filled)[n_levels - 1 :] + 1:  # at an empty bin, P is not 0 and Q is: infinite
        level = np.arange(i) * n_levels // i
        held = np.bincount(level, weights=filled[:i])
        spread = (np.bincount(level, weights=counts[:i]) / np.maximum(held, 1))[level][filled[:i]] / inside[i - 1]
        p = counts[:i][filled[:i]] / total
        p[-1] += 1 - inside[i - 1] / total
        divergence = float(p @ np.log(p / spread))
        best, smallest = (i, divergence) if divergence < smallest else (best, smallest)
    return int(best)


def _by_channel(x, axis, search):
    """The range of each channel by a search on the host, as arrays beside x."""
    low, _ = min_max(x, axis=axis)  # refuses what has no range
    there = backend.to_host(x)
    rows = [there.reshape(-1)] if axis is None else np.moveaxis(there, axis, 0).reshape(there.shape[axis], -1)
    ends = np.array([search(row) for row in rows], x.dtype).T.reshape(2, *low.shape)
    ends = backend.to_device(ends, backend.device_of(x).name)
    return ends[0], ends[1]

"""The best k-means there is, on a line: by dynamic programming. And how near Lloyd's steps come to it.

Start with these three: `exact_kmeans`; `share.lloyd`, from a start to the bottom of its valley; `compare_starts`, the
table of all starts.

    exact_kmeans(model.get("fc1.weight").data.reshape(-1), 16)
"""

import numpy as np

from tinyopt.compress.kmeans_starts import START
from tinyopt.compress.share import check_values, lloyd


def exact_kmeans(values, k):
    """Group numbers into k clusters with the smallest sum of squared distances that is possible.

        E[m, j] = min over i of  E[m − 1, i] + cost(i, j)        E[1, j] = cost(0, j)
        cost(i, j) = Σ x² − (Σ x)² / n   over x[i:j], sorted     (the squared distances to their mean)

    In sorted numbers every cluster of the best grouping is one piece: so the first j numbers in m clusters are
    the best m − 1 clusters of the first i, and the piece from i to j. Running sums give each cost at once. And the
    best i never goes back when j goes on, so that knowing it for every second j bounds it for those between:
    n log n costs for each m, instead of n².

    Shapes: values (n,) -> centroids (K,) in ascending order, labels (n,), as `kmeans`; K = k, or the number of
            distinct values if that is smaller.
    Units:  4 · K · n bytes for the table of choices, n the number of distinct values; 235,200 weights in 16 clusters
            take some seconds.
    Raises: ValueError as `kmeans`.
    Source: Wang & Song (2011), "Ckmeans.1d.dp: Optimal k-means Clustering in One Dimension by Dynamic
            Programming", The R Journal 3(2); Grønlund, Larsen, Mathiasen, Nielsen, Schneider & Song (2017),
            "Fast Exact k-Means, k-Medians and Bregman Divergence Clustering in 1D", arXiv:1701.07204, Section 2
            (n log n by divide and conquer).
    """
    check_values(values, k)
    x, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    k = min(int(k), len(x))
    cost = _cost_of_pieces(x.astype(np.float64), counts)
    ends = np.arange(len(x) + 1)
    errors, begins = cost(np.zeros_like(ends), ends), []  # (n + 1,): E[1, j]
    for m in range(2, k + 1):
        errors, begin = _next_row(errors, cost, m)
        begins.append(begin)
    cuts, j = [], len(x)
    for begin in reversed(begins):  # walk back from the end: where did the last piece begin?
        j = int(begin[j])
        cuts.append(j)
    starts = np.array([0, *reversed(cuts)])
    sums = np.add.reduceat(x.astype(np.float64) * (counts / counts.max()), starts)
    centroids = sums / np.add.reduceat(counts / counts.max(), starts)
    return centroids.astype(values.dtype), np.searchsorted(starts, inverse.reshape(-1), side="right") - 1


def _cost_of_pieces(x, counts):
    """The function cost(i, j) on arrays of ends: Σ (x − mean)² over x[i:j], each number as often as it counts."""
    x = x / max(float(abs(x).max()), float(np.finfo(x.dtype).tiny))  # no square overflows
    x = x - np.average(x, weights=counts)  # running sums stay small: less is lost in their differences
    weight, first, second = (np.concatenate([[0.0], np.cumsum(counts * x**power)]) for power in (0, 1, 2))

    def cost(i, j):
        total, n = first[j] - first[i], weight[j] - weight[i]
        return np.maximum(second[j] - second[i] - total**2 / np.maximum(n, 1), 0)

    return cost


def _next_row(before, cost, m):
    """E[m, j] for all j, and the i of each: where its last piece begins. j < m cannot be: no cluster is empty.

    First the middle j, then those in the middle of its sides, and so on; all of one round at once.
    """
    n = len(before) - 1
    errors, begins = np.full(n + 1, np.inf), np.zeros(n + 1, np.int32)
    step = 1 << (n - m + 1).bit_length()
    while step:
        j = np.arange(m - 1 + step, n + 1, 2 * step)
        if len(j):
            low = np.where(j - step >= m, begins[j - step], m - 1)
            high = np.where(j + step <= n, begins[np.minimum(j + step, n)], n)
            errors[j], begins[j] = _best_between(before, cost, low, np.minimum(high, j - 1), j)
        step //= 2
    return errors, begins


def _best_between(before, cost, low, high, j):
    """For each j the smallest E[i] + cost(i, j) with low ≤ i ≤ high, and that i: the rows of all j end to end."""
    lengths = high - low + 1
    rows = np.cumsum(lengths) - lengths  # where the candidates of each j begin
    i = np.arange(lengths.sum()) + np.repeat(low - rows, lengths)
    errors = before[i] + cost(i, np.repeat(j, lengths))
    smallest = np.minimum.reduceat(errors, rows)
    hits = np.flatnonzero(errors == np.repeat(smallest, lengths))
    return smallest, i[hits[np.searchsorted(hits, rows)]]  # of equally good ones, the first


def squared_error(values, centroids, labels):
    """Σ (x[i] − c[label[i]])², in float64."""
    return float(((values.astype(np.float64) - centroids.astype(np.float64)[labels]) ** 2).sum())


def compare_starts(values, k, *, seeds=5, max_steps=100):
    """How good each start is, before and after Lloyd's steps, beside the best that is possible.

    Shapes: values (n,). Returns a row for each start and seed: {"start", "seed", "clusters", "before", "after",
            "steps"}; seed is None for the starts that draw nothing. The last row is "exact".
    Units:  before, after: squared error / squared error of the exact optimum, 1 at best (inf if that is 0 and the
            other is not); steps counts Lloyd's. "before" is the error with each number at the nearest first centroid.
    Raises: ValueError as `kmeans`, and for seeds < 1.
    """
    check_values(values, k)
    if not isinstance(seeds, (int, np.integer)) or seeds < 1:
        raise ValueError(f"seeds is how often the starts that draw are drawn, an integer of 1 or more; got {seeds!r}")
    x = np.sort(values).astype(np.float64)
    k = min(int(k), len(np.unique(x)))
    best, labels = exact_kmeans(x, k)
    optimum, rows = squared_error(x, best, labels), []
    for name, start in START.items():
        for seed in range(seeds) if name in ("random", "k-means++") else (None,):
            first = start(x, k, seed)
            nearest = np.searchsorted((first[1:] + first[:-1]) / 2, x, side="right")
            centroids, labels, steps = lloyd(x, first, max_steps=max_steps)
            after = squared_error(x, centroids, labels)
            errors = {"before": _ratio(squared_error(x, first, nearest), optimum), "after": _ratio(after, optimum)}
            rows.append({"start": name, "seed": seed, "clusters": len(centroids), **errors, "steps": steps})
    exact = {"start": "exact", "seed": None, "clusters": len(best), "before": 1.0, "after": 1.0, "steps": 0}
    return [*rows, exact]


def _ratio(error, optimum):
    if optimum == 0:
        return 1.0 if error == 0 else float("inf")
    return error / optimum

"""Where k-means begins: four ways to place the first centroids on a line.

Start with these three: `linear`; `density`; `plus_plus`. `START` has all by name. Lloyd's steps only ever go downhill, so
the start decides in which valley they end; `kmeans_exact.compare_starts` measures how far that is from the best.
"""

import numpy as np

from tinyopt import backend


def linear(x, k, rng=None):
    """Evenly from the smallest to the largest number.        c[j] = x_min + j · (x_max − x_min) / (k − 1)

    The few large weights, which matter most, get centroids of their own; in the tails some get no weight at all.

    Shapes: x (n,), ascending -> centroids (k,), ascending.
    Source: Han, Mao & Dally (2016), "Deep Compression", arXiv:1510.00149, Section 3.2.
    """
    return np.linspace(x[0], x[-1], k)


def density(x, k, rng=None):
    """At even quantiles: as many numbers around each centroid.        c[j] = quantile of x at (j + ½) / k

    Most centroids stand near zero, where most weights are, and few near the large ones.

    Shapes: x (n,), ascending -> centroids (≤ k,), ascending: equal quantiles count once.
    Source: Han, Mao & Dally (2016), "Deep Compression", arXiv:1510.00149, Section 3.2.
    """
    return np.unique(np.quantile(x, (np.arange(k) + 0.5) / k))


def random(x, k, rng=None):
    """Distinct values of x, all equally likely (Forgy's start).

    Shapes: x (n,), ascending -> centroids (k,), ascending; fewer if x has fewer distinct values.
    Source: Han, Mao & Dally (2016), "Deep Compression", arXiv:1510.00149, Section 3.2.
    """
    distinct = np.unique(x)
    return np.sort(backend.generator(rng).choice(distinct, min(k, len(distinct)), replace=False))


def plus_plus(x, k, rng=None):
    """k-means++: draw each centroid far from those that are there already.

        P(x[i]) = d[i]² / Σ d²        d[i] = distance from x[i] to the nearest centroid so far

    The expected error, before any step of Lloyd's, is at most 8 (ln k + 2) times the smallest there is.

    Shapes: x (n,), ascending -> centroids (k,), ascending; fewer if x has fewer distinct values.
    Start:  the first is any of the n numbers, all equally likely.
    Source: Arthur & Vassilvitskii (2007), "k-means++: The Advantages of Careful Seeding", SODA, Section 2.2 and
            Theorem 1.1.
    """
    rng = backend.generator(rng)
    chosen = [rng.choice(x)]
    distance = abs(x - chosen[0])
    while len(chosen) < k and distance.max() > 0:
        weight = (distance / distance.max()) ** 2  # so that no square over- or underflows as a whole
        chosen.append(rng.choice(x, p=weight / weight.sum()))
        distance = np.minimum(distance, abs(x - chosen[-1]))
    return np.sort(np.array(chosen))


START = {"linear": linear, "density": density, "random": random, "k-means++": plus_plus}

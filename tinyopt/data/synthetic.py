"""Small problems whose nature is known: to draw, to test on, to fit in a blink.

Each returns (x, y): float32 inputs, and int64 classes or float32 targets, in random order.
"""

import math

import numpy as np

from tinyopt import backend


def two_moons(n, noise=0.1, rng=None):
    """Draw points on two half circles that reach into each other: no straight line parts them.

        class 0: (cos t, sin t)        class 1: (1 − cos t, ½ − sin t)        t uniform in [0, π)

    Shapes: x (n, 2), y (n,); class 0 has n // 2 points.
    Units:  noise is the standard deviation of what is added to each coordinate.
    """
    rng = backend.generator(rng)
    y = rng.permutation(np.arange(n) >= n // 2).astype(np.int64)
    t = rng.uniform(0, math.pi, n)
    sign = 1 - 2 * y  # +1, −1
    x = np.stack([y + sign * np.cos(t), y / 2 + sign * np.sin(t)], axis=1)  # (n, 2)
    return _noisy(x, noise, rng), y


def spirals(n, n_classes=3, noise=0.02, rng=None):
    """Draw points on spiral arms, one for each class, that wind once around each other.

        x = r · (cos a, sin a),    a = 2π (c / n_classes + r),    r uniform in [0.1, 1)

    Shapes: x (n, 2), y (n,); class sizes differ by at most 1.
    Units:  noise is the standard deviation of what is added to each coordinate.
    """
    rng = backend.generator(rng)
    y = rng.permutation(np.arange(n) % n_classes)
    r = rng.uniform(0.1, 1, n)
    a = 2 * math.pi * (y / n_classes + r)
    return _noisy(np.stack([r * np.cos(a), r * np.sin(a)], axis=1), noise, rng), y.astype(np.int64)


def linear_regression(n, weight=(2.0, -1.0), bias=0.5, noise=0.1, rng=None):
    """Draw targets that are linear in the inputs but for noise: what a fit should find is known.

        y = x · weight + bias + noise · e        x, e standard normal

    Shapes: weight (D,) -> x (n, D), y (n, 1): as Linear(D, 1) returns it.
    """
    rng = backend.generator(rng)
    weight = np.asarray(weight, dtype=np.float64)
    x = rng.standard_normal((n, len(weight)))
    y = x @ weight[:, np.newaxis] + bias  # (n, D) @ (D, 1) -> (n, 1)
    return x.astype(np.float32), _noisy(y, noise, rng)


def _noisy(x, noise, rng):
    return (x + noise * rng.standard_normal(x.shape)).astype(np.float32)

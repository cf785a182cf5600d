"""Numbers for tests of exercises, and a slow slope."""

import numpy as np

from tinyopt.tensor import Tensor


def normal(*shape, seed=1):
    """Standard normal numbers, rounded so that a message is short; none near 0; frozen, as the engine's are."""
    x = np.random.default_rng(seed).normal(size=shape).round(2)
    x = np.where(abs(x) < 0.1, 0.5, x)
    x.setflags(write=False)
    return x


def leaf(numbers):
    """A tensor to differentiate by, in float64, so that numbers by hand come out to the last digit."""
    return Tensor(np.array(numbers, dtype=float), requires_grad=True)


def central(f, x, g, h=1e-5):
    """The slow oracle: `slope(index)` is the central difference of Σ g · f(x) in one entry of x."""

    def slope(index):
        up, down = x.copy(), x.copy()
        up[index] += h
        down[index] -= h
        return float((g * (f(up) - f(down))).sum() / (2 * h))

    return slope

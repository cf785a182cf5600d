"""What the tests of lesson 1 and its notebook share: the references of 1.1 and 1.5, and a few helpers."""

import numpy as np

from tinyopt import Tensor, ops


def normal(*shape, seed=1):
    """Standard normal numbers, rounded so that a message is short, and none near 0."""
    x = np.random.default_rng(seed).normal(size=shape).round(2)
    x = np.where(abs(x) < 0.1, 0.5, x)
    x.setflags(write=False)  # the engine's arrays are frozen too
    return x


def central(f, x, g, h=1e-5):
    """The slow oracle: `slope(index)` is the central difference of Σ g · f(x) in one entry of x."""

    def slope(index):
        up, down = x.copy(), x.copy()
        up[index] += h
        down[index] -= h
        return float((g * (f(up) - f(down))).sum() / (2 * h))

    return slope


def predict():
    """What the package finds for L = (w·x + b − t)² at w = 3, x = 2, b = 1, t = 5."""
    w, x, b = (Tensor(number, requires_grad=True) for number in (3.0, 2.0, 1.0))
    loss = (w * x + b - 5.0) ** 2
    loss.backward()
    return tuple(t.grad.item() for t in (w, b, x))


def almost_softmax(x):
    """A friend's rule for softmax along the last axis. The value is right; the pullback is not."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    y = e / e.sum(axis=-1, keepdims=True)
    return y, (lambda g: y * (g - g.mean(axis=-1, keepdims=True)),)


def witness():
    """Scores x and an incoming gradient g on which the friend's rule is wrong."""
    scores = np.array([2.0, 0.0, -1.0])  # not all alike, so y is not 1/3 everywhere
    incoming = np.array([1.0, 0.0, 0.0])  # not constant, so g minus its mean is not 0
    return scores, incoming


def both(x, g):
    """The friend's gradient, and the right one."""
    x, g = np.array(x, dtype=float), np.array(g, dtype=float)
    return almost_softmax(x)[1][0](g), ops.softmax.rule(x)[1][0](g)


def leaf(number):
    return Tensor(np.array(number), requires_grad=True)

"""What the tests of lesson 4 and its notebook share: a walk by hand, slow loops, and two references."""

import functools
import math

import numpy as np

from tinyopt import losses, optim
from tinyopt.course import recognise, same
from tinyopt.course.draws import leaf
from tinyopt.course.reach import installed


def frozen(numbers, dtype=float):
    """An array that cannot be written to, as gradients and weights in the engine."""
    array = np.array(numbers, dtype=dtype)
    array.setflags(write=False)
    return array


def descend(optimizer, gradient, steps):
    """Walk without a network: before each step, the first parameter is given gradient(theta).

    Shapes: -> (steps + 1, *theta.shape), theta at the start and after each step.
    """
    p = optimizer.params[0]
    path = [p.data]
    for _ in range(steps):
        p.grad = frozen(gradient(p.data), p.dtype)
        optimizer.step()
        path.append(p.data)
    return np.array(path)


def follow(optimizer, gradients):
    """The same walk, on gradients that are known in advance: a list of them, one a step."""
    rest = iter(gradients)
    return descend(optimizer, lambda theta: np.broadcast_to(next(rest), theta.shape), len(gradients))


def typical_sizes(net, batches):
    """The root of the mean of g² over all batches, for each weight: a flat array for each parameter."""
    squares, parameters = [], list(net.parameters())
    for images, labels in batches:
        losses.cross_entropy(net(images), labels).backward()
        squares.append([p.grad.ravel() ** 2 for p in parameters])
        for p in parameters:
            p.grad = None
    return [np.sqrt(np.mean(parts, axis=0)) for parts in zip(*squares)]


def draw_path(ax, height, path, colour):
    """A path of two weights, above lines of equal height."""
    x, y = np.meshgrid(np.linspace(-9, 3, 120), np.linspace(-2.2, 2.2, 80))
    ground = height(np.stack([x, y], axis=-1))
    ax.contour(x, y, ground, levels=np.geomspace(0.3, 90, 9), colors="0.8", linewidths=0.7, zorder=0)
    ax.plot(path[:, 0], path[:, 1], ".-", ms=3, lw=0.9, color=colour)
    ax.plot(0, 0, "k+")
    ax.set(xlim=(-9, 3), ylim=(-2.2, 2.2))


RATES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0)  # the learning rates to choose from, in valleys


def steps_needed(kind, settings, turn, steps=500, kappa=100):
    """Steps down a valley, turned by an angle, to a thousandth of the loss and never above it again.

    The median over 20 starting points at one height; the best rate of RATES; `steps` if none is enough.
    """
    angles = np.random.default_rng(0).uniform(0, 2 * np.pi, 20)
    axes = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    starts = np.stack([10 * np.cos(angles), 10 / np.sqrt(kappa) * np.sin(angles)], axis=1) @ axes.T
    curvature = axes @ np.diag([1.0, kappa]) @ axes.T
    best = steps
    for lr in RATES:
        with np.errstate(all="ignore"):  # rates that are too large overflow
            path = descend(kind([leaf(starts)], lr=lr, **settings), lambda theta: theta @ curvature, steps)
            loss = ((path @ curvature) * path).sum(axis=-1)  # (steps + 1, 20)
            high = ~(np.median(loss / loss[0], axis=1) < 1e-3)
        best = min(best, int(np.flatnonzero(high)[-1]) + 1)
    return best


def slow_adam(gradients, lr, beta1, beta2, eps):
    """What Adam subtracts at each step, for ONE weight: plain numbers, one step after the other."""
    m, v, steps = 0.0, 0.0, []
    for t, g in enumerate(gradients, start=1):
        m = beta1 * m + (1 - beta1) * g  # an average of the gradients
        v = beta2 * v + (1 - beta2) * g * g  # an average of their squares
        m_hat = m / (1 - beta1**t)  # both averages began at 0: this undoes it
        v_hat = v / (1 - beta2**t)
        steps.append(lr * m_hat / (math.sqrt(v_hat) + eps))
    return steps


def predict():
    """Where SGD with momentum is after 1, 2, 3 steps on L = ½ θ², and Adam after 1, 2 gradients of −300."""
    momentum = optim.SGD([leaf(8.0)], lr=0.5, momentum=0.5)
    adam = optim.Adam([leaf(2.0)], lr=0.1)
    ball, each = descend(momentum, lambda theta: theta, 3), follow(adam, [-300.0, -300.0])
    return tuple(float(theta) for theta in (*ball[1:], *each[1:]))


def witness():
    """Three gradients whose sum is positive, but whose signs have a negative majority."""
    return 4.0, -1.0, -1.0


def climbs(gradients, rounds=100):
    """How far RMSprop with the short memory alpha = 0.01 moves up on these gradients, again and again."""
    optimizer = optim.RMSprop([leaf(0.0)], lr=0.01, alpha=0.01)
    return float(follow(optimizer, list(gradients) * rounds)[-1])


# --- for the tests ---


def in_engine(ex):
    """As ex.installed(), for a method: only a function in a class is given its self."""
    return installed(ex.exercise.reference, lambda *given: ex.function(*given))


name_it = functools.partial(recognise, rtol=1e-4, atol=1e-12)  # numbers with five digits, some of them tiny


def three_steps(memory, slope=lambda theta: theta):
    """θ after each of three steps from 8, lr = 0.5; `memory(b, g)` gives the new b."""
    theta, b, path = 8.0, 0.0, []
    for _ in range(3):
        b = memory(b, slope(theta))
        theta -= 0.5 * b
        path.append(theta)
    return path


BALLS = {
    "That is plain gradient descent: it forgets. b keeps half of its old value: b ← 0.5·b + g.":
        three_steps(lambda b, g: g),
    "You average: b ← 0.5·b + 0.5·g. Here g is added as it is: b ← 0.5·b + g.":
        three_steps(lambda b, g: 0.5 * b + 0.5 * g),
    "You took g = 8 in every step. The gradient is θ, so it changes as θ moves.":
        three_steps(lambda b, g: 0.5 * b + g, slope=lambda theta: 8.0),
    "Your memory never fades: b ← b + g. It keeps only half: b ← 0.5·b + g.":
        three_steps(lambda b, g: b + g),
    "You let the ball stop where the gradient is 0. The memory b is not 0 there: θ ← θ − lr·b moves on.":
        three_steps(lambda b, g: 0.5 * b + g if g else 0.0),
}  # fmt: skip
ADAMS = {
    "Adam divides by the size of the gradient. A step of 0.1 · 300 is that of gradient descent.": (32, 62),
    "The gradient is −300. Downhill is the other way: θ grows.": (1.9, 1.8),
    "That is Adam without the correction of m and v for their start at 0.": (2.31623, 2.74),
}


def directions(ex, gradients, **settings):
    """What the answer follows at each step, and its memory after each."""
    optimizer = optim.SGD([leaf(gradients[0])], lr=0.3, **settings)
    state, came, kept = {"b": np.zeros_like(gradients[0])}, [], []
    for t, g in enumerate(gradients, start=1):
        came.append(np.array(ex(optimizer, frozen(g), state, t), dtype=float))
        same(np.shape(came[-1]), np.shape(g), "the shape of what you return")
        kept.append(state["b"] if state["b"] is Ellipsis else np.array(state["b"], dtype=float))
    return np.array(came), kept


def fading_sums(gradients, momentum):
    """The oracle, without a memory: after step t it is Σ momentum^(t − s) · g_s over all s ≤ t."""
    return np.array(
        [sum(momentum ** (t - s) * gradients[s] for s in range(t + 1)) for t in range(len(gradients))]
    )


def adapted(ex, gradients, dtype=float, **settings):
    """What the answer subtracts at each step, and its state after the last."""
    optimizer = optim.Adam([leaf(gradients[0])], **settings)
    zeros = np.zeros_like(gradients[0], dtype=dtype)
    state, came = {"m": zeros.copy(), "v": zeros.copy()}, []
    for t, g in enumerate(gradients, start=1):
        with np.errstate(all="ignore"):
            came.append(np.array(ex(optimizer, frozen(g, dtype), state, t)))
        same(came[-1].shape, np.shape(g), "the shape of what you return")
    return np.array(came), state


def slow(gradients, lr, betas, eps):
    """The oracle: the loop for one weight, run for each of them."""
    return np.array([slow_adam(column, lr, *betas, eps) for column in np.transpose(gradients)]).T


THETA = np.array([2.0, -1.0, 0.5])


def one_update(ex, g, **settings):
    """θ after the first step of the answer."""
    optimizer = optim.AdamW([leaf(THETA)], **{"lr": 0.1, "weight_decay": 0.2} | settings)
    came = ex(optimizer, frozen(THETA), frozen(g), {"m": np.zeros(3), "v": np.zeros(3)}, 1)
    same(np.shape(came), (3,), "the shape of the new theta")
    return np.array(came, dtype=float)

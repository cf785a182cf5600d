"""What the tests of lesson 2 and its notebook share: references of 2.1 and 2.5, slow oracles, drawings."""

import numpy as np

from tinyopt import Tensor, data, losses, optim
from tinyopt.course.draws import leaf


def loader(n=30, shuffle=True, seed=0):
    """A loader of n samples; what they hold does not matter."""
    numbers = np.zeros((n, 1), np.float32)
    return data.DataLoader((numbers, numbers), shuffle=shuffle, seed=seed)


def one_step(w, x, y, lr):
    """What the package makes of one weight after one step on the examples x, y, and the gradient."""
    p = leaf([[w]])
    optimizer = optim.GD([p], lr=lr)
    losses.mse_loss(Tensor(column(x)) @ p, Tensor(column(y))).backward()
    g = p.grad.item()
    optimizer.step()
    return p.item(), g


def column(numbers):
    return np.array(numbers, dtype=float).reshape(-1, 1)


def predict():
    """What the package finds for exercise 2.1: examples (1, 2) and (3, 2), w = 3, lr = 0.05."""
    x, y = [1, 3], [2, 2]
    gd_1, g_0 = one_step(3.0, x, y, 0.05)
    gd_2, g_1 = one_step(gd_1, x, y, 0.05)
    curvature = (g_0 - g_1) / (3.0 - gd_1)  # of a parabola: how much the slope changes for each unit of w
    alone = [one_step(3.0, [x[i]], [y[i]], 0.05)[0] for i in range(2)]
    return gd_1, gd_2, *alone, 2 / curvature


def slow_gradient(x, y, w):
    """∂L/∂w of L = mean of (x·w − y)²: one example after the other, one weight after the other."""
    n_examples, n_weights = len(x), len(w)
    gradient = [0.0] * n_weights
    for i in range(n_examples):
        prediction = sum(x[i][j] * w[j] for j in range(n_weights))
        error = prediction - y[i]
        for j in range(n_weights):
            gradient[j] += 2 * error * x[i][j] / n_examples
    return np.array(gradient, dtype=float)


def quick_sgd(x, y, lr, steps, batch_size, seed=0, schedule=None, first=0.0):
    """SGD on a linear regression without the engine: w at the start and after each step, (steps + 1, D).

    In each minibatch the gradient is (2/B) Xᵀ(Xw − y); `schedule(t)` multiplies lr in step t = 1, 2, …
    """
    loader = data.DataLoader((x, y), batch_size, shuffle=True, seed=seed)
    w, epoch = np.full((x.shape[1], 1), first), 0
    path = [w]
    while len(path) <= steps:
        order = loader.order(epoch)
        for start in range(0, len(x), batch_size):
            rows = order[start : start + batch_size]
            inputs = x[rows]
            rate = lr * schedule(len(path)) if schedule else lr
            w = w - rate * 2 / len(rows) * (inputs.T @ (inputs @ w - y[rows]))
            path.append(w)
        epoch += 1
    return np.array(path[: steps + 1])[:, :, 0]


def smooth(values, n=50):
    """The mean of n steps in a row."""
    return np.convolve(values, np.ones(n) / n, mode="valid")


# --- 2.5 -------------------------------------------------------------------------------------------

FRIEND = np.array([1.0, 2.0, -1.0]), np.array([2.0, 4.0, -2.0])  # x and y: every example says w = 2


def one_at_a_time(x, y, lr=0.1, passes=300, seed=0):
    """SGD with batches of one example, one weight, a constant lr: w after each step, from w = 0."""
    rng, w, path = np.random.default_rng(seed), 0.0, []
    for _ in range(passes):
        for i in rng.permutation(len(x)):
            w -= lr * 2 * (w * x[i] - y[i]) * x[i]
            path.append(w)
    return np.array(path)


def witness():
    """Three examples on which SGD with lr = 0.1 never comes to rest: they want different weights."""
    x = np.array([1.0, 2.0, -1.0])
    return x, x * np.array([2.0, 3.0, -4.0])


# --- wrong ways ------------------------------------------------------------------------------------


def mean_error_matmul(x, w):
    """A rule for x @ w whose pullback forgets Xᵀ: every weight is given the sum of all errors."""
    return x @ w, (lambda g: g @ w.T, lambda g: np.ones_like(w) * g.sum(axis=0))


def keep_one(net, rng):
    """Set the gradient of all but one random weight to 0, and that of the bias."""
    kept = np.zeros_like(net.weight.grad)
    kept.flat[rng.integers(kept.size)] = 1
    net.weight.grad, net.bias.grad = net.weight.grad * kept, net.bias.grad * 0


def coordinates(x, y, budget, keep_errors, seed=0):
    """Move one random weight at a time, to the minimum along it; all N examples are read for each.

    `keep_errors`: Xw − y is kept up to date (N multiply-adds for each move), not computed afresh (N·D).
    Returns multiply-adds so far, and w, after each move.
    """
    (n, d), rng = x.shape, np.random.default_rng(seed)
    w, spent, costs, path = np.zeros((d, 1)), 0, [0], [np.zeros((d, 1))]
    errors, squares = -y, (x**2).sum(axis=0)
    while spent < budget:
        j = rng.integers(d)
        if not keep_errors:
            errors = x @ w - y
        move = -(x[:, j] @ errors[:, 0]) / squares[j]
        w[j] += move
        if keep_errors:
            errors = errors + move * x[:, j : j + 1]
        spent += 2 * n if keep_errors else n * d + n
        costs.append(spent)
        path.append(w.copy())
    return np.array(costs), np.array(path)


def wide_problem(n=1000, d=20):
    """A linear regression whose inputs depend on each other: x (n, d), y (n, 1)."""
    rng = np.random.default_rng(3)
    mix = rng.normal(size=(d, d)) / d**0.5 + np.eye(d)
    x = rng.normal(size=(n, d)) @ mix
    return x, x @ rng.normal(size=(d, 1)) + 0.5 * rng.normal(size=(n, 1))


# --- drawings --------------------------------------------------------------------------------------


def loss_of(x, y, weights):
    """The mean squared error for many weight vectors at once: weights (..., D) -> (...)."""
    flat = np.asarray(weights, dtype=float).reshape(-1, x.shape[1])  # (n, D)
    second = x.T @ x / len(x)  # Σ over examples of x xᵀ, / N: the loss is a parabola in w
    cross, rest = (x.T @ y / len(x))[:, 0], (y**2).mean()
    values = np.einsum("ni,ij,nj->n", flat, second, flat) - 2 * flat @ cross + rest
    return values.reshape(np.shape(weights)[:-1])


def draw_valley(ax, x, y, path, colour, best, box=(-1.5, 3.5, -3.5, 0.3)):
    """A path of two weights (n, 2), above lines of equal loss."""
    a, b = np.meshgrid(np.linspace(*box[:2], 120), np.linspace(*box[2:], 120))
    ground = loss_of(x, y, np.stack([a, b], axis=-1)) - loss_of(x, y, best.T)
    ax.contour(a, b, ground, levels=np.geomspace(0.03, 30, 10), colors="0.8", linewidths=0.7, zorder=0)
    ax.plot(path[:, 0], path[:, 1], ".-", ms=4, lw=0.9, color=colour)
    ax.plot(*best[:, 0], "k+", ms=9)
    ax.set(xlim=box[:2], ylim=box[2:], xlabel="weight 1")


def draw_errors(axes, x, errors, colour, title):
    """Each input against the errors, and the best line through (0, 0): its slope is 0 where ∂L/∂w is."""
    for j, ax in enumerate(axes):
        gradient = 2 * (errors[:, 0] * x[:, j]).mean()
        ax.plot(x[:, j], errors, ".", ms=3, color=colour)
        ax.axline((0, 0), slope=gradient / 2 / (x[:, j] ** 2).mean(), color="k", lw=1)
        shown = round(float(gradient), 2) + 0.0  # + 0.0 makes 0 of −0
        ax.set(xlabel=f"input {j + 1}", title=f"{title}\n∂L/∂w{'₁₂'[j]} = {shown:.2f}")


def draw_weights(axes, weight):
    """The weights of each class as a picture: weight (10, 64)."""
    limit = abs(weight).max()
    for digit, ax in enumerate(axes):
        ax.imshow(weight[digit].reshape(8, 8), cmap="RdBu_r", vmin=-limit, vmax=limit)
        ax.set(xticks=[], yticks=[], title=str(digit))
        ax.spines[:].set_visible(False)

"""Lesson 3, the multi-layer perceptron: the source of lesson.ipynb; see tinyopt/course/percent.py."""

# %% [markdown]
# # 3 · The MLP: what a hidden layer buys, and when it hurts
#
# **The question.** Two groups of points lie like two moons that reach into each other. A straight line cannot
# part them. A network with one hidden layer can. **What does the hidden layer do that a line cannot? And if
# some hidden units are good, are more always better?**
#
# - **You need:** lessons 1 and 2: gradients, pullbacks, SGD; matrix products in NumPy.
# - **You will write:** a forward and a backward step by hand, the rules of `linear`, `log_softmax` and
#   `dropout`.
# - **Time:** about 120 minutes.
#
# Run the cells from top to bottom. Where an exercise is still empty, the package's own function works for
# you.

# %%
import inspect

import matplotlib.pyplot as plt
import numpy as np

from tinyopt import Tensor, data, losses, measure, nn, no_grad, ops, optim, substitute
from tinyopt.course import STYLE, start
from tinyopt.course.lessons import find, load
from tinyopt.errors import ShapeError  # for exercise 3.2
from tinyopt.ops.rule import check_floats  # for exercise 3.2
from tinyopt.train import fit

check, hint, reveal, yours = start(3)
material = load(find(3) / "material.py")
plt.rcParams.update(STYLE)

# %% [markdown]
# A **multi-layer perceptron** (MLP) is a chain: linear layer, ReLU, linear layer, ReLU, ..., linear layer.
# What lies between two linear layers is a **hidden layer**; its numbers are **hidden units**. `mlp(2, 8, 2)`
# below has 2 inputs, 8 hidden units and 2 outputs; `mlp(2, 2)` has no hidden layer: it can only draw a
# straight line.


# %%
def mlp(*sizes, seed=0, dropout=0.0):
    """Linear layers of these sizes, with ReLU (and dropout) between them."""
    rng = np.random.default_rng(seed)
    layers = [nn.Flatten()]
    for i, (n_in, n_out) in enumerate(zip(sizes, sizes[1:])):
        if i > 0:
            layers += [nn.ReLU()] + ([nn.Dropout(dropout, rng=rng)] if dropout else [])
        layers.append(nn.Linear(n_in, n_out, rng=rng))
    return nn.Sequential(*layers)


def train(net, part, epochs, batch_size=50, lr=0.1, weight_decay=0.0, val=None, **settings):
    """Train with SGD and momentum; the history has one row an epoch."""
    optimizer = optim.SGD(net.parameters(), lr=lr, momentum=0.9, weight_decay=weight_decay)
    settings = {"optimizer": optimizer, "progress": False, **settings}
    return fit(net, (part, val), epochs=epochs, batch_size=batch_size, **settings)


moons, fresh = data.two_moons(60, noise=0.25, rng=1), data.two_moons(1000, noise=0.25, rng=2)
moon_nets = {}
for name, sizes in (("no hidden layer", (2, 2)), ("2 hidden units", (2, 2, 2)),
                    ("8 hidden units", (2, 8, 2)), ("256 hidden units", (2, 256, 2))):  # fmt: skip
    moon_nets[name] = mlp(*sizes)
    train(moon_nets[name], moons, epochs=600, batch_size=60, lr=0.3)

# %% [markdown]
# Each net saw the same 60 points. The colour is what it says about every place: red for the one class, blue
# for the other, pale where it is not sure. `fresh` are 1,000 points that no net has seen.

# %%
grid = np.stack(np.meshgrid(np.linspace(-1.8, 2.8, 120), np.linspace(-1.3, 1.8, 100)), axis=-1)
figure, axes = plt.subplots(1, 4, figsize=(11, 3.1), layout="constrained", sharey=True)
for ax, (name, net) in zip(axes, moon_nets.items()):
    with no_grad():
        probability = ops.softmax(net(grid.reshape(-1, 2).astype(np.float32))).numpy()[:, 1]
    area = (grid[..., 0], grid[..., 1], probability.reshape(100, 120), np.linspace(0, 1, 11))
    ax.contourf(*area, cmap="RdBu", vmin=-0.6, vmax=1.6)
    ax.scatter(*moons[0].T, c=moons[1], cmap="RdBu", edgecolors="w", s=24, linewidths=0.7)
    seen, new = measure.evaluate(net, moons), measure.evaluate(net, fresh)
    ax.set(title=f"{name}\n60 points {seen.accuracy:.0%}, fresh {new.accuracy:.0%}", xticks=[], yticks=[])
    ax.set_xlabel(f"loss: 60 points {seen.loss:.2f}, fresh {new.loss:.2f}", fontsize=9)
plt.show()

# %% [markdown]
# Three things to see. The line fails. Eight hidden units follow the moons. And 256 units are sure of
# *everything*: they bend around single points. On fresh points they name about as many correctly as 8 units
# do. But their **loss** there is even above that of the line: when they are wrong, they are wrong with great
# certainty.
#
# ## By hand: two ReLUs solve XOR
#
# The smallest problem without a straight line has four points. XOR: the answer is 1 if *exactly one* input is
# 1.
#
# Why can no linear function f(x) = w·x + b do it? Put the corners in: f(0,0) + f(1,1) = w₁ + w₂ + 2b, and
# f(0,1) + f(1,0) = w₁ + w₂ + 2b. The two sums are always equal. But XOR wants 0 + 0 for the one and 1 + 1 for
# the other.
#
# Two hidden units are enough:
#
#     h₁ = relu(x₁ + x₂)        h₂ = relu(x₁ + x₂ − 1)        y = h₁ − 2 h₂
#
# | x₁ x₂ | h₁ | h₂ | y |
# |---|---|---|---|
# | 0 0 | 0 | relu(−1) = 0 | **0** |
# | 0 1 and 1 0 | 1 | relu(0) = 0 | **1** |
# | 1 1 | 2 | relu(1) = 1 | 2 − 2 = **0** |
#
# The hidden layer **moves the points**: in the plane of h₁ and h₂ a line can part them.

# %%
corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=np.float32)
answers = np.array([0, 1, 1, 0])
w1, b1, w2 = np.array([[1, 1], [1, 1]]), np.array([0, -1]), np.array([1, -2])
hidden = np.maximum(corners @ w1.T + b1, 0)  # (4, 2)
print("y =", hidden @ w2, " due", answers)

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
for ax, points, title in ((left, corners, "the input"), (right, hidden, "after the hidden layer")):
    ax.scatter(*points.T, c=answers, cmap="RdBu", s=120, edgecolors="k", vmin=-0.3, vmax=1.3)
    ax.set(title=title, xticks=(0, 1, 2), yticks=(0, 1), xlim=(-0.4, 2.4), ylim=(-0.5, 1.5))
    for point, name in zip(points, ("(0,0)", "(0,1)", "(1,0)", "(1,1)")):
        shift = (0, {"(0,1)": -18, "(1,0)": -30}.get(name, 10) if ax is right else 10)
        ax.annotate(name, point, shift, textcoords="offset points", ha="center", fontsize=9)
left.set(xlabel="x₁", ylabel="x₂")
right.set(xlabel="h₁", ylabel="h₂")
right.plot([0, 2.4], [-0.25, 0.95], "--", color="0.4")
right.annotate("h₁ − 2 h₂ = ½", (2.0, 0.75), (1.35, 0.05), arrowprops={"arrowstyle": "->"}, fontsize=9)
plt.show()

# %% [markdown]
# ### Without the ReLU, two layers are one
#
# Leave the ReLU out, and W₂ (W₁ x + b₁) + b₂ = (W₂ W₁) x + (W₂ b₁ + b₂): again one matrix and one bias. A
# chain of linear layers is *one* linear layer, however many weights it has. Here are three layers, and the
# one that equals them:

# %%
layers = [nn.Linear(2, 50, rng=0), nn.Linear(50, 50, rng=1), nn.Linear(50, 2, rng=2)]
chain = nn.Sequential(*layers)  # 2,802 weights and biases, no ReLU
matrix, bias = np.eye(2, dtype=np.float32), np.zeros(2, dtype=np.float32)
for layer in layers:
    matrix, bias = layer.weight.data @ matrix, layer.weight.data @ bias + layer.bias.data
x = fresh[0]
print(f"largest difference of chain and matrix: {abs(chain(x).numpy() - (x @ matrix.T + bias)).max():.1e}")
train(chain, moons, epochs=600, batch_size=60, lr=0.05)
for name, net in (("three linear layers", chain), ("one linear layer", moon_nets["no hidden layer"])):
    print(f"{name:20} {measure.evaluate(net, fresh).accuracy:.1%} of the fresh points")

# %% [markdown]
# ## The whole net, forward and back, for one example
#
#     forward                                  backward
#     a = W₁ x + b₁                            ∂L/∂z = p − one-hot(label)
#     h = relu(a)                              ∂L/∂W₂ = ∂L/∂z · hᵀ      entry (c, j): ∂L/∂z[c] · h[j]
#     z = W₂ h            scores               ∂L/∂h = W₂ᵀ · ∂L/∂z
#     p = eᶻ / Σ eᶻ       softmax              ∂L/∂a = ∂L/∂h where a > 0, else 0
#     L = −ln p[label]    cross-entropy        ∂L/∂W₁ = ∂L/∂a · xᵀ
#
# **Softmax** turns scores into probabilities: all are above 0, and their sum is 1. **One-hot** is a vector
# with 1 at the label and 0 elsewhere. We derive p − one-hot below. With numbers: h = (1, 2), W₂ = [[0, 1],
# [2, 0]], label 0.
#
# - z = (0·1 + 1·2, 2·1 + 0·2) = (2, 2). Equal scores, so p = (½, ½), and L = −ln ½ = ln 2 ≈ 0.693.
# - ∂L/∂z = (½ − 1, ½ − 0) = (−½, ½): the right class should get a higher score, the other a lower one.
# - ∂L/∂W₂ = [[−½·1, −½·2], [½·1, ½·2]] = [[−½, −1], [½, 1]].
#
# ### Exercise 3.1 · predict, then compute
#
# Now you. The input is x = (1, 2), the label is 2 (the third class), and
#
#     W₁ = [[2, 1], [3, −2]]      b₁ = (−1, 0)      W₂ = [[1, 5], [1, −2], [1, 0]]
#
# Take paper. Find the hidden values h, the scores z, the loss, and ∂L/∂W₂ as a list of three rows. For the
# loss you may write `np.log(...)`. The package's ops are out of reach while your answer is checked.


# %% exercise="3.1"
def predict():
    """h, z, L and ∂L/∂W₂ of the net above: numbers, found by hand."""
    # BEGIN SOLUTION
    hidden = [3, 0]  # relu(2 + 2 − 1), relu(3 − 4 + 0)
    scores = [3, 3, 3]  # the second unit is silent
    loss = np.log(3)  # three equal scores: p = 1/3
    grad_W2 = [[1, 0], [1, 0], [-2, 0]]  # (1/3, 1/3, −2/3) times (3, 0)
    # INSTEAD
    hidden = ...
    scores = ...
    loss = ...
    grad_W2 = ...
    # END SOLUTION
    return hidden, scores, loss, grad_W2


# %% check="3.1"
check("3.1")

# %% [markdown]
# If a hidden unit is 0 for an example, the example teaches this unit nothing: its column of ∂L/∂W₂ is 0, and
# so is its row of ∂L/∂W₁. A unit that is 0 for *all* examples gets no gradient at all: a **dead ReLU**.
#
# ## The linear layer, on a batch
#
# N examples at once, one in each row: x is (N, D_in), the weight is (D_out, D_in), y = x Wᵀ + b is (N,
# D_out). The slow loops are the specification. Follow one weight W[i, j] through them: each example n uses it
# once, to carry x[n, j] to y[n, i]. So each example adds g[n, i] · x[n, j] to its gradient, with g = ∂L/∂y.


# %%
def slow_linear(x, weight, bias, g):
    """y[n, i] = Σ over j of x[n, j] · W[i, j], plus b[i]; and ∂L/∂W for the incoming gradient g."""
    y, grad_weight = np.zeros((len(x), len(weight))), np.zeros(weight.shape)
    for n in range(len(x)):  # the examples
        for i in range(len(weight)):  # the outputs
            y[n, i] = bias[i]
            for j in range(x.shape[1]):  # the inputs
                y[n, i] += x[n, j] * weight[i, j]
                grad_weight[i, j] += g[n, i] * x[n, j]
    return y, grad_weight


# %% [markdown]
# For three examples, that is a sum of three tables. In each, every row is x, times one number of g:

# %%
x = np.array([[1, 0, 2, 0], [0, 3, 1, 0], [2, 1, 0, 0]])
g = np.array([[1, -1], [2, 0], [-1, 1]])
_, total = slow_linear(x, np.zeros((2, 4)), np.zeros(2), g)
tables = [np.outer(g[n], x[n]) for n in range(3)] + [total]
figure, axes = plt.subplots(1, 4, figsize=(10.5, 1.9), layout="constrained")
for n, (ax, table) in enumerate(zip(axes, tables)):
    ax.imshow(table, cmap="RdBu_r", vmin=-7, vmax=7)
    for (row, column), number in np.ndenumerate(table):
        ax.text(column, row, f"{number:.0f}", ha="center", va="center", fontsize=12)
    ax.set(xticks=[], yticks=[], title="sum of all: ∂L/∂W")
    ax.spines[:].set_visible(False)
    if n < 3:
        ax.set(xticks=range(4), yticks=range(2), xticklabels=x[n], yticklabels=g[n], title=f"example {n}")
        ax.set(xlabel=f"x[{n}]", ylabel=f"g[{n}]")
plt.show()

# %% [markdown]
# The last input is 0 in all three examples. Its weights did nothing, and their gradient is 0. **A weight that
# carried nothing cannot be to blame.** Remember this for the wrong ways.
#
# ### Exercise 3.2 · the rule of `linear`
#
# Now without loops. Write the value and the three pullbacks, each as **one** line of NumPy. Write the shape
# beside each name first; there is often only one product that fits. (In this exercise x has two axes, and a
# bias is given.)


# %% exercise="3.2"
def linear(x, weight, bias=None):
    """y = x Wᵀ + b, and its three pullbacks.

    Shapes: x (N, D_in), weight (D_out, D_in), bias (D_out,) -> y (N, D_out); g is (N, D_out).
    """
    y = ...
    return y, (
        lambda g: ...,  # ∂L/∂x, (N, D_in)
        lambda g: ...,  # ∂L/∂weight, (D_out, D_in)
        lambda g: ...,  # ∂L/∂bias, (D_out,)
    )


# %% check="3.2"
check("3.2")

# %% [markdown]
# Is it right? Then a net for real digits, 8×8 pixels, can train on it. All of its matrix products are yours.

# %%
digits = data.digits()
with yours("3.2"):
    net = mlp(64, 32, 10)
    history = train(net, digits.train, epochs=12, val=digits.val)
print(f"loss {history[0]['loss']:.2f} → {history[-1]['loss']:.2f}, "
      f"validation accuracy {history[-1]['val_accuracy']:.1%} ± {history[-1]['val_error']:.1%}")  # fmt: skip

# %% [markdown]
# ## From scores to a loss, without overflow
#
# The loss needs log-probabilities: y_c = log(exp(x_c) / Σ eˣ) = x_c − log Σ eˣ. Written like this, it breaks.
# float32 ends at 3·10³⁸, and e⁸⁹ is already above that. In the other direction, e⁻¹¹⁰ is 0, and log 0 = −∞.

# %%
scores = np.linspace(0, 140, 281, dtype=np.float32)
pairs = np.stack([scores, 0 * scores], axis=1)  # two classes; the second is the right one
with np.errstate(all="ignore"):
    powers = np.exp(pairs)
    naive = -np.log(powers[:, 1] / powers.sum(axis=1))  # inf from about 88 on
    shifted_powers = np.exp(pairs - pairs.max(axis=1, keepdims=True))
    half = -np.log(shifted_powers[:, 1] / shifted_powers.sum(axis=1))  # inf from about 104 on
due = -ops.log_softmax(Tensor(pairs)).numpy()[:, 1]

z = np.array([2.0, 1.0, 0.0, -1.0])
p = np.exp(z) / np.exp(z).sum()
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.3), layout="constrained")
left.plot(scores, due, color="0.75", lw=6, label="log_softmax of the package")
left.plot(scores, np.where(np.isfinite(half), half, np.nan), "C1", lw=3, label="log(softmax), shifted")
left.plot(scores, np.where(np.isfinite(naive), naive, np.nan), "C3", label="log(eˣ / Σ eˣ)")
for values, colour in ((half, "C1"), (naive, "C3")):
    last = np.flatnonzero(np.isfinite(values))[-1]
    left.plot(scores[last], values[last], "x", color=colour, ms=10, mew=2)
left.set(title="the loss of one example; × is where it breaks", ylabel="loss, nats")
left.set_xlabel("score of the wrong class; the right one has 0")
left.legend(frameon=False, fontsize=9)
for n, (label, values) in enumerate((("p", p), ("one-hot", np.eye(4)[1]), ("p − one-hot", p - np.eye(4)[1]))):
    right.bar(np.arange(4) + 0.27 * (n - 1), values, 0.26, label=label)
right.axhline(0, color="k", lw=0.8)
right.set(xticks=range(4), xlabel="class; the right one is 1", title="the gradient of the scores")
right.legend(frameon=False, fontsize=9)
plt.show()

# %% [markdown]
# The remedy: softmax does not change if the same number m is taken away from all scores, because e⁻ᵐ cancels.
# Take m = the largest score. Then the largest exponent is 0 and nothing overflows. And never take the
# logarithm of a probability: write x − m − log Σ exp(x − m). The sum is at least 1, so its logarithm is
# harmless.
#
# The derivative: if x_k grows, y_k grows by 1, and *every* y_c falls by p_k, because Σ eˣ grows:
#
#     ∂y_c/∂x_k = [c = k] − p_k        p = softmax(x), and [c = k] is 1 if c = k, else 0
#
# The pullback gets g = ∂L/∂y and must give ∂L/∂x_k = Σ over c of g_c · ∂y_c/∂x_k.
#
# ### Exercise 3.3 · `log_softmax`


# %% exercise="3.3"
def log_softmax(x, *, axis=-1):
    """Scores to log-probabilities, without overflow, and the pullback.

    Shapes: x (..., C, ...) -> y, same shape; the scores of one example lie along `axis`.
    """
    y = ...

    def pullback(g):
        return ...

    return y, (pullback,)


# %% check="3.3"
check("3.3")

# %% [markdown]
# For a classifier, L = −y[label]. So g is −1 at the label and 0 elsewhere, Σ g is −1, and your pullback gives
# **p − one-hot**: the bars of the figure above. Every score is pushed by exactly the error of its
# probability. `losses.cross_entropy` does all in one op. Here we build the loss from your op, and train on
# it.


# %%
def from_log_softmax(model, images, labels):
    """The mean of −log p[label], built from `log_softmax`; returns (loss, scores)."""
    scores = model(images)
    one_hot = np.eye(10, dtype=np.float32)[labels.numpy()]
    return (ops.log_softmax(scores) * one_hot).sum() * (-1.0 / len(one_hot)), scores


with yours("3.3"):
    history = train(mlp(64, 32, 10), digits.train, epochs=12, val=digits.val, objective=from_log_softmax)
fused = train(mlp(64, 32, 10), digits.train, epochs=12)
print(f"last loss {history[-1]['loss']:.4f}; with the package's cross_entropy {fused[-1]['loss']:.4f}")

# %% [markdown]
# ## Capacity: how much can a net remember?
#
# The **capacity** of a net is how rich the functions are that it can take on; more hidden units, more
# capacity. We train nets of four widths on 150 digits, in three versions:
#
# - **true labels**;
# - **30 % wrong**: 45 of the 150 labels are replaced by another class. Real data contain such errors;
# - **random labels**: drawn by lot. There is nothing to learn. A net can only *remember* each image.
#
# The validation part always has its true labels.

# %%
few = digits.train.take(slice(0, 150))
lot = np.random.default_rng(3).integers(0, 10, size=150)
versions = {
    "true labels": few,
    "30 % wrong": material.with_wrong_labels(few, 0.3),
    "random labels": data.Part(few.images, lot),
}
figure, axes = plt.subplots(1, 9, figsize=(11, 1.6), layout="constrained")
for n, ax in enumerate(axes):
    given = versions["30 % wrong"].labels[n]
    ax.imshow(few.images[n, 0], cmap="gray_r")
    ax.set_title(f"label {given}", color="k" if given == few.labels[n] else "C3")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
figure.suptitle("the first nine of “30 % wrong”; red is wrong", fontsize=10)
plt.show()

# %%
widths, seeds = (2, 4, 16, 128), range(3)
found = {}  # version -> (widths, seeds, 4): train accuracy, train loss, val accuracy, val loss
for name, part in versions.items():
    found[name] = np.zeros((len(widths), len(seeds), 4))
    for row, width in enumerate(widths):
        for seed in seeds:
            net = mlp(64, width, 10, seed=seed)
            train(net, part, epochs=80, seed=seed)
            seen, new = measure.evaluate(net, part), measure.evaluate(net, digits.val)
            found[name][row, seed] = seen.accuracy, seen.loss, new.accuracy, new.loss


def band(ax, values, label, colour, scale=1.0):
    """The mean over the seeds, and a band from the lowest to the highest seed."""
    ax.plot(widths, scale * values.mean(axis=1), "o-", color=colour, ms=4, label=label)
    low, high = scale * values.min(axis=1), scale * values.max(axis=1)
    ax.fill_between(widths, low, high, color=colour, alpha=0.2, lw=0)


figure, axes = plt.subplots(2, 3, figsize=(10, 5), layout="constrained", sharex=True, sharey="row")
for (upper, lower), (name, values) in zip(axes.T, found.items()):
    for ax, first, scale in ((upper, 0, 100), (lower, 1, 1)):
        band(ax, values[..., first], "training", "C0", scale)
        band(ax, values[..., first + 2], "validation", "C1", scale)
    upper.axhline(10, color="0.6", ls=":", lw=1)
    upper.set(title=name, ylim=(0, 105))
    lower.set(xscale="log", yscale="log", xlabel="hidden units", xticks=widths, xticklabels=widths)
    lower.minorticks_off()
axes[0, 0].set_ylabel("accuracy, %")
axes[1, 0].set_ylabel("loss, nats")
axes[0, 2].legend(frameon=False, fontsize=9, loc=(0.02, 0.6))
axes[0, 2].text(widths[-1], 1, "dotted: guessing, 10 %", fontsize=9, ha="right", color="0.4")
plt.show()
print("mean ± deviation of 3 seeds, %; hidden units:", *widths)
for name, values in found.items():
    mean, deviation = 100 * values.mean(axis=1), 100 * values.std(axis=1)
    text = "   ".join(f"{m:5.1f} ± {d:4.1f}" for m, d in zip(mean[:, 2], deviation[:, 2]))
    print(f"validation, {name:14} {text}")

# %% [markdown]
# Read the columns from right to left.
#
# **Random labels.** The widest net remembers all 150, although there is nothing to understand. On validation
# it guesses. So a training accuracy of 100 % proves *nothing* about learning. Zhang and others found this
# with the large networks and image sets of their day.
#
# **30 % wrong.** The same power now does harm. A net that fits the wrong labels must bend around them, as the
# moons' net did. It is perfect on its training data, and names about 25 points fewer of the validation digits
# than the same net with true labels. A very small net is no remedy: it cannot learn the digits either.
#
# **True labels.** More units do *not* hurt. The widest net has 9,610 weights and biases for 150 images, fits
# all of them, and is the best on validation. Old textbooks draw a U: beyond some size, nets get worse. That
# is not what we see. Belkin and others showed that the test error can *fall again* when a net has much more
# capacity than it needs to fit its data.
#
# So **overfitting** (good on the training data, much worse on new data) is not a matter of size alone. It
# needs something wrong to fit: noise, wrong labels, too few examples. *When* in training does it happen?

# %%
noisy = material.with_wrong_labels(digits.train.take(slice(0, 300)), 0.3)
WIDTH, EPOCHS = 128, 60
plain = [train(mlp(64, WIDTH, 10, seed=s), noisy, EPOCHS, val=digits.val, seed=s) for s in seeds]
curves = {key: np.array([[row[key] for row in history] for history in plain]) for key in plain[0][0]}
epoch = np.arange(1, EPOCHS + 1)
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained", sharex=True)
for ax, names, scale in ((left, ("accuracy", "val_accuracy"), 100), (right, ("loss", "val_loss"), 1)):
    for key, colour, label in zip(names, ("C0", "C1"), ("training, 30 % wrong", "validation")):
        mean, deviation = scale * curves[key].mean(axis=0), scale * curves[key].std(axis=0)
        ax.plot(epoch, mean, color=colour, label=label)
        ax.fill_between(epoch, mean - deviation, mean + deviation, color=colour, alpha=0.2, lw=0)
    validation = curves[names[1]].mean(axis=0)
    best = validation.argmax() if ax is left else validation.argmin()
    ax.axvline(best + 1, color="C1", ls=":", label="best epoch on validation")
    ax.set(xlabel="epoch")
left.axhline(70, color="C0", lw=0.8, ls="--")
left.text(EPOCHS, 66, "all right labels: 70 %", fontsize=9, color="C0", ha="right", va="top")
left.set(ylabel="accuracy, %", ylim=(0, 105))
right.set(ylabel="loss, nats", ylim=(0, 2.5))
right.legend(frameon=False, fontsize=9, loc="upper right")
plt.show()

# %% [markdown]
# The net first learns what many images have in common: validation rises, although 30 % of what it is told is
# wrong. Only later it fits the exceptions, one by one: training accuracy passes the 70 % that are right, and
# validation falls. The dotted lines differ: accuracy falls long before the loss rises. So say which of the
# two you watch. There are four common remedies.
#
# - **More data.** All 1,257 training digits, with the same 30 % of wrong labels, for as many steps.
# - **Early stopping.** Keep the weights of the epoch that was best *on validation*.
# - **Weight decay.** Each step also pulls every weight towards 0: the loss gets the extra term λ/2 · Σ w².
#   Large weights, which sharp bends need, become expensive.
# - **Dropout.** In every training step, each hidden unit is switched off with probability p. No unit can rely
#   on one particular other unit, so it is harder to keep single images in mind. When the net is used, all
#   units work.
#
# If a share p is switched off, what comes through would be smaller in training than in use. So those that
# stay are scaled, such that the mean is the same in both.
#
# ### Exercise 3.4 · `dropout`
#
# `uniform` holds one random number in [0, 1) for each entry of x. Drop where it lies below p. It has no
# gradient, so its pullback is `None`.


# %% exercise="3.4"
def dropout(x, uniform, *, p=0.5):
    """0 where uniform < p; elsewhere x, scaled so that the mean stays. And the pullbacks.

    Shapes: x and uniform alike -> y, same shape.  Units: p is the fraction *removed*, in [0, 1].
    """
    y = ...
    return y, (lambda g: ..., None)


# %% check="3.4"
check("3.4")

# %% [markdown]
# Now the comparison. How strong should weight decay and dropout be? Such a setting is a **hyperparameter**.
# We try three of each and choose **on validation**, with three seeds. The dropout is yours, if 3.4 is right.

# %%
more = material.with_wrong_labels(digits.train, 0.3)


def run(part=noisy, dropout=0.0, **settings):
    """Three nets, one for each seed; returns the nets and their validation accuracies."""
    nets = [mlp(64, WIDTH, 10, seed=seed, dropout=dropout) for seed in seeds]
    for seed, net in zip(seeds, nets):
        train(net, part, **{"epochs": EPOCHS, "seed": seed, **settings})
    return nets, np.array([measure.evaluate(net, digits.val).accuracy for net in nets])


with yours("3.4"):
    results = {"no remedy": run(), "more data": run(more, epochs=EPOCHS * len(noisy) // len(more))}
    results["early stopping"] = run(val=digits.val, patience=12)
    results |= {f"weight decay {decay}": run(weight_decay=decay) for decay in (0.003, 0.01, 0.03)}
    results |= {f"dropout {p}": run(dropout=p) for p in (0.3, 0.5, 0.7)}

figure, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
colours = ["0.5", "C2", "C4", *["C0"] * 3, *["C1"] * 3]
for place, ((name, (_, values)), colour) in enumerate(zip(results.items(), colours)):
    ax.barh(place, 100 * values.mean(), 0.7, color=colour, alpha=0.5, xerr=100 * values.std())
    ax.plot(100 * values, [place] * len(values), "o", color="k", ms=3)
ax.set(yticks=range(len(results)), yticklabels=list(results), xlim=(50, 100))
ax.set_xlabel("validation accuracy, %; each dot is a seed, the line is ± one deviation")
ax.invert_yaxis()
plt.show()

# %% [markdown]
# Every remedy helps, and most of all more data, *although 30 % of the new labels are wrong too*. (The bar of
# early stopping is a little too good: its epoch was chosen on these very images. See wrong way 3.) Among
# those that cost no data we choose the best on validation. Only now, once, the test part:

# %%
free = [name for name in results if name not in ("no remedy", "more data")]
chosen = max(free, key=lambda name: results[name][1].mean())
before, after = (measure.evaluate(results[name][0][0], digits.test) for name in ("no remedy", chosen))
print(f"chosen on validation: {chosen}")
print(f"test, no remedy: {before.accuracy:.1%} ± {before.standard_error:.1%}")
print(f"test, {chosen}: {after.accuracy:.1%} ± {after.standard_error:.1%}")
pair = measure.compare(before, after)
gain, error = 100 * pair.difference, 100 * pair.standard_error
print(f"difference on the same {after.n} images: {gain:+.1f} ± {error:.1f} points")

# %% [markdown]
# ± is the **standard error**: how far such a number typically moves if 360 other images were drawn.
#
# ## Wrong ways
#
# ### Wrong way 1: a gradient without Xᵀ
#
# A friend argues: "g[n, i] says how much output i of example n should change. To raise output i, I raise all
# weights of row i. So the gradient of row i is Σ g[n, i] over the batch." It sounds convincing. Here is the
# friend's rule:

# %%
print(inspect.getsource(material.without_x))

# %% [markdown]
# We train with this rule in all layers; with it in the first layer only; and, to compare, with a first layer
# that is **not trained at all**: it keeps its random start.


# %%
def friend_below(x, weight, bias=None):
    """The friend's rule in the first layer, which has 64 inputs; the right rule elsewhere."""
    return (material.without_x if x.shape[1] == 64 else material.right_rule)(x, weight, bias)


ways = {"right": material.right_rule, "first layer frozen": material.right_rule,
        "without Xᵀ, first layer": friend_below, "without Xᵀ, all layers": material.without_x}  # fmt: skip
figure, axes = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained", sharey=True)
moved = {}
for ax, lr in zip(axes, (0.02, 0.1)):
    print(f"lr = {lr}")
    for (name, way), colour in zip(ways.items(), ("C0", "C2", "C1", "C3")):
        net = mlp(64, 128, 10)
        if "frozen" in name:
            for parameter in net.parameters()[:2]:
                parameter.requires_grad = False
        before = net.parameters()[0].data
        with substitute("linear", way):
            history = train(net, digits.train, epochs=20, lr=lr, val=digits.val)
        moved[name, lr] = net.parameters()[0].data - before
        last = history[-1]
        ax.plot(range(1, 21), [100 * row["val_accuracy"] for row in history], color=colour, label=name)
        quality = f"validation {last['val_accuracy']:5.1%} ± {last['val_error']:.1%}"
        print(f"    {name:24} training loss {last['loss']:.3f}   {quality}")
    ax.axhline(10, color="0.6", ls=":", lw=1)
    ax.set(title=f"lr = {lr}", xlabel="epoch", xticks=range(0, 21, 5), ylim=(0, 102))
axes[0].set_ylabel("validation accuracy, %")
axes[0].text(20, 2, "dotted: guessing, 10 %", fontsize=9, ha="right", color="0.4")
axes[1].legend(frameon=False, fontsize=9, loc="center right")
plt.show()

# %% [markdown]
# On the left, the net with the mistake in its first layer names most digits correctly. The friend says: "It
# works." But look at the green curve: a first layer that learns **nothing at all** is as good. The last layer
# does the work, on random features. And at the larger learning rate the friend's gradient does harm: now
# doing nothing is far better.
#
# ### Exercise 3.5 · explain this failure
#
# Take a single layer with three inputs and two outputs, whose weights start at 0. Train it with the friend's
# rule, on any data, for any time. Give two clearly different inputs a and b, three numbers each, to which it
# will **always** give the same scores. (A right layer tells them apart.) Then you know what the friend's
# layer cannot learn.


# %% exercise="3.5"
def witness():
    """Two different inputs that a layer without Xᵀ in its gradient can never tell apart."""
    a = np.array([..., ..., ...])
    b = np.array([..., ..., ...])
    return a, b


# %% check="3.5"
check("3.5")

# %% [markdown]
# Here is how far the weights of four hidden units have moved on the digits, as 8×8 pictures. Left of each
# pair: the right rule; right: the friend's.

# %%
units = abs(moved["right", 0.02]).sum(axis=1).argsort()[-4:]  # those that the right rule moved the most
figure, axes = plt.subplots(1, 8, figsize=(11, 1.8), layout="constrained")
for k, unit in enumerate(units):
    for ax, name in zip(axes[2 * k : 2 * k + 2], ("right", "without Xᵀ, first layer")):
        change = moved[name, 0.02][unit].reshape(8, 8)
        limit = 1.3 * abs(change).max()
        ax.imshow(change, cmap="RdBu_r", vmin=-limit, vmax=limit)
        ax.set_title("right" if name == "right" else "without Xᵀ", fontsize=10)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
plt.show()
spread = np.ptp(moved["without Xᵀ, first layer", 0.02], axis=1).max()
print(f"friend's rule: within a unit, the 64 changes differ by {spread:.0e} at most")

# %% [markdown]
# All 64 pixels get the same change. So all that this layer can learn is *how much ink* there is in the
# picture, not where it is. The pixels at the corners are nearly always white, and the right rule leaves their
# weights alone: what carried nothing is not to blame. Do not forget Xᵀ.
#
# ### Wrong way 2: softmax twice
#
# `cross_entropy` expects **scores** and takes the softmax itself. Some programs put a softmax at the end of
# the net and then call `cross_entropy`. There is no error message, and the net trains.


# %%
def softmax_twice(model, images, labels):
    probabilities = ops.softmax(model(images))
    return losses.cross_entropy(probabilities, labels), probabilities


floor = np.log(1 + 9 / np.e)
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.1), layout="constrained")
for name, settings, colour in (("scores", {}, "C0"), ("softmax twice", {"objective": softmax_twice}, "C3")):
    values, recalls = [], []
    for seed in seeds:
        net = mlp(64, 32, 10, seed=seed)
        history = train(net, digits.train, 15, val=digits.val, seed=seed, **settings)
        epoch = [row["epoch"] for row in history]
        left.plot(epoch, [row["loss"] for row in history], color=colour, label=None if values else name)
        right.plot(epoch, [100 * row["val_accuracy"] for row in history], color=colour)
        values.append(history[-1]["val_accuracy"])
        recalls.append(f"{measure.evaluate(net, digits.val).recall.min():.0%}")
    quality = f"validation {np.mean(values):.1%} ± {np.std(values):.1%} (deviation of 3 seeds)"
    print(f"{name:14} {quality}; the worst digit's recall: {', '.join(recalls)}")
left.axhline(floor, color="0.5", ls=":")
left.text(15, floor - 0.05, "ln(1 + 9/e) = 1.461", fontsize=9, color="0.4", va="top", ha="right")
left.set(xlabel="epoch", ylabel="training loss, nats", ylim=(0, 2.5))
left.legend(frameon=False, fontsize=9, loc=(0.55, 0.25))
right.set(xlabel="epoch", ylabel="validation accuracy, %", ylim=(0, 102))
plt.show()

# %% [markdown]
# The second softmax gets numbers between 0 and 1. Even the best, 1 for the right class and 0 for the nine
# others, gives only p = e / (e + 9) ≈ 0.23. So the loss can never go below ln(1 + 9/e), and where the first
# softmax is sure its slope is nearly 0. Some nets recover late; others never name one of the digits. **If
# your loss stops near 1.46 with ten classes, look for a second softmax.**
#
# ### Wrong way 3: choose on the data that you report
#
# "I kept the epoch that was best on the test part, and I report that accuracy." How wrong is this? We can
# measure it: 957 training digits were not used by the nets of the noisy 300. From these we draw a small "test
# part", choose the best of all epochs and seeds on it, and report its accuracy *there*. The rest of the 957
# tell what the chosen net is really worth.

# %%
world = digits.train.take(slice(300, None))
right_at = []  # one row for each epoch of each net: which of the 957 it names correctly


class Watch:
    def after_epoch(self, run):
        right_at.append(measure.evaluate(run.model, world).predictions == world.labels)


for seed in seeds:
    train(mlp(64, WIDTH, 10, seed=seed), noisy, 40, seed=seed, callbacks=[Watch()])
right_at = np.array(right_at)  # (120, 957)
rng = np.random.default_rng(0)
figure, axes = plt.subplots(1, 3, figsize=(10, 2.9), layout="constrained", sharex=True, sharey=True)
for ax, size in zip(axes, (30, 100, 300)):
    reported, honest = [], []
    for _ in range(400):
        order = rng.permutation(len(world))
        here, elsewhere = order[:size], order[size:]
        winner = right_at[:, here].mean(axis=1).argmax()
        reported.append(100 * right_at[winner][here].mean())
        honest.append(100 * right_at[winner][elsewhere].mean())
    bins = np.arange(70, 106, 10 / 3) - 5 / 3
    ax.hist(honest, bins, alpha=0.6, color="C0", label="what it is worth")
    ax.hist(reported, bins, alpha=0.6, color="C3", label="what is reported")
    gap = np.mean(reported) - np.mean(honest)
    ax.set(title=f"{size} images: {gap:.1f} points too high", xlabel="accuracy, %")
    print(f"{size:4} images: reported {np.mean(reported):.1f} %, worth {np.mean(honest):.1f} %")
axes[0].set_ylabel("of 400 draws")
axes[0].legend(frameon=False, fontsize=9, loc="upper left")
plt.show()

# %% [markdown]
# The best of many is partly the luckiest. The smaller the part and the more you try, the larger the error.
# This is why there are three parts: **fit on train, choose on validation, report on test, once.** And the
# most common form of this mistake is the worst: to report the accuracy on the *training* data. You have seen
# it: 100 % on random labels.
#
# ## In PyTorch
#
# ```python
# net = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10))
# optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
# loss = nn.functional.cross_entropy(net(images), labels)      # scores, no softmax before it
# ```
#
# `net.train()` switches dropout on, `net.eval()` switches it off. Here `fit` and `measure.evaluate` do that
# for you.
#
# ## Questions
#
# 1. How many weights and biases does `mlp(64, 128, 10)` have?
# 2. A net reaches 100 % on its training data. What do you know about it?
# 3. Why does the weight gradient hold a sum over the examples, and the gradient of x none?
# 4. A classifier knows nothing and gives all ten classes the same score. What is its loss? Why is that number
#    useful?
# 5. The validation loss rises, but validation accuracy stays. How can that be?
# 6. Why does the friend's rule do no harm to the *bias*?
#
# BEGIN SOLUTION
# **Answers.**
#
# 1. 64·128 + 128 + 128·10 + 10 = 9,610.
# 2. That it has the capacity to fit them. It may have learned, or only remembered: random labels can be
#    fitted too.
# 3. All examples share the weights, and each x belongs to one example. What is used often gets a sum.
# 4. ln 10 ≈ 2.303. A fresh net should start near it; if it starts far above, something is wrong.
# 5. Accuracy asks only which score is the largest. The loss also asks how sure the net is: it grows when
#    wrong answers become more certain.
# 6. The bias is a weight whose input is always 1. Its gradient is Σ g · 1: there, leaving x out is right.
# END SOLUTION
#
# ## Sources
#
# - C. Zhang, S. Bengio, M. Hardt, B. Recht and O. Vinyals (2017), "Understanding deep learning requires
#   rethinking generalization", ICLR, arXiv:1611.03530 (networks fit random labels).
# - M. Belkin, D. Hsu, S. Ma and S. Mandal (2019), "Reconciling modern machine-learning practice and the
#   classical bias–variance trade-off", *PNAS* 116(32), doi:10.1073/pnas.1903070116 (beyond the U).
# - N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever and R. Salakhutdinov (2014), "Dropout: A Simple Way
#   to Prevent Neural Networks from Overfitting", *Journal of Machine Learning Research* 15(56), 1929–1958.
# - L. Prechelt (1998), "Early Stopping – But When?", in *Neural Networks: Tricks of the Trade*, Springer,
#   LNCS 1524.
# - P. Blanchard, D. J. Higham and N. J. Higham (2021), "Accurately computing the log-sum-exp and softmax
#   functions", *IMA Journal of Numerical Analysis* 41(4), 2311–2330 (shifting by the maximum is safe).
# - I. Goodfellow, Y. Bengio and A. Courville (2016), *Deep Learning*, MIT Press, Section 6.1 (XOR with two
#   ReLUs).
#
# **Read on in the source:** `tinyopt/ops/linalg.py` (`linear`), `tinyopt/ops/reduce.py` (`log_softmax`),
# `tinyopt/ops/loss.py` (the loss as one op), `tinyopt/callbacks.py` (`EarlyStopping`).

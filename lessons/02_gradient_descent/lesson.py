"""Lesson 2, gradient descent: the source of lesson.ipynb; see tinyopt/course/percent.py for its format."""

# %% [markdown]
# # 2 · Gradient descent and SGD: down a hill in fog
#
# **The question.** You stand on a hill, in thick fog. You cannot see the valley; you only feel the slope
# under your feet. **How do you get down?** And now a harder question. The slope is the mean of what many
# examples say, and for each step you may ask only one example in fifty. **Why does that still work?**
#
# - **You need:** lesson 1 (gradients); vectors, matrix products; the mean and the variance.
# - **You will write:** five numbers by hand, the matrix product and its gradients, one step down, the order
#   of an epoch, and six numbers that explain a failure.
# - **Time:** about 100 minutes.
#
# Run the cells from top to bottom. Where an exercise is still empty, the package's own function works for
# you.

# %%
import inspect

import matplotlib.pyplot as plt
import numpy as np

from tinyopt import Tensor, data, losses, measure, nn, ops, optim
from tinyopt.course import STYLE, start
from tinyopt.course.lessons import find, load
from tinyopt.course.reach import installed

check, hint, reveal, yours = start(2)
plt.rcParams.update(STYLE)
material = load(find(2) / "material.py")
leaf, loss_of, quick_sgd, smooth = material.leaf, material.loss_of, material.quick_sgd, material.smooth


def panels(n, width=10, height=3.2, **options):
    return plt.subplots(1, n, figsize=(width, height), layout="constrained", **options)


# %% [markdown]
# First the picture. The hill is the loss of a **linear regression**: 200 examples, each with two inputs x₁,
# x₂ and one target y. We look for two weights so that x₁·w₁ + x₂·w₂ is close to y. Left: each step asks all
# 200 examples. Right: each step asks 4 of them, another 4 each time.

# %%
x, y = data.linear_regression(200, weight=(2, -1), bias=0, noise=1.0, rng=0)
x, y = x * np.array([1.0, 0.5]), y.astype(float)  # a smaller second input makes the valley longer
best = np.linalg.lstsq(x, y, rcond=None)[0]  # (2, 1), the bottom of the valley


def descend(x, y, lr, steps, batch_size=None, seed=0, first=0.0):
    """GD, or SGD if a batch_size is given: the weights at the start and after each step, (steps + 1, D)."""
    w = leaf(np.full((x.shape[1], 1), first))  # float64, as x and y
    kind = optim.GD if batch_size is None else optim.SGD
    optimizer, path = kind([w], lr=lr), [w.data]
    loader = data.DataLoader((x, y), batch_size or len(x), shuffle=batch_size is not None, seed=seed)
    while len(path) <= steps:
        for inputs, targets in loader:  # one pass over the data is called an epoch
            optimizer.zero_grad()
            losses.mse_loss(inputs @ w, targets).backward()
            optimizer.step()
            path.append(w.data)
    return np.array(path[: steps + 1])[:, :, 0]


figure, (left, right) = panels(2, 9, 3.8, sharey=True)
for ax, batch_size, colour in ((left, None, "C0"), (right, 4, "C1")):
    path = descend(x, y, lr=0.2, steps=50, batch_size=batch_size, first=-1.0)
    material.draw_valley(ax, x, y, path, colour, best)
    asked = 50 * (batch_size or 200)
    ax.set_title(f"{'GD' if batch_size is None else 'SGD'}: 50 steps, {asked:,} examples asked")
    print(f"{ax.get_title()}: loss {loss_of(x, y, path[0]):.3f} → {loss_of(x, y, path[-1]):.3f}")
left.set_ylabel("weight 2")
plt.show()
print(f"the bottom (+) has the loss {loss_of(x, y, best.T)[0]:.3f}")

# %% [markdown]
# The grey lines join places of equal loss. The left walk is smooth. The right walk staggers, but it comes
# nearly as far down, and it asked **50 times fewer** examples. This lesson explains both walks.
#
# ## By hand, on numbers small enough for paper
#
# One weight w, and two examples (x, y): **(1, 3)** and **(2, 1)**. The first wants w·1 = 3. The second wants
# w·2 = 1. No w satisfies both. The loss is the *mean* of the squared errors:
#
#     L = ½ [(w·1 − 3)² + (w·2 − 1)²]
#
# The slope of one squared error e² with e = w·x − y is 2·e·x (chain rule). So
#
#     slope = ½ [2·(w − 3)·1 + 2·(2w − 1)·2] = 5w − 5
#
# The slope is 0 at w = 1: there is the minimum. The slope changes by 5 for each unit of w; this number is
# called the **curvature**. One step of **gradient descent** goes against the slope:
#
#     w ← w − lr · slope                lr is the learning rate
#
# Start at w = 3, where the slope is 10:
#
# | lr | first step | second step | distance to the minimum in each step |
# |---|---|---|---|
# | 0.1 | 3 − 1 = 2 | 2 − 0.5 = 1.5 | × 0.5 |
# | 0.2 | 3 − 2 = **1** | 1 − 0 = 1 | × 0: one step is enough |
# | 0.4 | 3 − 4 = −1 | −1 + 4 = 3 | × −1: it jumps back and forth for ever |
# | 0.5 | 3 − 5 = −2 | −2 + 7.5 = 5.5 | × −1.5: it runs away |
#
# The last column is no accident. With d = w − 1, the slope is 5d, so the new distance is
#
#     d − lr · 5 · d = (1 − lr · curvature) · d
#
# It shrinks exactly if |1 − lr · curvature| < 1, and this means **lr < 2 / curvature**. Here: lr < 0.4.

# %%
figure, axes = panels(4, 11, 2.9, sharey=True)
by_hand = np.array([[1.0], [2.0]]), np.array([[3.0], [1.0]])
w = np.linspace(-3, 5.5, 100)
texts = {0.02: "too small", 0.2: "the best", 0.38: "nearly too large", 0.41: "too large"}
for ax, (lr, text) in zip(axes, texts.items()):
    path = descend(*by_hand, lr=lr, steps=12, first=3.0)[:, 0]
    ax.plot(w, loss_of(*by_hand, w[:, None]), color="0.7")
    ax.plot(path, loss_of(*by_hand, path[:, None]), ".-", color="C0", lw=0.8)
    label = f"after 12 steps: {path[-1]:.3f}"
    ax.plot(path[-1], loss_of(*by_hand, path[-1:, None]), "o", color="C3", label=label)
    ax.set(title=f"lr = {lr}: {text}", xlabel="w", ylim=(0, 55))
    ax.legend(frameon=False, loc="upper center", fontsize=9)
    shown = ", ".join(f"{number + 0.0:.3f}" for number in path[:4] - 1)
    print(f"lr = {lr}: w − 1 is {shown}, …; the factor 1 − 5·lr = {1 - 5 * lr:.3g}")
axes[0].set_ylabel("loss L")
plt.show()

# %% [markdown]
# ### Exercise 2.1 · predict, then compute
#
# Other examples: **(1, 2)** and **(3, 2)**. Start at **w = 3** with **lr = 0.05**. Take paper and pencil.
#
# 1. Where is w after one step of gradient descent? And after two?
# 2. Go back to w = 3. Where is w after one step that asks *only the first* example? *Only the second*?
# 3. For which lr does gradient descent (with both examples) stop to converge?
#
# Then look at your answers to 2: what is their mean?


# %% exercise="2.1"
def predict():
    """w after one and two steps; after one step of a single example; the limit of lr: numbers, by hand."""
    # BEGIN SOLUTION
    # slopes of the examples: 2·(w − 2)·1 and 2·(3w − 2)·3; their mean is 10·w − 8
    gd_1 = 3 - 0.05 * 22
    gd_2 = 1.9 - 0.05 * 11
    only_first = 3 - 0.05 * 2
    only_second = 3 - 0.05 * 42
    limit = 2 / 10
    # INSTEAD
    gd_1 = ...
    gd_2 = ...
    only_first = ...
    only_second = ...
    limit = ...
    # END SOLUTION
    return gd_1, gd_2, only_first, only_second, limit


# %% check="2.1"
check("2.1")

# %% [markdown]
# ## Many weights: the formula and the slow loop
#
# Now N examples with D inputs each. Write the inputs as a matrix X, one example in each row:
#
#     X (N, D)     w (D, 1)     y (N, 1)
#
#     e = X w − y                            (N, 1)   the errors
#     L = mean of e²                         ()       the loss
#     ∂L/∂w = (2/N) Xᵀ e                     (D, 1)   the gradient
#
# This is the gradient as a slow loop over examples and weights. It is the specification:

# %%
print(inspect.getsource(material.slow_gradient))
w = leaf([[0.5], [1.0]])
losses.mse_loss(Tensor(x) @ w, Tensor(y)).backward()
w0 = w.numpy()
print("slow loop over examples:", material.slow_gradient(x, y[:, 0], w0[:, 0]))
print("2/N · Xᵀ(Xw − y):       ", (2 / len(x) * x.T @ (x @ w0 - y))[:, 0])
print("backward():             ", w.grad[:, 0])

# %% [markdown]
# Look at the line `2 * error * x[i][j]`. Each weight j multiplies the error by **its own input** x[i][j].
# That is what Xᵀ does. In words: weight j asks, "when my input is large, is the error large, too?" If yes,
# the weight is too large. The next figure shows this question. Each dot is an example.

# %%
figure, axes = panels(4, 11, 2.8, sharey=True)
material.draw_errors(axes[:2], x, x @ np.zeros((2, 1)) - y, "C3", "at w = (0, 0)")
material.draw_errors(axes[2:], x, x @ best - y, "C0", "at the minimum")
axes[0].set_ylabel("error e")
plt.show()

# %% [markdown]
# The line is the best line through (0, 0). On the left, the errors fall with input 1 and rise with input 2:
# both weights have work to do. On the right, neither input can say anything about the errors: the slope is 0
# for every weight. That *is* the minimum. Written as a formula, Xᵀ(Xw − y) = 0. These are the **normal
# equations**, XᵀX w = Xᵀy. For a linear regression they can be solved directly, and this is our oracle. For a
# network there is nothing like it.
#
# ### Exercise 2.2 · the matrix product and its gradients
#
# In the package, `X @ w` is the op `matmul`. Write its rule (as in lesson 1): the value, and one pullback for
# each of the two matrices. `g` is ∂L/∂(output). Matrices are enough; the package's rule also knows vectors.
# The shapes help you: a gradient has the shape of its array.


# %% exercise="2.2"
def matmul(x, y):
    """The matrix product x @ y, and its two pullbacks.

    Shapes: x (n, k), y (k, m) -> the value (n, m); the pullbacks take g (n, m) and give (n, k) and (k, m).
    """
    # BEGIN SOLUTION
    value = x @ y
    # INSTEAD
    value = ...
    # END SOLUTION

    def grad_x(g):
        # BEGIN SOLUTION
        return g @ y.T
        # INSTEAD
        return ...
        # END SOLUTION

    def grad_y(g):
        # BEGIN SOLUTION
        return x.T @ g
        # INSTEAD
        return ...
        # END SOLUTION

    return value, (grad_x, grad_y)


# %% check="2.2"
check("2.2")

# %% [markdown]
# ### Exercise 2.3 · one step down
#
# The package's `GD` is one line. `self.lr` is the learning rate, `theta` the weights, `g` the gradient.
# Return the new weights. (`theta` and `g` are read-only. You need neither `state` nor `t`; other optimizers
# do.)


# %% exercise="2.3"
def gd_step(self, theta, g, state, t):
    """The new theta, one step of gradient descent away.

    Shapes: theta, g alike, any shape -> same shape.
    """
    ...


# %% check="2.3"
check("2.3")

# %% [markdown]
# Now gradient descent runs on your product and your step, and we compare with the oracle:

# %%
with yours("2.2", "2.3"):
    path = descend(x, y, lr=0.3, steps=300)
print("300 steps of GD:  ", path[-1])
print("normal equations: ", best[:, 0])
print("true weights:      [2, -2], hidden by noise (the second input was halved, so its weight doubles)")

# %% [markdown]
# ## The largest learning rate
#
# With one weight, the limit was 2 / curvature. With two weights there is a curvature in *every direction*.
# The slopes of the slopes stand in a matrix, the **Hessian**. For our loss it is
#
#     H = (2/N) XᵀX            (D, D), the same everywhere
#
# Its **eigenvectors** are directions that do not mix; its **eigenvalues** λ are the curvatures along them. In
# each direction the distance to the minimum is multiplied by (1 − lr·λ) in each step, as it was by hand. So
# gradient descent converges exactly if **lr < 2 / (the largest eigenvalue)**. Is it so exact? We start at a
# distance of 1 in the steepest direction, and set lr just below the limit, on it, and just above.

# %%
hessian = 2 / len(x) * x.T @ x
curvatures, directions = np.linalg.eigh(hessian)  # from small to large
limit = 2 / curvatures[-1]
print(f"curvatures: {curvatures.round(3)}; so lr must be below {limit:.4f}")


def distances(lr, steps=200, start=best + directions[:, -1:] + directions[:, :1]):
    """How far GD is from the minimum after each step, along the flattest and the steepest direction."""
    w = leaf(start)
    optimizer, path = optim.GD([w], lr=lr), [w.data]
    for _ in range(steps):
        optimizer.zero_grad()
        losses.mse_loss(Tensor(x) @ w, Tensor(y)).backward()
        optimizer.step()
        path.append(w.data)
    return np.abs((np.array(path) - best)[:, :, 0] @ directions)  # (steps + 1, 2)


figure, (left, right) = panels(2)
for share, colour in ((0.5, "C0"), (0.9, "C2"), (0.99, "C4"), (1.0, "k"), (1.01, "C3")):
    steep = distances(share * limit)[:, 1]
    left.semilogy(np.maximum(steep, 1e-16), color=colour, label=f"{share:g} × limit")
    shown, due = (steep[4] / steep[3] if steep[3] > 1e-12 else 0.0), abs(1 - 2 * share)
    print(f"lr = {share:4g} × limit: one step multiplies by {shown:.4f}; the formula says {due:.4f}")
left.set(xlabel="step", ylabel="distance, log scale", title="in the steepest direction", ylim=(1e-9, 100))
left.legend(frameon=False, fontsize=8, loc="lower right")
shares = np.linspace(0.05, 1.1, 22)
ends = np.array([distances(share * limit, steps=100)[-1] for share in shares])  # (22, 2)
for column, name, colour in ((0, "flattest direction", "C0"), (1, "steepest direction", "C3")):
    right.semilogy(shares, np.maximum(ends[:, column], 1e-16), ".-", ms=4, color=colour, label=name)
right.axvline(1, color="0.7", lw=1)
right.axhline(1, color="0.7", lw=1)
right.set(xlabel="lr / limit", ylabel="distance, log scale", title="after 100 steps", ylim=(1e-17, 1e9))
right.legend(frameon=False, fontsize=9, loc="upper left")
plt.show()

# %% [markdown]
# The theory is exact: at 1 × limit the distance neither grows nor shrinks; 1 % more, and it grows. And see
# the right side: the flat direction would like a *much* larger lr than the steep one allows. The best lr is
# nearly the largest, and a little more is a disaster. (Blue rises right of 1 only because rounding mixes a
# little of red into it. What to do about the two directions: lesson 4.)
#
# ## Ask fewer examples: SGD
#
# One step of GD asks all N examples. If N is a million, you wait long for one step. Split the examples into
# **minibatches** of B examples. The gradient of a minibatch is a mean over B examples. The full gradient is
# the mean over all. So the *mean over all minibatches* of an epoch is exactly the full gradient. A random
# number whose mean is the right value is called **unbiased**. You saw it in exercise 2.1: the steps of the
# single examples went to 2.9 and 0.9, and their mean, 1.9, was the step of gradient descent. **Stochastic
# gradient descent** (SGD) does not wait: it steps after each minibatch.

# %%
single = 2 * (x @ w0 - y) * x  # (N, D): the gradient of each example alone, at one place w0
full = single.mean(axis=0)
rng = np.random.default_rng(0)


def batch_gradients(batch_size, epochs):
    """The gradients of all minibatches of some epochs: (batches, D)."""
    orders = [rng.permutation(len(x)).reshape(-1, batch_size) for _ in range(epochs)]  # B divides N
    return single[np.concatenate(orders)].mean(axis=1)


figure, (left, right) = panels(2, 10, 3.6, width_ratios=(1, 1.1))
for batch_size, colour in ((1, "0.8"), (4, "C1"), (20, "C0")):
    cloud = batch_gradients(batch_size, 1 if batch_size == 1 else 4)
    left.plot(*cloud.T, ".", ms=4, color=colour, label=f"B = {batch_size}")
    print(f"B = {batch_size:3}: the mean over the batches differs from the full gradient by",
          f"{abs(cloud.mean(axis=0) - full).max():.0e}")  # fmt: skip
left.plot(*full, "k+", ms=14, mew=2, label="all 200")
left.set(xlabel="∂L/∂w₁", ylabel="∂L/∂w₂", title="gradients of minibatches, at one place")
left.legend(frameon=False, fontsize=9)

sizes = np.array([1, 2, 4, 8, 20, 40, 100])
one = single.var(axis=0, ddof=1).sum()
measured = [((batch_gradients(b, 200) - full) ** 2).sum(axis=1).mean() for b in sizes]
right.loglog(sizes, measured, "o", color="C0", label="measured, without repeats")
right.loglog(sizes, one / sizes, "--", color="0.6", label="1/B")
right.loglog(sizes, one / sizes * (1 - sizes / len(x)), color="C0", label="1/B − 1/N")
right.set(xlabel="batch size B, log scale", ylabel="variance, log scale", title="noise of a batch gradient")
right.legend(frameon=False)
plt.show()

# %% [markdown]
# Left: a single example (grey) is a bad adviser; 20 together are a good one. Right: the variance falls as
# 1/B. (Near B = N it falls faster: in an epoch no example comes twice, and all 200 together have no noise at
# all.) But the *size* of the noise is the root of the variance. **100 times the work makes the noise only 10
# times smaller.** This is the reason for SGD: many rough steps are a better use of examples than one exact
# step.
#
# ### Exercise 2.4 · the order of an epoch
#
# "Unbiased" needs a *random* choice. In practice, each epoch comes to all examples once, in a new random
# order. Write this order for the package's `DataLoader`:
#
# - `self.n_samples` is N. Rows are counted from 0. If `self.shuffle` is False: the order of the data.
# - The same `self.seed` and the same `epoch` must give the same order again, with no memory of calls before.
#   So a training run that was stopped can go on. Other seeds and other epochs give other orders.
# - `np.random.default_rng(numbers)` makes a generator of its own from a number or a list of numbers ≥ 0.
#   Leave NumPy's global generator (`np.random.seed`, `np.random.permutation`) alone: others draw from it.


# %% exercise="2.4"
def order(self, epoch):
    """The row numbers of the samples, in the order in which this epoch comes to them: (N,).

    Reads self.shuffle, self.n_samples, self.seed.
    """
    ...


# %% check="2.4"
check("2.4")

# %% [markdown]
# ## The noise floor, and how to leave it
#
# Near the minimum the full gradient is nearly 0, but the gradients of minibatches are not: each wants to go
# somewhere else. With a constant lr, SGD does not settle. It dances around the minimum, at a height that
# depends on lr: the **noise floor**. Robbins and Monro (1951) knew the cure: let lr fall, but not too fast.
#
#     Σ lr = ∞         so that you can come from everywhere
#     Σ lr² < ∞        so that the noise is averaged away             for example lr ~ 1/t
#
# We measure how far the loss is above its minimum, batch size 4, mean of 2 runs. Dashed: the examples are
# drawn *with replacement*, so that in an epoch some come twice and some never. The rate 1/t² falls too fast:
# its sum is finite, so it cannot walk far. (`quick_sgd` is `descend` without the engine: for so many steps we
# take the formula of the gradient. First we check that both are the same walk.)


# %%
def mean_excess(lr, steps=3000, **settings):
    """How far the loss of SGD is above its minimum after each step."""
    paths = [quick_sgd(x, y, lr, steps, 4, seed=seed, first=-3.0, **settings) for seed in range(2)]
    return np.mean([loss_of(x, y, path) for path in paths], axis=0) - loss_of(x, y, best.T)[0]


same_walk = abs(quick_sgd(x, y, 0.2, 100, 4) - descend(x, y, 0.2, 100, 4)).max()
print(f"largest difference of quick_sgd from descend in 100 steps: {same_walk:.0e}")
figure, (left, right) = panels(2, sharey=True)
with_replacement = load(find(2) / "wrong_answers.py").with_replacement
rates = {0.2: "C3", 0.05: "C1", 0.0125: "C0"}
with yours("2.4"):
    once = {lr: mean_excess(lr) for lr in rates}
with installed(data.DataLoader.order, with_replacement):
    drawn = {lr: mean_excess(lr) for lr in rates}
for lr, colour in rates.items():
    left.loglog(smooth(once[lr]), color=colour, label=f"lr = {lr}")
    left.loglog(smooth(drawn[lr]), "--", lw=0.8, color=colour)
    floors = once[lr][1500:].mean(), drawn[lr][1500:].mean()
    print(f"constant lr = {lr:<6}: floor {floors[0]:.1e}, with replacement {floors[1]:.1e}")
left.plot([], [], "--", color="0.5", lw=0.8, label="with replacement")
falling = {
    "constant": (once[0.2], "C3"),
    "1/t": (mean_excess(0.2, schedule=lambda t: 1 / (1 + t / 50)), "C2"),
    "1/t²": (mean_excess(0.2, schedule=lambda t: 1 / (1 + t / 5) ** 2), "C4"),
}
for name, (curve, colour) in falling.items():
    right.loglog(smooth(curve), color=colour, label=name)
    print(f"lr = 0.2, {name:8}: {curve[1500:].mean():.1e} above the minimum, steps 1,500 to 3,000")
left.set(xlabel="step, log scale", ylabel="loss above its minimum", title="constant lr: a floor")
right.set(xlabel="step, log scale", title="from lr = 0.2, falling")
for ax in (left, right):
    ax.legend(frameon=False, loc="lower left")
plt.show()

# %% [markdown]
# Left: a smaller lr has a lower floor, but takes longer to come down. Drawn with replacement, the floor falls
# about in proportion to lr. And a surprise: coming to each example **once** in an epoch is better, the more
# so the smaller lr is, because within an epoch the errors of the batches cancel. Right: 1/t begins as fast as
# the large lr and goes below all floors. 1/t² stops on the slope. In practice one holds lr for a while, and
# then lets it fall: a **learning rate schedule**.
#
# ### Exercise 2.5 · explain this failure
#
# Your friend does not believe in noise floors. "I ran SGD with batches of **one** example and a constant lr
# of 0.1 on three examples. It came to the minimum and stayed there, exact to the last digit. So nobody needs
# a falling lr." Here is the program, and the run:

# %%
print(inspect.getsource(material.one_at_a_time))
friend_x, friend_y = material.FRIEND
path = material.one_at_a_time(friend_x, friend_y)
print("examples (x, y):", list(zip(friend_x.tolist(), friend_y.tolist())))
print("w after 3, 9, 30 and 900 steps:", [float(path[n - 1]) for n in (3, 9, 30, 900)])

# %% [markdown]
# The run is honest, and the conclusion is wrong. Give **three other examples** (x and y, three numbers each)
# on which the *same program* never comes to rest: at the end, w should still move by 5 % of its size or more.
# (Running away to infinity does not count; that is another failure.) Then say in one sentence what is special
# about the friend's examples.


# %% exercise="2.5"
def witness():
    """Three examples, x and y, on which SGD with lr = 0.1 and batches of one never comes to rest."""
    # BEGIN SOLUTION
    x = np.array([1.0, 2.0, -1.0])
    y = np.array([2.0, 6.0, 4.0])  # they want w = 2, 3, −4
    # INSTEAD
    x = np.array([..., ..., ...])
    y = np.array([..., ..., ...])
    # END SOLUTION
    return x, y


# %% check="2.5"
check("2.5")

# %% [markdown]
# The same on our regression: we keep x, and change only the noise in the targets (the part of y that no
# weight can explain).

# %%
figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
for noise, colour in ((1.0, "C3"), (0.1, "C1"), (0.01, "C2"), (0.0, "C0")):
    targets = x @ np.array([[2.0], [-2.0]]) + noise * np.random.default_rng(1).normal(size=(len(x), 1))
    bottom = np.linalg.lstsq(x, targets, rcond=None)[0]
    far = np.linalg.norm(quick_sgd(x, targets, lr=0.2, steps=600, batch_size=4) - bottom.T, axis=1)
    ax.semilogy(far, lw=0.8, color=colour, label=f"noise {noise:g}")
ax.set(xlabel="step, lr = 0.2, batch size 4", ylabel="distance to the minimum")
ax.set_title("the floor comes from disagreement")
ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %% [markdown]
# With noise 0, all examples agree on one w, and SGD with a constant lr goes down to the last digit of a
# float64. (That is no toy case: a large network can often fit *all* its training examples. Ma, Bassily and
# Belkin explain with this why SGD is so fast there.)
#
# ## What does it cost? Steps and examples
#
# Is a small batch "better"? That depends on what you pay for. We take 1,000 examples with 20 inputs each, and
# batch sizes from 1 to all. Each gets its own lr from a list: the one with the smallest loss in the last
# tenth of its steps. After the first epoch lr falls like 1/t (but for GD, which has no noise).

# %%
wide_x, wide_y = material.wide_problem()  # inputs that depend on each other: a long valley in 20 dimensions
N, D = wide_x.shape
wide_best = np.linalg.lstsq(wide_x, wide_y, rcond=None)[0]


def relative(path, x=wide_x, y=wide_y, best=wide_best):
    """The loss above its minimum, as a share of what it was at the start."""
    with np.errstate(all="ignore"):
        above = loss_of(x, y, path) - loss_of(x, y, best.T)[0]
        return np.nan_to_num(np.maximum(above / above[0], 1e-9), nan=np.inf)


steepest = np.linalg.eigvalsh(2 / N * wide_x.T @ wide_x)[-1]
runs, epochs = {}, 8
for batch_size in (1, 10, 100, N):
    n = N // batch_size
    falling = None if batch_size == N else lambda t, n=n: 1 / (1 + max(0, t - n) / n)
    tries = {}
    for share in (0.01, 0.03, 0.1, 0.3, 0.9)[: 3 if batch_size == 1 else 5]:
        with np.errstate(all="ignore"):
            path = quick_sgd(wide_x, wide_y, share * 2 / steepest, epochs * n, batch_size, schedule=falling)
        tries[share] = relative(path)
    share = min(tries, key=lambda share: tries[share][-1 - epochs * n // 10 :].mean())
    runs[batch_size] = tries[share]
    print(f"B = {batch_size:5}: lr = {share:4} × GD's limit, {epochs * n:5} steps in {epochs} epochs,",
          f"ends at {tries[share][-1]:.1e} of the start")  # fmt: skip

figure, (left, right) = panels(2, sharey=True)
for (batch_size, curve), colour in zip(runs.items(), ("C3", "C1", "C2", "C0")):
    label = f"B = {batch_size}"
    left.loglog(np.arange(1, len(curve)), curve[1:], color=colour, label=label)
    right.loglog(np.arange(1, len(curve)) * batch_size, curve[1:], color=colour, label=label)
left.set(xlabel="steps, log scale", ylabel="loss above its minimum, share", ylim=(1e-4, 3))
left.set_title("if you pay for steps")
right.set(xlabel="examples asked, log scale", title="if you pay for examples")
right.legend(frameon=False, loc="lower left")
plt.show()

# %% [markdown]
# The same curves, twice. **Per step**, a larger batch is at least as good: less noise. **Per example**, small
# batches win by far: after one pass over the data, GD has made *one* step. Real machines lie between: 64
# examples at once take much less time than 64 times one, because of fast matrix products. So one takes
# batches of 32 to some hundreds.
#
# ## Real data: softmax regression on digits
#
# **Softmax regression** is one matrix product, and the cross-entropy of its outputs (lesson 3 adds hidden
# layers). We train it on the 8×8 digits with batches of 64. The optimizer is `GD`: plain SGD has the same
# formula; what makes it stochastic is that `backward()` has seen only a minibatch. So your product, your step
# and your order all work here. First lr: we choose it on the *validation* part.

# %%
digits = data.digits()


class SoftmaxRegression(nn.Module):
    def __init__(self):
        self.weight = nn.Parameter(np.zeros((64, 10), np.float32))
        self.bias = nn.Parameter(np.zeros(10, np.float32))

    def forward(self, images):
        return ops.reshape(images, shape=(len(images), 64)) @ self.weight + self.bias


def train(lr, epochs=10, batch_size=64, part=digits.train, shuffle=True, watch=None, change=None, **options):
    """Softmax regression by SGD; returns the net and what watch(net) said after each step."""
    net = SoftmaxRegression()
    loader = data.DataLoader(part, batch_size, shuffle=shuffle, seed=0)
    optimizer, seen = optim.GD(net.parameters(), lr=lr), []
    for _ in range(epochs):
        for images, labels in loader:
            optimizer.zero_grad()
            losses.cross_entropy(net(images), labels, **options).backward()
            if change is not None:
                change(net)
            optimizer.step()
            if watch is not None:
                seen.append(watch(net))
    return net, seen


def validation(net):
    return measure.evaluate(net, digits.val)


grid = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
figure, (left, right) = panels(2)
with yours("2.2", "2.3", "2.4"):
    tried = {lr: validation(train(lr)[0]) for lr in grid}
    lr = min(tried, key=lambda lr: tried[lr].loss)
    for rate, colour in ((0.01, "C0"), (lr, "C2"), (30.0, "C3")):
        seen = train(rate, epochs=3, watch=lambda net: validation(net).loss)[1]
        right.semilogy(seen, color=colour, label=f"lr = {rate:g}")
    net, _ = train(lr, epochs=30)
left.loglog(grid, [quality.loss for quality in tried.values()], "o-")
left.axvline(lr, color="C2", lw=1, ls=":")
left.set(xlabel="learning rate, log scale", ylabel="validation loss, log scale", title="10 epochs")
right.set(xlabel="step", ylabel="validation loss, log scale", title="the first 3 epochs")
right.legend(frameon=False)
plt.show()
quality = measure.evaluate(net, digits.test)
print(f"chosen on validation data: lr = {lr:g}")
print(f"test accuracy, 30 epochs: {quality.accuracy:.1%} ± {quality.standard_error:.1%} (standard error)")

# %% [markdown]
# The learning rate is the most important setting of all: too small wastes your time, too large jumps about,
# and in between is a wide good region. (Here even lr = 30 does not run to infinity as the parabola did: far
# from the minimum the cross-entropy is no parabola, its slope is bounded.) What has the layer learned? Each
# class has 64 weights, one for each pixel: red says "ink here speaks for me", blue "against me".

# %%
figure, axes = panels(10, 11, 1.5)
material.draw_weights(axes, net.weight.numpy().T)
plt.show()

# %% [markdown]
# ## Wrong ways
#
# ### Wrong way 1: a gradient without Xᵀ
#
# One finds it in notes and programs: `w -= lr * (prediction - y).mean()`. The mean of the errors, the same
# number for *every* weight. The shapes fit (NumPy broadcasts one number to all weights), and no error is
# raised. We put this gradient into the engine, on our regression and on the digits.

# %%
print(inspect.getsource(material.mean_error_matmul))
valley = {"right": descend(x, y, lr=0.2, steps=100, first=-1.0)}
with installed(ops.matmul, material.mean_error_matmul):
    valley["wrong"] = descend(x, y, lr=0.2, steps=100, first=-1.0)
    tried = {rate: validation(train(rate, epochs=3)[0]) for rate in grid}  # its own best lr
    blind_lr = min(tried, key=lambda rate: tried[rate].loss)
    blind, _ = train(blind_lr, epochs=30)

figure, (left, right) = panels(2, 10, 3.6)
material.draw_valley(left, x, y, valley["right"], "C0", best, box=(-9, 5, -10, 4))
left.plot(*valley["wrong"].T, ".-", ms=4, lw=0.9, color="C3")
left.set(ylabel="weight 2", title="blue: with Xᵀ. red: mean of errors")
names, qualities = ("with Xᵀ", "without"), [measure.evaluate(n, digits.test) for n in (net, blind)]
heights, errors = ([100 * getattr(q, key) for q in qualities] for key in ("accuracy", "standard_error"))
bars = right.bar(names, heights, yerr=errors, color=("C0", "C3"), width=0.5)
right.bar_label(bars, fmt="%.1f", padding=3)
right.set(ylabel="test accuracy, %", ylim=(0, 110), title="softmax regression on the digits")
plt.show()
for name, quality in zip(names, qualities):
    print(f"digits, {name:8}: {quality.accuracy:.1%} ± {quality.standard_error:.1%}")
for name, path in valley.items():
    print(f"regression, {name}: loss {loss_of(x, y, path[0]):.3f} → {loss_of(x, y, path[-1]):.3f}")

# %% [markdown]
# All weights get the same number, so they can only move together, along one diagonal line: D weights, one
# degree of freedom. And our inputs have a mean near 0, so the mean error hardly depends on w: nothing calls
# the walk back. On the digits, all pixels of a class get the same step: the layer can learn only from the
# *total* ink.
#
# ### Wrong way 2: sample coordinates, and call it SGD
#
# Another "stochastic" gradient that people print: in each step, choose a random *weight*, and update it with
# its derivative of the loss over *all* examples. Random it is. But it is not SGD. Its name is **(random)
# coordinate descent**.
#
# | | what is random | examples read in a step | multiply-adds in a step |
# |---|---|---|---|
# | GD | nothing | N | 2·N·D |
# | SGD, batch 1 | the *example* | 1 | 2·D |
# | coordinate, errors computed afresh | the *weight* | N | N·D + N |
# | coordinate, errors kept up to date | the *weight* | N | 2·N |
#
# The last line is what serious programs do: if w_j moves, every error changes by the move times x_j. To be
# fair, a coordinate step goes to the exact minimum along its weight: no learning rate needed. SGD is the run
# with B = 1 from above. All get the same number of multiply-adds.

# %%
budget = epochs * 2 * N * D
names = {1: ("SGD, batch 1", "C0"), N: ("GD", "C2")}
curves = {name: (2 * D * b * np.arange(len(runs[b])), runs[b], colour) for b, (name, colour) in names.items()}
for name, keep, colour in (("coordinate, afresh", False, "C3"), ("coordinate, errors kept", True, "C1")):
    cost, path = material.coordinates(wide_x, wide_y, budget, keep)
    curves[name] = cost, relative(path[:, :, 0]), colour
figure, ax = plt.subplots(figsize=(8, 3.4), layout="constrained")
print("loss above its minimum, as a share of the start:")
for name, (cost, curve, colour) in curves.items():
    ax.loglog(cost[1:], curve[1:], color=colour, label=name, marker="." if len(cost) < 30 else None)
    at = [curve[cost <= share * budget][-1] for share in (0.25 / epochs, 1 / epochs, 1)]
    print(f"{name:24} 1/4 pass {at[0]:.1e}    1 pass {at[1]:.1e}    {epochs} passes {at[2]:.1e}")
ax.axvline(2 * N * D, color="0.7", lw=1, zorder=0)
ax.text(2 * N * D * 1.05, 1.5, "one pass", fontsize=9, color="0.4")
ax.set(xlabel="multiply-adds, log scale", ylabel="loss above its minimum, share", ylim=(1e-4, 3))
ax.legend(frameon=False, fontsize=9, loc="lower left")
plt.show()

# %% [markdown]
# As people print it (red), it is the worst of all: it computes the errors of all N examples, and uses them
# for one weight out of D. Done well (orange), it is a serious method: *here* it even has no noise floor. But
# it gives up what SGD is for. Before its first step it must read **all** examples. And the trick of keeping
# the errors needs a linear model: in a deep network, one changed weight of the first layer changes everything
# after it.
#
# On the digits: the same multiply-adds for both. A forward pass over all examples for each moved weight:

# %%
n_moves = 10 * 2 * 640 // (640 + 1)  # 10 epochs cost 10 · 2·N·640; one move: N·640 forward, N for its slope


def by_coordinates(lr):
    """Softmax regression; each step moves one random weight, by its derivative over all examples."""
    rng = np.random.default_rng(0)
    return train(lr, n_moves, len(digits.train), change=lambda net: material.keep_one(net, rng))[0]


tried = {rate: validation(by_coordinates(rate)) for rate in grid}
fair = min(tried, key=lambda rate: tried[rate].loss)
models = {"SGD, 10 epochs": train(lr)[0], f"coordinates, {n_moves} moves": by_coordinates(fair)}
for name, model in models.items():
    quality = measure.evaluate(model, digits.test)
    print(f"{name:24} test accuracy {quality.accuracy:6.1%} ± {quality.standard_error:.1%}")

# %% [markdown]
# ### Wrong way 3: no shuffling, and the data are sorted
#
# Many data sets lie on disk sorted by class. We sort the digits by their label, and train with and without
# shuffling. The validation accuracy is measured after each step.

# %%
sorted_part = digits.train.take(np.argsort(digits.train.labels, kind="stable"))
figure, ax = plt.subplots(figsize=(8, 3.2), layout="constrained")
for shuffle, colour in ((True, "C0"), (False, "C3")):
    watch = lambda net: validation(net).accuracy
    model, seen = train(lr, 5, part=sorted_part, shuffle=shuffle, watch=watch)
    ax.plot(100 * np.array(seen), color=colour, lw=1, label="shuffled" if shuffle else "sorted by class")
    quality = measure.evaluate(model, digits.test)
    share = (quality.predictions >= 8).mean()
    print(f"shuffle={shuffle!s:5}: test accuracy {quality.accuracy:.1%} ± {quality.standard_error:.1%};",
          f"it says 8 or 9 for {share:.0%} of the images")  # fmt: skip
ax.set(xlabel="step (5 epochs)", ylabel="validation accuracy, %", ylim=(0, 100))
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# Sorted, each batch shows one or two classes. The shortest way to a small loss is to say "this class" always,
# and to forget the others. The gradient of a batch is no longer an unbiased estimate of the full gradient: it
# is the gradient of another problem.
#
# ### Wrong way 4: sum the loss, keep the learning rate
#
# If the loss is a *sum* over the batch instead of a mean, all gradients are B times as large. A learning rate
# that was chosen for one batch size is then in effect another one for each other size. Left:
# `reduction="sum"`, with lr / 64, so that for B = 64 it is the lr that we chose. Right: the mean.

# %%
figure, axes = panels(2, sharey=True)
for ax, reduction in zip(axes, ("sum", "mean")):
    rate = lr / 64 if reduction == "sum" else lr
    for batch_size, colour in ((64, "C0"), (256, "C1"), (len(digits.train), "C3")):
        epochs = -(-80 // -(-len(digits.train) // batch_size))  # for 80 steps
        watch = lambda net: validation(net).loss
        seen = train(rate, epochs, batch_size, reduction=reduction, watch=watch)[1]
        ax.semilogy(seen, color=colour, lw=1, label=f"B = {batch_size}")
        print(f"{reduction:4} B = {batch_size:4}: validation loss after {len(seen)} steps {seen[-1]:.3f}")
    ax.set(title=f'reduction="{reduction}", lr = {rate:.3g}', xlabel="step")
    ax.legend(frameon=False)
axes[0].set_ylabel("validation loss, log scale")
plt.show()
summed = descend(x, y, lr=0.2 * len(x), steps=10)  # a sum over all examples, with the lr of the mean
print(f"regression, 10 steps of GD on the sum with lr = 0.2: loss {loss_of(x, y, summed[-1]):.0e}")

# %% [markdown]
# With the sum, a new batch size secretly is a new learning rate. B = 256 has 4 times the lr, which is still
# in the good region of the figure above. All examples in one batch have 20 times the lr. Cross-entropy
# survives that, badly. On the regression the limit of lr is exact, and nothing survives.
#
# ## In PyTorch
#
# ```python
# loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, y), batch_size=64, shuffle=True)
# optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
# for inputs, targets in loader:
#     optimizer.zero_grad()
#     torch.nn.functional.mse_loss(model(inputs), targets).backward()
#     optimizer.step()
# ```
#
# There is no `torch.optim.GD`: it is SGD with one batch that holds all examples.
#
# ## Questions
#
# 1. You double all inputs x of a linear regression. What happens to the largest learning rate?
# 2. Why is the gradient of a shuffled minibatch unbiased, but that of "the next 64 rows of a sorted file"
#    not?
# 3. Is Σ lr = ∞ enough? Is Σ lr² < ∞ enough? Give a schedule that fails for each.
# 4. The friend of 2.5 was right about large networks. Why?
#
# BEGIN SOLUTION
# **Answers.**
#
# 1. H = (2/N) XᵀX becomes 4 times as large, and the limit 4 times as small.
# 2. Random rows have the same expected gradient as all rows. The next rows of a sorted file come from one
#    class.
# 3. No. Constant lr fulfils the first only, and stays on its floor. 1/t² fulfils the second only, and stops
#    early.
# 4. If a network can fit all examples, they agree at the minimum: there the gradient of each is 0, so no
#    noise is left.
# END SOLUTION
#
# ## Sources
#
# - H. Robbins and S. Monro (1951), "A Stochastic Approximation Method", *The Annals of Mathematical
#   Statistics* 22(3), 400–407: steps on noisy measurements converge if lr falls, but not too fast.
# - L. Bottou, F. E. Curtis and J. Nocedal (2018), "Optimization Methods for Large-Scale Machine Learning",
#   *SIAM Review*, arXiv:1606.04838: why SGD has the central role when examples are many.
# - S. Ma, R. Bassily and M. Belkin (2018), "The Power of Interpolation: Understanding the Effectiveness of
#   SGD in Modern Over-parametrized Learning", ICML, arXiv:1712.06559: exercise 2.5, as a theory.
# - S. J. Wright (2015), "Coordinate Descent Algorithms", arXiv:1502.04759: what wrong way 2 really is, done
#   well.
#
# **Read on in the source:** `tinyopt/optim/sgd.py` (your step, and what lesson 4 adds to it) and
# `tinyopt/data/loader.py` (your order, and the batches cut from it).

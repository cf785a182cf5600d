"""Lesson 4, momentum to Adam: the source of lesson.ipynb; see tinyopt/course/percent.py for its format."""

# %% [markdown]
# # 4 · From momentum to Adam: a step for each weight
#
# **The question.** Gradient descent has one learning rate for all weights. But a network has thousands of
# weights, and some have gradients that are many times larger than those of others. **Why does one learning
# rate not fit all weights, and what can be done about it?**
#
# - **You need:** lesson 1 (gradients), lesson 2 (gradient descent and SGD); means and square roots.
# - **You will write:** five numbers by hand, momentum, Adam, AdamW, and three numbers that fool an optimizer.
# - **Time:** about 120 minutes.
#
# Run the cells from top to bottom. Where an exercise is still empty, the package's own function works for
# you.

# %%
import inspect
import math  # for exercise 4.3

import matplotlib.pyplot as plt
import numpy as np

from tinyopt import data, losses, measure, nn, optim
from tinyopt.course import STYLE, start
from tinyopt.course.lessons import find, load
from tinyopt.course.reach import installed
from tinyopt.optim.optimizer import blend  # for exercise 4.3: blend(a, new, keep) moves an average a

check, hint, reveal, yours = start(4)
plt.rcParams.update(STYLE)
material = load(find(4) / "material.py")
leaf, descend, follow = material.leaf, material.descend, material.follow
digits = data.digits()
colours = {"SGD": "C0", "momentum": "C1", "Nesterov": "C2", "Adagrad": "C4", "RMSprop": "C5", "Adam": "C3"}


def two_panels(height=3.3, **options):
    return plt.subplots(1, 2, figsize=(10, height), layout="constrained", **options)


# %% [markdown]
# First the picture. We take a small network for 8×8 digits, fresh from its random start, and show it all
# training batches. For each of its 2,410 weights we compute the typical size of the gradient: the root of the
# mean of g² over the batches.


# %%
def small_net(seed=0):
    first, second = nn.Linear(64, 32, rng=2 * seed), nn.Linear(32, 10, rng=2 * seed + 1)
    return nn.Sequential(nn.Flatten(), first, nn.ReLU(), second)


def loader(seed=0):
    return data.DataLoader(digits.train, batch_size=64, shuffle=True, seed=seed)


sizes = material.typical_sizes(small_net(), loader())  # one array for each of the four parameters
everything = np.concatenate(sizes)
alive = everything[everything > 0]
names = ("layer 1, weights", "layer 1, biases", "layer 2, weights", "layer 2, biases")

figure, ax = plt.subplots(figsize=(7.5, 3.2), layout="constrained")
ax.hist(sizes, np.geomspace(alive.min(), alive.max(), 50), stacked=True, label=names)
ax.set(xscale="log", xlabel="typical size of a weight's gradient, log scale", ylabel="number of weights")
ax.legend(frameon=False, loc="upper left")
plt.show()
low, high = np.quantile(alive, [0.05, 0.95])
print(f"{len(everything):,} weights, of which {np.sum(everything == 0)} have no gradient at all")
print(f"the middle 90 % of the others: {low:.1e} to {high:.1e}, a factor of {high / low:.0f}")

# %% [markdown]
# With one learning rate, the weights on the right of this picture move hundreds of times as far as those on
# the left. If all have a similar way to go, no single rate can be right for all. (Some weights have no
# gradient at all: their pixel is empty in every picture, or their hidden unit is off whenever the pixel is
# inked. We meet the empty pixels again.)
#
# ## The valley
#
# The smallest problem that shows the trouble has two weights and two curvatures:
#
#     L(x, y) = ½ (1 · x² + κ · y²)          gradient: (x, κ·y)
#
# κ ("kappa") is the **condition number**: the largest curvature divided by the smallest. For κ = 1 the valley
# is a round bowl; for large κ it is long and narrow. One step of gradient descent multiplies x by (1 − lr)
# and y by (1 − lr·κ). For κ = 25, lr must be below 2/25, or y grows. But then x shrinks by less than 8 % in a
# step.

# %%
valley = lambda theta: theta * np.array([1.0, 25.0])  # the gradient
height = lambda path: 0.5 * (path * valley(path)).sum(axis=-1)  # the loss
figure, axes = plt.subplots(1, 4, figsize=(11, 2.9), layout="constrained", width_ratios=(1, 1, 1, 1.2))
three = ((0.02, "slow", "C0"), (2 / 26, "the best", "C2"), (0.081, "too large", "C3"))
for ax, (lr, text, colour) in zip(axes, three):
    path = descend(optim.GD([leaf([-8.0, 1.5])], lr=lr), valley, 40)
    material.draw_path(ax, height, path, colour)
    ax.set(title=f"lr = {lr:.3f}: {text}", xlabel="weight x")
    axes[3].semilogy(height(path), color=colour, label=f"lr = {lr:.3f}")
axes[0].set_ylabel("weight y")
axes[3].set(xlabel="step", ylabel="loss, log scale", title="GD, 40 steps, κ = 25")
axes[3].legend(frameon=False, fontsize=9)
plt.show()

# %% [markdown]
# The steep weight y sets the limit, and the flat weight x pays for it. Two ideas help, and they are
# different:
#
# 1. **Momentum**: remember the last gradients. What they agree on adds up, what they disagree on cancels.
# 2. **A step for each weight**: divide each gradient by its own typical size.
#
# Adam is both together.
#
# ## By hand: momentum
#
# The memory b keeps a share μ ("mu") of its old value and adds the new gradient: b ← μ·b + g. Then θ ← θ −
# lr·b. Take L = ½ θ², so g = θ. Start at θ = 10 with b = 0, lr = 0.1, μ = 0.9:
#
# | step | g | b ← 0.9·b + g | θ ← θ − 0.1·b | without memory |
# |---|---|---|---|---|
# | 1 | 10 | 0 + 10 = 10 | 10 − 1 = 9 | 9 |
# | 2 | 9 | 9 + 9 = 18 | 9 − 1.8 = 7.2 | 8.1 |
# | 3 | 7.2 | 16.2 + 7.2 = 23.4 | 7.2 − 2.34 = **4.86** | **7.29** |
#
# If g stayed the same for long, b would grow to g + μg + μ²g + … = g / (1 − μ): with μ = 0.9, ten times g.
#
# ## By hand: Adam
#
# Adam keeps two averages for each weight: m of the gradients, v of their squares. The step is lr · (average
# gradient) / √(average square). Take β₁ = 0.5 for m, β₂ = 0.96 for v, and two gradients that disagree: first
# 10, then −10. Both averages start at 0:
#
# | step | g | m ← 0.5·m + 0.5·g | v ← 0.96·v + 0.04·g² |
# |---|---|---|---|
# | 1 | 10 | 5 | 4 |
# | 2 | −10 | 2.5 − 5 = −2.5 | 3.84 + 4 = 7.84 |
#
# But after step 1, the average of one gradient of 10 should be 10, and the average square should be 100! They
# are too small because they started at 0. After t steps the weights of all gradients in the average sum to 1
# − βᵗ. So we divide by that. This is the **bias correction**:
#
# | step | m̂ = m / (1 − 0.5ᵗ) | v̂ = v / (1 − 0.96ᵗ) | m̂ / √v̂ | without correction: m / √v |
# |---|---|---|---|---|
# | 1 | 5 / 0.5 = 10 | 4 / 0.04 = 100 | **1** | 5 / 2 = 2.5 |
# | 2 | −2.5 / 0.75 = −3.33 | 7.84 / 0.0784 = 100 | **−0.33** | −2.5 / 2.8 = −0.89 |
#
# Look at step 1: its size is lr, *whatever the gradient was*. And in step 2 the gradients disagree, so the
# step is smaller.

# %%
ball = descend(optim.SGD([leaf(10.0)], lr=0.1, momentum=0.9), lambda theta: theta, 3)
print("momentum:", ball.round(4))
adam = follow(optim.Adam([leaf(0.0)], lr=1.0, betas=(0.5, 0.96)), [10.0, -10.0])
print("Adam's steps, lr = 1:", -np.diff(adam).round(4))

# %% [markdown]
# ### Exercise 4.1 · predict, then compute
#
# 1. **Momentum** on L = ½ θ², from θ = 8 with lr = 0.5 and μ = 0.5: where is θ after 1, 2, 3 steps?
# 2. **Adam** with lr = 0.1 and its usual betas, from θ = 2. The gradient is −300 in both steps. (Ignore ε, a
#    tiny number that only prevents 0/0.) Where is θ after 1 and 2 steps? You need no calculator.


# %% exercise="4.1"
def predict():
    """θ after three steps of momentum, and after two steps of Adam: five numbers, by hand."""
    # BEGIN SOLUTION
    ball_1 = 8 - 0.5 * 8  # g = 8, b = 8
    ball_2 = 4 - 0.5 * 8  # g = 4, b = 4 + 4
    ball_3 = 0 - 0.5 * 4  # g = 0, but b = 4 + 0: it rolls on
    adam_1 = 2 + 0.1  # m̂ = −300, √v̂ = 300
    adam_2 = 2.1 + 0.1  # as before: the average of equal numbers
    # INSTEAD
    ball_1 = ...
    ball_2 = ...
    ball_3 = ...
    adam_1 = ...
    adam_2 = ...
    # END SOLUTION
    return ball_1, ball_2, ball_3, adam_1, adam_2


# %% check="4.1"
check("4.1")

# %% [markdown]
# ## Momentum: the formula and the slow loop
#
#     b ← μ b + g                    the memory (PyTorch calls it momentum_buffer); b = 0 at the start
#     θ ← θ − lr · b
#     θ ← θ − lr · (g + μ b)         Nesterov's form: go where b will carry us in the next step
#
# This is the slow loop, weight by weight. It is the specification:


# %%
def slow_momentum(theta, gradient, lr, mu, steps, nesterov=False):
    """SGD with momentum on a list of weights: one weight after the other, one step after the other."""
    theta, memory = list(theta), [0.0] * len(theta)
    for _ in range(steps):
        slopes = gradient(np.array(theta))
        for i, g in enumerate(slopes):
            memory[i] = mu * memory[i] + g
            theta[i] -= lr * (g + mu * memory[i] if nesterov else memory[i])
    return np.array(theta)


for nesterov in (False, True):
    package = optim.SGD([leaf([-8.0, 1.5])], lr=0.02, momentum=0.9, nesterov=nesterov)
    print("slow:", slow_momentum([-8.0, 1.5], valley, 0.02, 0.9, 20, nesterov), end="   ")
    print("package:", descend(package, valley, 20)[-1], " nesterov =", nesterov)

# %% [markdown]
# ### Exercise 4.2 · momentum
#
# In the package, an optimizer is one formula: `update` gives the new θ. In `SGD` it asks `direction` what to
# follow in place of g. Write `direction`:
#
# - `state["b"]` is the memory, an array of the same shape as `g`. Put the new memory back there (or change
#   the array in place).
# - `self.momentum` is μ. `self.nesterov` is True or False: return g + μ b, or b.
# - `g` is read-only. `update` multiplies by the learning rate afterwards. You do not need t.
#
# (PyTorch has one more setting, `dampening`, which is seldom used. Leave it out.)


# %% exercise="4.2"
def direction(self, g, state, t):
    """What to follow in place of g: the memory b, or g + momentum · b if self.nesterov.

    Shapes: g and state["b"] alike, any shape -> the direction, same shape.
    """
    ...


# %% check="4.2"
check("4.2")

# %% [markdown]
# Now let the engine run on your function: it trains the network. One epoch is one pass over the training
# data, 20 steps here. The result is measured on the *validation* images, as always when something is still to
# be chosen; ± is the standard error.


# %%
def train(kind, lr, epochs=5, seed=0, scale=1.0, restart="never", watch=None, **settings):
    """Train the small net on the digits; return it and the loss of each step, or watch(net) after each."""
    net, history = small_net(seed), []
    make = lambda: kind(net.parameters(), lr=lr, **settings)
    optimizer, batches = make(), loader(seed)
    for _ in range(epochs):
        optimizer = make() if restart == "each epoch" else optimizer
        for images, labels in batches:
            optimizer = make() if restart == "each step" else optimizer
            with np.errstate(all="ignore"):  # some runs below diverge, on purpose
                loss = losses.cross_entropy(net(images), labels)
                optimizer.zero_grad()
                (loss * scale).backward()
                optimizer.step()
            history.append(watch(net) if watch else loss.item())
    return net, history


def report(name, net):
    quality = measure.evaluate(net, digits.val)
    print(f"{name:20} validation accuracy {quality.accuracy:6.1%} ± {quality.standard_error:.1%}")


report("SGD, no momentum", train(optim.SGD, lr=0.03)[0])
with yours("4.2"):
    report("SGD, momentum 0.9", train(optim.SGD, lr=0.03, momentum=0.9)[0])

# %% [markdown]
# ## How much faster? Theory and measurement
#
# On the valley everything can be computed. The error shrinks by a constant factor in each step, in the long
# run. With the best settings this factor, the **rate**, is
#
#     gradient descent     (κ − 1) / (κ + 1)          lr = 2 / (1 + κ)
#     momentum            (√κ − 1) / (√κ + 1)         lr = (2 / (1 + √κ))²,  μ = ((√κ − 1) / (√κ + 1))²
#
# for curvatures from 1 to κ. Where plain descent feels κ, momentum feels only √κ. Is it true? We count the
# steps until the error is a millionth of its start.

# %%
rates = {"GD": lambda k: (k - 1) / (k + 1), "momentum": lambda k: (k**0.5 - 1) / (k**0.5 + 1)}


best = {
    "GD": lambda p, k: optim.GD(p, lr=2 / (1 + k)),
    "momentum": lambda p, k: optim.SGD(p, (2 / (1 + k**0.5)) ** 2, momentum=rates["momentum"](k) ** 2),
}


def errors(name, k, steps):
    """The distance to the minimum after each step, relative to the start."""
    optimizer = best[name]([leaf([1.0, 1.0])], k)
    path = descend(optimizer, lambda theta: theta * np.array([1.0, k]), steps)
    return np.linalg.norm(path, axis=1) / 2**0.5


figure, (left, right) = two_panels()
kappas = np.array([10, 30, 100, 300, 1000])
for (name, rate), colour in zip(rates.items(), ("C0", "C1")):
    left.semilogy(errors(name, 100, 400), color=colour, label=f"{name}, measured")
    left.semilogy(rate(100) ** np.arange(401), ":", color=colour, label=f"{name}, rate {rate(100):.3f}")
    needed = [int((errors(name, k, 8 * k if name == "GD" else 400) > 1e-6).sum()) for k in kappas]
    theory = math.log(1e-6) / np.log(rate(kappas))
    right.loglog(kappas, needed, "o", color=colour, label=f"{name}, measured")
    right.loglog(kappas, theory, ":", color=colour, label=f"{name}, theory")
    print(f"{name:9} steps to 1e-6:", dict(zip(kappas.tolist(), needed)))
left.set(xlabel="step", ylabel="relative error, log scale", title="κ = 100", ylim=(1e-7, 12))
right.set(
    xlabel="condition number κ, log scale", ylabel="steps, log scale", title="steps to an error of 1e-6"
)
left.legend(frameon=False, fontsize=8)
right.legend(frameon=False, fontsize=8)
plt.show()

# %% [markdown]
# The measured curve of momentum first *rises*: a rate speaks of the long run only, and the ball first
# overshoots, as in your exercise. Then it falls nearly as steeply as the dotted line. On the right: ten times
# the condition number costs plain descent about ten times the steps, and momentum only a little more than
# three times.
#
# ## A step for each weight: Adagrad, RMSprop, Adam
#
# The second idea: divide each gradient by its own typical size.
#
#     Adagrad     s ← s + g²                      θ ← θ − lr · g / (√s + ε)
#     RMSprop     v ← α v + (1 − α) g²            θ ← θ − lr · g / (√v + ε)
#     Adam        m ← β₁ m + (1 − β₁) g           θ ← θ − lr · m̂ / (√v̂ + ε)
#                 v ← β₂ v + (1 − β₂) g²          m̂ = m / (1 − β₁ᵗ),  v̂ = v / (1 − β₂ᵗ)
#
# Adagrad *sums* the squares. The sum only grows, so the steps only shrink. RMSprop takes an average that
# forgets. Adam adds a momentum (as an average) and the bias correction. The usual settings are β₁ = 0.9, β₂ =
# 0.999, ε = 10⁻⁸. Here is Adam as a slow loop for **one** weight:

# %%
print(inspect.getsource(material.slow_adam))
print("steps:", np.round(material.slow_adam([10.0, -10.0], lr=1.0, beta1=0.5, beta2=0.96, eps=0.0), 4))

# %% [markdown]
# ### Exercise 4.3 · Adam
#
# Write the same for whole arrays: what is to be subtracted from θ at step t. No loop over weights is needed,
# because NumPy works number by number.
#
# - `state["m"]` and `state["v"]` are the two averages, arrays of zeros at first. Put the new ones back there.
# - `self.lr`, `self.betas` (two numbers), `self.eps` are the settings. `t` counts the steps from 1.
# - For the square root of a Python number take `math.sqrt` or `** 0.5`. (`np.sqrt` of a number gives a NumPy
#   float64, and this would turn a float32 network into a float64 one.)


# %% exercise="4.3"
def adapted(self, g, state, t):
    """What Adam subtracts at step t: lr · m̂ / (√v̂ + ε).

    Shapes: g, state["m"], state["v"] alike, any shape -> same shape.
    """
    ...


# %% check="4.3"
check("4.3")

# %%
with yours("4.3"):
    report("Adam", train(optim.Adam, lr=0.01)[0])
    report("AdamW", train(optim.AdamW, lr=0.01)[0])

# %% [markdown]
# (If you look at the package's source: it divides no array by 1 − βᵗ. It puts both corrections into one
# number. This is the same formula in a faster order, and the paper mentions it, too.)
#
# ### What the bias correction does
#
# Suppose the gradient is constant. Then the right step is lr. Without correction, step t is (1 − β₁ᵗ) / √(1 −
# β₂ᵗ) times as large. At t = 1 this is 0.1 / √0.001 = 3.16. Is that the worst?

# %%
wrong = load(find(4) / "wrong_answers.py")  # stored wrong answers to the exercises; we run some of them
figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
t = np.arange(1, 5001)
for beta2, colour in ((0.999, "C3"), (0.99, "C1"), (0.9, "C0")):
    ax.semilogx(t, (1 - 0.9**t) / np.sqrt(1 - beta2**t), color=colour, label=f"β₂ = {beta2}, formula")
    with installed(optim.Adam.adapted, wrong.without_correction):
        adam = optim.Adam([leaf(0.0)], lr=1.0, betas=(0.9, beta2))
        steps = -np.diff(follow(adam, [1.0] * 400))
    some = np.unique(np.geomspace(1, 400, 20).astype(int))
    ax.semilogx(some, steps[some - 1], ".", color=colour, label=f"β₂ = {beta2}, measured")
    print(f"β₂ = {beta2}: first step {steps[0]:.2f} lr, largest of 400 {steps.max():.2f} lr")
ax.axhline(1, color="0.6", lw=1, zorder=0)
ax.set(xlabel="step t, log scale", ylabel="size of the step / lr", title="no bias correction, g = 1")
ax.legend(frameon=False, fontsize=9, loc="upper right")
plt.show()

# %% [markdown]
# It is not the worst. With the usual settings the steps first grow, to more than six times lr, because m
# recovers from its zero start sooner than v does. Only after thousands of steps are they right. With the
# correction they are exactly lr from the first step on.
#
# ### The unit of the loss does not matter to Adam
#
# Multiply the loss by 1,000 (somebody takes a sum in place of a mean). All gradients become 1,000 times
# larger. So does √v̂, and so does m̂. Adam's step stays the same.


# %%
def smooth(history):
    """The mean of 5 steps in a row."""
    return np.convolve(history, np.ones(5) / 5, mode="valid")


figure, axes = two_panels(sharey=True)
for ax, (kind, lr) in zip(axes, ((optim.SGD, 0.3), (optim.Adam, 0.01))):
    for scale, style, width in ((1.0, "-", 4), (1000.0, "-", 1.5), (0.001, ":", 1.5)):
        net, history = train(kind, lr, scale=scale)
        ax.plot(smooth(history), style, lw=width, label=f"loss × {scale:g}")
        report(f"{kind.__name__}, loss × {scale:g}", net)
    ax.set(title=f"{kind.__name__}, lr = {lr}", xlabel="step", ylim=(0, 5))
    ax.legend(frameon=False)
axes[0].set_ylabel("loss (unscaled), mean of 5 steps")
plt.show()

# %% [markdown]
# For SGD a factor in the loss *is* a factor in the learning rate. Times 1000, its loss is far above the
# picture. For Adam the three lines lie on one another.
#
# ## Six paths
#
# The valley again, with κ = 25. Each optimizer gets the learning rate that is best for it on one common list:
# the one with the smallest mean loss over 60 steps. (There is only one batch here, so SGD is GD.)

# %%
family = {
    "SGD": (optim.SGD, {}),
    "momentum": (optim.SGD, {"momentum": 0.9}),
    "Nesterov": (optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "Adagrad": (optim.Adagrad, {}),
    "RMSprop": (optim.RMSprop, {}),
    "Adam": (optim.Adam, {}),
}
figure, axes = plt.subplots(2, 3, figsize=(10, 4.6), layout="constrained", sharex=True, sharey=True)
for ax, (name, (kind, settings)) in zip(axes.flat, family.items()):
    with np.errstate(all="ignore"):
        paths = {
            lr: descend(kind([leaf([-8.0, 1.5])], lr=lr, **settings), valley, 60) for lr in material.RATES
        }
        lr = min(paths, key=lambda lr: np.nan_to_num(height(paths[lr]).mean(), nan=np.inf))
    material.draw_path(ax, height, paths[lr], colours[name])
    ax.set_title(f"{name}, lr = {lr}: loss {height(paths[lr])[-1]:.0e}")
    ax.label_outer()
figure.supxlabel("weight x", fontsize=10)
figure.supylabel("weight y", fontsize=10)
plt.show()

# %% [markdown]
# Adagrad looks like magic. It divides by the size of each weight's gradient, and so it does not see κ *at
# all*: the steep weight and the flat weight behave alike. (RMSprop walks nearly the same path here. At first
# v is about 0.01·s, and √0.01 = 0.1: so its lr does in the beginning what ten times its lr does in Adagrad.)
#
# But there is a catch. The valley lies along the axes. Now we **turn it by 45°**, so that the narrow
# direction is a mixture of both weights. We take κ = 100, 20 different starting points, the best learning
# rate of the list for each case, and 500 steps. We count the steps until the loss has fallen to a thousandth
# and stays there (the median over the starting points).

# %%
counts = {
    name: [material.steps_needed(*how, turn) for turn in (0, np.pi / 4)] for name, how in family.items()
}
figure, ax = plt.subplots(figsize=(8, 3.2), layout="constrained")
at = np.arange(len(counts))
for shift, label, which, colour in ((-0.2, "along the axes", 0, "C0"), (0.2, "turned by 45°", 1, "C3")):
    bars = ax.bar(at + shift, [pair[which] for pair in counts.values()], 0.38, label=label, color=colour)
    ax.bar_label(bars, fontsize=9)
ax.set(xticks=at, xticklabels=list(counts), ylabel="steps", title="steps to loss / 1000, κ = 100")
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# SGD and momentum do not notice the turn: their steps depend on g as an arrow, not on its coordinates. The
# methods with a step *for each weight* do notice: their gift is to undo a bad scale of single weights, and in
# the turned valley no single weight has a bad scale. (Adam loses little: its momentum does most of the work.)
# So the division helps as far as the steep and flat directions of the loss are single weights. In a network
# this holds in part: think of pixels that are seldom inked.
#
# ## Weight decay, and why Adam needed a W
#
# **Weight decay** pulls all weights towards 0, so that the network uses no larger weights than it needs. For
# SGD there are two ways to write it, and they are the same:
#
#     add ½ λ θ² to the loss:      g ← g + λ θ,  θ ← θ − lr · g
#     shrink the weights:          θ ← (1 − lr·λ) θ − lr · g
#
# For Adam they are **not** the same. In the first way, λ θ goes through m and v, and is divided by √v̂ like
# all else. Loshchilov and Hutter proposed to take the second way: this is AdamW. (PyTorch's
# `Adam(weight_decay=...)` is the first way.)
#
# ### Exercise 4.4 · AdamW
#
# Write the whole update: the new θ. `self.adapted(g, state, t)` is what Adam subtracts, and contains lr. The
# settings are `self.lr` and `self.weight_decay` (λ). `theta` and `g` are read-only: return a new array.


# %% exercise="4.4"
def adamw_update(self, theta, g, state, t):
    """The new theta: shrunk by the share lr · weight_decay, minus Adam's own step.

    Shapes: theta, g and the arrays of state alike, any shape -> same shape.
    """
    ...


# %% check="4.4"
check("4.4")

# %% [markdown]
# How different are the two? Left: seven weights, all 1 at the start. Their gradients alternate, +s, −s, +s, …
# with a different size s for each weight, so the loss has no wish to move them; only the decay acts. Right:
# the 96 weights of the empty pixels, which never get a gradient from the data.

# %%
s = 10.0 ** np.arange(-3, 4)
flips = [s * (-1) ** t for t in range(400)]
empty = digits.train.images.max(axis=0).ravel() == 0  # (64,)
dead = lambda net: np.sqrt((next(iter(net.parameters())).data[:, empty] ** 2).mean())
figure, (left, right) = two_panels()
with yours("4.4"):
    for kind, mark in ((optim.Adam, "s-C3"), (optim.AdamW, "o-C0")):
        name, colour = kind.__name__, mark[-2:]
        end = follow(kind([leaf(np.ones(7))], lr=0.01, weight_decay=0.1), flips)[-1]
        left.semilogx(s, end, mark, label=f"{name}, λ = 0.1")
        for decay, style in ((1e-2, "-"), (1e-4, "--"), (1e-6, ":")):
            _, size = train(kind, 0.01, epochs=3, weight_decay=decay, watch=dead)
            right.plot(size, style, color=colour, lw=1 + (style == ":"), label=f"{name}, λ = {decay:g}")
            print(f"{name:5} λ = {decay:g}: weights of empty pixels {size[0]:.4f} → {size[-1]:.4f}")
left.axhline((1 - 0.01 * 0.1) ** 400, color="0.6", lw=1, ls=":", label="(1 − lr·λ)⁴⁰⁰")
left.set(
    xlabel="size s of the gradient, log scale", ylabel="weight, 400 steps", title="alternating gradients"
)
right.set(xlabel="step", ylabel="root mean square", title="weights of the empty pixels", ylim=(0, 0.085))
left.legend(frameon=False, fontsize=9)
right.legend(frameon=False, fontsize=8, ncols=2, loc="center right")
plt.show()

# %% [markdown]
# Left: in Adam, a weight with large gradients is hardly decayed, and one with small gradients is pulled to 0
# at full speed. In AdamW all shrink by the same share. Right, this is worth a minute: in Adam, λ = 0.01 and λ
# = 0.000001 do *the same*. If λ θ is the whole gradient, then λ θ / √(λ² θ²) = ±1: **λ cancels**. Each such
# weight moves by lr per step towards 0, however small λ is. In AdamW a small λ is a small decay.
#
# ## Real data, a fair comparison
#
# Which optimizer is the best for our digits? First we must be fair: each gets **its own** learning rate, from
# the same list, chosen on the validation part. We train with each of 8 rates, twice, and look at the
# validation loss.

# %%
grid = 10.0 ** np.arange(-3, 1, 0.5)  # eight learning rates


def validation_loss(kind, settings, lr, seed):
    with np.errstate(all="ignore"):
        return measure.evaluate(train(kind, lr, seed=seed, **settings)[0], digits.val).loss


found = {}  # name -> the mean validation loss at each rate of the grid
for name, how in family.items():
    both = np.array([[validation_loss(*how, lr, seed) for seed in (0, 1)] for lr in grid])  # (rates, seeds)
    found[name] = np.nan_to_num(both, nan=np.inf).mean(axis=1)
chosen = {name: float(grid[loss.argmin()]) for name, loss in found.items()}
figure, ax = plt.subplots(figsize=(9, 3.6), layout="constrained")
for (name, loss), mark in zip(found.items(), "osD^vP"):
    label = f"{name}: best {chosen[name]:.2g}"
    ax.loglog(grid, np.minimum(loss, 9), f"{mark}-", ms=4, color=colours[name], label=label)
ax.axhline(math.log(10), color="0.6", lw=1, zorder=0)
ax.text(1e-3, 2.5, "guessing: ln 10", fontsize=9, color="0.4")
ax.set(xlabel="learning rate, log scale", ylabel="validation loss, log scale", ylim=(0.08, 9.5))
ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), fontsize=9)
plt.show()

# %% [markdown]
# Read this figure slowly; it holds most of the lesson.
#
# - Every method has a good learning rate, and the best values differ by a factor of a hundred.
# - The curve of momentum is nearly that of SGD, shifted to the left by a factor of 10: that is the 1 / (1 −
#   0.9) that you saw by hand.
# - Ten times above its best value, each method is far worse or only guesses. For SGD the next rate is a
#   cliff.
#
# Now, and only now, the test part, once: five new seeds for each, with the chosen rates.

# %%
print("optimizer        lr    test accuracy, mean ± standard deviation over 5 seeds, and the worst seed")
for name, (kind, settings) in family.items():
    nets = [train(kind, chosen[name], seed=seed, **settings)[0] for seed in range(10, 15)]
    scores = [measure.evaluate(net, digits.test).accuracy for net in nets]
    spread = np.std(scores, ddof=1)
    print(f"{name:10} {chosen[name]:8.2g}    {np.mean(scores):6.1%} ± {spread:.1%}    {min(scores):.1%}")
one = measure.evaluate(nets[0], digits.test)
print(f"(the standard error of one of these accuracies, from {one.n} images, is {one.standard_error:.1%})")

# %% [markdown]
# Be careful with such a table. Two numbers differ clearly only if their distance is well above both
# uncertainties: that of the seeds, and that of the 360 test images. Most of the pairs here fail this test.
# And a rate that was the best for two seeds can be close to the cliff for a third: see the worst seeds. On
# this small task, with tuned rates, no ranking of all six is proven. What Adam gives is not a miracle at the
# end, but less search: its lr does not depend on the scale of the loss, so one usual value works in many
# places.
#
# ## Wrong ways
#
# ### Wrong way 1: compare optimizers at one learning rate
#
# "To be fair, we used the same learning rate for all." Here is who wins then, from the very numbers of the
# figure above:

# %%
print("one rate for all    the winner       validation losses of all")
for lr in (0.001, 0.01, 0.1, 1.0):
    place = int(abs(grid - lr).argmin())
    losses_here = {name: loss[place] for name, loss in found.items()}
    line = ", ".join(f"{name} {loss:.2f}" for name, loss in losses_here.items())
    print(f"lr = {lr:<15} {min(losses_here, key=losses_here.get):12} {line}")

# %% [markdown]
# Choose the rate, and you choose the winner. A study of Choi and others (below) found the same at full size:
# the ranking of optimizers depends on how the settings were searched.
#
# ### Wrong way 2: Adam without bias correction · Wrong way 3: ε under the root
#
# Both stand in many programs. We run them (left and right), each beside the right Adam.


# %%
def show(ax, colour, style, name, kind, lr, **options):
    """Draw the loss of one training run; the legend says how good the net is."""
    net, history = train(kind, lr, **options)
    quality = measure.evaluate(net, digits.val)
    label = f"{name}: {quality.accuracy:.0%} ± {quality.standard_error:.0%}"
    ax.plot(smooth(history), style, color=colour, label=label)


figure, (left, right) = two_panels(3.6, sharey=True)
for version, style in (("right", "-"), ("uncorrected", "--")):
    with installed(optim.Adam.adapted, optim.Adam.adapted if style == "-" else wrong.without_correction):
        for lr, colour in ((0.01, "C0"), (0.1, "C3")):
            show(left, colour, style, f"lr = {lr}, {version}", optim.Adam, lr)
for version, style in (("√v̂ + ε", "-"), ("√(v̂ + ε)", "--")):
    with installed(optim.Adam.adapted, optim.Adam.adapted if style == "-" else wrong.eps_inside):
        for scale, colour in ((1.0, "C0"), (0.01, "C1"), (0.0001, "C3")):
            show(right, colour, style, f"loss × {scale:g}, {version}", optim.Adam, 0.01, scale=scale)
left.set(title="bias correction", xlabel="step", ylabel="loss (unscaled), mean of 5 steps", ylim=(0, 3.4))
right.set(title="place of ε", xlabel="step")
for ax in (left, right):
    ax.legend(frameon=False, fontsize=8, title="validation accuracy ± standard error", loc=(0.36, 0.2))
plt.show()

# %% [markdown]
# Left, a trap: with lr = 0.01 the loss of the *uncorrected* Adam falls faster. Its steps are up to six times
# larger, and 0.01 was a bit careful for a run of 100 steps. So a mistake can look like progress: it is a
# larger learning rate in disguise. With lr = 0.1 the same factor of six destroys the network in the first
# steps.
#
# Right: √(v̂ + 10⁻⁸) is at least 10⁻⁴. For gradients well above 10⁻⁴ nobody sees the difference. When the
# loss, and so all gradients, are 10,000 times smaller, the wrong one stands nearly still. The right one has
# its floor at 10⁻⁸.
#
# ### Wrong way 4: a memory that never fades, or one that is lost
#
# Momentum 1 adds up all gradients for ever. And if the optimizer is made *inside* the loop, its memory is
# lost each time.

# %%
figure, (left, right) = two_panels(3.6, sharey=True)
for mu, style in ((0.9, "-"), (1.0, "--")):
    for lr, colour in ((0.01, "C0"), (0.1, "C3")):
        name = f"lr = {lr}, momentum {mu}"
        show(left, colour, style, name, optim.SGD, lr, momentum=mu, epochs=10)
for restart, style in (("never", "-"), ("each epoch", "--"), ("each step", ":")):
    show(right, "C0", style, f"SGD, {restart}", optim.SGD, 0.1, momentum=0.9, restart=restart)
    show(right, "C1", style, f"Adam, {restart}", optim.Adam, 0.01, restart=restart)
left.set(title="momentum 0.9 and 1", xlabel="step", ylabel="loss, mean of 5 steps", ylim=(0, 6))
right.set(title="the optimizer is made anew ...", xlabel="step")
for ax in (left, right):
    ax.legend(frameon=False, fontsize=8, title="validation accuracy ± standard error", loc="upper right")
plt.show()

# %% [markdown]
# Left: with momentum 1 nothing ever brakes the ball. It falls fast, shoots past, and comes back. Right: made
# anew in each epoch, little is lost in this short run. Made anew in each step, SGD has no momentum at all.
# And Adam? It still learns. But it is no longer Adam: each step is a *first* step, lr · sign(g). So you may
# not notice the mistake from the curve; print the optimizer's `steps`.
#
# ## One more failure
#
# A friend has a stream of batches. Most are ordinary, but one in three holds a rare, important case with a
# large gradient. So the gradients of one weight come as (a, b, c, a, b, c, …). SGD does the right thing: the
# loss falls. The friend switches to RMSprop with a short memory, α = 0.01, "so that it adapts fast". Now the
# weight walks in the *wrong direction*, uphill, for ever. The code has no bug.
#
# ### Exercise 4.5 · explain this failure
#
# Find three gradients a, b, c with **a positive sum** (so downhill is to the left: θ should fall) for which
# RMSprop with α = 0.01 moves θ to the **right**. Then explain it to your neighbour in one sentence.


# %% exercise="4.5"
def witness():
    """Three gradients, repeated for ever, that have a positive sum and yet make RMSprop climb."""
    a, b, c = ..., ..., ...
    return a, b, c


# %% check="4.5"
check("4.5")

# %% [markdown]
# Below are the paths for the package's example (write your own three numbers in its place), and the speed of
# RMSprop as a function of its memory.

# %%
rounds = list(material.witness()) * 100
runs = {
    "SGD": optim.SGD([leaf(0.0)], lr=0.01),
    "RMSprop, α = 0.01": optim.RMSprop([leaf(0.0)], lr=0.01, alpha=0.01),
    "RMSprop, α = 0.99": optim.RMSprop([leaf(0.0)], lr=0.01, alpha=0.99),
    "Adam, usual betas": optim.Adam([leaf(0.0)], lr=0.01),
}
figure, (left, right) = two_panels()
for name, optimizer in runs.items():
    left.plot(follow(optimizer, rounds), label=name)
left.axhline(0, color="0.6", lw=1, zorder=0)
left.set(xlabel="step", ylabel="θ  (uphill is up)", title="three gradients, again and again")
left.legend(frameon=False, fontsize=9, loc="lower left")
memories = 1 - np.geomspace(0.99, 0.004, 16)
speeds = []
for alpha in memories:
    path = follow(optim.RMSprop([leaf(0.0)], lr=1.0, alpha=alpha), rounds * 3)
    speeds.append((path[-1] - path[-301]) / 300)  # once the average v is settled
right.semilogx(1 / (1 - memories), speeds, "o-", ms=4)
right.axhline(0, color="0.6", lw=1, zorder=0)
right.set(xlabel="memory 1 / (1 − α) in steps, log scale", ylabel="move per step / lr")
right.set_title("RMSprop: above 0 is uphill")
plt.show()

# %% [markdown]
# With a short memory, √v is nearly |g| of this very step, and g / |g| is a sign. The gradients then **vote**:
# two small ones outvote a large one. (The large one must not be huge, or v still remembers it two steps
# later.) With a memory that is long compared with the three batches, v is the same in all three steps, and
# the sum decides, as it should. That is one reason for β₂ = 0.999. It is not a proof of safety: Reddi, Kale
# and Kumar, from whose paper this example comes, construct such a failure for other betas, too.
#
# ## In PyTorch
#
# The names and the numbers are the same:
#
# ```python
# optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True)
# optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2)
# optimizer.zero_grad(); loss.backward(); optimizer.step()
# ```
#
# The memory is `optimizer.state[p]["momentum_buffer"]`, and for Adam `"exp_avg"` and `"exp_avg_sq"`.
#
# ## Questions
#
# 1. μ = 0.99: by which factor should lr change, compared with μ = 0.9, to start the search for the best lr?
# 2. A model has a million weights in float32. How many bytes of memory does Adam need besides the weights?
# 3. You double the loss. What changes for SGD, for SGD with momentum, for Adam, for Adam with `weight_decay`?
# 4. Why does the size of Adam's step say little about how far the minimum is away?
# 5. A paper says: "Our optimizer beats SGD. We used lr = 0.001 for both." What do you ask?
#
# BEGIN SOLUTION
# **Answers.**
#
# 1. 1 / (1 − μ) grows from 10 to 100, so try a tenth of the learning rate.
# 2. Two arrays, m and v, of 4 bytes for each weight: 8 million bytes, twice the model itself.
# 3. SGD, with or without momentum: as if lr were doubled. Adam: nothing. Adam with L2: the gradient doubles
#    and the penalty does not, so the penalty counts half as much.
# 4. Its size is about lr wherever the gradients agree, far away or near. So lr must fall towards the end of
#    training: that is a schedule, a topic of lesson 5.
# 5. Which learning rates were tried for SGD, on which data were they chosen, and how many seeds were run?
# END SOLUTION
#
# ## Sources
#
# - D. P. Kingma and J. Ba (2015), "Adam: A Method for Stochastic Optimization", ICLR, arXiv:1412.6980 (the
#   formulas; Section 2.1: the step does not depend on the scale of the gradients).
# - I. Sutskever, J. Martens, G. Dahl and G. Hinton (2013), "On the importance of initialization and momentum
#   in deep learning", ICML, *PMLR* 28(3), 1139–1147 (momentum and Nesterov's form).
# - I. Loshchilov and F. Hutter (2019), "Decoupled Weight Decay Regularization", ICLR, arXiv:1711.05101
#   (AdamW).
# - G. Goh (2017), "Why Momentum Really Works", *Distill* (both rates, with their best settings).
# - S. J. Reddi, S. Kale and S. Kumar (2018), "On the Convergence of Adam and Beyond", ICLR, arXiv:1904.09237
#   (the failure of exercise 4.5).
# - D. Choi, C. J. Shallue, Z. Nado, J. Lee, C. J. Maddison and G. E. Dahl (2019), "On Empirical Comparisons
#   of Optimizers for Deep Learning", arXiv:1910.05446 (wrong way 1).
#
# **Read on in the source:** `tinyopt/optim/sgd.py`, `adaptive.py` and `adam.py` hold one formula each;
# `optimizer.py` is the loop around them, and shows why big arrays are updated in small blocks.

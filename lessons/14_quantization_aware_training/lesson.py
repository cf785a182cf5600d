"""Lesson 14, few bits in training: source of lesson.ipynb; see tinyopt/course/percent.py for its format."""

# %% [markdown]
# # 14 · Training with quantization: down to one bit
#
# **The question.** Rounded to 8 bits after training, a network is as good as before. Rounded to 2 bits, it
# fails often. **What if the rounding is there while the network learns?** But rounding is a staircase, and
# the slope of a staircase is 0. What should gradient descent follow?
#
# - **You need:** lesson 1 (pullbacks), lesson 12 (scale, zero point, clipping, per channel).
# - **You will write:** what a rounded weight learns, by hand; `fake_quantize` and its pullback; the gradient
#   of a step that learns; a product of 64 signs in one XOR; a weight that never comes back.
# - **Time:** about 110 minutes.
#
# Where an exercise is still empty, the package's own function works for you.

# %%
import copy
import math
import os
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import tinyopt
from tinyopt import Tensor, compress, data, measure, nn, no_grad, optim, train
from tinyopt.codec.popcount import pack_signs
from tinyopt.compress.binary import binarize, mean_scale
from tinyopt.compress.calibrate import mse_optimal
from tinyopt.compress.lsq import finish, prepare_lsq
from tinyopt.compress.qat import prepare_qat
from tinyopt.compress.ternary import ternarize, twn_line
from tinyopt.course import STYLE, start
from tinyopt.course.lessons import find, load
from tinyopt.ops.rule import substitute
from tinyopt.tensor import OPS

check, hint, reveal, yours = start(14)
material = load(find(14) / "material.py")
folder = tempfile.TemporaryDirectory()  # all files of this lesson; it is removed at the end
plt.rcParams.update(STYLE)

# %% [markdown]
# First three small networks of three seeds, trained in floats. All settings are compared on **validation**
# images. For these we take 357 of the training images, too: 180 are few. The test images wait for the end.

# %%
digits = data.digits()
learn = digits.train.take(slice(0, 900))
val = data.Part(*(np.concatenate([a[900:], b]) for a, b in zip(digits.train, digits.val)))
SEEDS = (0, 1, 2)
BASE, MORE = 20, 10  # epochs: in floats, and after that with the rounding inside


def make(seed):
    """A dense network for images of 8×8: 64, 48, 32 units, ten classes."""
    rng = np.random.default_rng(seed)
    layers = {"fc1": nn.Linear(64, 48, rng=rng), "relu1": nn.ReLU(), "fc2": nn.Linear(48, 32, rng=rng)}
    return nn.Sequential(flatten=nn.Flatten(), **layers, relu2=nn.ReLU(), fc3=nn.Linear(32, 10, rng=rng))


def fit(net, epochs, seed, lr=0.01, callbacks=(), optimizer=None):
    """Train in place; the learning rate falls to 0 along half a cosine."""
    settings = {"epochs": epochs, "seed": seed, "schedule": train.cosine, "progress": False}
    optimizer = optimizer or optim.Adam(net.parameters(), lr=lr)
    train.fit(net, (learn, None), optimizer=optimizer, callbacks=callbacks, **settings)
    return net


def through_a_file(net, part=val):
    """Save a model, load the file again, judge what was loaded: (bytes of the file, accuracy in percent)."""
    path = Path(folder.name) / "net.top"
    tinyopt.save(net, path)
    return os.path.getsize(path), 100 * measure.evaluate(tinyopt.load(path), part).accuracy


def mean_and_deviation(numbers):
    return f"{np.mean(numbers):5.1f} ± {np.std(numbers, ddof=1):3.1f}"


nets = {seed: fit(make(seed), BASE, seed, lr=0.003) for seed in SEEDS}
floats = [through_a_file(net) for net in nets.values()]
print(f"32 bits: {floats[0][0]:,} bytes, validation accuracy {mean_and_deviation([a for _, a in floats])} %")

# %% [markdown]
# Now the picture. The weights are rounded after training, with a scale for each output channel, and the range
# from the smallest weight to the largest. Biases stay floats. This is **post-training quantization** (PTQ).

# %%
BITS = (8, 6, 4, 3, 2)


def post_training(net, bits, **settings):
    """A copy with weights of so many bits."""
    rounded = copy.deepcopy(net)
    compress.quantize(rounded, bits, **settings)
    return rounded


opening = {bits: [through_a_file(post_training(net, bits))[1] for net in nets.values()] for bits in BITS}
weight = nets[0].get("fc2.weight").data
figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.2), layout="constrained")
left.errorbar(range(5), [np.mean(a) for a in opening.values()], [np.std(a, ddof=1) for a in opening.values()],
              fmt="C3o-", capsize=3, label="rounded after training")  # fmt: skip
left.axhline(np.mean([a for _, a in floats]), color="0.6", ls="--", label="32-bit floats")
left.set(xticks=range(5), xticklabels=BITS, xlabel="bits for each weight", ylim=(0, 103))
left.set(ylabel="validation accuracy, %", title="three networks: mean and deviation")
left.legend(frameon=False, loc="lower left")
right.hist(weight[0], bins=24, color="0.75")
for value in np.unique(post_training(nets[0], 2).get("fc2.weight").read().data[0]):
    right.axvline(value, color="C3", lw=2)
right.set(xlabel="weight of one unit of fc2", ylabel="number of weights", title="2 bits: three values (red)")
plt.show()

# %% [markdown]
# The weights never knew that they would be rounded. They lie everywhere, and mostly far from the three red
# lines. If the network could *feel* the rounding while it learns, its weights could go where rounding does
# little harm.
#
# ## By hand: the slope of a staircase
#
# Let the scale be 0.5 and the integers −1, 0, 1: that is 2 bits, symmetric. So a weight w is seen as
#
#     q = clip(round(w / 0.5), −1, 1)        y = 0.5 · q
#
# | w | w / 0.5 | rounded | clipped: q | seen: y | true slope dy/dw | slope that we *pretend* |
# |---|---|---|---|---|---|---|
# | 0.15 | 0.3 | 0 | 0 | 0 | **0** | 1 |
# | 0.3 | 0.6 | 1 | 1 | 0.5 | **0** | 1 |
# | −0.6 | −1.2 | −1 | −1 | −0.5 | **0** | 1 |
# | 1.1 | 2.2 | 2 | 1: **clipped** | 0.5 | **0** | 0 |
#
# Move w a little, and y does not move: the true slope is 0 nearly everywhere. At the edges of the stairs it
# does not exist. So the true gradient of every weight is 0, and nothing is learned.
#
# The way out is a trick, the **straight-through estimator** (STE). *Forward* we round. *Backward* we pretend
# that rounding was the identity: slope 1. Seen from afar, the staircase climbs like the line y = w. Where w
# is **clipped**, the staircase has ended; from afar, too, it is flat: slope 0.

# %%
w = np.linspace(-1.2, 1.2, 961)
seen, slope = map(np.array, material.rounded(w))
figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.1), layout="constrained")
left.plot(w, seen, "C3", label="what the network sees")
left.plot(w, np.clip(w, -0.75, 0.75), "C0--", label="what the gradient believes")
left.set(xlabel="float weight w", ylabel="y", title="forward")
left.legend(frameon=False, fontsize=9)
right.plot(w, 0 * w, "C3", label="true slope")
right.plot(w, slope, "C0--", label="straight-through")
right.set(xlabel="float weight w", ylabel="dy/dw", title="backward", ylim=(-0.1, 1.4))
right.legend(frameon=False, fontsize=9)
plt.show()

# %% [markdown]
# So there are **two** weights. A float weight w is trained and kept (it is called the *latent* or *shadow*
# weight). The network only ever sees the rounded y. Small steps add up in w, until one of them crosses an
# edge. Then y jumps. After training the file holds only q, and w is thrown away.
#
# ### Exercise 14.1 · predict, then compute
#
# The same line: scale 0.5, integers −1, 0, 1. Four weights: **0.1, 0.6, −0.7, −0.8**. For each of them, the
# gradient of the loss with respect to *what is seen*, ∂L/∂y, is **4**.
#
# What does the network see of each? What is the straight-through gradient ∂L/∂w of each? (Whether a number is
# clipped is decided *after* it is rounded.) And: SGD with a learning rate of 0.01 trains the second weight,
# 0.6, and its gradient stays 4. After how many steps does the network see a change?


# %% exercise="14.1"
def predict():
    """What is seen of 0.1, 0.6, −0.7, −0.8; their four gradients; the number of steps: by hand."""
    # BEGIN SOLUTION
    seen = [0, 0.5, -0.5, -0.5]
    gradient = [4, 4, 4, 0]  # −1.4 is rounded to −1, inside; −1.6 is rounded to −2, clipped
    n_steps = 9  # 0.6 − 9 · 0.04 = 0.24, the first below 0.25
    # INSTEAD
    seen = ...
    gradient = ...
    n_steps = ...
    # END SOLUTION
    return seen, gradient, n_steps


# %% check="14.1"
check("14.1")

# %% [markdown]
# Here is one weight in training. The loss is (y − 0.3)². But 0.3 is not among the three values. What will the
# float weight do? We run it with the true slope and with the straight-through slope.

# %%
steps, lr, target = 60, 0.05, 0.3
paths = {"true slope": [0.05], "straight-through": [0.05]}
for name, path in paths.items():
    for _ in range(steps):
        (y,), (ste,) = material.rounded([path[-1]])
        path.append(path[-1] - lr * 2 * (y - target) * (ste if name == "straight-through" else 0))
figure, axes = plt.subplots(1, 2, figsize=(9.5, 3), layout="constrained", sharey=True)
for ax, (name, path) in zip(axes, paths.items()):
    ax.plot(path, "C0", label="float weight w")
    seen = material.rounded(path)[0]
    ax.step(range(steps + 1), seen, "C3", where="post", lw=1, label="seen by the network, y")
    ax.axhline(target, color="0.6", ls=":", label="target")
    ax.axhline(0.25, color="0.6", ls="-", lw=0.6)
    ax.set(xlabel="step of SGD", title=name, ylim=(-0.08, 0.72))
axes[0].set_ylabel("weight")
axes[1].legend(frameon=False, fontsize=9, loc="upper right", ncols=3, columnspacing=1)
plt.show()
late = material.rounded(paths["straight-through"][20:])[0]
print(f"straight-through, steps 20 to 60: 0.5 is seen in {np.mean(np.array(late) == 0.5):.0%} of the steps, "
      f"on average {np.mean(late):.2f}")  # fmt: skip

# %% [markdown]
# This is worth a minute. The true slope does nothing. The straight-through slope walks to the **edge** at
# 0.25 (thin line), and then swings over it, again and again. So y is sometimes 0 and sometimes 0.5, and *on
# average* near the target. It never comes to rest: the estimator is no gradient of anything. A learning rate
# that falls to 0 ends the swinging, on one side or the other, by chance. Keep this in mind when two runs
# differ.
#
# ## The formula
#
#     q = clip(round(x / scale) + zero_point, low, high)        y = (q − zero_point) · scale
#     ∂L/∂x = ∂L/∂y   inside the range,   0 where clipped
#
# Because y is a float that only *plays* integer, this is called **fake quantization**. The slow loop:


# %%
def fake_quantize_slowly(numbers, scale, zero_point, low, high, g):
    """One number at a time: (what is seen, the straight-through gradients)."""
    seen, gradients = [], []
    for number, incoming in zip(numbers, g):
        q = round(number / scale) + zero_point
        seen.append((min(max(q, low), high) - zero_point) * scale)
        gradients.append(incoming if low <= q <= high else 0.0)
    return seen, gradients


numbers = np.random.default_rng(0).normal(size=1000)
y, grads = fake_quantize_slowly(numbers.tolist(), 0.5, 0, -1, 1, [1.0] * 1000)
print("1,000 random numbers, the package sees the same:", np.allclose(y, material.rounded(numbers)[0]))
print(f"the same gradients: {grads == material.rounded(numbers)[1]}; {1 - np.mean(grads):.0%} are clipped")

# %% [markdown]
# ### Exercise 14.2 · `fake_quantize`
#
# Write the rule for arrays, with its pullback. `low` and `high` are integers. Scale and zero point need no
# gradient: this is what the two None say. Use `np.rint`, which rounds.


# %% exercise="14.2"
def fake_quantize(x, scale, zero_point, *, low, high):
    """Round x to the values that an integer in [low, high] can stand for; straight-through.

    Shapes: x (...); scale and zero_point broadcast against x -> y, as x; the pullback: g, as x -> ∂L/∂x.
    """
    # BEGIN SOLUTION
    q = np.rint(x / scale) + zero_point
    inside = (q >= low) & (q <= high)
    y = (np.clip(q, low, high) - zero_point) * scale
    # INSTEAD
    y = ...
    # END SOLUTION

    def grad_x(g):
        # BEGIN SOLUTION
        gradient = g * inside
        # INSTEAD
        gradient = ...
        # END SOLUTION
        return gradient

    return y, (grad_x, None, None)


# %% check="14.2"
check("14.2")

# %% [markdown]
# Now your rule trains a network: **quantization-aware training** (QAT). `prepare_qat` puts a view on each
# weight, which calls your rule. It returns a callback: after each step of training, the scales are laid anew,
# from the smallest weight to the largest of each channel *as they are then*. We start from the trained net.


# %%
def qat(net, bits, seed, epochs=MORE, **settings):
    """A copy, trained on with rounded weights."""
    net = copy.deepcopy(net)
    lines = prepare_qat(net, learn, weight_bits=bits, activation_bits=None, **settings)
    return fit(net, epochs, 100 + seed, callbacks=[lines])


with yours("14.2"):
    two_bits = qat(nets[0], 2, 0)
print(f"2 bits, seed 0: after training {through_a_file(post_training(nets[0], 2))[1]:.1f} %, "
      f"in training {through_a_file(two_bits)[1]:.1f} %")  # fmt: skip
before, after = nets[0].get("fc1.weight").data, two_bits.get("fc1.weight").data
was, now = (w / abs(w).max(axis=1, keepdims=True) for w in (before, after))
crossed = np.rint(was) != np.rint(now)  # seen as another of −1, 0, 1
figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.4), layout="constrained")
for numbers, label in ((was, "before QAT"), (now, "after QAT")):
    left.hist(numbers.reshape(-1), bins=81, range=(-1, 1), histtype="step", label=label)
left.set(xlabel="float weight / largest of its channel", ylabel="weights of fc1", ylim=(0, 125))
left.legend(frameon=False, fontsize=9, ncols=2)
for which, colour, label in ((~crossed, "0.7", "same side"), (crossed, "C3", "crossed an edge")):
    right.plot(was[which], now[which], ".", color=colour, ms=2, label=label)
for edge in (-0.5, 0.5):
    left.axvline(edge, color="0.4", lw=1)
    right.axvline(edge, color="0.4", lw=1)
    right.axhline(edge, color="0.4", lw=1)
right.set(xlabel="before QAT", ylabel="after QAT", title="each weight of fc1")
right.legend(frameon=False, fontsize=9, markerscale=5, bbox_to_anchor=(1, 0.5), loc="center left")
plt.show()
print(f"{crossed.mean():.0%} of the weights of fc1 stand for another integer than before")

# %% [markdown]
# Between the edges at ±0.5 a weight is seen as 0, beyond them as plus or minus the largest of its channel. Is
# the left picture what you expected? The weights did *not* gather at the three values that are seen. What has
# changed is which weight lies on which side of an edge (red, on the right). Only this counts.
#
# ## A step that learns
#
# Where should the steps be? From the smallest weight to the largest, we said, and lesson 12 knows better
# ranges. But why choose, when we can **learn**? *Learned step size quantization* (LSQ; Esser et al., 2020)
# trains the step s like a weight. What is the gradient of s?
#
#     y = q · s        q = round(clip(x / s, low, high))
#
# - **Clipped above:** y = high · s. A larger s moves y up: dy/ds = high. This is exact. Below: dy/ds = low.
# - **Inside:** rounding adds something, x / s + r = q. Straight-through takes r for a constant. So
#   y = (x / s + r) · s = x + r · s, and dy/ds = r = **q − x / s**.
#
# So a clipped number pulls strongly, and one inside by half at most: by how far it was rounded. All these
# are multiplied by ∂L/∂y and added. There are thousands of weights, and one step. To keep its gradient in
# measure, LSQ divides it by √(count · high), where count is how many numbers share the step.

# %%
x = np.linspace(-2.2, 1.8, 801)
s = Tensor(np.ones_like(x), requires_grad=True)  # each number has its own copy, to see each gradient
y = OPS["lsq"](Tensor(x), s, low=-2, high=1, count=1)
y.backward(np.ones_like(x))
figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 2.9), layout="constrained")
left.plot(x, y.numpy(), "C3", label="y")
left.plot(x, x, "0.8", label="x")
left.set(xlabel="x / s", ylabel="y / s", title="2 bits, low −2, high 1")
left.legend(frameon=False)
right.plot(x, s.grad, "C0")
right.axhline(0, color="0.7", lw=0.8)
right.set(xlabel="x / s", ylabel="d = dy/ds", title="what a larger step does to y")
plt.show()

# %% [markdown]
# ### Exercise 14.3 · the gradient of the step
#
# The value and the gradient of x are given. Write the gradient of the step: g · d / √(count · high), for each
# number of x. You need not add up: the engine undoes broadcasting, as in lesson 1.


# %% exercise="14.3"
def lsq(x, step, *, low, high, count):
    """Round x to multiples of `step`, from low to high of them; the step learns.

    Shapes: x (...); step broadcasts against x -> y, as x; grad_step: g, as x -> as x.
    """
    ratio = x / step
    q = np.rint(np.clip(ratio, low, high))
    inside = (ratio > low) & (ratio < high)

    def grad_x(g):
        return g * inside

    def grad_step(g):
        # BEGIN SOLUTION
        d = q - ratio * inside
        gradient = g * d * (1 / math.sqrt(count * high))
        # INSTEAD
        gradient = ...
        # END SOLUTION
        return gradient

    return q * step, (grad_x, grad_step)


# %% check="14.3"
check("14.3")

# %% [markdown]
# Your gradient trains the steps of a real network, one step for each whole layer, in 2 bits. We look at them
# after each epoch.


# %%
def learned(net, bits, seed, epochs=MORE, lr=0.02, callbacks=(), per_channel=True):
    """A copy, trained on with rounded weights and learned steps."""
    net = copy.deepcopy(net)
    prepare_lsq(net, learn, weight_bits=bits, activation_bits=None, per_channel=per_channel)
    optimizer = optim.SGD(net.parameters(), lr=lr, momentum=0.9)
    fit(net, epochs, 100 + seed, callbacks=callbacks, optimizer=optimizer)
    finish(net)  # ordinary layers again, with the steps that were learned
    return net


class Watch:
    """A callback that notes all steps."""

    def __init__(self):
        self.seen = []

    def after_step(self, run):
        named = dict(run.model.named_parameters())
        self.seen.append([float(named[f"fc{i}.step"].data) for i in (1, 2, 3)])


watch = Watch()
with yours("14.3"):
    net = learned(nets[0], 2, 0, callbacks=[watch], per_channel=False)
print(f"2 bits, one learned step a layer, seed 0: {through_a_file(net)[1]:.1f} %")
figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
for i, path in enumerate(zip(*watch.seen)):
    ax.plot(path, label=f"fc{i + 1}")
    widest = abs(nets[0].get(f"fc{i + 1}.weight").data).max()
    ax.axhline(widest, color=f"C{i}", ls=":", lw=1)
ax.set(xlabel="step of SGD", ylabel="step s", ylim=(0, None), title="dotted: the largest weight")
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# Look where the learned steps are, and where min-max would put them. To clip the few largest weights costs
# less than to round most of the others to 0.
#
# ## Three values, two values
#
# With **three values**, −α, 0 and α, a weight has log₂ 3 = 1.58 bits. *Ternary weight networks* (TWN) choose
# them in closed form, for each channel:
#
#     Δ = 0.7 · mean |w|        w above Δ becomes α, w below −Δ becomes −α, else 0
#     α = mean of the |w| above Δ
#
# With **two values**, one bit, only the sign is left. *BinaryConnect* (2015) sees ±1, or another constant.
# *XNOR-Net* (2016) asks: which scale α makes α · sign(w) the nearest to w? A parabola answers:
#
#     ‖w − α b‖² = ‖w‖² − 2 α Σ |w| + α² n,   b = sign(w)        lowest at α = Σ |w| / n = mean |w|
#
# By hand: w = (0.8, −0.2, 0.1, −0.5). Binary: α = 1.6 / 4 = 0.4, so w is seen as (0.4, −0.4, 0.4, −0.4), and
# the squared error is 0.16 + 0.04 + 0.09 + 0.01 = 0.30. Ternary: Δ = 0.7 · 0.4 = 0.28, so two weights
# survive, α = (0.8 + 0.5) / 2 = 0.65: (0.65, 0, 0, −0.65), error 0.0225 + 0.04 + 0.01 + 0.0225 = 0.095.
# Zero is a valuable value!

# %%
row = np.array([[0.8, -0.2, 0.1, -0.5]])
threshold, alpha = twn_line(row)
print(f"by the package: binary α = {mean_scale(row).item():.2f}; ternary Δ = {threshold.item():.2f}, "
      f"α = {alpha.item():.2f}")  # fmt: skip
row = np.sort(nets[0].get("fc1.weight").data[:1])
threshold, alpha = twn_line(row)
widest = abs(row).max()
shown = {
    "2 bits, min-max: −s, 0, s": np.rint(np.clip(row / widest, -1, 1)) * widest,
    "ternary (TWN)": ((row > threshold) * 1.0 - (row < -threshold)) * alpha,
    "binary (XNOR)": np.where(row >= 0, 1, -1) * mean_scale(row),
}
figure, axes = plt.subplots(1, 3, figsize=(9.5, 2.8), layout="constrained", sharey=True)
for ax, (name, values) in zip(axes, shown.items()):
    ax.plot(row[0], "0.7", label="weight")
    ax.plot(values[0], "C3.", ms=3, label="what is seen")
    error = ((values - row) ** 2).sum() / (row**2).sum()
    ax.set(title=f"{name}\nerror {error:.0%} of Σ w²", xlabel="weight, sorted")
axes[0].set_ylabel("one channel of fc1")
axes[0].legend(frameon=False, fontsize=9)
plt.show()

# %% [markdown]
# The gradients are straight-through again. For TWN it is g. For signs, the papers cut it where |w| > 1. And
# BinaryConnect *clips the float weights* to [−1, 1] after each step: beyond, they would only drift away from
# the edge at 0, and no step could turn their sign any more. The callback of `binarize` does this.
#
# ## Accuracy against bits
#
# All start from the same trained float networks. All that train get the same 10 more epochs. So does the
# **control**: a float network that is trained on as long. Post-training comes twice: with min-max, and with
# the range of the least squared error for each channel (lesson 12). The learning rates were chosen on
# validation images: Adam with 0.01 (not 0.003) is best for all, the control among them; LSQ has SGD with
# 0.02 (0.05 was about as good). Each entry went through a **file**: saved, measured, loaded, and then judged.


# %%
def low_bit(change):
    """A method that lays a view of few values on each weight, and trains on."""

    def method(net, bits, seed):
        net = copy.deepcopy(net)
        follow = change(net)
        return fit(net, MORE, 100 + seed, callbacks=[follow])

    return method


def best_range(net, bits, seed):
    return post_training(net, bits, calibrate=lambda w, axis=None: mse_optimal(w, bits, axis=axis))


def at_once(change):
    def method(net, bits, seed):
        net = copy.deepcopy(net)
        change(net)
        return net

    return method


METHODS = {
    "float, trained on": ((32,), lambda net, bits, seed: fit(copy.deepcopy(net), MORE, 100 + seed)),
    "after training, min-max": ((8, 4, 3, 2), lambda net, bits, seed: post_training(net, bits)),
    "after training, best range": ((8, 4, 3, 2), best_range),
    "QAT": ((8, 4, 3, 2), qat),
    "LSQ": ((8, 4, 3, 2), learned),
    "TWN, not trained": ((1.58,), at_once(ternarize)),
    "TWN": ((1.58,), low_bit(ternarize)),
    "XNOR scale, not trained": ((1,), at_once(binarize)),
    "XNOR scale": ((1,), low_bit(binarize)),
}
began, made, found = time.process_time(), {}, {}
for name, (widths, method) in METHODS.items():
    for bits in widths:
        made[name, bits] = [method(nets[seed], bits, seed) for seed in SEEDS]
        found[name, bits] = np.array([through_a_file(net) for net in made[name, bits]])  # (seeds, 2)
for (name, bits), rows in {("float, 20 epochs", 32): np.array(floats), **found}.items():
    size = f"{rows[0, 0]:7,.0f} bytes  {rows[0, 0] / floats[0][0]:5.2f}×"
    print(f"{bits:4} bits  {name:27} {size}  {mean_and_deviation(rows[:, 1])} %")
print(f"({time.process_time() - began:.0f} s)")

# %%
LOOKS = {  # how it is drawn, and how far beside its tick
    "after training, min-max": ("C3o--", -0.09), "after training, best range": ("C1s--", -0.03),
    "QAT": ("C0o-", 0.03), "LSQ": ("C2^-", 0.09), "TWN, not trained": ("C4v", 0), "TWN": ("C4D", 0),
    "XNOR scale, not trained": ("C5v", 0), "XNOR scale": ("C5D", 0), "float, trained on": ("k*", 0),
}  # fmt: skip
AXIS = [32, 8, 4, 3, 2, 1.58, 1]
figure, ax = plt.subplots(figsize=(9.5, 4), layout="constrained")
for name, (look, shift) in LOOKS.items():
    widths = METHODS[name][0]
    accuracies = np.array([found[name, bits][:, 1] for bits in widths])
    places, deviations = [AXIS.index(bits) + shift for bits in widths], accuracies.std(axis=1, ddof=1)
    ax.errorbar(places, accuracies.mean(axis=1), deviations, fmt=look, capsize=2, label=name)
ax.axhline(found["float, trained on", 32][:, 1].mean(), color="0.7", lw=1, zorder=0)
ax.set(xticks=range(7), xticklabels=AXIS, xlabel="bits for each weight")
ax.set(ylabel="validation accuracy, %", ylim=(30, 102))
ax.legend(frameon=False, loc="lower left", fontsize=9, ncols=2)
plt.show()

# %% [markdown]
# Read it from left to right. At 8 bits rounding costs nothing, so training with it has nothing to win: what
# QAT gains there, the float control gains as well. At 2 bits and below, the dashed lines and the triangles
# fall far, and what was trained with rounding stays near the control. Even **one bit** does, here. This is
# the surprise of the lesson: the network does not need fine weights, it needs weights that *fit together*.
#
# And two warnings. A good **range** alone, without training, saves a part of what min-max loses at 2 bits: to
# compare QAT with the worst post-training method is a cheap win. And this task is easy: what holds on images
# of 8×8 need not hold on large ones.
#
# Now the files. With so few weights, what is *not* a weight counts: biases, scales, names. So one bit is not
# 1/32 of the file. Ternary even takes more than 2 bits here: it stores two numbers for each channel, Δ and α.
# On a large layer, all this hardly counts.

# %%
sizes = {"32 bits": floats[0][0]} | {f"{bits} bits": found["QAT", bits][0, 0] for bits in (8, 4, 3, 2)}
sizes |= {"ternary": found["TWN", 1.58][0, 0], "binary": found["XNOR scale", 1][0, 0]}
large = {"32 bits": nn.Sequential(fc=nn.Linear(1024, 512, rng=0))}
for bits in (8, 4, 3, 2):
    large[f"{bits} bits"] = post_training(large["32 bits"], bits)
for name, change in (("ternary", ternarize), ("binary", binarize)):
    large[name] = at_once(change)(large["32 bits"], None, 0)
path = Path(folder.name) / "large.top"
shares = {}
for name, model in large.items():
    tinyopt.save(model, path)
    shares[name] = os.path.getsize(path) / (4 * (1024 * 512 + 512))
figure, axes = plt.subplots(1, 2, figsize=(9.5, 2.8), layout="constrained", sharey=True)
for ax, heights, title in zip(
    axes, ([size / floats[0][0] for size in sizes.values()], list(shares.values())),
    ("this network: 5,018 parameters", "a layer of 1024 × 512"),
):  # fmt: skip
    ax.bar_label(ax.barh(list(sizes), heights, color="C0"), fmt="%.3f", padding=3, fontsize=9)
    ax.set(title=title, xlabel="bytes of the file / bytes of the floats", xlim=(0, 1.2))
axes[0].invert_yaxis()
plt.show()

# %% [markdown]
# ## Counting bits
#
# If weights *and* inputs are signs, a product needs no multiplication. Write +1 as bit 1 and −1 as bit 0:
#
#     a   +1 −1 −1 +1  ->  1001        a · b = (+1) + (+1) + (−1) + (+1) = 2
#     b   +1 −1 +1 +1  ->  1011        XOR:  0010, they differ in one place: 4 − 2 · 1 = 2
#
# 64 signs fit into one word. One XOR and one count of ones (*popcount*) replace 64 multiplications. XNOR-Net
# has its name from this: XNOR marks the places that agree.
#
# ### Exercise 14.4 · `binary_product`
#
# `a` holds n rows and `b` O rows, each of K words of 64 bits. The last word of a row may not be full: its
# unused bits are 0, in a and in b. `length` says how many signs a row has. Return the n × O sums, as
# integers. `^` is XOR, and `np.bitwise_count` counts the ones of each word. It counts in uint8, which ends at
# 255, and unsigned integers have no −1: add up with `dtype=np.int64`.


# %% exercise="14.4"
def binary_product(a, b, length):
    """Σ_i a[n, i] · b[o, i] for signs, from their words.

    Shapes: a (n, K), b (O, K), uint64; `length` signs in a row -> int64 (n, O).
    """
    # BEGIN SOLUTION
    differ = np.bitwise_count(a[:, None] ^ b).sum(axis=2, dtype=np.int64)  # (n, O, K) -> (n, O)
    product = length - 2 * differ
    # INSTEAD
    product = ...
    # END SOLUTION
    return product


# %% check="14.4"
check("14.4")

# %% [markdown]
# `nn.BinaryLinear` is XNOR-Net's layer: y = β · W sign(x) + b, where β = mean |x| of the example. In training
# it multiplies floats; in inference it packs the signs and counts. With your product: are they equal?

# %%
layer = nn.BinaryLinear(800, 500, rng=0)
x = np.random.default_rng(1).normal(size=(64, 800)).astype(np.float32)
with yours("14.4"), no_grad():
    counted = layer.by_counting(x)
print("equal in every bit to the product of floats:", np.array_equal(counted, layer.by_floats(x)))
words = pack_signs(layer.weight.data)
print(f"{layer.weight.data.nbytes:,} bytes of float32, {words.nbytes:,} bytes of words: "
      f"{layer.weight.data.nbytes / words.nbytes:.1f}× less (800 signs take 13 words, 832 bits)")  # fmt: skip

# %% [markdown]
# And is it faster? XNOR-Net's authors say "58×", *counted in operations*. Here is the clock, for the whole
# layer in NumPy (scale, packing of the input and bias included), beside an ordinary `Linear`, which calls
# BLAS.

# %%
def median_microseconds(calls, rounds=9):
    """The time of each call, in turns: medians; the first round warms up."""
    seconds = np.empty((rounds + 1, len(calls)))
    with no_grad():
        for row in seconds:
            for i, call in enumerate(calls):
                began = time.perf_counter()
                call()
                row[i] = time.perf_counter() - began
    return 1e6 * np.median(seconds[1:], axis=0)


plain, batches, times = nn.Linear(800, 500, rng=0), (1, 4, 16, 64, 256), []
for n in batches:
    x = Tensor(np.random.default_rng(n).normal(size=(n, 800)).astype(np.float32))
    times.append(median_microseconds([lambda: plain(x), lambda: layer(x)]))
times = np.array(times)
figure, ax = plt.subplots(figsize=(6.5, 3), layout="constrained")
ax.loglog(batches, times[:, 0], "ko-", label="Linear: float32, BLAS")
ax.loglog(batches, times[:, 1], "C0s-", label="BinaryLinear: XOR and popcount")
ax.set(xlabel="examples in a batch", ylabel="microseconds", title="800 inputs, 500 outputs")
ax.set_xticks(batches, batches)
ax.minorticks_off()
ax.legend(frameon=False)
plt.show()
for n, (by_floats, by_bits) in zip(batches, times):
    print(f"batch {n}: floats {by_floats:6.0f} µs, bits {by_bits:6.0f} µs: {by_floats / by_bits:.2f}×")

# %% [markdown]
# Nothing near 58, and for many examples at a time the floats win. NumPy writes the result of each XOR and of
# each count to memory; BLAS keeps sums in registers, and its processor does many multiplications at a time.
# Bits win time where one kernel does it all, or in hardware made for it. What is certain here is the
# *memory*: 1 bit instead of 32.
#
# ## The wrong ways
#
# ### Wrong way 1: round, and take the true gradient
#
# Many a first try calls `round` in the forward pass and lets the engine find the gradient. We put such a rule
# in the place of `fake_quantize`, and train 10 epochs, in 2 bits.


# %%
def without_straight_through(x, scale, zero_point, *, low, high):
    """The same value, and the true slope: 0."""
    y = (np.clip(np.rint(x / scale) + zero_point, low, high) - zero_point) * scale
    return y, (lambda g: g * 0, None, None)


table = {"after training": [], "QAT, true slope": [], "QAT, straight-through": []}
for seed, net in nets.items():
    with substitute("fake_quantize", without_straight_through):
        true_slope = qat(net, 2, seed)
    table["after training"].append(found["after training, min-max", 2][seed, 1])
    table["QAT, true slope"].append(through_a_file(true_slope)[1])
    table["QAT, straight-through"].append(found["QAT", 2][seed, 1])
weights, biases = ([n for n in nets[2].state_dict() if n.endswith(end)] for end in ("weight", "bias"))
for kind, names in (("weights", weights), ("biases", biases)):
    changed = [not np.array_equal(nets[2].get(n).data, true_slope.get(n).data) for n in names]
    print(f"true slope: {sum(changed)} of {len(changed)} arrays of {kind} have changed")
for name, accuracies in table.items():
    print(f"{name:23} {mean_and_deviation(accuracies)} %")

# %% [markdown]
# No error, no warning, and the accuracy even rises: the **biases** are not rounded, and they learn. So a
# curve that improves proves nothing. Look whether the *weights* move.
#
# ### Wrong way 2: round once, then train on in floats
#
# "We quantized the network and fine-tuned it." If the rounding is not inside the training, the first step
# leaves the grid.

# %%
rows = {"rounded once, then trained": [], "… and rounded again": [], "QAT": found["QAT", 2]}
for seed, net in nets.items():
    once = post_training(net, 2)
    for parameter in once.parameters():
        parameter.bake()  # the rounded values become ordinary floats
    fit(once, MORE, 100 + seed)
    rows["rounded once, then trained"].append(through_a_file(once))
    rows["… and rounded again"].append(through_a_file(post_training(once, 2)))
print(f"different values in a row of fc1: {len(np.unique(once.get('fc1.weight').data[0]))} (2 bits hold 3)")
for name, numbers in rows.items():
    size, accuracies = np.array(numbers)[0, 0], np.array(numbers)[:, 1]
    print(f"{name:27} {size:7,.0f} bytes  {mean_and_deviation(accuracies)} %")

# %% [markdown]
# The first row is a float network. Its accuracy is good because nothing is quantized in it: look at the
# bytes.
#
# ### Wrong way 3: the largest weight sets the scale
#
# Pixel 0, the corner, is black in all images that we train and validate on. So the weights that read it do
# nothing, and their gradient is 0. We make **one** of them large: 20. The float network does not notice. Now
# 2 bits, one scale for each layer: min-max, as in QAT above, or a learned step.

# %%
corner = np.concatenate([part.images.reshape(-1, 64)[:, 0] for part in (learn, val)])
print(f"pixel 0 of {len(corner):,} images: from {corner.min()} to {corner.max()}")
spoiled = {seed: copy.deepcopy(net) for seed, net in nets.items()}
for net in spoiled.values():
    changed = net.get("fc1.weight").data.copy()
    changed[0, 0] = 20
    net.get("fc1.weight").data = changed
print("floats:", mean_and_deviation([through_a_file(net)[1] for net in spoiled.values()]), "%, before:",
      mean_and_deviation([a for _, a in floats]), "%")  # fmt: skip
heights, zeros = {}, {}
for name, method in {"QAT, min-max": qat, "LSQ": learned}.items():
    for label, start_from in (("as it was", nets), ("one weight is 20", spoiled)):
        trained = [method(net, 2, seed, per_channel=False) for seed, net in start_from.items()]
        heights[f"{name}\n{label}"] = [through_a_file(net)[1] for net in trained]
        seen = [net.get("fc1.weight").read().data for net in trained]
        zeros[f"{name}\n{label}"] = (np.array(seen) == 0).mean()
figure, axes = plt.subplots(1, 2, figsize=(9.5, 2.9), layout="constrained", sharey=True)
colours = ["C0", "C3", "C0", "C0"]
axes[0].barh(list(heights), [np.mean(a) for a in heights.values()], color=colours,
             xerr=[np.std(a, ddof=1) for a in heights.values()], capsize=3)  # fmt: skip
axes[0].set(xlabel="validation accuracy, %", xlim=(0, 103))
axes[1].barh(list(zeros), [100 * share for share in zeros.values()], color=colours)
axes[1].set(xlabel="weights of fc1 that are seen as 0, %", xlim=(0, 103))
axes[0].invert_yaxis()
plt.show()

# %% [markdown]
# One weight without any effect can ruin a layer, and QAT cannot mend it: the outlier has no gradient, so it
# stays, and so does its scale. Training with rounding does not replace a good range.
#
# ### Exercise 14.5 · explain this failure
#
# A friend fixes the line once and for all: scale 0.5, integers −1, 0, 1. "If a weight is clipped and the loss
# wants another value, then training brings it back." Show that this is wrong. The loss is (y − target)². Find
# a start for the float weight and a **target among −0.5, 0 and 0.5**, so that the loss is not 0, and 200
# steps of SGD with the straight-through gradient do not move the weight at all.


# %% exercise="14.5"
def witness():
    """A start and a target: the weight never moves, though the network sees the wrong value."""
    # BEGIN SOLUTION
    start, target = 0.9, -0.5  # 0.9 / 0.5 = 1.8, rounded 2, clipped: seen as 0.5, with the gradient 0
    # INSTEAD
    start, target = ..., ...
    # END SOLUTION
    return start, target


# %% check="14.5"
check("14.5")

# %%
figure, ax = plt.subplots(figsize=(7, 2.9), layout="constrained")
for begin, colour in ((0.9, "C3"), (0.8, "C1"), (0.7, "C0")):
    ax.plot(material.descend(begin, -0.5, n_steps=40, lr=0.03), color=colour, label=f"start {begin}")
ax.axhline(-0.5, color="0.6", ls=":", label="target")
ax.set(xlabel="step of SGD", ylabel="float weight w", title="a fixed line, integers −1, 0, 1, scale 0.5")
ax.legend(frameon=False, ncols=4, loc="lower left", fontsize=9)
ax.set_ylim(-0.9, 1.05)
plt.show()

# %% [markdown]
# The blue weight is beyond 0.5, but not clipped: it moves until −0.5 is seen, and the loss is 0. The other
# two are clipped. Like a dead ReLU, they are dead for good. What helps? QAT's callback lays the line anew
# after each step, from the smallest weight to the largest: then nothing is ever clipped. LSQ clips much; but
# its clipped numbers pull at the *step*, and the line grows to them. BinaryConnect clips the float weight
# itself.
#
# ### Wrong way 4: "binary", stored as float32
#
# The binary network of above, seed 0, written in four ways. The answers are the same in all of them.

# %%
binary = made["XNOR scale", 1][0]
baked = copy.deepcopy(binary)
for parameter in baked.parameters():
    parameter.bake()  # +α and −α as floats
stored = {f"{bits} bits": post_training(baked, bits) for bits in (8, 2)}
stored = {"float32: ±α": baked, **stored, "1 bit": binary}
answers = {}
for name, model in stored.items():
    tinyopt.save(model, path)
    answers[name] = measure.evaluate(tinyopt.load(path), val).predictions
    stored[name] = os.path.getsize(path)
print("the same answers:", all(np.array_equal(a, answers["1 bit"]) for a in answers.values()))
figure, ax = plt.subplots(figsize=(7, 2.3), layout="constrained")
bars = ax.barh(list(stored), list(stored.values()), color=["C3", "C3", "C3", "C2"])
ax.bar_label(bars, fmt="{:,.0f}", padding=3)
ax.set(xlabel="bytes of the file", xlim=(0, 1.2 * max(stored.values())))
ax.invert_yaxis()
plt.show()

# %% [markdown]
# `np.sign(w)` makes a network with two values. It does not make a file with one bit. Ask for the bytes.
#
# ### Wrong way 5: more epochs, and the rounding gets the credit
#
# A network is trained for 4 epochs. Then 10 epochs of QAT, in 4 bits. "Quantization *improved* the accuracy!"

# %%
rows = {"float, 4 epochs": [], "4 bits: QAT, 10 epochs more": [], "float, 10 epochs more": []}
for seed in SEEDS:
    young = fit(make(seed), 4, seed, lr=0.003)
    trained = (young, qat(young, 4, seed), fit(copy.deepcopy(young), MORE, 100 + seed))
    for accuracies, model in zip(rows.values(), trained):
        accuracies.append(through_a_file(model)[1])
for name, accuracies in rows.items():
    print(f"{name:28} {mean_and_deviation(accuracies)} %")

# %% [markdown]
# The epochs did it. This is why the float control stood in our table: *whoever trains more must let the other
# side train more as well*.
#
# ## Once, on the test images
#
# All choices are made. Now the loaded files meet the 360 test images, and each is compared with the float
# control on the same images.

# %%
shown = [("float, trained on", 32), ("after training, min-max", 2), ("after training, best range", 2),
         ("QAT", 2), ("LSQ", 2), ("TWN", 1.58), ("XNOR scale", 1)]  # fmt: skip
last = {key: [through_a_file(net, digits.test)[1] for net in made[key]] for key in shown}
control = np.array(last[shown[0]])
for (name, bits), accuracies in last.items():
    print(f"{bits:4} bits  {name:27} {mean_and_deviation(accuracies)} %   minus the control "
          f"{mean_and_deviation(np.array(accuracies) - control)}")  # fmt: skip
one = [measure.evaluate(made[key][0], digits.test) for key in (("float, trained on", 32), ("QAT", 2))]
print("seed 0, the control and QAT at 2 bits, paired:", measure.compare(*one))
folder.cleanup()

# %% [markdown]
# ## In PyTorch
#
# ```python
# y = torch.fake_quantize_per_tensor_affine(w, 0.5, 0, -1, 1)  # scale, zero point, low, high
# y = torch.fake_quantize_per_channel_affine(w, scale, zero_point, 0, -1, 1)  # one scale for each row
# y = w + (torch.clamp(torch.round(w / s), -1, 1) * s - w).detach()  # the trick by hand: g passes everywhere!
# torch.round(w).sum().backward()  # w.grad is all 0: wrong way 1, and no warning
# ```
#
# The third line is seen in many programs. It hands the gradient on also where the value was clipped.
#
# ## Questions
#
# 1. The learning rate of QAT falls to 0. What would a large constant one do to the weights at an edge?
# 2. Under min-max, laid anew in each step, no weight is clipped. Which weights can still not be moved?
# 3. Why does TWN's α leave out the weights below Δ, and XNOR's α leave out none?
# 4. A product of 100 signs can be −100, −98, …, 100. Why never 99?
#
# BEGIN SOLUTION
# **Answers.**
#
# 1. They would swing over the edge until the end, as in the second picture: which side they are on when
#    training stops is chance. With batch norms, the running averages would belong to a mixture of both.
# 2. Those whose gradient is 0 for another reason: behind a dead ReLU, or reading a pixel that is always 0.
# 3. The best α for given signs and zeros minimises Σ (|w| − α)² over the weights that are not 0: their mean.
#    Weights that are seen as 0 do not depend on α. With signs, none is 0.
# 4. It is 100 − 2 · (places that differ): each place that turns changes the sum by two.
# END SOLUTION
#
# ## Sources
#
# - Y. Bengio, N. Léonard and A. Courville (2013), "Estimating or Propagating Gradients Through Stochastic
#   Neurons for Conditional Computation", arXiv:1308.3432. The name: straight-through estimator.
# - M. Courbariaux, Y. Bengio and J.-P. David (2015), "BinaryConnect: Training Deep Neural Networks with
#   binary weights during propagations", NIPS 2015, arXiv:1511.00363. Signs are seen, floats are kept.
# - M. Rastegari, V. Ordonez, J. Redmon and A. Farhadi (2016), "XNOR-Net: ImageNet Classification Using Binary
#   Convolutional Neural Networks", arXiv:1603.05279. The 58×, counted in operations.
# - F. Li, B. Liu, X. Wang, B. Zhang and J. Yan (2016), "Ternary Weight Networks", arXiv:1605.04711 (its first
#   version: F. Li, B. Zhang and B. Liu). Three values, by a threshold.
# - S. K. Esser, J. L. McKinstry, D. Bablani, R. Appuswamy and D. S. Modha (2020), "Learned Step Size
#   Quantization", ICLR 2020, arXiv:1902.08153.
#
# **Read on in the source:** `tinyopt/ops/view.py` (your `fake_quantize` and your `lsq`),
# `tinyopt/ops/low_bit.py` (signs and three values), `tinyopt/compress/qat.py` (the callback),
# `tinyopt/codec/popcount.py` (your `binary_product`, in blocks), `tinyopt/nn/low_bit_linear.py` (the layer
# that counts).

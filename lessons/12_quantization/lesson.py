"""Lesson 12, quantization: the source of lesson.ipynb; see tinyopt/course/percent.py for its format."""

# %% [markdown]
# # 12 · Quantization: few bits for each number
#
# **The question.** A trained network is a list of numbers: 266,610 in this lesson, 32 bits each. A number
# of 2 bits could be stored in a sixteenth of the space. But 2 bits can say only four things. **Can a
# network live on weights that have only three different values? And what decides whether it can?**
#
# - **You need:** NumPy arrays, bits and integers, what a linear layer is. Lesson 3 helps; none is required.
# - **You will write:** a line by hand, the function that lays it, floats to integers, a percentile range.
# - **Time:** about 100 minutes.
#
# Run the cells from top to bottom. Where an exercise is still empty, the package's own function works for
# you, so you can read on and come back.

# %%
import copy
import functools
import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from tinyopt import Tensor, codec, compress, data, load, measure, models, nn, save, train
from tinyopt.codec import affine
from tinyopt.codec.affine import along, integer_range, min_max, other_axes  # for the exercises
from tinyopt.compress import calibrate, wrong_ways
from tinyopt.course import STYLE, start

check, hint, reveal, yours = start(12)
plt.rcParams.update(STYLE)

# %% [markdown]
# First a network, trained on 3,500 real digits of 28×28 pixels. It takes a few seconds. Settings are compared
# on the 500 **validation** images. The test images wait until the end of the lesson, and are used once.

# %%
mnist = data.mnist5k()
net = models.lenet_300_100(rng=0)
train.fit(net, mnist, epochs=8, seed=0, progress=False)

folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "net.top"


def through_a_file(model):
    """Save a model, load the file again, and judge what was loaded: (bytes, quality on validation data)."""
    save(model, path)
    return os.path.getsize(path), measure.evaluate(load(path), mnist.val)


def quantized(bits, **settings):
    """A copy of the net with weights of so many bits."""
    model = copy.deepcopy(net)
    compress.quantize(model, bits, **settings)
    return model


def percent_right(quality):
    return f"{quality.accuracy:6.1%} ± {quality.standard_error:.1%}"


float_bytes, float_quality = through_a_file(net)
print(f"32 bits: {float_bytes:9,} bytes, accuracy {percent_right(float_quality)}")

# %% [markdown]
# Now the picture: the weights of the middle layer, and the three values that 2 bits leave of them. (Four
# would be possible. The fourth is given up, so that the values lie evenly around 0.) On the left they reach
# to the largest weight. On the right they do not: the few weights that lie beyond are moved to the end. (Why
# 97, will be seen later.) Both files have the same size. Look at the accuracy.

# %%
weight = net.get("fc2.weight").data  # (100, 300)
narrow = functools.partial(calibrate.percentile, percent=97)
figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained", sharey=True)
for ax, (title, rule) in zip(axes, {"to the largest weight": min_max, "97th percentile": narrow}.items()):
    model = quantized(2, per_channel=False, calibrate=rule)
    size, quality = through_a_file(model)
    ax.hist(weight.reshape(-1), bins=120, color="0.75")
    for value in np.unique(model.get("fc2.weight").read().data):
        ax.axvline(value, color="C3", lw=2)
    ax.set(title=f"range: {title}\n{size:,} bytes, accuracy {quality.accuracy:.1%}", xlabel="weight")
axes[0].set_ylabel("number of weights")
plt.show()

# %% [markdown]
# The same number of bits, the same number of bytes. One network is lost, the other is hardly worse than
# before. The only difference is **the range** that the integers cover. So this lesson is about one line and
# its two ends.
#
# ## By hand, on numbers small enough for paper
#
# Three bits hold the eight integers −4 ... 3. We want them to stand for the numbers from −1 to 2.5.
#
#     steps between 8 integers           7
#     scale = length of the range / 7    (2.5 − (−1)) / 7 = 0.5          the size of one step
#     −1 should become −4, so 0 becomes  −4 + 1 / 0.5 = −2               the zero point
#
# | number x | x / scale | rounded | + zero point = q | back: 0.5 · (q + 2) | error |
# |---|---|---|---|---|---|
# | −1 | −2 | −2 | **−4** | −1 | 0 |
# | 0 | 0 | 0 | **−2** | 0 | 0 |
# | 1.1 | 2.2 | 2 | **0** | 1.0 | −0.1 |
# | 2.5 | 5 | 5 | **3** | 2.5 | 0 |
# | 4 | 8 | 8 | 6, does not fit: clipped to **3** | 2.5 | −1.5 |
#
# Only q is stored for each number: 3 bits. The **scale** and the **zero point** are stored once for all of
# them. Two errors are visible. **Rounding** moves a number inside the range by half a step at most.
# **Clipping** moves a number outside to the end of the range, however far that is.

# %%
x = np.linspace(-2, 4, 601)
scale, zero_point = affine.scale_from_range(-1.0, 2.5, bits=3, symmetric=False)
q = affine.to_integers(x, scale, zero_point, bits=3, symmetric=False)
back = codec.dequantize(q, scale, zero_point)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained", sharex=True)
left.plot(x, x, color="0.75", label="no quantization")
left.plot(x, back, color="C0", label="3 bits")
left.plot([1.1], [1.0], "o", color="C3", label="1.1 comes back as 1.0")
left.set(xlabel="x", ylabel="what comes back", title="eight values")
left.legend(frameon=False, fontsize=9)
right.plot(x, back - x, color="C3")
right.axhspan(-scale / 2, scale / 2, color="0.9")
right.set(xlabel="x", ylabel="error", title="inside the range: half a step at most (grey)")
plt.show()

# %% [markdown]
# ### Exercise 12.1 · predict, then compute
#
# Other numbers: **−1.5, 2.3 and 4.5**, in **4 bits**, whose integers are −8 ... 7. The range goes from the
# smallest number to the largest. Which scale, which zero point? Which integer q does 2.3 get, and what comes
# back of it? The package's functions are switched off while your answer is checked: predict first.


# %% exercise="12.1"
def predict():
    """Scale and zero point for −1.5, 2.3, 4.5 in 4 bits; q of 2.3, and what comes back of it: by hand."""
    # BEGIN SOLUTION
    scale = (4.5 - (-1.5)) / 15  # 0.4
    zero_point = -8 + 4  # 0 lies 1.5 / 0.4 = 3.75, rounded 4, steps above −1.5
    q = 6 + zero_point  # 2.3 / 0.4 = 5.75, rounded 6
    back = scale * (q - zero_point)  # 2.4
    # INSTEAD
    scale = ...
    zero_point = ...
    q = ...
    back = ...
    # END SOLUTION
    return scale, zero_point, q, back


# %% check="12.1"
check("12.1")

# %% [markdown]
# ## The formula, and the slow loop that specifies it
#
#     scale = (high − low) / (2^b − 1)            zero_point = −2^(b−1) − round(low / scale)
#     q = clip(round(x / scale) + zero_point)     x ≈ scale · (q − zero_point)
#
# This is the **affine** line (the word means: a factor and a shift). If the numbers lie evenly around 0, as
# weights do, a simpler line is enough. The **symmetric** one has zero_point = 0 and scale = max |x| /
# (2^(b−1) − 1).
#
# In both, **0 must come back as exactly 0**. A network makes zeros all the time: padding around an image,
# ReLU, pruned weights. So a range is first widened until it holds 0: the range [5, 10] becomes [0, 10].
#
# Here it is for one number after the other, in plain Python. All that follows must agree with it.


# %%
def quantize_slowly(numbers, bits):
    """The affine line, one number at a time: (integers, what comes back)."""
    lowest, highest = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    low, high = min(*numbers, 0.0), max(*numbers, 0.0)
    step = (high - low) / (highest - lowest)
    zero = lowest - round(low / step)
    integers = []
    for number in numbers:
        steps = round(number / step) + zero  # Python, too, rounds ties to the even number
        integers.append(min(max(steps, lowest), highest))
    return integers, [step * (integer - zero) for integer in integers]


for numbers in ([-1.0, 1.1, 2.5], [5.0, 7.3, 10.0]):
    integers, came_back = quantize_slowly(numbers, bits=3)
    fast = codec.quantize(np.array(numbers), bits=3, symmetric=False)
    print(f"{numbers} -> {integers}, the package {fast[0].tolist()}; back {np.round(came_back, 3)}")

thousand = np.random.default_rng(0).normal(size=1000)
same = np.array_equal(quantize_slowly(thousand.tolist(), 8)[0], codec.quantize(thousand, symmetric=False)[0])
print(f"1,000 random numbers in 8 bits: the same integers: {same}")

# %% [markdown]
# ### Exercise 12.2 · the line for a range
#
# Write the function that lays the line. `integer_range(bits, symmetric)` gives the lowest and the highest
# integer: (−127, 127) for 8 bits symmetric, (−128, 127) affine. `low` and `high` may be numbers, or arrays
# with one range for each channel: so use `np.minimum`, `np.maximum` and `np.rint` (which rounds), and no `if`
# on them. Three things to think of: widen the range to hold 0; count the steps, not the values; a range
# from 0 to 0 must not give a scale of 0.


# %% exercise="12.2"
def scale_from_range(low, high, *, bits=8, symmetric=True):
    """The scale and the zero point of the line for the range [low, high], widened to hold 0.

    Shapes: low, high () or (C,) -> scale and zero_point, each of that shape.
    """
    scale = ...
    zero_point = ...
    return scale, zero_point


# %% check="12.2"
check("12.2")

# %% [markdown]
# ### Exercise 12.3 · floats to integers
#
# Now use a line: scale, round, shift, clip, and cast to a small integer type (`np.int8` up to 8 bits, else
# `np.int16`). The order matters. `along(scale, x, axis)` gives scales of shape (C,) the shape that broadcasts
# along `axis` of x; without an axis it changes nothing. Use it for the zero point too.


# %% exercise="12.3"
def to_integers(x, scale, zero_point, *, bits=8, axis=None, symmetric=True):
    """Round x to the integers of a line; what lies beyond its ends is clipped.

    Shapes: x (..., C, ...); scale and zero_point (C,), or () without an axis -> q, integers of x's shape.
    """
    q = ...
    return q


# %% check="12.3"
check("12.3")

# %% [markdown]
# Your line and your integers now quantize the middle layer of the real network. The last column says how many
# bytes the integers take when they are packed side by side: 3 bits really cost 3 bits.

# %%
with yours("12.2", "12.3"):
    for bits in (8, 4, 3, 2):
        q, scale, zero_point = codec.quantize(weight, bits=bits)
        error = abs(codec.dequantize(q, scale, zero_point) - weight).max()
        stored = codec.pack_bits(q.astype(int) + 2 ** (bits - 1), bits).nbytes
        print(f"{bits} bits: integers {q.min():4} ... {q.max():3}, step {scale:.4f}, "
              f"largest error {error / scale:.3f} steps, {stored:6,} of {weight.nbytes:,} bytes")

# %% [markdown]
# ## How large is the error? Six decibels a bit
#
# A number falls anywhere between two values, so the rounding error is spread evenly over ±scale / 2. The mean
# square of such an error is
#
#     (1 / scale) · ∫ e² de  from −scale/2 to scale/2   =   scale² / 12
#
# One bit more halves the scale, so the mean squared error falls to a quarter. Engineers measure the ratio of
# signal to noise in **decibels**: 10 · log₁₀(mean of x² / mean of error²). A factor of 4 is 6.02 dB. **Each
# bit buys 6 dB.** We measure it on the three weight matrices, with one scale for each matrix.

# %%
matrices = {name: p.data for name, p in net.named_parameters() if name.endswith("weight")}
widths = np.arange(2, 13)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
for name, matrix in matrices.items():
    errors = [codec.dequantize(*codec.quantize(matrix, bits=int(b))) - matrix for b in widths]
    measured = [10 * np.log10((matrix**2).mean() / (error**2).mean()) for error in errors]
    left.plot(widths, measured, "o-", ms=4, label=name)
    late = (measured[-1] - measured[5]) / (widths[-1] - widths[5])
    print(f"{name}: {measured[0]:4.1f} dB at 2 bits, {measured[6]:.1f} dB at 8; above 7: {late:.2f} dB a bit")
left.plot(widths, 6.02 * widths - 18, "--", color="0.6", label="6.02 dB a bit")
left.set(xlabel="bits", ylabel="signal to noise, dB")
left.legend(frameon=False, fontsize=9)
q, scale, zero_point = codec.quantize(weight, bits=8)
error = (codec.dequantize(q, scale, zero_point) - weight) / scale
right.hist(error.reshape(-1), bins=40, color="C0")
right.set(xlabel="error of fc2.weight at 8 bits, in steps", ylabel="number of weights")
plt.show()

# %% [markdown]
# Above five bits the curves are straight lines, as predicted, and the errors are spread evenly. Below, the
# curves bend down: at 2 bits the steps are wider than most weights are large. Nearly all of them are rounded
# to 0, and then the error is as large as the signal.
#
# ## One scale for all, or one for each channel
#
# A row of a weight matrix belongs to one output, also called a **channel**. Look at the largest weight of
# each of the 300 rows of the first layer. With one scale **per tensor**, the largest row sets the step for
# all. With a scale **per channel**, each row has its own step. This costs 300 more numbers.

# %%
first = matrices["fc1.weight"]
row_max = np.sort(abs(first).max(axis=1))[::-1]
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
left.fill_between(range(len(row_max)), row_max, color="0.8", label="largest |w| of the row")
left.axhline(row_max[0] / 7, color="C3", label="step, one scale per tensor")
left.plot(row_max / 7, color="C0", label="step, one scale per channel")
left.set(xlabel="rows of fc1.weight, sorted", ylabel="size", title="4 bits: the size of a step")
left.legend(frameon=False, fontsize=9)
for axis, label, colour in ((None, "per tensor", "C3"), (0, "per channel", "C0")):
    q, scale, zero_point = codec.quantize(first, bits=4, axis=axis)
    counts = np.bincount(q.reshape(-1) + 7, minlength=15)
    right.step(range(-7, 8), counts / q.size, where="mid", color=colour, label=label)
    print(f"{label:11}: {(q == 0).mean():.0%} of the weights become 0")
right.set(xlabel="integer q", ylabel="share of the weights", title="which integers are used", yscale="log")
right.legend(frameon=False, fontsize=9)
plt.show()

# %% [markdown]
# On the right you see what a bad scale does: the integers at the ends are hardly used. Bits are paid for and
# not used.
#
# Now the whole network. Each entry of the table is a **file**: saved, measured with `os.path.getsize`, loaded
# again, and judged. The plot shows the accuracy with its standard error.

# %%
bit_widths = (8, 6, 5, 4, 3, 2)
table = {}
print("bits     per tensor: bytes, accuracy       per channel: bytes, accuracy")
for bits in bit_widths:
    for per_channel in (False, True):
        table[bits, per_channel] = through_a_file(quantized(bits, per_channel=per_channel))
    cells = [f"{size:9,}  {percent_right(q)}" for size, q in (table[bits, False], table[bits, True])]
    print(f"{bits:4}   " + "            ".join(cells))

figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
for per_channel, label, colour in ((False, "per tensor", "C3"), (True, "per channel", "C0")):
    height, error = (
        [100 * getattr(table[bits, per_channel][1], name) for bits in bit_widths]
        for name in ("accuracy", "standard_error")
    )
    where = np.array(bit_widths) + (0.04 if per_channel else -0.04)  # side by side
    ax.errorbar(where, height, error, fmt="o-", ms=4, capsize=3, color=colour, label=label)
ax.axhline(100 * float_quality.accuracy, color="0.6", ls="--", label="32 bits")
ax.set(xlabel="bits for each weight", ylabel="validation accuracy, %", xticks=bit_widths)
ax.invert_xaxis()
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# Two results. First: down to 4 bits, nothing happens that is larger than the standard error. A network adds
# up hundreds of products, and most rounding errors cancel. The file is about an eighth of the size. Second:
# at 2 bits all depends on the scale. One scale for each channel costs about 400 numbers of 4 bytes, far less
# than one more bit for each weight, and it saves most of the accuracy. But not all: we are not done.
#
# ## Clip or round: where should the range end?
#
# Per channel, a single far weight still sets the step of its row. A smaller range clips it, and gives all
# others finer steps. So there are two errors, and they pull in opposite directions:
#
#     wide range      large steps, nothing clipped        the rounding error grows
#     narrow range    fine steps, the far ones clipped    the clipping error grows
#
# We let the end of the range run from a small part of the largest weight to all of it, and measure both.

# %%
largest = float(abs(weight).max())
shares = np.linspace(0.06, 1, 95)
figure, axes = plt.subplots(1, 4, figsize=(10, 2.8), layout="constrained")
for ax, bits in zip(axes, (2, 3, 4, 8)):
    rounding, clipping = [], []
    for share in shares:
        scale, zero_point = affine.scale_from_range(-share * largest, share * largest, bits=bits)
        integers = affine.to_integers(weight, scale, zero_point, bits=bits)
        squares = (codec.dequantize(integers, scale, zero_point) - weight) ** 2
        outside = abs(weight) > share * largest
        rounding.append(squares[~outside].sum() / weight.size)
        clipping.append(squares[outside].sum() / weight.size)
    total = np.add(rounding, clipping)
    best = shares[total.argmin()]
    ax.semilogy(shares, rounding, color="C0", label="rounding")
    ax.semilogy(shares, np.maximum(clipping, 1e-12), color="C1", label="clipping")
    ax.semilogy(shares, total, color="k", lw=1, label="sum")
    ax.axvline(best, color="C3", ls=":", label="best")
    ax.set(title=f"{bits} bits: best at {best:.2f}", xlabel="end / largest |w|", ylim=(1e-7, 2e-2))
axes[0].set_ylabel("mean squared error")
axes[-1].legend(frameon=False, fontsize=8, loc="lower left")
plt.show()

# %% [markdown]
# The fewer bits, the smaller the best range (dotted). With 8 bits it is nearly all of it: steps are small
# anyway, and clipping is the larger danger. So "clip the outliers" is no rule that is always good.
#
# To choose a range is called **calibration**. The simplest rule is **min–max**: from the smallest number to
# the largest. The next one is the **percentile**: leave a small share of the numbers out at each end.
#
# ### Exercise 12.4 · a range without its outliers
#
# At `percent = 99.9`, one number in a thousand lies above `high`, and as many below `low`. With `axis`, each
# channel has its own range. `np.percentile(x, p, axis=...)` is yours to use; it is told the axes that *go*,
# and `other_axes(x, axis)` lists those.


# %% exercise="12.4"
def percentile(x, percent=99.9, *, axis=None):
    """The range that leaves (100 − percent) % of the numbers out at each end.

    Shapes: x (..., C, ...) with C at `axis` -> low, high (C,); () without an axis.
    """
    low = ...
    high = ...
    return (low, high)


# %% check="12.4"
check("12.4")

# %% [markdown]
# `compress.quantize(model, bits, calibrate=...)` takes any such function. Your percentile calibrates the
# network now, with one scale per tensor (where it matters most) and per channel.

# %%
percents = (100, 99.9, 99.5, 99, 98, 97, 95)
grid = {}
with yours("12.4"):
    for per_channel in (False, True):
        for bits in (2, 3, 8):
            for percent in percents:
                rule = functools.partial(calibrate.percentile, percent=percent)
                model = quantized(bits, per_channel=per_channel, calibrate=rule)
                grid[per_channel, bits, percent] = through_a_file(model)[1]

figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained", sharey=True)
for ax, per_channel in zip(axes, (False, True)):
    for bits, colour in zip((2, 3, 8), ("C3", "C0", "0.4")):
        line = [100 * grid[per_channel, bits, percent].accuracy for percent in percents]
        ax.plot(range(len(percents)), line, "o-", ms=4, color=colour, label=f"{bits} bits")
    ax.set(xticks=range(len(percents)), xticklabels=[f"{p:g}" for p in percents], ylim=(0, 100),
           xlabel="percentile (100 is min–max)", title="per channel" if per_channel else "per tensor")
axes[0].set_ylabel("validation accuracy, %")
axes[1].legend(frameon=False, loc="lower right")
plt.show()
for per_channel in (False, True):
    best = max(percents, key=lambda percent: grid[per_channel, 2, percent].accuracy)
    name, quality = "per channel" if per_channel else "per tensor", grid[per_channel, 2, best]
    print(f"2 bits {name}: best on validation data at {best:g} %:{percent_right(quality)}")

# %% [markdown]
# This answers the question of the first page. Three values for each weight are enough for this task, or
# nearly so, *if* the range is right. No training was done. (Lesson 14 trains under quantization, for tasks
# where this is not enough.) And clipping 5 % of the weights on each side, which sounds brutal, does little
# harm even where it is not needed, at 8 bits.
#
# ## Activations: the range comes from data
#
# Weights can be looked at. **Activations**, the numbers that flow between the layers, are only known when
# images come in. So we send some *training* images through, look at what each layer makes, and choose the
# ranges from that. `measure.capture` catches every layer's output. Behind a ReLU nothing is negative, so the
# affine line is the right one: the symmetric one would never use half of its integers.
#
# Calibration data are not always clean. Here one of 500 images is broken: its pixels were not divided by 255.


# %%
class Rounded(nn.Module):
    """Pass on what comes back after quantization on a fixed line: simulates integers between layers."""

    def __init__(self, low, high, bits):
        self.bits = bits
        self.scale, self.zero_point = affine.scale_from_range(low, high, bits=bits, symmetric=False)

    def forward(self, x):
        q = affine.to_integers(x.numpy(), self.scale, self.zero_point, bits=self.bits, symmetric=False)
        return Tensor(codec.dequantize(q, self.scale, self.zero_point))


def captured(images):
    """What the two ReLUs made of these images."""
    with measure.capture(net) as layers:
        net(Tensor(images))
    return {name: layers[name].output.numpy() for name in ("relu1", "relu2")}


def with_activations(made, bits, rule):
    """The net with quantized activations behind each ReLU, calibrated on what was captured."""
    layers = {}
    for name, layer in net.named_children():
        layers[name] = layer
        if name in made:
            layers[f"{name}_rounded"] = Rounded(*rule(made[name]), bits)
    return measure.evaluate(nn.Sequential(**layers), mnist.val)


clean = mnist.train.sample(500, rng=0).images
broken = clean.copy()
broken[7] *= 255
made = {"clean": captured(clean), "one broken image": captured(broken)}
rules = {"min–max": min_max}
rules |= {f"percentile {p}": functools.partial(calibrate.percentile, percent=p) for p in (99.9, 99)}
figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
bins = np.logspace(-2, 4, 80)
axes[0].hist(made["one broken image"]["relu1"].reshape(-1), bins=bins, color="0.75")
for (name, rule), colour in zip(rules.items(), ("C3", "C1", "C0")):
    axes[0].axvline(rule(made["one broken image"]["relu1"])[1], color=colour, label=name)
axes[0].set(xscale="log", yscale="log", xlabel="output of relu1, where it is not 0", ylabel="how many",
            title="where the range ends")
axes[0].legend(frameon=False, fontsize=9, loc="upper left")
axes[0].set_ylim(0.6, 3e6)
print(f"{'':37}8 bits         4 bits")
for row, (state, outputs) in enumerate(made.items()):
    for column, (name, rule) in enumerate(rules.items()):
        results = [with_activations(outputs, bits, rule) for bits in (8, 4)]
        print(f"{state:17} {name:16}", *map(percent_right, results), sep="  ")
        bar = axes[1].bar(row + 0.27 * (column - 1), 100 * results[0].accuracy, 0.25,
                          color=("C3", "C1", "C0")[column], label=name if row == 0 else None)
        axes[1].bar_label(bar, fmt="%.0f", fontsize=9)
axes[1].set(xticks=range(len(made)), xticklabels=list(made), ylabel="validation accuracy, %", ylim=(0, 118),
            yticks=range(0, 101, 25), title="activations of 8 bits")
axes[1].legend(frameon=False, fontsize=8, ncols=3, loc="upper center")
plt.show()

# %% [markdown]
# One broken image of 500 spoils min–max, even with 8 bits: its range is so wide that all other images fall on
# the first few integers. The left figure shows why the 99.9th percentile is not safe either: its range ends
# among the numbers of the broken image. It leaves out one number in a thousand, but one image of 500 brings
# *two* in a thousand. With 8 bits there are just enough integers left; with 4 bits there are not. **A
# percentile protects only from outliers that are rarer than what it cuts off.** With clean data, the three
# rules are equally good here, within the standard error.
#
# ## Wrong ways
#
# Here are ways to quantize that people print. Each is a function of the package, in `compress.wrong_ways`,
# and its docstring says why it is wrong. First as pictures: what goes in, against what comes back.

# %%
line = np.linspace(-1, 1, 800)
far = np.linspace(-2.5, 2.5, 800)
five_to_ten = np.linspace(5, 10, 800)
outlier = np.append(np.linspace(-1, 1, 800), 8.0)


def right_way(x, **settings):
    return codec.dequantize(*codec.quantize(x, **settings))


def clipped_to(x, end, bits):
    """There and back on the symmetric line for [−end, end]."""
    end = x.dtype.type(end)
    scale, zero_point = affine.scale_from_range(-end, end, bits=bits)
    return codec.dequantize(affine.to_integers(x, scale, zero_point, bits=bits), scale, zero_point)


def clamped(x, scale):
    return clipped_to(x, 127 * scale, bits=8)


cases = {  # what goes in, the wrong way, the right way
    "round to whole numbers": (line, wrong_ways.round_to_whole, lambda x: right_way(x, bits=3)),
    "not centred, 3 bits": (line, lambda x: wrong_ways.uncentred(x, bits=3), lambda x: right_way(x, bits=3)),
    "2^b steps, 3 bits": (line, lambda x: wrong_ways.one_value_too_many(x, bits=3),
                          lambda x: right_way(x, bits=3, symmetric=False)),
    "cast before clamp": (far, lambda x: wrong_ways.cast_before_clamp(x, 1 / 127),
                          lambda x: clamped(x, 1 / 127)),
    "clipped zero point": (five_to_ten, lambda x: wrong_ways.clipped_zero_point(x, 5.0, 10.0),
                           lambda x: right_way(x, symmetric=False)),
    "scaled by an outlier at 8, 4 bits": (outlier, lambda x: wrong_ways.scaled_by_outlier(x, bits=4),
                                          lambda x: clipped_to(x, 1.0, 4)),
}
figure, axes = plt.subplots(2, 3, figsize=(10, 5.4), layout="constrained")
for ax, (name, (x, wrong, right)) in zip(axes.flat, cases.items()):
    shown = slice(0, 800)  # all, but the outlier
    ax.plot(x[shown], right(x)[shown], color="C0", lw=3, alpha=0.5, label="right way")
    ax.plot(x[shown], wrong(x)[shown], color="C3", lw=1.2, label="wrong way")
    ax.set_title(name)
figure.supxlabel("x", fontsize=10)
figure.supylabel("what comes back", fontsize=10)
axes[0, 0].legend(frameon=False, fontsize=9)
plt.show()

# %% [markdown]
# And on the real network: each way on all three weight matrices, one scale per tensor. The last two rows clip
# at the 99th percentile with 8 bits. The second column is the difference from the float network, paired: both
# saw the same images. Then come the largest and the mean error of a weight in the middle layer.


# %%
def changed(way):
    """A copy of the net whose weights went there and back by this way."""
    model = copy.deepcopy(net)
    for name, matrix in matrices.items():
        model.get(name).data = way(matrix)
    return model


def scale_99(x):
    """The scale of the symmetric 8-bit line for the 99th percentile."""
    return float(affine.scale_from_range(*calibrate.percentile(x, 99))[0])


ways = {
    "right way, 4 bits": lambda w: right_way(w, bits=4),
    "round to whole numbers": wrong_ways.round_to_whole,
    "not centred, 4 bits": lambda w: wrong_ways.uncentred(w, bits=4),
    "2^b steps, 4 bits": lambda w: wrong_ways.one_value_too_many(w, bits=4),
    "right way, 2 bits": lambda w: clipped_to(w, max(-narrow(w)[0], narrow(w)[1]), 2),
    "scaled by the outlier, 2 bits": lambda w: wrong_ways.scaled_by_outlier(w, bits=2),
    "clamp, then cast, 8 bits": lambda w: clamped(w, scale_99(w)),
    "cast, then clamp, 8 bits": lambda w: wrong_ways.cast_before_clamp(w, scale_99(w)),
}
for name, way in ways.items():
    error, quality = way(weight) - weight, measure.evaluate(changed(way), mnist.val)
    paired = measure.compare(float_quality, quality)
    change = f"{100 * paired.difference:+6.1f} ± {100 * paired.standard_error:.1f} points"
    print(f"{name:30} {quality.accuracy:6.1%}, {change}   error: max {abs(error).max():.3f}, "
          f"mean {error.mean():+.4f}")

# %% [markdown]
# Read it with care, because the mistakes differ in kind.
#
# - **Rounding to whole numbers** leaves hardly anything but zeros: the network has no weights any more.
# - **Not centred** is the same size of step as the right way, but the *mean* error is not 0. Errors that all
#   point in one direction do not cancel in a sum of 784 products.
# - **2^b steps** is the sly one. It moves only the numbers at the very top of the range, but those by the
#   whole range: the largest comes back as the smallest. There are so few of them here that the accuracy hides
#   it. The largest error shows it.
# - **Scaled by the outlier** is the left picture of the first page. The line is right; its range is not.
# - **Cast before clamp** turns the sign of the largest weights, which are those that matter most.
#
# The wrong zero points need numbers that lie on one side of 0. For the range [5, 10] in 8 bits:

# %%
x = np.append(np.linspace(5, 10, 1001), 0.0)
rows = {
    "right way": right_way(x, symmetric=False),
    "zero point clipped": wrong_ways.clipped_zero_point(x, 5.0, 10.0),
    "range without 0": wrong_ways.range_without_zero(x, 5.0, 10.0),
}
print("                      largest error on [5, 10]    what comes back of 0")
for name, back in rows.items():
    print(f"{name:20} {abs(back - x)[:-1].max():16.3f} {back[-1]:28.3f}")

# %% [markdown]
# With a clipped zero point, every number of [5, 10] comes back as 5. Without 0 in the range, the numbers are
# even better than by the right way, since the steps are half as large. But each 0 of the padding becomes a 5.
#
# ### Exercise 12.5 · explain this failure
#
# A friend's code turns steps into int8 *before* it clips. An int8 keeps only the lowest 8 bits: 128 becomes
# −128, 255 becomes −1, 256 becomes 0, 257 becomes 1. The scale is 0.1, so the range ends at 12.7. The friend
# says: "I tested it with a number beyond the range, and it came back as 12.7, as it should." Give three
# numbers above 12.7:
#
# - `turned` comes back **negative**;
# - `lost` comes back as **0**;
# - `hidden` comes back as **12.7**: with such a number, the friend could not see the mistake.


# %% exercise="12.5"
def witness():
    """Three numbers above 12.7, for int8 and scale 0.1, that fail by the friend's code, each in its way."""
    # BEGIN SOLUTION
    turned = 15.0  # 150 steps; 150 − 256 = −106
    lost = 25.6  # 256 steps; 256 − 256 = 0
    hidden = 38.3  # 383 steps; 383 − 256 = 127
    # INSTEAD
    turned = ...
    lost = ...
    hidden = ...
    # END SOLUTION
    return turned, lost, hidden


# %% check="12.5"
check("12.5")

# %% [markdown]
# What it does to a picture. The camera was calibrated in dim light: its range ends at 1. Then the light
# becomes brighter. The right way loses detail in the brightest parts. The wrong way turns white (plus) into
# black (minus); grey is 0.

# %%
image = mnist.val.images[3, 0]
both = {"clamp, then cast": clamped, "cast, then clamp": wrong_ways.cast_before_clamp}
figure, axes = plt.subplots(2, 4, figsize=(8, 4.2), layout="constrained")
for column, light in enumerate((1.0, 1.3, 2.0, 3.0)):
    for row, (label, way) in enumerate(both.items()):
        axes[row, column].imshow(way(image * light, 1 / 127), cmap="gray", vmin=-1, vmax=1)
        axes[row, column].set(xticks=[], yticks=[])
        axes[row, 0].set_ylabel(label)
    axes[0, column].set_title(f"{light:g} times the light")
plt.show()

# %% [markdown]
# ## At last the test images, once
#
# We chose on validation data: 4 bits and 2 bits, one scale for each channel, and for 2 bits the best
# percentile of our table. The two files are judged on the 1,000 test images, paired with the float network:
# `measure.compare` looks at the same images in both, so its standard error is smaller than that of each
# accuracy alone.

# %%
best = max(percents, key=lambda percent: grid[True, 2, percent].accuracy)
before = measure.evaluate(net, mnist.test)
print(f"32 bits: {float_bytes:9,} bytes   test accuracy{percent_right(before)}")
for bits, percent in ((4, 100), (2, best)):
    rule = functools.partial(calibrate.percentile, percent=percent)
    size = through_a_file(quantized(bits, calibrate=rule))[0]
    after = measure.evaluate(load(path), mnist.test)
    print(f"{bits:2} bits: {size:9,} bytes ({size / float_bytes:.3f})   {measure.compare(before, after)}")

# %% [markdown]
# ## In PyTorch
#
# ```python
# observer = torch.ao.quantization.MinMaxObserver(dtype=torch.qint8, qscheme=torch.per_tensor_affine)
# observer(x); scale, zero_point = observer.calculate_qparams()         # range first, then the line
# back = torch.fake_quantize_per_tensor_affine(x, scale, zero_point, -128, 127)     # there and back
# ```
#
# `PerChannelMinMaxObserver(ch_axis=0)` is one scale for each channel, and `HistogramObserver` searches the
# range with the smallest squared error, as our figure did by hand. `calculate_qparams` widens the range to
# hold 0, too.
#
# ## Questions
#
# 1. Why is 0 so important that a range is widened for it? Name three places where a network makes zeros.
# 2. Symmetric 8 bits uses −127 ... 127 and leaves −128 out. What is gained?
# 3. At 8 bits, does clipping at the 95th percentile help or hurt? And at 2 bits? Why the difference?
# 4. Calibration uses training images. Why not test images, whose labels are not needed anyway?
# 5. The weights take 4 bits, but the program multiplies floats. What has become smaller, and what has not
#    become faster?
#
# BEGIN SOLUTION
# **Answers.**
#
# 1. Padding, the output of ReLU, pruned weights. An error there is not random: it is the same for each zero,
#    so it does not cancel.
# 2. −x is there for each x, so the sign of a weight can be turned without an error; and the zero point is 0,
#    so that products need no correction.
# 3. At 8 bits it hurts, if anything: the steps were fine already, and clipping moves weights that matter. At
#    2 bits it helps: without it, nearly all weights are rounded to 0.
# 4. Because the test part should stand for data that nobody has seen. A range from the test images fits them
#    better than those to come: the result would be too good.
# 5. The file is smaller, and so is the memory if weights are kept packed. The arithmetic is the same. To gain
#    time, the integers themselves must be multiplied: lesson 13.
# END SOLUTION
#
# ## Sources
#
# - B. Jacob et al. (2018), "Quantization and Training of Neural Networks for Efficient
#   Integer-Arithmetic-Only Inference", arXiv:1712.05877 (the affine line with a zero point).
# - gemmlowp, "Building a quantization paradigm from first principles", `doc/quantization.md` in
#   github.com/google/gemmlowp (why 0 must be exactly representable).
# - R. Krishnamoorthi (2018), "Quantizing deep convolutional networks for efficient inference: A whitepaper",
#   arXiv:1806.08342 (weights per channel).
# - H. Wu, P. Judd, X. Zhang, M. Isaev and P. Micikevicius (2020), "Integer Quantization for Deep Learning
#   Inference: Principles and Empirical Evaluation", arXiv:2004.09602 (choices, measured on many networks).
# - B. Widrow, I. Kollár and M.-C. Liu (1996), "Statistical Theory of Quantization", *IEEE Transactions on
#   Instrumentation and Measurement* 45(2), 353 ff. (when rounding behaves like an even, independent noise).
#
# **Read on in the source:** `tinyopt/codec/affine.py` is the line and its two directions,
# `compress/calibrate.py` the ranges, `compress/quantize.py` puts them into a model, and
# `compress/wrong_ways.py` holds what you should not do.

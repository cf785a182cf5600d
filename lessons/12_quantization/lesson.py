"""Lesson 12, quantization: the source of lesson.ipynb; see tinyopt/course/percent.py for its format."""

# %% [markdown]
# # 12 · Quantization: few bits for each number
#
# **The question.** A trained network is a list of numbers: 266,610 in this lesson, 32 bits each. A number of
# 2 bits could be stored in a sixteenth of the space. But 2 bits can say only four things. **Can a network
# live on weights that have only three different values? And what decides whether it can?**
#
# - **You need:** NumPy arrays, bits and integers, what a linear layer is. Lesson 3 helps; none is required.
# - **You will write:** a line by hand, the function that lays it, floats to integers, a percentile range, a
#   small float format, and the best bits for each layer under a budget of bytes.
# - **Time:** about 140 minutes.
#
# Run the cells from top to bottom. Where an exercise is still empty, the package's own function works for
# you, so you can read on and come back.

# %%
import copy
import functools
import itertools
import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from tinyopt import Tensor, codec, compress, data, load, measure, models, save, train
from tinyopt.codec import affine, floats
from tinyopt.codec.affine import along, integer_range, min_max, other_axes  # for the exercises
from tinyopt.codec.floats import fields, named
from tinyopt.compress import calibrate, observers, wrong_ways
from tinyopt.compress.bit_budget import scan_bits
from tinyopt.compress.calibrate import check_percent  # for exercise 12.4
from tinyopt.compress.clip import clip_weights
from tinyopt.compress.formats import store_as
from tinyopt.compress.static import quantize_static
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


def decibels(x, back):
    """Signal to noise: the mean of x² over the mean squared error, as 10 · log₁₀."""
    return 10 * np.log10((x**2).mean() / ((back - x) ** 2).mean())


def percent_right(quality):
    return f"{quality.accuracy:6.1%} ± {quality.standard_error:.1%}"


float_bytes, float_quality = through_a_file(net)
print(f"32 bits: {float_bytes:9,} bytes, accuracy {percent_right(float_quality)}")

# %% [markdown]
# Now the picture: the weights of the middle layer, and the three values that 2 bits leave of them. (Four
# would be possible. The fourth is given up, so that the values lie evenly around 0.) On the left they reach
# to the largest weight. On the right the few weights that lie beyond are moved to the end. Both files have
# the same size. Look at the accuracy.

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
# One network is lost, the other is hardly worse than before. The only difference is **the range** that the
# integers cover. So this lesson is about one line and its two ends.
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
# on them. Three things to think of: widen the range to hold 0; count the steps, not the values; a range from
# 0 to 0 must not give a scale of 0.


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
    measured = [decibels(matrix, codec.dequantize(*codec.quantize(matrix, bits=int(b)))) for b in widths]
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
# not used. Now the whole network, down to **one bit**: that has two levels, the two ends of the range, and no
# 0. Each entry of the table is a **file**: saved, measured with `os.path.getsize`, loaded again, and judged.

# %%
bit_widths = (8, 6, 5, 4, 3, 2, 1)
table = {}
print("bits     per tensor: bytes, accuracy       per channel: bytes, accuracy")
for bits in bit_widths:
    for per_channel in (False, True):
        table[bits, per_channel] = through_a_file(quantized(bits, per_channel=per_channel))
    cells = [f"{size:9,}  {percent_right(q)}" for size, q in (table[bits, False], table[bits, True])]
    print(f"{bits:4}   " + "            ".join(cells))

# %% [markdown]
# First: down to 4 bits, nothing happens that is larger than the standard error. A network adds up hundreds of
# products, and most rounding errors cancel. The file is about an eighth of the size. Second: at 2 bits all
# depends on the scale. One scale for each channel costs about 400 numbers of 4 bytes, far less than one more
# bit for each weight, and it saves most of the accuracy.
#
# Third, the surprise: **one bit is better than two.** Can that be? We look at the errors.

# %%
for bits in (2, 1):
    model = quantized(bits, per_channel=False)
    noise = decibels(weight, model.get("fc2.weight").read().data)
    quality = measure.evaluate(model, mnist.val)
    print(f"bits: {bits}  fc2.weight {noise:5.1f} dB, loss {quality.loss:5.2f}, right {quality.accuracy:.1%}")

# %% [markdown]
# The *error* of one bit is far larger. Each weight comes back as plus or minus the largest: the noise has
# many times the power of the signal, and the loss is terrible. But every **sign** is kept, and no weight is
# lost. That all weights of a layer are too large by one factor changes few answers: ReLU passes a positive
# factor on, and the largest of ten outputs stays the largest. So the squared error is a guide, and not the
# goal. A file is judged by what it answers.
#
# ## Groups: a scale for each few neighbours
#
# A row can be cut further, into **groups** of neighbours, each with a scale of its own. The price is a float
# of 32 bits for each group: **32 / group size** more bits for each weight. A group of 32 makes 2 bits 3.

# %%
curve = {"channel": table[2, True]}
for sizes in ((112, 100, 100), (56, 60, 50), (28, 30, 25), (14, 15, 10)):  # each divides its layer's row
    groups = dict(zip(("fc1", "fc2", "fc3"), sizes))
    curve[str(sizes[0])] = through_a_file(quantized(2, group_size=groups))
figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
for name, (size, quality) in (curve | {"3 bits": table[3, True]}).items():
    ax.errorbar(size / 1000, 100 * quality.accuracy, 100 * quality.standard_error, fmt="o", ms=4, capsize=3,
                color="C0" if name == "3 bits" else "C3")
    place = (-38, -4) if name == "3 bits" else (5, -4)
    ax.annotate(name, (size / 1000, 100 * quality.accuracy), place, textcoords="offset points", fontsize=9)
    print(f"{name:8} {size:8,} bytes {percent_right(quality)}")
ax.set(xlabel="file, kB", ylabel="validation accuracy, %",
       title="red: 2 bits, weights in a group of fc1; blue: 3 bits per channel")
plt.show()

# %% [markdown]
# Groups repair 2 bits. But look at the bytes: groups of 28 reach the accuracy of 3 bits per channel with a
# file that is as large. Scales are not free. The next idea is: it changes no byte at all.
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
    best = calibrate.mse_optimal(weight, bits)[1] / largest
    ax.semilogy(shares, rounding, color="C0", label="rounding")
    ax.semilogy(shares, np.maximum(clipping, 1e-12), color="C1", label="clipping")
    ax.semilogy(shares, total, color="k", lw=1, label="sum")
    ax.axvline(best, color="C3", ls=":", label="mse_optimal")
    ax.set(title=f"{bits} bits: best at {best:.2f}", xlabel="end / largest |w|", ylim=(1e-7, 2e-2))
axes[0].set_ylabel("mean squared error")
axes[-1].legend(frameon=False, fontsize=8, loc="lower left")
plt.show()

# %% [markdown]
# The fewer bits, the smaller the best range. With 8 bits it is nearly all of it: steps are small anyway, and
# clipping is the larger danger. So "clip the outliers" is no rule that is always good. The dotted line is not
# read off the curve: `mse_optimal` finds it, since for fixed integers the error is a parabola in the scale,
# and sorting leads through all integers that can occur. (Exact at 2 and 3 bits here; above, neighbours are
# grouped.)
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
# nearly so, *if* the range is right. No training was done. (Lesson 14 trains under quantization.) And
# clipping 5 % of the weights on each side, which sounds brutal, does little harm even at 8 bits, where it is
# not needed.
#
# ### Other rules, and what clipping alone saves
#
# - **k sigma**: the mean and k standard deviations to each side. Cheap; but which k?
# - **mse_optimal**: the smallest squared error, for the given bits.
# - **entropy**: the range that changes the histogram least (TensorRT's rule; it was made for 8 bits).
#
# The last rows ask a common question: is a network smaller after its weights were *clipped*?

# %%
rules = {"min–max": lambda bits: min_max, "percentile 97": lambda bits: narrow}
for k in (2, 3, 4):
    rules[f"{k} sigma"] = lambda bits, k=k: functools.partial(calibrate.k_sigma, k=k)
for rule in (calibrate.mse_optimal, calibrate.entropy):
    rules[rule.__name__] = lambda bits, rule=rule: functools.partial(rule, bits=bits)
print("one scale per tensor        4 bits                    3 bits                    2 bits")
for name, rule in rules.items():
    line = []
    for bits in (4, 3, 2):
        model = quantized(bits, per_channel=False, calibrate=rule(bits))
        noise = decibels(weight, model.get("fc2.weight").read().data)
        quality = measure.evaluate(model, mnist.val)
        line.append(f"{noise:5.1f} dB,{percent_right(quality)}")
    print(f"{name:16}", *line, sep="    ")

print("\nas it was                   ", f"{float_bytes:9,} bytes", percent_right(float_quality))
for bits in (None, 3, 2):
    model = copy.deepcopy(net)
    moved = clip_weights(model, narrow)
    if bits:
        compress.quantize(model, bits, per_channel=False)
    size, quality = through_a_file(model)
    after = f"then {bits} bits" if bits else "alone"
    print(f"clipped at 97 %, {after:11} {size:9,} bytes", percent_right(quality))
print(f"moved by clipping: {moved['fc2.weight']:.1%} of fc2.weight")

# %% [markdown]
# In no column has another rule more decibels than `mse_optimal`: its noise is the smallest that a range can
# have. But more decibels are not always more right answers: compare it with the percentile at 2 bits. The
# best k depends on the bits: 3 is good at 4 bits, and too wide at 2. And **clipping alone saves not one
# byte**: a clipped weight is still a float of 4 bytes. It helps only because of what comes afterwards, finer
# steps. (If *zeroing* weights is what you mean: that is pruning, lesson 9.)
#
# ## Activations: the range comes from data
#
# Weights can be looked at. **Activations**, the numbers that flow between the layers, are only known when
# images come in. So some *training* images go through, batch by batch, and at each place that a product reads
# stands an **observer**: it looks at what passes, remembers a little, and names a range at the end. Behind a
# ReLU nothing is negative, so the line is affine: a symmetric one would never use half of its integers.
# `quantize_static` does all this, and gives the weights 8 bits.
#
# Calibration data are not always clean. Here one of 500 images is broken: its pixels were not divided by 255.
# Which observer do you trust? Guess before you run it. (`histogram` searches the smallest squared error.)

# %%
clean = mnist.train.sample(500, rng=0).images
broken = clean.copy()
broken[300] *= 255
states = {"clean": clean, "one broken image": broken}


def watchers(bits):
    """What makes each observer, by name."""
    part = functools.partial
    return {
        "min–max": observers.MinMaxObserver, "moving average": observers.MovingAverageMinMaxObserver,
        "3 sigma": observers.KSigmaObserver, "percentile 99.9": part(observers.PercentileObserver, 99.9),
        "percentile 99": part(observers.PercentileObserver, 99),
        "histogram": part(observers.HistogramObserver, bits=bits),
        "entropy": part(observers.EntropyObserver, bits=bits),
    }  # fmt: skip


seen = {}
print(f"{'':18} clean: 8 bits    4 bits           one broken: 8 bits   4 bits")
for name in watchers(8):
    for state, images in states.items():
        for bits in (8, 4):
            model = copy.deepcopy(net)
            quantize_static(model, images, bits, observer=watchers(bits)[name])
            seen[name, state, bits] = measure.evaluate(model, mnist.val)
    print(f"{name:18}", *(percent_right(seen[name, s, b]) for s in states for b in (8, 4)), sep="   ")

ends = {n: observers.calibrate(net, broken, w, ["relu1"])["relu1"][1] for n, w in watchers(4).items()}
with measure.capture(net) as layers:
    net(Tensor(broken))
figure, ax = plt.subplots(figsize=(8, 3.4), layout="constrained")
ax.hist(layers["relu1"].output.numpy().reshape(-1), bins=np.logspace(-2, 3, 80), color="0.85")
ax.set(xscale="log", yscale="log", xlabel="output of relu1, where it is not 0", ylabel="how many (grey)",
       title="how far the range for 4 bits reaches, with one broken image")
rows, reach = ax.twinx(), list(ends.values())
rows.hlines(range(len(ends)), 0.01, reach, color="C3", lw=1.5)
rows.plot(reach, range(len(ends)), "C3o", ms=5)
rows.set(yticks=range(len(ends)), yticklabels=list(ends), ylim=(6.6, -0.6))
plt.show()

# %% [markdown]
# With clean data, all seven are equally good here, within the standard error. One broken image of 500 tells
# them apart, and 4 bits show it best:
#
# - **Min–max** must hold the broken image, so all others fall on the first few integers. **3 sigma** stops
#   earlier, but the broken image makes sigma large, too.
# - **99.9 %** is not safe either. It leaves out one number in a thousand, but one image of 500 brings *two*
#   in a thousand. **A percentile protects only from outliers that are rarer than what it cuts off.**
# - **The smallest squared error** sounds safe and is not: an error counts by its *square*, so the broken
#   image's numbers, 255 times as large, count 65,000 times as much. It is kept, and the others pay.
# - **Entropy** counts how many numbers there are, not how large they are, so it drops the broken image at 4
#   bits. At 8 bits it must keep 256 bins of its histogram or more, and these reach too far.
# - **The moving average** gives each batch a small weight. It was lucky, too: in the first batch, where it
#   starts, the broken image would set the range.
#
# No observer is best. Look at the data first.
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
# The mistakes differ in kind.
#
# - **Rounding to whole numbers** leaves hardly anything but zeros.
# - **Not centred** has steps of the right size, but the *mean* error is not 0. Errors that all point in one
#   direction do not cancel in a sum of 784 products.
# - **2^b steps** is the sly one. Only the largest numbers go wrong, but they come back as the smallest. There
#   are so few of them that the accuracy hides it. The largest error shows it.
# - **Scaled by the outlier** is the left picture of the first page. The line is right; its range is not.
# - **Cast before clamp** turns the sign of the largest weights, which matter most.
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
# ## Steps that grow: small floats
#
# All steps of a line have the same size. A **float** has small steps near 0 and large ones far away. It is a
# sign, an exponent and a **mantissa** (the digits), side by side. The name E4M3 means: 4 bits of exponent, 3
# of mantissa. By hand, with **bias** 7 (it is taken off the stored exponent, so that powers below 1 exist,
# too):
#
#     0 0111 110      +  2^(7 − 7)  · (1 + 6/8)  =  1.75       the 1 in front is not stored
#     1 1001 000      −  2^(9 − 7)  · (1 + 0/8)  =  −4
#     0 0000 011      +  2^(1 − 7)  · (0 + 3/8)  =  0.00586    exponent 0: no 1 in front
#
#     exponent > 0    (−1)^sign · 2^(exponent − bias) · (1 + mantissa / 2^m)        bias = 2^(e−1) − 1
#     exponent = 0    (−1)^sign · 2^(1 − bias)        · (0 + mantissa / 2^m)        the **subnormal** numbers
#
# Without the second line there would be no 0. **What can a format hold?** Left, all numbers of 4 and 8 bits,
# with the largest at 1. NF4 is a table: 16 levels, laid where normally distributed weights are dense. Right,
# how far it is to the next number.

# %%
held = {name: floats.levels(name).astype(float) for name in ("fp8_e4m3", "fp8_e5m2", "fp4_e2m1", "nf4")}
held = {"int8": np.arange(-127.0, 128), "int4": np.arange(-7.0, 8)} | held
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
for row, (name, numbers) in enumerate(held.items()):
    numbers = numbers / numbers[-1]
    left.vlines(numbers, row - 0.36, row + 0.36, color=f"C{row}", lw=0.6 if len(numbers) > 20 else 1.6)
    left.text(1.04, row, len(numbers), va="center", fontsize=9)
    plus = numbers[numbers > 0]
    right.step(plus[:-1], 100 * np.diff(plus) / plus[:-1], where="post", color=f"C{row}", label=name)
left.set(yticks=range(len(held)), yticklabels=list(held), xlim=(-1.03, 1.2), xlabel="number / the largest",
         title="all numbers, and how many")
left.invert_yaxis()
right.set(xscale="log", yscale="log", xlim=(1e-6, 1.5), xlabel="number / the largest", title="relative step",
          ylabel="step, % of the number")
right.legend(frameon=False, fontsize=8, ncols=2, loc="lower left")
plt.show()

# %% [markdown]
# ### Exercise 12.6 · codes to numbers
#
# `fields(codes, format)` takes codes apart: sign, stored exponent, mantissa, as integers. `named(format)`
# knows `exponent_bits`, `mantissa_bits` and `bias`. Write the two lines of the formula, and let
# `np.where(exponent > 0, ..., ...)` choose between them, for all codes at once. The codes you get are numbers:
# no infinity and no NaN. (Write 2.0: NumPy refuses an integer 2 to a negative integer.)


# %% exercise="12.6"
def decode(codes, format):
    """The numbers that codes of a small float format stand for.

    Shapes: codes (...), unsigned integers -> (...), float32
    """
    sign, exponent, mantissa = fields(codes, format)
    f = named(format)
    # BEGIN SOLUTION
    digits = (exponent > 0) + mantissa / 2**f.mantissa_bits  # 1.mantissa, or 0.mantissa
    numbers = (1 - 2 * sign) * 2.0 ** (np.maximum(exponent, 1) - f.bias) * digits
    numbers = numbers.astype(np.float32)
    # INSTEAD
    numbers = ...
    # END SOLUTION
    return numbers


# %% check="12.6"
check("12.6")

# %% [markdown]
# Your `decode` reads the network's weights now. They need a scale that brings the largest of each row to the
# format's largest number; `store_as` does that. Beside it: what happens to 100,000 normal numbers when the
# scale must also hold one **outlier**, that is so many times larger than all of them?

# %%
with yours("12.6"):
    for name in ("fp8_e4m3", "fp8_e5m2", "int8", "fp4_e2m1", "int4"):
        model = quantized(int(name[3:])) if name.startswith("int") else copy.deepcopy(net)
        if name.startswith("fp"):
            store_as(model, name)
        size, quality = through_a_file(model)
        noise = decibels(weight, model.get("fc2.weight").read().data)
        print(f"{name:9} {size:8,} bytes {percent_right(quality)}   fc2.weight {noise:.1f} dB")

normal = np.random.default_rng(0).normal(size=100_000)
times = 2.0 ** np.arange(13)
figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
for name, numbers in held.items():
    curve = []
    for far in times:
        scale = far * abs(normal).max() / numbers[-1]
        curve.append(decibels(normal, scale * numbers[codec.levels.nearest_level(normal / scale, numbers)]))
    ax.semilogx(times, curve, "o-", ms=3, base=2, label=name)
    print(f"{name:9} {curve[0]:4.1f} dB; outlier 4 times as far {curve[2]:4.1f}, 64 times {curve[6]:4.1f}")
ax.set(xlabel="outlier / the largest of the others", ylabel="signal to noise\nof the others, dB")
ax.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %% [markdown]
# Without an outlier, int8 is *better* than both floats of 8 bits, by several decibels: it spends all its
# codes inside the range, a float many of them near 0. But each doubling of the outlier costs int8 one bit, 6
# dB, and E4M3 nothing, until the numbers arrive at its subnormals. E5M2 pays one bit of digits for still more
# range. **Floats do not make a better range; they make the range matter less.** That is why they are liked
# where no one looks at the ranges: activations and gradients of large networks. Four bits are too few for
# such freedom: all three formats fall at once, and need groups, or a good range.
#
# ## Bits for each layer, under a budget of bytes
#
# Why the same bits for all layers? `scan_bits` makes one layer coarse, leaves all others as they were, and
# looks at the validation loss: the layer's **sensitivity**. Then each layer has a list of options with two
# prices: bytes, and the rise of the loss. Given a budget of bytes, which option for each layer?
#
# By hand, two layers, A and B, and a budget of **14 bytes**:
#
# | | 8 bits | 4 bits | 2 bits |
# |---|---|---|---|
# | A: bytes, rise | 8, 0 | 4, 2 | 2, 7 |
# | B: bytes, rise | 12, 0 | 6, 4 | 3, 9 |
#
# All at 8 bits are 20 bytes: 6 too many. A **greedy** walk takes what costs least for each byte saved: A to 4
# bits, 2/4. That is 16, still too many. The next cheapest is B, 4/6. Now the rise is 2 + 4 = 6. But B *alone*
# would have saved 6 bytes for 4. **Greedy is not exact.** To try all is exact, but K options for L layers
# make K^L ways.
#
# **Dynamic programming** settles one layer after the other, and drops a way if another is no larger *and*
# costs no more: whatever comes later is added to both alike. A at 2 bits with B at 8 has 14 bytes and rise 7;
# A at 8 with B at 4 has 14 and 4. The first is dropped, and with it all that would have been built on it.
#
# ### Exercise 12.7 · the best bits under a budget
#
# Write the exact choice. With the small tables here you may try all ways (`itertools.product` lists them), or
# drop what is worse, layer by layer, as the package does. A way that takes just the budget is allowed.


# %% exercise="12.7"
def cheapest(costs, sizes, budget):
    """Choose an option for each layer: the least sum of costs, with a sum of sizes of `budget` at most.

    Shapes: costs and sizes (L, K) -> (L,), for each layer the index 0 ... K − 1 of its option
    """
    options = ...
    return np.array(options)


# %% check="12.7"
check("12.7")

# %% [markdown]
# Your choice decides about the real network: three layers, seven options each and "as it was". All ranges are
# at the 97th percentile, per channel.

# %%
found = scan_bits(net, mnist, (8, 6, 5, 4, 3, 2, 1), calibrate=narrow)
print(found)
uniform = [through_a_file(quantized(bits, calibrate=narrow)) for bits in (1, 2, 3)]
for bits, (size, quality) in zip((1, 2, 3), uniform):
    print(f"bits: {bits} for all   {size:9,} bytes {percent_right(quality)}, loss {quality.loss:.3f}")
chosen, mixed = {}, []
with yours("12.7"):
    for budget in (38_000, 50_000, 68_000, 80_000, 110_000):
        chosen[budget] = found.choose(budget)
        mixed.append(through_a_file(quantized(chosen[budget], calibrate=narrow)))
        (size, quality), bits = mixed[-1], list(chosen[budget].values())
        print(f"budget {budget:7,} {size:9,} bytes {percent_right(quality)}, loss {quality.loss:.3f}; {bits}")
print("38,000 against 1 bit for all:", measure.compare(uniform[0][1], mixed[0][1]))

rises = np.maximum.accumulate(found.loss - found.loss[:, :1], axis=1)  # a fall is no gain: see `choose`
ways = np.array([[found.rest + sum(found.sizes[range(3), way]), sum(rises[range(3), way])]
                 for way in itertools.product(range(8), repeat=3)])
figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
for name, line in zip(found.names, rises):
    axes[0].plot(found.bits[1:], line[1:], "o-", ms=4, label=name)
axes[0].set(xlabel="bits of this layer alone", ylabel="rise of the loss, nats", title="sensitivity",
            xticks=found.bits[1:])
axes[0].invert_xaxis()
axes[0].legend(frameon=False, fontsize=8)
axes[1].plot(ways[:, 0] / 1000, ways[:, 1], ".", ms=3, color="0.7", label="all 512 ways")
ways = ways[np.lexsort(ways.T[::-1])]
best = np.minimum.accumulate(ways[:, 1])
axes[1].step(ways[:, 0] / 1000, best, where="post", color="C3", label="best for each budget")
axes[1].set(xlim=(30, 130), xlabel="file, kB", ylabel="sum of the rises, nats", title="what can be chosen")
equal = [rises[:, found.bits == bits].sum() for bits in (1, 2, 3)]
axes[1].plot([size / 1000 for size, _ in uniform], equal, "C0s", ms=5, label="the same bits for all: 1, 2, 3")
axes[1].legend(frameon=False, fontsize=8)
plt.show()

# %% [markdown]
# The red stairs are the exact answer for every budget at once. Look at 1 bit for all, and at the choice for
# 38,000 bytes. The last layer has 1,000 of 266,200 weights, but one bit hurts there about as much as in the
# first, which has 235,200. So a few hundred bytes for the last layer are well spent: see the paired
# difference. Elsewhere there is little to win: the first layer has 88 % of all weights, and its bits decide
# the size. Nor does the scan know everything: rises are *summed*, as if layers did not disturb each other.
#
# ## At last the test images, once
#
# We chose on validation data: 4 bits and 2 bits, one scale for each channel, for 2 bits the best percentile
# of our table, and the choice by layer for 38,000 bytes. The files are judged on the 1,000 test images,
# paired with the float network: `measure.compare` looks at the same images in both, so its standard error is
# smaller than that of each accuracy alone.

# %%
best = max(percents, key=lambda percent: grid[True, 2, percent].accuracy)
before = measure.evaluate(net, mnist.test)
print(f"32 bits: {float_bytes:9,} bytes   test accuracy{percent_right(before)}")
for bits, percent in ((4, 100), (2, best)):
    rule = functools.partial(calibrate.percentile, percent=percent)
    size = through_a_file(quantized(bits, calibrate=rule))[0]
    after = measure.evaluate(load(path), mnist.test)
    print(f"{bits:2} bits: {size:9,} bytes ({size / float_bytes:.3f})   {measure.compare(before, after)}")
size = through_a_file(quantized(chosen[38_000], calibrate=narrow))[0]
after = measure.evaluate(load(path), mnist.test)
print(f"by layer: {size:8,} bytes ({size / float_bytes:.3f})   {measure.compare(before, after)}")

# %% [markdown]
# ## In PyTorch
#
# ```python
# observer = torch.ao.quantization.MinMaxObserver(dtype=torch.qint8, qscheme=torch.per_tensor_affine)
# observer(x); scale, zero_point = observer.calculate_qparams()         # range first, then the line
# back = torch.fake_quantize_per_tensor_affine(x, scale, zero_point, -128, 127)     # there and back
# ```
#
# `PerChannelMinMaxObserver(ch_axis=0)` is one scale for each channel, `HistogramObserver` searches a range
# with a small squared error, and `x.to(torch.float8_e4m3fn)` makes E4M3. `calculate_qparams` widens the range
# to hold 0, too.
#
# ## Questions
#
# 1. Why is 0 so important that a range is widened for it? Name three places where a network makes zeros.
# 2. Symmetric 8 bits uses −127 ... 127 and leaves −128 out. What is gained?
# 3. At 8 bits, does clipping at the 95th percentile help or hurt? And at 2 bits? Why the difference?
# 4. Calibration uses training images. Why not test images, whose labels are not needed anyway?
# 5. 4 bits in groups of 32, or 5 bits in one group for each channel: which file is smaller?
# 6. Why is int8 better than fp8 for the weights here, and worse beside a far outlier?
# 7. The weights take 4 bits, but the program multiplies floats. What has become smaller, and what has not
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
# 5. The same, nearly: a float32 for 32 weights is one bit for each. (Scales may be stored in 16 or 8 bits.)
# 6. An integer's steps are equal, so none are wasted on the neighbourhood of 0; but the outlier makes all of
#    them large. A float's steps near 0 stay small.
# 7. The file is smaller, and so is the memory if weights are kept packed. The arithmetic is the same. To gain
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
# - P. Micikevicius et al. (2022), "FP8 Formats for Deep Learning", arXiv:2209.05433 (E4M3 and E5M2).
# - T. Dettmers, A. Pagnoni, A. Holtzman and L. Zettlemoyer (2023), "QLoRA: Efficient Finetuning of Quantized
#   LLMs", arXiv:2305.14314 (NF4, and scales for blocks of weights).
#
# **Read on in the source:** `tinyopt/codec/affine.py` is the line and its two directions,
# `compress/calibrate.py` the ranges, `compress/quantize.py` puts them into a model, and
# `compress/wrong_ways.py` holds what you should not do.

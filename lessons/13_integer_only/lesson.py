"""Lesson 13, integer-only inference: the source of lesson.ipynb; its format: tinyopt/course/percent.py."""

# %% [markdown]
# # 13 · Integer-only inference: a network without a float
#
# **The question.** A microcontroller for one euro adds and multiplies integers. It has no unit for floats. In
# lesson 12 the weights were *stored* as integers, and every product was still one of floats. **Can a whole
# network run on integers alone, from the image to the answer? And what happens to a number inside of it?**
#
# - **You need:** lesson 12 (scale, zero point, calibration), lesson 7 (convolution).
# - **You will write:** a neuron on paper, `quantize_layer`, `fixed_point`, `requantize`, and a sum of
#   integers that float32 gets wrong.
# - **Time:** about 110 minutes.
#
# Where an exercise is still empty, the package's own function works for you.

# %%
import functools
import os
import tempfile
from fractions import Fraction

import matplotlib.pyplot as plt
import numpy as np

import tinyopt
from tinyopt import Tensor, data, measure, nn, optim, train
from tinyopt.codec import quantize
from tinyopt.compress import wrong_ways
from tinyopt.compress.fold import fold_norm
from tinyopt.compress.integer import convert, integerize, reference, step_through
from tinyopt.compress.observers import PercentileObserver
from tinyopt.course import STYLE, start
from tinyopt.course.lessons import find, load
from tinyopt.nn import integer_math

check, hint, reveal, yours = start(13)
material = load(find(13) / "material.py")
folder = tempfile.TemporaryDirectory()  # all files of this lesson; it is removed at the end
plt.rcParams.update(STYLE)

# %% [markdown]
# First a trained float network: two convolutions with a batch norm each, and two dense layers.

# %%
mnist = data.mnist5k()
rng = np.random.default_rng(0)
net = nn.Sequential(
    conv1=nn.Conv2d(1, 8, 3, padding=1, bias=False, rng=rng),
    norm1=nn.BatchNorm2d(8),
    relu1=nn.ReLU(),
    pool1=nn.MaxPool2d(2),  # 28×28 -> 14×14
    conv2=nn.Conv2d(8, 16, 3, padding=1, bias=False, rng=rng),
    norm2=nn.BatchNorm2d(16),
    relu2=nn.ReLU(),
    pool2=nn.MaxPool2d(2),  # 14×14 -> 7×7
    flatten=nn.Flatten(),
    fc1=nn.Linear(784, 64, rng=rng),
    relu3=nn.ReLU(),
    fc2=nn.Linear(64, 10, rng=rng),
)
settings = {"epochs": 3, "seed": 0, "schedule": train.cosine, "progress": False}
train.fit(net, (mnist.train, None), optimizer=optim.Adam(net.parameters(), lr=2e-3), **settings)
net.eval()
float_quality = measure.evaluate(net, mnist.val)
accuracy, error = float_quality.accuracy, float_quality.standard_error
print(f"validation accuracy {accuracy:.1%} ± {error:.1%} (standard error)")

# %% [markdown]
# Now the picture. `integerize` makes an integer network of it; calibration, as in lesson 12, uses some
# training images. Here are all numbers that flow through it for 100 images, step by step. Read the **types**.

# %%
calibration = mnist.train.sample(512, rng=0)
small = integerize(net, calibration)
with measure.capture(small) as layers:
    small(Tensor(mnist.val.images[:100]))
SHOWN = {"quantize": "image", "conv1": "sums of conv1", "pool1_requantize": "what conv2 reads",
         "conv2": "sums of conv2", "pool2_requantize": "what fc1 reads", "fc2": "logits"}
figure, axes = plt.subplots(2, 3, figsize=(10, 4.6), layout="constrained")
for ax, (name, title) in zip(axes.flat, SHOWN.items()):
    values = layers[name].calls[0].output.data
    ax.hist(values.ravel(), bins=64, color="C0" if values.dtype == np.int8 else "C1", log=True)
    ax.set_title(f"{title}: {values.dtype}")
    ax.locator_params(axis="x", nbins=4)
figure.supxlabel("value of the integer", fontsize=10)
figure.supylabel("how many", fontsize=10)
plt.show()

# %% [markdown]
# The numbers breathe: 8 bits, then sums of 32 bits, then 8 bits again. There is no float from the first panel
# to the last one. This lesson is about the two steps between the panels: **how the sums are made**, and **how
# a sum becomes an int8 again**.
#
# ## By hand: one neuron
#
# Inputs x = (3.0, 5.0), weights (0.4, −0.2), bias 0.516. So y = 1.2 − 1.0 + 0.516 = **0.716**.
#
#     x on the line 0.1 · (q − z), z = −20:     q = (10, 30)          3.0 / 0.1 = 30, plus −20
#     w on the line 0.02 · q (symmetric):       q = (20, −10)
#     the sum: 20 · (10 + 20) − 10 · (30 + 20) = 100, in steps of 0.1 · 0.02 = 0.002
#     so the bias must have these steps, too:   0.516 / 0.002 = 258
#     acc = 100 + 258 = 358                     358 · 0.002 = 0.716, exactly
#
# The sum is called the **accumulator**. Its step, *input scale · weight scale*, is very fine. So the bias is
# no 8-bit number: it is an int32, on the line of the accumulator.
#
# **A trick.** To subtract z from every input takes time. But Σ w · (q − z) = Σ w · q − z · Σ w, and the
# second part does not depend on the image! It is computed once and hidden in the bias: 258 + 20 · (20 − 10) =
# **458**. Check: 20 · 10 − 10 · 30 + 458 = 358. The same.
#
# **Back to 8 bits.** The output line has steps of 0.04, and its zero point is −128. One step of the
# accumulator is M = 0.002 / 0.04 = 0.05 steps of the output. M is not an integer. But an integer product and
# a **shift** can do it. A shift to the right by n bits, `>> n`, divides by 2ⁿ:
#
#     0.05 ≈ 13 / 256 = 13 / 2⁸        358 · 13 = 4654        4654 / 256 = 18.18 -> 18        18 − 128 = −110
#
# And −110 stands for 0.04 · 18 = 0.72. This last part is called **requantization**.

# %%
material.draw_neuron()
plt.show()

# %% [markdown]
# Two rules are left. A result above 127 becomes 127, and one below −128 becomes −128: it **saturates**. An
# exact half goes **away from zero**: 2.5 becomes 3, and −2.5 becomes −3. (NumPy's `rint` goes to the even
# number.)
#
# ### Exercise 13.1 · predict, then compute
#
# Another neuron, on paper. Inputs q = (12, −8) on a line of scale 0.1 and zero point **−16**. Weights (7, −3)
# of scale 0.05. The bias is 0.6. The factor is 13 / 2⁷, and the output's zero point is **10**.
#
# - `bias`: the bias in steps of the accumulator; `stored`: the same, with the zero point's share hidden in
#   it;
# - `acc`: the accumulator, and `q`: the int8 that it becomes;
# - `half`: the int8 if acc · 13 were **−320**;
# - `top`: the int8 if acc were **1500**.


# %% exercise="13.1"
def predict():
    """The bias, the stored bias, the accumulator, and three int8 numbers: by hand."""
    # BEGIN SOLUTION
    bias = 120  # 0.6 / 0.005
    stored = 184  # 120 + 16 · (7 − 3)
    acc = 292  # 7 · 28 − 3 · 8 + 120
    q = 40  # 292 · 13 / 128 = 29.66 -> 30, plus 10
    half = 7  # −2.5 -> −3, plus 10
    top = 127  # 152 + 10 does not fit
    # INSTEAD
    bias = ...
    stored = ...
    acc = ...
    q = ...
    half = ...
    top = ...
    # END SOLUTION
    return bias, stored, acc, q, half, top


# %% check="13.1"
check("13.1")

# %% [markdown]
# ## The formula, and the slow loop that specifies it
#
#     acc = Σ w · (q − z_x) + b        w and q int8, b and acc int32
#     p   = acc · m                    m / 2ⁿ ≈ M = s_x · s_w / s_y, known before the first image comes
#     q_y = clip(round(p / 2ⁿ) + z_y, low, 127)        low = −128; after a ReLU, low = z_y
#
# Note the last remark: **a ReLU costs nothing**. The integer z_y stands for 0.0. So "not below 0.0" is a
# clamp at z_y, and the clamp is there anyway.
#
# Here it is in Python's integers and exact fractions, one product after the other. We compare it with one
# unit of the network.


# %%
def slow_neuron(x, w, bias, z_x, m, n, z_y, relu):
    """One output: (accumulator, int8)."""
    acc = bias
    for weight, q in zip(w, x):
        acc += weight * (q - z_x)
    exact = Fraction(acc * m, 2**n)
    rounded = int(abs(exact) + Fraction(1, 2))  # to the nearest; the half goes up ...
    rounded = rounded if exact >= 0 else -rounded  # ... so with the sign back, away from zero
    return acc, min(max(rounded + z_y, z_y if relu else -128), 127)


fc1, after = small.layers["fc1"], small.layers["fc1_requantize"]
own_bias = fc1.bias - material.share_of_zero_point(fc1)  # without what is hidden in it
same = 0
for unit in range(64):
    x = layers["flatten"].calls[0].output.data[0].tolist()
    made_of = fc1.weight[unit].tolist(), int(own_bias[unit]), int(fc1.zero_point)
    line = int(after.multiplier[unit]), int(after.shift[unit]), int(after.zero_point)
    found = slow_neuron(x, *made_of, *line, after.relu)
    due = (layers[name].calls[0].output.data[0, unit] for name in ("fc1", "fc1_requantize"))
    same += found == tuple(map(int, due))
print(f"{same} of 64 units of fc1: the same accumulator and the same int8")

# %% [markdown]
# ### Exercise 13.2 · a layer in integers
#
# Given a layer's floats W (O, ...) and b (O,), and the line of its input. The scales, one for each output,
# are given. Return the integers `w` (int8) and the **stored** bias (int32): b in steps of `in_scale · scale`,
# with the zero point's share hidden in it. Take care: a sum of many int8 needs a wider type. (Why the scale
# looks at the bias: a channel with tiny weights has tiny steps, and a bias of many such steps would not fit.)


# %% exercise="13.2"
def quantize_layer(weight, bias, in_scale, in_zero_point, *, per_channel=True):
    """A layer's weight and bias as integers on the line of its accumulators, in_scale · scale.

    Shapes: weight (O, ...), bias (O,) or None -> w, int8, as weight; bias (O,), int32; scale (O,).
    """
    bias = np.zeros(len(weight)) if bias is None else bias
    scale = np.maximum(quantize(weight, axis=0)[1], abs(bias) / (in_scale * 2**convert.BIAS_BITS))
    top = scale.max() if scale.max() > 1e-30 else 1.0
    scale = np.maximum(scale, top * 2.0**-24) if per_channel else np.full_like(scale, top)
    # BEGIN SOLUTION
    w = np.rint(weight / scale.reshape(-1, *[1] * (weight.ndim - 1))).astype(np.int8)
    sums = w.astype(np.int64).reshape(len(w), -1).sum(axis=1)
    steps = np.rint(bias / (in_scale * scale)).astype(np.int64) - in_zero_point * sums
    stored = steps.astype(np.int32)
    # INSTEAD
    w = ...
    stored = ...
    # END SOLUTION
    return w, stored, scale


# %% check="13.2"
check("13.2")

# %% [markdown]
# Your layers make the whole network now. Do the accumulators stand for what the float network computes? For
# each layer: what the float network has before the ReLU, against accumulator · s_x · s_w.

# %%
with yours("13.2"):
    small = integerize(net, calibration)
images = mnist.val.images[:100]
with measure.capture(small) as layers, measure.capture(net) as floats, measure.inference(net):
    small(Tensor(images))
    net(Tensor(images))
FLOAT_NAMES = {"conv1": "norm1", "conv2": "norm2", "fc1": "fc1", "fc2": "fc2"}  # the norm is folded into conv
figure, axes = plt.subplots(1, 4, figsize=(10, 2.7), layout="constrained")
for ax, (name, float_name) in zip(axes, FLOAT_NAMES.items()):
    due = floats[float_name].output.data.swapaxes(0, 1).reshape(len(small.layers[name].weight), -1)
    acc = layers[name].calls[0].output.data.swapaxes(0, 1).reshape(len(due), -1).astype(float)
    step = (acc * due).sum(axis=1) / (acc**2).sum(axis=1)  # the step that fits best, for each channel
    some = rng.integers(0, due.size, 1500)
    difference = acc * step[:, None] - due
    ax.plot(due.ravel()[some], difference.ravel()[some], ".", ms=2)
    error = np.sqrt((difference**2).mean() / (due**2).mean())
    ax.set(title=f"{name}: error {error:.1%}", xlabel="float network")
axes[0].set_ylabel("accumulator · step − float")
plt.show()

# %% [markdown]
# (error: the root mean square of the difference, divided by that of the float network's numbers.) Each layer
# rounds to 8 bits again. But the rounding errors have both signs, and in a sum of hundreds they cancel in
# part.
#
# ## How wide must an accumulator be?
#
# One product of two int8 needs 15 bits. A sum of hundreds of them needs more. Here are the accumulators of
# our network, on a logarithmic axis. All to the right of the first line would not fit an int16.

# %%
with measure.capture(small) as layers:
    small(Tensor(mnist.val.images))
figure, ax = plt.subplots(figsize=(8.5, 3), layout="constrained")
for name in ("conv1", "conv2", "fc1", "fc2"):
    acc = abs(layers[name].calls[0].output.data.astype(np.int64)).ravel()
    ax.hist(acc[acc > 0], bins=np.logspace(2, 10, 90), histtype="step", lw=1.5, label=name)
    print(f"{name}: largest {acc.max():9,}; {(acc >= 2**15).mean():6.1%} do not fit an int16")
for power, text in ((15, "int16"), (24, "float32 exact"), (31, "int32")):
    ax.axvline(2**power, color="0.4", ls=":")
    ax.text(1.2 * 2**power, 3e7, f"{text}:\n2^{power}", ha="left", va="top", fontsize=9)
ax.set(xscale="log", yscale="log", xlabel="|accumulator|", ylabel="how many", ylim=(1, 4e7))
ax.legend(frameon=False, loc="center right", bbox_to_anchor=(0.83, 0.45))
plt.show()

# %% [markdown]
# So 32 bits have much room, and 16 are not enough. Remember the middle line; exercise 13.5 is about it.
#
# ## A factor without a float
#
# M = s_x · s_w / s_y is nearly always smaller than 1. Write it as mantissa · 2^exponent with a mantissa in
# [1/2, 1), and the mantissa as an integer of 31 bits:
#
#     0.05 = 0.8 · 2⁻⁴        m = round(0.8 · 2³¹)        n = 31 + 4        m / 2ⁿ ≈ 0.05
#
# This is called **fixed-point arithmetic**: the binary point stands at a fixed place, n bits from the right.
#
# ### Exercise 13.3 · `fixed_point`
#
# For an array of factors, compute the shifts n and the integers m. `np.frexp(x)` gives the mantissas and the
# exponents; `np.ldexp(x, n)` is x · 2ⁿ, exactly. No shift may pass **62**, or an int64 would be too short. (The
# lines below the solution are given: a mantissa may round up to 1, and would then need 32 bits.)



# %% exercise="13.3"
def fixed_point(factor, *, bits=31):
    """Write factors as integers and shifts: factor ≈ multiplier · 2^(−shift), multiplier of `bits` bits.

    Shapes: factor (...), floats -> multiplier (...), int32; shift (...), int8.
    """
    factor = np.array(factor, np.float64)
    if not ((factor > 0) & (factor < 2.0 ** (bits - 31))).all():
        raise ValueError(f"a factor of {bits} bits lies in (0, 2^{bits - 31}); got {factor}")
    # BEGIN SOLUTION
    _, exponent = np.frexp(factor)  # factor = mantissa · 2^exponent, 1/2 ≤ mantissa < 1
    shift = np.minimum(bits - exponent, 62)
    multiplier = np.rint(np.ldexp(factor, shift))
    # INSTEAD
    shift = ...
    multiplier = ...
    # END SOLUTION
    full, room = multiplier == 2**bits, shift > 31
    multiplier = np.where(full, np.where(room, 2 ** (bits - 1), 2**bits - 1), multiplier)
    return multiplier.astype(np.int32), (shift - (full & room)).astype(np.int8)


# %% check="13.3"
check("13.3")

# %% [markdown]
# Are 31 bits too many? We give the multiplier fewer bits, and count how many of the network's int8 numbers
# come out different from those of the exact factor.

# %%
with yours("13.3"):
    small = integerize(net, calibration)
widths, share = range(3, 25), {}
for name in ("pool1_requantize", "pool2_requantize", "fc1_requantize"):
    layer, acc = small.layers[name], layers[name].calls[0].inputs[0].data.astype(np.int64)
    by_channel, z = (-1, *[1] * (acc.ndim - 2)), int(layer.zero_point)
    factor = np.ldexp(layer.multiplier.astype(float), -layer.shift.astype(int)).reshape(by_channel)
    due = np.clip(np.rint(acc * factor), 0, 127 - z)
    for bits in widths:
        m, n = material.short_factor(factor, bits)
        came = np.clip((acc * m + (1 << (n - 1))) >> n, 0, 127 - z)
        share.setdefault(name, []).append((came != due).mean())
figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
for name, heights in share.items():
    ax.semilogy(widths, np.where(np.array(heights) > 0, heights, np.nan), "o-", ms=4, label=name)
ax.set(xlabel="bits of the multiplier", ylabel="share of different int8", xticks=range(3, 25, 3))
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# Each bit halves the share. (Where no number differs, there is no point.) With 8 bits a few numbers in a
# hundred differ, by one step, which would hardly harm the accuracy. Why 31, then? Because they are free: the
# product of two 32-bit integers is one instruction. And with 31 bits the rounding of the *factor* is never
# the reason for a difference that you have to explain.
#
# ### Exercise 13.4 · `requantize`
#
# From one accumulator to one int8, all in Python's integers: no `/`, no `round`, no float. `//` and `>>` are
# exact, but round **down**: −5 >> 1 is −3. So think about the sign. Half goes away from zero. Clamp last.


# %% exercise="13.4"
def requantize(acc, multiplier, shift, zero_point, *, relu=False):
    """One accumulator to one int8: round(acc · multiplier / 2^shift) + zero_point, saturated; in integers."""
    # BEGIN SOLUTION
    product = acc * multiplier
    rounded = (abs(product) + 2 ** (shift - 1)) // 2**shift
    rounded = rounded if product >= 0 else -rounded
    low = zero_point if relu else -128
    q = min(max(rounded + zero_point, low), 127)
    # INSTEAD
    q = ...
    # END SOLUTION
    return q


# %% check="13.4"
check("13.4")

# %% [markdown]
# Python's integers have no end, so nothing can overflow in your function. That makes it a **specification**.
# The package keeps one for every layer, in `compress/integer/reference.py`: slow loops, no float. With your
# function in it, it runs one image through the whole network. The fast network must give *equal* integers,
# not similar ones.

# %%
image = mnist.val.images[:1]
with yours("13.4"):
    due = reference.network(small, image)
with measure.capture(small) as layers:
    small(Tensor(image))
print(f"{'layer':18} {'takes':8} {'makes':7} {'numbers':>8}   smallest … largest")
for name, layer in small.layers.items():
    call = layers[name].calls[0]
    taken, made = call.inputs[0].data, call.output.data
    equal = "equal" if name in due and np.array_equal(due[name], made) else "DIFFERENT"
    equal = "" if name in ("quantize", "dequantize") else equal  # these have floats at one side
    ends = (f"{end:,}" if made.dtype != np.float32 else f"{end:.3f}" for end in (made.min(), made.max()))
    row = f"{name:18} {taken.dtype!s:8} {made.dtype!s:8} {made.size:7,}"
    print(f"{row}   {next(ends):>9} … {next(ends):9} {equal}")

# %% [markdown]
# All integers are equal. The floats stand at both ends only: the image comes in as floats here, and the last
# line makes float logits, for comparison. A camera delivers integers anyway; and the largest of ten logits is
# the same one in integers.
#
# ## Where did the batch norm go?
#
# In eval mode a norm multiplies each channel by a constant and adds another. The convolution before it can do
# both: this is called **folding**.
#
#     γ · (W x − mean) / √(var + ε) + β  =  (slope · W) x + (β − slope · mean)        slope = γ / √(var + ε)

# %%
norm, weight = net.get("norm1"), net.get("conv1").weight.data
folded, bias = fold_norm(weight, None, norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var)
one_conv = nn.Conv2d(1, 8, 3, padding=1)
one_conv.weight.data, one_conv.bias.data = folded, bias
with measure.inference(net):
    two_layers = norm(net.get("conv1")(Tensor(images))).numpy()
difference = abs(one_conv(Tensor(images)).numpy() - two_layers).max()
print(f"conv1 and norm1 against one convolution: largest difference {difference:.1e}")
before, after_fold = (abs(w).reshape(8, -1).max(axis=1) for w in (weight, folded))
figure, ax = plt.subplots(figsize=(7, 2.6), layout="constrained")
ax.bar(np.arange(8) - 0.2, before, 0.4, label="before")
ax.bar(np.arange(8) + 0.2, after_fold, 0.4, label="folded")
ax.set(xlabel="channel of conv1", ylabel="largest |weight|")
ax.legend(frameon=False)
plt.show()
spread = [heights.max() / heights.min() for heights in (before, after_fold)]
print(f"largest channel / smallest channel: {spread[0]:.1f} before, {spread[1]:.1f} folded")

# %% [markdown]
# Channels that were alike differ after folding, because each got a slope of its own. That is why weights have
# a scale **per channel** here. It costs nothing at run time: each channel has its own m and n anyway. And the
# order matters: fold first, quantize then.
#
# ## One number, step by step
#
# `step_through` prints how one output comes about. Compare each line with your paper. The products are summed
# up *with* the zero point in the inputs, and the bias takes it out.

# %%
row, column = np.unravel_index(layers["conv2"].calls[0].output.data[0, 3].argmax(), (14, 14))
q = step_through(small, mnist.val.images[0], "conv2", (3, int(row), int(column)))
half_place = (3, int(row) // 2, int(column) // 2)
print("the network itself has", layers["pool2_requantize"].calls[0].output.data[(0, *half_place)])

# %% [markdown]
# Max-pooling stands *before* the requantization here. A larger accumulator never becomes a smaller int8, so
# the result is the same, and only a quarter of the numbers are requantized.
#
# ## The account: bytes, accuracy, time
#
# The file is written, measured and **loaded again**. Accuracy is that of the loaded network, on the 1,000
# test images, which are used here for the first time. Both networks see the same images, so the difference is
# paired.

# %%
paths = {name: os.path.join(folder.name, name) for name in ("float32", "integers")}
tinyopt.save(net, paths["float32"])
tinyopt.save(small, paths["integers"])
size = {name: os.path.getsize(path) for name, path in paths.items()}
loaded = {name: tinyopt.load(path) for name, path in paths.items()}
same = np.array_equal(loaded["integers"].integers(images).data, small.integers(images).data)
print(f"file: {size['float32']:,} -> {size['integers']:,} bytes ({size['integers'] / size['float32']:.3f})")
print("the loaded network computes the same integers as the one saved:", same)
quality = {name: measure.evaluate(model, mnist.test) for name, model in loaded.items()}
for name, found in quality.items():
    print(f"{name:9} test accuracy {found.accuracy:.1%} ± {found.standard_error:.1%}")
print("paired:", measure.compare(quality["float32"], quality["integers"]))


def milliseconds(models, batch, rounds=7):
    """{name: times of one pass}, in turns, as noise should meet all."""
    for model in models.values():
        measure.latency(model, batch, repeats=1)
    found = [[measure.latency(m, batch, repeats=1).seconds for m in models.values()] for _ in range(rounds)]
    return dict(zip(models, 1e3 * np.transpose(found)))


times = milliseconds(loaded, mnist.test.images[:64])
ratio = np.median(times["integers"] / times["float32"])
medians = [f"{np.median(found):.1f}" for found in times.values()]
print(f"64 images: {' -> '.join(medians)} ms, median of the ratios {ratio:.2f}")
FACTORS = "multipliers, shifts"
kinds = {"weights": 0, "biases": 0, FACTORS: 0, "the rest": 0}
for name, *_, n_bytes in tinyopt.files.ledger(paths["integers"]):
    kind = {"weight": "weights", "bias": "biases", "multiplier": FACTORS, "shift": FACTORS}
    kinds[kind.get(name.split(".")[-1], "the rest")] += n_bytes
figure, axes = plt.subplots(1, 3, figsize=(10, 2.6), layout="constrained")
axes[0].bar_label(axes[0].bar(list(size), [n / 1000 for n in size.values()], color=["0.6", "C0"]), fmt="%.1f")
axes[0].set(ylabel="file, kB", ylim=(0, 1.2 * size["float32"] / 1000))
axes[1].bar_label(axes[1].barh(list(kinds), list(kinds.values()), color="C0"), fmt="%d", padding=3)
axes[1].set(xlabel="bytes in the integer file", xscale="log", xlim=(10, 10 * size["integers"]))
axes[1].invert_yaxis()
axes[2].boxplot(list(times.values()), widths=0.5)
axes[2].set_xticks([1, 2], list(times))
axes[2].set(ylabel="ms for 64 images", ylim=(0, None))
plt.show()

# %% [markdown]
# A quarter of the bytes; an accuracy that cannot be told apart. And the time? **Here, nothing is won**, and
# that is honest: NumPy has no fast product of integer matrices. So inside the product, and only there, the
# package lets the integers travel as float32, and proves that they stay exact (exercise 13.5). The gain in
# time and energy is on a chip that multiplies int8 faster than floats, or that has no floats at all. (For
# Arm's small Cortex-M processors, Lai et al. (2018) report that careful fixed-point kernels run a network 4.6
# times as fast as their baseline, and use 4.9 times less energy.)
#
# ## Wrong ways
#
# Each line below changes *one* thing in the integer network, for all layers. `right` is our own rule once
# more, in int64, as a check of the experiment. Look at the code of each: all of them could pass for right.


# %%
def shifted(acc, m, n):
    """round(acc · m / 2ⁿ), half away from zero."""
    p = acc * m
    return (p + (1 << (n - 1)) - (p < 0)) >> n


def int8(x):
    return x.astype(np.int8)


def in_16_bits(acc):
    return acc.astype(np.int16).astype(np.int64)


RULES = {
    "right": lambda acc, m, n, z, low: int8(np.clip(shifted(acc, m, n) + z, low, 127)),
    "shift without rounding": lambda acc, m, n, z, low: int8(np.clip((acc * m >> n) + z, low, 127)),
    "cast, then both clamps": lambda acc, m, n, z, low: np.clip(int8(shifted(acc, m, n) + z), low, 127),
    "low clamp, cast, then 127": lambda acc, m, n, z, low: np.minimum(
        int8(np.maximum(shifted(acc, m, n) + z, low)), 127
    ),
    "accumulators in 16 bits": lambda acc, m, n, z, low: int8(
        np.clip(shifted(in_16_bits(acc), m, n) + z, low, 127)
    ),
}
ways = {name: material.with_rule(small, rule) for name, rule in RULES.items()}
ways["zero point's share dropped"] = material.with_bias(small, lambda own: own, share=0)
ways["padded with the integer 0"] = material.padded_with_zero(small)
ways["biases in 8 bits, own line"] = material.with_bias(small, wrong_ways.bias_in_8_bits)
ways["biases cut off at ±127"] = material.with_bias(small, lambda own: wrong_ways.bias_in_8_bits(own, 1.0))
base, rows = measure.evaluate(small, mnist.val), {}
print(f"{'':28} accuracy   change, points (paired, ± standard error)")
for name, model in ways.items():
    found = measure.evaluate(model, mnist.val)
    rows[name] = 100 * found.accuracy
    paired = measure.compare(base, found)
    change = f"{100 * paired.difference:+6.1f} ± {100 * paired.standard_error:.1f}"
    print(f"{name:28} {found.accuracy:7.1%}   {change}")
figure, ax = plt.subplots(figsize=(8, 3.4), layout="constrained")
bars = ax.barh(list(rows), list(rows.values()), color=["C2"] + ["C3"] * (len(rows) - 1))
ax.bar_label(bars, fmt="%.1f", padding=3, fontsize=9)
ax.axvline(10, color="0.4", ls=":")
ax.invert_yaxis()
ax.set(xlabel="validation accuracy, %  (dotted: guessing)", xlim=(0, 112))
plt.show()

# %% [markdown]
# - **The zero point's share dropped.** Behind a ReLU z is −128, so each input is off by 128 steps. Nothing
#   works.
# - **Padded with 0.** The border should be the integer that stands for 0.0, which is z = −128 here. The
#   integer 0 stands for half of the range: a grey frame around each image and each channel.
# - **Cast, then both clamps.** The lower clamp is the ReLU! Many accumulators lie far below, wrap around, and
#   come out anywhere.
# - **Low clamp, cast, then 127.** The same mistake at one end only, and *nothing is seen*. Why? See below.
# - **Accumulators in 16 bits.** You saw how many do not fit. The rest does not save it.
# - **A shift without rounding** makes every number half a step too small on average. Here this does no harm
#   that 500 images can show. It does not cost anything to do it right, either.
#
# **Why is the fourth hidden?** We calibrated by min–max: hardly any number is above 127. Now calibrate with a
# percentile, so that the largest numbers do saturate. The right network does not care. The wrong one does:

# %%
percents, curves = (100, 99.9, 99.5, 99, 98), {"right": [], "low clamp, cast, then 127": []}
for percent in percents:
    model = integerize(net, calibration, observer=functools.partial(PercentileObserver, percent))
    for name, found in curves.items():
        found.append(measure.evaluate(material.with_rule(model, RULES[name]), mnist.val))
figure, ax = plt.subplots(figsize=(6.8, 3), layout="constrained")
for (name, found), colour in zip(curves.items(), ("C2", "C3")):
    heights, errors = ([100 * getattr(q, field) for q in found] for field in ("accuracy", "standard_error"))
    ax.errorbar(range(len(percents)), heights, errors, fmt="o-", capsize=3, color=colour, label=name)
ax.set_xticks(range(len(percents)), [f"{p:g}" for p in percents])
ax.set(xlabel="calibrated at this percentile (100: min–max)", ylabel="validation accuracy, %")
ax.legend(frameon=False, loc="lower left")
plt.show()
print("at 98, paired:", measure.compare(*(found[-1] for found in curves.values())))

# %% [markdown]
# ### Biases of 8 bits
#
# "All parameters are int8." There are two ways to do so. On the accumulator's line, a bias is cut off at
# ±127. On a line of its own, it keeps its size, but is off by up to half of a large step; and such a bias
# *cannot be added to the accumulator* any more, since the steps differ. What is won, and what is lost?

# %%
figure, axes = plt.subplots(1, 2, figsize=(9.5, 3), layout="constrained")
conv = small.layers["conv1"]
own = (conv.bias - material.share_of_zero_point(conv)).astype(float)
own_line, cut_off = wrong_ways.bias_in_8_bits(own), wrong_ways.bias_in_8_bits(own, 1.0)
places, biases = np.arange(len(own)), {"int32": own, "8 bits, own line": own_line, "cut off at ±127": cut_off}
for i, (name, colour) in enumerate(zip(biases, ("C2", "C1", "C3"))):
    axes[0].bar(places + 0.27 * (i - 1), biases[name], 0.25, label=name, color=colour)
axes[0].set(xlabel="channel of conv1", ylabel="bias, in steps of the accumulator")
axes[0].legend(frameon=False, fontsize=9)
axes[1].bar(places, own_line - own, color="C1")
axes[1].set(xlabel="channel of conv1", ylabel="error on the own line, steps")
plt.show()
n_biases = sum(len(layer.bias) for layer in material.products(small).values())
part = 3 * n_biases / size["integers"]
print(f"{n_biases} biases: 8 bits save {3 * n_biases} of {size['integers']:,} bytes ({part:.2%})")

# %% [markdown]
# The biases that are cut off are as good as gone. (A network with norms needs them less than others: see the
# table above for what it cost here, with its error.) On a line of their own they are hardly hurt, in this
# network; but the saving is half a percent of the file. A bias of 32 bits costs nothing that can be seen.
#
# ### "Integer-only", but for one product of floats
#
# Many programs compute round(acc · M) in floats. How often does the int8 differ from that of fixed point?
# First for our real accumulators and factors, then for factors that are **powers of two**, as some chips have
# them: then exact halves are frequent, and `rint` takes them to the even number. (Here all lines are
# symmetric, since `wrong_ways.float_requantization` has no zero point.)

# %%
with measure.capture(small) as layers:
    small(Tensor(mnist.val.images))
print(f"{'different int8, of':44} {'float32':>8} {'float64':>8}")
for name in ("pool1_requantize", "pool2_requantize", "fc1_requantize"):
    acc, layer = layers[name].calls[0].inputs[0].data, small.layers[name]
    two = np.full_like(layer.multiplier, 2**30)
    for title, m in (("factors as they are", layer.multiplier), ("powers of two", two)):
        n = layer.shift + 1  # the output's line is symmetric, with steps twice as wide
        due = integer_math.requantize(acc, m, n, 0)
        factor = np.ldexp(m.astype(float), -n.astype(int)).reshape(-1, *[1] * (acc.ndim - 2))
        came = [wrong_ways.float_requantization(acc, factor, dtype=kind) for kind in (np.float32, np.float64)]
        counts = [f"{(q != due).sum():8,}" for q in came]
        print(f"{acc.size:7,} {name:16} {title:19}", *counts)

# %% [markdown]
# With the factors as they are, floats hardly ever differ; so the *accuracy* will not tell you. With powers of
# two they differ at exact halves. The real reasons against the float are others. A chip without floats cannot
# run it. And "about the same" is no specification: what was tested on one machine is not what runs on
# another. PyTorch's users met this: two back ends gave different integers for the same convolution (PyTorch
# issue 44939).
#
# ### Exercise 13.5 · explain this failure
#
# A friend has no fast integer product, and lets int8 numbers travel as **float32**, in a dense layer of 4,096
# inputs. "Each product is below 2¹⁵, and float32 holds all integers up to 2²⁴. And I have tested it, with a
# sum far above that: it was exact." Show what is wrong. Find
#
# - int8 numbers `w` and `x` and a count `n` ≤ 4096, so that the float32 sum of n products w · x is **wrong**;
# - int8 numbers `w2` and `x2`, so that the sum of n products w2 · x2 passes 2²⁴ as well, and is **right**:
#   the friend's test.
#
# The sum is taken one product after the other. Then say in one sentence why the test saw nothing.


# %% exercise="13.5"
def witness():
    """w, x, n: a float32 sum of n products that is wrong; w2, x2: one beyond 2^24 that is right."""
    # BEGIN SOLUTION
    w, x, n = 127, 127, 2001  # odd products; 1040 of them stay below 2²⁴
    w2, x2 = 96, 96  # every partial sum is a multiple of 2¹⁰
    # INSTEAD
    w, x, n = ..., ..., ...
    w2, x2 = ..., ...
    # END SOLUTION
    return w, x, n, w2, x2


# %% check="13.5"
check("13.5")

# %%
figure, ax = plt.subplots(figsize=(7.5, 3), layout="constrained")
counts = np.arange(1, 4097)
for w, x in ((127, 127), (127, 125), (127, 126), (96, 96)):
    made = np.cumsum(np.full(4096, w * x, np.float32), dtype=np.float32).astype(np.int64)
    ax.plot(counts, made - counts * w * x, label=f"products {w} · {x}")
ax.axvline(2**24 / 127**2, color="0.4", ls=":")
ax.set(xlabel="number of products added in float32", ylabel="error of the sum")
ax.legend(frameon=False, ncols=2, fontsize=9)
plt.show()

# %% [markdown]
# The dotted line is where 127 · 127 passes 2²⁴. Left of it, all sums are exact, in whatever order they are
# added: 1,032 products of numbers up to 128 and 127 always fit. The package splits longer sums into parts
# that fit, adds the parts in int32, and proves it in the docstring of `exact_parts`.
#
# ## In PyTorch
#
# ```python
# torch.backends.quantized.engine = "qnnpack"  # import torch.ao.quantization as tq
# net = tq.fuse_modules(net, [["conv", "bn", "relu"]])  # folds the norm; net begins with a tq.QuantStub
# net.qconfig = tq.get_default_qconfig("qnnpack")
# tq.prepare(net, inplace=True); net(images); tq.convert(net, inplace=True)  # observers, ranges, integers
# ```
#
# The steps are ours. (PyTorch calls torch.ao.quantization deprecated: the package torchao takes its place.)
# Then `net.conv.weight()` is qint8; but `net.conv.bias()` is float32, and the back end makes integers of it.
# Is it integer-only? Look into the source: in QNNPACK's `requantization.h` a convolution carries float
# `requantization_scales`, while the residual sum has integer multipliers and a shift.
#
# ## Questions
#
# 1. Weights have zero point 0. What would it cost if they had another?
# 2. Why must the bias have the scale s_x · s_w, and no other?
# 3. Where is the ReLU in the integer network?
# 4. Why do all outputs of the last layer share one weight scale, where the others have one per channel?
# 5. M can be above 1. What does that say about the output's line?
#
# BEGIN SOLUTION
# **Answers.**
#
# 1. Σ (w − z_w) · (q − z) has a term z_w · Σ q as well, which depends on the image: another sum for each
#    window.
# 2. It is added to the accumulator, and only numbers with the same steps can be added as integers.
# 3. In the lower clamp of the requantization: z_y stands for 0.0.
# 4. Their int32 logits are compared with each other. With different steps, the largest integer need not be
#    the largest logit.
# 5. Its steps are finer than those of the accumulator: the output's line would spend bits on differences
#    that no sum can make. So `integerize` lays the line no finer, and `fixed_point` refuses such a factor.
# END SOLUTION
#
# ## Sources
#
# - B. Jacob et al. (2018), "Quantization and Training of Neural Networks for Efficient
#   Integer-Arithmetic-Only Inference", arXiv:1712.05877 (int8 operands, 32-bit accumulators, biases in 32
#   bits).
# - gemmlowp, "Building a quantization paradigm from first principles", `doc/quantization.md` in
#   github.com/google/gemmlowp (the factor as a fixed-point number in [1/2, 1) and a right shift).
# - L. Lai, N. Suda and V. Chandra (2018), "CMSIS-NN: Efficient Neural Network Kernels for Arm Cortex-M CPUs",
#   arXiv:1801.06601 (the gain on microcontrollers).
# - PyTorch's source, `aten/src/ATen/native/quantized/cpu/qnnpack/src/qnnpack/requantization.h` (float scales
#   for convolutions, integers for sums), and PyTorch issue 44939, "Inconsistent result from FBGEMM and
#   QNNPACK quantization backends", github.com/pytorch/pytorch/issues/44939.
#
# **Read on in the source:** `tinyopt/nn/integer_math.py` holds the arithmetic with its proofs,
# `compress/integer/reference.py` the specification, `compress/integer/convert.py` makes a network, and
# `compress/integer/step.py` prints one number's way.

# %%
folder.cleanup()

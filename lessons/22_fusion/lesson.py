"""Lesson 22, fusion: the source of lesson.ipynb; see tinyopt/course/percent.py for its format."""

# %% [markdown]
# # 22 · Fusion and fast NumPy: fewer steps, less time
#
# **The question.** Two programs compute the same numbers, with the same multiplications and additions. One
# of them takes several times as long. Nobody has made a mistake. **Where does the time of a NumPy network
# go? And which of its steps can be left out, without changing one answer?**
#
# - **You need:** convolution and `im2col` (lesson 7); what batch normalization is (its formula stands
#   below).
# - **You will write:** bytes by hand, a norm folded into a layer, two layers merged into one, an
#   explanation of a fold that fails, and a planner that decides where each array of a network lies in
#   memory.
# - **Time:** about 130 minutes.
#
# Run the cells from top to bottom. Where an exercise is still empty, the package's own function works for
# you, so you can read on and come back. **All times are measured when you run the cell**. On another
# machine the ratios differ, and sometimes even the winner; the text names only what is nearly always so.

# %%
import copy
import time
import tracemalloc
from functools import partial

import matplotlib.pyplot as plt
import numpy as np

from tinyopt import Tensor, data, measure, models, nn, no_grad, ops, optim, train
from tinyopt.compress import fold, workspace
from tinyopt.compress.fuse import fuse
from tinyopt.compress.workspace import Workspace, peak_memory
from tinyopt.course import STYLE, start
from tinyopt.course.lessons import find, load
from tinyopt.course.reach import installed
from tinyopt.report import blas

check, hint, reveal, yours = start(22)
plt.rcParams.update(STYLE)
material = load(find(22) / "material.py")
in_turns, medians, median, shown = material.in_turns, material.medians, material.median, material.shown
rng = np.random.default_rng(0)


def floats(*shape):
    """Random float32 between −1 and 1."""
    return rng.uniform(-1, 1, shape).astype(np.float32)


# %% [markdown]
# First the picture. `mobilenet_tiny` is a small network of convolutions, batch norms and ReLUs. Its
# convolutions are of three kinds: 3×3 filters that read all channels; **depthwise** ones, which read one
# channel each; and 1×1 filters. We measure each layer alone, on the 32 images' values that it gets inside
# the network. Beside its time stands its share of the **MACs** (multiply-accumulates), which papers count
# as "the cost".

# %%
small = models.mobilenet_tiny(rng=0).eval()  # not trained: the time of a layer does not depend on its weights
images = rng.random((32, 1, 28, 28), dtype=np.float32)
spent = material.profile(small, images)
total = spent.pop("")
macs = {row.name: row.macs for row in measure.summary(small, (1, 28, 28)).rows}
kinds = {name: material.kind_of(module) for name, module in small.named_modules() if name in spent}
seconds, products = dict.fromkeys(material.KINDS, 0.0), dict.fromkeys(material.KINDS, 0)
for name, s in spent.items():
    seconds[kinds[name]] += s
    products[kinds[name]] += macs.get(name, 0)
figure, ax = plt.subplots(figsize=(8, 3), layout="constrained")
y = np.arange(len(seconds))
ax.barh(y - 0.2, [100 * s / sum(seconds.values()) for s in seconds.values()], 0.38, label="of the time")
ax.barh(y + 0.2, [100 * p / sum(products.values()) for p in products.values()], 0.38, color="0.7",
        label="of the MACs")
ax.set(yticks=y, yticklabels=[f"{kind} ({sum(k == kind for k in kinds.values())})" for kind in seconds],
       xlabel="share, %")
ax.invert_yaxis()
ax.legend(frameon=False, loc="lower right")
plt.show()
print(f"sum over the layers {1e3 * sum(seconds.values()):.1f} ms; the whole network {1e3 * total:.1f} ms")

# %% [markdown]
# By the grey bars, the 1×1 filters should take most of the time. Usually they do not. The depthwise filters
# have few MACs and take much time; norms and ReLUs take time without any MACs. They walk through large
# arrays: every number is **read**, changed a little, and **written**. So there are two kinds of work,
# arithmetic and moving, and the count of MACs knows only the first.
#
# ## By hand: three lines, three walks
#
#     t = a * x                 reads 4 MB, writes 4 MB        (x: one million float32, 4 bytes each)
#     u = t + b                 reads 4 MB, writes 4 MB
#     y = np.maximum(u, 0)      reads 4 MB, writes 4 MB        together 24 MB
#
# If memory delivers 10 GB in a second, 24 MB take 2.4 ms, however fast the processor multiplies. If one
# walk did all three, it would read x and write y: 8 MB, 0.8 ms. To do several steps in one walk is called
# **fusion**. The arithmetic stays the same; less is moved.
#
# A plain Python loop *is* fused: it reads each number once and writes it once. Is it the fastest, then?

# %%
x = floats(1_000_000)
a, b = 0.5, 0.1


def one_number_at_a_time(x, y):
    for i in range(len(x)):
        y[i] = max(a * x[i] + b, 0)


def three_walks(x):
    t = a * x
    u = t + b
    return np.maximum(u, 0)


def blocks(x, y, block=16_384):
    """Three walks over a piece that stays in the cache, then the next piece."""
    for i in range(0, len(x), block):
        piece = y[i : i + block]
        np.multiply(x[i : i + block], a, out=piece)
        np.add(piece, b, out=piece)
        np.maximum(piece, 0, out=piece)


y, part = np.empty_like(x), slice(0, 2000)
one_number_at_a_time(x[part], y[part])
same = np.array_equal(y[part], three_walks(x[part]))
times = medians({
    "Python loop": lambda: one_number_at_a_time(x[part], y[part]),
    "three walks": lambda: three_walks(x),
    "blocks": lambda: blocks(x, y),
})
print(f"the same numbers: {same}")
for name, s in times.items():
    print(f"{name:12} {1e9 * s / (2000 if 'loop' in name else len(x)):9.2f} ns for each number")

# %% [markdown]
# The loop moves least and is slowest by far: for each number Python looks up names, makes objects and asks
# for types. NumPy does that once for an array. So two rules pull in opposite directions: **few Python
# steps** (large arrays), and **few walks through memory** (small arrays, which stay in the cache). Blocks
# of some thousands of numbers obey both.
#
# ### Exercise 22.1 · predict, then compute
#
# A norm and a ReLU, as most people write them. x holds **2,000,000 float32**, and `slope` is a plain Python
# number:
#
#     t = x - 2.0
#     u = t * slope
#     v = u + 1.0
#     y = np.maximum(v, 0)
#
# 1. `moved`: how many MB do the four lines read and write? (1 MB is a million bytes.)
# 2. `fused`: how many, if one walk did all of it?
# 3. `alive`: how many MB of these arrays are there at the worst moment? The caller keeps x. Each of t, u
#    and v is dropped as soon as its only reader has finished.
# 4. `doubled`: as 1, but `slope` is a `np.float64`, as `np.sqrt(2 / 3)` makes it. In NumPy 2, float32 ·
#    np.float64 is a float64, 8 bytes each.


# %% exercise="22.1"
def predict():
    """MB: moved by four lines, by one walk, alive, and moved with a float64 slope; by hand."""
    # BEGIN SOLUTION
    moved = 4 * (8 + 8)
    fused = 8 + 8
    alive = 8 + 8 + 8  # x, and what a line reads and what it writes
    doubled = (8 + 8) + (8 + 16) + (16 + 16) + (16 + 16)
    # INSTEAD
    moved = ...
    fused = ...
    alive = ...
    doubled = ...
    # END SOLUTION
    return moved, fused, alive, doubled


# %% check="22.1"
check("22.1")

# %% [markdown]
# ## The formula: a roof over every program
#
#     time ≥ bytes / B        B, bytes that memory delivers in a second
#     time ≥ flops / F        F, operations that the processor does in a second at best
#
#     flops / time ≤ min(F, B · flops / bytes)          flops / bytes is the **intensity**
#
# A **flop** is one addition or one multiplication, so a MAC is two. The last line, drawn over the
# intensity, is a slope and then a flat top: the **roofline**. They meet at the *ridge*. Left of it, a
# program waits for memory (it is **memory bound**); right of it, for arithmetic (**compute bound**). We
# measure B by a copy, and F by a product of large matrices.

# %%
copies, products = {}, {}
for n in 2 ** np.arange(11, 25, dtype=int):
    source, target = np.ones(n, np.float32), np.zeros(n, np.float32)
    copies[8 * int(n)] = 8 * n / median(partial(np.copyto, target, source), seconds=0.06)
for n in (8, 16, 32, 64, 128, 256, 512, 1024):
    left, right, product = floats(n, n), floats(n, n), np.empty((n, n), np.float32)
    products[n] = 2 * n**3 / median(partial(np.matmul, left, right, out=product), seconds=0.08)
bandwidth, peak = copies[max(copies)], max(products.values())

figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
axes[0].semilogx(copies.keys(), [v / 1e9 for v in copies.values()], "o-", ms=4)
axes[0].set(xlabel="bytes read and written by one copy", ylabel="GB/s", title="a copy", ylim=(0, None))
axes[1].loglog(products.keys(), [v / 1e9 for v in products.values()], "o-", ms=4, color="C3")
axes[1].set(xlabel="n", ylabel="GFLOP/s", title="a product of n×n matrices, float32")
plt.show()
print(f"memory: {bandwidth / 1e9:.1f} GB/s; arithmetic: {peak / 1e9:.0f} GFLOP/s at best")
print(f"the ridge: {peak / bandwidth:.1f} flops for each byte. While one float32 comes from memory and")
print(f"another goes, the processor could do {8 * peak / bandwidth:.0f} operations.")
print("BLAS:", blas.describe())

# %% [markdown]
# Left: small arrays are copied faster, because they lie in a **cache**, a small fast memory beside the
# processor; a bend of the curve is often the end of one cache. The very smallest are slow again: there the
# call itself costs more than the copy. For the same reason small products, on the right, do not reach the
# top.
#
# **By hand, with your numbers.** ReLU: 1 flop for 8 bytes, intensity 1/8. A product of two n×n matrices:
# 2n³ flops for 12n² bytes, so n/6: it grows with n. A matrix times *one* vector: 2n² flops for 4n² bytes,
# 1/2, whatever n is. So a dense layer is memory bound for one image, and not for many at once. Now we
# measure each of them, as a point under the roof.

# %%
n = 4_000_000
p, q, r = floats(n), floats(n), np.empty(n, np.float32)
matrix, vector, many = floats(2048, 2048), floats(2048), floats(2048, 128)
x16, w16 = Tensor(floats(16, 16, 28, 28)), Tensor(floats(16, 16, 3, 3))
x64 = Tensor(floats(16, 64, 14, 14))
depthwise, pointwise = Tensor(floats(64, 1, 3, 3)), Tensor(floats(64, 64, 1, 1))
work = {  # flops, bytes, the job
    "ReLU": (n, 8 * n, lambda: np.maximum(p, 0, out=r)),
    "sum of two": (n, 12 * n, lambda: np.add(p, q, out=r)),
    "matrix · vector": (2 * 2048**2, 4 * 2048**2, lambda: matrix @ vector),
    "matrix · 128 vectors": (2 * 2048**2 * 128, 4 * (2048**2 + 2 * 2048 * 128), lambda: matrix @ many),
    "conv 3×3": (2 * 16 * 784 * 16 * 144, 4 * (2 * 16 * 16 * 784), lambda: ops.conv2d(x16, w16, padding=1)),
    "depthwise 3×3": (2 * 16 * 64 * 196 * 9, 4 * 2 * 16 * 64 * 196,
                      lambda: ops.conv2d(x64, depthwise, padding=1, groups=64)),
    "pointwise 1×1": (2 * 16 * 64 * 196 * 64, 4 * 2 * 16 * 64 * 196, lambda: ops.conv2d(x64, pointwise)),
}
with no_grad():
    times = medians({name: job for name, (_, _, job) in work.items()}, seconds=1.0)
figure, ax = plt.subplots(figsize=(8, 3.8), layout="constrained")
line = np.geomspace(0.05, 200, 100)
ax.loglog(line, np.minimum(peak, bandwidth * line) / 1e9, color="k", lw=1.5, label="roof")
for i, (name, (flops, moved, _)) in enumerate(work.items()):
    reached = flops / times[name]
    ax.plot(flops / moved, reached / 1e9, "os^vDPX"[i], color=f"C{i}", label=name)
    roof = min(peak, bandwidth * flops / moved)
    rate = f"{reached / 1e9:7.2f} GFLOP/s, {reached / roof:4.0%} of the roof"
    print(f"{name:21} {flops / moved:6.2f} flops a byte, {rate}")
ax.set(xlabel="intensity, flops for each byte", ylabel="GFLOP/s", title="measured, and the roof")
ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
plt.show()

# %% [markdown]
# On the left, better arithmetic gains nothing: ReLU and the sum of two arrays are limited by the slope.
# They may stay below it, as a copy can often write without reading the old content first, and most other
# loops cannot. They may also lie above it, if part of their data was in a cache. The convolutions lie below
# the roof: their intensity is counted as if x were read once and y written once, but `im2col` copies each
# pixel up to 9 times (lesson 7). **The roof says what the best program could do; the distance to it, what
# yours does besides.**
#
# Of the three convolutions, the depthwise one needs the fewest flops, and usually does the fewest in a
# second. So few MACs need not be few milliseconds.
#
# ### Wrong way: count MACs, and call it time

# %%
for name in models.MODELS:
    model = models.make(name, rng=0).eval()
    millions = measure.summary(model, (1, 28, 28)).macs / 1e6
    µs = 1e6 * measure.latency(model, images, budget=0.3).seconds / len(images)
    print(f"{name:15} {millions:.2f} million MACs, {µs:7.1f} µs; for a million {µs / millions:7.1f} µs")

# %% [markdown]
# If MACs were time, the last column would hold one number four times. `mobilenet_tiny` was designed to have
# few MACs. It has, and it pays more for each of them. A library with its own program for depthwise filters
# pays another price. **A count belongs to a network; a time, to a network, a machine and a program.**
# Report both.
#
# ## How to measure: once is not enough
#
# ### Wrong way: `time.time()` once before, once after
#
# Measure one function against *itself*: the true ratio is 1. Left, each ratio is that of two single runs;
# right, that of two medians of 16 runs each, in turns: A B, B A, A B, …

# %%
fresh = floats(50_000)
began = time.time()
three_walks(fresh)
first = time.time() - began
job = partial(three_walks, fresh)
runs = in_turns({"A": job, "B": job}, seconds=1.5, least=320, most=960)
side_a, side_b = (runs[side][: len(runs[side]) // 16 * 16].reshape(-1, 16) for side in "AB")
single = np.log2(side_a / side_b).reshape(-1)
fair = np.log2(np.median(side_a, axis=1) / np.median(side_b, axis=1))
figure, axes = plt.subplots(1, 2, figsize=(9, 2.8), layout="constrained", sharex=True)
edges = np.linspace(-1, 1, 41)
for ax, ratios, title in zip(axes, (single, fair), ("one run of each side", "medians of 16, in turns")):
    ax.hist(np.clip(ratios, -1, 1), bins=edges, color="C0")
    ax.set(xlabel="time of A / time of B", title=title, xticks=[-1, -0.5, 0, 0.5, 1],
           xticklabels=["½", "0.71", "1", "1.41", "2"])
axes[0].set_ylabel("how often")
plt.show()
print(f"the first run of all {1e3 * first:.3f} ms, then typically {shown(runs['A'])} ms")
for name, ratios in (("single runs", single), ("medians", fair)):
    low, high = 2 ** np.quantile(ratios, (0.05, 0.95))
    print(f"{name:12} nine of ten ratios lie between {low:.2f} and {high:.2f}")

# %% [markdown]
# With single runs, a function can seem faster than itself. Other programs, the processor's clock and the
# first touch of new memory disturb a run, and even the order counts: who runs second finds the caches as
# the first has left them. So in this lesson all sides **run in turns**, after a warm-up, and what is
# printed is the median and the middle half: *median (from … to)*. On a busy machine even medians vary a
# lot. Then say so, or wait.
#
# ## Fast NumPy, one habit after the other
#
# ### Temporaries, `out=`, and blocks

# %%
ways = {
    "three names": lambda x, y: three_walks(x),
    "one expression": lambda x, y: np.maximum(a * x + b, 0),
    "out=": lambda x, y: np.maximum(np.add(np.multiply(x, a, out=y), b, out=y), 0, out=y),
    "blocks": blocks,
}
sizes = (1000, 10_000, 100_000, 1_000_000, 4_000_000)
curves = {name: [] for name in ways}
for n in sizes:
    x, y = floats(n), np.zeros(n, np.float32)
    for name, s in medians({name: partial(way, x, y) for name, way in ways.items()}, seconds=0.25).items():
        curves[name].append(1e9 * s / n)
figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
for name, curve in curves.items():
    axes[0].loglog(sizes, curve, "o-", ms=4, label=name)
axes[0].set(xlabel="numbers in x", ylabel="ns for each number", title="y = max(a·x + b, 0)")
axes[0].legend(frameon=False, fontsize=8)
used = []
for way in ways.values():
    tracemalloc.start()
    way(x, y)
    used.append(tracemalloc.get_traced_memory()[1] / 1e6)
    tracemalloc.stop()
axes[1].barh(list(ways), used)
axes[1].set(xlabel="new memory at the worst moment, MB", title=f"x has {x.nbytes / 1e6:.0f} MB")
axes[1].invert_yaxis()
plt.show()

# %% [markdown]
# For 1,000 numbers all ways cost nearly the same: that of three calls. Larger arrays that still fit into a
# cache cost least for each number. Beyond it a number costs more again, and the ways differ. New memory
# costs twice: the system must hand it out, page by page, and it pushes other data out of the cache. `out=`
# writes into an array that is there already; that is often most of the gain. Blocks also save walks through
# memory, but need more calls: where the last cache is large, they gain little over `out=`, or nothing.
#
# **One surprise.** "One expression" may use less memory than "three names", though it computes the same. In
# `a * x + b` nobody else can see the result of `a * x`, and where NumPy can prove that, it writes `+ b`
# over it. (Since version 1.13, for large arrays, on some systems.) A name keeps an array alive.
#
# ### The order of memory, and lines of 64 bytes
#
# An array is one long row of numbers. In **C order** the last axis lies side by side, in **F order**
# (Fortran) the first. A **stride** is the distance from one number to the next along an axis. We copy the
# same count of numbers out of a large array, but take only every s-th.

# %%
n, strides = 2**17, (1, 2, 4, 8, 16, 32, 64)
large, target = floats(n * strides[-1]), np.empty(n, np.float32)
by_stride = medians({s: lambda s=s: np.copyto(target, large[: n * s : s]) for s in strides}, seconds=0.5)

nchw = floats(32, 16, 28, 28)
nhwc = nchw.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)  # the same shape; channels lie side by side
slope, out_c, out_h = floats(16)[:, None, None], np.empty_like(nchw), np.empty_like(nhwc)
orders = {
    "channels first · s": lambda: np.multiply(nchw, slope, out=out_c),
    "channels last · s": lambda: np.multiply(nhwc, slope, out=out_h),
    "first + first": lambda: np.add(nchw, nchw, out=out_c),
    "last + last": lambda: np.add(nhwc, nhwc, out=out_h),
    "first + last": lambda: np.add(nchw, nhwc, out=out_c),
}
found = in_turns(orders, seconds=0.5)
figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
axes[0].semilogx([4 * s for s in strides], [1e9 * by_stride[s] / n for s in strides], "o-", base=2)
axes[0].axvline(64, color="0.7", lw=1)
axes[0].text(60, 1e9 * by_stride[1] / n, "64 bytes", color="0.5", ha="right", fontsize=9)
axes[0].set(xlabel="stride, bytes", ylabel="ns for each number", yscale="log", title="copy every s-th number")
axes[1].barh(list(orders), [1e3 * np.median(found[name]) for name in orders], color="C2")
axes[1].set(xlabel="ms", title="a layer's output, (32, 16, 28, 28)")
axes[1].invert_yaxis()
plt.show()
print("strides in bytes: channels first", nchw.strides, "channels last", nhwc.strides)

# %% [markdown]
# Left: memory is moved in **lines**, mostly of 64 bytes, 16 float32. If you take every second number, you
# pay for all. So the price of a number rises with the stride; beyond a line, each number costs a line of
# its own. (For other reasons the curve may still rise there.)
#
# Right: two arrays of the same shape may lie in different orders. If both have the same order, NumPy walks
# along memory; if not, it reads one of them in jumps. This package keeps images in **channels last** order,
# because then a window of `im2col` is made of long runs. Multiplying by one number for each channel is
# usually *dearer* in that order: runs of only 16. No order is best for everything. A network should choose
# one, and keep it.
#
# ### Wrong way: float64 by accident

# %%
x32 = np.ones(3, np.float32)
accidents = {
    "x * 0.5": x32 * 0.5,
    "x * np.float64(0.5)": x32 * np.float64(0.5),
    "x * np.sqrt(2 / 3)": x32 * np.sqrt(2 / 3),
    "x / np.array(255.0)": x32 / np.array(255.0),
    "x + np.zeros(3)": x32 + np.zeros(3),
    "rng.normal(size=3)": np.random.default_rng(0).normal(size=3),
    "x.mean() * x": x32.mean() * x32,
}
for name, result in accidents.items():
    print(f"{name:22} {result.dtype}")

batch32, weight32 = floats(64, 784), floats(300, 784)
batch64, weight64 = batch32.astype(float), weight32.astype(float)
found = in_turns({
    "float32 batch, float32 weight": lambda: batch32 @ weight32.T,
    "float64 batch, float64 weight": lambda: batch64 @ weight64.T,
    "float64 batch, float32 weight": lambda: batch64 @ weight32.T,
}, seconds=0.5)
for name, s in found.items():
    print(f"{name}: {shown(s)} ms")

# %% [markdown]
# A Python number takes the type of the array; a NumPy number keeps its own, and one float64 makes all later
# arrays twice as large. Nothing fails, and the accuracy is the same: only the time tells. The last line is
# usually the worst: NumPy must make a float64 copy of the weights *at every call*. Look at `.dtype`, at
# least once.
#
# ### Six ways to write one matrix product

# %%
left, right = floats(32, 64), floats(64, 32)


def loops(left, right):
    result = np.zeros((len(left), right.shape[1]), np.float32)
    for i in range(len(left)):
        for j in range(right.shape[1]):
            for k in range(right.shape[0]):
                result[i, j] += left[i, k] * right[k, j]
    return result


ways = {
    "three loops": lambda: loops(left, right),
    "rows in a loop": lambda: np.array([row @ right for row in left]),
    "tile, then sum": lambda: (np.repeat(left[:, :, None], 32, 2) * np.tile(right, (32, 1, 1))).sum(axis=1),
    "broadcast, then sum": lambda: (left[:, :, None] * right[None]).sum(axis=1),
    "np.einsum": lambda: np.einsum("ik,kj->ij", left, right),
    "left @ right": lambda: left @ right,
}
for name, way in ways.items():
    assert np.allclose(way(), left @ right, atol=1e-4), name
found = in_turns(ways, seconds=1.0, least=3)
figure, ax = plt.subplots(figsize=(8, 2.8), layout="constrained")
ax.barh(list(ways), [1e6 * np.median(s) for s in found.values()], color="C4")
ax.set(xscale="log", xlabel="µs", title="(32, 64) · (64, 32), float32")
ax.invert_yaxis()
plt.show()
chain = floats(20, 100), floats(100, 100), floats(100, 10)
three = partial(np.einsum, "ab,bc,cd->ad", *chain)
found = medians({"plain": three, "optimize=True": partial(three, optimize=True)}, seconds=0.3, least=3)
print("einsum of three matrices:", {name: f"{1e3 * s:.2f} ms" for name, s in found.items()})

# %% [markdown]
# The scale is logarithmic. **Broadcasting** reads an array as if it were repeated; `np.tile` really repeats
# it. But both ways here make an array of 32·64·32 numbers, only to add them up. `einsum` does not, but it
# is a simple loop in C; for three arrays it even runs over *all* letters at once, unless `optimize=True`
# lets it find products of two. `@` calls **BLAS**, a library that works in blocks that fit the caches and
# does several products in one instruction. So bring your problem into the form of a matrix product: that is
# the whole idea of `im2col`.
#
# ### Wrong way: `np.append` in a loop
#
# A NumPy array cannot grow: `np.append` makes a new one and copies all. Say, we collect a row of 200
# features for each image. By hand: for n rows it copies 1 + 2 + … + n rows, about n²/2. So four times as
# many rows take 16 times as long, once the copies cost more than the calls (or longer, if the larger array
# no longer fits into a cache).

# %%
feature_row = floats(200)


def appended(n):
    result = np.empty((0, 200), np.float32)
    for _ in range(n):
        result = np.append(result, feature_row[None], axis=0)
    return result


def prepared(n):
    result = np.empty((n, 200), np.float32)
    for i in range(n):
        result[i] = feature_row
    return result


lengths = (125, 500, 2000)
ways = {"np.append": appended, "list, array": lambda n: np.array([feature_row for _ in range(n)]),
        "empty, filled": prepared}
figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
for name, way in ways.items():
    s = [median(partial(way, n), seconds=0.1, least=1) for n in lengths]
    ax.loglog(lengths, [1e3 * v for v in s], "o-", ms=4, label=name)
    print(f"{name:13} four times as many rows: time × {s[1] / s[0]:.1f}, then × {s[2] / s[1]:.1f}")
ax.set(xlabel="rows", ylabel="ms", xticks=lengths, xticklabels=lengths)
ax.minorticks_off()
ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %% [markdown]
# ### Batch size, latency, and threads
#
# **Latency** is the time until an answer is there; **throughput**, the number of answers in a second. A
# larger batch usually raises both.

# %%
dense = models.lenet_300_100(rng=0).eval()
batches = (1, 2, 4, 8, 16, 32, 64, 128, 256)
pictures = rng.random((256, 784), dtype=np.float32)
with measure.inference(dense):
    found = medians({n: partial(dense, Tensor(pictures[:n])) for n in batches}, seconds=0.8)
figure, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
axes[0].semilogx(batches, [1e3 * found[n] for n in batches], "o-", base=2)
axes[0].set(xlabel="images in a batch", ylabel="ms for the batch", title="latency", yscale="log")
axes[1].semilogx(batches, [n / found[n] / 1000 for n in batches], "o-", base=2, color="C1")
axes[1].set(xlabel="images in a batch", ylabel="thousand images a second", title="throughput", ylim=(0, None))
plt.show()

threads = blas.describe()["threads"]
sizes = (64, 1024)
pairs = {n: (floats(n, n), floats(n, n)) for n in sizes}
before = {n: median(partial(np.matmul, *pairs[n]), seconds=0.2) for n in sizes}
if blas.limit_threads(1):
    for n in sizes:
        alone = median(partial(np.matmul, *pairs[n]), seconds=0.2)
        print(f"{n}×{n}: {threads} threads {1e6 * before[n]:.0f} µs, one thread {1e6 * alone:.0f} µs")
    blas.limit_threads(threads)
else:
    print(f"threads are fixed at {threads} by a variable of this system, such as OPENBLAS_NUM_THREADS")

# %% [markdown]
# Two images normally take far less than twice the time of one: for one image, all weights are read for a
# single use (a matrix times a vector, intensity 1/2). In a larger batch each weight that was read is used
# more often, until the arithmetic is the limit. Where the right curve is flat, a larger batch brings only
# waiting.
#
# A second **thread** can at best halve the time of a large product. A small one is over before the second
# thread has begun. If other programs use the processor too, two threads can be *slower* than one. So set
# the number yourself when you measure, and report it.
#
# ## Fusion 1: a norm folded into the layer before it
#
# A **batch norm** in eval mode multiplies each channel by a fixed number and adds another. So the layer
# before it can do that, too. First with numbers. A layer 2x + 1, then a norm with mean 3, variance 4, γ =
# 5, β = −1 (and ε = 0):
#
#     5 · (2x + 1 − 3) / √4 − 1  =  5x − 6              one layer, with weight 5 and bias −6
#
# | x | layer: 2x + 1 | norm: 5 · (y − 3) / 2 − 1 | folded: 5x − 6 |
# |---|---|---|---|
# | 0 | 1 | −6 | −6 |
# | 1 | 3 | −1 | −1 |
# | 2 | 5 | 4 | 4 |
#
# With letters, for output o of a layer with weight W[o] and bias b[o]:
#
#     γ · (W x + b − mean) / √(var + ε) + β  =  (s · W) x + s · (b − mean) + β        s = γ / √(var + ε)
#
# ### Exercise 22.2 · fold a norm
#
# Write it for all outputs at once, for dense layers (O, I) and for filters (O, C, kh, kw). `bias` may be
# None. Do not change the arrays that you are given: they belong to a model. From float32, make float32.


# %% exercise="22.2"
def fold_norm(weight, bias, gamma, beta, mean, var, *, eps=1e-5):
    """The weight and bias of one layer that computes what a layer and a batch norm after it compute.

    Shapes: weight (O, ...); bias (O,) or None; gamma, beta, mean, var (O,) -> weight, as it was; bias (O,)
    """
    # BEGIN SOLUTION
    slope = gamma / np.sqrt(var + eps)
    start = -mean if bias is None else bias - mean
    weight = weight * slope.reshape(-1, *[1] * (weight.ndim - 1))
    bias = slope * start + beta
    # INSTEAD
    weight = ...
    bias = ...
    # END SOLUTION
    return weight, bias


# %% check="22.2"
check("22.2")

# %% [markdown]
# Your fold works on a trained network: a residual network for digits of 8×8 pixels. `fold_norms` folds each
# norm that directly follows a layer, and puts an `Identity` in its place. The answers should be equal to
# about 12 digits in float64, and to 5 or 6 in float32.

# %%
digits = data.digits()
net = material.resnet()
train.fit(net, digits, epochs=6, seed=0, progress=False)
net.eval()
small_images = digits.val.images


def logits(model, x=small_images):
    with measure.inference(model):
        return model(Tensor(x)).numpy()


def right(model):
    quality = measure.evaluate(model, digits.val)
    return f"{quality.accuracy:6.1%} ± {quality.standard_error:.1%}"


with yours("22.2"):
    for kind in (np.float32, np.float64):
        plain = copy.deepcopy(net).astype(kind)
        light = copy.deepcopy(plain)
        done = fold.fold_norms(light, small_images[:1].astype(kind))
        typed = small_images.astype(kind)
        difference = abs(logits(light, typed) - logits(plain, typed)).max()
        print(f"{np.dtype(kind)}: {len(done)} norms folded; largest difference of a logit {difference:.1e}")
folded_net = copy.deepcopy(net)
fold.fold_norms(folded_net, small_images[:1])
print("accuracy before", right(net), " after", right(folded_net))

# %% [markdown]
# ### Wrong ways to fold
#
# All of these run without an error. Each does one thing wrong, for each norm of the network.

# %%
def folded_by(slope, shift):
    """The network, folded with another slope and shift: functions of γ, β, the mean and var + ε."""

    def formula(weight, bias, gamma, beta, mean, var, *, eps):
        s = slope(gamma, var + eps).reshape(-1, *[1] * (weight.ndim - 1))
        return weight * s, shift(gamma, beta, mean, var + eps)  # no layer of this network has a bias

    model = copy.deepcopy(net)
    with installed(fold.fold_norm, formula):
        fold.fold_norms(model, small_images[:1])
    return model


def statistics_of(n, seed):
    """Accuracy if folded in training mode: with mean and variance of one batch of n images."""
    model = copy.deepcopy(net).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # what is remembered is this batch alone
    with no_grad():
        model(Tensor(digits.train.sample(n, rng=seed).images))
    model.eval()
    fold.fold_norms(model, small_images[:1])
    return measure.evaluate(model, digits.val).accuracy


kept = copy.deepcopy(net)
for name, module in kept.named_modules():
    if isinstance(module, nn.Conv2d):
        module.weight.data = dict(folded_net.named_modules())[name].weight.data
for name, model in {
    "right": folded_net,
    "variance, not its square root": folded_by(lambda g, v: g / v, lambda g, b, m, v: b - g * m / v),
    "mean forgotten": folded_by(lambda g, v: g / v**0.5, lambda g, b, m, v: b),
    "weights only, no bias": folded_by(lambda g, v: g / v**0.5, lambda g, b, m, v: 0 * b),
    "weights folded, the norm left in": kept,
}.items():
    print(f"{name:33} {right(model)}")

batch_sizes = (2, 4, 8, 32, 128)
by_batch = np.array([[statistics_of(n, seed) for seed in range(6)] for n in batch_sizes])
figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
ax.semilogx(batch_sizes, 100 * by_batch, ".", color="C3", base=2)
means = 100 * by_batch.mean(axis=1)
ax.semilogx(batch_sizes, means, color="C3", base=2, label="one batch's statistics, 6 draws")
due = measure.evaluate(folded_net, digits.val).accuracy
ax.axhline(100 * due, color="C0", label="the running averages")
ax.set(xlabel="images in the batch", ylabel="validation accuracy, %", xticks=batch_sizes,
       xticklabels=batch_sizes)
ax.legend(frameon=False, fontsize=8)
plt.show()
try:
    fuse(copy.deepcopy(net).train(), small_images[:1])
except ValueError as problem:
    print("ValueError:", problem)

# %% [markdown]
# In **training mode** a norm has no fixed numbers: it measures every batch anew. A fold in that mode
# freezes the numbers of one batch, and which batch that is, is chance. With a large batch the error is
# small and hard to notice. `fuse` refuses such a model.
#
# ### Exercise 22.3 · explain this failure
#
# A colleague has a norm *before* a convolution, and folds it forward. The norm is 0.5 · x − 1. The
# convolution has the filter w, no bias, and one pixel of zero padding at each end:
#
#     x = 4  2  6  2  4        norm: 1  0  2  0  1        w = 3  1  2
#
#     folded:  w′ = 0.5 · w = 1.5  0.5  1          b′ = −1 · (3 + 1 + 2) = −6
#
# It is right in the middle of each image, and wrong at the edges. Say how wrong: **folded minus right** at
# the first, the middle and the last of the five pixels. Then repair it: which number must the frame hold
# (`pad`), in place of 0, so that the folded layer is right everywhere?


# %% exercise="22.3"
def explain():
    """Errors of the folded layer at three pixels, and the number for the frame: by hand."""
    # BEGIN SOLUTION
    first = 3 * -1  # w[0] lies on the frame: b′ counts a shift that the zeros of the frame never had
    middle = 0
    last = 2 * -1  # here it is w[2]
    pad = 2  # 0.5 · 2 − 1 = 0
    # INSTEAD
    first = ...
    middle = ...
    last = ...
    pad = ...
    # END SOLUTION
    return first, middle, last, pad


# %% check="22.3"
check("22.3")

# %%
row, w = material.ROW, material.FILTER
due = material.slide(0.5 * row - 1, w)
print(f"norm, then convolution: right   {due}")
for name, pad in (("zero padding", 0.0), ("explain()'s pad", material.explain()[3])):
    print(f"folded, {name:23} {material.slide(row, 0.5 * w, pad=pad, bias=-w.sum())}")

# %% [markdown]
# With a 3×3 filter, 28 of the 64 outputs of an 8×8 image lie at the edge. A test with a layer *without*
# padding finds no error at all. Two convolutions in a row have the same problem: with padding, the second
# reads zeros where the first would have made numbers. So the package folds a norm only *backward*, and
# merges a convolution only with a 1×1 after it.
#
# ## Fusion 2: two linear layers are one
#
#     W₂ (W₁ x + b₁) + b₂        by hand: first 2x + 1, then 3y − 5: that is 3 (2x + 1) − 5 = 6x − 2
#
# ### Exercise 22.4 · merge two dense layers
#
# Write the weight and the bias of the one layer. Either bias may be None; if both are, the result is None.
# Again, change no array that you are given, and make float32 from float32.


# %% exercise="22.4"
def merge_linears(first, first_bias, second, second_bias):
    """The weight and bias of one dense layer that computes two in a row.

    Shapes: first (H, I), first_bias (H,) or None; second (O, H), second_bias (O,) or None
            -> (O, I), (O,) or None
    """
    # BEGIN SOLUTION
    weight = second @ first
    bias = second_bias
    if first_bias is not None:
        bias = second @ first_bias + (0 if second_bias is None else second_bias)
    # INSTEAD
    weight = ...
    bias = ...
    # END SOLUTION
    return weight, bias


# %% check="22.4"
check("22.4")

# %% [markdown]
# ### Wrong way: merge over a ReLU
#
# One input, two hidden units x and −x, then ReLU, then their sum: that is |x|. Merged as if the ReLU were
# not there: x + (−x) = 0, for every x. **No weights of one layer make |x|**, as it is not a straight line.
# Then we take the first ReLU out of two trained networks, one for digits of 8×8 pixels and one for points
# on three spirals, and let `fuse` merge the layers that are neighbours now.

# %%
points = [data.spirals(n, rng=seed) for n, seed in ((900, 0), (600, 1))]
points = [(x.astype(np.float32), labels) for x, labels in points]
winding = nn.Sequential(fc1=nn.Linear(2, 64, rng=0), relu1=nn.ReLU(), fc2=nn.Linear(64, 64, rng=1),
                        relu2=nn.ReLU(), fc3=nn.Linear(64, 3, rng=2))
tasks = {
    "digits": (models.lenet_300_100(image_size=8, rng=0), digits, digits.val, small_images[:1], 8),
    "spirals": (winding, tuple(points), points[1], points[1][0][:1], 60),
}
accuracies = []
for name, (mlp, parts, judge, example, epochs) in tasks.items():
    adam = optim.Adam(mlp.parameters(), lr=3e-3)
    train.fit(mlp, parts, epochs=epochs, optimizer=adam, seed=0, progress=False)
    no_relu = copy.deepcopy(mlp)
    no_relu.replace("relu1", nn.Identity())
    with yours("22.4"):
        no_relu, report = fuse(no_relu.eval(), example)
    accuracies += [(name, measure.evaluate(mlp, judge)), ("merged", measure.evaluate(no_relu, judge))]
print(report)

line = np.linspace(-2, 2, 201)[:, None]
up, down = np.array([[1.0], [-1.0]]), np.array([[1.0, 1.0]])
figure, axes = plt.subplots(1, 2, figsize=(9, 2.8), layout="constrained")
axes[0].plot(line, np.maximum(line @ up.T, 0) @ down.T, label="two layers, ReLU between")
axes[0].plot(line, line @ (down @ up).T, "--", color="C3", label="merged")
axes[0].set(xlabel="x", ylabel="y")
axes[0].legend(frameon=False, fontsize=8)
axes[1].bar([0, 1, 2.5, 3.5], [100 * q.accuracy for _, q in accuracies], width=0.7, capsize=4,
            yerr=[100 * q.standard_error for _, q in accuracies], color=["C0", "C3"] * 2)
axes[1].set(ylabel="accuracy, %", ylim=(0, 105), xticks=[0, 1, 2.5, 3.5],
            xticklabels=[name for name, _ in accuracies])
plt.show()

# %% [markdown]
# The spirals are lost. **On the digits hardly anything happens**, and that is the trap: 8×8 digits can
# nearly be told apart by straight lines, so this wrong fusion passes a test of accuracy. Test a fusion by
# its *outputs*, as above with the logits: they must be equal up to rounding, for any input.
#
# ### When merging makes it slower: a thin bottleneck
#
# A layer I → O costs I·O MACs. Two layers I → r → O cost r·(I + O). If r is small, the *two* are cheaper:
# that is the idea of low rank (lesson 17), and merging undoes it. By hand, for I = O = 512: equal at r =
# 512·512/1024 = **256**.

# %%
inputs, wide, ranks = floats(64, 512), floats(512, 512), (4, 16, 64, 128, 192, 256, 384, 512)
thin = {r: (floats(512, r), floats(r, 512)) for r in ranks}
jobs = {r: lambda r=r: (inputs @ thin[r][0]) @ thin[r][1] for r in ranks} | {"one": lambda: inputs @ wide}
found = in_turns(jobs, seconds=0.8)
figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
ratios = [np.quantile(found[r] / found["one"], (0.25, 0.5, 0.75)) for r in ranks]
low, middle, high = np.array(ratios).T
spread = [middle - low, high - middle]
ax.errorbar(ranks, middle, yerr=spread, fmt="o-", ms=4, capsize=3, label="measured, middle half")
ax.plot(ranks, [r * 1024 / 512**2 for r in ranks], color="0.6", label="by MACs")
ax.axhline(1, color="k", lw=0.8)
ax.set(xlabel="r", ylabel="time of two layers / of one", title="512 → r → 512, 64 rows",
       ylim=(0, 1.4 * max(2, middle.max())))
ax.legend(frameon=False, fontsize=8, loc="upper left")
plt.show()

a, b, c = (nn.Linear(*size, rng=0) for size in ((512, 64), (64, 512), (512, 10)))
for layers in ({"a": a, "b": b, "relu": nn.ReLU(), "c": c}, {"a": a, "b": b, "c": c}):
    with yours("22.4"):
        merged, _ = fuse(nn.Sequential(**layers).eval(), inputs[:1])
    left_over = [f"{m.in_features} → {m.out_features}" for m in merged.modules() if hasattr(m, "in_features")]
    print(f"{' · '.join(layers):18} becomes {', '.join(left_over)}")

# %% [markdown]
# `fuse` looks at the sizes before it merges: only if one layer is no more work than two. With a ReLU behind
# them, the two thin layers stay two. Without it, b and c become 64 → 10, and then all three become one.
#
# ## Fusion 3: in place, and who else reads it
#
# A ReLU at the end of a layer may write over the layer's result: nobody else has seen that array yet, and
# no second one is needed. But if somebody **still reads** the old numbers, they are gone.
#
# ### Wrong way: a ReLU in place, before a residual
#
# Two ways to write a residual block. In the first, x comes out of a ReLU. In the second (called
# *pre-activation*) the ReLU stands inside the block, on x itself. Both blocks add x again at their end.

# %%
weights = [floats(24, 24) * 0.35 for _ in range(6)]


def run_blocks(x, inside, in_place):
    """Six residual blocks; returns x after each."""
    x, after = x.copy(), []
    for w in weights:
        relu_x = np.maximum(x, 0, out=x) if in_place and inside else np.maximum(x, 0) if inside else x
        x = x + relu_x @ w
        if not inside:
            x = np.maximum(x, 0, out=x) if in_place else np.maximum(x, 0)  # x is new: nobody else has it
        after.append(x)
    return after


begin = floats(100, 24)
figure, ax = plt.subplots(figsize=(7, 2.8), layout="constrained")
for inside, label in ((False, "ReLU after the sum, in place"), (True, "ReLU inside the block, in place")):
    errors = [np.linalg.norm(a - b) / np.linalg.norm(a)
              for a, b in zip(run_blocks(begin, inside, False), run_blocks(begin, inside, True))]
    ax.plot(range(1, 7), [100 * e for e in errors], "o-", color="C3" if inside else "C0", label=label)
ax.set(xlabel="blocks", ylabel="relative error, %")
ax.legend(frameon=False, fontsize=8)
plt.show()

tensor = ops.relu(Tensor(begin))
try:
    np.negative(tensor.data, out=tensor.data)
except ValueError as problem:
    print("the engine's arrays are frozen:", problem)

# %% [markdown]
# The blue line is exactly 0: in place is right there. The red one is a wrong network that raises no error.
# If all x were positive it would even be right, so a test with such data passes. That is why this package
# **freezes** every array that an op has made, and why `fuse` puts a ReLU in place only if nothing else
# reads the layer's output.
#
# ### Wrong way: in place on what the caller gave you

# %%
pixels = (digits.val.images * 16).astype(np.float32)  # as the data come: 0 ... 16


def judge_in_place(images):
    images /= 16  # "saves an array"
    return float((logits(net, images).argmax(axis=1) == digits.val.labels).mean())


for call in range(1, 5):
    print(f"call {call} of the same function, with the same array: accuracy {judge_in_place(pixels):.1%}")

# %% [markdown]
# The first call is right. But it has divided the caller's images, so the second sees them 16 times too
# dark. In a notebook, where cells run twice, this is common. **Write over nothing that you did not make.**
#
# ## Fusion 4: what does not change is computed once
#
# **Constant folding**: a part of the program that does not depend on the input is run once, before. A
# folded norm is one example. Weights that are read through a mask or a codebook are another. In eval mode
# Dropout and Identity only hand on their input, so `fuse` removes them. It also computes a convolution a
# few images at a time ("in pieces"), and together with the pooling behind it ("pooled"). Now all of it on
# three networks.

# %%
networks = {name: models.make(name, rng=0).eval() for name in ("lenet5", "resnet8", "mobilenet_tiny")}
fused = {}
for name, model in networks.items():
    fused[name], report = fuse(model, images[:1])
    before, after = (sum(not step.passes_through for step in measure.trace(m, images[:1]))
                     for m in (model, fused[name]))
    equal = abs(logits(model, images) - logits(fused[name], images)).max()
    done = {what: len(report.names(what)) for what in dict.fromkeys(line.what for line in report)}
    print(f"{name:15} {before} steps become {after}: {done}; logits differ by {equal:.0e}")

# %% [markdown]
# More than a third of the steps are gone in each. What that is worth, in time and in memory, we measure at
# the end.
#
# ## A plan for memory
#
# While a network runs, the output of a layer is needed until its last reader has read it. Then its place is
# free. A value is **alive** from the step that makes it to the last step that reads it, both included. Here
# are, by hand, the lives of the values of a small chain, and of a network with a residual, whose step 3
# reads value A again:
#
#     chain      size  alive in steps          with a residual    size  alive in steps
#     A             8  0 1                     A                     8  0 1 2 3
#     B             6    1 2                   B                     6    1 2
#     C             4      2 3                 C                     4      2 3
#     D             2        3 4               D                     6        3
#
#     together: 8, 14, 10, 6, 2                together: 8, 14, 18, 18
#
# The chain needs **14**, not 8 + 6 + 4 + 2 = 20: no plan can take less than the worst step.
#
# ### Exercise 22.5 · the worst step
#
# Write the bound: the largest total size of the values that are alive in one step. For no values it is 0.


# %% exercise="22.5"
def most_alive(sizes, first, last):
    """The largest total size of the values that are alive in one step: no plan can take less.

    Shapes: n numbers each; value i is alive in the steps first[i] … last[i], both included -> a number
    """
    most = ...
    return most


# %% check="22.5"
check("22.5")

# %% [markdown]
# ### Exercise 22.6 · a place for each value
#
# Now the plan itself: an offset for each value in one large array, so that no two overlap *while both are
# alive*. To find the best plan is hard: with many values nobody can try them all. **Greedy by size** finds
# a good one:
#
# - take the values from the largest to the smallest;
# - for each, look at those that are placed already and are alive together with it, in the order of their
#   offsets;
# - put it into the smallest gap between them that is large enough (a gap may also begin at 0), or behind
#   them all.
#
# Return the offsets in the order in which the *values* were given. (Of two values of the same size, the one
# that is made first goes first.)


# %% exercise="22.6"
def place(sizes, first, last):
    """Where each value lies in one array, so that no two overlap while both are alive: greedy by size.

    Shapes: n numbers each; value i is alive in the steps first[i] … last[i], both included -> n offsets
    """
    places = ...
    return places


# %% check="22.6"
check("22.6")

# %% [markdown]
# Your two functions plan `resnet8` now. `material.lives` reads the lives from a trace: which step makes a
# value, and which is the last to read it. Each rectangle is a value: from left to right its life, from
# bottom to top its place.

# %%
light, _ = fuse(models.resnet8(rng=0).eval(), images[:1])
sizes, first, last, steps = material.lives(measure.trace(light, images[:1]))
with yours("22.5"), yours("22.6"):
    offsets, bound = workspace.place(sizes, first, last), workspace.most_alive(sizes, first, last)
    in_place = Workspace(light, images[:1])  # plans with the same two functions
end = material.end_of(offsets, sizes)
figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained", sharex=True)
apart = np.cumsum([0, *sizes])
for ax, starts, title in ((axes[0], apart, "a place for each"), (axes[1], offsets, "planned")):
    for i, step in enumerate(steps):
        box = (first[i] - 0.45, starts[i] / 1000), last[i] - first[i] + 0.9, sizes[i] / 1000
        ax.add_patch(plt.Rectangle(*box, facecolor=f"C{i % 10}", edgecolor="white", alpha=0.8))
    ax.set(xlim=(-1, len(steps) + 0.6), ylim=(0, apart[-1] / 1000), xlabel="step", title=title)
axes[0].set_ylabel("place, thousand numbers an image")
axes[1].axhline(bound / 1000, color="k", lw=0.8, ls="--", label="what is alive in the worst step")
axes[1].legend(frameon=False, fontsize=8)
plt.show()
print(f"each in its own place {sum(sizes):,} numbers; planned {end:,}; no plan below {bound:,}")
print(f"where a sum or a ReLU may also write over its own dying input: {in_place.planned:,}")

# %% [markdown]
# If the plan just touches the dashed line, no plan is better. `Workspace` runs the model by it, in one
# array that all later calls use again. Is the memory that was planned the memory that is used? We measure
# the peak with `tracemalloc`, which sees what NumPy asks for: for the network as it was, fused, and in a
# workspace.

# %%
peaks, found = {}, {}
for name, model in networks.items():
    planned = Workspace(fused[name], images[:1])
    ways = {"whole": model, "fused": fused[name], "workspace": planned}
    peaks[name] = [peak_memory(way, images) / 1e6 for way in ways.values()]
    with measure.inference(model), measure.inference(fused[name]), measure.inference(planned):
        jobs = {side: partial(way, Tensor(images)) for side, way in ways.items()}
        found[name] = in_turns(jobs, seconds=1.5)
    print(f"{name:15} peak {' → '.join(f'{p:.2f}' for p in peaks[name])} MB, of which planned for values "
          f"{4e-6 * planned.planned * len(images):.2f}")
    for side, s in found[name].items():
        print(f"    {side:10} {shown(s)} ms")
figure, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
for i, side in enumerate(("whole", "fused", "workspace")):
    at = np.arange(3) + 0.27 * (i - 1)
    ratios = [np.quantile(t[side] / t["whole"], (0.25, 0.5, 0.75)) for t in found.values()]
    low, middle, high = np.array(ratios).T
    axes[0].bar(at, [p[i] for p in peaks.values()], 0.26, label=side)
    axes[1].bar(at, middle, 0.26, yerr=[middle - low, high - middle], capsize=3)
axes[0].set(xticks=range(3), xticklabels=list(networks), ylabel="MB", title="peak memory, 32 images")
axes[1].set(xticks=range(3), xticklabels=list(networks), ylabel="time / time of the whole",
            title="time: medians of ratios, middle half", ylim=(0, 2))
axes[0].legend(frameon=False, fontsize=8)
plt.show()

# %% [markdown]
# **Time.** The network with the most norms for its MACs has most to gain; `lenet5`, without norms, has
# little. Many steps are gone, but the products are still there: **fusion removes moving, not multiplying.**
# On a GPU it matters more: compared with memory, arithmetic is cheaper still there, and each step must be
# started from outside.
#
# **Memory.** Fusion alone lowers the peak, because what is between two fused steps is never stored. The
# workspace's peak is above its plan, and may even be above the fused network's: a convolution also needs
# room for the windows of a few images. Its use is another one: what the values take is known *before* the
# first run, which matters on small devices. Whether it also saves time depends on what new memory costs on
# your system.
#
# ## In PyTorch
#
# ```python
# folded = torch.nn.utils.fusion.fuse_conv_bn_eval(conv.eval(), norm.eval())        # exercise 22.2
# model = torch.ao.quantization.fuse_modules(model.eval(), [["conv", "norm", "relu"]])   # by name
# fast = torch.compile(model)          # traces, fuses elementwise steps into one loop, and plans memory
# ```
#
# `fuse_conv_bn_eval` refuses layers in training mode, with the words "Fusion only for eval!". What works in
# place has a name with an underscore, `x.relu_()`, or is asked for: `nn.ReLU(inplace=True)`.
#
# ## Questions
#
# 1. Which gains more from fusion: a network on a processor with slow memory, or with fast memory? Why?
# 2. You double the batch. What happens to the intensity of a dense layer, and of a ReLU?
# 3. A norm stands behind a sum of two branches. Can it be folded? Into what?
# 4. `x = x / 255` and `x /= 255`: what is the difference for the caller? And for memory?
# 5. Two layers 1000 → 50 → 1000, without a ReLU between them. Merge them?
# 6. The plan of memory is made for one order of steps. May another order need less?
#
# BEGIN SOLUTION
# **Answers.**
#
# 1. With slow memory. Fusion removes bytes, so it saves most where bytes are dear.
# 2. The dense layer's rises as long as the weights are the larger part of the bytes: they are read for
#    twice as many images. The ReLU's stays at 1/8.
# 3. Not into one layer. It could go into both branches, if each ends in a layer that nothing else reads:
#    the slope into both, the shift into one of them.
# 4. The second changes the caller's array, and fails on integers. It needs no second array.
# 5. No: 100,000 MACs become 1,000,000.
# 6. Yes, where branches may be run in either order. To find the best order is hard in general, too.
# END SOLUTION
#
# ## Sources
#
# - S. Williams, A. Waterman and D. Patterson (2009), "Roofline: An Insightful Visual Performance Model for
#   Multicore Architectures", *Communications of the ACM* 52(4), 65 ff. (the roof, the ridge).
# - U. Drepper (2007), "What Every Programmer Should Know About Memory" (caches and lines; a long text, part
#   3 first).
# - B. Jacob et al. (2018), "Quantization and Training of Neural Networks for Efficient
#   Integer-Arithmetic-Only Inference", arXiv:1712.05877 (a norm folded into weights).
# - T. Chen et al. (2018), "TVM: An Automated End-to-End Optimizing Compiler for Deep Learning", OSDI,
#   arXiv:1802.04799 (which steps may be fused with which).
# - Y. Pisarchyk and J. Lee (2020), "Efficient Memory Management for Deep Neural Net Inference",
#   arXiv:2001.03288 (lives, shared memory, greedy by size).
# - NumPy 1.13.0 release notes (temporaries that are used again).
#
# **Read on in the source:** `tinyopt/compress/fold.py` is one formula and its walk over a model,
# `compress/fuse.py` the table of rules, `nn/fused.py` the ReLU in place, and `compress/workspace.py` the
# plan and the network that runs in it.

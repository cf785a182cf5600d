"""Lesson 11, pruning structure: the source of lesson.ipynb; see tinyopt/course/percent.py for its format."""

# %% [markdown]
# # 11 · Pruning structure: what is removed is gone
#
# **The question.** Half of the filters of a network are zero. A zero times anything is zero. So half of the
# work is useless. **Why is the network not faster?** And what must be done so that it is?
#
# - **You need:** lesson 6 (MACs, bytes, time), lesson 7 (convolution), lesson 9 (pruning of single weights).
# - **You will write:** a removal on paper, `cut_weight`, `weakest`, `apoz`, and a filter of zeros that
#   speaks.
# - **Time:** about 100 minutes.
#
# Where an exercise is still empty, the package's own function works for you.

# %%
import copy
import os
import tempfile

import matplotlib.pyplot as plt
import numpy as np

import tinyopt
from tinyopt import Tensor, data, measure, models, nn, optim, train
from tinyopt.compress import importance, surgery, thin
from tinyopt.course import STYLE, start
from tinyopt.course.lessons import find, load

check, hint, reveal, yours = start(11)
material = load(find(11) / "material.py")
folder = tempfile.TemporaryDirectory()  # all files of this lesson; it is removed at the end
plt.rcParams.update(STYLE)

# %% [markdown]
# First three networks, of three seeds. Each has two convolutions, each with a **batch norm** behind it. All
# choices are made on **validation** images. For these, we take 357 of the training images, too: 180 are few.

# %%
digits = data.digits()
learn = digits.train.take(slice(0, 900))
val = data.Part(*(np.concatenate([a[900:], b]) for a, b in zip(digits.train, digits.val)))
example = learn.images[:1]  # surgery runs the model once on it, to see who reads what
SEEDS = (0, 1, 2)


def make(n1, n2, seed):
    """Two convolutions of n1 and n2 filters, for images of 8×8; ten classes."""
    rng = np.random.default_rng(seed)
    return nn.Sequential(
        conv1=nn.Conv2d(1, n1, 3, padding=1, bias=False, rng=rng),
        norm1=nn.BatchNorm2d(n1),
        relu1=nn.ReLU(),
        pool1=nn.MaxPool2d(2),  # 8×8 -> 4×4
        conv2=nn.Conv2d(n1, n2, 3, padding=1, bias=False, rng=rng),
        norm2=nn.BatchNorm2d(n2),
        relu2=nn.ReLU(),
        pool2=nn.MaxPool2d(2),  # 4×4 -> 2×2
        flatten=nn.Flatten(),
        fc=nn.Linear(4 * n2, 10, rng=rng),
    )


def fit(net, epochs, seed, lr=5e-3):
    """Train in place; the learning rate falls to 0."""
    optimizer = optim.AdamW(net.parameters(), lr=lr)
    settings = {"epochs": epochs, "seed": seed, "schedule": train.cosine, "progress": False}
    train.fit(net, (learn, None), optimizer=optimizer, **settings)
    return net


def accuracy(net):
    """Validation accuracy, in percent."""
    return 100 * measure.evaluate(net, val).accuracy


def milliseconds(models_by_name):
    """{name: time for 256 images}: in turns, as noise should meet all; the best of five medians."""
    images, rounds = digits.test.images[:256], []
    for _ in range(5):
        rounds.append([measure.latency(net, images, repeats=3).seconds for net in models_by_name.values()])
    return dict(zip(models_by_name, 1e3 * np.min(rounds, axis=0)))


nets = {seed: fit(make(16, 32, seed), 8, seed) for seed in SEEDS}
net = nets[0]
base = measure.evaluate(net, val)
print(f"seed 0: validation accuracy {base.accuracy:.1%} ± {base.standard_error:.1%} (standard error)")
print(measure.summary(net, (1, 8, 8)))

# %% [markdown]
# Now the picture. We choose 0, 4, 8 or 12 of every 16 filters, in both convolutions. Once we write **zeros**
# into them, and into all that belongs to them. Once we **remove** them. Both networks compute the same
# numbers, as you will see. The clock measures both.

# %%
counts, shown = (0, 4, 8, 12), {}
for n in counts:
    cut = {"conv1": range(n), "conv2": range(2 * n)}
    shown["zeros are written", n] = surgery.masked(net, example, cut)
    shown["removed", n] = surgery.remove(net, example, cut)
    for parameter in shown["zeros are written", n].parameters():
        parameter.bake()  # write the zeros into the weights, so that no time is spent on a mask
times = milliseconds(shown)
macs = {key: measure.summary(model, (1, 8, 8)).macs / 1000 for key, model in shown.items()}
figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.2), layout="constrained")
for ax, found, label in zip(axes, (times, macs), ("ms for 256 images", "thousand MACs for one image")):
    for name, mark in (("zeros are written", "o"), ("removed", "s")):
        ax.plot([100 * n / 16 for n in counts], [found[name, n] for n in counts], f"{mark}-", label=name)
    ax.set(xlabel="filters set to zero, or removed, %", ylabel=label, ylim=(0, None), xticks=(0, 25, 50, 75))
axes[0].legend(frameon=False, loc="lower left")
plt.show()

# %% [markdown]
# A product with zero is a product. The machine does not look whether a number is 0; it multiplies. So zeros
# alone win no time. Only smaller arrays do. This is called **structured pruning** (or *channel pruning*):
# remove whole rows and columns, so that what is left is again an ordinary, smaller array. Note that the time
# falls less than the MACs. Normalising and pooling take time as well.
#
# ## By hand: a net of 2, 3 and 2 units
#
#     h = ReLU(W₁ x + b₁)        y = W₂ h + b₂
#
#     W₁ = [ 1  2 ]   b₁ = [ 0 ]        W₂ = [ 1  4  2 ]   b₂ = [ 0 ]
#          [ 3  4 ]        [ 1 ]             [ 3  1 −1 ]        [ 5 ]
#          [ 5  6 ]        [−1 ]
#
# Remove hidden unit 2, the middle one. Who **makes** it? Row 2 of W₁, and entry 2 of b₁. Who **reads** it?
# Column 2 of W₂. All these go. b₂ stays: it belongs to the outputs. There were 17 numbers, and 12 are left.
# There were 12 products, and 8 are left.

# %%
material.draw_hand_example()
plt.show()

# %% [markdown]
# Check it for x = (1, 1). Then h = (3, 8, 10). Without unit 2, h = (3, 0, 10), and y = (23, 4). The small net
# has h = (3, 10), and y = (1·3 + 2·10, 3·3 − 1·10 + 5) = (23, 4). The same!
#
# And if you write zeros only into *row 2 of W₁*? Then h₂ = ReLU(0 + **1**) = 1: its bias still speaks. Then y
# = (27, 5). Keep this in mind.
#
# ## A filter is a row, and a channel is a column
#
# The weight of a convolution has the shape (filters, channels, K, K). Filter c of one layer makes channel c,
# and this channel is read by *every* filter of the next layer. So W₁[c] goes, and W₂[:, c]. In between:
#
# - **batch norm** has a scale γ, a shift β, a running mean and a running variance for *each* channel: entry c
#   of each goes;
# - **ReLU and pooling** have no weights: nothing is to be done;
# - **flatten** lays the H×W numbers of a channel one after the other: channel c is read by H·W columns of the
#   dense layer, c·H·W, …, c·H·W + H·W − 1.
#
# Here are the columns of a dense layer behind 4 channels of 3×3. Channel 2 is removed:

# %%
figure, axes = plt.subplots(2, 1, figsize=(9.5, 2.3), layout="constrained")
owner = np.arange(4).repeat(9)
material.draw_columns(axes[0], owner, "fc.weight, 5 × 36: the colour says which channel a column reads")
material.draw_columns(axes[1], owner[owner != 2], "without channel 2: 5 × 27")
plt.show()

# %% [markdown]
# ## The formula
#
# A convolution makes H'·W' numbers for each filter, and each number takes K·K products for each channel:
#
#     MACs = H' · W' · K² · C_in · C_out        kept: shares p of C_in and q of C_out -> p · q of the MACs
#
# If *every* layer keeps half of its channels, a layer in the middle keeps **a quarter** of its work. The
# first layer reads the image and the last one makes the classes. These ends cannot be cut: they keep a half.
# (Li et al. (2017) count it per layer: m of n filters less save m/n of the work of this layer *and* of the
# next.)
#
# ### Exercise 11.1 · predict, then compute
#
# On paper. (a) A net for images of 6×6: a convolution of **4 filters** of 3×3, padding 1, **with bias**, on 1
# channel; ReLU; max-pooling by 2; flatten; a dense layer of 36 inputs and **5 outputs**, with bias. Channel
# **1** is removed (count from 0). Which columns of the dense layer go? How many parameters go in all, biases
# included? How many MACs does one image take **afterwards**, in both layers together?
#
# (b) Another net: a convolution with 8 channels in and **12 filters** of 3×3 makes an image of 4×4. The layer
# before it loses 2 of its 8 filters, and this one loses 6 of its 12. How many MACs does this one still take?


# %% exercise="11.1"
def predict():
    """(a) the columns that go, the parameters that go, the MACs that are left; (b) the MACs that are left."""
    # BEGIN SOLUTION
    columns = [9, 10, 11, 12, 13, 14, 15, 16, 17]  # 3×3 numbers for each channel, after the pooling
    gone = 9 + 1 + 9 * 5  # a filter, its bias, nine columns of five; the biases of the dense layer stay
    macs = 36 * 9 * 3 + 27 * 5
    both = 16 * 9 * 6 * 6
    # INSTEAD
    columns = ...
    gone = ...
    macs = ...
    both = ...
    # END SOLUTION
    return columns, gone, macs, both


# %% check="11.1"
check("11.1")

# %% [markdown]
# ## The slow loop
#
# One filter after the other, one channel after the other. A channel that is not there is not visited. This
# says what the small layer must compute. It also counts.


# %%
def slow_convolution(x, weight, makes, reads):
    """One image: filters `makes`, reading channels `reads`; returns the output and the number of products.

    Shapes: x (C, H, W), weight (O, C, K, K) -> y (len(makes), H, W); the border is padded with zeros.
    """
    n, (_, height, width), products = weight.shape[2], x.shape, 0
    padded = np.pad(x, ((0, 0), (n // 2, n // 2), (n // 2, n // 2)))
    y = np.zeros((len(makes), height, width))
    for i, filter_ in enumerate(makes):
        for channel in reads:
            for row in range(n):
                for column in range(n):
                    window = padded[channel, row : row + height, column : column + width]
                    y[i] += weight[filter_, channel, row, column] * window
                    products += window.size
    return y, products


weight = net.get("conv2").weight.data
with measure.capture(net) as seen:
    net.eval()(Tensor(example))
x = seen["pool1"].calls[0].output.data[0].copy()  # (16, 4, 4): what conv2 reads
alive, with_zeros = range(8, 16), x.copy()
with_zeros[:8] = 0  # the channels 0 to 7 are silent
y, n_products = slow_convolution(with_zeros, weight, range(32), range(16))
y_small, n_small = slow_convolution(x, weight, range(32), alive)
print("the same output:", np.allclose(y, y_small), f"· products {n_products:,} -> {n_small:,}")
print(f"only half of the filters: {slow_convolution(x, weight, range(16), alive)[1]:,} products, a quarter")

# %% [markdown]
# ### Exercise 11.2 · `cut_weight`
#
# The heart of the surgery. Given are two arrays of Booleans, in which True means *stays*: `makes`, one for
# each output of the layer, and `reads`, one for each input. Return what is left of the weight. Biases, and γ
# and β of a norm, have one axis only. Some lines are given: a single scale for all channels stays, and a
# grouped convolution is cut group by group.


# %% exercise="11.2"
def cut_weight(weight, makes, reads=None, groups=1):
    """What is left of a weight: the rows of outputs that stay and, in them, the columns of inputs that stay.

    Shapes: weight (O, I, ...), or (O,) as a bias; makes (O,) and reads (I,), Booleans that keep.
    """
    if groups > 1:
        parts = zip(*(np.split(part, groups) for part in (weight, makes, reads)))
        blocks = [cut_weight(*part) for part in parts]
        return np.concatenate([block for block in blocks if block.size])
    if weight.ndim == 0 or len(weight) != len(makes):
        return weight
    if reads is None or weight.ndim == 1 or weight.shape[1] != len(reads):
        # BEGIN SOLUTION
        rows = weight[makes]
        # INSTEAD
        rows = ...
        # END SOLUTION
        return rows
    # BEGIN SOLUTION
    left = weight[makes][:, reads]
    # INSTEAD
    left = ...
    # END SOLUTION
    return left


# %% check="11.2"
check("11.2")

# %% [markdown]
# `surgery.remove` follows every channel through the network and calls `cut_weight` for all that makes or
# reads it. Your function now cuts a whole net. And `surgery.masked` writes the zeros: it is our oracle.

# %%
with yours("11.2"):
    cut = {"conv1": [0, 3], "conv2": [5, 6, 30]}
    small = surgery.remove(net, example, cut)
    oracle = surgery.masked(net, example, cut)
for (name, whole), (_, left) in zip(net.named_parameters(), small.named_parameters()):
    print(f"{name:14} {whole.shape} -> {left.shape}")
a, b = (measure.evaluate(model, val) for model in (small, oracle))
print("the same answers on all validation images:", np.array_equal(a.predictions, b.predictions))

# %% [markdown]
# ## Which filters?
#
# We need a **score** for each filter: higher means *keep*. Then the weakest go.
#
# ### Exercise 11.3 · `weakest`
#
# Return the indices of the channels with the **lowest** scores, in ascending order. How many? The fraction of
# the number of channels, rounded **down**. The count must be exact: if scores are equal, the first ones go.


# %% exercise="11.3"
def weakest(scores, fraction):
    """The channels with the lowest scores, an exact count; ties go by position.

    Shapes: scores (C,) -> indices, ascending.  Units: fraction removed, in [0, 1).
    """
    # BEGIN SOLUTION
    n_removed = int(fraction * len(scores))
    indices = np.sort(np.argsort(scores, kind="stable")[:n_removed])
    # INSTEAD
    indices = ...
    # END SOLUTION
    return indices


# %% check="11.3"
check("11.3")

# %% [markdown]
# The simplest score is the **L1 norm** of a filter: Σ |w| (Li et al., 2017). Others look at what a channel
# says on real images. One of them is **APoZ**, the *average percentage of zeros* (Hu et al., 2016): after the
# ReLU, how often is the channel exactly 0? A channel that is nearly always 0 seems useless.
#
# ### Exercise 11.4 · `apoz`
#
# For each channel, the share of its numbers that are exactly 0, over all images and all places.


# %% exercise="11.4"
def apoz(activation):
    """The share of a channel's outputs that are exactly 0, over all examples and places.

    Shapes: activation (N, C, ...), such as (N, C, H, W) or (N, C) -> shares (C,), in [0, 1].
    """
    # BEGIN SOLUTION
    by_place = activation.reshape(*activation.shape[:2], -1)  # (N, C, places)
    shares = (by_place == 0).mean(axis=(0, 2)).astype(activation.dtype)
    # INSTEAD
    shares = ...
    # END SOLUTION
    return shares


# %% check="11.4"
check("11.4")

# %% [markdown]
# Your two functions choose filters of our net. Here are three scores of conv2's 32 filters: **L1**; the share
# of places that are not 0, that is 1 − APoZ; and **Taylor**, |z · ∂L/∂z|: to first order, by how much would
# the loss change if channel z were 0 (Molchanov et al., 2017)? Do they agree about the weakest half?

# %%
with yours("11.3"), yours("11.4"):
    scores = {name: importance.channel_scores(net, name, learn) for name in ("l1", "apoz", "taylor")}
    chosen = {name: thin.weakest_channels(net, example, part, 0.5) for name, part in scores.items()}
LABELS = {"l1": "Σ |w|", "apoz": "1 − APoZ", "taylor": "|z · ∂L/∂z|"}
figure, axes = plt.subplots(3, 1, figsize=(8.5, 4.6), layout="constrained", sharex=True)
for ax, (name, label) in zip(axes, LABELS.items()):
    go = np.isin(np.arange(32), chosen[name]["conv2"])
    ax.bar(np.arange(32), scores[name]["conv2"], color=np.where(go, "C3", "C0"))
    ax.set(ylabel=label)
axes[0].set_title("red: the weakest half, of each score")
axes[2].set(xlabel="filter of conv2")
plt.show()
for first, second in (("l1", "apoz"), ("l1", "taylor"), ("apoz", "taylor")):
    both = len(set(chosen[first]["conv2"]) & set(chosen[second]["conv2"]))
    print(f"{first} and {second} agree on {both} of 16 filters (two random choices: 8, on average)")

# %% [markdown]
# They do not agree much more than dice do. And look at the heights: by L1 and by APoZ, all filters are nearly
# equal. Then their order says little. By Taylor they differ by far more.
#
# ## Does the choice matter?
#
# Remove half of the filters by each of five scores. Look at once; then **fine-tune**: train the small net for
# 3 more epochs. Two controls belong to an honest comparison: filters chosen **at random**, and a net of the
# small size that is trained **from scratch**, for as many epochs in all (8 + 3).


# %%
def halved(net, criterion, seed):
    """The net without half of its filters."""
    if criterion == "random":
        rng = np.random.default_rng(seed)
        scores = {"conv1": rng.random(16), "conv2": rng.random(32)}
    else:
        scores = importance.channel_scores(net, criterion, learn)
    return thin.prune_channels(net, example, scores, 0.5)


NAMES = ("random", "L1 norm", "1 − APoZ", "|γ| of the norm", "Taylor")
CRITERIA = dict(zip(("random", "l1", "apoz", "bn_scale", "taylor"), NAMES))
halves, at_once, tuned = {}, {}, {}
for criterion in CRITERIA:
    for seed in SEEDS:
        halves[criterion, seed] = halved(nets[seed], criterion, seed)
        at_once.setdefault(criterion, []).append(accuracy(halves[criterion, seed]))
        fit(halves[criterion, seed], 3, seed, lr=2e-3)
        tuned.setdefault(criterion, []).append(accuracy(halves[criterion, seed]))
scratch = {seed: fit(make(8, 16, seed), 11, seed) for seed in SEEDS}
rows = [(name, at_once[key], tuned[key]) for key, name in CRITERIA.items()]
rows.append(("from scratch", None, [accuracy(model) for model in scratch.values()]))
full = [accuracy(model) for model in nets.values()]
print(f"{'':16} removed, %     fine-tuned, %     (mean ± deviation over 3 seeds)")
for name, before, after in rows:
    texts = [f"{np.mean(a):5.1f} ± {np.std(a, ddof=1):4.1f}" if a else " " * 12 for a in (before, after)]
    print(f"{name:16} {texts[0]}    {texts[1]}")
print(f"all filters      {np.mean(full):5.1f} ± {np.std(full, ddof=1):4.1f}")
figure, axes = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained", sharey=True)
for ax, column, title in zip(axes, (1, 2), ("removed, not yet trained again", "after 3 epochs (enlarged)")):
    for i, row in enumerate(rows):
        if row[column]:
            ax.plot(row[column], [i] * len(SEEDS), "C0o", alpha=0.6)
            ax.plot(np.mean(row[column]), i, "k|", ms=16)
    ax.axvline(np.mean(full), color="0.6", ls="--", lw=1)
    ax.set(xlabel="validation accuracy, %", title=title)
axes[0].set_yticks(range(len(rows)), [row[0] for row in rows])
axes[0].invert_yaxis()
axes[0].set_xlim(0, 101)
plt.show()

# %% [markdown]
# Read this with care. *At once*, the scores differ: Taylor, which asks the loss, is on top. The L1 norm is
# **not better than random** here! Why? A norm stands behind each filter, and it divides by the deviation.
# Double all weights of a filter in training, and the norm takes it back. So the length of a filter says
# little here.
#
# *After fine-tuning*, most of the difference is gone; a little of the order is left. And the small net from
# scratch is about as good as the best. On large networks, others report even less difference: with 25 to 50 %
# of the filters chosen at random, fine-tuning came out as well as with known scores (Mittal et al., 2018);
# and training the small net from scratch was often as good as pruning a large one (Liu et al., 2019). So a
# score that is shown without these two controls says little. Pruning still has its place: often the large net
# is there already, and 3 epochs are fewer than 11.
#
# ## A filter of zeros is not silent
#
# Now a mistake that is easy to make: write zeros into the filter, and *not* into the norm behind it. In eval
# mode the norm computes, for each channel,
#
#     y = γ · (z − mean) / √(variance + ε) + β
#
# with the running mean and variance of training. For z = 0 this is β − γ · mean / √(variance + ε): a
# constant. If it is positive, it passes the ReLU, and the next layer reads it at every place of the image.

# %%
norm = net.get("norm2")
gamma, beta = norm.weight.data, norm.bias.data
constant = beta - gamma * norm.running_mean / np.sqrt(norm.running_var + norm.eps)
figure, ax = plt.subplots(figsize=(8.5, 2.8), layout="constrained")
ax.bar(np.arange(32), constant, color=np.where(constant > 0, "C3", "0.75"))
ax.axhline(0, color="k", lw=0.8)
ax.set(xlabel="filter of conv2", ylabel="output of the norm")
ax.set_title("each filter in turn set to zeros; red passes the ReLU")
plt.show()
print(f"{(constant > 0).sum()} of 32 filters of zeros still speak; the loudest says {constant.max():.2f}")

# %% [markdown]
# So "a filter is set to zero" and "a channel is removed" are two different networks. Which one did you
# measure? Here is the accuracy of both, without fine-tuning, if more and more filters go (by Taylor):

# %%
taylor, counts_cut = importance.channel_scores(net, "taylor", learn), (0, 2, 4, 6, 8, 10, 12)
found = {"zeros before the norm": [], "zeros after the norm": [], "removed": []}
for n in counts_cut:
    cut = thin.weakest_channels(net, example, taylor, n / 16)
    before = copy.deepcopy(net)
    for layer, filters in cut.items():
        weight = before.get(layer).weight
        weight.data = weight.data * ~np.isin(np.arange(len(weight.data)), filters)[:, None, None, None]
    all_three = (before, surgery.masked(net, example, cut), surgery.remove(net, example, cut))
    for name, model in zip(found, all_three):
        found[name].append(accuracy(model))
figure, ax = plt.subplots(figsize=(6.8, 3.2), layout="constrained")
for (name, heights), style in zip(found.items(), ("o-", "s-", "kx")):
    ax.plot([100 * n / 16 for n in counts_cut], heights, style, label=name, ms=7 if style == "kx" else 5)
ax.set(xlabel="filters cut in both layers, %", ylabel="validation accuracy, %", ylim=(0, 101))
ax.legend(frameon=False, loc="lower left")
plt.show()

# %% [markdown]
# The crosses lie on the squares: removal is the same as zeros *after* the norm. Zeros *before* the norm are a
# third thing, sometimes better and sometimes worse. What is measured on it is not the accuracy of the small
# network.
#
# ### Exercise 11.5 · explain this failure
#
# A friend sets all weights of a filter to 0. There is no bias in the convolution. "And the shift β of the
# norm is not positive. So after the ReLU this channel is 0, and nobody hears it", says the friend. Show that
# this is wrong: find γ, **β ≤ 0**, a running mean and a running variance with which the channel hands on **1
# or more** after norm and ReLU. Then explain it to your neighbour in one sentence.


# %% exercise="11.5"
def witness():
    """γ, β ≤ 0, the running mean and the running variance: a filter of zeros hands on 1 or more."""
    # BEGIN SOLUTION
    gamma, beta = 1, 0
    mean, variance = -3, 4  # 0 lies above this mean: (0 + 3) / 2 = 1.5
    # INSTEAD
    gamma, beta = ..., ...
    mean, variance = ..., ...
    # END SOLUTION
    return gamma, beta, mean, variance


# %% check="11.5"
check("11.5")

# %% [markdown]
# ## Tied channels
#
# In a residual network, a block computes x + f(x). Channel 3 of the sum is channel 3 of x plus channel 3 of
# f(x). If only one side loses it, there is nothing to add. So both sides lose it, and so does everybody who
# reads the sum. `groups_of` finds who hangs together, and `whole_cut` says all that goes:

# %%
residual = models.resnet8(image_size=8, width=8, rng=0)
material.draw_groups(surgery.groups_of(residual, example))
plt.show()
print("to remove channel 3 of conv1, all these go:")
for layer, channels in surgery.whole_cut(residual, example, {"conv1": [3]}).items():
    print(f"    {layer}: {channels.tolist()}")

# %% [markdown]
# Each row is a layer that has channels, and each column a group. The longest groups run along the additions.
# Channels *inside* a block are free: this is why many people cut only these.
#
# ## The account, and the wrong ways
#
# ### Wrong way 1: zeros are written, and "structured pruning" is reported
#
# Half of the filters go, chosen by Taylor: once as zeros, and once removed; then fine-tuned; then the control
# from scratch. Each file is written, measured, and **loaded again**; the accuracy is that of the loaded
# model, on the test images. The time is for 256 images.

# %%
cut = thin.weakest_channels(net, example, taylor, 0.5)
only_zeros = surgery.masked(net, example, cut)
for parameter in only_zeros.parameters():
    parameter.bake()
candidates = {
    "all filters": net, "zeros written": only_zeros, "removed": surgery.remove(net, example, cut),
    "removed, fine-tuned": halves["taylor", 0], "from scratch": scratch[0],
}  # fmt: skip
loaded, sizes = {}, {}
for name, model in candidates.items():
    path = os.path.join(folder.name, "model")
    tinyopt.save(model, path)
    loaded[name], sizes[name] = tinyopt.load(path), os.path.getsize(path)
times = milliseconds(loaded)
quality = {name: measure.evaluate(model, digits.test) for name, model in loaded.items()}
rows = {}
print(f"{'':20} parameters     MACs   file bytes     ms   test accuracy")
for name, model in loaded.items():
    counts = measure.summary(model, (1, 8, 8))
    rows[name] = counts.macs / 1000, sizes[name] / 1000, times[name]
    numbers = f"{counts.parameters:10,} {counts.macs:8,} {sizes[name]:12,} {times[name]:6.2f}"
    print(f"{name:20} {numbers}   {quality[name].accuracy:.1%} ± {quality[name].standard_error:.1%}")
print("paired, to all:", measure.compare(quality["all filters"], quality["removed, fine-tuned"]))
figure, axes = plt.subplots(1, 3, figsize=(10, 2.6), layout="constrained", sharey=True)
for ax, column, label in zip(axes, range(3), ("thousand MACs", "file, kB", "ms for 256 images")):
    heights = [row[column] for row in rows.values()]
    bars = ax.barh(list(rows), heights, color=["0.6", "C3", "C2", "C2", "C2"])
    ax.bar_label(bars, fmt="%.1f", padding=3, fontsize=9)
    ax.set(xlabel=label, xlim=(0, 1.25 * max(heights)))
axes[0].invert_yaxis()
plt.show()

# %% [markdown]
# Zeros (red): not one MAC and not one byte is saved, and the time is the old one, up to noise. (A file *can*
# leave out zeros, lesson 10; the time stays.) The green bars are all shorter, with no special library, but
# *not equally* so. Who counts MACs and writes "faster" is wrong. The three green nets have the same size: how
# far their times differ is the noise of your clock.
#
# ### Wrong way 2: the shapes fit
#
# Forget the next layer, and you get an error. That is the lucky case. Cut the *wrong* columns, and you get no
# error at all. We take the net without a quarter of its filters (by Taylor), and make one mistake at a time:

# %%
cut = thin.weakest_channels(net, example, taylor, 0.25)
keep1, keep2 = (~np.isin(np.arange(n), cut[layer]) for layer, n in (("conv1", 16), ("conv2", 32)))
first = np.sort(keep1)[::-1]  # as many, but the first ones
right = surgery.remove(net, example, cut)
w2, wf, whole = net.get("conv2").weight.data, net.get("fc").weight.data, net.get("norm1")
SHAPES_FIT = {
    "right": right,
    "conv2 reads the first 12 channels": material.with_arrays(right, "conv2", weight=w2[keep2][:, first]),
    "norm1 keeps the first 12 entries": material.with_arrays(
        right, "norm1", weight=whole.weight.data[first], bias=whole.bias.data[first],
        running_mean=whole.running_mean[first], running_var=whole.running_var[first],
    ),
    "flatten: columns c, C+c, 2C+c, 3C+c": material.with_arrays(right, "fc", weight=wf[:, np.tile(keep2, 4)]),
}  # fmt: skip
one_each = np.delete(wf, cut["conv2"], axis=1)  # 8 columns go, where 8 · 4 should
DO_NOT_FIT = {
    "conv2 reads all channels": material.with_arrays(right, "conv2", weight=w2[keep2]),
    "norm1 is not cut": material.with_arrays(right, "norm1", weight=whole.weight.data, bias=whole.bias.data),
    "flatten: one column a channel": material.with_arrays(right, "fc", weight=one_each),
}
for name, model in DO_NOT_FIT.items():
    try:
        accuracy(model)
    except ValueError as problem:
        print(f"{name}: {type(problem).__name__}: {str(problem)[:70]}…")
heights = [accuracy(model) for model in SHAPES_FIT.values()]
figure, ax = plt.subplots(figsize=(7.5, 2.4), layout="constrained")
ax.bar_label(ax.barh(list(SHAPES_FIT), heights, color=["C2", "C3", "C3", "C3"]), fmt="%.1f", padding=3)
ax.axvline(10, color="0.6", ls=":")
ax.invert_yaxis()
ax.set(xlabel="validation accuracy, %  (dotted: guessing)", xlim=(0, 110))
plt.show()

# %% [markdown]
# Each mistake is one index. Fine-tuning then repairs a part of it, and the report says "pruning costs some
# accuracy". So never judge surgery by its accuracy. Compare the outputs with those of the masked model: they
# must be *equal*, up to rounding. `remove` itself does this for the example that you give.
#
# ### Wrong way 3: one side of a sum
#
# Cut only one side of a residual sum. With 7 channels against 8 there is an error. With **one** channel
# against 8 there is none: NumPy and PyTorch *broadcast* it to all eight.

# %%
for n_left in (7, 1):
    model = copy.deepcopy(residual)
    conv, norm = model.get("block1.body.conv2"), model.get("block1.body.norm2")
    for parameter in (conv.weight, norm.weight, norm.bias):
        parameter.data = parameter.data[:n_left]
    norm.running_mean, norm.running_var = norm.running_mean[:n_left], norm.running_var[:n_left]
    norm.num_features = n_left
    try:
        with measure.inference(model), measure.inference(residual):
            came, due = (m(Tensor(val.images)).numpy() for m in (model, residual))
        change = abs(came - due).max() / abs(due).max()
        print(f"{n_left} of 8 channels left in the block: no error; outputs change by up to {change:.0%}")
    except ValueError as problem:
        print(f"{n_left} of 8 channels left in the block: {type(problem).__name__}: {str(problem)[:60]}…")
for what in ({"fc": [0]}, {"block1.body.conv1": range(8)}):
    try:
        surgery.remove(residual, example, what)
    except ValueError as problem:
        print("the package refuses:", problem)
folder.cleanup()

# %% [markdown]
# ## In PyTorch
#
# ```python
# prune.ln_structured(conv1, "weight", amount=4, n=1, dim=0)  # torch.nn.utils.prune: zeros, same shape
# keep = conv1.weight.abs().sum(dim=(1, 2, 3)) > 0
# small = torch.nn.Conv2d(1, int(keep.sum()), 3, padding=1, bias=False)
# small.weight.data = conv1.weight.data[keep]  # and norm1, and conv2.weight.data[:, keep], and ...
# ```
#
# The first line is "structured", but it writes zeros through a mask, and leaves the norm alone. For removal,
# there are packages such as Torch-Pruning, which finds what hangs together as ours does (Fang et al., 2023).
#
# ## Questions
#
# 1. A depthwise convolution has one filter for each channel that it reads. Who is tied to whom?
# 2. Every layer of a deep network of equal convolutions loses 30 % of its channels. How many MACs are left?
# 3. Why can no channel be removed before a LayerNorm over the channels, without changing the outputs?
# 4. Could the constant of a dead channel be kept without the channel? Where would you put it?
#
# BEGIN SOLUTION
# **Answers.**
#
# 1. Its output c is made from input c alone: both are one channel. Cut both, or none.
# 2. 0.7 · 0.7 = 49 %: about half.
# 3. LayerNorm subtracts the mean over all channels. A channel of zeros is part of this mean; without it, the
#    mean is another. So the small model computes other numbers than the masked one.
# 4. In the bias of the layer that reads it: add Σ W[:, c] · constant. For a dense layer this is exact. For a
#    convolution with padding it is not: at the border, the constant is not read by all K·K weights.
# END SOLUTION
#
# ## Sources
#
# - H. Li, A. Kadav, I. Durdanovic, H. Samet and H. P. Graf (2017), "Pruning Filters for Efficient ConvNets",
#   arXiv:1608.08710. The filter, its feature map, and the kernels that read it; the L1 norm as a score.
# - H. Hu, R. Peng, Y.-W. Tai and C.-K. Tang (2016), "Network Trimming: A Data-Driven Neuron Pruning Approach
#   towards Efficient Deep Architectures", arXiv:1607.03250. APoZ.
# - P. Molchanov, S. Tyree, T. Karras, T. Aila and J. Kautz (2017), "Pruning Convolutional Neural Networks for
#   Resource Efficient Inference", ICLR 2017, arXiv:1611.06440. The Taylor score.
# - D. Mittal, S. Bhardwaj, M. M. Khapra and B. Ravindran (2018), "Recovering from Random Pruning: On the
#   Plasticity of Deep Convolutional Neural Networks", arXiv:1801.10447. Random filters as a control.
# - Z. Liu, M. Sun, T. Zhou, G. Huang and T. Darrell (2019), "Rethinking the Value of Network Pruning", ICLR
#   2019, arXiv:1810.05270. The small network trained from scratch as a control.
# - G. Fang, X. Ma, M. Song, M. B. Mi and X. Wang (2023), "DepGraph: Towards Any Structural Pruning", CVPR
#   2023, arXiv:2301.12900. Which layers must be cut together, found from the network itself.
#
# **Read on in the source:** `tinyopt/compress/surgery.py` (your `cut_weight`, and `remove`),
# `tinyopt/compress/channels.py` (how a channel is followed), `tinyopt/compress/thin.py` (your `weakest`),
# `tinyopt/compress/importance/neurons.py` (your `apoz`, and seven other scores).

"""Lesson 9, pruning weights: the source of lesson.ipynb; see tinyopt/course/percent.py for its format."""

# %% [markdown]
# # 9 · Pruning: delete nine of ten weights
#
# **The question.** A trained network has 50,200 weights. We delete 45,180 of them: nine of ten, for ever.
# What happens to its accuracy? And does it matter *which* ones we delete?
#
# - **You need:** lessons 1 to 3 (gradients, SGD, a network of two hidden layers); a little of lesson 4
#   (momentum).
# - **You will write:** a mask by hand, `magnitude_mask`, the rule of `mask`, `cubic_sparsity`, and a small
#   data set on which pruning goes wrong.
# - **Time:** about 100 minutes.
#
# Run the cells from top to bottom. Where an exercise is still empty, the package's own function works for
# you.

# %%
import copy
import os
import tempfile

import matplotlib.pyplot as plt
import numpy as np

from tinyopt import compress, data, files, measure, models, nn, optim, train
from tinyopt.compress.prune import cubic_sparsity as package_cubic_sparsity
from tinyopt.compress.schedules import PruneAt, cubic
from tinyopt.course import STYLE, start

check, hint, reveal, yours = start(9)
plt.rcParams.update(STYLE)

# %% [markdown]
# We train three networks on the 8×8 digits. They differ in their **seed**: other random initial weights,
# another order of the images. One network alone may be lucky; three show a mean and a deviation. We keep the
# initial networks too: near the end of the lesson we shall need them.

# %%
digits = data.digits()
SEEDS = (0, 1, 2)


def fit(net, epochs, seed, callbacks=()):
    """Train in place with a new Adam; return the history, one row an epoch."""
    optimizer = optim.Adam(net.parameters(), lr=0.003)
    settings = {"epochs": epochs, "seed": seed, "callbacks": callbacks, "progress": False}
    return train.fit(net, digits, optimizer=optimizer, **settings)


def accuracy(net):
    """The share of the 360 test images that the net names correctly."""
    return measure.evaluate(net, digits.test).accuracy


def mean(values):
    """Mean ± standard deviation over the seeds, in percent, as text."""
    return f"{100 * np.mean(values):5.1f} ± {100 * np.std(values, ddof=1):4.1f} %"


def plot_mean(ax, x, rows, line="o", **settings):
    """Draw the mean and the standard deviation of several curves; rows: one for each seed, shares of 1."""
    rows = 100 * np.array(rows)
    ax.errorbar(x, rows.mean(axis=0), rows.std(axis=0, ddof=1), fmt=line, ms=4, capsize=3, **settings)


initial = [models.lenet_300_100(image_size=8, rng=seed) for seed in SEEDS]  # 64 → 300 → 100 → 10
dense = [copy.deepcopy(net) for net in initial]
dense_histories = [fit(net, epochs=20, seed=seed) for net, seed in zip(dense, SEEDS)]
matrices = [name for name, parameter in dense[0].named_parameters() if parameter.data.ndim == 2]
n_weights = sum(dense[0].get(name).size for name in matrices)
print(f"{n_weights:,} weights in {', '.join(matrices)}; biases are few, and we leave them alone")
print("test accuracy, mean ± standard deviation of three seeds:", mean([accuracy(net) for net in dense]))

# %% [markdown]
# To delete a weight is to **prune** it. **Sparsity** is the share that is *removed*: sparsity 0.9 leaves one
# weight in ten. We delete in two ways: the **smallest** weights (the package's `prune`), or **random** ones.
# Then we train the survivors for three more epochs. This is called **fine-tuning**.


# %%
def pruned(net, sparsity, scope="global"):
    """A copy of the net without its smallest weights."""
    twin = copy.deepcopy(net)
    compress.prune(twin, sparsity, scope=scope)
    return twin


def pruned_at_random(net, sparsity, seed):
    """A copy of the net in which each weight was removed with the same probability."""
    twin, rng = copy.deepcopy(net), np.random.default_rng(seed)
    for name in matrices:
        twin.get(name).prune(rng.random(twin.get(name).shape) >= sparsity)
    return twin


def left_in(net):
    """How many weights of each matrix the layers read as something other than 0."""
    return {name: int(np.count_nonzero(net.get(name).read().data)) for name in matrices}


shares = [0.5, 0.8, 0.9, 0.95, 0.98]
opening = {(which, when): [] for which in ("smallest", "random") for when in ("at once", "fine-tuned")}
for share in shares:
    for which in ("smallest", "random"):
        pairs = zip(dense, SEEDS)
        nets = [pruned(n, share) if which == "smallest" else pruned_at_random(n, share, s) for n, s in pairs]
        opening[which, "at once"].append([accuracy(net) for net in nets])
        for net, seed in zip(nets, SEEDS):
            fit(net, epochs=3, seed=100 + seed)
        opening[which, "fine-tuned"].append([accuracy(net) for net in nets])

figure, ax = plt.subplots(figsize=(7.5, 3.8), layout="constrained")
for (which, when), rows in opening.items():
    colour, line = {"smallest": "C0", "random": "C3"}[which], {"at once": "o--", "fine-tuned": "o-"}[when]
    plot_mean(ax, range(5), np.transpose(rows), line, color=colour, label=f"{which}, {when}")
    print(f"{which:>8} {when:10}", "  ".join(f"{share:.0%}: {mean(row)}" for share, row in zip(shares, rows)))
ax.axhline(100 * np.mean([accuracy(net) for net in dense]), color="0.6", lw=1, zorder=0)
ax.text(4.1, 99, "dense", color="0.4", ha="right", fontsize=9)
ax.set(xticks=range(5), xticklabels=[f"{share:.0%}" for share in shares], ylim=(0, 108))
ax.set(xlabel="weights removed", ylabel="test accuracy, %")
ax.legend(frameon=False, fontsize=9, loc=(0.07, 0.46))
plt.show()

# %% [markdown]
# Read three things from the picture.
#
# 1. *Which* weights go is decisive. Without half of its weights, the net is nearly as good as before if they
#    are the smallest, and broken if they are random ones.
# 2. Fine-tuning repairs a lot. Without nine of ten weights, the net is at first clearly damaged. Three epochs
#    later it is again within about two points of the dense net.
# 3. There is an end. At 98 % even the best 1,004 weights cannot do it, at least not in this way. We come back
#    to that point.
#
# The bars are standard deviations over three seeds. They are long where a net is broken: how exactly it is
# broken is chance.
#
# ## By hand: what does one weight cost?
#
# Take a net of three weights, one input, and no bias:
#
#     y = w₁x₁ + w₂x₂ + w₃x₃          L = (y − t)²
#     w = (3, −0.5, 1)       x = (1, 2, 1)       t = 3
#
# So y = 3 − 1 + 1 = 3: it is trained perfectly, and L = 0. Now remove one weight, and look at the loss:
#
# | removed | magnitude | y becomes | L becomes |
# |---|---|---|---|
# | w₁ = 3 | 3 | 0 | 9 |
# | w₂ = −0.5 | 0.5 | 4 | 1 |
# | w₃ = 1 | 1 | 2 | 1 |
#
# The cost of a removal is called the **saliency** of the weight. The large weight costs most. But w₂ and w₃
# cost the same, although one is twice as large. Remember this; we shall need it in the last exercise.
#
# ## The formula
#
# To remove weight i is to change it by −wᵢ. Taylor's formula, to the second order, says what L does then:
#
#     change of L  ≈  − gᵢ wᵢ  +  ½ hᵢ wᵢ²             gᵢ = ∂L/∂wᵢ,  hᵢ = ∂²L/∂wᵢ²
#
# After training, gᵢ is about 0. What is left is ½ hᵢ wᵢ². This is the saliency of LeCun, Denker and Solla
# (1989), "Optimal Brain Damage". For our small net hᵢ = 2xᵢ², and the formula gives (wᵢxᵢ)²: 9, 1, 1. Exactly
# the table.
#
# For a large net, hᵢ is expensive. So most people pretend that **all hᵢ are alike**. Then the order of the
# saliencies is the order of |wᵢ|: **remove the smallest magnitudes**. This is *magnitude pruning*. It is an
# approximation, it costs nothing, and, as you have seen, it works well. When does it not? Later.
#
# Let us look at how small the smallest weights are. Left: all weights of one of our nets; those left of the
# threshold are the 90 %. Right: is a magnitude a good guess of the saliency? We remove 200 weights, each one
# alone, and look at the loss on the training images.

# %%
net = dense[0]
sizes = np.concatenate([abs(net.get(name).data).reshape(-1) for name in matrices])
threshold = np.quantile(sizes, 0.9)
rng = np.random.default_rng(0)
trial = copy.deepcopy(net)
before = measure.evaluate(net, digits.train, batch_size=2000).loss
weight = trial.get("fc3.weight").data  # (10, 100)
found = []
for place in rng.choice(weight.size, size=200, replace=False):
    without = weight.copy()
    without.flat[place] = 0
    trial.get("fc3.weight").data = without
    change = measure.evaluate(trial, digits.train, batch_size=2000).loss - before
    found.append((abs(weight.flat[place]), abs(change)))

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
counts, edges, bars = left.hist(sizes, bins=60)
for bar, edge in zip(bars, edges):
    bar.set_facecolor("C0" if edge >= threshold else "0.75")
left.axvline(threshold, color="C3", lw=1)
left.text(threshold + 0.01, counts.max() * 0.9, f"threshold {threshold:.2f}:\n10 % are larger", fontsize=9)
left.set(xlabel="magnitude |w|", ylabel="number of weights", title="all three layers")
magnitude, cost = np.array(found).T
right.loglog(magnitude, 1e3 * cost, ".", ms=4)
right.set(title="200 weights of the last layer", xlabel="magnitude |w|", xlim=(1e-3, 1))
right.set_ylabel("|change of the loss|, 1/1000 nats")
plt.show()
places = [np.argsort(np.argsort(values)) for values in (magnitude, cost)]  # 0: the smallest
rank = np.corrcoef(*places)[0, 1]
print(f"rank correlation of magnitude and |change of the loss|: {rank:.2f} (1 would be the same order)")

# %% [markdown]
# The magnitude is a guess, and a rough one: at one magnitude, the true costs differ by factors of ten and
# more. But it is right *on average*, and that is enough when thousands of weights are removed at a time.
#
# ## The slow loop
#
# This is the specification of a mask. **Keep** is True for a weight that stays.


# %%
def slow_keep(weight, sparsity):
    """Take out the smallest weight that is left, again and again. Slow, and hard to get wrong."""
    count = int(sparsity * weight.size)  # whole weights only, rounded down
    keep = [True] * weight.size
    for _ in range(count):
        smallest = None
        for i in range(weight.size):
            if keep[i] and (smallest is None or abs(weight.flat[i]) < abs(weight.flat[smallest])):
                smallest = i  # "<", not "≤": of equal weights the first in memory goes
        keep[smallest] = False
    return np.array(keep).reshape(weight.shape)


small = np.array([[0.7, -0.2, 0.1], [-0.9, 0.2, 0.4]])
print(slow_keep(small, 0.5))

# %% [markdown]
# Two details matter. **A count, or a threshold?** "Remove what is below 0.25" needs a good threshold for
# every net. "Remove half" means the same for every net. But a count has to be a whole number: here it is
# rounded down. **Ties.** There may be equal weights, and the count can end between them. In the example, −0.2
# and 0.2 are equal, and both go. If only one must go, it is the first in memory: row 0 before row 1, left
# before right. Then the same net gives the same mask on every machine.
#
# ### Exercise 9.1 · predict, then compute
#
#     w = [[0.3, −0.8, 0.1, −0.3],          sparsity = 0.45
#          [0.5, 0.05, −0.3, 0.9]]
#
# How many weights are removed? Which ones are kept? The package's function is switched off while your answer
# is checked, so take a pencil.


# %% exercise="9.1"
def predict():
    """The number of weights that are removed, and the mask: 2 rows of 4, True keeps. By hand."""
    # BEGIN SOLUTION
    n_removed = 3  # 0.45 · 8 = 3.6, rounded down
    keep = [[False, True, False, True], [True, False, True, True]]  # of three times 0.3, the first goes
    # INSTEAD
    n_removed = ...
    keep = ...
    # END SOLUTION
    return n_removed, keep


# %% check="9.1"
check("9.1")

# %% [markdown]
# ### Exercise 9.2 · the function
#
# Now without the slow loop: one sort is enough. `np.argsort(a, axis=None, kind="stable")` gives the positions
# in the flattened array from the smallest to the largest; *stable* means that equal ones stay in their order.
# Refuse with a `ValueError` a sparsity outside [0, 1), and weights that are NaN or infinite.


# %% exercise="9.2"
def magnitude_mask(weight, *, sparsity):
    """Choose which weights to keep: the largest in magnitude. True keeps; `sparsity` is the share removed."""
    ...


# %% check="9.2"
check("9.2")

# %% [markdown]
# `compress.prune` is a short loop over the layers of a model, and it calls `magnitude_mask`: yours, if it is
# right.

# %%
with yours("9.2"):
    net = pruned(dense[0], 0.5)
kept = left_in(net)
print(f"kept: {kept}, together {sum(kept.values()):,} of {n_weights:,}")
print(f"test accuracy: {accuracy(net):.1%}; of the dense net {accuracy(dense[0]):.1%}")

# %% [markdown]
# ## One list for all layers, or one for each?
#
# `scope="layer"` removes the same share of each layer. `scope="global"` puts all weights into one list:
# layers with large weights keep more. In the opening picture we pruned globally. Here are both, at once after
# pruning:

# %%
scopes = ("global", "layer")
for share in (0.8, 0.9):
    for scope in scopes:
        nets = [pruned(net, share, scope) for net in dense]
        kept = [f"{count / dense[0].get(name).size:.0%}" for name, count in left_in(nets[0]).items()]
        scores = mean([accuracy(net) for net in nets])
        print(f"{share:.0%} removed, {scope:6}: {scores} at once;   first net keeps {', '.join(kept)}")

# %% [markdown]
# The last numbers are the shares that the three layers keep, in the first net. Globally, the large middle
# layer pays, and the small last layer is spared. On average that was better for these nets; but at 90 % the
# nets differ so much that three of them prove little.
#
# But a global list compares the weights of *different layers*. Is that fair? With ReLU we can test it.
# Multiply the weights and biases of layer 1 by 50, and divide the weights of layer 2 by 50. Since relu(50·z)
# = 50·relu(z), the net computes **the same function**. Only its weights are written in other units.


# %%
def rescaled(net, factor):
    """The same function, in other units: layer 1 times the factor, layer 2 divided by it."""
    twin, factor = copy.deepcopy(net), np.float32(factor)
    for name, change in (("fc1.weight", factor), ("fc1.bias", factor), ("fc2.weight", 1 / factor)):
        twin.get(name).data = twin.get(name).data * change
    return twin


other = rescaled(dense[0], 50)
gap = abs(other(digits.test.images).numpy() - dense[0](digits.test.images).numpy()).max()
print(f"largest difference between the outputs of the two nets: {gap:.0e}")
fine = [0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9]
figure, axes = plt.subplots(1, 2, figsize=(8.5, 2.9), layout="constrained", sharey=True)
for ax, scope in zip(axes, scopes):
    for label, net, line in (("as trained", dense[0], "o-"), ("layer 1 × 50, layer 2 / 50", other, "s--")):
        scores = [100 * accuracy(pruned(net, share, scope)) for share in fine]
        ax.plot(100 * np.array(fine), scores, line, ms=4, label=label)
    ax.set(title=f'scope="{scope}"', xlabel="weights removed, %", ylim=(0, 104))
axes[0].set_ylabel("test accuracy, %")
axes[1].legend(frameon=False, fontsize=9, loc="lower left")
plt.show()
print("70 % removed globally, from the rescaled net; weights left:", left_in(pruned(other, 0.7)))

# %% [markdown]
# The same function, and one of the two dies: global pruning removed layers 2 and 3 to the last weight,
# because layer 1 was written in larger numbers. Layer by layer, both nets are pruned alike: a common factor
# does not change the order inside a layer. So global pruning is good *when the layers have comparable
# scales*, as after one usual training, and a dead layer is the first thing to look for when it fails.
#
# ## What the net still reads
#
# Each of the 300 units of layer 1 reads all 64 pixels. After pruning, how many units still read each pixel? A
# red cross marks a pixel that is the same in all training images; call it *dead*.

# %%
spread = digits.train.images.std(axis=0)[0]  # (8, 8)
never = spread == 0  # pixels that are the same in all training images
figure, axes = plt.subplots(1, 3, figsize=(8.5, 2.9), layout="constrained")
axes[0].imshow(spread, cmap="gray_r")
axes[0].set_title("how much a pixel varies")
for ax, share in zip(axes[1:], (0.5, 0.9)):
    keep = pruned(dense[0], share).get("fc1.weight").view(nn.Mask).keep  # (300, 64)
    readers = keep.sum(axis=0).reshape(8, 8)
    picture = ax.imshow(readers, cmap="viridis", vmin=0)
    figure.colorbar(picture, ax=ax, label="units that read it", shrink=0.8)
    ax.set_title(f"{share:.0%} removed")
    print(f"{share:.0%} removed; kept on dead pixels: {readers[never].sum()} of {300 * never.sum()} weights")
for ax in axes:
    ax.set(xticks=[], yticks=[])
    ax.plot(*np.argwhere(never).T[::-1], "rx")
plt.show()
moved = abs(dense[0].get("fc1.weight").data - initial[0].get("fc1.weight").data)[:, never.reshape(-1)].max()
print(f"in 20 epochs, the weights on the dead pixels moved by at most {moved}")

# %% [markdown]
# The dead pixels are white in *every* training image. Their weights always multiply 0, so their gradient is
# 0, and they have kept their random initial values. They are perfectly useless. And yet, at 50 %, magnitude
# pruning keeps more than half of them: some random initial values are larger than useful trained weights. At
# 90 % none is left: there the threshold is above every initial value of that layer. So a magnitude is not a
# proof of use.
#
# ## Removed is not the same as zero
#
# Now the most common mistake. A pruned net is trained again. Often pruning is only this one line:
#
# ```python
# weight.data = weight.data * keep          # done?
# ```
#
# And then training goes on. What does the optimizer know of it? Nothing. The gradient of such a weight is not
# 0: it says how to make the loss smaller, and usually that is "come back". So one might set the gradient to
# zero as well. But an optimizer with momentum remembers *old* gradients, and it moves the weight with these.
#
# The package does something else. A mask is a **view**: it stands between the parameter and the layers, and
# every layer *reads the weight through it*:
#
#     w_read = w · keep                   ∂L/∂w = ∂L/∂w_read · keep
#
# What the optimizer does to the hidden number w, no layer will ever see. Let us count. We train for 20 steps,
# remove 90 %, train for 40 steps, and count the removed weights that are read as something other than 0.


# %%
class Watch:
    """A callback: after step 20, prune in one of three ways; then count the removed weights that are back."""

    def __init__(self, way):
        self.way, self.keeps, self.back = way, {}, []

    def after_backward(self, run):
        if self.way == "gradient off":
            for name, keep in self.keeps.items():
                run.model.get(name).grad = run.model.get(name).grad * keep

    def after_step(self, run):
        if run.step == 20:
            self.keeps = compress.prune(run.model if self.way == "mask" else copy.deepcopy(run.model), 0.9)
            for name, keep in self.keeps.items():
                run.model.get(name).data = run.model.get(name).data * keep
        back = [run.model.get(name).read().data[~keep] != 0 for name, keep in self.keeps.items()]
        self.back.append(sum(int(part.sum()) for part in back))


makers = {
    "SGD": lambda p: optim.SGD(p, lr=0.05),
    "SGD, momentum 0.9": lambda p: optim.SGD(p, lr=0.05, momentum=0.9),
    "Adam": lambda p: optim.Adam(p, lr=0.003),
}
looks = {"zero once": ("C3", "-"), "mask": ("C0", "-"), "gradient off": ("C1", "--")}
n_removed = int(0.9 * n_weights)
figure, axes = plt.subplots(1, 3, figsize=(9.5, 2.9), layout="constrained", sharey=True)
for ax, (name, make) in zip(axes, makers.items()):
    for way, (colour, line) in looks.items():
        watch, net = Watch(way), copy.deepcopy(dense[0])
        train.fit(net, digits, epochs=3, optimizer=make(net.parameters()), callbacks=[watch], progress=False)
        ax.plot(100 * np.array(watch.back) / n_removed, line, color=colour, label=way)
        print(f"{name:18} {way:13} back after 1 step: {watch.back[20]:6,}   after 40: {watch.back[-1]:6,}")
    ax.axvline(19, color="0.7", lw=1, zorder=0)
    ax.set(title=name, xlabel="step", ylim=(-4, 100))
axes[0].set_ylabel("removed weights that are back, %")
axes[0].legend(frameon=False, fontsize=9, loc=(0.42, 0.28))
plt.show()
print(f"removed: {n_removed:,}")

# %% [markdown]
# After **one step**, more than half of all "pruned" weights are back. With plain SGD, it helps to switch the
# gradient off too. With momentum or Adam it does not: the memory of the optimizer brings them back. Only the
# mask holds, whatever the optimizer does. (Why not 100 % with "zero once"? Some weights read a pixel or a
# unit that is always 0: their gradient is 0.)
#
# ### Exercise 9.3 · the rule of a mask
#
# Write the rule: the value, and one pullback for each array. `keep` is not trained, so its pullback is
# `None`: the last line is `return ..., (grad_x, None)`.


# %% exercise="9.3"
def mask(x, keep):
    """Set the weights that are not kept to zero. x and keep (Booleans) have the same shape."""
    ...


# %% check="9.3"
check("9.3")

# %%
with yours("9.3"):
    net = pruned(dense[0], 0.9)
    fit(net, epochs=3, seed=100)
print(f"three epochs of Adam later, {sum(left_in(net).values()):,} weights are not zero: {accuracy(net):.1%}")

# %% [markdown]
# ## At once, in rounds, or gradually
#
# At 98 % one-shot pruning failed. **One-shot** means: prune once, then fine-tune. There are gentler ways:
#
# - **Iterative** pruning: prune a part, train, prune again, train, ... Here in four rounds; each keeps the
#   same share of what is left.
# - **Gradual** pruning: prune a little every few steps, *while* the net trains. Zhu and Gupta (2017) let the
#   sparsity rise from s_i to s_f along a cubic curve:
#
#       s(t) = s_f + (s_i − s_f) · (1 − progress)³          progress = (t − begin) / (end − begin)
#
# Much is removed early, when there are many useless weights. Little is removed late, when each weight counts.
#
# ### Exercise 9.4 · the cubic schedule
#
# Before `begin` the sparsity is `initial`; after `end` it is `final`.


# %% exercise="9.4"
def cubic_sparsity(step, begin, end, initial, final):
    """The sparsity at a step of training; ValueError unless begin < end."""
    ...


# %% check="9.4"
check("9.4")

# %% [markdown]
# Every way below gets the same 12 epochs (240 steps) after the dense training, and ends with the same 1,004
# weights. `cubic` makes a plan, {step: sparsity}, out of `cubic_sparsity`: yours, if it is right. `PruneAt` is a
# callback of `train.fit` that follows the plan.

# %%
FINAL, EPOCHS = 0.98, 12
steps = np.arange(241)
ways = {
    "one-shot": np.full(241, FINAL),
    "iterative": 1 - (1 - FINAL) ** (np.minimum(1 + steps // 60, 4) / 4),
    "gradual, cubic": np.array([package_cubic_sparsity(step, 0, 160, 0.0, FINAL) for step in steps]),
}
results = {way: [] for way in ways}
with yours("9.4"):
    for seed in SEEDS:
        net = pruned(dense[seed], FINAL)
        fit(net, EPOCHS, seed=100 + seed)
        results["one-shot"].append(net)

        net = copy.deepcopy(dense[seed])
        for turn in (1, 2, 3, 4):
            compress.prune(net, 1 - (1 - FINAL) ** (turn / 4))
            fit(net, EPOCHS // 4, seed=100 + seed + 10 * turn)
        results["iterative"].append(net)

        net = copy.deepcopy(dense[seed])
        fit(net, EPOCHS, seed=100 + seed, callbacks=[PruneAt(cubic(FINAL, begin=0, end=160))])
        results["gradual, cubic"].append(net)

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.1), layout="constrained")
for way, line in zip(ways, ("-", "--", "-")):
    left.step(steps, 100 * ways[way], line, where="post", label=way)
left.set(xlabel="step after the dense training", ylabel="weights removed, %", ylim=(0, 104))
left.legend(frameon=False, fontsize=9, loc="lower right")
scores = {way: [accuracy(net) for net in nets] for way, nets in results.items()}
for place, (way, values) in enumerate(scores.items()):
    plot_mean(right, [place], np.transpose([values]))
    right.plot(place + np.array([0.1, 0.15, 0.2]), 100 * np.array(values), "k.", ms=4)
    print(f"{way:15} {mean(values)}   weights left: {[sum(left_in(net).values()) for net in results[way]]}")
right.set(xticks=range(3), xticklabels=list(scores), xlim=(-0.5, 2.5), ylim=(50, 100))
right.set(ylabel="test accuracy, %", title="dots are seeds")
plt.show()

# %% [markdown]
# The same number of weights, the same number of epochs, and a very different net. One-shot is clearly the
# worst. With the gradual schedule one weight in fifty is left, and the net still names about nine of ten
# digits. Between iterative and gradual, three seeds do not decide.
#
# ## Lottery tickets
#
# If so few weights are enough at the end, why not *begin* with few? Sparse nets that are trained from the
# start usually do worse. Frankle and Carbin (2019) found an exception. They trained a dense net, pruned it,
# and then **rewound** the survivors to the values that they had *before* training. Such a sparse net learned
# well, alone. It was, they said, a **winning ticket**: among all the random initial weights, a lucky part.
#
# We do it with 5 % of the weights: a ticket, and two **controls**. A control shares all with the ticket but
# one thing, so that we see what this one thing is worth. All three have *the same mask* and the same
# training.
#
# - **ticket**: the survivors get their own initial values back;
# - **shuffled**: they get these values too, but exchanged among the survivors of their layer;
# - **new random**: they get the values of another, freshly made net.


# %%
def candidate(seed, how):
    """A sparse, untrained net: the mask of the trained one, and one of three kinds of initial values."""
    net = copy.deepcopy(initial[seed]) if how != "new random" else models.lenet_300_100(8, rng=1000 + seed)
    rng = np.random.default_rng(seed)
    for name in matrices:
        parameter, keep = net.get(name), pruned(dense[seed], 0.95).get(name).view(nn.Mask).keep
        if how == "shuffled":
            values = parameter.data.copy()
            values[keep] = rng.permutation(values[keep])
            parameter.data = values
        parameter.prune(keep)
    return net


curves = {"dense": np.array([[row["val_accuracy"] for row in h[:10]] for h in dense_histories])}
tested = {}
for how in ("ticket", "shuffled", "new random"):
    nets = [candidate(seed, how) for seed in SEEDS]
    histories = [fit(net, epochs=10, seed=seed) for net, seed in zip(nets, SEEDS)]
    curves[how] = np.array([[row["val_accuracy"] for row in history] for history in histories])
    tested[how] = [accuracy(net) for net in nets]

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained", width_ratios=(3, 2))
epochs = np.arange(1, 11)
for (how, rows), colour in zip(curves.items(), ("0.5", "C0", "C1", "C3")):
    centre, spread = 100 * rows.mean(axis=0), 100 * rows.std(axis=0, ddof=1)
    left.plot(epochs, centre, "o-", ms=3, color=colour, label=how)
    left.fill_between(epochs, centre - spread, centre + spread, color=colour, alpha=0.15, lw=0)
left.set(xlabel="epoch", ylabel="validation accuracy, %", ylim=(0, 104), title="how fast they learn")
left.legend(frameon=False, fontsize=9, loc="lower right")
for place, ((how, values), colour) in enumerate(zip(tested.items(), ("C0", "C1", "C3"))):
    plot_mean(right, [place], np.transpose([values]), color=colour)
    right.plot(place + np.array([0.1, 0.15, 0.2]), 100 * np.array(values), "k.", ms=4)
    print(f"{how:11} epoch 5, validation: {mean(curves[how][:, 4])}   epoch 10, test: {mean(values)}")
    if how != "ticket":
        ahead = int((np.array(tested["ticket"]) > values).sum())
        print(f"            on the test images, the ticket is ahead of it in {ahead} of 3 seeds")
right.set(xticks=range(3), xticklabels=list(tested), xlim=(-0.5, 2.5), ylim=(80, 100))
right.set(ylabel="test accuracy, %", title="after 10 epochs; dots are seeds")
plt.show()

# %% [markdown]
# What may we conclude, and what not?
#
# - The ticket learns clearly faster than both controls, and after 10 epochs it is still ahead. The mask is
#   the same, so here the *initial values* matter.
# - The shuffled net has exactly the ticket's numbers, in other places. It is no better than new random
#   numbers. So the size of the survivors' initial values does not explain it. It matters *which* weight has
#   *which* value.
# - The ticket is not as fast as the dense net, and we needed a dense training to find it. Nothing was saved.
# - Three seeds, one small net, one optimizer, one learning rate. With 20 epochs in place of 10 we found a
#   smaller gap. Liu et al. (2019) compared on larger nets, and found that with the best learning rate the
#   ticket's initial values brought *no* gain over random ones. The question is open enough for you to try:
#   change the 10 epochs.
#
# ## The file
#
# Nine of ten weights are gone. Is the file ten times smaller? We save three nets, look at the files' real
# sizes, **load each file again**, and measure what was loaded.

# %%
tuned = pruned(dense[0], 0.9)
fit(tuned, epochs=3, seed=100)
written = copy.deepcopy(tuned)
for parameter in written.parameters():
    parameter.bake()  # the same zeros, now plain numbers: the mask is forgotten
reports = {}
with tempfile.TemporaryDirectory() as folder:
    for name, net in {"dense": dense[0], "zeros, no mask": written, "masked": tuned}.items():
        path = os.path.join(folder, "net.tiny")
        files.save(net, path)
        parts = {"weights": 0, "positions": 0, "biases and header": 0}
        for tensor, _, part, n_bytes in files.ledger(path):
            kind = "weights" if tensor in matrices else "biases and header"
            parts["positions" if part == "positions" else kind] += n_bytes
        reports[name] = (os.path.getsize(path), parts, measure.evaluate(files.load(path), digits.test))

for name, (n_bytes, parts, quality) in reports.items():
    print(f"{name:15} {n_bytes:8,} bytes, {reports['dense'][0] / n_bytes:4.1f} times smaller", end="   ")
    print(f"accuracy of the loaded net: {quality.accuracy:.1%} ± {quality.standard_error:.1%}")
print("masked, against dense:", measure.compare(reports["dense"][2], reports["masked"][2]))

figure, ax = plt.subplots(figsize=(8, 2.4), layout="constrained")
edge = np.zeros(3)
for kind, colour in (("weights", "C0"), ("positions", "C1"), ("biases and header", "0.6")):
    widths = np.array([parts[kind] for _, parts, _ in reports.values()]) / 1000
    ax.barh(list(reports), widths, left=edge, color=colour, label=kind)
    edge += widths
ax.invert_yaxis()
ax.set(xlabel="size of the file, thousand bytes", xlim=(0, 250))
ax.legend(frameon=False, fontsize=9, loc="lower right")
plt.show()

# %% [markdown]
# A zero takes four bytes, like every other number: the file with zeros is as large as the dense one. `save`
# stores a masked weight **sparsely**: the survivors, and where they stand. The positions are not free, so ten
# times fewer weights are not ten times fewer bytes. Lesson 10 is about that. (The ± here is the standard
# error of an accuracy on 360 images; the last line compares both nets on the *same* images.)
#
# ## Wrong ways
#
# ### Wrong way 1: zero random rows, and call it pruning
#
# The recipe: choose 90 % of the rows of each matrix at random, write zeros, train again, and print "90 %
# pruned, accuracy recovered". We run it, and beside it magnitude pruning with a mask.


# %%
def rows_zeroed(net, sparsity, seed):
    """The wrong way: zeros in random rows, and no mask."""
    twin, rng = copy.deepcopy(net), np.random.default_rng(seed)
    for name in matrices:
        weight = twin.get(name).data.copy()
        weight[rng.choice(len(weight), int(sparsity * len(weight)), replace=False)] = 0
        twin.get(name).data = weight
    return twin


table = {"random rows, no mask": [], "smallest, masked": []}
for seed in SEEDS:
    for way, net in zip(table, (rows_zeroed(dense[seed], 0.9, seed), pruned(dense[seed], 0.9))):
        row = [accuracy(net)]
        fit(net, epochs=3, seed=100 + seed)
        table[way].append([*row, accuracy(net), 1 - sum(left_in(net).values()) / n_weights])

questions = ("accuracy at once", "after 3 more epochs", "weights still zero then")
print(" " * 22, *(f"{question:25}" for question in questions))
for way, rows in table.items():
    print(f"{way:22}", *(f"{mean(values):25}" for values in zip(*rows)))

# %% [markdown]
# Four things are wrong with it. Rows were chosen without looking at them. A row of the last layer is a
# *digit*: nine of ten digits lost all their weights. What was "recovered" afterwards was recovered because
# nearly half of the removed weights **grew back**: the net that is reported is not the net that was pruned.
# And the file does not shrink: it holds zeros as numbers. If rows (whole units) are to go, they must go from
# the layer that reads them as well; that is lesson 11.
#
# ### Wrong way 2: the wrong end of the list
#
# A sort has two ends, and `order[-n:]` instead of `order[:n]` is quickly written. The program runs. How much
# can one remove then?

# %%
few = [0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3]
choices = {
    "the smallest (right)": ("C0", lambda w: w),
    "random": ("0.5", lambda w: np.random.default_rng(w.size).random(w.shape)),
    "the largest (wrong end)": ("C3", lambda w: 1 / (abs(w) + 1e-6)),
}


def without_smallest(net, share, score):
    """Accuracy without the weights of smallest score, layer by layer; the package's function chooses."""
    twin = copy.deepcopy(net)
    for name in matrices:
        twin.get(name).prune(compress.magnitude_mask(score(twin.get(name).data), sparsity=share))
    return accuracy(twin)


figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
for label, (colour, score) in choices.items():
    rows = np.array([[without_smallest(net, share, score) for share in few] for net in dense])
    plot_mean(ax, 100 * np.array(few), rows, "o-", color=colour, label=label)
    print(f"{label:24} 5 % removed: {mean(rows[:, 3])}   30 %: {mean(rows[:, 6])}")
ax.set(xlabel="weights removed, %", ylabel="test accuracy, %", ylim=(0, 104))
ax.legend(frameon=False, fontsize=9, loc="lower left")
plt.show()

# %% [markdown]
# Every twentieth weight, from the wrong end, costs more than half of all weights from the right end. This is
# also a good *test* of any measure of importance: reverse it, and see whether the damage grows. If it makes
# no difference, the measure measures nothing.
#
# ## When magnitude itself is the wrong way
#
# A friend predicts the price of flats, with one linear layer: y = w₁ · area + w₂ · rooms + w₃ · garden. The
# data are made for this lesson. The friend prunes one of the three weights, by magnitude.

# %%
rng = np.random.default_rng(9)
area, rooms, garden = rng.normal(100, 30, 400), rng.integers(1, 6, 400), rng.integers(0, 2, 400)
flats = np.stack([area, rooms, garden], axis=1)  # in m²; a number; 0 or 1
price = flats @ [0.03, 0.1, 0.4] + rng.normal(0, 0.1, 400)  # in 100,000 euros
fitted = np.linalg.lstsq(flats, price, rcond=None)[0]
errors = []
for i in range(3):
    without = np.where(np.arange(3) == i, 0.0, fitted)
    errors.append(np.sqrt(((flats @ without - price) ** 2).mean()))
chosen = int(np.argmin(compress.magnitude_mask(fitted, sparsity=0.34)))
features = ("area, m²", "rooms", "garden")
print(f"weights: {fitted.round(3)}; pruned by magnitude: {features[chosen]!r}")
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.6), layout="constrained")
left.bar(features, abs(fitted), color=["C3" if i == chosen else "C0" for i in range(3)])
left.set(title="magnitude (red: removed)", ylabel="|w|")
bars = right.bar(features, errors, color=["C3" if i == chosen else "C0" for i in range(3)])
right.bar_label(bars, fmt="%.2f", fontsize=9)
right.set(title="error after removing this one alone", ylabel="100,000 euros, RMS", ylim=(0, 3.6))
plt.show()

# %% [markdown]
# Of the three, magnitude removed the one that matters most. The right panel is the truth.
#
# ### Exercise 9.5 · explain this failure
#
# Give the smallest example you can: three weights w and a few inputs x (one per row) of y = w₁x₁ + w₂x₂ +
# w₃x₃, such that removing the weight of *smallest* magnitude changes y at least ten times as much (in the
# mean square) as removing the cheapest of the other two. Then say in one sentence what the friend should have
# looked at.


# %% exercise="9.5"
def witness():
    """Weights (3,) and inputs (n, 3) for which the smallest weight is not the least important."""
    w = np.array([..., ..., ...])
    x = np.array([[..., ..., ...]])
    return w, x


# %% check="9.5"
check("9.5")

# %% [markdown]
# The inputs of a hidden layer are units, and there it is the same: some are large, others are nearly always
# 0. A magnitude does not see it; measures that look at gradients or at the units' outputs do. One thing is
# always in your hand: **scale the inputs alike before you prune by magnitude**.
#
# ## In PyTorch
#
# ```python
# from torch.nn.utils import prune
# prune.l1_unstructured(layer, "weight", amount=0.9)   # the smallest 90 % of one layer
# # one list for both layers:
# prune.global_unstructured([(fc1, "weight"), (fc2, "weight")], prune.L1Unstructured, amount=0.9)
# ```
#
# It works like the view here: the trained parameter is now called `weight_orig`, the mask is the buffer
# `weight_mask`, and `weight` is their product, made anew before each forward pass. `prune.remove(layer,
# "weight")` writes the zeros into the weight and forgets the mask: after it, a training step brings weights
# back.
#
# ## Questions
#
# 1. Weight decay adds λw to the gradient of w. Can weight decay alone bring back a weight that was set to
#    zero?
# 2. With the mask, the hidden number w of a removed weight may go on changing. Why is that harmless? When
#    does it begin to matter?
# 3. You prune to 50 %, then call `prune` with 0.8. Must the first mask be part of the second? Why is it here?
# 4. Why is it not enough to compare the ticket with a net of another, random *mask*?
#
# BEGIN SOLUTION
# **Answers.**
#
# 1. No: at w = 0 it adds λ · 0 = 0. What brings weights back is the gradient of the loss, and a memory of it.
# 2. No layer reads it. It matters when the mask is changed so that the weight returns: then an old,
#    meaningless number would be read. The package lets weights return at 0, with an empty memory of the
#    optimizer.
# 3. In general a new ranking could choose others. Here a removed weight is read as 0, so it is the smallest,
#    and goes again first.
# 4. Then two things differ, the mask and the values. If it loses, one does not know which of them is the
#    reason.
# END SOLUTION
#
# ## Sources
#
# - Y. LeCun, J. S. Denker and S. A. Solla (1989), "Optimal Brain Damage", *Advances in Neural Information
#   Processing Systems* 2 (the saliency ½ h w²).
# - S. Han, J. Pool, J. Tran and W. J. Dally (2015), "Learning both Weights and Connections for Efficient
#   Neural Networks", arXiv:1506.02626 (train, prune, train again).
# - M. Zhu and S. Gupta (2017), "To prune, or not to prune: exploring the efficacy of pruning for model
#   compression", arXiv:1710.01878 (the cubic schedule).
# - J. Frankle and M. Carbin (2019), "The Lottery Ticket Hypothesis: Finding Sparse, Trainable Neural
#   Networks", ICLR, arXiv:1803.03635.
# - Z. Liu, M. Sun, T. Zhou, G. Huang and T. Darrell (2019), "Rethinking the Value of Network Pruning", ICLR,
#   arXiv:1810.05270.
#
# **Read on in the source:** `tinyopt/compress/prune.py` is all of this lesson in about a hundred lines; the
# view through which layers read is `Mask` in `tinyopt/nn/views.py`; `Parameter.prune` in
# `tinyopt/nn/parameter.py` says what happens when a weight returns.

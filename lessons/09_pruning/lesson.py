"""Lesson 9, pruning weights: the source of lesson.ipynb; see tinyopt/course/percent.py for its format."""

# %% [markdown]
# # 9 · Pruning: delete nine of ten weights
#
# **The question.** A trained network has 50,200 weights. We delete 45,180 of them: nine of ten, for ever.
# What happens to its accuracy? And does it matter *which* ones we delete?
#
# - **You need:** lessons 1 to 3 (gradients, SGD, a network of two hidden layers); a little of lesson 4
#   (momentum).
# - **You will write:** a mask by hand, `magnitude_mask`, the rule of `mask`, `cubic_sparsity`, a small data
#   set on which pruning goes wrong, and `obs`, the score of Optimal Brain Surgeon.
# - **Time:** about 130 minutes.
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
from tinyopt.compress import importance
from tinyopt.compress.importance import second_order
from tinyopt.compress.importance.second_order import damped
from tinyopt.compress.lottery import Ticket
from tinyopt.compress.prune import cubic_sparsity as package_cubic_sparsity
from tinyopt.compress.schedules import PruneAt, cubic
from tinyopt.course import STYLE, start

check, hint, reveal, yours = start(9)
plt.rcParams.update(STYLE)

# %% [markdown]
# We train three networks on the 8×8 digits. They differ in their **seed**: other random initial weights,
# another order of the images. One network alone may be lucky; three show a mean and a deviation. We keep an
# initial network too.

# %%
digits = data.digits()
SEEDS = (0, 1, 2)


def fit(net, epochs, seed, callbacks=(), lr=0.003, schedule=None):
    """Train in place with a new Adam; return the history, one row an epoch."""
    optimizer = optim.Adam(net.parameters(), lr=lr)
    settings = {"epochs": epochs, "seed": seed, "callbacks": callbacks, "schedule": schedule}
    return train.fit(net, digits, optimizer=optimizer, **settings, progress=False)


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


initial = models.lenet_300_100(image_size=8, rng=0)  # 64 → 300 → 100 → 10
dense = [models.lenet_300_100(image_size=8, rng=seed) for seed in SEEDS]
for net, seed in zip(dense, SEEDS):
    fit(net, epochs=20, seed=seed)
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


shares = [0.5, 0.9, 0.95, 0.98]
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
    plot_mean(ax, range(4), np.transpose(rows), line, color=colour, label=f"{which}, {when}")
    print(f"{which:>8} {when:10}", "  ".join(f"{share:.0%}: {mean(row)}" for share, row in zip(shares, rows)))
ax.axhline(100 * np.mean([accuracy(net) for net in dense]), color="0.6", lw=1, zorder=0)
ax.text(3.1, 99, "dense", color="0.4", ha="right", fontsize=9)
ax.set(xticks=range(4), xticklabels=[f"{share:.0%}" for share in shares], ylim=(0, 108))
ax.set(xlabel="weights removed", ylabel="test accuracy, %")
ax.legend(frameon=False, fontsize=9, loc=(0.07, 0.46))
plt.show()

# %% [markdown]
# Read three things from the picture.
#
# 1. *Which* weights go is decisive. Without half of its weights, the net is nearly as good as before if they
#    are the smallest, and broken if they are random ones.
# 2. Fine-tuning repairs a lot. Without nine of ten weights, the net is at first clearly damaged. Three
#    epochs later it is again within about two points of the dense net.
# 3. There is an end. At 98 % even the best 1,004 weights cannot do it, at least not in this way. We come
#    back to that point.
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
# cost the same, although one is twice as large. Remember this; we shall need it in exercise 9.5.
#
# ## The formula
#
# To remove weight i is to change it by −wᵢ. Taylor's formula, to the second order, says what L does then:
#
#     change of L  ≈  − gᵢ wᵢ  +  ½ hᵢ wᵢ²             gᵢ = ∂L/∂wᵢ,  hᵢ = ∂²L/∂wᵢ²
#
# After training, gᵢ is about 0. What is left is ½ hᵢ wᵢ². This is the saliency of LeCun, Denker and Solla
# (1989), "Optimal Brain Damage". For our small net hᵢ = 2xᵢ², and the formula gives (wᵢxᵢ)²: 9, 1, 1.
# Exactly the table.
#
# For a large net, hᵢ is expensive. So most people pretend that **all hᵢ are alike**. Then the order of the
# saliencies is the order of |wᵢ|: **remove the smallest magnitudes**. This is *magnitude pruning*. It is an
# approximation, it costs nothing, and, as you have seen, it works well. When does it not? Later.
#
# Let us look at how small the smallest weights are. Left: all weights of one of our nets; those left of the
# threshold are the 90 %. Right: is a magnitude a good guess of the saliency? We remove 80 weights, each one
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
single = rng.choice(weight.size, size=80, replace=False)  # 80 of the 1,000 weights, by place
for place in single:
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
found = np.array(found)
read = found[:, 1] > 0  # the others read a unit that is 0 for every image: they cost nothing at all
single, (magnitude, found_cost) = single[read], found[read].T
right.loglog(magnitude, 1e3 * found_cost, ".", ms=4)
right.set(title="single weights of the last layer", xlabel="magnitude |w|", xlim=(1e-3, 1))
right.set_ylabel("|change of the loss|, 1/1000 nats")
plt.show()


def rank_correlation(first, second):
    """1: both put the weights in the same order; 0: the orders have nothing to do with each other."""
    return np.corrcoef(*[np.argsort(np.argsort(values)) for values in (first, second)])[0, 1]


print(f"rank correlation of magnitude and cost: {rank_correlation(magnitude, found_cost):.2f}")

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
# rounded down. **Ties.** There may be equal weights, and the count can end between them. In the example,
# −0.2 and 0.2 are equal, and both go. If only one must go, it is the first in memory: row 0 before row 1,
# left before right. Then the same net gives the same mask on every machine.
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
# Now without the slow loop: one sort is enough. `np.argsort(a, axis=None, kind="stable")` gives the
# positions in the flattened array from the smallest to the largest; *stable* means that equal ones stay in
# their order. Refuse with a `ValueError` a sparsity outside [0, 1), and weights that are NaN or infinite.


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
# layers with large weights keep more. In the opening picture we pruned globally. In these nets the large
# middle layer pays then, and the small last layer is spared.
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
for ax, scope in zip(axes, ("global", "layer")):
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
# Each of the 300 units of layer 1 reads all 64 pixels. After pruning, how many units still read each pixel?
# A red cross marks a pixel that is the same in all training images; call it *dead*.

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
moved = abs(dense[0].get("fc1.weight").data - initial.get("fc1.weight").data)[:, never.reshape(-1)].max()
print(f"in 20 epochs, the weights on the dead pixels moved by at most {moved}")

# %% [markdown]
# The dead pixels are white in *every* training image: their weights always multiply 0, have gradient 0, and
# keep their random initial values. They are perfectly useless. And yet, at 50 %, magnitude pruning keeps
# more than half of them: some random initial values are larger than useful trained weights. At 90 % none is
# left: there the threshold is above every initial value of that layer. So a magnitude is not a proof of use.
#
# ## Removed is not the same as zero
#
# Now the most common mistake. A pruned net is trained again. Often pruning is only this one line:
#
# ```python
# weight.data = weight.data * keep          # done?
# ```
#
# And then training goes on. What does the optimizer know of it? Nothing. The gradient of such a weight is
# not 0: it says how to make the loss smaller, and usually that is "come back". So one might set the gradient
# to zero as well. But an optimizer with momentum remembers *old* gradients, and it moves the weight with
# these.
#
# The package does something else. A mask is a **view**: it stands between the parameter and the layers, and
# every layer *reads the weight through it*:
#
#     w_read = w · keep                   ∂L/∂w = ∂L/∂w_read · keep
#
# What the optimizer does to the hidden number w, no layer will ever see. Let us count. We train for 20
# steps, remove 90 %, train for 40 steps, and count the removed weights that are read as something other than
# 0.


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
# Much is removed early, when there are many useless weights. Little is removed late, when each weight
# counts.
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
# Every way below gets the same 8 epochs (160 steps) after the dense training, and ends with the same 1,004
# weights. `cubic` makes a plan, {step: sparsity}, out of `cubic_sparsity`: yours, if it is right. `PruneAt`
# is a callback of `train.fit` that follows the plan.

# %%
FINAL, EPOCHS = 0.98, 8
steps = np.arange(161)
ways = {
    "one-shot": np.full(161, FINAL),
    "iterative": 1 - (1 - FINAL) ** (np.minimum(1 + steps // 40, 4) / 4),
    "gradual, cubic": np.array([package_cubic_sparsity(step, 0, 110, 0.0, FINAL) for step in steps]),
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
        fit(net, EPOCHS, seed=100 + seed, callbacks=[PruneAt(cubic(FINAL, begin=0, end=110))])
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
right.set(xticks=range(3), xticklabels=list(scores), xlim=(-0.5, 2.5), ylim=(30, 100))
right.set(ylabel="test accuracy, %", title="dots are seeds")
plt.show()

# %% [markdown]
# The same number of weights, the same number of epochs, and a very different net. One-shot is clearly the
# worst. In rounds or gradually, one weight in fifty is enough for about eight of ten digits. Between
# iterative and gradual, three seeds do not decide.
#
# ## Lottery tickets
#
# If so few weights are enough at the end, why not *begin* with few? Sparse nets that are trained from the
# start usually do worse. Frankle and Carbin (2019) found an exception. They trained a dense net, pruned it,
# and then **rewound** the survivors to the values that they had *before* training. Such a sparse net learned
# well, alone. It was, they said, a **winning ticket**: among all the random initial weights, a lucky part.
#
# We do it with 20 % and with 5 % of the weights, on three seeds. `compress.find_ticket` trains a net, prunes
# it and keeps a `Ticket`: the mask, and the state of the run at an early step (here: before the first). A
# ticket is worth only what it has more than its **controls**. A control shares all with it but one thing.
# All get the same training; the question is what stays the same:
#
# | | mask | initial values of the survivors |
# |---|---|---|
# | **ticket** | of the trained net | their own |
# | **shuffled** | the same | the same numbers, exchanged among the survivors of their layer |
# | **new values** (`Ticket.control`) | the same | of another, freshly made net |
# | **random mask** | other places, as many in each layer | the net's own |


# %%
def fresh(seed, shuffle=None, places=None):
    """An untrained net; `shuffle`: masks in which values are exchanged; `places`: masks to put anywhere."""
    net, rng = models.lenet_300_100(8, rng=seed), np.random.default_rng(seed)
    for name, keep in (shuffle or {}).items():
        values = net.get(name).data.copy()
        values[keep] = rng.permutation(values[keep])
        net.get(name).data = values
    for name, keep in (places or {}).items():
        net.get(name).prune(rng.permutation(keep.reshape(-1)).reshape(keep.shape))
    return net


arms = ("ticket", "shuffled", "new values", "random mask")
curves, tested = {}, {}
for seed in SEEDS:

    def learn(net, callbacks=()):
        """One training of this seed: always the same batches, and a new optimizer."""
        history = fit(net, 7, seed, callbacks)
        return [row["val_accuracy"] for row in history], accuracy(net)

    trained = fresh(seed)
    ticket = compress.find_ticket(trained, learn, 0.8)
    smaller = Ticket(ticket.state, compress.prune(trained, 0.95))  # the same training, and a smaller mask
    for share, ticket in ((0.8, ticket), (0.95, smaller)):
        starts = {
            "ticket": (fresh(seed), [ticket]),  # the callback sets the state and the mask
            "shuffled": (ticket.control(fresh(seed, shuffle=ticket.masks)), []),
            "new values": (ticket.control(fresh(1000 + seed)), []),
            "random mask": (fresh(seed, places=ticket.masks), []),
        }
        for arm in arms if share == 0.95 else ("ticket", "new values"):
            curve, score = learn(*starts[arm])
            curves.setdefault((share, arm), []).append(curve)
            tested.setdefault((share, arm), []).append(score)

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.3), layout="constrained")
epochs = np.arange(1, 8)
for arm, colour in zip(arms, ("C0", "C1", "C3", "0.5")):
    rows = 100 * np.array(curves[0.95, arm])
    left.plot(epochs, rows.mean(axis=0), "o-", ms=3, color=colour, label=arm)
    left.fill_between(epochs, *(rows.mean(axis=0) + k * rows.std(axis=0, ddof=1) for k in (-1, 1)),
                      color=colour, alpha=0.15, lw=0)  # fmt: skip
left.set(xlabel="epoch", ylabel="validation accuracy, %", ylim=(0, 104), title="95 % removed")
left.legend(frameon=False, fontsize=9, loc="lower right")
versus = [(0.8, "new values"), *((0.95, arm) for arm in arms[1:])]
for place, (share, arm) in enumerate(versus):
    ahead = np.array(tested[share, "ticket"]) - tested[share, arm]
    plot_mean(right, [place], ahead[:, None], color="C0")
    right.plot(np.full(len(ahead), place + 0.2), 100 * ahead, "k.", ms=4)
    print(f"{share:.0%} removed: ticket {mean(tested[share, 'ticket'])}", end=", ")
    print(f"{arm:11} {mean(tested[share, arm])}; ahead by {mean(ahead)}, in {(ahead > 0).sum()} of 3 seeds")
right.axhline(0, color="0.6", lw=1, zorder=0)
right.set(xticks=range(4), xticklabels=[f"{arm}\n{share:.0%}" for share, arm in versus], xlim=(-0.5, 3.6))
right.tick_params(axis="x", labelsize=8)
right.set(ylabel="points ahead, test accuracy", title="ticket minus control; dots are seeds")
plt.show()

# %% [markdown]
# What may we conclude, and what not?
#
# - *How far* the ticket is ahead depends on the control. Against a random mask it is far ahead; but there
#   two things differ, the mask and the values. With the same mask and new values the gap is smaller, and
#   still clear.
# - **Shuffled** is the hard one: the ticket's own numbers, in other places. Look at the dots: three seeds do
#   not decide whether the ticket beats it. So a large part of what looked like luck is only this: pruning
#   kept weights that are large now, and these began large.
# - At 80 % the gap over new values is a point or two. Whoever shows only 95 % shows the largest number.
# - The ticket needed a whole dense training to be found. Nothing was saved.
# - One small net, seven epochs. The ticket learns faster, so with fewer epochs its lead is larger. Liu et
#   al. (2019) found on larger nets that with the best learning rate the ticket's values brought *no* gain
#   over random ones. Try 15 epochs, more seeds, or `find_ticket(..., step=20)`, which goes back to step 20
#   and not to 0.
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
with tempfile.TemporaryDirectory() as folder:
    for name, net in {"dense": dense[0], "zeros, no mask": written, "masked": tuned}.items():
        path = os.path.join(folder, "net.tiny")
        files.save(net, path)
        quality = measure.evaluate(files.load(path), digits.test)
        n_positions = sum(n_bytes for _, _, part, n_bytes in files.ledger(path) if part == "positions")
        print(f"{name:15} {os.path.getsize(path):8,} bytes, {n_positions:5,} of them for positions;", end=" ")
        print(f"accuracy of the loaded net: {quality.accuracy:.1%} ± {quality.standard_error:.1%}")

# %% [markdown]
# A zero takes four bytes, like every other number: the file with zeros is as large as the dense one. `save`
# stores a masked weight **sparsely**: the survivors, and where they stand. The positions are not free, so
# ten times fewer weights are not ten times fewer bytes. Lesson 10 is about that. (The ± here is the standard
# error of an accuracy on 360 images.)
#
# ## Wrong ways
#
# ### Wrong way 1: masks that regrow
#
# The recipe: write zeros, train on, and print "95 % pruned, accuracy recovered". Four variants: zeros in
# nineteen of twenty *rows*, at random; zeros in the smallest weights, once; the same zeros again after every
# epoch, "to be safe"; and the mask. All train three epochs by SGD with momentum and weight decay. Two
# numbers tell them apart: how many weights *are* zero when the accuracy is measured, and the accuracy
# **after the zeros are put back**, which is that of the net that was promised.


# %%
class ZeroAgain:
    """A callback: write zeros where a mask says so, before training, and after each epoch if asked."""

    def __init__(self, keeps, every_epoch=False):
        self.keeps, self.every_epoch = keeps, every_epoch

    def before_fit(self, run):
        for name, keep in self.keeps.items():
            run.model.get(name).data = run.model.get(name).data * keep

    def after_epoch(self, run):
        if self.every_epoch:
            self.before_fit(run)


ways = ("random rows, zeros once", "smallest, zeros once", "smallest, every epoch", "smallest, masked")
table = {way: [] for way in ways}
for seed in SEEDS:
    for way, rows in table.items():
        net = pruned(dense[seed], 0.95) if "masked" in way else copy.deepcopy(dense[seed])
        keeps = compress.prune(copy.deepcopy(dense[seed]), 0.95)
        if "rows" in way:  # 5 % of the rows stay, chosen without looking at them
            rng = np.random.default_rng(seed)
            for name, keep in keeps.items():
                stay = rng.permutation(len(keep)) < 0.05 * len(keep)
                keeps[name] = np.repeat(stay[:, None], keep.shape[1], axis=1)
        zeros = [] if "masked" in way else [ZeroAgain(keeps, every_epoch="every" in way)]
        optimizer = optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=0.001)
        settings = {"epochs": 3, "seed": 100 + seed, "callbacks": zeros, "progress": False}
        train.fit(net, digits, optimizer=optimizer, **settings)
        row = [accuracy(net), 1 - sum(left_in(net).values()) / n_weights]
        for name, keep in keeps.items():
            net.get(name).prune(keep)
        rows.append([*row, accuracy(net)])

print(" " * 24, *(f"{title:20}" for title in ("accuracy, reported", "weights then zero", "zeros put back")))
for way, rows in table.items():
    print(f"{way:24}", *(f"{mean(values):20}" for values in zip(*rows)))

# %% [markdown]
# The zeros that were written **once** are mostly gone when the accuracy is measured: what is reported is
# another net, and nearly a dense one. Put the zeros back, and the promised net appears: it is broken.
# Writing them again **every epoch** makes the count right, and the net still bad: between two epochs the
# survivors adapt to weights that will be taken away. (Weight decay does not help: it makes a returned weight
# smaller, not 0.) Only behind the mask did the survivors learn to do without. Rows at random are the worst
# choice: a row of the last layer is a *digit*. If whole rows go, they go from the layer that reads them too;
# that is lesson 11.
#
# ### Wrong way 2: a learning rate schedule called pruning
#
# The recipe: train a net. Prune it, and fine-tune *with a falling learning rate*. The accuracy is now higher
# than before pruning: "pruning regularizes, and improves the network". But two things were changed at once.
# The control is the **dense** net with the same extra epochs and the same schedule. We run all four
# combinations, after five epochs with a large learning rate (0.03). "Falling" is `train.cosine`: along half
# a cosine, to 0.

# %%
bars = {"before": []}
for seed in SEEDS:
    net = fresh(seed)
    fit(net, 5, seed, lr=0.03)
    bars["before"].append(accuracy(net))
    for rate, schedule in (("same rate", None), ("falling", train.cosine)):
        for kind, share in (("dense", 0), ("80 % pruned", 0.8)):
            twin = pruned(net, share) if share else copy.deepcopy(net)
            fit(twin, 4, 100 + seed, lr=0.03, schedule=schedule)
            bars.setdefault(f"{kind},\n{rate}", []).append(accuracy(twin))

figure, ax = plt.subplots(figsize=(7.5, 2.9), layout="constrained")
for place, (label, values) in enumerate(bars.items()):
    colour = "C3" if "pruned" in label else "C0" if "dense" in label else "0.5"
    plot_mean(ax, [place], np.transpose([values]), color=colour)
    ax.plot(np.full(3, place + 0.15), 100 * np.array(values), "k.", ms=4)
    print(f"{' '.join(label.split()):22} {mean(values)}", end="")
    print("" if not place else f"   gain over 'before': {mean(np.array(values) - bars['before'])}")
ax.set(xticks=range(5), xticklabels=list(bars), xlim=(-0.5, 4.5), ylabel="test accuracy, %")
ax.set_title("dots are seeds", fontsize=10)
plt.show()

# %% [markdown]
# From "before" to "80 % pruned, falling" there is a clear gain, and a report would show just these two. But
# the dense net under the same schedule gains as much, or more. So it was the schedule: with a large,
# constant rate the weights jump around the minimum (lesson 2), and a falling rate lets them come to rest.
# The true result is good, and more modest: *four of five weights went, at a cost that these seeds hardly
# show*. Ask of every "improved by pruning": what does the dense net do with the same epochs and rates?
#
# ### Wrong way 3: a sensitivity scan on the test set
#
# How much can *each layer* bear? `compress.scan` prunes one layer at a time and looks at the loss on the
# **validation** data; its `choose(0.9)` then divides 90 % among the layers, so that no layer hurts more than
# another. It takes the whole `Dataset`, so that it cannot be given the test part by accident.
#
# The wrong way: try many divisions of the 90 %, and report the best accuracy *on the test set*. What does
# that add? We put the 540 images that no net was trained on in one pool, and cut it 1,000 times at random into
# validation, test, and **fresh** images, 180 each. Each time, the best of K divisions is chosen on one part.
# Its accuracy on the fresh images is the truth.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
scans = [compress.scan(net, digits) for net in dense]
axis = ["0", *(f"{100 * share:.0f}" for share in scans[0].sparsities[1:])]
for i, name in enumerate(matrices):
    plot_mean(left, range(len(axis)), [found.accuracy[i] for found in scans], "o-", label=name)
left.set(xticks=range(len(axis)), xticklabels=axis, ylim=(0, 104), title="one layer pruned, the others whole")
left.set(xlabel="removed of this layer, %", ylabel="validation accuracy, %")
left.legend(frameon=False, fontsize=9, loc="lower left")
for label, nets in {
    "chosen by the scan": [pruned(net, found.choose(0.9)) for net, found in zip(dense, scans)],
    "one global list": [pruned(net, 0.9) for net in dense],
    "the same for each": [pruned(net, 0.9, "layer") for net in dense],
}.items():
    print(f"90 % removed, {label:18} {mean([accuracy(net) for net in nets])} on the test images, at once")

pool = np.concatenate([digits.val.images, digits.test.images])
labels = np.concatenate([digits.val.labels, digits.test.labels])
counts, bias = (1, 3, 10, 40), {"test": [], "validation": []}
for net, seed in zip(dense, SEEDS):
    rng, correct = np.random.default_rng(seed), []
    while len(correct) < max(counts):
        first, last = rng.uniform(0.78, 0.97), rng.uniform(0.4, 0.95)
        middle = (0.9 * n_weights - first * 19_200 - last * 1_000) / 30_000  # 90 % in all
        division = dict(zip(matrices, (first, middle, last)))
        correct.append(pruned(net, division)(pool).numpy().argmax(axis=1) == labels)
    correct = np.array(correct, dtype=np.float32)
    gaps = {part: np.zeros((1000, len(counts))) for part in bias}
    for turn in range(1000):  # other images and other divisions each time
        cuts = correct[:, rng.permutation(len(pool))].reshape(len(correct), 3, -1)
        validation, test, fresh_ones = cuts.mean(axis=2)[rng.permutation(len(correct))].T
        for k, count in enumerate(counts):
            for part, chosen_on in (("test", test), ("validation", validation)):
                best = chosen_on[:count].argmax()
                gaps[part][turn, k] = test[best] - fresh_ones[best]  # what is reported, less the truth
    for part in bias:
        bias[part].append(gaps[part].mean(axis=0))
for part, colour in (("test", "C3"), ("validation", "C0")):
    plot_mean(right, range(len(counts)), bias[part], "o-", color=colour, label=f"best of K on {part}")
    excess = mean(np.array(bias[part])[:, -1])
    print(f"best of 40 on {part:10}: the reported test accuracy is too high by {excess}")
right.axhline(0, color="0.6", lw=1, zorder=0)
right.set(xticks=range(len(counts)), xticklabels=counts, title="what the choice adds to the report")
right.set(xlabel="K, divisions tried", ylabel="reported − true, points")
right.legend(frameon=False, fontsize=9, loc="upper left")
plt.show()

# %% [markdown]
# The left panel is the right use: the large middle layer bears most, and the choice looks at validation
# images only. (It is no better than one global list here: a scan does not see that layers hurt *more
# together*. And with such deviations, three seeds prove little. That is a result, too.)
#
# The right panel is the price of the wrong use. With one division there is nothing to choose, and no bias.
# With more, the winner on the test images is partly the best division, and partly the one with the most
# *luck on these images*. On fresh images the luck is gone. Nothing was trained on the test set; looking was
# enough. Chosen on validation images, the test accuracy is honest on average.
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
# mean square) as removing the cheapest of the other two. Then say in one sentence what the friend should
# have looked at.


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
# zero. A magnitude does not see it. The simplest help: **scale the inputs alike before you prune by
# magnitude**. The next one is a score that knows the inputs.
#
# ## The others make up for it: Optimal Brain Surgeon
#
# Let a row w of a layer read inputs X, one example a column. Remove w_p, and the output changes by w_p ·
# x_p. Squared, and summed over the examples:
#
#     the others stay as they are:    cost = w_p² · G_pp                G = X Xᵀ
#
# G_pp is the sum of x_p². But two inputs are often alike, and then the *other* weight can take over. Choose
# the change δ of all weights such that δ_p = −w_p, and the output's change δᵀ G δ is least. Hassibi and
# Stork (1993) found the cost in closed form; they called it **Optimal Brain Surgeon**:
#
#     the others are refitted:        cost = w_p² / [G⁻¹]_pp
#
# **By hand.** Two weights, w = (1, 1), and G = [[2, 1], [1, 2]]. Remove the first, leave the second: the
# cost is 1² · G₁₁ = 2. Now move the second by d: the change is δ = (−1, d), its cost 2 − 2d + 2d². This is
# least at d = ½: the second weight becomes 1.5, and the cost is 1.5. The formula says the same: G⁻¹ = ⅓ ·
# [[2, −1], [−1, 2]], and 1 / (2/3) = 1.5. Note that [G⁻¹]_pp is *not* 1 / G_pp. It knows all the other
# inputs.
#
# ### Exercise 9.6 · the surgeon's score
#
# `weight` has shape (O, K): O rows that read the same K inputs. `gram` is X Xᵀ, of shape (1, K, K); its
# first axis counts groups of filters, and a dense layer has one. A pixel that is always 0 makes G singular,
# so first add a small λ to its diagonal: `damped(gram, damping)` does, and returns the same shape.


# %% exercise="9.6"
def obs(weight, gram, *, damping=0.01):
    """The rise of a layer's squared error without each weight, if the rest of its row is refitted: (O, K)."""
    # BEGIN SOLUTION
    inverse = np.linalg.inv(damped(gram, damping)[0])  # (K, K)
    return weight**2 / np.diagonal(inverse)  # (O, K) / (K,)
    # INSTEAD
    ...
    # END SOLUTION


# %% check="9.6"
check("9.6")

# %% [markdown]
# Back to the flats: your score (or the package's) beside the magnitude. Compare with the right panel above:
# the area is still the costly one, but every cost is smaller, since the other two weights can make up for a
# part.

# %%
with yours("9.6"):
    cost = second_order.obs(fitted[None], (flats.T @ flats)[None], damping=0)[0]
for name, w, error in zip(features, fitted, np.sqrt(cost / len(flats))):
    print(f"{name:9} |w| {abs(w):.2f}   change of the price without it, others refitted: {error:.2f} (RMS)")

# %% [markdown]
# ## Importances compared
#
# `importance.score(net, criterion, digits.train)` ranks all weights of a net by a criterion; there are
# thirteen in `importance.CRITERIA`. We take five, with the formulas that you know, on training images only:
#
#     random        any number: the control that every criterion must beat
#     saliency      |w · g|            the first term of Taylor's formula, g = ∂L/∂w
#     obd           ½ h w²             the second term, h = ∂²L/∂w² (approximately)
#     magnitude     |w|                no data at all
#     obs           w² / [G⁻¹]_pp      of the layer's output, not of the loss; yours, if it is right
#
# Each layer is pruned by itself, since the costs of `obs` count in units of that layer. Left, at once; in
# the middle, after one epoch of fine-tuning. For **obs, refitted**, `importance.surgeon` moves the survivors
# to where the formula wants them: no training, no labels. Right: how well does each criterion guess the cost
# of *one* weight? These are the single removals from the beginning.

# %%
shares, tries = (0.5, 0.8, 0.9), {}
looks = {"random": "0.5", "saliency": "C3", "obd": "C1", "magnitude": "C0", "obs": "C2"}
with yours("9.6"):
    criteria = {name: second_order.obs if name == "obs" else name for name in looks}
    scores = {}
    for name, criterion in criteria.items():
        scores[name] = [importance.score(n, criterion, digits.train, rng=s) for n, s in zip(dense, SEEDS)]
for share in shares:
    for name in looks:
        nets = [copy.deepcopy(net) for net in dense]
        for net, values in zip(nets, scores[name]):
            compress.prune(net, share, scope="layer", scores=values)
        tries.setdefault((name, "at once"), []).append([accuracy(net) for net in nets])
        for net, seed in zip(nets, SEEDS):
            fit(net, 1, 100 + seed)
        tries.setdefault((name, "one epoch later"), []).append([accuracy(net) for net in nets])
nets = [copy.deepcopy(net) for net in dense]
for net, values in zip(nets, scores["obs"]):
    importance.surgeon(net, 0.8, digits.train, scores=values)
tries["obs, refitted", "at once"] = [[accuracy(net) for net in nets]]

figure, axes = plt.subplots(1, 3, figsize=(10.5, 3.4), layout="constrained", width_ratios=(3, 3, 2))
for (name, when), rows in tries.items():
    ax, refitted = axes[0 if when == "at once" else 1], "refitted" in name
    settings = {"color": "C2", "mfc": "w", "line": "s"} if refitted else {"color": looks[name], "line": "o-"}
    plot_mean(ax, [1] if refitted else range(3), np.transpose(rows), **settings, label=name)
    texts = [f"{share:.0%}: {mean(row)}" for share, row in zip([0.8] if refitted else shares, rows)]
    print(f"{name:14} {when:16}", "  ".join(texts))
for ax, title in zip(axes, ("at once", "one epoch later")):
    ax.set(xticks=range(3), xticklabels=[f"{share:.0%}" for share in shares], title=title, ylim=(0, 104))
    ax.set(xlabel="removed of each layer", ylabel="test accuracy, %")
axes[0].legend(frameon=False, fontsize=8, loc="lower left")
guesses = [rank_correlation(scores[name][0]["fc3.weight"].flat[single], found_cost) for name in looks]
axes[2].barh(list(looks), guesses, color=list(looks.values()))
axes[2].set(title="one weight alone", xlabel="rank correlation with its cost", xlim=(-0.3, 1))
axes[2].invert_yaxis()
plt.show()
print("rank correlation with the cost of one weight:", dict(zip(looks, np.round(guesses, 2).tolist())))
nets, reverse = [copy.deepcopy(net) for net in dense], [copy.deepcopy(net) for net in dense]
for net, other, values in zip(nets, reverse, scores["magnitude"]):
    for k in range(1, 21):  # 20 rounds, each of the same share, and a new gradient in each
        again = importance.score(net, "saliency", digits.train)
        compress.prune(net, 1 - 0.2 ** (k / 20), scope="layer", scores=again)
    compress.prune(other, 0.05, scope="layer", scores={name: -value for name, value in values.items()})
print("80 % removed by saliency, measured again in each of 20 rounds:", mean([accuracy(net) for net in nets]))
print("magnitude upside down, the LARGEST 5 % removed:", mean([accuracy(net) for net in reverse]))

# %% [markdown]
# Is this what you expected? On the right, |w·g| guesses the cost of *one* removal almost perfectly, and
# magnitude is poor. On the left, |w·g| is hardly better than chance, and magnitude is among the best. Both
# are true. Taylor's formula speaks of **one small change**. Pruning is thousands of changes at once, and on
# the way the gradient becomes another one. The test is the printed line: remove the same 80 % by |w·g| in 20
# small rounds, measure the gradient anew in each, train nothing, and the accuracy is far higher. Magnitude
# needs no such care.
#
# The surgeon's *ranking* is about as good as magnitude here; the seeds do not separate them. Its
# **refitting** is what helps: no label, no epoch, and at 80 % most of the damage is gone. One epoch of
# training repairs much, whatever the criterion; at 50 % it makes all of them nearly equal. *A comparison at
# a low sparsity, after training, compares nothing.*
#
# Turned upside down, magnitude does more harm with one weight in twenty than the right way round with every
# second. That is a good test of any criterion: reverse it. If that makes no difference, it measures nothing.
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
# 3. You prune to 50 %, then call `prune` with 0.8. Must the first mask be part of the second? Why is it
#    here?
# 4. Why is it not enough to compare the ticket with a net of another, random *mask*?
#
# BEGIN SOLUTION
# **Answers.**
#
# 1. No: at w = 0 it adds λ · 0 = 0. What brings weights back is the gradient of the loss, and a memory of
#    it.
# 2. No layer reads it. It matters when the mask is changed so that the weight returns: then an old,
#    meaningless number would be read. The package lets weights return at 0, with an empty memory of the
#    optimizer.
# 3. In general a new ranking could choose others. Here a removed weight is read as 0, so it is the smallest,
#    and goes again first.
# 4. Then two things differ, the mask and which values are left. If it loses, one does not know the reason.
#    It is also the control that is easiest to beat: look at the figure.
# END SOLUTION
#
# ## Sources
#
# - Y. LeCun, J. S. Denker and S. A. Solla (1989), "Optimal Brain Damage", *Advances in Neural Information
#   Processing Systems* 2 (the saliency ½ h w²).
# - S. Han, J. Pool, J. Tran and W. J. Dally (2015), "Learning both Weights and Connections for Efficient
#   Neural Networks", arXiv:1506.02626 (train, prune, train again).
# - B. Hassibi and D. G. Stork (1993), "Second order derivatives for network pruning: Optimal Brain Surgeon",
#   *Advances in Neural Information Processing Systems* 5.
# - M. Zhu and S. Gupta (2017), "To prune, or not to prune: exploring the efficacy of pruning for model
#   compression", arXiv:1710.01878 (the cubic schedule).
# - J. Frankle and M. Carbin (2019), "The Lottery Ticket Hypothesis: Finding Sparse, Trainable Neural
#   Networks", ICLR, arXiv:1803.03635.
# - Z. Liu, M. Sun, T. Zhou, G. Huang and T. Darrell (2019), "Rethinking the Value of Network Pruning", ICLR,
#   arXiv:1810.05270.
#
# **Read on in the source:** `tinyopt/compress/prune.py` is all of this lesson in about a hundred lines; the
# view through which layers read is `Mask` in `tinyopt/nn/views.py`; `Parameter.prune` in
# `tinyopt/nn/parameter.py` says what happens when a weight returns. `tinyopt/compress/importance/` has all
# criteria with their sources, `tinyopt/compress/lottery.py` the tickets, `tinyopt/compress/sensitivity.py`
# the scan.

"""Lesson 15, weight sharing: the source of lesson.ipynb; see tinyopt/course/percent.py for its format."""

# %% [markdown]
# # 15 · Weight sharing: few values, many weights
#
# **The question.** The first layer of a small network has 235,200 weights: 235,200 numbers of 32 bits,
# nearly all of them different. **Must they be different?** Suppose that you may use only 16 numbers, and
# each weight has to be one of these 16. Which 16 would you take? How much accuracy would you lose? And how
# do you *train* a number that stands in 15,000 places at once?
#
# - **You need:** lesson 1 (a rule and its pullback), lesson 4 (SGD and Adam); mean and squared error.
# - **You will write:** two steps of k-means by hand, `lloyd_step`, the rule of `lookup`, `bits_needed`.
# - **Time:** about 100 minutes.
#
# Run the cells from top to bottom. Where an exercise is still empty, the package's own function works for
# you.

# %%
import copy
import itertools
import math  # for exercise 15.4, if you like
import os
import tempfile

import matplotlib.pyplot as plt
import numpy as np

from tinyopt import compress, data, differentiable, gradcheck, load, measure, models, nn, ops, optim
from tinyopt import save, substitute, train
from tinyopt.codec import bits_needed as package_bits_needed
from tinyopt.compress.share import lloyd_step as package_step
from tinyopt.course import STYLE, start
from tinyopt.course.lessons import find
from tinyopt.course.lessons import load as load_file
from tinyopt.files import ledger

check, hint, reveal, yours = start(15)
plt.rcParams.update(STYLE)

# %% [markdown]
# First a network, trained on 3,500 handwritten digits of 28×28 pixels. Every choice below is made on the
# *validation* images. The *test* images are only for reports.

# %%
digits = data.mnist5k()


def tune(net, optimizer, epochs=1, **settings):
    """Train for some epochs; the learning rate falls to 0 along half a cosine."""
    settings = {"schedule": train.cosine, "progress": False} | settings
    train.fit(net, digits, epochs=epochs, optimizer=optimizer, **settings)


def percent(quality):
    return f"{quality.accuracy:.1%} ± {quality.standard_error:.1%}"


net = models.lenet_300_100(rng=0)
tune(net, optim.Adam(net.parameters()), epochs=12)
weight = net.get("fc1.weight").data  # (300, 784)
base = measure.evaluate(net, digits.test)
print(f"fc1 has {weight.size:,} weights with {len(np.unique(weight)):,} different values")
print(f"test accuracy: {percent(base)}")

# %% [markdown]
# Now the same network, after one line. In each of the three layers, every weight was replaced by one of 16
# values. We did **not** train again.

# %%
shared = copy.deepcopy(net)
compress.share(shared, 16)
few = shared.get("fc1.weight").read().numpy()  # what the layer reads: (300, 784) again
print(f"fc1 now has {len(np.unique(few))} different values")
after = measure.evaluate(shared, digits.test)
print(f"test accuracy: {percent(after)};  change: {measure.compare(base, after)}")

unit = int((weight**2).sum(axis=1).argmax())  # one hidden unit: a row of 784 weights, an image of 28×28
limit = float(abs(weight[unit]).max())
figure, axes = plt.subplots(2, 2, figsize=(9, 5), layout="constrained", width_ratios=(1, 2))
for (image, bars), array, name in zip(axes, (weight, few), ("before", "after, 16 values")):
    image.imshow(array[unit].reshape(28, 28), cmap="RdBu_r", vmin=-limit, vmax=limit)
    image.set(xticks=[], yticks=[], title=f"one unit's weights, {name}")
    bars.hist(array.reshape(-1), bins=200, range=(-0.2, 0.2), histtype="stepfilled")
    bars.set(yscale="log", xlabel="weight", ylabel="how many", title=f"all of fc1, {name}", ylim=(0.7, 1e5))
plt.show()

# %% [markdown]
# The two pictures of the unit are much alike. But below on the right, the 235,200 weights stand on 16 places.
#
# Three words for the whole lesson. The list of the 16 values is the **codebook**; each value in it is a
# **centroid**; and each weight keeps a **label**, a whole number from 0 to 15, that says which centroid it
# is.
#
#     weight[i] = codebook[label[i]]
#
# A label needs 4 bits, the weight needed 32. Two questions are left: which centroids (part 1), and how to
# train them (part 2). Part 3 looks at the file, part 4 at what goes wrong.
#
# ## 1 · Which values? By hand
#
# Take six weights, and K = 2 values for them:
#
#     x = 0  1  2  5  12  13
#
# We want centroids and labels with the smallest **squared error** Σ (x[i] − c[label[i]])². Two facts:
#
# - If the centroids are known, the best label of a number is that of the *nearest* centroid.
# - If the labels are known, the best centroid is the *mean* of its members. (Set the derivative of
#   Σ (x[i] − c)² to zero: Σ x[i] = n · c.)
#
# **k-means** does the one, then the other, until nothing changes. Begin with c = 1, 2:
#
# | step | centroids | half way | members | means | squared error after |
# |---|---|---|---|---|---|
# | 1 | 1, 2 | 1.5 | {0, 1} {2, 5, 12, 13} | 0.5, 8 | 86.5 |
# | 2 | 0.5, 8 | 4.25 | {0, 1, 2} {5, 12, 13} | 1, 10 | 40 |
# | 3 | 1, 10 | 5.5 | {0, 1, 2, 5} {12, 13} | 2, 12.5 | 14.5 |
# | 4 | 2, 12.5 | 7.25 | {0, 1, 2, 5} {12, 13} | 2, 12.5 | 14.5: it stands |
#
# Neither of the two moves can make the error larger, and there are finitely many ways to label. So it must
# stop. But does it stop at the *best* place? The slow way cannot be fooled: try **all** labellings.


# %%
def squared_error(numbers, labels):
    """The squared error of a labelling, each centroid being the mean of its members."""
    total = 0.0
    for k in set(labels):
        members = [x for x, label in zip(numbers, labels) if label == k]
        mean = sum(members) / len(members)
        total += sum((x - mean) ** 2 for x in members)
    return total


def all_labellings(numbers, k):
    """Every way to label, with its error: kⁿ of them. The specification; hopeless for 235,200 weights."""
    every = itertools.product(range(k), repeat=len(numbers))
    return {labels: squared_error(numbers, labels) for labels in every}


six = [0.0, 1.0, 2.0, 5.0, 12.0, 13.0]
tried = all_labellings(six, 2)
best = min(tried, key=tried.get)
print(f"{len(tried)} labellings; the best is {best} with error {tried[best]:.1f}")

figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.2), layout="constrained")
path = [np.array([1.0, 2.0])]
for _ in range(3):
    path.append(package_step(np.array(six), path[-1])[0])
for at, number in enumerate(path):
    left.plot(six, [at] * 6, "o", color="0.75", ms=5)
    left.plot(number, [at] * 2, "v", color="C3", ms=9)
    left.axvline(number.mean(), ymin=0.9 - 0.25 * at - 0.07, ymax=0.9 - 0.25 * at + 0.07, color="C0", ls=":")
left.set(xlabel="number", ylim=(3.4, -0.4))
left.set_yticks(range(4), ["start", "step 1", "step 2", "step 3"])
left.set_title("▼ centroids, ⋮ half way between them")
one_cut = [(0,) * cut + (1,) * (6 - cut) for cut in range(1, 6)]  # small ones left, large ones right
others = sorted(error for labels, error in tried.items() if labels not in one_cut)
right.plot(range(1, 6), [tried[labels] for labels in one_cut], "o-", color="C3", label="the 5 cuts in order")
right.plot([5.6] * len(others), others, "_", color="0.6", ms=12, label="the other 59")
right.set(xlabel="numbers in the left cluster", ylabel="squared error", xticks=range(1, 6), ylim=(0, 195))
right.legend(frameon=False, loc="upper center")
plt.show()

# %% [markdown]
# Here k-means found the best one. And the figure shows something that only holds **on a line**: the good
# labellings *cut* the sorted numbers into pieces. (The two low dashes are mirror images, with the labels
# exchanged.) So k-means on weights needs no distances at all: sort once, then search for the places of the
# half-way points.
#
# ### Exercise 15.1 · predict, then compute
#
# Other numbers: **0, 3, 6, 7, 8, 9**, and the centroids **3 and 12** to begin with. Write the two centroids
# after the first step, and the two after the second. The package's k-means is switched off while you are
# checked.


# %% exercise="15.1"
def predict():
    """The centroids after one step of k-means on 0, 3, 6, 7, 8, 9 from 3 and 12, and after the second."""
    # BEGIN SOLUTION
    low_1 = (0 + 3 + 6 + 7) / 4  # half way between 3 and 12 is 7.5
    high_1 = (8 + 9) / 2
    low_2 = (0 + 3 + 6) / 3  # half way between 4 and 8.5 is 6.25
    high_2 = (7 + 8 + 9) / 3
    # INSTEAD
    low_1 = ...
    high_1 = ...
    low_2 = ...
    high_2 = ...
    # END SOLUTION
    return low_1, high_1, low_2, high_2


# %% check="15.1"
check("15.1")

# %% [markdown]
# ### Exercise 15.2 · one step of k-means
#
# Now for any sorted numbers and any number of centroids. Return **two** arrays: the new centroids, and how
# many members each has. One thing the hand example did not show: a centroid may be nearest to *no* number at
# all. Its mean would be 0/0. Such an **empty cluster** is dropped: both results are then shorter. (No number
# in the tests lies exactly half way.)


# %% exercise="15.2"
def lloyd_step(x, centroids):
    """Move each centroid to the mean of the numbers that are nearest to it: one step of k-means.

    Shapes: x (n,) and centroids (K,), both ascending -> new centroids (K',), ascending, and the number of
            members of each (K',); K' < K if nothing is nearest to some: an empty cluster is dropped.
    """
    means = ...
    counts = ...
    return means, counts


# %% check="15.2"
check("15.2")

# %% [markdown]
# The step is named after Stuart Lloyd, who described it in 1957, for signals that are sent as digits.
# `kmeans` calls it until nothing changes. If yours is right, the 30,000 weights of `fc2` are now clustered by
# **your** step:

# %%
with yours("15.2"):
    centroids, labels = compress.kmeans(net.get("fc2.weight").data.reshape(-1), 8)
print("centroids of fc2:", centroids.round(3), "  members:", np.bincount(labels))

# %% [markdown]
# ## Where do 235,200 weights flow, and does the start matter?
#
# Han, Mao and Dally, who made this method popular (2016), compared three starts:
#
# - **linear**: evenly from the smallest to the largest value;
# - **density**: at even *quantiles*, so each begins with equally many weights;
# - **random**: K of the weights, drawn by chance.
#
# They found the linear start best, and their reason was: the few *large* weights matter most, and only the
# linear start puts centroids out there. Is it so here? Watch 16 centroids of fc1 on their way; on the right,
# where the weights are.

# %%
x = np.sort(weight, axis=None).astype(np.float64)


def start_places(kind, x, k, rng):
    """The first centroids for the sorted numbers x, ascending."""
    if kind == "linear":
        return np.linspace(x[0], x[-1], k)
    if kind == "density":
        return np.quantile(x, (np.arange(k) + 0.5) / k)
    return np.sort(rng.choice(x, k, replace=False))


def nearest(array, centroids):
    """Each number replaced by its nearest centroid."""
    cuts = (centroids[:-1] + centroids[1:]) / 2
    return centroids[np.searchsorted(cuts, array)].astype(array.dtype)


COLOURS = {"linear": "C0", "density": "C1", "random": "C2"}
figure, axes = plt.subplots(1, 4, figsize=(10, 3.6), layout="constrained", sharey=True)
for ax, (kind, colour) in zip(axes, COLOURS.items()):
    path = [start_places(kind, x, 16, np.random.default_rng(1))]
    for _ in range(99):
        path.append(package_step(x, path[-1])[0])
    ax.plot(range(1, 101), path, color=colour, lw=1)
    ax.set(title=kind, xlabel="step + 1, log scale", xscale="log")
    first, last = (((nearest(x, c) - x) ** 2).sum() for c in (path[0], path[-1]))
    print(f"{kind:8} squared error {first:6.2f} at the start, {last:5.2f} after 99 steps")
axes[0].set_ylabel("weight")
axes[3].hist(x, bins=120, orientation="horizontal", color="0.6", histtype="stepfilled")
axes[3].set(xlabel="how many weights")
plt.show()

# %% [markdown]
# The starts are very different; the ends are nearly the same. (Not exactly: where k-means stops depends on
# where it began. On a line, the exact optimum can be computed, too: Wang and Song.) Now what counts:
# accuracy. We cluster all three layers, without training, and look at the validation images: with the
# weights at the start places, and after k-means.


# %%
def replaced(change):
    """A copy of the trained net with every weight matrix replaced by change(matrix)."""
    other = copy.deepcopy(net)
    for layer in ("fc1", "fc2", "fc3"):
        parameter = other.get(f"{layer}.weight")
        parameter.data = change(parameter.data)
    return other


def on_the_start(kind, k):
    rng = np.random.default_rng(0)
    return replaced(lambda w: nearest(w, start_places(kind, np.sort(w, axis=None), k, rng)))


def after_kmeans(kind, k):
    other = copy.deepcopy(net)
    compress.share(other, k, start=kind, rng=0)
    return other


BITS = np.arange(1, 6)
figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.2), layout="constrained", sharey=True)
whole = measure.evaluate(net, digits.val)
for ax, make, title in zip(axes, (on_the_start, after_kmeans), ("at the start places", "after k-means")):
    for shift, (kind, colour) in zip((-0.06, 0, 0.06), COLOURS.items()):
        found = [measure.evaluate(make(kind, 2**int(bits)), digits.val) for bits in BITS]
        heights, bars = [100 * q.accuracy for q in found], [100 * q.standard_error for q in found]
        ax.errorbar(BITS + shift, heights, bars, fmt="o-", ms=4, capsize=2, color=colour, label=kind)
        print(f"{title:20} {kind:8}", *(f"{height:6.1f}" for height in heights))
    ax.axhline(100 * whole.accuracy, color="0.6", ls="--", lw=1)
    ax.set(xlabel="bits of a label: 2ᵇ centroids", title=title, xticks=BITS)
axes[0].set_ylabel("validation accuracy, %")
axes[1].legend(frameon=False, title="start", loc="lower right")
plt.show()

# %% [markdown]
# Bars are standard errors of 500 images, the dashed line is the net before sharing. Let us be honest with
# this figure: **after k-means, the three starts cannot be told apart.** The paper's networks were larger, and
# pruned first; on ours the claim cannot be seen. What can be seen: two weights drawn by chance are a bad
# codebook, and k-means mends it.
#
# ## 2 · How do you train a shared weight?
#
# Training must keep the labels and move the centroids. So we need ∂L/∂codebook. Write the weights as one long
# vector θ. Reading the codebook is a matrix product:
#
#     θ = A · c          A[i, k] = 1 if label[i] = k, else 0          (n × K)
#
# A is the **assignment matrix**: one 1 in each row. The map is linear, so its pullback is the transpose:
#
#     ∂L/∂c = Aᵀ · g          g = ∂L/∂θ
#
# Column k of A marks the members of cluster k. So **the gradient of a centroid is the sum of the gradients
# of its members**: it is used many times, and the chain rule adds over all uses. A 4×4 layer, K = 3:

# %%
codebook = np.array([-1.0, 0.5, 2.0])
labels = np.array([[0, 1, 1, 2], [1, 1, 0, 1], [2, 1, 0, 1], [1, 0, 1, 1]])
g = np.array([[2, -1, 3, 1], [0, 1, -2, 1], [4, -1, 1, 2], [-3, 1, 0, 2]], dtype=float)

A = np.zeros((16, 3))  # the slow way: the whole matrix, one entry after the other
for i, label in enumerate(labels.reshape(-1)):
    A[i, label] = 1.0
theta = (A @ codebook).reshape(4, 4)
print("A · c is codebook[labels]:", bool((theta == codebook[labels]).all()))
print("Aᵀ · g =", A.T @ g.reshape(-1))

colours = plt.get_cmap("Set2")(np.arange(3))[:, :3]  # one for each centroid
gradient = (A.T @ g.reshape(-1))[:, None]
panels = {
    "θ, 4×4": (theta, colours[labels]),
    "A, 16×3": (A, np.where(A[:, :, None] > 0, colours, 1.0)),
    "g = ∂L/∂θ": (g, colours[labels]),
    "Aᵀ·g": (gradient, colours[:, None]),
}
figure, axes = plt.subplots(1, 4, figsize=(9.5, 3.2), layout="constrained", width_ratios=(4, 2, 4, 2))
for ax, (title, (array, tint)) in zip(axes, panels.items()):
    ax.imshow(tint, aspect="auto" if array is A else "equal")
    for (row, column), number in np.ndenumerate(array):
        ax.text(column, row, f"{number:g}", ha="center", va="center", fontsize=7 if array is A else 11)
    ax.set(xticks=[], yticks=[], title=title)
plt.show()

# %% [markdown]
# By hand, for the first centroid (−1, green): its four members have the gradients 2, −2, 1 and 1, and
# 2 − 2 + 1 + 1 = **2**. Do the second one on paper; it has ten members.
#
# For fc1, A would have 235,200 × 16 entries, nearly all 0. Nobody stores it; labels say the same.
#
# ### Exercise 15.3 · the rule of `lookup`
#
# Write the rule: the value, and the pullback for the codebook. The labels are whole numbers and have no
# gradient: their pullback is `None`. Do it without the matrix A. A centroid without members must get the
# gradient 0, and a float32 codebook needs a float32 gradient. (Two ways in NumPy: `np.add.at`, or
# `np.bincount` with `weights=`.)


# %% exercise="15.3"
def lookup(codebook, labels):
    """Read each weight from a short list of shared values.

    Shapes: codebook (K,), labels (...) integers in [0, K) -> y (...); the pullback takes g (...), gives (K,).
    """
    y = ...

    def pull_codebook(g):
        return ...

    return y, (pull_codebook, None)


# %% check="15.3"
check("15.3")

# %% [markdown]
# Now train. We take the hardest case: **2 values a layer**, so six weights in all, and 410 biases that are
# not shared. If your rule is right, it moves the centroids. We train the six centroids alone, and then
# centroids and biases. Of two learning rates, the better on the validation images is kept.


# %%
def centroids_of(model):
    return [parameter for parameter in model.parameters() if parameter.views]


def fine_tuned(model, choose):
    """A copy after one epoch of Adam on the parameters that `choose` gives."""
    tried = []
    for lr in (0.001, 0.01):
        trained = copy.deepcopy(model)
        tune(trained, optim.Adam(choose(trained), lr=lr))
        tried.append((measure.evaluate(trained, digits.val).accuracy, trained))
    return max(tried, key=lambda pair: pair[0])[1]


two = copy.deepcopy(net)
compress.share(two, 2)
before = measure.evaluate(two, digits.val)
print(f"2 values a layer, not trained: {percent(before)}")
with yours("15.3"):
    for name, choose in (("centroids alone", centroids_of), ("centroids and biases", nn.Module.parameters)):
        print(f"{name + ' trained:':30} {percent(measure.evaluate(fine_tuned(two, choose), digits.val))}")

# %% [markdown]
# ## Accuracy against bits, from the file
#
# Now for 1 to 5 bits: share, train centroids and biases for one epoch, **save, load, and measure what was
# loaded** on the test images.


# %%
def from_file(model):
    """Save a model, load the file, and measure it: (Quality of what was loaded, bytes of the file)."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.top")
        save(model, path)
        return measure.evaluate(load(path), digits.test), os.path.getsize(path)


curves, sizes = {"k-means only": [], "k-means, then trained": []}, []
for bits in BITS:
    made = after_kmeans("linear", 2 ** int(bits))
    for points, model in zip(curves.values(), (made, fine_tuned(made, nn.Module.parameters))):
        quality, n_bytes = from_file(model)
        points.append(quality)
    sizes.append(n_bytes)
whole, whole_bytes = from_file(net)

figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.5), layout="constrained", width_ratios=(3, 2))
for shift, (name, points) in zip((-0.04, 0.04), curves.items()):
    heights, bars = [100 * q.accuracy for q in points], [100 * q.standard_error for q in points]
    left.errorbar(BITS + shift, heights, bars, fmt="o-", ms=4, capsize=2, label=name)
left.axhline(100 * whole.accuracy, color="0.6", ls="--", lw=1, label="32 bits, not shared")
left.set(xlabel="bits of a label", ylabel="test accuracy, %", xticks=BITS)
left.legend(frameon=False, fontsize=9)
kilobytes = [n / 1000 for n in (*sizes, whole_bytes)]
bars = right.bar([*BITS.astype(str), "32"], kilobytes, color=["C0"] * 5 + ["0.6"])
right.bar_label(bars, fmt="%.0f", fontsize=9)
right.set(xlabel="bits of a label", ylabel="kB, log scale", yscale="log", title="the file", ylim=(10, 3000))
plt.show()
print(f"not shared     {percent(whole)}   {whole_bytes:9,} bytes")
for bits, quality, n_bytes in zip(BITS, curves["k-means, then trained"], sizes):
    versus = measure.compare(whole, quality)
    change = f"{100 * versus.difference:+.1f} ± {100 * versus.standard_error:.1f} points"
    smaller = f"{n_bytes:9,} bytes = 1/{whole_bytes / n_bytes:.1f}"
    print(f"{bits} bits, tuned  {percent(quality)}   {smaller}   {change}")

# %% [markdown]
# This is the surprise of the lesson. With 3 bits a weight or more, nothing is lost that we can measure. And
# even with **one bit** a weight, when each layer knows only *two* numbers, the trained net is not far from
# the whole one (to be fair: it has had one epoch more). What the net knows lies mostly in *which* weight gets
# which value: in the labels, not in the values.
#
# ## 3 · The file
#
# How many bits does a label need? With b bits we can write 2ᵇ different labels. So K labels need the
# smallest b with 2ᵇ ≥ K:
#
#     b = ⌈log₂ K⌉          16 values: 4 bits.  17 values: 5 bits!
#
# ### Exercise 15.4 · `bits_needed`
#
# Write it. It must be exact for every whole number; floats are not (try `math.log2(2**49 + 1)`). Note what
# one value needs.


# %% exercise="15.4"
def bits_needed(n_values):
    """Say how many bits tell n_values things apart: ⌈log₂ n⌉.

    Units: 1 value needs 0 bits, 2 need 1, 32 need 5, 33 need 6.
    """
    return ...


# %% check="15.4"
check("15.4")

# %% [markdown]
# Now we can predict the part of the file that holds fc1: 235,200 labels, packed without gaps, and the
# centroids with 4 bytes each. A codebook also has a head of 2 bytes: what follows, and K. The **ledger**
# says where every byte of the file really went.

# %%
with tempfile.TemporaryDirectory() as folder, yours("15.4"):
    path = os.path.join(folder, "model.top")
    for k in (2, 16, 17, 32):
        save(after_kmeans("density", k), path)
        written = next(row[3] for row in ledger(path) if row[0] == "fc1.weight")
        predicted = 2 + 4 * k + -(-weight.size * package_bits_needed(k) // 8)  # -(-a // b) rounds up
        print(f"K = {k:2}: predicted {predicted:7,} bytes, in the file {written:7,}")

# %% [markdown]
# The codebook costs 4·K bytes: next to nothing for a large layer, but not for a small one. And note what K =
# 17 costs beside 16: one bit more for each of 235,200 labels.
#
# ## 4 · Wrong ways
#
# ### Wrong way 1: copy one weight over the others, and call it sharing
#
# One finds code that takes each 8 neighbours in a row, and overwrites them with the *first* one:
# `w.reshape(-1, 8)[:] = w.reshape(-1, 8)[:, :1]`. There are fewer values now. But the first weight of a
# group knows nothing of the other seven. And if the net is then trained as usual, each of the eight has its
# own gradient.
#
# ### Wrong way 2: cluster well, then train the weights freely
#
# Good k-means, and then the usual training loop on the usual weight matrix, as "fine-tuning". The package's
# `bake()` makes such a matrix: it writes the looked-up values out.
#
# We run both, each beside its honest form. That reads `codebook[labels]` in every forward pass; for the
# neighbours, the label of weight i is simply i // 8. And we count: how many different values does fc1 have
# after each step?


# %%
def copied(w):
    """Each weight gets the value of the first of its eight neighbours."""
    return np.repeat(w.reshape(-1, 8)[:, 0], 8).reshape(w.shape)


def neighbours_shared():
    """The same numbers as `copied`, but read through a codebook: one centroid for eight neighbours."""
    other = copy.deepcopy(net)
    for layer in ("fc1", "fc2", "fc3"):
        parameter = other.get(f"{layer}.weight")
        labels = np.arange(parameter.size).reshape(parameter.shape) // 8
        parameter.data = parameter.data.reshape(-1, 8)[:, 0]
        parameter.attach(nn.Codebook(labels))
    return other


class Distinct:
    """Counts after each step how many different values fc1 has."""

    def __init__(self):
        self.counts = []

    def after_step(self, run):
        self.counts.append(len(np.unique(run.model.get("fc1.weight").read().numpy())))


free = after_kmeans("linear", 16)
for parameter in free.parameters():
    parameter.bake()
ways = {
    "k-means,\nlabels kept": (after_kmeans("linear", 16), "C0-"),
    "k-means,\nthen free": (free, "C3--"),
    "neighbours\nshared": (neighbours_shared(), "C1-"),
    "neighbours\ncopied": (replaced(copied), "C3:"),
}
figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained")
for at, (name, (model, style)) in enumerate(ways.items()):
    n_values, counter = len(np.unique(model.get("fc1.weight").read().numpy())), Distinct()
    made, _ = from_file(model)
    tune(model, optim.Adam(model.parameters()), callbacks=[counter])
    tuned, n_bytes = from_file(model)
    one_line = name.replace("\n", " ")
    print(f"{one_line:21} values in fc1: {n_values:6,}, after step 1 {counter.counts[0]:7,}, ", end="")
    print(f"after an epoch {counter.counts[-1]:7,}; {percent(made)} → {percent(tuned)}; {n_bytes:9,} bytes")
    for shift, found, colour in ((-0.2, made, "0.6"), (0.2, tuned, style[:2])):
        bar = left.bar(at + shift, 100 * found.accuracy, 0.38, yerr=100 * found.standard_error, color=colour)
        left.bar_label(bar, fmt="%.0f", fontsize=9, padding=2)
    right.plot(range(1, 1 + len(counter.counts)), counter.counts, style, lw=2, label=one_line)
left.set(xticks=range(4), xticklabels=list(ways), ylabel="test accuracy, %", ylim=(0, 115))
left.set_title("grey: as made; in colour: after one epoch")
right.axhline(weight.size, color="0.6", lw=1)
right.text(14, weight.size * 1.3, "all 235,200 different", fontsize=9, ha="center")
right.set(xlabel="training step", ylabel="different values in fc1", yscale="log", ylim=(5, 2e6))
right.legend(frameon=False, fontsize=9, loc="center", bbox_to_anchor=(0.5, 0.38))
plt.show()

# %% [markdown]
# *As made*, copying neighbours ruins the net: neighbours have little in common. *After one epoch*, the wrong
# ways (red) look good; the copied neighbours even do better than the shared ones. But count the values: from
# the first step on, the weights go their own ways. **Nothing is shared any more.** The red bars show the
# accuracy of an ordinary net, and its file is as large as before. Where the weights are read through
# `codebook[labels]`, there are never more values than centroids. (The file of the shared neighbours could be
# smaller still: a label i // 8 need not be stored. See question 2.)
#
# If somebody reports "16 values per layer" and an accuracy after training, ask for `len(np.unique(weight))`,
# and for the size of the file.
#
# ### Wrong way 3: round to a grid, and call it k-means
#
# `np.linspace(w.min(), w.max(), K)` and the nearest of these: this is *rounding*, and its values do not
# depend on where the weights are. It is our linear start, without one step of k-means.

# %%
counts = (2, 3, 4, 6, 8, 16)
figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.2), layout="constrained")
for name, make, colour in (("k-means", after_kmeans, "C0"), ("grid", on_the_start, "C3")):
    models_made = [make("linear", k) for k in counts]
    read = [model.get("fc1.weight").read().numpy() for model in models_made]
    left.loglog(counts, [((w - weight) ** 2).sum() for w in read], "o-", base=2, color=colour, label=name)
    found = [measure.evaluate(model, digits.test) for model in models_made]
    heights, bars = [100 * q.accuracy for q in found], [100 * q.standard_error for q in found]
    right.errorbar(range(len(counts)), heights, bars, fmt="o-", capsize=2, color=colour, label=name)
    print(f"{name:8}", "  ".join(f"K = {k}: {percent(q)}" for k, q in zip(counts, found)))
grid, members = np.unique(nearest(weight, np.linspace(x[0], x[-1], 3)), return_counts=True)
print("the grid of 3 in fc1:", "  ".join(f"{n / x.size:.1%} are {v:.3f}" for v, n in zip(grid, members)))
left.set(xlabel="K, number of values", ylabel="squared error of fc1", xticks=counts, xticklabels=counts)
left.minorticks_off()
right.set(xlabel="K, number of values", ylabel="test accuracy, %")
right.set_xticks(range(len(counts)), counts)
right.legend(frameon=False)
plt.show()

# %% [markdown]
# The squared error of the grid is three times as large or more, at every K. The accuracy forgives that nearly
# everywhere: *squared error is what k-means makes small, but it is not what we want.* A grid is a good method
# of its own (lesson 12). But it is not k-means, and the deep hole at K = 3 shows the difference. The grid's
# outer values stand at the two extreme weights, and hardly any weight is near them. So nearly the whole layer
# gets the *same* value. (With K = 2, the border lies in the middle, and each weight at least keeps its side.)
# K-means goes where the weights are.
#
# ### Wrong way 4: the mean instead of the sum
#
# "A centroid is the *mean* of its members, so its gradient must be the mean of their gradients." A friend has
# written this rule, and a test for it: six weights, two for each centroid.

# %%
material = load_file(find(15) / "material.py")
labels, g = np.array([0, 1, 2, 0, 1, 2]), np.array([3.0, -1.0, 0.5, 1.0, 2.0, 0.5])
mean, total = material.both(labels, g)
print("the friend's gradient:", mean, "   the right one:", total, "   ratio:", mean / total)

# %% [markdown]
# "Always exactly one half. So I use twice the learning rate, and all is as it should be."
#
# ### Exercise 15.5 · explain this failure
#
# Why did the test show nothing but a factor? Give labels (six whole numbers; each of 0, 1, 2 must occur) and
# gradients g (six numbers) on which **no** learning rate makes the two rules agree: their directions should
# differ by 15 degrees or more.


# %% exercise="15.5"
def witness():
    """Labels and gradients of six weights on which mean and sum point in different directions."""
    labels = np.array([..., ..., ..., ..., ..., ...])
    g = np.array([..., ..., ..., ..., ..., ...])
    return labels, g


# %% check="15.5"
check("15.5")

# %% [markdown]
# In fc1 the clusters are not alike at all. Left: the members of each of 16 clusters. The mean divides the
# gradient of each centroid by that number: it is **SGD with another learning rate for each centroid**.
# Right: what this does to the *choice* of the learning rate, with 2 values a layer, centroids alone, one
# epoch of SGD.

# %%
members = np.bincount(shared.get("fc1.weight").view(nn.Codebook).labels.reshape(-1))
rates = {"sum": 10.0 ** np.arange(-6, -2), "mean": 10.0 ** np.arange(-1, 3)}
quick = {"batch_size": 128}
figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.4), layout="constrained")
left.bar(range(16), members, color="C0")
left.set(xlabel="centroid of fc1, in ascending order", ylabel="members, log scale", yscale="log")
rules = {"sum": ops.lookup.rule, "mean": material.mean_lookup}
for name, rule in rules.items():
    accuracies = []
    for lr in rates[name]:
        trained = copy.deepcopy(two)
        with substitute("lookup", rule):
            tune(trained, optim.SGD(centroids_of(trained), lr=lr), **quick)
        accuracies.append(100 * measure.evaluate(trained, digits.val).accuracy)
    right.semilogx(rates[name], accuracies, "o-", label=f"SGD on the {name}")
    print(f"SGD, {name:5}", "  ".join(f"lr {lr:.0e}: {a:.1f} %" for lr, a in zip(rates[name], accuracies)))
right.axhline(100 * before.accuracy, color="0.6", ls="--", lw=1, label="not trained")
right.set(xlabel="learning rate", ylabel="validation accuracy, %", ylim=(0, 105))
right.legend(frameon=False, loc="center", bbox_to_anchor=(0.66, 0.4), fontsize=9)
plt.show()
print(f"largest cluster of fc1: {members.max():,} members; smallest: {members.min():,}")
for name, rule in rules.items():
    trained = copy.deepcopy(two)
    with substitute("lookup", rule):
        tune(trained, optim.Adam(centroids_of(trained), lr=0.01), **quick)
    print(f"Adam, {name:5} {percent(measure.evaluate(trained, digits.val))}")

# %% [markdown]
# Be fair to the friend. With a learning rate of its own, the mean trains about as well here: dividing each
# part of a gradient by a positive number still leads downhill. The sum has its price, too: thousands of
# gradients add up, so plain SGD needs a tiny learning rate, and explodes soon above it. And under **Adam**
# the two are nearly the same, since Adam divides each gradient by its own size (lesson 4), and a factor for
# each centroid disappears.
#
# So this mistake can stay hidden for years. What is wrong with it? It is not the derivative of the loss. All
# that is said about gradients (a learning rate from a paper, clipping by the norm, one optimizer for
# centroids and biases) then means something else. `gradcheck` finds it at once:

# %%
labels = np.array([0, 0, 0, 0, 1, 2])
for name, rule in (("sum", ops.lookup), ("mean", differentiable(material.mean_lookup))):
    try:
        gradcheck(lambda c: rule(c, labels), np.array([-1.0, 0.5, 2.0]))
        print(f"{name}: passed")
    except AssertionError as problem:
        print(f"{name}: {problem}")

# %% [markdown]
# ## In PyTorch
#
# Indexing has the right pullback there too: a sum.
#
# ```python
# codebook = torch.nn.Parameter(torch.tensor([-1.0, 0.5, 2.0]))
# weight = codebook[labels]                          # labels: a LongTensor of the weight's shape
# torch.nn.functional.linear(x, weight).sum().backward(); print(codebook.grad)      # shape (3,)
# ```
#
# k-means itself: `sklearn.cluster.KMeans(n_clusters=16).fit(weight.reshape(-1, 1))`.
#
# ## Questions
#
# 1. A convolution uses the same filter at every place of the image. What is c there, and what is A?
# 2. Choose the labels by a *hash* of the position instead of k-means. What need not be stored any more? When
#    must training begin then?
# 3. A layer is pruned to 10 % first. Why is it a waste to give the zeros a centroid?
# 4. 235,200 weights, 16 values. How many bytes do the labels need, if all are equally frequent? And if they
#    are not (look at the members of the clusters)?
#
# BEGIN SOLUTION
# **Answers.**
#
# 1. c is the filter. Each row of A stands for one entry of the large, mostly empty matrix of the
#    convolution, and says which filter entry stands there (or none). The gradient of the filter is a sum
#    over all places.
# 2. The labels: the reader of the file computes the same hash. But the labels then know nothing of the
#    trained weights, so the net must be trained with them from the beginning. These are HashedNets.
# 3. The mask already says where the zeros are, so their labels would say nothing new. And a centroid is lost
#    for the weights that are left. In the package, the codebook lies below the mask.
# 4. 235,200 · 4 / 8 = 117,600 bytes. If some labels are frequent, these can have shorter codes: their
#    *entropy* is the limit. Lesson 16 does it.
# END SOLUTION
#
# ## Sources
#
# - S. Han, H. Mao and W. J. Dally (2016), "Deep Compression: Compressing Deep Neural Networks with Pruning,
#   Trained Quantization and Huffman Coding", ICLR, arXiv:1510.00149. Section 3: sharing, the three starts,
#   the summed gradient.
# - S. P. Lloyd (1982), "Least squares quantization in PCM", *IEEE Transactions on Information Theory* 28(2),
#   129–137 (written in 1957).
# - H. Wang and M. Song (2011), "Ckmeans.1d.dp: Optimal k-means Clustering in One Dimension by Dynamic
#   Programming", *The R Journal* 3(2), 29–33.
# - W. Chen, J. T. Wilson, S. Tyree, K. Q. Weinberger and Y. Chen (2015), "Compressing Neural Networks with
#   the Hashing Trick", ICML, arXiv:1504.04788 (question 2).
#
# **Read on in the source:** `tinyopt/compress/share.py` has your step and the start places;
# `tinyopt/ops/view.py` has `lookup`; `tinyopt/nn/views.py` shows how a layer reads its weight through a
# codebook without knowing it.

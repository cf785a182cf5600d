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
# - **You will write:** two steps of k-means by hand, `lloyd_step`, the rule of `lookup`, `bits_needed`, the
#   *best* k-means there is (`exact_kmeans`), and `shared_means` for weights that share by a hash.
# - **Time:** about 150 minutes.
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

from tinyopt import Tensor, compress, data, differentiable, gradcheck, load, measure, models, nn, ops, optim
from tinyopt import save, substitute, train
from tinyopt.codec import bits_needed as package_bits_needed
from tinyopt.compress.hashed import hash_weights
from tinyopt.compress.kmeans_exact import compare_starts
from tinyopt.compress.kmeans_exact import exact_kmeans as package_best
from tinyopt.compress.kmeans_starts import START
from tinyopt.compress.share import lloyd_step as package_step
from tinyopt.compress.tied import tie
from tinyopt.course import STYLE, start
from tinyopt.course.lessons import find
from tinyopt.course.lessons import load as load_file
from tinyopt.files import ledger
from tinyopt.nn.hashed import hashed_labels, hashed_signs
from tinyopt.nn.tied import Embedding, Repeat

check, hint, reveal, yours = start(15)
material = load_file(find(15) / "material.py")  # some figures, and a friend's rule
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
# train them (part 2). Part 3 looks at the file, part 4 at what goes wrong. Part 5 asks how far our centroids
# are from the best ones there are. Part 6 has two ways to share that store no label at all.
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

material.draw_six(six, tried)

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


def nearest(array, centroids):
    """Each number replaced by its nearest centroid."""
    cuts = (centroids[:-1] + centroids[1:]) / 2
    return centroids[np.searchsorted(cuts, array)].astype(array.dtype)


COLOURS = {"linear": "C0", "density": "C1", "random": "C2"}
figure, axes = plt.subplots(1, 4, figsize=(10, 3.6), layout="constrained", sharey=True)
for ax, (kind, colour) in zip(axes, COLOURS.items()):
    path = [START[kind](x, 16, 1)]  # the first centroids, ascending; 1 is the seed of the random ones
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
# where it began; part 5 measures how far that is from the best.) Now what counts: accuracy. We cluster all
# three layers, without training, and look at the validation images: with the weights at the start places, and
# after k-means.


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
    return replaced(lambda w: nearest(w, START[kind](np.sort(w, axis=None), k, rng)))


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
# Training must keep the labels and move the centroids. So we need ∂L/∂codebook. Here the whole lesson
# becomes three lines of mathematics. Write the weights as one long vector θ. Reading the codebook is a
# matrix product:
#
#     θ = A · c               A[i, k] = 1 if label[i] = k, else 0          (n × K)
#     ∂L/∂c = Aᵀ · g          g = ∂L/∂θ
#     c = (AᵀA)⁻¹ Aᵀ θ        the c with the smallest ‖θ − A·c‖²
#
# A is the **assignment matrix**: one 1 in each row. The first line is linear in c, so its pullback is the
# transpose: the second line. Column k of A marks the members of cluster k. So **the gradient of a centroid is
# the sum of the gradients of its members**: it is used many times, and the chain rule adds over all uses.
#
# The third line is least squares, for a given A. AᵀA is diagonal, and counts the members: so it is the
# *mean*, the second move of k-means. **Values are means, gradients are sums.** And nothing in the three
# lines says where A comes from: k-means is one choice, and part 6 has two others. A 4×4 layer, K = 3:

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

material.draw_product(theta, A, g, labels)

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
# Now watch a whole life of the weights, with K = 6. On the left of each picture, 150 of the layer's weights
# flow to their centroids: that is k-means, and no training. Then come the training steps: the labels stay,
# and the centroids move, each by the sum of its members' gradients.


# %%
class Path:
    """Keeps the codebooks after each training step."""

    def __init__(self, model):
        self.steps = [[codebook.data.copy() for codebook in centroids_of(model)]]

    def after_step(self, run):
        self.steps.append([codebook.data.copy() for codebook in centroids_of(run.model)])


six_values = copy.deepcopy(net)
compress.share(six_values, 6, start="density")
moves = Path(six_values)
tune(six_values, optim.Adam(six_values.parameters(), lr=0.003), epochs=2, callbacks=[moves])
for at, layer in enumerate(("fc1", "fc2", "fc3")):
    paths = np.array([codebooks[at] for codebooks in moves.steps])  # (steps + 1, K)
    far = abs(paths[-1] - paths[0]).max() / np.ptp(paths[0])
    print(f"{layer}: the farthest move of a centroid is {far:.0%} of the codebook's width")
material.draw_flow(net, six_values, moves.steps)

# %% [markdown]
# The labels are frozen: no weight changes its colour, and only six numbers a layer are free. What does
# training do with them? It spreads the codebook: the outer centroids move outward, in fc1 and fc2 by about a
# quarter of the codebook's width or more.
#
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

material.draw_bits(BITS, curves, sizes, whole, whole_bytes)
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
measured = {}
for name, (model, style) in ways.items():
    n_values, counter = len(np.unique(model.get("fc1.weight").read().numpy())), Distinct()
    made, _ = from_file(model)
    tune(model, optim.Adam(model.parameters()), callbacks=[counter])
    tuned, n_bytes = from_file(model)
    measured[name] = made, tuned, counter.counts, style
    one_line = name.replace("\n", " ")
    print(f"{one_line:21} values in fc1: {n_values:6,}, after step 1 {counter.counts[0]:7,}, ", end="")
    print(f"after an epoch {counter.counts[-1]:7,}; {percent(made)} → {percent(tuned)}; {n_bytes:9,} bytes")
material.draw_ways(measured, weight.size)

# %% [markdown]
# *As made*, copying neighbours ruins the net: neighbours have little in common. *After one epoch*, the wrong
# ways (red) look good; the copied neighbours even do better than the shared ones. But count the values: from
# the first step on, the weights go their own ways. **Nothing is shared any more.** The red bars show the
# accuracy of an ordinary net, and its file is as large as before. Where the weights are read through
# `codebook[labels]`, there are never more values than centroids. (The file of the shared neighbours could be
# smaller still: a label i // 8 need not be stored. Part 6 does something like it.)
#
# If somebody reports "16 values per layer" and an accuracy after training, ask for `len(np.unique(weight))`,
# and for the size of the file.
#
# ### Wrong way 3: round to a grid, and call it k-means
#
# `np.linspace(w.min(), w.max(), K)` and the nearest of these: this is *rounding*, and its values do not
# depend on where the weights are. It is our linear start, without one step of k-means.

# %%
for name, make in (("k-means", after_kmeans), ("grid", on_the_start)):
    for k in (2, 3, 4, 8):
        made = make("linear", k)
        error = ((made.get("fc1.weight").read().numpy() - weight) ** 2).sum()
        quality = measure.evaluate(made, digits.test)
        print(f"{name:8} {k} values: squared error of fc1 {error:7.1f}, accuracy {percent(quality)}")
grid, members = np.unique(nearest(weight, np.linspace(x[0], x[-1], 3)), return_counts=True)
print("the grid of 3 in fc1:", "  ".join(f"{n / x.size:.1%} are {v:.3f}" for v, n in zip(grid, members)))

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
# ## 5 · How far from the best?
#
# K-means walks downhill and stops in a valley. Is it the deepest one? Usually nobody can say. But on a line,
# the best grouping can be *computed*. Two facts are enough:
#
# - The best clusters are pieces of the sorted numbers (part 1).
# - Let the last piece begin at place i. Then the first i numbers must be cut in the best way, too: a better
#   cut of them would make the whole better.
#
# So let E[m, j] be the smallest squared error of the first j numbers in m pieces, and cost(i, j) the squared
# error of the one piece x[i:j]. The last piece may begin anywhere, so try every place:
#
#     E[1, j] = cost(0, j)          E[m, j] = min over i of  E[m − 1, i] + cost(i, j)
#
# Row after row of a table: this is **dynamic programming** (Wang and Song). For our six numbers 0, 1, 2, 5,
# 12, 13, three pieces, and a last piece that begins at i = 4: the best two pieces of 0, 1, 2, 5 are {0, 1,
# 2} and {5}, with error 2; cost(4, 6) is the error of {12, 13}: 0.5. Together 2.5. All four places for the
# last piece:


# %%
def best_by_trying(numbers, pieces):
    """E[pieces, n] the slow way: every way to cut, and the smallest error."""
    errors = []
    for cuts in itertools.combinations(range(1, len(numbers)), pieces - 1):
        labels = [sum(cut <= i for cut in cuts) for i in range(len(numbers))]
        errors.append(squared_error(numbers, labels))
    return min(errors)


entries = {(m, j): best_by_trying(six[:j], m) for m in (1, 2, 3) for j in range(m, 7)}
last_piece = {i: best_by_trying(six[i:], 1) for i in range(2, 6)}  # cost(i, 6)
material.draw_table(entries, last_piece)

# %% [markdown]
# The smallest sum is E[3, 6], in red. To find the clusters, and not only their error, note for each entry
# which i was best, and walk back from the last entry: the last piece begins at 4, so look up where the last
# of *two* pieces of the first four numbers begins, and so on.
#
# ### Exercise 15.6 · the best k-means there is
#
# Write it for a few numbers, in any order: return the centroids, ascending, and for each number its label.
# Two or three loops are good enough. (The tests never ask for more clusters than there are different
# numbers.) Lloyd's steps are switched off.


# %% exercise="15.6"
def exact_kmeans(values, k):
    """Group numbers into k clusters with the smallest sum of squared distances that is possible.

    Shapes: values (n,), in any order -> centroids (k,), ascending, and labels (n,), integers in [0, k).
    """
    # BEGIN SOLUTION
    order = np.argsort(values)
    x, n = values[order].astype(np.float64), len(values)
    error, begin = np.full((k + 1, n + 1), np.inf), np.zeros((k + 1, n + 1), int)
    error[0, 0] = 0.0  # nothing, in no piece; E[0, j] stays infinite
    for m in range(1, k + 1):
        for j in range(m, n + 1):
            sums = [error[m - 1, i] + ((x[i:j] - x[i:j].mean()) ** 2).sum() for i in range(m - 1, j)]
            begin[m, j] = m - 1 + int(np.argmin(sums))
            error[m, j] = min(sums)
    centroids, labels, j = np.zeros(k), np.zeros(n, int), n
    for m in range(k, 0, -1):  # walk back: where did the last piece begin?
        i = begin[m, j]
        centroids[m - 1], labels[order[i:j]] = x[i:j].mean(), m - 1
        j = i
    # INSTEAD
    centroids = ...
    labels = ...
    # END SOLUTION
    return centroids, labels


# %% check="15.6"
check("15.6")

# %% [markdown]
# Now **your** optimum is the judge. The package's `compare_starts` runs k-means from each start, and
# divides its squared error by that of the optimum. Here with 100 weights of `fc3`, and 6 values:

# %%
with yours("15.6"):
    rows = compare_starts(net.get("fc3.weight").data.reshape(-1)[:100].astype(np.float64), 6, seeds=1)
for row in rows:
    steps = f"after {row['steps']:2} steps {row['after']:.3f} ×"
    print(f"{row['start']:10} {row['before']:6.2f} × the best; {steps}")

# %% [markdown]
# Your table has K·n entries, and each tries up to n places: K·n² sums. For the 235,200 weights of fc1 that
# would be too many. The package makes about K · n · log n of it, with one more fact: when j moves to the
# right, the best i never moves to the left (Grønlund and others). So `exact_kmeans` does whole layers, and
# we can see how far from the best each start ends. **k-means++** is a fourth start: it draws the centroids
# one after the other, and a weight is the more likely, the farther it is from those drawn so far (P ∝
# squared distance).

# %%
tables = {layer: compare_starts(net.get(f"{layer}.weight").data.reshape(-1), 16) for layer in ("fc3", "fc2")}
for layer, kind in itertools.product(tables, START):
    worst = max(row["after"] for row in tables[layer] if row["start"] == kind) - 1
    print(f"{layer} {kind:10} after k-means at most {worst:6.2%} above the best")
material.draw_starts(tables)

# %% [markdown]
# In the large layer, every start ends within a few percent of the best (and some were stopped at 100
# steps). In the small one, a bad start costs a quarter. The linear start, the paper's favourite, is among
# the bad there: it spends centroids on the few weights far out. The density start, which the paper liked
# less, ends near the best in both. K-means++ *begins* better than random weights. (On average at most 8 (ln
# K + 2) times the best, its authors proved. A random start has no such promise.) And the accuracy?


# %%
def with_best_codebooks(k):
    """A copy of the net in which each matrix has the best codebook there is."""
    other = copy.deepcopy(net)
    for layer in ("fc1", "fc2", "fc3"):
        parameter = other.get(f"{layer}.weight")
        centroids, labels = package_best(parameter.data.reshape(-1), k)
        labels = labels.reshape(parameter.shape)
        parameter.data = centroids
        parameter.attach(nn.Codebook(labels))
    return other


exact = with_best_codebooks(4)
found = {kind: measure.evaluate(after_kmeans(kind, 4), digits.val) for kind in START}
for kind, quality in found.items():
    versus = measure.compare(quality, measure.evaluate(exact, digits.val))
    change = f"{100 * versus.difference:+.1f} ± {100 * versus.standard_error:.1f} points"
    print(f"4 values from {kind:10} {percent(quality)};  the best codebooks instead: {change}")

# %% [markdown]
# The best codebook is the best for the *squared error of the weights*. That is not the accuracy, and here no
# difference is larger than twice its standard error. What is the exact optimum good for, then? It is a limit:
# no start of k-means can bring more than this. To win more, change the question: train (part 2), or weigh the
# errors by what they do to the loss.
#
# ## 6 · Two other choices of A
#
# θ = A·c does not say how weights choose their value. Three ways:
#
# | | A comes from | the file keeps | when |
# |---|---|---|---|
# | **k-means** | the trained weights: the nearest centroid | c and the labels | after training |
# | **hashing** | a hash of the weight's *position* | c and a seed | before training |
# | **tying** | the plan of the network: a layer is used again | c | before training |
#
# Twelve weights, each time read from four values. Which A comes nearest to given weights?

# %%
theta = np.random.default_rng(3).normal(size=12)
choices = {name: np.zeros((12, 4)) for name in ("k-means", "hashing, with signs")}
choices["tying: 3 uses"] = np.tile(np.eye(4), (3, 1))
choices["k-means"][np.arange(12), package_best(theta, 4)[1]] = 1
signs = hashed_signs(theta, (12,), seed=1)
choices["hashing, with signs"][np.arange(12), hashed_labels(theta, (12,), 4, seed=1)] = signs
material.draw_assignments(choices, theta)

# %% [markdown]
# K-means looks at the weights, and loses little. The other two are blind: they lose most of θ. So they are
# no way to *compress* a trained net. They are a way to *plan* a small one.
#
# ### HashedNets
#
# A **hash** is a function that scrambles a whole number, the same way on every machine. Weight i reads the
# value h(i) mod K, times a sign ξ(i) from another hash:
#
#     θ[i] = ξ[i] · c[label[i]]          so A[i, label[i]] = ξ[i], which is +1 or −1
#
# Two weights share a value by chance alone. The signs make such accidents cancel on average: two weights
# that share a value are as often opposite as equal.
#
# ### Exercise 15.7 · the nearest hashed weights
#
# Write the third line, c = (AᵀA)⁻¹ Aᵀ θ, for this A, without the matrix. The labels and signs are given.
# Only weights with `keep` True count (pruned ones are 0 anyway). A value that no weight reads is 0.


# %% exercise="15.7"
def shared_means(weight, n_values, seed, *, signed=True, keep=None):
    """The K values with which a hashed weight comes nearest to this one.

    Shapes: weight (...), keep Booleans alike, or None for all -> c (n_values,), of the weight's type.
    """
    labels = hashed_labels(weight, weight.shape, n_values, seed)  # (...): the value that each weight reads
    signs = hashed_signs(weight, weight.shape, seed) if signed else np.ones_like(weight)  # (...): ξ
    keep = np.ones(weight.shape, dtype=bool) if keep is None else keep
    # BEGIN SOLUTION
    sums = np.bincount(labels[keep], weights=(signs * weight)[keep], minlength=n_values)
    counts = np.bincount(labels[keep], minlength=n_values)
    c = (sums / np.maximum(counts, 1)).astype(weight.dtype)
    # INSTEAD
    c = ...
    # END SOLUTION
    return c


# %% check="15.7"
check("15.7")

# %% [markdown]
# First the wrong way to use it: hash the *trained* net, eight weights to a value, each value nearest to its
# weights.

# %%
projected = copy.deepcopy(net)
with yours("15.7"):
    hash_weights(projected, 1 / 8, start="means")
spread = projected.get("fc1.weight").read().numpy().std() / weight.std()
print(f"trained, then hashed: {percent(measure.evaluate(projected, digits.val))}")
print(f"the spread of fc1 is {spread:.2f} of what it was; 1/√8 = {1 / math.sqrt(8):.2f}")

# %% [markdown]
# Near to guessing. A mean of eight weights that have nothing to do with each other keeps 1/8 of their
# variance. So draw the values at random, like any new net, and **train from the start**. A net of 100
# hidden units, in files of equal size, three ways:
#
# - k-means with 2, 4 and 16 values: 1, 2 and 4 bits for each label. Seven epochs of training, one of
#   fine-tuning;
# - hashing with 1/32, 1/16 and 1/8 as many values as weights: 32 bits for each value. Eight epochs;
# - the plain answer: a smaller net, with 3, 6 and 12 hidden units. Eight epochs.
#
# (Learning rates were chosen on validation images: 0.003 for the net before k-means, 0.01 for all others.)


# %%
def mlp(hidden):
    rng = np.random.default_rng(0)
    first, last = nn.Linear(784, hidden, rng=rng), nn.Linear(hidden, 10, rng=rng)
    return nn.Sequential(nn.Flatten(), first, nn.ReLU(), last)


whole_mlp = mlp(100)
tune(whole_mlp, optim.Adam(whole_mlp.parameters(), lr=0.003), epochs=7)
files = {"k-means": [], "hashed": [], "fewer units": []}
for k, fraction, hidden in ((2, 1 / 32, 3), (4, 1 / 16, 6), (16, 1 / 8, 12)):
    clustered, hashed, thin = copy.deepcopy(whole_mlp), mlp(100), mlp(hidden)
    compress.share(clustered, k)
    tune(clustered, optim.Adam(clustered.parameters(), lr=0.01))
    hash_weights(hashed, fraction, rng=0)
    for model in (hashed, thin):
        tune(model, optim.Adam(model.parameters(), lr=0.01), epochs=8)
    for points, model in zip(files.values(), (clustered, hashed, thin)):
        points.append(from_file(model))

for name, points in files.items():
    print(f"{name:12}", "   ".join(f"{n_bytes:7,} bytes {percent(quality)}" for quality, n_bytes in points))
material.draw_bytes(files, from_file(whole_mlp))

# %% [markdown]
# This is the second surprise. In one kind of file nearly every byte is a *label*, and there are two to
# sixteen numbers a layer to read. In the other, nearly every byte is a *number*, and there is no label at
# all. At equal bytes, both are about as good, and in the smallest file both are far better than the small
# dense net. Chen and others found that for hashing. **A byte can say which value, or what value.** And what
# 79,400 weights have, even shared ones, and three units have not, is width.
#
# The price: hashing must train from the start, and labels are computed at each step. It takes longer to
# train, and not a multiplication less to run (question 2).
#
# ### Tying: one block, several times
#
# The plainest A: identity matrices, one below the other. `Repeat(block, 4)` sends x four times through the
# *same* block: the depth of four layers, the weights of one. By the second line, its gradient is the sum
# over the uses:

# %%
block = nn.Sequential(nn.Linear(5, 5, rng=1), nn.ReLU())
copies = nn.Sequential(*(copy.deepcopy(block) for _ in range(4)))
points = np.random.default_rng(2).normal(size=(8, 5)).astype(np.float32)
for model in (Repeat(block, 4), copies):
    (model(Tensor(points)) ** 2).sum().backward()
uses = [part.get("0.weight").grad for part in copies]  # the gradient of each copy
same_gradient = np.allclose(sum(uses), block.get("0.weight").grad, rtol=1e-4)
print("the gradient of the block is the sum over its four uses:", same_gradient)

# %% [markdown]
# Does such depth help? Three spiral arms in the plane; a net whose inner layers have only 8 units. With one
# block; with one block four times; with four blocks; and the wrong way: four blocks, trained apart, and
# *then* tied by `tie`, which takes the mean. Four random starts each.


# %%
def block_of(width, rng):
    return nn.Residual(nn.Sequential(nn.Linear(width, width, rng=rng), nn.ReLU()))


def spiral_net(plan, seed):
    rng = np.random.default_rng(seed)
    first, last = nn.Linear(2, 8, rng=rng), nn.Linear(8, 3, rng=rng)
    middle = {"one block": 1, "one block, 4 times": 1, "four blocks": 4}[plan]
    blocks = [block_of(8, rng) for _ in range(middle)]
    if plan == "one block, 4 times":
        blocks = [Repeat(blocks[0], 4)]
    return nn.Sequential(first, nn.ReLU(), *blocks, last)


arms, new_arms = data.spirals(1000, rng=1), data.spirals(2000, rng=3)
results = {plan: [] for plan in ("one block", "one block, 4 times", "four blocks", "four, tied afterwards")}
for plan, seed in itertools.product(list(results)[:3], range(4)):
    model = spiral_net(plan, seed)
    settings = {"batch_size": 100, "epochs": 40, "schedule": train.cosine, "progress": False}
    train.fit(model, (arms, None), optimizer=optim.Adam(model.parameters(), lr=0.03), **settings)
    results[plan].append((measure.evaluate(model, new_arms).accuracy, model))
    if plan == "four blocks":
        tied = copy.deepcopy(model)
        tie(tied, "2", "3", "4", "5")
        results["four, tied afterwards"].append((measure.evaluate(tied, new_arms).accuracy, tied))

for plan, found in results.items():
    accuracies = " ".join(f"{accuracy:.0%}" for accuracy, _ in found)
    n_numbers = sum(parameter.size for parameter in found[0][1].parameters())
    print(f"{plan:22} {n_numbers:4} numbers; accuracies {accuracies}")
material.draw_spirals(results, arms)

# %% [markdown]
# (The pictures show the best of four starts; below them mean ± standard deviation over the starts, on new
# points.) Using one block four times costs no number and no byte more than using it once. Here it is about
# as good as four blocks with nearly three times the numbers. (Four starts are few: read the ± before you
# believe a mean.) Of one thing we *are* sure: trained apart and then tied, the net is lost. As with the
# hash: **choose A before you train, or fit A to the weights as k-means does.**
#
# The most common tied layer stands in language models. The first layer looks up a row of numbers for each
# symbol; the last one gives each symbol a score. Both are matrices of one row a symbol. Tied, they are one
# `Parameter`, with two uses (Press and Wolf; ALBERT, by Lan and others, ties all *blocks* of its network):

# %%
language = nn.Sequential(Embedding(2000, 32, rng=0), nn.Linear(32, 2000, bias=False, rng=0))
with tempfile.TemporaryDirectory() as folder:
    sizes = []
    for tied_yet in (False, True):
        if tied_yet:
            print(f"tie: {tie(language, '0.weight', '1.weight'):,} numbers fewer")
        path = os.path.join(folder, "language.top")
        save(language, path)
        sizes.append(os.path.getsize(path))
print(f"the file: {sizes[0]:,} bytes before, {sizes[1]:,} after")

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
# A tied matrix is an attribute of two layers: `head.weight = embedding.weight`. k-means itself is
# `sklearn.cluster.KMeans(n_clusters=16).fit(weight.reshape(-1, 1))`; it begins with k-means++.
#
# ## Questions
#
# 1. A convolution uses the same filter at every place of the image. What is c there, and what is A?
# 2. A hashed layer of 784 × 100 weights shares 2,450 values. How many multiplications does it need for one
#    image? What is saved, then?
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
# 2. 78,400, as before: each input still meets each weight. Bytes in the file are saved, and no time.
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
#   the Hashing Trick", ICML, arXiv:1504.04788. HashedNets.
# - D. Arthur and S. Vassilvitskii (2007), "k-means++: The Advantages of Careful Seeding", SODA, 1027–1035.
# - A. Grønlund, K. G. Larsen, A. Mathiasen, J. S. Nielsen, S. Schneider and M. Song (2017), "Fast Exact
#   k-Means, k-Medians and Bregman Divergence Clustering in 1D", arXiv:1701.07204. The faster tables.
# - O. Press and L. Wolf (2017), "Using the Output Embedding to Improve Language Models", arXiv:1608.05859.
# - Z. Lan et al. (2020), "ALBERT: A Lite BERT for Self-supervised Learning of Language Representations",
#   ICLR, arXiv:1909.11942. One block for all layers.
#
# **Read on in the source:** `tinyopt/compress/share.py` has your step, and the three lines of mathematics;
# `kmeans_starts.py` and `kmeans_exact.py` beside it have the starts and the best; `tinyopt/ops/view.py` has
# `lookup`; `tinyopt/nn/views.py` shows how a layer reads its weight through a codebook without knowing it;
# `tinyopt/nn/hashed.py` and `tied.py` are the two other choices of A.

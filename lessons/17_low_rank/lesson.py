"""Lesson 17, low rank: the source of lesson.ipynb; see tinyopt/course/percent.py for its format."""

# %% [markdown]
# # 17 · Low rank: how much of a matrix is repetition?
#
# **The question.** The first layer of our network is a matrix of 300 × 784 = 235,200 numbers. Each row looks
# different. But perhaps the rows are all *mixtures of a few*. Then we need not store 300 rows: a few rows and
# the recipe of each mixture would do. **How many rows are enough? What do we save? And what is it that we
# throw away?**
#
# - **You need:** lessons 6 (MACs, bytes, time), 7 (convolution); eigenvalues of a symmetric 2×2 matrix.
# - **You will write:** a best approximation by hand, `truncated_svd`, `rank_for_energy`,
#   `largest_saving_rank`, an example in which 99 % is not enough, `whitened_svd`, `spatial_svd` and
#   `merged_weight`.
# - **Time:** about 150 minutes.
#
# Where an exercise is still empty, the package's own function works for you.

# %%
import copy
import os
import tempfile

import matplotlib.pyplot as plt
import numpy as np

import tinyopt
from tinyopt import compress, data, measure, models, nn, optim, train
from tinyopt.compress import conv_lowrank, lora, rank_budget, whitened
from tinyopt.compress.lowrank import energy_sweep, rank_sweep
from tinyopt.course import STYLE, start
from tinyopt.course.lessons import find, load

check, hint, reveal, yours = start(17)
material = load(find(17) / "material.py")
folder = tempfile.TemporaryDirectory()  # all files of this lesson; it is removed at the end
plt.rcParams.update(STYLE)

# %% [markdown]
# First a network, trained on 3,500 real digits. All choices below are made on its **validation** images.

# %%
digits = data.mnist5k()
LAYERS = ("fc1", "fc2", "fc3")


def fine_tune(net, epochs=3, lr=1e-3, task=digits):
    """Train what is not frozen, also of a network that was trained before; the learning rate falls to 0."""
    optimizer = optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=lr)
    train.fit(net, task, epochs=epochs, optimizer=optimizer, schedule=train.cosine, progress=False)
    return net


def val(net, task=digits):
    return measure.evaluate(net, task.val)


def with_weight(layer, matrix):
    """A copy of the trained net with another matrix in one layer, stored as a full matrix."""
    other = copy.deepcopy(net)
    other.get(layer).weight.data = matrix.astype(np.float32)
    return other


untrained = models.lenet_300_100(rng=0)
net = fine_tune(copy.deepcopy(untrained), epochs=8, lr=3e-3)
W = net.get("fc1").weight.data  # (300, 784)
u, sigma, vt = np.linalg.svd(W, full_matrices=False)  # explained below
base = val(net)
print(f"validation accuracy {base.accuracy:.1%} ± {base.standard_error:.1%} (standard error)")

# %% [markdown]
# Now the picture. A digit is a matrix of 28 × 28 numbers. The upper row shows the best approximations of it
# that have **rank** 1, 2, 4 and 8: in a matrix of rank r, every row is a mixture of the same r rows. In the
# lower row the same is done with the whole matrix of fc1. You see one of its 300 rows as an image, and what
# the network still achieves on the validation images.

# %%
image = digits.train.images[np.flatnonzero(digits.train.labels == 5)[3], 0]
U, S, Vt = np.linalg.svd(image)
unit = int((W**2).sum(axis=1).argmax())
limit = float(abs(W[unit]).max())
figure, axes = plt.subplots(2, 5, figsize=(9.5, 4.6), layout="constrained")
for ax, r in zip(axes[0], (1, 2, 4, 8, 28)):
    title = f"rank {r}: {r * 56} numbers" if r < 28 else "full: 784 numbers"
    material.draw_picture(ax, (U[:, :r] * S[:r]) @ Vt[:r], title, limit=1)
for ax, r in zip(axes[1], (1, 4, 8, 16, 300)):
    cut = (u[:, :r] * sigma[:r]) @ vt[:r]
    accuracy = val(with_weight("fc1", cut)).accuracy
    title = f"rank {r}: {r * 1084:,} numbers" if r < 300 else "full: 235,200 numbers"
    material.draw_picture(ax, cut[unit].reshape(28, 28), f"{title}\naccuracy {accuracy:.1%}", "RdBu_r", limit)
plt.show()

# %% [markdown]
# Look at the last two images: at rank 16, the picture of the weights is smoother than the true one. A lot is
# missing. But the network hardly misses it! Why can that be? We shall see.
#
# ## Rank 1: a column times a row
#
# The simplest matrix is one **column** times one **row**. Each entry is a product: up[i] · down[j]. An m × n
# matrix of this kind needs only m + n numbers. A sum of r such products has rank r (or less) and needs
# r · (m + n) numbers.
#
# What is the *nearest* matrix of rank 1 to a given W? "Near" means: the squared error Σ (W − W₁)², over all
# entries, is as small as possible. On paper:
#
#     W = [ 3 0 ]        Wᵀ W = [ 9+16  0+20 ] = [ 25 20 ]
#         [ 4 5 ]               [ 0+20  0+25 ]   [ 20 25 ]
#
# WᵀW is symmetric. A matrix [a b; b a] has the eigenvectors (1, 1)/√2 and (1, −1)/√2, with the eigenvalues
# a + b and a − b. Here these are 45 and 5. They are the *squares* of the **singular values**: σ₁² = 45 and
# σ₂² = 5. Keep the first direction v₁ = (1, 1)/√2 and forget the other:
#
#     W₁ = W v₁ v₁ᵀ = W · ½ [ 1 1 ] = [ 1.5 1.5 ]        W − W₁ = [  1.5 −1.5 ]
#                           [ 1 1 ]   [ 4.5 4.5 ]                 [ −0.5  0.5 ]
#
# The squared error is 2.25 + 2.25 + 0.25 + 0.25 = **5**. That is σ₂². No accident, as you will see.

# %%
example = material.EXAMPLE
up, down = compress.truncated_svd(example, 1)
figure, axes = plt.subplots(1, 5, figsize=(10, 3), layout="constrained", width_ratios=(1, 1, 1, 1.3, 1.3))
panels = {"W": example, "W₁, rank 1": up @ down, "W − W₁": example - up @ down}
for ax, (title, array) in zip(axes, panels.items()):
    material.draw_matrix(ax, array.round(9), title)
material.draw_map(axes[3], example)
material.draw_map(axes[4], example, rank=1)
axes[3].set_title("W sends a circle here")
axes[4].set_title("W₁ sends it here")
plt.show()

# %% [markdown]
# A matrix sends the unit circle to an ellipse. Its half axes have the lengths σ₁ and σ₂. The best matrix of
# rank 1 keeps the long axis, and all points fall on it.
#
# ### Exercise 17.1 · predict, then compute
#
# Take W = [4 0; 3 5], that is, the rows (4, 0) and (3, 5). On paper: σ₁² and σ₂² (squares, the larger first),
# the nearest matrix of rank 1, and its squared error.


# %% exercise="17.1"
def predict():
    """σ₁², σ₂², the nearest matrix of rank 1 (two rows of two numbers), and its squared error: by hand."""
    # BEGIN SOLUTION
    first = 25 + 15  # WᵀW has 16 + 9 and 25 on its diagonal, 15 beside it
    second = 25 - 15
    nearest = [[2, 2], [4, 4]]  # W times ½ [1 1; 1 1]
    error = 4 + 4 + 1 + 1
    # INSTEAD
    first = ...
    second = ...
    nearest = [[..., ...], [..., ...]]
    error = ...
    # END SOLUTION
    return first, second, nearest, error


# %% check="17.1"
check("17.1")

# %% [markdown]
# ## The formula
#
# Every matrix W (m × n) can be written as
#
#     W = U Σ Vᵀ = σ₁ u₁ v₁ᵀ + σ₂ u₂ v₂ᵀ + …        σ₁ ≥ σ₂ ≥ … ≥ 0
#
# This is the **singular value decomposition**, SVD. The columns uᵢ of U have length 1 and are perpendicular
# to each other. So are the rows vᵢᵀ of Vᵀ. So W is a sum of min(m, n) products of a column and a row, ordered
# by size. **Truncate** it: stop the sum after r terms. The rest, Σ over i > r of σᵢ², is the squared error:
# since all terms are perpendicular, their squares just add up (Pythagoras).
#
# Here are the first terms of the digit from above, and their sums:

# %%
figure, axes = plt.subplots(2, 6, figsize=(10, 3.6), layout="constrained")
for i, (above, below) in enumerate(axes.T):
    term = S[i] * np.outer(U[:, i], Vt[i])
    material.draw_picture(above, term, f"term {i + 1}, σ = {S[i]:.1f}", "RdBu_r", 1)
    material.draw_picture(below, (U[:, : i + 1] * S[: i + 1]) @ Vt[: i + 1], f"sum of {i + 1}", limit=1)
plt.show()

# %% [markdown]
# ## The slow way, which needs no SVD
#
# We look for a column a and a row b with a small error Σ (W − a bᵀ)². If b is known, each entry of a is a
# least squares problem of one unknown: a[i] = Σ W[i,j] b[j] / Σ b[j]². If a is known, it is the same for b.
# So we solve for the one, then for the other, and so on. Then subtract a bᵀ from W, and find the next pair
# in what is left. This is called **alternating least squares**. It is our specification:


# %%
def slow_pairs(matrix, rank, n_steps, rng):
    """`rank` pairs of a column and a row, one after the other; slow, and each step is one line of algebra."""
    rest, up, down = matrix.copy(), [], []
    for _ in range(rank):
        row = rng.standard_normal(matrix.shape[1])
        for _ in range(n_steps):
            column = rest @ row / (row**2).sum()  # the best column for this row
            row = column @ rest / (column**2).sum()  # the best row for this column
        rest = rest - np.outer(column, row)
        up.append(column)
        down.append(row)
    return np.array(up).T, np.array(down)


figure, ax = plt.subplots(figsize=(6.5, 3.2), layout="constrained")
counts = (1, 2, 3, 5, 10, 20, 50, 100)
for r, colour in ((1, "C0"), (2, "C1"), (4, "C2"), (8, "C3")):
    found = [slow_pairs(image, r, n, np.random.default_rng(0)) for n in counts]
    errors = [((image - up @ down) ** 2).sum() for up, down in found]
    ax.loglog(counts, errors, "o-", ms=4, color=colour, label=f"rank {r}")
    ax.axhline((S[r:] ** 2).sum(), color=colour, ls=":")
ax.set(xlabel="steps for each pair", ylabel="squared error of the digit")
ax.set_yticks([1, 2, 5, 10, 20], [1, 2, 5, 10, 20])
ax.minorticks_off()
ax.legend(frameon=False, title="dotted: tail of σ², by SVD", loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %% [markdown]
# The loop arrives at the dotted lines, and never below. (The two steps together multiply the row by WᵀW,
# again and again. This is known as *power iteration*.) From now on `np.linalg.svd` does the work. It
# returns three arrays: `u` (m × k), `sigma` (k,) and **`vt`** (k × n), with k = min(m, n). The third one is
# already transposed.
#
# ### Exercise 17.2 · `truncated_svd`
#
# Return **two** factors, `up` (m × r) and `down` (r × n), whose product is the nearest matrix of rank r. How
# you share the σᵢ between the two is your choice. (The package gives √σᵢ to each, so that both have
# entries of the same size. For training that is good.)


# %% exercise="17.2"
def truncated_svd(matrix, rank):
    """The nearest matrix of a given rank, as two factors: up @ down.

    Shapes: matrix (m, n) -> up (m, rank), down (rank, n).
    """
    u, sigma, vt = np.linalg.svd(matrix, full_matrices=False)
    # BEGIN SOLUTION
    root = np.sqrt(sigma[:rank])
    up, down = u[:, :rank] * root, root[:, None] * vt[:rank]
    # INSTEAD
    up = ...
    down = ...
    # END SOLUTION
    return up, down


# %% check="17.2"
check("17.2")

# %% [markdown]
# Now **your** factors replace the matrices of the network: two thin layers for each dense one, wherever that
# becomes smaller.

# %%
with yours("17.2"):
    thin = copy.deepcopy(net)
    print("ranks:", compress.factorize(thin, 16))
print(thin.get("fc1").down.shape, thin.get("fc1").up.shape, f"validation accuracy {val(thin).accuracy:.1%}")

# %% [markdown]
# ## Is it really the best? Ask the others
#
# Eckart and Young (1936) proved: **no** matrix of rank r has a smaller squared error than the truncated SVD.
# A proof for all; let us look at some. For fc1 we try other ways to get rank r, all of which have been
# called low rank somewhere:
#
# - **random projection**: project the rows of W on r random directions;
# - **random rows**: choose r rows of W, and write all others as the best mixtures of these;
# - **the smallest**: keep the r smallest singular values instead of the largest.


# %%
def on_span(rows):
    """W with each row replaced by the nearest mixture of these rows."""
    basis = np.linalg.qr(rows.T)[0]  # perpendicular rows of length 1 that span the same
    return (W @ basis) @ basis.T


rng = np.random.default_rng(0)
WAYS = {
    "truncated SVD": lambda r: (u[:, :r] * sigma[:r]) @ vt[:r],
    "random rows of W": lambda r: on_span(W[rng.choice(300, r, replace=False)]),
    "random projection": lambda r: on_span(rng.standard_normal((r, 784))),
    "the smallest σ": lambda r: (u[:, -r:] * sigma[-r:]) @ vt[-r:],
}
ranks = (1, 2, 4, 8, 16, 32, 64, 128, 256)
figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.4), layout="constrained")
for (name, way), mark in zip(WAYS.items(), "osv^"):
    cuts = [way(r) for r in ranks]
    errors = [float(((W - cut) ** 2).sum() / (W**2).sum()) for cut in cuts]
    accuracies = [100 * val(with_weight("fc1", cut)).accuracy for cut in cuts]
    axes[0].plot(ranks, errors, f"{mark}-", ms=4, label=name)
    axes[1].plot(ranks, accuracies, f"{mark}-", ms=4)
    print(f"{name:18} rank 16: relative squared error {errors[4]:.2f}, accuracy {accuracies[4]:.1f} %")
axes[0].set(xscale="log", xlabel="rank of fc1", ylabel="squared error / Σ W²")
axes[1].axhline(100 * base.accuracy, color="0.6", ls="--", lw=1)
axes[1].set(xscale="log", xlabel="rank of fc1", ylabel="validation accuracy, %")
axes[0].legend(frameon=False, fontsize=9)
plt.show()

# %% [markdown]
# In the left figure nobody is below the SVD, at no rank. The three others have the same number of parameters
# and the same speed. So "our model has low rank" says nothing: *which* low rank matters. The worst is the
# last. A wrong slice, `u[:, -r:]` for `u[:, :r]`, raises no error.
#
# ## What is it that we throw away?
#
# Σ σᵢ² is the sum of the squares of *all* entries of W. It is called the **energy** of W. Look at the
# singular values of each layer, before and after training. If the entries of a matrix are independent random
# numbers with standard deviation s, its singular values lie (nearly all) in a known interval, between
# s·(√n − √m) and s·(√n + √m) for m < n. It is drawn in grey.

# %%
material.plot_spectra(
    {layer: [model.get(layer).weight.data for model in (untrained, net)] for layer in LAYERS}
)
plt.show()

# %% [markdown]
# Before training, the values lie in the band, as for any random matrix: there is *nothing* to compress.
# Training has lifted some of them out of it. But most are still where they were! To a large part, these are
# the random numbers that the network was started with. Training had little reason to remove them. This is
# what we throw away. Let us check it: take the part of fc1 and fc2 that is cut off. How similar is it to
# the start? The **cosine** is 1 for the same direction, and 0 for unrelated matrices.

# %%
for layer, r in (("fc1", 32), ("fc2", 10)):
    after, before = (model.get(layer).weight.data for model in (net, untrained))
    up, down = compress.truncated_svd(after, r)
    rest = after - up @ down
    other = np.random.default_rng(1).uniform(-1, 1, size=rest.shape)  # random numbers of another seed
    for name, matrix in (("the start", before), ("other random numbers", other)):
        cosine = (rest * matrix).sum() / np.sqrt((rest**2).sum() * (matrix**2).sum())
        print(f"{layer}, what rank {r} leaves out: cosine with {name}: {cosine:.2f}")
    change = after - before
    needed = [compress.rank_for_energy(matrix, 0.9) for matrix in (before, after, change)]
    print(f"{layer}, rank for 90 % of the energy: start {needed[0]}, trained {needed[1]}, change {needed[2]}")

# %% [markdown]
# The last number of each block is remarkable: the *change* that training made needs a much lower rank than
# the trained matrix. A famous method, LoRA, builds on such an observation: it trains a low-rank change.
#
# ### Exercise 17.3 · `rank_for_energy`
#
# People often choose the rank by energy: "the smallest rank that keeps 90 % of Σ σ²". Write it. Exactly
# 90 % is enough: *at least* the share is asked for.


# %% exercise="17.3"
def rank_for_energy(matrix, energy):
    """The smallest rank that keeps a share `energy` of Σ σ²; exactly this share is enough.

    Shapes: matrix (m, n) -> an integer in 1..min(m, n).  Units: energy, a fraction in (0, 1].
    """
    sigma = np.linalg.svd(matrix, compute_uv=False)  # the largest first
    # BEGIN SOLUTION
    kept = np.cumsum(sigma**2)
    rank = min(int((kept < energy * kept[-1]).sum()) + 1, len(sigma))
    # INSTEAD
    rank = ...
    # END SOLUTION
    return rank


# %% check="17.3"
check("17.3")

# %% [markdown]
# Your function now chooses the ranks of all layers. `energy_sweep` says what the whole network would cost:

# %%
with yours("17.3"):
    cuts = energy_sweep(net, (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99), input_shape=(1, 28, 28))
print(f"{'energy':>6} {'parameters':>11} {'MACs':>9}   ranks")
for cut in cuts:
    print(f"{cut.energy:6.0%} {cut.parameters:11,} {cut.macs:9,}   {cut.rank}")
print(f"{'dense':>6} {sum(p.size for p in net.parameters()):11,}")

# %% [markdown]
# The last line has no ranks: to keep 99 %, the factors of each layer would be *larger* than its matrix.
#
# ## When does it save anything?
#
# The factors hold r·m + r·n numbers, the matrix m·n. And a dense layer needs one multiply-add (MAC) for each
# number, so the same holds for the work. It is saved only if
#
#     r (m + n) < m n          the break-even rank is  m n / (m + n)
#
# For 300 × 784 that is 216.97: from rank 217 on, the "compressed" layer is larger. The full rank is 300.

# %%
material.plot_break_even(W)
plt.show()

# %% [markdown]
# ### Exercise 17.4 · the largest rank that saves
#
# `factorize` refuses a rank that saves nothing, and says which rank would. Write the function that it asks
# for this. Be careful where the break-even is a whole number: a 4 × 4 matrix has 16 numbers, and its factors
# of rank 2 have 16 as well. Nothing is saved there.


# %% exercise="17.4"
def largest_saving_rank(shape):
    """The largest rank whose two factors hold fewer numbers than the matrix; 0 if no rank saves anything.

    Shapes: shape, the pair (m, n) -> an integer.
    """
    m, n = shape
    # BEGIN SOLUTION
    rank = (m * n - 1) // (m + n)
    # INSTEAD
    rank = ...
    # END SOLUTION
    return rank


# %% check="17.4"
check("17.4")

# %%
with yours("17.4"):
    thin = copy.deepcopy(net)
    print("rank 12 is used for:", compress.factorize(thin, 12))
    try:
        compress.factorize(copy.deepcopy(net), {"fc3": 10})
    except ValueError as problem:
        print("refused:", problem)

# %% [markdown]
# ## The real thing: which rank?
#
# For each rank: factorize, look, then train the factors again for 3 epochs (**fine-tuning**). We take the
# smallest rank whose validation accuracy is at most one standard error below that of the dense net. The test
# images are not used for this.


# %%
def size_of(model, name="model"):
    """The bytes of the model's file on the disk."""
    path = os.path.join(folder.name, name)
    tinyopt.save(model, path)
    return os.path.getsize(path)


RANKS = (2, 4, 6, 8, 12, 16, 32, 64)
floor = base.accuracy - base.standard_error
at_once, tuned, models_of = [], [], {}
for r in RANKS:
    thin = copy.deepcopy(net)
    compress.factorize(thin, r)
    at_once.append(val(thin))
    models_of[r] = fine_tune(thin)
    tuned.append(val(thin))
chosen = next(r for r, quality in zip(RANKS, tuned) if quality.accuracy >= floor)
material.plot_ranks(RANKS, {"truncated": at_once, "truncated, then trained": tuned}, base)
plt.show()
print("chosen rank:", chosen)

# %% [markdown]
# At low ranks, training brings back a good part of what was lost. Look at the enlarged curve, too: it wobbles
# by up to a standard error. So the chosen rank is not a sharp number.
#
# Now the account. Each file is written, measured and **loaded again**; the accuracy is that of the loaded
# model, on the test images. Time is measured for one image, and for 256 images at once.

# %%
plain_cut = copy.deepcopy(net)
compress.factorize(plain_cut, chosen)
candidates = {"dense": net, f"rank {chosen}": plain_cut, f"rank {chosen}, trained": models_of[chosen]}
account = {}
for name, model in candidates.items():
    n_bytes = size_of(model, "file")
    loaded = tinyopt.load(os.path.join(folder.name, "file"))
    counts = measure.summary(loaded, (1, 28, 28))
    times = [1e3 * measure.latency(loaded, digits.test.images[:n], budget=0.15).seconds for n in (1, 256)]
    account[name] = (counts.parameters, counts.macs, n_bytes, *times, measure.evaluate(loaded, digits.test))
print(f"{'':18} parameters      MACs   file bytes   ms, 1 image   ms, 256   test accuracy")
for name, (n, macs, n_bytes, one, many, quality) in account.items():
    print(f"{name:18} {n:10,} {macs:9,} {n_bytes:12,} {one:13.3f} {many:9.2f}", end="   ")
    print(f"{quality.accuracy:.1%} ± {quality.standard_error:.1%}")
dense_row, thin_row = account["dense"], account[f"rank {chosen}, trained"]
print("trained against dense, paired:", measure.compare(dense_row[-1], thin_row[-1]))
names = ("MACs", "file", "time, 256 images", "time, 1 image")
ratios = [dense_row[i] / thin_row[i] for i in (1, 2, 4, 3)]
material.plot_ratios(names, ratios, f"dense / (rank {chosen}, trained)")
plt.show()

# %% [markdown]
# Read the paired line with care. "One standard error" on 500 validation images is about one point. So our
# rule *allows* a loss of about one point, and such a loss may be real. Two models on the same test images
# are compared more sharply than two accuracies with their own errors (lesson 6). If a point matters, take
# the next larger rank: it is still a small file.
#
# The file shrinks nearly as much as the MACs; some bytes are biases and the header. The **time** has a factor
# of its own. Some of it is not multiplication: each layer's call costs a little, relu costs something, and
# there are now more layers. For a single image this fixed part is most of the time, and hardly anything is
# gained. For 256 images the gain is real (on a busy machine even more than that of the MACs, since thin
# factors fit into the cache). And no special hardware was needed: two thin products are ordinary products.
# For pruning of single weights this is not so.
#
# ## Why not train a thin network from the start?
#
# A fair question. The same thin layers, once from random numbers, once from the SVD of a dense net; three
# seeds. The random ones get all the epochs of both trainings.

# %%
results = {"thin from the start": [], "dense, SVD, trained again": []}
for seed in (0, 1, 2):
    alone = models.lenet_300_100(rng=seed)
    for layer in ("fc1", "fc2"):
        old = alone.get(layer)
        alone.replace(layer, nn.LowRankLinear(old.in_features, old.out_features, chosen, rng=seed))
    results["thin from the start"].append(val(fine_tune(alone, epochs=6, lr=3e-3)).accuracy)
    dense = fine_tune(models.lenet_300_100(rng=seed), epochs=4, lr=3e-3)
    compress.factorize(dense, {"fc1": chosen, "fc2": chosen})
    results["dense, SVD, trained again"].append(val(fine_tune(dense, epochs=2)).accuracy)
for name, accuracies in results.items():
    mean, deviation = 100 * np.mean(accuracies), 100 * np.std(accuracies, ddof=1)
    print(f"{name:26} validation accuracy {mean:.1f} ± {deviation:.1f} % (3 seeds, standard deviation)")

# %% [markdown]
# With these settings it pays to train the large net first. (We did not search better settings for the thin
# net: another start, or more epochs, may help it.) The SVD is a good *starting point*.
#
# ## Wrong ways
#
# Two were measured above already: the smallest σ, and a random projection.
#
# ### Wrong way 1: an SVD that is never truncated
#
# `u, s, vt = svd(W)`, two layers, "the model was decomposed, and the accuracy is unchanged". Of course it is
# unchanged! No number was left out. `factorize` refuses to do this, so we do it ourselves.
#
# ### Wrong way 2: truncated, and multiplied again
#
# `W_r = up @ down`, and the full matrix goes back into the layer. It has rank r, and "the model was
# compressed by a factor of ten". But a matrix of low rank has as many entries as any other.

# %%
multiplied = copy.deepcopy(net)
for layer in ("fc1", "fc2"):
    up, down = compress.truncated_svd(net.get(layer).weight.data, chosen)
    multiplied.get(layer).weight.data = up @ down
wrong = {
    "dense": net,
    "SVD, not truncated": material.at_full_rank(net),
    "truncated, multiplied again": multiplied,
    f"two factors of rank {chosen}": plain_cut,
}
rows = {}
for name, model in wrong.items():
    many = measure.latency(model, digits.val.images[:256], budget=0.15).seconds * 1e3
    rows[name] = size_of(model) / 1000, measure.summary(model, (1, 28, 28)).macs / 1000, many
    print(f"{name:28} validation accuracy {val(model).accuracy:.1%}")
material.plot_costs(rows, ("file on disk, kB", "thousand MACs", "ms for 256 images"))
plt.show()

# %% [markdown]
# The first red bar is *longer* than the dense one: in bytes, in MACs, in time. Who only looks at the accuracy
# sees a perfect compression. The second red bar is the dense network in everything but accuracy.
#
# ### Wrong way 3: to judge by energy alone
#
# "We keep 60 % of the energy in each layer, so they are all treated alike." Truncate one layer at a time:

# %%
figure, ax = plt.subplots(figsize=(6.8, 3.4), layout="constrained")
for layer, mark in zip(LAYERS, "osv"):
    weight = net.get(layer).weight.data
    all_ranks = [r for r in (1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 32, 64, 100, 200) if r <= min(weight.shape)]
    energies = [cut.energy for cut in rank_sweep(weight, all_ranks)]
    qualities = []
    for r in all_ranks:
        up, down = compress.truncated_svd(weight, r)
        qualities.append(100 * val(with_weight(layer, up @ down)).accuracy)
    ax.plot(energies, qualities, f"{mark}-", ms=4, label=layer)
    at = int(np.argmin([abs(energy - 0.6) for energy in energies]))
    worst = min(np.diff(qualities))  # what one more step to a larger rank can do
    kept = f"rank {all_ranks[at]} keeps {energies[at]:.0%} of the energy"
    print(f"{layer}: {kept}: {qualities[at]:.1f} %; worst step {worst:+.1f} points")
ax.axvline(0.6, color="0.6", ls=":")
ax.axhline(100 * base.accuracy, color="0.6", ls="--", lw=1)
ax.set(xlabel="share of the energy that is kept", ylabel="validation accuracy, %")
ax.legend(frameon=False, loc="lower right", title="only this layer is cut")
plt.show()

# %% [markdown]
# The same share of energy is plenty for one layer, and a disaster for another. A negative "worst step" means:
# more energy was kept, and the accuracy *fell*. And "90 % to be safe" is no better: in the table of exercise
# 17.3 it saves little, since the last part of the energy is mostly the random start. Energy measures the
# *weights*. We want to know about the *outputs*, and these depend on the inputs as well.
#
# ### Exercise 17.5 · explain this failure
#
# A friend says: "Rank 1 keeps 95 % of the energy. So the output of the layer changes by 5 % at most." Show
# that this is wrong. Find a 2 × 2 matrix W and an input x (two numbers) such that rank 1 keeps **at least
# 95 %** of Σ σ², but the output W x changes by **half of its length or more**. Then explain it to your
# neighbour in one sentence.


# %% exercise="17.5"
def witness():
    """W, two rows of two numbers, and x, two numbers: rank 1 keeps 95 % of Σ σ², and W x is ruined."""
    # BEGIN SOLUTION
    W = [[10, 0], [0, 1]]  # σ = 10 and 1: rank 1 keeps 100 of 101
    x = [0, 1]  # it lies in the direction that was thrown away
    # INSTEAD
    W = [[..., ...], [..., ...]]
    x = [..., ...]
    # END SOLUTION
    return W, x


# %% check="17.5"
check("17.5")

# %% [markdown]
# Does it happen in the network? In fc1, each input is an image. Compare the error of the weights with the
# error of the outputs W x, on real images and on random inputs of the same length:

# %%
x = digits.val.images.reshape(-1, 784).T  # (784, 500)
noise = np.random.default_rng(0).standard_normal(x.shape)
noise *= np.sqrt((x**2).sum(axis=0) / (noise**2).sum(axis=0))
figure, ax = plt.subplots(figsize=(6.8, 3.2), layout="constrained")
for name, inputs, mark in (("digits", x, "o"), ("random inputs", noise, "s")):
    outputs = W @ inputs
    errors = [outputs - (u[:, :r] * sigma[:r]) @ (vt[:r] @ inputs) for r in ranks]
    lost = [(error**2).sum() / (outputs**2).sum() for error in errors]
    ax.semilogx(ranks, lost, f"{mark}-", ms=4, label=f"outputs W x, {name}")
ax.semilogx(ranks, [1 - cut.energy for cut in rank_sweep(W, ranks)], "k:", label="weights W")
ax.set(xlabel="rank of fc1", ylabel="squared error, relative", ylim=(0, 1))
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# For random inputs, the outputs suffer as the weights do: the energy is a fair judge for inputs without
# structure. Real digits are not random. At the lowest ranks they suffer *more*. From about rank 10 on they
# suffer much less: they lie in the directions that training has enlarged. So fc1 can lose a third of its
# energy and still work. But nobody guarantees this: see your witness.
#
# ## The nearest outputs
#
# The cure is to minimise the error of the **outputs** on real inputs, not that of the weights. It is called
# *activation-aware* SVD. On paper: W = [2 0; 0 1], and two inputs, x₁ = (1, 0) and x₂ = (0, 4).
#
#     keep the larger σ      [2 0; 0 0]      weights: 0 + 1 = 1      outputs: x₂ gave (0, 4), now 0: error 16
#     keep the smaller σ     [0 0; 0 1]      weights: 4 + 0 = 4      outputs: x₁ gave (2, 0), now 0: error  4
#
# **The nearest weights do not give the nearest outputs.** The second input is large, so its direction counts
# more.
#
# There is a closed form. Let X hold one input in each row. All outputs are X Wᵀ, and H = XᵀX is a matrix that
# we can add up over as many inputs as we like. Take any S with S Sᵀ = H. Then for every change E of the
# weights
#
#     ‖X Eᵀ‖²  =  sum of the diagonal of E H Eᵀ  =  ‖E S‖²
#
# So we need the matrix nearest to **W S**, and Eckart and Young know it: W S = P Σ Qᵀ, keep the first r
# terms. To go back, multiply by S⁻¹ from the right. But Σ Qᵀ = Pᵀ W S, so the S⁻¹ cancels:
#
#     W₁ = P_r Σ_r Q_rᵀ S⁻¹ = P_r P_rᵀ W S S⁻¹ = P_r (P_rᵀ W)          error = Σ over i > r of σ_i²
#
# up = P_r and down = P_rᵀ W: no inverse is needed. (Inputs X S⁻ᵀ would be **white**: as H is S Sᵀ, theirs is
# the identity. So the method is called *whitening*.) In the example S = [1 0; 0 4] and W S = [2 0; 0 4]: σ₁ =
# 4 belongs to the second direction now, and the error is 2² = 4.
#
# ### Exercise 17.6 · `whitened_svd`
#
# `gram` is H. S is given: the eigenvectors of H, each times the root of its eigenvalue.


# %% exercise="17.6"
def whitened_svd(weight, gram, rank):
    """The factors of a given rank that change the outputs X Wᵀ the least, and the squared error that is left.

    Shapes: weight W (O, I), gram H = XᵀX (I, I) -> up (O, rank), down (rank, I), a number.
    """
    values, vectors = np.linalg.eigh(gram)
    root = vectors * np.sqrt(np.maximum(values, 0))  # S; rounding may leave values just below 0
    # BEGIN SOLUTION
    p, sigma, _ = np.linalg.svd(weight @ root, full_matrices=False)
    up = p[:, :rank]
    down = up.T @ weight
    error = float((sigma[rank:] ** 2).sum())
    # INSTEAD
    up = ...
    down = ...
    error = ...
    # END SOLUTION
    return up, down, error


# %% check="17.6"
check("17.6")

# %% [markdown]
# Plain and whitened at the **same rank**: the same bytes, the same MACs. H comes from 1,000 training images,
# or from only 50; no label is used. All errors of outputs are measured on the validation images. In the third
# panel all layers have the rank, or stay whole where it saves nothing. (`factorize_outputs` also corrects the
# bias, by the mean of what is lost.)

# %%
images = {n: digits.train.sample(n, rng=0).images for n in (1000, 50)}
few_ranks = (2, 4, 8, 32)
curves = {name: [] for name in ("plain", "whitened, 1000 images", "whitened, 50 images")}
with yours("17.6"):
    for r in few_ranks:
        for name, n in zip(curves, (None, 1000, 50)):
            thin = copy.deepcopy(net)
            if n is None:
                compress.factorize(thin, r)
            else:
                whitened.factorize_outputs(thin, images[n], r)
            cut = thin.get("fc1").up.data @ thin.get("fc1").down.data
            off = ((W - cut) ** 2).sum() / (W**2).sum(), (((W - cut) @ x) ** 2).sum() / ((W @ x) ** 2).sum()
            curves[name].append((*off, val(thin), thin))
material.plot_plain_and_whitened(few_ranks, curves, base)
plt.show()
for name, rows in curves.items():
    trained, at_first = val(fine_tune(copy.deepcopy(rows[1][3]))), rows[1][2]
    print(f"rank 4, {name}: {at_first.accuracy:.1%}; after training", end=" ")
    print(f"{trained.accuracy:.1%} ± {trained.standard_error:.1%}")

# %% [markdown]
# Left: whitening makes the *weights* worse at every rank. Middle: it makes the *outputs* better. With 50
# images the gain is nearly gone at rank 32: so few images cannot tell so many directions. Right: the accuracy
# follows the outputs, and the gain is largest where the rank is low. At the larger ranks the standard errors
# overlap: there, all are good enough. And after training (printed above) little is left of the difference:
# gradients see the outputs, too. So whitening helps most where you *cannot* train: no labels, or a model that
# is too large. (Even "the outputs" are not yet the accuracy: those that the ReLU sets to 0 count as much as
# others.)
#
# ### One budget for all layers
#
# One rank for all layers is crude. A better question: *this many bytes for all layers: which ranks?* Say that
# a layer keeps a share of its Σ σ², and a whole network the **product** of its layers' shares. To make that
# product large, be greedy: start from the smallest, then buy rank by rank, always the one that gains most for
# a byte. Does this beat one rank for all, for the same bytes?

# %%
budget_rows = []
same_rank = list(zip(few_ranks, curves["plain"], curves["whitened, 1000 images"]))
for r, plain, white in same_rank[1:4]:
    n_bytes = sum(p.size * 4 for name, p in plain[3].named_parameters() if not name.endswith("bias"))
    greedy, greedy_out = copy.deepcopy(net), copy.deepcopy(net)
    chosen_ranks = rank_budget.factorize_to(greedy, n_bytes)
    rank_budget.factorize_to(greedy_out, n_bytes, images=images[1000])
    budget_rows.append((n_bytes, plain[2], val(greedy), white[2], val(greedy_out)))
    print(f"{n_bytes:7,} bytes: rank {r:2} for all, or greedy by σ of the weights: {chosen_ranks}")
names = ("one rank, plain", "greedy, plain", "one rank, whitened", "greedy, whitened")
material.plot_budget(budget_rows, names)
plt.show()

# %% [markdown]
# There is no winner at all sizes. By σ of the weights, the greedy choice helps where bytes are few, and not
# where they are many. By σ of the outputs, it is no better than one rank for all, and at the smallest size
# clearly worse. It maximises what it was asked to maximise: a product of energies. That is a guess of the
# accuracy, not the accuracy (wrong way 3). Look at a *measured* curve before you trust any rule.
#
# ## Convolutions: which matrix?
#
# The weight of a convolution has four axes: O channels out, C channels in, a kernel of kh × kw. A matrix has
# two. So we must *choose* what becomes rows and columns, and the rank depends on that choice:
#
#     channel SVD    O  ×  C·kh·kw      kh × kw to r channels,  then 1 × 1 to O     r (C·kh·kw + O) numbers
#     spatial SVD    C·kh  ×  O·kw      kh × 1 to r channels,  then 1 × kw to O     r (C·kh + O·kw) numbers
#
# By hand: one channel in and two filters of 2 × 2, [1 1; 1 1] and [1 −1; 1 −1]. Here are both matrices:

# %%
pair = np.array([[[[1, 1], [1, 1]]], [[[1, -1], [1, -1]]]], dtype=float)  # (O=2, C=1, 2, 2)
material.draw_two_matrices(pair)
plt.show()
for kind, cut in (("channel", conv_lowrank.channel_svd), ("spatial", conv_lowrank.spatial_svd)):
    error = ((pair - material.filters_of(kind, cut(pair, 1))) ** 2).sum()
    print(f"{kind} SVD at rank 1: squared error {error:.6f} of {(pair**2).sum():g}")

# %% [markdown]
# The rows of the channel matrix are the filters. They are perpendicular, and both have length 2: σ² = 4 and
# 4, so rank 1 loses one half. The rows of the spatial matrix are *equal*: it has rank 1, and nothing is lost.
# Try [1 0; 0 1] and [2 0; 0 2] on paper: there it is the other way round.
#
# ### Exercise 17.7 · `spatial_svd`
#
# Row (c, i) and column (o, j) of the matrix hold weight[o, c, i, j]. Cut it to the rank, then shape both
# factors as filter banks. The difficulty is the order of the axes: `reshape` alone never moves a number.


# %% exercise="17.7"
def spatial_svd(weight, rank):
    """A convolution of kh × kw as one of kh × 1, then one of 1 × kw: the nearest pair in squares.

    Shapes: weight (O, C, kh, kw) -> vertical (rank, C, kh, 1), horizontal (O, rank, 1, kw).
    """
    n_out, n_in, kh, kw = weight.shape
    # BEGIN SOLUTION
    matrix = weight.transpose(1, 2, 0, 3).reshape(n_in * kh, n_out * kw)
    up, down = compress.truncated_svd(matrix, rank)  # (C·kh, rank), (rank, O·kw)
    vertical = up.T.reshape(rank, n_in, kh, 1)
    horizontal = down.reshape(rank, n_out, 1, kw).transpose(1, 0, 2, 3)
    # INSTEAD
    matrix = ...  # (C·kh, O·kw): cut it with compress.truncated_svd
    vertical = ...
    horizontal = ...
    # END SOLUTION
    return vertical, horizontal


# %% check="17.7"
check("17.7")

# %% [markdown]
# **Tucker-2** is a third way: fewer channels on *both* sides. A 1 × 1 convolution makes C channels into q, a
# small kh × kw **core** makes q into p, and a 1 × 1 one makes p into O:
#
#     W[o, c, i, j] ≈ Σ_p Σ_q  U[o, p] · core[p, q, i, j] · V[c, q]
#
# There is no closed form for both sides at once. The **HOSVD** (higher-order SVD) takes each side alone: U
# from the SVD of W as O × C·kh·kw, V from that of W as C × O·kh·kw. Then **alternating least squares**: with
# V fixed, the best U is one SVD; with U fixed, the best V is one SVD. You know this game from `slow_pairs`.
# The error never rises. Here a LeNet-5, with its second convolution of 50 × 20 × 5 × 5:

# %%
lenet = models.lenet5(rng=0)
start_bank = lenet.get("conv2").weight.data
fine_tune(lenet, epochs=1, lr=3e-3)
bank, lenet_base = lenet.get("conv2").weight.data, val(lenet)
print(f"lenet5: validation accuracy {lenet_base.accuracy:.1%} ± {lenet_base.standard_error:.1%}")
material.plot_conv_spectra(start_bank, bank)
plt.show()
for pq in ((4, 4), (8, 8), (16, 12)):
    errors = [error for *_, error in conv_lowrank.tucker2_sweeps(bank, pq, sweeps=10)]
    print(f"Tucker-2 {pq}: squared error {errors[0]:.3f} by HOSVD,", end=" ")
    print(f"{errors[1]:.3f} after 1 sweep, {errors[-1]:.3f} after 10")

# %% [markdown]
# In the left and middle panels the matrices of *the same* weights, before and after training: after it, the
# first singular values stand out, in both. Right: the sweeps gain little, and most of it in the first one.
# The HOSVD was a good start. (It is never further off than twice the best, in squares.)
#
# Which kind is best? All at several ranks, without training, plus the channel SVD that looks at the
# *outputs*.

# %%
kinds = {"channel": (2, 4, 8), "spatial": (2, 4, 8), "tucker2": ((4, 4), (6, 6), (8, 8))}
points = {name: [] for name in (*kinds, "channel, of outputs")}
with yours("17.7"):
    for kind, choices in kinds.items():
        for r in choices:
            thin = copy.deepcopy(lenet)
            conv_lowrank.factorize_convs(thin, {"conv2": r}, kind=kind)
            points[kind].append((conv_lowrank.conv_cost(lenet.get("conv2"), r, kind)[0], val(thin), thin))
for r, (n_numbers, *_) in zip(kinds["channel"], tuple(points["channel"])):
    thin = copy.deepcopy(lenet)
    whitened.factorize_outputs(thin, images[1000][:300], {"conv2": r})
    points["channel, of outputs"].append((n_numbers, val(thin), thin))
material.plot_kinds(points, lenet_base, bank.size)
plt.show()
enough = lenet_base.accuracy - lenet_base.standard_error
good = [(n, kind, m) for kind, rows in points.items() for n, q, m in rows if q.accuracy >= enough]
n_numbers, kind, best = min(good, key=lambda found: found[0])
print(f"the fewest numbers within 1 standard error: {kind}, {n_numbers:,} in place of {bank.size:,}")
print(f"file {size_of(lenet):,} -> {size_of(best, 'conv'):,} bytes")
loaded = tinyopt.load(os.path.join(folder.name, "conv"))
whole_test, thin_test = (measure.evaluate(model, digits.test) for model in (lenet, loaded))
print("test images, whole against factored, paired:", measure.compare(whole_test, thin_test))
try:
    conv_lowrank.factorize_convs(copy.deepcopy(lenet), {"conv1": 20}, kind="channel")
except ValueError as problem:
    print("refused:", problem)

# %% [markdown]
# Where few numbers are left, the spatial and Tucker-2 cuts beat the channel cut of the *weights* by far: a
# rank of the channel cut costs a whole filter of 20 × 5 × 5. But by *outputs*, the channel SVD is much better
# than by weights. The file hardly shrinks, since nearly all numbers of LeNet-5 are in fc1: look where the
# bytes are *before* you choose a technique.
#
# ### Wrong way 4: to read MACs as time
#
# "Ten times fewer MACs, so ten times as fast." We measure conv2 alone, for 64 images and for one:

# %%
layer, timed = lenet.get("conv2"), {}
for n in (64, 1):
    batch = np.random.default_rng(0).standard_normal((n, 20, 12, 12)).astype(np.float32)
    whole = measure.latency(layer, batch, budget=0.2).seconds
    for kind, r in (("channel", 8), ("spatial", 8), ("tucker2", (8, 8))):
        thin = conv_lowrank.split_conv(layer, r, kind)
        fewer = measure.summary(layer, (20, 12, 12)).macs / measure.summary(thin, (20, 12, 12)).macs
        timed[n, kind] = fewer, whole / measure.latency(thin, batch, budget=0.2).seconds
        print(
            f"{n:2} at once, {kind:8} {fewer:5.1f} times fewer MACs, {timed[n, kind][1]:5.2f} times as fast"
        )
material.plot_times(timed)
plt.show()

# %% [markdown]
# The time gains less than the MACs. For a single image, a factored layer can even be **slower** than the
# whole one (below 1, left of the line): each layer's call has a fixed cost, and two or three small products
# keep the processor less busy than a large one. The numbers differ from machine to machine: measure on yours.
#
# ## LoRA: train a change of low rank
#
# We saw that the *change* made by training needs a lower rank than the weights. LoRA (Low-Rank Adaptation)
# uses that the other way round. Freeze W. Put an **adapter** beside it, two thin factors, and train only
# these:
#
#     y = x Wᵀ + b + (α / r) (x Aᵀ) Bᵀ          A (r × in), random;   B (out × r), 0 at the start
#
# B = 0, so at first nothing changes. r is the rank. α is a setting; dividing by r helps to keep the learning
# rate when you change the rank. In the end the adapter is **merged**: W + (α / r) B A has the shape of W.
#
# ### Exercise 17.8 · `merged_weight`
#
# By hand first: W = [1 0; 0 1], A = (2 0), B = (1 3)ᵀ, α = 2. What is r? What is the merged weight?


# %% exercise="17.8"
def merged_weight(weight, down, up, *, alpha):
    """The weight that computes alone what it and its adapter compute.

    Shapes: weight W (O, I), down A (r, I), up B (O, r) -> (O, I).
    """
    # BEGIN SOLUTION
    merged = weight + (alpha / len(down)) * (up @ down)
    # INSTEAD
    merged = ...
    # END SOLUTION
    return merged


# %% check="17.8"
check("17.8")

# %% [markdown]
# A new task: *slanted* digits, for which our network was not trained. We compare: train all numbers; only the
# last layer, fc3; or adapters beside fc1 and fc2. (Of the learning rates 0.003 and 0.01, the larger was as
# good or better for each way, on validation images.)

# %%
slanted = material.slant(digits, 0.6)
lora_ranks = (1, 2, 4, 8, 16)


def adapted(way):
    """Accuracy after 3 epochs, how many numbers were trained, and the model: a copy of the net."""
    model = copy.deepcopy(net)
    if way == "only fc3":
        compress.freeze(model, but="fc3")
    elif way != "all":
        lora.add_adapters(model, rank=way, layers=["fc1", "fc2"], rng=0)
    n_trained = sum(p.size for p in model.parameters() if p.requires_grad)
    fine_tune(model, lr=1e-2, task=slanted)
    return val(model, slanted), n_trained, model


ways = {way: adapted(way) for way in ("all", "only fc3", *lora_ranks)}
material.plot_adapted(ways, val(net, slanted))
plt.show()
changed = ways["all"][2].get("fc1").weight.data - W
print("training all: rank for 90 % of the energy of fc1's change:", compress.rank_for_energy(changed, 0.9))

# %%
beside = ways[8][2]
merged = copy.deepcopy(beside)
with yours("17.8"):
    lora.merge_adapters(merged)
some = digits.test.images[:256]
with measure.inference(beside), measure.inference(merged):
    first, second = beside(some).numpy(), merged(some).numpy()
print(f"largest difference of a logit: {abs(first - second).max():.0e} of {abs(first).max():.0f}")
for name, model in (("before", net), ("with adapters", beside), ("merged", merged)):
    many = 1e3 * measure.latency(model, some, budget=0.15).seconds
    print(f"{name:14} {size_of(model):9,} bytes, {many:.2f} ms for 256 images")

# %% [markdown]
# With rank 8 or 16, less than a tenth of the numbers reach nearly what training all of them reaches. The
# change of the full training itself is *not* of rank 8 (see the printed line): an adapter need not copy it.
# The gradients and the two moments of AdamW exist for the trained numbers only, so *training* needs less
# memory; and for each further task you store one adapter, not one network. An adapter of rank 1 is no better
# here than training fc3 alone. Note what LoRA is *not*: the merged network has the size and the time of the
# old one. Nothing is compressed.

# %%
folder.cleanup()

# %% [markdown]
# ## In PyTorch
#
# ```python
# u, s, vh = torch.linalg.svd(layer.weight.detach(), full_matrices=False)
# down, up = torch.nn.Linear(784, 16, bias=False), torch.nn.Linear(16, 300)
# down.weight.data, up.weight.data = s[:16, None] * vh[:16], u[:, :16].clone()
# up.bias.data = layer.bias.data
# ```
#
# The `.clone()` is needed. A slice such as `u[:, :16]` is a *view* of the whole array, and `torch.save`
# writes all that is behind a view. Without `.clone()`, the file keeps the full 300 × 300 matrix `u`. With
# PyTorch 2.13 we measured 413 kB for the two layers instead of 73 kB. Always look at the file.
# `torch.svd_lowrank` finds the first factors of a large matrix faster, and only approximately.
#
# Two thin convolutions are `torch.nn.Sequential(Conv2d(20, 8, (5, 1), bias=False), Conv2d(8, 50, (1, 5)))`.
# LoRA is in the library `peft`, not in PyTorch: `get_peft_model(model, LoraConfig(r=8, lora_alpha=8,
# target_modules=["fc1"]))` adds adapters, and `merge_and_unload()` merges them.
#
# ## Questions
#
# 1. fc3 is 10 × 100. Which ranks save something there? Why is it hard to compress?
# 2. The factors (up A, A⁻¹ down) have the same product for any invertible A. How many numbers in the
#    factors are therefore not needed?
# 3. Before training, what is the squared error of rank 150 for a random 300 × 784 matrix, roughly? Is a
#    random matrix a good test for low rank?
# 4. Two linear layers without an activation between them are one linear layer. Why do we keep them apart?
# 5. In many pixels near the edge, all calibration images are 0. Then H has no inverse. Why is that no harm?
# 6. LoRA starts with B = 0 and a random A. Why not with A = 0 as well?
# 7. You factor a convolution of 1 × 1. Which of the three kinds makes sense?
#
# BEGIN SOLUTION
# **Answers.**
#
# 1. Ranks up to 9 (10·100 / 110 = 9.09). Nearly all of its 10 singular values are needed: there are 10
#    classes, and each rank below 9 forces the class scores into fewer dimensions. And it is small.
# 2. A has r² numbers, so r² of the r(m + n) are free. A matrix of rank r has r(m + n − r) true degrees of
#    freedom. Storing them so is possible, but then the two products are no longer plain.
# 3. Clearly more than nothing: the singular values lie in a band, and the smaller half still holds about a
#    quarter of the energy. A random matrix is the worst case; a trained one has structure.
# 4. Multiplied out they are a 300 × 784 matrix again (wrong way 2). The saving lies in not multiplying.
# 5. S⁻¹ cancels: W₁ = P Pᵀ W needs no inverse. What W does with inputs that never come does not count.
# 6. The gradient of B is a product with A, and that of A is a product with B. If both are 0, so are both
#    gradients: nothing would ever be trained.
# 7. It is a matrix of O × C. The channel SVD is the best that a rank can do (Eckart and Young), and the
#    spatial SVD gives the same. Tucker-2 adds a third factor and no benefit.
# END SOLUTION
#
# ## Sources
#
# - C. Eckart and G. Young (1936), "The approximation of one matrix by another of lower rank",
#   *Psychometrika* 1(3), 211–218. The least squares problem, and its solution.
# - J. Xue, J. Li and Y. Gong (2013), "Restructuring of Deep Neural Network Acoustic Models with Singular
#   Value Decomposition", Interspeech 2013, 2365–2369. SVD of the trained layers, then training again.
# - T. N. Sainath, B. Kingsbury, V. Sindhwani, E. Arisoy and B. Ramabhadran (2013), "Low-rank matrix
#   factorization for Deep Neural Network training with high-dimensional output targets", ICASSP 2013,
#   6655–6659. The other way: the last layer is thin while it is trained.
# - C. H. Martin and M. W. Mahoney (2021), "Implicit Self-Regularization in Deep Neural Networks: Evidence
#   from Random Matrix Theory and Implications for Learning", *JMLR* 22(165). In small networks, a size
#   separates signal from noise in the spectrum: the band in our figure.
# - X. Wang, Y. Zheng, Z. Wan and M. Zhang (2024), "SVD-LLM: Truncation-aware Singular Value Decomposition for
#   Large Language Model Compression", arXiv:2403.07378. Whitening, so that σ is the loss of the outputs.
# - X. Zhang, J. Zou, K. He and J. Sun (2015), "Accelerating Very Deep Convolutional Networks for
#   Classification and Detection", arXiv:1505.06798. Low rank of convolutions' outputs, after the ReLU.
# - H. Kim, M. U. K. Khan and C.-M. Kyung (2019), "Efficient Neural Network Compression", CVPR 2019,
#   12569–12577. The ranks of a whole network under one bound, also from energies.
# - M. Jaderberg, A. Vedaldi and A. Zisserman (2014), "Speeding up Convolutional Neural Networks with Low Rank
#   Expansions", BMVC 2014, arXiv:1405.3866. Filters that are separable in space.
# - Y.-D. Kim, E. Park, S. Yoo, T. Choi, L. Yang and D. Shin (2015), "Compression of Deep Convolutional Neural
#   Networks for Fast and Low Power Mobile Applications", arXiv:1511.06530. Tucker-2, then training again.
# - L. De Lathauwer, B. De Moor and J. Vandewalle (2000), "On the best rank-1 and rank-(R₁, R₂, …, R_N)
#   approximation of higher-order tensors", *SIAM J. Matrix Anal. Appl.* 21(4), 1324–1342. The sweeps.
# - E. J. Hu et al. (2021), "LoRA: Low-Rank Adaptation of Large Language Models", arXiv:2106.09685.
#
# **Read on in the source:** `tinyopt/compress/lowrank.py` (your three functions, the two sweeps, and
# `factorize`), `whitened.py`, `rank_budget.py`, `conv_lowrank.py` and `lora.py` beside it;
# `tinyopt/nn/layers.py` (`LowRankLinear`) and `tinyopt/nn/lora.py`.

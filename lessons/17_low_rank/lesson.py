"""Lesson 17, low rank: the source of lesson.ipynb; see tinyopt/course/percent.py for its format."""

# %% [markdown]
# # 17 · Low rank: how much of a matrix is repetition?
#
# **The question.** The first layer of our network is a matrix of 300 × 784 = 235,200 numbers. Each row looks
# different. But perhaps the rows are all *mixtures of a few*. Then we need not store 300 rows: a few rows and
# the recipe of each mixture would do. **How many rows are enough? What do we save? And what is it that we
# throw away?**
#
# - **You need:** matrix products, eigenvalues of a symmetric 2×2 matrix; lesson 6 (MACs, bytes, time).
# - **You will write:** a best approximation by hand, `truncated_svd`, `rank_for_energy`,
#   `largest_saving_rank`, and an example in which 99 % is not enough.
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
from tinyopt import compress, data, measure, models, nn, optim, train
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


def fine_tune(net, epochs=3, lr=1e-3):
    """Train a network, also one that has been trained before; the learning rate falls to 0."""
    optimizer = optim.AdamW(net.parameters(), lr=lr)
    train.fit(net, digits, epochs=epochs, optimizer=optimizer, schedule=train.cosine, progress=False)
    return net


def val(net):
    return measure.evaluate(net, digits.val)


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
figure, axes = plt.subplots(1, 3, figsize=(10, 3.3), layout="constrained", sharey=True)
for ax, layer in zip(axes, LAYERS):
    after, before = (model.get(layer).weight.data for model in (net, untrained))
    m, n = after.shape
    s = 1 / np.sqrt(3 * n)  # the start is uniform in ±1/√n: this is its standard deviation
    low, high = s * (np.sqrt(n) - np.sqrt(m)), s * (np.sqrt(n) + np.sqrt(m))
    ax.axhspan(low, high, color="0.88")
    found = {name: np.linalg.svd(w, compute_uv=False) for name, w in (("before", before), ("after", after))}
    for (name, values), colour in zip(found.items(), ("C0", "C3")):
        ax.semilogy(range(1, len(values) + 1), values, ".", ms=4, color=colour, label=f"{name} training")
    ax.set(title=f"{layer}: {m} × {n}", xlabel="i, log scale", xscale="log")
    outside = int((found["after"] > high).sum())
    print(f"{layer}: after training, {outside} of {m} singular values are above the grey band")
axes[0].set_ylabel("singular value σᵢ, log scale")
axes[0].set_yticks([0.2, 0.5, 1, 2, 5, 10], [0.2, 0.5, 1, 2, 5, 10])
axes[0].minorticks_off()
axes[0].legend(frameon=False, loc="lower left")
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
sweep = rank_sweep(W)
all_ranks = [cut.rank for cut in sweep]
figure, ax = plt.subplots(figsize=(6.8, 3.2), layout="constrained")
ax.plot(all_ranks, [cut.parameters / 1000 for cut in sweep], label="two factors")
ax.axhline(W.size / 1000, color="C3", ls="--", label="the matrix")
ax.axvline(216.97, color="0.6", ls=":")
ax.annotate("break-even", (216.97, 20), (5, 0), textcoords="offset points", color="0.4")
ax.set(xlabel="rank of fc1", ylabel="thousand numbers = thousand MACs", xlim=(0, 300), ylim=(0, 340))
second = ax.twinx()
second.plot(all_ranks, [cut.energy for cut in sweep], color="C2")
second.set(ylabel="energy kept (green)", ylim=(0, 1.05))
ax.legend(frameon=False, loc="upper left")
plt.show()

# %% [markdown]
# ### Exercise 17.4 · the largest rank that saves
#
# Write the function that `factorize` asks before it replaces a layer. Be careful where the break-even is a
# whole number: a 4 × 4 matrix has 16 numbers, and its factors of rank 2 have 16 as well. Nothing is saved
# there.


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
figure, axes = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
for ax in axes:
    for found, name in ((at_once, "truncated"), (tuned, "truncated, then trained")):
        heights, errors = [100 * q.accuracy for q in found], [100 * q.standard_error for q in found]
        ax.errorbar(RANKS, heights, errors, fmt="o-", ms=4, capsize=2, label=name)
    ax.axhline(100 * base.accuracy, color="0.5", ls="--", lw=1, label="dense")
    ax.axhline(100 * floor, color="0.5", ls=":", label="dense − 1 standard error")
    ax.set(xscale="log", xlabel="rank of each layer that becomes smaller")
    ax.set_xticks(RANKS, RANKS)
    ax.minorticks_off()
axes[0].set_ylabel("validation accuracy, %")
axes[1].set(ylim=(88, 97), title="enlarged")
axes[0].legend(frameon=False, loc="lower right")
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
figure, ax = plt.subplots(figsize=(6.5, 2.4), layout="constrained")
ax.bar_label(ax.barh(names, ratios, color=["C0", "C0", "C2", "C2"]), fmt="%.1f×", padding=3)
ax.axvline(1, color="0.6", ls=":")
ax.invert_yaxis()
ax.set(xlabel=f"dense / (rank {chosen}, trained)", xlim=(0, 1.15 * max(ratios)))
plt.show()

# %% [markdown]
# Read the paired line with care. "One standard error" on 500 validation images is about one point. So our
# rule *allows* a loss of about one point, and such a loss may be real. Two models on the same test images
# are compared more sharply than two accuracies with their own errors (lesson 6). If a point matters, take
# the next larger rank: it is still a small file.
#
# The file shrinks nearly as much as the MACs; some bytes are biases and the header. The **time** shrinks
# less. Some of it is not multiplication: each layer's call costs a little, relu costs something, and there
# are now more layers. For a single image this fixed part matters most. But no special hardware was needed:
# two thin products are ordinary products. For pruning of single weights this is not so.
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
    results["thin from the start"].append(val(fine_tune(alone, epochs=11, lr=3e-3)).accuracy)
    dense = fine_tune(models.lenet_300_100(rng=seed), epochs=8, lr=3e-3) if seed else copy.deepcopy(net)
    compress.factorize(dense, {"fc1": chosen, "fc2": chosen})
    results["dense, SVD, trained again"].append(val(fine_tune(dense)).accuracy)
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
figure, axes = plt.subplots(1, 3, figsize=(10, 2.6), layout="constrained", sharey=True)
for ax, column, label in zip(axes, range(3), ("file on disk, kB", "thousand MACs", "ms for 256 images")):
    heights = [row[column] for row in rows.values()]
    bars = ax.barh(list(rows), heights, color=["0.6", "C3", "C3", "C2"])
    ax.bar_label(bars, fmt="%.1f" if column == 2 else "%.0f", padding=3, fontsize=9)
    ax.set(xlabel=label, xlim=(0, 1.25 * max(heights)))
axes[0].invert_yaxis()
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
# energy and still work. But nobody guarantees this: see your witness. The cure is to minimise the error of
# the *outputs*, on real inputs. That is called activation-aware SVD.

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
# ## Questions
#
# 1. fc3 is 10 × 100. Which ranks save something there? Why is it hard to compress?
# 2. The factors (up A, A⁻¹ down) have the same product for any invertible A. How many numbers in the
#    factors are therefore not needed?
# 3. Before training, what is the squared error of rank 150 for a random 300 × 784 matrix, roughly? Is a
#    random matrix a good test for low rank?
# 4. Two linear layers without an activation between them are one linear layer. Why do we keep them apart?
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
# - E. J. Hu et al. (2021), "LoRA: Low-Rank Adaptation of Large Language Models", arXiv:2106.09685.
#
# **Read on in the source:** `tinyopt/compress/lowrank.py` (your three functions, the two sweeps, and
# `factorize`), `tinyopt/nn/layers.py` (`LowRankLinear`).

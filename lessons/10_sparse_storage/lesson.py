"""Lesson 10, sparse storage: the source of lesson.ipynb; see tinyopt/course/percent.py for its format."""

# %% [markdown]
# # 10 · Sparse storage: why the file did not shrink
#
# **The question.** Nine of ten weights are zero. Why is the file as large as before, and the network as slow?
# What must be done so that the zeros cost nothing? And is it then faster?
#
# - **You need:** pruning (lesson 9), bytes and honest timing (lesson 6).
# - **You will write:** a sparse matrix by hand, `compressed_rows`, `meeting_density`, two matrices on which a
#   product fails, and `csr_times_vector`.
# - **Time:** about 100 minutes.
#
# Where an exercise is still empty, the package's own function works for you. **Times** are measured on *your*
# machine, while you read.

# %%
import copy
import itertools
import os
import tempfile

import matplotlib.pyplot as plt
import numpy as np

import tinyopt
from tinyopt import compress, data, measure, models, optim, train
from tinyopt.codec.sparse import COO, CSC, CSR, LAYOUTS, Bitmap, cross_over, expected_bytes, is_stored
from tinyopt.codec.sparse.sizes import straight_line
from tinyopt.compress.sparse import sparsify
from tinyopt.course import STYLE, start
from tinyopt.course.lessons import find, load

check, hint, reveal, yours = start(10)
material = load(find(10) / "material.py")
folder = tempfile.TemporaryDirectory()  # all files of this lesson; it is removed at the end
plt.rcParams.update(STYLE)

# %% [markdown]
# We train LeNet-300-100 on 3,500 real digits, remove 90 % of its weights, and train the rest again. Then we
# write the three weight matrices of both networks with `np.savez`, and time the product of the first layer.

# %%
digits = data.mnist5k()
LAYERS = ("fc1", "fc2", "fc3")


def path(name):
    return os.path.join(folder.name, name)


def size(name):
    return os.path.getsize(path(name))


def fit(net, epochs):
    adam = optim.Adam(net.parameters(), lr=0.002)
    train.fit(net, digits, epochs=epochs, optimizer=adam, schedule=train.cosine, progress=False)
    return measure.evaluate(net, digits.val)


def weights_of(net):
    """The weight matrices as layers see them, {layer: float32 array}, removed ones as +0."""
    return {layer: net.get(f"{layer}.weight").read().numpy() + 0.0 for layer in LAYERS}


dense = models.lenet_300_100(rng=0)
dense_quality = fit(dense, epochs=5)
pruned = copy.deepcopy(dense)
compress.prune(pruned, 0.9)
pruned_quality = fit(pruned, epochs=3)
before, after = weights_of(dense), weights_of(pruned)
np.savez(path("dense.npz"), **before)
np.savez(path("pruned.npz"), **after)

image = digits.val.images[0].reshape(-1)  # (784,)
batch = digits.val.images[:64].reshape(64, -1)  # (64, 784)
seconds = material.in_turns({
    ("dense", 1): lambda: image @ before["fc1"].T, ("pruned", 1): lambda: image @ after["fc1"].T,
    ("dense", 64): lambda: batch @ before["fc1"].T, ("pruned", 64): lambda: batch @ after["fc1"].T,
}, rounds=51)  # fmt: skip
figure, axes = plt.subplots(1, 3, figsize=(9, 2.8), layout="constrained")
panels = {("the file", "kB"): [size(f"{name}.npz") / 1e3 for name in ("dense", "pruned")]}
for n in (1, 64):
    panels[f"layer 1, batch of {n}", "µs"] = [1e6 * seconds[name, n] for name in ("dense", "pruned")]
for ax, ((title, unit), heights) in zip(axes, panels.items()):
    ax.bar_label(ax.bar(["dense", "90 % zeros"], heights, color=["C0", "C3"]), fmt="%.0f")
    ax.set(title=title, ylabel=unit, ylim=(0, 1.15 * max(heights)))
plt.show()
print("validation, dense: ", str(dense_quality).splitlines()[0])
print("validation, pruned:", str(pruned_quality).splitlines()[0])
left = {layer: float((weight != 0).mean()) for layer, weight in after.items()}
print("density (share that is left):", {layer: f"{share:.1%}" for layer, share in left.items()})

# %% [markdown]
# The accuracy stayed. But the file has the same size to the byte, and the product has no reason to be faster:
# a zero is a float32 number like any other. It takes 4 bytes, and it is multiplied. NumPy does not look at
# the values.
#
# To gain something, we must *not store* the zeros. Then we must say **where** the other values stand. This
# costs bytes, too. The whole lesson is about this price.
#
# **Density** is the share that is *kept*: a sparsity of 90 % is a density of 10 %.
#
# ## By hand: four layouts
#
# A **layout** is a set of arrays that holds the matrix. Here are four for one matrix of 4 × 5. Colours tell
# the rows apart.

# %%
hand = material.HAND
forms = {"COO": COO.from_dense(hand), "CSR": CSR.from_dense(hand), "CSC": CSC.from_dense(hand)}
figure, ax = plt.subplots(figsize=(9.5, 4.6), layout="constrained")
material.draw_layouts(ax, hand, forms)
plt.show()
print("Bitmap: values", Bitmap.from_dense(hand).values, "and one bit for each element:")
print("   ", *["".join("1" if value else "0" for value in row) for row in hand])

# %% [markdown]
# - **COO** (coordinates): each value with its row and its column. Easy to read.
# - **CSR** (compressed sparse rows): the values are sorted by row. So the row need not be said for each
#   value. It is enough to say where each row **starts**: row i is `values[starts[i] : starts[i + 1]]`. There
#   is one start more than there are rows: the last one is the number of values. Row 2 is empty: it starts
#   where row 3 starts, at 3.
# - **CSC** (compressed sparse columns): the same, column by column.
# - **Bitmap**: one bit for each element says whether a value is stored.
#
# Let us read CSR back, slowly. This loop is the specification:


# %%
def slow_dense(values, column_of, starts, shape):
    """Write each value of each row into its column."""
    matrix = np.zeros(shape, values.dtype)
    for row in range(shape[0]):
        for entry in range(starts[row], starts[row + 1]):
            matrix[row, column_of[entry]] = values[entry]
    return matrix


csr = forms["CSR"]
print(slow_dense(csr.values, csr.column_of, csr.starts, csr.shape))

# %% [markdown]
# ### Exercise 10.1 · predict, then compute
#
#     0  0  0  0  0
#     0  4  0  0  1
#     6  0  0  0  0
#     0  0  3  8  2
#
# Write its CSR: the values, their columns, the starts. And the bytes of all three arrays: a value is a
# float32 with 4 bytes, a column and a start take 1 byte each.


# %% exercise="10.1"
def predict():
    """CSR of the matrix above, and the bytes of its three arrays: by hand."""
    # BEGIN SOLUTION
    values = [4, 1, 6, 3, 8, 2]
    columns = [1, 4, 0, 2, 3, 4]
    starts = [0, 0, 2, 3, 6]  # row 0 is empty: row 1 starts at 0, too
    n_bytes = 6 * 4 + 6 * 1 + 5 * 1
    # INSTEAD
    values = [...]
    columns = [...]
    starts = ...
    n_bytes = ...
    # END SOLUTION
    return values, columns, starts, n_bytes


# %% check="10.1"
check("10.1")

# %% [markdown]
# ### Exercise 10.2 · from dense to CSR
#
# Now for any matrix. `np.nonzero(condition)` gives the rows and the columns where a condition holds, row by
# row. `np.bincount` counts, `np.cumsum` adds up.
#
# One detail: which elements are stored? Ask the package's `is_stored(matrix)`. It keeps all but +0. There is
# also **−0.0**: a float has a bit for its sign, and −0.0 is a zero with this bit set. A layout must give the
# matrix back *bit by bit*, so it keeps −0.0. (Remember this. It will be expensive.)


# %% exercise="10.2"
def compressed_rows(matrix):
    """The three arrays of CSR: what is stored, row by row; the column of each; where each row begins.

    Shapes: matrix (rows, columns) -> values (n,), column_of (n,), starts (rows + 1,).
    """
    # BEGIN SOLUTION
    row_of, column_of = np.nonzero(is_stored(matrix))
    counts = np.bincount(row_of, minlength=len(matrix))
    starts = np.concatenate([[0], np.cumsum(counts)])
    return matrix[row_of, column_of], column_of, starts
    # INSTEAD
    ...
    # END SOLUTION


# %% check="10.2"
check("10.2")

# %% [markdown]
# `CSR.from_dense` of the package calls this function, and `CSC.from_dense` calls it on the transpose. We
# write the three layers into a file each, read them back, and compare.


# %%
def write_layers(layout, weights):
    """Write each layer as a file in this layout; return all bytes on the disk."""
    for layer, weight in weights.items():
        raw = weight.tobytes() if layout == "dense" else LAYOUTS[layout].from_dense(weight).to_bytes()
        with open(path(f"{layer}.{layout}"), "wb") as file:
            file.write(raw)
    return sum(size(f"{layer}.{layout}") for layer in weights)


with yours("10.2"):
    n_bytes = write_layers("CSR", after)
print(f"CSR: {n_bytes:,} bytes; dense: {write_layers('dense', after):,} bytes")
for layer in LAYERS:
    with open(path(f"{layer}.CSR"), "rb") as file:
        form = CSR.from_bytes(file.read())
    print(f"{layer}: {form}\n     the same bit by bit: {form.to_dense().tobytes() == after[layer].tobytes()}")

# %% [markdown]
# A tenth of the weights is left, but more than a tenth of the bytes. The rest is the price for *where*.
#
# ## The formula of the bytes
#
# A matrix of m rows and k columns holds n values of s bytes each. Every layout below costs a **fixed** part,
# and a part for **each** value:
#
# | layout | fixed | for each value |
# |---|---|---|
# | dense | m · k · s | 0 |
# | COO | 0 | s + a row index + a column index |
# | CSR | (m + 1) starts | s + a column index |
# | CSC | (k + 1) starts | s + a row index |
# | Bitmap | m · k / 8 | s |
#
# How large is an index? It must count up to the number of columns. 784 columns fit in 2 bytes (`uint16`, up
# to 65,535); 100 columns fit in 1 byte. So for our first layer, CSR takes 4 + 2 = 6 bytes for each value.
#
# These are straight lines in n. Where two lines meet, both layouts take the same bytes: the **break-even
# density**.
#
# ### Exercise 10.3 · break-even
#
# A line is a pair `(fixed, each)`. Write the density at which two of them meet. It must lie between 0 and 1.
# If there is no such density, return `None`.


# %% exercise="10.3"
def meeting_density(one, other, size):
    """The density at which two straight lines of bytes meet; None if they do not, between 0 and 1.

    Shapes: one, other, pairs (fixed, each), in bytes; size, the number of all elements of the matrix.
    Units:  the density is the share *kept*: number of values / size.
    """
    ...


# %% check="10.3"
check("10.3")

# %%
shape = (300, 784)
with yours("10.3"):
    for first, second in (("dense", "CSR"), ("dense", "COO"), ("dense", "Bitmap"), ("CSR", "Bitmap")):
        density = cross_over(first, second, shape)
        print(f"{first} and {second} meet at density {density:.1%}")
print("(fixed, each):", {layout: straight_line(layout, shape) for layout in ("dense", "CSR", "Bitmap")})

# %% [markdown]
# Below 67 % CSR is smaller than dense: it is enough to remove a little more than one weight in three. The
# last break-even is interesting. A bitmap costs 1/8 byte for *each element*, CSR costs 2 bytes for *each
# value*. So they meet near one value in sixteen. **At 10 % density, where many pruned networks live, the
# simple bitmap beats CSR.**
#
# Is the formula true? The lines are computed; each dot is the real file of a random matrix.

# %%
rng = np.random.default_rng(0)
densities = np.geomspace(0.005, 1, 8)
figure, ax = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
for number, layout in enumerate(["dense", "COO", "CSR", "CSC", "Bitmap", "RelativeIndex", "BSR"]):
    label = {"BSR": "BSR, blocks 4 × 4", "RelativeIndex": "relative index"}.get(layout, layout)
    line = [expected_bytes(layout, shape, density) / 1e3 for density in densities]
    real = [write_layers(layout, {"x": material.pattern(shape, density, rng)}) for density in densities]
    ax.loglog(densities, line, color=f"C{number}", lw=1, label=label)
    ax.loglog(densities, np.array(real) / 1e3, "o", color=f"C{number}", ms=3)
for first, second in (("dense", "CSR"), ("CSR", "Bitmap")):
    density = cross_over(first, second, shape)
    ax.loglog(density, expected_bytes(first, shape, density) / 1e3, "o", mfc="none", color="k", ms=12)
ax.set(xlabel="density (share kept), log scale", ylabel="kB on disk, log scale", title="300 × 784, float32")
ax.legend(frameon=False, fontsize=9)
plt.show()

# %% [markdown]
# Dots lie on lines; the circles are two break-evens; CSR and CSC are nearly the same. Two layouts are new.
#
# - The **relative index** writes only the gap to the value before, in few bits. It is the smallest nearly
#   everywhere. Lesson 16 builds it; it is made for files, not for products.
# - **BSR** is CSR of small blocks. For this *random* pattern it is bad. Later it will be the best.
#
# What if a value is not a float32? Fewer bytes for a value make the index more important.

# %%
types = {"float64": "f8", "float32": "f4", "float16": "f2", "int8": "i1"}
layouts = ("COO", "CSR", "Bitmap")
table = np.array([[cross_over("dense", layout, shape, t) for layout in layouts] for t in types.values()])
figure, ax = plt.subplots(figsize=(5, 2.9), layout="constrained")
ax.imshow(table, cmap="YlGn", vmin=0, vmax=1.3, aspect="auto")
for (i, j), density in np.ndenumerate(table):
    ax.text(j, i, f"{density:.0%}", ha="center", va="center")
ax.set(xticks=range(3), xticklabels=layouts, yticks=range(4), yticklabels=types)
ax.set(ylabel="type of a value", title="smaller than dense below this density")
plt.show()

# %% [markdown]
# So gains do not simply multiply. Quantize to 8 bits, then keep 30 % of the weights: dense int8 takes 1 byte
# for an element, CSR takes 3 bytes for each value. The file is 90 % of the dense int8 file, and not 30 %.
#
# ## The real network
#
# Every bar is the sum of three files. Blue is *what*, red is *where*.

# %%
ways = ("dense", "COO", "CSR", "CSC", "Bitmap", "RelativeIndex")
n_values = sum(int((weight != 0).sum()) for weight in after.values())
totals = np.array([write_layers(layout, after) for layout in ways]) / 1e3
figure, ax = plt.subplots(figsize=(7.5, 3), layout="constrained")
what = np.minimum(4 * n_values / 1e3, totals)
ax.barh(ways, what, color="C0", label="values that are not 0")
bars = ax.barh(ways, totals - what, left=what, color="C3", label="zeros, indices, headers")
ax.bar_label(bars, [f"{total:.0f} kB, {totals[0] / total:.1f}×" for total in totals], padding=3, fontsize=9)
ax.invert_yaxis()
ax.set(xlabel="kB on disk, three layers", xlim=(0, 1280))
ax.legend(frameon=False, loc="lower right")
plt.show()

# %% [markdown]
# No layout is ten times smaller, although nine of ten weights are gone: the values alone would be. This is
# why an honest size is read from a file, and not from a formula with one factor in it.
#
# Where are the survivors? Here is the first layer: one row for each unit, one column for each pixel.

# %%
mask = after["fc1"] != 0
figure, ax = plt.subplots(figsize=(9, 3.6), layout="constrained")
ax.imshow(mask, cmap="Blues", aspect="auto", interpolation="nearest")
ax.set(xlabel="pixel, row by row", ylabel="unit", title="fc1: weights that are left")
plt.show()
empty_rows = np.flatnonzero(~mask.any(axis=1))
print(f"{empty_rows.size} empty rows (units without any input), {(~mask.any(axis=0)).sum()} empty columns")

# %% [markdown]
# This is not a random pattern. There are stripes: pixels at the border of the image are hardly read. And
# there are **empty rows**: units that have lost all their weights. Keep them in mind.
#
# ## The product
#
# A layer computes Y = X Wᵀ. For one image x this is y = W x, and with W in CSR
#
#     y[i] = Σ values[e] · x[column_of[e]]        over e = starts[i] … starts[i + 1] − 1
#
# The slow loop:


# %%
def slow_product(values, column_of, starts, x):
    """One value after the other."""
    y = np.zeros(len(starts) - 1, values.dtype)
    for row in range(len(y)):
        for entry in range(starts[row], starts[row + 1]):
            y[row] += values[entry] * x[column_of[entry]]
    return y


print(slow_product(csr.values, csr.column_of, csr.starts, np.array([1, 10, 100, 1000, 10000], np.float32)))

# %% [markdown]
# A loop in Python is slow. A friend knows a function of NumPy, `np.add.reduceat(a, starts)`: it adds up the
# pieces of `a` that begin at these places. Now the product is one line:
#
# ```python
# def shorter_product(values, column_of, starts, x):
#     return np.add.reduceat(values * x[column_of], starts[:-1])
# ```
#
# The friend has tested it on a random matrix of 10 % density; all is well. Then comes our real layer, with a
# random input. In the figure, each dot is a unit of it.

# %%
rng = np.random.default_rng(1)
random_one = material.pattern(shape, left["fc1"], rng)
for name, weight in (("random pattern", random_one), ("real layer", after["fc1"])):
    form = CSR.from_dense(weight)
    x = rng.standard_normal(784).astype(np.float32)
    found = material.shorter_product(form.values, form.column_of, form.starts.astype(int), x)
    wrong = abs(found - weight @ x)
    print(f"{name}: {(wrong > 1e-3).sum()} of 300 outputs are wrong")
figure, ax = plt.subplots(figsize=(7.5, 2.7), layout="constrained")
ax.plot(np.arange(300), wrong, ".", color="C0", label="other units")
ax.plot(empty_rows, wrong[empty_rows], "o", color="C3", ms=5, label="units whose row is empty")
ax.set(xlabel="unit of fc1", ylabel="|friend − right|", ylim=(-0.01, 1.35 * wrong.max()))
ax.legend(frameon=False, ncols=2, loc="upper right")
plt.show()


# %%
def rest_of_net(z):
    """The accuracy of the whole network, from the products of its first layer."""
    for layer, following in (("fc1", "fc2"), ("fc2", "fc3")):
        z = np.maximum(z + pruned.get(f"{layer}.bias").numpy(), 0) @ after[following].T
    return np.mean((z + pruned.get("fc3.bias").numpy()).argmax(axis=1) == digits.val.labels)


images = digits.val.images.reshape(len(digits.val.labels), -1)
right = images @ after["fc1"].T
parts = form.values, form.column_of, form.starts.astype(int)  # of the real layer
found = np.array([material.shorter_product(*parts, x) for x in images])
harmed = abs(found - right) > 1e-3
print(f"real images with a wrong output: {harmed.any(axis=1).mean():.0%}; of all outputs {harmed.mean():.2%}")
print(f"validation accuracy: right {rest_of_net(right):.1%}, friend {rest_of_net(found):.1%}")

# %% [markdown]
# On a random input the failure is plain. On real images most outputs of these units happen to be right, and
# the accuracy does not tell. **A product that is rarely wrong, and silent, is worse than one that crashes.**
#
# ### Exercise 10.4 · explain this failure
#
# Give two small matrices. On `quiet` the friend's product returns a wrong number and says nothing. On `loud`
# it raises an `IndexError`. (x is a vector of ones.) Try `np.add.reduceat` on small arrays; its documentation
# says what it does.


# %% exercise="10.4"
def witness():
    """Two lists of rows: on `quiet` the friend's product is wrong in silence, on `loud` it raises."""
    # BEGIN SOLUTION
    quiet = [[5, 0], [0, 0], [0, 7]]  # the empty row is given 7, the value that stands there
    loud = [[5, 0], [0, 7], [0, 0]]  # the last row begins behind the last value
    # INSTEAD
    quiet = ...
    loud = ...
    # END SOLUTION
    return quiet, loud


# %% check="10.4"
check("10.4")

# %% [markdown]
# An empty row asks for the sum of nothing, which is 0. But `reduceat` returns the value that stands at this
# place: the first product of the *next* row. Why were most real images right? That product is a weight times
# the first pixel that the next unit reads, often one near the upper border, which is white: its value is 0.
#
# ### Exercise 10.5 · the product
#
# Write it without a loop over the values, and right for every matrix. Two ways: ask `reduceat` only for the
# rows that hold something; or `np.bincount(row of each value, weights=products, minlength=rows)`, where
# `np.repeat` makes the rows. The result has the type that NumPy gives to `values * x`.


# %% exercise="10.5"
def csr_times_vector(values, column_of, starts, x):
    """A matrix in CSR times a vector: gather, multiply, add up each row.

    Shapes: values, column_of (n,), starts (rows + 1,), x (columns,) -> y (rows,).
    """
    ...


# %% check="10.5"
check("10.5")

# %% [markdown]
# Now a whole network runs on your product. `sparsify` replaces each pruned layer by a `SparseLinear`. We go
# the whole way: save the pruned network, load the file, make it sparse, and give it one image at a time.

# %%
tinyopt.save(pruned, path("pruned.tinyopt"))
loaded = tinyopt.load(path("pruned.tinyopt"))
print(f"tinyopt.save: {size('pruned.tinyopt'):,} bytes, biases and names included")
sparsify(loaded, 1, layout="csr")
with yours("10.5"):
    quality = measure.evaluate(loaded, digits.val, batch_size=1)
print("sparse network from the file:", str(quality).splitlines()[0])
print("other answers than in memory:", int((quality.predictions != pruned_quality.predictions).sum()))

# %% [markdown]
# ## Is it faster?
#
# The product makes ten times fewer multiplications. We time three products, in turns: dense; CSR with random
# weights; BSR with weights removed in whole **blocks** of 16 × 16. Below the black line, sparse is faster.

# %%
densities = np.array([0.01, 0.02, 0.05, 0.1, 0.3])
rng = np.random.default_rng(2)
figure, axes = plt.subplots(2, 2, figsize=(9, 6), layout="constrained", sharex=True, sharey=True)
for row, size_of in zip(axes, ((300, 784), (1024, 1024))):
    for ax, n in zip(row, (1, 64)):
        runs = [material.times_of(size_of, n, density, rng) for density in densities]
        for layout, colour, name in (("CSR", "C2", "CSR, random"), ("BSR", "C6", "BSR, 16 × 16 blocks")):
            ratio = np.array([run[layout] / run["dense"] for run in runs])
            ax.loglog(densities, ratio, "o-", ms=4, color=colour, label=name)
            wins = ", ".join(f"{density:.0%}" for density in densities[ratio < 1]) or "none of these"
            print(f"{size_of[0]} × {size_of[1]}, batch {n:2}: {layout} is faster at densities: {wins}")
        ax.axhline(1, color="k", lw=1)
        typical = 1e6 * np.median([run["dense"] for run in runs])
        ax.set_title(f"{size_of[0]} × {size_of[1]}, batch {n} (dense: {typical:.0f} µs)")
figure.supxlabel("density (share kept)")
figure.supylabel("time / time of dense")
axes[0, 0].legend(frameon=False, fontsize=9)
plt.show()

# %% [markdown]
# Look at the green lines at 10 % density. Ten times fewer multiplications would mean a time of 0.1. It is far
# from that: on the machine where this lesson was written it was near 1 or above, so nothing was won, and CSR
# needed much lower densities. The pink lines, whole blocks, lie below them.
#
# Why? Count how many *useful* multiplications are done in a second.

# %%
batches = [1, 4, 16, 64, 256]
weight = material.pattern((1024, 1024), 0.1, rng)
csr, rates = CSR.from_dense(weight), {"dense": [], "CSR": []}
for n in batches:
    inputs = rng.standard_normal((n, 1024)).astype(np.float32)
    run = material.in_turns({"dense": lambda: inputs @ weight.T, "CSR": lambda: csr @ inputs.T}, rounds=5)
    rates["dense"].append(n * weight.size / run["dense"] / 1e9)
    rates["CSR"].append(n * csr.n_stored / run["CSR"] / 1e9)
figure, ax = plt.subplots(figsize=(6.5, 3), layout="constrained")
for layout, colour in (("dense", "C0"), ("CSR", "C2")):
    ax.loglog(batches, rates[layout], "o-", color=colour, label=layout)
ax.set(xlabel="batch size", ylabel="10⁹ multiplications a second", title="1024 × 1024, density 10 %")
ax.set_xticks(batches, batches)
ax.minorticks_off()
ax.legend(frameon=False)
plt.show()
print("dense / CSR:", " ".join(f"{a / b:.0f}" for a, b in zip(rates["dense"], rates["CSR"])), "times as many")

# %% [markdown]
# The dense product counts all its multiplications here, those with 0 too. CSR must win by a factor of ten at
# this density to be equal. Two reasons why it does not:
#
# - **Neighbours.** A dense product reads numbers that lie side by side, and the processor multiplies 8 or 16
#   of them at once. CSR must fetch `x[column_of[e]]` from anywhere: this is called a **gather**.
# - **Use again.** At batch 1, a dense product reads each weight and uses it once; most of the time is
#   reading. At batch 64, each weight that was read is used 64 times: so dense gets much faster for each
#   image. Our CSR first copies, for each weight, the inputs that its column index names; this grows with the
#   batch, too.
#
# So time depends on the *pattern*, not only on the number of zeros. A block needs one index for 256 values,
# and inside it all is dense.
#
# ## Why not store all weights in blocks?
#
# Because they must be *pruned* in blocks. BSR stores a block that holds any value. With 4 × 4 blocks and a
# random pattern of density d, a block is empty with probability (1 − d)¹⁶. At d = 10 % this is only 19 %.

# %%
rng = np.random.default_rng(3)
corner = (slice(100, 140), slice(300, 340))  # a part of fc1: 40 units, 40 pixels
density = (after["fc1"][corner] != 0).mean()
samples = {
    "random": material.pattern((40, 40), density, rng),
    "a part of fc1, as trained": after["fc1"][corner],
    "pruned in blocks": material.pattern((40, 40), density, rng, (4, 4)),
}
figure, axes = plt.subplots(1, 3, figsize=(9, 3.7), layout="constrained")
for ax, (name, part) in zip(axes, samples.items()):
    share = material.draw_touched(ax, part, (4, 4))
    ax.set_title(f"{name}\n{share:.0%} of the blocks stored", fontsize=10)
plt.show()
real, shuffled = after["fc1"], rng.permutation(after["fc1"].reshape(-1)).reshape(shape)
for name, weight in (("as trained", real), ("shuffled", shuffled)):
    sizes = {kind: LAYOUTS[kind].from_dense(weight).nbytes for kind in ("BSR", "CSR", "RelativeIndex")}
    print(f"fc1 {name:10}", "  ".join(f"{kind} {n:,}" for kind, n in sizes.items()), "bytes")

# %% [markdown]
# All three have about the same density. The last two lines compare the whole layer with its own values in
# random places. The real pattern is not random, so BSR takes fewer bytes. But the relative index takes
# *more*: empty rows and columns are long gaps, which cost fillers. CSR does not notice. A formula that says
# "random" is true for random patterns only.
#
# To prune in blocks is easy, but it costs accuracy: whole blocks must go, also their good weights. Between
# both lies **N:M sparsity**: of M neighbours exactly N are kept, for instance 2 of 4. Some GPUs have units
# that multiply such matrices twice as fast. Lesson 11 goes on from here: it removes whole rows and filters.
#
# ## What the package does
#
# `SparseLinear` believes no rule. It measures both products when it is first used, and takes the faster.

# %%
for n in (1, 64):
    net = tinyopt.load(path("pruned.tinyopt"))
    for layer, row in sparsify(net, n).items():
        micro = {kind: 1e6 * row[kind] for kind in ("dense", "csr")}
        speed = f"dense {micro['dense']:6.1f} µs, csr {micro['csr']:6.1f} µs: takes {row['layout']}"
        print(f"batch {n:2}, {layer}: density {row['density']:.0%}, {speed}")

# %% [markdown]
# If it says "dense", this is the honest answer: at this size, with this pattern, the zeros save bytes in the
# file but no time.
#
# ## Wrong ways
#
# ### Wrong way 1: a size without the indices
#
# "10 % are left, so it is ten times smaller." That claim is the first bar. All others are real files of the
# same three matrices: by `np.savez` (with int64 indices, as NumPy makes them; or weights *and* mask, both
# float32), by `np.savez_compressed`, a zip program, and by the package. "CSR of weight \* mask" is a
# surprise. Why?

# %%
masked = {layer: pruned.get(f"{layer}.weight").read().numpy() for layer in LAYERS}  # not cleaned by + 0.0
masks = {f"{layer}_mask": (after[layer] != 0).astype(np.float32) for layer in LAYERS}
np.savez_compressed(path("zip.npz"), **after)
np.savez(path("masks.npz"), **before, **masks)
wide = {"CSR": {}, "COO": {}}
for layer, kind in itertools.product(LAYERS, wide):
    form = LAYOUTS[kind].from_dense(after[layer])
    indices = {name: getattr(form, name).astype(int) for name in form.fields[1:]}
    wide[kind] |= {f"{layer}.{name}": array for name, array in {"values": form.values, **indices}.items()}
for kind, arrays in wide.items():
    np.savez(path(f"{kind}.npz"), **arrays)
bars = {
    '"10 % of the bytes" (no file)': 0.1 * size("dense.npz"),
    "weights and mask": size("masks.npz"),
    "masked weights": size("pruned.npz"),
    "masked weights, zip": size("zip.npz"),
    "CSR of weight * mask": write_layers("CSR", masked),
    "COO, int64 indices": size("COO.npz"),
    "CSR, int64 indices": size("CSR.npz"),
    "CSR, narrow indices": write_layers("CSR", after),
    "tinyopt.save, biases too": size("pruned.tinyopt"),
}
figure, ax = plt.subplots(figsize=(7.5, 3.8), layout="constrained")
kb = np.array(list(bars.values())) / 1e3
drawn = ax.barh(list(bars), kb, color=["0.6"] + ["C3"] * 6 + ["C2"] * 2)
ax.bar_label(drawn, fmt="%.0f", padding=3)
ax.invert_yaxis()
ax.set(xlabel="kB", xlim=(0, 1.12 * kb.max()))
plt.show()

# %% [markdown]
# The claim is reached by nobody. The zip program is a surprise: it writes a smaller file than CSR, since it
# codes the runs of zero bytes in few bits. But nobody can multiply with a zip file: the reader unpacks it to
# full size, and the network runs at full size.
#
# ### Wrong way 2: −0.0
#
# Why was "CSR of weight \* mask" nearly as large as dense? Look at what the mask left behind:

# %%
small = np.array([0.7, -0.2, -0.4], np.float32) * np.array([True, False, False])
print(small, "   equal to 0:", small == 0)
for added in ("", " + 0.0"):
    stored = sum(int(is_stored(w + 0.0 if added else w).sum()) for w in masked.values())
    print(f"weight * mask{added:6} values stored: {stored:,}, of them zeros: {stored - n_values:,}")

# %% [markdown]
# A negative weight times 0 is −0.0. It equals 0 in every comparison, but it has another bit, and a layout
# that is true to the bit must store it. About half of the removed weights were negative. The cure is to add
# 0.0: −0.0 + 0.0 is +0, and nothing else changes.
#
# ### Wrong way 3: int64 indices
#
# NumPy and PyTorch make indices of 8 bytes, if nobody says otherwise. Then an index is twice as large as the
# value: see the two CSR bars above. A value costs 12 bytes instead of 6, so the break-even with dense falls
# from 67 % to 33 %. `np.min_scalar_type(783)` says `uint16`: ask for the narrowest type. (For *products*,
# NumPy converts indices to its own int64 first. So the package keeps a wide copy in memory, and writes narrow
# ones.)
#
# ### Wrong way 4: a loop over the values
#
# "Fewer multiplications, so a loop over the survivors must be fast." And who unpacks to dense in each call
# saves nothing either.

# %%
form = CSR.from_dense(after["fc1"])
columns, starts = form.column_of.astype(int), form.starts.astype(int)
runs = material.in_turns({
    "Python loop over the values": lambda: slow_product(form.values, columns, starts, image),
    "to_dense() in each call": lambda: form.to_dense() @ image,
    "CSR, whole arrays": lambda: form @ image,
    "dense, zeros and all": lambda: after["fc1"] @ image,
}, rounds=5)  # fmt: skip
print("\n".join(f"{name:28} {1e6 * t:8.0f} µs for one image through fc1" for name, t in runs.items()))
folder.cleanup()

# %% [markdown]
# Each step of a Python loop costs far more than a multiplication.
#
# **Wrong way 5** was exercise 10.4: a product that was tested on full rows only. Test sparse code with empty
# rows (first, last, several together), an empty matrix, and a full one.
#
# ## In PyTorch
#
# ```python
# sparse = weight.to_sparse_csr()            # crow_indices (our starts), col_indices, values
# y = (sparse @ x.T).T                       # or torch.nn.functional.linear(x, sparse)
# narrow = torch.sparse_csr_tensor(sparse.crow_indices().int(), sparse.col_indices().int(), sparse.values(),
#                                  sparse.shape)
# ```
#
# PyTorch 2.13 says that its CSR is "in beta state". Indices are int64; int32 is documented, too. A random
# matrix of 300 × 784 with 10 % left took 942 kB dense, and 475 kB by `torch.save(sparse)`: half, not a tenth.
# (The column indices are a view into a larger array, and `torch.save` writes all of it.) `narrow` took 191
# kB. Our CSR takes 142 kB.
#
# ## Questions
#
# 1. A matrix has 1,000,000 rows, 10 columns, and 5 % of its values left. Which layout would you not take, and
#    why?
# 2. At which density does a bitmap of int8 values take more bytes than the dense matrix?
# 3. Dense needs 20 µs for a batch of 1, and sparse 40 µs. Your colleague says "then prune more". From the
#    figures: when does this help?
# 4. A paper reports "10× fewer FLOPs". What would you ask?
#
# BEGIN SOLUTION
# **Answers.**
#
# 1. CSR: its 1,000,001 starts of 4 bytes cost 4 MB, more than the 2 MB of the 500,000 float32 values. CSC has
#    only 11 starts, and takes 4 MB, since its row indices have 4 bytes. A bitmap is the smallest: 3.25 MB.
# 2. 1/8 + d = 1 byte for an element: at d = 7/8.
# 3. When time goes with the number of values, and is not mostly overhead of the calls. For CSR on a small
#    matrix, even 1 % may not be enough. Blocks, or removed rows (lesson 11), help sooner.
# 4. On which machine, at which batch size, and with which library was the *time* measured? And how large is
#    the file?
# END SOLUTION
#
# ## Sources
#
# - NumPy documentation, `numpy.ufunc.reduceat`: what it does if an index is not below the next one.
# - PyTorch documentation, `torch.sparse_csr_tensor`, `Tensor.crow_indices`: three arrays, of int32 or int64.
# - T. Gale, M. Zaharia, C. Young and E. Elsen (2020), "Sparse GPU Kernels for Deep Learning",
#   arXiv:2006.10901. Their abstract says what you measured: networks are only moderately sparse, which is not
#   enough for existing sparse kernels to beat dense ones; better kernels reach a speedup of 1.2 to 2.1.
# - A. Mishra and others (2021), "Accelerating Sparse Deep Neural Networks", arXiv:2104.08378: 2:4 sparsity.
#
# **Read on in the source:** `tinyopt/codec/sparse/rows.py` (COO, CSR, CSC; your `compressed_rows`),
# `products.py` beside it (your product; and how BLAS adds up many columns at once), `sizes.py` (your
# break-even), `tinyopt/nn/sparse.py` (the layer that measures).

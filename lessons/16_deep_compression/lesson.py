"""Lesson 16, Deep Compression: the source of lesson.ipynb; see tinyopt/course/percent.py for its format."""

# %% [markdown]
# # 16 · Deep Compression: where did the bytes go?
#
# **The question.** LeNet-300-100 is a file of 1.07 MB. The paper *Deep Compression* made of it 27 kB,
# without a loss of accuracy. Today you do the same with the package: prune, share, then code. One small
# file comes out, and it is as accurate. **Where did the other bytes go? And what are the bytes that are
# left?**
#
# - **You need:** pruning (lesson 9), weight sharing (lesson 15), log₂.
# - **You will write:** a code by hand, `entropy_bits`, the failure of a too short code, Huffman's tree,
#   `gap_symbols`.
# - **Time:** about 100 minutes.
#
# Where an exercise is still empty, the package's own function works for you.

# %%
import copy
import heapq
import itertools
import lzma
import os
import tempfile
import zlib

import matplotlib.pyplot as plt
import numpy as np

import tinyopt
from tinyopt import Tensor, codec, compress, data, files, measure, models, nn, no_grad, optim, train
from tinyopt.codec.sparse import filler_of, zeros_before  # for exercise 16.5
from tinyopt.course import STYLE, start
from tinyopt.course.lessons import find, load

check, hint, reveal, yours = start(16)
material = load(find(16) / "material.py")
folder = tempfile.TemporaryDirectory()  # all files of this lesson; it is removed at the end
plt.rcParams.update(STYLE)

# %% [markdown]
# The next two cells do the whole work. They train a network on 3,500 real digits of MNIST, and take about
# ten seconds. Each stage has a setting. We choose it on **validation** images: the smallest file whose
# accuracy is at most one standard error below that of the dense net. The test images are not used for that.

# %%
digits = data.mnist5k()


def fine_tune(model, epochs, lr):
    """Train a model; return its quality on the validation images."""
    adamw = optim.AdamW(model.parameters(), lr=lr, weight_decay=0.3)
    train.fit(model, digits, epochs=epochs, optimizer=adamw, schedule=train.cosine, progress=False)
    return measure.evaluate(model, digits.val)


def path(name):
    return os.path.join(folder.name, name)


def choose(candidates, make, floor):
    """The first model that is good enough; candidates come with the smallest file first."""
    for setting in candidates:
        model, before, after = make(setting)
        print(f"   {setting}: validation {before.accuracy:.1%}, after training again {after.accuracy:.1%}")
        if after.accuracy >= floor:
            break
    return model, setting, before, after


dense = models.lenet_300_100(rng=0)
dense_quality = fine_tune(dense, epochs=8, lr=3e-3)
floor = dense_quality.accuracy - dense_quality.standard_error
print(f"dense: validation {dense_quality.accuracy:.1%}; one standard error below: {floor:.1%}")


# %%
def prune_and_train(sparsity):
    model = copy.deepcopy(dense)
    compress.prune(model, sparsity)
    before = measure.evaluate(model, digits.val)
    return model, before, fine_tune(model, epochs=4, lr=3e-3)


def share_and_train(n_values, model=None):
    model = copy.deepcopy(pruned if model is None else model)
    compress.share(model, n_values)
    before = measure.evaluate(model, digits.val)
    return model, before, fine_tune(model, epochs=2, lr=1e-3)


print("share of the weights that is removed:")
pruned, sparsity, *prune_steps = choose((0.95, 0.9, 0.8), prune_and_train, floor)
print("values in a layer:")
shared, n_values, *share_steps = choose((8, 16, 32), share_and_train, floor)

tinyopt.save(shared, path("coded"), coding="huffman")
for name, model in {"dense": dense, "pruned": pruned, "shared": shared}.items():
    tinyopt.save(model, path(name))

# %% [markdown]
# Now the picture. Every bar is a file on the disk: `os.path.getsize`. The colours come from the package's
# **ledger**, a table of all bytes of a file, which add up to its size. Each accuracy was measured after
# that file was loaded again.

# %%
COLOURS = {"values": "C0", "positions": "C1", "labels and centroids": "C2", "biases": "C4"}
COLOURS["header, checksum"] = "0.4"


def group_of(tensor, kind, part):
    """The name of a ledger row's group."""
    if kind == "file":
        return "header, checksum"
    if tensor.endswith("bias"):
        return "biases"
    return "labels and centroids" if part == "codebook" else part


def grouped(name):
    """The bytes of a file by group."""
    sums = dict.fromkeys(COLOURS, 0)
    for tensor, kind, part, n_bytes in files.ledger(path(name)):
        sums[group_of(tensor, kind, part)] += n_bytes
    assert sum(sums.values()) == os.path.getsize(path(name))
    return sums


STAGES = ("dense", "pruned", "shared", "coded")
figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for ax, names in zip(axes, (STAGES, STAGES[1:])):
    material.draw_stacks(ax, {name: grouped(name) for name in names}, COLOURS)
axes[0].set_title("four files")
axes[1].set_title("the last three again, enlarged")
axes[1].legend(frameon=False)
plt.show()
results = {name: measure.evaluate(tinyopt.load(path(name)), digits.test) for name in STAGES}
size = {name: os.path.getsize(path(name)) for name in STAGES}
for name in STAGES:
    change = measure.compare(results["dense"], results[name])
    ratio = size["dense"] / size[name]
    print(f"{name:7} {size[name]:9,} bytes {ratio:5.1f}×   test {results[name].accuracy:.1%}   {change}")

# %% [markdown]
# Read it from left to right. **Pruning** removes nearly all values, but a new colour comes: *positions*. We
# must now say where the survivors stand. **Sharing** makes each value a small label. **Coding** changes no
# weight at all. It only writes the same labels and positions with fewer bits. This lesson is about that
# last step, and about the positions.
#
# ## A short code for what is frequent, by hand
#
# Five symbols occur 20 times: a 10, b 4, c 3, d 2, e 1. With the same number of bits for each we need 3
# bits (2 bits can tell only 4 symbols apart): 60 bits in all. But a is frequent. Give it a shorter code,
# and pay with longer codes for d and e.
#
# **Huffman's algorithm.** Write the counts in a row. Take the two smallest, and put their sum in their
# place. Repeat until one number is left.
#
# | row | the two smallest | sum |
# |---|---|---|
# | a 10, b 4, c 3, d 2, e 1 | d 2 and e 1 | de 3 |
# | a 10, b 4, c 3, de 3 | c 3 and de 3 | cde 6 |
# | a 10, b 4, cde 6 | b 4 and cde 6 | bcde 10 |
# | a 10, bcde 10 | a 10 and bcde 10 | all 20 |
#
# Each merger puts one more bit in front of all symbols in it. So a symbol's **code length** is the number
# of mergers that it takes part in: a 1, b 2, c 3, d 4, e 4. Together 10·1 + 4·2 + 3·3 + 2·4 + 1·4 = **39
# bits** instead of 60.

# %%
counts = {"a": 10, "b": 4, "c": 3, "d": 2, "e": 1}
lengths = codec.code_lengths(list(counts.values()))
numbers = codec.canonical_codes(lengths)
codes = {symbol: f"{number:0{n}b}" for symbol, number, n in zip(counts, numbers, lengths)}
figure, ax = plt.subplots(figsize=(6.5, 4.2), layout="constrained")
material.draw_tree(ax, codes, counts)
plt.show()
print(codes, "   bits:", sum(len(codes[symbol]) * n for symbol, n in counts.items()))

# %% [markdown]
# The code of a symbol is the way from the root: 0 is left, 1 is right. Symbols stand only at the *ends* of
# the branches. So no code is the beginning of another. Such a code is called **prefix-free**. It can be
# read without commas: `0101100` is 0·10·110·0, and that is "abca".
#
# ### Exercise 16.1 · predict, then compute
#
# Other counts: **a 7, b 5, c 4, d 3, e 1** (again 20 symbols). Build the tree on paper. Write the five code
# lengths, and the number of bits for all 20 symbols. The package's function is switched off while your
# answer is checked.


# %% exercise="16.1"
def predict():
    """The code lengths of a to e with counts 7, 5, 4, 3, 1, and the bits of all 20 symbols: by hand."""
    # BEGIN SOLUTION
    lengths = [2, 2, 2, 3, 3]  # mergers: d+e = 4, c+de = 8, a+b = 12, all
    total = 7 * 2 + 5 * 2 + 4 * 2 + 3 * 3 + 1 * 3
    # INSTEAD
    lengths = [..., ..., ..., ..., ...]
    total = ...
    # END SOLUTION
    return lengths, total


# %% check="16.1"
check("16.1")

# %% [markdown]
# ## How short can it be? The entropy
#
# A symbol of probability p *deserves* log₂ 1/p bits: one bit for every halving. With p = 1/2 that is 1 bit,
# with p = 1/8 it is 3 bits. The mean over all symbols is **Shannon's entropy**:
#
#     H = Σ p log₂ 1/p = −Σ p log₂ p         bits for one symbol
#
# No prefix-free code has a smaller mean length, if it codes one symbol after the other. And Huffman's is
# close: its mean length lies between H and H + 1. Why not exactly H? Because code lengths are whole
# numbers:

# %%
p = np.array(list(counts.values())) / 20
figure, ax = plt.subplots(figsize=(6.5, 2.9), layout="constrained")
at = np.arange(5)
first = ax.bar(at - 0.2, np.log2(1 / p), 0.38, color="C0", label="deserved: log₂ 1/p")
second = ax.bar(at + 0.2, lengths, 0.38, color="C2", label="Huffman's length")
ax.bar_label(first, fmt="%.2f", fontsize=9)
ax.bar_label(second, fontsize=9)
ax.set(xticks=at, xticklabels=[f"{s}: {n} of 20" for s, n in counts.items()], ylabel="bits", ylim=(0, 5.3))
ax.legend(frameon=False, loc="upper left")
plt.show()
print(f"entropy {p @ np.log2(1 / p):.3f} bits a symbol, Huffman {p @ lengths:.3f}, fixed length 3")

# %% [markdown]
# ### Exercise 16.2 · the bound
#
# Write `entropy_bits`. It takes the counts, not the probabilities. Some counts may be 0: labels that never
# occur.


# %% exercise="16.2"
def entropy_bits(counts):
    """Shannon's bound: H = Σ p log₂ 1/p, with p = count / sum of all counts.

    Shapes: counts (K,), an array of integers ≥ 0 -> a number, in bits for one symbol.
    """
    ...


# %% check="16.2"
check("16.2")

# %% [markdown]
# Your function can now say, for the real labels of our network, how short they can become. `yours("16.2")`
# puts it into the package.


# %%
def labels_of(model, layer):
    """The labels of a layer's survivors, one for each, in memory order."""
    weight = model.get(layer).weight
    return weight.view(nn.Codebook).labels[weight.view(nn.Mask).keep]


LAYERS = ("fc1", "fc2", "fc3")
with yours("16.2"):
    for layer in LAYERS:
        label_counts = np.bincount(labels_of(shared, layer), minlength=n_values)
        mean = label_counts @ codec.code_lengths(label_counts) / label_counts.sum()
        bound = codec.entropy_bits(label_counts)
        fixed = codec.bits_needed(n_values)
        print(f"{layer}: bound {bound:.3f}, Huffman {mean:.3f}, fixed {fixed} bits a label")

figure, axes = plt.subplots(1, 3, figsize=(10, 3), layout="constrained")
for ax, layer in zip(axes, LAYERS):
    label_counts = np.bincount(labels_of(shared, layer), minlength=n_values)
    bars = ax.bar(range(n_values), label_counts, color="C2")
    ax.bar_label(bars, codec.code_lengths(label_counts), fontsize=9)
    ax.set(title=f"{layer}: {label_counts.sum():,} labels", xlabel="label")
axes[0].set_ylabel("how often\n(on top: code length, bits)")
plt.show()

# %% [markdown]
# Two hills, of negative and of positive weights. Between them is a valley, since pruning has removed what
# was near zero. This **unevenness** is all that Huffman's code can use. Here it is not large.
#
# When is the missing part of a bit a problem? Take only two symbols. Huffman must give each of them 1 bit,
# even if one occurs 99 times of 100. There the entropy is near 0. The cure is to code *blocks*: pairs or
# triples of symbols.

# %%
shares = np.arange(50, 100)  # how many of 100 symbols are the frequent one
figure, ax = plt.subplots(figsize=(6.5, 3.2), layout="constrained")
for n, mark in ((1, "C3"), (2, "C1"), (3, "C4")):
    means = []
    for k in shares:
        blocks = [int(np.prod(block)) for block in itertools.product((k, 100 - k), repeat=n)]
        means.append(np.dot(blocks, codec.code_lengths(blocks)) / sum(blocks) / n)
    ax.plot(shares / 100, means, color=mark, label=f"Huffman, blocks of {n}")
bounds = [codec.entropy_bits(np.array([k, 100 - k])) for k in shares]
ax.plot(shares / 100, bounds, "--", color="C0", label="entropy H")
ax.set(xlabel="probability of the frequent symbol", ylabel="bits for one symbol", ylim=(0, 1.1))
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# Remember this curve when somebody Huffman-codes a *mask*, bit by bit. A mask has two symbols: nothing is
# gained. The package codes the gaps between the survivors instead, which is a way to code blocks of
# changing length.
#
# ## Shorter than Shannon?
#
# A friend looks at exercise 16.1 and laughs. "I need only 28 bits! Give the most frequent symbols the
# shortest codes that there are." The friend's codes are:

# %%
print(material.FRIEND)
hand = dict(zip("abcde", material.COUNTS))
friend_total = sum(n * len(material.FRIEND[symbol]) for symbol, n in hand.items())
hand_bound = 20 * codec.entropy_bits(np.array(material.COUNTS))
print(f"friend: {friend_total} bits;  no prefix-free code can take fewer than {hand_bound:.1f} bits")

# %% [markdown]
# Less than the bound. So something must be wrong.
#
# ### Exercise 16.3 · explain this failure
#
# Give **two different messages** of the letters a to e that the friend's code writes with the **same
# bits**. Then say in one sentence to your neighbour why this cannot happen in a tree whose symbols stand
# only at the ends.


# %% exercise="16.3"
def witness():
    """Two different messages, such as "abba" and "ace", that the friend's code writes with the same bits."""
    # BEGIN SOLUTION
    first, second = "c", "aa"  # both are written 00
    # INSTEAD
    first, second = ..., ...
    # END SOLUTION
    return first, second


# %% check="16.3"
check("16.3")

# %% [markdown]
# There is a simple test. A code of length n uses up the share 2⁻ⁿ of all bit strings: those that begin with
# it. If no code begins another, these shares do not overlap. So
#
#     Σ 2^−length ≤ 1          Kraft's inequality
#
# The friend's lengths 1, 1, 2, 2, 2 use up 1/2 + 1/2 + 3/4 = 1.75: impossible. This also gives us the slow
# specification of the best code. Try *all* lengths that keep the sum at 1 or below, and take the fewest
# bits:


# %%
def best_by_trying(counts, longest=4):
    """The fewest bits of any prefix-free code: all possible lengths, one after the other. Slow, and clear."""
    best = None
    for lengths in itertools.product(range(1, longest + 1), repeat=len(counts)):
        if sum(0.5**n for n in lengths) <= 1:
            bits = sum(count * n for count, n in zip(counts, lengths))
            if best is None or bits < best[0]:
                best = bits, lengths
    return best


print("all 1,024 sets of lengths, counts 10, 4, 3, 2, 1:", best_by_trying([10, 4, 3, 2, 1]))
print("five symbols: 4⁵ sets to try; our 8 labels with up to 7 bits: 7⁸ =", f"{7**8:,}")

# %% [markdown]
# It agrees with the tree. But it is far too slow for more symbols. Huffman's tree needs K − 1 mergers for K
# symbols.
#
# ### Exercise 16.4 · Huffman's tree
#
# A **heap** is a list that gives back its smallest entry quickly. Entries are pairs (count, number of the
# node). The leaves have the numbers 0 … K − 1. Each merger makes the node with the next number; the root
# comes last. `parent[node]` says into which node it went. Fill in the merger, then find the depths from the
# root down.


# %% exercise="16.4"
def tree_depths(counts):
    """The depth of each leaf in Huffman's tree: the length of its symbol's code.

    Shapes: counts, a list of K integers ≥ 1 -> a list of K depths, in the same order.
    """
    n_leaves = len(counts)
    heap = [(count, leaf) for leaf, count in enumerate(counts)]
    heapq.heapify(heap)
    parent = [0] * (2 * n_leaves - 1)
    for node in range(n_leaves, 2 * n_leaves - 1):
        # BEGIN SOLUTION
        (count_a, a), (count_b, b) = heapq.heappop(heap), heapq.heappop(heap)
        parent[a] = parent[b] = node
        heapq.heappush(heap, (count_a + count_b, node))
        # INSTEAD
        ...  # take two nodes from the heap, tell them their parent, put the new node into the heap
        # END SOLUTION
    depth = [0] * (2 * n_leaves - 1)
    # BEGIN SOLUTION
    for node in reversed(range(2 * n_leaves - 2)):
        depth[node] = depth[parent[node]] + 1
    # INSTEAD
    depth = [...] * (2 * n_leaves - 1)  # the root, which is the last node, has depth 0
    # END SOLUTION
    return depth[:n_leaves]


# %% check="16.4"
check("16.4")

# %% [markdown]
# Does the reader of the file need the tree? No. From the **lengths** alone both sides can make the same
# codes: shorter codes first, and codes of one length are consecutive numbers. Such a code is called
# **canonical**. Deflate (in zip, gzip and PNG) stores its codes in the same way. Here is the example of its
# standard, RFC 1951:

# %%
lengths = [3, 3, 3, 3, 3, 2, 4, 4]
for symbol, n, number in zip("ABCDEFGH", lengths, codec.canonical_codes(lengths)):
    print(f"{symbol}: length {n}, code {number:0{n}b}")

# %% [markdown]
# Now your tree writes the network's file. The file is read back by the package. Huffman coding is
# **lossless**: every logit must be the same, bit for bit.


# %%
def logits(model):
    with no_grad():
        return model(Tensor(digits.test.images)).numpy()


with yours("16.4"):
    tinyopt.save(shared, path("mine"), coding="huffman")
same_logits = np.array_equal(logits(tinyopt.load(path("mine"))), logits(tinyopt.load(path("shared"))))
print(f"{os.path.getsize(path('mine')):,} bytes; all 10,000 test logits equal: {same_logits}")

# %% [markdown]
# ## Where are the survivors? Gaps and fillers
#
# A pruned matrix is mostly zeros. Its values alone are of no use: we must store **where** each one stands.
# A position in fc1 is a number up to 235,200, so it needs 18 bits. That is six times as much as a label of
# 3 bits! Deep Compression stores **gaps**: how many zeros come before the next value. Gaps are small
# numbers. With 3 bits a symbol can be 0 … 7. If more zeros come, the largest symbol is a **filler**: "seven
# zeros, and *no* value here".

# %%
figure, ax = plt.subplots(figsize=(9, 2.4), layout="constrained")
material.draw_gaps(ax)
plt.show()

# %% [markdown]
# The gap before position 15 is 10 zeros. It is written 7 (filler), then 3. Note the border: a gap of
# exactly 7 zeros is written **7, 0**. A single 7 would be read as "no value". (In the paper a filler is a
# stored weight of value 0, which costs a label too. Here it stands for no weight.)
#
# ### Exercise 16.5 · gaps and fillers
#
# Two helpers are there: `zeros_before([1, 4, 15])` gives the gaps 1, 2, 10, and `filler_of(3)` gives 7. A
# gap may need several fillers. Return an array.


# %% exercise="16.5"
def gap_symbols(positions, bits):
    """Turn positions into gap symbols of `bits` bits, with fillers where a gap is too long.

    Shapes: positions (n,), an array of increasing integers -> symbols (m,), m ≥ n, an array of integers.
    """
    gaps = zeros_before(positions)
    filler = filler_of(bits)
    # BEGIN SOLUTION
    n_fillers, rest = np.divmod(gaps, filler)
    ends = np.cumsum(n_fillers + 1)
    symbols = np.full(gaps.size + n_fillers.sum(), filler)
    symbols[ends - 1] = rest
    # INSTEAD
    symbols = ...
    # END SOLUTION
    return symbols


# %% check="16.5"
check("16.5")

# %% [markdown]
# How many bits should a gap have? Few bits: many fillers. Many bits: room is wasted on short gaps. We try
# all, with your function. Then Huffman codes the symbols as well: short gaps are more frequent than long
# ones.

# %%
keep = shared.get("fc1").weight.view(nn.Mask).keep
positions = np.flatnonzero(keep)
with yours("16.5"):
    widths = range(2, 11)
    symbols = [codec.gap_symbols(positions, bits) for bits in widths]
plain = [bits * s.size / 8 / 1000 for bits, s in zip(widths, symbols)]
coded = [len(codec.huffman_encode(s)) / 1000 for s in symbols]
bound = keep.size * codec.entropy_bits(np.bincount(keep.reshape(-1))) / 8 / 1000
figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
ax.plot(widths, plain, "o-", label="gaps, all of b bits")
ax.plot(widths, coded, "s-", label="gaps, Huffman coded")
ax.axhline(keep.size / 8 / 1000, color="0.5", ls=":", label="bitmap: 1 bit for each weight")
ax.axhline(bound, color="C3", ls="--", label="entropy, if survivors were spread at random")
ax.set(xlabel="b, bits of a gap", ylabel="positions of fc1, kB", ylim=(0, 48))
ax.legend(frameon=False, fontsize=9, loc="upper left", ncols=2)
plt.show()
print(f"{positions.size:,} survivors; best: plain {min(plain):.2f} kB, coded {min(coded):.2f} kB")

# %% [markdown]
# The red line is the entropy of a coin that is thrown for each weight. The code lies *below* it. Shannon
# was not wrong: the survivors are not spread at random. Look at the mask. The border of the images is
# always empty, so whole columns of fc1 are never used, and their weights are pruned. Structure is a gift
# for a coder.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained", width_ratios=(1.4, 1))
left.imshow(keep[:120, :280], cmap="gray_r", aspect="auto", interpolation="nearest")
left.set(title="survivors of fc1 (black), a part", xlabel="input pixel, 10 rows of 28", ylabel="unit")
picture = right.imshow(100 * keep.mean(axis=0).reshape(28, 28), cmap="viridis")
right.set(title="survivors by pixel", xticks=[], yticks=[])
figure.colorbar(picture, ax=right, label="weights kept, %")
plt.show()

# %% [markdown]
# ## All together
#
# The order is: prune, train, share, train, code. Pruning and sharing change the weights, so each is
# followed by training that mends the loss. Coding comes last, since it must see the final labels. It needs
# no training.

# %%
after_coding = measure.evaluate(tinyopt.load(path("coded")), digits.val)
before_after = [dense_quality, *prune_steps, *share_steps, after_coding]
texts = ["dense", f"prune\n{sparsity:.0%}", "train", f"share\n{n_values} values", "train", "code"]
figure, ax = plt.subplots(figsize=(7.5, 3.2), layout="constrained")
heights = [100 * quality.accuracy for quality in before_after]
errors = [100 * quality.standard_error for quality in before_after]
ax.errorbar(range(6), heights, errors, fmt="o-", capsize=3, label="± standard error")
ax.axhline(100 * floor, color="0.6", ls=":", label="the floor")
ax.set(xticks=range(6), xticklabels=texts, ylabel="validation accuracy, %")
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# The deep point is the pruned net before training. The training brings back what was lost. Coding changes
# nothing: the last two points are equal.
#
# Now the last file once more, written by *your* tree and *your* gaps, and its **ledger**: every byte has a
# name.

# %%
with yours("16.4", "16.5"):
    tinyopt.save(shared, path("mine"), coding="huffman")
rows = files.ledger(path("mine"))
for tensor, kind, part, n_bytes in rows:
    print(f"{tensor:20} {kind:16} {part:10} {n_bytes:7,}")
print(f"{'sum':48} {sum(row[3] for row in rows):7,}   os.path.getsize: {os.path.getsize(path('mine')):,}")

packed, coded = grouped("shared"), grouped("coded")
for group in ("positions", "labels and centroids"):
    print(f"{group}: {packed[group]:,} bytes before Huffman's code, {coded[group]:,} after it")

# %% [markdown]
# Positions take more than labels! After pruning and sharing, *where* costs more than *what*. And Huffman's
# code saved most of its bytes on the positions. The 410 biases were never compressed; in the dense file
# nobody saw them, here they are some 6 %. If you want a still smaller file, the ledger says where to work
# next.
#
# Does each step need the others? Here are all combinations, each a real file.

# %%
only_shared = share_and_train(n_values, model=dense)[0]
combinations = {"dense": dense, "pruned": pruned, "shared": only_shared, "pruned, shared": shared}
table = {}
for name, model in combinations.items():
    for coding in ("packed", "huffman"):
        tinyopt.save(model, path("combination"), coding=coding)
        quality = measure.evaluate(tinyopt.load(path("combination")), digits.test)
        table[name, coding] = os.path.getsize(path("combination")) / 1000, quality
figure, ax = plt.subplots(figsize=(7.5, 3.3), layout="constrained")
for shift, coding, colour in ((-0.2, "packed", "C0"), (0.2, "huffman", "C2")):
    bars = ax.bar(np.arange(4) + shift, [table[name, coding][0] for name in combinations], 0.38, color=colour)
    ax.bar_label(bars, fmt="%.1f", fontsize=9)
    bars.set_label("same bits for all" if coding == "packed" else "Huffman coded")
accuracies = [table[name, "huffman"][1] for name in combinations]
ticks = [f"{n}\n{q.accuracy:.1%} ± {q.standard_error:.1%}" for n, q in zip(combinations, accuracies)]
ax.set(yscale="log", ylabel="file on disk, kB, log scale", xticks=range(4), ylim=(10, 3000))
ax.set_xticklabels(ticks)
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# The package writes floats as they are: nearly every float occurs only once, so there is nothing to count
# (in the pruned file only the positions shrink). The gains of the steps do not multiply: pruning alone
# saves a factor of 8, sharing alone a factor of 10, but both together do not save 80, because sharing does
# not make the positions smaller. And coding is the smallest step of the three. The paper found the same for
# this network: 32 times by pruning and sharing, 40 times with Huffman's code.
#
# ## Wrong ways
#
# ### Wrong way 1: a size by formula
#
# "90 % are gone, 3 bits are left for each: the net is 107 times smaller." Such numbers stand in many
# reports. We compute what people compute, and put the file beside it. From the third line on, the bytes are
# those of the ledger. And who compares with float64, NumPy's default, gets a factor of 2 for free.

# %%
survivors = sum(labels_of(shared, layer).size for layer in LAYERS)
weights = sum(shared.get(layer).weight.size for layer in LAYERS)
sums = grouped("coded")
fixed_bits = survivors * codec.bits_needed(n_values)
claims = {
    "against float64: survivors × bits": (8 * (weights + 410), fixed_bits / 8),
    "survivors × bits of a label": (size["dense"], fixed_bits / 8),
    "labels coded, with tables, centroids": (size["dense"], sums["labels and centroids"]),
    "+ positions": (size["dense"], sums["labels and centroids"] + sums["positions"]),
    "+ biases": (size["dense"], size["coded"] - sums["header, checksum"]),
    "the file": (size["dense"], size["coded"]),
}
figure, ax = plt.subplots(figsize=(7.5, 3.2), layout="constrained")
ratios = [before / after for before, after in claims.values()]
bars = ax.barh(list(claims), ratios, color=["C3"] * 5 + ["C2"])
ax.bar_label(bars, fmt="%.1f×", padding=3)
ax.invert_yaxis()
ax.set(xlabel='"compression ratio"', xlim=(0, 1.15 * max(ratios)))
plt.show()

# %% [markdown]
# All these bars speak of **one** network. Only the last one can be copied to a phone.
#
# ### Wrong way 2: zeros in a dense file, and a zip program
#
# A pruned matrix in a float32 array is as large as before: a zero takes 4 bytes. "Then zip it." We try:
# zlib and lzma on the dense file, on the pruned net stored densely, and on the pruned and shared net stored
# densely.


# %%
def stored_dense(model):
    """The same weights as plain float32 arrays, zeros and all: the bytes of that file."""
    plain = models.lenet_300_100()
    for parameter, source in zip(plain.parameters(), model.parameters()):
        parameter.data = source.read().detach().data.copy()
    tinyopt.save(plain, path("plain"))
    with open(path("plain"), "rb") as file:
        return file.read()


packers = {"as it is": lambda raw: raw, "zlib": lambda raw: zlib.compress(raw, 9), "lzma": lzma.compress}
sizes = {}
for name, model in (("dense", dense), ("pruned", pruned), ("pruned, shared", shared)):
    raw = stored_dense(model)
    for packer, work in packers.items():
        codec.atomic_write(path("zipped"), work(raw))
        sizes[name, packer] = os.path.getsize(path("zipped")) / 1000
    sizes[name, "tinyopt"] = table[name, "huffman"][0]
figure, ax = plt.subplots(figsize=(8, 3.2), layout="constrained")
for shift, packer, colour in zip((-0.3, -0.1, 0.1, 0.3), (*packers, "tinyopt"), ("0.6", "C1", "C4", "C2")):
    heights = [sizes[name, packer] for name in ("dense", "pruned", "pruned, shared")]
    label = "tinyopt, Huffman" if packer == "tinyopt" else f"dense arrays, {packer}"
    bars = ax.bar(np.arange(3) + shift, heights, 0.19, color=colour, label=label)
    ax.bar_label(bars, fmt="%.0f", fontsize=9)
ax.set(yscale="log", ylim=(10, 9000), ylabel="file on disk, kB, log scale", xticks=range(3))
ax.set_xticklabels(["dense", "pruned", "pruned, shared"])
ax.legend(frameon=False, ncols=2, fontsize=9, loc="upper right")
plt.show()

octets = np.ascontiguousarray(dense.get("fc1").weight.numpy()).view(np.uint8).reshape(-1, 4)  # low byte first
planes = [codec.entropy_bits(np.bincount(octets[:, i])) for i in range(4)]
print("dense fc1, entropy of the 4 bytes of a float, in bits of 8:", np.round(planes, 2))

# %% [markdown]
# The dense file hardly shrinks: three of the four bytes of a trained float look like noise, with nearly 8
# bits of entropy each. Only the byte with the sign and most of the exponent is uneven. On pruned arrays the
# zip programs are quite good, and this surprises many. They find the zeros. But they work on bytes, not on
# weights; and the reader must unpack to full size. A format that knows what a weight is still wins.
#
# ### Wrong way 3: Huffman codes where nothing is uneven
#
# What matters is not how *many* labels there are, but how unevenly they are used. k-means may start its
# centroids evenly between the smallest and the largest value ("linear"), or so that each begins with
# equally many weights ("density").

# %%
uniform = np.random.default_rng(0).integers(0, 8, size=100_000)
n_packed, n_coded = codec.pack_bits(uniform, 3).nbytes, len(codec.huffman_encode(uniform))
print(f"100,000 random labels of 3 bits: packed {n_packed:,} bytes, Huffman {n_coded:,}")
values = pruned.get("fc1").weight.read().detach().data[pruned.get("fc1").weight.view(nn.Mask).keep]
ranks = np.argsort(np.argsort(values))
ways = {
    "k-means, linear start": compress.kmeans(values, n_values)[1],
    "k-means, density start": compress.kmeans(values, n_values, start="density")[1],
    "equal shares, no k-means": ranks * n_values // values.size,  # as many weights under each label
}
figure, axes = plt.subplots(1, 3, figsize=(10, 3), layout="constrained", sharey=True)
for ax, (name, labels) in zip(axes, ways.items()):
    centroids = np.array([values[labels == k].mean() for k in range(labels.max() + 1)])
    error = ((centroids[labels] - values) ** 2).mean() ** 0.5
    ax.bar(range(len(centroids)), np.bincount(labels), color="C2")
    n_bytes = len(codec.huffman_encode(labels))
    ax.set(title=f"{name}\nHuffman {n_bytes:,} bytes\nerror {error:.4f}", xlabel="label")
axes[0].set_ylabel("labels of fc1")
plt.show()
print(f"packed: {codec.pack_bits(labels, codec.bits_needed(n_values)).nbytes:,} bytes in all three cases")

# %% [markdown]
# With equal shares the entropy is the largest there is, log₂ 8 = 3 bits, and Huffman's code *adds* its
# table. It can even make the file larger; so the package stores whichever is smaller. Here "error" is the
# root of the mean squared distance from a weight to its centroid.
#
# ### Wrong way 4: a code from other data
#
# A code table costs bytes. "Use one table for all layers", or that of another file. The code then fits
# other counts:

# %%
cross = np.zeros((3, 3))
for i, layer in enumerate(LAYERS):
    here = np.bincount(labels_of(shared, layer), minlength=n_values)
    for j, other in enumerate(LAYERS):
        lengths = codec.code_lengths(np.bincount(labels_of(shared, other), minlength=n_values))
        missing = ((here > 0) & (lengths == 0)).any()  # no code for a label that occurs
        cross[i, j] = np.nan if missing else here @ lengths / here.sum()
figure, ax = plt.subplots(figsize=(5.2, 3.2), layout="constrained")
ax.imshow(cross, cmap="YlOrRd", vmax=3.5)
for (i, j), bits in np.ndenumerate(cross):
    ax.text(j, i, f"{bits:.2f}", ha="center", va="center")
ax.set(xticks=range(3), xticklabels=LAYERS, yticks=range(3), yticklabels=LAYERS, title="bits for one label")
ax.set(xlabel="code made from the counts of", ylabel="labels of")
plt.show()

# %% [markdown]
# In each row, the smallest number stands on the diagonal: a code made from other counts is never shorter.
# And if a label does not occur in the other data, it has *no code at all*: it cannot be written.
#
# ### Wrong way 5: share first, then prune
#
# Pruning ranks weights by magnitude. After sharing, all members of a cluster are *equal*. Who is removed is
# then decided by the order in memory, not by importance.

# %%
turned = copy.deepcopy(dense)
compress.share(turned, n_values)
compress.prune(turned, sparsity)
untrained = measure.evaluate(turned, digits.val)
weight = turned.get("fc1").weight
labels, kept = weight.view(nn.Codebook).labels, weight.view(nn.Mask).keep
share_kept = np.array([kept[labels == k].mean() for k in range(n_values)])
cut = int(abs(share_kept - 0.5).argmin())  # the cluster that was cut into two parts
trained = fine_tune(turned, epochs=6, lr=3e-3)  # as many epochs as the right way has had
print(f"prune, then share: validation {prune_steps[0].accuracy:.1%}, trained {share_steps[1].accuracy:.1%}")
print(f"share, then prune: validation {untrained.accuracy:.1%}, trained {trained.accuracy:.1%}")
print("the second against the first:", measure.compare(share_steps[1], trained))
print("share of the members that is kept, for each cluster of fc1:", share_kept.round(2))
figure, ax = plt.subplots(figsize=(7.5, 2.6), layout="constrained")
units = np.flatnonzero((labels == cut).any(axis=1))
ax.plot(units, [100 * kept[unit][labels[unit] == cut].mean() for unit in units], ".", color="C3")
ax.set(xlabel="unit of fc1, in memory order", ylabel=f"members of cluster {cut}\nthat are kept, %")
plt.show()

# %% [markdown]
# All members of this cluster have the same value. Those in the first units are removed, those in the later
# units stay: that is no choice at all.

# %%
folder.cleanup()

# %% [markdown]
# ## In PyTorch
#
# PyTorch can prune, but it has no entropy coding and no sparse file. Beware of what it writes:
#
# ```python
# torch.nn.utils.prune.l1_unstructured(layer, "weight", amount=0.9)
# torch.save(net.state_dict(), "net.pt")        # twice as large: weight_orig and weight_mask, both float32
# torch.nn.utils.prune.remove(layer, "weight")  # now as large as at first: a zero takes 4 bytes
# ```
#
# With this network and PyTorch 2.13 the three files have 1,069, 2,135 and 1,069 kB.
#
# ## Questions
#
# 1. Why must coding come last?
# 2. A layer has 8 labels, all equally frequent. What does Huffman's code look like?
# 3. Huffman's code needs at least 1 bit for a symbol. The positions cost less than 1 bit for each *weight*.
#    How can that be?
# 4. In Table 2 of the paper, the labels of the three layers take 4.4, 4.4 and 4.3 bits after Huffman
#    coding. The line "Total" says 5.1. Can that be right?
# 5. We tried no fewer than 8 values. What becomes shorter with 4 values, and what stays as it is?
# 6. The coded file is about forty times smaller. Does the network need less memory, or less time, when it
#    runs?
#
# BEGIN SOLUTION
# **Answers.**
#
# 1. Training would change labels or mask, and so the counts. Coding itself changes no weight and needs no
#    training.
# 2. All codes have 3 bits: it is the code of fixed length, and the table is a loss.
# 3. One gap symbol stands for many weights: for all the zeros before a survivor. It is a code of blocks.
# 4. No. A mean lies between the smallest and the largest of its parts. So check tables, also those of good
#    papers.
# 5. The labels (2 bits or less) and the table of centroids. Positions, biases and header stay.
# 6. Not here: `load` makes dense float32 arrays again. The bytes are saved on disk and on the way to the
#    device. Small memory and less time need kernels that compute with labels and gaps, or removed structure
#    (lesson 11).
# END SOLUTION
#
# ## Sources
#
# - S. Han, H. Mao and W. J. Dally (2016), "Deep Compression: Compressing Deep Neural Networks with Pruning,
#   Trained Quantization and Huffman Coding", ICLR 2016, arXiv:1510.00149. Section 2 and Figure 2: gaps with
#   a filler; Section 4: Huffman coding; Tables 1 and 2: LeNet-300-100 from 1,070 KB to 27 KB.
# - C. E. Shannon (1948), "A Mathematical Theory of Communication", *Bell System Technical Journal* 27,
#   379–423 and 623–656. Section 9: the bound, and a code within one bit of it.
# - P. Deutsch (1996), "DEFLATE Compressed Data Format Specification version 1.3", RFC 1951. Section 3.2.2:
#   canonical codes. Its reference [1] is D. A. Huffman (1952), "A Method for the Construction of Minimum
#   Redundancy Codes", *Proceedings of the IRE* 40(9), 1098–1101.
#
# **Read on in the source:** `tinyopt/codec/huffman.py` (your tree, and how a reader finds the ends of the
# codes), `tinyopt/codec/sparse/positions.py` (your gaps), `tinyopt/codec/container.py` (one file, one checksum, the
# ledger).

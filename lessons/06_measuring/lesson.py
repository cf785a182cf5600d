"""Lesson 6, measuring: the source of lesson.ipynb; see tinyopt/course/percent.py for its format."""

# %% [markdown]
# # 6 · Measuring: is the second model better?
#
# **The question.** Two models, tested on 1,000 images. The first names **96.8 %** of them rightly, the second
# **97.4 %**. *Is the second better?* And if it is: what does it cost, in bytes and in time?
#
# All that follows in this course changes a model and asks what was lost. So we must know how to ask.
#
# - **You need:** mean and standard deviation; a trained network (lesson 1 or 3).
# - **You will write:** the error of an accuracy by hand, the paired difference, the confusion matrix,
#   precision and recall, the price of a layer by hand.
# - **Time:** about 120 minutes.

# %%
import copy
import functools
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from tinyopt import Tensor, compress, data, measure, models, nn, optim, save, train
from tinyopt.course import STYLE, start
from tinyopt.errors import ShapeError  # for exercises 6.2, 6.4 and 6.5

check, hint, reveal, yours = start(6)
plt.rcParams.update(STYLE)

# %% [markdown]
# We train a small network on 1,500 handwritten digits. That leaves 3,000 others that it has never seen. We
# cut them into ten test sets of 300, and measure **the same network** on each. Nothing is trained in between.

# %%
mnist = data.mnist5k()
few = mnist.train.take(slice(0, 1500))
others = data.Part(*(np.concatenate([a[1500:], b]) for a, b in zip(mnist.train, mnist.test)))
others = others.sample(3000, rng=0)  # all 3,000 of them, shuffled


@functools.cache  # a network that was trained once is kept
def trained(seed, width=32):
    """A network with one hidden layer, trained on 1,500 images."""
    first, second = nn.Linear(784, width, rng=seed), nn.Linear(width, 10, rng=1000 + seed)
    net = nn.Sequential(flatten=nn.Flatten(), fc1=first, relu=nn.ReLU(), fc2=second)
    adam = optim.Adam(net.parameters(), lr=2e-3)
    train.fit(net, (few, None), epochs=8, optimizer=adam, seed=seed, progress=False)
    return net


net = trained(0)
right = measure.evaluate(net, others).predictions == others.labels  # (3000,) True where the net is right
sets = 100 * right.reshape(10, 300).mean(axis=1)  # (10,)

figure, ax = plt.subplots(figsize=(7.5, 3), layout="constrained")
ax.axhline(sets.mean(), color="0.7", zorder=0)
ax.plot(range(1, 11), sets, "o", ms=9)
ax.set(xlabel="test set, 300 images each", ylabel="accuracy, %", xticks=range(1, 11))
ax.set_title(f"One network, ten test sets: from {sets.min():.1f} % to {sets.max():.1f} %")
plt.show()

# %% [markdown]
# If two *different* networks had the highest and the lowest of these numbers, we would be sure that one of
# them is better. But it is one network. **An accuracy is a measurement, and a measurement has an error.**
#
# ## The error of an accuracy, by hand
#
# Let the network be right on a share p of all images in the world. We draw n of them. For one image, write 1
# for right and 0 for wrong. This number has the mean p, and the variance
#
#     p · (1 − p)² + (1 − p) · (0 − p)²  =  p · (1 − p)
#
# The accuracy is the mean of n such numbers. The variance of a mean is n times smaller. Its root is the
# **standard error**, the usual size of the luck in an accuracy:
#
#     standard error = √( p · (1 − p) / n )
#
# Take p = 0.97 and n = 1,000. Then p · (1 − p) = 0.0291; divided by 1,000 it is 0.0000291; the root is
# 0.0054. So "97 %" means **97.0 ± 0.5 points**. (A *point* is a difference of one percent of the images.)
#
# In about two of three cases the true p lies within one standard error, and in about 19 of 20 within two.
#
# Is the formula right? The slow way is to draw: many test sets, image by image.


# %%
def drawn_accuracy(p, n, rng):
    """Test a model on n images, one by one. It is right with probability p. Slow, but hard to get wrong."""
    n_right = 0
    for _ in range(n):
        n_right += rng.random() < p
    return n_right / n


rng = np.random.default_rng(6)
slow = np.array([drawn_accuracy(0.97, 1000, rng) for _ in range(1000)])
error = 100 * math.sqrt(0.97 * 0.03 / 1000)
print(f"1,000 test sets spread by {100 * slow.std():.2f} points; the formula says {error:.2f}")

figure, (left, middle) = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained")
accuracies = rng.binomial(1000, 0.97, size=50_000) / 10  # NumPy draws the same thing faster, in %
left.hist(accuracies, bins=np.arange(94.55, 99.5, 0.1), color="C0", alpha=0.6)
left.axvspan(97 - 2 * error, 97 + 2 * error, color="C1", alpha=0.15, label="± 2 standard errors")
left.axvspan(97 - error, 97 + error, color="C1", alpha=0.25, label="± 1 standard error")
for accuracy in (96.8, 97.4):
    left.axvline(accuracy, color="C3", label="96.8 % and 97.4 %" if accuracy < 97 else None)
left.set(xlabel="accuracy on 1,000 images, %", yticks=[], ylim=(0, 5200), title="A model with p = 97.0 %")
left.legend(frameon=False, fontsize=8, loc="upper left")

sizes = np.array([30, 100, 300, 1000, 3000, 10_000, 30_000])
middle.loglog(sizes, 100 * np.sqrt(0.97 * 0.03 / sizes), label="formula")
middle.loglog(sizes, [100 * (rng.binomial(n, 0.97, 5000) / n).std() for n in sizes], "o", label="drawn")
middle.set(xlabel="images in the test set", ylabel="standard error, points", title="More images, less luck")
middle.set_yticks([0.1, 0.3, 1, 3], ["0.1", "0.3", "1", "3"])
middle.legend(frameon=False)
plt.show()

# %% [markdown]
# One and the same model gives 96.8 % on one test set and 97.4 % on the next, without any effort.
#
# For the **difference** of two accuracies from *two separate sets of images*, the two variances add:
#
#     error of the difference = √( error₁² + error₂² )
#
# Here: √(0.56² + 0.50²) = 0.75. So the second model is better by **0.6 ± 0.75 points**. That is less than one
# standard error. First answer to our question: *from these numbers alone, nobody can know.*
#
# ### Exercise 6.1 · predict, then compute
#
# Two models are tested on 400 images each, on separate sets. Each is right on **90 %**. By hand:
#
# 1. the standard error of one accuracy, in points;
# 2. the standard error of the difference of the two, in points (two digits are enough);
# 3. how many images would one model need for a standard error of 0.5 points?


# %% exercise="6.1"
def predict_error():
    """Two errors, in points, and a number of images, for p = 0.9 and n = 400: by hand."""
    # BEGIN SOLUTION
    one = 100 * 0.3 / 20  # √(0.9 · 0.1) = 0.3 and √400 = 20
    two = 1.414 * one  # √(1.5² + 1.5²)
    images = 400 * 9  # an error 3 times smaller: 3² times as many
    # INSTEAD
    one = ...
    two = ...
    images = ...
    # END SOLUTION
    return one, two, images


# %% check="6.1"
check("6.1")

# %% [markdown]
# ## The same images: look at pairs
#
# Usually both models see **the same** images. Then much of the luck is shared: a set with many ugly digits is
# hard for both. So compare image by image. Ten images, 1 = right, 0 = wrong:
#
# | image | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 | mean |
# |---|---|---|---|---|---|---|---|---|---|---|---|
# | before | 1 | 1 | 1 | 1 | 1 | 1 | 0 | 0 | 0 | 0 | 0.6 |
# | after | 1 | 1 | 1 | 1 | 1 | 1 | 1 | 1 | 0 | 0 | 0.8 |
# | d = after − before | 0 | 0 | 0 | 0 | 0 | 0 | 1 | 1 | 0 | 0 | **0.2** |
#
# The difference is the mean of d, 0.2. Its error comes from the spread of **d**, not from the spread of the
# two rows. The mean of d² is 0.2, so the variance of d is 0.2 − 0.2² = 0.16, and
#
#     paired:       √0.16 / √10 = 0.13
#     unpaired:     √( (0.6 · 0.4 + 0.8 · 0.2) / 10 ) = 0.20
#
# Eight of ten images do not matter: both models agree there. In general, with *gained* images (only the
# second is right) and *lost* images (only the first is right), among n:
#
#     difference = (gained − lost) / n
#     standard error = √( (gained + lost) / n − difference² ) / √n
#
# As a slow loop, image by image:


# %%
def paired_loop(before, after):
    """The difference and its standard error: two sums over the images."""
    n, total, squares = len(before), 0.0, 0.0
    for i in range(n):
        total += after[i] - before[i]
    for i in range(n):
        squares += (after[i] - before[i] - total / n) ** 2
    return total / n, math.sqrt(squares / n) / math.sqrt(n)


print("difference %.2f, standard error %.3f" % paired_loop([1] * 6 + [0] * 4, [1] * 8 + [0] * 2))

# %% [markdown]
# ### Exercise 6.2 · the paired difference
#
# Write it with NumPy, without a loop. `before` and `after` may hold 0 and 1, or True and False. (NumPy does
# not subtract True and False: `np.subtract(after, before, dtype=float)` does.)


# %% exercise="6.2"
def paired_difference(before, after):
    """How much more often the second of two models is right, and the standard error of that.

    Shapes: before and after (n,): 1 (True) where that model is right, on the same examples -> two floats.
    """
    difference = ...
    standard_error = ...
    return difference, standard_error


# %% check="6.2"
check("6.2")

# %% [markdown]
# If it is right, the package's `measure.compare` now runs on **your** function. We compare our network with
# six others on the same 3,000 images: four compressed copies of itself (how they are made is the topic of
# lessons 9 and 12), a wider network, and the same network trained from another seed.

# %%
def changed(change):
    """A copy of our network, after `change`."""
    other = copy.deepcopy(net)
    change(other)
    return other


rivals = {
    "weights in 8 bits": changed(lambda other: compress.quantize(other, 8)),
    "weights in 4 bits": changed(lambda other: compress.quantize(other, 4)),
    "weights in 3 bits": changed(lambda other: compress.quantize(other, 3)),
    "60 % pruned": changed(lambda other: compress.prune(other, 0.6)),
    "48 hidden units": trained(0, 48),
    "another seed": trained(1),
}
base = measure.evaluate(net, others)
print(f"our network: accuracy {base.accuracy:.1%} ± {base.standard_error:.1%}")
rows = {}
with yours("6.2"):
    for name, other in rivals.items():
        result = measure.evaluate(other, others)
        versus = measure.compare(base, result)
        unpaired = math.hypot(base.standard_error, result.standard_error)
        rows[name] = 100 * versus.standard_error, 100 * unpaired
        counts = f"lost {versus.lost:3}, gained {versus.gained:3}"
        change = f"{100 * versus.difference:+5.2f} ± {100 * versus.standard_error:.2f} points"
        print(f"{name:18} {result.accuracy:.1%}   {counts}   {change}   (unpaired ± {100 * unpaired:.2f})")

figure, ax = plt.subplots(figsize=(7.5, 3.2), layout="constrained")
at = np.arange(len(rows))
for shift, which, label, colour in ((-0.2, 1, "unpaired", "0.7"), (0.2, 0, "paired", "C0")):
    bars = ax.barh(at + shift, [row[which] for row in rows.values()], 0.38, label=label, color=colour)
    ax.bar_label(bars, fmt="%.2f", fontsize=9, padding=2)
ax.set(yticks=at, yticklabels=list(rows), xlabel="standard error of the difference, points", xlim=(0, 1.15))
ax.invert_yaxis()
ax.legend(frameon=False, loc="lower right")
plt.show()

# %% [markdown]
# A compressed copy agrees with its original on nearly every image. So the pairs tell far more than the two
# accuracies. With another seed, the two networks disagree more often, and the pairs help less. (The wider
# network has the seed of the first one: 32 of its hidden units began with the very same numbers.)
#
# **Back to our question.** 96.8 % and 97.4 % on *the same* 1,000 images: 6 more are right. That can be 6
# gained and 0 lost, or 46 gained and 40 lost. It is not the same!
#
# How sure can we be? Ask the strictest question: *if neither model were better, each image on which they
# disagree would be the toss of a fair coin.* How often would a coin be so uneven, in either direction? This
# share is the **p-value** of McNemar's exact test. `measure.mcnemar(lost, gained)` adds it up. A small p says
# that luck is a bad explanation. It does not say that the difference is large.

# %%
figure, ax = plt.subplots(figsize=(7.5, 3), layout="constrained")
ax.axhline(0, color="0.7", lw=1)
for k in range(0, 41, 5):
    error = 100 * math.sqrt(((6 + 2 * k) / 1000 - 0.006**2) / 1000)
    ax.errorbar(6 + 2 * k, 0.6, yerr=error, fmt="o", capsize=3, color="C0")
    ax.text(6 + 2 * k, 0.6 + error + 0.06, f"p = {measure.mcnemar(k, k + 6):.2f}", ha="center", fontsize=9)
ax.set(xlabel="images of 1,000 on which the two disagree", ylabel="difference, points", ylim=(-0.4, 1.8))
ax.set_title("6 more are right: 0.6 points ± one standard error, and McNemar's p-value")
plt.show()

# %% [markdown]
# Second answer to our question: *it depends on how often they disagree.* Two numbers are not enough; ask for
# the predictions. And keep this: where there are few disagreements, trust the p-value, not "difference
# divided by error". With 5 gained and 0 lost, the difference is more than two standard errors, but a coin
# does that in one of 16 cases.
#
# ### Exercise 6.3 · explain this failure
#
# Your friend has pruned 60 % of the weights, and writes in the report: *"The error bars overlap. So no
# accuracy was lost."* The bars are the accuracies ± one standard error on the 3,000 images:

# %%
pruned = measure.evaluate(rivals["60 % pruned"], others)
for name, result in (("original", base), ("60 % pruned", pruned)):
    low, high = result.accuracy - result.standard_error, result.accuracy + result.standard_error
    print(f"{name:12} {result.accuracy:.2%}, the bar goes from {low:.2%} to {high:.2%}")
versus = measure.compare(base, pruned)
print(f"paired: {versus}; lost {versus.lost}, gained {versus.gained}, p = {versus.p_value:.4f}")

# %% [markdown]
# The friend is wrong: something *was* lost. Show the mistake on numbers of your own. Invent the answers of
# two models to the same n images (20 to 10,000 of them; 1 = right, 0 = wrong), such that
#
# - the two bars overlap, so that the friend sees no difference;
# - yet the difference is clear: McNemar's p-value is below 0.01.


# %% exercise="6.3"
def witness():
    """The answers of two models to the same images, two arrays of 0 and 1."""
    # BEGIN SOLUTION
    before = (np.arange(200) < 100).astype(int)  # half of them right: there the bars are longest
    after = (np.arange(200) < 110).astype(int)  # the same, and 10 more: nothing is lost
    # INSTEAD
    before = ...
    after = ...
    # END SOLUTION
    return before, after


# %% check="6.3"
check("6.3")

# %% [markdown]
# In one sentence: each bar shows how lucky the *images* were, but this luck is the same for both models, and
# in the difference it cancels.
#
# ## Another kind of luck: the seed
#
# Until now, the two networks were given, and the *images* were drawn. That answers: is **this file** better
# than that one? But often the question is: is this **method** better? Then the seed of the training is luck
# as well, and one network for each method is one draw. We train 20 networks with 32 hidden units and 10 with
# 48. Only the seed differs. (This takes some seconds.)

# %%
def answers(net):
    """True for each of the 3,000 images that the net names rightly."""
    return measure.evaluate(net, others).predictions == others.labels


narrow = np.array([answers(trained(seed)) for seed in range(20)])  # (20, 3000)
wide = np.array([answers(trained(seed, 48)) for seed in range(10)])  # (10, 3000)
a, b = 100 * narrow.mean(axis=1), 100 * wide.mean(axis=1)  # accuracies in %

figure, ax = plt.subplots(figsize=(7.5, 2.6), layout="constrained")
for row, (values, name) in enumerate(((a, "32 hidden units"), (b, "48 hidden units"))):
    ax.plot(values, row + np.linspace(-0.15, 0.15, len(values)), "o", color=f"C{row}", alpha=0.6)
    error = values.std(ddof=1) / math.sqrt(len(values))
    ax.errorbar(values.mean(), row + 0.33, xerr=error, fmt="D", color=f"C{row}", capsize=4)
    print(f"{name}: mean {values.mean():.2f} ± {error:.2f} %; one seed: ± {values.std(ddof=1):.2f}")
ax.set(yticks=[0, 1], yticklabels=["32 units", "48 units"], xlabel="accuracy on 3,000 images, %")
ax.set_ylim(-0.3, 1.6)
ax.set_title("Each dot is one seed; the diamond is the mean ± its standard error")
plt.show()

difference = b.mean() - a.mean()
error = math.hypot(a.std(ddof=1) / math.sqrt(20), b.std(ddof=1) / math.sqrt(10))
print(f"48 units are better by {difference:.2f} ± {error:.2f} points, on the mean over seeds")
print(f"with one seed of each, 32 units would win in {(a[:, None] > b).mean():.0%} of the pairs")

# %% [markdown]
# With one seed of each, one often sees the opposite of what 30 networks say. So report **the mean over
# several seeds, with its error** (the deviation of the seeds, divided by the root of their number). `ddof=1`
# divides by k − 1: the mean was taken from the same few numbers, and this makes up for it.
#
# ### Wrong way 1: train 20 seeds, report the best
#
# It sounds innocent: "We trained 20 networks, and tested all. The best has ... %." Let us play this game
# 1,000 times with our 20 networks. Each time we draw a test set of 300 images, and choose the network that is
# best *on it*. The 2,400 images that are left then tell the truth about the chosen one. Beside it, the right
# way: choose on 300 other images (a **validation set**), and only then test the chosen one, once.

# %%
rng = np.random.default_rng(1)
games, reported, truth, honest = 1000, np.zeros(20), np.zeros(20), np.zeros(20)
for _ in range(games):
    images, seeds = rng.permutation(3000), rng.permutation(20)
    parts = images[:300], images[300:600], images[600:]  # test set, validation set, the rest
    test, val, rest = (100 * narrow[seeds][:, part].mean(axis=1) for part in parts)  # (20,) each
    for k in range(20):  # the first k + 1 seeds have been tried
        best, chosen = test[: k + 1].argmax(), val[: k + 1].argmax()
        reported[k] += test[best] / games
        truth[k] += rest[best] / games
        honest[k] += test[chosen] / games

coins = rng.binomial(300, 0.5, size=(200, 1000)) / 3  # 200 games with 1,000 "models" that toss a coin, in %
best_coin = np.maximum.accumulate(coins, axis=1).mean(axis=0)

figure, (left, middle) = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
tried = np.arange(1, 21)
left.plot(tried, reported, "o-", ms=4, color="C3", label="chosen on the test set: reported")
left.plot(tried, truth, "s-", ms=4, color="C0", label="the same networks: the truth")
left.plot(tried, honest, "^-", ms=4, color="C2", label="chosen on a validation set: reported")
left.set(xlabel="seeds tried", ylabel="accuracy, %, mean of 1,000 games", title="Choose the best seed")
left.set(xticks=[1, 5, 10, 15, 20], ylim=(truth[0] - 0.3, reported.max() + 0.9))
left.legend(frameon=False, fontsize=9, loc="upper left")
middle.semilogx(np.arange(1, 1001), best_coin, color="C3", label="the best of them: reported")
middle.axhline(50, color="C0", label="the truth")
middle.set(xlabel="coins tried", ylabel="accuracy on 300 images, %", title="Choose the best coin")
middle.legend(frameon=False, fontsize=9, loc="upper left")
plt.show()
bias = reported[-1] - truth[-1]
print(f"best of 20 seeds: reported {reported[-1]:.2f} %, truth {truth[-1]:.2f} %: {bias:.2f} points too good")
print(f"the choice itself has brought {truth[-1] - truth[0]:+.2f} points over a random seed")
print(f"chosen on a validation set: reported {honest[-1]:.2f} %")

# %% [markdown]
# The reported number climbs with every seed that is tried. The truth hardly moves. This error has a name:
# **optimistic bias**, or selection bias. More tries make it worse, and more images make it smaller.
#
# Choosing the best **epoch**, the best learning rate or the best sparsity on the test set is the same game:
# each look at the test set is one more try. On the right you see where it ends: after 1,000 tries a coin is
# "59 %" right. The rule is simple. *Choose on the validation set. Look at the test set once, at the end.*
#
# ## Accuracy hides a class
#
# A new task: *is it an 8, or not?* One digit in ten is an 8. Here is a very small and fast model: it always
# says "no". It needs no parameter, and it is right on 90 % of the images.
#
# To see what accuracy hides, count each pair (truth, prediction): the **confusion matrix**. By hand, for ten
# images, where 1 means "8":
#
#     truth        0 0 0 0 0 0 0 1 1 1               said 0   said 1
#     prediction   0 0 0 0 0 1 0 0 0 1      true 0      6        1
#                                           true 1      2        1
#
# The accuracy is (6 + 1) / 10 = 70 %: what stands on the diagonal. But of three 8s, one was found.
#
# ### Exercise 6.4 · the confusion matrix


# %% exercise="6.4"
def confusion_matrix(labels, predictions, n_classes):
    """Count which class was taken for which.

    Shapes: labels and predictions (n,), integers in [0, C) -> (C, C): row = truth, column = prediction.
    """
    ...


# %% check="6.4"
check("6.4")

# %% [markdown]
# Three questions to this table, for each class c:
#
# - **precision**: of those that were *said* to be c, how many are? (a column)
# - **recall**: of those that *are* c, how many were found? (a row)
# - **F1**: one number for both, their harmonic mean. It is small if one of them is small.
#
#       precision = right as c / said to be c          recall = right as c / truly c
#       F1 = 2 · precision · recall / (precision + recall)
#
# In the little example, for the class "8": precision 1/2, recall 1/3, F1 = 2 · (1/6) / (5/6) = 0.4.
#
# What if a class was never said? Then its precision is 0 / 0. There is no right answer, only a convention.
# Here, as in scikit-learn's default: **0 / 0 counts as 0**.
#
# ### Exercise 6.5 · precision, recall and F1


# %% exercise="6.5"
def precision_recall_f1(confusion):
    """Three scores for each class, from the confusion matrix; 0 / 0 counts as 0.

    Shapes: confusion (C, C), row = truth, column = prediction -> precision, recall, f1, each (C,).
    """
    precision = ...
    recall = ...
    f1 = ...
    return precision, recall, f1


# %% check="6.5"
check("6.5")

# %% [markdown]
# ### Wrong way 2: accuracy on classes of different size
#
# Now real digits: a linear model, trained to say whether it is an 8. It is tested on the 1,000 test images,
# 100 of which are an 8.


# %%
def is_eight(part):
    return data.Part(part.images, (part.labels == 8).astype(int))


class AlwaysNo(nn.Module):
    def forward(self, x):
        return Tensor(np.tile(np.float32([1, 0]), (len(x), 1)))  # the logit of "no" is always the larger


linear = nn.Sequential(nn.Flatten(), nn.Linear(784, 2, rng=0))
adam = optim.Adam(linear.parameters(), lr=2e-3)
train.fit(linear, (is_eight(few), None), epochs=8, optimizer=adam, progress=False)

with yours("6.4", "6.5"):
    for name, model in (("always no", AlwaysNo()), ("linear model", linear)):
        print(f"\n{name}: {measure.evaluate(model, is_eight(mnist.test))}")

# %% [markdown]
# Look at class 1, the 8s. By accuracy, "always no" is only some points behind. By recall it is what it is: it
# finds nothing. And the linear model misses more than a third of the 8s.
#
# The model compares two logits. "Say 8 if its logit is larger" is only one choice. With a lower **threshold**
# it finds more 8s, and says "8" wrongly more often. Say that we must find nine of ten 8s. We choose the
# threshold that does so on the *validation* part, and look at the test part once.


# %%
def scores_at(threshold, part):
    """Accuracy, and precision, recall and F1 of "8", if 8 is said where its logit leads by `threshold`."""
    with measure.inference(linear):
        logits = linear(part.images).numpy()
    said = (logits[:, 1] - logits[:, 0] > threshold).astype(int)
    cells = measure.confusion_matrix((part.labels == 8).astype(int), said, 2)
    return [np.trace(cells) / cells.sum(), *(score[1] for score in measure.precision_recall_f1(cells))]


thresholds = np.linspace(-5, 3, 81)
chosen = max(t for t in thresholds if scores_at(t, mnist.val)[2] >= 0.9)
curves = np.array([scores_at(t, mnist.test) for t in thresholds])  # (81, 4)

figure, ax = plt.subplots(figsize=(7.5, 3.2), layout="constrained")
for column, name in enumerate(("accuracy", "precision", "recall", "F1")):
    ax.plot(thresholds, curves[:, column], label=name, lw=1.2 if column else 3)
ax.axvline(0, color="0.8", lw=1)
ax.axvline(chosen, color="0.4", lw=1, ls="--")
ax.set(xlabel="threshold (grey: larger logit; dashed: chosen)", ylabel="on the test images", ylim=(0, 1.02))
ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()
for name, threshold in (("larger logit", 0), ("chosen", chosen)):
    accuracy, precision, recall, f1 = scores_at(threshold, mnist.test)
    print(f"{name:12}  accuracy {accuracy:.1%}, precision {precision:.2f}, recall {recall:.2f}, F1 {f1:.2f}")

# %% [markdown]
# The model that finds nine of ten 8s has an accuracy far *below* that of "always no"! Precision and recall
# move against each other, and which threshold is best depends on what a missed 8 costs, and what a false one.
# Accuracy has answered this question already, without asking: it counts both alike.
#
# **Why this matters for small models.** Compression may spare the mean and hurt one class. Here is the copy
# with 4-bit weights. On the mean, no loss can be seen:

# %%
four_bits = measure.evaluate(rivals["weights in 4 bits"], others)
versus = measure.compare(base, four_bits)
print(f"4 bits: {versus}")

was, now = base.predictions == others.labels, four_bits.predictions == others.labels
classes = [others.labels == c for c in range(10)]  # ten masks (3000,)
change, error = np.transpose([measure.paired_difference(was[c], now[c]) for c in classes])  # (10,) each
worst = classes[versus.worst_class]
lost, gained = int((was & ~now & worst).sum()), int((now & ~was & worst).sum())
print(f"class {versus.worst_class}: lost {lost}, gained {gained}; p = {measure.mcnemar(lost, gained):.5f}")

figure, ax = plt.subplots(figsize=(7.5, 3), layout="constrained")
ax.bar(range(10), 100 * change, yerr=100 * error, capsize=3, color=["C3" if c < 0 else "C0" for c in change])
ax.axhline(0, color="0.4", lw=1)
ax.set(xlabel="class", ylabel="change of recall, points", xticks=range(10))
ax.set_title("From 32 to 4 bits: recall by class (± one paired standard error)")
plt.show()

# %% [markdown]
# Be careful: we looked at ten classes and picked the worst. That is again a choice out of ten tries! A simple
# repair: multiply the p-value by the number of tries (this is called the Bonferroni correction). If it is
# still small, the loss is real. Hooker and others (see the sources) found the same in large networks: similar
# accuracy, and a few classes and images that pay for it.
#
# ## What does a model cost?
#
# Four measures, and none can replace another:
#
# | measure | unit | tells |
# |---|---|---|
# | parameters | a count | how much is learned and stored |
# | MACs | multiply-adds for one example | how much is computed |
# | size | bytes of a **file** | what must be sent and kept |
# | latency | seconds on a **machine** | how long one waits |
#
# By hand. `Linear(64, 32)` has 64 · 32 weights and 32 biases: 2,080 parameters. Each weight is used once:
# 2,048 MACs. (A **MAC** is one multiplication and one addition. Biases are only added; they are not counted.)
#
# `Conv2d(1, 4, kernel_size=3, padding=1)` on an 8×8 image has 4 filters of 1 · 3 · 3 weights and 4 biases: 40
# parameters. But each filter is used at 8 · 8 places: 8 · 8 · 4 · 9 = 2,304 MACs. In general, with an output
# of P × Q:
#
#     parameters = C_out · C_in · k · k + C_out          MACs = P · Q · C_out · C_in · k · k
#
# The loop that specifies it walks over every product:


# %%
def count_macs(c_in, c_out, k, side, stride=1, padding=0):
    """Count the products of a convolution, one by one."""
    count = 0
    for _ in range(c_out):
        for top in range(0, side + 2 * padding - k + 1, stride):
            for left in range(0, side + 2 * padding - k + 1, stride):
                for _ in range(c_in * k * k):
                    count += 1
    return count


conv = nn.Conv2d(1, 4, 3, padding=1)
print("by the loop:", count_macs(1, 4, 3, 8, padding=1), "MACs")
print(measure.summary(nn.Sequential(conv=conv, flatten=nn.Flatten(), fc=nn.Linear(256, 10)), (1, 8, 8)))

# %% [markdown]
# ### Exercise 6.6 · the price of a layer
#
# `Conv2d(3, 8, kernel_size=5, stride=2, padding=2)` on an image of 3 channels and 12×12 pixels; with biases,
# in float32. By hand: how many parameters, MACs, and bytes of parameters in memory?


# %% exercise="6.6"
def predict_cost():
    """Parameters, MACs and bytes of the layer, three whole numbers: by hand."""
    # BEGIN SOLUTION
    parameters = 8 * (3 * 5 * 5) + 8  # 8 filters, 8 biases
    side = (12 + 2 * 2 - 5) // 2 + 1  # 6 places in each direction
    macs = side * side * 8 * (3 * 5 * 5)
    n_bytes = 4 * parameters  # 32 bits each
    # INSTEAD
    parameters = ...
    macs = ...
    n_bytes = ...
    # END SOLUTION
    return parameters, macs, n_bytes


# %% check="6.6"
check("6.6")

# %% [markdown]
# Parameters and MACs do not lie in the same place. LeNet-5, layer by layer:

# %%
lenet = models.lenet5(rng=0)
table = measure.summary(lenet, (1, 28, 28))
layers = [row for row in table.rows if row.parameters]
figure, ax = plt.subplots(figsize=(7.5, 2.8), layout="constrained")
at = np.arange(len(layers))
for shift, what, name in ((-0.2, "parameters", "parameters"), (0.2, "macs", "MACs")):
    total = getattr(table, what)
    shares = [100 * getattr(row, what) / total for row in layers]
    bars = ax.bar(at + shift, shares, 0.38, label=f"{name} ({total:,} in all)")
    ax.bar_label(bars, fmt="%.0f %%", fontsize=9)
ax.set(xticks=at, xticklabels=[f"{row.name}\n{row.kind}" for row in layers], ylabel="share, %", ylim=(0, 115))
ax.legend(frameon=False, loc="upper left")
plt.show()

# %% [markdown]
# To make the *file* small, look at fc1. To make it *fast*, look at conv2. One wish, another layer.
#
# ### Wrong way 3: a size by formula
#
# "We removed 90 % of the weights, so the model is ten times smaller." Is it? We prune a copy, write it to a
# file in several ways, and ask the disk: `os.path.getsize`.


# %%
def sizes_on_disk(model, folder):
    """Bytes: by two formulas, and of three files."""
    arrays = {name: parameter.read().numpy() for name, parameter in model.named_parameters()}
    np.savez(folder / "np.savez.npz", **arrays)
    np.savez_compressed(folder / "np.savez_compressed.npz", **arrays)
    save(model, folder / "tinyopt.save")
    numbers = np.concatenate([array.ravel() for array in arrays.values()])
    found = {"4 · parameters": 4 * numbers.size, "4 · non-zeros": 4 * np.count_nonzero(numbers)}
    return found | {f"file {path.name}": os.path.getsize(path) for path in sorted(folder.iterdir())}


with tempfile.TemporaryDirectory() as folder:
    dense = sizes_on_disk(net, Path(folder))
    sparse = sizes_on_disk(changed(lambda other: compress.prune(other, 0.9)), Path(folder))
print(f"{'':28}{'dense':>10}{'90 % pruned':>14}")
for name in dense:
    print(f"{name:28}{dense[name]:>10,}{sparse[name]:>14,}  bytes")

# %% [markdown]
# - `np.savez` stores zeros as carefully as other numbers: **nothing** is gained.
# - zip (`savez_compressed`) finds the zeros. But it hardly shrinks the dense weights: the digits of a trained
#   float32 look like noise, and noise has no pattern to be packed.
# - "4 · non-zeros" is smaller than any file here: it forgets that a file must also say *where* they are.
#
# So in this course a size is always the size of a file. Lesson 10 shows how to store the positions well.
#
# ### Wrong way 4: one mean for import, first pass and all the rest
#
# Last, the time. We start a fresh Python, and read the clock at every step, as a careless script would.

# %%
script = """
import json, time
times = [time.perf_counter()]
import numpy as np
from tinyopt import models, no_grad
net, image = models.lenet5(rng=0), np.zeros((1, 1, 28, 28), np.float32)
times.append(time.perf_counter())
with no_grad():
    for _ in range(200):
        net(image)
        times.append(time.perf_counter())
print(json.dumps([1000 * (b - a) for a, b in zip(times, times[1:])]))
"""
environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
command = [sys.executable, "-c", script]
told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
steps = np.array(json.loads(told.stdout))  # milliseconds: the start, then 200 passes
passes = steps[1:]

figure, ax = plt.subplots(figsize=(8, 3.2), layout="constrained")
ax.semilogy(0, steps[0], "D", color="C3", label="import and building the net")
ax.semilogy(np.arange(1, 201), passes, ".", color="C0", label="200 forward passes, one image each")
ax.axhline(steps.mean(), color="C3", lw=1, ls="--", label="mean of everything")
ax.axhline(np.median(passes), color="C0", lw=1, label="median of the passes")
ax.set(xlabel="step", ylabel="milliseconds, log scale")
ax.legend(frameon=False, fontsize=9)
plt.show()
print(f"first pass {passes[0]:.2f} ms; all steps, by 200: {steps.sum() / 200:.2f} ms")
print(f"the 200 passes: mean {passes.mean():.2f} ms, median {np.median(passes):.2f} ms")

# %% [markdown]
# What one usually sees: the import takes hundreds of times as long as a pass. The first pass is slower than
# the others: memory is requested, libraries start. And now and then a pass takes longer, because the machine
# did something else meanwhile. Such disturbances only ever *add* time. The mean takes them all in; the
# **median** (the middle one of the sorted times) does not. So: **warm up, repeat, take the median**, and say
# how much it varies. That is what `measure.latency` does:

# %%
print("LeNet-5:", measure.latency(lenet, mnist.test.images[:1], budget=0.2))

# %% [markdown]
# ### The same MACs, another time
#
# Three nets with **exactly** 262,144 MACs for one example. Do they take the same time? And is a batch of 64
# examples 64 times as long as one?

# %%
alike = {
    "64 layers of 64 units": (nn.Sequential(*[nn.Linear(64, 64, rng=i) for i in range(64)]), (64,)),
    "1 layer of 512 units": (nn.Linear(512, 512, rng=0), (512,)),
    "1 convolution 4×4, 16 channels": (nn.Conv2d(16, 16, 4, rng=0), (16, 11, 11)),
}
batches = [1, 4, 16, 64]
figure, ax = plt.subplots(figsize=(7.5, 3.4), layout="constrained")
for (name, (model, shape)), mark in zip(alike.items(), "os^"):
    counts = measure.summary(model, shape)
    inputs = [np.ones((n, *shape), np.float32) for n in batches]
    times = [1e6 * measure.latency(model, batch, budget=0.1).seconds / len(batch) for batch in inputs]
    ax.loglog(batches, times, f"{mark}-", label=name)
    print(f"{name:31} {counts.macs:,} MACs, {counts.parameters:7,} parameters", end="")
    print(f", {times[0]:7.1f} µs alone, {times[-1]:6.1f} µs in a batch of 64")
ax.set(xlabel="batch size", ylabel="microseconds for one example", xticks=batches, xticklabels=batches)
ax.minorticks_off()
ax.legend(frameon=False, fontsize=9)
plt.show()

# %% [markdown]
# Usually the deep net takes many times as long as the wide one, for the same MACs. Sixty-four small products
# must wait for each other, and each has its fixed cost of a call. In a batch, this fixed cost is shared by
# all examples, so one example becomes cheaper. But a telephone has no batch of 64: it has one picture, now.
# Say which one you have measured. And the convolution does the same work with 1/64 of the parameters.
# *Measure what you want to claim; nothing else will do.*
#
# ## In PyTorch
#
# ```python
# right = (model(images).argmax(dim=1) == labels).double()
# p = right.mean(); error = (p * (1 - p) / len(right)).sqrt()
# confusion = torch.bincount(10 * labels + predictions, minlength=100).reshape(10, 10)
# n_parameters = sum(p.numel() for p in model.parameters())
# timer = torch.utils.benchmark.Timer("model(x)", globals={"model": model, "x": x})
# timer.blocked_autorange().median                            # seconds, after a warm-up
# ```
#
# There, too, call `model.eval()` and use `torch.no_grad()` before you measure.
#
# ## Questions
#
# 1. A model is right on all of 100 test images. The formula says: error 0. Do you believe it?
# 2. Why is the paired error never larger than the *sum* of the two single errors?
# 3. A paper reports the best of 50 settings on the test set. You have only the paper. What can you say?
# 4. F1 of a class is 0.9. How small can its recall be?
#
# BEGIN SOLUTION
# **Answers.**
#
# 1. No. The formula takes the measured p for the true one, and this is poor near 0 and 1. If the true p were
#    97 %, 100 of 100 would still happen in 0.97¹⁰⁰ = 5 % of the cases. So we can say: about 97 % or more.
# 2. d is a difference of two numbers, and a standard deviation obeys the triangle inequality: the deviation
#    of a difference is at most the sum of the deviations.
# 3. That the number is too good by an unknown amount, larger for a small test set. Ask for a new one.
# 4. With precision 1: 2r / (1 + r) = 0.9, so r = 0.9 / 1.1 = 0.82. Not smaller.
# END SOLUTION
#
# ## Sources
#
# - T. G. Dietterich (1998), "Approximate Statistical Tests for Comparing Supervised Classification Learning
#   Algorithms", *Neural Computation* 10(7), 1895–1923. It warns of the test for two separate sets, and
#   recommends McNemar's test where each model can be trained only once.
# - Q. McNemar (1947), "Note on the sampling error of the difference between correlated proportions or
#   percentages", *Psychometrika* 12(2), 153–157.
# - G. C. Cawley and N. L. C. Talbot (2010), "On Over-fitting in Model Selection and Subsequent Selection Bias
#   in Performance Evaluation", *Journal of Machine Learning Research* 11, 2079–2107: the bias of wrong way 1.
# - X. Bouthillier and others (2021), "Accounting for Variance in Machine Learning Benchmarks",
#   arXiv:2103.03098: seeds.
# - S. Hooker, A. Courville, G. Clark, Y. Dauphin and A. Frome (2019), "What Do Compressed Deep Neural
#   Networks Forget?", arXiv:1911.05248.
# - N. Ma, X. Zhang, H.-T. Zheng and J. Sun (2018), "ShuffleNet V2: Practical Guidelines for Efficient CNN
#   Architecture Design", arXiv:1807.11164: a count of operations is an indirect measure; take the time.
#
# **Read on in the source:** `tinyopt/measure/scores.py` holds the functions that you have written, and
# McNemar's test. `quality.py` beside it uses them; `summary.py` and `latency.py` count and time.

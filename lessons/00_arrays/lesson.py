"""Lesson 0, arrays: the source of lesson.ipynb; see tinyopt/course/percent.py for its format."""

# %% [markdown]
# # 0 · Arrays: one block of numbers, no loop
#
# **The question.** Here are 1,797 pictures of handwritten digits, in **one block of numbers**. What can you
# ask of it without a single loop? For example: *what does the average 3 look like? And is the average picture
# enough to tell the digits apart?*
#
# - **You need:** Python; school mathematics. No machine learning.
# - **You will write:** five shapes and numbers by hand, `as_images`, `moments` (mean and variance),
#   `central_differences` (slopes), and the explanation of a famous mistake.
# - **Time:** about 120 minutes.
#
# This is a **notebook**. Click on a cell and press Shift+Enter to run it. Run the cells from top to bottom.
# Some are **exercises**: you replace the `...` in a function. Then `check("0.1")` says what is right or
# wrong, and `hint("0.1")` helps. Where an exercise is still empty, the package's own function works for you.

# %%
import importlib

import matplotlib.pyplot as plt
import numpy as np

from tinyopt import Tensor, data, differentiable, gradcheck, losses, nn
from tinyopt.course import STYLE, start
from tinyopt.course.lessons import find, load
from tinyopt.ops import norm  # the file of exercise 0.3

differences = importlib.import_module("tinyopt.gradcheck")  # the file of exercise 0.4
material = load(find(0) / "material.py")  # the drawings of this lesson
check, hint, reveal, yours = start(0)
plt.rcParams.update(STYLE)

# %% [markdown]
# First the picture. The data set has three parts; we join them to one block. The block is a NumPy **array**:
# numbers of one kind, in a box with straight edges. The line `means = ...` makes ten mean pictures, without a
# loop over pixels or pictures.

# %%
digits = data.digits()
block = np.concatenate([digits.train.images, digits.val.images, digits.test.images])
labels = np.concatenate([digits.train.labels, digits.val.labels, digits.test.labels])
means = np.stack([block[labels == digit].mean(axis=0) for digit in range(10)])  # ten means

print("the block has the shape", block.shape, "and holds", block.size, "numbers of the kind", block.dtype)
figure, axes = plt.subplots(2, 10, figsize=(10, 2.4), layout="constrained")
material.show(axes[0], block[:10, 0], [f'"{label}"' for label in labels[:10]])
material.show(axes[1], means[:, 0], [f"mean {digit}" for digit in range(10)])
plt.show()

# %% [markdown]
# Upper row: the first ten pictures. Lower row: the mean of all pictures of each digit. Soon, such means will
# recognise digits that they have never seen.
#
# ## Shape and axes
#
# The **shape** of the block is (1797, 1, 8, 8). Each place in it is called an **axis**, and they are counted
# from 0:
#
# | axis | length | means |
# |---|---|---|
# | 0 | 1797 | which picture |
# | 1 | 1 | which colour channel (here only one: grey) |
# | 2 | 8 | which row of the picture, from the top |
# | 3 | 8 | which column, from the left |
#
# An index for each axis gives one number: `block[0, 0, 2, 3]`. Fewer indices give a smaller array: `block[0]`
# is a whole picture, of shape (1, 8, 8). A colon means "all": `block[:, 0, 2, 3]` is one pixel of all
# pictures, of shape (1797,). (A shape with one entry is written with a comma: (1797,).)
#
# A **reduction** makes an axis disappear: sum, mean, max. By hand, on an array of shape (2, 3):
#
#     x = 1 2 3
#         4 5 6
#
#     x.sum(axis=0) = 5 7 9        axis 0 has gone: shape (3,)      the rows were added
#     x.sum(axis=1) = 6 15         axis 1 has gone: shape (2,)      the columns were added
#
# The rule: **the axis that you name is the axis that disappears.** As a formula and as a slow loop:
#
#     s[j] = Σᵢ x[i, j]            axis 0 is the one that i counts


# %%
def sum_axis_0(x):
    """x.sum(axis=0) for a 2-D array, as loops: slow, simple, and hard to get wrong."""
    s = np.zeros(x.shape[1])
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            s[j] += x[i, j]
    return s


x = np.array([[1, 2, 3], [4, 5, 6]])
print("loops:", sum_axis_0(x), "  NumPy:", x.sum(axis=0))
material.draw_all(
    (x, "x, shape (2, 3)", "C0"),
    (x.sum(axis=0), "x.sum(axis=0), shape (3,)", "C1"),
    (x.sum(axis=1), "x.sum(axis=1), shape (2,)", "C2"),
    (x.sum(axis=1, keepdims=True), "keepdims=True: (2, 1)", "C2"),
)

# %% [markdown]
# Look at the two green results. They hold the same numbers. With `keepdims=True` the axis **stays, with
# length 1**: the sums still stand beside their rows. That will be important in a moment.
#
# ## Memory: what reshape keeps, and what a transpose changes
#
# The computer's memory has no rows and columns. It is one long line of numbers. An array is that line, plus
# the shape, plus a rule how to walk: here the *last* axis is the fastest. Two methods look alike:
#
# - `x.reshape(3, 2)` keeps the **line**, and cuts it into other pieces. A number may get other neighbours.
# - `x.T`, the **transpose**, exchanges the **axes**: what was a column is now a row.
#
# Both give the shape (3, 2). They are not the same array.

# %%
material.draw_all(
    (x, "x, shape (2, 3)", "by value"),
    (x.reshape(6), "the line in the memory", "by value"),
    (x.reshape(3, 2), "x.reshape(3, 2)", "by value"),
    (x.T, "x.T", "by value"),
)

# %% [markdown]
# `reshape(-1)` is a short way to say "one axis, as long as needed". So `block.reshape(1797, 64)`, or
# `block.reshape(1797, -1)`, gives each picture one row of 64 numbers. That keeps the line, so the pixels of a
# picture stay together. Here reshape is right.
#
# ### Wrong way 1: reshape where a transpose is due
#
# Some files store pictures as *columns*: shape (64, 1797). "I need (1797, 64), so I reshape." No error comes:
# the shape is right. But a column of the file was never one piece of the line:

# %%
columns = np.array(block.reshape(1797, 64).T, order="C")  # (64, 1797), as such a file holds it
by_reshape = columns.reshape(1797, 64)  # wrong
by_transpose = columns.T  # right

material.draw_rows({"reshape": by_reshape[110::300], "transpose": by_transpose[110::300]})

# %% [markdown]
# Each upper picture holds one pixel of 64 *different* pictures (or parts of two). A network would train on
# them without a complaint, and learn nothing of use. We shall measure this below. **Always draw what you
# feed.**
#
# ## Views and copies
#
# `x[0]`, `x.T` and `x.reshape(...)` do not copy the numbers, if they can avoid it. They are **views**: other
# names for the same memory. So they cost nothing, even for a gigabyte. But a change through one name is seen
# through all of them:

# %%
x = np.array([[1, 2, 3], [4, 5, 6]])
row, column = x[0], x[:, 0].copy()  # a view, and a copy
row[:] = 0  # writes into the memory of x
column[:] = 99  # writes into memory of its own
print(x)
print("do they share memory?  row:", np.shares_memory(x, row), "  column:", np.shares_memory(x, column))
try:
    digits.train.images[0, 0, 0, 0] = 1.0
except ValueError as problem:
    print("the package's pictures:", problem)

# %% [markdown]
# The data of this package are frozen, so that no such accident can happen to them. If you want to change an
# array that came from somewhere else, take `.copy()` first.
#
# ## Broadcasting: two shapes that are not alike
#
# `x + 10` adds 10 to each number. `x + y` adds number by number, if the shapes are the same. If not, NumPy
# may read an array again and again, as if it were repeated. This is called **broadcasting**. The whole rule:
#
# > Write the two shapes below each other, **aligned on the right**. Fill missing places on the left with 1.
# > In each column the two lengths must be equal, or one of them must be 1. A length 1 is repeated.
#
# By hand:
#
#     shape of a:        (4, 1)            (4, 3)            (4, 3)
#     shape of b:           (3,)              (3,)              (4,)
#     filled up:         (1, 3)            (1, 3)            (1, 4)
#     the result:        (4, 3)            (4, 3)            error: 3 and 4 do not fit
#
# The first one, as a formula: y[i, j] = a[i, 0] + b[j] for all i and j. In the picture, pale cells are no
# memory of their own: they are the same numbers, read again.

# %%
a, b = np.array([[0], [10], [20], [30]]), np.array([1, 2, 3])  # (4, 1) and (3,)
material.draw_broadcast(a, b)

# %% [markdown]
# Now you see what `keepdims` is for. To take its mean from each *row* of x, shape (2, 3), you need the means
# in shape (2, 1), beside the rows. In shape (2,) they would be aligned with the columns: (2, 3) and (2,) do
# not fit. `x - x.mean(axis=1, keepdims=True)` does.
#
# You can also put in an axis of length 1: `b[:, np.newaxis]` has the shape (3, 1), `b[np.newaxis]` (1, 3).
#
# ### Exercise 0.1 · predict, then compute
#
# Five questions. Answer with pencil and paper, *before* you let NumPy answer; `x` is again
#
#     1 2 3
#     4 5 6
#
# 1. `a` has the shape (5, 1, 8), `b` has the shape (3, 1). What is the shape of `a + b`?
# 2. `x.sum(axis=1)`
# 3. `x - x.max(axis=1, keepdims=True)`
# 4. the second row of `x.reshape(3, 2)`, that is `x.reshape(3, 2)[1]`
# 5. the second row of `x.T`, that is `x.T[1]`


# %% exercise="0.1"
def predict():
    """Five answers by hand, as tuples or lists, such as (3, 4) or [[1, 2], [3, 4]]."""
    # BEGIN SOLUTION
    shape_of_sum = (5, 3, 8)  # (5, 1, 8) over (1, 3, 1)
    row_sums = (1 + 2 + 3, 4 + 5 + 6)  # axis 1, the columns, has gone
    below_max = [[1 - 3, 2 - 3, 3 - 3], [4 - 6, 5 - 6, 6 - 6]]
    reshaped_row = (3, 4)  # the line 1 2 | 3 4 | 5 6
    transposed_row = (2, 5)  # what was the second column
    # INSTEAD
    shape_of_sum = ...
    row_sums = ...
    below_max = ...
    reshaped_row = ...
    transposed_row = ...
    # END SOLUTION
    return shape_of_sum, row_sums, below_max, reshaped_row, transposed_row


# %% check="0.1"
check("0.1")

# %% [markdown]
# ## The kind of number: dtype
#
# All numbers of an array are of one kind, its **dtype**.
#
# | dtype | bytes | holds |
# |---|---|---|
# | `uint8` | 1 | whole numbers 0 to 255: picture files |
# | `int64` | 8 | whole numbers up to 9·10¹⁸: labels, counts |
# | `float32` | 4 | about 7 digits: networks |
# | `float64` | 8 | about 16 digits: Python's own `float`, checks |
#
# A `uint8` is like a clock: after 255 comes 0, without a warning. By hand: 200 + 100 = 300, and 300 − 256 =
# **44**. And 3 − 5 = −2, and −2 + 256 = **254**.
#
# Floats **round**. A float32 has 24 binary digits. So above 2²⁴ = 16,777,216 it cannot hold every whole
# number: 2²⁴ + 1 is rounded back to 2²⁴.

# %%
print("uint8:   200 + 100 =", np.array([200], np.uint8) + np.array([100], np.uint8))
print("uint8:     3 −   5 =", np.array([3], np.uint8) - np.array([5], np.uint8))
print("float64: 0.1 + 0.2 == 0.3 is", 0.1 + 0.2 == 0.3, "   0.1 + 0.2 =", 0.1 + 0.2)
print("float32: 2²⁴ + 1 − 2²⁴ =", (np.float32(2**24) + np.float32(1)) - np.float32(2**24))
n = 20_000_000
ones = np.broadcast_to(np.float32(1), n)  # 20 million ones, in the memory of a single one
running = np.add.accumulate(ones)  # 1, 2, 3 ...: each sum is rounded to float32
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
left.plot(np.arange(256), np.arange(256).astype(np.uint8) + np.uint8(100), ".", ms=3)
left.set(xlabel="x, a uint8", ylabel="x + 100, a uint8", title="After 255 comes 0")
at = np.arange(0, n, 100_000)
right.plot(at / 1e6, running[at] / 1e6, color="C3", label="one after another, float32")
right.plot(at / 1e6, at / 1e6, "--", color="0.5", label="exact")
right.set(xlabel="ones added, millions", ylabel="sum, millions", title="Counting stops at 2²⁴")
right.legend(frameon=False)
plt.show()
print(f"one after another: {running[-1]:,.0f}      NumPy's ones.sum(): {np.ones(n, np.float32).sum():,.0f}")

# %% [markdown]
# So **the order of a sum matters**. NumPy's `sum()` adds in a tree of partial sums, in which the two parts
# are of similar size. Two rules for this course: compare floats with a tolerance (`np.allclose`), never with
# `==`; and check slopes in float64.
#
# ### Wrong way 2: arithmetic on the bytes of a picture
#
# Picture files hold `uint8`. "How different are two pictures? I subtract them." Larger pictures now, 28×28
# pixels of 0 to 255, from MNIST (5,000 digits of it are inside the package):

# %%
mnist = data.mnist5k()


def bytes_of(part):
    return np.round(part.images * 255).astype(np.uint8).reshape(-1, 784)  # as in the file, one row each


flat, flat_test = bytes_of(mnist.train), bytes_of(mnist.test)
first, second = flat_test[mnist.test.labels == 3][:2]
figure, axes = plt.subplots(1, 4, figsize=(8, 2.7), layout="constrained")
titles = "first", "second", "|first − second|\nas uint8: wrong", "|first − second|\nas float: right"
pictures = np.stack([first, second, abs(first - second), abs(first.astype(float) - second)])
material.show(axes, pictures.reshape(4, 28, 28), titles)
plt.show()

# %% [markdown]
# Where the second picture is darker, the difference should be negative. In `uint8` it wraps round: −1 becomes
# 255, the largest number of all. We measure the damage. Each test picture gets the name of the *nearest*
# mean: the one with the smallest sum of squared differences. (Behind ± stands the standard error, the usual
# size of the luck in an accuracy; lesson 6 explains it.)


# %%
def nearest(pictures, prototypes):
    """For each picture, (N, D), the number of the nearest prototype, (K, D)."""
    return np.array([((row - prototypes) ** 2).sum(axis=1).argmin() for row in pictures])


prototypes = np.stack([flat[mnist.train.labels == digit].mean(axis=0) for digit in range(10)])
for name, dtype in (("uint8", np.uint8), ("float32", np.float32)):
    found = nearest(flat_test.astype(dtype), prototypes.round().astype(dtype))
    print(f"the same ten means, in {name:7}: {material.accuracy(found, mnist.test.labels)}")

# %% [markdown]
# The same numbers, the same formula, another dtype: from useful to mere guessing. No error, no warning.
#
# ### Exercise 0.2 · from bytes to images
#
# Write the function through which every data set of the package passes. It takes the whole numbers of a file,
# shape (N, H, W), and the largest one that there can be (`white`: 255 for MNIST, 16 for our digits). It gives
# images of shape **(N, 1, H, W)**, in **float32**, from 0 to 1. The array that came in must stay as it is.


# %% exercise="0.2"
def as_images(pixels, white):
    """Whole numbers from 0 to `white`, (N, H, W) -> images (N, 1, H, W), float32, from 0 to 1."""
    images = ...
    return images


# %% check="0.2"
check("0.2")

# %% [markdown]
# If it says *right*: `yours("0.2")` puts **your** function where the package's own was. Everything inside the
# `with` runs on it, here the loading of a data set.

# %%
with yours("0.2"):
    loaded = data.digits()
print(loaded)
print("the same pictures as before:", np.array_equal(loaded.train.images, digits.train.images))

# %% [markdown]
# ## Mean and variance along any axes
#
# A reduction can take several axes at once. `block.mean(axis=(2, 3))` is the mean of each picture, shape
# (1797, 1): how much ink it has. `block.mean(axis=0)` is the mean *over all pictures*, for each pixel.
#
# The **variance** says how much numbers differ from their mean m. Its square root is the **standard
# deviation**, in the same units as the numbers:
#
#     var = mean of (x − m)²
#
# By hand, for 1, 2, 6: the mean is 3, the differences are −2, −1, 3, their squares 4, 1, 9, and the variance
# is 14/3.
# ### Exercise 0.3 · mean and variance of each channel
#
# In an array of pictures (N, C, H, W), axis 1 counts the **channels** (a colour picture has three). Write
# `moments` for both kinds, (N, C) and (N, C, H, W): reduce over **every axis but 1**. No loop over numbers.
# Think of `keepdims` when you subtract the mean.


# %% exercise="0.3"
def moments(x):
    """Mean and variance of each channel: x (N, C) or (N, C, H, W) -> mean (C,), var (C,)."""
    # BEGIN SOLUTION
    others = tuple(axis for axis in range(x.ndim) if axis != 1)
    mean = x.mean(axis=others, keepdims=True)  # (1, C) or (1, C, 1, 1)
    var = ((x - mean) ** 2).mean(axis=others)
    mean = mean.reshape(-1)
    # INSTEAD
    mean = ...
    var = ...
    # END SOLUTION
    return mean, var


# %% check="0.3"
check("0.3")

# %% [markdown]
# Your function now does two jobs. With one row of 64 pixels for each picture, each pixel is a channel: the
# mean is a picture, and the deviation too. And it runs inside a layer of the package, `BatchNorm2d`, which
# gives each channel mean 0 and deviation 1. (A `Tensor` is the package's own array: lesson 1.)

# %%
with yours("0.3"):
    mean, var = norm.moments(block.reshape(1797, 64))  # (64,) each
    normed = nn.BatchNorm2d(1)(Tensor(block)).numpy()
print(f"before BatchNorm2d: mean {block.mean():.2f}, deviation {block.std():.2f}")
print(f"after:              mean {abs(normed.mean()):.2f}, deviation {normed.std():.2f}")
figure, axes = plt.subplots(1, 2, figsize=(6, 2.7), layout="constrained")
material.show(axes, np.stack([mean, np.sqrt(var)]).reshape(2, 8, 8), ("mean", "standard deviation"), most=1)
figure.colorbar(axes[0].images[0], ax=axes, label="0 = paper, 1 = ink")
plt.show()

# %% [markdown]
# At the left and right border there is almost never any ink, and almost no deviation: these pixels cannot
# help to tell the digits apart.
#
# ## All distances at once
#
# Now the answer to our question. The means come from the training pictures only; the test pictures are new.
# The squared distance of picture n to mean k is a sum over D = 64 pixels:
#
#     d[n, k] = Σ_d (x[n, d] − m[k, d])²
#
# Three axes: n, k and d. So give each array an axis of length 1 where it has none:
#
#     x[:, np.newaxis]      (360,  1, 64)      n, ., d
#     m[np.newaxis]         (  1, 10, 64)      ., k, d
#     their difference      (360, 10, 64)      n, k, d
#     sum over the last     (360, 10)          n, k

# %%
x, train_x, train_labels = digits.test.images.reshape(360, 64), block[:1257].reshape(-1, 64), labels[:1257]
m = np.stack([train_x[train_labels == digit].mean(axis=0) for digit in range(10)])  # (10, 64)


def by_broadcasting(x, m):
    return ((x[:, np.newaxis] - m[np.newaxis]) ** 2).sum(axis=-1)  # (N, K)


distances = by_broadcasting(x, m)  # (360, 10)
answers = distances.argmin(axis=1)  # (360,) the nearest mean of each picture
print("nearest of ten means, 360 new pictures:", material.accuracy(answers, digits.test.labels))
missed = np.flatnonzero(answers != digits.test.labels)
material.draw_distances(np.r_[0:9, missed[:3]], x, distances, digits.test.labels)

# %% [markdown]
# Ten mean pictures and one line of arithmetic are right in about nine of ten cases. This is a **baseline**: a
# network that cannot beat it is not worth its cost. And wrong way 1, with pictures scrambled by `reshape`?

# %%
scrambled_train, scrambled_test = (np.array(rows.T, order="C").reshape(-1, 64) for rows in (train_x, x))
scrambled = np.stack([scrambled_train[train_labels == digit].mean(axis=0) for digit in range(10)])
found = nearest(scrambled_test, scrambled)
print("reshape in place of a transpose:", material.accuracy(found, digits.test.labels))

# %% [markdown]
# Guessing. And are loops so bad? We measure three ways to the same 3,600 distances. The third one needs no
# array with three axes: (x − m)² = x² − 2·x·m + m², and Σ x·m for all n and k is a **matrix product**:
# `x @ m.T`.


# %%
def by_loops(x, m):
    distances = np.zeros((len(x), len(m)))
    for n in range(len(x)):
        for k in range(len(m)):
            for d in range(x.shape[1]):
                distances[n, k] += (x[n, d] - m[k, d]) ** 2
    return distances


def by_product(x, m):
    return (x**2).sum(axis=1, keepdims=True) - 2 * x @ m.T + (m**2).sum(axis=1)


ways = by_loops, by_broadcasting, by_product
print("all three agree:", all(np.allclose(way(x, m), distances, atol=1e-4) for way in ways))
material.draw_times({way.__name__: material.milliseconds(lambda: way(x, m)) for way in ways})

# %% [markdown]
# Python handles one number at a time, and asks for its type each time. NumPy's loops run in compiled code
# over the memory line. **In this course, a slow loop says what is meant; NumPy computes it.**
#
# ## Slopes from values: finite differences
#
# The second half of the lesson needs only a function that we can call. How steep is f(x) = x² at x = 3? Go a
# small step h, and look. By hand, with h = 0.1:
#
#     forward:  (f(3.1) − f(3)) / 0.1      = (9.61 − 9) / 0.1    = 6.1
#     central:  (f(3.1) − f(2.9)) / 0.2    = (9.61 − 8.41) / 0.2 = 6.0      exactly the slope 2·3 = 6
#
# For x³ neither is exact. School algebra tells how wrong each one is:
#
#     forward:  ((x+h)³ − x³) / h          = 3x² + 3xh + h²      the error shrinks like h
#     central:  ((x+h)³ − (x−h)³) / 2h     = 3x² + h²            the error shrinks like h²
#
# A ten times smaller step makes the forward error 10 times smaller, the central one 100 times. So take h as
# small as possible? On paper, yes. In a computer, f(x + h) and f(x − h) agree in more and more digits, and
# their difference keeps only the last ones, which are rounded. The error of rounding *grows* like 1/h.

# %%
material.draw_slopes(steps=10.0 ** np.arange(-17, 0.1, 0.25))

# %% [markdown]
# ### Wrong way 3: "the smaller the step, the better the slope"
#
# Read the right figure from right to left. First the error falls: two powers of ten for each one of h
# (central), or one (forward). Then rounding takes over. At the far left the error is 1, that is 100 %: 1 + h
# is rounded to 1, both values are the same, and the slope is **0**. In float64 a good step for central
# differences is about 10⁻⁵; float32 never gets as good.
#
# ### Exercise 0.4 · many slopes
#
# A function of *many* numbers has a slope in each of them. Together, in an array of the same shape, they are
# called the **gradient**. Move **one** entry up and down by h, all others stay, and take the central
# difference. Then the next entry. A loop is right here: `for index in np.ndindex(*x.shape)` visits all
# entries of an array of any shape, and `x[index]` is one of them.
#
# By hand, to try it: f(x) = x[0]·x[1] at (2, 5) has the gradient (5, 2).


# %% exercise="0.4"
def central_differences(f, x, h=1e-5):
    """The slope of f, which takes an array like x and returns one number, in each entry of x.

    Shapes: x, any shape; its numbers may be whole, so use x.astype(np.float64) -> slopes, same shape.
    """
    ...


# %% check="0.4"
check("0.4")

# %% [markdown]
# Its first job in the package is to test others. `gradcheck` compares the slopes that somebody *claims* with
# central differences, here on your function. (It multiplies both by the same random number; lesson 1 says
# why.) This rule claims that the slope of x² is 2.02·x, one percent too much:

# %%
with yours("0.4"):
    try:
        gradcheck(differentiable(lambda x: (x**2, (lambda g: 2.02 * x * g,))), np.array([3.0]))
    except AssertionError as problem:
        print("the wrong rule:", problem)

# %% [markdown]
# ## Walk downhill
#
# If we know the slopes, we can make f smaller: go a little *against* them, again and again.
#
#     x ← x − rate · gradient of f at x            rate: the learning rate, a small number
#
# This is **gradient descent**: so networks are trained. Let us fit a line w·u + b to 100 points (u, t). What
# shall be small, the **loss**, is the mean of (w·u + b − t)²: a function of two numbers, theta = (w, b).


# %%
def descend(f, x, rate, n_steps):
    """Gradient descent by finite differences: all places that were visited, (n_steps + 1, ...)."""
    places = [x]
    for _ in range(n_steps):
        places.append(places[-1] - rate * differences.central_differences(f, places[-1]))
    return np.array(places)


inputs, targets = data.linear_regression(100, weight=(2.0,), bias=0.5, noise=0.4, rng=0)
u, t = inputs[:, 0].astype(np.float64), targets.astype(np.float64)
print("shapes: u", u.shape, " t", t.shape)


def friends_loss(theta):
    prediction = theta[0] * u + theta[1]
    return ((prediction - t) ** 2).mean()


with yours("0.4"):
    friends_way = descend(friends_loss, np.zeros(2), rate=0.1, n_steps=60)
print(f"the loss falls from {friends_loss(friends_way[0]):.2f} to {friends_loss(friends_way[-1]):.2f}")

# %% [markdown]
# It runs, and the loss falls. Good? Draw it. The points were made with w = 2 and b = 0.5.
#
# ### Wrong way 4: the silent (100,) against (100, 1)

# %%
def right_loss(theta):
    prediction = theta[0] * u + theta[1]  # (100,)
    return ((prediction - t[:, 0]) ** 2).mean()  # (100,) and (100,)


right_way = descend(right_loss, np.zeros(2), rate=0.1, n_steps=60)
for name, loss, way in (("right:   ", right_loss, right_way), ("friend's:", friends_loss, friends_way)):
    print(name, f"w = {way[-1][0]:.2f}, b = {way[-1][1]:.2f}, loss {loss(way[-1]):.3f}")
material.draw_fits(u, t, (right_way, right_loss), (friends_way, friends_loss))
try:
    losses.mse_loss(Tensor(u), Tensor(t))  # the package's own mean squared error
except ValueError as problem:
    print("losses.mse_loss:", problem)

# %% [markdown]
# `prediction` has the shape (100,), `t` has (100, 1). Aligned on the right, (1, 100) and (100, 1) give
# **(100, 100)**: each prediction is compared with the target of *every* point. Only the diagonal of the right
# figure is meant; the friend's loss is the mean of the whole square. To be near to all targets at once, it is
# best to say their mean, whatever u is: a flat line, w = 0. The loss falls and then stays, and one blames the
# rate, the data, the model. The package's own loss refuses the two shapes.
#
# ### Exercise 0.5 · explain this failure
#
# The friend says: *"My loss is right. If my predictions were perfect, it would be 0."* Show the opposite.
# Give predictions y and targets t, with the **same numbers in the same order** (2 to 100 of them, so the
# predictions are perfect), on which the friend's `((y - t) ** 2).mean()` is clearly not 0. Choose the two
# shapes, and the numbers.


# %% exercise="0.5"
def witness():
    """Perfect predictions y and their targets t, on which ((y - t) ** 2).mean() is not 0."""
    # BEGIN SOLUTION
    t = np.array([1.0, 2.0, 3.0])  # (3,)
    y = t[:, np.newaxis]  # (3, 1): the same numbers
    # INSTEAD
    t = ...
    y = ...
    # END SOLUTION
    return y, t


# %% check="0.5"
check("0.5")

# %% [markdown]
# How large is the wrong loss of perfect predictions? The mean of (tᵢ − tⱼ)² over all pairs is **twice the
# variance** of the targets (question 3). That is a plausible number for a loss. This is why nobody notices.
#
# ## One picture, 64 slopes
#
# Last, a function of 64 numbers. Our ten means say "3" to the picture below. *Which small change makes them
# say "8"?* We make a function that is small if the picture is nearer to the mean 8 than to all others, by a
# margin, **and** if it has changed little:
#
#     f(x) = max(0, d₈ − (smallest other d) + 0.5) + |x − start|² / 2        d = the ten squared distances
#
# Then we walk downhill, with 2 · 64 = 128 calls of f for each step.

# %%
threes = np.flatnonzero(digits.test.labels == 3)
begin = x[threes[distances[threes, 3].argmin()]].astype(np.float64)  # (64,) the clearest 3


def to_eight(picture):
    d = ((picture - m) ** 2).sum(axis=1)  # (64,) − (10, 64) -> (10,)
    return max(0.0, d[8] - np.delete(d, 8).min() + 0.5) + ((picture - begin) ** 2).sum() / 2


with yours("0.4"):
    places = descend(to_eight, begin, rate=0.02, n_steps=120)
to_means = ((places[:, np.newaxis] - m) ** 2).sum(axis=-1)  # (121, 10)
material.draw_change(places, to_means)
print(f"changed by {abs(places[-1] - begin).mean():.2f} on average, where 1 is from paper to ink")
print(f"calls of f: {120 * 2 * begin.size:,}")

# %% [markdown]
# (The curves tremble in the end: at the margin, f has a corner.) It works with any function, and nobody had
# to derive a formula. But count: n numbers cost 2·n calls *for each step*. A small network has thousands of
# numbers, a large one billions, and each call takes longer too. **Lesson 1 finds all slopes in one walk, for
# the price of a few calls**, and uses central differences only to check itself.
#
# ## In PyTorch
#
# ```python
# x = torch.tensor([[1., 2., 3.], [4., 5., 6.]])
# x.sum(dim=1, keepdim=True); x.reshape(3, 2); x.T       # an axis is called dim
# torch.nn.functional.mse_loss(x[0], x[:1].T)            # (3,) against (3, 1): 1.33, a warning, no error
# ```
#
# Broadcasting has the same rule there, `uint8` wraps round too, and `torch.from_numpy(array)` is a view of
# the NumPy array.
#
# ## Questions
#
# 1. `x` has the shape (32, 3, 28, 28): 32 colour pictures. What is the shape of `x.mean(axis=(0, 2, 3))`, and
#    what with `keepdims=True`? Which one can be subtracted from x?
# 2. (64, 10) − (64,) is an error, but (64, 64) − (64,) is not. Why is the second one worse?
# 3. Show that the mean of (tᵢ − tⱼ)² over all pairs i, j is twice the variance of t.
# 4. `by_broadcasting` makes an array (N, K, D). How many bytes for 60,000 pictures, 10 means and 784 pixels
#    in float32? And `by_product`?
#
# BEGIN SOLUTION
# **Answers.**
#
# 1. (3,) and (1, 3, 1, 1). Only the second: (3,) would be aligned with the last axis, 28.
# 2. It runs: each *column* gets its number, where each *row* was meant. An error would have told you.
# 3. (tᵢ − tⱼ)² = tᵢ² − 2·tᵢ·tⱼ + tⱼ². The mean over all pairs is E − 2·m² + E, with E the mean of t² and m
#    that of t. And E − m² is the variance.
# 4. 60,000 · 10 · 784 · 4 bytes = 1.9 GB, more than once while it is computed. The product needs the result
#    alone, 2.4 MB.
# END SOLUTION
#
# ## Sources
#
# - C. R. Harris, K. J. Millman, S. J. van der Walt and others (2020), "Array programming with NumPy",
#   *Nature* 585, 357–362, doi:10.1038/s41586-020-2649-2: the array, by those who made NumPy.
# - D. Goldberg (1991), "What Every Computer Scientist Should Know About Floating-Point Arithmetic", *ACM
#   Computing Surveys* 23(1), 5–48: rounding, cancellation, and how to sum.
# - PyTorch, pull request 18349 (2019), "Added tensor size warning to F.mse_loss()": wrong way 4 was common
#   enough for a warning.
#
# **Read on in the source:** `tinyopt/gradcheck.py` begins with the function of exercise 0.4, and
# `tinyopt/data/dataset.py` has that of 0.2. Then go on with lesson 1: all these slopes in one walk.

"""Lesson 7, convolution: the source of lesson.ipynb; see tinyopt/course/percent.py for its format."""

# %% [markdown]
# # 7 · Convolution, and how it becomes a matrix product
#
# **The question.** A small filter of 5×5 numbers slides over an image. At each place it multiplies, adds up,
# and writes down one number. As a program this is seven loops, one inside the other. Yet no library runs
# seven loops: they run **one matrix product**. **Why? And what does it cost in memory?**
#
# - **You need:** NumPy slices; the matrix product; what a pullback is (lesson 1).
# - **You will write:** four numbers by hand, the size of the output, `im2col`, and its gradient `col2im`.
# - **Time:** about 110 minutes.
#
# Run the cells from top to bottom. Where an exercise is still empty, the package's own function works
# for you, so you can read on and come back.

# %%
import inspect
import time
import tracemalloc

import matplotlib.pyplot as plt
import numpy as np

from tinyopt import Tensor, data, differentiable, gradcheck, losses, measure, nn, ops, optim, substitute
from tinyopt.course import STYLE, start
from tinyopt.course.lessons import find, load
from tinyopt.course.reach import installed
from tinyopt.ops import conv  # the file of convolution: the package's own functions are conv.im2col, ...

check, hint, reveal, yours = start(7)
plt.rcParams.update(STYLE)
material = load(find(7) / "material.py")
digits, mnist = data.digits(), data.mnist5k()

# %% [markdown]
# First the picture. Four digits of 28×28 pixels, and four **kernels** (also called filters) of 3×3 numbers
# that somebody wrote down by hand. **Red** is a positive output, **blue** a negative one.

# %%
kernels = {
    "upper edges": [[-1, -2, -1], [0, 0, 0], [1, 2, 1]],
    "left edges": [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]],
    "lines like \\": [[2, -1, -1], [-1, 2, -1], [-1, -1, 2]],
    "blur": [[1 / 9] * 3] * 3,
}
weight = np.array(list(kernels.values()))[:, None]  # (4, 1, 3, 3): four filters, one channel
images = np.stack([mnist.test.images[mnist.test.labels == label][2] for label in (1, 4, 7, 0)])
outputs = ops.conv2d(images.astype(float), weight, padding=1).numpy()  # (4, 4, 28, 28)

figure, axes = plt.subplots(4, 5, figsize=(8, 6.4), layout="constrained")
for row, image in enumerate(images):
    axes[row, 0].imshow(image[0], cmap="gray_r")
    for column in range(4):
        limit = abs(outputs[:, column]).max()
        axes[row, 1 + column].imshow(outputs[row, column], cmap="RdBu_r", vmin=-limit, vmax=limit)
for ax, name in zip(axes[0], ["image", *kernels]):
    ax.set_title(name)
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
plt.show()

# %% [markdown]
# The same nine numbers are used at all 784 places. A filter that finds an edge in one corner finds it in
# every corner. In a network nobody writes the numbers by hand: they are learned, like all weights.
#
# ## By hand, on numbers small enough for paper
#
# An image of 4×4 and a kernel of 2×2. Lay the kernel on the image, multiply the numbers that lie on each
# other, and add: that is one number of the output. The part of the image under the kernel is the **window**.
# Then move the kernel by one pixel.

# %%
x = np.array([[1, 2, 0, 1], [0, 1, 3, 2], [2, 0, 1, 1], [1, 1, 0, 2]])
w = np.array([[1, 0], [2, -1]])
y = ops.conv2d(x.reshape(1, 1, 4, 4) * 1.0, w.reshape(1, 1, 2, 2) * 1.0).numpy()[0, 0]

figure, axes = plt.subplots(1, 3, figsize=(8.5, 3), layout="constrained", width_ratios=(4, 2, 3))
material.grid(axes[0], x, "image x, (4, 4)", [(0, 0, 2, 2, "C0"), (1, 2, 2, 2, "C3")])
material.grid(axes[1], w, "kernel w, (2, 2)")
material.grid(axes[2], y, "output y, (3, 3)", [(0, 0, 1, 1, "C0"), (1, 2, 1, 1, "C3")])
plt.show()

# %% [markdown]
#     blue:  1·1 + 0·2 + 2·0 − 1·1 = 0             red:  1·3 + 0·2 + 2·1 − 1·1 = 4
#
# Two more words. The **stride** s is the step from one window to the next, in pixels; above it is 1.
# **Padding** puts a frame of zeros around the image, so that windows can also lie over the edge.
#
# ### Exercise 7.1 · predict, then compute
#
# Now with **stride 2** and **padding 1**:
#
#         3  1  0  2
#     x = 4  2  1  0          w = 1  2
#         0  3  5  1              0 −1
#         2  0  1  1
#
# Draw the frame of zeros on paper first. How many rows and columns has the output y? What stands in its top
# left corner, y[0, 0]? And what is y[1, 1]? The package's convolution is switched off while your answer is
# checked: predict first.


# %% exercise="7.1"
def predict():
    """Rows and columns of y, and two of its numbers, for stride 2 and padding 1: by hand."""
    # BEGIN SOLUTION
    rows, columns = 3, 3  # the padded image has 6 rows; windows start at rows 0, 2, 4
    y_00 = 1 * 0 + 2 * 0 + 0 * 0 - 1 * 3  # only x[0, 0] = 3 is inside the image
    y_11 = 1 * 2 + 2 * 1 + 0 * 3 - 1 * 5
    # INSTEAD
    rows, columns = ..., ...
    y_00 = ...
    y_11 = ...
    # END SOLUTION
    return rows, columns, y_00, y_11


# %% check="7.1"
check("7.1")

# %% [markdown]
# ## The formula, and the loops that specify it
#
# A colour image has three numbers for each pixel: three **channels**. A hidden layer may have 64. A filter
# reads all of them, so it has C·K·K numbers. And a layer has many filters; each writes one channel of the
# output. With all its indices:
#
#     y[n, o, p, q] = b[o] + Σ over c, i, j of  w[o, c, i, j] · x[n, c, p·s + i, q·s + j]
#
#     n image    o filter    p, q place of the window    c channel    i, j pixel inside the window
#
# Count the letters: **seven loops**. Here they are. It is slow, simple, and hard to get wrong: our
# specification. The package has the same as `conv2d_loop`, with the three inner loops as one sum.


# %%
def seven_loops(x, w, stride=1):
    """y of the formula above, without bias: every product is one step of Python."""
    kh, kw = w.shape[2:]
    tops = range(0, x.shape[2] - kh + 1, stride)  # where windows begin
    lefts = range(0, x.shape[3] - kw + 1, stride)
    y = np.zeros((len(x), len(w), len(tops), len(lefts)))
    for n in range(len(x)):
        for o in range(len(w)):
            for p, top in enumerate(tops):
                for q, left in enumerate(lefts):
                    for c in range(w.shape[1]):
                        for i in range(kh):
                            for j in range(kw):
                                y[n, o, p, q] += w[o, c, i, j] * x[n, c, top + i, left + j]
    return y


rng = np.random.default_rng(0)
small_x, small_w = rng.normal(size=(2, 3, 7, 6)), rng.normal(size=(4, 3, 3, 2))
slow = seven_loops(small_x, small_w, stride=2)
print("shape of the output:", slow.shape)
print("largest difference to conv2d_loop:", abs(slow - conv.conv2d_loop(small_x, small_w, stride=2)).max())

# %% [markdown]
# ## How large is the output?
#
# Look at one axis alone. Each line below is one place of a kernel of 3 pixels on a row of 7 or 8. **Grey** is
# padding. A place counts only if the whole kernel lies inside the padded row. Where the stride does not fit,
# pixels at the end are never read (the red cross).

# %%
figure, axes = plt.subplots(2, 3, figsize=(9, 4.2), layout="constrained")
for ax, (size, stride, padding) in zip(
    axes.flat, [(7, 1, 0), (7, 2, 0), (7, 3, 0), (7, 2, 1), (8, 2, 0), (8, 3, 1)]
):
    material.draw_places(ax, size, 3, stride, padding)
for ax in axes[:, 0]:
    ax.set_ylabel("places of the kernel")
plt.show()

# %% [markdown]
# ### Exercise 7.2 · the size of the output
#
# Write the function that every layer here calls to find how many places there are along one axis. Find the
# formula from the pictures: how far can the kernel move, in pixels? How many steps are that? The first place
# needs no step.


# %% exercise="7.2"
def conv_output_size(size, kernel_size, stride=1, padding=0):
    """How many places a kernel has along one axis; an integer.

    Units: all in pixels; `padding` zeros are added at both ends. Example: 7, 3, stride 2, padding 1 -> 4.
    """
    ...


# %% check="7.2"
check("7.2")

# %% [markdown]
# If it is right, whole networks can ask it. LeNet-5 has two convolutions and two poolings:

# %%
with yours("7.2"):
    x = Tensor(mnist.test.images[:1])
    print("image", x.shape)
    for name, layer in zip(("conv 5×5", "pool 2×2", "conv 5×5", "pool 2×2"), nn.Sequential(
        nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.MaxPool2d(2)
    )):  # fmt: skip
        x = layer(x)
        print(f"{name} -> {x.shape}")

# %% [markdown]
# ## The trick: write every window as a column
#
# Each number of the output is an inner product: a filter with a window, both read as vectors of C·K·K
# numbers. Many inner products at once are a **matrix product**. So let us copy each window into one column
# of a matrix. This copy is called **im2col** ("image to columns"), and `unfold` in PyTorch.
#
# The figure shows it for an image of 4×4 and a kernel of 3×3: four windows. Each pixel has its own colour and
# number; look how often a colour comes back. Pixel 5 is in all four windows, the corner 0 in one.

# %%
pixels = np.arange(16.0).reshape(1, 1, 4, 4)
columns = conv.im2col(pixels, 3)  # (1, 9, 4)
figure, (left, right) = plt.subplots(1, 2, figsize=(8.5, 4.6), layout="constrained", width_ratios=(4, 4))
for ax, array in ((left, pixels[0, 0]), (right, columns[0])):
    ax.imshow(array, cmap="turbo", vmin=-2, vmax=17, aspect="equal" if ax is left else "auto", alpha=0.75)
    for (row, column), number in np.ndenumerate(array):
        ax.text(column, row, f"{number:.0f}", ha="center", va="center", fontsize=12)
    ax.spines[:].set_visible(False)
left.add_patch(plt.Rectangle((-0.47, -0.47), 3, 3, fill=False, edgecolor="black", lw=3))
right.add_patch(plt.Rectangle((-0.48, -0.45), 0.97, 8.92, fill=False, edgecolor="black", lw=3))
left.set(xticks=[], yticks=[], title="image: 16 numbers; first window framed")
right.set(title="columns: 9 × 4 = 36 numbers", yticks=range(9), xlabel="place of the window (p, q)")
right.set_yticks(range(9), [f"({i}, {j})" for i, j in np.ndindex(3, 3)])
right.set_xticks(range(4), [f"({p}, {q})" for p, q in np.ndindex(2, 2)])
right.set_ylabel("pixel in the window (i, j)")
plt.show()

# %% [markdown]
# Now look along a **row** of the matrix. The row (0, 0) holds pixel (0, 0) of all windows: 0, 1, 4, 5. In the
# image these numbers form a square block. So a row is a *slice of the image*. This is the key to write
# im2col fast: there are many windows, but only K·K rows. With several channels, the rows of channel 0 come
# first, then those of channel 1, as in PyTorch.
#
# ### Exercise 7.3 · `im2col`
#
# The sizes are there. Put the zeros around x (`np.pad` does it), then fill the matrix. You may loop over the
# windows or, better, over (i, j). One warning: `reshape` only reads numbers in another shape, in the same
# order. It never moves an axis.


# %% exercise="7.3"
def im2col(x, kernel_size, *, stride=1, padding=0):
    """Copy every window into a column: columns[n, (c, i, j), (p, q)] = x[n, c, p·sh + i, q·sw + j].

    Shapes: x (N, C, H, W) -> columns (N, C·kh·kw, P·Q); the windows are read row by row.
    """
    (kh, kw), (sh, sw) = conv.pair(kernel_size, "kernel_size"), conv.pair(stride, "stride")
    ph, pw = conv.pair(padding, "padding")  # 3 -> (3, 3): for both axes
    n, c, height, width = x.shape
    p = conv.conv_output_size(height, kh, sh, ph)
    q = conv.conv_output_size(width, kw, sw, pw)
    # BEGIN SOLUTION
    x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    columns = np.empty_like(x, shape=(n, c, kh, kw, p, q))
    for i, j in np.ndindex(kh, kw):  # pixel (i, j) of all windows at once
        columns[:, :, i, j] = x[:, :, i : i + sh * p : sh, j : j + sw * q : sw]
    columns = columns.reshape(n, c * kh * kw, p * q)
    # INSTEAD
    columns = ...  # (n, c·kh·kw, p·q)
    # END SOLUTION
    return columns


# %% check="7.3"
check("7.3")

# %% [markdown]
# With the columns, the whole convolution is short. This is the package's rule; it runs where filters come in
# groups, and we will let it run everywhere. `filters @ columns()` is the line that replaces seven loops.

# %%
print(inspect.getsource(conv.conv2d_im2col))

# %% [markdown]
# ### How much faster?
#
# The same layer, four times: 8 filters of 5×5 on images of 28×28. The last one is what `nn.Conv2d` runs. It
# too is a product with columns; the next section says what is different.


# %%
def best_time(work, repeats=5):
    """The shortest of a few measured times, in milliseconds: the others were disturbed."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return 1e3 * min(times)


one, many = mnist.train.images[:1], mnist.train.images[:64]
filters = rng.normal(size=(8, 1, 5, 5)).astype(np.float32)
with yours("7.3"):
    milliseconds = {
        "seven loops": best_time(lambda: seven_loops(one, filters), repeats=1),
        "conv2d_loop": best_time(lambda: conv.conv2d_loop(one, filters), repeats=1),
        "im2col, one product": best_time(lambda: conv.conv2d_im2col(many, filters)) / 64,
        "the package's conv2d": best_time(lambda: ops.conv2d(many, filters)) / 64,
    }
figure, ax = plt.subplots(figsize=(7.5, 2.6), layout="constrained")
bars = ax.barh(list(milliseconds), list(milliseconds.values()), color=["C3", "C3", "C0", "C0"])
ax.bar_label(bars, fmt="  {:,.3g} ms", fontsize=9)
ax.set(xscale="log", xlabel="milliseconds for one image, log scale", xlim=(0.003, 3000))
ax.invert_yaxis()
plt.show()
n_products = 8 * 24 * 24 * 25
print(f"products for one image: {n_products:,}")
for name, ms in milliseconds.items():
    print(f"{name:22} {1e6 * ms / n_products:9.2f} ns for each product")

# %% [markdown]
# The number of products is the same in all four. What changes is the cost of each. In Python, each product
# pays for reading the loop, finding the index and making a number object. The matrix product is compiled code
# that somebody has tuned for years: it keeps blocks of numbers close to the processor and multiplies several
# in one step. **That is why**: not fewer products, but cheaper ones. One tuned routine (its name is GEMM)
# serves dense layers and convolutions.
#
# ### What it costs
#
# The copy has K·K numbers for each pixel. We measure it: the bytes of the columns, and the largest extra
# memory that the package's `conv2d` takes. The padding is chosen so that the output has the size of the
# image.


# %%
def extra_bytes(work):
    """The most memory that was in use at one time during the work, beyond what was there before."""
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


maps = rng.normal(size=(64, 16, 28, 28)).astype(np.float32)
sides = (1, 3, 5, 7)
stored, plain, pieces = [], [], []
for k in sides:
    filters = rng.normal(size=(16, 16, k, k)).astype(np.float32)
    stored.append(conv.im2col(maps, k, padding=k // 2).nbytes)
    plain.append(extra_bytes(lambda: conv.conv2d_im2col(maps, filters, padding=k // 2)))
    pieces.append(extra_bytes(lambda: ops.conv2d(maps, filters, padding=k // 2)))

figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
ax.plot(sides, np.array(stored) / 1e6, "s--", color="C1", label="the columns alone")
ax.plot(sides, np.array(plain) / 1e6, "o-", color="C3", label="all columns, one product")
ax.plot(sides, np.array(pieces) / 1e6, "o-", color="C0", label="the package: a few images at a time")
ax.axhline(maps.nbytes / 1e6, color="0.6", lw=1)
ax.text(5.6, maps.nbytes / 1e6 * 1.12, "the images themselves", color="0.4", fontsize=9)
ax.set(xlabel="kernel side K, pixels", ylabel="megabytes, log scale", yscale="log", xticks=sides)
ax.legend(frameon=False)
plt.show()
for k, size in zip(sides, stored):
    print(f"K = {k}: columns {size / 1e6:6.1f} MB = {size / maps.nbytes:4.1f} times the images")

# %% [markdown]
# Exactly K² times. **That is the price.** For one layer with K = 5 the copy of 64 images is 25 times as
# large as the images. (The red and the blue line also hold the output, as large as the images; and the blue
# one a copy of the images in another order of memory.) There is a way out: nobody needs all columns at once.
# The package copies the windows of a few images into about one megabyte, multiplies, and uses the same place
# again. Then memory hardly grows with K, and the copy even stays in the processor's cache. Large libraries
# go further: they copy pieces inside the product itself.
#
# ## Backward: the gradient is col2im
#
# The forward pass is y = w · columns. So by the rule of the product, the two gradients are products too:
#
#     ∂L/∂w = g · columnsᵀ            ∂L/∂columns = wᵀ · g
#
# One step is left: from ∂L/∂columns to ∂L/∂x. im2col only **copies**: a pixel is *repeated* in all windows
# that read it. You know the law from lesson 1: what is repeated on the way forward is **summed** on the way
# back. So each column is put back where its window lay, and where windows overlap, the numbers **add up**.
# This is **col2im**, `fold` in PyTorch. If we put back columns full of ones, we see how many windows read
# each pixel:

# %%
figure, axes = plt.subplots(1, 3, figsize=(9, 3.3), layout="constrained")
for ax, (k, stride, padding) in zip(axes, [(3, 1, 0), (3, 2, 0), (3, 1, 1)]):
    ones = np.ones_like(conv.im2col(np.zeros((1, 1, 7, 7)), k, stride=stride, padding=padding))
    counts = conv.col2im(ones, (7, 7), k, stride=stride, padding=padding)[0, 0]
    ax.imshow(counts, cmap="Blues", vmin=0, vmax=12)
    for (row, column), number in np.ndenumerate(counts):
        ax.text(column, row, f"{number:.0f}", ha="center", va="center")
    ax.set(xticks=[], yticks=[], title=f"kernel 3×3, stride {stride}, padding {padding}")
axes[0].set_ylabel("windows that read each pixel")
plt.show()

# %% [markdown]
# Without padding, the corner is read once and the middle nine times: pixels at the border count less. That is
# one reason for padding.
#
# ### Exercise 7.4 · `col2im`
#
# im2col the other way round. `output_size` is the size of the image (PyTorch calls it so, because here the
# image comes out). Add into a *padded* image of zeros, then cut the frame off.


# %% exercise="7.4"
def col2im(columns, output_size, kernel_size, *, stride=1, padding=0):
    """Add every column back where its window lay: the gradient of im2col.

    Shapes: columns (N, C·kh·kw, P·Q), output_size (H, W) -> x (N, C, H, W).
    """
    (kh, kw), (sh, sw) = conv.pair(kernel_size, "kernel_size"), conv.pair(stride, "stride")
    ph, pw = conv.pair(padding, "padding")
    height, width = output_size
    p = conv.conv_output_size(height, kh, sh, ph)
    q = conv.conv_output_size(width, kw, sw, pw)
    n, c = len(columns), columns.shape[1] // (kh * kw)
    # BEGIN SOLUTION
    columns = columns.reshape(n, c, kh, kw, p, q)
    x = np.zeros_like(columns, shape=(n, c, height + 2 * ph, width + 2 * pw))
    for i, j in np.ndindex(kh, kw):
        x[:, :, i : i + sh * p : sh, j : j + sw * q : sw] += columns[:, :, i, j]
    x = x[:, :, ph : ph + height, pw : pw + width]
    # INSTEAD
    x = ...  # (n, c, height, width)
    # END SOLUTION
    return x


# %% check="7.4"
check("7.4")

# %% [markdown]
# Is the gradient right? Central differences are the judge. And then: a network with two convolutions learns
# on **your** im2col and **your** col2im. `substitute` puts the rule by columns in place of the fast one.


# %%
def digit_net(depth=2, seed=0, channels=8):
    """`depth` convolutions of 3×3 on the 8×8 digits, then one dense layer."""
    rng = np.random.default_rng(seed)
    layers = [nn.Conv2d(1, channels, 3, padding=1, rng=rng), nn.ReLU(), nn.MaxPool2d(2)]
    for _ in range(depth - 1):
        layers += [nn.Conv2d(channels, channels, 3, padding=1, rng=rng), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * 16, 10, rng=rng))


def train(net, part, epochs=5, lr=0.05, seed=0):
    """Train with SGD and momentum; return the loss of every step."""
    loader = data.DataLoader(part, batch_size=64, shuffle=True, seed=seed)
    optimizer, history = optim.SGD(net.parameters(), lr=lr, momentum=0.9), []
    for _ in range(epochs):
        for images, labels in loader:
            loss = losses.cross_entropy(net(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            history.append(loss.item())
    return history


def by_columns(x, w):
    y, (grad_x, grad_w, _) = conv.conv2d_im2col(x, w, stride=2, padding=1)
    return y, (grad_x, grad_w)


with yours("7.3", "7.4"):
    gradcheck(differentiable(by_columns), small_x, small_w)
    print("gradcheck: passed")
    with substitute("conv2d", conv.conv2d_im2col):
        net = digit_net()
        history = train(net, digits.train)
        result = measure.evaluate(net, digits.test)
print(f"loss {history[0]:.2f} → {history[-1]:.2f}")
print(f"accuracy on {result.n} test images: {result.accuracy:.1%} ± {result.standard_error:.1%}")

# %% [markdown]
# (± is one **standard error**: if we drew other test images, the accuracy would change by about as much.)
#
# ## How far does one output see?
#
# After one 3×3 convolution, an output depends on 3×3 pixels. This is its **receptive field**. After two
# convolutions it is 5×5. **Pooling** makes it grow faster. Average pooling by 2 takes the mean of each 2×2
# block (max pooling: the largest number), so half as many rows and columns are left; from there on, one step
# is two pixels of the image. No formula is needed to measure the field: ask `backward()` which pixels have
# any influence on one output. We set all weights to 1 here. Then the slope counts the *paths* from a pixel
# to the output.

# %%
stacks = {
    "one 3×3": "c",
    "two 3×3": "cc",
    "3×3, pool, 3×3": "cpc",
    "(3×3, pool) twice, 3×3": "cpcpc",
}
figure, axes = plt.subplots(1, 4, figsize=(9.5, 3.1), layout="constrained")
for ax, (name, letters) in zip(axes, stacks.items()):
    stack = [nn.Conv2d(1, 1, 3, padding=1) if letter == "c" else nn.AvgPool2d(2) for letter in letters]
    for layer in stack[::2] if "p" in letters else stack:
        layer.weight.data = np.ones_like(layer.weight.data)
    image = Tensor(np.zeros((1, 1, 28, 28), dtype=np.float32), requires_grad=True)
    output = nn.Sequential(*stack)(image)  # (1, 1, side, side)
    middle = output.shape[2] // 2
    output[0, 0, middle, middle].backward()
    slope = image.grad[0, 0]
    side = int((slope > 0).any(axis=0).sum())
    ax.imshow(slope / slope.max(), cmap="Reds", vmin=0, vmax=1)
    ax.set(xticks=[], yticks=[], title=f"{name}\n{side}×{side} pixels")
axes[0].set_ylabel("paths to one output")
plt.show()

# %% [markdown]
# The field is not equally dark: more paths lead through its middle.
#
# ## One filter for all places: what does it buy?
#
# A dense layer has its own weight for each pair (pixel, output). A convolution has the same weights at all
# places: this is **parameter sharing**. So if the image moves, the output of the convolution moves with it,
# and nothing else changes. The word for this is **equivariant**. Does a network with convolutions then know
# a digit at any place? We train three networks on 3,500 digits of MNIST, which are all centred, and test
# them on digits that we move sideways. The third one takes the **largest value of each channel over the
# whole image** before its last layer (global max pooling), so it forgets *where* something was found. The
# learning rate of each was chosen on the validation images, from 0.02, 0.05 and 0.1.


# %%
class GlobalMaxPool(nn.Module):
    """The largest number of each channel: (N, C, H, W) -> (N, C)."""

    def forward(self, x):
        return ops.max(x, axis=(2, 3))


def dense_net(rng):
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 64, rng=rng), nn.ReLU(), nn.Linear(64, 10, rng=rng))


def conv_net(rng):
    return nn.Sequential(
        nn.Conv2d(1, 8, 5, rng=rng), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 5, rng=rng), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(256, 10, rng=rng),
    )  # fmt: skip


def global_net(rng):
    return nn.Sequential(
        nn.Conv2d(1, 8, 5, rng=rng), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 5, padding=1, rng=rng), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1, rng=rng), nn.ReLU(), GlobalMaxPool(), nn.Linear(32, 10, rng=rng),
    )  # fmt: skip


def moved(images, pixels):
    """The images moved to the right, or to the left if `pixels` is negative; zeros come in."""
    result = np.zeros_like(images)
    if pixels >= 0:
        result[..., pixels:] = images[..., : 28 - pixels]
    else:
        result[..., :pixels] = images[..., -pixels:]
    return result


quality, shifts = {}, range(-6, 7, 2)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained", width_ratios=(1, 2.6))
left.imshow(np.concatenate([moved(images[1, 0], s) for s in (-6, 0, 6)]), cmap="gray_r")
left.set(xticks=[], yticks=(14, 42, 70), yticklabels=("−6", "0", "6"), ylabel="moved by, pixels")
makers = {"dense": (dense_net, 0.1), "conv, flatten": (conv_net, 0.05)}
makers["conv, global max"] = global_net, 0.05
for (name, (make, lr)), mark in zip(makers.items(), "sod"):
    net = make(np.random.default_rng(0))
    train(net, mnist.train, epochs=3, lr=lr)
    parts = {s: (moved(mnist.test.images, s), mnist.test.labels) for s in shifts}
    results = quality[name] = {s: measure.evaluate(net, part) for s, part in parts.items()}
    score = [100 * result.accuracy for result in results.values()]
    error = [100 * result.standard_error for result in results.values()]
    right.errorbar(shifts, score, yerr=error, fmt=f"{mark}-", ms=4, capsize=2, label=name)
    print(f"{name:17} {sum(p.size for p in net.parameters()):6,} parameters", end="")
    found = (f"   moved by {s}: {r.accuracy:.1%} ± {r.standard_error:.1%}" for s, r in results.items())
    print(*list(found)[3:6], sep="")
right.set(xlabel="moved by, pixels (never in training)", ylabel="test accuracy, %", ylim=(0, 105))
right.legend(frameon=False, loc="lower center", fontsize=9)
plt.show()

# %% [markdown]
# Three things to see.
#
# 1. On centred digits the second network is clearly ahead of the dense one, with an eighth of the parameters:
#    what its filters learn at one place, they know at all places.
# 2. "A convolutional network does not care where the object is" is often said, and **not true**. The
#    convolution layers move their output along. But then `Flatten` and a dense layer read it, and those have
#    their own weights for each place. A few pixels are enough to break it.
# 3. If the *last step also forgets the place*, accuracy falls much more slowly. A network whose answer does
#    not change at all would be called **invariant**. This one is not quite: pooling by 2 is equivariant only
#    to moves by 2, 4, 6 ..., pooling twice only to 4, 8 ..., and the frame of zeros comes nearer.
#
# ## Wrong ways
#
# ### Wrong way 1: two different things are called convolution
#
# In mathematics, a convolution **turns the kernel by 180°** before it slides it. What all deep learning
# libraries call convolution does not: its right name is **cross-correlation**. Does it matter?

# %%
image = images[1:2].astype(float)
figure, axes = plt.subplots(2, 4, figsize=(8, 3.9), layout="constrained")
for column, name in enumerate(kernels):
    kernel = weight[column : column + 1]
    turned, _ = material.true_convolution(image, kernel, padding=1)
    pair = ops.conv2d(image, kernel, padding=1).numpy(), turned
    limit = max(abs(y).max() for y in pair)
    for row, y in enumerate(pair):
        axes[row, column].imshow(y[0, 0], cmap="RdBu_r", vmin=-limit, vmax=limit)
        axes[row, column].set(xticks=[], yticks=[])
    difference = abs(pair[0] - pair[1]).max()
    axes[0, column].set_title(name)
    axes[1, column].set_xlabel(f"largest difference\n{difference:.2g}", fontsize=9)
axes[0, 0].set_ylabel("cross-correlation")
axes[1, 0].set_ylabel("true convolution")
plt.show()

net = digit_net()
train(net, digits.train)
scores = {"trained and run by cross-correlation": measure.evaluate(net, digits.test)}
with substitute("conv2d", material.true_convolution):
    scores["the same weights, run by true convolution"] = measure.evaluate(net, digits.test)
    net = digit_net()
    train(net, digits.train)
    scores["trained and run by true convolution"] = measure.evaluate(net, digits.test)
for name, result in scores.items():
    print(f"{name:42} {result.accuracy:6.1%} ± {result.standard_error:.1%}")

# %% [markdown]
# A kernel that looks the same after half a turn gives the same picture. Edge kernels change their sign. And
# for a network: if it is *trained* with turned kernels, it simply learns turned kernels, and nothing is
# lost. It matters when **weights travel**: from one library to another, or from a textbook into your code.
#
# ### Wrong way 2: reshape where a transpose is due
#
# `sliding_window_view` gives all windows in one line: an array (N, C, P, Q, kh, kw). The columns need the
# order (N, C, kh, kw, P, Q). Many write `.reshape(N, C*kh*kw, P*Q)` at once. The shape is right, all the
# numbers are there, no error comes. But the axes were never moved, so a "window" is now a mix of pixels.

# %%
picture = mnist.test.images[mnist.test.labels == 3][:1].astype(float)
ways = {"right": conv.im2col, "reshape only": material.scrambled_im2col}
figure, axes = plt.subplots(2, 3, figsize=(7.5, 4.8), layout="constrained", width_ratios=(1, 1, 1))
place = 12 * 24 + 11  # the window at row 12, column 11
for row, (name, way) in enumerate(ways.items()):
    source = np.zeros(784)
    source[way(np.arange(784.0).reshape(1, 1, 28, 28), 5)[0, :, place].astype(int)] = 1
    axes[row, 0].imshow(picture[0, 0], cmap="gray_r")
    axes[row, 0].imshow(np.ma.masked_equal(source.reshape(28, 28), 0), cmap="autumn", alpha=0.8)
    axes[row, 1].imshow(way(picture, 5)[0, :, place].reshape(5, 5), cmap="gray_r", vmin=0, vmax=1)
    blurred = np.ones(25) / 25 @ way(picture, 5)[0]  # (576,)
    axes[row, 2].imshow(blurred.reshape(24, 24), cmap="gray_r", vmin=0, vmax=1)
    axes[row, 0].set_ylabel(name)
for ax, title in zip(axes[0], ("pixels of one window", "this window", "output of a 5×5 blur")):
    ax.set_title(title)
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
plt.show()

# %% [markdown]
# Now a real network on scrambled windows, beside those of the last section, trained as "conv, flatten" was.
# It gets its own *exact* gradient, so that only the scrambling is on trial. First the judge, central
# differences:

# %%
package = conv.im2col, conv.col2im
with installed(package[0], material.scrambled_im2col), installed(package[1], material.scrambled_col2im):
    gradcheck(differentiable(by_columns), small_x, small_w)
    print("gradcheck on scrambled windows: passed")
    with substitute("conv2d", conv.conv2d_im2col):
        net = conv_net(np.random.default_rng(0))
        history = train(net, mnist.train, epochs=3)
        parts = {s: (moved(mnist.test.images, s), mnist.test.labels) for s in (0, 2, 4)}
        quality["conv, scrambled"] = {s: measure.evaluate(net, part) for s, part in parts.items()}
print(f"it trains: loss {history[0]:.2f} → {history[-1]:.2f}")

figure, ax = plt.subplots(figsize=(7.5, 3), layout="constrained")
for number, name in enumerate(("conv, flatten", "conv, scrambled", "dense")):
    results = [quality[name][s] for s in (0, 2, 4)]
    score, error = ([100 * getattr(r, kind) for r in results] for kind in ("accuracy", "standard_error"))
    bars = ax.bar(np.arange(3) + 0.27 * (number - 1), score, 0.25, yerr=error, capsize=3, label=name)
    ax.bar_label(bars, fmt="%.1f", fontsize=9)
ax.set(xticks=range(3), xticklabels=("centred", "moved by 2", "moved by 4"), ylabel="test accuracy, %")
ax.set(ylim=(0, 125), yticks=range(0, 101, 25))
ax.legend(frameon=False, ncols=3, loc="upper center", fontsize=9)
plt.show()

# %% [markdown]
# The loss falls, the gradient check passes (it is the exact gradient of the *wrong function*), and the
# accuracy alone would make nobody suspicious. But on centred digits it is below the dense network, which
# knows nothing of neighbours. **Only the slow loops notice it.** So test values *and* gradients.
#
# ### Wrong way 3: put windows back without adding
#
# In col2im, `x[...] = columns[...]` instead of `+=`. Where windows overlap, the last one wins. We train
# networks with one and with three convolutions on the 8×8 digits, three of each, from three seeds.

# %%
for name, backward in {"right": package[1], "without adding": material.assigned}.items():
    with installed(package[1], backward), substitute("conv2d", conv.conv2d_im2col):
        try:
            gradcheck(differentiable(by_columns), small_x, small_w)
            print(f"{name:15} gradcheck passed")
        except AssertionError:
            print(f"{name:15} gradcheck FAILED")
        for depth in (1, 3):
            nets = [digit_net(depth, seed) for seed in range(3)]
            for seed, net in enumerate(nets):
                train(net, digits.train, seed=seed)
            scores = [100 * measure.evaluate(net, digits.test).accuracy for net in nets]
            each = ", ".join(f"{score:.1f}" for score in scores)
            mean, deviation = np.mean(scores), np.std(scores, ddof=1)
            print(f"    {depth} conv: {each} %    mean {mean:.1f}, standard deviation {deviation:.1f}")

# %% [markdown]
# With one convolution, the wrong way is **exactly** as good. There, nobody asks for the gradient of the
# image, so col2im is never called! With three, the first two layers learn from a wrong gradient, and accuracy
# is lost. One might blame the depth for it. Here the gradient check is the one that notices. *A net that
# trains is no proof.*
#
# ### Exercise 7.5 · explain this failure
#
# The friend who wrote `=` has tested it. "I compared it with PyTorch's `fold`, for kernels of 1, 2 and 3 with
# stride 1, 2 and 3. No difference." Here is the friend's test:

# %%
for k in (1, 2, 3):
    columns = rng.normal(size=(1, k * k, 4))
    friend, right = (f(columns, (2 * k, 2 * k), k, stride=k) for f in (material.assigned, conv.col2im))
    print(f"kernel {k}, stride {k}: largest difference {abs(friend - right).max()}")

# %% [markdown]
# Why did it pass? Give the friend a better test, small enough for paper: an image of **2×3 pixels**, a
# kernel of **2×2**, stride 1, no padding. It has two windows, so the columns are a matrix of 4×2: four
# pixels of a window in the order (0, 0), (0, 1), (1, 0), (1, 1). Give the columns, a pixel (row, column) of
# the image at which the friend is wrong, and the number that is due there.


# %% exercise="7.5"
def witness():
    """Columns (4, 2) of numbers, a pixel (row, column) where the friend is wrong, the number due there."""
    # BEGIN SOLUTION
    columns = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])
    pixel = (0, 1)  # of window 0 it is pixel (0, 1), of window 1 it is pixel (0, 0)
    due = 3.0 + 2.0
    # INSTEAD
    columns = np.array([[..., ...], [..., ...], [..., ...], [..., ...]])
    pixel = (..., ...)
    due = ...
    # END SOLUTION
    return columns, pixel, due


# %% check="7.5"
check("7.5")

# %% [markdown]
# ## In PyTorch
#
# ```python
# F = torch.nn.functional
# columns = F.unfold(x, kernel_size=3, padding=1)               # im2col: (N, C·9, H·W)
# y = (weight.flatten(1) @ columns).reshape(N, O, H, W)         # the same as F.conv2d(x, weight, padding=1)
# x_grad = F.fold(columns_grad, (H, W), kernel_size=3, padding=1)       # col2im: it adds
# ```
#
# ## Questions
#
# 1. A layer has 16 filters of 3×3 on 8 channels. How many weights? How many would a dense layer have that
#    makes the same output from 28×28 pixels, with padding 1?
# 2. `fold(unfold(x))` is not x. What is it? When is it x?
# 3. For which kernel size does im2col cost no extra memory, and what is the convolution then?
# 4. Why does the first layer of a network never need col2im?
# 5. Two 3×3 convolutions see 5×5 pixels, as one 5×5 does. Which has fewer weights, for C channels in and out?
# 6. A network without padding gets images with the digit in a corner. Why is it worse there than in the
#    middle?
#
# BEGIN SOLUTION
# **Answers.**
#
# 1. 16 · 8 · 9 = 1,152. Dense: (8 · 784) · (16 · 784) = 78,675,968.
# 2. Each pixel times the number of windows that read it. It is x if each pixel is read exactly once: stride =
#    kernel size, and the kernel fits.
# 3. K = 1 (with stride 1 and no padding): each pixel is its own window. It is a dense layer over the
#    channels, the same one at each pixel.
# 4. col2im makes the gradient of the layer's input. The input of the first layer is the image, and images are
#    not trained.
# 5. Two 3×3: 18·C². One 5×5: 25·C².
# 6. Pixels at the border are read by fewer windows, so they have less influence on the output.
# END SOLUTION
#
# ## Sources
#
# - K. Chellapilla, S. Puri and P. Simard (2006), "High Performance Convolutional Neural Networks for Document
#   Processing", *Tenth International Workshop on Frontiers in Handwriting Recognition*, HAL inria-00112631
#   (convolution as one matrix product, forward and backward).
# - V. Dumoulin and F. Visin (2016), "A guide to convolution arithmetic for deep learning", arXiv:1603.07285
#   (sizes with stride and padding, with many pictures).
# - A. Vasudevan, A. Anderson and D. Gregg (2017), "Parallel Multi Channel Convolution using General Matrix
#   Multiplication", *ASAP 2017*, arXiv:1704.04428 (the K² of memory, and a way without im2col).
# - A. Azulay and Y. Weiss (2019), "Why do deep convolutional networks generalize so poorly to small image
#   transformations?", *Journal of Machine Learning Research* 20(184), 1–25.
# - PyTorch's documentation of `torch.nn.Unfold` and `torch.nn.Fold` (the layout, and that `fold` sums).
#
# **Read on in the source:** `tinyopt/ops/conv.py`. You have now written the middle of it; `_Dense` is the
# same idea, with the numbers in a better order and a few images at a time.

"""Lesson 1, autograd: the source of lesson.ipynb; see tinyopt/course/percent.py for its format."""

# %% [markdown]
# # 1 · Autograd: every slope in one walk
#
# **The question.** A network looks at a picture of 64 pixels and says "8". Which pixels made it say so?
# For each pixel we can ask: *a little more ink here: does the score of "8" go up or down?*
# That is a derivative. There are 64 of them for the picture, and 2,410 for the weights of the network.
# The package finds all of them at once, in the time of a few more looks at the picture. **How?**
#
# - **You need:** NumPy arrays; the derivative of x²; the chain rule for one variable.
# - **You will write:** three derivatives by hand, the rule of `relu`, `unbroadcast`, the heart of the engine.
# - **Time:** about 90 minutes.
#
# Run the cells from top to bottom. Where an exercise is still empty, the package's own function works
# for you, so you can read on and come back.

# %%
import inspect
import time

import matplotlib.pyplot as plt
import numpy as np

from tinyopt import Tensor, autograd, data, differentiable, gradcheck, losses, nn, no_grad, ops, optim
from tinyopt.autograd import latest_first
from tinyopt.autograd import unbroadcast as package_unbroadcast
from tinyopt.course import STYLE, start
from tinyopt.course.lessons import find, load
from tinyopt.course.reach import installed
from tinyopt.errors import ShapeError  # for exercise 1.3

check, hint, reveal, yours = start(1)
plt.rcParams.update(STYLE)

# %% [markdown]
# First a small network, trained on real handwritten digits. It takes a second.

# %%
digits = data.digits()


def small_net():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32, rng=0), nn.ReLU(), nn.Linear(32, 10, rng=1))


def train(net, epochs=15, lr=0.1, momentum=0.9, weight_decay=0.0, zero_grad=True, penalty=None):
    """Train on the digits; return the loss of every step."""
    loader = data.DataLoader(digits.train, batch_size=64, shuffle=True, seed=0)
    optimizer = optim.SGD(net.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay)
    history = []
    for _ in range(epochs):
        for images, labels in loader:
            extra = penalty(net) if penalty else 0.0
            loss = extra + losses.cross_entropy(net(images), labels)
            if zero_grad:
                optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            history.append(loss.item())
    return history


def accuracy(net):
    """The share of the test images that the net names correctly."""
    with no_grad():
        return float((net(digits.test.images).numpy().argmax(axis=1) == digits.test.labels).mean())


net = small_net()
train(net, weight_decay=0.005)  # a pull of all weights to 0: the maps below become smoother
print(f"accuracy on {len(digits.test)} test images: {accuracy(net):.1%}")

# %% [markdown]
# Now the picture. In the lower row, **red** means: more ink here *raises* the score of the digit that the
# net chose. **Blue** means: more ink here *lowers* it. Each map is one call of `backward()`.

# %%
scores = net(digits.test.images).numpy()  # (360, 10)
examples = [int(scores[:, digit].argmax()) for digit in (0, 3, 4, 6, 8)]  # the clearest of each
figure, axes = plt.subplots(2, len(examples), figsize=(8, 3.6), layout="constrained")
for column, number in enumerate(examples):
    image = Tensor(digits.test.images[number : number + 1], requires_grad=True)  # (1, 1, 8, 8)
    scores = net(image)  # (1, 10)
    chosen = int(scores.numpy().argmax())
    scores[0, chosen].backward()  # the score of one class: a single number
    slope = image.grad[0, 0]  # (8, 8)
    axes[0, column].imshow(digits.test.images[number, 0], cmap="gray_r")
    axes[0, column].set_title(f'the net says "{chosen}"')
    limit = abs(slope).max()
    axes[1, column].imshow(slope, cmap="RdBu_r", vmin=-limit, vmax=limit)
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
axes[0, 0].set_ylabel("picture")
axes[1, 0].set_ylabel("slope of the score")
plt.show()

# %% [markdown]
# Look at the "0": its middle is blue. Ink in the middle would make it less of a 0. Nobody told the net
# what to look at; the slopes show what it has learned.
#
# ## By hand, on numbers small enough for paper
#
# One weight, one input, one bias, one target:
#
#     e = w·x + b − t            the error
#     L = e²                     the loss, one number to make small
#
# Take w = 2, x = 3, b = −1, t = 7. Forward, from the numbers to the loss:
#
#     w·x = 6        e = 6 − 1 − 7 = −2        L = 4
#
# Now backward, from the loss to the numbers. In each step, the chain rule multiplies by **one** more factor:
#
# | step back | factor | so far |
# |---|---|---|
# | from L to e | ∂L/∂e = 2e = −4 | ∂L/∂e = **−4** |
# | from e to b | ∂e/∂b = 1 | ∂L/∂b = −4 · 1 = **−4** |
# | from e to w | ∂e/∂w = x = 3 | ∂L/∂w = −4 · 3 = **−12** |
# | from e to x | ∂e/∂x = w = 2 | ∂L/∂x = −4 · 2 = **−8** |
#
# Note two things. The number −4 was computed once and used three times. And ∂L/∂w contains the *value* of x:
# to go backward, we must remember the forward numbers.
#
# Is it right? There is a slow way that cannot share our mistakes: move one number a little, and look. This is
# the **central difference**. It is the specification of a derivative; all that follows must agree with it.


# %%
def central_differences(f, numbers, h=1e-5):
    """The slope of f in each number: two calls of f for each. Slow, simple, and hard to get wrong."""
    slopes = []
    for i in range(len(numbers)):
        up, down = list(numbers), list(numbers)
        up[i] += h
        down[i] -= h
        slopes.append((f(*up) - f(*down)) / (2 * h))
    return slopes


def loss_of(w, x, b, t=7.0):
    return (w * x + b - t) ** 2


for name, slope in zip(("w", "x", "b"), central_differences(loss_of, (2.0, 3.0, -1.0))):
    print(f"∂L/∂{name} ≈ {slope:.6f}")

# %% [markdown]
# Left: the loss as a function of w, and the tangent with our slope −12. Right: how good are differences? The
# step h must be neither too large nor too small. If h is large, the curve bends away from the tangent. If h
# is tiny, the two values of L agree in nearly all their digits, and what is left is rounding. We take L = e³
# here, because for a parabola the central difference has no bending error at all.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
w = np.linspace(0.5, 4.5, 100)
left.plot(w, loss_of(w, 3.0, -1.0), label="L")
left.plot(w[:50], 4 - 12 * (w[:50] - 2), "--", color="C3", label="tangent at w = 2, slope −12")
left.plot(2, 4, "o", color="C3")
left.set(xlabel="w", ylabel="L", ylim=(-5, 42))
left.legend(frameon=False)

steps = 10.0 ** np.arange(-15, 0.5, 0.5)
cube = lambda w: (w * 3.0 - 8.0) ** 3  # its slope at w = 2 is 9·e² = 36
forward = [abs((cube(2 + h) - cube(2)) / h - 36) / 36 for h in steps]
centred = [abs((cube(2 + h) - cube(2 - h)) / (2 * h) - 36) / 36 for h in steps]
right.loglog(steps, forward, "o-", ms=3, label="forward: (L(w+h) − L(w)) / h")
right.loglog(steps, centred, "s-", ms=3, label="central: (L(w+h) − L(w−h)) / 2h")
right.set(xlabel="step h", ylabel="relative error of the slope", ylim=(1e-13, 1e3))
right.legend(frameon=False, loc="upper center", fontsize=9)
plt.show()

# %% [markdown]
# ### Exercise 1.1 · predict, then compute
#
# Other numbers: **w = 3, x = 2, b = 1, t = 5**. Take paper and pencil. Write the three derivatives below as
# numbers. The package's `backward` is switched off while your answer is checked: predict first.


# %% exercise="1.1"
def predict():
    """The three derivatives of L = (w·x + b − t)² at w = 3, x = 2, b = 1, t = 5: numbers, by hand."""
    # BEGIN SOLUTION
    error = 3 * 2 + 1 - 5  # e = 2
    dL_dw = 2 * error * 2  # ∂L/∂e · x
    dL_db = 2 * error * 1  # ∂L/∂e · 1
    dL_dx = 2 * error * 3  # ∂L/∂e · w
    # INSTEAD
    dL_dw = ...
    dL_db = ...
    dL_dx = ...
    # END SOLUTION
    return dL_dw, dL_db, dL_dx


# %% check="1.1"
check("1.1")

# %% [markdown]
# ## The graph
#
# A `Tensor` is an array that remembers how it was made. Each op leaves a **node**: its name, and the tensors
# that went in. Here is the same little loss, drawn after `backward()`: values and gradients stand on the
# nodes.

# %%
w, x, b = (Tensor(number, requires_grad=True) for number in (2.0, 3.0, -1.0))
w.name, x.name, b.name = "w", "x", "b"
L = (w * x + b - 7.0) ** 2
L.backward()
L.graph()

# %% [markdown]
# Read it twice: from the inputs to L (the forward pass: values), then from L to the inputs (the backward
# pass: gradients). The gradients are those of the table above: −12, −8, −4.
#
# Now the chain rule for *any* graph. Many paths may lead from L back to x. The rule says:
#
# > ∂L/∂x is the **sum over all paths** from L back to x, of the **product** of the slopes along the path.
#
# Written as a program, that is a slow recursion. It is our specification:


# %%
def by_paths(tensor, g, x):
    """∂L/∂x as the chain rule says it: follow every path from `tensor` back to x, and add up."""
    if tensor is x:
        return g
    if tensor.node is None:
        return 0.0
    edges = zip(tensor.node.inputs, tensor.node.pullbacks)
    return sum(by_paths(source, pullback(g), x) for source, pullback in edges if pullback is not None)


one = np.ones((), dtype=np.float32)
print("∂L/∂w by all paths:", by_paths(L, one, w), "   by backward():", w.grad)

# %% [markdown]
# Two words on what you just saw. `node.pullbacks` holds one function for each input. A **pullback** takes g =
# ∂L/∂(output) and gives back ∂L/∂(input): it multiplies by the slope of *this one op*. Nothing else is
# needed.
#
# Why is the recursion slow? Let each level read the one before it twice: y ← (y + y) / 2. The number of paths
# doubles with every level. But the number of nodes grows by two. **Reverse mode** visits each node once: it
# waits until all gradients that flow into a tensor have been added up, and only then goes on.


# %%
def best_time(work, repeats=3):
    """The shortest of a few measured times, in milliseconds: the others were disturbed."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return 1e3 * min(times)


levels, milliseconds = range(1, 14), {"all paths": [], "one walk": []}
for n in levels:
    x = Tensor(1.0, requires_grad=True)
    y = x
    for _ in range(n):
        y = (y + y) * 0.5
    milliseconds["all paths"].append(best_time(lambda: by_paths(y, one, x)))
    milliseconds["one walk"].append(best_time(lambda: list(autograd.backpropagate(y, one))))

figure, ax = plt.subplots(figsize=(6, 3.2), layout="constrained")
for (name, times), mark in zip(milliseconds.items(), "os"):
    ax.semilogy(levels, times, f"{mark}-", ms=4, label=name)
ax.set(
    xlabel="levels of y ← (y + y) / 2",
    ylabel="milliseconds, log scale",
    title="Same gradient, same pullbacks, another order",
)
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# ## A rule: the value and its pullbacks
#
# The engine knows no op. An op is a **rule** in plain NumPy: it takes arrays, and returns its value and one
# pullback for each array. Here is the whole rule for the product, from the package:

# %%
print(inspect.getsource(ops.mul.rule))

# %% [markdown]
# The pullbacks use x and y: they *remember* the forward numbers. That is why training takes more memory than
# using a trained network.
#
# The most used function in deep learning is the simplest: `relu`. Here are its curve and its slope, found by
# central differences.

# %%
x = np.linspace(-2, 2, 81)
relu_value = ops.relu(Tensor(x)).numpy()
relu_slope = [central_differences(lambda v: ops.relu(Tensor(np.array(v))).item(), (v,), h=1e-3)[0] for v in x]
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained", sharex=True)
left.plot(x, relu_value)
left.set(title="relu", xlabel="x")
right.plot(x, relu_slope, ".", color="C3", ms=4)
right.set(title="its slope, by central differences", xlabel="x")
right.annotate(
    "at the corner the\ndifference says 1/2",
    (0, 0.5),
    (-1.9, 0.45),
    arrowprops={"arrowstyle": "->"},
    fontsize=9,
)
plt.show()

# %% [markdown]
# ### Exercise 1.2 · a rule of your own
#
# Write the rule for `relu`. At the corner x = 0 there is no derivative; take 0, as PyTorch and this package
# do. While your rule is checked, the package's `relu` is out of reach, and so are its relatives. NumPy is
# yours.


# %% exercise="1.2"
def relu(x):
    """The larger of x and 0, number by number, and its pullback.

    Shapes: x, any array -> the value, same shape; the pullback takes g and gives ∂L/∂x, all of that shape.
    """
    y = ...

    def grad_x(g):
        return ...

    return y, (grad_x,)


# %% check="1.2"
check("1.2")

# %% [markdown]
# If it says *right*: from now on you can let the engine run on your rule. `yours("1.2")` puts it where the
# package's own rule was. Every `relu` in every layer then calls **your** function.

# %%
with yours("1.2"):
    net = small_net()
    history = train(net)
print(f"trained: loss {history[0]:.2f} → {history[-1]:.2f}, accuracy {accuracy(net):.1%}")

# %% [markdown]
# ## Broadcasting, undone
#
# A layer adds one bias vector to every row of a batch. NumPy **repeats** the bias without a word: shape (3,)
# is read as (4, 3). So each bias is used 4 times. Four paths lead from L to it, and the chain rule adds over
# paths. What is *repeated* on the way forward is *summed* on the way back.

# %%
rng = np.random.default_rng(3)
g = rng.integers(-3, 4, size=(4, 3)).astype(float)
bias_grad = g.sum(axis=0)
figure, axes = plt.subplots(2, 1, figsize=(5.2, 3.6), layout="constrained", height_ratios=(4, 1))
panels = (
    (g, "g = ∂L/∂y\nshape (4, 3)\none row for\neach example"),
    (bias_grad[None, :], "∂L/∂bias\nshape (3,)"),
)
for ax, (array, text) in zip(axes, panels):
    ax.imshow(array, cmap="RdBu_r", vmin=-8, vmax=8)
    for (row, column), number in np.ndenumerate(array):
        ax.text(column, row, f"{number:.0f}", ha="center", va="center", fontsize=12)
    ax.text(2.7, len(array) / 2 - 0.5, text, va="center")
    ax.set(xticks=[], yticks=[], xlim=(-0.5, 4.5))
    ax.spines[:].set_visible(False)
axes[1].set_title("each column summed  ↓", fontsize=10, loc="left")
plt.show()

# %% [markdown]
# NumPy's rule has two cases, and they can come together:
#
# 1. **A new axis in front.** (3,) is read as (4, 3). Sum over the new axis; it disappears.
# 2. **An axis of length 1.** (4, 1) is read as (4, 3). Sum over this axis; it stays, with length 1.
#
# ### Exercise 1.3 · `unbroadcast`
#
# Write the function that the engine calls after every pullback. `shape` is the shape that the array had
# before it was repeated. If broadcasting could not have made `g.shape` out of it, raise `ShapeError("...")`:
# then something is wrong, and silence would hide it.


# %% exercise="1.3"
def unbroadcast(g, shape):
    """Sum g over every axis along which an array of `shape` was repeated.

    Shapes: g (...) -> `shape`.  Example: g (2, 3, 4) and shape (3, 1): sum over axes 0 and 2.
    """
    ...


# %% check="1.3"
check("1.3")

# %% [markdown]
# ## The walk
#
# We have the pieces: nodes with pullbacks, and `unbroadcast`. Now the engine itself. In which order do we
# visit the tensors? A tensor's gradient is complete only when every op that *read* it has been visited. Each
# such op was applied *later*. So: sort by time, latest first. Then every gradient is complete when we come to
# it. No recursion is needed, so depth is no problem. This is the order for our little loss:

# %%
w, x, b = (Tensor(number, requires_grad=True) for number in (2.0, 3.0, -1.0))
L = (w * x + b - 7.0) ** 2
for tensor in latest_first(L):
    made = "an input" if tensor.node is None else f"made by {tensor.node.name}"
    print(f"value {tensor.item():5.1f}   {made}")

# %% [markdown]
# And this is an expression in which tensors are read more than once: y three times, x twice. Follow the
# arrows backward, and see where gradients must meet and be *added*.

# %%
x = Tensor(0.5, requires_grad=True)
y = x * 3.0
x.name, y.name = "x", "y"
(y * y + ops.exp(y) * x).graph()

# %% [markdown]
# ### Exercise 1.4 · the walk
#
# All is written but one step. `gradients` maps `id(tensor)` to the gradient collected so far. When the walk
# is at `tensor`, with its complete gradient g, each input `source` gets a part: `pullback(g)`. Store it under
# `id(source)`. Think of two things: x·x reads x twice, and the part may have been broadcast (use
# `package_unbroadcast(part, source.shape)`, or your own from exercise 1.3).


# %% exercise="1.4"
def backpropagate(output, g):
    """Yield (tensor, ∂L/∂tensor), latest first; g is ∂L/∂output."""
    gradients = {id(output): g}
    for tensor in latest_first(output):
        g = gradients.pop(id(tensor))  # complete: all that read this tensor came before
        yield tensor, g
        if tensor.node is None:
            continue  # an input: the walk ends here
        for source, pullback in zip(tensor.node.inputs, tensor.node.pullbacks):
            if pullback is None:
                continue  # this input needs no gradient
            # BEGIN SOLUTION
            part = package_unbroadcast(pullback(g), source.shape)
            gradients[id(source)] = gradients.get(id(source), 0) + part
            # INSTEAD
            gradients[id(source)] = ...
            # END SOLUTION


# %% check="1.4"
check("1.4")

# %% [markdown]
# ## How to test a rule, and how not to
#
# Your friend has written a rule for `softmax`, y = eˣ / Σ eˣ, and has tested it: "I called
# `y.sum().backward()`, and the gradient agrees with central differences to the last digit." Then g = ∂L/∂y is
# all ones. Here is the rule, and the test:

# %%
almost_softmax = load(find(1) / "material.py").almost_softmax
print(inspect.getsource(almost_softmax))

scores, ones = np.array([2.0, 0.0, -1.0]), np.ones(3)
y, (friend,) = almost_softmax(scores)
_, (package,) = ops.softmax.rule(scores)
print("with g = ones, the friend's pullback gives ", friend(ones))
print("with g = ones, the package's pullback gives", package(ones).round(15))

# %% [markdown]
# Both are 0, and rightly: the outputs of softmax always sum to 1, so the slope of their sum is 0. But the
# two rules are not the same. Compare the formulas:
#
#     right:      ∂L/∂x = y · (g − Σ g·y)
#     friend's:   ∂L/∂x = y · (g − mean of g)
#
# ### Exercise 1.5 · explain this failure
#
# Give the test that the friend should have made: scores x and an incoming gradient g, three numbers each, on
# which the two rules differ clearly. An explanation in one sentence is then easy; say it to your neighbour.


# %% exercise="1.5"
def witness():
    """Scores x and an incoming gradient g, three numbers each, that show the friend's mistake."""
    x = np.array([..., ..., ...])
    g = np.array([..., ..., ...])
    return x, g


# %% check="1.5"
check("1.5")

# %% [markdown]
# In practice nobody searches for such numbers: a **random** g finds the mistake. That is what the package's
# `gradcheck` does. It names the argument, the index, and both numbers. Why is one random g enough? The two
# rules differ by y times (Σ g·y − mean of g). This bracket is 0 only if g lies in one plane, and a random g
# does not. The curve turns g away from (1, 1, 1): the mistake hides only at the angle that people test.

# %%
gradcheck(ops.softmax, scores)
print("the package's softmax: passed")
try:
    gradcheck(differentiable(almost_softmax), scores)
except AssertionError as problem:
    print("the friend's softmax:", problem)

angles = np.linspace(-90, 90, 181)
constant = np.ones(3) / np.sqrt(3)
other = np.array([1.0, -1.0, 0.0]) / np.sqrt(2)  # at a right angle to it; both have length 1
mixed = [np.cos(np.radians(a)) * constant + np.sin(np.radians(a)) * other for a in angles]
figure, ax = plt.subplots(figsize=(6.5, 2.8), layout="constrained")
ax.plot(angles, [abs(friend(g) - package(g)).max() for g in mixed])
ax.annotate(
    "g = ones: the mistake\ncannot be seen", (0, 0), (0, 0.35), arrowprops={"arrowstyle": "->"}, ha="center"
)
ax.set(
    xlabel="angle between g and (1, 1, 1), degrees", ylabel="largest difference", xticks=range(-90, 91, 30)
)
plt.show()

# %% [markdown]
# ## All together, on real digits
#
# Now the engine runs on everything that you have written so far: your rule, your `unbroadcast`, your walk.

# %%
with yours("1.2", "1.3", "1.4"):
    net = small_net()
    history = train(net)
print(f"accuracy on the test images: {accuracy(net):.1%}")

# %% [markdown]
# Is its gradient right? We compare 300 of the 2,410 derivatives with central differences, in float64.

# %%
images, labels = digits.train.images[:64].astype(np.float64), digits.train.labels[:64]
weights = [Tensor(p.data.astype(np.float64), requires_grad=True) for p in net.parameters()]


def loss_at(arrays):
    """The loss of the small net on 64 images, from its four arrays."""
    w1, b1, w2, b2 = arrays
    hidden = ops.relu(ops.linear(Tensor(images.reshape(64, -1)), w1, b1))
    return losses.cross_entropy(ops.linear(hidden, w2, b2), labels)


def difference(which, index, h=1e-5):
    """The central difference of the loss in one weight: two forward passes."""
    values = []
    for sign in (1, -1):
        arrays = [t.data.copy() for t in weights]
        arrays[which].flat[index] += sign * h
        with no_grad():
            values.append(loss_at([Tensor(array) for array in arrays]).item())
    return (values[0] - values[1]) / (2 * h)


one_look = best_time(lambda: loss_at(weights), repeats=20)  # forward only
one_walk = best_time(lambda: loss_at(weights).backward(), repeats=20)  # forward and backward
for t in weights:
    t.grad = None  # backward() adds, and it has been called often by now
loss_at(weights).backward()

sizes = [t.size for t in weights]
which = rng.choice(4, size=300, p=[0.4, 0.1, 0.4, 0.1])
places = [(k, int(rng.integers(sizes[k]))) for k in which]
slow = np.array([difference(k, i) for k, i in places])
all_slow = best_time(lambda: difference(*places[0]), repeats=20) * sum(sizes)
fast = np.array([weights[k].grad.flat[i] for k, i in places])

figure, (left, middle, right) = plt.subplots(1, 3, figsize=(10, 3.2), layout="constrained")
left.semilogy(history, lw=0.7)
left.set(title="training", xlabel="step", ylabel="loss")
middle.plot(1e3 * slow, 1e3 * fast, ".", ms=4)
middle.axline((0, 0), slope=1, color="0.7", lw=1, zorder=0)
middle.set(
    title="300 derivatives, two ways", xlabel="by differences, in 1/1000", ylabel="by one walk, in 1/1000"
)
bars = right.bar(["one walk", "differences"], [one_walk, all_slow], color=["C0", "C3"])
right.bar_label(bars, fmt="{:,.1f} ms", fontsize=9)
right.set(
    yscale="log",
    title=f"time for all {sum(sizes):,}",
    ylabel="milliseconds, log scale",
    ylim=(one_walk / 3, all_slow * 3),
)
plt.show()
print(f"largest difference: {abs(fast - slow).max():.1e}")
print(f"forward and backward: {one_walk / one_look:.1f} times as long as forward alone")
print(f"differences: {all_slow / one_walk:,.0f} times as long as forward and backward")

# %% [markdown]
# Differences need two forward passes *for each weight*, here 4,820 of them. The walk needs one forward and
# one backward pass *for all*. With a million weights, only the walk is possible. This is why reverse mode,
# also called **backpropagation**, made deep learning possible.
#
# ## Wrong ways
#
# ### Wrong way 1: overwrite instead of add
#
# In many short tutorials, the walk writes `grad = part` where it should *add* `part`. We run that engine on
# three problems:
#
# 1. the small net;
# 2. a net with skip connections, h ← h + relu(W h), three times with the same W: tensors are read twice;
# 3. the small net with an L2 penalty, 0.001 · Σ w²: each weight is read by its layer *and* by the penalty.

# %%
overwriting = load(find(1) / "wrong_answers.py").overwritten


class SkipNet(nn.Module):
    def __init__(self):
        self.first, self.shared, self.last = (
            nn.Linear(64, 32, rng=0),
            nn.Linear(32, 32, rng=2),
            nn.Linear(32, 10, rng=1),
        )

    def forward(self, x):
        h = ops.relu(self.first(ops.reshape(Tensor(x), shape=(x.shape[0], -1))))
        for _ in range(3):
            h = h + ops.relu(self.shared(h))
        return self.last(h)


def l2(net):
    return sum((p * p).sum() for p in net.parameters()) * 0.001


problems = {
    "small net": (small_net, {}),
    "skip connections": (SkipNet, {"lr": 0.02}),
    "L2 penalty": (small_net, {"penalty": l2}),
}
found = {}
for name, (make, settings) in problems.items():
    honest, broken = make(), make()
    train(honest, **settings)
    with installed(autograd.backpropagate, overwriting):
        train(broken, **settings)
    found[name] = accuracy(honest), accuracy(broken)
    print(f"{name:17} adding {found[name][0]:6.1%}    overwriting {found[name][1]:6.1%}")

figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
at = np.arange(len(found))
for shift, label, which in ((-0.2, "adding", 0), (0.2, "overwriting", 1)):
    bars = ax.bar(
        at + shift, [100 * pair[which] for pair in found.values()], 0.38, label=label, color=f"C{3 * which}"
    )
    ax.bar_label(bars, fmt="%.1f", fontsize=9)
ax.set(xticks=at, xticklabels=list(found), ylabel="test accuracy, %", ylim=(0, 125), yticks=range(0, 101, 25))
ax.legend(frameon=False, ncols=2, loc="upper right")
plt.show()

# %% [markdown]
# This is worth a minute. On the small net, the broken engine is **exactly** as good: there, no tensor is read
# twice, so nothing is ever overwritten. The mistake sleeps. It wakes when the model changes: with skip
# connections some accuracy is lost, and one may blame the learning rate for it. With the penalty, the last
# write wins: the loss's own gradient is replaced by that of the penalty. The weights only shrink, and the net
# guesses. *A net that trains is no proof that its gradients are right.* Central differences are.
#
# ### Wrong way 2: forget to set the gradients to zero
#
# `backward()` **adds** to `grad`. That is right: a sum has as its gradient the sum of gradients. But before
# a new step, the old sum must go. Without `zero_grad()`, step n follows the sum of *all* n gradients so far.

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained", sharey=True)
for ax, lr in zip(axes, (0.1, 0.02)):
    for zero_grad, colour in ((True, "C0"), (False, "C3")):
        net = small_net()
        history = train(net, lr=lr, momentum=0, zero_grad=zero_grad)
        label = f"{'with' if zero_grad else 'without'} zero_grad(): {accuracy(net):.1%}"
        ax.plot(np.convolve(history, np.ones(10) / 10, mode="valid"), color=colour, label=label)
    ax.set(title=f"lr = {lr}", xlabel="step", yscale="log", ylim=(0.02, 10))
    ax.legend(frameon=False, title="test accuracy", fontsize=9, loc="lower left")
axes[0].set_ylabel("loss, mean of 10 steps")
plt.show()

# %% [markdown]
# On the left it goes wrong, as it should. On the right, the wrong way *wins*! Why? A sum of all past
# gradients is momentum with factor 1: nothing is ever forgotten. With a small learning rate that is a large
# help at the start. So a mistake can even look like an improvement. Lesson 4 does the same on purpose, with a
# factor below 1, so that it stays stable.
#
# ### Wrong way 3: check a float32 gradient with a tiny step
#
# The second figure showed the valley of the step h, in float64. In float32 the rounding is 5·10⁸ times
# larger. A "check" with h = 10⁻⁷ then compares your rule with noise:

# %%
for dtype in (np.float32, np.float64):
    for h in (1e-2, 1e-4, 1e-7):
        value, step = dtype(2.0), dtype(h)
        slope = (np.exp(value + step) - np.exp(value - step)) / (dtype(2) * step)
        error = abs(float(slope) - np.exp(2.0)) / np.exp(2.0)
        print(f"{dtype.__name__}  h = {h:.0e}   relative error of the slope of exp at 2: {error:.1e}")

# %% [markdown]
# ## In PyTorch
#
# What you have written has the same names there:
#
# ```python
# w = torch.tensor(2.0, requires_grad=True)
# L = (w * 3.0 - 1.0 - 7.0) ** 2
# L.backward(); print(w.grad)                  # tensor(-12.)
# ```
#
# A rule with its pullback is a `torch.autograd.Function` with `forward` and `backward`; `gradcheck` is
# `torch.autograd.gradcheck`.
#
# ## Questions
#
# 1. `x.grad` after two calls of `backward()` on the same loss: what is it, and why is this useful?
# 2. The walk goes from the *output* to the inputs. For which functions would the other direction be cheaper?
# 3. Which forward numbers do the pullbacks of `mul` keep? And those of `add`? What does that mean for memory?
# 4. Why is `g = 1` a bad test for softmax, and a good start for a loss?
# 5. relu has no derivative at 0. Why does training not suffer?
#
# BEGIN SOLUTION
# **Answers.**
#
# 1. Twice the gradient: `backward` adds. So the gradient of a large batch can be collected from small parts.
# 2. For functions of few inputs with many outputs. Forward mode needs one pass for each input, reverse mode
#    one for each output.
# 3. `mul` keeps both its inputs, `add` none. Memory for training grows with the number of ops that keep them.
# 4. The outputs of softmax sum to 1, so the slope of their sum is 0 whatever the rule does. A loss is one
#    number, and ∂L/∂L = 1.
# 5. A float is hardly ever exactly 0; and if it is, any slope between 0 and 1 is a usable direction.
# END SOLUTION
#
# ## Sources
#
# - A. Griewank and A. Walther (2008), *Evaluating Derivatives: Principles and Techniques of Algorithmic
#   Differentiation*, 2nd ed., SIAM.
# - A. G. Baydin, B. A. Pearlmutter, A. A. Radul and J. M. Siskind (2018), "Automatic Differentiation in
#   Machine Learning: a Survey", *Journal of Machine Learning Research* 18(153), 1–43.
# - D. E. Rumelhart, G. E. Hinton and R. J. Williams (1986), "Learning representations by back-propagating
#   errors", *Nature* 323, 533–536.
# - K. Simonyan, A. Vedaldi and A. Zisserman (2013), "Deep Inside Convolutional Networks: Visualising Image
#   Classification Models and Saliency Maps", arXiv:1312.6034 (the maps of the first figure).
#
# **Read on in the source:** `tinyopt/autograd.py` is the whole engine, about a hundred lines. You have now
# written half of it.

"""What lesson 0 and its tests share: the references of 0.1 and 0.5, and the drawings."""

import time

import matplotlib.pyplot as plt
import numpy as np


def predict():
    """What NumPy finds for the five questions of exercise 0.1."""
    x = np.array([[1, 2, 3], [4, 5, 6]])
    return (
        (np.zeros((5, 1, 8)) + np.zeros((3, 1))).shape,
        tuple(x.sum(axis=1).tolist()),
        (x - x.max(axis=1, keepdims=True)).tolist(),
        tuple(x.reshape(3, 2)[1].tolist()),
        tuple(x.T[1].tolist()),
    )


QUESTIONS = (
    "the shape of a + b", "x.sum(axis=1)", "x − x.max(axis=1, keepdims=True)", "x.reshape(3, 2)[1]", "x.T[1]"
)  # fmt: skip
TRAPS = {  # (question, wrong answer) -> what was mixed up
    (0, (5, 1, 8)): "A length 1 is repeated: 1 and 3 give 3.",
    (0, (3, 1, 8)): "The shapes are aligned on the right, not on the left: (3, 1) is read as (1, 3, 1).",
    (0, (15, 8)): "Axes are never joined: the result has as many axes as the longer shape.",
    (1, (5, 7, 9)): "That is axis 0. The axis that you name disappears: axis 1 counts the columns.",
    (1, (21,)): "That is the sum of all. axis=1 keeps one sum for each row.",
    (2, (-3, -3, -3, 0, 0, 0)): "You took the largest of each column. axis=1 gives the largest of each row.",
    (2, (-5, -4, -3, -2, -1, 0)): "You took the largest of all. axis=1 gives the largest of each row.",
    (3, (2, 5)): "reshape is no transpose: it cuts the line 1 2 3 4 5 6 into other pieces.",
    (4, (3, 4)): "A transpose is no reshape: what was a column of x is now a row.",
    (3, (1, 2)): "That is the first row; the index 1 is the second.",
    (4, (1, 4)): "That is the first row; the index 1 is the second.",
}


def witness():
    """Perfect predictions and their targets, on which the friend's loss is not 0."""
    t = np.array([1.0, 2.0, 3.0])
    return t[:, np.newaxis], t


def friends_loss(y, t):
    """The friend's mean squared error: nothing here asks for the shapes."""
    return ((y - t) ** 2).mean()


def slow_moments(x):
    """The oracle: one channel at a time, as a list of numbers."""
    lists = [[float(v) for v in np.take(x, c, axis=1).flat] for c in range(x.shape[1])]
    means = [sum(values) / len(values) for values in lists]
    variances = [sum((v - m) ** 2 for v in values) / len(values) for values, m in zip(lists, means)]
    return np.array(means), np.array(variances)


SHADES = ["#1f77b4", "#17a2b8", "#2ca02c", "#bcbd22", "#ff7f0e", "#d62728"]  # for the numbers 1 to 6


def draw(ax, array, x, name, colour="C0", ghost=False):
    """Draw a 1-D or 2-D array as cells, its upper left corner at (x, 0), its name above it.

    `ghost`: True where a cell is no memory of its own, only repeated; such cells are pale.
    """
    rows = np.atleast_2d(array)
    pale = np.broadcast_to(ghost, rows.shape)
    for (i, j), value in np.ndenumerate(rows):
        face = SHADES[value - 1] if colour == "by value" else colour
        alpha, ink = (0.08, "0.65") if pale[i, j] else (0.35, "black")
        corners = [x + j, x + j + 1, x + j + 1, x + j], [-i, -i, -i - 1, -i - 1]
        ax.fill(*corners, facecolor=face, alpha=alpha)
        ax.fill(*corners, fill=False, edgecolor="white", lw=2)
        ax.text(x + j + 0.5, -i - 0.5, f"{value:g}", ha="center", va="center", color=ink)
    ax.text(x + rows.shape[1] / 2, 0.2, name, ha="center", va="bottom", fontsize=9)
    return rows.shape


def sheet(width, height):
    """A figure without axes: x from 0 to `width`, y from −`height` to 1."""
    figure, ax = plt.subplots(figsize=(0.6 * width, 0.6 * height + 0.7), layout="constrained")
    ax.set(xlim=(-0.1, width), ylim=(-height - 0.1, 0.9), aspect="equal")
    ax.axis("off")
    return ax


def draw_all(*panels):
    """Draw arrays side by side: each panel is (array, name, colour)."""
    shapes = [np.atleast_2d(array).shape for array, *_ in panels]
    widths = [max(columns, 3.3) for _, columns in shapes]  # room for the name
    ax = sheet(sum(widths) + 0.6 * len(panels), max(rows for rows, _ in shapes))
    at = 0.0
    for (array, name, colour), (_, columns), width in zip(panels, shapes, widths):
        draw(ax, array, at + (width - columns) / 2, name, colour)
        at += width + 0.6
    plt.show()


def draw_broadcast(a, b):
    """Draw a + b for a (4, 1) and b (3,): what is repeated is pale."""
    ax = sheet(12.2, 4)
    draw(ax, np.broadcast_to(a, (4, 3)), 0, "a, shape (4, 1)", "C0", ghost=np.arange(3) > 0)
    draw(ax, np.broadcast_to(b, (4, 3)), 4.5, "b, shape (3,)", "C1", ghost=np.arange(4)[:, np.newaxis] > 0)
    draw(ax, a + b, 9, "a + b, shape (4, 3)", "C2")
    for at, sign in ((3.75, "+"), (8.25, "=")):
        ax.text(at, -2, sign, ha="center", va="center", fontsize=16)
    plt.show()


def show(axes, images, titles=(), most=None, signed=False):
    """Show images (N, H, W) in a row: ink is dark, from 0 to `most`; signed: red above 0, blue below."""
    settings = {"cmap": "RdBu_r", "vmin": -most} if signed else {"cmap": "gray_r", "vmin": 0}
    for ax, image in zip(axes, images):
        ax.imshow(image, vmax=most, **settings)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set(visible=True, color="0.8")
    for ax, title in zip(axes, titles):
        ax.set_title(title, fontsize=10)


def draw_rows(named):
    """Rows of 8×8 pictures, {name: (N, 64)}."""
    figure, axes = plt.subplots(2, 6, figsize=(7, 2.5), layout="constrained")
    for row, (name, pictures) in zip(axes, named.items()):
        show(row, pictures.reshape(-1, 8, 8))
        row[0].set_ylabel(name)
    plt.show()


def accuracy(found, labels):
    """The share of right answers and its standard error, as text."""
    p = (found == labels).mean()
    return f"{p:.1%} ± {np.sqrt(p * (1 - p) / labels.size):.1%}"


def draw_distances(rows, x, distances, labels):
    """Some pictures, and their distances to the ten means; the nearest is marked."""
    figure, axes = plt.subplots(2, 1, figsize=(7.5, 5), layout="constrained", height_ratios=(1, 8))
    axes[0].imshow(np.hstack(x[rows].reshape(-1, 8, 8)), cmap="gray_r", aspect="auto")
    axes[0].set(xticks=[], yticks=[])
    drawn = axes[1].imshow(distances[rows].T, cmap="viridis_r", aspect="auto")
    for place, row in enumerate(rows):
        said = distances[row].argmin()
        mark, ink = ("✓", "black") if said == labels[row] else ("✗", "red")
        axes[1].text(place, said, mark, ha="center", va="center", color=ink, size=14)
    axes[1].set(xticks=range(len(rows)), xticklabels=labels[rows], yticks=range(10))
    axes[1].set(xlabel="true label of the picture above", ylabel="mean of digit k")
    figure.colorbar(drawn, ax=axes, label="squared distance (✓ ✗: the nearest mean)")
    plt.show()


def milliseconds(work):
    """The shortest of some measured times, since the others were disturbed; a slow work is measured once."""
    times = []
    while len(times) < 20 and sum(times) < 50:
        began = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - began))
    return min(times)


def draw_times(milliseconds):
    """Bars of times, on a log scale."""
    figure, ax = plt.subplots(figsize=(7, 2.2), layout="constrained")
    bars = ax.barh(list(milliseconds), list(milliseconds.values()), color=["C3", "C0", "C2"])
    ax.bar_label(bars, fmt=" {:,.2f} ms", fontsize=9)
    ax.set(xscale="log", xlabel="milliseconds, log scale", xlim=(min(milliseconds.values()) / 3, 3e3))
    ax.invert_yaxis()
    plt.show()


def relative_error(dtype, h, kind):
    """The error of the slope of x³ at 1 by one difference with step h, all of it in this dtype."""
    one, h = dtype(1), dtype(h)
    if kind == "central":
        slope = (cube(one + h) - cube(one - h)) / (2 * h)
    else:
        slope = (cube(one + h) - cube(one)) / h
    return abs(float(slope) - 3) / 3


def cube(x):
    return x * x * x


def draw_slopes(steps):
    """Left: chords of x³ and its tangent. Right: the error of forward and central differences, measured."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    curve = np.linspace(0, 1.8, 50)
    left.plot(curve, cube(curve), "0.6", label="x³")
    for name, begin in (("forward", 1.0), ("central", 0.5)):
        ends = np.array([begin, 1.5])
        slope = (cube(ends[1]) - cube(ends[0])) / (ends[1] - ends[0])
        left.plot(ends, cube(ends), "o-", label=f"{name}, h = 0.5: {slope:.2f}")
    left.plot([0.6, 1.8], [-0.2, 3.4], "k--", lw=1, label="tangent: 3")
    left.set(xlabel="x", ylabel="x³", ylim=(-0.5, 6))
    for dtype, colour in ((np.float64, "C0"), (np.float32, "C3")):
        for kind, style in (("central", "-"), ("forward", ":")):
            errors = np.maximum([relative_error(dtype, h, kind) for h in steps], 1e-13)
            right.loglog(steps, errors, style, color=colour, label=f"{kind}, {dtype.__name__}")
    right.set(xlabel="step h", ylabel="relative error of the slope", ylim=(1e-13, 30))
    left.legend(frameon=False, fontsize=9)
    right.legend(frameon=False, fontsize=8, loc="lower left")
    plt.show()


def draw_fits(u, t, right_one, friends):
    """Two fits of a line (places visited, loss), and the square of all pairs for the right line."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(10.5, 3.2), layout="constrained")
    ends = np.array([-2.8, 2.8])
    left.plot(u, t[:, 0], ".", color="0.6", ms=4)
    names = "right: (100,) and (100,)", "friend's: (100,) and (100, 1)"
    for (way, loss), colour, name in zip((right_one, friends), ("C0", "C3"), names):
        left.plot(ends, way[-1][0] * ends + way[-1][1], color=colour)
        middle.plot([loss(theta) for theta in way], color=colour, label=name)
    left.set(xlabel="u", ylabel="t", title="the two lines")
    middle.set(xlabel="step", ylabel="loss", ylim=(0, None), title="both losses fall")
    middle.legend(frameon=False, fontsize=8)
    order = np.argsort(u)
    w, b = right_one[0][-1]
    squares = (w * u[order] + b - t[order]) ** 2  # (100, 100)
    drawn = right.imshow(squares, cmap="viridis_r", vmax=20)
    right.set(xlabel="prediction (sorted by u)", ylabel="target (sorted by u)", title="all 100 · 100 pairs")
    figure.colorbar(drawn, ax=right, label="(prediction − t)²", extend="max")
    plt.show()


def draw_change(places, to_means):
    """A picture before and after a walk downhill, the change, and its distance to two means."""
    figure, axes = plt.subplots(1, 4, figsize=(10, 2.7), layout="constrained", width_ratios=(1, 1, 1, 1.7))
    begin, end = (places[at].reshape(8, 8) for at in (0, -1))
    says = [int(row.argmin()) for row in to_means[[0, -1]]]
    show(axes[:2], [begin, end], [f'start: says "{says[0]}"', f'end: says "{says[1]}"'])
    show(axes[2:3], [end - begin], ["the change\n(red: more ink)"], most=1, signed=True)
    for digit, colour in ((3, "C0"), (8, "C3")):
        axes[3].plot(to_means[:, digit], color=colour, label=f"to the mean {digit}")
    axes[3].set(xlabel="step", ylabel="squared distance", title=f"{2 * begin.size} calls of f a step")
    axes[3].legend(frameon=False, fontsize=9)
    plt.show()

"""The exercises of lesson 7 and their tests. Each test's docstring is the property that it asks for.

Glossary: x images (N, C, H, W), kh × kw kernel, p, q place of a window, i, j pixel inside a window.
"""

import operator
from pathlib import Path

import numpy as np

from tinyopt import ops
from tinyopt.course import Wrong, exercise, same, task
from tinyopt.course.draws import central
from tinyopt.course.lessons import load
from tinyopt.ops import conv

material = load(Path(__file__).with_name("material.py"))
numbers, places, windows, put_back = material.numbers, material.places, material.windows, material.put_back

# --- 7.1 numbers, by hand --------------------------------------------------------------------------

exercise(
    "7.1",
    material.predict,
    hides=[ops.conv2d, conv.conv2d_loop, conv.conv2d_im2col, conv.im2col, conv.conv_output_size],
    proves="You found by hand what the layer computes: where each window lies, and what its sum is.",
)
NAMES = ("rows", "columns", "y[0, 0]", "y[1, 1]")


@task("7.1", points=2, hints=[
    "Draw the padded image: 6 rows and 6 columns, zeros all around. Windows start at rows 0, 2, 4.",
    "The first window has three zeros and one pixel of x. Under which number of the kernel does it lie?",
    "y[1, 1] is the window that starts at row 2, column 2 of the padded image: x[1:3, 1:3].",
])  # fmt: skip
def test_the_size_and_two_numbers(ex):
    """Each output is the sum of kernel times window; the windows start every 2 pixels on the padded image."""
    came, due = ex(), np.array(ex.reference(), dtype=float)
    if np.shape(came) != (4,):
        raise Wrong("Four numbers are due: return rows, columns, y_00, y_11")
    given = np.array(came, dtype=float)
    if tuple(given[:2]) == (5, 5):
        raise Wrong("That is the size for stride 1. With stride 2, windows start at rows 0, 2, 4.")
    if tuple(given[:2]) == (2, 2):
        raise Wrong("The padding is missing: with a frame of zeros the image has 6 rows and columns.")
    if tuple(given[2:]) == (3, 9):
        raise Wrong("You turned the kernel by 180°. Here it is laid on the image as it is written.")
    if given[3] == (material.X[:2, :2] * material.W).sum():
        raise Wrong("Your y[1, 1] is the window at x[0, 0]. With padding and stride it starts at x[1, 1].")
    if given[3] == (material.X[2:, 2:] * material.W).sum():
        raise Wrong("Your y[1, 1] is the window at x[2, 2]: the padding moves the windows by one pixel.")
    same(given, due, "a number", labels=NAMES)


# --- 7.2 the size of the output --------------------------------------------------------------------

exercise(
    "7.2",
    conv.conv_output_size,
    hides=[ops.conv2d, ops.max_pool2d, ops.avg_pool2d, conv.conv2d_loop, conv.conv2d_im2col, conv.im2col],
    proves="Your formula counts the places of every kernel, so each layer knows the shape that it makes.",
)


def check_size(ex, *settings):
    """Ask for one size, and compare with places that were counted one by one."""
    size, kernel_size, stride, padding = settings
    came, due = ex(*settings), len(places(*settings))
    what = f"the size for {size} pixels, kernel {kernel_size}, stride {stride}, padding {padding},"
    if came == due + 2 * padding * (stride - 1) // stride and padding and stride > 1:
        raise Wrong("The padded pixels are stepped over too: add the padding before you divide.")
    if came == due - 1:
        raise Wrong("There is one place too few. The first place needs no step: is a + 1 missing?")
    same(came, due, what)


@task("7.2", hints=[
    "A kernel of 3 on a row of 7: its first pixel can lie at 0, 1, 2, 3, 4. How do you get 4 from 7 and 3?",
    "The kernel can move by size − kernel_size pixels. With stride 1, that many steps, and one more place.",
])  # fmt: skip
def test_without_stride_and_padding(ex):
    """With stride 1 and no padding, the last place starts at size − kernel_size."""
    for settings in ((7, 3, 1, 0), (28, 5, 1, 0), (4, 4, 1, 0), (9, 1, 1, 0)):
        check_size(ex, *settings)
    same(ex(7, 3), 5, "the size with stride and padding left at their defaults")


@task("7.2", hints=["Padding is added at both ends of the axis, so the row is 2 · padding longer."])
def test_padding_counts_at_both_ends(ex):
    """Padding p makes the axis longer by 2p."""
    if ex(7, 3, 1, 1) == 6:
        raise Wrong("Padding was counted once. It is added at both ends.")
    for settings in ((7, 3, 1, 1), (8, 5, 1, 2), (1, 3, 1, 1), (6, 2, 1, 3)):
        check_size(ex, *settings)


@task("7.2", points=2, hints=[
    "A stride of 2 makes steps of 2 pixels. If 5 pixels are left to move, 2 whole steps fit.",
    "Whole steps: divide and round down. In Python that is //.",
    "(size + 2 * padding - kernel_size) // stride is the number of steps; one place more than that.",
])  # fmt: skip
def test_only_whole_steps_count(ex):
    """Steps that would leave the padded row do not count: round down, to an integer."""
    came = ex(8, 3, 2, 0)
    try:
        operator.index(came)
    except TypeError:
        raise Wrong("A size is an integer: divide with //, which rounds down.", {"yours": came}) from None
    if came == 4:
        raise Wrong("You rounded up. A kernel that would leave the image has no place there.")
    for settings in ((7, 3, 2, 0), (8, 3, 2, 0), (8, 3, 3, 1), (28, 5, 2, 2), (5, 2, 4, 0), (10, 3, 4, 1)):
        check_size(ex, *settings)


@task("7.2")
def test_every_layer_can_ask_it(ex):
    """Convolution and pooling run on your function, and their outputs have the right shape."""
    x, weight = numbers(2, 3, 9, 8), numbers(4, 3, 3, 3)
    ex(9, 3, 2, 1)
    with ex.installed(), ex.curtain.lifted():
        shapes = ops.conv2d(x, weight, stride=2, padding=1).shape, ops.max_pool2d(x, kernel_size=2).shape
    same(shapes, ((2, 4, 5, 4), (2, 3, 4, 4)), "the shapes of a convolution and of a pooling")


# --- 7.3 im2col ------------------------------------------------------------------------------------

exercise(
    "7.3",
    conv.im2col,
    hides=[ops.conv2d],
    proves="Every window is a column now: your im2col turns a convolution into one matrix product.",
)


def check_columns(ex, shape, kernel_size, stride, padding):
    """Compare every column with its window; name the usual mix-ups."""
    x = numbers(*shape)
    due = np.stack([w.reshape(shape[0], -1) for w in windows(x, kernel_size, stride, padding)], axis=2)
    came = ex(x, kernel_size, stride=stride, padding=padding)
    n_rows = len(places(shape[2], kernel_size[0], stride, padding))
    for says, mixed in material.mixed_up(due, shape, kernel_size, n_rows).items():
        alike = np.shape(came) == mixed.shape and ((came == mixed) | np.isnan(mixed)).all()
        if alike and not np.array_equal(came, due):
            raise Wrong(says)
    what = f"the matrix of windows for x {shape}, kernel {kernel_size}, stride {stride}, padding {padding},"
    same(came, due, what)


@task("7.3", points=2, hints=[
    "Slowly first: for each p and q cut x[:, :, p : p + kh, q : q + kw], and reshape it to (n, c·kh·kw).",
    "np.stack(list_of_windows, axis=2) makes a matrix with these columns.",
    "Fast: make columns = np.empty_like(x, shape=(n, c, kh, kw, p, q)) and loop over i and j.",
    "columns[:, :, i, j] = x[:, :, i : i + p, j : j + q] for stride 1; at the end, reshape.",
])  # fmt: skip
def test_each_column_is_a_window(ex):
    """With stride 1 and no padding, column number p·Q + q is the window at (p, q)."""
    check_columns(ex, (1, 1, 4, 4), (3, 3), 1, 0)
    check_columns(ex, (2, 1, 4, 5), (2, 2), 1, 0)


@task("7.3", hints=[
    "With several channels, a column holds the window of channel 0, then that of channel 1, and so on.",
    "A kernel need not be square: rows go with kh, columns with kw.",
])  # fmt: skip
def test_channels_and_kernels_that_are_not_square(ex):
    """A column holds channel after channel; kh belongs to the height, kw to the width."""
    check_columns(ex, (2, 3, 4, 5), (2, 2), 1, 0)
    check_columns(ex, (1, 2, 5, 6), (2, 3), 1, 0)


@task("7.3", hints=[
    "The window at (p, q) starts at row p·sh and column q·sw.",
    "In a slice: x[:, :, i : i + sh * p : sh, ...] takes p rows, each sh further than the one before.",
])  # fmt: skip
def test_stride(ex):
    """Windows start every `stride` pixels."""
    x = numbers(1, 1, 6, 6)
    if np.array_equal(np.array(ex(x, 2, stride=2, padding=0))[0, 0], x[0, 0, :3, :3].ravel()):
        raise Wrong("The windows start at every pixel; with stride 2 they start at every second one.")
    check_columns(ex, (1, 2, 6, 7), (3, 2), 2, 0)
    check_columns(ex, (1, 1, 8, 6), (2, 2), 3, 0)


@task("7.3", hints=["np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw))) pads both ends of H and W alone."])
def test_padding(ex):
    """Around the images lie zeros, at all four sides, and none between channels or images."""
    x = numbers(2, 2, 3, 3)
    came = np.array(ex(x, 3, stride=1, padding=1))
    if came.shape == (2, 18, 9) and came[0, 0, 0] != 0:
        raise Wrong("The first window starts in the frame: its first number is a zero of the padding.")
    check_columns(ex, (2, 2, 3, 4), (3, 3), 1, 1)
    check_columns(ex, (1, 2, 4, 5), (3, 2), 2, 1)


@task("7.3")
def test_a_convolution_runs_on_it(ex):
    """One product with your columns is the convolution of the slow loops, in float32 too."""
    x, weight = numbers(2, 3, 6, 5).astype(np.float32), numbers(4, 3, 3, 2, seed=3).astype(np.float32)
    came = ex(x, (3, 2), stride=2, padding=1)
    if getattr(came, "dtype", None) != np.float32:
        raise Wrong("float32 went in: a float32 network must stay float32.")
    with ex.installed():
        y, _ = conv.conv2d_im2col(x, weight, stride=2, padding=1)
    same(y, conv.conv2d_loop(x, weight, stride=2, padding=1), "the convolution", rtol=1e-4)


# --- 7.4 col2im ------------------------------------------------------------------------------------

exercise(
    "7.4",
    conv.col2im,
    hides=[ops.conv2d],
    proves="Each pixel gets the sum over all windows that read it: deep networks learn on your col2im.",
)


def check_image(ex, shape, kernel_size, stride, padding):
    """Compare with the slow oracle; name a missing sum, a mean, and a frame that is cut in a wrong way."""
    settings = kernel_size, stride, padding
    n_places = len(places(shape[2], kernel_size[0], stride, padding))
    n_places *= len(places(shape[3], kernel_size[1], stride, padding))
    columns = numbers(shape[0], shape[1] * kernel_size[0] * kernel_size[1], n_places)
    due = put_back(columns, shape, *settings)
    came = ex(columns, shape[2:], kernel_size, stride=stride, padding=padding)
    if np.shape(came) == (*shape[:2], shape[2] + 2 * padding, shape[3] + 2 * padding) and padding:
        raise Wrong("The frame of the padding is still there: cut it off, so that H × W pixels are left.")
    if 0 in np.shape(came):
        raise Wrong("No pixel is left. Where ph is 0, the slice ph:-ph is 0:0: cut by ph : ph + height.")
    if np.shape(came) == (*shape[:2], shape[2] - padding, shape[3] - padding) and padding:
        raise Wrong("The cut ends too early. With the frame, the last row of the image is ph + height - 1.")
    if np.shape(came) == shape:
        counts = np.maximum(put_back(np.ones_like(columns), shape, *settings), 1)
        overwritten = [put_back(columns, shape, *settings, add=False)]
        overwritten += [material.assigned(columns, shape[2:], kernel_size, stride=stride, padding=padding)]
        if (counts > 1).any() and any(np.allclose(came, wrong) for wrong in overwritten):
            raise Wrong("Where windows overlap, one replaced the other. A pixel gets the sum: += and not =.")
        if (counts > 1).any() and np.allclose(came, due / counts):
            raise Wrong("It takes the mean over the windows. The chain rule adds: the sum.")
    same(came, due, f"the image {shape}, kernel {kernel_size}, stride {stride}, padding {padding},")


@task("7.4", hints=[
    "Reshape the columns to (n, c, kh, kw, p, q): then columns[:, :, i, j] is pixel (i, j) of all windows.",
    "Start from x = np.zeros_like(columns, shape=(n, c, height + 2·ph, width + 2·pw)).",
    "Use the same slice of x as in im2col, but on the left side of the assignment.",
])  # fmt: skip
def test_windows_that_do_not_overlap_go_back_to_their_places(ex):
    """With stride = kernel size, col2im only moves numbers back: it undoes im2col."""
    check_image(ex, (1, 1, 4, 4), (2, 2), 2, 0)
    check_image(ex, (2, 3, 4, 6), (2, 2), 2, 0)
    check_image(ex, (2, 2, 4, 6), (2, 3), 2, 0)


@task("7.4", points=2, hints=[
    "A pixel that four windows read has four paths to the loss. What does the chain rule do with them?",
    "x[...] += columns[:, :, i, j] and not x[...] = columns[:, :, i, j]",
])  # fmt: skip
def test_overlaps_add_up(ex):
    """Where windows overlap, a pixel gets the sum over all of them."""
    check_image(ex, (1, 1, 3, 3), (2, 2), 1, 0)
    check_image(ex, (2, 3, 4, 5), (3, 2), 1, 0)
    check_image(ex, (1, 2, 6, 5), (3, 3), 2, 0)


@task("7.4", hints=["What fell on the padding is dropped: x[:, :, ph : ph + height, pw : pw + width]"])
def test_the_frame_is_cut_off(ex):
    """With padding, the image comes back in its own size, and pixels that no window reads get 0."""
    check_image(ex, (2, 2, 3, 4), (3, 3), 1, 1)
    check_image(ex, (1, 2, 6, 5), (3, 2), 2, 1)
    check_image(ex, (1, 1, 6, 8), (2, 2), 3, 0)


@task("7.4", points=2, hints=[
    "im2col is linear: a matrix A times x. Its gradient is the transpose of A, and that is col2im.",
])  # fmt: skip
def test_it_is_the_gradient_of_a_convolution(ex):
    """The gradient of the image agrees with central differences of the slow convolution, in float64."""
    x, weight, g = numbers(1, 2, 5, 4), numbers(3, 2, 3, 3, seed=4), numbers(1, 3, 3, 2, seed=6)
    settings = {"stride": 2, "padding": 1}
    slope = central(lambda x: conv.conv2d_loop(x, weight, **settings), x, g, h=1e-4)
    if np.array(ex(numbers(1, 18, 6).astype(np.float32), (5, 4), 3, **settings)).dtype != np.float32:
        raise Wrong("float32 went in: the gradient must stay float32. Make zeros_like the columns.")
    with ex.installed():
        came = conv.conv2d_im2col(x, weight, **settings)[1][0](g)
    due = np.array([slope(index) for index in np.ndindex(x.shape)]).reshape(x.shape)
    same(came, due, "the gradient of the image", slope=slope, rtol=1e-5, atol=1e-5)


# --- 7.5 explain this failure ----------------------------------------------------------------------

exercise(
    "7.5",
    material.witness,
    hides=[conv.col2im],
    proves="You found why the test passed: with stride = kernel size no windows overlap.",
)


@task("7.5", points=2, hints=[
    "The two windows are columns 0, 1 and columns 1, 2 of the image. Which pixels do both of them read?",
    "Pixel (0, 1) of the image is pixel (0, 1) of the first window and pixel (0, 0) of the second.",
    "In the matrix these are columns[1, 0] and columns[0, 1]. The friend keeps one; due is the sum.",
])  # fmt: skip
def test_witness_shows_the_mistake(ex):
    """At this pixel two windows overlap, the sum is due, and the friend's number is another one."""
    columns, (row, column), due = material.taken_apart(ex())
    right = put_back(columns[None], (1, 1, 2, 3), (2, 2), 1, 0)[0, 0, row, column]
    friend = material.assigned(columns[None], (2, 3), 2)[0, 0, row, column]
    facts = {"yours": f"{due:g}", "the friend's": f"{friend:g}"}
    if column != 1:
        raise Wrong("Only one window reads this pixel: there is nothing to add, the friend is right.", facts)
    if not np.isclose(friend, due) and np.isclose(due, (columns[2 * row + 1, 0] + columns[2 * row, 1]) / 2):
        raise Wrong("You give the mean of the two numbers. Due is their sum.", facts)
    if np.isclose(friend, right):
        raise Wrong("Here the friend is right: the number that is lost is 0. Take other columns.", facts)
    if np.isclose(friend, due):
        raise Wrong("That is the number that the friend gives. Due is the sum over both windows.", facts)
    if not np.isclose(due, right):
        first, second = columns[2 * row : 2 * row + 2]  # pixels (row, 0) and (row, 1) of both windows
        if np.isclose(due, (first.sum(), second.sum())).any():
            raise Wrong("You added the same place of both windows. The second window lies one pixel further "
                        "right: in it, this pixel of the image has another place.", facts)  # fmt: skip
        if np.isclose(due, first[0] + second[1]):
            raise Wrong("These two numbers belong to columns 0 and 2 of the image. What did each window "
                        "read in column 1?", facts)  # fmt: skip
    same(due, right, "the number due at this pixel")

"""What the tests of lesson 7 and its notebook share: the references of 7.1 and 7.5, and the wrong ways."""

import numpy as np
from matplotlib.patches import Rectangle

from tinyopt import ops
from tinyopt.course import Wrong, same
from tinyopt.course.compare import NotWritten
from tinyopt.ops import conv

X = np.array([[3, 1, 0, 2], [4, 2, 1, 0], [0, 3, 5, 1], [2, 0, 1, 1]])  # the image of exercise 7.1
W = np.array([[1, 2], [0, -1]])  # and its kernel


def numbers(*shape, seed=1):
    """Whole numbers from −9 to 9 as floats, none of them 0: easy to read in a message."""
    x = np.random.default_rng(seed).integers(1, 10, size=shape).astype(float)
    x *= np.random.default_rng(seed + 1).choice([-1, 1], size=shape)
    x.setflags(write=False)  # the engine's arrays are frozen too
    return x


# --- slow oracles: window by window ---


def places(size, kernel_size, stride, padding):
    """The slow oracle: the kernel's first pixel at each place along one axis, counted in the padded row."""
    return [first for first in range(size + 2 * padding) if first % stride == 0
            and first + kernel_size <= size + 2 * padding]  # fmt: skip


def windows(x, kernel_size, stride, padding):
    """The slow oracle: a list of all windows (N, C, kh, kw), row by row, as slices of a padded copy."""
    n, c, height, width = x.shape
    framed = np.zeros((n, c, height + 2 * padding, width + 2 * padding))
    framed[:, :, padding : padding + height, padding : padding + width] = x
    kh, kw = kernel_size
    tops, lefts = places(height, kh, stride, padding), places(width, kw, stride, padding)
    return [framed[:, :, top : top + kh, left : left + kw] for top in tops for left in lefts]


def put_back(columns, shape, kernel_size, stride, padding, add=True):
    """The slow oracle: window by window into a padded image, added or (a mistake) written over."""
    n, c, height, width = shape
    framed = np.zeros((n, c, height + 2 * padding, width + 2 * padding))
    kh, kw = kernel_size
    tops, lefts = places(height, kh, stride, padding), places(width, kw, stride, padding)
    for number, (top, left) in enumerate((top, left) for top in tops for left in lefts):
        window = framed[:, :, top : top + kh, left : left + kw]
        window[...] = window * add + columns[:, :, number].reshape(window.shape)
    return framed[:, :, padding : padding + height, padding : padding + width]


def mixed_up(due, shape, kernel_size, n_rows):
    """The right columns in the classic wrong orders: what to say -> the array, NaN where nothing is written.

    `n_rows` is P, the number of rows of the output.
    """
    n, c, kk, places = shape[0], shape[1], int(np.prod(kernel_size)), due.shape[2]
    blocks = due.reshape(n, c, kk, places)
    p, q = np.divmod(np.arange(places), places // n_rows)  # of each window
    by_height = np.full_like(due, np.nan)
    for old, new in enumerate(p * n_rows + q):
        if new < places:
            by_height[:, :, new] = due[:, :, old]
    turned = blocks.reshape(n, c, *kernel_size, places)[:, :, ::-1, ::-1].reshape(due.shape)
    return {
        "Windows lie in the rows. Here each window is a column: (N, C·kh·kw, P·Q).": due.swapaxes(1, 2),
        "The pixels were read in another shape, but no axis was moved: reshape is not a transpose. "
        "Put (i, j) before (p, q).": blocks.swapaxes(2, 3).reshape(due.shape),
        "The order inside a column is (i, j, c). PyTorch's is (c, i, j): channel 0 comes first.":
            blocks.swapaxes(1, 2).reshape(due.shape),
        "Each window is turned by 180°: pixel (i, j) of the window is x[p·s + i, q·s + j].": turned,
        "Window (p, q) went to column p·P + q. A row of the output has Q windows, not P: p·Q + q.": by_height,
        "The windows are read column by column. Row by row is due: all q of p = 0 come first.":
            due[:, :, np.argsort(q, kind="stable")],
    }  # fmt: skip


# --- references of exercises that are no function of the package ---


def predict():
    """What the package finds for X and W with stride 2 and padding 1."""
    y = ops.conv2d(X.reshape(1, 1, 4, 4) * 1.0, W.reshape(1, 1, 2, 2) * 1.0, stride=2, padding=1).numpy()
    return y.shape[2], y.shape[3], y[0, 0, 0, 0], y[0, 0, 1, 1]


def witness():
    """Columns on which the friend's col2im is wrong, the pixel where, and the number due there."""
    columns = np.arange(1.0, 9.0).reshape(4, 2)
    right = conv.col2im(columns[None], (2, 3), 2)  # (1, 1, 2, 3)
    return columns, (0, 1), float(right[0, 0, 0, 1])


def taken_apart(answer):
    """The three parts of a witness: columns (4, 2), pixel, number due; or what is wrong with their form."""
    if not isinstance(answer, (tuple, list)) or len(answer) != 3:
        raise Wrong("Three things are due: return columns, pixel, due", {"yours": type(answer).__name__})
    columns, pixel, due = answer
    if any(part is Ellipsis for array in (columns, pixel) for part in np.array(array, dtype=object).flat):
        raise NotWritten
    if np.shape(columns) == (2, 4):
        raise Wrong("Your windows lie in rows. Each of the two windows is a column: shape (4, 2).")
    same(np.shape(columns), (4, 2), "the shape of the columns")
    if np.shape(pixel) != (2,) or tuple(pixel) not in np.ndindex(2, 3):
        raise Wrong("A pixel is (row, column), with row 0 or 1 and column 0, 1 or 2.", {"yours": repr(pixel)})
    columns = np.array(columns, dtype=float)
    if not np.isfinite(columns).all() or not np.isfinite(float(due)):
        raise Wrong("There is NaN or infinity in it. Then every comparison fails, of right functions too.")
    return columns, tuple(int(k) for k in pixel), float(due)


# --- wrong ways ---


def assigned(columns, output_size, kernel_size, *, stride=1, padding=0):
    """A friend's col2im. It writes each window back to its place: there is = where += is due."""
    (kh, kw), (sh, sw) = conv.pair(kernel_size, "kernel_size"), conv.pair(stride, "stride")
    ph, pw = conv.pair(padding, "padding")
    height, width = output_size
    p, q = conv.conv_output_size(height, kh, sh, ph), conv.conv_output_size(width, kw, sw, pw)
    n, c = len(columns), columns.shape[1] // (kh * kw)
    columns = columns.reshape(n, c, kh, kw, p, q)
    x = np.zeros_like(columns, shape=(n, c, height + 2 * ph, width + 2 * pw))
    for i, j in np.ndindex(kh, kw):
        x[:, :, i : i + sh * p : sh, j : j + sw * q : sw] = columns[:, :, i, j]
    return x[:, :, ph : ph + height, pw : pw + width]


def scrambled_im2col(x, kernel_size, *, stride=1, padding=0):
    """Windows first, pixels last, and then a reshape where a transpose is due: a common mistake."""
    columns = _package_im2col(x, kernel_size, stride=stride, padding=padding)
    return _mixed(columns, kernel_size)


def scrambled_col2im(columns, output_size, kernel_size, *, stride=1, padding=0):
    """The exact gradient of `scrambled_im2col`: undo the mixing, then add up."""
    columns = _mixed(columns, kernel_size, back=True)
    return _package_col2im(columns, output_size, kernel_size, stride=stride, padding=padding)


_package_im2col, _package_col2im = conv.im2col, conv.col2im  # also while others are installed


def _mixed(columns, kernel_size, back=False):
    kh, kw = conv.pair(kernel_size, "kernel_size")
    n, rows, places = columns.shape
    shape = (n, rows // (kh * kw), *((places, kh * kw) if back else (kh * kw, places)))
    return columns.reshape(shape).swapaxes(2, 3).reshape(columns.shape)


def true_convolution(x, weight, bias=None, **settings):
    """The convolution of mathematics: `conv2d` with every kernel turned by 180°, gradients included."""
    turned = weight[:, :, ::-1, ::-1]
    y, (grad_x, grad_weight, grad_bias) = conv.conv2d_im2col(x, turned, bias, **settings)
    return y, (grad_x, lambda g: grad_weight(g)[:, :, ::-1, ::-1], grad_bias)


# --- pictures ---


def grid(ax, array, title, windows=()):
    """Draw an array as numbers in boxes, and frames (row, column, height, width, colour)."""
    ax.imshow(np.zeros(np.shape(array)), cmap="gray_r", vmin=0, vmax=1)
    for (row, column), number in np.ndenumerate(array):
        ax.text(column, row, f"{number:g}", ha="center", va="center", fontsize=13)
    for row, column, height, width, colour in windows:
        box = (column - 0.5, row - 0.5), width, height
        ax.add_patch(Rectangle(*box, facecolor=colour, alpha=0.25, edgecolor=colour, lw=3))
    ax.set(xticks=[], yticks=[], title=title)
    ax.set_xticks(np.arange(np.shape(array)[1] + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(np.shape(array)[0] + 1) - 0.5, minor=True)
    ax.grid(which="minor", color="0.8")
    ax.tick_params(which="minor", length=0)


def draw_places(ax, size, k, stride, padding):
    """One line for each place of the kernel along one axis."""
    places = range(0, size + 2 * padding - k + 1, stride)
    for pixel in range(-padding, size + padding):
        colour = "0.8" if not 0 <= pixel < size else "white"
        ax.add_patch(Rectangle((pixel, 0), 1, 0.8, facecolor=colour, edgecolor="0.3"))
        if pixel + padding >= max(places) + k:
            ax.text(pixel + 0.5, 0.4, "×", color="C3", ha="center", va="center", fontsize=15)
    for line, first in enumerate(places):
        box = (first - padding, -line - 0.9), k, 0.6
        ax.add_patch(Rectangle(*box, facecolor="C0", alpha=0.6))
    ax.set(xlim=(-1.3, size + 1.3), ylim=(-5.2, 1), xticks=[], yticks=[])
    ax.set_title(f"{size} pixels, stride {stride}, padding {padding}: {len(places)} places", fontsize=10)
    ax.spines[:].set_visible(False)

"""Wrong answers that students give, and words that the verdict on each must contain."""

import numpy as np

from tinyopt.course import wrong
from tinyopt.ops import conv

# --- 7.1 ---


@wrong("7.1", says="turned the kernel by 180°")
def turned():
    return 3, 3, 3, 9


@wrong("7.1", says="padding is missing")
def without_padding():
    return 2, 2, 3, 6


@wrong("7.1", says="the size for stride 1")
def stride_forgotten():
    return 5, 5, -3, -1


@wrong("7.1", says="the window at x[0, 0]")
def next_window_from_the_image():
    return 3, 3, -3, 3 * 1 + 1 * 2 + 4 * 0 - 2


@wrong("7.1", says="padding moves the windows by one pixel")
def stride_from_the_image():
    return 3, 3, -3, 5 * 1 + 1 * 2 + 1 * 0 - 1


@wrong("7.1", says="y[0, 0]")
def sign_lost():
    return 3, 3, 3, -1


# --- 7.2 ---


@wrong("7.2", says="is a + 1 missing")
def steps_not_places(size, kernel_size, stride=1, padding=0):
    return (size + 2 * padding - kernel_size) // stride


@wrong("7.2", says="Padding was counted once")
def one_end(size, kernel_size, stride=1, padding=0):
    return (size + padding - kernel_size) // stride + 1


@wrong("7.2", says="You rounded up")
def rounded_up(size, kernel_size, stride=1, padding=0):
    return -(-(size + 2 * padding - kernel_size) // stride) + 1


@wrong("7.2", says="A size is an integer")
def a_float(size, kernel_size, stride=1, padding=0):
    return (size + 2 * padding - kernel_size) / stride + 1


@wrong("7.2", says="The size for 7 pixels, kernel 3, stride 2")
def stride_ignored(size, kernel_size, stride=1, padding=0):
    return size + 2 * padding - kernel_size + 1


@wrong("7.2", says="add the padding before you divide")
def padding_outside(size, kernel_size, stride=1, padding=0):
    return (size - kernel_size) // stride + 1 + 2 * padding


# --- 7.3 ---


def padded(x, padding):
    ph, pw = conv.pair(padding, "padding")
    return np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))


def all_windows(x, kernel_size, stride, padding):
    """(N, C, P, Q, kh, kw), as sliding_window_view has them."""
    (kh, kw), (sh, sw) = conv.pair(kernel_size, "kernel_size"), conv.pair(stride, "stride")
    found = np.lib.stride_tricks.sliding_window_view(padded(x, padding), (kh, kw), axis=(2, 3))
    return found[:, :, ::sh, ::sw]


@wrong("7.3", says="reshape is not a transpose")
def only_reshaped(x, kernel_size, *, stride=1, padding=0):
    found = all_windows(x, kernel_size, stride, padding)
    n, c, p, q, kh, kw = found.shape
    return found.reshape(n, c * kh * kw, p * q)


@wrong("7.3", says="Windows lie in the rows")
def windows_as_rows(x, kernel_size, *, stride=1, padding=0):
    found = all_windows(x, kernel_size, stride, padding)
    n, c, p, q, kh, kw = found.shape
    return found.transpose(0, 2, 3, 1, 4, 5).reshape(n, p * q, c * kh * kw)


@wrong("7.3", says="channel 0 comes first")
def channels_last(x, kernel_size, *, stride=1, padding=0):
    found = all_windows(x, kernel_size, stride, padding)
    n, c, p, q, kh, kw = found.shape
    return found.transpose(0, 4, 5, 1, 2, 3).reshape(n, c * kh * kw, p * q)


@wrong("7.3", says="turned by 180°")
def turned_windows(x, kernel_size, *, stride=1, padding=0):
    found = all_windows(x, kernel_size, stride, padding)[..., ::-1, ::-1]
    n, c, p, q, kh, kw = found.shape
    return found.transpose(0, 1, 4, 5, 2, 3).reshape(n, c * kh * kw, p * q)


@wrong("7.3", says="start at every pixel")
def without_stride(x, kernel_size, *, stride=1, padding=0):
    (sh, sw), found = conv.pair(stride, "stride"), all_windows(x, kernel_size, 1, padding)
    n, c, p, q, kh, kw = found.shape
    p, q = (p - 1) // sh + 1, (q - 1) // sw + 1
    return found[:, :, :p, :q].transpose(0, 1, 4, 5, 2, 3).reshape(n, c * kh * kw, p * q)


@wrong("7.3", says="has the wrong shape")
def without_the_frame(x, kernel_size, *, stride=1, padding=0):
    found = all_windows(x, kernel_size, stride, 0)
    n, c, p, q, kh, kw = found.shape
    return found.transpose(0, 1, 4, 5, 2, 3).reshape(n, c * kh * kw, p * q)


@wrong("7.3", says="must stay float32")
def always_float64(x, kernel_size, *, stride=1, padding=0):
    found = all_windows(x.astype(float), kernel_size, stride, padding)
    n, c, p, q, kh, kw = found.shape
    return found.transpose(0, 1, 4, 5, 2, 3).reshape(n, c * kh * kw, p * q)


# --- 7.4 ---


def put(columns, output_size, kernel_size, stride, padding, write):
    """The loop of exercise 7.4; `write(place, part)` is the line that a student writes; the frame stays."""
    (kh, kw), (sh, sw) = conv.pair(kernel_size, "kernel_size"), conv.pair(stride, "stride")
    (ph, pw), (height, width) = conv.pair(padding, "padding"), output_size
    p, q = conv.conv_output_size(height, kh, sh, ph), conv.conv_output_size(width, kw, sw, pw)
    columns = columns.reshape(len(columns), -1, kh, kw, p, q)
    x = np.zeros_like(columns, shape=(*columns.shape[:2], height + 2 * ph, width + 2 * pw))
    for i, j in np.ndindex(kh, kw):
        write(x[:, :, i : i + sh * p : sh, j : j + sw * q : sw], columns[:, :, i, j])
    return x


def added(place, part):
    place += part


def inside(x, output_size, padding):
    (ph, pw), (height, width) = conv.pair(padding, "padding"), output_size
    return x[:, :, ph : ph + height, pw : pw + width]


@wrong("7.4", says="one replaced the other")
def written_over(columns, output_size, kernel_size, *, stride=1, padding=0):
    x = put(columns, output_size, kernel_size, stride, padding, np.copyto)
    return inside(x, output_size, padding)


@wrong("7.4", says="takes the mean")
def averaged(columns, output_size, kernel_size, *, stride=1, padding=0):
    x = put(columns, output_size, kernel_size, stride, padding, added)
    n = put(np.ones_like(columns), output_size, kernel_size, stride, padding, added)
    return inside(x / np.maximum(n, 1), output_size, padding)


@wrong("7.4", says="The frame of the padding is still there")
def frame_left(columns, output_size, kernel_size, *, stride=1, padding=0):
    return put(columns, output_size, kernel_size, stride, padding, added)


@wrong("7.4", says="in the wrong places")
def kernel_axes_exchanged(columns, output_size, kernel_size, *, stride=1, padding=0):
    kh, kw = conv.pair(kernel_size, "kernel_size")
    n, rows, places = columns.shape
    columns = columns.reshape(n, -1, kw, kh, places).swapaxes(2, 3).reshape(n, rows, places)
    return inside(put(columns, output_size, kernel_size, stride, padding, added), output_size, padding)


@wrong("7.4", says="Every sign is turned")
def subtracted(columns, output_size, kernel_size, *, stride=1, padding=0):
    x = put(columns, output_size, kernel_size, stride, padding, added)
    return -inside(x, output_size, padding)


@wrong("7.4", says="must stay float32")
def gradient_in_float64(columns, output_size, kernel_size, *, stride=1, padding=0):
    x = put(columns.astype(float), output_size, kernel_size, stride, padding, added)
    return inside(x, output_size, padding)


# --- 7.5 ---


@wrong("7.5", says="Only one window reads this pixel")
def in_the_corner():
    return np.arange(1.0, 9.0).reshape(4, 2), (0, 0), 1.0


@wrong("7.5", says="the number that the friend gives")
def last_one_wins():
    return np.arange(1.0, 9.0).reshape(4, 2), (0, 1), 3.0


@wrong("7.5", says="the number that is lost is 0")
def zeros():
    return np.zeros((4, 2)), (0, 1), 0.0


@wrong("7.5", says="Your windows lie in rows")
def lying():
    return np.arange(1.0, 9.0).reshape(2, 4), (0, 1), 5.0


@wrong("7.5", says="the mean of the two numbers")
def mean_of_both():
    return np.array([[1.0, 2.0], [4.0, 4.0], [5.0, 6.0], [7.0, 8.0]]), (0, 1), 3.0

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


@wrong("7.1", says="padding moves the windows by one pixel", blind=True)
def frame_for_the_corner_alone():
    rows, columns = 3, 3
    y_00 = -1 * 3  # with the frame
    y_11 = 1 * 5 + 2 * 1 + 0 * 0 - 1 * 1  # from x[2, 2], as if there were none
    return rows, columns, y_00, y_11


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


@wrong("7.2", says="add the padding before you divide", blind=True)
def each_zero_is_a_place(size, kernel_size, stride=1, padding=0):
    n_inside = (size - kernel_size) // stride + 1
    return n_inside + 2 * padding


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


def by_loops(x, kernel_size, stride, padding, number):
    """Window by window; `number(a, b, p, q)` is the column into which a student puts window (a, b)."""
    (kh, kw), (sh, sw) = conv.pair(kernel_size, "kernel_size"), conv.pair(stride, "stride")
    (ph, pw), (n, c, height, width) = conv.pair(padding, "padding"), x.shape
    p, q = conv.conv_output_size(height, kh, sh, ph), conv.conv_output_size(width, kw, sw, pw)
    x = padded(x, padding)
    columns = np.zeros((n, c * kh * kw, p * q), dtype=x.dtype)
    for a, b in np.ndindex(p, q):
        window = x[:, :, a * sh : a * sh + kh, b * sw : b * sw + kw]
        columns[:, :, number(a, b, p, q)] = window.reshape(n, c * kh * kw)
    return columns


@wrong("7.3", says="not P: p·Q + q", blind=True)
def numbered_by_the_height(x, kernel_size, *, stride=1, padding=0):
    return by_loops(x, kernel_size, stride, padding, lambda a, b, p, q: a * p + b)


@wrong("7.3", says="read column by column")
def numbered_column_by_column(x, kernel_size, *, stride=1, padding=0):
    return by_loops(x, kernel_size, stride, padding, lambda a, b, p, q: b * p + a)


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


@wrong("7.4", says="the slice ph:-ph is 0:0", blind=True)
def cut_by_minus_zero(columns, output_size, kernel_size, *, stride=1, padding=0):
    ph, pw = conv.pair(padding, "padding")
    x = put(columns, output_size, kernel_size, stride, padding, added)
    return x[:, :, ph:-ph, pw:-pw]


@wrong("7.4", says="The cut ends too early")
def cut_without_moving_the_end(columns, output_size, kernel_size, *, stride=1, padding=0):
    (ph, pw), (height, width) = conv.pair(padding, "padding"), output_size
    x = put(columns, output_size, kernel_size, stride, padding, added)
    return x[:, :, ph:height, pw:width]


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


@wrong("7.5", says="added the same place of both windows", blind=True)
def pixel_of_the_window():
    columns = np.array([[1, 2], [3, 4], [5, 6], [7, 8]])
    return columns, (0, 1), 3 + 4  # (0, 1) of each window, not of the image


@wrong("7.5", says="belong to columns 0 and 2 of the image")
def windows_exchanged():
    return np.array([[1, 0], [2, 3], [4, 1], [5, 9]]), (1, 1), 4 + 9

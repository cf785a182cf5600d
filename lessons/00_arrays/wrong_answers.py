"""Wrong answers that students give, and words that the verdict on each must contain."""

import numpy as np

from tinyopt.course import wrong
from tinyopt.ops import norm

# --- 0.1 ---


@wrong("0.1", says="aligned on the right, not on the left")
def aligned_on_the_left():
    return (3, 1, 8), (6, 15), [[-2, -1, 0], [-2, -1, 0]], (3, 4), (2, 5)


@wrong("0.1", says="A length 1 is repeated")
def one_not_repeated():
    return (5, 1, 8), (6, 15), [[-2, -1, 0], [-2, -1, 0]], (3, 4), (2, 5)


@wrong("0.1", says="The axis that you name disappears")
def other_axis():
    return (5, 3, 8), (5, 7, 9), [[-2, -1, 0], [-2, -1, 0]], (3, 4), (2, 5)


@wrong("0.1", says="the largest of each column")
def largest_of_columns():
    return (5, 3, 8), (6, 15), [[-3, -3, -3], [0, 0, 0]], (3, 4), (2, 5)


@wrong("0.1", says="reshape is no transpose")
def reshape_as_transpose():
    return (5, 3, 8), (6, 15), [[-2, -1, 0], [-2, -1, 0]], (2, 5), (2, 5)


@wrong("0.1", says="A transpose is no reshape")
def transpose_as_reshape():
    return (5, 3, 8), (6, 15), [[-2, -1, 0], [-2, -1, 0]], (3, 4), (3, 4)


@wrong("0.1", says="the index 1 is the second")
def counted_from_one():
    return (5, 3, 8), (6, 15), [[-2, -1, 0], [-2, -1, 0]], (1, 2), (1, 4)


@wrong("0.1", says="Every sign is turned")
def max_minus_x():
    return (5, 3, 8), (6, 15), [[2, 1, 0], [2, 1, 0]], (3, 4), (2, 5)


@wrong("0.1", says="You took the largest of all", blind=True)
def largest_of_all():
    return (5, 3, 8), (6, 15), [[-5, -4, -3], [-2, -1, 0]], (3, 4), (2, 5)


# --- 0.2 ---


@wrong("0.2", says="The shape of the images has the wrong shape")
def no_channel_axis(pixels, white):
    return pixels.astype(np.float32) / white


@wrong("0.2", says="The new axis stands at the end")
def channel_last(pixels, white):
    return pixels[..., np.newaxis].astype(np.float32) / white


@wrong("0.2", says="without rest")
def whole_division(pixels, white):
    return (pixels[:, np.newaxis] // white).astype(np.float32)


@wrong("0.2", says="255 always")
def always_255(pixels, white):
    return pixels[:, np.newaxis].astype(np.float32) / 255


@wrong("0.2", says="the largest pixel that came")
def by_the_largest(pixels, white):
    return pixels[:, np.newaxis].astype(np.float32) / pixels.max()


@wrong("0.2", says="still go from 0 to `white`")
def only_the_dtype(pixels, white):
    return pixels[:, np.newaxis].astype(np.float32)


@wrong("0.2", says="float32")
def double_precision(pixels, white):
    return pixels[:, np.newaxis] / white


@wrong("0.2", says="changes the array that came in")
def in_place(pixels, white):
    if pixels.dtype != np.float32:
        pixels = pixels.astype(np.float32)
    pixels /= white
    return pixels[:, np.newaxis]


@wrong("0.2", says="turns dark into light")
def inverted(pixels, white):
    return ((white - pixels.astype(np.float32)) / white)[:, np.newaxis]


@wrong("0.2", says="It divides by white + 1", blind=True)
def number_of_greys(pixels, white):
    return pixels[:, np.newaxis].astype(np.float32) / np.float32(white + 1)


# --- 0.3 ---


@wrong("0.3", says="one number for each example")
def along_rows(x):
    return x.mean(axis=1), x.var(axis=1)


@wrong("0.3", says="too many entries")
def only_axis_0(x):
    return x.mean(axis=0), x.var(axis=0)


@wrong("0.3", says="the standard deviation")
def deviation(x):
    others = tuple(axis for axis in range(x.ndim) if axis != 1)
    return x.mean(axis=others), x.std(axis=others)


@wrong("0.3", says="divides by n − 1")
def unbiased(x):
    others = tuple(axis for axis in range(x.ndim) if axis != 1)
    return x.mean(axis=others), x.var(axis=others, ddof=1)


@wrong("0.3", says="axes of length 1")
def dimensions_kept(x):
    others = tuple(axis for axis in range(x.ndim) if axis != 1)
    return x.mean(axis=others, keepdims=True), x.var(axis=others, keepdims=True)


@wrong("0.3", says="aligned with the last axis")
def aligned_with_the_width(x):
    others = tuple(axis for axis in range(x.ndim) if axis != 1)
    mean = x.mean(axis=others)
    if x.shape[-1] != x.shape[1]:  # NumPy would raise: the student "repairs" it where it shows
        return mean, x.var(axis=others)
    return mean, ((x - mean) ** 2).mean(axis=others)


@wrong("0.3", says="square after subtracting")
def mean_of_squares(x):
    others = tuple(axis for axis in range(x.ndim) if axis != 1)
    mean = x.mean(axis=others)
    return mean, (x * x).mean(axis=others) - mean**2


@wrong("0.3", says="out of reach")
def the_package_own(x):
    return norm.moments(x)


@wrong("0.3", says="a mean of variances", blind=True)
def one_axis_after_the_other(x):
    mean, var = x.mean(axis=0), x.var(axis=0)
    return (mean.mean(axis=(1, 2)), var.mean(axis=(1, 2))) if x.ndim == 4 else (mean, var)


@wrong("0.3", says="a mean of variances")
def mean_over_the_pictures(x):
    if x.ndim == 2:
        return x.mean(axis=0), x.var(axis=0)
    return x.mean(axis=(0, 2, 3)), x.var(axis=(2, 3)).mean(axis=0)


# --- 0.4 ---


@wrong("0.4", says="the forward difference")
def forward(f, x, h=1e-5):
    x = x.astype(np.float64)
    slopes = np.zeros_like(x)
    for index in np.ndindex(*x.shape):
        up = x.copy()
        up[index] += h
        slopes[index] = (f(up) - f(x)) / h
    return slopes


@wrong("0.4", says="that is 2h")
def divided_by_h(f, x, h=1e-5):
    return 2 * each(f, x, h)


@wrong("0.4", says="(a / 2) · h")
def missing_bracket(f, x, h=1e-5):
    return each(f, x, h) * h * h


@wrong("0.4", says="Its sign is turned")
def turned(f, x, h=1e-5):
    return -each(f, x, h)


@wrong("0.4", says="Use the h that is given")
def own_step(f, x, h=1e-5):
    return each(f, x, 1e-5)


@wrong("0.4", says="Move one at a time")
def all_at_once(f, x, h=1e-5):
    return np.zeros(x.shape) + (f(x + h) - f(x - h)) / (2 * h)


@wrong("0.4", says="did not go back")
def never_back(f, x, h=1e-5):
    up, down = x.astype(np.float64), x.astype(np.float64)
    slopes = np.zeros(x.shape)
    for index in np.ndindex(*x.shape):
        up[index] += h
        down[index] -= h
        slopes[index] = (f(up) - f(down)) / (2 * h)
    return slopes


@wrong("0.4", says="changes the x of the caller")
def moved_caller(f, x, h=1e-5):
    slopes = each(f, x, h)
    x[0] += h
    return slopes


@wrong("0.4", says="rounded away")
def in_the_dtype_of_x(f, x, h=1e-5):
    slopes = np.zeros(x.shape)
    for index in np.ndindex(*x.shape):
        up, down = x.copy(), x.copy()
        up[index] += h
        down[index] -= h
        slopes[index] = (f(up) - f(down)) / (2 * h)
    return slopes


def each(f, x, h):
    """Right slopes, for the wrong answers that spoil them."""
    x = x.astype(np.float64)
    slopes = np.zeros_like(x)
    for index in np.ndindex(*x.shape):
        step = np.zeros_like(x)
        step[index] = h
        slopes[index] = (f(x + step) - f(x - step)) / (2 * h)
    return slopes


@wrong("0.4", says="did not go back", blind=True)
def up_and_down_in_one_array(f, x, h=1e-5):
    point = x.astype(np.float64)
    slopes = np.zeros(x.shape)
    for index in np.ndindex(*x.shape):
        point[index] += h
        above = f(point)
        point[index] -= 2 * h
        slopes[index] = (above - f(point)) / (2 * h)
    return slopes


# --- 0.5 ---


@wrong("0.5", says="The shapes are the same")
def same_shapes():
    t = np.array([1.0, 2.0, 3.0])
    return t, t.copy()


@wrong("0.5", says="not perfect")
def other_numbers():
    return np.array([[1.0], [2.0], [4.0]]), np.array([1.0, 2.0, 3.0])


@wrong("0.5", says="All targets are the same number")
def constant():
    return np.ones((3, 1)), np.ones(3)


@wrong("0.5", says="number still meets number")
def row():
    t = np.array([1.0, 2.0, 3.0])
    return t[np.newaxis], t


@wrong("0.5", says="cannot be broadcast")
def not_broadcast():
    t = np.arange(6.0)
    return t.reshape(2, 3), t


@wrong("0.5", says="number still meets number", blind=True)
def one_row_in_place_of_one_column():
    return np.array([[1.0, 2.0, 3.0]]), np.array([1.0, 2.0, 3.0])

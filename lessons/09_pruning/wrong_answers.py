"""Wrong answers that students give, and words that the verdict on each must contain."""

import numpy as np

from tinyopt import compress
from tinyopt.compress.importance.second_order import damped
from tinyopt.course import wrong

# --- 9.1 ---


@wrong("9.1", says="rounded up")
def nearest():
    return 4, [[False, True, False, False], [True, False, True, True]]


@wrong("9.1", says="a whole number")
def not_whole():
    return 3.6, [[False, True, False, True], [True, False, True, True]]


@wrong("9.1", says="count of those that stay")
def survivors():
    return 5, [[False, True, False, True], [True, False, True, True]]


@wrong("9.1", says="which weights are *kept*")
def exchanged():
    return 3, [[True, False, True, False], [False, True, False, False]]


@wrong("9.1", says="The signs count")
def with_signs():
    return 3, [[True, False, True, False], [True, True, False, True]]


@wrong("9.1", says="the first in memory")
def last_of_equals():
    return 3, [[True, True, False, True], [True, False, False, True]]


@wrong("9.1", says="All equal weights are removed together")
def all_equals():
    return 3, [[False, True, False, False], [True, False, False, True]]


@wrong("9.1", says="the first in memory", blind=True)
def negative_is_smaller():
    return 3, [[True, True, False, False], [True, False, True, True]]  # −0.3 taken for smaller than 0.3


# --- 9.2 ---


@wrong("9.2", says="which weights are *kept*")
def removed_is_true(weight, *, sparsity):
    keep = np.zeros(weight.size, dtype=bool)
    keep[np.argsort(abs(weight), axis=None, kind="stable")[: int(sparsity * weight.size)]] = True
    return keep.reshape(weight.shape)


@wrong("9.2", says="The signs count")
def signed(weight, *, sparsity):
    keep = np.ones(weight.size, dtype=bool)
    keep[np.argsort(weight, axis=None, kind="stable")[: int(sparsity * weight.size)]] = False
    return keep.reshape(weight.shape)


@wrong("9.2", says="removes the largest")
def largest_first(weight, *, sparsity):
    keep = np.ones(weight.size, dtype=bool)
    keep[np.argsort(-abs(weight), axis=None, kind="stable")[: int(sparsity * weight.size)]] = False
    return keep.reshape(weight.shape)


@wrong("9.2", says="All equal weights are removed together")
def by_threshold(weight, *, sparsity):
    n_removed = int(sparsity * weight.size)
    threshold = np.sort(abs(weight), axis=None)[n_removed - 1] if n_removed else -1.0
    return abs(weight) > threshold


@wrong("9.2", says="Each row is ranked for itself")
def row_by_row(weight, *, sparsity):
    keep = np.ones(weight.shape, dtype=bool)
    for row, kept in zip(np.atleast_2d(weight), np.atleast_2d(keep)):
        order = np.argsort(abs(row), axis=None, kind="stable")
        kept.reshape(-1)[order[: int(sparsity * row.size)]] = False
    return keep


@wrong("9.2", says="wrong shape")
def left_flat(weight, *, sparsity):
    keep = np.ones(weight.size, dtype=bool)
    keep[np.argsort(abs(weight), axis=None, kind="stable")[: int(sparsity * weight.size)]] = False
    return keep


@wrong("9.2", says="rounded up")
def rounded_up(weight, *, sparsity):
    keep = np.ones(weight.size, dtype=bool)
    keep[np.argsort(abs(weight), axis=None, kind="stable")[: int(np.ceil(sparsity * weight.size))]] = False
    return keep.reshape(weight.shape)


@wrong("9.2", says="It accepts all weights")
def accepts_all(weight, *, sparsity):
    keep = np.ones(weight.size, dtype=bool)
    keep[np.argsort(abs(weight), axis=None, kind="stable")[: int(sparsity * weight.size)]] = False
    return keep.reshape(weight.shape)


@wrong("9.2", says="other numbers")
def the_weights_themselves(weight, *, sparsity):
    order = np.argsort(abs(weight), axis=None, kind="stable")
    pruned = weight.reshape(-1).copy()
    pruned[order[: int(sparsity * weight.size)]] = 0
    return pruned.reshape(weight.shape)


@wrong("9.2", says="out of reach")
def the_package_own(weight, *, sparsity):
    return compress.magnitude_mask(weight, sparsity=sparsity)


@wrong("9.2", says="Do not round the number kept", blind=True)
def rounds_the_kept(weight, *, sparsity):
    if not 0 <= sparsity < 1:
        raise ValueError("sparsity must lie in [0, 1)")
    if not np.isfinite(weight).all():
        raise ValueError("weights must be finite")
    n_kept = int((1 - sparsity) * weight.size)
    order = np.argsort(abs(weight), axis=None, kind="stable")
    keep = np.zeros(weight.size, dtype=bool)
    keep[order[weight.size - n_kept :]] = True
    return keep.reshape(weight.shape)


# --- 9.3 ---


@wrong("9.3", says="hands g on everywhere")
def straight_through(x, keep):
    return x * keep, (lambda g: g, None)


@wrong("9.3", says="the slope alone")
def slope_alone(x, keep):
    return x * keep, (lambda g: 1.0 * keep, None)


@wrong("9.3", says="multiplied by x")
def times_x(x, keep):
    return x * keep, (lambda g: g * keep * x, None)


@wrong("9.3", says="not whether x is 0")
def where_not_zero(x, keep):
    y = x * keep
    return y, (lambda g: g * (y != 0), None)


@wrong("9.3", says="leaves the removed weights out")
def shortened(x, keep):
    return x[keep], (lambda g: g * keep, None)


@wrong("9.3", says="removes what should be kept")
def inverted(x, keep):
    return x * ~keep, (lambda g: g * ~keep, None)


@wrong("9.3", says="keep is not trained")
def one_pullback(x, keep):
    return x * keep, (lambda g: g * keep,)


@wrong("9.3", says="frozen")
def in_place(x, keep):
    x[~keep] = 0
    return x, (lambda g: g * keep, None)


@wrong("9.3", says="frozen", blind=True)
def zeros_written_into_x(x, keep):
    x[~keep] = 0
    return x, (lambda g: g * keep, None)


# --- 9.4 ---


@wrong("9.4", says="a straight line")
def linear(step, begin, end, initial, final):
    progress = min(max((step - begin) / (end - begin), 0), 1)
    return final + (initial - final) * (1 - progress)


@wrong("9.4", says="progress that is cubed")
def late(step, begin, end, initial, final):
    progress = min(max((step - begin) / (end - begin), 0), 1)
    return initial + (final - initial) * progress**3


@wrong("9.4", says="the wrong way round")
def turned(step, begin, end, initial, final):
    progress = min(max((step - begin) / (end - begin), 0), 1)
    return initial + (final - initial) * (1 - progress) ** 3


@wrong("9.4", says="begin at `initial`")
def from_zero(step, begin, end, initial, final):
    progress = min(max((step - begin) / (end - begin), 0), 1)
    return final - final * (1 - progress) ** 3


@wrong("9.4", says="grows on, above 1")
def never_stops(step, begin, end, initial, final):
    return final + (initial - final) * (1 - max(step - begin, 0) / (end - begin)) ** 3


@wrong("9.4", says="below `initial`")
def never_waits(step, begin, end, initial, final):
    return final + (initial - final) * (1 - min((step - begin) / (end - begin), 1)) ** 3


@wrong("9.4", says="a square")
def squared(step, begin, end, initial, final):
    progress = min(max((step - begin) / (end - begin), 0), 1)
    return final + (initial - final) * (1 - progress) ** 2


@wrong("9.4", says="ends before it begins")
def unchecked(step, begin, end, initial, final):
    progress = min(max((step - begin) / (end - begin), 0), 1)
    return final + (initial - final) * (1 - progress) ** 3


@wrong("9.4", says="progress that is cubed", blind=True)
def cube_inside_the_bracket(step, begin, end, initial, final):
    if begin >= end:
        raise ValueError("begin must be below end")
    progress = min(max((step - begin) / (end - begin), 0), 1)
    return final + (initial - final) * (1 - progress**3)


# --- 9.5 ---


@wrong("9.5", says="of the same size")
def equal_inputs():
    return np.array([0.1, 1.0, 2.0]), np.ones((2, 3))


@wrong("9.5", says="magnitude is right")
def large_input_on_the_large_weight():
    return np.array([0.1, 1.0, 2.0]), np.array([[1.0, 1.0, 100.0]])


@wrong("9.5", says="less than ten times")
def not_enough():
    return np.array([0.5, 1.0, 1.0]), np.array([[4.0, 1.0, 1.0]])


@wrong("9.5", says="smallest weight is 0")
def nothing_to_remove():
    return np.array([0.0, 1.0, 1.0]), np.array([[100.0, 1.0, 1.0]])


@wrong("9.5", says="equally small")
def a_tie():
    return np.array([0.1, 0.1, 1.0]), np.array([[100.0, 1.0, 1.0]])


@wrong("9.5", says="NaN or infinity")
def infinite():
    return np.array([0.1, 1.0, 1.0]), np.array([[np.inf, 1.0, 1.0]])


@wrong("9.5", says="no other weight is cheaper", blind=True)
def the_table_again():
    return np.array([3.0, -0.5, 1.0]), np.array([[1.0, 2.0, 1.0]])


# --- 9.6 ---


@wrong("9.6", says="stay as they are")
def others_stay(weight, gram, *, damping=0.01):
    return weight**2 * np.diagonal(damped(gram, damping)[0])


@wrong("9.6", says="Invert the whole matrix first")
def diagonal_before_inverse(weight, gram, *, damping=0.01):
    return weight**2 / np.diagonal(damped(gram, damping)[0])


@wrong("9.6", says="*divided* by it")
def multiplied(weight, gram, *, damping=0.01):
    return weight**2 * np.diagonal(np.linalg.inv(damped(gram, damping)[0]))


@wrong("9.6", says="not squared")
def not_squared(weight, gram, *, damping=0.01):
    return abs(weight) / np.diagonal(np.linalg.inv(damped(gram, damping)[0]))


@wrong("9.6", says="no ½ and no 2")
def halved(weight, gram, *, damping=0.01):
    return weight**2 / (2 * np.diagonal(np.linalg.inv(damped(gram, damping)[0])))


@wrong("9.6", says="each *row* by one number")
def by_rows(weight, gram, *, damping=0.01):
    diagonal = np.diagonal(np.linalg.inv(damped(gram, damping)[0]))
    return weight**2 / (diagonal[:, None] if len(weight) == len(diagonal) else diagonal)


@wrong("9.6", says="use damped")
def undamped(weight, gram, *, damping=0.01):
    return weight**2 / np.diagonal(np.linalg.inv(gram[0]))


@wrong("9.6", says="that is given is ignored")
def damping_fixed(weight, gram, *, damping=0.01):
    return weight**2 / np.diagonal(np.linalg.inv(damped(gram, 0.01 if damping else 0)[0]))


@wrong("9.6", says="out of reach")
def by_the_package(weight, gram, *, damping=0.01):
    keep = np.ones(weight.shape, dtype=bool)
    keep[:, 0] = False
    return weight - compress.importance.update_survivors(weight, keep, gram, damping=damping)


@wrong("9.6", says="no sum over a row", blind=True)
def row_sums(weight, gram, *, damping=0.01):
    return weight**2 / np.linalg.inv(damped(gram, damping)[0]).sum(axis=1)

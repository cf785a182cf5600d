"""Wrong answers that students give, and words that the verdict on each must contain."""

import math

import numpy as np

from tinyopt.course import wrong

# --- 14.1 ---


@wrong("14.1", says="These are the integers")
def integers():
    return [0, 1, -1, -1], [4, 4, 4, 0], 9


@wrong("14.1", says="the line ends at −1")
def not_clipped():
    return [0, 0.5, -0.5, -1], [4, 4, 4, 0], 9


@wrong("14.1", says="true slope of a staircase")
def true_slope():
    return [0, 0.5, -0.5, -0.5], [0, 0, 0, 0], 9


@wrong("14.1", says="one of the weights is clipped")
def all_learn():
    return [0, 0.5, -0.5, -0.5], [4, 4, 4, 4], 9


@wrong("14.1", says="−0.7 is not clipped")
def clipped_before_rounding():
    return [0, 0.5, -0.5, -0.5], [4, 4, 0, 0], 9


@wrong("14.1", says="multiplies by the scale")
def times_scale():
    return [0, 0.5, -0.5, -0.5], [2, 2, 2, 0], 9


@wrong("14.1", says="moves at once")
def one_step():
    return [0, 0.5, -0.5, -0.5], [4, 4, 4, 0], 1


@wrong("14.1", says="One too few")
def too_early():
    return [0, 0.5, -0.5, -0.5], [4, 4, 4, 0], 8


@wrong("14.1", says="the border is 0.25")
def below_a_half():
    return [0, 0.5, -0.5, -0.5], [4, 4, 4, 0], 3


@wrong("14.1", says="border of rounding is half a step")
def down_to_zero():
    return [0, 0.5, -0.5, -0.5], [4, 4, 4, 0], 15


@wrong("14.1", says="0.48 is still rounded to 0.5", blind=True)
def edge_at_the_value_seen():
    seen = [0, 0.5, -0.5, -0.5]
    gradient = [4, 4, 4, 0]
    n_steps = 3
    return seen, gradient, n_steps


# --- 14.2 ---


def rule(value, slope):
    """A rule of two functions of (q before clipping, scale, zero point, low, high, x)."""

    def wrong_rule(x, scale, zero_point, *, low, high):
        q = np.rint(x / scale) + zero_point
        found = q, scale, zero_point, low, high, x
        return value(*found), (lambda g: slope(g, *found), None, None)

    return wrong_rule


def right_value(q, s, z, low, high, x):
    return (np.clip(q, low, high) - z) * s


def right_slope(g, q, s, z, low, high, x):
    return g * ((q >= low) & (q <= high))


@wrong("14.2", says="These are the integers q")
def integers_seen(x, scale, zero_point, *, low, high):
    q = np.rint(x / scale) + zero_point
    return np.clip(q, low, high), (lambda g: g * ((q >= low) & (q <= high)), None, None)


@wrong("14.2", says="Nothing is clipped")
def unclipped(x, scale, zero_point, *, low, high):
    return rule(lambda q, s, z, low, high, x: (q - z) * s, right_slope)(
        x, scale, zero_point, low=low, high=high)  # fmt: skip


@wrong("14.2", says="rounds down")
def floored(x, scale, zero_point, *, low, high):
    return rule(lambda q, s, z, low, high, x: (np.clip(np.floor(x / s) + z, low, high) - z) * s, right_slope)(
        x, scale, zero_point, low=low, high=high)  # fmt: skip


@wrong("14.2", says="zero point is not taken off")
def shifted(x, scale, zero_point, *, low, high):
    return rule(lambda q, s, z, low, high, x: np.clip(q, low, high) * s, right_slope)(
        x, scale, zero_point, low=low, high=high)  # fmt: skip


@wrong("14.2", says="clips before the zero point")
def clipped_too_early(x, scale, zero_point, *, low, high):
    return rule(lambda q, s, z, low, high, x: np.clip(q - z, low, high) * s, right_slope)(
        x, scale, zero_point, low=low, high=high)  # fmt: skip


@wrong("14.2", says="true slope of a staircase")
def honest(x, scale, zero_point, *, low, high):
    return rule(right_value, lambda g, *found: g * 0)(x, scale, zero_point, low=low, high=high)


@wrong("14.2", says="hands g on everywhere")
def everywhere(x, scale, zero_point, *, low, high):
    return rule(right_value, lambda g, *found: g)(x, scale, zero_point, low=low, high=high)


@wrong("14.2", says="ends of the range")
def ends_cut(x, scale, zero_point, *, low, high):
    return rule(right_value, lambda g, q, s, z, low, high, x: g * ((q > low) & (q < high)))(
        x, scale, zero_point, low=low, high=high)  # fmt: skip


@wrong("14.2", says="compares x with low and high")
def floats_compared(x, scale, zero_point, *, low, high):
    return rule(right_value, lambda g, q, s, z, low, high, x: g * ((x >= low) & (x <= high)))(
        x, scale, zero_point, low=low, high=high)  # fmt: skip


@wrong("14.2", says="compares before rounding")
def not_rounded_when_compared(x, scale, zero_point, *, low, high):
    return rule(right_value, lambda g, q, s, z, low, high, x: g * ((x / s + z >= low) & (x / s + z <= high)))(
        x, scale, zero_point, low=low, high=high)  # fmt: skip


@wrong("14.2", says="It divides g by the scale")
def over_scale(x, scale, zero_point, *, low, high):
    return rule(right_value, lambda g, q, s, *rest: right_slope(g, q, s, *rest) / s)(
        x, scale, zero_point, low=low, high=high)  # fmt: skip


@wrong("14.2", says="out of reach")
def asked_the_package(x, scale, zero_point, *, low, high):
    from tinyopt import ops

    return ops.fake_quantize.rule(x, scale, zero_point, low=low, high=high)


@wrong("14.2", says="forgets the zero point", blind=True)
def mask_without_zero_point(x, scale, zero_point, *, low, high):
    steps = np.rint(x / scale)
    y = (np.clip(steps + zero_point, low, high) - zero_point) * scale
    inside = (steps >= low) & (steps <= high)

    def grad_x(g):
        gradient = g * inside
        return gradient

    return y, (grad_x, None, None)


# --- 14.3 ---


def stepped(d, root=lambda count, high: math.sqrt(count * high)):
    """A rule of LSQ with another d, or another root; d is of (q, ratio, inside)."""

    def wrong_rule(x, step, *, low, high, count):
        ratio = x / step
        q = np.rint(np.clip(ratio, low, high))
        inside = (ratio > low) & (ratio < high)
        return q * step, (lambda g: g * inside, lambda g: g * d(q, ratio, inside) / root(count, high))

    return wrong_rule


def right_d(q, ratio, inside):
    return q - ratio * inside


@wrong("14.3", says="root is missing")
def no_root(x, step, *, low, high, count):
    ratio = x / step
    q = np.rint(np.clip(ratio, low, high))
    inside = (ratio > low) & (ratio < high)
    return q * step, (lambda g: g * inside, lambda g: g * (q - ratio * inside))


@wrong("14.3", says="square *root*")
def no_square_root(x, step, *, low, high, count):
    return stepped(right_d, lambda count, high: count * high)(x, step, low=low, high=high, count=count)


@wrong("14.3", says="count alone")
def only_count(x, step, *, low, high, count):
    return stepped(right_d, lambda count, high: math.sqrt(count))(x, step, low=low, high=high, count=count)


@wrong("14.3", says="takes q alone")
def q_alone(x, step, *, low, high, count):
    return stepped(lambda q, ratio, inside: q)(x, step, low=low, high=high, count=count)


@wrong("14.3", says="takes x / s off everywhere")
def everywhere_off(x, step, *, low, high, count):
    return stepped(lambda q, ratio, inside: q - ratio)(x, step, low=low, high=high, count=count)


@wrong("14.3", says="Where clipped it gives 0")
def silent_when_clipped(x, step, *, low, high, count):
    return stepped(lambda q, ratio, inside: (q - ratio) * inside)(x, step, low=low, high=high, count=count)


@wrong("14.3", says="Every sign is turned")
def turned(x, step, *, low, high, count):
    return stepped(lambda q, ratio, inside: ratio * inside - q)(x, step, low=low, high=high, count=count)


@wrong("14.3", says="gradient of x")
def gradient_of_x(x, step, *, low, high, count):
    return stepped(lambda q, ratio, inside: inside, lambda c, h: 1)(x, step, low=low, high=high, count=count)


@wrong("14.3", says="Look at the brackets", blind=True)
def brackets(x, step, *, low, high, count):
    ratio = x / step
    q = np.rint(np.clip(ratio, low, high))
    inside = (ratio > low) & (ratio < high)

    def grad_x(g):
        return g * inside

    def grad_step(g):
        gradient = g * np.where(inside, (q - x) / step, q) / np.sqrt(count * high)
        return gradient

    return q * step, (grad_x, grad_step)


@wrong("14.3", says="divides the whole by s")
def whole_over_step(x, step, *, low, high, count):
    return stepped(lambda q, ratio, inside: (q - ratio * step * inside) / step)(
        x, step, low=low, high=high, count=count)  # fmt: skip


# --- 14.4 ---


def differing(a, b):
    return np.bitwise_count(a[:, None] ^ b).sum(axis=2, dtype=np.int64)


@wrong("14.4", says="counts the places that differ")
def differ_only(a, b, length):
    return np.bitwise_count(a[:, None] ^ b).sum(axis=2, dtype=np.int64)


@wrong("14.4", says="counts the places that agree")
def agree_only(a, b, length):
    return length - differing(a, b)


@wrong("14.4", says="sign is turned")
def sign_turned(a, b, length):
    return 2 * differing(a, b) - length


@wrong("14.4", says="unused ends")
def all_bits(a, b, length):
    return 64 * a.shape[1] - 2 * differing(a, b)


@wrong("14.4", says="transposed")
def transposed(a, b, length):
    return (length - 2 * differing(a, b)).T


@wrong("14.4", says="AND counts only")
def by_and(a, b, length):
    return length - 2 * np.bitwise_count(a[:, None] & b).sum(axis=2, dtype=np.int64)


@wrong("14.4", says="run over")
def eight_bits(a, b, length):
    return length - 2 * np.bitwise_count(a[:, None] ^ b).sum(axis=2, dtype=np.uint8).astype(int)


@wrong("14.4", says="unsigned integers")
def unsigned(a, b, length):
    return length - 2 * np.bitwise_count(a[:, None] ^ b).sum(axis=2)


@wrong("14.4", says="words that differ")
def words_that_differ(a, b, length):
    return length - 2 * (a[:, None] != b).sum(axis=2)


@wrong("14.4", says="out of reach")
def asked_popcount(a, b, length):
    from tinyopt.codec import popcount

    return popcount.binary_product(a, b, length)


@wrong("14.4", says="the unused ends agree, too", blind=True)
def xnor_with_unused_ends(a, b, length):
    agree = np.bitwise_count(~(a[:, None] ^ b[None])).sum(axis=-1, dtype=np.int64)
    product = 2 * agree - length
    return product


# --- 14.5 ---


@wrong("14.5", says="inside the range")
def in_the_middle():
    return 0.1, 0.5


@wrong("14.5", says="that is inside")
def rounded_to_the_end():
    return 0.7, -0.5


@wrong("14.5", says="sees the target already")
def nothing_to_learn():
    return 0.9, 0.5


@wrong("14.5", says="none of −0.5, 0, 0.5")
def out_of_reach():
    return 0.6, 0.9


@wrong("14.5", says="its gradient passes, and it moves", blind=True)
def on_a_flat_stair():
    start, target = 0.2, 0.5
    return start, target

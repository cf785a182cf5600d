"""Wrong answers that students give, and words that the verdict on each must contain."""

import numpy as np

from tinyopt.compress import fold
from tinyopt.course import wrong

# --- 22.1 ---


@wrong("22.1", says="what each line reads *and* what it writes")
def written_only():
    return 32, 16, 24, 104


@wrong("22.1", says="Each array is counted once")
def five_arrays():
    return 40, 16, 24, 104


@wrong("22.1", says="Here are four lines")
def one_walk_for_all():
    return 16, 16, 24, 104


@wrong("22.1", says="4 bytes each, not 8")
def eight_bytes():
    return 128, 32, 48, 104


@wrong("22.1", says="Megabytes are due")
def in_bytes():
    return 64e6, 16e6, 24e6, 104e6


@wrong("22.1", says="One walk still reads x *and* writes y")
def fused_writes_only():
    return 64, 8, 24, 104


@wrong("22.1", says="That is without x")
def without_the_input():
    return 64, 16, 16, 104


@wrong("22.1", says="t is dropped after its last reader")
def all_alive():
    return 64, 16, 40, 104


@wrong("22.1", says="Not all is doubled")
def all_doubled():
    return 64, 16, 24, 128


@wrong("22.1", says="It has an effect")
def no_promotion():
    return 64, 16, 24, 64


@wrong("22.1", says="they are float64, too")
def one_line_only():
    return 64, 16, 24, 80


@wrong("22.1", says="its input t is float32", blind=True)
def t_read_as_float64():
    return 64, 16, 24, 16 + 3 * 32


# --- 22.2 ---


def right_fold(weight, bias, gamma, beta, mean, var, eps):
    """A right fold; those below have one thing wrong."""
    s = gamma / np.sqrt(var + eps)
    b = 0 * mean if bias is None else bias
    return weight * s.reshape(-1, *[1] * (weight.ndim - 1)), s, b, s * (b - mean) + beta


@wrong("22.2", says="divides by its square root")
def by_the_variance(weight, bias, gamma, beta, mean, var, *, eps=1e-5):
    return right_fold(weight, bias, gamma, beta, mean, (var + eps) ** 2, 0)[::3]


@wrong("22.2", says="ε is missing")
def no_eps(weight, bias, gamma, beta, mean, var, *, eps=1e-5):
    return right_fold(weight, bias, gamma, beta, mean, var, 0)[::3]


@wrong("22.2", says="ε stands outside the root")
def eps_outside(weight, bias, gamma, beta, mean, var, *, eps=1e-5):
    return right_fold(weight, bias, gamma, beta, mean, (np.sqrt(var) + eps) ** 2, 0)[::3]


@wrong("22.2", says="γ is missing")
def no_gamma(weight, bias, gamma, beta, mean, var, *, eps=1e-5):
    return right_fold(weight, bias, np.ones_like(gamma), beta, mean, var, eps)[::3]


@wrong("22.2", says="The layer's bias is not scaled")
def bias_not_scaled(weight, bias, gamma, beta, mean, var, *, eps=1e-5):
    folded, s, b, _ = right_fold(weight, bias, gamma, beta, mean, var, eps)
    return folded, b - s * mean + beta


@wrong("22.2", says="β is scaled, too")
def beta_scaled(weight, bias, gamma, beta, mean, var, *, eps=1e-5):
    folded, s, b, _ = right_fold(weight, bias, gamma, beta, mean, var, eps)
    return folded, s * (b - mean + beta)


@wrong("22.2", says="The mean is added")
def mean_added(weight, bias, gamma, beta, mean, var, *, eps=1e-5):
    return right_fold(weight, bias, gamma, beta, -mean, var, eps)[::3]


@wrong("22.2", says="own bias b is lost")
def bias_lost(weight, bias, gamma, beta, mean, var, *, eps=1e-5):
    return right_fold(weight, None, gamma, beta, mean, var, eps)[::3]


@wrong("22.2", says="multiplies the columns of W")
def columns(weight, bias, gamma, beta, mean, var, *, eps=1e-5):
    _, s, _, b = right_fold(weight, bias, gamma, beta, mean, var, eps)
    return weight * s, b


@wrong("22.2", says="The mean is forgotten where there is no bias")
def none_is_none(weight, bias, gamma, beta, mean, var, *, eps=1e-5):
    folded, _, _, b = right_fold(weight, bias, gamma, beta, mean, var, eps)
    return folded, beta if bias is None else b


@wrong("22.2", says="overwrote weight")
def in_place(weight, bias, gamma, beta, mean, var, *, eps=1e-5):
    if weight.flags.writeable:
        weight *= right_fold(np.ones_like(weight), bias, gamma, beta, mean, var, eps)[0]
        return weight, right_fold(weight, bias, gamma, beta, mean, var, eps)[3]
    return right_fold(weight, bias, gamma, beta, mean, var, eps)[::3]


@wrong("22.2", says="another type")
def double(weight, bias, gamma, beta, mean, var, *, eps=1e-5):
    folded, _, _, b = right_fold(weight, bias, gamma, beta, mean, var, eps)
    return folded.astype(float), b.astype(float)


@wrong("22.2", says="out of reach")
def by_the_package(weight, bias, gamma, beta, mean, var, *, eps=1e-5):
    return fold.fold_norm(weight, bias, gamma, beta, mean, var, eps=eps)


@wrong("22.2", says="np.zeros, for one, makes float64", blind=True)
def zeros_for_none(weight, bias, gamma, beta, mean, var, *, eps=1e-5):
    if bias is None:
        bias = np.zeros(len(weight))
    s = gamma / np.sqrt(var + eps)
    return weight * s.reshape(-1, *[1] * (weight.ndim - 1)), s * (bias - mean) + beta


# --- 22.3 ---


@wrong("22.3", says="The signs are turned")
def right_minus_folded():
    return 3, 0, 2, 2


@wrong("22.3", says="The two ends are exchanged")
def turned_filter():
    return -2, 0, -3, 2


@wrong("22.3", says="There is an error")
def nothing_wrong():
    return 0, 0, 0, 2


@wrong("22.3", says="All of b′ is counted")
def whole_bias():
    return -6, 0, -6, 2


@wrong("22.3", says="folded layer's outputs, not its errors")
def outputs():
    return -2, 0, -1, 2


@wrong("22.3", says="In the middle every weight meets a pixel")
def everywhere():
    return -6, -6, -6, 2


@wrong("22.3", says="That is the shift")
def pad_with_the_shift():
    return -3, 0, -2, -1


@wrong("22.3", says="A frame of zeros is what fails")
def pad_with_zero():
    return -3, 0, -2, 0


@wrong("22.3", says="divide by 0.5, do not multiply")
def pad_multiplied():
    return -3, 0, -2, 0.5


@wrong("22.3", says="with the folded weights w′", blind=True)
def shift_times_the_folded_weight():
    return -1.5, 0, -1, 2


# --- 22.4 ---


def right_bias(first_bias, second, second_bias):
    """W₂ b₁ + b₂, where None is 0."""
    parts = [] if first_bias is None else [second @ first_bias]
    parts += [] if second_bias is None else [second_bias]
    return sum(parts) if parts else None


@wrong("22.4", says="The order is turned")
def order_of_reading(first, first_bias, second, second_bias):
    return first @ second, right_bias(first_bias, second, second_bias)


@wrong("22.4", says="multiplied number by number")
def number_by_number(first, first_bias, second, second_bias):
    return first * second, right_bias(first_bias, second, second_bias)


@wrong("22.4", says="It is transposed")
def transposed(first, first_bias, second, second_bias):
    return first.T @ second.T, right_bias(first_bias, second, second_bias)


@wrong("22.4", says="b₁ still goes through the second layer")
def biases_added(first, first_bias, second, second_bias):
    parts = [bias for bias in (first_bias, second_bias) if bias is not None]
    return second @ first, sum(parts) if parts else None


@wrong("22.4", says="not through the first")
def through_the_first(first, first_bias, second, second_bias):
    return second @ first, right_bias(first_bias, first, second_bias)


@wrong("22.4", says="b₁ is missing")
def second_bias_only(first, first_bias, second, second_bias):
    return second @ first, second_bias


@wrong("22.4", says="b₂ is missing")
def first_bias_only(first, first_bias, second, second_bias):
    return second @ first, right_bias(first_bias, second, None)


@wrong("22.4", says="through both layers")
def through_both(first, first_bias, second, second_bias):
    return second @ first, right_bias(first_bias, second @ first, second_bias)


@wrong("22.4", says="The bias is lost where the second layer has none")
def none_if_any(first, first_bias, second, second_bias):
    both = first_bias is not None and second_bias is not None
    return second @ first, right_bias(first_bias, second, second_bias) if both else None


@wrong("22.4", says="out of reach")
def by_the_package_too(first, first_bias, second, second_bias):
    from tinyopt.compress import merge_linears as ready

    return ready(first, first_bias, second, second_bias)


@wrong("22.4", says="overwrote second_bias", blind=True)
def added_in_place(first, first_bias, second, second_bias):
    weight = second @ first
    bias = second_bias
    if first_bias is not None:
        if bias is None:
            bias = second @ first_bias
        else:
            bias += second @ first_bias
    return weight, bias


# --- 22.5 ---


@wrong("22.5", says="That is all values")
def sum_of_all(sizes, first, last):
    return sum(sizes)


@wrong("22.5", says="largest value alone")
def largest(sizes, first, last):
    return max(sizes, default=0)


@wrong("22.5", says="largest value alone")
def gone_in_its_last_step(sizes, first, last):
    steps = range(max(last, default=-1) + 1)
    return max((sum(s for s, a, b in zip(sizes, first, last) if a <= t < b) for t in steps), default=0)


@wrong("22.5", says="Their sizes are due")
def counted(sizes, first, last):
    steps = range(max(last, default=-1) + 1)
    return max((sum(a <= t <= b for a, b in zip(first, last)) for t in steps), default=0)


@wrong("22.5", says="a value is gone *after* its last step")
def one_step_more(sizes, first, last):
    steps = range(max(last, default=-1) + 1)
    return max((sum(s for s, a, b in zip(sizes, first, last) if a <= t <= b + 1) for t in steps), default=0)


@wrong("22.5", says="has a second reader")
def next_step_only(sizes, first, last):
    steps = range(max(last, default=-1) + 1)
    return max((sum(s for s, a in zip(sizes, first) if a <= t <= a + 1) for t in steps), default=0)


@wrong("22.5", says="max() ")
def fails_on_nothing(sizes, first, last):
    steps = range(max(last) + 1)
    return max(sum(s for s, a, b in zip(sizes, first, last) if a <= t <= b) for t in steps)


@wrong("22.5", says="There may be more steps than values", blind=True)
def as_many_steps_as_values(sizes, first, last):
    most = 0
    for step in range(len(sizes)):
        alive = sum(size for size, a, b in zip(sizes, first, last) if a <= step <= b)
        most = max(most, alive)
    return most


@wrong("22.5", says="up to and with max(last)")
def last_step_left_out(sizes, first, last):
    steps = range(max(last, default=0))
    return max((sum(s for s, a, b in zip(sizes, first, last) if a <= t <= b) for t in steps), default=0)


# --- 22.6 ---


def greedy(sizes, order, alive, use_gaps=True):
    """Place in this order; right for the order by size and the right rule of who is alive together."""
    offsets, done = [0] * len(sizes), []
    for i in order:
        end, gaps = 0, []
        for offset, size in sorted((offsets[j], sizes[j]) for j in done if alive(i, j)):
            if offset - end >= sizes[i]:
                gaps.append((offset - end, end))
            end = max(end, offset + size)
        offsets[i] = min(gaps)[1] if gaps and use_gaps else end
        done.append(i)
    return offsets


def together(first, last):
    """The rule: are values i and j alive in one step?"""
    return lambda i, j: first[i] <= last[j] and first[j] <= last[i]


def by_size(sizes):
    """Values, the largest first."""
    return sorted(range(len(sizes)), key=lambda i: -sizes[i])


@wrong("22.6", says="two values overlap while both are alive")
def all_at_zero(sizes, first, last):
    return [0] * len(sizes)


@wrong("22.6", says="a place of its own")
def one_after_the_other(sizes, first, last):
    return [sum(sizes[:i]) for i in range(len(sizes))]


@wrong("22.6", says="A value that is read in a step and one that is written in it")
def read_and_written_at_once(sizes, first, last):
    return greedy(sizes, by_size(sizes), lambda i, j: first[i] < last[j] and first[j] < last[i])


@wrong("22.6", says="A gap between two values is left empty")
def no_gaps(sizes, first, last):
    return greedy(sizes, by_size(sizes), together(first, last), use_gaps=False)


@wrong("22.6", says="in the order of time")
def in_time(sizes, first, last):
    return greedy(sizes, range(len(sizes)), together(first, last))


@wrong("22.6", says="two values overlap")
def offsets_in_order_of_size(sizes, first, last):
    order = by_size(sizes)
    offsets = greedy(sizes, order, together(first, last))
    return [offsets[i] for i in order]


@wrong("22.6", says="two values overlap")
def two_places_in_turn(sizes, first, last):
    return [0 if i % 2 == 0 else max(sizes) for i in range(len(sizes))]


@wrong("22.6", says="where *all* values below it have ended", blind=True)
def end_of_the_one_before(sizes, first, last):
    places = [None] * len(sizes)
    for i in sorted(range(len(sizes)), key=lambda i: (-sizes[i], first[i])):
        near = [j for j in range(len(sizes))
                if places[j] is not None and first[j] <= last[i] and first[i] <= last[j]]
        near.sort(key=lambda j: places[j])
        end, best, at = 0, None, None
        for j in near:
            gap = places[j] - end
            if gap >= sizes[i] and (best is None or gap < best):
                best, at = gap, end
            end = places[j] + sizes[j]
        places[i] = end if at is None else at
    return places

"""Wrong answers that students give, and words that the verdict on each must contain."""

import numpy as np

from tinyopt.compress import importance, surgery, thin
from tinyopt.course import wrong

# --- 11.1 ---


@wrong("11.1", says="*nine* numbers of each channel")
def one_column():
    return [1], 55, 1107, 5184


@wrong("11.1", says="one number of every channel")
def channels_last():
    return list(range(1, 36, 4)), 55, 1107, 5184


@wrong("11.1", says="columns of channel 0")
def counted_from_one():
    return list(range(9)), 55, 1107, 5184


@wrong("11.1", says="bias is missing")
def bias_forgotten():
    return list(range(9, 18)), 54, 1107, 5184


@wrong("11.1", says="Who *reads* the channel")
def readers_forgotten():
    return list(range(9, 18)), 10, 1107, 5184


@wrong("11.1", says="biases of the dense layer stay")
def dense_biases_too():
    return list(range(9, 18)), 60, 1107, 5184


@wrong("11.1", says="*before* the pooling")
def pooled_places():
    return list(range(9, 18)), 55, 27 * 9 + 135, 5184


@wrong("11.1", says="*before* the pooling", blind=True)
def pooled_before_the_convolution():
    columns = list(range(9, 18))
    return columns, 9 + 1 + 9 * 5, 3 * 3 * 9 * 3 + 27 * 5, 4 * 4 * 9 * 6 * 6


@wrong("11.1", says="are *saved*")
def what_is_saved():
    return list(range(9, 18)), 55, 369, 5184


@wrong("11.1", says="reads fewer numbers now")
def dense_layer_uncut():
    return list(range(9, 18)), 55, 972 + 180, 5184


@wrong("11.1", says="Only its filters are counted")
def one_end_only():
    return list(range(9, 18)), 55, 1107, 16 * 9 * 8 * 6


@wrong("11.1", says="what *goes*")
def both_gone():
    return list(range(9, 18)), 55, 1107, 16 * 9 * 2 * 6


# --- 11.2 ---


@wrong("11.2", says="Only the rows are cut")
def rows_only(weight, makes, reads=None, groups=1):
    return weight[makes]


@wrong("11.2", says="Only the columns are cut")
def columns_only(weight, makes, reads=None, groups=1):
    return weight[makes] if weight.ndim == 1 or reads is None else weight[:, reads]


@wrong("11.2", says="It writes zeros")
def zeros_written(weight, makes, reads=None, groups=1):
    if weight.ndim == 1 or reads is None:
        return weight * makes
    ones = [1] * (weight.ndim - 2)
    return weight * makes.reshape(-1, 1, *ones) * reads.reshape(-1, *ones)


@wrong("11.2", says="It keeps what should go")
def turned_round(weight, makes, reads=None, groups=1):
    return weight[~makes] if weight.ndim == 1 or reads is None else weight[~makes][:, ~reads]


@wrong("11.2", says="always the first ones")
def first_ones(weight, makes, reads=None, groups=1):
    if weight.ndim == 1 or reads is None:
        return weight[: makes.sum()]
    return weight[: makes.sum(), : reads.sum()]


@wrong("11.2", says="Rows and columns are exchanged")
def exchanged(weight, makes, reads=None, groups=1):
    if weight.ndim == 1 or reads is None:
        return weight[makes]
    if len(makes) != len(reads):  # else an index error would tell
        return weight[makes][:, reads]
    return weight[reads][:, makes]


@wrong("11.2", says="takes *pairs*")
def pairs(weight, makes, reads=None, groups=1):
    if weight.ndim == 1 or reads is None:
        return weight[makes]
    return weight[makes, reads]


@wrong("11.2", says="Only axes 0 and 1 have channels", blind=True)
def inputs_on_the_last_axis(weight, makes, reads=None, groups=1):  # right for dense layers
    if groups > 1:
        parts = zip(*(np.split(part, groups) for part in (weight, makes, reads)))
        return np.concatenate([inputs_on_the_last_axis(*part) for part in parts])
    if reads is None or weight.ndim == 1 or weight.shape[1] != len(reads):
        return weight[makes]
    return weight[makes][..., reads]


@wrong("11.2", says="bias is as long as before")
def bias_uncut(weight, makes, reads=None, groups=1):
    return weight if weight.ndim == 1 or reads is None else weight[makes][:, reads]


@wrong("11.2", says="out of reach")
def asked_surgery(weight, makes, reads=None, groups=1):
    return surgery.cut_weight(weight, makes, reads, groups)


# --- 11.3 ---


@wrong("11.3", says="strongest")
def strongest(scores, fraction):
    return np.sort(np.argsort(-scores, kind="stable")[: int(fraction * len(scores))])


@wrong("11.3", says="not in ascending order")
def unsorted(scores, fraction):
    return np.argsort(scores, kind="stable")[: int(fraction * len(scores))]


@wrong("11.3", says="rounded down")
def rounded_up(scores, fraction):
    return np.sort(np.argsort(scores, kind="stable")[: int(np.ceil(fraction * len(scores)))])


@wrong("11.3", says="a threshold takes all")
def threshold(scores, fraction):
    n = int(fraction * len(scores))
    return np.flatnonzero(scores <= np.sort(scores)[n - 1]) if n else np.array([], int)


@wrong("11.3", says="Too few")
def below_a_threshold(scores, fraction):
    return np.flatnonzero(scores < np.sort(scores)[int(fraction * len(scores))])


@wrong("11.3", says="These are Booleans")
def mask(scores, fraction):
    return scores <= np.quantile(scores, fraction)


@wrong("11.3", says="channels that *stay*")
def survivors(scores, fraction):
    return np.sort(np.argsort(scores, kind="stable")[int(fraction * len(scores)) :])


@wrong("11.3", says="[-0:] is everything", blind=True)
def the_end_of_the_falling_order(scores, fraction):  # for a count of 0, [-0:] is everything
    n = int(fraction * len(scores))
    return np.sort(np.argsort(-scores, kind="stable")[-n:])


@wrong("11.3", says="the first ones go")
def last_of_equals(scores, fraction):
    order = len(scores) - 1 - np.argsort(scores[::-1], kind="stable")
    return np.sort(order[: int(fraction * len(scores))])


@wrong("11.3", says="These are scores")
def scores_themselves(scores, fraction):
    return np.sort(scores)[: int(fraction * len(scores))]


@wrong("11.3", says="It ranks magnitudes")
def by_magnitude(scores, fraction):
    return np.sort(np.argsort(abs(scores), kind="stable")[: int(fraction * len(scores))])


@wrong("11.3", says="out of reach")
def asked_thin(scores, fraction):
    return thin.weakest(scores, fraction)


# --- 11.4 ---


@wrong("11.4", says="*not* 0")
def active(activation):
    return (activation != 0).reshape(*activation.shape[:2], -1).mean(axis=(0, 2))


@wrong("11.4", says="One number for all")
def one_share(activation):
    return (activation == 0).mean()


@wrong("11.4", says="everything that is not positive")
def not_positive(activation):
    return (activation <= 0).reshape(*activation.shape[:2], -1).mean(axis=(0, 2))


@wrong("11.4", says="also the places are averaged")
def places_kept(activation):
    return (activation == 0).mean(axis=0)


@wrong("11.4", says="also the places are averaged")
def examples_kept(activation):
    return (activation == 0).reshape(*activation.shape[:2], -1).mean(axis=2)


@wrong("11.4", says="divides by the number of images only")
def divided_by_images(activation):
    return (activation == 0).reshape(*activation.shape[:2], -1).sum(axis=(0, 2)) / len(activation)


@wrong("11.4", says="It counts the zeros")
def counted(activation):
    return (activation == 0).reshape(*activation.shape[:2], -1).sum(axis=(0, 2))


@wrong("11.4", says="in *all* places")
def silent_everywhere(activation):
    return (activation == 0).reshape(*activation.shape[:2], -1).all(axis=2).mean(axis=0)


@wrong("11.4", says="in *all* places", blind=True)
def share_of_silent_images(activation):
    silent = (activation == 0).reshape(*activation.shape[:2], -1).all(axis=2)
    return silent.mean(axis=0)


@wrong("11.4", says="small numbers as zeros")
def nearly_zero(activation):
    return (abs(activation) < 0.1).reshape(*activation.shape[:2], -1).mean(axis=(0, 2))


@wrong("11.4", says="out of reach")
def asked_the_score(activation):
    return 1 - importance.neurons.active_share(activation)


# --- 11.5 ---


@wrong("11.5", says="β is above 0")
def the_shift():
    return 1, 2, 0, 1


@wrong("11.5", says="turn a sign")
def positive_mean():
    return 1, 0, 3, 1


@wrong("11.5", says="γ = 0")
def no_scale():
    return 0, 0, -3, 1


@wrong("11.5", says="after the division by √variance")
def not_divided():
    return 1, 0, -3, 100


@wrong("11.5", says="subtracts nothing")
def no_mean():
    return 2, 0, 0, 1


@wrong("11.5", says="cannot be below 0")
def negative_variance():
    return 1, 0, -3, -1


@wrong("11.5", says="*root* of the variance", blind=True)
def without_the_root():
    return 1.0, -1.0, -1.0, 0.5  # 1 / 0.5 − 1 = 1; the norm divides by the root


@wrong("11.5", says="less than 1")
def too_little():
    return 1, 0, -0.5, 1

"""Wrong answers that students give, and words that the verdict on each must contain."""

import numpy as np

from tinyopt.course import wrong

# --- 3.1 ---


@wrong("3.1", says="The ReLU is missing")
def no_relu():
    return [3, -1], [-2, 5, 3], 2.1269, [[0, 0], [0, 0], [0, 0]]


@wrong("3.1", says="The bias b₁ is missing")
def no_bias():
    return [4, 0], [4, 4, 4], np.log(3), [[4 / 9, 0], [4 / 9, 0], [-8 / 9, 0]]


@wrong("3.1", says="Rows and columns of W₁ are exchanged")
def columns_for_rows():
    return [7, 0], [7, 7, 7], np.log(3), [[7 / 3, 0], [7 / 3, 0], [-14 / 3, 0]]


@wrong("3.1", says="This is a probability")
def probability():
    return [3, 0], [3, 3, 3], 1 / 3, [[1, 0], [1, 0], [-2, 0]]


@wrong("3.1", says="Its sign is turned")
def log_without_minus():
    return [3, 0], [3, 3, 3], np.log(1 / 3), [[1, 0], [1, 0], [-2, 0]]


@wrong("3.1", says="another logarithm")
def in_bits():
    return [3, 0], [3, 3, 3], np.log2(3), [[1, 0], [1, 0], [-2, 0]]


@wrong("3.1", says="The factor h[j] is missing")
def g_alone():
    return [3, 0], [3, 3, 3], np.log(3), [[1 / 3, 1 / 3], [1 / 3, 1 / 3], [-2 / 3, -2 / 3]]


@wrong("3.1", says="Every sign is turned")
def turned_gradient():
    return [3, 0], [3, 3, 3], 1.0986, [[-1, 0], [-1, 0], [2, 0]]


@wrong("3.1", says="It is transposed")
def lying_gradient():
    return [3, 0], [3, 3, 3], 1.0986, [[1, 1, -2], [0, 0, 0]]


@wrong("3.1", says="The one-hot is missing")
def without_one_hot():
    return [3, 0], [3, 3, 3], 1.0986, [[1, 0], [1, 0], [1, 0]]


@wrong("3.1", says="Four things are due")
def loss_alone():
    return np.log(3)


@wrong("3.1", says="Rows and columns of W₁ are exchanged", blind=True)
def x_times_w():
    hidden = [2 * 1 + 3 * 2 - 1, 0]  # relu(x W₁ + b₁), and all the rest follows rightly
    return hidden, [7, 7, 7], np.log(3), [[7 / 3, 0], [7 / 3, 0], [-14 / 3, 0]]


# --- 3.2 ---


def with_pullbacks(x, weight, bias, grad_weight, grad_bias=None):
    """The right rule, but for one or two pullbacks."""
    grad_bias = grad_bias or (lambda g: g.sum(axis=0))
    return x @ weight.T + bias, (lambda g: g @ weight, grad_weight, grad_bias)


@wrong("3.2", says="x is missing")
def without_x(x, weight, bias):
    return with_pullbacks(x, weight, bias, lambda g: np.repeat(g.sum(axis=0)[:, None], x.shape[1], axis=1))


@wrong("3.2", says="x is missing")
def without_x_mean(x, weight, bias):
    return with_pullbacks(x, weight, bias, lambda g: g.mean(axis=0))


@wrong("3.2", says="It is transposed")
def lying(x, weight, bias):
    return with_pullbacks(x, weight, bias, lambda g: x.T @ g)


@wrong("3.2", says="divided by N")
def mean_of_examples(x, weight, bias):
    return with_pullbacks(x, weight, bias, lambda g: g.T @ x / x.dtype.type(len(x)))


@wrong("3.2", says="Every sign is turned")
def downhill(x, weight, bias):
    return with_pullbacks(x, weight, bias, lambda g: -g.T @ x)


@wrong("3.2", says="It takes the mean")
def mean_for_bias(x, weight, bias):
    return with_pullbacks(x, weight, bias, lambda g: g.T @ x, lambda g: g.mean(axis=0))


@wrong("3.2", says="The sum over the examples is missing")
def bias_as_it_comes(x, weight, bias):
    return with_pullbacks(x, weight, bias, lambda g: g.T @ x, lambda g: g)


@wrong("3.2", says="It sums over the outputs")
def wrong_axis(x, weight, bias):
    return with_pullbacks(x, weight, bias, lambda g: g.T @ x, lambda g: g.sum(axis=1))


@wrong("3.2", says="which of them must be turned")
def not_turned(x, weight, bias):
    return x @ weight + bias, (lambda g: g @ weight.T, lambda g: x.T @ g, lambda g: g.sum(axis=0))


@wrong("3.2", says="The bias is missing")
def bias_forgotten(x, weight, bias):
    return x @ weight.T, (lambda g: g @ weight, lambda g: g.T @ x, lambda g: g.sum(axis=0))


@wrong("3.2", says="The pullback of x: these shapes do not fit")
def turned_once_more(x, weight, bias):
    return x @ weight.T + bias, (lambda g: g @ weight.T, lambda g: g.T @ x, lambda g: g.sum(axis=0))


@wrong("3.2", says="one pullback for each array")
def one_pullback(x, weight, bias):
    return x @ weight.T + bias, (lambda g: g.T @ x,)


@wrong("3.2", says="divided by N", blind=True)
def one_over_m(x, weight, bias=None):
    y = x @ weight.T + bias
    return y, (
        lambda g: g @ weight,
        lambda g: g.T @ x / len(x),
        lambda g: g.sum(axis=0) / len(x),
    )


# --- 3.3 ---


@wrong("3.3", says="eˣ overflows")
def naive(x, axis=-1):
    y = x - np.log(np.exp(x).sum(axis=axis, keepdims=True))
    return y, (lambda g: g - np.exp(y) * g.sum(axis=axis, keepdims=True),)


@wrong("3.3", says="log(0) = −∞")
def log_of_softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    p = e / e.sum(axis=axis, keepdims=True)
    return np.log(p), (lambda g: g - p * g.sum(axis=axis, keepdims=True),)


@wrong("3.3", says="its own")
def one_maximum_for_all(x, axis=-1):
    shifted = x - x.max()
    y = shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))
    return y, (lambda g: g - np.exp(y) * g.sum(axis=axis, keepdims=True),)


@wrong("3.3", says="sums over the whole array")
def one_sum_for_all(x, axis=-1):
    shifted = x - x.max(axis=axis, keepdims=True)
    y = x - np.log(np.exp(x).sum()) + 0 * shifted
    return y, (lambda g: g - np.exp(y) * g.sum(axis=axis, keepdims=True),)


@wrong("3.3", says="the logarithm is missing")
def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    y = e / e.sum(axis=axis, keepdims=True)
    return y, (lambda g: y * (g - (g * y).sum(axis=axis, keepdims=True)),)


@wrong("3.3", says="The value along axis 0")
def last_axis_only(x, axis=-1):
    shifted = x - x.max(axis=1, keepdims=True)
    y = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return y, (lambda g: g - np.exp(y) * g.sum(axis=1, keepdims=True),)


def right_value(x, axis):
    shifted = x - x.max(axis=axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


@wrong("3.3", says="Σ g is missing")
def no_sum_of_g(x, axis=-1):
    y = right_value(x, axis)
    return y, (lambda g: g - np.exp(y),)


@wrong("3.3", says="This is the pullback of softmax")
def pullback_of_softmax(x, axis=-1):
    y = right_value(x, axis)
    return y, (lambda g: np.exp(y) * (g - (g * np.exp(y)).sum(axis=axis, keepdims=True)),)


@wrong("3.3", says="its own", blind=True)
def largest_of_the_batch(x, *, axis=-1):
    shifted = x - x.max()
    y = shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))

    def pullback(g):
        return g - np.exp(y) * g.sum(axis=axis, keepdims=True)

    return y, (pullback,)


# --- 3.4 ---


@wrong("3.4", says="The kept numbers are not scaled")
def not_scaled(x, uniform, p=0.5):
    kept = (uniform >= p).astype(x.dtype)
    return x * kept, (lambda g: g * kept, None)


@wrong("3.4", says="p is the fraction *removed*")
def keeps_the_dropped(x, uniform, p=0.5):
    kept = ((uniform < p) / max(p, 1e-9)).astype(x.dtype)
    return x * kept, (lambda g: g * kept, None)


@wrong("3.4", says="The share that is kept is 1 − p")
def divided_by_p(x, uniform, p=0.5):
    kept = ((uniform >= p) / p).astype(x.dtype)
    return x * kept, (lambda g: g * kept, None)


@wrong("3.4", says="divide by it")
def multiplied(x, uniform, p=0.5):
    kept = ((uniform >= p) * (1 - p)).astype(x.dtype)
    return x * kept, (lambda g: g * kept, None)


@wrong("3.4", says="hands g on everywhere")
def g_goes_on(x, uniform, p=0.5):
    kept = ((uniform >= p) / max(1 - p, 1e-9)).astype(x.dtype)
    return x * kept, (lambda g: g, None)


@wrong("3.4", says="The factor 1 / (1 − p) is missing")
def mask_alone_on_the_way_back(x, uniform, p=0.5):
    kept = uniform >= p
    return (x * kept / max(1 - p, 1e-9)).astype(x.dtype), (lambda g: g * kept, None)


@wrong("3.4", says="None for the draws")
def one_pullback_for_two(x, uniform, p=0.5):
    kept = ((uniform >= p) / max(1 - p, 1e-9)).astype(x.dtype)
    return x * kept, (lambda g: g * kept,)


@wrong("3.4", says="not whether y is 0", blind=True)
def zero_means_dropped(x, uniform, *, p=0.5):
    if p == 1:
        return np.zeros_like(x), (lambda g: np.zeros_like(g), None)
    y = np.where(uniform < p, 0, x / (1 - p)).astype(x.dtype)
    return y, (lambda g: np.where(y == 0, 0, g / (1 - p)).astype(g.dtype), None)


# --- 3.5 ---


@wrong("3.5", says="tells these two apart")
def other_sums():
    return np.array([1.0, 0.0, 0.0]), np.array([0.0, 2.0, 0.0])


@wrong("3.5", says="tells these two apart")
def twice_as_bright():
    return np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0])


@wrong("3.5", says="are equal")
def the_same_twice():
    return np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0])


@wrong("3.5", says="NaN or infinity")
def not_a_number():
    return np.array([np.nan, 0.0, 0.0]), np.array([0.0, np.nan, 0.0])


@wrong("3.5", says="wrong shape")
def two_numbers():
    return np.array([1.0, 0.0]), np.array([0.0, 1.0])


@wrong("3.5", says="One is a multiple of the other", blind=True)
def same_direction():
    return np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0])

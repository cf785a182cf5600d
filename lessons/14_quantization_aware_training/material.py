"""Lesson 14: two references, oracles, and the tests' names for classic mistakes."""

import math

import numpy as np

from tinyopt import Tensor
from tinyopt.course import Wrong, recognise
from tinyopt.course.compare import NotWritten
from tinyopt.tensor import OPS

LINE = {"low": -1, "high": 1}  # 2 bits, symmetric: three values

# --- 14.1 and 14.5: what the package says ----------------------------------------------------------------


def rounded(x, scale=0.5):
    """What the network sees of x in 2 bits, and ∂y/∂x of the package's rule: two lists."""
    x = Tensor(np.array(x, dtype=float), requires_grad=True)
    y = OPS["fake_quantize"](x, Tensor(np.array(scale)), Tensor(np.array(0.0)), **LINE)
    y.backward(np.ones_like(y.numpy()))
    return y.numpy().tolist(), x.grad.tolist()


def predict():
    """The answers of 14.1, by the package's own rule: what is seen, what is learned, after how many steps."""
    seen, slopes = rounded([0.1, 0.6, -0.7, -0.8])
    weight, steps = 0.6, 0
    while rounded([weight])[0] == [0.5]:
        weight, steps = weight - 0.01 * 4, steps + 1
    return seen, [4 * slope for slope in slopes], steps


def witness():
    """A start and a target of 14.5: 0.9 / 0.5 is rounded to 2, which is clipped, so its gradient is 0."""
    return 0.9, -0.5


def descend(weight, target, n_steps=200, lr=0.05):
    """SGD on (y − target)², y the rounded weight on a fixed line: the weight after each step."""
    path = [float(weight)]
    for _ in range(n_steps):
        (y,), (slope,) = rounded([path[-1]])
        path.append(path[-1] - lr * 2 * (y - target) * slope)
    return path


# --- slow oracles ----------------------------------------------------------------------------------------


def slow_fake_quantize(x, scale, zero_point, g, low, high):
    """Number by number: the values and the gradients."""
    y, grads = np.zeros(x.shape), np.zeros(x.shape)
    scale, zero_point = (np.broadcast_to(a, x.shape) for a in (scale, zero_point))
    for i in np.ndindex(x.shape):
        q = round(float(x[i] / scale[i])) + zero_point[i]
        y[i] = (min(max(q, low), high) - zero_point[i]) * scale[i]
        grads[i] = g[i] if low <= q <= high else 0.0
    return y, grads


def slow_step_gradient(x, step, g, low, high, count):
    """Number by number: the gradient of each number's own copy of the step."""
    grads = np.zeros(x.shape)
    step = np.broadcast_to(step, x.shape)
    for i in np.ndindex(x.shape):
        ratio = x[i] / step[i]
        d = low if ratio <= low else high if ratio >= high else round(float(ratio)) - ratio
        grads[i] = g[i] * d / math.sqrt(count * high)
    return grads


def signs(*shape, seed=0):
    """Random numbers of which the signs are meant."""
    return np.random.default_rng(seed).standard_normal(shape)


# --- the form of an answer, and classic mistakes -----------------------------------------------------------


def parts(result, n_arrays):
    """(value, pullbacks) of a rule; a pullback of an array that needs none may be None, or be left out."""
    form = "A rule returns two things: its value, and a tuple with one pullback for each array."
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        raise Wrong(form, {"yours": type(result).__name__})
    y, pullbacks = result
    pullbacks = tuple(pullbacks) if isinstance(pullbacks, (tuple, list)) else (pullbacks,)
    if y is Ellipsis or Ellipsis in pullbacks:
        raise NotWritten
    if not 1 <= len(pullbacks) <= n_arrays or not callable(pullbacks[0]):
        raise Wrong(f"{form} The first is a function of g.", {"yours": repr(pullbacks)[:60]})
    return y, pullbacks


def numbers(value, what):
    """An array of finite floats, or a sentence."""
    if value is Ellipsis:
        raise NotWritten
    if isinstance(value, (list, tuple)) and any(part is Ellipsis for part in value):
        raise NotWritten
    try:
        array = np.array(value, dtype=float)
    except (TypeError, ValueError):
        raise Wrong(f"{what}: numbers are due.", {"yours": repr(value)[:60]}) from None
    if not np.isfinite(array).all():
        raise Wrong(f"{what}: there is a NaN or an infinity in it.", {"yours": array.tolist()})
    return array


def judge_value(came, x, scale, zero_point, low, high):
    """Compare what is seen of x; name the classic mistakes."""
    due, _ = slow_fake_quantize(x, scale, zero_point, x, low, high)
    came, ratio = numbers(came, "The value"), x / scale
    if came.shape == due.shape and np.allclose(came, due, atol=1e-6):
        return
    q = np.clip(np.rint(ratio) + zero_point, low, high)
    facts = {"yours": came.round(4).reshape(-1)[:4].tolist(), "due": due.round(4).reshape(-1)[:4].tolist()}
    recognise(came, {
        "These are the integers q. The network goes on with floats: y = (q − zero_point) · scale.": q,
        "The zero point is not taken off again: y = (q − zero_point) · scale.": q * scale,
        "Nothing is clipped. An integer beyond low or high does not fit into the bits.":
            np.rint(ratio) * scale,
        "It clips before the zero point is added. The *integer* q has to fit.":
            np.clip(np.rint(ratio), low, high) * scale,
        "Nothing is rounded here, only clipped.":
            (np.clip(ratio + zero_point, low, high) - zero_point) * scale,
        "It rounds down (floor, or a cast). The nearest integer is due: np.rint.":
            (np.clip(np.floor(ratio) + zero_point, low, high) - zero_point) * scale,
        "It cuts towards zero (a cast, or np.trunc). The nearest integer is due: np.rint.":
            (np.clip(np.trunc(ratio) + zero_point, low, high) - zero_point) * scale,
        "x is returned as it came.": x,
        "It multiplies by the scale first. The integer counts steps: x / scale.":
            (np.clip(np.rint(x * scale) + zero_point, low, high) - zero_point) * scale,
        "The zero point has the wrong sign inside the rounding: q = round(x / scale) + zero_point.":
            (np.clip(np.rint(ratio) - zero_point, low, high) - zero_point) * scale,
    }, facts)  # fmt: skip
    if came.shape != due.shape:
        raise Wrong("The value has another shape than x.", {"yours": came.shape, "due": due.shape})
    raise Wrong("The value is another.", facts)


def judge_gradient(came, x, scale, zero_point, g, low, high):
    """Compare the straight-through gradient; name the classic mistakes."""
    _, due = slow_fake_quantize(x, scale, zero_point, g, low, high)
    came, q = numbers(came, "The gradient"), np.rint(x / scale) + zero_point
    if came.shape == due.shape and np.allclose(came, due, atol=1e-6):
        return
    inside = (q >= low) & (q <= high)
    facts = {"q before clipping": q.reshape(-1)[:6].tolist(), "yours": came.round(4).reshape(-1)[:6].tolist(),
             "due": due.round(4).reshape(-1)[:6].tolist()}  # fmt: skip
    recognise(came, {
        "All of it is 0: that is the true slope of a staircase. Straight-through takes 1 inside.": g * 0,
        "It hands g on everywhere. Where q was clipped, y stays the same whatever x does: 0 there.": g,
        "It cuts at the ends of the range, too: low and high themselves fit. Use <= and >=.":
            g * ((q > low) & (q < high)),
        "It is turned round: g passes *inside*, and is 0 where clipped.": g * ~inside,
        "It gives the slope alone. A pullback carries the incoming gradient on: slope · g.": inside * 1.0,
        "It multiplies g by the scale. But y moves as x does, one for one: slope 1.": g * inside * scale,
        "It divides g by the scale. But y moves as x does, one for one: slope 1.": g * inside / scale,
        "It compares x with low and high. These are integers: compare q, before it is clipped.":
            g * ((x >= low) & (x <= high)),
        "It compares x / scale and forgets the zero point. Compare q, before it is clipped.":
            g * ((np.rint(x / scale) >= low) & (np.rint(x / scale) <= high)),
        "It compares before rounding. What is rounded *into* the range is not clipped: compare the whole q.":
            g * ((x / scale + zero_point >= low) & (x / scale + zero_point <= high)),
        "It hands on y instead of g.": slow_fake_quantize(x, scale, zero_point, g, low, high)[0] * inside,
    }, facts)  # fmt: skip
    if came.shape != due.shape:
        raise Wrong("The gradient has another shape than x.", {"yours": came.shape, "due": due.shape})
    raise Wrong("The gradient is another. Inside it is g, where clipped 0.", facts)


def judge_step_gradient(came, x, step, g, low, high, count):
    """Compare LSQ's gradient, before the engine adds up; name the classic mistakes."""
    due, root = slow_step_gradient(x, step, g, low, high, count), math.sqrt(count * high)
    came, ratio = numbers(came, "The gradient"), x / step
    q = np.rint(np.clip(ratio, low, high))
    inside = (ratio > low) & (ratio < high)
    d, total = due * root, due.sum(axis=tuple(range(1, x.ndim)), keepdims=True)
    right = (due, total, due.sum())
    if any(came.shape == one.shape and np.allclose(came, one, atol=1e-6) for one in right):
        return  # summed or not: the engine adds up what is left
    first = ratio.round(3).reshape(-1)[:5].tolist()
    facts = {"x / step": first, "yours": came.round(4).reshape(-1)[:5].tolist(),
             "due": due.round(4).reshape(-1)[:5].tolist()}  # fmt: skip
    mistakes = {
        "The root is missing: divide by √(count · high).": d,
        "It divides by count · high. The square *root* of that is due.": d / (count * high),
        "It multiplies by the root. Divide by it.": d * root,
        "The root holds count alone: √(count · high).": d / math.sqrt(count),
        "The root holds high alone: √(count · high).": d / math.sqrt(high),
        "It takes q alone for d. Inside, x / s is to be taken off: q − x / s.": g * q / root,
        "It takes x / s off everywhere. Where clipped, d is low or high: q alone.": g * (q - ratio) / root,
        "Where clipped it gives 0. But there y = high · s moves with s: d = high (or low).":
            g * (q - ratio) * inside / root,
        "Every sign is turned: d = q − x / s.": -due,
        "Inside, the sign is turned: q − x / s.": g * np.where(inside, ratio - q, q) / root,
        "g is missing: a pullback carries the incoming gradient on.": d / np.where(g == 0, 1, g) / root,
        "That is the gradient of x. The step asks: how does y move with s?": g * inside,
        "It rounds down (floor) in place of rounding to the nearest: d = q − x / s.":
            g * np.where(inside, np.floor(ratio) - ratio, q) / root,
        "It uses x where x / s is due: d counts steps.": g * (q - x * inside) / root,
    }
    recognise(came, mistakes, facts)
    recognise(came, {says: wrong.sum() for says, wrong in mistakes.items()}, facts)
    raise Wrong("The gradient of the step is another. Take a number inside and one clipped, on paper.", facts)


def judge_product(came, a, b, words, length):
    """Compare with the product of floats; name the classic mistakes. `words` are the packed rows."""
    sign_a, sign_b = (np.where(array >= 0, 1, -1) for array in (a, b))
    due = sign_a @ sign_b.T
    came = numbers(came, "The product")
    if came.shape == due.shape and np.array_equal(came, due):
        return
    differ = (length - due) // 2
    n_bits = 64 * words[0].shape[1]
    first = [array.reshape(-1)[:4].tolist() for array in (came, due)]
    facts = {"signs in a row": length, "yours": first[0], "due": first[1]}
    recognise(came, {
        "It counts the places that differ. The sum is D − 2 · that.": differ,
        "It counts the places that agree. Each that differs is a −1, and takes 1 off: D − 2 · differ.":
            length - differ,
        "Each place that differs takes away *two*: a +1 is gone, and a −1 came.": length - differ,
        "The sign is turned: places that agree count +1.": -due,
        "D is missing: D − 2 · (places that differ).": -2 * differ,
        "The 2 is there, but D is missing, and the sign is turned.": 2 * differ,
        "It counts the words' unused ends as well. There are D signs, not 64 times the words.":
            n_bits - 2 * differ,
        "These are the agreements of all bits, the unused ends among them.": n_bits - differ,
        "It is transposed: one row for each row of a.": due.T,
        "AND counts only where both are +1. XOR finds the places that differ.":
            length - 2 * ((sign_a > 0).astype(int) @ (sign_b > 0).astype(int).T),
        "OR is not XOR: it also counts where both are +1.":
            length - 2 * (length - (sign_a < 0).astype(int) @ (sign_b < 0).astype(int).T),
    }, facts)  # fmt: skip
    xor = words[0][:, None] ^ words[1]
    recognise(came, {
        "It counts words that differ, not *bits*: np.bitwise_count counts the ones in a word.":
            length - 2 * (xor != 0).sum(axis=2),
        "Only the first word of each row is counted. Sum over all words.":
            length - 2 * np.bitwise_count(xor[:, :, 0]).astype(int),
    }, facts)  # fmt: skip
    if came.shape != due.shape:
        says = "One number for each pair of a row of a and a row of b is due, (n, O). Sum over the words."
        raise Wrong(says, {"yours": came.shape, "due": due.shape})
    if abs(came).max() > 2.0**31:
        says = "It has run over: unsigned integers have no −1, so the sum wraps round. Use dtype=np.int64."
        raise Wrong(says, facts)
    if np.array_equal(came % 256, due % 256):
        raise Wrong("It has run over: np.bitwise_count gives uint8, which ends at 255. Sum as int64.", facts)
    raise Wrong("The sums are others. D − 2 · (places that differ).", facts)

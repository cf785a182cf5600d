"""The exercises of lesson 14 and their tests. Each test's docstring is the property that it asks for."""

from pathlib import Path

import numpy as np

from tinyopt import Tensor, nn, no_grad, ops
from tinyopt.codec import popcount
from tinyopt.course import Wrong, exercise, recognise, same, task
from tinyopt.course.lessons import load
from tinyopt.tensor import OPS

material = load(Path(__file__).with_name("material.py"))

# --- 14.1 by hand --------------------------------------------------------------------------------------

exercise(
    "14.1",
    material.predict,
    hides=[ops.fake_quantize, ops.lsq],
    proves="You know what the network sees, which weights learn, and why most steps change nothing it sees.",
)


def answers(ex):
    came = ex()
    if not isinstance(came, (tuple, list)) or len(came) != 3:
        raise Wrong("Three answers are due: return seen, gradient, n_steps", {"yours": repr(came)[:60]})
    return came


@task("14.1", hints=[
    "x / 0.5: 0.2, 1.2, −1.4, −1.6. Round these, then clip to −1 ... 1, then multiply by 0.5.",
])  # fmt: skip
def test_what_the_network_sees(ex):
    """Of the four weights, the network sees multiples of 0.5 from −0.5 to 0.5."""
    came, due = material.numbers(answers(ex)[0], "What is seen").reshape(-1), ex.reference()[0]
    recognise(came, {
        "These are the integers. The network sees the integer times the scale.": [0, 1, -1, -1],
        "−0.8 is not clipped: −1.6 is rounded to −2, but the line ends at −1.": [0, 0.5, -0.5, -1],
        "Nothing is rounded here, only clipped.": [0.1, 0.5, -0.5, -0.5],
        "These are the float weights. The network sees them rounded.": [0.1, 0.6, -0.7, -0.8],
        "0.1 / 0.5 = 0.2 is rounded to 0: nearest, not away from 0.": [0.5, 0.5, -0.5, -0.5],
    }, {"yours": came.tolist()})  # fmt: skip
    same(came, due, "what the network sees")


@task("14.1", points=2, hints=[
    "Straight-through: the gradient is 4, or 0 where the integer was clipped.",
    "Round first. −0.7 / 0.5 = −1.4 is rounded to −1: that is inside. And −0.8?",
])  # fmt: skip
def test_which_weights_learn(ex):
    """The gradient is 4 inside the range, and 0 where the integer was clipped."""
    came, due = material.numbers(answers(ex)[1], "The gradient").reshape(-1), ex.reference()[1]
    recognise(came, {
        "All 0: that is the true slope of a staircase. Straight-through takes 1.": [0, 0, 0, 0],
        "All 4. But one of the weights is clipped.": [4, 4, 4, 4],
        "−0.7 is not clipped: −1.4 is rounded to −1, the end of the line, and fits.": [4, 4, 0, 0],
        "0.6 and −0.7 are not clipped: 1.2 and −1.4 are rounded to 1 and −1, and these fit.": [4, 0, 0, 0],
        "0.1 is seen as 0, and 0 is a value inside: its gradient passes.": [0, 4, 4, 0],
        "What is seen as 0, or as an end, is not clipped if it was rounded into it.": [0, 4, 0, 0],
        "It gives the slope, 1 or 0. The gradient is that times 4.": [1, 1, 1, 0],
        "It multiplies by the scale. Straight-through has slope 1.": [2, 2, 2, 0],
        "It is multiplied by what is seen. The gradient is 4 · slope.": [0, 2, -2, 0],
        "It divides by the scale. Straight-through has slope 1.": [8, 8, 8, 0],
    }, {"yours": came.tolist()})  # fmt: skip
    same(came, due, "the gradient")


@task("14.1", hints=["Each step takes 0.01 · 4 = 0.04 off. 0.5 is seen as long as x / 0.5 is above 0.5."])
def test_steps_until_something_is_seen(ex):
    """The float weight moves in every step; what is seen of it changes after many."""
    came, due = material.numbers(answers(ex)[2], "The number of steps"), ex.reference()[2]
    recognise(came, {
        "The float weight moves at once. What the network *sees* changes when it falls below 0.25.": 1,
        "One too few: after 8 steps it is 0.28, still rounded to 0.5.": due - 1,
        "That is when the weight falls below 0.5. But 0.48 is still rounded to 0.5: the border is 0.25.": 3,
        "That is when the weight reaches 0. The border of rounding is half a step, 0.25.": 15,
        "A fraction of a step is no step: round up.": 8.75,
        "One too many: after 9 steps it is 0.24.": due + 1,
        "0.01 alone is not the step: SGD takes lr · gradient = 0.04.": 35,
    }, {"yours": came.tolist()})  # fmt: skip
    same(came, due, "the number of steps")


# --- 14.2 the rule -------------------------------------------------------------------------------------

exercise(
    "14.2",
    ops.fake_quantize,
    hides=[ops.lsq, ops.clip],
    proves="Your rule rounds forward and passes backward, and stops where it clips: a net learns through it.",
)


def a_line(symmetric=True):
    """Numbers inside, at the ends, just beyond, and far beyond a line; its scale, zero point and ends."""
    ratio = np.array([[0.2, 1.2, -1.4, -1.6, 1.49], [0.7, -0.3, 1.7, 5.0, -9.0]])
    if symmetric:
        return 0.25 * ratio, 0.25, 0.0, -1, 1
    return 0.5 * (ratio + 2), 0.5, -2.0, -4, 3


@task("14.2", hints=[
    "q = np.rint(x / scale) + zero_point; then np.clip(q, low, high).",
    "Back to floats: (q − zero_point) · scale.",
])  # fmt: skip
def test_value_of_a_symmetric_line(ex):
    """The value is the nearest multiple of the scale that fits into the bits."""
    x, scale, zero, low, high = a_line()
    y, _ = material.parts(ex(x, scale, zero, low=low, high=high), 3)
    material.judge_value(y, x, scale, zero, low, high)


@task("14.2", hints=["Clip after the zero point is added: the integer must fit. Then take it off."])
def test_value_of_an_affine_line(ex):
    """With a zero point, and with a scale for each row."""
    x, scale, zero, low, high = a_line(symmetric=False)
    for scale, zero in ((scale, zero), (np.array([[0.5], [0.3]]), np.array([[-2.0], [1.0]]))):
        y, _ = material.parts(ex(x, scale, zero, low=low, high=high), 3)
        material.judge_value(y, x, scale, zero, low, high)


@task("14.2", points=2, hints=[
    "Inside the range, take the slope for 1: the pullback hands g on.",
    "Keep q before it is clipped: inside = (q >= low) & (q <= high), and g * inside.",
])  # fmt: skip
def test_straight_through_and_clipped(ex):
    """The pullback hands g on inside the range, low and high included, and gives 0 where q was clipped."""
    for symmetric in (True, False):
        x, scale, zero, low, high = a_line(symmetric)
        g = np.linspace(-2, 2.5, x.size).reshape(x.shape)
        _, pullbacks = material.parts(ex(x, scale, zero, low=low, high=high), 3)
        material.judge_gradient(pullbacks[0](g), x, scale, zero, g, low, high)


@task("14.2")
def test_rule_keeps_the_type(ex):
    """float32 in, float32 out: the value and the gradient."""
    x, scale, zero = np.float32([0.3, -0.9]), np.float32(0.5), np.float32(0)
    y, pullbacks = material.parts(ex(x, scale, zero, low=-1, high=1), 3)
    for name, array in (("value", y), ("gradient", pullbacks[0](np.ones_like(x)))):
        if getattr(array, "dtype", None) != np.float32:
            found = getattr(array, "dtype", type(array).__name__)
            raise Wrong(f"The {name} has another type.", {"yours": found, "due": "float32"})


@task("14.2")
def test_rule_runs_inside_the_engine(ex):
    """A weight behind your rule learns: the gradient of a layer is that of the package."""
    answer = ex(np.array([0.1]), 0.5, 0.0, low=-1, high=1)
    if not isinstance(answer, tuple) or not isinstance(answer[1], tuple) or len(answer[1]) != 3:
        raise Wrong("The engine wants a tuple of three, one for each array: return y, (grad_x, None, None)")
    weight = Tensor(np.array([[0.1, 0.6], [-0.7, -0.8]]), requires_grad=True)
    with ex.installed():
        y = OPS["fake_quantize"](weight, Tensor(np.array(0.5)), Tensor(np.array(0.0)), low=-1, high=1)
        (Tensor(np.array([[1.0, 2.0]])) @ y).backward(np.array([[3.0, 5.0]]))
    same(weight.grad, [[3, 5], [6, 0]], "the gradient of the weight")


# --- 14.3 a step that learns ---------------------------------------------------------------------------

exercise(
    "14.3",
    ops.lsq,
    hides=[ops.fake_quantize],
    proves="Your step learns: clipped numbers pull it up, and rounding errors are balanced inside.",
)


def stepped():
    """Numbers inside a line of steps −2 ... 1 and beyond it, and incoming gradients."""
    ratio = np.array([[0.3, 0.7, -0.4, -1.3], [1.6, 4.0, -2.7, -6.0]])
    return ratio * 0.5, 0.5, np.array([[1.0, -2.0, 3.0, 0.5], [2.0, -1.0, 0.25, 4.0]]), -2, 1


@task("14.3", points=2, hints=[
    "Inside: d = q − x / s. Clipped: d = low or high, and that is q itself.",
    "Both in one: q − ratio * inside.",
    "Then times g, and divided by math.sqrt(count * high).",
])  # fmt: skip
def test_gradient_of_each_number(ex):
    """Inside, d is q − x / s; where clipped, it is low or high; all divided by √(count · high)."""
    x, step, g, low, high = stepped()
    for low, high, count in ((low, high, 8), (-4, 3, 5), (0, 3, 8)):
        _, pullbacks = material.parts(ex(x, np.float64(step), low=low, high=high, count=count), 2)
        if len(pullbacks) != 2 or not callable(pullbacks[1]):
            raise Wrong("Two pullbacks are due, of x and of the step.", {"yours": repr(pullbacks)[:60]})
        came, q = pullbacks[1](g), np.rint(np.clip(x / step, low, high))
        inside, root = (x / step > low) & (x / step < high), np.sqrt(count * high)
        recognise(came, {
            "It divides q by s as well: (q − x) / s. Only x is divided by s: q − x / s. Look at the brackets.":
                g * np.where(inside, (q - x) / step, q) / root,
            "It divides the whole by s, also where clipped. Only x is divided by s: q − x / s, and there q alone.":
                g * (q - x * inside) / step / root,
        }, {"x / step": (x / step).reshape(-1).tolist(), "step": step})  # fmt: skip
        material.judge_step_gradient(came, x, step, g, low, high, count)


@task("14.3", hints=["The given lines are right: y = q · step, and grad_x = g · inside."])
def test_value_and_gradient_of_x_are_untouched(ex):
    """The value is q · s, and the gradient of x is g inside, as given."""
    x, step, g, low, high = stepped()
    y, pullbacks = material.parts(ex(x, np.float64(step), low=low, high=high, count=8), 2)
    same(y, np.array([[0.0, 0.5, 0, -0.5], [0.5, 0.5, -1, -1]]), "the value")
    same(pullbacks[0](g), g * [[1, 1, 1, 1], [0, 0, 0, 0]], "the gradient of x")
    pullbacks[-1](g) * 1.0  # `...` is not written yet


@task("14.3", hints=["The numbers are all clipped above: y = high · s. What is dy/ds?"])
def test_step_grows_when_numbers_are_clipped(ex):
    """A layer that clips too much widens its step."""
    x, step = Tensor(np.array([3.0, 4.0, 5.0, 6.0])), Tensor(np.array(0.5), requires_grad=True)
    with ex.installed():
        y = OPS["lsq"](x, step, low=-2, high=1, count=4)
        ((y - x) ** 2).sum().backward()
    due = (2 * (0.5 - np.array([3.0, 4, 5, 6]))).sum() / 2
    same(step.grad, due, "the gradient of the step")


# --- 14.4 popcount -------------------------------------------------------------------------------------

exercise(
    "14.4",
    popcount.binary_product,
    hides=[popcount.plane_product, popcount.ternary_product, popcount._counted, ops.matmul],
    proves="64 products of signs are one XOR and one count, and the sum is exact.",
)


def judge(ex, n, n_rows, length, seed=0):
    a, b = material.signs(n, length, seed=seed), material.signs(n_rows, length, seed=seed + 1)
    words = popcount.pack_signs(a), popcount.pack_signs(b)
    came, due = ex(*words, length), np.where(a >= 0, 1, -1) @ np.where(b >= 0, 1, -1).T
    agree = 64 * words[0].shape[1] - (length - due) // 2  # of all bits, the unused ends among them
    says = "It counts the bits that agree, and the unused ends agree, too: all are 0. Count those that differ."
    facts = {"signs in a row": length, "unused ends": 64 * words[0].shape[1] - length}
    recognise(came, {says: 2 * agree - length}, facts, due=due)
    material.judge_product(came, a, b, words, length)


@task("14.4", hints=[
    "a[:, None] ^ b has the words of every pair, (n, O, K): ones where the signs differ.",
    "np.bitwise_count counts the ones of each word. Sum over the last axis; dtype=np.int64.",
    "D − 2 · (places that differ).",
])  # fmt: skip
def test_product_of_one_full_word(ex):
    """For rows of 64 signs: the same sums as the product of +1 and −1."""
    judge(ex, 3, 2, 64)


@task("14.4", points=2, hints=["D is `length`: the last word is not full, and its unused bits are all 0."])
def test_product_of_words_that_are_not_full(ex):
    """For any number of signs, the unused ends of the last word do not count."""
    for length in (1, 5, 63, 65, 100, 200):
        judge(ex, 2, 3, length, seed=length)


@task("14.4", hints=["np.bitwise_count gives uint8, which ends at 255: sum(..., dtype=np.int64)."])
def test_product_of_long_rows(ex):
    """For 20,000 signs, of which nearly all differ: the sum does not run over."""
    a, b = material.signs(2, 20_000), -material.signs(2, 20_000)
    words = popcount.pack_signs(a), popcount.pack_signs(b)
    material.judge_product(ex(*words, 20_000), a, b, words, 20_000)


@task("14.4")
def test_product_runs_inside_a_layer(ex):
    """A `BinaryLinear` answers the same with your product as with floats."""
    layer, x = nn.BinaryLinear(70, 3, rng=0), material.signs(4, 70).astype(np.float32)
    due = layer.by_floats(x)
    if not isinstance(ex(popcount.pack_signs(x), popcount.pack_signs(x), 70), np.ndarray):
        raise Wrong("The numbers are right. But the layer goes on with an array: np.array(...).")
    with ex.installed(), no_grad():
        came = layer.by_counting(x)
    same(came, due, "what the layer makes", rtol=1e-5, atol=1e-5)


# --- 14.5 explain this failure -------------------------------------------------------------------------

exercise(
    "14.5",
    material.witness,
    hides=[],
    proves="On a fixed line, a clipped weight has no gradient: it never comes back, however wrong it is.",
)


@task("14.5", points=2, hints=[
    "Find a weight that is clipped: round(x / 0.5) must be outside −1 ... 1.",
    "The network sees it as 0.5 or −0.5. A target must be another of the three values.",
])  # fmt: skip
def test_weight_never_comes_back(ex):
    """The loss is above 0, another of the three values would make it 0, and 200 steps move nothing."""
    answer = ex()
    if not isinstance(answer, (tuple, list, np.ndarray)) or len(answer) != 2:
        raise Wrong("Two numbers are due: return start, target", {"yours": repr(answer)[:60]})
    start, target = material.numbers(list(answer), "Start and target").reshape(-1).tolist()
    if target not in (-0.5, 0.0, 0.5):
        says = "The target is none of −0.5, 0, 0.5. Then no training can reach it, and nothing is shown."
        raise Wrong(says, {"target": target})
    (seen,), (slope,) = material.rounded([start])
    facts = {"start": start, "seen": seen, "target": target}
    if seen == target:
        raise Wrong("The network sees the target already: the loss is 0, there is nothing to learn.", facts)
    path = material.descend(start, target)
    if all(place == start for place in path):
        return
    facts["slope"] = slope
    if start in (-1.0, 1.0, -0.75, 0.75) or abs(start) > 0.5:
        says = "It is beyond 0.5, but *rounded* to the end of the line: that is inside. Its gradient passes."
        raise Wrong(says, facts)
    raise Wrong("This weight is inside the range: its gradient passes, and it moves.", facts)

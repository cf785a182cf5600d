"""The exercises of lesson 13 and their tests. Each test's docstring is the property that it asks for.

Glossary: z, a zero point; acc, an accumulator; a factor is multiplier / 2^shift.
"""

from pathlib import Path

import numpy as np

from tinyopt import Tensor
from tinyopt.compress.integer import convert, reference
from tinyopt.course import Wrong, exercise, same, task
from tinyopt.course.lessons import load
from tinyopt.nn import integer_math

material = load(Path(__file__).with_name("material.py"))
judge_factor, judge_layer, judge_number = material.judge_factor, material.judge_layer, material.judge_number
judge_q, whole = material.judge_q, material.whole

# --- 13.1 a neuron, by hand -------------------------------------------------------------------------------

exercise(
    "13.1",
    material.predict,
    hides=[reference.requantize, reference.round_shift, reference.linear, integer_math.requantize],
    proves="You know what each integer of a neuron is, before any line of code runs.",
)


def hand(ex):
    """The six parts of the answer."""
    return material.parts(ex(), 6, "return bias, stored, acc, q, half, top")


@task("13.1", hints=[
    "One step of the accumulator is input scale · weight scale = 0.1 · 0.05 = 0.005.",
    "Σ w = 7 − 3 = 4, and −z · Σ w = 16 · 4. Add it to the bias.",
])  # fmt: skip
def test_biases_by_hand(ex):
    """The bias in steps of the accumulator, and what is stored: with the zero point's share."""
    bias, stored, *_ = hand(ex)
    judge_number(bias, 120, "The bias", {
        6: "That is in steps of the input's scale, 0.1. The accumulator's steps are 0.1 · 0.05.",
        12: "That is in steps of the weight's scale, 0.05. The accumulator's steps are 0.1 · 0.05.",
        184: "That is the stored one already. First the bias alone.",
    })  # fmt: skip
    judge_number(stored, 184, "The stored bias", {
        56: "The sign is turned: −z · Σ w with z = −16 is +64.",
        120: "The zero point's share, −z · Σ w, is missing.",
        64: "That is the zero point's share alone. The bias itself is missing.",
        136: "It adds 16 once. Each input is shifted, so it is 16 times the *sum of the weights*.",
        280: "The weights are 7 and −3: their sum is 4, not 10.",
    })  # fmt: skip


@task("13.1", hints=["Subtract z from each input: 12 + 16 = 28, and −8 + 16 = 8. Then 7 · 28 − 3 · 8 + 120."])
def test_accumulator_by_hand(ex):
    """The accumulator stands for 1.46, in steps of 0.005."""
    judge_number(hand(ex)[2], 292, "The accumulator", {
        172: "The bias is missing.",
        228: "The zero point is still in the inputs. Subtract it, or use the stored bias.",
        108: "The bias is missing, and the zero point is still in the inputs.",
        356: "It counts the zero point twice: once in the inputs, once in the stored bias.",
        164: "The zero point goes the wrong way: q − z, and z is −16.",
        340: "The second weight is −3: a minus.",
    })  # fmt: skip


@task("13.1", points=2, hints=[
    "292 · 13 = 3796, divided by 2⁷ = 128: 29.66. Then round, and add the zero point.",
    "−320 / 128 = −2.5. Half goes away from zero.",
    "1500 · 13 / 128 = 152.3. An int8 ends at 127.",
])  # fmt: skip
def test_requantized_by_hand(ex):
    """Multiplied, shifted, rounded, shifted to the zero point, and saturated."""
    q, half, top = hand(ex)[3:]
    judge_number(q, 40, "q", {
        39: "With the exact factor 0.1 it is 29.2, or a shift alone rounds down. But 292 · 13 / 128 = 29.66.",
        30: "The zero point of the output, 10, is missing.",
        20: "The zero point of the output is *added* on the way to integers.",
        29: "The zero point of the output, 10, is missing; and 29.66 is nearest to 30.",
    })  # fmt: skip
    judge_number(half, 7, "half", {
        8: "−2.5 was rounded to −2. Here an exact half goes *away* from zero.",
        -3: "The zero point of the output, 10, is missing.",
        -2: "−2.5 was rounded to −2; and the zero point is missing.",
        13: "The sign is lost: it is −2.5.",
        -23: "−320 is the product already: only the shift is left.",
    })  # fmt: skip
    judge_number(top, 127, "top", {
        162: "An int8 ends at 127: saturate.",
        -94: "It wraps around. Saturate: the end of the range, 127.",
        152: "The zero point is missing, and an int8 ends at 127.",
        137: "It saturates before the zero point is added. Clamp last.",
        128: "The largest int8 is 127.",
    })  # fmt: skip


# --- 13.2 a layer in integers ------------------------------------------------------------------------------

exercise(
    "13.2",
    convert.quantize_layer,
    proves="Your integers fill every layer. The zero point costs nothing at run time: it hides in the bias.",
)
CASES = (
    (np.array([[0.35, -0.15, 0.8], [1.0, -2.0, 0.3]]), np.array([0.6, -1.2]), 0.1, -16),
    (np.array([[0.5, 0.25], [-0.4, 0.3], [0.1, 0.11]]), np.array([2.0, -0.7, 0.05]), 0.02, 5),
)


@task("13.2", points=2, hints=[
    "w = round(W / scale), with the scale of each row: W / scale.reshape(-1, 1).",
    "The bias on the accumulator's line: round(b / (in_scale · scale)). Then − in_zero_point · Σ w.",
])  # fmt: skip
def test_dense_layer(ex):
    """w counts steps of its row's scale; the bias counts steps of in_scale · scale, less z · Σ w."""
    for weight, bias, in_scale, z in CASES:
        scale = abs(weight).max(axis=1) / 127
        judge_layer(ex(weight.copy(), bias.copy(), in_scale, z), weight, bias, in_scale, z, scale)


@task("13.2", hints=[
    "A convolution's weight has four axes: scale.reshape(-1, 1, 1, 1), or [-1, *[1] * (weight.ndim - 1)].",
    "Σ w runs over all axes but the first: w.reshape(len(w), -1).sum(axis=1), in a wide type.",
])  # fmt: skip
def test_convolution(ex):
    """The same for a convolution, and without a bias; sums of many int8 do not wrap around."""
    rng = np.random.default_rng(0)
    weight, none = rng.uniform(-0.2, 1, (3, 4, 3, 3)), None
    for bias, z in ((rng.standard_normal(3), -128), (none, 7), (none, 0)):
        scale = abs(weight).reshape(3, -1).max(axis=1) / 127
        judge_layer(ex(weight.copy(), bias, 0.03, z), weight, bias, 0.03, z, scale)


@task("13.2", hints=["w is an int8 array, the bias int32: .astype(np.int8), .astype(np.int32)."])
def test_types(ex):
    """w is stored in int8, the bias in int32."""
    weight, bias, in_scale, z = CASES[0]
    w, stored, scale = ex(weight.copy(), bias.copy(), in_scale, z)
    judge_layer((w, stored, scale), weight, bias, in_scale, z, abs(weight).max(axis=1) / 127)
    for name, array, dtype in (("w", w, np.int8), ("bias", stored, np.int32)):
        if getattr(array, "dtype", None) != dtype:
            says = f"The numbers are right. But {name} should be stored as {np.dtype(dtype)}."
            raise Wrong(says, {"yours": str(getattr(array, "dtype", type(array).__name__))})


@task("13.2")
def test_layer_runs_inside_the_model(ex):
    """A network made with your function computes what the float network computes, up to rounding."""
    weight, bias, in_scale, z = CASES[1]
    judge_layer(ex(weight, bias, in_scale, z), weight, bias, in_scale, z, abs(weight).max(axis=1) / 127)
    net, images = material.small_net()
    with ex.installed():
        made = convert.integerize(net, images)
    error = abs(made(Tensor(images)).numpy() - net(Tensor(images)).numpy()).max()
    if not error < 0.02:
        raise Wrong("The network made with it computes something else.", {"largest error": f"{error:.3f}"})


# --- 13.3 a factor without a float -------------------------------------------------------------------------

exercise(
    "13.3",
    integer_math.fixed_point,
    proves="Your factors run the network: an integer product and a shift, right to one part in two billion.",
)


@task("13.3", hints=[
    "0.05 = 0.8 · 2⁻⁴: frexp gives the mantissa 0.8 and the exponent −4.",
    "multiplier = round(mantissa · 2³¹), and the shift is 31 − exponent = 35.",
])  # fmt: skip
def test_one_factor(ex):
    """0.05, 1/2, and others near 1 or small, one at a time."""
    for factor in (0.05, 0.5, 0.75, 0.001, 0.9999, 0.0303):
        judge_factor(ex(np.array([factor])), [factor])


@task("13.3", hints=[
    "All lines work on arrays: np.rint and np.ldexp (x, n), which is x · 2ⁿ.",
    "Rounded, not cut off: np.rint(np.ldexp(factor, shift)).",
])  # fmt: skip
def test_array_of_factors(ex):
    """A factor for each channel; each has its own shift."""
    factors = np.exp(np.random.default_rng(0).uniform(-12, -0.01, 40))
    judge_factor(ex(factors.copy()), factors)
    for case in (factors[:1], np.array([1 / 3, 1e-3, 1 / 128])):
        judge_factor(ex(case.copy()), case)


@task("13.3", hints=["A shift is at most 62: np.minimum(..., 62), before the multiplier is made from it."])
def test_ends(ex):
    """A tiny factor has a shift of 62; a mantissa that rounds up to 1 still fits 31 bits."""
    for factors in ([1e-12, 0.3], [2.0**-40], [0.5 - 2.0**-40, 0.25], [1 - 2.0**-40]):
        judge_factor(ex(np.array(factors)), factors)


@task("13.3", hints=["Write bits wherever the text has 31: in the shift, and in the multiplier."])
def test_fewer_bits(ex):
    """Multipliers have as many bits as `bits` says: a residual sum adds two products, and takes 30 each."""
    for bits, factors in ((31, [0.05, 0.3]), (30, [0.05, 0.3, 0.001]), (8, [2.0**-24, 1e-8])):
        judge_factor(ex(np.array(factors), bits=bits), factors, bits)


@task("13.3")
def test_factor_runs_inside_the_model(ex):
    """A network made with your factors gives the integers that exact factors give."""
    judge_factor(ex(np.array([0.05, 0.3])), [0.05, 0.3])
    net, images = material.small_net()
    with ex.installed():
        made = convert.integerize(net, images)
    error = abs(made(Tensor(images)).numpy() - net(Tensor(images)).numpy()).max()
    if not error < 0.02:
        raise Wrong("The network made with it computes something else.", {"largest error": f"{error:.3f}"})
    layer = made.layers["conv_requantize"]
    due = [material.slow_requantize(1000, int(m), int(n), 0) for m, n in zip(layer.multiplier, layer.shift)]
    acc = np.full((1, len(due), 1, 1), 1000, np.int32)
    layer.zero_point, layer.relu = np.zeros((), np.int32), False
    same(layer(Tensor(acc)).numpy().ravel(), due, "what becomes of an accumulator of 1000")


# --- 13.4 from int32 to int8 -------------------------------------------------------------------------

exercise(
    "13.4",
    reference.requantize,
    hides=[reference.round_shift, integer_math.requantize],
    proves="Your function, in Python's own integers, is the specification that the fast network is held to.",
)


def ask(ex, acc, multiplier, shift, z, relu=False):
    """One accumulator, judged."""
    judge_q(ex(acc, multiplier, shift, z, relu=relu), acc, multiplier, shift, z, relu)


@task("13.4", hints=[
    "Add half of 2^shift to the magnitude, then // 2**shift. Then the sign, then the zero point, then the clamp.",
    "min(max(r + zero_point, low), 127), where low is −128, or the zero point with a ReLU.",
])  # fmt: skip
def test_rounds_to_the_nearest(ex):
    """The nearest integer to acc · multiplier / 2^shift, plus the zero point."""
    for acc, z in ((292, 10), (-292, 10), (-77, 4), (250, 0), (-250, 1)):
        ask(ex, acc, 13, 7, z)
    ask(ex, 358, 13, 8, -3)
    ask(ex, 1000, 1717986918, 35, 0)


@task("13.4", hints=["Round the magnitude, abs(p), and give the sign back afterwards."])
def test_half_goes_away_from_zero(ex):
    """2.5 becomes 3, and −2.5 becomes −3."""
    for acc in (320, -320, 64, -64, 192, -192, 448):
        ask(ex, acc, 1, 7, 0)
        ask(ex, acc, 1, 7, 5)


@task("13.4", hints=["After the zero point is added: not above 127, and not below −128."])
def test_saturates(ex):
    """What is beyond an int8 becomes its end."""
    for acc, z in ((1500, 10), (-1500, 10), (1200, 100), (-1000, -100), (25000, 0), (-25000, 0)):
        ask(ex, acc, 13, 7, z)


@task("13.4", hints=["With relu=True the lower end is the zero point, the integer that stands for 0.0."])
def test_relu_is_a_clamp(ex):
    """With a ReLU, nothing is below the zero point."""
    for acc, z in ((-50, -128), (300, -20), (-300, -20), (-300, 30), (120, 5), (2000, -128)):
        ask(ex, acc, 13, 7, z, relu=True)


@task("13.4", points=2, hints=["No / and no float: a double has 53 bits. // and >> are exact for integers."])
def test_exact_for_large_products(ex):
    """Products of up to 62 bits: right in the last bit, one below a half and one above."""
    for shift in (54, 55):
        for steps in (5, -5, 40, -41):
            sign = 1 if steps > 0 else -1
            edge = steps * 2**shift + sign * 2 ** (shift - 1)
            for p in (edge - sign, edge, edge + sign):
                ask(ex, p, 1, shift, 3)


@task("13.4")
def test_requantize_runs_inside_the_model(ex):
    """The slow reference, with your function, computes the integers of the fast network."""
    ask(ex, 292, 13, 7, 10)
    net, images = material.small_net()
    made = convert.integerize(net, images)
    with ex.installed():
        came = reference.network(made, images[:2])["fc"]
    same(came, made.integers(images[:2]).numpy(), "the logits")


# --- 13.5 explain this failure --------------------------------------------------------------------------

exercise(
    "13.5",
    material.witness,
    proves="Float32 holds each product, and not their sum. Now you know how long a float32 sum of integers may be.",
)


@task("13.5", points=2, hints=[
    "Up to 2²⁴ = 16,777,216 float32 has every integer; above, only the even ones. So make an odd sum above.",
    "127 · 127 is odd. How many of these pass 2²⁴? Take an odd number of them.",
    "For the friend's test: a product with many factors 2, such as 96 · 96 = 9 · 2¹⁰, stays exact far longer.",
])  # fmt: skip
def test_float32_sum_loses_a_unit(ex):
    """n products w · x whose float32 sum is wrong; and w2 · x2 whose sum passes 2²⁴ as well, and is right."""
    answer = material.parts(ex(), 5, "return w, x, n, w2, x2")
    w, x, n, w2, x2 = (whole(part, name) for part, name in zip(answer, ("w", "x", "n", "w2", "x2")))
    for name, number in (("w", w), ("x", x), ("w2", w2), ("x2", x2)):
        if not -128 <= number <= 127:
            raise Wrong(f"{name} is no int8: −128 … 127.", {"yours": number})
    if not 1 <= n <= 4096:
        raise Wrong("The layer has 4,096 inputs: n is from 1 to 4,096.", {"yours": n})
    material.judge_sums(material.sums(w, x, n), material.sums(w2, x2, n))

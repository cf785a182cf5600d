"""The exercises of lesson 12 and their tests. Each test's docstring is the property that it asks for.

Glossary: x floats, q integers, b bits; the line is x ≈ scale · (q − zero_point).
"""

from pathlib import Path

import numpy as np

from tinyopt import codec
from tinyopt.codec import affine, floats
from tinyopt.compress import bit_budget, calibrate
from tinyopt.course import Wrong, exercise, same, task
from tinyopt.course.draws import normal
from tinyopt.course.lessons import load

material = load(Path(__file__).with_name("material.py"))
parts, expect = material.parts, material.expect

# --- 12.1 a line, by hand ---
exercise(
    "12.1",
    material.predict,
    hides=[affine.scale_from_range, affine.min_max, affine.to_integers, affine.dequantize],
    proves="You laid the line by hand: a step, an integer for 0, and you know what comes back of 2.3.",
)
PREDICTED = "return scale, zero_point, q, back"


@task("12.1", hints=[
    "4 bits hold 16 integers, −8 ... 7. How many steps lie between 16 integers?",
    "The range goes from −1.5 to 4.5, so it is 6 long. scale = 6 / 15.",
])  # fmt: skip
def test_the_step(ex):
    """The scale is the length of the range, divided by the number of steps."""
    scale = parts(ex(), 4, PREDICTED)[0]
    expect(scale, 6 / 15, "the scale", {
        "16 values have 15 steps between them: divide by 2⁴ − 1, not by 2⁴.": 6 / 16,
        "That is the symmetric line. Here the affine one is asked for: from −1.5 to 4.5.": 4.5 / 7,
    })


@task("12.1", points=2, hints=[
    "The integer −8 is for the lowest number, −1.5. 0 lies 3.75 steps above it, rounded 4: count 4 up.",
    "q = round(2.3 / scale) + zero_point, and 2.3 / 0.4 = 5.75.",
    "Back: scale · (q − zero_point) = 0.4 · 6.",
])  # fmt: skip
def test_there_and_back(ex):
    """The zero point is the integer for 0; q counts steps from there; back comes that number of steps."""
    _, zero_point, q, back = parts(ex(), 4, PREDICTED)
    expect(zero_point, -4, "the zero point", {
        "That counts from 0 up: the integers of 4 bits without sign. Here they begin at −8.": 4,
        "You counted down from −8. But 0 lies above −1.5: count up.": -12,
        "The zero point must be a whole number, or else no integer stands for 0. Round it.": -4.25,
    })  # fmt: skip
    expect(q, 2, "q, the integer for 2.3", {
        "5.75 steps are nearest to 6, not to 5: round, do not cut off.": 1,
        "6 steps are right; but they are counted from the zero point, so add it.": 6,
    })  # fmt: skip
    expect(back, 2.4, "what comes back of 2.3", {
        "2.3 itself does not come back: it was rounded. What comes back is a whole number of steps.": 2.3,
        "You multiplied q by the scale. First take the zero point off: scale · (q − zero_point).": 0.8,
    })  # fmt: skip


# --- 12.2 the line for a range ---
exercise(
    "12.2",
    affine.scale_from_range,
    proves="Your line holds 0 exactly, uses all integers, and fits a range of any place and size.",
)
LINE = "return scale, zero_point"


@task("12.2", points=2, hints=[
    "low lands on `lowest`, high on `highest`. So scale = (high − low) / (highest − lowest).",
    "zero_point = lowest − round(low / scale). np.rint rounds.",
])  # fmt: skip
def test_affine_line_of_a_range_around_zero(ex):
    """The lowest number of the range lands on the lowest integer, the highest on the highest."""
    for low, high, bits in ((-1.0, 2.5, 3), (-0.3, 0.7, 8), (-1.7, 0.2, 4)):
        scale, zero_point = parts(ex(low, high, bits=bits, symmetric=False), 2, LINE)
        due, lowest = (high - low) / (2**bits - 1), -(2 ** (bits - 1))
        mistake = "It divides by 2^bits. 2^bits integers have only 2^bits − 1 steps between them."
        expect(scale, due, f"the scale for [{low}, {high}]", {mistake: (high - low) / 2**bits})
        expect(zero_point, lowest - round(low / due), f"the zero point for [{low}, {high}]", {
            "It counts the integers from 0. Here the lowest is −2^(bits − 1).": -round(low / due),
            "It counts down from the lowest. 0 lies above low, so count up.": lowest + round(low / due),
            "The zero point is no whole number, so no integer stands for 0. Round it.": lowest - low / due,
        })


@task("12.2", points=2, hints=[
    "The range [5, 10] has no 0 in it. But 0 must be on the line: padding, ReLU and pruning make zeros.",
    "First widen the range: low = np.minimum(low, 0), high = np.maximum(high, 0).",
])  # fmt: skip
def test_the_range_is_widened_to_hold_zero(ex):
    """A range without 0 is widened up to 0: [5, 10] becomes [0, 10], and [−10, −5] becomes [−10, 0]."""
    for low, high, zero in ((5.0, 10.0, -128), (-10.0, -5.0, 127)):
        scale, zero_point = parts(ex(low, high, symmetric=False), 2, LINE)
        where = f"for the range [{low:g}, {high:g}]"
        mistake = f"It does not widen the range {where}: then no integer stands for 0."
        expect(scale, 10 / 255, f"the scale {where}", {mistake: 5 / 255})
        same(zero_point, zero, f"the zero point {where}")


@task("12.2", hints=[
    "symmetric=True: zero_point = 0, and the farther end of the range lands on `highest` (or on −highest).",
    "scale = max(high, −low) / highest. Compare element by element: np.maximum(high, -low).",
])  # fmt: skip
def test_symmetric_line(ex):
    """Symmetric: the end that is farther from 0 gets the highest integer; the zero point is 0."""
    for low, high in ((-1.0, 2.5), (-2.5, 1.0), (5.0, 10.0), (-10.0, -5.0)):
        scale, zero_point = parts(ex(low, high, bits=4), 2, LINE)
        mistakes = {"It divides by 2^(bits − 1). The highest integer is one less.": max(high, -low) / 8}
        if -low > high:
            mistakes["It looks at high alone. The low end can be farther from 0."] = max(high, 0) / 7
        expect(scale, max(high, -low) / 7, f"the symmetric scale for [{low:g}, {high:g}] in 4 bits", mistakes)
        same(zero_point, 0, "the symmetric zero point")


@task("12.2", hints=[
    "low and high may be arrays, one range for each channel: np.minimum, np.maximum, no `if`.",
    "A channel of zeros has the range [0, 0]. Keep the scale above 0: np.maximum(scale, tiny).",
])  # fmt: skip
def test_one_line_for_each_channel_and_none_with_scale_zero(ex):
    """Ranges of many channels at once; a channel of zeros gets a tiny scale, not 0."""
    low, high = np.array([-1.0, 0.0, 0.5], np.float32), np.array([1.0, 0.0, 5.1], np.float32)
    for symmetric, due in ((True, [1 / 7, 5.1 / 7]), (False, [2 / 15, 5.1 / 15])):
        with np.errstate(all="ignore"):  # 0 / 0 has its own sentence, below
            scale, zero_point = parts(ex(low, high, bits=4, symmetric=symmetric), 2, LINE)
        if np.shape(scale) == () or np.shape(scale) == (3,) and np.allclose(scale, scale[0]):
            says = "One scale came for three ranges. Compare range by range: np.maximum(a, b), no np.max over all."
            raise Wrong(says, {"yours": scale})
        if np.shape(scale) != (3,) or np.shape(zero_point) != (3,):
            facts = {"scale": f"shape {np.shape(scale)}", "zero_point": f"shape {np.shape(zero_point)}"}
            raise Wrong("Three ranges need three scales and three zero points.", facts)
        same(np.array(scale, dtype=float)[[0, 2]], due, "the scales of channels 0 and 2", rtol=1e-5)
        if not 0 < scale[1] < np.inf or not np.isfinite(zero_point[1]):
            raise Wrong("A channel of zeros has the range [0, 0]. A scale of 0 is divided by later.")


# --- 12.3 floats to integers ---
exercise(
    "12.3",
    affine.to_integers,
    hides=[affine.quantize],
    proves="Scale, round, shift, clamp, and only then cast: your integers are those that the file stores.",
)


@task("12.3", points=2, hints=[
    "How many steps is x long? x / scale. Round that, then add the zero point.",
    "np.rint rounds to the nearest whole number, and ties to the even one.",
])  # fmt: skip
def test_rounds_to_the_nearest_step(ex):
    """q is the number of steps, rounded to the nearest (ties to even), counted from the zero point."""
    x = np.array([0.0, 0.24, 0.26, -0.24, -0.26, 1.25, 1.75, -3.1])
    came = ex(x, np.array(0.5), np.array(3, np.int32), symmetric=False)
    expect(came, [3, 3, 4, 3, 2, 5, 7, -3], "q of (0, 0.24, 0.26, …) with scale 0.5, zero point 3", {
        "It cuts the decimals off, as a cast does. Take the nearest: np.rint.": np.trunc(x / 0.5) + 3,
        "It always rounds down. The nearest integer is due: np.rint.": np.floor(x / 0.5) + 3,
        "It rounds after adding. 1.25 are 2.5 steps, a tie: first to the even 2.": np.rint(x / 0.5 + 3),
        "It rounds ties up. 2.5 steps go to the even 2: np.rint.": np.floor(x / 0.5 + 0.5) + 3,
        "The zero point is not added. x = 0 should become 3.": np.rint(x / 0.5),
        "The zero point is taken off: add it on the way there.": np.rint(x / 0.5) - 3,
    })


@task("12.3", points=2, hints=[
    "An int8 holds −128 ... 127. A cast keeps the lowest 8 bits: 150 becomes −106. What must come first?",
    "np.clip(steps, lowest, highest), and then .astype(np.int8).",
])  # fmt: skip
def test_clips_and_then_casts(ex):
    """Numbers beyond the range get the last integer on their side: clip first, cast afterwards."""
    x = np.array([12.7, 12.8, 15.0, 25.6, -15.0, 1000.0])
    came = ex(x, np.array(0.1), np.array(0, np.int32))
    if np.shape(came) == x.shape and came[2] < 0:
        raise Wrong("It casts before it clips: 150 steps wrap round in an int8.", {"yours": came[2]})
    wrongs = {
        "It does not clip. 8 bits hold no 150.": np.rint(x / 0.1),
        "It clips at −128, the end of the affine line. The symmetric line, asked for here, ends at −127: "
        "integer_range(bits, symmetric).": [127, 127, 127, 127, -128, 127],
    }
    due = [127, 127, 127, 127, -127, 127]
    expect(came, due, "q of (12.7, 12.8, 15, 25.6, −15, 1000) with scale 0.1", wrongs)
    shifted = ex(np.array([9.0, -9.0]), np.array(1.0), np.array(5, np.int32), bits=4, symmetric=False)
    mistake = "It clips before it adds the zero point. The integers must fit, so clip the sum."
    wrongs = {mistake: [7, -3], f"{mistake} ": [12, -3]}
    expect(shifted, [7, -4], "q of (9, −9) in 4 bits, scale 1, zero point 5", wrongs)


@task("12.3", hints=[
    "The symmetric line uses −127 ... 127, the affine one −128 ... 127: ask integer_range(bits, symmetric).",
    "int8 holds up to 8 bits; above that take int16.",
])  # fmt: skip
def test_integers_of_each_width(ex):
    """The type is int8 up to 8 bits, int16 above; symmetric integers end at −(2^(b−1) − 1)."""
    x, one, zero = np.array([-1e6, 1e6], np.float32), np.array(1, np.float32), np.array(0, np.int32)
    for bits, kind in ((2, np.int8), (8, np.int8), (12, np.int16)):
        for symmetric in (True, False):
            came = ex(x, one, zero, bits=bits, symmetric=symmetric)
            came_as = getattr(came, "dtype", type(came).__name__)
            if came_as != kind:
                raise Wrong(f"The type for {bits} bits is another one.", {"due": np.dtype(kind)})
            mistake = "Symmetric integers begin one later, so that −q is there for each q."
            if not symmetric:
                mistake = "That is where the symmetric integers begin. The affine line uses the lowest, too."
            wrongs = {mistake: affine.integer_range(bits, not symmetric)}
            due, name = affine.integer_range(bits, symmetric), "symmetric" if symmetric else "affine"
            expect(came, due, f"the two ends of {bits} bits, {name},", wrongs)


@task("12.3", hints=[
    "axis=0 means one scale for each row: shape (C,). It must become (C, 1) to divide an array (C, D).",
    "along(scale, x, axis) does that, for any axis; so does reshape.",
])  # fmt: skip
def test_one_scale_for_each_channel(ex):
    """With `axis`, each channel is divided by its own scale, along that axis."""
    x, scale = np.array([[1.0, 2, 3], [10, 20, 30], [2, 4, 6]]), np.array([1.0, 10, 2])
    zero = np.array([0, 1, -1], np.int32)
    rows = np.array([[1, 2, 3], [2, 3, 4], [0, 1, 2]])
    came = ex(x, scale, zero, axis=0)
    mistake = "axis=0: one scale for each row; yours divides each column by one."
    expect(came, rows, "q with one scale for each row", {mistake: np.rint(x / scale) + zero})
    same(ex(x.T, scale, zero, axis=1), rows.T, "q with one scale for each column")


@task("12.3")
def test_to_integers_runs_inside_the_package(ex):
    """With your function inside, a random weight comes back with at most half a step of error."""
    for symmetric in (True, False):
        x = normal(4, 30).astype(np.float32)
        scale, zero_point = codec.choose_scale(x, bits=5, axis=0, symmetric=symmetric)
        with ex.installed():
            q = affine.to_integers(x, scale, zero_point, bits=5, axis=0, symmetric=symmetric)
        worst = float((abs(codec.dequantize(q, scale, zero_point, 0) - x) / scale[:, np.newaxis]).max())
        if not worst <= 0.5001:
            raise Wrong(f"A number comes back by {worst:.2f} steps off. Half a step is the most.")


# --- 12.4 a range without its outliers ---
exercise(
    "12.4",
    calibrate.percentile,
    proves="Your range leaves the few far numbers out, so that all the others get finer steps.",
)


@task("12.4", points=2, hints=[
    "The upper end is the number that `percent` % of all numbers do not exceed: np.percentile(x, percent).",
    "The lower end mirrors it: np.percentile(x, 100 - percent).",
])  # fmt: skip
def test_the_two_ends(ex):
    """(100 − percent) % of the numbers lie above high, and as many below low."""
    x = np.random.default_rng(5).permutation(np.arange(101.0) ** 2 - 100)  # percentile p is p² − 100
    came, magnitude = parts(ex(x, 95), 2, "return low, high"), np.percentile(abs(x), 95)
    expect(came, [-75, 8925], "the range of 0² − 100 … 100² − 100 at 95 %", {
        "It cuts 2.5 % off at each end. (100 − percent) % at *each* end are due.": [-93.5, 9406.5],
        "It takes the percentile of |x| for both ends. Each end has its own.": [-magnitude, magnitude],
        "The two ends are exchanged: low comes first.": [8925, -75],
        "It cuts the upper end only. low is still the smallest number.": [-100, 8925],
        "It shortens the range by 5 %. Count numbers, not length: np.percentile.": [150, 9650],
        "It shortens the range by 5 % at each end. Count numbers, not length: np.percentile.": [400, 9400],
    }, labels=("low", "high"))
    same(parts(ex(x, 100), 2, "return low, high"), [-100, 9900], "the range at 100 %")


@task("12.4", hints=["percent is in percent: 99.9, not 0.999. The default is 99.9."])
def test_one_far_number_does_not_matter(ex):
    """Of 10,001 numbers ten lie beyond each end by default, so that one far number does not matter."""
    x = np.random.default_rng(3).normal(size=10_000)
    low, high = parts(ex(np.append(x, [1e6])), 2, "return low, high")
    if high > 100:
        raise Wrong("One number of 10,001 sets the range. 99.9 % should leave out ten.", {"high": high})
    same([(x < low).sum(), (x > high).sum()], [10, 9], "the number of normal numbers beyond each end")


@task("12.4", hints=[
    "`axis` is the axis that stays: axis=0 is one range for each row. np.percentile is told the others.",
    "other_axes(x, axis) lists them: np.percentile(x, percent, axis=other_axes(x, axis)).",
])  # fmt: skip
def test_one_range_for_each_channel(ex):
    """With `axis`, each place along that axis has its own range."""
    x = np.stack([np.arange(0.0, 101), np.arange(0.0, 1010, 10)])  # (2, 101)
    low, high = parts(ex(x, 90, axis=0), 2, "return low, high")
    if np.shape(low) == (101,):
        raise Wrong("It keeps the other axis: axis=0 means one range for each row, so 2, not 101.")
    if np.shape(low) == ():
        raise Wrong("It gives one range for all. With axis=0 each row has its own.")
    same(low, [10, 100], "low of both rows")
    same(high, [90, 900], "high of both rows")
    cube = np.repeat(x.T[:, :, np.newaxis], 3, axis=2)  # (101, 2, 3)
    same(parts(ex(cube, 90, axis=1), 2, "return low, high"), [[10, 100], [90, 900]], "ranges along axis 1")


# --- 12.5 explain this failure ---
exercise(
    "12.5",
    material.witness,
    proves="You know what wraps: a large plus can become a minus, a zero, or by chance the right number.",
)


@task("12.5", hints=["Three numbers above 12.7: return turned, lost, hidden"])
def test_three_numbers_beyond_the_range(ex):
    """The answer is three positive numbers beyond 12.75, where the range ends."""
    numbers = parts(ex(), 3, "return turned, lost, hidden")
    for name, x in zip(("turned", "lost", "hidden"), numbers):
        if not np.isfinite(float(x)) or abs(x) > 1e6:
            raise Wrong(f"{name} should be a common number, not as large as that.", {"yours": x})
        if x <= 12.75:
            facts = {"yours": f"{name} = {x}", "steps": f"{np.rint(float(x) / 0.1):g}"}
            raise Wrong(f"{name} is still in range: 127 steps or less do not wrap round.", facts)


@task("12.5", points=2, hints=[
    "An int8 keeps steps modulo 256: 128 ... 255 steps become −128 ... −1.",
    "256 steps become 0. Each step is 0.1 long.",
    "hidden: which number of steps above 127 becomes 127, as the clamp would have given?",
])  # fmt: skip
def test_each_number_fails_in_its_own_way(ex):
    """By the wrong way turned comes back negative, lost as 0, and hidden as by the right way."""
    came, right = material.both(numbers := parts(ex(), 3, "return turned, lost, hidden"))
    names = ("x", "wrong way", "right way")
    facts = [dict(zip(names, np.round(three, 2).tolist())) for three in zip(numbers, came, right)]
    as_steps, _ = material.both(np.array(numbers, dtype=float) * material.SCALE)
    if as_steps[0] < 0 and np.allclose(as_steps[1:], (0, 12.7)):
        raise Wrong("These are steps. Numbers are due: each step is 0.1 long.", facts[0])
    beyond = np.rint(np.array(numbers, dtype=float) / material.SCALE) - (0, 0, 127)  # whole rounds are due
    short = [" One round of an int8 is 256 steps, not 255." if steps % 255 == 0 else "" for steps in beyond]
    if came[0] >= 0:
        raise Wrong("turned does not come back negative.", facts[0])
    if came[1]:
        raise Wrong(f"lost does not come back as 0.{short[1]}", facts[1])
    if abs(came[2] - right[2]) > 1e-9:
        raise Wrong(f"hidden shows the mistake: the two ways differ there.{short[2]}", facts[2])


# --- 12.6 codes to numbers ---
exercise(
    "12.6",
    floats.decode,
    proves="You read a float bit by bit: a sign, a power of two, and digits with or without a 1 in front.",
)


@task("12.6", points=2, hints=[
    "Three factors: the sign, a power of two, and 1 + mantissa / 2^m. m is f.mantissa_bits.",
    "2.0 ** (exponent - f.bias) * (1 + mantissa / 2**f.mantissa_bits), and the sign: 1 - 2 * sign.",
])  # fmt: skip
def test_a_code_is_a_sign_a_power_and_digits(ex):
    """Above exponent 0, the number is (−1)^sign · 2^(exponent − bias) · (1 + mantissa / 2^m)."""
    codes = [0b0_0111_000, 0b0_0111_110, 0b1_1001_000, 0b0_1111_110, 0b0_0001_000, 0b1_0110_011]
    codes = np.array(codes, np.uint8)
    due = [1, 1.75, -4, 448, 2.0**-6, -0.6875]
    expect(ex(codes, "fp8_e4m3"), due, "E4M3's (1, 1.75, −4, 448, 2⁻⁶, −0.6875)", {
        "That is the larger number of the two lines. The exponent decides which line holds, not the number.":
            np.maximum(due, material.variant(codes, "fp8_e4m3", power=1, one=0)),
        "The 1 in front of the mantissa is missing: it is not stored, but it is there.":
            material.variant(codes, "fp8_e4m3", one=0),
        "The bias is not taken off the exponent.": material.variant(codes, "fp8_e4m3", bias=7),
        "All powers are half of what is due: the bias is 2^(e − 1) − 1, one less.":
            material.variant(codes, "fp8_e4m3", bias=-1),
        "The bias is added. Take it off: small exponents stand for powers below 1.":
            material.variant(codes, "fp8_e4m3", bias=14),
        "The sign bit has no effect: 1 means minus.": material.variant(codes, "fp8_e4m3", signed=False),
        "The sign is turned: 1 means minus, 0 plus.": -np.array(due),
        "The mantissa counts parts of 2^m, not of 2^m − 1.": material.variant(codes, "fp8_e4m3", digits=7),
    })  # fmt: skip


@task("12.6", points=2, hints=[
    "Where the exponent is 0, there is no 1 in front, and the power is 1 − bias, as for exponent 1.",
    "np.maximum(exponent, 1) - f.bias is the power; (exponent > 0) is the digit in front.",
])  # fmt: skip
def test_subnormal_numbers_and_zero(ex):
    """Exponent 0 has no 1 in front and the power 1 − bias: even steps from 0 to the first normal number."""
    for format, n_bits in (("fp8_e4m3", 3), ("fp8_e5m2", 2)):
        codes = np.arange(2**n_bits + 1, dtype=np.uint8)  # the last is the first normal number
        due = codes * 2.0 ** (1 - floats.named(format).bias - n_bits)
        expect(ex(codes, format), due, f"{format}, exponent 0 and the first number after it,", {
            "Exponent 0 is treated as the others are, so that there is no 0. It has a line of its own.":
                material.variant(codes, format, extra=0, subnormal=0),
            "There is still a 1 in front of numbers with exponent 0, so that there is no 0.":
                material.variant(codes, format, extra=0),
            "With exponent 0 the power is 1 − bias, not −bias: else a gap follows before exponent 1.":
                material.variant(codes, format, subnormal=0),
            "All numbers with exponent 0 became 0. Their mantissa still counts.":
                np.where(codes < 2**n_bits, 0, due),
        })  # fmt: skip


@task("12.6", hints=["Ask named(format) for mantissa_bits and bias: each format has its own."])
def test_other_formats(ex):
    """The same formula reads fp4, fp16 and bf16."""
    fp4 = np.arange(16, dtype=np.uint8)
    half = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
    fp16 = np.array([0x3C00, 0x0001, 0xC248, 0x7BFF, 0x8400], np.uint16)
    bf16 = np.array([0x3F80, 0xC049, 0x0080, 0x7F7F], np.uint16)
    as_float32 = (bf16.astype(np.uint32) << 16).view(np.float32)  # bf16 is the upper half of a float32
    cases = (("fp4_e2m1", fp4, half + [-x for x in half]), ("fp16", fp16, fp16.view(np.float16)),
             ("bf16", bf16, as_float32))  # fmt: skip
    for format, codes, due in cases:
        f = floats.named(format)
        mistakes = {"It has the bias of E4M3, 7, for all formats: take f.bias.":
                    material.variant(codes, format, bias=f.bias - 7, subnormal=1)}  # fmt: skip
        if f.mantissa_bits != 3:
            mistake = "The mantissa is divided by 8 in every format: 2^m, with the m of the format."
            mistakes[mistake] = material.variant(codes, format, digits=8)
        expect(ex(codes, format), np.array(due, float), f"numbers of {format}", mistakes, atol=0)


@task("12.6")
def test_decode_runs_inside_the_package(ex):
    """With your function inside, weights come back from E4M3 with an error of 1/16 of each at most."""
    x = normal(4, 30).astype(np.float32)
    scale = floats.absmax_scale(x, "fp8_e4m3", axis=0)
    with ex.installed():
        back = floats.from_codes(floats.to_codes(x, scale, "fp8_e4m3"), scale, "fp8_e4m3")
    if np.shape(back) != x.shape:
        raise Wrong("A matrix of codes makes a matrix of numbers.", {"yours": f"shape {np.shape(back)}"})
    worst = float((abs(back - x) / np.maximum(abs(x), scale * 2.0**-6)).max())
    if not worst <= 1 / 16 + 1e-6:
        raise Wrong(f"A weight comes back {worst:.3f} of its size off; half of 1/8 is the most.")


# --- 12.7 the best bits under a budget ---
exercise(
    "12.7",
    bit_budget.cheapest,
    proves="Your choice is exact: no other has a lower sum of costs within the budget.",
)


def judged(ex, costs, sizes, budget):
    """Ask for a choice; its sum of costs must be the least of all ways that keep the budget."""
    came = ex(costs.copy(), sizes.copy(), budget)
    options = np.asarray(came, dtype=object)
    if any(part is Ellipsis for part in options.reshape(-1)):
        same(..., 0, "the choice")  # says "not written yet"
    if options.shape != (len(costs),) or not all(i in range(-1000, 1000) for i in options):
        raise Wrong(f"One option for each of {len(costs)} layers is due, as an index.", {"yours": repr(came)})
    facts = {"yours": options.tolist(), "budget": budget}
    if not all(0 <= i < costs.shape[1] for i in options):
        raise Wrong(f"An option is an index, 0 … {costs.shape[1] - 1}: not its size, nor its cost.", facts)
    options, ways = options.astype(int), material.all_ways(costs, sizes)
    size, cost = material.total(sizes, options), material.total(costs, options)
    if size > budget:
        raise Wrong("The sizes sum to more than the budget.", facts | {"sum of sizes": f"{size:g}"})
    least, _, best = min(way for way in ways if way[1] <= budget)
    if cost > least + 1e-9:
        facts |= {"sum of costs": f"{cost:g}", "due": f"{least:g}, by {list(best)}"}
        for says, wrong in material.misled(costs, sizes, budget, ways).items():
            if (options == wrong).all():
                raise Wrong(says, facts)
        raise Wrong("There is a choice with a lower sum of costs within the budget.", facts)


COSTS = np.array([[0.0, 2.0, 7.0], [0.0, 9.0, 4.0], [0.0, 3.0, 8.0]])
SIZES = np.array([[8, 4, 2], [12, 6, 3], [30, 15, 9]])


@task("12.7", points=2, hints=[
    "itertools.product(range(K), repeat=L) lists all ways. Keep those within the budget; take the cheapest.",
    "The sum for a way: sum(costs[i, k] for i, k in enumerate(way)).",
    "min over the ways whose sizes sum to `budget` at most, key=the sum of costs.",
])  # fmt: skip
def test_the_least_cost_within_the_budget(ex):
    """Of all choices that keep the budget, yours has the least sum of costs."""
    for budget in (44, 34, 28, 23, 18):
        judged(ex, COSTS, SIZES, budget)


@task("12.7", hints=["The sum of sizes may be equal to the budget: <=, not <."])
def test_the_whole_budget_may_be_used(ex):
    """A choice that takes just the budget is allowed."""
    for budget in (50, 35, 14):
        judged(ex, COSTS, SIZES, budget)


@task("12.7", hints=["Of two ways with equal sums of costs and of sizes, drop one, not both."])
def test_two_layers_alike(ex):
    """Two layers alike make ways with equal sums: one of them may be dropped, not both."""
    for third_costs, third_sizes, budget in (([0, 1, 5], [8, 5, 4], 18), ([0, 1, 5], [16, 8, 4], 26)):
        costs = np.array([[0, 2, 6], [0, 2, 6], third_costs], float)
        judged(ex, costs, np.array([[8, 4, 2], [8, 4, 2], third_sizes]), budget)


@task("12.7", hints=["Options may come in any order of size; do not count on a sorted table."])
def test_any_table(ex):
    """It holds for any costs and sizes: unsorted, negative, and where fewer bytes happen to cost less."""
    rng = np.random.default_rng(8)
    for n_layers, n_options in ((1, 4), (2, 4), (3, 4), (4, 3), (4, 3)):
        costs = rng.normal(size=(n_layers, n_options)).round(2)
        sizes = rng.integers(1, 30, (n_layers, n_options))
        judged(ex, costs, sizes, int(sizes.mean(axis=1).sum()))


@task("12.7")
def test_cheapest_runs_inside_the_package(ex):
    """With your function inside, a scan's choice keeps the budget of the whole file."""
    losses, sizes = np.array([[0.1, 0.2, 0.6], [0.1, 0.15, 0.3]]), np.array([[400, 100, 50], [80, 20, 10]])
    judged(ex, losses - 0.1, sizes, 180)
    if isinstance(ex(losses - 0.1, sizes, 180), tuple):
        raise Wrong("The choice is right, but as an index a tuple means several axes: np.array(options).")
    found = bit_budget.BitScan(("a", "b"), np.array([32, 8, 4]), sizes, 30, losses, 1 - losses)
    with ex.installed():
        chosen = found.choose(210)
    if chosen != {"a": 8}:
        raise Wrong("Inside the package it chooses other bits.", {"yours": chosen, "due": {"a": 8}})

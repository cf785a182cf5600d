"""The exercises of lesson 0 and their tests. Each test's docstring is the property that it asks for."""

from pathlib import Path

import numpy as np

from tinyopt import Tensor, differentiable, gradcheck, nn
from tinyopt.course import Wrong, exercise, recognise, same, task, two_arrays
from tinyopt.course.draws import normal
from tinyopt.course.lessons import load
from tinyopt.data import dataset, idx
from tinyopt.gradcheck import central_differences
from tinyopt.ops import norm

material = load(Path(__file__).with_name("material.py"))


# --- 0.1 shapes and numbers, by hand ---------------------------------------------------------------

exercise("0.1", material.predict, proves="You read shapes as NumPy does, and you know what reshape keeps.")


def answered(ex, *questions):
    """Demand the answers to some questions, and name the trap if it is a known one."""
    came = ex()
    if not isinstance(came, (tuple, list)) or len(came) != 5:
        raise Wrong("Five answers are due: leave the last line as it was.", {"yours": repr(came)})
    for question in questions:
        yours, due = came[question], ex.reference()[question]
        yours = (yours,) if isinstance(yours, (int, float)) else yours
        what = f"{material.QUESTIONS[question]} (question {question + 1})"
        trap = material.TRAPS.get((question, tuple(np.ravel(np.array(yours, dtype=object)).tolist())))
        if trap:
            raise Wrong(f"{what} is wrong. {trap}", {"yours": yours, "due": due})
        same(yours, due, what)


@task("0.1", hints=[
    "Write (3, 1) below (5, 1, 8), aligned on the right, and fill up with 1 on the left.",
    "Column by column: 5 and 1, 1 and 3, 8 and 1. The larger one is the length of the result.",
])  # fmt: skip
def test_shape_of_a_broadcast_sum(ex):
    """In each column of the aligned shapes, the longer length is that of the result."""
    answered(ex, 0)


@task("0.1", hints=[
    "The axis that you name is the axis that disappears. Axis 1 counts the columns.",
    "Question 3: the largest of each row is taken from that row. So the last number of each row is 0.",
])  # fmt: skip
def test_reductions(ex):
    """A reduction over axis 1 gives one number for each row; with keepdims it stays beside its row."""
    answered(ex, 1, 2)


@task("0.1", hints=["reshape(3, 2) cuts the line 1 2 3 4 5 6 in pairs; x.T has the columns of x as rows."])
def test_reshape_and_transpose(ex):
    """reshape keeps the line of the memory; a transpose exchanges the axes."""
    answered(ex, 3, 4)


# --- 0.2 from bytes to images ----------------------------------------------------------------------

exercise(
    "0.2",
    dataset.as_images,
    hides=[dataset.split, idx.read_idx],
    proves="Every picture of the package can come through your function: no byte wraps round any more.",
)
BYTES = np.array([[[0, 16, 8], [4, 2, 1]], [[1, 3, 5], [16, 15, 0]]], dtype=np.uint8)  # (2, 2, 3)


@task("0.2", hints=["The new axis stands between N and H: pixels[:, np.newaxis] has the shape (N, 1, H, W)."])
def test_as_images_has_a_channel_axis(ex):
    """(N, H, W) becomes (N, 1, H, W), and each pixel stays where it was."""
    came = ex(BYTES.copy(), 16)
    where = {(1, 2, 2, 3): "in front of N", (2, 2, 1, 3): "behind H", (2, 2, 3, 1): "at the end"}
    if place := where.get(np.shape(came)):
        raise Wrong(f"The new axis stands {place}. It belongs behind N.", {"yours": np.shape(came)})
    same(np.array(came).shape, (2, 1, 2, 3), "the shape of the images")


@task("0.2", points=2, hints=[
    "Divide by `white`: the number that means fully dark becomes 1.",
    "A float32 divided by a Python number stays float32. So change the dtype first: x.astype(np.float32).",
])  # fmt: skip
def test_as_images_values(ex):
    """A pixel k becomes k / white: 0 stays 0, and `white` becomes 1."""
    pixels = BYTES[:, np.newaxis]
    for white in (16, 255):
        mistakes = {
            "It divides whole numbers without rest (//): nearly all pixels become 0.": pixels // white,
            "The pixels still go from 0 to `white`. Divide by it.": pixels,
            "It turns dark into light. 0 is the background, and stays 0.": 1 - pixels / white,
            "It divides by 255 always. Our digits go from 0 to 16: divide by `white`.": pixels / 255,
            "It divides by 16, or by the largest pixel that came. Divide by `white`.": pixels / 16,
            "It divides by white + 1, the number of greys. `white` must become 1.": pixels / (white + 1),
        }
        came, due = np.array(ex(BYTES.copy(), white)), pixels / white
        recognise(came, mistakes, due=due)
        same(came, due, f"the image (white = {white})", rtol=1e-6)


@task("0.2", hints=["uint8 / int gives float64, twice as many bytes. Networks here work in float32."])
def test_as_images_dtype(ex):
    """The images are float32."""
    came = getattr(ex(BYTES.copy(), 16), "dtype", None)
    if came != np.float32:
        raise Wrong("The images have another dtype.", {"yours": came, "due": "float32"})


@task("0.2", hints=["Make a new array: x /= 16 or x[...] = ... writes into the old one."])
def test_as_images_leaves_its_input_alone(ex):
    """The array that came in is not changed."""
    pixels = BYTES.astype(np.float32)  # whole numbers, but of a kind that could be divided in place
    came = ex(pixels, 16)
    if not np.array_equal(pixels, BYTES):
        raise Wrong("It changes the array that came in. Somebody else may still need it.")
    same(came, BYTES[:, np.newaxis] / 16, "the image of pixels that are float32 already")


# --- 0.3 mean and variance of each channel ---------------------------------------------------------

exercise(
    "0.3",
    norm.moments,
    hides=[norm.channel_sum],
    proves="Your moments agree with a slow loop, also where the shapes could hide a mistake.",
)


def compared(ex, x, what):
    """Demand the moments of x, and name the classic mistakes."""
    result = ex(x.copy())
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        raise Wrong("Two arrays are due: return mean, var", {"yours": type(result).__name__})
    for name, came, due in zip(("mean", "variance"), result, material.slow_moments(x)):
        if came is not Ellipsis and np.shape(came) != due.shape and np.size(came) == due.size:
            facts = {"yours": f"shape {np.shape(came)}", "due": f"shape {due.shape}"}
            raise Wrong(f"The {name} still has axes of length 1. One number for each channel is due.", facts)
        if np.shape(came) == (x.shape[0],) and x.shape[0] != x.shape[1]:
            raise Wrong(f"The {name} has one number for each example. Keep axis 1, and reduce over axis 0.")
        if np.shape(came) == due.shape and name == "variance":
            n = x.size // x.shape[1]
            recognise(came, {
                "That is the standard deviation. The variance is its square.": np.sqrt(due),
                f"It divides by n − 1 = {n - 1}. The mean of n squares divides by n = {n}.": due * n / (n - 1),
            })  # fmt: skip
            says = "It is a mean of variances, each about a mean of its own. Take one mean for all."
            for first, then in [(0, (1, 2)), ((2, 3), 0)] if x.ndim == 4 else []:
                recognise(came, {says: x.var(axis=first).mean(axis=then)})
        same(came, due, f"the {name} of {what}")


@task("0.3", hints=["x.mean(axis=0) is the mean of each column of (N, C). First subtract it, then square."])
def test_moments_of_rows(ex):
    """For x (N, C) there is one mean and one variance for each column."""
    compared(ex, normal(4, 3), "an array (4, 3)")


@task("0.3", points=2, hints=[
    "For (N, C, H, W) three axes disappear: x.mean(axis=(0, 2, 3)).",
    "tuple(axis for axis in range(x.ndim) if axis != 1) is (0,) for two axes and (0, 2, 3) for four.",
])  # fmt: skip
def test_moments_of_images(ex):
    """For x (N, C, H, W) there is one mean and one variance for each channel."""
    compared(ex, normal(2, 3, 4, 5), "images (2, 3, 4, 5)")


@task("0.3", points=2, hints=[
    "Here C = W = 3. A mean of shape (3,) is aligned with the last axis, the columns of the picture.",
    "With keepdims=True the mean has the shape (1, 3, 1, 1), and stands where it belongs.",
])  # fmt: skip
def test_moments_where_broadcasting_could_deceive(ex):
    """It is right also where the picture is as wide as there are channels."""
    x = normal(4, 3, 3, 3) + np.arange(3).reshape(3, 1, 1)
    deceived = ((x - x.mean(axis=(0, 2, 3))) ** 2).mean(axis=(0, 2, 3))
    if np.allclose(np.array(ex(x.copy())[1], dtype=float).ravel()[:3], deceived):
        raise Wrong("The mean (3,) was aligned with the last axis, the width. It belongs to axis 1.")
    compared(ex, x, "images (4, 3, 3, 3)")


@task("0.3", hints=["Mean of x² − mean² is right on paper, but both are huge. First subtract, then square."])
def test_moments_far_from_zero(ex):
    """A million added to x changes the variance by nothing but rounding."""
    x = normal(6, 2) + 1e6
    came, due = np.array(ex(x.copy())[1], dtype=float), material.slow_moments(x - 1e6)[1]
    if came.shape == (2,) and not np.allclose(came, due, rtol=1e-6):  # the formula is right: it was tested
        says = "Two huge numbers were subtracted, and rounding is left: square after subtracting the mean."
        raise Wrong(says, {"yours": f"{came[0]:.8g}", "due": f"{due[0]:.8g}"})
    same(came, due, "the variance of numbers near a million")


@task("0.3")
def test_moments_run_inside_a_layer(ex):
    """BatchNorm2d, on your function, gives each channel mean 0 and deviation 1."""
    with ex.installed():
        y = nn.BatchNorm2d(3)(Tensor(normal(4, 3, 3, 3).astype(np.float32))).numpy()
    same(y.mean(axis=(0, 2, 3)), np.zeros(3), "the mean after BatchNorm2d", atol=1e-5)
    same(y.std(axis=(0, 2, 3)), np.ones(3), "the deviation after BatchNorm2d", rtol=1e-3)


# --- 0.4 many slopes -------------------------------------------------------------------------------

exercise(
    "0.4",
    central_differences,
    proves="Your slopes need nothing but values of f. All of lesson 1 will be checked against them.",
)


@task("0.4", points=2, hints=[
    "Copy x twice. In one copy, add h to the entry; in the other, subtract h.",
    "From x − h to x + h it is 2h wide: (f(up) − f(down)) / (2 * h).",
])  # fmt: skip
def test_central_differences_of_a_cube(ex):
    """For f = x³ the central difference is 3x² + h², exactly."""
    x, h, due = 2.0, 0.25, 12.0625
    came = ex(lambda v: float(v[0] ** 3), np.array([x]), h)
    facts = {"yours": came, "due": due}
    recognise(came, {
        "That is the forward difference. Take f(x + h) − f(x − h), and divide by 2h.": [due + 3 * x * h],
        "a / 2 * h is (a / 2) · h. Write a / (2 * h).": [due * h * h],
        "It takes a step of its own. Use the h that is given.": [3 * x * x],
    }, facts)  # fmt: skip
    for wrong in (2 * due, due * h, 2 * due * h):
        recognise(came, {"Divide by the whole way from x − h to x + h: that is 2h.": [wrong]}, facts)
    same(came, [due], "the slope of x³ at 2 with h = 0.25")


@task("0.4", points=2, hints=[
    "Only one entry may move at a time. Begin each time with a fresh copy of x.",
    "for index in np.ndindex(*x.shape): up = x.copy(); up[index] += h; and so on.",
])  # fmt: skip
def test_central_differences_of_many_numbers(ex):
    """Each slope belongs to one entry: all others stay where they were."""
    x = np.array([[1.0, 2.0], [3.0, -1.0]])
    f = lambda v: float(v[0, 0] * v[0, 1] * v[1, 0] + v[1, 1] ** 2 * v[0, 0])  # noqa: E731
    came, due = ex(f, x.copy(), 0.25), np.array([[6.0 + 1.0, 3.0], [2.0, -2.0]])
    if np.shape(came) == due.shape and np.ptp(np.array(came, dtype=float)) == 0:
        raise Wrong("All slopes are the same number: all entries were moved at once. Move one at a time.")
    if np.shape(came) == due.shape and not np.allclose(np.array(came, dtype=float), due):
        says = "An entry that was moved before did not go back, or another one moved with it."
        raise Wrong(f"The slopes are wrong. {says}", {"yours": np.array(came).tolist(), "due": due.tolist()})
    same(came, due, "the slopes")


@task("0.4", hints=[
    "up = x makes no copy: `up` is another name for x. Use x.copy().",
    "x.astype(np.float64) is a copy in float64. Make it first, and go on with it.",
])  # fmt: skip
def test_central_differences_of_any_x(ex):
    """x may hold whole numbers or float32, and afterwards it holds the numbers that it held before."""
    for dtype in (np.float64, np.int64, np.float32):
        x = np.array([2, 5], dtype=dtype)
        came = ex(lambda v: float(v[0] * v[1]), x)
        if not np.allclose(x, [2, 5], rtol=1e-7):
            raise Wrong("It changes the x of the caller.", {"yours": x.tolist(), "due": [2, 5]})
        slopes = np.ravel(np.array(came, dtype=float))
        if dtype != np.float64 and slopes.size == 2 and not np.allclose(slopes, [5, 2], rtol=1e-6):
            says = f"x holds {np.dtype(dtype)}: a step of 10⁻⁵ is rounded away in it. Go on in float64."
            raise Wrong(says, {"yours": slopes.tolist(), "due": [5.0, 2.0]})
        same(came, [5.0, 2.0], f"the slopes at x of {np.dtype(dtype)}")


@task("0.4")
def test_central_differences_run_inside_gradcheck(ex):
    """gradcheck, on your function, passes a right rule and finds one that is wrong by one percent."""
    rule = lambda slope: differentiable(lambda x: (x**2, (lambda g: slope * x * g,)))  # noqa: E731
    with ex.installed():
        gradcheck(rule(2.0), np.array([[3.0, -0.5]]))
        try:
            gradcheck(rule(2.02), np.array([[3.0, -0.5]]))
        except AssertionError:
            return
    raise Wrong("gradcheck did not notice a slope that is wrong by one percent.")


# --- 0.5 explain this failure ----------------------------------------------------------------------

exercise("0.5", material.witness, proves="You found it: with (n, 1) and (n,), all meet all.")


@task("0.5", hints=["Return two arrays with the same numbers. Their shapes may differ."])
def test_witness_is_a_perfect_prediction(ex):
    """y and t hold the same 2 to 100 finite numbers, in the same order."""
    y, t = two_arrays(ex(), "y", "t")
    if not 2 <= t.size <= 100 or y.size != t.size:
        raise Wrong("2 to 100 numbers are due, equally many in y and t.", {"yours": f"{y.size} and {t.size}"})
    if not np.allclose(y.ravel(), t.ravel()):
        facts = {"y": y.ravel()[:5], "t": t.ravel()[:5]}
        raise Wrong("These predictions are not perfect: y and t hold other numbers.", facts)


@task("0.5", points=2, hints=[
    "With equal shapes the loss is 0. Which two shapes hold n numbers each, but are broadcast to (n, n)?",
    "One of them is (n,). The other is what a layer with one output returns: one column.",
    "t = np.array([1.0, 2.0, 3.0]); then y holds the same numbers in the shape (3, 1).",
])  # fmt: skip
def test_witness_shows_the_failure(ex):
    """On this y and this t, the friend's loss is more than 0.01."""
    y, t = (np.array(part, dtype=float) for part in ex())
    if y.shape == t.shape:
        raise Wrong("The shapes are the same. Then number meets number, and the loss is 0.")
    try:
        loss = material.friends_loss(y, t)
    except ValueError:
        raise Wrong("These shapes cannot be broadcast: an error, so the friend would see it.") from None
    if np.ptp(t) == 0:
        raise Wrong("All targets are the same number: whichever prediction meets which, the loss is 0.")
    if loss == 0:
        raise Wrong("These shapes differ, but number still meets number, and the loss is 0.")
    if loss < 0.01:
        raise Wrong("The loss is nearly 0. Take targets that differ more.", {"yours": f"{loss:.2g}"})

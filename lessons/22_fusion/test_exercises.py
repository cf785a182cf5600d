"""The exercises of lesson 22 and their tests. Each test's docstring is the property that it asks for.

Glossary: W weight, b bias, γ β a norm's own weight and bias, s = γ / √(var + ε) what it multiplies by.
"""

from pathlib import Path

import numpy as np

from tinyopt import ops
from tinyopt.compress import fold, workspace
from tinyopt.compress.fuse import fold as fold_rule
from tinyopt.compress.fuse import fuse, merge_convs, merge_dense, merge_linears
from tinyopt.course import Wrong, exercise, recognise, same, task
from tinyopt.course.compare import NotWritten
from tinyopt.course.draws import normal
from tinyopt.course.lessons import load
from tinyopt.ops import conv

material = load(Path(__file__).with_name("material.py"))
parts, expect = material.parts, material.expect


def on_copies(function, names, arrays, **settings):
    """The answer for copies that may be written: it must leave them as they were."""
    given = [None if array is None else np.array(array) for array in arrays]
    answer = function(*given, **settings)
    for name, old, now in zip(names.split(), arrays, given):
        if old is not None and not np.array_equal(old, now):
            raise Wrong(f"Your function overwrote {name}: the given model is changed. Make a new array.")
    return answer


def float32_stays(name, array):
    """From float32 arrays float32 is due."""
    if getattr(array, "dtype", None) != np.float32:
        says = f"The {name} has another type than what you were given. np.zeros, for one, makes float64."
        raise Wrong(says, {"yours": getattr(array, "dtype", "none"), "due": "float32"})


# --- 22.1 bytes, by hand ---
exercise(
    "22.1",
    material.predict,
    hides=[workspace.most_alive],
    proves="You count bytes before you run: what four lines move, what one walk moves, what is alive.",
)
MEGABYTES = "return moved, fused, alive, doubled"


@task("22.1", points=2, hints=[
    "Two million float32 are 8 MB. Each line reads one array of them and writes one.",
    "Four lines, 16 MB each. One walk reads x once and writes y once.",
])  # fmt: skip
def test_bytes_that_move(ex):
    """Each line reads 8 MB and writes 8 MB; one walk over all does that once."""
    moved, fused, _, _ = parts(ex(), 4, MEGABYTES)
    mistakes = {
        "An array that is written is moved, too. Count what each line reads *and* what it writes.": 32,
        "That is what a single walk moves. Here are four lines, and each walks over its own arrays.": 16,
        "The numbers are float32: 4 bytes each, not 8.": 128,
        "Each array is counted once. But t, u and v are written by one line and read by the next.": 40,
        "These are bytes. Megabytes are due: divide by a million.": 64e6,
    }
    expect(moved, 64, "what the four lines move", mistakes)
    expect(fused, 16, "what one walk moves", {
        "One walk still reads x *and* writes y.": 8,
        "One walk has no t, u and v at all: they stay inside the processor.": 64,
        "The numbers are float32: 4 bytes each, not 8.": 32,
    })


@task("22.1", hints=[
    "While a line runs, what it reads and what it writes are both there. x is there all the time.",
    "While u = t * slope runs: x, t and u. While y = np.maximum(v, 0) runs: x, v and y.",
])  # fmt: skip
def test_bytes_that_are_alive(ex):
    """At the worst moment x is there, one array that is read, and one that is written."""
    expect(parts(ex(), 4, MEGABYTES)[2], 24, "what is alive at the worst moment", {
        "That is without x. The caller still has it, so it is alive all the time.": 16,
        "That is all five arrays. But t is dropped after its last reader, and so are u and v.": 40,
        "A line's input is still there while its output is written: nothing is in place here.": 8,
        "That is all five arrays without x. t is dropped after its last reader, and so are u and v.": 32,
    })


@task("22.1", points=2, hints=[
    "float32 times a np.float64 is float64 in NumPy 2. From which line on?",
    "t is 8 MB, u and v and y are 16 MB each: (8 + 8) + (8 + 16) + (16 + 16) + (16 + 16).",
])  # fmt: skip
def test_bytes_of_a_float64_by_accident(ex):
    """From the line with the float64 on, every array is twice as large: u, v and y."""
    expect(parts(ex(), 4, MEGABYTES)[3], 104, "what the lines move with a float64 slope", {
        "Not all is doubled: x and t are still float32.": 128,
        "It has an effect: float32 times np.float64 is float64 in NumPy 2.": 64,
        "u is not the only one. v is made from u, and y from v: they are float64, too.": 80,
        "You doubled what is written by the line, but its input t is float32: 8 MB.": 112,
        "y is float64 as well: np.maximum keeps the type of v.": 96,
    })


# --- 22.2 a norm into the layer before it ---
exercise(
    "22.2",
    fold.fold_norm,
    hides=[fold.fold_norms, fold_rule, fuse],
    proves="One layer computes what a layer and a norm computed: at run time no norm is left.",
)
FOLDED = "return weight, bias"
GIVEN = "weight bias gamma beta mean var"


def folded(ex, *arrays, eps):
    weight, bias = parts(on_copies(ex, GIVEN, arrays, eps=eps), 2, FOLDED)
    for name, array in (("weight", weight), ("bias", bias)):
        same(np.shape(array), np.shape(arrays[0] if name == "weight" else arrays[2]), f"the shape of {name}")
    return np.asarray(weight, dtype=float), np.asarray(bias, dtype=float)


@task("22.2", points=2, hints=[
    "Write the norm as s · y + t first: s = γ / √(var + ε). Then put y = W x + b into it.",
    "s · (W x + b − mean) + β = (s W) x + s · (b − mean) + β.",
])  # fmt: skip
def test_one_output_by_hand(ex):
    """W = 2, b = 1, mean 3, var 3, ε = 1, γ = 5, β = −2: the layer is 5 x − 7."""
    two, one, mean, var = (np.array(v) for v in ([[2.0]], [1.0], [3.0], [3.0]))
    gamma, beta = np.array([5.0]), np.array([-2.0])
    weight, bias = folded(ex, two, one, gamma, beta, mean, var, eps=1.0)
    expect(weight[0, 0], 5, "the weight", {
        "You divided by the variance. The norm divides by its square root.": 2.5,
        "ε is missing: √(var + ε).": 10 / np.sqrt(3),
        "ε stands outside the root: √(var + ε), not √var + ε.": 10 / (np.sqrt(3) + 1),
        "γ is missing: s = γ / √(var + ε).": 1.0,
        "γ divides and the root multiplies; it should be the other way round.": 0.8,
    })
    expect(bias[0], -7, "the bias", {
        "The layer's bias is not scaled. The norm multiplies all of W x + b: s · (b − mean) + β.": -8.5,
        "β is missing: it comes last, s · (b − mean) + β.": -5,
        "β is scaled, too. It comes last: s · (b − mean) + β.": -10,
        "The mean is added. The norm takes it off.": 8,
        "The mean is not taken off: s · (b − mean) + β.": 0.5,
        "The layer's own bias b is lost: s · (b − mean) + β.": -9.5,
        "The mean is not scaled: s · (b − mean) + β.": -2.5,
        "β is taken off. It is added: s · (b − mean) + β.": -3,
    })


@task("22.2", points=2, hints=[
    "s has one number for each output, and outputs are the *first* axis of W, also of a convolution's.",
    "s.reshape(-1, 1) for a dense layer, s.reshape(-1, 1, 1, 1) for filters; in general count weight.ndim.",
])  # fmt: skip
def test_each_output_has_its_own_factor(ex):
    """The folded dense layer and the folded convolution answer as layer and norm did."""
    for shape, images in (((3, 3), (5, 3)), ((3, 2, 3, 3), (2, 2, 5, 5)), ((4, 1, 1, 2), (2, 1, 3, 3))):
        n = shape[0]
        weight, x = normal(*shape, seed=1), normal(*images, seed=2)
        bias, gamma, beta, mean = (normal(n, seed=seed) for seed in (3, 4, 5, 6))
        var = normal(n, seed=7) ** 2 + 0.5
        came = folded(ex, weight, bias, gamma, beta, mean, var, eps=0.01)
        layer = ops.linear if weight.ndim == 2 else ops.conv2d
        due = material.normed(x, weight, bias, gamma, beta, mean, var, 0.01)
        if weight.shape == (3, 3):
            s = gamma / np.sqrt(var + 0.01)
            mistake = "s multiplies the columns of W, its inputs. One factor for each output: each row."
            expect(came[0], weight * s[:, None], "the weight", {mistake: weight * s}, atol=1e-6)
        what = f"the output of the folded layer, weight {shape},"
        same(layer(x, *came).numpy(), due, what, rtol=1e-5, atol=1e-6)


@task("22.2", hints=[
    "A layer in front of a norm often has no bias: bias is None. Then b is 0, and b′ is still there.",
])  # fmt: skip
def test_a_layer_without_a_bias(ex):
    """bias=None counts as 0; the folded layer has a bias all the same."""
    weight, gamma, beta, mean = normal(2, 3), normal(2, seed=4), normal(2, seed=5), normal(2, seed=6)
    var = np.array([1.0, 4.0])
    _, bias = parts(ex(weight, None, gamma, beta, mean, var, eps=0.0), 2, FOLDED)
    expect(bias, beta - gamma * mean / np.sqrt(var), "the bias", {
        "Without a bias of its own, the layer still needs the norm's: −s · mean + β.": np.zeros(2),
        "The mean is forgotten where there is no bias: −s · mean + β.": beta,
    })


@task("22.2", hints=[
    "weight *= s writes into the model's own array. Make a new one: weight * s.",
    "float32 stays float32, as long as no float64 array joins: np.zeros(n) is one, np.zeros_like(mean) is not.",
])  # fmt: skip
def test_the_given_arrays_and_types_stay(ex):
    """New arrays come back, of the same type; what was given is as before."""
    given = [normal(2, 3), normal(2), *(normal(2, seed=seed) for seed in (3, 4, 5)), normal(2, seed=6) ** 2]
    given = [array.astype(np.float32) for array in given]
    for bias, where in ((given[1], ""), (None, " of a layer that had none")):
        arrays = [given[0], bias, *given[2:]]
        weight, came = parts(on_copies(ex, GIVEN, arrays, eps=1e-5), 2, FOLDED)
        float32_stays("weight", weight)
        float32_stays(f"bias{where}", came)


# --- 22.3 explain this failure: a norm before a convolution ---
exercise(
    "22.3",
    material.explain,
    hides=[ops.conv2d, conv.conv2d_loop, conv.conv2d_im2col, conv.im2col],
    proves="You know why a norm folds backward, and what the frame of zeros does to the other way.",
)
EXPLAINED = "return first, middle, last, pad"


@task("22.3", points=2, hints=[
    "The norm comes first, then the frame of zeros. In the folded layer, b′ is added all the same.",
    "At the first pixel one number of the window is frame: w[0]. The right way adds w[0] · 0 there.",
    "b′ holds w[0] · (−1) for it, which the right way never adds. So the error is w[0] · (−1).",
])  # fmt: skip
def test_where_the_error_is(ex):
    """In the middle all is right; at each end, the weight on the frame times the shift is too much."""
    first, middle, last, _ = parts(ex(), 4, EXPLAINED)
    expect(middle, 0, "the error in the middle", {
        "In the middle every weight meets a pixel of the row, so b′ is just what is due: no error.": -6,
    })
    expect([first, last], [-3, -2], "the pair of errors at the two ends", {
        "The signs are turned: folded minus right is due.": [3, 2],
        "The two ends are exchanged: at the first pixel, w[0] lies on the frame.": [-2, -3],
        "There is an error: the frame's zeros are not shifted, but b′ counts them as if they were.": [0, 0],
        "All of b′ is counted. Only the weight that lies on the frame is too much.": [-6, -6],
        "That is with the folded weights w′. But b′ is made of w itself: −1 · (3 + 1 + 2).": [-1.5, -1],
        "These are the folded layer's outputs, not its errors: take the right ones off.": [-2, -1],
    }, labels=("first", "last"))


@task("22.3", points=2, hints=[
    "Which x becomes 0 in the norm 0.5 · x − 1? A frame of such numbers is a frame of zeros after the norm.",
])  # fmt: skip
def test_the_frame_that_repairs_it(ex):
    """A frame of the number that the norm turns into 0 makes the folded layer right everywhere."""
    pad = parts(ex(), 4, EXPLAINED)[3]
    expect(pad, 2, "the number for the frame", {
        "That is the shift. Look for the x that the norm turns into 0: 0.5 · x − 1 = 0.": -1,
        "The sign is turned: 0.5 · x − 1 = 0.": -2,
        "A frame of zeros is what fails. After the norm it should be zeros, so before it something else.": 0,
        "Solve 0.5 · x − 1 = 0: divide by 0.5, do not multiply.": 0.5,
    })


# --- 22.4 two dense layers are one ---
exercise(
    "22.4",
    merge_linears,
    hides=[merge_convs, merge_dense, fuse],
    proves="A product of matrices is one layer; the first layer's bias goes through the second.",
)


def merged(ex, *arrays):
    """The answer, of which the bias may be None."""
    names = "first first_bias second second_bias"
    weight, bias = parts(on_copies(ex.function, names, arrays), 2, FOLDED)
    if weight is Ellipsis or bias is Ellipsis:
        raise NotWritten
    if weight is None:
        raise Wrong("The weight is None.")
    return weight, bias


@task("22.4", points=2, hints=[
    "W₂ (W₁ x + b₁) + b₂: multiply out. What stands in front of x?",
    "weight = second @ first: the layer that works first stands on the right.",
])  # fmt: skip
def test_the_weight(ex):
    """The weight is W₂ W₁: the first layer stands on the right."""
    first, second = normal(3, 3, seed=1), normal(3, 3, seed=2)
    expect(merged(ex, first, None, second, None)[0], second @ first, "the weight of two square layers", {
        "The order is turned: the layer that works first stands on the right, W₂ W₁.": first @ second,
        "The weights are multiplied number by number. A product of matrices is due: @.": first * second,
        "The weights are added. One layer works on the other's output: a product.": first + second,
        "It is transposed: W₂ W₁, as they are.": (second @ first).T,
    })
    weight, _ = merged(ex, normal(4, 2), None, normal(3, 4), None)
    same(np.shape(weight), (3, 2), "the shape for layers 2 → 4 → 3")


@task("22.4", points=2, hints=[
    "Multiply out: W₂ (W₁ x + b₁) + b₂ = W₂ W₁ x + W₂ b₁ + b₂.",
    "bias = second @ first_bias + second_bias.",
])  # fmt: skip
def test_the_bias(ex):
    """The first bias goes through the second layer: b = W₂ b₁ + b₂."""
    first, b1, second, b2 = normal(3, 3, seed=1), normal(3, seed=2), normal(3, 3, seed=3), normal(3, seed=4)
    _, bias = merged(ex, first, b1, second, b2)
    if bias is None:
        raise Wrong("The bias is None, and both layers have one.")
    expect(bias, second @ b1 + b2, "the bias", {
        "The biases are added. But b₁ still goes through the second layer: W₂ b₁ + b₂.": b1 + b2,
        "b₁ goes through the *second* layer, not through the first: W₂ b₁ + b₂.": first @ b1 + b2,
        "b₂ is missing: W₂ b₁ + b₂.": second @ b1,
        "b₁ is missing: W₂ b₁ + b₂.": b2,
        "b₁ is multiplied by the columns of W₂: W₂ b₁, not b₁ W₂.": b1 @ second + b2,
        "b₂ goes through the second layer, too. It is added last: W₂ b₁ + b₂.": second @ (b1 + b2),
        "b₁ goes through both layers. The first adds it at its end.": second @ first @ b1 + b2,
    })


@task("22.4", hints=[
    "A bias that is None is 0. If the first is None, b₂ is left; if the second is, W₂ b₁; if both, None.",
])  # fmt: skip
def test_layers_without_a_bias(ex):
    """None is no bias: what is left is W₂ b₁, or b₂, or None."""
    first, b1, second, b2 = normal(3, 2, seed=1), normal(3, seed=2), normal(4, 3, seed=3), normal(4, seed=4)
    for name, biases, due in (("second", (b1, None), second @ b1), ("first", (None, b2), b2)):
        _, bias = merged(ex, first, biases[0], second, biases[1])
        if bias is None:
            raise Wrong(f"The bias is lost where the {name} layer has none: the other one's is left.")
        same(bias, due, f"the bias where the {name} layer has none")
        arrays = [None if a is None else a.astype(np.float32) for a in (first, biases[0], second, biases[1])]
        float32_stays(f"bias where the {name} layer has none", merged(ex, *arrays)[1])
    _, bias = merged(ex, first, None, second, None)
    if bias is not None and np.any(np.asarray(bias, dtype=float)):
        raise Wrong("Two layers without a bias make one without a bias.", {"yours": bias})


# --- 22.5 how much is alive ---
exercise(
    "22.5",
    workspace.most_alive,
    hides=[workspace.place],
    proves="You found the bound that no plan of memory can undercut: the worst step.",
)


@task("22.5", points=2, hints=[
    "In step t, value i is there if first[i] <= t <= last[i]. Both ends count.",
    "For every step: the sum of the sizes of the values that are there. Then the largest of these sums.",
])  # fmt: skip
def test_the_worst_step(ex):
    """The largest sum over the values of one step; a value counts in its first and in its last step."""
    sizes, first, last = [8, 6, 4, 2], [0, 1, 2, 3], [1, 2, 3, 4]
    expect(ex(sizes, first, last), 14, "what is alive in a chain of four layers", {
        "That is all values. But the first is dropped before the third is made.": 20,
        "That is the largest value alone. While a step runs, what it reads is there as well.": 8,
        "You counted values. Their sizes are due.": 2,
        "That is one step too much: a value is gone *after* its last step.": 18,
    })
    expect(ex([8, 6, 4, 6], [0, 1, 2, 3], [3, 2, 3, 3]), 18, "what is alive with a residual", {
        "The first value has a second reader, in step 3: it is alive all the time.": 14,
        "That is all values. One of them is gone in step 3.": 24,
    })
    expect(ex([1, 9], [0, 3], [1, 3]), 9, "what is alive if the last step is the worst", {
        "You stop too early. There may be more steps than values: look at all, up to and with max(last).": 1,
        "That is all values. But the first is gone before the second is made.": 10,
    })


@task("22.5", hints=["Steps and values are not the same: a step may have many values, or none that begin."])
def test_random_lives(ex):
    """The same for random lives, counted step by step."""
    rng = np.random.default_rng(5)
    for n in (1, 5, 20):
        sizes, first = rng.integers(1, 50, n).tolist(), rng.integers(0, 9, n).tolist()
        last = [a + int(rng.integers(0, 6)) for a in first]
        steps = range(max(last) + 1)
        due = max(material.alive_at(sizes, first, last, step) for step in steps)
        begins = max(sum(s for s, b in zip(sizes, first) if b == step) for step in steps)
        half_open = max(sum(s for s, a, b in zip(sizes, first, last) if a <= step < b) for step in steps)
        expect(ex(sizes, first, last), due, f"what is alive of {n} random values", {
            "A value is still there in its last step, where it is read: first <= step <= last.": half_open,
            "Only values that begin in a step are counted. Those from before are still there.": begins,
            "That is all values.": sum(sizes),
        })


@task("22.5", hints=["max(..., default=0), for a list with nothing in it."])
def test_no_values(ex):
    """No values take no memory."""
    same(ex([], [], []), 0, "what is alive of no values")


# --- 22.6 a place for each ---
exercise(
    "22.6",
    workspace.place,
    hides=[workspace.most_alive],
    proves="You planned a network's memory: no value is overwritten while someone still reads it.",
)
LIVES = {
    "a large one late": ([6, 6, 1, 7], [0, 0, 3, 4], [3, 0, 5, 6]),
    "a chain": ([8, 6, 4, 2], [0, 1, 2, 3], [1, 2, 3, 4]),
    "a residual": ([8, 6, 4, 6], [0, 1, 2, 3], [3, 2, 3, 3]),
    "a tall value beside two low ones": ([20, 3, 8, 6], [0, 1, 2, 2], [1, 2, 3, 3]),
    "two gaps": ([6, 9, 7, 6, 8, 10], [0, 1, 2, 2, 3, 4], [2, 4, 4, 3, 5, 7]),
}


def plan(ex, lives, name):
    """The answer's offsets: one whole number of 0 or more for each value, no two values on each other."""
    offsets = np.asarray(ex(*lives), dtype=float)
    sizes, first, last = lives
    if offsets.shape != (len(sizes),):
        facts = {"yours": f"shape {offsets.shape}", "due": f"shape ({len(sizes)},)"}
        raise Wrong("One offset for each value is due.", facts)
    if (offsets < 0).any() or (offsets != np.rint(offsets)).any():
        raise Wrong("Offsets are whole numbers, 0 or more.", {"yours": offsets.tolist()})
    both = material.clash(offsets, sizes, first, last)
    if both:
        facts = {f"value {i}": f"at {offsets[i]:g} … {offsets[i] + sizes[i]:g}, steps {first[i]} … {last[i]}"
                 for i in both}
        also = ""
        if material.behind_a_lower(offsets, lives, both):
            also = " A gap begins where *all* values below it have ended, not only the last one looked at."
        elif any(first[i] == last[j] for i in both for j in both):
            also = " A value that is read in a step and one that is written in it are both alive there."
        raise Wrong(f"In {name}, two values overlap while both are alive.{also}", facts)
    return offsets


@task("22.6", points=2, hints=[
    "Two values are alive together if first[i] <= last[j] and first[j] <= last[i].",
    "Begin with the largest: sorted(range(n), key=lambda i: -sizes[i]). It lies at 0.",
    "For each next one, sort those placed before that are alive with it by offset; look at the gaps.",
])  # fmt: skip
def test_no_two_overlap(ex):
    """No two values that are alive together overlap; offsets stand in the order of the values."""
    for name, lives in LIVES.items():
        plan(ex, lives, name)


@task("22.6", points=2, hints=[
    "Values that are never alive together may lie in the same place.",
    "Place the largest first, not the earliest: it can then not be blocked by small ones.",
    "A value fits into a gap if gap >= size: behind one placed value, before the next.",
])  # fmt: skip
def test_places_are_used_again(ex):
    """The plans are as small as those of greedy by size."""
    for name, lives in LIVES.items():
        sizes = lives[0]
        end, due = material.end_of(plan(ex, lives, name), sizes), material.end_of(ex.reference(*lives), sizes)
        if end <= due:
            continue
        facts = {"yours": end, "due": due}
        recognise(end, {
            "A gap between two values is left empty, though a value would fit into it.":
                material.end_of(material.planned(*lives, fit=None), sizes),
            "Every value has a place of its own. A place is free again after the last reader.": sum(sizes),
            "The values are placed in the order of time. Begin with the largest.":
                material.end_of(material.planned(*lives, by_size=False), sizes),
        }, facts)  # fmt: skip
        if name == "two gaps":
            says = "There are two gaps. The smallest that is large enough is due: keep the large one."
            raise Wrong(says, facts)
        raise Wrong(f"Your plan for {name} is too long. Place the largest first, as low as they fit.", facts)


@task("22.6")
def test_many_values(ex):
    """Of 60 random values, none overwrites another that is alive, and the plan is short."""
    rng = np.random.default_rng(2)
    sizes, first = rng.integers(1, 100, 60).tolist(), rng.integers(0, 40, 60).tolist()
    lives = sizes, first, [a + int(rng.integers(0, 8)) for a in first]
    end = material.end_of(plan(ex, lives, "sixty values"), sizes)
    due = material.end_of(ex.reference(*lives), sizes)
    if end > 1.1 * due:
        raise Wrong("The plan for sixty values is more than a tenth too long.", {"yours": end, "due": due})
    same(np.shape(ex([], [], [])), (0,), "the plan of no values")

"""The exercises of lesson 9 and their tests. Each test's docstring is the property that it asks for.

Glossary: keep, a mask, True keeps the weight; sparsity, the fraction *removed*; g incoming gradient ∂L/∂y.
"""

from pathlib import Path

import numpy as np

from tinyopt import compress, ops
from tinyopt.compress.importance.second_order import damped, obc, obs, update_survivors
from tinyopt.compress.prune import cubic_sparsity
from tinyopt.course import Wrong, exercise, recognise, same, task
from tinyopt.course.draws import normal
from tinyopt.course.lessons import load

material = load(Path(__file__).with_name("material.py"))
booleans, compared = material.booleans, material.compared

# --- 9.1 a mask, by hand ---------------------------------------------------------------------------

exercise(
    "9.1",
    material.predict,
    hides=[compress.magnitude_mask, compress.prune],
    proves="You made by hand the mask of the package: an exact count, magnitudes, ties by memory order.",
)


@task("9.1", hints=[
    "Sparsity 0.45 is the share that is removed. How many weights are there?",
    "0.45 · 8 = 3.6. Only whole weights can go, and the package rounds down.",
])  # fmt: skip
def test_the_count_is_exact(ex):
    """So many weights are removed: sparsity times size, rounded down."""
    came, due = material.count_and_mask(ex)[0], ex.reference()[0]
    if np.shape(came) == ():
        if came == material.SPARSITY * 8:
            raise Wrong("A weight goes or stays: the count is a whole number, rounded down.", {"yours": came})
        if came == due + 1:
            raise Wrong("It is rounded up. The package rounds down, so that something is always left.")
        if came == 8 - due:
            raise Wrong("This is the count of those that stay. Asked is the count of those that are removed.")
    same(came, due, "the number of removed weights")


@task("9.1", points=2, hints=[
    "Forget the signs, and sort: 0.05, 0.1, 0.3, 0.3, 0.3, 0.5, ...",
    "The three smallest go: 0.05, 0.1 and one of the three that have magnitude 0.3. Which one?",
    "Of equal weights the first in memory goes: row 0 comes before row 1, and left before right.",
])  # fmt: skip
def test_the_mask_keeps_the_largest(ex):
    """The largest magnitudes are kept; of equal ones, the first in memory go first."""
    due = np.array(ex.reference()[1])
    compared(booleans(material.count_and_mask(ex)[1], due.shape, "the mask"), due, material.WEIGHTS)


# --- 9.2 the function ------------------------------------------------------------------------------

exercise(
    "9.2",
    compress.magnitude_mask,
    hides=[compress.prune],
    proves="Your mask removes an exact count, the smallest first, whatever the shape: `prune` can run on it.",
)


def made(ex, weight, sparsity):
    """The student's mask for a frozen copy of `weight`."""
    weight = np.array(weight)
    weight.setflags(write=False)
    return booleans(ex(weight, sparsity=sparsity), weight.shape, "the mask")


@task("9.2", hints=[
    "How many go? int(sparsity * weight.size). Which ones? The smallest of abs(weight).",
    "np.argsort(a, axis=None) gives positions in the flattened array, from the smallest to the largest.",
    "Start with a flat mask of True; set the first n_removed of these positions to False; reshape it.",
])  # fmt: skip
def test_magnitude_mask_keeps_the_largest(ex):
    """Exactly int(sparsity · size) weights are removed: those of smallest magnitude."""
    for seed, sparsity in ((1, 0.75), (2, 0.5), (3, 0.25)):
        weight = np.random.default_rng(seed).permutation(np.arange(1, 9) / 10.0) * np.array([1, -1] * 4)
        due = material.one_by_one(weight, int(sparsity * 8))
        compared(made(ex, weight, sparsity), due, weight)


@task("9.2", hints=["A mask has the shape of its weight: end with mask.reshape(weight.shape)."])
def test_magnitude_mask_ranks_the_whole_array(ex):
    """A matrix, and a filter bank of four axes, are ranked as a whole, not row by row."""
    for shape in ((3, 4), (2, 3, 2, 2)):
        weight = np.random.default_rng(4).permutation(np.arange(1, np.prod(shape) + 1) / 10.0).reshape(shape)
        keep, due = made(ex, weight, 0.5), material.one_by_one(weight, weight.size // 2)
        rows = np.array([material.one_by_one(row, row.size // 2) for row in weight])
        if (keep == rows).all() and (keep != due).any():
            raise Wrong("Each row is ranked for itself. The whole array is one list: axis=None.")
        compared(keep, due, weight)


@task("9.2", hints=["7 · 0.5 = 3.5: rounded down, 3 weights go. And 0 · anything is 0: then all stay."])
def test_magnitude_mask_rounds_down(ex):
    """The count is rounded down; sparsity 0 keeps all."""
    weight = normal(7, seed=5)
    for sparsity, n_due in ((0.5, 3), (0.99, 6), (0.0, 0)):
        n = int((~made(ex, weight, sparsity)).sum())
        if n == n_due + 1:
            says = "The number removed is rounded up: round it down, and keep the rest. (Do not round the number kept.)"
            raise Wrong(says, {"7 weights, sparsity": sparsity, "removed by you": n, "due": n_due})
        same(n, n_due, f"the number removed of 7 weights at sparsity {sparsity}")


@task("9.2", points=2, hints=[
    "A threshold, abs(weight) > t, removes all equal weights together, or none. Count them instead.",
    "An ordinary sort may exchange equal ones: np.argsort(..., kind='stable') leaves them in their order.",
])  # fmt: skip
def test_magnitude_mask_counts_exactly_when_weights_are_equal(ex):
    """With equal weights the count is still exact, and of equal ones the first in memory go."""
    for weight, sparsity in ((np.ones(40), 0.3), (material.WEIGHTS, 0.45), (np.tile([2.0, -1, 1], 20), 0.5)):
        compared(made(ex, weight, sparsity), material.one_by_one(weight, int(sparsity * weight.size)), weight)


@task("9.2", hints=[
    "A mask holds Booleans. np.ones(weight.size, dtype=bool) is all True.",
])  # fmt: skip
def test_magnitude_mask_is_boolean(ex):
    """The mask is an array of Booleans: an array of 0 and 1 would be read as positions."""
    keep = ex(normal(2, 3), sparsity=0.5)
    if getattr(keep, "dtype", None) != bool:
        came = getattr(keep, "dtype", type(keep).__name__)
        raise Wrong("A mask is an array of Booleans: mask.astype(bool)", {"yours": came, "due": "bool"})


@task("9.2", hints=[
    "if not 0 <= sparsity < 1: raise ValueError(...)",
    "A NaN has no place in an order: if not np.isfinite(weight).all(): raise ValueError(...)",
])  # fmt: skip
def test_magnitude_mask_refuses_what_cannot_be(ex):
    """A sparsity outside [0, 1), and weights that are NaN or infinite, are refused with a ValueError."""
    good, bad = normal(4), np.array([1.0, np.nan, 2.0, 3.0])
    calls = [(good, 1.0, "all weights"), (good, -0.1, "a share below 0"), (bad, 0.5, "a weight that is NaN")]
    for weight, sparsity, what in calls:
        try:
            ex(weight, sparsity=sparsity)
        except ValueError:
            continue
        says = f"It accepts {what}. Such a call is a mistake of the caller: say so."
        raise Wrong(says, {"sparsity": sparsity, "due": "ValueError"})


# --- 9.3 the rule of a mask ------------------------------------------------------------------------

exercise(
    "9.3",
    ops.mask,
    hides=[ops.where, ops.mul],
    proves="Through your mask a removed weight is read as 0 and learns nothing: it cannot come back.",
)
KEEP = np.array([[True, False, True], [False, True, True]])


@task("9.3", hints=["True and False count as 1 and 0 in a product: x * keep."])
def test_mask_value(ex):
    """The value is x where kept, and 0 elsewhere."""
    x = normal(2, 3)
    y, _ = material.rule(ex, x, KEEP)
    if np.shape(y) == x.shape and np.allclose(y, x * ~KEEP):
        raise Wrong("True and False are exchanged: it removes what should be kept.")
    if np.size(y) == KEEP.sum():
        raise Wrong("It leaves the removed weights out. A mask keeps the shape: they are read as 0.")
    same(y, x * KEEP, "the value")
    if getattr(material.rule(ex, x.astype(np.float32), KEEP)[0], "dtype", None) != np.float32:
        raise Wrong("float32 came in, another type came out. A network of float32 must stay so.")


@task("9.3", points=2, hints=[
    "y = x · keep, entry by entry. If x moves a little where keep is True, y moves as much; else not.",
    "So the slope is 1 or 0, and the pullback multiplies g by it.",
    "lambda g: g * keep",
])  # fmt: skip
def test_mask_pullback(ex):
    """The pullback gives g where kept, and 0 elsewhere."""
    x, g = normal(2, 3), normal(2, 3, seed=2)
    x = np.where(np.arange(6).reshape(2, 3) == 2, 0.0, x)  # a kept weight that happens to be 0
    came = material.rule(ex, x, KEEP)[1](g)
    recognise(came, {
        "It hands g on everywhere: a removed weight would go on learning in the dark.": g,
        "It gives the slope alone. A pullback carries the incoming gradient on: slope · g.": KEEP,
        "It is multiplied by x. The slope of x · keep in x is keep.": g * KEEP * x,
        "True and False are exchanged: the removed weights learn, the kept ones do not.": g * ~KEEP,
    })  # fmt: skip
    for wrong in (g * (x != 0), g * KEEP * (x != 0)):
        says = "What decides is keep, not whether x is 0: a kept weight that is 0 may still learn."
        recognise(came, {says: wrong})
    same(came, g * KEEP, "the gradient")


@task("9.3")
def test_mask_runs_inside_the_engine(ex):
    """After steps of SGD with momentum, removed weights are read as 0, and the others have learned."""
    with ex.installed():
        weight, gradient = material.masked_training()
    with ex.curtain.lifted():
        due, due_gradient = material.masked_training()
    same(weight, due, "the weight after 8 steps of training through your mask", rtol=1e-4, atol=1e-5)
    same(gradient, due_gradient, "its gradient", rtol=1e-4, atol=1e-5)


# --- 9.4 the cubic schedule ------------------------------------------------------------------------

exercise(
    "9.4",
    cubic_sparsity,
    proves="Your schedule prunes much early and little late: `schedules.cubic` follows it.",
)


@task("9.4", hints=[
    "progress = (step - begin) / (end - begin) runs from 0 to 1.",
    "At progress 0 the cube is 1: final + (initial − final) · 1. What is that?",
])  # fmt: skip
def test_cubic_sparsity_at_both_ends(ex):
    """At `begin` it is `initial`, at `end` it is `final`."""
    for initial, final in ((0.0, 0.9), (0.2, 0.8)):
        ends = [ex(step, 10, 50, initial, final) for step in (10, 50)]
        recognise(ends, {
            "It runs from `final` to `initial`: the wrong way round.": (final, initial),
            "It begins at 0. The model may be pruned already: begin at `initial`.": (0, final),
        }, due=(initial, final))  # fmt: skip
        same(ends, (initial, final), "the sparsity", labels=("step = begin", "step = end"))


@task("9.4", points=2, hints=[
    "Half way, ½ is left, and ½³ = ⅛: one eighth of the way is still to go.",
    "s = final + (initial − final) · (1 − progress)³",
])  # fmt: skip
def test_cubic_sparsity_between(ex):
    """What is left to prune shrinks as a cube: half way one eighth, at three quarters one 64th."""
    steps, left = (20, 30, 40), (27 / 64, 1 / 8, 1 / 64)  # (3/4)³, (1/2)³, (1/4)³
    came = [ex(step, 10, 50, 0.2, 0.8) for step in steps]
    classic = {
        "It is a straight line: the cube of (1 − progress) is missing.": (3 / 4, 1 / 2, 1 / 4),
        "It is progress that is cubed: little is pruned early, most at the end.": (63 / 64, 7 / 8, 37 / 64),
        "It is a square, not a cube: the power is 3.": (9 / 16, 1 / 4, 1 / 16),
    }
    facts = {"half way, yours": np.round(came[1], 6), "due": 0.725}
    recognise(came, {says: 0.8 - 0.6 * np.array(mistaken) for says, mistaken in classic.items()}, facts)
    says = "`begin` is not subtracted everywhere: progress = (step − begin) / (end − begin)."
    for start, length in ((0, 50), (10, 50), (0, 40)):
        recognise(came, {says: [0.8 - 0.6 * (1 - (step - start) / length) ** 3 for step in steps]})
    due = 0.8 - 0.6 * np.array(left)
    same(came, due, "the sparsity", labels=[f"step {step}, from 10 to 50" for step in steps])


@task("9.4", hints=[
    "Before `begin`, progress is below 0; after `end`, above 1. Neither may be.",
    "min(max(progress, 0), 1)",
])  # fmt: skip
def test_cubic_sparsity_outside(ex):
    """Before `begin` it stays `initial`; after `end` it stays `final`."""
    came = [ex(step, 10, 50, 0.2, 0.8) for step in (0, 9, 51, 1000)]
    if np.size(came[-1]) == 1 and np.isclose(float(came[-1]), 0.8 - 0.6 * (1 - 990 / 40) ** 3):
        raise Wrong("After `end` the cube is negative, and the sparsity grows on, above 1: stop at `final`.")
    if np.size(came[0]) == 1 and np.isclose(float(came[0]), 0.8 - 0.6 * 1.25**3):
        raise Wrong("Before `begin` it is below `initial`. It must wait there.")
    labels = ("step 0, before begin", "step 9, before begin", "step 51, after end", "step 1000, after end")
    same(came, (0.2, 0.2, 0.8, 0.8), "the sparsity", labels=labels)


@task("9.4", hints=["if not begin < end: raise ValueError(...)"])
def test_cubic_sparsity_refuses_an_end_that_is_not_later(ex):
    """A schedule that ends before it begins, or at once, is refused with a ValueError."""
    for begin, end in ((50, 10), (10, 10)):
        try:
            ex(20, begin, end, 0.2, 0.8)
        except ValueError:
            continue
        except ZeroDivisionError:
            raise Wrong("end − begin is 0 here: look before you divide, raise ValueError.") from None
        raise Wrong("It accepts a schedule that ends before it begins.", {"begin": begin, "end": end})


# --- 9.5 explain this failure ----------------------------------------------------------------------

exercise(
    "9.5",
    material.witness,
    proves="You found why it failed: a weight acts through its product with the input, which |w| ignores.",
)


@task("9.5", hints=["Return w, three weights, and x, rows of three inputs: np.array([[..., ..., ...]])."])
def test_witness_has_one_smallest_weight(ex):
    """One weight is the smallest in magnitude, and it is not 0."""
    w, _ = material.weights_and_inputs(ex)
    first, second, _ = np.sort(abs(w))
    if first == second:
        raise Wrong("Two weights are equally small: then memory order decides, not magnitude.")
    if first == 0:
        raise Wrong("The smallest weight is 0. To remove it changes nothing, whatever it reads.")


@task("9.5", points=2, hints=[
    "y = w₁x₁ + w₂x₂ + w₃x₃. Remove one weight: by how much does y change?",
    "By wᵢxᵢ. A small weight matters much if what it reads is ...",
    "Take w = (0.1, 1, 1). Which x₁ makes 0.1 · x₁ much larger than 1 · x₂?",
])  # fmt: skip
def test_witness_shows_the_failure(ex):
    """Removing the smallest weight costs at least ten times as much as removing the cheapest other one."""
    w, x = material.weights_and_inputs(ex)
    costs, smallest = material.costs(w, x), int(abs(w).argmin())
    other = np.delete(costs, smallest).min()
    facts = {"smallest weight": f"w[{smallest}]", "costs": costs.round(4).tolist()}
    if costs[smallest] >= 10 * other:
        return
    if np.allclose((x**2).mean(axis=0), (x**2).mean()):
        raise Wrong("All three inputs are of the same size: then the smallest weight rightly goes.", facts)
    if costs[smallest] <= other:
        raise Wrong("Here magnitude is right: no other weight is cheaper to remove than the smallest.", facts)
    raise Wrong("The right idea, but the costs differ by less than ten times.", facts)


# --- 9.6 Optimal Brain Surgeon ---------------------------------------------------------------------

exercise(
    "9.6",
    obs,
    hides=[obc, update_survivors],
    proves="Your score knows that the other weights can take over: `importance.score` can rank a net by it.",
)


@task("9.6", hints=[
    "[G⁻¹]_pp needs the inverse of the whole matrix: np.linalg.inv(damped(gram, damping)[0]).",
    "Its diagonal: np.diagonal(inverse). Here it is (2/3, 2/3).",
])  # fmt: skip
def test_obs_by_hand(ex):
    """For w = (1, 1) and G = [[2, 1], [1, 2]], each removal costs 1.5, as by hand."""
    weight, system = np.array([[1.0, 1.0]]), np.array([[2.0, 1.0], [1.0, 2.0]])
    material.compared_scores(ex(weight, system[None], damping=0), weight, system, [[1.5, 1.5]], "the score")


@task("9.6", points=2, hints=[
    "w² has shape (O, K), and the diagonal of the inverse shape (K,): column p is divided by number p.",
    "return weight**2 / np.diagonal(inverse)",
])  # fmt: skip
def test_obs_is_what_least_squares_finds(ex):
    """Each score is the error that is left after the rest of the row was refitted by least squares."""
    for n_rows in (2, 4):
        weight, x = normal(n_rows, 4, seed=6), normal(4, 12, seed=7) + normal(12, seed=8)  # alike
        due = material.refitted_costs(weight, x)
        came = ex(weight, (x @ x.T)[None], damping=0)
        material.compared_scores(came, weight, x @ x.T, due, "the score, against least squares,")


@task("9.6", hints=["damped(gram, damping) adds λ to the diagonal; hand `damping` on to it.", "damping=0.01"])
def test_obs_bears_an_input_that_is_always_zero(ex):
    """With an input that is always 0, the scores are finite; more damping makes every removal cost more."""
    weight, x = normal(2, 4, seed=6), normal(4, 12, seed=7) * np.array([[1], [1], [0], [1]])
    gram = (x @ x.T)[None]
    for settings in ({}, {"damping": 0.5}):
        due = ex.reference(weight, gram, **settings)
        try:
            came = ex(weight, gram, **settings)
        except np.linalg.LinAlgError:
            raise Wrong("G has a row of zeros, and no inverse: use damped(gram, damping).") from None
        if not np.isfinite(np.asarray(came, dtype=float)).all() or np.max(came) > 1e6:
            raise Wrong("G is inverted as it is, without λ on its diagonal: damped(gram, damping) adds it.")
        if settings:
            recognise(came, {"The `damping` that is given is ignored.": ex.reference(weight, gram)}, due=due)
        system = damped(gram, settings.get("damping", 0.01))[0]
        material.compared_scores(came, weight, system, due, "the score")

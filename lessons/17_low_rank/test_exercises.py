"""The exercises of lesson 17 and their tests. Each test's docstring is the property that it asks for.

Glossary: m × n, the matrix; r, the rank; σ, a singular value; energy, Σ σ² or a share of it; up (m, r) and
down (r, n), the two factors.
"""

from pathlib import Path

import numpy as np

from tinyopt import Tensor, compress, nn
from tinyopt.compress import lowrank
from tinyopt.course import Wrong, exercise, recognise, same, task
from tinyopt.course.lessons import load

material = load(Path(__file__).with_name("material.py"))
numbers, squares_of, two_factors = material.numbers, material.squares_of, material.two_factors
judge_factors, judge_rank, judge_saving = material.judge_factors, material.judge_rank, material.judge_saving


# --- 17.1 rank 1, by hand ------------------------------------------------------------------------------

exercise(
    "17.1",
    material.predict,
    hides=[compress.truncated_svd, compress.rank_for_energy, lowrank.rank_sweep],
    proves="You found the nearest matrix of rank 1 on paper. Its squared error is the σ² that you left out.",
)


def hand(ex):
    """The four parts: σ₁², σ₂², the matrix as four numbers, the error."""
    answer = ex()
    if not isinstance(answer, (tuple, list)) or len(answer) != 4:
        raise Wrong("Four things are due: return first, second, nearest, error", {"yours": repr(answer)})
    numbers(list(answer))  # NotWritten if any `...` is left
    return answer


@task("17.1", hints=[
    "WᵀW: the product of each pair of *columns* of W. The columns are (4, 3) and (0, 5).",
    "It is [25 15; 15 25]. Its eigenvectors are (1, 1)/√2 and (1, −1)/√2, as in the example above.",
    "The eigenvalues of [a b; b a] are a + b and a − b. They are σ₁² and σ₂²: do not take the root.",
])  # fmt: skip
def test_squares_by_hand(ex):
    """σ₁² and σ₂² are the eigenvalues of WᵀW, the larger first."""
    first, second, *_ = hand(ex)
    due = squares_of(material.MATRIX)
    facts = {"yours": f"{first}, {second}"}
    recognise((first, second), {"The two are exchanged: σ₁ is the larger one.": due[::-1]}, facts)
    recognise(sorted(numbers([first, second])), {
        "You took the square roots. σ₁² and σ₂² are asked for.": np.sqrt(due[::-1]),
        "4 and 5 are the eigenvalues of W. The singular values belong to WᵀW.": (4, 5),
        "16 and 25 are the squares of W's eigenvalues. WᵀW has other eigenvalues than W².": (16, 25),
        "25 and 25 is the diagonal of WᵀW. The 15 beside it counts, too.": (25, 25),
    }, facts)  # fmt: skip
    same(first, due[0], "σ₁²")
    same(second, due[1], "σ₂²")


@task("17.1", hints=[
    "W₁ = W v₁ v₁ᵀ with v₁ = (1, 1)/√2. First v₁ v₁ᵀ: a column times a row.",
    "v₁ v₁ᵀ = ½ [1 1; 1 1]. So each row of W is replaced by its mean, twice.",
])  # fmt: skip
def test_nearest_by_hand(ex):
    """The nearest matrix of rank 1 keeps the direction of σ₁."""
    nearest = np.array(numbers(hand(ex)[2]), dtype=float)
    if nearest.size != 4:
        raise Wrong("Two rows of two numbers are due: [[a, b], [c, d]]", {"yours": nearest.tolist()})
    due, nearest = np.array(ex.reference()[2]), nearest.reshape(2, 2)
    error = ((nearest - material.MATRIX) ** 2).sum()
    facts = {"yours": nearest.tolist(), "squared error of yours": f"{error:g}"}
    recognise(nearest, {
        "This is the other piece, of σ₂: what should be left out.": material.MATRIX - due,
        "The ½ is missing: v₁ has length 1, so each of its numbers is 1/√2.": 2 * due,
        "Rows and columns are exchanged. In W v₁ v₁ᵀ each *row* of W becomes its mean.": due.T,
        "This is v₁ v₁ᵀ W: each *column* became its mean. v₁ comes from WᵀW and stands on the right.":
            [material.MATRIX.mean(axis=0)] * 2,
    }, facts, rtol=1e-5)  # fmt: skip
    if not np.isclose(np.linalg.det(nearest), 0, atol=1e-6):
        raise Wrong("This matrix has rank 2: its second row is no multiple of the first.", facts)
    if not np.allclose(nearest, due, atol=1e-3):
        raise Wrong("It has rank 1, but there is a nearer one: W₁ = W v₁ v₁ᵀ.", facts)


@task("17.1", hints=["Square the four entries of W − W₁, and add. Compare with σ₂²."])
def test_error_by_hand(ex):
    """The squared error is the sum of the four squares of W − W₁."""
    error = numbers(hand(ex)[3])[0]
    recognise(error, {
        "That is the root: the length of W − W₁. The squared error is asked for.": np.sqrt(10),
        "That is the mean of the four squares. The sum is asked for.": 2.5,
        "That is the share of the energy, 10 of 50. The squared error is asked for.": 0.2,
        "That is what rank 1 keeps. The error is what it leaves out.": 40,
    }, {"yours": f"{error:.6g}", "due": "the sum of the squares of W − W₁"}, rtol=1e-3)  # fmt: skip
    same(error, ex.reference()[3], "the squared error")


# --- 17.2 the truncated SVD ----------------------------------------------------------------------------

exercise(
    "17.2",
    compress.truncated_svd,
    proves="No matrix of this rank is nearer than the product of your factors. They can replace a layer.",
)


@task("17.2", hints=[
    "Keep the first r: u[:, :rank], sigma[:rank], vt[:rank].",
    "u[:, :rank] * sigma[:rank] multiplies column i of u by σᵢ.",
    "up = u[:, :rank] * sigma[:rank]; down = vt[:rank]. Or √σ to each: see NumPy's sigma[:rank, None].",
])  # fmt: skip
def test_factors_of_the_hand_examples(ex):
    """At rank 1, the product is the matrix that was found by hand."""
    for matrix in (material.EXAMPLE, material.MATRIX):
        judge_factors(matrix, 1, *two_factors(ex, matrix.copy(), 1))


@task("17.2", points=2, hints=[
    "The squared error is the tail, Σ over i > r of σᵢ². Is every kept term complete: uᵢ σᵢ vᵢᵀ?",
    "The error should be the smallest for each rank, and 0 at full rank.",
])  # fmt: skip
def test_no_nearer_matrix_of_this_rank(ex):
    """For wide, tall and square matrices, at any rank, the squared error is the tail of σ²."""
    rng = np.random.default_rng(0)
    for shape in ((4, 4), (5, 3), (3, 6)):
        matrix = rng.standard_normal(shape)
        for rank in range(min(shape), 0, -1):  # full rank first: there, σ at the wrong axis raises no error
            judge_factors(matrix, rank, *two_factors(ex, matrix.copy(), rank))


@task("17.2", hints=["The network is float32. np.zeros makes float64: give your arrays dtype=matrix.dtype."])
def test_factors_run_inside_the_model(ex):
    """A layer with your factors computes x W_rᵀ + b, in the type of the matrix."""
    small = np.arange(6, dtype=np.float32).reshape(2, 3)
    two_factors(ex, small, 1)
    types = [str(np.asarray(part).dtype) for part in ex(small, 1)]
    if types != ["float32", "float32"]:
        says = "The matrix is float32, so both factors have to be: a layer computes in one type of floats."
        raise Wrong(says, {"yours": ", ".join(types)})
    layer, x = nn.Linear(9, 6, rng=0), np.random.default_rng(1).standard_normal((5, 9)).astype(np.float32)
    up, down = ex.reference(layer.weight.data, 2)
    model = nn.Sequential(fc=layer)
    with ex.installed():
        compress.factorize(model, 2)
    due = x @ (up @ down).T + layer.bias.data
    same(model(Tensor(x)).numpy(), due, "the layer's output", rtol=1e-4, atol=1e-5)


# --- 17.3 a rank for an energy ---------------------------------------------------------------------------

exercise(
    "17.3",
    compress.rank_for_energy,
    hides=[lowrank.rank_sweep],
    proves="Your function finds the smallest rank that is enough, neither one more nor one less.",
)

PAPER = np.diag([1.0, 5.0, 2.0, 10.0, 1.0, 3.0, 2.0, 1.0])  # σ² = 100, 25, 9, 4, 4, 1, 1, 1 of 145
DIAGONAL = np.diag([2.0, 4.0, 2.0, 2.0, 2.0])  # σ² = 16, 4, 4, 4, 4: shares 1/2, 5/8, 3/4, 7/8, 1, exactly


@task("17.3", hints=[
    "sigma**2 are the energies of the terms, np.cumsum(sigma**2) those of the first 1, 2, 3 … terms.",
    "Count the ranks that do *not* keep enough: kept < energy * kept[-1]. The next rank is the answer.",
    "rank = (kept < energy * kept[-1]).sum() + 1",
])  # fmt: skip
def test_rank_between_the_steps(ex):
    """The smallest rank whose share of Σ σ² is at least the energy."""
    if np.array_equal(ex(PAPER.copy(), 0.22), 4):  # the first four of (Σ σ)² = 625; rank 1 has 100 of 145
        says = "It divides by (Σ σ)², the square of the sum. The energy is Σ σ², the sum of the squares."
        raise Wrong(says, {"Σ σ²": 145, "(Σ σ)²": 625})
    for energy in (0.87, 0.2, 0.75, 0.95, 0.99):
        judge_rank(ex(PAPER.copy(), energy), PAPER, energy)
    matrix = np.random.default_rng(0).standard_normal((7, 12)) * np.arange(1, 13)
    for energy in (0.1, 0.35, 0.5, 0.9, 0.99):
        judge_rank(ex(matrix.copy(), energy), matrix, energy)


@task("17.3", hints=["σ² = 16, 4, 4, 4, 4. Rank 1 keeps 16 of 32: exactly one half. That is enough for 0.5."])
def test_rank_exactly_at_a_step(ex):
    """Exactly the share is enough."""
    for energy in (0.5, 0.625, 0.75, 0.875):
        judge_rank(ex(DIAGONAL.copy(), energy), DIAGONAL, energy)


@task("17.3", hints=[
    "All the energy needs all ranks. Is there a rounding error? Compare with kept[-1], not with another sum.",
])  # fmt: skip
def test_all_of_the_energy(ex):
    """The whole energy needs every singular value that is not 0."""
    matrix = np.random.default_rng(3).standard_normal((6, 6))
    for array in (DIAGONAL, matrix, matrix.astype(np.float32)):
        judge_rank(ex(array.copy(), 1.0), array, 1.0)


@task("17.3")
def test_rank_runs_inside_the_model(ex):
    """`factorize` gives each layer the rank that you choose."""
    model = nn.Sequential(a=nn.Linear(20, 30, rng=0), b=nn.Linear(30, 12, rng=1))
    due = {name: material.rank_due(squares_of(model.get(name).weight.data), 0.5) for name in "ab"}
    if isinstance(ex(DIAGONAL.copy(), 0.5), (float, np.floating)):
        raise Wrong("The rank is a float. `factorize` slices arrays with it: return int(rank)")
    with ex.installed():
        came = compress.factorize(model, energy=0.5)
    same([came.get(name, 0) for name in "ab"], [due[name] for name in "ab"], "the ranks of two layers")


# --- 17.4 when does it save? -----------------------------------------------------------------------------

exercise(
    "17.4",
    lowrank.largest_saving_rank,
    proves="You can say before any SVD whether low rank can save anything at all. Many reports cannot.",
)


@task("17.4", hints=[
    "r (m + n) < m n. Divide by m + n.",
    "Whole numbers: r (m + n) ≤ m n − 1. The operator // divides and rounds down.",
])  # fmt: skip
def test_saving_rank_of_layers(ex):
    """The largest r with r (m + n) < m n, for the three layers of the network and others."""
    for m, n in ((300, 784), (100, 300), (10, 100), (7, 9), (2, 50)):
        judge_saving(ex((m, n)), m, n)


@task("17.4", points=2, hints=[
    "4 × 4: the break-even is 16 / 8 = 2, a whole number. At 2, both have 16 numbers. So the answer is 1.",
    "(m·n) // (m + n) is one too many there. What about (m·n − 1)?",
])  # fmt: skip
def test_saving_rank_at_the_break_even(ex):
    """Where both are equally large, nothing is saved; and some matrices have no saving rank: 0."""
    for m, n in ((4, 4), (6, 3), (3, 6), (12, 4), (1, 5), (5, 1), (2, 2), (1, 1)):
        judge_saving(ex((m, n)), m, n)


@task("17.4")
def test_saving_rank_runs_inside_the_model(ex):
    """`factorize` leaves a layer as it is if your function says that nothing is saved."""
    model = nn.Sequential(small=nn.Linear(4, 4, rng=0), large=nn.Linear(30, 20, rng=1))
    with ex.installed():
        came = compress.factorize(model, 2)
    same(sorted(came) == ["large"], True, "the choice of layers at rank 2, of a 4 × 4 and a 20 × 30 matrix,")


# --- 17.5 explain this failure ---------------------------------------------------------------------------

exercise(
    "17.5",
    material.witness,
    proves="The energy speaks of the weights. An input can lie just in the direction that was thrown away.",
)


@task("17.5", points=2, hints=[
    "Take a diagonal matrix, [[a, 0], [0, b]] with a > b > 0. Its singular values are a and b.",
    "Rank 1 keeps a² of a² + b². With a = 10 and b = 1 that is 100 of 101. What does it do to x = (0, 1)?",
])  # fmt: skip
def test_witness_keeps_energy_and_loses_the_output(ex):
    """Rank 1 keeps 95 % of Σ σ², and W x changes by half of its length or more."""
    answer = ex()
    if not isinstance(answer, (tuple, list)) or len(answer) != 2:
        raise Wrong("A matrix and an input are due: return W, x", {"yours": repr(answer)})
    matrix, x = (np.array(numbers(part), dtype=float) for part in answer)
    if matrix.size != 4 or x.size != 2:
        raise Wrong("W has two rows of two numbers, x has two numbers.", {"yours": repr(answer)})
    matrix = matrix.reshape(2, 2)
    if not np.isfinite(matrix).all() or not np.isfinite(x).all():
        raise Wrong("W or x holds NaN or infinity.")
    if not x.any() or not matrix.any():
        raise Wrong("The output is 0 for any matrix of this kind: nothing can be lost. Take other numbers.")
    kept, change = material.energy_and_change(matrix, x)
    facts = {"energy kept": f"{kept:.1%}", "change of W x": f"{change:.1%}"}
    if kept > 1 - 1e-12:
        raise Wrong("This W has rank 1 already: its rank-1 approximation loses nothing at all.", facts)
    if kept < 0.95:
        raise Wrong("Rank 1 keeps less than 95 % of this W. The friend spoke of another matrix.", facts)
    weak = np.linalg.eigh(matrix @ matrix.T)[1][:, 0]  # u₂: the outputs that W makes small
    if change < 0.5 and np.isclose(abs(weak @ x), np.sqrt(x @ x)):
        says = "x is u₂, the weak direction of the *outputs*. W x needs that of the inputs: v₂, a row of Vᵀ."
        raise Wrong(says, facts)
    if change < 0.01:
        raise Wrong("This x lies along the direction that is kept: the output stays as it is.", facts)
    if change < 0.5:
        raise Wrong("The output changes too little. Turn x towards the direction that is thrown away.", facts)

"""The exercises of lesson 17 and their tests. Each test's docstring is the property that it asks for.

Glossary: m × n, the matrix; r, the rank; σ, a singular value; energy, Σ σ² or a share of it; up (m, r) and
down (r, n), the two factors; H = XᵀX, of inputs X; O, C, kh × kw: channels out, channels in, the kernel.
"""

import copy
from pathlib import Path

import numpy as np

from tinyopt import Tensor, compress, measure, nn
from tinyopt.compress import conv_lowrank, lora, lowrank, whitened
from tinyopt.course import Wrong, exercise, recognise, same, task
from tinyopt.course.lessons import load

material = load(Path(__file__).with_name("material.py"))
numbers, squares_of, two_factors = material.numbers, material.squares_of, material.two_factors
judge_factors, judge_rank, judge_saving = material.judge_factors, material.judge_rank, material.judge_saving
outputs_cut, judge_outputs, judge_banks = material.outputs_cut, material.judge_outputs, material.judge_banks


# --- 17.1 rank 1, by hand ------------------------------------------------------------------------------

exercise(
    "17.1",
    material.predict,
    hides=[compress.truncated_svd, compress.rank_for_energy, lowrank.rank_sweep],
    proves="You found the nearest matrix of rank 1 on paper. Its squared error is the σ² that you left out.",
)


def hand(ex):
    """The four parts: σ₁², σ₂², the matrix as four numbers, the error."""
    answer = material.taken_apart(ex(), "first, second, nearest, error")
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
    hides=[lowrank.rank_sweep, lowrank.first_to_keep],
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
    """`factorize` refuses a rank that saves nothing, and your function says which rank would save."""
    model, due, says = nn.Sequential(fc=nn.Linear(30, 20, rng=0)), ex.reference((20, 30)), "no error"
    numbers([ex((20, 30))])
    with ex.installed():
        try:
            compress.factorize(model, {"fc": 15})
        except ValueError as problem:
            says = str(problem)
    if f"rank of {due} or less" not in says:
        raise Wrong(f"For a 20 × 30 matrix, `factorize` should advise rank {due}.", {"it says": says})


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
    material.judge_witness(material.taken_apart(ex(), "W, x"))


# --- 17.6 the nearest outputs ----------------------------------------------------------------------------

exercise(
    "17.6",
    whitened.whitened_svd,
    hides=[whitened.output_spectrum],
    proves="No matrix of this rank changes the outputs less. Your factors know which inputs really come.",
)

PAPER_WEIGHT, PAPER_GRAM = np.diag([2.0, 1.0]), np.diag([1.0, 16.0])  # the text's: keep the smaller σ of W


@task("17.6", points=2, hints=[
    "Here S is not diagonal, so it matters on which side it stands: weight @ root.",
    "The way back: up @ up.T @ weight. Without it you have factors of W S.",
])  # fmt: skip
def test_no_nearer_outputs_of_this_rank(ex):
    """For wide and tall weights and inputs that depend on each other, no outputs of this rank are nearer."""
    rng = np.random.default_rng(0)
    for m, n in ((4, 6), (6, 4), (5, 5)):
        weight = rng.standard_normal((m, n))
        inputs = rng.standard_normal((40, n)) @ (rng.standard_normal((n, n)) * np.logspace(0, -1.5, n))
        for rank in (1, 3, min(m, n)):
            judge_outputs(ex, weight, inputs.T @ inputs, rank)


@task("17.6", hints=[
    "Take the SVD of weight @ root, not of weight.",
    "np.linalg.svd gives P, σ, Qᵀ. up = P[:, :rank].",
    "S⁻¹ cancels: down = up.T @ weight, and error = (sigma[rank:] ** 2).sum()",
])  # fmt: skip
def test_outputs_of_the_hand_example(ex):
    """W = [2 0; 0 1] and H = [1 0; 0 16]: the second direction is kept, and the error is 4."""
    judge_outputs(ex, PAPER_WEIGHT, PAPER_GRAM, 1)


@task("17.6", hints=["H has no inverse here: three inputs of six numbers. Use none at all: S⁻¹ cancels."])
def test_inputs_that_never_vary(ex):
    """H without an inverse: pixels that are 0 in all images, and fewer images than pixels."""
    rng = np.random.default_rng(1)
    weight, inputs = rng.standard_normal((4, 6)), rng.standard_normal((3, 6)) * (1, 1, 0, 1, 1, 0)
    gram, says = inputs.T @ inputs, "H has no inverse here: some inputs never vary. S⁻¹ cancels, so use none."
    try:
        up, down, _ = outputs_cut(ex, weight, gram, 2)
    except np.linalg.LinAlgError as problem:
        raise Wrong(says, {"NumPy": str(problem)}) from None
    lost = weight - up @ down
    if not np.isfinite(lost).all() or abs(up).max() * abs(down).max() > 1e6:
        raise Wrong(says, {"largest of your numbers": f"{max(abs(up).max(), abs(down).max()):.3g}"})
    judge_outputs(ex, weight, gram, 2)


@task("17.6")
def test_outputs_run_inside_the_model(ex):
    """`factorize_outputs` puts your factors into a layer."""
    model, x = nn.Sequential(fc=nn.Linear(12, 9, rng=0)), np.random.default_rng(2).standard_normal((30, 12))
    x = (x * np.linspace(0.1, 2, 12)).astype(np.float32)
    weight, centred, other = model.get("fc").weight.data, x - x.mean(axis=0), copy.deepcopy(model)
    squares = np.linalg.eigvalsh(weight @ (centred.T @ centred) @ weight.T)[::-1]
    due = float(squares[2:].sum() / squares.sum())
    outputs_cut(ex, weight, centred.T @ centred, 2)
    with ex.installed():
        came = whitened.factorize_outputs(other, x, 2)
    same(came["fc"][1], due, "the share of the variance that is left out", rtol=1e-3)
    with measure.inference(model), measure.inference(other):
        lost, outputs = other(x).numpy() - model(x).numpy(), model(x).numpy()
    share = float((lost**2).sum() / ((outputs - outputs.mean(axis=0)) ** 2).sum())
    same(share, due, "the share that the layer really leaves out", rtol=1e-3)


# --- 17.7 convolutions: which axes? ----------------------------------------------------------------------

exercise(
    "17.7",
    conv_lowrank.spatial_svd,
    hides=[conv_lowrank.as_matrix],
    proves="A kernel of kh × kw became kh × 1 and 1 × kw, and no such pair of this rank is nearer.",
)


@task("17.7", points=2, hints=["Print weight.shape at each step, for a weight with four different lengths."])
def test_no_nearer_pair_of_this_rank(ex):
    """Filters with any lengths of the four axes, at any rank: the squared error is the tail of σ²."""
    rng = np.random.default_rng(0)
    for shape in ((4, 3, 5, 2), (2, 4, 3, 3), (3, 2, 1, 4), (5, 1, 2, 3)):
        weight = rng.standard_normal(shape)
        full = min(shape[1] * shape[2], shape[0] * shape[3])
        for rank in sorted({1, 2, full} & set(range(1, full + 1))):
            judge_banks(ex, weight, rank)


@task("17.7", hints=[
    "At full rank nothing is lost: your two banks must give back every number of the weight.",
    "matrix = weight.transpose(1, 2, 0, 3).reshape(n_in * kh, n_out * kw): the axes are now c, i, o, j.",
    "vertical = up.T.reshape(rank, n_in, kh, 1)",
    "horizontal = down.reshape(rank, n_out, 1, kw).transpose(1, 0, 2, 3)",
])  # fmt: skip
def test_separable_kernels_are_kept(ex):
    """What has rank 1 is kept exactly: the pair of the text, and a kernel (1, 2, 1)ᵀ (1, 0, −1)."""
    edge = np.outer([1.0, 2.0, 1.0], [1.0, 0.0, -1.0])[None, None]
    pair = np.array([[[[1, 1], [1, 1]]], [[[1, -1], [1, -1]]]], dtype=float)
    for weight in (edge, pair):
        judge_banks(ex, weight, 1)


@task("17.7", hints=["Each bank keeps the type of the weight. The model gives height's stride to the first."])
def test_banks_run_inside_the_model(ex):
    """`factorize_convs` builds two convolutions from your banks: they compute what the cut filters do."""
    conv = nn.Conv2d(3, 8, 3, stride=2, padding=1, rng=0)
    model, rng = nn.Sequential(conv=conv), np.random.default_rng(1)
    x = rng.standard_normal((2, 3, 7, 7)).astype(np.float32)
    near, slow = material.filters_of("spatial", ex.reference(conv.weight.data, 3)), copy.deepcopy(conv)
    slow.weight.data = near.astype(np.float32)
    with ex.installed():
        conv_lowrank.factorize_convs(model, {"conv": 3}, kind="spatial")
    came, due = (net(Tensor(x)).numpy() for net in (model, slow))
    same(came, due, "the output of the two convolutions", rtol=1e-3, atol=1e-4)


# --- 17.8 LoRA -------------------------------------------------------------------------------------------

exercise(
    "17.8",
    lora.merged_weight,
    proves="One weight now computes what the weight and its adapter did. The adapter costs no time any more.",
)


def judge_merged(ex, weight, down, up, alpha):
    """Compare with x Wᵀ + (α / r)(x Aᵀ) Bᵀ for x the identity; name the classic mistakes."""
    came = ex(weight.copy(), down.copy(), up.copy(), alpha=alpha)
    r, change = len(down), np.einsum("or,ri->oi", up, down)
    due = weight + alpha / r * change
    factors = {
        "The factor α / r is missing.": 1,
        "It multiplies by α, but does not divide by r.": alpha,
        "It multiplies by r / α: the other way up.": r / alpha,
        "It divides by r, but α is missing.": 1 / r,
        "It divides by the number of outputs, len(up). r is the number of rows of A.": alpha / len(up),
        "It divides by the number of inputs. r is the number of *rows* of A, len(down).": alpha / down.shape[1],
        "It divides by the rank of the matrix B A. r is the number of rows of A: for a new adapter, B A is 0.":
            alpha / max(np.linalg.matrix_rank(change), 1),
        "The change is taken away. It is added.": -alpha / r,
        "W has not changed: the adapter is not in it.": 0,
        "It multiplies by √ of α / r.": np.sqrt(alpha / r),
        "It divides by √r: that is another method, rsLoRA. Here it is α / r.": alpha / np.sqrt(r),
    }  # fmt: skip
    mistakes = {says: weight + factor * change for says, factor in factors.items()}
    mistakes["It is the change alone, without W."] = alpha / r * change
    mistakes["It scales W as well: only the change gets α / r."] = alpha / r * (weight + change)
    if len(up) == down.shape[1]:
        says = "It adds the transposed change. up @ down has the shape (O, I), as W."
        mistakes[says] = weight + alpha / r * change.T
    if r == len(up) == down.shape[1]:
        says = "It multiplies down @ up. The input meets A first: (x Aᵀ) Bᵀ = x (B A)ᵀ."
        mistakes[says] = weight + alpha / r * down @ up
    facts = {"shapes": f"W {weight.shape}, A {down.shape}, B {up.shape}", "α": alpha, "r": r}
    recognise(came, mistakes, facts, due=due, rtol=1e-5)
    same(came, due, "the merged weight", rtol=1e-5, atol=1e-6)


@task("17.8", points=2, hints=["r is the number of rows of A: len(down). Only the change gets alpha / r."])
def test_merged_for_any_shape(ex):
    """For any shape, rank and α: x W′ᵀ is what the weight and its adapter give together."""
    rng = np.random.default_rng(0)
    for n_out, n_in, r, alpha in ((5, 7, 2, 6), (7, 5, 3, 1), (4, 4, 2, 5), (3, 3, 3, 2), (2, 6, 1, 0.5)):
        weight, down, up = (rng.standard_normal(shape) for shape in ((n_out, n_in), (r, n_in), (n_out, r)))
        judge_merged(ex, weight, down, up, alpha)
    for n_columns in (2, 0):  # B A of a lower rank than r; at last B = 0, as in a new adapter
        weight, down, up = (rng.standard_normal(shape) for shape in ((5, 6), (3, 6), (5, 3)))
        up[:, n_columns:] = 0
        judge_merged(ex, weight, down, up, 4)


@task("17.8", hints=[
    "B A is a column times a row here: [1; 3] (2 0) = [2 0; 6 0].",
    "A has one row, so r = 1, and α / r = 2.",
    "weight + (alpha / len(down)) * (up @ down)",
])  # fmt: skip
def test_merged_by_hand(ex):
    """W = [1 0; 0 1], A = (2 0), B = (1 3)ᵀ, α = 2, so r = 1: the merged weight is [5 0; 12 1]."""
    judge_merged(ex, np.eye(2), np.array([[2.0, 0.0]]), np.array([[1.0], [3.0]]), 2)


@task("17.8", hints=["`weight += …` writes into the frozen array of the layer. weight + … makes a new one."])
def test_the_frozen_weight_stays(ex):
    """A new array is made: the frozen weight keeps its numbers, since another task may use it."""
    weight, down, up = np.eye(3, 4), np.ones((2, 4)), np.ones((3, 2))
    ex(weight, down, up, alpha=4)
    if not np.array_equal(weight, np.eye(3, 4)):
        raise Wrong("It changed the frozen weight itself, in place. Make a new array: weight + …")


@task("17.8")
def test_merged_runs_inside_the_model(ex):
    """`merge_adapters` with your function leaves the outputs of the network as they are."""
    model, rng = nn.Sequential(fc=nn.Linear(8, 6, rng=0)), np.random.default_rng(3)
    x = rng.standard_normal((5, 8)).astype(np.float32)
    lora.add_adapters(model, rank=2, alpha=6, rng=0)
    model.get("fc").up.data = np.random.default_rng(4).standard_normal((6, 2)).astype(np.float32)
    due = model(Tensor(x)).numpy()
    ex(np.eye(2), np.ones((1, 2)), np.ones((2, 1)), alpha=2)
    with ex.installed():
        lora.merge_adapters(model)
    same(model(Tensor(x)).numpy(), due, "the outputs after merging", rtol=1e-3, atol=1e-4)

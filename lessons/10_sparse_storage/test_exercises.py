"""The exercises of lesson 10 and their tests. Each test's docstring is the property that it asks for.

Glossary: values, what is not 0; column_of, the column of each; starts, where rows begin; fixed, each: bytes.
"""

from pathlib import Path

import numpy as np

from tinyopt import nn
from tinyopt.codec.sparse import COO, CSC, CSR, LAYOUTS, products, rows, sizes
from tinyopt.course import Wrong, exercise, same, task
from tinyopt.course.compare import NotWritten, recognise
from tinyopt.course.lessons import load

material = load(Path(__file__).with_name("material.py"))
whole, judge_values, judge_columns = material.whole, material.judge_values, material.judge_columns
judge_starts, judge_meeting = material.judge_starts, material.judge_meeting
MAKERS = [kind.from_dense.__func__ for kind in (COO, CSR, CSC)] + [CSR.from_positions.__func__]


# --- 10.1 CSR, by hand -----------------------------------------------------------------------------

exercise(
    "10.1",
    material.predict,
    hides=[*MAKERS, rows.starts_of, rows.compressed_rows],
    proves="You wrote CSR by hand, and you know what each of its three arrays costs.",
)


def four_parts(ex):
    answer = ex()
    if not isinstance(answer, (tuple, list)) or len(answer) != 4:
        raise Wrong("Four things are due: return values, columns, starts, n_bytes", {"yours": repr(answer)})
    return answer


@task("10.1", hints=["Read row by row, from left to right. Write what is not 0, and its column, from 0."])
def test_values_and_columns_by_hand(ex):
    """The values row by row, and the column of each."""
    values, columns, _, _ = four_parts(ex)
    judge_values(whole(values, "values"), material.MATRIX)
    judge_columns(whole(columns, "columns"), material.MATRIX)


@task("10.1", points=2, hints=[
    "starts[i]: how many values stand in the rows before row i?",
    "Before row 0: none. Before row 1: none too, since row 0 is empty. Before row 2: two.",
    "At the end comes one more number: all values. So there are five numbers for four rows.",
])  # fmt: skip
def test_starts_by_hand(ex):
    """starts[i] counts the values before row i; the last number counts all."""
    judge_starts(whole(four_parts(ex)[2], "starts"), material.MATRIX)


@task("10.1", hints=["A float32 takes 4 bytes; an index below 256 takes 1. How many of each are there?"])
def test_bytes_by_hand(ex):
    """The bytes: 4 for a value, 1 for a column, 1 for a start."""
    n_bytes, due = four_parts(ex)[3], ex.reference()[3]
    n = int((material.MATRIX != 0).sum())
    slips = {
        "Those are the values alone. Columns and starts must be written, too.": 4 * n,
        "The starts are missing: one byte for each row, and one more.": 5 * n,
        "There is one start more than there are rows: the end of the last row.": 5 * n + 4,
        "That is COO, which says the row of each value. CSR says where each row begins.": 6 * n,
        "The indices are counted with 4 bytes each. Up to 255, 1 byte is enough.": 8 * n + 20,
        "The indices are counted with 8 bytes each. Up to 255, 1 byte is enough.": 12 * n + 40,
        "These are the bytes of the dense matrix.": 4 * material.MATRIX.size,
        "This is the count of all numbers, not of bytes: a float32 takes 4 bytes.": 2 * n + 5,
    }
    recognise(n_bytes, slips, {"yours": n_bytes, "due": due}, due=due)
    same(n_bytes, due, "the number of bytes")


# --- 10.2 from dense to CSR ------------------------------------------------------------------------

exercise(
    "10.2",
    rows.compressed_rows,
    hides=[*MAKERS, rows.starts_of],
    proves="Your three arrays hold the whole matrix, bit by bit: the package's CSR and CSC are made by them.",
)


def judge_three(ex, matrix):
    """The student's arrays for this matrix, against the walk."""
    frozen = np.array(matrix)
    frozen.setflags(write=False)
    answer = ex(frozen)
    if not isinstance(answer, (tuple, list)) or len(answer) != 3:
        raise Wrong("Three arrays are due: return values, column_of, starts", {"yours": repr(answer)[:60]})
    values, column_of, starts = answer
    judge_values(values, matrix)
    judge_columns(whole(column_of, "column_of"), matrix)
    judge_starts(whole(starts, "starts"), matrix)


@task("10.2", hints=[
    "row_of, column_of = np.nonzero(is_stored(matrix)) gives the row and column of each value.",
    "matrix[row_of, column_of] are the values.",
    "np.bincount(row_of, minlength=len(matrix)) counts each row; np.cumsum adds up. And the 0?",
])  # fmt: skip
def test_the_two_matrices_of_the_text(ex):
    """The hand example, and the matrix of exercise 10.1."""
    judge_three(ex, material.HAND)
    judge_three(ex, material.MATRIX)


@task("10.2", points=2, hints=[
    "np.bincount stops at the last row that holds something: minlength=len(matrix) makes it count all rows.",
    "An empty row has count 0, so two neighbouring starts are equal. Nothing special has to be done for it.",
])  # fmt: skip
def test_empty_rows_and_other_shapes(ex):
    """Rows may be empty, at the end too; a matrix may be all 0, full, one row, or one column."""
    rng = np.random.default_rng(0)
    drawn = [material.pattern(shape, 0.2, rng) for shape in ((6, 9), (9, 4), (1, 8), (8, 1), (30, 3))]
    ends_empty = np.zeros((5, 3), np.float32)
    ends_empty[1, 2] = 4
    for matrix in (*drawn, ends_empty, np.zeros((3, 4), np.float32), np.ones((3, 2), np.float32)):
        judge_three(ex, matrix)


@task("10.2", hints=["Which elements are kept? Ask is_stored(matrix), and not matrix != 0."])
def test_it_comes_back_bit_by_bit(ex):
    """−0.0 and NaN are kept: only +0 is left out."""
    judge_three(ex, np.array([[0.0, -0.0, 2.0], [np.nan, 0.0, 0.0], [0.0, 0.0, -1.0]], np.float32))


@task("10.2")
def test_it_runs_inside_the_package(ex):
    """CSR and CSC are made by your function, and give the matrix back."""
    matrix = material.pattern((12, 7), 0.3, np.random.default_rng(1))
    with ex.installed(), ex.curtain.lifted():
        for kind in (CSR, CSC):
            form = kind.from_dense(matrix)
            if form.dtype != np.float32:
                raise Wrong("float32 came in, values of another type came out.", {"yours": form.dtype})
            same(form.to_dense(), matrix, f"the matrix that {kind.__name__} gives back")


# --- 10.3 break-even -------------------------------------------------------------------------------

exercise(
    "10.3",
    sizes.meeting_density,
    hides=[sizes.cross_over],
    proves="You can say from which density on a layout is worth its indices, before a file is written.",
)


def met(ex, one, other, size):
    """The student's density; None is an answer here."""
    came = ex.function(one, other, size)
    if came is Ellipsis:
        raise NotWritten
    return came


@task("10.3", hints=[
    "At n values they take fixed₁ + each₁ · n and fixed₂ + each₂ · n bytes. Set them equal; find n.",
    "n = (fixed₂ − fixed₁) / (each₁ − each₂). The density is n / size.",
])  # fmt: skip
def test_two_lines_meet(ex):
    """Where both take the same bytes; it does not matter which of them comes first."""
    for one, other, size in (((100, 4), (940, 1), 700), ((80, 0), (5, 5), 20), ((0, 8), (1204, 6), 235200)):
        judge_meeting(met(ex, one, other, size), one, other, size)
        judge_meeting(met(ex, other, one, size), other, one, size)


@task("10.3", points=2, hints=[
    "Two lines of the same slope, each₁ = each₂, are parallel: there is nothing to divide by. Return None.",
    "A density lies between 0 and 1. If the lines meet elsewhere, one layout is always smaller: None.",
])  # fmt: skip
def test_lines_that_do_not_meet(ex):
    """Parallel lines, and lines that meet below 0 or above 1, have no break-even: None."""
    cases = {
        "Parallel lines never meet: look before you divide.": ((80, 4), (30, 4), 20),
        "They meet at a density above 1: there is no such matrix. Return None.": ((80, 0), (5, 2), 20),
        "They meet below 0: there is no such matrix. Return None.": ((80, 4), (90, 6), 20),
    }
    for says, (one, other, size) in cases.items():
        try:
            came = met(ex, one, other, size)
        except ZeroDivisionError:
            raise Wrong(f"It divides by 0. {says}", {"one": one, "other": other}) from None
        if came is not None:
            raise Wrong(says, {"one": one, "other": other, "size": size, "yours": came, "due": None})


@task("10.3")
def test_real_arrays_agree(ex):
    """Real arrays with fewer and with more values than that: another layout is the smaller one."""
    order, shape = np.random.default_rng(2).permutation(1200), (30, 40)

    def n_bytes(layout, n):
        x = np.zeros(1200, np.float32)
        x[order[:n]] = 1
        return x.nbytes if layout == "dense" else LAYOUTS[layout].from_dense(x.reshape(shape)).nbytes

    for first, second in (("dense", "CSR"), ("dense", "COO"), ("Bitmap", "CSR"), ("dense", "Bitmap")):
        lines = [sizes.straight_line(layout, shape) for layout in (first, second)]
        judge_meeting(met(ex, *lines, 1200), *lines, 1200)
        n = met(ex, *lines, 1200) * 1200
        signs = [np.sign(n_bytes(first, k) - n_bytes(second, k)) for k in (int(n) - 1, int(n) + 2)]
        if signs[0] == signs[1]:
            raise Wrong("On both sides of it the same layout is smaller.", {first: n_bytes(first, int(n))})


# --- 10.4 explain this failure ---------------------------------------------------------------------

exercise(
    "10.4",
    material.witness,
    proves="You know what reduceat makes of an empty row: a wrong number in the middle, an error at the end.",
)


@task("10.4", points=2, hints=[
    "np.add.reduceat(a, [0, 2, 2]) adds up a[0:2], a[2:2], a[2:]. Run it on a = np.array([5., 3., 7.]).",
    "a[2:2] holds nothing, but the answer is not 0. Which kind of row makes such a slice?",
    "A row of zeros between two rows that hold something.",
])  # fmt: skip
def test_quiet_is_wrong_without_an_error(ex):
    """On `quiet` the friend's product returns a wrong number, and raises nothing."""
    quiet, _ = material.two_matrices(ex())
    came, due = material.friend_on(quiet)
    empty = np.flatnonzero(~quiet.any(axis=1)).tolist()
    if came is None:
        says = "On `quiet` it raises: its last row is empty. Put a full row behind the empty one."
        raise Wrong(says, {"empty rows": empty})
    if np.allclose(came, due):
        says = "On `quiet` the friend is right: every row holds something. Which row adds up nothing?"
        raise Wrong(says, {"friend": came.tolist(), "right": due.tolist()})


@task("10.4", hints=[
    "starts[:-1] ends with the place where the last row begins. If that row is empty, what is there?",
    "Nothing: it is behind the last value, and NumPy raises IndexError. Let the last row be all zeros.",
])  # fmt: skip
def test_loud_raises(ex):
    """On `loud` the friend's product raises IndexError."""
    _, loud = material.two_matrices(ex())
    came, due = material.friend_on(loud)
    if came is None:
        return
    facts = {"friend": came.tolist(), "right": due.tolist()}
    if np.allclose(came, due):
        raise Wrong("On `loud` nothing goes wrong. Its last row should hold nothing.", facts)
    raise Wrong("On `loud` it is wrong, but in silence: behind the empty row there is another value.", facts)


# --- 10.5 the product ------------------------------------------------------------------------------

exercise(
    "10.5",
    products.csr_times_vector,
    hides=[products.scatter_times, products.grouped_times],
    proves="Your product multiplies only what is stored; empty rows give 0. A network can run on it.",
)


def judge_product(ex, matrix, x):
    """The student's product of this matrix and x, against the walk."""
    parts = material.rows_by_walking(matrix)
    values, column_of, starts = (np.array(part, t) for part, t in zip(parts, (matrix.dtype, int, int)))
    for array in (values, column_of, starts, x):
        array.setflags(write=False)
    came = ex(values, column_of, starts, x)
    material.judge_product(came, matrix, x, values, column_of, starts)
    due = material.times_by_walking(values, column_of, starts, x)
    same(came, due, "y", rtol=1e-4, atol=1e-5)


@task("10.5", hints=[
    "Gather: x[column_of] is, for each value, the number that it is multiplied with. Then multiply.",
    "Add up each row: np.add.reduceat(products, starts of the filled rows). Or np.bincount, with "
    "the row of each value, from np.repeat(np.arange(rows), np.diff(starts)).",
])  # fmt: skip
def test_product_of_full_rows(ex):
    """y[i] is the sum of value · x[column] over the values of row i."""
    matrix = np.array([[1.0, 0, 2], [0, 3, 0], [4, 5, 0]])
    judge_product(ex, matrix, np.array([10.0, 100.0, 1000.0]))


@task("10.5", points=2, hints=[
    "filled = np.flatnonzero(starts[:-1] < starts[1:]) are the rows that hold something.",
    "Start with y of zeros, and fill in: y[filled] = np.add.reduceat(products, starts[filled]).",
    "If nothing at all is stored, there is nothing to add up: return the zeros.",
])  # fmt: skip
def test_empty_rows_give_zero(ex):
    """Empty rows give 0: first, last, in the middle, several together, and all of them."""
    rng = np.random.default_rng(3)
    for rows_left in ([1, 2, 5], [0, 3], [0, 5], [4], []):
        matrix = np.zeros((6, 5))
        matrix[rows_left] = rng.integers(1, 9, size=(len(rows_left), 5))
        matrix[:, rng.integers(5)] = 0
        judge_product(ex, matrix, rng.integers(1, 9, size=5).astype(float))


@task("10.5", hints=["np.zeros(rows, np.result_type(values, x)) has the product's type; bincount has not."])
def test_float32_stays_float32(ex):
    """float32 times float32 is float32: a network must not change its type on the way."""
    matrix, x = material.pattern((9, 8), 0.3, np.random.default_rng(4)), np.arange(8, dtype=np.float32)
    judge_product(ex, matrix, x)
    form = CSR.from_dense(matrix)
    dtype = getattr(ex(form.values, form.column_of, form.starts, x), "dtype", "a list")
    if dtype != np.float32:
        raise Wrong("float32 came in, another type came out.", {"yours": dtype, "due": "float32"})


@task("10.5", hints=["A loop takes one value after the other. Let NumPy work on whole arrays instead."])
def test_no_loop_over_values(ex):
    """No Python loop over the values: whole arrays are multiplied at once."""
    form = CSR.from_dense(material.pattern((20, 50), 0.5, np.random.default_rng(5)).astype(float))
    material.Watched.taken = 0
    watched = [array.view(material.Watched) for array in (form.values, form.column_of.astype(int))]
    ex(*watched, form.starts.astype(int), np.ones(50))
    if material.Watched.taken > 100:
        raise Wrong("It takes the values one by one. That is the slow loop; whole arrays are wanted.", {
            "values": form.n_stored, "taken one by one": material.Watched.taken})  # fmt: skip


@task("10.5")
def test_a_layer_runs_on_it(ex):
    """A pruned layer, one image at a time: the same outputs as dense."""
    layer = nn.SparseLinear(30, 20, layout="csr", rng=0)
    layer.weight.prune(np.random.default_rng(6).random((20, 30)) < 0.05)
    x = np.random.default_rng(7).random((1, 30)).astype(np.float32)
    due = x @ layer.weight.read().data.T + layer.bias.data
    with ex.installed():
        same(layer(x).numpy(), due, "the layer's output", rtol=1e-4, atol=1e-5)

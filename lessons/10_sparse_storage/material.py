"""What the tests of lesson 10 and its notebook share: references, slow oracles, judges, drawings."""

import time

import numpy as np

from tinyopt.codec.sparse import BSR, CSR
from tinyopt.course import Wrong, same
from tinyopt.course.compare import NotWritten, recognise

HAND = np.array([[0, 7, 0, 0, 0], [5, 0, 0, 3, 0], [0, 0, 0, 0, 0], [0, 0, 2, 0, 9]], np.float32)
MATRIX = np.array([[0, 0, 0, 0, 0], [0, 4, 0, 0, 1], [6, 0, 0, 0, 0], [0, 0, 3, 8, 2]], np.float32)  # of 10.1


def predict():
    """What the package has for `MATRIX`: values, columns, starts, and the bytes of all three."""
    form = CSR.from_dense(MATRIX)
    return form.values.tolist(), form.column_of.tolist(), form.starts.tolist(), form.nbytes


def rows_by_walking(matrix):
    """The slow oracle of `compressed_rows`: look at every element, and keep all that is not +0."""
    values, column_of, starts = [], [], [0]
    for row in matrix:
        for column, value in enumerate(row):
            if value != 0 or np.signbit(value):
                values.append(value)
                column_of.append(column)
        starts.append(len(values))
    return values, column_of, starts


def times_by_walking(values, column_of, starts, x):
    """The slow oracle of `csr_times_vector`: one value after the other."""
    y = [0.0] * (len(starts) - 1)
    for row in range(len(y)):
        for entry in range(int(starts[row]), int(starts[row + 1])):
            y[row] += float(values[entry]) * float(x[int(column_of[entry])])
    return np.array(y)


def shorter_product(values, column_of, starts, x):
    """A friend's product, of exercise 10.4: one line, tested on a matrix that has no empty row."""
    return np.add.reduceat(values * x[column_of], starts[:-1])


def friend_on(matrix):
    """(the friend's product of a matrix and ones, or None if it raises IndexError; the right one)."""
    matrix = np.array(matrix, dtype=float)
    values, column_of, starts = rows_by_walking(matrix + 0.0)
    ones = np.ones(matrix.shape[1])
    try:
        came = shorter_product(np.array(values), np.array(column_of, int), np.array(starts, int), ones)
    except IndexError:
        came = None
    return came, matrix @ ones


def witness():
    """A matrix on which the friend's product is wrong and says nothing, and one on which it raises."""
    quiet = [[5.0, 0.0], [0.0, 0.0], [0.0, 7.0]]
    loud = [[5.0, 0.0], [0.0, 7.0], [0.0, 0.0]]
    return quiet, loud


# --- what is wrong with an answer ---


def whole(came, what):
    """An answer's integers as a list, or a sentence that says what it is instead."""
    parts = list(np.array(came, dtype=object).reshape(-1))
    if any(part is Ellipsis for part in parts):
        raise NotWritten
    if np.ndim(came) != 1 or not all(isinstance(n, (int, float, np.number)) and n == int(n) for n in parts):
        raise Wrong(f"{what} should be a row of whole numbers.", {"yours": repr(came)[:80]})
    return [int(n) for n in parts]


def judge_values(values, matrix):
    """Compare with the walk, bit by bit; name the classic mistakes."""
    due = np.array(rows_by_walking(matrix)[0], dtype=float)
    if any(part is Ellipsis for part in np.array(values, dtype=object).reshape(-1)):
        raise NotWritten
    came = np.array(values, dtype=float).reshape(-1)
    facts = {"yours": came.tolist()[:12], "due": due.tolist()[:12]}
    if len(came) == len(due) and np.array_equal(came, due, equal_nan=True):
        if (np.signbit(came) == np.signbit(due)).all():
            return
    if len(came) < len(due) and (np.signbit(due) & (due == 0)).any():
        raise Wrong("A −0.0 was dropped. What comes back must be the same bit by bit: ask is_stored.", facts)
    if np.array_equal(came, matrix.T[matrix.T != 0]):
        raise Wrong("The values come column by column. In CSR they come row by row.", facts)
    if len(came) > len(due):
        raise Wrong("There are zeros in it. Only what is not 0 is stored.", facts)
    raise Wrong("The values are wrong: what is not 0, row by row, from left to right.", facts)


def judge_columns(columns, matrix):
    """Compare with the walk; name the classic mistakes."""
    due = rows_by_walking(matrix)[1]
    facts = {"yours": columns, "due": due}
    slips = {
        "These are rows. In CSR each value comes with its column.": np.nonzero(matrix)[0],
        "These are rows, column by column: that is CSC.": rows_by_walking(matrix.T)[1],
        "It counts from 1. The first column has number 0.": np.array(due) + 1,
        "These are positions in the whole matrix. Columns are counted within a row.": np.flatnonzero(matrix),
    }
    recognise(columns, slips, facts, due=due)
    if columns != due:
        raise Wrong("The columns are wrong: say for each value, row by row, where it stands.", facts)


def judge_starts(starts, matrix):
    """Compare with the walk; name the classic mistakes."""
    due = rows_by_walking(matrix)[2]
    facts = {"yours": starts, "due": due}
    counts = np.diff(due)
    filled = [start for start, n in zip(due, counts) if n]
    left_out = "Empty rows are left out. An empty row begins, too: where the next one does."
    slips = [
        ("These are the counts of each row. starts is their running sum, from 0.", counts),
        ("The first row begins at 0: that 0 is missing. These are the ends of the rows.", due[1:]),
        ("The last number is missing: the end of the last row, which is the number of values.", due[:-1]),
        (left_out, filled),
        (left_out, filled + due[-1:]),
        ("It counts from 1. The first value has number 0.", np.array(due) + 1),
        ("These are starts of columns: this is CSC. In CSR, rows begin.", rows_by_walking(matrix.T)[2]),
        ("This is the row of each value, as in COO. CSR says where a row begins.", np.nonzero(matrix)[0]),
        ("These are the ends of the rows. A row begins where the row before it ends, row 0 at 0.", due[1:] + due[-1:]),
        ("The last number is the number of all values, not the place of the last value.", due[:-1] + [due[-1] - 1]),
    ]
    if due[1] == 0 and starts == due[1:]:
        raise Wrong("A 0 is missing. Row 0 is empty, so row 1 begins at 0, too: two zeros.", facts)
    for says, numbers in slips:
        recognise(starts, {says: numbers}, facts, due=due)
    if len(starts) != len(due):
        raise Wrong("starts has one number for each row, and one more: the end of the last row.", facts)
    if starts != due:
        raise Wrong("starts is wrong. Row i is values[starts[i] : starts[i + 1]].", facts)


def judge_product(came, matrix, x, values, column_of, starts):
    """Compare y with the walk; name the classic mistakes."""
    due = times_by_walking(values, column_of, starts, x)
    if any(part is Ellipsis for part in np.array(came, dtype=object).reshape(-1)):
        raise NotWritten
    if np.shape(came) == (len(values),) and len(values) != len(due):
        raise Wrong("There is one number for each value. Add them up, row by row.", {"due": len(due)})
    near, spans = {"due": due, "rtol": 1e-4, "atol": 1e-5}, list(zip(starts, starts[1:]))
    filled, gathered = np.diff(starts) > 0, values * x[column_of]
    slips = {
        "The values are not used: x alone was added up.": [x[column_of[a:b]].sum() for a, b in spans],
        "x was not read: the values alone were added up.": [values[a:b].sum() for a, b in spans],
        "The first value of each row is missing.": [gathered[a + 1 : b].sum() for a, b in spans],
        "The last value of each row is missing: a row ends at starts[i + 1].": [
            gathered[a : max(a, b - 1)].sum() for a, b in spans],
        "The last value of all is missing: the last row that holds something goes on to the end.": [
            gathered[a : min(b, len(gathered) - 1)].sum() for a, b in spans],
        "Row sums run on: subtract what the rows before have summed up.": np.cumsum(due),
        "Only the last value of each row counts: y[row] += ... does not add up repeated rows.": [
            gathered[b - 1] if b > a else 0 for a, b in spans],
    }  # fmt: skip
    if matrix.shape[0] == matrix.shape[1]:
        slips["It is the product of the transpose: y[row] += value · x[column]."] = matrix.T @ x
    recognise(came, slips, **near)
    if np.shape(came) == due.shape and not filled.all():
        y = np.asarray(came, dtype=float)
        if np.allclose(y[filled], due[filled], 1e-4, 1e-5) and not np.allclose(y, due, 1e-4, 1e-5):
            row = int(np.argmax(~filled & ~np.isclose(y, 0)))
            facts = {"row": row, "yours": f"{y[row]:.4g}", "due": 0}
            raise Wrong("An empty row is not 0. reduceat of nothing is the value that stands there.", facts)
    if np.shape(came) == (filled.nonzero()[0].max(initial=-1) + 1,) != due.shape:
        raise Wrong("The empty rows at the end are missing. np.bincount has minlength for that.")
    squeezed = np.concatenate([due[filled], np.zeros((~filled).sum())])
    in_place = "The sums are right, but not in their rows: an empty row takes a place, too."
    for numbers in (squeezed, due[filled]):
        recognise(came, {in_place: numbers}, **near)


def judge_meeting(came, one, other, size):
    """Compare with n from both equations; name the classic mistakes."""
    n = (other[0] - one[0]) / (one[1] - other[1])
    facts = {"one": one, "other": other, "size": size, "yours": came, "due": n / size}
    if came is None:
        raise Wrong("It says None, but these lines meet between 0 and 1.", facts)
    slips = [
        ("This is a number of values. The density is its share of all elements: / size.", n),
        ("Its sign is turned: one difference is taken the other way round.", -n / size),
        ("This is the share removed. Density is the share that is kept.", 1 - n / size),
        ("It is upside down: number of values / size, and not size / number.", size / n),
        ("The fixed bytes are added. What counts is their difference.", (one[0] + other[0]) * n / size
         / (other[0] - one[0])),
        ("The bytes for each value are added. What counts is their difference.", (other[0] - one[0]) / size
         / (one[1] + other[1])),
    ]  # fmt: skip
    for fixed in (one[0], other[0]):
        for sign in (1, -1):
            lost = sign * fixed / (one[1] - other[1]) / size
            slips.append(("The fixed bytes of one line are forgotten: take the difference of both.", lost))
    for says, number in slips:
        recognise(came, {says: number}, facts, due=n / size)
    same(came, n / size, "the density")


def two_matrices(answer):
    """A student's two matrices, as arrays, or a sentence on their form."""
    if not isinstance(answer, (tuple, list)) or len(answer) != 2:
        raise Wrong("Two matrices are due: return quiet, loud", {"yours": repr(answer)[:80]})
    found = []
    for name, matrix in zip(("quiet", "loud"), answer):
        if any(part is Ellipsis for part in np.array(matrix, dtype=object).reshape(-1)):
            raise NotWritten
        try:
            matrix = np.array(matrix, dtype=float)
        except ValueError:
            raise Wrong(f"{name} is no matrix of numbers, with rows of equal length.") from None
        if matrix.ndim != 2 or not matrix.size or not np.isfinite(matrix).all():
            raise Wrong(f"{name} is a matrix of numbers: a list of rows.", {"yours": f"shape {matrix.shape}"})
        found.append(matrix)
    return found


# --- patterns, clocks, a counter ---


def pattern(shape, density, rng, block=(1, 1)):
    """Float32 weights of which a share is kept, one by one or in blocks."""
    grid = [-(-size // b) for size, b in zip(shape, block)]
    keep = np.zeros(grid[0] * grid[1], bool)
    keep[rng.permutation(keep.size)[: max(1, round(density * keep.size))]] = True
    keep = np.kron(keep.reshape(grid), np.ones(block, bool))[: shape[0], : shape[1]]
    return np.where(keep, rng.standard_normal(shape), 0).astype(np.float32)


def in_turns(jobs, rounds=15):
    """Seconds of each job, the median over rounds; each round runs all: a busy machine hits all."""
    seconds = {name: [] for name in jobs}
    for _ in range(rounds + 1):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            seconds[name].append(time.perf_counter() - start)
    return {name: float(np.median(times[1:])) for name, times in seconds.items()}  # the first one warms up


def times_of(shape, n, density, rng):
    """Seconds of Y = (W Xᵀ)ᵀ for n inputs: dense, CSR of random weights, BSR of random blocks."""
    inputs = rng.standard_normal((n, shape[1])).astype(np.float32)
    single, blocks = (pattern(shape, density, rng, block) for block in ((1, 1), (16, 16)))
    csr, bsr = CSR.from_dense(single), BSR.from_dense(blocks, (16, 16))
    assert np.allclose((bsr @ inputs.T).T, inputs @ blocks.T, atol=1e-2)  # not faster because it is wrong
    jobs = {"dense": lambda: inputs @ single.T, "CSR": lambda: csr @ inputs.T, "BSR": lambda: bsr @ inputs.T}
    return in_turns(jobs, rounds=9)


class Watched(np.ndarray):
    """An array that counts how often a single element was taken out of it."""

    taken = 0

    def __getitem__(self, key):
        Watched.taken += isinstance(key, (int, np.integer))
        return np.asarray(self)[key]

    def __iter__(self):
        Watched.taken += len(self)
        return iter(np.asarray(self))

    def tolist(self):
        Watched.taken += len(self)
        return np.asarray(self).tolist()


# --- drawings ---


def cells(ax, texts, x, y, colours, name=""):
    """Draw a row of cells with these texts, from (x, y) to the right; in the matrix, zeros are grey."""
    for i, (text, colour) in enumerate(zip(texts, colours)):
        ax.broken_barh([(x + i, 1)], (y, 1), facecolor=colour, edgecolor="0.5")
        grey = text == 0 and name.startswith("row ")
        ax.text(x + i + 0.5, y + 0.5, text, ha="center", va="center", color="0.6" if grey else "k")
    ax.text(x - 0.25, y + 0.5, name, ha="right", va="center", fontsize=10)


def draw_layouts(ax, matrix, layouts):
    """Draw a small matrix, a colour for each row, and beside it the arrays of {title: layout}."""
    tints = ["#cfe3f5", "#fde0c5", "#d9ead3", "#ead1dc"]
    for i, row in enumerate(matrix.astype(int)):
        cells(ax, row, 0, -i - 2, [tints[i] if value else "white" for value in row], f"row {i}")
    row_of = np.nonzero(matrix)[0]
    by_column = np.nonzero(matrix.T)[1]
    y = 0.9
    for title, form in layouts.items():
        ax.text(7.4, y + 0.75, title, fontsize=11, weight="bold")
        rows = by_column if title == "CSC" else row_of
        for field in form.fields:
            numbers = np.asarray(getattr(form, field)).astype(int).tolist()
            colours = ["white"] * len(numbers) if field == "starts" else [tints[i] for i in rows]
            y -= 1
            cells(ax, numbers, 9.6, y + 0.6, colours, field)
        y -= 0.9
    ax.set(xlim=(-1.6, 15.8), ylim=(y + 0.8, 2))
    ax.axis("off")


def draw_touched(ax, matrix, block):
    """Draw what is not 0, and shade every block that holds any of it; returns the share of blocks shaded."""
    height, width = block
    m, n = matrix.shape[0] // height, matrix.shape[1] // width
    touched = (matrix != 0).reshape(m, height, n, width).any(axis=(1, 3))
    picture = np.kron(touched * 0.25, np.ones(block))
    ax.imshow(np.where(matrix != 0, 1, picture), cmap="Blues", vmin=0, vmax=1.1)
    for line in range(0, matrix.shape[0] + 1, height):
        ax.axhline(line - 0.5, color="0.8", lw=0.5)
    for line in range(0, matrix.shape[1] + 1, width):
        ax.axvline(line - 0.5, color="0.8", lw=0.5)
    ax.set(xticks=[], yticks=[])
    return float(touched.mean())

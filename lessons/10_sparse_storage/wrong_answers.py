"""Wrong answers that students give, and words that the verdict on each must contain."""

import numpy as np

from tinyopt.codec.sparse import COO, CSR, cross_over, is_stored
from tinyopt.course import wrong

# --- 10.1 ---


def right_but(values=(4, 1, 6, 3, 8, 2), columns=(1, 4, 0, 2, 3, 4), starts=(0, 0, 2, 3, 6), n_bytes=35):
    return list(values), list(columns), list(starts), n_bytes


@wrong("10.1", says="These are the counts of each row")
def counts_for_starts():
    return right_but(starts=[0, 2, 1, 3], n_bytes=34)


@wrong("10.1", says="A 0 is missing. Row 0 is empty")
def starts_without_the_empty_row():
    return right_but(starts=[0, 2, 3, 6], n_bytes=34)


@wrong("10.1", says="The last number is missing")
def starts_without_the_end():
    return right_but(starts=[0, 0, 2, 3], n_bytes=34)


@wrong("10.1", says="not the place of the last value", blind=True)
def place_of_the_last_value():
    return right_but(starts=[0, 0, 2, 3, 5])


@wrong("10.1", says="It counts from 1")
def columns_from_one():
    return right_but(columns=[2, 5, 1, 3, 4, 5])


@wrong("10.1", says="column by column")
def by_columns():
    return [6, 4, 3, 8, 1, 2], [2, 1, 3, 3, 1, 3], [0, 1, 2, 3, 4, 6], 36


@wrong("10.1", says="These are rows")
def rows_for_columns():
    return right_but(columns=[1, 1, 2, 3, 3, 3])


@wrong("10.1", says="That is COO")
def bytes_of_coo():
    return right_but(n_bytes=36)


@wrong("10.1", says="one start more than there are rows")
def one_start_too_few():
    return right_but(n_bytes=34)


@wrong("10.1", says="the values alone")
def bytes_without_indices():
    return right_but(n_bytes=24)


@wrong("10.1", says="out of reach")
def asked_the_package():
    form = CSR.from_dense(np.array([[0, 4.0], [1, 0]]))
    return form.values, form.column_of, form.starts, form.nbytes


# --- 10.2 ---


def three(matrix, starts):
    row_of, column_of = np.nonzero(is_stored(matrix))
    return matrix[row_of, column_of], column_of, starts(row_of, len(matrix))


@wrong("10.2", says="the counts of each row")
def never_summed(matrix):
    return three(matrix, lambda row_of, m: np.bincount(row_of, minlength=m))


@wrong("10.2", says="that 0 is missing")
def without_the_first_zero(matrix):
    return three(matrix, lambda row_of, m: np.cumsum(np.bincount(row_of, minlength=m)))


@wrong("10.2", says="ends of the rows. A row begins where the row before it ends", blind=True)
def ends_for_starts(matrix):  # minlength of one more makes the length right, without the 0 in front
    row_of, column_of = np.nonzero(is_stored(matrix))
    starts = np.cumsum(np.bincount(row_of, minlength=len(matrix) + 1))
    return matrix[row_of, column_of], column_of, starts


@wrong("10.2", says="one number for each row, and one more")
def without_minlength(matrix):
    return three(matrix, lambda row_of, m: np.concatenate([[0], np.cumsum(np.bincount(row_of))]))


@wrong("10.2", says="Empty rows are left out")
def only_filled_rows(matrix):
    return three(matrix, lambda row_of, m: np.append(np.unique(row_of, return_index=True)[1], row_of.size))


@wrong("10.2", says="as in COO")
def the_row_of_each(matrix):
    return three(matrix, lambda row_of, m: row_of)


@wrong("10.2", says="column by column")
def transposed(matrix):
    column_of, row_of = np.nonzero(is_stored(matrix.T))
    counts = np.bincount(column_of, minlength=matrix.shape[1])
    return matrix[row_of, column_of], row_of, np.concatenate([[0], np.cumsum(counts)])


@wrong("10.2", says="positions in the whole matrix")
def flat_positions(matrix):
    values, _, starts = three(matrix, lambda r, m: np.append(0, np.cumsum(np.bincount(r, minlength=m))))
    return values, np.flatnonzero(is_stored(matrix)), starts


@wrong("10.2", says="A −0.0 was dropped")
def not_equal_to_zero(matrix):
    row_of, column_of = np.nonzero(matrix != 0)
    starts = np.append(0, np.cumsum(np.bincount(row_of, minlength=len(matrix))))
    return matrix[row_of, column_of], column_of, starts


@wrong("10.2", says="out of reach")
def asked_coo(matrix):
    form = COO.from_dense(matrix)
    return form.values, form.column_of, CSR.from_dense(matrix).starts


# --- 10.3 ---


def solved(one, other, size, density):
    """The right form around some formula."""
    if one[1] == other[1]:
        return None
    right = (other[0] - one[0]) / (one[1] - other[1]) / size
    return density((*one, *other), size) if 0 < right < 1 else None


@wrong("10.3", says="This is a number of values")
def a_count(one, other, size):
    return solved(one, other, size, lambda b, size: (b[2] - b[0]) / (b[1] - b[3]))


@wrong("10.3", says="Its sign is turned")
def sign(one, other, size):
    return solved(one, other, size, lambda b, size: (b[2] - b[0]) / (b[3] - b[1]) / size)


@wrong("10.3", says="This is the share removed")
def sparsity(one, other, size):
    return solved(one, other, size, lambda b, size: 1 - (b[2] - b[0]) / (b[1] - b[3]) / size)


@wrong("10.3", says="fixed bytes of one line are forgotten")
def forgot_the_starts(one, other, size):
    return solved(one, other, size, lambda b, size: -b[0] / (b[1] - b[3]) / size)


@wrong("10.3", says="upside down")
def upside_down(one, other, size):
    return solved(one, other, size, lambda b, size: size * (b[1] - b[3]) / (b[2] - b[0]))


@wrong("10.3", says="The bytes for each value are added")
def sum_of_slopes(one, other, size):
    return solved(one, other, size, lambda b, size: (b[2] - b[0]) / (b[1] + b[3]) / size)


@wrong("10.3", says="look before you divide")
def divides_by_zero(one, other, size):
    density = (other[0] - one[0]) / (one[1] - other[1]) / size
    return density if 0 < density < 1 else None


@wrong("10.3", says="at a density above 1")
def not_bounded(one, other, size):
    return None if one[1] == other[1] else (other[0] - one[0]) / (one[1] - other[1]) / size


@wrong("10.3", says="They meet below 0")
def only_bounded_above(one, other, size):
    density = 2 if one[1] == other[1] else (other[0] - one[0]) / (one[1] - other[1]) / size
    return density if density < 1 else None


@wrong("10.3", says="They meet below 0", blind=True)
def absolute_differences(one, other, size):
    if one[1] == other[1]:
        return None
    density = abs(one[0] - other[0]) / abs(one[1] - other[1]) / size
    return density if density <= 1 else None


@wrong("10.3", says="out of reach")
def asked_cross_over(one, other, size):
    return cross_over("dense", "CSR", (300, 784))


# --- 10.4 ---


@wrong("10.4", says="every row holds something")
def no_empty_row():
    return [[5, 0], [1, 7]], [[5, 0], [0, 0]]


@wrong("10.4", says="On `quiet` it raises: its last row is empty")
def exchanged():
    return [[5, 0], [0, 7], [0, 0]], [[5, 0], [0, 0], [0, 7]]


@wrong("10.4", says="On `loud` it is wrong, but in silence")
def quiet_twice():
    return [[5, 0], [0, 0], [0, 7]], [[0, 0], [5, 0]]


@wrong("10.4", says="behind the empty row there is another value", blind=True)
def two_empty_rows_together():
    return [[1, 2], [0, 0], [3, 4]], [[1, 2], [0, 0], [0, 0], [3, 4]]


@wrong("10.4", says="On `loud` nothing goes wrong")
def a_full_matrix():
    return [[0, 0], [5, 0]], [[1, 2], [3, 4]]


@wrong("10.4", says="Two matrices are due")
def one_matrix():
    return np.array([[5, 0], [0, 0], [0, 7]])


@wrong("10.4", says="every row holds something")
def an_empty_column():
    return [[5, 0, 1], [1, 0, 7]], [[0, 0], [0, 0]]


# --- 10.5 ---


@wrong("10.5", says="An empty row is not 0")
def reduceat_up_to_the_end(values, column_of, starts, x):
    products = np.append(values * x[column_of], values.dtype.type(0))
    return np.add.reduceat(products, starts[:-1])


@wrong("10.5", says="The values are not used")
def gather_only(values, column_of, starts, x):
    row_of = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    return np.bincount(row_of, x[column_of], minlength=len(starts) - 1)


@wrong("10.5", says="x was not read")
def values_only(values, column_of, starts, x):
    row_of = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    return np.bincount(row_of, values, minlength=len(starts) - 1)


@wrong("10.5", says="product of the transpose")
def transpose(values, column_of, starts, x):
    row_of = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    return np.bincount(column_of, values * x[row_of], minlength=len(starts) - 1)


@wrong("10.5", says="The last value of each row is missing")
def ends_too_early(values, column_of, starts, x):
    products = values * x[column_of]
    return np.array([products[a : max(a, b - 1)].sum() for a, b in zip(starts, starts[1:])], products.dtype)


@wrong("10.5", says="The last value of all is missing", blind=True)
def starts_pushed_back(values, column_of, starts, x):  # so that empty rows at the end raise nothing
    products = values * x[column_of]
    y = np.add.reduceat(products, np.minimum(starts[:-1], len(products) - 1))
    y[starts[:-1] == starts[1:]] = 0
    return y


@wrong("10.5", says="not in their rows")
def squeezed(values, column_of, starts, x):
    y = np.zeros(len(starts) - 1, np.result_type(values, x))
    filled = starts[:-1][np.diff(starts) > 0]
    if filled.size:
        y[: filled.size] = np.add.reduceat(values * x[column_of], filled)
    return y


@wrong("10.5", says="one number for each value")
def never_added(values, column_of, starts, x):
    return values * x[column_of]


@wrong("10.5", says="another type came out")
def in_float64(values, column_of, starts, x):
    row_of = np.repeat(np.arange(len(starts) - 1), np.diff(starts.astype(int)))
    return np.bincount(row_of, values * x[column_of], minlength=len(starts) - 1)


@wrong("10.5", says="one by one")
def slow_loop(values, column_of, starts, x):
    y = np.zeros(len(starts) - 1, values.dtype)
    for row in range(len(y)):
        for entry in range(int(starts[row]), int(starts[row + 1])):
            y[row] += values[entry] * x[column_of[entry]]
    return y


@wrong("10.5", says="does not add up repeated rows")
def fancy_plus(values, column_of, starts, x):
    y = np.zeros(len(starts) - 1, np.result_type(values, x))
    y[np.repeat(np.arange(len(starts) - 1), np.diff(starts))] += values * x[column_of]
    return y


@wrong("10.5", says="empty rows at the end are missing")
def without_minlength_in_the_product(values, column_of, starts, x):
    return np.bincount(np.repeat(np.arange(len(starts) - 1), np.diff(starts)), values * x[column_of])

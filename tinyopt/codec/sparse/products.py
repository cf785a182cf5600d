"""Sparse times dense in plain NumPy: no Python loop over values, and only what is not 0 is multiplied.

Start with these three: `csr_times_vector`, the product as its formula says it; `scatter_times`, the same when the
values do not come row by row; `grouped_times`, where BLAS does the adding, for many columns at once.

All three skip zeros for good: where the dense factor is NaN or infinite, a dense product makes NaN of 0 · NaN in
every row, these only in the rows that read it.
"""

import numpy as np

GATHERED = 2**18  # numbers copied together at a time: 1 MB of float32, which stays in cache


def csr_times_vector(values, column_of, starts, x):
    """A matrix in CSR times a vector: gather, multiply, add up each row.

        y[i] = Σ over e in starts[i] .. starts[i+1] − 1 of values[e] · x[column_of[e]]

    `np.add.reduceat` cannot add up nothing: for an empty row it returns the value that stands there. So only rows
    that hold something are asked for.

    Shapes: values, column_of (n,), starts (rows + 1,), x (columns,) -> y (rows,). With indices of type np.intp, NumPy's
            own, it is five times as fast as with narrow ones, which are converted one by one.
    """
    y = np.zeros(len(starts) - 1, np.result_type(values, x))
    filled = np.flatnonzero(starts[:-1] < starts[1:])
    if filled.size:
        y[filled] = np.add.reduceat(values * x.take(column_of), starts.take(filled))
    return y


def scatter_times(values, row_of, column_of, dense, n_rows):
    """A matrix as (row, column, value) in any order times a dense one: each product is added into its row.

        Y[row_of[e]] += values[e] · X[column_of[e]]        for all e

    That is how CSC is read, column by column: every value of column j multiplies row j of X. `np.bincount` does the
    adding, into one long vector of all sums, in float64.

    Shapes: values, row_of, column_of (n,), dense X (columns, k) -> Y (n_rows, k).
    """
    k = dense.shape[1]
    y = np.zeros(n_rows * k)
    step = max(1, GATHERED // max(1, k))
    for at in range(0, len(values), step):
        some = slice(at, at + step)
        parts = values[some, None] * dense.take(column_of[some], axis=0)  # (step, k)
        places = row_of[some, None].astype(np.int64) * k + np.arange(k)
        y += np.bincount(places.reshape(-1), parts.reshape(-1), n_rows * k)
    return y.astype(np.result_type(values, dense)).reshape(n_rows, k)


def row_groups(blocks, column_of, starts, k):
    """Prepare `grouped_times`: rows of about one length, made equally long, as small stacks of dense rows.

    Rows are taken longest first, as many together as gather `GATHERED` numbers of the dense factor. In each group
    the shorter rows are filled up with a value of 0 at their own last column, so that they read nothing new.

    Shapes: blocks (n, r, c), column_of (n,), starts (rows + 1,); k, columns of the dense factor -> a list of
            (which rows (g,), their values (g, r, l · c), their columns (g, l)); empty rows are in none.
    """
    starts = starts.astype(np.int64)
    lengths = np.diff(starts)
    order = np.argsort(-lengths, kind="stable")[: np.count_nonzero(lengths)]
    r, c = blocks.shape[1:]
    groups, at = [], 0
    while at < len(order):
        longest = int(lengths[order[at]])
        rows = order[at : at + max(1, GATHERED // (longest * c * max(1, k)))]
        at += len(rows)
        steps = np.arange(longest)
        last = lengths[rows, None] - 1
        entries = starts[rows, None] + np.minimum(steps, last)  # (g, l)
        values = blocks[entries]  # (g, l, r, c)
        values[steps > last] = 0
        values = values.swapaxes(1, 2).reshape(len(rows), r, longest * c)
        groups.append((rows, values, column_of[entries].astype(np.intp)))
    return groups


def grouped_times(groups, dense, y):
    """A matrix of blocks in row groups times a dense one: for each row a gather, then a small dense product.

        Y[i] = [values of row i] @ [the rows of X that it reads]

    `np.matmul` takes a whole group at once, and its BLAS multiplies and adds in one go; `np.add.reduceat` down
    the columns took four to nine times as long. CSR is the case of blocks of 1 × 1.

    Shapes: groups of (g,), (g, r, l · c), (g, l); dense X, cut into pieces as high as a block is wide,
            (columns, c, k); y (rows, r, k), of zeros -> y, filled.
    """
    dense = dense if dense.flags.c_contiguous else dense.copy()
    for rows, values, column_of in groups:
        y[rows] = values @ dense.take(column_of, axis=0).reshape(len(rows), values.shape[2], dense.shape[2])
    return y

"""COO, CSR and CSC: each value with the row and the column that it stands in, said in full or once a row.

Start with these three: `COO`, which says everything; `CSR`, which says each row once, and is what products like
best; `compressed_rows`, which makes its three arrays.
"""

import functools

import numpy as np

from .matrix import SparseMatrix, check_dense, index_type, is_stored, matrix_shape
from .products import csr_times_vector, grouped_times, row_groups, scatter_times


class COO(SparseMatrix):
    """Coordinates: each value with its row and its column. The layout to begin with, and to read by eye.

    Triples may come in any order, and are sorted by row, then column.

    Shapes: values, rows, columns (n,); shape, that of the dense array.
    Units:  for a float32 matrix of 300 × 784: 4 + 2 + 2 bytes a value.
    Raises: ValueError if a place is given twice or lies outside; ShapeError, DtypeError for other arrays.
    """

    number = 1
    fields = ("values", "row_of", "column_of")

    def __init__(self, values, row_of, column_of, shape):
        self._take(shape, {}, {"values": values, "row_of": row_of, "column_of": column_of})
        places = self.positions()
        order = np.argsort(places, kind="stable")
        check_increasing(places[order], "COO", "place")
        if (order != np.arange(order.size)).any():
            self._take(shape, {}, {name: getattr(self, name)[order] for name in self.fields})

    @classmethod
    def from_dense(cls, x):
        """Keep what is not 0, row by row."""
        x = check_dense(x)
        positions = np.flatnonzero(is_stored(x))
        rows, columns = np.divmod(positions, max(1, matrix_shape(x.shape)[1]))
        return cls(x.reshape(-1)[positions], rows, columns, x.shape)

    @staticmethod
    def sizes(shape, dtype, n):
        """The type and shape of each array, for n values."""
        rows, columns = matrix_shape(shape)
        return {"values": (dtype, (n,)), "row_of": (index_type(rows), (n,)), "column_of": (index_type(columns), (n,))}

    def positions(self):
        """Where each value lies in C order."""
        return self.row_of.astype(np.int64) * self.columns + self.column_of

    def _times(self, dense):
        return scatter_times(self.values, self.row_of, self.column_of, dense, self.rows)

    @functools.cached_property
    def T(self):
        """Rows and columns exchanged."""
        return COO(self.values, self.column_of, self.row_of, (self.columns, self.rows))


class Compressed(SparseMatrix):
    """The base of CSR and CSC: `starts[i]` says at which value row (or column) i begins.

    Raises: ValueError for indices outside, twice, or out of order within a row (or column): nothing is sorted here.
    """

    across = along = None  # what `starts` counts and what the index names: "row" and "column", or the reverse

    def _check(self):
        check_starts(self.starts, self.n_stored)
        index, length = getattr(self, f"{self.along}_of"), getattr(self, f"{self.along}s")
        check_increasing(self.lines() * length + index, type(self).__name__, f"{self.along} in a {self.across}")

    def lines(self):
        """For each value, its row in CSR and its column in CSC."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))


class CSR(Compressed):
    """Compressed sparse rows: the values row by row, each with its column; row i is values[starts[i] : starts[i+1]].

    An empty row starts where the next one does.

    Shapes: values, column_of (n,); starts (rows + 1,), from 0 to n; shape, that of the dense array.
    Units:  for a float32 matrix of 300 × 784: 4 + 2 bytes a value, and 4 a row.
    Raises: ValueError for columns outside, twice or out of order within a row; ShapeError, DtypeError.
    Source: Eisenstat, Gursky, Schultz & Sherman (1982), "Yale sparse matrix package I: The symmetric codes",
            Int. J. Numer. Methods Eng. 18(8).
    """

    number = 2
    fields = ("values", "column_of", "starts")
    across, along = "row", "column"

    def __init__(self, values, column_of, starts, shape):
        self._take(shape, {}, {"values": values, "column_of": column_of, "starts": starts})
        self._check()
        self._prepared = (None, None)  # the width of the last product, and what was made ready for it

    @classmethod
    def from_dense(cls, x):
        """Keep what is not 0, row by row."""
        x = check_dense(x)
        return cls(*compressed_rows(x.reshape(matrix_shape(x.shape))), x.shape)

    @classmethod
    def from_positions(cls, values, positions, shape):
        """These values, at these positions in C order, each above the one before."""
        rows, columns = matrix_shape(shape)
        row_of, column_of = np.divmod(positions, max(1, columns))
        return cls(values, column_of, starts_of(row_of, rows), shape)

    @staticmethod
    def sizes(shape, dtype, n):
        """The type and shape of each array, for n values."""
        rows, columns = matrix_shape(shape)
        starts = (index_type(rows * columns + 1), (rows + 1,))
        return {"values": (dtype, (n,)), "column_of": (index_type(columns), (n,)), "starts": starts}

    def positions(self):
        """Where each value lies in C order."""
        return self.lines() * self.columns + self.column_of

    def _times(self, dense):
        width = dense.shape[1]
        known, ready = self._prepared
        if known != width:
            if width == 1:
                ready = self.column_of.astype(np.intp), self.starts.astype(np.intp)
            else:
                ready = row_groups(self.values[:, None, None], self.column_of, self.starts, width)
            self._prepared = width, ready
        if width == 1:
            return csr_times_vector(self.values, *ready, dense[:, 0])[:, None]
        y = np.zeros((self.rows, 1, width), np.result_type(self.values, dense))
        return grouped_times(ready, dense[:, None], y)[:, 0]

    @functools.cached_property
    def T(self):
        """The same arrays, read by columns."""
        return CSC(self.values, self.column_of, self.starts, (self.columns, self.rows))


class CSC(Compressed):
    """Compressed sparse columns: as `CSR`, with rows and columns exchanged.

    Shapes: values, row_of (n,); starts (columns + 1,), from 0 to n; shape, that of the dense array.
    Raises: ValueError for rows outside, twice or out of order within a column; ShapeError, DtypeError.
    """

    number = 3
    fields = ("values", "row_of", "starts")
    across, along = "column", "row"

    def __init__(self, values, row_of, starts, shape):
        self._take(shape, {}, {"values": values, "row_of": row_of, "starts": starts})
        self._check()

    @classmethod
    def from_dense(cls, x):
        """Keep what is not 0, column by column."""
        x = check_dense(x)
        return cls(*compressed_rows(x.reshape(matrix_shape(x.shape)).T), x.shape)  # a column is a row of the transpose

    @staticmethod
    def sizes(shape, dtype, n):
        """The type and shape of each array, for n values."""
        rows, columns = matrix_shape(shape)
        starts = (index_type(rows * columns + 1), (columns + 1,))
        return {"values": (dtype, (n,)), "row_of": (index_type(rows), (n,)), "starts": starts}

    def positions(self):
        """Where each value lies in C order of the dense array."""
        return self.row_of.astype(np.int64) * self.columns + self.lines()

    def _times(self, dense):
        return scatter_times(self.values, self.row_of, self.lines(), dense, self.rows)

    @functools.cached_property
    def T(self):
        """The same arrays, read by rows."""
        return CSR(self.values, self.row_of, self.starts, (self.columns, self.rows))


def compressed_rows(matrix):
    """The three arrays of `CSR`: what is not 0, row by row; the column of each; where each row begins.

    Shapes: matrix (rows, columns) -> values (n,), column_of (n,), starts (rows + 1,).
    """
    row_of, column_of = np.nonzero(is_stored(matrix))  # row by row
    return matrix[row_of, column_of], column_of, starts_of(row_of, len(matrix))


def starts_of(line_of, n_lines):
    """Where each row begins, from the row of each value: 0, then the running count of values.

    Shapes: line_of (n,) -> (n_lines + 1,).
    """
    return np.concatenate([[0], np.cumsum(np.bincount(line_of, minlength=n_lines))]).astype(np.int64)


def check_starts(starts, n):
    """Raise ValueError unless starts run from 0 to n and never fall."""
    if starts[0] != 0 or starts[-1] != n or (np.diff(starts.astype(np.int64)) < 0).any():
        raise ValueError(f"starts run from 0 to {n}, the number of values, and never fall; got {starts}")


def check_increasing(places, layout, what):
    """Raise ValueError at the first place that is not above the one before: it comes twice, or out of order."""
    steps = np.diff(places)
    if (steps == 0).any():
        at = int(np.argmax(steps == 0)) + 1
        raise ValueError(f"{layout} names each {what} once; value {at} repeats the one before")
    if (steps < 0).any():
        at = int(np.argmax(steps < 0)) + 1
        raise ValueError(f"{layout} needs each {what} above the one before; value {at} is not. COO sorts its triples")

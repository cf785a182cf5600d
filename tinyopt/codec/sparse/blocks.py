"""Block sparse rows: as CSR, of small dense blocks instead of numbers.

Start with these three: `BSR`; `BSR.from_dense`, which finds the blocks that hold anything; `BSR.sizes`, what they cost.
"""

import functools

import numpy as np

from .matrix import SparseMatrix, check_dense, check_integers, index_type, is_stored, matrix_shape
from .products import grouped_times, row_groups
from .rows import check_increasing, check_starts, starts_of


class BSR(SparseMatrix):
    """Block sparse rows: CSR of small dense blocks; a block that holds any value is stored whole.

    One index serves a whole block, and the product of a block is a dense one. For weights pruned one by one,
    nearly every block holds something; for weights pruned in blocks, no other layout is as good. Where the
    blocks do not divide the matrix, those at the edge are filled up with zeros.

    Shapes: values (n, block_rows, block_columns); column_of (n,), in blocks; starts (⌈rows / block_rows⌉ + 1,).
    Raises: as `CSR`; ValueError for blocks without a size, or values other than 0 beyond the edge.
    Source: Im, Yelick & Vuduc (2004), "Sparsity: Optimization Framework for Sparse Matrix Kernels", Int. J. High
            Perform. Comput. Appl. 18(1) (register blocking).
    """

    number = 4
    fields = ("values", "column_of", "starts")
    settings = ("block_rows", "block_columns")

    def __init__(self, values, column_of, starts, block_rows, block_columns, shape):
        if min(block_rows, block_columns) < 1:
            raise ValueError(f"a block has 1 row and 1 column or more; got {block_rows}×{block_columns}")
        settings = {"block_rows": block_rows, "block_columns": block_columns}
        self._take(shape, settings, {"values": values, "column_of": column_of, "starts": starts})
        self._grid = _in_blocks(self.shape, self.block_rows, self.block_columns)
        check_integers("column_of", self.column_of, self._grid[1] - 1)
        check_starts(self.starts, len(self.values))
        check_increasing(self._lines() * self._grid[1] + self.column_of, "BSR", "column of blocks in a row of blocks")
        below, right = self.rows - self._grid[0] * block_rows, self.columns - self._grid[1] * block_columns  # 0 or less
        lowest, rightmost = self._lines() == self._grid[0] - 1, self.column_of == self._grid[1] - 1
        beyond = (self.values[lowest, block_rows + below :], self.values[rightmost, :, block_columns + right :])
        if any(is_stored(edge).any() for edge in beyond):
            raise ValueError(f"blocks reach beyond the {self.rows}×{self.columns} matrix, and are not 0 there")
        self._prepared = (None, None)

    @classmethod
    def from_dense(cls, x, block=(4, 4)):
        """Keep the blocks that hold anything."""
        x = check_dense(x)
        matrix, (height, width) = x.reshape(matrix_shape(x.shape)), block
        if min(block) < 1:
            raise ValueError(f"a block has 1 row and 1 column or more; got {height}×{width}")
        m, n = _in_blocks(x.shape, height, width)
        padded = np.zeros((m * height, n * width), x.dtype)
        padded[: matrix.shape[0], : matrix.shape[1]] = matrix
        blocks = padded.reshape(m, height, n, width).swapaxes(1, 2)  # (m, n, height, width)
        row_of, column_of = np.nonzero(is_stored(blocks).any(axis=(2, 3)))
        return cls(blocks[row_of, column_of], column_of, starts_of(row_of, m), height, width, x.shape)

    @staticmethod
    def sizes(shape, dtype, n, block_rows, block_columns):
        """The type and shape of each array, for n blocks."""
        m, k = _in_blocks(shape, max(1, block_rows), max(1, block_columns))
        starts = (index_type(m * k + 1), (m + 1,))
        return {"values": (dtype, (n, block_rows, block_columns)), "column_of": (index_type(k), (n,)), "starts": starts}

    def _lines(self):
        return np.repeat(np.arange(self._grid[0]), np.diff(self.starts))

    def to_dense(self):
        """The array that `from_dense` was given, bit by bit."""
        blocks = np.zeros((*self._grid, self.block_rows, self.block_columns), self.dtype)
        blocks[self._lines(), self.column_of] = self.values
        padded = blocks.swapaxes(1, 2).reshape(self._grid[0] * self.block_rows, self._grid[1] * self.block_columns)
        return padded[: self.rows, : self.columns].reshape(self.shape)

    def _times(self, dense):
        width = dense.shape[1]
        known, groups = self._prepared
        if known != width:
            groups = row_groups(self.values, self.column_of, self.starts, width)
            self._prepared = (width, groups)
        padded = np.zeros((self._grid[1] * self.block_columns, width), dense.dtype)
        padded[: len(dense)] = dense
        padded = padded.reshape(self._grid[1], self.block_columns, width)
        y = np.zeros((self._grid[0], self.block_rows, width), np.result_type(self.values, dense))
        return grouped_times(groups, padded, y).reshape(self._grid[0] * self.block_rows, width)[: self.rows]

    @functools.cached_property
    def T(self):
        """Rows and columns exchanged, of blocks and inside each block."""
        order = np.argsort(self.column_of, kind="stable")
        values, lines = self.values[order].swapaxes(1, 2), self._lines()[order]
        starts = starts_of(self.column_of, self._grid[1])
        return BSR(values, lines, starts, self.block_columns, self.block_rows, (self.columns, self.rows))


def _in_blocks(shape, height, width):
    rows, columns = matrix_shape(shape)
    return -(-rows // height), -(-columns // width)

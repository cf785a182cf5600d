"""`GroupedCodebook`: a weight matrix whose rows stand in a few bands, each with a codebook of its own.

Start with `bands`, then `GroupedCodebook`. To layers it is one codebook of G · K values; only a file must know of the
bands, since a label needs to say which of K values is meant, and the row says of which band.
"""

import numpy as np

from tinyopt import backend
from tinyopt.errors import ShapeError
from tinyopt.nn.views import Codebook


def bands(n_rows, groups):
    """The band of each row: as many neighbours as possible in each, and in no two of them a difference above one.

        band[r] = ⌊r · G / n⌋

    Shapes: n_rows, groups -> integers (n_rows,), ascending, 0 to groups − 1, each of them there.
    Raises: ValueError for groups that are no integer from 1 to n_rows.
    """
    whole = isinstance(groups, (int, np.integer)) and not isinstance(groups, bool)
    if not whole or not 1 <= groups <= n_rows:
        raise ValueError(f"groups is how many codebooks the {n_rows} rows of a weight have, 1 to {n_rows}; got {groups!r}")
    return np.arange(n_rows) * int(groups) // n_rows


class GroupedCodebook(Codebook):
    """Every weight is one of the K values of its band.

        θ[r, ...] = c[band[r] · K + j[r, ...]]        θ = A c, A block-diagonal; the labels are band · K + j

    Shapes: data (G · K,), one codebook after the other; labels of the weight's shape, integers in [0, G · K).
    Units:  groups, G.
    Raises: ShapeError if the data are no G codebooks of one size; ValueError for labels of another band.
    """

    settings = ("groups",)

    def __init__(self, labels, groups):
        super().__init__(labels)
        self.groups = int(groups)

    def check(self, parameter, others):
        super().check(parameter, others)
        n, band = len(parameter._data), bands(len(self.labels), self.groups)
        if n % self.groups:
            raise ShapeError(f"{self.groups} codebooks of one size are a multiple of {self.groups} values; got {n}")
        of = backend.to_host(self.labels).reshape(len(band), -1) // (n // self.groups)
        if (of != band[:, None]).any():
            raise ValueError("a row reads the codebook of its own band: label // K is the row's band")

"""A dense layer of a pruned weight, for inference: multiplied sparse or dense, whichever is faster on this machine.

Start with these three: `SparseLinear`; `SparseLinear.choose`, which measures; `sparse_linear`, the rule. The layouts
and their products are in `codec/sparse/`; `compress.sparse.sparsify` puts this layer into a model.
"""

import time

import numpy as np

from tinyopt import backend
from tinyopt.autograd import no_grad
from tinyopt.codec import BSR, CSR
from tinyopt.errors import ShapeError
from tinyopt.nn.layers import Linear
from tinyopt.ops.rule import SUBSTITUTED, check_floats, differentiable
from tinyopt.tensor import OPS

ROUNDS = 15  # of a measurement; the median counts


@differentiable
def sparse_linear(x, weight, bias=None, *, matrix):
    """y = x Wᵀ + b, where W is multiplied as a sparse matrix.

        Y = (S Xᵀ)ᵀ + b        ∂L/∂x = g W        ∂L/∂W = gᵀ X        ∂L/∂b = Σ over rows of g

    Shapes: x (..., D_in), weight (D_out, D_in), bias (D_out,); matrix, the same weight as `CSR` or `BSR`
            -> y (..., D_out). The gradients are those of `linear`, by dense products.
    Raises: ShapeError if x does not fit; DtypeError if it is not of the weight's type.
    """
    d_out, d_in = weight.shape
    if not x.ndim or x.shape[-1] != d_in:
        raise ShapeError(f"sparse_linear with weight ({d_out}, {d_in}) needs x (..., {d_in}); got {x.shape}")
    check_floats("sparse_linear", x, weight)
    rows = x.reshape(int(np.prod(x.shape[:-1])), d_in)  # (n, D_in); not −1, so that n may be 0
    y = (matrix @ rows.T).T  # (n, D_out)
    y = y if bias is None else y + bias

    def flat(g):
        return g.reshape(-1, d_out)  # (n, D_out)

    return y.reshape(*x.shape[:-1], d_out), (
        lambda g: (flat(g) @ weight).reshape(x.shape),
        lambda g: flat(g).T @ rows,
        lambda g: flat(g).sum(axis=0),
    )


class SparseLinear(Linear):
    """y = x Wᵀ + b, by the fastest of several products with the same weight.

        "dense"   all products, by BLAS                     "csr"   only those of weights that are not 0
        "bsr"     those of the blocks that hold any; it takes part if `block` says their rows and columns

    Which one is faster depends on the machine, the batch and the pattern: it is measured, once. With layout=None the
    first batch that comes by sets the batch size; after that, and in a file, the choice stays. So a layer gives the
    same bits for the same batch, and its file does, in any process: how it multiplies is never decided twice. (Two
    layers that were measured apart may choose differently, and then differ by rounding; `layout="csr"` leaves
    nothing to the clock.)

    The parameters, with their views, are those of a `Linear`: a file holds the survivors of a mask as ever. In memory
    the dense weight stays beside the sparse one. On a GPU, and in training steps that change the weight each time,
    dense is the choice to make: sparse layouts are NumPy's, and are built anew when the weight has changed.

    Shapes: x (..., in_features) -> y (..., out_features); weight (out_features, in_features).
    Raises: ValueError for an unknown layout, or "bsr" without a block.
    """

    def __init__(self, in_features, out_features, bias=True, layout=None, block=None, rng=None):
        super().__init__(in_features, out_features, bias=bias, rng=rng)
        if layout not in (None, "dense", "csr", "bsr") or (layout == "bsr" and block is None):
            raise ValueError(f"layout is None (measure), 'dense', 'csr', or 'bsr' with a block; got {layout!r}, "
                             f"block={block}")  # fmt: skip
        self.layout, self.block = layout, None if block is None else tuple(block)
        self._built = {}  # layout -> (what it was built from, the matrix)

    def forward(self, x):
        if not isinstance(self.weight.data, np.ndarray):
            return self._by("dense", x)
        if self.layout is None:
            self.choose(max(1, int(np.prod(x.shape[:-1]))))
        return self._by(self.layout, x)

    def _by(self, layout, x):
        if layout == "dense":
            return OPS["linear"](x, self.weight, self.bias)
        return sparse_linear(x, self.weight, self.bias, matrix=self.matrix(layout))

    def matrix(self, layout="csr"):
        """The weight as layers see it, in a sparse layout; built when it is first asked for, and after a change."""
        source = (self.weight.data, *self.weight.views, *SUBSTITUTED)
        known, matrix = self._built.get(layout, ((), None))
        if len(known) != len(source) or any(a is not b for a, b in zip(known, source)):
            with no_grad():
                weight = backend.to_host(self.weight.read().data) + 0.0  # a mask leaves −0.0 where it removed
            matrix = CSR.from_dense(weight) if layout == "csr" else BSR.from_dense(weight, self.block)
            self._built[layout] = source, matrix
        return matrix

    def choose(self, batch_size):
        """Measure each product on random batches, in turns, and stay with the fastest.

        Units:  returns {layout: seconds for one batch}, medians of `ROUNDS`.
        Raises: ValueError for a batch size below 1.
        """
        if batch_size < 1:
            raise ValueError(f"a batch has 1 example or more; got {batch_size}")
        x = np.random.default_rng(0).random((batch_size, self.in_features)).astype(self.weight.dtype)
        with no_grad():
            weight = self.weight.read().data
            bias = None if self.bias is None else self.bias.read().data
        products = {"dense": lambda: OPS["linear"].rule(x, weight, bias)}  # the rules: a trace is to see one product
        for layout in ["csr"] + ["bsr"] * (self.block is not None):
            matrix = self.matrix(layout)
            products[layout] = lambda matrix=matrix: sparse_linear.rule(x, weight, bias, matrix=matrix)
        seconds = {layout: [] for layout in products}
        for _ in range(1 + ROUNDS):
            for layout, product in products.items():
                start = time.perf_counter()
                product()
                seconds[layout].append(time.perf_counter() - start)
        seconds = {layout: float(np.median(times[1:])) for layout, times in seconds.items()}  # the first one warms up
        self.layout = min(seconds, key=seconds.get)
        return seconds

    def config(self):
        return {**super().config(), "layout": self.layout, "block": self.block}

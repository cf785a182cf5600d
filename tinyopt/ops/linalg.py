"""Matrix products. Start with `linear`, the product that every dense layer is made of."""

import numpy as np

from tinyopt.errors import ShapeError
from tinyopt.ops.rule import check_floats, op


@op
def linear(x, weight, bias=None):
    """y = x Wᵀ + b, a dense layer's product in one op.

        ∂L/∂x = g W        ∂L/∂W = gᵀ x        ∂L/∂b = Σ over the batch of g = gᵀ 1

    Shapes: x (..., D_in), weight (D_out, D_in), bias (D_out,) or None -> y (..., D_out).
    Raises: ShapeError if x's last axis is not D_in, or bias is not (D_out,); DtypeError for integers.
    """
    if weight.ndim != 2 or x.ndim < 1 or x.shape[-1] != weight.shape[1]:
        d_out, d_in = weight.shape if weight.ndim == 2 else ("?", "?")
        hint = f". Flatten each example first: x.reshape({x.shape[0]}, -1)" if x.ndim > 2 else ""
        raise ShapeError(f"linear with weight ({d_out}, {d_in}) needs x (..., {d_in}); got {x.shape}{hint}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ShapeError(f"linear with weight {weight.shape} needs bias {weight.shape[:1]}; got {bias.shape}")
    check_floats("linear", x, weight)
    rows = x.reshape(-1, x.shape[-1])  # (n, D_in)
    y = rows @ weight.T  # (n, D_out)
    if bias is not None:
        y += bias

    def flat(g):
        return g.reshape(-1, weight.shape[0])  # (n, D_out)

    return y.reshape(*x.shape[:-1], weight.shape[0]), (
        lambda g: (flat(g) @ weight).reshape(x.shape),
        lambda g: flat(g).T @ rows,
        lambda g: np.ones_like(g, shape=len(rows)) @ flat(g),  # a product with ones: faster than a sum over rows
    )


@op
def matmul(x, y):
    """The matrix product, with NumPy's rules for vectors and batches.

        ∂L/∂x = g Yᵀ        ∂L/∂y = Xᵀ g

    A vector is a row on the left and a column on the right, and its axis is dropped again; leading
    axes broadcast, and the engine sums the gradient back over them.

    Shapes: x (..., n, k), y (..., k, m) -> (..., n, m); x (k,) or y (k,) drop n or m.
    Raises: ShapeError if the inner lengths differ or an argument is a single number.
    """
    inner_y = y.shape[-2 if y.ndim > 1 else -1] if y.ndim else None
    if not x.ndim or not y.ndim or x.shape[-1] != inner_y:
        raise ShapeError(f"matmul needs x (..., n, k) and y (..., k, m) with one k; got {x.shape} and {y.shape}")
    rows = x[None, :] if x.ndim == 1 else x  # (..., n, k)
    columns = y[:, None] if y.ndim == 1 else y  # (..., k, m)

    def full(g):
        g = g[..., None] if y.ndim == 1 else g
        return g[..., None, :] if x.ndim == 1 else g  # (..., n, m)

    def grad_x(g):
        part = full(g) @ columns.swapaxes(-1, -2)  # (..., n, k)
        return part[..., 0, :] if x.ndim == 1 else part

    def grad_y(g):
        part = rows.swapaxes(-1, -2) @ full(g)  # (..., k, m)
        return part[..., 0] if y.ndim == 1 else part

    return x @ y, (grad_x, grad_y)

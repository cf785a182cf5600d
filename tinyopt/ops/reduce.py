"""Reductions: many numbers to one, along an axis, several axes, or all. Start with `sum` and `logsumexp`.

`axis` and `keepdims` mean what they mean in NumPy: `axis=None` is all axes.
Shapes: x (...) -> y, x's shape without the reduced axes, which `keepdims=True` keeps as 1.
"""

import numpy as np

from tinyopt.ops.rule import op


def _kept(g, x, axis, keepdims):
    """`g` with its reduced axes back as 1, so that it broadcasts against x."""
    if keepdims or axis is None:
        return g.reshape((1,) * x.ndim) if axis is None else g
    return np.expand_dims(g, axis)


@op
def sum(x, *, axis=None, keepdims=False):
    """Σ x.        ∂L/∂x = g, copied to every summand"""

    def grad_x(g):
        return np.broadcast_to(_kept(g, x, axis, keepdims), x.shape)

    return x.sum(axis=axis, keepdims=keepdims), (grad_x,)


@op
def mean(x, *, axis=None, keepdims=False):
    """Σ x / n.        ∂L/∂x = g / n        n = how many are averaged"""
    _not_empty(x, "mean")
    y = x.mean(axis=axis, keepdims=keepdims)

    def grad_x(g):
        return np.broadcast_to(_kept(g * (y.size / x.size), x, axis, keepdims), x.shape)

    return y, (grad_x,)


def _extreme(x, y, axis, keepdims):
    """The pullback of max and min: the gradient is shared evenly by all that reach the extreme."""

    def grad_x(g):
        hit = x == _kept(y, x, axis, keepdims)
        n_hits = hit.sum(axis=axis, keepdims=True).astype(x.dtype)
        return hit * (_kept(g, x, axis, keepdims) / n_hits)

    return y, (grad_x,)


@op
def max(x, *, axis=None, keepdims=False):
    """The largest; ties share the gradient evenly, as in PyTorch's amax."""
    _not_empty(x, "max")
    return _extreme(x, x.max(axis=axis, keepdims=keepdims), axis, keepdims)


@op
def min(x, *, axis=None, keepdims=False):
    """The smallest; ties share the gradient evenly, as in PyTorch's amin."""
    _not_empty(x, "min")
    return _extreme(x, x.min(axis=axis, keepdims=keepdims), axis, keepdims)


@op
def var(x, *, axis=None, keepdims=False, correction=1):
    """The variance.

        y = Σ (x − m)² / (n − correction)        m = mean of x
        ∂L/∂x = g · 2 (x − m) / (n − correction)

    The term through m is Σ (x − m) = 0.

    Differs: from NumPy, whose default is correction=0; PyTorch's, taken here, is 1 (Bessel's).
    """
    _not_empty(x, "var")
    centred = x - x.mean(axis=axis, keepdims=True)
    square_sum = (centred * centred).sum(axis=axis, keepdims=keepdims)
    n_free = x.size // square_sum.size - correction
    if n_free <= 0:
        n = n_free + correction
        raise ValueError(f"var with correction={correction} needs more than {correction} numbers; got {n}")
    return square_sum / n_free, (lambda g: centred * (_kept(g, x, axis, keepdims) * (2.0 / n_free)),)


@op
def logsumexp(x, *, axis=None, keepdims=False):
    """log Σ eˣ, without overflow.

        y = m + log Σ exp(x − m)        m = max of x, or 0 where that is infinite
        ∂L/∂x = g · softmax(x)

    Source: Blanchard, Higham & Higham (2021), "Accurately computing the log-sum-exp
            and softmax functions", IMA J. Numer. Anal. 41(4).
    """
    _not_empty(x, "logsumexp")
    m = x.max(axis=axis, keepdims=True)
    m = np.where(np.isfinite(m), m, 0)  # ∞ − ∞ is not a number
    total = np.exp(x - m).sum(axis=axis, keepdims=True)
    y = m + np.log(total)

    def grad_x(g):
        return np.exp(x - y) * _kept(g, x, axis, keepdims)

    return (y if keepdims else y.squeeze(axis=axis)), (grad_x,)


@op
def softmax(x, *, axis=-1):
    """Turn scores into probabilities: eˣ / Σ eˣ.

        ∂L/∂x = y · (g − Σ g · y)

    Shapes: x (..., C, ...) -> y, same shape; `axis` is where C lies, and sums to 1.
    Source: Blanchard, Higham & Higham (2021), as for `logsumexp`.
    """
    e = np.exp(x - x.max(axis=axis, keepdims=True))  # the largest exponent is 0: no overflow
    y = e / e.sum(axis=axis, keepdims=True)
    return y, (lambda g: y * (g - (g * y).sum(axis=axis, keepdims=True)),)


@op
def log_softmax(x, *, axis=-1):
    """Turn scores into log-probabilities, without overflow.

        y = x − m − log Σ exp(x − m)        m = max of x along `axis`
        ∂L/∂x = g − exp(y) · Σ g

    Shapes: x (..., C, ...) -> y, same shape; `axis` is where C lies.
    Units:  y in nats.
    Source: Blanchard, Higham & Higham (2021), as for `logsumexp`.
    """
    shifted = x - x.max(axis=axis, keepdims=True)  # the largest is now 0: exp cannot overflow
    y = shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))

    def grad_x(g):
        return g - np.exp(y) * g.sum(axis=axis, keepdims=True)

    return y, (grad_x,)


def _not_empty(x, name):
    if x.size == 0:
        raise ValueError(f"{name} of no numbers is undefined")

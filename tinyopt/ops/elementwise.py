"""Elementwise ops: each number by itself. Start with `mul`, `exp` and `relu`.

Shapes: arrays of shapes that broadcast -> y, the broadcast shape. A pullback may return that shape:
the engine sums a gradient back to the shape of its input (`autograd.unbroadcast`).
"""

import numpy as np

from tinyopt.errors import DtypeError
from tinyopt.ops.rule import op


@op
def add(x, y):
    """x + y.        ∂L/∂x = g,  ∂L/∂y = g"""
    return x + y, (lambda g: g, lambda g: g)


@op
def sub(x, y):
    """x − y.        ∂L/∂x = g,  ∂L/∂y = −g"""
    return x - y, (lambda g: g, lambda g: -g)


@op
def mul(x, y):
    """x · y.        ∂L/∂x = g · y,  ∂L/∂y = g · x"""
    return x * y, (lambda g: g * y, lambda g: g * x)


@op
def div(x, y):
    """x / y.        ∂L/∂x = g / y,  ∂L/∂y = −g · x / y²"""
    return x / y, (lambda g: g / y, lambda g: -g * x / (y * y))


@op
def pow(x, y):
    """x to the power y.

        ∂L/∂x = g · y · x^(y − 1)        ∂L/∂y = g · x^y · log x

    At y = 0 the first is 0, also where x = 0; at x = 0 the second is taken as 0, its limit for y > 0.
    """
    z = x**y

    def grad_x(g):
        return g * (y * x ** (y - (y != 0)))  # 0 · x⁰ where y = 0, since 0 · 0⁻¹ is not a number

    def grad_y(g):
        base = x + np.zeros_like(z)  # an array also where x is a Python number
        return g * z * np.log(np.where(base == 0, 1.0, base))  # log 1 = 0

    return z, (grad_x, grad_y)


@op
def neg(x):
    """−x.        ∂L/∂x = −g"""
    return -x, (lambda g: -g,)


@op
def exp(x):
    """eˣ.        ∂L/∂x = g · eˣ"""
    y = np.exp(x)
    return y, (lambda g: g * y,)


@op
def log(x):
    """Natural logarithm.        ∂L/∂x = g / x"""
    return np.log(x), (lambda g: g / x,)


@op
def sqrt(x):
    """√x.        ∂L/∂x = g / (2 √x), infinite at 0"""
    y = np.sqrt(x)
    return y, (lambda g: g / (2 * y),)


@op
def abs(x):
    """|x|.        ∂L/∂x = g · sign(x), which is 0 at 0"""
    return np.abs(x), (lambda g: g * np.sign(x),)


def _share(first, second):
    """1 where `first` wins, 1/2 where both are equal, 0 elsewhere; as floats of their type."""
    wins, ties = first > second, first == second
    return lambda g: g * wins + g * ties * 0.5


@op
def maximum(x, y):
    """The larger of x and y; a tie gives half the gradient to each, as PyTorch does."""
    return np.maximum(x, y), (_share(x, y), _share(y, x))


@op
def minimum(x, y):
    """The smaller of x and y; a tie gives half the gradient to each, as PyTorch does."""
    return np.minimum(x, y), (_share(y, x), _share(x, y))


@op
def clip(x, *, min=None, max=None):
    """Limit x to [min, max]; None is no limit.        ∂L/∂x = g inside and on the limits, else 0"""
    if min is None and max is None:
        raise ValueError("clip needs min, max or both; got neither")
    lowest, highest = (-np.inf if min is None else min), (np.inf if max is None else max)
    return np.clip(x, min, max), (lambda g: g * ((x >= lowest) & (x <= highest)),)


@op
def where(condition, x, y):
    """x where the condition holds, y elsewhere.

        ∂L/∂x = g where it holds, else 0        ∂L/∂y = the rest of g

    Shapes: condition, Booleans of any shape that broadcasts; numbers hold where they are not 0.
    """
    holds = condition != 0
    return np.where(holds, x, y), (None, lambda g: g * holds, lambda g: g * (holds == 0))


@op
def relu(x):
    """max(x, 0).        ∂L/∂x = g where x > 0, else 0

    Source: Nair & Hinton (2010), "Rectified Linear Units Improve Restricted Boltzmann Machines", ICML.
    """
    y = np.maximum(x, 0)
    return y, (lambda g: g * (y > 0),)


@op
def sigmoid(x):
    """1 / (1 + e⁻ˣ), written as (1 + tanh(x/2)) / 2, which cannot overflow.        ∂L/∂x = g · y (1 − y)"""
    y = 0.5 * np.tanh(0.5 * x) + 0.5
    return y, (lambda g: g * y * (1 - y),)


@op
def tanh(x):
    """Hyperbolic tangent.        ∂L/∂x = g · (1 − y²)"""
    y = np.tanh(x)
    return y, (lambda g: g * (1 - y * y),)


@op
def dropout(x, uniform, *, p=0.5):
    """Set each number to 0 with probability p, and scale the others so that the mean stays.

        y = x · [u ≥ p] / (1 − p)        u = uniform draws in [0, 1)        ∂L/∂x = g · [u ≥ p] / (1 − p)

    The draws are passed in, so that the rule is a function of its arguments alone; the layer
    `nn.Dropout` draws them, and does nothing in eval mode.

    Shapes: x and uniform alike.
    Units:  p is the fraction *removed*, in [0, 1].
    Raises: ValueError if p lies outside [0, 1].
    Source: Srivastava et al. (2014), "Dropout: A Simple Way to Prevent Neural Networks from
            Overfitting", JMLR 15. Differs: they scale at test time, we in training, as PyTorch.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout's p is the fraction removed, in [0, 1]; got {p}")
    kept = (uniform >= p) * (1.0 / (1.0 - p) if p < 1 else 0.0)
    kept = kept.astype(x.dtype)
    return x * kept, (lambda g: g * kept, None)


@op
def astype(x, *, dtype):
    """The same numbers in another type; the gradient comes back in x's own, unless they became integers.

    Raises: DtypeError for a type that tensors do not hold.
    """
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64) and dtype.kind not in "iub":
        raise DtypeError(f"tensors hold float32, float64, integers and Booleans; {dtype} is none of them")

    def grad_x(g):
        return g.astype(x.dtype)

    return x.astype(dtype), (grad_x if dtype.kind == "f" else None,)

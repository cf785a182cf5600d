"""Wrong answers that students give, and words that the verdict on each must contain."""

import numpy as np

from tinyopt import ops
from tinyopt.autograd import latest_first
from tinyopt.autograd import unbroadcast
from tinyopt.course import wrong
from tinyopt.errors import ShapeError

# --- 1.1 ---


@wrong("1.1", says="0.5 times what is due")
def half():
    return 4.0, 2.0, 6.0  # the derivative of e² taken as e


@wrong("1.1", says="w and x are exchanged")
def exchanged():
    return 12.0, 4.0, 8.0


@wrong("1.1", says="0.25 times what is due")
def only_the_last_step():
    return 2.0, 1.0, 3.0  # the derivatives of e, not of L


@wrong("1.1", says="Every sign is turned")
def target_minus_output():
    return -8.0, -4.0, -12.0


@wrong("1.1", says="a factor too many", blind=True)
def product_down_the_table():
    return 8.0, 4.0, 24.0  # from e to b to w to x, as if that were one path


# --- 1.2 ---


@wrong("1.2", says="Every sign is turned")
def turned(x):
    return np.maximum(x, 0), (lambda g: -g * (x > 0),)


@wrong("1.2", says="the slope alone")
def slope_alone(x):
    return np.maximum(x, 0), (lambda g: 1.0 * (x > 0).astype(x.dtype),)


@wrong("1.2", says="hands g on everywhere")
def hands_on(x):
    return np.maximum(x, 0), (lambda g: g,)


@wrong("1.2", says="not that of g")
def relu_of_g(x):
    return np.maximum(x, 0), (lambda g: np.maximum(g, 0),)


@wrong("1.2", says="at x = 0")
def one_at_zero(x):
    return np.maximum(x, 0), (lambda g: g * (x >= 0),)


@wrong("1.2", says="0 elsewhere")
def absolute(x):
    return abs(x), (lambda g: g * (x > 0),)


@wrong("1.2", says="A comma makes a tuple of one")
def no_comma(x):
    def grad_x(g):
        return g * (x > 0)

    return np.maximum(x, 0), (grad_x)


@wrong("1.2", says="out of reach")
def the_package_own(x):
    return ops.relu.rule(x)


@wrong("1.2", says="frozen")
def in_place(x):
    x[x < 0] = 0
    return x, (lambda g: g * (x > 0),)


@wrong("1.2", says="decides once for the whole array", blind=True)
def if_any(x):
    def grad_x(g):
        if (x > 0).any():  # after NumPy's message on `if x > 0`: "Use a.any() or a.all()"
            return g
        return np.zeros_like(g)

    return np.maximum(x, 0), (grad_x,)


@wrong("1.2", says="decides once for the whole array")
def if_all(x):
    return np.maximum(x, 0), (lambda g: g if (x > 0).all() else np.zeros_like(g),)


# --- 1.3 ---


@wrong("1.3", says="takes the mean")
def mean_of_uses(g, shape):
    return g.mean(axis=tuple(range(g.ndim - len(shape)))).reshape(shape)


@wrong("1.3", says="takes one row")
def one_of_the_uses(g, shape):
    while g.ndim > len(shape):
        g = g[0]
    return g


@wrong("1.3", says="too many entries: a sum is missing")
def only_new_axes(g, shape):
    return g.sum(axis=tuple(range(g.ndim - len(shape))))


@wrong("1.3", says="keepdims")
def axes_lost(g, shape):
    n_new = g.ndim - len(shape)
    return g.sum(axis=(*range(n_new), *(n_new + i for i, n in enumerate(shape) if n == 1)))


@wrong("1.3", says="sums over axis 0")
def wrong_axis(g, shape):
    n_new = g.ndim - len(shape)
    g = g.sum(axis=tuple(range(n_new)))
    return g.sum(axis=0).reshape(shape) if 1 in shape else g


@wrong("1.3", says="cannot be read as (4, 3)")
def anything_goes(g, shape):
    n_new = g.ndim - len(shape)
    if n_new < 0:
        return g
    g = g.sum(axis=tuple(range(n_new)))
    return g.sum(axis=tuple(i for i, n in enumerate(shape) if n == 1), keepdims=True)


@wrong("1.3", says="cannot be read as (4, 3)", blind=True)
def fits_in_either_direction(g, shape):
    try:
        np.broadcast_shapes(g.shape, shape)
    except ValueError:
        raise ShapeError(f"{shape} does not fit {g.shape}") from None
    while g.ndim > len(shape):
        g = g.sum(axis=0)
    for axis, length in enumerate(shape):
        if length == 1 and axis < g.ndim:
            g = g.sum(axis=axis, keepdims=True)
    return g


@wrong("1.3", says="cannot be read as (1, 3)")
def length_one_on_either_side(g, shape):
    n_new = g.ndim - len(shape)
    if n_new < 0 or any(n != m and 1 not in (n, m) for n, m in zip(shape, g.shape[n_new:])):
        raise ShapeError(f"{shape} does not fit {g.shape}")
    g = g.sum(axis=tuple(range(n_new)))
    return g.sum(axis=tuple(i for i, n in enumerate(shape) if n == 1), keepdims=True)


# --- 1.4 ---


def walk(output, g, collect):
    """The loop of exercise 1.4; `collect` is the line that a student writes there."""
    gradients = {id(output): g}
    for tensor in latest_first(output):
        g = gradients.pop(id(tensor))
        yield tensor, g
        if tensor.node is not None:
            for source, pullback in zip(tensor.node.inputs, tensor.node.pullbacks):
                if pullback is not None:
                    collect(gradients, source, pullback, g)


@wrong("1.4", says="replaced the other")
def overwritten(output, g):
    def collect(gradients, source, pullback, g):
        gradients[id(source)] = unbroadcast(pullback(g), source.shape)

    return walk(output, g, collect)


@wrong("1.4", says="replaced the other")
def first_come(output, g):
    def collect(gradients, source, pullback, g):
        gradients.setdefault(id(source), unbroadcast(pullback(g), source.shape))

    return walk(output, g, collect)


@wrong("1.4", says="1.5 times what is due")
def multiplied(output, g):
    def collect(gradients, source, pullback, g):
        gradients[id(source)] = gradients.get(id(source), 1) * unbroadcast(pullback(g), source.shape)

    return walk(output, g, collect)


@wrong("1.4", says="was broadcast")
def left_broadcast(output, g):
    def collect(gradients, source, pullback, g):
        gradients[id(source)] = gradients.get(id(source), 0) + pullback(g)

    return walk(output, g, collect)


@wrong("1.4", says="∂L/∂x of L = exp(3x)")
def without_g(output, g):
    def collect(gradients, source, pullback, g):
        part = pullback(np.ones_like(g))
        gradients[id(source)] = gradients.get(id(source), 0) + unbroadcast(part, source.shape)

    return walk(output, g, collect)


def recursion(output, g):
    """Go back along every path: right sums in the end, but as many visits as there are paths."""
    yield output, g
    if output.node is not None:
        for source, pullback in zip(output.node.inputs, output.node.pullbacks):
            if pullback is not None:
                yield from recursion(source, unbroadcast(pullback(g), source.shape))


@wrong("1.4", says="16 times what is due")
def along_each_path(output, g):
    return recursion(output, g)


@wrong("1.4", says="not of `tensor`", blind=True)
def shape_of_the_wrong_tensor(output, g):
    gradients = {id(output): g}
    for tensor in latest_first(output):
        g = gradients.pop(id(tensor))
        yield tensor, g
        if tensor.node is None:
            continue
        for source, pullback in zip(tensor.node.inputs, tensor.node.pullbacks):
            if pullback is None:
                continue
            part = unbroadcast(pullback(g), tensor.shape)
            gradients[id(source)] = gradients.get(id(source), 0) + part


@wrong("1.4", says="frozen")
def added_in_place(output, g):
    def collect(gradients, source, pullback, g):
        part = pullback(g)  # `add` hands the same array to both of its inputs
        if part.shape != source.shape:
            part = unbroadcast(part, source.shape)
        if id(source) in gradients:
            gradients[id(source)] += part
        else:
            gradients[id(source)] = part

    return walk(output, g, collect)


# --- 1.5 ---


@wrong("1.5", says="This g is constant")
def ones():
    return np.array([2.0, 0.0, -1.0]), np.ones(3)


@wrong("1.5", says="These scores are equal")
def equal_scores():
    return np.zeros(3), np.array([1.0, 2.0, 3.0])


@wrong("1.5", says="g is 0")
def no_gradient():
    return np.array([2.0, 0.0, -1.0]), np.zeros(3)


@wrong("1.5", says="NaN or infinity")
def infinite():
    return np.array([np.inf, 0.0, 0.0]), np.array([1.0, 2.0, 3.0])


@wrong("1.5", says="happens to be the plain mean", blind=True)
def opposite_on_equal_scores():
    return np.array([0.0, 1.0, 0.0]), np.array([1.0, 0.0, -1.0])


@wrong("1.5", says="happens to be the plain mean")
def one_score_takes_all():
    return np.array([1000.0, 0.0, 0.0]), np.array([0.0, 1.0, -1.0])  # both rules give exactly 0

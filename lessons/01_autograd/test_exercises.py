"""The exercises of lesson 1 and their tests. Each test's docstring is the property that it asks for.

Glossary: x input, y output, g incoming gradient ∂L/∂y, L the loss.
"""

from pathlib import Path

import numpy as np

from tinyopt import Tensor, autograd, ops
from tinyopt.course import Wrong, exercise, recognise, same, task, two_arrays
from tinyopt.course.draws import central, leaf, normal
from tinyopt.course.lessons import load
from tinyopt.errors import ShapeError

material = load(Path(__file__).with_name("material.py"))


# --- 1.1 a number, by hand -------------------------------------------------------------------------

exercise(
    "1.1",
    material.predict,
    hides=[Tensor.backward, autograd.backpropagate],
    proves="You found by hand what the engine finds: the chain rule, one factor for each step back.",
)
NAMES = ("∂L/∂w", "∂L/∂b", "∂L/∂x")


@task("1.1", hints=[
    "Name the error e = w·x + b − t. First compute e. Then L = e².",
    "L = e², so ∂L/∂e = 2e. Every other derivative is this number, times one more factor.",
    "∂L/∂w = ∂L/∂e · ∂e/∂w, and ∂e/∂w = x. What are ∂e/∂b and ∂e/∂x?",
])  # fmt: skip
def test_the_three_numbers_are_those_of_the_chain_rule(ex):
    """Each derivative is ∂L/∂e, times the derivative of e."""
    came, due = ex(), np.array(ex.reference())
    if np.shape(came) != (3,):
        raise Wrong("Three numbers are due: return dL_dw, dL_db, dL_dx", {"yours": repr(came)})
    if np.allclose(np.array(came, dtype=float), due[::-1]):
        raise Wrong("w and x are exchanged: ∂e/∂w is the number that stands beside w, and that is x.")
    both = due[0] * due[2] / due[1]  # ∂L/∂e · x · w
    if np.isclose(np.array(came, dtype=float)[[0, 2]], both).any():
        raise Wrong(f"{both:g} has a factor too many: ∂L/∂w and ∂L/∂x are each ∂L/∂e times *one* factor.")
    same(came, due, "a derivative", labels=NAMES)


# --- 1.2 a rule with its pullback ------------------------------------------------------------------

exercise(
    "1.2",
    ops.relu,
    hides=[ops.maximum, ops.clip, ops.where, ops.minimum],
    proves="Your relu and its pullback agree with central differences, so any network can train on it.",
)


@task("1.2", hints=[
    "np.maximum(a, b) takes the larger of two, number by number; np.max(a) takes one from all.",
    "The value of relu is np.maximum(x, 0).",
])  # fmt: skip
def test_relu_value(ex):
    """The value is x where x > 0, and 0 elsewhere."""
    x = normal(3, 4)
    y, _ = ex.rule(x)
    same(y, x * (x > 0), "the value")


@task("1.2", hints=["A float32 network must stay float32: do not make new arrays of another type."])
def test_relu_keeps_the_type(ex):
    """float32 in, float32 out: the value and the gradient."""
    x = normal(5).astype(np.float32)
    y, (grad_x,) = ex.rule(x)
    for name, array in (("value", y), ("gradient", grad_x(np.ones_like(x)))):
        if getattr(array, "dtype", None) != np.float32:
            raise Wrong(
                f"The {name} has another type.",
                {"yours": getattr(array, "dtype", type(array).__name__), "due": "float32"},
            )


@task("1.2", points=2, hints=[
    "A small step in one x changes one y. Where x > 0, y changes by as much; where x < 0, not at all.",
    "So the slope is 1 or 0. The pullback multiplies g by this slope, number by number.",
    "(x > 0) is an array of True and False; multiplied by g, they count as 1 and 0.",
])  # fmt: skip
def test_relu_pullback(ex):
    """The pullback gives g where x > 0, and 0 elsewhere."""
    x, g = normal(3, 4), normal(3, 4, seed=2)
    y, (grad_x,) = ex.rule(x)
    due = g * (x > 0)
    came = grad_x(g)
    if np.shape(came) == g.shape:
        above, below = (ex.rule(some)[1][0](g) for some in (abs(x), -abs(x)))
        one_for_all = np.allclose(came, g) or not np.any(came)
        if one_for_all and np.allclose(above, g) and not np.any(below):
            raise Wrong("It decides once for the whole array. Each number of x has its own slope, 1 or 0.")
    recognise(came, {
        "It gives the slope alone. A pullback carries the incoming gradient on: slope · g.": x > 0,
        "It hands g on everywhere. Where x < 0, y stays 0 whatever x does: slope 0.": g,
        "It cuts g where g < 0. What decides is the sign of x, not that of g.": g * (g > 0),
    })  # fmt: skip
    same(came, due, "the gradient", slope=central(lambda x: ex.rule(x)[0], x, g))


@task("1.2", hints=["At x = 0 relu has a corner. PyTorch and this package take the slope 0 there."])
def test_relu_at_zero(ex):
    """At x = 0 the gradient is 0."""
    x = np.zeros(3)
    _, (grad_x,) = ex.rule(x)
    same(grad_x(np.array([1.0, -2.0, 3.0])), np.zeros(3), "the gradient at x = 0")


@task("1.2")
def test_relu_runs_inside_the_engine(ex):
    """A two-layer expression on your relu has the same gradient as on the package's."""
    x, weight = normal(4, 3), Tensor(normal(2, 3, seed=3), requires_grad=True)
    due = (normal(4, 2, seed=4) * (x @ weight.numpy().T > 0)).T @ x
    with ex.installed():
        ops.relu(ops.linear(Tensor(x), weight)).backward(normal(4, 2, seed=4))
    same(weight.grad, due, "the gradient of the weight")


# --- 1.3 broadcasting, undone ----------------------------------------------------------------------

exercise(
    "1.3",
    autograd.unbroadcast,
    proves="Repeating forward is summing backward: your function gives the bias of every layer its gradient.",
)


@task("1.3", hints=[
    "An array of shape (3,) that is read as (4, 3) was repeated along a new first axis.",
    "Each of its 3 numbers was used 4 times, so 4 gradients come back to it. The chain rule adds them.",
    "g.ndim - len(shape) is the number of new axes in front; sum over them.",
])  # fmt: skip
def test_unbroadcast_new_axes(ex):
    """Over an axis that broadcasting has put in front, g is summed."""
    g = normal(4, 3)
    came = ex(g, (3,))
    recognise(came, {"It takes the mean. Each use adds its own gradient: the sum.": g.mean(axis=0)})
    for row in g:
        recognise(came, {"It takes one row and drops the others. Each use adds its own gradient: the sum.": row})
    same(came, g.sum(axis=0), "the gradient of an array (3,) that was read as (4, 3)")


@task("1.3", hints=[
    "An axis of length 1 can be repeated too: (4, 1) is read as (4, 3). This axis must stay, with length 1.",
    "g.sum(axis=1, keepdims=True) sums over axis 1 and leaves it there. A reshape at the end does it too.",
])  # fmt: skip
def test_unbroadcast_axes_of_length_one(ex):
    """Over an axis of length 1 that was repeated, g is summed, and the axis stays."""
    g = normal(4, 4)
    came = ex(g, (4, 1))
    if np.shape(came) == (4, 1) and np.allclose(came, g.sum(axis=0).reshape(4, 1)):
        raise Wrong("It sums over axis 0. The axis that was repeated is the one that has length 1: axis 1.")
    same(came, g.sum(axis=1, keepdims=True), "the gradient of an array (4, 1) that was read as (4, 4)")


@task("1.3", hints=["Both can happen at once: (3, 1) is read as (2, 3, 4). Count the axes from the right."])
def test_unbroadcast_both(ex):
    """New axes and axes of length 1 can come together."""
    g = normal(2, 3, 4)
    due = g.sum(axis=(0, 2)).reshape(3, 1)
    same(ex(g, (3, 1)), due, "the gradient of an array (3, 1) that was read as (2, 3, 4)")
    same(ex(g, ()), g.sum(), "the gradient of a single number that was read as (2, 3, 4)")
    same(ex(g, (2, 3, 4)), g, "the gradient of an array that was not repeated")


@task("1.3", hints=[
    "An axis fits if it has length 1 or g's length. If one does not, or g has too few: raise ShapeError(...)."
])  # fmt: skip
def test_unbroadcast_refuses_what_cannot_be(ex):
    """Shapes that broadcasting could not have made are refused with a ShapeError."""
    for shape, read in (((2,), (4, 3)), ((5, 4, 3), (4, 3)), ((4, 3), (1, 3))):
        try:
            result = ex(np.ones(read), shape)
        except ValueError:
            continue
        facts = {"yours": f"shape {np.shape(result)}", "due": "ShapeError"}
        says = f"An array of shape {shape} cannot be read as {read}"
        raise Wrong(f"{says}: broadcasting only adds axes in front, or repeats those of length 1.", facts)


@task("1.3")
def test_unbroadcast_runs_inside_the_engine(ex):
    """A layer's bias, used once for each of 5 examples, gets the sum of 5 gradients."""
    x, bias, g = Tensor(normal(5, 2)), Tensor(normal(2, seed=3), requires_grad=True), normal(5, 2, seed=4)
    with ex.installed():
        (x + bias).backward(g)
    same(bias.grad, g.sum(axis=0), "the gradient of the bias")


# --- 1.4 the walk ----------------------------------------------------------------------------------

exercise(
    "1.4",
    autograd.backpropagate,
    proves="You wrote reverse mode: one walk over the graph gives every gradient, at any depth.",
)


@task("1.4", hints=[
    "pullback(g) is ∂L/∂source along this one edge of the graph.",
    "It has to be stored under id(source), so that it is there when the walk comes to `source`.",
])  # fmt: skip
def test_backpropagate_along_a_chain(ex):
    """Along a chain, the gradient is the product of the slopes."""
    x = leaf(2.0)
    with ex.installed():
        (ops.exp(x * 3.0)).backward()
    same(x.grad, 3 * np.exp(6.0), "∂L/∂x of L = exp(3x) at x = 2")


@task("1.4", points=2, hints=[
    "In x·x the tensor x is read twice. Two gradients come back. What does the chain rule do with them?",
    "The second must not replace the first. Look first: is there something under id(source) already?",
    "gradients.get(id(source), 0) is what is there, or 0. Add to it.",
])  # fmt: skip
def test_backpropagate_adds_up(ex):
    """A tensor that is read twice gets the sum of both gradients."""
    x, slope = leaf(3.0), (3.001**2 - 2.999**2) / 0.002
    with ex.installed():
        (x * x).backward()
    if np.allclose(x.grad, 3.0):
        facts = {"yours": 3, "due": "3 + 3 = 6", "central differences": f"{slope:.6g}"}
        raise Wrong("One gradient replaced the other.", facts)
    same(x.grad, 6.0, "∂L/∂x of L = x·x at x = 3", slope=lambda index: slope)
    x = leaf(2.0)
    with ex.installed():
        y = x * 3.0
        (y * y + ops.exp(y) * x).backward()
    same(x.grad, 36 + np.exp(6.0) * 7, "∂L/∂x of L = y·y + exp(y)·x with y = 3x at x = 2")


@task("1.4", hints=[
    "Here an array (3,) was read as (4, 3). As in 1.3: package_unbroadcast(part, source.shape).",
])  # fmt: skip
def test_backpropagate_undoes_broadcasting(ex):
    """A gradient has the shape of its tensor, also where that was broadcast."""
    bias, x = Tensor(normal(3), requires_grad=True), Tensor(normal(4, 3), requires_grad=True)
    try:
        with ex.installed():
            (x * bias).sum().backward()
    except ShapeError as problem:
        says = "A part goes to `source`: after the pullback it gets the shape of `source`, not of `tensor` or g."
        raise Wrong(says, {"ShapeError": problem}) from None
    same(bias.grad, x.numpy().sum(axis=0), "the gradient of an array (3,) that was read as (4, 3)")
    same(x.grad, np.broadcast_to(bias.numpy(), (4, 3)), "the gradient of the array (4, 3)")


@task("1.4", hints=[
    "Keep the loop over latest_first(output). A function that calls itself comes to x once for each path.",
])  # fmt: skip
def test_backpropagate_visits_each_tensor_once(ex):
    """Every tensor comes once, when its gradient is complete; so depth is no problem."""
    y = x = leaf(1.0)
    for _ in range(4):
        y = (y + y) * 0.5
    visits = sum(tensor is x for tensor, _ in ex(y, np.ones(())))
    same(visits, 1, "the number of times that x comes, in y ← (y + y) / 2, four times")
    for _ in range(3000):
        y = y * 1.0
    same([g for tensor, g in ex(y, np.ones(())) if tensor is x], [1.0], "the gradient through 3,000 ops")


@task("1.4")
def test_backpropagate_through_a_network(ex):
    """The gradients of a small network with a skip connection are those of the package."""
    x, g = normal(5, 3), normal(5, 3, seed=5)

    def gradients(walk):
        weight = Tensor(normal(3, 3, seed=3), requires_grad=True)
        hidden = ops.tanh(ops.linear(Tensor(x), weight))
        output = hidden + ops.relu(ops.linear(hidden, weight))  # the weight is used twice, hidden too
        return next(part for tensor, part in walk(output, g) if tensor is weight)

    same(gradients(ex), gradients(ex.reference), "the gradient of a weight that two layers share")


# --- 1.5 explain this failure ----------------------------------------------------------------------

exercise(
    "1.5",
    material.witness,
    proves="You found why the test passed: for constant g, or equal scores, both means are the same number.",
)


@task("1.5", hints=[
    "Return two arrays of 3 numbers each: return np.array([...]), np.array([...])",
])  # fmt: skip
def test_witness_has_the_right_form(ex):
    """The witness is a pair of arrays, x and g, of 3 finite numbers each."""
    for name, array in zip("xg", two_arrays(ex(), "x", "g")):
        same(array.shape, (3,), f"the shape of {name}")


@task("1.5", points=2, hints=[
    "The right pullback is y · (g − Σ g·y). The friend's is y · (g − mean of g). Compare the two brackets.",
    "Σ g·y is a mean as well: with the weights y. When is a weighted mean equal to the plain one?",
    "If g is constant, any mean of it is that constant. If y is 1/3 everywhere, the means agree. Avoid both.",
])  # fmt: skip
def test_witness_shows_the_mistake(ex):
    """On this x and this g, the two pullbacks differ by a tenth or more of the larger one."""
    x, g = (np.array(array, dtype=float) for array in ex())
    friend, right = material.both(x, g)
    facts = {"friend's": friend.round(4), "right": right.round(4)}
    size = max(abs(friend).max(), abs(right).max())
    if not g.any():
        raise Wrong("g is 0. A gradient is linear in g, so any rule, right or wrong, gives 0.")
    if np.ptp(g) < 1e-9 * abs(g).max():
        raise Wrong("This g is constant. Then both means are that constant, and both rules give 0.", facts)
    if np.ptp(x) < 1e-9:
        raise Wrong("These scores are equal, so y is 1/3 everywhere: both means are the same.", facts)
    if abs((friend - right).sum()) < 1e-9 * abs(g).max():  # Σ g·y minus the mean of g
        raise Wrong("Here Σ g·y happens to be the plain mean of g. Change one entry of g.", facts)
    if abs(friend - right).max() < 0.1 * size:
        raise Wrong("They differ too little. Make the scores, or the entries of g, more different.", facts)

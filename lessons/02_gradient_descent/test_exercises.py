"""The exercises of lesson 2 and their tests. Each test's docstring is the property that it asks for.

Glossary: x the inputs (N, D), w or y a matrix of weights, g incoming gradient ∂L/∂(output), theta a weight.
"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from tinyopt import Tensor, autograd, data, losses, ops, optim
from tinyopt.course import Wrong, exercise, recognise, same, task, two_arrays
from tinyopt.course.draws import leaf, normal
from tinyopt.course.lessons import load

material = load(Path(__file__).with_name("material.py"))
slow_gradient = material.slow_gradient


# --- 2.1 numbers, by hand --------------------------------------------------------------------------

exercise(
    "2.1",
    material.predict,
    hides=[Tensor.backward, autograd.backpropagate, optim.GD.update, optim.SGD.update],
    proves="Look at steps of single examples: their mean is the step of both. That is why SGD works.",
)
NAMES = ("gd_1", "gd_2", "only_first", "only_second", "limit")
RELATED = {  # a number that came in place of one that was due -> which mistake makes it
    ("gd_1", 0.8): "That is the step of the sum of both slopes. The loss is a mean: divide by 2 examples.",
    ("gd_1", 2.45): "A factor 2 is missing: the derivative of e² is 2·e·x.",
    ("gd_1", 4.1): "That goes up the hill. A step goes against the slope: w − lr · slope.",
    ("gd_2", 0.8): "The second step has its own slope: compute it again, at the new w.",
    ("only_second", 0.89): "That step starts where the first one ended. Go back to w = 3.",
    ("limit", 0.1): "That lr lands on the minimum in one step, 1 / curvature. The limit is twice as far.",
    ("limit", 0.4): "A factor 2 is missing in the curvature, the change of the slope: the slope is 10·w − 8.",
}


@task("2.1", points=2, hints=[
    "The slope of one example is 2·(w·x − y)·x. The slope of the loss is the mean over the examples.",
    "At w = 3 the examples have the slopes 2·(3 − 2)·1 and 2·(9 − 2)·3. One step is w − lr · slope.",
    "As a formula, the mean slope is 10·w − 8. So the curvature is 10, and the limit is 2 / curvature.",
])  # fmt: skip
def test_the_five_numbers_follow_the_slopes(ex):
    """Each step is lr times the slope at the place where you stand, against the slope."""
    came, due = ex(), np.array(ex.reference())
    if np.shape(came) != (5,):
        raise Wrong("Five numbers are due: " + ", ".join(NAMES), {"yours": repr(came)})
    numbers = dict(zip(NAMES, np.array(came, dtype=float)))
    if np.allclose([numbers["only_first"], numbers["only_second"]], due[[3, 2]]):
        raise Wrong("The two examples are exchanged: the first is (1, 2), the second (3, 2).")
    for (name, number), says in RELATED.items():
        if np.isclose(numbers[name], number):
            facts = {"yours": f"{number:g}", "due": f"{due[NAMES.index(name)]:g}"}
            raise Wrong(f"{name}: {says}", facts)
    same(came, due, "a number", labels=NAMES)


# --- 2.2 the product and its pullbacks -------------------------------------------------------------

exercise(
    "2.2",
    ops.matmul,
    hides=[ops.linear],
    proves="Xᵀ g: each weight weighs the errors with its own inputs. All of linear regression runs on it.",
)


@task("2.2", hints=["For NumPy arrays, x @ y is the matrix product: (n, k) @ (k, m) -> (n, m)."])
def test_matmul_value(ex):
    """The value is the matrix product."""
    x, y = normal(4, 3), normal(3, 2, seed=2)
    value, _ = ex.rule(x, y)
    same(value, np.array([[sum(row * column) for column in y.T] for row in x]), "the value")


@task("2.2", points=2, hints=[
    "Weight y[j, c] meets input x[i, j] in every example i, and works on output (i, c). Sum over i.",
    "∂L/∂y[j, c] = Σ over i of x[i, j] · g[i, c]: the slow loop. Which product of two matrices is it?",
    "The shapes leave one choice: y is (k, m), x is (n, k), g is (n, m). Turn x over: x.T is (k, n).",
])  # fmt: skip
def test_matmul_pullback_of_the_weights(ex):
    """The gradient of the right factor is Xᵀ g: errors, weighed with the inputs and summed over examples."""
    x, y, g = normal(5, 3), normal(3, 2, seed=2), normal(5, 2, seed=3)
    due = np.array([[sum(x[i, j] * g[i, c] for i in range(5)) for c in range(2)] for j in range(3)])
    came = ex.rule(x, y)[1][1](g)
    if np.shape(came) == due.shape:
        if any(np.allclose(came, np.ones_like(due) * mix) for mix in (g.sum(0), g.mean(0), g.mean())):
            raise Wrong("Each weight is given one mixture of g. It must weigh g with its own inputs: Xᵀ.")
        if np.allclose(came, due / 5):
            raise Wrong("It takes the mean over the examples. The loss does that already; here is a sum.")
    elif np.shape(came) == due.T.shape and np.allclose(np.transpose(came), due):
        raise Wrong("It is transposed: gᵀ X in place of Xᵀ g. The gradient of y has the shape of y.")
    elif np.shape(came) == x.shape and np.allclose(came, g @ y.T):
        raise Wrong("The pullbacks are exchanged: the first belongs to x, the second to y.")
    elif np.shape(came) in (x.shape, x.T.shape):
        raise Wrong("It hands back x. A pullback carries the incoming gradient on: x.T, times g.")
    same(came, due, "the gradient of the right factor")


@task("2.2", hints=["g is (n, m), y is (k, m), and the gradient of x must be (n, k): g @ y.T."])
def test_matmul_pullback_of_the_inputs(ex):
    """The gradient of the left factor is g Yᵀ."""
    x, y, g = normal(3, 3), normal(3, 3, seed=2), normal(3, 3, seed=3)
    due = np.array([[sum(g[i, c] * y[j, c] for c in range(3)) for j in range(3)] for i in range(3)])
    came = ex.rule(x, y)[1][0](g)
    recognise(came, {
        "A transpose is missing: g @ y fits only square matrices. It is g @ y.T.": g @ y,
        "The order is turned. On the left stands g: g @ y.T.": y @ g,
    })  # fmt: skip
    same(came, due, "the gradient of the left factor")


@task("2.2")
def test_matmul_runs_inside_the_engine(ex):
    """The gradient of a mean squared error through your product is that of the slow loop over examples."""
    x, y, w = normal(6, 3), normal(6, 1, seed=2), leaf(normal(3, 1, seed=3))
    with ex.installed():
        losses.mse_loss(Tensor(x) @ w, Tensor(y)).backward()
    same(w.grad[:, 0], slow_gradient(x, y[:, 0], w.numpy()[:, 0]), "the gradient of the weights")


# --- 2.3 one step ----------------------------------------------------------------------------------

exercise(
    "2.3",
    optim.GD.update,
    hides=[optim.SGD.update],
    name="gd_step",
    proves="One line, against the slope: every optimizer of this course is a change of it.",
)


@task("2.3", points=2, hints=[
    "The gradient points up the hill. You want to go down, and not too far.",
    "Multiply g by self.lr, and subtract that from theta. Return the new theta.",
])  # fmt: skip
def test_gd_step_value(ex):
    """The new theta is theta − lr · g."""
    theta, g, lr = normal(2, 3), normal(2, 3, seed=2), 0.3
    came = ex(SimpleNamespace(lr=lr), theta, g, {}, 3)
    again = ex(SimpleNamespace(lr=2 * lr), theta, g, {}, 3)
    due = np.array([[a - lr * b for a, b in zip(*rows)] for rows in zip(theta, g)])
    recognise(came, {
        "It goes up the hill: plus in place of minus.": theta + lr * g,
        "The learning rate is missing: self.lr.": theta - g,
        "Each weight has its own slope. It takes the mean of all.": theta - lr * g.mean(),
        "It gives only the move, −lr · g. Add it to theta.": -lr * g,
        "The learning rate multiplies theta. It belongs to g.": lr * theta - g,
        "It divides by t. The learning rate of plain gradient descent is constant.": theta - lr * g / 3,
        "It follows only the sign of g. Steps must shrink near the minimum.": theta - lr * np.sign(g),
        "It divides g by its length. Then steps never shrink.": theta - lr * g / np.linalg.norm(g),
        "With twice the self.lr, it makes the same step.": again,
    })  # fmt: skip
    same(came, due, "the new theta")


@task("2.3", hints=["theta and g are read-only: theta - ... makes a new array, theta -= ... does not."])
def test_gd_step_changes_nothing_in_place(ex):
    """It makes a new array: theta and g stay as they were."""
    theta, g = np.array([1.0, 2.0]), np.array([3.0, -1.0])
    came = ex(SimpleNamespace(lr=0.5), theta, g, {}, 1)
    same(came, [-0.5, 2.5], "the new theta")
    if getattr(came, "dtype", None) != theta.dtype:
        facts = {"yours": getattr(came, "dtype", type(came).__name__), "due": theta.dtype}
        raise Wrong("The new theta is an array of the type of theta.", facts)
    if not (np.array_equal(theta, [1, 2]) and np.array_equal(g, [3, -1])):
        raise Wrong("It changes theta or g in place. A pullback may still need them: make a new array.")


@task("2.3", points=2)
def test_gd_step_finds_the_minimum(ex):
    """300 of your steps bring linear regression to the weights of the normal equations."""
    x, y, w = normal(20, 2), normal(20, 1, seed=2), leaf([[3.0], [-4.0]])
    with ex.installed():
        optimizer = optim.GD([w], lr=0.2)
        for _ in range(300):
            optimizer.zero_grad()
            losses.mse_loss(Tensor(x) @ w, Tensor(y)).backward()
            optimizer.step()
    same(w.numpy(), np.linalg.solve(x.T @ x, x.T @ y), "w after 300 steps", rtol=1e-5)


# --- 2.4 the order of an epoch ---------------------------------------------------------------------

exercise(
    "2.4",
    data.DataLoader.order,
    proves="Each example once in an epoch, each epoch in another order, and the same again tomorrow.",
)


def rows(ex, *, epoch, n=30, shuffle=True, seed=0):
    """The answer as an array of n whole numbers, or a sentence."""
    given = ex(material.loader(n, shuffle, seed), epoch)
    try:
        order = np.array(given)
    except (TypeError, ValueError):
        order = np.array(None)
    if order.dtype.kind not in "iu":
        raise Wrong("The order is an array of whole numbers.", {"yours": repr(given)[:60]})
    if order.shape != (n,):
        facts = {"yours": f"shape {order.shape}", "due": f"shape ({n},)"}
        raise Wrong(f"{n} samples need {n} row numbers.", facts)
    return order


@task("2.4", points=2, hints=[
    "The row numbers are 0, 1, …, n_samples − 1. Without shuffling: np.arange(self.n_samples).",
    "A generator's permutation(n) gives 0 … n − 1 in random order; integers(n, size=n) gives repeats.",
])  # fmt: skip
def test_order_comes_to_each_sample_once(ex):
    """Each row number from 0 to n_samples − 1 comes exactly once; without shuffle, in this order."""
    for shuffle in (False, True):
        order = rows(ex, epoch=2, shuffle=shuffle)
        if order.min() == 1 and order.max() == 30:
            raise Wrong("Rows are counted from 0, not from 1.")
        missing = sorted(set(range(30)) - set(order.tolist()))
        if missing:
            raise Wrong("In this epoch, some samples come twice and others never.", {"never": missing[:5]})
        if not shuffle and not np.array_equal(order, np.arange(30)):
            raise Wrong("shuffle is False: then the samples come in the order of the data.")
        if shuffle and np.array_equal(order, np.arange(30)):
            raise Wrong("shuffle is True, but the samples come in the order of the data.")


@task("2.4", hints=[
    "rng = np.random.default_rng(a number, or a list of numbers) makes a generator of its own.",
    "The same numbers in, the same order out. Which numbers tell this epoch from all others?",
    "np.random.default_rng([self.seed, epoch]) needs no memory, and differs for each seed and epoch.",
])  # fmt: skip
def test_order_can_be_repeated(ex):
    """The same seed and epoch give the same order again, and NumPy's global generator is left alone."""
    before = np.random.get_state()[1:3]
    first = rows(ex, epoch=3, seed=5)
    after = np.random.get_state()[1:3]
    if not (np.array_equal(before[0], after[0]) and before[1] == after[1]):
        raise Wrong("It uses NumPy's global generator: other code draws from it too. Make one of your own.")
    rows(ex, epoch=9, seed=5)
    if not np.array_equal(first, rows(ex, epoch=3, seed=5)):
        raise Wrong("The same seed and the same epoch gave another order the second time.")


@task("2.4", points=2, hints=["Both numbers must matter. Their sum is not enough: 0 + 1 is 1 + 0."])
def test_order_is_new_for_each_epoch_and_seed(ex):
    """Each epoch has another order, and each seed too, also if epochs are compared crosswise."""
    zero = rows(ex, epoch=0)
    if np.array_equal(zero, np.arange(30)):
        raise Wrong("Epoch 0 has the order of the data. It is the first epoch: shuffle it like any other.")
    if np.array_equal(zero, rows(ex, epoch=1)):
        if not np.array_equal(rows(ex, epoch=1, seed=1), rows(ex, epoch=2, seed=1)):
            raise Wrong("For seed 0, all epochs have the same order. A product is not enough: 0 · 1 is 0 · 2.")
        raise Wrong("Epochs 0 and 1 have the same order: `epoch` makes no difference.")
    if np.array_equal(zero, rows(ex, epoch=0, seed=1)):
        raise Wrong("Seeds 0 and 1 have the same order: `self.seed` makes no difference.")
    if np.array_equal(rows(ex, epoch=1, seed=0), rows(ex, epoch=0, seed=1)):
        raise Wrong("Epoch 1 of seed 0 is epoch 0 of seed 1: runs with other seeds would be nearly one run.")


@task("2.4", hints=["permutation shuffles everything. Rolling or reversing keeps neighbours together."])
def test_order_is_really_random(ex):
    """Over many epochs, each sample comes about equally often at each place, after each other sample."""
    orders = np.array([rows(ex, epoch=e, n=4) for e in range(900)])
    at = np.array([[np.mean(orders[:, place] == row) for row in range(4)] for place in range(4)])
    if abs(at - 1 / 4).max() > 0.1:  # 7 standard errors: √(0.25 · 0.75 / 900) = 0.014
        row, place = (int(i) for i in np.unravel_index(abs(at - 1 / 4).argmax(), at.shape)[::-1])
        facts = {"yours": f"{at[place, row]:.0%}", "due": "about 25%"}
        raise Wrong(f"Among 4 samples, row {row} is too often, or too seldom, at place {place}.", facts)
    followed = np.mean((orders[:, 1] - orders[:, 0]) % 4 == 1)
    if abs(followed - 1 / 3) > 0.11:
        facts = {"yours": f"{followed:.0%} of the epochs", "due": "about 33%"}
        raise Wrong("Neighbours in the data stay neighbours, as in a deck of cards that is only cut.", facts)


# --- 2.5 explain this failure ----------------------------------------------------------------------

exercise(
    "2.5",
    material.witness,
    proves="You found why the friend saw no noise: all examples agreed. The floor comes from disagreement.",
)


@task("2.5", hints=["Return two arrays of 3 numbers each: return np.array([...]), np.array([...])"])
def test_witness_has_the_right_form(ex):
    """The witness is a pair of arrays, x and y, of 3 finite numbers each."""
    for name, array in zip("xy", two_arrays(ex(), "x", "y")):
        if array.shape != (3,):
            raise Wrong(f"{name} should hold 3 numbers.", {"yours": f"shape {array.shape}"})


@task("2.5", points=2, hints=[
    "The noise is the difference between single gradients. When is it 0 at the minimum?",
    "Example i wants w = y/x. In the friend's data all three want 2. At w = 2 every single gradient is 0.",
    "Keep his x, and change one y: then no w fits all three, and each example pulls to its own.",
])  # fmt: skip
def test_witness_never_comes_to_rest(ex):
    """At the end of 300 passes, w still jumps by a twentieth of its size, without running away."""
    x, y = (np.array(array, dtype=float) for array in ex())
    if not x.any():
        raise Wrong("All x are 0. Then every gradient is 0, and nothing moves at all.")
    with np.errstate(all="ignore"):
        path = material.one_at_a_time(x, y)
    limit = 1e6 * (1 + abs(y).max())
    if not np.isfinite(path).all() or abs(path).max() > limit:
        raise Wrong("It runs away. That is another failure: for these x, lr = 0.1 is above the limit.")
    fit = (x @ y) / (x @ x)
    if abs(y - fit * x).max() < 1e-9 * (1 + abs(y).max()):
        facts = {"w that fits all": f"{fit:.4g}"}
        raise Wrong("These examples agree: at the best w each gradient is 0, and no noise is left.", facts)
    last = path[-90:]
    share = np.ptp(last) / abs(last).max()
    if share < 0.05:
        facts = {"yours": f"{share:.1%} of its size", "due": "5% or more"}
        raise Wrong("They disagree too little, or x is too small: w hardly moves any more.", facts)

"""What the tests of lesson 3 and its notebook share: references of 3.1 and 3.5, a friend's rule, helpers."""

import numpy as np

from tinyopt import Tensor, data, losses, ops
from tinyopt.course import Wrong, recognise, same, two_arrays
from tinyopt.course.compare import NotWritten
from tinyopt.course.draws import normal

# --- 3.1: the net of the exercise, and what the package finds for it --------------------------------

X = np.array([[1.0, 2.0]])
W1, B1 = np.array([[2.0, 1.0], [3.0, -2.0]]), np.array([-1.0, 0.0])
W2 = np.array([[1.0, 5.0], [1.0, -2.0], [1.0, 0.0]])
LABEL = 2


def predict():
    """What the package finds for the net of exercise 3.1: hidden values, scores, loss, gradient of W₂."""
    w2 = Tensor(W2, requires_grad=True)
    hidden = ops.relu(ops.linear(Tensor(X), Tensor(W1), Tensor(B1)))
    scores = ops.linear(hidden, w2)
    loss = losses.cross_entropy(scores, np.array([LABEL]))
    loss.backward()
    return hidden.numpy()[0], scores.numpy()[0], loss.item(), w2.grad


# --- 3.5: a gradient without Xᵀ ---------------------------------------------------------------------


right_rule = ops.linear.rule  # kept here, because the op itself will run on the friend's rule


def without_x(x, weight, bias=None):
    """A friend's rule for `linear`. The value is right; the gradient of the weight is not."""
    y, (grad_x, _, grad_bias) = right_rule(x, weight, bias)

    def grad_weight(g):
        row = g.sum(axis=0)  # (D_out,): how much more of each output would raise the loss
        return np.repeat(row[:, None], weight.shape[1], axis=1)  # the same for every weight of that output

    return y, (grad_x, grad_weight, grad_bias)


def witness():
    """Two inputs that the friend's layer can never tell apart: their three numbers have the same sum."""
    return np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0])


def trained_layer(rule, *inputs, steps=40, lr=0.1):
    """The two outputs for each of the inputs, from a layer that starts at 0 and was trained with `rule`."""
    x, target = normal(8, 3, seed=5), normal(8, 2, seed=6)
    weight, bias = np.zeros((2, 3)), np.zeros(2)
    for _ in range(steps):
        y, (_, grad_weight, grad_bias) = rule(x, weight, bias)
        g = (y - target) / len(x)  # the gradient of half the mean squared error
        weight, bias = weight - lr * grad_weight(g), bias - lr * grad_bias(g)
    return [rule(np.array([vector]), weight, bias)[0][0] for vector in inputs]


# --- the notebook's data ----------------------------------------------------------------------------


def with_wrong_labels(part, share, seed=0):
    """The same images, but `share` of the labels replaced by another class, drawn at random."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(part), size=round(share * len(part)), replace=False)
    labels = part.labels.copy()
    labels[rows] = (labels[rows] + rng.integers(1, 10, size=len(rows))) % 10
    return data.Part(part.images, labels)


# --- what the tests ask again and again -------------------------------------------------------------


def asked(came, due, what, mistakes, rtol=1e-6, **options):
    """Demand what is due; `mistakes` maps the name of a classic mistake to the answers that it gives."""
    facts = {"yours": f"{_floats(came).round(4)}".replace("\n", "")}
    for says, answers in mistakes.items():
        for answer in answers:
            recognise(came, {says: answer}, facts, due=due, rtol=max(rtol, 1e-5), atol=1e-8)
    same(came, due, what, rtol=rtol, **options)


def keeps_type(**arrays):
    """Demand float32 of each array, by name."""
    for name, array in arrays.items():
        if array is Ellipsis:
            raise NotWritten
        yours = getattr(array, "dtype", type(array).__name__)
        if yours != np.float32:
            says = f"Given float32, the {name} has another type: a float64 array was made on the way."
            raise Wrong(says, {"yours": yours, "due": "float32"})


def four(ex):
    """The four answers of 3.1, and those due."""
    came, due = ex(), ex.reference()
    if not isinstance(came, (tuple, list)) or len(came) != 4:
        raise Wrong("Four things are due: return hidden, scores, loss, grad_W2", {"yours": repr(came)})
    return came, due


def case():
    """For 3.2: x (4, 3), weight (2, 3), bias (2,), g (4, 2)."""
    return normal(4, 3), normal(2, 3, seed=2), normal(2, seed=3), normal(4, 2, seed=4)


def applied(ex, x, weight, bias):
    """The answer to 3.2 as a rule; NumPy's complaint about shapes becomes a sentence."""
    try:
        return ex.rule(x, weight, bias)
    except ValueError as problem:
        says = "The shapes do not fit. x is (N, D_in), weight is (D_out, D_in): which of them must be turned?"
        raise Wrong(says, {"NumPy says": str(problem)[:90]}) from None


def pulled(pullback, g, name):
    """What a pullback gives; NumPy's complaint about shapes becomes a sentence."""
    try:
        came = pullback(g)
    except ValueError as problem:
        says = f"The pullback of {name}: these shapes do not fit. Write its shape beside each array."
        raise Wrong(says, {"NumPy says": str(problem)[:90]}) from None
    if came is None:
        raise Wrong(f"The pullback of {name} gives None. Is a `return` missing?")
    return came


def ruled(ex, x, **settings):
    """The answer to 3.3 as a rule, without NumPy's warnings of overflow: the numbers show it."""
    with np.errstate(all="ignore"):
        return ex.rule(x, **settings)


def dropped(ex, x, uniform, p):
    """The value and the pullback of x of the answer to 3.4, after a look at its form."""
    with np.errstate(all="ignore"):
        result = ex(x, uniform, p=p)
    if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[1], tuple):
        raise Wrong("A rule returns its value, and a tuple of pullbacks.", {"due": "return y, (..., None)"})
    if len(result[1]) != 2 or not callable(result[1][0]):
        raise Wrong("Two pullbacks are due: a function of g for x, and None for the draws.")
    return result[0], result[1][0]


def two_inputs(ex):
    """The two inputs of 3.5 as arrays, after a look at their form."""
    a, b = two_arrays(ex(), "a", "b")
    for name, vector in zip("ab", (a, b)):
        if vector.shape != (3,):
            same(vector, np.zeros(3), f"input {name}")
    if abs(a - b).max() < 0.1 * max(abs(a).max(), abs(b).max(), 1e-9):
        raise Wrong("The two inputs are equal, or nearly. No layer can tell those apart.", {"a": a, "b": b})
    return a, b


def _floats(value):
    """The value as an array of floats; an empty one if it is none: `same` finds the words for that."""
    try:
        return np.array(value, dtype=float)
    except (TypeError, ValueError):
        return np.zeros(0)

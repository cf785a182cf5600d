"""What the tests of lesson 9 and its notebook share: the references of 9.1 and 9.5, and a few helpers."""

import numpy as np

from tinyopt import compress, nn, optim
from tinyopt.course import Wrong, recognise, same, two_arrays
from tinyopt.course.draws import normal

WEIGHTS = np.array([[0.3, -0.8, 0.1, -0.3], [0.5, 0.05, -0.3, 0.9]])  # of exercise 9.1
SPARSITY = 0.45


def predict():
    """How many weights of `WEIGHTS` go at `SPARSITY`, and the mask, as the package finds them."""
    keep = compress.magnitude_mask(WEIGHTS, sparsity=SPARSITY)
    return int((~keep).sum()), keep


def one_by_one(weight, n_removed):
    """The slow oracle: take out the smallest weight that is left, n times; of equals, the first in memory."""
    keep = [True] * weight.size
    for _ in range(n_removed):
        left = [i for i in range(weight.size) if keep[i]]
        smallest = min(left, key=lambda i: abs(weight.flat[i]))  # min() takes the first of equals
        keep[smallest] = False
    return np.array(keep).reshape(weight.shape)


def booleans(came, shape, what):
    """A mask as an array of Booleans of this shape, or a sentence on what it is instead."""
    came = np.array(came)
    if came.shape != shape:
        same(came, np.zeros(shape), what)  # says which shape is due
    if came.dtype != bool and not np.isin(came, (0, 1)).all():
        says = f"{what[0].upper()}{what[1:]} holds other numbers. A mask is True (keep) or False (remove)."
        raise Wrong(says, {"yours": came.reshape(-1)[:4].tolist()})
    return came.astype(bool)


def compared(keep, due, weight):
    """Demand that a mask is the one that is due; name the classic mistakes."""
    if (keep == due).all():
        return
    n, n_due = int((~keep).sum()), int((~due).sum())
    if (keep == ~due).all():
        raise Wrong("True and False are exchanged: a mask says which weights are *kept*.")
    if (keep == one_by_one(weight - weight.min(), n_due)).all():
        raise Wrong("The signs count in it. −0.8 is a large weight: compare magnitudes, |w|.")
    if n == n_due and (keep == one_by_one(1 - abs(weight) / abs(weight).max(), n)).all():
        raise Wrong("It removes the largest weights. Those go that matter least: the smallest |w|.")
    if n == n_due and np.allclose(np.sort(abs(weight[~keep])), np.sort(abs(weight[~due]))):
        raise Wrong("The count is right, but of equal weights another was taken: the first in memory goes.")
    if n > n_due and np.isin(abs(weight[~keep]), abs(weight[~due])).all():
        says = "All equal weights are removed together. The count is exact: of equal weights, the first go."
        raise Wrong(says, {"removed by you": n, "due": n_due})
    if n != n_due:
        says = "The count of removed weights is wrong. It is sparsity · size, rounded down."
        raise Wrong(says, {"removed by you": n, "due": n_due})
    same(keep, due, "the mask")


def witness():
    """Weights w and inputs x of y = x · w where the smallest weight is not the least important."""
    weights = np.array([0.1, 1.0, 1.0])
    inputs = np.array([[100.0, 1.0, 1.0], [50.0, 1.0, 2.0]])  # what the small weight reads is large
    return weights, inputs


def costs(weights, inputs):
    """What removing each weight alone does to y = x · w: the mean square of the change of y."""
    before = inputs @ weights
    changes = []
    for i in range(len(weights)):
        without = np.where(np.arange(len(weights)) == i, 0.0, weights)
        changes.append(float(((inputs @ without - before) ** 2).mean()))
    return np.array(changes)


def masked_training(steps=8):
    """Train one masked layer with momentum; return the weight that it reads and its gradient."""
    layer, inputs = nn.Linear(4, 3, bias=False, rng=0), normal(5, 4).astype(np.float32)
    layer.weight.prune(np.arange(12).reshape(3, 4) % 3 != 0)
    optimizer = optim.SGD(layer.parameters(), lr=0.05, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        ((layer(inputs) - 1.0) ** 2).sum().backward()
        optimizer.step()
    return layer.weight.read().numpy(), layer.weight.grad


def refitted_costs(weight, x):
    """The slow oracle: without each weight, refit the rest of its row to y = W x."""
    costs = np.zeros(weight.shape)
    for row, p in np.ndindex(weight.shape):
        others = np.delete(x, p, axis=0)  # (K − 1, N)
        due = weight[row] @ x
        costs[row, p] = ((np.linalg.lstsq(others.T, due, rcond=None)[0] @ others - due) ** 2).sum()
    return costs


def compared_scores(came, weight, system, due, what):
    """Demand the scores that are due of OBS, with `system` = G (K, K), damped; name the classic mistakes."""
    if np.shape(came) == (1, *np.shape(due)):
        came = came[0]  # the axis of groups is still there: not what 9.6 is about
    inverse, squares, gram = np.linalg.inv(system), weight**2, np.diagonal(system)
    diagonal, factor = np.diagonal(inverse), "With G = X Xᵀ the cost is w² / [G⁻¹]_pp: no ½ and no 2."
    mistakes = {
        "The other weights stay as they are: w² · G_pp. The surgeon refits them: [G⁻¹]_pp.": squares * gram,
        "It divides by G_pp. Invert the whole matrix first, then take the diagonal.": squares / gram,
        "It multiplies by [G⁻¹]_pp. The cost is w² *divided* by it.": squares * diagonal,
        "The weight is not squared: the cost is a squared error.": abs(weight) / diagonal,
        "The weight is not squared, and its sign counts.": weight / diagonal,
        "The weight is missing: it says only what the inputs are worth.": 1 / diagonal + 0 * squares,
        "It is a magnitude, squared: the inputs are missing.": squares,
        factor: squares / diagonal / 2,
        f"{factor} And no sum over a row of G⁻¹: its diagonal.": squares / diagonal * 2,
    }
    if weight.shape == system.shape:
        mistakes["It divides by all of G⁻¹, not by its diagonal."] = squares / inverse
        says = "It divides each *row* by one number. Column p reads input p: w[:, p]² / [G⁻¹]_pp."
        mistakes[says] = squares / diagonal[:, None]
    recognise(came, mistakes, due=due)
    same(came, due, what, rtol=1e-5)


# --- what an answer is, or a sentence that says what it should be ---


def count_and_mask(ex):
    """The student's pair: a count and a mask."""
    came = ex()
    if not isinstance(came, (tuple, list)) or len(came) != 2:
        raise Wrong("A number and a mask are due: return n_removed, keep", {"yours": type(came).__name__})
    return came


def rule(ex, x, keep):
    """The student's value and the pullback of x."""
    form = "A rule returns its value, and a tuple with one pullback for each array: return y, (grad_x, None)"
    result = ex(x, keep)
    if not isinstance(result, tuple) or len(result) != 2:
        raise Wrong(form, {"yours": f"one {type(result).__name__}"})
    if isinstance(result[1], list):
        raise Wrong(f"{form}. The pullbacks stand in a tuple, in round brackets; yours are in a list.")
    if not isinstance(result[1], tuple) or len(result[1]) != 2:
        raise Wrong(f"{form}. There are two arrays, x and keep; keep is not trained: None.")
    if not callable(result[1][0]):
        raise Wrong(f"{form}. A pullback is a function of g.", {"yours": repr(result[1][0])})
    return result[0], result[1][0]


def weights_and_inputs(ex):
    """The witness as two arrays of floats, w (3,) and x (n, 3)."""
    w, x = two_arrays(ex(), "w", "x")
    same(w.shape, (3,), "the shape of w")
    if x.ndim != 2 or x.shape[1] != 3 or len(x) == 0:
        raise Wrong("x holds one input per row, each of three numbers.", {"yours": x.shape, "due": "(n, 3)"})
    return w, x

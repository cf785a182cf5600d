"""What the tests of lesson 15 and its notebook share: two references, the friend's rule, classic mistakes."""

import numpy as np

from tinyopt import ops
from tinyopt.compress.share import lloyd_step
from tinyopt.course import Wrong, recognise
from tinyopt.course.compare import NotWritten

NUMBERS = np.array([0.0, 3.0, 6.0, 7.0, 8.0, 9.0])  # exercise 15.1
START = np.array([3.0, 12.0])


def predict():
    """What the package finds: two centroids after one step of k-means, and two after the second."""
    first, _ = lloyd_step(NUMBERS, START)
    second, _ = lloyd_step(NUMBERS, first)
    return (*first.tolist(), *second.tolist())


def mean_lookup(codebook, labels):
    """A friend's rule: the value is right; the pullback takes the mean of the members' gradients."""
    members = labels.reshape(-1)

    def grad_codebook(g):
        total = np.bincount(members, weights=g.reshape(-1), minlength=len(codebook))
        count = np.bincount(members, minlength=len(codebook))
        return (total / np.maximum(count, 1)).astype(codebook.dtype)

    return codebook[labels], (grad_codebook, None)


def witness():
    """Labels and gradients of six weights on which the mean points in another direction than the sum."""
    unequal = np.array([0, 0, 0, 0, 1, 2])  # the mean divides the first sum by 4, the others by 1
    alike = np.array([1.0, 1.0, 1.0, 1.0, 4.0, 4.0])  # the three sums are alike
    return unequal, alike


def both(labels, g):
    """The friend's gradient of three centroids, and the right one."""
    labels, g, codebook = np.array(labels), np.array(g, dtype=float), np.zeros(3)
    return mean_lookup(codebook, labels)[1][0](g), ops.lookup.rule(codebook, labels)[1][0](g)


def angle(a, b):
    """The angle between two directions, in degrees."""
    cosine = (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


# --- 15.2: the form of an answer, an oracle, and a classic mistake ---------------------------------


def step_by_distances(x, centroids):
    """The slow oracle: all distances, the smallest one, then one mean after the other."""
    nearest = [min(range(len(centroids)), key=lambda j: abs(number - centroids[j])) for number in x]
    groups = [[number for number, label in zip(x, nearest) if label == j] for j in range(len(centroids))]
    filled = [group for group in groups if group]
    return np.array([sum(group) / len(group) for group in filled]), np.array([len(group) for group in filled])


def means_and_counts(result):
    """The answer as (means, counts), or what is wrong with its form."""
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        raise Wrong("Two arrays are due: return means, counts", {"yours": type(result).__name__})
    return result


def ask_step(ex, x, centroids):
    """Both results of the answer, given arrays that it must not change; a 0/0 is a NaN, and no warning."""
    for array in (x, centroids):
        array.setflags(write=False)
    with np.errstate(divide="ignore", invalid="ignore"):
        return means_and_counts(ex(x, centroids))


def cut_at_centroids(x, centroids):
    """The members if each centroid were the left border of its cluster: a classic mistake."""
    return np.diff([0, *np.searchsorted(x, centroids[1:]), len(x)])


# --- 15.3: the same for `lookup` -------------------------------------------------------------------

CODEBOOK = np.array([-1.0, 0.5, 2.0, 7.0])
LABELS = np.array([[0, 1, 1], [1, 2, 1]])  # nobody reads the last centroid
G = np.array([[2.0, -1.0, 3.0], [0.5, 4.0, 1.0]])
DUE = np.array([2.0, 3.5, 4.0, 0.0])


def ask_rule(ex, codebook, labels):
    """(value, the codebook's pullback) of the answer, or what is wrong with its form."""
    for array in (codebook, labels):
        array.setflags(write=False)
    result = ex(codebook, labels)
    due = {"due": "return y, (grad_codebook, None)"}
    if not isinstance(result, tuple) or len(result) != 2:
        raise Wrong("A rule returns its value, and a tuple of two pullbacks.", due)
    value, pullbacks = result
    if not isinstance(pullbacks, tuple) or len(pullbacks) != 2 or not callable(pullbacks[0]):
        raise Wrong("A tuple of two is due: a function of g for the codebook, and None for the labels.", due)
    if value is Ellipsis:
        raise NotWritten
    return value, pullbacks[0]


def name_lookup_mistake(came):
    """Raise for the classic wrong gradients of the codebook, where DUE is right."""
    counts = np.array([1, 4, 1, 1])
    mistakes = {
        "It takes the mean of the members. Each use adds its own gradient: the sum.": DUE / counts,
        "Each centroid got the gradient of only one member: the others were overwritten. `+=` with a list of "
        "labels adds once; np.add.at adds each time.": np.array([2.0, 1.0, 4.0, 0.0]),
        "It counts the members, and g is not used. A pullback carries the incoming gradient on.":
            np.array([1.0, 4.0, 1.0, 0.0]),
        "It multiplies by the centroid. The map is linear, y = A · c: its slope is 1, not c.": DUE * CODEBOOK,
    }
    if came.shape == (4,):
        recognise(came, mistakes, {"yours": came, "due": DUE})
        if np.allclose(np.nan_to_num(came), DUE / counts) and np.isnan(came).any():
            raise Wrong("It takes the mean of the members, 0/0 for the one without. Each use adds: the sum.")
    if came.shape == (3,):
        says = "The last centroid has no members, but a gradient: 0. For np.bincount: minlength=len(codebook)"
        raise Wrong(says, {"yours": "shape (3,)", "due": "shape (4,)"})
    if came.shape == LABELS.shape:
        raise Wrong("It gives one gradient for each weight. One for each centroid is due: add up.")

"""Reverse-mode differentiation in about a hundred lines that know no op.

Start here. Applying an op makes a new tensor, and on it a `Node`: which tensors went in, and for
each of them a *pullback*, the function that turns ∂L/∂(output) into ∂L/∂(input). The chain rule is
then one walk over the nodes, latest first:

    ∂L/∂x = Σ over the ops that read x of  pullback(∂L/∂y)        y = the op's output

Nodes carry a serial number. An op's inputs exist before its output does, so creation order is a
topological order already, and the walk is a sort: no recursion, any depth.
"""

import contextlib
import itertools

import numpy as np

from tinyopt.errors import DtypeError, ShapeError

_serials = itertools.count()
_recording = True


class no_grad(contextlib.ContextDecorator):
    """`with no_grad():` ops build no graph inside. Also a decorator: `@no_grad()`."""

    def __init__(self):
        self.before = []  # one entry for each `with` that is open: a decorated function may call itself

    def __enter__(self):
        global _recording
        self.before.append(_recording)
        _recording = False

    def __exit__(self, *problem):
        global _recording
        _recording = self.before.pop()


def is_grad_enabled():
    """False inside `no_grad()`."""
    return _recording


class Node:
    """One op that was applied: its name, its inputs as they came, and one pullback for each of them.

    A pullback is None where its input needs no gradient; such an input may be a Python number, too.
    """

    __slots__ = ("name", "inputs", "pullbacks", "serial")

    def __init__(self, name, inputs, pullbacks):
        self.name = name
        self.inputs = inputs
        self.pullbacks = pullbacks
        self.serial = next(_serials)


def backpropagate(output, g):
    """Yield (tensor, ∂L/∂tensor) for every tensor behind `output` that needs a gradient.

    The latest come first, and the leaves last, each once, when its sum is complete. What is kept is
    the caller's choice: the engine itself stores nothing on tensors, so a second pass starts afresh.

    Shapes: g, as output -> each gradient, as its tensor.
    Source: Griewank & Walther (2008), "Evaluating Derivatives", 2nd ed., SIAM, Section 3.2
            (the incremental reverse mode).
    """
    gradients = {id(output): g}
    ours = set()  # ids of the tensors whose sum is an array made here: only such is added to in place
    for tensor in latest_first(output):
        g = gradients.pop(id(tensor))
        yield tensor, g
        node = tensor.node
        if node is None:
            continue
        for source, pullback in zip(node.inputs, node.pullbacks):
            if pullback is None:
                continue
            key, part = id(source), _checked(pullback(g), source, node)
            if key not in gradients:
                gradients[key] = part
            elif key in ours:
                gradients[key] += part
            else:
                gradients[key] = _as_array(gradients[key] + part)
                ours.add(key)


def latest_first(output):
    """`output` and all tensors it was made from, sorted by serial number; leaves at the end."""
    found = {id(output): output}
    to_visit = [output]
    while to_visit:
        node = to_visit.pop().node
        for source, pullback in zip(node.inputs, node.pullbacks) if node is not None else ():
            if pullback is not None and id(source) not in found:
                found[id(source)] = source
                to_visit.append(source)
    return sorted(found.values(), key=lambda t: -1 if t.node is None else t.node.serial, reverse=True)


def _checked(part, source, node):
    """A pullback's result, of the shape and type of the tensor that it belongs to."""
    data, part = source._data, _as_array(part)
    if not hasattr(part, "dtype"):
        got = type(part).__name__
        raise TypeError(f"a pullback of {node.name!r} must return an array; got {got}. Is a `return` missing?")
    if part.shape != data.shape:
        try:
            part = _as_array(unbroadcast(part, data.shape))
        except ShapeError as problem:
            raise ShapeError(f"the gradient rule of {node.name!r} is wrong: {problem}") from None
    if part.dtype != data.dtype:
        raise DtypeError(f"the gradient rule of {node.name!r} made {part.dtype} for an input of {data.dtype}")
    return part


def _as_array(value):
    """NumPy turns results without axes into scalars: back into an array."""
    return np.array(value) if isinstance(value, np.generic) else value


def unbroadcast(g, shape):
    """Undo broadcasting: sum `g` over every axis along which an array of `shape` was repeated.

        x of shape (3, 1) was read as (2, 3, 4):   ∂L/∂x = Σ over axis 0 and axis 2 of g

    Shapes: g (...) -> `shape`, which must broadcast to g's shape.
    Raises: ShapeError if it does not: then the gradient belongs to another array.
    """
    n_new = g.ndim - len(shape)
    fits = n_new >= 0 and all(s in (1, n) for s, n in zip(shape, g.shape[n_new:]))
    if not fits:
        raise ShapeError(f"a gradient of shape {g.shape} cannot belong to an array of shape {tuple(shape)}")
    repeated = [n_new + i for i, s in enumerate(shape) if s == 1]
    return g.sum(axis=(*range(n_new), *repeated), keepdims=True).reshape(shape)

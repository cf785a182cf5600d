"""Look inside a network while it runs: what every layer was given, what it made, and its gradient.

    with capture(model, gradients=True) as layers:
        cross_entropy(model(x), labels).backward()
    layers["conv1"].output, layers["conv1"].inputs, layers["conv1"].grad
"""

import contextlib

from tinyopt.nn.module import LISTENERS
from tinyopt.tensor import Tensor


def tensors_in(value):
    """The tensors of what a module takes or makes: one, or a tuple of them."""
    parts = value if isinstance(value, (tuple, list)) else (value,)
    return [part for part in parts if isinstance(part, Tensor)]


class Call:
    """One time that a layer ran: `inputs`, a tuple of what it was given, and its `output`."""

    def __init__(self, inputs, output, gradients):
        self.inputs, self.output, self._gradients = inputs, output, gradients

    @property
    def grad(self):
        """∂L/∂output, an array; None until a `backward()` reaches this output.

        Raises: RuntimeError if the capture was not asked for gradients.
        """
        if not self._gradients:
            raise RuntimeError("gradients were not captured. Ask for them: capture(model, gradients=True)")
        if isinstance(self.output, Tensor):
            return self.output.grad
        return tuple(part.grad for part in tensors_in(self.output))


class Layer:
    """What was captured of one layer: `calls`, one `Call` for each time that it ran, in order.

    `inputs`, `output` and `grad` are those of the latest call: for a layer that runs once, the only one.
    """

    def __init__(self):
        self.calls = []

    inputs = property(lambda self: self.calls[-1].inputs)
    output = property(lambda self: self.calls[-1].output)
    grad = property(lambda self: self.calls[-1].grad)


class Layers(dict):
    """Dotted name -> `Layer`, for every layer that ran, in the order in which they first finished.

    The model itself is called "". A layer that stands in the model twice is listed under its first name,
    and is found under both. `clear()` forgets all, to start on another batch.
    """

    def __init__(self, names):
        super().__init__()
        self._first = {name: first for first, *others in names for name in others}

    def __missing__(self, name):
        first = self._first.get(name)
        if first in self:
            return self[first]
        ran = ", ".join(map(repr, self))
        raise KeyError(f"no layer {name!r} has run inside this capture; those that have: {ran}")


class _Listener:
    """Told by every module of every model that runs; it records those of one model."""

    def __init__(self, model, gradients):
        self.gradients = gradients
        names = {}  # id of a module -> the names under which it stands in the model
        for name, module in model.named_modules():
            names.setdefault(id(module), []).append(name)
        self.names = {key: alike[0] for key, alike in names.items()}
        self.layers = Layers(names.values())
        self.running = []  # the inputs of the modules that have not finished

    def enter(self, module, inputs):
        self.running.append(tuple(inputs))

    def leave(self, module, output):
        inputs = self.running.pop()
        if output is None or id(module) not in self.names:
            return
        if self.gradients:
            for part in tensors_in(output):
                part.retain_grad()
        layer = self.layers.setdefault(self.names[id(module)], Layer())
        layer.calls.append(Call(inputs, output, self.gradients))


@contextlib.contextmanager
def capture(model, gradients=False):
    """`with capture(model) as layers:` record every layer of `model` that runs inside.

    Nothing is copied: what is recorded are the tensors themselves, alive for as long as `layers` is. With
    `gradients=True` they keep ∂L/∂output when `backward()` comes by. Other models that run inside are
    not recorded, captures may be nested, and a call that raises is left out.

    Returns: a `Layers`, a dictionary by dotted name; see there for layers that run several times.
    """
    listener = _Listener(model, gradients)
    LISTENERS.append(listener)
    try:
        yield listener.layers
    finally:
        LISTENERS.remove(listener)

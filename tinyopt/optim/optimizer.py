"""`Optimizer`: everything about a training step but the formula.

    for each parameter with a gradient:  θ ← update(θ, g, state, t)

A subclass writes `update` as its paper does, and names the arrays it keeps in `slots`. What this file
adds: cache-sized blocks, time per parameter, weights that return from pruning, saving and loading.
"""

import copy
import math
import numbers
import warnings

import numpy as np

from tinyopt import backend
from tinyopt.errors import ShapeError
from tinyopt.tensor import Tensor

BLOCK = 1 << 15  # numbers: a block of θ, g, state and temporaries stays in a core's cache


class Optimizer:
    """The loop around an update rule; subclass it and write `update`.

        class Descent(Optimizer):
            def update(self, theta, g, state, t):
                return theta - self.lr * g

    `params` holds tensors, or pairs (name, tensor) such as `model.named_parameters()` gives. `lr` and all
    other `settings` become plain attributes: a schedule assigns `optimizer.lr`. `state[i]` and `steps[i]`
    belong to `params[i]`.

    A step makes new arrays and rebinds `p.data`, so nothing that a pullback still needs is overwritten.
    Skipped are parameters that are frozen (`requires_grad` is False) or have no gradient; one that the
    loss never reached is warned of once, by name. Where `p.restarted` marks weights that return from
    pruning, their state starts afresh while t goes on; where data has a new shape, all starts afresh.

    Units:  t counts the steps of each parameter, from 1.
    Start:  every array in `slots` is filled with the number that stands there.
    Raises: TypeError or ValueError if params are not distinct leaf tensors, of which one or more want a
            gradient, or if lr is not above 0.
    """

    slots = {}  # name of a state array, shaped like theta -> the number it starts with
    elementwise = True  # False: update needs the whole array, in its shape

    def __init__(self, params, lr, **settings):
        self.names, self.params = _named_parameters(params)
        self.settings = ("lr", *settings)
        for name, value in {"lr": lr, **settings}.items():
            setattr(self, name, value)
        self._require("above 0", lambda number: 0 < number < math.inf, "lr")
        self.state = [{} for _ in self.params]
        self.steps = [0 for _ in self.params]
        self._warned = set()

    def __setattr__(self, name, value):
        """Settings are kept as Python numbers: one np.float64 would lift a float32 formula to float64."""
        object.__setattr__(self, name, _plain(value) if name in self.__dict__.get("settings", ()) else value)

    def update(self, theta, g, state, t):
        """The new theta, from the gradient `g` at `theta`; `state` may be changed in place or rebound.

        Shapes: theta, g and each array of state are alike, and so is the result; where `elementwise`, any
                stretch of them. theta and g are read-only.
        """
        raise NotImplementedError(f"{type(self).__name__} must define update(self, theta, g, state, t)")

    def zero_grad(self):
        """Forget all gradients: call it before each `backward()`, which adds to what is there."""
        for p in self.params:
            p.grad = None

    def step(self):
        """Move every parameter that has a gradient."""
        self._warn_of_unreached()
        for i, p in enumerate(self.params):
            if p.grad is None or not p.requires_grad:
                continue
            if p.grad.shape != p.data.shape:
                raise ShapeError(
                    f"the gradient of {self._label(i)} has shape {p.grad.shape}, its data {p.data.shape}. "
                    "After surgery call zero_grad(), then backward() again"
                )
            state = self._settled(i)
            self.steps[i] += 1
            p.data = self._updated(p.data, p.grad, state, self.steps[i])

    def _updated(self, theta, g, state, t):
        """The new theta; what is large for a CPU's cache is made block by block, in a new array."""
        small = 0 < theta.ndim and theta.size <= BLOCK  # 0-d state would become NumPy scalars
        if small or not self.elementwise or backend.device_of(theta).name != "cpu":
            return self._checked(self.update(theta, g, state, t), theta)
        new = np.empty_like(theta, order="C")
        into, theta, g = new.reshape(-1), theta.reshape(-1), g.reshape(-1)  # perhaps copies: only read
        state = {name: array.reshape(-1) for name, array in state.items()}  # views: `_like` makes C order
        for start in range(0, into.size, BLOCK):
            block = slice(start, start + BLOCK)
            views = {name: array[block] for name, array in state.items()}
            part = dict(views)
            into[block] = self._checked(self.update(theta[block], g[block], part, t), theta[block])
            for name, array in part.items():
                if array is not views[name]:  # rebound, not changed in place
                    views[name][...] = array
        new.setflags(write=False)  # so that `p.data = new` need not copy
        return new

    def _checked(self, new, theta):
        if getattr(new, "shape", None) != theta.shape or new.dtype != theta.dtype:
            got = f"{new.dtype} of {new.shape}" if backend.is_array(new) else type(new).__name__
            due = f"{theta.dtype} of {theta.shape}"
            raise TypeError(f"{type(self).__name__}.update must return the new theta, {due}; got {got}")
        return new

    def _settled(self, i):
        """The state of parameter i, in line with what happened to the parameter since its last step."""
        p, state = self.params[i], self.state[i]
        theta = p.data
        if any(array.shape != theta.shape for array in state.values()):  # surgery, or a codebook
            state, self.steps[i] = {}, 0
        state = {name: _like(theta, state.get(name), start) for name, start in self.slots.items()}
        returned = getattr(p, "restarted", None)
        if returned is not None and returned.shape == theta.shape:
            for name, start in self.slots.items():
                state[name] = state[name].copy()  # a rule may have bound it to an array that others hold
                state[name][returned] = start
        if returned is not None:
            p.restarted = None
        self.state[i] = state
        return state

    def _warn_of_unreached(self):
        without = [i for i, p in enumerate(self.params) if p.grad is None and p.requires_grad]
        unreached = [i for i in without if not self.steps[i] and i not in self._warned]
        if unreached:
            self._warned.update(unreached)
            names = ", ".join(map(self._label, unreached))
            warnings.warn(
                f"the loss never reached {names}: no gradient, so no step. Does forward() use it, and was "
                "backward() called before step()?",
                stacklevel=3,
            )

    def _label(self, i):
        p = self.params[i]
        return self.names[i] or getattr(p, "name", "") or f"parameter {i} of shape {p.shape}"

    # --- saving and loading --------------------------------------------------------------------------

    def state_dict(self):
        """All that a bit-equal continuation needs, as a flat dictionary of numbers and (copied) arrays.

            {"lr": 0.1, ..., "0.t": 7, "0.m": array, ..., "1.t": 7, ...}      by position in params
        """
        saved = {name: getattr(self, name) for name in self.settings}
        saved = {key: np.array(value) if isinstance(value, tuple) else value for key, value in saved.items()}
        for i in range(len(self.params)):
            state = self._settled(i) if self.steps[i] else {}
            saved[f"{i}.t"] = self.steps[i]  # 0 if its data has a new shape
            saved |= {f"{i}.{name}": array.copy() for name, array in state.items() if self.steps[i]}
        return saved

    def load_state_dict(self, state_dict):
        """Continue from what `state_dict()` returned; arrays may come from another device.

        Raises: ValueError naming missing and unexpected keys; ShapeError for an array of another shape
                than its parameter. The optimizer is then as it was.
        """
        given, n = dict(state_dict), len(self.params)
        new = copy.copy(self)  # all is read and checked before anything changes
        for name in self.settings:
            setattr(new, name, given.get(name, getattr(self, name)))
        new.state = [{} for _ in self.params]
        new.steps = [int(given.get(f"{i}.t", 1)) for i in range(n)]
        due = [*self.settings, *(f"{i}.t" for i in range(n))]
        due += [f"{i}.{name}" for i in range(n) if new.steps[i] for name in new.slots]
        missing = ", ".join(key for key in due if key not in given)
        unexpected = ", ".join(sorted(given.keys() - set(due)))
        if missing or unexpected:
            raise ValueError(
                f"this state does not fit this {type(self).__name__} of {n} tensors. "
                f"Missing: {missing or 'nothing'}; unexpected: {unexpected or 'nothing'}"
            )
        for i, t in enumerate(new.steps):
            new.state[i] = {name: self._fitting(i, f"{i}.{name}", given) for name in new.slots if t}
        self.__dict__.update(new.__dict__)

    def _fitting(self, i, key, given):
        array, due = given[key], self.params[i].data.shape
        if not backend.is_array(array) or array.shape != due:
            got = array.shape if backend.is_array(array) else type(array).__name__
            raise ShapeError(f"{key} of the state is for {self._label(i)} and needs shape {due}; got {got}")
        return array.copy(order="C")

    def __repr__(self):
        settings = ", ".join(f"{name}={getattr(self, name)}" for name in self.settings)
        return f"{type(self).__name__}(tensors={len(self.params)}, {settings})"

    # --- for subclasses ------------------------------------------------------------------------------

    def _require(self, rule, holds, *names):
        """Refuse settings (numbers, or tuples of numbers) for which `holds` is not True."""
        for name in names:
            value = getattr(self, name)
            for number in value if isinstance(value, tuple) else (value,):
                if not isinstance(number, numbers.Real) or not holds(number):
                    raise ValueError(f"{name} of {type(self).__name__} must be {rule}; got {value!r}")

    def _require_not_negative(self, *names):
        self._require("0 or above", lambda number: 0 <= number < math.inf, *names)

    def _require_fraction(self, *names):
        self._require("in [0, 1)", lambda number: 0 <= number < 1, *names)

    def penalized(self, g, theta):
        """The gradient of loss + ½ λ‖θ‖², where λ is `weight_decay`: g + λ θ."""
        return g + self.weight_decay * theta if self.weight_decay else g


def blend(average, value, keep):
    """Move a running average towards `value`, in place.

        a ← keep · a + (1 − keep) · value
    """
    average *= keep
    average += (1 - keep) * value


def _like(theta, array, start):
    """A state array of the type and device of `theta`; a new one, filled with `start`, if there is none."""
    if array is None:
        return np.full_like(theta, start, order="C")  # so that reshape(-1) is a view that can be written to
    if type(array) is type(theta) and array.dtype == theta.dtype:
        return array
    return backend.to_device(array, backend.device_of(theta).name).astype(theta.dtype, order="C")


def _plain(value):
    """A setting as a Python number, or a tuple of such."""
    value = value.tolist() if hasattr(value, "tolist") else value  # NumPy's scalars, and arrays of any device
    return tuple(map(_plain, value)) if isinstance(value, (list, tuple)) else value


def _named_parameters(params):
    """Names (or None) and tensors, from an iterable of tensors or of pairs."""
    if isinstance(params, Tensor) or not hasattr(params, "__iter__"):
        got = type(params).__name__
        raise TypeError(f"an optimizer takes a list of tensors, such as model.parameters(); got one {got}")
    pairs = [p if isinstance(p, tuple) and len(p) == 2 else (None, p) for p in params]
    if not pairs:
        raise ValueError("an optimizer needs parameters; the list is empty (or a generator read before)")
    first = {}  # id of a tensor -> its position
    for i, (_, p) in enumerate(pairs):
        if not isinstance(p, Tensor):
            got = type(p).__name__
            raise TypeError(f"an optimizer takes tensors; entry {i} is of type {got}. Try model.parameters()")
        if p.node is not None:
            raise ValueError(f"only leaves are trained; entry {i} came out of op {p.node.name!r}")
        if first.setdefault(id(p), i) != i:
            raise ValueError(f"entries {first[id(p)]} and {i} are one tensor: it would move twice")
    if not any(p.requires_grad for _, p in pairs):
        raise ValueError("no tensor here wants a gradient. Make them with Tensor(data, requires_grad=True)")
    return [name for name, _ in pairs], [p for _, p in pairs]

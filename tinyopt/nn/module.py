"""`Module`: a tree of layers. Parameters and children are found by walking attributes; nothing registers.

A model is a `Module` whose attributes are modules (or lists of them), down to layers whose attributes are
parameters. A dotted name such as `conv1.weight` is the path through these attributes.
"""

import numpy as np

from tinyopt import backend
from tinyopt.nn.parameter import Parameter
from tinyopt.nn.views import KINDS
from tinyopt.tensor import Tensor

LISTENERS = []  # objects with enter(module, inputs) and leave(module, output): capture() and trace() join here


class Module:
    """The base of layers and models: write `forward`, assign layers and parameters as attributes."""

    training = True
    buffers = ()  # names of attributes that are arrays, saved but not trained: running means

    def forward(self, *inputs):
        raise NotImplementedError(f"{type(self).__name__} needs a method: def forward(self, x)")

    def __call__(self, *inputs):
        if not LISTENERS:
            return self.forward(*inputs)
        for listener in LISTENERS:
            listener.enter(self, inputs)
        output = self.forward(*inputs)
        for listener in reversed(LISTENERS):
            listener.leave(self, output)
        return output

    # --- the tree ---

    def named_children(self):
        """Yield (attribute, module) for each module directly inside, those in lists and dicts too."""
        for attribute, value in vars(self).items():
            if isinstance(value, Module):
                yield attribute, value
            elif isinstance(value, (list, tuple, dict)):
                items = value.items() if isinstance(value, dict) else enumerate(value)
                yield from ((f"{attribute}.{key}", item) for key, item in items if isinstance(item, Module))

    def named_modules(self, prefix=""):
        """Yield (dotted name, module), this one first, with the name ''."""
        yield prefix, self
        for attribute, child in self.named_children():
            yield from child.named_modules(f"{prefix}.{attribute}" if prefix else attribute)

    def modules(self):
        return (module for _, module in self.named_modules())

    def named_parameters(self):
        """Yield (dotted name, parameter), a shared one once; each learns its name."""
        seen = set()
        for path, module in self.named_modules():
            for attribute, value in vars(module).items():
                if isinstance(value, Parameter) and id(value) not in seen:
                    seen.add(id(value))
                    value.name = f"{path}.{attribute}" if path else attribute
                    yield value.name, value

    def parameters(self):
        return [parameter for _, parameter in self.named_parameters()]

    def named_buffers(self):
        """Yield (dotted name, array) for what is saved but not trained."""
        for path, module in self.named_modules():
            for attribute in module.buffers:
                if getattr(module, attribute) is not None:
                    yield f"{path}.{attribute}" if path else attribute, getattr(module, attribute)

    def get(self, name):
        """The module or parameter with this dotted name.

        Raises: KeyError that lists the names there are.
        """
        known = {**dict(self.named_modules()), **dict(self.named_parameters())}
        if name not in known:
            raise KeyError(f"no layer or parameter is called {name!r}; there are: {', '.join(n for n in known if n)}")
        return known[name]

    def replace(self, name, module):
        """Surgery: put another module in the place of the one with this dotted name."""
        self.get(name)
        parent, _, last = name.rpartition(".")
        owner = self._container(parent)
        if isinstance(owner, list):
            owner[int(last)] = module
        elif isinstance(owner, dict):
            owner[last] = module
        else:
            setattr(owner, last, module)

    def _container(self, path):
        """What the dotted path leads to, lists and dicts included."""
        place = self
        for part in path.split(".") if path else ():
            place = place[int(part)] if isinstance(place, list) else place[part] if isinstance(place, dict) else getattr(place, part)
        return place

    # --- modes and devices ---

    def train(self, mode=True):
        """Training mode: dropout drops, batch norm measures. Returns the model."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self):
        """Eval mode: the opposite of `train()`. Returns the model."""
        return self.train(False)

    def zero_grad(self):
        for parameter in self.parameters():
            parameter.grad = None

    def to(self, device):
        """Move all parameters, views and buffers to "cpu" or "cuda", in place. Returns the model."""
        backend.device(device)
        for parameter in self.parameters():
            parameter.move(device)
        for module in self.modules():
            for attribute in module.buffers:
                if getattr(module, attribute) is not None:
                    setattr(module, attribute, backend.to_device(getattr(module, attribute), device))
        return self

    def astype(self, dtype):
        """Change all floats to "float32" or "float64", in place. Returns the model."""

        def change(array):
            return array.astype(dtype) if array.dtype.kind == "f" else array

        for parameter in self.parameters():
            parameter.data, parameter.grad = change(parameter.data), None
            parameter.views = [view.map(change) for view in parameter.views]
        for module in self.modules():
            for attribute in module.buffers:
                if getattr(module, attribute) is not None:
                    setattr(module, attribute, change(getattr(module, attribute)))
        return self

    # --- state ---

    def state_dict(self):
        """All arrays by dotted name: parameters' data, their views' arrays, buffers.

        A view's array is called NAME.views.KIND.FIELD, such as `fc1.weight.views.mask.keep`.
        """
        state = {}
        for name, parameter in self.named_parameters():
            state[name] = parameter.data
            for view in parameter.views:
                kind = f"{name}.views.{type(view).__name__.lower()}"
                state.update({f"{kind}.{field}": getattr(view, field) for field in view.fields})
                state.update({f"{kind}.{field}": np.array(getattr(view, field)) for field in view.settings})
        return {**state, **dict(self.named_buffers())}

    def load_state_dict(self, state):
        """Take over all arrays, views included; either everything fits or nothing changes.

        Raises: KeyError that names missing, unexpected and mis-shaped keys.
        """
        state = {name: value.data if isinstance(value, Tensor) else value for name, value in state.items()}
        views = _views_in(state)
        parameters, buffers = dict(self.named_parameters()), dict(self.named_buffers())
        plain = {name for name in state if ".views." not in name}
        missing = [name for name in (*parameters, *buffers) if name not in plain]
        unexpected = [name for name in plain if name not in parameters and name not in buffers]
        unexpected += [name for name in views if name not in parameters]
        shapes = {name: buffer.shape for name, buffer in buffers.items()}
        for name, parameter in parameters.items():
            shapes[name] = np.shape(state[name]) if any(v.level == 0 for v in views.get(name, ())) else parameter.shape
        misfits = [
            f"{name} is {np.shape(state[name])}, should be {shape}"
            for name, shape in shapes.items()
            if name in state and np.shape(state[name]) != shape
        ]
        if missing or unexpected or misfits:
            parts = [f"missing: {', '.join(missing)}"] * bool(missing)
            parts += [f"unexpected: {', '.join(unexpected)}"] * bool(unexpected)
            parts += [f"of another shape: {'; '.join(misfits)}"] * bool(misfits)
            raise KeyError(f"this state does not fit the {type(self).__name__}: {' | '.join(parts)}")
        for name, parameter in parameters.items():
            parameter.views = []
            parameter.data = _as_like(state[name], parameter.data)
            for view in sorted(views.get(name, ()), key=lambda view: view.level):
                parameter.attach(view)
        for name in buffers:
            owner, _, attribute = name.rpartition(".")
            setattr(self._container(owner), attribute, _as_like(state[name], buffers[name]))

    # --- looks ---

    def config(self):
        """The constructor's arguments; layers that can be rebuilt from a file define it."""
        return {}

    def extra_repr(self):
        return ", ".join(f"{key}={value!r}" for key, value in self.config().items())

    def __repr__(self):
        return "\n".join(_tree_lines("", self))


def _views_in(state):
    """The views that a state dict describes: {parameter name: [view, ...]}."""
    found = {}
    for key, value in state.items():
        name, marker, rest = key.partition(".views.")
        if marker:
            kind, _, field = rest.partition(".")
            found.setdefault((name, kind), {})[field] = value
    views = {}
    for (name, kind), fields in found.items():
        numbers = {field: value.item() for field, value in fields.items() if field in KINDS[kind].settings}
        views.setdefault(name, []).append(KINDS[kind](**{**fields, **numbers}))
    return views


def _as_like(value, like):
    """`value` as an array of the type and on the device of `like`, which nobody else writes to."""
    array = Tensor(value).data
    return backend.to_device(array.astype(like.dtype, copy=False), backend.device_of(like).name)


def _tree_lines(name, module, depth=0):
    n_parameters = sum(parameter.size for parameter in module.parameters())
    children = list(module.named_children())
    label = f"{'  ' * depth}{f'({name}): ' if name else ''}{type(module).__name__}({'' if children else module.extra_repr()})"
    yield f"{label}  {n_parameters:,}" if n_parameters else label
    for attribute, child in children:
        yield from _tree_lines(attribute, child, depth + 1)

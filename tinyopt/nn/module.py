"""`Module`: a tree of layers. Parameters and children are found by walking attributes; nothing registers.

A model is a `Module` whose attributes are modules (or lists of them), down to layers whose attributes are
parameters. A dotted name such as `conv1.weight` is the path through these attributes.
"""

import numpy as np

from tinyopt import backend
from tinyopt.errors import DtypeError
from tinyopt.nn.parameter import Parameter
from tinyopt.nn.views import KINDS
from tinyopt.tensor import Tensor

# Objects with enter(module, inputs) and leave(module, output), which is None if forward raised: capture() and
# trace() join here.
LISTENERS = []


class Module:
    """The base of layers and models: write `forward`, assign layers and parameters as attributes."""

    training = True
    buffers = ()  # names of attributes that are arrays, saved but not trained: running means

    def forward(self, *inputs):
        raise NotImplementedError(f"{type(self).__name__} needs a method: def forward(self, x)")

    def __call__(self, *inputs):
        inputs = [x if isinstance(x, Tensor) or not backend.is_array(x) else Tensor(x) for x in inputs]
        if not LISTENERS:
            return self.forward(*inputs)
        listeners, output = list(LISTENERS), None
        for listener in listeners:
            listener.enter(self, inputs)
        try:
            output = self.forward(*inputs)
        finally:
            for listener in reversed(listeners):
                listener.leave(self, output)
        return output

    # --- the tree ---

    def named_children(self):
        """Yield (attribute, module) for each module directly inside, those in lists and dicts too."""
        return _attributes(self, Module)

    def named_modules(self, prefix=""):
        """Yield (dotted name, module), this one first, with the name ''."""
        yield prefix, self
        for attribute, child in self.named_children():
            yield from child.named_modules(f"{prefix}.{attribute}" if prefix else attribute)

    def modules(self):
        """All modules of the tree, this one first."""
        return (module for _, module in self.named_modules())

    def named_parameters(self):
        """Yield (dotted name, parameter), a shared one once; each learns its name."""
        seen = set()
        for path, module in self.named_modules():
            for attribute, value in _attributes(module, Parameter):
                if id(value) not in seen:
                    seen.add(id(value))
                    value.name = f"{path}.{attribute}" if path else attribute
                    yield value.name, value

    def parameters(self):
        """All parameters in a list, a shared one once: what an optimizer takes."""
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
        """Surgery: put another module in the place of the one with this dotted name.

        Raises: KeyError that lists the names there are.
        """
        self.get(name)
        for path, owner in self.named_modules():
            for attribute, _ in owner.named_children():
                if name == (f"{path}.{attribute}" if path else attribute):
                    owner.set_child(attribute, module)
                    return
        raise KeyError(f"{name!r} is a parameter or the whole model; replace() takes the name of a layer inside")

    def set_child(self, attribute, module):
        """Put a module at a name that `named_children` gives: an attribute, or `attribute.key` in a list or dict."""
        first = attribute.partition(".")[0]
        setattr(self, first, _with_child(getattr(self, first), first, attribute, module))

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
        """Forget all gradients, as the optimizer's `zero_grad` does."""
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
        """Change all floats to "float32" or "float64", in place. Returns the model.

        Raises: DtypeError for another type.
        """
        if np.dtype(dtype) not in (np.float32, np.float64):
            got = np.dtype(dtype)
            raise DtypeError(f"a model computes in float32 or float64; got {got}. For fewer bits: compress.quantize")

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

        Raises: KeyError that names missing, unexpected and mis-shaped keys; what a view finds wrong with its arrays.
        """
        state = {name: value.data if isinstance(value, Tensor) else value for name, value in state.items()}
        views = _views_in(state)
        parameters, buffers = dict(self.named_parameters()), dict(self.named_buffers())
        _check_fit(type(self).__name__, state, parameters, buffers, views)
        fresh = {name: Parameter(_as_like(state[name], parameters[name].data)) for name in parameters}
        arrays = {name: _as_like(state[name], buffers[name]) for name in buffers}
        for name, parameter in fresh.items():  # views are checked here, before anything changes
            for view in sorted(views.get(name, ()), key=lambda view: view.level):
                parameter.attach(view.map(lambda array: backend.to_device(array, parameter.device)))
        for name, parameter in parameters.items():
            parameter.data, parameter.views = fresh[name].data, fresh[name].views
        modules = dict(self.named_modules())
        for name, array in arrays.items():
            owner, _, attribute = name.rpartition(".")
            setattr(modules[owner], attribute, array)

    # --- looks ---

    def config(self):
        """The constructor's arguments; layers that can be rebuilt from a file define it."""
        return {}

    def extra_repr(self):
        """What `repr` says between the parentheses of a layer."""
        return ", ".join(f"{key}={value!r}" for key, value in self.config().items())

    def __repr__(self):
        return "\n".join(_tree_lines("", self))


def _attributes(module, kind):
    """Yield (name, value) for the attributes of this class, those in lists and dicts too, as `name.key`."""
    for attribute, value in vars(module).items():
        yield from _within(attribute, value, kind)


def _within(name, value, kind):
    """Yield (name, value) for what is of this class in a value: itself, or what lists and dicts hold, at any depth."""
    if isinstance(value, kind):
        yield name, value
    elif isinstance(value, (list, tuple, dict)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _within(f"{name}.{key}", item, kind)


def _with_child(value, name, wanted, module):
    """An attribute's value with `module` in the place called `wanted`; lists and dicts around it are made anew."""
    if name == wanted:
        return module
    if isinstance(value, dict):
        return {key: _with_child(item, f"{name}.{key}", wanted, module) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_with_child(item, f"{name}.{i}", wanted, module) for i, item in enumerate(value))
    return value


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
        due = {*KINDS[kind].fields, *KINDS[kind].settings} if kind in KINDS else set()
        if set(fields) != due:
            got = ", ".join(sorted(fields))
            what = f"needs {', '.join(sorted(due))}; got {got}" if due else "is no kind of view"
            raise KeyError(f"this state does not fit: {name}.views.{kind} {what}")
        numbers = {field: value.item() for field, value in fields.items() if field in KINDS[kind].settings}
        views.setdefault(name, []).append(KINDS[kind](**{**fields, **numbers}))
    return views


def _check_fit(model, state, parameters, buffers, views):
    """Raise KeyError, naming every key that is missing, unexpected or of another shape."""
    shapes = {name: tensor.shape for name, tensor in (parameters | buffers).items()}
    plain = [name for name in state if ".views." not in name]
    missing = [name for name in shapes if name not in plain]
    unexpected = [name for name in (*plain, *views) if name not in shapes]
    seen = {name: np.shape(state[name]) for name in shapes if name in state}
    for name, stack in views.items():
        for view in sorted(stack, key=lambda view: view.level) if name in seen else ():
            seen[name] = view.shape(seen[name])  # of a codebook, data are the centroids, and labels have the shape
    misfits = [f"{name} is {shape}, should be {shapes[name]}" for name, shape in seen.items() if shape != shapes[name]]
    if missing or unexpected or misfits:
        parts = [f"missing: {', '.join(missing)}"] * bool(missing)
        parts += [f"unexpected: {', '.join(unexpected)}"] * bool(unexpected)
        parts += [f"of another shape: {'; '.join(misfits)}"] * bool(misfits)
        raise KeyError(f"this state does not fit the {model}: {' | '.join(parts)}")


def _as_like(value, like):
    """`value` as an array of the type and on the device of `like`, which nobody else writes to."""
    array = Tensor(value).data
    return backend.to_device(array.astype(like.dtype, copy=False), backend.device_of(like).name)


def _tree_lines(name, module, depth=0):
    n_parameters = sum(parameter.size for parameter in module.parameters())
    children = list(module.named_children())
    place = f"{'  ' * depth}{f'({name}): ' if name else ''}"
    label = f"{place}{type(module).__name__}({'' if children else module.extra_repr()})"
    yield f"{label}  {n_parameters:,}" if n_parameters else label
    for attribute, child in children:
        yield from _tree_lines(attribute, child, depth + 1)

"""What runs when a model is called, in order, and how values pass from step to step.

A network is a graph of *values* (arrays) between *steps*. A layer is one step, whatever ops it is made of;
an op outside every layer, such as `x + y` in a model's own `forward`, is a step as well. `as_ops()` shows
the same run with every layer opened up into its ops.

Nothing is analysed: the model runs once, while `nn.Module` and `@op` report what they do. A value is known
by its tensor; so arithmetic on a tensor's bare `data`, past the ops, starts a new value from nowhere.
"""

import contextlib
import dataclasses
import itertools

from tinyopt.measure.capture import tensors_in
from tinyopt.measure.modes import inference
from tinyopt.measure.table import text_table
from tinyopt.nn import module as modules
from tinyopt.nn.module import Module
from tinyopt.ops import rule as ops
from tinyopt.tensor import Tensor


@dataclasses.dataclass(frozen=True)
class Value:
    """An array on its way between steps.

    id          a number in order of appearance; for a parameter, its dotted name
    source      "input" of the model, "parameter", "constant" (such as a running mean), or "computed"
    varies      True if it depends on the model's input; otherwise it belongs to the weights
    parameters  dotted names: the parameter it is, or those it was computed from; () if it varies
    """

    id: int | str
    shape: tuple
    source: str
    varies: bool
    parameters: tuple = ()

    def __str__(self):
        return self.id if self.source == "parameter" else f"%{self.id}"


@dataclasses.dataclass(eq=False, repr=False)
class Step:
    """One run of a layer, or one op.

    name        the layer's dotted name; for an op, that of the module whose `forward` applied it
    kind        the layer's class, such as "Conv2d"; or the op, such as "conv2d"
    settings    the layer's `config()`, or the op's settings by keyword
    module      the layer; None for an op
    inputs      `Value`s by position; for an op, None stands for an absent array or a plain number
    outputs     `Value`s; nearly always one, which is `output`
    parameters  dotted names of the parameters that it read, also through views or ops on weights
    ops         a layer's own steps
    call        0 for the first run of a layer, 1 for the next ...
    """

    name: str
    kind: str
    settings: dict
    module: Module | None
    inputs: tuple
    outputs: tuple
    parameters: tuple = ()
    ops: tuple = ()
    call: int = 0

    @property
    def output(self):
        return self.outputs[0]

    @property
    def weight_side(self):
        """True for an op on weights alone, such as a mask: nothing of the model's input passes through it."""
        return not any(value.varies for value in self.outputs)

    @property
    def passes_through(self):
        """True if it hands on what it was given, as Identity does, and Dropout in eval mode."""
        return all(value in self.inputs for value in self.outputs)

    def opened(self):
        """Its ops; or itself, for an op, or for a layer whose output none of its ops made."""
        known = {*self.inputs, *(value for op in self.ops for value in op.outputs)}
        return self.ops if self.module is not None and known.issuperset(self.outputs) else (self,)

    def cells(self):
        """What a table says of this step."""
        run = f"{self.name} (call {self.call + 1})" if self.call else self.name
        reads = [value for value in self.inputs if value is not None and value.source != "parameter"]
        weights = [*self.parameters, *["(weights only)"] * self.weight_side]
        shapes = [value.shape for value in self.outputs]
        return [self.kind, run, _listed(reads), _listed(self.outputs), _listed(shapes), " ".join(weights)]

    def __repr__(self):
        return f"<{self.kind} {self.name!r}: {_listed(self.inputs)} -> {_listed(self.outputs)}>"


class Trace:
    """A run of a model: its `steps` in order, and the `inputs` and `outputs` of the whole, as `Value`s.

    `trace["conv1"]` is the step of that layer, `trace.calls("conv1")` a list of all its runs. Two steps are
    wired together when one makes the value that the other reads; `producer` and `consumers` look it up,
    and see through steps that only hand on what they were given.
    """

    def __init__(self, steps, inputs, outputs):
        self.steps, self.inputs, self.outputs = tuple(steps), inputs, outputs
        self._producer, self._consumers = {}, {}
        for step in self.steps:
            if step.passes_through:
                continue
            for value in step.outputs:
                self._producer[value] = step
            for value in dict.fromkeys(step.inputs):
                self._consumers.setdefault(value, []).append(step)

    def producer(self, value):
        """The step that made this value; None for an input, a parameter or a constant."""
        return self._producer.get(value)

    def consumers(self, value):
        """The steps that read this value, in order; the model's own outputs are in `outputs`."""
        return list(self._consumers.get(value, ()))

    def before(self, step):
        """The steps that made this step's inputs, by position; None where no step made it."""
        return [self.producer(value) for value in step.inputs]

    def after(self, step):
        """The steps that read what this one made, in order."""
        return list(dict.fromkeys(user for value in step.outputs for user in self.consumers(value)))

    def calls(self, name):
        """All runs of the layer of this name.

        Raises: KeyError, listing the layers, if it did not run or is no layer.
        """
        runs = [step for step in self.steps if step.module is not None and step.name == name]
        if not runs:
            known = dict.fromkeys(step.name for step in self.steps if step.module is not None)
            raise KeyError(f"no layer {name!r} ran in this trace; those that did: {', '.join(known)}")
        return runs

    def __getitem__(self, name):
        runs = self.calls(name)
        if len(runs) > 1:
            raise KeyError(f"layer {name!r} ran {len(runs)} times; take one of trace.calls({name!r})")
        return runs[0]

    def as_ops(self):
        """The same run, op by op: every layer gives way to its ops, unless it computed past them."""
        return Trace([op for step in self.steps for op in step.opened()], self.inputs, self.outputs)

    def __len__(self):
        return len(self.steps)

    def __iter__(self):
        return iter(self.steps)

    def __str__(self):
        rows = [[i, *step.cells()] for i, step in enumerate(self.steps)]
        header = ["step", "kind", "layer", "reads", "makes", "shape", "parameters"]
        ends = f"input {_listed(self.inputs)}, output {_listed(self.outputs)}"
        return f"{text_table(header, rows, left=7)}\n{ends}"

    __repr__ = __str__


def trace(model, *inputs):
    """Run the model once, in eval mode and without a graph, and tell what ran and how it is wired.

    Parameters are read through their views before the run, so a mask or a codebook is no step of it. Ops on
    weights inside a `forward` are steps, and marked: `step.weight_side`.

    Shapes: inputs, as the model takes them: `trace(model, x)` -> a `Trace`. One example is enough.
    """
    with inference(model):
        recorder = _Recorder(model)
        inputs = [x if isinstance(x, Tensor) else Tensor(x) for x in inputs]
        given = tuple(recorder.value(x, "input", varies=True) for x in inputs)
        with _listening(recorder):
            output = model(*inputs)
    return Trace(recorder.steps, given, tuple(recorder.value(part) for part in tensors_in(output)))


class _Frame:
    """A module that is running, and the ops that it applied."""

    def __init__(self, name, module, inputs):
        self.name, self.module, self.inputs = name, module, inputs
        self.is_layer = not any(True for _ in module.named_children())
        self.ops = []


class _Recorder:
    """Listens to modules and ops while the model runs, and writes down the steps."""

    def __init__(self, model):
        self.names = {}  # id of a module -> its first dotted name
        for name, module in model.named_modules():
            self.names.setdefault(id(module), name)
        self.parameters = {}  # id of a parameter, or of its value under the views -> its name
        self.alive = []  # tensors: an id says which tensor it was only as long as that lives
        for name, parameter in model.named_parameters():
            self.alive.append(parameter.read())  # kept by the parameter: ops will be given this very tensor
            self.parameters[id(parameter)] = self.parameters[id(self.alive[-1])] = name
        self.values = {}  # id of a tensor, or a parameter's name -> Value
        self.steps, self.frames, self.n_calls = [], [], {}
        self.numbers = itertools.count()

    def value(self, tensor, source="constant", varies=False, parameters=()):
        """The `Value` of this tensor; a new one, as described, if it was never seen."""
        key = self.parameters.get(id(tensor), id(tensor))
        if key not in self.values:
            self.alive.append(tensor)
            if isinstance(key, str):
                self.values[key] = Value(key, tensor.shape, "parameter", False, (key,))
            else:
                self.values[key] = Value(next(self.numbers), tensor.shape, source, varies, parameters)
        return self.values[key]

    def applied(self, name, inputs, settings, output):
        """An op ran."""
        frame = self.frames[-1]
        inputs = tuple(self.value(x) if isinstance(x, Tensor) else None for x in inputs)
        read = _united(value.parameters for value in inputs if value is not None)
        varies = any(value.varies for value in inputs if value is not None)
        output = self.value(output, "computed", varies, () if varies else read)
        step = Step(frame.name, name, dict(settings), None, inputs, (output,), read)
        (frame.ops if frame.is_layer else self.steps).append(step)

    def enter(self, module, inputs):
        if id(module) in self.names:
            self.frames.append(_Frame(self.names[id(module)], module, inputs))

    def leave(self, module, output):
        if id(module) not in self.names:
            return
        frame = self.frames.pop()
        if not frame.is_layer:
            return
        inputs = [self.value(x) for x in tensors_in(frame.inputs)]
        known = {*inputs, *(value for op in frame.ops for value in op.outputs)}
        read = dict.fromkeys(value for op in frame.ops for value in op.inputs if value is not None)
        inputs += [value for value in read if value.varies and value not in known]  # more than it was given
        varies = any(value.varies for value in inputs)
        outputs = tuple(self.value(part, "computed", varies) for part in tensors_in(output))
        step = Step(frame.name, type(module).__name__, module.config(), module, tuple(inputs), outputs)
        step.parameters, step.ops = _united(op.parameters for op in frame.ops), tuple(frame.ops)
        step.call = self.n_calls[frame.name] = self.n_calls.get(frame.name, -1) + 1
        self.steps.append(step)


@contextlib.contextmanager
def _listening(recorder):
    modules.LISTENERS.append(recorder)
    ops.LISTENERS.append(recorder.applied)
    try:
        yield
    finally:
        modules.LISTENERS.remove(recorder)
        ops.LISTENERS.remove(recorder.applied)


def _united(names):
    """All names of several tuples, each once, in order of appearance."""
    return tuple(dict.fromkeys(name for part in names for name in part))


def _listed(values):
    return ", ".join(map(str, values))

"""A table of a network: what each layer holds and what it computes."""

import dataclasses
import math

import numpy as np

from tinyopt.errors import ShapeError
from tinyopt.measure.table import text_table
from tinyopt.measure.trace import trace

# op -> multiply-adds, from the shapes of its inputs and of its output
MACS = {
    "linear": lambda x, weight, *bias, out: math.prod(out) * weight[1],
    "matmul": lambda x, y, *, out: math.prod(out) * x[-1],
    "conv2d": lambda x, weight, *bias, out: math.prod(out) * math.prod(weight[1:]),
}


@dataclasses.dataclass(frozen=True)
class Row:
    """One layer; `output_shape` is None if nothing of the example came by.

    Units: `macs`, multiply-adds for one example; `bytes`, its parameters dense in memory.
    """

    name: str
    kind: str
    output_shape: tuple | None
    parameters: int
    nonzeros: int
    macs: int
    bytes: int


class Summary:
    """`rows`, one for each layer, and their totals: `parameters`, `nonzeros`, `macs`, `bytes`."""

    def __init__(self, rows):
        self.rows = rows

    parameters = property(lambda self: sum(row.parameters for row in self.rows))
    nonzeros = property(lambda self: sum(row.nonzeros for row in self.rows))
    macs = property(lambda self: sum(row.macs for row in self.rows))
    bytes = property(lambda self: sum(row.bytes for row in self.rows))

    def __getitem__(self, name):
        """The row of the layer of this name."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"no row for layer {name!r}; there are: {', '.join(row.name for row in self.rows)}")

    def __str__(self):
        header = ["layer", "type", "output", "parameters", "non-zeros", "MACs", "bytes (dense)"]
        rows = [
            [row.name or "(model)", row.kind, "–" if row.output_shape is None else row.output_shape]
            + [row.parameters, row.nonzeros, row.macs, row.bytes]
            for row in self.rows
        ]
        total = ["total", "", "", self.parameters, self.nonzeros, self.macs, self.bytes]
        return text_table(header, rows, left=3, total=total)

    __repr__ = __str__


def summary(model, input_shape):
    """Count a network's parameters, non-zeros, products and bytes, layer by layer, by running one example.

        MACs of linear: n · D_in · D_out        of matmul: n · k · m
             of conv2d: P · Q · O · (C / groups) · kh · kw

    MACs are the multiply-adds that the run executes for one example: a masked weight still costs its
    product, low-rank factors cost only theirs. Sums, elementwise ops, pooling and norms are not counted, nor
    are ops on weights alone, which are paid once a batch. Non-zeros are those that the layers
    see, through all views. Bytes are what the parameters take dense in memory, at their float type: not what
    a file holds; the integers of an integer layer are no parameters. A layer that runs twice has one row, with both
    runs' MACs; a shared parameter counts once.

    Shapes: input_shape, of one example without the batch, as (1, 28, 28) -> a `Summary`; its shapes, too.
    Raises: ShapeError for an input_shape that is no tuple of sizes; what the layers raise if it does not fit.
    """
    due = "input_shape is one example's, without the batch, as (1, 28, 28)"
    sizes = input_shape if isinstance(input_shape, (tuple, list)) else (input_shape,)
    if not all(isinstance(size, (int, np.integer)) and size >= 1 for size in sizes):
        raise ShapeError(f"{due}; got {input_shape!r}")
    like = next((parameter.data for parameter in model.parameters()), np.zeros(0, np.float32))
    macs, shapes = {}, {}  # by layer, in the order of the run
    for step in trace(model, np.zeros_like(like, shape=(1, *sizes))):
        if step.module is not None or not step.weight_side:
            macs[step.name] = macs.get(step.name, 0) + _macs_of_step(step)
            shapes[step.name] = step.output.shape[1:]
    held = _held(model)
    modules, rows = dict(model.named_modules()), []
    for name in dict.fromkeys([*macs, *held]):
        n_parameters, nonzeros, n_bytes = held.get(name, (0, 0, 0))
        if not n_parameters and not macs.get(name) and list(modules[name].named_children()):
            continue  # it only joins others
        kind, shape = type(modules[name]).__name__, shapes.get(name)
        rows.append(Row(name, kind, shape, n_parameters, nonzeros, macs.get(name, 0), n_bytes))
    return Summary(rows)


def _macs_of_step(step):
    """The multiply-adds of one step. A layer that multiplies past the ops, as integer ones do, has its own `macs`."""
    if hasattr(step.module, "macs"):
        return step.module.macs(step.output.shape)
    return sum(map(_macs, step.ops or (step,)))


def _macs(op):
    """The multiply-adds of one op; 0 for an op that is not in `MACS`."""
    if op.kind == "sparse_linear":  # only what is stored is multiplied
        return math.prod(op.output.shape[:-1]) * op.settings["matrix"].n_stored
    if op.kind not in MACS or op.weight_side:
        return 0
    return MACS[op.kind](*(value and value.shape for value in op.inputs), out=op.output.shape)


def _held(model):
    """What each module's own parameters come to: {name: (parameters, non-zeros, bytes)}."""
    held, paths = {}, [name for name, _ in model.named_modules()]
    for name, parameter in model.named_parameters():
        owner = max((path for path in paths if not path or name.startswith(path + ".")), key=len)
        nonzeros = int((parameter.read().detach().data != 0).sum())
        counts = (parameter.size, nonzeros, parameter.size * parameter.dtype.itemsize)
        held[owner] = tuple(map(sum, zip(held.get(owner, (0, 0, 0)), counts)))
    return held

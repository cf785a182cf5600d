"""What is changed after watching one run of a model must be what every run does: checks for `fuse` and `Workspace`.

Start with these three: `as_example`, what the run is given; `refuse_training`; `refuse_branches`.
"""

import itertools

import numpy as np

from tinyopt import backend
from tinyopt.measure import trace
from tinyopt.nn.norm import BatchNorm
from tinyopt.tensor import Tensor


def as_example(model, example):
    """The example as an array on the model's device."""
    array = example.data if isinstance(example, Tensor) else example
    if not backend.is_array(array) or array.ndim < 1 or len(array) < 1:
        came = f"an array of shape {array.shape}" if backend.is_array(array) else repr(array)
        raise ValueError(f"an example is an array of one input or more, as the model takes it: x[:1]; got {came}")
    return backend.to_device(array, next((parameter.device for parameter in model.parameters()), "cpu"))


def refuse_training(model):
    """Raise ValueError if a batch norm would measure the batch."""
    for name, module in model.named_modules():
        if isinstance(module, BatchNorm) and module.training and not module.frozen:
            raise ValueError(
                f"a folded norm is fixed, and {name or 'the model'} is in training mode, in which it measures every "
                "batch: call model.eval() first"
            )


def refuse_branches(model, example):
    """Raise ValueError if zeros, or the example's negative, take another way through the model than the example."""
    with np.errstate(all="ignore"):
        ways = [_way(model, x) for x in (example, 0 * example, *([-example] if example.dtype.kind == "f" else []))]
    for way in ways[1:]:
        if way != ways[0]:
            a, b = next((a, b) for a, b in itertools.zip_longest(ways[0], way) if a != b)
            names = [f"{step[0] or 'the model'} ({step[1]})" if step else "its end" for step in (a, b)]
            raise ValueError(
                "one run must show all that the model does, but here numbers choose the way: after the same steps the "
                f"example came to {names[0]}, others to {names[1]}. Fuse the parts that have no such branch"
            )


def _way(model, x):
    """What ran, and on which values."""
    return [(s.name, s.kind, [v and v.id for v in s.inputs], [v.id for v in s.outputs]) for s in trace(model, x)]

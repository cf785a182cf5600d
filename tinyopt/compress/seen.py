"""What pruning did, made visible: which pixels a network still reads, and which images changed their answer.

Start with these three: `changed_answers`, on arrays of answers; `readers`, on a mask; `pixels_read`, on a model.
`tests/benchmarks/what_pruning_did.py` draws them.
"""

import copy
import dataclasses

import numpy as np

from tinyopt import backend
from tinyopt.errors import ShapeError
from tinyopt.nn import BatchNorm1d, BatchNorm2d
from tinyopt.ops.rule import substitute
from tinyopt.tensor import OPS, Tensor


def readers(mask, input_shape):
    """How many neurons of a first dense layer still read each pixel.

        readers[i] = number of outputs o with mask[o, i]

    Shapes: mask (O, I), input_shape with I numbers, such as (1, 28, 28) -> integers of the input's shape.
    Raises: ShapeError if the mask is of another size.
    """
    if mask.ndim != 2 or mask.shape[1] != np.prod(input_shape):
        due = f"(O, {np.prod(input_shape)})"
        raise ShapeError(f"the mask of a dense layer on inputs {input_shape} is {due}; got {mask.shape}")
    return mask.sum(axis=0).reshape(input_shape)


def pixels_read(model, input_shape):
    """Which pixels can still change an answer: those from which a path of surviving weights leads to an output.

        paths from pixel i = ∂(Σ outputs)/∂x_i        with every surviving weight 1, every bias 0, every pixel 1

    The derivative of a product of ones counts paths, through any layers. A pooling counts as the mean of its window,
    and a norm hands on what it gets. A neuron that no path reaches outputs 0 here, and ReLU's derivative there is 0.
    (An activation that saturates, as tanh does, would hide paths: this is for networks of ReLU.)

    Shapes: input_shape, without the batch axis -> the weight of paths, ≥ 0, of that shape, float64; 0: not read.
    Source: the paths of Tanaka, Kunin, Yamins & Ganguli (2020), "Pruning neural networks without any data by
            iteratively conserving synaptic flow", arXiv:2006.05467, with 1 for each |weight|.
    """
    paths = copy.deepcopy(model)
    for name, parameter in paths.named_parameters():
        kept = (parameter.read().data != 0) * (not name.endswith("bias"))
        parameter.data, parameter.views = kept.astype(np.float64), []
    for norm in paths.modules():
        if isinstance(norm, (BatchNorm1d, BatchNorm2d)):
            norm.running_mean = np.zeros_like(norm.running_mean, dtype=np.float64)
            norm.running_var = np.ones_like(norm.running_var, dtype=np.float64)
    device = next(parameter.device for parameter in paths.parameters())
    x = Tensor(backend.to_device(np.ones((1, *input_shape)), device), requires_grad=True)
    paths.eval()
    with substitute("max_pool2d", OPS["avg_pool2d"].rule):
        paths(x).sum().backward()
    return x.grad[0]


@dataclasses.dataclass(frozen=True, eq=False)
class Changed:
    """Which images got another answer, by position: `lost` was right before, `gained` is right now, `other` neither.

    Shapes: labels (n,), all of them; lost, gained and other, positions in it, ascending.
    """

    labels: np.ndarray
    lost: np.ndarray
    gained: np.ndarray
    other: np.ndarray

    def by_class(self, n_classes):
        """How many images of each true class were lost, were gained, changed otherwise, and are there in all.

        Shapes: -> (C, 4), integers.
        """
        parts = (self.labels[self.lost], self.labels[self.gained], self.labels[self.other], self.labels)
        return np.stack([np.bincount(part, minlength=n_classes) for part in parts], axis=1)


def changed_answers(labels, before, after):
    """Compare two models' answers, image by image.

        lost: before = label ≠ after        gained: before ≠ label = after        other: before ≠ after, both wrong

    Shapes: labels, before and after (n,), class numbers on the same images -> a `Changed`.
    Raises: ShapeError if there are not as many of each.
    Source: Hooker, Courville, Clark, Dauphin & Frome (2019), "What Do Compressed Deep Neural Networks Forget?",
            arXiv:1911.05248 (images on which pruned and whole models disagree).
    """
    if not labels.shape == before.shape == after.shape or labels.ndim != 1:
        shapes = f"{labels.shape}, {before.shape} and {after.shape}"
        raise ShapeError(f"labels and both answers are (n,), for the same images; got {shapes}")
    moved = before != after
    lost, gained = moved & (before == labels), moved & (after == labels)
    return Changed(labels, *map(np.flatnonzero, (lost, gained, moved & ~lost & ~gained)))

"""Batch normalisation: measure each channel over the batch, and keep a running average for eval mode."""

import numpy as np

from tinyopt.errors import ShapeError
from tinyopt.nn.layers import at_least_one
from tinyopt.nn.module import Module
from tinyopt.nn.parameter import Parameter
from tinyopt.ops.norm import moments
from tinyopt.ops.rule import check_floats
from tinyopt.tensor import OPS, Tensor


class BatchNorm(Module):
    """The base of BatchNorm1d and 2d: give each channel mean `bias` and deviation `weight`.

        y = weight · (x − mean) / √(var + ε) + bias
        running ← (1 − momentum) · running + momentum · batch        the running variance is unbiased

    In training, mean and var are the batch's; in eval mode, the running ones. momentum=None takes the
    plain average of all batches so far. A norm that is `frozen` (`compress.freeze`) does as in eval mode always.

    Start:  weight 1, bias 0, running mean 0, running variance 1.
    Shapes: num_features is C; x and y (N, C) or (N, C, ...), as the subclass says.
    Raises: ShapeError for another number of axes or channels; DtypeError for integers; ValueError in training
            for one value a channel.
    Source: Ioffe & Szegedy (2015), "Batch Normalization", arXiv:1502.03167.
    """

    buffers = ("running_mean", "running_var", "num_batches_tracked")
    n_axes = ()
    frozen = False

    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        at_least_one(num_features=num_features)
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.weight = Parameter(np.ones(num_features, np.float32))
        self.bias = Parameter(np.zeros(num_features, np.float32))
        self.running_mean = np.zeros(num_features, np.float32)
        self.running_var = np.ones(num_features, np.float32)
        self.num_batches_tracked = np.zeros((), np.int64)

    def forward(self, x):
        if x.ndim not in self.n_axes or x.shape[1] != self.num_features:
            axes = " or ".join(str(n) for n in self.n_axes)
            name, channels = type(self).__name__, self.num_features
            raise ShapeError(f"{name}({channels}) needs {axes} axes, the second of {channels} channels; got {x.shape}")
        check_floats(type(self).__name__, x, self.weight)
        measures = self.training and not self.frozen
        mean, var = self._measured(x.data) if measures else (self.running_mean, self.running_var)
        return OPS["batch_norm"](
            x, self.weight, self.bias, Tensor._from_op(mean), Tensor._from_op(var), eps=self.eps, training=measures
        )

    def _measured(self, x):
        """The batch's mean and variance by channel; the running ones move towards them."""
        n = x.size // x.shape[1]
        if n < 2:
            raise ValueError(
                f"BatchNorm in training needs more than one value a channel; got x {x.shape}. Call eval() first"
            )
        mean, var = moments(x)
        self.num_batches_tracked = (self.num_batches_tracked + 1)[...]  # an array, where NumPy would make it a number
        part = 1.0 / self.num_batches_tracked if self.momentum is None else self.momentum
        self.running_mean = ((1 - part) * self.running_mean + part * mean).astype(mean.dtype)
        self.running_var = ((1 - part) * self.running_var + part * (var * (n / (n - 1)))).astype(var.dtype)
        return mean, var

    def config(self):
        return {"num_features": self.num_features, "eps": self.eps, "momentum": self.momentum}


class BatchNorm1d(BatchNorm):
    """Batch norm of rows (N, C) or sequences (N, C, T); see `BatchNorm`."""

    n_axes = (2, 3)


class BatchNorm2d(BatchNorm):
    """Batch norm of images (N, C, H, W); see `BatchNorm`."""

    n_axes = (4,)

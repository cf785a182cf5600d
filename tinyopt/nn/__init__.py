"""Modules and layers. Start with these three: `parameter.py`, `module.py`, `layers.py`."""

from tinyopt.nn.containers import Residual, Sequential
from tinyopt.nn.layers import (
    Add, AvgPool2d, Conv2d, Dropout, Flatten, Identity, Linear, LowRankLinear, MaxPool2d, ReLU,
)  # fmt: skip
from tinyopt.nn.module import Module
from tinyopt.nn.norm import BatchNorm1d, BatchNorm2d
from tinyopt.nn.parameter import Parameter
from tinyopt.nn.sparse import SparseLinear
from tinyopt.nn.views import Codebook, Mask, Quantize, View

LAYERS = {  # what a file can rebuild without the reader's code
    layer.__name__: layer
    for layer in (
        Add, AvgPool2d, BatchNorm1d, BatchNorm2d, Conv2d, Dropout, Flatten, Identity, Linear, LowRankLinear,
        MaxPool2d, ReLU, Residual, Sequential, SparseLinear,
    )
}  # fmt: skip

__all__ = [*LAYERS, "LAYERS", "Codebook", "Mask", "Module", "Parameter", "Quantize", "View"]

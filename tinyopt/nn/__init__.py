"""Modules and layers. Start with these three: `parameter.py`, `module.py`, `layers.py`."""

from tinyopt.nn import integer  # its layers are not listed here: nn.integer.IntegerLinear
from tinyopt.nn.containers import Residual, Sequential
from tinyopt.nn.dynamic import DynamicQuantLinear
from tinyopt.nn.fake_quantize import FakeQuantize
from tinyopt.nn.formats import Format
from tinyopt.nn.fused import FusedAdd, FusedConv2d, FusedLinear
from tinyopt.nn.grouped import GroupedCodebook
from tinyopt.nn.hashed import Hashed
from tinyopt.nn.layers import (
    Add, AvgPool2d, Conv2d, Dropout, Flatten, Identity, Linear, LowRankLinear, MaxPool2d, ReLU,
)  # fmt: skip
from tinyopt.nn.learned_step import LearnedStep, LearnedStepConv2d, LearnedStepLinear
from tinyopt.nn.lora import LoRALinear
from tinyopt.nn.low_bit import Binary, Ternary
from tinyopt.nn.low_bit_linear import BinaryLinear
from tinyopt.nn.module import Module
from tinyopt.nn.norm import BatchNorm1d, BatchNorm2d
from tinyopt.nn.parameter import Parameter
from tinyopt.nn.sparse import SparseLinear
from tinyopt.nn.tied import Embedding, Repeat
from tinyopt.nn.trained_ternary import TrainedTernaryConv2d, TrainedTernaryLinear
from tinyopt.nn.views import Codebook, Mask, Quantize, View

LAYERS = {  # what a file can rebuild without the reader's code
    layer.__name__: layer
    for layer in (
        Add, AvgPool2d, BatchNorm1d, BatchNorm2d, BinaryLinear, Conv2d, Dropout, DynamicQuantLinear, Embedding,
        FakeQuantize, Flatten, FusedAdd, FusedConv2d, FusedLinear, Identity, LearnedStep, LearnedStepConv2d,
        LearnedStepLinear, Linear, LoRALinear, LowRankLinear, MaxPool2d, ReLU, Repeat, Residual, Sequential,
        SparseLinear, TrainedTernaryConv2d, TrainedTernaryLinear,
    )
}  # fmt: skip

__all__ = [
    *LAYERS, "LAYERS", "Binary", "Codebook", "Format", "GroupedCodebook", "Hashed", "Mask", "Module", "Parameter",
    "Quantize", "Ternary", "View",
]  # fmt: skip
LAYERS.update({layer.__name__: layer for layer in integer.LAYERS})

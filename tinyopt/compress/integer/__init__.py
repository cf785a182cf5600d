"""Inference in integers alone: int8 in, int32 accumulators, fixed-point factors between the layers.

Start with these three: `integerize` in `convert.py`; `plan.py`, which finds the layers and what hangs on them;
`reference.py`, which says once more what each layer computes, in Python's own integers.

    convert.py     a trained model and calibration images -> an `nn.integer.IntegerNet`
    plan.py        a trace -> groups: a product, its norm, its pooling, its ReLU
    ranges.py      which floats each value takes on the calibration images
    step.py        one output of one layer, computed aloud
    reference.py   the specification, slow and exact

The layers themselves are in `nn/integer.py`, since a file is rebuilt from them; their arithmetic is in
`nn/integer_math.py`.
"""

from tinyopt.compress.integer.convert import integerize, quantize_layer
from tinyopt.compress.integer.step import step_through

__all__ = ["integerize", "quantize_layer", "step_through"]

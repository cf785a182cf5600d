"""All ops, each a rule of plain NumPy with its pullbacks. Read `rule.py`, then `elementwise.py`.

    elementwise.py   add, mul, exp, relu ...      one number at a time
    reduce.py        sum, max, softmax ...        many numbers to one
    shape.py         reshape, getitem ...         no arithmetic
    linalg.py        linear, matmul               matrix products
    conv.py, pool.py                              images
    norm.py, loss.py, view.py, low_bit.py         fused rules for layers, losses and weights
"""

from tinyopt.ops.conv import conv2d
from tinyopt.ops.elementwise import (
    abs, add, astype, clip, div, dropout, exp, log, maximum, minimum, mul, neg, pow, relu, sigmoid, sqrt, sub, tanh,
    where,
)  # fmt: skip
from tinyopt.ops.linalg import linear, matmul
from tinyopt.ops.loss import cross_entropy
from tinyopt.ops.low_bit import binary_weight, ternary_weight, trained_ternary_weight
from tinyopt.ops.norm import batch_norm
from tinyopt.ops.pool import avg_pool2d, max_pool2d
from tinyopt.ops.reduce import log_softmax, logsumexp, max, mean, min, softmax, sum, var
from tinyopt.ops.shape import (
    broadcast_to, concatenate, expand, expand_dims, flip, getitem, pad, reshape, squeeze, stack, to, transpose,
)  # fmt: skip
from tinyopt.ops.view import fake_quantize, lookup, lsq, mask
from tinyopt.tensor import OPS

__all__ = sorted(OPS)

"""tinyopt: all of model optimization in plain NumPy, to read, run and measure."""

import importlib

from tinyopt.autograd import is_grad_enabled, no_grad
from tinyopt.backend import manual_seed
from tinyopt.gradcheck import gradcheck
from tinyopt.tensor import OPS, Tensor
from tinyopt import ops
from tinyopt.ops.rule import differentiable, op, substitute

__version__ = "0.1.0"

_ROOMS = "codec nn losses models optim data storage files measure train compress report course".split()
_FROM = {"save": "tinyopt.files", "load": "tinyopt.files"}


def __getattr__(name):
    """Import a room when it is first used (PEP 562), so that `import tinyopt` costs little more than NumPy."""
    if name in _FROM:
        return getattr(importlib.import_module(_FROM[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"tinyopt.{name}")
    raise AttributeError(f"module 'tinyopt' has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_ROOMS, *_FROM})

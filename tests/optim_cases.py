"""What the tests of optimizers share: PyTorch's stored numbers, a case for each argument, and a step by hand."""

import json
import pathlib

import numpy as np
import pytest

from tinyopt import Tensor

REFERENCE = np.load(pathlib.Path(__file__).with_name("reference") / "optim.npz")
ABOUT = json.loads(str(REFERENCE["about"]))
CASES = [("GD", {"lr": 0.01}), *ABOUT["cases"]]
NAMES = [f"{i}-{kind}" for i, (kind, _) in enumerate(CASES)]
each_case = pytest.mark.parametrize("kind, settings", CASES, ids=NAMES)


def leaf(array):
    return Tensor(np.asarray(array), requires_grad=True)


def give(p, g):
    """Put `g` where `backward()` would."""
    p.grad = Tensor(np.asarray(g, dtype=p.dtype)).data


def stepped(optimizer, gradients):
    """Give the optimizer's first parameter each of these gradients, and step; return where it ends."""
    for g in gradients:
        give(optimizer.params[0], g)
        optimizer.step()
    return optimizer.params[0].data

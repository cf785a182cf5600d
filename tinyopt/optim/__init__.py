"""Optimizers: from a gradient to a better parameter. Names, defaults and numbers are PyTorch's.

Read in this order, which is also that of history:

    optimizer.py  `Optimizer` owns the loop; every other class here writes one formula, `update`
    sgd.py        `GD` and `SGD`: down the slope, and with momentum
    adaptive.py   `Adagrad`, `RMSprop`, `Adadelta`: a step size for each weight
    adam.py       `Adam` and `AdamW`: both ideas together
"""

from tinyopt.optim.adam import Adam, AdamW
from tinyopt.optim.adaptive import Adadelta, Adagrad, RMSprop
from tinyopt.optim.optimizer import Optimizer
from tinyopt.optim.sgd import GD, SGD

__all__ = ["GD", "SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop"]

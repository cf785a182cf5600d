"""A dense layer with a low-rank adapter beside its weight: `LoRALinear`. `compress.lora` puts it into a model."""

import math

import numpy as np

from tinyopt import backend
from tinyopt.nn.layers import Linear, at_least_one, uniform_parameter
from tinyopt.nn.parameter import Parameter
from tinyopt.tensor import OPS


class LoRALinear(Linear):
    """y = x Wᵀ + b + (α / r) (x Aᵀ) Bᵀ: W and b are frozen, and A and B, of r (in + out) numbers, are trained.

    What fine-tuning changes in a weight is of low rank, is the idea, even where the weight is not. W is read through
    its views, so it may be stored as integers; the adapter is float.

    Shapes: x (..., in_features) -> y (..., out_features); down = A (rank, in_features), up = B (out_features, rank).
    Start:  A as the weight of a `Linear`, uniform in ±1/√in_features; B = 0, so the adapter changes nothing yet.
    Units:  alpha = α, in multiples of the rank; None is the rank itself, a factor of 1.
    Raises: ValueError for a rank outside 1..min(in, out), or an alpha that is not above 0.
    Source: Hu et al. (2022), "LoRA: Low-Rank Adaptation of Large Language Models", arXiv:2106.09685, Section 4.1.
    Differs: A is theirs in code (Kaiming-uniform with a = √5), where the paper draws normal numbers.
    """

    def __init__(self, in_features, out_features, rank, bias=True, alpha=None, rng=None):
        at_least_one(rank=rank)
        rng = backend.generator(rng)
        super().__init__(in_features, out_features, bias=bias, rng=rng)
        if rank > min(in_features, out_features):
            most = min(in_features, out_features)
            raise ValueError(f"an adapter for ({out_features}, {in_features}) has rank {most} or less; got {rank}")
        alpha = rank if alpha is None else alpha
        if not 0 < alpha < math.inf:
            raise ValueError(f"alpha scales the adapter by alpha / rank, and is above 0; got {alpha}")
        self.rank, self.alpha = rank, alpha
        self.down = uniform_parameter(rng, 1 / math.sqrt(in_features), rank, in_features)
        self.up = Parameter(np.zeros((out_features, rank), np.float32))
        for parameter in (self.weight, self.bias):
            if parameter is not None:
                parameter.requires_grad = False

    def forward(self, x):
        y = OPS["linear"](x, self.weight, self.bias)
        change = OPS["linear"](OPS["linear"](x, self.down), self.up)
        return OPS["add"](y, OPS["mul"](change, self.alpha / self.rank))

    def config(self):
        return {**super().config(), "rank": self.rank, "alpha": self.alpha}

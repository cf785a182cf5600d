"""Layers that are used more than once: `Repeat` runs a block several times; `Embedding` reads rows of a matrix, which
the last layer of a network may use again. `tied_names` says which parameters stand at several places.

Start with these three: `Repeat`, `Embedding`, `tied_names`. Nothing else is needed to tie: a `Parameter` that is the attribute of two layers is one
parameter. Autograd adds the gradients of its uses, an optimizer steps it once, a file holds it once.
"""

import numpy as np

from tinyopt import backend
from tinyopt.errors import DtypeError
from tinyopt.nn.layers import at_least_one
from tinyopt.nn.module import Module
from tinyopt.nn.parameter import Parameter
from tinyopt.tensor import OPS


class Repeat(Module):
    """Run one block several times, each on what it made last: the depth of many layers, the weights of one.

        x₀ = x        xₜ = block(xₜ₋₁)        y = x_times        ∂L/∂θ = Σ over t of the gradient of use t

    Shapes: x -> y, both as the block's input, which must be like its output.
    Raises: ValueError for times below 1; TypeError if the block is no module.
    Source: Lan et al. (2020), "ALBERT: A Lite BERT for Self-supervised Learning of Language Representations",
            arXiv:1909.11942, Section 3.1 (cross-layer parameter sharing).
    """

    def __init__(self, block, times):
        at_least_one(times=times)
        if not isinstance(block, Module):
            raise TypeError(f"Repeat runs a module several times; got a {type(block).__name__}")
        self.block, self.times = block, int(times)

    def forward(self, x):
        for _ in range(self.times):
            x = self.block(x)
        return x

    def config(self):
        return {"times": self.times}


class Embedding(Module):
    """A row of numbers for each symbol.        y[i] = weight[x[i]]

    Shapes: x (...), integers in [0, num_embeddings) -> y (..., embedding_dim); weight (num_embeddings, embedding_dim),
            which is the shape of `Linear(embedding_dim, num_embeddings).weight`: so both can be one (`compress.tied.tie`).
    Start:  standard normal, as PyTorch.
    Raises: DtypeError for x that are no integers; ValueError for one out of range (looked for on the CPU only).
    """

    def __init__(self, num_embeddings, embedding_dim, rng=None):
        at_least_one(num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        shape = num_embeddings, embedding_dim
        self.weight = Parameter(backend.generator(rng).standard_normal(shape, dtype=np.float32))

    def forward(self, x):
        if x.dtype.kind not in "iu":
            raise DtypeError(f"an Embedding takes the numbers of symbols, integers; got {x.dtype}")
        if backend.device_of(x.data).name == "cpu" and x.size:  # on a GPU, a look would wait for it
            low, high = x.data.min(), x.data.max()
            if not 0 <= low <= high < self.num_embeddings:
                raise ValueError(f"this Embedding has the symbols 0 to {self.num_embeddings - 1}; got {low} to {high}")
        return OPS["getitem"](self.weight, index=x.data)

    def config(self):
        return {"num_embeddings": self.num_embeddings, "embedding_dim": self.embedding_dim}


def places(model):
    """Every place where a parameter is an attribute of a module: {dotted name: (module, attribute, parameter)}.

    Unlike `named_parameters`, it lists a shared one under each of its names.
    """
    return {
        f"{path}.{attribute}" if path else attribute: (module, attribute, value)
        for path, module in model.named_modules()
        for attribute, value in vars(module).items()
        if isinstance(value, Parameter)
    }


def tied_names(model):
    """Which names are other names of a parameter: {name: the name under which it is trained and saved}."""
    first, others = {}, {}
    for name, (_, _, parameter) in places(model).items():
        if first.setdefault(id(parameter), name) != name:
            others[name] = first[id(parameter)]
    return others

"""`Hashed`: a codebook without stored labels. Which weight reads which value is computed from a seed.

Start with `hashes`, then `Hashed`. A codebook of k-means says which label each weight has, log₂ K bits a weight; here
a hash of the weight's position says it, 0 bits. The price: the labels know nothing of the weights, so the values
must be trained.
"""

import math

import numpy as np

from tinyopt.errors import ShapeError
from tinyopt.nn.views import Codebook, View
from tinyopt.tensor import OPS, Tensor


def mix(h):
    """Scramble 32-bit integers: about half of the bits out change with any bit in, and no two become one.

    Shapes: h, uint32 (...) -> as h. Products wrap round at 2³².
    Source: Appleby (2016), MurmurHash3, its 32-bit finalizer `fmix32` (public domain).
    """
    h = (h ^ (h >> 16)) * 0x85EBCA6B
    h = (h ^ (h >> 13)) * 0xC2B2AE35
    return h ^ (h >> 16)


def hashes(like, count, seed):
    """A random-looking 32-bit integer for each position 0, 1, ..., the same on every machine.

        h[i] = mix(mix(i) ⊕ mix(seed))

    Shapes: like, an array on the device that is to compute; count, how many -> uint32 (count,).
    """
    positions = np.cumsum(np.ones_like(like, shape=count, dtype=np.uint32), dtype=np.uint32) - 1
    scrambled_seed = int(mix(np.array([seed], np.uint32))[0])
    return mix(mix(positions) ^ scrambled_seed)


def hashed_labels(like, shape, n_values, seed):
    """The label of each weight: label[i] = h[i] mod K, with i its place in C order.

    Shapes: like as in `hashes`; shape, the weight's; n_values, K -> int64 of that shape, in [0, K).
    Source: Chen, Wilson, Tyree, Weinberger & Chen (2015), "Compressing Neural Networks with the Hashing Trick",
            arXiv:1504.04788, Section 4 (they use xxHash).
    """
    return (hashes(like, math.prod(shape), seed) % n_values).astype(np.int64).reshape(shape)


def hashed_signs(like, shape, seed):
    """+1 or −1 for each weight, by one bit of another hash.

        ξ[i] = 1 − 2 · (top bit of h′[i]), h′ with the seed's bits flipped

    Without signs, weights that share a value by accident push it the same way; with them such pushes cancel on average.

    Shapes: like as in `hashes` -> of `shape`, of like's type.
    Source: Weinberger, Dasgupta, Langford, Smola & Attenberg (2009), "Feature Hashing for Large Scale Multitask
            Learning", arXiv:0902.2206, Section 2; Chen et al. (2015), arXiv:1504.04788, Section 4.
    """
    bit = hashes(like, math.prod(shape), seed ^ 0xFFFFFFFF) >> 31
    return (1 - 2 * bit.astype(like.dtype)).reshape(shape)


class Hashed(Codebook):
    """Every weight is one of K shared values, or minus that; a hash of its position says which.

        θ[i] = ξ[i] · c[label[i]]        ∂L/∂c[k] = Σ over label[i] = k of ξ[i] · g[i],  that is Aᵀ g for θ = A c

    Labels and signs are computed whenever the weight is read: no file and no array keeps them.

    Shapes: data (K,); the weight's shape is written as in "300x784", or given as a tuple.
    Units:  seed, an integer from 0 to 2³² − 1; signed=False leaves ξ out.
    Raises: ValueError for a seed that is none, or a shape that is none.
    Source: Chen, Wilson, Tyree, Weinberger & Chen (2015), "Compressing Neural Networks with the Hashing Trick",
            arXiv:1504.04788, Section 4.
    """

    fields = ()
    settings = ("size", "seed", "signed")

    def __init__(self, size, seed, signed):
        sizes = str(size).split("x") if isinstance(size, str) else size
        if not all(str(n).isdecimal() and int(n) > 0 for n in sizes):
            raise ValueError(f"size is the weight's shape, (300, 784) or '300x784'; got {size!r}")
        if not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**32:
            raise ValueError(f"a seed of a hash is an integer from 0 to 2³² − 1; got {seed!r}")
        self.size, self.seed, self.signed = "x".join(map(str, sizes)), int(seed), bool(signed)

    def __call__(self, x):
        shape = self.shape(x.shape)
        weight = OPS["lookup"](x, Tensor._from_op(hashed_labels(x.data, shape, x.shape[0], self.seed)))
        return weight * Tensor._from_op(hashed_signs(x.data, shape, self.seed)) if self.signed else weight

    def shape(self, shape):
        return tuple(int(n) for n in self.size.split("x"))

    def check(self, parameter, others):
        View.check(self, parameter, others)
        if parameter._data.ndim != 1:
            raise ShapeError(f"under a hash, data are the K shared values, shape (K,); got {parameter._data.shape}")

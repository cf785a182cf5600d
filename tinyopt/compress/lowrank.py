"""Low rank: a matrix as a product of two thin ones, and the layer replaced by two smaller products.

Start with `truncated_svd`, on an array, then `factorize`, which puts the factors into the model.
"""

import numpy as np

from tinyopt import nn


def truncated_svd(matrix, rank):
    """The nearest matrix of a given rank, as two factors.

        W = U Σ Vᵀ        W_r = (U_r √Σ_r)(√Σ_r V_rᵀ)        ‖W − W_r‖² = Σ over i > r of σ_i²

    Shapes: matrix (m, n) -> up (m, rank), down (rank, n); up @ down is the approximation.
    Raises: ValueError for a rank outside 1..min(m, n), or a matrix that is not finite.
    Source: Eckart & Young (1936), "The approximation of one matrix by another of lower rank",
            Psychometrika 1(3).
    """
    if not isinstance(rank, (int, np.integer)) or not 1 <= rank <= min(matrix.shape):
        raise ValueError(f"rank is an integer in 1..{min(matrix.shape)} for a matrix {matrix.shape}; got {rank!r}")
    _check_finite(matrix)
    u, sigma, vt = np.linalg.svd(matrix, full_matrices=False)
    root = np.sqrt(sigma[:rank])
    return u[:, :rank] * root, root[:, None] * vt[:rank]


def rank_for_energy(matrix, energy):
    """The smallest rank that keeps a share `energy` of Σ σ².

        r = the smallest with  Σ over i ≤ r of σ_i²  ≥  energy · Σ over all i of σ_i²

    Shapes: matrix (m, n) -> an integer in 1..min(m, n); 1 for a matrix of zeros.
    Units:  energy, a fraction in (0, 1].
    Raises: ValueError for another energy, or a matrix that is not finite.
    """
    if not 0 < energy <= 1:
        raise ValueError(f"energy is the share of Σ σ² to keep, in (0, 1]; got {energy}")
    _check_finite(matrix)
    sigma = np.linalg.svd(matrix, compute_uv=False)
    kept = np.cumsum(sigma**2)
    return min(int((kept < energy * kept[-1]).sum()) + 1, len(sigma))


def _check_finite(matrix):
    if not np.isfinite(matrix).all():
        raise ValueError(f"this matrix {matrix.shape} holds NaN or infinity: it has no SVD. Did training diverge?")


def factorize(model, rank=None, *, energy=None):
    """Replace dense layers by two thin ones each, in place.

        y = x Wᵀ + b   becomes   y = (x downᵀ) upᵀ + b        r (in + out) products instead of in · out

    The factors are new parameters, of the weight as layers read it: its views end here, and an optimizer
    has to be made anew.

    Units:  rank: {layer: rank}, or one integer, or `energy` (see `rank_for_energy`); the last two for every
            dense layer that they make smaller. Returns {layer: rank} for what was replaced.
    Raises: ValueError for a rank outside 1..min(in, out), one at which factoring would cost more, or a
            layer that is no Linear.
    Source: Denton et al. (2014), "Exploiting Linear Structure Within Convolutional Networks for
            Efficient Evaluation", arXiv:1404.0736; the bound is Eckart & Young's.
    """
    if (rank is None) == (energy is None):
        got = "neither" if rank is None else "both"
        raise ValueError(f"factorize needs either rank, as {{layer: rank}} or an integer, or energy=share; got {got}")
    layers = {name: m for name, m in model.named_modules() if type(m) is nn.Linear}
    if not isinstance(rank, dict):
        ranks = {
            name: rank_for_energy(layer.weight.read().data, energy) if rank is None else rank
            for name, layer in layers.items()
        }
        rank = {name: r for name, r in ranks.items() if r < break_even(layers[name])}
    for name, r in rank.items():
        if name not in layers:
            known = ", ".join(layers) or "this model has none"
            raise ValueError(f"factorize replaces Linear layers: {known}; got {name!r}")
        if r >= break_even(layers[name]):
            old, new = layers[name].weight.size, r * sum(layers[name].weight.shape)
            raise ValueError(
                f"{name} at rank {r} would grow from {old:,} to {new:,} numbers; "
                f"use a rank below {break_even(layers[name]):.0f}"
            )
    thin = {name: low_rank_linear(layers[name], r) for name, r in rank.items()}
    for name, layer in thin.items():
        model.replace(name, layer)
    return rank


def break_even(layer):
    """The rank at which the factors are as large as the matrix: in · out / (in + out)."""
    return layer.weight.size / sum(layer.weight.shape)


def low_rank_linear(layer, rank):
    """A `LowRankLinear` that computes what `layer` does, with the weight cut to `rank`."""
    up, down = truncated_svd(layer.weight.read().data, rank)
    thin = nn.LowRankLinear(layer.in_features, layer.out_features, rank, bias=layer.bias is not None)
    thin.up.data, thin.down.data = up, down
    if layer.bias is not None:
        thin.bias.data = layer.bias.read().data
    thin.training = layer.training
    return thin

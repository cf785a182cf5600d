"""Low rank: a matrix as a product of two thin ones, and the layer replaced by two smaller products.

Start with these three: `truncated_svd`, on an array; `rank_sweep`, what each rank would cost and leave out;
`factorize`, which puts the factors into the model.
"""

import copy
import dataclasses

import numpy as np

from tinyopt import backend, measure, nn

# --- functions on arrays ----------------------------------------------------------------------------


def truncated_svd(matrix, rank):
    """The nearest matrix of a given rank, as two factors.

        W = U Σ Vᵀ        W_r = (U_r √Σ_r)(√Σ_r V_rᵀ)        ‖W − W_r‖² = Σ over i > r of σ_i²

    Shapes: matrix (m, n) -> up (m, rank), down (rank, n); up @ down is the approximation.
    Raises: ValueError for a rank outside 1..min(m, n), or a matrix that is not finite.
    Source: Eckart & Young (1936), "The approximation of one matrix by another of lower rank",
            Psychometrika 1(3).
    """
    _check_rank(matrix, rank)
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


def largest_saving_rank(shape):
    """The largest rank whose two factors hold fewer numbers than the matrix.

        r (m + n) < m n        so r is below m n / (m + n), the break-even

    Shapes: shape, the pair (m, n) -> an integer; 0 if no rank saves anything.
    """
    m, n = shape
    return (m * n - 1) // (m + n)


@dataclasses.dataclass(frozen=True)
class Cut:
    """One line of a sweep: what is kept, and what it costs.

    Units: rank, an integer, or {layer: rank}; energy, the share of Σ σ² that is kept (or was asked for);
           squared_error, Σ over all entries of (W − W_r)²; parameters, numbers; macs, multiply-adds for one
           example.
    """

    rank: int | dict
    energy: float
    squared_error: float
    parameters: int
    macs: int


def rank_sweep(matrix, ranks=None):
    """What each rank of a matrix leaves out, and what a dense layer with these factors costs.

        squared error = Σ over i > r of σ_i²        parameters = MACs = r (m + n)

    Shapes: matrix (m, n) -> a list of `Cut`, one for each of `ranks`; None is every rank, 1..min(m, n).
    Raises: ValueError for a rank outside 1..min(m, n), or a matrix that is not finite.
    """
    _check_finite(matrix)
    squares = backend.to_host(np.linalg.svd(matrix, compute_uv=False)).astype(np.float64) ** 2
    tails = [float(tail) for tail in np.cumsum(squares[::-1])[::-1]] + [0.0]  # tails[r] = Σ over i > r of σ_i²
    total = tails[0] or 1.0  # a matrix of zeros has no error at any rank
    cuts = []
    for rank in range(1, len(squares) + 1) if ranks is None else ranks:
        _check_rank(matrix, rank)
        cost = int(rank) * sum(matrix.shape)
        cuts.append(Cut(int(rank), 1 - tails[rank] / total, tails[rank], cost, cost))
    return cuts


def _check_rank(matrix, rank):
    if not isinstance(rank, (int, np.integer)) or not 1 <= rank <= min(matrix.shape):
        raise ValueError(f"rank is an integer in 1..{min(matrix.shape)} for a matrix {matrix.shape}; got {rank!r}")


def _check_finite(matrix):
    if not np.isfinite(matrix).all():
        raise ValueError(f"this matrix {matrix.shape} holds NaN or infinity: it has no SVD. Did training diverge?")


# --- into the model ---------------------------------------------------------------------------------


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
        rank = {name: r for name, r in ranks.items() if r <= largest_saving_rank(layers[name].weight.shape)}
    for name, r in rank.items():
        if name not in layers:
            known = ", ".join(layers) or "this model has none"
            raise ValueError(f"factorize replaces Linear layers: {known}; got {name!r}")
        _check_saving(name, layers[name].weight.shape, r)
    thin = {name: low_rank_linear(layers[name], r) for name, r in rank.items()}
    for name, layer in thin.items():
        model.replace(name, layer)
    return rank


def _check_saving(name, shape, rank):
    limit = largest_saving_rank(shape)
    if rank > limit:
        old, new = shape[0] * shape[1], rank * sum(shape)
        change = f"grow from {old:,} to {new:,}" if new > old else f"stay at {old:,}"
        fix = f"use a rank of {limit} or less" if limit else "this layer is too thin to be factored"
        raise ValueError(f"{name} at rank {rank} would {change} numbers; {fix}")


def low_rank_linear(layer, rank):
    """A `LowRankLinear` that computes what `layer` does, with the weight cut to `rank`."""
    up, down = truncated_svd(layer.weight.read().data, rank)
    thin = nn.LowRankLinear(layer.in_features, layer.out_features, rank, bias=layer.bias is not None)
    thin.up.data, thin.down.data = up, down
    if layer.bias is not None:
        thin.bias.data = layer.bias.read().data
    thin.training = layer.training
    return thin


def energy_sweep(model, energies, input_shape):
    """What a whole network costs, and leaves out, if each dense layer keeps a share of its energy.

    The model itself stays as it is: `factorize` works on a copy for each energy.

    Shapes: input_shape, of one example without the batch, as (1, 28, 28) -> a list of `Cut`: ranks {layer:
            rank} of what would be replaced, the sum of their squared errors, parameters and MACs of the
            whole network.
    Raises: as `factorize` and `measure.summary`.
    """
    cuts = []
    for energy in energies:
        thin = copy.deepcopy(model)
        ranks = factorize(thin, energy=energy)
        weights = {name: model.get(name).weight.read().data for name in ranks}
        error = sum(rank_sweep(weights[name], [rank])[0].squared_error for name, rank in ranks.items())
        counts = measure.summary(thin, input_shape)
        cuts.append(Cut(ranks, energy, error, counts.parameters, counts.macs))
    return cuts

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
    check_rank(matrix, rank)
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
    check_energy(energy, "Σ σ²")
    _check_finite(matrix)
    return first_to_keep(np.linalg.svd(matrix, compute_uv=False), energy)


def first_to_keep(sigma, energy):
    """How many of some falling numbers keep a share `energy` of the sum of their squares; 1 at least."""
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
        check_rank(matrix, rank)
        cost = int(rank) * sum(matrix.shape)
        cuts.append(Cut(int(rank), 1 - tails[rank] / total, tails[rank], cost, cost))
    return cuts


def positive(rank):
    """Whether a rank is an integer of 1 or more; True and False are none."""
    return isinstance(rank, (int, np.integer)) and not isinstance(rank, bool) and rank >= 1


def check_energy(energy, of):
    """Raise ValueError for a share, of what `of` says, that is none."""
    number = isinstance(energy, (int, float, np.number)) and not isinstance(energy, bool)
    if not number or not 0 < energy <= 1:
        raise ValueError(f"energy is the share of {of} to keep, in (0, 1]; got {energy!r}")


def check_rank(matrix, rank):
    """Raise ValueError for a rank that a matrix cannot have."""
    if not positive(rank) or rank > min(matrix.shape):
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
    Raises: ValueError for a rank outside 1..min(in, out), one at which factoring would cost more, a layer that
            is no Linear, or a model without any.
    Source: Denton et al. (2014), "Exploiting Linear Structure Within Convolutional Networks for
            Efficient Evaluation", arXiv:1404.0736; the bound is Eckart & Young's.
    """
    layers = {name: m for name, m in model.named_modules() if type(m) is nn.Linear}
    ranks = chosen_ranks(
        layers, rank, energy, lambda layer: rank_for_energy(layer.weight.read().data, energy),
        lambda layer, r: refusal(layer.weight.shape, r), which="factorize replaces Linear layers",
    )  # fmt: skip
    thin = {name: low_rank_linear(layers[name], r) for name, r in ranks.items()}
    for name, layer in thin.items():
        model.replace(name, layer)
    return ranks


def chosen_ranks(layers, rank, energy, from_energy, refused, *, which="layers that can be factored here"):
    """{layer: rank}, from a dictionary that must make sense, or one setting for every layer that it makes smaller.

    Shapes: layers {name: layer}; from_energy(layer) -> rank; refused(layer, rank) -> why not, or "".
    Raises: ValueError unless just one of rank and energy is given, if there are no layers, or for an entry of the
            dictionary that is refused.
    """
    if (rank is None) == (energy is None):
        got = "neither" if rank is None else "both"
        raise ValueError(f"give either rank, one for all or {{layer: rank}}, or energy=share; got {got}")
    if not layers:
        raise ValueError(f"{which}: this model has none")
    if not isinstance(rank, dict):
        every = {name: from_energy(layer) if rank is None else rank for name, layer in layers.items()}
        return {name: r for name, r in every.items() if not refused(layers[name], r)}
    for name, r in rank.items():
        if name not in layers:
            raise ValueError(f"{which}: {', '.join(layers)}; got {name!r}")
        if reason := refused(layers[name], r):
            raise ValueError(f"{name} {reason}")
    return rank


def refusal(shape, rank):
    """Why a matrix (m, n) is not to be factored at this rank, with the numbers; "" if it gets smaller.

    Raises: ValueError for a rank that is no integer of 1 or more.
    """
    if not positive(rank):
        raise ValueError(f"rank is an integer in 1..{min(shape)} for a matrix {shape}; got {rank!r}")
    costs = {"numbers": (shape[0] * shape[1], rank * sum(shape))}
    return no_saving(rank, costs, largest_saving_rank(shape), "this layer is too thin to be factored")


def no_saving(rank, costs, limit, otherwise):
    """The sentence that says which of {what: (before, after)} does not fall at a rank, and what would help; or ""."""
    fix = f"use a rank of {limit} or less" if limit else otherwise
    for what, (before, after) in costs.items():
        if after >= before:
            change = f"grow from {before:,} to {after:,}" if after > before else f"stay at {before:,}"
            return f"at rank {rank} would {change} {what}; {fix}"
    return ""


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

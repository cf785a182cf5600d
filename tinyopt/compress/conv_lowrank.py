"""Low rank for convolutions: one large filter bank becomes two or three small ones in a row.

Start with these three: `channel_svd`, on arrays; `tucker2`, which has no closed form and is found in sweeps;
`factorize_convs`, which puts the small convolutions into the model. A filter bank has four axes, and a matrix two:

    kind         which axes make the rows and columns      the convolutions in its place
    channel      O against C·kh·kw                         kh × kw to few channels, then 1 × 1
    spatial      C·kh against O·kw                         kh × 1, then 1 × kw
    tucker2      O against the rest, C against the rest    1 × 1 to few channels, kh × kw, 1 × 1 back

    letters: O channels out, C channels in, kh × kw kernel, r rank; s_h, s_w strides
"""

import math

import numpy as np

from tinyopt import nn
from tinyopt.compress.lowrank import chosen_ranks, no_saving, positive, rank_for_energy, truncated_svd

# --- functions on arrays ----------------------------------------------------------------------------


def channel_svd(weight, rank):
    """Filters as mixtures of `rank` filters: the nearest in squares, by the SVD of the weight as a matrix.

        W[o, c, i, j] ≈ Σ_r mix[o, r] · basis[r, c, i, j]        squared error = Σ over k > rank of σ_k²

    Shapes: weight (O, C, kh, kw) -> basis (rank, C, kh, kw), mix (O, rank, 1, 1).
    Raises: ValueError for a rank outside 1..min(O, C·kh·kw), or a weight that is not finite.
    Source: Zhang, Zou, He & Sun (2016), "Accelerating Very Deep Convolutional Networks for Classification and
            Detection", arXiv:1505.06798. The bound is Eckart & Young's.
    Differs: they fit the outputs on data; that is in `whitened.py`.
    """
    up, down = truncated_svd(as_matrix(weight, "channel"), rank)
    return down.reshape(rank, *weight.shape[1:]), up.reshape(len(weight), rank, 1, 1)


def spatial_svd(weight, rank):
    """A convolution of kh × kw as one of kh × 1 and one of 1 × kw: the nearest pair in squares, in closed form.

        W[o, c, i, j] ≈ Σ_r horizontal[o, r, j] · vertical[r, c, i]        squared error = Σ over k > rank of σ_k²

    Shapes: weight (O, C, kh, kw) -> vertical (rank, C, kh, 1), horizontal (O, rank, 1, kw).
    Raises: ValueError for a rank outside 1..min(C·kh, O·kw), or a weight that is not finite.
    Source: Jaderberg, Vedaldi & Zisserman (2014), "Speeding up Convolutional Neural Networks with Low Rank
            Expansions", arXiv:1405.3866, Scheme 2; the closed form: Tai, Xiao, Zhang, Wang & E (2016),
            "Convolutional neural networks with low-rank regularization", arXiv:1511.06067.
    """
    n_out, n_in, kh, kw = weight.shape
    up, down = truncated_svd(as_matrix(weight, "spatial"), rank)  # (C·kh, r), (r, O·kw)
    vertical = up.T.reshape(rank, n_in, kh, 1)
    return vertical, down.reshape(rank, n_out, 1, kw).transpose(1, 0, 2, 3)


def tucker2(weight, ranks, *, sweeps=10):
    """Fewer channels on both sides of a small core: the last of `tucker2_sweeps`, as three filter banks.

        W[o, c, i, j] ≈ Σ_p Σ_q wide[o, p] · core[p, q, i, j] · narrow[q, c]

    Shapes: weight (O, C, kh, kw), ranks (P, Q) for channels out and in -> narrow (Q, C, 1, 1),
            core (P, Q, kh, kw), wide (O, P, 1, 1).
    Raises: ValueError for ranks outside 1..O and 1..C, or a weight that is not finite.
    Source: Kim, Park, Yoo, Choi, Yang & Shin (2016), "Compression of Deep Convolutional Neural Networks for Fast
            and Low Power Mobile Applications", arXiv:1511.06530.
    """
    for u, v, _ in tucker2_sweeps(weight, ranks, sweeps=sweeps):
        pass  # each is at least as near as the one before
    core = np.einsum("ocij,op,cq->pqij", weight.astype(np.float64), u, v)
    factors = v.T[:, :, None, None], core, u[:, :, None, None]
    return tuple(factor.astype(weight.dtype) for factor in factors)


def tucker2_sweeps(weight, ranks, *, sweeps=10):
    """Alternating least squares for Tucker-2, from the higher-order SVD on; yields (U, V, squared error) as it goes.

        start    U = the first P left singular vectors of W as (O, C·kh·kw),  V = the first Q of W as (C, O·kh·kw)
        sweep    U ← the first P of  W ×_c Vᵀ  as (O, Q·kh·kw)      then      V ← the first Q of  W ×_o Uᵀ
        core = W ×_o Uᵀ ×_c Vᵀ        squared error = ‖W − core ×_o U ×_c V‖²

    With V fixed, this U is the best there is, and the other way round: so the error never rises. The start alone
    is at most twice as far off, in squares, as the best; nothing promises that the sweeps end at the best.

    Shapes: weight (O, C, kh, kw), ranks (P, Q) -> U (O, P), V (C, Q), with orthonormal columns, in float64.
    Raises: as `tucker2`; ValueError for sweeps below 0.
    Source: De Lathauwer, De Moor & Vandewalle (2000), "On the best rank-1 and rank-(R1, R2, ..., RN) approximation
            of higher-order tensors", SIAM J. Matrix Anal. Appl. 21(4); the start: the same authors, "A multilinear
            singular value decomposition", in the same issue.
    """
    n_out, n_in, *_ = weight.shape
    _check_pair(ranks)
    if ranks[0] > n_out or ranks[1] > n_in:
        raise ValueError(f"tucker2 of a weight {weight.shape} has ranks in 1..{n_out} and 1..{n_in}; got {ranks}")
    if sweeps < 0:
        raise ValueError(f"sweeps is how often both sides are improved, 0 or more; got {sweeps}")
    if not bool(np.isfinite(weight).all()):
        raise ValueError(f"this weight {weight.shape} holds NaN or infinity: it has no SVD. Did training diverge?")
    w = weight.astype(np.float64)
    u, v = _leading(w, ranks[0]), _leading(w.swapaxes(0, 1), ranks[1])
    yield u, v, _tucker2_error(w, u, v)
    for _ in range(sweeps):
        u = _leading(np.einsum("ocij,cq->oqij", w, v), ranks[0])
        v = _leading(np.einsum("ocij,op->cpij", w, u), ranks[1])
        yield u, v, _tucker2_error(w, u, v)


def _leading(tensor, rank):
    """The first left singular vectors of a tensor as a matrix, its first axis against all others: (len, rank)."""
    matrix = tensor.reshape(len(tensor), -1)
    wide = len(tensor) > matrix.shape[1] and rank > matrix.shape[1]  # more vectors are asked for than it has
    return np.linalg.svd(matrix, full_matrices=wide)[0][:, :rank]


def _tucker2_error(w, u, v):
    near = np.einsum("ocij,op,cq,np,mq->nmij", w, u, v, u, v, optimize=True)
    return float(((w - near) ** 2).sum())


def as_matrix(weight, kind):
    """The weight (O, C, kh, kw) as the matrix that a kind of SVD cuts, "channel" or "spatial"."""
    n_out, n_in, kh, kw = weight.shape
    if kind == "spatial":
        return weight.transpose(1, 2, 0, 3).reshape(n_in * kh, n_out * kw)
    return weight.reshape(n_out, -1)


# --- into the model ---------------------------------------------------------------------------------


def factorize_convs(model, rank=None, *, kind="channel", energy=None, sweeps=10):
    """Replace convolutions by two or three smaller ones each, a `Sequential`, in place.

    Bias and padding go where they leave the outputs of full rank as they were. The filters are new parameters, of
    the weight as layers read it: its views end here, and an optimizer has to be made anew.

    Units:  kind "channel", "spatial" or "tucker2". rank: {layer: rank}, or one integer, for tucker2 a pair (out, in)
            each; or `energy`, the share of Σ σ² to keep, for tucker2 on both sides. The last two are for every
            convolution without groups that they make smaller. `sweeps` is tucker2's. Returns {layer: rank} for
            what was replaced.
    Raises: ValueError for a rank that does not exist, one at which it would cost more (numbers, or products at each
            place of the output: see `conv_cost`), another kind, or a layer that is no Conv2d or has groups.
    Source: as the functions above.
    """
    if kind not in _SPLITS:
        raise ValueError(f"kind is one of {', '.join(_SPLITS)}; got {kind!r}")
    layers = {name: m for name, m in model.named_modules() if type(m) is nn.Conv2d and m.groups == 1}

    def from_energy(layer):
        weight = layer.weight.read().data
        if kind != "tucker2":
            return rank_for_energy(as_matrix(weight, kind), energy)
        sides = weight, weight.swapaxes(0, 1)
        return tuple(rank_for_energy(side.reshape(len(side), -1), energy) for side in sides)

    ranks = chosen_ranks(layers, rank, energy, from_energy, lambda layer, r: refusal(layer, r, kind))
    small = {name: split_conv(layers[name], r, kind, sweeps=sweeps) for name, r in ranks.items()}
    for name, layer in small.items():
        model.replace(name, layer)
    return ranks


def split_conv(layer, rank, kind="channel", *, sweeps=10):
    """A `Sequential` of small convolutions that computes what `layer` does, its weight cut to `rank`, at any cost.

    Units:  kind and rank as in `factorize_convs`.
    """
    parts = _SPLITS[kind](layer, layer.weight.read().data, rank, sweeps)
    return nn.Sequential(**parts).train(layer.training)


def conv_cost(layer, rank=None, kind="channel"):
    """What a convolution costs, or what stands in its place at a rank: the weight's numbers, and products.

        whole      C·O·kh·kw                            products the same
        channel    r (C·kh·kw + O)                      products the same
        spatial    r (C·kh + O·kw)                      products  r (C·kh·s_w + O·kw)
        tucker2    C·q + q·p·kh·kw + p·O                products  C·q·s_h·s_w + q·p·kh·kw + p·O

    Units:  products for each place of the output, on a large image: whatever runs before a stride runs at more
            places. Near the edge of a small one it is a little more; `measure.summary` counts exactly.
    """
    (n_out, n_in, kh, kw), (sh, sw) = layer.weight.shape, layer.stride
    if rank is None:
        return (math.prod(layer.weight.shape),) * 2
    if kind == "channel":
        return (rank * (n_in * kh * kw + n_out),) * 2
    if kind == "spatial":
        return tuple(rank * (n_in * kh * places + n_out * kw) for places in (1, sw))
    p, q = rank
    return tuple(n_in * q * places + q * p * kh * kw + p * n_out for places in (1, sh * sw))


def refusal(layer, rank, kind="channel"):
    """Why a convolution is not to be factored at this rank, with the numbers; "" if it gets smaller and quicker.

    Raises: ValueError for a rank that is no integer of 1 or more, or no pair of them.
    """
    if kind == "tucker2":
        _check_pair(rank)
    elif not positive(rank):
        raise ValueError(f"rank is an integer of 1 or more for kind {kind!r}; got {rank!r}")
    old, new, limit = conv_cost(layer), conv_cost(layer, rank, kind), 0
    if kind != "tucker2":  # its cost is no multiple of one rank
        limit = min((before - 1) // each for before, each in zip(old, conv_cost(layer, 1, kind)))
    costs = dict(zip(("numbers", "products at each place of the output"), zip(old, new)))
    return no_saving(rank, costs, limit, "smaller ranks, another kind, or leave this layer whole")


def _channel(layer, weight, rank, _):
    basis, mix = channel_svd(weight, rank)
    first = conv_of(basis, stride=layer.stride, padding=layer.padding)
    return {"basis": first, "mix": conv_of(mix, layer.bias)}


def _spatial(layer, weight, rank, _):
    (sh, sw), (ph, pw) = layer.stride, layer.padding
    vertical, horizontal = spatial_svd(weight, rank)
    first = conv_of(vertical, stride=(sh, 1), padding=(ph, 0))
    return {"vertical": first, "horizontal": conv_of(horizontal, layer.bias, stride=(1, sw), padding=(0, pw))}


def _tucker2(layer, weight, ranks, sweeps):
    narrow, core, wide = tucker2(weight, ranks, sweeps=sweeps)
    middle = conv_of(core, stride=layer.stride, padding=layer.padding)
    return {"narrow": conv_of(narrow), "core": middle, "wide": conv_of(wide, layer.bias)}


_SPLITS = {"channel": _channel, "spatial": _spatial, "tucker2": _tucker2}
KINDS = tuple(_SPLITS)


def conv_of(weight, bias=None, *, stride=1, padding=0):
    """A `Conv2d` with this weight (O, C, kh, kw), and the numbers of this bias parameter, or none."""
    n_out, n_in, *kernel_size = weight.shape
    layer = nn.Conv2d(n_in, n_out, tuple(kernel_size), stride, padding, bias=bias is not None, rng=0)
    layer.weight.data = weight
    if bias is not None:
        layer.bias.data = bias.read().data
    return layer


def _check_pair(ranks):
    if not isinstance(ranks, (tuple, list)) or len(ranks) != 2 or not all(positive(rank) for rank in ranks):
        raise ValueError(f"tucker2 takes two ranks of 1 or more, (channels out, channels in); got {ranks!r}")

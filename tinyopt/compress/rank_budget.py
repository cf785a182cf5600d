"""Which rank for which layer: one byte budget over all Linear and Conv2d layers, spent on singular values.

Start with these three: `greedy` chooses, on arrays; `options` lists what each layer could be; `factorize_to` puts the
factors into the model:

    ranks = factorize_to(model, 100_000)                                    # {layer: rank} of what was factored
    ranks = factorize_to(model, 100_000, images=digits.train.images[:500])  # by outputs, not by weights

What a layer keeps is measured as a share of its own Σ σ², not in squares: ReLU networks with (0.1 W₁, 10 W₂) and with
(W₁, W₂) compute the same, and a rule that reads squares would choose other ranks for them. Shares are multiplied, not
added: layers stand in a row, and what one has lost no other brings back. A sum would empty one layer to fill the rest.
"""

import collections
import dataclasses

import numpy as np

from tinyopt import backend, nn
from tinyopt.compress.conv_lowrank import KINDS, as_matrix, conv_cost, factorize_convs
from tinyopt.compress.conv_lowrank import refusal as conv_refusal
from tinyopt.compress.lowrank import factorize, refusal
from tinyopt.compress.whitened import factorize_outputs, output_spectra
from tinyopt.storage import pack

# --- functions on arrays ----------------------------------------------------------------------------


def greedy(sizes, errors, budget):
    """Choose an option for each layer, so that little is left out and the sizes sum to no more than a budget.

        start    the smallest option of each layer
        step     of all larger options of all layers that still fit:  the most  (e_now − e) / (s − s_now),  if above 0

    Along one layer σ² falls, and each rank costs the same: what a rank gains for each byte is less and less, so that
    the best step is to the next rank of some layer; or to the whole one, as soon as that gains more for each byte.

    Exact as long as the best step of all fits: no choice of as few bytes leaves less out. Once a step does not fit, it
    takes what does, and the best choice leaves out less by at most what that one step would have gained, times the
    part of it that the bytes left over could have paid. `bit_budget.cheapest` is exact, by dynamic programming.

    Shapes: sizes and errors, for each layer an array (K,) of numbers, K as it may be -> the option of each layer.
    Raises: ValueError if the smallest options together exceed the budget.
    Source: Fox (1966), "Discrete Optimization Via Marginal Analysis", Management Science 13(3).
    """
    chosen = [int(np.lexsort((e, s))[0]) for s, e in zip(sizes, errors)]
    room = budget - sum(int(s[i]) for s, i in zip(sizes, chosen))
    if not room >= 0:
        raise ValueError(f"a budget of {budget:,} is below the least possible, {budget - room:,}")
    while True:
        best, where = 0.0, None
        for layer, (s, e, now) in enumerate(zip(sizes, errors, chosen)):
            more, gain = s - s[now], e[now] - e
            slopes = np.where((more > 0) & (more <= room), gain / np.maximum(more, 1), 0)
            if slopes.max() > best:
                best, where = slopes.max(), (layer, int(slopes.argmax()))
        if where is None:
            return chosen
        layer, option = where
        room -= int(sizes[layer][option] - sizes[layer][chosen[layer]])
        chosen[layer] = option


# --- of a model -------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, eq=False)
class Options:
    """What a layer's weight could be: as it is, and at each rank that makes it smaller.

    Shapes: ranks, a list of K: None is as it is, the first; sizes and kept (K,).
    Units:  sizes, bytes in a file; kept, the share of Σ σ², in (0, 1].
    """

    ranks: list
    sizes: np.ndarray
    kept: np.ndarray


def options(model, kind="channel", images=None):
    """What each Linear and Conv2d could be, and what that costs and keeps: {layer: `Options`}.

    A layer has only one option if no rank saves bytes (and products: see `conv_lowrank.refusal`), if it has groups, or
    if its weight serves several layers; that weight counts once.

    Shapes: kind and images as in `factorize_to`.
    Units:  kept of tucker2 is a bound: it loses at most what both sides lose alone, together. As it is, a weight takes what
            it takes in a file, by its views: fewer bytes for a sparse or a quantized one.
    """
    layers = {name: m for name, m in model.named_modules() if type(m) in (nn.Linear, nn.Conv2d)}
    used, counted, found = collections.Counter(id(m.weight) for m in layers.values()), set(), {}
    spectra = spectra_of(model, kind, images)
    for name, layer in layers.items():
        whole = 0 if id(layer.weight) in counted else _stored_bytes(layer.weight)
        counted.add(id(layer.weight))
        alone = used[id(layer.weight)] == 1 and name in spectra
        cut = _cuts(layer, spectra[name], kind) if alone else []
        ranks, sizes, lost = zip((None, whole, 0.0), *((rank, size, e) for rank, size, e in cut if size < whole))
        found[name] = Options(list(ranks), np.array(sizes), np.maximum(1 - np.array(lost), 1e-12))
    return found


def spectra_of(model, kind="channel", images=None):
    """The singular values of each layer that can be factored: {layer: σ}, on the host; for tucker2 {layer: (σ, σ)}.

    Shapes: kind and images as in `factorize_to`; σ falls. With images it is that of the outputs.
    Raises: ValueError for another kind, or weights or images that are not finite.
    """
    if kind not in KINDS:
        raise ValueError(f"kind is one of {', '.join(KINDS)}; got {kind!r}")
    if images is not None:
        if kind != "channel":
            raise ValueError(f"with images, convolutions are factored by kind='channel' alone; got {kind!r}")
        return {name: _on_host(sigma) for name, sigma in output_spectra(model, images).items()}
    spectra = {}
    for name, layer in model.named_modules():
        if type(layer) not in (nn.Linear, nn.Conv2d) or getattr(layer, "groups", 1) > 1:
            continue
        weight = layer.weight.read().data
        if not bool(np.isfinite(weight).all()):
            raise ValueError(f"{name}.weight holds NaN or infinity: it has no SVD. Did training diverge?")
        if weight.ndim == 2:
            spectra[name] = _sigma(weight)
        elif kind == "tucker2":
            spectra[name] = tuple(_sigma(side.reshape(len(side), -1)) for side in (weight, weight.swapaxes(0, 1)))
        else:
            spectra[name] = _sigma(as_matrix(weight, kind))
    return spectra


def ranks_for_bytes(model, budget, *, kind="channel", images=None):
    """The ranks that `factorize_to` would use: {layer: rank}; a layer that stays as it is is left out."""
    found = options(model, kind, images)
    if all(len(layer.ranks) == 1 for layer in found.values()):
        raise ValueError(f"this {type(model).__name__} has no Linear or Conv2d that gets smaller by being factored")
    if isinstance(budget, bool) or not isinstance(budget, (int, float, np.number)):
        raise TypeError(f"budget is a number of bytes, such as 100_000; got {budget!r}")
    least, most = (sum(int(f(layer.sizes)) for layer in found.values()) for f in (np.min, lambda sizes: sizes[0]))
    if not least <= budget <= most:
        fix = (f"the least is {least:,}, at the lowest ranks" if budget < least else
               f"as they are they take {most:,}: nothing has to be factored")  # fmt: skip
        raise ValueError(f"budget is for the weights of {len(found)} layers, {least:,} to {most:,} bytes; "
                         f"got {budget:,}: {fix}")  # fmt: skip
    losses = [-np.log(layer.kept) for layer in found.values()]  # a product of shares is a sum of logarithms
    chosen = greedy([layer.sizes for layer in found.values()], losses, budget)
    ranks = {name: layer.ranks[option] for (name, layer), option in zip(found.items(), chosen)}
    return {name: rank for name, rank in ranks.items() if rank is not None}


def factorize_to(model, budget, *, kind="channel", images=None):
    """Factor the layers of a model until the weights of all fit a budget, in place; those that pay least stay whole.

        maximise  Π over layers of  (Σ over i ≤ r of σ_i²) / (Σ over all i of σ_i²)      so that  Σ bytes ≤ budget

    by `greedy` on the logarithms. A share of σ² is no share of the accuracy: measure, and fine-tune (with a new
    optimizer: the factors are new parameters).

    Units:  budget, bytes in the file for the weights of all Linear and Conv2d layers and for the factors in their
            place; biases, norms and the header come on top (`files.ledger` lists them). kind, of convolutions, as in
            `conv_lowrank`. Returns {layer: rank} of what was replaced.
    Shapes: images (n, ...), from the training part: σ are then those of the outputs' variance, and the factors those of
            `whitened.factorize_outputs`; None looks at the weights alone.
    Raises: ValueError for a budget below the least possible or above what the weights take as they are, no layer that
            gets smaller by being factored, another kind, or weights or images that are not finite; TypeError for a
            budget that is no number.
    Source: Kim, Khan & Kyung (2019), "Efficient Neural Network Compression", CVPR, arXiv:1811.12781 (the product of
            kept energies under a budget).
    Differs: they bound products or parameters, and search differently; here it is bytes in the file.
    """
    ranks = ranks_for_bytes(model, budget, kind=kind, images=images)
    if images is not None:
        factorize_outputs(model, images, ranks)
        return ranks
    dense = {name: rank for name, rank in ranks.items() if type(model.get(name)) is nn.Linear}
    convs = {name: rank for name, rank in ranks.items() if name not in dense}
    if dense:
        factorize(model, dense)
    if convs:
        factorize_convs(model, convs, kind=kind)
    return ranks


def _cuts(layer, sigma, kind):
    """(rank, bytes of the factors, share of Σ σ² left out) for each rank that makes a layer smaller."""
    each = layer.weight.read().data.dtype.itemsize
    if isinstance(layer, nn.Linear):
        shape, tails = layer.weight.shape, _tails(sigma)
        return [(r, each * r * sum(shape), tails[r]) for r in range(1, len(sigma) + 1) if not refusal(shape, r)]
    if kind == "tucker2":
        wide, narrow = map(_tails, sigma)
        pairs = [(p, q) for p in range(1, len(wide)) for q in range(1, len(narrow))]
        cuts = [(pair, min(1.0, wide[pair[0]] + narrow[pair[1]])) for pair in pairs]
    else:
        cuts = list(enumerate(_tails(sigma)))[1:]
    return [(r, each * conv_cost(layer, r, kind)[0], e) for r, e in cuts if not conv_refusal(layer, r, kind)]


def _tails(sigma):
    """The share of Σ σ² that each rank leaves out, from rank 0 on."""
    squares = sigma**2
    tails = [*np.cumsum(squares[::-1])[::-1].tolist(), 0.0]
    return [tail / (tails[0] or 1.0) for tail in tails]  # a weight of zeros leaves nothing out


def _stored_bytes(weight):
    return sum(len(data) for data in pack(weight, "dense", "packed")[1].values())


def _sigma(matrix):
    return _on_host(np.linalg.svd(matrix, compute_uv=False))


def _on_host(sigma):
    return backend.to_host(sigma).astype(np.float64)

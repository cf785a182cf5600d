"""Low rank by what a layer makes of data: keep the directions of its outputs, not of its weights.

Start with these three: `whitened_svd` and `output_spectrum`, on arrays; `factorize_outputs`, the loop over a model.

    factorize_outputs(model, digits.train.sample(500, rng=0).images, energy=0.99)

The SVD of a weight treats all inputs as equally likely, and independent of each other. Data are neither: what no
image contains need not be kept, and no label is needed to find out.

The least error of one layer's outputs is not always the best accuracy: the least squares count all places alike, also
those that a max-pooling behind a convolution throws away. Measure both ways.
"""

import numpy as np

from tinyopt import nn
from tinyopt.compress import conv_lowrank
from tinyopt.compress.lowrank import check_energy, check_rank, chosen_ranks, first_to_keep, refusal
from tinyopt.compress.rounding import checked_images, inputs_of
from tinyopt.errors import ShapeError
from tinyopt.measure import capture, inference


def whitened_svd(weight, gram, rank):
    """The factors of a given rank that change the outputs the least, in closed form.

        minimise ‖X (up down − W)ᵀ‖²  =  ‖(up down − W) S‖²        H = XᵀX = S Sᵀ
        W S = P Σ Qᵀ        up down = P_r Σ_r Q_rᵀ S⁻¹ = P_r P_rᵀ W        the minimum: Σ over i > r of σ_i²

    X S⁻ᵀ is white: its columns are orthonormal, so that an error of W S is one of the outputs, and Eckart & Young
    say the best there is. Going back takes S⁻¹, which an H with inputs that repeat has not; but
    Σ_r Q_rᵀ = P_rᵀ W S, so S⁻¹ cancels and is never formed. What is left are the principal axes P of the outputs.

    Shapes: weight W (O, I), gram H (I, I) of inputs X (n, I) -> up (O, rank), with orthonormal columns;
            down (rank, I); and the minimum, a number.
    Raises: ValueError for a rank outside 1..min(O, I), or numbers that are not finite; ShapeError for another H.
    Source: Wang, Zheng, Wan & Zhang (2024), "SVD-LLM: Truncation-aware Singular Value Decomposition for Large
            Language Model Compression", arXiv:2403.07378 (S from Cholesky's factors of H).
    Differs: S comes from the eigenvectors of H, and may be singular: H needs no damping.
    """
    check_rank(weight, rank)
    p, sigma = output_spectrum(weight, gram)
    up = p[:, :rank]
    return up, up.T @ weight, float((sigma[rank:] ** 2).sum())


def output_spectrum(weight, gram):
    """The principal axes of a layer's outputs, and how long the outputs are along each: P and σ of W S, H = S Sᵀ.

        ‖X Wᵀ P_i‖² = σ_i²        σ falls

    Shapes: weight (O, I), gram (I, I) -> P (O, min(O, I)), σ (min(O, I),).
    Raises: as `whitened_svd`.
    """
    if gram.shape != (weight.shape[1],) * 2:
        raise ShapeError(f"gram is XᵀX, ({weight.shape[1]}, {weight.shape[1]}) for this weight; got {gram.shape}")
    for name, array in (("weight", weight), ("gram", gram)):
        if not bool(np.isfinite(array).all()):
            hint = "Did training diverge, or do the calibration data hold NaN?"
            raise ValueError(f"{name} must be finite; some of it is NaN or infinite. {hint}")
    values, vectors = np.linalg.eigh(gram)
    root = vectors * np.sqrt(np.maximum(values, 0))  # S; rounding may leave values just below 0
    p, sigma, _ = np.linalg.svd(weight @ root, full_matrices=False)
    return p, sigma


def factorize_outputs(model, images, rank=None, *, energy=None):
    """Replace Linear and Conv2d layers by two thin ones each, those that change their outputs the least, in place.

    A Linear becomes a `LowRankLinear`; a Conv2d one of the same kernel to few channels, and one of 1 × 1. All
    layers see the inputs that they have in the whole model. The factors are new parameters: views end here, and an
    optimizer has to be made anew. A bias makes up for what is lost on average, so that the factors need not:

        minimise over both  ‖X (up down − W)ᵀ + 1 (b′ − b)ᵀ‖²        b′ = b + (W − up down) x̄,  H of the x − x̄

    Shapes: images (n, ...), from the training part: a few hundred.
    Units:  rank: {layer: rank}, or one integer; or `energy`, the share of its outputs' variance that each layer keeps.
            The last two for every layer that they make smaller. Returns {layer: (rank, error)} for what was
            replaced: error is the share of the outputs' variance that is left out; without a bias, of their squares.
    Raises: ValueError for a rank outside 1..min(O, I), one at which factoring would cost more, images or weights that
            are not finite, a layer that does not run, has groups, or is neither Linear nor Conv2d.
    Source: as `whitened_svd`; for convolutions Zhang, Zou, He & Sun (2016), "Accelerating Very Deep Convolutional
            Networks for Classification and Detection", arXiv:1505.06798.
    Differs: SVD-LLM and Zhang et al. give a layer what the factored layers before it make.
    """
    if energy is not None:
        check_energy(energy, "the outputs' variance")
    layers, ran = _layers_that_run(model, images)
    names = {id(layer): name for name, layer in layers.items()}

    def from_energy(layer):
        _, sigma = output_spectrum(*_matrices(layer, ran[names[id(layer)]])[:2])
        return first_to_keep(sigma, energy)

    ranks = chosen_ranks(layers, rank, energy, from_energy, _refusal)
    thin, results = {}, {}
    for name, r in ranks.items():
        weight, gram, mean = _matrices(layers[name], ran[name])
        up, down, left_out = whitened_svd(weight, gram, r)
        whole = max(float(((weight @ gram) * weight).sum()), np.finfo(np.float64).tiny)
        thin[name] = _thin_layer(layers[name], up, down, (weight - up @ down) @ mean)
        results[name] = r, left_out / whole
    for name, layer in thin.items():
        model.replace(name, layer)
    return results


def output_spectra(model, images):
    """How long the outputs of each Linear and Conv2d are along their principal axes: {layer: σ}, of what they vary.

    Shapes: images (n, ...), from the training part -> σ (min(O, I),), falling; layers that do not run, or have groups,
            are left out.
    Raises: ValueError for images or weights that are not finite.
    """
    layers, ran = _layers_that_run(model, images)
    return {name: output_spectrum(*_matrices(layer, ran[name])[:2])[1] for name, layer in layers.items()}


def _layers_that_run(model, images):
    """{name: layer} of those that can be factored, and what `capture` saw of all layers."""
    images = checked_images(model, images)
    with inference(model), capture(model) as ran:
        model(images)
    kinds = nn.Linear, nn.Conv2d
    layers = {name: layer for name, layer in model.named_modules() if type(layer) in kinds and name in ran
              and getattr(layer, "groups", 1) == 1}  # fmt: skip
    return layers, ran


def _matrices(layer, ran):
    """The weight as a matrix (O, I), XᵀX (I, I) and the mean x̄ (I,) of its inputs, in float64.

    With a bias, XᵀX is of the x − x̄; without one, of the x, and x̄ is taken as 0.
    """
    weight = layer.weight.read().data
    matrix = weight.reshape(len(weight), -1).astype(np.float64)
    gram = sum(x[0].T @ x[0] for x in inputs_of(layer, ran))
    if layer.bias is None:
        return matrix, gram, gram[0] * 0
    sums, n = gram[:-1, -1:], gram[-1:, -1:]  # the products with the 1 for the bias: Σ x (I, 1), and their count
    return matrix, gram[:-1, :-1] - sums * sums.T / n, (sums / n)[:, 0]


def _refusal(layer, rank):
    """Why a layer is not to be factored at this rank; "" if it gets smaller."""
    if isinstance(layer, nn.Conv2d):
        return conv_lowrank.refusal(layer, rank, "channel")
    return refusal(layer.weight.shape, rank)


def _thin_layer(layer, up, down, shift):
    """What computes x downᵀ upᵀ + b + shift in the place of a Linear or Conv2d, in its type of floats."""
    up, down, shift = (part.astype(layer.weight.data.dtype) for part in (up, down, shift))
    if isinstance(layer, nn.Conv2d):
        basis = down.reshape(len(down), layer.in_channels, *layer.kernel_size)
        first = conv_lowrank.conv_of(basis, stride=layer.stride, padding=layer.padding)
        last = conv_lowrank.conv_of(up[:, :, None, None], layer.bias)
        thin = nn.Sequential(basis=first, mix=last)
    else:
        n_in, n_out, rank = layer.in_features, layer.out_features, len(down)
        thin = last = nn.LowRankLinear(n_in, n_out, rank, bias=layer.bias is not None, rng=0)
        thin.up.data, thin.down.data = up, down
    if layer.bias is not None:
        last.bias.data = layer.bias.read().data + shift
    return thin.train(layer.training)

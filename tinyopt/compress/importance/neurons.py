"""Importance of whole neurons and filters; functions on arrays, one score for each channel, higher = keep.

Start with these three: `l1`, of the weights alone; `apoz`, of what a channel says; `mutual_information`, of what it
says about the label. `slimmed` is the training that makes `bn_scale` mean something.

    activation (N, C, ...): what a channel hands on, after its norm and ReLU, at each place of N images
    pooled (N, C): its mean over the places
"""

import numpy as np

from tinyopt.errors import ShapeError
from tinyopt.nn.norm import BatchNorm
from tinyopt.train import classify

# --- of weights ---------------------------------------------------------------------------------------


def l1(weight):
    """The sum of a filter's magnitudes.

        s_c = Σ |w| over the filter's inputs and pixels

    Shapes: weight (C, ...) -> s (C,).
    Source: Li, Kadav, Durdanovic, Samet & Graf (2017), "Pruning Filters for Efficient ConvNets",
            arXiv:1608.08710, Section 3.1.
    """
    return abs(weight).reshape(len(weight), -1).sum(axis=1)


def l2(weight):
    """The length of a filter.

        s_c = √(Σ w²)

    Shapes: weight (C, ...) -> s (C,).
    Source: He, Kang, Dong, Fu & Yang (2018), "Soft Filter Pruning for Accelerating Deep Convolutional Neural
            Networks", arXiv:1808.06866 (p = 2).
    """
    return np.sqrt((weight**2).reshape(len(weight), -1).sum(axis=1))


def bn_scale(scale):
    """The factor by which batch norm multiplies a channel, after it has made its deviation 1.

        s_c = |γ_c|        y = γ (x − mean) / √(var + ε) + β

    Train with `slimmed` first: else all γ stay near 1, and their order is chance.

    Shapes: scale, γ (C,) -> s (C,).
    Source: Liu, Li, Shen, Huang, Yan & Zhang (2017), "Learning Efficient Convolutional Networks through Network
            Slimming", arXiv:1708.06519.
    """
    return abs(scale)


def slimmed(strength=1e-4, objective=classify):
    """An objective for `train.fit` that draws batch norm's scales towards 0: network slimming.

        L′ = L + λ · Σ over all norms and channels of |γ|        ∂/∂γ = λ · sign(γ), 0 at 0

    Units:  strength, λ: nats for each unit of |γ|.
    Raises: ValueError for a strength below 0, and in training for a model without batch norm.
    Source: Liu et al. (2017), arXiv:1708.06519, Equation 1.
    """
    if not strength >= 0:
        raise ValueError(f"strength multiplies Σ |γ|, which is to become small: it is 0 or more; got {strength}")

    def with_scales(model, images, labels):
        scales = [module.weight for module in model.modules() if isinstance(module, BatchNorm)]
        if not scales:
            raise ValueError(f"slimming shrinks the scales of batch norm; this {type(model).__name__} has none")
        loss, outputs = objective(model, images, labels)
        for scale in scales:
            loss = loss + abs(scale).sum() * strength
        return loss, outputs

    return with_scales


# --- of activations -----------------------------------------------------------------------------------


def channel_taylor(activation, gradient):
    """How much the loss of an example would change without the channel, to first order.

        s_c = mean over examples of | mean over places of z · ∂L/∂z |

    Shapes: activation z and gradient (N, C, ...), of each example's own loss -> s (C,).
    Source: Molchanov, Tyree, Karras, Aila & Kautz (2017), "Pruning Convolutional Neural Networks for Resource
            Efficient Inference", arXiv:1611.06440, Section 2.2.
    Differs: they divide by each layer's ‖s‖₂, to compare layers; `channel_scores` leaves that to you.
    """
    return abs(_by_place(activation * gradient).mean(axis=2)).mean(axis=0)


def apoz(activation):
    """The share of a channel's outputs that are exactly 0: after a ReLU, how often it is silent. Low = keep.

        APoZ_c = mean over examples and places of [z = 0]        as a score: 1 − APoZ

    Shapes: activation (N, C, ...) -> shares (C,), in [0, 1].
    Source: Hu, Peng, Tai & Tang (2016), "Network Trimming: A Data-Driven Neuron Pruning Approach towards
            Efficient Deep Architectures", arXiv:1607.03250.
    """
    return _by_place(activation == 0).mean(axis=(0, 2)).astype(activation.dtype)


def active_share(activation):
    """How often a channel is not silent.

        s_c = 1 − APoZ_c

    Shapes: activation (N, C, ...) -> s (C,), in [0, 1].
    Source: as `apoz`.
    """
    return 1 - apoz(activation)


def mean_activation(activation):
    """How strong a channel is on average.

        s_c = mean over examples and places of |z|

    Shapes: activation (N, C, ...) -> s (C,).
    Source: Molchanov et al. (2017), arXiv:1611.06440, Section 2.2 ("Activation").
    Differs: magnitudes, so that channels without a ReLU do not cancel.
    """
    return abs(_by_place(activation)).mean(axis=(0, 2))


def entropy(pooled, bins=10):
    """How much a channel's answers differ from image to image: one that always says the same can go.

        s_c = − Σ over bins b of p_b log p_b        p_b = share of the images whose answer falls into bin b

    The bins divide the channel's range, smallest to largest, evenly. 0 for a constant channel, log(bins) at most.

    Shapes: pooled (N, C) -> s (C,).
    Units:  nats.
    Raises: ValueError for fewer bins than 2; ShapeError for other shapes.
    Source: Luo & Wu (2017), "An Entropy-based Pruning Method for CNN Compression", arXiv:1706.05791.
    """
    numbers = _bin_numbers(pooled, bins)
    counts = _counts(numbers, bins)  # (C, bins)
    return _entropy_of(counts / len(pooled)).astype(pooled.dtype)


def mutual_information(pooled, labels, bins=10):
    """How much a channel's answer says about the class.

        s_c = Σ over bins b and classes y of p(b, y) log( p(b, y) / (p(b) p(y)) )  =  H(b) + H(y) − H(b, y)

    0 if it is independent of the class, and at most the entropy of the classes. Of few examples it comes out too
    large, by about (bins − 1)(classes − 1) / (2 N), which is alike for all channels.

    Shapes: pooled (N, C); labels (N,), integers from 0 -> s (C,).
    Units:  nats.
    Raises: ValueError for fewer bins than 2; ShapeError for other shapes.
    Source: Battiti (1994), "Using mutual information for selecting features in supervised neural net learning",
            IEEE Trans. Neural Networks 5(4); for channels: Molchanov et al. (2017), arXiv:1611.06440, Section 2.2.
    Differs: Battiti selects inputs, and subtracts what the chosen ones already say.
    """
    numbers = _bin_numbers(pooled, bins)
    if labels.shape != pooled.shape[:1]:
        raise ShapeError(f"each example needs one label; got pooled {pooled.shape} and labels {labels.shape}")
    classes = int(labels.max()) + 1
    joint = _counts(numbers * classes + labels[:, None], bins * classes) / len(pooled)  # (C, bins · classes)
    joint = joint.reshape(-1, bins, classes)
    together = _entropy_of(joint.reshape(len(joint), -1))
    return (_entropy_of(joint.sum(axis=2)) + _entropy_of(joint.sum(axis=1)) - together).astype(pooled.dtype)


def _by_place(activation):
    """(N, C, ...) as (N, C, places)."""
    if activation.ndim < 2:
        raise ShapeError(f"activations are (N, C, ...), N examples of C channels; got {activation.shape}")
    return activation.reshape(*activation.shape[:2], -1)


def _bin_numbers(pooled, bins):
    """In which of its channel's bins each answer falls: (N, C), from 0 to bins − 1."""
    if bins < 2:
        raise ValueError(f"bins is how many answers are told apart, 2 or more; got {bins}")
    if pooled.ndim != 2 or len(pooled) == 0:
        raise ShapeError(f"pooled activations are (N, C), one number an example and channel; got {pooled.shape}")
    low, high = pooled.min(axis=0), pooled.max(axis=0)
    width = high - low
    share = (pooled - low) / (width + (width == 0))
    return np.minimum((share * bins).astype(np.int64), bins - 1)  # the largest falls into the last bin


def _counts(numbers, n):
    """How often each of 0 ... n − 1 stands in each column: numbers (N, C) -> (C, n)."""
    columns = np.ones_like(numbers[0]).cumsum() - 1  # 0, 1, 2, ..., on the same device
    return np.bincount((columns * n + numbers).reshape(-1), minlength=len(columns) * n).reshape(-1, n)


def _entropy_of(p):
    """−Σ p log p along axis 1, with 0 log 0 = 0."""
    return -(p * np.log(p + (p == 0))).sum(axis=1)

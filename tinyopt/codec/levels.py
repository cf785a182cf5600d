"""Levels that lie unevenly: choose a few numbers for an array, and write each weight as the nearest of them.

    power of two   0, ±2^e, ±2^(e−1), ...     a product with one is a shift of bits
    quantile       as many weights on each    levels lie dense where weights do
    k-means        the smallest squared error, for its start: `compress/share.kmeans`

Start here: `nearest_level`, then `quantile_levels` and `power_of_two_levels`. The levels and the labels of an
array are a codebook (`codebook.py`); `compress.quantize_levels` puts them into a model.
"""

import math

import numpy as np

from tinyopt.errors import DtypeError, ShapeError


def nearest_level(x, levels):
    """For each number the place of the level that is nearest to it; half way goes up.

        label = how many of the midpoints (l[j] + l[j+1]) / 2 are ≤ x        |x − levels[label]| is smallest

    Shapes: x (...) -> labels (...), the smallest unsigned integers that hold them; levels (K,), K ≥ 1, ascending.
    Raises: ShapeError for levels that are no row; ValueError if they do not ascend, or on NaN (both looked for
            only on the host).
    """
    if levels.ndim != 1 or len(levels) == 0:
        raise ShapeError(f"levels are a row of numbers, (K,) with one or more; got shape {levels.shape}")
    if isinstance(levels, np.ndarray) and not (np.diff(levels) > 0).all():
        raise ValueError("levels have to ascend, each once. Use np.unique(levels)")
    if isinstance(x, np.ndarray) and np.isnan(x).any():
        raise ValueError(f"{np.isnan(x).sum()} of {x.size} numbers are NaN, which no level is near to")
    exact = levels.astype(np.float64)
    midpoints = exact[1:] / 2 + exact[:-1] / 2
    return np.searchsorted(midpoints, x, side="right").astype(np.min_scalar_type(len(levels) - 1))


def quantile_levels(x, bits):
    """Levels for which each label is used equally often: the middles of 2^bits equally full pieces of sorted x.

        level[i] = the (i + ½) / 2^bits quantile of x

    A label then carries as much information as `bits` bits can, but a rare large weight has a far level: the
    squared error is not the smallest.

    Shapes: x, any shape -> levels (K,), ascending, in x's dtype; K < 2^bits if quantiles coincide.
    Units:  bits, 1 to 16.
    Raises: ValueError for other bits, NaN or Inf; DtypeError for what is no float32 or float64; ShapeError if empty.
    Source: Dettmers, Lewis, Shleifer & Zettlemoyer (2022), "8-bit Optimizers via Block-wise Quantization",
            arXiv:2110.02861 (quantile quantization).
    Differs: they average the quantiles at both ends of a piece; the middle needs no quantile at 0 and 1.
    """
    _check(x, bits, range(1, 17), "quantile_levels")
    shares = [(i + 0.5) / 2**bits for i in range(2**bits)]
    return np.unique(np.quantile(x.reshape(-1).astype(np.float64), shares).astype(x.dtype))


def power_of_two_levels(x, bits):
    """Zero, and powers of two of both signs, counted down from the one that is near the largest number.

        levels = 0, ±2^e for e = top, top − 1, ...        top = ⌊log₂(4/3 · max|x|)⌋

    With 4/3 of it, the largest number rounds to the *nearest* power: 1.4 to 1, 1.6 to 2.

    Shapes: x, any shape -> levels (K,), ascending, in x's dtype; K = 2^bits − 1, or fewer where powers come out 0.
    Units:  bits, 2 to 8: 2^(bits − 1) − 1 exponents. 2 bits are −2^top, 0, 2^top.
    Raises: as `quantile_levels`.
    Source: Zhou, Yao, Guo, Xu & Chen (2017), "Incremental Network Quantization: Towards Lossless CNNs with
            Low-Precision Weights", arXiv:1702.03044, Section 2.1; activations too: Miyashita, Lee
            & Murmann (2016), "Convolutional Neural Networks using Logarithmic Data Representation", arXiv:1603.01025.
    Differs: INQ keeps a bit for zero and so has 2^(bits − 2) exponents; all labels are used here. The second
            paper rounds the logarithm: 1.45 goes to 2, here to 1.
    """
    _check(x, bits, range(2, 9), "power_of_two_levels")
    largest = float(abs(x).max())
    if largest == 0:
        return np.zeros_like(x, shape=(1,))
    mantissa, exponent = math.frexp(largest)  # mantissa · 2^exponent, in [0.5, 1): exact, which a logarithm is not
    top = exponent if mantissa >= 0.75 else exponent - 1
    powers = [2.0 ** (top - i) for i in range(2 ** (bits - 1) - 1)]
    positive = np.unique(np.array(powers, x.dtype))
    return np.unique(np.concatenate([-positive, np.zeros(1, x.dtype), positive]))


def _check(x, bits, allowed, who):
    """Refuse what has no levels."""
    if bits not in allowed:
        raise ValueError(f"{who} needs bits in {allowed.start}..{allowed.stop - 1}; got {bits!r}")
    if getattr(x, "dtype", None) not in (np.float32, np.float64):
        raise DtypeError(f"{who} takes an array of float32 or float64; got {getattr(x, 'dtype', type(x))}. "
                         "Use x.astype(np.float32).")  # fmt: skip
    if x.size == 0:
        raise ShapeError(f"{who} needs at least one number; got shape {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError(f"{who} needs finite numbers; {np.count_nonzero(~np.isfinite(x))} of {x.size} are NaN or Inf. "
                         "Look for the training step that made them.")  # fmt: skip

"""GPTQ: round one input's weights after the other, and let the rest make up for each error.

Start with these two: `column_by_column`, on arrays; `gptq`, the loop over a model. `rounding.py` says what is
minimised.

    gptq(model, digits.train.sample(500, rng=0).images, bits=4)
"""

import numpy as np

from tinyopt.compress.rounding import nearest, round_layers


def column_by_column(weight, gram, scale, zero_point, *, low, high, damping=0.01, act_order=False):
    """Round column j of all rows, spread its error over the columns after it, and go on to the next.

        e = (w_j − ŵ_j) / U_jj        w_k ← w_k − e · U_jk   for k > j        Uᵀ U = (H + λ I)⁻¹, U upper triangular

    The best that the columns after j can do, those before being rounded and fixed, is the update of Optimal Brain
    Surgeon with the inverse of what is left of H. Rows j of all these inverses, each divided by the root of its
    first entry, are the rows of U: one Cholesky factor serves for all steps and all rows.

    Shapes: weight (..., O, I), gram H = XᵀX (..., I, I); scale and zero_point broadcast against weight -> q,
            shape of weight, whole numbers. A weight of exactly 0 stays 0.
    Units:  λ = damping · mean of H's diagonal. act_order: columns with the largest inputs H_jj come first, while
            many others can still make up for them.
    Raises: ValueError for a negative damping, numbers that are not finite, or an H + λ I without an inverse.
    Source: Frantar, Ashkboos, Hoefler & Alistarh (2023), "GPTQ: Accurate Post-Training Quantization for Generative
            Pre-trained Transformers", arXiv:2210.17323, Algorithm 1 (act_order is from their code).
    Differs: they collect updates by blocks of 128 columns, which saves memory traffic and gives the same numbers.
    """
    _check(weight, gram, damping)
    arrays = [weight, *(np.broadcast_to(part, weight.shape) for part in (scale, zero_point))]
    if act_order:
        order = np.argsort(-gram.diagonal(axis1=-2, axis2=-1), axis=-1)
        gram = _ordered(_ordered(gram, order).swapaxes(-1, -2), order)
        arrays = [_ordered(array, order) for array in arrays]
    weight, scale, zero_point = arrays
    upper = _inverse_factor(gram, damping)
    rest, q = weight.copy(), np.zeros_like(weight)
    for j in range(weight.shape[-1]):
        this, after = slice(j, j + 1), slice(j + 1, None)
        now, s, zero = rest[..., this], scale[..., this], zero_point[..., this]  # (..., O, 1)
        q[..., this] = np.where(weight[..., this] == 0, zero, nearest(now, s, zero, low=low, high=high))
        error = (now - (q[..., this] - zero) * s) / upper[..., this, this]
        rest[..., after] -= error * upper[..., this, after]
    return _ordered(q, np.argsort(order, axis=-1)) if act_order else q


def gptq(model, images, bits=4, *, damping=0.01, act_order=False, skip=(), **line):
    """Round every Linear and Conv2d of a model by `column_by_column`, in place, first layer first.

    For each row the better of it and the nearest integers is kept. Biases stay as they are.

    Shapes, Units, Raises: as `rounding.round_layers`; `line` is as in `quantize`: per_channel, symmetric, ...
    Source: as `column_by_column`.
    """

    def choose(*arrays, **ends):
        return column_by_column(*arrays, **ends, damping=damping, act_order=act_order)

    return round_layers(model, images, choose, bits, skip=skip, **line)


def _inverse_factor(gram, damping):
    """U, upper triangular with Uᵀ U = (H + λ I)⁻¹."""
    damped = gram.copy(order="C")
    mean = gram.diagonal(axis1=-2, axis2=-1).mean(axis=-1)[..., None]  # (..., 1)
    tiny = float(np.finfo(gram.dtype).tiny) ** 0.5  # an H of zeros says nothing: every weight goes to its nearest
    diagonal = damped.reshape(*gram.shape[:-2], -1)[..., :: gram.shape[-1] + 1]
    diagonal += np.maximum(damping * mean, tiny)
    try:
        return np.linalg.cholesky(np.linalg.inv(damped)).swapaxes(-1, -2)
    except np.linalg.LinAlgError:
        raise ValueError("some inputs say the same, so H has no inverse: take a damping such as 0.01") from None


def _ordered(array, order):
    """Columns in another order: array (..., O, I), order (..., I)."""
    return np.take_along_axis(array, np.broadcast_to(order[..., None, :], array.shape), axis=-1)


def _check(weight, gram, damping):
    if not damping >= 0:
        raise ValueError(f"damping is a share of H's mean diagonal, 0 or more; got {damping}")
    if gram.shape[-2:] != (weight.shape[-1],) * 2:
        raise ValueError(f"gram is XᵀX, ({weight.shape[-1]}, {weight.shape[-1]}) for this weight; got {gram.shape}")
    for name, array in (("weight", weight), ("gram", gram)):
        if not bool(np.isfinite(array).all()):
            raise ValueError(f"{name} must be finite; some of it is NaN or infinite. Look at the calibration data")

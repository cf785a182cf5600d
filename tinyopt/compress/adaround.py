"""AdaRound: learn for each weight whether to round it up or down.

Start with these three: `rectified`, a sigmoid that reaches 0 and 1; `learned`, gradient descent on arrays;
`adaround`, the loop over a model. `rounding.py` says what is minimised.

    adaround(model, digits.train.sample(500, rng=0).images, bits=4)
"""

import numpy as np

from tinyopt.compress.rounding import nearest, output_error, round_layers
from tinyopt.nn import Parameter
from tinyopt.optim import Adam

ZETA, GAMMA = 1.1, -0.1  # the sigmoid is stretched to this range, then cut to [0, 1]


def rectified(v):
    """A sigmoid that reaches 0 and 1, and its slope, which is 0 where it is cut.

        h = clip(σ(v) (ζ − γ) + γ, 0, 1)        ζ = 1.1, γ = −0.1
    """
    sigmoid = 1 / (1 + np.exp(-v))
    stretched = sigmoid * (ZETA - GAMMA) + GAMMA
    h = np.clip(stretched, 0.0, 1.0)
    return h, (ZETA - GAMMA) * sigmoid * (1 - sigmoid) * ((stretched > 0) & (stretched < 1))


def push(h, beta):
    """The slope of how undecided h in [0, 1] is: away from 1/2, towards 0 or 1.

        f = 1 − |2h − 1|^β        f′ = −2β |2h − 1|^(β − 1) sign(2h − 1)

    For a large β it is 0 but near the two ends; for β = 2 it pushes everywhere.
    """
    away = 2 * h - 1
    return -2 * beta * abs(away) ** (beta - 1) * np.sign(away)


def learned(
    weight, gram, scale, zero_point, *, low, high, steps=500, lr=0.05, strength=20.0, beta=(20, 2), warm_up=0.2
):
    """Find for each weight whether to round it down or up, by gradient descent on a soft choice h in [0, 1].

        ŵ = scale · (clip(⌊w / scale⌋ + h + zero_point, low, high) − zero_point)
        minimise   E(ŵ) / Ē + strength · Σ 1 − |2h − 1|^β        E = Σ over rows of ‖X (ŵ − w)‖²

    The gradient of E is 2 (ŵ − w) H: no batch is drawn, H has seen all inputs. β falls from 20 to 2 after the
    warm-up: at first only the error counts, in the end every h is driven to 0 or 1.

    Shapes: weight (..., O, I), gram H = XᵀX (..., I, I); scale and zero_point broadcast against weight -> q, shape
            of weight, whole numbers. A weight of exactly 0 stays 0.
    Units:  Ē is the error of the nearest integers for one weight on average, so that `strength` means the same in
            every layer; warm_up is a share of the steps; lr is Adam's.
    Start:  h = w / scale − ⌊w / scale⌋, so that ŵ = w.
    Raises: ValueError for steps below 1, or numbers that are not finite.
    Source: Nagel, Amjad, van Baalen, Louizos & Blankevoort (2020), "Up or Down? Adaptive Rounding for Post-Training
            Quantization", arXiv:2004.10568, Section 3.2, Equations 21 to 25.
    Differs: they draw batches of inputs; we use H, and divide by Ē. Their Equation 25 compares activations after the
            ReLU, and the inputs of the whole model with those of the rounded; here both see the rounded model's.
    """
    _check(weight, gram, steps)
    near = nearest(weight, scale, zero_point, low=low, high=high)
    typical = output_error((near - zero_point) * scale - weight, gram).sum() / weight.size
    typical = np.maximum(typical, float(np.finfo(weight.dtype).tiny) ** 0.5)
    floor, part = np.floor(weight / scale) + zero_point, weight / scale - np.floor(weight / scale)
    v = Parameter(-np.log((ZETA - GAMMA) / (part - GAMMA) - 1))  # the inverse of h
    adam, warm = Adam([v], lr=lr), int(warm_up * steps)
    for step in range(steps):
        h, slope = rectified(v.data)
        soft = floor + h
        change = (np.clip(soft, low, high) - zero_point) * scale - weight
        by_h = 2 * (change @ gram) * scale * ((soft >= low) & (soft <= high)) / typical
        if step >= warm:
            done = (step - warm) / max(1, steps - 1 - warm)
            by_h = by_h + strength * push(h, beta[0] + (beta[1] - beta[0]) * done)
        v.grad = by_h * slope
        adam.step()
    q = np.clip(floor + (rectified(v.data)[0] >= 0.5), low, high)
    return np.where(weight == 0, zero_point, q)


def adaround(model, images, bits=4, *, steps=500, lr=0.05, strength=20.0, skip=(), **line):
    """Round every Linear and Conv2d of a model by `learned`, in place, first layer first.

    For each row the better of it and the nearest integers is kept. Biases stay as they are.

    Shapes, Units, Raises: as `rounding.round_layers`; `line` is as in `quantize`: per_channel, symmetric, ...
    Source: as `learned`.
    """

    def choose(*arrays, **ends):
        arrays = [array.astype(model.parameters()[0].dtype) for array in arrays]  # float32 is twice as fast
        return learned(*arrays, **ends, steps=steps, lr=lr, strength=strength).astype(np.float64)

    return round_layers(model, images, choose, bits, skip=skip, **line)


def _check(weight, gram, steps):
    if steps < 1:
        raise ValueError(f"steps of gradient descent are 1 or more; got {steps}")
    for name, array in (("weight", weight), ("gram", gram)):
        if not bool(np.isfinite(array).all()):
            raise ValueError(f"{name} must be finite; some of it is NaN or infinite. Look at the calibration data")

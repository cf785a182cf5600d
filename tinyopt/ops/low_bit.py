"""The rules of binary and ternary weights: two or three values, and the gradients with which their papers train them.

Start with `binary_weight`, then `ternary_weight`, then `trained_ternary_weight`. All are straight-through, as those
in `view.py`. They stand behind the views of `nn/low_bit.py`, and the layers of `nn/trained_ternary.py`.
"""

import numpy as np

from tinyopt.ops.rule import op


@op
def binary_weight(x, scale, *, limit=1.0, share=0.0):
    """Keep the sign of each weight: one bit. Zero counts as positive.

        y = s · sign(x)        sign(x) = +1 if x ≥ 0, else −1
        ∂L/∂x = g · (share + s / limit · 1[|x| ≤ limit])

    The derivative of the sign is taken for that of clip(x / limit, −1, 1): 1 / limit inside, 0 where it is clipped.
    Two papers are two choices of the numbers:

        BinaryConnect    s = limit = H, a constant            ∂L/∂x = g · 1[|x| ≤ H]
        XNOR-Net         s = α = mean |x|, limit = 1          ∂L/∂x = g · (1/n + α · 1[|x| ≤ 1])        share = 1/n

    1/n is how α itself moves with x: dα/dx = sign(x) / n, times sign(x).

    Shapes: x (...); scale broadcasts against x -> y, as x.
    Source: Courbariaux, Bengio & David (2015), "BinaryConnect: Training Deep Neural Networks with binary weights
            during propagations", arXiv:1511.00363, Equation 1 and Section 2.4 (clipping); Rastegari, Ordonez,
            Redmon & Farhadi (2016), "XNOR-Net: ImageNet Classification Using Binary Convolutional Neural Networks",
            arXiv:1603.05279, Section 3.1.
    Differs: XNOR-Net's 1/n is the paper's. It leaves out that α moves all other weights of its filter as well; the
            whole term would be sign(x) / n · Σ g · sign(x) over the filter.
    """
    inside = abs(x) <= limit
    return np.where(x >= 0, scale, -scale), (lambda g: g * (share + scale / limit * inside), None)


@op
def ternary_weight(x, threshold, positive, negative):
    """Three values: small weights become 0, the others one of two.

        y = positive where x > threshold,  −negative where x < −threshold,  else 0
        ∂L/∂x = g                                                  (straight-through)

    Shapes: x (...); the other three broadcast against x -> y, as x.
    Source: Li, Zhang & Liu (2016), "Ternary Weight Networks", arXiv:1605.04711, where positive and negative are one
            number α; it trains as BinaryConnect does, with the gradient of y for that of x.
    """
    return (x > threshold) * positive - (x < -threshold) * negative, (lambda g: g, None, None, None)


@op
def trained_ternary_weight(x, positive, negative, *, fraction):
    """Three values, of which two are learned.

        Δ = fraction · max |x|        P = x > Δ        N = x < −Δ
        y = W_p on P,  −W_n on N,  else 0
        ∂L/∂W_p = Σ over P of g        ∂L/∂W_n = −Σ over N of g
        ∂L/∂x = g · W_p on P,  g · W_n on N,  else g

    Shapes: x (...); positive = W_p and negative = W_n broadcast against x -> y, as x.
    Source: Zhu, Han, Mao & Dally (2017), "Trained Ternary Quantization", arXiv:1612.01064, Equations 6 to 9.
    Differs: their Equation 7 prints the gradient of W_n without its minus; but W_n stands in y as −W_n.
    """
    threshold = abs(x).max() * fraction
    above, below = x > threshold, x < -threshold
    slope = above * positive + below * negative + (abs(x) <= threshold)
    pullbacks = (lambda g: g * slope, lambda g: g * above, lambda g: -g * below)
    return above * positive - below * negative, pullbacks

"""The rules behind parameter views: what a masked, quantized or shared weight computes. See `nn/views.py`.

Two of these are *straight-through*: their value is a rounding, whose true derivative is 0 almost
everywhere, and their pullback pretends that it was the identity, so that what lies below can learn.
"""

import numpy as np

from tinyopt.ops.rule import op


@op
def mask(x, keep):
    """Set the weights that are not kept to zero.        ∂L/∂x = g where kept, else 0

    Shapes: x, and keep (Booleans) alike.
    """
    return x * keep, (lambda g: g * keep, None)


@op
def lookup(codebook, labels):
    """Read each weight from a short list of shared values.

        y[i] = codebook[labels[i]]        ∂L/∂codebook[k] = Σ over labels[i] = k of g[i]

    A weight reads one centroid, and a centroid is read by many weights, so their gradients add. As matrices:
    y = A · codebook and ∂L/∂codebook = Aᵀ · g, where A[i, k] is 1 if labels[i] = k and else 0.

    Shapes: codebook (K,), labels (...) integers in [0, K) -> y (...).
    Source: Han, Mao & Dally (2016), "Deep Compression", arXiv:1510.00149, Section 3 and Figure 3.
    """

    def grad_codebook(g):
        sums = np.bincount(labels.reshape(-1), weights=g.reshape(-1), minlength=len(codebook))
        return sums.astype(codebook.dtype)

    return codebook[labels], (grad_codebook, None)


@op
def fake_quantize(x, scale, zero_point, *, low, high):
    """Round x to the values that an integer in [low, high] can stand for.

        q = clip(round(x / scale) + zero_point, low, high)        y = (q − zero_point) · scale
        ∂L/∂x = g inside the range, 0 where clipped               (straight-through)

    Shapes: x (...); scale and zero_point broadcast against x -> y, as x.
    Source: Bengio, Léonard & Courville (2013), "Estimating or Propagating Gradients Through
            Stochastic Neurons for Conditional Computation", arXiv:1308.3432 (straight-through);
            Jacob et al. (2018), "Quantization and Training of Neural Networks for Efficient
            Integer-Arithmetic-Only Inference", arXiv:1712.05877, Equation 12.
    """
    q = np.rint(x / scale) + zero_point
    inside = (q >= low) & (q <= high)
    y = (np.clip(q, low, high) - zero_point) * scale
    return y, (lambda g: g * inside, None, None)

"""The rules behind parameter views: what a masked, quantized or shared weight computes. See `nn/views.py`.

`fake_quantize` and `lsq` are *straight-through*: their value is a rounding, whose true derivative is 0 almost
everywhere, and their pullback pretends that it was the identity, so that what lies below can learn.
"""

import math

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
        with two integers only (1 bit)    q = clip(round(x / scale + zero_point), low, high)

    Shapes: x (...); scale and zero_point broadcast against x -> y, as x.
    Source: Bengio, Léonard & Courville (2013), "Estimating or Propagating Gradients Through
            Stochastic Neurons for Conditional Computation", arXiv:1308.3432 (straight-through);
            Jacob et al. (2018), "Quantization and Training of Neural Networks for Efficient
            Integer-Arithmetic-Only Inference", arXiv:1712.05877, Equation 12.
    """
    q = np.rint(x / scale) + zero_point if high - low > 1 else np.rint(x / scale + zero_point)
    inside = (q >= low) & (q <= high)
    y = (np.clip(q, low, high) - zero_point) * scale
    return y, (lambda g: g * inside, None, None)


@op
def lsq(x, step, *, low, high, count):
    r"""Round x to multiples of `step`, from low to high of them, so that the step itself can be learned.

        y = q · s        q = round(clip(x / s, low, high))
        ∂L/∂x = g where low < x / s < high, else 0                                       (straight-through)
        ∂L/∂s = Σ g · d / √(count · high)        d = q − x / s inside, low or high where clipped

    d says what a larger step does to y, if rounding is taken for adding a constant: a clipped number moves out
    with the end of the range; one that was rounded up moves up. The root makes the step's gradient about as large,
    beside the step, as the weights' are beside the weights: it adds up `count` numbers.

    Shapes: x (...); step broadcasts against x -> y, as x.
    Units:  low and high in steps, whole numbers, high > 0; count, how many numbers of x share a step (of
            activations: in one example). A step below the smallest normal float counts as that.
    Source: Esser, McKinstry, Bablani, Appuswamy & Modha (2020), "Learned Step Size Quantization",
            arXiv:1902.08153, Equations 1 to 5 and Section 2.2.
    """
    step = np.maximum(step, float(np.finfo(step.dtype).tiny))
    ratio = x / step
    q = np.rint(np.clip(ratio, low, high))
    inside = (ratio > low) & (ratio < high)

    def grad_step(g):
        return g * (q - ratio * inside) * (1 / math.sqrt(count * high))

    return q * step, (lambda g: g * inside, grad_step)

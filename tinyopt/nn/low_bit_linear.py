"""A dense layer of signs: of its input only the signs are read, of its weight two or three values. XNOR-Net's layer.

Start with these three: `sign_linear`, the rule; `BinaryLinear`, the layer; `codec/popcount.py`, the products that it
makes in inference. `compress.binary.binarize_inputs` puts it into a model.
"""

import math

import numpy as np

from tinyopt.autograd import is_grad_enabled
from tinyopt.codec.popcount import binary_product, pack_signs, pack_words, plane_product
from tinyopt.errors import ShapeError
from tinyopt.nn.layers import Linear
from tinyopt.nn.low_bit import Binary, Ternary
from tinyopt.nn.views import Mask
from tinyopt.ops.rule import check_floats, differentiable


@differentiable
def sign_linear(x, weight, bias=None, *, product):
    """y = β · W sign(x) + b: of each example only the signs are multiplied, and one number says how large it is.

        β = mean |x| over the example        y[n, o] = β[n] · Σ_i W[o, i] · sign(x[n, i]) + b[o]
        ∂L/∂x = β · (g W) · 1[|x| ≤ 1]       ∂L/∂W = (β g)ᵀ sign(x)       ∂L/∂b = Σ over rows of g

    As in `ops.binary_weight`, sign(0) = +1, and its derivative is taken for 1 where |x| ≤ 1.

    Shapes: x (..., D_in), weight (D_out, D_in), bias (D_out,) -> y (..., D_out); `product` makes the sums of
            W sign(x) from rows of x: (n, D_in) -> (n, D_out).
    Raises: ShapeError if x does not fit; DtypeError if it is not of the weight's type.
    Source: Rastegari, Ordonez, Redmon & Farhadi (2016), "XNOR-Net", arXiv:1603.05279, Sections 3.1 and 3.2; the
            gradient of signs: Hubara, Courbariaux, Soudry, El-Yaniv & Bengio (2016), "Binarized Neural Networks",
            arXiv:1602.02830, Section 1.3.
    Differs: β is taken for a constant in the gradient, as in the authors' code.
    """
    d_out, d_in = weight.shape
    if not x.ndim or x.shape[-1] != d_in:
        raise ShapeError(f"sign_linear with weight ({d_out}, {d_in}) needs x (..., {d_in}); got {x.shape}")
    check_floats("sign_linear", x, weight)
    rows = x.reshape(int(np.prod(x.shape[:-1])), d_in)  # (n, D_in); not −1, so that n may be 0
    size = abs(rows).mean(axis=1, keepdims=True)  # (n, 1)
    y = product(rows) * size
    y = y if bias is None else y + bias

    def scaled(g):
        return g.reshape(-1, d_out) * size  # (n, D_out)

    return y.reshape(*x.shape[:-1], d_out), (
        lambda g: (scaled(g) @ weight * (abs(rows) <= 1)).reshape(x.shape),
        lambda g: scaled(g).T @ signs_of(rows),
        lambda g: g.reshape(-1, d_out).sum(axis=0),
    )


def signs_of(x):
    """+1 where x ≥ 0, else −1, in x's type."""
    one = np.ones_like(x)
    return np.where(x >= 0, one, -one)


class BinaryLinear(Linear):
    """y = β · W sign(x) + b, where W is binary or ternary and β says how large the example is; see `sign_linear`.

    In training the sums are products of floats; in inference on the CPU both sides are packed, 64 signs to a word, and
    the sums are counts of bits. Both are whole numbers, exact up to 2²⁴ inputs, so the answers agree in every bit.

    What is never negative has no signs to tell apart: this layer is of no use behind a ReLU.

    The parameters are those of a `Linear` whose weight has a `Binary` or a `Ternary` view: so the file holds bits.

    Shapes: x (..., in_features) -> y (..., out_features); weight (out_features, in_features).
    Start:  as `Linear`, with XNOR-Net's scale for each output.
    Raises: ValueError if the weight has neither view.
    Source: Rastegari, Ordonez, Redmon & Farhadi (2016), "XNOR-Net", arXiv:1603.05279, Section 3.2.
    """

    def __init__(self, in_features, out_features, bias=True, rng=None):
        super().__init__(in_features, out_features, bias=bias, rng=rng)
        self.weight.attach(Binary(abs(self.weight.data).mean(axis=1, keepdims=True), share=1 / in_features))
        self._built = (), None  # what the words were made from, and they

    def forward(self, x):
        on_host = isinstance(self.weight.data, np.ndarray)
        product = self.by_floats if is_grad_enabled() or not on_host else self.by_counting
        return sign_linear(x, self.weight, self.bias, product=product)

    def macs(self, shape):
        """Multiply-adds for an output of this shape, which are counts of bits here: what `measure.summary` counts."""
        return math.prod(shape) * self.in_features

    def planes(self):
        """Where the weight is positive and where it is negative, Booleans (D_out, D_in); and its view."""
        view = self.weight.view(Binary) or self.weight.view(Ternary)
        if view is None:
            raise ValueError("BinaryLinear needs a weight of two or three values; this one has none of the two views. "
                             "Call compress.binary.binarize or compress.ternary.ternarize first")  # fmt: skip
        planes, mask = view.planes(self.weight.data), self.weight.view(Mask)
        return (*(plane if mask is None else plane & mask.keep for plane in planes), view)

    def by_floats(self, x):
        """W sign(x) by products of floats: (n, D_in) -> (n, D_out)."""
        positive, negative, view = self.planes()
        signs, dtype = signs_of(x), x.dtype
        if isinstance(view, Binary):
            return signs @ (positive.astype(dtype) - negative.astype(dtype)).T * _row(view.scale)
        sums = [signs @ plane.astype(dtype).T for plane in (positive, negative)]
        return sums[0] * _row(view.positive) - sums[1] * _row(view.negative)

    def by_counting(self, x):
        """W sign(x) by counting bits: (n, D_in) -> (n, D_out)."""
        packed, view, words = pack_signs(x), *self.words()
        if isinstance(view, Binary):
            masked = len(words) == 2
            sums = plane_product(packed, words[0]) - plane_product(packed, words[1]) if masked else \
                binary_product(packed, words[0], self.in_features)  # fmt: skip
            return sums.astype(x.dtype) * _row(view.scale)
        sums = [plane_product(packed, plane).astype(x.dtype) for plane in words]
        return sums[0] * _row(view.positive) - sums[1] * _row(view.negative)

    def words(self):
        """The weight's view, and its planes in words: kept until it changes. One plane is enough if no weight is 0."""
        source, (known, built) = (self.weight.data, *self.weight.views), self._built
        if len(known) != len(source) or any(a is not b for a, b in zip(known, source)):
            positive, negative, view = self.planes()
            whole = isinstance(view, Binary) and self.weight.view(Mask) is None
            planes = (positive,) if whole else (positive, negative)
            built = view, [pack_words(plane).copy(order="F") for plane in planes]  # as the products read them
            self._built = source, built
        return built


def _row(scale):
    """A scale (O, 1) as a row, (O,); () stays."""
    return scale.reshape(-1) if scale.ndim else scale

"""A dense layer that multiplies integers: its weights are stored as such, its input becomes such at run time.

Start with these three: `dynamic_linear`, the rule; `integer_product`, exact integers by float products;
`DynamicQuantLinear`, the layer. `compress.dynamic_quant.quantize_dynamic` puts it into a model.
"""

import numpy as np

from tinyopt.autograd import no_grad
from tinyopt.codec.affine import choose_scale, integer_range, to_integers
from tinyopt.errors import ShapeError
from tinyopt.nn.layers import Linear
from tinyopt.nn.views import Quantize
from tinyopt.ops.rule import SUBSTITUTED, check_floats, differentiable


@differentiable
def dynamic_linear(x, weight, bias=None, *, steps, scale, largest, bits=8):
    """y = x Wᵀ + b with integers for x and W, on a line for x that is laid for this very batch.

        s, z = the affine line of min x … max x        q = clip(round(x / s) + z)        W = scale · steps
        y = s · scale · (Σ q · steps − z · Σ steps) + b         both sums over the inputs: exact integers

    The gradients are those of `linear`, straight through the rounding of x.

    Shapes: x (..., D_in), weight (D_out, D_in), bias (D_out,); steps (D_out, D_in), whole numbers; scale (D_out,)
            or () -> y (..., D_out).
    Units:  bits of x, 2 to 8; no step is larger than `largest` in magnitude.
    Raises: ShapeError if x does not fit; DtypeError if it is not of the weight's type; ValueError for NaN or Inf in x.
    Source: PyTorch, `torch.ao.nn.quantized.dynamic.Linear`; the sums: Jacob et al. (2018), arXiv:1712.05877,
            Section 2.3, equation 7.
    """
    d_out, d_in = weight.shape
    if not x.ndim or x.shape[-1] != d_in:
        raise ShapeError(f"dynamic_linear with weight ({d_out}, {d_in}) needs x (..., {d_in}); got {x.shape}")
    check_floats("dynamic_linear", x, weight)
    rows = x.reshape(int(np.prod(x.shape[:-1])), d_in)  # (n, D_in); not −1, so that n may be 0
    if rows.size:
        s, z = choose_scale(rows, bits=bits, symmetric=False)
        q = to_integers(rows, s, z, bits=bits, symmetric=False)
        sums = integer_product(q, steps, largest) - z * steps.sum(axis=1, dtype=np.float64).astype(np.int64)
        y = sums.astype(x.dtype) * (s * scale)
    else:
        y = rows @ weight.T
    y = y if bias is None else y + bias

    def flat(g):
        return g.reshape(-1, d_out)  # (n, D_out)

    return y.reshape(*x.shape[:-1], d_out), (
        lambda g: (flat(g) @ weight).reshape(x.shape),
        lambda g: flat(g).T @ rows,
        lambda g: flat(g).sum(axis=0),
    )


def integer_product(q, steps, largest):
    """The exact integers Σ_i q[n, i] · steps[o, i], by the products of floats that a computer is fast at.

    NumPy has no fast product of integers. But float32 holds each integer up to 2²⁴, so a product of whole numbers is
    exact, in whatever order it is added up, as long as no partial sum can pass that. An int8 is at most 128 in
    magnitude: ⌊2²⁴ / (128 · largest)⌋ products can not. The inner sum is cut into parts of so many, and what the parts
    make is added as integers. With 8 bits, 127 at most, these are 1032 products.

    Shapes: q (n, I), int8; steps (O, I), whole numbers, none larger than `largest` in magnitude -> (n, O), int64.
    """
    n_at_once = 2**24 // (128 * largest)
    floats = np.float32
    if n_at_once < 64:  # float64 holds integers up to 2⁵³
        n_at_once, floats = 2**53 // (128 * largest), np.float64
    q, steps = q.astype(floats), steps.astype(floats, copy=False)
    parts = [slice(i, i + n_at_once) for i in range(0, q.shape[1], n_at_once)]
    return sum((q[:, part] @ steps[:, part].T).astype(np.int64) for part in parts)


class DynamicQuantLinear(Linear):
    """y = x Wᵀ + b on int8 numbers: W's are stored, x's are found for each batch, and y is float again.

    No calibration is needed, and no range can be wrong; the price is a look at each batch before it is multiplied.
    Since one line holds the whole batch, an example's answer depends a little on which others it is with.

    The parameters are those of a `Linear` whose weight has a `Quantize` view: so the file holds integers.

    Shapes: x (..., in_features) -> y (..., out_features); weight (out_features, in_features).
    Units:  bits of x, 2 to 8; those of the weight are its view's, 8 at the start.
    Raises: ValueError for other bits, or a weight whose view is none of one scale, or one for each output.
    Source: PyTorch, `torch.ao.nn.quantized.dynamic.Linear`.
    Differs: PyTorch on x86 leaves one of x's 8 bits unused, since its products could overflow 16 bits there.
    """

    def __init__(self, in_features, out_features, bias=True, bits=8, rng=None):
        super().__init__(in_features, out_features, bias=bias, rng=rng)
        if bits not in range(2, 9):
            raise ValueError(f"activations become int8: bits in 2..8; got {bits!r}")
        self.bits = bits
        low, high = integer_range(8)
        scale, zero = (array.reshape(-1, 1) for array in choose_scale(self.weight.data, axis=0))
        self.weight.attach(Quantize(scale, zero.astype(scale.dtype), 8, low, high))
        self._built = (), None  # what the integers were made from, and they

    def forward(self, x):
        return dynamic_linear(x, self.weight, self.bias, **self.integers(), bits=self.bits)

    def integers(self):
        """The weight as whole numbers `steps`, `largest` the most they can be, and `scale`; kept until it changes."""
        source, (known, integers) = (self.weight.data, *self.weight.views, *SUBSTITUTED), self._built
        if len(known) != len(source) or any(a is not b for a, b in zip(known, source)):
            view, d_out = self.weight.view(Quantize), self.out_features
            if view is None or view.bits == 1 or view.scale.shape not in ((), (1, 1), (d_out, 1)):
                what = "no integers" if view is None else f"{view.bits} bits and scales {view.scale.shape}"
                raise ValueError("DynamicQuantLinear needs a weight of 2 bits or more, with one scale for each "
                                 f"output or one for all; this has {what}. Quantize it otherwise: bake() it first")
            with no_grad():
                steps = np.rint(self.weight.read().data / view.scale)  # whole numbers, the zero point taken off
            largest = view.high if view.low == -view.high else view.high - view.low
            scale = view.scale.reshape(-1) if view.scale.size > 1 else view.scale.reshape(())
            integers = {"steps": steps, "scale": scale, "largest": largest}
            self._built = source, integers
        return integers

    def config(self):
        return {**super().config(), "bits": self.bits}

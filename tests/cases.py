"""A strategy of arguments for every op: shapes are drawn, numbers stay away from kinks and ties.

`CASES[name]` draws a `Case`; `ops.NAME(*case.args, **case.settings)` is a valid call. Arrays are float64.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

GAP = 0.25  # no number drawn lies within GAP / 4 of a multiple of GAP, so 0 and limits like 0.5 are safe


@dataclass
class Case:
    args: tuple
    settings: dict = field(default_factory=dict)


def distinct(rng, *shapes, positive=False):
    """Arrays whose numbers differ from each other, across arrays too, by at least GAP / 2."""
    sizes = [math.prod(shape) for shape in shapes]
    ranks = rng.permutation(sum(sizes)) - (0 if positive else sum(sizes) // 2)
    numbers = GAP * (ranks + 0.5 + rng.uniform(-0.25, 0.25, len(ranks)))
    return [part.reshape(shape) for part, shape in zip(np.split(numbers, np.cumsum(sizes)[:-1]), shapes)]


generators = st.integers(0, 999).map(np.random.default_rng)
sides = st.integers(1, 3)


def shapes(min_dims=0, max_dims=3, min_side=0, max_side=3):
    return hnp.array_shapes(min_dims=min_dims, max_dims=max_dims, min_side=min_side, max_side=max_side)


def axes_of(ndim):
    """None, an axis counted from either end, or several."""
    one = [st.integers(-ndim, ndim - 1)] if ndim else []
    return st.one_of(st.none(), *one, hnp.valid_tuple_axes(ndim))


# --- elementwise ---


@st.composite
def unary(draw, positive=False, **settings):
    return Case(tuple(distinct(draw(generators), draw(shapes()), positive=positive)), settings)


@st.composite
def binary(draw, positive=False):
    both = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, min_side=0, max_side=3, max_dims=3))
    return Case(tuple(distinct(draw(generators), *both.input_shapes, positive=positive)))


@st.composite
def power(draw):
    (x, y), (z,) = draw(binary(positive=True)).args, draw(unary()).args
    return Case(draw(st.sampled_from([(x, y / 4 - 1), (x, 0.5), (2.0, y), (z, 2), (z, 3), (z, -1), (z, 0)])))


@st.composite
def clip(draw):
    limits = draw(st.sampled_from([(-0.5, 0.75), (None, 0.25), (0.0, None), (-1, 1)]))
    return Case(draw(unary()).args, dict(zip(("min", "max"), limits)))


@st.composite
def where(draw):
    three = draw(hnp.mutually_broadcastable_shapes(num_shapes=3, max_side=3, max_dims=3)).input_shapes
    rng = draw(generators)
    return Case((rng.random(three[0]) < 0.5, *distinct(rng, *three[1:])))


@st.composite
def dropout(draw):
    rng, shape, p = draw(generators), draw(shapes()), draw(st.sampled_from([0.0, 0.3, 1.0]))
    uniform = rng.random(shape)
    uniform.flat[:1] = p  # a number is kept where its draw just reaches p
    return Case((*distinct(rng, shape), uniform), {"p": p})


# --- reductions ---


@st.composite
def reduction(draw, min_side=1, with_keepdims=True):
    shape = draw(shapes(min_side=min_side))
    settings = {"axis": draw(axes_of(len(shape)))}
    if with_keepdims:
        settings["keepdims"] = draw(st.booleans())
    return Case(tuple(distinct(draw(generators), shape)), settings)


@st.composite
def variance(draw):
    shape = draw(shapes(min_dims=1, min_side=2))
    axis = draw(st.one_of(st.none(), st.integers(-len(shape), len(shape) - 1)))
    settings = {"axis": axis, "keepdims": draw(st.booleans()), "correction": draw(st.sampled_from([0, 1]))}
    return Case(tuple(distinct(draw(generators), shape)), settings)


@st.composite
def along_one_axis(draw):
    shape = draw(shapes(min_dims=1, min_side=1))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    return Case(tuple(distinct(draw(generators), shape)), {"axis": axis})


# --- shapes ---


@st.composite
def reshape(draw):
    (x,) = draw(unary()).args
    shape = st.sampled_from([-1, (-1,), (x.size,), x.shape[::-1], (1, *x.shape, 1)])
    return Case((x,), {"shape": draw(shape)})


@st.composite
def transpose(draw):
    (x,) = draw(unary()).args
    axes = draw(st.permutations([draw(st.sampled_from([i, i - x.ndim])) for i in range(x.ndim)]))
    return Case((x,), {"axes": draw(st.sampled_from([None, tuple(axes)]))})


@st.composite
def broadcast_to(draw, with_minus_one=False):
    pairs = hnp.mutually_broadcastable_shapes(num_shapes=1, base_shape=draw(shapes()), min_side=0, max_side=3)
    (own,), shape = draw(pairs)
    if with_minus_one:
        same = [n == m for n, m in zip((None,) * (len(shape) - len(own)) + own, shape)]
        shape = tuple(-1 if s and draw(st.booleans()) else n for n, s in zip(shape, same))
    return Case(tuple(distinct(draw(generators), own)), {"shape": shape})


@st.composite
def squeeze(draw):
    shape = draw(st.lists(st.sampled_from([1, 1, 2, 3]), max_size=4))
    (x,) = distinct(draw(generators), tuple(shape))
    single = [i for i, n in enumerate(shape) if n == 1]
    choices = [None, tuple(single)] + [i - len(shape) for i in single]
    return Case((x,), {"axis": draw(st.sampled_from(choices))})


@st.composite
def concatenate(draw):
    shape = draw(shapes(min_dims=1))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    parts = []
    for n in draw(st.lists(st.integers(0, 3), min_size=1, max_size=3)):
        parts.append(tuple(n if i in (axis, axis + len(shape)) else side for i, side in enumerate(shape)))
    return Case(tuple(distinct(draw(generators), *parts)), {"axis": axis})


@st.composite
def stack(draw):
    shape = draw(shapes())
    arrays = distinct(draw(generators), *[shape] * draw(sides))
    return Case(tuple(arrays), {"axis": draw(st.integers(-len(shape) - 1, len(shape)))})


@st.composite
def pad(draw):
    (x,) = distinct(draw(generators), draw(shapes(min_dims=1)))
    pair = st.tuples(st.integers(0, 2), st.integers(0, 2))
    width = st.one_of(st.integers(0, 2), pair, st.tuples(pair), st.tuples(*[pair] * x.ndim))
    return Case((x,), {"pad_width": draw(width), "value": draw(st.sampled_from([0.0, -1.5]))})


INDICES = [  # for an array of shape (3, 4, 2)
    1, -1, (2, 3, 1), (), slice(None, None, -2), slice(3, 3), (slice(1, 3), 2), (..., 0), (None, 1, ...),
    [], [0, 0], ((0, 0),), np.array([], dtype=int), np.array([2, 0, 2, 2]), (slice(None), [1, 1, -1], 0),
    (1, np.array([3, 3, 0])), (np.array([[0], [2]]), np.array([1, 1, 3])), ([0, 0], slice(None), [1, 1]),
    np.arange(24).reshape(3, 4, 2) % 3 == 0, np.array([True, False, True]),
    (slice(None), np.array([True, False, True, True])),
]  # fmt: skip


@st.composite
def getitem(draw):
    return Case(tuple(distinct(draw(generators), (3, 4, 2))), {"index": draw(st.sampled_from(INDICES))})


# --- matrix products and images ---


@st.composite
def linear(draw):
    d_in, d_out, lead = draw(sides), draw(sides), draw(shapes(max_dims=2))
    x, weight, bias = distinct(draw(generators), (*lead, d_in), (d_out, d_in), (d_out,))
    return Case((x, weight, *draw(st.sampled_from([(), (bias,), (None,)]))))


@st.composite
def matmul(draw):
    signature = "(n?,k),(k,m?)->(n?,m?)"
    two = draw(hnp.mutually_broadcastable_shapes(signature=signature, max_dims=2, min_side=0, max_side=3))
    return Case(tuple(distinct(draw(generators), *two.input_shapes)))


@st.composite
def conv2d(draw):
    rng = draw(generators)  # the sizes come from here: Hypothesis likes small ones, and windows must overlap
    groups, c_group, out_group, kh, kw = map(int, rng.integers(1, (3, 3, 3, 4, 4)))
    images, height, width = map(int, rng.integers((0, kh, kw), (3, kh + 4, kw + 6)))
    stride, padding = [1, 1, 2, (2, 1), (1, 3)][rng.integers(5)], [0, 1, (0, 2), (1, 0)][rng.integers(4)]
    n_out = groups * out_group
    shapes = (images, groups * c_group, height, width), (n_out, c_group, kh, kw), (n_out,)
    x, weight, bias = distinct(rng, *shapes)
    args = (x, weight, *draw(st.sampled_from([(), (bias,), (None,)])))
    return Case(args, {"stride": stride, "padding": padding, "groups": groups})


@st.composite
def pool2d(draw):
    choices = [(2, None, 0), (2, 1, 1), (3, 2, 1), (2, 3, 0), ((1, 2), None, 0), ((3, 2), (1, 2), (1, 0))]
    settings = dict(zip(("kernel_size", "stride", "padding"), draw(st.sampled_from(choices))))
    rng = draw(generators)
    return Case(tuple(distinct(rng, rng.integers((0, 1, 3, 3), (3, 3, 6, 6)))), settings)


@st.composite
def batch_norm(draw):
    shape = (draw(st.integers(2, 3)), draw(sides), *draw(st.sampled_from([(), (2, 1), (1, 3)])))
    x, weight, bias = distinct(draw(generators), shape, shape[1:2], shape[1:2])
    training, others = draw(st.booleans()), (0, 2, 3)[: len(shape) - 1]
    mean, var = (x.mean(axis=others), x.var(axis=others)) if training else (bias + 0.1, weight**2 + 0.1)
    eps = draw(st.sampled_from([1e-5, 1e-2]))
    return Case((x, weight, bias, mean, var), {"training": training, "eps": eps})


@st.composite
def cross_entropy(draw):
    rng, shape = draw(generators), (draw(sides), draw(st.integers(1, 4)))
    target = draw(st.sampled_from([rng.integers(0, shape[1], shape[0]), rng.random(shape)]))
    reduction, smoothing = draw(st.sampled_from(["mean", "sum", "none"])), draw(st.sampled_from([0.0, 0.1]))
    return Case((*distinct(rng, shape), target), {"reduction": reduction, "label_smoothing": smoothing})


# --- views of weights ---


@st.composite
def mask(draw):
    (x,) = draw(unary()).args
    return Case((x, draw(generators).random(x.shape) < 0.5))


@st.composite
def lookup(draw):
    rng, n_values = draw(generators), draw(st.integers(1, 4))
    return Case((*distinct(rng, (n_values,)), rng.integers(0, n_values, draw(shapes()))))


@st.composite
def fake_quantize(draw):
    rng, shape = draw(generators), (draw(sides), draw(st.sampled_from([5, 6, 0])))
    per_row = rng.choice([0.5, 1.0, 1.5], (shape[0], 1))  # then the ties of rounding are multiples of GAP
    scale = draw(st.sampled_from([np.array(0.5), per_row]))
    zero_point = draw(st.sampled_from([np.zeros_like(scale), np.ones_like(scale)]))
    return Case((*distinct(rng, shape), scale, zero_point), {"low": -1, "high": 2})


@st.composite
def lsq(draw):
    x, step, _ = draw(fake_quantize()).args
    return Case((x, step), {"low": draw(st.sampled_from([-2, 0])), "high": 3, "count": draw(sides)})


@st.composite
def binary_weight(draw):
    x, scale, _ = draw(fake_quantize()).args
    return Case((x, scale), {"limit": draw(st.sampled_from([0.5, 1.0])), "share": draw(st.sampled_from([0.0, 0.2]))})


@st.composite
def ternary_weight(draw):
    x, threshold, _ = draw(fake_quantize()).args
    return Case((x, threshold, np.full_like(threshold, 0.8), np.full_like(threshold, 1.7)))


@st.composite
def trained_ternary_weight(draw):
    rng = draw(generators)
    (x,) = distinct(rng, draw(shapes(min_side=1)))
    x.flat[0] = np.ceil(abs(x).max()) + 1  # the largest; half of it is a multiple of GAP
    values = [np.array(value) for value in rng.random(2) + 0.1]
    return Case((x, *values), {"fraction": draw(st.sampled_from([0.0, 0.5]))})


CASES = {
    **{name: binary() for name in ("add", "sub", "mul", "div", "maximum", "minimum")},
    **{name: unary() for name in ("neg", "exp", "abs", "relu", "sigmoid", "tanh")},
    **{name: unary(positive=True) for name in ("log", "sqrt")},
    **{name: reduction() for name in ("mean", "max", "min", "logsumexp")},
    **{name: along_one_axis() for name in ("softmax", "log_softmax")},
    **{name: pool2d() for name in ("max_pool2d", "avg_pool2d")},
    "pow": power(),
    "clip": clip(),
    "where": where(),
    "dropout": dropout(),
    "astype": unary(dtype=np.dtype("float64")),
    "sum": reduction(min_side=0),
    "var": variance(),
    "flip": reduction(min_side=0, with_keepdims=False),
    "reshape": reshape(),
    "transpose": transpose(),
    "broadcast_to": broadcast_to(),
    "expand": broadcast_to(with_minus_one=True),
    "expand_dims": unary(axis=0),
    "squeeze": squeeze(),
    "concatenate": concatenate(),
    "stack": stack(),
    "pad": pad(),
    "getitem": getitem(),
    "to": unary(device="cpu"),
    "linear": linear(),
    "matmul": matmul(),
    "conv2d": conv2d(),
    "batch_norm": batch_norm(),
    "cross_entropy": cross_entropy(),
    "mask": mask(),
    "lookup": lookup(),
    "fake_quantize": fake_quantize(),
    "lsq": lsq(),
    "binary_weight": binary_weight(),
    "ternary_weight": ternary_weight(),
    "trained_ternary_weight": trained_ternary_weight(),
}

"""Convolution for inference: from its padding to its ReLU and pooling, a few images at a time, while they are cached.

Start with these three: `conv2d_then`, the loop over pieces of the batch; `_Depthwise`, a convolution without columns;
`pool_into`. There are no gradients here. The same through ops, `max_pool2d(relu(conv2d(x, w, b)))`, writes the whole
batch to memory and reads it back between any two of them; here only the last of them reaches memory. What a piece
needs on the way lies in one buffer, which all pieces use in turn.

    letters: as in `conv.py`; all images lie in memory as (N, H, W, C)
"""

import math

import numpy as np

from tinyopt import backend
from tinyopt.ops.conv import _Dense, checked, conv2d_im2col, conv_output_size
from tinyopt.ops.pool import _places


def conv2d_then(
    x, weight, bias=None, *, stride=1, padding=0, groups=1, relu=False, pool=None, pool_size=None, out=None
):  # fmt: skip
    """A rule without pullbacks: `conv2d`, then ReLU and then pooling, where they are asked for.

        y = pool(max(conv2d(x, W) + b, 0))

    Shapes: as `conv2d`; with pooling, over windows of pool_size = (kh, kw) that do not overlap, P and Q are divided
            by kh and kw, rounded down. `out`, of the shape of y, takes the result; in memory it is (N, P, Q, O).
    Units:  pool is None, "max" or "mean".
    Raises: as `conv2d`.
    Source: as `conv2d`; Chen et al. (2018), "TVM", arXiv:1802.04799, Section 3.1 (what follows a convolution is
            computed with it).
    """
    stride, padding = checked(x, weight, bias, stride, padding, groups)
    n, c, *size = x.shape
    size = [side + 2 * border for side, border in zip(size, padding)]
    work = _kind(c, weight, groups)(np.empty_like(x, shape=(0, *size, c)), weight, stride)
    made = work.p, work.q, len(weight)  # one image's result, before pooling
    p, q = made[:2] if pool is None else (work.p // pool_size[0], work.q // pool_size[1])
    y = np.empty_like(x, shape=(n, p, q, len(weight)), order="C") if out is None else out.transpose(0, 2, 3, 1)
    assert y.flags.c_contiguous, "what is not in this order, would be reshaped as a copy"
    numbers = work.columns + c * math.prod(size) + math.prod(made)  # that one image needs in the cache
    pieces = backend.chunks(x, numbers * x.dtype.itemsize)
    most = min(n, pieces[0].stop) if pieces else 0
    frame = _frame(x, most, size, padding)
    buffer = None if pool is None else np.empty_like(x, shape=(most, *made), order="C")
    row = None if bias is None else np.tile(bias, q if pool == "max" else work.q)  # long runs add faster
    for piece in pieces:
        image = _framed(x[piece].transpose(0, 2, 3, 1), frame, padding)
        part = y[piece] if pool is None else buffer[: len(image)]
        work.into(part, image)
        if pool == "max":  # a bias moves all alike, and ReLU keeps their order: so after it there is less to do
            part = _pooled(part, y[piece], pool, pool_size)
        if bias is not None:
            lines = part.reshape(-1, row.size)
            lines += row
        if relu:
            np.maximum(part, 0, out=part)
        if pool == "mean":
            _pooled(part, y[piece], pool, pool_size)
    return y.transpose(0, 3, 1, 2), (None, None, None)


def _pooled(x, y, kind, size):
    pool_into(y.transpose(0, 3, 1, 2), x.transpose(0, 3, 1, 2), kind=kind, kernel_size=size)
    return y


def _kind(c, weight, groups):
    """Which of the three classes computes this convolution."""
    if groups == 1:
        return _Products
    return _Depthwise if groups == c == len(weight) else _Grouped


class _Products:
    """Filters that read all channels: the products of `conv2d`, with one buffer for the columns."""

    def __init__(self, image, weight, stride):
        self.dense = _Dense(image, weight, stride)
        self.p, self.q = self.dense.p, self.dense.q
        self.columns = self.dense.row_bytes // image.dtype.itemsize
        self.filters, self.buffer = self.dense.filters(), None

    def into(self, y, image):
        windows = self.dense.windows(image)  # (images, P, Q/m, kh, run)
        if self.buffer is None:  # the first piece is the largest
            self.buffer = np.empty_like(image, shape=windows.shape, order="C")
        columns = self.buffer[: len(image)]
        columns[...] = windows
        np.matmul(columns.reshape(-1, len(self.filters)), self.filters, out=y.reshape(-1, self.filters.shape[1]))


class _Depthwise:
    """A filter for each channel: no product of matrices, but a sum of the image's shifts, each times one tap.

        y[n, p, q, c] = Σ over i, j of  weight[c, i, j] · x[n, p·s + i, q·s + j, c]

    Columns would copy each pixel kh·kw times, to multiply each copy once.
    """

    def __init__(self, image, weight, stride):
        self.stride, self.taps = stride, weight.transpose(2, 3, 1, 0)  # (kh, kw, 1, C)
        self.p = conv_output_size(image.shape[1], weight.shape[2], stride[0])
        self.q = conv_output_size(image.shape[2], weight.shape[3], stride[1])
        self.columns, self.product = self.p * self.q * len(weight), None

    def into(self, y, image):
        (sh, sw), (kh, kw) = self.stride, self.taps.shape[:2]
        if self.product is None:
            self.product = np.empty_like(y)
        product = self.product[: len(y)]
        for i, j in np.ndindex(kh, kw):
            shifted = image[:, i : i + sh * (self.p - 1) + 1 : sh, j : j + sw * (self.q - 1) + 1 : sw]
            np.multiply(shifted, self.taps[i, j], out=product if i or j else y)
            if i or j:
                y += product


class _Grouped:
    """Groups of several filters, by the rule for them."""

    def __init__(self, image, weight, stride):
        self.weight, self.stride = weight, stride
        kh, kw = weight.shape[2:]
        self.p = conv_output_size(image.shape[1], kh, stride[0])
        self.q = conv_output_size(image.shape[2], kw, stride[1])
        self.columns = image.shape[3] * kh * kw * self.p * self.q

    def into(self, y, image):
        groups = image.shape[3] // self.weight.shape[1]
        made, _ = conv2d_im2col(image.transpose(0, 3, 1, 2), self.weight, stride=self.stride, groups=groups)
        y[...] = made.transpose(0, 2, 3, 1)


def _frame(x, most, size, padding):
    """A place for the largest piece with its padding, whose zeros are written once; None if x can be read as it is."""
    if not any(padding) and x.transpose(0, 2, 3, 1).flags.c_contiguous:
        return None
    return np.zeros_like(x, shape=(most, *size, x.shape[1]), order="C")


def _framed(image, frame, padding):
    """A piece (images, H, W, C) inside its padding."""
    if frame is None:
        return image
    (ph, pw), (n, height, width, _) = padding, image.shape
    frame[:n, ph : ph + height, pw : pw + width] = image
    return frame[:n]


def pool_into(y, x, *, kind, kernel_size, stride=None, padding=0):
    """Write into y the "max" or the "mean" of each window of x, as `max_pool2d` and `avg_pool2d` do.

    Shapes: x (N, C, H, W), y (N, C, P, Q).
    """
    image, places, _ = _places(x, kernel_size, stride, padding, -np.inf if kind == "max" else 0.0)
    y[...] = image[places[0]]
    for place in places[1:]:
        (np.maximum if kind == "max" else np.add)(y, image[place], out=y)
    if kind == "mean":
        y *= 1.0 / len(places)

"""Convolution as a matrix product. Start with `conv2d_loop`, six loops that say what it is.

The fast rule copies the windows of x into rows of a matrix ("im2col"), so that one product with the
filters gives all outputs. What makes it fast is the order of memory: shapes are (N, C, H, W), as in
PyTorch, but the numbers lie as (N, H, W, C). Then the kw·C numbers that a window reads from one row of
the image are neighbours, a window is kh such runs, and the product's result lies in the same order,
ready for the next layer.

    letters: N images, C channels in, O channels out, H × W image, P × Q output, kh × kw kernel
"""

import numpy as np

from tinyopt import backend
from tinyopt.errors import ShapeError
from tinyopt.ops.rule import check_floats, op


def conv2d_loop(x, weight, bias=None, *, stride=1, padding=0, groups=1):
    """The specification of `conv2d`, one number at a time; for tests and for reading.

        y[n, o, p, q] = b[o] + Σ over c, i, j of  weight[o, c, i, j] · x[n, c', p·s + i, q·s + j]

    c' counts the channels of o's group, and x has `padding` zeros around it.
    """
    (sh, sw), (ph, pw) = pair(stride, "stride"), pair(padding, "padding")
    x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    n_out, c_group, kh, kw = weight.shape
    height, width = (x.shape[2] - kh) // sh + 1, (x.shape[3] - kw) // sw + 1
    y = np.zeros((len(x), n_out, height, width), x.dtype)
    for n, o, p, q in np.ndindex(*y.shape):
        first = o // (n_out // groups) * c_group
        window = x[n, first : first + c_group, p * sh : p * sh + kh, q * sw : q * sw + kw]
        y[n, o, p, q] = (window * weight[o]).sum() + (0 if bias is None else bias[o])
    return y


@op
def conv2d(x, weight, bias=None, *, stride=1, padding=0, groups=1):
    """Slide filters over images (cross-correlation, as every framework's "convolution").

        y[n, o, p, q] = b[o] + Σ over c, i, j of  weight[o, c, i, j] · x[n, c, p·s + i, q·s + j]
        ∂L/∂weight = windowsᵀ g        ∂L/∂x: each g[n, o, p, q] · weight[o] added where its window lay

    Shapes: x (N, C, H, W), weight (O, C / groups, kh, kw), bias (O,) or None
            -> y (N, O, P, Q), P = ⌊(H + 2·padding − kh) / stride⌋ + 1, and Q alike.
    Units:  stride and padding in pixels, an integer or a pair (vertical, horizontal).
    Raises: ShapeError if shapes do not fit or the kernel is larger than the padded image;
            DtypeError for integers.
    Source: Chellapilla, Puri & Simard (2006), "High Performance Convolutional Neural Networks for
            Document Processing", IWFHR (windows copied to a matrix). Differs: the copy is made for a
            few images at a time, so that it stays in the cache, and again for the gradient.
    """
    stride, padding = pair(stride, "stride"), pair(padding, "padding")
    check_conv(x.shape, weight.shape, stride, padding, groups)
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ShapeError(f"conv2d with weight {weight.shape} needs bias {weight.shape[:1]}; got {bias.shape}")
    check_floats("conv2d", x, weight)
    image = _channels_last(x, padding)  # (N, H + 2·ph, W + 2·pw, C)
    dense = _Dense(image, weight, stride) if groups == 1 else _Grouped(image, weight, stride, groups)
    y = dense.forward()  # (N, P, Q, O)
    if bias is not None:
        y += bias

    def last(g):
        g = g.transpose(0, 2, 3, 1)  # (N, P, Q, O)
        return g if g.flags.c_contiguous else g.copy(order="C")

    def grad_x(g):
        (ph, pw), (height, width) = padding, x.shape[2:]
        return dense.grad_image(last(g))[:, ph : ph + height, pw : pw + width].transpose(0, 3, 1, 2)

    def grad_bias(g):
        g = last(g).reshape(-1, len(weight))
        return np.ones_like(g, shape=len(g)) @ g

    return y.transpose(0, 3, 1, 2), (grad_x, lambda g: dense.grad_weight(last(g)), grad_bias)


class _Dense:
    """The three products of a convolution whose filters read all channels.

    Where channels are few, a window's runs of kw·C numbers are short and slow to copy. So `m`
    neighbouring outputs share one wider window, and the filters stand m times in a banded matrix,
    each shifted by one stride: more products, fewer copies.
    """

    def __init__(self, image, weight, stride):
        self.image, self.weight, self.stride = image, weight, stride
        n, height, width, c = image.shape
        self.n_out, _, self.kh, self.kw = weight.shape
        self.p, self.q = (height - self.kh) // stride[0] + 1, (width - self.kw) // stride[1] + 1
        few = c * self.kw < 16
        self.m = next(m for m in ((4, 3, 2, 1) if few else (1,)) if self.q % m == 0)
        self.run = (self.kw + (self.m - 1) * stride[1]) * c  # numbers that a window reads from one row
        row_bytes = self.kh * self.run * self.p * (self.q // self.m) * image.dtype.itemsize
        self.chunks = backend.chunks(image, row_bytes)  # a few images at a time

    def columns(self, chunk):
        """The windows of some images, one a row: (images · P · Q/m, kh · run)."""
        image = self.image[chunk]
        n, height, width, c = image.shape
        rows = image.reshape(n, height, width * c)
        views = np.lib.stride_tricks.sliding_window_view(rows, (self.kh, self.run), axis=(1, 2))
        views = views[:, :: self.stride[0], :: self.stride[1] * self.m * c][:, : self.p, : self.q // self.m]
        return views.reshape(-1, self.kh * self.run)

    def bands(self, matrix):
        """The m places of the filters in the banded matrix, each (kh, kw·C, O)."""
        shift = self.run if self.m == 1 else (self.run - self.weight.shape[1] * self.kw) // (self.m - 1)
        length = self.weight.shape[1] * self.kw
        blocks = matrix.reshape(self.kh, self.run, self.m, self.n_out)
        return [blocks[:, k * shift : k * shift + length, k] for k in range(self.m)]

    def forward(self):
        y = np.empty_like(self.image, shape=(len(self.image), self.p, self.q, self.n_out), order="C")
        filters = np.zeros_like(self.weight, shape=(self.kh * self.run, self.m * self.n_out))
        for band in self.bands(filters):
            band[...] = self.weight.transpose(2, 3, 1, 0).reshape(band.shape)
        for chunk in self.chunks:
            np.matmul(self.columns(chunk), filters, out=y[chunk].reshape(-1, self.m * self.n_out))
        return y

    def grad_weight(self, g):
        total = np.zeros_like(g, shape=(self.kh * self.run, self.m * self.n_out))
        for chunk in self.chunks:
            total += self.columns(chunk).T @ g[chunk].reshape(-1, self.m * self.n_out)
        total = sum(self.bands(total))  # (kh, kw·C, O)
        return total.reshape(self.kh, self.kw, -1, self.n_out).transpose(3, 2, 0, 1)

    def grad_image(self, g):
        """In two stages: kh products give sums along rows, then kw column sums give the image."""
        n, height, width, c = self.image.shape
        (sh, sw), kwc = self.stride, self.kw * c
        filters = self.weight.transpose(2, 0, 3, 1).reshape(self.kh, self.n_out, kwc)
        total = np.zeros_like(self.image)
        for chunk in self.chunks:
            part = g[chunk]
            rows = np.zeros_like(g, shape=(len(part), height, self.q, kwc))
            for i in range(self.kh):
                product = part.reshape(-1, self.n_out) @ filters[i]
                rows[:, i : i + sh * (self.p - 1) + 1 : sh] += product.reshape(len(part), self.p, self.q, kwc)
            for j in range(self.kw):
                columns = slice(j, j + sw * (self.q - 1) + 1, sw)
                total[chunk, :, columns] += rows[..., j * c : (j + 1) * c]
        return total


class _Grouped:
    """The same three products where each group of filters reads its own channels: a batched matmul."""

    def __init__(self, image, weight, stride, groups):
        self.image, self.stride, self.groups = image, stride, groups
        self.n_out, self.c_group, self.kh, self.kw = weight.shape
        # (groups, kh·kw·C/groups, O/groups)
        split = weight.reshape(groups, self.n_out // groups, self.c_group, self.kh, self.kw)
        self.filters = split.transpose(0, 3, 4, 2, 1).reshape(groups, -1, self.n_out // groups)
        n, height, width, _ = image.shape
        self.p, self.q = (height - self.kh) // stride[0] + 1, (width - self.kw) // stride[1] + 1

    def _window(self, image, i, j):
        """What kernel position (i, j) meets: a view (N, P, Q, C) of the image."""
        (sh, sw), last_p, last_q = self.stride, self.p - 1, self.q - 1
        return image[:, i : i + sh * last_p + 1 : sh, j : j + sw * last_q + 1 : sw]

    def columns(self):
        """All windows by group: (groups, N·P·Q, kh·kw·C/groups)."""
        views = [self._window(self.image, i, j) for i, j in np.ndindex(self.kh, self.kw)]
        stacked = np.stack(views, axis=3)  # (N, P, Q, kh·kw, C)
        stacked = stacked.reshape(-1, self.kh * self.kw, self.groups, self.c_group)
        return stacked.transpose(2, 0, 1, 3).reshape(self.groups, len(stacked), self.kh * self.kw * self.c_group)

    def _by_group(self, g):
        return g.reshape(-1, self.groups, self.n_out // self.groups).transpose(1, 0, 2)  # (groups, N·P·Q, O/groups)

    def forward(self):
        y = (self.columns() @ self.filters).transpose(1, 0, 2)  # (N·P·Q, groups, O/groups)
        return y.reshape(len(self.image), self.p, self.q, self.n_out)

    def grad_weight(self, g):
        total = self.columns().swapaxes(1, 2) @ self._by_group(g)  # (groups, kh·kw·C/groups, O/groups)
        total = total.reshape(self.groups, self.kh, self.kw, self.c_group, -1).transpose(0, 4, 3, 1, 2)
        return total.reshape(self.n_out, self.c_group, self.kh, self.kw)

    def grad_image(self, g):
        parts = self._by_group(g) @ self.filters.swapaxes(1, 2)  # (groups, N·P·Q, kh·kw·C/groups)
        parts = parts.reshape(self.groups, len(self.image), self.p, self.q, self.kh, self.kw, self.c_group)
        parts = parts.transpose(1, 2, 3, 4, 5, 0, 6)  # (N, P, Q, kh, kw, groups, C/groups)
        total = np.zeros_like(self.image)
        for i, j in np.ndindex(self.kh, self.kw):
            place = self._window(total, i, j)
            place += parts[:, :, :, i, j].reshape(place.shape)
        return total


def _channels_last(x, padding):
    """x with its padding, in memory as (N, H, W, C)."""
    image = x.transpose(0, 2, 3, 1)
    ph, pw = padding
    if ph or pw:
        n, height, width, c = image.shape
        padded = np.zeros_like(x, shape=(n, height + 2 * ph, width + 2 * pw, c), order="C")  # else in the order of x
        padded[:, ph : ph + height, pw : pw + width] = image
        return padded
    return image if image.flags.c_contiguous else image.copy(order="C")


def pair(value, name):
    """3 -> (3, 3); (3, 2) stays. Raises ValueError for anything but one or two integers ≥ 0."""
    both = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(both) != 2 or not all(isinstance(v, (int, np.integer)) and v >= 0 for v in both):
        raise ValueError(f"{name} is an integer of 0 or more, or a pair of them; got {value!r}")
    return both


def check_conv(x_shape, weight_shape, stride, padding, groups):
    """Raise ShapeError, with the shapes and the likely fix, unless a convolution can be made of these."""
    if len(x_shape) != 4:
        hint = " Add the channel axis: x.reshape({}, 1, {}, {}).".format(*x_shape) if len(x_shape) == 3 else ""
        raise ShapeError(f"conv2d needs images (N, C, H, W); got {x_shape}.{hint}")
    if len(weight_shape) != 4 or min(stride) < 1 or not isinstance(groups, int) or groups < 1:
        raise ShapeError(
            f"conv2d needs weight (O, C/groups, kh, kw), stride and groups of at least 1; "
            f"got weight {weight_shape}, stride {stride}, groups {groups}"
        )
    n_out, c_group, kh, kw = weight_shape
    if x_shape[1] != c_group * groups or n_out % groups:
        raise ShapeError(
            f"conv2d with weight {weight_shape} and groups={groups} needs x (N, {c_group * groups}, H, W) "
            f"and filters in {groups} equal groups; got x {x_shape} and {n_out} filters"
        )
    if x_shape[2] + 2 * padding[0] < kh or x_shape[3] + 2 * padding[1] < kw:
        raise ShapeError(f"conv2d's kernel ({kh}, {kw}) is larger than the image {x_shape[2:]} with padding {padding}")

"""Convolution as a matrix product. Start with `conv2d_loop`, seven loops that say what it is.

Then read `im2col`, which copies the windows of x into columns, and `conv2d_im2col`: one product with the
filters gives all outputs, and `col2im` carries the gradient back. This is the rule for grouped filters.

The rule for filters that read all channels, `_Dense`, does the same in another order of memory: shapes are
(N, C, H, W), as in PyTorch, but the numbers lie as (N, H, W, C). Then the kw·C numbers that a window reads
from one row of the image are neighbours, a window is kh such runs, and the product's result lies in the same
order, ready for the next layer.

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
    height, width = conv_output_size(x.shape[2], kh, sh), conv_output_size(x.shape[3], kw, sw)
    y = np.zeros((len(x), n_out, height, width), x.dtype)
    for n, o, p, q in np.ndindex(*y.shape):
        first = o // (n_out // groups) * c_group
        window = x[n, first : first + c_group, p * sh : p * sh + kh, q * sw : q * sw + kw]
        y[n, o, p, q] = (window * weight[o]).sum() + (0 if bias is None else bias[o])
    return y


def conv_output_size(size, kernel_size, stride=1, padding=0):
    """Count the places of a kernel along one axis of an image.

        P = ⌊(size + 2·padding − kernel_size) / stride⌋ + 1

    The first place is at 0, and each next one `stride` further; the last must end inside the padded image.

    Units:  all in pixels, integers; `padding` is what is added at each of the two ends.
    """
    return (size + 2 * padding - kernel_size) // stride + 1


def im2col(x, kernel_size, *, stride=1, padding=0):
    """Copy every window of the images into a column of a matrix: PyTorch's `unfold`.

        columns[n, (c, i, j), (p, q)] = x[n, c, p·s + i, q·s + j]        x has `padding` zeros around it

    Windows overlap, so a pixel is copied as often as windows read it: up to kh·kw times.

    Shapes: x (N, C, H, W) -> columns (N, C·kh·kw, P·Q): one column for each window, read row by row.
    Units:  kernel_size, stride and padding in pixels, an integer or a pair (vertical, horizontal).
    Source: as `conv2d`.
    """
    (kh, kw), (sh, sw) = pair(kernel_size, "kernel_size"), pair(stride, "stride")
    ph, pw = pair(padding, "padding")
    n, c, height, width = x.shape
    p, q = conv_output_size(height, kh, sh, ph), conv_output_size(width, kw, sw, pw)
    x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    columns = np.empty_like(x, shape=(n, c, kh, kw, p, q))
    for i, j in np.ndindex(kh, kw):  # pixel (i, j) of all windows at once
        columns[:, :, i, j] = x[:, :, i : i + sh * p : sh, j : j + sw * q : sw]
    return columns.reshape(n, c * kh * kw, p * q)


def col2im(columns, output_size, kernel_size, *, stride=1, padding=0):
    """Add every column back where its window lay: the transpose of `im2col`, PyTorch's `fold`.

        x[n, c, p·s + i, q·s + j] = Σ over all windows that read this pixel, of columns[n, (c, i, j), (p, q)]

    `im2col` repeats pixels, so its gradient adds over the repeats. What falls on the padding is dropped.

    Shapes: columns (N, C·kh·kw, P·Q), output_size (H, W), that of the images -> x (N, C, H, W).
    Units:  kernel_size, stride and padding as in `im2col`.
    """
    (kh, kw), (sh, sw) = pair(kernel_size, "kernel_size"), pair(stride, "stride")
    ph, pw = pair(padding, "padding")
    height, width = output_size
    p, q = conv_output_size(height, kh, sh, ph), conv_output_size(width, kw, sw, pw)
    n, c = len(columns), columns.shape[1] // (kh * kw)
    columns = columns.reshape(n, c, kh, kw, p, q)
    x = np.zeros_like(columns, shape=(n, c, height + 2 * ph, width + 2 * pw))
    for i, j in np.ndindex(kh, kw):
        x[:, :, i : i + sh * p : sh, j : j + sw * q : sw] += columns[:, :, i, j]
    return x[:, :, ph : ph + height, pw : pw + width]


def conv2d_im2col(x, weight, bias=None, *, stride=1, padding=0, groups=1):
    """The rule of `conv2d` by one product with all windows; each group of filters reads its own channels.

        y = weight · columns        ∂L/∂weight = g · columnsᵀ        ∂L/∂x = col2im(weightᵀ · g)

    Shapes, Units, Source: as `conv2d`. The columns take kh·kw times the bytes of x at stride 1, so they are
    made again for the gradient, not kept.
    """
    (n, c, *size), (n_out, c_group, kh, kw) = x.shape, weight.shape
    axes = zip(size, (kh, kw), pair(stride, "stride"), pair(padding, "padding"))
    p, q = (conv_output_size(*axis) for axis in axes)
    where = {"kernel_size": (kh, kw), "stride": stride, "padding": padding}
    filters = weight.reshape(groups, n_out // groups, c_group * kh * kw)

    def columns():
        return im2col(x, **where).reshape(n, groups, c_group * kh * kw, p * q)

    def by_group(g):
        return g.reshape(n, groups, n_out // groups, p * q)

    def grad_x(g):
        parts = filters.swapaxes(1, 2) @ by_group(g)  # (N, groups, C/groups·kh·kw, P·Q)
        return col2im(parts.reshape(n, c * kh * kw, p * q), size, **where)

    def grad_weight(g):
        return (by_group(g) @ columns().swapaxes(2, 3)).sum(axis=0).reshape(weight.shape)

    y = (filters @ columns()).reshape(n, n_out, p, q)  # (N, groups, O/groups, P·Q) before
    if bias is not None:
        y += bias.reshape(-1, 1, 1)
    return y, (grad_x, grad_weight, lambda g: g.sum(axis=(0, 2, 3)))


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
    stride, padding = checked(x, weight, bias, stride, padding, groups)
    if groups > 1:
        return conv2d_im2col(x, weight, bias, stride=stride, padding=padding, groups=groups)
    dense = _Dense(_channels_last(x, padding), weight, stride)
    y = dense.forward(bias)  # (N, P, Q, O)

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
        self.p = conv_output_size(height, self.kh, stride[0])
        self.q = conv_output_size(width, self.kw, stride[1])
        few = c * self.kw < 16
        self.m = next(m for m in ((4, 3, 2, 1) if few else (1,)) if self.q % m == 0)
        self.run = (self.kw + (self.m - 1) * stride[1]) * c  # numbers that a window reads from one row
        self.row_bytes = self.kh * self.run * self.p * (self.q // self.m) * image.dtype.itemsize
        self.chunks = backend.chunks(image, self.row_bytes)  # a few images at a time

    def columns(self, chunk):
        """The windows of some images, one a row: (images · P · Q/m, kh · run)."""
        return self.windows(self.image[chunk]).reshape(-1, self.kh * self.run)

    def windows(self, image):
        """The windows of these images without a copy: (images, P, Q/m, kh, run)."""
        n, height, width, c = image.shape
        rows = image.reshape(n, height, width * c)
        views = np.lib.stride_tricks.sliding_window_view(rows, (self.kh, self.run), axis=(1, 2))
        return views[:, :: self.stride[0], :: self.stride[1] * self.m * c][:, : self.p, : self.q // self.m]

    def bands(self, matrix):
        """The m places of the filters in the banded matrix, each (kh, kw·C, O)."""
        shift = self.run if self.m == 1 else (self.run - self.weight.shape[1] * self.kw) // (self.m - 1)
        length = self.weight.shape[1] * self.kw
        blocks = matrix.reshape(self.kh, self.run, self.m, self.n_out)
        return [blocks[:, k * shift : k * shift + length, k] for k in range(self.m)]

    def filters(self):
        """The banded matrix: (kh · run, m · O)."""
        filters = np.zeros_like(self.weight, shape=(self.kh * self.run, self.m * self.n_out))
        for band in self.bands(filters):
            band[...] = self.weight.transpose(2, 3, 1, 0).reshape(band.shape)
        return filters

    def forward(self, bias=None):
        y = np.empty_like(self.image, shape=(len(self.image), self.p, self.q, self.n_out), order="C")
        everywhere = None if bias is None else np.tile(bias, self.p * self.q)  # long runs add faster than short ones
        filters = self.filters()
        for chunk in self.chunks:
            np.matmul(self.columns(chunk), filters, out=y[chunk].reshape(-1, self.m * self.n_out))
            if bias is not None:
                y[chunk].reshape(-1, everywhere.size)[...] += everywhere
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


def checked(x, weight, bias, stride, padding, groups):
    """stride and padding as pairs; raises, as `conv2d` says, unless a convolution can be made of all these."""
    stride, padding = pair(stride, "stride"), pair(padding, "padding")
    check_conv(x.shape, weight.shape, stride, padding, groups)
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ShapeError(f"conv2d with weight {weight.shape} needs bias {weight.shape[:1]}; got {bias.shape}")
    check_floats("conv2d", x, weight)
    return stride, padding


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

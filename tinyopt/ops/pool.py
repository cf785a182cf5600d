"""Pooling: one number for each window of an image. Start with `avg_pool2d`.

Both rules walk over the kh·kw places of a window, not over the windows: place (i, j) of all windows at
once is a strided slice of x, which NumPy handles in one call and in x's own memory order.
"""

import numpy as np

from tinyopt import backend
from tinyopt.errors import ShapeError
from tinyopt.ops.conv import conv_output_size, pair
from tinyopt.ops.rule import op


@op
def max_pool2d(x, *, kernel_size, stride=None, padding=0):
    """The largest number of each window; the first of equals gets the gradient, as in PyTorch.

        y[n, c, p, q] = max over i, j of x[n, c, p·s + i, q·s + j]
        ∂L/∂x = g at the place of each maximum, else 0

    Shapes: x (N, C, H, W) -> y (N, C, P, Q), P = ⌊(H + 2·padding − k) / stride⌋ + 1.
    Start:  stride=None is the kernel's size. Padding counts as −∞.
    Raises: ShapeError if the window does not fit; ValueError for padding over half the kernel.
    """
    image, places, put = _places(x, kernel_size, stride, padding, -np.inf)
    y = image[places[0]].copy(order="K")
    for place in places[1:]:
        np.maximum(y, image[place], out=y)

    def grad_x(g):
        total, g = np.zeros_like(image), _in_memory_of(y, g)
        for chunk in backend.chunks(image, 2 * image.nbytes // max(1, len(image))):
            left = g[chunk]  # the gradient of windows whose maximum was not met yet
            for place in places[:-1]:
                part = left * (image[chunk][place] == y[chunk])
                left = left - part
                put(total[chunk], place, part)
            put(total[chunk], places[-1], left)
        return _without_border(total, x, padding)

    return y, (grad_x,)


@op
def avg_pool2d(x, *, kernel_size, stride=None, padding=0):
    """The mean of each window; padding counts as zeros, as in PyTorch.

        y[n, c, p, q] = Σ over i, j of x[n, c, p·s + i, q·s + j] / (kh · kw)
        ∂L/∂x = g / (kh · kw), to every number of the window

    Shapes, Start, Raises: as `max_pool2d`.
    """
    image, places, put = _places(x, kernel_size, stride, padding, 0.0)
    share = 1.0 / len(places)
    y = image[places[0]].copy(order="K")
    for place in places[1:]:
        y += image[place]

    def grad_x(g):
        total = np.zeros_like(image)
        part = _in_memory_of(y, g) * share
        for place in places:
            put(total, place, part)
        return _without_border(total, x, padding)

    return y * share, (grad_x,)


def _places(x, kernel_size, stride, padding, border):
    """x with its border; for each place in a window the slice that reads it for all windows; how to write there."""
    (kh, kw), (ph, pw) = pair(kernel_size, "kernel_size"), pair(padding, "padding")
    sh, sw = (kh, kw) if stride is None else pair(stride, "stride")
    if x.ndim != 4:
        raise ShapeError(f"pooling needs images (N, C, H, W); got {x.shape}")
    if min(kh, kw, sh, sw) < 1 or 2 * ph > kh or 2 * pw > kw:
        raise ValueError(
            f"pooling needs kernel and stride of at least 1 and padding of at most half the kernel; "
            f"got kernel {(kh, kw)}, stride {(sh, sw)}, padding {(ph, pw)}"
        )
    height, width = x.shape[2] + 2 * ph, x.shape[3] + 2 * pw
    p, q = conv_output_size(height, kh, sh), conv_output_size(width, kw, sw)
    if p < 1 or q < 1:
        raise ShapeError(f"pooling's kernel {(kh, kw)} is larger than the image {x.shape[2:]} with padding {(ph, pw)}")
    if ph or pw:
        framed = np.full_like(x, border, shape=(len(x), height, width, x.shape[1]), order="C").transpose(0, 3, 1, 2)
        framed[:, :, ph : height - ph, pw : width - pw] = x
        x = framed
    places = [
        (slice(None), slice(None), slice(i, i + sh * (p - 1) + 1, sh), slice(j, j + sw * (q - 1) + 1, sw))
        for i, j in np.ndindex(kh, kw)
    ]
    disjoint = sh >= kh and sw >= kw  # no two windows share a number
    return x, places, _set if disjoint else _add


def _set(total, place, part):
    total[place] = part


def _add(total, place, part):
    total[place] += part


def _in_memory_of(y, g):
    """g in the memory order of y: two orders in one sum would be read against the grain."""
    if g.strides == y.strides:
        return g
    copy = np.empty_like(y)
    copy[...] = g
    return copy


def _without_border(total, x, padding):
    ph, pw = pair(padding, "padding")
    return total[:, :, ph : ph + x.shape[2], pw : pw + x.shape[3]]

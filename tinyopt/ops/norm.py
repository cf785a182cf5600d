"""Normalisation with statistics that are passed in. See `nn.BatchNorm2d`, which measures them with `moments`."""

import functools

import numpy as np

from tinyopt.ops.rule import op


def channel_sum(x):
    """Σ over every axis but 1: as a product with ones, which is faster than a sum in x's memory order.

    Shapes: x (N, C) or (N, C, ...) -> (C,).
    """
    rows = x if x.ndim == 2 else x.reshape(*x.shape[:2], -1).swapaxes(1, 2).reshape(-1, x.shape[1])  # (n, C)
    return np.ones_like(x, shape=len(rows)) @ rows


def moments(x):
    """Mean and (biased) variance of each channel.

    Shapes: x (N, C) or (N, C, ...) -> mean (C,), var (C,).
    """
    n = x.size // x.shape[1]
    mean = channel_sum(x) * (1.0 / n)
    centred = x - mean.reshape(_along_channels(x))
    return mean, channel_sum(centred * centred) * (1.0 / n)


def _along_channels(x):
    return (1, -1) + (1,) * (x.ndim - 2)


@op
def batch_norm(x, weight, bias, mean, var, *, eps=1e-5, training=True):
    """Give each channel mean `bias` and deviation `weight`.

        x̂ = (x − mean) / √(var + ε)        y = weight · x̂ + bias
        ∂L/∂x = weight / √(var + ε) · (g − [training] (mean of g + x̂ · mean of g·x̂))

    In training, `mean` and `var` are those of x itself, and the bracket is the way through them; in
    eval mode they are constants. Sums and means run over every axis but 1.

    Shapes: x (N, C) or (N, C, ...); weight, bias, mean and var (C,) -> y, as x.
    Source: Ioffe & Szegedy (2015), "Batch Normalization", arXiv:1502.03167, Algorithm 1.
    """
    shape = _along_channels(x)
    inverse = (1 / np.sqrt(var + eps)).reshape(shape)
    slope, n = inverse * weight.reshape(shape), x.size // x.shape[1]
    y = x * slope
    y += bias.reshape(shape) - mean.reshape(shape) * slope  # one line for each channel: two passes over x

    @functools.cache
    def x_hat():  # only a gradient asks for it
        return (x - mean.reshape(shape)) * inverse

    def grad_x(g):
        if training:
            g = g - (channel_sum(g).reshape(shape) + x_hat() * channel_sum(g * x_hat()).reshape(shape)) * (1.0 / n)
        return g * slope

    return y, (grad_x, lambda g: channel_sum(g * x_hat()), channel_sum, None, None)

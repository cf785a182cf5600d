"""SmoothQuant: before rounding activations, move their outlier channels into the weights.

Start with these two: `smoothing_scale`, on arrays; `smooth`, the loop over a model. `rescale.py` says why that
changes no output.

    smooth(model, digits.train.sample(500, rng=0).images)
    quantize(model, 8)        # and the activations

All channels of an activation share one scale: if one of them is a hundred times larger, the others are left with a
hundredth of the integers. A weight can have a scale for each row, but not for each column, where products would have
to be added up in different units. So what one side has too much of, the other side takes over in part.
"""

import numpy as np

from tinyopt import backend
from tinyopt.compress.rescale import NORMS, magnitudes, ranges, rescale, stretches
from tinyopt.compress.rounding import checked_images
from tinyopt.measure import capture, inference


def smoothing_scale(largest_input, largest_weight, *, alpha=0.5):
    """How much to divide each input channel by, and to multiply its weights by.

        s_j = max|X_j|^α / max|W_j|^(1 − α)        X W = (X / s) (s W)

    α = 0 leaves it all to the activations, α = 1 to the weights; at 1/2, both end with the same range √(max|X_j| max|W_j|).

    Shapes: largest_input, largest_weight (C,), over all inputs, and over all rows -> s (C,). A channel without
            inputs or weights is left alone: 1.
    Raises: ValueError if alpha lies outside [0, 1].
    Source: Xiao, Lin, Seznec, Wu, Demouth & Han (2023), "SmoothQuant: Accurate and Efficient Post-Training
            Quantization for Large Language Models", arXiv:2211.10438, Section 4, Equation 4.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is how much of the outliers the weights take over, in [0, 1]; got {alpha}")
    known = (largest_input > 0) & (largest_weight > 0)
    x, w = (np.where(known, largest, 1.0) for largest in (largest_input, largest_weight))
    return x**alpha / w ** (1 - alpha)


def smooth(model, images, *, alpha=0.5):
    """Divide each channel by its `smoothing_scale` where it is made, multiply its weights by it where it is read.

    The layer that makes it has its rows and bias divided, or is a norm, whose weight and bias are. Between the two
    are only ReLU, pooling, flattening and residual sums. What the model is given cannot be divided: the first layer
    stays. Divided rows have other ranges: round weights with a scale for each row afterwards.

    Shapes: images (n, ...), from the training part. Returns {layer: s (I,)} for those whose inputs changed.
    Raises: ValueError for images or weights that are not finite, no images, alpha outside [0, 1], a quantized
            weight, or a model in which no channel can be scaled; the model is then as it was.
    Source: as `smoothing_scale`.
    Differs: they divide the weight and bias of a layer norm, which is never rounded; here a Linear or Conv2d
            may have to take the division.
    """
    images = checked_images(model, images)
    flow = stretches(model, images.data[:1])
    largest, one = np.zeros(flow.size), np.ones(flow.size)
    with inference(model), capture(model) as layers:
        model(images)
    for name, numbers in flow.reads.items():
        if not isinstance(model.get(name), NORMS):
            np.maximum.at(largest, numbers, largest_inputs(layers[name], len(numbers)))
    read = ranges(flow, *magnitudes(model, flow), one)[1]
    scale = smoothing_scale(largest, read, alpha=alpha)
    scale[list(flow.fixed)] = 1.0
    rescale(model, flow, scale)
    return {name: scale[numbers] for name, numbers in flow.reads.items() if (scale[numbers] != 1).any()}


def largest_inputs(layer, n_in):
    """The largest |x| at each place of a layer's input, as captured: (I,), on the host.

    The places lie along axis 1 of images and rows (N, I, ...), and along the last of sequences (N, T, I).
    """
    parts = [abs(call.inputs[0].data) for call in layer.calls]
    parts = [x if x.ndim != 3 else x.swapaxes(1, 2) for x in parts]
    largest = [x.max(axis=tuple(i for i in range(x.ndim) if i != 1)) for x in parts]
    return backend.to_host(np.stack(largest).max(axis=0)).astype(np.float64).reshape(n_in)

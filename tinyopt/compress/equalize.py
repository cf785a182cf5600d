"""Cross-layer equalisation: before rounding, let two layers share the load of each channel.

Start with these three: `equalizing_scale`, on arrays; `equalize`, the loop over a model; `rescale.py`, why that
changes no output.

    equalize(model, digits.train.images[:1])
    quantize(model, 8, per_channel=False)

With one scale for a whole weight, a channel whose weights are a hundred times smaller than the largest is left
with a hundredth of the integers. Nothing in the function asks for that: what is small in one layer
can be made larger there and smaller in the next.
"""

import numpy as np

from tinyopt.compress.rescale import magnitudes, ranges, rescale, stretches
from tinyopt.compress.rounding import checked_images


def equalizing_scale(made, read):
    """The scale of a channel after which its weights are as large on both sides.

        s = √(r₁ / r₂)        so that  r₁ / s = r₂ · s = √(r₁ r₂)

    It is the choice that leaves both layers the most precision: no other has a larger Σ (r₁ᵢ / R₁) · (r₂ᵢ / R₂),
    where R is the range of the whole weight.

    Shapes: made, read (C,): r₁, the largest |w| of the row that makes each channel, and r₂, of the columns that read
            it -> s (C,). A channel with no weight on one side is left alone: 1.
    Source: Nagel, van Baalen, Blankevoort & Welling (2019), "Data-Free Quantization Through Weight Equalization
            and Bias Correction", arXiv:1906.04721, Section 4.1, Equation 11, and Appendix A.
    """
    known = (made > 0) & (read > 0)
    return np.sqrt(np.where(known, made, 1.0) / np.where(known, read, 1.0))


def equalize(model, example, *, sweeps=20, tolerance=1e-3):
    """Equalise the weights of every channel between the layers that make it and those that read it, in place.

    Sweeps go through the network until no scale moves by more than `tolerance`, since a layer stands in two pairs.
    Residual sums tie several makers and readers together: their ranges are the largest of all. A norm is no weight
    to be rounded, but it will be folded into the layer before it: its channels count with that layer's range
    times its slope; and the rows before a norm, whose scale it takes off again, are all made as large as the largest.

    Shapes: example, an input of the model (N, ...), one is enough. Returns {layer: s (O,)}: what its outputs
            were divided by in all.
    Raises: ValueError if no channel can be scaled, or a weight is not finite, or quantized already.
    Source: as `equalizing_scale`; there, norms are folded first.
    """
    flow = stretches(model, checked_images(model, example).data)
    sizes, total, blocks = magnitudes(model, flow), np.ones(flow.size), _blocks(flow)
    for _ in range(sweeps):
        before = total.copy()
        for block in blocks:
            made, read = (part[block] for part in ranges(flow, *sizes, total))
            total[block] *= equalizing_scale(made, _or_largest(made, read))
        if abs(np.log(total / before)).max() < tolerance:
            break
    rescale(model, flow, total)
    return {name: total[numbers] for name, numbers in flow.makes.items() if (total[numbers] != 1).any()}


def _or_largest(made, read):
    """Where only norms read a block: r₂ that makes every row as large as the largest, r₁ / s = max r₁."""
    return np.where(made > 0, made.max() ** 2 / np.where(made > 0, made, 1.0), 0.0) if not read.any() else read


def _blocks(flow):
    """The channels that may move, in the order in which they are made: an array for each layer that makes some."""
    seen, blocks = np.isin(np.arange(flow.size), list(flow.fixed)), []
    for numbers in flow.makes.values():
        block = np.unique(numbers[~seen[numbers]])
        seen[block] = True
        blocks += [block] if len(block) else []
    return blocks

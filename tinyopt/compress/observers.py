"""Observers: they watch batches go by, and then say which range the integers should cover.

Start with these three: `MinMaxObserver`, `HistogramObserver`, and `calibrate`, which shows a model's activations to
one observer for each layer.

    MinMaxObserver                the smallest and the largest number of all
    MovingAverageMinMaxObserver   a running average of each batch's
    KSigmaObserver                mean and deviation of all numbers
    HistogramObserver             the smallest squared error          )
    PercentileObserver            all but a few                       )  from a histogram that grows
    EntropyObserver               the smallest divergence             )

The rules are those of `calibrate.py`; there they see all numbers at once, which no one can store for a whole data set.
An observer has `observe(x)`, which looks at one more array, and `range()`, which is (low, high) as plain numbers.
"""

import math
from collections.abc import Iterable

import numpy as np

from tinyopt import backend
from tinyopt.compress import calibrate as rules
from tinyopt.errors import ShapeError
from tinyopt.measure import capture, inference
from tinyopt.measure.capture import tensors_in
from tinyopt.tensor import Tensor


class MinMaxObserver:
    """The smallest and the largest number of all batches.

        low ← min(low, min x)        high ← max(high, max x)

    Shapes: `observe(x)`, an array of any shape with a number in it, on any device: its two ends come to the host.
    Raises: ValueError for NaN and Inf, or if `range()` is asked for before a batch came; ShapeError for an empty x.
    Source: PyTorch, `torch.ao.quantization.MinMaxObserver`.
    Differs: PyTorch's observers lay the line too; here that is `codec.affine.scale_from_range`.
    """

    def __init__(self):
        self.low = self.high = None

    def observe(self, x):
        """Look at one more array."""
        if x.size == 0:
            raise ShapeError(f"an observer needs at least one number to look at; got shape {x.shape}")
        low, high = float(x.min()), float(x.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError("a range needs finite numbers; NaN or infinity came. Look for where they were made")
        self.watch(x, low, high)

    def watch(self, x, low, high):
        """Take in an array whose ends are known; observers differ in this, and in `range`."""
        self.low = low if self.low is None else min(self.low, low)
        self.high = high if self.high is None else max(self.high, high)

    def range(self):
        """The range that the integers should cover: (low, high)."""
        if self.low is None:
            raise ValueError("this observer has seen nothing: call observe(x) with some training data first")
        return self.low, self.high


class MovingAverageMinMaxObserver(MinMaxObserver):
    """The ends of the batches, averaged: one broken batch counts little, unless it is the first.

        low ← low + c (min x − low)        high ← high + c (max x − high)        c = averaging_constant

    Start:  the ends of the first batch.
    Raises: ValueError for a constant outside (0, 1]; and as `MinMaxObserver`.
    Source: PyTorch, `torch.ao.quantization.MovingAverageMinMaxObserver`; Jacob et al. (2018), arXiv:1712.05877,
            Section 3.1.
    """

    def __init__(self, averaging_constant=0.01):
        super().__init__()
        if not 0 < averaging_constant <= 1:
            raise ValueError(f"averaging_constant is the newest batch's share, in (0, 1]; got {averaging_constant!r}")
        self.averaging_constant = averaging_constant

    def watch(self, x, low, high):
        part = self.averaging_constant
        self.low = low if self.low is None else self.low + part * (low - self.low)
        self.high = high if self.high is None else self.high + part * (high - self.high)


class KSigmaObserver(MinMaxObserver):
    """The mean and k deviations to each side, as `calibrate.k_sigma`, of all numbers together.

        n ← n + m        μ ← μ + δ m / n        S ← S + Σ (x − x̄)² + δ² (n − m) m / n        δ = x̄ − μ

    for a batch of m numbers with mean x̄; then σ² = S / n.

    Raises: ValueError for k ≤ 0; and as `MinMaxObserver`.
    Source: Chan, Golub & LeVeque (1983), "Algorithms for Computing the Sample Variance: Analysis and
            Recommendations", The American Statistician 37(3) (sums of batches put together).
    """

    def __init__(self, k=3.0):
        super().__init__()
        rules.check_k(k)
        self.k, self.n, self.mean, self.squares = k, 0, 0.0, 0.0

    def watch(self, x, low, high):
        super().watch(x, low, high)
        mean = x.mean(dtype=np.float64)
        squares, mean = float(((x - mean) ** 2).sum(dtype=np.float64)), float(mean)
        self.n += x.size
        shift = mean - self.mean
        self.mean += shift * x.size / self.n
        self.squares += squares + shift**2 * (self.n - x.size) * x.size / self.n

    def range(self):
        low, high = super().range()
        width = self.k * math.sqrt(self.squares / self.n)
        return max(self.mean - width, low), min(self.mean + width, high)


class HistogramObserver(MinMaxObserver):
    """The range with the smallest squared error, as `calibrate.mse_optimal`, found in a histogram that grows.

        bin j holds  (j − bins) · w ≤ x < (j + 1 − bins) · w,   j = 0 … 2 bins − 1;   w = 2^e / bins

    with the smallest e for which all numbers fit. If a number lies beyond, w doubles and neighbours merge: each bin
    lies inside one new bin, so that counts stay exact, whatever the order in which the batches came. A bin counts as
    its middle in the search; zeros, which come back as 0 from any range, are counted apart.

    Units:  bits, 2 to 10, on a `symmetric` line or an affine one; bins on each side of 0, a power of two.
    Raises: ValueError for other bits or bins; and as `MinMaxObserver`.
    Source: PyTorch, `torch.ao.quantization.HistogramObserver`.
    Differs: PyTorch's bins are cut anew for each wider batch, and counts are divided among them; its search moves the
            ends inwards by quantiles as long as the error falls; ours is that of `calibrate.best_range`.
    """

    def __init__(self, bins=2048, bits=8, symmetric=False):
        super().__init__()
        rules.check_bits(bits)
        if bins < 2 or bins & (bins - 1):
            raise ValueError(f"bins is a power of two, such as 2048; got {bins!r}")
        self.bins, self.bits, self.symmetric = bins, bits, symmetric
        self.exponent, self.n_zeros, self.counts = None, 0, np.zeros(2 * bins)

    width = property(lambda self: 0.0 if self.exponent is None else math.ldexp(1 / self.bins, self.exponent))
    edges = property(lambda self: np.arange(-self.bins, self.bins + 1) * self.width)

    def watch(self, x, low, high):
        super().watch(x, low, high)
        x = backend.to_host(x).reshape(-1).astype(np.float64)
        self.n_zeros += int((x == 0).sum())
        if not low == high == 0:
            self._widen(math.frexp(max(high, -low))[1])  # |x| < 2^exponent
            place = np.floor(x[x != 0] / self.width).astype(np.int64) + self.bins
            self.counts += np.bincount(place, minlength=2 * self.bins)

    def _widen(self, exponent):
        """Merge pairs of bins, and put empty ones beyond, until numbers below 2^exponent fit."""
        if self.exponent is None:
            self.exponent = exponent
        while self.exponent < exponent:
            pairs = self.counts.reshape(self.bins, 2).sum(axis=1)
            self.counts, self.exponent = np.pad(pairs, self.bins // 2), self.exponent + 1

    def range(self):
        super().range()
        filled = self.counts > 0
        middles = (self.edges[:-1] + self.width / 2)[filled]
        return rules.best_range(*rules.grouped(middles, self.counts[filled], self.bits), self.bits, self.symmetric)


class PercentileObserver(HistogramObserver):
    """The range of all but a few, as `calibrate.percentile`, to the outer edge of the bin in which each end falls.

    Units:  percent, in (50, 100]; 100 is `MinMaxObserver`.
    Raises: ValueError for another percent; and as `HistogramObserver`.
    """

    def __init__(self, percent=99.9, bins=2048):
        super().__init__(bins)
        rules.check_percent(percent)
        self.percent = percent

    def range(self):
        low, high = MinMaxObserver.range(self)
        counts = self.counts.copy()
        counts[self.bins] += self.n_zeros
        up_to = np.cumsum(counts)
        n_below = (1 - self.percent / 100) * up_to[-1]  # numbers to leave out at each end
        first = np.searchsorted(up_to, n_below, side="right")
        last = np.searchsorted(up_to, up_to[-1] - n_below)
        return max(low, float(self.edges[first])), min(high, float(self.edges[last + 1]))


class EntropyObserver(HistogramObserver):
    """The range whose integers keep most of what the histogram tells, as `calibrate.entropy`.

    Raises: as `HistogramObserver`.
    Source: as `calibrate.entropy`.
    Differs: as there; and the numbers fill the bins from half of them on, not all.
    """

    def range(self):
        low, high = MinMaxObserver.range(self)
        sizes = self.counts[self.bins :] + self.counts[: self.bins][::-1]
        cut = rules.best_cut(sizes, rules.n_levels(self.bits, self.symmetric, low, high))
        return rules.cut_ends(cut * self.width, low, high)


# --- a model's activations -----------------------------------------------------------------------------


def calibrate(model, part, observer=MinMaxObserver, layers=None, *, batch_size=64):
    """Run training data through a model, and ask one observer for each layer which range its outputs need.

    The model runs in eval mode, and stays as it was. The layer "input" stands for the images themselves.

    Shapes: part, a pair (images, labels) such as `data.train.sample(512, rng=0)`, or images (n, ...) alone; observer,
            what makes one: a class, or `functools.partial(PercentileObserver, 99.99)`.
    Start:  layers=None watches the input and every layer that has no layers inside.
    Units:  batch_size in examples; returns {layer: (low, high)}, in the order of `layers`.
    Raises: KeyError for a layer that is unknown; ValueError if there is no example, if a layer does not run, or if NaN
            or Inf come out of a layer, which is named.
    Source: Jacob et al. (2018), arXiv:1712.05877, Section 3.1; Krishnamoorthi (2018), arXiv:1806.08342, Section 3.
    """
    images = images_of(part)
    inside = [name for name, module in model.named_modules() if name and not any(True for _ in module.named_children())]
    for name in layers or ():
        if name != "input":
            model.get(name)  # raises, with the names there are
    watching = {name: observer() for name in (["input", *inside] if layers is None else layers)}
    home = next((parameter.device for parameter in model.parameters()), "cpu")
    with inference(model):
        for start in range(0, len(images), batch_size):
            _show(watching, model, Tensor(backend.to_device(images[start : start + batch_size], home)))
    idle = [name for name, watcher in watching.items() if watcher.low is None]
    if idle and layers is not None:
        raise ValueError(f"no range can be found for what does not run: {', '.join(idle)}. Calibrate layers that do")
    return {name: watcher.range() for name, watcher in watching.items() if name not in idle}


def _show(watching, model, x):
    """Run one batch, and let each observer see what its layer made."""
    if "input" in watching:
        _look(watching["input"], x, "the calibration images hold")
    with capture(model) as seen:
        model(x)
    for name, watcher in watching.items():
        for output in _outputs(seen, name):
            _look(watcher, output, f"from calibration data, {name!r} makes")


def _look(watcher, x, whose):
    """Let an observer see a tensor; if it has no range, say whose it is."""
    try:
        watcher.observe(x.data)
    except ValueError:
        raise ValueError(f"{whose} NaN or infinity, which no range covers. Mend or leave out such data") from None


def _outputs(seen, name):
    """All that a layer made; nothing if it did not run."""
    try:
        calls = seen[name].calls
    except KeyError:
        return []
    return [part for call in calls for part in tensors_in(call.output)]


def images_of(part):
    """The images of a part, or images as they are.

    Raises: ValueError if there are none; TypeError for what is neither.
    """
    if not isinstance(part, Iterable):
        raise TypeError(f"images to look at are an array, or a part such as data.train; got {part!r}")
    images = part if backend.is_array(part) or isinstance(part, Tensor) else next(iter(part), None)
    images = images.data if isinstance(images, Tensor) else images
    if images is None or not backend.is_array(images) or len(images) == 0:
        raise ValueError("calibration needs examples to run through the layers; there are none. Take some of the "
                         "training part: data.train.sample(512, rng=0)")  # fmt: skip
    return images

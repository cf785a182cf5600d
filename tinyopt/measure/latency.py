"""How long a forward pass takes."""

import dataclasses
import time

import numpy as np

from tinyopt import backend
from tinyopt.measure.modes import inference
from tinyopt.tensor import Tensor

FEWEST, MOST, WARM_UP = 5, 1000, 2  # passes


@dataclasses.dataclass(frozen=True)
class Latency:
    """The median of measured times, and the quartiles around it.

    Units: all in seconds for one forward pass of the whole batch; `repeats` counts the passes.
    """

    seconds: float
    lower_quartile: float
    upper_quartile: float
    repeats: int
    batch_size: int

    def __str__(self):
        low, middle, high = (1e3 * s for s in (self.lower_quartile, self.seconds, self.upper_quartile))
        runs = f"median of {self.repeats}, batch {self.batch_size}"
        return f"{middle:.3f} ms ({runs}; half of them between {low:.3f} and {high:.3f})"


def latency(model, batch, repeats=None, budget=0.5):
    """Time forward passes, in eval mode and without a graph, after a warm-up.

    The median, not the mean: other work on the machine only ever makes a pass slower. On a GPU the
    clock is read when the device has finished.

    Shapes: batch, an input of the model (N, ...) -> a `Latency`.
    Units:  `budget`, seconds to spend on measuring: it sets the number of passes (5 to 1,000), unless
            `repeats` does.
    Raises: ValueError for repeats below 1.
    """
    if repeats is not None and repeats < 1:
        raise ValueError(f"repeats counts forward passes, 1 or more; got {repeats}")
    batch, times = Tensor(batch), []
    with inference(model):
        for _ in range(WARM_UP):
            output = model(batch)
        backend.synchronize(output.data)
        begin = time.perf_counter()
        while not _enough(len(times), repeats, time.perf_counter() - begin, budget):
            start = time.perf_counter()
            backend.synchronize(model(batch).data)
            times.append(time.perf_counter() - start)
    low, middle, high = np.quantile(times, (0.25, 0.5, 0.75)).tolist()
    return Latency(middle, low, high, len(times), len(batch))


def _enough(n, repeats, spent, budget):
    if repeats is not None:
        return n >= repeats
    return n >= MOST or (n >= FEWEST and spent >= budget)

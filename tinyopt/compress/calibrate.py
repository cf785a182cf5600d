"""Calibration: which range of numbers the integers should cover, found by looking at an array.

    min_max       all of it: nothing is clipped, but one far number makes every step large
    percentile    all but a few of the largest and smallest: those are clipped, and the others get finer steps

A range is a pair (low, high). `codec.affine.scale_from_range` lays the line for it; numbers outside are clipped to
its ends. `quantize(model, calibrate=...)` takes any function of this form. For weights, the array is the weight. For
activations, it is what a layer made on some *training* images: `measure.capture` catches that.
"""

import numpy as np

from tinyopt.codec.affine import min_max, other_axes

__all__ = ["min_max", "percentile"]


def percentile(x, percent=99.9, *, axis=None):
    """The range that `percent` % of the numbers do not exceed at the upper end, nor fall below at the lower.

        low = the (100 − percent)-th percentile of x        high = the percent-th

    So (100 − percent) % are cut off at each end. Between two numbers, a percentile is read off the straight
    line that joins them, as `np.percentile` does.

    Shapes: x (..., C, ...), float32 or float64, with C at `axis` -> low, high (C,); () when axis is None.
    Units:  percent, in (50, 100]; 100 is `min_max`.
    Raises: ValueError for another percent, or on NaN and Inf; DtypeError and ShapeError as `min_max`.
    Source: NVIDIA Model Optimizer, `HistogramCalibrator.compute_amax("percentile")`.
    Differs: that finds one largest magnitude, for a symmetric range, from a histogram; here each end has its own,
            so that an affine line profits too, and it is read off the numbers themselves.
    """
    if not 50 < percent <= 100:
        raise ValueError(f"percent is the share of numbers to cover, in (50, 100], such as 99.9; got {percent!r}")
    min_max(x, axis=axis)  # refuses what has no range
    ends = np.percentile(x, [100 - percent, percent], axis=other_axes(x, axis)).astype(x.dtype)  # (2,) or (2, C)
    return ends[0], ends[1]

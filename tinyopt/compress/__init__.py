"""Making models small. Each file: a function on arrays to study, then one that puts it into a model.

    prune.py      remove weights                     a mask, which stays
    quantize.py   fewer bits for each                small integers and a scale
    calibrate.py  the range that they cover          from the weights, or from data
    wrong_ways.py how not to quantize                each with the error that it makes
    share.py      few distinct values                k-means codebooks, trained
    lowrank.py    a product of thin matrices         surgery on the model
    distill.py    a small net learns from a large    a loss

Save the result with `tinyopt.save`, and measure that file.
"""

from tinyopt.compress import calibrate, wrong_ways  # noqa: F401  two modules to look into
from tinyopt.compress.distill import distillation_loss, taught_by
from tinyopt.compress.lowrank import factorize, rank_for_energy, truncated_svd
from tinyopt.compress.prune import magnitude_mask, prune
from tinyopt.compress.quantize import quantize
from tinyopt.compress.share import kmeans, share

__all__ = [
    "distillation_loss", "factorize", "kmeans", "magnitude_mask", "prune", "quantize", "rank_for_energy", "share",
    "taught_by", "truncated_svd",
]  # fmt: skip

"""Making models small. Each file: a function on arrays to study, then one that puts it into a model.

Remove weights, and keep them removed (start with `prune.py`):
    importance/       which weights and channels matter            scores, each with its source
    prune.py          masks by rank                                a mask, which stays
    patterns.py       N:M and blocks                               masks that hardware likes
    schedules.py      when to remove how much                      a callback of `train.fit`
    dynamic.py        sparse from the start, drop and grow         ER, ERK, RigL
    lottery.py        tickets, and their control                   back to step k
    sensitivity.py    how much each layer can bear                 on validation data
    reconstruct.py    survivors that make up for the rest          least squares, layer by layer
    seen.py           what pruning did                             pixels, answers
    sparse.py         layers that multiply sparse                  where that is faster

Remove channels: surgery on the model (start with `surgery.py`; `channels.py` follows a cut, `thin.py` chooses)

Store each weight in fewer bits:
    quantize.py       fewer bits for each                          small integers and a scale
    calibrate.py      the range that they cover                    from the weights, or from data
    wrong_ways.py     how not to quantize                          each with the error that it makes
    share.py          few distinct values                          k-means codebooks, trained

Make another network:
    lowrank.py        a product of thin matrices                   surgery on the model
    distill.py        a small net learns from a large one          a loss

Save the result with `tinyopt.save`, and measure that file.
"""

from tinyopt.compress import calibrate, importance, wrong_ways  # noqa: F401  modules to look into
from tinyopt.compress.distill import distillation_loss, freeze, soften, taught_by, transfer
from tinyopt.compress.dynamic import RigL, drop_and_grow, sparse_start
from tinyopt.compress.lottery import find_ticket
from tinyopt.compress.lowrank import energy_sweep, factorize, largest_saving_rank, rank_for_energy, rank_sweep
from tinyopt.compress.lowrank import truncated_svd
from tinyopt.compress.patterns import block_mask, n_m_mask, prune_blocks, prune_n_m
from tinyopt.compress.prune import cubic_sparsity, magnitude_mask, prune, top_mask
from tinyopt.compress.quantize import quantize
from tinyopt.compress.reconstruct import reconstruct
from tinyopt.compress.schedules import PruneAt
from tinyopt.compress.sensitivity import scan
from tinyopt.compress.share import kmeans, lloyd_step, share
from tinyopt.compress.sparse import sparsify
from tinyopt.compress.surgery import groups_of, masked, remove
from tinyopt.compress.thin import prune_channels

__all__ = [
    "PruneAt", "RigL", "block_mask", "cubic_sparsity", "distillation_loss", "drop_and_grow", "energy_sweep", "factorize",
    "find_ticket", "freeze", "groups_of", "kmeans", "largest_saving_rank", "lloyd_step", "magnitude_mask", "masked",
    "n_m_mask", "prune", "prune_blocks", "prune_channels", "prune_n_m", "quantize", "rank_for_energy", "rank_sweep",
    "reconstruct", "remove", "scan", "share", "soften", "sparse_start", "sparsify", "taught_by", "top_mask", "transfer",
    "truncated_svd",
]  # fmt: skip

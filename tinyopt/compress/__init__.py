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

Store each weight in fewer bits (start with `quantize.py`):
    quantize.py       fewer bits for each                          small integers and a scale
    calibrate.py      the range that they cover                    from the weights, or from data
    observers.py      the same, of batches that go by              for activations
    clip.py           cut weights off at a range                   which alone saves no byte
    static.py         activations too, on lines laid before        dynamic_quant.py: laid at run time
    bit_budget.py     how many bits for each layer                 exact, under a byte budget
    formats.py        small floats, and levels of any kind         fp16 ... fp4, NF4, powers of two
    integer/          no floats at run time                        int8 in, int32 sums, fixed point
    wrong_ways.py     how not to quantize                          each with the error that it makes
    share.py          few distinct values                          k-means codebooks, trained
    kmeans_exact.py   the best values there are                    kmeans_starts.py: where k-means begins
    hashed.py         values chosen by a hash of the place         no label is stored
    tied.py           one weight in several places                 stored once

Round better, after training (`rounding.py` is the frame of the first two, `rescale.py` of the next two):
    gptq.py           the rest of a row makes up for each error    from XᵀX, column by column
    adaround.py       up or down is learned                        layer by layer
    equalize.py       channels of like range                       scales moved between layers
    smooth.py         outliers of activations                      moved into the weights
    bias_correction.py                                             what rounding shifts on average
    fold.py           norms                                        folded into the layer before

Train with the rounding in it:
    qat.py            straight through the rounding                weights and activations
    lsq.py            the step is learned, too                     binary.py, ternary.py: 1 and 1.6 bits

Make another network:
    lowrank.py        a product of thin matrices                   surgery on the model
    rank_budget.py    which rank for which layer                   a byte budget, greedy on σ²
    conv_lowrank.py   convolutions: two thin ones, or three        SVD, Tucker-2
    whitened.py       thin matrices for the outputs                from data, in closed form
    lora.py           a thin matrix beside a frozen weight         merged in the end
    distill.py        a small net learns from a large one          a loss
    hints.py          from what lies inside a teacher              hints, attention, logits
    teachers.py       any function teaches                         ensembles, chains, each other
    fuse.py           fewer steps for the same numbers             one_run.py: what it refuses
    workspace.py      memory used again                            planned before the run

Save the result with `tinyopt.save`, and measure that file.
"""

from tinyopt.compress import calibrate, importance, integer, lsq, observers, qat, wrong_ways  # noqa: F401  to look into
from tinyopt.compress.adaround import adaround
from tinyopt.compress.bias_correction import correct_bias
from tinyopt.compress.binary import binarize, binarize_inputs
from tinyopt.compress.bit_budget import scan_bits
from tinyopt.compress.clip import clip_weights
from tinyopt.compress.conv_lowrank import channel_svd, conv_cost, factorize_convs, spatial_svd, tucker2
from tinyopt.compress.distill import distillation_loss, freeze, soften, taught_by, transfer
from tinyopt.compress.dynamic import RigL, drop_and_grow, sparse_start
from tinyopt.compress.dynamic_quant import quantize_dynamic
from tinyopt.compress.equalize import equalize
from tinyopt.compress.fold import fold_norms
from tinyopt.compress.formats import quantize_levels, store_as
from tinyopt.compress.fuse import fuse, merge_convs, merge_linears
from tinyopt.compress.gptq import gptq
from tinyopt.compress.hashed import hash_weights
from tinyopt.compress.hints import attends, attention_loss, attention_map, fit_hints, hinted, mimics, squared_distance
from tinyopt.compress.integer import integerize
from tinyopt.compress.kmeans_exact import exact_kmeans
from tinyopt.compress.lora import add_adapters, merge_adapters
from tinyopt.compress.lottery import find_ticket
from tinyopt.compress.lowrank import energy_sweep, factorize, largest_saving_rank, rank_for_energy, rank_sweep
from tinyopt.compress.lowrank import truncated_svd
from tinyopt.compress.lsq import prepare_lsq
from tinyopt.compress.patterns import block_mask, n_m_mask, prune_blocks, prune_n_m
from tinyopt.compress.prune import cubic_sparsity, magnitude_mask, prune, top_mask
from tinyopt.compress.qat import prepare_qat
from tinyopt.compress.quantize import quantize
from tinyopt.compress.rank_budget import factorize_to, ranks_for_bytes
from tinyopt.compress.reconstruct import reconstruct
from tinyopt.compress.schedules import PruneAt
from tinyopt.compress.sensitivity import scan
from tinyopt.compress.share import kmeans, lloyd_step, share
from tinyopt.compress.smooth import smooth
from tinyopt.compress.sparse import sparsify
from tinyopt.compress.static import quantize_static
from tinyopt.compress.surgery import groups_of, masked, remove
from tinyopt.compress.teachers import (
    Cohort, born_again, chain, divergence, ensemble, mutual_losses, mutually, predictor, remembered, taught_from,
    temper, with_unlabelled,
)  # fmt: skip
from tinyopt.compress.ternary import prepare_ttq, ternarize
from tinyopt.compress.thin import prune_channels
from tinyopt.compress.tied import tie
from tinyopt.compress.whitened import factorize_outputs, output_spectrum, whitened_svd
from tinyopt.compress.workspace import Workspace

__all__ = [
    "Cohort", "PruneAt", "RigL", "Workspace", "adaround", "add_adapters", "attends", "attention_loss",
    "attention_map", "binarize", "binarize_inputs", "block_mask", "born_again", "chain", "channel_svd",
    "clip_weights", "conv_cost", "correct_bias", "cubic_sparsity", "distillation_loss", "divergence",
    "drop_and_grow", "energy_sweep", "ensemble", "equalize", "exact_kmeans", "factorize", "factorize_convs",
    "factorize_outputs", "factorize_to", "find_ticket", "fit_hints", "fold_norms", "freeze", "fuse", "gptq",
    "groups_of", "hash_weights", "hinted", "integerize", "kmeans", "largest_saving_rank", "lloyd_step",
    "magnitude_mask", "masked", "merge_adapters", "merge_convs", "merge_linears", "mimics", "mutual_losses",
    "mutually", "n_m_mask", "output_spectrum", "predictor", "prepare_lsq", "prepare_qat", "prepare_ttq", "prune",
    "prune_blocks", "prune_channels", "prune_n_m", "quantize", "quantize_dynamic", "quantize_levels",
    "quantize_static", "rank_for_energy", "rank_sweep", "ranks_for_bytes", "reconstruct", "remembered", "remove",
    "scan", "scan_bits", "share", "smooth", "soften", "sparse_start", "sparsify", "spatial_svd",
    "squared_distance", "store_as", "taught_by", "taught_from", "temper", "ternarize", "tie", "top_mask",
    "transfer", "truncated_svd", "tucker2", "whitened_svd", "with_unlabelled",
]  # fmt: skip

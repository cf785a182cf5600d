"""What half the products are worth on a clock: python tests/benchmarks/surgery_latency.py [names]

Channels with the smallest L1 norm of their filters go, until at most half of the MACs are left, in two ways:

    evenly  the same fraction of every layer, the smallest in steps of a hundredth that is enough
    early   the fractions of EARLY: more where images are large, and the time goes into moving numbers

Weights are those of seed 0, untrained: time does not depend on them. All sides run in turns, in the same process,
so that a change of the machine's speed meets all; printed is the median of the ratios. `masked` is the early cut as
zeros. OPENBLAS_NUM_THREADS sets the threads, 2 unless set.
"""

import os
import sys

if "OPENBLAS_CORETYPE" in os.environ:  # it may name a slow kernel; the library chooses when it is loaded
    del os.environ["OPENBLAS_CORETYPE"]
    os.execv(sys.executable, [sys.executable, *sys.argv])
os.environ.setdefault("OPENBLAS_NUM_THREADS", "2")

import statistics
import tempfile
import time

import numpy as np

import tinyopt
from tinyopt import measure, models
from tinyopt.compress import surgery, thin
from tinyopt.report import doctor

BATCH, PASSES, SECONDS, SHAPE = 64, 20, 20, (1, 28, 28)  # of measuring, for each network
EARLY = {  # a cut of one layer is a cut of all that are tied to it
    "lenet5": {"conv1": 0.65},
    "resnet8": {
        "conv1": 0.5, "block1.body.conv1": 0.5, "block2.body.conv1": 0.25, "block2.body.conv2": 0.25,
        "block3.body.conv1": 0.125,
    },
    "mobilenet_tiny": {"conv1": 0.5, "block1.conv2": 0.5, "block2.conv2": 0.375, "block3.conv2": 0.25},
    "lenet_300_100": {"fc1": 0.5, "fc2": 0.2},
}  # fmt: skip


def l1_scores(model, example):
    """{layer: Σ |w| of each filter}, for the layers whose channels may go."""
    names = [name for group in surgery.groups_of(model, example) if not group.fixed for name in group.layers]
    weights = {name: model.get(name).weight.data for name in names}
    return {name: abs(w).reshape(len(w), -1).sum(axis=1) for name, w in weights.items() if w.ndim > 1}


def evenly(model, example, scores):
    """The channels, the same fraction of each layer, without which at most half of the MACs are left."""
    budget = measure.summary(model, SHAPE).macs / 2
    for percent in range(1, 100):
        cut = thin.weakest_channels(model, example, scores, percent / 100)
        if measure.summary(surgery.remove(model, example, cut), SHAPE).macs <= budget:
            return cut


def file_size(model):
    with tempfile.TemporaryDirectory() as folder:
        return tinyopt.save(model, os.path.join(folder, "model.top"))


def in_turns(models_, batch):
    """{name: milliseconds of each round}."""
    times = {name: [] for name in models_}
    begin = time.perf_counter()
    while time.perf_counter() - begin < SECONDS:
        for name, model in models_.items():
            times[name].append(1000 * measure.latency(model, batch, repeats=PASSES).seconds)
    return times


def main():
    print(f"{doctor.summary()['text']} · batch {BATCH}, inference, float32")
    batch = np.random.default_rng(0).random((BATCH, *SHAPE), dtype=np.float32)
    for name in sys.argv[1:] or EARLY:
        model = models.make(name, rng=0)
        scores = l1_scores(model, batch[:1])
        early = thin.weakest_channels(model, batch[:1], scores, EARLY[name])
        sides = {
            "whole": model,
            "evenly": surgery.remove(model, batch[:1], evenly(model, batch[:1], scores)),
            "early": surgery.remove(model, batch[:1], early),
            "masked": surgery.masked(model, batch[:1], early),
        }
        counts = {side: measure.summary(m, SHAPE) for side, m in sides.items()}
        times = in_turns(sides, batch)
        print(name)
        for side, m in sides.items():
            ratios = sorted(a / b for a, b in zip(times[side], times["whole"]))
            print(
                f"  {side:6} {counts[side].parameters:8,} parameters {counts[side].macs:10,} MACs "
                f"({counts[side].macs / counts['whole'].macs:.2f}×) {file_size(m):9,} bytes in a file "
                f"{statistics.median(times[side]):7.2f} ms  {statistics.median(ratios):.2f}× "
                f"(middle half {ratios[len(ratios) // 4]:.2f}–{ratios[3 * len(ratios) // 4]:.2f})"
            )


if __name__ == "__main__":
    main()

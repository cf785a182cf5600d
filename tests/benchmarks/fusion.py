"""What fusion is worth on a clock and in memory: python tests/benchmarks/fusion.py [names]

    whole      the model as it was trained, in eval mode
    fused      norms folded, ReLUs in place: `compress.fuse`
    workspace  the fused model with a planned place for every value: `compress.workspace`

Weights are those of seed 0, untrained: time does not depend on them. All sides run in turns, in the same process,
so that a change of the machine's speed meets all; printed is the median of the ratios to `whole`, and the middle half.
Memory is the peak of one pass by tracemalloc, input not counted, with the workspace's own array in it; `planned` and
`least` are what its values should take and what no plan could undercut. OPENBLAS_NUM_THREADS sets the threads, 2
unless set.
"""

import os
import sys

if "OPENBLAS_CORETYPE" in os.environ:  # it may name a slow kernel; the library chooses when it is loaded
    del os.environ["OPENBLAS_CORETYPE"]
    os.execv(sys.executable, [sys.executable, *sys.argv])
os.environ.setdefault("OPENBLAS_NUM_THREADS", "2")

import statistics
import time

import numpy as np

from tinyopt import measure, models
from tinyopt.compress.fuse import fuse
from tinyopt.compress.workspace import Workspace, peak_memory
from tinyopt.report import doctor

BATCH, PASSES, SECONDS, SHAPE = 64, 5, 20, (1, 28, 28)  # of measuring, for each network
NAMES = "lenet5", "resnet8", "mobilenet_tiny"


def in_turns(sides, batch):
    """{side: milliseconds of each round}."""
    times = {side: [] for side in sides}
    begin = time.perf_counter()
    while time.perf_counter() - begin < SECONDS:
        for side, model in sides.items():
            times[side].append(1000 * measure.latency(model, batch, repeats=PASSES).seconds)
    return times


def main():
    print(f"{doctor.summary()['text']} · batch {BATCH}, inference, float32")
    batch = np.random.default_rng(0).random((BATCH, *SHAPE), dtype=np.float32)
    for name in sys.argv[1:] or NAMES:
        whole = models.make(name, rng=0).eval()
        fused, report = fuse(whole, batch[:1])
        runner = Workspace(fused, batch[:1])
        sides = {"whole": whole, "fused": fused, "workspace": runner}
        peaks = {side: peak_memory(model, batch) for side, model in sides.items()}
        times = in_turns(sides, batch)
        counts = {what: len(report.names(what)) for what in dict.fromkeys(line.what for line in report)}
        print(f"{name}: {', '.join(f'{what} {n}' for what, n in counts.items())}")
        for side in sides:
            ratios = sorted(a / b for a, b in zip(times[side], times["whole"]))
            print(
                f"  {side:9} {statistics.median(times[side]):7.2f} ms  {statistics.median(ratios):.2f}× "
                f"(middle half {ratios[len(ratios) // 4]:.2f}–{ratios[3 * len(ratios) // 4]:.2f})  "
                f"peak {peaks[side] / 1e6:6.2f} MB  {peaks[side] / peaks['whole']:.2f}×"
            )
        sizes = (4 * BATCH * n / 1e6 for n in (runner.planned, runner.least, runner.separate))
        print("  values    planned {:.2f} MB, least {:.2f} MB, each in its own place {:.2f} MB".format(*sizes))


if __name__ == "__main__":
    main()

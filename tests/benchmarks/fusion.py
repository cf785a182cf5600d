"""What fusion is worth on a clock, in memory and in the file: python tests/benchmarks/fusion.py [names] [--batches 64 1]

    whole      the model as it was trained, in eval mode
    fused      norms folded, ReLU and pooling inside the layer before: `compress.fuse`
    workspace  the fused model with a planned place for every value: `compress.workspace`
    unfused    the whole model in a workspace: what planned places and convolutions in pieces do without fusion

Weights are those of seed 0, untrained: time does not depend on them. All models are saved, loaded, and measured as they
come back; `file` is `os.path.getsize`. A workspace is no file of its own: it is made from the fused model's.

All sides run in turns, in the same process, so that a change of the machine's speed meets all; printed is the median of
the ratios to `whole`, its standard error (1.25 · deviation / √rounds, that of a median), and the middle half. With
`--clock cpu` the clock is the process's own, which stands still while other programs run.
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

import argparse
import statistics
import tempfile
import time

import numpy as np

from tinyopt import files, models
from tinyopt.compress.fuse import fuse
from tinyopt.compress.workspace import Workspace, peak_memory
from tinyopt.measure import inference
from tinyopt.report import doctor
from tinyopt.tensor import Tensor

NAMES, SHAPE, PASSES = ("lenet5", "resnet8", "mobilenet_tiny"), (1, 28, 28), 3  # passes a turn, of which the best counts
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def in_turns(sides, batch, seconds, clock):
    """{side: milliseconds of each round}."""
    times, batch = {side: [] for side in sides}, Tensor(batch)
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds:
        for side, model in sides.items():
            with inference(model):
                passes = []
                for _ in range(PASSES):
                    start = clock()
                    model(batch)
                    passes.append(1000 * (clock() - start))
            times[side].append(min(passes))
    return times


def through_a_file(model, folder, name):
    """The model as it comes back, and the bytes of its file."""
    path = os.path.join(folder, f"{name}.tinyopt")
    files.save(model, path)
    return files.load(path).eval(), os.path.getsize(path)


def report_on(name, batch, seconds, clock, folder):
    """Print what one model gains for one batch."""
    whole, whole_bytes = through_a_file(models.make(name, rng=0).eval(), folder, name)
    fused, report = fuse(whole, batch[:1])
    fused, fused_bytes = through_a_file(fused, folder, f"{name}-fused")
    runner, unfused = Workspace(fused, batch[:1]), Workspace(whole, batch[:1])
    sides = {"whole": whole, "fused": fused, "workspace": runner, "unfused": unfused}
    peaks = {side: peak_memory(model, batch) for side, model in sides.items()}
    times = in_turns(sides, batch, seconds, clock)
    counts = {what: len(report.names(what)) for what in dict.fromkeys(line.what for line in report)}
    print(f"\n{name}, batch {len(batch)}: {', '.join(f'{what} {n}' for what, n in counts.items())}")
    print(f"  file {whole_bytes:,} bytes, fused {fused_bytes:,} ({fused_bytes / whole_bytes:.3f}×)")
    for side in sides:
        ratios = sorted(a / b for a, b in zip(times[side], times["whole"]))
        error = 1.25 * statistics.pstdev(ratios) / len(ratios) ** 0.5
        print(
            f"  {side:9} {statistics.median(times[side]):7.2f} ms  {statistics.median(ratios):.3f}× ± {error:.3f} "
            f"(middle half {ratios[len(ratios) // 4]:.2f}–{ratios[3 * len(ratios) // 4]:.2f})  "
            f"peak {peaks[side] / 1e6:6.2f} MB  {peaks[side] / peaks['whole']:.2f}×"
        )
    sizes = (4 * len(batch) * n / 1e6 for n in (runner.planned, runner.least, runner.separate))
    print("  values    planned {:.2f} MB, least {:.2f} MB, each in its own place {:.2f} MB".format(*sizes), flush=True)
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NAMES, help="of models")
    parser.add_argument("--batches", nargs="+", type=int, default=[64, 1])
    parser.add_argument("--seconds", type=float, default=10, help="of measuring, for each model and batch")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    args = parser.parse_args()
    print(f"{doctor.summary()['text']} · inference, float32, {args.clock} clock")
    with tempfile.TemporaryDirectory() as folder:
        for name in args.names:
            for n in args.batches:
                batch = np.random.default_rng(0).random((n, *SHAPE), dtype=np.float32)
                report = report_on(name, batch, args.seconds, CLOCKS[args.clock], folder)
            print(report)


if __name__ == "__main__":
    main()

"""What integer-only inference costs and saves: python tests/benchmarks/integer_inference.py [--models FOLDER] [names]

Each network is trained from seed 0 on the training part of MNIST and of Fashion-MNIST (Adam at 0.001, cosine schedule,
batches of 64, EPOCHS), or read from FOLDER if it was trained before, where it is kept otherwise. It is integerized with
ranges from 512 training images (min-max, the default), saved and loaded. Printed for each:

    accuracy   of the float and of the integer network, whose file was loaded, on the 10,000 test images; the paired
               difference ± its standard error, and the p-value of McNemar's exact test
    bytes      of the weights in memory and in the file (int8 against float32), and of the whole files
    latency    at batch 64: float and integer in turns, the medians and the median of the ratios; and the same ratio
               of processor time, which other programs on the machine disturb less

Settings were written down before the first run, and none was chosen by the test part. OPENBLAS_NUM_THREADS sets the
threads, 1 unless set. All of both takes about an hour of one core; lenet_300_100 and lenet5, a quarter of that.
"""

import argparse
import os
import sys

if "OPENBLAS_CORETYPE" in os.environ:  # it may name a slow kernel; the library chooses when it is loaded
    del os.environ["OPENBLAS_CORETYPE"]
    os.execv(sys.executable, [sys.executable, *sys.argv])
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pathlib
import statistics
import tempfile
import time

import tinyopt
from tinyopt import Tensor, data, measure, models, optim, train
from tinyopt.compress.integer import integerize
from tinyopt.report import doctor

EPOCHS = {"lenet_300_100": 4, "lenet5": 4, "mobilenet_tiny": 3, "resnet8": 2}
SETS, CALIBRATION, BATCH, SECONDS = ("mnist", "fashion_mnist"), 512, 64, 20


def trained(name, dataset, folder):
    """The path of a trained float network's file."""
    path = folder / f"{name}_{dataset.name}.top"
    if not path.exists():
        model = models.make(name, rng=0)
        settings = {"batch_size": 64, "optimizer": optim.Adam(model.parameters(), lr=1e-3), "schedule": train.cosine}
        train.fit(model, (dataset.train, None), epochs=EPOCHS[name], seed=0, progress=name, **settings)
        tinyopt.save(model, path)
    return path


def weight_bytes(path):
    """What the weights of layers take in a file; the scales of norms, which integers do not have, are left out."""
    names = [row for row in tinyopt.files.ledger(path) if row[0].endswith(".weight") and row[2] == "values"]
    return sum(n for name, *_, n in names if "norm" not in name)


def in_turns(sides, batch):
    """{side: [(seconds, seconds of the processor) of one pass, ...]}, run in turns after a warm-up."""
    times, begin, x = {side: [] for side in sides}, time.perf_counter(), Tensor(batch)
    while time.perf_counter() - begin < SECONDS:
        for side, model in sides.items():
            with measure.inference(model):
                start = time.perf_counter(), time.process_time()
                model(x)
                times[side].append((time.perf_counter() - start[0], time.process_time() - start[1]))
    return {side: seen[3:] for side, seen in times.items()}


def report(name, dataset, folder):
    """Measure one network on one data set."""
    path = trained(name, dataset, folder)
    model = tinyopt.load(path)
    with tempfile.TemporaryDirectory() as temporary:
        file = pathlib.Path(temporary) / "integer.top"
        size = tinyopt.save(integerize(model, dataset.train.sample(CALIBRATION, rng=0)), file)
        net, weights = tinyopt.load(file), weight_bytes(file)
    before, after = (measure.evaluate(m, dataset.test) for m in (model, net))
    paired = measure.compare(before, after)
    times = in_turns({"float": model, "integer": net}, dataset.test.images[:BATCH])
    clock, work = ([[t[i] for t in times[side]] for side in ("float", "integer")] for i in range(2))
    ratios = sorted(b / a for a, b in zip(*clock))
    quarter = len(ratios) // 4
    print(
        f"{name} on {dataset.name}\n"
        f"  accuracy {before.accuracy:.2%} -> {after.accuracy:.2%}: {100 * paired.difference:+.2f} ± "
        f"{100 * paired.standard_error:.2f} points, lost {paired.lost}, gained {paired.gained}, "
        f"p = {paired.p_value:.2f}\n"
        f"  weights {weight_bytes(path):,} -> {weights:,} bytes ({weights / weight_bytes(path):.3f}×), "
        f"file {os.path.getsize(path):,} -> {size:,} ({size / os.path.getsize(path):.3f}×)\n"
        f"  latency {1000 * statistics.median(clock[0]):.2f} -> {1000 * statistics.median(clock[1]):.2f} ms, "
        f"{statistics.median(ratios):.2f}× (middle half {ratios[quarter]:.2f}–{ratios[-quarter - 1]:.2f}); "
        f"processor {statistics.median(b / a for a, b in zip(*work)):.2f}×, of the fastest passes "
        f"{min(work[1]) / min(work[0]):.2f}×",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(EPOCHS)}; all, unless named")
    parser.add_argument("--models", help="where trained networks are kept and looked for; else they are forgotten")
    options = parser.parse_args()
    print(f"{doctor.summary()['text']} · batch {BATCH}, inference, float32 against int8")
    with tempfile.TemporaryDirectory() as forgotten:
        folder = pathlib.Path(options.models or forgotten)
        folder.mkdir(parents=True, exist_ok=True)
        for name in options.names or EPOCHS:
            for dataset in map(data.load, SETS):
                report(name, dataset, folder)


if __name__ == "__main__":
    main()

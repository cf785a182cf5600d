"""Bits for each layer under a byte budget, against as many bits for all: python tests/benchmarks/bit_budget.py
[--model lenet5] [--seeds 5] [--out FILE.png]

The model learns `data.mnist5k()` for 8 epochs of Adam at 0.001. Its layers are then scanned on the validation part
(500 images): one layer at 8, 6, 5, 4, 3, 2 and 1 bits, symmetric, one scale a channel, all others float32. A budget is
the size of the file in which all layers have b bits; the chosen bits make a file that is no larger. Nothing is trained
after rounding. Accuracy is that of the file, written and read again, on the test part (1,000 images), which is read
for the tables alone. All settings were written down before the first run. One rule of the package came after it: that
run, of two seeds, still took a fall of the validation loss for a gain, gave fc1 2 bits under every budget, and was 0.15
to 0.25 points below uniform bits on the test part. Mean ± standard error over seeds 0, 1, ...
"""

import argparse
import copy
import math
import os
import sys
import tempfile
import time

import numpy as np

from tinyopt import compress, data, files, measure, models, optim, train
from tinyopt.compress.bit_budget import scan_bits
from tinyopt.measure.table import text_table

BITS, BUDGETS = (8, 6, 5, 4, 3, 2, 1), (8, 6, 5, 4, 3, 2.5, 2, 1.5)
EPOCHS, LR = 8, 1e-3


def measured(model, bits, part, folder):
    """Quantize a copy, write and read it: (bytes of the file, accuracy, loss)."""
    trial, path = copy.deepcopy(model), os.path.join(folder, "model")
    compress.quantize(trial, bits)
    files.save(trial, path)
    quality = measure.evaluate(files.load(path), part)
    return os.path.getsize(path), quality.accuracy, quality.loss


def one_seed(name, digits, seed, folder):
    """The scan, and {budget in bits: (uniform's figures, chosen's, chosen bits)}; half bits have no uniform."""
    model = models.make(name, rng=seed)
    optimizer = optim.Adam(model.parameters(), lr=LR)
    train.fit(model, digits, epochs=EPOCHS, optimizer=optimizer, seed=seed, progress=False)
    found, rows = scan_bits(model, digits, BITS), {}
    uniform = {bits: measured(model, {n: bits for n in found.names}, digits.test, folder) for bits in BITS}
    for about in BUDGETS:
        n_bytes = uniform[math.floor(about)][0] + uniform[math.ceil(about)][0] >> 1
        bits = found.choose(n_bytes)
        figures = measured(model, bits, digits.test, folder)
        assert figures[0] <= n_bytes
        rows[about] = (uniform.get(about, (n_bytes, np.nan, np.nan)), figures, bits)
    return found, rows, measured(model, {}, digits.test, folder)


def mean_and_error(values):
    """Mean and its standard error, over seeds."""
    values = np.array(values)
    return values.mean(), values.std(ddof=1) / np.sqrt(len(values))


def with_error(values, unit=100):
    mean, error = mean_and_error(values)
    return f"{unit * mean:.2f} ± {unit * error:.2f}" if np.isfinite(mean) else "–"


def table(runs):
    """What the chosen bits of each budget come to, beside uniform bits."""
    names, rows = [name.removesuffix(".weight") for name in runs[0][0].names], []
    for about in runs[0][1]:
        uniform, chosen, _ = ([run[1][about][i] for run in runs] for i in range(3))
        gain = [b[1] - a[1] for a, b in zip(uniform, chosen)]
        of_layers = [[run[1][about][2].get(f"{name}.weight", 32) for run in runs] for name in names]
        rows.append([
            f"{about:g} bits", round(np.mean([u[0] for u in uniform])), round(np.mean([c[0] for c in chosen])),
            with_error([u[1] for u in uniform]), with_error([c[1] for c in chosen]), with_error(gain),
            *(f"{min(bits)}–{max(bits)}" if min(bits) < max(bits) else str(bits[0]) for bits in of_layers),
        ])  # fmt: skip
    header = ["budget", "its bytes", "bytes chosen", "uniform, %", "chosen, %", "gain, points", *names]
    return text_table(header, rows)


def figure(runs, title):
    """Left, the scan: rise of the validation loss; right, test accuracy against the file's size."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(12, 4.6), layout="constrained")
    left, right = drawing.subplots(1, 2)
    found = runs[0][0]
    rises = np.array([run[0].loss[:, 1:] - run[0].loss[:, :1] for run in runs])  # (seeds, L, K)
    for name, mean, error in zip(found.names, rises.mean(0), rises.std(0, ddof=1) / np.sqrt(len(runs))):
        left.errorbar(found.bits[1:], mean, error, marker="o", ms=4, capsize=2, label=name.removesuffix(".weight"))
    left.set_yscale("symlog", linthresh=1e-3)
    left.axhline(0, color="0.6", lw=0.8)
    left.set(xlabel="bits of this layer, all others float32", ylabel="rise of the validation loss, nats")
    left.set(title="the scan (bars: standard error over seeds)", xticks=found.bits[1:])
    left.legend(frameon=False)
    for which, label, look in ((0, "as many bits for all", "s--"), (1, "bits chosen by layer", "o-")):
        points = np.array([[run[1][about][which] for about in runs[0][1]] for run in runs])  # (seeds, budgets, 3)
        points = points[:, np.isfinite(points).all(axis=(0, 2))]
        accuracy, error = 100 * points[..., 1].mean(0), 100 * points[..., 1].std(0, ddof=1) / np.sqrt(len(runs))
        right.errorbar(points[..., 0].mean(0) / 1000, accuracy, error, fmt=look, ms=4, capsize=2, label=label)
    whole = 100 * np.mean([accuracy for *_, (_, accuracy, _) in runs])
    right.axhline(whole, color="0.6", lw=0.8, label=f"float32, {runs[0][2][0] / 1000:,.0f} kB")
    right.set(xlabel="file, kB", ylabel="test accuracy, % (bars: standard error)", title=title)
    right.legend(frameon=False, loc="lower right")
    for ax in (left, right):
        ax.grid(alpha=0.25)
    return drawing


def main():
    parser = argparse.ArgumentParser(description="Bits for each layer under a byte budget, against as many for all")
    parser.add_argument("--model", default="lenet5", choices=models.MODELS)
    parser.add_argument("--seeds", type=int, default=5, help="how many, 2 or more")
    parser.add_argument("--out", help="where the figure is written, a .png file")
    options = parser.parse_args()
    if options.seeds < 2:
        parser.error("a standard error needs two seeds or more")
    digits, start = data.mnist5k(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        runs = [one_seed(options.model, digits, seed, folder) for seed in range(options.seeds)]
    whole = with_error([accuracy for *_, (_, accuracy, _) in runs])
    print(f"{options.model}, seeds 0 to {options.seeds - 1}; float32: {runs[0][2][0]:,} bytes, {whole} %\n")
    print(f"scan, seed 0\n{runs[0][0]}\n\nthe test part; bits by layer: from – to over seeds\n{table(runs)}")
    print(f"\n{time.perf_counter() - start:.0f} s")
    if options.out:
        figure(runs, f"{options.model} on mnist5k").savefig(options.out, dpi=110)


if __name__ == "__main__":
    sys.exit(main())

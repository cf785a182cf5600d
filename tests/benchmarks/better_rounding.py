"""Better than the nearest integer? python tests/benchmarks/better_rounding.py [--networks lenet5 ...] [--out FILE.png]

Prints four tables, means ± deviation over seeds 0 to 2, and draws the third:

  gaps       how far each technique stays above the best of all 2^n roundings (up or down) on n <= 12 weights: drawn ones
             on correlated inputs, and the 3x3 filters of a trained mobilenet_tiny's first layers on their true inputs.
             GPTQ may also go further than up or down, so it can come out below 1.
  error      of each layer's output on the calibration images, nearest and kept, at 3 bits
  accuracy   on mnist5k's test part, after saving and loading, at 8, 4, 3 and 2 bits, one scale for a tensor or a row;
             biases stay float32. "seconds" is the median time that compressing took, on whatever else the machine did.
  outliers   SmoothQuant: activations, images included, at 8, 6 and 4 bits too, on a network with outlier channels.
             Those are made by hand, since networks of this size do not grow them: 3 channels of each hidden layer are
             made 50 times larger, and what reads them as much smaller. The float network computes the same.

Ranges are min-max. 512 training images calibrate; nothing is chosen by the results: settings are the defaults,
which were found on drawn matrices. It takes some 10 minutes of one core, most of it AdaRound's.
"""

import argparse
import copy
import os
import pathlib
import statistics
import tempfile
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the library reads it when it is loaded

import numpy as np

import tinyopt
from tinyopt import compress, data, measure, models, train
from tinyopt.compress.adaround import adaround, learned
from tinyopt.compress.bias_correction import correct_bias
from tinyopt.compress.equalize import equalize
from tinyopt.compress.gptq import column_by_column, gptq
from tinyopt.compress.observers import MinMaxObserver
from tinyopt.compress.rescale import rescale, stretches
from tinyopt.compress.rounding import exhaustive, inputs_of, nearest, output_error
from tinyopt.compress.smooth import smooth
from tinyopt.compress.static import quantize_static
from tinyopt.measure.table import text_table
from tinyopt.report.plots import _figure

SEEDS, BITS, EPOCHS, N_CALIBRATION = range(3), (8, 4, 3, 2), 6, 512
NETWORKS = {"lenet5": models.lenet5, "lenet_300_100": models.lenet_300_100}


# --- gaps to the best of all roundings -------------------------------------------------------------------


def gaps(weight, gram, bits):
    """Each technique's output error over that of the best rounding, for rows (O, I) of at most 12 weights."""
    top = 2 ** (bits - 1) - 1
    scale, zero = abs(weight).max(axis=1, keepdims=True) / top, np.zeros((1, 1))
    line, ends = (scale, zero), {"low": -top, "high": top}
    found = {
        "nearest": nearest(weight, *line, **ends),
        "AdaRound": learned(weight, gram, *line, **ends),
        "GPTQ": column_by_column(weight, gram, *line, **ends),
        "GPTQ, act order": column_by_column(weight, gram, *line, **ends, act_order=True),
        "best of all": exhaustive(weight, gram, *line, **ends),
    }
    errors = {name: output_error((q - zero) * scale - weight, gram) for name, q in found.items()}
    best = errors.pop("best of all")
    return {name: error.sum() / best.sum() for name, error in errors.items()}


def drawn_rows(seed, n):
    """30 rows of n weights, and inputs that go up and down together, ≥ 0 as after a ReLU."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(400, 3)) @ rng.normal(size=(3, n))
    x = np.maximum(common + rng.normal(size=(400, n)), 0)
    return rng.normal(size=(30, n)), x.T @ x


def real_rows(model, images, name):
    """A layer's rows and the gram of its first group."""
    with measure.inference(model), measure.capture(model) as layers:
        model(images)
    layer = model.get(name)
    x = np.concatenate([part[0] for part in inputs_of(layer, layers[name])])[:, :9]
    rows = layer.weight.data[: layer.out_channels // layer.groups].reshape(-1, 9)
    return rows.astype(np.float64), x.T @ x


def print_gaps(mobile, images):
    problems = {f"drawn, {n} weights": [drawn_rows(seed, n) for seed in SEEDS] for n in (4, 8, 12)}
    problems |= {f"mobilenet_tiny {name}, 9": [real_rows(m, images, name) for m in mobile]
                 for name in ("conv1", "block1.conv1")}  # fmt: skip
    rows = []
    for name, cases in problems.items():
        for bits in (4, 2):
            found = [gaps(*case, bits) for case in cases]
            rows.append([name, bits, *(spread([f[key] for f in found], 1, 2) for key in found[0])])
    print(text_table(["error / best of all 2^n roundings", "bits", *found[0]], rows), "\n", flush=True)


# --- whole networks ---------------------------------------------------------------------------------------


def nearest_rounding(model, whole, images, bits, **line):
    compress.quantize(model, bits, **line)


def corrected(model, whole, images, bits, **line):
    compress.quantize(model, bits, **line)
    correct_bias(model, whole, images)


def equalized(model, whole, images, bits, **line):
    equalize(model, images[:1])
    compress.quantize(model, bits, **line)


def by_adaround(model, whole, images, bits, **line):
    return adaround(model, images, bits, **line)


def by_gptq(model, whole, images, bits, **line):
    return gptq(model, images, bits, act_order=True, **line)


def gptq_corrected(model, whole, images, bits, **line):
    gptq(model, images, bits, act_order=True, **line)
    correct_bias(model, whole, images)


TECHNIQUES = {
    "nearest": nearest_rounding, "bias correction": corrected, "equalised": equalized, "AdaRound": by_adaround,
    "GPTQ": by_gptq, "GPTQ + bias correction": gptq_corrected,
}  # fmt: skip


def accuracy(model, part):
    """After the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.tiny"
        tinyopt.save(model, path)
        return measure.evaluate(tinyopt.load(path), part).accuracy


def trained(make, digits, seed, epochs=EPOCHS):
    tinyopt.manual_seed(seed)
    model = make(rng=seed)
    train.fit(model, digits, epochs=epochs, seed=seed, progress=False)
    return model


def run(whole, digits, images):
    """{(technique, bits, per channel): (accuracy, seconds, what it returned)}"""
    results = {}
    for bits in BITS:
        for per_channel in (False, True):
            for name, technique in TECHNIQUES.items():
                model, start = copy.deepcopy(whole), time.perf_counter()
                report = technique(model, whole, images, bits, per_channel=per_channel)
                seconds = time.perf_counter() - start
                results[name, bits, per_channel] = accuracy(model, digits.test), seconds, report
    return results


def spread(values, times=100, digits=1):
    return f"{times * statistics.mean(values):.{digits}f} ± {times * statistics.stdev(values):.{digits}f}"


def print_layers(network, runs):
    reports = {key: [r[key, 3, True][2] for r in runs] for key in ("AdaRound", "GPTQ")}
    rows = []
    for layer in reports["GPTQ"][0]:
        cells = [statistics.mean(report[layer].nearest for report in reports["GPTQ"])]
        cells += [statistics.mean(getattr(r[layer], kind) for r in reports[key])
                  for key in reports for kind in ("technique", "kept")]  # fmt: skip
        rows.append([layer, *(f"{cell:.2%}" for cell in cells)])
    header = [f"{network}, 3 bits a row: error of outputs", "nearest", "AdaRound", "kept", "GPTQ", "kept"]
    print(text_table(header, rows), "\n", flush=True)


def print_accuracy(network, whole, runs):
    print(f"{network}, float32: {spread(whole)} % of mnist5k's test part")
    keys = [(bits, per_channel) for per_channel in (False, True) for bits in BITS]
    rows = []
    for name in TECHNIQUES:
        cells = [spread([r[(name, *key)][0] for r in runs]) for key in keys]
        rows.append([name, *cells, f"{statistics.median(r[(name, *key)][1] for r in runs for key in keys):.2f}"])
    header = ["accuracy, %", *(f"{bits}, per {'row' if c else 'tensor'}" for bits, c in keys), "seconds"]
    print(text_table(header, rows), "\n", flush=True)


# --- outlier channels --------------------------------------------------------------------------------------


def with_outliers(whole, example, seed, times=50.0):
    """The same function with 3 channels of every hidden layer so many times larger."""
    model, rng = copy.deepcopy(whole), np.random.default_rng(seed)
    flow = stretches(model, example)
    scale = np.ones(flow.size)
    for numbers in flow.makes.values():
        free = [number for number in np.unique(numbers) if int(number) not in flow.fixed]
        if free:
            scale[rng.choice(free, 3, replace=False)] = 1 / times
    rescale(model, flow, scale)
    return model


def print_outliers(network, wholes, digits, calibration):
    rows, smoothed = [], {f"smoothed, alpha {alpha}": alpha for alpha in (0.25, 0.5, 0.75)}
    for name, alpha in {"without outliers": None, "outliers as they are": None, **smoothed}.items():
        cells = []
        for bits in (8, 6, 4):
            found = []
            for seed, (whole, images) in enumerate(zip(wholes, calibration)):
                model = copy.deepcopy(whole) if name == "without outliers" else with_outliers(whole, images[:1], seed)
                if alpha is not None:
                    smooth(model, images, alpha=alpha)
                quantize_static(model, images, bits, weight_bits=8, observer=MinMaxObserver)
                found.append(accuracy(model, digits.test))
            cells.append(spread(found))
        rows.append([name, *cells])
    print(text_table([f"{network}, 8-bit weights: accuracy, %", "activations 8", "6", "4"], rows), "\n", flush=True)


# --- the figure ---------------------------------------------------------------------------------------------


def draw(results, floats, path):
    """Test error on a log axis, so that half a point at the bottom can be seen beside 80 at the top."""
    figure, panels = _figure(len(results), 2, (10, 1.2 + 3 * len(results)), sharex=True, sharey="row", squeeze=False)
    for row, (network, runs) in enumerate(results.items()):
        for axes, per_channel in zip(panels[row], (False, True)):
            for number, name in enumerate(TECHNIQUES):
                values = 100 - 100 * np.array([[r[name, bits, per_channel][0] for bits in BITS] for r in runs])
                places = np.arange(len(BITS)) + (number - 2.5) * 0.11
                color = f"C{number}"
                axes.plot(places, values.mean(axis=0), color=color, lw=0.7, alpha=0.5)
                axes.errorbar(places, values.mean(axis=0), values.std(axis=0, ddof=1), fmt="o", ms=4, capsize=2,
                              color=color, label=name)  # fmt: skip
            axes.axhline(100 - 100 * statistics.mean(floats[network]), color="#8b93a1", ls=":", label="float32")
            axes.set(yscale="log", title=f"{network}, one scale per {'row' if per_channel else 'tensor'}")
            axes.set_yticks([3, 5, 10, 20, 50, 90], [3, 5, 10, 20, 50, 90])
            axes.minorticks_off()
            axes.set_xticks(range(len(BITS)), [f"{bits} bits" for bits in BITS])
            axes.grid(alpha=0.25)
        panels[row][0].set_ylabel("test error, % (log axis)")
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="*", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--out", help="where the figure is written, a .png file")
    options = parser.parse_args()
    digits = data.mnist5k()
    calibration = [digits.train.sample(N_CALIBRATION, rng=seed).images for seed in SEEDS]
    print_gaps([trained(models.mobilenet_tiny, digits, seed, epochs=1) for seed in SEEDS], calibration[0])
    results, floats = {}, {}
    for network in options.networks:
        wholes = [trained(NETWORKS[network], digits, seed) for seed in SEEDS]
        floats[network] = [measure.evaluate(whole, digits.test).accuracy for whole in wholes]
        print_outliers(network, wholes, digits, calibration)
        results[network] = [run(whole, digits, images) for whole, images in zip(wholes, calibration)]
        print_layers(network, results[network])
        print_accuracy(network, floats[network], results[network])
    if options.out:
        draw(results, floats, options.out)


if __name__ == "__main__":
    main()

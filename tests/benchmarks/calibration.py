"""Ranges of activations, found by each observer: python tests/benchmarks/calibration.py [--out FILE.png]

`lenet5` on mnist5k, seed 0, 8 epochs of Adam. Weights get 8 bits, one scale for each output channel; the activations
that a product reads (the images, and what pool1, flatten and relu1 make) get 8, 6, 4 or 3 bits on affine lines, whose
ranges come from 512 training images. Each model is saved, loaded, and measured on the validation part, beside the
float model: the difference is paired, ± its standard error. In the second table, one of the 512 images is 255 times
too bright. The observer that did best in the first table, for each number of bits, is measured on the test part: that
is read once. Then: what weight-only, dynamic and static quantization cost in bytes, and what clipping alone saves.
"""

import argparse
import copy
import functools
import os
import tempfile

import numpy as np

from tinyopt import compress, data, files, measure, models, train
from tinyopt.compress import calibrate
from tinyopt.compress.clip import clip_weights
from tinyopt.compress.dynamic_quant import quantize_dynamic
from tinyopt.compress.observers import (
    EntropyObserver,
    HistogramObserver,
    KSigmaObserver,
    MinMaxObserver,
    MovingAverageMinMaxObserver,
    PercentileObserver,
)  # fmt: skip
from tinyopt.compress.static import quantize_static
from tinyopt.measure.table import text_table
from tinyopt.report import plots

SEED, EPOCHS, BITS = 0, 8, (8, 6, 4, 3)


def observers(bits):
    """What makes each observer, by name."""
    return {
        "min–max": MinMaxObserver,
        "moving average, 0.01": MovingAverageMinMaxObserver,
        "3 sigma": KSigmaObserver,
        "percentile 99.99": functools.partial(PercentileObserver, 99.99),
        "percentile 99.9": functools.partial(PercentileObserver, 99.9),
        "histogram, squared error": functools.partial(HistogramObserver, bits=bits),
        "histogram, entropy": functools.partial(EntropyObserver, bits=bits),
    }


def through_a_file(model, part):
    """The loaded model's quality, and the file's size in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model")
        n_bytes = files.save(model, path)
        return measure.evaluate(files.load(path), part), n_bytes


def quantized(net, images, bits, name):
    """A copy of the net, weights in 8 bits and activations in `bits`."""
    model = copy.deepcopy(net)
    quantize_static(model, images, bits, observer=observers(bits)[name])
    return model


def scan(net, whole, images, part):
    """{observer: [(quality, difference, its standard error) for each number of bits]}, on a part; and print it."""
    found = {}
    for name in observers(8):
        found[name] = []
        for bits in BITS:
            quality, _ = through_a_file(quantized(net, images, bits, name), part)
            paired = measure.compare(whole, quality)
            found[name].append((quality, 100 * paired.difference, 100 * paired.standard_error))
    rows = [
        [name, *(f"{100 * quality.accuracy:.1f} ({change:+.1f} ± {error:.1f})" for quality, change, error in line)]
        for name, line in found.items()
    ]
    print(text_table(["accuracy, % (points from float)", *(f"{bits} bits" for bits in BITS)], rows), "\n")
    return found


def draw(tables):
    """The figure: the change in accuracy for each observer, one panel for each table."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    panels = figure.subplots(1, len(tables), sharey=True)
    for axes, (title, found) in zip(panels, tables.items()):
        for i, (name, line) in enumerate(found.items()):
            place = np.arange(len(BITS)) + 0.1 * (i - 3)
            change, error = (np.array([entry[k] for entry in line]) for k in (1, 2))
            axes.errorbar(place, change, error, fmt="osD^v<>"[i], ms=4.5, capsize=2, lw=1, label=name)
        axes.axhline(0, color=plots.GREY, lw=0.8)
        axes.set(xticks=range(len(BITS)), xticklabels=BITS, xlabel="bits of activations", title=title)
        axes.set_yscale("symlog", linthresh=1)
        axes.set_yticks([-90, -30, -10, -3, -1, 0, 1], ["−90", "−30", "−10", "−3", "−1", "0", "1"])
        axes.grid(alpha=0.25)
    panels[0].set_ylabel("validation accuracy − float's, points")
    panels[0].legend(fontsize=8, loc="lower left")
    return figure


def sizes(net, part, images):
    """Print what each kind of quantization, and clipping alone, does to the file and to validation accuracy."""
    rows, n_float = [], through_a_file(net, part)[1]
    narrow = functools.partial(calibrate.percentile, percent=99)
    ways = {
        "float32": lambda model: None,
        "clipped at 99 %, alone": lambda model: clip_weights(model, narrow),
        "weight-only, 8 bits": lambda model: compress.quantize(model, 8),
        "dynamic, 8 bits (dense layers)": quantize_dynamic,
        "dynamic, and convolutions weight-only": lambda model: (compress.quantize(model, 8), quantize_dynamic(model)),
        "static, 8 bits": lambda model: quantize_static(model, images),
        "weight-only, 3 bits": lambda model: compress.quantize(model, 3, per_channel=False),
        "clipped at 99 %, then 3 bits": lambda model: (
            clip_weights(model, narrow), compress.quantize(model, 3, per_channel=False)
        ),
        "3 bits, range by squared error": lambda model: compress.quantize(
            model, 3, per_channel=False, calibrate=functools.partial(calibrate.mse_optimal, bits=3)
        ),
    }
    whole = measure.evaluate(net, part)
    for name, way in ways.items():
        model = copy.deepcopy(net)
        way(model)
        quality, n_bytes = through_a_file(model, part)
        paired = measure.compare(whole, quality)
        change = f"{100 * paired.difference:+.1f} ± {100 * paired.standard_error:.1f}"
        rows.append([name, f"{n_bytes:,}", f"{n_bytes / n_float:.3f}", f"{100 * quality.accuracy:.1f}", change])
    print(text_table(["validation part", "bytes of the file", "of float32", "accuracy, %", "points from float"], rows))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", help="where the figure is written, a .png file")
    out = parser.parse_args().out
    digits = data.mnist5k()
    net = models.lenet5(rng=SEED)
    train.fit(net, digits, epochs=EPOCHS, seed=SEED, progress=False)
    clean = digits.train.sample(512, rng=SEED).images
    broken = clean.copy()
    broken[300] *= 255
    whole = measure.evaluate(net, digits.val)
    print(f"float: {100 * whole.accuracy:.1f} ± {100 * whole.standard_error:.1f} % of {whole.n} validation images\n")
    tables = {}
    for title, images in (("512 training images", clean), ("one of them 255 times too bright", broken)):
        print(title)
        tables[title] = scan(net, whole, images, digits.val)
    sizes(net, digits.val, clean)
    print("\ntest part, read once, with the observers that did best in the first table")
    before = measure.evaluate(net, digits.test)
    print(f"  float     {100 * before.accuracy:.2f} ± {100 * before.standard_error:.2f} %")
    found = tables["512 training images"]
    for i, bits in enumerate(BITS):
        best = max(found, key=lambda name: (found[name][i][0].accuracy, -found[name][i][0].loss))
        after = through_a_file(quantized(net, clean, bits, best), digits.test)[0]
        print(f"  {bits} bits    {100 * after.accuracy:.2f} %, {best}: {measure.compare(before, after)}")
    if out:
        draw(tables).savefig(out, dpi=110)


if __name__ == "__main__":
    main()

"""Low rank under byte budgets, six ways, and what it is worth on a clock: python tests/benchmarks/low_rank.py
[--model lenet5] [--seeds 3] [--out FOLDER] [--latency SECONDS]

The model learns `data.mnist5k()` for 8 epochs of Adam at 0.001. Its weights are then given a share of the bytes that
they take, and the ranks are those of `compress.rank_budget`, which spends them over all layers:

    channel, spatial, tucker2    singular values of the weights; convolutions by that kind, dense layers by the SVD
    outputs                      singular values of the outputs on 500 training images: `whitened.factorize_outputs`
    channel, tuned; outputs, tuned  the same, then trained for 2 epochs of Adam at 0.0005

Accuracy is that of the file, written and read again, on the test part (1,000 images), which is read for the table
alone: mean ± standard error over seeds 0, 1, ... Gains are paired by seed. Bytes are those of the whole file. `--out`
draws the spectra before and after training, accuracy against the file's size, and against the rank of one layer, the
others whole.

`--latency` times instead: the dense model and the factored ones, read from files, in turns in one process, so that a
change of the machine's speed meets all; ms for a batch is the median, and the ratio to dense the median of ratios, with
the middle half. Weights are those of seed 0, untrained: time depends on the shapes alone. OPENBLAS_NUM_THREADS sets the
threads, 2 unless set.
"""

import os
import sys

if __name__ == "__main__" and "OPENBLAS_CORETYPE" in os.environ:  # it may name a slow kernel: the library shall choose
    del os.environ["OPENBLAS_CORETYPE"]
    os.execv(sys.executable, [sys.executable, *sys.argv])
os.environ.setdefault("OPENBLAS_NUM_THREADS", "2")

import argparse
import copy
import statistics
import tempfile
import time

import numpy as np

from tinyopt import compress, data, files, measure, models, optim, train
from tinyopt.compress.conv_lowrank import factorize_convs
from tinyopt.compress.rank_budget import factorize_to, options, spectra_of
from tinyopt.measure.table import text_table
from tinyopt.report import doctor, low_rank_plots, plots

SHARES, EPOCHS, LR, TUNE_EPOCHS, TUNE_LR, N_IMAGES = (0.04, 0.08, 0.16, 0.32), 8, 1e-3, 2, 5e-4, 500
WAYS = {  # name -> (kind, whether images choose, whether it is trained after)
    "channel": ("channel", False, False), "spatial": ("spatial", False, False), "tucker2": ("tucker2", False, False),
    "outputs": ("channel", True, False), "channel, tuned": ("channel", False, True), "outputs, tuned": ("channel", True, True),
}  # fmt: skip
WIDEST = {"lenet_300_100": "fc1", "lenet5": "fc1", "resnet8": "block3.body.conv2"}  # the layer that is cut alone
RANKS, BATCHES, PASSES, SHAPE = (1, 2, 4, 8, 16, 32), (1, 64), 5, (1, 28, 28)


def ways_of(name):
    """A network without convolutions has no kinds of them."""
    return {way: how for way, how in WAYS.items() if name != "lenet_300_100" or how[0] == "channel"}


def fit(model, digits, epochs, lr, seed):
    optimizer = optim.Adam(model.parameters(), lr=lr)
    train.fit(model, digits, epochs=epochs, optimizer=optimizer, seed=seed, progress=False)
    return model


def saved(model, folder):
    """(bytes of the file, the model that is read from it)."""
    path = os.path.join(folder, "model")
    files.save(model, path)
    return os.path.getsize(path), files.load(path)


def measured(model, part, folder):
    """(bytes of the file, accuracy in percent)."""
    n_bytes, loaded = saved(model, folder)
    return n_bytes, 100 * measure.evaluate(loaded, part).accuracy


def budget_of(model, share):
    return int(share * sum(int(layer.sizes[0]) for layer in options(model).values()))


def one_seed(name, digits, seed, folder):
    """The trained model's figures; {(share, way): (bytes, accuracy, ranks)}; {rank of one layer: accuracy}."""
    model, rows, alone = fit(models.make(name, rng=seed), digits, EPOCHS, LR, seed), {}, {}
    images = digits.train.sample(N_IMAGES, rng=seed).images
    dense = measured(model, digits.test, folder)
    for share in SHARES:
        budget = budget_of(model, share)
        for way, (kind, by_images, tuned) in ways_of(name).items():
            small = copy.deepcopy(model)
            try:
                ranks = factorize_to(small, budget, kind=kind, images=images if by_images else None)
            except ValueError:  # the least that this kind can do is more
                continue
            if tuned:
                fit(small, digits, TUNE_EPOCHS, TUNE_LR, seed)
            rows[share, way] = (*measured(small, digits.test, folder), ranks)
    for rank in RANKS:
        for way, by_images in (("by weights", False), ("by outputs", True)):
            small, ranks = copy.deepcopy(model), {WIDEST[name]: rank}
            if by_images:
                compress.whitened.factorize_outputs(small, images, ranks)
            else:
                (compress.factorize if name.startswith("lenet") else factorize_convs)(small, ranks)
            alone[way, rank] = measured(small, digits.test, folder)[1]
    return model, dense, rows, alone


def mean_and_error(values):
    values = np.array(values)
    return values.mean(), values.std(ddof=1) / np.sqrt(len(values))


def with_error(values, signed=False):
    mean, error = mean_and_error(values)
    return f"{mean:{'+' if signed else ''}.2f} ± {error:.2f}"


def table(runs):
    rows = []
    for share, way in runs[0][2]:
        found = [run[2][share, way] for run in runs if (share, way) in run[2]]
        gains = [run[2][share, way][1] - run[2][share, "channel"][1] for run in runs]
        ranks = ", ".join(f"{layer} {rank}" for layer, rank in found[0][2].items())
        rows.append([
            f"{share:.0%}", way, round(np.mean([n for n, *_ in found])), with_error([a for _, a, _ in found]),
            "" if way == "channel" else with_error(gains, signed=True), ranks if len(ranks) < 70 else ranks[:67] + "...",
        ])  # fmt: skip
    return text_table(["weights", "way", "file, bytes", "accuracy, %", "over channel", "ranks, seed 0"], rows)


def draw(name, runs, folder):
    """The three figures, as PNG files."""
    before, after = spectra_of(models.make(name, rng=0)), spectra_of(runs[0][0])
    dense = mean_and_error([run[1][1] for run in runs])
    by_bytes, by_rank = {}, {}
    for way in ways_of(name):
        points = [[run[2][share, way][:2] for run in runs] for share in SHARES if (share, way) in runs[0][2]]
        stats = [(np.mean([n for n, _ in point]) / 1000, *mean_and_error([a for _, a in point])) for point in points]
        by_bytes[way] = tuple(np.array(stats).T)
    for way in ("by weights", "by outputs"):
        stats = [mean_and_error([run[3][way, rank] for run in runs]) for rank in RANKS]
        by_rank[f"{WIDEST[name]} {way}"] = (RANKS, *np.array(stats).T)
    pictures = {
        "spectra": low_rank_plots.spectra(before, after, title=f"{name} on mnist5k, seed 0"),
        "bytes": low_rank_plots.accuracy_against(by_bytes, dense=dense, of="file, kB", title=f"{name} on mnist5k"),
        "rank": low_rank_plots.accuracy_against(by_rank, dense=dense, title=f"{name} on mnist5k, not trained after"),
    }
    for what, picture in pictures.items():
        with open(os.path.join(folder, f"low_rank_{name}_{what}.png"), "wb") as file:
            file.write(plots.png(picture))


def latency(name, seconds, folder):
    """Print the time of dense and factored models, in turns."""
    model = models.make(name, rng=0)
    sides = {("dense", 1): saved(model, folder)}
    for share in SHARES[1:]:
        for kind in dict.fromkeys(kind for kind, *_ in ways_of(name).values()):
            small = copy.deepcopy(model)
            factorize_to(small, budget_of(model, share), kind=kind)
            sides[kind, share] = saved(small, folder)
    rows = []
    for n in BATCHES:
        batch = np.random.default_rng(0).random((n, *SHAPE), dtype=np.float32)
        times, begin = {side: [] for side in sides}, time.perf_counter()
        while time.perf_counter() - begin < seconds / len(BATCHES):
            for side, (_, loaded) in sides.items():
                times[side].append(1000 * measure.latency(loaded, batch, repeats=PASSES).seconds)
        for side, (n_bytes, loaded) in sides.items():
            ratios = sorted(a / b for a, b in zip(times[side], times["dense", 1]))
            low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
            rows.append([
                n, side[0], f"{side[1]:.0%}", n_bytes, measure.summary(loaded, SHAPE).macs,
                f"{statistics.median(times[side]):.3f}", f"{middle:.2f}× ({low:.2f}–{high:.2f})",
            ])  # fmt: skip
    print(f"{name}: {len(times['dense', 1])} rounds of {PASSES} passes at batch {BATCHES[-1]}")
    print(text_table(["batch", "way", "weights", "file, bytes", "MACs", "ms", "to dense"], rows))


def main():
    parser = argparse.ArgumentParser(description="Low rank under byte budgets, six ways; and its time")
    parser.add_argument("--model", default="lenet5", choices=WIDEST)
    parser.add_argument("--seeds", type=int, default=3, help="how many, 2 or more")
    parser.add_argument("--out", help="a folder for the figures")
    parser.add_argument("--latency", type=float, metavar="SECONDS", help="measure time instead, for so long")
    choice = parser.parse_args()
    if choice.seeds < 2:
        parser.error("a standard error needs two seeds or more")
    with tempfile.TemporaryDirectory() as folder:
        if choice.latency:
            print(doctor.summary()["text"])
            return latency(choice.model, choice.latency, folder)
        digits, start = data.mnist5k(), time.perf_counter()
        runs = [one_seed(choice.model, digits, seed, folder) for seed in range(choice.seeds)]
    dense = with_error([run[1][1] for run in runs])
    print(f"{choice.model}, seeds 0 to {choice.seeds - 1}; dense: {runs[0][1][0]:,} bytes, {dense} %\n{table(runs)}")
    print(f"\n{time.perf_counter() - start:.0f} s")
    if choice.out:
        draw(choice.model, runs, choice.out)


if __name__ == "__main__":
    sys.exit(main())

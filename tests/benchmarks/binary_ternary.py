"""Weights of one bit, and of three values: python tests/benchmarks/binary_ternary.py [--seeds 3] [--times]

`lenet5` on `data.mnist5k()`, trained for 6 epochs of Adam at 0.001. Each method starts from that network and trains 3
more epochs, Adam at 0.001 falling along half a cosine, as "float32, trained on" does. Unless a row says otherwise the
first and the last layer are binary or ternary like all others; biases are floats. The network is saved, loaded, and
only then tested: accuracy on the 1,000 test images, right after the change and after its training, and the difference
from "float32, trained on"; the file's bytes, and what they are of the float32 file's. Mean ± standard deviation over the
seeds 0, 1, ...

The rate, of 0.001 and 0.0003, was chosen by validation accuracy with seed 0; the test part is read for this table alone.

--times prints, instead, the CPU time of a product of signs, by floats and by counting bits: medians of many rounds in
turns. Set OPENBLAS_NUM_THREADS=1 for it: counting has one thread.
"""

import argparse
import copy
import os
import sys
import tempfile
import time

import numpy as np

import tinyopt
from tinyopt import data, measure, models, nn, no_grad, optim, train
from tinyopt.codec.popcount import binary_product, pack_signs, pack_words, plane_product
from tinyopt.compress.binary import Follow, binarize, binarize_inputs
from tinyopt.compress.ternary import finish_ttq, prepare_ttq, ternarize

BASE, MORE, LR = 6, 3, 0.001
ENDS = ("conv1", "fc2")
SIZES = [(1, 800, 500), (16, 800, 500), (64, 800, 500), (1000, 800, 500), (1, 4096, 4096), (64, 4096, 4096)]


def with_signs(model, digits):
    follow = binarize(model, skip=ENDS)
    binarize_inputs(model, "fc1", digits.train.images[:64])
    return follow


METHODS = {  # name -> what it does to a model, (model, digits) -> the callback of its training, or None
    "float32, trained on": lambda model, digits: None,
    "BinaryConnect, ±1": lambda model, digits: binarize(model, 1.0),
    "BinaryConnect, ±H": lambda model, digits: binarize(model, "glorot"),
    "XNOR-Net, weights": lambda model, digits: binarize(model),
    "XNOR-Net, ends float": lambda model, digits: binarize(model, skip=ENDS),
    "XNOR-Net, fc1 on signs": with_signs,
    "TWN": lambda model, digits: ternarize(model),
    "TWN, one line a layer": lambda model, digits: ternarize(model, per_channel=False),
    "TTQ": lambda model, digits: prepare_ttq(model),
}
NOTES = {"XNOR-Net, ends float": "conv1, fc2 float32", "XNOR-Net, fc1 on signs": "conv1, fc2 float32; fc1 counts bits"}


def fit(model, digits, epochs, seed, follow=None, **settings):
    callbacks = [follow] if isinstance(follow, Follow) else []
    optimizer = optim.Adam(model.parameters(), lr=LR)
    settings |= {"optimizer": optimizer, "callbacks": callbacks, "progress": False}
    train.fit(model, digits, epochs=epochs, seed=seed, **settings)


def measured(model, digits, folder):
    """The file's bytes, and the test images that the loaded model gets right."""
    path = os.path.join(folder, "model.top")
    n_bytes = tinyopt.save(model, path)
    quality = measure.evaluate(tinyopt.load(path), digits.test)
    return n_bytes, quality.predictions == quality.labels


def one_seed(digits, seed, folder):
    """{method: (bytes, at once, after training)}, the last two as images that are right."""
    net, found = models.lenet5(rng=seed), {}
    fit(net, digits, BASE, seed)
    for name, change in METHODS.items():
        model = copy.deepcopy(net)
        follow = change(model, digits)
        _, at_once = measured(model, digits, folder)
        fit(model, digits, MORE, 100 + seed, follow, schedule=train.cosine)
        finish_ttq(model)
        n_bytes, right = measured(model, digits, folder)
        found[name] = n_bytes, at_once, right
    return found


def table(n_seeds):
    digits = data.mnist5k()
    with tempfile.TemporaryDirectory() as folder:
        runs = [one_seed(digits, seed, folder) for seed in range(n_seeds)]
    first = next(iter(METHODS))
    print(f"lenet5 on mnist5k, {n_seeds} seeds\n\n{'':24}{'bytes':>11}{'ratio':>8}{'at once, %':>15}{'trained, %':>15}"
          f"{'minus float32':>16}")  # fmt: skip
    for name in METHODS:
        n_bytes = [run[name][0] for run in runs]
        ratio = np.mean(n_bytes) / np.mean([run[first][0] for run in runs])
        scores = 100 * np.array([[right.mean() for right in run[name][1:]] for run in runs])  # (seeds, 2)
        less = 100 * np.array([run[name][2].mean() - run[first][2].mean() for run in runs])
        cells = "".join(f"{column.mean():8.1f} ± {column.std(ddof=1):4.1f}" for column in scores.T)
        print(f"{name:24}{np.mean(n_bytes):11,.0f}{ratio:8.4f}{cells}{less.mean():+9.2f} ± {less.std(ddof=1):4.2f}"
              f"  {NOTES.get(name, '')}".rstrip())  # fmt: skip


def times():
    """Microseconds of a product W sign(x), and of the whole layer."""
    print(f"CPU microseconds, medians; {os.environ.get('OPENBLAS_NUM_THREADS', 'all')} BLAS thread(s)\n")
    columns = ("floats", "signs+floats", "pack x", "binary", "ternary", "Linear", "BinaryLinear", "faster")
    print(f"{'batch':>6}{'inputs':>8}{'outputs':>9}" + "".join(f"{name:>14}" for name in columns))
    for size in SIZES:
        with no_grad():
            seconds = timed(products(*size))
        row = "".join(f"{1e6 * s:14,.0f}" for s in seconds)
        print("{:6}{:8}{:9}".format(*size) + f"{row}{seconds[5] / seconds[6]:13.2f}×", flush=True)


def products(n, d_in, d_out):
    """What is timed, in the order of the columns."""
    rng, one = np.random.default_rng(0), np.float32(1)
    x, weight = (rng.normal(size=shape).astype("f4") for shape in ((n, d_in), (d_out, d_in)))
    signs = np.where(weight >= 0, one, -one).T.copy()
    packed, words = pack_signs(x), pack_signs(weight).copy(order="F")
    planes = [pack_words(plane).copy(order="F") for plane in (weight > 0.5, weight < -0.5)]
    plain, binary = nn.Linear(d_in, d_out, rng=0), nn.BinaryLinear(d_in, d_out, rng=0)
    return [
        lambda: x @ signs,
        lambda: np.where(x >= 0, one, -one) @ signs,
        lambda: pack_signs(x),
        lambda: binary_product(packed, words, d_in),
        lambda: plane_product(packed, planes[0]) - plane_product(packed, planes[1]),
        lambda: plain(x),
        lambda: binary(x),
    ]


def timed(calls, rounds=31):
    """The median seconds of each, run in turns; the first round warms up."""
    seconds = np.empty((rounds + 1, len(calls)))
    for row in seconds:
        for i, call in enumerate(calls):
            start = time.process_time()
            call()
            row[i] = time.process_time() - start
    return np.median(seconds[1:], axis=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="how many, 2 or more")
    parser.add_argument("--times", action="store_true", help="train nothing: time products")
    options = parser.parse_args()
    if options.seeds < 2:
        parser.error("a deviation needs two seeds or more")
    times() if options.times else table(options.seeds)


if __name__ == "__main__":
    sys.exit(main())

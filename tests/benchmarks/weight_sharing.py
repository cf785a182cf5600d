"""Weight sharing, four tables and three figures: python tests/benchmarks/weight_sharing.py [--seeds 3] [--out FOLDER]

lenet_300_100 on mnist5k is trained for BASE epochs of Adam at 0.01, rates falling along half a cosine. Its three
matrices are then shared; the values are trained for MORE epochs, with the biases. All accuracies are on the test part, in
percent, of the network that was loaded again from its file; sizes are those of the file. Mean ± standard error over seeds.

    1  the starts of k-means     squared error of all weights, before and after Lloyd's steps, over that of the exact
                                 optimum (dynamic programming); accuracy before and after the values were trained
    2  the sum, or the mean      a value's gradient is the sum over its members. With their mean in its place, at the
                                 same rate of SGD, and at the mean's own best; and both under Adam
    3  bits of a label           2 to 256 values a layer; and 16 values for each of 4 bands of rows
    4  at equal bytes            k-means, HashedNets and a thin dense network whose files are no larger than those of
                                 1, 2 and 4 bits. The latter two are trained from the start, BASE + MORE epochs

Rates were chosen on the validation part with seed 0; `--choose` prints what was tried. The standard error is that of
training again: 1,000 test images alone add about 0.6 points, alike for all rows.
"""

import argparse
import copy
import functools
import os
import sys
import tempfile

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the library reads it when it is loaded

import numpy as np

import tinyopt
from tinyopt import data, measure, models, nn, optim, train
from tinyopt.compress.hashed import hash_weights
from tinyopt.compress.kmeans_exact import exact_kmeans, squared_error
from tinyopt.compress.kmeans_starts import START
from tinyopt.compress.share import share
from tinyopt.measure.table import text_table
from tinyopt.ops.rule import substitute
from tinyopt.report import sharing

BASE, MORE = 8, 4
RATES = {"whole": 0.01, "values": 0.003, "sum": 1e-6, "mean": 0.1, "hashed": 0.01, "thin": 0.01}
BITS, BUDGETS = range(1, 9), (1, 2, 4)
LAYERS = ("fc1.weight", "fc2.weight", "fc3.weight")


def mean_lookup(codebook, labels):
    """The shortcut: as `ops.lookup`, but the pullback takes the mean of the members' gradients, not their sum."""
    flat = labels.reshape(-1)

    def grad_codebook(g):
        sums = np.bincount(flat, weights=g.reshape(-1), minlength=len(codebook))
        return (sums / np.maximum(np.bincount(flat, minlength=len(codebook)), 1)).astype(codebook.dtype)

    return codebook[labels], (grad_codebook, None)


def fit(net, digits, seed, epochs, optimizer, callbacks=()):
    settings = {"schedule": train.cosine, "seed": seed, "progress": False, "callbacks": callbacks}
    train.fit(net, digits, epochs=epochs, optimizer=optimizer, **settings)
    return net


def train_values(net, digits, seed, optimizer=None):
    optimizer = optimizer or optim.Adam(net.parameters(), lr=RATES["values"])
    return fit(net, digits, seed + 100, MORE, optimizer)


def measured(net, part):
    """(accuracy in percent, bytes), both from the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "net.tiny")
        tinyopt.save(net, path)
        return 100 * measure.evaluate(tinyopt.load(path), part).accuracy, os.path.getsize(path)


def values_of(net):
    """The weights of each layer, in float64, ascending."""
    return [np.sort(net.get(name).data, axis=None).astype(np.float64) for name in LAYERS]


# --- 1: the starts ------------------------------------------------------------------------------------------


def starts(whole, digits, seed, k):
    """{start: (error before / optimum, error after / optimum, accuracy before training, after)}"""
    rows, layers = {}, values_of(whole)
    best = [exact_kmeans(x, k)[0] for x in layers]
    optimum = sum(squared_error(x, c, nearest(x, c)) for x, c in zip(layers, best))
    for name in [*START, "exact optimum"]:
        first = [START[name](x, k, seed) for x in layers] if name in START else best
        before = sum(squared_error(x, c, nearest(x, c)) for x, c in zip(layers, first))
        net = copy.deepcopy(whole)
        after = sum(share(net, k, start=functools.partial(next_of, iter(first))).values())
        untrained = measured(net, digits.test)[0]
        trained = measured(train_values(net, digits, seed), digits.test)[0]
        rows[name] = before / optimum, after / optimum, untrained, trained
    return rows


def next_of(found, x, k, rng):
    """A start for `share` that was computed before: the layers come in their order."""
    return next(found)


def nearest(x, centroids):
    return np.searchsorted((centroids[1:] + centroids[:-1]) / 2, x, side="right")


# --- 2: the sum, or the mean --------------------------------------------------------------------------------


def sum_or_mean(whole, digits, seed, k, part="test"):
    """{how: (accuracy,)}"""
    shared = copy.deepcopy(whole)
    share(shared, k)
    rows = {"not trained": measured(shared, getattr(digits, part))[:1]}
    sgd = [("sum", RATES["sum"]), ("mean", RATES["sum"]), ("mean", RATES["mean"])]
    makers = [(rule, f"SGD at {lr:g}", functools.partial(optim.SGD, lr=lr)) for rule, lr in sgd]
    adam = functools.partial(optim.Adam, lr=RATES["values"])
    makers += [(rule, f"Adam at {RATES['values']:g}", adam) for rule in ("sum", "mean")]
    for rule, name, maker in makers:
        rows[f"{rule}, {name}"] = (values_alone(shared, digits, seed, rule, maker, part),)
    return rows


def values_alone(shared, digits, seed, rule, maker, part):
    """The accuracy when nothing but the values is trained: biases would need a rate of their own under SGD."""
    net = copy.deepcopy(shared)
    optimizer = maker([net.get(name) for name in LAYERS])
    rules = {"sum": tinyopt.ops.lookup.rule, "mean": mean_lookup}
    try:
        with substitute("lookup", rules[rule]):
            train_values(net, digits, seed, optimizer)
    except tinyopt.errors.TrainingDiverged:
        return float("nan")
    return measured(net, getattr(digits, part))[0]


# --- 3 and 4: bits, bytes -----------------------------------------------------------------------------------


def bits_of_labels(whole, digits, seed):
    """{bits, or "16 × 4": (accuracy before training, after, bytes)}"""
    rows = {}
    for bits, groups in [(bits, 1) for bits in BITS] + [(4, 4)]:
        net = copy.deepcopy(whole)
        share(net, 2**bits, groups={"fc1": groups, "fc2": groups})
        untrained = measured(net, digits.test)[0]
        rows[bits if groups == 1 else "4, in 4 bands"] = untrained, *measured(train_values(net, digits, seed), digits.test)
    return rows


def hashed(n_bytes, seed):
    """A hashed network whose file has at most so many bytes."""
    for fraction in np.geomspace(0.3, 0.003, 200):
        net = models.lenet_300_100(rng=seed)
        hash_weights(net, {"fc1": float(fraction), "fc2": float(fraction), "fc3": min(0.5, 4 * float(fraction))},
                     seed=1000 * seed, rng=seed)  # fmt: skip
        if measured_bytes(net) <= n_bytes:
            return net
    raise AssertionError(f"no hashed network has {n_bytes} bytes")


def thin(n_bytes, seed):
    """A dense network of the same form whose file has at most so many bytes: the layers' widths fall alike."""
    for width in range(100, 0, -1):
        net = nn.Sequential(
            flatten=nn.Flatten(), fc1=nn.Linear(784, width, rng=seed), relu1=nn.ReLU(),
            fc2=nn.Linear(width, max(10, width // 3), rng=seed + 1), relu2=nn.ReLU(),
            fc3=nn.Linear(max(10, width // 3), 10, rng=seed + 2),
        )  # fmt: skip
        if measured_bytes(net) <= n_bytes:
            return net
    raise AssertionError(f"no network has {n_bytes} bytes")


def measured_bytes(net):
    with tempfile.TemporaryDirectory() as folder:
        return tinyopt.save(net, os.path.join(folder, "net.tiny"))


def equal_bytes(digits, seed, budgets, part="test", methods=("hashed", "thin")):
    """{(method, bits of the k-means file): (accuracy, bytes)}"""
    rows = {}
    for bits, n_bytes in budgets.items():
        for name in methods:
            net = {"hashed": hashed, "thin": thin}[name](n_bytes, seed)
            fit(net, digits, seed, BASE + MORE, optim.Adam(net.parameters(), lr=RATES[name]))
            rows[name, bits] = measured(net, getattr(digits, part))
    return rows


# --- tables and figures -------------------------------------------------------------------------------------


def mean_and_error(runs):
    """{key: (means, standard errors)} from a list of {key: row}."""
    rows = {key: np.array([run[key] for run in runs], float) for key in runs[0]}
    return {key: (row.mean(axis=0), row.std(axis=0, ddof=1) / np.sqrt(len(row))) for key, row in rows.items()}


def cells(means, errors, forms):
    return [f"{mean:{form}} ± {error:{form}}" for mean, error, form in zip(means, errors, forms)]


def table(title, header, found, forms):
    body = [[str(key), *cells(*row, forms)] for key, row in found.items()]
    print(f"\n{title}\n{text_table(header, body)}", flush=True)


def trained(digits, seed):
    net = models.lenet_300_100(rng=seed)
    return fit(net, digits, seed, BASE, optim.Adam(net.parameters(), lr=RATES["whole"]))


def flow(digits, folder):
    """The figure of paths: 120 weights of fc2, seed 0, 8 values."""
    net = models.lenet_300_100(rng=0)
    watch = sharing.WeightPaths("fc2.weight", np.random.default_rng(0).choice(30000, 120, replace=False))
    fit(net, digits, 0, BASE, optim.Adam(net.parameters(), lr=RATES["whole"]), [watch])
    share(net, 8)
    fit(net, digits, 100, MORE, optim.Adam(net.parameters(), lr=RATES["values"]), [watch])
    title = f"{len(watch.at)} weights of fc2: trained, shared by 8 values, trained on"
    write(folder, "weights_flow.png", sharing.weights_flow(watch.paths, BASE + 1, title))


def write(folder, name, figure):
    figure.savefig(os.path.join(folder, name), dpi=110)


def choose(digits):
    """What was tried on the validation part, seed 0."""
    for lr in (1e-3, 3e-3, 1e-2):
        RATES["whole"] = lr
        whole = trained(digits, 0)
        print(f"whole, Adam at {lr:g}: {measured(whole, digits.val)[0]:.1f}", flush=True)
    for lr in (3e-4, 1e-3, 3e-3, 1e-2):
        RATES["values"], row = lr, []
        for bits in (1, 2, 4):
            net = copy.deepcopy(whole)
            share(net, 2**bits)
            row.append(f"{measured(train_values(net, digits, 0), digits.val)[0]:.1f}")
        print(f"values, Adam at {lr:g}: 1, 2 and 4 bits {', '.join(row)}", flush=True)
    shared = copy.deepcopy(whole)
    share(shared, 2)
    for rule, rates in (("sum", (1e-6, 1e-5, 1e-4, 1e-3)), ("mean", (0.1, 1, 10))):
        for lr in rates:
            accuracy = values_alone(shared, digits, 0, rule, functools.partial(optim.SGD, lr=lr), "val")
            print(f"{rule}, SGD at {lr:g}: {accuracy:.1f}", flush=True)
    for name in ("thin", "hashed"):
        for lr in (3e-3, 1e-2, 3e-2):
            RATES[name] = lr
            found = equal_bytes(digits, 0, {1: 37_000, 4: 140_000}, "val", (name,))
            print(f"{name}, Adam at {lr:g}: {', '.join(f'{row[0]:.1f}' for row in found.values())}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="how many, 2 or more")
    parser.add_argument("--out", help="the folder to which three figures are written")
    parser.add_argument("--choose", action="store_true", help="print what was tried on validation data, and end")
    options = parser.parse_args()
    if options.seeds < 2:
        parser.error("a standard error needs two seeds or more")
    digits, seeds = data.mnist5k(), range(options.seeds)
    if options.choose:
        return choose(digits)
    if options.out:
        os.makedirs(options.out, exist_ok=True)
        flow(digits, options.out)
    nets = [trained(digits, seed) for seed in seeds]
    whole = mean_and_error([{"": measured(net, digits.test)} for net in nets])[""]
    print(f"whole: {whole[0][0]:.2f} ± {whole[1][0]:.2f} %, {whole[0][1]:,.0f} bytes", flush=True)
    for k in (4, 16):
        found = mean_and_error([starts(net, digits, seed, k) for seed, net in zip(seeds, nets)])
        header = ["start", "error, start", "after Lloyd", "accuracy", "values trained"]
        table(f"1  {k} values a layer", header, found, (".3f", ".3f", ".2f", ".2f"))
    found = mean_and_error([sum_or_mean(net, digits, seed, 2) for seed, net in zip(seeds, nets)])
    table("2  2 values a layer, nothing else trained", ["gradient of a value", "accuracy"], found, (".2f",))
    runs = [bits_of_labels(net, digits, seed) for seed, net in zip(seeds, nets)]
    by_bits = mean_and_error(runs)
    table("3  bits of a label", ["bits", "accuracy", "values trained", "bytes"], by_bits, (".2f", ".2f", ",.0f"))
    budgets = [{bits: run[bits][2] for bits in BUDGETS} for run in runs]
    equal = mean_and_error([equal_bytes(digits, seed, budget) for seed, budget in zip(seeds, budgets)])
    equal = {("k-means", bits): (by_bits[bits][0][1:], by_bits[bits][1][1:]) for bits in BUDGETS} | equal
    named = {f"{name}, {bits} bit{'s' if bits > 1 else ''}": row for (name, bits), row in equal.items()}
    table("4  at the bytes of k-means' files", ["method", "accuracy", "bytes"], named, (".2f", ",.0f"))
    if options.out:
        lines = {name: tuple(np.array([by_bits[b][i][column] for b in BITS]) for i in (0, 1))
                 for column, name in enumerate(("k-means alone", "values trained"))}  # fmt: skip
        figure = sharing.accuracy_against_index_bits(BITS, lines, (whole[0][0], whole[1][0]), "lenet_300_100, mnist5k")
        write(options.out, "index_bits.png", figure)
        names = {"k-means": "k-means, then trained", "hashed": "HashedNets", "thin": "thin dense network"}
        points = {label: [np.array([equal[name, bits][i][j] for bits in BUDGETS]) for i, j in ((0, 1), (0, 0), (1, 0))]
                  for name, label in names.items()}  # fmt: skip
        floats = whole[0][1], whole[0][0], whole[1][0]
        write(options.out, "equal_bytes.png", sharing.accuracy_at_equal_bytes(points, floats, "lenet_300_100, mnist5k"))


if __name__ == "__main__":
    sys.exit(main())

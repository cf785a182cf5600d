"""Every technique on every model: python tests/benchmarks/model_by_technique.py [--data mnist5k] [names of models]

Each network is trained from seed 0 (Adam at 0.001, cosine, batches of 64, about BASE steps). Each technique then has its
own copy of it, about MORE steps of the same training afterwards where it says "+ tuned", and no setting chosen for its
model or data: so the rows show what each does, not the best that it can. Every row is of the network that was loaded
again from its file:

    test %      accuracy on the test part ± its standard error
    change      paired difference to the dense network in points ± its standard error; "trained on" is the control:
                the dense network with MORE steps more, and nothing else
    bytes, ×    of the file, and over the dense network's file
    MACs, ×     multiply-adds for one image, over the dense network's
    latency ×   of a batch of 64, over the dense network's: both in turns, the median of the ratios
    s           seconds of compression, tuning included

Below the table: what does not apply, and why. A model without two layers of one shape cannot be tied.
"""

import argparse
import copy
import functools
import os
import statistics
import sys
import tempfile
import time

if "OPENBLAS_CORETYPE" in os.environ:  # it may name a slow kernel; the library chooses when it is loaded
    del os.environ["OPENBLAS_CORETYPE"]
    os.execv(sys.executable, [sys.executable, *sys.argv])
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import tinyopt
from tinyopt import Tensor, compress, data, measure, models, nn, optim, train
from tinyopt.files import ledger
from tinyopt.measure.table import text_table
from tinyopt.report import doctor

BASE, MORE, BATCH, TURNS = 600, 150, 64, 30
KINDS = ("channel", "spatial", "tucker2")


def fit(model, dataset, steps, objective=train.classify):
    epochs = round(steps * 64 / len(dataset.train)) or 1
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    settings = {"schedule": train.cosine, "objective": objective, "seed": 0, "progress": False}
    train.fit(model, (dataset.train, None), epochs=epochs, batch_size=64, optimizer=optimizer, **settings)
    return model


def weight_bytes(model):
    """What the weights of a dense network's layers take in its file."""
    return sum(p.size * p.dtype.itemsize for name, p in model.named_parameters() if p.ndim > 1)


# --- techniques: model, data -> the model to save ---------------------------------------------------------


def changed(technique, tuned=True):
    """A technique that changes a model in place, and MORE steps after it."""

    def run(model, dataset):
        technique(model, dataset)
        return fit(model, dataset, MORE) if tuned else model

    return run


def fewer_channels(model, dataset):
    """Those of the smallest filters go: about half of the MACs is left."""
    scores = compress.importance.channel_scores(model, "l1", dataset.train)
    return fit(compress.prune_channels(model, dataset.train.images[:1], scores, 0.3), dataset, MORE)


def hashed(model, dataset):
    compress.hash_weights(model, 1 / 8, rng=0)
    return fit(model, dataset, BASE + MORE)


def half_the_bytes(model, dataset, kind):
    if kind != "channel" and not any(isinstance(layer, nn.Conv2d) for layer in model.modules()):
        raise ValueError("it has no convolution")
    compress.factorize_to(model, 0.5 * weight_bytes(model), kind=kind)


def tied(model, dataset):
    """All convolutions of one shape, or all dense layers of one shape, share one weight."""
    shapes = {}
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            shapes.setdefault(parameter.shape, []).append(name)
    groups = [names for names in shapes.values() if len(names) > 1]
    if not groups:
        raise ValueError("no two of its weights have one shape")
    for names in groups:
        compress.tie(model, *names)
    return fit(model, dataset, MORE)


def student(model, dataset):
    """A network that has nothing of the teacher's: lenet5 with an eighth of its filters."""
    return models.lenet5(dataset.input_shape[-1], dataset.n_classes, filters=(4, 8), units=32, rng=0)


def alone(model, dataset):
    return fit(student(model, dataset), dataset, BASE)


def taught(model, dataset):
    return fit(student(model, dataset), dataset, BASE, compress.taught_by(model))


def pruned_and_taught(model, dataset):
    teacher = copy.deepcopy(model)
    compress.prune(model, 0.8, scope="layer")
    return fit(model, dataset, MORE, compress.taught_by(teacher))


def all_together(model, dataset):
    """Factor, then prune, then share, tuned after each."""
    compress.factorize_to(model, 0.5 * weight_bytes(model))
    fit(model, dataset, MORE)
    compress.prune(model, 0.5, scope="layer")
    fit(model, dataset, MORE)
    compress.share(model, 16)
    return fit(model, dataset, MORE)


TECHNIQUES = {
    "trained on": changed(lambda model, dataset: None),
    "pruned 80 % + tuned": changed(lambda model, dataset: compress.prune(model, 0.8, scope="layer")),
    "pruned 80 % + taught": pruned_and_taught,
    "30 % fewer channels + tuned": fewer_channels,
    "8 bits": changed(lambda model, dataset: compress.quantize(model, 8), tuned=False),
    "4 bits, QAT": changed(lambda model, dataset: compress.prepare_qat(model, dataset.train, weight_bits=4)),
    "integers only": lambda model, dataset: compress.integerize(model, dataset.train.sample(512, rng=0)),
    "16 values": changed(lambda model, dataset: compress.share(model, 16), tuned=False),
    "16 values + tuned": changed(lambda model, dataset: compress.share(model, 16)),
    "hashed to an eighth, anew": hashed,
    "tied + tuned": tied,
    **{
        f"half the bytes, {kind} + tuned": changed(functools.partial(half_the_bytes, kind=kind)) for kind in KINDS
    },
    "half the bytes, outputs": changed(
        lambda model, dataset: compress.factorize_to(model, 0.5 * weight_bytes(model), images=dataset.train.images[:512]),
        tuned=False,
    ),
    "fused": lambda model, dataset: compress.fuse(model, dataset.train.images[:1])[0],
    "a small student alone": alone,
    "a small student taught": taught,
    "factored, pruned, shared": all_together,
}


# --- what came of it ---------------------------------------------------------------------------------------


def in_turns(first, second, batch):
    """The median over passes in turns of second's seconds over first's."""
    ratios, batch = [], Tensor(batch)
    with measure.inference(first), measure.inference(second):
        for _ in range(TURNS + 2):
            clock = [time.perf_counter()]
            for model in (first, second):
                model(batch)
                clock.append(time.perf_counter())
            ratios.append((clock[2] - clock[1]) / (clock[1] - clock[0]))
    return statistics.median(ratios[2:])


def row(label, model, dense, dataset, folder, seconds):
    """Save, load, and measure what was loaded."""
    path = os.path.join(folder, "model.top")
    tinyopt.save(model, path)
    size, loaded, (before, dense_size, base) = os.path.getsize(path), tinyopt.load(path), dense
    assert sum(n_bytes for *_, n_bytes in ledger(path)) == size, "the ledger adds up to the file"
    after = measure.evaluate(loaded, dataset.test)
    paired = measure.compare(before, after)
    macs = [measure.summary(m, dataset.input_shape).macs for m in (loaded, base)]
    return [
        label, f"{after.accuracy:.1%} ± {100 * after.standard_error:.1f}",
        f"{100 * paired.difference:+.1f} ± {100 * paired.standard_error:.1f}",
        f"{size:,}", f"{size / dense_size:.3f}", f"{macs[0]:,}", f"{macs[0] / macs[1]:.2f}",
        f"{in_turns(base, loaded, dataset.test.images[:BATCH]):.2f}", f"{seconds:.0f}",
    ]  # fmt: skip


def report(name, dataset, folder, techniques):
    """One model's table."""
    start = time.perf_counter()
    model = fit(models.make(name, image_size=dataset.input_shape[-1], rng=0), dataset, BASE)
    path = os.path.join(folder, f"{name}.top")
    tinyopt.save(model, path)
    base = tinyopt.load(path)
    dense = measure.evaluate(base, dataset.test), os.path.getsize(path), base
    left_out, rows = [], [row("dense", model, dense, dataset, folder, time.perf_counter() - start)]
    for label in techniques:
        mine, start = copy.deepcopy(model), time.perf_counter()
        try:
            mine = TECHNIQUES[label](mine, dataset)
        except ValueError as reason:
            left_out.append(f"{label}: {reason}")
            continue
        rows.append(row(label, mine, dense, dataset, folder, time.perf_counter() - start))
        print(f"  {label}", file=sys.stderr, flush=True)
    header = [name, "test %", "change", "bytes", "×", "MACs", "×", "latency ×", "s"]
    print(text_table(header, rows, left=1), *left_out, sep="\n", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(models.MODELS)}; all, unless named")
    parser.add_argument("--data", default="mnist5k", help="the name of a data set, such as digits")
    parser.add_argument("--techniques", nargs="*", default=list(TECHNIQUES), help="as the rows of the table say")
    options = parser.parse_args()
    dataset = data.load(options.data)
    print(f"{doctor.summary()['text']} · {dataset.name}, {len(dataset.test)} test images, seed 0")
    with tempfile.TemporaryDirectory() as folder:
        for name in options.names or models.MODELS:
            report(name, dataset, folder, options.techniques)


if __name__ == "__main__":
    main()

"""The main job, `tinyopt tour`: one network, each family of techniques applied to it, and what came of it.

Each function below applies one technique, starting from a copy of the trained network, and returns what
it made. `tour` then saves that to a file, has a fresh process load and measure the file, and adds a row
to the table. Settings are chosen on validation data (`lab.py`); the test part is for the table alone.
"""

import sys
import time

import numpy as np

from tinyopt import compress, data, nn
from tinyopt.codec import atomic_write
from tinyopt.measure import inference
from tinyopt.report import doctor, plots, readme
from tinyopt.report.lab import Lab, Made
from tinyopt.report.results import Results
from tinyopt.tensor import Tensor


def dense(lab):
    """The baseline: float32 weights, trained from nothing. All ratios are against this file."""
    model = lab.fresh_model()
    return lab.keep_baseline(model, lab.train(model))


def dense_zlib(lab):
    """The dense file, squeezed as any file can be (Deflate, as in zip and PNG)."""
    return Made(lab.copy_of("dense"), {"level": 9}, archiver="zlib")


def dense_lzma(lab):
    """The dense file, squeezed harder (LZMA, as in xz and 7z)."""
    return Made(lab.copy_of("dense"), {"preset": 9}, archiver="lzma")


def prune(lab):
    """Remove the smallest weights of the whole network, in two steps, so that the others can take over."""

    def make(sparsity):
        model = lab.copy_of("dense")
        for share in (0.9, 1):
            compress.prune(model, sparsity * share)
            lab.fine_tune(model, f"{sparsity * share:.0%} removed")
        return model

    return lab.smallest("sparsity", (0.95, 0.9, 0.8), make)


def int8(lab):
    """Round each weight to one of 255 steps, of a size for each output channel. Nothing is trained."""
    model = lab.copy_of("dense")
    compress.quantize(model, bits=8, per_channel=True)
    return Made(model, {"bits": 8, "per_channel": True})


def share(lab):
    """Let all weights of a layer take one of a few values, found by k-means; then train these values."""

    def make(n_values):
        model = lab.copy_of("dense")
        compress.share(model, n_values)
        lab.fine_tune(model, f"{n_values} values")
        return model

    return lab.smallest("n_values", (4, 8, 16), make)


def low_rank(lab):
    """Replace each hidden layer's matrix by a product of two thin ones; then train these."""
    *hidden, _ = (name for name, layer in lab.copy_of("dense").named_modules() if type(layer) is nn.Linear)

    def make(fraction):
        model = lab.copy_of("dense")
        ranks = {name: max(1, int(fraction * min(model.get(name).weight.shape))) for name in hidden}
        compress.factorize(model, ranks)
        lab.fine_tune(model, f"rank {', '.join(map(str, ranks.values()))}")
        return model

    return lab.smallest("rank_fraction", (0.02, 0.05, 0.1, 0.2), make)


def student_alone(lab):
    """A small network that learns from the labels only: what the next row must beat."""
    model = lab.student()
    lab.histories["student alone"] = lab.train(model)
    return Made(model)


def distill(lab):
    """The same small network, taught by the large one: as many steps, and the teacher's probabilities."""
    teacher = remembered(lab.copy_of("dense"), lab.data.train.images)

    def make(temperature):
        model, objective = lab.student(), compress.taught_by(teacher, temperature=temperature, alpha=0.9)
        detail = f"T = {temperature}"
        lab.histories[f"student, {detail}"] = lab.train(model, objective=objective, detail=detail)
        return model

    return lab.most_accurate("temperature", (2, 4), make)


def deep_compression(lab):
    """All three: the pruned network, its survivors sharing few values, labels and gaps Huffman coded."""

    def make(n_values):
        model = lab.copy_of("prune")
        compress.share(model, n_values)
        lab.fine_tune(model, f"{n_values} values")
        return model

    made = lab.smallest("n_values", (4, 8, 16), make, coding="huffman")
    made.settings = {**lab.made["prune"].settings, **made.settings}
    return made


def remembered(teacher, images):
    """The teacher as a function that knows its logits for these images by heart: each is computed once."""
    with inference(teacher):
        parts = [teacher(Tensor(images[start : start + 256])).data for start in range(0, len(images), 256)]
    memory = {image.tobytes(): logits for image, logits in zip(images, np.concatenate(parts))}
    return lambda batch: np.stack([memory[image.tobytes()] for image in batch.data])


TECHNIQUES = {
    "dense": dense,
    "dense + zlib": dense_zlib,
    "dense + lzma": dense_lzma,
    "prune": prune,
    "int8": int8,
    "share": share,
    "low rank": low_rank,
    "student alone": student_alone,
    "distill": distill,
    "deep compression": deep_compression,
}


def tour(model="lenet5", data_name="mnist5k", *, epochs=None, seed=0, out="tour", page=None, progress=True):
    """Train a network, apply every technique, save, load, measure: a table, files and figures in one folder.

    Units:  epochs of the baseline's training; a fine-tuning takes a quarter of them. Returns the `Results`.
    Start:  epochs=None, see `Lab`; page, a README with the marks of `readme.py`, gets the table.
    Raises: ValueError for an unknown name or a README without marks; OSError if `out` cannot be written to;
            KeyboardInterrupt, once it has said which rows are on disk.
    """
    start = time.perf_counter()
    lab = Lab(model, data.load(data_name), epochs, seed, progress)
    if page is not None:
        readme.check(page)
    results = Results(out, _about(lab), lab.data)
    try:
        for number, (name, technique) in enumerate(TECHNIQUES.items(), 1):
            lab.stage = f"[{number}/{len(TECHNIQUES)}] {name}"
            lab.made[name] = technique(lab)
            row = results.add(name, lab.made[name])
            lab.say(f"{row.accuracy_percent:.2f} % right, {row.file_bytes:,} bytes")
        pictures = figures(lab, results)
        for name, picture in pictures.items():
            atomic_write(results.folder / f"{name}.png", plots.png(picture))
    except KeyboardInterrupt:
        rows = f"{len(results.rows)} of {len(TECHNIQUES)} rows are finished"
        print(f"\nStopped: {rows}, and on disk in {results.folder}", file=sys.stderr)
        raise
    seconds = round(time.perf_counter() - start, 1)
    results.about |= {"finished": True, "seconds": seconds, "histories": lab.histories}
    results.write()
    if page is not None:
        readme.put(page, results.about, results.rows, plots.png(pictures["accuracy_against_bytes"]))
    return results


def figures(lab, results):
    """The figures of a finished tour: {file name without .png: Figure}."""
    weights = dict(lab.made["dense"].model.named_parameters())
    largest = max(weights, key=lambda name: weights[name].size)
    shown = ("prune", "int8", "share", "deep compression")
    after = {name: lab.made[name].model.get(largest).read().data for name in shown}
    names, accuracy, error, n_bytes = zip(
        *((row.technique, row.accuracy_percent, row.accuracy_se, row.file_bytes) for row in results.rows)
    )
    cells, title = results.measured["dense"].quality.confusion, f"{lab.model_name} on {lab.data.name}"
    return {
        "training_curves": plots.training_curves(lab.histories),
        "weights": plots.weight_histograms(weights[largest].read().data, after, title=f"{title}: {largest}"),
        "accuracy_against_bytes": plots.accuracy_against_bytes(names, accuracy, error, n_bytes, title=title),
        "confusion": plots.confusion(cells, lab.data.classes, title=f"{title}: dense"),
    }


def _about(lab):
    names = f"--model {lab.model_name} --data {lab.data.name}"
    return {
        "command": f"tinyopt tour {names} --epochs {lab.epochs} --seed {lab.seed}",
        "model": lab.model_name,
        "data": lab.data.name,
        "epochs": lab.epochs,
        "seed": lab.seed,
        "n_test": len(lab.data.test),
        "machine": doctor.summary(),
        "finished": False,
    }

"""After pruning, fine-tune or reconstruct? OPENBLAS_NUM_THREADS=1 python tests/benchmarks/fine_tune_or_reconstruct.py

lenet_300_100 on the embedded digits, seeds 0 to 4, global magnitude pruning. `reconstruct` fits each layer to its
outputs in the whole model, on 1,000 training images and without labels: in closed form, and by 200 gradient steps.
`fine-tune` trains the survivors for 1 or for 10 epochs on the labels, with a new Adam; in the last row it starts from
the reconstructed weights. Printed is accuracy on the test part in percent, mean ± deviation over the seeds,
and the seconds that the repair took. These settings were written down before the first run, and no other was tried.
"""

import copy
import os
import statistics
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the library reads it when it is loaded

import tinyopt
from tinyopt import compress, data, measure, models, train
from tinyopt.compress.reconstruct import reconstruct
from tinyopt.measure.table import text_table

SEEDS, SPARSITIES, EPOCHS = range(5), (0.8, 0.9, 0.95, 0.98), 20


def fine_tune(epochs):
    def repair(model, whole, digits, seed):
        train.fit(model, (digits.train, None), epochs=epochs, seed=seed + 100, progress=False)

    return repair


def rebuild(method):
    def repair(model, whole, digits, seed):
        reconstruct(model, whole, digits.train.sample(1000, rng=seed).images, method=method)

    return repair


def both(model, whole, digits, seed):
    rebuild("least_squares")(model, whole, digits, seed)
    fine_tune(10)(model, whole, digits, seed)


REPAIRS = {
    "none": lambda *_: None,
    "reconstruct, least squares": rebuild("least_squares"),
    "reconstruct, gradient": rebuild("gradient"),
    "fine-tune, 1 epoch": fine_tune(1),
    "fine-tune, 10 epochs": fine_tune(10),
    "least squares, then 10 epochs": both,
}


def run(seed, digits):
    """{(repair, sparsity): (accuracy, seconds)}, and the dense accuracy under ("dense", 0)."""
    tinyopt.manual_seed(seed)
    whole = models.lenet_300_100(image_size=8, rng=seed)
    train.fit(whole, (digits.train, None), epochs=EPOCHS, seed=seed, progress=False)
    results = {("dense", 0): (measure.evaluate(whole, digits.test).accuracy, 0.0)}
    for sparsity in SPARSITIES:
        for name, repair in REPAIRS.items():
            model = copy.deepcopy(whole)
            compress.prune(model, sparsity)
            start = time.perf_counter()
            repair(model, whole, digits, seed)
            seconds = time.perf_counter() - start
            results[name, sparsity] = measure.evaluate(model, digits.test).accuracy, seconds
    return results


def spread(values):
    return f"{100 * statistics.mean(values):.1f} ± {100 * statistics.stdev(values):.1f}"


def main():
    runs = [run(seed, data.digits()) for seed in SEEDS]
    print(f"dense: {spread([r['dense', 0][0] for r in runs])} %")
    rows = []
    for name in REPAIRS:
        cells = [spread([r[name, sparsity][0] for r in runs]) for sparsity in SPARSITIES]
        rows.append([name, *cells, f"{statistics.median(r[name, s][1] for r in runs for s in SPARSITIES):.2f}"])
    print(text_table(["repair", *(f"{s:.0%} removed" for s in SPARSITIES), "seconds"], rows))


if __name__ == "__main__":
    main()

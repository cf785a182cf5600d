"""Does a ticket beat its control? OPENBLAS_NUM_THREADS=1 python tests/benchmarks/lottery_tickets.py

lenet_300_100 on the embedded digits, Adam at 1e-3, 15 epochs of 20 steps, seeds 0 to 2. The two large layers are
pruned by magnitude in one round, each by the same share. A ticket of step k goes back to the weights, and to all else,
of step k. Its control has the mask of step 0's ticket and the first weights of another seed; "other places" has
those too, and as many weights of each layer at random places. Both train for all 15 epochs. Printed is accuracy on
the test part in percent after the last step, mean ± deviation over the seeds. These settings were written down
before the first run, and no other was tried.
"""

import os
import statistics

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the library reads it when it is loaded

import numpy as np

from tinyopt import data, measure, models, train
from tinyopt.compress.lottery import find_ticket
from tinyopt.compress.patterns import put_masks
from tinyopt.measure.table import text_table

SEEDS, SPARSITIES, STEPS, EPOCHS = range(3), (0.9, 0.95, 0.98), (0, 20, 60), 15
DIGITS = data.digits()


def network(seed):
    return models.lenet_300_100(image_size=8, rng=seed)


def run(seed):
    """{(what, sparsity): test accuracy}"""

    def fit(model, callbacks):
        train.fit(model, (DIGITS.train, None), epochs=EPOCHS, seed=seed, callbacks=callbacks, progress=False)

    def accuracy(model, callbacks=()):
        fit(model, callbacks)
        return measure.evaluate(model, DIGITS.test).accuracy

    results, rng = (
        dict.fromkeys([("dense", s) for s in SPARSITIES], accuracy(network(seed))),
        np.random.default_rng(seed),
    )
    for sparsity in SPARSITIES:
        for step in STEPS:
            model = network(seed)
            ticket = find_ticket(model, fit, sparsity, step=step, scope="layer", skip="fc3")
            results[f"ticket of step {step}", sparsity] = accuracy(model, [ticket])
            if step == 0:
                results["control: the same mask", sparsity] = accuracy(ticket.control(network(seed + 1000)))
                other = network(seed + 1000)
                put_masks(other, {name: rng.permuted(m.ravel()).reshape(m.shape) for name, m in ticket.masks.items()})
                results["control: other places", sparsity] = accuracy(other)
    return results


def main():
    runs = [run(seed) for seed in SEEDS]
    rows = []
    for name in dict.fromkeys(name for name, _ in runs[0]):
        cells = [[100 * r[name, sparsity] for r in runs] for sparsity in SPARSITIES]
        rows.append([name, *(f"{statistics.mean(c):.1f} ± {statistics.stdev(c):.1f}" for c in cells)])
    print(text_table(["", *(f"{s:.0%} removed" for s in SPARSITIES)], rows))


if __name__ == "__main__":
    main()

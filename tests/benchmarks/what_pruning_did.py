"""What pruning did, as a figure and a table: python tests/benchmarks/what_pruning_did.py [--out FILE.png]

lenet_300_100 on mnist5k, seed 0: 8 epochs dense, then 95 % of the weights pruned by magnitude over 4 rounds in 8 more
epochs. The first row shows how many neurons read each pixel, before and after, beside the mean image; the second, of
each class, how many validation images changed their answer; the third, some that were lost, with both answers.
"""

import argparse
import copy

import numpy as np

from tinyopt import data, measure, models, train
from tinyopt.compress.schedules import PruneAt, iterative
from tinyopt.compress.seen import changed_answers, pixels_read, readers
from tinyopt.measure.table import text_table
from tinyopt.nn import Mask
from tinyopt.report import plots

SEED, SPARSITY, EPOCHS = 0, 0.95, 8


def trained(digits):
    """The whole network and the pruned one."""
    whole = models.lenet_300_100(rng=SEED)
    train.fit(whole, digits, epochs=EPOCHS, seed=SEED, progress="dense")
    pruned = copy.deepcopy(whole)
    plan = iterative(SPARSITY, begin=0, every=55, rounds=4)
    train.fit(pruned, digits, epochs=EPOCHS, seed=SEED + 1, callbacks=[PruneAt(plan)], progress="pruned")
    return whole, pruned


def draw(digits, pruned, before, after, changed):
    """The figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 8), layout="constrained")
    FigureCanvasAgg(figure)
    top, middle, bottom = figure.subfigures(3, 1, height_ratios=(3, 2.4, 1.6))
    keep = pruned.get("fc1.weight").view(Mask).keep
    panels = {
        "mean of the training images": digits.train.images.mean(axis=0)[0],
        f"neurons that read a pixel, of {len(keep)}": readers(keep, (28, 28)),
        "paths from a pixel to the logits": pixels_read(pruned, digits.input_shape)[0],
    }
    for axes, (title, image) in zip(top.subplots(1, 3), panels.items()):
        top.colorbar(axes.imshow(image, cmap="viridis"), ax=axes, shrink=0.7)
        axes.set_title(f"{title}\n{(image == 0).mean():.0%} of the pixels: 0", fontsize=9)
        axes.axis("off")
    axes, counts, left = middle.subplots(), changed.by_class(digits.n_classes), np.zeros(digits.n_classes)
    for name, column, color in (("lost", 0, "C3"), ("gained", 1, "C2"), ("wrong before and after", 2, plots.GREY)):
        axes.bar(digits.classes, counts[:, column], bottom=left, color=color, label=name)
        left = left + counts[:, column]
    axes.set(xlabel="true class", ylabel="validation images", title="whose answer changed")
    axes.legend(fontsize=8)
    for axes, i in zip(bottom.subplots(1, 10), [*changed.lost[:10], *[None] * 10]):
        axes.axis("off")
        if i is not None:
            axes.imshow(digits.val.images[i, 0], cmap="gray_r")
            axes.set_title(f"{before[i]} → {after[i]}", fontsize=9)
    bottom.suptitle("lost: right before pruning → wrong after", fontsize=9)
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", help="where the figure is written, a .png file")
    out = parser.parse_args().out
    digits = data.mnist5k()
    whole, pruned = trained(digits)
    first, second = (measure.evaluate(model, digits.val) for model in (whole, pruned))
    changed = changed_answers(first.labels, first.predictions, second.predictions)
    rows = [[c, *counts] for c, counts in enumerate(changed.by_class(digits.n_classes).tolist())]
    print(text_table(["class", "lost", "gained", "other", "of"], rows, total=["all", *map(sum, list(zip(*rows))[1:])]))
    read = pixels_read(pruned, digits.input_shape)
    print(f"{(read > 0).sum()} of {read.size} pixels are read; {measure.compare(first, second)}")
    if out:
        with open(out, "wb") as file:
            file.write(plots.png(draw(digits, pruned, first.predictions, second.predictions, changed)))


if __name__ == "__main__":
    main()

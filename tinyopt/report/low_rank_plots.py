"""Figures of low rank, as functions of data: each returns a Matplotlib `Figure`, and needs no screen.

    spectra              what training does to singular values, layer by layer
    accuracy_against     what is left at each rank, or each number of bytes
"""

import math

import numpy as np

from tinyopt.compress.lowrank import first_to_keep
from tinyopt.report.plots import BLUE, GREY, INK, _figure

LOOKS = "o-", "s--", "^-.", "D:", "v-", "P--"


def spectra(before, after, *, chosen=None, title="", columns=4):
    """Singular values of each layer before (grey) and after training (blue), on a log axis: one panel a layer.

    The dotted line in a panel is the rank that keeps 90 % of Σ σ² after training; `chosen`, {layer: rank}, draws what
    was chosen. Values below a millionth of the largest are rounding, and are left out.

    Shapes: before and after {layer: σ (n,)}, as `compress.rank_budget.spectra_of` returns them.
    """
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    n_rows, columns = math.ceil(len(after) / columns), min(columns, len(after))
    figure, panels = _figure(n_rows, columns, (2.9 * columns, 0.8 + 2.5 * n_rows), squeeze=False, sharey=True)
    for axes, (name, sigma) in zip(panels.flat, after.items()):
        for values, color, label in ((before[name], GREY, "before training"), (sigma, BLUE, "after")):
            seen = values[values > 1e-6 * values[0]]
            axes.plot(np.arange(1, len(seen) + 1), seen, ".-" if len(seen) < 80 else "-", ms=4, color=color, label=label)
        rank = first_to_keep(sigma, 0.9)
        axes.axvline(rank, color=INK, lw=0.9, ls=":", label="90 % of Σ σ² kept, after")
        if name in (chosen or {}):
            axes.axvline(chosen[name], color="C1", lw=1.2, label="rank chosen")
        axes.set(yscale="log", xlim=(0, len(sigma) + 1))
        axes.set_title(f"{name}\n{len(sigma)} values, 90 % in {rank}", fontsize=9)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.25)
    for axes in panels.flat[len(after) :]:
        axes.set_axis_off()
    for axes in panels[:, 0]:
        axes.set_ylabel("singular value")
    for axes in panels.flat[len(after) - columns : len(after)]:  # nothing is drawn below these
        axes.set_xlabel("number of the value")
    figure.suptitle(title)
    labels = {label: line for axes in panels.flat for line, label in zip(*axes.get_legend_handles_labels())}
    figure.legend(labels.values(), labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


def accuracy_against(results, *, dense=None, of="rank", title=""):
    """Accuracy in percent ± one standard error against the rank, or anything that makes a model smaller, on a log axis.

    Shapes: results {name: (x (K,), accuracy (K,), error (K,))}; dense, (accuracy, error) of the model as it was.
    Units:  accuracy and error in percent; x in what `of` says, such as "rank" or "file, kB".
    """
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    figure, axes = _figure(1, 1, (7.2, 4.4))
    for number, (name, (x, accuracy, error)) in enumerate(results.items()):
        look = LOOKS[number % len(LOOKS)]
        axes.errorbar(x, accuracy, error, fmt=look, ms=4, lw=1.3, capsize=2, elinewidth=1, label=name)
    if dense is not None:
        axes.axhline(dense[0], color=GREY, lw=1, ls=":", label="dense (band: one standard error)")
        axes.axhspan(dense[0] - dense[1], dense[0] + dense[1], color=GREY, alpha=0.15, lw=0)
    ticks = sorted({float(value) for x, *_ in results.values() for value in x})
    apart = [tick for i, tick in enumerate(ticks) if i == 0 or tick / ticks[i - 1] > 1.12]
    axes.set(xscale="log", xlabel=of, ylabel="accuracy, % (bars: one standard error)", title=title)
    axes.set_xticks(apart)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="lower right", fontsize=9)
    return figure

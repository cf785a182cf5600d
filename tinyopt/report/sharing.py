"""Figures of weight sharing, as functions of data: each returns a Matplotlib `Figure`, and needs no screen.

Start with these three: `weights_flow`, what training does to weights before and after they are shared; `WeightPaths`,
the callback that looks on; `accuracy_against_index_bits`.
"""

import numpy as np

from tinyopt import backend
from tinyopt.report.plots import BLUE, GREY, _figure


class WeightPaths:
    """A callback of `train.fit`: what some weights of a parameter are, at the start and after each epoch.

    It may go through several calls of `fit`, of a model that is compressed in between: the weights are as layers read
    them. `paths` has a row for each time.

    Shapes: at, places in C order (n,) -> paths (times, n).
    """

    def __init__(self, name, at):
        self.name, self.at, self.rows = name, np.asarray(at), []

    paths = property(lambda self: np.array(self.rows))

    def before_fit(self, run):
        self._look(run.model)

    def after_epoch(self, run):
        self._look(run.model)

    def _look(self, model):
        parameter = model.get(self.name)
        self.rows.append(backend.to_host(parameter.read().data).reshape(-1)[self.at])


def weights_flow(paths, shared_at, title=""):
    """Where weights go: each on its own while all are trained, onto a centroid when they are shared, and on with it.

    The row `shared_at` is the first after sharing, which takes no epoch: the grey strip leads to it. A line has the
    colour of the centroid that it ends on; on the right, how many end on each.

    Shapes: paths (times, n); the rows from shared_at on hold K values at most.
    Raises: ValueError for a shared_at that is no row after the first.
    """
    from matplotlib import colormaps

    times, n = paths.shape
    if not 1 <= shared_at < times:
        raise ValueError(f"weights are shared at a row of paths after the first, 1 to {times - 1}; got {shared_at}")
    _, one_of, label = np.unique(paths[shared_at], return_index=True, return_inverse=True)  # one member of each centroid
    label, rows = label.reshape(-1), np.arange(times)
    colors = colormaps["turbo"](np.linspace(0.05, 0.95, len(one_of)))
    figure, (left, right) = _figure(1, 2, (9.5, 4.4), sharey=True, width_ratios=(4, 1))
    for i in range(n):
        left.plot(rows, paths[:, i], color=colors[label[i]], lw=0.5, alpha=0.5)
    for member, color in zip(one_of, colors):
        left.plot(rows[shared_at:], paths[shared_at:, member], color=color, lw=2)
    left.axvspan(shared_at - 1, shared_at, color=GREY, alpha=0.15, lw=0)
    left.text(shared_at - 0.5, 0.99, "shared", ha="center", va="top", transform=left.get_xaxis_transform())
    ticks = rows[rows != shared_at]
    left.set_xticks(ticks, ticks - (ticks > shared_at))
    left.set(xlabel="epoch", ylabel="weight", title=title)
    right.barh(paths[-1, one_of], np.bincount(label), height=0.02 * np.ptp(paths), color=colors)
    right.set(xlabel=f"how many, of {n}", title="where they end")
    for axes in (left, right):
        axes.grid(alpha=0.2)
    return figure


def accuracy_against_index_bits(bits, lines, whole, title=""):
    """Accuracy ± standard error in percent against the bits of a label: {name: (accuracy (n,), error (n,))}.

    `whole` is (accuracy, error) of the network before sharing: the dashed line and its band. The right panel shows
    the upper end alone.
    """
    figure, panels = _figure(1, 2, (9.5, 4.0))
    shifts = np.linspace(-0.06, 0.06, len(lines))
    for axes in panels:
        for number, (shift, (name, (accuracy, error))) in enumerate(zip(shifts, lines.items())):
            axes.errorbar(np.array(bits) + shift, accuracy, error, fmt="o-", ms=4, capsize=2, color=f"C{number}", label=name)
        axes.axhline(whole[0], color=GREY, lw=1, ls="--", label="not shared")
        axes.axhspan(whole[0] - whole[1], whole[0] + whole[1], color=GREY, alpha=0.2, lw=0)
        axes.set(xlabel="bits of a label: 2ᵇ values a layer", xticks=bits)
        axes.grid(alpha=0.25)
    panels[0].set(ylabel="test accuracy, % (± standard error)", title=title)
    near = [accuracy[accuracy > whole[0] - 6] for accuracy in map(np.asarray, (line[0] for line in lines.values()))]
    lowest = min((float(values.min()) for values in near if values.size), default=whole[0])
    panels[1].set_ylim(lowest - 0.5, whole[0] + 1)
    panels[1].set_title("the upper end")
    panels[0].legend(loc="lower right", fontsize=8)
    return figure


def accuracy_at_equal_bytes(lines, whole, title=""):
    """Accuracy ± standard error in percent against the bytes of the file: {name: (bytes, accuracy, error), each (n,)}.

    `whole` is (bytes, accuracy, error) of the network before compression.
    """
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    figure, axes = _figure(1, 1, (7, 4.2))
    for number, (name, (n_bytes, accuracy, error)) in enumerate(lines.items()):
        axes.errorbar(n_bytes, accuracy, error, fmt="so^D"[number % 4] + "-", ms=5, capsize=2, color=f"C{number}", label=name)
    axes.errorbar(*whole[:2], whole[2], fmt="*", ms=9, capsize=2, color=BLUE, label="whole network, floats")
    axes.set(xscale="log", xlabel="file size", ylabel="test accuracy, % (± standard error)", title=title)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(EngFormatter("B"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.25)
    axes.legend(loc="lower right", fontsize=9)
    return figure

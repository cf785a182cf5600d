"""The tour's figures, as functions of data: each returns a Matplotlib `Figure`, and needs no screen."""

import io

import numpy as np

INK, BLUE, GREY = "#1f2430", "#2563a8", "#8b93a1"


def training_curves(histories):
    """Loss and accuracy by epoch: {name: history of `train.fit`}; dashed is training, solid validation.

    The dashed loss is what was minimised, with smoothed labels or a teacher in it; the solid one is plain
    cross-entropy. The band around a solid line is one standard error.
    """
    figure, (left, right) = _figure(1, 2, (9, 3.6))
    lowest = []
    for number, (name, history) in enumerate(histories.items()):
        epochs, color = [row["epoch"] for row in history], f"C{number}"
        for axes, kind, scale in ((left, "loss", 1), (right, "accuracy", 100)):
            axes.plot(epochs, [scale * row[kind] for row in history], "--", color=color, lw=1)
            axes.plot(epochs, [scale * row[f"val_{kind}"] for row in history], ".-", color=color, label=name)
        accuracy = 100 * np.array([row["val_accuracy"] for row in history])
        error = 100 * np.array([row["val_error"] for row in history])
        right.fill_between(epochs, accuracy - error, accuracy + error, color=color, alpha=0.15, lw=0)
        lowest += [np.min(accuracy - error, initial=100)]
    left.set(xlabel="epoch", ylabel="loss, nats", title="loss (dashed: training, solid: validation)")
    right.set(xlabel="epoch", ylabel="accuracy, %", title="accuracy (band: one standard error)")
    right.set_ylim(bottom=max(0, min(lowest, default=0) - 2))  # training begins far below
    for axes in (left, right):
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.25)
    right.legend(loc="lower right", fontsize=8)
    return figure


def weight_histograms(before, after, title=""):
    """One panel for each way in which a weight matrix was changed: `before` in grey, {name: after} in blue.

    Zeros are left out of the blue bars, and counted in the panel's title.
    """
    figure, panels = _figure(1, len(after), (2.7 * len(after), 3.2), sharex=True, sharey=True)
    widest = max(abs(values).max() for values in (before, *after.values()))
    bins = np.linspace(-widest, widest, 161)
    panels = np.atleast_1d(panels)
    for axes, (name, values) in zip(panels, after.items()):
        counted = f"{len(np.unique(values)):,} distinct, {(values == 0).mean():.0%} zeros"
        axes.hist(before.ravel(), bins, histtype="stepfilled", color=GREY, alpha=0.4, label="before")
        axes.hist(values[values != 0], bins, color=BLUE, label="after")
        axes.set(xlabel="weight", yscale="log")
        axes.set_title(f"{name}\n{counted}", fontsize=10)
    panels[0].set_ylabel("weights in a bar")
    figure.suptitle(title)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure


def accuracy_against_bytes(names, accuracy, error, n_bytes, title=""):
    """What each byte buys: accuracy in percent ± one standard error, against the file's size (log axis)."""
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    figure, axes = _figure(1, 1, (7.5, 4.5))
    axes.errorbar(n_bytes, accuracy, error, fmt="o", ms=5, color=BLUE, ecolor=GREY, elinewidth=1, capsize=2)
    axes.axhline(accuracy[0], color=GREY, lw=0.8, ls=":")
    axes.set(xscale="log", xlabel="file size", ylabel="test accuracy, % (± standard error)", title=title)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(EngFormatter("B"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.12, y=0.15)
    axes.grid(alpha=0.25)
    _label_points(axes, names, n_bytes, accuracy, error)
    return figure


def confusion(cells, classes, title=""):
    """Which class (row) was taken for which (column); only mistakes are coloured, so as to be seen."""
    figure, axes = _figure(1, 1, (5.6, 5.2))
    mistakes = cells * (1 - np.eye(len(cells), dtype=int))
    axes.imshow(mistakes, cmap="Reds", vmin=0, vmax=max(1, mistakes.max()) * 1.3)
    for (row, column), n in np.ndenumerate(cells):
        if n:
            axes.text(column, row, n, ha="center", va="center", fontsize=8, color=INK)
    ticks = range(len(classes))
    axes.set_xticks(ticks, classes, rotation=0 if max(map(len, classes)) < 4 else 90)
    axes.set_yticks(ticks, classes)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    return figure


def png(figure, dpi=110):
    """A figure as the bytes of a PNG file."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=dpi, metadata={"Software": None})
    return data.getvalue()


def _figure(n_rows, n_columns, size, **settings):
    """A figure without pyplot: no global state, no window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(n_rows, n_columns, **settings)


def _label_points(axes, names, x, y, error):
    """Write each point's name beside it, at the nearest place where it covers no point, bar or other name."""
    from matplotlib.text import Text

    axes.figure.draw_without_rendering()  # so that the layout is final, and pixels can be asked for
    renderer, to_pixels = axes.figure.canvas.get_renderer(), axes.transData.transform
    taken = []
    for at, value, half in zip(x, y, error):
        (left, low), (_, high) = to_pixels((at, value - half)), to_pixels((at, value + half))
        taken.append(_box(left - 5, low, left + 5, high))
    line = {"arrowstyle": "-", "color": GREY, "lw": 0.6, "shrinkA": 1, "shrinkB": 4}
    for name, at, value in zip(names, x, y):
        text = axes.annotate(
            name, (at, value), (0, 0), textcoords="offset points", fontsize=8, color=INK, arrowprops=line
        )
        size = text.get_window_extent(renderer)
        for beside, offset in _places(size.width * 72 / axes.figure.dpi, size.height * 72 / axes.figure.dpi):
            text.set_position(offset)
            box = Text.get_window_extent(text, renderer)  # without the line
            inside = all(axes.bbox.contains(*corner) for corner in (box.p0, box.p1))
            if inside and not any(box.overlaps(other) for other in taken):
                break
        text.arrow_patch.set_visible(not beside)
        taken.append(box)


def _places(width, height):
    """(whether it is close by, offset in points from a point to its label's corner), the nearest first."""
    for shift in (0, 9, 18, 27, 36, 48, 60, 75):
        for y in (shift, -shift)[: 2 if shift else 1]:
            for x in (6, -width - 6):
                yield shift < 9, (x, y - height / 2)
        yield shift < 9, (-width / 2, shift + 6)  # above
        yield shift < 9, (-width / 2, -shift - 6 - height)  # below


def _box(*corners):
    from matplotlib.transforms import Bbox

    return Bbox.from_extents(*corners)

"""The figure of a study of teaching: is each method better than the student alone? Start with `paired_differences`."""

import numpy as np

from tinyopt.report.plots import BLUE, GREY, _figure

RED = "#b3402f"


def paired_differences(panels):
    """What each method changes: one small dot a seed, a large one for their mean; colour only where a test sees it.

    Shapes: panels, {title: {method: (differences, verdict)}}, differences (seeds,) of accuracy, as fractions;
            verdict "helps" is blue, "hurts" red, any other grey. Methods keep the order in which they first come.
    Raises: ValueError for no panel, or a panel without a method.
    """
    if not panels or not all(panels.values()):
        raise ValueError(f"each panel shows one method or more; got {({t: len(rows) for t, rows in panels.items()})}")
    names = list(dict.fromkeys(name for rows in panels.values() for name in rows))
    size = 3.2 + 2.6 * len(panels), 1.2 + 0.32 * len(names)
    figure, grid = _figure(1, len(panels), size, sharey=True, squeeze=False)
    for axes, (title, rows) in zip(grid[0], panels.items()):
        for name, (differences, verdict) in rows.items():
            points, y = 100 * np.asarray(differences), names.index(name)
            color = {"helps": BLUE, "hurts": RED}.get(verdict, GREY)
            axes.plot(points, [y] * len(points), "o", ms=3, color=color, alpha=0.5, mec="none")
            axes.plot(points.mean(), y, "D", ms=6, color=color, gid=f"{name}: {verdict}")
        axes.axvline(0, color=GREY, lw=0.8)
        axes.grid(axis="x", alpha=0.25)
        axes.set(title=title, xlabel="difference, points")
    grid[0][0].set_yticks(range(len(names)), names)
    grid[0][0].invert_yaxis()
    return figure

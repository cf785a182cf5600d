"""The figures of low rank: what they draw is what they were given."""

import numpy as np
import pytest

from tinyopt import models
from tinyopt.compress.lowrank import rank_for_energy
from tinyopt.compress.rank_budget import spectra_of
from tinyopt.report import low_rank_plots, plots


def test_spectra_have_a_panel_for_each_layer_with_both_lines_and_the_rank_of_90_percent():
    before, after = (spectra_of(models.lenet5(8, filters=(3, 4), units=9, rng=seed)) for seed in (0, 1))
    figure = low_rank_plots.spectra(before, after, chosen={"conv1": 3}, title="t")
    panels = [axes for axes in figure.axes if axes.axison]
    assert len(panels) == len(after) == 4
    for axes, (name, sigma) in zip(panels, after.items()):
        old, new, share = axes.lines[:3]
        np.testing.assert_array_equal(new.get_ydata(), sigma)
        np.testing.assert_array_equal(old.get_ydata(), before[name])
        assert axes.get_yscale() == "log" and axes.get_title().startswith(name)
        assert 1 <= share.get_xdata()[0] <= len(sigma)
    [chosen] = [line for line in panels[0].lines if line.get_label() == "rank chosen"]
    assert chosen.get_xdata()[0] == 3
    weight = models.lenet5(8, filters=(3, 4), units=9, rng=1).get("fc2.weight").data
    assert panels[-1].lines[2].get_xdata()[0] == rank_for_energy(weight, 0.9)
    assert plots.png(figure, dpi=40).startswith(b"\x89PNG")


def test_values_that_are_rounding_are_not_drawn():
    figure = low_rank_plots.spectra({"a": np.ones(3)}, {"a": np.array([2.0, 1.0, 1e-9])})
    assert figure.axes[0].lines[1].get_ydata().tolist() == [2, 1]


def test_accuracy_against_rank_draws_points_and_their_errors():
    results = {"svd": (np.array([1, 2, 8]), np.array([20.0, 60, 95]), np.array([3.0, 2, 0.5]))}
    figure = low_rank_plots.accuracy_against(results, dense=(96, 0.4), title="t")
    [axes] = figure.axes
    line, _, (bars,) = axes.containers[0]
    assert (line.get_xdata().tolist(), line.get_ydata().tolist()) == ([1, 2, 8], [20, 60, 95])
    ends = np.array([segment[:, 1] for segment in bars.get_segments()])
    assert np.ptp(ends, axis=1) == pytest.approx([6, 4, 1])
    assert axes.get_xscale() == "log" and axes.get_xlabel() == "rank"
    assert plots.png(figure, dpi=40).startswith(b"\x89PNG")

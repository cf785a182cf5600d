"""The figures of weight sharing: what is drawn is what was given; the callback sees what layers read."""

import numpy as np
import pytest

from tinyopt import data, nn, train
from tinyopt.compress.share import share
from tinyopt.report import sharing

PATHS = np.array([[0.0, 1, 2, 3], [0.2, 0.8, 2.2, 3.4], [0.5, 0.5, 2.8, 2.8], [0.4, 0.4, 3.0, 3.0]])


def test_paths_are_what_layers_read_before_and_after_sharing():
    model = nn.Sequential(flat=nn.Flatten(), fc=nn.Linear(64, 10, rng=0))
    part, at = data.digits().train.sample(64, rng=0), [0, 5, 630]
    watch, due = sharing.WeightPaths("fc.weight", at), []

    def look():
        due.append(model.get("fc.weight").read().data.reshape(-1)[at])

    look()
    train.fit(model, (part, None), epochs=1, callbacks=[watch], progress=False)
    look()
    share(model, 2)
    look()
    train.fit(model, (part, None), epochs=1, callbacks=[watch], progress=False)
    look()
    np.testing.assert_array_equal(watch.paths, due)
    assert len(np.unique(watch.paths[2])) <= 2 < len(np.unique(watch.paths[1]))


def test_the_flow_draws_each_weight_and_each_centroid():
    figure = sharing.weights_flow(PATHS, 2)
    left, right = figure.axes
    lines = [line.get_ydata() for line in left.lines]
    assert len(lines) == 4 + 2
    np.testing.assert_array_equal(np.transpose(lines[:4]), PATHS)
    np.testing.assert_array_equal(lines[4:], [[0.5, 0.4], [2.8, 3.0]])
    assert [bar.get_width() for bar in right.patches] == [2, 2]
    assert [text.get_text() for text in left.get_xticklabels()] == ["0", "1", "2"]  # sharing takes no epoch
    for shared_at in (0, 4):
        with pytest.raises(ValueError, match=f"1 to 3; got {shared_at}"):
            sharing.weights_flow(PATHS, shared_at)


def test_the_curves_draw_means_and_standard_errors():
    bits = sharing.accuracy_against_index_bits([1, 2, 3], {"a": ([80.0, 90.0, 94.0], [1.0, 0.5, 0.2])}, (95.0, 0.3))
    sizes = sharing.accuracy_at_equal_bytes({"b": ([10, 20], [80.0, 90.0], [1.0, 0.5])}, (99, 95.0, 0.3))
    for axes, y, error in ((bits.axes[0], [80, 90, 94], [1, 0.5, 0.2]), (sizes.axes[0], [80, 90], [1, 0.5])):
        line, _, (bars,) = axes.containers[0].lines
        np.testing.assert_array_equal(line.get_ydata(), y)
        np.testing.assert_allclose([np.ptp(bar[:, 1]) / 2 for bar in bars.get_segments()], error)
    assert bits.axes[1].get_ylim() == (89.5, 96)  # within 6 points of the whole network

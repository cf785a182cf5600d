"""The figure of the study of distillation shows each seed, and colours only what was seen."""

import pytest

from tinyopt.report.plots import BLUE, GREY
from tinyopt.report.teaching import RED, paired_differences


def test_each_seed_is_a_dot_and_only_verdicts_have_colours():
    first = {"soft": ([0.01, 0.03], "helps"), "hints": ([-0.01, 0.01], "no difference seen")}
    figure = paired_differences({"100 labels": first, "500 labels": {"logits": ([-0.02, -0.04], "hurts")}})
    left, right = figure.axes
    seeds, mean, others, middle = left.lines[:4]
    assert list(seeds.get_xdata()) == [1, 3] and list(seeds.get_ydata()) == [0, 0]
    assert list(mean.get_xdata()) == [2] and mean.get_color() == BLUE and mean.get_gid() == "soft: helps"
    assert list(others.get_ydata()) == [1, 1] and middle.get_color() == GREY and list(middle.get_xdata()) == [0]
    assert right.lines[1].get_color() == RED and list(right.lines[1].get_xdata()) == [-3]
    assert list(right.lines[1].get_ydata()) == [2]
    assert [text.get_text() for text in left.get_yticklabels()] == ["soft", "hints", "logits"]
    for wrong in ({}, {"100 labels": {}}):
        with pytest.raises(ValueError, match="each panel shows one method or more"):
            paired_differences(wrong)

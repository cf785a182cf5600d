"""`summary` counts by shapes; here every multiply-add is counted by a loop over its op's specification."""

import math

import numpy as np
import pytest

from tinyopt import models, nn, ops
from tinyopt.errors import ShapeError
from tinyopt.measure import summary


def linear_loop(rows, d_in, d_out):
    return sum(1 for _ in range(rows) for _ in range(d_out) for _ in range(d_in))


def conv_loop(c_in, c_out, kernel, side, stride=1, padding=0, groups=1):
    """Each output pixel of each filter meets each number of its window once, zeros of the border included."""
    count, per_group = 0, c_in // groups
    for _ in range(c_out):
        for top in range(0, side + 2 * padding - kernel + 1, stride):
            for left in range(0, side + 2 * padding - kernel + 1, stride):
                count += sum(1 for _ in np.ndindex(per_group, kernel, kernel))
    return count


def test_the_two_lenets_by_hand():
    small, conv = summary(models.lenet_300_100(), (1, 28, 28)), summary(models.lenet5(), (1, 28, 28))
    assert (small.parameters, small.macs, small.bytes) == (266_610, 266_200, 4 * 266_610)
    assert (conv.parameters, conv.macs, conv.bytes) == (431_080, 2_293_000, 4 * 431_080)
    assert [row.macs for row in conv.rows if row.macs] == [
        24 * 24 * 20 * 25, 8 * 8 * 50 * 20 * 25, 800 * 500, 500 * 10]  # fmt: skip
    assert [row.output_shape for row in conv.rows][:3] == [(20, 24, 24), (20, 12, 12), (50, 8, 8)]
    assert conv["fc1"].parameters == conv["fc1"].nonzeros == 400_500 and conv["pool1"].parameters == 0


SETTINGS = [{}, {"stride": 2}, {"padding": 1, "groups": 2}, {"stride": 2, "padding": 2, "groups": 4}]


@pytest.mark.parametrize("settings", SETTINGS)
def test_convolutions_as_the_loop_counts_them(settings):
    model = nn.Sequential(conv=nn.Conv2d(4, 8, 3, **settings))
    assert summary(model, (4, 7, 7)).macs == conv_loop(4, 8, 3, 7, **settings)


def test_products_over_rows_low_rank_factors_and_matmul():
    assert summary(nn.Linear(6, 5), (7, 6)).macs == linear_loop(7, 6, 5)
    assert summary(nn.LowRankLinear(6, 5, rank=2), (7, 6)).macs == linear_loop(7, 6, 2) + linear_loop(7, 2, 5)

    class Attention(nn.Module):
        def forward(self, x):  # (N, T, D)
            return ops.matmul(ops.matmul(x, x.transpose(0, 2, 1)), x)

    due = linear_loop(3, 4, 3) + linear_loop(3, 3, 4)  # (T, D) @ (D, T), then (T, T) @ (T, D)
    assert summary(nn.Sequential(Attention()), (3, 4)).macs == due


def test_bits_that_are_counted_are_multiply_adds_too():
    model = nn.Sequential(nn.Linear(6, 5, rng=0), two=nn.BinaryLinear(5, 4, rng=0))
    assert summary(model, (6,)).macs == linear_loop(1, 6, 5) + linear_loop(1, 5, 4)


def test_a_masked_weight_is_still_multiplied_but_not_counted_as_non_zero():
    model = models.lenet_300_100(image_size=4, rng=0)
    dense = summary(model, (16,))
    keep = np.arange(300 * 16).reshape(300, 16) % 4 == 0
    model["fc1"].weight.prune(keep)
    pruned = summary(model, (16,))
    assert (pruned.macs, pruned.bytes, pruned.parameters) == (dense.macs, dense.bytes, dense.parameters)
    assert dense.nonzeros - pruned.nonzeros == (~keep).sum() and pruned["fc1"].nonzeros == keep.sum() + 300


def test_under_a_codebook_the_layers_weights_count_not_the_centroids():
    layer = nn.Linear(3, 4, bias=False)
    layer.weight.data = np.float32([0, 2])
    layer.weight.attach(nn.Codebook(np.arange(12).reshape(4, 3) % 2))
    row = summary(layer, (3,)).rows[0]
    assert (row.parameters, row.nonzeros, row.bytes) == (12, 6, 48)


def test_shared_layers_count_once_and_run_twice():
    fc = nn.Linear(4, 4)
    table = summary(nn.Sequential(a=fc, act=nn.ReLU(), b=fc), (4,))
    assert [(row.name, row.parameters, row.macs) for row in table.rows] == [("a", 20, 32), ("act", 0, 0)]


def test_a_models_own_parameters_have_a_row_and_so_has_a_layer_that_never_runs():
    class Own(nn.Module):
        def __init__(self):
            self.fc, self.spare = nn.Linear(4, 3), nn.Linear(2, 2)
            self.weights = [nn.Parameter(np.ones((2, 3), "f4")), nn.Parameter(np.zeros((1, 1), "f4"))]

        def forward(self, x):
            return ops.linear(self.fc(x).relu(), ops.matmul(self.weights[0], np.eye(3, dtype="f4")))

    table = summary(Own(), (4,))
    rows = {row.name: row for row in table.rows}
    assert rows[""].macs == 6  # the weights' own product is not counted
    assert rows[""].parameters == 7 and rows[""].nonzeros == 6
    assert rows["spare"].output_shape is None and rows["spare"].parameters == 6
    assert table.parameters == 15 + 7 + 6


def test_residual_nets_add_up_and_the_model_is_left_as_it_was():
    body = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2))
    model = nn.Sequential(nn.Residual(body, shortcut=nn.Conv2d(2, 2, 1)))
    table = summary(model, (2, 5, 5))
    assert table.macs == conv_loop(2, 2, 3, 5, padding=1) + conv_loop(2, 2, 1, 5)
    assert model.training and all(p.grad is None for p in model.parameters())
    assert summary(model.astype("float64"), (2, 5, 5)).bytes == 8 * table.parameters


def test_the_table_lines_up_and_ends_with_the_totals():
    lines = str(summary(models.lenet5(), (1, 28, 28))).split("\n")
    assert lines[0].split()[:3] == ["layer", "type", "output"] and "dense" in lines[0]
    assert lines[2].split() == ["conv1", "Conv2d", "(20,", "24,", "24)", "520", "520", "288,000", "2,080"]
    assert lines[-1].split() == ["total", "431,080", "431,080", "2,293,000", "1,724,320"]
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize("shape", [(0, 28, 28), (1, 28.0), "28", None])
def test_an_input_shape_that_is_none_is_refused(shape):
    with pytest.raises(ShapeError, match="without the batch, as"):
        summary(models.lenet5(), shape)


def test_an_input_shape_that_does_not_fit_says_what_does():
    with pytest.raises(ShapeError, match=r"conv2d needs images \(N, C, H, W\).*channel axis"):
        summary(models.lenet5(), (28, 28))
    with pytest.raises(KeyError, match="no row for layer 'fc9'.*conv1"):
        summary(models.lenet5(), (1, 28, 28))["fc9"]


def test_macs_scale_with_the_image_as_the_formula_says():
    for side in (8, 12, 16):
        macs = summary(models.lenet5(image_size=side), (1, side, side)).macs
        half = side // 2
        assert macs == side**2 * 20 * 25 + half**2 * 50 * 500 + 50 * math.floor(half / 2) ** 2 * 500 + 5000

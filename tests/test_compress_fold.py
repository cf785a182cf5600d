"""Folding norms: what must not be folded, stays, and the model computes the same."""

import copy

import numpy as np
import pytest

from tinyopt import Tensor, nn
from tinyopt.compress.fold import fold_norms

RNG = np.random.default_rng(0)


class Both(nn.Module):
    """Hands out the convolution's own output beside the normalised one."""

    def __init__(self):
        self.conv, self.norm = nn.Conv2d(2, 3, 3, rng=0), nn.BatchNorm2d(3)

    def forward(self, x):
        y = self.conv(x)
        return self.norm(y), y


def sequence():
    return nn.Sequential(fc=nn.Linear(5, 4, rng=0), norm=nn.BatchNorm1d(4))  # 4 is both T and D


def tied():
    net = nn.Sequential(fc1=nn.Linear(4, 4, rng=0), norm=nn.BatchNorm1d(4), fc2=nn.Linear(4, 4, rng=1))
    net.get("fc2").weight = net.get("fc1").weight
    return net


def moved(net):
    """The same, with averages, weight and bias that a norm has after training."""
    norm = net.get("norm")
    for name in ("running_mean", "running_var"):
        setattr(norm, name, RNG.uniform(0.5, 2, norm.num_features).astype("f4"))
    norm.weight.data, norm.bias.data = RNG.uniform(0.5, 2, (2, norm.num_features)).astype("f4")
    return net.eval()


@pytest.mark.parametrize("make, shape", [(Both, (2, 2, 5, 5)), (sequence, (3, 4, 5)), (tied, (6, 4))])
def test_a_norm_that_cannot_be_folded_stays(make, shape):
    net, x = moved(make()), Tensor(RNG.random(shape, dtype=np.float32))
    whole = copy.deepcopy(net)
    assert fold_norms(net, x.data) == []
    due, came = (y if isinstance(y, tuple) else (y,) for y in (whole(x), net(x)))
    assert all(np.array_equal(a.data, b.data) for a, b in zip(due, came, strict=True))


def test_a_norm_that_measures_its_batches_is_refused():
    net = moved(nn.Sequential(fc=nn.Linear(5, 4, rng=0), norm=nn.BatchNorm1d(4))).train()
    with pytest.raises(ValueError, match=r"norm is in training mode.*call model.eval\(\) first"):
        fold_norms(net, np.zeros((1, 5), np.float32))


def test_one_that_can_be_is_gone_and_the_outputs_are_the_same():
    net, x = moved(nn.Sequential(fc=nn.Linear(5, 4, rng=0), norm=nn.BatchNorm1d(4))), Tensor(RNG.random((3, 5), dtype="f4"))
    due = net(x).data
    assert fold_norms(net, x.data) == ["norm"] and isinstance(net.get("norm"), nn.Identity)
    assert np.allclose(net(x).data, due, atol=1e-5)

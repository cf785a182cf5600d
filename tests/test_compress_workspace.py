"""The plan cell by cell and by hand; the workspace against the model it runs; bytes by tracemalloc."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyopt import measure, models, nn, ops
from tinyopt.compress.fuse import fuse
from tinyopt.compress.workspace import Workspace, most_alive, peak_memory, place
from tinyopt.errors import ShapeError

RNG = np.random.default_rng(4)
lives = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 6), st.integers(0, 4)), max_size=8)


def answers(model, x):
    with measure.inference(model):
        return model(x).data


@given(lives)
def test_no_two_values_overlap_in_time_and_in_space(drawn):
    sizes, first, last = ([life[i] for life in drawn] for i in range(3))
    last = [a + b for a, b in zip(first, last)]
    offsets = place(sizes, first, last)
    cells = [
        {(step, cell) for step in range(a, b + 1) for cell in range(o, o + s)}
        for s, a, b, o in zip(sizes, first, last, offsets)
    ]
    assert sum(map(len, cells)) == len(set().union(*cells))
    assert most_alive(sizes, first, last) == max(
        (sum(step == s for s, _ in set().union(*cells)) for step in range(11)), default=0
    )
    total = max((o + s for o, s in zip(offsets, sizes)), default=0)
    assert most_alive(sizes, first, last) <= total <= sum(sizes)


def test_a_plan_by_hand_and_one_that_greed_misses():
    assert place([4, 2, 3], [0, 1, 2], [1, 2, 3]) == [0, 4, 0]  # the third lies where the first was
    sizes, first, last = [6, 4, 1, 9], [0, 1, 2, 3], [1, 2, 3, 4]  # 1 goes behind 6 and 4; 9 + 1 would do
    offsets = place(sizes, first, last)
    assert max(o + s for o, s in zip(offsets, sizes)) == 11 and most_alive(sizes, first, last) == 10


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", models.MODELS)
def test_each_model_answers_in_its_workspace_as_before_and_again(name, fused):
    model = models.make(name, image_size=12, rng=0).eval()
    x = RNG.normal(size=(9, 1, 12, 12)).astype("f4")
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean = RNG.normal(size=norm.num_features).astype("f4")
    runner = Workspace(fuse(model, x[:1])[0] if fused else model, x[:1])
    for batch in (x, x[:4], -x):  # a smaller batch uses the same array
        kept = answers(runner, batch)
        np.testing.assert_allclose(kept, answers(model, batch), rtol=2e-4, atol=2e-5)
    array = runner.array
    again = answers(runner, x)
    assert runner.array is array and not np.shares_memory(again, array)
    assert (answers(runner, -x) == kept).all()
    assert runner.least <= runner.planned < runner.separate


def test_a_residual_sum_and_its_relu_need_no_place_of_their_own():
    residual = nn.Residual(nn.Linear(8, 8, rng=1))
    block = nn.Sequential(nn.Linear(8, 8, rng=0), residual, nn.ReLU(), nn.Linear(8, 3, rng=2))
    runner = Workspace(block.eval(), np.zeros((1, 8), "f4"))
    assert runner.planned == runner.least == 16 and runner.separate == 8 + 8 + 8 + 8 + 3
    x = RNG.normal(size=(5, 8)).astype("f4")
    np.testing.assert_allclose(answers(runner, x), answers(block, x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name, part", {"lenet5": 0.6, "resnet8": 0.85, "mobilenet_tiny": 0.5}.items())
def test_what_is_planned_is_what_is_measured_and_less_than_without(name, part):
    x = RNG.normal(size=(48, 1, 28, 28)).astype("f4")
    model = models.make(name, rng=0).eval()
    fused, _ = fuse(model, x[:1])
    runner = Workspace(fused, x[:1])
    without, within = peak_memory(model, x), peak_memory(runner, x)
    planned, piece, filters = 4 * len(x) * runner.planned, 2**20, 4 * max(p.size for p in model.parameters() if p.ndim == 4)
    assert planned <= within <= planned + piece + filters + 2e5  # and small things
    assert peak_memory(fused, x) < without and within < part * without
    assert peak_memory(runner, x) <= piece + filters + 2e5  # the second run has its place already


def test_a_copy_has_an_array_of_its_own_and_the_plan():
    model, x = models.resnet8(image_size=8, rng=0).eval(), RNG.normal(size=(3, 1, 8, 8)).astype("f4")
    runner = Workspace(model, x)
    due = answers(runner, x)
    other = copy.deepcopy(runner)
    assert (answers(other, x) == due).all() and not np.shares_memory(other.array, runner.array)
    assert answers(runner, x.astype("f4")[:0]).shape == (0, 10)


class Pair(nn.Module):
    """Two outputs."""

    def __init__(self):
        self.a, self.b = nn.Linear(4, 3, rng=0), nn.Linear(4, 3, rng=1)

    def forward(self, x):
        return self.a(x), self.b(x)


class Tail(nn.Module):
    """An op outside of any layer."""

    def __init__(self):
        self.fc = nn.Linear(4, 3, rng=0)

    def forward(self, x):
        return ops.softmax(self.fc(x))


def test_what_cannot_be_planned_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match="each example alone: .*Linear.*; got op softmax"):
        Workspace(Tail(), np.zeros((1, 4), "f4"))
    for model in (Pair(), nn.Sequential(nn.Identity())):
        with pytest.raises(ValueError, match="compute one output from their input and nothing else"):
            Workspace(model, np.zeros((1, 4), "f4"))
    with pytest.raises(ValueError, match=r"got layer 0 \(FakeQuantize\)"):
        Workspace(nn.Sequential(nn.FakeQuantize(4)), np.zeros((1, 4), "f4"))
    with pytest.raises(ShapeError, match=r"planned for examples of shape \(4,\); got \(5,\)"):
        Workspace(nn.Linear(4, 3, rng=0), np.zeros((1, 4), "f4"))(np.zeros((2, 5), "f4"))

"""Schedules of pruning: their formulas, and masks in a run that are where the schedule says, and stay."""

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyopt import data, models, nn, train
from tinyopt.compress.patterns import prune_blocks
from tinyopt.compress.prune import prune
from tinyopt.compress.schedules import PruneAt, cubic, iterative, one_shot

PART = (data.digits().train.take(slice(0, 256)), None)  # 4 steps of 64 an epoch


def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 20, rng=0), nn.ReLU(), nn.Linear(20, 10, rng=1))


class Record:
    """The masks after each step, as one long array; this callback comes after the one that prunes."""

    def __init__(self):
        self.kept = []

    def after_step(self, run):
        masks = [p.view(nn.Mask) for p in run.model.parameters() if p.data.ndim > 1]
        self.kept.append(np.concatenate([mask.keep.ravel() for mask in masks]) if all(masks) else None)


def trained(callback, epochs=3):
    model, record = net(), Record()
    train.fit(model, PART, epochs=epochs, callbacks=[callback, record], progress=False)
    return model, record.kept


@given(sparsity=st.floats(0, 0.99), begin=st.integers(0, 50), every=st.integers(1, 20), rounds=st.integers(1, 9))
def test_each_round_of_the_iterative_schedule_keeps_the_same_share_of_what_is_left(sparsity, begin, every, rounds):
    plan = iterative(sparsity, begin, every, rounds)
    assert list(plan) == [begin + r * every for r in range(rounds)]
    left = 1 - np.array([0.0, *plan.values()])
    assert np.allclose(left[1:] / left[:-1], (1 - sparsity) ** (1 / rounds))
    assert list(plan.values())[-1] == sparsity


@given(
    begin=st.integers(0, 50), length=st.integers(1, 50), every=st.integers(1, 20),
    initial=st.floats(0, 0.4), final=st.floats(0.5, 0.99),
)  # fmt: skip
def test_the_cubic_schedule_is_its_closed_formula_at_its_steps(begin, length, every, initial, final):
    plan, end = cubic(final, begin, begin + length, every, initial=initial), begin + length
    assert set(plan) == {end} | {step for step in range(begin, end) if (step - begin) % every == 0}
    for step, share in plan.items():
        assert share == pytest.approx(final + (initial - final) * (1 - (step - begin) / length) ** 3)


def test_one_shot_prunes_once_also_before_the_first_step():
    assert one_shot(0.5, at=7) == {7: 0.5}
    _, kept = trained(PruneAt(one_shot(0.5, at=3)), epochs=1)
    assert [None if k is None else (~k).sum() for k in kept] == [None, None, 740, 740]
    _, kept = trained(PruneAt(one_shot(0.5, at=0)), epochs=1)
    assert [(~k).sum() for k in kept] == [740] * 4


def test_a_run_follows_its_schedule_and_nothing_comes_back():
    plan = iterative(0.9, begin=2, every=3, rounds=3)
    model, kept = trained(PruneAt(plan))
    due = [max((share for at, share in plan.items() if at <= step), default=None) for step in range(1, 13)]
    assert [None if k is None else (~k).sum() for k in kept] == [None if s is None else int(s * 1480) for s in due]
    assert not any((after & ~before).any() for before, after in zip(kept[1:], kept[2:]))
    weights = np.concatenate([model.get(name).read().data.ravel() for name in ("1.weight", "3.weight")])
    assert np.array_equal(weights != 0, kept[-1])


def test_another_way_to_prune_may_be_given():
    by_layer = functools.partial(prune, scope="layer", skip="3")
    model, _ = trained(PruneAt(one_shot(0.25, at=1), by_layer), epochs=1)
    assert (~model.get("1.weight").view(nn.Mask).keep).sum() == 320 and not model.get("3.weight").views
    blocks = PruneAt(iterative(0.75, 1, 1, 2), lambda m, s: prune_blocks(m, (4, 4), s, skip="3"))
    model, _ = trained(blocks, epochs=1)
    keep = model.get("1.weight").view(nn.Mask).keep.reshape(5, 4, 16, 4)
    assert (keep.all(axis=(1, 3)) | ~keep.any(axis=(1, 3))).all() and keep.all(axis=(1, 3)).sum() == 20


def test_a_resumed_run_goes_on_with_the_steps_that_are_left(tmp_path):
    class Stop(Exception):
        pass

    class StopAt:
        def after_step(self, run):
            if run.step == 6:
                raise Stop

    def run(callbacks, **settings):
        model = net()
        try:
            pruning = PruneAt(cubic(0.9, 1, 11, 2))
            train.fit(model, PART, epochs=3, callbacks=[pruning, *callbacks], progress=False, **settings)
        except Stop:
            pass
        return model

    file = {"checkpoint": tmp_path / "run", "checkpoint_every": 5}
    whole = run([])
    run([StopAt()], **file)
    resumed = run([], **file)
    for a, b in zip(whole.parameters(), resumed.parameters()):
        assert np.array_equal(a.read().data, b.read().data)


REFUSED = [
    (lambda: PruneAt(one_shot(1.0, at=3)), r"in \[0, 1\): 90 % is 0.9; this schedule has 1.0"),
    (lambda: PruneAt({3: float("nan")}), "this schedule has nan"),
    (lambda: PruneAt({1: 0.9, 2: 0.5}), "never goes back: masks that regrow"),
    (lambda: PruneAt({}), "after which steps.*got {}"),
    (lambda: PruneAt({-1: 0.5}), "after which steps"),
    (lambda: iterative(0.9, 0, 5, 0), "1 or more; got 0 and 5"),
    (lambda: cubic(0.9, 5, 5), "begin=5, end=5"),
    (lambda: cubic(0.9, 0, 5, every=0), "1 or more; got 0"),
    (lambda: trained(PruneAt(one_shot(0.5, at=13))), "after step 13, the run after 12.*more epochs"),
    (
        lambda: train.fit(nn.Sequential(nn.Flatten()), PART, callbacks=[PruneAt({0: 0.5})], progress=False,
                          optimizer=train.Adam(net().parameters())),
        "no weight matrix or filter",
    ),
]  # fmt: skip


@pytest.mark.parametrize("attempt, sentence", REFUSED)
def test_bad_schedules_get_one_sentence(attempt, sentence):
    with pytest.raises(ValueError, match=sentence):
        attempt()


def test_a_model_that_is_known_from_lessons_can_be_pruned_on_schedule_too():
    model = models.lenet5(image_size=8, filters=(2, 3), units=5, rng=0)
    train.fit(model, PART, epochs=1, callbacks=[PruneAt(iterative(0.5, 0, 2, 2))], progress=False)
    weights = [p for p in model.parameters() if p.data.ndim > 1]
    assert sum(int((~p.view(nn.Mask).keep).sum()) for p in weights) == sum(p.size for p in weights) // 2

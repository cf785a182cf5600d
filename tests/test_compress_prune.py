"""Pruning: exact counts, the largest kept, and a mask that no optimizer can undo."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinyopt import Tensor, compress, data, models, nn, optim, train
from tinyopt.compress.prune import cubic_sparsity
from tinyopt.compress.schedules import PruneAt, cubic

weights = hnp.arrays(np.float64, hnp.array_shapes(max_dims=3, max_side=6), elements=st.integers(-5, 5).map(float))
BATCH = Tensor(np.random.default_rng(0).random((16, 1, 8, 8), dtype=np.float32))


@given(weight=weights, sparsity=st.floats(0, 0.99))
def test_the_mask_removes_an_exact_count_and_keeps_the_largest(weight, sparsity):
    mask = compress.magnitude_mask(weight, sparsity=sparsity)
    assert mask.shape == weight.shape and mask.dtype == bool
    assert (~mask).sum() == int(sparsity * weight.size)
    if not mask.all():
        assert abs(weight[mask]).min() >= abs(weight[~mask]).max()


def test_ties_go_by_memory_order():
    assert compress.magnitude_mask(np.ones(4), sparsity=0.5).tolist() == [False, False, True, True]


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1.5, float("nan")])
def test_a_sparsity_outside_its_range_is_refused(sparsity):
    with pytest.raises(ValueError, match=r"removed/all, in \[0, 1\)"):
        compress.magnitude_mask(np.ones(3), sparsity=sparsity)


def test_weights_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="finite"):
        compress.magnitude_mask(np.array([1.0, np.nan]), sparsity=0.5)


def test_global_scope_ranks_all_layers_together_and_layer_scope_each():
    model = models.lenet_300_100(image_size=8, rng=0)
    everything = np.concatenate([abs(model.get(f"fc{i}.weight").data.ravel()) for i in (1, 2, 3)])
    masks = compress.prune(model, 0.6)
    threshold = np.sort(everything)[int(0.6 * everything.size)]
    for name, mask in masks.items():
        assert np.array_equal(mask, abs(model.get(name).data) >= threshold)
    masks = compress.prune(models.lenet_300_100(image_size=8, rng=0), 0.8, scope="layer")
    assert all((~mask).sum() == int(0.8 * mask.size) for mask in masks.values())


def test_shares_by_layer_and_protected_layers():
    model = models.lenet_300_100(image_size=8, rng=0)
    masks = compress.prune(model, {"fc1": 0.5, "fc2.weight": 0.25})
    assert {name: round(1 - mask.mean(), 2) for name, mask in masks.items()} == {"fc1.weight": 0.5, "fc2.weight": 0.25}
    assert not model.get("fc3.weight").views
    compress.prune(model, {"fc3": 0.4})  # the others stay as they are: nothing returns
    assert [round((model.get(f"fc{i}.weight").read().data == 0).mean(), 2) for i in (1, 2, 3)] == [0.5, 0.25, 0.4]
    model = models.lenet_300_100(image_size=8, rng=0)
    assert "fc3.weight" not in compress.prune(model, 0.6, skip="fc3")
    assert not model.get("fc3.weight").views


@pytest.mark.parametrize(
    "call, sentence",
    [
        (lambda m: compress.prune(m, 1.0), "in \\[0, 1\\)"),
        (lambda m: compress.prune(m, 0.5, scope="all"), "'global' or 'layer'"),
        (lambda m: compress.prune(m, {"fc9": 0.5}), "called fc9; there are fc1"),
        (lambda m: compress.prune(m, 0.5, skip=("fc1", "fc2", "fc3")), "no weight matrix"),
        (lambda m: compress.prune(nn.Sequential(nn.ReLU()), 0.5), "no weight matrix"),
    ],
)
def test_bad_calls_get_one_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call(models.lenet_300_100(image_size=8, rng=0))


OPTIMIZERS = {
    "GD": lambda p: optim.GD(p, lr=0.05),
    "SGD": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01),
    "Nesterov": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "Adagrad": lambda p: optim.Adagrad(p),
    "RMSprop": lambda p: optim.RMSprop(p, momentum=0.9, weight_decay=0.01),
    "Adadelta": lambda p: optim.Adadelta(p),
    "Adam": lambda p: optim.Adam(p, weight_decay=0.01),
    "AdamW": lambda p: optim.AdamW(p),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_mask_survives_every_optimizer_whatever_momentum_it_had_before(name):
    net = nn.Linear(64, 10, rng=0)
    optimizer = OPTIMIZERS[name](net.parameters())

    def step():
        optimizer.zero_grad()
        (net(BATCH.reshape(16, 64)) ** 2).mean().backward()
        optimizer.step()

    for _ in range(5):
        step()
    compress.prune(net, 0.7)
    removed = ~net.weight.view(nn.Mask).keep
    before = net.weight.read().data.copy()
    for _ in range(20):
        step()
    assert (net.weight.read().data[removed] == 0).all()
    assert (net.weight.read().data[~removed] != before[~removed]).any()


def test_weights_that_return_start_at_zero_with_empty_optimizer_state():
    net = nn.Linear(4, 1, bias=False, rng=0)
    optimizer = optim.Adam(net.parameters(), lr=0.1)

    def step():
        optimizer.zero_grad()
        (net(Tensor([[1.0, 1.0, 1.0, 1.0]])) - 3.0).sum().backward()
        optimizer.step()

    for _ in range(3):
        step()
    net.weight.prune(np.array([[True, False, True, False]]))
    for _ in range(3):
        step()
    net.weight.prune(np.array([[True, True, True, False]]))
    assert net.weight.read().data[0, 1] == 0
    before = {name: array.copy() for name, array in optimizer.state[0].items()}
    step()
    moment = optimizer.state[0]["m"]
    assert np.isclose(moment[0, 1], 0.1)  # (1 − β₁) g with g = 1: nothing of the past is left
    assert np.isclose(moment[0, 0], 0.9 * before["m"][0, 0] + 0.1)


# --- gradual pruning ---------------------------------------------------------------------------------


@given(
    begin=st.integers(0, 50), length=st.integers(1, 50), initial=st.floats(0, 0.4), final=st.floats(0.5, 0.99),
)  # fmt: skip
def test_the_cubic_schedule_has_the_ends_and_third_differences_of_its_formula(begin, length, initial, final):
    end = begin + length
    sparsity = [cubic_sparsity(step, begin, end, initial, final) for step in range(begin, end + 1)]
    assert cubic_sparsity(begin - 1, begin, end, initial, final) == pytest.approx(initial) == sparsity[0]
    assert sparsity[-1] == final == cubic_sparsity(end + 7, begin, end, initial, final)
    assert (np.diff(sparsity) > 0).all() and (np.diff(sparsity, 2) < 1e-12).all()  # ever more, ever slower
    assert np.allclose(np.diff(sparsity, 3), 6 * (final - initial) / length**3)  # a cubic, and which


def test_a_schedule_that_ends_before_it_begins_is_refused():
    with pytest.raises(ValueError, match="begin=5, end=5"):
        cubic_sparsity(1, 5, 5, 0.0, 0.9)
    with pytest.raises(ValueError, match="begin=5, end=4"):
        cubic(0.9, 5, 4)
    with pytest.raises(ValueError, match="1 or more; got 0"):
        cubic(0.9, 0, 4, every=0)


class Record:
    """Note the masks after each step: this callback runs after the one that prunes."""

    def __init__(self):
        self.kept = []

    def after_step(self, run):
        views = [parameter.view(nn.Mask) for name, parameter in run.model.named_parameters() if "weight" in name]
        self.kept.append(np.concatenate([view.keep.ravel() for view in views]) if all(views) else None)


def test_gradual_pruning_follows_the_schedule_and_brings_nothing_back():
    net, record = nn.Sequential(nn.Flatten(), nn.Linear(64, 10, rng=0)), Record()
    gradual = PruneAt(cubic(0.9, begin=2, end=15, every=4, initial=0.2))
    train.fit(net, data.digits(), epochs=1, callbacks=[gradual, record], progress=False)  # 20 steps
    assert record.kept[0] is None  # step 1
    removed = [int((~kept).sum()) for kept in record.kept[1:]]
    due = {step: int(640 * (0.9 - 0.7 * (1 - (step - 2) / 13) ** 3)) for step in (2, 6, 10, 14, 15)}
    assert removed == [due[max(s for s in due if s <= step)] for step in range(2, 21)]
    assert all(not (after & ~before).any() for before, after in zip(record.kept[1:], record.kept[2:]))


def test_gradual_pruning_protects_layers_by_name():
    net = models.lenet_300_100(image_size=8, rng=0)
    plan = cubic(0.5, begin=0, end=2, every=1)
    gradual = PruneAt(plan, lambda model, share: compress.prune(model, share, scope="layer", skip="fc1"))
    train.fit(net, data.digits(), epochs=1, batch_size=500, callbacks=[gradual], progress=False)
    kept = {f"fc{i}": net.get(f"fc{i}.weight").view(nn.Mask) for i in (1, 2, 3)}
    assert kept["fc1"] is None and all((~kept[name].keep).mean() == 0.5 for name in ("fc2", "fc3"))


def test_a_layer_of_which_nothing_is_left_is_warned_of_by_name():
    net = nn.Sequential(small=nn.Linear(8, 4, rng=0), large=nn.Linear(4, 40, rng=1))
    net.get("small").weight.data = net.get("small.weight").data * 0.001
    with pytest.warns(UserWarning, match="nothing is left of small.weight.*scope='layer'"):
        compress.prune(net, 0.5)

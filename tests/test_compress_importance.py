"""Importance of weights: hand-computed scores, conservation laws, and what is refused."""

import copy

import numpy as np
import pytest
from device_cases import assert_same
from standin import device, standin  # noqa: F401 (fixtures)

from tinyopt import Tensor, backend, data, models, nn, optim, train
from tinyopt.compress import importance, share
from tinyopt.compress.importance import weights
from tinyopt.compress.prune import prune

rng = np.random.default_rng(0)
IMAGES, LABELS = rng.random((12, 1, 8, 8), dtype=np.float32), np.arange(12) % 10
PART = (IMAGES, LABELS)


def small():
    """A network with all that scores must see through, 10 classes."""
    return nn.Sequential(
        conv=nn.Conv2d(1, 4, 3, padding=1, rng=0), norm=nn.BatchNorm2d(4), relu=nn.ReLU(), pool=nn.MaxPool2d(2),
        flatten=nn.Flatten(), fc1=nn.Linear(64, 12, rng=1), relu2=nn.ReLU(), fc2=nn.Linear(12, 10, rng=2),
    )  # fmt: skip


# --- by hand ------------------------------------------------------------------------------------------

W = np.array([[1.0, 1.0], [3.0, 0.0]])
HAND = (np.array([[1.0, 2.0], [2.0, 4.0]], np.float32), np.array([0, 1]))
# Logits are (3, 3) and (6, 6), so p = (½, ½). With p − one-hot = ∓½ the gradients of the two examples are
#     [[−½, −1], [½, 1]] and [[1, 2], [−1, −2]]        their mean [[¼, ½], [−¼, −½]]        w·mean [[¼, ½], [−¾, 0]]
# and the curvature of both logits is p(1 − p) x² = ¼ x², on average (0.625, 2.5).
BY_HAND = {
    "magnitude": W,
    "sigma": W / np.sqrt(1.1875),  # mean 1.25, mean square 2.75
    "gradient": [[0.25, 0.5], [0.25, 0.5]],
    "saliency": [[0.25, 0.5], [0.75, 0]],
    "snip": [[1 / 6, 1 / 3], [1 / 2, 0]],
    "taylor": [[0.625, 2.5], [5.625, 0]],  # ((w·g₁)² + (w·g₂)²) / 2, in batches of one
    "fisher": [[0.3125, 1.25], [2.8125, 0]],
    "obd": [[0.3125, 1.25], [2.8125, 0]],
    "synflow": [[1, 1], [3, 0]],
}


@pytest.mark.parametrize("criterion", BY_HAND)
def test_scores_of_a_net_computed_by_hand(criterion):
    net = nn.Sequential(fc=nn.Linear(2, 2, bias=False))
    net.get("fc").weight.data = W.astype(np.float32)
    scores = importance.score(net, criterion, HAND, batch_size=1)
    assert np.allclose(scores["fc.weight"], BY_HAND[criterion], rtol=1e-5)


def test_a_model_that_is_one_layer_is_scored_too():
    for criterion in ("fisher", "obd", "obc"):
        layer = nn.Linear(2, 2, bias=False)
        layer.weight.data = W.astype(np.float32)
        scores = importance.score(layer, criterion, HAND)["weight"]
        assert criterion == "obc" or np.allclose(scores, BY_HAND[criterion])
        assert importance.surgeon(layer, 0.5, HAND, scores={"weight": scores})["weight"].sum() == 2


def test_one_batch_of_two_cancels_where_batches_of_one_do_not():
    net = nn.Sequential(fc=nn.Linear(2, 2, bias=False))
    net.get("fc").weight.data = W.astype(np.float32)
    together = importance.score(net, "taylor", HAND, batch_size=2)["fc.weight"]
    assert np.allclose(together, np.array(BY_HAND["saliency"]) ** 2)


def test_saliency_is_the_loss_that_a_small_cut_of_the_weight_costs():
    net = small().astype("float64").eval()
    scores = importance.score(net, "saliency", (IMAGES.astype(np.float64), LABELS))["fc1.weight"]

    def loss():
        return train.classify(net, Tensor(IMAGES.astype(np.float64)), LABELS)[0].item()

    weight, whole = net.get("fc1").weight, loss()
    for place in ((0, 0), (3, 17), (11, 63)):
        before, changed = weight.data, weight.data.copy()
        changed[place] *= 1 - 1e-6
        weight.data = changed
        assert abs(loss() - whole) / 1e-6 == pytest.approx(scores[place], rel=1e-3, abs=1e-8)
        weight.data = before


# --- movement, random, thresholds -------------------------------------------------------------------------


def test_movement_is_half_the_growth_of_the_square_but_for_the_squares_of_the_steps():
    net, watch = nn.Sequential(flatten=nn.Flatten(), fc=nn.Linear(64, 10, rng=0)), importance.Movement()
    path = [net.get("fc").weight.data]

    class Path:
        def after_step(self, run):
            path.append(run.model.get("fc").weight.data)

    settings = {"epochs": 3, "batch_size": 5, "callbacks": [watch, Path()], "progress": False}
    train.fit(net, (PART, None), optimizer=optim.SGD(net.parameters(), lr=0.1), **settings)
    due = (path[-1] ** 2 - path[0] ** 2) / 2 - sum((b - a) ** 2 for a, b in zip(path, path[1:])) / 2
    assert len(path) == 10 and np.allclose(watch.scores["fc.weight"], due, atol=1e-6)
    assert list(watch.scores) == ["fc.weight"] and watch.state_dict()["scores"].keys() == watch.scores.keys()


def test_movement_scores_go_on_from_a_checkpoint(tmp_path):
    def scores(*runs):
        for epochs in runs:
            net, watch = small(), importance.Movement()
            settings = {"epochs": epochs, "callbacks": [watch], "checkpoint": tmp_path / f"{runs}.ckpt"}
            train.fit(net, (PART, None), batch_size=5, progress=False, **settings)
        return watch.scores

    whole, resumed = scores(2), scores(1, 2)
    assert all(np.array_equal(whole[name], resumed[name]) for name in whole) and len(whole) == 3


def test_movement_of_masked_weights_stays_0_and_that_of_shared_ones_is_refused():
    net = small()
    prune(net, 0.5)
    scores = importance.score(net, "movement", PART)
    for name, values in scores.items():
        assert (values[~net.get(name).view(nn.Mask).keep] == 0).all() and (values != 0).any()
    share(net, 4)
    optimizer, watch = optim.SGD(net.parameters(), lr=0.1), importance.Movement()
    with pytest.raises(ValueError, match="is shared"):
        train.fit(net, (PART, None), epochs=1, optimizer=optimizer, callbacks=[watch], progress=False)


def test_random_scores_follow_the_seed():
    first, again, other = (importance.score(small(), "random", rng=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert all((first[name] != other[name]).all() for name in first)


def test_sigma_puts_layers_of_all_scales_on_one_list():
    w = rng.normal(size=(5, 7))
    assert np.allclose(weights.sigma(1000 * w), weights.sigma(w))
    assert np.allclose(weights.sigma(w), abs(w) / np.sqrt(((w - w.mean()) ** 2).mean()))
    assert np.array_equal(weights.sigma(np.full(3, -2.0)), np.full(3, 2.0))


def test_thresholds_keep_what_is_larger():
    net = small()
    before = {name: net.get(name).data for name in ("fc1.weight", "fc2.weight")}
    masks = importance.prune_below(net, {"fc1": 0.05, "fc2.weight": 0.1})
    assert np.array_equal(masks["fc1.weight"], abs(before["fc1.weight"]) > 0.05)
    assert np.array_equal(net.get("fc2.weight").read().data == 0, abs(before["fc2.weight"]) <= 0.1)
    assert net.get("conv.weight").view(nn.Mask) is None
    net = small()
    masks = importance.prune_below(net, 1.0, unit="sigma", skip="conv")
    for name in before:
        assert np.array_equal(masks[name], abs(before[name]) > before[name].std())
    assert "conv.weight" not in masks


@pytest.mark.parametrize(
    "call, sentence",
    [
        (lambda net: importance.prune_below(net, 9.0), "conv.weight would be left empty.*got 9.0"),
        (lambda net: importance.prune_below(net, {"fc2": 7}, unit="sigma"), "fc2.weight would be left empty"),
        (lambda net: importance.prune_below(net, -1), "0 or more; got -1"),
        (lambda net: importance.prune_below(net, 1, unit="std"), "'weight' or 'sigma'"),
    ],
)
def test_a_threshold_that_cannot_be_is_refused_and_nothing_is_masked(call, sentence):
    net = small()
    with pytest.raises(ValueError, match=sentence):
        call(net)
    assert not any(parameter.views for parameter in net.parameters())


# --- SynFlow ------------------------------------------------------------------------------------------


def test_synflow_of_a_chain_of_matrices_is_a_product():
    net = models.lenet_300_100(image_size=8, rng=0)
    a, b, c = (abs(net.get(f"fc{i}").weight.data.astype(np.float64)) for i in (1, 2, 3))
    scores = importance.score(net, "synflow", PART)
    assert np.allclose(scores["fc2.weight"], b * np.outer(c.sum(axis=0), a.sum(axis=1)))
    assert np.allclose(scores["fc3.weight"], c * (b @ a.sum(axis=1)))


@pytest.mark.parametrize("make", [small, lambda: models.lenet5(image_size=8, filters=(3, 4), units=9, rng=0)])
def test_the_synaptic_flow_is_the_same_through_every_layer(make):
    net = make()
    for module in net.modules():  # as after training
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean, module.running_var = module.running_mean + 3, module.running_var * 5
    flows = [scores.sum() for scores in importance.score(net, "synflow", PART).values()]
    assert np.allclose(flows, flows[0], rtol=1e-12) and flows[0] > 0
    prune(net, 0.7, scope="layer")
    less = [scores.sum() for scores in importance.score(net, "synflow", PART).values()]
    assert np.allclose(less, less[0], rtol=1e-12) and less[0] < flows[0]


def test_many_rounds_leave_no_layer_empty_where_one_round_does():
    def left(rounds):
        net = nn.Sequential(
            flatten=nn.Flatten(), wide=nn.Linear(64, 400, rng=0), relu=nn.ReLU(), thin=nn.Linear(400, 4, rng=1),
            relu2=nn.ReLU(), out=nn.Linear(4, 10, rng=2),
        )  # fmt: skip
        masks = importance.synflow_prune(net, 0.999, PART, rounds=rounds)
        n = sum(mask.size for mask in masks.values())
        assert sum((~mask).sum() for mask in masks.values()) == int(0.999 * n)
        assert all(np.array_equal(net.get(name).view(nn.Mask).keep, mask) for name, mask in masks.items())
        return [int(mask.sum()) for mask in masks.values()]

    assert min(left(rounds=1)) == 0 and min(left(rounds=50)) > 0
    with pytest.raises(ValueError, match="1 or more; got 0"):
        importance.synflow_prune(small(), 0.5, PART, rounds=0)


# --- a model is scored, and stays as it was ------------------------------------------------------------------


@pytest.mark.parametrize("criterion", importance.CRITERIA)
def test_scores_have_the_weights_shapes_and_the_model_stays_as_it_was(criterion):
    net = small()
    prune(net, 0.3)
    share(net, 4)
    net.get("fc1").bias.requires_grad = False
    net.get("norm").eval()
    before, modes = copy.deepcopy(net.state_dict()), [module.training for module in net.modules()]
    scores = importance.score(net, criterion, PART, batch_size=5)
    assert list(scores) == ["conv.weight", "fc1.weight", "fc2.weight"]
    for name, values in scores.items():
        assert values.shape == net.get(name).shape and np.isfinite(values).all()
        if criterion != "random":
            removed = ~net.get(name).view(nn.Mask).keep
            assert removed.any() and (values[removed] == 0).all() and (values[~removed] != 0).any()
    assert all(np.array_equal(value, before[name]) for name, value in net.state_dict().items())
    assert modes == [module.training for module in net.modules()]
    assert all(parameter.grad is None for parameter in net.parameters()) and not net.get("fc1").bias.requires_grad


@pytest.mark.parametrize("criterion", [name for name in importance.CRITERIA if name != "random"])  # its draws differ
def test_scores_on_a_device_are_those_on_the_host(criterion, device):
    here = importance.score(small(), criterion, PART)
    net = small().to(device.name)
    there = importance.score(net, criterion, PART)
    assert {backend.device_of(values).name for values in there.values()} == {device.name}
    there = [backend.to_host(values) for values in there.values()]
    assert_same([values / abs(values).max() for values in there], [v / abs(v).max() for v in here.values()])
    prune(net, 0.5, scores=here)  # scores may lie elsewhere
    assert backend.device_of(net.get("fc1.weight").view(nn.Mask).keep).name == device.name
    assert backend.device_of(importance.score(net, "random")["fc1.weight"]).name == device.name


def test_a_criterion_of_ones_own_says_by_its_arguments_what_is_measured():
    net = small()

    def mine(weight, example_square, power=2):
        return abs(weight) ** power * example_square / 2

    due, mine = importance.score(net, "fisher", PART), importance.score(net, mine, PART)
    assert all(np.allclose(mine[name], due[name]) for name in due)
    with pytest.raises(ValueError, match="asks for hessian; what is measured is weight, rng, gradient"):
        importance.score(net, lambda hessian: hessian, PART)


@pytest.mark.parametrize(
    "call, sentence",
    [
        (lambda net: importance.score(net, "magnitud"), "Did you mean 'magnitude'"),
        (lambda net: importance.score(net, "fisher"), "'fisher' is measured on data"),
        (lambda net: importance.score(nn.Sequential(nn.ReLU()), "magnitude"), "no weight matrix"),
        (lambda net: importance.surgeon(net, 0.5, None), "measured on data"),
    ],
)
def test_bad_calls_get_one_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call(small())


@pytest.mark.parametrize("criterion", ["magnitude", "saliency", "obs"])
def test_weights_that_are_not_finite_are_refused_by_name(criterion):
    net = small()
    net.get("fc1").weight.data = net.get("fc1").weight.data * np.float32(np.nan)
    with pytest.raises(ValueError, match="fc1.weight holds NaN"):
        importance.score(net, criterion, PART)


def test_a_trained_net_loses_least_by_its_own_scores_and_most_by_their_opposite():
    net, digits = models.lenet_300_100(image_size=8, rng=0), data.digits()
    train.fit(net, digits, epochs=4, optimizer=optim.Adam(net.parameters(), lr=0.003), progress=False)

    def loss_without(scores):
        twin = copy.deepcopy(net)
        prune(twin, 0.2, scores=scores)
        return train.classify(twin, Tensor(digits.train.images), digits.train.labels)[0].item()

    for criterion in ("magnitude", "taylor", "fisher", "obd"):
        scores = importance.score(net, criterion, digits.train)
        opposite = {name: -values for name, values in scores.items()}
        control = importance.score(net, "random")
        assert loss_without(scores) < loss_without(control) < loss_without(opposite)

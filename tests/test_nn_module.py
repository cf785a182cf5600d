"""The tree of modules: names, modes, state dicts, surgery, copies."""

import copy
import re

import numpy as np
import pytest

from tinyopt import Tensor, models, nn, no_grad
from tinyopt.errors import DtypeError
from tinyopt.nn.module import LISTENERS


class Net(nn.Module):
    """Layers in every place where they are found: attributes, lists, tuples, dictionaries; one shared."""

    def __init__(self):
        self.first = nn.Linear(4, 3, rng=0)
        self.many = [nn.Linear(3, 3, rng=1), nn.BatchNorm1d(3)]
        self.fixed = (nn.Dropout(0.2),)
        body = nn.Sequential(nn.Linear(3, 3, rng=3), nn.BatchNorm1d(3))
        self.named = {"a": nn.Linear(3, 3, rng=2), 7: nn.Residual(body)}
        self.scale = nn.Parameter(np.ones(3, np.float32))
        self.biases = [nn.Parameter(np.zeros(3, np.float32)), nn.Parameter(np.ones(3, np.float32))]
        self.again = self.first
        self.note = "not a layer"

    def forward(self, x):
        x = self.first(x) * self.scale + self.biases[0] + self.biases[1]
        for layer in (*self.many, *self.fixed, *self.named.values()):
            x = layer(x)
        return x


NAMES = [
    "scale", "biases.0", "biases.1", "first.weight", "first.bias", "many.0.weight", "many.0.bias",
    "many.1.weight", "many.1.bias", "named.a.weight", "named.a.bias", "named.7.body.0.weight",
    "named.7.body.0.bias", "named.7.body.1.weight", "named.7.body.1.bias",
]  # fmt: skip
X = np.random.default_rng(0).normal(size=(5, 4)).astype("f4")


def test_parameters_are_found_everywhere_and_a_shared_one_once():
    model = Net()
    found = dict(model.named_parameters())
    assert list(found) == NAMES
    assert all(parameter.name == name for name, parameter in found.items())
    assert len({id(p) for p in model.parameters()}) == len(NAMES)
    assert found["named.7.body.0.weight"] is model.named[7].body[0].weight


def test_modes_reach_every_module_and_are_returned_from():
    model = Net()
    assert model.eval() is model and not any(module.training for module in model.modules())
    assert model.train() is model and all(module.training for module in model.modules())
    model.many[1].eval()
    assert not model.many[1].training and model.first.training


def test_a_model_in_eval_mode_ignores_the_batch_it_stands_in():
    model = Net()
    for _ in range(3):
        model(X)
    before = model.many[1].running_mean
    whole, alone = (model.eval()(x).data for x in (X, X[:1]))
    np.testing.assert_allclose(whole[:1], alone, rtol=1e-5)
    assert (model.many[1].running_mean == before).all()


def test_zero_grad_clears_all():
    model = Net()
    (model(X) ** 2).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    model.zero_grad()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_get_finds_layers_and_parameters_and_lists_what_there_is():
    model = Net()
    assert model.get("named.7.body.1") is model.named[7].body[1]
    assert model.get("scale") is model.scale
    with pytest.raises(KeyError, match="no layer or parameter is called 'frist'; there are: first, many.0"):
        model.get("frist")


PLACES = ["first", "many.0", "fixed.0", "named.a", "named.7", "named.7.body.0", "named.7.shortcut"]


@pytest.mark.parametrize("name", PLACES)
def test_replace_puts_a_layer_in_any_place(name):
    model, new = Net(), nn.Linear(3, 3)
    names = [name for name, _ in model.named_modules()]
    model.replace(name, new)
    assert model.get(name) is new
    others = [n for n, _ in model.named_modules() if not n.startswith((name, "again"))]
    assert others == [n for n in names if not n.startswith((name, "again"))]


def test_layers_are_found_and_replaced_in_lists_of_lists():
    class Grid(nn.Module):
        def __init__(self):
            self.rows = [[nn.Linear(2, 2), nn.ReLU()], (nn.Linear(2, 2), {"a.b": nn.Linear(2, 2)})]

    model, new = Grid(), nn.Identity()
    assert [name for name, _ in model.named_parameters()][::2] == [
        "rows.0.0.weight", "rows.1.0.weight", "rows.1.1.a.b.weight",
    ]  # fmt: skip
    for name in ("rows.0.0", "rows.1.0", "rows.1.1.a.b"):
        model.replace(name, new)
        assert model.get(name) is new
    assert isinstance(model.rows[1], tuple) and model.parameters() == []


def test_replaced_layers_are_the_ones_that_run():
    model = models.lenet_300_100(rng=0)
    model.replace("fc2", nn.LowRankLinear(300, 100, rank=3))
    model.replace("relu1", nn.Identity())
    model(np.ones((2, 784), np.float32)).sum().backward()
    assert model.get("fc2").down.grad is not None
    assert "(fc2): LowRankLinear(in_features=300, out_features=100, rank=3, bias=True)  1,300" in repr(model)


@pytest.mark.parametrize("name", ["", "scale", "first.weight"])
def test_replace_takes_layers_only(name):
    with pytest.raises(KeyError, match="name of a layer"):
        Net().replace(name, nn.ReLU())


def test_repr_is_a_tree_with_counts():
    model = nn.Sequential(fc=nn.Linear(4, 3), act=nn.ReLU(), last=nn.Sequential(nn.Linear(3, 2, bias=False)))
    assert repr(model).split("\n") == [
        "Sequential()  21",
        "  (fc): Linear(in_features=4, out_features=3, bias=True)  15",
        "  (act): ReLU()",
        "  (last): Sequential()  6",
        "    (0): Linear(in_features=3, out_features=2, bias=False)  6",
    ]


def test_a_sequential_is_reached_by_name_and_by_place():
    model = nn.Sequential(fc=nn.Linear(4, 3), act=nn.ReLU())
    assert model["fc"] is model[0] and model["act"] is model[1] is model[-1]
    assert len(model) == 2 and list(model) == [model[0], model[1]]
    assert type(model[:1]) is nn.Sequential and model[:1]["fc"] is model["fc"] and len(model[:1]) == 1


def test_a_module_without_forward_says_so():
    with pytest.raises(NotImplementedError, match=r"Module needs a method: def forward\(self, x\)"):
        nn.Module()(X)


def test_layers_take_arrays_as_well_as_tensors():
    for layer in (nn.Linear(4, 2), nn.BatchNorm1d(4), nn.Dropout(), nn.Flatten(), nn.ReLU(), nn.Identity()):
        assert isinstance(layer.eval()(X), Tensor)


def test_astype_changes_parameters_views_and_running_means_but_no_integers():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    model[0].weight.attach(nn.Quantize(np.float32(0.1), np.float32(0), bits=8, low=-127, high=127))
    model[1](np.ones((3, 4), np.float32))
    assert model.astype("float64") is model
    assert model(X.astype("f8")).dtype == np.float64
    assert model[1].running_var.dtype == np.float64 and model[1].num_batches_tracked.dtype == np.int64
    assert model.astype("float32")(X).dtype == np.float32
    with pytest.raises(DtypeError, match="float32 or float64; got float16.*quantize"):
        model.astype("float16")


# --- state ---


def trained(model, x):
    """After three batches: running means, and masks and integers on two weights."""
    for _ in range(3):
        model(x)
    model.first.weight.prune(abs(model.first.weight.data) > 0.2)
    model.many[0].weight.attach(nn.Quantize(np.float32(0.1), np.float32(0), bits=8, low=-127, high=127))
    labels = np.arange(9).reshape(3, 3) % 4
    weight = model.named["a"].weight
    weight.data = np.float32([-0.5, 0.0, 0.25, 1])
    weight.attach(nn.Codebook(labels))
    weight.prune(labels > 0)
    return model


def test_state_dict_round_trip_with_views_and_running_means():
    model, other = trained(Net(), X).eval(), trained(Net(), 2 * X)  # the other has its own views and counts
    other.first.weight.prune(other.first.weight.data > 5)
    other.load_state_dict(model.state_dict())
    fresh = Net()
    fresh.load_state_dict(model.state_dict())
    for loaded in (other, fresh):
        assert (loaded.eval()(X).data == model(X).data).all()
        state, due = loaded.state_dict(), model.state_dict()
        assert list(state) == list(due)
        assert all((state[name] == due[name]).all() and state[name].dtype == due[name].dtype for name in due)
    assert "named.a.weight.views.codebook.labels" in due and "many.0.weight.views.quantize.scale" in due
    assert due["named.7.body.1.num_batches_tracked"] == 3


def test_loading_a_plain_state_drops_views():
    model, plain = trained(Net(), X), Net()
    model.load_state_dict(plain.state_dict())
    assert not model.first.weight.views and model.named["a"].weight.shape == (3, 3)
    assert (model.eval()(X).data == plain.eval()(X).data).all()


def test_the_optimizers_parameters_stay_the_same_objects():
    model = Net()
    before = model.parameters()
    model.load_state_dict(trained(Net(), X).state_dict())
    assert all(a is b for a, b in zip(before, model.parameters()))


def without(state, name):
    return {key: value for key, value in state.items() if key != name}


KEEP, LABELS = "first.weight.views.mask.keep", "named.a.weight.views.codebook.labels"
SCALE = "many.0.weight.views.quantize.scale"
BROKEN = [
    (lambda s: without(without(s, "scale"), "many.1.running_mean"), "missing: scale, many.1.running_mean"),
    (lambda s: {**s, "fc9.weight": s["scale"]}, "unexpected: fc9.weight"),
    (lambda s: {**s, "fc9.weight.views.mask.keep": s["scale"] > 0}, "unexpected: fc9.weight"),
    (lambda s: {**s, "scale": np.ones(4)}, "of another shape: scale is (4,), should be (3,)"),
    (lambda s: {**s, "many.1.running_mean": X}, "many.1.running_mean is (5, 4), should be (3,)"),
    (lambda s: {**without(s, "scale"), "x": X}, "missing: scale | unexpected: x"),
    (lambda s: {**s, "x": X, "first.bias": X}, "unexpected: x | of another shape: first.bias is (5, 4)"),
    (lambda s: {**s, KEEP: np.ones((4, 3), bool)}, "mask for a weight of shape (3, 4)"),
    (lambda s: {**s, KEEP: np.ones((3, 4))}, "a mask holds Booleans"),
    (lambda s: {**s, LABELS: np.zeros((2, 2), int)}, "named.a.weight is (2, 2), should be (3, 3)"),
    (lambda s: {**s, LABELS: np.full((3, 3), 4)}, "labels must lie in [0, 4), one for each centroid"),
    (lambda s: {**s, "scale.views.twist.angle": np.ones(3)}, "scale.views.twist is no kind of view"),
    (lambda s: without(s, SCALE), "many.0.weight.views.quantize needs bits, high, low, scale"),
]


def test_shared_weights_of_another_shape_do_not_fit():
    for view in (nn.Hashed((2, 9), 3, True), nn.GroupedCodebook(np.repeat([[0], [1]], 9, axis=1), 2)):
        shared, model = nn.Linear(9, 2, bias=False, rng=0), nn.Linear(3, 6, bias=False, rng=0)
        shared.weight.data = shared.weight.data[0, :2]
        shared.weight.attach(view)
        with pytest.raises(KeyError, match=r"weight is \(2, 9\), should be \(6, 3\)"):
            model.load_state_dict(shared.state_dict())


@pytest.mark.parametrize("change, sentence", BROKEN)
def test_a_state_that_does_not_fit_is_named_and_changes_nothing(change, sentence):
    model, state = Net(), trained(Net(), X).state_dict()
    before = model.state_dict()
    with pytest.raises((KeyError, ValueError, TypeError), match=re.escape(sentence)):
        model.load_state_dict(change(state))
    after = model.state_dict()
    assert list(after) == list(before) and all(after[name] is before[name] for name in before)


def test_a_deep_copy_is_independent():
    model = trained(Net(), X)
    twin = copy.deepcopy(model)
    assert (twin.eval()(X).data == model.eval()(X).data).all()
    assert twin.again is twin.first and twin.first is not model.first
    due = model.state_dict()
    for parameter in twin.parameters():
        parameter.data = parameter.data + 1
    twin.first.weight.prune(np.zeros((3, 4), bool))
    twin.train()(X)
    assert all((due[name] == array).all() for name, array in model.state_dict().items())
    assert not model.many[1].training and model.first.weight.view(nn.Mask).keep.any()


def test_listeners_hear_every_call_even_one_that_raises():
    heard = []

    class Listener:
        def enter(self, module, inputs):
            heard.append(("enter", type(module).__name__))

        def leave(self, module, output):
            heard.append(("leave", type(module).__name__, output is None))

    model = nn.Sequential(nn.ReLU(), nn.Linear(3, 2))
    LISTENERS.append(listener := Listener())
    try:
        with pytest.raises(ValueError), no_grad():
            model(X)
    finally:
        LISTENERS.remove(listener)
    assert heard == [
        ("enter", "Sequential"), ("enter", "ReLU"), ("leave", "ReLU", False),
        ("enter", "Linear"), ("leave", "Linear", True), ("leave", "Sequential", True),
    ]  # fmt: skip

"""Every layer and loss against PyTorch's numbers, stored by `reference/make_nn_reference.py`, in float64."""

import inspect
import json
import math
import pathlib

import numpy as np
import pytest

import tinyopt
from tinyopt import Tensor, losses, models, nn
from tinyopt.errors import DtypeError, ShapeError

with np.load(pathlib.Path(__file__).with_name("reference") / "nn.npz") as _file:
    FACTS, _numbers = json.loads(str(_file["facts"])), _file["numbers"]
STORED = {}  # part -> {name: array}
for _path, _shape in FACTS["shapes"]:
    _part, _name = _path.split("/")
    STORED.setdefault(_part, {})[_name] = _numbers[: math.prod(_shape)].reshape(_shape)
    _numbers = _numbers[math.prod(_shape) :]

LAYERS = [
    pytest.param(kind, settings, STORED[f"layer{i}"], id=f"{i}-{kind}")
    for i, (kind, settings, *_) in enumerate(FACTS["layers"])
]
LOSSES = [
    pytest.param(kind, settings, STORED[f"loss{i}"], id=f"{i}-{kind}-{settings['reduction']}")
    for i, (kind, settings, _) in enumerate(FACTS["losses"])
]


def close(got, due, tolerance=1e-10):
    np.testing.assert_allclose(got, due, rtol=tolerance, atol=tolerance)


def with_prefix(stored, prefix):
    return {name[len(prefix) :]: array for name, array in stored.items() if name.startswith(prefix)}


@pytest.mark.parametrize("kind, settings, stored", LAYERS)
def test_layers_compute_what_pytorch_computes(kind, settings, stored):
    layer = getattr(nn, kind)(**settings).astype("float64")
    layer.load_state_dict(with_prefix(stored, "before."))
    *earlier, last = stored["batches"]
    for batch in earlier:
        layer(Tensor(batch))
    x = Tensor(last, requires_grad=True)
    y = layer(x)
    y.backward(stored["g"])
    close(y.data, stored["y"])
    close(x.grad, stored["grad_x"])
    for name, parameter in layer.named_parameters():
        close(parameter.grad, stored[f"grad.{name}"])
    for name, buffer in layer.named_buffers():
        close(buffer, stored[f"after.{name}"])
        assert isinstance(buffer, np.ndarray)
    if "y_eval" in stored:
        x = Tensor(last, requires_grad=True)
        y = layer.eval()(x)
        y.backward(stored["g"])
        close(y.data, stored["y_eval"])
        close(x.grad, stored["grad_x_eval"])


@pytest.mark.parametrize("kind, settings, stored", LOSSES)
def test_losses_compute_what_pytorch_computes(kind, settings, stored):
    x = Tensor(stored["x"], requires_grad=True)
    soft = "grad_target" in stored
    target = Tensor(stored["target"], requires_grad=True) if soft else stored["target"].astype(np.int64)
    y = getattr(losses, kind)(x, target, **settings)
    y.backward(stored["g"])
    close(y.data, stored["y"])
    close(x.grad, stored["grad_x"])
    if soft:
        close(target.grad, stored["grad_target"])


def test_a_state_dict_of_pytorch_loads_and_the_network_answers_the_same():
    stored = STORED["network"]
    model = models.lenet5(image_size=8, filters=(3, 4), units=6)
    model.load_state_dict(with_prefix(stored, "state."))
    logits = model(stored["x"].astype("float32"))
    assert logits.dtype == np.float32
    close(logits.data, stored["y"], 1e-5)


@pytest.mark.parametrize("kind", FACTS["defaults"])
def test_constructors_have_pytorchs_names_and_defaults(kind):
    ours, theirs = inspect.signature(getattr(nn, kind)).parameters, FACTS["defaults"][kind]
    optional = {name: p.default for name, p in ours.items() if p.default is not p.empty and name != "rng"}
    assert optional and optional == {name: theirs[name] for name in optional}


@pytest.mark.parametrize("layer", [nn.Linear(50, 80, rng=0), nn.Conv2d(4, 30, 5, groups=2, rng=0)])
def test_weights_start_uniform_within_one_over_the_root_of_the_fan_in(layer):
    bound = 1 / math.sqrt(50)
    weight = layer.weight.data
    assert abs(weight).max() <= bound and abs(layer.bias.data).max() <= bound
    deviation = bound / math.sqrt(3)  # of a uniform draw
    assert abs(weight.mean()) < 5 * deviation / math.sqrt(weight.size)
    assert weight.std() == pytest.approx(deviation, rel=0.05)


def test_the_same_seed_draws_the_same_network():
    for make in (models.lenet5, models.lenet_300_100):
        first, second, other = (make(rng=seed).state_dict() for seed in (3, 3, 4))
        assert all((first[name] == second[name]).all() for name in first)
        assert not any((first[name] == other[name]).all() for name in first)
    tinyopt.manual_seed(5)
    first = nn.Linear(3, 4).weight.data
    tinyopt.manual_seed(5)
    assert (nn.Linear(3, 4).weight.data == first).all()


def test_dropout_keeps_the_share_and_the_mean_and_repeats_under_a_seed():
    layer, x = nn.Dropout(0.3), np.ones((200, 500), np.float32)
    tinyopt.manual_seed(1)
    first = layer(x).data
    tinyopt.manual_seed(1)
    assert (layer(x).data == first).all() and (layer(x).data != first).any()
    assert set(np.unique(first)) == {np.float32(0), np.float32(1 / 0.7)}
    assert (first == 0).mean() == pytest.approx(0.3, abs=5 * math.sqrt(0.21 / x.size))
    own = [nn.Dropout(0.3, rng=9)(x).data for _ in range(2)]
    assert (own[0] == own[1]).all()


def test_dropout_does_nothing_in_eval_mode_and_removes_all_at_one():
    x = Tensor(np.arange(6.0).reshape(2, 3))
    assert nn.Dropout(0.9).eval()(x) is x and nn.Dropout(0)(x) is x
    assert (nn.Dropout(1.0)(x).data == 0).all()
    with pytest.raises(ValueError, match="fraction removed"):
        nn.Dropout(30)


def test_low_rank_is_the_product_of_its_factors():
    layer = nn.LowRankLinear(6, 5, rank=2, rng=0).astype("float64")
    x = np.random.default_rng(0).normal(size=(4, 6))
    close(layer(x).data, x @ (layer.up.data @ layer.down.data).T + layer.bias.data)
    assert layer.up.shape == (5, 2) and layer.down.shape == (2, 6)


def test_residual_adds_what_its_shortcut_makes():
    x = np.array([[1.0, -2.0, 3.0]], np.float32)
    assert (nn.Residual(nn.ReLU())(x).data == [[2, -2, 6]]).all()
    assert (nn.Residual(nn.ReLU(), shortcut=nn.ReLU())(x).data == [[2, 0, 6]]).all()
    assert (nn.Add()(Tensor(x), Tensor(x), Tensor(x)).data == 3 * x).all()


def test_the_two_lenets_have_the_sizes_of_the_literature():
    for name, n_parameters in (("lenet_300_100", 266_610), ("lenet5", 431_080)):
        model = models.make(name)
        assert sum(parameter.size for parameter in model.parameters()) == n_parameters
        assert model(np.zeros((2, 1, 28, 28), np.float32)).shape == (2, 10)
        assert models.make(name, image_size=8)(np.zeros((2, 1, 8, 8), np.float32)).shape == (2, 10)
    with pytest.raises(ValueError, match="no model is called 'lenet6'.*Did you mean lenet5"):
        models.make("lenet6")
    with pytest.raises(ValueError, match="no model is called None; there are lenet5"):
        models.make(None)


@pytest.mark.parametrize("name", models.MODELS)
def test_a_batch_may_be_empty(name):
    assert models.make(name).eval()(np.zeros((0, 1, 28, 28), np.float32)).shape == (0, 10)


DOUBLES = np.zeros((2, 1, 28, 28))
IMAGES, BYTES, INTEGERS = (DOUBLES.astype(kind) for kind in ("f4", "u1", "i8"))
WRONG = [
    (lambda: models.lenet5()(BYTES), DtypeError, r"got uint8.*astype\('float32'\) / 255"),
    (lambda: models.lenet_300_100()(BYTES), DtypeError, r"got uint8.*astype\('float32'\) / 255"),
    (lambda: models.lenet_300_100()(INTEGERS), DtypeError, r"got int64.*astype\('float32'\) / 255"),
    (lambda: nn.BatchNorm2d(1)(BYTES), DtypeError, r"got uint8.*astype\('float32'\) / 255"),
    (lambda: models.lenet_300_100()(DOUBLES), DtypeError, r"float64 and float32.*x.astype\('float32'\)"),
    (lambda: models.lenet5()(IMAGES[0]), ShapeError, r"\(N, C, H, W\).*reshape\(1, 1, 28, 28\)"),
    (lambda: nn.Linear(784, 10)(IMAGES), ShapeError, r"needs x \(..., 784\).*x.reshape\(2, -1\)"),
    (lambda: nn.Conv2d(3, 8, 3)(IMAGES), ShapeError, r"needs x \(N, 3, H, W\)"),
    (lambda: nn.Conv2d(1, 8, 31)(IMAGES), ShapeError, "kernel .* is larger than the image"),
    (lambda: nn.MaxPool2d(29)(IMAGES), ShapeError, "larger than the image"),
    (lambda: nn.BatchNorm2d(3)(IMAGES), ShapeError, r"BatchNorm2d\(3\) needs 4 axes.*\(2, 1, 28, 28\)"),
    (lambda: nn.BatchNorm1d(3)(np.ones((1, 3), "f4")), ValueError, r"one value a channel.*eval\(\)"),
    (lambda: nn.Conv2d(3, 4, 3, groups=2), ValueError, "groups must divide"),
    (lambda: nn.Conv2d(4, 4, 3, 1, 1, 1, 4), TypeError, "positional"),  # PyTorch's 7th is groups, its 6th dilation
    (lambda: nn.Conv2d(1, 4, 3, stride=1.5), ValueError, "stride is an integer"),
    (lambda: nn.Conv2d(1, 4, 0), ValueError, "kernel_size is an integer of 1 or more"),
    (lambda: nn.Linear(0, 3), ValueError, "in_features is an integer of 1 or more"),
    (lambda: nn.Sequential(nn.ReLU), TypeError, "Sequential holds modules; '0' is a type"),
    (lambda: models.lenet5(image_size=3), ValueError, "4×4 or more; got 3×3"),
]


@pytest.mark.parametrize("attempt, error, sentence", WRONG)
def test_bad_input_is_one_clear_sentence(attempt, error, sentence):
    with pytest.raises(error, match=sentence):
        attempt()

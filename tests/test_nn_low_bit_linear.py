"""A layer that reads only signs: counts of bits against products of floats, gradients by hand, training and files."""

import copy

import numpy as np
import pytest

from tinyopt import Tensor, compress, data, files, models, nn, no_grad, optim, train
from tinyopt.compress.binary import binarize, binarize_inputs, mean_scale
from tinyopt.compress.ternary import ternarize
from tinyopt.errors import ShapeError

IMAGES = np.random.default_rng(0).random((12, 1, 8, 8), dtype=np.float32)


def small():
    return models.lenet5(image_size=8, filters=(4, 6), units=20, rng=0)


def signed_layer(view, d_in=70, d_out=6, pruned=False):
    layer = nn.BinaryLinear(d_in, d_out, rng=1)
    layer.weight.views = []
    if pruned:
        layer.weight.prune(np.random.default_rng(2).random((d_out, d_in)) < 0.5)
    {"xnor": binarize, "one": lambda m: binarize(m, 1.0), "twn": ternarize}.get(view, lambda m: None)(layer)
    if view == "ttq":
        layer.weight.attach(nn.Ternary(*np.float32([0.05, 0.3, 0.7])))
    return layer


@pytest.mark.parametrize("pruned", [False, True])
@pytest.mark.parametrize("view", ["xnor", "one", "twn", "ttq"])
@pytest.mark.parametrize("shape", [(5, 70), (70,), (2, 3, 70), (0, 70)])
def test_counting_bits_gives_the_bits_of_the_float_product(view, pruned, shape):
    layer = signed_layer(view, pruned=pruned)
    x = np.random.default_rng(3).normal(size=shape).astype("f4")
    x[..., :2] = 0, -0.0
    with no_grad():
        counted = layer(Tensor(x)).numpy()
    assert np.array_equal(counted, layer(Tensor(x)).numpy())  # with a graph: products of floats
    weight, bias = (layer.get(name).read().numpy().astype("f8") for name in ("weight", "bias"))
    beta = abs(x).astype("f8").mean(axis=-1, keepdims=True)
    wanted = beta * (np.where(x >= 0, 1.0, -1.0) @ weight.T) + bias
    assert counted.dtype == np.float32
    np.testing.assert_allclose(counted, wanted, rtol=1e-5, atol=1e-6)


def test_the_gradients_of_a_layer_of_signs_are_the_papers():
    layer = signed_layer("one", d_in=3, d_out=2)
    layer.weight.data = np.float32([[0.5, -0.5, 0.5], [0.25, 0.5, -2]])
    x = Tensor(np.float32([[0.5, -3, 0.1]]), requires_grad=True)  # β = 1.2, signs + − +
    layer(x).backward(np.float32([[1, 10]]))
    np.testing.assert_allclose(x.grad, [[1.2 * 11, 0, 1.2 * (1 - 10)]], rtol=1e-6)
    np.testing.assert_allclose(layer.weight.grad, [[1.2, -1.2, 1.2], [12, -12, 0]], rtol=1e-6)  # |w| = 2 is clipped
    assert layer.bias.grad.tolist() == [1, 10]


def test_the_words_follow_the_weight():
    layer, x = signed_layer("xnor"), Tensor(np.random.default_rng(0).normal(size=(4, 70)).astype("f4"))
    with no_grad():
        before = layer(x).numpy()
        assert np.array_equal(layer(x).numpy(), before)
        layer.weight.data = -layer.weight.data
        after = layer(x).numpy()
    np.testing.assert_allclose(after - layer.bias.data, layer.bias.data - before, atol=1e-5)


@pytest.mark.parametrize("view", [binarize, ternarize])
def test_a_model_with_a_layer_of_signs_is_trained_saved_and_loaded(view, tmp_path):
    model, digits = small(), data.digits()
    follow = view(model, skip=["conv1", "fc2"])
    binarize_inputs(model, "fc1", IMAGES)
    assert type(model.get("fc1")) is nn.BinaryLinear and type(model.get("fc2")) is nn.Linear
    optimizer = optim.Adam(model.parameters(), lr=0.02)
    history = train.fit(model, digits, epochs=2, optimizer=optimizer, callbacks=[follow], progress=False)
    assert history[1]["loss"] < 0.8 * history[0]["loss"]
    files.save(model, tmp_path / "model.top")
    again = files.load(tmp_path / "model.top")
    assert type(again.get("fc1")) is nn.BinaryLinear
    with no_grad():
        answers = model.eval()(Tensor(IMAGES)).numpy()
        assert np.array_equal(again(Tensor(IMAGES)).numpy(), answers)
        assert np.array_equal(copy.deepcopy(model)(Tensor(IMAGES)).numpy(), answers)


def test_a_float_layer_gets_xnor_nets_scale_with_its_mask():
    model = small()
    compress.prune(model, 0.5)
    binarize_inputs(model, ["fc1"], IMAGES)
    weight = model.get("fc1.weight")
    assert np.array_equal(weight.view(nn.Binary).scale, mean_scale(weight.data, weight.view(nn.Mask).keep))


def test_inputs_and_weights_that_do_not_fit_are_refused():
    layer = nn.BinaryLinear(4, 2)
    with pytest.raises(ShapeError, match=r"sign_linear with weight \(2, 4\) needs x \(..., 4\); got \(3, 5\)"):
        layer(np.ones((3, 5), "f4"))
    layer.weight.bake()
    with pytest.raises(ValueError, match="BinaryLinear needs a weight of two or three values.*binarize"):
        layer(np.ones((3, 4), "f4"))

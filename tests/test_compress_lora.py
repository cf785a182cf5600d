"""Adapters: against the sum of weights, autograd through a dense change, and the frozen numbers themselves."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyopt
from tinyopt import compress, data, models, nn, optim
from tinyopt.compress.lora import add_adapters, merge_adapters, merged_weight
from tinyopt.losses import cross_entropy
from tinyopt.nn.lora import LoRALinear
from tinyopt.tensor import Tensor

DIGITS = data.digits()
IMAGES, LABELS = DIGITS.train.images[:200], DIGITS.train.labels[:200]


def trained(model, steps=40):
    """Adam on what is not frozen; returns the losses."""
    optimizer, losses = optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2), []
    for _ in range(steps):
        loss = cross_entropy(model(IMAGES), LABELS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.data))
    return losses


def lenet():
    return models.lenet_300_100(image_size=8, rng=0)


@settings(max_examples=20)
@given(seed=st.integers(0, 9999), rank=st.integers(1, 3), alpha=st.sampled_from([None, 0.5, 8]), bias=st.booleans())
def test_a_merged_layer_computes_the_same_by_a_dense_product(seed, rank, alpha, bias):
    rng = np.random.default_rng(seed)
    layer = LoRALinear(5, 3, rank, bias=bias, alpha=alpha, rng=seed).astype("float64")
    layer.up.data = rng.normal(size=(3, rank))
    x, model = rng.normal(size=(2, 4, 5)), nn.Sequential(fc=layer)
    scale = 1.0 if alpha is None else alpha / rank
    dense = layer.weight.data + scale * sum(np.outer(layer.up.data[:, r], layer.down.data[r]) for r in range(rank))
    y = x @ dense.T + (layer.bias.data if bias else 0)
    np.testing.assert_allclose(model(x).data, y, atol=1e-12)
    assert merge_adapters(model) == ["fc"] and type(model.get("fc")) is nn.Linear
    np.testing.assert_allclose(model(x).data, y, atol=1e-12)
    np.testing.assert_allclose(model.get("fc").weight.data, dense, atol=1e-12)


@given(seed=st.integers(0, 9999))
def test_the_gradients_are_those_of_the_dense_change(seed):
    rng = np.random.default_rng(seed)
    layer = LoRALinear(5, 3, 2, alpha=3, rng=seed).astype("float64")
    layer.up.data = rng.normal(size=(3, 2))
    x, g = Tensor(rng.normal(size=(4, 5)), requires_grad=True), rng.normal(size=(4, 3))
    layer(x).backward(g)
    change = g.T @ x.data  # the gradient of a whole weight; B A is in it with factor α / r = 1.5
    np.testing.assert_allclose(layer.up.grad, 1.5 * change @ layer.down.data.T, atol=1e-12)
    np.testing.assert_allclose(layer.down.grad, 1.5 * layer.up.data.T @ change, atol=1e-12)
    weight = merged_weight(layer.weight.data, layer.down.data, layer.up.data, alpha=3)
    np.testing.assert_allclose(x.grad, g @ weight, atol=1e-12)
    assert layer.weight.grad is None and layer.bias.grad is None


def test_training_moves_the_adapters_alone_and_merging_changes_no_output(tmp_path):
    model = lenet()
    whole, before = copy.deepcopy(model), model(IMAGES).data
    n_trained = add_adapters(model, 4, rng=0)
    assert n_trained == 4 * (64 + 300 + 300 + 100 + 100 + 10)
    assert (model(IMAGES).data == before).all()  # B = 0
    losses = trained(model)
    assert losses[-1] < 0.5 * losses[0]
    frozen = model.state_dict()
    assert all((frozen[name] == value).all() for name, value in whole.state_dict().items())
    y = model(IMAGES).data
    assert abs(y - before).max() > 0.5
    assert merge_adapters(model) == ["fc1", "fc2", "fc3"]
    np.testing.assert_allclose(model(IMAGES).data, y, atol=1e-4)
    for name in ("fc1", "fc2"):
        change = model.get(name).weight.data.astype("f8") - whole.get(name).weight.data
        assert np.linalg.matrix_rank(change, tol=1e-4 * np.linalg.norm(change)) == 4
    size = tinyopt.save(model, tmp_path / "merged")
    assert size == tinyopt.save(whole, tmp_path / "whole")  # nothing is left of the adapters
    assert (tinyopt.load(tmp_path / "merged")(IMAGES).data == model.eval()(IMAGES).data).all()


def test_the_largest_layers_get_adapters_and_a_new_head_is_trained_whole():
    model = lenet()
    assert add_adapters(model, 20, but="fc3") == 20 * (64 + 300 + 300 + 100) + 1010
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {
        "fc1.down", "fc1.up", "fc2.down", "fc2.up", "fc3.weight", "fc3.bias"}  # fmt: skip
    few = lenet()
    add_adapters(few, 2, layers="fc2")
    assert [type(few.get(f"fc{i}")) for i in (1, 2, 3)] == [nn.Linear, LoRALinear, nn.Linear]
    large = lenet()
    add_adapters(large, 11)
    assert type(large.get("fc3")) is nn.Linear  # (10, 100)


def test_an_adapter_learns_beside_integers_and_does_not_merge_into_them():
    model = lenet()
    compress.quantize(model, 2)
    before = model(IMAGES).data
    integers = model.get("fc1").weight.read().data
    add_adapters(model, 4, rng=0)
    assert (model(IMAGES).data == before).all()
    losses = trained(model)
    assert losses[-1] < 0.7 * losses[0] and (model.get("fc1").weight.read().data == integers).all()
    with pytest.raises(ValueError, match=r"fc1.weight is read through a view Quantize.* bake\(\)"):
        merge_adapters(model)
    assert type(model.get("fc1")) is LoRALinear


def test_a_shared_weight_is_not_changed_under_its_other_reader():
    model = nn.Sequential(a=nn.Linear(4, 4, rng=0), b=nn.Linear(4, 4, rng=1))
    model.get("b").weight = model.get("a").weight
    add_adapters(model, 1, layers=["b"], rng=0)
    model.get("b").up.data = np.ones((4, 1), "f4")
    x = np.eye(4, dtype="f4")
    y = model(x).data
    merge_adapters(model)
    np.testing.assert_allclose(model(x).data, y, atol=1e-6)


@pytest.mark.parametrize(
    "change, error, words",
    [
        ({"rank": 0}, ValueError, "rank is an integer of 1 or more; got 0"),
        ({"rank": 20, "layers": ["fc3"]}, ValueError, r"\(10, 100\) has rank 10 or less; got 20"),
        ({"rank": 101}, ValueError, "got none of them"),
        ({"layers": ["relu1"]}, ValueError, "fc1, fc2, fc3; got 'relu1'"),
        ({"layers": ["fc3"], "but": ["fc3"]}, ValueError, "fc1, fc2; got 'fc3'"),
        ({"alpha": 0}, ValueError, "above 0; got 0"),
        ({"but": "head"}, KeyError, "head"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(change, error, words):
    model = lenet()
    with pytest.raises(error, match=words):
        add_adapters(model, **change)
    assert not any(isinstance(m, LoRALinear) for m in model.modules())
    assert all(p.requires_grad for p in model.parameters())


def test_a_model_without_adapters_has_nothing_to_merge():
    with pytest.raises(ValueError, match="no adapters to merge"):
        merge_adapters(lenet())

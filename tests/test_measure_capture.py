"""`capture`: what every layer was given and made, and its gradient, against a network written out by hand."""

import numpy as np
import pytest

from tinyopt import Tensor, models, nn, no_grad, ops
from tinyopt.losses import cross_entropy
from tinyopt.measure import capture, inference, trace
from tinyopt.nn import module as modules
from tinyopt.ops import rule

X = np.random.default_rng(0).normal(size=(4, 5)).astype("f4")
LABELS = np.array([0, 1, 2, 1])


def network():
    return nn.Sequential(fc1=nn.Linear(5, 6, rng=0), act=nn.ReLU(), fc2=nn.Linear(6, 3, rng=1))


@pytest.fixture(autouse=True)
def nobody_listens_before_or_after():
    assert modules.LISTENERS == [] and rule.LISTENERS == []
    yield
    assert modules.LISTENERS == [] and rule.LISTENERS == []


def test_outputs_and_inputs_are_those_of_the_layers():
    model = network()
    with capture(model) as layers:
        y = model(X)
    hidden = X @ model["fc1"].weight.data.T + model["fc1"].bias.data
    assert list(layers) == ["fc1", "act", "fc2", ""]
    np.testing.assert_allclose(layers["fc1"].output.data, hidden, rtol=1e-5)
    assert (layers["act"].output.data == np.maximum(layers["fc1"].output.data, 0)).all()
    assert (layers["fc1"].inputs[0].data == X).all()
    assert layers["act"].inputs[0] is layers["fc1"].output and layers["fc2"].inputs == (layers["act"].output,)
    assert layers["fc2"].output is y is layers[""].output


def test_gradients_follow_the_chain_rule():
    model = network()
    with capture(model, gradients=True) as layers:
        logits = model(X)
        assert layers["fc1"].grad is None  # not yet
        cross_entropy(logits, LABELS).backward()
    p = np.exp(logits.data) / np.exp(logits.data).sum(axis=1, keepdims=True)
    g = (p - np.eye(3)[LABELS]) / 4
    np.testing.assert_allclose(layers["fc2"].grad, g, atol=1e-6)
    g = g @ model["fc2"].weight.data
    np.testing.assert_allclose(layers["act"].grad, g, atol=1e-6)
    g = g * (layers["fc1"].output.data > 0)
    np.testing.assert_allclose(layers["fc1"].grad, g, atol=1e-6)
    np.testing.assert_allclose(g.T @ X, model["fc1"].weight.grad, atol=1e-6)


def test_a_gradient_that_was_not_asked_for_is_an_error_not_none():
    with capture(model := network()) as layers:
        model(X).sum().backward()
    with pytest.raises(RuntimeError, match=r"capture\(model, gradients=True\)"):
        layers["fc1"].grad  # noqa: B018


def test_a_shared_layer_keeps_a_list_of_calls_and_is_found_under_both_names():
    fc = nn.Linear(5, 5, rng=0)
    model = nn.Sequential(a=fc, act=nn.ReLU(), b=fc)
    with capture(model, gradients=True) as layers:
        model(X).sum().backward()
    first, second = layers["a"].calls
    assert first.output is layers["act"].inputs[0] and second.inputs[0] is layers["act"].output
    assert layers["a"].output is second.output and layers["b"] is layers["a"] and "b" not in list(layers)
    assert (layers["a"].grad == 1).all() and (first.grad != 1).any()
    due = second.grad.T @ second.inputs[0].data + first.grad.T @ first.inputs[0].data
    np.testing.assert_allclose(fc.weight.grad, due, rtol=1e-5)


def test_clear_starts_on_another_batch():
    with capture(model := network()) as layers:
        model(X)
        model(X)
        assert len(layers["fc1"].calls) == 2
        layers.clear()
        model(X[:1])
    assert len(layers["fc1"].calls) == 1 and layers["fc1"].output.shape == (1, 6)


def test_an_exception_leaves_no_listener_and_the_failed_calls_are_left_out():
    model = network()
    with pytest.raises(ZeroDivisionError), capture(model):
        raise ZeroDivisionError
    with capture(model) as layers:
        with pytest.raises(ValueError, match="linear"):
            model(X[:, :3])
        assert not layers
        model(X)
    assert {name: len(layer.calls) for name, layer in layers.items()} == {"fc1": 1, "act": 1, "fc2": 1, "": 1}
    assert (layers["fc1"].inputs[0].data == X).all()


def test_other_models_are_not_recorded_and_captures_nest():
    model, other = network(), network()
    with capture(model) as layers:
        with capture(other) as others, capture(model.layers["fc2"]) as last:
            model(X)
            assert not others
            other(X)
        model(X)
    assert len(layers["fc1"].calls) == 2 and len(others["fc1"].calls) == 1 and len(last[""].calls) == 1


def test_under_no_grad_outputs_are_there_and_gradients_are_not():
    with capture(model := network(), gradients=True) as layers, no_grad():
        model(X)
    assert not layers["fc1"].output.requires_grad and layers["fc1"].grad is None


def test_a_name_that_did_not_run_lists_those_that_did():
    with capture(model := network()) as layers:
        model(X)
    with pytest.raises(KeyError, match="no layer 'fc3' has run.*'fc1', 'act', 'fc2'"):
        layers["fc3"]  # noqa: B018


def test_a_layer_that_makes_two_tensors_has_two_gradients():
    class Halves(nn.Module):
        def forward(self, x):
            return ops.relu(x), x * 2

    with capture(model := Halves(), gradients=True) as layers:
        a, b = model(Tensor(X, requires_grad=True))
        (a + 3 * b).sum().backward()
    assert [g[0, 0] for g in layers[""].grad] == [1, 3]


def test_capture_sees_what_dropout_and_batch_norm_do_in_training():
    model = nn.Sequential(norm=nn.BatchNorm1d(5), drop=nn.Dropout(0.5, rng=0))
    with capture(model) as layers:
        model(X)
    np.testing.assert_allclose(layers["norm"].output.data.mean(axis=0), 0, atol=1e-6)
    assert (layers["drop"].output.data == 0).any()


def test_inference_gives_every_module_its_own_mode_back():
    model = nn.Sequential(nn.BatchNorm1d(5), nn.Dropout(0.5))
    model[0].eval()
    with inference(model):
        assert not any(module.training for module in model.modules())
        assert not model(Tensor(X, requires_grad=True)).requires_grad
    assert [module.training for module in model.modules()] == [True, False, True]
    with pytest.raises(ZeroDivisionError), inference(model):
        raise ZeroDivisionError
    assert [module.training for module in model.modules()] == [True, False, True]
    assert (model(Tensor(X, requires_grad=True))).requires_grad


def test_trace_inside_capture_and_failing_leaves_nothing_behind():
    model = models.lenet_300_100(image_size=4)
    with capture(model) as layers:
        trace(model, np.zeros((1, 16), np.float32))
    assert layers["fc3"].output.shape == (1, 10)
    with pytest.raises(ValueError, match="linear"):
        trace(model, np.zeros((1, 15), np.float32))
    assert model.training

"""One source, two devices: what runs on the CPU runs on another, with the same numbers and no transfer.

Here the other device is the stand-in of `standin.py`; `test_gpu.py` runs the same tests on a GPU.
"""

import copy
import sys
import types

import numpy as np
import pytest
from cases import CASES
from device_cases import (
    LABELS, LAYER_CASES, LOSS_CASES, OP_CASES, OPTIMIZER_CASES, VIEW_CASES, X, Y,
    assert_same, channels_last, every, forward_and_backward, functions_of, moved, no_transfers, public,
)  # fmt: skip
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from standin import device, standin  # noqa: F401 (fixtures)

from tinyopt import backend, losses, nn, optim
from tinyopt.errors import DeviceError
from tinyopt.tensor import OPS, Tensor


def test_every_op_has_a_case():
    assert sorted(OP_CASES) == sorted(OPS)


def op_on(device_name, name, choices):
    """An op with its settings, whose arrays are on the device already."""
    there = {key: moved(value, device_name) for key, value in choices.items()}
    there.update({"device": device_name} if name == "to" else {})
    return lambda *inputs: OPS[name](*inputs, **there)


@pytest.mark.parametrize("name, inputs", every(OP_CASES))
def test_an_op_and_its_gradients_run_without_a_transfer_in_any_order_of_memory(name, inputs, device):
    arrays, choices = inputs
    here, there = op_on("cpu", name, choices), op_on(device.name, name, choices)
    expected = forward_and_backward(here, arrays, "cpu")
    assert_same(forward_and_backward(there, arrays, device.name, device.transfers), expected)
    other = [channels_last(array) for array in arrays]
    assert_same(forward_and_backward(here, other, "cpu"), expected)
    assert_same(forward_and_backward(there, other, device.name, device.transfers), expected)


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=st.data())
def test_an_op_runs_there_on_drawn_shapes_in_float64(name, device, drawn):
    case = drawn.draw(CASES[name])
    expected = forward_and_backward(op_on("cpu", name, case.settings), case.args, "cpu")
    there = op_on(device.name, name, case.settings)
    watched = None if name == "getitem" else device.transfers  # its cases hold lists, moved as they come
    assert_same(forward_and_backward(there, case.args, device.name, watched), expected)


# --- layers, views and losses -------------------------------------------------------------------


def test_every_layer_view_and_loss_has_a_case():
    assert sorted(LAYER_CASES) == public(nn, nn.Module)
    assert sorted(VIEW_CASES) == public(nn, nn.View)
    assert sorted(LOSS_CASES) == functions_of(losses)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", LAYER_CASES)
def test_a_layer_runs_without_a_transfer(name, training, device):
    layer, inputs = LAYER_CASES[name]()
    there = copy.deepcopy(layer).train(training).to(device.name)
    expected = forward_and_backward(layer.train(training), inputs, "cpu")
    assert_same(forward_and_backward(there, inputs, device.name, device.transfers), expected)
    for arrays in (lambda m: [p.grad for p in m.parameters() if p.requires_grad], lambda m: m.state_dict().values()):
        assert_same(*([backend.to_host(array) for array in arrays(model)] for model in (there, layer)))


def test_dropout_draws_on_the_device_and_the_seed_repeats_them(device):
    ones = np.ones((40, 40), np.float32)
    y, grad = forward_and_backward(nn.Dropout(0.25, rng=3), [ones], device.name, device.transfers)
    again, _ = forward_and_backward(nn.Dropout(0.25, rng=3), [ones], device.name)
    assert np.array_equal(y, again)
    assert set(np.unique(y)) == {0, np.float32(1 / 0.75)} and 0.2 < (y == 0).mean() < 0.3
    assert np.array_equal(grad == 0, y == 0)


@pytest.mark.parametrize("name", VIEW_CASES)
def test_a_view_is_read_and_moved_without_a_transfer(name, device):
    data, view = VIEW_CASES[name]()

    def run(where, transfers=None):
        parameter = nn.Parameter(data)
        parameter.attach(view)
        parameter.move(where)
        result = forward_and_backward(
            lambda x: OPS["mul"](parameter, x), [np.ones(parameter.shape, np.float32)], where, transfers
        )
        return [*result, backend.to_host(parameter.grad)]

    assert_same(run(device.name, device.transfers), run("cpu"))


@pytest.mark.parametrize("name", LOSS_CASES)
def test_a_loss_runs_without_a_transfer(name, device):
    input, target, choices = LOSS_CASES[name]

    def loss(*tensors):
        return getattr(losses, name)(*tensors, **choices)

    expected = forward_and_backward(loss, (input, target), "cpu")
    assert_same(forward_and_backward(loss, (input, target), device.name, device.transfers), expected)


# --- optimizers ---------------------------------------------------------------------------------


def test_every_optimizer_has_a_case():
    assert sorted(OPTIMIZER_CASES) == public(optim, optim.Optimizer)


@pytest.mark.parametrize("name, hyper", every(OPTIMIZER_CASES))
def test_an_optimizer_steps_without_a_transfer_while_weights_leave_and_return(name, hyper, device):
    def run(where, transfers=None):
        weight = nn.Parameter(X)
        weight.move(where)
        keeps = [backend.to_device(keep, where) for keep in (X > -0.5, X > 0, X > -9)]
        gradients = [backend.to_device(g, where) for g in (Y, X * Y, X - Y)]
        optimizer = getattr(optim, name)([weight], **hyper)
        with no_transfers(transfers):
            for keep, weight.grad in zip(keeps, gradients):
                weight.prune(keep)
                optimizer.step()
        return [backend.to_host(array) for array in (weight.data, *optimizer.state[0].values())], optimizer

    (expected, here), (got, there) = run("cpu"), run(device.name, device.transfers)
    assert_same(got, expected)
    here.load_state_dict(there.state_dict())  # a checkpoint from one device continues on another
    here.step()
    assert here.params[0].device == "cpu"


# --- moving, mixing and looking -----------------------------------------------------------------


def test_a_silent_mix_of_devices_says_what_to_do(device):
    here, there = Tensor(X), Tensor(X).to(device.name)
    for mix in (
        lambda: here + there,
        lambda: there * X,
        lambda: nn.Linear(4, 2)(there),
        lambda: here[Tensor(LABELS).to(device.name)],
    ):
        with pytest.raises(DeviceError, match="Move (them|it) first"):
            mix()
    with pytest.raises(DeviceError, match="Move (them|it) first"):
        np.asarray(there)


def test_a_tensor_on_the_device_prints_and_compares(device):
    there = Tensor(X).to(device.name)
    assert repr(there).startswith("Tensor([[") and f"device='{device.name}'" in repr(there)
    assert np.array_equal((there > 0).numpy(), X > 0) and (there == there).device == device.name
    assert float(there.sum()) == pytest.approx(float(X.sum()), rel=1e-5)
    assert np.array_equal(there[[2, 0]].numpy(), X[[2, 0]])  # a list is uploaded, as in PyTorch


def test_a_gradient_flows_back_through_a_move(device):
    x = Tensor(X, requires_grad=True)
    (x.to(device.name) * 3).sum().backward()
    assert x.device == "cpu" and np.array_equal(x.grad, np.full_like(X, 3))


# --- no GPU -------------------------------------------------------------------------------------


class FakeCudaError(Exception):
    pass


def fake_cupy(count):
    runtime = types.SimpleNamespace(getDeviceCount=count, CUDARuntimeError=FakeCudaError)
    return types.SimpleNamespace(cuda=types.SimpleNamespace(runtime=runtime))


def no_driver():
    raise FakeCudaError("cudaErrorNoDevice: no CUDA-capable device is detected")


@pytest.mark.parametrize(
    "cupy, sentence",
    [
        (None, r"'cuda' needs CuPy, which cannot be imported \(.*\)\. Try: pip install 'tinyopt\[gpu\]'"),
        (fake_cupy(lambda: 0), "'cuda' needs an NVIDIA GPU; CuPy counts 0"),
        (fake_cupy(no_driver), r"'cuda' needs an NVIDIA GPU; CuPy finds none \(cudaErrorNoDevice.*Use 'cpu'"),
    ],
    ids=["no CuPy", "no GPU", "no driver"],
)
def test_without_a_gpu_to_cuda_says_why_and_what_to_do(cupy, sentence, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.delitem(backend._devices, "cuda", raising=False)
    for move in (Tensor(X).to, nn.Linear(2, 2).to):
        with pytest.raises(DeviceError, match=sentence):
            move("cuda")


def test_a_device_that_is_none_is_named():
    with pytest.raises(DeviceError, match="a device is one of cpu, cuda; got 'gpu'"):
        Tensor(X).to("gpu")

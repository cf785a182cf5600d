"""What runs on every device: concrete inputs for each op, layer, loss and optimizer, and how they are run.

`test_devices.py` runs them on the stand-in and `test_gpu.py` on a GPU; both compare with the CPU. A
test fails for anything public that has no case here.
"""

import contextlib
import inspect

import numpy as np
import pytest

from tinyopt import backend, nn
from tinyopt.tensor import Tensor

_rng = np.random.default_rng(7)


def _normal(*shape):
    return _rng.standard_normal(shape, dtype=np.float32)


X, Y, ROW, VECTOR = _normal(3, 4), _normal(3, 4), _normal(4), _normal(5)
POSITIVE = np.abs(_normal(3, 4)) + np.float32(0.5)
TIES = np.float32([[1, 2, 2, 0], [0, 0, 0, 0], [3, 1, 3, 2]])
MASK = X > 0
LABELS, REPEATED = np.array([1, 3, 0]), np.array([2, 0, 2, 2, -1])
IMAGES, FILTERS, BIAS = _normal(5, 4, 8, 7), _normal(6, 4, 3, 2), _normal(6)
PROBABILITIES = POSITIVE / POSITIVE.sum(axis=1, keepdims=True)


def case(*arrays, **settings):
    return arrays, settings


OP_CASES = {
    "abs": [case(X)],
    "add": [case(X, ROW), case(X, 2.0)],
    "astype": [case(X, dtype=np.dtype("float64"))],
    "avg_pool2d": [case(IMAGES, kernel_size=2), case(IMAGES, kernel_size=3, stride=(2, 1), padding=1)],
    "batch_norm": [
        case(IMAGES, *_normal(2, 4), _normal(4), np.abs(_normal(4)), training=mode) for mode in (True, False)
    ],
    "binary_weight": [
        case(X, np.float32(0.3), limit=0.3),
        case(X, np.float32([[0.1], [0.7], [0.4]]), share=0.25),
    ],
    "broadcast_to": [case(ROW, shape=(2, 3, 4))],
    "clip": [case(X, min=-0.5, max=0.5), case(X, max=0.1)],
    "concatenate": [case(X, Y, axis=1)],
    "conv2d": [
        case(IMAGES, FILTERS, BIAS),
        case(IMAGES, FILTERS, BIAS, stride=2, padding=(1, 2)),
        case(IMAGES[:, :1], FILTERS[:, :1], None),  # few channels: the banded matrix
        case(IMAGES, FILTERS[:, :2], BIAS, groups=2, padding=1),
    ],
    "cross_entropy": [
        case(X, LABELS),
        case(X, LABELS, label_smoothing=0.1, reduction="sum"),
        case(X, PROBABILITIES, label_smoothing=0.1),
        case(X, LABELS, reduction="none"),
    ],
    "div": [case(X, POSITIVE), case(1.0, POSITIVE)],
    "dropout": [case(X, _rng.random((3, 4), dtype=np.float32), p=0.3)],
    "exp": [case(X)],
    "expand": [case(ROW, shape=(3, -1))],
    "fake_quantize": [
        case(X, np.float32([[0.1], [0.02], [0.3]]), np.float32([[0], [3], [-2]]), low=-7, high=7)
    ],
    "flip": [case(X), case(X, axis=(0, 1))],
    "getitem": [
        case(X, index=(slice(None, None, 2), 1)),
        case(X, index=(None, ..., 2)),
        case(VECTOR, index=REPEATED),
        case(X, index=(slice(None), LABELS)),
        case(X, index=MASK),
    ],
    "linear": [case(X, _normal(2, 4), _normal(2)), case(_normal(2, 3, 4), _normal(2, 4), None)],
    "log": [case(POSITIVE)],
    "log_softmax": [case(X, axis=0)],
    "logsumexp": [case(X), case(X, axis=1, keepdims=True)],
    "lookup": [case(VECTOR, np.abs(REPEATED))],
    "lsq": [
        case(X, np.float32(0.3), low=-2, high=1, count=12),
        case(X, np.float32([[0.1], [0.7], [0.4]]), low=0, high=3, count=4),
    ],
    "mask": [case(X, MASK)],
    "matmul": [case(X, _normal(2, 4, 3)), case(X, ROW), case(ROW, ROW)],
    "max": [case(TIES), case(TIES, axis=1)],
    "max_pool2d": [case(IMAGES, kernel_size=2), case(IMAGES, kernel_size=3, stride=2, padding=1)],
    "maximum": [case(TIES, ROW), case(TIES, 1.0)],
    "mean": [case(X), case(X, axis=(0, 1), keepdims=True)],
    "min": [case(TIES), case(TIES, axis=0, keepdims=True)],
    "minimum": [case(TIES, ROW), case(TIES, 1.0)],
    "mul": [case(X, ROW), case(X, 3.0)],
    "neg": [case(X)],
    "pad": [case(X, pad_width=((1, 0), (0, 2)), value=0.5), case(X, pad_width=1)],
    "pow": [case(POSITIVE, X), case(X, 2), case(2.0, X)],
    "relu": [case(X)],
    "reshape": [case(X, shape=(2, -1))],
    "sigmoid": [case(X)],
    "softmax": [case(X)],
    "sqrt": [case(POSITIVE)],
    "expand_dims": [case(X, axis=1), case(X, axis=(0, 2))],
    "squeeze": [case(X[:, None]), case(X[:, None], axis=1)],
    "stack": [case(X, Y, axis=1)],
    "sub": [case(X, ROW), case(1.0, X)],
    "sum": [case(X), case(X, axis=1)],
    "tanh": [case(X)],
    "ternary_weight": [
        case(X, *np.float32([[[0.2], [0.1], [0.5]], [[1], [2], [3]], [[4], [5], [6]]])),
        case(X, np.float32(0.3), np.float32(1.5), np.float32(1.5)),
    ],
    "to": [case(X, device="here")],
    "trained_ternary_weight": [case(X, np.float32(0.7), np.float32(0.4), fraction=0.2)],
    "transpose": [case(X), case(IMAGES, axes=(0, 2, 3, 1))],
    "var": [case(X), case(X, axis=1, correction=0)],
    "where": [case(MASK, X, Y), case(MASK, X, 0.0)],
}

LAYER_CASES = {  # name -> (layer, inputs); each runs in training and in eval mode
    "Add": lambda: (nn.Add(), [X, Y]),
    "AvgPool2d": lambda: (nn.AvgPool2d(2), [IMAGES]),
    "BatchNorm1d": lambda: (nn.BatchNorm1d(4, momentum=None), [X]),
    "BatchNorm2d": lambda: (nn.BatchNorm2d(4), [IMAGES]),
    "BinaryLinear": lambda: (nn.BinaryLinear(4, 3, rng=0), [X]),
    "Conv2d": lambda: (nn.Conv2d(4, 3, 3, padding=1, rng=0), [IMAGES]),
    "SparseLinear": lambda: (nn.SparseLinear(4, 3, layout="csr", rng=0), [X]),
    "Dropout": lambda: (
        nn.Dropout(1.0),
        [X],
    ),  # the draws themselves differ by device, and have their own test
    "FusedAdd": lambda: (nn.FusedAdd(), [X, Y]),
    "FusedConv2d": lambda: (nn.FusedConv2d(4, 3, 3, padding=1, rng=0), [IMAGES]),
    "FusedLinear": lambda: (nn.FusedLinear(4, 3, rng=0), [X]),
    "LoRALinear": lambda: (nn.LoRALinear(4, 3, 2, rng=0), [X]),
    "Repeat": lambda: (nn.Repeat(nn.Linear(4, 4, rng=0), 3), [X]),
    "Embedding": lambda: (nn.Embedding(7, 4, rng=0), [np.int64([[0, 6], [2, 2]])]),
    "DynamicQuantLinear": lambda: (nn.DynamicQuantLinear(4, 3, rng=0), [X]),
    "FakeQuantize": lambda: (nn.FakeQuantize(4, momentum=0.5), [X]),
    "Flatten": lambda: (nn.Flatten(), [IMAGES]),
    "Identity": lambda: (nn.Identity(), [X]),
    "LearnedStep": lambda: (nn.LearnedStep(2, signed=True), [X]),
    "LearnedStepConv2d": lambda: (nn.LearnedStepConv2d(4, 2, 3, groups=2, bits=3, per_channel=True, rng=0), [IMAGES]),
    "LearnedStepLinear": lambda: (nn.LearnedStepLinear(4, 3, bits=3, rng=0), [X]),
    "Linear": lambda: (nn.Linear(4, 3, rng=0), [X]),
    "LowRankLinear": lambda: (nn.LowRankLinear(4, 3, rank=2, rng=0), [X]),
    "MaxPool2d": lambda: (nn.MaxPool2d(3, stride=2), [IMAGES]),
    "ReLU": lambda: (nn.ReLU(), [X]),
    "Residual": lambda: (nn.Residual(nn.Linear(4, 4, rng=0)), [X]),
    "Sequential": lambda: (nn.Sequential(nn.Linear(4, 3, rng=0), nn.ReLU(), nn.Linear(3, 2, rng=1)), [X]),
    "TrainedTernaryConv2d": lambda: (nn.TrainedTernaryConv2d(4, 2, 3, groups=2, fraction=0.3, rng=0), [IMAGES]),
    "TrainedTernaryLinear": lambda: (nn.TrainedTernaryLinear(4, 3, fraction=0.3, rng=0), [X]),
}

VIEW_CASES = {  # name -> (data, view)
    "Binary": lambda: (X, nn.Binary(np.float32([[0.1], [0.7], [0.4]]), share=0.25)),
    "Codebook": lambda: (VECTOR, nn.Codebook(np.abs(REPEATED.reshape(5, 1)))),
    "Format": lambda: (X, nn.Format(np.float32([[0.1], [0.02], [0.3]]), "nf4")),
    "GroupedCodebook": lambda: (VECTOR[:4], nn.GroupedCodebook(np.int64([[0, 1, 1], [3, 2, 2]]), 2)),
    "Hashed": lambda: (VECTOR, nn.Hashed((3, 4), 9, True)),
    "Mask": lambda: (X, nn.Mask(MASK)),
    "Quantize": lambda: (
        X,
        nn.Quantize(np.float32([[0.1], [0.02], [0.3]]), np.float32(np.zeros((3, 1))), 4, -7, 7),
    ),
    "Ternary": lambda: (X, nn.Ternary(np.float32(0.3), np.float32([[1], [2], [3]]), np.float32(0.5))),
}

LOSS_CASES = {  # name -> (input, target, settings)
    "cross_entropy": (X, LABELS, {"label_smoothing": 0.1}),
    "mse_loss": (X, Y, {}),
}

OPTIMIZER_CASES = {
    "Adadelta": [{}],
    "Adagrad": [{"lr_decay": 0.1, "initial_accumulator_value": 0.5}],
    "Adam": [{"weight_decay": 0.1}],
    "AdamW": [{}],
    "GD": [{}],
    "RMSprop": [{"momentum": 0.9, "centered": True}],
    "SGD": [
        {},
        {"momentum": 0.9, "dampening": 0.1, "weight_decay": 0.01},
        {"momentum": 0.9, "nesterov": True},
    ],
}

G = np.random.default_rng(1).standard_normal(2000, dtype=np.float32)  # incoming gradients, as many as needed


def public(room, base=object):
    """Names of the classes in a room's `__all__` that derive from `base`, the base itself left out."""
    values = {name: getattr(room, name) for name in room.__all__}
    return sorted(
        name
        for name, value in values.items()
        if isinstance(value, type) and issubclass(value, base) and value is not base
    )


def functions_of(room):
    """Names of the public functions that a module defines."""
    return sorted(
        name for name, value in vars(room).items()
        if inspect.isfunction(value) and value.__module__ == room.__name__ and not name.startswith("_")
    )  # fmt: skip


def every(table):
    """One test parameter for each case of a table of lists."""
    return [
        pytest.param(name, case, id=f"{name}-{i}")
        for name, cases in table.items()
        for i, case in enumerate(cases)
    ]


def moved(value, name):
    """`value` on the device called `name`: floats as a leaf, other arrays as a tensor, all else as it is."""
    if isinstance(value, tuple):
        return tuple(moved(part, name) for part in value)
    if isinstance(value, (np.ndarray, np.generic)):
        return Tensor(backend.to_device(np.asarray(value), name), requires_grad=value.dtype.kind == "f")
    return value


def channels_last(array):
    """The same numbers with axis 1 last in memory, as a convolution leaves them."""
    return np.moveaxis(np.moveaxis(array, 1, -1).copy(), -1, 1) if np.ndim(array) > 1 else array


@contextlib.contextmanager
def no_transfers(transfers):
    """Fail if anything is moved between host and device inside; None watches nothing."""
    if transfers is None:
        yield
        return
    transfers.reset()
    yield
    assert (transfers.to_host, transfers.to_device) == (0, 0)


def forward_and_backward(function, arrays, device_name, transfers=None):
    """Run `function` and its pullbacks on a device: the output and the gradients, as host arrays.

    Nothing may be transferred between the upload of the inputs and the reading of the results.
    """
    inputs = [moved(array, device_name) for array in arrays]
    g = backend.to_device(G, device_name)
    with no_transfers(transfers):
        y = function(*inputs)
        y.backward(g[: y.size].reshape(y.shape).astype(y.dtype))
    gradients = [t.grad for t in inputs if isinstance(t, Tensor) and t.grad is not None]
    assert {backend.device_of(array).name for array in (y.data, *gradients)} == {device_name}
    return [backend.to_host(array) for array in (y.data, *gradients)]


def assert_same(got, expected):
    assert len(got) == len(expected)
    for a, b in zip(got, expected):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def assert_runs_alike(case, device):
    """Demand of `case`, a function of a device's name that returns arrays or numbers, the same there as on the host."""
    there, here = ([backend.to_host(a) if backend.is_array(a) else np.array(a) for a in case(where)]
                   for where in (device.name, "cpu"))  # fmt: skip
    assert_same(there, here)

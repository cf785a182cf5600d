"""Make `nn.npz`: what PyTorch's layers and losses compute, so that `test_nn_layers.py` needs no PyTorch.

    python tests/reference/make_nn_reference.py          (PyTorch 2.13.0 on a CPU, seed 20130614)

Each layer gets some training batches, and a random incoming gradient after the last of them; batch norm
then runs in eval mode, too. Stored, in float64: state, batches, the last output and gradients, and, where
there are any, the buffers after it all and what eval mode makes.
"""

import inspect
import json
import pathlib

import numpy as np
import torch

SEED = 20130614

# kind, arguments, shape of a batch, number of batches
CONV = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "groups", "bias")
LAYERS = [
    ("Linear", {"in_features": 5, "out_features": 3}, (4, 5), 1),
    ("Linear", {"in_features": 5, "out_features": 3, "bias": False}, (2, 3, 5), 1),
    ("Conv2d", dict(zip(CONV, (1, 3, 5))), (2, 1, 8, 8), 1),
    ("Conv2d", dict(zip(CONV, (3, 4, 3, 2, 1))), (2, 3, 7, 6), 1),
    ("Conv2d", dict(zip(CONV, (4, 6, 3, 1, 1, 2))), (2, 4, 5, 5), 1),
    ("Conv2d", dict(zip(CONV, (4, 4, 3, 2, 0, 4, False))), (2, 4, 6, 7), 1),
    ("Conv2d", dict(zip(CONV, (2, 3, (3, 2), (1, 2), (0, 1)))), (2, 2, 5, 6), 1),
    ("Conv2d", dict(zip(CONV, (20, 2, 1))), (2, 20, 3, 3), 1),
    ("BatchNorm1d", {"num_features": 4}, (6, 4), 3),
    ("BatchNorm1d", {"num_features": 3, "momentum": 0.3, "eps": 1e-3}, (4, 3, 5), 3),
    ("BatchNorm2d", {"num_features": 3}, (4, 3, 3, 2), 3),
    ("BatchNorm2d", {"num_features": 3, "momentum": None}, (2, 3, 4, 3), 4),
    ("MaxPool2d", {"kernel_size": 2}, (2, 3, 6, 5), 1),
    ("MaxPool2d", {"kernel_size": 3, "stride": 2, "padding": 1}, (2, 2, 7, 6), 1),
    ("MaxPool2d", {"kernel_size": [2, 3], "stride": [1, 2]}, (2, 2, 5, 7), 1),
    ("AvgPool2d", {"kernel_size": 2}, (2, 3, 6, 5), 1),
    ("AvgPool2d", {"kernel_size": 3, "stride": 1, "padding": 1}, (2, 2, 5, 4), 1),
    ("ReLU", {}, (3, 4), 1),
    ("Flatten", {}, (3, 2, 2, 2), 1),
]
LOSSES = [
    *[("cross_entropy", {"reduction": r, "label_smoothing": s}, labels)
      for r in ("mean", "sum", "none") for s in (0.0, 0.1) for labels in ("integers", "soft")],
    *[("mse_loss", {"reduction": r}, "floats") for r in ("mean", "sum", "none")],
]  # fmt: skip
DEFAULTS = ["Linear", "Conv2d", "BatchNorm1d", "BatchNorm2d", "MaxPool2d", "AvgPool2d", "Dropout"]


def layer(kind, settings, shape, n_batches):
    """All that is stored of one layer."""
    module = getattr(torch.nn, kind)(**settings).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, dtype=torch.float64))
    batches = torch.randn(n_batches, *shape, dtype=torch.float64).round(decimals=1)  # so maxima are tied, too
    stored = {f"before.{name}": array.clone() for name, array in module.state_dict().items()}
    for x in batches[:-1]:
        module(x)
    x = batches[-1].clone().requires_grad_()
    y = module(x)
    g = torch.randn_like(y)
    y.backward(g)
    stored |= {"batches": batches, "y": y, "g": g, "grad_x": x.grad}
    stored |= {f"grad.{name}": parameter.grad.clone() for name, parameter in module.named_parameters()}
    buffers = dict(module.named_buffers())
    if not buffers:
        return stored
    x = batches[-1].clone().requires_grad_()
    y = module.eval()(x)
    y.backward(g)
    stored |= {f"after.{name}": array for name, array in buffers.items()}
    return {**stored, "y_eval": y, "grad_x_eval": x.grad}


def loss(kind, settings, labels):
    """All that is stored of one loss."""
    x = (3 * torch.randn(6, 4, dtype=torch.float64)).requires_grad_()
    target = torch.rand(6, 4, dtype=torch.float64) + 0.1
    if labels == "soft":
        target = target / target.sum(1, keepdim=True)
    if labels == "integers":
        target = torch.tensor([0, 3, 1, 1, 2, 0])
    else:
        target.requires_grad_()
    y = getattr(torch.nn.functional, kind)(x, target, **settings)
    g = torch.randn_like(y)
    y.backward(g)
    stored = {"x": x, "target": target, "y": y, "g": g, "grad_x": x.grad}
    return {**stored, "grad_target": target.grad} if target.requires_grad else stored


def network():
    """State, input and logits of a small LeNet-5 built by PyTorch, under the names that PyTorch gives."""
    nn = torch.nn
    layers = {
        "conv1": nn.Conv2d(1, 3, 5, padding=2), "pool1": nn.MaxPool2d(2),
        "conv2": nn.Conv2d(3, 4, 5, padding=2), "pool2": nn.MaxPool2d(2), "flatten": nn.Flatten(),
        "fc1": nn.Linear(16, 6), "relu1": nn.ReLU(), "fc2": nn.Linear(6, 10),
    }  # fmt: skip
    model = nn.Sequential()
    for name, module in layers.items():
        model.add_module(name, module)
    x = torch.randn(3, 1, 8, 8)
    return {**{f"state.{name}": array for name, array in model.state_dict().items()}, "x": x, "y": model(x)}


def defaults(kind):
    found = {a.name: a.default for a in inspect.signature(getattr(torch.nn, kind)).parameters.values()}
    return {name: value for name, value in found.items() if value is None or isinstance(value, (int, float))}


def main():
    torch.manual_seed(SEED)
    parts = {f"layer{i}": layer(*case) for i, case in enumerate(LAYERS)}
    parts |= {f"loss{i}": loss(*case) for i, case in enumerate(LOSSES)}
    parts["network"] = network()
    found = {f"{part}/{name}": tensor for part, stored in parts.items() for name, tensor in stored.items()}
    arrays = {name: tensor.detach().numpy() for name, tensor in found.items()}
    facts = {"torch": torch.__version__, "layers": LAYERS, "losses": LOSSES}
    facts["defaults"] = {kind: defaults(kind) for kind in DEFAULTS}
    shapes = [(name, array.shape) for name, array in arrays.items()]
    # One long vector, since a zip entry for each would cost 300 bytes.
    numbers = np.concatenate([array.ravel().astype(np.float64) for array in arrays.values()])
    path = pathlib.Path(__file__).with_name("nn.npz")
    np.savez_compressed(path, facts=json.dumps({**facts, "shapes": shapes}), numbers=numbers)
    print(f"{path.name}: {path.stat().st_size:,} bytes, PyTorch {torch.__version__}")


if __name__ == "__main__":
    main()

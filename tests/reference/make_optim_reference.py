"""Make `optim.npz`: what PyTorch's optimizers do in 20 steps, so that the tests need no PyTorch.

    python tests/reference/make_optim_reference.py          (PyTorch 2.13.0 on a CPU, seed 20130613)

Four parameters get the same random gradients in each case. In steps 2 and 5 the second one gets none, and
after step 10 the learning rate is halved. Stored are the parameters after steps 1 and 20, in float32 and
float64, and the arguments and defaults of PyTorch's constructors.
"""

import inspect
import json
import pathlib

import numpy as np
import torch

SEED, STEPS, HALVED_AFTER, WITHOUT_GRADIENT, STORED = 20130613, 20, 10, {2: 1, 5: 1}, (1, 20)
SHAPES = [(), (7,), (3, 4), (2, 3, 2, 2)]
LEFT_OUT = {  # arguments of PyTorch's that tinyopt does not have
    "params", "amsgrad", "capturable", "decoupled_weight_decay", "differentiable", "foreach", "fused",
    "maximize",
}  # fmt: skip

CASES = [
    ("SGD", {}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.05}),
    ("SGD", {"lr": 0.05, "momentum": 0.9}),
    ("SGD", {"lr": 0.05, "momentum": 0.8, "dampening": 0.3}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01, "nesterov": True}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 2, "eps": 1}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.02, "alpha": 0.9, "eps": 1e-3, "weight_decay": 0.02}),
    ("RMSprop", {"lr": 0.02, "momentum": 0.7}),
    ("RMSprop", {"lr": 0.02, "centered": True}),
    ("RMSprop", {"alpha": 0.95, "eps": 1e-4, "weight_decay": 0.01, "momentum": 0.5, "centered": True}),
    ("Adadelta", {}),
    ("Adadelta", {"lr": 0.7, "rho": 0.8, "eps": 1e-4, "weight_decay": 0.03}),
    ("Adam", {}),
    ("Adam", {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.05}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.02, "betas": (0.7, 0.99), "eps": 1e-4, "weight_decay": 0.1}),
]


def run(kind, settings, start, gradients, dtype):
    """The parameters, joined to one vector, after each of the steps in STORED."""
    params = [torch.nn.Parameter(torch.tensor(array, dtype=getattr(torch, dtype))) for array in start]
    optimizer = getattr(torch.optim, kind)(params, **settings)
    kept = []
    for step in range(1, STEPS + 1):
        for i, p in enumerate(params):
            g = torch.tensor(gradients[i][step - 1], dtype=p.dtype)
            p.grad = None if WITHOUT_GRADIENT.get(step) == i else g
        optimizer.step()
        if step == HALVED_AFTER:
            optimizer.param_groups[0]["lr"] /= 2
        if step in STORED:
            kept.append(np.concatenate([p.detach().numpy().ravel() for p in params]))
    return np.stack(kept)


def defaults(kind):
    arguments = inspect.signature(getattr(torch.optim, kind)).parameters
    return {name: argument.default for name, argument in arguments.items() if name not in LEFT_OUT}


def main():
    rng = np.random.default_rng(SEED)
    start = [rng.normal(size=shape) for shape in SHAPES]
    # from large to so small that ε matters; one weight gets no gradient at all
    units = [10.0 ** rng.uniform(-5, 1, size=shape) for shape in SHAPES]
    gradients = [rng.normal(size=(STEPS, *shape)) * unit for shape, unit in zip(SHAPES, units)]
    gradients[2][:, 1, 2] = 0.0
    start = [array.astype(np.float32).astype(np.float64) for array in start]  # so that both types start alike
    gradients = [array.astype(np.float32).astype(np.float64) for array in gradients]
    about = {
        "command": "python tests/reference/make_optim_reference.py",
        "seed": SEED,
        "torch": torch.__version__,
        "halved_after": HALVED_AFTER,
        "without_gradient": sorted(WITHOUT_GRADIENT.items()),
        "stored": STORED,
        "cases": CASES,
        "defaults": {kind: defaults(kind) for kind, _ in CASES},
    }
    arrays = {f"start.{i}": np.float32(array) for i, array in enumerate(start)}
    arrays |= {f"gradient.{i}": np.float32(array) for i, array in enumerate(gradients)}
    for dtype in ("float32", "float64"):
        arrays[dtype] = np.stack([run(kind, settings, start, gradients, dtype) for kind, settings in CASES])
    path = pathlib.Path(__file__).with_name("optim.npz")
    np.savez_compressed(path, about=json.dumps(about), **arrays)
    print(f"{path.name}: {path.stat().st_size} bytes, {len(CASES)} cases")


if __name__ == "__main__":
    main()

"""One training step beside PyTorch's, in the same process: python tests/benchmarks/step_time.py

Needs the extra `bench`. Both take SGD steps with momentum 0.9 at batch 64, on two threads, in turns of
some steps each, so that a change of the machine's speed meets both. Printed: the median of the ratios.
"""

import os
import sys

if "OPENBLAS_CORETYPE" in os.environ:  # it may name a slow kernel; the library chooses when it is loaded
    del os.environ["OPENBLAS_CORETYPE"]
    os.execv(sys.executable, [sys.executable, *sys.argv])
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "2")

import statistics
import time

import numpy as np
import torch

from tinyopt import Tensor, losses, models, nn, optim
from tinyopt.report import doctor

torch.set_num_threads(2)
BATCH, WARM, STEPS, ROUNDS = 64, 5, 20, 30


def torch_twin(model):
    """The same network and the same weights in PyTorch."""
    layers = []
    for layer in model:
        if isinstance(layer, nn.Conv2d):
            layers.append(torch.nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel_size))
        elif isinstance(layer, nn.Linear):
            layers.append(torch.nn.Linear(layer.in_features, layer.out_features))
        else:
            layers.append(
                {"MaxPool2d": lambda: torch.nn.MaxPool2d(2), "Flatten": torch.nn.Flatten, "ReLU": torch.nn.ReLU}[
                    type(layer).__name__
                ]()
            )
        if hasattr(layer, "weight"):
            with torch.no_grad():
                layers[-1].weight.copy_(torch.tensor(layer.weight.data))
                layers[-1].bias.copy_(torch.tensor(layer.bias.data))
    return torch.nn.Sequential(*layers)


def our_step(model, x, y):
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    x, y = Tensor(x), Tensor(y)

    def step():
        optimizer.zero_grad()
        loss = losses.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def torch_step(model, x, y):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    x, y = torch.tensor(x), torch.tensor(y)

    def step():
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def milliseconds(step):
    for _ in range(WARM):  # the other side's threads may still be spinning
        step()
    start = time.perf_counter()
    for _ in range(STEPS):
        step()
    return 1000 * (time.perf_counter() - start) / STEPS


def main():
    print(f"{doctor.summary()['text']} · PyTorch {torch.__version__} · batch {BATCH} · two threads each")
    rng = np.random.default_rng(0)
    x, y = rng.random((BATCH, 1, 28, 28), dtype=np.float32), rng.integers(0, 10, BATCH)
    for name, make in (("lenet_300_100", models.lenet_300_100), ("lenet5", models.lenet5)):
        model = make(rng=0)
        ours, theirs = our_step(model, x, y), torch_step(torch_twin(model), x, y)
        assert abs(ours() - theirs()) < 1e-4, "the two do not compute the same loss"
        for step in (ours, theirs):
            milliseconds(step)
        pairs = [(milliseconds(ours), milliseconds(theirs)) for _ in range(ROUNDS)]
        ratios = sorted(a / b for a, b in pairs)
        print(
            f"{name:14}  tinyopt {statistics.median(a for a, _ in pairs):6.2f} ms  PyTorch {statistics.median(b for _, b in pairs):6.2f} ms  "
            f"ratio {statistics.median(ratios):.2f} (middle half {ratios[ROUNDS // 4]:.2f}–{ratios[3 * ROUNDS // 4]:.2f})"
        )


if __name__ == "__main__":
    main()

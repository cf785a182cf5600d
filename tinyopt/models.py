"""The few whole networks that lessons and benchmarks use; each a `Sequential`, so a file can rebuild it."""

import difflib

from tinyopt import backend
from tinyopt.nn import Conv2d, Flatten, Linear, MaxPool2d, ReLU, Sequential


def lenet_300_100(image_size=28, n_classes=10, rng=None):
    """Two hidden layers of 300 and 100 units: 266,610 parameters for 28×28 images.

    Shapes: (N, 1, image_size, image_size) or (N, image_size²) -> logits (N, n_classes).
    Source: LeCun, Bottou, Bengio & Haffner (1998), "Gradient-based learning applied to document
            recognition", Proc. IEEE 86(11), Section III. Differs: ReLU for the sigmoid, as later work.
    """
    rng = backend.generator(rng)
    return Sequential(
        flatten=Flatten(),
        fc1=Linear(image_size**2, 300, rng=rng),
        relu1=ReLU(),
        fc2=Linear(300, 100, rng=rng),
        relu2=ReLU(),
        fc3=Linear(100, n_classes, rng=rng),
    )


def lenet5(image_size=28, n_classes=10, filters=(20, 50), units=500, rng=None):
    """The LeNet-5 of the Caffe examples, on which compression is measured: 431,080 parameters for 28×28 images.

        conv 20 of 5×5 · pool 2 · conv 50 of 5×5 · pool 2 · 500 units · ReLU · 10 logits

    It has no activation after the convolutions but the maximum of the pooling. Images below 20 pixels
    are padded by 2, so that 8×8 digits fit. Other `filters` and `units` make smaller students.

    Shapes: (N, 1, image_size, image_size) -> logits (N, n_classes).
    Source: Jia et al. (2014), "Caffe", arXiv:1408.5093, examples/mnist; after LeCun et al. (1998).
    """
    rng = backend.generator(rng)
    padding = 2 if image_size < 20 else 0
    side = image_size
    for _ in filters:
        side = (side + 2 * padding - 4) // 2
    if side < 1:
        raise ValueError(f"lenet5 needs images of 4×4 or more; got {image_size}×{image_size}")
    return Sequential(
        conv1=Conv2d(1, filters[0], 5, padding=padding, rng=rng),
        pool1=MaxPool2d(2),
        conv2=Conv2d(filters[0], filters[1], 5, padding=padding, rng=rng),
        pool2=MaxPool2d(2),
        flatten=Flatten(),
        fc1=Linear(filters[1] * side**2, units, rng=rng),
        relu1=ReLU(),
        fc2=Linear(units, n_classes, rng=rng),
    )


MODELS = {"lenet5": lenet5, "lenet_300_100": lenet_300_100}


def make(name, **settings):
    """The model called `name`.

    Raises: ValueError that lists the names, and the nearest one.
    """
    if not isinstance(name, str) or name not in MODELS:
        near = difflib.get_close_matches(str(name), MODELS, n=1)
        guess = f". Did you mean {near[0]}?" if near else ""
        raise ValueError(f"no model is called {name!r}; there are {', '.join(MODELS)}{guess}")
    return MODELS[name](**settings)

"""The few whole networks that lessons and benchmarks use; each a `Sequential`, so a file can rebuild it."""

import difflib

from tinyopt import backend
from tinyopt.nn import AvgPool2d, BatchNorm2d, Conv2d, Flatten, Linear, MaxPool2d, ReLU, Residual, Sequential
from tinyopt.nn.layers import at_least_one


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


def resnet8(image_size=28, n_classes=10, width=16, rng=None):
    """The smallest residual network of its family, n = 1: 77,754 parameters.

        conv 3×3 · block of width · block of 2 width, stride 2 · block of 4 width, stride 2 · mean · logits
        block: ReLU(conv 3×3 · norm · ReLU · conv 3×3 · norm  +  shortcut)

    The shortcut is the identity, or a convolution of 1×1 where the shape changes; the mean is over the image.

    Shapes: (N, 1, image_size, image_size) -> logits (N, n_classes).
    Source: He, Zhang, Ren & Sun (2016), "Deep Residual Learning for Image Recognition", arXiv:1512.03385,
            Section 4.2 (6n + 2 layers).
    Differs: their shortcuts pad with zeros; ours project, their option B.
    """
    at_least_one(image_size=image_size, width=width)
    rng = backend.generator(rng)
    layers = {**_conv_norm("1", 1, width, 3, padding=1, rng=rng), "relu1": ReLU()}
    n_in = width
    for i, (n_out, stride) in enumerate([(width, 1), (2 * width, 2), (4 * width, 2)], start=1):
        body = Sequential(
            **_conv_norm("1", n_in, n_out, 3, stride, 1, rng=rng),
            relu1=ReLU(),
            **_conv_norm("2", n_out, n_out, 3, 1, 1, rng=rng),
        )
        alike = n_in == n_out and stride == 1
        shortcut = None if alike else Sequential(**_conv_norm("", n_in, n_out, 1, stride, rng=rng))
        layers |= {f"block{i}": Residual(body, shortcut), f"relu{i + 1}": ReLU()}
        n_in, image_size = n_out, -(-image_size // stride)
    return Sequential(**layers, pool=AvgPool2d(image_size), flatten=Flatten(), fc=Linear(n_in, n_classes, rng=rng))


def mobilenet_tiny(image_size=28, n_classes=10, width=1.0, rng=None):
    """Depthwise separable convolutions, in four blocks: 10,474 parameters at width 1.

        conv 3×3, 16 · blocks of 32 (stride 2), 32, 64 (stride 2) and 64 channels · mean over the image · logits
        block: depthwise 3×3 · norm · ReLU · pointwise 1×1 · norm · ReLU

    A depthwise filter reads one channel, a pointwise one all channels of one pixel: 9 C + C·C' products for
    each pixel, where a convolution of 3×3 takes 9 C·C'.

    Shapes: (N, 1, image_size, image_size) -> logits (N, n_classes).
    Units:  width multiplies all channel counts, which are rounded, to 1 at least.
    Raises: ValueError for a width of 0 or less.
    Source: Howard et al. (2017), "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
            Applications", arXiv:1704.04861, Section 3 (theirs has 13 blocks).
    """
    at_least_one(image_size=image_size)
    if not width > 0:
        raise ValueError(f"width multiplies the channel counts, and is above 0; got {width}")
    rng = backend.generator(rng)
    n_in = max(1, round(16 * width))
    layers = {**_conv_norm("1", 1, n_in, 3, padding=1, rng=rng), "relu1": ReLU()}
    for i, (channels, stride) in enumerate([(32, 2), (32, 1), (64, 2), (64, 1)], start=1):
        n_out = max(1, round(channels * width))
        layers[f"block{i}"] = Sequential(
            **_conv_norm("1", n_in, n_in, 3, stride, 1, groups=n_in, rng=rng),
            relu1=ReLU(),
            **_conv_norm("2", n_in, n_out, 1, rng=rng),
            relu2=ReLU(),
        )
        n_in, image_size = n_out, -(-image_size // stride)
    return Sequential(**layers, pool=AvgPool2d(image_size), flatten=Flatten(), fc=Linear(n_in, n_classes, rng=rng))


def _conv_norm(number, n_in, n_out, *args, **settings):
    """A convolution and the norm after it, which has the shift: {"conv1": ..., "norm1": ...}."""
    conv = Conv2d(n_in, n_out, *args, **settings, bias=False)
    return {f"conv{number}": conv, f"norm{number}": BatchNorm2d(n_out)}


MODELS = {"lenet5": lenet5, "lenet_300_100": lenet_300_100, "resnet8": resnet8, "mobilenet_tiny": mobilenet_tiny}


def make(name, **settings):
    """The model called `name`.

    Raises: ValueError that lists the names, and the nearest one.
    """
    if not isinstance(name, str) or name not in MODELS:
        near = difflib.get_close_matches(str(name), MODELS, n=1)
        guess = f". Did you mean {near[0]}?" if near else ""
        raise ValueError(f"no model is called {name!r}; there are {', '.join(MODELS)}{guess}")
    return MODELS[name](**settings)

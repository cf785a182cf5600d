"""The networks of `models.py` that surgery is for: sizes by counting, what a block computes, files, bad settings."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyopt
from tinyopt import data, measure, models, nn, optim, train


def count(model):
    return sum(parameter.size for parameter in model.parameters())


@settings(max_examples=5)
@given(width=st.integers(1, 9), n_classes=st.integers(1, 12), image_size=st.integers(1, 13))
def test_resnet8_has_the_parameters_and_products_that_a_count_gives(width, n_classes, image_size):
    model = models.resnet8(image_size, n_classes, width, rng=0)
    w, side = width, [image_size, (image_size + 1) // 2, ((image_size + 1) // 2 + 1) // 2]
    filters = [  # inputs, filters, pixels of a kernel, side of the output
        (1, w, 9, side[0]), (w, w, 9, side[0]), (w, w, 9, side[0]),
        (w, 2 * w, 9, side[1]), (2 * w, 2 * w, 9, side[1]), (w, 2 * w, 1, side[1]),
        (2 * w, 4 * w, 9, side[2]), (4 * w, 4 * w, 9, side[2]), (2 * w, 4 * w, 1, side[2]),
    ]  # fmt: skip
    assert count(model) == sum(i * o * k + 2 * o for i, o, k, _ in filters) + (4 * w + 1) * n_classes
    summary = measure.summary(model, (1, image_size, image_size))
    assert summary.macs == sum(i * o * k * s * s for i, o, k, s in filters) + 4 * w * n_classes
    assert sum(isinstance(m, (nn.Conv2d, nn.Linear)) for n, m in model.named_modules() if "shortcut" not in n) == 8


@settings(max_examples=5)
@given(width=st.floats(0.05, 1.5), image_size=st.integers(1, 13))
def test_mobilenet_tiny_has_the_parameters_and_products_that_a_count_gives(width, image_size):
    model = models.mobilenet_tiny(image_size, 10, width, rng=0)
    channels = [max(1, round(c * width)) for c in (16, 32, 32, 64, 64)]
    n_parameters, macs, side = channels[0] * (9 + 2), 9 * channels[0] * image_size**2, image_size
    for before, after, stride in zip(channels, channels[1:], (2, 1, 2, 1)):
        side = (side + stride - 1) // stride
        n_parameters += before * (9 + 2) + after * (before + 2)
        macs += side**2 * before * (9 + after)  # a depthwise filter for each channel, then one product for each pair
    assert count(model) == n_parameters + 10 * (channels[-1] + 1)
    assert measure.summary(model, (1, image_size, image_size)).macs == macs + 10 * channels[-1]
    depthwise = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    assert all(m.groups == m.in_channels == m.out_channels for m in depthwise)


def test_the_sizes_that_the_docstrings_say():
    assert count(models.make("resnet8")) == 77_754
    assert count(models.make("mobilenet_tiny")) == 10_474


@pytest.mark.parametrize("name", models.MODELS)
@pytest.mark.parametrize("side", [8, 28])
def test_digits_of_both_sizes_fit_and_a_file_rebuilds_the_network(name, side, tmp_path):
    model, x = models.make(name, image_size=side, rng=0).eval(), np.ones((2, 1, side, side), np.float32)
    assert model(x).shape == (2, 10)
    tinyopt.save(model, tmp_path / "model")
    assert np.array_equal(tinyopt.load(tmp_path / "model")(x).data, model(x).data)


def test_a_block_adds_its_input_or_its_projection_before_the_last_relu():
    model = models.resnet8(image_size=8, rng=0).eval()
    with measure.capture(model) as layers:
        model(np.random.default_rng(0).random((2, 1, 8, 8), dtype=np.float32))
    for block, before, after in (("block1", "relu1", "relu2"), ("block2", "relu2", "relu3")):
        shortcut = layers[before].output.data
        if block == "block2":
            weight = model.get("block2.shortcut.conv").weight.data[:, :, 0, 0]  # a product for every second pixel
            norm = model.get("block2.shortcut.norm")
            shortcut = np.einsum("oc,nchw->nohw", weight, shortcut[:, :, ::2, ::2]) / np.sqrt(1 + norm.eps)
        total = layers[f"{block}.body.norm2"].output.data + shortcut
        assert np.allclose(layers[after].output.data, np.maximum(total, 0), atol=1e-5)


@pytest.mark.parametrize("name, width", [("resnet8", 4), ("mobilenet_tiny", 0.5)])
def test_they_learn_a_hundred_digits(name, width):
    model, few = models.make(name, image_size=8, width=width, rng=0), data.digits().train.sample(100, rng=0)
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    history = train.fit(model, (few, None), epochs=8, batch_size=50, optimizer=optimizer, progress=False)
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]


def test_sizes_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="width is an integer of 1 or more; got 0"):
        models.resnet8(width=0)
    with pytest.raises(ValueError, match="width multiplies the channel counts, and is above 0; got -1"):
        models.mobilenet_tiny(width=-1)
    with pytest.raises(ValueError, match="image_size is an integer of 1 or more; got 2.5"):
        models.mobilenet_tiny(image_size=2.5)

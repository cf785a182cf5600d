"""Models in few bits: groups, one bit and mixed precision under masks, in state dicts and files; sizes of files."""

import copy
import os

import numpy as np
import pytest

from tinyopt import Tensor, codec, compress, files, models, nn, no_grad, optim
from tinyopt.errors import ShapeError

BATCH = Tensor(np.random.default_rng(0).random((5, 1, 8, 8), dtype=np.float32))
MIXED = {"conv1": 8, "conv2.weight": 1, "fc1": 3, "fc2": 16}
GROUPS = {"conv1": 5, "conv2": 20, "fc1": 8, "fc2": 10}
SETTINGS = {
    "one bit": {"bits": 1}, "one bit affine": {"bits": 1, "symmetric": False},
    "one bit for all": {"bits": 1, "per_channel": False}, "groups": {"bits": 4, "group_size": GROUPS},
    "groups affine": {"bits": 3, "group_size": 5, "symmetric": False},
    "one bit in groups": {"bits": 1, "group_size": 5, "symmetric": False}, "mixed": {"bits": MIXED},
    "mixed affine": {"bits": MIXED, "symmetric": False, "group_size": {"fc1": 40}},
}  # fmt: skip


def lenet5(**settings):
    return models.lenet5(image_size=8, filters=(4, 10), units=30, rng=0, **settings)


def logits(model):
    with no_grad():
        return model.eval()(BATCH.astype(next(iter(model.parameters())).dtype)).data


@pytest.mark.parametrize("pruned", [False, True])
@pytest.mark.parametrize("name", SETTINGS)
def test_each_weight_is_what_the_codec_says_and_survives_state_and_file(name, pruned, tmp_path):
    model, settings = lenet5(), SETTINGS[name]
    if pruned:
        compress.prune(model, 0.6, scope="layer")
    before = {key: p.read().data for key, p in model.named_parameters()}
    errors = compress.quantize(model, **settings)
    axis = 0 if settings.get("per_channel", True) else None
    for key, parameter in model.named_parameters():
        layer, after = key.removesuffix(".weight"), parameter.read().data
        if layer == key:  # a bias
            assert not parameter.views
            continue
        bits, groups = settings["bits"], settings.get("group_size")
        bits = bits.get(layer, bits.get(key)) if isinstance(bits, dict) else bits
        groups = groups.get(layer) if isinstance(groups, dict) else groups
        where = {"axis": axis, "group_size": groups}
        due = codec.dequantize(
            *codec.quantize(before[key], bits=bits, symmetric=settings.get("symmetric", True), **where), **where
        )
        mask = parameter.view(nn.Mask)
        due = due if mask is None else due * mask.keep
        assert (after == due).all() and errors[key] == abs(due - before[key]).max()

    again = lenet5()
    again.load_state_dict(model.state_dict())
    assert (logits(again) == logits(model)).all()
    for coding in ("packed", "huffman"):
        size = files.save(model, tmp_path / "model", coding=coding)
        loaded = files.load(tmp_path / "model", into=lenet5())
        assert (logits(loaded) == logits(model)).all() and (logits(copy.deepcopy(loaded)) == logits(model)).all()
        assert files.save(loaded, tmp_path / "again", coding=coding) == size
        assert (tmp_path / "again").read_bytes() == (tmp_path / "model").read_bytes()


@pytest.mark.parametrize("settings", [{"bits": 1}, {"bits": 3, "group_size": 5}])
def test_training_goes_on_under_groups_and_one_bit(settings, tmp_path):
    model = lenet5()
    compress.prune(model, 0.5)
    compress.quantize(model, **settings)
    optimizer, before = optim.Adam(model.parameters(), lr=0.05), model.get("fc1.weight").read().data
    for _ in range(5):
        optimizer.zero_grad()
        (model(BATCH) ** 2).mean().backward()
        optimizer.step()
    weight = model.get("fc1.weight")
    assert (weight.read().data != before).any() and (weight.read().data[~weight.view(nn.Mask).keep] == 0).all()
    files.save(model, tmp_path / "model")
    assert (logits(files.load(tmp_path / "model", into=lenet5())) == logits(model)).all()


def part_sizes(model, path):
    files.save(model, path)
    return {(name, part): size for name, _, part, size in files.ledger(path)}


@pytest.mark.parametrize("bits", range(1, 17))
def test_a_weight_of_b_bits_costs_b_bits_in_the_file(bits, tmp_path):
    for symmetric in (True, False):
        model = lenet5()
        compress.quantize(model, bits, symmetric=symmetric)
        parts = part_sizes(model, tmp_path / "model")
        for name, parameter in model.named_parameters():
            if name.endswith("weight"):
                assert parts[name, "integers"] == -(-parameter.size * bits // 8)
                assert parts[name, "scale"] == 4 * len(parameter.data)
                each = 32 if bits == 1 else bits  # a zero point of one bit's line is a float
                zeros = None if symmetric else -(-len(parameter.data) * each // 8)
                assert parts.get((name, "zero_point")) == zeros


def test_a_group_costs_a_scale(tmp_path):
    model = lenet5()
    compress.quantize(model, 4, group_size={"fc1": 8})
    parts = part_sizes(model, tmp_path / "model")
    size = model.get("fc1.weight").size
    assert parts["fc1.weight", "scale"] == 4 * size // 8 and parts["fc1.weight", "integers"] == size // 2
    assert parts["conv2.weight", "scale"] == 4 * 10  # not named: one a channel


def test_lenet5s_files_are_as_small_as_their_bits_say(tmp_path):
    path, sizes = tmp_path / "model", {}
    for bits in (32, 8, 4, 3, 2, 1):
        model = models.lenet5(rng=0)
        if bits < 32:
            compress.quantize(model, bits)
        files.save(model, path)
        sizes[bits] = os.path.getsize(path)
    shares = {bits: size / sizes[32] for bits, size in sizes.items()}
    assert shares[8] <= 0.27 and shares[4] <= 0.15 and shares[3] <= 0.115 and shares[2] <= 0.09 and shares[1] <= 0.06


def test_files_of_the_first_version_have_zero_points_of_32_bits(tmp_path):
    model = lenet5()
    compress.quantize(model, 3, symmetric=False)
    files.save(model, tmp_path / "model")
    header, blobs = codec.read_container(tmp_path / "model")
    for name, (_, stack) in header["tensors"].items():
        if stack[0][0] == "integers":
            del stack[0][1]["zero_point"]
            view = model.get(name).view(nn.Quantize)
            blobs[f"{name}/zero_point"] = view.zero_point.astype("<i4").tobytes()
    codec.write_container(tmp_path / "old", header, blobs)
    assert (logits(files.load(tmp_path / "old", into=lenet5())) == logits(model)).all()


def test_a_zero_point_beyond_the_integers_is_stored_too(tmp_path):
    for zero in (np.float32([[-200], [3], [5.0]]), np.float32(-100), np.float32([[0.25], [1], [1]])):
        net = nn.Linear(4, 3, rng=0)
        net.weight.attach(nn.Quantize(np.full_like(zero, 0.1), zero, 4, -8, 7))
        files.save(net, tmp_path / "model")
        assert (files.load(tmp_path / "model").weight.read().data == net.weight.read().data).all()


def test_layers_that_are_not_named_stay_and_float64_keeps_its_digits(tmp_path):
    model = lenet5().astype("float64")
    compress.quantize(model, {"fc1": 2}, group_size=8, symmetric=False)
    assert [name for name, p in model.named_parameters() if p.views] == ["fc1.weight"]
    files.save(model, tmp_path / "model")
    assert (logits(files.load(tmp_path / "model", into=lenet5().astype("float64"))) == logits(model)).all()


REFUSED = [
    ({"bits": 0}, ValueError, r"conv1.weight: quantize needs bits in 1\.\.16; got 0"),
    ({"bits": 17}, ValueError, r"conv1.weight: quantize needs bits in 1\.\.16; got 17"),
    ({"bits": {"fc1": 0}}, ValueError, "fc1.weight: .*got 0"),
    ({"bits": {"fc9": 4}}, ValueError, "called fc9; there are conv1.weight"),
    ({"group_size": 32}, ShapeError, r"conv1.weight: a group size divides.*25 numbers.*got 32.*do: 1, 5, 25$"),
    ({"group_size": {"fc1": 7}}, ShapeError, "fc1.weight: a group size divides.*got 7"),
    ({"group_size": {"fc9": 7}}, ValueError, "called fc9"),
]


@pytest.mark.parametrize("settings, error, sentence", REFUSED)
def test_what_cannot_be_is_refused_in_a_sentence_and_changes_nothing(settings, error, sentence):
    model = lenet5()
    with pytest.raises(error, match=sentence) as caught:
        compress.quantize(model, **settings)
    assert "\n" not in str(caught.value) and not any(p.views for p in model.parameters())


def test_a_scale_of_groups_must_fit_its_weight_and_surgery_refuses_it():
    weight = nn.Parameter(np.ones((4, 6), np.float32))
    for shape in ((3, 2, 1), (4, 5, 1)):
        with pytest.raises(ShapeError, match=r"rows in .* groups of one size; the weight has the shape \(4, 6\)"):
            weight.attach(nn.Quantize(np.ones(shape, "f4"), np.zeros(shape, "f4"), 4, -7, 7))
    model = models.lenet_300_100(image_size=8, rng=0)
    compress.quantize(model, 4, group_size=4)
    with pytest.raises(ValueError, match=r"cannot cut the view Quantize of fc\d.weight: call its bake\(\) first"):
        compress.remove(model, BATCH, {"fc1": [0]})

"""A model to one file and back: sizes are the file's, numbers come back bit for bit, bad files say so."""

import copy
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tinyopt import Tensor, codec, compress, files, models, nn, no_grad, storage
from tinyopt.errors import FormatError

BATCH = Tensor(np.random.default_rng(0).random((5, 1, 8, 8), dtype=np.float32))


def small(seed=0):
    return models.lenet_300_100(image_size=8, rng=seed)


def pruned():
    model = small()
    compress.prune(model, 0.9)
    return model


def shared():
    model = small()
    compress.share(model, 8)
    return model


def deep():
    model = pruned()
    compress.share(model, 8)
    return model


def quantized(**settings):
    model = small()
    compress.quantize(model, **settings)
    return model


def pruned_integers():
    model = pruned()
    compress.quantize(model, 4)
    return model


def low_rank():
    model = small()
    compress.factorize(model, {"fc1": 10, "fc2": 20})
    return model


def normalised():
    net = nn.Sequential(
        conv=nn.Conv2d(1, 4, 3, padding=1, rng=0), norm=nn.BatchNorm2d(4), relu=nn.ReLU(),
        block=nn.Residual(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, rng=1), nn.BatchNorm2d(4))),
        pool=nn.AvgPool2d(2), flat=nn.Flatten(), drop=nn.Dropout(0.3), fc=nn.Linear(64, 10, bias=False, rng=2),
    )  # fmt: skip
    net.train()
    net(BATCH)  # moves the running statistics
    return net


MODELS = {
    "dense": small, "lenet5": lambda: models.lenet5(image_size=8, rng=0), "pruned": pruned, "shared": shared, "deep": deep,
    "int8": quantized, "int3 affine": lambda: quantized(bits=3, symmetric=False), "one scale": lambda: quantized(per_channel=False),
    "pruned integers": pruned_integers, "low rank": low_rank, "normalised": normalised,
    "float64": lambda: small().astype("float64"), "int8 of float64": lambda: (lambda m: (compress.quantize(m), m)[1])(small().astype("float64")),
}  # fmt: skip


def logits(model):
    model.eval()
    with no_grad():
        return model(BATCH.astype(next(iter(model.parameters())).dtype)).data


@pytest.mark.parametrize("coding", ["packed", "huffman"])
@pytest.mark.parametrize("name", MODELS)
def test_a_model_comes_back_bit_for_bit_and_its_ledger_adds_up(tmp_path, name, coding):
    model, path = MODELS[name](), tmp_path / "model.top"
    size = files.save(model, path, coding=coding, notes={"seed": 0})
    again = files.load(path)
    assert np.array_equal(logits(again), logits(model))
    assert sum(row[-1] for row in files.ledger(path)) == os.path.getsize(path) == size
    assert files.notes(path) == {"seed": 0}
    assert [str(v) for v in dict(again.named_parameters())] == [str(v) for v in dict(model.named_parameters())]
    for (_, a), (_, b) in zip(again.named_parameters(), model.named_parameters()):
        assert [type(v) for v in a.views] == [type(v) for v in b.views]


def test_a_fresh_process_with_only_the_file_computes_bit_equal_logits(tmp_path):
    for name in ("deep", "int8", "low rank", "lenet5"):
        files.save(MODELS[name](), tmp_path / f"{name}.top")
    np.save(tmp_path / "batch.npy", BATCH.data)
    code = (
        "import sys, json, pathlib, numpy as np, tinyopt\n"
        "x = tinyopt.Tensor(np.load('batch.npy'))\n"
        "with tinyopt.no_grad():\n"
        "    print(json.dumps({p.stem: tinyopt.load(p)(x).data.tobytes().hex() for p in pathlib.Path().glob('*.top')}))"
    )
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    env = {**os.environ, "PYTHONPATH": root}
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    for name, hexed in json.loads(answer.stdout).items():
        assert bytes.fromhex(hexed) == logits(MODELS[name]()).tobytes(), name


def test_sizes_fall_as_they_should(tmp_path):
    sizes = {name: files.save(make(), tmp_path / "m.top") for name, make in MODELS.items()}
    assert sizes["int8"] < 0.28 * sizes["dense"]
    assert sizes["int3 affine"] < 0.13 * sizes["dense"]
    assert sizes["shared"] < 0.13 * sizes["dense"]  # 3 bits of 32
    assert sizes["pruned"] < 0.17 * sizes["dense"]
    assert sizes["deep"] < sizes["pruned"] < sizes["dense"]
    assert sizes["low rank"] < 0.5 * sizes["dense"]
    assert files.save(deep(), tmp_path / "m.top", coding="huffman") <= sizes["deep"]


def test_kinds_stand_in_the_ledger(tmp_path):
    for name, kind in [("deep", "sparse+codebook"), ("int8", "integers"), ("low rank", "factors"), ("dense", "dense")]:
        files.save(MODELS[name](), tmp_path / "m.top")
        kinds = {row[0]: row[1] for row in files.ledger(tmp_path / "m.top")}
        assert kind in (kinds.get("fc1.weight"), kinds.get("fc1.down"))


def test_a_loaded_model_can_be_trained_on_and_stays_masked(tmp_path):
    files.save(deep(), tmp_path / "m.top")
    model = files.load(tmp_path / "m.top").train()
    weight = model.get("fc1.weight")
    zeros = weight.read().data == 0
    model(BATCH).sum().backward()
    weight.data = weight.data - 0.1 * weight.grad
    assert weight.grad.shape == weight.data.shape and weight.data.ndim == 1  # the centroids
    assert (weight.read().data[zeros] == 0).all()


class MyNet(nn.Module):
    def __init__(self, units=7):
        self.inner = nn.Linear(64, units, rng=0)

    def forward(self, x):
        return self.inner(x.reshape(len(x), -1))


def test_own_classes_load_into_an_instance(tmp_path):
    path, model = tmp_path / "own.top", MyNet()
    compress.prune(model, 0.5)
    files.save(model, path)
    assert np.array_equal(logits(files.load(path, into=MyNet())), logits(model))
    with pytest.raises(FormatError, match=r"MyNet.*into=MyNet"):
        files.load(path)
    with pytest.raises(FormatError, match=r"inner.weight is \(7, 64\), should be \(9, 64\)"):
        files.load(path, into=MyNet(9))
    with pytest.raises(FormatError, match="lacks .*fc1.weight.*holds besides inner.weight"):
        files.load(path, into=small())
    compress.factorize(model, {"inner": 3})
    files.save(model, path)
    with pytest.raises(FormatError, match="layers were replaced.*do the same to a model first"):
        files.load(path, into=MyNet())
    instance = MyNet()
    compress.factorize(instance, {"inner": 3})
    assert np.array_equal(logits(files.load(path, into=instance)), logits(model))


def test_own_classes_may_have_the_names_of_tinyopts_and_unknown_layers_are_named(tmp_path):
    class Linear(MyNet):
        pass

    files.save(Linear(), tmp_path / "m.top")
    with pytest.raises(FormatError, match="holds a Linear, which is not tinyopt's own"):
        files.load(tmp_path / "m.top")
    files.save(nn.Sequential(act=nn.ReLU()), tmp_path / "m.top")
    header, blobs = codec.read_container(tmp_path / "m.top")
    header["model"][2]["act"][0] = "Swish"
    codec.write_container(tmp_path / "m.top", header, blobs)
    with pytest.raises(FormatError, match="layer 'Swish', which this tinyopt does not know. Update"):
        files.load(tmp_path / "m.top")


def test_a_new_storage_kind_registers_by_name(tmp_path, monkeypatch):
    class Doubled(nn.View):
        level = 1

        def __call__(self, x):
            return x * 2.0

    monkeypatch.setattr(storage, "STORAGE", dict(storage.STORAGE))

    @storage.storage("doubled")
    class DoubledKind(storage.kinds.Dense):
        view = Doubled

        @staticmethod
        def unpack(settings, parts, shape, keep):
            return storage.kinds.Dense.unpack(settings, parts, shape, keep)[0], Doubled()

    model = MyNet()
    model.inner.weight.attach(Doubled())
    files.save(model, tmp_path / "m.top")
    assert files.ledger(tmp_path / "m.top")[3][1] == "doubled"


@pytest.mark.parametrize("damage", ["empty", "foreign", "truncated", "flipped", "folder", "missing", "checkpoint"])
def test_bad_files_get_one_sentence(tmp_path, damage):
    path = tmp_path / "model.top"
    files.save(small(), path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    if damage == "checkpoint":
        codec.write_container(path, {"checkpoint": {}}, {})
    elif damage == "folder":
        path = tmp_path
    elif damage == "missing":
        path = tmp_path / "none.top"
    else:
        path.write_bytes(
            {"empty": b"", "foreign": b"PK\x03\x04 a zip", "truncated": data[:1000], "flipped": bytes(data)}[damage]
        )
    with pytest.raises(FileNotFoundError if damage == "missing" else FormatError) as failure:
        files.load(path)
    assert str(path) in str(failure.value) and "\n" not in str(failure.value)


def test_saving_to_a_missing_folder_says_so_and_leaves_nothing(tmp_path):
    with pytest.raises(FileNotFoundError, match="cannot write"):
        files.save(small(), tmp_path / "none" / "m.top")
    with pytest.raises(ValueError, match="coding"):
        files.save(small(), tmp_path / "m.top", coding="zip")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("model", [MyNet, "model.top", None])
def test_what_is_no_model_is_refused_in_a_sentence(tmp_path, model):
    sentence = r"takes a model.*got.*Make one: MyNet\(\)" if model is MyNet else f"takes a model.*got {model!r}"
    with pytest.raises(TypeError, match=sentence):
        files.save(model, tmp_path / "m.top")
    files.save(MyNet(), tmp_path / "m.top")
    if model is not None:
        with pytest.raises(TypeError, match=sentence):
            files.load(tmp_path / "m.top", into=model)


def test_weights_in_another_order_of_memory_give_bit_equal_logits(tmp_path):
    model = small()
    for name in ("fc1.weight", "fc2.weight"):
        model.get(name).data = np.asfortranarray(model.get(name).data)
    files.save(model, tmp_path / "m.top")
    assert np.array_equal(logits(files.load(tmp_path / "m.top")), logits(model))


def test_every_layer_of_a_sequential_is_rebuilt(tmp_path):
    files.save(nn.Sequential(fc=nn.Linear(2, 2), add=nn.Add(), last=nn.Residual(nn.ReLU())), tmp_path / "m.top")
    assert [type(layer) for layer in files.load(tmp_path / "m.top")] == [nn.Linear, nn.Add, nn.Residual]


def test_saving_leaves_the_model_alone(tmp_path):
    model = deep()
    before = copy.deepcopy(model)
    files.save(model, tmp_path / "m.top")
    assert np.array_equal(logits(model), logits(before))

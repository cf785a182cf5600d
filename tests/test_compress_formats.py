"""Weights of a model in small floats, NF4 and chosen levels: what layers see, what the file holds, what is refused."""

import copy
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyopt import Tensor, checkpoint, compress, files, nn, optim
from tinyopt.codec.floats import FORMATS, levels
from tinyopt.compress.formats import METHODS, quantize_levels, store_as
from tinyopt.errors import FormatError, ShapeError
from tinyopt.nn.formats import Format

BATCH = Tensor(np.random.default_rng(0).random((5, 1, 8, 8), dtype=np.float32))
WIDTH = {"fp16": 16, "bf16": 16, "fp8_e4m3": 8, "fp8_e5m2": 8, "fp4_e2m1": 4, "nf4": 4}


def small():
    rng = np.random.default_rng(0)
    return nn.Sequential(
        flatten=nn.Flatten(), fc1=nn.Linear(64, 40, rng=rng), relu1=nn.ReLU(),
        fc2=nn.Linear(40, 20, rng=rng), relu2=nn.ReLU(), fc3=nn.Linear(20, 10, rng=rng),
    )  # fmt: skip


def same_when_loaded(model, path, coding="packed"):
    """Save, load, compare every bit of what layers see, but the sign of a pruned zero; the file's size."""
    n_bytes = files.save(model, path, coding=coding)
    assert n_bytes == os.path.getsize(path)
    again = files.load(path)
    for (name, here), (_, there) in zip(model.named_parameters(), again.named_parameters()):
        assert [type(v) for v in here.views] == [type(v) for v in there.views]
        a, b = here.read().data, there.read().data
        if here.view(nn.Mask) is not None:
            a, b = a + 0.0, b + 0.0
        assert a.dtype == b.dtype and a.tobytes() == b.tobytes(), name
    return n_bytes


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("how", [{}, {"per_channel": False}, {"group_size": 4}])
def test_each_weight_is_a_number_of_the_format_times_its_scale_and_none_is_nearer(name, how):
    model = small()
    before = {k: p.data for k, p in model.named_parameters()}
    errors = store_as(model, name, **how)
    for k, parameter in model.named_parameters():
        view = parameter.view(Format)
        assert (view is None) == k.endswith("bias")
        if view is None:
            continue
        weight = before[k].reshape(-1, 4) if view.scale.ndim == 3 else before[k].reshape(len(before[k]), -1)
        scale = view.scale.reshape(-1, 1)
        assert FORMATS[name].bits < 16 or (scale == 1).all()
        seen, held = parameter.read().data.reshape(weight.shape), np.unique(abs(levels(name)).astype(np.float64))
        held = levels(name).astype(np.float64) if name == "nf4" else np.union1d(-held, held)
        right = np.clip(np.searchsorted(held, weight / scale), 1, len(held) - 1)
        nearest = np.minimum(abs(held[right] * scale - weight), abs(held[right - 1] * scale - weight))
        np.testing.assert_allclose(abs(seen - weight), nearest, atol=1e-7)
        assert errors[k] == abs(seen - weight).max()


@pytest.mark.parametrize("coding", ["packed", "huffman"])
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("how", ["channel", "group", "mask", "float64"])
def test_the_file_gives_back_every_bit_and_holds_as_many_as_the_format_says(name, how, coding, tmp_path):
    model = small().astype("float64") if how == "float64" else small()
    if how == "mask":
        compress.prune(model, 0.8, scope="layer")
    store_as(model, name, group_size=4 if how == "group" else None)
    n_bytes = same_when_loaded(model, tmp_path / "model.top", coding)
    rows = [row for row in files.ledger(tmp_path / "model.top") if row[2] == "codes"]
    assert {row[1] for row in rows} == {"sparse+format" if how == "mask" else "format"}
    n_stored = [int(p.view(nn.Mask).keep.sum()) if how == "mask" else p.size for p in model.parameters() if p.views]
    got, due = sum(row[3] for row in rows), sum(-(-n * WIDTH[name] // 8) for n in n_stored)
    assert got == due if coding == "packed" else 0 < got <= due
    assert n_bytes > got


def test_the_loaded_model_goes_on_as_the_one_that_was_saved(tmp_path):
    model = small()
    store_as(model, "nf4", group_size={"fc1": 64})
    assert model.get("fc1.weight").view(Format).scale.shape == (40, 1, 1)
    assert model.get("fc2.weight").view(Format).scale.shape == (20, 1)
    twin = small()
    twin.load_state_dict(model.state_dict())
    assert np.array_equal(twin.eval()(BATCH).data, model.eval()(BATCH).data)
    assert np.array_equal(copy.deepcopy(model)(BATCH).data, model(BATCH).data)
    checkpoint.save_state(tmp_path / "state.top", model.state_dict())
    resumed = small()
    resumed.load_state_dict(checkpoint.load_state(tmp_path / "state.top"))
    assert np.array_equal(resumed.eval()(BATCH).data, model(BATCH).data)
    model.get("fc1.weight").bake()
    assert np.array_equal(twin(BATCH).data, model(BATCH).data)


def test_a_damaged_file_is_refused(tmp_path):
    model = small()
    store_as(model, "nf4")
    header = {"format": "nf4", "scale": [1, 1, 1]}
    with pytest.raises(FormatError, match="take 2 bytes; got 1"):
        files.unpack([["format", header]], {"codes": b"1", "scale": b"1234"}, (4,))
    with pytest.raises(FormatError, match="1 numbers of <f4 are due; got 3 bytes"):
        files.unpack([["format", header]], {"codes": b"12", "scale": b"123"}, (4,))


def test_the_gradient_passes_inside_the_range_and_half_a_step_beyond():
    parameter = nn.Parameter(np.float32([0.3, -6, 6.9, 7.1, -20]))
    parameter.attach(Format(np.float32(1), "fp4_e2m1"))
    assert parameter.read().data.tolist() == [0.5, -6, 6, 6, -6]
    (parameter * 2.0).sum().backward()
    assert parameter.grad.tolist() == [2, 2, 2, 0, 0]


def test_training_goes_on_under_a_format():
    net = nn.Linear(64, 3, rng=0)
    store_as(net, "fp4_e2m1", group_size=16)
    optimizer, losses = optim.SGD(net.parameters(), lr=0.1), []
    for _ in range(20):
        optimizer.zero_grad()
        loss = ((net(BATCH.reshape(5, 64)) - 1.0) ** 2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    ratio = net.weight.read().data.reshape(3, 4, 16) / net.weight.view(Format).scale
    assert np.allclose(abs(ratio.reshape(-1, 1) - levels("fp4_e2m1")).min(axis=1), 0, atol=1e-5)


# --- chosen levels --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pruned", [False, True])
@given(bits=st.integers(2, 5))
def test_each_weight_takes_the_nearest_of_at_most_2_to_the_bits_levels(method, pruned, bits):
    model = nn.Sequential(nn.Linear(9, 7, rng=bits))
    if pruned:
        compress.prune(model, 0.5)
    weight = model.get("0.weight")
    before, chosen = weight.read().data, None
    keep = before != 0
    errors = quantize_levels(model, bits, method=method)
    chosen, after = weight.data, weight.read().data
    assert len(chosen) <= 2**bits and ((after == 0) >= ~keep).all()
    distances = abs(before[keep][:, None] - METHODS[method](before[keep], bits))
    assert np.allclose(abs(after - before)[keep], distances.min(axis=1), atol=1e-6)
    assert np.isclose(errors["0.weight"], ((after - before) ** 2).sum())
    assert set(np.unique(weight.view(nn.Codebook).labels[keep])) == set(range(len(chosen)))  # all are used


@pytest.mark.parametrize("method", METHODS)
def test_chosen_levels_come_back_from_a_file_in_so_many_bits(method, tmp_path):
    model = small()
    quantize_levels(model, {"fc1": 3, "fc2": 4}, method=method)
    same_when_loaded(model, tmp_path / "model.top")
    sizes = {row[0]: row[3] for row in files.ledger(tmp_path / "model.top") if row[2] == "codebook"}
    assert sizes["fc1.weight"] <= 40 * 64 * 3 / 8 + 8 * 4 + 2 and sizes["fc2.weight"] <= 40 * 20 * 4 / 8 + 16 * 4 + 2


def test_kmeans_makes_the_smallest_error_of_the_three_and_a_pruned_layer_is_left_zero():
    errors = {}
    for method in METHODS:
        model = small()
        errors[method] = sum(quantize_levels(model, 3, method=method).values())
    assert errors["kmeans"] == min(errors.values()) and errors["power_of_two"] == max(errors.values())
    model = nn.Linear(3, 2, rng=0)
    model.weight.prune(np.zeros((2, 3), bool))
    for method in METHODS:
        quantize_levels(model, 3, method=method)
        assert not model.weight.read().data.any()
        model.weight.bake()


# --- what is refused ------------------------------------------------------------------------------


def spoiled(value):
    model = small()
    weight = model.get("fc2.weight").data.copy()
    weight[3, 4] = value
    model.get("fc2.weight").data = weight
    return model


def after(technique, *arguments):
    model = small()
    technique(model, *arguments)
    return model


WRONG = [
    (small, lambda m: store_as(m, "fp8"), ValueError, "^a format is one of.*got 'fp8'. Did you mean 'fp8_e"),
    (lambda: spoiled(np.nan), lambda m: store_as(m, "nf4"), ValueError, "fc2.weight: .*1 of 800 are NaN or Inf"),
    (lambda: spoiled(np.inf), lambda m: store_as(m, "fp16"), ValueError, "fc2.weight: .*1 of 800 are NaN or Inf"),
    (lambda: spoiled(70_000), lambda m: store_as(m, "fp16"), ValueError, "up to 65,504; .* 70,000. bf16 reaches"),
    (small, lambda m: store_as(m, "nf4", group_size=64), ShapeError, "fc2.weight: .*40 numbers.*got 64. Those that do"),
    (small, lambda m: store_as(m, "nf4", group_size={"fc9": 64}), ValueError, "is called fc9"),
    (lambda: after(compress.quantize), lambda m: store_as(m, "nf4"), ValueError, r"fc1.weight: .*one way.*bake\(\)"),
    (lambda: after(compress.share), lambda m: store_as(m, "nf4"), ValueError, r"fc1.weight: .*one way.*bake\(\)"),
    (lambda: after(store_as, "nf4"), quantize_levels, ValueError, r"one way; fc1.weight is rounded already: bake\(\)"),
    (lambda: after(compress.quantize), quantize_levels, ValueError, r"one way; fc1.weight is rounded already"),
    (lambda: spoiled(np.nan), quantize_levels, ValueError, "finite weights; fc2.weight holds NaN"),
    (small, lambda m: quantize_levels(m, 0), ValueError, r"bits in 1\.\.16; got 0 for fc1.weight"),
    (small, lambda m: quantize_levels(m, 17), ValueError, r"bits in 1\.\.16; got 17"),
    (small, lambda m: quantize_levels(m, {"fc2": 1}, method="power_of_two"), ValueError, r"bits in 2\.\.8; got 1"),
    (small, lambda m: quantize_levels(m, method="k-means"), ValueError, "method is one of kmeans.*got 'k-means'"),
]


@pytest.mark.parametrize("make, technique, error, sentence", WRONG)
def test_what_cannot_be_done_is_refused_in_a_sentence_and_changes_nothing(make, technique, error, sentence):
    model = make()
    before = {name: array.copy() for name, array in model.state_dict().items()}
    with pytest.raises(error, match=sentence):
        technique(model)
    now = model.state_dict()
    assert now.keys() == before.keys()
    assert all(before[name].tobytes() == now[name].tobytes() for name in before)


@pytest.mark.parametrize("shape", [(3, 1, 1), (4,), (2,), (2, 4), (2, 3, 1)])
def test_a_scale_that_does_not_fit_its_weight_is_refused(shape):
    with pytest.raises(ShapeError, match=r"(O, G, 1).* for a weight \(2, 4\)"):
        nn.Parameter(np.ones((2, 4), np.float32)).attach(Format(np.ones(shape, np.float32), "nf4"))

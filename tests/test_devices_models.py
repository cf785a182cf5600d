"""Whole networks on another device: training, compressing, measuring, saving. See `test_devices.py`."""

import importlib
import pathlib

import numpy as np
import pytest
from device_cases import IMAGES, X, Y, assert_runs_alike, assert_same, no_transfers
from standin import device, standin  # noqa: F401 (fixtures)

import tinyopt
from tinyopt import backend, compress, losses, measure, models, nn, optim, train
from tinyopt.data import DataLoader
from tinyopt.errors import TrainingDiverged
from tinyopt.tensor import Tensor

DIGITS, LABELS = np.resize(IMAGES, (12, 1, 8, 8)), np.arange(12) % 5


def small_network():
    """Every kind of layer that a device can get wrong, in a few hundred weights."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, rng=0), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Residual(nn.Conv2d(4, 4, 3, padding=1, groups=2, rng=1)), nn.AvgPool2d(2), nn.Dropout(0.0),
        nn.Flatten(), nn.Linear(16, 8, rng=2), nn.ReLU(), nn.Linear(8, 5, rng=3),
    )  # fmt: skip


def arrays_of(model):
    return {name: backend.to_host(array) for name, array in model.state_dict().items()}


def devices_of(model):
    """Where the parameters, the arrays of their views and the buffers lie."""
    arrays = [p.data for p in model.parameters()] + [array for _, array in model.named_buffers()]
    arrays += [getattr(view, field) for p in model.parameters() for view in p.views for field in view.fields]
    return {backend.device_of(array).name for array in arrays}


def assert_same_state(model, expected):
    got, expected = arrays_of(model), arrays_of(expected)
    assert list(got) == list(expected)
    assert_same(list(got.values()), list(expected.values()))


NETWORKS = {
    "lenet5": lambda: models.lenet5(image_size=8, filters=(3, 4), units=6, rng=0),
    "lenet_300_100": lambda: models.lenet_300_100(image_size=8, rng=0),
    "small": small_network,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_training_step_transfers_nothing_but_the_loss(name, device):
    def run(where, transfers=None):
        model = NETWORKS[name]().to(where)
        optimizer = optim.Adam(model.parameters(), lr=0.01)
        x, target = Tensor(DIGITS).to(where), Tensor(LABELS).to(where)
        for _ in range(2):
            with no_transfers(transfers):
                optimizer.zero_grad()
                loss = losses.cross_entropy(model(x), target)
                loss.backward()
                optimizer.step()
        return model, loss.item()

    (here, loss_here), (there, loss_there) = run("cpu"), run(device.name, device.transfers)
    assert (device.transfers.to_host, device.transfers.to_device) == (1, 0)  # item() after the last step
    assert loss_there == pytest.approx(loss_here, rel=1e-5)
    assert_same_state(there, here)


def test_fit_moves_only_the_loss_of_each_step_and_goes_on_from_a_checkpoint(device, tmp_path):
    class Watch:
        def before_epoch(self, run):
            self.before = None

        def after_step(self, run):
            now = (device.transfers.to_host, device.transfers.to_device)
            if self.before is not None:
                assert now == (self.before[0] + 1, self.before[1])
            self.before = now

    def run(where, epochs, callbacks=(), path=None):
        model = small_network()
        history = train.fit(
            model, ((DIGITS, LABELS), (DIGITS, LABELS)), epochs=epochs, batch_size=5, device=where,
            callbacks=callbacks, schedule=train.cosine, patience=5, checkpoint=path, progress=False,
        )  # fmt: skip
        return model, history

    here, expected = run("cpu", 2)
    there, history = run(device.name, 2, [Watch()])
    assert_same_state(there, here)
    assert [row["accuracy"] for row in history] == [row["accuracy"] for row in expected]
    assert history[-1]["val_loss"] == pytest.approx(expected[-1]["val_loss"], rel=1e-4)
    first, _ = run(device.name, 1, path=tmp_path / "run.ckpt")
    assert first.get("0").weight.device == device.name
    resumed, rows = run(device.name, 1, path=tmp_path / "run.ckpt")
    assert len(rows) == 1 and arrays_of(resumed).keys() == arrays_of(first).keys()
    assert all(np.array_equal(a, b) for a, b in zip(arrays_of(resumed).values(), arrays_of(first).values()))


def test_a_label_without_a_logit_is_refused_though_the_device_would_wrap_it_round(device):
    labels = LABELS + 100
    with pytest.raises(ValueError, match=r"labels must lie in \[0, \d+\), one for each logit.*got 10\d"):
        train.fit(small_network(), ((DIGITS, labels), None), epochs=1, device=device.name, progress=False)


def test_a_loss_that_is_not_a_number_is_traced_to_its_layer(device):
    model = small_network()
    model.get("8").weight.data = model.get("8").weight.data * np.float32(np.inf)
    with np.errstate(invalid="ignore"), pytest.raises(TrainingDiverged, match="8.weight"):
        train.fit(model, ((DIGITS, LABELS), None), epochs=1, device=device.name, progress=False)


def test_the_loader_makes_its_batches_on_the_device(device):
    here, there = (DataLoader((DIGITS, LABELS), 5, shuffle=True, device=d) for d in ("cpu", device.name))
    device.transfers.reset()
    batches = list(there)
    assert (device.transfers.to_host, device.transfers.to_device) == (0, 1)  # the epoch's order
    for got, expected in zip(batches, here, strict=True):
        assert all(t.device == device.name for t in got)
        assert all(np.array_equal(a.numpy(), b.numpy()) for a, b in zip(got, expected))


def test_a_model_goes_there_and_back(device):
    model = small_network()
    losses.cross_entropy(model(Tensor(DIGITS)), LABELS).backward()
    model.get("8").weight.prune(np.arange(128).reshape(8, 16) % 3 > 0)
    bytes_before = {name: array.tobytes() for name, array in arrays_of(model).items()}
    expected = model.eval()(Tensor(DIGITS)).numpy()
    model.to(device.name)
    assert devices_of(model) == {device.name}
    there = model(Tensor(DIGITS).to(device.name))
    assert there.device == device.name
    assert_same([there.numpy()], [expected])
    model.to("cpu")
    assert {name: array.tobytes() for name, array in arrays_of(model).items()} == bytes_before


# --- compressing --------------------------------------------------------------------------------


def on_a_model(change):
    """A case: change a network where it lies, train one step under its views, and give it back."""

    def run(where):
        model = small_network().to(where)
        change(model)
        x, target = Tensor(DIGITS).to(where), Tensor(LABELS).to(where)
        losses.cross_entropy(model(x), target).backward()
        optim.SGD(model.parameters(), lr=0.1, momentum=0.9).step()
        assert devices_of(model) == {where}
        return [*model.state_dict().values(), model.eval()(x).data]

    return run


def on_arrays(function):
    """A case: a function of uploaded arrays that returns a list of arrays."""
    return lambda where: function(*(backend.to_device(array, where) for array in (X, Y)))


def distill(where):
    student = nn.Sequential(nn.Flatten(), nn.Linear(64, 5, rng=4)).to(where)
    objective = compress.taught_by(small_network().to(where), temperature=2.0)
    loss, logits = objective(student, Tensor(DIGITS).to(where), Tensor(LABELS).to(where))
    loss.backward()
    return [loss.data, logits.data, *(p.grad for p in student.parameters())]


CUT = {"0": [0, 2]}


def on(where):
    return Tensor(DIGITS).to(where)


def answers_of(model, where):
    assert devices_of(model) == {where}
    return [model.eval()(on(where)).data]


COMPRESS_CASES = {
    "distillation_loss": on_arrays(
        lambda x, y: [compress.distillation_loss(Tensor(x), Tensor(y), y.argmax(axis=1)).data]
    ),
    "factorize": on_a_model(lambda model: compress.factorize(model, {"8": 3})),
    # runs on the host, where `share` moves the weights
    "cubic_sparsity": lambda where: [np.float64(compress.cubic_sparsity(3, 0, 9, 0.0, 0.9))],
    "energy_sweep": lambda where: [
        np.array([cut.parameters for cut in compress.energy_sweep(small_network().to(where), [0.5, 0.9], (1, 8, 8))])
    ],
    "freeze": on_a_model(lambda model: compress.freeze(model, but=["8"])),
    "groups_of": lambda where: [
        np.array([group.n_channels for group in compress.groups_of(small_network().to(where), on(where))])
    ],
    "exact_kmeans": lambda where: list(compress.exact_kmeans(X.ravel(), 3)),  # on the host, too
    "largest_saving_rank": lambda where: [np.float64(compress.largest_saving_rank((8, 6)))],
    "lloyd_step": lambda where: list(compress.lloyd_step(np.sort(X, axis=None), np.sort(Y, axis=None)[:3])),  # on the host
    "masked": lambda where: answers_of(compress.masked(small_network().to(where), on(where), CUT), where),
    "prune_channels": lambda where: answers_of(
        compress.prune_channels(small_network().to(where), on(where), {"0": np.arange(4.0)}, 0.5), where
    ),
    "rank_sweep": on_arrays(lambda x, y: [np.array([cut.squared_error for cut in compress.rank_sweep(x)])]),
    "remove": lambda where: answers_of(compress.remove(small_network().to(where), on(where), CUT), where),
    "soften": on_arrays(lambda x, y: [compress.soften(x, 3.0)]),
    "sparsify": on_a_model(lambda model: (compress.prune(model, 0.5), compress.sparsify(model, layout="csr"))),
    "top_mask": on_arrays(lambda x, y: [compress.top_mask(x, 0.4)]),
    "transfer": lambda where: answers_of(compress.transfer(small_network().to(where), 3, rng=0), where),
    "kmeans": on_a_model(lambda model: compress.share(model, 5, start="density")),
    "magnitude_mask": on_arrays(lambda x, y: [compress.magnitude_mask(x, sparsity=0.4)]),
    "prune": on_a_model(lambda model: [compress.prune(model, 0.6, scope=s) for s in ("global", "layer")]),
    "quantize": on_a_model(lambda model: compress.quantize(model, bits=4, symmetric=False)),
    "rank_for_energy": on_arrays(lambda x, y: [np.float64(compress.rank_for_energy(x, 0.9))]),
    "share": on_a_model(lambda model: (compress.prune(model, 0.5), compress.share(model, 4))),
    "taught_by": distill,
    "truncated_svd": on_arrays(lambda x, y: [np.matmul(*compress.truncated_svd(x, 2))]),
}


def test_every_technique_has_a_case():
    files = pathlib.Path(__file__).parent.glob("test_devices_*.py")
    tables = [getattr(importlib.import_module(path.stem), "CASES", {}) for path in files]
    covered = {word for table in tables for case in table for word in case.split()}  # "gptq in groups" is one of gptq
    assert set(COMPRESS_CASES) <= set(compress.__all__) <= covered | set(COMPRESS_CASES)


@pytest.mark.parametrize("name", COMPRESS_CASES)
def test_a_technique_gives_the_same_numbers_there(name, device):
    assert_runs_alike(COMPRESS_CASES[name], device)


# --- measuring and saving -----------------------------------------------------------------------


def test_every_measurement_reads_a_model_there(device):
    here, there = small_network(), small_network().to(device.name)
    part = (DIGITS, LABELS)
    assert str(measure.summary(there, (1, 8, 8))) == str(measure.summary(here, (1, 8, 8)))
    assert np.array_equal(measure.evaluate(there, part).confusion, measure.evaluate(here, part).confusion)
    comparison = measure.compare(measure.evaluate(here, part), measure.evaluate(there, part))
    assert comparison.difference == 0
    x_here, x_there = Tensor(DIGITS), Tensor(DIGITS).to(device.name)
    kinds = [[step.kind for step in measure.trace(*pair)] for pair in ((here, x_here), (there, x_there))]
    assert kinds[0] == kinds[1]
    with measure.capture(there, gradients=True) as layers:
        losses.cross_entropy(there(x_there), Tensor(LABELS).to(device.name)).backward()
    assert layers["0"].output.device == device.name == backend.device_of(layers["0"].grad).name
    assert measure.latency(there, x_there, repeats=2).seconds > 0


@pytest.mark.parametrize("technique", ["dense", "prune", "share", "quantize", "factorize"])
def test_a_file_holds_the_same_bytes_whichever_device_saved_it(technique, device, tmp_path):
    def saved(where):
        model = small_network().to(where)
        settings = {"prune": 0.5, "share": 4, "quantize": 8, "factorize": {"8": 3}}
        if technique != "dense":
            getattr(compress, technique)(model, settings[technique])
        tinyopt.save(model, tmp_path / where, coding="huffman")
        return model

    saved("cpu"), saved(device.name)
    if technique != "factorize":  # a GPU's singular vectors differ in the last digits
        assert (tmp_path / device.name).read_bytes() == (tmp_path / "cpu").read_bytes()
    here, there = tinyopt.load(tmp_path / device.name), tinyopt.load(tmp_path / "cpu", device=device.name)
    assert there.get("0").weight.device == device.name
    assert_same([there(Tensor(DIGITS).to(device.name)).numpy()], [here(Tensor(DIGITS)).numpy()])

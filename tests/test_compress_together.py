"""Techniques one after the other: what works together is saved, loaded and accounted for; what does not is told."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyopt
from tinyopt import compress, files, measure, models, optim
from tinyopt.losses import cross_entropy

IMAGES = np.random.default_rng(0).random((8, 1, 8, 8), dtype=np.float32)
LABELS = np.arange(8) % 10
NETS = {
    "lenet_300_100": lambda: models.lenet_300_100(8, rng=0),
    "lenet5": lambda: models.lenet5(8, filters=(4, 8), units=20, rng=0),
    "resnet8": lambda: models.resnet8(8, width=4, rng=0),
    "mobilenet_tiny": lambda: models.mobilenet_tiny(8, width=0.5, rng=0),
}


def trained(model, steps=2):
    """Some steps of training: what is stored together must stay together, what is pruned must stay away."""
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(model(IMAGES), LABELS).backward()
        optimizer.step()
    return model.eval()


def same_from_its_file(model, folder):
    """The size of its file, to whose last byte the ledger adds up, and which answers as the model does."""
    path = folder / "model.top"
    tinyopt.save(model, path)
    assert sum(n_bytes for *_, n_bytes in files.ledger(path)) == os.path.getsize(path)
    with measure.inference(model), measure.inference(loaded := tinyopt.load(path)):
        assert np.array_equal(loaded(IMAGES).data, model(IMAGES).data)
    return os.path.getsize(path)


def factor(model):
    sizes = [p.size * p.dtype.itemsize for p in model.parameters() if p.ndim > 1]
    return compress.factorize_to(model, 0.6 * sum(sizes))


STEPS = {  # each changes a model in place
    "factor": factor,
    "prune": lambda model: compress.prune(model, 0.5, scope="layer"),
    "share": lambda model: compress.share(model, 4),
    "hash": lambda model: compress.hash_weights(model, 0.25, rng=0),
    "quantize": lambda model: compress.quantize(model, 4),
    "adapt": lambda model: compress.add_adapters(model, 1, rng=0),
}


@pytest.mark.parametrize("name", NETS)
def test_factor_then_prune_then_share(name, tmp_path):
    model = NETS[name]()
    sizes = [same_from_its_file(trained(model), tmp_path)]
    for step in ("factor", "prune", "share"):
        STEPS[step](model)
        sizes.append(same_from_its_file(trained(model), tmp_path))
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] < 0.35 * sizes[0], sizes
    for _, parameter in model.named_parameters():
        weight = parameter.read().data
        if parameter.views:  # the survivors have four values, and half of each weight is away
            assert len(np.unique(weight[weight != 0])) <= 4 and abs((weight == 0).mean() - 0.5) < 0.26


@settings(max_examples=15)
@given(name=st.sampled_from(sorted(NETS)), steps=st.permutations(sorted(STEPS)).map(lambda order: order[:3]))
def test_any_order_works_or_says_why_not_and_leaves_the_model(name, steps, tmp_path_factory):
    model, folder = NETS[name](), tmp_path_factory.mktemp("order")
    trained(model)
    for step in steps:
        before = [array.copy() for array in model.state_dict().values()]
        try:
            STEPS[step](model)
        except ValueError as told:
            assert 20 < len(str(told)) < 400 and all(map(np.array_equal, before, model.state_dict().values()))
            continue
        trained(model, 1)
        same_from_its_file(model, folder)


def test_what_is_fused_after_all_of_it_answers_as_before(tmp_path):
    for name, make in NETS.items():
        model = trained(make())
        for step in ("factor", "prune", "share"):
            STEPS[step](model)
        fused, _ = compress.fuse(model.eval(), IMAGES[:1])
        with measure.inference(model), measure.inference(fused):
            assert np.allclose(fused(IMAGES).data, model(IMAGES).data, atol=1e-5), name
        same_from_its_file(fused, tmp_path)

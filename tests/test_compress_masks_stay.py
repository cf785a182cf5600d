"""What is pruned stays pruned: 1,000 steps of every optimizer, under integers and codebooks, in state and file."""

import copy

import numpy as np
import pytest

import tinyopt
from tinyopt import Tensor, compress, nn, optim
from tinyopt.compress.dynamic import sparse_start
from tinyopt.compress.patterns import prune_blocks, prune_n_m

KINDS = {"plain": [nn.Mask], "rounded": [nn.Quantize, nn.Mask], "shared": [nn.Codebook, nn.Mask]}
OPTIMIZERS = [
    ("GD", {"lr": 0.01}),
    ("SGD", {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.01, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("Adagrad", {"lr": 0.01, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.1}),
    ("Adadelta", {"weight_decay": 0.1}),
    ("Adam", {"weight_decay": 0.1}),
    ("AdamW", {"weight_decay": 0.1}),
]


class ThreeWays(nn.Module):
    """One input, three layers: only masked, masked and quantized, masked and shared."""

    def __init__(self, rng=0):
        rng = np.random.default_rng(rng)
        self.plain, self.rounded, self.shared = (nn.Linear(4, 3, bias=False, rng=rng) for _ in KINDS)

    def forward(self, x):
        return self.plain(x) + self.rounded(x) + self.shared(x)


def compressed():
    """Pruned while the optimizer has a past, then rounded and shared: {layer: mask}."""
    model = ThreeWays()
    masks = compress.prune(model, 0.5, scope="layer")
    compress.quantize(model, 4, skip=("plain", "shared"))
    compress.share(model, 3, skip=("plain", "rounded"))
    return model, masks


def assert_masked(model, masks):
    for name, mask in masks.items():
        assert (model.get(name).read().data[~mask] == 0).all()


def test_every_optimizer_has_a_case_with_momentum_and_decay_where_it_has_them():
    kinds = [name for name in optim.__all__ if name != "Optimizer"]
    assert set(kinds) == {kind for kind, _ in OPTIMIZERS}
    for kind in kinds:
        offered = getattr(optim, kind)([Tensor(np.ones(2), requires_grad=True)], lr=0.1).settings
        for setting in {"momentum", "weight_decay"} & set(offered):
            assert any(settings.get(setting) for name, settings in OPTIMIZERS if name == kind), (kind, setting)


@pytest.mark.parametrize("kind, settings", OPTIMIZERS)
def test_masks_survive_1000_steps_of_every_optimizer_beside_integers_and_codebooks(kind, settings):
    model, masks = compressed()
    optimizer = getattr(optim, kind)(model.parameters(), **settings)
    rng = np.random.default_rng(1)
    pushes = [rng.normal(size=parameter.data.shape).astype("f4") for parameter in model.parameters()]
    before = [parameter.data for parameter in model.parameters()]
    x = Tensor(rng.normal(size=(5, 4)).astype("f4"))
    for step in range(1000):
        if step % 250 < 5:  # gradients as `backward` leaves them: none through a mask
            optimizer.zero_grad()
            (model(x) ** 2).mean().backward()
            for name, mask in masks.items():
                grad = model.get(name).grad
                assert name == "shared.weight" or (grad[~mask] == 0).all()
        else:  # and some that it never leaves, which push the masked weights too
            for parameter, push in zip(model.parameters(), pushes):
                parameter.grad = push if step % 3 else -push
        optimizer.step()
        if step % 100 == 99:
            assert_masked(model, masks)
    assert all((parameter.data != old).any() for parameter, old in zip(model.parameters(), before))
    assert_masked(model, masks)
    for name, kinds in KINDS.items():
        assert [type(view) for view in model.get(f"{name}.weight").views] == kinds


def test_masks_survive_state_dicts_and_files_and_the_model_trains_on(tmp_path):
    model, masks = compressed()
    again = ThreeWays(rng=1)
    again.load_state_dict(model.state_dict())
    tinyopt.save(model, tmp_path / "model")
    loaded = tinyopt.load(tmp_path / "model", into=ThreeWays(rng=2))
    x = Tensor(np.random.default_rng(1).normal(size=(5, 4)).astype("f4"))
    for copied in (again, loaded, copy.deepcopy(model)):
        assert np.array_equal(copied(x).data, model(x).data)
        for name, mask in masks.items():
            assert np.array_equal(copied.get(name).view(nn.Mask).keep, mask)
        optimizer = optim.SGD(copied.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
        for _ in range(20):
            optimizer.zero_grad()
            (copied(x) ** 2).mean().backward()
            optimizer.step()
        assert (copied(x).data != model(x).data).any()
        assert_masked(copied, masks)


@pytest.mark.parametrize(
    "pattern",
    [
        lambda model: prune_n_m(model),
        lambda model: prune_blocks(model, (1, 2), 0.5),
        lambda model: sparse_start(model, 0.5, rng=0),
    ],
    ids=["n:m", "blocks", "sparse start"],
)
def test_masks_of_every_pattern_compose_with_integers_and_codebooks_and_survive_a_file(pattern, tmp_path):
    model = nn.Sequential(nn.Linear(8, 4, rng=0), nn.ReLU(), nn.Linear(4, 8, rng=1))
    masks = pattern(model)
    compress.quantize(model, 4, skip="2")
    compress.share(model, 3, skip="0")
    tinyopt.save(model, tmp_path / "model", coding="huffman")
    loaded = tinyopt.load(tmp_path / "model")
    x = Tensor(np.random.default_rng(1).normal(size=(5, 8)).astype("f4"))
    assert np.array_equal(loaded(x).data, model(x).data)
    assert_masked(loaded, masks)
    assert len(np.unique(loaded.get("2.weight").read().data)) <= 4

"""Tied layers against the same network with a copy of the weights for each use."""

import copy
import os

import numpy as np
import pytest

import tinyopt
from tinyopt import Tensor, compress, files, nn, optim
from tinyopt.compress.hashed import hash_weights
from tinyopt.compress.tied import tie
from tinyopt.errors import DtypeError, FormatError
from tinyopt.losses import cross_entropy
from tinyopt.nn.tied import Embedding, Repeat, tied_names

X = np.random.default_rng(0).normal(size=(5, 4)).astype("f4")
WORDS = np.array([[0, 3, 3], [6, 0, 1]])


class Net(nn.Module):
    """A word to the next word: the smallest network with an input and an output embedding."""

    def __init__(self, rng=0):
        self.embed, self.middle = Embedding(7, 4, rng=rng), nn.Linear(4, 4, rng=rng)
        self.head = nn.Linear(4, 7, rng=rng)

    def forward(self, x):
        return self.head(self.middle(self.embed(x)).relu())


def three(rng=0):
    blocks = {f"b{i}": nn.Linear(4, 4, rng=rng + i) for i in range(3)}
    return nn.Sequential(**blocks, out=nn.Linear(4, 2, rng=9))


def loss_of(model):
    return cross_entropy(model(WORDS).reshape(-1, 7), WORDS.reshape(-1))


# --- gradients: the sum over all uses -------------------------------------------------------------------


@pytest.mark.parametrize("start", ["mean", "first"])
def test_the_gradient_of_tied_embeddings_is_the_sum_of_both_uses(start):
    model = Net()
    weights = model.embed.weight.data, model.head.weight.data
    assert tie(model, "embed.weight", "head.weight", start=start) == 28
    due = (weights[0] + weights[1]) / 2 if start == "mean" else weights[0]
    np.testing.assert_allclose(model.head.weight.data, due, rtol=1e-6)
    apart = copy.deepcopy(model)
    apart.head.weight = nn.Parameter(apart.head.weight.data)  # the same numbers, two parameters
    loss_of(model).backward()
    loss_of(apart).backward()
    assert model.head.weight is model.embed.weight
    np.testing.assert_allclose(model.embed.weight.grad, apart.embed.weight.grad + apart.head.weight.grad, rtol=1e-5)
    assert tied_names(model) == {"head.weight": "embed.weight"} and tied_names(apart) == {}


def test_repeated_blocks_get_the_sum_over_all_times():
    block = nn.Linear(4, 4, rng=0)
    once = Repeat(block, 3)
    apart = nn.Sequential(*(copy.deepcopy(block) for _ in range(3)))
    y, due = once(X), apart(X)
    assert (y.data == due.data).all()
    (y**2).sum().backward()
    (due**2).sum().backward()
    for name in ("weight", "bias"):
        total = sum(getattr(layer, name).grad for layer in apart)
        np.testing.assert_allclose(getattr(block, name).grad, total, rtol=1e-5)


def test_tied_blocks_are_a_repeat_and_stay_so_in_copies_and_training():
    model = three()
    mean = np.mean([model.get(f"b{i}.weight").data for i in range(3)], axis=0)
    assert tie(model, "b0", "b1", "b2") == 40
    np.testing.assert_allclose(model.get("b0.weight").data, mean, rtol=1e-6)
    model = copy.deepcopy(model)
    repeat = nn.Sequential(r=Repeat(copy.deepcopy(model["b0"]), 3), out=copy.deepcopy(model["out"]))
    assert len(model.parameters()) == len(repeat.parameters()) == 4
    for net in (model, repeat):
        optimizer = optim.Adam(net.parameters(), lr=0.05)
        for _ in range(5):
            optimizer.zero_grad()
            (net(X) ** 2).mean().backward()
            optimizer.step()
    assert all(model["b0"].weight is model[name].weight for name in ("b1", "b2"))
    np.testing.assert_allclose(model(X).data, repeat(X).data, rtol=1e-5, atol=1e-7)


def test_tying_one_of_a_tied_pair_takes_the_other_along():
    model = three()
    assert tie(model, "b1", "b2") == 20 and tie(model, "b0", "b2") == 20 and tie(model, "b0", "b1") == 0
    assert tied_names(model) == {f"b{i}.{part}": f"b0.{part}" for i in (1, 2) for part in ("weight", "bias")}


def test_an_embedding_is_a_linear_map_of_one_hot_rows():
    layer = Embedding(7, 4, rng=0)
    hot, g = np.eye(7, dtype="f4")[WORDS], np.random.default_rng(1).normal(size=(2, 3, 4)).astype("f4")
    y = layer(WORDS)
    np.testing.assert_array_equal(y.data, hot @ layer.weight.data)
    (y * Tensor(g)).sum().backward()
    np.testing.assert_allclose(layer.weight.grad, np.einsum("ntv,ntd->vd", hot, g), rtol=1e-5, atol=1e-6)


# --- files ----------------------------------------------------------------------------------------------


def test_a_file_holds_a_tied_weight_once(tmp_path):
    def of_weights():
        return sum(n for _, kind, _, n in files.ledger(path) if kind != "file")

    path, model = tmp_path / "m.tiny", Net()
    whole, numbers = tinyopt.save(model, path), of_weights()
    tie(model, "embed.weight", "head.weight")
    n_bytes = tinyopt.save(model, path)
    assert n_bytes == os.path.getsize(path) < whole and of_weights() == numbers - 7 * 4 * 4
    names = [name for name, *_ in files.ledger(path)]
    assert names.count("embed.weight") == 1 and "head.weight" not in names
    for fresh in (Net(rng=5), Net(rng=5)):
        loaded = tinyopt.load(path, into=fresh)  # whose own weights are tied by this
        assert (loaded(WORDS).data == model(WORDS).data).all() and loaded.head.weight is loaded.embed.weight
        tie(fresh, "embed.weight", "head.weight")  # once more changes nothing


COMPRESS = {
    "as it is": lambda model: None,
    "pruned": lambda model: compress.prune(model, 0.5),
    "shared": lambda model: compress.share(model, 4),
    "shared in bands": lambda model: compress.share(model, 3, groups=2),
    "quantized": lambda model: compress.quantize(model, 4),
    "hashed": lambda model: hash_weights(model, 4, rng=0),
    "pruned and shared": lambda model: (compress.prune(model, 0.5, scope="layer"), compress.share(model, 3)),
}


@pytest.mark.parametrize("how", COMPRESS)
def test_a_tied_model_comes_back_tied_from_its_file_alone(how, tmp_path):
    path, model = tmp_path / "m.tiny", three()
    COMPRESS[how](model)
    apart = tinyopt.save(model, path)
    model = three()
    tie(model, "b0", "b1", "b2")
    COMPRESS[how](model)
    n_bytes = tinyopt.save(model.eval(), path)
    loaded = tinyopt.load(path)
    assert tied_names(loaded) == {f"b{i}.{part}": f"b0.{part}" for i in (1, 2) for part in ("weight", "bias")}
    assert all(loaded[name].weight is loaded["b0"].weight for name in ("b1", "b2"))
    assert [type(v) for v in loaded["b2"].weight.views] == [type(v) for v in model["b0"].weight.views]
    assert (loaded(X).data == model(X).data).all()
    rows = files.ledger(path)
    assert sum(n for *_, n in rows) == os.path.getsize(path) == n_bytes < apart
    assert {name for name, kind, *_ in rows if kind != "file"} == {f"{b}.{p}" for b in ("b0", "out") for p in ("weight", "bias")}
    (loaded(X) ** 2).sum().backward()
    (model(X) ** 2).sum().backward()
    np.testing.assert_array_equal(loaded["b0"].weight.grad, model["b0"].weight.grad)  # the sum over all three places
    assert tinyopt.save(loaded, path) == n_bytes


def test_a_layer_that_stands_at_two_places_comes_back_as_one_set_of_weights(tmp_path):
    block = nn.Linear(4, 4, rng=0)
    model = nn.Sequential(a=block, act=nn.ReLU(), b=block).eval()
    tinyopt.save(model, tmp_path / "m.tiny")
    loaded = tinyopt.load(tmp_path / "m.tiny")
    assert loaded["a"].weight is loaded["b"].weight and (loaded(X).data == model(X).data).all()


def test_a_tied_file_that_does_not_fit_leaves_the_model_as_it_was(tmp_path):
    path, model = tmp_path / "m.tiny", three()
    tie(model, "b0", "b1")
    tinyopt.save(model, path)
    other = nn.Sequential(b0=nn.Linear(4, 4, rng=0), b1=nn.Linear(4, 4, bias=False, rng=1))
    with pytest.raises(FormatError, match="b1.bias and b0.bias are one parameter, and here they are not two of one shape"):
        tinyopt.load(path, into=other)
    wide = nn.Sequential(b0=nn.Linear(4, 4, rng=0), b1=nn.Linear(4, 4, rng=1), b2=nn.Linear(4, 4, rng=2),
                         out=nn.Linear(4, 9, rng=3))  # fmt: skip
    with pytest.raises(FormatError, match="out.weight is .2, 4., should be .9, 4."):
        tinyopt.load(path, into=wide)
    for net in (other, wide):
        assert tied_names(net) == {} and net["b0"].weight is not net["b1"].weight


def test_a_repeated_block_is_rebuilt_from_its_file(tmp_path, monkeypatch):
    monkeypatch.setitem(nn.LAYERS, "Repeat", Repeat)
    monkeypatch.setitem(nn.LAYERS, "Embedding", Embedding)
    model = nn.Sequential(Embedding(7, 4, rng=0), Repeat(nn.Sequential(nn.Linear(4, 4, rng=0), nn.ReLU()), 4)).eval()
    compress.quantize(model, 8)
    tinyopt.save(model, tmp_path / "m.tiny")
    loaded = tinyopt.load(tmp_path / "m.tiny")
    assert loaded[1].times == 4 and (loaded(WORDS).data == model(WORDS).data).all()
    assert sorted(dict(loaded.named_parameters())) == ["0.weight", "1.block.0.bias", "1.block.0.weight"]


def test_other_techniques_see_a_tied_weight_once():
    model = three()
    tie(model, "b0", "b1")
    compress.prune(model, 0.5)
    errors = compress.share(model, 4)
    assert list(errors) == ["b0.weight", "b2.weight", "out.weight"]
    assert model["b1"].weight.view(nn.Codebook) is model["b0"].weight.view(nn.Codebook)


def masked():
    model = three()
    compress.prune(model, {"b1": 0.5})
    return model


REFUSED = [
    (lambda: tie(three(), "b0"), ValueError, "two or more different names; got 'b0'"),
    (lambda: tie(three(), "b0", "b0"), ValueError, "two or more different names"),
    (lambda: tie(three()), ValueError, "got none"),
    (lambda: tie(three(), "b0", "out"), ValueError, r"b0 has .*\(4, 4\).*out has .*\(2, 4\)"),
    (lambda: tie(three(), "b0", "b1.weight"), ValueError, "the same parameters"),
    (lambda: tie(three(), "b0", "b7"), KeyError, "b7.*there are: b0"),
    (lambda: tie(three(), "b0", "b1", start="best"), ValueError, "'mean' or 'first'; got 'best'"),
    (lambda: tie(masked(), "b0", "b1"), ValueError, "b1.weight is read through a Mask already"),
    (lambda: tie(nn.Sequential(a=nn.ReLU(), b=nn.ReLU()), "a", "b"), ValueError, "a has no parameters"),
    (lambda: Repeat(nn.ReLU(), 0), ValueError, "times is an integer of 1 or more; got 0"),
    (lambda: Repeat(len, 2), TypeError, "runs a module.*builtin"),
    (lambda: Embedding(7, 4)(X), DtypeError, "integers; got float32"),
    (lambda: Embedding(7, 4)(np.array([7])), ValueError, "symbols 0 to 6; got 7 to 7"),
    (lambda: Embedding(7, 4)(np.array([-1])), ValueError, "got -1 to -1"),
    (lambda: Embedding(0, 4), ValueError, "num_embeddings is an integer of 1 or more"),
]


@pytest.mark.parametrize("attempt, error, sentence", REFUSED)
def test_what_cannot_be_tied_is_refused_in_a_sentence(attempt, error, sentence):
    with pytest.raises(error, match=sentence):
        attempt()


def test_a_refusal_leaves_the_model_as_it_was():
    model = masked()
    before = {name: parameter for name, parameter in model.named_parameters()}
    with pytest.raises(ValueError):
        tie(model, "b0", "b2", "b1")
    assert all(model.get(name) is parameter for name, parameter in before.items())

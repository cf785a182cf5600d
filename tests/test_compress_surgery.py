"""Surgery: the smaller model against activations set to 0 by hand, hand-made nets, and what must be refused.

The oracle, `Zeroed`, knows nothing of how channels are followed: PLACES says, for each layer that is cut, after
which layers its channels end, found by reading the networks.
"""

import copy
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standin import device, standin  # noqa: F401 (fixtures)

import tinyopt
from tinyopt import Tensor, backend, compress, data, measure, models, nn, ops, optim, train
from tinyopt.compress.surgery import cut_weight, groups_of, masked, remove, whole_cut
from tinyopt.compress.thin import prune_channels, weakest, weakest_channels
from tinyopt.errors import ShapeError

X = np.random.default_rng(1).normal(size=(3, 1, 8, 8))
PLACES = {
    "lenet5": {"conv1": ["conv1"], "conv2": ["conv2"], "fc1": ["fc1"]},
    "lenet_300_100": {"fc1": ["fc1"], "fc2": ["fc2"]},
    "resnet8": {
        "conv1": ["norm1", "block1.body.norm2"],
        "block1.body.conv1": ["block1.body.norm1"],
        "block2.body.norm1": ["block2.body.norm1"],
        "block2.shortcut.conv": ["block2.body.norm2", "block2.shortcut.norm"],
        "block3.body.conv1": ["block3.body.norm1"],
        "block3.body.conv2": ["block3.body.norm2", "block3.shortcut.norm"],
    },
    "mobilenet_tiny": {
        "block1.conv1": ["norm1", "block1.norm1"],
        "block1.conv2": ["block1.norm2", "block2.norm1"],
        "block2.norm2": ["block2.norm2", "block3.norm1"],
        "block3.conv2": ["block3.norm2", "block4.norm1"],
        "block4.conv2": ["block4.norm2"],
    },
}


class Zeroed(nn.Module):
    """A layer, and after it zeros in the channels that are not kept."""

    def __init__(self, layer, keep):
        self.layer, self.keep = layer, keep

    def forward(self, x):
        y = self.layer(x)
        return y * Tensor(self.keep.astype(y.dtype).reshape(1, -1, *[1] * (y.ndim - 2)))


def zeroed(model, places):
    """A copy of the model with zeros: places {layer: indices}."""
    model = copy.deepcopy(model)
    for name, indices in places.items():
        layer = model.get(name)
        keep = np.ones(width(layer), bool)
        keep[indices] = False
        model.replace(name, Zeroed(layer, keep))
    return model


def width(layer):
    return next(
        getattr(layer, name) for name in ("out_features", "out_channels", "num_features") if hasattr(layer, name)
    )


def lived_in(model, seed=0):
    """The model in float64, in eval mode, with norms that have measured something and shift what they give."""
    rng, model = np.random.default_rng(seed), model.astype("float64").eval()
    for norm in (m for m in model.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))):
        norm.weight.data, norm.bias.data, norm.running_mean = rng.normal(size=(3, norm.num_features))
        norm.running_var = rng.uniform(0.5, 2, norm.num_features)
    return model


MODELS = {
    "lenet5": lived_in(models.lenet5(8, filters=(5, 6), units=9, rng=0)),
    "lenet_300_100": lived_in(models.lenet_300_100(8, rng=0)),
    "resnet8": lived_in(models.resnet8(8, width=4, rng=0)),
    "mobilenet_tiny": lived_in(models.mobilenet_tiny(8, width=0.3, rng=0)),
}


def same(a, b, x=X):
    a, b = a(x).data, b(x).data
    assert a.shape == b.shape and np.abs(a - b).max() <= 1e-12
    return True


def parameters(model):
    return sum(parameter.size for parameter in model.parameters())


@st.composite
def cuts(draw, name):
    """{layer: indices}: some layers of a model, of each some channels, never all."""
    layers = draw(st.lists(st.sampled_from(sorted(PLACES[name])), min_size=1, unique=True))
    sizes = {layer: width(MODELS[name].get(layer)) for layer in layers}
    return {
        layer: draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=n - 1, unique=True))
        for layer, n in sizes.items()
    }


@pytest.mark.parametrize("name", PLACES)
@settings(max_examples=6)
@given(at=st.data())
def test_the_smaller_model_is_the_one_with_zeros_after_the_norm(name, at):
    model, channels = MODELS[name], at.draw(cuts(name))
    before = {key: array.copy() for key, array in model.state_dict().items()}
    smaller = remove(model, X, channels)
    assert same(smaller, zeroed(model, {p: i for layer, i in channels.items() for p in PLACES[name][layer]}))
    assert same(smaller, masked(model, X, channels))
    assert all((model.state_dict()[key] == array).all() for key, array in before.items())
    for layer, indices in channels.items():
        assert width(smaller.get(layer)) == width(model.get(layer)) - len(indices)
    assert parameters(smaller) < parameters(model) and parameters(masked(model, X, channels)) == parameters(model)
    counts = [measure.summary(m, (1, 8, 8)).macs for m in (smaller, model)]
    assert counts[0] < counts[1]


@pytest.mark.parametrize("name", PLACES)
def test_a_file_of_the_smaller_model_is_smaller_and_loads(name, tmp_path):
    model = copy.deepcopy(MODELS[name])
    smaller = remove(model, X, {layer: [0] for layer in PLACES[name]})
    for m, file in ((model, "whole"), (smaller, "small")):
        tinyopt.save(m, tmp_path / file)
    saved = 8 * (parameters(model) - parameters(smaller))
    fell = os.path.getsize(tmp_path / "whole") - os.path.getsize(tmp_path / "small")
    assert fell >= saved - 64  # numbers in a file begin at round addresses
    assert np.array_equal(tinyopt.load(tmp_path / "small")(X).data, smaller(X).data)


def test_a_smaller_model_trains_on():
    model = models.resnet8(8, width=4, rng=0)
    smaller = remove(model, np.float32(X), {"conv1": [0], "block2.body.conv2": [1, 2]})
    few = data.digits().train.sample(100, rng=0)
    optimizer = optim.Adam(smaller.parameters(), lr=0.01)
    history = train.fit(smaller, (few, None), epochs=4, batch_size=50, optimizer=optimizer, progress=False)
    assert history[-1]["loss"] < history[0]["loss"]


# --- by hand -----------------------------------------------------------------------------------------


def test_a_dense_net_on_paper():
    net = nn.Sequential(a=nn.Linear(2, 3), relu=nn.ReLU(), b=nn.Linear(3, 2))
    net.get("a.weight").data, net.get("a.bias").data = np.array([[1.0, 2], [3, 4], [5, 6]]), np.array([1.0, 2, 3])
    net.get("b.weight").data, net.get("b.bias").data = np.array([[1.0, 10, 100], [2, 20, 200]]), np.array([5.0, 6])
    smaller = remove(net, np.ones((1, 2)), {"a": [1]})
    assert smaller.get("a.weight").data.tolist() == [[1, 2], [5, 6]] and smaller.get("a.bias").data.tolist() == [1, 3]
    assert smaller.get("b.weight").data.tolist() == [[1, 100], [2, 200]]
    assert smaller.get("b.bias").data.tolist() == [5, 6]
    assert (smaller["a"].out_features, smaller["b"].in_features) == (2, 2)
    assert smaller(np.array([[1.0, 1]])).data.tolist() == [[4 + 1400 + 5, 8 + 2800 + 6]]
    same(remove(net, np.ones((1, 2)), {"a": np.array([True, False, True])}), smaller, np.ones((1, 2)))  # a mask keeps


def test_a_flattened_channel_is_a_block_of_inputs():
    net = nn.Sequential(conv=nn.Conv2d(1, 3, 3), flatten=nn.Flatten(), fc=nn.Linear(3 * 4, 2)).astype("float64")
    x = np.random.default_rng(0).normal(size=(2, 1, 4, 4))
    smaller = remove(net, x, {"conv": [1]})
    columns = net.get("fc.weight").data.reshape(2, 3, 4)
    assert np.array_equal(smaller.get("fc.weight").data, columns[:, [0, 2]].reshape(2, 8))
    assert same(smaller, zeroed(net, {"conv": [1]}), x)


@given(seed=st.integers(0, 99), groups=st.integers(1, 3), at=st.data())
def test_cutting_a_weight_of_a_grouped_convolution_entry_by_entry(seed, groups, at):
    rng = np.random.default_rng(seed)
    rows, columns = at.draw(st.integers(1, 3)), at.draw(st.integers(1, 3))  # in each group
    weight = rng.normal(size=(groups * rows, columns, 2, 1))
    live = rng.random(groups) < 0.7
    live[rng.integers(groups)] = True
    keep_rows, keep_columns = (
        np.concatenate([rng.permutation(np.arange(n) < left) & alive for alive in live])
        for n, left in ((rows, rng.integers(1, rows + 1)), (columns, rng.integers(1, columns + 1)))
    )
    expected = [
        [weight[o, c % columns] for c in range(groups * columns) if keep_columns[c] and c // columns == o // rows]
        for o in range(groups * rows) if keep_rows[o]
    ]  # fmt: skip
    assert np.array_equal(cut_weight(weight, keep_rows, keep_columns, groups), np.array(expected))
    assert np.array_equal(cut_weight(weight[:, 0, 0, 0], keep_rows), weight[keep_rows, 0, 0, 0])
    scale = weight[:, :1, :1, :1]
    assert np.array_equal(cut_weight(scale, keep_rows, keep_columns, groups)[:, 0, 0, 0], scale[keep_rows, 0, 0, 0])
    assert cut_weight(np.array(3.0), keep_rows, keep_columns, groups) == 3


def grouped_net():
    """Four channels, which two groups of two read, each to make three of six; then depthwise, two filters each."""
    return lived_in(
        nn.Sequential(
            conv1=nn.Conv2d(1, 4, 3), norm1=nn.BatchNorm2d(4),
            conv2=nn.Conv2d(4, 6, 3, groups=2), relu2=nn.ReLU(),
            conv3=nn.Conv2d(6, 12, 1, groups=6), norm3=nn.BatchNorm2d(12),
            pool=nn.MaxPool2d(2), flatten=nn.Flatten(), fc=nn.Linear(12 * 4, 3),
        )
    )  # fmt: skip


def test_grouped_convolutions_lose_equally_many_or_whole_groups():
    net = grouped_net()
    even = remove(net, X, {"conv1": [0, 3], "conv2": [2, 4]})
    depthwise = [4, 5, 8, 9]  # two filters for each of the channels 2 and 4
    assert same(even, zeroed(net, {"norm1": [0, 3], "conv2": [2, 4], "norm3": depthwise}))
    assert [(even[n].in_channels, even[n].out_channels, even[n].groups) for n in ("conv1", "conv2", "conv3")] == [
        (1, 2, 1), (2, 4, 2), (4, 8, 4)]  # fmt: skip
    for start in ({"conv1": [0, 1]}, {"conv2": [0, 1, 2]}, {"conv3": [1, 3, 5]}):  # all of the first group
        whole = remove(net, X, start)
        assert same(whole, zeroed(net, {"norm1": [0, 1], "conv2": [0, 1, 2], "norm3": [0, 1, 2, 3, 4, 5]}))
        assert (whole["conv2"].groups, whole["conv3"].groups) == (1, 3)
        assert whole_cut(net, X, start)["conv1"].tolist() == [0, 1]
    with pytest.raises(ValueError, match="conv2 has 2 groups, which must keep equally many inputs; .* leaves 1, 2"):
        remove(net, X, {"conv1": [0]})
    with pytest.raises(ValueError, match="conv2 has 2 groups, which must keep equally many filters.*in each group"):
        remove(net, X, {"conv3": [0]})


class Loop(nn.Module):
    """Applies one layer twice, adds in its own forward, and flattens with a reshape."""

    def __init__(self):
        self.stem, self.again = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.fc = nn.BatchNorm1d(4 * 16), nn.Linear(4 * 16, 2)

    def forward(self, x):
        x = ops.max_pool2d(self.stem(x).relu(), kernel_size=2)
        for _ in range(2):
            x = x + self.again(x).relu()
        return self.fc(self.norm(x.reshape(len(x), -1)))


def test_a_layer_used_twice_is_cut_once_and_ops_of_a_forward_are_followed():
    net = lived_in(Loop())
    assert [(group.layers, group.n_channels) for group in groups_of(net, X)] == [
        (("stem", "again", "norm"), 4), (("fc",), 2)]  # fmt: skip
    smaller = remove(net, X, {"again": [1]})
    assert smaller.again.weight.shape == (3, 3, 3, 3) and smaller.norm.num_features == 48
    assert same(smaller, zeroed(net, {"stem": [1], "again": [1], "norm": range(16, 32)}))
    layer = nn.Linear(3, 3, rng=0)
    twice = nn.Sequential(a=nn.Linear(2, 3), b=layer, relu=nn.ReLU(), c=layer, d=nn.Linear(3, 1)).astype("float64")
    assert [remove(twice, X[0, 0, :, :2], {name: [0]})["c"].weight.shape for name in "abc"] == [(2, 2)] * 3


class Averaged(nn.Module):
    """Ends in means over pixels, as ops; `axes` says over what."""

    def __init__(self, axes):
        self.conv, self.fc, self.axes = nn.Conv2d(1, 4, 3), nn.Linear(4, 2), axes

    def forward(self, x):
        y = self.conv(x).relu() / 2
        return self.fc(ops.max(y.mean(axis=self.axes, keepdims=True), axis=(-2, -1)) * 3)


class Reduced(Averaged):
    def forward(self, x):
        return self.conv(x).relu().mean(axis=self.axes)


def test_means_over_pixels_are_followed_and_means_over_channels_are_not():
    net = Averaged((2, 3)).astype("float64")
    assert same(remove(net, X, {"conv": [0, 2]}), zeroed(net, {"conv": [0, 2]}))
    for axes in ((1, 2), (0, 2), -3):
        with pytest.raises(ValueError, match="conv cannot lose channel 0: mean in the forward of the model reads them"):
            remove(Reduced(axes).astype("float64"), X, {"conv": [0]})


def test_factors_of_low_rank_and_sequences():
    net = nn.Sequential(a=nn.LowRankLinear(8, 6, 3), relu=nn.ReLU(), b=nn.LowRankLinear(6, 5, 2), c=nn.Linear(5, 2))
    x = X[:, 0]  # (N, T, D): the channels lie along the last axis
    net.astype("float64")
    smaller = remove(net, x, {"a": [0, 5], "b": [3]})
    assert same(smaller, masked(net, x, {"a": [0, 5], "b": [3]}), x)
    assert (smaller["a"].up.shape, smaller["b"].down.shape, smaller["b"].up.shape) == ((4, 3), (2, 4), (4, 2))


def test_what_is_tied():
    groups = groups_of(MODELS["resnet8"], X)
    assert groups[0].layers == ("conv1", "norm1", "block1.body.conv2", "block1.body.norm2")
    assert groups[-1].layers == ("fc",) and groups[-1].fixed == "they are the model's output"
    assert all(not group.fixed for group in groups[:-1])
    assert whole_cut(MODELS["mobilenet_tiny"], X, {"conv1": [2]}).keys() == {
        "conv1", "norm1", "block1.conv1", "block1.norm1"}  # fmt: skip
    assert remove(MODELS["resnet8"], X, {})(X).data.tolist() == MODELS["resnet8"](X).data.tolist()


# --- views -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lenet5", "resnet8", "mobilenet_tiny"])
@pytest.mark.parametrize(
    "technique",
    [
        lambda m: compress.prune(m, 0.5),
        lambda m: compress.quantize(m, 4),
        lambda m: compress.quantize(m, 4, per_channel=False, symmetric=False),
        lambda m: compress.share(m, 4),
        lambda m: (compress.prune(m, 0.5), compress.quantize(m, 8)),
        lambda m: (compress.prune(m, 0.5), compress.share(m, 4)),
    ],
)
def test_masks_integers_and_codebooks_are_cut_along(name, technique, tmp_path):
    model = copy.deepcopy(MODELS[name])
    technique(model)
    channels = {layer: [0] for layer in PLACES[name]}
    smaller = remove(model, X, channels)
    assert same(smaller, zeroed(model, {p: [0] for layer in channels for p in PLACES[name][layer]}))
    assert same(smaller, masked(model, X, channels))
    kinds = [[type(view) for view in p.views] for p in model.parameters()]
    assert kinds == [[type(view) for view in p.views] for p in smaller.parameters()]
    tinyopt.save(smaller, tmp_path / "small")
    assert np.allclose(tinyopt.load(tmp_path / "small")(X).data, smaller(X).data, atol=1e-12)


def test_a_view_that_surgery_does_not_know_is_refused(monkeypatch):
    from tinyopt.nn import views

    monkeypatch.setattr(views, "KINDS", dict(views.KINDS))

    class Doubled(nn.View):
        def __call__(self, x):
            return x * 2

    net = copy.deepcopy(MODELS["lenet5"])
    net.get("conv1.weight").views = [Doubled()]
    with pytest.raises(ValueError, match=r"view Doubled of conv1.weight: call its bake\(\) first"):
        remove(net, X, {"conv1": [0]})


def test_a_model_on_another_device_is_cut_there(device):  # noqa: F811
    model, x, channels = copy.deepcopy(MODELS["resnet8"]), Tensor(X), {"conv1": [0], "block2.body.conv2": [3]}
    compress.prune(model, 0.3)
    here = remove(model, X, channels)
    there = model.to(device.name)
    x = x.to(device.name)
    smaller, zeros = remove(there, x, channels), masked(there, x, channels)
    scores = {"conv1": backend.to_device(np.arange(4.0), device.name)}
    assert weakest_channels(there, x, scores, 0.5)["conv1"].tolist() == [0, 1]
    for m in (smaller, zeros):
        assert {p.device for p in m.parameters()} == {device.name}
        assert np.abs(m(x).numpy() - here(X).data).max() <= 1e-12
    arrays = [array for _, array in smaller.named_buffers()] + [v.keep for p in smaller.parameters() for v in p.views]
    assert {backend.device_of(array).name for array in arrays} == {device.name}


# --- by scores -----------------------------------------------------------------------------------------


@given(scores=st.lists(st.integers(-3, 3), min_size=1, max_size=12), fraction=st.floats(0, 0.99))
def test_the_weakest_are_an_exact_count_of_the_lowest(scores, fraction):
    scores = np.array(scores, float)
    gone = weakest(scores, fraction)
    order = sorted(range(len(scores)), key=lambda i: (scores[i], i))
    assert gone.tolist() == sorted(order[: int(fraction * len(scores))]) and len(gone) < len(scores)


def test_scores_of_tied_layers_add_and_groups_keep_equally_many():
    model = MODELS["resnet8"]
    scores = {"conv1": np.array([0.0, 3, 1, 2]), "block1.body.norm2": np.array([5.0, 0, 1, 1])}  # 5 3 2 3
    assert {name: i.tolist() for name, i in weakest_channels(model, X, scores, 0.5).items()} == {
        "conv1": [1, 2], "block1.body.norm2": [1, 2]}  # fmt: skip
    smaller = prune_channels(model, X, scores, {"conv1": 0.25})
    assert same(smaller, zeroed(model, {"norm1": [2], "block1.body.norm2": [2]}))
    net = grouped_net()
    cut = weakest_channels(net, X, {"conv1": np.arange(4.0), "conv2": np.arange(6.0)}, 0.5)
    assert {name: i.tolist() for name, i in cut.items()} == {"conv1": [0, 2], "conv2": [0, 3]}
    assert same(remove(net, X, cut), masked(net, X, cut))


# --- refusals ------------------------------------------------------------------------------------------


class LayerNorm(nn.Module):
    def forward(self, x):
        return (x - x.mean(axis=-1, keepdims=True)) / (x.var(axis=-1, keepdims=True) + 1e-5).sqrt()


class Fixed(nn.Module):
    """Has a size written into its forward."""

    def __init__(self):
        self.conv, self.fc = nn.Conv2d(1, 2, 8), nn.Linear(2, 2)

    def forward(self, x):
        return self.fc(self.conv(x).reshape(len(x), 2))


class PastTheOps(nn.Module):
    """Hands its channels on as data, which no trace sees."""

    def __init__(self):
        self.a, self.b, self.c = nn.Linear(8, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        h = self.a(x)
        return self.c(self.b(h) * Tensor(h.data.sum(axis=1, keepdims=True)))


class Tied(nn.Module):
    """Two layers read one weight."""

    def __init__(self):
        self.a, self.b, self.c = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 2)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.c(self.b(self.a(x).relu()).relu())


def normed():
    return nn.Sequential(fc1=nn.Linear(8, 4), norm=LayerNorm(), fc2=nn.Linear(4, 2))


ROW = X[:, 0, 0]
REFUSED = [
    ("lenet5", {"conv9": [0]}, "no layer with channels is called 'conv9'; there are conv1, conv2, fc1, fc2"),
    ("lenet5", {"pool1": [0]}, "no layer with channels is called 'pool1'"),
    ("lenet5", {"conv1": [5]}, r"conv1 has the channels 0 to 4; got \[5\]"),
    ("lenet5", {"conv1": [-1]}, r"conv1 has the channels 0 to 4; got \[-1\]"),
    ("lenet5", {"conv1": [0.5]}, r"conv1 to remove are a list of integers; got \[0.5\]"),
    ("lenet5", {"conv1": 3}, "a list of integers; got 3"),
    ("lenet5", {"conv1": range(5)}, "would leave conv1 with none of its 5 channels; keep at least one"),
    ("lenet5", {"fc2": [0]}, "fc2 cannot lose channel 0: they are the model's output"),
    ("lenet5", {"conv1": np.array([True])}, r"conv1 has 5 channels.*shape \(5,\); got \(1,\)"),
    ("resnet8", {"conv1": [0, 1], "block1.body.norm2": [2, 3]}, "would leave conv1 with none of its 4 channels"),
    (normed, {"fc1": [1]}, r"fc1 cannot lose channel 1: norm \(LayerNorm\) reads them.*op mean"),
    (lambda: nn.Sequential(res=nn.Residual(nn.Linear(8, 8)), fc=nn.Linear(8, 1)), {"res.body": [0]},
     r"res.body cannot lose channel 0: res.add \(Add\) adds them to what no layer made"),
    (Tied, {"a": [0]}, r"a cannot lose channel 0: a \(Linear\) shares a weight with b \(Linear\)"),
    (PastTheOps, {"b": [0]}, "b cannot lose channel 0: mul in the forward of the model reads them"),
    (lambda: nn.Sequential(nn.Linear(8, 8)), {"": [0]}, "no layer with channels is called ''"),
]  # fmt: skip


@pytest.mark.parametrize("model, channels, sentence", REFUSED)
def test_what_cannot_be_cut_is_refused_by_name(model, channels, sentence):
    model, x = (MODELS[model], X) if isinstance(model, str) else (model().astype("float64"), ROW)
    for function in (remove, masked, whole_cut):
        with pytest.raises(ValueError, match=sentence):
            function(model, x, channels)


def test_a_depthwise_convolution_of_the_input_and_a_pooling_over_channels_are_refused():
    net = nn.Sequential(conv=nn.Conv2d(2, 2, 3, groups=2), flatten=nn.Flatten(), fc=nn.Linear(2, 1))
    with pytest.raises(ValueError, match=r"conv cannot lose channel 0: conv \(Conv2d\) reads the model's input"):
        remove(net, np.ones((1, 2, 3, 3), np.float32), {"conv": [0]})

    class Rows(nn.Module):
        def __init__(self):
            self.a, self.pool, self.b = nn.Linear(4, 4), nn.MaxPool2d(2), nn.Linear(2, 1)

        def forward(self, x):
            return self.b(self.pool(self.a(x)))

    with pytest.raises(ValueError, match=r"a cannot lose channel 1: pool \(MaxPool2d\) reads them"):
        remove(Rows(), np.ones((1, 1, 4, 4), np.float32), {"a": [1]})


def test_a_forward_that_the_trace_does_not_tell_of_is_noticed():
    with pytest.raises(ValueError, match="a size written into it"):
        remove(Fixed(), np.float32(X), {"conv": [0]})

    class Gate(PastTheOps):
        def forward(self, x):
            h = self.a(x)
            return self.c(self.b(h)) * (1.0 + float(np.isnan(h.data).sum()) + h.shape[1])

    with pytest.raises(ValueError, match="computes other numbers than the masked one"):
        remove(Gate(), np.float32(ROW), {"a": [0]})
    with pytest.raises(TypeError, match=r"channels is \{layer: indices to remove\}.*got \['conv1'\]"):
        remove(MODELS["lenet5"], X, ["conv1"])


@pytest.mark.parametrize(
    "scores, fraction, sentence",
    [
        ({"conv1": np.ones(4)}, 0.5, r"conv1 has 5 channels.*shape \(5,\); got \(4,\)"),
        ({"conv1": np.array([1, 2, 3, 4, np.nan])}, 0.5, "scores must be finite"),
        ({"conv1": np.ones(5)}, 1.0, r"in \[0, 1\).*got 1.0"),
        ({"conv1": np.ones(5)}, -0.5, r"in \[0, 1\)"),
        ({"conv7": np.ones(5)}, 0.5, "no layer with channels is called 'conv7'"),
        ({"conv1": np.ones(5)}, {"conv2": 0.5}, "a fraction needs scores of its layer: conv2 has none"),
        ({"fc2": np.ones(10)}, 0.5, "fc2 cannot lose channel 0: they are the model's output"),
    ],
)
def test_scores_that_do_not_fit_are_refused(scores, fraction, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        prune_channels(MODELS["lenet5"], X, scores, fraction)
    assert type(caught.value) in (ValueError, ShapeError)
    two = {"conv1": np.ones(4), "norm1": np.ones(4)}
    with pytest.raises(ValueError, match=r"lose the same channels: give them one fraction; got \[0.25, 0.5\]"):
        prune_channels(MODELS["resnet8"], X, two, {"conv1": 0.25, "norm1": 0.5})

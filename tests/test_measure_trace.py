"""`trace`: order and wiring, for chains, residual sums, shared layers and models with ops of their own."""

import numpy as np
import pytest

from tinyopt import Tensor, models, nn, ops
from tinyopt.measure import trace


def ones(*shape):
    return np.ones(shape, np.float32)


def block(channels):
    return nn.Sequential(
        conv=nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
        norm=nn.BatchNorm2d(channels),
        act=nn.ReLU(),
    )


def residual_net():
    return nn.Sequential(
        stem=nn.Conv2d(1, 4, 3, padding=1),
        res1=nn.Residual(block(4)),
        res2=nn.Residual(block(4), shortcut=nn.Conv2d(4, 4, 1)),
        pool=nn.MaxPool2d(2),
        drop=nn.Dropout(0.5),
        flatten=nn.Flatten(),
        fc=nn.Linear(4 * 3 * 3, 5),
    )


def test_a_chain_in_order_with_shapes_settings_and_parameters():
    model = models.lenet5(image_size=8, filters=(3, 4), units=6)
    run = trace(model, ones(2, 1, 8, 8))
    assert [(s.kind, s.name, s.output.shape) for s in run] == [
        ("Conv2d", "conv1", (2, 3, 8, 8)), ("MaxPool2d", "pool1", (2, 3, 4, 4)),
        ("Conv2d", "conv2", (2, 4, 4, 4)), ("MaxPool2d", "pool2", (2, 4, 2, 2)),
        ("Flatten", "flatten", (2, 16)), ("Linear", "fc1", (2, 6)), ("ReLU", "relu1", (2, 6)),
        ("Linear", "fc2", (2, 10)),
    ]  # fmt: skip
    assert run["conv1"].inputs == run.inputs and run.outputs == run["fc2"].outputs
    for earlier, later in zip(run.steps, run.steps[1:]):
        assert run.after(earlier) == [later] and run.before(later) == [earlier]
    assert run["fc1"].parameters == ("fc1.weight", "fc1.bias") and run["fc1"].module is model["fc1"]
    assert run["conv2"].settings["padding"] == (2, 2) and run["pool1"].parameters == ()
    assert run.before(run["conv1"]) == [None] and run.after(run["fc2"]) == []


def test_residual_sums_are_wired_to_both_branches():
    run = trace(residual_net(), ones(1, 1, 6, 6))
    stem, add1, add2 = run["stem"], run["res1.add"], run["res2.add"]
    assert run.before(add1) == [run["res1.body.act"], stem]  # the identity shortcut is seen through
    assert run.before(add2) == [run["res2.body.act"], run["res2.shortcut"]]
    assert run.after(stem) == [run["res1.body.conv"], add1]
    assert run.after(add1) == [run["res2.body.conv"], run["res2.shortcut"]]
    assert run.after(run["res1.body.conv"]) == [run["res1.body.norm"]]  # what fusion asks
    assert run["res1.body.conv"].settings["groups"] == 4
    assert run.after(run["pool"]) == [run["flatten"]]  # dropout hands on what it was given
    assert [step.name for step in run if step.passes_through] == ["res1.shortcut", "drop"]
    assert (run["flatten"].inputs[0].shape, run["flatten"].output.shape) == ((1, 4, 3, 3), (1, 36))


def test_op_by_op_the_wiring_is_the_same():
    run = trace(residual_net(), ones(1, 1, 6, 6))
    opened = run.as_ops()
    assert [step.kind for step in opened if not step.module] == [
        "conv2d", "conv2d", "batch_norm", "relu", "add", "conv2d", "batch_norm", "relu", "conv2d", "add",
        "max_pool2d", "reshape", "linear",
    ]  # fmt: skip
    stem, *_ = opened
    readers = [(step.kind, step.name) for step in opened.after(stem)]
    assert readers == [("conv2d", "res1.body.conv"), ("add", "res1.add")]
    x, weight, bias = stem.inputs
    assert x in run.inputs and weight.parameters == ("stem.weight",) and bias.id == "stem.bias"
    assert weight.shape == (4, 1, 3, 3) and weight.source == "parameter" and not weight.varies
    assert stem.settings == {"stride": (1, 1), "padding": (1, 1), "groups": 1} and stem.module is None
    norm = next(step for step in opened if step.kind == "batch_norm")
    sources = [value.source for value in norm.inputs]
    assert sources == ["computed", "parameter", "parameter", "constant", "constant"]
    assert run.inputs[0].source == "input" and run.outputs == opened.outputs


class Own(nn.Module):
    """A model that applies ops itself, computes with its weights, and runs one layer twice."""

    def __init__(self):
        self.fc = nn.Linear(4, 4)
        self.scale = nn.Parameter(ones(3, 4))

    def forward(self, x):
        h = self.fc(x).relu()
        h = self.fc(h) + x
        return ops.linear(h, abs(self.scale) * 2)


def test_ops_of_a_models_own_forward_are_steps_and_ops_on_weights_are_marked():
    run = trace(Own(), ones(2, 4))
    assert [(s.kind, s.name, s.weight_side) for s in run] == [
        ("Linear", "fc", False), ("relu", "", False), ("Linear", "fc", False), ("add", "", False),
        ("abs", "", True), ("mul", "", True), ("linear", "", False),
    ]  # fmt: skip
    first, relu, second, add, _, mul, last = run
    assert run.before(add) == [second, None] and add.inputs[1] in run.inputs
    assert run.consumers(run.inputs[0]) == [first, add]
    assert run.before(last) == [add, mul]
    assert last.parameters == mul.output.parameters == ("scale",) and not mul.output.varies
    assert run.calls("fc") == [first, second] and (first.call, second.call) == (0, 1)
    with pytest.raises(KeyError, match="layer 'fc' ran 2 times"):
        run["fc"]
    with pytest.raises(KeyError, match="no layer 'fc2' ran.*fc"):
        run["fc2"]


def test_views_are_no_steps_and_parameters_keep_their_names_under_them():
    model = nn.Sequential(fc=nn.Linear(4, 3), last=nn.Linear(3, 2))
    model["fc"].weight.prune(model["fc"].weight.data > 0)
    labels = np.arange(6).reshape(2, 3) % 2
    model["last"].weight.data = np.float32([0.5, 1])
    model["last"].weight.attach(nn.Codebook(labels))
    run = trace(model, ones(1, 4)).as_ops()
    assert [(s.kind, s.parameters) for s in run] == [
        ("linear", ("fc.weight", "fc.bias")), ("linear", ("last.weight", "last.bias"))]  # fmt: skip
    assert [value.shape for value in run.steps[1].inputs] == [(1, 3), (2, 3), (2,)]


def test_a_layer_that_reads_what_it_was_not_given_is_wired_to_it():
    class Skip(nn.Module):
        def __init__(self, source):
            self.source = [source]  # a function, so that it is no child

        def forward(self, x):
            return x + self.source[0]()

    class Hidden(nn.Module):
        def __init__(self):
            self.first, self.act = nn.Linear(2, 2), nn.ReLU()
            self.skip = Skip(lambda: self.kept)

        def forward(self, x):
            self.kept = self.first(x)
            return self.skip(self.act(self.kept))

    run = trace(Hidden(), ones(1, 2))
    assert run.before(run["skip"]) == [run["act"], run["first"]]
    assert run.after(run["first"]) == [run["act"], run["skip"]]


def test_a_layer_of_plain_numpy_is_still_one_step():
    class Outside(nn.Module):
        def forward(self, x):
            return Tensor(np.tanh(x.relu().data))

    model = nn.Sequential(fc=nn.Linear(2, 2), out=Outside(), last=nn.ReLU())
    run = trace(model, ones(1, 2))
    assert run.after(run["fc"]) == [run["out"]] and run.before(run["last"]) == [run["out"]]
    assert [step.kind for step in run.as_ops()] == ["linear", "Outside", "relu"]


def test_two_inputs_and_two_outputs():
    class Two(nn.Module):
        def __init__(self):
            self.add = nn.Add()

        def forward(self, x, y):
            both = self.add(x, y)
            return both, both.relu()

    run = trace(Two(), ones(2, 3), ones(2, 3))
    assert len(run.inputs) == 2 and run["add"].inputs == run.inputs
    assert [run.producer(value).kind for value in run.outputs] == ["Add", "relu"]


def test_the_model_is_left_as_it_was():
    model = residual_net()
    model["res1"].eval()
    modes = [module.training for module in model.modules()]
    before = model.state_dict()
    trace(model, ones(1, 1, 6, 6))
    assert [module.training for module in model.modules()] == modes
    assert all(model.state_dict()[name] is array for name, array in before.items())


def test_a_model_that_is_one_layer():
    run = trace(nn.Linear(3, 2), ones(1, 3))
    assert len(run) == 1 and run[""].kind == "Linear" and run[""].parameters == ("weight", "bias")


def test_the_table_lines_up_and_names_what_is_read():
    lines = str(trace(Own(), ones(2, 4))).split("\n")
    assert lines[0].split() == ["step", "kind", "layer", "reads", "makes", "shape", "parameters"]
    assert lines[2].split() == ["0", "Linear", "fc", "%0", "%1", "(2,", "4)", "fc.weight", "fc.bias"]
    assert "fc (call 2)" in lines[4] and "%3, %0" in lines[5]
    assert lines[6].endswith("scale (weights only)") and lines[-1] == "input %0, output %7"

"""The training loop: it learns, tells callbacks, stops on NaN, and a killed run resumes bit for bit."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import tinyopt
from tinyopt import Tensor, data, files, models, nn, optim, train
from tinyopt.callbacks import Progress
from tinyopt.checkpoint import load_state, save_state
from tinyopt.errors import DtypeError, FormatError, ShapeError, TrainingDiverged

rng = np.random.default_rng(0)
Y = rng.integers(0, 2, 200)
X = rng.random((200, 1, 8, 8), dtype=np.float32) * 0.8
X[Y == 1, :, :4] += 0.2  # brighter above: to be learned
PARTS = ((X[:160], Y[:160]), (X[160:], Y[160:]))


def net(seed=0):
    return nn.Sequential(
        flat=nn.Flatten(), fc1=nn.Linear(64, 16, rng=seed), norm=nn.BatchNorm1d(16), relu=nn.ReLU(), drop=nn.Dropout(0.2),
        fc2=nn.Linear(16, 2, rng=seed + 1),
    )  # fmt: skip


def weights(model):
    return np.concatenate([np.ravel(array) for array in model.state_dict().values()])


def test_it_learns_and_its_history_is_true():
    model = net()
    history = train.fit(model, PARTS, epochs=15, batch_size=16, progress=False)
    assert [row["epoch"] for row in history] == list(range(1, 16))
    assert history[-1]["loss"] < history[0]["loss"] and history[-1]["val_accuracy"] > 0.8
    with tinyopt.no_grad():
        hits = model(Tensor(X[160:])).data.argmax(axis=1) == Y[160:]
    assert history[-1]["val_accuracy"] == hits.mean() and not model.training
    assert np.isclose(history[-1]["val_error"], np.sqrt(hits.mean() * (1 - hits.mean()) / 40))


def test_one_seed_fixes_everything():
    runs = []
    for _ in range(2):
        tinyopt.manual_seed(3)
        model = net()
        train.fit(model, PARTS, epochs=2, seed=3, progress=False)
        runs.append(weights(model))
    assert np.array_equal(*runs)


def test_moments_come_in_their_order_and_may_stop_the_run():
    seen = []

    class Spy:
        def __getattr__(self, name):
            if name not in train.MOMENTS:
                raise AttributeError(name)
            return lambda run: seen.append((name, run.epoch, run.step))

    class Stop:
        def after_epoch(self, run):
            run.stop = True

    train.fit(net(), PARTS, epochs=5, batch_size=80, callbacks=[Spy(), Stop()], progress=False)
    steps = [("after_backward", 0, 0), ("after_step", 0, 1), ("after_backward", 0, 1), ("after_step", 0, 2)]
    assert seen == [("before_fit", 0, 0), ("before_epoch", 0, 0), *steps, ("after_epoch", 0, 2), ("after_fit", 0, 2)]


def test_the_schedule_moves_the_learning_rate_every_step():
    seen = []

    class Spy:
        def after_step(self, run):
            seen.append(run.optimizer.lr)

    model = net()
    train.fit(
        model, PARTS, epochs=2, batch_size=80, optimizer=optim.SGD(model.parameters(), lr=0.4), schedule=train.cosine,
        callbacks=[Spy()], progress=False,
    )  # fmt: skip
    assert np.allclose(seen, [0.4, 0.4 * (1 + np.sqrt(0.5)) / 2, 0.2, 0.4 * (1 - np.sqrt(0.5)) / 2])


def test_early_stopping_takes_the_best_weights_back():
    model = net()
    kept = {}

    class Keep:
        def after_epoch(self, run):
            kept[run.history[-1]["val_accuracy"]] = kept.get(run.history[-1]["val_accuracy"], weights(run.model))

    history = train.fit(model, PARTS, epochs=60, patience=3, callbacks=[Keep()], progress=False)
    assert len(history) < 60
    assert np.array_equal(weights(model), kept[max(kept)])


def test_regression_with_an_objective_of_ones_own():
    x = rng.normal(size=(64, 3)).astype(np.float32)
    y = (x @ np.array([[1.0], [-2.0], [0.5]], np.float32)).astype(np.float32)

    def squares(model, inputs, targets):
        outputs = model(inputs)
        return tinyopt.losses.mse_loss(outputs, targets), outputs

    model = nn.Linear(3, 1, rng=0)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    history = train.fit(
        model, ((x, y), None), epochs=20, batch_size=8, objective=squares, optimizer=optimizer, progress=False
    )
    assert history[-1]["loss"] < 1e-3 and "accuracy" not in history[-1]
    assert np.allclose(model.weight.data, [[1.0, -2.0, 0.5]], atol=0.02)
    history = train.fit(model, ((x, y), (x[:9], y[:9])), epochs=3, objective=squares, patience=2, progress="regression")
    residual = x[:9] @ model.weight.data.T + model.bias.data - y[:9]
    assert np.isclose(min(row["val_loss"] for row in history), (residual**2).mean(), atol=1e-6)  # the best was kept


# --- trouble ---------------------------------------------------------------------------------------


def test_a_diverging_run_stops_at_once_and_names_step_and_parameter():
    model = net()
    optimizer = optim.SGD(model.parameters(), lr=1e30)
    with (
        np.errstate(all="ignore"),
        pytest.raises(TrainingDiverged, match=r"at step \d+ \(epoch 1\).*fc\d.*learning rate"),
    ):
        train.fit(model, PARTS, optimizer=optimizer, progress=False)


def test_an_overflow_inside_a_layer_is_named():
    class Overflow(nn.Module):
        def forward(self, x):
            return (x * 1e30) * 1e30

    model = nn.Sequential(flat=nn.Flatten(), fine=nn.Linear(64, 2, rng=0), bad=Overflow())
    with np.errstate(all="ignore"), pytest.raises(TrainingDiverged, match=r"step 1 .*layer 'bad'"):
        train.fit(model, PARTS, progress=False)


@pytest.mark.parametrize(
    "parts, kind, sentence",
    [
        ((X[:0], Y[:0]), ShapeError, "empty"),
        ((np.where(X > 0.99, np.nan, X), Y), ValueError, "not finite"),
        (((X * 255).astype(np.uint8), Y), DtypeError, "divide by 255"),
        ((X, Y + 5), ValueError, r"\[0, 2\)"),
        ((X, Y - 1), ValueError, "-1"),
        ((X[:, :, :4], Y), ShapeError, r"needs x \(..., 64\)"),
        ((X, Y[:-1]), ShapeError, "200 images and 199 labels"),
    ],
)
def test_bad_data_get_one_sentence(parts, kind, sentence):
    with pytest.raises(kind, match=sentence) as failure:
        train.fit(net(), (parts, None), progress=False)
    assert "\n" not in str(failure.value)


def test_bad_settings_get_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="epochs"):
        train.fit(net(), PARTS, epochs=-1)
    with pytest.raises(ValueError, match="patience"):
        train.fit(net(), PARTS, patience=0)
    with pytest.raises(ValueError, match="validation"):
        train.fit(net(), (PARTS[0], None), patience=1, progress=False)
    with pytest.raises(FileNotFoundError, match="cannot write"):
        train.fit(net(), PARTS, checkpoint=tmp_path / "none" / "run", progress=False)
    with pytest.raises(tinyopt.errors.DeviceError, match="cpu"):
        train.fit(net(), PARTS, device="gpu")
    with pytest.raises(ValueError, match="epochs.*got 1.5"):
        train.fit(net(), PARTS, epochs=1.5)
    with pytest.raises(ValueError, match="checkpoint_every=3 needs a file.*checkpoint=path"):
        train.fit(net(), PARTS, checkpoint_every=3)
    for optimizer in (optim.Adam, "adam"):
        with pytest.raises(TypeError, match=r"optimizer is one of tinyopt.optim, such as Adam\(model"):
            train.fit(net(), PARTS, optimizer=optimizer)
    for objective in (lambda model, x, y: model(x).sum(), lambda model, x, y: None):
        with pytest.raises(TypeError, match=r"an objective returns \(loss, outputs\)"):
            train.fit(net(), PARTS, objective=objective, progress=False)


@pytest.mark.parametrize("parts", [(X, Y), data.Part(X, Y), [1, 2, 3], X, {"images": X}, "mnist"])
def test_what_are_no_two_parts_is_said_to_be_none(parts):
    with pytest.raises(TypeError, match=r"fit takes a Dataset, or a pair \(train, val\).*\(\(images, labels\), None\)"):
        train.fit(net(), parts, progress=False)


def test_the_validation_part_is_looked_at_before_the_first_step():
    class Never:
        def after_step(self, run):
            raise AssertionError("a step was made")

    for val, kind in (((X * np.nan, Y), ValueError), ((X[:0], Y[:0]), ShapeError), ((X > 0.5, Y), DtypeError)):
        with pytest.raises(kind):
            train.fit(net(), (PARTS[0], val), callbacks=[Never()], progress=False)


def test_a_loss_that_overflows_by_itself_says_how_large_the_outputs_were():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2, rng=0))
    objective = lambda model, x, y: ((logits := model(x) * 1e30).sum() * 1e30, logits)
    with (
        np.errstate(all="ignore"),
        pytest.raises(TrainingDiverged, match=r"finite, up to \d.*e\+\d\d, so.*in the loss"),
    ):
        train.fit(model, PARTS, objective=objective, progress=False)


def test_progress_writes_plain_lines_where_there_is_no_terminal(capsys):
    train.fit(net(), PARTS, epochs=2, progress="baseline")
    lines = capsys.readouterr().err.strip().split("\n")
    assert len(lines) == 2 and lines[1].startswith("baseline epoch 2/2  loss") and "validation" in lines[1]


def test_progress_draws_a_bar_in_a_terminal(capsys):
    import io

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    screen = Terminal()
    train.fit(net(), PARTS, epochs=1, callbacks=[Progress("baseline", screen)], progress=False)
    assert "epoch=1/1" in screen.getvalue() and "loss=" in screen.getvalue()


# --- resuming --------------------------------------------------------------------------------------


def make(model_seed=0):
    tinyopt.manual_seed(5)
    model = net(model_seed)
    return model, optim.Adam(model.parameters(), lr=0.01)


def run(checkpoint=None, epochs=4, callbacks=(), **settings):
    model, optimizer = make()
    history = train.fit(
        model, PARTS, epochs=epochs, batch_size=16, optimizer=optimizer, schedule=train.cosine, seed=5, progress=False,
        checkpoint=checkpoint, callbacks=callbacks, **settings,
    )  # fmt: skip
    return weights(model), [{k: v for k, v in row.items() if k != "seconds"} for row in history]


class KilledAt:
    """Stands for the power cut: leaves everything as it is, between any two steps."""

    def __init__(self, step):
        self.step = step

    def after_backward(self, run):
        if run.step == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("step", [0, 3, 9, 10, 17, 39])
@pytest.mark.parametrize("every", [None, 4])
def test_a_run_killed_at_any_step_resumes_bit_for_bit(tmp_path, step, every):
    whole, history = run(patience=3)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", callbacks=[KilledAt(step)], checkpoint_every=every, patience=3)
    resumed, again = run(tmp_path / "run", callbacks=[KilledAt(-1)], checkpoint_every=every, patience=3)
    assert np.array_equal(resumed, whole) and again == history


def test_a_run_killed_while_it_validates_resumes_bit_for_bit(tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    whole, history = run()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(train, "evaluate", killed)
        run(tmp_path / "run", checkpoint_every=10)  # ten steps are an epoch
    assert load_state(tmp_path / "run")["position"]["first_batch"] == 10
    resumed, again = run(tmp_path / "run", checkpoint_every=10)
    assert np.array_equal(resumed, whole) and again == history


def test_a_process_killed_by_the_system_resumes_bit_for_bit(tmp_path):
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    code = (
        "import sys, time; sys.path[:0] = [sys.argv[1], sys.argv[1] + '/tests']\n"
        "import test_train as t\n"
        "class Slow:\n    def after_step(self, run): time.sleep(0.02)\n"
        "t.run(sys.argv[2], epochs=30, callbacks=[Slow()], checkpoint_every=3)"
    )
    path = tmp_path / "run"
    process = subprocess.Popen([sys.executable, "-c", code, root, str(path)])
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (path.exists() and load_state(path)["position"]["step"] > 6):
        time.sleep(0.01)
    process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
    process.wait()
    assert 6 < load_state(path)["position"]["step"] < 300
    assert np.array_equal(run(path, epochs=30)[0], run(epochs=30)[0])


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    run(tmp_path / "run", epochs=1)
    with pytest.raises(ValueError, match="of another run: it was made with seed 5, here 6. Give"):
        train.fit(net(), PARTS, epochs=1, batch_size=16, seed=6, checkpoint=tmp_path / "run", progress=False)
    with pytest.raises(ValueError, match=r"of another run.*callbacks \[\], here \['EarlyStopping'\]"):
        run(tmp_path / "run", patience=2)
    files.save(net(), tmp_path / "model")
    with pytest.raises(FormatError, match="no checkpoint"):
        run(tmp_path / "model")


def test_states_come_back_as_they_were(tmp_path):
    state = {
        "a": {"b": np.arange(3.0), "c": 2**100},
        "d": [1, "x", None],
        "e": {},
        "f": np.int64(3),
        "g": np.zeros((0, 2), bool),
    }
    save_state(tmp_path / "s", state)
    again = load_state(tmp_path / "s")
    assert np.array_equal(again["a"]["b"], state["a"]["b"]) and again["a"]["c"] == 2**100
    assert again["d"] == [1, "x", None] and again["e"] == {} and again["f"] == 3
    assert again["g"].shape == (0, 2) and again["g"].dtype == bool


def test_lenet5_learns_the_embedded_digits():
    parts = data.digits()
    model = models.lenet5(image_size=8, filters=(8, 16), units=64, rng=0)
    optimizer = optim.Adam(model.parameters(), lr=3e-3)
    history = train.fit(model, parts, epochs=4, optimizer=optimizer, progress=False)
    assert history[-1]["val_accuracy"] > 0.9

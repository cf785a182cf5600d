"""The command line as a new user meets it: right and wrong input, in an empty folder."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import tinyopt
from one_thread import one_thread  # noqa: F401
from tinyopt import cli, compress, data, files, models, train
from tinyopt.report import blas, doctor, fresh

DIGITS = data.digits()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """An empty folder to be in, and threads left as they are."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(blas, "limit_threads", lambda: True)
    monkeypatch.delenv("TINYOPT_DATA", raising=False)
    return tmp_path


@pytest.fixture
def model_file():
    model = models.lenet_300_100(image_size=8, rng=0)
    compress.prune(model, 0.9)
    compress.share(model, 8)
    files.save(model, "m.top", coding="huffman", notes={"data": "digits"})
    return model


def run(capsys, *arguments):
    """(exit status, stdout, stderr) of one command."""
    try:
        status = cli.main(list(arguments))
    except SystemExit as stop:
        status = stop.code
    said = capsys.readouterr()
    return status, said.out, said.err


# --- wrong input: one sentence, status 2 ------------------------------------------------------------


@pytest.mark.parametrize(
    "line, sentence",
    [
        ("tour --model lenet4 --out t", "Did you mean lenet5?"),
        ("tour --data mnist5 --out t", "Did you mean 'mnist5k'?"),
        ("tour --epochs -1", "a whole number of 0 or more is due; got '-1'"),
        ("tour --seed one", "a whole number of 0 or more is due; got 'one'"),
        ("tour --out file", "a file of that name is there"),
        ("tour --out file/t", "cannot make the folder"),
        ("tour --readme none.md --data digits", "there is no README none.md"),
        ("tour --readme file --data digits", "<!-- tour:begin -->"),
        ("tuor", "invalid choice: 'tuor'"),
        ("train --optimizer adm", "Did you mean Adam?"),
        ("train --lr -1 --data digits", "above 0"),
        ("train --lr much", "invalid float value: 'much'"),
        ("train --batch-size 0", "a whole number of 1 or more is due"),
        ("train --data digits --out none/m.top", "cannot write none/m.top: there is no folder"),
        ("train --data digits --out .", "it is a folder"),
        ("train --data digits --device tpu", "a device is one of"),
        ("evaluate m.top", "--data"),
        ("evaluate none.top --data digits", "there is no file none.top"),
        ("evaluate m.top --data mnist5k", "the model in m.top does not fit mnist5k"),
        ("evaluate m.top --data digits --part all", "invalid choice: 'all'"),
        ("inspect none.top", "there is no file none.top"),
        ("inspect empty", "is empty"),
        ("inspect file", "is not a tinyopt file"),
        ("inspect cut.top", "is damaged"),
        ("inspect flipped.top", "is damaged"),
        ("inspect .", "is a folder"),
    ],
)
def test_wrong_input_ends_as_one_sentence(line, sentence, model_file, home, capsys):
    content = (home / "m.top").read_bytes()
    (home / "file").write_text("hello", encoding="utf-8")
    (home / "empty").write_bytes(b"")
    (home / "cut.top").write_bytes(content[:-100])
    (home / "flipped.top").write_bytes(content[:900] + bytes([content[900] ^ 1]) + content[901:])
    before = sorted(path.name for path in home.iterdir())
    status, out, err = run(capsys, *line.split())
    assert status == 2 and out == ""
    assert sentence in err and err.count("\n") == 1 and "Traceback" not in err and "usage" not in err
    assert sorted(path.name for path in home.iterdir()) == before  # nothing half-written is left


def test_a_missing_package_and_ctrl_c_are_no_tracebacks(monkeypatch, capsys):
    def missing():
        raise ModuleNotFoundError("No module named 'tqdm'")

    monkeypatch.setattr(doctor, "facts", missing)
    assert run(capsys, "doctor")[::2] == (2, "tinyopt: No module named 'tqdm'\n")

    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "facts", interrupted)
    assert run(capsys, "doctor")[::2] == (130, "tinyopt: stopped by Ctrl-C\n")


# --- right input ------------------------------------------------------------------------------------


def test_help_is_shown_when_nothing_is_asked(capsys):
    status, out, _ = run(capsys)
    assert status == 2 and all(name in out for name in ("tour", "train", "evaluate", "inspect", "doctor"))
    for name in ("tour", "train", "evaluate", "inspect", "doctor"):
        status, out, _ = run(capsys, name, "--help")
        assert status == 0 and f"example: tinyopt {name}" in out


def test_python_m_tinyopt_is_tinyopt(capsys):
    _, out, _ = run(capsys, "--version")
    home = os.path.dirname(os.path.dirname(tinyopt.__file__))
    path = os.pathsep.join([home, os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "tinyopt", "--version"]
    other = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})
    assert (other.returncode, other.stdout) == (0, out) and out == f"tinyopt {tinyopt.__version__}\n"


def test_inspect_accounts_for_every_byte(model_file, home, capsys):
    status, out, _ = run(capsys, "inspect", "m.top")
    assert status == 0
    by_tensor, by_kind, rest = out.split("\n\n")
    size = f"{(home / 'm.top').stat().st_size:,}"
    for table in (by_tensor, by_kind):
        *lines, total = table.splitlines()
        assert size in total.split()
        column = -1 if table is by_tensor else -2
        numbers = [int(line.split()[column].replace(",", "")) for line in lines[2:-1]]
        assert f"{sum(numbers):,}" == size
    assert "sparse+codebook" in by_kind and "note  data: digits" in rest
    assert "(fc1): Linear(in_features=64" in rest


def test_inspect_shows_a_checkpoint_too(home, capsys):
    model = models.lenet_300_100(image_size=8, rng=0)
    train.fit(model, (DIGITS.val, None), epochs=1, checkpoint="run.ckpt", progress=False)
    status, out, _ = run(capsys, "inspect", "run.ckpt")
    assert status == 0 and f"{(home / 'run.ckpt').stat().st_size:,}" in out
    assert "it may be a checkpoint" in out


def test_evaluate_says_what_the_file_does(model_file, home, capsys):
    images, labels = DIGITS.val
    predictions = model_file.eval()(tinyopt.Tensor(images)).numpy().argmax(axis=1)
    status, out, _ = run(capsys, "evaluate", "m.top", "--data", "digits", "--part", "val", "--json")
    read = json.loads(out)
    assert status == 0 and read["predictions"] == predictions.tolist() and read["labels"] == labels.tolist()
    assert read["accuracy"] == pytest.approx((predictions == labels).mean())
    assert read["bytes"] == (home / "m.top").stat().st_size
    assert read["macs"] == 64 * 300 + 300 * 100 + 100 * 10 and set(read["latency"]) == {"1", "64"}
    again = fresh.from_json(out)
    assert again.quality.accuracy == read["accuracy"] and again.latency[64] == read["latency"]["64"]
    status, out, _ = run(capsys, "evaluate", "m.top", "--data", "digits", "--part", "val")
    assert status == 0 and f"{read['accuracy']:.2%}" in out
    assert f"{read['nonzeros']:,} of them not zero" in out


def test_train_saves_and_a_stopped_run_goes_on(home, capsys):
    common = ["train", "--model", "lenet_300_100", "--data", "digits", "--lr", "0.01", "--optimizer", "sgd"]
    status, out, err = run(capsys, *common, "--epochs", "2", "--out", "whole.top")
    assert status == 0 and err.count("epoch") == 2 and "accuracy" in out and "multiply-adds" in out
    assert files.notes("whole.top") == {"model": "lenet_300_100", "data": "digits", "epochs": 2, "seed": 0}
    for _ in range(2):  # the second time there is nothing left to do
        resumed = run(capsys, *common, "--epochs", "2", "--out", "again.top", "--checkpoint", "run.ckpt")
        assert resumed[0] == 0
        assert (home / "again.top").read_bytes() == (home / "whole.top").read_bytes()
    assert resumed[2] == ""


def test_an_unknown_stream_is_left_alone(monkeypatch, model_file):
    class Bare:
        def write(self, text):
            return len(text)

        def flush(self):
            pass

    monkeypatch.setattr(sys, "stdout", Bare())
    assert cli.main(["inspect", "m.top"]) == 0


# --- the machine ------------------------------------------------------------------------------------


def test_doctor_names_all_that_was_asked_for(monkeypatch, capsys):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    status, out, _ = run(capsys, "doctor")
    lines = dict(line.split("  ", 1) for line in out.splitlines())
    assert status == 0 and np.__version__ in lines["NumPy"]
    assert "OPENBLAS_CORETYPE=Haswell" in lines["variables"]
    assert "embedded" in lines["data: mnist5k"] and lines["GPU"].strip().startswith(("none: ", "available"))
    assert {"Python", "BLAS", "BLAS kernel", "BLAS threads", "matplotlib", "tqdm"} <= set(lines)


def test_doctor_lives_with_another_blas_and_with_a_wrong_data_folder(monkeypatch, home):
    def none(*_):
        raise ValueError("no library")

    monkeypatch.setattr(blas, "_openblas", none)
    monkeypatch.setattr(blas, "_ask_threadpoolctl", none)
    assert blas.describe()["kernel"] == blas.describe()["threads"] == "unknown"
    monkeypatch.setenv("TINYOPT_DATA", str(home / "none"))
    found = doctor.facts()
    assert "unknown" in found["BLAS kernel"] and "there is no such folder" in found["data: mnist"]


def test_threads_are_limited_unless_a_variable_says_otherwise(monkeypatch):
    monkeypatch.undo()  # the real one
    asked = []
    monkeypatch.setattr(blas, "_openblas", lambda name: asked.append)
    for name in blas.THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert blas.limit_threads(3) and asked == [3]
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    assert not blas.limit_threads(3) and asked == [3]

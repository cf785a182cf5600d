"""A whole tour, tiny: every column of its table is held against the files, by other means than its own."""

import csv
import functools
import json
import lzma
import math
import zlib

import numpy as np
import pytest

import tinyopt
from one_thread import one_thread  # noqa: F401
from tinyopt import cli, data, files
from tinyopt.report import blas, fresh, plots, readme, results, tables
from tinyopt.report import tour as tours
from tinyopt.report.lab import Lab, Made

DIGITS = data.digits()
NAMES = list(tours.TECHNIQUES)
TEXT = f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tour")
    (folder / "README.md").write_text(TEXT, encoding="utf-8")
    where = {"out": folder / "out", "page": folder / "README.md"}
    tours.tour("lenet_300_100", "digits", epochs=1, seed=3, progress=False, **where)
    return folder


@pytest.fixture(scope="module")
def report(home):
    return json.loads((home / "out" / "tour.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def rows(report):
    return {row["technique"]: row for row in report["rows"]}


def model_bytes(home, row):
    """The bytes of a row's model file; out of its archive, if it lies in one."""
    unpack = {"zlib": zlib.decompress, "xz": lzma.decompress}.get(row["file"].rpartition(".")[2], bytes)
    return unpack((home / "out" / row["file"]).read_bytes())


@pytest.fixture(scope="module")
def models(home, rows, tmp_path_factory):
    """Every file of the tour, loaded here."""
    path = tmp_path_factory.mktemp("models") / "model.top"
    loaded = {}
    for name, row in rows.items():
        path.write_bytes(model_bytes(home, row))
        loaded[name] = tinyopt.load(path)
    return loaded


@pytest.fixture(scope="module")
def right(models):
    """Which test images each model gets right, by its logits alone."""
    images, labels = DIGITS.test
    logits = {name: model(tinyopt.Tensor(images)).numpy() for name, model in models.items()}
    return {name: values.argmax(axis=1) == labels for name, values in logits.items()}


def test_every_technique_has_a_row(report, rows):
    assert report["finished"] and list(rows) == NAMES
    assert report["command"] == "tinyopt tour --model lenet_300_100 --data digits --epochs 1 --seed 3"
    assert {"tinyopt", "python", "numpy", "blas", "blas_kernel", "blas_threads"} <= set(report["machine"])
    assert report["seconds"] > 0


def test_bytes_are_those_of_the_file_and_the_ledger_accounts_for_all(home, rows):
    for row in rows.values():
        path = home / "out" / row["file"]
        assert row["file_bytes"] == path.stat().st_size
        assert row["ratio"] == pytest.approx((home / "out" / "dense.top").stat().st_size / row["file_bytes"])
        if path.suffix == ".top":
            assert sum(n for *_, n in files.ledger(path)) == row["file_bytes"]
            assert f"{row['file_bytes']:,}" in tables.ledger_tables(path)


def test_archives_hold_the_dense_file(home, rows):
    dense = (home / "out" / "dense.top").read_bytes()
    assert model_bytes(home, rows["dense + zlib"]) == model_bytes(home, rows["dense + lzma"]) == dense
    assert rows["dense + lzma"]["accuracy_percent"] == rows["dense"]["accuracy_percent"]
    assert rows["dense + zlib"]["file_bytes"] < len(dense)


@pytest.mark.parametrize("name", NAMES)
def test_accuracy_and_its_change_are_those_of_the_loaded_file(name, rows, right):
    row, hits, before, n = rows[name], right[name], right["dense"], len(DIGITS.test)
    share = hits.mean()
    assert row["accuracy_percent"] == pytest.approx(100 * share)
    assert row["accuracy_se"] == pytest.approx(100 * math.sqrt(share * (1 - share) / n))
    gained, lost = (hits & ~before).sum(), (before & ~hits).sum()
    assert row["change_points"] == pytest.approx(100 * (gained - lost) / n)
    variance = (gained + lost) / n - ((gained - lost) / n) ** 2
    assert row["change_se"] == pytest.approx(100 * math.sqrt(variance / n), abs=1e-9)
    where = {c: DIGITS.test.labels == c for c in range(10)}
    recalls = {c: hits[images].mean() - before[images].mean() for c, images in where.items()}
    assert row["worst_recall_change_points"] == pytest.approx(100 * min(recalls.values()))
    assert recalls[int(row["worst_class"])] == min(recalls.values())


def test_counts_are_those_of_the_loaded_model(rows, models):
    for name, model in models.items():
        values = [parameter.read().data for parameter in model.parameters()]
        assert rows[name]["parameters"] == sum(value.size for value in values)
        assert rows[name]["nonzeros"] == sum(np.count_nonzero(value) for value in values)
    dense = 64 * 300 + 300 * 100 + 100 * 10
    assert all(rows[name]["macs"] == dense for name in ("dense", "dense + zlib", "prune", "int8", "share"))
    ranks = models["low rank"].get("fc1").rank, models["low rank"].get("fc2").rank
    assert rows["low rank"]["macs"] == ranks[0] * (64 + 300) + ranks[1] * (300 + 100) + 100 * 10 < dense
    assert rows["distill"]["macs"] == rows["student alone"]["macs"] == 64 * 16 + 16 * 10


def test_each_technique_did_what_it_says(rows, models):
    def distinct(name, layer="fc1"):
        values = models[name].get(f"{layer}.weight").read().data
        return len(np.unique(values[values != 0]))

    n_weights = 64 * 300 + 300 * 100 + 100 * 10
    sparsity = rows["prune"]["settings"]["sparsity"]
    assert rows["prune"]["nonzeros"] <= n_weights - int(sparsity * n_weights) + 410  # and the biases
    assert rows["deep compression"]["nonzeros"] <= rows["prune"]["nonzeros"]
    assert rows["int8"]["file_bytes"] < rows["dense"]["file_bytes"] / 3.7
    assert distinct("share") <= rows["share"]["settings"]["n_values"]
    assert distinct("deep compression") <= rows["deep compression"]["settings"]["n_values"]
    assert rows["deep compression"]["settings"]["sparsity"] == sparsity
    assert rows["distill"]["file_bytes"] == rows["student alone"]["file_bytes"]
    sizes = {name: row["file_bytes"] for name, row in rows.items()}
    assert sizes["deep compression"] < min(sizes["prune"], sizes["share"], sizes["int8"])
    assert all(row["latency_ms_batch_1"] > 0 and row["latency_ms_batch_64"] > 0 for row in rows.values())


def test_settings_are_the_first_that_hold_on_validation_data(rows):
    accuracy = rows["dense"]["validation_percent"]["dense"]
    error = 100 * math.sqrt(accuracy / 100 * (1 - accuracy / 100) / len(DIGITS.val))
    floor = accuracy - max(error, 100 / len(DIGITS.val)) - 1e-9
    for name, setting in (("prune", "sparsity"), ("share", "n_values"), ("low rank", "rank_fraction")):
        tried = {float(key): value for key, value in rows[name]["validation_percent"].items()}
        *failed, last = tried.values()
        chosen = rows[name]["settings"][setting]
        assert all(value < floor for value in failed)
        assert chosen == (list(tried)[-1] if last >= floor else max(tried, key=tried.get))


def test_the_same_seed_makes_the_same_files(home, rows, tmp_path):
    lab = Lab("lenet_300_100", DIGITS, 1, 3, progress=False)
    for name in ("dense", "prune", "share", "distill", "deep compression"):
        made = lab.made[name] = tours.TECHNIQUES[name](lab)
        files.save(made.model, tmp_path / "model.top", coding=made.coding)
        assert (tmp_path / "model.top").read_bytes() == (home / "out" / rows[name]["file"]).read_bytes(), name


def test_csv_says_the_same_as_json(home, rows):
    with open(home / "out" / "tour.csv", encoding="utf-8", newline="") as file:
        lines = {line["technique"]: line for line in csv.DictReader(file)}
    assert list(lines) == NAMES
    for name, line in lines.items():
        for column, value in rows[name].items():
            if not isinstance(value, dict):
                assert line[column] == str(value)
    assert lines["int8"]["settings"] == "bits=8; per_channel=True"


def test_figures_are_png_files_and_the_one_for_the_readme_is_small(home):
    pictures = [home / "out" / f"{name}.png" for name in ("training_curves", "weights", "confusion")]
    pictures += [home / "out" / "accuracy_against_bytes.png", home / readme.FIGURE]
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in pictures)
    assert pictures[-1].stat().st_size <= 80_000
    assert not list((home / "out").glob("*.tmp"))


def test_the_readme_gets_the_table_between_its_marks(home, rows):
    text = (home / "README.md").read_text(encoding="utf-8")
    assert text.startswith(f"before\n{readme.BEGIN}\n| technique |")
    assert text.endswith(f"{readme.END}\nafter\n")
    assert "old" not in text and "--epochs 1 --seed 3`" in text
    for row in rows.values():
        line = next(line for line in text.splitlines() if line.startswith(f"| {row['technique']} |"))
        assert f"| {row['file_bytes']:,} |" in line and f"| {row['accuracy_percent']:.2f} |" in line


def test_the_table_fits_120_columns(rows):
    made = [results.Row(**row) for row in rows.values()]
    large = {"file_bytes": 1_724_697, "macs": 2_293_000, "parameters": 431_080, "nonzeros": 431_080}
    bad = {"accuracy_percent": 100.0, "change_points": -57.5, "worst_recall_change_points": -100.0}
    wide = {**rows["dense"], "technique": "deep compression", **large, **bad, "latency_ms_batch_64": 123.4}
    table = tables.tour_table([*made, results.Row(**wide)])
    assert max(map(len, [*table.splitlines(), *tables.LEGEND.splitlines()])) <= 120
    assert "−0.00" not in table and "−57.50 ± 0.00" in table


# --- what may go wrong -----------------------------------------------------------------------------


@pytest.fixture
def in_process(monkeypatch):
    """No fresh processes and no change of threads, to be quick."""
    here = functools.partial(fresh.measured, budget=0.01)
    monkeypatch.setattr(results, "measured_afresh", here)
    monkeypatch.setattr(blas, "limit_threads", lambda: True)


def test_ctrl_c_leaves_the_finished_rows_and_says_so(in_process, monkeypatch, tmp_path, capsys):
    def interrupted(lab):
        raise KeyboardInterrupt

    monkeypatch.setattr(tours, "TECHNIQUES", {"dense": tours.dense, "int8": tours.int8, "share": interrupted})
    out = tmp_path / "out"
    line = "tour --model lenet_300_100 --data digits --epochs 1 --out"
    status = cli.main([*line.split(), str(out)])
    said = capsys.readouterr().err
    assert status == 130 and "Stopped: 2 of 3 rows are finished" in said and str(out) in said
    report = json.loads((out / "tour.json").read_text(encoding="utf-8"))
    assert not report["finished"] and [row["technique"] for row in report["rows"]] == ["dense", "int8"]
    assert len((out / "tour.csv").read_text(encoding="utf-8").splitlines()) == 3


def test_a_file_that_answers_otherwise_than_the_model_stops_the_tour(in_process, monkeypatch, tmp_path):
    def other(lab):
        made = lab.made["dense"]
        model = lab.fresh_model()
        monkeypatch.setattr(files, "save", lambda _, path, coding: path.write_bytes(wrong))
        return Made(model, made.settings)

    files.save(Lab("lenet_300_100", DIGITS, 1, 0, False).student(), tmp_path / "wrong.top")
    wrong = (tmp_path / "wrong.top").read_bytes()
    monkeypatch.setattr(tours, "TECHNIQUES", {"dense": tours.dense, "other": other})
    with pytest.raises(RuntimeError, match="answers otherwise than this one for"):
        tours.tour("lenet_300_100", "digits", epochs=0, out=tmp_path / "out", progress=False)


@pytest.mark.filterwarnings("ignore:nothing is left of")  # untrained weights of a wide layer are all small
def test_lenet5_and_no_epochs_at_all_go_through(in_process, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(tours, "figures", lambda *_: {})
    assert cli.main(["tour", "--data", "digits", "--epochs", "0", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert "[10/10] deep compression" in said.err and said.out.count("\n") > 20


# --- figures ---------------------------------------------------------------------------------------


def test_labels_of_crowded_points_do_not_overlap():
    from matplotlib.text import Text

    n_bytes = [1.72e6, 1.60e6, 1.59e6, 1.05e5, 1.10e5, 5.7e4, 5.7e4, 2.5e4]
    accuracy = [97.4, 97.4, 97.4, 97, 97, 95, 94.9, 97]
    figure = plots.accuracy_against_bytes(NAMES[:8], accuracy, [0.5] * 8, n_bytes)
    (axes,) = figure.axes
    renderer = figure.canvas.get_renderer()
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text, renderer) for text in axes.texts]  # without the lines to the points
    assert [text.get_text() for text in axes.texts] == NAMES[:8]
    pairs = [(a, b) for i, a in enumerate(boxes) for b in boxes[:i]]
    assert not any(a.overlaps(b) for a, b in pairs)
    points = axes.transData.transform(list(zip(n_bytes, accuracy)))
    assert not any(box.contains(*point) for box in boxes for point in points)


def test_weight_histograms_count_zeros_and_distinct_values():
    before = np.random.default_rng(0).normal(size=(30, 20))
    pruned = np.where(abs(before) > 1, before, 0)
    figure = plots.weight_histograms(before, {"prune": pruned, "share": np.sign(before)}, title="t")
    counted = f"{np.count_nonzero(pruned) + 1} distinct, {(pruned == 0).mean():.0%} zeros"
    assert [axes.get_title() for axes in figure.axes] == [f"prune\n{counted}", "share\n2 distinct, 0% zeros"]
    for axes, values in zip(figure.axes, (pruned, np.sign(before))):
        bars = [patch.get_height() for patch in axes.patches if hasattr(patch, "get_height")]
        assert sum(bars) == np.count_nonzero(values)


def test_confusion_shows_every_count():
    cells = np.array([[5, 1], [0, 7]])
    figure = plots.confusion(cells, ("cat", "dog"))
    assert sorted(text.get_text() for text in figure.axes[0].texts) == ["1", "5", "7"]


def test_training_curves_draw_each_history():
    row = {"epoch": 1, "loss": 1.0, "accuracy": 0.5, "val_loss": 1.1, "val_accuracy": 0.4, "val_error": 0.01}
    figure = plots.training_curves({"one": [row, {**row, "epoch": 2}], "two": [row], "none": []})
    left, right = figure.axes
    assert len(left.lines) == 6 and [line.get_label() for line in right.lines[1::2]] == ["one", "two", "none"]
    assert right.lines[1].get_ydata().tolist() == [40, 40] and right.lines[0].get_ydata().tolist() == [50, 50]

"""Rows as text, as Markdown and as CSV; and the ledger of a model file."""

import csv
import io
from dataclasses import asdict

from tinyopt import files
from tinyopt.measure.table import text_table


def _signed(number, digits=2):
    return f"{round(number, digits) + 0.0:+.{digits}f}".replace("-", "−")  # + 0.0: no −0.00


def _worst(row):
    lost = row.worst_recall_change_points
    return f"{_signed(lost, 1)} ({row.worst_class})" if lost < 0 else "none"


COLUMNS = {  # header -> what stands under it, as text
    "technique": lambda row: row.technique,
    "accuracy, %": lambda row: f"{row.accuracy_percent:.2f}",
    "change ± SE": lambda row: f"{_signed(row.change_points)} ± {row.change_se:.2f}",
    "worst class": _worst,
    "bytes": lambda row: f"{row.file_bytes:,}",
    "ratio": lambda row: f"{row.ratio:.1f}×",
    "params": lambda row: f"{row.parameters:,}",
    "non-zero": lambda row: f"{row.nonzeros:,}",
    "kMACs": lambda row: f"{row.macs / 1000:,.0f}",
    "ms, 1": lambda row: f"{row.latency_ms_batch_1:.2f}",
    "ms, 64": lambda row: f"{row.latency_ms_batch_64:.1f}",
}
LEGEND = """\
accuracy: after a fresh process loaded the file · change: against dense, in points, with its paired standard
error · worst class: largest loss of recall, in points (the class) · bytes: size of the file · ratio: dense
/ this · kMACs: thousand multiply-adds executed for one image · ms: median time for a batch of 1 and of 64.
Masked, rounded and shared weights are multiplied as float32 here: they save bytes, not time; low rank and a
student save both."""


def tour_table(rows):
    """The table of the tour, at most 120 columns wide."""
    return text_table(list(COLUMNS), [[cell(row) for cell in COLUMNS.values()] for row in rows])


def settings_lines(rows):
    """What was chosen for each row, and the validation accuracy of each candidate."""
    for row in rows:
        chosen = ", ".join(f"{name} {value}" for name, value in row.settings.items())
        tried = ", ".join(f"{name}: {percent:.1f} %" for name, percent in row.validation_percent.items())
        if chosen:
            yield f"{row.technique}: {chosen}" + (f" (on validation data: {tried})" if tried else "")


def markdown_table(rows):
    """The same table for a Markdown page."""
    lines = [list(COLUMNS), ["---"] + ["--:"] * (len(COLUMNS) - 1)]
    lines += [[cell(row) for cell in COLUMNS.values()] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def csv_text(rows):
    """Rows as CSV, numbers unrounded; the names of the columns say the units."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    for number, row in enumerate(map(asdict, rows)):
        if number == 0:
            writer.writerow(row)
        writer.writerow(_flat(value) if isinstance(value, dict) else value for value in row.values())
    return text.getvalue()


def _flat(settings):
    return "; ".join(f"{name}={value}" for name, value in settings.items())


def ledger_tables(path):
    """Where the bytes of a model file went: by tensor, then by kind; both add up to the file's size.

    Raises: FileNotFoundError; FormatError for a damaged or foreign file.
    """
    rows = files.ledger(path)
    total = sum(n_bytes for *_, n_bytes in rows)
    kinds = {}
    for _, kind, part, n_bytes in rows:
        name = f"{kind}: {part}" if part else kind
        kinds[name] = kinds.get(name, 0) + n_bytes
    shares = [[kind, n_bytes, f"{n_bytes / total:.1%}"] for kind, n_bytes in kinds.items()]
    by_tensor = text_table(["tensor", "kind", "part", "bytes"], rows, left=3, total=["total", "", "", total])
    by_kind = text_table(["kind", "bytes", "share"], shares, total=["total", total, "100.0%"])
    return f"{by_tensor}\n\n{by_kind}"

"""What the tour measures and writes: a file for each technique, a row for each file, a table of rows."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from tinyopt import files
from tinyopt.codec import atomic_write
from tinyopt.measure import compare, evaluate
from tinyopt.report import tables
from tinyopt.report.fresh import measured_afresh


@dataclass(frozen=True)
class Row:
    """One line of the table: what a fresh process measured on a file that it loaded.

    Units: accuracy in percent, changes in percentage points, `..._se` their standard errors (that of the
    change is paired); ratio, the dense file's bytes / these; macs for one image; latency in milliseconds.
    """

    technique: str
    accuracy_percent: float
    accuracy_se: float
    change_points: float
    change_se: float
    worst_recall_change_points: float
    worst_class: str
    file_bytes: int
    ratio: float
    parameters: int
    nonzeros: int
    macs: int
    latency_ms_batch_1: float
    latency_ms_batch_64: float
    file: str
    settings: dict
    validation_percent: dict


class Results:
    """The folder of a tour. Rows are added one by one, and all that is finished is always on disk.

    Attributes: `about`, the tour's seed, command and machine; `rows`; `measured`, by row's name.
    Raises: OSError with a clear sentence if the folder cannot be made or written to.
    """

    def __init__(self, folder, about, data):
        self.folder, self.about, self.data = Path(folder), about, data
        self.rows, self.measured = [], {}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            why = "a file of that name is there" if isinstance(problem, FileExistsError) else problem.strerror
            raise type(problem)(f"cannot make the folder {folder}: {why}. Choose another place") from None
        self.write()  # an unwritable folder is noticed now, not after training

    def add(self, name, made):
        """Write what a technique made into a file, have that measured, and add the row, which is returned."""
        path = self.folder / f"{name.partition(' + ')[0].replace(' ', '_')}.top"
        if made.archiver:
            suffix, squeeze, unsqueeze = _archiver(made.archiver)
            plain, path = path.read_bytes(), path.with_name(path.name + suffix)
            atomic_write(path, squeeze(plain))
            result = _measured_inside(path, unsqueeze, self.data.name)
        else:
            files.save(made.model, path, coding=made.coding)
            result = measured_afresh(path, self.data.name)
        here = evaluate(made.model, self.data.test).predictions
        if not np.array_equal(here, result.quality.predictions):
            n = int((here != result.quality.predictions).sum())
            raise RuntimeError(f"{path}: a fresh process answers otherwise than this one for {n} test images")
        self.measured[name] = result
        self.rows.append(self._row(name, made, path, result))
        self.write()
        return self.rows[-1]

    def _row(self, name, made, path, result):
        dense, size = self.measured["dense"], os.path.getsize(path)
        change = compare(dense.quality, result.quality)
        return Row(
            technique=name,
            accuracy_percent=100 * result.quality.accuracy,
            accuracy_se=100 * result.quality.standard_error,
            change_points=100 * change.difference,
            change_se=100 * change.standard_error,
            worst_recall_change_points=100 * change.worst_recall_change,
            worst_class=self.data.classes[change.worst_class],
            file_bytes=size,
            ratio=dense.bytes / size,
            parameters=result.parameters,
            nonzeros=result.nonzeros,
            macs=result.macs,
            latency_ms_batch_1=1e3 * result.latency[1],
            latency_ms_batch_64=1e3 * result.latency[64],
            file=path.name,
            settings=made.settings,
            validation_percent={str(setting): 100 * accuracy for setting, accuracy in made.tried.items()},
        )

    def write(self):
        """Rewrite tour.csv and tour.json, each whole or not at all."""
        rows = [asdict(row) for row in self.rows]
        report = json.dumps({**self.about, "rows": rows}, indent=1, ensure_ascii=False)
        atomic_write(self.folder / "tour.json", report.encode("utf-8"))
        atomic_write(self.folder / "tour.csv", tables.csv_text(self.rows).encode("utf-8"))


def _archiver(name):
    """(suffix, bytes to fewer bytes, and back) of a general compressor of Python's library."""
    if name == "zlib":
        import zlib

        return ".zlib", lambda plain: zlib.compress(plain, 9), zlib.decompress
    import lzma

    return ".xz", lambda plain: lzma.compress(plain, preset=9), lzma.decompress


def _measured_inside(path, unsqueeze, data_name):
    """`measured_afresh` on the model file inside an archive."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "model.top"
        plain.write_bytes(unsqueeze(path.read_bytes()))
        return measured_afresh(plain, data_name)

"""A model file, measured: in this process, or in a fresh one that has the file and nothing else.

`tinyopt evaluate FILE --data NAME --json` is `measured` in a process of its own, and `measured_afresh` starts
such a process. What it says about a file cannot come from a model that happens to be in memory.
"""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import tinyopt
from tinyopt import data, files, measure
from tinyopt.errors import ShapeError
from tinyopt.measure.quality import Quality
from tinyopt.report import blas

BATCHES = (1, 64)  # for which latency is measured
PATIENCE = 600  # seconds, after which a fresh process counts as stuck


@dataclass(frozen=True)
class Measured:
    """What a file turned out to be.

    Units: latency {batch size: seconds}; macs, multiply-adds for one example; bytes, the file's size.
    """

    quality: Quality
    bytes: int
    parameters: int
    nonzeros: int
    macs: int
    latency: dict


def measured(path, data_name, part="test", budget=0.1):
    """Load a model file and measure it on one part of a data set.

    Units:  budget, seconds to spend on the latency of each batch size.
    Raises: what `tinyopt.load` and `tinyopt.data.load` raise; ShapeError if the model is not for such images.
    """
    model = files.load(path)
    part = getattr(data.load(data_name), part)
    try:
        quality = measure.evaluate(model, part)
    except ValueError as problem:
        raise ShapeError(f"the model in {path} does not fit {data_name}: {problem}") from None
    counts = measure.summary(model, part.images.shape[1:])
    latency = {n: measure.latency(model, part.images[:n], budget=budget).seconds for n in BATCHES}
    return Measured(quality, os.path.getsize(path), counts.parameters, counts.nonzeros, counts.macs, latency)


def to_json(result):
    """A `Measured` as one line of JSON."""
    quality = result.quality
    counts = {name: getattr(result, name) for name in ("bytes", "parameters", "nonzeros", "macs", "latency")}
    scores = {name: getattr(quality, name) for name in ("accuracy", "standard_error", "loss", "n_classes")}
    answers = {name: getattr(quality, name).tolist() for name in ("labels", "predictions")}
    return json.dumps({**scores, **counts, **answers})


def from_json(text):
    """The inverse of `to_json`."""
    read = json.loads(text)
    labels, predictions = np.array(read["labels"]), np.array(read["predictions"])
    latency = {int(n): seconds for n, seconds in read["latency"].items()}
    quality = Quality(labels, predictions, read["n_classes"], read["loss"])
    return Measured(quality, read["bytes"], read["parameters"], read["nonzeros"], read["macs"], latency)


def measured_afresh(path, data_name):
    """`measured` on the test part, by a new process that is given the file's path.

    Raises: RuntimeError with what the process said, if it failed.
    """
    import subprocess

    home = str(Path(tinyopt.__file__).parents[1])  # so that it is this tinyopt, wherever we are
    paths = os.pathsep.join([home, *filter(None, [os.environ.get("PYTHONPATH")])])
    arguments = ["evaluate", os.path.abspath(path), "--data", data_name, "--json"]
    command = [sys.executable, "-m", "tinyopt", *arguments]
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONIOENCODING": "utf-8"}
    threads = blas.describe()["threads"]
    if threads != "unknown":  # with another number of threads, the last bit of a logit may be another
        environment |= {name: str(threads) for name in blas.THREAD_VARIABLES}
    run = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, timeout=PATIENCE)
    if run.returncode:
        said = run.stderr.strip() or f"exit status {run.returncode}"
        raise RuntimeError(f"a fresh process could not measure {path}: {said}")
    return from_json(run.stdout)

"""What this machine has: Python, NumPy and its BLAS, threads, a GPU or why there is none, data sets."""

import os
import platform
import sys
from importlib import metadata
from pathlib import Path

import numpy as np

import tinyopt
from tinyopt import backend, data
from tinyopt.data import fetch
from tinyopt.errors import DeviceError
from tinyopt.report import blas

PACKAGES = ("matplotlib", "tqdm", "pytest", "hypothesis", "nbformat", "jupyter", "torch")
SOURCES = {"mnist": fetch.MNIST, "fashion_mnist": fetch.FASHION_MNIST}


def facts():
    """All of it, as {what: text}, for `tinyopt doctor`."""
    library = blas.describe()
    names = (*blas.THREAD_VARIABLES, blas.KERNEL_VARIABLE)
    chosen = [f"{name}={os.environ[name]}" for name in names if os.environ.get(name)]
    return {
        "tinyopt": f"{tinyopt.__version__} in {Path(tinyopt.__file__).parent}",
        "Python": f"{platform.python_version()} ({platform.python_implementation()}), {sys.executable}",
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "processor cores": f"{n_cores()} for this process, of {os.cpu_count()}",
        "NumPy": np.__version__,
        "BLAS": library["name"],
        "BLAS kernel": library["kernel"],
        "BLAS threads": str(library["threads"]),
        "variables": ", ".join(chosen) or "none is set that chooses threads or a kernel",
        "GPU": gpu(),
        **{name: version(name) for name in PACKAGES},
        **{f"data: {name}": where(name) for name in data.DATASETS},
    }


def summary():
    """What to write beside measured times, so that they can be judged: {what: value}."""
    library = blas.describe()
    short = {
        "tinyopt": tinyopt.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "cores": n_cores(),
        "blas": library["name"],
        "blas_kernel": library["kernel"],
        "blas_threads": library["threads"],
    }
    text = (
        f"tinyopt {short['tinyopt']}, Python {short['python']}, NumPy {short['numpy']}, {short['blas']} "
        f"(kernel {short['blas_kernel']}, threads {short['blas_threads']}), {short['system']}"
    )
    return {**short, "text": text}


def n_cores():
    """How many processor cores this process may use."""
    usable = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(usable(0)) if usable else os.cpu_count()


def version(package):
    """The version of an installed package, or "not installed"."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def gpu():
    """"available", or why not."""
    try:
        backend.device("cuda")
        return "available: tinyopt train --device cuda"
    except DeviceError as problem:
        return f"none: {problem}"


def where(name):
    """Where a data set is found, without downloading it."""
    if name not in SOURCES:
        return "embedded in the package"
    try:
        home = fetch.find(SOURCES[name])
    except OSError as problem:
        return str(problem)
    return str(home) if home else "not here: downloaded when first used, or set TINYOPT_DATA to its folder"

"""What this machine has: Python, NumPy and the BLAS under it, threads, a GPU or why there is none, data sets."""

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

PACKAGES = ("matplotlib", "tqdm", "pytest", "hypothesis", "nbformat", "jupyter", "torch")
SOURCES = {"mnist": fetch.MNIST, "fashion_mnist": fetch.FASHION_MNIST}
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def facts():
    """All of it, as {what: text}, for `tinyopt doctor`."""
    library = blas()
    set_ones = [f"{name}={os.environ[name]}" for name in (*THREAD_VARIABLES, "OPENBLAS_CORETYPE") if os.environ.get(name)]
    return {
        "tinyopt": f"{tinyopt.__version__} in {Path(tinyopt.__file__).parent}",
        "Python": f"{platform.python_version()} ({platform.python_implementation()}), {sys.executable}",
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "processor cores": f"{n_cores()} for this process, of {os.cpu_count()}",
        "NumPy": np.__version__,
        "BLAS": library["name"],
        "BLAS kernel": library["kernel"] + (" (chosen by OPENBLAS_CORETYPE)" if os.environ.get("OPENBLAS_CORETYPE") else ""),
        "BLAS threads": str(library["threads"]),
        "variables": ", ".join(set_ones) or "none that choose threads or a kernel",
        "GPU": gpu(),
        **{name: version(name) for name in PACKAGES},
        **{f"data: {name}": where(name) for name in data.DATASETS},
    }


def summary():
    """What to write beside measured times, so that they can be judged: {what: value}."""
    library = blas()
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
        f"({short['blas_kernel']} kernel, {short['blas_threads']} threads), {short['system']}"
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
        home = fetch._find(SOURCES[name], [*fetch._chosen(None), fetch.cache_folder(), fetch.DEBIAN_FOLDER])
    except OSError as problem:
        return str(problem)
    return str(home) if home else "not here; downloaded when first used, or set TINYOPT_DATA to the folder that has it"


# --- the BLAS --------------------------------------------------------------------------------------


def blas():
    """The library under NumPy's matrix products: {"name", "kernel", "threads"}; "unknown" where it does not say.

    OpenBLAS has a kernel for each family of processors, and picks one when it is loaded; which one is a
    factor of up to four in speed.
    """
    build = np.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
    name = f"{build.get('name', 'unknown')} {build.get('version', '')}".strip()
    for ask in (_ask_openblas, _ask_threadpoolctl):
        try:
            return {"name": name, **ask()}
        except (ImportError, OSError, AttributeError, ValueError, LookupError):
            continue
    return {"name": name, "kernel": "unknown", "threads": "unknown"}


def limit_blas_threads(n=1):
    """Let OpenBLAS use `n` threads from now on, unless a variable such as OPENBLAS_NUM_THREADS says otherwise.

    The products of small networks are over in microseconds. A second thread gains a quarter at best, and
    where anything else runs on the machine the two wait for each other, ten times longer than they compute.
    Returns True if the library took it.
    """
    if any(os.environ.get(name) for name in THREAD_VARIABLES):
        return False
    try:
        library, pattern = _openblas()
        library[pattern.replace("get", "set").format("num_threads")](n)
    except (OSError, AttributeError, ValueError):
        return False
    return True


def _openblas():
    """The OpenBLAS of NumPy's wheels, and the pattern of its names: a prefix and a suffix tell builds apart."""
    import ctypes

    package = Path(np.__file__).parent
    folders = package.with_name("numpy.libs"), package / ".dylibs"  # on Linux and Windows; on macOS
    path, *_ = [path for folder in folders for path in sorted(folder.glob("*openblas*"))]
    library = ctypes.CDLL(str(path))  # loaded already: this is a handle on the same one
    for pattern in ("scipy_openblas_get_{}64_", "scipy_openblas_get_{}", "openblas_get_{}64_", "openblas_get_{}"):
        if hasattr(library, pattern.format("corename")):
            return library, pattern
    raise AttributeError(f"{path} has no function that names its kernel")


def _ask_openblas():
    """What OpenBLAS says of itself."""
    import ctypes

    library, pattern = _openblas()
    kernel = library[pattern.format("corename")]
    kernel.restype = ctypes.c_char_p
    return {"kernel": kernel().decode(), "threads": library[pattern.format("num_threads")]()}


def _ask_threadpoolctl():
    """What threadpoolctl, if it is installed, finds out: it knows MKL and a system's OpenBLAS too."""
    from threadpoolctl import threadpool_info

    library, *_ = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    return {"kernel": library.get("architecture", "unknown"), "threads": library["num_threads"]}

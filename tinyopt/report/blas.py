"""The BLAS under NumPy's matrix products, in which a network spends its time, and its threads."""

import os
from pathlib import Path

import numpy as np

THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
KERNEL_VARIABLE = "OPENBLAS_CORETYPE"


def describe():
    """What is there: {"name", "kernel", "threads"}; "unknown" where it does not say.

    OpenBLAS has a kernel for each family of processors, and picks one when it is loaded; which one is a
    factor of up to four in speed.
    """
    build = np.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
    name = f"{build.get('name', 'unknown')} {build.get('version', '')}".strip()
    for ask in (_ask_openblas, _ask_threadpoolctl):
        try:
            return {"name": name, **ask()}
        except (ImportError, OSError, AttributeError, ValueError):
            continue
    return {"name": name, "kernel": "unknown", "threads": "unknown"}


def limit_threads(n=1):
    """Let OpenBLAS use `n` threads from now on, unless a variable (OPENBLAS_NUM_THREADS) says otherwise.

    The products of small networks are over in microseconds. A second thread gains a quarter at best, and
    where anything else runs on the machine the two wait for each other, ten times longer than they compute.
    Returns True if the library took it.
    """
    if any(os.environ.get(name) for name in THREAD_VARIABLES):
        return False
    try:
        _openblas("set_num_threads")(n)
    except (ImportError, OSError, AttributeError, ValueError):
        return False
    return True


def _ask_openblas():
    """What the OpenBLAS of NumPy's wheels says of itself."""
    import ctypes

    kernel = _openblas("get_corename")
    kernel.restype = ctypes.c_char_p
    return {"kernel": kernel().decode(), "threads": _openblas("get_num_threads")()}


def _openblas(name):
    """A function of the OpenBLAS in NumPy's wheels; a prefix and a suffix tell its builds apart."""
    import ctypes

    package = Path(np.__file__).parent
    folders = package.with_name("numpy.libs"), package / ".dylibs"  # on Linux and Windows; on macOS
    path, *_ = [path for folder in folders for path in sorted(folder.glob("*openblas*"))]
    library = ctypes.CDLL(str(path))  # loaded already: this is a handle on the same one
    known = (f"{prefix}openblas_{name}{suffix}" for prefix in ("scipy_", "") for suffix in ("64_", ""))
    found, *_ = [library[function] for function in known if hasattr(library, function)]
    return found


def _ask_threadpoolctl():
    """What threadpoolctl, if it is installed, finds out: it knows MKL and a system's OpenBLAS too."""
    from threadpoolctl import threadpool_info

    library, *_ = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    return {"kernel": library.get("architecture", "unknown"), "threads": library["num_threads"]}

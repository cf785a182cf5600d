"""Where arrays live: moving them between devices, and drawing random numbers on them.

Every other file says `np.` and works on both devices, because CuPy arrays answer NumPy's own
protocols (`__array_ufunc__`, `__array_function__`). What these protocols do not cover stands
here: which device an array is on, the two explicit transfers, and random draws. This is the only
file that names CuPy.
"""

import numpy as np

from tinyopt.errors import DeviceError


class CPU:
    """The host: NumPy arrays.

    A device says which arrays it `owns`, moves them `from_host` and `to_host`, draws `uniform` numbers in
    [0, 1) from a generator of the host, and can `synchronize`.
    """

    name = "cpu"
    chunk_bytes = 1 << 20  # what fits a core's cache: large temporaries are made piece by piece

    def owns(self, array):
        return isinstance(array, np.ndarray)

    def from_host(self, array):
        return array

    def to_host(self, array):
        return array

    def uniform(self, rng, shape, dtype):
        return rng.random(shape, dtype=dtype)

    def synchronize(self):
        """Wait until all work is done; on the host it always is."""


class CUDA:
    """An NVIDIA GPU through CuPy, which is imported when the device is first asked for."""

    name = "cuda"
    chunk_bytes = 1 << 28  # a GPU wants few large pieces

    def __init__(self):
        self.cupy = _import_cupy()

    def owns(self, array):
        return isinstance(array, self.cupy.ndarray)

    def from_host(self, array):
        return self.cupy.asarray(array)

    def to_host(self, array):
        return self.cupy.asnumpy(array)

    def uniform(self, rng, shape, dtype):
        # All random state stays in the host's generator: one seed is drawn there for each array here.
        # So a checkpoint that holds the host's state resumes the device's draws as well.
        seed = int(rng.integers(2**63))
        return self.cupy.random.Generator(self.cupy.random.Philox4x3210(seed)).random(shape, dtype=dtype)

    def synchronize(self):
        self.cupy.cuda.get_current_stream().synchronize()


def _import_cupy():
    install = "pip install 'tinyopt[gpu]' (an NVIDIA GPU and driver are needed); on the CPU everything works too"
    try:
        import cupy
    except ImportError as problem:
        raise DeviceError(f"device 'cuda' needs CuPy, which cannot be imported ({problem}). Try: {install}") from None
    try:
        n_gpus = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as problem:
        raise DeviceError(f"device 'cuda' needs an NVIDIA GPU; CuPy finds none ({problem}). Use 'cpu'") from None
    if n_gpus == 0:
        raise DeviceError("device 'cuda' needs an NVIDIA GPU; CuPy counts 0. Use device 'cpu'")
    return cupy


MAKERS = {"cpu": CPU, "cuda": CUDA}  # name -> class; a test adds a strict stand-in for the GPU here
_devices = {"cpu": CPU()}  # the devices asked for so far


def device(name):
    """The device called `name`: "cpu" or "cuda".

    Raises: DeviceError if there is no such device on this machine; the message says why.
    """
    if name not in _devices:
        if name not in MAKERS:
            raise DeviceError(f"a device is one of {', '.join(MAKERS)}; got {name!r}")
        _devices[name] = MAKERS[name]()
    return _devices[name]


def device_of(array):
    """The device on which `array` lives."""
    for known in _devices.values():
        if known.owns(array):
            return known
    raise DeviceError(f"a NumPy (or CuPy) array is due; got {type(array).__name__}")


def is_array(value):
    """True for an array of any device in use."""
    return isinstance(value, np.ndarray) or any(known.owns(value) for known in _devices.values())


def to_host(array):
    """The same numbers as a NumPy array: an explicit transfer, unless they are there already."""
    return array if isinstance(array, np.ndarray) else device_of(array).to_host(array)


def to_device(array, name):
    """The same numbers on the device called `name`: an explicit transfer, unless they are there already."""
    target = device(name)
    return array if target.owns(array) else target.from_host(to_host(array))


def chunks(array, row_bytes):
    """Slices of the first axis of `array`, each of as many rows as keep `row_bytes` apiece in the cache."""
    step = max(1, device_of(array).chunk_bytes // max(1, row_bytes))
    return [slice(start, start + step) for start in range(0, len(array), step)]


def synchronize(array):
    """Wait until the device of `array` has done all its work: before a clock is read."""
    device_of(array).synchronize()


# --- random numbers: one seed fixes everything -----------------------------------------------------

_default = {}  # holds the default generator once it is needed: importing numpy.random takes time


def _default_rng():
    if not _default:
        _default["rng"] = np.random.default_rng(0)
    return _default["rng"]


def manual_seed(seed):
    """Restart tinyopt's default generator; NumPy's own global state is never touched.

    Everything random takes `rng=`; what gets none draws from this generator.
    """
    _default_rng().bit_generator.state = np.random.default_rng(seed).bit_generator.state


def generator(rng=None):
    """The generator to draw from: `rng` itself, a new one if `rng` is an integer seed, else the default."""
    if rng is None:
        return _default_rng()
    if isinstance(rng, np.random.Generator):
        return rng
    if isinstance(rng, (int, np.integer)):
        return np.random.default_rng(int(rng))
    raise TypeError(f"rng is a numpy.random.Generator, an integer seed or None; got {type(rng).__name__}")


def uniform_like(array, rng=None):
    """Uniform draws in [0, 1), of the shape, type and device of `array`."""
    return device_of(array).uniform(generator(rng), array.shape, array.dtype)

"""The stand-in itself: what it refuses, counts and imitates. Strictness is its whole use."""

import copy
import math
import sys
import types

import numpy as np
import pytest
from cupy_rules import CUPY_NAMES, METHODS
from device_cases import forward_and_backward
from standin import StandInArray, standin, transfers  # noqa: F401 (a fixture)

from tinyopt import backend, substitute
from tinyopt.tensor import OPS, Tensor


@pytest.fixture
def x():
    transfers.reset()
    return StandInArray(np.arange(12.0).reshape(3, 4))


HOST = np.ones((3, 4))

REFUSED = {
    "np.asarray": lambda x: np.asarray(x),
    "np.array": lambda x: np.array(x),
    "np.array of a list": lambda x: np.array([x, x]),
    "np.ascontiguousarray": lambda x: np.ascontiguousarray(x),
    "np.random": lambda x: np.random.default_rng(0).permutation(x),
    "like=": lambda x: np.zeros(3, like=x),
    "asarray with like=": lambda x: np.asarray(x, like=x),
    "iteration": lambda x: list(x),
    "membership": lambda x: 1.0 in x,
    "unpacking": lambda x: (lambda a, b, c: a)(*x),
    "an integer for range": lambda x: range(x[0, 0]),
    "printing by NumPy": lambda x: np.array2string(x),
    "a host operand on the right": lambda x: x + HOST,
    "a host operand on the left": lambda x: HOST * x,
    "a host operand of one number": lambda x: x * np.array(2.0),
    "a host comparison": lambda x: x > np.array(2.0),
    "a list as operand": lambda x: x[0] + [1, 2, 3, 4],
    "None as operand": lambda x: x == None,  # noqa: E711
    "a host array in place": lambda x: x.__iadd__(HOST),
    "into a host array in place": lambda x: HOST.copy().__iadd__(x),
    "out= on the host": lambda x: np.add(x, x, out=HOST.copy()),
    "out= here, inputs there": lambda x: np.add(HOST, HOST, out=x),
    "a host matrix": lambda x: x.T @ HOST,
    "a host array in a list": lambda x: np.concatenate([x, HOST]),
    "a list among arrays": lambda x: np.concatenate([[0.0], x[0]]),
    "a host array in a function": lambda x: np.where(x > 1, x, HOST),
    "a number as condition": lambda x: np.where(True, x, x),
    "a host array as index": lambda x: x[np.array([0, 1])],
    "a host mask": lambda x: x[HOST > 0],
    "a list as index": lambda x: x[[0, 1]],
    "a Boolean as index": lambda x: x[True],
    "two masks as index": lambda x: x[x[:, 0] > 1, x[0] > 1],
    "into a host array": lambda x: HOST.copy().__setitem__(0, x[0]),
    "from a host array": lambda x: x.__setitem__(0, HOST[0]),
    "as index of a host array": lambda x: HOST[x > 0],
    "a name that CuPy lacks": lambda x: np.fft.fft(x),
    "another name that CuPy lacks": lambda x: np.nanpercentile(x, 50),
    "a ufunc that CuPy lacks": lambda x: np.spacing(x),
    "a method that its ufunc lacks": lambda x: np.maximum.reduce(x),
    "a type that no GPU can add at": lambda x: np.add.at(x.astype("int64"), (0, 0), 1),
    "where= of a ufunc": lambda x: np.add(x, x, where=x > 1),
    "where= of a sum": lambda x: np.sum(x, where=x > 1),
    "initial= of a method": lambda x: x.max(initial=3),
    "another sort": lambda x: x.argsort(kind="quicksort"),
    "a sort by position": lambda x: np.sort(x, 0, "heapsort"),
    "shape=()": lambda x: np.zeros_like(x, shape=()),
    "saving": lambda x: np.save("never written", x),
    "hashing": lambda x: {x},
}


@pytest.mark.parametrize("attempt", REFUSED.values(), ids=REFUSED.keys())
def test_it_refuses(attempt, x):
    with pytest.raises(TypeError):
        attempt(x)
    assert (transfers.to_host, transfers.to_device) == (0, 0)


@pytest.mark.parametrize(
    "attribute", ["setflags", "base", "ctypes", "data", "tobytes", "__array_interface__", "__index__"]
)
def test_it_lacks_what_would_reach_the_memory(attribute, x):
    assert not hasattr(x, attribute)
    assert not hasattr(x.flags, "writeable")


COUNTED = {
    "get": lambda x: x.get(),
    "item": lambda x: x[0, 0].item(),
    "tolist": lambda x: x.tolist(),
    "float": lambda x: float(x[0, 0]),
    "int": lambda x: int(x[0, 0]),
    "complex": lambda x: complex(x[0, 0]),
    "bool": lambda x: bool(x.any()),
    "if": lambda x: 1 if x[0, 0] else 2,
    "the larger of two": lambda x: max(x[0, 0], 1e-8),
    "math": lambda x: math.sqrt(x[0, 0]),
    "allclose in an if": lambda x: not np.allclose(x, x),
    "repr": lambda x: repr(x),
    "an f-string": lambda x: f"{x}",
    "pickling": lambda x: x.__reduce__(),
}


@pytest.mark.parametrize("attempt", COUNTED.values(), ids=COUNTED.keys())
def test_it_counts_what_waits_for_the_device(attempt, x):
    attempt(x)
    assert (transfers.to_host, transfers.to_device) == (1, 0)


FREE = {
    "arithmetic": lambda x: (2 * x + x / 3 - x**2 // np.float64(2)) % 5,
    "comparison and logic": lambda x: ~((x > 2) & (x <= 7) | (x == 1)),
    "a product": lambda x: (x @ x.T) + np.matmul(x, x.T),
    "an outer product": lambda x: np.multiply.outer(x[0], x[1]),
    "reductions": lambda x: x.sum(axis=(0, 1)) + np.mean(x) + x.max() - np.add.reduce(x[0]),
    "0-d results": lambda x: x.sum(),
    "methods": lambda x: (
        x.reshape(2, 6).transpose(1, 0).ravel().clip(1, 5).round(1).astype("float32").cumsum()
    ),
    "views": lambda x: x.T.swapaxes(0, 1)[::2, None, ..., -1].squeeze(),
    "an index array": lambda x: x[:, (x[0] * 0 + 1).astype("int64")],
    "a mask": lambda x: x[x > 5],
    "take along": lambda x: np.take_along_axis(x, x.argmax(axis=1)[:, None], axis=1),
    "joining": lambda x: np.concatenate([x, np.stack([x[0], x[1]])], axis=0),
    "parts": lambda x: np.split(x, 2, axis=1)[1],
    "padding": lambda x: np.pad(x, ((1, 0), (0, 2)), constant_values=3),
    "windows": lambda x: np.lib.stride_tricks.sliding_window_view(x, (2, 2)),
    "einsum": lambda x: np.einsum("ij,kj->ik", x, x),
    "singular values": lambda x: np.linalg.svd(x)[1],
    "sorting": lambda x: np.argsort(-abs(x), axis=None, kind="stable"),
    "counting": lambda x: np.bincount(x.astype("int64").ravel() % 3, weights=x.ravel(), minlength=5),
    "likes": lambda x: np.full_like(x, 3, shape=(2, 2), dtype=bool),
    "two outputs": lambda x: np.divmod(x, 5)[1],
}


@pytest.mark.parametrize("work", FREE.values(), ids=FREE.keys())
def test_work_on_the_device_is_free_and_exact(work, x):
    result = work(x)
    assert type(result) is StandInArray and not isinstance(result, (np.ndarray, np.generic))
    assert (transfers.to_host, transfers.to_device) == (0, 0)
    expected = np.asarray(work(np.arange(12.0).reshape(3, 4)))
    got = result.get()
    assert got.shape == expected.shape and got.dtype == expected.dtype and np.array_equal(got, expected)


def test_facts_are_free(x):
    assert (x.shape, x.ndim, x.size, x.dtype, len(x), x.itemsize, x.nbytes) == (
        (3, 4),
        2,
        12,
        np.float64,
        3,
        8,
        96,
    )
    assert x.flags.c_contiguous and x.T.flags.f_contiguous and x.strides == (32, 8)
    assert np.shape(x) == (3, 4) and np.ndim(x) == 2 and np.result_type(x, np.float32) == np.float64
    assert transfers.to_host == 0


def test_views_share_memory_and_copies_do_not(x):
    x[1, 2] = -1
    x[0][...] = x[2]
    x[2, 3][...] = 7  # even a single number is a view, as in CuPy
    x.T[0] += 100
    copies = copy.copy(x), copy.deepcopy(x), x.copy(), x.astype("float64")
    x[x > 100] *= 0
    np.multiply(x, 2, out=x)
    assert x.get().tolist() == [[0, 18, 20, 22], [0, 10, -2, 14], [0, 18, 20, 14]]
    assert all(c.get()[0, 0] == 108 for c in copies)


def test_an_index_out_of_range_wraps_round(x):
    far = StandInArray(np.array([3, 4, -7]))
    assert x[far].get().tolist() == x.get()[[0, 1, 2]].tolist()
    assert x[..., None, far].get().tolist() == x.get()[..., None, [3, 0, 1]].tolist()
    assert (
        x.take(far, axis=0).get().tolist()
        == np.take(x, far, axis=0).get().tolist()
        == x.get()[[0, 1, 2]].tolist()
    )
    assert np.take_along_axis(x, far[:, None], axis=1).get().tolist() == [[3], [4], [9]]
    np.add.at(x, (far, 0), 1)
    assert x[:, 0].get().tolist() == [1, 5, 9]
    with pytest.raises(IndexError):  # a plain integer does not
        x[3]


BAD_RULES = {  # each works on the CPU
    "a conversion": lambda x: (np.asarray(x) * 2, (lambda g: g * 2,)),
    "a host constant": lambda x: (x * 2 + np.zeros(4, np.float32), (lambda g: g * 2,)),
    "a host constant in the pullback": lambda x: (x * 2, (lambda g: g * np.float32([2, 2, 2, 2]),)),
    "a test on the device": lambda x: (x * 2 if x.any() else x, (lambda g: g * 2,)),
    "where= of a ufunc": lambda x: (np.multiply(x, 2, where=x > -9, out=x + 0), (lambda g: g * 2,)),
    "a function that CuPy lacks": lambda x: (x * 2, (lambda g: g * 2 + 0 * np.nanpercentile(g, 5),)),
}


@pytest.mark.parametrize("rule", BAD_RULES.values(), ids=BAD_RULES.keys())
def test_a_rule_that_no_gpu_would_run_is_noticed(rule, standin):  # noqa: F811
    def run(*device):
        with substitute("relu", rule):
            return forward_and_backward(OPS["relu"], [np.ones((3, 4), np.float32)], *device)

    assert (run("cpu")[0] == 2).all()
    with pytest.raises((TypeError, AssertionError)):
        run(standin, transfers)


def test_the_names_are_cupys():
    assert {"concatenate", "linalg.svd", "lib.stride_tricks.sliding_window_view"} <= CUPY_NAMES
    assert not {"nanpercentile", "fft.fft", "setflags"} & CUPY_NAMES
    assert all(hasattr(np.ndarray, name) for name in METHODS)


def test_the_device_exists_only_where_the_fixture_is(standin):  # noqa: F811
    array = backend.to_device(np.float32([1, 2]), standin)
    assert (
        type(array) is StandInArray and backend.device_of(array).name == "standin" and backend.is_array(array)
    )
    assert np.array_equal(backend.to_host(array), [1, 2]) and (transfers.to_device, transfers.to_host) == (
        1,
        1,
    )
    assert backend.to_device(array, standin) is array  # there already
    assert Tensor([1.0]).to(standin).device == "standin"


def test_the_device_is_gone_afterwards():
    assert "standin" not in backend.MAKERS and "standin" not in backend._devices


def test_backend_cuda_calls_only_what_cupy_has(monkeypatch):
    """The few lines of `backend.CUDA`, on a module that looks like CuPy and makes stand-ins."""
    waits = []
    cupy = types.SimpleNamespace(
        ndarray=StandInArray,
        asarray=lambda array: StandInArray(np.array(array)),
        asnumpy=lambda array: array.get(),
        random=types.SimpleNamespace(Philox4x3210=np.random.Philox, Generator=FakeGenerator),
        cuda=types.SimpleNamespace(
            runtime=types.SimpleNamespace(getDeviceCount=lambda: 1, CUDARuntimeError=OSError),
            get_current_stream=lambda: types.SimpleNamespace(synchronize=lambda: waits.append(1)),
        ),
    )
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(backend, "_devices", {"cpu": backend.CPU()})
    x = Tensor(np.ones((30, 30), np.float32)).to("cuda")
    assert x.device == "cuda" and type(x.data) is StandInArray
    draws = [backend.to_host(backend.uniform_like(x.data, rng=rng)) for rng in (5, 5, 6)]
    assert np.array_equal(draws[0], draws[1]) and not np.array_equal(draws[0], draws[2])
    assert draws[0].shape == (30, 30) and draws[0].dtype == np.float32 and 0.4 < draws[0].mean() < 0.6
    backend.synchronize(x.data)
    assert waits == [1]
    assert np.array_equal(x.to("cpu").data, np.ones((30, 30)))


class FakeGenerator:
    """`cupy.random.Generator`: the draws lie on the device."""

    def __init__(self, bits):
        self.rng = np.random.Generator(bits)

    def random(self, size, dtype):
        return StandInArray(self.rng.random(size, dtype))

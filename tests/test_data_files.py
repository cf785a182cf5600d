"""MNIST and Fashion-MNIST from files: found, checked or downloaded. Small ones stand in; no network."""

import gzip
import hashlib
import io
import urllib.error
import urllib.request

import numpy as np
import pytest
from tinyopt import data
from tinyopt.data import downloaded, fetch
from tinyopt.errors import FormatError

# --- the four files: found and checked --------------------------------------------------------------


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """An empty machine: no network, no TINYOPT_DATA, an empty cache, no Debian package, small sets."""

    def no_network(url, timeout):
        raise urllib.error.URLError("no network in tests")

    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    monkeypatch.delenv("TINYOPT_DATA", raising=False)
    monkeypatch.setenv("TINYOPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fetch, "DEBIAN_FOLDER", tmp_path / "debian")
    monkeypatch.setattr(downloaded, "N_VAL", 5)
    for name in ("MNIST", "FASHION_MNIST"):
        content = files_of(name)
        hashes = {file: hashlib.sha256(content[file]).hexdigest() for file in content}
        source = getattr(fetch, name)._replace(sha256=hashes)
        monkeypatch.setattr(fetch, name, source)
        monkeypatch.setattr(downloaded, name, source)
    return tmp_path


def files_of(name):
    """The contents of four small files; each set has its own numbers."""
    rng = np.random.default_rng([len(name)])
    content = {}
    for part, n in (("train", 20), ("t10k", 8)):
        for what, shape in (("images-idx3", (n, 4, 4)), ("labels-idx1", (n,))):
            header = bytes([0, 0, 8, len(shape)]) + b"".join(side.to_bytes(4, "big") for side in shape)
            numbers = rng.integers(0, 10, shape, dtype=np.uint8)
            content[f"{part}-{what}-ubyte"] = header + numbers.tobytes()
    return content


def put(folder, name="MNIST", gzipped=True):
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in files_of(name).items():
        (folder / (file + ".gz" * gzipped)).write_bytes(gzip.compress(content) if gzipped else content)
    return folder


def pixels_of(name):
    content = files_of(name)
    return np.frombuffer(content["train-images-idx3-ubyte"], np.uint8, offset=16).reshape(20, 1, 4, 4)


def assert_is(dataset, name):
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (15, 5, 8)
    both = np.concatenate([dataset.train.images, dataset.val.images])
    np.testing.assert_array_equal(both, pixels_of(name) / np.float32(255))
    assert dataset.test.images.dtype == np.float32 and dataset.test.labels.dtype == np.int64


@pytest.mark.parametrize("gzipped", [True, False])
@pytest.mark.parametrize("place", ["data/mnist", "data", "cache/mnist", "cache", "debian/mnist"])
def test_mnist_is_found_in_each_place(machine, monkeypatch, place, gzipped):
    (machine / "data").mkdir()
    monkeypatch.setenv("TINYOPT_DATA", str(machine / "data"))
    put(machine / place, gzipped=gzipped)
    assert_is(data.mnist(), "MNIST")


@pytest.mark.parametrize("place", ["data/fashion-mnist", "data/fashion_mnist", "debian/fashion-mnist"])
def test_fashion_mnist_is_found_under_both_spellings(machine, place):
    (machine / "data").mkdir()
    put(machine / place, "FASHION_MNIST")
    dataset = data.fashion_mnist(folder=machine / "data")
    assert_is(dataset, "FASHION_MNIST")
    assert dataset.classes[7] == "Sneaker"


def test_a_folder_with_the_other_set_is_passed_over(machine):
    put(machine / "data", "MNIST")
    put(machine / "cache" / "fashion_mnist", "FASHION_MNIST")
    assert_is(data.mnist(folder=machine / "data"), "MNIST")
    assert_is(data.fashion_mnist(folder=machine / "data"), "FASHION_MNIST")


def test_an_argument_goes_before_the_variable(machine, monkeypatch):
    monkeypatch.setenv("TINYOPT_DATA", str(machine / "nowhere"))
    assert_is(data.mnist(folder=put(machine / "here")), "MNIST")
    with pytest.raises(FileNotFoundError, match="TINYOPT_DATA names .*nowhere.*no such folder"):
        data.mnist()


def test_a_changed_file_is_named_with_both_hashes(machine):
    path = put(machine / "data") / "train-labels-idx1-ubyte.gz"
    content = bytearray(files_of("MNIST")["train-labels-idx1-ubyte"])
    content[-1] ^= 1
    path.write_bytes(gzip.compress(content))
    due, got = fetch.MNIST.sha256["train-labels-idx1-ubyte"], hashlib.sha256(content).hexdigest()
    with pytest.raises(FormatError, match=f"train-labels-idx1-ubyte.gz.*{due}; got {got}. Delete it"):
        data.mnist(folder=machine / "data")


# --- downloading ------------------------------------------------------------------------------------


class Answer(io.BytesIO):
    """What urlopen returns; a `broken` one ends its connection after the first piece."""

    headers = {}
    broken = False

    def read(self, size=-1):
        if self.broken and self.tell():
            raise ConnectionResetError("the connection broke")
        return super().read(10 if self.broken else size)


def serve(monkeypatch, answer):
    """Let `answer(file name)` make the reply to each address; returns the list of addresses asked for."""
    asked = []

    def urlopen(url, timeout):
        asked.append(url)
        reply = Answer()
        reply.broken, content = answer(url)
        reply.write(content)
        reply.seek(0)
        return reply

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    return asked


def good(url):
    return False, gzip.compress(files_of("MNIST")[url.rpartition("/")[2].removesuffix(".gz")])


def cached(machine):
    return sorted(path.name for path in (machine / "cache").rglob("*") if path.is_file())


def test_a_download_fills_the_cache_once(machine, monkeypatch, capsys):
    asked = serve(monkeypatch, good)
    assert_is(data.mnist(), "MNIST")
    assert asked == [f"{fetch.MNIST.mirrors[0]}{file}.gz" for file in fetch.MNIST.sha256]
    assert cached(machine) == sorted(f"{file}.gz" for file in fetch.MNIST.sha256)
    assert "mnist train-images-idx3-ubyte" in capsys.readouterr().err  # the progress bar
    assert_is(data.mnist(), "MNIST")
    assert len(asked) == 4


def test_a_real_address_of_a_local_folder_serves_as_mirror(machine, monkeypatch):
    monkeypatch.undo()  # the real urlopen
    monkeypatch.setenv("TINYOPT_CACHE", str(machine / "cache"))
    hashes = {file: hashlib.sha256(content).hexdigest() for file, content in files_of("MNIST").items()}
    source = fetch.MNIST._replace(sha256=hashes, folders=("small",), name="small")
    address = put(machine / "mirror").as_uri()  # file:///...
    assert fetch.fetch(source, mirrors=address) == files_of("MNIST")


def test_a_wrong_or_broken_mirror_gives_way_to_the_next(machine, monkeypatch):
    def answer(url):
        if "first" in url:
            return False, gzip.compress(b"a login page")
        return ("second" in url), good(url)[1]

    asked = serve(monkeypatch, answer)
    assert_is(data.mnist(mirrors=["http://first", "http://second/", "http://third"]), "MNIST")
    assert len(asked) == 12


@pytest.mark.parametrize("answer, reason", [
    (lambda url: (False, gzip.compress(b"a login page")), "SHA-256"),
    (lambda url: (False, good(url)[1][:-4]), "cut short"),
    (lambda url: (True, good(url)[1]), "connection broke"),
])  # fmt: skip
def test_a_failed_download_leaves_nothing_behind(machine, monkeypatch, answer, reason):
    serve(monkeypatch, answer)
    with pytest.raises(FileNotFoundError, match=reason):
        data.mnist()
    assert cached(machine) == []


def test_a_break_keeps_what_was_whole_and_goes_on_from_there(machine, monkeypatch):
    def stop(url):
        if "t10k" in url:
            raise KeyboardInterrupt
        return good(url)

    serve(monkeypatch, stop)
    with pytest.raises(KeyboardInterrupt):
        data.mnist()
    assert cached(machine) == ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"]
    asked = serve(monkeypatch, good)
    assert_is(data.mnist(), "MNIST")
    assert len(asked) == 2


def test_without_a_network_the_error_says_where_to_put_which_files(machine, monkeypatch):
    monkeypatch.setenv("TINYOPT_DATA", str(put(machine / "data", "FASHION_MNIST")))  # the other set: no use
    with pytest.raises(FileNotFoundError) as caught:
        data.mnist()
    message = str(caught.value)
    for word in [*fetch.MNIST.sha256, str(machine / "cache" / "mnist"), "TINYOPT_DATA", "no network in tests",
                 fetch.MNIST.mirrors[1], str(machine / "data")]:  # fmt: skip
        assert word in message


def test_a_cache_that_cannot_be_made_is_explained(machine, monkeypatch):
    (machine / "file").write_bytes(b"")
    monkeypatch.setenv("TINYOPT_CACHE", str(machine / "file"))
    with pytest.raises(OSError, match="cannot make the folder.*Set TINYOPT_CACHE"):
        data.mnist()


@pytest.mark.parametrize("platform, variable, expected", [
    ("linux", "XDG_CACHE_HOME", "tinyopt"),
    ("win32", "LOCALAPPDATA", "tinyopt"),
    ("darwin", "HOME", "Library/Caches/tinyopt"),
])  # fmt: skip
def test_the_cache_is_where_the_platform_keeps_them(machine, monkeypatch, platform, variable, expected):
    monkeypatch.delenv("TINYOPT_CACHE")
    monkeypatch.setattr(fetch.sys, "platform", platform)
    monkeypatch.setattr(fetch.Path, "home", lambda: machine)
    monkeypatch.setenv(variable, str(machine))
    assert fetch.cache_folder() == machine / expected

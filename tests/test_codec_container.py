"""The one-file container: bytes as its docstring draws them, and no damage goes unnoticed."""

import hashlib
import json
import os
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyopt.codec import atomic_write, ledger, read_container, write_container, write_varint
from tinyopt.errors import FormatError

HEADER = {"model": "lenet", "shape": [300, 784], "é": None}
BLOBS = {"fc1.weight": b"\x00\x01\x02", "empty": b"", "fc2.weight": bytes(range(9))}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=8)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def squeezed(raw):
    return zlib.compress(raw, 9)[2:-4]  # without zlib's 2 bytes before and its checksum behind


def by_hand(header, blobs, *, version=1):
    """Build a small container from its description, byte by byte."""
    content = [header, {name: len(blob) for name, blob in blobs.items()}]
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
    raw = squeezed(text.encode("utf-8"))
    size = len(raw)
    field = bytes([size]) if size < 128 else bytes([size % 128 + 128, size // 128])
    body = b"\xb5op" + bytes([version]) + field + raw + b"".join(blobs.values())
    return body + hashlib.blake2b(body, digest_size=8).digest()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "model.topt"
    write_container(path, HEADER, BLOBS)
    return path


@given(header=json_values, blobs=st.dictionaries(st.text(max_size=6), st.binary(max_size=200), max_size=4))
@settings(max_examples=40)
def test_roundtrip_and_a_ledger_that_adds_up(tmp_path_factory, header, blobs):
    path = tmp_path_factory.getbasetemp() / "drawn.topt"
    n_bytes = write_container(path, header, blobs)
    assert read_container(path) == (header, blobs)
    rows = ledger(path)
    assert sum(n for _, n in rows) == os.path.getsize(path) == n_bytes
    assert dict(rows[3:-1]) == {name: len(blob) for name, blob in blobs.items()}


@pytest.mark.parametrize("header", [{}, ["weight"] * 40, [n**3 for n in range(80)]])
def test_bytes_are_those_of_the_description(tmp_path, header):
    expected = by_hand(header, BLOBS)
    write_container(tmp_path / "a", header, BLOBS)
    assert (tmp_path / "a").read_bytes() == expected
    (tmp_path / "b").write_bytes(expected)
    assert read_container(tmp_path / "b") == (header, BLOBS)


def test_the_layout_itself_takes_13_bytes(tmp_path):
    write_container(tmp_path / "a", {}, {"x": b"12345"})
    names, sizes = zip(*ledger(tmp_path / "a"), strict=True)
    assert names == ("(magic and version)", "(header length)", "(header)", "x", "(checksum)")
    sizes = list(sizes)
    assert sizes[:2] + sizes[3:] == [4, 1, 5, 8] and sizes[2] <= 16


def test_arrays_are_taken_as_their_bytes_in_c_order(tmp_path):
    x = np.arange(6, dtype=np.int16).reshape(2, 3).T
    write_container(tmp_path / "a", {}, {"x": x, "y": memoryview(b"ab"), "z": bytearray(b"c")})
    assert read_container(tmp_path / "a")[1] == {"x": x.tobytes(), "y": b"ab", "z": b"c"}


def test_every_flipped_bit_is_noticed(file):
    whole = file.read_bytes()
    for bit in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        file.write_bytes(changed)
        with pytest.raises(FormatError, match="model.topt"):
            read_container(file)


def test_every_truncation_is_noticed_and_so_are_bytes_added(file):
    whole = file.read_bytes()
    for changed in [*(whole[:n] for n in range(len(whole))), whole + b"\x00", b"\x00" + whole, whole + whole]:
        file.write_bytes(changed)
        with pytest.raises(FormatError, match="model.topt"):
            ledger(file)


def test_what_is_no_container_is_named(tmp_path, file):
    with pytest.raises(FileNotFoundError, match="no file .*missing.topt.*spelling"):
        read_container(tmp_path / "missing.topt")
    with pytest.raises(FormatError, match="is a folder"):
        read_container(tmp_path)
    file.write_bytes(b"")
    with pytest.raises(FormatError, match="is empty"):
        read_container(file)
    file.write_bytes(b"PK\x03\x04 a zip file")
    with pytest.raises(FormatError, match="not a tinyopt file: it begins with b'PK"):
        read_container(file)
    file.write_bytes(by_hand(HEADER, BLOBS, version=2))
    with pytest.raises(FormatError, match="layout version 2; .* reads version 1. Update"):
        read_container(file)


@pytest.mark.parametrize("raw", [
    b"", b"{", b"7", b"[1]", b"[1,2]", b"[{},[3]]", b'[{},{"a":-1}]', b'[{},{"a":1.5}]', b'[{},{"a":99}]',
    b'[{},{"a":"9"}]', b"[{},{}]", b"\xff\xfe", b"[" * 100_000, b'[{},{"a":4,"b":-1}]',
])
def test_a_right_checksum_over_a_wrong_header_is_refused_too(file, raw):
    start, deflated = b"\xb5op\x01", squeezed(raw)
    honest = start + write_varint(len(deflated)) + deflated + b"abc"
    lying = start + b"\xff\xff\xff\x7f" + deflated
    plain = start + write_varint(len(raw)) + raw
    for body in (honest, lying, plain, start):
        file.write_bytes(body + hashlib.blake2b(body, digest_size=8).digest())
        with pytest.raises(FormatError, match="model.topt"):
            read_container(file)


def test_a_header_that_is_no_json_is_refused_and_leaves_the_file_alone(file):
    before = file.read_bytes()
    for header in ({"x": np.ones(2)}, {"loss": float("nan")}, {1j: 2}, "\ud800"):
        with pytest.raises(ValueError, match="only what JSON can say"):
            write_container(file, header, {})
    with pytest.raises(TypeError):
        write_container(file, {}, {"x": "text"})
    assert file.read_bytes() == before


def test_bytes_reach_the_disk_before_the_name_moves(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("fsync"), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append(os.path.dirname(a)), replace(a, b)))
    atomic_write(tmp_path / "a", b"new")
    assert calls == ["fsync", os.path.realpath(tmp_path)] and (tmp_path / "a").read_bytes() == b"new"


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), PermissionError(13, "denied"),
                                   KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step, error):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def fail(*_):
        raise error

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(type(error)) as caught:
        atomic_write(path, b"new")
    assert os.listdir(tmp_path) == ["a"] and path.read_bytes() == b"old"
    if isinstance(error, OSError):
        assert str(caught.value).startswith(f"cannot write {path}: {error.strerror}.")


def test_unwritable_places_are_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="no folder .*nowhere.*Make it first"):
        atomic_write(tmp_path / "nowhere" / "a", b"")
    with pytest.raises(IsADirectoryError, match="it is a folder"):
        atomic_write(tmp_path, b"")
    with pytest.raises(FileNotFoundError, match="no folder"):
        atomic_write(tmp_path / "file" / "a", b"")


def test_a_file_name_alone_means_the_folder_one_is_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    atomic_write("alone", b"x")
    atomic_write("alone", b"y")
    assert os.listdir(tmp_path) == ["alone"] and (tmp_path / "alone").read_bytes() == b"y"

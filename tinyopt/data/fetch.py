"""Find the four files of MNIST or Fashion-MNIST on this machine, or download them; check every byte.

Looked into, in this order: the folder that the caller or $TINYOPT_DATA names, the cache, and where Debian's
package `dataset-fashion-mnist` puts its files. In each, a subfolder of the set's name comes first. The four
files have the same names in both sets, so their content decides which set they are.
"""

import hashlib
import os
import sys
from pathlib import Path
from typing import NamedTuple

from tinyopt.codec.container import atomic_write
from tinyopt.data.idx import unzipped
from tinyopt.errors import FormatError

DEBIAN_FOLDER = Path("/usr/share/datasets")


class Source(NamedTuple):
    """What is known of a data set in four IDX files."""

    name: str
    folders: tuple  # what its folder may be called
    mirrors: tuple  # the folders on the web that have it
    sha256: dict  # name of a file -> SHA-256 of its content, before any gzip


MNIST = Source(
    "mnist",
    ("mnist",),
    ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
    {"train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
     "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
     "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
     "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"},
)
FASHION_MNIST = Source(
    "fashion_mnist",
    ("fashion_mnist", "fashion-mnist"),
    ("https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
     "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"),
    {"train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
     "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
     "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
     "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"},
)


def fetch(source, folder=None, mirrors=None):
    """Return the content of the four files of `source`, as {name: bytes}, each checked.

    Shapes: folder, where to look first, instead of $TINYOPT_DATA; mirrors, addresses of folders to
            download from, instead of `source.mirrors`.
    Raises: FileNotFoundError if the folder does not exist, or if the files are nowhere and cannot be
            downloaded: it says where to put them. FormatError if a file's content is not what it should be.
    """
    home = find(source, folder)
    if home is None:
        home = cache_folder() / source.name
        _download(source, mirrors or source.mirrors, home, _roots(folder))
    paths = {name: _file(home, name) for name in source.sha256}
    return {name: _checked(path.read_bytes(), name, source, path) for name, path in paths.items()}


def cache_folder():
    """Where downloads are kept: $TINYOPT_CACHE, or else where the platform keeps such things."""
    if chosen := os.environ.get("TINYOPT_CACHE"):
        return Path(chosen)
    if sys.platform == "win32":
        caches = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        caches = Path.home() / "Library" / "Caches"
    else:
        caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "tinyopt"


def _roots(folder):
    """Where to look: the folder that the caller names, or else $TINYOPT_DATA; then the cache, then Debian's folder."""
    others = [cache_folder(), DEBIAN_FOLDER]
    setting, value = ("folder", folder) if folder else ("TINYOPT_DATA", os.environ.get("TINYOPT_DATA"))
    if not value:
        return others
    root = Path(value).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"{setting} names {str(root)!r}, and there is no such folder. Correct it, or "
                                f"leave it out: then {cache_folder()} is used, and filled by downloading")
    return [root, *others]


def find(source, folder=None):
    """The first folder on this machine that has all four files of `source`; None if there is none.

    Raises: FileNotFoundError if the folder that is named, or $TINYOPT_DATA, does not exist.
    """
    for root in _roots(folder):
        for home in [*(root / name for name in source.folders), root]:
            if all(_file(home, name) for name in source.sha256) and not _is_another_set(home, source):
                return home
    return None


def _file(home, name):
    """The path of a file, plain or gzipped, in the folder `home`; None if it is not there."""
    return next((path for path in (home / name, home / f"{name}.gz") if path.is_file()), None)


def _is_another_set(home, source):
    """True if the smallest of the four files, the test labels, is that of another set that we know."""
    name = "t10k-labels-idx1-ubyte"
    path = _file(home, name)
    content = _sha256(unzipped(path.read_bytes(), path))
    return any(content == other.sha256[name] for other in (MNIST, FASHION_MNIST) if other.name != source.name)


def _sha256(content):
    return hashlib.sha256(content).hexdigest()


def _checked(data, name, source, where):
    """The content of a file's bytes, plain or gzipped, if its SHA-256 is the one due."""
    content = unzipped(data, where)
    due, got = source.sha256[name], _sha256(content)
    if got != due:
        raise FormatError(f"{where} is damaged, or not {source.name}'s {name}: the SHA-256 of its content "
                          f"should be {due}; got {got}. Delete it, and get it again")
    return content


def _download(source, mirrors, home, roots):
    """Download into `home` what is not there yet; a file appears whole and checked, or not at all."""
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise type(problem)(f"cannot make the folder {home}, to download {source.name}: {problem.strerror}. "
                            "Set TINYOPT_CACHE to a folder that you may write to") from None
    for name in source.sha256:
        if _file(home, name):
            continue
        try:
            data = _first_good(source, mirrors, name)
        except ConnectionError as problem:
            raise FileNotFoundError(
                f"{source.name}: its four files are not all in one of {', '.join(map(str, roots))}, and "
                f"downloading failed:\n{problem}\n"
                f"Without a network: put {', '.join(source.sha256)} (plain, or gzipped with .gz added) "
                f"into {home}, or into any folder, and set the variable TINYOPT_DATA to that folder"
            ) from None
        atomic_write(home / f"{name}.gz", data)


def _first_good(source, mirrors, name):
    """The gzipped bytes of one file from the first mirror whose copy is right, or a ConnectionError."""
    from http.client import HTTPException

    problems = []
    for mirror in [mirrors] if isinstance(mirrors, str) else mirrors:
        url = f"{mirror.rstrip('/')}/{name}.gz"
        try:
            data = _read_url(url, label=f"{source.name} {name}")
            _checked(data, name, source, url)
            return data
        except (OSError, ValueError, HTTPException) as problem:  # FormatError is a ValueError
            problems.append(f"  {url}: {problem}")
    raise ConnectionError("\n".join(problems))


def _read_url(url, label):
    """Download with a progress bar, into memory: a break leaves nothing behind."""
    from urllib.request import urlopen

    from tqdm import tqdm

    chunks = []
    with urlopen(url, timeout=30) as answer:
        total = int(answer.headers.get("Content-Length") or 0) or None
        with tqdm(total=total, desc=label, unit="B", unit_scale=True) as bar:
            while chunk := answer.read(1 << 16):
                chunks.append(chunk)
                bar.update(len(chunk))
    return b"".join(chunks)

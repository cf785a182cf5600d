"""The house, checked by reading its source: rooms import upwards only, and `import tinyopt` stays light.

The rooms are those of the README: a room imports only from rooms above its own, inside functions too.
"""

import ast
import functools
import pathlib
import re
import subprocess
import sys

import pytest

import tinyopt

ROOT = pathlib.Path(tinyopt.__file__).parent
ROOMS = [  # from the ground up
    {"errors", "backend"},
    {"codec"},
    {"autograd", "tensor", "ops", "gradcheck", "graph"},
    {"nn", "losses", "models"},
    {"optim", "data"},
    {"storage", "files", "measure", "train", "callbacks", "checkpoint", "parallel"},
    {"compress"},
    {"report", "course", "cli", "tour", "doctor", "__main__"},
]
FILES = sorted(ROOT.rglob("*.py"))
SOURCES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in FILES}
LIBRARY = [name for name in SOURCES if name != "__init__.py"]  # the package's own stands outside the rooms

parsed = functools.cache(ast.parse)

HEAVY = {  # parts of Python's library that are slow to load, or that not every build or system has
    "asyncio", "bz2", "concurrent", "ctypes", "curses", "doctest", "email", "fcntl", "ftplib", "grp", "http",
    "lzma", "multiprocessing", "pdb", "pwd", "pydoc", "resource", "socket", "sqlite3", "ssl", "statistics",
    "subprocess", "tempfile", "termios", "tkinter", "unittest", "urllib", "uuid", "xml", "xmlrpc",
}  # fmt: skip
LIGHT = (set(sys.stdlib_module_names) - HEAVY) | {"numpy", "tinyopt"}
LOADED_BY_ANOTHER = {"course/pytest_plugin.py": {"pytest"}}  # only pytest itself imports this file


def room_of(module):
    """The number of the room in which `tinyopt.…` lies; None for the package itself."""
    parts = module.split(".")
    if len(parts) == 1:
        return None
    rooms = [number for number, names in enumerate(ROOMS) if parts[1] in names]
    assert rooms, f"{module} has no room yet: give it one in ROOMS"
    return rooms[0]


def imports(name, source):
    """Yield (line, imported module in full, True if it is done at load time) for each import of a file."""
    package = ["tinyopt", *pathlib.PurePosixPath(name).parts[:-1]]
    tree = parsed(source)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    late = {inner for function in functions for inner in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, node not in late) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                inside = f"{module}.{alias.name}"
                yield node.lineno, inside if _is_file(inside) else module, node not in late


def _is_file(module):
    path = ROOT.joinpath(*module.split(".")[1:])
    return module.startswith("tinyopt.") and (path.is_dir() or path.with_suffix(".py").is_file())


def downward_imports(name, source):
    """What a file may not import: rooms below its own, and, but in the last room, the package as a whole."""
    own = room_of("tinyopt." + name.removesuffix(".py").replace("/", "."))
    for line, module, _ in imports(name, source):
        if module.split(".")[0] == "tinyopt":
            room = room_of(module)
            if (room is None and own < len(ROOMS) - 1) or (room is not None and room > own):
                yield f"{name}:{line} imports {module}"


def late_only(name, source):
    """What a file imports at load time and should not."""
    allowed = LIGHT | LOADED_BY_ANOTHER.get(name, set())
    return [
        f"{name}:{line} imports {module}"
        for line, module, at_load in imports(name, source)
        if at_load and module.split(".")[0] not in allowed
    ]


def docstrings(tree):
    """The nodes of all docstrings."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    owners = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    return {owner.body[0].value for owner in owners if ast.get_docstring(owner) is not None}


def names_cupy(source):
    """The lines on which code, or a text that code uses, says CuPy; comments and docstrings may."""
    tree = parsed(source)
    prose = docstrings(tree)
    for node in ast.walk(tree):
        fields = [value for _, value in ast.iter_fields(node) if isinstance(value, str)]
        if node not in prose and any("cupy" in text.lower() for text in fields):
            yield getattr(node, "lineno", 0)


def undocumented(source):
    """The public functions and classes that say nothing about themselves; for a `main`, its file speaks."""
    return [
        node.name
        for node in parsed(source).body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
        and not node.name.startswith("_")
        and node.name != "main"
        and not ast.get_docstring(node)
    ]


def test_a_room_imports_only_from_rooms_above():
    assert [found for name in LIBRARY for found in downward_imports(name, SOURCES[name])] == []


def test_only_backend_names_cupy():
    found = {name: list(names_cupy(source)) for name, source in SOURCES.items()}
    assert found.pop("backend.py")
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_heavy_modules_are_imported_where_they_are_used():
    assert [found for name in SOURCES for found in late_only(name, SOURCES[name])] == []


def test_every_file_and_every_public_function_and_class_has_a_docstring():
    assert [f"{name}: {missing}" for name in SOURCES for missing in undocumented(SOURCES[name])] == []
    assert [name for name in SOURCES if not ast.get_docstring(parsed(SOURCES[name]))] == []


def test_files_are_read_and_written_as_utf_8():
    """`open` in text mode, `read_text` and `write_text` take the system's encoding unless they are told."""
    careless = []
    for name, source in SOURCES.items():
        for node in (n for n in ast.walk(parsed(source)) if isinstance(n, ast.Call)):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            modes = [argument.value for argument in node.args[1:2] if isinstance(argument, ast.Constant)]
            opens_text = called == "open" and isinstance(node.func, ast.Name) and "b" not in str(modes[:1])
            text = opens_text or called in ("read_text", "write_text")
            if text and not any(keyword.arg == "encoding" for keyword in node.keywords):
                careless.append(f"{name}:{node.lineno} {called}")
    assert careless == []


def test_import_tinyopt_loads_numpy_and_little_else():
    seen = "import sys, tinyopt; print('\\n'.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", seen], capture_output=True, check=True)
    loaded = set(run.stdout.decode().split())
    assert "numpy" in loaded and "tinyopt.ops.conv" in loaded
    assert loaded & {"matplotlib", "tqdm", "cupy", "tinyopt.nn", "tinyopt.data", "tinyopt.compress"} == set()


@pytest.mark.parametrize(
    "name, source, found",
    [
        ("nn/layers.py", "from tinyopt import backend\nfrom tinyopt.tensor import OPS", 0),
        ("nn/layers.py", "from tinyopt import files", 1),
        ("nn/layers.py", "def f():\n    from tinyopt.compress.prune import magnitude_mask", 1),
        ("nn/layers.py", "import tinyopt", 1),
        ("nn/layers.py", "from tinyopt import Tensor", 1),
        ("codec/bits.py", "from ..tensor import OPS\nfrom .huffman import encode\nfrom . import sparse", 1),
        ("ops/conv.py", "import tinyopt.nn.layers as layers, numpy", 1),
        ("report/page.py", "import tinyopt\nfrom tinyopt.compress import prune", 0),
    ],
)
def test_the_reader_of_rooms_sees_what_it_should(name, source, found):
    assert len(list(downward_imports(name, source))) == found


def test_the_other_readers_see_what_they_should():
    assert list(names_cupy('"""CuPy."""\nx = 1  # cupy\ndef f():\n    """cupy"""\n')) == []
    assert list(names_cupy("import cupy as cp")) and list(names_cupy("a.cupy"))
    assert list(names_cupy("print(f'no CuPy {x}')")) and list(names_cupy("f(cupy=1)"))
    assert undocumented("def a(): pass\nclass B: pass\ndef _c(): pass\ndef d():\n    'Says.'") == ["a", "B"]
    source = "import tqdm, math\nclass A:\n    import lzma\ndef f():\n    import matplotlib"
    assert late_only("nn/x.py", source) == ["nn/x.py:1 imports tqdm", "nn/x.py:3 imports lzma"]
    with pytest.raises(AssertionError, match="tinyopt.attic has no room yet"):
        room_of("tinyopt.attic")


def test_a_wheel_holds_every_folder_of_the_package():
    """`packages` in pyproject.toml is a list by hand: a folder that it lacks is there in a checkout, and not in a wheel."""
    listed = (ROOT.parent / "pyproject.toml").read_text(encoding="utf-8").partition("packages = [")[2].partition("]")[0]
    folders = {".".join(path.parent.relative_to(ROOT.parent).parts) for path in ROOT.rglob("__init__.py")}
    assert set(re.findall('"(.*?)"', listed)) == folders | {"tinyopt.lessons"}

"""A student's answers, out of a notebook or a .py file: the functions asked for, what they need, no more.

A notebook may train for a minute; to check one function of it, only the statements that the function depends on
are run. Which those are, the compiled code tells: it lists every name that a statement binds and reads.
"""

import ast
import dis
import json
import linecache
import types
from pathlib import Path


def answers(path, names):
    """The functions called `names` that a notebook or .py file defines: {name: function or None}.

    Raises: OSError if the file cannot be read; ValueError if it is no notebook or no Python, or if what a
            function needs cannot be run.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; give a notebook (.ipynb) or a Python file (.py)")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no text; a notebook (.ipynb) or a Python file (.py) is due") from None
    return definitions(_cells(path, text) if path.suffix == ".ipynb" else [(str(path), text)], names)


def definitions(cells, names):
    """The same, from pairs (what the cell is called in messages, its source).

    Raises: ValueError as above.
    """
    statements = [statement for where, source in cells for statement in _statements(where, source)]
    needed, kept = set(names), set()
    grown = True
    while grown:
        more = {i for i, (binds, _, _) in enumerate(statements) if binds & needed} - kept
        kept |= more
        needed |= {name for i in more for name in statements[i][1]}
        grown = bool(more)
    namespace = {"__name__": "__main__"}
    for i in sorted(kept):
        code = statements[i][2]
        try:
            exec(code, namespace)
        except Exception as problem:
            line = linecache.getline(code.co_filename, code.co_firstlineno).strip()
            says = f"{code.co_filename}: {line!r} raised {type(problem).__name__}: {problem}"
            raise ValueError(f"{says}. An answer needs this line") from None
    return {name: namespace.get(name) for name in names}


def _cells(path, text):
    """The code cells of a notebook, with the lines for IPython alone left empty."""
    try:
        cells = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(text)["cells"]]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} is no Jupyter notebook, or is damaged; save it again") from None
    return [
        (f"{path}, cell {number}", "\n".join("" if line[:1] in ("%", "!", "?") else line for line in source.splitlines()))
        for number, (kind, source) in enumerate(cells, 1)
        if kind == "code"
    ]


def _statements(where, source):
    """Each statement of a cell as (names that it binds, names that it reads, its code)."""
    try:
        tree = ast.parse(source)
    except SyntaxError as problem:
        says = f"{where}, line {problem.lineno} is no Python: {problem.msg}"
        raise ValueError(f"{says}: {(problem.text or '').strip()!r}. Mend or delete it") from None
    linecache.cache[where] = len(source), None, source.splitlines(keepends=True), where  # for tracebacks
    for node in tree.body:
        code = compile(ast.Module([node], type_ignores=[]), where, "exec")
        code = code.replace(co_firstlineno=node.lineno)
        binds = {step.argval for step in dis.get_instructions(code) if step.opname == "STORE_NAME"}
        yield binds, set(_reads(code)), code


def _reads(code):
    """All names that a piece of code looks up outside itself, its inner functions included."""
    for step in dis.get_instructions(code):
        if step.opname.startswith("LOAD") and ("GLOBAL" in step.opname or step.opname.endswith("_NAME")):
            yield step.argval
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from _reads(inner)

"""Lessons as web pages to read: executed with all answers, each one file, with its pictures inside."""

import html
import re

from tinyopt.codec.container import atomic_write
from tinyopt.course.execute import execute
from tinyopt.course.lessons import about, find

SCRIPT = re.compile(r"<script\b.*?</script>", re.DOTALL | re.IGNORECASE)  # a page to read needs none


def write(number, folder):
    """Execute a solved lesson and write it into `folder` as one page that loads nothing from elsewhere.

    Raises: ImportError if Jupyter is not installed; nbclient's CellExecutionError if a cell fails.
    """
    from nbconvert import HTMLExporter

    notebook, seconds = execute(number, "solved")
    for cell in notebook.cells:
        cell.metadata.pop("nbgrader", None)
    title = f"{number} · {about(number)['title']}"
    page, _ = HTMLExporter(embed_images=True).from_notebook_node(notebook, {"metadata": {"name": title}})
    path = folder / f"{find(number).name}.html"
    atomic_write(path, SCRIPT.sub("", page).encode("utf-8"))
    return path, seconds


def write_index(numbers, folder):
    """Write `index.html`, which leads to the lessons' pages."""
    rows = "\n".join(
        f'<li value="{number}"><a href="{find(number).name}.html">{html.escape(about(number)["title"])}</a></li>'
        for number in numbers
    )
    path = folder / "index.html"
    atomic_write(path, INDEX.replace("ROWS", rows).encode("utf-8"))
    return path


INDEX = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>tinyopt: lessons</title>
<style>body { font: 1.1em/1.7 system-ui, sans-serif; max-width: 42em; margin: 3em auto; padding: 0 1em }</style>
<h1>tinyopt: lessons</h1>
<p>Each page is a lesson with all its answers, executed from top to bottom.
To solve the exercises yourself, run <code>tinyopt lessons start</code>.</p>
<ol>
ROWS
</ol>
</html>
"""

"""The tour's table into a README, so that no number there is typed by hand."""

from pathlib import Path

from tinyopt.codec import atomic_write
from tinyopt.report import tables

BEGIN, END = "<!-- tour:begin -->", "<!-- tour:end -->"
FIGURE = "lessons/figures/tour.png"


def check(path):
    """Raise ValueError if the README has no place for the table; FileNotFoundError if there is none."""
    _split(path)


def put(path, about, rows, figure):
    """Put the table, and the command that made it, between a README's marks; and the figure in its place."""
    before, after = _split(path)
    picture = Path(path).parent / FIGURE
    picture.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(picture, figure)
    made_by = f"`{about['command']}`: {about['n_test']:,} test images, {about['seconds']:.0f} s"
    made_by += f"; {about['machine']['text']}."
    block = f"{tables.markdown_table(rows)}\n\nMade by {made_by}\n\n{tables.LEGEND}"
    atomic_write(path, f"{before}{BEGIN}\n{block}\n{END}{after}".encode("utf-8"))


def _split(path):
    """What stands before and after the marks."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no README {path}: make it, with a line {BEGIN} and a line {END}")
    text = Path(path).read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"{path} needs a line {BEGIN} and after it a line {END}, for the table; once each")
    return text.partition(BEGIN)[0], text.partition(END)[2]

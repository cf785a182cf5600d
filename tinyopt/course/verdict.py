"""`Verdict`: what `check` answers, as a coloured box in a notebook and as plain lines elsewhere."""

import html
from dataclasses import dataclass, field

# kind -> its sign, its colour
KINDS = {
    "right": ("✓", "#2e7d32"),
    "wrong": ("✗", "#c62828"),
    "raised": ("!", "#b26a00"),
    "not written yet": ("…", "#546e7a"),
}


@dataclass
class Verdict:
    """One of four kinds: right, wrong, raised, not written yet. True only if right.

    `test` is the test that was failed, whose docstring is the property; `facts` the numbers at the worst
    place; `frames` (function, line number, source) of the student's own code; `after` the next exercise.
    """

    kind: str
    exercise: object
    test: object = None
    says: str = ""
    facts: dict = field(default_factory=dict)
    frames: list = field(default_factory=list)
    after: object = None

    def __bool__(self):
        return self.kind == "right"

    @property
    def title(self):
        sign = KINDS[self.kind][0]
        points = f" ({self.exercise.points} point{'s' * (self.exercise.points > 1)})" if self else ""
        return f"{sign} {self.exercise.id} {self.exercise.name}: {self.kind}{points}"

    @property
    def demand(self):
        """The first line of the failed test's docstring."""
        shown = self.test is not None and self.kind != "not written yet"
        return self.test.__doc__.strip().splitlines()[0] if shown else ""

    @property
    def end(self):
        """What to do next."""
        if self and self.after:
            return f"Next: exercise {self.after.id}, {self.after.name}."
        if self:
            return "That was the last exercise of this lesson."
        if self.kind == "not written yet":
            return f'Write it, run its cell, and check again. A first hint: hint("{self.exercise.id}")'
        return f'Stuck? hint("{self.exercise.id}")'

    def rows(self):
        """The pairs (name, text) between the title and the end."""
        rows = [("should hold", self.demand)] * bool(self.demand)
        rows += [("", line) for line in self.says.splitlines()]
        rows += [(name, str(value)) for name, value in self.facts.items()]
        return rows + [(f"{name}, line {line}" if line else name, text) for name, line, text in self.frames]

    def __repr__(self):
        rows = self.rows()
        width = max((len(name) for name, _ in rows), default=0)
        lines = [f"  {name:{width}}  {text}" if name else f"  {text}" for name, text in rows]
        return "\n".join([self.title, *lines, f"  {self.end}"])

    def _repr_html_(self):
        return box(self.title, "".join(_line(*row) for row in self.rows()), self.end, KINDS[self.kind][1])


def _line(name, text):
    """A row in HTML: the property in italics, numbers and code in a fixed width, sentences as they are."""
    tag = "span" if not name else "i" if name == "should hold" else "code"
    label = f'<span style="opacity:.65">{html.escape(name)}:</span> ' if name else ""
    return f"<div>{label}<{tag}>{html.escape(text)}</{tag}></div>"


def box(title, body, end, colour):
    """A box with a coloured edge, in HTML; title and end are text, body is HTML."""
    style = f"border-left:5px solid {colour};padding:.4em .9em;margin:.3em 0;line-height:1.6"
    head = f'<b style="color:{colour}">{html.escape(title)}</b>'
    return f'<div style="{style}">{head}{body}<div style="opacity:.65">{html.escape(end)}</div></div>'


class Note:
    """A title, a text and an end, shown like a verdict: hints and source code."""

    def __init__(self, title, text, end="", code=False):
        self.title, self.text, self.end, self.code = title, text, end, code

    def __repr__(self):
        return "\n".join(line for line in (self.title, self.text, self.end) if line)

    def _repr_html_(self):
        start, end = ('<pre style="overflow-x:auto">', "</pre>") if self.code else ("<div>", "</div>")
        parts = [self.text] if self.code else self.text.splitlines()
        return box(
            self.title, "".join(start + html.escape(part) + end for part in parts), self.end, "#1565c0"
        )

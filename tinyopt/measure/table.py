"""Columns of text that line up; every table that is printed is made here."""


def text_table(header, rows, left=1, total=None):
    """Rows of cells as aligned text: the first `left` columns to the left, the others to the right.

    Shapes: header, n strings; rows, lists of n values each; total, one more row under a line.
    Units:  integers get thousands separators; other values are written as `str` writes them.
    """
    body = [[_cell(value) for value in row] for row in [*rows, *([total] if total else [])]]
    widths = [max(map(len, column)) for column in zip(header, *body)]

    def line(cells):
        pairs = enumerate(zip(cells, widths))
        return "  ".join(cell.ljust(w) if i < left else cell.rjust(w) for i, (cell, w) in pairs).rstrip()

    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
    lines = [line(header), rule, *map(line, body)]
    return "\n".join([*lines[:-1], rule, lines[-1]] if total else lines)


def _cell(value):
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)

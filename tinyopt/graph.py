"""`draw`: a picture of a small expression, from its leaves on the left to its value on the right.

A layered drawing in four steps: which boxes there are, in which column each stands, in which order
within the column, and where exactly. All lengths are points (1/72 inch), and text is measured before
anything is placed, so nothing overlaps.

Source: Sugiyama, Tagawa & Toda (1981), "Methods for Visual Understanding of Hierarchical System
        Structures", IEEE Trans. Systems, Man, and Cybernetics 11(2): columns, bends, barycentres.
"""

import io
import pathlib

import numpy as np

from tinyopt import backend
from tinyopt.autograd import backpropagate
from tinyopt.codec.container import atomic_write
from tinyopt.tensor import Tensor

MOST_BOXES = 60
FEW_NUMBERS = 4  # so many are written out; larger arrays are shown by shape and range
FONT, SIZE, LINE, PAD = "DejaVu Sans", 9, 13, 6  # Matplotlib's own font; height of a line; space around it
STEM, GAP, ROW, MARGIN = 12, 44, 14, 16  # from an op to its box, between columns, between rows, around all
INK, ORANGE, GREY = "#222222", "#b04a12", "#7a7a7a"
STYLES = {  # kind of box -> face, edge, line
    "leaf": ("#e6f0fa", "#3572b0", "-"),
    "constant": ("#f6f6f6", "#a8a8a8", "--"),
    "between": ("#ffffff", "#6b6b6b", "-"),
    "output": ("#e7f5e9", "#3c8d4f", "-"),
}


def draw(tensor, path=None):
    """Draw how `tensor` was made: every value, every gradient, and the ops between them.

    Each box is a tensor: its name if it has one (`t.name = "a"`), its value, and in orange ∂L/∂t, where
    L is `tensor` itself, or its sum if it holds several numbers. Blue boxes are leaves; dashed boxes need
    no gradient. No tensor's own `.grad` is read or changed.

    Shapes: tensor, any; up to 4 numbers are written out, a larger array as its shape and range.
    Units:  path, a file name whose ending says the format (.png, .svg, .pdf); None writes no file.
            Returns Matplotlib's Figure, drawn without a window.
    Raises: ValueError if there are more than 60 boxes: then no picture helps.
    Source: Karpathy (2020), "micrograd", github.com/karpathy/micrograd (value and gradient on each node).
    """
    boxes = _boxes(_unviewed(tensor))
    columns = _columns(boxes)
    _order(columns)
    _place(columns)
    figure = _paint(columns, "the green box" if tensor.size == 1 else "the sum of the green box")
    figure._repr_png_ = lambda: _encoded(figure, "png")  # a notebook shows it, with or without pyplot
    if path is not None:
        atomic_write(path, _encoded(figure, pathlib.Path(path).suffix[1:] or "png"))
    return figure


def _encoded(figure, kind):
    file = io.BytesIO()
    figure.savefig(file, format=kind, dpi=160)
    return file.getvalue()


class _Box:
    """A tensor in the picture, with the op that made it; or, without lines, a bend of a long arrow."""

    def __init__(self, lines=(), kind="between", op=None):
        self.lines, self.kind, self.op = lines, kind, op  # lines: (text, colour, weight)
        self.sources, self.readers = [], []  # the boxes at the left that the op reads; the boxes at the right
        self.column = 0  # counted from the right
        self.width = self.height = self.op_width = 0
        self.x = self.y = self.left = self.right = 0  # the box's left end and middle; its column's two ends

    def measure(self):
        if self.lines:
            self.width = max(_text_width(text, weight) for text, _, weight in self.lines) + 2 * PAD
            self.height = LINE * len(self.lines) + PAD
        self.op_width = _text_width(self.op, "normal") + 2 * PAD if self.op else 0


# --- which boxes -------------------------------------------------------------------------------------


def _boxes(output):
    """A box for every tensor and number behind `output`, which comes first; each before its sources."""
    walk = backpropagate(output, np.ones_like(output._data)) if output.requires_grad else [(output, None)]
    tensors, boxes = {}, {}
    for t, g in walk:
        t = _unviewed(t)  # met again at its end as a leaf, with all its gradient
        made = "output" if t is output else "between"
        kind = made if t.node else "leaf" if t.requires_grad else "constant"
        boxes[id(t)] = _Box(_lines(t, g), kind, t.node and t.node.name)
        tensors[id(t)] = t
    for t in tensors.values():
        for value in t.node.inputs if t.node else ():
            value = _unviewed(value)
            if value is not None:
                key = id(value) if isinstance(value, Tensor) else object()  # a number has a box of its own
                boxes[id(t)].sources.append(boxes.setdefault(key, _Box(_lines(value, None), "constant")))
    if len(boxes) > MOST_BOXES:
        raise ValueError(
            f"graph() draws up to {MOST_BOXES} boxes; this expression has {len(boxes)}. "
            "Draw a tensor from farther inside, or take fewer steps"
        )
    return list(boxes.values())


def _unviewed(value):
    """A parameter is read through a tensor of its own (the op "data"); the picture shows the parameter."""
    behind = isinstance(value, Tensor) and value.node is not None and value.node.name == "data"
    return value.node.inputs[0] if behind else value


def _lines(value, g):
    """What a box says: name, value and gradient, as (text, colour, weight)."""
    name = str(getattr(value, "name", ""))
    lines = [(name, INK, "bold")] if name else []
    array = value._data if isinstance(value, Tensor) else np.array(value)
    shape = f"{array.shape}  " if array.size > FEW_NUMBERS else ""
    lines.append((shape + _numbers(array), INK, "normal"))
    return lines + ([] if g is None else [(f"grad {_numbers(g)}", ORANGE, "normal")])


def _numbers(array):
    array = backend.to_host(array)
    if array.size <= FEW_NUMBERS:
        return _written_out(array.tolist())
    return "Booleans" if array.dtype == bool else f"{_written_out(array.min())} … {_written_out(array.max())}"


def _written_out(value):
    if isinstance(value, list):
        return f"[{', '.join(map(_written_out, value))}]"
    return str(value) if isinstance(value, bool) else f"{value:.4g}".replace("-", "−")


# --- where they stand --------------------------------------------------------------------------------


def _columns(boxes):
    """The boxes by column, the rightmost first: each as far to the right as its readers let it.

    An arrow past several columns gets a bend in each of them, and so a place of its own.
    """
    for box in boxes:
        for source in box.sources:
            source.column = max(source.column, box.column + 1)
    columns = [[] for _ in range(1 + max(box.column for box in boxes))]
    columns[0].append(boxes[0])
    for box in boxes:
        box.measure()
        for i, source in enumerate(box.sources):  # in the order of arguments; it stays, if nothing crosses
            if not source.readers:
                columns[source.column].append(source)
            for column in range(source.column - 1, box.column, -1):
                bend = _Box()
                bend.sources = [source]
                source.readers.append(bend)
                columns[column].append(bend)
                source = bend
            box.sources[i] = source
            source.readers.append(box)
    return columns


def _order(columns):
    """Sort each column by where its neighbours stand, several times: that undoes most crossings."""

    def sort(column, neighbours):
        column.sort(key=lambda box: _mean([b.y for b in neighbours(box)] or [box.y]))
        for i, box in enumerate(column):
            box.y = i

    for _ in range(4):
        for column in columns:
            sort(column, lambda box: box.readers)
        for column in reversed(columns):
            sort(column, lambda box: box.sources)
    for column in columns:
        sort(column, lambda box: box.readers)


def _place(columns):
    """Give each box its place: as near to its neighbours' height as the boxes above and below allow."""
    for _ in range(20):
        for neighbours in (lambda box: box.readers, lambda box: box.sources):
            for column in columns:
                wanted = [_mean([b.y for b in neighbours(box)] or [box.y]) for box in column]
                for box, y in zip(column, _spread(wanted, [box.height for box in column])):
                    box.y = y
    x = MARGIN
    for column in reversed(columns):
        ops = max(box.op_width for box in column)
        right = x + ops + STEM * (ops > 0) + max(box.width for box in column)
        for box in column:
            box.left, box.right = x, right
            box.x = x + ops + STEM * (ops > 0) if box.lines else right
        x = right + GAP


def _spread(wanted, heights):
    """The middles nearest to `wanted`, in least squares, of boxes in this order that must not overlap.

    Less the room that the boxes above need, the middles have to rise: an isotonic regression, solved by
    merging neighbours that fall, each block at its mean ("pool adjacent violators").
    """
    room = [0]
    for upper, lower in zip(heights, heights[1:]):
        room.append(room[-1] + (upper + lower) / 2 + ROW)
    blocks = []  # lists of what each box wants
    for y, above in zip(wanted, room):
        blocks.append([y - above])
        while len(blocks) > 1 and _mean(blocks[-2]) > _mean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    level = [_mean(block) for block in blocks for _ in block]
    return [y + above for y, above in zip(level, room)]


def _mean(numbers):
    return sum(numbers) / len(numbers)


# --- the picture -------------------------------------------------------------------------------------


def _font(weight):
    from matplotlib.font_manager import FontProperties

    return FontProperties(family=FONT, size=SIZE, weight=weight)


def _text_width(text, weight):
    from matplotlib.textpath import text_to_path

    return text_to_path.get_text_width_height_descent(text, _font(weight), ismath=False)[0]


def _paint(columns, what):
    """All boxes, ops and arrows as a Matplotlib figure of just the size that they need."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    boxes = [box for column in columns for box in column]
    caption = f"grad = ∂L/∂(this box), L = {what}" if len(boxes) > 1 else ""
    width = max(max(box.right for box in boxes), MARGIN + _text_width(caption, "normal")) + MARGIN
    top = min(box.y - max(box.height, LINE + PAD) / 2 for box in boxes) - MARGIN
    bottom = max(box.y + max(box.height, LINE + PAD) / 2 for box in boxes) + MARGIN + LINE
    figure = Figure(figsize=(width / 72, (bottom - top) / 72))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(bottom, top))
    axes.set_axis_off()
    for box in boxes:
        _paint_arrows(axes, box)
        _paint_box(axes, box)
    axes.text(MARGIN, bottom - MARGIN / 2, caption, color=ORANGE, va="bottom", font=_font("normal"))
    return figure


def _paint_box(axes, box):
    from matplotlib.patches import FancyBboxPatch

    def rounded(x, width, height, radius, **style):
        style |= {"boxstyle": f"round,pad=0,rounding_size={radius}", "zorder": 3}
        axes.add_patch(FancyBboxPatch((x, box.y - height / 2), width, height, **style))

    if box.lines:
        face, edge, line = STYLES[box.kind]
        rounded(box.x, box.width, box.height, 4, fc=face, ec=edge, ls=line)
    for i, (text, colour, weight) in enumerate(box.lines):
        y = box.y + LINE * (i + 0.5 - len(box.lines) / 2)
        style = {"va": "center_baseline", "parse_math": False, "zorder": 4}  # a name may hold a "$"
        axes.text(box.x + PAD, y, text, color=colour, font=_font(weight), **style)
    if box.op:
        x, style = box.x - STEM - box.op_width, {"ha": "center", "va": "center_baseline", "zorder": 4}
        rounded(x, box.op_width, LINE + PAD, (LINE + PAD) / 2, fc="#4a4a4a", ec="none")
        axes.text(x + box.op_width / 2, box.y, box.op, color="white", font=_font("normal"), **style)
        axes.plot([box.x - STEM, box.x], [box.y, box.y], color=GREY, lw=1, zorder=1)


def _paint_arrows(axes, box):
    """From each source, straight to the end of its column, in a curve over the gap, straight on to the op."""
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    end = box.x - STEM - box.op_width if box.op else box.x
    first_to_last = sorted(box.sources, key=lambda source: source.y)
    for i, source in enumerate(first_to_last):
        y = box.y + min(6, 12 / len(first_to_last)) * (i - (len(first_to_last) - 1) / 2)  # each its own entry
        start, middle = source.x + source.width, (source.right + box.left) / 2
        x = (start, source.right, middle, middle, box.left, end)
        points = list(zip(x, (source.y, source.y, source.y, y, y, y)))
        codes = [Path.MOVETO, Path.LINETO, Path.CURVE4, Path.CURVE4, Path.CURVE4, Path.LINETO]
        n = 5 if end == box.left else 6  # an arrow's head needs a last piece with a length
        arrow = FancyArrowPatch(path=Path(points[:n], codes[:n]), arrowstyle="-|>" if box.op else "-")
        arrow.set(mutation_scale=8, color=GREY, linewidth=1, zorder=1)
        axes.add_patch(arrow)

"""`Tensor.graph()`: every value and gradient is there, nothing overlaps, and drawing changes nothing."""

import itertools

import numpy as np
import pytest

from tinyopt import Tensor, nn, ops


def named(value, name):
    t = Tensor(value, requires_grad=True)
    t.name = name
    return t


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def polynomial():
    x = named(1.5, "x")
    y = x * x * x - 2 * x + 1 / x
    return (y - x) ** 2 + y


def network():
    x = Tensor(np.linspace(-1, 1, 12).reshape(4, 3))
    w1, b1, w2 = named(np.ones((5, 3)), "w1"), named(np.zeros(5), "b1"), named(np.ones((2, 5)), "w2")
    h = ops.linear(x, w1, b1).relu()
    return ops.cross_entropy(ops.linear(h, w2) + h.sum(), np.array([0, 1, 1, 0]))


def neurons():
    xs = [named(float(i), f"x{i}") for i in range(3)]
    return ops.stack([sum(named(i / 7 - 1, f"w{i}") * x for x in xs).tanh() for i in range(3)]).sum()


def test_values_gradients_names_and_ops_are_written():
    a, b, c = named(2.0, "a"), named(-3.0, "b"), named(10.0, "c")
    a.grad = np.float32(7)  # what an earlier backward left
    L = a * b + c
    L.name = "L"
    found = texts(L.graph())
    assert sorted(found) == sorted(
        ["L", "4", "grad 1", "add", "−6", "grad 1", "mul", "a", "2", "grad −3", "b", "−3", "grad 2",
         "c", "10", "grad 1", "grad = ∂L/∂(this box), L = the green box"]
    )  # fmt: skip
    assert a.grad == 7 and b.grad is None and L.grad is None


def test_a_tensor_that_is_read_twice_is_one_box_with_its_whole_gradient():
    x = named(3.0, "x")
    found = texts((x * x + x).graph())
    assert found.count("x") == 1 and "grad 7" in found


def test_larger_arrays_show_shape_and_range_and_constants_show_too():
    found = texts(network().graph())
    assert "(4, 3)  −1 … 1" in found and "[0, 1, 1, 0]" in found and "(5, 3)  1 … 1" in found
    found = texts((named([1.0, 2.0], "x") * 2).graph())
    assert {"2", "[1, 2]", "[2, 4]", "grad [2, 2]", "grad [1, 1]"} <= set(found)
    assert "grad = ∂L/∂(this box), L = the sum of the green box" in found


def test_a_parameter_is_one_box_however_it_is_read():
    layer = nn.Linear(1, 1, rng=0)
    x = Tensor([[2.0]])
    (layer(x) + layer(x)).sum().graph()
    layer.weight.name, layer.bias.name = "weight", "bias"
    found = texts((layer(x) + layer(x)).sum().graph())
    assert found.count("weight") == found.count("bias") == 1 and "data" not in found
    assert "grad [[4]]" in found and "grad [2]" in found


def test_what_was_made_without_a_graph_is_a_single_box():
    assert "[1, 2]" in texts(Tensor([1.0, 2.0]).graph())
    assert {"p", "[1, 2]", "grad [1, 1]"} <= set(texts(named([1.0, 2.0], "p").graph()))


@pytest.mark.parametrize("make", [polynomial, network, neurons])
def test_no_text_covers_another_or_leaves_its_figure(make):
    figure = make().graph()
    renderer = figure.canvas.get_renderer()
    places = [text.get_window_extent(renderer) for text in figure.axes[0].texts]
    for a, b in itertools.combinations(places, 2):
        apart = a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 + 2 or b.y1 <= a.y0 + 2
        assert apart  # but for 2 of a line's 13 points
    width, height = figure.bbox.size
    assert all(0 <= p.x0 and p.x1 <= width and 0 <= p.y0 and p.y1 <= height for p in places)


def test_arrows_run_from_left_to_right_and_through_no_box():
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

    patches = polynomial().graph().axes[0].patches
    boxes = [p.get_bbox() for p in patches if isinstance(p, FancyBboxPatch)]
    arrows = [p.get_path().vertices[:5] for p in patches if isinstance(p, FancyArrowPatch)]  # without heads
    assert len(arrows) > 10
    for vertices in arrows:
        assert (np.diff(vertices[:, 0]) >= -1e-6).all()
        for x, y in (vertices[:-1] + vertices[1:]) / 2:
            assert not any(b.x0 + 1 < x < b.x1 - 1 and min(b.y0, b.y1) < y < max(b.y0, b.y1) for b in boxes)


def test_sixty_boxes_are_the_most():
    x = named(1.0, "x")
    for _ in range(59):
        x = x.tanh()
    assert len(texts(x.graph())) == 180 + 1  # 60 values and gradients, 59 ops, one name, the caption
    with pytest.raises(ValueError, match="draws up to 60 boxes; this expression has 61"):
        x.tanh().graph()


def test_a_path_saves_the_picture_whole(tmp_path):
    y = named(2.0, "x") * 3
    y.graph(tmp_path / "y.png")
    y.graph(str(tmp_path / "y.svg"))
    assert (tmp_path / "y.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "y.svg").read_text(encoding="utf-8")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["y.png", "y.svg"]
    with pytest.raises(ValueError, match="not supported"):
        y.graph(tmp_path / "y.text")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        y.graph(tmp_path / "nowhere" / "y.png")
    assert y.graph()._repr_png_().startswith(b"\x89PNG")

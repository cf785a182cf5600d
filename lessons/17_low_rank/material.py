"""Lesson 17: two references, oracles without an SVD, the tests' names for classic mistakes, drawings."""

import copy
import dataclasses
import itertools
import math

import numpy as np

from tinyopt import nn
from tinyopt.compress import conv_lowrank, truncated_svd
from tinyopt.compress.lowrank import low_rank_linear, rank_sweep
from tinyopt.course import Wrong, recognise, same
from tinyopt.course.compare import NotWritten

EXAMPLE = np.array([[3.0, 0.0], [4.0, 5.0]])  # in the text: σ² = 45 and 5
MATRIX = np.array([[4.0, 0.0], [3.0, 5.0]])  # exercise 17.1


def predict():
    """What the package finds for 17.1: both σ², the nearest matrix of rank 1, and its squared error."""
    (cut,) = rank_sweep(MATRIX, [1])
    up, down = truncated_svd(MATRIX, 1)
    return float((MATRIX**2).sum() - cut.squared_error), cut.squared_error, up @ down, cut.squared_error


def witness():
    """A matrix that keeps 99 % of its energy at rank 1, and an input that lies in the lost 1 %."""
    return np.diag([10.0, 1.0]), np.array([0.0, 1.0])


def squares_of(matrix):
    """σ², the largest first, without an SVD: the eigenvalues of W Wᵀ."""
    matrix = np.asarray(matrix, dtype=float)
    small = matrix @ matrix.T if len(matrix) <= matrix.shape[1] else matrix.T @ matrix
    return np.sort(np.linalg.eigvalsh(small))[::-1].clip(0)


def energy_and_change(matrix, x):
    """Exercise 17.5: the share of Σ σ² that rank 1 keeps, and the share of the output W x that it changes."""
    matrix, x = np.array(matrix, dtype=float), np.array(x, dtype=float)
    up, down = truncated_svd(matrix, 1)
    output, thin = matrix @ x, up @ (down @ x)
    squares = squares_of(matrix)
    length = np.sqrt((output**2).sum())
    change = np.sqrt(((output - thin) ** 2).sum()) / length if length else 0.0
    return float(squares[0] / squares.sum()), float(change)


def at_full_rank(model):
    """A copy of a model whose dense layers are two factors each, of full rank: larger than before."""
    model = copy.deepcopy(model)
    for name, layer in list(model.named_modules()):
        if type(layer) is nn.Linear:
            model.replace(name, low_rank_linear(layer, min(layer.weight.shape)))
    return model


def filters_of(kind, parts):
    """The filters (O, C, kh, kw) that two small convolutions make together; kind "channel" or "spatial"."""
    first, second = (np.asarray(part, dtype=float) for part in parts)
    if kind == "channel":
        return np.einsum("or,rcij->ocij", second[:, :, 0, 0], first)
    return np.einsum("orj,rci->ocij", second[:, :, 0], first[..., 0])


def slant(digits, steps):
    """The same digits in italics: each row of pixels moved by `steps` times its distance from the middle."""

    def moved(part):
        images, middle = part.images.copy(), part.images.shape[2] // 2
        for row in range(images.shape[2]):
            images[:, :, row] = np.roll(images[:, :, row], round(steps * (row - middle)), axis=-1)
        return dataclasses.replace(part, images=images)

    parts = {name: moved(getattr(digits, name)) for name in ("train", "val", "test")}
    return dataclasses.replace(digits, **parts)


def numbers(parts):
    """Flat lists of all numbers in nested lists, or NotWritten if a `...` is left."""
    if parts is Ellipsis:
        raise NotWritten
    if isinstance(parts, (list, tuple)):
        return [number for part in parts for number in numbers(part)]
    return np.asarray(parts).reshape(-1).tolist()


# --- the tests: the form of an answer, and classic mistakes ----------------------------------------


def taken_apart(answer, names):
    """The parts of an answer, or a sentence on its form: `return first, second`."""
    n = names.count(",") + 1
    if not isinstance(answer, (tuple, list)) or len(answer) != n:
        count = {2: "Two", 3: "Three", 4: "Four"}[n]
        raise Wrong(f"{count} things are due: return {names}", {"yours": repr(answer)[:60]})
    return answer


def whole(value, what):
    """A whole number out of an answer, or a sentence that says what it is instead."""
    if value is Ellipsis:
        raise NotWritten
    if np.size(value) != 1 or np.asarray(value).dtype.kind not in "uifb":
        raise Wrong(f"{what} is one whole number.", {"yours": repr(value)[:60]})
    number = float(np.squeeze(value))
    if number != round(number):
        raise Wrong(f"{what} is a whole number. Half a row does not exist.", {"yours": f"{number:.6g}"})
    return int(number)


def two_factors(ex, matrix, rank):
    """The student's factors, after a look at their form."""
    answer = ex(matrix, rank)
    m, n = matrix.shape
    if not isinstance(answer, (tuple, list)) or len(answer) != 2:
        says = "Two factors are due: return up, down. Their product is the matrix; do not multiply them."
        raise Wrong(says, {"yours": type(answer).__name__})
    up, down = (np.array(part, dtype=float) for part in answer)
    facts = {"yours": f"up {up.shape}, down {down.shape}", "due": f"up {(m, rank)}, down {(rank, n)}"}
    if up.shape == (m, rank) and down.shape == (rank, n):
        return up, down
    if up.shape == (rank, n) and down.shape == (m, rank):
        raise Wrong("The factors are exchanged: up comes first.", facts)
    if up.ndim == 2 and up.shape[1] == min(m, n) and rank < min(m, n):
        raise Wrong("Nothing is truncated: these are the factors of full rank. Keep the first r.", facts)
    if down.shape == (n, rank):
        raise Wrong("down lies on its side. np.linalg.svd returns Vᵀ: its *rows* belong to the σ.", facts)
    if up.ndim == 2 and up.shape[1] in (rank - 1, rank + 1):
        raise Wrong("There is one column too many or too few: u[:, :rank] has exactly r columns.", facts)
    raise Wrong("The factors have the wrong shape.", facts)


def judge_factors(matrix, rank, up, down):
    """Compare with the best possible error; name the classic mistakes."""
    came, (u, sigma, vt) = up @ down, np.linalg.svd(matrix, full_matrices=False)
    first, error = slice(None, rank), float(((matrix - came) ** 2).sum())
    due = float(squares_of(matrix)[rank:].sum())
    if np.isclose(error, due, rtol=1e-4, atol=1e-6):
        return
    facts = {"rank": rank, "your squared error": f"{error:.5g}", "the smallest possible": f"{due:.5g}"}
    powers = {
        "The singular values are not used: up @ down is U Vᵀ.": 0.0,
        "Only one of the factors got √σ. Together they must hold σ once.": 0.5,
        "Both factors got the whole σ, so it is in the product twice. Give √σ to each, or σ to one.": 2.0,
    }
    mistakes = {says: (u[:, first] * sigma[first] ** power) @ vt[first] for says, power in powers.items()}
    recognise(came, mistakes, facts, atol=1e-6)
    for power in (0.5, 1.0) if rank == matrix.shape[1] else ():
        if np.allclose(came, (u * sigma ** (1 - power)) @ (vt * sigma**power), atol=1e-6):
            says = (
                "σ multiplies the *columns* of vt. σᵢ belongs to the row vᵢᵀ: sigma[:rank, None] * vt[:rank]"
            )
            raise Wrong(says, facts)
    last = slice(len(sigma) - rank, None)
    if np.allclose(came, (u[:, last] * sigma[last]) @ vt[last], atol=1e-6):
        raise Wrong("It keeps the smallest singular values. The largest come first.", facts)
    if np.isclose(error, float((matrix**2).sum()) - (float((came**2).sum())), rtol=1e-4):
        raise Wrong("These are terms of the SVD, but not those with the largest σ.", facts)
    if matrix.shape[0] == matrix.shape[1] and np.allclose(came, (u[:, first] * sigma[first]) @ vt.T[first]):
        raise Wrong("V is used for Vᵀ. np.linalg.svd returns Vᵀ: take its first rows as they are.", facts)
    says = "There is a nearer matrix of this rank: r columns of u, r numbers σ, r rows of vt, the first ones."
    raise Wrong(says, facts)


def rank_due(squares, energy):
    """The slow oracle: add σ² one by one until there is enough."""
    kept = 0.0
    for rank, square in enumerate(squares, 1):
        kept += square
        if kept >= energy * sum(squares) - 1e-12:
            return rank
    return len(squares)


def judge_rank(came, matrix, energy):
    """Name what is wrong with a rank that is not due."""
    came, squares = whole(came, "A rank"), squares_of(matrix)
    due, shares = rank_due(squares, energy), np.cumsum(squares) / squares.sum()
    if came == due:
        return
    facts = {"σ²": squares.round(3).tolist(), "energy": energy, "yours": came, "due": due}
    if not 1 <= came <= len(squares):
        says = "Rank 0 keeps nothing; the first rank has index 0." if came == 0 else "There is no such rank."
        raise Wrong(says + f" It lies in 1..{len(squares)}.", facts)
    if came == due + 1 and np.isclose(shares[due - 1], energy):
        raise Wrong("Exactly this share is enough: ≥, not >.", facts)
    if came in (int(np.ceil(energy * len(squares))), int(energy * len(squares))) and came > due + 1:
        raise Wrong("It is a share of the number of ranks. But the first ones hold most energy.", facts)
    if came == rank_due(np.sqrt(squares), energy):
        raise Wrong("It adds up σ. The energy is Σ σ²: square first.", facts)
    if came == rank_due(squares[::-1], energy):
        raise Wrong("It begins with the smallest σ. Keep the largest first.", facts)
    if came == due - 1:
        says = "One too small: this rank keeps less than the share. An index counts from 0, a rank from 1."
        raise Wrong(says, facts)
    if came == rank_due(squares, 1 - energy):
        raise Wrong("It keeps a share of 1 − energy: that is what may be left out.", facts)
    raise Wrong("It keeps less than the share." if came < due else "A smaller rank is enough.", facts)


def judge_saving(came, m, n):
    """Compare with counting; name the classic mistakes."""
    due = max(r for r in range(min(m, n) + 1) if r * (m + n) < m * n)
    if np.size(came) == 1 and np.asarray(came).dtype.kind == "f" and np.isclose(float(came), m * n / (m + n)):
        says = "That is the break-even itself. The largest *whole* number below it is asked for."
        if (m * n) % (m + n):
            raise Wrong(says, {"yours": f"{float(came):.6g}", "shape": (m, n)})
    came = whole(came, "A rank")
    facts = {"shape": (m, n), "matrix": m * n, "yours": f"rank {came}: {came * (m + n)} numbers", "due": due}
    if came == due:
        return
    if due == 0:
        raise Wrong("This matrix is too thin: even rank 1 saves nothing. Then the answer is 0.", facts)
    if came == due + 1 and came * (m + n) == m * n:
        raise Wrong("At this rank the factors hold *as many* numbers as the matrix. Nothing is saved.", facts)
    if came == min(m, n):
        raise Wrong("That is the full rank. The factors are far larger than the matrix there.", facts)
    if came in (n - 1, m - 1, n, m):
        raise Wrong("It counts only one of the two factors. Together they hold r·m + r·n numbers.", facts)
    if came > due:
        raise Wrong("This rank saves nothing: r (m + n) must be *below* m n.", facts)
    if came == due - 1 and (m * n) % (m + n):
        raise Wrong("One too small. Take one off *only* where the break-even is a whole number.", facts)
    raise Wrong("A larger rank still saves: r (m + n) < m n.", facts)


def judge_witness(answer):
    """Name what is wrong with a matrix and an input that do not contradict the friend."""
    matrix, x = (np.array(numbers(part), dtype=float) for part in answer)
    if matrix.size != 4 or x.size != 2:
        raise Wrong("W has two rows of two numbers, x has two numbers.", {"yours": repr(answer)})
    matrix = matrix.reshape(2, 2)
    if not np.isfinite(matrix).all() or not np.isfinite(x).all():
        raise Wrong("W or x holds NaN or infinity.")
    if not x.any() or not matrix.any():
        raise Wrong("The output is 0 for any matrix of this kind: nothing can be lost. Take other numbers.")
    kept, change = energy_and_change(matrix, x)
    facts = {"energy kept": f"{kept:.1%}", "change of W x": f"{change:.1%}"}
    weak = np.linalg.eigh(matrix @ matrix.T)[1][:, 0]  # u₂: the outputs that W makes small
    along = np.isclose(abs(weak @ x), np.sqrt(x @ x))
    for found, says in (
        (kept > 1 - 1e-12, "This W has rank 1 already: its rank-1 approximation loses nothing at all."),
        (kept < 0.95, "Rank 1 keeps less than 95 % of this W. The friend spoke of another matrix."),
        (change < 0.5 and along,
         "x is u₂, the weak direction of the *outputs*. W x needs that of the inputs: v₂, a row of Vᵀ."),
        (change < 0.01, "This x lies along the direction that is kept: the output stays as it is."),
        (change < 0.5, "The output changes too little. Turn x towards the direction that is thrown away."),
    ):  # fmt: skip
        if found:
            raise Wrong(says, facts)


def outputs_cut(ex, weight, gram, rank):
    """The student's factors and error, after a look at their form."""
    answer = taken_apart(ex(weight.copy(), gram.copy(), rank), "up, down, error")
    (m, n), (up, down) = weight.shape, (np.array(part, dtype=float) for part in answer[:2])
    facts = {"yours": f"up {up.shape}, down {down.shape}", "due": f"up {(m, rank)}, down {(rank, n)}"}
    if up.shape == (m, rank) and down.shape == (rank, n):
        return up, down, np.array(numbers([answer[2]]), dtype=float)
    if up.ndim == 2 and up.shape[1] == min(m, n) != rank:
        raise Wrong("Nothing is truncated: keep the first r columns of P.", facts)
    raise Wrong("The factors have the wrong shape.", facts)


def whitened_mistakes(weight, gram, rank):
    """{sentence: the product up @ down that this mistake gives}; S as in the exercise."""
    values, vectors = np.linalg.eigh(gram)
    root = vectors * np.sqrt(values.clip(0))
    p, sigma, qt = np.linalg.svd(weight @ root, full_matrices=False)
    wrong = {
        "It is the plain SVD of W: the inputs do not count. (Eigenvectors alone only turn W.)":
            weight,
        "S stands on the wrong side: it is W Sᵀ. ‖X Eᵀ‖ = ‖E S‖ holds for S Sᵀ = H.": weight @ root.T,
        "It cuts W H. But H = S Sᵀ holds S twice: take √ of the eigenvalues.": weight @ gram,
    }  # fmt: skip
    found = {}
    for says, matrix in wrong.items():
        axes = np.linalg.svd(matrix, full_matrices=False)[0][:, :rank]
        found[says] = axes @ axes.T @ weight
    last = p[:, len(sigma) - rank :]
    return found | {
        "It keeps the *last* columns of P. The largest σ come first.": last @ last.T @ weight,
        "This is W S cut to the rank, not W. The way back is missing: S⁻¹, which cancels: down = upᵀ W.":
            (p[:, :rank] * sigma[:rank]) @ qt[:rank],
        "It multiplies by S once more, in place of S⁻¹. It cancels: down = upᵀ W.":
            (p[:, :rank] * sigma[:rank]) @ qt[:rank] @ root.T,
        "σ is in it twice: P_r P_rᵀ W has it already, inside of W.":
            (p[:, :rank] * sigma[:rank]) @ p[:, :rank].T @ weight,
    }  # fmt: skip


def judge_outputs(ex, weight, gram, rank):
    """Compare with the tail of the eigenvalues of W H Wᵀ, an oracle without S; name the classic mistakes."""
    up, down, error = outputs_cut(ex, weight, gram, rank)
    squares = np.linalg.eigvalsh(weight @ gram @ weight.T)[::-1].clip(0)
    due, lost = float(squares[rank:].sum()), weight - up @ down
    came, close = float(((lost @ gram) * lost).sum()), 1e-7 * float(squares.sum())
    facts = {"rank": rank, "your squared error of outputs": f"{came:.6g}", "the smallest": f"{due:.6g}"}
    if not abs(came - due) <= close:  # written so that NaN is wrong
        recognise(up @ down, whitened_mistakes(weight, gram, rank), facts, rtol=1e-5, atol=1e-8)
        raise Wrong("Some factors of this rank have nearer outputs: up = P_r, down = P_rᵀ W.", facts)
    facts = {"yours": f"{error[0]:.6g}", "due": f"{due:.6g}"} if error.size == 1 else {"yours": error.shape}
    recognise(error, {
        "The factors are right, but that is √ of the error. The *squared* error is due.": [due**0.5],
        "The factors are right, but this error adds up σ. Square first.": [np.sqrt(squares[rank:]).sum()],
        "The factors are right, but this is what is *kept*. The error is the tail.": [squares[:rank].sum()],
        "The factors are right, but this is the error of the *weights*.": [(lost**2).sum()],
        "The factors are right, but this is the tail of the σ² of W. The σ of W S are due.":
            [squares_of(weight)[rank:].sum()],
    }, facts, due=[due], rtol=1e-5)  # fmt: skip
    same(error[0] if error.size == 1 else error, due, "the error", rtol=1e-5, atol=max(close, 1e-9))


def two_banks(ex, weight, rank):
    """The student's two filter banks, after a look at their form."""
    answer = taken_apart(ex(weight.copy(), rank), "vertical, horizontal")
    vertical, horizontal = (np.array(part, dtype=float) for part in answer)
    n_out, n_in, kh, kw = weight.shape
    came, due = (vertical.shape, horizontal.shape), ((rank, n_in, kh, 1), (n_out, rank, 1, kw))
    if came == due:
        return vertical, horizontal
    forms = {
        "The two are exchanged: the vertical one, kh × 1, runs first.": due[::-1],
        "Height and width are exchanged: kh × 1 comes first, then 1 × kw.":
            ((rank, n_in, 1, kw), (n_out, rank, kh, 1)),
        "kh and kw are exchanged: the axes of weight are (O, C, kh, kw), so i counts kh and j counts kw.":
            ((rank, n_in, kw, 1), (n_out, rank, 1, kh)),
        "horizontal has the axes (O, rank, 1, kw): transpose after the reshape.":
            (due[0], (rank, n_out, 1, kw)),
    }  # fmt: skip
    facts = {"weight": weight.shape, "yours": f"{came[0]}, {came[1]}", "due": f"{due[0]}, {due[1]}"}
    for says, shapes in forms.items():
        if came == shapes:
            raise Wrong(says, facts)
    if vertical.shape[0] != rank and vertical.size == min(n_in * kh, n_out * kw) * n_in * kh:
        raise Wrong("Nothing is truncated: these are the factors of full rank.", facts)
    if (vertical.size, horizontal.size) == tuple(map(math.prod, due)):
        raise Wrong("The banks have the right number of entries, but axes in another order or number.", facts)
    raise Wrong("The filter banks have the wrong shape.", facts)


def bank_mistakes(weight, rank):
    """{sentence: the filters that this mistake gives}, where it can be made with these shapes."""
    n_out, n_in, kh, kw = weight.shape

    def as_banks(up, down):
        return up.T.reshape(rank, n_in, kh, 1), down.reshape(rank, n_out, 1, kw).transpose(1, 0, 2, 3)

    cuts = {
        axes: truncated_svd(weight.transpose(axes).reshape(n_in * kh, n_out * kw), rank)
        for axes in itertools.permutations(range(4))
    }
    up, down = cuts[1, 2, 0, 3]
    good, mixed, sideways = as_banks(up, down), down.reshape(n_out, rank, 1, kw), up.reshape(rank, n_in, kh, 1)
    u, sigma, vt = np.linalg.svd(weight.transpose(1, 2, 0, 3).reshape(n_in * kh, n_out * kw))
    last = slice(min(len(u), len(vt)) - rank, min(len(u), len(vt)))
    pairs = {
        "The weight was reshaped without a transpose. reshape moves no number: rows are not (c, i).":
            as_banks(*cuts.pop((0, 1, 2, 3))),
        "down was reshaped to (O, rank, …) at once. Its rows are ranks: (rank, O, 1, kw), then transpose.":
            (good[0], mixed),
        "up was reshaped without .T: its *columns* are the ranks.": (sideways, good[1]),
        "Both at once: up without .T, and down reshaped to (O, rank, …).": (sideways, mixed),
        "The kernels are turned by 180°. Conv2d does not flip its kernel.":
            (good[0][:, :, ::-1], good[1][..., ::-1]),
        "The singular values are missing in the product of the two.": as_banks(u[:, :rank], vt[:rank]),
        "The whole σ is in both factors: give √σ to each.":
            as_banks(u[:, :rank] * sigma[:rank] ** 2, vt[:rank]),
        "It keeps the smallest singular values.": as_banks(u[:, last] * sigma[last], vt[last]),
    }  # fmt: skip
    for axes, factors in cuts.items():
        order = ", ".join("ocij"[axis] for axis in axes)
        says = f"Before its reshape, your matrix has the axes ({order}), but is read as (c, i, o, j) later."
        pairs[says] = as_banks(*factors)
    return {says: filters_of("spatial", pair) for says, pair in pairs.items()}


def judge_banks(ex, weight, rank):
    """Compare with the tail of σ² of the right matrix; name the classic mistakes."""
    n_out, n_in, kh, kw = weight.shape
    came = filters_of("spatial", two_banks(ex, weight, rank))
    matrix = np.array([[weight[o, c, i, j] for o in range(n_out) for j in range(kw)]
                       for c in range(n_in) for i in range(kh)])  # fmt: skip
    due, error = float(squares_of(matrix)[rank:].sum()), float(((weight - came) ** 2).sum())
    facts = {"weight": weight.shape, "rank": rank, "your error": f"{error:.5g}", "smallest": f"{due:.5g}"}
    if not np.isclose(error, due, rtol=1e-4, atol=1e-7):
        recognise(came, bank_mistakes(weight, rank), facts, rtol=1e-5, atol=1e-8)
        raise Wrong("There is a nearer pair. Row (c, i) and column (o, j) hold weight[o, c, i, j].", facts)


# --- drawings ---------------------------------------------------------------------------------------


def panels(n, size, **settings):
    """The axes of a new figure: one, or n in a row."""
    import matplotlib.pyplot as plt

    return plt.subplots(1, n, figsize=size, layout="constrained", **settings)[1]


def in_percent(qualities):
    """The accuracies, and their standard errors, in percent."""
    return np.array([(100 * q.accuracy, 100 * q.standard_error) for q in qualities]).T


def draw_map(ax, matrix, rank=None):
    """Draw where a 2×2 matrix, or its nearest one of rank 1, sends the points of the unit circle."""
    u, sigma, vt = np.linalg.svd(matrix)
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    circle = np.array([np.cos(angle), np.sin(angle)])
    kept = (u[:, :rank] * sigma[:rank]) @ vt[:rank]
    ax.scatter(*(kept @ circle), c=angle, cmap="twilight", s=12)
    for i, colour in enumerate(("C3", "C0")):
        tip = u[:, i] * sigma[i] * (1 if u[0, i] > 0 else -1)
        if rank is None or i < rank:
            ax.annotate("", tip, (0, 0), arrowprops={"arrowstyle": "->", "color": colour, "lw": 2})
            ax.annotate(f"σ{'₁₂'[i]} = {sigma[i]:.2f}", tip, (6, 0), textcoords="offset points", color=colour)
    ax.set(aspect="equal", xlim=(-4.5, 6), ylim=(-7, 7))


def draw_matrix(ax, array, title):
    """Draw a small matrix with its numbers."""
    ax.imshow(array, cmap="RdBu_r", vmin=-6, vmax=6)
    for (row, column), number in np.ndenumerate(array):
        ax.text(column, row, f"{number:g}", ha="center", va="center", fontsize=13)
    ax.set(xticks=[], yticks=[], title=title)
    ax.spines[:].set_visible(False)


def draw_picture(ax, array, title, cmap="gray_r", limit=1.0):
    """Draw an array as a picture: grey from 0 to `limit`, or in colours from −limit to limit."""
    ax.imshow(array, cmap=cmap, vmin=0 if cmap == "gray_r" else -limit, vmax=limit)
    ax.set(xticks=[], yticks=[])
    ax.set_title(title, fontsize=9)
    ax.spines[:].set_visible(False)


def draw_two_matrices(weight):
    """Draw two filters of one channel, and the two matrices that the SVDs of a convolution cut."""
    axes = panels(4, (10, 2.4), width_ratios=(1, 1, 2, 2))
    n_out, n_in, kh, kw = weight.shape
    for ax, filters, title in zip(axes, weight, ("filter 1", "filter 2")):
        draw_matrix(ax, filters[0], title)
    draw_matrix(axes[2], weight.reshape(n_out, -1), "channel: O × C·kh·kw\na row is a filter")
    spatial = weight.transpose(1, 2, 0, 3).reshape(n_in * kh, n_out * kw)
    draw_matrix(axes[3], spatial, "spatial: C·kh × O·kw\na row is the same row of all filters")
    for ax, each in ((axes[2], kh * kw), (axes[3], kw)):
        ax.axvline(each - 0.5, color="black", lw=1 if ax is axes[3] else 0)


def plot_spectra(layers):
    """Singular values for {layer: (before, after)}; in grey, where those of a random start lie."""
    axes = panels(len(layers), (10, 3.3), sharey=True)
    for ax, (layer, (before, after)) in zip(axes, layers.items()):
        m, n = after.shape
        s = 1 / np.sqrt(3 * n)  # the start is uniform in ±1/√n: this is its standard deviation
        high = s * (np.sqrt(n) + np.sqrt(m))
        ax.axhspan(s * (np.sqrt(n) - np.sqrt(m)), high, color="0.88")
        for name, matrix, colour in (("before", before, "C0"), ("after", after, "C3")):
            values = np.linalg.svd(matrix, compute_uv=False)
            places = range(1, len(values) + 1)
            ax.semilogy(places, values, ".", ms=4, color=colour, label=f"{name} training")
        ax.set(title=f"{layer}: {m} × {n}", xlabel="i, log scale", xscale="log")
        print(
            f"{layer}: after training, {(values > high).sum()} of {m} singular values are above the grey band"
        )
    axes[0].set_ylabel("singular value σᵢ, log scale")
    axes[0].set_yticks([0.2, 0.5, 1, 2, 5, 10], [0.2, 0.5, 1, 2, 5, 10])
    axes[0].minorticks_off()
    axes[0].legend(frameon=False, loc="lower left")


def plot_ranks(ranks, found, dense):
    """Accuracy ± standard error against the rank, for {name: qualities}, and again enlarged."""
    axes = panels(2, (10, 3.4))
    for ax in axes:
        for name, qualities in found.items():
            heights, bars = in_percent(qualities)
            ax.errorbar(ranks, heights, bars, fmt="o-", ms=4, capsize=2, label=name)
        ax.axhline(100 * dense.accuracy, color="0.5", ls="--", lw=1, label="dense")
        floor = 100 * (dense.accuracy - dense.standard_error)
        ax.axhline(floor, color="0.5", ls=":", label="dense − 1 standard error")
        ax.set(xscale="log", xlabel="rank of each layer that becomes smaller")
        ax.set_xticks(ranks, ranks)
        ax.minorticks_off()
    axes[0].set_ylabel("validation accuracy, %")
    axes[1].set(ylim=(88, 97), title="enlarged")
    axes[0].legend(frameon=False, loc="lower right")


def plot_break_even(matrix):
    """The numbers in two factors, and the energy that they keep, against the rank."""
    ax, cuts, (m, n) = panels(1, (6.8, 3.2)), rank_sweep(matrix), matrix.shape
    all_ranks = [cut.rank for cut in cuts]
    ax.plot(all_ranks, [cut.parameters / 1000 for cut in cuts], label="two factors")
    ax.axhline(matrix.size / 1000, color="C3", ls="--", label="the matrix")
    ax.axvline(m * n / (m + n), color="0.6", ls=":")
    ax.annotate("break-even", (m * n / (m + n), 20), (5, 0), textcoords="offset points", color="0.4")
    ax.set(xlabel="rank of fc1", ylabel="thousand numbers = thousand MACs", xlim=(0, 300), ylim=(0, 340))
    second = ax.twinx()
    second.plot(all_ranks, [cut.energy for cut in cuts], color="C2")
    second.set(ylabel="energy kept (green)", ylim=(0, 1.05))
    ax.legend(frameon=False, loc="upper left")


def plot_ratios(names, ratios, label):
    """Bars: how many times less of each cost."""
    ax = panels(1, (6.5, 2.4))
    ax.bar_label(ax.barh(names, ratios, color=["C0", "C0", "C2", "C2"]), fmt="%.1f×", padding=3)
    ax.axvline(1, color="0.6", ls=":")
    ax.invert_yaxis()
    ax.set(xlabel=label, xlim=(0, 1.15 * max(ratios)))


def plot_costs(rows, labels):
    """Bars of three costs for each of {name: (cost, cost, cost)}: the first grey, the last one green."""
    axes = panels(3, (10, 2.6), sharey=True)
    for column, (ax, label) in enumerate(zip(axes, labels)):
        heights = [row[column] for row in rows.values()]
        bars = ax.barh(list(rows), heights, color=["0.6", "C3", "C3", "C2"])
        ax.bar_label(bars, fmt="%.1f" if column == 2 else "%.0f", padding=3, fontsize=9)
        ax.set(xlabel=label, xlim=(0, 1.25 * max(heights)))
    axes[0].invert_yaxis()


def plot_plain_and_whitened(ranks, curves, dense):
    """Against the rank: error of the weights, error of the outputs, accuracy ± its standard error."""
    axes = panels(3, (10.5, 3.4))
    for (name, rows), mark in zip(curves.items(), "os^"):
        for ax, column in zip(axes, (0, 1)):
            ax.semilogy(ranks, [row[column] for row in rows], f"{mark}-", ms=4, label=name)
        heights, bars = in_percent(row[2] for row in rows)
        axes[2].errorbar(ranks, heights, bars, fmt=f"{mark}-", ms=4, capsize=2)
    axes[2].axhline(100 * dense.accuracy, color="0.5", ls="--", lw=1)
    labels = "squared error of fc1's weights, relative", "squared error of its outputs, relative"
    for ax, label in zip(axes, (*labels, "validation accuracy, %")):
        ax.set(xlabel="rank", ylabel=label, xscale="log")
        ax.set_xticks(ranks, ranks)
        ax.minorticks_off()
    axes[0].set_yticks([0.3, 0.5, 1], [0.3, 0.5, 1])
    axes[1].set_yticks([0.01, 0.03, 0.1, 0.3, 1], [0.01, 0.03, 0.1, 0.3, 1])
    axes[1].legend(frameon=False, fontsize=8, loc="lower left")


def plot_budget(rows, names):
    """Accuracy ± standard error against bytes; each of rows is (bytes, a quality for each name)."""
    ax = panels(1, (7.5, 3.4))
    sizes = [row[0] / 1000 for row in rows]
    for i, (name, mark) in enumerate(zip(names, ("o--", "o-", "s--", "s-")), 1):
        heights, bars = in_percent(row[i] for row in rows)
        colour = "C0" if i < 3 else "C1"
        ax.errorbar(sizes, heights, bars, fmt=mark, color=colour, ms=4, capsize=2, label=name)
    ax.set(xscale="log", xlabel="kB for all weights, log scale", ylabel="validation accuracy, %")
    ax.set_xticks(sizes, [f"{size:.0f}" for size in sizes])
    ax.minorticks_off()
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))


def plot_conv_spectra(before, after):
    """The singular values of two matrices of the same filters, and the error of Tucker-2 by sweeps."""
    axes = panels(3, (10.5, 3.2))
    n_out, n_in, kh, kw = after.shape
    shapes = {"channel": (n_out, n_in * kh * kw), "spatial": (n_in * kh, n_out * kw)}
    for ax, (kind, shape) in zip(axes, shapes.items()):
        for bank, name, colour in ((before, "before training", "C0"), (after, "after training", "C3")):
            bank = bank.transpose(1, 2, 0, 3) if kind == "spatial" else bank
            sigma = np.linalg.svd(bank.reshape(shape), compute_uv=False)
            ax.plot(range(1, len(sigma) + 1), sigma, ".", ms=4, color=colour, label=name)
        ax.set(title=f"conv2, {kind}: {shape[0]} × {shape[1]}", xlabel="i", ylim=(0, None))
    axes[0].set_ylabel("singular value σᵢ")
    axes[0].legend(frameon=False)
    for pair, mark in (((4, 4), "o"), ((8, 8), "s"), ((16, 12), "^")):
        errors = [error for *_, error in conv_lowrank.tucker2_sweeps(after, pair, sweeps=10)]
        change = [100 * (error / errors[0] - 1) for error in errors]
        axes[2].plot(change, f"{mark}-", ms=4, label=f"ranks {pair}")
    axes[2].set(title="Tucker-2", xlabel="sweeps", ylabel="squared error against HOSVD, %")
    axes[2].legend(frameon=False, loc="upper right", fontsize=8)


def plot_kinds(points, dense, size):
    """Accuracy ± standard error against the numbers of one convolution, for each kind of cut."""
    ax = panels(1, (7.5, 3.6))
    for (name, rows), mark in zip(points.items(), "os^v"):
        heights, bars = in_percent(row[1] for row in rows)
        ax.errorbar([row[0] for row in rows], heights, bars, fmt=f"{mark}-", ms=4, capsize=2, label=name)
    ax.axhline(100 * dense.accuracy, color="0.5", ls="--", lw=1, label=f"whole: {size:,} numbers")
    ax.set(xscale="log", xlabel="numbers in place of conv2, log scale", ylabel="validation accuracy, %")
    ticks = (700, 1000, 2000, 4000, 8000)
    ax.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    ax.minorticks_off()
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))


def plot_times(timed):
    """Bars for each {(images, kind): (fewer, faster)}: how many times fewer MACs, and times as fast."""
    axes = panels(2, (9.5, 2.6), sharey=True, sharex=True)
    for ax, n in zip(axes, (64, 1)):
        kinds = [kind for images, kind in timed if images == n]
        for part, (name, colour) in enumerate((("fewer MACs", "C0"), ("as fast", "C2"))):
            places = [i + 0.4 * part - 0.2 for i in range(len(kinds))]
            ratios = [timed[n, kind][part] for kind in kinds]
            ax.barh(places, ratios, 0.38, color=colour, label=f"times {name}")
            for place, ratio in zip(places, ratios):
                ax.text(max(ratio, 1) + 0.15, place, f"{ratio:.{1 + (ratio < 2)}f}", va="center", fontsize=9)
        ax.axvline(1, color="C3", lw=1)
        ax.set(title=f"{n} image{'s' if n > 1 else ''} at once", xlabel="whole conv2 / factored conv2")
        ax.set_yticks(range(len(kinds)), kinds)
    axes[0].set_xlim(0, 1.18 * max(max(pair) for pair in timed.values()))
    axes[0].invert_yaxis()
    axes[1].legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))


def plot_adapted(ways, before):
    """Accuracy ± standard error on the new task against how many numbers were trained."""
    ax = panels(1, (7.5, 3.4))
    ranks = [way for way in ways if isinstance(way, int)]
    groups = {"LoRA, fc1 and fc2": (ranks, "o-"), "only fc3": (["only fc3"], "s"), "all": (["all"], "^")}
    for name, (members, mark) in groups.items():
        heights, bars = in_percent(ways[way][0] for way in members)
        ax.errorbar([ways[way][1] for way in members], heights, bars, fmt=mark, ms=5, capsize=2, label=name)
    for rank in ranks:
        quality, count, _ = ways[rank]
        at = (count, 100 * quality.accuracy)
        ax.annotate(f"r = {rank}", at, (0, -22), textcoords="offset points", ha="center", fontsize=8)
    ax.axhline(100 * before.accuracy, color="0.5", ls="--", lw=1, label="before: not trained for it")
    ax.set(xscale="log", xlabel="numbers trained, log scale", ylabel="validation accuracy, slanted, %")
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))

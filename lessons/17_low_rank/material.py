"""Lesson 17: two references, oracles without an SVD, the tests' names for classic mistakes, drawings."""

import copy

import numpy as np

from tinyopt import nn
from tinyopt.compress import truncated_svd
from tinyopt.compress.lowrank import low_rank_linear, rank_sweep
from tinyopt.course import Wrong, recognise
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


def numbers(parts):
    """Flat lists of all numbers in nested lists, or NotWritten if a `...` is left."""
    if parts is Ellipsis:
        raise NotWritten
    if isinstance(parts, (list, tuple)):
        return [number for part in parts for number in numbers(part)]
    return np.asarray(parts).reshape(-1).tolist()


# --- the tests: the form of an answer, and classic mistakes ----------------------------------------


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
            says = "σ multiplies the *columns* of vt. σᵢ belongs to the row vᵢᵀ: sigma[:rank, None] * vt[:rank]"
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
        if (m * n) % (m + n):
            raise Wrong("That is the break-even itself. The largest *whole* number below it is asked for.", {
                "yours": f"{float(came):.6g}", "shape": (m, n)})  # fmt: skip
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


# --- drawings ---------------------------------------------------------------------------------------


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

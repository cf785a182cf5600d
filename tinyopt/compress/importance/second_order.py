"""Importance from curvature: at a minimum the gradient is 0, and what a weight is worth stands in the second order.

Start with these three: `obd`, which takes each weight by itself; `obs`, which lets the others make up for it;
`update_survivors`, which says how they do. Functions on arrays; scores: higher = keep.

    L(w + δ) − L(w) ≈ gᵀδ + ½ δᵀ H δ        g ≈ 0 at a minimum;  removing w_p sets δ_p = −w_p
"""

import numpy as np

from tinyopt import backend
from tinyopt.errors import ShapeError

# --- of the loss: a diagonal --------------------------------------------------------------------------


def obd(weight, curvature):
    """Optimal Brain Damage: the rise of the loss without this weight, if nothing else changes.

        s = ½ · h · w²        h = diagonal of the Gauss–Newton matrix, mean over examples
        h = Σ over classes c of p_c (∂ log p_c / ∂w)²

    Shapes: weight and curvature alike -> s, same shape.
    Units:  nats.
    Source: LeCun, Denker & Solla (1990), "Optimal Brain Damage", NIPS 2; Schraudolph (2002), "Fast Curvature
            Matrix-Vector Products for Second-Order Gradient Descent", Neural Computation 14(7) (Gauss–Newton).
    Differs: they also approximate h by Gauss–Newton, but drop all off-diagonal terms in each layer on the way
            back, for a squared error; our diagonal is that of the exact Gauss–Newton matrix Jᵀ H J, for
            cross-entropy, of which diag(p) − ppᵀ is the H.
    """
    return 0.5 * curvature * weight**2


def fisher(weight, example_square):
    """The same with the squares of the gradients that there are: no second derivative, one backward pass.

        s = ½ · w² · mean over examples n of g_n²        g_n = ∂L_n/∂w

    It is `obd` with the true labels in place of those that the model expects. Once every training example is
    right with certainty, all g_n are 0, and so are the scores.

    Shapes: weight; example_square, the mean of g_n², alike -> s, same shape.
    Source: Theis, Korshunova, Tejani & Huszár (2018), "Faster gaze prediction with dense networks and Fisher
            pruning", arXiv:1801.05787.
    Differs: they rank feature maps; we rank weights.
    """
    return 0.5 * weight**2 * example_square


def squared_gradients(x, g):
    """Σ over examples of the square of each one's gradient, of a product y = W x.

        ∂L_n/∂W = Σ over places p of g[n, :, p] x[n, :, p]ᵀ        for one place: its square is (g²)(x²)ᵀ

    Shapes: x (N, G, K, P), g (N, G, O, P), for G groups and P places (of an image) -> (G, O, K).
    """
    if x.shape[-1] == 1:  # squares of an outer product: no gradient need be made
        g, x = g[..., 0] ** 2, x[..., 0] ** 2  # (N, G, O), (N, G, K)
        return g.transpose(1, 2, 0) @ x.transpose(1, 0, 2)
    return ((g @ x.swapaxes(2, 3)) ** 2).sum(axis=0)  # (N, G, O, K) before the sum


def softmax_roots(logits):
    """Split the curvature of cross-entropy into one incoming gradient for each class.

        H = diag(p) − p pᵀ = Σ over c of r_c r_cᵀ        r_c = √p_c · (e_c − p)

    So Jᵀ H J = Σ over c of (Jᵀ r_c)(Jᵀ r_c)ᵀ: each r_c goes backward once, and its squares add on the diagonal.

    Shapes: logits (N, C) -> r (C, N, C): r[c, n] is the gradient to start from.
    Source: Martens (2020), "New Insights and Perspectives on the Natural Gradient Method", arXiv:1412.1193.
    """
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = p / p.sum(axis=1, keepdims=True)
    one_hot = _identity(p.shape[1], p)[:, None]  # (C, 1, C)
    return np.sqrt(p).T[:, :, None] * (one_hot - p)


# --- of a layer's output: a whole matrix -------------------------------------------------------------


def obs(weight, gram, *, damping=0.01):
    """Optimal Brain Surgeon: the rise of a layer's squared error without this weight, if the others are refitted.

        s = w_p² / [G⁻¹]_pp        G = X Xᵀ + λI        λ = damping · mean of the diagonal of X Xᵀ
          = min over w′ with w′_p = 0 of ‖w′ X − w X‖² + λ ‖w′ − w‖²

    Each row of W is fitted by itself, on the inputs X of the layer. Two weights that read the same are both
    cheap, alone; not so together: see `obc`.

    Shapes: weight (O, ...), rows of K numbers; gram = X Xᵀ (groups, K, K), one group but for grouped filters
            -> s, as weight.
    Units:  squares of the layer's output, summed over the examples of X: not comparable between layers.
    Raises: ValueError if G cannot be inverted; ShapeError if it is of another K.
    Source: Hassibi & Stork (1993), "Second order derivatives for network pruning: Optimal Brain Surgeon",
            NIPS 5; Dong, Chen & Pan (2017), "Learning to Prune Deep Neural Networks via Layer-wise Optimal
            Brain Surgeon", arXiv:1705.07565 (by layer: H = X Xᵀ).
    Differs: with H = 2 X Xᵀ theirs is w_p² / (2 [H⁻¹]_pp), the same. λ keeps inputs that are always 0 from
            making G singular.
    """
    inverse = inverted(damped(gram, damping))
    diagonal = np.diagonal(inverse, axis1=1, axis2=2)[:, None]  # (groups, 1, K)
    return (_rows(weight, gram) ** 2 / diagonal).reshape(weight.shape).astype(weight.dtype)


def obc(weight, gram, *, damping=0.01):
    """The same, greedily: remove the cheapest weight of a row, refit the others, ask again, until none is left.

        p = argmin w_p² / [G⁻¹]_pp
        w ← w − (w_p / [G⁻¹]_pp) · G⁻¹[:, p]
        G⁻¹ ← G⁻¹ − G⁻¹[:, p] G⁻¹[p, :] / [G⁻¹]_pp        the inverse without row and column p

    A weight's score is the largest rise up to its removal: so the scores of a row grow in the order in which its
    weights go, and to cut at a score is to stop there.

    Shapes, Units, Raises: as `obs`.
    Source: Frantar, Singh & Alistarh (2022), "Optimal Brain Compression: A Framework for Accurate Post-Training
            Quantization and Pruning", arXiv:2208.11580, Algorithm 1.
    Differs: time grows as O·K³, and they choose across rows by a heap: here by `top_mask` on the scores.
    """
    inverse, rows = inverted(damped(gram, damping)), _rows(weight, gram)
    scores = np.zeros_like(rows)
    for group in range(len(rows)):
        for part in backend.chunks(rows[group], rows.shape[2] ** 2):  # several at once: fewer, larger steps
            scores[group, part] = _greedy(rows[group, part], inverse[group])
    return scores.reshape(weight.shape).astype(weight.dtype)


def _greedy(w, inverse):
    """The scores of `obc` for some rows w (R, K) that read the same inputs; inverse (K, K).

    The k weights that are left stand in places 0 ... k − 1: the last one moves to where one was removed.
    """
    n_rows, size = w.shape
    w = w.copy()
    inverse = inverse + np.zeros_like(w, shape=(n_rows, 1, 1))  # one for each row: (R, K, K)
    names = np.ones_like(w, dtype=int).cumsum(axis=1) - 1  # which weight stands in each place
    scores, highest = np.zeros_like(w), np.zeros_like(w, shape=(n_rows, 1))
    for k in range(size, 0, -1):
        a = inverse[:, :k, :k]
        diagonal = np.diagonal(a, axis1=1, axis2=2)
        rise = w[:, :k] ** 2 / diagonal
        p = rise.argmin(axis=1)[:, None]  # (R, 1)
        highest = np.maximum(highest, np.take_along_axis(rise, p, axis=1))
        np.put_along_axis(scores, np.take_along_axis(names, p, axis=1), highest, axis=1)
        column = np.take_along_axis(a, p[:, :, None], axis=2)[:, :, 0]  # (R, k)
        pivot = np.take_along_axis(diagonal, p, axis=1)
        w[:, :k] -= np.take_along_axis(w, p, axis=1) / pivot * column
        a -= column[:, :, None] * (column / pivot)[:, None]
        for array in (w, names):
            np.put_along_axis(array, p, array[:, k - 1 : k].copy(), axis=1)
        np.put_along_axis(a, p[:, :, None], a[:, k - 1 : k].copy(), axis=1)
        np.put_along_axis(a, p[:, :, None], a[:, :, k - 1 : k].copy(), axis=2)
    return scores


def update_survivors(weight, keep, gram, *, damping=0.01):
    """Refit the weights that are kept, in closed form, so that the layer's output changes least.

        w′ = argmin over w′ = 0 where removed of ‖w′ X − w X‖² + λ ‖w′ − w‖²
        G_SS w′_S = (G w)_S                                        S = survivors, G = X Xᵀ + λI
        the same as w − G⁻¹[:, R] (G⁻¹[R, R])⁻¹ w_R                R = removed: Optimal Brain Surgeon's step

    Shapes: weight (O, ...); keep alike, Booleans; gram (groups, K, K) -> w′, as weight, 0 where removed.
    Raises: ValueError if G cannot be inverted.
    Source: Hassibi & Stork (1993), NIPS 5; Frantar, Singh & Alistarh (2022), arXiv:2208.11580.
    """
    gram, rows, kept = damped(gram, damping), _rows(weight, gram), _rows(keep, gram, bool)
    new = np.zeros_like(rows)
    for group in range(len(rows)):
        due = rows[group] @ gram[group]  # (R, K): G w, of each row
        ones = _identity(rows.shape[2], due)
        for part in backend.chunks(due, 8 * rows.shape[2] ** 2):
            k = kept[group, part]
            system = np.where(k[:, :, None] & k[:, None], gram[group], ones)  # removed ones: w′ = 0
            new[group, part] = _solve(system, np.where(k, due[part], 0)[:, :, None])[:, :, 0]
    return (new * kept).reshape(weight.shape).astype(weight.dtype)


def damped(gram, damping):
    """G = X Xᵀ + λI with λ = damping · mean of the diagonal, in float64; at least 1e-30, where nothing is read.

    Shapes: gram (groups, K, K) -> same.
    Raises: ValueError for a damping below 0.
    """
    if not damping >= 0:
        raise ValueError(f"damping is a share of the mean of the diagonal of X Xᵀ, 0 or more; got {damping}")
    gram = gram.astype(np.float64)
    strength = np.diagonal(gram, axis1=1, axis2=2).mean(axis=1) * damping + 1e-30  # (groups,)
    return gram + strength[:, None, None] * _identity(gram.shape[1], gram)


def inverted(gram):
    """The inverse of each group's matrix.

    Raises: ValueError if one is singular.
    """
    return _solve(gram, _identity(gram.shape[1], gram) + np.zeros_like(gram))


def _solve(system, due):
    """The solution of systems of equations, or one sentence."""
    try:
        solution = np.linalg.solve(system, due)
    except np.linalg.LinAlgError:
        solution = None
    if solution is None or not np.isfinite(solution).all():
        raise ValueError(
            "X Xᵀ cannot be inverted: some inputs of the layer are always 0, or sums of others, or not finite. "
            "Give more examples, or damping=0.01"
        )
    return solution


def _identity(size, like):
    """A matrix with 1 on its diagonal, of the type and on the device of `like`."""
    matrix = np.zeros_like(like, shape=size * size)
    matrix[:: size + 1] = 1
    return matrix.reshape(size, size)


def _rows(array, gram, dtype=np.float64):
    """A weight as rows of the inputs that they read: (groups, O / groups, K)."""
    groups, size = gram.shape[:2]
    if len(array) % groups or array[0].size != size:
        raise ShapeError(f"a weight {array.shape} reads {array[0].size} inputs; got X Xᵀ of shape {gram.shape}")
    return array.reshape(groups, -1, size).astype(dtype)

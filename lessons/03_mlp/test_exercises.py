"""The exercises of lesson 3 and their tests. Each test's docstring is the property that it asks for.

Glossary: x input, y output, g incoming gradient ∂L/∂y, u uniform draws in [0, 1), N examples in a batch.
"""

from pathlib import Path

import numpy as np

from tinyopt import Tensor, autograd, losses, ops
from tinyopt.course import Wrong, exercise, same, task
from tinyopt.course.draws import central, normal
from tinyopt.course.lessons import load

material = load(Path(__file__).with_name("material.py"))
asked, keeps_type, applied = material.asked, material.keeps_type, material.applied
pulled, dropped, ruled = material.pulled, material.dropped, material.ruled


# --- 3.1 a forward and a backward step, by hand ----------------------------------------------------

exercise(
    "3.1",
    material.predict,
    hides=[
        Tensor.backward, autograd.backpropagate, ops.linear, ops.matmul, ops.relu, ops.softmax,
        ops.log_softmax, ops.logsumexp, ops.cross_entropy, losses.cross_entropy,
    ],
    proves="You carried an example through a net and its error back, with nothing but pencil and paper.",
)  # fmt: skip


@task("3.1", hints=[
    "First hidden unit: the first row of W₁ times x, plus the first number of b₁: 2·1 + 1·2 − 1.",
    "Then relu: a number below 0 becomes 0.",
    "Score c is row c of W₂ times the hidden values.",
])  # fmt: skip
def test_hidden_values_and_scores(ex):
    """The hidden values are relu(W₁ x + b₁), and the scores are W₂ h."""
    (hidden, scores, *_), (due, due_scores, *_) = material.four(ex)
    before, turned = (material.X[0] @ w + material.B1 for w in (material.W1.T, material.W1))
    asked(hidden, due, "a hidden value", {
        "The ReLU is missing: a number below 0 becomes 0.": [before],
        "The bias b₁ is missing.": [np.maximum(before - material.B1, 0)],
        "Rows and columns of W₁ are exchanged: unit i uses *row* i.": [turned, np.maximum(turned, 0)],
    })  # fmt: skip
    same(scores, due_scores, "a score")


@task("3.1", hints=[
    "Three equal scores: softmax gives each class the same probability. Which?",
    "The loss is −ln of the probability of the right class. ln is the natural logarithm: −ln(1/3) = ln 3.",
])  # fmt: skip
def test_loss(ex):
    """The loss is −ln p, with p the probability of the right class."""
    (_, _, loss, _), (_, _, due, _) = material.four(ex)
    p = np.exp(-due)
    asked(loss, due, "the loss", {
        "This is a probability. The loss is −ln of the probability of the right class.": [p, 1 - p],
        "Its sign is turned: ln of a probability is below 0, and the loss is −ln p.": [np.log(p)],
        "It has another logarithm. ln is the natural one, np.log.": [due / np.log(2), due / np.log(10)],
    }, rtol=2e-3)  # fmt: skip


@task("3.1", points=2, hints=[
    "∂L/∂z = p − one-hot: three numbers. Only at the right class the 1 is subtracted.",
    "∂L/∂W₂ has the shape of W₂, 3 rows and 2 columns. Entry (c, j) is ∂L/∂z[c] times h[j].",
    "The second hidden value is 0, so what is the second column?",
])  # fmt: skip
def test_gradient_of_the_second_layer(ex):
    """∂L/∂W₂ has in row c and column j the number ∂L/∂z[c] · h[j]."""
    (*_, grad), (hidden, scores, _, due) = material.four(ex)
    p = np.exp(scores) / np.exp(scores).sum()
    g = p - (np.arange(3) == material.LABEL)
    asked(grad, due, "∂L/∂W₂", {
        "It is transposed: a gradient has the shape of its matrix, here (3, 2).": [np.outer(hidden, g)],
        "The factor h[j] is missing: a weight acts on the loss through h[j].": [np.stack([g, g], axis=1)],
        "The one-hot is missing: ∂L/∂z is p minus 1 at the right class.": [np.outer(p, hidden)],
    }, rtol=2e-3, atol=2e-3)  # fmt: skip


# --- 3.2 the rule of a linear layer ----------------------------------------------------------------

exercise(
    "3.2",
    ops.linear,
    hides=[ops.matmul],
    proves="Your three pullbacks agree with the slow loops, so every dense layer can train on your rule.",
)


@task("3.2", hints=[
    "One output: y[n, i] = Σ over j of x[n, j] · W[i, j], plus b[i]: both are summed over their *last* axis.",
    "A matrix product sums the last axis of the left over the first axis of the right: turn W, weight.T",
])  # fmt: skip
def test_linear_value(ex):
    """y[n, i] is the sum over j of x[n, j] · W[i, j], plus b[i]; float32 stays float32."""
    x, weight, bias, _ = material.case()
    y, _ = applied(ex, x, weight, bias)
    due = [[sum(x[n, j] * weight[i, j] for j in range(3)) + bias[i] for i in range(2)] for n in range(4)]
    asked(y, due, "the value", {"The bias is missing.": [np.array(due) - bias]})
    keeps_type(value=applied(ex, *(array.astype(np.float32) for array in (x, weight, bias)))[0])


@task("3.2", hints=["This sum is a matrix product of g (N, D_out) and weight (D_out, D_in), without any .T"])
def test_linear_gradient_of_x(ex):
    """∂L/∂x[n, j] is the sum over the outputs i of g[n, i] · W[i, j]."""
    x, weight, bias, g = material.case()
    came = pulled(applied(ex, x, weight, bias)[1][0], g, "x")
    due = [[sum(g[n, i] * weight[i, j] for i in range(2)) for j in range(3)] for n in range(4)]
    same(came, due, "∂L/∂x", slope=central(lambda x: applied(ex, x, weight, bias)[0], x, g))


@task("3.2", points=2, hints=[
    "W[i, j] is used once by each example n: it multiplies x[n, j] and adds to y[n, i].",
    "So ∂L/∂W[i, j] = Σ over n of g[n, i] · x[n, j]: over the *examples*, the first axis of both.",
    "To sum over the first axis of the left array, turn it: g.T is (D_out, N), and x is (N, D_in).",
])  # fmt: skip
def test_linear_gradient_of_weight(ex):
    """∂L/∂W[i, j] is the sum over the examples n of g[n, i] · x[n, j]."""
    x, weight, bias, g = material.case()
    came = pulled(applied(ex, x, weight, bias)[1][1], g, "weight")
    due = np.array([[sum(g[n, i] * x[n, j] for n in range(4)) for j in range(3)] for i in range(2)])
    rows = [g.sum(axis=0), g.mean(axis=0)]
    bare = [form for r in rows for form in (r, r[:, None], np.repeat(r[:, None], 3, axis=1))]
    asked(came, due, "∂L/∂W", {
        "It is transposed. A gradient has the shape of its array: (D_out, D_in), as the weight.": [due.T],
        "It is divided by N. If the loss is a mean, g holds the 1/N already.": [due / len(x)],
        "x is missing: how much W[i, j] acts on the loss depends on the input x[n, j].": bare,
    }, slope=central(lambda w: applied(ex, x, w, bias)[0], weight, g))  # fmt: skip


@task("3.2", hints=["The bias was repeated for each example. What is repeated forward is summed backward."])
def test_linear_gradient_of_bias(ex):
    """∂L/∂b[i] is the sum over the examples n of g[n, i]."""
    x, weight, bias, g = material.case()
    due = [sum(g[n, i] for n in range(4)) for i in range(2)]
    asked(pulled(applied(ex, x, weight, bias)[1][2], g, "bias"), due, "∂L/∂b", {
        "It takes the mean. Each example adds its own gradient: the sum.": [g.mean(axis=0)],
        "The sum over the examples is missing: the bias was repeated for each of them.": [g],
        "It sums over the outputs. The bias was repeated over the *examples*: axis 0.": [g.sum(axis=1)],
    })  # fmt: skip


@task("3.2")
def test_linear_runs_inside_the_engine(ex):
    """A net of two layers on your rule has the gradient that central differences find."""
    x, w1, b1, w2, b2 = normal(5, 3), normal(4, 3, seed=7), normal(4, seed=8), normal(2, 4), normal(2)
    g = normal(5, 2, seed=9)
    slope = central(lambda w: np.tanh(x @ w.T + b1) @ w2.T + b2, w1, g)
    weight = Tensor(w1, requires_grad=True)
    with ex.installed():
        ops.linear(ops.tanh(ops.linear(Tensor(x), weight, Tensor(b1))), Tensor(w2), Tensor(b2)).backward(g)
    same(weight.grad, [[slope((i, j)) for j in range(3)] for i in range(4)], "∂L/∂W₁", rtol=1e-5, atol=1e-7)


# --- 3.3 log-softmax -------------------------------------------------------------------------------

exercise(
    "3.3",
    ops.log_softmax,
    hides=[ops.softmax, ops.logsumexp, ops.cross_entropy, losses.cross_entropy],
    proves="Your log_softmax never overflows, and its pullback gives a classifier the gradient p − one-hot.",
)
ONE_ROW = "It sums over the whole array. Each row has its own sum: axis=axis, keepdims=True."


@task("3.3", hints=[
    "log(eˣ / Σ eˣ) = x − log Σ eˣ. Sum over the classes, and keep the axis: sum(axis=axis, keepdims=True).",
])  # fmt: skip
def test_log_softmax_value(ex):
    """y = x − log Σ eˣ, in each row; so eʸ sums to 1."""
    x = normal(3, 4)
    due = np.array([[x[n, c] - np.log(sum(np.exp(x[n]))) for c in range(4)] for n in range(3)])
    asked(ruled(ex, x)[0], due, "the value", {
        "These are probabilities: the logarithm is missing.": [np.exp(due)],
        "It has another logarithm. ln is the natural one, np.log.": [due / np.log(2), due / np.log(10)],
        ONE_ROW: [x - np.log(np.exp(x).sum())],
    })  # fmt: skip


@task("3.3", hints=[
    "exp(1000) is infinite. But softmax stays the same if one number is taken away from all scores.",
    "Take the largest score away first: x - x.max(axis=axis, keepdims=True). Then exp cannot overflow.",
    "exp(-1000) is 0, and log(0) is −∞. So never take the log of a probability: subtract log Σ instead.",
])  # fmt: skip
def test_log_softmax_of_large_scores(ex):
    """Scores of ±1000 overflow nothing; each row is shifted by its own largest score."""
    x = np.array([[1000.0, 0.0, -1000.0], [-1000.0, -1000.0, -1001.0]])
    y, _ = ruled(ex, x)
    due = -np.log(2 + np.exp(-1))  # the second row: −log(1 + 1 + 1/e)
    due = np.array([[0, -1000, -2000], [due, due, due - 1]])
    if np.shape(y) == x.shape:
        first, second = np.array(y, dtype=float)
        facts = {"yours": f"{first} and {second}"}
        if np.isnan(first).any() or np.isposinf(first).any() or np.isinf(first[0]):
            raise Wrong("eˣ overflows: exp(1000) is infinite. Take the largest score away first.", facts)
        if not np.isfinite(second).all():
            raise Wrong("In the second row Σ eˣ is 0: take from each row *its own* largest.", facts)
        if np.isinf(first).any():
            raise Wrong("log(0) = −∞: eˣ was 0 before the log. Use x − m − log Σ exp(x − m).", facts)
    same(y, due, "the value")


@task("3.3", points=2, hints=[
    "∂y_c/∂x_k = [c = k] − p_k. The pullback is Σ over c of g_c times this. Write it as two sums.",
    "The first sum is g_k. The second is p_k · Σ over c of g_c, and p = exp(y). Use keepdims=True.",
])  # fmt: skip
def test_log_softmax_pullback(ex):
    """∂L/∂x_k is the sum over c of g_c · ([c = k] − p_k)."""
    x, g = normal(3, 4), normal(3, 4, seed=2)
    p = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
    due = np.stack([(np.eye(4) - p[n]).T @ g[n] for n in range(3)])
    of_softmax = p * (g - (g * p).sum(axis=1, keepdims=True))
    asked(pulled(ruled(ex, x)[1][0], g, "x"), due, "the gradient", {
        "Σ g is missing: x_k acts on *every* y_c, so the factor of p is Σ g.": [g - p, g * (1 - p)],
        "This is the pullback of softmax, not of its logarithm.": [of_softmax],
        ONE_ROW: [g - p * g.sum()],
    }, slope=central(lambda x: ruled(ex, x)[0], x, g))  # fmt: skip


@task("3.3", hints=["The scores lie along `axis`: use axis=axis in max and in sum, not axis=1."])
def test_log_softmax_axis(ex):
    """The scores of one example lie along `axis`; float32 stays float32."""
    x, g = normal(3, 4), normal(3, 4, seed=2)
    y, (pullback,) = ruled(ex, x, axis=0)
    due = x - np.log(np.exp(x).sum(axis=0))
    same(y, due, "the value along axis 0")
    same(pulled(pullback, g, "x"), g - np.exp(due) * g.sum(axis=0), "the gradient along axis 0")
    keeps_type(value=ruled(ex, x.astype(np.float32))[0])


@task("3.3")
def test_log_softmax_runs_inside_the_engine(ex):
    """With L = −y at the right class, the gradient of the scores is p − one-hot."""
    scores, right = Tensor(normal(3, 4), requires_grad=True), np.eye(4)[:3]
    p = np.exp(scores.numpy()) / np.exp(scores.numpy()).sum(axis=1, keepdims=True)
    with ex.installed():
        (-(ops.log_softmax(scores) * right).sum()).backward()
    same(scores.grad, p - right, "∂L/∂scores")


# --- 3.4 dropout -----------------------------------------------------------------------------------

exercise(
    "3.4",
    ops.dropout,
    hides=[ops.where, ops.mask],
    proves="Your dropout silences units in training, and the mean of what comes through stays the same.",
)


@task("3.4", points=2, hints=[
    "Each number is dropped with probability p. A uniform draw u lies below p with probability p.",
    "So the kept ones are those with uniform >= p: True and False, which count as 1 and 0.",
    "A share 1 − p is kept. To keep the mean, what is kept is divided by 1 − p.",
])  # fmt: skip
def test_dropout_value(ex):
    """Where u < p the value is 0, elsewhere x / (1 − p)."""
    x, u = normal(2, 4), np.array([[0.1, 0.2, 0.3, 0.6], [0.9, 0.0, 0.25, 0.24]])
    keep, (y, _) = u >= 0.25, dropped(ex, x, u, 0.25)
    if np.shape(y) == x.shape and ((np.array(y, dtype=float) == 0) == keep).any():
        raise Wrong("It drops other numbers than those with u < p: p is the fraction *removed*.")
    asked(y, x * keep / 0.75, "the value", {
        "The kept numbers are not scaled, so the mean shrinks: divide them by 1 − p.": [x * keep],
        "It divides by p. The share that is kept is 1 − p.": [x * keep / 0.25],
        "It multiplies by 1 − p. To make up for what is lost, divide by it.": [x * keep * 0.75],
    })  # fmt: skip


@task("3.4", hints=["The draws are given: `uniform`. For p = 0 nothing is dropped, for p = 1 everything."])
def test_dropout_keeps_the_mean(ex):
    """The mean over 20,000 numbers stays the same within 2 %; for p = 1 all is 0."""
    u = np.random.default_rng(3).random(20_000)
    for p in (0.0, 0.3, 0.5):
        y, _ = dropped(ex, np.ones(20_000), u, p)
        same(np.mean(y), 1.0, f"the mean of 20,000 ones after dropout with p = {p}", rtol=0.02)
    same(dropped(ex, np.ones(3), u[:3], 1.0)[0], np.zeros(3), "the value for p = 1 (beware of 1 / 0)")


@task("3.4", hints=[
    "A dropped number has no effect on the loss, so its gradient is 0.",
    "The pullback multiplies g by the very same factors: 0, or 1 / (1 − p).",
])  # fmt: skip
def test_dropout_pullback(ex):
    """The gradient is g times the same factor: 0 where x was dropped, 1 / (1 − p) elsewhere."""
    x, g = normal(3, 4).astype(np.float32), normal(3, 4, seed=2).astype(np.float32)
    u = np.random.default_rng(5).random((3, 4), dtype=np.float32)
    x = np.where(u == u.max(), np.float32(0), x)  # one that is kept happens to be 0
    y, pullback = dropped(ex, x, u, 0.5)
    came, keep = pulled(pullback, g, "x"), u >= 0.5
    asked(came, g * keep * 2, "the gradient", {
        "It hands g on everywhere. What was dropped had no effect on the loss: slope 0.": [g, g * 2],
        "The factor 1 / (1 − p) is missing: y = x / (1 − p) has this slope.": [g * keep],
        "What decides is the draw, not whether y is 0: a kept x that is 0 may still learn.": [g * (x != 0) * keep * 2],
        "It multiplies g by y. The slope of y = x · factor is the factor alone.": [y * g],
    })  # fmt: skip
    keeps_type(value=y, gradient=came)


# --- 3.5 explain this failure ----------------------------------------------------------------------

exercise(
    "3.5",
    material.witness,
    proves="You found what it cannot learn: without x in its gradient, a layer learns from sums alone.",
)


@task("3.5", points=2, hints=[
    "Look at the friend's gradient of W, for one output. Which numbers stand in its three columns?",
    "All columns are equal. A layer that starts at 0 then has three equal weights, w, w, w, at all times.",
    "w·a₁ + w·a₂ + w·a₃ = w · (a₁ + a₂ + a₃). So what must be the same for a and b?",
])  # fmt: skip
def test_witness_cannot_be_told_apart(ex):
    """Two inputs that the friend's layer can never tell apart, and the right layer can."""
    a, b = material.two_inputs(ex)
    friend, right = (material.trained_layer(rule, a, b) for rule in (material.without_x, ops.linear.rule))
    facts = {"friend's scores": f"{friend[0].round(4)} and {friend[1].round(4)}"}
    if abs(friend[0] - friend[1]).max() > 1e-6 * abs(a - b).max():
        if np.linalg.matrix_rank([a, b]) < 2:
            says = "The friend's layer tells these two apart. One is a multiple of the other: so is what W makes of it."
            raise Wrong(says, facts)
        raise Wrong("The friend's layer tells these two apart. What of x does it still see?", facts)
    if abs(right[0] - right[1]).max() < 1e-3 * abs(a - b).max():
        raise Wrong("The right layer does not tell them apart either: let them differ elsewhere.", facts)

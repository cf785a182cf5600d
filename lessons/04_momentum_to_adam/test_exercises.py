"""The exercises of lesson 4 and their tests. Each test's docstring is the property that it asks for.

Glossary: theta weight, g gradient ∂L/∂θ, b memory of SGD, m and v averages of Adam, t step, from 1.
"""

from pathlib import Path

import numpy as np

from tinyopt import optim
from tinyopt.course import Wrong, exercise, same, task
from tinyopt.course.compare import alike
from tinyopt.course.draws import leaf
from tinyopt.course.lessons import load

material = load(Path(__file__).with_name("material.py"))
follow, descend = material.follow, material.descend
name_it, fading_sums, directions = material.name_it, material.fading_sums, material.directions
adapted, slow, one_update, THETA = material.adapted, material.slow, material.one_update, material.THETA
GRADIENTS = np.array([[1.0, -2.0, 0.5], [3.0, -2.0, -1.0], [-4.0, 1.0, 0.25], [2.0, 0.0, 8.0]])


# --- 4.1 numbers, by hand --------------------------------------------------------------------------

exercise(
    "4.1",
    material.predict,
    hides=[optim.SGD.update, optim.SGD.direction, optim.Adam.update, optim.Adam.adapted],
    proves="Momentum ran through the minimum and out on the other side; Adam took no notice of the size 300.",
)
NAMES = ("ball_1", "ball_2", "ball_3", "adam_1", "adam_2")


@task("4.1", points=2, hints=[
    "Make a table with a line for each step: g, then b, then θ. The gradient of ½ θ² is θ itself.",
    "Step 1: g = 8, b = 0.5·0 + 8, θ = 8 − 0.5·8. In step 2, g is the new θ.",
    "Adam: if all gradients so far are equal to g, then m̂ = g and v̂ = g². What is m̂ / √v̂?",
])  # fmt: skip
def test_the_five_numbers_follow_from_the_formulas(ex):
    """Each θ is the one before it, minus lr times b; or, for Adam, minus lr · m̂ / √v̂."""
    came, due = ex(), np.array(ex.reference())
    if np.shape(came) != (5,):
        raise Wrong(f"Five numbers are due: return {', '.join(NAMES)}", {"yours": repr(came)})
    name_it(came[:3], material.BALLS, {"due": due[:3].tolist()})
    name_it(came[3:], material.ADAMS, {"due": due[3:].round(4).tolist()})
    same(came, due, "one of your numbers", labels=NAMES, rtol=1e-4)


# --- 4.2 momentum ----------------------------------------------------------------------------------

exercise(
    "4.2",
    optim.SGD.direction,
    proves="Your memory adds up what gradients agree on, and cancels what they disagree on.",
)


@task("4.2", hints=["At the first step the memory holds only zeros. What is b ← momentum · b + g then?"])
def test_the_first_direction_is_the_gradient(ex):
    """At the first step, b is 0: the direction is g itself."""
    came, g = directions(ex, GRADIENTS[:1], momentum=0.9)[0][0], GRADIENTS[0]
    name_it(came, {
        "lr is in it. `update` multiplies by lr afterwards: leave it out here.": 0.3 * g,
        "g is multiplied by 1 − momentum: that is an average. Here g is added as it is.": 0.1 * g,
        "It is g + momentum · b. That is Nesterov's form; here self.nesterov is False.": 1.9 * g,
        "It is −g. `update` subtracts what you return: return the way up.": -g,
    })  # fmt: skip
    same(came, g, "the first direction")


@task("4.2", points=2, hints=[
    "The memory lies in state[\"b\"]. Read it, make the new one, and put that back under the same name.",
    "The new memory is self.momentum * state[\"b\"] + g. It is also what you return.",
])  # fmt: skip
def test_the_memory_fades_and_adds(ex):
    """Each step keeps `momentum` of the old memory and adds the new gradient."""
    for momentum in (0.5, 0.9):
        came, kept = directions(ex, GRADIENTS, momentum=momentum)
        name_it(came, {
            "It has no memory: each direction is g alone. Is the new b put back into state?": GRADIENTS,
            "The memory never fades: b is multiplied by momentum, then g added.": GRADIENTS.cumsum(axis=0),
            "It averages, with (1 − momentum) · g. Here g is added as it is.":
                (1 - momentum) * fading_sums(GRADIENTS, momentum),
            "The memory has the wrong sign: momentum carries on, it does not pull back.":
                fading_sums(GRADIENTS, -momentum),
            "You return g + momentum · b. That is Nesterov's form; here self.nesterov is False.":
                GRADIENTS + momentum * fading_sums(GRADIENTS, momentum),
        }, {"momentum": momentum})  # fmt: skip
        due = fading_sums(GRADIENTS, momentum)
        same(came, due, f"the direction (rows: steps 1 to 4; momentum {momentum})")
        same(kept, due, 'state["b"] after the step')


@task("4.2", points=2, hints=[
    "If self.nesterov is True, another direction is returned. The memory is the same as before.",
    "Nesterov's form looks one step ahead: with the *new* b, return g + self.momentum * b.",
])  # fmt: skip
def test_nesterov_looks_one_step_ahead(ex):
    """With nesterov, the direction is g + momentum · b, where b is the new memory; b itself is as before."""
    came, kept = directions(ex, GRADIENTS, momentum=0.9, nesterov=True)
    b = fading_sums(GRADIENTS, 0.9)
    name_it(came, {
        "You return b. With self.nesterov, return g + momentum · new b. (The old b gives b again.)": b,
        "You return g + b: the memory is multiplied by momentum once more.": GRADIENTS + b,
        "You return momentum · b: g is missing.": 0.9 * b,
        "You return b + momentum · b. It is g, not b, that momentum · b is added to.": 1.9 * b,
    })  # fmt: skip
    name_it(kept, {
        "What you return is also kept as the memory. Keep the new b in state, as without nesterov; "
        "g + momentum · b is only returned.": came,
    })  # fmt: skip
    same(kept, b, "the memory that is kept in state, with nesterov,")
    same(came, GRADIENTS + 0.9 * b, "Nesterov's direction (rows: steps 1 to 4)")


@task("4.2", hints=["float32 weights must stay float32: make no new array of another type."])
def test_momentum_runs_inside_the_engine(ex):
    """SGD on your direction walks the same path down a valley as the slow loop, in float32."""
    curvature = np.array([1.0, 10.0], dtype=np.float32)
    for nesterov in (False, True):
        p = leaf([4.0, 1.0])
        p.data = p.data.astype(np.float32)
        with material.in_engine(ex):
            optimizer = optim.SGD([p], lr=0.05, momentum=0.8, nesterov=nesterov)
            path = descend(optimizer, lambda theta: curvature * theta, 6)
        theta, b = np.array([4.0, 1.0]), np.zeros(2)
        for _ in range(6):
            g = curvature * theta
            b = 0.8 * b + g
            theta = theta - 0.05 * (g + 0.8 * b if nesterov else b)
        same(path[-1], theta, f"the weights after 6 steps (nesterov={nesterov})", rtol=1e-4)


# --- 4.3 Adam --------------------------------------------------------------------------------------

exercise(
    "4.3",
    optim.Adam.adapted,
    proves="Each weight has its own step size now, and from the first step on it is the right one.",
)


@task("4.3", points=2, hints=[
    "At t = 1: m = (1 − β₁) g and v = (1 − β₂) g². Divide by 1 − β₁ᵗ and 1 − β₂ᵗ. What is m̂ / √v̂?",
    "So the first step is lr · g / |g|: its size is lr, whatever the gradient.",
    "A power in Python is beta1**t, and t is given: it counts the steps from 1.",
])  # fmt: skip
def test_the_first_step_is_lr_in_size(ex):
    """The first step is lr · sign(g): its size is lr for a gradient of any size."""
    g = np.array([[-1000.0, -1.0, 0.1, 20.0]])
    came, sign = adapted(ex, g, lr=0.05)[0][0], np.sign(g[0])
    if np.isnan(came).any():
        raise Wrong("A NaN: is it 0 / 0, with t − 1 in place of t? Or √v with v < 0, from g in place of g²?")
    name_it(came, {
        "This is 3.16 times too large: the correction of m and v is missing.": 0.158114 * sign,
        "v is not corrected: divide it by 1 − β₂ᵗ.": 1.58114 * sign,
        "m is not corrected: divide it by 1 − β₁ᵗ.": 0.005 * sign,
        "The root of v is divided by 1 − β₂ᵗ. First correct v, then take the root.": 0.00158114 * sign,
        "lr is missing: `update` subtracts what you return.": sign,
        "The square root of v̂ is missing.": 0.05 / g[0],
        "Every sign is turned. `update` subtracts what you return: return lr · m̂ / (√v̂ + ε).": -0.05 * sign,
        "It does not divide by the size of the gradient, √v̂.": 0.05 * g[0],
    }, {"yours": came.round(5), "due": 0.05 * sign})  # fmt: skip
    same(came, 0.05 * sign, "the first step", rtol=1e-4)


@task("4.3", points=2, hints=[
    "The averages are kept from step to step in state[\"m\"] and state[\"v\"]. Did you put them back?",
    "β₁ keeps m, and β₂ keeps v. With betas (0.5, 0.96) and g = 10, −10: m = 5, −2.5 and v = 4, 7.84.",
    "In step 2, t = 2: m̂ = −2.5 / (1 − 0.5²), v̂ = 7.84 / (1 − 0.96²) = 100.",
])  # fmt: skip
def test_the_second_step_remembers_the_first(ex):
    """For g = 10 and then −10, with betas (0.5, 0.96), the steps are lr and −lr / 3."""
    came, state = adapted(ex, np.array([[10.0, -10.0], [-10.0, 10.0]]), lr=0.3, betas=(0.5, 0.96))
    facts = {f"your {name}": np.round(np.array(state[name], dtype=float), 3) for name in "mv"}
    if not np.isfinite(came).all():
        raise Wrong("Step 2 is not finite. Is the correction 1 − beta**t, with a power, not beta * t?", facts)
    due = [[-2.5, 2.5], [7.84, 7.84]]
    forgets = "It forgets the first step: put the new m and v back into state."
    if alike([state["m"], state["v"]], due):
        forgets = "Your m is right, but the step does not follow from it: m̂ is m, not g, over 1 − beta1**t."
    name_it(came[:, 0], {
        forgets: (0.3, -0.3),
        "The betas are exchanged: beta1 keeps m, beta2 keeps v.": (0.3, -0.3 * 0.020408),
        "In step 2 the correction is that of step 1: it is 1 − beta**t, with the power t.": (0.3, -0.107143),
        "The power t is around the bracket, (1 − beta)**t. Only beta has it: 1 − beta**t.": (0.3, -0.0428571),
        "The corrected m̂ goes back into state. Keep m and v as they are, and correct only for the step.":
            (0.3, 0.0),
    }, facts)  # fmt: skip
    if not (np.any(state["m"]) and np.any(state["v"])):
        raise Wrong("state is as it was: put the new m and v back into state.", facts)
    same(came, [[0.3, -0.3], [-0.1, 0.1]], "the step", labels=("step 1", "step 2"), rtol=1e-4)
    same([state["m"], state["v"]], due, "state after step 2 (rows: m, v)")


@task("4.3", points=2, hints=["Compare, step by step, with slow_adam in the lesson: the specification."])
def test_four_steps_are_those_of_the_slow_loop(ex):
    """For every weight, the steps are those of the slow loop."""
    for settings in ({"betas": (0.9, 0.999)}, {"betas": (0.7, 0.8)}, {"betas": (0.0, 0.5)}):
        settings |= {"lr": 0.01, "eps": 1e-8}
        came, due = adapted(ex, GRADIENTS, **settings)[0], slow(GRADIENTS, **settings)
        same(came, due, f"the step (rows: steps 1 to 4; betas {settings['betas']})", rtol=1e-5)


@task("4.3", hints=[
    "√v̂ + ε: first the root, then add ε.",
    "ε stands beside √v̂, with v already corrected. To correct later, multiply ε by √(1 − β₂ᵗ).",
])  # fmt: skip
def test_eps_stands_outside_the_root(ex):
    """eps is added to √v̂: with |g| = eps, the first step is lr / 2."""
    came = adapted(ex, np.array([[1e-6, 1e-6]]), lr=0.1, eps=1e-6)[0][0]
    name_it(came, {
        "eps stands under the root: √(v̂ + ε). It belongs outside: √v̂ + ε.": [1e-4, 1e-4],
        "eps is added to √v before v is corrected.": [0.00306535, 0.00306535],
        "eps is missing: for a gradient of 0 that is 0 / 0.": [0.1, 0.1],
    }, {"yours": came[0], "due": 0.05})  # fmt: skip
    same(came, [0.05, 0.05], "the first step for g = 1e-6 and eps = 1e-6", rtol=1e-4)


@task("4.3", hints=["np.sqrt of a Python number is an np.float64, which spreads. Use math.sqrt or ** 0.5."])
def test_adam_keeps_the_type_and_runs_inside_the_engine(ex):
    """float32 stays float32, and Adam on your function walks the path of the slow loop."""
    came = adapted(ex, GRADIENTS[:1], dtype=np.float32)[0]
    if came.dtype != np.float32:
        facts = {"yours": came.dtype, "due": "float32"}
        raise Wrong("float32 turns into another type. Is there an np.float64, from np.sqrt(a number)?", facts)
    with material.in_engine(ex):
        end = follow(optim.Adam([leaf(np.zeros(3))], lr=0.02), GRADIENTS)[-1]
    same(end, -slow(GRADIENTS, 0.02, (0.9, 0.999), 1e-8).sum(axis=0), "θ after four steps", rtol=1e-5)


# --- 4.4 AdamW -------------------------------------------------------------------------------------

exercise(
    "4.4",
    optim.AdamW.update,
    name="adamw_update",
    proves="In your AdamW all weights shrink at one rate, however large or small their gradients are.",
)


@task("4.4", points=2, hints=[
    "Where the gradient is 0, self.adapted(g, state, t) is 0 too. Only the decay is left.",
    "The decay makes each weight smaller by the same *share*: θ · (1 − lr · weight_decay).",
])  # fmt: skip
def test_a_weight_without_a_gradient_shrinks(ex):
    """Where g = 0, each weight is multiplied by 1 − lr · weight_decay."""
    came = one_update(ex, np.zeros(3))
    name_it(came, {
        "Nothing shrinks: the decay is missing.": THETA,
        "The weights grow. Decay takes away: θ − lr · weight_decay · θ.": 1.02 * THETA,
        "lr is missing in the decay: the share is lr · weight_decay, as in PyTorch.": 0.8 * THETA,
        "Each moves by lr, whatever it is: the decay went through m and v.": THETA - 0.1 * np.sign(THETA),
        "The same amount is taken from each. It should be the same share.": THETA - 0.02 * np.sign(THETA),
        "The new θ is due, not what is to be subtracted from it.": 0.02 * THETA,
    }, {"yours": came, "due": 0.98 * THETA})  # fmt: skip
    same(came, 0.98 * THETA, "theta after one step with g = 0")


@task("4.4", points=2, hints=[
    "Two things are subtracted from theta: the decay, and self.adapted(g, state, t) with g as it came.",
    "Both start from the *old* theta: θ · (1 − lr · weight_decay) − self.adapted(g, state, t).",
])  # fmt: skip
def test_decay_and_gradient_do_not_mix(ex):
    """With any gradient, the new θ is the shrunken θ minus Adam's own step."""
    for size in (1e-3, 1.0, 1e3):
        g = size * np.array([1.0, 2.0, -3.0])
        came, step = one_update(ex, g), 0.1 * np.sign(g)
        name_it(came, {
            "The decay goes into the gradient, g + weight_decay · θ: there √v̂ divides it too. That is Adam.":
                THETA - 0.1 * np.sign(g + 0.2 * THETA),
            "Adam's step shrinks too. Only the old θ is to be multiplied by 1 − lr · weight_decay.":
                (THETA - step) * 0.98,
            "Adam's step is missing: subtract self.adapted(g, state, t).": 0.98 * THETA,
            "Adam's step is added. It is to be subtracted.": 0.98 * THETA + step,
            "lr is applied twice: self.adapted(...) has it already.": 0.98 * THETA - 0.1 * step,
            "The decay is missing.": THETA - step,
        }, {"yours": came, "due": 0.98 * THETA - step})  # fmt: skip
        same(came, 0.98 * THETA - step, f"theta after one step with g of size {size}", rtol=1e-4)


@task("4.4")
def test_adamw_runs_inside_the_engine(ex):
    """Four steps of AdamW are those of the slow loop with the decay beside it."""
    with material.in_engine(ex):
        came = follow(optim.AdamW([leaf(THETA)], lr=0.1, weight_decay=0.5), GRADIENTS)[-1]
    theta = THETA
    for step in slow(GRADIENTS, 0.1, (0.9, 0.999), 1e-8):
        theta = theta - 0.1 * 0.5 * theta - step
    same(came, theta, "theta after four steps", rtol=1e-5)


# --- 4.5 explain this failure ----------------------------------------------------------------------

exercise(
    "4.5",
    material.witness,
    proves="You found why it climbs: divided by their own size, gradients vote by sign, and two outvote one.",
)


@task("4.5", hints=["Return three numbers, such as 5.0, 1.0, 1.0. Each stands for the gradient of a batch."])
def test_witness_has_the_right_form(ex):
    """The witness is three finite numbers whose sum is positive: downhill is to the left."""
    answer = ex()
    if np.shape(answer) != (3,):
        raise Wrong("Three numbers are due: return a, b, c", {"yours": repr(answer)})
    g = np.array(answer, dtype=float)
    if not np.isfinite(g).all():
        raise Wrong("A gradient is NaN or infinite. Then nothing can be compared.")
    if not g.any():
        raise Wrong("All gradients are 0: then nothing moves.")
    if abs(g).max() < 1e-4:
        raise Wrong("These gradients are so small that eps matters. Multiply all by the same number.")
    if g.sum() <= 0:
        facts = {"sum of the three": f"{g.sum():.6g}"}
        raise Wrong("The sum is not positive, so to move right, or to stay, is no failure.", facts)


@task("4.5", points=2, hints=[
    "With nearly no memory, √v is nearly |g| of this very step. What is g / |g|?",
    "So each gradient gives one step of nearly ±lr: they vote. The sum can be positive with one + and two −.",
    "One gradient positive, two negative and smaller; but v must forget the large one: 3 to 10 times.",
])  # fmt: skip
def test_witness_makes_rmsprop_climb(ex):
    """On these gradients, over and over, RMSprop with alpha = 0.01 moves to the right by 0.05 or more."""
    g = np.array(ex(), dtype=float)
    moved = material.climbs(g.tolist())
    if moved > 0.05:
        return
    facts = {"moved by": f"{moved:.4f}", "sum of the three": f"{g.sum():.6g}"}
    if (g >= 0).all():
        raise Wrong("No gradient is negative, so every step goes left. Some must disagree.", facts)
    if (g > 0).sum() == 2:
        raise Wrong("Two of your three gradients are positive: the majority is right. Turn it round.", facts)
    raise Wrong("RMSprop does not climb. Two must outvote one that is not so large that v keeps it.", facts)

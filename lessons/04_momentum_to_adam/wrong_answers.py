"""Wrong answers that students give, and words that the verdict on each must contain."""

import numpy as np

from tinyopt.course import wrong

# --- 4.1 ---


@wrong("4.1", says="it forgets")
def without_memory():
    return 4.0, 2.0, 1.0, 2.1, 2.2


@wrong("4.1", says="You average")
def averaged():
    return 6.0, 3.5, 1.375, 2.1, 2.2


@wrong("4.1", says="The gradient is θ, so it changes")
def one_gradient_for_all():
    return 4.0, -2.0, -9.0, 2.1, 2.2


@wrong("4.1", says="never fades")
def nothing_fades():
    return 4.0, -2.0, -7.0, 2.1, 2.2


@wrong("4.1", says="Adam divides by the size")
def adam_by_size():
    return 4.0, 0.0, -2.0, 32.0, 62.0


@wrong("4.1", says="Downhill is the other way")
def adam_uphill():
    return 4.0, 0.0, -2.0, 1.9, 1.8


@wrong("4.1", says="The memory b is not 0 there")
def stops_at_the_minimum():
    return 4.0, 0.0, 0.0, 2.1, 2.2  # where g = 0 it stops: but b is not 0


@wrong("4.1", says="The memory b is not 0 there", blind=True)
def no_slope_no_step():
    return 4.0, 0.0, 0.0, 2.1, 2.2


# --- 4.2 ---


def momentum(new_b, answer=None):
    """A wrong answer from the line that is wrong: the new memory, or what is returned."""

    def direction(self, g, state, t):
        b = state["b"] = new_b(self.momentum, state["b"], g)
        right = g + self.momentum * b if self.nesterov else b
        return answer(self, g, b) if answer else right

    return direction


def add(mu, b, g):
    return mu * b + g


@wrong("4.2", says="The memory never fades")
def no_decay(self, g, state, t):
    return momentum(lambda mu, b, g: b + g)(self, g, state, t)


@wrong("4.2", says="that is an average")
def average(self, g, state, t):
    return momentum(lambda mu, b, g: mu * b + (1 - mu) * g)(self, g, state, t)


@wrong("4.2", says="The memory has the wrong sign")
def pulls_back(self, g, state, t):
    return momentum(lambda mu, b, g: g - mu * b)(self, g, state, t)


@wrong("4.2", says="lr is in it")
def with_lr(self, g, state, t):
    return momentum(add, lambda self, g, b: self.lr * b)(self, g, state, t)


@wrong("4.2", says="It has no memory")
def not_put_back(self, g, state, t):
    b = self.momentum * state["b"] + g
    return g + self.momentum * b if self.nesterov else b


@wrong("4.2", says="return g + momentum · new b")
def never_nesterov(self, g, state, t):
    return momentum(add, lambda self, g, b: b)(self, g, state, t)


@wrong("4.2", says="here self.nesterov is False")
def always_nesterov(self, g, state, t):
    return momentum(add, lambda self, g, b: g + self.momentum * b)(self, g, state, t)


@wrong("4.2", says="multiplied by momentum once more")
def nesterov_without_factor(self, g, state, t):
    return momentum(add, lambda self, g, b: g + b if self.nesterov else b)(self, g, state, t)


@wrong("4.2", says="The old b gives b again")
def nesterov_with_old(self, g, state, t):
    old = state["b"]
    b = state["b"] = self.momentum * old + g
    return g + self.momentum * old if self.nesterov else b


@wrong("4.2", says="also kept as the memory")
def nesterov_kept(self, g, state, t):
    b = self.momentum * state["b"] + g
    state["b"] = g + self.momentum * b if self.nesterov else b
    return state["b"]


@wrong("4.2", says="frozen")
def writes_into_g(self, g, state, t):
    g += self.momentum * state["b"]
    state["b"] = g
    return g


@wrong("4.2", says="also kept as the memory", blind=True)
def one_name_for_both(self, g, state, t):
    b = self.momentum * state["b"] + g
    if self.nesterov:
        b = g + self.momentum * b
    state["b"] = b
    return b


# --- 4.3; the lesson runs two of these ---


def averages(self, g, state):
    beta1, beta2 = self.betas
    m = state["m"] = beta1 * state["m"] + (1 - beta1) * g
    v = state["v"] = beta2 * state["v"] + (1 - beta2) * g**2
    return beta1, beta2, m, v


@wrong("4.3", says="the correction of m and v is missing")
def without_correction(self, g, state, t):
    *_, m, v = averages(self, g, state)
    return self.lr * m / (v**0.5 + self.eps)


@wrong("4.3", says="eps stands under the root")
def eps_inside(self, g, state, t):
    beta1, beta2, m, v = averages(self, g, state)
    return self.lr * m / (1 - beta1**t) / (v / (1 - beta2**t) + self.eps) ** 0.5


@wrong("4.3", says="before v is corrected")
def eps_too_early(self, g, state, t):
    beta1, beta2, m, v = averages(self, g, state)
    return self.lr * m / (1 - beta1**t) * (1 - beta2**t) ** 0.5 / (v**0.5 + self.eps)


@wrong("4.3", says="square root of v̂ is missing")
def without_root(self, g, state, t):
    beta1, beta2, m, v = averages(self, g, state)
    return self.lr * m / (1 - beta1**t) / (v / (1 - beta2**t) + self.eps)


@wrong("4.3", says="lr is missing")
def without_lr(self, g, state, t):
    beta1, beta2, m, v = averages(self, g, state)
    return m / (1 - beta1**t) / ((v / (1 - beta2**t)) ** 0.5 + self.eps)


@wrong("4.3", says="v is not corrected")
def only_m_corrected(self, g, state, t):
    beta1, _, m, v = averages(self, g, state)
    return self.lr * m / (1 - beta1**t) / (v**0.5 + self.eps)


@wrong("4.3", says="The betas are exchanged")
def exchanged(self, g, state, t):
    beta2, beta1 = self.betas
    m = state["m"] = beta1 * state["m"] + (1 - beta1) * g
    v = state["v"] = beta2 * state["v"] + (1 - beta2) * g**2
    return self.lr * m / (1 - beta1**t) / ((v / (1 - beta2**t)) ** 0.5 + self.eps)


@wrong("4.3", says="It forgets the first step")
def forgetful(self, g, state, t):
    return self.lr * g / (abs(g) + self.eps)


@wrong("4.3", says="that of step 1")
def correction_of_step_one(self, g, state, t):
    beta1, beta2, m, v = averages(self, g, state)
    return self.lr * m / (1 - beta1) / ((v / (1 - beta2)) ** 0.5 + self.eps)


@wrong("4.3", says="is it 0 / 0, with t − 1")
def counts_from_zero(self, g, state, t):
    beta1, beta2, m, v = averages(self, g, state)
    return self.lr * m / (1 - beta1 ** (t - 1)) / ((v / (1 - beta2 ** (t - 1))) ** 0.5 + self.eps)


@wrong("4.3", says="np.float64")
def lifted(self, g, state, t):
    beta1, beta2, m, v = averages(self, g, state)
    c = np.sqrt(1 - beta2**t)
    return self.lr * c / (1 - beta1**t) * m / (np.sqrt(v) + c * self.eps)


@wrong("4.3", says="First correct v, then take the root")
def root_before_correction(self, g, state, t):
    beta1, beta2, m, v = averages(self, g, state)
    return self.lr * m / (1 - beta1**t) / (v**0.5 / (1 - beta2**t) + self.eps)


@wrong("4.3", says="with a power, not beta * t")
def product_for_power(self, g, state, t):
    beta1, beta2, m, v = averages(self, g, state)
    return self.lr * m / (1 - beta1 * t) / ((v / (1 - beta2 * t)) ** 0.5 + self.eps)


@wrong("4.3", says="The corrected m̂ goes back into state")
def corrected_is_kept(self, g, state, t):
    beta1, beta2, _, v = averages(self, g, state)
    state["m"] = state["m"] / (1 - beta1**t)
    return self.lr * state["m"] / ((v / (1 - beta2**t)) ** 0.5 + self.eps)


@wrong("4.3", says="m̂ is m, not g")
def gradient_for_m(self, g, state, t):
    _, beta2, _, v = averages(self, g, state)
    return self.lr * g / ((v / (1 - beta2**t)) ** 0.5 + self.eps)


@wrong("4.3", says="Only beta has it: 1 − beta**t", blind=True)
def power_around_the_bracket(self, g, state, t):
    beta1, beta2 = self.betas
    state["m"] = beta1 * state["m"] + (1 - beta1) * g
    state["v"] = beta2 * state["v"] + (1 - beta2) * g**2
    m_hat = state["m"] / (1 - beta1) ** t
    v_hat = state["v"] / (1 - beta2) ** t
    return self.lr * m_hat / (v_hat**0.5 + self.eps)


# --- 4.4 ---


@wrong("4.4", says="went through m and v")
def through_the_gradient(self, theta, g, state, t):
    return theta - self.adapted(g + self.weight_decay * theta, state, t)


@wrong("4.4", says="lr is missing in the decay")
def decay_without_lr(self, theta, g, state, t):
    return theta * (1 - self.weight_decay) - self.adapted(g, state, t)


@wrong("4.4", says="The weights grow")
def growth(self, theta, g, state, t):
    return theta * (1 + self.lr * self.weight_decay) - self.adapted(g, state, t)


@wrong("4.4", says="the decay is missing")
def plain_adam(self, theta, g, state, t):
    return theta - self.adapted(g, state, t)


@wrong("4.4", says="Adam's step shrinks too")
def shrinks_after(self, theta, g, state, t):
    return (theta - self.adapted(g, state, t)) * (1 - self.lr * self.weight_decay)


@wrong("4.4", says="self.adapted(...) has it already")
def lr_twice(self, theta, g, state, t):
    return theta - self.lr * (self.weight_decay * theta + self.adapted(g, state, t))


@wrong("4.4", says="should be the same share")
def same_amount(self, theta, g, state, t):
    return theta - self.lr * self.weight_decay * np.sign(theta) - self.adapted(g, state, t)


@wrong("4.4", says="lr is applied twice", blind=True)
def lr_around_both(self, theta, g, state, t):
    return theta - self.lr * (self.adapted(g, state, t) + self.weight_decay * theta)


# --- 4.5 ---


@wrong("4.5", says="The sum is not positive")
def downhill_is_right():
    return 1.0, -1.0, -1.0


@wrong("4.5", says="No gradient is negative")
def all_agree():
    return 3.0, 2.0, 1.0


@wrong("4.5", says="the majority is right")
def majority_is_right():
    return 3.0, 3.0, -1.0


@wrong("4.5", says="All gradients are 0")
def nothing_moves():
    return 0.0, 0.0, 0.0


@wrong("4.5", says="NaN or infinite")
def infinite():
    return float("inf"), -1.0, -1.0


@wrong("4.5", says="so small that eps matters")
def tiny():
    return 4e-9, -1e-9, -1e-9


@wrong("4.5", says="the majority is right", blind=True)
def largest_wins():
    a, b, c = 3.0, 3.0, -5.0
    return a, b, c

"""Wrong answers that students give, and words that the verdict on each must contain."""

import numpy as np

from tinyopt.course import wrong

# --- 2.1 ---


@wrong("2.1", says="The loss is a mean")
def summed():
    return 0.8, 0.8, 2.9, 0.9, 0.1


@wrong("2.1", says="A factor 2 is missing")
def slope_without_two():
    return 2.45, 2.0375, 2.95, 1.95, 0.4


@wrong("2.1", says="goes up the hill")
def uphill():
    return 4.1, 5.75, 3.1, 5.1, 0.2


@wrong("2.1", says="has its own slope")
def old_slope_again():
    return 1.9, 0.8, 2.9, 0.9, 0.2


@wrong("2.1", says="lands on the minimum in one step")
def one_over_curvature():
    return 1.9, 1.35, 2.9, 0.9, 0.1


@wrong("2.1", says="exchanged")
def exchanged():
    return 1.9, 1.35, 0.9, 2.9, 0.2


@wrong("2.1", says="Go back to w = 3", blind=True)
def second_after_the_first():
    return 1.9, 1.35, 2.9, 0.89, 0.2


# --- 2.2 ---


@wrong("2.2", says="its own inputs: Xᵀ")
def without_x(x, y):
    return x @ y, (lambda g: g @ y.T, lambda g: np.ones_like(y) * g.mean(axis=0))


@wrong("2.2", says="gᵀ X in place of Xᵀ g")
def transposed(x, y):
    return x @ y, (lambda g: g @ y.T, lambda g: g.T @ x)


@wrong("2.2", says="the mean over the examples")
def mean_over_examples(x, y):
    return x @ y, (lambda g: g @ y.T, lambda g: x.T @ g / len(x))


@wrong("2.2", says="A transpose is missing")
def no_transpose_left(x, y):
    return x @ y, (lambda g: g @ y, lambda g: x.T @ g)


@wrong("2.2", says="Every sign is turned")
def turned(x, y):
    return x @ y, (lambda g: g @ y.T, lambda g: -x.T @ g)


@wrong("2.2", says="The value has the wrong shape")
def number_by_number(x, y):
    return x[:, :, None] * y, (lambda g: g @ y.T, lambda g: x.T @ g)


@wrong("2.2", says="The pullbacks are exchanged")
def exchanged_pullbacks(x, y):
    return x @ y, (lambda g: x.T @ g, lambda g: g @ y.T)


@wrong("2.2", says="one pullback for each array")
def one_pullback(x, y):
    return x @ y, (lambda g: x.T @ g,)


@wrong("2.2", says="the mean over the examples", blind=True)
def n_of_the_formula(x, y):
    return x @ y, (lambda g: g @ y.T, lambda g: (x.T @ g) / x.shape[0])


# --- 2.3 ---


@wrong("2.3", says="plus in place of minus")
def climbs(self, theta, g, state, t):
    return theta + self.lr * g


@wrong("2.3", says="The learning rate is missing")
def full_gradient(self, theta, g, state, t):
    return theta - g


@wrong("2.3", says="only the move")
def only_the_move(self, theta, g, state, t):
    return -self.lr * g


@wrong("2.3", says="It divides by t")
def decaying(self, theta, g, state, t):
    return theta - self.lr / t * g


@wrong("2.3", says="frozen")
def in_place(self, theta, g, state, t):
    theta -= self.lr * g
    return theta


@wrong("2.3", says="divides g by its length")
def normalized(self, theta, g, state, t):
    return theta - self.lr * g / np.sqrt((g**2).sum())


@wrong("2.3", says="The new theta is wrong")
def another_factor(self, theta, g, state, t):
    return theta - 2 * self.lr * g  # the 2 of the squared error is in g already


@wrong("2.3", says="Each weight has its own slope")
def one_slope_for_all(self, theta, g, state, t):
    return theta - self.lr * g.mean()


@wrong("2.3", says="divides g by its length", blind=True)
def a_step_of_length_lr(self, theta, g, state, t):
    return theta - self.lr * g / np.linalg.norm(g)


# --- 2.4 ---


@wrong("2.4", says="some samples come twice and others never")
def with_replacement(self, epoch):
    rng = np.random.default_rng([self.seed, epoch])
    return rng.integers(self.n_samples, size=self.n_samples) if self.shuffle else np.arange(self.n_samples)


@wrong("2.4", says="`epoch` makes no difference")
def one_order_for_all(self, epoch):
    if not self.shuffle:
        return np.arange(self.n_samples)
    return np.random.default_rng(self.seed).permutation(self.n_samples)


@wrong("2.4", says="gave another order the second time")
def no_seed(self, epoch):
    return np.random.default_rng().permutation(self.n_samples) if self.shuffle else np.arange(self.n_samples)


@wrong("2.4", says="other seeds would be nearly one run")
def sum_of_both(self, epoch):
    rng = np.random.default_rng(self.seed + epoch)
    return rng.permutation(self.n_samples) if self.shuffle else np.arange(self.n_samples)


@wrong("2.4", says="global generator")
def global_generator(self, epoch):
    np.random.seed(1000 * self.seed + epoch)
    return np.random.permutation(self.n_samples) if self.shuffle else np.arange(self.n_samples)


@wrong("2.4", says="counted from 0")
def from_one(self, epoch):
    rng = np.random.default_rng([self.seed, epoch])
    return 1 + (rng.permutation(self.n_samples) if self.shuffle else np.arange(self.n_samples))


@wrong("2.4", says="shuffle is False")
def always_shuffled(self, epoch):
    return np.random.default_rng([self.seed, epoch]).permutation(self.n_samples)


@wrong("2.4", says="only cut")
def cut_the_deck(self, epoch):
    rows = np.arange(self.n_samples)
    where = np.random.default_rng([self.seed, epoch]).integers(1, 10**6)
    return np.roll(rows, where) if self.shuffle else rows


@wrong("2.4", says="Epoch 0 has the order of the data", blind=True)
def one_draw_too_few(self, epoch):
    rows, rng = np.arange(self.n_samples), np.random.default_rng(self.seed)
    for _ in range(epoch if self.shuffle else 0):
        rows = rng.permutation(self.n_samples)
    return rows


@wrong("2.4", says="A product is not enough")
def product_of_both(self, epoch):
    rng = np.random.default_rng(self.seed * epoch)
    return rng.permutation(self.n_samples) if self.shuffle else np.arange(self.n_samples)


# --- 2.5 ---


@wrong("2.5", says="These examples agree")
def the_friends_own():
    return np.array([1.0, 2.0, -1.0]), np.array([2.0, 4.0, -2.0])


@wrong("2.5", says="It runs away")
def too_long():
    return np.array([5.0, 1.0, -4.0]), np.array([1.0, 2.0, 3.0])


@wrong("2.5", says="All x are 0")
def no_inputs():
    return np.zeros(3), np.array([1.0, 2.0, 3.0])


@wrong("2.5", says="They disagree too little")
def nearly_agreeing():
    return np.array([1.0, 2.0, -1.0]), np.array([2.0, 4.0, -2.01])


@wrong("2.5", says="x holds NaN or infinity")
def not_a_number():
    return np.array([1.0, 2.0, np.nan]), np.array([1.0, 2.0, 3.0])


@wrong("2.5", says="They disagree too little", blind=True)
def one_target_a_little_off():
    return np.array([1.0, 2.0, 1.0]), np.array([1.0, 2.0, 1.1])

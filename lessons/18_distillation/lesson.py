"""Lesson 18, distillation: the source of lesson.ipynb; see tinyopt/course/percent.py for its format."""

# %% [markdown]
# # 18 · Distillation and transfer: learning from a teacher's doubts
#
# **The question.** A large network, the **teacher**, has 431,080 weights and took long to train. You need a
# small one, the **student**, of 3,322 weights. It can learn from the labels, as always. But the teacher knows
# more than the labels: it says "this is a 4, but it looks a little like a 9". **Can a student learn more from
# the teacher's doubts than from the labels? When does it help, and when not?**
#
# - **You need:** softmax and cross-entropy (lesson 3), validation data (lesson 6), logarithms.
# - **You will write:** softened probabilities by hand, `soften`, `distillation_loss`, `attention_map`,
#   `mutual_losses`, `freeze`, and the reason for a failure.
# - **Time:** about 150 minutes.
#
# Where an exercise is still empty, the package's own function works for you.

# %%
import copy
import os
import tempfile

import matplotlib.pyplot as plt
import numpy as np

import tinyopt
from tinyopt import Tensor, compress, data, measure, models, nn, ops, optim, train
from tinyopt.compress import distill, hints, qat, teachers
from tinyopt.course import STYLE, start
from tinyopt.course.lessons import find, load
from tinyopt.losses import cross_entropy
from tinyopt.report.tour import remembered

check, hint, reveal, yours = start(18)
material = load(find(18) / "material.py")
folder = tempfile.TemporaryDirectory()  # the files of this lesson; it is removed at the end
plt.rcParams.update(STYLE)

# %% [markdown]
# First the teacher: LeNet-5, trained on 3,500 handwritten digits (some six seconds). Below, two validation
# images that it has never seen. Each bar is the probability of a class, from the same ten **logits** (the
# numbers before the softmax), divided by a **temperature** T before the softmax.

# %%
digits = data.mnist5k()


def tune(model, part, *, epochs, lr, seed=0, **settings):
    """Train a model on a part of the data with Adam; the learning rate falls to 0. Returns the model."""
    adam = optim.Adam(model.parameters(), lr=lr)
    train.fit(model, (part, None), epochs=epochs, optimizer=adam, schedule=train.cosine, seed=seed,
              progress=False, **settings)  # fmt: skip
    return model


def logits_of(model, images):
    with measure.inference(model):  # eval mode, no graph
        return model(Tensor(images)).numpy()


teacher = tune(models.lenet5(rng=0), digits.train, epochs=3, lr=2e-3)
images, labels = digits.val
answers = logits_of(teacher, images).astype(np.float64)  # (500, 10)
sure = distill.soften(answers, 1)[np.arange(len(labels)), labels]  # probability of the right class
figure, axes = plt.subplots(2, 5, figsize=(10, 4), layout="constrained")
right = answers.argmax(axis=1) == labels
for row, n in zip(axes, (int(np.argmax(sure)), int(np.argmin(np.where(right, sure, 2))))):
    material.draw_doubts(row, images[n, 0], answers[n], labels[n], (1, 2, 4, 8))
axes[1, 2].set_xlabel("class (green: the label)")
plt.show()
print("teacher:", sum(p.size for p in teacher.parameters()), f"weights; validation accuracy {right.mean():.1%}")

# %% [markdown]
# Above, an image of which the teacher is sure: at T = 1 only the label is seen. A higher T shows which wrong
# classes are *more* wrong than others. Below, an image of which it is in doubt. Hinton, Vinyals and Dean call
# these probabilities **soft targets**, and the labels **hard targets**. A label tells one thing about an
# image. A soft target tells nine more: how it looks like each other class.
#
# ## 1 · Softmax with a temperature, by hand
#
#     p = softmax(z / T)        p[c] = exp(z[c] / T) / Σ exp(z[k] / T)
#
# Take three logits z = (ln 16, ln 4, 0). exp and ln cancel. So at T = 1 the three numbers are 16, 4, 1, and
# with their sum, 21, p = (16/21, 4/21, 1/21). At T = 2, exp(½ ln 16) = √16 = 4: the numbers are 4, 2, 1, and
# p = (4/7, 2/7, 1/7). So T = 2 takes square roots, T = 4 fourth roots. All ratios come nearer to 1. The order
# never changes: **the temperature changes no prediction**.

# %%
hand = np.log([16.0, 4.0, 1.0])
figure, ax = plt.subplots(figsize=(6.5, 3), layout="constrained")
material.draw_softening(ax, hand, ("z = ln 16", "z = ln 4", "z = 0"))
plt.show()
print("T = 1:", 21 * distill.soften(hand, 1), "/ 21    T = 2:", 7 * distill.soften(hand, 2), "/ 7")

# %% [markdown]
# **How far is the student from the teacher?** Let p be the teacher's softened probabilities, and q the
# student's, *at the same T*. The **Kullback–Leibler divergence** counts in each class the difference of the
# logarithms, weighted with the teacher's probability:
#
#     KL(p ‖ q) = Σ p[c] (log p[c] − log q[c])         nats; 0 only if p = q, else above 0
#
# For p = (4/7, 2/7, 1/7) and a student that knows nothing, q = (1/3, 1/3, 1/3): KL = 4/7 · ln(12/7) + 2/7 ·
# ln(6/7) + 1/7 · ln(3/7) = 0.308 − 0.044 − 0.121 = 0.143.
#
# ### Exercise 18.1 · predict, then compute
#
# One image, three classes, **T = 2**. The teacher's logits are (ln 25, ln 4, 0). The student's are (0, ln 4,
# 0). Write p, q, and KL(p ‖ q) (use a calculator for the logarithms). The package's functions are switched
# off while your answer is checked.


# %% exercise="18.1"
def predict():
    """The teacher's p and the student's q at T = 2, and KL(p ‖ q): by hand."""
    # BEGIN SOLUTION
    p = [5 / 8, 2 / 8, 1 / 8]
    q = [1 / 4, 2 / 4, 1 / 4]
    divergence = 5 / 8 * np.log(2.5) + 2 / 8 * np.log(0.5) + 1 / 8 * np.log(0.5)
    # INSTEAD
    p = [..., ..., ...]
    q = [..., ..., ...]
    divergence = ...
    # END SOLUTION
    return p, q, divergence


# %% check="18.1"
check("18.1")

# %% [markdown]
# ### Exercise 18.2 · soften
#
# Write the softmax with a temperature, for any number of rows at once. The formula overflows for large
# logits, such as 2,000. Cure: subtract the largest number of each row before exp. That changes no
# probability, because it divides numerator and denominator by the same number.


# %% exercise="18.2"
def soften(logits, temperature):
    """Turn logits into probabilities: p = exp(z / T) / Σ exp(z / T), over the last axis.

    Shapes: logits (..., C), an array -> p, same shape; each row sums to 1.
    """
    # BEGIN SOLUTION
    scaled = logits / float(temperature)
    p = np.exp(scaled - scaled.max(axis=-1, keepdims=True))  # the largest is now exp(0): no overflow
    return p / p.sum(axis=-1, keepdims=True)
    # INSTEAD
    ...
    # END SOLUTION


# %% check="18.2"
check("18.2")

# %% [markdown]
# Your function now looks at the teacher's answers to all validation images. How much doubt does a temperature
# show? We measure it by the **entropy** (lesson 16), here in bits. One of ten classes, all equally likely, is
# log₂ 10 = 3.32 bits. A label alone has 0 bits.

# %%
with yours("18.2"):
    for T in (1, 2, 4, 8, 16):
        p = distill.soften(answers, T)
        bits = -(p * np.log2(p)).sum(axis=1).mean()
        print(f"T = {T:2}: entropy {bits:.2f} bits, largest probability {p.max(axis=1).mean():.2f}")

# %% [markdown]
# ## 2 · The loss, and why T² stands in it
#
#     L = α · T² · KL(p ‖ q)  +  (1 − α) · cross_entropy(z, labels)
#         soft term: the teacher   hard term: the labels, at T = 1
#
# α (**alpha**) is the teacher's share. This is the slow loop that specifies it: over images, over classes.


# %%
def slow_loss(student, teacher, labels, temperature, alpha):
    """The distillation loss of a batch, one number after the other."""
    total = 0.0
    for z, v, label in zip(student, teacher, labels):  # student's and teacher's logits of one image
        p, q, q1 = np.exp(v / temperature), np.exp(z / temperature), np.exp(z)
        p, q, q1 = p / p.sum(), q / q.sum(), q1 / q1.sum()
        soft = sum(p[c] * (np.log(p[c]) - np.log(q[c])) for c in range(len(z)))
        total += alpha * temperature**2 * soft + (1 - alpha) * -np.log(q1[label])
    return total / len(student)


z, v, y = material.examples(0)
print("slow loop:", slow_loss(z, v, y, 4.0, 0.9))
print("package:  ", compress.distillation_loss(Tensor(z), v, y).item())

# %% [markdown]
# **The gradient.** Σ p log p does not depend on the student. What is left of KL is the cross-entropy −Σ p log
# softmax(z/T). You know its gradient with respect to z/T from lesson 3: q − p. The chain rule adds 1/T for
# z/T:
#
#     ∂KL/∂z[c] = (q[c] − p[c]) / T
#
# And q − p itself becomes small: for large T, exp(z/T) ≈ 1 + z/T, so q ≈ 1/C + (z − mean z)/(C·T) for C
# classes. Then q − p ≈ (z − v)/(C·T), if z and v have mean 0. Together:
#
#     ∂KL/∂z ≈ (z − v) / (C · T²)
#
# Two facts follow. First, the gradient falls as 1/T². The factor T² in the loss keeps it at its size, and so
# α means about the same at every T. Second, at high T the student simply learns to have the teacher's
# *logits*, by squared error: that is the method of Ba and Caruana. We measure, for a fresh student:


# %%
def student(seed):
    """28×28 pixels, made 14×14 by means of 2×2; 16 hidden units; 10 logits."""
    rng = np.random.default_rng(seed)
    return nn.Sequential(
        pool=nn.AvgPool2d(2), flatten=nn.Flatten(), fc1=nn.Linear(196, 16, rng=rng), relu=nn.ReLU(),
        fc2=nn.Linear(16, 10, rng=rng),
    )  # fmt: skip


fresh = logits_of(student(0), images).astype(np.float64)
temperatures = 2.0 ** np.arange(0, 8)
norms = {"∂KL/∂z": [], "T² · ∂KL/∂z": [], "(z − v)/C": []}
gap = (fresh - fresh.mean(axis=1, keepdims=True)) - (answers - answers.mean(axis=1, keepdims=True))
for T in temperatures:
    settings = {"temperature": T, "alpha": 1}
    g = len(labels) * material.gradient(compress.distillation_loss, fresh, answers, labels, **settings)
    assert np.allclose(g, T * (distill.soften(fresh, T) - distill.soften(answers, T)))  # T² · (q − p)/T
    for name, array in zip(norms, (g / T**2, g, gap / 10)):
        norms[name].append(np.linalg.norm(array, axis=1).mean())
figure, ax = plt.subplots(figsize=(6.5, 3.3), layout="constrained")
material.draw_norms(ax, temperatures, norms)
plt.show()
print("without T², from T = 64 to T = 128: divided by", round(norms["∂KL/∂z"][-2] / norms["∂KL/∂z"][-1], 2))

# %% [markdown]
# Red falls by the factor 4 for each doubling, once T is large against the logits. Green becomes constant
# there, and approaches the dotted line (z − v)/C. But at small T green is *not* constant: T² is right for
# high temperatures, and only roughly right below. That is why α must be chosen anew if T changes much.
#
# A gradient also has a direction. `hints.squared_distance` is Ba and Caruana's loss, ½ Σ (z − v)² for each
# image. We compare its gradient with that of T² · KL, and the two losses. Softmax does not see a number that
# is added to all logits of an image, so each row first gets mean 0.


# %%
def cosine_of(a, b):
    return (a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b)


z, v = (x - x.mean(axis=1, keepdims=True) for x in (fresh, answers))
squared = hints.squared_distance(Tensor(z), v).item()
print(f"½ Σ (z − v)², the mean over the images: {squared:.2f}\n\n   T   C · T² · KL   cosine of gradients")
for T in temperatures:
    kl = compress.distillation_loss(Tensor(z), v, labels, temperature=T, alpha=1).item()
    cosine = cosine_of(distill.soften(z, T) - distill.soften(v, T), z - v)
    print(f"{T:4.0f}   {10 * kl:11.2f}   {cosine:.4f}")

# %% [markdown]
# At T = 128 the two are nearly one loss. At T = 1 they are different things: there KL looks only at the
# classes that the teacher finds likely. So T is a dial, from "the likely classes count" to "each logit counts
# alike". Squared error of logits has no T to choose, and reads no label: `train.fit(student, data,
# objective=hints.mimics(teacher))`. (Very negative logits are mostly noise. A medium T ignores them.)
#
# ### Exercise 18.3 · the loss
#
# Write it with ops on tensors, so that autograd makes the gradient. `distill.soften` takes arrays (the
# teacher is a constant). For the student you need `ops.log_softmax(tensor)`. For log p take `ops.log_softmax`
# too: where p is so small that it is 0, its logarithm would be −∞.


# %% exercise="18.3"
def distillation_loss(student_logits, teacher_logits, target, *, temperature=4.0, alpha=0.9):
    """L = α T² · KL(p ‖ q) + (1 − α) · cross_entropy(z_student, labels), the mean over the batch.

    Shapes: student_logits (N, C), a tensor; teacher_logits (N, C), a tensor or an array; target (N,) labels.
    """
    z_teacher = Tensor(teacher_logits)  # cut off from its graph: the teacher does not learn
    # BEGIN SOLUTION
    p = Tensor(distill.soften(z_teacher.data, temperature))
    log_p = ops.log_softmax(z_teacher * (1 / temperature))
    log_q = ops.log_softmax(student_logits * (1 / temperature))
    soft = (p * (log_p - log_q)).sum() * (temperature**2 / len(student_logits))
    hard = cross_entropy(student_logits, target)
    # INSTEAD
    soft = ...  # T² · KL(p ‖ q), the mean over the N images
    hard = ...  # the labels' part
    # END SOLUTION
    return alpha * soft + (1 - alpha) * hard


# %% check="18.3"
check("18.3")

# %% [markdown]
# ## 3 · Does it help? Choose on validation data
#
# The teacher answers each training image once; `remembered` keeps the answers. Your loss now trains students.
# We give them **few images**: 100, 500, or all 3,500. For each number we choose T on *validation* data, at α
# = 0.5, from two seeds; for 100 images also α. A seed draws the images *and* the student's first weights.
# (With two seeds, a point more or less is luck. It is good enough for a choice.)

# %%
memory = remembered(teacher, digits.train.images)
EPOCHS = {100: 60, 500: 16, 3500: 4}  # so that each has 60 steps or more
STUDENTS = {"lr": 0.03, "batch_size": 100}


def alone(n, seed, **settings):
    """A student that has seen n of the training images; the seed draws them, and its first weights."""
    part = digits.train.sample(n, rng=seed)
    return tune(student(seed), part, epochs=EPOCHS[n], seed=seed, **STUDENTS, **settings)


def taught(n, seed, T, alpha):
    return alone(n, seed, objective=compress.taught_by(memory, temperature=T, alpha=alpha))


def validation(make, n, *settings):
    """Mean validation accuracy of two seeds, which are not those of the final comparison."""
    return np.mean([measure.evaluate(make(n, seed, *settings), digits.val).accuracy for seed in (10, 11)])


tried = {n: {} for n in EPOCHS}
with yours("18.3"):
    for n in EPOCHS:
        for T in (2, 4, 8):
            tried[n][T, 0.5] = validation(taught, n, T, 0.5)
    baseline = {n: validation(alone, n) for n in EPOCHS}
    best = {n: max(tried[n], key=tried[n].get) for n in EPOCHS}
    tried[100][best[100][0], 0.9] = validation(taught, 100, best[100][0], 0.9)
figure, ax = plt.subplots(figsize=(6.5, 3.2), layout="constrained")
for n, colour in zip(EPOCHS, ("C0", "C1", "C4")):
    line = [100 * tried[n][T, 0.5] for T in (2, 4, 8)]
    material.draw_temperatures(ax, {f"{n:,} images": line}, [colour], 100 * baseline[n], colour)
plt.show()
for (T, alpha), score in tried[100].items():
    print(f"100 images, T = {T}, α = {alpha}: validation {score:.1%}")
ALPHA = max((0.5, 0.9), key=lambda alpha: tried[100][best[100][0], alpha])
chosen = {n: (T, ALPHA) for n, (T, _) in best.items()}
print("chosen (T, α):", chosen)

# %% [markdown]
# Now the comparison, on test images, with five other seeds. It is **paired**: both students of a pair have
# the same images and the same first weights. So we look at the five *differences*. Their mean has a standard
# error s/√5; a difference is clear (95 %) if it is larger than 2.78 standard errors (the t distribution with
# 4 degrees of freedom).

# %%
SEEDS = range(5)
scores = {"labels only": {}, "taught": {}}
pairs = {}
for n in EPOCHS:
    made = [(alone(n, seed), taught(n, seed, *chosen[n])) for seed in SEEDS]
    for which, name in enumerate(scores):
        scores[name][n] = np.array([measure.evaluate(pair[which], digits.test).accuracy for pair in made])
    pairs[n] = made


def verdict(before, after, clear_from=2.78):
    """Say what the paired differences tell; clear_from is that of the t distribution."""
    d = after - before
    mean, error = d.mean(), d.std(ddof=1) / np.sqrt(len(d))
    clear = "no clear difference" if abs(mean) < clear_from * error else "helps" if mean > 0 else "hurts"
    return f"{100 * mean:+.1f} ± {100 * error:.1f} points: {clear}"


for n in EPOCHS:
    a, t = scores["labels only"][n], scores["taught"][n]
    texts = [f"{100 * x.mean():.1f} ± {100 * x.std(ddof=1):.1f} %" for x in (a, t)]
    print(f"{n:5,} images: labels only {texts[0]}, taught {texts[1]}; the teaching: {verdict(a, t)}")

# %% [markdown]
# (± after an accuracy is the deviation over the seeds.) With few images the teacher's answers are worth much:
# they carry what it learned from the 3,400 others. With all images there is no gain: the teacher has learned
# from the same labels. **Teaching is not free accuracy. It replaces missing data.**
#
# But a teacher can do what labels cannot: it answers to *any* image. So take all 3,500 images **without a
# single label**, and let the teacher answer (α = 1).

# %%
unlabelled = [taught(3500, seed, chosen[3500][0], 1.0) for seed in SEEDS]
scores["answers only"] = {3500: np.array([measure.evaluate(m, digits.test).accuracy for m in unlabelled])}
figure, ax = plt.subplots(figsize=(7.5, 3.4), layout="constrained")
material.draw_scores(ax, scores, EPOCHS, 100 * measure.evaluate(teacher, digits.test).accuracy)
plt.show()
print("3,500 answers and no label, against 3,500 labels:",
      verdict(scores["labels only"][3500], scores["answers only"][3500]))  # fmt: skip

# %% [markdown]
# Without a single label the blue student is about as good as one with 3,500 labels, and far better than one
# with 100. (Somebody labelled images for the *teacher*, of course.) Images without labels are cheap. This
# idea is older than soft targets: Buciluǎ, Caruana and Niculescu-Mizil, 2006.
#
# ## 4 · Dark knowledge: a digit that the student has never seen
#
# How much do the doubts tell? Hinton's test: remove **all 3s** from the student's images. It hears of "3"
# only in the small probabilities of other digits: "this 8 looks like a 3" (α = 1, no labels). Beside it, a
# student that learns from labels, also without 3s.

# %%
without_3 = digits.train.take(digits.train.labels != 3)
dark = compress.taught_by(memory, temperature=4, alpha=1.0)
blind = {
    "taught, no 3 seen": tune(student(0), without_3, epochs=6, lr=0.03, objective=dark),
    "labels only, no 3 seen": tune(student(0), without_3, epochs=6, lr=0.03),
}


def recalls(model, part, shifts):
    """Recall of the 3s and of all others, and accuracy, for each number added to the logit of class 3."""
    z, is_3, rows = logits_of(model, part.images), part.labels == 3, []
    for shift in shifts:
        hit = (z + shift * (np.arange(10) == 3)).argmax(axis=1) == part.labels
        rows.append((hit[is_3].mean(), hit[~is_3].mean(), hit.mean()))
    return np.array(rows)


figure, ax = plt.subplots(figsize=(6.5, 3.6), layout="constrained")
shifts = np.arange(0, 40.1, 0.25)
for (name, model), colour in zip(blind.items(), ("C2", "0.6")):
    chosen_shift = shifts[recalls(model, digits.val, shifts)[:, 2].argmax()]
    curve = recalls(model, digits.test, (0, chosen_shift, *shifts))
    material.draw_recalls(ax, 100 * curve, name, colour)
    for shift, (threes, others, _) in zip((0, chosen_shift), curve):
        print(f"{name}, {shift:4.2f} added to logit 3: recall of 3 {threes:.0%}, of the others {others:.1%}")
ax.legend(frameon=False, fontsize=9, loc="lower left")
plt.show()

# %% [markdown]
# The taught student recognises digits that it has *never seen*. Its bias for class 3 is too low (no training
# image was a 3), so we add a number to that logit, chosen on validation data. Then it finds most 3s, and
# loses little of the others. The student with labels gets 3s only if it gives up as many other digits. In
# Hinton's experiment, with larger nets and all of MNIST, the student found 98.6 % of the 3s. What hides in
# tiny probabilities is often called **dark knowledge**.
#
# ## 5 · Any function may be a teacher
#
# Nothing above needs the teacher's weights, only an answer for each image: ten probabilities. So a teacher
# may be a random forest, a table, a person, or a vote. Here it is a vote of the **five nearest neighbours**:
# of 500 labelled images, those five whose pixels are nearest. 4 votes of 5 for "7" make p = 0.8. Such a
# teacher has no logits. Its temperature works on p itself, since z = log p is as good as any logits:
#
#     p_T = p^(1/T) / Σ p^(1/T)        (0.64, 0.36, 0) at T = 2: √ gives (0.8, 0.6, 0), so (4/7, 3/7, 0)
#
# What has no vote stays 0 at every T. `teachers.taught_from(teacher, temperature=..., alpha=...)` is the
# objective for such teachers. `teachers.ensemble` is the mean of several.
#
# Now an honest case. You have **500 labels, and nobody to ask**: each teacher learns from the same 500. But
# you have 3,000 images without labels. `teachers.with_unlabelled` lets a teacher answer them, and puts these
# behind the 500. Three teachers: a *twin* (the same net, another start), the vote, and the mean of both.


# %%
def neighbours(few, k=5):
    """A teacher that only compares: the vote of the k nearest of the labelled images."""
    known, votes = few.images.reshape(len(few.labels), -1), np.eye(10)[few.labels]

    def predict_proba(rows):
        distance = (known**2).sum(axis=1) - 2 * rows @ known.T  # ‖row − known‖², less ‖row‖²: one for all
        return votes[np.argsort(distance, axis=1)[:, :k]].mean(axis=1)

    return teachers.predictor(predict_proba)


def right_share(teacher):
    p = teachers.answers(teacher, digits.test.images)
    return (p.argmax(axis=1) == digits.test.labels).mean()


own = {name: np.zeros(5) for name in ("twin", "vote", "vote and twin")}
theirs = {name: np.zeros(5) for name in own}
for seed in SEEDS:
    drawn = np.random.default_rng(seed).choice(3500, 500, replace=False)  # as `sample`: the images of `alone`
    few, rest = digits.train.take(drawn), np.delete(digits.train.images, drawn, axis=0)
    twin = tune(student(seed + 50), few, epochs=EPOCHS[500], seed=seed, **STUDENTS)
    vote = neighbours(few)
    for name, other in zip(own, (twin, vote, teachers.ensemble(vote, twin))):
        part = teachers.with_unlabelled(few, rest, other)
        taught_net = tune(student(seed), part, epochs=3, seed=seed, **STUDENTS)
        own[name][seed] = right_share(other)
        theirs[name][seed] = measure.evaluate(taught_net, digits.test).accuracy
figure, ax = plt.subplots(figsize=(7, 3.3), layout="constrained")
material.draw_own_and_taught(ax, own, theirs, scores["labels only"][500])
plt.show()
for name, x in theirs.items():
    print(f"student of {name:13}, against 500 labels only: {verdict(scores['labels only'][500], x)}")
print("the vote keeps", 500 * 784, "pixels; a student has", sum(p.size for p in twin.parameters()), "weights")

# %% [markdown]
# First, the vote's student is about as good as the vote, and keeps none of its 500 images: a thing that is no
# network was compressed into 3,322 weights. Second, **no student beats the one with 500 labels alone**
# (dotted). The mean of vote and twin is itself better, since the two make different mistakes; but its student
# does not show it. All three teachers know these 500 labels, and no more. And a confession: a first trial of
# this part, with other draws of 500 images, gave the mean's student +1.0 ± 0.3 points, "helps". Now that is
# gone. Even a paired test over five seeds is wrong at times: 1 in 20, if nothing helps at all. Repeat what
# surprises you.
#
# ## 6 · Not only answers: hints and attention
#
# A network also shows what is inside it. Two ways to teach that:
#
# - **Hints** (FitNets). The student's middle layer s has fewer channels than the teacher's t. A **regressor**
#   R, here a 1×1 convolution, guesses t from s: L = ½ ‖R(s) − t‖². First train the student's lower part and R
#   on this; then throw R away, and train the whole student. `hints.fit_hints` is the first stage.
# - **Attention.** Where in the image is a layer active? Sum the squares of all channels in each pixel: that
#   needs no regressor, since no channel is left. Scale the map to length 1, and compare:
#
#     Q[h, w] = Σ over channels |A[c, h, w]|^power      map = Q / ‖Q‖₂      loss = mean of (map_s − map_t)²
#
# By hand: 3 channels, 2 pixels. Channels in the first pixel (1, −1, 1), in the second (2, 0, 0). So Q = (3,
# 4), ‖Q‖₂ = 5, and the map is (0.6, 0.8).
#
# ### Exercise 18.6 · attention_map
#
# Write it on tensors, for a whole batch. A layer that is silent for an image has ‖Q‖₂ = 0: its map shall be
# 0, not NaN. (`ops.maximum(tensor, 1e-24) ** 0.5` is at least 10⁻¹².)


# %% exercise="18.6"
def attention_map(features, *, power=2):
    """Where in the image a layer is active: Q = Σ over channels |A|^power, divided by its length ‖Q‖₂.

    Shapes: features A (N, C, H, W), a tensor -> the maps (N, H·W), a tensor; a silent layer's map is 0.
    """
    # BEGIN SOLUTION
    energy = (abs(features) ** power).sum(axis=1).reshape(len(features), -1)
    length = ops.maximum((energy**2).sum(axis=1, keepdims=True), 1e-24) ** 0.5
    # INSTEAD
    energy = ...  # Q: one number for each pixel, (N, H·W)
    length = ...  # ‖Q‖₂: one number for each image, (N, 1), never 0
    # END SOLUTION
    return energy / length


# %% check="18.6"
check("18.6")

# %% [markdown]
# We try both with 100 images of 14×14 pixels. The student has two convolutions of 4 channels, the new teacher
# two of 8, and both look at 7×7 places. The settings (β = 100 for attention, T = 4) were chosen on
# validation images, with a teacher of 12 channels.


# %%
def shrunk(part):
    """Means of 2×2 pixels: 14×14 are left."""
    return data.Part(part.images.reshape(-1, 1, 14, 2, 14, 2).mean(axis=(3, 5)), part.labels)


def looking(filters, seed):
    rng = np.random.default_rng(seed)
    return nn.Sequential(
        conv1=nn.Conv2d(1, filters, 5, stride=2, padding=2, rng=rng), relu1=nn.ReLU(),
        conv2=nn.Conv2d(filters, filters, 3, padding=1, rng=rng), relu2=nn.ReLU(),
        flatten=nn.Flatten(), fc=nn.Linear(filters * 49, 10, rng=rng),
    )  # fmt: skip


small_train, small_test = shrunk(digits.train), shrunk(digits.test)
seer = tune(looking(8, 0), small_train, epochs=3, lr=5e-3)
seen_by_heart = remembered(seer, small_train.images)
places = {"relu1": "relu1", "relu2": "relu2"}  # the student's layer: the teacher's
OBJECTIVES = {
    "answers": compress.taught_by(seen_by_heart, temperature=4, alpha=0.5),
    "attention + labels": hints.attends(seer, places, beta=100, objective=train.classify),
}


def looker(seed, way):
    """A student of 100 images, taught in one of four ways."""
    model, few = looking(4, seed), small_train.sample(100, rng=seed)
    if way.startswith("hints"):
        hints.fit_hints(model, seer, (few, None), hint="relu2", guided="relu2", rng=seed, epochs=8,
                        seed=seed, progress=False)  # fmt: skip
    objective = OBJECTIVES.get(way, train.classify)
    return tune(model, few, epochs=25, lr=0.02, seed=seed, objective=objective)


WAYS = ("labels", "hints, then labels", "attention + labels", "answers")
with yours("18.6"):
    lookers = {way: [looker(seed, way) for seed in SEEDS] for way in WAYS}
found = {w: np.array([measure.evaluate(m, small_test).accuracy for m in ms]) for w, ms in lookers.items()}
figure, ax = plt.subplots(figsize=(8, 3.3), layout="constrained")
means = {way.replace(" + ", "\n+ ").replace(", ", ",\n"): 100 * x.mean() for way, x in found.items()}
material.draw_bars(ax, means, dict(zip(means, (100 * x.std(ddof=1) for x in found.values()))),
                   ["0.6", "C1", "C0", "C2"])  # fmt: skip
ax.set(ylabel="test accuracy, %\n(mean ± deviation, 5 seeds)")
plt.show()
for way in WAYS[1:]:
    print(f"{way:19} against labels: {verdict(found['labels'], found[way])}")

# %% [markdown]
# Where do they look? Below, `relu2` of the teacher, of a student with labels only, and of the student that
# was shown the teacher's attention.

# %%
nets = {"teacher": seer, **{way: lookers[way][0] for way in ("labels", "attention + labels")}}
chosen_images = small_test.images[[int(np.flatnonzero(small_test.labels == c)[0]) for c in (0, 3, 4, 7)]]
maps = {}
for name, model in nets.items():
    with measure.inference(model), measure.capture(model) as seen:
        model(Tensor(chosen_images))
    maps[name] = hints.attention_map(seen["relu2"].output).numpy().reshape(-1, 7, 7)
figure, axes = plt.subplots(4, 4, figsize=(6.8, 6.8), layout="constrained")
material.draw_attention(axes, chosen_images[:, 0], maps)
plt.show()
for name in list(nets)[1:]:
    away = np.linalg.norm(maps[name] - maps["teacher"], axis=(1, 2)).mean()
    print(f"{name:19} distance from the teacher's maps {away:.2f}")

# %% [markdown]
# The maps obey: the last column is nearer to the teacher's. But look at the accuracy. Beside the labels,
# hints and attention gain nothing clear (and hints had 8 more epochs); the *answers* alone gain much. The
# papers report gains for deep, thin students on harder images; ours has two convolutions. **A loss that falls
# is no proof that it helps.** Only the paired test says it.
#
# ## 7 · Nobody knows more: born-again and mutual learning
#
# Can a net teach its own size? **Born-again**: train a net, let it teach a new one of the same size, let that
# teach the next. **Deep mutual learning**: K students start together. In each step each learns from the
# labels, and from what the others say just then:
#
#     L_k = cross_entropy(z_k, labels) + 1/(K − 1) · Σ over l ≠ k of KL(p_l ‖ p_k)        p_l = softmax(z_l)
#
# The others' p_l are constants in L_k: student k must come to them, they do not come to k. (They have an L_l
# of their own for that.)
#
# ### Exercise 18.7 · mutual_losses
#
# `teachers.divergence(z, p)` is KL(p ‖ softmax(z)), a tensor, the mean over the batch. One line is missing.


# %% exercise="18.7"
def mutual_losses(logits, target):
    """The loss of each student in a cohort: the labels, and the mean divergence from the others.

    Shapes: logits, a list of K tensors (N, C); target (N,) -> a list of K numbers, as tensors.
    """
    p = [distill.soften(z.data, 1.0) for z in logits]  # arrays: no gradient flows to the others
    losses = []
    for k, z in enumerate(logits):
        # BEGIN SOLUTION
        others = [teachers.divergence(z, p[j]) for j in range(len(p)) if j != k]
        loss = cross_entropy(z, target) + sum(others[1:], others[0]) * (1 / len(others))
        # INSTEAD
        loss = ...  # cross_entropy + 1/(K − 1) · Σ over l ≠ k of KL(p_l ‖ p_k)
        # END SOLUTION
        losses.append(loss)
    return losses


# %% check="18.7"
check("18.7")

# %% [markdown]
# The comparison needs the right **control**. A cohort answers with the mean of its two students. Two students
# that never met have a mean, too! So we compare the cohort with *that*. Likewise, each generation is compared
# with the first. 500 images with labels, and nothing else.

# %%
settings = {"epochs": EPOCHS[500], "batch_size": 100, "schedule": train.cosine, "progress": False}
MUTUAL = ("one alone", "one of a cohort", "two alone, mean", "cohort of two, mean")
born, together = np.zeros((3, 5)), {name: np.zeros(5) for name in MUTUAL}
with yours("18.7"):
    for seed in SEEDS:
        first, few = pairs[500][seed][0], digits.train.sample(500, rng=seed)
        line = [first, *(student(seed + 100 * k) for k in (1, 2))]
        teachers.chain(first, line[1:], (few, None), temperature=2, alpha=0.5, seed=seed,
                       optimizer=lambda params: optim.Adam(params, lr=0.03), **settings)  # fmt: skip
        born[:, seed] = [measure.evaluate(model, digits.test).accuracy for model in line]
        second = tune(student(seed + 100), few, epochs=EPOCHS[500], seed=seed, **STUDENTS)
        cohort = teachers.Cohort(student(seed), student(seed + 100))
        tune(cohort, few, epochs=EPOCHS[500], seed=seed, objective=teachers.mutually, **STUDENTS)
        models_now = first, cohort.students[0], teachers.Cohort(first, second), cohort
        for name, model in zip(MUTUAL, models_now):
            together[name][seed] = measure.evaluate(model, digits.test).accuracy
figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.4), layout="constrained", sharey=True)
material.draw_each_seed(axes[0], {f"{g}": row for g, row in enumerate(born, 1)})
axes[0].set(
    xlabel="generation (1: labels only)", ylabel="test accuracy, %\n(a line for each seed; bar: mean)"
)
broken = [name.replace(", ", ",\n").replace(" of a", "\nof a") for name in MUTUAL]
material.draw_each_seed(axes[1], dict(zip(broken, together.values())))
plt.show()
for g in (2, 3):
    print(f"generation {g}, against 1: {verdict(born[0], born[g - 1])}")
print("one of a cohort, against one alone:", verdict(together["one alone"], together["one of a cohort"]))
for control in ("one alone", "two alone, mean"):
    print(f"cohort's mean, against {control}:", verdict(together[control], together["cohort of two, mean"]))

# %% [markdown]
# **Here teaching does not help.** Later generations are not better; they rather lose, since each copies the
# mistakes of the one before it. The cohort's mean beats one student, but only as any two students do: against
# two that never met, it rather loses (students that learn from each other make the same mistakes). The papers
# found gains in large nets that overfit. Ours has 3,322 weights, and no doubts to spare. Without the control,
# the cohort would have looked like a success.
#
# ## 8 · After pruning or rounding: the net is its own teacher
#
# A compressed net is fine-tuned, to repair it, often with only a few images. The teacher is there for
# nothing: **the net itself, before it was compressed**. We take the student of 3,500 answers, remove 85 % of
# its weights (lesson 9), or round them to 2 bits (lesson 14), and fine-tune with 100 images: with their
# labels, or with the dense net's answers, α = 1: *no label at all*. T is chosen on validation images.

# %%
dense = unlabelled[0]
dense_answers = remembered(dense, digits.train.images)
LOSSES = {"labels": train.classify}
LOSSES |= {T: compress.taught_by(dense_answers, temperature=T, alpha=1) for T in (1, 4)}


def repaired(kind, seed, loss, part):
    """Accuracy of the dense net after compression, fine-tuned with 100 images; loss=None: not at all."""
    model, few, callbacks = copy.deepcopy(dense), digits.train.sample(100, rng=seed), ()
    if kind == "85 % pruned":
        compress.prune(model, 0.85)
    else:
        callbacks = (qat.prepare_qat(model, few, weight_bits=2, activation_bits=None),)
    if loss is not None:
        tune(model, few, epochs=16, lr=0.01, seed=seed, objective=LOSSES[loss], callbacks=callbacks)
    return measure.evaluate(model, part).accuracy


figure, axes = plt.subplots(1, 2, figsize=(8.5, 3.3), layout="constrained", sharey=True)
for ax, kind in zip(axes, ("85 % pruned", "2 bits")):
    T = max((1, 4), key=lambda T: sum(repaired(kind, seed, T, digits.val) for seed in (10, 11)))
    rows = {w: np.array([repaired(kind, s, w, digits.test) for s in SEEDS]) for w in (None, "labels", T)}
    columns = [np.full(5, measure.evaluate(dense, digits.test).accuracy), *rows.values()]
    names = ["dense", "not\nfine-tuned", "100 labels", f"100 answers\nT = {T}"]
    means, errors = ({n: 100 * f(x) for n, x in zip(names, columns)} for f in (np.mean, np.std))
    material.draw_bars(ax, means, errors, ["0.8", "0.6", "C0", "C2"])
    ax.set(title=kind)
    print(f"{kind}: answers at T = {T} against labels: {verdict(rows['labels'], rows[T])}")
axes[0].set_ylabel("test accuracy, %\n(mean ± deviation, 5 seeds)")
plt.show()

# %% [markdown]
# Most of the repair comes from fine-tuning, with whatever loss. The answers are no worse than the labels, for
# the pruned net even better, and they needed none: you can repair a net with images that nobody labelled.
# Choose T anew each time: here each way to compress has its own.
#
# ## 9 · The files
#
# What counts is the file, and the accuracy after it was loaded again. Some of the students from above:


# %%
def stored(model):
    """Save a model: the size of the file in bytes, and the test quality of what is loaded from it."""
    path = os.path.join(folder.name, "model")
    tinyopt.save(model, path)
    return os.path.getsize(path), measure.evaluate(tinyopt.load(path), digits.test)


saved = {"teacher": teacher, "3,500 answers": unlabelled[0]}
saved |= dict(zip(("100 images, labels only", "100 images, taught"), pairs[100][0]))
files = {name: stored(model) for name, model in saved.items()}
for name, (n_bytes, q) in files.items():
    print(f"{name:23} {n_bytes:9,} bytes   test {q.accuracy:.1%} ± {q.standard_error:.1%}")
print("the last against the third:", measure.compare(*(q for _, q in list(files.values())[2:])))

# %% [markdown]
# ## 10 · Transfer: keep a part of the network itself
#
# Distillation passes on *answers*, **transfer** *layers*. Train a network on the digits 0–4. Cut off its last
# layer, the **head**. What is left, the **trunk**, turns an image into features. Put a new head on it, for
# the digits 5–9, of which we have 10 images each. Which of the old layers shall stay **frozen**, and which
# shall be trained again?
#
# Freezing needs no new machinery. A parameter with `requires_grad = False` gets no gradient, and no optimizer
# moves it. A frozen trunk also saves time: the backward pass ends where nothing before it is trained.
#
# ### Exercise 18.4 · freeze
#
# `model.named_parameters()` yields pairs such as ("conv1.weight", parameter). A name in `but` may be a layer,
# "fc1", or a parameter, "fc1.bias". A function that is called again must also *unfreeze*.


# %% exercise="18.4"
def freeze(model, *, but=()):
    """Train only the layers and parameters named in `but`; freeze all others.

    requires_grad = the parameter is one of `but`, or lies in a layer of `but`.
    Returns the number of weights that are still trained.
    """
    # BEGIN SOLUTION
    trained = 0
    for name, parameter in model.named_parameters():
        parameter.requires_grad = any(name == part or name.startswith(part + ".") for part in but)
        trained += parameter.data.size * parameter.requires_grad
    return trained
    # INSTEAD
    ...
    # END SOLUTION


# %% check="18.4"
check("18.4")


# %%
def digits_of(part, low, high):
    """The digits low ... high − 1 of a part, labelled from 0."""
    chosen = part.take((part.labels >= low) & (part.labels < high))
    return data.Part(chosen.images, chosen.labels - low)


def small(seed):
    return models.lenet5(filters=(6, 12), units=60, n_classes=5, rng=seed)


trunk = tune(small(0), digits_of(digits.train, 0, 5), epochs=3, lr=3e-3)
print(f"on the digits 0-4: validation {measure.evaluate(trunk, digits_of(digits.val, 0, 5)).accuracy:.1%}")
TRAINED = {  # what is trained, for the digits 5-9
    "only\nthe head": ("fc2",),
    "head and fc1": ("fc1", "fc2"),
    "all layers": ("conv1", "conv2", "fc1", "fc2"),
}
SCRATCH = "from scratch\n(no transfer)"
TRAINED[SCRATCH] = TRAINED["all layers"]
new, new_test = digits_of(digits.train, 5, 10), digits_of(digits.test, 5, 10)


def few_new(seed):
    """10 images of each of the digits 5-9."""
    rng = np.random.default_rng(seed)
    rows = [rng.choice(np.flatnonzero(new.labels == c), 10, replace=False) for c in range(5)]
    return new.take(np.concatenate(rows))


def learned(name, seed):
    """Test accuracy on 5-9, in percent, of a network that trains the layers TRAINED[name]."""
    model = small(seed + 20) if name == SCRATCH else distill.transfer(trunk, n_classes=5, rng=seed)
    counts[name] = distill.freeze(model, but=TRAINED[name])  # a head alone can take larger steps:
    tune(model, few_new(seed), epochs=16, lr=2e-2 if TRAINED[name] == ("fc2",) else 5e-3, seed=seed)
    return 100 * measure.evaluate(model, new_test).accuracy


counts = {}
with yours("18.4"):
    results = {name: np.array([learned(name, seed) for seed in range(4)]) for name in TRAINED}
figure, ax = plt.subplots(figsize=(7.5, 3.3), layout="constrained")
means = {name: np.mean(x) for name, x in results.items()}
errors = {name: np.std(x, ddof=1) for name, x in results.items()}
material.draw_bars(ax, means, errors, ["C0"] * 3 + ["0.6"])
ax.set(ylabel="test accuracy on 5-9, %\n(mean ± deviation, 4 seeds)", xlabel="which layers are trained")
plt.show()
for name in list(TRAINED)[:3]:
    change = verdict(results[SCRATCH] / 100, results[name] / 100, clear_from=3.18)
    print(f"{' '.join(name.split()):14} {counts[name]:6,} weights trained; against scratch {change}")

# %% [markdown]
# A surprise for many: "freeze all but the head", the usual recipe, is by far the *worst* way here. The last
# hidden layer has learned what tells 0–4 apart, which is little help for 5–9. Strokes and edges are in all
# digits, so the convolutions can stay frozen. Yosinski and others measured this on ImageNet: first layers are
# *general*, last layers *specific*. And nothing here is better than training from scratch: a small trunk,
# trained on 1,750 digits, has little to give. Do not copy a recipe: measure.
#
# ## Wrong ways
#
# ### Wrong way 1: pasting weights, and calling it distillation
#
# "The knowledge is in the weights, so copy weights." We take a tiny LeNet of 3,146 weights with the teacher's
# layers, but fewer filters. (a) Paste the upper left corner of each of the teacher's arrays into it. (b)
# Paste the tiny net's weights into the teacher's corner, and report "the distilled network's" accuracy. (c)
# As (b), but with a tiny net that has *never been trained*. (d) Distillation.

# %%
tiny = models.lenet5(filters=(4, 8), units=16, rng=0)
objective = compress.taught_by(memory, temperature=2, alpha=0.9)
distilled = tune(copy.deepcopy(tiny), digits.train, epochs=2, lr=1e-2, objective=objective)


def pasted(into, source):
    """A copy of `into` that has, in the corner that both arrays share, the numbers of `source`."""
    model = copy.deepcopy(into)
    for name, weights in model.named_parameters():
        array, other = weights.data.copy(), source.get(name).data
        corner = tuple(slice(0, min(pair)) for pair in zip(array.shape, other.shape))
        array[corner] = other[corner]
        weights.data = array
    return model


nets = {
    "teacher": teacher,
    "(a) teacher's\ncorner in student": pasted(tiny, teacher),
    "(b) student\nin teacher": pasted(teacher, distilled),
    "(c) untrained\nin teacher": pasted(teacher, tiny),
    "(d) distilled": distilled,
}
heights, errors = {}, {}
for name, model in nets.items():
    n_bytes, quality = stored(model)
    key = f"{name}\n{n_bytes / 1000:,.0f} kB"
    heights[key], errors[key] = 100 * quality.accuracy, 100 * quality.standard_error
figure, ax = plt.subplots(figsize=(8.5, 3.4), layout="constrained")
material.draw_bars(ax, heights, errors, ["0.6", "C3", "C3", "C3", "C2"])
ax.set(ylabel="test accuracy, %\n(± standard error)")
plt.show()

# %% [markdown]
# (b) looks like a success. But (c), where the pasted weights know nothing, is *better*! The teacher's other
# 428,000 weights do the work, and what is pasted only damages them. The file has not shrunk by a byte. And
# (a) fails: the units of a network work together. Distillation copies what a network *does*, not its numbers.
# A control such as (c), which cannot work, is the best protection against such reports.
#
# ### Wrong way 2: T² forgotten
#
# The students of part 3, with 100 images and α = 0.5, with and without the factor T².


# %%
def without_T2(teacher, T, alpha):
    """An objective with the factor T² left out."""

    def objective(model, images, labels):
        z = model(images)
        soft = compress.distillation_loss(z, teacher(images), labels, temperature=T, alpha=1.0) * (1 / T**2)
        return alpha * soft + (1 - alpha) * cross_entropy(z, labels), z

    return objective


def forgetful(n, seed, T):
    return alone(n, seed, objective=without_T2(memory, T, 0.5))


forgotten = [100 * validation(forgetful, 100, T) for T in (2, 4, 8)]
figure, ax = plt.subplots(figsize=(6.5, 3), layout="constrained")
with_T2 = [100 * tried[100][T, 0.5] for T in (2, 4, 8)]
lines = {"with T²": with_T2, "without T²": forgotten}
material.draw_temperatures(ax, lines, ("C2", "C3"), 100 * baseline[100], "k")
plt.show()

# %% [markdown]
# Nothing breaks; no error is raised. The teacher only becomes quiet as T rises, and people conclude that "a
# high temperature does not help". (Two seeds, as in part 3: read the trend, not the single points.)
#
# ### Exercise 18.5 · explain this failure
#
# A friend trains with **T = 3** and **α = 0.5**, and has forgotten T²: L = 0.5 · KL + 0.5 · cross-entropy.
# The friend writes in the report "teacher and labels had equal shares". In truth the loss is, up to a
# constant factor (which only changes the learning rate), the right loss with another α. **Which α?**


# %% exercise="18.5"
def witness():
    """The α for which α T² : (1 − α) is the ratio of the friend's two terms."""
    # BEGIN SOLUTION
    alpha = 0.5 / (0.5 + 3**2 * 0.5)  # α · 9 : (1 − α) = 0.5 : 0.5
    # INSTEAD
    alpha = ...
    # END SOLUTION
    return alpha


# %% check="18.5"
check("18.5")

# %% [markdown]
# ### Wrong way 3: only one of the two is softened
#
# T belongs to *both*: p from z_teacher/T and q from z_student/T. Afterwards the student is used at T = 1. We
# forget it once for the student and once for the teacher (T = 4, α = 1, all images). The mean of the largest
# probability says how sure a student is; it should be near the accuracy.


# %%
def half_softened(T_teacher, T_student):
    def objective(model, images, labels):
        z = model(images)
        p = Tensor(distill.soften(memory(images), T_teacher))
        return cross_entropy(z * (1 / T_student), p) * T_student**2, z

    return objective


figure, axes = plt.subplots(1, 3, figsize=(9, 2.9), layout="constrained", sharey=True)
cases = {"both softened": (4, 4), "only the teacher": (4, 1), "only the student": (1, 4)}
for ax, (name, pair), colour in zip(axes, cases.items(), ("C2", "C3", "C3")):
    model = tune(student(0), digits.train, epochs=2, lr=0.03, objective=half_softened(*pair))
    quality = measure.evaluate(model, digits.test)
    largest = distill.soften(logits_of(model, digits.test.images), 1).max(axis=1)
    ax.hist(largest, bins=20, range=(0, 1), color=colour)
    ax.set(title=f"{name}\naccuracy {quality.accuracy:.1%}, loss {quality.loss:.2f}")
    ax.set_xlabel(f"largest probability (mean {largest.mean():.2f})")
axes[0].set_ylabel("test images")
plt.show()

# %% [markdown]
# The *accuracy* does not show the mistake; the probabilities do. If only the teacher is softened, the
# student's logits become T times too small: it is unsure. If only the student is softened, they become too
# large: it is sure also where it is wrong. Look at the loss, not only at the accuracy.
#
# ### Wrong way 4: four ways to write KL
#
# PyTorch's `kl_div(input, target)` computes `target * (log(target) − input)`: it wants **log**-probabilities
# first, and the *student's* first. Its default, `reduction="mean"`, divides by N·C, not by N. Here are the
# usual slips, at T = 4, for the fresh student and 500 images:

# %%
p, q = distill.soften(answers, 4), distill.soften(fresh, 4)
table = {
    "right: kl_div(log q, p).sum() / N": (p * (np.log(p) - np.log(q))).sum() / 500,
    'reduction="mean": divided by N·C': (p * (np.log(p) - np.log(q))).mean(),
    "probabilities for logs: kl_div(q, p)": (p * (np.log(p) - q)).sum() / 500,
    "wrong direction: kl_div(log p, q)": (q * (np.log(q) - np.log(p))).sum() / 500,
}
for name, value in table.items():
    print(f"{name:38} {value:10.4f}")

# %% [markdown]
# Only the first is KL(p ‖ q). A *negative* value is a sign of a mistake, since KL is never below 0. The
# second is worse, because it looks healthy: the teacher's share is ten times too small. The direction matters
# as well: KL(q ‖ p) forgives a student that ignores a class which the teacher finds possible.
#
# ### Wrong way 5: the teacher in training mode
#
# A teacher with dropout must answer in eval mode. We put dropout before our teacher's last layer, and ask it
# twice, in both modes. And its graph must be cut: else `backward` also computes gradients for the teacher,
# and an optimizer that holds both would teach the *teacher* to please the student.

# %%
noisy_head = nn.Sequential(nn.Dropout(0.5, rng=0), teacher.get("fc2"))
noisy = nn.Sequential(**{**teacher.layers, "fc2": noisy_head})
for mode in (True, False):
    noisy.train(mode)
    first, second = (noisy(Tensor(images[:100])).numpy() for _ in range(2))
    gap = abs(distill.soften(first, 4) - distill.soften(second, 4)).sum(axis=1).mean() / 2
    print(f"{'training' if mode else 'eval'} mode: two answers to one image differ by {gap:.1%}")

z_teacher, net = Tensor(answers.astype(np.float32), requires_grad=True), student(0)
log_q, log_p = (ops.log_softmax(z * 0.25) for z in (net(images), z_teacher))
(log_p.exp() * (log_p - log_q)).sum().backward()  # the teacher is not cut off here
print("largest gradient that reaches an uncut teacher:", abs(z_teacher.grad).max().round(3))

# %% [markdown]
# `taught_by` does both for you: it calls `teacher.eval()`, and asks inside `no_grad()`.
#
# ### Wrong way 6: softmax twice, and a temperature at test time
#
# All losses here want **logits**. A model that ends in a softmax, or a teacher's probabilities given as
# logits, pass without an error: softmax is then taken twice. And some leave T in when the student is *used*.


# %%
def twice(model, images, labels):
    q, p = ops.softmax(model(images)), distill.soften(memory(images), 1)  # probabilities, given as logits
    return compress.distillation_loss(q, p, labels, temperature=4, alpha=0.5), q


honest = pairs[500][0][1]
doubled = alone(500, 0, objective=twice)
cases = {"right": (honest, 1), "used at T = 4": (honest, 4), "trained with softmax twice": (doubled, 1)}
n_test = np.arange(len(digits.test.labels))
print(" " * 27, "accuracy   largest probability   loss of the labels")
for name, (model, T) in cases.items():
    p = distill.soften(logits_of(model, digits.test.images), T)
    loss, hit = -np.log(p[n_test, digits.test.labels] + 1e-30).mean(), p.argmax(axis=1) == digits.test.labels
    print(f"{name:27} {hit.mean():8.1%} {p.max(axis=1).mean():16.2f} {loss:20.2f}")
p = distill.soften(distill.soften(answers, 1), 1)
print(f"softmax of a softmax: at most {p.max():.3f}; e/(e + 9) = {np.e / (np.e + 9):.3f}")

# %% [markdown]
# Softmax of probabilities, of ten classes: the best that can come out is e/(e + 9) = 0.232. The loss can
# never become small, so the net drives its logits to extremes: look at its loss on test images. T at test
# time changes no prediction, and so no accuracy; but all probabilities are wrong, as the loss shows.
#
# ### Wrong way 7: one seed, and T chosen on test images
#
# With 3,500 images the teaching gave no clear difference. Could one still publish a gain? One student with
# labels, one taught, *a seed each*: the students of part 3 make 25 such comparisons.

# %%
a, t = (100 * scores[name][3500] for name in ("labels only", "taught"))
gaps = np.sort((t[:, np.newaxis] - a).reshape(-1))
figure, ax = plt.subplots(figsize=(7, 2.9), layout="constrained")
material.draw_gaps(ax, gaps, (t - a).mean())
plt.show()
print(f"{(gaps > 0).sum()} of 25 say 'it helps', up to {gaps[-1]:+.1f} points;", end=" ")
print(f"{(gaps < 0).sum()} say 'it hurts', {gaps[0]:+.1f} at most")
print(f"the best of five students with labels is {a.max() - a.mean():+.1f} points above their mean")
folder.cleanup()

# %% [markdown]
# Each bar could stand in a report, and none is a lie. The last line is the other half of it: the best of five
# *equal* settings looks like a gain. Whoever tries five temperatures on test images, and reports the best,
# reports such a maximum. Choose on validation images, test once, with several seeds, in pairs.
#
# This lesson is not free of it. To keep it short, the epochs of parts 3, 6 and 7 were cut by people who saw the
# test results of several lengths. With other lengths, the gains for 500 images, of the answers in part 6, and
# of the cohort over one student had the same sign, but were not always clear. So believe these signs more than
# the sizes, and try other lengths: change the epochs and run the cell again.
#
# ## In PyTorch
#
# ```python
# p = F.softmax(z_teacher / T, dim=1)  # z_teacher: computed under torch.no_grad()
# soft = F.kl_div(F.log_softmax(z / T, dim=1), p, reduction="batchmean") * T**2
# loss = alpha * soft + (1 - alpha) * F.cross_entropy(z, labels)
# attention = F.normalize(features.pow(2).mean(1).flatten(1))  # a map of length 1 for each image
# net.requires_grad_(False); net.fc = nn.Linear(net.fc.in_features, 5)  # transfer: frozen, with a new head
# ```
#
# `F` is `torch.nn.functional`, `nn` is `torch.nn`. With PyTorch 2.13, on the same logits, it gave our loss to
# four digits.
#
# ## Questions
#
# 1. T → ∞ with the factor T²: which loss is it?
# 2. The teacher has learned its training images nearly by heart. Why may its answers to these be worth less
#    than its answers to fresh images?
# 3. The student that never saw a 3 needed a shift of its bias. Why was its bias too low?
# 4. The head on a frozen trunk is a linear model of fixed features. What can you compute once, and reuse in
#    every epoch?
# 5. You compare 20 settings of (T, α) on the test images and report the best. What is wrong?
# 6. Five neighbours vote: 4 for "7", 1 for "1". What does T = 2 make of it, and of the classes without a
#    vote?
# 7. A twin of the same size, trained on the same labels, teaches nothing. Why can a k-nearest-neighbour vote
#    that is *worse* than the student still improve an ensemble?
#
# BEGIN SOLUTION
# **Answers.**
#
# 1. Squared error of the logits, each with its mean taken off: T² · ∂KL/∂z → (z − v)/C.
# 2. There it is too sure, and shows fewer doubts. Data without labels, which it has never seen, show more.
# 3. In every training image the teacher's probability of "3" is below that of the right class. On average
#    class 3 is rare, and the bias of a rare class is low.
# 4. The features: one pass through the trunk for each image. Then only the head is trained.
# 5. The best of 20 is partly luck, and the test images have chosen. Choose on validation images; use the test
#    images once.
# 6. √0.8 : √0.2 = 2 : 1, so 2/3 and 1/3. What has no vote keeps p = 0 at every T.
# 7. It makes *other* mistakes. A mean cancels mistakes that are not shared; the twin mostly shares them.
# END SOLUTION
#
# ## Sources
#
# - G. Hinton, O. Vinyals and J. Dean (2015), "Distilling the Knowledge in a Neural Network",
#   arXiv:1503.02531. Section 2: temperature, both terms, T²; Section 2.1: logits as the limit; Section 3: the
#   digit 3 that was never seen.
# - J. Ba and R. Caruana (2014), "Do Deep Nets Really Need to be Deep?", *Advances in Neural Information
#   Processing Systems* 27, 2654–2662; arXiv:1312.6184. A shallow net learns the logits of deep ones.
# - C. Buciluǎ, R. Caruana and A. Niculescu-Mizil (2006), "Model Compression", KDD 2006. An ensemble labels
#   data for one small net.
# - A. Romero and others (2015), "FitNets: Hints for Thin Deep Nets", ICLR 2015; arXiv:1412.6550. Section 2.2:
#   the hint, and the regressor.
# - S. Zagoruyko and N. Komodakis (2017), "Paying More Attention to Attention", ICLR 2017; arXiv:1612.03928.
#   Section 3.1: maps of activations, and the loss.
# - T. Furlanello and others (2018), "Born Again Neural Networks", ICML 2018; arXiv:1805.04770.
# - Y. Zhang, T. Xiang, T. M. Hospedales and H. Lu (2018), "Deep Mutual Learning", CVPR 2018;
#   arXiv:1706.00384.
# - J. Yosinski, J. Clune, Y. Bengio and H. Lipson (2014), "How transferable are features in deep neural
#   networks?", *Advances in Neural Information Processing Systems* 27, 3320–3328; arXiv:1411.1792.
#
# **Read on in the source:** `tinyopt/compress/distill.py` (soft targets and transfer, in one page),
# `tinyopt/compress/teachers.py` (any function as a teacher), `tinyopt/compress/hints.py` (layers as
# teachers), `tinyopt/train.py` (what an objective is), `tinyopt/report/tour.py` (`remembered`, and `distill`
# in use).

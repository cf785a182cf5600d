"""Schedules: when to prune how much while a model trains. A schedule is a dictionary {step: sparsity}.

Start with these three, which return one: `one_shot`, `iterative`, `cubic`. `PruneAt` is the callback of
`train.fit` that carries it out:

    train.fit(model, digits, callbacks=[PruneAt(iterative(0.9, begin=100, every=50, rounds=4))])

In between, training repairs what pruning did. A mask stays through every step, and no schedule goes back: what is
pruned stays pruned. (RigL, where weights leave and return, is in `dynamic.py`.)
"""

from tinyopt.compress.prune import cubic_sparsity, prune


def one_shot(sparsity, at):
    """All at once, after step `at`; what comes before trains the dense model, what comes after repairs.

        {at: sparsity}

    Units:  sparsity, fraction *removed*; `at` in steps, 0 prunes before the first.
    Source: Han, Pool, Tran & Dally (2015), "Learning both Weights and Connections for Efficient Neural
            Networks", arXiv:1506.02626, Section 3 (train, prune, train again).
    """
    return {at: sparsity}


def iterative(sparsity, begin, every, rounds):
    """The same share of what is left, again and again, with training in between.

        s(r) = 1 − (1 − s)^(r / R)        after step begin + (r − 1) · every, for r = 1 ... R

    Four rounds to 90 % leave 56 %, 32 %, 18 %, 10 %: each keeps 0.1^(1/4) of the round before.

    Units:  sparsity, fraction *removed* after the last round; begin and every in steps.
    Raises: ValueError if rounds or every is below 1.
    Source: Han et al. (2015), arXiv:1506.02626, Section 3.3 (iterative pruning); the equal shares are those
            of Frankle & Carbin (2019), "The Lottery Ticket Hypothesis", arXiv:1803.03635, Section 2.
    """
    if rounds < 1 or every < 1:
        raise ValueError(f"rounds, and the steps `every` between them, are 1 or more; got {rounds} and {every}")
    plan = {begin + (r - 1) * every: 1 - (1 - sparsity) ** (r / rounds) for r in range(1, rounds)}
    return {**plan, begin + (rounds - 1) * every: sparsity}  # the last is exact


def cubic(sparsity, begin, end, every=10, *, initial=0.0):
    """Much at first, while weights are plenty, and little at the end; see `prune.cubic_sparsity` for the formula.

    Units:  sparsity and initial, fraction *removed*; begin, end and every in steps; `end` is always one of them.
    Raises: ValueError unless begin < end and every is 1 or more.
    Source: Zhu & Gupta (2017), "To prune, or not to prune: exploring the efficacy of pruning for model
            compression", arXiv:1710.01878.
    """
    if every < 1:
        raise ValueError(f"every is a number of steps, 1 or more; got {every}")
    steps = sorted({*range(begin, end, every), end})
    return {step: cubic_sparsity(step, begin, end, initial, sparsity) for step in steps}


class PruneAt:
    """A callback of `train.fit`: prune after the steps of a schedule, as far as it says.

    `how(model, sparsity)` does it: `prune` ranks all weights together, unless given. Another one:

        PruneAt(one_shot(0.5, at=200), lambda model, s: prune_blocks(model, (4, 4), s, skip="fc3"))

    It needs no state of its own: the masks are part of the model, and a run that is resumed goes on with the
    steps that are left.

    Shapes: plan, {step: sparsity}.
    Units:  sparsity, fraction *removed*, in [0, 1) and never falling; steps of the optimizer, 0 is before the first.
    Raises: ValueError for another plan, or one that the run is too short for.
    """

    def __init__(self, plan, how=prune):
        self.plan, self.how = dict(sorted(plan.items())), how
        shares = list(self.plan.values())
        if not shares or any(step < 0 or int(step) != step for step in self.plan):
            raise ValueError(f"a schedule says how much is pruned after which steps, {{step: sparsity}}; got {plan}")
        wrong = [share for share in shares if not 0 <= share < 1]
        if wrong:
            raise ValueError(f"sparsity is removed/all, in [0, 1): 90 % is 0.9; this schedule has {wrong[0]}")
        if shares != sorted(shares):
            raise ValueError(f"a schedule never goes back: masks that regrow are no pruning; got {self.plan}")

    def before_fit(self, run):
        if max(self.plan) > run.n_steps:
            raise ValueError(
                f"the schedule ends after step {max(self.plan)}, the run after {run.n_steps}: it would stop half way. "
                "Train for more epochs, or begin earlier"
            )
        if run.step == 0:
            self.after_step(run)

    def after_step(self, run):
        if run.step in self.plan:
            self.how(run.model, self.plan[run.step])

"""Lottery tickets: back at step k to the bit, the same run from there on, and a control that differs."""

import numpy as np
import pytest

from tinyopt import data, measure, models, nn, optim, train
from tinyopt.compress.lottery import KeepStep, Ticket, find_ticket
from tinyopt.errors import ShapeError

DIGITS = data.digits()
PART = (DIGITS.train.take(slice(0, 256)), None)  # 4 steps of 64 an epoch


def net(seed=0):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 20, rng=seed), nn.ReLU(), nn.Linear(20, 10, rng=seed + 50))


def train_it(model, callbacks, watch=(), epochs=3):
    optimizer = optim.SGD(model.parameters(), lr=0.2, momentum=0.9, weight_decay=1e-3)
    settings = {"optimizer": optimizer, "schedule": train.cosine, "progress": False}
    return train.fit(model, PART, epochs=epochs, callbacks=[*callbacks, *watch], **settings)


class Watch:
    """What the network reads and which images it sees, at each step; `start` before the first."""

    def __init__(self):
        self.steps = {}

    def before_fit(self, run):
        self.start = run.step, {name: p.read().data for name, p in run.model.named_parameters()}

    def after_step(self, run):
        weights = {name: p.read().data for name, p in run.model.named_parameters()}
        self.steps[run.step] = weights, run.images.data, run.optimizer.lr


def same(a, b):
    return all(np.array_equal(a[name], b[name]) for name in b)


@pytest.mark.parametrize("step", [0, 1, 4, 6])
def test_a_ticket_starts_with_the_bits_of_step_k_and_goes_on_with_its_batches_and_learning_rates(step):
    model, first, second = net(), Watch(), Watch()
    start = {name: p.data for name, p in model.named_parameters()}
    ticket = find_ticket(model, lambda model, callbacks: train_it(model, callbacks, [first]), 0.8, step=step)
    at_k = first.steps[step][0] if step else start
    train_it(model, [ticket], [second])
    k, weights = second.start
    assert ticket.step == k == step and list(second.steps) == list(range(step + 1, 13))
    for name, weight in weights.items():
        keep = ticket.masks.get(name, np.ones_like(weight, dtype=bool))
        assert np.array_equal(weight[keep], at_k[name][keep]) and (weight[~keep] == 0).all()
    for i, (_, images, lr) in second.steps.items():
        assert np.array_equal(images, first.steps[i][1]) and lr == first.steps[i][2]
    removed = sum(int((~mask).sum()) for mask in ticket.masks.values())
    assert removed == int(0.8 * 1480)
    for name, mask in ticket.masks.items():
        assert (model.get(name).read().data[~mask] == 0).all()


def test_the_mask_is_that_of_the_smallest_weights_at_the_end():
    model, watch = net(), Watch()
    ticket = find_ticket(model, lambda model, callbacks: train_it(model, callbacks, [watch]), 0.8, step=2)
    ended = {name: abs(watch.steps[12][0][name]) for name in ticket.masks}
    threshold = np.sort(np.concatenate([a.ravel() for a in ended.values()]))[int(0.8 * 1480)]
    assert all(np.array_equal(mask, ended[name] >= threshold) for name, mask in ticket.masks.items())


@pytest.mark.parametrize("step", [0, 3, 4])
def test_with_a_mask_of_ones_the_run_from_step_k_ends_with_the_same_bits(step):
    model, keeper = net(), KeepStep(step)
    history = train_it(model, [keeper])
    ended = {name: p.data for name, p in model.named_parameters()}
    ones = {name: np.ones(p.shape, bool) for name, p in model.named_parameters()}
    ticket = Ticket(keeper.state, ones)
    again = train_it(other := net(7), [ticket])
    assert same({name: p.data for name, p in other.named_parameters()}, ended)
    losses = [row["loss"] for row in again]
    assert losses == [row["loss"] for row in history]
    assert same({name: p.data for name, p in model.named_parameters()}, ended)  # the state shares nothing with it
    twice = train_it(net(8), [ticket])
    assert [row["loss"] for row in twice] == losses  # nor with a run that started there


def test_several_rounds_remove_equal_shares_and_each_starts_at_step_k():
    model, watches = net(), []

    def watched(model, callbacks):
        watches.append(Watch())
        return train_it(model, callbacks, [watches[-1]])

    ticket = find_ticket(model, watched, 0.875, step=2, rounds=3)
    zeros = [
        sum(int((w == 0).sum()) for name, w in watch.start[1].items() if name in ticket.masks) for watch in watches
    ]
    assert zeros == [0, 740, 1110] and sum(int((~mask).sum()) for mask in ticket.masks.values()) == 1295
    at_k = watches[0].steps[2][0]
    for watch in watches[1:]:
        assert all((w[w != 0] == at_k[name][w != 0]).all() for name, w in watch.start[1].items())


def test_the_control_has_the_mask_and_other_weights():
    ticket = find_ticket(model := net(), train_it, 0.8, step=2, skip="3")
    fresh = net(9)
    first = {name: p.data for name, p in fresh.named_parameters()}
    control = ticket.control(fresh)
    assert control is fresh and not fresh.get("3.weight").views
    assert np.array_equal(fresh.get("1.weight").view(nn.Mask).keep, model.get("1.weight").view(nn.Mask).keep)
    assert same({name: p.data for name, p in fresh.named_parameters()}, first)
    assert (fresh.get("1.weight").data != ticket.state["model"]["1.weight"]).all()
    train_it(control, [])
    assert (control.get("1.weight").read().data[~ticket.masks["1.weight"]] == 0).all()


def test_a_ticket_beats_its_control_on_validation_data():
    """After 80 steps with 5 % of the weights of the two large layers left, rewound to step 20: by 10 points."""

    def trained(model, callbacks, epochs=4):
        train.fit(model, (DIGITS.train, None), epochs=epochs, callbacks=callbacks, progress=False)
        return measure.evaluate(model, DIGITS.val).accuracy

    won, lost = [], []
    for seed in (0, 1):
        model = models.lenet_300_100(image_size=8, rng=seed)
        ticket = find_ticket(model, trained, 0.95, step=20, scope="layer", skip="fc3")
        won.append(trained(model, [ticket]))
        lost.append(trained(ticket.control(models.lenet_300_100(image_size=8, rng=seed + 100)), []))
    assert np.mean(won) > np.mean(lost) + 0.1


TICKET = find_ticket(net(), train_it, 0.8, step=2)
REFUSED = [
    (lambda: find_ticket(net(), train_it, 1.0), ValueError, r"in \[0, 1\): 90 % is 0.9; got 1.0"),
    (lambda: find_ticket(net(), train_it, 0.8, rounds=0), ValueError, "1 or more; got 0"),
    (lambda: find_ticket(net(), train_it, 0.8, step=13), ValueError, "beyond the end of the run, 12 steps"),
    (lambda: find_ticket(net(), train_it, 0.8, step=-1), ValueError, "0 or more; got -1"),
    (lambda: find_ticket(net(), lambda m, c: train_it(m, []), 0.8), ValueError, "must hand its callbacks on"),
    (lambda: find_ticket(nn.Sequential(nn.ReLU()), lambda m, c: setattr(c[0], "state", {}), 0.8), ValueError,
     "no weight matrix or filter"),
    (lambda: TICKET.control(nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.ReLU())), ValueError,
     "a mask for 3.weight, which this model does not have: was its layer removed"),
    (lambda: TICKET.control(nn.Sequential(nn.Flatten(), nn.Linear(64, 9), nn.ReLU(), nn.Linear(9, 10))), ShapeError,
     r"a mask for 1.weight needs its shape, \(9, 64\); got \(20, 64\)"),
    (lambda: train_it(net(), [TICKET], epochs=0), ValueError, "ticket of step 2.*run of 0 steps"),
]  # fmt: skip


@pytest.mark.parametrize("attempt, error, sentence", REFUSED)
def test_what_cannot_be_done_is_refused_in_a_sentence(attempt, error, sentence):
    with pytest.raises(error, match=sentence):
        attempt()


def test_a_control_with_the_tickets_own_weights_is_refused():
    twin = net()
    twin.load_state_dict(TICKET.state["model"])
    with pytest.raises(ValueError, match="starts from other weights than its ticket"):
        TICKET.control(twin)

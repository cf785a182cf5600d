"""The command line: `tinyopt tour`, `train`, `evaluate`, `inspect`, `lessons`, `check`, `doctor`.

Each command is a function of the same name that takes the parsed arguments and returns an exit status, or
None for 0. What a user can get wrong ends as one sentence on stderr and status 2, never as a traceback.
"""

import argparse
import difflib
import os
import sys

import tinyopt
from tinyopt.errors import DeviceError, DtypeError

INTERRUPTED, WRONG = 130, 2
DATA = "digits, mnist5k, mnist or fashion_mnist"


def main(arguments=None):
    """Run one command. Returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that cannot show ± shows ? in its place
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if chosen.run is None:
        parser.print_help()
        return WRONG
    try:
        return chosen.run(chosen) or 0
    except KeyboardInterrupt:
        print("tinyopt: stopped by Ctrl-C", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `tinyopt inspect FILE | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (OSError, ValueError, ArithmeticError, ImportError, DeviceError, DtypeError) as problem:
        print(f"tinyopt: {problem}", file=sys.stderr)
        return WRONG


# --- the commands ----------------------------------------------------------------------------------


def tour(chosen):
    """Train, compress in every way, save, load, measure."""
    from tinyopt.report import blas, tables
    from tinyopt.report.tour import tour as run

    blas.limit_threads()
    settings = {"epochs": chosen.epochs, "seed": chosen.seed, "out": chosen.out, "page": chosen.readme}
    results = run(chosen.model, chosen.data, **settings)
    about = results.about
    print(f"\n{about['command']}: {about['n_test']:,} test images, {about['seconds']} s\n")
    print(tables.tour_table(results.rows), tables.LEGEND, *tables.settings_lines(results.rows), sep="\n")
    print(f"\nTable, model files and figures are in {results.folder}")


def train(chosen):
    """Train a network, save it, and measure the file."""
    from tinyopt import data, files, models, optim
    from tinyopt.report import blas
    from tinyopt.report.fresh import measured
    from tinyopt.train import cosine, fit

    blas.limit_threads()
    dataset = data.load(chosen.data)
    sizes = {"image_size": dataset.input_shape[-1], "n_classes": dataset.n_classes}
    model = models.make(chosen.model, **sizes, rng=chosen.seed)
    rate = {} if chosen.lr is None else {"lr": chosen.lr}
    optimizer = _optimizer(optim, chosen.optimizer)(model.parameters(), **rate)
    _check_writable(chosen.out)
    fit(
        model, dataset, epochs=chosen.epochs, batch_size=chosen.batch_size, optimizer=optimizer,
        schedule=cosine, checkpoint=chosen.checkpoint, seed=chosen.seed, device=chosen.device,
    )  # fmt: skip
    notes = {name: getattr(chosen, name) for name in ("model", "data", "epochs", "seed")}
    files.save(model, chosen.out, notes=notes)
    _print_measured(chosen.out, chosen.data, "test", measured(chosen.out, chosen.data))


def evaluate(chosen):
    """Measure a model file."""
    from tinyopt.report import blas
    from tinyopt.report.fresh import measured, to_json

    blas.limit_threads()
    result = measured(chosen.file, chosen.data, chosen.part)
    if chosen.json:
        print(to_json(result))
    else:
        _print_measured(chosen.file, chosen.data, chosen.part, result)


def inspect(chosen):
    """Say where every byte of a file is, and show the model."""
    from tinyopt import files
    from tinyopt.errors import FormatError
    from tinyopt.report.tables import ledger_tables

    print(ledger_tables(chosen.file), end="\n\n")
    for name, value in files.notes(chosen.file).items():
        print(f"note  {name}: {value}")
    try:
        print(files.load(chosen.file))
    except FormatError as problem:  # a checkpoint, or a model of someone's own classes
        print(problem)


def lessons(chosen):
    """List the lessons; start one, or turn them into pages."""
    from tinyopt.course import commands

    if chosen.action == "start":
        print(commands.start(chosen.number, chosen.folder))
    elif chosen.action == "html":
        for line in commands.read(chosen.numbers, chosen.folder):
            print(line, flush=True)
    else:
        print(commands.listing())


def check(chosen):
    """Check your answers to a lesson."""
    from tinyopt.course import commands

    verdicts = commands.check(chosen.lesson, chosen.file)
    print(*verdicts, sep="\n\n")
    points = [sum(v.exercise.points for v in part) for part in ([v for v in verdicts if v], verdicts)]
    print(f"\n{points[0]} of {points[1]} points")
    return 0 if all(verdicts) else 1


def doctor(chosen):
    """Say what this machine has."""
    from tinyopt.report.doctor import facts

    found = facts()
    width = max(map(len, found))
    for what, text in found.items():
        print(f"{what:<{width}}  {text}")


def _optimizer(optim, name):
    """The optimizer class of this name, in small letters or large."""
    known = {each.lower(): each for each in optim.__all__ if each != "Optimizer"}
    if name.lower() not in known:
        near = difflib.get_close_matches(name.lower(), known, n=1)
        guess = f" Did you mean {known[near[0]]}?" if near else ""
        raise ValueError(f"an optimizer is one of {', '.join(known.values())}; got {name!r}.{guess}")
    return getattr(optim, known[name.lower()])


def _check_writable(path):
    """Raise OSError with a clear sentence unless a file can be written here; what is there stays."""
    from tinyopt.codec import atomic_write

    if os.path.isdir(path):
        raise IsADirectoryError(f"cannot write {path}: it is a folder. Add a file name")
    probe = f"{path}.probe"
    try:
        atomic_write(probe, b"")
    except OSError as problem:
        raise type(problem)(str(problem).replace(probe, path)) from None
    os.remove(probe)


def _print_measured(path, data_name, part, result):
    times = ", ".join(f"{1e3 * seconds:.2f} ms for a batch of {n}" for n, seconds in result.latency.items())
    print(f"{path} on the {part} part of {data_name}\n{result.quality}")
    print(f"{result.bytes:,} bytes, {result.parameters:,} parameters, {result.nonzeros:,} of them not zero")
    print(f"{result.macs:,} multiply-adds for one image; {times}")


# --- the parser ------------------------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    """argparse's, that says what is wrong in one sentence, without the usage."""

    def error(self, message):
        self.exit(WRONG, f"{self.prog}: {message}. Try {self.prog} --help\n")


def _parser():
    about = "All of model optimization in plain NumPy: read it, run it, measure it."
    parser = Parser(prog="tinyopt", description=about)
    parser.add_argument("--version", action="version", version=f"tinyopt {tinyopt.__version__}")
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=Parser)

    def command(run, example):
        text = run.__doc__
        made = commands.add_parser(run.__name__, help=text, description=text, epilog=f"example: {example}")
        made.set_defaults(run=run)
        return made

    made = command(tour, "tinyopt tour --model lenet_300_100 --data digits --out small")
    _add_training(made, None, "so many that the network sees 14,000 images, 3 or more")
    made.add_argument("--out", metavar="DIR", default="tour", help="for the table, files and figures (tour)")
    made.add_argument("--readme", metavar="FILE", help="put the table into this README, between its marks")

    made = command(train, "tinyopt train --data mnist5k --optimizer AdamW --lr 0.003 --out my.top")
    _add_training(made, 10, "10")
    made.add_argument("--batch-size", type=_whole(1), default=64, metavar="N", help="examples in a step (64)")
    made.add_argument("--optimizer", default="Adam", metavar="NAME", help="a name from tinyopt.optim (Adam)")
    made.add_argument("--lr", type=float, metavar="X", help="highest learning rate (the optimizer's)")
    made.add_argument("--out", metavar="FILE", default="model.top", help="the model file (model.top)")
    made.add_argument("--checkpoint", metavar="FILE", help="the run's state, to go on from")
    made.add_argument("--device", default="cpu", metavar="NAME", help="cpu or cuda (cpu)")

    made = command(evaluate, "tinyopt evaluate tour/prune.top --data mnist5k")
    made.add_argument("file", metavar="FILE", help="a model file")
    made.add_argument("--data", required=True, metavar="NAME", help=DATA)
    made.add_argument("--part", choices=("train", "val", "test"), default="test", help="of the data (test)")
    made.add_argument("--json", action="store_true", help="one line of JSON, each prediction included")

    made = command(inspect, "tinyopt inspect tour/deep_compression.top")
    made.add_argument("file", metavar="FILE", help="a model file")
    _add_lessons(command(lessons, "tinyopt lessons start 1"))
    made = command(check, "tinyopt check 1 01_autograd.ipynb")
    made.add_argument("lesson", metavar="N", help="a lesson, such as 9, or one exercise, 9.2")
    made.add_argument("file", metavar="FILE", help="your notebook, or a .py file with your functions")
    command(doctor, "tinyopt doctor")
    return parser


def _add_lessons(parser):
    parser.set_defaults(action=None)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", parser_class=Parser)
    start = actions.add_parser("start", help="copy notebooks to work on", description="Copy notebooks to work on.")
    start.set_defaults(action="start")
    start.add_argument("number", metavar="N", nargs="?", default="all", help="the lesson (all)")
    start.add_argument("folder", metavar="DIR", nargs="?", default=".", help="where to (here)")
    about = "Execute the lessons, answers included, and write each as a page to read."
    html = actions.add_parser("html", help="execute the lessons into pages to read", description=about)
    html.set_defaults(action="html")
    html.add_argument("folder", metavar="DIR", help="the folder for the pages")
    html.add_argument("numbers", metavar="N", nargs="*", type=_whole(0), help="lessons (all of them)")


def _add_training(parser, epochs, meaning):
    name, number = {"metavar": "NAME"}, {"metavar": "N", "type": _whole(0)}
    parser.add_argument("--model", default="lenet5", help="lenet5 or lenet_300_100 (lenet5)", **name)
    parser.add_argument("--data", default="mnist5k", help=f"{DATA} (mnist5k)", **name)
    parser.add_argument("--epochs", default=epochs, help=f"passes over the data ({meaning})", **number)
    parser.add_argument("--seed", default=0, help="fixes all that is random (0)", **number)


def _whole(least):
    """A type for argparse: a whole number of `least` or more."""

    def whole(text):
        if not text.strip().isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"a whole number of {least} or more is due; got {text!r}")
        return int(text)

    return whole

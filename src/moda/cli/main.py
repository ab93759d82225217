"""The one program, ``moda``: finds the command, runs it, turns a UserError into one line."""

import importlib
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from moda import __version__
from moda.errors import PREEMPTED, Preempted, UserError
from moda.outcome import leave_outcome

# command -> (module with ``main(argv) -> int | None``, what it does)
COMMANDS = {
    "demo": ("moda.cli.demo", "run the whole road on rendered heads: corpus, training, video, report"),
    "synthesize": ("moda.cli.synthesize", "render a talking-head corpus with known motion"),
    "prepare": ("moda.cli.prepare", "a folder of videos to shards             (Hydra overrides)"),
    "prepare-task": ("moda.cli.prepare_task", "one task of a preparation, as its jobs call it"),
    "inspect": ("moda.cli.inspect", "a page that shows what is in a prepared data set"),
    "lint": ("moda.cli.lint", "verify a prepared data set"),
    "train": ("moda.cli.train", "train task=motion_vae or task=dit         (Hydra overrides)"),
    "export": ("moda.cli.export", "any checkpoint as safetensors and JSON, any average"),
    "import": ("moda.cli.import_official", "the official MoDA checkpoint as an export"),
    "generate": ("moda.cli.generate", "portrait and speech to video"),
    "evaluate": ("moda.cli.evaluate", "score any method's videos, or a run        (Hydra overrides)"),
    "compare": ("moda.cli.compare", "several results in one table, if they were measured alike"),
    "replay": ("moda.cli.replay", "compute a batch again at which a training stopped"),
    "sweep": ("moda.cli.sweep", "train a grid or search, collect a table   (Hydra overrides)"),
    "sweep-trial": ("moda.cli.sweep_trial", "one trial of a sweep, as its jobs call it"),
    "submit": ("moda.cli.submit", "run one of these commands as a SLURM job   (Hydra overrides)"),
    "bench": ("moda.cli.bench", "measure training and loader; print what a cluster would reach"),
    "weights": ("moda.cli.weights", "list, check, add and get external model files"),
    "doctor": ("moda.cli.doctor", "say what works on this machine and what is missing"),
}


def usage() -> str:
    lines = [f"  {name:<12} {summary}" for name, (_, summary) in COMMANDS.items()]
    return "\n".join(
        [f"moda {__version__}: audio-driven talking heads, from raw video to a scored model", "",
         "usage: moda COMMAND [ARGUMENTS]      moda COMMAND --help", "", *lines]
    )  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status: 0 done, 1 the user's error, 2 wrong usage, 85 stopped on a signal."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if argv[0] in ("-V", "--version"):
        print(__version__)
        return 0
    if argv[0] not in COMMANDS:
        print(f"moda: no command {argv[0]!r}\n\n{usage()}", file=sys.stderr)
        return 2
    try:
        with _warnings_in_one_line():
            return importlib.import_module(COMMANDS[argv[0]][0]).main(argv[1:]) or 0
    except UserError as error:
        return _end(error, 1, f"moda {argv[0]}: error: {error}")
    except Preempted as stop:
        return _end(stop, PREEMPTED, f"moda {argv[0]}: {stop}")
    except KeyboardInterrupt as interrupt:
        return _end(interrupt, 130, f"\nmoda {argv[0]}: interrupted; run the same command again to go on")
    except BrokenPipeError:  # the reader of our output has gone, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


@contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    """A warning is for the user: without the place in the source that it comes from."""
    before = warnings.showwarning
    warnings.showwarning = lambda message, *_args, **_kwargs: print(f"warning: {message}", file=sys.stderr)
    try:
        yield
    finally:
        warnings.showwarning = before


def _end(error: BaseException, status: int, line: str) -> int:
    """Say why once: a process that trains as one of several leaves it to their parent."""
    if not leave_outcome(error):
        print(line, file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())

"""``moda sweep-trial``: one trial of a sweep, as its launcher calls it."""

import os
import sys

from moda.errors import UserError
from moda.sweep.ledger import FINISHED, Grid, Ledger, Plan
from moda.sweep.search import Search

USAGE = "usage: moda sweep-trial SWEEP INDEX begin | run [OVERRIDE ...] | end STATUS"


def main(argv: list[str]) -> int:
    """begin: settle its settings; run: train, on every task; end: record the status and pass it on."""
    if len(argv) < 3 or not argv[1].isdigit():
        print(USAGE, file=sys.stderr)
        return 2
    ledger, index, phase, rest = Ledger(argv[0]), int(argv[1]), argv[2], argv[3:]
    plan = read_plan(ledger)
    if phase == "begin" and not rest:
        status = ledger.begin(index, plan)
        print(f"trial {index}, {status.name}: {status.state}; {' '.join(status.overrides)}", flush=True)
        return 0
    if phase == "run":
        return run(ledger, index, plan, rest)
    if phase == "end" and len(rest) == 1 and rest[0].isdigit():
        status = ledger.end(index, int(rest[0]), plan)
        print(f"trial {index}, {status.name}: {status.state}", flush=True)
        return status.returncode or 0
    print(USAGE, file=sys.stderr)
    return 2


def read_plan(ledger: Ledger) -> Plan:
    manifest = ledger.manifest()
    if manifest is None:
        raise UserError(f"{ledger.directory} holds no sweep; moda sweep makes one")
    return Search.read(ledger.directory, manifest) if "search" in manifest else Grid.read(manifest)


def run(ledger: Ledger, index: int, plan: Plan, resources: list[str]) -> int:
    """Train trial ``index``, which has begun; returns the status of ``moda train``."""
    from moda.cli.main import main as moda
    from moda.overrides import quoted

    status = ledger.status(index)
    if status.state in FINISHED:
        return 0
    run_dir = ledger.run_dir(status)
    command = ["train", *status.overrides, f"run_dir={quoted(str(run_dir))}", f"name={status.name}", *resources]
    if not isinstance(plan, Search) or _rank():
        return moda(command)
    from moda.sweep.pruning import pruned

    with pruned(plan, status, run_dir):
        return moda(command)


def _rank() -> int:
    return int(os.environ.get("SLURM_PROCID") or os.environ.get("LOCAL_RANK") or 0)

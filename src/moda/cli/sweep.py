"""``moda sweep``: a grid or a search of ``moda train``."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from omegaconf import DictConfig

from moda.cli.hydra_app import run_hydra
from moda.cli.submit import (
    DRY_RUN,
    NOT_SUBMITTED,
    hand_over,
    is_job_setting,
    job_settings,
    trained_on,
    typed,
    with_new_names,
)
from moda.cli.sweep_study import evaluate_and_collect, read_study, study_name
from moda.cli.train import resolve
from moda.errors import UserError
from moda.slurm import queue
from moda.slurm.script import SCRIPT
from moda.sweep.ledger import FINISHED, Grid, Ledger, Plan, Status
from moda.sweep.search import Search, SearchSettings
from moda.sweep.study import Study
from moda.sweep.trials import expand

CHOICES = {"launcher": ("local", "slurm"), "search": ("grid", "optuna")}


def main(argv: list[str]) -> int:
    own, overrides = split_overrides(argv)
    refuse_multirun(own, overrides)
    study = study_name(overrides)
    if study and not any(text.startswith("sweep.name=") for text in own):
        own.append(f"sweep.name={study}")

    def run(config: DictConfig) -> None:
        settings = resolve(config)["sweep"]
        check(settings, own)
        ledger = Ledger(settings["dir"])
        if study:
            _run_study(study, overrides, ledger, config, typed("sweep", argv))
            return
        plan = plan_of(settings, ledger, overrides)
        if settings["collect"]:
            report(ledger, plan, places_of(plan, ledger, overrides))
            return
        _refuse_queued(ledger)
        with ledger.lock():
            places = plan.enter(ledger)
        if settings["launcher"] == "slurm":
            _launch_array(ledger, plan, places, settings["jobs"], config, typed("sweep", argv))
        else:
            _launch_here(ledger, plan, places, settings["jobs"])

    return run_hydra("sweep", run, own)


def split_overrides(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """(arguments of the sweep and its jobs, overrides of its trials); flags as ``--help`` are the sweep's."""
    ours, theirs = [], []
    for text in argv:
        if text == DRY_RUN:
            ours.append(NOT_SUBMITTED)
        elif is_job_setting(text) or text.lstrip("+~").startswith(("sweep.", "-", "hydra")):
            ours.append(with_new_names(text))
        else:
            theirs.append(text)
    return ours, theirs


def refuse_multirun(own: Sequence[str], overrides: Sequence[str]) -> None:
    """Hydra's own would start the sweep once for each combination of its settings, of which the trials' are none."""
    for text in own:
        if text == "-m" or (text.startswith("--m") and "--multirun".startswith(text)):
            line = shlex.join(["moda", "train", "--multirun", *overrides])
            raise UserError(
                f"{text}: moda sweep makes the trials by itself, leave it out; for Hydra's own multirun: {line}"
            )


def check(settings: dict[str, Any], own: Sequence[str]) -> None:
    """Refuse values that mean nothing, and settings of a part that is not in use."""
    for name, choices in CHOICES.items():
        if settings[name] not in choices:
            raise UserError(f"sweep.{name}={settings[name]}: must be one of {', '.join(choices)}")
    for text in own:
        if text.startswith("sweep.optuna.") and settings["search"] != "optuna":
            raise UserError(f"{text} does nothing without sweep.search=optuna")
        if is_job_setting(text) and settings["launcher"] != "slurm":
            typed_as = DRY_RUN if text == NOT_SUBMITTED else text
            raise UserError(f"{typed_as} does nothing without sweep.launcher=slurm")


def plan_of(settings: dict[str, Any], ledger: Ledger, overrides: Sequence[str]) -> Grid | Search:
    """The plan that the command describes; without overrides, the one that the folder holds."""
    if overrides:
        if settings["search"] == "optuna":
            return Search(ledger.directory, overrides, SearchSettings(**settings["optuna"]))
        return Grid(expand(overrides))
    manifest = ledger.manifest()
    if manifest is None:
        raise UserError("no settings to sweep; as in: moda sweep sweep.name=rates task=dit optimizer.lr=1e-3,3e-4")
    return Search.read(ledger.directory, manifest) if "search" in manifest else Grid.read(manifest)


def places_of(plan: Grid | Search, ledger: Ledger, overrides: Sequence[str]) -> list[int]:
    """Where the plan's trials are in the sweep, which must have begun."""
    if ledger.manifest() is None:
        raise UserError(f"{ledger.directory} holds no sweep yet; leave out sweep.collect")
    return plan.enter(ledger) if overrides else list(range(len(plan)))


def report(ledger: Ledger, plan: Plan, places: Sequence[int]) -> list[Status]:
    """Write and print the table; returns the trials' statuses."""
    from moda.sweep.table import print_table, table, write_table

    statuses = [plan.known(ledger.status(index)) for index in places]
    if not ledger.is_locked() and _queued(ledger) == []:  # whoever ran them can no longer say so
        statuses = [replace(status, state="lost") if status.state == "running" else status for status in statuses]
    header, rows = table(ledger, statuses)
    write_table(ledger.directory, header, rows)
    print_table(header, rows)
    states = [status.state for status in statuses]
    print(", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)))
    if isinstance(plan, Search):
        _say_best(plan, statuses)
    print(f"table: {ledger.directory / 'table.md'}")
    return statuses


def _run_study(name: str, overrides: Sequence[str], ledger: Ledger, config: DictConfig, line: str) -> None:
    """Train what others build on, then the variants; evaluate what is trained; one table and one page."""
    settings = resolve(config)["sweep"]
    if settings["search"] != "grid":
        raise UserError(f"experiment={name} names its trainings, nothing is searched; leave sweep.search out")
    study, jobs = read_study(name, overrides, ledger.directory), settings["jobs"]
    open_trials, count = [], 0
    for trials_of in () if settings["collect"] else (Study.first_trials, Study.trials):
        plan = Grid(trials_of(study))
        if not plan.trials:
            continue
        _refuse_queued(ledger)
        with ledger.lock():
            places = plan.enter(ledger)
        count += len(places)
        if settings["launcher"] == "local":
            still_open = _train_here(ledger, plan, places, jobs)
            open_trials += still_open
            study = study.dropping([status.axes["first"] for status in still_open if "first" in status.axes])
        elif any(not ledger.is_finished(place) for place in places):
            _launch_array(ledger, plan, places, jobs, config, line)
            print("when it is done, the same command goes on")
            return
    written = evaluate_and_collect(study, ledger, jobs or 1, name)
    print("\n".join(f"{kind:<16} {path}" for kind, path in written.items()))
    _refuse_open(open_trials, count)


def _launch_here(ledger: Ledger, plan: Plan, places: Sequence[int], jobs: int | None) -> None:
    _refuse_open(_train_here(ledger, plan, places, jobs), len(places))


def _train_here(ledger: Ledger, plan: Plan, places: Sequence[int], jobs: int | None) -> list[Status]:
    """Run the trials and report; returns those that are still open."""
    from moda.sweep.local import run_trials

    run_trials(ledger, plan, places, 1 if jobs is None else jobs)
    return [status for status in report(ledger, plan, places) if status.state not in FINISHED]


def _refuse_open(open_trials: Sequence[Status], count: int) -> None:
    if open_trials:
        names = ", ".join(status.name for status in open_trials)
        what = "failed" if all(status.state == "failed" for status in open_trials) else "failed or did not end"
        raise UserError(f"{len(open_trials)} of {count} trials {what}: {names}; mend the cause and run the sweep again")


def _launch_array(
    ledger: Ledger, plan: Grid | Search, places: Sequence[int], jobs: int | None, config: DictConfig, line: str
) -> None:
    from moda.sweep.array import array_job

    todo = [index for index in places if not ledger.is_finished(index)]
    print(f"sweep {ledger.directory}: {len(places)} trials, {len(places) - len(todo)} already done")
    if not todo:
        report(ledger, plan, places)
        return
    settings = job_settings(config)
    if isinstance(plan, Search):
        commands = [plan.fixed]
    else:
        commands = [list(plan.known(Status(index)).overrides) for index in todo]
    resources = {tuple(trained_on(settings, command)[1]) for command in commands}
    if len(resources) > 1:
        raise UserError("the trials need different resources, but one array gives all the same; sweep them apart")
    hand_over(array_job(ledger, todo, jobs, settings, resources.pop(), line), str(ledger.directory))
    print(f"table, at any time: moda sweep sweep.dir={ledger.directory} sweep.collect=true")


def _refuse_queued(ledger: Ledger) -> None:
    jobs = _queued(ledger)
    if jobs:
        raise UserError(
            f"sweep {ledger.directory} is in the queue already as job {', '.join(jobs)}; wait, or scancel it"
        )
    if jobs is None:
        print("warning: the queue does not answer; make sure that no job of this sweep is in it")


def _queued(ledger: Ledger) -> list[str] | None:
    """The sweep's jobs in the queue, or None where it cannot be asked."""
    script = ledger.directory.absolute() / "slurm" / SCRIPT
    if not script.is_file():
        return []
    try:
        return queue.queued(script)
    except UserError:
        return None


def _say_best(plan: Search, statuses: Sequence[Status]) -> None:
    valued = [(status.value, status) for status in statuses if status.value is not None]
    if valued:
        choose = min if plan.settings.direction == "minimize" else max
        value, best = choose(valued, key=lambda pair: pair[0])
        axes = " ".join(f"{key}={text}" for key, text in best.axes.items())
        print(f"best: {best.name} with {plan.settings.metric} {value:.5g} ({plan.settings.value}): {axes}")

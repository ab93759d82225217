"""``moda sweep experiment=NAME`` where NAME is a study: named trainings, their evaluations, one table and one page."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from moda.cli.hydra_app import compose
from moda.errors import UserError
from moda.sweep.ledger import Grid, Ledger, Status
from moda.sweep.study import Study, Variant

if TYPE_CHECKING:
    from moda.sweep.evaluations import Scoring

KEY = "study"


def study_name(overrides: Sequence[str]) -> str | None:
    """The experiment among ``overrides`` if it is a study."""
    names = [text.split("=", 1)[1] for text in overrides if text.startswith("experiment=")]
    if len(names) != 1 or "," in names[0]:
        return None
    return names[0] if KEY in compose("train", [f"experiment={names[0]}"]) else None


def read_study(name: str, overrides: Sequence[str], directory: str | Path) -> Study:
    """The study ``name`` with what was typed: settings of the study itself, and overrides of its trainings."""
    own = [text for text in overrides if text.lstrip("+~").startswith(f"{KEY}.")]
    typed = [text for text in overrides if text not in own and not text.startswith("experiment=")]
    value: Any = OmegaConf.to_container(compose("train", [f"experiment={name}", *own])[KEY], resolve=True)
    study = Study.of(value, directory, typed)
    _check_evaluations(study)
    return study


def _check_evaluations(study: Study) -> None:
    """Raise UserError now for what the evaluations would be refused for when all is trained."""
    from moda.cli.evaluate import motion_protocol
    from moda.eval.motion.rows import ROWS

    if unknown := [row for row in study.baselines if row not in ROWS]:
        raise UserError(f"study.baselines names {unknown[0]!r}; rows: {', '.join(ROWS)}")
    for overrides, name in {variant.evaluate: variant.name for variant in study.variants}.items():
        try:
            motion_protocol(["run=place", *(study.placed(text) for text in overrides)])
        except UserError as error:
            raise UserError(f"the evaluation of {name}: {error}") from error


def trained(study: Study, ledger: Ledger) -> list[tuple[Variant, int, Path]]:
    """(variant, seed, run) of the trainings that are done."""
    manifest = ledger.manifest()
    places = {trial.name: place for place, trial in enumerate(Grid.read(manifest).trials)} if manifest else {}
    found = []
    for variant in study.variants:
        for seed in study.seeds:
            name = study.trial(variant, seed).name
            if name in places and ledger.is_finished(places[name]):
                found.append((variant, seed, ledger.run_dir(Status(places[name], name=name))))
    return found


def evaluate_and_collect(study: Study, ledger: Ledger, jobs: int, title: str) -> dict[str, Path]:
    """Evaluate what is trained, and write the table and the page of what is evaluated; returns the files by name."""
    from moda.sweep.evaluations import run_scorings

    runs = trained(study, ledger)
    if not runs:
        raise UserError(f"{ledger.directory}: no training is done yet, there is nothing to collect")
    scorings: dict[str, list[Scoring]] = {}
    for variant, seed, run in runs:
        scoring = _scoring(study, ledger, f"{variant.name}-seed{seed}", run, variant)
        scorings.setdefault(variant.name, []).append(scoring)
    every = [scoring for several in scorings.values() for scoring in several]
    baselines = _baselines(study, ledger, runs[0][2])
    failed = run_scorings([*every, *baselines], ledger.directory / "logs", jobs)
    written = _write(study, ledger, scorings, baselines, title)
    if failed:
        names = ", ".join(scoring.name for scoring in failed)
        raise UserError(f"{len(failed)} evaluations failed: {names}; mend the cause and run the sweep again")
    return written


def _scoring(
    study: Study, ledger: Ledger, name: str, run: Path, variant: Variant, more: Sequence[str] = ()
) -> "Scoring":
    from moda.sweep.evaluations import Scoring

    overrides = [study.placed(text) for text in variant.evaluate if not (more and text.startswith("rows="))]
    return Scoring(name, run, (*overrides, *more), ledger.directory / "evaluation" / name)


def _baselines(study: Study, ledger: Ledger, run: Path) -> list["Scoring"]:
    """The evaluation of the rows that need no training; none where none is asked for."""
    rows = [f"rows=[{','.join(study.baselines)}]"]
    return [_scoring(study, ledger, "baselines", run, study.reference, rows)] if study.baselines else []


def _write(
    study: Study, ledger: Ledger, scorings: dict[str, list["Scoring"]], baselines: list["Scoring"], title: str
) -> dict[str, Path]:
    from moda.eval.motion.ablations import markdown_page, merge, page
    from moda.files import atomic_path, write_json
    from moda.sweep.evaluations import results_in

    done = {name: [results_in(one) for one in several if one.done] for name, several in scorings.items()}
    done = {name: results for name, results in done.items() if results}
    if not done:
        raise UserError(f"{ledger.directory}: no evaluation is done; the logs are in {ledger.directory / 'logs'}")
    merged = merge(done, next((results_in(one) for one in baselines if one.done), None))
    about = {variant.name: shlex.join(variant.own) for variant in study.variants}
    texts = {
        "ablations.html": page(title, done, merged, study.reference.name, about),
        "ablations.md": markdown_page(title, merged, about),
    }
    write_json(ledger.directory / "ablations.json", {**merged, "reference": study.reference.name, "variants": about})
    for name, text in texts.items():
        with atomic_path(ledger.directory / name) as temporary:
            temporary.write_text(text)
    return {name: ledger.directory / name for name in ("ablations.json", *texts)}

"""Settings proposed by Optuna, each by what the trials before it have reached.

The study's storage is a journal file in the sweep's folder: every worker opens it, asks, trains and
tells; no server and no common process. A worker that dies leaves its trial unfinished, and whoever
runs that place of the sweep next goes on with the same settings.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep

from moda.errors import UserError
from moda.sweep.ledger import Ledger, Status
from moda.sweep.trials import Trial, key_of, parse, text_with, values_of

if TYPE_CHECKING:
    import optuna

JOURNAL = "optuna.journal"
STUDY = "sweep"
PRUNED = "pruned by the worker"
SAMPLERS = ("tpe", "random")
PRUNERS = ("none", "median", "halving")


@dataclass(frozen=True)
class SearchSettings:
    """What ``sweep.optuna`` holds; its comments say what each means."""

    trials: int
    metric: str
    direction: str
    value: str
    sampler: str
    seed: int
    pruner: str

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise UserError(f"sweep.optuna.trials={self.trials}: must be at least 1")
        allowed = {
            "direction": ("minimize", "maximize"),
            "value": ("last", "best"),
            "sampler": SAMPLERS,
            "pruner": PRUNERS,
        }
        for name, choices in allowed.items():
            if getattr(self, name) not in choices:
                raise UserError(f"sweep.optuna.{name}={getattr(self, name)}: must be one of {', '.join(choices)}")


class Search:
    """A plan whose trials Optuna proposes. ``overrides`` mix fixed settings and ranges in Hydra's syntax."""

    def __init__(self, directory: Path, overrides: Iterable[str], settings: SearchSettings):
        self.directory, self.overrides, self.settings = directory, tuple(overrides), settings
        self._parsed = parse(self.overrides)
        if not any(override.is_sweep_override() for override in self._parsed):
            raise UserError("nothing to search: give a range, as optimizer.lr='tag(log,interval(1e-5,1e-2))'")
        for override in self._parsed:
            if override.is_sweep_override():
                _check(override)

    @staticmethod
    def read(directory: Path, manifest: Mapping[str, Any]) -> "Search":
        return Search(directory, manifest["search"]["overrides"], SearchSettings(**manifest["search"]["settings"]))

    def enter(self, ledger: Ledger) -> list[int]:
        """Begin the search in ``ledger`` or go on with it, with more trials if asked for."""
        optuna_module()
        manifest = ledger.manifest()
        if manifest is not None:
            if "search" not in manifest:
                raise UserError(f"{ledger.directory} is a grid; give the search another sweep.name=...")
            before = Search.read(ledger.directory, manifest)
            self._check_same(before)
            if before.settings.trials > self.settings.trials:
                self.settings = replace(self.settings, trials=before.settings.trials)
        ledger.save_manifest(search={"overrides": self.overrides, "settings": asdict(self.settings)})
        return list(range(len(self)))

    @property
    def fixed(self) -> list[str]:
        return [str(override.input_line) for override in self._parsed if not override.is_sweep_override()]

    def __len__(self) -> int:
        return self.settings.trials

    def known(self, status: Status) -> Status:
        return status  # nothing is, before the study is asked

    def begin(self, status: Status) -> Status:
        study = self.study(f"{status.index}/{status.starts}")
        if status.number is not None and status.state in ("running", "stopped"):
            state = study.trials[status.number].state.name
            if state == "RUNNING":
                return status  # with the settings that it has
            if state in ("COMPLETE", "PRUNED"):  # told, and then its worker died
                return replace(status, state="done" if state == "COMPLETE" else "pruned")
        proposal = study.ask()
        trial = self._trial(proposal)
        return Status(
            status.index, status.state, trial.name, trial.axes, trial.overrides, status.starts, number=proposal.number
        )

    def end(self, status: Status) -> Status:
        """Tell the study, unless the trial is to go on."""
        number = status.number
        assert number is not None
        study, states = self.study("end"), optuna_module().trial.TrialState
        if study.trials[number].user_attrs.get(PRUNED):
            study.tell(number, state=states.PRUNED, skip_if_finished=True)
            return replace(status, state="pruned", returncode=0, reason="")
        if status.state == "done":
            value = self.reached(self.directory / status.name)
            if value is not None:
                study.tell(number, value, skip_if_finished=True)
                return replace(status, value=value)
            reason = f"{self.settings.metric} was not recorded; give another sweep.optuna.metric=..."
            status = replace(status, state="failed", returncode=1, reason=reason)
        if status.state == "failed":
            study.tell(number, state=states.FAIL, skip_if_finished=True)
        return status

    def reached(self, run_dir: Path) -> float | None:
        """The objective of a trial, last or best, or None where it has not been recorded."""
        values = list(self.series(run_dir).values())
        if not values:
            return None
        if self.settings.value == "last":
            return values[-1]
        return min(values) if self.settings.direction == "minimize" else max(values)

    def series(self, run_dir: Path) -> dict[int, float]:
        """step -> the recorded objective."""
        from moda.training.tracking.metrics import (  # with Lightning, which beginning does not need
            METRICS_NAME,
            read_metrics,
        )

        name = self.settings.metric
        return {int(line["step"]): line[name] for line in read_metrics(run_dir / METRICS_NAME) if name in line}

    def study(self, draw: str) -> "optuna.Study":
        """The study in the sweep's folder. ``draw`` seeds the sampler: workers must not all draw the same."""
        optuna = optuna_module()
        journal = optuna.storages.journal.JournalFileBackend(str(self.directory / JOURNAL))
        text = f"{self.settings.seed}/{draw}"
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])
        samplers = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
        pruners = optuna.pruners
        return optuna.create_study(
            study_name=STUDY,
            storage=optuna.storages.JournalStorage(journal),
            direction=self.settings.direction,
            sampler=samplers[self.settings.sampler](seed=seed),
            pruner={"none": pruners.NopPruner, "median": pruners.MedianPruner,
                    "halving": pruners.SuccessiveHalvingPruner}[self.settings.pruner](),
            load_if_exists=True,
        )  # fmt: skip

    def _trial(self, proposal: "optuna.Trial") -> Trial:
        axes, texts = {}, []
        for override in self._parsed:
            text = str(override.input_line)
            if override.is_sweep_override():
                axes[key_of(override)] = _suggest(proposal, override)
                text = text_with(override, axes[key_of(override)])
            texts.append(text)
        return Trial(axes, tuple(texts))

    def _check_same(self, before: "Search") -> None:
        if sorted(before.overrides) != sorted(self.overrides):
            changed = sorted(set(before.overrides) ^ set(self.overrides))
            raise UserError(
                f"{self.directory} searches other settings ({', '.join(changed)}); give another sweep.name=..."
            )
        for name in ("metric", "direction", "value"):
            old, new = getattr(before.settings, name), getattr(self.settings, name)
            if old != new:
                raise UserError(
                    f"{self.directory} has sweep.optuna.{name}={old}, not {new}; give another sweep.name=..."
                )


def _check(override: Override) -> None:
    """Raises UserError for a range that the search cannot use."""
    value, text = override.value(), override.input_line
    if not isinstance(value, ChoiceSweep | IntervalSweep | RangeSweep):
        raise UserError(f"{text!r} cannot be searched; give interval(...), range(...) or choice(...)")
    unknown = value.tags - ({"log"} if isinstance(value, IntervalSweep) else set())
    if unknown:
        raise UserError(f"{text!r}: tag {', '.join(sorted(unknown))} is not known; tag(log, interval(...)) is")
    if isinstance(value, IntervalSweep):
        start, end = value.start, value.end
        if start is None or end is None or not start < end or ("log" in value.tags and start <= 0):
            raise UserError(f"{text!r}: an interval goes up, and with tag(log, ...) begins above 0")
    elif len(values_of(override)) == 0:
        raise UserError(f"{text!r} holds no value")


def _suggest(proposal: "optuna.Trial", override: Override) -> str:
    value, key = override.value(), key_of(override)
    if isinstance(value, IntervalSweep):
        assert value.start is not None and value.end is not None
        if isinstance(value.start, int) and isinstance(value.end, int):
            return str(proposal.suggest_int(key, value.start, value.end, log="log" in value.tags))
        return repr(proposal.suggest_float(key, value.start, value.end, log="log" in value.tags))
    choices = values_of(override)
    if isinstance(value, RangeSweep):
        return choices[proposal.suggest_int(f"{key} (of the range)", 0, len(choices) - 1)]  # keeps their order
    return proposal.suggest_categorical(key, choices)


def optuna_module() -> Any:
    """Optuna, quiet; a UserError where it is not installed."""
    try:
        import optuna
    except ImportError as error:
        raise UserError(
            "sweep.search=optuna needs a package that is not installed; run: pip install 'moda[sweep]'"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna

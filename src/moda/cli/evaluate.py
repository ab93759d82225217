"""``moda evaluate``: score videos, or a run, under a protocol; write results.json and the report page."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from moda.cli.hydra_app import compose, run_hydra

# settings that only make sense for a run
OF_A_RUN = {"data": {"path": None}, "split": "test", "clips": 50, "steps": None, "guidance": None, "seed": 0}
# settings that are paths, names or patterns
TEXTS = ("generated", "reference", "pattern", "run", "split", "out", "cache", "project")

MOTION = "protocol=motion"


def main(argv: list[str]) -> int:
    if MOTION in argv:  # other settings altogether, so it chooses the file and not a group of it
        return run_hydra("evaluate_motion", evaluate_motion, [argument for argument in argv if argument != MOTION])
    return run_hydra("evaluate", evaluate_videos, argv)


def evaluate_videos(config: DictConfig) -> None:
    """Score what ``config`` (conf/evaluate.yaml) describes and say where the results are."""
    from moda.eval.videos.evaluate import evaluate
    from moda.eval.videos.report.output import write_results

    values: Any = OmegaConf.to_container(config, resolve=True)
    request = request_of(values)
    evaluation = evaluate(request)
    written, table, notes = write_results(evaluation, request.out, values["wandb"], values["project"])
    _say(table, notes, written)


def request_of(values: dict[str, Any]) -> Any:
    """``moda.eval.videos.evaluate.Request`` from the composed configuration."""
    from moda.build import build
    from moda.errors import UserError
    from moda.eval.videos.evaluate import Request
    from moda.eval.videos.extractors.networks import Networks
    from moda.eval.videos.from_run import RunSettings

    _check(values)
    run, devices = values["run"], _devices(values["devices"])
    if run is None and (idle := [name for name, default in OF_A_RUN.items() if values[name] != default]):
        raise UserError(
            f"{', '.join(idle)}: only a run has such settings; leave them out with generated=DIR, or give run=RUN"
        )
    settings = None
    if run is not None:
        own = {name: values[name] for name in OF_A_RUN if name != "data"}
        data = values["data"]["path"]
        settings = RunSettings(Path(run), data=Path(data) if data else None, device=devices[0], **own)
    paths = {name: Path(values[name]) if values[name] else None for name in ("generated", "reference", "cache")}
    name = Path(values["generated"]).resolve().name if values["generated"] else "videos"
    out = Path(values["out"] or (Path(run) / "evaluation" if run else Path("evaluation") / name))
    return Request(
        protocol=build(values["protocol"]),
        metrics={name: build(spec) for name, spec in values["metrics"].items()},
        networks=Networks(**values["networks"]),
        out=out,
        pattern=values["pattern"],
        run=settings,
        codec_spec=values["codec"],
        processes=values["processes"],
        devices=devices,
        **paths,
    )


def _check(values: dict[str, Any]) -> None:
    """Raise UserError for a setting of another type, before anything is measured; the rest is checked where it goes."""
    from moda.errors import UserError
    from moda.eval.videos.protocol import shown
    from moda.eval.videos.report.output import check_wandb_mode

    texts = {"data.path": values["data"]["path"], **{name: values[name] for name in TEXTS}}
    for name, value in texts.items():
        if value is not None and not isinstance(value, str):
            raise UserError(f"{name}={shown(value)}: must be text; put a number or what holds brackets in quotes")
    check_wandb_mode(values["wandb"])


def _devices(value: Any) -> tuple[str, ...]:
    """Of ``devices=cpu`` and ``devices=[cuda:0,cuda:1]`` alike."""
    from moda.errors import UserError
    from moda.eval.videos.protocol import shown

    devices = [value] if isinstance(value, str) else value
    if not devices or not isinstance(devices, list) or not all(isinstance(name, str) for name in devices):
        raise UserError(f"devices={shown(value)}: must be a device or several, as cpu or [cuda:0,cuda:1]")
    return tuple(devices)


def evaluate_motion(config: DictConfig) -> None:
    """Score the motion of the run that ``config`` (conf/evaluate_motion.yaml) describes."""
    from moda.eval.motion.protocol import evaluate as run_protocol
    from moda.eval.motion.report import write_report
    from moda.eval.motion.results import results_of
    from moda.eval.tables import tables_of

    protocol = protocol_of(OmegaConf.to_container(config, resolve=True, throw_on_missing=False))
    evaluation = run_protocol(protocol)
    out = protocol.out or protocol.run / "evaluation"
    written = write_report(evaluation, out)
    _say(tables_of(results_of(evaluation)), evaluation.notes, written)


def motion_protocol(overrides: list[str]) -> Any:
    """``moda.eval.motion.protocol.Protocol`` of the overrides of moda evaluate protocol=motion."""
    config = compose("evaluate_motion", overrides)
    return protocol_of(OmegaConf.to_container(config, resolve=True, throw_on_missing=False))


def _say(tables: Any, notes: Any, written: Any) -> None:
    from rich.console import Console

    from moda.eval.tables import markdown

    console = Console(soft_wrap=True, highlight=False, markup=False)
    table = markdown(tables)
    if console.is_terminal and console.width < len(table.splitlines()[0]):
        table = markdown(tables, intervals=False)
    console.print(f"\n{table}")
    for note in notes:
        console.print(f"\nnote: {note}")
    console.print("\n" + "\n".join(f"{name:<11} {path}" for name, path in written.items()))


def protocol_of(values: Any) -> Any:
    """``moda.eval.motion.protocol.Protocol`` from the composed configuration; metrics are built, paths made."""
    from moda.build import build
    from moda.errors import UserError
    from moda.eval.motion.protocol import Protocol

    del values["protocol"]
    if values["run"] == "???":
        raise UserError("run is not given; name a trained run, as in: moda evaluate run=runs/dit protocol=motion")
    values["data"] = values["data"]["path"]
    values["metrics"] = {name: build(spec) for name, spec in values["metrics"].items()}
    paths = {
        name: Path(values[name]) for name in ("run", "data", "out", "video", "sync_expert") if values[name] is not None
    }
    return Protocol(**values | paths)

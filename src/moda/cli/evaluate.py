"""``moda evaluate``: score a run on held-out speakers, write results.json and the report page."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from moda.cli.hydra_app import run_hydra


def main(argv: list[str]) -> int:
    return run_hydra("evaluate", evaluate, argv)


def evaluate(config: DictConfig) -> None:
    """Run the protocol that ``config`` (conf/evaluate.yaml) describes and say where the results are."""
    from rich.console import Console

    from moda.eval.protocol import evaluate as run_protocol
    from moda.eval.protocol import results_of
    from moda.eval.report import write_report
    from moda.eval.tables import markdown, tables_of

    protocol = protocol_of(OmegaConf.to_container(config, resolve=True, throw_on_missing=False))
    evaluation = run_protocol(protocol)
    out = protocol.out or protocol.run / "evaluation"
    written = write_report(evaluation, out)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    tables = tables_of(results_of(evaluation))
    table = markdown(tables)
    if console.is_terminal and console.width < len(table.splitlines()[0]):
        table = markdown(tables, intervals=False)
    console.print(f"\n{table}")
    for note in evaluation.notes:
        console.print(f"\nnote: {note}")
    console.print("\n" + "\n".join(f"{name:<11} {path}" for name, path in written.items()))


def protocol_of(values: Any) -> Any:
    """``moda.eval.protocol.Protocol`` from the composed configuration; metrics are built, paths made."""
    from moda.build import build
    from moda.errors import UserError
    from moda.eval.protocol import Protocol

    if values["run"] == "???":
        raise UserError("run is not given; name a trained run, as in: moda evaluate run=runs/dit")
    values["data"] = values["data"]["path"]
    values["metrics"] = {name: build(spec) for name, spec in values["metrics"].items()}
    paths = {name: Path(values[name]) for name in ("run", "data", "out", "video") if values[name] is not None}
    return Protocol(**values | paths)

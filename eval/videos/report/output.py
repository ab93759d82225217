"""What an evaluation leaves behind: results.json, report.html, table.md, table.tex, and the same on W&B."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moda.errors import UserError
from moda.eval.tables import Table, markdown, tables_of
from moda.eval.videos.evaluate import VideoEvaluation
from moda.eval.videos.protocol import shown
from moda.eval.videos.report.footnotes import footnotes
from moda.eval.videos.report.latex import latex
from moda.eval.videos.report.page import page_of
from moda.eval.videos.report.results import results_of
from moda.files import atomic_path, write_json

WANDB_MODES = ("disabled", "online", "offline")


def write_results(
    evaluation: VideoEvaluation, out: Path, wandb_mode: str = "disabled", project: str = "moda"
) -> tuple[dict[str, Path], list[Table], list[str]]:
    """Write everything to ``out``; returns the files by name, the tables, and the notes with footnotes and failed checks."""
    check_wandb_mode(wandb_mode)
    results = results_of(evaluation)
    tables, below = tables_of(results), footnotes(results)
    written = {name: out / file for name, file in (
        ("results", "results.json"), ("report", "report.html"), ("markdown", "table.md"), ("latex", "table.tex"),
    )}  # fmt: skip
    write_json(written["results"], results)
    for name, text in (
        ("report", page_of(evaluation, results)),
        ("markdown", "\n".join([markdown(tables), "", *(f"- {line}" for line in below), ""])),
        ("latex", latex(results) + "".join(f"% {line}\n" for line in below)),
    ):
        with atomic_path(written[name]) as temporary:
            temporary.write_text(text)
    if wandb_mode != "disabled":
        _to_wandb(results, written, out, wandb_mode, project)
    failed = [check for check in results["checks"] if check["passed"] is False]
    notes = ["\n  ".join(["what the rows rest on:", *below]), *results["notes"]]
    notes += [f"check failed: {check['what']} ({check['seen']})" for check in failed]
    return written, tables, notes


def check_wandb_mode(mode: Any) -> None:
    """Raise UserError for a mode that W&B does not have."""
    if mode not in WANDB_MODES:
        raise UserError(f"wandb={shown(mode)}: must be one of {', '.join(WANDB_MODES)}")


def _to_wandb(results: Mapping[str, Any], written: Mapping[str, Path], out: Path, mode: str, project: str) -> None:
    """Every score as ROW/COLUMN in the summary, the table, and the files as an artifact."""
    import wandb

    run = wandb.init(
        project=project, name=out.resolve().name, dir=out, mode="online" if mode == "online" else "offline",
        job_type="evaluate", config={"protocol": results["protocol"], "networks": results["networks"]},
        settings=wandb.Settings(silent=True, console="off", save_code=False),
    )  # fmt: skip
    names = list(results["metrics"])
    rows = [
        [row["title"], *(row["scores"].get(name, {}).get("value") for name in names)]
        for row in results["rows"].values()
    ]
    run.log({
        "scores": wandb.Table(["row", *(results["metrics"][name]["title"] for name in names)], data=rows),
        "footnotes": wandb.Table(["footnote"], data=[[line] for line in footnotes(results)]),
    })  # fmt: skip
    for key, row in results["rows"].items():
        run.summary.update(
            {f"{key}/{name}": score["value"] for name, score in row["scores"].items() if score["value"] is not None}
        )
    artifact = wandb.Artifact("evaluation", type="evaluation")
    for path in written.values():
        artifact.add_file(str(path))
    run.log_artifact(artifact)
    run.finish()

"""Rows for a paper: LaTeX with booktabs, the best method bold, the second underlined."""

from collections.abc import Mapping
from typing import Any

from moda.eval.tables import UNDEFINED, edges, is_defined, number

SPECIAL = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}",
           "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "∞": r"$_\infty$", "°": r"$^\circ$", "≤": r"$\leq$",
           "|": r"\textbar{}", "<": r"\textless{}", ">": r"\textgreater{}",
           "·": r"$\cdot$", "⁻": "$^{-}$", "³": "$^{3}$", "×": r"$\times$", "σ": r"$\sigma$", "–": "--"}  # fmt: skip
ARROWS = {"higher": r" $\uparrow$", "lower": r" $\downarrow$"}


def latex(results: Mapping[str, Any]) -> str:
    """The table of a results.json: one row a row, intervals small below, ranks among methods alone."""
    metrics = {
        name: metric for name, metric in results["metrics"].items()
        if any(is_defined(row["scores"].get(name, {}).get("value")) for row in results["rows"].values())
    }  # fmt: skip
    heads = [escape(m["title"]) + ARROWS.get(m["better"], "") for m in metrics.values()]
    lines = [
        f"% protocol {results['protocol']['name']}, version {results['protocol']['version']}, "
        f"fingerprint {results['protocol']['fingerprint'][:12]}; needs booktabs",
        r"\begin{tabular}{l" + "r" * len(metrics) + "}",
        r"\toprule",
        " & ".join(["", *heads]) + r" \\",
        r"\midrule",
    ]
    ranks = {name: _ranks(results, name, metric["better"]) for name, metric in metrics.items()}
    before = None
    for key, row in results["rows"].items():
        if before is not None and row.get("kind") == "method" != before:
            lines.append(r"\midrule")
        before = row.get("kind")
        cells = [
            _cell(row["scores"].get(name), metric["digits"], ranks[name].get(key)) for name, metric in metrics.items()
        ]
        lines.append(" & ".join([escape(row["title"]), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _ranks(results: Mapping[str, Any], name: str, better: str) -> dict[str, int]:
    if better not in ARROWS:
        return {}
    values = {
        key: row["scores"][name]["value"] for key, row in results["rows"].items()
        if row.get("kind") == "method" and is_defined(row["scores"].get(name, {}).get("value"))
    }  # fmt: skip
    if len(values) < 2:
        return {}
    return {key: place for place, key in enumerate(sorted(values, key=values.__getitem__, reverse=better == "higher"))}


def _cell(score: Mapping[str, Any] | None, digits: int, rank: int | None) -> str:
    if score is None or not is_defined(score["value"]):
        return escape(UNDEFINED)
    text = number(score["value"], digits)
    text = {0: rf"\textbf{{{text}}}", 1: rf"\underline{{{text}}}"}.get(-1 if rank is None else rank, text)
    interval = edges(score, digits)
    return rf"{text} {{\scriptsize [{', '.join(interval)}]}}" if interval else text


def escape(text: str) -> str:
    return "".join(SPECIAL.get(character, character) for character in text)

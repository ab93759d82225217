"""``moda compare``: several results in one table, refused where they were not measured alike."""

import argparse
import sys
from pathlib import Path


def main(argv: list[str]) -> int:
    from moda.eval.tables import markdown, tables_of
    from moda.eval.videos.report.compare import merge_results
    from moda.eval.videos.report.latex import latex

    parser = argparse.ArgumentParser(
        prog="moda compare",
        description="Print the methods of several results in one table. Results of different protocols, networks, "
        "clips or references are refused: such numbers do not compare.",
    )
    parser.add_argument("results", type=Path, nargs="+", help="results.json of moda evaluate, or the folder it is in")
    parser.add_argument("--format", choices=("markdown", "latex"), default="markdown", help="default: %(default)s")
    arguments = parser.parse_args(argv)
    merged = merge_results(arguments.results)
    print(latex(merged) if arguments.format == "latex" else markdown(tables_of(merged)))
    for note in merged["notes"]:
        print(f"note: {note}", file=sys.stderr)
    return 0

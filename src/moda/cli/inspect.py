"""``moda inspect``: a page that shows what is in a data set."""

import argparse
from pathlib import Path


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="moda inspect",
        description="Write the card of a prepared data set: hours, speakers, splits, how faces move, quality, clips to "
        "watch, what was refused and why, licences. One HTML file that needs no server.",
    )
    parser.add_argument(
        "dataset", metavar="DATASET", type=Path, help="folder with dataset.json, as moda prepare writes it"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="where the page goes, or its folder (default: DATASET)"
    )
    arguments = parser.parse_args(argv)

    from moda.data_prep.card import write_card

    print(f"card: {write_card(arguments.dataset, arguments.out)}")
    return 0

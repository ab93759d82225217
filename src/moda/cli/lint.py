"""``moda lint``: verify a prepared data set."""

import argparse
import os
from dataclasses import asdict
from pathlib import Path

from moda.data.schema import SPLITS
from moda.files import write_json

DESCRIPTION = """Verify a prepared data set: dataset.json, sizes and hashes of the shards, kinds of members, keys unique over
the data set, counts, that every sample decodes to finite values of the right shape, the statistics of the train
split, and that no speaker is in two splits. Prints a line for each finding, with its shard and key."""
EPILOG = "Exit status: 0 all is well, 1 something is wrong, 2 wrong usage.  Example: moda lint DATASET --video --jobs 8"


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="moda lint", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument(
        "dataset", metavar="DATASET", type=Path, help="folder with dataset.json, as moda prepare writes it"
    )
    parser.add_argument("--split", choices=SPLITS, help="only this split; by default all")
    parser.add_argument(
        "--jobs", type=int, metavar="N", default=os.cpu_count() or 1, help="processes; by default one a core"
    )
    parser.add_argument(
        "--video",
        action="store_true",
        help="also the video tars: hashes, members, same keys as the features, and that each clip's video and sound "
        "decode and are as long as its record says",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the findings to FILE as well")
    arguments = parser.parse_args(argv)

    from moda.data.lint import lint

    report = lint(arguments.dataset, arguments.split, arguments.jobs, arguments.video)
    for finding in report.findings:
        print(finding)
    count = len(report.findings)
    found = f"{count} finding{'s' * (count > 1)}" if count else "nothing wrong"
    print(f"{arguments.dataset}: {found} in {report.shards} shards, {report.samples} samples decode")
    if arguments.json is not None:
        write_json(arguments.json, {"dataset": str(arguments.dataset), **asdict(report)})
    return int(count > 0)

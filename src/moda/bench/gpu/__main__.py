"""``python -m moda.bench.gpu``: one part of the measurements in this process, or the pages of all.

python -m moda.bench.gpu PART --out FILE [--device cuda|cpu] [--quick] [--scratch FOLDER]
python -m moda.bench.gpu report FOLDER OUT
python -m moda.bench.gpu list
"""

import argparse
import importlib
import sys
from pathlib import Path

# Part to the module here that has a function of its name, in the order of their worth. Each is imported when it is its
# turn: what one of them lacks on this machine must not stop the others.
PARTS = {
    "environment": "environment",
    "train": "training",
    "resume": "resume",
    "sampling": "sampling",
    "codec": "rendering",
    "zero": "strategies",
    "demo": "training",
    "largest_batch": "largest",
    "evaluation": "rendering",
    "nccl": "strategies",
    "tests": "environment",
}


def main(argv: list[str]) -> int:
    """0; 1 where something of the part failed, which its file names."""
    if argv[:1] == ["report"]:
        from moda.bench.gpu.report import write_pages

        write_pages(Path(argv[1]), Path(argv[2]))
        return 0
    if argv[:1] == ["list"]:
        print("\n".join(PARTS))
        return 0
    if argv[:1] == ["worker"]:
        from moda.bench.gpu.strategies import work

        work(argv[1])
        return 0
    return _part(argv)


def _part(argv: list[str]) -> int:
    parser = argparse.ArgumentParser("python -m moda.bench.gpu", description="One part of the measurements.")
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--out", type=Path, required=True, help="file for the numbers, written as they come")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="on cpu tiny networks stand in")
    parser.add_argument("--quick", action="store_true", help="the first variant of each measurement alone")
    parser.add_argument("--scratch", type=Path, help="folder for data sets, which parts share")
    arguments = parser.parse_args(argv)
    from moda.bench.gpu.results import Results
    from moda.bench.gpu.setting import Setting
    from moda.training.run import quiet

    quiet()
    function = getattr(importlib.import_module(f"moda.bench.gpu.{PARTS[arguments.part]}"), arguments.part)
    scratch = arguments.scratch or arguments.out.parent / "scratch"
    results = Results(arguments.out)
    with results.attempt():
        function(Setting(arguments.device, arguments.quick, scratch), results)
    return 1 if results.errors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

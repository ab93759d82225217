"""``moda weights``: list, check, add and get external model files."""

import argparse
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

from moda.errors import UserError
from moda.files import sha256_of
from moda.weights import REGISTRY, Weight, get_weight
from moda.weights.install import add, download
from moda.weights.locate import check, locate

_COMMERCIAL = {True: "yes", False: "no, non-commercial only", None: "not stated"}


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="moda weights", description="External model files: what, whose, where.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("list", help="every weight: purpose, size, sha256, licence, source, and where it was found")
    checking = commands.add_parser("check", help="compare what is here with the registered hashes")
    checking.add_argument("names", nargs="*", metavar="NAME", help="by default all that are here")
    adding = commands.add_parser("add", help="copy a file (or folder, where the weight is one) into the cache")
    adding.add_argument("name", metavar="NAME")
    adding.add_argument("path", metavar="PATH", type=Path)
    getting = commands.add_parser("get", help="download a weight from its official source")
    getting.add_argument("name", metavar="NAME")
    arguments = parser.parse_args(argv)
    if arguments.command == "list":
        return list_weights()
    if arguments.command == "check":
        return check_weights(arguments.names)
    if arguments.command == "add":
        weight = get_weight(arguments.name)
        print(_installed(weight, add(weight.name, arguments.path)))
        return 0
    return get(arguments.name)


def list_weights() -> int:
    for weight in REGISTRY.values():
        located = locate(weight.name)
        print(f"{weight.name}: {weight.purpose}")
        print(f"    {weight.filename}, {weight.described_size}, sha256 {weight.sha256 or 'not known'}")
        print(f"    licence: {weight.licence}; commercial use: {_COMMERCIAL[weight.commercial]}")
        print(f"    source: {weight.source}")
        print(f"    {located.place}: {located.path}" if located else f"    not here: moda weights get {weight.name}")
    return 0


def check_weights(names: list[str]) -> int:
    """Print a line for each weight; status 1 if one is wrong, or is missing though it was named."""
    bad = 0
    for name in names or REGISTRY:
        weight, located = get_weight(name), locate(name)
        if located is None:
            if names:
                print(f"{name}: missing; run `moda weights get {name}`")
                bad += 1
            continue
        try:
            check(weight, located.path)
        except UserError as error:
            print(error)
            bad += 1
        else:
            verdict = "ok" if weight.sha256 else "here, but no hash is registered to compare with"
            print(f"{name}: {verdict} ({located.path})")
    return int(bad > 0)


def get(name: str) -> int:
    weight, located = get_weight(name), locate(name)
    if located is not None:
        check(weight, located.path)
        print(f"{name} is already here: {located.path}")
        return 0
    print(f"{name}: {weight.licence}; commercial use: {_COMMERCIAL[weight.commercial]}")
    out = Console()
    if not out.is_terminal:
        print(_installed(weight, download(name, _plain_progress())))
        return 0
    with Progress("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn(), console=out) as bar:
        task = bar.add_task(weight.filename, total=None)
        path = download(name, lambda done, total: bar.update(task, completed=done, total=total))
    print(_installed(weight, path))
    return 0


def _installed(weight: Weight, path: Path) -> str:
    if weight.sha256 is not None or path.is_dir():
        return f"{weight.name} is installed: {path}"
    return f"{weight.name} is installed: {path} (sha256 {sha256_of(path)}; none is registered to compare with)"


def _plain_progress():
    """A line every few seconds, for logs."""
    last = time.monotonic()

    def show(done: int, total: int | None) -> None:
        nonlocal last
        if time.monotonic() - last > 5:
            last = time.monotonic()
            print(f"{done / 1e6:.1f} MB" + (f" of {total / 1e6:.1f} MB" if total else ""), flush=True)

    return show

"""``moda import``: the official MoDA checkpoint as an export that ``moda generate`` takes."""

import argparse
from pathlib import Path


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="moda import",
        description="Put the official MoDA checkpoint together with the codec, the speech encoder and the settings that "
        "it was published with (experiment=moda_paper), as an export. Overrides change settings: flow.steps=20, "
        "published.amplify_lips=false, codec.directory=FOLDER, audio.checkpoint=FOLDER.",
    )
    parser.add_argument(
        "checkpoint", metavar="NET", help="the .pth or .safetensors file; moda_official: that of `moda weights`"
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the export")
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="of experiment=moda_paper, codec or audio")
    parser.add_argument("--codec", default="moda_paper", metavar="NAME", help="of conf/codec (default: %(default)s)")
    parser.add_argument("--audio", default="moda_paper", metavar="NAME", help="of conf/audio (default: %(default)s)")
    parser.add_argument("--ignore-unknown", action="store_true", help="pass over tensors of other networks in the file")
    arguments = parser.parse_args(argv)

    from moda.cli.hydra_app import compose
    from moda.cli.train import resolve
    from moda.interop.imported import import_official
    from moda.weights import REGISTRY, find

    groups = [f"+codec={arguments.codec}", f"+audio={arguments.audio}", "data.path=none"]
    config = resolve(compose("train", ["experiment=moda_paper", *groups, *arguments.overrides]))
    path = find(arguments.checkpoint) if arguments.checkpoint in REGISTRY else Path(arguments.checkpoint)
    import_official(path, arguments.out, config, strict=not arguments.ignore_unknown)
    print(f"imported to {arguments.out}; moda generate takes it as a checkpoint")
    return 0

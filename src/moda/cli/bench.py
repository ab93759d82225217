"""``moda bench``: training steps, the loader, a preparation, an evaluation and a codec measured, and what a cluster would reach."""

import argparse
import tempfile
from pathlib import Path

from moda.errors import UserError

USAGE = """usage: moda bench train [--preset demo|moda_b] [--strategies NAMES] [--compile] [OVERRIDES of moda train]
       moda bench checkpoint [--preset demo|moda_b] [--saves N] [OVERRIDES of moda train]
       moda bench model [--preset demo|moda_b] [--batch N] [--frames N] [OVERRIDES of moda train]
       moda bench network [--preset demo|moda_b] [--equal parameters|flops --to MODEL] [OVERRIDES of moda train]
       moda bench loader [DATASET]
       moda bench prepare VIDEO... [OVERRIDES of moda prepare]
       moda bench evaluate VIDEO... [--clips 8,64] [OVERRIDES of moda evaluate]
       moda bench steps RUN [--steps 4,6,10] [--solvers NAMES] [--shifts 1,3] [OVERRIDES of moda evaluate protocol=motion]
       moda bench codec [--directory DIR] [--device NAME]
       moda bench scaling [--help]"""

# overrides that come before the user's, and the sizes of the synthetic data set that go with them
PRESETS = {
    "demo": (
        ["task=dit", "model=mmdit_demo", "model.space=motion", "data.batch_size=16", "optimizer.warmup_steps=0"],
        {"audio_layers": 1, "audio_dim": 80},
    ),
    "moda_b": (
        ["task=dit", "model=mmdit_b", "model.space=motion", "trainer=gpu", "data.batch_size=64", "data.num_workers=8"],
        {"layout": "liveportrait70", "audio_layers": 12, "audio_dim": 768, "identity_dim": 63},
    ),
}
STRATEGIES = ("single", "ddp", "deepspeed_1", "deepspeed_2", "deepspeed_3")  # all, without those that offload


def main(argv: list[str]) -> int:
    commands = {
        "train": _train,
        "rank": _rank,
        "checkpoint": _checkpoint,
        "model": _model,
        "network": _network,
        "loader": _loader,
        "prepare": _prepare,
        "evaluate": _evaluate,
        "steps": _steps,
        "codec": _codec,
        "scaling": _scaling,
    }
    if not argv or argv[0] not in commands:
        print(USAGE)
        return 0 if argv and argv[0] in ("-h", "--help") else 2
    return commands[argv[0]](argv[1:])


def _train(argv: list[str]) -> int:
    parser = argparse.ArgumentParser("moda bench train", description="Measure training steps side by side.")
    parser.add_argument("--preset", choices=PRESETS, default="demo", help="model and batch; overrides change them")
    parser.add_argument("--strategies", default="single", help="of conf/strategy, separated by commas, or all")
    parser.add_argument("--compile", action="store_true", help="measure compiled blocks as well")
    parser.add_argument("--repeats", type=int, default=5, help="turns; their medians count")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each way in a turn, about")
    parser.add_argument("--out", type=Path, default=Path("bench_train.json"), help="where the numbers go")
    arguments, overrides = parser.parse_known_args(argv)
    if any(text.startswith("-") for text in overrides):
        raise UserError(f"unknown option {overrides[0]}; moda bench train --help lists them")
    if arguments.repeats < 1 or arguments.seconds <= 0:
        raise UserError("--repeats must be at least 1 and --seconds above 0")
    from moda.bench.train import Options, bench_train, print_tables
    from moda.files import write_json

    with tempfile.TemporaryDirectory(prefix="moda-bench-") as folder:
        preset = _with_data(arguments.preset, overrides, Path(folder))
        names = STRATEGIES if arguments.strategies == "all" else arguments.strategies.split(",")
        configs = {name: _configuration(name, [*preset, *overrides]) for name in names}
        result = bench_train(configs, Options(arguments.compile, arguments.repeats, arguments.seconds))
    write_json(arguments.out, result)
    print_tables(result)
    print(f"written to {arguments.out}")
    return 0


def _with_data(name: str, overrides: list[str], folder: Path) -> list[str]:
    """The overrides of a preset and, where the user names no data set, of a synthetic one below ``folder``."""
    preset, sizes = PRESETS[name]
    if any(text.startswith("data.path=") for text in overrides):
        return preset
    from moda.bench.synthetic import write_synthetic

    # a data set larger than its cache, as those are that matter
    return [*preset, f"data.path={write_synthetic(folder / 'data', **sizes)}", "data.cache_mb=1"]


def _configuration(strategy: str, overrides: list[str]) -> dict:
    from moda.cli.hydra_app import compose
    from moda.cli.train import resolve

    given = {text.split("=", 1)[0] for text in overrides}
    more = [] if "trainer.devices" in given or strategy == "single" else ["trainer.devices=2"]
    if strategy != "single" and "trainer=gpu" in overrides and "trainer.devices" not in given:
        more = []  # every GPU of the machine
    if strategy == "single":
        more = ["trainer.devices=1"]
    return resolve(compose("train", [*overrides, *more, f"strategy={strategy}"]))


def _rank(argv: list[str]) -> int:
    from moda.bench.train import run_rank

    run_rank(argv[0])
    return 0


def _checkpoint(argv: list[str]) -> int:
    parser = argparse.ArgumentParser("moda bench checkpoint", description="How long a save holds a training up.")
    parser.add_argument("--preset", choices=PRESETS, default="demo", help="model and batch; overrides change them")
    parser.add_argument("--saves", type=int, default=5, help="that are counted (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("bench_checkpoint.json"), help="where the numbers go")
    arguments, overrides = parser.parse_known_args(argv)
    if arguments.saves < 1:
        raise UserError("--saves must be at least 1")
    from moda.bench.checkpoint import measure_checkpoints
    from moda.files import write_json

    with tempfile.TemporaryDirectory(prefix="moda-bench-") as folder:
        preset = _with_data(arguments.preset, overrides, Path(folder))
        found = measure_checkpoints(_configuration("single", [*preset, "logger=none", *overrides]), arguments.saves)
    write_json(arguments.out, found)
    waiting, background = (found[name]["median"] for name in ("waiting", "background"))
    print(
        f"a checkpoint of {found['bytes'] / 1e6:.0f} MB stops the training for {waiting:.3f} s, written in the background "
        f"for {background:.3f} s ({background / waiting:.2f} of it); a step takes {found['step_ms']:.0f} ms"
    )
    print(f"written to {arguments.out}")
    return 0


def _model(argv: list[str]) -> int:
    parser = argparse.ArgumentParser("moda bench model", description="The transformer alone, in float32, on noise.")
    parser.add_argument("--preset", choices=PRESETS, default="moda_b", help="network; overrides change it")
    parser.add_argument("--batch", type=int, default=2, help="samples (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=80, help="of motion (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="passes that are counted (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (default: %(default)s)")
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="of moda train, as model.network.width=384")
    arguments = parser.parse_args(argv)
    if min(arguments.batch, arguments.frames, arguments.repeats) < 1:
        raise UserError("--batch, --frames and --repeats must be at least 1")
    from moda.bench.model import measure_model
    from moda.build import build
    from moda.cli.hydra_app import compose
    from moda.devices import resolve_device
    from moda.motion.layout import get_layout

    preset, sizes = PRESETS[arguments.preset]
    device = resolve_device(arguments.device)
    spec = compose("train", [*preset, "data.path=none", *arguments.overrides]).model.network
    shapes = {"layout": "head59", "identity_dim": 63} | sizes
    network = build(spec, motion_dim=get_layout(str(shapes.pop("layout"))).dim, **shapes).to(device)
    count = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    print(
        f"{arguments.preset}: {count:.1f} M parameters, batch {arguments.batch}, {arguments.frames} frames, float32, {device}"
    )
    for passes in measure_model(network, arguments.batch, arguments.frames, arguments.repeats):
        print(passes)
    return 0


def _network(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "moda bench network", description="Parameters and operations of a transformer, part by part, by formula."
    )
    parser.add_argument(
        "--preset", choices=PRESETS, default="demo", help="model and sizes of the data; overrides change them"
    )
    parser.add_argument(
        "--stride", type=int, default=1, help="frames of a motion token: 1 for motion, 4 for most latents"
    )
    parser.add_argument("--dim", type=int, help="channels of a motion token, by default those of the layout")
    parser.add_argument(
        "--equal", choices=("parameters", "flops"), help="also: the depth and MLPs that make it equal in these"
    )
    parser.add_argument("--to", metavar="MODEL", help="... to this one of conf/model")
    arguments, overrides = parser.parse_known_args(argv)
    if any(text.startswith("-") for text in overrides):
        raise UserError(f"unknown option {overrides[0]}; moda bench network --help lists them")
    if (arguments.equal is None) != (arguments.to is None):
        raise UserError("--equal and --to go together, as --equal parameters --to mmdit_b")
    from moda.bench.network import Data, network_of, print_costs, print_equal
    from moda.cli.hydra_app import compose

    preset, sizes = PRESETS[arguments.preset]
    data = Data(**sizes, stride=arguments.stride, dim=arguments.dim)
    config = compose("train", [*preset, "data.path=none", *overrides])
    network, window = network_of(config, data), config.data.window
    print_costs(network, data, window)
    if arguments.equal:
        reference = network_of(compose("train", [*preset, "data.path=none", f"model={arguments.to}"]), data)
        print_equal(network, reference, arguments.equal, data, window)
    return 0


def _loader(argv: list[str]) -> int:
    parser = argparse.ArgumentParser("moda bench loader", description="One reader against reading the tars alone.")
    parser.add_argument("dataset", type=Path, nargs="?", help="prepared data set; without one, 512 clips of noise")
    arguments = parser.parse_args(argv)
    from moda.bench.loader import measure_loader
    from moda.bench.synthetic import write_synthetic

    with tempfile.TemporaryDirectory(prefix="moda-bench-") as folder:
        root = arguments.dataset or write_synthetic(Path(folder) / "set", audio_dim=119, shards=16)
        for rate in measure_loader(root):
            print(
                f"{rate.name:<42} {rate.clips_per_second:7.0f} clips/s {rate.bytes_per_second / 1e9:5.2f} GB/s"
                f"   {rate.ratio:5.2f} of the standard library"
            )
    return 0


def _prepare(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "moda bench prepare",
        description="Preparing videos, against its networks and one decoding alone; decord and PyAV.",
    )
    parser.add_argument("videos", type=Path, nargs="+", metavar="VIDEO", help="files; then overrides of moda prepare")
    parser.add_argument("--rounds", type=int, default=1, help="times that each video is prepared")
    arguments = parser.parse_args([text for text in argv if "=" not in text])
    if arguments.rounds < 1:
        raise UserError("--rounds must be at least 1")
    import cv2

    from moda.bench.preparation import measure_decoding, measure_preparation, print_preparation
    from moda.cli.hydra_app import compose
    from moda.cli.prepare import settings_of
    from moda.data_prep.extract import Extractor

    cv2.setNumThreads(1)
    overrides = ["source=.", "out=.", *(text for text in argv if "=" in text)]
    extractor = Extractor.of(settings_of(compose("prepare", overrides)))
    found = measure_preparation(arguments.videos, extractor, arguments.rounds)
    print_preparation(found, measure_decoding(arguments.videos))
    return 0


def _evaluate(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "moda bench evaluate",
        description="Measuring videos, against the networks alone on inputs kept in memory; and memory by number of clips.",
    )
    parser.add_argument("videos", type=Path, nargs="+", metavar="VIDEO", help="files; then overrides of moda evaluate")
    parser.add_argument("--rounds", type=int, default=1, help="times that each video is measured")
    parser.add_argument(
        "--clips", default="8,64", help="numbers of clips to score for the memory; default: %(default)s"
    )
    arguments = parser.parse_args([text for text in argv if "=" not in text])
    counts = [int(text) for text in arguments.clips.split(",") if text.isdecimal()]
    if arguments.rounds < 1 or not counts or min(counts) < 2 or len(counts) <= arguments.clips.count(","):
        raise UserError("--rounds must be at least 1, --clips whole numbers of at least 2, as 8,64")
    from moda.bench.evaluation import measure_evaluation, print_passes
    from moda.bench.evaluation_memory import measure_memory, print_memory
    from moda.build import build
    from moda.cli.hydra_app import compose
    from moda.devices import resolve_device
    from moda.eval.videos.extractors.networks import Networks, build_extractors

    values = compose("evaluate", [text for text in argv if "=" in text])
    networks, notes = Networks(**values.networks).resolved()
    protocol, device = build(values.protocol), str(resolve_device(values.devices[0]))
    print("\n".join(notes))
    extractors = build_extractors(networks, protocol, device)
    print_passes(measure_evaluation(arguments.videos, extractors, protocol, arguments.rounds))
    metrics = {name: build(spec) for name, spec in values.metrics.items()}
    print_memory(measure_memory(arguments.videos, extractors, protocol, metrics, counts))
    return 0


def _steps(argv: list[str]) -> int:
    parser = argparse.ArgumentParser("moda bench steps", description="The motion metrics of a run by solver and steps.")
    parser.add_argument("run", help="run of task=dit; after it, overrides of moda evaluate protocol=motion")
    parser.add_argument("--steps", default="4,6,10", help="numbers of steps, separated by commas; default: %(default)s")
    parser.add_argument("--solvers", default="", help="separated by commas; default: the run's own")
    parser.add_argument(
        "--shifts", default="", help="of the uniform grid, separated by commas; default: the run's grid"
    )
    parser.add_argument(
        "--reference", type=int, default=100, help="steps that others are held against, by the run's own way"
    )
    parser.add_argument("--out", type=Path, default=Path("bench_steps.json"), help="where the numbers go")
    arguments, overrides = parser.parse_known_args(argv)
    if any(text.startswith("-") or "=" not in text for text in overrides):
        raise UserError(f"unknown option {overrides[0]}; moda bench steps --help lists them")
    from moda.bench.sampling import Sampling, as_json, measure_steps, print_steps
    from moda.cli.evaluate import motion_protocol
    from moda.files import write_json
    from moda.overrides import quoted

    protocol = motion_protocol([f"run={quoted(arguments.run)}", *overrides])
    samplings = [
        Sampling(steps, solver, shift)
        for solver in _listed(arguments.solvers, str) or [None]
        for shift in _listed(arguments.shifts, float) or [None]
        for steps in _listed(arguments.steps, int)
    ]
    found = measure_steps(protocol, samplings, Sampling(arguments.reference))
    write_json(arguments.out, as_json(found, protocol))
    print_steps(found)
    print(f"written to {arguments.out}")
    return 0


def _listed(text: str, kind: type) -> list:
    try:
        return [kind(part) for part in text.split(",") if part]
    except ValueError as error:
        raise UserError(f"{text!r} is not a list of numbers separated by commas") from error


def _codec(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "moda bench codec", description="LivePortrait's networks against their layers alone, and decoding against both."
    )
    parser.add_argument(
        "--directory", type=Path, help="of the official weights; without one, noise, which takes as long"
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (default: %(default)s)")
    parser.add_argument("--batch", type=int, help="frames at once (default: what suits the device)")
    parser.add_argument("--frames", type=int, default=None, help="decoded in a turn (default: 4 batches)")
    parser.add_argument("--rounds", type=int, default=3, help="turns; their medians count (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("bench_codec.json"), help="where the numbers go")
    arguments = parser.parse_args(argv)
    if arguments.rounds < 1 or (arguments.frames is not None and arguments.frames < 1):
        raise UserError("--rounds and --frames must be at least 1")
    from moda.bench.codec import VARIANTS, measure_codec, print_times, write_random_weights
    from moda.codec.liveportrait import LivePortraitCodec
    from moda.devices import resolve_device
    from moda.files import write_json

    device = resolve_device(arguments.device)
    times = []
    with tempfile.TemporaryDirectory(prefix="moda-bench-") as folder:
        directory = arguments.directory or write_random_weights(Path(folder))
        for precision, compiled in VARIANTS.get(device.type, VARIANTS["cpu"]):
            codec = LivePortraitCodec(directory, str(device), precision, compiled, batch=arguments.batch)
            times.append(measure_codec(codec, arguments.frames or 4 * codec.batch, arguments.rounds))
    write_json(arguments.out, {"device": str(device), "variants": [variant.to_dict() for variant in times]})
    print_times(times, device)
    print(f"written to {arguments.out}")
    return 0


def _scaling(argv: list[str]) -> int:
    from moda.bench.scaling import main as scaling

    return scaling(argv)

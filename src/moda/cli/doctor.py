"""``moda doctor``: what works on this machine, what is missing, and what to do about it."""

import argparse
import importlib
import importlib.util
import platform
import resource
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from moda.errors import UserError, first_line
from moda.training.distributed.resources import cores
from moda.weights import REGISTRY
from moda.weights.locate import cache_dir, check, locate

# import name -> what needs it; without one of these nothing works
CORE_MODULES = {
    "torch": "everything that is learned", "lightning": "training", "hydra": "configuration",
    "webdataset": "shards", "decord": "decoding video (distribution decord2)", "av": "writing video, reading sound",
    "cv2": "pictures (distribution opencv-python-headless)", "soxr": "resampling", "soundfile": "writing sound",
    "scipy": "mathematics", "safetensors": "export", "torchmetrics": "metrics", "wandb": "logging",
}  # fmt: skip
# import name -> what needs it, and what to give pip
EXTRA_MODULES = {
    "ai_edge_litert": ("face landmarks", "ai-edge-litert"),
    "hama": ("phoneme features", "--no-deps hama"),
    "onnxruntime": ("the packaged voice, voice activity", "onnxruntime"),
    "dlib": ("knowing faces again", "--no-deps dlib-bin face-recognition-models"),
    "ray": ("moda prepare launcher=ray", "ray"),
    "onnx": ("the packaged voice", "onnx"),
    "deepspeed": ("ZeRO training on GPUs", "deepspeed"),
    "optuna": ("searched sweeps", "optuna"),
    "transformers": ("wav2vec2 and HuBERT features", "transformers"),
}
CODECS: tuple[tuple[str, Literal["r", "w"]], ...] = (
    ("libx264", "w"),
    ("aac", "w"),
    ("h264", "r"),
    ("aac", "r"),
    ("flac", "r"),
    ("mp3float", "r"),
)
_LITTLE_SPACE = 5e9  # bytes; the demo needs about one
_LITTLE_SHARED = 1e9  # bytes
_FEW_FILES = 1024
SHARED = Path("/dev/shm")


class Finding(NamedTuple):
    """One row of the table. state: "ok", "missing" (a part will not work) or "broken" (the core will not)."""

    what: str
    state: str
    detail: str


def main(argv: list[str]) -> int:
    """Print the table; status 1 if something that the core needs is missing."""
    parser = argparse.ArgumentParser(prog="moda doctor", description="Say what works here and what is missing.")
    parser.parse_args(argv)
    table = Table("what", "state", "detail")
    colours = {"ok": "green", "missing": "yellow", "broken": "red"}
    broken = 0
    for finding in examine():
        table.add_row(finding.what, Text(finding.state, style=colours[finding.state]), Text(finding.detail))
        broken += finding.state == "broken"
    console().print(table)
    print(f"{broken} thing(s) the core needs are broken" if broken else "the core is ready")
    return int(broken > 0)


def console() -> Console:
    """Rich output; where it is not read on a terminal, wide enough that no column is cut."""
    out = Console()
    return out if out.is_terminal else Console(width=200)


def examine() -> Iterator[Finding]:
    """All findings, in the order of the table."""
    yield _python()
    yield from map(_core_module, CORE_MODULES)
    yield from map(_extra_module, EXTRA_MODULES)
    yield from _codecs()
    yield _processor()
    yield from _gpus()
    yield from _limits()
    yield from map(_weight, REGISTRY)
    yield _cache()
    yield _disk()


def _python() -> Finding:
    state = "ok" if sys.version_info >= (3, 11) else "broken"
    return Finding("python", state, f"{platform.python_version()} on {platform.platform()}; 3.11 or newer is needed")


def _import(name: str) -> str | Exception:
    """Version of a module, or why it cannot be imported (a broken native library raises anything)."""
    try:
        module = importlib.import_module(name)
    except Exception as error:
        return error
    return str(getattr(module, "__version__", "installed"))


def _core_module(name: str) -> Finding:
    result = _import(name)
    if isinstance(result, Exception):
        return Finding(
            name, "broken", f"{CORE_MODULES[name]}: {first_line(result)}; pip install -c constraints.txt -e ."
        )
    return Finding(name, "ok", f"{result}; {CORE_MODULES[name]}")


def _extra_module(name: str) -> Finding:
    purpose, packages = EXTRA_MODULES[name]
    result = _import(name)
    if isinstance(result, Exception):
        return Finding(name, "missing", f"{purpose}: {first_line(result)}; pip install -c constraints.txt {packages}")
    return Finding(name, "ok", f"{result}; {purpose}")


def _codecs() -> Iterator[Finding]:
    try:
        from av.codec import Codec
    except ImportError:
        return  # already reported
    for name, mode in CODECS:
        what = f"{'encode' if mode == 'w' else 'decode'} {name}"
        try:
            Codec(name, mode)
        except ValueError:
            yield Finding(
                what, "broken", "this build of PyAV lacks it; install the wheel: pip install --force-reinstall av"
            )
        else:
            yield Finding(what, "ok", "FFmpeg inside PyAV")


def _processor() -> Finding:
    return Finding("processor", "ok", f"{cores()} CPU core(s)")


def _gpus() -> Iterator[Finding]:
    """torch, CUDA and driver, then every device and what its training needs."""
    try:
        import torch
        from torch.cuda import nccl

        from moda import gpus
        from moda.training.compilation import COMPILERS
    except ImportError:
        return  # already reported
    found = gpus.stack()
    try:
        gpus.require_gpus()
    except UserError as error:  # no fault where there is no GPU to be used
        usable = found.driver is None and found.build is None
        yield Finding("GPU", "ok" if usable else "missing", str(found) if usable else str(error))
        return
    yield Finding("GPU", "ok", f"{found}; torch is compiled for {', '.join(torch.cuda.get_arch_list())}")
    for index in range(torch.cuda.device_count()):
        yield _gpu(index)
    version = ".".join(map(str, nccl.version())) if torch.distributed.is_nccl_available() else None
    yield Finding("NCCL", "ok" if version else "missing", version or "this torch cannot train on several GPUs")
    flash = torch.backends.cuda.is_flash_attention_available()
    yield Finding(
        "flash attention", "ok" if flash else "missing", "inside torch" if flash else "attention will be slower"
    )
    triton = importlib.util.find_spec("triton") and any(map(shutil.which, COMPILERS))
    needs = "compile=true needs triton and a C compiler"
    yield Finding("compiling", "ok" if triton else "missing", "triton and a C compiler" if triton else needs)


def _gpu(index: int) -> Finding:
    from moda import gpus

    try:
        gpu = gpus.open_gpu(index)
        gpus.require_fit(gpu, "bf16-mixed", 1)
    except UserError as error:
        return Finding(f"GPU {index}", "missing", str(error))
    slice_of_card = "; a slice of a card (MIG): alone, without NCCL" if gpus.is_slice(gpu.name) else ""
    memory = f"{gpu.free / 2**30:.1f} of {gpu.total / 2**30:.1f} GiB free"
    return Finding(f"GPU {index}", "ok", f"{gpu}, bfloat16, {memory}{slice_of_card}")


def _limits() -> Iterator[Finding]:
    """What readers of data need of this machine beside memory."""
    if SHARED.is_dir():
        free = shutil.disk_usage(SHARED).free
        state = "ok" if free > _LITTLE_SHARED else "missing"
        advice = "" if state == "ok" else "; data.num_workers needs more (docker run --shm-size=8g)"
        yield Finding(str(SHARED), state, f"{free / 1e9:.2g} GB free for batches of reader processes{advice}")
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    state = "ok" if files >= _FEW_FILES else "missing"
    advice = "" if state == "ok" else f"; readers and shards need more: ulimit -n {min(most, 65536)}"
    yield Finding("open files", state, f"{files} at once{advice}")


def _weight(name: str) -> Finding:
    weight, what = REGISTRY[name], f"weight {name}"
    try:
        located = locate(name)
        if located is None:
            return Finding(what, "missing", f"{weight.purpose}; run `moda weights get {name}`")
        check(weight, located.path)
    except UserError as error:
        return Finding(what, "missing", str(error))
    return Finding(what, "ok", f"{located.place}; {weight.purpose}")


def _cache() -> Finding:
    try:
        cache_dir().mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=cache_dir()):
            return Finding("cache", "ok", str(cache_dir()))
    except OSError as error:
        return Finding(
            "cache", "missing", f"{cache_dir()}: {error.strerror}; set XDG_CACHE_HOME to a place you can write"
        )


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free
    state = "ok" if free > _LITTLE_SPACE else "missing"
    return Finding("disk space here", state, f"{free / 1e9:.1f} GB free; {_LITTLE_SPACE / 1e9:.0f} GB are comfortable")

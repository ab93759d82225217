"""What a result came from, beyond protocol, networks and videos: whatever else could have changed a number."""

import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from inspect import signature
from typing import Any

from moda import __version__
from moda.build import build
from moda.eval.metrics.base import Metric
from moda.eval.videos.evaluate import Request, VideoEvaluation
from moda.eval.videos.from_run import record_of

PACKAGES = (
    "torch", "numpy", "scipy", "opencv-python-headless", "decord2", "av", "soxr", "ai-edge-litert", "dlib-bin", "onnxruntime", "hama",
)  # fmt: skip


def provenance_of(evaluation: VideoEvaluation) -> dict[str, Any]:
    """sampling: of a run, how its videos were made. ceiling: the codec of that row. None where there is none."""
    request = evaluation.request
    sampling = _sampling(request)
    return {
        "generated": str(request.generated) if request.generated else None,
        "reference": str(request.reference) if request.reference else None,
        "run": str(request.run.run) if request.run else None,
        "unpaired": evaluation.unpaired,
        "sampling": sampling and {name: value for name, value in sampling.items() if name != "codec"},
        "ceiling": _ceiling(evaluation, sampling["codec"]["spec"] if sampling else request.codec_spec),
        "versions": _versions(),
    }


def spec_of(metric: Metric) -> dict[str, Any]:
    """What builds the metric: its class, and the settings that it was given."""
    kind, values = type(metric), vars(metric)
    settings = {name: values[name] for name in signature(kind).parameters if name in values}
    return {"_target_": f"{kind.__module__}.{kind.__qualname__}", **settings}


def _sampling(request: Request) -> dict[str, Any] | None:
    """What the videos of a run were made from; the clips themselves are told one by one elsewhere."""
    if request.run is None:
        return None
    return {**record_of(request.out / "videos"), "clips": request.run.clips}


def _ceiling(evaluation: VideoEvaluation, spec: Any) -> dict[str, Any] | None:
    if "codec_ceiling" not in evaluation.found:
        return None
    return {"codec": dict(spec), "fingerprint": build(dict(spec)).fingerprint}


def _versions() -> dict[str, str]:
    """Of everything that reads, looks at or counts."""
    found = {"moda": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):  # what is not installed has not measured
            found[name] = version(name)
    return found

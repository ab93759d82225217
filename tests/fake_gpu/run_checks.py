"""Everything that is tried on the fake GPU, in one process: ``run_checks.py FOLDER RESULTS.json [PART OF A NAME]``."""

import json
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
warnings.filterwarnings("ignore")

import torch  # noqa: E402
from fake_device import GPU, leave  # noqa: E402
from fake_kernels import autocast_rules  # noqa: E402
from fake_networks import FEATURES, detector, emotion, features, liveportrait, sync  # noqa: E402
from fake_precision import measured_step, resumed  # noqa: E402
from fake_sampling import make_sampler, sample  # noqa: E402
from fake_session import fake_gpu  # noqa: E402
from fake_training import Material, Training, only_step, step_and_beside  # noqa: E402
from fake_watch import Watch  # noqa: E402

Check = Callable[[Watch], dict[str, Any]]
Prepare = Callable[[], Check]

SHORT = "model.network.stages=[{depth: 1, groups: [[motion], [audio, emotion, identity]]}, {depth: 2, groups: [[motion, audio, emotion, identity]]}]"
MOTION = ("task=dit", "model.space=motion", SHORT)
TERMS = ("loss.motion=1", "loss.temporal=1", "loss.smoothness=1", "loss.keypoints=1", "loss.sync=1")
CONTROLS = ("model.controls=[pose,gaze]", "model.network.late_audio=2")


def checks(material: Material) -> Iterator[tuple[str, Prepare]]:
    """Each by name, and what prepares it on the host."""
    yield from training_checks(material)
    yield from sampling_checks(material)
    yield "LivePortrait", lambda: partial(liveportrait, material.folder / "weights")
    for name, (output, prepare) in FEATURES.items():
        yield name, lambda n=name, o=output, p=prepare: partial(features, n, o, p)
    for name, check in {"SyncNet": sync, "S3FD": detector, "MiniXception": emotion, "rules": rules}.items():
        yield name, lambda c=check: c
    for name, mistake in {"a mix": mixed, "a read": read, "a mask": masked, "an upload": uploaded}.items():
        yield f"planted: {name}", lambda m=mistake: m


def training_checks(material: Material) -> Iterator[tuple[str, Prepare]]:
    terms = (*TERMS, f"loss.sync_expert={material.sync_expert}", *CONTROLS)
    for name, step, overrides in (
        ("transformer", step_and_beside, MOTION),
        ("transformer with all terms", only_step, (*MOTION, *terms, "model.network.context=2")),
        ("transformer of latents", only_step, (*latent(material), *terms)),
        ("motion VAE", step_and_beside, ("task=motion_vae", "loss.keypoints=1")),
        ("quantised VAE", only_step, ("task=motion_vae", "model=motion_vae_fsq")),
        ("sync expert", step_and_beside, ("task=sync_expert",)),
        ("SyncNet", only_step, ("experiment=syncnet", "task.module.augment=false")),
    ):
        yield f"step of {name}", lambda s=step, o=overrides: partial(s, Training.of(material, *o))
    for name, batch, width in (("mmdit_demo", 16, 128), ("mmdit_b", 8, 48)):  # the same is launched at any width
        sizes = ("task=dit", "model.space=motion", f"model={name}", f"model.network.width={width}")
        training = partial(Training.of, material, *sizes, batch_size=batch)
        yield f"launches of {name}", lambda t=training: partial(measured_step, t())
    for kind in ("fused", "foreach"):
        yield f"resume, {kind}", lambda k=kind: partial(resumed, material.folder / k, k == "fused")


def sampling_checks(material: Material) -> Iterator[tuple[str, Prepare]]:
    for name, overrides, settings in (
        ("motion", MOTION, {}),
        ("an interval", MOTION, {"interval": [0.2, 0.8], "solver": "heun"}),
        ("latents", (*latent(material), *CONTROLS), {"solver": "adams_bashforth_3"}),
    ):
        sampler = partial(make_sampler, material, *overrides, **settings)
        yield f"sampling of {name}", lambda s=sampler: partial(sample, s(), material)


def latent(material: Material) -> tuple[str, ...]:
    return ("task=dit", SHORT, "model.space=latent", f"model.motion_vae={material.motion_vae}")


def rules(watch: Watch) -> dict[str, Any]:
    """Operators that autocast has a rule for."""
    return {"operators": [name.removesuffix(".default") for names in autocast_rules().values() for name in names]}


def mixed(watch: Watch) -> dict[str, Any]:
    """A tensor that was left on the host."""
    return {"sum": list((torch.ones(3, device=GPU) + torch.ones(3)).shape)}


def read(watch: Watch) -> dict[str, Any]:
    """A value that the host asks for."""
    return {"read": torch.ones(3, device=GPU).sum().item()}


def masked(watch: Watch) -> dict[str, Any]:
    """A number of elements that the host has to know."""
    values = torch.ones(3, device=GPU)
    return {"shape": list(values[values > 0].shape)}


def uploaded(watch: Watch) -> dict[str, Any]:
    """A constant that is copied to the device."""
    torch.ones(3).to(GPU, non_blocking=True)
    return {"shape": list(torch.ones(3, device=GPU).new_tensor([1.0, 2.0]).shape)}


def outcome(check: Check) -> dict[str, Any]:
    """What a check returns and what was noted meanwhile; ``error``: what ended it, and where."""
    error, more = None, {}
    with fake_gpu() as watch:
        try:
            more = check(watch)
        except Exception as raised:
            error = _described(raised)
    return {**more, "error": error, "phases": {name: vars(phase) for name, phase in watch.phases.items()}}


def _described(error: Exception) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/torch/" not in frame.filename]
    places = " > ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames[-4:])
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:300]} ({places})"


def main(folder: Path, results: Path, part: str = "") -> None:
    found = {}
    for name, prepare in checks(Material(folder)):
        if part in name:
            began = time.perf_counter()
            found[name] = outcome(prepare())
            print(f"{time.perf_counter() - began:5.1f} s {name}: {found[name]['error'] or 'ran'}", flush=True)
    results.write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
    leave()

"""Terms beside the velocity: what each measures, what they are of, and that they train in both spaces."""

import math

import pytest
import torch

from moda.data.schema import DatasetManifest
from moda.errors import UserError
from moda.interop.export import load_export
from moda.models.motion_vae import MotionVAE
from moda.motion.layout import get_layout
from moda.training import run
from moda.training.draws import Draws
from moda.training.losses import dimension_weights
from moda.training.objectives import Objectives, Terms
from moda.training.run import build_module
from moda.training.tracking.metrics import last_metrics, read_metrics

HEAD = get_layout("head59")
LIPS = list(HEAD.subsets["lips"])


def objectives(dataset, vae=None, **terms) -> Objectives:
    manifest = DatasetManifest.load(dataset)
    weights = dimension_weights(manifest.statistics, {})
    return Objectives(Terms(**terms), manifest, weights, "train", vae)


def measured(dataset, made, truth, valid=None, **terms) -> dict[str, float]:
    """Terms of ``made`` (B, W, 59) where the truth (B, 1 + W, 59) has one frame before."""
    valid = torch.ones(truth.shape[:2], dtype=torch.bool) if valid is None else valid
    batch = {"motion": truth, "valid": valid}
    found = objectives(dataset, **terms)(
        made, truth[:, :1], batch, torch.full((len(made),), 0.5), torch.zeros(len(made)).bool()
    )
    return {name: value.item() for name, value in found.items()}


def truth_of(frames: int = 9) -> torch.Tensor:
    truth = torch.randn(2, frames, HEAD.dim, generator=torch.Generator().manual_seed(0))
    truth[..., HEAD.index("tongueOut")] = 0  # dead
    return truth


def test_a_constant_error_is_one_of_the_motion_and_of_its_first_change(tiny_dataset) -> None:
    truth = truth_of()
    found = measured(tiny_dataset, truth[:, 1:] + 0.5, truth, motion=1.0, temporal=1.0)
    assert found["motion"] == pytest.approx(0.25)
    assert found["temporal"] == pytest.approx(0.25 / 8)  # the seam: one of eight changes


def test_the_truth_has_no_error(tiny_dataset) -> None:
    truth = truth_of()
    assert measured(tiny_dataset, truth[:, 1:], truth, motion=1.0, temporal=1.0) == {"motion": 0, "temporal": 0}


def test_smoothness_is_the_acceleration_of_all_but_the_lips(tiny_dataset) -> None:
    time = torch.arange(9.0)[None, :, None].expand(2, 9, HEAD.dim)
    parabola, ramp = (0.5 * time**2)[:, 1:], (3 * time)[:, 1:]
    assert measured(tiny_dataset, parabola, 0.5 * time**2, smoothness=1.0)["smoothness"] == pytest.approx(1.0)
    assert measured(tiny_dataset, ramp, 3 * time, smoothness=1.0)["smoothness"] == pytest.approx(0.0, abs=1e-9)
    shaking = torch.zeros(2, 9, HEAD.dim)
    shaking[..., LIPS] = 0.5 * time[..., LIPS] ** 2
    assert measured(tiny_dataset, shaking[:, 1:], shaking, smoothness=1.0)["smoothness"] == 0
    assert measured(tiny_dataset, shaking[:, 1:], shaking, smoothness=1.0, smooth_lips=True)["smoothness"] > 0


def test_frames_after_the_end_do_not_count(tiny_dataset) -> None:
    truth, valid = truth_of(), torch.ones(2, 9, dtype=torch.bool)
    valid[:, 6:] = False
    made = truth[:, 1:] + 0.5
    terms = {"motion": 1.0, "temporal": 1.0, "smoothness": 1.0}
    before = measured(tiny_dataset, made, truth, valid, **terms)
    made[:, 5:] = 1e3
    assert measured(tiny_dataset, made, truth, valid, **terms) == pytest.approx(before)


def test_in_the_latent_space_the_terms_are_of_the_decoded_motion(tiny_dataset) -> None:
    torch.manual_seed(0)
    vae = MotionVAE(HEAD.dim, latent_dim=4, width=8).requires_grad_(False)
    latent = torch.randn(2, 9, 4)
    decoded = vae.decode(vae.denormalize(latent))
    truth = torch.cat([torch.zeros(2, 4, HEAD.dim), decoded[:, 12:]], 1)  # the last six tokens
    batch = {"motion": truth, "valid": torch.ones(2, 28, dtype=torch.bool)}
    estimate = latent[:, 3:].clone().requires_grad_()
    judge = objectives(tiny_dataset, vae, motion=1.0)
    found = judge(estimate, latent[:, :3], batch, torch.ones(2), torch.zeros(2).bool())["motion"]
    assert found.item() == pytest.approx(0, abs=1e-10)
    judge(estimate + 0.1, latent[:, :3], batch, torch.ones(2), torch.zeros(2).bool())["motion"].backward()
    assert estimate.grad is not None and estimate.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": "noise"}, "loss.target=noise"),
        ({"temporal": -1.0}, "loss.temporal=-1"),
        ({"motion": math.nan}, "loss.motion=nan"),
        ({"sync": 1.0}, "loss.sync=1.0 needs loss.sync_expert"),
        ({"sync_expert": "runs/x"}, "does nothing with loss.sync=0"),
        ({"smooth_lips": True}, "does nothing with loss.smoothness=0"),
    ],
)
def test_settings_that_cannot_be_or_do_nothing_are_refused(settings, message) -> None:
    with pytest.raises(UserError, match=message):
        Terms(**settings)


def losses_of(config, dataset, index=(0, 1, 2)) -> dict[str, float]:
    torch.manual_seed(0)
    module = build_module(config, DatasetManifest.load(dataset))
    with torch.no_grad():
        module.network.get_parameter("final_linear.weight").normal_(0, 0.1)  # it starts at zero
    generator = torch.Generator().manual_seed(1)
    frames = module.previous + module.window
    batch = {
        "motion": torch.randn(len(index), frames, 59, generator=generator),
        "valid": torch.ones(len(index), frames, dtype=torch.bool),
        "audio": torch.randn(len(index), module.window, 1, 6, generator=generator),
        "identity": torch.randn(len(index), 5, generator=generator),
        "emotion": torch.zeros(len(index), dtype=torch.long),
        "intensity": torch.ones(len(index)),
    }
    losses = module.losses(batch, Draws(0, "train", torch.tensor(index)))
    return {name: value.item() for name, value in losses.items()}


def test_a_term_adds_to_the_velocity_and_leaves_its_draws(configure, tiny_dataset) -> None:
    space = "model.space=motion"
    plain = losses_of(configure("dit", "x", space), tiny_dataset)
    found = losses_of(configure("dit", "x", space, "loss.temporal=0.5", "loss.motion=0.25"), tiny_dataset)
    assert found["velocity"] == plain["loss"] and "velocity" not in plain
    assert found["loss"] == pytest.approx(plain["loss"] + 0.5 * found["temporal"] + 0.25 * found["motion"])


def test_the_error_of_the_data_is_sigma_squared_of_the_velocitys(configure, tiny_dataset) -> None:
    """Which is what the term ``motion`` measures too."""
    found = losses_of(configure("dit", "x", "model.space=motion", "loss.target=data", "loss.motion=1"), tiny_dataset)
    assert found["velocity"] == pytest.approx(found["motion"], rel=1e-4)


def test_weights_that_do_nothing_are_said_and_those_that_do_are_not(configure, tmp_path, tiny_dataset, recwarn) -> None:
    run.train(configure("motion_vae", "vae", "trainer.max_steps=3"))
    latent = ("model.space=latent", f"model.motion_vae={tmp_path / 'vae'}", "loss.weights.lips=2")
    with pytest.warns(UserWarning, match="loss.weights do nothing in model.space=latent without loss.motion"):
        build_module(configure("dit", "x", *latent), DatasetManifest.load(tiny_dataset))
    recwarn.clear()
    build_module(configure("dit", "x", *latent, "loss.motion=1"), DatasetManifest.load(tiny_dataset))
    assert not [warning for warning in recwarn if "loss.weights" in str(warning.message)]


ALL = ("loss.motion=0.1", "loss.temporal=0.1", "loss.smoothness=0.01")


@pytest.mark.parametrize("space", ["motion", "latent"])
def test_all_terms_train_in_both_spaces(configure, compose_train, make_dataset, tmp_path, space) -> None:
    from test_sync_expert_module import SMALL_EXPERT, SPEAKERS

    root = make_dataset(speakers=SPEAKERS)
    expert = run.train(compose_train(*SMALL_EXPERT, f"data.path={root}", f"run_dir={tmp_path / 'expert'}"))
    run.train(configure("motion_vae", "vae", dataset=root))
    sync = ("loss.sync=0.5", f"loss.sync_expert={expert}")
    more = (*ALL, *sync, f"model.space={space}", f"model.motion_vae={tmp_path / 'vae'}")
    path = run.train(configure("dit", "dit", *more, dataset=root))
    values = last_metrics(path / "metrics.jsonl")
    for phase in ("train", "val"):
        total = values[f"{phase}/velocity"] + sum(
            weight * values[f"{phase}/{name}"]
            for name, weight in {"motion": 0.1, "temporal": 0.1, "smoothness": 0.01, "sync": 0.5}.items()
        )
        assert values[f"{phase}/loss"] == pytest.approx(total, rel=1e-4)
    assert any(line.get("train/sync", 0) > 0 for line in read_metrics(path / "metrics.jsonl"))
    with pytest.raises(UserError, match="the sync_expert has changed since checkpoint"):
        run.train(compose_train(*SMALL_EXPERT, f"data.path={root}", f"run_dir={expert}", "trainer.max_steps=7"))
        run.train(configure("dit", "dit", *more, "trainer.max_steps=7", dataset=root))


def test_an_expert_of_the_same_speakers_is_refused(configure, compose_train, tiny_dataset, tmp_path) -> None:
    from test_sync_expert_module import SMALL_EXPERT

    run_dir = f"run_dir={tmp_path / 'expert'}"
    expert = run.train(compose_train(*SMALL_EXPERT, f"data.path={tiny_dataset}", "data.split=train", run_dir))
    config = configure("dit", "x", "model.space=motion", "loss.sync=1", f"loss.sync_expert={expert}")
    with pytest.raises(UserError, match=r"trained on speakers of this training \(ann, bob\); set some apart"):
        build_module(config, DatasetManifest.load(tiny_dataset))


@pytest.mark.parametrize("space", ["motion", "latent"])
def test_the_diffusion_baseline_trains_and_samples_like_any_other(configure, tmp_path, space) -> None:
    run.train(configure("motion_vae", "vae"))
    more = ("model=diagonal_decoder", "flow=ddpm", "loss.target=data", "model.network.depth=1")
    path = run.train(configure("dit", "dit", *more, f"model.space={space}", f"model.motion_vae={tmp_path / 'vae'}"))
    export = load_export(path)
    assert export.flow.steps == 2 and float(export.flow.grid(4)[0]) == 1
    made = list(export.sampler().sample(torch.randn(30, 1, 6), torch.zeros(5), 8, torch.ones(59)))
    assert sum(len(part) for part in made) == 30

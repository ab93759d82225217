"""experiment=moda_paper trains the published pipeline, in small."""

import numpy as np
import pytest
import torch
from training_support import SMALL, SMALL_DIT

from moda.cli.hydra_app import compose
from moda.cli.main import main
from moda.cli.train import resolve
from moda.data.schema import DatasetManifest
from moda.errors import UserError
from moda.interop.export import load_export
from moda.interop.moda import MODA_B, load_official
from moda.motion.published import moda_statistics
from moda.training.run import train


def published(dataset, run, *more):
    small = [*SMALL, *SMALL_DIT, f"run_dir={run}", f"data.path={dataset}"]
    return resolve(compose("train", ["experiment=moda_paper", *small, *more]))


def test_the_preset_is_the_published_pipeline():
    config = resolve(compose("train", ["experiment=moda_paper", "data.path=none"]))
    module = config["task"]["module"]
    assert {**MODA_B, **{k: v for k, v in module["network"].items() if k in MODA_B}} == MODA_B
    assert (config["data"]["window"], module["overlap"], module["space"]) == (80, 16, "motion")
    assert (module["flow"]["steps"], module["flow"]["guidance"]) == (10, 1.2)
    assert module["flow"]["guided"] == ["audio", "emotion"]
    dropout = module["condition_dropout"]
    assert [dropout[name] for name in ("joint", "audio", "emotion", "identity")] == [0.0, 0.2, 0.1, 0.0]
    assert not module["controls"]
    assert module["reference_scale"] and all(module["published"].values())
    ours = resolve(compose("train", ["task=dit", "data.path=none"]))["task"]["module"]
    assert ours["reference_scale"] and not any(ours["published"].values())


def test_a_run_of_the_preset_has_its_statistics_samples_and_is_written_officially(make_dataset, tmp_path, capsys):
    dataset = make_dataset(layout="liveportrait70")
    run = train(published(dataset, tmp_path / "run", "preview.every=3", "preview.seconds=1", "preview.video=false"))
    export = load_export(run)
    np.testing.assert_array_equal(export.statistics.std, moda_statistics().std)
    assert export.statistics.epsilon == 1e-5 and export.reference_scale and export.published["silence"] == 2.0
    rest = moda_statistics().mean.astype(np.float32)
    rest[63] = 1.6
    audio = np.random.default_rng(0).standard_normal((40, 1, 6)).astype(np.float32)
    makers = [export.sampler(), load_export(run).sampler()]
    (one,), (other,) = (list(maker.sample(audio, np.zeros(5), 8, rest, steps=2)) for maker in makers)
    assert one.shape == (40, 70) and np.isfinite(one).all()
    assert not np.array_equal(one, other)  # the null audio was drawn again
    assert torch.equal(load_export(run).network.null_audio.token, load_export(run).network.null_audio.token)

    official = tmp_path / "net.pth"
    assert main(["export", str(run), "--out", str(tmp_path / "out"), "--official", str(official)]) == 0
    assert export.network_spec is not None
    spec = {name: value for name, value in export.network_spec.items() if name != "_target_"}
    again, whole = load_official(official, spec), load_export(tmp_path / "out").network
    for key, value in again.state_dict().items():
        assert key.startswith("null_") or torch.equal(value, whole.state_dict()[key])


def test_without_the_defects_two_loads_sample_alike(make_dataset, tmp_path):
    run = train(published(make_dataset(layout="liveportrait70"), tmp_path / "run", "published.drawn_null_audio=false"))
    rest, audio = moda_statistics().mean.astype(np.float32), np.ones((20, 1, 6), np.float32)
    one, other = (
        np.concatenate(list(load_export(run).sampler().sample(audio, np.zeros(5), 8, rest))) for _ in range(2)
    )
    np.testing.assert_array_equal(one, other)


def test_statistics_of_another_layout_are_refused(tiny_dataset, tmp_path):
    assert DatasetManifest.load(tiny_dataset).layout.name == "head59"
    with pytest.raises(UserError, match="statistics are of layout liveportrait70.*head59"):
        train(published(tiny_dataset, tmp_path / "run"))

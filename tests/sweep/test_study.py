"""Named trainings: what they are, what they share, and a whole study of tiny networks."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dataset_support import save
from omegaconf import OmegaConf

from moda.cli.hydra_app import compose
from moda.cli.main import main
from moda.cli.sweep_study import read_study, study_name
from moda.data.schema import DatasetManifest
from moda.errors import UserError
from moda.sweep.evaluations import Scoring, results_in
from moda.sweep.study import Study

STUDY: dict[str, Any] = {
    "seeds": [0, 1],
    "first": {"vae": ["task=motion_vae"], "sync": ["task=sync_expert"]},
    "base": ["task=dit", "model=mmdit_demo", "model.motion_vae={vae}"],
    "evaluate": ["rows=[model]", "clips=3"],
    "variants": {
        "plain": None,
        "other": ["model=diagonal_decoder", "loss.sync_expert={sync}"],
        "fewer": ["evaluate.steps=4", "evaluate.clips=5"],
    },
}


def study(typed: tuple[str, ...] = (), **changes: Any) -> Study:
    return Study.of({**STUDY, **changes}, "sweeps/s", typed)


def test_a_variants_own_settings_take_the_place_of_those_of_all() -> None:
    plain, other, fewer = study(("trainer.max_steps=7", "model=mmdit_b")).variants
    assert plain.train == ("task=dit", "model.motion_vae={vae}", "trainer.max_steps=7", "model=mmdit_b")
    assert [text for text in other.train if text.startswith("model=")] == ["model=diagonal_decoder"]
    assert fewer.evaluate == ("rows=[model]", "steps=4", "clips=5") and fewer.train == plain.train


def test_settings_of_all_evaluations_are_typed_as_those_of_trainings_are() -> None:
    plain, _, fewer = (found := study(("evaluate.clips=4", "evaluate.seeds=1", "trainer.max_steps=7"))).variants
    assert plain.evaluate == ("rows=[model]", "clips=4", "seeds=1")
    assert set(fewer.evaluate) == {"rows=[model]", "seeds=1", "steps=4", "clips=5"}
    trainings = [*found.first.values(), *found.trials()]
    assert not any("evaluate" in text or "seeds" in text for trial in trainings for text in trial.overrides)


def test_variants_that_differ_in_their_evaluation_share_their_trainings() -> None:
    found = study()
    assert [trial.axes for trial in found.trials()] == [
        {"variant": name, "seed": seed} for name in ("plain", "other") for seed in ("0", "1")
    ]
    plain, _, fewer = found.variants
    assert found.trial(plain, 1).name == found.trial(fewer, 1).name != found.trial(plain, 0).name


def test_what_comes_first_is_found_by_its_place_and_gets_no_settings_of_the_model() -> None:
    found = study(("data.path=d", "model.network.width=16", "trainer.max_steps=3"))
    vae = found.first["vae"]
    assert vae.overrides == ("task=motion_vae", "data.path=d", "trainer.max_steps=3")
    overrides = found.trial(found.variants[0], 0).overrides
    assert f"model.motion_vae='sweeps/s/{vae.name}'" in overrides and "model.network.width=16" in overrides


def test_only_what_is_needed_comes_first() -> None:
    assert set(study(only=["plain"]).first) == {"vae"}
    assert set(study().first) == {"vae", "sync"}
    left = study(reference="other").dropping(["sync"])
    assert [variant.name for variant in left.variants] == ["plain", "fewer"] and set(left.first) == {"vae"}
    assert left.reference.name == "plain"
    with pytest.raises(UserError, match="all variants build on vae, which failed"):
        study().dropping(["vae"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variants": {}}, "needs at least one of variants"),
        ({"seeds": []}, "at least one of variants and of seeds"),
        ({"seeds": [1, 1]}, "each once"),
        ({"seeds": 1}, r"study.seeds=1: must be a list of whole numbers from 0, as \[0,1\]"),
        ({"seeds": 0}, "study.seeds=0: must be a list"),
        ({"seeds": ["a"]}, r"study.seeds=\['a'\]: must be a list of whole numbers"),
        ({"only": "nope"}, r"study.only=nope: must be a list; write study.only=\[nope\]"),
        ({"trials": []}, "study has 'trials'; known: first"),
        ({"variants": {"a b": []}}, "the name 'a b'"),
        ({"only": ["none"]}, "study.only names 'none'"),
        ({"only": []}, "study.only is empty"),
        ({"reference": "none"}, "study.reference=none"),
        ({"variants": {"a": ["x={nothing}"]}}, "{nothing} is no training of study.first"),
        ({"variants": {"a": ["seed"]}}, "cannot read"),
    ],
)
def test_what_is_no_study_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        study(**changes)


def test_an_experiment_is_told_from_a_study() -> None:
    assert study_name(["experiment=ablations", "data.path=d"]) == "ablations"
    assert study_name(["experiment=demo_dit", "seed=1,2"]) is None and study_name(["task=dit"]) is None
    found = read_study("ablations_debug", ["data.path=d", "study.seeds=[3]", "experiment=ablations_debug"], "s")
    assert found.seeds == (3,) and found.first["vae"].overrides[-1] == "data.path=d"


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("evaluate.foo=1", "the evaluation of .*foo"),
        ("evaluate.steps=0", "the evaluation of .*: steps is 0"),
        ("study.baselines=[foo]", "study.baselines names 'foo'; rows: ground_truth"),
    ],
)
def test_an_evaluation_that_cannot_be_is_refused_before_anything_is_trained(typed: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_study("ablations_debug", ["data.path=d", typed], "s")


@pytest.mark.parametrize("name", ["ablations", "ablations_debug"])
def test_every_variant_composes(name: str) -> None:
    found = read_study(name, ["data.path=d"], "s")
    for trial in (*found.first_trials(), *(found.trial(variant, 0) for variant in found.variants)):
        OmegaConf.to_container(compose("train", list(trial.overrides)), resolve=True)


def test_a_study_is_not_trained_as_one(capsys) -> None:
    assert main(["train", "experiment=ablations", "data.path=d"]) == 1
    assert "is a list of trainings; run it with: moda sweep experiment=ablations" in capsys.readouterr().err
    assert main(["sweep", "experiment=ablations", "sweep.search=optuna", "data.path=d"]) == 1
    assert "nothing is searched" in capsys.readouterr().err


def test_an_evaluation_is_done_while_settings_and_weights_are_the_same(tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    (run / "export").mkdir(parents=True)
    (run / "export/export.json").write_text('{"files": {"model": "abc"}}')
    scoring = Scoring("one", run, ("steps=2",), out)
    assert not scoring.done
    with pytest.raises(UserError, match="holds no results of one"):
        results_in(scoring)
    out.mkdir()
    (out / "results.json").write_text('{"rows": {}}')
    (out / "request.json").write_text(json.dumps(scoring.request()))
    assert scoring.done and results_in(scoring) == {"rows": {}}
    assert not Scoring("one", run, ("steps=3",), out).done
    (run / "export/export.json").write_text('{"files": {"model": "abd"}}')
    assert not scoring.done


@pytest.mark.slow
def test_a_study_trains_evaluates_and_makes_one_table(make_dataset, tmp_path: Path) -> None:
    from moda.codec.head import HeadCodec

    root = make_dataset(frames=90, clips=4)
    save(replace(DatasetManifest.load(root), codec_fingerprint=HeadCodec(size=64).fingerprint), root)  # this machine's
    place = tmp_path / "sweep"
    command = [sys.executable, "-m", "moda.cli.main", "sweep", "experiment=ablations_debug", f"sweep.dir='{place}'"]
    first = subprocess.run([*command, f"data.path={root}"], capture_output=True, text=True, timeout=1200)
    assert first.returncode == 0, first.stdout + first.stderr
    table = (place / "ablations.md").read_text()
    for row in ("ground truth", "mean pose", "ridge regression", "latent", "motion", "latent_4_steps"):
        assert f"| {row} |" in table
    merged = json.loads((place / "ablations.json").read_text())
    assert merged["rows"]["latent"]["seeds"] == 2 and merged["reference"] == "latent"
    score = merged["rows"]["latent"]["scores"]["error_lips"]
    assert score["interval"][0] < score["value"] < score["interval"][1]
    assert "Against latent, clip by clip" in (place / "ablations.html").read_text()
    assert len(list(place.glob("trial-*"))) == 5  # a VAE, two trainings of two seeds

    collect = [*command, f"data.path={root}", "sweep.collect=true"]
    again = subprocess.run(collect, capture_output=True, text=True, timeout=600)
    assert again.returncode == 0 and "evaluations: 7, 7 already done" in again.stdout

import pytest
from omegaconf import DictConfig

from moda.cli.hydra_app import run_hydra
from moda.errors import UserError


@pytest.mark.parametrize(
    "override, reason",
    [
        ("nonsense=3", "there is no setting 'nonsense'"),
        ("optimizer.rate=3", "there is no setting 'rate'"),
        ("task=foo", "Could not find 'task/foo'.*dit motion_vae"),
        ("task=3", "must be a string"),
        ("data.window=[", "no viable alternative"),
    ],
)
def test_a_wrong_override_is_one_line(override: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason) as caught:
        run_hydra("train", lambda config: None, [override])
    assert "\n" not in str(caught.value) and "moda train --help" in str(caught.value)


def test_the_function_gets_the_composed_settings() -> None:
    seen: list[DictConfig] = []
    assert run_hydra("train", seen.append, ["task=motion_vae", "seed=7"]) == 0
    assert seen[0].task.name == "motion_vae" and seen[0].seed == 7


def test_a_user_error_inside_comes_out_as_itself() -> None:
    def fail(config: DictConfig) -> None:
        raise UserError("no such data set")

    with pytest.raises(UserError, match="^no such data set$"):
        run_hydra("train", fail, ["data.path=x"])


@pytest.mark.parametrize(
    "arguments", ["--multirun name=a seed=1,2,3", "name=a seed=1,2,3 -m", "name=a --multirun seed=1,2,3"]
)
def test_multirun_runs_every_combination(arguments: str, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    seeds: list[int] = []
    assert run_hydra("train", lambda config: seeds.append(config.seed), arguments.split()) == 0
    assert seeds == [1, 2, 3]


def test_a_flag_and_its_value_may_stand_anywhere(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_hydra("train", lambda config: None, ["name=a", "--cfg", "job", "seed=7"]) == 0
    said = capsys.readouterr().out
    assert "name: a" in said and "seed: 7" in said


@pytest.mark.parametrize("name", ["train", "prepare", "evaluate", "sweep"])
def test_help_names_the_command_and_its_settings(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        run_hydra(name, lambda config: None, ["--help"])
    assert left.value.code == 0
    out = capsys.readouterr().out
    assert "moda" in out and name in out and "Override anything" in out

import subprocess
import sys
import warnings

import pytest

from moda import __version__
from moda.cli import main as cli
from moda.errors import UserError


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name}" in out for name in cli.COMMANDS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


def test_unknown_command_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tarin"]) == 2
    assert "no command 'tarin'" in capsys.readouterr().err


def test_a_user_error_is_one_line_and_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Command:
        @staticmethod
        def main(argv: list[str]) -> int:
            raise UserError(f"{argv[0]} does not exist; name another")

    monkeypatch.setattr(cli.importlib, "import_module", lambda name: Command)
    assert cli.main(["generate", "a.wav"]) == 1
    assert capsys.readouterr().err == "moda generate: error: a.wav does not exist; name another\n"


def test_a_warning_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Command:
        @staticmethod
        def main(argv: list[str]) -> None:
            warnings.warn(f"{argv[0]} goes far", stacklevel=1)

    monkeypatch.setattr(cli.importlib, "import_module", lambda name: Command)
    before = warnings.showwarning
    assert cli.main(["generate", "look.csv"]) == 0
    assert capsys.readouterr().err == "warning: look.csv goes far\n"
    assert warnings.showwarning is before


def test_help_starts_without_the_heavy_libraries() -> None:
    code = "import sys; from moda.cli.main import main; main(['--help']); print({'torch', 'lightning', 'hydra'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip().endswith("set()")

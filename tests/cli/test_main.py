import subprocess
import sys
import warnings

import pytest
import typer
from typer.testing import CliRunner

from kronos_sc._cli._errors import Debug, message, reported


def test_help_is_quick_and_names_the_commands():
    code = (
        "import sys, kronos_sc.__main__; print([m for m in ('torch', 'spatialdata', 'scanpy', 'matplotlib', 'pandas') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    shown = subprocess.run(
        [sys.executable, "-m", "kronos_sc", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for command in ("demo", "embed", "doctor"):
        assert command in shown


@pytest.fixture
def failing():
    app = typer.Typer(pretty_exceptions_enable=False)

    def fail(*, debug: Debug = False) -> None:
        raise KeyError("There is no channel 'CD33'")

    def crash(*, debug: Debug = False) -> None:
        raise RuntimeError("a bug")

    for command in (fail, crash):
        app.command()(reported(command))
    return app


def test_expected_errors_are_one_line(failing):
    done = CliRunner().invoke(failing, ["fail"])
    assert done.exit_code == 1
    assert done.stderr == "error: There is no channel 'CD33'\n"
    assert isinstance(done.exception, SystemExit)


def test_debug_shows_the_traceback(failing):
    done = CliRunner().invoke(failing, ["fail", "--debug"])
    assert isinstance(done.exception, KeyError)


def test_warnings_are_one_line():
    app = typer.Typer(pretty_exceptions_enable=False)

    def loud(*, debug: Debug = False) -> None:
        warnings.warn("cells are cut", UserWarning, stacklevel=1)

    app.command()(reported(loud))
    assert CliRunner().invoke(app, []).stderr == "warning: cells are cut\n"


def test_bugs_are_not_hidden(failing):
    assert isinstance(CliRunner().invoke(failing, ["crash"]).exception, RuntimeError)


def test_messages():
    assert message(ValueError("a b")) == "a b"
    assert message(KeyError("a b")) == "a b"
    assert message(FileNotFoundError(2, "No such file", "x")) == "[Errno 2] No such file: 'x'"
    assert message(ConnectionError()) == "ConnectionError"

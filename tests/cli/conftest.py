import pytest
from lamnet_cli.main import main


@pytest.fixture
def lamnet(capsys, monkeypatch):
    """Runs the command in this process; returns its exit code, standard output and standard error."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments):
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return end.value.code or 0, out, err

    return run

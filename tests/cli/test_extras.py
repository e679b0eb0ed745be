"""Commands whose package is not installed: one line that names the extra, before any work."""

import pytest


@pytest.mark.parametrize(
    ("arguments", "package", "extra"),
    [
        (["train", "quick", "-o", "run"], "accelerate", "train"),
        (["plot", "run", "-o", "curves.png"], "matplotlib", "plot"),
        (["explain", "astronaut", "-o", "maps.png"], "matplotlib", "plot"),
        (["bench", "--windows", "--chart", "windows.svg"], "matplotlib", "plot"),
        (["reproduce", "figure9", "-o", "out"], "matplotlib", "plot"),
        (["reproduce", "table4", "--train", "1m", "-o", "out"], "accelerate", "train"),
    ],
)
def test_missing_package_names_extra(arguments, package, extra, tmp_path, monkeypatch, capsys):
    from lamnet_cli import main, options

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(options, "find_spec", lambda name: None if name == package else object())
    with pytest.raises(SystemExit) as stopped:
        main.main(arguments)
    assert stopped.value.code == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert package in error
    assert f"lamnet[{extra}]" in error
    assert not list(tmp_path.iterdir())

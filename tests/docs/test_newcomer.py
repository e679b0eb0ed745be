"""Commands of docs/your-photos.md, from the home page to a trained and evaluated model."""

import re
import shlex
import subprocess

import pytest
from lamnet_cli.main import main
from PIL import Image

from lamnet_models import load_model
from lamnet_models.names import packaged_weights

SHORT = "minutes=0.01 batch=1 patch=16 valid_crop=64"


def test_your_photos_commands_train_and_evaluate(docs, tmp_path, monkeypatch, capsys):
    """The page's commands; those of LAMNet in this process, as each import of PyTorch takes seconds."""
    from walkthrough import commands, write_photographs

    write_photographs(tmp_path / "Pictures", side=96)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    outputs = []
    for block in commands():
        subprocess.run(["bash", "-euo", "pipefail", "-c", f"lamnet() {{ true; }}\n{block}"], check=True)
        for line in block.replace("\\\n", " ").splitlines():
            name, *arguments = shlex.split(line)
            if name == "lamnet":
                with pytest.raises(SystemExit) as end:
                    main(arguments + (SHORT.split() if arguments[0] == "train" else []))
                assert not end.value.code
        outputs.append(capsys.readouterr().out)
    check(tmp_path, outputs)


@pytest.mark.slow
def test_your_photos_commands_in_shell(docs, tmp_path):
    from walkthrough import commands, walk, write_photographs

    write_photographs(tmp_path / "Pictures", side=96)
    check(tmp_path, walk(commands(), tmp_path, SHORT))


def test_home_page_links_your_photos(docs):
    assert "(your-photos.md)" in (docs / "index.md").read_text(encoding="utf-8")


def check(tmp_path, outputs):
    verify_output, train_output, eval_output, _ = outputs

    assert re.findall(r"(\w+): \w+; (\d+) images", verify_output) == [("train", "8"), ("test", "2")]
    assert re.search(r"runs/mine: \d+ steps? in .*best \d\d\.\d\d dB", train_output)
    assert re.search(r"best\.safetensors: \d\d\.\d\d dB", eval_output)
    for method in ("bicubic", "lamnet_x2", "best"):
        assert method in eval_output
    assert (tmp_path / "compared.png").stat().st_size > 10_000

    trained = load_model(tmp_path / "runs/mine/best.safetensors")
    packaged = load_model(next(path for name, path in packaged_weights().items() if name.startswith("lamnet_x2.")))
    assert trained.config == packaged.config
    assert not trained.conv_body.weight.equal(packaged.conv_body.weight)
    upscaled = sorted((tmp_path / "upscaled").iterdir())
    assert [Image.open(file).size for file in upscaled] == [(192, 192)] * 2

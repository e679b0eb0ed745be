"""From the home page to a trained, evaluated model on ten photographs, by the page's own commands."""

import re

from PIL import Image

from lamnet_models import load_model
from lamnet_models.pretrained import packaged_weights


def test_the_home_page_leads_to_the_commands_that_train_and_evaluate(docs, tmp_path):
    from walkthrough import commands, walk, write_photographs

    assert "(your-photos.md)" in (docs / "index.md").read_text(encoding="utf-8")
    write_photographs(tmp_path / "Pictures", side=96)
    checked, trained, evaluated, _ = walk(commands(), tmp_path, "minutes=0.03 batch=1 patch=16 valid_crop=64")

    assert re.findall(r"(\w+): ok; (\d+) images", checked) == [("train", "8"), ("test", "2")]
    assert re.search(r"runs/mine: \d+ steps in .*best \d\d\.\d\d dB", trained)
    assert re.search(r"best\.safetensors: \d\d\.\d\d dB", evaluated)
    for method in ("bicubic", "lamnet_x2", "best"):
        assert method in evaluated
    assert (tmp_path / "compared.png").stat().st_size > 10_000

    mine = load_model(tmp_path / "runs/mine/best.safetensors")
    packaged = load_model(next(path for name, path in packaged_weights().items() if name.startswith("lamnet_x2.")))
    assert mine.config == packaged.config
    assert not mine.conv_body.weight.equal(packaged.conv_body.weight)
    enlarged = sorted((tmp_path / "enlarged").iterdir())
    assert [Image.open(file).size for file in enlarged] == [(192, 192)] * 2

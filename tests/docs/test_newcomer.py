"""Commands of docs/your-photos.md, from the home page to a trained and evaluated model."""

import re

from PIL import Image

from lamnet_models import load_model
from lamnet_models.names import packaged_weights


def test_your_photos_commands_train_and_evaluate(docs, tmp_path):
    from walkthrough import commands, walk, write_photographs

    assert "(your-photos.md)" in (docs / "index.md").read_text(encoding="utf-8")
    write_photographs(tmp_path / "Pictures", side=96)
    verify_output, train_output, eval_output, _ = walk(
        commands(), tmp_path, "minutes=0.03 batch=1 patch=16 valid_crop=64"
    )

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

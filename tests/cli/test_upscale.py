import json
import os

import numpy as np
import pytest
import pyvips
import torch
from PIL import Image

from lamnet_models import LAMNet, load_model, save_checkpoint, upscale
from lamnet_models.image_io import Picture, read_image, write_image
from lamnet_models.image_io.color import ColorSignals


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Checkpoint of a small ×2 model whose output colors are close to those of the input."""
    torch.manual_seed(0)
    network = LAMNet(scale=2, embed_dim=16, num_blocks=1, depth=1)
    with torch.no_grad():
        for parameter in network.upsample.parameters():
            parameter.mul_(0.1)
    path = tmp_path_factory.mktemp("model") / "x2.safetensors"
    save_checkpoint(network, path)
    return path


@pytest.fixture
def colors():
    y, x = np.mgrid[0:24, 0:32] / 32
    return (255 * np.stack([x, y, (x + y) / 2], axis=2)).astype(np.uint8)


def test_upscale_folder_of_formats(lamnet, tmp_path, colors):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    image = Image.fromarray(colors)
    image.convert("L").save(folder / "gray.png")
    image.quantize(16).save(folder / "palette.png")
    transparent = image.convert("RGBA")
    transparent.putalpha(Image.fromarray(colors[..., 1]))
    transparent.save(folder / "rgba.png")
    deep = colors.astype(np.uint16) * 257 + 3
    pyvips.Image.new_from_array(deep, interpretation="rgb16").write_to_file(str(folder / "deep.png"))
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned by 90° clockwise
    image.save(folder / "rotated.jpg", exif=exif, quality=95)
    image.convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    whole = (folder / "palette.png").read_bytes()
    (folder / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").touch()

    code, stdout, stderr = lamnet("upscale", folder, "-o", out)

    assert code == 1
    assert len(stdout.splitlines()) == 6
    errors = stderr.splitlines()
    assert len(errors) == 2
    assert all("lamnet: error: " in error for error in errors)
    assert "empty.png" in errors[0]
    assert "truncated.png" in errors[1]
    names = {"gray_x4.png", "palette_x4.png", "rgba_x4.png", "deep_x4.png", "rotated_x4.jpg", "cmyk_x4.jpg"}
    assert {path.name for path in out.iterdir()} == names
    expected = {"gray_x4.png": (1, np.uint8), "rgba_x4.png": (4, np.uint8), "deep_x4.png": (3, np.uint16)}
    for name in names:
        pixels = read_image(out / name).pixels
        channels, dtype = expected.get(name, (3, np.uint8))
        assert pixels.shape == ((128, 96) if "rotated" in name else (96, 128)) + (channels,)
        assert pixels.dtype == dtype
        # Downscaled to the input size, the output is close to the input.
        small = read_image(folder / name.replace("_x4", "")).pixels / np.iinfo(dtype).max
        again = pixels.reshape(pixels.shape[0] // 4, 4, pixels.shape[1] // 4, 4, -1).mean((1, 3)) / np.iinfo(dtype).max
        assert np.abs(again - small).mean() < 0.03


def test_upscale_default_output_and_overwrite(lamnet, tmp_path, model, colors):
    Image.fromarray(colors).save(tmp_path / "a.png")
    assert lamnet("upscale", tmp_path / "a.png", "-n", model)[0] == 0
    result = tmp_path / "a_x2.png"
    before = result.read_bytes()
    result.write_bytes(b"mine")
    code, _, err = lamnet("upscale", tmp_path / "a.png", "-n", model)
    assert code == 1
    assert "--overwrite" in err
    assert result.read_bytes() == b"mine"
    assert lamnet("upscale", tmp_path / "a.png", "-n", model, "--overwrite")[0] == 0
    assert result.read_bytes() == before


def test_upscale_suffix_ext_json(lamnet, tmp_path, model, colors):
    for name in ("a.png", "b.bmp"):
        Image.fromarray(colors).save(tmp_path / name)
    options = ["-n", model, "-o", tmp_path / "out", "--suffix", "_sr", "--ext", "webp", "--quality", "90", "--json"]
    code, out, err = lamnet("upscale", tmp_path / "*.*", *options)
    assert (code, err) == (0, "")
    rows = json.loads(out)
    assert [row["target"] for row in rows] == [str(tmp_path / f"out/{stem}_sr.webp") for stem in "ab"]
    assert all(row["size"] == [64, 48] and row["error"] is None for row in rows)
    assert lamnet("upscale", tmp_path / "a.png", "-n", model, "-o", tmp_path / "one.jpg")[0] == 0
    assert Image.open(tmp_path / "one.jpg").format == "JPEG"


@pytest.mark.parametrize("name", ["v1.5/", "res.png/"])
def test_upscale_output_with_slash_is_a_folder(lamnet, tmp_path, model, colors, name):
    Image.fromarray(colors[:6, :8]).save(tmp_path / "a.png")
    assert lamnet("upscale", tmp_path / "a.png", "-n", model, "-o", f"{tmp_path}/{name}")[0] == 0
    assert (tmp_path / name / "a_x2.png").is_file()


def test_upscale_tiled(lamnet, tmp_path, model, colors):
    Image.fromarray(colors).save(tmp_path / "a.png")
    for tile in ("0", "16"):
        name = tmp_path / f"{tile}.png"
        assert lamnet("upscale", tmp_path / "a.png", "-n", model, "-o", name, "--tile", tile, "--tile-pad", "8")[0] == 0
    whole, tiled = (np.asarray(Image.open(tmp_path / f"{tile}.png")).astype(int) for tile in ("0", "16"))
    assert np.abs(whole - tiled).mean() < 2


def test_upscale_background(lamnet, tmp_path, model, colors):
    opaque, transparent = (Image.fromarray(colors).convert("RGBA") for _ in range(2))
    transparent.putpixel((0, 0), (0, 0, 0, 0))
    opaque.save(tmp_path / "opaque.png")
    transparent.save(tmp_path / "transparent.png")
    command = ["upscale", tmp_path / "*.png", "-n", model, "-o", tmp_path / "out", "--ext", "jpg"]
    for options in (["--dry-run"], []):
        code, out, err = lamnet(*command, *options)
        assert code == 1
        assert [line.split()[0] for line in out.splitlines()] == [str(tmp_path / "opaque.png")]
        assert len(err.splitlines()) == 1
        assert "transparent_x2.jpg" in err
        assert "--background" in err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["opaque_x2.jpg"]
    for options in (["--overwrite", "--dry-run"], ["--overwrite"]):
        code, out, err = lamnet(*command, "--background", "#ffffff", *options)
        assert (code, err, len(out.splitlines())) == (0, "", 2)
        assert lamnet(*command, "--background", "whitish", *options)[0] == 2


def test_upscale_color_signaling(lamnet, tmp_path, model, colors):
    write_image(tmp_path / "linear.png", Picture(colors, color=ColorSignals(gamma=1.0)))
    write_image(tmp_path / "film.png", Picture(colors, color=ColorSignals((10, 1))))
    write_image(tmp_path / "hdr.png", Picture(colors, color=ColorSignals((9, 16))))
    code, out, err = lamnet("upscale", tmp_path / "*.png", "-n", model, "-o", tmp_path / "out", "--ext", "jpg")
    assert code == 1
    notes = err.splitlines()
    assert len(notes) == 2
    assert "film.png" in notes[0]
    assert "code points 10/1" in notes[0]
    assert "hdr_x2.jpg" in notes[1]
    assert "HDR" in notes[1]
    assert [line.split("  ")[0].split("/")[-1] for line in out.splitlines()] == ["film_x2.jpg", "linear_x2.jpg"]
    assert read_image(tmp_path / "out" / "linear_x2.jpg").icc_profile
    code, _, err = lamnet("upscale", tmp_path / "*.png", "-n", model)
    assert (code, err) == (0, "")
    assert read_image(tmp_path / "linear_x2.png").color.gamma == 1
    assert read_image(tmp_path / "hdr_x2.png").color.code_points == (9, 16)


@pytest.mark.parametrize(
    ("arguments", "code", "match"),
    [
        (["none.png"], 1, "no such file"),
        (["a.png", "-n", "lamnt_x2"], 2, "did you mean lamnet_x2"),
        (["a.png", "-n", "none.safetensors"], 1, "no such file"),
        (["a.png", "-s", "5"], 2, "scale"),
        (["a.png", "--tile", "12px"], 2, "--tile"),
        (["a.png", "--ext", "gif"], 2, "ext"),
        (["a.png", "--suffix", "../x"], 2, "suffix"),
        (["a.png", "--quality", "0"], 2, "quality"),
        (["a.png", "-o", "a.png", "--overwrite"], 2, "a.png"),
        (["a.png", "b.bmp", "-o", "both.png"], 2, "folder"),
        (["empty"], 2, "empty"),
        (["a.png", "-o", "-"], 2, "-o - requires raw video"),
        ([""], 2, "empty string"),
        (["a.png", "-o", ""], 2, "empty string"),
        ([], 2, "INPUT"),
        (["a.png", "--strength", "1.5"], 2, "--strength"),
        (["a.png", "--strength", "nan"], 2, "strength"),
        (["a.png", "--weights", "noise"], 2, "--weights"),
        (["a.png", "--weights", "clean", "--strength", "0.5"], 2, "strength requires photo weights"),
        (["a.png", "-n", "none.safetensors", "--strength", "0.5"], 2, "none.safetensors"),
        (["a.png", "-n", "lamnet_x4.photo", "--weights", "photo"], 2, "lamnet_x4.photo"),
        (["a.png", "-n", "lamnet_x3", "--weights", "photo"], 2, "models with photo weights: lamnet_x2, lamnet_x4"),
        (["a.png", "-s", "3", "--strength", "0.5"], 2, "lamnet_x3.photo"),
    ],
)
def test_upscale_wrong_usage(lamnet, tmp_path, monkeypatch, photo_weights, colors, arguments, code, match):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for name in ("a.png", "b.bmp"):
        Image.fromarray(colors).save(tmp_path / name)
    before = sorted(path.name for path in tmp_path.iterdir())
    result = lamnet("upscale", *arguments)
    assert result[0] == code
    assert result[1] == ""
    assert len(result[2].splitlines()) == 1
    assert match in result[2]
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_upscale_weights(lamnet, tmp_path, photo_weights, colors):
    Image.fromarray(colors[:6, :8]).save(tmp_path / "a.png")

    def result(*options):
        assert lamnet("upscale", tmp_path / "a.png", "-o", tmp_path / "b.png", "--overwrite", *options)[0] == 0
        return (tmp_path / "b.png").read_bytes()

    photo, clean = result("--weights", "photo"), result("--weights", "clean")
    assert photo == result("--strength", "1") == result("-n", "lamnet_x4.photo")
    assert clean == result() == result("--strength", "0")
    assert len({photo, clean, result("-n", "lamnet_x4.photo_v9")}) == 3
    picture = upscale(read_image(tmp_path / "a.png"), "lamnet_x2", strength=0.5)
    result("-n", "lamnet_x2", "--weights", "photo", "--strength", "0.5")
    assert np.array_equal(read_image(tmp_path / "b.png").pixels, picture.pixels)


def test_upscale_jpeg_suggests_photo_weights(lamnet, tmp_path, photo_weights, colors):
    image = Image.fromarray(colors[:6, :8])
    for quality in (72, 95):
        image.save(tmp_path / f"q{quality}.jpg", quality=quality)
    image.save(tmp_path / "a.png")
    note = "JPEG of quality 72: --weights photo reduces its artifacts"
    command = ["upscale", tmp_path / "*.*", "-o", tmp_path / "out"]
    code, _, err = lamnet(*command)
    assert (code, err) == (0, f"lamnet: {tmp_path / 'q72.jpg'}: {note}\n")
    command += ["--overwrite", "--dry-run"]
    rows = json.loads(lamnet(*command, "--json")[1])
    facts = [(row["notes"], row["jpeg_quality"], row["suggested_weights"]) for row in rows]
    assert facts == [([], None, None), ([note], 72, "photo"), ([], 95, None)]
    for options in (
        ["--weights", "photo"],
        ["--weights", "clean"],
        ["--strength", "0.5"],
        ["-n", "lamnet_x4.clean"],
        ["-n", "lamnet_x3"],
        ["-s", "3"],
    ):
        assert lamnet(*command, *options)[::2] == (0, "")


@pytest.mark.skipif(os.name == "nt", reason="needs a line break in a file name")
def test_upscale_prints_names_in_one_line(lamnet, tmp_path, photo_weights, colors):
    Image.fromarray(colors[:6, :8]).save(tmp_path / "a\nb.jpg", quality=72)
    for options, notes in ((["--dry-run"], 1), ([], 1), (["--skip-existing"], 0)):
        code, out, err = lamnet("upscale", tmp_path / "a\nb.jpg", *options)
        assert (code, out.count("\n"), "a\\nb_x4.jpg" in out) == (0, 1, True)
        assert (err.count("\n"), err.count("a\\nb.jpg: JPEG")) == (notes, notes)


def test_upscale_wrong_scale(lamnet, tmp_path, model, colors):
    Image.fromarray(colors).save(tmp_path / "a.png")
    code, _, err = lamnet("upscale", tmp_path / "a.png", "-n", model, "-s", "4")
    assert code == 2
    assert "scale" in err
    assert load_model(model).scale == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_upscale_unavailable_device(lamnet, tmp_path, model, colors):
    Image.fromarray(colors).save(tmp_path / "a.png")
    code, _, err = lamnet("upscale", tmp_path / "a.png", "-n", model, "--device", "cuda")
    assert code == 2
    assert len(err.splitlines()) == 1
    assert "cpu" in err

"""Upscaling of files: what the results report."""

import io
import os

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from lamnet_models.errors import ImageError
from lamnet_models.image_io import Picture, read_image, write_image
from lamnet_models.inference.files import Options, plan_jobs, run_jobs, upscale_raw
from lamnet_models.inference.upscaler import UpscalerPool


class Greedy(nn.Module):
    """Repeats pixels; runs out of memory on large, bright images."""

    scale, in_chans = 2, 3

    def forward(self, x):
        if x[0, 0].numel() > 50_000 and x.mean() > 0.5:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate a lot")
        return F.interpolate(x, scale_factor=2)


def plain(height, width, value=200):
    return Image.fromarray(np.full((height, width, 3), value, np.uint8))


def run(paths, options=None, **callbacks):
    return list(run_jobs(plan_jobs(paths, suffix="_x2"), UpscalerPool(Greedy()), options, **callbacks))


@pytest.mark.filterwarnings("error")
def test_run_jobs_out_of_memory_reports_tile_and_note(tmp_path):
    plain(400, 300).save(tmp_path / "large.png")
    plain(40, 30).save(tmp_path / "small.png")
    large, small = run([tmp_path])
    assert (large.tile, large.size) == (256, (600, 800))
    assert "out of memory" in large.notes[0]
    assert (small.tile, small.notes) == (0, ())


def test_run_jobs_frames_report_smallest_tile(tmp_path):
    dark = plain(400, 300, 50)
    dark.save(tmp_path / "a.tif", save_all=True, append_images=[plain(400, 300), dark])
    (result,) = run([tmp_path / "a.tif"], Options(frames=True))
    assert result.error is None
    assert (result.frames, result.tile) == (3, 256)
    assert len(result.notes) == 1


@pytest.mark.parametrize("dry_run", [False, True])
def test_run_jobs_pages_as_animation_fail(tmp_path, dry_run):
    plain(4, 5).save(tmp_path / "a.tif", save_all=True, append_images=[plain(6, 7)])
    jobs = plan_jobs([tmp_path / "a.tif"], suffix="_x2", ext="webp", frames=True)
    (result,) = run_jobs(jobs, UpscalerPool(Greedy()), Options(frames=True), dry_run=dry_run)
    assert "a_x2.webp" in result.error
    assert not result.target


def test_run_jobs_transparent_image_as_gif_fails(tmp_path):
    rgba(0).save(tmp_path / "a.png")
    jobs = plan_jobs([tmp_path / "a.png"], tmp_path / "b.gif", suffix="", frames=True)
    (result,) = run_jobs(jobs, UpscalerPool(Greedy()), Options(frames=True))
    assert "b.gif" in result.error
    assert result.option is None


def test_run_jobs_max_pixels_applies_to_frames(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    plain(4, 5).save(tmp_path / "a.jpg")
    for max_pixels, option in ((None, "max_pixels"), (20, None)):
        (result,) = run([tmp_path / "a.jpg"], Options(frames=True, max_pixels=max_pixels))
        assert result.option == option


def test_run_jobs_existing_target_reports_option(tmp_path):
    plain(4, 5).save(tmp_path / "a.png")
    (tmp_path / "a_x2.png").write_bytes(b"mine")
    (result,) = run([tmp_path / "a.png"])
    assert result.option == "overwrite"
    assert "a_x2.png" in result.error
    assert "--" not in result.error
    (result,) = run([tmp_path / "a.png"], Options(skip_existing=True))
    assert (result.skipped, result.option, result.error) == (True, None, None)
    (result,) = run([tmp_path / "a.png"], Options(overwrite=True))
    assert (result.option, result.error) == (None, None)


@pytest.mark.parametrize("overlap", [True, False])
def test_run_jobs_callbacks(tmp_path, overlap):
    for name in ("a.png", "b.png"):
        plain(4, 5).save(tmp_path / name)
    calls = []
    run([tmp_path], Options(overlap=overlap), progress=lambda *counts: calls.append(counts), on_status=calls.append)
    assert calls == ["a.png", (1, 1), "b.png", (1, 1)]


def test_upscale_raw_progress_has_unknown_total():
    calls, frames, sink = [], np.zeros((3, 4, 5, 3), np.uint8), io.BytesIO()
    upscale_raw(
        io.BytesIO(frames.tobytes()), sink, (5, 4), UpscalerPool(Greedy()), lambda *counts: calls.append(counts)
    )
    assert calls == [(1, 0), (2, 0), (3, 0)]
    assert len(sink.getvalue()) == 4 * frames.size


# Files that are not images


def test_plan_jobs_reports_skipped_kinds(tmp_path):
    for name in ("a.png", "b.psd", "c.PSD", "sub/d.txt", "e", ".hidden.psd", "out/f.psd"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        plain(4, 5).save(tmp_path / name, "PNG")
    for inputs in ([tmp_path], [tmp_path / "*", tmp_path / "sub" / "*"]):
        messages = []
        jobs = plan_jobs(inputs, tmp_path / "out", suffix="_x2", on_status=messages.append)
        assert [job.source.name for job in jobs if job.source.suffix == ".png"] == ["a.png"]
        expected = ["1 other file", "2 .psd files", "1 .txt file"]
        assert messages == [f"{text} skipped: not supported" for text in expected]


def test_plan_jobs_excludes_png_of_earlier_run(tmp_path):
    plain(4, 5).convert("RGBA").save(tmp_path / "a.bmp", "PNG")  # BMP by its name: the result may become a PNG
    for name in ("a_x2.png", "b_x2.png"):
        plain(4, 5).save(tmp_path / name)
    assert [job.source.name for job in plan_jobs([tmp_path], suffix="_x2")] == ["a.bmp", "b_x2.png"]
    assert len(plan_jobs([tmp_path], suffix="_x2", ext="bmp")) == 3


def test_plan_jobs_pattern_excludes_output_folder(tmp_path):
    for name in ("a.png", "sub/b.png", "out/a_x3.png", "out/sub/b_x3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        plain(4, 5).save(tmp_path / name)
    out = tmp_path / "out"
    for inputs in ([tmp_path], [tmp_path / "**/*.png"], [tmp_path / "*.png", tmp_path / "*/*.png"]):
        jobs = plan_jobs(inputs, out, suffix="_x2")
        assert [job.target for job in jobs] == [out / "a_x2.png", out / "sub/b_x2.png"]
    assert len(plan_jobs([out / "**/*.png"], out, suffix="_x2")) == 2


@pytest.mark.skipif(os.name == "nt", reason="needs links")
def test_plan_jobs_pattern_does_not_follow_links(tmp_path):
    for name in ("in/a.png", "elsewhere/b.png"):
        (tmp_path / name).parent.mkdir()
        plain(4, 5).save(tmp_path / name)
    link = tmp_path / "in/link"
    link.symlink_to(tmp_path / "elsewhere")
    assert [job.source.name for job in plan_jobs([tmp_path / "in/**/*.png"], suffix="_x2")] == ["a.png"]
    assert [job.source.name for job in plan_jobs([link / "*.png"], suffix="_x2")] == ["b.png"]


def test_plan_jobs_skip_existing_excludes_explicit_results(tmp_path):
    paths = [tmp_path / name for name in ("a.png", "a_x2.png", "a_x2_x2.png", "b.png")]
    for path in paths:
        plain(4, 5).save(path)
    assert [job.source.name for job in plan_jobs(paths, suffix="_x2") if job.conflict] == ["a.png", "a_x2.png"]
    jobs = plan_jobs(paths, suffix="_x2", skip_existing=True)
    results = list(run_jobs(jobs, UpscalerPool(Greedy()), Options(skip_existing=True)))
    assert [(result.source.name, result.skipped) for result in results] == [("a.png", True), ("b.png", False)]
    (tmp_path / "a_x2.png").unlink()  # a named file that is missing stays an error
    job, _ = plan_jobs(paths[:2], suffix="_x2", skip_existing=True)
    assert "a_x2.png" in job.conflict


@pytest.mark.parametrize("skip_existing", [False, True])
def test_plan_jobs_result_that_replaces_its_source_fails(tmp_path, skip_existing):
    plain(4, 5).save(tmp_path / "a.png")
    for inputs in ([tmp_path], [tmp_path / "a.png"]):
        (job,) = plan_jobs(inputs, suffix="", skip_existing=skip_existing)
        assert "a.png" in job.conflict


def test_plan_jobs_folder_without_images_reports_skipped_kinds(tmp_path):
    (tmp_path / "a.psd").touch()
    messages = []
    with pytest.raises(ImageError, match="no images"):
        plan_jobs([tmp_path], suffix="_x2", on_status=messages.append)
    assert messages == ["1 .psd file skipped: not supported"]


# Transparency in formats without alpha


def rgba(alpha, size=(6, 5)):
    image = Image.new("RGBA", size, (200, 100, 0, 255))
    image.putpixel((1, 1), (200, 100, 0, alpha))
    return image


@pytest.mark.parametrize("extension", ["jpg", "bmp"])
@pytest.mark.parametrize(("alpha", "background"), [(255, None), (255, "white"), (0, "#0000ff"), (128, "black")])
def test_run_jobs_flattens(tmp_path, extension, alpha, background):
    rgba(alpha).save(tmp_path / "a.png")
    jobs = plan_jobs([tmp_path / "a.png"], suffix="_x2", ext=extension)
    (result,) = run_jobs(jobs, UpscalerPool(Greedy()), Options(background=background))
    assert (result.error, result.notes) == (None, ())
    pixels = np.asarray(Image.open(result.target)).astype(int)
    expected = np.array({255: (200, 100, 0), 0: (0, 0, 255), 128: (100, 50, 0)}[alpha])
    assert np.abs(pixels[2:4, 2:4] - expected).max() < (60 if extension == "jpg" else 2)
    assert np.abs(pixels[-1, -1] - (200, 100, 0)).max() < 30


def test_run_jobs_transparent_without_background(tmp_path):
    rgba(254).save(tmp_path / "a.png")
    jobs = plan_jobs([tmp_path / "a.png"], suffix="_x2", ext="jpg")
    (result,) = run_jobs(jobs, UpscalerPool(Greedy()))
    assert result.option == "background"
    assert "--" not in result.error
    assert not result.target


def test_run_jobs_transparent_animation_in_format_without_frames(tmp_path):
    rgba(0).save(tmp_path / "a.png", save_all=True, append_images=[rgba(128)])
    jobs = plan_jobs([tmp_path / "a.png"], suffix="_x2", ext="jpg", frames=True)
    for background in (None, "white"):
        (result,) = run_jobs(jobs, UpscalerPool(Greedy()), Options(frames=True, background=background))
        assert "one image per file" in result.error
        assert result.option is None


def test_run_jobs_unspecified_format_with_opaque_alpha_or_background(tmp_path):
    suffixes = []
    for alpha, options in ((255, None), (0, None), (0, Options(background="red"))):
        name = f"{len(suffixes)}.jpg"
        rgba(alpha).save(tmp_path / name, "PNG")
        suffixes.append(run([tmp_path / name], options)[0].target.suffix)
    assert suffixes == [".jpg", ".png", ".jpg"]


def test_background_unchanged_in_formats_with_alpha(tmp_path):
    rgba(0).save(tmp_path / "a.png")
    (result,) = run([tmp_path / "a.png"], Options(background="red"))
    assert Image.open(result.target).mode == "RGBA"


@pytest.mark.parametrize("background", ["whitish", "#12", "#ff000080", 3])
def test_options_background_invalid(background):
    with pytest.raises(ValueError, match="background"):
        Options(background=background)


def test_run_jobs_writes_16_bit_pnm_as_png(tmp_path):
    values = np.random.default_rng(0).integers(0, 65536, (16, 16, 3), np.uint16)
    (tmp_path / "a.ppm").write_bytes(b"P6 16 16 65535\n" + values.astype(">u2").tobytes())
    (result,) = run_jobs(plan_jobs([tmp_path / "a.ppm"], suffix="_x2"), UpscalerPool(Greedy()))
    assert (result.target, result.error) == (tmp_path / "a_x2.png", None)
    assert read_image(result.target).pixels.dtype == np.uint16


@pytest.mark.parametrize("name", ["a.avif", "a.heic"])
def test_run_jobs_keeps_10_bits(tmp_path, name):
    if name == "a.heic":
        pytest.importorskip("pillow_heif")
    write_image(tmp_path / name, Picture(np.full((16, 16, 3), 33000, np.uint16), bit_depth=10))
    (result,) = run_jobs(plan_jobs([tmp_path / name], suffix="_x2"), UpscalerPool(Greedy()))
    assert (result.target.suffix, result.error) == (f".{name[2:]}", None)
    assert read_image(result.target).bit_depth == 10


def test_run_jobs_reports_jpeg_quality(tmp_path, photo_weights):
    plain(8, 9).save(tmp_path / "a.jpg", quality=72)
    plain(8, 9).save(tmp_path / "b.png")
    for model, suggestion in (("lamnet_x2", "photo"), ("lamnet_x2.photo", None)):
        jobs = plan_jobs([tmp_path], suffix="_x2")
        jpeg, png = run_jobs(jobs, UpscalerPool(model), Options(overwrite=True))
        assert (jpeg.jpeg_quality, jpeg.suggested_weights, jpeg.notes) == (72, suggestion, ())
        assert (png.jpeg_quality, png.suggested_weights) == (None, None)

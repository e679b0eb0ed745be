import io
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from lamnet_models import DatasetError, ImageError
from lamnet_models.datasets import KNOWN_SETS, known_set, open_dataset, verify
from lamnet_models.datasets.archives import atomic_folder, unpack
from lamnet_models.resize import imresize

from ..conftest import LAYOUTS


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("set5", "set5"),
        ("Set_14", "set14"),
        ("B100", "bsd100"),
        ("BSDS100", "bsd100"),
        ("bsd-100", "bsd100"),
        ("Urban-100", "urban100"),
        ("URBAN 100", "urban100"),
        ("Manga109", "manga109"),
        ("DIV2K_valid", "div2k_valid"),
        ("div2k", "div2k_valid"),
        ("samples", "sample"),
    ],
)
def test_names_are_forgiving(spelling, name):
    assert known_set(spelling).name == name


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_recognised(build_dataset, layout, scale):
    root = build_dataset(layout, "B100", scale)
    for place in (root, root.parent):
        found = open_dataset("bsd100", scale, place)
        assert [pair.name for pair in found.pairs] == ["img_000", "img_001", "img_002"]
        assert not found.problems
        assert found.makes_lr == (layout == "folder")
        for pair in found.pairs:
            large, small = found.read(pair)
            assert large.shape == (small.shape[0] * scale, small.shape[1] * scale, 3)
            border = "mirror" if layout == "folder" else "replicate"
            assert np.array_equal(small, imresize(large, 1 / scale, border=border))


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name not in ("RCAN", "LAMNet")])
def test_a_set_may_be_named_by_its_folder(build_dataset, layout):
    root = build_dataset(layout, "mine", 2)
    folder = {"EDSR": root / "benchmark/mine", "DIV2K": root}.get(layout, root / "mine")
    found = open_dataset(folder, 2)
    assert len(found.pairs) == 3
    assert found.makes_lr == (layout == "folder")
    assert open_dataset(str(folder), 2) == found
    if layout == "SelfExSR":
        assert open_dataset(folder / "image_SRF_2", 2).pairs == found.pairs


def test_a_folder_that_is_the_set_serves_as_data_too(build_dataset):
    root = build_dataset("BasicSR", "Set14")
    assert open_dataset("set14", 2, root / "Set14").pairs == open_dataset("set14", 2, root).pairs


def test_names_of_folders_serve_as_names(build_dataset):
    assert len(open_dataset("mine", 2, build_dataset("EDSR", "mine")).pairs) == 3


def test_reductions_are_preferred_to_a_folder_without(build_dataset, tmp_path):
    build_dataset("folder", "Set5")
    build_dataset("EDSR", "Set5", root=tmp_path / "data" / "deep")
    assert not open_dataset("set5", 2, tmp_path / "data").makes_lr


def test_large_images_alone_get_reductions(build_dataset):
    root = build_dataset("EDSR", scale=2)
    found = open_dataset("set5", 4, root, lr_border="replicate")  # there is no X4
    large, small = found.read(found.pairs[0])
    assert np.array_equal(small, imresize(large, 1 / 4, border="replicate"))
    assert "made by imresize (replicate" in found.origin


def test_places(build_dataset, monkeypatch, tmp_path):
    root = build_dataset()
    monkeypatch.setenv("LAMNET_DATA", f"{tmp_path / 'nothing'}:{root}")
    assert open_dataset("set5", 2).folder.is_relative_to(root)
    cache = tmp_path / "cache"
    monkeypatch.delenv("LAMNET_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    shutil.copytree(root, cache / "lamnet" / "data")
    assert open_dataset("set5", 2).folder.is_relative_to(cache)
    with pytest.raises(DatasetError, match="was not found"):
        open_dataset("set5", 2, tmp_path / "nothing")


def test_what_is_missing_is_told(build_dataset, tmp_path):
    root = build_dataset(name="Other")
    with pytest.raises(DatasetError, match=r"lamnet data fetch urban100 --data .*has Other/.*Urban100/HR"):
        open_dataset("urban100", 2, root)
    with pytest.raises(DatasetError, match="apply at http"):
        open_dataset("manga109", 2, root)
    with pytest.raises(DatasetError, match=r"did you mean urban100\?"):
        open_dataset("urbn100", 2, root)
    with pytest.raises(DatasetError, match="no such folder"):
        open_dataset(tmp_path / "nowhere", 2)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="neither folders nor images"):
        open_dataset(tmp_path / "empty", 2)
    build_dataset("EDSR", "Another", root=tmp_path / "two")
    build_dataset("EDSR", "Third", root=tmp_path / "two")
    with pytest.raises(DatasetError, match="several sets: Another, Third"):
        open_dataset(tmp_path / "two" / "benchmark", 2)


def test_broken_pairs_are_named(build_dataset):
    root = build_dataset()
    (root / "Set5/LRbicx2/img_001.png").rename(root / "Set5/LRbicx2/stranger.png")
    found = open_dataset("set5", 2, root)
    assert [pair.name for pair in found.pairs] == ["img_000", "img_002"]
    assert [("img_001" in line, "stranger" in line) for line in found.problems] == [(True, False), (False, True)]


def test_sizes_that_do_not_fit_are_refused(build_dataset):
    root = build_dataset(count=3)
    Image.new("RGB", (31, 26)).save(root / "Set5/LRbicx2/img_000.png")
    (root / "Set5/LRbicx2/img_001.png").write_bytes(b"no image")
    Image.new("RGB", (1, 1)).save(root / "Set5/GTmod12/img_002.png")
    found = open_dataset("set5", 2, root)
    with pytest.raises(DatasetError, match=r"img_000\.png: has 31×26 pixels, but at ×2 .* asks for 32×26"):
        found.read(found.pairs[0])
    with pytest.raises(ImageError, match="img_001"):
        found.read(found.pairs[1])
    with pytest.raises(DatasetError, match="too few"):
        found.read(found.pairs[2])


def test_grey_deep_and_transparent_images_become_rgb(tmp_path):
    grey = np.arange(144, dtype=np.uint8).reshape(12, 12)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(np.dstack([grey] * 3 + [grey])).save(tmp_path / "clear.png")
    found = open_dataset(tmp_path, 2)
    for pair in found.pairs:
        large, _ = found.read(pair)
        assert np.array_equal(large, np.dstack([grey] * 3))


def test_two_images_of_one_name_keep_their_endings(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.bmp")
    assert [pair.name for pair in open_dataset(tmp_path, 2).pairs] == ["a.bmp", "a.png"]


def test_archives_of_the_hub_are_read_where_they_lie(build_dataset, tmp_path):
    root = build_dataset("Hugging Face", "Set5")
    place = root / "Set5" / "data"
    for part in ("Set5_HR", "Set5_LR_x2"):
        with tarfile.open(place / f"{part}.tar.gz", "w:gz") as tar:
            tar.add(place / part, part)
        shutil.rmtree(place / part)
    for found in (open_dataset("set5", 2, root), open_dataset(root / "Set5", 2)):
        assert len(found.pairs) == 3
        assert not found.makes_lr
    assert sorted(path.name for path in place.iterdir()) == ["Set5_HR.tar.gz", "Set5_LR_x2.tar.gz"]


def evil_tar(path, name="x", kind=tarfile.REGTYPE, target=""):
    with tarfile.open(path, "w") as tar:
        good = tarfile.TarInfo("good.txt")
        tar.addfile(good, io.BytesIO())
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, target
        tar.addfile(member, io.BytesIO())


@pytest.mark.parametrize(
    "member",
    [
        {"name": "../escaped.txt"},
        {"name": "/tmp/escaped.txt"},
        {"name": "a/../../escaped.txt"},
        {"name": "..\\escaped.txt"},
        {"name": "C:escaped.txt"},
        {"name": "link", "kind": tarfile.SYMTYPE, "target": "/etc/passwd"},
        {"name": "link", "kind": tarfile.LNKTYPE, "target": "good.txt"},
        {"name": "pipe", "kind": tarfile.FIFOTYPE},
    ],
    ids=lambda member: member["name"] + member.get("target", ""),
)
def test_archives_are_not_trusted(tmp_path, member):
    evil_tar(tmp_path / "evil.tar", **member)
    with pytest.raises(DatasetError, match=r"evil\.tar"), atomic_folder(tmp_path / "out") as folder:
        unpack(tmp_path / "evil.tar", folder)
    assert [path.name for path in tmp_path.iterdir()] == ["evil.tar"]


def test_zip_archives_are_not_trusted(tmp_path):
    with zipfile.ZipFile(tmp_path / "escape.zip", "w") as zipped:
        zipped.writestr("../escaped.txt", "")
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as zipped:
        link = zipfile.ZipInfo("link")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        zipped.writestr(link, "/etc/passwd")
    for name in ("escape.zip", "link.zip"):
        with pytest.raises(DatasetError, match=name), atomic_folder(tmp_path / "out") as folder:
            unpack(tmp_path / name, folder)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "flipped"])
def test_damaged_archives_are_refused(tmp_path, damage):
    with tarfile.open(tmp_path / "whole.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo("a.bin")
        member.size = 50_000
        tar.addfile(member, io.BytesIO(np.random.default_rng(0).bytes(50_000)))
    whole = (tmp_path / "whole.tar.gz").read_bytes()
    flipped = bytearray(whole)
    flipped[20_000:20_050] = bytes(50)
    broken = {"empty": b"", "text": b"<html>moved</html>", "cut": whole[:30_000], "flipped": bytes(flipped)}[damage]
    (tmp_path / "set.tar.gz").write_bytes(broken)
    with pytest.raises(DatasetError, match=r"set\.tar\.gz"), atomic_folder(tmp_path / "out") as folder:
        unpack(tmp_path / "set.tar.gz", folder)
    assert not (tmp_path / "out").exists()


def test_verification_finds_what_is_wrong(build_dataset):
    root = build_dataset(count=5)
    result = verify("set5", root)
    assert (result.images, result.scales, result.digests, result.problems) == (5, (2,), False, ())
    (root / "Set5/GTmod12/img_004.png").write_bytes(b"")
    (root / "Set5/LRbicx2/img_003.png").unlink()
    (root / "Set5/GTmod12/img_000.png").unlink()
    problems = "\n".join(verify("set5", root).problems)
    assert "img_004" in problems
    assert "img_003" in problems
    assert "img_000" in problems
    assert "but Set5 has 5" in problems


def test_samples_are_always_there():
    found = open_dataset("sample", 4)
    assert len(found.pairs) == KNOWN_SETS["sample"].count
    assert found.makes_lr


def test_a_folder_here_may_have_a_known_sets_name(build_dataset, monkeypatch):
    root = build_dataset("EDSR", "Set5")
    monkeypatch.chdir(root / "benchmark")
    found = open_dataset("Set5", 2, root / "nowhere")
    assert (found.name, len(found.pairs), found.makes_lr) == ("set5", 3, False)

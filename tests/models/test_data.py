import io
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from lamnet_models import DatasetError, ImageError
from lamnet_models.data import KNOWN_DATASETS, known_dataset, open_dataset, verify
from lamnet_models.data.archives import unpack
from lamnet_models.filesystem import atomic_folder, atomic_path
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
def test_known_dataset_spellings(spelling, name):
    assert known_dataset(spelling).name == name


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_open_dataset_layouts(build_dataset, layout, scale):
    root = build_dataset(layout, "B100", scale)
    for data_dir in (root, root.parent):
        found = open_dataset("bsd100", scale, data_dir)
        assert [pair.name for pair in found.pairs] == ["img_000", "img_001", "img_002"]
        assert not found.problems
        assert found.synthesizes_lr == (layout == "folder")
        for pair in found.pairs:
            large, small = found.read(pair)
            assert large.shape == (small.shape[0] * scale, small.shape[1] * scale, 3)
            border = "mirror" if layout == "folder" else "replicate"
            assert np.array_equal(small, imresize(large, 1 / scale, border=border))


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name not in ("RCAN", "LAMNet")])
def test_open_dataset_by_folder(build_dataset, layout):
    root = build_dataset(layout, "mine", 2)
    folder = {"EDSR": root / "benchmark/mine", "DIV2K": root}.get(layout, root / "mine")
    found = open_dataset(folder, 2)
    assert len(found.pairs) == 3
    assert found.synthesizes_lr == (layout == "folder")
    assert open_dataset(str(folder), 2) == found
    if layout == "SelfExSR":
        assert open_dataset(folder / "image_SRF_2", 2).pairs == found.pairs


def test_open_dataset_root_is_dataset(build_dataset):
    root = build_dataset("BasicSR", "Set14")
    assert open_dataset("set14", 2, root / "Set14").pairs == open_dataset("set14", 2, root).pairs


def test_open_dataset_by_folder_name(build_dataset):
    assert len(open_dataset("mine", 2, build_dataset("EDSR", "mine")).pairs) == 3


def test_open_dataset_prefers_lr_files(build_dataset, tmp_path):
    build_dataset("folder", "Set5")
    build_dataset("EDSR", "Set5", root=tmp_path / "data" / "deep")
    assert not open_dataset("set5", 2, tmp_path / "data").synthesizes_lr


def test_read_synthesizes_missing_lr(build_dataset):
    root = build_dataset("EDSR", scale=2)
    found = open_dataset("set5", 4, root, lr_border="replicate")  # there is no X4
    large, small = found.read(found.pairs[0])
    assert np.array_equal(small, imresize(large, 1 / 4, border="replicate"))
    assert "made by imresize (replicate" in found.lr_source


def test_open_dataset_roots(build_dataset, monkeypatch, tmp_path):
    root = build_dataset()
    monkeypatch.setenv("LAMNET_DATA", f"{tmp_path / 'nothing'}:{root}")
    assert open_dataset("set5", 2).folder.is_relative_to(root)
    cache = tmp_path / "cache"
    monkeypatch.delenv("LAMNET_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    shutil.copytree(root, cache / "lamnet" / "data")
    assert open_dataset("set5", 2).folder.is_relative_to(cache)
    with pytest.raises(DatasetError, match="set5 ×2"):
        open_dataset("set5", 2, tmp_path / "nothing")


def test_open_dataset_not_found(build_dataset, tmp_path):
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
    with pytest.raises(DatasetError, match="several datasets: Another, Third"):
        open_dataset(tmp_path / "two" / "benchmark", 2)


def test_open_dataset_reports_unpaired_images(build_dataset):
    root = build_dataset()
    (root / "Set5/LRbicx2/img_001.png").rename(root / "Set5/LRbicx2/stranger.png")
    found = open_dataset("set5", 2, root)
    assert [pair.name for pair in found.pairs] == ["img_000", "img_002"]
    assert [("img_001" in line, "stranger" in line) for line in found.problems] == [(True, False), (False, True)]


def test_read_size_mismatch(build_dataset):
    root = build_dataset(count=3)
    Image.new("RGB", (31, 26)).save(root / "Set5/LRbicx2/img_000.png")
    (root / "Set5/LRbicx2/img_001.png").write_bytes(b"no image")
    Image.new("RGB", (1, 1)).save(root / "Set5/GTmod12/img_002.png")
    found = open_dataset("set5", 2, root)
    with pytest.raises(DatasetError, match=r"img_000\.png: .*32×26.*31×26"):
        found.read(found.pairs[0])
    with pytest.raises(ImageError, match="img_001"):
        found.read(found.pairs[1])
    with pytest.raises(DatasetError, match=r"img_002\.png: .*1×1"):
        found.read(found.pairs[2])


def test_read_converts_to_rgb(tmp_path):
    gray = np.arange(144, dtype=np.uint8).reshape(12, 12)
    Image.fromarray(gray).save(tmp_path / "gray.png")
    Image.fromarray(gray.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(np.dstack([gray] * 3 + [gray])).save(tmp_path / "clear.png")
    found = open_dataset(tmp_path, 2)
    for pair in found.pairs:
        large, _ = found.read(pair)
        assert np.array_equal(large, np.dstack([gray] * 3))


def test_open_dataset_equal_stems(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.bmp")
    assert [pair.name for pair in open_dataset(tmp_path, 2).pairs] == ["a.bmp", "a.png"]


def test_open_dataset_hugging_face_archives(build_dataset, tmp_path):
    root = build_dataset("Hugging Face", "Set5")
    folder = root / "Set5" / "data"
    for part in ("Set5_HR", "Set5_LR_x2"):
        with tarfile.open(folder / f"{part}.tar.gz", "w:gz") as tar:
            tar.add(folder / part, part)
        shutil.rmtree(folder / part)
    for found in (open_dataset("set5", 2, root), open_dataset(root / "Set5", 2)):
        assert len(found.pairs) == 3
        assert not found.synthesizes_lr
    assert sorted(path.name for path in folder.iterdir()) == ["Set5_HR.tar.gz", "Set5_LR_x2.tar.gz"]


def evil_tar(path, name="x", member_type=tarfile.REGTYPE, target=""):
    with tarfile.open(path, "w") as tar:
        good = tarfile.TarInfo("good.txt")
        tar.addfile(good, io.BytesIO())
        member = tarfile.TarInfo(name)
        member.type, member.linkname = member_type, target
        tar.addfile(member, io.BytesIO())


@pytest.mark.parametrize(
    "member",
    [
        {"name": "../escaped.txt"},
        {"name": "/tmp/escaped.txt"},
        {"name": "a/../../escaped.txt"},
        {"name": "..\\escaped.txt"},
        {"name": "C:escaped.txt"},
        {"name": "link", "member_type": tarfile.SYMTYPE, "target": "/etc/passwd"},
        {"name": "link", "member_type": tarfile.LNKTYPE, "target": "good.txt"},
        {"name": "pipe", "member_type": tarfile.FIFOTYPE},
    ],
    ids=lambda member: member["name"] + member.get("target", ""),
)
def test_unpack_unsafe_tar(tmp_path, member):
    evil_tar(tmp_path / "evil.tar", **member)
    with pytest.raises(DatasetError, match=r"evil\.tar"), atomic_folder(tmp_path / "out") as folder:
        unpack(tmp_path / "evil.tar", folder)
    assert [path.name for path in tmp_path.iterdir()] == ["evil.tar"]


def test_unpack_unsafe_zip(tmp_path):
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
def test_unpack_damaged_archive(tmp_path, damage):
    with tarfile.open(tmp_path / "whole.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo("a.bin")
        member.size = 50_000
        tar.addfile(member, io.BytesIO(np.random.default_rng(0).bytes(50_000)))
    whole = (tmp_path / "whole.tar.gz").read_bytes()
    flipped = bytearray(whole)
    flipped[20_000:20_050] = bytes(50)
    damaged = {"empty": b"", "text": b"<html>moved</html>", "cut": whole[:30_000], "flipped": bytes(flipped)}[damage]
    (tmp_path / "set.tar.gz").write_bytes(damaged)
    with pytest.raises(DatasetError, match=r"set\.tar\.gz"), atomic_folder(tmp_path / "out") as folder:
        unpack(tmp_path / "set.tar.gz", folder)
    assert not (tmp_path / "out").exists()


def test_verify_reports_problems(build_dataset):
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
    assert "Set5 must have 5 images" in problems


def test_open_dataset_sample():
    found = open_dataset("sample", 4)
    assert len(found.pairs) == KNOWN_DATASETS["sample"].count
    assert found.synthesizes_lr


def test_open_dataset_local_folder_with_known_name(build_dataset, monkeypatch):
    root = build_dataset("EDSR", "Set5")
    monkeypatch.chdir(root / "benchmark")
    found = open_dataset("Set5", 2, root / "nowhere")
    assert (found.name, len(found.pairs), found.synthesizes_lr) == ("set5", 3, False)


def test_atomic_path_creates_folder_or_names_target(tmp_path):
    file = tmp_path / "missing" / "folder" / "a.png"
    with atomic_path(file) as temporary:
        temporary.touch()
    for target in (file / "b.png", file / "folder" / "b.png"):
        with pytest.raises(NotADirectoryError) as error, atomic_path(target):
            pass
        assert error.value.filename == str(target)


@pytest.mark.parametrize("name", [".hidden", "set5"])
def test_open_dataset_is_the_given_folder(tmp_path, monkeypatch, name):
    for folder in ("Set5", name):  # names that differ by case only
        (tmp_path / folder).mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "Set5" / "other.png")
    Image.new("RGB", (8, 8)).save(tmp_path / name / "a.png")
    monkeypatch.setenv("HOME", str(tmp_path))
    for folder in (tmp_path / name, f"~/{name}"):
        assert open_dataset(folder, 2).pairs[0].hr == tmp_path / name / "a.png"

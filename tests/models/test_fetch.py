"""Downloads, against a server on this machine that misbehaves on demand."""

import hashlib
import http.server
import io
import sys
import tarfile
import threading

import pytest

from lamnet_models import DatasetError
from lamnet_models.datasets import fetch, open_dataset, verify
from lamnet_models.datasets.download import ATTEMPTS, RemoteFile, download

fetch_module = sys.modules["lamnet_models.datasets.fetch"]  # the package has a function of that name

CONTENT = bytes(range(256)) * 4000


class Server(http.server.ThreadingHTTPServer):
    """Serves ``files``; ``cut`` after so many bytes of a response, ``claim`` another length, ``ignore_range``."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.cut, self.claim, self.ignore_range, self.ranges = {}, None, 0, False, []
        self.etags = {}

    def url(self, name):
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self._serve(with_body=False)

    def do_GET(self):
        self._serve(with_body=True)

    def _serve(self, with_body):
        server, name = self.server, self.path.partition("?")[0].lstrip("/")
        if name not in server.files:
            return self.send_error(404)
        content, start = server.files[name], 0
        if with_body:
            server.ranges.append(self.headers.get("Range"))
        if (wanted := self.headers.get("Range")) and not server.ignore_range:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                return self.end_headers()
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        body = content[start:]
        self.send_header("Content-Length", str(len(body) + server.claim))
        if name in server.etags:
            self.send_header("ETag", f'"{server.etags[name]}"')
            self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()
        if with_body:
            self.wfile.write(body[: server.cut])
            self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        running.files["a.bin"] = CONTENT
        yield running
        running.shutdown()


def remote(server, name="a.bin", **kwargs):
    content = server.files[name]
    facts = {"size": len(content), "digest": f"sha256:{hashlib.sha256(content).hexdigest()}"}
    return RemoteFile(server.url(name), **{**facts, **kwargs})


def test_a_download_is_whole_and_tells_how_far_it_is(server, tmp_path):
    seen = []
    download(remote(server), tmp_path / "a.bin", lambda *step: seen.append(step))
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("known", [True, False], ids=["size known", "size unknown"])
def test_a_cut_connection_is_taken_up_again(server, tmp_path, known):
    server.cut = 300_000
    download(remote(server) if known else RemoteFile(server.url("a.bin")), tmp_path / "a.bin", wait=0)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=300000-", "bytes=600000-", "bytes=900000-"]


def test_a_later_attempt_goes_on_from_what_is_there(server, tmp_path):
    (tmp_path / "a.bin.partial").write_bytes(CONTENT[:1000])
    download(remote(server), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-"]


def test_a_server_without_ranges_starts_again(server, tmp_path):
    server.ignore_range = True
    (tmp_path / "a.bin.partial").write_bytes(b"x" * 1000)
    download(remote(server), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_beginning_of_another_file_is_thrown_away(server, tmp_path):
    (tmp_path / "a.bin.partial").write_bytes(b"x" * 1000)
    download(remote(server), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-", None]


def test_a_server_that_never_delivers_is_given_up_and_nothing_is_lost(server, tmp_path):
    server.cut = 0
    (tmp_path / "a.bin.partial").write_bytes(CONTENT[:1000])
    with pytest.raises(DatasetError, match="1000 bytes have come and are kept"):
        download(remote(server), tmp_path / "a.bin", wait=0)
    assert len(server.ranges) == ATTEMPTS
    assert (tmp_path / "a.bin.partial").stat().st_size == 1000


@pytest.mark.parametrize("known", [True, False], ids=["size known", "size unknown"])
def test_a_server_that_claims_too_much_is_asked_again(server, tmp_path, known):
    server.claim = 1000
    download(remote(server) if known else RemoteFile(server.url("a.bin")), tmp_path / "a.bin", wait=0)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_server_that_claims_too_little_is_found_out(server, tmp_path):
    server.claim = -1000
    with pytest.raises(DatasetError):
        download(remote(server), tmp_path / "a.bin", wait=0)
    assert not (tmp_path / "a.bin").exists()


@pytest.mark.parametrize("facts", [{"digest": "md5:" + "0" * 32}, {"size": 7}], ids=["digest", "size"])
def test_a_wrong_file_is_not_kept(server, tmp_path, facts):
    with pytest.raises(DatasetError, match=r"instead of .* nothing of it was kept"):
        download(remote(server, **facts), tmp_path / "a.bin", wait=0)
    assert not list(tmp_path.iterdir())


def test_a_missing_file_and_a_missing_server_are_told(server, tmp_path):
    with pytest.raises(DatasetError, match="answers 404"):
        download(RemoteFile(server.url("b.bin")), tmp_path / "b.bin")
    with pytest.raises(DatasetError, match="no connection"):
        download(RemoteFile("http://127.0.0.1:1/b.bin"), tmp_path / "b.bin", wait=0)
    assert not list(tmp_path.iterdir())


def packed(folder, mode="w"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, path.name)
    return buffer.getvalue()


@pytest.fixture
def edsr(server, build_dataset, tmp_path, monkeypatch):
    """A server in the place of EDSR's: two sets in one archive."""
    for name, count in (("Set5", 5), ("B100", 3)):
        build_dataset("EDSR", name, count=count, root=tmp_path / "origin")
    server.files["benchmark.tar"] = packed(tmp_path / "origin")
    monkeypatch.setattr(fetch_module, "_EDSR", remote(server, "benchmark.tar"))
    monkeypatch.setattr(fetch_module, "SOURCES", [source for source in fetch_module.SOURCES if source.name == "edsr"])
    return server


def test_a_set_is_fetched_once_and_its_neighbours_come_along(edsr, tmp_path):
    found = fetch("Set-5", tmp_path / "data")
    assert found == open_dataset("set5", 2, tmp_path / "data")
    assert not found.makes_lr
    assert len(edsr.ranges) == 1
    assert fetch("set5", tmp_path / "data") == found
    assert len(fetch("bsd100", tmp_path / "data").pairs) == 3
    assert len(edsr.ranges) == 1
    assert sorted(path.name for path in (tmp_path / "data" / "edsr").iterdir()) == ["BSD100", "Set5"]
    result = verify("set5", tmp_path / "data")
    assert result.digests
    assert not result.problems


def test_verification_compares_with_what_was_downloaded(edsr, tmp_path):
    found = fetch("set5", tmp_path / "data")
    first, second = found.pairs[:2]
    first.hr.write_bytes(second.hr.read_bytes())  # a good image, but another
    second.lr.unlink()
    problems = verify("set5", tmp_path / "data").problems
    assert any(str(first.hr) in line and "not as it was downloaded" in line for line in problems)
    assert any(str(second.lr) in line and "missing" in line for line in problems)


def test_a_failed_download_leaves_no_half_made_folder(edsr, tmp_path):
    edsr.files["benchmark.tar"] = b"moved"
    with pytest.raises(DatasetError, match="instead of"):
        fetch("set5", tmp_path / "data")
    assert [path.name for path in (tmp_path / "data").iterdir()] == [".downloads"]
    with pytest.raises(DatasetError, match="was not found"):
        open_dataset("set5", 2, tmp_path / "data")


def test_an_archive_without_the_set_is_told(edsr, tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    edsr.files["benchmark.tar"] = packed(tmp_path / "other")
    monkeypatch.setattr(fetch_module, "_EDSR", remote(edsr, "benchmark.tar"))
    with pytest.raises(DatasetError, match="does not hold"):
        fetch("set5", tmp_path / "data")


def test_a_full_disk_is_foreseen(edsr, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch_module, "_EDSR", remote(edsr, "benchmark.tar", size=10**18))
    with pytest.raises(DatasetError, match="MB"):
        fetch("set5", tmp_path / "data")
    assert not edsr.ranges


def test_the_hub_serves_a_set_in_several_archives(server, build_dataset, tmp_path, monkeypatch):
    for scale in (2, 3, 4):
        build_dataset("Hugging Face", "Set5", scale=scale, count=5, root=tmp_path / "origin")
    for part in ("HR", "LR_x2", "LR_x3", "LR_x4"):
        folder = tmp_path / "packed" / part
        folder.mkdir(parents=True)
        (tmp_path / "origin/Set5/data" / f"Set5_{part}").rename(folder / f"Set5_{part}")
        name = f"datasets/eugenesiow/Set5/resolve/main/data/Set5_{part}.tar.gz"
        server.files[name] = packed(folder, "w:gz")
        server.etags[name] = hashlib.sha256(server.files[name]).hexdigest()
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", server.url("{repo_id}/resolve/{revision}/{filename}")
    )
    found = fetch("set5", tmp_path / "data", source="huggingface")
    assert len(found.pairs) == 5
    assert not open_dataset("set5", 3, tmp_path / "data").makes_lr
    assert not verify("set5", tmp_path / "data").problems


def test_what_cannot_be_fetched_is_told(tmp_path):
    with pytest.raises(DatasetError, match="apply at"):
        fetch("manga109", tmp_path)
    with pytest.raises(DatasetError, match="did you mean set14"):
        fetch("set41", tmp_path)
    with pytest.raises(DatasetError, match="edsr, huggingface"):
        fetch("set5", tmp_path, source="div2k")
    assert fetch("sample", tmp_path).name == "sample"

"""Downloads from a local server with configurable faults."""

import hashlib
import http.server
import io
import tarfile
import threading

import pytest

from lamnet_models import DatasetError
from lamnet_models.data import download as download_module
from lamnet_models.data import fetch, open_dataset, verify
from lamnet_models.data.download import ATTEMPTS, RemoteFile, download

CONTENT = bytes(range(256)) * 4000


class Server(http.server.ThreadingHTTPServer):
    """Server of ``files`` with faults: ``cut`` (bytes per response), ``claim`` (added to the length), and more."""

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
        if (requested := self.headers.get("Range")) and not server.ignore_range:
            start = int(requested.removeprefix("bytes=").removesuffix("-"))
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
    metadata = {"size": len(content), "digest": f"sha256:{hashlib.sha256(content).hexdigest()}"}
    return RemoteFile(server.url(name), **{**metadata, **kwargs})


def test_download_reports_progress(server, tmp_path):
    calls = []
    download(remote(server), tmp_path / "a.bin", lambda *progress: calls.append(progress))
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert calls[-1] == (len(CONTENT), len(CONTENT))
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("known", [True, False], ids=["size known", "size unknown"])
def test_download_resumes_after_cut_connection(server, tmp_path, known):
    server.cut = 300_000
    download(remote(server) if known else RemoteFile(server.url("a.bin")), tmp_path / "a.bin", wait=0)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=300000-", "bytes=600000-", "bytes=900000-"]


def test_download_resumes_partial_file(server, tmp_path):
    (tmp_path / "a.bin.partial").write_bytes(CONTENT[:1000])
    download(remote(server), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-"]


def test_download_restarts_without_range_support(server, tmp_path):
    server.ignore_range = True
    (tmp_path / "a.bin.partial").write_bytes(b"x" * 1000)
    download(remote(server), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_download_discards_wrong_partial_file(server, tmp_path):
    (tmp_path / "a.bin.partial").write_bytes(b"x" * 1000)
    download(remote(server), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-", None]


def test_download_gives_up_and_keeps_partial_file(server, tmp_path):
    server.cut = 0
    (tmp_path / "a.bin.partial").write_bytes(CONTENT[:1000])
    with pytest.raises(DatasetError, match="1,000 bytes"):
        download(remote(server), tmp_path / "a.bin", wait=0)
    assert len(server.ranges) == ATTEMPTS
    assert (tmp_path / "a.bin.partial").stat().st_size == 1000


@pytest.mark.parametrize("known", [True, False], ids=["size known", "size unknown"])
def test_download_retries_on_short_response(server, tmp_path, known):
    server.claim = 1000
    download(remote(server) if known else RemoteFile(server.url("a.bin")), tmp_path / "a.bin", wait=0)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_download_rejects_truncated_response(server, tmp_path):
    server.claim = -1000
    with pytest.raises(DatasetError):
        download(remote(server), tmp_path / "a.bin", wait=0)
    assert not (tmp_path / "a.bin").exists()


@pytest.mark.parametrize("metadata", [{"digest": "md5:" + "0" * 32}, {"size": 7}], ids=["digest", "size"])
def test_download_deletes_wrong_file(server, tmp_path, metadata):
    with pytest.raises(DatasetError, match=r"a\.bin: (md5|size) must be (0{32}|7 )"):
        download(remote(server, **metadata), tmp_path / "a.bin", wait=0)
    assert not list(tmp_path.iterdir())


def test_download_missing_file_or_server(server, tmp_path):
    with pytest.raises(DatasetError, match=r"b\.bin: .*404"):
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
    """A server in place of EDSR's, with two datasets in one archive."""
    for name, count in (("Set5", 5), ("B100", 3)):
        build_dataset("EDSR", name, count=count, root=tmp_path / "origin")
    server.files["benchmark.tar"] = packed(tmp_path / "origin")
    monkeypatch.setattr(download_module, "_EDSR", remote(server, "benchmark.tar"))
    monkeypatch.setattr(
        download_module, "SOURCES", [source for source in download_module.SOURCES if source.name == "edsr"]
    )
    return server


def test_fetch_keeps_all_datasets_of_archive(edsr, tmp_path):
    found = fetch("Set-5", tmp_path / "data")
    assert found == open_dataset("set5", 2, tmp_path / "data")
    assert not found.synthesizes_lr
    assert len(edsr.ranges) == 1
    assert fetch("set5", tmp_path / "data") == found
    assert len(fetch("bsd100", tmp_path / "data").pairs) == 3
    assert len(edsr.ranges) == 1
    assert sorted(path.name for path in (tmp_path / "data" / "edsr").iterdir()) == ["BSD100", "Set5"]
    result = verify("set5", tmp_path / "data")
    assert result.digests
    assert not result.problems


def test_verify_compares_with_manifest(edsr, tmp_path):
    found = fetch("set5", tmp_path / "data")
    first, second = found.pairs[:2]
    first.hr.write_bytes(second.hr.read_bytes())  # a valid image, but another
    second.lr.unlink()
    problems = verify("set5", tmp_path / "data").problems
    assert any(str(first.hr) in line and "changed" in line for line in problems)
    assert any(str(second.lr) in line and "missing" in line for line in problems)


def test_fetch_failure_leaves_no_partial_dataset(edsr, tmp_path):
    edsr.files["benchmark.tar"] = b"moved"
    with pytest.raises(DatasetError, match=r"size must be .*copy of Set5"):
        fetch("set5", tmp_path / "data")
    assert [path.name for path in (tmp_path / "data").iterdir()] == [".downloads"]
    with pytest.raises(DatasetError, match="set5 ×2"):
        open_dataset("set5", 2, tmp_path / "data")


def test_fetch_archive_without_dataset(edsr, tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    edsr.files["benchmark.tar"] = packed(tmp_path / "other")
    monkeypatch.setattr(download_module, "_EDSR", remote(edsr, "benchmark.tar"))
    with pytest.raises(DatasetError, match=r"benchmark\.tar .*benchmark/Set5"):
        fetch("set5", tmp_path / "data")


def test_fetch_checks_free_space(edsr, tmp_path, monkeypatch):
    monkeypatch.setattr(download_module, "_EDSR", remote(edsr, "benchmark.tar", size=10**18))
    with pytest.raises(DatasetError, match="MB"):
        fetch("set5", tmp_path / "data")
    assert not edsr.ranges


def test_fetch_from_hugging_face(server, build_dataset, tmp_path, monkeypatch):
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
    assert not open_dataset("set5", 3, tmp_path / "data").synthesizes_lr
    assert not verify("set5", tmp_path / "data").problems


def test_fetch_invalid_arguments(tmp_path):
    with pytest.raises(DatasetError, match="apply at"):
        fetch("manga109", tmp_path)
    with pytest.raises(DatasetError, match="did you mean set14"):
        fetch("set41", tmp_path)
    with pytest.raises(DatasetError, match="edsr, huggingface"):
        fetch("set5", tmp_path, source="div2k")
    assert fetch("sample", tmp_path).name == "sample"

"""Downloads of datasets, resumable and checked, and integrity of datasets."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import requests
import urllib3
from huggingface_hub import get_hf_file_metadata, hf_hub_url

from ..errors import DatasetError, ImageError, collapse_whitespace, quantity
from ..filesystem import file_digest
from .archives import unpack
from .catalog import KNOWN_DATASETS, SAMPLE, KnownDataset, dataset_roots, known_dataset, suggest_dataset
from .dataset import Dataset, open_dataset

Progress = Callable[[int, int | None], None]
"""Called with the bytes downloaded and the total, None if unknown."""

ATTEMPTS = 5
"""Maximum number of consecutive attempts without progress, 2 if nothing was ever received."""

_TIMEOUT = (10, 60)  # seconds: connect, read
_CHUNK_SIZE = 1 << 18


@dataclass(frozen=True)
class RemoteFile:
    """A file to download.

    Attributes:
        url: URL of the file.
        size: Size in bytes, if known.
        digest: ``"sha256:…"`` or ``"md5:…"`` in hexadecimal digits, if known.
    """

    url: str
    size: int | None = None
    digest: str | None = None

    @property
    def name(self) -> str:
        """File name."""
        return self.url.rpartition("/")[2]


def download(file: RemoteFile, target: Path, progress: Progress | None = None, wait: float = 1.0) -> None:
    """Download a file, resuming an interrupted download.

    Received data are kept in ``TARGET.partial`` until the file is complete and checked.

    Args:
        file: File to download.
        target: Path of the complete file.
        progress: Called as bytes arrive.
        wait: Seconds before the second attempt, doubled for each one after it.

    Raises:
        DatasetError: If the server reports an error, the connection fails repeatedly, or size or digest do not match.
        OSError: If the disk fails; the partial file is kept.
    """
    partial = target.with_name(f"{target.name}.partial")
    resumed = partial.exists() and partial.stat().st_size > 0
    _download_to(partial, file, progress, wait)
    problem = _mismatch(partial, file)
    if problem and resumed:  # the partial file may be of another version
        partial.unlink()
        _download_to(partial, file, progress, wait)
        problem = _mismatch(partial, file)
    if problem:
        partial.unlink()
        raise DatasetError(f"{file.url}: {problem}; the download was deleted")
    partial.replace(target)


def _download_to(partial: Path, file: RemoteFile, progress: Progress | None, wait: float) -> None:
    failures = 0
    while True:
        before = partial.stat().st_size if partial.exists() else 0
        try:
            return _request(partial, file, before, progress)
        except (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError, _IncompleteError) as error:
            after = partial.stat().st_size if partial.exists() else 0
            failures = 1 if after > before else failures + 1
            if failures >= (ATTEMPTS if after else 2):
                kept = f"; {quantity(after, 'byte')} received and kept; run the command again to resume"
                raise DatasetError(f"{file.url}: {_reason(error)}{kept if after else ''}") from None
            time.sleep(wait * 2 ** (failures - 1))
        except requests.RequestException as error:
            raise DatasetError(f"{file.url}: {_reason(error)}") from None


def _request(partial: Path, file: RemoteFile, offset: int, progress: Progress | None) -> None:
    if file.size is not None and offset == file.size:
        return
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
    with requests.get(file.url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            if response.headers.get("Content-Range") == f"bytes */{offset}":  # already complete
                return
            partial.unlink()
            raise _IncompleteError("the file on the server has changed")
        response.raise_for_status()
        continued = response.headers.get("Content-Range", "").startswith(f"bytes {offset}-")
        if response.status_code != requests.codes.partial_content or not continued:
            offset = 0
        length = response.headers.get("Content-Length", "")
        total = file.size or (offset + int(length) if length.isdecimal() else None)
        done = offset
        with open(partial, "ab" if offset else "wb") as out:
            for piece in response.raw.stream(_CHUNK_SIZE, decode_content=False):
                out.write(piece)
                done += len(piece)
                if progress:
                    progress(done, total)
        if total is not None and done < total:
            raise _IncompleteError(f"the connection ended after {done} of {quantity(total, 'byte')}")


class _IncompleteError(Exception):
    """The connection ended before the end of the file."""


def _mismatch(path: Path, file: RemoteFile) -> str | None:
    size = path.stat().st_size
    if file.size not in (None, size):
        return f"size must be {quantity(file.size, 'byte')}, got {size}"
    if file.digest:
        algorithm, _, expected = file.digest.partition(":")
        actual = file_digest(path, algorithm)
        if actual != expected:
            return f"{algorithm} must be {expected}, got {actual}"
    return None


def _reason(error: Exception) -> str:
    if isinstance(error, requests.HTTPError):
        return f"the server returned {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return "the server timed out"
    if isinstance(error, requests.ConnectionError):
        return "no connection to the server"
    if isinstance(error, urllib3.exceptions.HTTPError):
        return "the connection ended early"
    return collapse_whitespace(error)


# Sources


@dataclass(frozen=True)
class Source:
    """A download source.

    Attributes:
        name: Name of the source.
        files: Function from a dataset to the archives to download.
        folders: Folder inside the unpacked archives, by dataset; ``"."`` for everything.
    """

    name: str
    files: Callable[[KnownDataset], Iterable[RemoteFile]]
    folders: dict[str, str]


def _hugging_face(known: KnownDataset) -> Iterable[RemoteFile]:
    for part in ("HR", "LR_x2", "LR_x3", "LR_x4"):
        url = hf_hub_url(f"eugenesiow/{known.title}", f"data/{known.title}_{part}.tar.gz", repo_type="dataset")
        try:
            metadata = get_hf_file_metadata(url)
        except Exception as error:  # the library raises its HTTP client's errors as well as its own
            raise DatasetError(f"{url}: {collapse_whitespace(error)[:200]}") from None
        is_sha256 = metadata.etag is not None and len(metadata.etag) == 64
        yield RemoteFile(url, metadata.size, f"sha256:{metadata.etag}" if is_sha256 else None)


_EDSR = RemoteFile(
    "https://cv.snu.ac.kr/research/EDSR/benchmark.tar",
    250_112_000,
    "sha256:80c21c333bbf6ceb5308b7243761f8284478274413a97b96f1d63e9045fd93e8",
)
_DIV2K = RemoteFile(
    "http://data.vision.ee.ethz.ch/cvl/DIV2K/DIV2K_valid_HR.zip", digest="md5:9fcdda83005c5e5997799b69f955ff88"
)

SOURCES = (
    Source(
        "edsr",
        lambda _: [_EDSR],
        {
            "set5": "benchmark/Set5",
            "set14": "benchmark/Set14",
            "bsd100": "benchmark/B100",
            "urban100": "benchmark/Urban100",
        },
    ),
    Source("huggingface", _hugging_face, dict.fromkeys(("set5", "set14", "bsd100", "urban100"), ".")),
    Source("div2k", lambda _: [_DIV2K], {"div2k_valid": "DIV2K_valid_HR"}),
)
"""Download sources, in the order they are tried."""


def fetch(
    dataset: str,
    data_dir: str | os.PathLike | None = None,
    source: str | None = None,
    progress: Callable[[str], Progress] | None = None,
) -> Dataset:
    """Download a dataset unless it exists locally.

    Args:
        dataset: Name of a known dataset, in any spelling.
        data_dir: Download folder; by default the first folder in ``LAMNET_DATA``, or the user's cache.
        source: Name of the only source to use; by default each is tried in turn.
        progress: Called with the name of each file; returns the callback for its bytes.

    Returns:
        The dataset at ×2.

    Raises:
        DatasetError: If the dataset is not available for download, or the download fails. No partial dataset is left.
    """
    known = known_dataset(dataset)
    if known is None:
        raise DatasetError(f"no dataset named {dataset!r}: {suggest_dataset(dataset, folders=False)}")
    if known.apply:
        raise DatasetError(f"{known.name}: {known.fetch_hint()}, and unpack it in {dataset_roots(data_dir)[0]}")
    sources = [s for s in SOURCES if known.name in s.folders and source in (None, s.name)]
    if not sources and known is not SAMPLE:
        available = ", ".join(s.name for s in SOURCES if known.name in s.folders)
        raise DatasetError(f"source for {known.name} must be one of {available}, got {source!r}")
    try:
        return open_dataset(known.name, 2, data_dir)
    except DatasetError:
        pass
    home = dataset_roots(data_dir)[0]
    failures = []
    for candidate in sources:
        try:
            _fetch_from_source(candidate, known, home, progress)
            return open_dataset(known.name, 2, home)
        except DatasetError as error:
            failures.append(str(error))
    raise DatasetError(f"{'; '.join(failures)}; to use a copy of {known.title}, put it in {home}")


def _fetch_from_source(
    source: Source, known: KnownDataset, home: Path, progress: Callable[[str], Progress] | None
) -> None:
    home.mkdir(parents=True, exist_ok=True)
    downloads = home / ".downloads"
    downloads.mkdir(exist_ok=True)
    archives = []
    for file in source.files(known):
        archive = downloads / file.name
        if not archive.exists():
            _check_space(home, file)
            download(file, archive, progress and progress(file.name))
        archives.append((archive, file))
    # In the same file system as the target, so that the move is atomic.
    temporary = Path(tempfile.mkdtemp(prefix=".lamnet-", dir=home))
    try:
        for archive, _ in archives:
            unpack(archive, temporary)
        if not (temporary / source.folders[known.name]).is_dir():
            raise DatasetError(f"{archives[0][1].url} does not contain {source.folders[known.name]}")
        for name, folder in source.folders.items():
            # Keep every dataset in the archive, so that fetching another one needs no download.
            unpacked, target = temporary / folder, home / source.name / KNOWN_DATASETS[name].title
            if (folder == "." and name != known.name) or not unpacked.is_dir() or target.exists():
                continue
            write_manifest(unpacked, [asdict(file) for _, file in archives])
            target.parent.mkdir(exist_ok=True)
            os.replace(unpacked, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        for archive, _ in archives:
            archive.unlink(missing_ok=True)


def _check_space(home: Path, file: RemoteFile) -> None:
    free = shutil.disk_usage(home).free
    if file.size is not None and free < 2.5 * file.size:  # the archive and its unpacked files
        raise DatasetError(
            f"{home} must have {2.5 * file.size / 1e6:.0f} MB free for {file.name} and its contents, got "
            f"{free / 1e6:.0f} MB"
        )


# Integrity


_MANIFEST = ".lamnet-manifest.json"


def write_manifest(folder: Path, sources: list[dict]) -> None:
    """Write the sources and SHA-256 digests of a folder's files.

    Args:
        folder: The folder.
        sources: Description of each downloaded file.
    """
    files = {str(file.relative_to(folder)): file_digest(file) for file in sorted(folder.rglob("*")) if file.is_file()}
    content = {"sources": sources, "sha256": files}
    (folder / _MANIFEST).write_text(json.dumps(content, indent=1), encoding="utf-8")


def check_manifest(folder: Path) -> list[str] | None:
    """Return one line per file that differs from its download, or None without a manifest.

    Args:
        folder: The folder of the manifest, or one below it.
    """
    for root in (folder, *folder.parents):
        if (root / _MANIFEST).is_file():
            break
    else:
        return None
    try:
        digests = json.loads((root / _MANIFEST).read_text(encoding="utf-8"))["sha256"]
        expected = {root / name: digest for name, digest in digests.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return [f"{root / _MANIFEST}: damaged"]
    missing = [f"{file}: missing" for file in expected if not file.is_file()]
    return missing + [
        f"{file}: changed since the download"
        for file, digest in expected.items()
        if file.is_file() and file_digest(file) != digest
    ]


@dataclass(frozen=True)
class Verification:
    """Result of a dataset integrity check.

    Attributes:
        name: Name of the dataset.
        folder: Folder of the HR images.
        images: Number of images.
        scales: Scales with LR images.
        digests: Whether the files were compared with the digests of the download.
        problems: One line per problem.
    """

    name: str
    folder: Path
    images: int
    scales: tuple[int, ...]
    digests: bool
    problems: tuple[str, ...]


def verify(dataset: str | os.PathLike, data_dir: str | os.PathLike | None = None) -> Verification:
    """Read every image at ×2, ×3 and ×4; check counts, sizes and, if known, digests.

    Args:
        dataset: See [`open_dataset`][lamnet_models.data.open_dataset].
        data_dir: Dataset root.

    Raises:
        DatasetError: If the dataset is not found.
    """
    problems: dict[str, None] = {}  # an ordered set
    opened, failures = [], []
    for scale in (2, 3, 4):
        try:
            opened.append(open_dataset(dataset, scale, data_dir))
        except DatasetError as error:
            failures.append(error)
    if not opened:
        raise failures[0]
    with_lr = [version for version in opened if not version.synthesizes_lr]
    for version in with_lr or opened[:1]:
        problems.update(dict.fromkeys(version.problems))
        for pair in version.pairs:
            try:
                version.read(pair)
            except (DatasetError, ImageError) as error:
                problems[str(error)] = None
    known, first = known_dataset(opened[0].name), opened[0]
    if known and len(first.pairs) != known.count:
        problems[f"{first.folder}: {known.title} must have {known.count} images, got {len(first.pairs)}"] = None
    changed = check_manifest(first.folder)
    problems.update(dict.fromkeys(changed or []))
    return Verification(
        first.name,
        first.folder,
        len(first.pairs),
        tuple(version.scale for version in with_lr),
        changed is not None,
        tuple(problems),
    )

"""Dataset downloads from public sources."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import get_hf_file_metadata, hf_hub_url

from ..errors import DatasetError
from .archives import unpack
from .catalogue import KNOWN_DATASETS, SAMPLE, KnownDataset, known_dataset, suggest_dataset
from .dataset import Dataset, open_dataset
from .download import Progress, RemoteFile, download
from .manifest import write_manifest
from .places import dataset_roots


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
            raise DatasetError(f"{url}: {' '.join(str(error).split())[:200]}") from None
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
        raise DatasetError(f"no dataset named {dataset!r}: {suggest_dataset(dataset)}")
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
    raise DatasetError("; ".join(failures))


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
            write_manifest(unpacked, [file for _, file in archives])
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

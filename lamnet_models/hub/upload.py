"""A checkpoint as a repository in timm's form."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import HfApi
from timm.models import save_for_hf

from ..checkpoint import Checkpoint, read_checkpoint, save_checkpoint
from ..errors import HubError
from ..hub_errors import HUB_ERRORS, describe_hub_error
from ..pretrained import packaged_weights, resolve_weights_path
from ..registry import NAMES, create_model
from .card import write_card

LICENSE = "apache-2.0"
"""That of the packaged weights."""


def push(source: str | os.PathLike, repository: str, *, license: str | None = None, private: bool | None = None) -> str:
    """Uploads a checkpoint to a hub: ``model.safetensors``, ``config.json`` and a card, in one commit.

    ``timm.create_model("hf-hub:ORGANISATION/NAME", pretrained=True)`` and all that takes our models' names read it.
    The repository is made if it is not there. The token is ``HF_TOKEN``'s or that of ``hf auth login``, the hub that of
    ``HF_ENDPOINT``.

    Args:
        source: A checkpoint file, or the name of pretrained weights.
        repository: Where to, ``"ORGANISATION/NAME"``.
        license: The hub's identifier of the licence of the weights. None is that of the packaged weights, for these;
            for any others it must be said.
        private: Whether others may not see a repository that is made; None for what its owner has set.

    Returns:
        The address of the repository.

    Raises:
        ValueError: If the weights' licence is not known.
        CheckpointError: If the file cannot be read.
        HubError: If the upload fails.
    """
    path = resolve_weights_path(source)
    checkpoint = read_checkpoint(path)
    if license is None and path not in packaged_weights().values():
        raise ValueError(f"license is None, but only you know that of {path}: give one, such as {LICENSE!r}")
    with TemporaryDirectory() as folder:
        write_folder(checkpoint, folder, repository, license or LICENSE)
        try:
            api = HfApi(library_name="lamnet")
            url = api.create_repo(repository, private=private, exist_ok=True)
            api.upload_folder(repo_id=url.repo_id, folder_path=folder, commit_message=f"Add {path.name}")
        except (*HUB_ERRORS, ValueError) as error:  # the latter where an upload was refused
            raise HubError(f"{repository}: not uploaded: {describe_hub_error(error)}") from None
    return str(url)


def write_folder(checkpoint: Checkpoint, folder: str | os.PathLike, repository: str, license: str) -> None:
    """Writes what a repository holds; ``local-dir:FOLDER`` reads it too.

    The weights are a checkpoint of ours as well, with everything that the original tells of its training.

    Args:
        checkpoint: The network and the facts about it.
        folder: Where to.
        repository: What it is to be called, ``"ORGANISATION/NAME"``.
        license: Identifier of the weights' licence.
    """
    folder = Path(folder)
    name = f"lamnet_{'large_' * (checkpoint.config['num_blocks'] == 5)}x{checkpoint.config['scale']}"
    if name not in NAMES:
        name = "lamnet_x4"
    published = create_model(name, device="meta").config
    arguments = {key: value for key, value in checkpoint.config.items() if published[key] != value}
    model = create_model(name, **arguments)
    checkpoint.load_into(model)
    about = {"pretrained_cfg": {"license": license, "tag": ""}}
    save_for_hf(model, folder, model_config=about, model_args=arguments, safe_serialization=True)
    half = any(str(tensor.dtype) == "torch.float16" for tensor in checkpoint.state.values())
    save_checkpoint(model, folder / "model.safetensors", training=checkpoint.training, half=half)
    params = sum(parameter.numel() for parameter in model.parameters())
    (folder / "README.md").write_text(write_card(checkpoint, repository, name, params, license), encoding="utf-8")

"""``lamnet push``: upload weights to a Hugging Face hub."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import Json
from .output import print_json


def push(
    source: Annotated[str, typer.Argument(metavar="FILE", help="Checkpoint file, or name of pretrained weights.")],
    repository: Annotated[str, typer.Argument(metavar="REPO", help="Repository to upload to, OWNER/NAME.")],
    license: Annotated[
        str | None,
        typer.Option(help="License identifier, as on the hub; optional for packaged weights."),
    ] = None,
    private: Annotated[bool | None, typer.Option("--private/--public", help="Visibility of a new repository.")] = None,
    as_json: Json = False,
) -> None:
    """Upload weights to a Hugging Face hub.

    The repository has timm's format and a model card.

    Set the access token in the environment variable HF_TOKEN, or log in with: hf auth login

    Example: lamnet push best.safetensors user/lamnet-x4-faces --license cc-by-4.0
    """
    from lamnet_models.hub import push as upload

    try:
        url = upload(source, repository, license=license, private=private)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if as_json:
        print_json({"url": url, "model": f"hf-hub:{repository}"})
        return
    print(f"{source} → {url}\nlamnet create hf-hub:{repository} --pretrained")

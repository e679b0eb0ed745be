"""``lamnet push``: weights to a hub."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import Json
from .output import print_json


def push(
    source: Annotated[str, typer.Argument(metavar="FILE", help="A checkpoint, or the name of pretrained weights.")],
    repository: Annotated[str, typer.Argument(metavar="REPO", help="Where to, ORGANISATION/NAME.")],
    license: Annotated[
        str | None, typer.Option(help="The weights' licence, as the hub spells it. [default: for packaged ones theirs]")
    ] = None,
    private: Annotated[
        bool | None, typer.Option("--private/--public", help="Who sees a repository that is made.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Uploads weights to a Hugging Face hub in timm's form, with a card made of what the file tells.

    The token is the environment variable HF_TOKEN, or that of: hf auth login

    Example: lamnet push best.safetensors someone/lamnet-x4-faces --license cc-by-4.0
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

"""Writes what the site shows of the package itself when it is built: the commands' help, the model cards."""

import subprocess
import sys

from lamnet_models.pretrained import packaged_weights

_COMMAND = (sys.executable, "-m", "typer", "lamnet_cli.main", "utils", "docs", "--name", "lamnet")


def on_page_markdown(markdown: str, page, **_) -> str:
    """Puts the commands' help and the model cards in the place of their markers."""
    if page.file.src_uri == "cli.md":
        reference = subprocess.run(_COMMAND, check=True, capture_output=True, text=True).stdout
        return markdown.replace("<!-- commands -->", "## " + reference.partition("\n## ")[2])
    if page.file.src_uri == "weights.md":
        cards = (path.with_suffix(".md").read_text(encoding="utf-8") for path in packaged_weights().values())
        return markdown.replace("<!-- cards -->", "\n".join(cards))
    return markdown

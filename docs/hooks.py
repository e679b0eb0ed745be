"""Writes the page of the command line from the commands themselves when the site is built."""

import subprocess
import sys

_COMMAND = (sys.executable, "-m", "typer", "lamnet_cli.main", "utils", "docs", "--name", "lamnet")


def on_page_markdown(markdown: str, page, **_) -> str:
    """Puts the commands' help in the place of the marker on the page ``cli.md``."""
    if page.file.src_uri != "cli.md":
        return markdown
    reference = subprocess.run(_COMMAND, check=True, capture_output=True, text=True).stdout
    commands = reference.partition("\n## ")[2]
    return markdown.replace("<!-- commands -->", f"## {commands}")

"""MkDocs hooks that generate the command reference, the model cards and repository pages."""

import re
import subprocess
import sys
from pathlib import Path

from mkdocs.structure.files import File
from zoo import zoo_lines

from lamnet_models.names import packaged_weights

_ROOT = Path(__file__).resolve().parents[2]
_COMMAND = (sys.executable, "-m", "typer", "lamnet_cli.main", "utils", "docs", "--name", "lamnet")
_MARKER = re.compile(r"^<!-- (commands|zoo|file (\S+)) -->$", re.MULTILINE)

_CELL = re.compile(r"<td[^>]*>.*?</td>", re.DOTALL)
_NAME = re.compile(r"(?<=<code>)[^<]+(?=</code>)|(?<=>)[^<\s]*[_×][^<\s]*")
_PUNCTUATION = re.compile(r"[_×.,(/=](?=\w)")


def on_config(config):
    """Add the model cards to the navigation."""
    sections = (
        entry for part in config.nav for section in part.values() if isinstance(section, list) for entry in section
    )
    cards = next(entry["Model cards"] for entry in sections if "Model cards" in entry)
    cards += [{name: f"weights/{name}.md"} for name in packaged_weights()]
    return config


def on_files(files, config, **_):
    """Add a page for each model card."""
    for name, path in packaged_weights().items():
        card = path.with_suffix(".md").read_text(encoding="utf-8")
        page = re.sub(r"\A#+ .*\n", f"# {name}\n", card)
        files.append(File.generated(config, f"weights/{name}.md", content=page))
    return files


def on_page_markdown(markdown: str, **_) -> str:
    """Replace each marker by the command reference, the table of weights, or a repository file."""
    return _MARKER.sub(lambda match: _render(match[1], match[2]), markdown)


def on_page_content(html: str, **_) -> str:
    """Let names and expressions in tables wrap after punctuation."""
    return _CELL.sub(lambda cell: _NAME.sub(lambda code: _PUNCTUATION.sub(r"\g<0><wbr>", code[0]), cell[0]), html)


def _render(marker: str, path: str | None) -> str:
    if marker == "commands":
        return _commands()
    if marker == "zoo":
        return "\n".join(zoo_lines())
    text = (_ROOT / path).read_text(encoding="utf-8")
    return text.replace("](docs/", "](")  # links are relative to the repository root


def _commands() -> str:
    reference = subprocess.run(_COMMAND, check=True, capture_output=True, text=True).stdout
    reference = "## " + reference.partition("\n## ")[2]
    return re.sub(r"^Example: (.+)$", r"```bash\n\1\n```", reference, flags=re.MULTILINE)

"""Documentation pages: Python blocks run, and the commands and options shown exist."""

import functools
import re
import shlex
from importlib import metadata
from pathlib import Path

import pytest
import typer
from lamnet_cli.main import app

get_command = functools.cache(typer.main.get_command)
ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page, language):
    """Code blocks of a page in a language, including indented ones."""
    text = page.read_text(encoding="utf-8")
    matches = re.findall(rf"^( *)```{language}\n(.*?)^\1```", text, re.DOTALL | re.MULTILINE)
    return [re.sub(f"^{indent}", "", block, flags=re.MULTILINE) for indent, block in matches]


def name_of(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name_of)
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), names)


@pytest.mark.parametrize("page", [page for page in PAGES if "lamnet " in "".join(blocks(page, "bash"))], ids=name_of)
def test_shown_commands_and_options_exist(page):
    unknown, main_command = [], get_command(app)
    for command in _commands("\n".join(blocks(page, "bash"))):
        click_command = main_command
        for word in command[1:]:
            if word in getattr(click_command, "commands", {}):
                click_command = click_command.commands[word]
        options = {option for parameter in click_command.params for option in parameter.opts + parameter.secondary_opts}
        options |= {"--help", "-h", "--version", "--install-completion"}
        if hasattr(click_command, "commands") and not options & set(command):
            unknown.append(" ".join(command))
        unknown += [f"{word} in {' '.join(command)}" for word in command if _is_option(word) and word not in options]
    assert unknown == []


def _commands(script):
    """The lamnet commands of a script, each as a list of words."""
    commands = []
    lines = re.sub(r"(^|\s)#.*", "", script.replace("\\\n", " "), flags=re.MULTILINE)
    for line in lines.splitlines():
        reader = shlex.shlex(line, posix=True, punctuation_chars=True)
        reader.whitespace_split = True
        command = []
        for word in [*reader, ";"]:
            if set(word) <= set("();<>|&"):
                commands.append(command)
                command = []
            else:
                command.append(word)
    starts = ((command, command.index("lamnet")) for command in commands if "lamnet" in command)
    return [command[start:] for command, start in starts if start == 0 or command[start - 1] == "do"]


def _is_option(word):
    return re.fullmatch(r"--?[a-zA-Z][a-z0-9-]*", word) is not None


def test_installation_lists_extras():
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs" / "install.md").read_text(encoding="utf-8"), re.MULTILINE)
    listed = [name for row in rows for name in re.findall(r"`(.+?)`", row)]
    distributions = ["lamnet", "lamnet-layers"]
    assert sorted(listed) == sorted([*distributions, *metadata.metadata("lamnet").get_all("Provides-Extra")])

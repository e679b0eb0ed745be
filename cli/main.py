"""Entry point of the ``lamnet`` command: subcommands and error reporting."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Annotated

import typer

from . import (
    bench,
    compare,
    convert,
    create,
    data,
    demo,
    env,
    explain,
    export,
    info,
    plot,
    push,
    release,
    reproduce,
    train,
    upscale,
)
from .allocator import configure_allocator
from .app import serve_page
from .eval import evaluate
from .launching import is_worker
from .layout import Command, Group
from .list import list_models
from .output import ImportNotice, print_error

app = typer.Typer(
    name="lamnet",
    cls=Group,
    help="Image super-resolution with LAMNet.\n\nExample: lamnet upscale photo.jpg",
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
_COMMANDS = {
    "upscale": upscale.upscale,
    "demo": demo.demo,
    "app": serve_page,
    "eval": evaluate,
    "compare": compare.compare,
    "explain": explain.explain,
    "reproduce": reproduce.reproduce,
    "bench": bench.bench,
    "train": train.train,
    "plot": plot.plot,
    "release": release.release,
    "create": create.create,
    "list": list_models,
    "info": info.info,
    "convert": convert.convert,
    "export": export.export,
    "push": push.push,
    "env": env.env,
}
for name, function in _COMMANDS.items():
    app.command(name, cls=Command)(function)
app.add_typer(data.app, name="data")


def _print_version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        print(f"lamnet {version('lamnet')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit: 0 done, 1 some inputs failed, 2 wrong usage, 130 interrupted.

    Args:
        arguments: Arguments after ``lamnet``; by default those of the process.
    """
    configure_allocator()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # file names and symbols that the encoding lacks
    is_first_process = not is_worker() and os.environ.get("RANK", "0") == "0"  # as set by torchrun
    if is_first_process and "--json" not in (sys.argv if arguments is None else arguments):
        ImportNotice.install()
    command = sys.orig_argv[1:] if arguments is None else ["-m", "lamnet_cli", *arguments]
    try:
        # The context object is the command line to run the same command in another process.
        code = app(arguments, prog_name="lamnet", standalone_mode=False, obj=[sys.executable, *command])
        sys.stdout.flush()  # at exit, Python would ignore errors
    except typer.TyperException as error:  # wrong usage
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "lamnet"
        if message := error.format_message():  # empty if the help has been printed
            print_error(f"{message.rstrip('.')} (see {path} --help)")
        code = error.exit_code
    except typer.Abort:
        code = 130
    except BrokenPipeError:  # the reader of the output has exited
        sys.stderr.close()
        code = 1
    except OSError as error:
        name = error.filename
        if name is None and error.errno in (errno.ENOSPC, errno.EIO):  # errors of files have their name
            name = "standard output"
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what remains in the buffer
        print_error(f"{name}: {error.strerror}" if name else str(error))
        code = 1
    except ModuleNotFoundError as error:
        if error.name != "lamnet_layers":
            raise
        # A checkout of lamnet and lamnet-layers were both installed, and the one removed had the files of both.
        from importlib.metadata import version

        command = f"pip install --force-reinstall --no-deps lamnet-layers=={version('lamnet')}"
        print_error(f"lamnet_layers is missing: {command}, or reinstall lamnet from its checkout")
        code = 1
    except Exception as error:
        # Not imported at the top, as this imports torch. The module is loaded if it raised the error.
        errors = sys.modules.get("lamnet_models.errors")
        if errors is None or not isinstance(error, errors.LAMNetError):
            raise
        print_error(str(error))
        code = 2 if isinstance(error, errors.ModelError) else 1
    sys.exit(code)

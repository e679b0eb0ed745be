"""``lamnet reproduce``: the paper's tables and figures, made again."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .compare import parse_detail
from .options import Data, Json, Limit, Overwrite, parse_size
from .output import print_error, print_json, print_note
from .progress import spinner

if TYPE_CHECKING:
    from lamnet_models.reproduction import Reproduction


def reproduce(
    items: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ITEM]...", help="table1 … table4, figure5 … figure10, or all.", show_default=False),
    ] = None,
    list_items: Annotated[bool, typer.Option("--list", help="List the items and their options.")] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write to.")] = Path("reproduced"),
    data: Data = None,
    dataset: Annotated[str | None, typer.Option("--dataset", "-d", help="Set to measure on, or to show.")] = None,
    scale: Annotated[list[int] | None, typer.Option("--scale", "-s", help="Factor of enlargement.")] = None,
    limit: Limit = None,
    model: Annotated[list[str] | None, typer.Option("--model", "-n", help="Model by name, or a checkpoint.")] = None,
    weights: Annotated[
        list[str] | None, typer.Option(metavar="NAME=FILE", help="Weights of a model: swinir_light=FILE (table3).")
    ] = None,
    train: Annotated[
        str | None, typer.Option(metavar="BUDGET", help="Train each variant: 500 steps, 10m, 2h (table4, figure7).")
    ] = None,
    train_data: Annotated[list[str] | None, typer.Option(help="Folder of images to train on.")] = None,
    variant: Annotated[list[str] | None, typer.Option(help="Row to take, such as 'IEM → None' (table4).")] = None,
    run: Annotated[list[str] | None, typer.Option(help="Folder of a run (figure7).")] = None,
    detail: Annotated[list[str] | None, typer.Option(help="IMAGE:LEFT,TOP,WIDTH,HEIGHT (figure5).")] = None,
    image: Annotated[str | None, typer.Option(help="Image file or sample (figure9, figure10).")] = None,
    layer: Annotated[list[int] | None, typer.Option(help="Number of a layer, from 1 (figure9, figure10).")] = None,
    group: Annotated[list[int] | None, typer.Option(help="Number of a group of channels, from 1 (figure9).")] = None,
    pixel: Annotated[list[str] | None, typer.Option(metavar="X,Y", help="Pixel to look at (figure9).")] = None,
    side: Annotated[list[int] | None, typer.Option(help="Side of a window in pixels (figure8).")] = None,
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT to measure at (figure6, figure8).")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Rounds of measuring (figure6, figure8).")] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Makes the paper's tables and figures again, our values beside the paper's.

    Prints Markdown, and writes ITEM.md, ITEM.json and, of a figure, ITEM.png and ITEM.svg; runs go to runs/.
    Options that may be given again add to each other; --list says which items take which.

    Example: lamnet reproduce table1 figure9 -o out/
    """
    from lamnet_models.reproduction import ITEMS, item_options

    if list_items:
        for item in ITEMS:
            print(f"{item:9}{(ITEMS[item].__doc__ or '').splitlines()[0]}\n{'':9}{_options(item_options(item))}")
        return
    chosen = list(ITEMS) if items == ["all"] else list(dict.fromkeys(items or []))
    if not chosen:
        raise typer.BadParameter(f"name an item: {', '.join(ITEMS)}, or all")
    given = {
        "data": data,
        "dataset": dataset,
        "scales": scale,
        "limit": limit,
        "models": model,
        "weights": [_parse_weights(text) for text in weights or []],
        "train": train,
        "train_data": train_data,
        "variants": variant,
        "runs": run,
        "details": [parse_detail(text) for text in detail or []],
        "image": image,
        "layers": layer,
        "groups": group,
        "pixels": [_parse_pixel(text) for text in pixel or []],
        "sides": side,
        "size": parse_size("--size", size) if size else None,
        "rounds": rounds,
    }
    given = {name: value for name, value in given.items() if value not in (None, [])}
    calls = {item: _arguments(item, given, output, strict=items != ["all"]) for item in chosen}
    _check_folder(output, chosen, overwrite)
    facts, failed = [], False
    for item, arguments in calls.items():
        result = _run(item, arguments)
        if result is None:
            failed = True
            continue
        files = [str(path) for path in result.save(output)]
        facts.append(result.to_dict() | {"files": files})
        if not as_json:
            print(result.markdown())
            print_note(f"written: {', '.join(files)}")
    if as_json:
        print_json(facts[0] if len(chosen) == 1 and facts else facts)
    if failed:
        raise typer.Exit(1)


_SINGULAR = {"scales": "scale", "models": "model"}


def _arguments(item: str, given: dict[str, Any], output: Path, strict: bool) -> dict[str, Any]:
    """Returns an item's arguments; an option that it does not take is refused, or left out for ``all``."""
    from lamnet_models.reproduction import item_options

    try:
        options = item_options(item)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    arguments = {"folder": output / "runs" / item} if "folder" in options else {}
    for name, value in given.items():
        one = _SINGULAR.get(name)
        if name in options:
            arguments[name] = value
        elif one in options:
            if len(value) > 1:
                raise typer.BadParameter(f"{item} takes one --{one}, but there are {len(value)}")
            arguments[one] = value[0]
        elif strict:
            raise typer.BadParameter(f"{item} takes no {_flag(name)}; it takes {_options(options)}")
    return arguments


def _flag(name: str) -> str:
    plain = name if name in ("weights", "train_data", "rounds") else name.removesuffix("s")
    return "--" + plain.replace("_", "-")


def _options(names: tuple[str, ...]) -> str:
    shown = [_flag(name) for name in names if name not in ("on_status", "folder")]
    return " ".join(shown) or "no options"


def _parse_weights(text: str) -> tuple[str, str]:
    name, sign, file = text.partition("=")
    if not (sign and name and file):
        raise typer.BadParameter(f"--weights is {text!r}, but it must be NAME=FILE, such as swinir_light=swinir.pth")
    return name, file


def _parse_pixel(text: str) -> tuple[int, int]:
    if not re.fullmatch(r"\d+,\d+", text):
        raise typer.BadParameter(f"--pixel is {text!r}, but it must be X,Y, such as 40,32")
    column, row = text.split(",")
    return int(column), int(row)


def _check_folder(folder: Path, items: list[str], overwrite: bool) -> None:
    from lamnet_models.reproduction.result import output_files

    if folder.exists() and not folder.is_dir():
        raise typer.BadParameter(f"{folder} is a file: name a folder")
    there = [path for item in items for path in output_files(item, folder, pictures=True) if path.exists()]
    if there and not overwrite:
        raise typer.BadParameter(f"{there[0]} exists: choose another folder, or pass --overwrite")


def _run(item: str, arguments: dict[str, Any]) -> Reproduction | None:
    """Reproduces an item; None if it cannot be, which is said."""
    from lamnet_models.errors import LAMNetError
    from lamnet_models.reproduction import ITEMS, item_options

    with spinner() as say:
        if "on_status" in item_options(item):
            arguments = arguments | {"on_status": lambda text: say(f"{item}: {text}")}
        try:
            return ITEMS[item](**arguments)
        except ValueError as error:
            raise typer.BadParameter(f"{item}: {error}") from None
        except LAMNetError as error:
            print_error(f"{item}: {error}")
            return None

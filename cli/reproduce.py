"""``lamnet reproduce``: reproduce the paper's tables and figures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .compare import parse_detail
from .options import Data, Json, Limit, Overwrite, parse_size, require_package
from .output import print_error, print_json, print_note, spinner

if TYPE_CHECKING:
    from lamnet_models.paper import Reproduction


def reproduce(
    items: Annotated[
        list[str] | None,
        typer.Argument(metavar="ITEM", help="table1 … table4, figure5 … figure10, or all.", show_default=False),
    ] = None,
    list_items: Annotated[bool, typer.Option("--list", help="List the items and their options.")] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write to.")] = Path("reproduced"),
    data: Data = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", "-d", help="Dataset to evaluate or show (table4, figure5, figure6).")
    ] = None,
    scale: Annotated[
        list[int] | None,
        typer.Option("--scale", "-s", help="Upscaling factor (table3, figure5, figure6); repeatable for table3."),
    ] = None,
    limit: Limit = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", "-n", help="Model name or checkpoint (figure5, figure9, figure10); repeatable for figure5."
        ),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE", help="Weights of a baseline, such as swinir_light=FILE; repeatable (table3)."
        ),
    ] = None,
    train: Annotated[
        str | None, typer.Option(metavar="BUDGET", help="Train each variant: 500 (steps), 10m or 2h (table4, figure7).")
    ] = None,
    train_data: Annotated[
        list[str] | None, typer.Option(help="Folder of training images; repeatable (table4, figure7).")
    ] = None,
    variant: Annotated[
        list[str] | None, typer.Option(help="Row to include, such as 'IEM → None'; repeatable (table4).")
    ] = None,
    run: Annotated[list[str] | None, typer.Option(help="Folder of a run; repeatable (figure7).")] = None,
    detail: Annotated[
        list[str] | None, typer.Option(help="Detail to show, IMAGE:LEFT,TOP,WIDTH,HEIGHT; repeatable (figure5).")
    ] = None,
    image: Annotated[str | None, typer.Option(help="Image file or sample photograph (figure9, figure10).")] = None,
    layer: Annotated[
        list[int] | None, typer.Option(help="Layer number, from 1; repeatable (figure9, figure10).")
    ] = None,
    group: Annotated[list[int] | None, typer.Option(help="Channel group, from 1; repeatable (figure9).")] = None,
    pixel: Annotated[list[str] | None, typer.Option(metavar="X,Y", help="Pixel to show; repeatable (figure9).")] = None,
    side: Annotated[list[int] | None, typer.Option(help="Window size in pixels; repeatable (figure8).")] = None,
    size: Annotated[
        str | None, typer.Option(metavar="WIDTHxHEIGHT", help="Input size in pixels (figure6, figure8).")
    ] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Number of timing rounds (figure6, figure8).")] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Reproduce tables and figures of the paper.

    Each result, with the paper's values for comparison, is printed as Markdown and written to ITEM.md and ITEM.json.
    Figures are also written to ITEM.png and ITEM.svg, training runs to runs/.
    See --list for the options of each item.

    Example: lamnet reproduce table1 figure9 -o out/
    """
    from lamnet_models.paper import ITEMS, item_options

    if list_items:
        for item in ITEMS:
            print(f"{item:9}{(ITEMS[item].__doc__ or '').splitlines()[0]}\n{'':9}{_options(item_options(item))}")
        return
    chosen = list(ITEMS) if items == ["all"] else list(dict.fromkeys(items or []))
    if not chosen:
        raise typer.BadParameter(f"ITEM is missing: choose from {', '.join(ITEMS)}, or all")
    values = {
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
    values = {name: value for name, value in values.items() if value not in (None, [])}
    calls = {item: _arguments(item, values, output, strict=items != ["all"]) for item in chosen}
    _check_folder(output, chosen, overwrite)
    if any(item.startswith("figure") for item in chosen):
        require_package("matplotlib", "plot")
    if train:
        require_package("accelerate", "train")
    results, failed = [], False
    for item, arguments in calls.items():
        result = _run(item, arguments)
        if result is None:
            failed = True
            continue
        files = [str(path) for path in result.save(output)]
        results.append(result.to_dict() | {"files": files})
        if not as_json:
            print(result.markdown())
            print_note(f"wrote {', '.join(files)}")
    if as_json:
        print_json(results[0] if len(chosen) == 1 and results else results)
    if failed:
        raise typer.Exit(1)


_SINGULAR = {"scales": "scale", "models": "model"}


def _arguments(item: str, values: dict[str, Any], output: Path, strict: bool) -> dict[str, Any]:
    """Return the arguments of an item; reject unsupported options if ``strict``, else drop them."""
    from lamnet_models.paper import item_options

    try:
        options = item_options(item)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    arguments = {"folder": output / "runs" / item} if "folder" in options else {}
    for name, value in values.items():
        singular = _SINGULAR.get(name)
        if name in options:
            arguments[name] = value
        elif singular in options:
            if len(value) > 1:
                raise typer.BadParameter(f"--{singular} must be given once for {item}, got {len(value)} values")
            arguments[singular] = value[0]
        elif strict:
            raise typer.BadParameter(f"{_flag(name)} is not supported by {item}, which takes {_options(options)}")
    return arguments


def _flag(name: str) -> str:
    flag = name if name in ("weights", "train_data", "rounds") else name.removesuffix("s")
    return "--" + flag.replace("_", "-")


def _options(names: tuple[str, ...]) -> str:
    flags = [_flag(name) for name in names if name not in ("on_status", "folder")]
    return " ".join(flags) or "no options"


def _parse_weights(text: str) -> tuple[str, str]:
    name, sign, file = text.partition("=")
    if not (sign and name and file):
        raise typer.BadParameter(f"--weights must be NAME=FILE, such as swinir_light=swinir.pth, got {text!r}")
    return name, file


def _parse_pixel(text: str) -> tuple[int, int]:
    if not re.fullmatch(r"\d+,\d+", text):
        raise typer.BadParameter(f"--pixel must be X,Y, such as 40,32, got {text!r}")
    column, row = text.split(",")
    return int(column), int(row)


def _check_folder(folder: Path, items: list[str], overwrite: bool) -> None:
    from lamnet_models.paper.reproduction import output_files

    if folder.exists() and not folder.is_dir():
        raise typer.BadParameter(f"--output must be a folder, got the file {folder}")
    existing = [path for item in items for path in output_files(item, folder, pictures=True) if path.exists()]
    if existing and not overwrite:
        raise typer.BadParameter(f"{existing[0]} exists: pass --overwrite, or choose another folder")


def _run(item: str, arguments: dict[str, Any]) -> Reproduction | None:
    """Reproduce an item; print the error and return None if it fails."""
    from lamnet_models.errors import LAMNetError
    from lamnet_models.paper import ITEMS, item_options

    with spinner() as on_status:
        if "on_status" in item_options(item):
            arguments = arguments | {"on_status": lambda text: on_status(f"{item}: {text}")}
        try:
            return ITEMS[item](**arguments)
        except ValueError as error:
            raise typer.BadParameter(f"{item}: {error}") from None
        except LAMNetError as error:
            print_error(f"{item}: {error}")
            return None

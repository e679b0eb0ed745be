"""``lamnet app``: for people who don't type."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import Device, DeviceName, Precision, PrecisionName
from .output import print_note


def page(
    model: Annotated[
        str | None,
        typer.Option("--model", "-n", help="Offer this model or checkpoint only. [default: those of the paper]"),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0: all of this computer's.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 7860,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    device: Device = DeviceName.auto,
    precision: Precision = PrecisionName.auto,
) -> None:
    """Opens a page in the browser: drop a picture, enlarge it, compare, download.

    Pictures stay on this computer, and nothing is fetched from another one. Ctrl-C ends it.

    Example: lamnet app
    """
    import signal

    from lamnet_models.app import serve

    def started(address: str) -> None:
        print(f"{address}  (Ctrl-C ends it)", flush=True)
        if host not in ("127.0.0.1", "localhost", "::1"):
            print_note("the page has no password: everybody who reaches this computer can use it")
        if browser:
            import webbrowser

            webbrowser.open(address)

    usual = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        serve(host=host, port=port, model=model, device=device.value, precision=precision.value, on_start=started)
    except KeyboardInterrupt:  # the way to end it
        pass
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    finally:
        signal.signal(signal.SIGTERM, usual)

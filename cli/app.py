"""``lamnet app``: web UI."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import Device, DeviceName, Precision, PrecisionName
from .output import print_note


def serve_page(
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-n", help="Offer only this model or checkpoint.", show_default="the six models of the paper"
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0: all interfaces.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 7860,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    device: Device = DeviceName.auto,
    precision: Precision = PrecisionName.auto,
) -> None:
    """Serve the web UI.

    The page upscales images, compares input and output, and offers downloads.

    Images stay on this computer, and the page loads nothing from the network. Stop the server with Ctrl+C.

    Example: lamnet app
    """
    import signal

    from lamnet_models.app import serve

    def started(address: str) -> None:
        print(f"{address}  (stop with Ctrl+C)", flush=True)
        if host not in ("127.0.0.1", "localhost", "::1"):
            print_note("the page has no password: anyone who can connect to this computer can use it")
        if browser:
            import webbrowser

            webbrowser.open(address)

    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        serve(host=host, port=port, model=model, device=device.value, precision=precision.value, on_start=started)
    except KeyboardInterrupt:  # the regular way to stop
        pass
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    finally:
        signal.signal(signal.SIGTERM, previous)

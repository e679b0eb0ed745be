"""The page on an address of this computer, until somebody ends it."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import LAMNetError
from ..registry import NAMES

if TYPE_CHECKING:
    from .page import Networks
    from .workshop import UpscaleService

MAX_UPLOAD = "256mb"
"""Largest file that is taken."""

FONTS = ("system-ui", "sans-serif"), ("ui-monospace", "monospace")  # what is there: none is fetched


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    model: str | os.PathLike | None = None,
    device: str = "auto",
    precision: str = "auto",
    on_start: Callable[[str], None] | None = None,
) -> None:
    """Serves the page until interrupted. Nothing on it, and nothing that serves it, asks another host for anything.

    Uploads and results lie in a temporary folder, for an hour or until the end.

    Args:
        host: Address to listen on; the default is reached from this computer alone.
        port: Port to listen on.
        model: Name or checkpoint of the one network to offer; None offers those of the paper.
        device: Where to compute, see [`Upscaler`][lamnet_models.Upscaler].
        precision: Type to compute in, see there.
        on_start: Called with the page's address once it answers.

    Raises:
        LAMNetError: If Gradio is not installed, the port cannot be had, or there is no such model.
        ValueError: If there is no such device.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when it is imported
    try:
        import gradio as gr
    except ImportError:
        raise LAMNetError("the page is made with Gradio, which is missing: pip install 'lamnet[app]'") from None
    from .page import STYLE, Page
    from .workshop import UpscaleService

    with tempfile.TemporaryDirectory(prefix="lamnet-app-", ignore_cleanup_errors=True) as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # read when the page is built
        service = UpscaleService(Path(folder), device, precision)
        page = Page(service, _networks(model, service))
        blocks = page.build()
        try:
            _, address, _ = blocks.launch(
                server_name=host,
                server_port=port,
                theme=gr.themes.Base(primary_hue="indigo", neutral_hue="slate", font=FONTS[0], font_mono=FONTS[1]),
                css=STYLE,
                footer_links=[],
                max_file_size=MAX_UPLOAD,
                share=False,
                ssr_mode=False,
                pwa=False,
                quiet=True,
                prevent_thread_lock=True,
            )
        except OSError:
            raise LAMNetError(f"port {port} on {host} is taken or not allowed; choose another one") from None
        try:
            if on_start:
                on_start(address)
            threading.Event().wait()  # for the signal that ends it
        finally:
            page.close()
            blocks.close(verbose=False)


def _networks(model: str | os.PathLike | None, service: UpscaleService) -> Networks:
    if model is not None:
        return {Path(model).name: {service.upscalers(model).default.scale: model}}
    sizes = {"LAMNet": "lamnet_x", "LAMNet-large": "lamnet_large_x"}
    return {
        size: {int(name.removeprefix(start)): name for name in NAMES if name.startswith(start)}
        for size, start in sizes.items()
    }

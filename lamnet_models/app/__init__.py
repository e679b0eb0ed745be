"""Local web page for upscaling images; needs the extra ``app``."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import LAMNetError
from ..names import FAMILIES, VARIANTS

if TYPE_CHECKING:
    from .page import Networks
    from .service import UpscaleService

__all__ = ["serve"]


MAX_UPLOAD = "256mb"
"""Maximum size of an uploaded file."""

FONTS = ("system-ui", "sans-serif"), ("ui-monospace", "monospace")  # local fonts: none is downloaded


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    model: str | os.PathLike | None = None,
    device: str = "auto",
    precision: str = "auto",
    on_start: Callable[[str], None] | None = None,
) -> None:
    """Serve the page until interrupted. Neither page nor server sends requests to other hosts.

    Uploads and results are stored in a temporary folder and deleted after an hour or when the server stops.

    Args:
        host: Address to listen on; the default accepts connections from this computer only.
        port: Port to listen on.
        model: Name or checkpoint of the only model to offer; None: the published models.
        device: Device of the computation, see [`Upscaler`][lamnet_models.Upscaler].
        precision: Precision of the computation, see [`Upscaler`][lamnet_models.Upscaler].
        on_start: Called with the page's address when the server is running.

    Raises:
        LAMNetError: If Gradio is not installed, the port is not available, or the model does not exist.
        ValueError: If the device is not available.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when it is imported
    try:
        import gradio as gr
    except ImportError:
        raise LAMNetError("the web page needs Gradio, which is not installed: pip install 'lamnet[app]'") from None
    from .page import STYLE, Page
    from .service import UpscaleService

    with tempfile.TemporaryDirectory(prefix="lamnet-app-", ignore_cleanup_errors=True) as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # read when the page is built
        service = UpscaleService(Path(folder), device, precision)
        page = Page(service, offered_networks(model, service))
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
            raise LAMNetError(
                f"cannot listen on port {port} of {host}: the port is in use or not permitted, or the host is not this "
                "computer"
            ) from None
        try:
            if on_start:
                on_start(address)
            threading.Event().wait()  # until a signal interrupts it
        finally:
            page.close()
            blocks.close(verbose=False)


def offered_networks(model: str | os.PathLike | None, service: UpscaleService) -> Networks:
    if model is not None:
        return {Path(model).name: {service.upscalers(model).scale: model}}
    return {
        label: {args["scale"]: name for name, args in VARIANTS.items() if args["num_blocks"] == num_blocks}
        for label, num_blocks in FAMILIES.items()
    }

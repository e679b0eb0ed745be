"""The web page: layout and actions."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from ..errors import LAMNetError
from ..image_io import READABLE
from ..names import PURPOSES, offers_photo_weights
from .service import PREVIEW_SIDE, UpscaleService

Networks = Mapping[str, Mapping[int, str | os.PathLike]]
"""Model names or checkpoints by label on the page and by scale."""

FORMATS = {"Same as input": "auto", "PNG": "png", "JPEG": "jpg", "WebP": "webp", "TIFF": "tiff"}
"""Output formats by label on the page."""

MAX_QUEUED = 64
"""Maximum number of queued requests."""

STYLE = """
.gradio-container { width: 100%; max-width: 76rem !important; margin: auto !important; }
#status { min-height: 1.5em; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
#status [role=alert] { border-left: 4px solid #e0245e; padding-left: 0.75em; font-weight: 600; }
"""


class Page:
    """Layout and actions of the page.

    Requests run one at a time; the others wait in a queue that shows their positions.

    Args:
        service: Service that upscales the images.
        networks: Models to offer.
    """

    def __init__(self, service: UpscaleService, networks: Networks) -> None:
        self._service = service
        self._networks = networks
        self._offers_photo = any(offers_photo_weights(name) for names in networks.values() for name in names.values())
        self._active: dict[str | None, object] = {}  # token of the current request of each session

    def build(self) -> gr.Blocks:
        """Build the page, not launched yet."""
        default_model = next(iter(self._networks))
        suffixes = [variant for suffix in READABLE for variant in (suffix, suffix.upper())]
        private: dict[str, Any] = {"api_visibility": "private"}
        immediate, queued = {"queue": False, **private}, {"concurrency_limit": 1, **private}
        with gr.Blocks(title="LAMNet", analytics_enabled=False) as page:
            gr.Markdown("# LAMNet\nImage super-resolution. Images stay on the computer that runs this page.")
            with gr.Row():
                with gr.Column(scale=1, min_width=280):
                    source = gr.File(label="Image", file_types=suffixes, height=160)
                    model = gr.Radio(list(self._networks), value=default_model, label="Model")
                    scale = self._scales(default_model)
                    weights = self._weights(default_model, scale.value)
                    strength = self._strength()
                    ext = gr.Dropdown(list(FORMATS.items()), value="auto", label="Save as", filterable=False)
                    start = gr.Button("Upscale", variant="primary", interactive=False)
                    stop = gr.Button("Cancel", visible=False)
                with gr.Column(scale=2, min_width=300):
                    status = gr.HTML(elem_id="status", padding=False)
                    image = gr.Image(label="Image", interactive=False, buttons=["fullscreen"], height="26rem")
                    compare = gr.ImageSlider(
                        label="Before (bicubic) | After", visible=False, buttons=["fullscreen"], max_height=560
                    )
                    download = gr.DownloadButton(visible=False, variant="primary")
            views, buttons = [image, compare, download], [start, stop]
            source.change(self.preview, source, [start, *views, status], **queued)
            # The value of the scale may stay the same, which is no change of it.
            changed = model.change(self._scales, model, scale, **immediate)
            for event in (changed.then, scale.change):
                event(self._weights, [model, scale, weights], weights, **immediate)
            weights.change(self._strength, weights, strength, **immediate)
            work = start.click(self.begin, None, [*buttons, *views], **immediate).then(
                self.upscale,
                [source, model, scale, weights, strength, ext],
                [*views, status],
                show_progress_on=image,
                **queued,
            )
            work.then(self.end, None, buttons, **immediate)
            stop.click(self.cancel, None, buttons, cancels=[work], **immediate)
            page.unload(self.abandon)
        return page.queue(max_size=MAX_QUEUED)

    def _scales(self, model: str) -> gr.Radio:
        scales = sorted(self._networks[model])
        return gr.Radio([(f"×{scale}", scale) for scale in scales], value=scales[-1], label="Scale")

    def _weights(self, model: str, scale: int, value: str = "clean") -> gr.Radio:
        """Return the choice of weights: hidden and clean if the model has no others."""
        is_offered = offers_photo_weights(self._networks[model][scale])
        return gr.Radio(
            [(purpose.capitalize(), purpose) for purpose in PURPOSES],
            value=value if is_offered else "clean",
            label="Weights",
            info=f"Photo: for {PURPOSES['photo']}.",
            visible=is_offered,
        )

    def _strength(self, weights: str = "clean") -> gr.Slider:
        return gr.Slider(0, 1, 1, step=0.05, label="Strength of Photo", visible=weights == "photo")

    def preview(self, source: str | None) -> tuple[Any, ...]:
        """Show an uploaded image, or the error that prevents it."""
        view, status = None, ""
        if source is not None:
            try:
                picture, view = self._service.preview(Path(source))
                bits = 8 * picture.pixels.dtype.itemsize
                facts = [f"{picture.width} × {picture.height} pixels, {bits} bits per channel"]
                if self._offers_photo and picture.has_jpeg_artifacts:
                    facts.append(f"JPEG of quality {picture.jpeg_quality}: Photo weights reduce its artifacts")
                status = _paragraph("; ".join(facts))
            except LAMNetError as error:
                status = _alert(error)
        return gr.update(interactive=view is not None), *_show_input(value=view), status

    def begin(self, request: gr.Request) -> tuple[Any, ...]:
        """Register the session's request and show the input image, on which progress is displayed."""
        self._active[request.session_hash] = object()
        return gr.update(visible=False), gr.update(visible=True), *_show_input()

    def upscale(
        self,
        source: str,
        model: str,
        scale: int,
        weights: str,
        strength: float,
        ext: str,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (Gradio detects progress tracking by this default)
    ) -> tuple[Any, ...]:
        """Upscale the image and show it next to the original, unless the request was cancelled."""
        session = request.session_hash
        token = self._active.get(session)

        def on_progress(done: int, total: int) -> None:
            if token is None or self._active.get(session) is not token:
                raise _CancelledError
            progress((done, total), desc="Upscaling")

        try:
            on_progress(0, 1)
            strength = strength if weights == "photo" else None
            result = self._service.upscale(Path(source), self._networks[model][scale], ext, on_progress, strength)
        except _CancelledError:
            return tuple(gr.skip() for _ in range(4))
        except LAMNetError as error:
            return *_show_input(), _alert(error)
        status = [f"{result.size[0]} × {result.size[1]} pixels", *result.notes]
        if result.views is None:
            status.append("too large to display")
        else:
            if max(result.size) > PREVIEW_SIDE:
                status.append(f"displayed at {PREVIEW_SIDE} pixels on the longer side")
            status.append("scroll or pinch to zoom")
        return (
            gr.update(visible=result.views is None),
            gr.update(value=result.views, visible=result.views is not None),
            gr.update(value=result.file, label=f"Download {result.file.name}", visible=True),
            _paragraph("; ".join(status)),
        )

    def end(self) -> tuple[Any, ...]:
        """Reset the buttons after a request."""
        return gr.update(visible=True), gr.update(visible=False)

    def cancel(self, request: gr.Request) -> tuple[Any, ...]:
        """Cancel the session's request; the computation stops after the current tile."""
        self.abandon(request)
        return self.end()

    def abandon(self, request: gr.Request) -> None:
        """Cancel the session's request after its page was closed."""
        self._active.pop(request.session_hash, None)

    def close(self) -> None:
        """Cancel all requests."""
        self._active.clear()


class _CancelledError(Exception):
    """Raised by the progress callback of a cancelled request."""


def _show_input(**image: Any) -> tuple[Any, ...]:
    """Return updates that show the input image and hide comparison and download."""
    return gr.update(visible=True, **image), gr.update(visible=False), gr.update(visible=False)


def _paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"


def _alert(error: LAMNetError) -> str:
    return f'<p role="alert">{html.escape(str(error))}</p>'

"""The page: what is on it, and what happens when it is used."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from ..errors import LAMNetError
from ..images import READABLE
from .workshop import PREVIEW_SIDE, UpscaleService

Networks = Mapping[str, Mapping[int, str | os.PathLike]]
"""Networks to choose from, their names or checkpoints, by what they are called on the page and by scale."""

FORMATS = {"As the picture": "auto", "PNG": "png", "JPEG": "jpg", "WebP": "webp", "TIFF": "tiff"}
"""Formats to choose from, by what they are called on the page."""

WAITING = 64
"""Most pieces of work that wait at a time."""

STYLE = """
.gradio-container { width: 100%; max-width: 76rem !important; margin: auto !important; }
#facts { min-height: 1.5em; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
#facts [role=alert] { border-left: 4px solid #e0245e; padding-left: 0.75em; font-weight: 600; }
"""


class Page:
    """The page's actions. One piece of work runs at a time; the others wait in a queue that shows their places.

    Args:
        service: Who does the work.
        networks: What there is to choose from.
    """

    def __init__(self, service: UpscaleService, networks: Networks) -> None:
        self._service = service
        self._networks = networks
        self._wanted: dict[str | None, object] = {}  # what each session waits for

    def build(self) -> gr.Blocks:
        """Returns the page, which is to be launched yet."""
        first = next(iter(self._networks))
        suffixes = [suffix for known in READABLE for suffix in (known, known.upper())]
        private: dict[str, Any] = {"api_visibility": "private"}
        at_once, one_by_one = {"queue": False, **private}, {"concurrency_limit": 1, **private}
        with gr.Blocks(title="LAMNet", analytics_enabled=False) as page:
            gr.Markdown("# LAMNet\nEnlarges pictures. They stay on the computer that runs this page.")
            with gr.Row():
                with gr.Column(scale=1, min_width=280):
                    source = gr.File(label="Picture", file_types=suffixes, height=160)
                    model = gr.Radio(list(self._networks), value=first, label="Model")
                    scale = self._scales(first)
                    form = gr.Dropdown(list(FORMATS.items()), value="auto", label="Save as", filterable=False)
                    start = gr.Button("Enlarge", variant="primary", interactive=False)
                    stop = gr.Button("Cancel", visible=False)
                with gr.Column(scale=2, min_width=300):
                    facts = gr.HTML(elem_id="facts", padding=False)
                    picture = gr.Image(label="Picture", interactive=False, buttons=["fullscreen"], height="26rem")
                    compare = gr.ImageSlider(
                        label="Before (bicubic) | After", visible=False, buttons=["fullscreen"], max_height=560
                    )
                    download = gr.DownloadButton(visible=False, variant="primary")
            shown, buttons = [picture, compare, download], [start, stop]
            source.change(self.preview, source, [start, *shown, facts], **one_by_one)
            model.change(self._scales, model, scale, **at_once)
            work = start.click(self.begin, None, [*buttons, *shown], **at_once).then(
                self.upscale, [source, model, scale, form], [*shown, facts], show_progress_on=picture, **one_by_one
            )
            work.then(self.end, None, buttons, **at_once)
            stop.click(self.cancel, None, buttons, cancels=[work], **at_once)
            page.unload(self.leave)
        return page.queue(max_size=WAITING)

    def _scales(self, model: str) -> gr.Radio:
        scales = sorted(self._networks[model])
        return gr.Radio([(f"×{scale}", scale) for scale in scales], value=scales[-1], label="Enlarge")

    def preview(self, source: str | None) -> tuple[Any, ...]:
        """Shows a picture that was dropped, or why there is nothing to show."""
        view, facts = None, ""
        if source is not None:
            try:
                picture, view = self._service.preview(Path(source))
                bits = 8 * picture.pixels.dtype.itemsize
                facts = _paragraph(f"{picture.width} × {picture.height} pixels of {bits} bits a channel")
            except LAMNetError as error:
                facts = _alert(error)
        return gr.update(interactive=view is not None), *_before(value=view), facts

    def begin(self, request: gr.Request) -> tuple[Any, ...]:
        """Remembers that somebody waits, and shows the picture again, on which the progress is seen."""
        self._wanted[request.session_hash] = object()
        return gr.update(visible=False), gr.update(visible=True), *_before()

    def upscale(
        self,
        source: str,
        model: str,
        scale: int,
        form: str,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (how Gradio knows that its bar is wanted)
    ) -> tuple[Any, ...]:
        """Enlarges the picture and shows it beside the original, unless nobody waits any more."""
        session = request.session_hash
        ticket = self._wanted.get(session)

        def step(done: int, total: int) -> None:
            if ticket is None or self._wanted.get(session) is not ticket:
                raise _CancelledError
            progress((done, total), desc="Enlarging")

        try:
            step(0, 1)
            result = self._service.upscale(Path(source), self._networks[model][scale], form, step)
        except _CancelledError:
            return tuple(gr.skip() for _ in range(4))
        except LAMNetError as error:
            return *_before(), _alert(error)
        facts = [f"{result.size[0]} × {result.size[1]} pixels", *result.notes]
        if result.views is None:
            facts.append("too many to show here")
        else:
            if max(result.size) > PREVIEW_SIDE:
                facts.append(f"shown with {PREVIEW_SIDE} on the longer side")
            facts.append("scroll or pinch to look closer")
        return (
            gr.update(visible=result.views is None),
            gr.update(value=result.views, visible=result.views is not None),
            gr.update(value=result.file, label=f"Download {result.file.name}", visible=True),
            _paragraph("; ".join(facts)),
        )

    def end(self) -> tuple[Any, ...]:
        """Makes the page ready for the next picture."""
        return gr.update(visible=True), gr.update(visible=False)

    def cancel(self, request: gr.Request) -> tuple[Any, ...]:
        """Ends the work under way at its next step."""
        self.leave(request)
        return self.end()

    def leave(self, request: gr.Request) -> None:
        """Ends the work of somebody who closed the page."""
        self._wanted.pop(request.session_hash, None)

    def close(self) -> None:
        """Ends all work."""
        self._wanted.clear()


class _CancelledError(Exception):
    """Raised into work that nobody waits for any more."""


def _before(**picture: Any) -> tuple[Any, ...]:
    """Returns what shows the picture and hides the comparison and the download."""
    return gr.update(visible=True, **picture), gr.update(visible=False), gr.update(visible=False)


def _paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"


def _alert(error: LAMNetError) -> str:
    return f'<p role="alert">{html.escape(str(error))}</p>'

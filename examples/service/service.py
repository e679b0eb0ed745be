"""A service that enlarges images: python examples/service/service.py lamnet_x4.onnx."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Literal

import torch
import uvicorn
from answers import archive, progress_lines
from fastapi import FastAPI, HTTPException, Request, Response, UploadFile
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from starlette.background import BackgroundTask
from starlette.types import ASGIApp, Receive, Scope, Send
from work import Worker

from lamnet_models import LAMNetError
from lamnet_models.upscaling.steps import Result
from lamnet_models.upscaling.upscalers import UpscalerPool

Ext = Literal["auto", "png", "jpg", "webp", "tiff"]


class SizeLimit:
    """Refuses bodies that are too large, or do not say how large they are, before they are read.

    Args:
        app: What answers the others.
        most: Largest body in bytes.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app = app
        self.most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] == "http" and scope["method"] == "POST":
            length = dict(scope["headers"]).get(b"content-length")
            if length is None:
                refusal = JSONResponse({"detail": "send a Content-Length"}, 411)
                return await refusal(scope, receive, send)
            if int(length) > self.most:
                refusal = JSONResponse({"detail": f"larger than the {self.most} bytes that are taken"}, 413)
                return await refusal(scope, receive, send)
        return await self.app(scope, receive, send)


def create_app(upscalers: UpscalerPool, *, max_bytes: int, max_pending: int) -> FastAPI:
    """Returns the service.

    Args:
        upscalers: What enlarges the images.
        max_bytes: Largest request that is taken.
        max_pending: Most images that wait or are under way; with more, requests are refused with status 503.
    """
    worker = Worker(upscalers)
    scratch = Path(tempfile.mkdtemp(prefix="lamnet-service-"))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        shutil.rmtree(scratch, ignore_errors=True)

    app = FastAPI(title="LAMNet", lifespan=lifespan, docs_url=None, redoc_url=None)  # their pages fetch scripts
    app.add_middleware(SizeLimit, most=max_bytes)

    @app.exception_handler(LAMNetError)
    async def refuse(_: Request, error: LAMNetError) -> Response:
        return JSONResponse({"detail": str(error)}, 422)

    def save(files: list[UploadFile]) -> tuple[Path, list[Path]]:
        if worker.pending >= max_pending:
            raise HTTPException(503, "too many images wait already", {"Retry-After": "10"})
        folder = Path(tempfile.mkdtemp(dir=scratch))
        paths = [folder / str(number) / _safe_name(file.filename) for number, file in enumerate(files)]
        for path, file in zip(paths, files, strict=True):
            path.parent.mkdir()
            with open(path, "wb") as target:
                shutil.copyfileobj(file.file, target)
        return folder, paths

    @app.get("/health")
    async def health() -> dict[str, object]:
        return {"status": "ok", "scale": upscalers.default.scale, "pending": worker.pending}

    @app.post("/enlarge")
    async def upscale(request: Request, file: UploadFile, ext: Ext = "auto") -> Response:
        """Answers with the enlarged image."""
        folder, (source,) = save([file])
        clean = BackgroundTask(shutil.rmtree, folder, ignore_errors=True)
        try:
            async with aclosing(worker.run(source, source.parent, ext)) as steps:
                async for step in steps:
                    if isinstance(step, Result):
                        return FileResponse(step.target, filename=step.target.name, background=clean)
                    if await request.is_disconnected():
                        break
        except BaseException:
            await clean()
            raise
        return Response(status_code=499, background=clean)  # nobody reads it

    @app.post("/batch")
    async def batch(files: list[UploadFile], ext: Ext = "auto") -> Response:
        """Answers with a zip file of the enlarged images, sent while it is made."""
        folder, sources = save(files)
        return StreamingResponse(_cleaning(archive(worker, sources, ext), folder), media_type="application/zip")

    @app.post("/stream")
    async def stream(file: UploadFile, ext: Ext = "auto") -> Response:
        """Answers with lines of JSON: the progress, and at the end the enlarged image."""
        folder, (source,) = save([file])
        lines = progress_lines(worker, source, source.parent, ext)
        return StreamingResponse(_cleaning(lines, folder), media_type="application/x-ndjson")

    return app


async def _cleaning(pieces: AsyncIterator[bytes], folder: Path) -> AsyncIterator[bytes]:
    try:
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _safe_name(name: str | None) -> str:
    """Returns the part of a sender's name for a file that is safe to be one here."""
    kept = "".join(c for c in name or "" if c.isalnum() or c in " ._-()")
    return kept.strip(". ")[-80:] or "image"


def main() -> None:
    """Reads the command line and serves until the process is ended; what is under way is finished first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="an ONNX file; or a checkpoint or a model's name, which PyTorch runs")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--tile", default="auto", help="side of the tiles, or exact: steps to report, less memory")
    parser.add_argument("--threads", type=int, default=0, help="threads for one image; 0: all cores")
    parser.add_argument("--max-mb", type=float, default=64, help="largest request in megabytes")
    parser.add_argument("--max-waiting", type=int, default=16, help="most images that wait or are under way")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    try:
        tile = int(arguments.tile) if arguments.tile.isdecimal() else arguments.tile
        upscalers = UpscalerPool(arguments.model, tile=tile)
    except (LAMNetError, ValueError) as error:
        parser.error(str(error))
    app = create_app(upscalers, max_bytes=int(1e6 * arguments.max_mb), max_pending=arguments.max_waiting)
    uvicorn.run(app, host=arguments.host, port=arguments.port, timeout_graceful_shutdown=60)


if __name__ == "__main__":
    main()

"""HTTP service for image upscaling: python examples/service/service.py lamnet_x4.onnx."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import torch
import uvicorn
from answers import archive, progress_lines
from fastapi import FastAPI, HTTPException, Request, Response, UploadFile
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from starlette.background import BackgroundTask
from starlette.types import ASGIApp, Receive, Scope, Send
from work import Worker

from lamnet_models import LAMNetError
from lamnet_models.inference.files import Result
from lamnet_models.inference.upscaler import UpscalerPool

Ext = Literal["auto", "png", "jpg", "webp", "tiff"]


class SizeLimit:
    """Middleware that rejects request bodies of excessive or unknown length unread.

    Args:
        app: Application for the accepted requests.
        max_bytes: Maximum size of a body in bytes.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] == "http" and scope["method"] == "POST":
            length = dict(scope["headers"]).get(b"content-length")
            if length is None:
                response = JSONResponse({"detail": "Content-Length is missing"}, 411)
                return await response(scope, receive, send)
            if int(length) > self.max_bytes:
                detail = f"the request must be at most {self.max_bytes} bytes, got {int(length)}"
                return await JSONResponse({"detail": detail}, 413)(scope, receive, send)
        return await self.app(scope, receive, send)


def create_app(upscalers: UpscalerPool, *, max_bytes: int, max_pending: int) -> FastAPI:
    """Create the application.

    Args:
        upscalers: Networks to upscale with.
        max_bytes: Maximum size of a request in bytes.
        max_pending: Maximum number of images queued or in progress; beyond it, requests get status 503.
    """
    worker = Worker(upscalers)
    scratch = Path(tempfile.mkdtemp(prefix="lamnet-service-"))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        shutil.rmtree(scratch, ignore_errors=True)

    app = FastAPI(title="LAMNet", lifespan=lifespan, docs_url=None, redoc_url=None)  # these pages load external scripts
    app.add_middleware(SizeLimit, max_bytes=max_bytes)

    @app.exception_handler(LAMNetError)
    async def reject(_: Request, error: LAMNetError) -> Response:
        return JSONResponse({"detail": str(error)}, 422)

    def save(files: list[UploadFile]) -> tuple[Path, list[Path]]:
        if worker.pending >= max_pending:
            raise HTTPException(503, "too many images are queued", {"Retry-After": "10"})
        folder = Path(tempfile.mkdtemp(dir=scratch))
        paths = [folder / str(number) / _safe_name(file.filename) for number, file in enumerate(files)]
        for path, file in zip(paths, files, strict=True):
            path.parent.mkdir()
            with open(path, "wb") as target:
                shutil.copyfileobj(file.file, target)
        return folder, paths

    @app.get("/health")
    async def health() -> dict[str, object]:
        return {"status": "ok", "scale": upscalers.scale, "pending": worker.pending}

    @app.post("/upscale")
    async def upscale(request: Request, file: UploadFile, ext: Ext = "auto") -> Response:
        """Respond with the SR image."""
        folder, (source,) = save([file])
        clean = BackgroundTask(shutil.rmtree, folder, ignore_errors=True)
        try:
            result = await _unless_disconnected(request, worker.result(source, source.parent, ext))
        except BaseException:
            await clean()
            raise
        if result is None:
            return Response(status_code=499, background=clean)  # the client has disconnected
        return FileResponse(result.target, filename=result.target.name, background=clean)

    @app.post("/batch")
    async def batch(files: list[UploadFile], ext: Ext = "auto") -> Response:
        """Respond with a zip file of the SR images, streamed as it is written."""
        folder, sources = save(files)
        return StreamingResponse(_with_cleanup(archive(worker, sources, ext), folder), media_type="application/zip")

    @app.post("/stream")
    async def stream(file: UploadFile, ext: Ext = "auto") -> Response:
        """Respond with JSON lines: the progress, then the SR image."""
        folder, (source,) = save([file])
        lines = progress_lines(worker, source, source.parent, ext)
        return StreamingResponse(_with_cleanup(lines, folder), media_type="application/x-ndjson")

    return app


async def _unless_disconnected(request: Request, job: Coroutine[Any, Any, Result]) -> Result | None:
    """Return the result of a job, or cancel it and return None if the client disconnects before."""
    task = asyncio.create_task(job)
    disconnect = asyncio.create_task(request.receive())  # the body has been read: only the disconnect can follow
    try:
        await asyncio.wait([task, disconnect], return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        disconnect.cancel()
        task.cancel()
        await asyncio.wait([task])


async def _with_cleanup(chunks: AsyncIterator[bytes], folder: Path) -> AsyncIterator[bytes]:
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _safe_name(name: str | None) -> str:
    """Return the characters of an uploaded file's name that are safe in a local file name."""
    safe = "".join(c for c in name or "" if c.isalnum() or c in " ._-()")
    return safe.strip(". ")[-80:] or "image"


def main() -> None:
    """Parse the command line and serve until terminated; finish requests in progress."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="ONNX file, or a checkpoint or model name to run in PyTorch")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on (default: %(default)s)")
    parser.add_argument(
        "--tile", default="auto", help="tile side in pixels, 0 (whole image), exact or auto (default: %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=0, help="threads per image; 0: all cores (default: %(default)s)")
    parser.add_argument(
        "--max-mb", type=float, default=64, help="maximum request size in megabytes (default: %(default)s)"
    )
    parser.add_argument(
        "--max-waiting", type=int, default=16, help="maximum images queued or in progress (default: %(default)s)"
    )
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

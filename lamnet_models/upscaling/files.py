"""Upscale many files, one after another; each succeeds or fails by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from .plan import Job
from .steps import JobRunner, Options, Result
from .upscalers import UpscalerPool

JobProgress = Callable[[Job, int, int], None]
"""Called as a job starts and as it advances, with the job, the units done and their total (0: unknown)."""


def run_jobs(
    jobs: Sequence[Job],
    upscalers: UpscalerPool,
    options: Options | None = None,
    progress: JobProgress | None = None,
) -> Iterator[Result]:
    """Upscale files one after another; a failure does not stop the others.

    While one image is upscaled, one thread reads the next and another writes the previous result; memory holds only
    these two besides the current image. Results are written atomically, so an interrupted run leaves no partial files.

    Args:
        jobs: Jobs from ``plan_jobs``.
        upscalers: Networks to upscale with.
        options: Read and write options.
        progress: Called as a job starts and as it advances.

    Yields:
        The result of each job, in order, as soon as it is written.
    """
    options = options or Options()
    runner = JobRunner(jobs, upscalers, options)
    if not options.overlap:
        for job in jobs:
            yield runner.write(*runner.upscale(job, runner.read(job), _job_progress(job, progress)))
        return
    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
        reads: list[Future] = [reader.submit(runner.read, jobs[0])] if jobs else []
        writes: list[Future] = []
        for index, job in enumerate(jobs):
            loaded = reads.pop().result()
            if index + 1 < len(jobs):
                reads.append(reader.submit(runner.read, jobs[index + 1]))
            upscaled = runner.upscale(job, loaded, _job_progress(job, progress))
            del loaded
            if writes:
                yield writes.pop().result()
            writes.append(writer.submit(runner.write, *upscaled))
            del upscaled
        for last in writes:
            yield last.result()


def _job_progress(job: Job, progress: JobProgress | None) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    progress(job, 0, 0)
    return lambda done, total: progress(job, done, total)

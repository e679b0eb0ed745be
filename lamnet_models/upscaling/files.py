"""Many files enlarged, one after another, each to its own success or failure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from .plan import Job
from .steps import JobRunner, Options, Result
from .upscalers import UpscalerPool

JobProgress = Callable[[Job, int, int], None]
"""Called as a job begins, and after each step of it, with the job, the steps done and all its steps, 0 for unknown."""


def run_jobs(
    jobs: Sequence[Job],
    upscalers: UpscalerPool,
    options: Options | None = None,
    progress: JobProgress | None = None,
) -> Iterator[Result]:
    """Enlarges file after file, whatever becomes of the others.

    While one is enlarged, the next one is read and the last one written, by a thread each; beside the one under way,
    memory holds these two and no more. Results are written whole or not at all: whenever the run ends, what is there
    under its name is whole.

    Args:
        jobs: What to do, from ``plan_jobs``.
        upscalers: What to do it with.
        options: How files are read and written.
        progress: Called as a job begins and after each step of it.

    Yields:
        What became of each job, in their order, as soon as it is written.
    """
    options = options or Options()
    runner = JobRunner(jobs, upscalers, options)
    if not options.overlap:
        for job in jobs:
            yield runner.write(*runner.upscale(job, runner.read(job), _job_progress(job, progress)))
        return
    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
        coming: list[Future] = [reader.submit(runner.read, jobs[0])] if jobs else []
        leaving: list[Future] = []
        for index, job in enumerate(jobs):
            loaded = coming.pop().result()
            if index + 1 < len(jobs):
                coming.append(reader.submit(runner.read, jobs[index + 1]))
            enlarged = runner.upscale(job, loaded, _job_progress(job, progress))
            del loaded
            if leaving:
                yield leaving.pop().result()
            leaving.append(writer.submit(runner.write, *enlarged))
            del enlarged
        for last in leaving:
            yield last.result()


def _job_progress(job: Job, progress: JobProgress | None) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    progress(job, 0, 0)
    return lambda done, total: progress(job, done, total)

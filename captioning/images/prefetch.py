"""Work done ahead by threads, in order: pictures are decoded while the network computes."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Job, Result = TypeVar("Job"), TypeVar("Result")
GROUP = 8  # jobs that a thread does in a row: handing over each alone costs some of its time


def prefetch(
    work: Callable[[Job], Result], jobs: Iterable[Job], *, depth: int, workers: int | None = None
) -> Iterator[Result]:
    """Yield `work` of each job, in order, done by threads, at most about `depth` ahead.

    Threads, as many as `workers` or cores, are enough: Pillow decodes and resizes outside the
    interpreter's lock. The jobs themselves are taken here, one after the other.
    """

    jobs = iter(jobs)
    waiting: deque[Future[list[Result]]] = deque()
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        try:
            while group := list(islice(jobs, GROUP)):
                waiting.append(pool.submit(list, map(work, group)))
                if GROUP * len(waiting) > depth:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

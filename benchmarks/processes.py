"""Measurements that do not disturb each other."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any


def apart(work: Callable, *arguments: Any) -> Any:
    """Run in a process of its own, so that memory and threads are its alone."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()

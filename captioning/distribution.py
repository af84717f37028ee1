"""One batch over all devices, of this process or of several (`keras.distribution`)."""

import os
from typing import NamedTuple

import keras
import numpy as np

from captioning.cli import UserError


class World(NamedTuple):
    """Which of `size` processes this is, from 0, and how many devices they have together."""

    rank: int = 0
    size: int = 1
    devices: int = 1


def use_all_devices() -> World:
    """Spread every batch over all devices from here on.

    Several processes are started with the environment variables of `keras.distribution.initialize`.
    Each gives its own part of every batch, which must divide among the devices. The computation is
    one of the whole batch: losses, negatives and the statistics of batch normalisation are those
    of all devices.

    Raises:
        UserError: several processes, and a backend that cannot, or who is who is not said.
    """
    names = [
        f"KERAS_DISTRIBUTION_{end}" for end in ("NUM_PROCESSES", "PROCESS_ID", "JOB_ADDRESSES")
    ]
    count, number, addresses = (os.environ.get(name, "") for name in names)
    jax, world = keras.backend.backend() == "jax", World()
    if count not in ("", "1"):
        known = count.isdecimal() and number.isdecimal() and int(number) < int(count)
        if not (known and addresses and jax):
            raise UserError(
                f"several processes: each needs KERAS_BACKEND=jax, {', '.join(names)}, the process "
                "id being from 0 to one less than their number"
            )
        keras.distribution.initialize()
        world = World(int(number), int(count))
    if not jax:
        return world
    devices = keras.distribution.list_devices()
    if len(devices) > 1:
        parallel = keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False)
        keras.distribution.set_distribution(parallel)
    return world._replace(devices=len(devices))


def from_first_process(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of the first of several processes, on all: other hosts may round otherwise."""
    if keras.backend.backend() != "jax":
        return arrays
    from jax.experimental import multihost_utils

    return multihost_utils.broadcast_one_to_all(arrays)

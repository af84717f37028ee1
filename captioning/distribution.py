"""One batch over all devices, of this process or of several (`keras.distribution`)."""

import os
from typing import NamedTuple

import keras

from captioning.cli import UserError


class Share(NamedTuple):
    """Which of `processes` this is, from 0, and how many devices they have together."""

    process: int = 0
    processes: int = 1
    devices: int = 1


def use_all_devices() -> Share:
    """Spread every batch over all devices from here on.

    Several processes are started with the environment variables of `keras.distribution.initialize`
    (KERAS_DISTRIBUTION_JOB_ADDRESSES, _NUM_PROCESSES, _PROCESS_ID). Each gives its own part of
    every batch, which must divide among the devices. The computation is one of the whole batch:
    losses, negatives and the statistics of batch normalisation are those of all devices.

    Raises:
        UserError: several processes, and a backend that cannot, or who is who is not said.
    """
    process, processes = _job()
    if keras.backend.backend() != "jax":
        if processes > 1:
            raise UserError("several processes need KERAS_BACKEND=jax")
        return Share()
    if processes > 1:
        keras.distribution.initialize()
    devices = keras.distribution.list_devices()
    if len(devices) > 1:
        parallel = keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False)
        keras.distribution.set_distribution(parallel)
    return Share(process, processes, len(devices))


def _job() -> tuple[int, int]:
    """Number of this process and of all, by the environment."""
    names = [f"KERAS_DISTRIBUTION_{part}" for part in ("PROCESS_ID", "NUM_PROCESSES")]
    texts = [os.environ.get(name, default) for name, default in zip(names, "01", strict=True)]
    if texts[1] == "1":
        return 0, 1
    addresses = os.environ.get("KERAS_DISTRIBUTION_JOB_ADDRESSES")
    if not (addresses and names[0] in os.environ and all(text.isdecimal() for text in texts)):
        raise UserError(
            f"several processes: set {', '.join(names)} (whole numbers) and "
            "KERAS_DISTRIBUTION_JOB_ADDRESSES for each"
        )
    process, processes = map(int, texts)
    if process >= processes:
        raise UserError(f"{names[0]}={process}: processes count from 0 to {processes - 1}")
    return process, processes

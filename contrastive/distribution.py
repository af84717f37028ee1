"""One batch over all devices, of this process or of several (`keras.distribution`)."""

import os

import keras

from captioning.cli import UserError


def use_all_devices(batch_size: int) -> tuple[int, int]:
    """Spread every batch over all devices; return (number of this process, processes).

    Several processes are started with the environment variables of `keras.distribution.initialize`
    (KERAS_DISTRIBUTION_JOB_ADDRESSES, _NUM_PROCESSES, _PROCESS_ID). The computation is one of the
    whole batch: negatives, and the statistics of batch normalisation, are those of all devices.

    Raises:
        UserError: the backend cannot, or the batch does not divide among the devices.
    """
    processes = int(os.environ.get("KERAS_DISTRIBUTION_NUM_PROCESSES", "1"))
    if keras.backend.backend() != "jax":
        if processes > 1:
            raise UserError("several processes need KERAS_BACKEND=jax")
        return 0, 1
    if processes > 1:
        keras.distribution.initialize()
    devices = keras.distribution.list_devices()
    if batch_size % len(devices):
        raise UserError(
            f"--batch-size {batch_size} does not divide among {len(devices)} devices; "
            f"make it a multiple of {len(devices)}"
        )
    if len(devices) > 1:
        # Each process is given its own part of a batch already.
        parallel = keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False)
        keras.distribution.set_distribution(parallel)
    return int(os.environ.get("KERAS_DISTRIBUTION_PROCESS_ID", "0")), processes

"""The state of a pretext run in one file: what a killed run resumes from, bit for bit."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import keras
import numpy as np

from captioning.cli import UserError
from captioning.files import atomic_path

LARGEST = 1e12  # of a weight or a moment in a run that has not diverged


def save_state(path: Path, model: keras.Model, record: dict[str, Any]) -> None:
    """Write every variable of a compiled model and its optimizer, and `record` (JSON), atomically.

    That covers the weights, target network and queue, the random generators, and the optimizer's
    moments and step, which its learning rate follows.

    Raises:
        FloatingPointError: a variable is not finite, or so large that the next step will not be;
            the file that was there stays.
    """
    arrays = [keras.ops.convert_to_numpy(variable.value) for variable in _variables(model)]
    if not all((np.abs(array) < LARGEST).all() for array in arrays if array.dtype.kind == "f"):
        raise FloatingPointError("the weights grow without bound or are no longer numbers")
    with atomic_path(path) as temporary:
        np.savez(temporary, record=json.dumps(record), **{str(n): a for n, a in enumerate(arrays)})


def read_record(path: Path) -> dict[str, Any]:
    """The `record` of a state file.

    Raises:
        UserError: the file is not one.
    """
    try:
        with np.load(path) as file:
            return json.loads(str(file["record"]))
    except Exception as error:  # zipfile, numpy and json each raise their own
        raise UserError(
            f"{path}: not the state of a pretext run; remove it or its folder"
        ) from error


def check_settings(
    path: Path,
    before: dict[str, Any],
    settings: dict[str, Any],
    may_change: Collection[str] = (),
) -> None:
    """Refuse to go on with the state in `path` under other settings than it was made with.

    Raises:
        UserError: a setting differs that may not change.
    """
    changed = [
        f"{name} was {before[name]}, not {value}"
        for name, value in settings.items()
        if name not in may_change and name in before and before[name] != value
    ]
    if changed:
        raise UserError(f"{path}: {'; '.join(changed)}; give the same settings to --resume")


def load_state(path: Path, model: keras.Model) -> None:
    """Put what `save_state` wrote into an equal model, compiled alike.

    Raises:
        UserError: the file is damaged or belongs to another model.
    """
    variables = _variables(model)
    try:
        with np.load(path) as file:
            arrays = [file[str(number)] for number in range(len(file.files) - 1)]
    except Exception as error:
        raise UserError(f"{path}: is damaged ({error}); start again without --resume") from error
    if [a.shape for a in arrays] != [tuple(v.shape) for v in variables]:
        raise UserError(f"{path}: belongs to another model; start again without --resume")
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def _variables(model: keras.Model) -> list[keras.Variable]:
    model.optimizer.build(model.trainable_variables)
    return [*model.variables, *model.optimizer.variables]

"""Files: atomic writing, digests, and where an artifact is taken from."""

import atexit
import contextlib
import hashlib
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from captioning.cli import UserError

ROOT = Path(__file__).resolve().parent.parent
_held = []  # open files, by which this process has its locks


def _shortest(folder: Path) -> Path:
    """Relative to the working folder if it lies in it: that is how a user would name it."""
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


PRETRAINED = _shortest(ROOT / "Pre-trained")
SHIPPED = PRETRAINED / "model-ensemble.keras"
EXAMPLES = _shortest(ROOT / "examples")


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary name beside `path`; rename it to `path` when the block ends well.

    A run that is killed leaves the old file, or none, and never half of a new one. The name keeps
    its suffix, which Keras goes by, and is always the same, so that the next run replaces what a
    killed one left.
    """
    path = Path(path)
    # A name may be as long as names can be, 255 bytes, of which 50 characters have up to 200.
    number = zlib.crc32(os.fsencode(path.name))
    temporary = path.with_name(f".{path.stem[:50]}-{number:08x}.unfinished{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # "No space left on device" alone does not say where
        raise


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write UTF-8 text atomically; of a file name that is not text, its bytes are spelled out."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def read_record(path: str | os.PathLike) -> dict[str, Any]:
    """The object that `write_json` wrote; empty if there is none, or it is damaged."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        record = json.loads(Path(path).read_bytes())
        return record if isinstance(record, dict) else {}
    return {}


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write JSON atomically, indented for a reader."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def sha256(path: str | os.PathLike) -> str:
    """Hexadecimal SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def existing_file(path: str | os.PathLike, what: str, hint: str = "") -> Path:
    """`path` as a `Path`, or a `UserError` that names it, says `what` it is and gives the hint."""
    path = Path(path)
    if path.is_file():
        return path
    state = "is a folder, not a file" if path.is_dir() else "does not exist"
    raise UserError(f"{path}: the {what} {state}{'; ' + hint if hint else ''}")


def check_writable(path: str | os.PathLike, *endings: str) -> None:
    """Refuse an output path now rather than after the work: its folder must exist and take files.

    Raises:
        UserError: the folder is missing or no file can be made in it, `path` is no file, or its
            name has none of the `endings`, if any are given.
    """
    path = Path(path)
    if endings and not path.name.endswith(endings):
        raise UserError(f"{path}: end the name in {' or '.join(endings)}")
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give the name of the file to write")
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: is a device or a pipe, whose place a file would take")
    probe = path.with_name(f".{path.name}.probe")
    try:
        probe.touch()
        probe.unlink(missing_ok=True)  # another process may probe, too
    except OSError as error:
        raise UserError(
            f"{path}: cannot write there ({error.strerror}); choose a folder that exists "
            "and that you may write to"
        ) from error


def lock(path: str | os.PathLike) -> None:
    """Keep other runs from writing the file, or into the folder, `path` until this process ends.

    The system lets go of the lock when its process ends, however it ends. Where there are no such
    locks (Windows), nothing is kept from anybody.

    Raises:
        UserError: another process has it; the message says which.
    """
    try:
        import fcntl
    except ImportError:
        return
    path = Path(path)
    lock_file = path / ".lock" if path.is_dir() else path.with_name(f".{path.name}.lock")
    file = open(lock_file, "a+")  # noqa: SIM115 - it is held
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # A run that has just ended took its file along: a lock on that keeps nobody out.
        locked = os.path.samestat(os.fstat(file.fileno()), os.stat(lock_file))
    except (BlockingIOError, FileNotFoundError):
        locked = False
    if not locked:
        file.seek(0)
        raise UserError(
            f"{path}: another run (process {file.read(20).strip() or 'unknown'}) is writing "
            "there; wait for it, stop it, or give this one another name or folder"
        )
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    _held.append(file)
    atexit.register(lock_file.unlink, missing_ok=True)


def open_run(folder: Path, *, resume: bool, restart: bool, locks: bool = True) -> None:
    """Make the folder of a training, of this process alone if it `locks`.

    Where a training lies already, a user has to say what becomes of it.

    Raises:
        UserError: the folder holds the state of a run, and neither flag or both are given.
    """
    if resume and restart:
        raise UserError("--resume continues a run, --restart begins anew: give one of them")
    for state in (folder / "state.npz", folder / "checkpoints" / "state.npz"):
        if state.is_file() and not (resume or restart):
            raise UserError(
                f"{state}: is of a run that lies here; --resume continues it, --restart begins anew"
            )
    folder.mkdir(parents=True, exist_ok=True)
    if locks:
        lock(folder)


def find_artifact(name: str) -> Path | None:
    """The file that an earlier stage left in the working folder, else the one in `Pre-trained/`.

    `name` is a path relative to either, e.g. `tokenizer.pkl`.
    """
    return next((path for path in (Path(name), PRETRAINED / name) if path.is_file()), None)


def artifact_path(name: str) -> str:
    """Where `find_artifact` finds it; else the name itself, for what refuses a missing file."""
    return str(find_artifact(name) or name)


def plain_entries(info: Any) -> dict[str, Any]:
    """What is text or a number in a record that may come from a stranger."""
    plain = str | int | float | None
    pairs = info.items() if isinstance(info, dict) else ()
    return {key: value for key, value in pairs if isinstance(value, plain)}

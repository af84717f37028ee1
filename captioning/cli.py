"""How every script talks to its user: arguments, one-line errors, quiet start of the backend."""

import argparse
import errno
import gc
import io
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn


class UserError(Exception):
    """A mistake that the user can mend: what is wrong with which file, and what to do about it."""


@contextmanager
def in_file(path: object, otherwise: str = "") -> Iterator[None]:
    """Have a `UserError` of the block name the file, and take any other exception for its damage.

    Parsers raise by where in a file they stumble. `otherwise` is what is said of that; without it
    such an exception stays what it is.
    """
    try:
        yield
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except Exception as error:
        if not otherwise:
            raise
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise UserError(f"{path}: {otherwise} ({reason:.200})") from error


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Adds defaults to help texts, but for those that say nothing."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, [], False):
            return action.help
        return super()._get_help_string(action)


class ArgumentParser(argparse.ArgumentParser):
    """`argparse` with defaults in the help texts and one-line errors."""

    def __init__(self, description: str, **kwargs) -> None:
        kwargs |= {"description": description, "formatter_class": _Formatter}
        super().__init__(allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def printable(text: object) -> str:
    """Text for one line of a terminal: what would break the line or steer it is spelled out."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(text))


def report_skipped(what: str, names: Sequence[str]) -> None:
    """Print how many were left out; up to ten are named, more are no oddity of single ones."""
    if names:
        named = f": {first_ten(names)}" if len(names) <= 10 else ""
        print(f"skipped {len(names):,} {what}{named}")


def check_most_read(unreadable: Sequence[str], total: int, what: str = "pictures") -> None:
    """Raise a `UserError` if more of `total` pictures were unreadable, as said, than read."""
    if 2 * len(unreadable) > total:
        broken = f"{len(unreadable)} of {total} {what} could not be read"
        raise UserError(f"{broken}, the first: {unreadable[0]}")


def first_ten(names: Sequence[str]) -> str:
    """Up to ten names, printable, and whether there are more."""
    return ", ".join(map(printable, names[:10])) + (" ..." if len(names) > 10 else "")


def run(main: Callable[[], None]) -> NoReturn:
    """Run a script; turn the user's mistakes into one line on stderr and exit status 2.

    `OSError` counts as the user's: a missing file, a folder without permission, a full disk.
    Everything else is a bug of ours and keeps its traceback.
    """
    name = os.path.basename(sys.argv[0])
    for stream, mode in {"stdin": "r", "stdout": "w", "stderr": "w"}.items():
        if getattr(sys, stream) is None:  # `2>&-` has closed it
            setattr(sys, stream, open(os.devnull, mode))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # A terminal that knows no 'é' gets '\xe9', not an error after all the work.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        main()
        print(end="", flush=True)  # a full disk would show only when the interpreter ends
    except UserError as error:
        message = printable(" ".join(str(error).split()))
    except OSError as error:
        if error.errno == errno.EPIPE:  # `script | head`: the reader has left, nothing to say
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        reason = " ".join((error.strerror or str(error)).split())
        message = f"{error.filename}: {reason}" if error.filename else reason
        # HDF5 tells everything that it knows, the reason somewhere in it.
        if details := re.search(r"name = '(.+?)', .*error message = '(.+?)'", reason):
            message = ": ".join(details.groups())
        message = printable(message)
        try:
            sys.stdout.flush()
        except OSError:  # what it still holds is lost; the interpreter shall not try again
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except KeyboardInterrupt:
        print(f"\n{name}: stopped", file=sys.stderr)
        sys.exit(130)
    else:
        sys.exit(0)
    print(f"{name}: {message:.2000}", file=sys.stderr)
    sys.exit(2)


BACKENDS = {"tensorflow": "TensorFlow", "jax": "JAX"}


def import_keras():
    """Import Keras as this project needs it, whatever the user's environment says.

    Notebooks set a plot backend that exists in them only, and `~/.keras/keras.json` may ask for
    another layout, precision or backend: only `KERAS_BACKEND` counts.

    The notices that TensorFlow prints while it loads are written to the file descriptor before any
    logging level applies, so the descriptor is turned aside for the import, and shown only if the
    import fails.

    Raises:
        UserError: the backend is none that is supported, or is not installed.
    """
    backend = os.environ.get("KERAS_BACKEND") or "tensorflow"
    if backend not in BACKENDS:
        raise UserError(
            f"KERAS_BACKEND={backend}: is not supported; set it to {' or '.join(BACKENDS)}"
        )
    if sys.stderr.isatty() and "keras" not in sys.modules:
        print(f"loading {BACKENDS[backend]}, which takes some seconds", file=sys.stderr)
    os.environ["KERAS_BACKEND"], os.environ["MPLBACKEND"] = backend, "Agg"
    for name in ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH", "KERAS_NNX_ENABLED"):
        os.environ.pop(name, None)
    home = os.environ.get("KERAS_HOME")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Keras looks for both, and does without: with them the import takes a third longer.
    unused = {"matplotlib", "jax"} - {backend, *sys.modules}
    sys.modules.update(dict.fromkeys(unused))  # None: an ImportError
    # The collector would walk over a million objects that stay to the end, for a third of the time.
    gc.disable()
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as notices:
        os.dup2(notices.fileno(), 2)
        os.environ["KERAS_HOME"] = os.devnull  # in which there can be no keras.json
        try:
            import keras
        except ModuleNotFoundError as error:
            if error.name != backend:
                raise
            raise UserError(f"{backend} is not installed: pip install {backend}") from error
        except BaseException:
            notices.seek(0)
            os.write(kept, notices.read())
            raise
        finally:
            for name in unused:
                del sys.modules[name]
            gc.freeze()
            gc.enable()
            os.dup2(kept, 2)
            os.close(kept)
            os.environ.pop("KERAS_HOME")
            os.environ.update({} if home is None else {"KERAS_HOME": home})
    return keras

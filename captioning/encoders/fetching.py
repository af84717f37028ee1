"""The files of public checkpoints: fetched once from their authors, and kept in the user's cache.

pooch does it: into a temporary file, which gets its name only when it is whole and its digest is
right, and anew up to twice if it breaks off. A run that is killed may leave the temporary file,
`tmp...`. Keras' `get_file` writes under the final name, and leaves there what has a wrong digest.
"""

import os
from functools import partial
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from tqdm import tqdm

from captioning.cli import UserError
from captioning.encoders.public import Checkpoint


def fetch(checkpoint: Checkpoint) -> Path:
    """The checkpoint's file in the user's cache, fetched if it is not there yet.

    The cache is the folder `CAPTIONING_CACHE`, by default `captioning` where the system keeps such
    things. With `CAPTIONING_OFFLINE` set nothing is fetched.

    Raises:
        UserError: it is not there and cannot be fetched, or its digest is not its authors'.
    """
    import pooch
    from requests import HTTPError, RequestException

    cache = Path(os.environ.get("CAPTIONING_CACHE") or pooch.os_cache("captioning")).expanduser()
    path = cache / f"{checkpoint.name}-{checkpoint.encoder}" / checkpoint.file
    if path.is_file():
        if not _is_published(checkpoint, path):
            raise UserError(f"{path}: its digest is not {checkpoint.digest}..., which its authors "
                            "publish; delete it, and it is fetched again")  # fmt: skip
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        if os.environ.get("CAPTIONING_OFFLINE"):
            raise ValueError("CAPTIONING_OFFLINE is set")
        print(f"fetching {checkpoint.address} into {path.parent}")
        pooch.get_logger().setLevel("WARNING")
        store = pooch.Pooch(path.parent, "", registry={path.name: None},
                            urls={path.name: checkpoint.address}, retry_if_failed=2)  # fmt: skip
        store.fetch(path.name, downloader=partial(_download, checkpoint))
        return path
    except HTTPError as error:
        reason = f"the server says {error.response.status_code} {error.response.reason}"
    except RequestException as error:
        reason = f"no connection, or it broke off: {type(error).__name__}"
    except ValueError as error:
        reason = str(error)
    raise UserError(
        f"{checkpoint.name}: could not be fetched ({reason}); get {checkpoint.address} by other "
        f"means and put it at {path}"
    )


def _download(checkpoint: Checkpoint, address: str, target: str, store) -> None:
    """Fetch into the temporary file `target`, which pooch then puts in its place."""
    from pooch import HTTPDownloader

    with _Bar(unit="B", unit_scale=True, desc=checkpoint.file, delay=1e-3) as bar:
        HTTPDownloader(bar, 1 << 20, hooks={"response": _same_scheme})(address, target, store)
    if not _is_published(checkpoint, target):
        raise ValueError(f"its digest is not {checkpoint.digest}..., which its authors publish")
    os.chmod(target, 0o644)  # a cache may be shared; temporary files are their owner's only


class _Bar(tqdm):
    """What pooch can use: true before its total is known, and without a reset of the clock.

    Its `delay` hides it until something comes, so that a failure leaves no empty bars.
    """

    def __bool__(self) -> bool:
        return True

    def reset(self, total: float | None = None) -> None:
        self.n, self.delay = 0, 0  # the end has come, and is shown


def _same_scheme(response, **_) -> None:
    """No redirect from HTTPS to anything else."""
    if response.is_redirect:
        to = urljoin(response.url, response.headers["location"])
        if urlsplit(to).scheme != urlsplit(response.url).scheme:
            raise ValueError(f"the server sends elsewhere: {to:.200}")


def _is_published(checkpoint: Checkpoint, path: str | Path) -> bool:
    from pooch import file_hash

    algorithm, _, start = checkpoint.digest.partition(":")
    return not start or file_hash(path, algorithm).startswith(start)

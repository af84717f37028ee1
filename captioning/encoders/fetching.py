"""The files of public checkpoints: fetched once from their authors, and kept in a cache."""

import os
from pathlib import Path

from tqdm import tqdm

from captioning.cli import UserError
from captioning.encoders.public import Checkpoint


def download(address: str, target: str, store) -> None:
    """Fetch a file, as pooch's downloaders do, with a bar that ends where the fetching fails."""
    import pooch

    # pooch's own bar stays open then. It sets the total of ours.
    with tqdm(total=1, unit="B", unit_scale=True, desc=address.rpartition("/")[2]) as bar:
        pooch.HTTPDownloader(progressbar=bar, chunk_size=1 << 20)(address, target, store)


def fetch(checkpoint: Checkpoint) -> Path:
    """The checkpoint's file in the user's cache, fetched if it is not there yet.

    The cache is the folder `CAPTIONING_CACHE`, by default `captioning` where the system keeps such
    things. With `CAPTIONING_OFFLINE` set nothing is fetched. The digest is checked on arrival only.

    Raises:
        UserError: it is not there and cannot be fetched, or its digest begins otherwise.
    """
    import pooch
    from requests import RequestException

    def checked(address: str, target: str, store) -> None:
        """Fetch into a temporary file, to which pooch gives its name when it is whole."""
        if os.environ.get("CAPTIONING_OFFLINE"):
            raise ValueError("CAPTIONING_OFFLINE is set")
        print(f"fetching {address}")
        download(address, target, store)
        if checkpoint.digest:
            kind, digits = checkpoint.digest.split(":")
            if not pooch.file_hash(target, kind).startswith(digits):
                raise ValueError(f"its {kind} does not begin with {digits}, as the authors say")
        os.chmod(target, 0o644)  # a cache may be shared; temporary files are their owner's only

    cache = Path(os.environ.get("CAPTIONING_CACHE") or pooch.os_cache("captioning")).expanduser()
    folder = cache / f"{checkpoint.name}-{checkpoint.encoder}"
    pooch.get_logger().setLevel("WARNING")
    try:
        pooch.retrieve(checkpoint.address, None, checkpoint.file, folder, downloader=checked)
    except (RequestException, ValueError) as error:
        raise UserError(
            f"{checkpoint.name}: could not be fetched ({error!s:.300}); get {checkpoint.address} "
            f"by other means and put it at {folder / checkpoint.file}"
        ) from error
    return folder / checkpoint.file

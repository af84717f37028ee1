#!/usr/bin/env python3
"""Kill each long job at random moments, resume it, and compare the end with an unbroken run.

    python benchmarks/faults.py
    python benchmarks/faults.py --jobs extraction --kills 5

Jobs: feature extraction, training of the captioner and SimCLR, on pictures and captions that are
made up. A job is killed (signal 9, with all its children) at a moment drawn from the time that it
takes unbroken, and started again with --resume, until it ends; what it leaves is compared with what
the unbroken run left: the same files, features equal bit for bit, histories to 1e-6. Then again,
until there have been --kills of them. After every kill, each file that has its final name must be
whole.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from captioning.arguments import positive_int
from captioning.cli import ArgumentParser, UserError, run

WORDS = "a the red green blue small large dog cat boat tree runs sits stands by under near".split()


class Job(NamedTuple):
    """A command, which takes --resume, and what makes two of its results the same."""

    command: list[str]
    differences: Callable[[Path, Path], list[str]]


def make_images(folder: Path, count: int) -> None:
    """So many different photographs of blurred noise, two captions each, and two splits."""
    (folder / "images").mkdir(parents=True)
    rng, lines = np.random.default_rng(0), []
    names = [f"{number:04}.jpg" for number in range(count)]
    for name in names:
        noise = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8))
        noise.resize((320, 240), Image.Resampling.BICUBIC).save(folder / "images" / name)
        for number in range(2):
            lines.append(f"{name}#{number}\t{' '.join(rng.choice(WORDS, rng.integers(5, 12)))}")
    (folder / "captions.token.txt").write_text("\n".join(lines) + "\n")
    (folder / "train.txt").write_text("\n".join(names[count // 10 :]) + "\n")
    (folder / "dev.txt").write_text("\n".join(names[: count // 10]) + "\n")


def jobs(data: Path) -> dict[str, Job]:
    """The three jobs, each of some twenty seconds, to be run in a folder of their own."""
    extraction = f"1_data_preprocessor.py --images {data}/images --batch-size 8 "
    extraction += f"--captions {data}/captions.token.txt"
    training = f"2_train_IC_model.py --features {data}/features.pkl --epochs 20 --batch-size 16 "
    training += f"--descriptions {data}/descriptions.txt --patience 0 "
    training += f"--train-split {data}/train.txt --dev-split {data}/dev.txt"
    pretext = f"contrastive/main.py --images {data}/images --image-size 32 --batch-size 32 "
    pretext += "--optimizer adamw --epochs 3 --save-minutes 0.02 --output ."
    return {
        "extraction": Job(extraction.split(), features_differ),
        "training": Job(training.split(), histories_differ),
        "pretext": Job(pretext.split(), histories_differ),
    }


def features_differ(one: Path, other: Path) -> list[str]:
    """Names of images whose features differ in any bit."""
    from captioning.features.reading import read_features

    first, second = (read_features(folder / "features.pkl") for folder in (one, other))
    if set(first) != set(second):
        return ["image ids"]
    return [name for name in first if not np.array_equal(first[name], second[name])]


def histories_differ(one: Path, other: Path) -> list[str]:
    """Losses that differ by more than 1e-6, relatively."""
    import csv

    texts = ((folder / "history.csv").read_text() for folder in (one, other))
    rows = [list(csv.DictReader(text.splitlines())) for text in texts]
    if len(rows[0]) != len(rows[1]):
        return [f"{len(rows[0])} and {len(rows[1])} epochs"]
    found = []
    for number, (first, second) in enumerate(zip(*rows, strict=True), start=1):
        for name in ("loss", "val_loss", "spread"):
            if first.get(name):
                values = float(first[name]), float(second[name])
                if not np.isclose(*values, rtol=1e-6, atol=0):
                    found.append(f"{name} of row {number}: {values[0]} and {values[1]}")
    return found


def broken_files(folder: Path) -> list[str]:
    """Files with a final name that cannot be read whole."""
    import csv
    import json
    import zipfile

    import h5py

    from captioning.features.reading import read_features

    def read_data(_: str, part: h5py.Group | h5py.Dataset) -> None:
        if isinstance(part, h5py.Dataset):
            part[()]

    def read(path: Path) -> None:
        if path.name == "features.pkl":
            read_features(path)
        elif path.suffix in (".h5", ".hdf5"):
            with h5py.File(path) as file:
                file.visititems(read_data)
        elif path.suffix in (".keras", ".npz"):
            with zipfile.ZipFile(path) as archive:
                if archive.testzip():
                    raise ValueError("a member is damaged")
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".csv":
            widths = {len(row) for row in csv.reader(path.read_text().splitlines())}
            if len(widths) != 1:
                raise ValueError(f"rows of {widths} columns")
        elif path.suffix == ".png":
            Image.open(path).load()

    broken = []
    for path in sorted(folder.rglob("*")):
        # A name that begins with a dot is a draft, which a kill may leave and a resumed run ends.
        drafts = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not drafts:
            try:
                read(path)
            except (OSError, ValueError, KeyError, UserError, zipfile.BadZipFile) as error:
                broken.append(f"{path.relative_to(folder)}: {error}")
    return broken


def start(job: Job, folder: Path, *options: str) -> subprocess.Popen:
    """The job in a process group of its own."""
    log = open(folder.parent / f"{folder.name}.log", "ab")  # noqa: SIM115 - the child writes it
    return subprocess.Popen(
        [sys.executable, str(ROOT / job.command[0]), *job.command[1:], *options],
        cwd=folder,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )


def soak(name: str, job: Job, work: Path, kills: int) -> tuple[int, int, float, list[str]]:
    """Kill the job `kills` times: kills, runs that ended, seconds unbroken, what was wrong."""
    whole = work / f"{name}-unbroken"
    whole.mkdir()
    began = time.perf_counter()
    if start(job, whole).wait() != 0:
        raise UserError(f"{name}: the unbroken run failed, see {whole}.log")
    seconds = time.perf_counter() - began
    files = {path.relative_to(whole) for path in whole.rglob("*")}

    chance, killed, ended, wrong = random.Random(name), 0, 0, []
    while killed < kills:
        folder = work / f"{name}-{ended}"
        folder.mkdir()
        options: list[str] = []
        while True:
            process = start(job, folder, *options)
            options = ["--resume"]
            try:
                # After the last kill it is left alone.
                process.wait(None if killed == kills else chance.uniform(0, seconds))
                break
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                killed += 1
                wrong += [f"after kill {killed}: {one}" for one in broken_files(folder)]
        ended += 1
        if process.returncode != 0:
            wrong.append(f"a resumed run ended with status {process.returncode}, see {folder}.log")
            continue
        left = {path.relative_to(folder) for path in folder.rglob("*")}
        wrong += [f"{one}: only in one of the runs" for one in sorted(left ^ files, key=str)]
        wrong += [f"differs: {one}" for one in job.differences(whole, folder)]
    for one in wrong:
        print(f"{name}: {one}", file=sys.stderr)
    return killed, ended, seconds, wrong


def main() -> None:
    parser = ArgumentParser(__doc__.split("\n")[0])
    names = ("extraction", "training", "pretext")
    parser.add_argument("--jobs", nargs="+", choices=names, default=names, help="which to kill")
    parser.add_argument("--kills", type=positive_int, default=20, help="of each job")
    parser.add_argument("--pictures", type=positive_int, default=1200, help="to work on")
    args = parser.parse_args()

    work = Path(tempfile.mkdtemp(prefix="faults-"))
    data = work / "data"
    make_images(data, args.pictures)
    every = jobs(data)
    # Training needs what extraction makes.
    if "training" in args.jobs and start(every["extraction"], data).wait() != 0:
        raise UserError(f"extraction failed, see {data}.log")
    print(f"{'job':12} kills  runs  seconds unbroken  wrong")
    failed = False
    for name in args.jobs:
        kills, runs, seconds, wrong = soak(name, every[name], work, args.kills)
        print(f"{name:12} {kills:5} {runs:5} {seconds:17.0f} {len(wrong):6}", flush=True)
        failed |= bool(wrong)
    if failed:
        raise UserError(f"something was lost or differs; the runs are kept in {work}")
    shutil.rmtree(work)


if __name__ == "__main__":
    run(main)

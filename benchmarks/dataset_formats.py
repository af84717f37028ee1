#!/usr/bin/env python3
"""The same pictures and captions in the form of every data set: do all readers give the same?

    python benchmarks/dataset_formats.py FOLDER

takes 1,500 training and 500 development pictures of Flickr8k (data/README.md says where it lies),
writes them into FOLDER as Flickr8k, Flickr30k, MS COCO and Karpathy's files lay them out, compares
captions, splits, pictures and descriptions, and prints the commands that train on each. The
pictures are links.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from captioning.arguments import positive_int
from captioning.cli import ArgumentParser, UserError, run
from captioning.datasets import find_images, read_captions, read_datasets, read_split
from captioning.datasets.descriptions import write_descriptions
from captioning.images.folders import walk_images
from captioning.images.names import image_id
from captioning.text import clean
from tests import dataset_formats as formats

FLICKR8K = Path("data/flickr8k")
FIRST_COCO_ID = 100_001  # all of six digits, so that they sort as their names do


class Layout(NamedTuple):
    """A data set as a user has it: what to give to the scripts, and its names of the pictures."""

    images: Path
    captions: list[Path]
    train: str
    dev: str
    names: Mapping[str, str]  # by Flickr8k's


def link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source.resolve())


def renamed(captions: Mapping[str, list[str]], names: Mapping[str, str], chosen) -> dict:
    return {names[one]: captions[one] for one in chosen}


def write_split(path: Path, names: Mapping[str, str], chosen: list[str]) -> str:
    path.write_text("".join(f"{names[one]}\n" for one in chosen))
    return str(path)


def make(folder: Path, captions: dict[str, list[str]], train: list[str], dev: list[str]) -> dict:
    """Write every layout; return them by name, Flickr8k's own first."""
    every = sorted(captions)
    own = {one: one for one in every}
    digits = {one: one.split("_")[0] + ".jpg" for one in every}
    ids = {one: FIRST_COCO_ID + number for number, one in enumerate(every)}
    folders = {one: "train2014" for one in train} | {one: "val2014" for one in dev}
    coco = {one: f"COCO_{folders[one]}_{ids[one]:012d}.jpg" for one in every}
    if len(set(digits.values())) < len(every):
        raise UserError("two of the pictures have the same number; choose others")
    for one in every:
        source = FLICKR8K / "Flicker8k_Dataset" / one
        link(source, folder / "flickr8k" / "Images" / one)
        link(source, folder / "flickr30k" / "flickr30k_images" / digits[one])
        link(source, folder / "coco" / folders[one] / coco[one])
    names = ("flickr8k", "flickr30k", "coco/annotations", "karpathy")
    f8k, f30k, annotations, karpathy = places = [folder / name for name in names]
    for place in places:
        place.mkdir(exist_ok=True)

    parts = {"train": train, "dev": dev}
    formats.write_flickr8k_token(f8k / "Flickr8k.token.txt", captions)
    formats.write_kaggle_csv(f8k / "captions.txt", captions)
    splits = [write_split(f8k / f"{name}Images.txt", own, parts[name]) for name in parts]
    in_digits = renamed(captions, digits, every)
    formats.write_flickr30k_csv(f30k / "results.csv", in_digits)
    formats.write_flickr8k_token(f30k / "results_20130124.token", in_digits)
    digit_splits = [write_split(f30k / f"{name}.txt", digits, parts[name]) for name in parts]
    by_coco_name = {coco[one]: ids[one] for one in every}
    for year, chosen in (("train2014", train), ("val2014", dev)):
        formats.write_coco(
            annotations / f"captions_{year}.json", renamed(captions, coco, chosen), by_coco_name
        )
    # Every third training picture is one of `restval`, which is training, too.
    split_of = {one: "val" for one in dev}
    split_of |= {one: "restval" if n % 3 == 0 else "train" for n, one in enumerate(train)}
    in_order = {one: captions[one] for one in train + dev}
    formats.write_karpathy(karpathy / "dataset_flickr8k.json", in_order, split_of)
    formats.write_karpathy(
        karpathy / "dataset_coco.json",
        renamed(captions, coco, in_order),
        {coco[one]: split for one, split in split_of.items()},
        dataset="coco",
        ids=by_coco_name,
        folders={coco[one]: place for one, place in folders.items()},
    )

    def by_karpathy(images: Path, name: str, names: Mapping[str, str]) -> Layout:
        path = karpathy / f"dataset_{name}.json"
        return Layout(images, [path], f"{path}:train", f"{path}:val", names)

    both = [annotations / f"captions_{year}.json" for year in ("train2014", "val2014")]
    return {
        "flickr8k": Layout(f8k / "Images", [f8k / "Flickr8k.token.txt"], *splits, own),
        "flickr8k-csv": Layout(f8k / "Images", [f8k / "captions.txt"], *splits, own),
        "flickr30k-csv": Layout(f30k, [f30k / "results.csv"], *digit_splits, digits),
        "flickr30k-token": Layout(f30k, [f30k / "results_20130124.token"], *digit_splits, digits),
        "coco": Layout(folder / "coco", both, *map(str, both), coco),
        "karpathy-flickr8k": by_karpathy(f8k / "Images", "flickr8k", own),
        "karpathy-coco": by_karpathy(folder / "coco", "coco", coco),
    }


def descriptions(path: Path, captions: Mapping[str, list[str]], order: list[str]) -> bytes:
    """The descriptions file as stage 1 cleans and writes it, in this order of pictures."""
    cleaned = {one: [" ".join(clean(text, "original")) for text in captions[one]] for one in order}
    write_descriptions(path, cleaned, "original")
    return path.read_bytes()


def compare(folder: Path, layouts: Mapping[str, Layout], train: list[str], dev: list[str]) -> None:
    """Print a row a layout; stop at the first that differs from Flickr8k's."""
    first = layouts["flickr8k"]
    reference = read_datasets(first.captions)
    order = [image_id(one) for one in train + dev]
    expected = descriptions(folder / "reference.txt", reference.captions, order)
    print(f"{'':18} pictures  captions  train  dev  sorted alike  descriptions.txt")
    for name, layout in layouts.items():
        dataset = read_datasets(layout.captions)
        ids = {image_id(one): image_id(new) for one, new in layout.names.items()}
        pictures, _ = find_images(layout.images, dataset.files)
        found = descriptions(folder / "found.txt", dataset.captions, [ids[one] for one in order])
        back = {new: one for one, new in ids.items()}
        lines = (line.partition(" ") for line in found.decode().splitlines(keepends=True))
        checks = {
            "captions": all(dataset.captions[ids[o]] == reference.captions[o] for o in order),
            "training split": read_split(layout.train) == [ids[image_id(one)] for one in train],
            "development split": read_split(layout.dev) == [ids[image_id(one)] for one in dev],
            "pictures": all(pictures[ids[o]].resolve().stem == o for o in order),
            "descriptions": "".join(f"{back[o]} {words}" for o, _, words in lines).encode()
            == expected,
        }
        for what, same in checks.items():
            if not same:
                raise UserError(f"{name}: its {what} differ from those of Flickr8k's own format")
        alike = [back[one] for one in sorted(back)] == sorted(ids)
        texts = sum(map(len, dataset.captions.values()))
        print(
            f"{name:18} {len(pictures):8,}  {texts:8,}  {len(train):5,}  {len(dev):3}  "
            f"{'yes' if alike else 'no':12}  the same but for ids   ({dataset.name})"
        )
    for name in ("reference.txt", "reference.txt.json", "found.txt", "found.txt.json"):
        (folder / name).unlink()


def print_commands(layouts: Mapping[str, Layout], epochs: int) -> None:
    """The five scripts on each layout, each in a working folder of its own."""
    for name, layout in layouts.items():
        captions = " ".join(map(str, layout.captions))
        photo = next(walk_images(layout.images))
        print(
            f"\n# {name}\nmkdir -p runs/{name} && cd runs/{name}\n"
            f"python {ROOT}/1_data_preprocessor.py --images {layout.images} --captions {captions}\n"
            f"python {ROOT}/2_train_IC_model.py --train-split {layout.train} "
            f"--dev-split {layout.dev} --epochs {epochs}\n"
            f"python {ROOT}/3_BLEU.py --split {layout.dev}\n"
            f"python {ROOT}/3_BLEU.py --split {layout.dev} --protocol coco --captions {captions} "
            f"--output captions_{name}_results.json\n"
            f"python {ROOT}/evaluate.py --split {layout.dev} --captions {captions}\n"
            f"python {ROOT}/4_tokenizer.py --train-split {layout.train}\n"
            f"python {ROOT}/5_test.py {photo}\ncd -"
        )


def main() -> None:
    parser = ArgumentParser(__doc__.split("\n")[0])
    add: Callable = parser.add_argument
    add("folder", help="a new folder for the data sets")
    add("--train", type=positive_int, default=1500, help="pictures of the training split")
    add("--dev", type=positive_int, default=500, help="pictures of the development split")
    add("--epochs", type=positive_int, default=10, help="in the commands that are printed")
    args = parser.parse_args()
    folder = Path(args.folder).resolve()
    if folder.exists():
        raise UserError(f"{folder}: exists already; give the name of a new folder")

    text = FLICKR8K / "Flickr8k_text"
    raw = read_captions(text / "Flickr8k.token.txt")
    train = read_split(text / "Flickr_8k.trainImages.txt")[: args.train]
    dev = read_split(text / "Flickr_8k.devImages.txt")[: args.dev]
    train, dev = ([f"{one}.jpg" for one in split] for split in (train, dev))
    captions = {one: raw[image_id(one)] for one in sorted(train + dev)}

    layouts = make(folder, captions, train, dev)
    compare(folder, layouts, train, dev)
    print_commands(layouts, args.epochs)


if __name__ == "__main__":
    run(main)

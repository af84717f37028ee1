"""The five scripts as subprocesses, given what is wrong: a line on stderr, exit status 2."""

import os
import pickle
import resource
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT, assert_refused, run_script

SCRIPTS = ["1_data_preprocessor.py", "2_train_IC_model.py", "3_BLEU.py", "4_tokenizer.py",
           "5_test.py"]  # fmt: skip


def extract(dataset, cwd, **changes):
    """Stage 1 with some arguments changed."""
    arguments = {"images": dataset.images, "captions": dataset.captions, **changes}
    flat = [part for name, value in arguments.items() for part in (f"--{name}", value)]
    return run_script(SCRIPTS[0], *flat, cwd=cwd)


def score(pipeline, **changes):
    """Stage 3 with some arguments changed."""
    arguments = {"split": pipeline.data.dev, **changes}
    flat = [part for name, value in arguments.items() for part in (f"--{name}", value)]
    return run_script(SCRIPTS[2], *flat, cwd=pipeline.work)


def test_missing_folder_of_pictures(dataset, tmp_path):
    assert_refused(extract(dataset, tmp_path, images="nowhere"), "nowhere", "not a folder")


def test_missing_captions_file(dataset, tmp_path):
    assert_refused(extract(dataset, tmp_path, captions="none.txt"), "none.txt", "does not exist")


def test_captions_of_no_known_format(dataset, tmp_path):
    (tmp_path / "notes.txt").write_text("some notes\n")
    result = extract(dataset, tmp_path, captions="notes.txt")
    assert_refused(result, "notes.txt", "Flickr8k.token.txt", "Kaggle's captions.txt")


def test_captions_of_other_pictures(dataset, tmp_path):
    (tmp_path / "other.txt").write_text("other.jpg#0\tA dog .\n")
    assert_refused(extract(dataset, tmp_path, captions="other.txt"), "none of the pictures")


def test_pictures_and_captions_without_partner_are_counted_and_named(dataset, tmp_path):
    shutil.copy(dataset.images / dataset.names[0], dataset.images / "extra.jpg")
    with dataset.captions.open("a") as file:
        file.writelines(f"gone{number}.jpg#0\tA dog .\n" for number in range(12))
    result = extract(dataset, tmp_path, limit=2)
    assert result.returncode == 0, result.stderr
    assert "skipped 12 captioned images without a picture: gone0, gone1" in result.stdout
    assert "gone9 ...\n" in result.stdout
    assert "skipped 1 pictures without a caption: extra" in result.stdout


def test_unreadable_pictures_are_skipped_counted_and_named(dataset, tmp_path):
    for name, content in [(dataset.names[0], b""), (dataset.names[1], b"text")]:
        (dataset.images / name).write_bytes(content)
    whole = (dataset.images / dataset.names[2]).read_bytes()
    (dataset.images / dataset.names[2]).write_bytes(whole[: len(whole) // 2])

    result = extract(dataset, tmp_path)

    assert result.returncode == 0, result.stderr
    assert "skipped 3 unreadable pictures" in result.stdout
    assert f"{dataset.names[0]}: is empty" in result.stdout
    features = pickle.loads((tmp_path / "features.pkl").read_bytes())
    assert len(features) == 9
    assert "red_left" not in (tmp_path / "descriptions.txt").read_text()


def test_a_run_that_skips_more_than_it_reads_fails(dataset, tmp_path):
    for name in dataset.names[:7]:
        (dataset.images / name).write_bytes(b"")
    result = extract(dataset, tmp_path)
    assert result.returncode == 2
    assert "7 of 12 pictures could not be read" in result.stderr.splitlines()[-1]
    assert not (tmp_path / "features.pkl").exists()


def test_unwritable_output_folder(dataset, tmp_path):
    (tmp_path / "file").write_text("")
    result = extract(dataset, tmp_path, features="file/features.pkl")
    assert_refused(result, "file/features.pkl", "cannot write")
    assert not (tmp_path / "descriptions.txt").exists()


def run_on_full_disk(*command, cwd, room: int) -> subprocess.CompletedProcess:
    """A limit on the size of files stands for a full disk: writing fails in the same place."""
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd, capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)),
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip


def test_full_disk_at_the_tokenizer(pipeline, tmp_path):
    result = run_on_full_disk(
        ROOT / SCRIPTS[3], "--descriptions", pipeline.work / "descriptions.txt",
        "--train-split", pipeline.data.train, cwd=tmp_path, room=100,
    )  # fmt: skip
    assert_refused(result, "tokenizer.pkl: File too large")
    assert os.listdir(tmp_path) == []


def test_split_that_names_nothing_in_the_features(pipeline, tmp_path):
    (tmp_path / "other.txt").write_text("elsewhere.jpg\n")
    result = score(pipeline, split=tmp_path / "other.txt")
    assert_refused(result, "other.txt", "features", "same data set")


def test_features_of_a_width_the_model_does_not_fit(pipeline, tmp_path):
    features = {name.split(".")[0]: np.ones((1, 7), np.float32) for name in pipeline.data.names}
    (tmp_path / "narrow.pkl").write_bytes(pickle.dumps(features))
    result = score(pipeline, features=tmp_path / "narrow.pkl")
    assert_refused(result, "narrow.pkl", "7 numbers", "1280", "efficientnet_lite0")


@pytest.mark.parametrize(
    "decoder, shape, message",
    [
        ("merge", (1, 2, 3), "the merge decoder takes one vector a picture"),
        ("attention", (1, 3), "the attention decoder looks at a grid"),
        ("transformer", (1, 3), "the transformer decoder looks at a grid"),
    ],
)
def test_training_on_features_of_the_wrong_kind(tmp_path, decoder, shape, message):
    from captioning.features.files import write_features

    parts = [(["red_left"], np.ones(shape, np.float16))]
    write_features(tmp_path / "some.h5", parts, {}, rows=1)
    result = run_script(SCRIPTS[1], "--decoder", decoder, "--features", "some.h5", cwd=tmp_path)
    assert_refused(result, "some.h5", message, "1_data_preprocessor.py")


class Hostile:
    def __reduce__(self):
        return os.system, ("touch hostile-was-run",)


def test_tampered_features_are_refused_without_running_them(pipeline, tmp_path):
    (tmp_path / "features.pkl").write_bytes(pickle.dumps({"red_left": Hostile()}))
    result = score(pipeline, features=tmp_path / "features.pkl")
    assert_refused(result, "features.pkl", "system")
    assert not (pipeline.work / "hostile-was-run").exists()


def test_keras_file_with_code_in_it_is_refused(pipeline, tmp_path):
    import keras

    inputs = keras.Input((1280,))
    model = keras.Model(inputs, keras.layers.Lambda(lambda x: x * 2)(inputs))
    model.save(tmp_path / "evil.keras")
    result = score(pipeline, model=tmp_path / "evil.keras")
    assert_refused(result, "evil.keras", "not a caption decoder")


@pytest.mark.parametrize("content", [b"", b"text", None])
def test_damaged_model_is_refused(pipeline, tmp_path, content):
    if content is None:
        whole = (pipeline.work / "checkpoints/best_model.keras").read_bytes()
        content = whole[: len(whole) // 2]
    (tmp_path / "broken.keras").write_bytes(content)
    assert_refused(score(pipeline, model=tmp_path / "broken.keras"), "broken.keras", "damaged")


@pytest.mark.parametrize(
    "name, content, reason",
    [
        ("empty.jpg", b"", "is empty"),
        ("text.jpg", b"hello", "not a picture"),
        (None, None, "no such"),
    ],
)
def test_what_is_no_picture_gets_no_caption(pipeline, tmp_path, name, content, reason):
    path = tmp_path / (name or "missing.jpg")
    if content is not None:
        path.write_bytes(content)
    result = run_script(SCRIPTS[4], path, cwd=pipeline.work)
    assert_refused(result, path.name, reason)


@pytest.mark.parametrize(
    "output, parts",
    [
        ("looks.pdf", ("looks.pdf", ".png")),
        ("looks.png", ("best_model.keras", "--decoder attention")),
    ],
)
def test_where_a_model_looked_that_does_not_look_or_in_another_format(pipeline, output, parts):
    result = run_script(
        "infer.py", "--image-path", pipeline.data.images / pipeline.data.names[0],
        "--attention", output, cwd=pipeline.work,
    )  # fmt: skip
    assert_refused(result, *parts)
    assert not (pipeline.work / output).exists()


@pytest.mark.parametrize(
    "script, arguments, part",
    [
        (SCRIPTS[0], ["--batch-size", "0"], "--batch-size"),
        (SCRIPTS[0], ["--grid", "--features", "features.pkl"], ".h5"),
        (SCRIPTS[1], ["--learning-rate", "-1"], "--learning-rate"),
        (SCRIPTS[1], ["--attention-penalty", "1"], "merge decoder has none"),
        (SCRIPTS[2], ["--beam-width", "0"], "--beam-width"),
        (SCRIPTS[2], ["--length-penalty", "11"], "it must be from 0 to 10"),
        (SCRIPTS[2], ["--protocol", "mine"], "mine"),
        (SCRIPTS[4], ["--beam-width", "1001"], "it must be from 1, greedy, to 1000"),
        (SCRIPTS[4], ["--output", "captions.pdf"], ".html"),
        (SCRIPTS[4], ["--outputs", "captions.html"], "--outputs"),
    ],
)
def test_wrong_arguments(script, arguments, part, tmp_path):
    assert_refused(run_script(script, *arguments, cwd=tmp_path), part)


def test_a_patience_below_0_is_refused(pipeline):
    result = run_script(SCRIPTS[1], "--patience", -1, cwd=pipeline.work)
    assert_refused(result, "--patience", "'-1' is not a whole number of at least 0")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"PK\x03\x04\xff\xfe", "a zip archive or a spreadsheet"), (b"\x1f\x8b\x08\xff", "gzip"),
        (b"\xff\xfea\0b\0", "UTF-16; save it as UTF-8"), (b"\x80\x04\x95\xff", "a pickle"),
        ("caf\u00e9.jpg#0\tA caf\u00e9 .\n".encode("cp1252"), "another encoding"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"), (b"\xff\xd8\xff\xe0", "a picture"),
    ],
)  # fmt: skip
def test_a_captions_file_that_is_no_text_is_called_what_it_is(content, told, dataset, tmp_path):
    (tmp_path / "captions.bin").write_bytes(content)
    result = extract(dataset, tmp_path, captions="captions.bin")
    assert_refused(result, "captions.bin", "not UTF-8 text", told)


@pytest.mark.parametrize("kind", ["features", "pictures"])
def test_an_hdf5_file_that_is_being_written_is_not_called_damaged(kind, tmp_path):
    """Who follows the advice to make it again would lose what the other program writes."""
    path = tmp_path / "some.h5"
    with h5py.File(path, "w") as file:
        file["pictures"] = np.zeros((2, 8, 8, 3), np.uint8)
        file.flush()
        if kind == "pictures":
            result = run_script("contrastive/main.py", "--images", path, cwd=tmp_path)
        else:
            (tmp_path / "descriptions.txt").write_text("a dog\n")
            (tmp_path / "s").write_text("a\n")
            result = run_script(
                "2_train_IC_model.py", "--features", path, "--train-split", "s", cwd=tmp_path
            )
    assert_refused(result, "some.h5", "is open in another program", "wait")
    assert "make it again" not in result.stderr


def test_stage_4_counts_the_captions_that_stage_2_counts(dataset, tmp_path):
    """The sharded way, with captions cleaned apart: one picture is broken, and has own words."""
    with dataset.captions.open("a") as file:
        file.write(f"{dataset.names[1]}#2\tUnheard-of words\n")
    (dataset.images / dataset.names[1]).write_bytes(b"broken")
    data = ("--images", dataset.images, "--captions", dataset.captions)
    for more in (("--only", "captions"), ("--shard", "1/2"), ("--shard", "2/2")):
        result = run_script(SCRIPTS[0], *data, "--batch-size", 6, *more, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
    assert "unheardof" in (tmp_path / "descriptions.txt").read_text()
    splits = ("--train-split", dataset.train, "--dev-split", dataset.dev)
    commands = (
        (SCRIPTS[1], "--features", "features", *splits, "--epochs", 1),
        (SCRIPTS[3], "--train-split", dataset.train),
        (SCRIPTS[4], dataset.images / dataset.names[0]),
    )
    for command in commands:
        result = run_script(*command, cwd=tmp_path)
        assert result.returncode == 0, result.stderr


def test_a_second_captioner_that_is_not_there_is_told_before_the_first_caption(tmp_path):
    result = run_script(
        "5_test.py", ROOT / "examples/dog.jpg", "--beside", "typo.keras", cwd=tmp_path
    )

    assert_refused(result, "typo.keras", "does not exist")
    assert "dog.jpg: " not in result.stdout


@pytest.mark.parametrize(
    "command",
    [
        ("5_test.py", "--output", "page.html", "photo.png"),  # meant as a picture to caption
        ("5_test.py", "photo.png", "--output", "photo.png"),
        ("infer.py", "--image-path", "photo.png", "--attention", "photo.png"),
    ],
)
def test_a_photograph_is_not_written_over(command, tmp_path):
    photo = tmp_path / "photo.png"
    Image.new("RGB", (40, 30), "red").save(photo)
    before = photo.read_bytes()

    assert_refused(run_script(*command, cwd=tmp_path), "photo.png: exists")

    assert photo.read_bytes() == before

"""Public checkpoints by name. A server on the loopback stands in for the authors'."""

import hashlib
import http.server
import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from captioning.captioners.loading import encoder_of
from captioning.cli import UserError
from captioning.decoders.table import decoder_class
from captioning.encoders import public
from captioning.encoders.fetching import fetch
from captioning.encoders.layouts import pytorch_key
from captioning.encoders.loading import load_encoder
from captioning.encoders.public import TABLE, Checkpoint, find, listing
from captioning.encoders.table import TABLE as ENCODERS
from captioning.encoders.table import build_network, preprocessing_of
from captioning.features.reading import read_features
from captioning.images.preprocessing import parse
from tests.checkpoint_files import zip_checkpoint
from tests.conftest import ROOT, assert_refused, run_script

CONTENT = b"weights" * 1000
SHA256, MD5 = (hashlib.new(name, CONTENT).hexdigest()[:8] for name in ("sha256", "md5"))


@pytest.fixture
def server():
    """Answers by path: status, headers and body, the last one again and again."""
    answers: dict[str, list[tuple[int, dict[str, str], bytes]]] = {}
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            queue = answers.get(self.path, [(404, {}, b"no such file")])
            status, headers, body = queue.pop(0) if len(queue) > 1 else queue[0]
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{running.server_port}"
        yield SimpleNamespace(answers=answers, asked=asked, address=address)
        running.shutdown()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache, no proxy, and no waiting before a second attempt."""
    monkeypatch.setenv("CAPTIONING_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CAPTIONING_OFFLINE", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
    return tmp_path / "cache"


def checkpoint(address: str, digest: str = "") -> Checkpoint:
    return Checkpoint("made_up", "resnet18", "0000.00000", 1, 1.0, f"{address}/w.pth", digest)


def files(folder: Path) -> list[Path]:
    """All files, unfinished ones too."""
    return [path for path in folder.rglob("*") if path.is_file()]


# ---- the table -----------------------------------------------------------------------------------


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.name}-{row.encoder}")
def test_a_row_of_the_table_is_whole(row):
    assert row.address.startswith("https://")
    assert ENCODERS[row.encoder].layout is not None
    assert str(parse(row.preprocessing, preprocessing_of(row.encoder))) == row.preprocessing
    assert re.fullmatch(r"((sha256|md5):[0-9a-f]{8,})?", row.digest)
    assert [(o.name, o.encoder) for o in TABLE].count((row.name, row.encoder)) == 1
    assert find(row.name, row.encoder) is row
    line = next(line for line in listing().splitlines() if row.name in line and row.encoder in line)
    assert row.paper in line and str(row.top1) in line


def test_torchvisions_digests_are_those_in_its_file_names():
    for one in TABLE:
        if one.name == "torchvision":
            assert f"-{one.digest.removeprefix('sha256:')}.pth" in one.file


def test_a_name_of_one_encoder_only_chooses_it():
    assert find("swav", None).encoder == "resnet50"


def test_a_name_of_two_encoders_asks_which():
    with pytest.raises(UserError, match=r"dino: .*resnet50, vit_small; say --encoder"):
        find("dino", None)


def test_a_name_of_another_encoder_is_refused():
    with pytest.raises(UserError, match="swav: is a checkpoint of resnet50, not of vit_small"):
        find("swav", "vit_small")


def test_a_file_of_that_name_goes_first_and_a_folder_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dino").mkdir()
    assert find("dino", "resnet50").name == "dino"
    (tmp_path / "dino").rmdir()
    (tmp_path / "dino").touch()
    assert find("dino", "resnet50") is None


# ---- fetching ------------------------------------------------------------------------------------


@pytest.mark.parametrize("digest", ["", f"sha256:{SHA256}", f"md5:{MD5}"])
def test_a_file_is_fetched_once(server, cache, digest):
    server.answers["/w.pth"] = [(200, {}, CONTENT)]
    path = fetch(checkpoint(server.address, digest))
    assert path == fetch(checkpoint(server.address, digest))
    assert path.read_bytes() == CONTENT
    assert files(cache) == [path]
    assert server.asked == ["/w.pth"]


def test_a_redirect_is_followed(server):
    server.answers["/w.pth"] = [(302, {"Location": "/elsewhere/w.pth"}, b"moved")]
    server.answers["/elsewhere/w.pth"] = [(200, {}, CONTENT)]
    assert fetch(checkpoint(server.address)).read_bytes() == CONTENT


def test_a_broken_transfer_is_begun_anew(server):
    length = {"Content-Length": str(len(CONTENT))}
    server.answers["/w.pth"] = [(200, length, CONTENT[:99]), (200, {}, CONTENT)]
    assert fetch(checkpoint(server.address)).read_bytes() == CONTENT
    assert len(server.asked) == 2


LONGER = {"Content-Length": str(len(CONTENT) + 1)}
BAD = {
    "cut short": ((200, LONGER, CONTENT), "", "broke off"),
    "another sha256": ((200, {}, CONTENT + b"!"), f"sha256:{SHA256}", SHA256),
    "another md5": ((200, {}, CONTENT + b"!"), f"md5:{MD5}", MD5),
    "not there": ((404, {}, b"no such file"), "", "404"),
    "sent to another scheme": ((302, {"Location": "https://127.0.0.1:1/"}, b""), "", "elsewhere"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_answer_leaves_nothing_and_the_message_says_where_to_put_the_file(
    server, cache, what
):
    answer, digest, reason = BAD[what]
    server.answers["/w.pth"] = [answer]
    one = checkpoint(server.address, digest)
    with pytest.raises(UserError, match=f"made_up: .*{reason}.*get {one.address} ") as refused:
        fetch(one)
    assert files(cache) == []
    place = Path(str(refused.value).partition("put it at ")[2])
    place.write_bytes(CONTENT)
    assert fetch(one) == place


def test_a_server_that_is_not_there_is_said(cache, capsys):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        one = checkpoint(f"http://127.0.0.1:{free.getsockname()[1]}")
        with pytest.raises(
            UserError, match=f"no connection.*get {one.address} .*put it at {cache}"
        ):
            fetch(one)
    assert capsys.readouterr().err == ""  # no empty bars


def test_offline_nothing_is_asked_for(server, cache, monkeypatch):
    monkeypatch.setenv("CAPTIONING_OFFLINE", "1")
    with pytest.raises(UserError, match=f"CAPTIONING_OFFLINE is set.*put it at {cache}"):
        fetch(checkpoint(server.address))
    assert server.asked == []


def test_a_file_in_the_cache_that_has_changed_is_refused(server):
    server.answers["/w.pth"] = [(200, {}, CONTENT)]
    one = checkpoint(server.address, f"sha256:{SHA256}")
    path = fetch(one)
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(UserError, match=f"{path}: its digest is not.*delete it"):
        fetch(one)


# ---- from the name to the captioner --------------------------------------------------------------


@pytest.fixture(scope="module")
def resnet18() -> bytes:
    """Random weights as torchvision lays them out."""
    tensors = {}
    for layer in build_network("resnet18").layers:
        for weight in layer.weights:
            array = keras.ops.convert_to_numpy(weight.value)
            array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
            tensors[pytorch_key(layer.name, weight.name)] = np.ascontiguousarray(array)
    return zip_checkpoint(tensors)


@pytest.fixture
def one(server, resnet18, monkeypatch) -> Checkpoint:
    """The only row of the table, which the loopback has."""
    server.answers["/w.pth"] = [(200, {}, resnet18)]
    row = checkpoint(server.address, f"sha256:{hashlib.sha256(resnet18).hexdigest()[:8]}")
    monkeypatch.setattr(public, "TABLE", (row,))
    return row


def trained_on(info: dict):
    words = ["startseq", "endseq", "dog"]
    return decoder_class("merge")(512, words, 8, encoder=info, units=8)


def test_a_name_stands_for_file_address_and_preprocessing(one, resnet18):
    info = load_encoder("resnet18", "made_up").info
    assert info["weights"] == "w.pth"
    assert info["weights_sha256"] == hashlib.sha256(resnet18).hexdigest()
    assert info["weights_name"] == "made_up"
    assert info["weights_address"] == one.address
    assert info["preprocessing"] == "resize(256)|crop(224)|imagenet"


def test_another_preprocessing_may_be_asked_for(one):
    encoder = load_encoder("resnet18", "made_up", preprocessing="squash(96)")
    assert encoder.info["preprocessing"] == "squash(96)|imagenet"


def test_a_captioner_finds_the_weights_in_the_cache(one, server, tmp_path):
    model = trained_on(load_encoder("resnet18", "made_up").info)
    encoder = encoder_of(model, tmp_path / "model.keras")
    assert encoder.info == model.encoder
    assert server.asked == ["/w.pth"]


def test_weights_beside_the_captioner_go_before_a_download(one, server, resnet18, tmp_path):
    (tmp_path / "w.pth").write_bytes(resnet18)
    info = {"encoder": "resnet18", "weights": "w.pth", "weights_name": "made_up",
            "weights_sha256": hashlib.sha256(resnet18).hexdigest()}  # fmt: skip
    encoder_of(trained_on(info), tmp_path / "model.keras")
    assert server.asked == []


@pytest.mark.parametrize("name, asked", [("made_up", ["/w.pth"]), ("unknown", [])])
def test_only_the_name_in_a_strangers_captioner_is_believed(one, server, name, asked, tmp_path):
    address = f"{server.address}/stranger/w.pth"
    info = {"encoder": "resnet18", "weights": "w.pth", "weights_sha256": "ab" * 32,
            "weights_name": name, "weights_address": address}  # fmt: skip
    with pytest.raises(UserError, match="was trained on"):
        encoder_of(trained_on(info), tmp_path / "model.keras")
    assert server.asked == asked


CODE = """
import runpy, sys
from captioning.encoders import public
if sys.argv[2] != "-":
    public.TABLE = (public.Checkpoint("made_up", "resnet18", "0", 1, 1.0, sys.argv[2]),)
sys.argv = sys.argv[1:2] + sys.argv[3:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print("tensorflow" in sys.modules)
"""


def run_stage_1(address: str, *arguments, cwd: Path) -> subprocess.CompletedProcess:
    """Stage 1, with a table of one row if there is an `address`; its last line: TensorFlow?"""
    command = [sys.executable, "-c", CODE, ROOT / "1_data_preprocessor.py", address, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_stage_1_by_name_only(one, dataset, tmp_path):
    result = run_stage_1(
        one.address, "--images", dataset.images, "--captions", dataset.captions, "--limit", 2,
        "--weights", "made_up", "--only", "features", cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    info = read_features(tmp_path / "features.pkl").info
    assert (info["encoder"], info["weights_name"]) == ("resnet18", "made_up")
    assert f"fetching {one.address} into " in result.stdout
    assert "w.pth: 100%" in result.stderr


def test_the_list_needs_no_tensorflow(tmp_path):
    result = run_stage_1("-", "--weights", "list", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{listing()}\nFalse\n"


@pytest.mark.slow
def test_an_unknown_name_is_refused_and_the_known_are_named(tmp_path):
    result = run_script("1_data_preprocessor.py", "--weights", "dinno", cwd=tmp_path)
    assert_refused(result, "dinno: no such file", *(one.name for one in TABLE))

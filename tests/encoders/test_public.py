"""Public checkpoints by name. A server on the loopback stands in for the authors'."""

import hashlib
import http.server
import re
import runpy
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from captioning.captioners.loading import encoder_of
from captioning.cli import UserError
from captioning.decoders.table import decoder_class
from captioning.encoders import public
from captioning.encoders.loading import load_encoder
from captioning.encoders.public import PREPROCESSING, TABLE, Checkpoint, fetch, find, listing
from captioning.encoders.table import TABLE as ENCODERS
from captioning.encoders.table import build_network, preprocessing_of
from captioning.features.reading import read_features
from captioning.images.preprocessing import parse
from tests.checkpoint_files import torchvision_tensors, zip_checkpoint
from tests.conftest import ROOT, run_afresh, succeed

CONTENT = b"weights" * 1000
DIGESTS = [f"{kind}:{hashlib.new(kind, CONTENT).hexdigest()[:8]}" for kind in ("sha256", "md5")]


@pytest.fixture
def server():
    """Answers by path: status, headers and body."""
    answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            status, headers, body = answers.get(self.path, (404, {}, b"no such file"))
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
    """An empty cache, and no proxy."""
    monkeypatch.setenv("CAPTIONING_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CAPTIONING_OFFLINE", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "cache"


def checkpoint(address: str, digest: str = "") -> Checkpoint:
    return Checkpoint("made_up", "resnet18", "0000.00000", "1", "1.0", digest, f"{address}/w.pth")


def files(folder: Path) -> list[Path]:
    """All files, unfinished ones too."""
    return [path for path in folder.rglob("*") if path.is_file()]


# ---- the table -----------------------------------------------------------------------------------


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.name}-{row.encoder}")
def test_a_row_of_the_table_is_whole(row):
    assert row.address.startswith("https://")
    assert ENCODERS[row.encoder].layout is not None
    assert str(parse(PREPROCESSING, preprocessing_of(row.encoder))) == PREPROCESSING
    assert re.fullmatch(r"((sha256|md5):[0-9a-f]{8})?", row.digest)
    assert [(o.name, o.encoder) for o in TABLE].count((row.name, row.encoder)) == 1
    assert find(row.name, row.encoder) is row
    line = next(line for line in listing().splitlines() if row.name in line and row.encoder in line)
    assert row.paper in line and row.top1 in line
    if row.name == "torchvision":
        assert row.file.endswith(f"-{row.digest.removeprefix('sha256:')}.pth")


def test_a_name_of_one_encoder_only_chooses_it():
    assert find("swav", None).encoder == "resnet50"
    with pytest.raises(UserError, match=r"dino: .*resnet50, vit_small; say --encoder"):
        find("dino", None)
    with pytest.raises(UserError, match="swav: is a checkpoint of resnet50, not of vit_small"):
        find("swav", "vit_small")
    with pytest.raises(UserError, match=r"dinno: no such file.* there are moco_v1, .*torchvision"):
        find("dinno", None)


def test_a_file_of_that_name_goes_first_and_a_folder_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dino").mkdir()
    assert find("dino", "resnet50").name == "dino"
    (tmp_path / "dino").rmdir()
    (tmp_path / "dino").touch()
    assert find("dino", "resnet50") is None


# ---- fetching ------------------------------------------------------------------------------------


@pytest.mark.parametrize("digest", ["", *DIGESTS])
def test_a_file_is_fetched_once(server, cache, digest):
    server.answers["/w.pth"] = (200, {}, CONTENT)
    path = fetch(checkpoint(server.address, digest))
    assert path == fetch(checkpoint(server.address, digest))
    assert path.read_bytes() == CONTENT
    assert files(cache) == [path]
    assert server.asked == ["/w.pth"]


BAD = {
    "cut short": ((200, {"Content-Length": "9999"}, CONTENT), "", "Connection broken"),
    "another sha256": ((200, {}, CONTENT + b"!"), DIGESTS[0], "sha256 does not begin with"),
    "another md5": ((200, {}, CONTENT + b"!"), DIGESTS[1], "md5 does not begin with"),
    "not there": ((404, {}, b"no such file"), "", "404"),
}


@pytest.mark.parametrize("kind", BAD)
def test_after_a_bad_answer_the_message_says_where_to_put_the_file(server, cache, kind):
    server.answers["/w.pth"], digest, reason = BAD[kind]
    row = checkpoint(server.address, digest)
    with pytest.raises(UserError, match=f"made_up: {row.address}.*{reason}") as refused:
        fetch(row)
    assert files(cache) == []
    path = Path(str(refused.value).partition("put it at ")[2])
    path.write_bytes(CONTENT)
    assert fetch(row) == path


def test_offline_nothing_is_asked_for(server, cache, monkeypatch):
    server.answers["/w.pth"] = (200, {}, CONTENT)
    path = fetch(checkpoint(server.address))
    monkeypatch.setenv("CAPTIONING_OFFLINE", "1")
    assert fetch(checkpoint(server.address)) == path
    path.unlink()
    with pytest.raises(UserError, match=f"CAPTIONING_OFFLINE is set.*put it at {cache}"):
        fetch(checkpoint(server.address))
    assert server.asked == ["/w.pth"]


# ---- from the name to the captioner --------------------------------------------------------------


@pytest.fixture(scope="module")
def resnet18() -> bytes:
    """Random weights as torchvision lays them out."""
    return zip_checkpoint(torchvision_tensors(build_network("resnet18")))


@pytest.fixture
def one(server, resnet18, monkeypatch) -> Checkpoint:
    """The only row of the table, which the loopback has."""
    server.answers["/w.pth"] = (200, {}, resnet18)
    row = checkpoint(server.address)
    monkeypatch.setattr(public, "TABLE", (row,))
    return row


RECORD = {"encoder": "resnet18", "weights": "w.pth", "weights_sha256": "ab" * 32}


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


def test_a_captioner_finds_the_weights_in_the_cache(one, server, tmp_path):
    model = trained_on(load_encoder("resnet18", "made_up").info)
    encoder = encoder_of(model, tmp_path / "model.keras")
    assert encoder.info == model.encoder
    assert server.asked == ["/w.pth"]


def test_weights_beside_the_captioner_go_before_a_download(one, server, resnet18, tmp_path):
    (tmp_path / "w.pth").write_bytes(resnet18)
    info = RECORD | {"weights_name": "made_up"}
    info["weights_sha256"] = hashlib.sha256(resnet18).hexdigest()
    encoder_of(trained_on(info), tmp_path / "model.keras")
    assert server.asked == []


@pytest.mark.parametrize("name, asked", [("made_up", ["/w.pth"]), ("unknown", [])])
def test_only_the_name_in_a_strangers_captioner_is_believed(one, server, name, asked, tmp_path):
    address = f"{server.address}/stranger/w.pth"
    info = RECORD | {"weights_name": name, "weights_address": address}
    with pytest.raises(UserError, match="was trained on"):
        encoder_of(trained_on(info), tmp_path / "model.keras")
    assert server.asked == asked


def test_stage_1_by_name_only(one, dataset, tmp_path, call_main, capsys):
    main = runpy.run_path(str(ROOT / "1_data_preprocessor.py"))["main"]
    output = tmp_path / "features.pkl"
    chosen = ("--weights", "made_up", "--only", "features", "--limit", 2, "--features", output)

    call_main(main, *dataset.files, *chosen, "--batch-size", 2)

    printed = capsys.readouterr()
    assert f"fetching {one.address}" in printed.out
    assert "100%" in printed.err
    info = read_features(output).info
    assert (info["encoder"], info["weights_name"]) == ("resnet18", "made_up")


def test_the_list_needs_no_tensorflow():
    command = ("-X", "importtime", "1_data_preprocessor.py", "--weights", "list")
    result = run_afresh(*command, cwd=ROOT)
    assert succeed(result) == f"{listing()}\n"
    assert not re.search(r"\| +(tensorflow|keras)$", result.stderr, re.MULTILINE)

"""Flickr8k by one command. A server on the loopback stands in for the release."""

import functools
import http.server
import os
import shutil
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from captioning.cli import UserError
from tests.conftest import ROOT, assert_refused, kill_when, make_zip, run_script, start, succeed
from tools import fetch_flickr8k

SCRIPT = "tools/fetch_flickr8k.py"
NAMES = [f"{number}_ab.jpg" for number in range(4)]
CAPTIONED = [*NAMES, "none.jpg.1"]  # the real ones, too, are of one that is not there
PICTURES = {name: os.urandom(3000) for name in NAMES}
TEXTS = {
    "Flickr8k.token.txt": "".join(f"{name}#0\tA dog .\n{name}#1\tRuns .\n" for name in CAPTIONED),
    "Flickr_8k.trainImages.txt": "0_ab.jpg\n1_ab.jpg\n",
    "Flickr_8k.devImages.txt": "2_ab.jpg\n",
    "Flickr_8k.testImages.txt": "3_ab.jpg\n",
    "readme.txt": "see the paper",
}
MAC = {"__MACOSX/._readme.txt": b"junk", "__MACOSX/Flicker8k_Dataset/._0_ab.jpg": b"junk"}
LAYOUT = {
    **{f"Flicker8k_Dataset/{name}": content for name, content in PICTURES.items()},
    **{f"Flickr8k_text/{name}": text.encode() for name, text in TEXTS.items()},
}


def text_zip(path: Path, folder: str = "") -> None:
    files = {folder + name: text.encode() for name, text in TEXTS.items()}
    make_zip(path, ({folder: b""} if folder else {}) | files | MAC)


def image_zip(path: Path) -> None:
    folder = "Flicker8k_Dataset/"
    files = {folder + name: content for name, content in PICTURES.items()}
    make_zip(path, {folder: b"", folder + ".DS_Store": b"junk"} | files | MAC)


@pytest.fixture
def release(tmp_path, monkeypatch):
    """The zips in a folder that a server serves; `cut` of them go out in half."""
    folder = tmp_path / "release"
    folder.mkdir()
    text_zip(folder / "Flickr8k_text.zip")
    image_zip(folder / "Flickr8k_Dataset.zip")
    served = SimpleNamespace(folder=folder, asked=[], cut=set(), hold=threading.Event())

    class Handler(http.server.SimpleHTTPRequestHandler):
        def copyfile(self, source, outputfile):
            name = Path(self.path).name
            served.asked.append(name)
            outputfile.write(source.read(4000 if name in served.cut else -1))
            if name in served.cut:
                served.hold.wait(60)

        def log_message(self, *_):
            pass

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    handler = functools.partial(Handler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, args=[0.01], daemon=True).start()
        served.address = f"http://127.0.0.1:{running.server_port}"
        served.hold.set()
        yield served
        served.hold.set()
        running.shutdown()


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "data" / "flickr8k"


@pytest.fixture
def given(release, target) -> tuple:
    """The command's arguments."""
    return "--folder", target, "--base-url", release.address


@pytest.fixture
def fetch(given, call_main):
    """Runs the command in this process."""
    return lambda: call_main(fetch_flickr8k.main, *given)


def files(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def assert_whole(target: Path) -> None:
    """All is there, nothing else, and nothing lies beside it."""
    assert files(target) == LAYOUT
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_the_command_lays_out_what_the_scripts_expect_and_then_leaves_it(
    given, fetch, release, target, capsys
):
    result = run_script(SCRIPT, *given, cwd=ROOT, NO_PROXY="127.0.0.1")
    notice, last = succeed(result).split("fetching ", 1)
    assert "1.1 GB" in notice and "2.2 GB" in notice and "research and education only" in notice
    assert f"{target}: 4 images" in last
    assert last.endswith("&& python 1_data_preprocessor.py\n")
    assert_whole(target)
    assert sorted(release.asked) == ["Flickr8k_Dataset.zip", "Flickr8k_text.zip"]

    fetch()

    assert capsys.readouterr().out.startswith(f"{target} exists already, with 4 images")
    assert_whole(target)
    assert len(release.asked) == 2


def test_texts_may_lie_in_a_folder_of_the_zip(fetch, release, target):
    text_zip(release.folder / "Flickr8k_text.zip", "Flickr8k_text/")
    fetch()
    assert_whole(target)


# ---- runs that end early -------------------------------------------------------------------------


def test_what_a_kill_leaves_is_not_taken_for_whole_and_the_next_run_succeeds(
    given, fetch, release, target
):
    release.cut, work = {"Flickr8k_Dataset.zip"}, target.with_name("flickr8k.unfinished")
    release.hold.clear()
    process = start(SCRIPT, *given, cwd=ROOT)
    kill_when(process, lambda: "Flickr8k_Dataset.zip" in release.asked)
    release.hold.set()
    assert not target.exists()
    assert not (work / "Flickr8k_Dataset.zip").exists()
    assert list(work.glob("tmp*"))

    release.cut = set()
    fetch()

    assert_whole(target)
    assert release.asked.count("Flickr8k_text.zip") == 1


def test_a_connection_that_is_cut_is_said_and_the_next_run_succeeds(fetch, release, target):
    release.cut = {"Flickr8k_Dataset.zip"}
    with pytest.raises(UserError, match=r"Dataset\.zip: could not be fetched"):
        fetch()
    assert not target.exists()
    assert not list(target.parent.rglob("*Dataset.zip"))
    assert not list(target.parent.rglob("tmp*"))

    release.cut = set()
    fetch()

    assert_whole(target)


def test_a_run_that_ends_while_it_unpacks_leaves_nothing_under_the_name(fetch, target, monkeypatch):
    def ends(source, file):
        file.write(source.read(10))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, "copyfileobj", ends)
        fetch()
    assert not target.exists()

    fetch()

    assert_whole(target)


def test_zips_from_elsewhere_are_taken_where_the_message_says(fetch, release, target):
    away = release.folder.rename(release.folder.with_name("away"))
    for name in ("Flickr8k_text.zip", "Flickr8k_Dataset.zip"):
        with pytest.raises(UserError, match=f"{name}: could not be fetched.*404") as refused:
            fetch()
        shutil.copy(away / name, str(refused.value).partition("put it at ")[2])
    fetch()
    assert_whole(target)


# ---- bad zips, servers and disks -----------------------------------------------------------------


OUTSIDE = ["../evil.txt", "Flickr8k_text/../../evil.txt", "/evil.txt", "..\\evil.txt", "C:evil.txt"]


def test_no_member_leads_out_of_the_folder(fetch, release, target):
    with zipfile.ZipFile(release.folder / "Flickr8k_text.zip", "a") as archive:
        for member in OUTSIDE:
            archive.writestr(member, "evil")
    fetch()
    assert files(target).keys() == {*LAYOUT, "Flickr8k_text/evil.txt"}
    assert [path.name for path in target.parent.iterdir()] == [target.name]


DAMAGE = {
    "a page": lambda _: b"<html>Please log in</html>",
    "cut short": lambda content: content[: len(content) // 2],
    "a picture": lambda content: content.replace(PICTURES["2_ab.jpg"][:40], b"!" * 40),
    "empty": lambda _: b"",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_zip_is_told_and_fetched_anew(fetch, release, target, damage):
    path = release.folder / "Flickr8k_Dataset.zip"
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    with pytest.raises(UserError, match=r"Dataset.zip: could not be unpacked.*and is removed"):
        fetch()
    assert not target.exists()

    image_zip(path)
    fetch()

    assert_whole(target)


def test_a_release_that_lacks_images_is_not_laid_out(fetch, release, target):
    folder = "Flicker8k_Dataset/"
    make_zip(release.folder / "Flickr8k_Dataset.zip", {f"{folder}0_ab.jpg": b"x"})
    with pytest.raises(UserError, match=r"not the whole of Flickr8k \(Flicker8k_Dataset/1_ab.jpg"):
        fetch()
    assert list(target.parent.iterdir()) == []


# ---- what is there already -----------------------------------------------------------------------


def test_something_else_of_that_name_is_refused_and_left(given, release, target):
    target.mkdir(parents=True)
    (target / "notes.txt").write_text("mine")
    result = run_script(SCRIPT, *given, cwd=ROOT)
    assert_refused(result, f"{target}: is there, but is not the whole of Flickr8k", "move it away")
    assert files(target) == {"notes.txt": b"mine"}
    assert release.asked == []

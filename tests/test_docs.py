"""What the documents name exists: scripts, modules, options, paths; and their examples run."""

import importlib
import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from captioning.datasets.reading import READERS
from captioning.decoders.table import TABLE as DECODERS
from captioning.encoders.table import TABLE as ENCODERS
from captioning.evaluation.metrics import METRICS
from contrastive.presets import TABLE as METHODS
from tests.conftest import ROOT

PAGES = [
    ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / folder / "README.md" for folder in ("Pre-trained", "data")),
]  # fmt: skip
PACKAGES = ("captioning", "contrastive", "jigsaw", "benchmarks")
FOLDERS = (*PACKAGES, "docs", "examples", "tests", "Pre-trained")
ON_EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language, also those that are indented in a list."""
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)


def commands(block: str) -> Iterator[list[str]]:
    """The words of every command of a shell block, with the block's own variables put in."""
    known: dict[str, str] = {}
    for line in block.replace("\\\n", " ").splitlines():
        line = re.sub(r"\$\{?(\w+)\}?", lambda found: known.get(found[1], found[0]), line)
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            assigned = re.fullmatch(r"([A-Z_]+)=(.*)", word)
            if set(word) <= set(";&|"):
                if words:
                    yield words
                words = []
            elif assigned and not words:
                known[assigned[1]] = assigned[2]
            elif words or word not in ("do", "export"):
                words.append(word)


def named_in(page: Path) -> Iterator[tuple[str, list[str]]]:
    """(script or module, its options) of every Python command on a page."""
    text = page.read_text(encoding="utf-8")
    inline = re.findall(r"`(\.?[\w/.]*python [^`]+)`", text)
    for block in [*blocks(text, "sh"), *(one.replace("\n", " ") for one in inline)]:
        for program, *words in commands(block):
            if Path(program).name != "python" or words[:1] == ["-c"]:
                continue
            name = words[1] if words[0] == "-m" else words[0]
            if not name.startswith("$"):
                yield name, [one.partition("=")[0] for one in words if one.startswith("--")]


def file_of(name: str) -> Path:
    """The file that a script's path or a module's name stands for."""
    return ROOT / (name if name.endswith(".py") else name.replace(".", "/") + ".py")


@cache
def options_of(name: str) -> set[str]:
    """Every option that a script's help explains."""
    how = [str(file_of(name))] if name.endswith(".py") else ["-m", name]
    found = subprocess.run(
        [sys.executable, *how, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = re.findall(r"^  (-.*?)(?:  |$)", found.stdout, re.MULTILINE)
    return {option for line in lines for option in re.findall(r"--[a-z][\w-]*", line)}


@ON_EVERY_PAGE
def test_commands_name_scripts_and_options_that_exist(page):
    wrong = []
    for name, options in named_in(page):
        if not name.endswith(".py") and name.partition(".")[0] not in PACKAGES:
            if importlib.util.find_spec(name) is None:
                wrong.append(name)
        elif not file_of(name).is_file():
            wrong.append(name)
        elif options:
            wrong += [f"{name} {one}" for one in options if one not in options_of(name)]
    assert wrong == []


@ON_EVERY_PAGE
def test_links_and_paths_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    links = [one for one in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) if "://" not in one]
    missing = [one for one in links if not (page.parent / one).exists()]
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    for name in re.findall(r"`([^`\s]+)`", prose):
        inside = name.partition("/")[0] in FOLDERS and "/" in name
        if (inside or name.endswith((".py", ".md"))) and not exists(name):
            missing.append(name)
    assert missing == []


def exists(name: str) -> bool:
    """Whether a path, or a pattern of paths, is there from the root, or a bare name anywhere."""
    if "/" not in name:
        return any(ROOT.glob(name)) or any(any((ROOT / one).rglob(name)) for one in FOLDERS)
    return any(ROOT.glob(name.rstrip("/")))


@ON_EVERY_PAGE
def test_anchors_of_links_are_headings(page):
    text = page.read_text(encoding="utf-8")
    for file, anchor in re.findall(r"\]\(([^)#\s:]*)#([^)\s]+)\)", text):
        target = (page.parent / file if file else page).read_text(encoding="utf-8")
        headings = re.findall(r"^#+ (.+)$", target, re.MULTILINE)
        assert anchor in [
            re.sub(r"[^\w\- ]", "", one).lower().replace(" ", "-") for one in headings
        ]


def test_commands_of_make_are_targets():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {one for page in PAGES for one in re.findall(r"`make (\w+)`", page.read_text())}
    named |= set(re.findall(r"^make (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert named
    assert named <= targets


def test_the_readme_is_read_in_five_minutes():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 160
    assert [one for one in lines if len(one) > 110 and "](" not in one] == []


def test_the_page_on_adding_parts_names_the_tables():
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    for name, path in re.findall(r"`(\w+)` in `([\w/]+\.py)`", text):
        assert re.search(rf"^{name}\b", (ROOT / path).read_text(), re.MULTILINE), path


EXTENDING = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
EXAMPLES = {
    section.partition("\n")[0]: parts
    for section in re.split(r"^## ", EXTENDING, flags=re.MULTILINE)
    if (parts := blocks(section, "python"))
}


@pytest.fixture
def tables():
    """What an example adds to a table is gone after it."""
    before = [(table, dict(table)) for table in (ENCODERS, DECODERS, READERS, METRICS, METHODS)]
    yield
    for table, entries in before:
        table.clear()
        table.update(entries)


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize("part", EXAMPLES)
def test_examples_run_and_print_what_they_say(part, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))  # without Java, whose start takes seconds
    monkeypatch.syspath_prepend(tmp_path)
    code = "\n".join(EXAMPLES[part])
    name = "example_of_" + part.lower().replace(" ", "_")
    (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")

    try:
        importlib.import_module(name)
    finally:
        sys.modules.pop(name, None)

    assert capsys.readouterr().out.splitlines() == re.findall(
        r"^ *print\(.*\)  # (.+)$", code, re.M
    )


@pytest.mark.parametrize("part", EXAMPLES)
def test_examples_are_short_and_print_something(part):
    for block in EXAMPLES[part]:
        assert len([line for line in block.splitlines() if line.strip()]) < 30
    assert "print(" in EXAMPLES[part][-1]

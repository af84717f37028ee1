"""What the documents name exists: scripts, modules, options, paths; examples and help texts run."""

import importlib
import importlib.util
import re
import shlex
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
from tests.conftest import ROOT, run_afresh, succeed

PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(ROOT.glob("docs/*.md")),
    *(ROOT / folder / "README.md" for folder in ("Pre-trained", "data", "examples", "benchmarks")),
]
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


HELP = """
import os, runpy, sys
name = sys.argv[1]
sys.argv = [name, "--help"]
sys.path.insert(1, os.path.dirname(name))  # as Python has it for a script
run = runpy.run_path if name.endswith(".py") else runpy.run_module
try:
    run(name, run_name="__main__")
except SystemExit as end:
    assert end.code in (0, None)
print("imported:", {"tensorflow", "keras", "jax", "matplotlib"} & set(sys.modules))
"""
PROGRAMS = ("*.py", "jigsaw/[Jj]igsaw_*.py", "*/main.py", "jigsaw/to_hdf5.py", "jigsaw/max*.py")
PROGRAMS += ("tools/[!_]*.py",)
SCRIPTS = sorted(str(path.relative_to(ROOT)) for one in PROGRAMS for path in ROOT.glob(one))


@cache
def help_of(name: str) -> str:
    """What a script or module prints of itself, and what it has imported for that."""
    return succeed(run_afresh("-c", HELP, name, cwd=ROOT))


def options_of(name: str) -> set[str]:
    """Every option that a script's help explains."""
    lines = re.findall(r"^  (-.*?)(?:  |$)", help_of(name), re.MULTILINE)
    return {option for line in lines for option in re.findall(r"--[a-z][\w-]*", line)}


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_comes_at_once_as_it_imports_nothing_heavy(script):
    assert "usage:" in help_of(script)
    assert help_of(script).endswith("imported: set()\n")


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
        anchors = [re.sub(r"[^\w\- ]", "", one).lower().replace(" ", "-") for one in headings]
        assert anchor in anchors


def test_commands_of_make_are_targets():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {one for page in PAGES for one in re.findall(r"`make (\w+)`", page.read_text())}
    named |= set(re.findall(r"^make (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert named
    assert named <= targets


def test_the_page_on_adding_parts_names_the_tables():
    for name, path in re.findall(r"`(\w+)` in `([\w/]+\.py)`", EXTENDING):
        assert re.search(rf"^{name}\b", (ROOT / path).read_text(), re.MULTILINE), path


EXTENDING = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
EXAMPLES = {
    section.partition("\n")[0]: parts
    for section in re.split(r"^## ", EXTENDING, flags=re.MULTILINE)
    if (parts := blocks(section, "python"))
}


@pytest.mark.parametrize("part", EXAMPLES)
def test_examples_run_and_print_what_they_say(part, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))  # without Java, whose start takes seconds
    monkeypatch.syspath_prepend(tmp_path)
    code = "\n".join(EXAMPLES[part])
    name = "example_of_" + part.lower().replace(" ", "_")
    (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
    before = [(table, dict(table)) for table in (ENCODERS, DECODERS, READERS, METRICS, METHODS)]

    try:
        importlib.import_module(name)
    finally:  # what an example adds to a table is gone after it
        sys.modules.pop(name, None)
        for table, entries in before:
            table.clear()
            table.update(entries)

    promised = re.findall(r"^ *print\(.*\)  # (.+)$", code, re.MULTILINE)
    assert promised
    assert capsys.readouterr().out.splitlines() == promised

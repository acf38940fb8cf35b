"""The schema in an editor: the real yaml-language-server completes, explains and checks all of the description."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from flowgres_cli.definitions import find_files
from flowgres_cli.main import cli
from flowgres_definitions.description import description
from flowgres_definitions.reference import reference
from tests.support.editor import Editor
from tests.support.language import CURSOR, KeyPlace, WordPlace, dump, places, show

Json = Any

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PLACES = list(places())
KEY_PLACES = [place for place in PLACES if isinstance(place, KeyPlace)]
WORD_PLACES = [place for place in PLACES if isinstance(place, WordPlace)]
FOREIGN = set((ROOT / "examples").glob("*/workflow.json"))
PROPERTY, VALUE, MODULE = 10, 12, 9
"""Kinds of what is offered; the whole of an object that has to be there is another."""
WRONG_WORD, WRONG_KEY = "no_such_word", "no_such_key"


(FIRST_LINE,) = re.findall(r"`(# yaml-language-server: [^`]+)`", README)
(SETTINGS,) = re.findall(r"^```json\n([^`]*yaml\.schemas.*?)^```$", README, re.MULTILINE | re.DOTALL)


def written(folder: Path) -> Path:
    """The schema in a file, as the README has it."""
    answer = CliRunner().invoke(cli, ["schema"])
    assert answer.exit_code == 0
    (folder / "flowgres.schema.json").write_text(answer.output)
    return folder


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Editor]:
    with Editor(written(tmp_path_factory.mktemp("editor"))) as editor:
        yield editor


def open_(editor: Editor, name: str, document: Json, *, instead: str = "") -> tuple[str, int, int]:
    """Open a document with the README's first line; where its cursor is."""
    text, line, column = show(document, instead=instead)
    editor.write(name, f"{FIRST_LINE}\n{text}")
    return name, line + 1, column


def offered(editor: Editor, document: Json) -> tuple[Counter[str], dict[str, set[str]]]:
    """What an editor offers where the cursor is: how often, and with which words about it."""
    items = editor.complete(*open_(editor, "completed.yaml", document))
    items = [item for item in items if item["kind"] in (PROPERTY, VALUE, MODULE)]
    told: dict[str, set[str]] = {}
    for item in items:
        about = item.get("documentation") or ""
        told.setdefault(item["label"], set()).add(about["value"] if isinstance(about, dict) else about)
    return Counter(item["label"] for item in items), told


def test_every_page_has_authors_write_the_same_line() -> None:
    told = CliRunner().invoke(cli, ["schema", "--help"]).output
    assert FIRST_LINE in " ".join(told.split())
    assert FIRST_LINE in reference()


def test_walk_reaches_every_key_and_word_of_the_description() -> None:
    keys = {name for place in KEY_PLACES for name in place.keys}
    words = {word for place in WORD_PLACES for word in place.words}
    known_keys, known_words = known()
    assert keys == known_keys
    assert words == known_words


def known() -> tuple[set[str], set[str]]:
    """All keys and words of the description, wherever they stand in it, but for what is never right."""
    keys, words = set[str](), {"true", "false"}
    aside = ("changes", "reserved")
    todo: list[Json] = [{**description(), "$defs": {k: v for k, v in description()["$defs"].items() if k not in aside}}]
    while todo:
        schema = todo.pop()
        if isinstance(schema, list):
            todo.extend(schema)
        elif isinstance(schema, dict):
            for name, of in schema["properties"].items() if isinstance(schema.get("properties"), dict) else ():
                keys |= {name} if isinstance(of, dict) and "doNotSuggest" not in of else set()
            words |= set(schema.get("enum", ())) if isinstance(schema.get("enum"), list) else set()
            todo.extend(part for key, part in schema.items() if key not in ("not", "if", "examples", "default"))
    return keys, words


def test_no_word_is_offered_that_is_refused() -> None:
    refused = [
        (str(place), word)
        for place in WORD_PLACES
        for word in place.words
        if place.refuses(word == "true" if place.words.keys() == {"true", "false"} else word)
    ]
    assert refused == []


def test_every_key_is_offered_once_with_what_it_is_for_and_no_other(editor: Editor) -> None:
    misfits: dict[str, Json] = {}
    for place in KEY_PLACES:
        counts, told = offered(editor, place.document(**{CURSOR: None}))
        silent = [name for name, about in place.keys.items() if not about or told.get(name) != {about}]
        others = counts.keys() - place.keys.keys() - place.also
        doubles = [name for name, count in counts.items() if count > 1]
        if silent or others or doubles or counts.keys() & place.hidden:
            misfits[str(place)] = silent, others, doubles
    assert misfits == {}


def test_every_word_is_offered_once_with_what_it_means_and_no_other(editor: Editor) -> None:
    misfits: dict[str, Json] = {}
    for place in WORD_PLACES:
        counts, told = offered(editor, place.build(CURSOR))
        is_boolean = place.words.keys() == {"true", "false"}  # of these the server says nothing: the key does
        silent = [
            word for word, about in place.words.items() if not is_boolean and (not about or told.get(word) != {about})
        ]
        if silent or counts != Counter(dict.fromkeys(place.words, 1)):
            misfits[str(place)] = silent, counts
    assert misfits == {}


def test_every_key_is_explained_where_the_mouse_is(editor: Editor) -> None:
    misfits: dict[str, str] = {}
    for place in KEY_PLACES:
        for name, about in place.keys.items():
            for value in (place.samples[name], "{{ input.some_name }}"):
                member = f"{name}: {json.dumps(value)}"
                told = editor.hover(*open_(editor, "hovered.yaml", place.document(**{CURSOR: None}), instead=member))
                if plain(about) not in plain(told):
                    misfits[f"{place}.{member}"] = told
    assert misfits == {}


def plain(text: str) -> str:
    """A text without what Markdown puts before characters that mean something to it."""
    return re.sub(r"\\|&nbsp;|\s", "", text)


def test_wrong_key_is_marked_where_it_stands(editor: Editor) -> None:
    closed = [place for place in KEY_PLACES if place.is_closed]
    assert len(closed) > 40
    assert unmarked(editor, {str(at): at.document(**{CURSOR: None}) for at in closed}, instead=f"{WRONG_KEY}: 1") == {}


def test_wrong_word_is_marked_where_it_stands(editor: Editor) -> None:
    wrong = {str(at): at.build(CURSOR) for at in WORD_PLACES if at.refuses(WRONG_WORD)}
    open_words = {at.path[-1] for at in WORD_PLACES if not at.refuses(WRONG_WORD)}
    assert open_words == {"type"}, "those of packages are not known here"
    assert unmarked(editor, wrong, instead=WRONG_WORD) == {}


def unmarked(editor: Editor, documents: dict[str, Json], *, instead: str) -> dict[str, list[str]]:
    """Documents with something wrong at the cursor that nothing is told of there, and what is told of others."""
    lines = {title: open_(editor, f"{n}.yaml", of, instead=instead) for n, (title, of) in enumerate(documents.items())}
    found = {title: (line, editor.problems(name)) for title, (name, line, _) in lines.items()}
    return {
        title: [problem["message"] for problem in problems]
        for title, (line, problems) in found.items()
        if all(problem["range"]["start"]["line"] != line for problem in problems)
    }


def test_key_that_is_needed_and_missing_is_named(editor: Editor) -> None:
    needing = [(place, name) for place in KEY_PLACES for name in place.needed]
    assert len(needing) > 30
    files = {}
    for number, (place, name) in enumerate(needing):
        # Another key than that, so that it is an object.
        other = next((key for key in place.keys if key != name), None)
        document = place.document(**({} if other is None else {other: None}))
        files[f"needing{number}.yaml"] = f"{place} {name}", name
        editor.write(f"needing{number}.yaml", f"{FIRST_LINE}\n{dump(document)}")
    told = {title: (name, [one["message"] for one in editor.problems(file)]) for file, (title, name) in files.items()}
    assert {title: said for title, (name, said) in told.items() if f'Missing property "{name}".' not in said} == {}


def test_examples_have_no_marks(tmp_path: Path) -> None:
    # These are in the words of other systems, which POST /workflows and `flowgres import` read.
    files = [file for file in find_files((str(ROOT / "examples"),)).files if Path(file) not in FOREIGN]
    assert len(files) > 40
    with Editor(written(tmp_path), settings=json.loads(SETTINGS)) as editor:
        names = {file: f"workflows/{number}{Path(file).suffix}" for number, file in enumerate(files)}
        for file, name in names.items():
            editor.write(name, Path(file).read_text())
        editor.write("workflows/wrong.yaml", f"{WRONG_KEY}: 1\n")
        assert {file: found for file, name in names.items() if (found := editor.problems(name))} == {}
        assert len(editor.problems("workflows/wrong.yaml")) > 2, "the settings are in force"

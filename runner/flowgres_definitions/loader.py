"""Read the text of a definition: strict YAML, or JSON, into a plain document with positions.

YAML is PyYAML's parser without its constructor: the events are turned into JSON values by the core rules of YAML 1.2
(`on` and `12:30` are text, `010` is 10). Duplicate keys, anchors, aliases, merge keys, tags, several documents, keys
that are no texts and everything that JSON cannot hold are errors. Limits are checked before the work that they limit.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, Literal, NoReturn

import yaml

from .document import DocumentBuilder, Loaded, Mark
from .language import MAX_DEPTH, MAX_TEXT_BYTES
from .problems import DefinitionError, Json, Problem
from .strict_json import JsonError, check_syntax

# libyaml where the wheel has it: the Python parser needs twenty seconds for a megabyte.
_PARSER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_NULL = re.compile(r"(?:null|Null|NULL|~|)")
_BOOLEAN = re.compile(r"(?:true|True|TRUE|false|False|FALSE)")
_INTEGER = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?(?:\.inf|\.Inf|\.INF)|\.nan|\.NaN|\.NAN")

_BRACES = re.compile(r"[ ]*+(?:-[ ]++)*+(?:[\w-]++:[ ]++)?+(\{[{%])")
_UNQUOTED = ("expression_unquoted", "an expression stands in quotes in YAML, where a brace begins a mapping")
_QUOTE_IT = 'quote it: "{{ ... }}"'

# Possessive, and an open quote matches to the end: no text makes these patterns go over it twice.
_JSON_TOKEN = re.compile(r'\s*+(?:([{}\[\]:,])|("(?:[^"\\]++|\\.)*+")|([^\s{}\[\]:,"]++))', re.DOTALL)
_JSON_BRACKET = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


def load_definition(text: str | bytes, *, source: str = "", format: Literal["yaml", "json"] | None = None) -> Loaded:
    """Read YAML or JSON. `source` names the text in errors; JSON is told by `format`, else by `.json`, else tried.

    Raises DefinitionError, and nothing else, for any input.
    """
    readable = decode(text, source)
    if format is None and source.endswith(".json"):
        format = "json"
    if format is None and readable.lstrip()[:1] == "{":
        try:
            return load_json(readable, source=source)
        except DefinitionError as error:
            if error.code != "json_syntax":  # a flow mapping of YAML begins like JSON
                raise
    return load_json(readable, source=source) if format == "json" else load_yaml(readable, source=source)


def decode(text: str | bytes, source: str = "") -> str:
    """UTF-8 text without a byte order mark, within the size limit. Raises DefinitionError."""
    if len(text) > MAX_TEXT_BYTES:
        _fail(source, "definition_too_large", f"a definition has at most {MAX_TEXT_BYTES:,} bytes")
    if isinstance(text, bytes):
        try:
            text = text.decode()
        except UnicodeDecodeError as error:
            before = error.object[: error.start].decode(errors="replace")
            mark = (before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)
            _fail(source, "invalid_encoding", "a definition is UTF-8 text", mark, "save the file as UTF-8")
    elif not text.isascii():
        try:
            size = len(text.encode())
        except UnicodeEncodeError as error:
            mark = (text.count("\n", 0, error.start) + 1, error.start - text.rfind("\n", 0, error.start))
            _fail(source, "invalid_character", "a text holds half of a surrogate pair", mark)
        if size > MAX_TEXT_BYTES:
            _fail(source, "definition_too_large", f"a definition has at most {MAX_TEXT_BYTES:,} bytes")
    return text.removeprefix("\ufeff")


def load_yaml(text: str | bytes, *, source: str = "") -> Loaded:
    """Read strict YAML. Raises DefinitionError."""
    readable = decode(text, source)
    builder = DocumentBuilder(source)
    documents = 0
    event: Any
    try:
        for event in yaml.parse(readable, Loader=_PARSER):
            mark = (event.start_mark.line + 1, event.start_mark.column + 1)
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise builder.fail(
                        "multiple_documents", "a file holds one definition", mark, "split the file at `---`"
                    )
            elif isinstance(event, yaml.NodeEvent):
                if isinstance(event, yaml.MappingStartEvent) and builder.expects_key:
                    _refuse_unquoted(builder, readable, mark)
                _add_yaml_node(builder, event, mark)
            elif isinstance(event, yaml.CollectionEndEvent):
                builder.end()
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark or error.context_mark
        mark = (1, 1) if at is None else (at.line + 1, at.column + 1)
        context = f" {error.context}" if error.context else ""
        message = f"not valid YAML:{context} {error.problem or ''}".rstrip()[:300]
        _refuse_unquoted_before(builder, readable, error.problem_mark, error.context_mark)
        hint = "indent with spaces" if "\t" in readable and "token" in message else ""
        _fail(source, "yaml_syntax", message, mark, hint)
    except yaml.YAMLError as error:  # the reader's errors carry an offset into the text
        offset = min(int(getattr(error, "position", 0) or 0), len(readable))
        mark = (readable.count("\n", 0, offset) + 1, offset - readable.rfind("\n", 0, offset))
        _fail(source, "yaml_syntax", "not valid YAML: a character is not allowed", mark)
    return builder.finish()


def _refuse_unquoted(builder: DocumentBuilder, text: str, mark: Mark) -> None:
    """A mapping begins where a key should: braces that were meant as an expression, or a true mistake."""
    line = text.splitlines()[mark[0] - 1]
    if line[mark[1] - 2 : mark[1]] == "{{" and "}}" in line[mark[1] :]:
        raise builder.fail(*_UNQUOTED, (mark[0], mark[1] - 1), _QUOTE_IT)


def _refuse_unquoted_before(builder: DocumentBuilder, text: str, *marks: Any) -> None:
    """The same where what follows the braces broke the syntax before they could be looked at."""
    lines = text.splitlines()
    for number in {mark.line for mark in marks if mark is not None and mark.line < len(lines)}:
        if (found := _BRACES.match(lines[number])) is not None:
            raise builder.fail(*_UNQUOTED, (number + 1, found.start(1) + 1), _QUOTE_IT)


def _add_yaml_node(builder: DocumentBuilder, event: Any, mark: Mark) -> None:
    if isinstance(event, yaml.AliasEvent):
        raise builder.fail("yaml_alias", "aliases (*name) are not allowed", mark, "write the value out")
    if event.anchor is not None:
        raise builder.fail("yaml_anchor", "anchors (&name) are not allowed", mark, "remove it; nothing can refer to it")
    if event.tag is not None:
        raise builder.fail("yaml_tag", f"tags ({event.tag[:60]}) are not allowed", mark, "write a plain value")
    if isinstance(event, yaml.MappingStartEvent):
        builder.begin({}, mark)
    elif isinstance(event, yaml.SequenceStartEvent):
        builder.begin([], mark)
    else:
        plain = event.style is None or event.style == ""
        value = _resolve(builder, event.value, mark) if plain else event.value
        if not builder.expects_key:
            builder.add_value(value, mark)
        elif plain and value == "<<":
            raise builder.fail("yaml_merge", "merge keys (<<) are not allowed", mark, "write the keys out")
        else:
            builder.add_key(value, mark)


def _resolve(builder: DocumentBuilder, text: str, mark: Mark) -> Json:
    """The value of an unquoted scalar by the core schema of YAML 1.2."""
    if _NULL.fullmatch(text):
        return None
    if _BOOLEAN.fullmatch(text):
        return text[0] in "tT"
    if text[0] not in "+-.0123456789":
        return text
    if _INTEGER.fullmatch(text):
        return builder.number(text, 10, mark)
    if _BASED.fullmatch(text):
        return builder.number(text, 8 if text[1] == "o" else 16, mark)
    if _FLOAT.fullmatch(text):
        return builder.number(text, 0, mark)
    if _NOT_FINITE.fullmatch(text):
        raise builder.fail("number_invalid", "the number is not finite", mark, "quote it if it is text")
    return text


def load_json(text: str | bytes, *, source: str = "") -> Loaded:
    """Read strict JSON. Raises DefinitionError."""
    readable = decode(text, source)
    _check_json_depth(readable, source)
    try:
        check_syntax(readable)  # numbers are made below, where their length is checked
    except JsonError as error:
        message = f"not valid JSON: {error.message}" if error.code == "json_syntax" else error.message
        _fail(source, error.code, message, (error.line, error.column))
    return _build_json(readable, source)


def _check_json_depth(text: str, source: str) -> None:
    """Before json.loads, which recurses. Counts brackets outside texts."""
    depth = 0
    for match in _JSON_BRACKET.finditer(text):
        bracket = match[0]
        if bracket in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                at = match.start()
                mark = (text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at))
                _fail(source, "definition_too_deep", f"values are nested at most {MAX_DEPTH} levels deep", mark)
        elif bracket in "]}":
            depth -= 1


def _build_json(text: str, source: str) -> Loaded:
    """The document of a text whose syntax is known to be valid."""
    builder = DocumentBuilder(source)
    line, line_start, position = 1, 0, 0
    for match in _JSON_TOKEN.finditer(text):
        punctuation, quoted, literal = match.groups()
        start = match.start(match.lastindex or 0)
        line += text.count("\n", position, start)
        line_start = text.rfind("\n", 0, start) + 1 if "\n" in text[position:start] else line_start
        position = start
        mark = (line, start - line_start + 1)
        if punctuation in ("{", "["):
            builder.begin({} if punctuation == "{" else [], mark)
        elif punctuation in ("}", "]"):
            builder.end()
        elif quoted is not None:
            value = json.loads(quoted)
            builder.add_key(value, mark) if builder.expects_key else builder.add_value(value, mark)
        elif literal is not None:
            builder.add_value(_json_literal(builder, literal, mark), mark)
    return builder.finish()


def _json_literal(builder: DocumentBuilder, literal: str, mark: Mark) -> Json:
    constants = {"null": None, "true": True, "false": False}
    if literal in constants:
        return constants[literal]
    return builder.number(literal, 10 if _INTEGER.fullmatch(literal) else 0, mark)


def _fail(source: str, code: str, message: str, mark: Mark = (1, 1), hint: str = "") -> NoReturn:
    line, column = mark
    raise DefinitionError(Problem(path="", code=code, message=message, hint=hint, line=line, column=column), source)

"""Expand `{"gen": ...}` inputs of the cases. What is described by words alone is built by its harness."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

Json = Any
Edges = list[tuple[str, str]]


def expand(given: dict[str, Json]) -> dict[str, Json]:
    """The input itself, or what its generator makes of it."""
    generator = _GENERATORS.get(given.get("gen", ""))
    return given if generator is None else generator(given)


def _template(given: dict[str, Json]) -> dict[str, Json]:
    n = given["n"]
    return {
        "template": given["prefix"] + given["unit"] * n + given["middle"] + given["unit_close"] * n + given["suffix"]
    }


def _yaml_nest(given: dict[str, Json]) -> dict[str, Json]:
    n = given["n"]
    return {"yaml": f"name: w\nmeta: {given['open'] * n}1{given['close'] * n}\nsteps: []\n"}


def _yaml_text(given: dict[str, Json]) -> dict[str, Json]:
    return {"yaml": given["prefix"] + given["unit"] * given["n"] + given["suffix"]}


def _json_nest(given: dict[str, Json]) -> dict[str, Json]:
    n = given["n"]
    return {"json_text": given["open"] * n + given.get("leaf", "") + given["close"] * n}


def _json_wide(given: dict[str, Json]) -> dict[str, Json]:
    return {"json_text": "{" + ",".join(f'"k{number}":{number}' for number in range(given["n"])) + "}"}


def _json_array(given: dict[str, Json]) -> dict[str, Json]:
    return {"json_text": "[" + ",".join([given["unit"]] * given["n"]) + "]"}


def _json_string(given: dict[str, Json]) -> dict[str, Json]:
    return {"json_text": '{"s":"' + given["unit"] * given["n"] + '"}'}


def _text(given: dict[str, Json]) -> dict[str, Json]:
    return {**given, "text": given["unit"] * given["n"]}


def _many_headers(given: dict[str, Json]) -> dict[str, Json]:
    return {"headers": {f"X-{number}": "1" for number in range(given["n"])}}


def _cron_list(given: dict[str, Json]) -> dict[str, Json]:
    return {"cron": ",".join([given["unit"]] * given["n"]) + " * * * *"}


def _graph(ids: list[str], edges: Edges) -> dict[str, Json]:
    return {"steps": ids, "edges": [f"{parent}>{child}" for parent, child in edges]}


def _numbered(given: dict[str, Json]) -> list[str]:
    return [f"s{number}" for number in range(given["n"])]


def _ring(given: dict[str, Json]) -> dict[str, Json]:
    ids = _numbered(given)
    return _graph(ids, list(zip(ids, ids[1:] + ids[:1], strict=True)))


def _chain(given: dict[str, Json]) -> dict[str, Json]:
    ids = _numbered(given)
    return _graph(ids, list(pairwise(ids)))


def _fan(given: dict[str, Json]) -> dict[str, Json]:
    ids = _numbered(given)
    return _graph(ids, [(ids[0], x) for x in ids[1:-1]] + [(x, ids[-1]) for x in ids[1:-1]])


def _complete(given: dict[str, Json]) -> dict[str, Json]:
    ids = _numbered(given)
    return _graph(ids, [(parent, child) for at, parent in enumerate(ids) for child in ids[at + 1 :]])


def _layers(given: dict[str, Json]) -> dict[str, Json]:
    layers = [[f"l{a}_{b}" for b in range(given["width"])] for a in range(given["layers"])]
    edges = [(x, y) for above, below in pairwise(layers) for x in above for y in below]
    return _graph([name for layer in layers for name in layer], edges)


def _diamonds(given: dict[str, Json]) -> dict[str, Json]:
    ids, edges = ["d0"], []
    for x in range(given["n"]):
        ids += [f"a{x}", f"b{x}", f"d{x + 1}"]
        edges += [(f"d{x}", f"a{x}"), (f"d{x}", f"b{x}"), (f"a{x}", f"d{x + 1}"), (f"b{x}", f"d{x + 1}")]
    return _graph(ids, edges)


_GENERATORS: dict[str, Callable[[dict[str, Json]], dict[str, Json]]] = {
    "repeat_template": _template,
    "yaml_nest": _yaml_nest,
    "yaml_text": _yaml_text,
    "json_nest": _json_nest,
    "json_wide": _json_wide,
    "json_array": _json_array,
    "json_string": _json_string,
    "text": _text,
    "many_headers": _many_headers,
    "cron_list": _cron_list,
    "ring": _ring,
    "chain": _chain,
    "fan": _fan,
    "complete_dag": _complete,
    "layers": _layers,
    "diamond_chain": _diamonds,
}

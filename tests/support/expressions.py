"""Texts with expressions, sound and broken, made at random for comparing the two checks of them."""

from __future__ import annotations

from random import Random

NAMES = (
    "input", "trigger", "steps.a.output", "steps['a'].error", "execution.id", "workflow",
    "tenant", "true", "None",
)  # fmt: skip
WORDS = (
    "and",
    "or",
    "not",
    "in",
    "is",
    "if",
    "else",
    "is not",
    "not in",
    "is defined",
    "is none",
    "input",
    "x",
    "steps",
)
NUMBERS = ("0", "1", "42", "1_000", "3.5", "1e3", "0x1f", "0b11", "0o17", "2.5E-3", "00", "1_0.0_1")
TEXTS = ("'a'", '"b c"', "''", "'}}'", '"{{"', "'it\\'s'", '"\\n"', "'{% x %}'", "'ä'", "'#}'")
OPERATORS = (
    "+", "-", "*", "/", "//", "%", "**", "~", "==", "!=", "<", "<=", ">", ">=", "in",
    "not in", "and", "or",
)  # fmt: skip
FILTERS = (
    "upper",
    "default('x', true)",
    "join(', ')",
    "map(attribute='n')",
    "length",
    "round(2)",
    "batch(n, fill_with=0,)",
)
TESTS = (
    "defined",
    "none",
    "not none",
    "divisibleby 3",
    "divisibleby(3)",
    "in [1, 2]",
    "eq input.n",
    "not  string",
    "odd",
)
METHODS = (".upper()", ".split(',')", ".get('k', 1,)", ".join(input.l)", ".items()")
PARTS: tuple[str, ...] = (
    *WORDS, *NUMBERS, *TEXTS, *OPERATORS, *"()[]{}.,:|=;!@#$&?\\^`'\"",
    "{{", "}}", "{%", "{#", "#}", "-", "-}}", "{{-", "**", "self", "__class__", ".__x", "|uper", "| upper.x", "is nope",
    "f(", ".foo(", "k=", "ä", "\u00a0", " ", "  ", "\n", "item", "loop", "1.5.5", ".5", "1.", "[:", "::",
    "()", "[]", "{}",
)  # fmt: skip


class Writer:
    """Writes expressions that Jinja can parse; `seed` decides which."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)

    def text(self) -> str:
        """One text: an expression, or several with words between them, and sometimes something broken."""
        random = self.random
        pieces = []
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            if random.random() < 0.3:
                pieces.append(random.choice(("Hello ", "{ ", "it's ", "} ", '"', "{# note #}", "a\n", "%} ")))
            pieces.append(self.whole())
        text = "".join(pieces)
        for _ in range(random.choice((0, 0, 1, 1, 2, 3))):
            text = self.broken(text)
        return text

    def whole(self) -> str:
        """One expression in its braces."""
        opening, closing = self.random.choice((("{{ ", " }}"), ("{{", "}}"), ("{{- ", " -}}"), ("{{+ ", "}}")))
        inside = self.expression(self.random.choice((0, 0, 1, 1, 2)))
        if self.random.random() < 0.05:
            inside += ", " + self.expression(0) + self.random.choice(("", ","))
        return opening + inside + closing

    def broken(self, text: str) -> str:
        """The text with one change: something put in, taken out, doubled or exchanged."""
        random = self.random
        at = random.randrange(len(text) + 1)
        part: str = random.choice(PARTS)
        end = min(len(text), at + random.choice((1, 1, 2, 3, 5)))
        kind = random.randrange(4)
        if kind == 0:
            return text[:at] + random.choice(("", " ")) + part + random.choice(("", " ")) + text[at:]
        if kind == 1:
            return text[:at] + text[end:]
        if kind == 2:
            return text[:at] + text[at:end] + text[at:]
        return text[:at] + part + text[end:]

    def expression(self, depth: int) -> str:
        """An expression with so many levels of brackets at most."""
        random = self.random
        parts = [self.operand(depth)]
        for _ in range(random.choice((0, 0, 0, 1, 1, 2))):
            operator = random.choice(OPERATORS)
            negation = random.choice(("", "", "not ")) if operator in ("and", "or") else ""
            parts += [operator, negation + self.operand(depth)]
        if random.random() < 0.15:
            parts += ["if", self.operand(depth)]
            if random.random() < 0.8:
                parts += ["else", self.operand(depth)]
        start = random.choice(("", "", "", "not ", "not not "))
        return start + random.choice((" ", " ", "  ", "\n")).join(parts)

    def operand(self, depth: int) -> str:
        """A value, perhaps signed, with what may follow it."""
        random = self.random
        value = self.value(depth)
        for _ in range(random.choice((0, 0, 0, 1, 2))):
            value += random.choice((".b", ".is", " . c", ".0", "['k']", "[-1]", self.slice(depth), *METHODS))
        if random.random() < 0.25:
            value += random.choice((" | ", "|")) + random.choice(FILTERS).replace("n,", self.value(0) + ",")
        if random.random() < 0.15:
            value += " is " + random.choice(TESTS)
        return random.choice(("", "", "", "", "-", "+", "- -")) + value

    def value(self, depth: int) -> str:
        """A literal, a name, or something in brackets."""
        random = self.random
        if depth == 0 or random.random() < 0.5:
            return random.choice((*NAMES, *NUMBERS, *TEXTS, "'a' \"b\""))
        items = [self.expression(depth - 1) for _ in range(random.choice((0, 1, 1, 2)))]
        comma = random.choice(("", ",")) if items else ""
        kind = random.randrange(3)
        if kind == 0:
            return "(" + ", ".join(items) + comma + ")"
        if kind == 1:
            return "[" + ",".join(items) + comma + "]"
        return "{" + ", ".join(f"{self.value(0)}: {item}" for item in items) + comma + "}"

    def slice(self, depth: int) -> str:
        """Something in brackets after a value."""
        random = self.random
        inner = self.expression(depth - 1) if depth else random.choice(NUMBERS)
        ends = [random.choice(("", inner)) for _ in range(random.choice((2, 3)))]
        return "[" + ":".join(ends) + random.choice(("", "", ",1")) + "]"

"""The signatures of signatures.txt, joined with what servers/ document about their commands."""

import dataclasses
import pathlib
import re

import generate
import servers

SOURCE = pathlib.Path(__file__).parent / "signatures.txt"


@dataclasses.dataclass
class Parameter:
    name: str
    type: str  # of @types, "literal", or "open" for any further arguments
    many: bool = False  # one or more of them
    counted: bool = False  # their number comes first


@dataclasses.dataclass
class Result:
    """A result: `kind` is a word of signatures.txt, or "list", "map" or "tuple" of the parts."""
    kind: str
    optional: bool = False
    parts: tuple = ()

    def __str__(self):
        inside = " ".join(map(str, self.parts))
        text = {"list": f"[{inside}]", "map": f"{{{inside}}}", "tuple": f"({inside})"}.get(self.kind, self.kind)
        return text + ("?" if self.optional else "")


@dataclasses.dataclass
class Signature:
    words: list  # of the name, such as ["Config", "Get"]
    variant: str  # "Count" of LPop+Count
    parameters: list
    result: Result
    summary: str
    versions: dict = dataclasses.field(default_factory=dict)  # {"redis": "1.0.0", "valkey": "8.1.0"}: since when it exists
    group: str = ""
    arguments: str = ""  # as servers document them
    blocking: bool = False

    @property
    def command(self):
        return " ".join(self.words).upper()

    @property
    def method(self):
        """ConfigGet, LPopCount, EvalRO"""
        return re.sub(r"[._-]", "", "".join(self.words)) + self.variant


def parse_result(text):
    tokens = re.findall(r"'[^']+'|[a-z]+|[][{}()?]", text)
    result, rest = take_result(tokens)
    assert not rest, f"{text}: not understood from {rest} on"
    return result


def take_result(tokens):
    first, rest = tokens[0], tokens[1:]
    closing = {"[": "]", "{": "}", "(": ")"}.get(first)
    if closing is None:
        result = Result(first)
    else:
        parts = []
        while rest[0] != closing:
            part, rest = take_result(rest)
            parts.append(part)
        result, rest = Result({"[": "list", "{": "map", "(": "tuple"}[first], parts=tuple(parts)), rest[1:]
    if rest[:1] == ["?"]:
        result.optional, rest = True, rest[1:]
    return result, rest


def parse_parameter(word, types):
    if word == "...":
        return Parameter("arguments", "open")
    if word.startswith("'"):
        return Parameter(word.strip("'"), "literal")
    counted = word.startswith("[")
    many = counted or word.endswith("...")
    name, _, kind = word.strip("[]").removesuffix("...").partition(":")
    assert kind or name in types, f"the parameter {name} has no type: add it to @types of signatures.txt"
    return Parameter(name, kind or types[name], many, counted)


def parse_row(line, types):
    left, _, summary = line.partition(" | ")
    left, _, result = left.partition(" -> ")
    words = left.split()
    name = [word for word in words if word[0].isupper()]
    assert words[:len(name)] == name and result and summary, f"not understood: {line}"
    last, _, variant = name[-1].partition("+")
    parameters = [parse_parameter(word, types) for word in words[len(name):]]
    return Signature([*name[:-1], last], variant, parameters, parse_result(result), summary)


def sections():
    found, current = {}, None
    for line in SOURCE.read_text().splitlines():
        if line.startswith("@"):
            current = found.setdefault(line[1:], [])
        elif line and not line.startswith("#"):
            current.append(line)
    return found


def document(signature, kept):
    """Adds what servers say: the versions of the first ones that have the command, and the newest arguments."""
    for server, rows in kept.items():
        row = rows.get(signature.command)
        if row is None:
            continue
        if "since" in row:
            signature.versions.setdefault(server.split("-")[0], row["since"])
        signature.group = row.get("group", signature.group)
        signature.arguments = row.get("arguments", signature.arguments)
        signature.blocking = signature.blocking or "blocking" in row["flags"]


def load():
    """All signatures, in the order of signatures.txt. Fails unless each command of the table has one or a reason."""
    text = sections()
    types = {name: kind for kind, _, names in (line.partition(": ") for line in text["types"]) for name in names.split()}
    rows = [parse_row(line, types) for line in text["commands"]]
    without = {name for line in text["without"] for name in line.partition(": ")[2].split(", ")}
    named = {row.command for row in rows}
    table = {row.name for row in generate.commands()}
    for what, names in [
        ("has commands that the table lacks", (named | without) - table),
        ("lacks commands of the table", table - named - without),
        ("has both a row and a reason for none", named & without),
    ]:
        assert not names, f"signatures.txt {what}: {', '.join(sorted(names))}"
    methods = [row.method for row in rows]
    twice = {method for method in methods if methods.count(method) > 1}
    assert not twice, f"signatures.txt has several methods of one name: {twice}"
    kept = servers.kept()
    for row in rows:
        document(row, kept)
    return rows

"""The methods of the package for Node: bindings/node/lib/command_names.js and commands.d.ts."""

import json
import re

import generate

# Methods with these names do something else, and lib/cluster.js defines them.
NOT_COMMANDS = {
    "MULTI", "QUIT", "READONLY",
    "SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE",
}
# Of a pipeline: its own method.
NOT_PIPELINED = {"EXEC"}


def files(rows, note):
    # A subcommand is an argument of its container: config("GET", "maxmemory").
    names = sorted(row.name for row in generate.commands() if " " not in row.name)
    return {
        "bindings/node/lib/command_names.js":
            f'"use strict";\n// {note}\n\nmodule.exports = {json.dumps(names, indent=2)};\n',
        "bindings/node/commands.d.ts": types(names, rows, note),
    }


def types(names, rows, note):
    containers = {row.name.split()[0] for row in generate.commands() if " " in row.name}
    typed = {}
    for row in rows:
        # Replies of modules differ between versions of the protocol. A literal is an overload that adds nothing.
        literal = any(parameter.type == "literal" for parameter in row.parameters)
        if row.group not in ("module", "") and row.command not in containers and not literal:
            typed.setdefault(row.command, []).append(row)
    methods = [name for name in names if name not in NOT_COMMANDS | NOT_PIPELINED]
    lines = [line for name in methods for line in declarations(name, typed.get(name))]
    return f"""// {note}
import type {{ Key, Rest, Result, Tail, Value }} from "./index";

/** The commands of the library's table. Mode is "client" or "pipeline". */
export interface Commands<Mode extends "client" | "pipeline"> {{
{chr(10).join(lines)}
}}
"""


def declarations(name, rows):
    for suffix, text in [("", "string"), ("Buffer", "Buffer")]:
        method = name.lower() + suffix
        if not re.fullmatch(r"[a-z]\w*", method):
            method = f'"{method}"'
        for row in rows or [None]:
            named, is_open = ([], True) if row is None else parameters(row)
            value = "unknown" if row is None else result(row.result, text)
            rest = f"...args: Rest<{value}>[]" if is_open else f"...tail: Tail<{value}>"
            yield f"  {method}({', '.join([*named, rest])}): Result<Mode, {value}>;"


def parameters(row):
    """The declared parameters, and whether any others follow."""
    named = []
    for parameter in row.parameters:
        if parameter.counted:
            return [*named, "numkeys: Value"], True
        if parameter.many or parameter.type == "open":
            return named, True
        name = re.sub(r"-(\w)", lambda match: match[1].upper(), parameter.name)
        named.append(f"{name}: {'Key' if parameter.type == 'key' else 'Value'}")
    return named, False


def result(of, text):
    inside = [result(part, text) for part in of.parts]
    if of.kind.startswith("'"):
        value = of.kind.replace("'", '"')
    elif of.kind == "list":
        value = f"({inside[0]})[]" if "|" in inside[0] else f"{inside[0]}[]"
    elif of.kind == "map":
        # Names of streams may be any bytes.
        value = f"[{text}, {inside[0]}][]" if of.parts[0].kind == "list" else f"Record<string, {inside[0]}>"
    elif of.kind == "tuple":
        value = f"[{', '.join(inside)}]"
    else:
        value = {
            "ok": '"OK"', "status": "string", "text": text, "float": text, "int": "number", "bool": "number",
            "entry": f"[{text}, {text}[]]", "page": f"[{text}, {text}[]]", "scored": "unknown", "any": "unknown",
        }[of.kind]
    return f"{value} | null" if of.optional else value

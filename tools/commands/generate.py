#!/usr/bin/env python3
"""Writes src/route/table.rs from servers/ (what servers said) and corrections.py (what they did not).

    tools/commands/generate.py                      writes the table
    tools/commands/generate.py --check              fails if the committed one is stale
    tools/commands/generate.py --refresh BINARY...  asks these servers again, then writes
"""

import pathlib
import sys

import corrections
import servers

ROOT = pathlib.Path(__file__).parents[2]
TABLE = ROOT / "src/route/table.rs"
MEND = "python3 tools/commands/generate.py"

# COMMAND's word: (ours, how servers that differ are united). Forbidding and dangerous ones hold if any server says so,
# permitting ones only if all do.
FLAGS = {
    "write": ("WRITE", any),
    "readonly": ("READ", all),
    "blocking": ("BLOCKING", any),
    "pubsub": ("PUBSUB", any),
    "admin": ("ADMIN", any),
    "noscript": ("NOSCRIPT", any),
    "no_multi": ("NO_MULTI", any),
    "denyoom": ("DENYOOM", any),
    "loading": ("LOADING", all),
    "stale": ("STALE", all),
    "fast": ("FAST", all),
    "no_auth": ("NO_AUTH", all),
    "no_mandatory_keys": ("KEYS_OPTIONAL", any),
    "movablekeys": ("KEYS_MOVABLE", any),
}

POLICIES = {
    "all_nodes": "AllNodes", "all_shards": "AllShards", "multi_shard": "MultiShard", "special": "Special",
    "all_succeeded": "AllSucceeded", "one_succeeded": "OneSucceeded", "agg_sum": "AggSum", "agg_min": "AggMin",
    "agg_max": "AggMax", "agg_logical_and": "AggLogicalAnd", "agg_logical_or": "AggLogicalOr",
}

KEY_ACCESS = {"RO": "Read", "RW": "Update", "OW": "Overwrite", "RM": "Remove", "not_key": "Channel"}


def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def listed(items):
    return "&[" + ", ".join(items) + "]"


def option(words, start, takes, which, stop=""):
    steps = listed(f"({quoted(word)}, {count})" for word, count in takes.items())
    return (f"OptionArg {{ words: {listed(map(quoted, words))}, from: {start}, takes: {steps}, "
            f"stop: {quoted(stop)}, last: {'true' if which == 'last' else 'false'} }}")


def key_spec(spec):
    kind, *where = spec["begin"]
    if kind == "index":
        begin = f"Index({where[0]})"
    elif kind == "keyword":
        word, start = where
        assert start > 0, f"{word}: a search from the end needs a row of corrections.KEYS"
        begin = f"After(&{option([word], start, {}, 'first')})"
    else:
        begin = f"After(&{option(*where)})"
    kind, *how = spec["find"]
    if kind == "range":
        find = "Range {{ last: {}, step: {}, share: {} }}".format(how[0], how[1], max(how[2], 1))
    else:
        assert how[0] == 0, "numkeys is not where the search begins"
        find = f"Count {{ first: {how[1]}, step: {how[2]} }}"
    access, = [KEY_ACCESS[flag] for flag in spec["flags"] if flag in KEY_ACCESS]
    return f"KeySpec::new({begin}, {find}, KeyAccess::{access}, {spec.get('presence', 'Required')})"


def plain(spec):
    """What of a specification a client goes by."""
    kept = ("RO", "RW", "OW", "RM", "not_key", "incomplete")
    return {"begin": spec["begin"], "find": spec["find"], "flags": [flag for flag in spec["flags"] if flag in kept]}


class Command:
    def __init__(self, name, told):
        """told: what each server that knows the command says of it, oldest first."""
        self.name, self.notes = name, []
        rows = list(told.values())
        newest = rows[-1]
        self.arity = self.loosest([row["arity"] for row in rows])
        said = {word: [word in row["flags"] for row in rows] for word in FLAGS}
        self.flags = [ours for word, (ours, unite) in FLAGS.items() if unite(said[word])]
        if "WRITE" in self.flags and "READ" in self.flags:
            self.flags.remove("READ")
        self.keys = [plain(spec) for spec in newest.get("keys", [])]
        for server, row in told.items():
            if [plain(spec) for spec in row.get("keys", [])] != self.keys:
                self.notes.append(f"{server} has keys {[spec['flags'] for spec in map(plain, row.get('keys', []))]}")
            if self.policy(row) != self.policy(newest):
                self.notes.append(f"{server} has policies {' and '.join(self.policy(row))}")
        self.request, self.response = self.policy(newest)
        if "module" in newest["flags"]:
            # A module registers its commands without an arity, and every key as RW.
            self.arity = min(self.arity, -2)
            for spec in self.keys:
                spec["flags"] = ["RO" if "READ" in self.flags else "RW"]
        self.correct()

    @staticmethod
    def loosest(arities):
        if len(set(arities)) == 1:
            return arities[0]
        return -min(abs(arity) for arity in arities)

    @staticmethod
    def policy(row):
        told = dict(tip.split(":") for tip in row.get("tips", []) if "_policy:" in tip)
        return tuple(POLICIES[told[kind]] if kind in told else "Default" for kind in ("request_policy", "response_policy"))

    def correct(self):
        if self.name in corrections.ADDED:
            self.notes.append(corrections.ADDED[self.name][1])
        if self.name in corrections.KEYS:
            self.keys, reason = corrections.KEYS[self.name]
            self.notes.append(f"keys: {reason}")
        if self.name in corrections.MAY_REPLICATE:
            self.flags.append("MAY_REPLICATE")
        if self.name in corrections.CURSOR:
            self.flags.append("CURSOR")
        if self.name in corrections.CONNECTION:
            self.flags.append("CONNECTION")
            self.notes.append(f"connection: {corrections.CONNECTION[self.name]}")
        self.access = "Read" if "READ" in self.flags else "Write"
        if self.name in corrections.NOT_READS:
            self.access = "Write"
            self.notes.append(f"write: {corrections.NOT_READS[self.name]}")
        if self.name in corrections.READS:
            assert not {"WRITE", "ADMIN", "CONNECTION", "MAY_REPLICATE"} & set(self.flags), f"{self.name} is no read"
            self.access = "Read"
            self.notes.append(f"read: {corrections.READS[self.name]}")
        kind, *where = corrections.BLOCKS.get(self.name, ("Never",))
        if kind == "MillisAfter":
            word, stop, takes = where
            self.block = f"MillisAfter(&{option([word], 1, takes | {word: 1}, 'last', stop)})"
        else:
            self.block = f"{kind}({where[0]})" if where else kind
        assert "BLOCKING" not in self.flags or self.block != "Never", f"{self.name} blocks; corrections.BLOCKS must say how long"


def commands():
    told = {}
    for server, rows in servers.kept().items():
        for name, row in rows.items():
            told.setdefault(name, {})[server] = row
    for name, (row, _) in corrections.ADDED.items():
        assert name not in told, f"{name} is known from servers/ now: take it out of corrections.ADDED"
        told[name] = {"corrections.py": row}
    for table in ("KEYS", "NOT_READS", "READS", "MAY_REPLICATE", "CURSOR", "CONNECTION", "BLOCKS"):
        for name in getattr(corrections, table):
            assert name in told, f"corrections.{table} has {name}, which no server knows"
    return [Command(name, told[name]) for name in sorted(told)]


def rust(name):
    return name.replace(" ", "_").replace("-", "_")


def policy(row):
    if (row.request, row.response) == ("Default", "Default"):
        return ""
    return f".policy(Request::{row.request}, Response::{row.response})"


def render():
    rows = commands()
    ids = {row.name: number for number, row in enumerate(rows)}
    containers = {name.split()[0] for name in ids if " " in name}
    shapes, lines, names = {}, [], []
    for number, row in enumerate(rows):
        flags = row.flags + (["CONTAINER"] if row.name in containers else [])
        keys = "NONE"
        if row.keys:
            keys = shapes.setdefault(tuple(map(key_spec, row.keys)), f"K{len(shapes)}")
        parent = f"Some({ids[row.name.split()[0]]})" if " " in row.name else "None"
        call = f"Row::new({number}, {parent}, {quoted(row.name)}, {row.arity}, {listed(map(camel, flags))}, {keys})"
        call += policy(row)
        call += ".read()" if row.access == "Read" else ""
        call += f".block(Block::{row.block})" if row.block != "Never" else ""
        lines += [f"    // {note}" for note in row.notes] + [f"    {call},"]
        names.append(f"pub const {rust(row.name)}: &Row = &ROWS[{number}];")
    flags = sorted({camel(flag) for row in rows for flag in row.flags} | {"Container"})
    shared = [f"const {name}: &[KeySpec] = {listed(shape)};" for shape, name in shapes.items()]
    return "\n".join([
        f"//! Generated by `{MEND}`: do not edit.",
        "//!",
        f"//! What {servers.versions()} say of their commands, united,",
        "//! with the corrections of tools/commands/corrections.py beside the rows they correct.",
        "",
        "#![cfg_attr(rustfmt, rustfmt::skip)]",
        "",
        "use super::command::{Block, Flag::{" + ", ".join(flags) + "}, Request, Response, Row};",
        "use super::keys::{Begin::{After, Index}, Find::{Count, Range}, KeyAccess, KeySpec, Presence::*};",
        "use super::option_arg::OptionArg;",
        "",
        "const NONE: &[KeySpec] = &[];",
        *shared,
        "",
        f"pub static ROWS: [Row; {len(rows)}] = [",
        *lines,
        "];",
        "",
        *names,
        "",
    ])


def camel(flag):
    return "".join(word.capitalize() for word in flag.split("_"))


def main(arguments):
    if arguments[:1] == ["--refresh"]:
        for binary in arguments[1:]:
            servers.refresh(binary)
    elif arguments not in ([], ["--check"]):
        sys.exit(__doc__)
    table = render()
    if arguments == ["--check"]:
        if not TABLE.exists() or TABLE.read_text() != table:
            sys.exit(f"{TABLE.relative_to(ROOT)} is stale; run: {MEND}")
    else:
        TABLE.write_text(table)


if __name__ == "__main__":
    main(sys.argv[1:])

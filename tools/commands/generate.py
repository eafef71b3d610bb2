#!/usr/bin/env python3
"""Writes src/route/table.rs from servers/ (the replies to COMMAND) and corrections.py (facts that COMMAND lacks).

    tools/commands/generate.py                      writes the table
    tools/commands/generate.py --check              fails if the committed one is stale
    tools/commands/generate.py --refresh BINARY...  queries these servers again, then writes
    tools/commands/generate.py --refresh-modules BINARY MODULE...   the same for the commands of modules
"""

import pathlib
import sys

import corrections
import servers

ROOT = pathlib.Path(__file__).parents[2]
TABLE = ROOT / "src/route/table.rs"
COMMAND_LINE = "python3 tools/commands/generate.py"

# COMMAND's flag: (flag of the table, how differing servers are combined). A restrictive flag holds if any server has it,
# a permissive one only if all have it.
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
    # Of corrections.ROUTES.
    "default": "Default", "selected": "Selected", "slot": "SlotNumber", "writes": "Writes",
    "channel": "Channel",
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
    elif kind == "index_if":
        begin = f"IndexIf({where[0]}, {quoted(where[1])})"
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


def arguments_to_key(spec):
    """The fewest arguments with which a command has a key of this specification."""
    (_, index, *_), (kind, *how) = spec["begin"], spec["find"]
    beyond = -how[0] - 1 if kind == "range" and how[0] < 0 else how[1] if kind == "keynum" else how[0]
    step = how[1] if kind == "range" and how[0] < 0 else 1
    return index + beyond + step


def plain(spec):
    """The part of a specification that matters to a client."""
    kept = ("RO", "RW", "OW", "RM", "not_key", "incomplete")
    return {"begin": spec["begin"], "find": spec["find"], "flags": [flag for flag in spec["flags"] if flag in kept]}


class Command:
    def __init__(self, name, by_server):
        """by_server: the row of each server that knows the command, oldest server first."""
        self.name, self.notes = name, []
        rows = list(by_server.values())
        newest = rows[-1]
        self.arity = self.loosest([row["arity"] for row in rows])
        has_flag = {word: [word in row["flags"] for row in rows] for word in FLAGS}
        self.flags = [ours for word, (ours, unite) in FLAGS.items() if unite(has_flag[word])]
        if "WRITE" in self.flags and "READ" in self.flags:
            self.flags.remove("READ")
        self.keys = [plain(spec) for spec in newest.get("keys", [])]
        for server, row in by_server.items():
            if [plain(spec) for spec in row.get("keys", [])] != self.keys:
                self.notes.append(f"{server} has keys {[spec['flags'] for spec in map(plain, row.get('keys', []))]}")
            if self.policy(row) != self.policy(newest):
                self.notes.append(f"{server} has policies {' and '.join(self.policy(row))}")
        self.request, self.response = self.policy(newest)
        if "module" in newest["flags"]:
            # A module registers its commands without an arity, and every key as RW.
            for spec in self.keys:
                spec["flags"] = ["RO" if "READ" in self.flags else "RW"]
            self.flags.append("OWN_ERRORS")
        self.correct()
        if self.arity == -1 and "module" in newest["flags"]:
            self.arity = -max([1, *map(arguments_to_key, self.keys)])

    @staticmethod
    def loosest(arities):
        if len(set(arities)) == 1:
            return arities[0]
        return -min(abs(arity) for arity in arities)

    @staticmethod
    def policy(row):
        by_server = dict(tip.split(":") for tip in row.get("tips", []) if "_policy:" in tip)
        return tuple(POLICIES[by_server[kind]] if kind in by_server else "Default" for kind in ("request_policy", "response_policy"))

    def correct(self):
        if self.name in corrections.ADDED:
            self.notes.append(corrections.ADDED[self.name][1])
        if self.name in corrections.KEYS:
            self.keys, reason = corrections.KEYS[self.name]
            self.notes.append(f"keys: {reason}")
        if self.name in corrections.MAY_REPLICATE:
            self.flags.append("MAY_REPLICATE")
        if self.name in corrections.OWN_ERRORS:
            self.flags.append("OWN_ERRORS")
            self.notes.append(f"own errors: {corrections.OWN_ERRORS[self.name]}")
        if self.name in corrections.PRIMARY_ONLY:
            self.flags.append("PRIMARY_ONLY")
            self.notes.append(f"primary: {corrections.PRIMARY_ONLY[self.name]}")
        if self.name in corrections.ROUTES:
            request, response, reason = corrections.ROUTES[self.name]
            self.request, self.response = POLICIES[request], POLICIES[response]
            self.notes.append(f"route: {reason}")
        if self.name in corrections.CONNECTION:
            self.flags.append("CONNECTION")
            self.notes.append(f"connection: {corrections.CONNECTION[self.name]}")
            assert self.name in corrections.STATE, f"{self.name} changes its connection: add what to corrections.STATE"
        if self.name in corrections.SECRET:
            self.flags.append("SECRET")
            self.notes.append(f"secret: {corrections.SECRET[self.name]}")
        self.state = corrections.STATE.get(self.name, "Nothing")
        self.access = "Read" if "READ" in self.flags else "Write"
        if self.name in corrections.NOT_READS:
            self.access = "Write"
            self.notes.append(f"write: {corrections.NOT_READS[self.name]}")
        if self.name in corrections.READS:
            assert not {"WRITE", "ADMIN", "CONNECTION"} & set(self.flags), f"{self.name} is no read"
            self.access = "Read"
            self.notes.append(f"read: {corrections.READS[self.name]}")
        kind, *where = corrections.BLOCKS.get(self.name, ("Never",))
        if kind == "MillisAfter":
            word, stop, takes = where
            self.block = f"MillisAfter(&{option([word], 1, takes | {word: 1}, 'last', stop)})"
        else:
            self.block = f"{kind}({where[0]})" if where else kind
        assert "BLOCKING" not in self.flags or self.block != "Never", f"{self.name} blocks: add its timeout to corrections.BLOCKS"


def subcommand(name, by_server):
    """The row of a sub-command that its container handles."""
    arity, flags, last_key = corrections.SUBCOMMANDS[name]
    container = list(by_server[name.split()[0]].values())[-1]
    inherited = [flag for flag in container["flags"] if flag != "readonly" or "write" not in flags]
    keys = [] if last_key is None else [{"flags": ["RO"], "begin": ["index", 2], "find": ["range", last_key, 1, 0]}]
    return {"corrections.py": {"arity": arity, "flags": inherited + flags, "keys": keys}}


def commands():
    by_server = {}
    for server, rows in servers.kept().items():
        for name, row in rows.items():
            if name.split()[0] not in corrections.EXCLUDED:
                by_server.setdefault(name, {})[server] = row
    for name in corrections.SUBCOMMANDS:
        assert name not in by_server, f"{name} is in servers/ now: remove it from corrections.SUBCOMMANDS"
        by_server[name] = subcommand(name, by_server)
    for name, (row, _) in corrections.ADDED.items():
        assert name not in by_server, f"{name} is in servers/ now: remove it from corrections.ADDED"
        by_server[name] = {"corrections.py": row}
    for table in ("KEYS", "NOT_READS", "READS", "MAY_REPLICATE", "PRIMARY_ONLY", "ROUTES", "CONNECTION", "SECRET", "STATE", "OWN_ERRORS", "BLOCKS"):
        for name in getattr(corrections, table):
            assert name in by_server, f"corrections.{table} has {name}, but no server has this command"
    return [Command(name, by_server[name]) for name in sorted(by_server)]


def rust(name):
    return name.translate(str.maketrans(" -.", "___"))


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
        call += f".state({row.state})" if row.state != "Nothing" else ""
        lines += [f"    // {note}" for note in row.notes] + [f"    {call},"]
        names.append(f"pub const {rust(row.name)}: &Row = &ROWS[{number}];")
    flags = sorted({camel(flag) for row in rows for flag in row.flags} | {"Container"})
    shared = [f"const {name}: &[KeySpec] = {listed(shape)};" for shape, name in shapes.items()]
    return "\n".join([
        f"//! Generated by `{COMMAND_LINE}`: do not edit.",
        "//!",
        f"//! The command table: the commands of {servers.versions()}, combined,",
        "//! with the corrections of tools/commands/corrections.py beside the rows they correct.",
        "",
        "#![cfg_attr(rustfmt, rustfmt::skip)]",
        "",
        "use super::command::{Block, Flag::{" + ", ".join(flags) + "}, Request, Response, Row};",
        "use super::connection_state::{OffWord::*, StateChange::*, StatePart::*};",
        "use super::key_spec::{Begin::{After, Index, IndexIf}, Find::{Count, Range}, KeyAccess, KeySpec, Presence::*};",
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
    elif arguments[:1] == ["--refresh-modules"]:
        servers.refresh(arguments[1], [str(pathlib.Path(module).resolve()) for module in arguments[2:]])
    elif arguments not in ([], ["--check"]):
        sys.exit(__doc__)
    table = render()
    if arguments == ["--check"]:
        if not TABLE.exists() or TABLE.read_text() != table:
            sys.exit(f"{TABLE.relative_to(ROOT)} is stale; run: {COMMAND_LINE}")
    else:
        TABLE.write_text(table)


if __name__ == "__main__":
    main(sys.argv[1:])

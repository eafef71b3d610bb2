"""The commands of servers: queried from a running server, kept as one JSON line per command. Of COMMAND DOCS, facts are
kept and no texts."""

import json
import pathlib
import socket
import subprocess
import tempfile
import time

KEPT = pathlib.Path(__file__).parent / "servers"

# Oldest first: if two servers have different key specifications, the later one in this list counts.
ORDER = ["redis-7.0", "valkey-8.1", "redis-stack-7.4", "redis-8.2", "valkey-9.1"]


class Connection:
    """A minimal RESP2 client."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.file = self.socket.makefile("rb")

    def query(self, *words):
        parts = [b"*%d\r\n" % len(words)]
        for word in words:
            word = word.encode()
            parts.append(b"$%d\r\n%s\r\n" % (len(word), word))
        self.socket.sendall(b"".join(parts))
        return self.reply()

    def reply(self):
        line = self.file.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest.decode()
        if kind == b":":
            return int(rest)
        if kind == b"$":
            size = int(rest)
            return None if size < 0 else self.file.read(size + 2)[:-2].decode(errors="replace")
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))] if int(rest) >= 0 else None
        raise RuntimeError(f"unexpected reply from the server: {line!r}")


def free_port():
    """A port whose cluster bus port (10000 higher) is a valid port too."""
    while True:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
            if port < 55536:
                return port


def pairs(flat):
    return dict(zip(flat[::2], flat[1::2]))


def key_spec(flat):
    spec = pairs(flat)
    begin, find = pairs(spec["begin_search"]), pairs(spec["find_keys"])
    kept = {"flags": sorted(spec["flags"]), "begin": [begin["type"]], "find": [find["type"]]}
    if begin["type"] != "unknown":
        kept["begin"] += pairs(begin["spec"]).values()
    if find["type"] != "unknown":
        kept["find"] += pairs(find["spec"]).values()
    if spec.get("notes"):
        kept["notes"] = spec["notes"]
    return kept


def command(row):
    name, arity, flags, _first, _last, _step, _acl, tips, specs, subs = row
    kept = {"name": name.upper().replace("|", " "), "arity": arity, "flags": sorted(flags)}
    if tips:
        kept["tips"] = sorted(tips)
    if specs:
        kept["keys"] = [key_spec(spec) for spec in specs]
    yield kept
    for sub in sorted(subs, key=lambda sub: sub[0]):
        yield from command(sub)


def documented(flat):
    """The facts of COMMAND DOCS, by the command's name: since when it exists, its group, and its arguments as a line."""
    for name, fields in pairs(flat).items():
        fields = pairs(fields)
        facts = {word: fields[word] for word in ("since", "group") if word in fields}
        if fields.get("arguments"):
            facts["arguments"] = synopsis(fields["arguments"])
        yield name.upper().replace("|", " "), facts
        yield from documented(fields.get("subcommands", []))


def synopsis(arguments):
    """The arguments as in a manual: key [NX | XX] score member [score member ...]"""
    return " ".join(argument(pairs(flat)) for flat in arguments)


def argument(fields):
    kind, flags, token = fields["type"], fields.get("flags", []), fields.get("token")
    inside = [argument(pairs(flat)) for flat in fields.get("arguments", [])]
    if kind == "pure-token":
        text = token
    elif kind == "oneof":
        text = " | ".join(inside) if "optional" in flags else f"<{' | '.join(inside)}>"
    else:
        text = " ".join(inside) if kind == "block" else fields.get("display_text", fields["name"])
    if token is not None and kind != "pure-token":
        once, text = text, f"{token} {text}" if token else f'"" {text}'
        text += f" [{text if 'multiple_token' in flags else once} ...]" if "multiple" in flags else ""
    elif "multiple" in flags:
        text += f" [{text} ...]"
    return f"[{text}]" if "optional" in flags else text


def refresh(binary, modules=()):
    """Starts the server, queries it, and writes servers/<name>-<major.minor>.jsonl: with modules, their commands only."""
    port = free_port()
    load = [word for module in modules for word in ("--loadmodule", module)]
    with tempfile.TemporaryDirectory() as directory:
        server = subprocess.Popen(
            [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--cluster-enabled", "yes", *load],
            cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            for _ in range(100):
                try:
                    connection = Connection(port)
                    break
                except ConnectionRefusedError:
                    time.sleep(0.05)
            else:
                raise SystemExit(f"{binary} did not accept connections on port {port} within 5 s")
            info = pairs([word for line in connection.query("INFO", "server").splitlines() if ":" in line
                          for word in line.split(":", 1)])
            kind, version = "redis", info["redis_version"]
            if info.get("server_name") == "valkey":
                kind, version = "valkey", info["valkey_version"]
            if modules:
                kind += "-stack"
            documentation = dict(documented(connection.query("COMMAND", "DOCS")))
            rows = [kept | documentation.get(kept["name"], {})
                    for row in sorted(connection.query("COMMAND"), key=lambda row: row[0]) for kept in command(row)
                    if not modules or "module" in kept["flags"]]
        finally:
            server.kill()
            server.wait()
    KEPT.mkdir(exist_ok=True)
    name = f"{kind}-{'.'.join(version.split('.')[:2])}"
    lines = [{"server": kind, "version": version}, *rows]
    path = KEPT / f"{name}.jsonl"
    path.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    print(f"{path.name}: {kind} {version}, {len(rows)} commands")
    if name not in ORDER:
        print(f"{name!r} is not in ORDER of servers.py, so it is not used: add it there")


def kept():
    """{server: {command: row}} of ORDER."""
    known = {}
    for server in ORDER:
        lines = [json.loads(line) for line in (KEPT / f"{server}.jsonl").read_text().splitlines()]
        known[server] = {row["name"]: row for row in lines[1:]}
    return known


def versions():
    """The kept servers: "redis 7.0.15, valkey 8.1.8"."""
    heads = [json.loads((KEPT / f"{server}.jsonl").open().readline()) for server in ORDER]
    return ", ".join(f"{head['server']} {head['version']}" for head in heads)

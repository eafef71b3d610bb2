"""The methods of the gem for Ruby that redis-rb does not have, and their signatures.

The methods of redis-rb have its arguments and are written by hand. Those of all other commands are generated."""

import dataclasses
import pathlib
import re
import textwrap

BINDING = pathlib.Path(__file__).parents[2] / "bindings/ruby"
LIBRARY = "bindings/ruby/lib/rediscluster/commands/generated"
SIGNATURES = "bindings/ruby/sig/commands/generated"

# The modules, by the beginning of their methods' names. The last one has the commands of no module of a server.
MODULES = [
    ("json", "Json", "JSON documents", ("json_",)),
    ("search", "Search", "Indexes and queries", ("ft_",)),
    ("filters", "Filters", "Bloom filters, cuckoo filters and count-min sketches", ("bf_", "cf_", "cms_")),
    ("sketches", "Sketches", "t-digests and top-k lists", ("tdigest_", "topk_")),
    ("time_series", "TimeSeries", "Time series", ("ts_",)),
    ("vector_sets", "VectorSets", "Vector sets", ("v",)),
    ("others", "Others", "Commands of servers that redis-rb has no method for", ("",)),
]
CONVERSIONS = {"bool": "BOOLEAN", "[bool]": "BOOLEANS", "float": "FLOAT", "[float]": "FLOATS", "{any}": "HASH"}
TYPES = {
    "ok": "String", "status": "String", "text": "String", "int": "Integer", "float": "Float", "bool": "bool", "any": "reply",
    "entry": "entry", "scored": "[String, Float]", "page": "[String, Array[String]]",
}


def files(rows, note):
    groups = {name: [] for name, _, _, _ in MODULES}
    for method, row in generated(rows):
        groups[next(name for name, _, _, prefixes in MODULES if method.startswith(prefixes))].append((method, row))
    texts = {}
    for name, module, title, _ in MODULES:
        code = "\n\n".join(definition(*found) for found in groups[name])
        texts[f"{LIBRARY}/{name}.rb"] = f"""# frozen_string_literal: true

# {note}
class RedisCluster
  module Commands
    # {title}.
    module {module}
{code}
    end
  end
end
"""
        lines = "\n".join(signature(*found) for found in groups[name])
        texts[f"{SIGNATURES}/{name}.rbs"] = f"""# {note}
class RedisCluster
  module Commands
    include {module}

    module {module}
{lines}
    end
  end
end
"""
    return texts


def generated(rows):
    """The method and the signature of each command without a method that is written by hand."""
    written = set()
    for path in [*BINDING.glob("sig/*.rbs"), *BINDING.glob("sig/commands/*.rbs")]:
        if path.name != "pipeline.rbs":
            written.update(re.findall(r"def (\w+[?!]?):", path.read_text()))
    found = {}
    for row in rows:
        if len(row.words) == 1:
            method = re.sub(r"[.\-_]+", "_", row.words[0]).lower()
            found.setdefault(method, []).append(row)
    # Of several forms of a command, the first one says what it does, and the last one has the options.
    return [(method, dataclasses.replace(forms[-1], summary=forms[0].summary))
            for method, forms in found.items() if method not in written]


def arguments(row):
    """The declared parameters, the words of the command, and whether options may follow."""
    declared, sent = [], [f'"{row.command}"']
    for parameter in row.parameters:
        name = parameter.name.replace("-", "_")
        if parameter.type == "literal":
            sent.append(f'"{parameter.name}"')
        elif parameter.counted:
            declared.append(f"{name}s")
            sent += [f"Array({name}s).length", f"{name}s"]
        elif parameter.many or parameter.type == "open":
            name = name if parameter.type == "open" else f"{name}s"
            declared.append(f"*{name}")
            sent.append(f"*{name}")
        else:
            declared.append(name)
            sent.append(name)
    is_open = any(parameter.type == "open" for parameter in row.parameters)
    return declared + (["**options"] if is_open else []), sent, is_open


def comment(row):
    since = ", ".join(f"{server.capitalize()} {version}" for server, version in row.versions.items())
    texts = [row.summary + (f" Since {since}." if since else "")]
    if row.arguments:
        texts.append(f"Arguments: {row.arguments}")
    return "\n".join(line for text in texts for line in textwrap.wrap(
        text, 118, initial_indent="      # ", subsequent_indent="      # ", break_on_hyphens=False))


def definition(method, row):
    declared, sent, is_open = arguments(row)
    head = f"def {method}" + (f"({', '.join(declared)})" if declared else "")
    convert = CONVERSIONS.get(str(row.result), "nil")
    return f"""{comment(row)}
      {head}
        run([{', '.join(sent)}], {'options' if is_open else '{}'}, {convert})
      end"""


def signature(method, row):
    types = []
    for name in arguments(row)[0]:
        if name.startswith("**"):
            types.append("**untyped options")
        elif name.startswith("*"):
            types.append(f"*argument {name[1:]}")
        else:
            counted = any(parameter.counted and f"{parameter.name}s" == name for parameter in row.parameters)
            types.append(f"{'argument' if counted else 'text'} {name}")
    return f"      def {method}: ({', '.join(types)}) -> {result(row.result)}"


def result(of):
    inside = [result(part) for part in of.parts]
    value = {
        "list": f"Array[{inside[0]}]" if inside else "",
        "map": f"Hash[String, {inside[0]}]" if inside else "",
        "tuple": f"[{', '.join(inside)}]",
    }.get(of.kind) or ("String" if of.kind.startswith("'") else TYPES[of.kind])
    return f"{value}?" if of.optional and value != "reply" else value

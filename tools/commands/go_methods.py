"""The methods of the binding for Go: bindings/go/commands.go, commands_pipeline.go and commands_encode.go."""

import re
import textwrap

FOLDER = "bindings/go/"
HEAD = "// {note}\n\npackage rediscluster\n\n"

# A method of this name does more, and is written by hand.
BY_HAND = {"Scan"}

# Types of parameters: the type in Go, and the method of the encoder.
TYPES = {
    "key": ("string", "text"), "text": ("string", "text"), "value": ("any", "value"), "int": ("int64", "int"),
    "float": ("float64", "float"), "seconds": ("time.Duration", "seconds"),
    "milliseconds": ("time.Duration", "milliseconds"), "unixtime": ("time.Time", "unixTime"),
    "unixtime-ms": ("time.Time", "unixMillis"), "open": ("any", "value"),
}

# Names that Go writes or uses otherwise.
NAMES = {
    "unixtime": "at", "unixtime-ms": "at", "error": "errorRate", "arguments": "args", "argument": "arg", "ip": "ip",
    "capacity": "capacity",
}

# Results: what a method returns before its error, and the expression for the value v.
RESULTS = {
    "ok": ("", "v.Err()"), "any": ("Value", "v, v.Err()"),
    "status": ("string", "v.Text()"), "'PONG'": ("string", "v.Text()"), "text": ("string", "v.Text()"),
    "int": ("int64", "v.Int()"), "bool": ("bool", "v.Bool()"), "float": ("float64", "v.Float()"),
    "[text]": ("[]string", "v.Texts()"), "[int]": ("[]int64", "v.Ints()"), "[float]": ("[]float64", "v.Floats()"),
    "[bool]": ("[]bool", "v.Bools()"), "{text}": ("map[string]string", "v.TextMap()"),
    "{int}": ("map[string]int64", "v.IntMap()"), "{any}": ("map[string]Value", "v.Map()"),
    "[{any}]": ("[]map[string]Value", "v.Maps()"), "[scored]": ("[]Scored", "v.Scored()"),
    "[entry]": ("[]StreamEntry", "v.StreamEntries()"), "{[entry]}": ("map[string][]StreamEntry", "v.Streams()"),
    "(text text)": ("key, value string", "v.keyAndText()"),
    "(text [text])": ("key string, values []string", "v.keyAndTexts()"),
    "(text text float)": ("key, member string, score float64", "v.keyAndScored()"),
    "(int int)": ("first, second int64", "v.twoInts()"),
    "page": ("elements []string, next string", "v.page()"),
}


def files(rows, note):
    encoded, rows = rows, [row for row in rows if row.method not in BY_HAND]
    head = HEAD.format(note=note)
    return {
        FOLDER + "commands.go": head + 'import (\n\t"context"\n\t"time"\n)\n' + "".join(map(client_method, rows)),
        FOLDER + "commands_pipeline.go":
            head + 'import "time"\n' + "".join(pipeline_method(row) for row in rows if not row.blocking or "..." in reads(row)),
        FOLDER + "commands_encode.go": head + 'import "time"\n' + "".join(map(encoder, encoded)),
    }


def reads(row):
    """XREAD blocks only if it is told to."""
    return "..." if row.command in ("XREAD", "XREADGROUP") else ""


def variable(parameter):
    name = NAMES.get(parameter.name, parameter.name)
    if parameter.type in ("seconds", "milliseconds") and name != "timeout":
        name = "d"
    first, *rest = name.split("-")
    name = first + "".join("ID" if word == "id" else word.capitalize() for word in rest)
    if parameter.many:
        name = name[:-1] + "ies" if name.endswith("y") and name != "key" else name + "s"
    return name


def go_type(parameter):
    kind = TYPES[parameter.type][0]
    if parameter.counted:
        return "[]" + kind
    return "..." + kind if parameter.many or parameter.type == "open" else kind


def declared(row):
    """The parameters in the order of the method: what may be many comes last."""
    parameters = [parameter for parameter in row.parameters if parameter.type != "literal"]
    return sorted(parameters, key=lambda parameter: go_type(parameter).startswith("..."))


def parameter_list(row):
    groups = []
    for parameter in declared(row):
        if groups and groups[-1][1] == go_type(parameter) and not go_type(parameter).startswith("..."):
            groups[-1][0].append(variable(parameter))
        else:
            groups.append(([variable(parameter)], go_type(parameter)))
    return ", ".join(f"{', '.join(names)} {kind}" for names, kind in groups)


def argument_list(row):
    return "".join(f", {variable(parameter)}{'...' if go_type(parameter).startswith('...') else ''}"
                   for parameter in declared(row))


def result(row):
    """What the method returns before its error, and the expression."""
    of = str(row.result)
    if of.endswith("?") and of.count("?") == 1:
        of = of[:-1]
    if of not in RESULTS and row.result.kind == "list":
        return "[]Value", "v.Slice()"
    return RESULTS[of]


def returned(row):
    types, _ = result(row)
    if not types:
        return "error"
    return f"({types}, err error)" if " " in types else f"({types}, error)"


def sentences(row):
    text = row.summary[0].lower() + row.summary[1:]
    if row.summary.startswith("As "):
        text = "is " + text
    if row.result.optional and result(row)[0] != "Value":
        text += " The error is [Nil] if there is none."
    return text


def since(row):
    known = {"redis": "Redis", "valkey": "Valkey"}
    versions = {known[kind]: version for kind, version in row.versions.items()}
    if not versions:
        return "A command of a module." if row.group == "module" or "." in row.command else ""
    if len(set(versions.values())) == 1 and "Redis" in versions and "Valkey" in versions:
        return f"Since Redis {versions['Redis']}."
    return "Since " + " and ".join(f"{kind} {version}" for kind, version in versions.items()) + "."


def comment(text):
    return "".join(f"// {line}\n" for line in textwrap.wrap(text, 110, break_on_hyphens=False, break_long_words=False))


def written(parameter):
    """A parameter of a command that no server has documented."""
    if parameter.type == "open":
        return "[argument ...]"
    text = f"{parameter.name} [{parameter.name} ...]" if parameter.many else parameter.name
    return f"numkeys {text}" if parameter.counted else text


def client_method(row):
    usage = f"{row.command} {row.arguments or ' '.join(map(written, row.parameters))}".strip()
    expression = result(row)[1]
    run = "c.run(ctx, cmd)"
    if expression == "v, v.Err()":
        body = f"\tv := {run}\n\treturn v, v.Err()\n"
    else:
        body = f"\treturn {expression.replace('v.', run + '.', 1)}\n"
    alone = "\tcmd.unbatched = true\n" if row.blocking else ""
    parameters = parameter_list(row)
    # A usage longer than a screen is in the servers' manuals.
    lines = [f"//\n//\t{usage}\n"] if len(usage) < 400 else []
    lines += [f"//\n{comment(since(row))}"] if since(row) else []
    return (f"\n{comment(f'{row.method} {sentences(row)}')}{''.join(lines)}"
            f"func (c *Client) {row.method}(ctx context.Context{', ' * bool(parameters)}{parameters}) {returned(row)} {{\n"
            f"\tcmd := newCommand()\n\tencode{row.method}(&cmd.encoder{argument_list(row)})\n{alone}{body}}}\n")


def pipeline_method(row):
    return (f"\n// {row.method} appends {row.command}: see [Client.{row.method}].\n"
            f"func (p *Pipeline) {row.method}({parameter_list(row)}) *Pipeline {{\n"
            f"\te := p.encoder()\n\tencode{row.method}(&e{argument_list(row)})\n\treturn p.addEncoded(&e)\n}}\n")


def bulk(word):
    return f"${len(word)}\\r\\n{word}\\r\\n"


def encoder(row):
    words = row.command.split()
    count = len(words)
    lengths, lines = [], []
    for parameter in row.parameters:
        name = variable(parameter)
        if parameter.type == "literal":
            count += 1
            lines.append(f'e.text("{parameter.name}")')
            continue
        method = TYPES[parameter.type][1]
        if parameter.name == "timeout":
            method = "timeout"
        if parameter.counted:
            count += 1
            lines.append(f"e.int(int64(len({name})))")
        if go_type(parameter).startswith(("[]", "...")):
            lengths.append(f"len({name})")
            lines += [f"for _, one := range {name} {{", f"\te.{method}(one)", "}"]
        else:
            count += 1
            lines.append(f"e.{method}({name})")
    body = "".join(f"\t{line}\n" for line in lines)
    parameters = parameter_list(row)
    return (f"\nfunc encode{row.method}(e *encoder{', ' * bool(parameters)}{parameters}) {{\n"
            f"\te.begin({'+'.join([str(count), *lengths])}, {len(words)}, \"{''.join(map(bulk, words))}\")\n{body}}}\n")

"""The C header as pages of Markdown: one for each chapter, a heading for each function."""

import itertools
import re
import textwrap

DECLARED = re.compile(r"\b(rdc_\w+)\(")
CHAPTER = re.compile(r"^ ---- (.+?) -+ $")


def undecorated(comment):
    """The text of a comment: without the frame of its lines."""
    frame = re.compile(r"^( \*( |$)|   )", re.MULTILINE)
    return frame.sub("", comment.rstrip().removesuffix("*")).strip()


def markdown(text):
    """A comment as Markdown. Its indented lines are programs, but for those of numbered lists."""
    out = []
    for paragraph in text.split("\n\n"):
        lines = paragraph.split("\n")
        if re.match(r"\d+\. ", lines[0]):
            out.append("\n".join(escape(re.sub(r"^ {3}", "    ", line)) for line in lines))
            continue
        for is_program, part in itertools.groupby(lines, key=lambda line: line.startswith("  ")):
            text = "\n".join(part)
            out.append(textwrap.indent(textwrap.dedent(text), "    ") if is_program else escape(text))
    return "\n\n".join(out)


def escape(text):
    """Plain text, in which names of C are code."""
    text = re.sub(r"([<>*_\[\]])", r"\\\1", text)
    code = r"(?:rdc\\_\w*(?:\\_\w+)*(?:\(\))?|RDC\\_\w*(?:\\_\w+)*)"
    return re.sub(code, lambda name: "`" + name.group().replace("\\", "") + "`", text)


def items(header):
    """Of each comment its text, and the declaration that follows it."""
    for found in re.finditer(r"/\*(.*?)\*/(?:\n#ifndef __cplusplus)?(?:\n(?!\n)(.+?))?(?=\n\n|\Z)", header, re.DOTALL):
        yield found.group(1), (found.group(2) or "").replace("\n#endif", "")


def chapters(header):
    """Title and items of each chapter; the first one has the comment on the whole header."""
    title, body = "Constants and types", []
    for comment, declaration in items(header):
        chapter = CHAPTER.match(comment)
        if chapter:
            yield title, body
            title, body = chapter.group(1), []
        elif declaration.startswith(("#define RDC_", "#define rdc_", "typedef")) or DECLARED.search(declaration):
            body.append((undecorated(comment), declaration))
    yield title, body


def name(declaration):
    """What a heading says: the name of the function, type or number."""
    if declaration.startswith("#define"):
        return re.match(r"#define (\w+)", declaration).group(1)
    if declaration.startswith("typedef"):
        return re.search(r"(rdc_\w+)(?:;|\)\()", declaration).group(1)
    return DECLARED.search(declaration).group(1)


def file_name(title):
    return re.sub(r"\W+", "-", title.lower()).strip("-") + ".md"


def pages(header, callers):
    """The pages of the directory api, by their names. callers are the programs that call each function."""
    result = {}
    places = {}
    for title, body in chapters(header):
        text = [f"# {title}\n"]
        for about, declaration in body:
            places[name(declaration)] = file_name(title)
            text.append(f"## {name(declaration)}\n\n```c\n{declaration}\n```\n\n{markdown(about)}\n")
            programs = callers.get(name(declaration), [])
            if programs:
                links = ", ".join(f"[{program.name}](../{program}.md)" for program in programs)
                text.append(f"Called in {links}.\n")
        result[file_name(title)] = "\n".join(text)
    about = re.search(r"do not edit\.\n(.*?)\*/", header, re.DOTALL).group(1)
    index = ["# The C interface\n", "`#include <rediscluster.h>`\n", markdown(undecorated(about)), "\n"]
    for title, body in chapters(header):
        index.append(f"## [{title}]({file_name(title)})\n")
        index.append(", ".join(f"`{name(declaration)}`" for _, declaration in body) + "\n")
    result["README.md"] = "\n".join(index)
    return {file: linked(text, file, places) for file, text in result.items()}


def linked(text, file, places):
    """Names in code become links to their places."""
    def link(found):
        word = found.group(1)
        if word.removesuffix("()") not in places:
            return found.group()
        place = places[word.removesuffix("()")]
        return f"[`{word}`]({'' if place == file else place}#{word.removesuffix('()').lower()})"

    return re.sub(r"(?<!`)`((?:rdc|RDC)_\w+(?:\(\))?)`(?!`)", link, text)

"""Makes the pages of the website: the repository's Markdown, the C header, and the files that they link to.

    pages.py FOLDER    writes the pages into FOLDER

Pages keep their paths, so that links between them stay. A link to a source leads to a page that shows it.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import header

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"(\]\()([^)#:\s]+)((?:#[^)]*)?\))")
LANGUAGES = {
    **{"c": "c", "h": "c", "hpp": "cpp", "cpp": "cpp", "rs": "rust", "py": "python", "rb": "ruby", "go": "go"},
    **{"js": "javascript", "ts": "typescript", "java": "java", "cs": "csharp", "pl": "perl", "lua": "lua", "php": "php"},
    **{"sh": "bash", "zig": "zig", "rst": "rst"},
}
REPOSITORY = re.search(r'^repository = "(.+)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE).group(1)


def outside_code(text, change):
    """Applies change to what is not code."""
    parts = re.split(r"(```.*?\n```|`[^`\n]+`)", text, flags=re.DOTALL)
    return "".join(part if i % 2 else change(part) for i, part in enumerate(parts))


def programs(page):
    """The programs that the manual page of a function names: tests/repo/man has looked for them."""
    section = re.search(r"^\.SH EXAMPLES\n\.PP\n(.+)$", page, re.MULTILINE)
    return [Path(path.replace("\\-", "-")) for path in section.group(1).split(", ")]


class Site:
    def __init__(self, folder):
        self.folder = folder
        self.sources = set()

    def write(self, path, text):
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_text(text)

    def link(self, page, found):
        """A link of a page of the repository, as it must be in the site."""
        target = (page.parent / found.group(2)).resolve().relative_to(ROOT)
        path = ROOT / target
        if not path.exists():
            sys.exit(f"{page}: {found.group(2)} does not exist")
        if path == ROOT / "include/rediscluster.h":
            new = "api/README.md"
        elif path.is_dir() and (path / "README.md").exists():
            new = f"{target}/README.md"
        elif path.is_dir():
            return f"{found.group(1)}{REPOSITORY}/tree/main/{target})"
        elif path.suffix == ".md":
            return found.group()
        elif path.suffix == ".svg":
            self.write(target, path.read_text())
            return found.group()
        else:
            self.sources.add(target)
            new = f"{target}.md"
        up = "../" * len(page.relative_to(ROOT).parent.parts)
        return f"{found.group(1)}{up}{new}{found.group(3)}"

    def page(self, path):
        def relink(part):
            return LINK.sub(lambda found: self.link(ROOT / path, found), part)

        self.write(path, outside_code((ROOT / path).read_text(), relink))

    def source(self, path):
        fence = "````"
        language = LANGUAGES.get(path.suffix.removeprefix("."), "text")
        # Who searches for a function wants its page and the examples, not each test.
        head = "---\nsearch: {exclude: true}\n---\n\n" if path.parts[0] == "tests" else ""
        self.write(f"{path}.md", f"{head}# {path}\n\n{fence}{language}\n{(ROOT / path).read_text()}{fence}\n")


def main(folder):
    site = Site(folder)
    shutil.rmtree(folder, ignore_errors=True)
    tracked = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, check=True, capture_output=True, text=True)
    for path in tracked.stdout.split():
        site.page(path)
    callers = {page.stem: programs(page.read_text()) for page in (ROOT / "docs/man/man3").glob("*.3")}
    for path in site.sources.union(*callers.values()):
        site.source(path)
    for name, text in header.pages((ROOT / "include/rediscluster.h").read_text(), callers).items():
        site.write(f"api/{name}", text)
    for name in ("site.css", "search.js"):
        site.write(name, (ROOT / "tools/site" / name).read_text())


if __name__ == "__main__":
    main(Path(sys.argv[1]))

#!/usr/bin/env python3
"""Lists what a package is made of: which crates, in which versions, under which licences.

    inventory.py licences TRIPLE                              the texts of the licences
    inventory.py spdx TRIPLE CONTAINS|DEPENDS_ON PACKAGE      an SPDX 2.3 document in JSON

The crates are those that cargo links for the platform TRIPLE; what only the build uses is not among them. A source
package (DEPENDS_ON) does not contain them.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
REPOSITORY = "https://github.com/librediscluster/librediscluster"
LICENCE_FILE = re.compile(r"(licen[cs]e|copying|copyright|notice|unlicense)", re.IGNORECASE)


def run(*command):
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


class Crate:
    def __init__(self, package, checksum):
        self.name = package["name"]
        self.version = package["version"]
        self.licence = (package["license"] or "NOASSERTION").replace("/", " OR ")
        self.folder = Path(package["manifest_path"]).parent
        self.homepage = package["repository"] or package["homepage"] or "NOASSERTION"
        self.authors = package["authors"]
        self.checksum = checksum

    def __str__(self):
        return f"{self.name} {self.version}"


def crates(triple):
    """This crate, and the crates that are linked into it."""
    tree = run("cargo", "tree", "--locked", "-e", "normal,no-proc-macro", "--prefix", "none", "-f", "{p}",
               "--target", triple, *os.environ.get("FEATURES", "").split())
    linked = {tuple(line.split()[:2]) for line in tree.splitlines() if line}
    lock = re.findall(r'name = "(.*)"\nversion = "(.*)"\nsource = ".*"\nchecksum = "(.*)"',
                      (ROOT / "Cargo.lock").read_text())
    checksums = {(name, version): checksum for name, version, checksum in lock}
    found = []
    for package in json.loads(run("cargo", "metadata", "--locked", "--format-version", "1"))["packages"]:
        if (package["name"], "v" + package["version"]) in linked:
            found.append(Crate(package, checksums.get((package["name"], package["version"]))))
    found.sort(key=str)
    own = [crate for crate in found if crate.folder == ROOT]
    assert len(found) == len(linked) and len(own) == 1, "cargo tree and cargo metadata differ"
    return own[0], [crate for crate in found if crate.folder != ROOT]


def rust_version():
    return run("rustc", "--version").split()[1]


def licence_files(crate):
    """The files with the terms of a crate. One licence is enough where it offers several."""
    files = sorted(path for path in crate.folder.iterdir() if path.is_file() and LICENCE_FILE.match(path.name))
    if "MIT" in crate.licence.split(" OR "):
        return [path for path in files if "MIT" in path.name.upper()] or files
    return files


def own_text_of_mit(holder):
    """The project's MIT licence is the common text; only its holder is its own."""
    text = (ROOT / "LICENSE-MIT").read_text()
    return re.sub(r"(?m)^Copyright.*$", f"Copyright (c) {holder}", text)


def licences(triple):
    own, linked = crates(triple)
    print(f"librediscluster {own.version} is linked from the parts below, whose licences follow.\n"
          f"Its own licence is {own.licence}.")
    texts = {}
    for crate in linked:
        paths = licence_files(crate)
        text = "\n".join(path.read_text(errors="replace").strip() for path in paths)
        if not paths:
            text = f"{crate.homepage}\nThe package has no text of its licence. Authors: " + ", ".join(crate.authors)
        texts.setdefault(text, []).append(f"{crate} ({crate.licence})")
    standard = own_text_of_mit("The Rust Project Contributors").strip()
    texts.setdefault(standard, []).append(f"The standard library of Rust {rust_version()} (MIT OR Apache-2.0)")
    for text, names in sorted(texts.items(), key=lambda item: item[1]):
        print("\n" + "=" * 100)
        print("\n".join(names) + "\n\n" + text)


def part(name, version, licence, purl, **more):
    identifier = re.sub(r"[^A-Za-z0-9.-]", "-", f"SPDXRef-{name}-{version}")
    return {
        "SPDXID": identifier, "name": name, "versionInfo": version, "filesAnalyzed": False,
        "downloadLocation": "NOASSERTION", "licenseConcluded": licence, "licenseDeclared": licence,
        "copyrightText": "NOASSERTION",
        "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}],
        **more,
    }


def parts(triple, linked):
    for crate in linked:
        yield part(
            crate.name, crate.version, crate.licence, f"pkg:cargo/{crate.name}@{crate.version}",
            checksums=[{"algorithm": "SHA256", "checksumValue": crate.checksum}],
        )
    rust = rust_version()
    yield part("rust-std", rust, "MIT OR Apache-2.0", f"pkg:generic/rust-std@{rust}")
    if triple.endswith(("-musl", "-freebsd")):
        yield part("libunwind", "zig-0.15.2", "Apache-2.0 WITH LLVM-exception", "pkg:generic/libunwind@zig-0.15.2")


def spdx(triple, relation, path):
    own, linked = crates(triple)
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    name = Path(path).name
    package = part("librediscluster", own.version, own.licence, f"pkg:cargo/{own.name}@{own.version}",
                   packageFileName=name, checksums=[{"algorithm": "SHA256", "checksumValue": digest}])
    package["SPDXID"] = "SPDXRef-Package"
    others = list(parts(triple, linked))
    relations = [("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-Package")]
    relations += [("SPDXRef-Package", relation, other["SPDXID"]) for other in others]
    created = datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), timezone.utc)
    json.dump({
        "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": name,
        "documentNamespace": f"{REPOSITORY}/spdx/{name}-{digest}",
        "creationInfo": {"created": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
                         "creators": ["Organization: librediscluster", f"Tool: inventory.py-{own.version}"]},
        "packages": [package, *others],
        "relationships": [
            {"spdxElementId": left, "relationshipType": kind, "relatedSpdxElement": right}
            for left, kind, right in relations
        ],
    }, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    {"licences": licences, "spdx": spdx}[sys.argv[1]](*sys.argv[2:])

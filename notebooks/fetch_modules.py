"""Fetch the modules that the notebooks compare: real releases from the npm registry, into the folder `modules`.

Nothing is fetched that is there already. Both packages have the MIT licence.
"""

import hashlib
import io
import os
import sys
import tarfile
import urllib.request
from pathlib import Path

FOLDER = Path(__file__).parent / "modules"
REGISTRY = os.environ.get("NPM_CONFIG_REGISTRY", "https://registry.npmjs.org").rstrip("/")
TIMEOUT = 60.0
"""Longest silence of the registry, seconds."""
LARGEST = 16 * 1024 * 1024
"""Bytes of a package that are read."""

# (package, version, file in it, SHA-256 of the file)
MODULES = [
    (
        "web-tree-sitter",
        "0.26.12",
        "web-tree-sitter.wasm",
        "ba5c7a539603f251f380e4d6ce26ee954ffca7bda8b2e13744dc4c87d6ce6041",
    ),
    (
        "web-tree-sitter",
        "0.26.13",
        "web-tree-sitter.wasm",
        "99fa2281fc4c6da713ccdadce72e81571b032ab9901b751be2d5aa127c843aaf",
    ),
    (
        "web-tree-sitter",
        "0.27.0",
        "web-tree-sitter.wasm",
        "c03bccdc3b448a32848f5ae327e209c982bbb0840d43eec8bc2d5759544a1ed3",
    ),
    ("@dprint/json", "0.23.0", "plugin.wasm", "3e1f1b7c1427df6bd8981a11aaa2c466fde8d1115e9dde4c652130458539443c"),
    ("@dprint/json", "0.24.0", "plugin.wasm", "07316f98ceda3761d31569795d82b8a104cb078e54e46fb542c2a81728bc48f1"),
]


def path(package: str, version: str) -> Path:
    """Return where a module is kept."""
    return FOLDER / f"{package.removeprefix('@').replace('/', '-')}-{version}.wasm"


def fetch(package: str, version: str, file: str, sha256: str) -> None:
    """Fetch one module, unless it is there.

    Raises OSError if the registry does not give it, and ValueError if it gives something else.
    """
    target = path(package, version)
    if target.exists() and hashlib.sha256(target.read_bytes()).hexdigest() == sha256:
        return
    url = f"{REGISTRY}/{package}/-/{package.split('/')[-1]}-{version}.tgz"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            archive = answer.read(LARGEST)
        with tarfile.open(fileobj=io.BytesIO(archive)) as package_files:
            member = package_files.extractfile(f"package/{file}")
            if member is None:
                raise ValueError(f"{url} has no file {file}")
            module = member.read()
    except (OSError, KeyError, tarfile.TarError) as error:
        raise OSError(f"{url}: {error}") from error
    found = hashlib.sha256(module).hexdigest()
    if found != sha256:
        raise ValueError(f"{file} of {url} has the SHA-256 {found}, not {sha256}")
    FOLDER.mkdir(exist_ok=True)
    # Renamed when complete, so that nobody reads half a module.
    part = target.with_suffix(f".{os.getpid()}.part")
    part.write_bytes(module)
    part.replace(target)


def main() -> int:
    """Fetch all modules and return the exit status."""
    try:
        for module in MODULES:
            fetch(*module)
    except (OSError, ValueError) as error:
        print(f"error: cannot fetch the modules of the notebooks: {error}", file=sys.stderr)
        print(
            "hint: they come from the npm registry; NPM_CONFIG_REGISTRY names a mirror, HTTPS_PROXY a proxy",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

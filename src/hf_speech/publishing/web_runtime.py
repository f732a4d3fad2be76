"""The JavaScript that a static Space needs from npm: onnxruntime-web and mediabunny, downloaded once into the cache.

Versions and digests are those of `web/package-lock.json`, so that the module, its tests and the published pages use the
same files. The WebAssembly file is compressed here, since servers send such a file as it is.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import tarfile
import tempfile
from pathlib import Path

from hf_speech.common.digests import digest_file
from hf_speech.common.files import bundled_folder
from hf_speech.data.cache import build_once, cache_dir
from hf_speech.data.download import download
from hf_speech.errors import CorpusError, PublishError

_FILES = {
    "onnxruntime-web": ("dist/ort.wasm.bundle.min.mjs", "dist/ort-wasm-simd-threaded.wasm"),
    "mediabunny": ("dist/bundles/mediabunny.min.mjs",),
}
WASM = "ort-wasm-simd-threaded.wasm.gz"
FOLDER = "vendor"
"""The folder of these files in a Space."""


def web_dir() -> Path:
    """The folder of the JavaScript module."""
    return bundled_folder("web")


def runtime_folder() -> Path:
    """The folder with the files, which are downloaded if they are not in the cache.

    The registry is `NPM_CONFIG_REGISTRY`, as for npm, or the public one.

    Raises:
        PublishError: If they cannot be downloaded, or are not what the lock file says.
    """
    packages = json.loads((web_dir() / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    locked = {name: packages[f"node_modules/{name}"] for name in _FILES}
    folder = cache_dir() / "web" / "-".join(f"{name}-{lock['version']}" for name, lock in locked.items())
    with build_once(folder) as part:
        if part is not None:
            for name, lock in locked.items():
                _fetch(name, str(lock["version"]), str(lock["integrity"]), part)
    return folder


def is_runtime_file(path: Path) -> bool:
    """Whether a file is one of the cache, byte for byte."""
    if path.parent.name != FOLDER or path.is_symlink():
        return False
    known = runtime_folder() / path.name
    return known.is_file() and digest_file(path) == digest_file(known)


def _fetch(name: str, version: str, integrity: str, folder: Path) -> None:
    """Put the files of one package into a folder."""
    registry = os.environ.get("NPM_CONFIG_REGISTRY", "https://registry.npmjs.org").rstrip("/")
    with tempfile.TemporaryDirectory(prefix="hf-speech-npm-") as temporary:
        try:
            archive = download(f"{registry}/{name}/-/{name}-{version}.tgz", Path(temporary) / f"{name}.tgz")
        except CorpusError as error:
            raise PublishError(
                f"A static Space needs {name} {version} from npm, and it cannot be fetched ({str(error).rstrip('.')}): "
                "check the connection, or set NPM_CONFIG_REGISTRY."
            ) from error
        found = "sha512-" + base64.b64encode(bytes.fromhex(digest_file(archive, "sha512"))).decode()
        if found != integrity:
            raise PublishError(f"{name} {version} from {registry} is not the locked file ({found[:20]}): try again.")
        with tarfile.open(archive) as tar:
            for file in _FILES[name]:
                member = tar.extractfile(f"package/{file}")
                assert member is not None
                content, target = member.read(), folder / Path(file).name
                if target.suffix == ".wasm":
                    content, target = gzip.compress(content, mtime=0), folder / WASM
                target.write_bytes(content)

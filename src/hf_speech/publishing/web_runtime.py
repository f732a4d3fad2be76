"""Downloads the npm packages that a static Space needs, onnxruntime-web and mediabunny, into the cache.

Versions and checksums are those of `web/package-lock.json`, so that the module, its tests and the published pages use
the same files. The WebAssembly file is compressed, because static hosting does not compress it.
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
"""The folder of the runtime files in a Space."""


def web_dir() -> Path:
    """Returns the folder of the JavaScript module."""
    return bundled_folder("web")


def runtime_folder() -> Path:
    """Returns the cache folder of the runtime files and downloads them if necessary.

    The registry is `NPM_CONFIG_REGISTRY`, as for npm, or the public one.

    Raises:
        PublishError: If a file cannot be downloaded or its checksum differs from the lock file.
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
    """Returns whether a file is identical to one of the cached runtime files."""
    if path.parent.name != FOLDER or path.is_symlink():
        return False
    cached = runtime_folder() / path.name
    return cached.is_file() and digest_file(path) == digest_file(cached)


def _fetch(name: str, version: str, integrity: str, folder: Path) -> None:
    """Downloads the files of one package into a folder."""
    registry = os.environ.get("NPM_CONFIG_REGISTRY", "https://registry.npmjs.org").rstrip("/")
    with tempfile.TemporaryDirectory(prefix="hf-speech-npm-") as temporary:
        try:
            archive = download(f"{registry}/{name}/-/{name}-{version}.tgz", Path(temporary) / f"{name}.tgz")
        except CorpusError as error:
            raise PublishError(
                f"A static Space needs {name} {version} from npm, which cannot be downloaded "
                f"({str(error).rstrip('.')}): check the connection, or set NPM_CONFIG_REGISTRY."
            ) from error
        checksum = "sha512-" + base64.b64encode(bytes.fromhex(digest_file(archive, "sha512"))).decode()
        if checksum != integrity:
            raise PublishError(
                f"The checksum of {name} {version} from {registry} differs from the lock file ({checksum[:20]}): try "
                "again."
            )
        with tarfile.open(archive) as tar:
            for file in _FILES[name]:
                member = tar.extractfile(f"package/{file}")
                assert member is not None
                content, target = member.read(), folder / Path(file).name
                if target.suffix == ".wasm":
                    content, target = gzip.compress(content, mtime=0), folder / WASM
                target.write_bytes(content)

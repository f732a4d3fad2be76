"""Detects files that can run code when they are opened: pickles and programs, under any name.

Names are not reliable, so the contents are checked, including those of archives and compressed files. `pickletools`
recognizes a pickle by its instructions without running them; this covers joblib files, NumPy files of objects, and
PyTorch's `.pt` and `.bin`. The suffix alone is enough if the usual loader of such files unpickles.

picklescan, the maintained scanner, accepts every pickle whose imports are not on its list of dangerous ones, chooses
its parser by the file's suffix, and skips bzip2, xz, zlib, tar and programs. Here every pickle is rejected.
"""

from __future__ import annotations

import bz2
import importlib.util
import io
import lzma
import pickletools
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hf_speech.errors import PublishError
from hf_speech.publishing.checks.upload import Upload

PICKLE_SUFFIXES = frozenset(
    {".pkl", ".pickle", ".dill", ".joblib", ".pt", ".pt2", ".pth", ".bin", ".ckpt", ".mar", ".nemo"}
)
PROGRAM_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in (
        *("so", "dll", "dylib", "exe", "com", "bat", "cmd", "ps1", "vbs", "msi", "deb", "rpm", "apk"),
        *("jar", "class", "pyc", "pyd", "pyo", "whl", "egg"),
    )
)
_MAGIC: dict[str, tuple[bytes, ...]] = {
    "ELF": (b"\x7fELF",),
    "Mach-O": (b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe"),
    "Mach-O or Java": (b"\xca\xfe\xba\xbe",),
    "WebAssembly": (b"\0asm",),
    "Android": (b"dex\n",),
}
_COMPRESSIONS: dict[bytes, Callable[[], Any]] = {
    b"\x1f\x8b": lambda: zlib.decompressobj(16 + zlib.MAX_WBITS),
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\0": lzma.LZMADecompressor,
    **dict.fromkeys((b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"), zlib.decompressobj),
}
# Pickle instructions that import or call something.
_CALLS = frozenset({"GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "REDUCE", "BUILD"})
_MAX_READ = 1 << 20  # Bytes read of each file and unpacked of each member of an archive.
_MAX_DEPTH = 3  # Nested archives.
_MAX_MEMBERS = 10_000


def check(upload: Upload) -> None:
    """Rejects files that can run code when they are opened, and files that contain an archive."""
    for path in upload.files():
        name = upload.name(path)
        if (danger := detect_executable(path)) is not None:
            raise PublishError(f"{name} is {danger}, which can run any code when it is opened: remove it.")
        if is_archive(path):
            raise PublishError(f"{name} contains an archive, which may hold any file: write the file again.")


def check_beside(path: Path, name: str, folder: Path) -> None:
    """Rejects an unpublished program or pickle in the source folder, which another upload tool would include."""
    if (danger := detect_executable(path)) is not None:
        raise PublishError(
            f"{name} is {danger}, which can run any code when it is opened: delete it, or move it out of {folder}."
        )


def detect_executable(path: Path) -> str | None:
    """Describes a file if opening it could run code.

    Returns:
        A description such as "a pickle" or "a program (ELF)"; None for a harmless file.
    """
    with path.open("rb") as stream:
        return _detect_by_content(stream.read(_MAX_READ), stream, depth=0) or _detect_by_suffix(path.suffix.lower())


def is_archive(path: Path) -> bool:
    """Returns whether a file is a zip or tar archive, or ends with a zip archive."""
    with path.open("rb") as stream:
        return zipfile.is_zipfile(stream) or _tar_members(stream) is not None


def is_pickle(head: bytes) -> bool:
    """Returns whether bytes begin with a pickle of any protocol.

    A pickle of protocol 2 or later begins with its protocol. Protocols 0 and 1 are mostly text, and much ordinary
    text parses as their first instructions. So such a pickle must have an end, and either contain a call or have
    nothing after the end; or it must call a module that is installed, because a loader runs calls before it notices
    that the end is missing.
    """
    names: list[str] = []
    imports_module = False
    try:
        for operation, argument, position in pickletools.genops(io.BytesIO(head)):
            names.append(operation.name)
            if operation.name in ("GLOBAL", "INST"):
                imports_module = imports_module or _module_exists(str(argument).split(" ")[0])
            if operation.name == "STOP":
                ends_file = position is not None and not head[position + 1 :].strip() and len(names) > 2
                return names[0] == "PROTO" or bool(_CALLS & set(names)) or ends_file
    except Exception:  # pickletools raises many kinds of errors on other content.
        pass
    if names[:1] == ["PROTO"]:
        return len(names) > 2
    return imports_module and bool({"REDUCE", "INST", "OBJ"} & set(names))


def _module_exists(name: str) -> bool:
    top = name.partition(".")[0]
    if not top.isidentifier():
        return False
    try:
        return top in sys.stdlib_module_names or importlib.util.find_spec(top) is not None
    except (ImportError, ValueError):
        return False


def _detect_by_suffix(suffix: str) -> str | None:
    if suffix in PICKLE_SUFFIXES:
        return f"a pickle by its name ({suffix})"
    return f"a program by its name ({suffix})" if suffix in PROGRAM_SUFFIXES else None


def _detect_by_content(head: bytes, stream: io.BufferedIOBase, depth: int) -> str | None:
    """Describes dangerous content, also inside archives; `head` is the beginning of `stream`."""
    for format_name, magic in _MAGIC.items():
        if head.startswith(magic):
            return f"a program ({format_name})"
    if head[:2] == b"MZ" and b"PE\0\0" in head[:4096]:
        return "a program (Windows)"
    if head[2:4] == b"\r\n" and head[1:2] in (b"\x0b", b"\x0c", b"\x0d", b"\x0e", b"\x0f"):
        return "a program (Python bytecode)"
    if head.startswith(b"\x93NUMPY") and b"|O" in head[:1024]:
        return "a NumPy file of pickled objects"
    if is_pickle(head):
        return "a pickle"
    if depth == _MAX_DEPTH:
        return None
    for member, content in _unpack(head, stream):
        danger = _detect_by_content(content, io.BytesIO(content), depth + 1)
        danger = danger or _detect_by_suffix(Path(member).suffix.lower())
        if danger is not None:
            return f"an archive with {danger} inside ({member})" if member else f"{danger}, compressed"
    return None


def _unpack(head: bytes, stream: io.BufferedIOBase) -> list[tuple[str, bytes]]:
    """Returns the names and first bytes of an archive's members; the content of a compressed file has no name."""
    for magic, decompressor in _COMPRESSIONS.items():
        if head.startswith(magic):
            if (members := _tar_members(stream)) is not None:
                return members
            try:
                return [("", decompressor().decompress(head, _MAX_READ))]
            except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError):
                return []
    stream.seek(0)
    if zipfile.is_zipfile(stream):
        stream.seek(0)
        return _zip_members(stream)
    return _tar_members(stream) or []


def _zip_members(stream: io.BufferedIOBase) -> list[tuple[str, bytes]]:
    members = []
    try:
        with zipfile.ZipFile(stream) as archive:
            for info in archive.infolist()[:_MAX_MEMBERS]:
                content = b""
                if not info.flag_bits & 1:  # Not encrypted.
                    with archive.open(info) as member:
                        content = member.read(_MAX_READ)
                members.append((info.filename, content))
    except (zipfile.BadZipFile, NotImplementedError, OSError, zlib.error, EOFError):
        pass  # Of a damaged archive, check the members that could be read.
    return members


def _tar_members(stream: io.BufferedIOBase) -> list[tuple[str, bytes]] | None:
    stream.seek(0)
    members = []
    try:
        with tarfile.open(fileobj=stream, mode="r:*") as archive:
            for info in archive:
                file = archive.extractfile(info) if info.isfile() else None
                members.append((info.name, b"" if file is None else file.read(_MAX_READ)))
                if len(members) == _MAX_MEMBERS:
                    break
    except (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError):
        return members or None
    return members or None

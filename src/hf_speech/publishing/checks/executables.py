"""Files that can run something when they are opened: pickles and programs, whatever they are called.

File names are not reliable, so contents are read: a pickle is recognized by following its own instructions
(`pickletools` reads them and runs none), inside archives and compressed files too. PyTorch's `.pt` and `.bin`, joblib
files and NumPy files of objects contain pickles, and are found in the same way. A name is enough where the usual loader
of such a file unpickles.

picklescan, the maintained pickle scanner, answers another question: which imports of a pickle are known to be
dangerous. It lets through every pickle whose imports are not on its list, chooses its parser by the file's suffix,
and does not look into bzip2, xz, zlib, tar, or programs. Here no pickle of any content is sent, under any name.
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
from hf_speech.publishing.checks.structure import check_regular
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
# What makes a pickle run something.
_CALLS = frozenset({"GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "REDUCE", "BUILD"})
_MAX_READ = 1 << 20  # bytes looked at of each file, and unpacked of each member of an archive
_MAX_DEPTH = 3  # archives in archives
_MAX_MEMBERS = 10_000


def check(upload: Upload) -> None:
    """Refuses files that run something when they are opened, or hide an archive."""
    for path in upload.files():
        name = upload.name(path)
        if (danger := detect_executable(path)) is not None:
            raise PublishError(f"{name} is {danger}, which can run anything when it is opened: remove it.")
        if is_archive(path):
            raise PublishError(f"{name} hides an archive, in which anything could be: write the file again.")


def check_beside(path: Path, name: str, folder: Path) -> None:
    """Refuses a program or pickle next to what is sent, which the next upload by other means would take along."""
    check_regular(path, name)
    if (danger := detect_executable(path)) is not None:
        raise PublishError(
            f"{name} is {danger}, which can run anything when it is opened: delete it, or move it out of {folder}."
        )


def detect_executable(path: Path) -> str | None:
    """What a file is, if opening it could run something.

    Returns:
        "a pickle", "a program (ELF)", "an archive with a pickle (data.pkl)", or None for a harmless one.
    """
    with path.open("rb") as stream:
        return _by_content(stream.read(_MAX_READ), stream, depth=0) or _by_suffix(path.suffix.lower())


def is_archive(path: Path) -> bool:
    """Whether a file is a zip or tar archive, or has a zip archive after content of another format."""
    with path.open("rb") as stream:
        return zipfile.is_zipfile(stream) or _tar_members(stream) is not None


def is_pickle(head: bytes) -> bool:
    """Whether bytes begin with a pickle of any protocol.

    A pickle of protocol 2 or later names its protocol first. One of protocol 0 or 1 is text or nearly so, and much
    text parses as its first instructions. So it must reach its end, with a call on the way or with nothing after it,
    or call something that exists here: a loader runs the calls before it finds that the end is missing.
    """
    names: list[str] = []
    exists = False
    try:
        for operation, argument, position in pickletools.genops(io.BytesIO(head)):
            names.append(operation.name)
            if operation.name in ("GLOBAL", "INST"):
                exists = exists or _module_exists(str(argument).split(" ")[0])
            if operation.name == "STOP":
                whole = position is not None and not head[position + 1 :].strip() and len(names) > 2
                return names[0] == "PROTO" or bool(_CALLS & set(names)) or whole
    except Exception:  # pickletools fails in many ways on other bytes.
        pass
    if names[:1] == ["PROTO"]:
        return len(names) > 2
    return exists and bool({"REDUCE", "INST", "OBJ"} & set(names))


def _module_exists(name: str) -> bool:
    top = name.partition(".")[0]
    if not top.isidentifier():
        return False
    try:
        return top in sys.stdlib_module_names or importlib.util.find_spec(top) is not None
    except (ImportError, ValueError):
        return False


def _by_suffix(suffix: str) -> str | None:
    if suffix in PICKLE_SUFFIXES:
        return f"a pickle by its name ({suffix})"
    return f"a program by its name ({suffix})" if suffix in PROGRAM_SUFFIXES else None


def _by_content(head: bytes, whole: io.BufferedIOBase, depth: int) -> str | None:
    """What bytes are, looking into archives; `whole` is the stream that they begin."""
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
    for inside, content in _unpacked(head, whole):
        within = _by_content(content, io.BytesIO(content), depth + 1) or _by_suffix(Path(inside).suffix.lower())
        if within is not None:
            return f"an archive with {within} inside ({inside})" if inside else f"{within}, compressed"
    return None


def _unpacked(head: bytes, whole: io.BufferedIOBase) -> list[tuple[str, bytes]]:
    """Names and first bytes of what is in an archive; one without a name of a compressed file."""
    for magic, decompressor in _COMPRESSIONS.items():
        if head.startswith(magic):
            if (members := _tar_members(whole)) is not None:
                return members
            try:
                return [("", decompressor().decompress(head, _MAX_READ))]
            except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError):
                return []
    whole.seek(0)
    if zipfile.is_zipfile(whole):
        whole.seek(0)
        return _zip_members(whole)
    return _tar_members(whole) or []


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
        pass  # As much as can be read of a damaged archive has been read.
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

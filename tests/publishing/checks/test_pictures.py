"""Pictures are published without metadata, with unchanged pixels."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from hf_speech.errors import PublishError
from hf_speech.publishing import stage
from hf_speech.publishing.checks.pictures import without_metadata

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
NOTE = b"taken in my kitchen"


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(*chunks: bytes) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, "PNG")
    content = stream.getvalue()
    return content[:33] + b"".join(chunks) + content[33:]


def inside(content: bytes) -> bytes:
    """Returns a file with all compressed content unpacked."""
    found = content
    for start in range(len(content)):
        if content[start : start + 1] == b"\x78":
            try:
                found += zlib.decompress(content[start:])
            except zlib.error:
                continue
    return found


@pytest.mark.parametrize(
    "part",
    [
        chunk(b"tEXt", b"Comment\0" + NOTE),
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(NOTE)),
        chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(NOTE)),
        chunk(b"eXIf", b"MM\0*" + NOTE),
        chunk(b"tIME", NOTE[:7]),
        chunk(b"prVt", NOTE),
    ],
)
def test_removes_metadata_from_png(part: bytes) -> None:
    clean = without_metadata(png(part))
    assert NOTE[:7] not in inside(clean)
    assert (np.asarray(Image.open(io.BytesIO(clean))) == PIXELS).all()
    assert without_metadata(clean) == clean


def test_removes_metadata_from_pillow_png_and_jpeg() -> None:
    about = PngImagePlugin.PngInfo()
    about.add_itxt("Comment", NOTE.decode(), zip=True)
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, "PNG", pnginfo=about, dpi=(72, 72))
    assert NOTE not in inside(without_metadata(stream.getvalue()))
    exif = Image.Exif()
    exif[0x010E] = NOTE.decode()
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, "JPEG", exif=exif, comment=NOTE)
    assert NOTE in stream.getvalue()
    clean = without_metadata(stream.getvalue())
    assert NOTE not in clean
    same = np.asarray(Image.open(io.BytesIO(stream.getvalue())))
    assert (np.asarray(Image.open(io.BytesIO(clean))) == same).all()


def test_rejects_damaged_pictures_and_other_files(digits: Path, tmp_path: Path) -> None:
    assert without_metadata(b"anything") == b"anything"
    (digits / "curves.png").write_bytes(png()[:-20])
    with pytest.raises(PublishError, match=r"curves\.png is not a valid file of its type \(it is truncated"):
        stage(digits, tmp_path / "staged", repo_id="anna/x")


def test_staged_pictures_have_no_metadata(digits: Path, tmp_path: Path) -> None:
    (digits / "curves.png").write_bytes(png(chunk(b"tEXt", b"Author\0" + NOTE)))
    staged = stage(digits, tmp_path / "staged", repo_id="anna/x")
    assert NOTE not in (staged.folder / "curves.png").read_bytes()
    assert NOTE in (digits / "curves.png").read_bytes()

from __future__ import annotations

from pathlib import Path

from hf_speech.common.digests import digest_bytes, digest_data, digest_file, digest_files

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1


def test_digests_of_bytes_and_files(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert digest_bytes(b"abc") == digest_file(tmp_path / "abc") == ABC
    assert digest_file(tmp_path / "abc", "md5") == "900150983cd24fb0d6963f7d28e17f72"  # RFC 1321


def test_digest_does_not_depend_on_key_order() -> None:
    assert digest_data({"a": 1, "b": 2}) == digest_data({"b": 2, "a": 1}) != digest_data({"a": 1, "b": 3})
    assert digest_data("ab", "c") != digest_data("a", "bc")
    assert digest_data("\udce4")  # a file name that is not UTF-8


def test_digest_depends_on_file_names_and_contents(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"x")
    two.write_bytes(b"x")
    assert len({digest_files([one]), digest_files([two]), digest_files([one, two]), digest_files([two, one])}) == 4

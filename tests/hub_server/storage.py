"""The loopback Hub's storage on disk: repositories with their history, and contents of files.

A repository is one JSON file that is replaced as a whole, so commits are atomic. Contents are stored beside it by their
checksum before a commit refers to them, as on the real Hub.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

SHA = re.compile(r"[0-9a-f]{40}")
# What the Hub writes into a new repository: binary formats are large files, whatever their size.
LARGE = (".safetensors", ".bin", ".pt", ".parquet", ".arrow", ".npz", ".pkl", ".wav", ".flac", ".mp3", ".ogg", ".png")
GITATTRIBUTES = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LARGE)


class Conflict(Exception):
    """Raised if something exists already or has changed in the meantime."""


class Missing(Exception):
    """Raised if a repository, revision or entry does not exist; `code` is the Hub's error code."""

    def __init__(self, code: str, message: str, commit: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.commit = commit


def git_sha1(content: bytes) -> str:
    """Returns the git blob id of a content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def pointer(sha256: str, size: int) -> bytes:
    """Returns the LFS pointer that git stores for a large file."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


class Repository:
    """A repository: refs, commits, pull requests and settings, in a JSON file."""

    def __init__(self, path: Path, state: dict[str, Any]) -> None:
        self.path = path
        self.state = state

    @property
    def private(self) -> bool:
        return bool(self.state["private"])

    @property
    def commits(self) -> dict[str, dict[str, Any]]:
        return self.state["commits"]

    @property
    def refs(self) -> dict[str, str]:
        """Full names (`refs/heads/main`) and the commits that they point to."""
        return self.state["refs"]

    def save(self) -> None:
        temporary = self.path.with_suffix(".new")
        temporary.write_text(json.dumps(self.state, indent=1))
        os.replace(temporary, self.path)

    def ref_name(self, revision: str) -> str | None:
        """Returns the full name of a branch, tag or pull request."""
        names = (revision, f"refs/heads/{revision}", f"refs/tags/{revision}")
        return next((name for name in names if name in self.refs), None)

    def resolve(self, revision: str) -> str:
        """Returns the commit of a branch, tag, `refs/pr/N` or SHA."""
        if (name := self.ref_name(revision)) is not None:
            return self.refs[name]
        if revision in self.commits:
            return revision
        raise Missing("RevisionNotFound", f"Invalid rev id: {revision}")

    def files(self, revision: str) -> dict[str, dict[str, Any]]:
        """Returns every file of a revision: `{"oid", "size"}`, and `"lfs": {"oid", "size"}` for a large one."""
        return self.commits[self.resolve(revision)]["files"]

    def history(self, revision: str) -> list[dict[str, Any]]:
        """Returns the commits of a revision, newest first, each with its `id`."""
        found, commit = [], self.resolve(revision)
        while commit:
            found.append({"id": commit, **self.commits[commit]})
            commit = self.commits[commit]["parent"]
        return found

    def commit(
        self,
        ref: str,
        files: Mapping[str, dict[str, Any]],
        *,
        title: str,
        author: str,
        message: str = "",
        parent: str | None = None,
    ) -> str:
        """Makes a commit of all `files` and moves `ref` (full name) to it, in one step."""
        entry = {
            "parent": parent if parent is not None else self.refs.get(ref),
            "title": title,
            "message": message,
            "author": author,
            "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "files": dict(sorted(files.items())),
        }
        commit = hashlib.sha1(json.dumps(entry).encode()).hexdigest()
        self.commits[commit] = entry
        self.refs[ref] = commit
        self.save()
        return commit


class Storage:
    """All repositories, and the contents of their files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lock = threading.RLock()
        for folder in ("blobs", "large", "repositories"):
            (root / folder).mkdir(parents=True, exist_ok=True)

    def _path(self, kind: str, name: str) -> Path:
        return self.root / "repositories" / f"{kind}--{name.replace('/', '--')}.json"

    def repository(self, kind: str, name: str) -> Repository:
        """Returns the current state of a repository; `kind` is model, dataset or space."""
        path = self._path(kind, name)
        if not path.is_file():
            raise Missing("RepoNotFound", "Repository not found")
        return Repository(path, json.loads(path.read_text()))

    def create(self, kind: str, name: str, *, private: bool, author: str, **settings: Any) -> Repository:
        """Creates a repository with the Hub's first commit."""
        if self._path(kind, name).exists():
            raise Conflict(f"You already created this {kind} repo")
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        state = {
            "kind": kind,
            "name": name,
            "private": private,
            "created": now,
            "refs": {},
            "commits": {},
            "discussions": [],
            "secrets": {},
            "variables": {},
            **settings,
        }
        repository = Repository(self._path(kind, name), state)
        first = {".gitattributes": self.keep(GITATTRIBUTES.encode())}
        repository.commit("refs/heads/main", first, title="initial commit", author=author)
        return repository

    def keep(self, content: bytes) -> dict[str, Any]:
        """Stores the content of a regular file and returns its entry for a commit."""
        oid = git_sha1(content)
        (self.root / "blobs" / oid).write_bytes(content)
        return {"oid": oid, "size": len(content)}

    def large(self, sha256: str) -> Path:
        """Returns the path for the content of a large file."""
        return self.root / "large" / sha256

    def keep_large(self, sha256: str, content: bytes) -> None:
        """Stores content uploaded as the large file `sha256`; `is_whole` checks whether it matches."""
        self.large(sha256).write_bytes(content)

    def is_whole(self, sha256: str) -> bool:
        """Returns whether a large file exists and matches its checksum; deletes it otherwise."""
        path = self.large(sha256)
        if not path.is_file():
            return False
        if hashlib.sha256(path.read_bytes()).hexdigest() == sha256:
            return True
        path.unlink()
        return False

    @staticmethod
    def large_entry(sha256: str, size: int) -> dict[str, Any]:
        """Returns the entry of a large file for a commit."""
        return {"oid": git_sha1(pointer(sha256, size)), "size": size, "lfs": {"oid": sha256, "size": size}}

    def read(self, entry: Mapping[str, Any]) -> bytes:
        """Returns the content of a file by its entry; for a large file, only if it was uploaded without Xet."""
        if "lfs" in entry:
            return self.large(entry["lfs"]["oid"]).read_bytes()
        return (self.root / "blobs" / entry["oid"]).read_bytes()


def is_large(path: str, sample: bytes, size: int) -> bool:
    """Returns whether the Hub treats a file as large."""
    return path.endswith(LARGE) or size > 10_000_000 or b"\0" in sample

"""A Hub server on the loopback interface for tests with huggingface_hub, stored on disk, with fault injection.

    with HubServer(folder) as hub:
        subprocess.run([...], env=hub.environment(home))  # HF_ENDPOINT, HF_TOKEN, HF_HOME
        hub.files("model", "ann/digits")

It listens on a real socket because the client is partly Rust; clients run in separate processes because they read their
settings at import.
"""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from hub_server import reading, repositories, uploads  # noqa: F401 - they enter their end points
from hub_server.app import Account, Entry, HubApp, decoded_commit
from hub_server.faults import Fault
from hub_server.storage import Storage
from hub_server.xet import XetStorage

# They look like the Hub's, so that whatever looks for tokens finds them.
WRITE_TOKEN = "hf_" + "LoopbackWriter" * 3
READ_TOKEN = "hf_" + "LoopbackReader" * 3
OTHER_TOKEN = "hf_" + "LoopbackSomebody" * 2
ACCOUNTS = {
    WRITE_TOKEN: Account("ann", "write", ("band",)),
    READ_TOKEN: Account("ann", "read", ("band",)),
    OTHER_TOKEN: Account("bob", "write", ("band",)),
}


class HubServer:
    """The server in a thread of this process.

    Args:
        root: The folder of its storage.
        xet: Whether it has Xet storage.
        multipart_bytes: Size of the parts in which larger files are uploaded.
    """

    def __init__(self, root: Path, *, xet: bool = False, multipart_bytes: int = 1 << 30) -> None:
        storage = XetStorage(root / "xet") if xet else None
        self.storage = Storage(root)
        self.app = HubApp(self.storage, ACCOUNTS, storage, multipart_bytes=multipart_bytes)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.app.origin = self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(self.app, http="h11", ws="none", lifespan="off", log_level="warning", interface="asgi3")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)

    def __enter__(self) -> HubServer:
        self._thread.start()
        while not self._server.started:
            time.sleep(0.005)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(10)
        self._socket.close()

    def environment(self, home: Path, token: str | None = WRITE_TOKEN) -> dict[str, str]:
        """Returns environment variables for a client that uses only this Hub and its own home."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING", "TRANSFORMERS_", "PYTEST"))}
        return kept | {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "0" if self.app.xet is not None else "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            # hf_xet would wait for minutes.
            "HF_XET_CLIENT_RETRY_BASE_DELAY": "10ms",
            "HF_XET_CLIENT_RETRY_MAX_ATTEMPTS": "3",
            "NO_PROXY": "127.0.0.1,localhost",
            **({"HF_TOKEN": token} if token is not None else {}),
        }

    @contextmanager
    def failing(self, *faults: Fault) -> Iterator[None]:
        """Injects faults in a context; each must have occurred when it ends."""
        self.app.faults.extend(faults)
        try:
            yield
        finally:
            self.app.faults.clear()
        assert all(fault.met for fault in faults), f"never came about: {[fault for fault in faults if not fault.met]}"

    # The current files.

    def files(self, kind: str, name: str, revision: str = "main") -> dict[str, bytes]:
        """Returns the contents of all files of a revision, by path."""
        entries = self.storage.repository(kind, name).files(revision)
        return {path: self._content(entry) for path, entry in entries.items()}

    def _content(self, entry: dict[str, Any]) -> bytes:
        if "lfs" in entry and not self.storage.large(entry["lfs"]["oid"]).is_file():
            assert self.app.xet is not None
            return self.app.xet.read(entry["lfs"]["oid"])
        return self.storage.read(entry)

    def history(self, kind: str, name: str, revision: str = "main") -> list[str]:
        """Returns the titles of a revision's commits, newest first."""
        return [commit["title"] for commit in self.storage.repository(kind, name).history(revision)]

    def exists(self, kind: str, name: str) -> bool:
        return self.storage._path(kind, name).exists()

    # The requests.

    @property
    def log(self) -> list[Entry]:
        return self.app.log

    def requests(self, method: str, path: str) -> list[Entry]:
        """Returns the requests of a method whose path matches a regular expression."""
        return [entry for entry in self.log if entry.method == method and re.search(path, entry.path)]

    def unknown(self) -> list[str]:
        """Returns the requests that this server does not support."""
        return sorted({f"{entry.method} {entry.path}" for entry in self.log if not entry.known})

    def received(self) -> Iterator[bytes]:
        """Yields all content that ever arrived, decoded from any container, accepted or not."""
        for entry in self.log:
            yield entry.body
            if "/commit/" in entry.path and entry.body:
                for _, value in decoded_commit(entry.body):
                    yield json.dumps(value, default=str).encode()
                    yield value.get("content", b"")
            if "/preupload/" in entry.path and entry.body:
                yield from (base64.b64decode(file["sample"]) for file in json.loads(entry.body)["files"])
        if self.app.xet is not None:
            yield from (self.app.xet.read(sha256) for sha256 in self.app.xet.files())

    def was_sent(self, content: bytes) -> bool:
        """Returns whether the received content contains these bytes."""
        return any(content in received for received in self.received())


__all__ = ["OTHER_TOKEN", "READ_TOKEN", "WRITE_TOKEN", "HubServer"]

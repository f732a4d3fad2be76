"""The loopback Hub's application: authentication, faults, routing, and the log.

Paths are matched before percent-decoding: `refs%2Fpr%2F1` is one part of a path. Unknown routes are answered with 501,
which the client does not retry, and are logged.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from hub_server.faults import Fault
from hub_server.storage import Missing, Repository, Storage
from hub_server.xet import XetStorage


@dataclass(frozen=True)
class Account:
    """The owner of a token, and its permissions."""

    name: str
    role: str = "write"
    organizations: tuple[str, ...] = ()


@dataclass
class Entry:
    """A logged request with its body."""

    method: str
    path: str
    query: str
    authorization: str | None
    body: bytes
    status: int = 0
    known: bool = True


@dataclass
class Call:
    """A request during its handling."""

    request: Request
    body: bytes
    account: Account | None
    no_space: bool = False
    corrupt: bool = False

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body or b"{}")

    @property
    def query(self) -> dict[str, str]:
        return dict(self.request.query_params)


class Refused(Exception):
    """Raised to answer with an error."""

    def __init__(self, status: int, message: str, code: str | None = None, **content: Any) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.content = status, message, code, content

    def response(self, headers: dict[str, str] | None = None) -> Response:
        headers = {"X-Error-Message": self.message, **(headers or {})}
        if self.code:
            headers["X-Error-Code"] = self.code
        return JSONResponse({"error": self.message, **self.content}, self.status, headers)


@dataclass
class HubApp:
    """The ASGI application.

    Attributes:
        storage: The repositories and their files.
        accounts: Accounts by token.
        xet: Xet storage, or None.
        origin: Its address, `http://127.0.0.1:PORT`.
        multipart_bytes: Size of the parts in which larger files are uploaded.
        faults: The faults to inject.
        log: All requests, in order.
        ignores_privacy: Whether new repositories are always public, which organizations can configure.
    """

    storage: Storage
    accounts: dict[str, Account]
    xet: XetStorage | None = None
    origin: str = ""
    multipart_bytes: int = 1 << 30
    faults: list[Fault] = field(default_factory=list)
    log: list[Entry] = field(default_factory=list)
    ignores_privacy: bool = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        path = scope["raw_path"].decode("ascii").partition("?")[0]
        query = scope["query_string"].decode()
        entry = Entry(request.method, path, query, request.headers.get("authorization"), b"")
        self.log.append(entry)
        fault = next((fault for fault in self.faults if fault.strikes(request.method, path)), None)
        try:
            async for piece in request.stream():
                entry.body += piece
                if fault is not None and fault.action == "cut":
                    receive.__self__.transport.abort()
                    return
        except ClientDisconnect:
            return
        response = self.answer(Call(request, entry.body, self._account(entry)), path, entry, fault)
        entry.status = response.status_code
        if fault is not None and fault.action == "cut after":
            receive.__self__.transport.abort()
            return
        await response(scope, receive, send)

    def answer(self, call: Call, path: str, entry: Entry, fault: Fault | None) -> Response:
        """Answers a request, or injects a fault."""
        if fault is not None and fault.action == "answer":
            return Refused(fault.status, fault.message).response(fault.headers)
        if fault is not None and fault.action == "first":
            assert fault.first is not None
            fault.first()
        call.no_space = fault is not None and fault.action == "no space"
        call.corrupt = fault is not None and fault.action == "corrupt"
        method = "GET" if call.request.method == "HEAD" else call.request.method
        try:
            for of_method, pattern, handler in ROUTES:
                if of_method == method and (match := pattern.fullmatch(path)):
                    if call.account is None and entry.authorization:
                        raise Refused(401, "Invalid credentials in Authorization header")
                    with self.storage.lock:
                        return handler(self, call, **{k: unquote(v) for k, v in match.groupdict("").items()})
            entry.known = False
            return Refused(501, f"The loopback Hub does not know {method} {path}").response()
        except Refused as refused:
            return refused.response()
        except Missing as missing:
            headers = {"X-Repo-Commit": missing.commit} if missing.commit else {}
            return Refused(404, str(missing), missing.code).response(headers)

    def _account(self, entry: Entry) -> Account | None:
        token = (entry.authorization or "").removeprefix("Bearer ").strip()
        return self.accounts.get(token)

    def repository(self, call: Call, kind: str, name: str, *, write: bool = False) -> Repository:
        """Returns a repository that the caller may read or write."""
        kind = kind.removesuffix("s") or "model"
        try:
            found = self.storage.repository(kind, name)
        except Missing:
            if call.account is None:
                raise Refused(401, "Invalid username or password.", "RepoNotFound") from None
            raise
        member = call.account is not None and self._owns(call.account, name)
        if found.private and not member:
            raise Refused(404 if call.account else 401, "Repository not found", "RepoNotFound")
        if write:
            self.check_write(call, name)
        return found

    def check_write(self, call: Call, name: str) -> Account:
        if call.account is None:
            raise Refused(401, "Invalid username or password.")
        if call.account.role != "write":
            raise Refused(403, "You must use a write token to access this resource")
        if not self._owns(call.account, name):
            raise Refused(403, f"You don't have the rights to write to {name.split('/')[0]}")
        return call.account

    @staticmethod
    def _owns(account: Account, name: str) -> bool:
        return name.split("/")[0] in (account.name, *account.organizations)

    def page(self, repository: Repository) -> str:
        """Returns the repository's web address."""
        prefix = {"model": "", "dataset": "datasets/", "space": "spaces/"}[repository.state["kind"]]
        return f"{self.origin}/{prefix}{repository.state['name']}"


Handler = Callable[..., Response]
ROUTES: list[tuple[str, re.Pattern[str], Handler]] = []
REPO = r"/api/(?P<kind>models|datasets|spaces)/(?P<name>[^/]+/[^/]+)"
GIT = r"/(?P<kind>datasets|spaces|)/?(?P<name>[^/]+/[^/]+)"


def route(method: str, path: str) -> Callable[[Handler], Handler]:
    """Registers a function in the table."""

    def enter(handler: Handler) -> Handler:
        ROUTES.append((method, re.compile(path), handler))
        return handler

    return enter


def spoil(content: bytes) -> bytes:
    """Returns the content with one changed byte in the middle."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def decoded_commit(body: bytes) -> list[tuple[str, dict[str, Any]]]:
    """Yields the lines of a commit as (key, value), with the content of files as bytes."""
    lines = []
    for line in body.splitlines():
        item = json.loads(line)
        if item["key"] == "file":
            item["value"]["content"] = base64.b64decode(item["value"]["content"])
        lines.append((item["key"], item["value"]))
    return lines

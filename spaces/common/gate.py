"""An ASGI middleware that restricts requests to gradio, which serves far more routes than a Space needs.

- Only the routes of the page, `gradio_client` and the MCP server are open. Queued functions can be called only through
  the queue, so that its limits apply, and `/file=` serves only uploads and examples.
- Request bodies are limited in size. Uploads are parsed here with limits on files, bytes and time, and stored by
  `uploads`; an aborted upload leaves no file behind.
- It records which sessions have an open page or wait for an answer, so that the state of others can be dropped.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from uploads import Uploads

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_FILES = 50
MAX_BODY = 2 * 2**20
_UPLOAD_SECONDS, _MAX_CONCURRENT_UPLOADS = 120, 100
_API = r"/gradio_api"
_SESSION = r"[\w-]{1,64}"
_READ = re.compile(
    r"/|/config|/favicon\.ico|/robots\.txt|/manifest\.json|/pwa_icon(/\d+)?|(/gradio_api)?/theme\.css"
    r"|/(assets|static|svelte)/[\w./@+-]+"
    rf"|{_API}/(info|openapi\.json|app_id|user|login_check|startup-events|queue/data|queue/status)"
    rf"|{_API}/(heartbeat/{_SESSION}|call/\w+/{_SESSION})"
)
_CALL = re.compile(rf"{_API}/(queue/join|call/(\w+)|cancel|reset)")
_MCP = re.compile(rf"{_API}/mcp(/.*)?")
_FILE = re.compile(rf"{_API}/file=(.+)")
_HEARTBEAT = re.compile(rf"{_API}/heartbeat/({_SESSION})")


class Gate:
    """The middleware.

    Args:
        app: The protected application.
        uploads: The table of uploads.
        max_megabytes: Maximal size of the uploads in one request.
        functions: The numbers of the functions that may be called.
        names: The names of the functions that programs may call.
        mcp: Whether the MCP server is enabled.

    Attributes:
        open_sessions: Number of open connections of each session, of pages and of callers that wait for an answer.
        last_seen: Monotonic time at which a connection of each session was last opened or closed.
    """

    def __init__(
        self,
        app: App,
        uploads: Uploads,
        max_megabytes: float,
        functions: Collection[int],
        names: Collection[str],
        mcp: bool = False,
    ) -> None:
        self.app, self.uploads, self.mcp = app, uploads, mcp
        self.max_megabytes, self.functions, self.names = max_megabytes, functions, names
        self.open_sessions: Counter[str] = Counter()
        self.last_seen: dict[str, float] = {}
        self._uploading = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, rejects or forwards a request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        path = scope["path"].rstrip("/") or "/"
        reads, posts = scope["method"] in ("GET", "HEAD"), scope["method"] == "POST"
        if reads and (_READ.fullmatch(path) or self._may_read_file(scope["path"])):
            await self._pass_on_with_session(scope, receive, send)
        elif reads and path == f"{_API}/upload_progress":
            # The browser tracks the progress itself and only needs the end.
            await Response('data: {"msg": "done"}\n\n', media_type="text/event-stream")(scope, receive, send)
        elif posts and path == f"{_API}/upload":
            await (await self._upload(scope, receive))(scope, receive, send)
        elif posts and self._may_call(path):
            await self._pass_on_with_limit(scope, receive, send, self._problem_of)
        elif self.mcp and _MCP.fullmatch(path):  # The MCP server checks its own requests.
            await self._pass_on_with_limit(scope, receive, send)
        elif scope["method"] == "OPTIONS":
            await self.app(scope, receive, send)
        else:
            await PlainTextResponse("This page does not exist.", 404)(scope, receive, send)

    def _may_read_file(self, path: str) -> bool:
        match = _FILE.fullmatch(path)
        return match is not None and self.uploads.find(match[1]) is not None

    def _may_call(self, path: str) -> bool:
        match = _CALL.fullmatch(path)
        return match is not None and (match[2] is None or match[2] in self.names)

    async def _pass_on_with_session(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forwards a request, and counts its session as open while the connection is open."""
        heartbeat = _HEARTBEAT.match(scope["path"])
        query = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("session_hash", [""])
        session = heartbeat[1] if heartbeat else query[0][:64]
        if not session:
            await self.app(scope, receive, send)
            return
        self.open_sessions[session] += 1
        self.last_seen[session] = time.monotonic()
        try:
            await self.app(scope, receive, send)
        finally:
            self.last_seen[session] = time.monotonic()
            self.open_sessions[session] -= 1
            if self.open_sessions[session] <= 0:
                del self.open_sessions[session]

    async def _pass_on_with_limit(
        self, scope: Scope, receive: Receive, send: Send, find_problem: Callable[[bytes], str | None] | None = None
    ) -> None:
        """Reads a small body, and forwards the request unless `find_problem` finds a problem in it."""
        body = b""
        if scope["method"] == "POST":
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                body += message.get("body", b"")
                if len(body) > MAX_BODY:
                    await PlainTextResponse("This request is too large.", 413)(scope, receive, send)
                    return
                if not message.get("more_body"):
                    break
            problem = None if find_problem is None else find_problem(body)
            if problem:
                await JSONResponse({"detail": problem}, 422)(scope, receive, send)
                return
        sent = scope["method"] != "POST"

        async def replay() -> MutableMapping[str, Any]:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, replay, send)

    async def _upload(self, scope: Scope, receive: Receive) -> Response:
        """Stores the files of a request, and answers with a list of their paths, as gradio's clients expect."""
        limit = int(self.max_megabytes * 2**20) + MAX_FILES * 1024  # and the headers of the parts
        too_large = PlainTextResponse(
            f"This upload exceeds the maximum allowed size: {self.max_megabytes:g} MB at a time.", 413
        )
        request = Request(scope, receive)
        length = request.headers.get("content-length", "0")
        if not request.headers.get("content-type", "").startswith("multipart/form-data"):
            return PlainTextResponse("Send the files as multipart/form-data.", 400)
        if length.isdecimal() and int(length[:20]) > limit:
            return too_large
        if self._uploading >= _MAX_CONCURRENT_UPLOADS:
            return PlainTextResponse("Many sounds are being uploaded now: try again in a minute.", 503)
        received = 0

        async def counted() -> MutableMapping[str, Any]:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise HTTPException(413)
            return message

        self._uploading += 1
        try:
            async with (
                asyncio.timeout(_UPLOAD_SECONDS),
                Request(scope, counted).form(max_files=MAX_FILES, max_fields=MAX_FILES, max_part_size=1024) as form,
            ):
                files = [file for file in form.getlist("files") if isinstance(file, UploadFile)]
                if not files:
                    return PlainTextResponse("There is no file in this request.", 400)
                return JSONResponse([str((await self._store(file)).path) for file in files])
        except HTTPException as error:
            return too_large if error.status_code == 413 else PlainTextResponse(str(error.detail), 400)
        except (ClientDisconnect, TimeoutError):
            return PlainTextResponse("The upload was interrupted.", 400)
        except (MultiPartException, ValueError, KeyError, TypeError):
            return PlainTextResponse("This is not a form with files.", 400)
        finally:
            self._uploading -= 1

    async def _store(self, file: UploadFile) -> Any:
        return await asyncio.to_thread(self.uploads.add, file.filename or "", file.file)

    def _problem_of(self, body: bytes) -> str | None:
        """Returns what is wrong with the body of a call, or None if it is valid."""
        try:
            content = json.loads(body)
        except (ValueError, RecursionError):
            return "The body is not JSON."
        if not isinstance(content, dict):
            return "The body is not a JSON object."
        session = content.get("session_hash")
        if session is not None and not (isinstance(session, str) and re.fullmatch(_SESSION, session)):
            return "The session_hash is invalid."
        if session is not None:
            self.last_seen[session] = time.monotonic()
        index = content.get("fn_index")
        if index is not None and (type(index) is not int or index not in self.functions):
            return "The fn_index is not the number of a function that may be called."
        if not isinstance(content.get("data", []), list):
            return "The data is not a list."
        # A float that is not finite, or an integer of more than 64 bits, would cause status 500.
        for name, value in content.items():
            invalid = not isinstance(value, str | int | None) or (isinstance(value, int) and abs(value) >= 1 << 63)
            if name not in ("data", "event_data") and invalid:
                return f"The {name[:40]} is neither a string nor an integer."
        return None

"""The loopback Hub's uploads: preuploads, large files, commits, tags and pull requests.

A commit is checked completely before it is stored: its parent, its paths, and all of its large files.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from starlette.responses import JSONResponse, Response

from hub_server.app import GIT, REPO, Call, HubApp, Refused, decoded_commit, route, spoil
from hub_server.storage import Repository, is_large

NO_SPACE = "No space left on device"


@route("POST", REPO + r"/preupload/(?P<revision>[^/]+)")
def preupload(hub: HubApp, call: Call, kind: str, name: str, revision: str) -> Response:
    repository = hub.repository(call, kind, name, write=True)
    existing = repository.files(revision)
    answers = []
    for file in call.json["files"]:
        large = is_large(file["path"], base64.b64decode(file["sample"]), file["size"])
        there = existing.get(file["path"])
        answers.append(
            {
                "path": file["path"],
                "uploadMode": "lfs" if large else "regular",
                "shouldIgnore": False,
                "oid": None if there is None else there["lfs"]["oid"] if "lfs" in there else there["oid"],
            }
        )
    return JSONResponse({"files": answers})


@route("POST", GIT + r"\.git/info/lfs/objects/batch")
def batch(hub: HubApp, call: Call, kind: str, name: str) -> Response:
    hub.repository(call, kind, name, write=True)
    return JSONResponse({"transfer": "basic", "objects": [_way_in(hub, item) for item in call.json["objects"]]})


def _way_in(hub: HubApp, item: dict[str, Any]) -> dict[str, Any]:
    """Answers where to upload a large file, unless it already exists."""
    oid, size = item["oid"], item["size"]
    if hub.storage.is_whole(oid):
        return {"oid": oid, "size": size}
    base = f"{hub.origin}/large/{oid}"
    upload: dict[str, Any] = {"href": f"{base}?size={size}"}
    if size > hub.multipart_bytes:
        parts = -(-size // hub.multipart_bytes)
        header = {str(part): f"{base}?part={part}" for part in range(1, parts + 1)}
        upload = {"href": f"{base}/complete", "header": {"chunk_size": str(hub.multipart_bytes), **header}}
    actions = {"upload": upload, "verify": {"href": f"{hub.origin}/large-verify/{oid}"}}
    return {"oid": oid, "size": size, "actions": actions}


@route("PUT", r"/large/(?P<sha256>[0-9a-f]{64})")
def put(hub: HubApp, call: Call, sha256: str) -> Response:
    if call.request.headers.get("authorization"):
        raise Refused(400, "Only one auth mechanism allowed")
    if call.no_space:
        raise Refused(507, NO_SPACE)
    content = spoil(call.body) if call.corrupt else call.body
    part = call.query.get("part")
    name = f"{sha256}.{int(part):05d}" if part else sha256
    hub.storage.keep_large(name, content)
    return Response(headers={"ETag": f'"{hashlib.md5(content).hexdigest()}"'})


@route("POST", r"/large/(?P<sha256>[0-9a-f]{64})/complete")
def complete(hub: HubApp, call: Call, sha256: str) -> Response:
    content = b""
    for part in sorted(call.json["parts"], key=lambda item: item["partNumber"]):
        path = hub.storage.large(f"{sha256}.{part['partNumber']:05d}")
        piece = path.read_bytes() if path.is_file() else b""
        if part["etag"].strip('"') != hashlib.md5(piece).hexdigest():
            raise Refused(400, f"InvalidPart: {part['partNumber']}")
        content += piece
        path.unlink()
    hub.storage.keep_large(sha256, content)
    return JSONResponse({"success": True})


@route("POST", r"/large-verify/(?P<sha256>[0-9a-f]{64})")
def verify(hub: HubApp, call: Call, sha256: str) -> Response:
    if call.account is None:
        raise Refused(401, "Invalid username or password.")
    if not hub.storage.is_whole(sha256):
        raise Refused(422, f"Checksum mismatch: what arrived is not sha256 {sha256}")
    return JSONResponse({})


@route("POST", REPO + r"/commit/(?P<revision>[^/]+)")
def commit(hub: HubApp, call: Call, kind: str, name: str, revision: str) -> Response:
    repository = hub.repository(call, kind, name, write=True)
    assert call.account is not None
    lines = decoded_commit(call.body)
    header = next(value for key, value in lines if key == "header")
    base = repository.resolve(revision)
    pull_request = call.query.get("create_pr") == "1"
    parent = header.get("parentCommit")
    if parent is not None and pull_request:
        base = repository.resolve(parent)
    elif parent is not None and not base.startswith(parent):
        raise Refused(412, "A commit has happened since. Please refresh and try again.")
    ref = f"refs/heads/{revision}" if f"refs/heads/{revision}" in repository.refs else revision
    if ref not in repository.refs:
        raise Refused(400, f"Cannot commit on {revision}: it is no branch")
    if call.no_space:
        raise Refused(507, NO_SPACE)
    files = _applied(hub, dict(repository.files(base)), lines)
    texts = {"title": header["summary"], "message": header.get("description") or "", "author": call.account.name}
    answer = {"success": True, "hookOutput": ""}
    if pull_request:
        number = _open_pull_request(repository, call.account.name, header["summary"])
        made = repository.commit(f"refs/pr/{number}", files, parent=base, **texts)
        answer["pullRequestUrl"] = f"{hub.page(repository)}/discussions/{number}"
    else:
        made = repository.commit(ref, files, **texts)
    return JSONResponse(answer | {"commitOid": made, "commitUrl": f"{hub.page(repository)}/commit/{made}"})


def _applied(hub: HubApp, files: dict[str, Any], lines: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """Returns the files after the operations of a commit."""
    for key, value in lines:
        path = value.get("path", "")
        if key == "file":
            files[path] = hub.storage.keep(value["content"])
        elif key == "lfsFile":
            sha256 = value["oid"]
            in_xet = hub.xet.files().get(sha256) if hub.xet is not None else None
            if in_xet is None and not hub.storage.is_whole(sha256):
                raise Refused(400, f"LFS pointer points to a file that does not exist: {path}")
            size = in_xet.size if in_xet is not None else hub.storage.large(sha256).stat().st_size
            files[path] = hub.storage.large_entry(sha256, size)
        elif key == "deletedFile" and files.pop(path, None) is None:
            raise Refused(404, "A file with this name doesn't exist", "EntryNotFound")
    return files


def _open_pull_request(repository: Repository, author: str, title: str) -> int:
    pull_requests = repository.state["discussions"]
    pull_requests.append(
        {
            "num": len(pull_requests) + 1,
            "title": title,
            "status": "open",
            "author": {"name": author},
            "createdAt": "2026-01-01T00:00:00.000Z",
            "isPullRequest": True,
            "repo": {"name": repository.state["name"], "type": repository.state["kind"]},
        }
    )
    return len(pull_requests)


@route("GET", REPO + r"/discussions")
def discussions(hub: HubApp, call: Call, kind: str, name: str) -> Response:
    found = hub.repository(call, kind, name).state["discussions"]
    return JSONResponse({"discussions": found, "count": len(found), "start": 0})

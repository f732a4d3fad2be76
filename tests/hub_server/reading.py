"""The loopback Hub's downloads: lists and contents of files.

Large files are served from another origin (`localhost` for `127.0.0.1`), like the real Hub's CDN, which must not get
the token.
"""

from __future__ import annotations

import json
import re
import time
from typing import Any
from urllib.parse import parse_qs

import yaml
from starlette.responses import JSONResponse, Response

from hub_server.app import GIT, REPO, Call, HubApp, Refused, route, spoil
from hub_server.repositories import runtime_of
from hub_server.storage import Missing, Repository, pointer


@route("GET", REPO + r"(?:/revision/(?P<revision>[^/]+))?")
def info(hub: HubApp, call: Call, kind: str, name: str, revision: str) -> Response:
    repository = hub.repository(call, kind, name)
    commit = repository.resolve(revision or "main")
    files = repository.files(commit)
    content = {
        "_id": name,
        "id": name,
        "author": name.split("/")[0],
        "sha": commit,
        "private": repository.private,
        "gated": False,
        "disabled": False,
        "tags": [],
        "createdAt": repository.state["created"],
        "lastModified": repository.commits[commit]["date"],
        "siblings": [
            {"rfilename": path, "size": entry["size"], "blobId": entry["oid"]} for path, entry in files.items()
        ],
    }
    card = files.get("README.md")
    if card is not None and (match := re.match(r"---\n(.*?)\n---", hub.storage.read(card).decode(), re.DOTALL)):
        content["cardData"] = json.loads(json.dumps(yaml.safe_load(match.group(1)), default=str))
    if kind == "spaces":
        content |= {"sdk": repository.state.get("sdk"), "runtime": runtime_of(repository)}
    return JSONResponse(content, headers={"X-Repo-Commit": commit})


@route("GET", REPO + r"/tree/(?P<revision>[^/]+)(?:/(?P<path>.+))?")
def tree(hub: HubApp, call: Call, kind: str, name: str, revision: str, path: str) -> Response:
    repository = hub.repository(call, kind, name)
    commit = repository.resolve(revision)
    recursive = call.query.get("recursive", "").lower() in ("true", "1")
    listed: dict[str, dict[str, Any]] = {}
    start = f"{path.strip('/')}/" if path else ""
    files = repository.files(commit)
    for file, entry in files.items():
        if not file.startswith(start):
            continue
        parts = file.removeprefix(start).split("/")
        for depth in range(1, len(parts) if recursive else min(len(parts), 2)):
            folder = start + "/".join(parts[:depth])
            listed.setdefault(folder, {"type": "directory", "oid": "0" * 40, "size": 0, "path": folder})
        if recursive or len(parts) == 1:
            listed[file] = _file(hub, repository, commit, file, entry)
    if start and not listed:
        raise Missing("EntryNotFound", f"{path} does not exist on {revision}", commit)
    return JSONResponse(list(listed.values()), headers={"X-Repo-Commit": commit})


@route("POST", REPO + r"/paths-info/(?P<revision>[^/]+)")
def paths_info(hub: HubApp, call: Call, kind: str, name: str, revision: str) -> Response:
    repository = hub.repository(call, kind, name)
    commit = repository.resolve(revision)
    files = repository.files(commit)
    found = []
    for path in parse_qs(call.body.decode()).get("paths", []):
        if path in files:
            found.append(_file(hub, repository, commit, path, files[path]))
        elif any(file.startswith(f"{path}/") for file in files):
            found.append({"type": "directory", "oid": "0" * 40, "size": 0, "path": path})
    return JSONResponse(found)


def _file(hub: HubApp, repository: Repository, commit: str, path: str, entry: dict[str, Any]) -> dict[str, Any]:
    """Returns a file as in lists of files."""
    last = {key: repository.commits[commit][key] for key in ("title", "date")} | {"id": commit}
    shown = {"type": "file", "path": path, "oid": entry["oid"], "size": entry["size"], "lastCommit": last}
    if "lfs" in entry:
        size = len(pointer(entry["lfs"]["oid"], entry["size"]))
        shown["lfs"] = {**entry["lfs"], "pointerSize": size}
        if hub.xet is not None and (known := hub.xet.files().get(entry["lfs"]["oid"])):
            shown["xetHash"] = known.xet_hash
    return shown


@route("GET", GIT + r"/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
def resolve(hub: HubApp, call: Call, kind: str, name: str, revision: str, path: str) -> Response:
    repository = hub.repository(call, kind, name)
    commit = repository.resolve(revision)
    entry = repository.files(commit).get(path)
    if entry is None:
        raise Missing("EntryNotFound", "Entry not found", commit)
    headers = {"X-Repo-Commit": commit}
    if "lfs" not in entry:
        return _content(call, hub.storage.read(entry), headers | {"ETag": f'"{entry["oid"]}"'})
    sha256 = entry["lfs"]["oid"]
    headers |= {
        "X-Linked-Etag": f'"{sha256}"',
        "X-Linked-Size": str(entry["size"]),
        "Location": f"{hub.origin.replace('127.0.0.1', 'localhost')}/cdn/{sha256}",
    }
    if hub.xet is not None and (known := hub.xet.files().get(sha256)):
        url = f"{hub.origin}/api/{kind or 'models'}/{name}/xet-read-token/{commit}"
        headers |= {"X-Xet-Hash": known.xet_hash, "Link": f'<{url}>; rel="xet-auth"'}
    return Response(status_code=302, headers=headers)


@route("GET", r"/cdn/(?P<sha256>[0-9a-f]{64})")
def cdn(hub: HubApp, call: Call, sha256: str) -> Response:
    if call.request.headers.get("authorization"):
        raise Refused(400, "Only one auth mechanism allowed")
    kept = hub.storage.large(sha256)
    if kept.is_file():
        content = kept.read_bytes()
    else:
        assert hub.xet is not None
        content = hub.xet.read(sha256)
    if call.corrupt:
        content = spoil(content)
    return _content(call, content, {"ETag": f'"{sha256}"'})


def _content(call: Call, content: bytes, headers: dict[str, str]) -> Response:
    """Answers with a whole file or the requested range."""
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", call.request.headers.get("range", ""))
    headers = headers | {"Accept-Ranges": "bytes"}
    if asked is None:
        return Response(content, headers=headers, media_type="application/octet-stream")
    first, last = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
    if first >= len(content):
        return Response(status_code=416, headers=headers | {"Content-Range": f"bytes */{len(content)}"})
    headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
    return Response(content[first : last + 1], 206, headers, media_type="application/octet-stream")


@route("GET", REPO + r"/xet-(?P<access>read|write)-token/(?P<revision>[^/]+)")
def xet_token(hub: HubApp, call: Call, kind: str, name: str, access: str, revision: str) -> Response:
    hub.repository(call, kind, name, write=access == "write")
    if hub.xet is None:
        raise Missing("EntryNotFound", "This loopback Hub has no Xet storage")
    expires = int(time.time()) + 3600
    headers = {
        "X-Xet-Cas-Url": hub.xet.url,
        "X-Xet-Access-Token": "xet",
        "X-Xet-Token-Expiration": str(expires),
    }
    return JSONResponse({"casUrl": hub.xet.url, "accessToken": "xet", "exp": expires}, headers=headers)

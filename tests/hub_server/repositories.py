"""The loopback Hub's endpoints for accounts, repositories, refs and Spaces."""

from __future__ import annotations

import re
from typing import Any

import yaml
from starlette.responses import JSONResponse, Response

from hub_server.app import REPO, Call, HubApp, Refused, route
from hub_server.storage import Conflict, Repository


@route("GET", r"/api/whoami-v2")
def whoami(hub: HubApp, call: Call) -> Response:
    if call.account is None:
        raise Refused(401, "Invalid credentials in Authorization header")
    organizations = [{"name": name, "roleInOrg": call.account.role} for name in call.account.organizations]
    token = {"displayName": "test", "role": call.account.role}
    auth = {"type": "access_token", "accessToken": token}
    return JSONResponse({"type": "user", "name": call.account.name, "orgs": organizations, "auth": auth})


@route("POST", r"/api/repos/create")
def create(hub: HubApp, call: Call) -> Response:
    asked = call.json
    if call.account is None:
        raise Refused(401, "Invalid username or password.")
    kind = asked.get("type") or "model"
    name = f"{asked.get('organization') or call.account.name}/{asked['name']}"
    account = hub.check_write(call, name)
    private = (asked.get("visibility") == "private" or asked.get("private") is True) and not hub.ignores_privacy
    settings = {key: asked.get(key) for key in ("sdk", "hardware") if asked.get(key)}
    try:
        repository = hub.storage.create(kind, name, private=private, author=account.name, **settings)
    except Conflict as conflict:
        page = hub.page(hub.storage.repository(kind, name))
        raise Refused(409, str(conflict), url=page) from conflict
    for table in ("secrets", "variables"):
        repository.state[table] = {item["key"]: item for item in asked.get(table) or []}
    repository.save()
    return JSONResponse({"url": hub.page(repository), "name": name, "id": name})


@route("PUT", REPO + "/settings")
def settings(hub: HubApp, call: Call, kind: str, name: str) -> Response:
    repository = hub.repository(call, kind, name, write=True)
    if "visibility" in call.json:
        repository.state["private"] = call.json["visibility"] == "private"
    repository.save()
    return JSONResponse({"private": repository.private})


@route("POST", r"/api/validate-yaml")
def validate_yaml(hub: HubApp, call: Call) -> Response:
    problems = card_problems(call.json["content"], call.json.get("repoType") or "model")
    errors = [{"message": problem} for problem in problems]
    return JSONResponse({"errors": errors, "warnings": []}, 400 if errors else 200)


def card_problems(content: str, kind: str) -> list[str]:
    """Returns the Hub's objections to the metadata of a card."""
    match = re.match(r"---\n(.*?)\n---\n", content, re.DOTALL)
    if match is None:
        return []
    try:
        metadata = yaml.safe_load(match.group(1))
    except yaml.YAMLError as error:
        return [f"YAML is invalid: {error}"]
    if not isinstance(metadata, dict):
        return ["metadata must be an object"]
    problems = [
        f'"{key}" must not be empty' for key in ("license", "language") if key in metadata and not metadata[key]
    ]
    if kind == "space":
        if metadata.get("sdk") not in ("gradio", "docker", "static"):
            problems.append('"sdk" must be one of [gradio, docker, static]')
        if metadata.get("colorFrom") and metadata["colorFrom"] not in COLORS:
            problems.append(f'"colorFrom" must be one of {COLORS}')
        if len(metadata.get("short_description") or "") > 60:
            problems.append('"short_description" length must be less than or equal to 60 characters long')
    for model in metadata.get("model-index") or []:
        for result in model.get("results", []):
            if not {"task", "dataset", "metrics"} <= set(result):
                problems.append('"model-index[0].results[0]" needs task, dataset and metrics')
    return problems


COLORS = ["red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"]


@route("GET", REPO + r"/refs")
def refs(hub: HubApp, call: Call, kind: str, name: str) -> Response:
    repository = hub.repository(call, kind, name)

    def of(prefix: str) -> list[dict[str, str]]:
        return [
            {"name": ref.removeprefix(prefix), "ref": ref, "targetCommit": commit}
            for ref, commit in repository.refs.items()
            if ref.startswith(prefix)
        ]

    content = {"branches": of("refs/heads/"), "converts": [], "tags": of("refs/tags/"), "pullRequests": of("refs/pr/")}
    return JSONResponse(content)


@route("GET", REPO + r"/commits/(?P<revision>[^/]+)")
def commits(hub: HubApp, call: Call, kind: str, name: str, revision: str) -> Response:
    history = hub.repository(call, kind, name).history(revision)
    shown = [
        {key: entry[key] for key in ("id", "title", "message", "date")} | {"authors": [{"user": entry["author"]}]}
        for entry in history
    ]
    return JSONResponse(shown, headers={"X-Total-Count": str(len(shown))})


@route("POST", REPO + r"/(?P<what>branch|tag)/(?P<revision>[^/]+)")
def make_ref(hub: HubApp, call: Call, kind: str, name: str, what: str, revision: str) -> Response:
    repository = hub.repository(call, kind, name, write=True)
    if what == "tag":
        ref, commit = f"refs/tags/{call.json['tag']}", repository.resolve(revision)
    else:
        ref, commit = f"refs/heads/{revision}", repository.resolve(call.json.get("startingPoint") or "main")
    if ref in repository.refs:
        raise Refused(409, f"Reference {ref} already exists")
    repository.refs[ref] = commit
    repository.save()
    return JSONResponse({})


def runtime_of(repository: Repository) -> dict[str, Any]:
    stage = "BUILDING" if "README.md" in repository.files("main") else "NO_APP_FILE"
    hardware = repository.state.get("hardware") or "cpu-basic"
    return {"stage": stage, "hardware": {"current": None, "requested": hardware}, "gcTimeout": 172800, "replicas": {}}


@route("GET", r"/api/spaces/(?P<name>[^/]+/[^/]+)/runtime")
def runtime(hub: HubApp, call: Call, name: str) -> Response:
    return JSONResponse(runtime_of(hub.repository(call, "space", name)))


@route("GET", r"/api/spaces/(?P<name>[^/]+/[^/]+)/(?P<table>secrets|variables)")
def space_values(hub: HubApp, call: Call, name: str, table: str) -> Response:
    values = hub.repository(call, "space", name, write=True).state[table]
    hidden = {"value"} if table == "secrets" else set()
    return JSONResponse({key: {k: v for k, v in item.items() if k not in hidden} for key, item in values.items()})


@route("POST", r"/api/spaces/(?P<name>[^/]+/[^/]+)/(?P<table>secrets|variables)")
def set_space_value(hub: HubApp, call: Call, name: str, table: str) -> Response:
    repository = hub.repository(call, "space", name, write=True)
    repository.state[table][call.json["key"]] = call.json
    repository.save()
    return space_values(hub, call, name, table)


@route("POST", r"/api/spaces/(?P<name>[^/]+/[^/]+)/hardware")
def request_hardware(hub: HubApp, call: Call, name: str) -> Response:
    repository = hub.repository(call, "space", name, write=True)
    repository.state["hardware"] = call.json["flavor"]
    repository.save()
    return JSONResponse(runtime_of(repository))


@route("GET", r"/api/agent-harnesses")
def agent_harnesses(hub: HubApp, call: Call) -> Response:
    return JSONResponse({})

"""Fixtures for tests with a Hub; a conftest.py imports those that it offers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hub_server import HubServer
from hub_server.client import Client


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    """A Hub without Xet storage; tests share it and use separate repositories."""
    with HubServer(tmp_path_factory.mktemp("hub")) as server:
        yield server


@pytest.fixture(scope="session")
def client(hub: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A process that is logged in to that Hub as `ann`."""
    with Client(hub, tmp_path_factory.mktemp("home")) as process:
        yield process


@pytest.fixture(scope="session")
def xet_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    """A Hub with Xet storage."""
    with HubServer(tmp_path_factory.mktemp("xet_hub"), xet=True) as server:
        yield server


@pytest.fixture(scope="session")
def xet_client(xet_hub: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A process that is logged in to that Hub."""
    with Client(xet_hub, tmp_path_factory.mktemp("xet_home")) as process:
        yield process


@pytest.fixture(params=["without Xet", "with Xet"])
def place(request: pytest.FixtureRequest) -> tuple[HubServer, Client]:
    """Each of both Hubs in turn, with its client."""
    names = ("hub", "client") if request.param == "without Xet" else ("xet_hub", "xet_client")
    return request.getfixturevalue(names[0]), request.getfixturevalue(names[1])

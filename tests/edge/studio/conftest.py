"""A studio of the module's own, and somebody at its page."""

from __future__ import annotations

import pytest
from studio_client import client_of, running_studio


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    with running_studio(tmp_path_factory.mktemp("studio")) as server:
        yield server


@pytest.fixture
def client(studio):
    with client_of(studio) as client:
        yield client

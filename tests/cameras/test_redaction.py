from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cameras.redaction import redact_address

SECRET = st.text(string.ascii_letters + string.digits + "/?#@:%&=!$", min_size=6, max_size=20)


@given(SECRET.map(lambda secret: "Zq9" + secret))
def test_no_part_of_a_password_survives(password) -> None:
    name = redact_address(f"rtsp://operator:{password}@line3:554/cam0")
    assert "Zq9" not in name
    assert "operator" not in name
    assert name.endswith("line3:554/cam0")


@pytest.mark.parametrize("key", ["pwd", "password", "user", "token", "api_key", "Signature"])
def test_secrets_in_the_query_go_and_the_rest_stays(key) -> None:
    name = redact_address(f"http://camera/video?channel=2&{key}=topsecret&size=5")
    assert name == f"http://camera/video?channel=2&{key}=***&size=5"


def test_an_address_without_secrets_is_unchanged() -> None:
    assert (
        redact_address("rtsp://10.0.0.5:554/stream?channel=1")
        == "rtsp://10.0.0.5:554/stream?channel=1"
    )

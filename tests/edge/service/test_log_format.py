"""The log: one line each, no credentials, in text or JSON."""

from __future__ import annotations

import io
import json
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.service.log_format import logging_to

LOG = logging.getLogger("edge.test")


@pytest.mark.parametrize("form", ["text", "json"])
@settings(deadline=None)
@given(message=st.text(max_size=200))
def test_each_message_is_one_line(form, message) -> None:
    stream = io.StringIO()
    with logging_to(stream, form=form):
        LOG.warning("%s", message)
    text = stream.getvalue()
    assert text.endswith("\n")
    assert len(text[:-1].splitlines()) == 1
    if form == "json":
        assert json.loads(text)["level"] == "warning"


@pytest.mark.parametrize("form", ["text", "json"])
def test_credentials_are_in_no_line_and_no_traceback(form) -> None:
    stream = io.StringIO()
    address = "rtsp://admin:hunter2@cam/1?password=hunter2&x=1"
    with logging_to(stream, form=form):
        LOG.info("opening %s", address)
        try:
            raise RuntimeError(f"cannot open {address}")
        except RuntimeError:
            LOG.exception("failed at '%s'", address)
    assert "hunter2" not in stream.getvalue()
    assert stream.getvalue().count("rtsp://***@cam/1") >= 3


def test_extra_fields_are_in_the_object_and_levels_are_kept() -> None:
    stream = io.StringIO()
    with logging_to(stream, form="json", level="warning") as log:
        log.info("left out")
        LOG.warning("kept", extra={"camera": "left", "frame": 7})
    (line,) = stream.getvalue().splitlines()
    found = json.loads(line)
    assert (found["camera"], found["frame"], found["logger"]) == ("left", 7, "edge.test")
    assert found["time"].endswith("Z")
    LOG.warning("after the end: nobody's")
    assert len(stream.getvalue().splitlines()) == 1

"""The window: refused where there is no display, and closed by a key."""

from __future__ import annotations

import pytest
from results import result_of

from edge.sinks import window
from edge.sinks.sink import SinkError


def test_a_window_without_a_display_is_refused(monkeypatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(SinkError, match="no display"):
        window.WindowSink()


def test_a_display_that_does_not_answer_is_refused_and_kills_nothing(monkeypatch) -> None:
    monkeypatch.setenv("DISPLAY", ":4242")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(SinkError, match=r":4242|no windows"):
        window.WindowSink()


def test_a_window_shows_the_newest_and_ends_with_a_key(monkeypatch) -> None:
    shown, keys = [], [-1, -1, ord("q")]
    monkeypatch.setattr(window, "_require_display", lambda: None)
    for name, stand_in in {
        "namedWindow": lambda *_: None,
        "resizeWindow": lambda *_: None,
        "imshow": lambda _, picture: shown.append(picture),
        "waitKey": lambda _: keys.pop(0),
        "getWindowProperty": lambda *_: 1.0,
        "destroyAllWindows": lambda: None,
    }.items():
        monkeypatch.setattr(window.cv2, name, stand_in)
    with window.WindowSink() as sink:
        sink.write(result_of(0))
        sink.write(result_of(1))
        assert sink.poll()
        assert sink.poll()
        assert len(shown) == 1
        assert not sink.poll()
        assert not sink.poll()

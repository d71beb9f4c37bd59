"""Where the studio listens, who may log in, and what others need to reach it."""

from __future__ import annotations

import stat

import pytest

from edge.studio import sessions
from edge.studio.listening import door_from, tokens_from_file
from edge.studio.refusals import StudioError
from edge.studio.sessions import LOCAL, Sessions

TOKEN = "0123456789abcdef-Zq9"


@pytest.fixture
def tokens(tmp_path):
    path = tmp_path / "tokens"
    path.write_text(f"# who may\n\nanna {TOKEN}\nbert   {TOKEN[::-1]}\n")
    return path


def options(**given):
    from edge.options import StudioOptions

    return StudioOptions(**given)


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::1]:0", "localhost:9470", ":9470"])
def test_this_machine_needs_no_token(listen) -> None:
    door = door_from(options(listen=listen))
    assert (door.tokens, door.is_secure) == ({}, False)


@pytest.mark.parametrize("listen", ["0.0.0.0:9470", "192.0.2.7:9470", "[::]:9470"])
@pytest.mark.parametrize("missing", ["token", "tls", "both"])
def test_others_need_a_token_and_tls(listen, missing, tokens) -> None:
    given = {"token_file": tokens, "behind_tls": True}
    assert door_from(options(listen=listen, **given)).is_secure
    gone = {"token": ["token_file"], "tls": ["behind_tls"], "both": list(given)}[missing]
    for name in gone:
        del given[name]
    with pytest.raises(StudioError, match="others can reach this address; give --token-file"):
        door_from(options(listen=listen, **given))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"listen": "127.0.0.1"}, "the port is missing; write 127.0.0.1:9470"),
        ({"listen": "line3:9470"}, "the host is no IP address"),
        ({"tls_cert": "x.crt"}, "--tls-cert and --tls-key belong together"),
        ({"tls_cert": "x", "tls_key": "y", "behind_tls": True}, "two places of TLS"),
        ({"hosts": ("a b",)}, "'a b' is not a host name"),
        ({"token_file": "nowhere"}, "nowhere: cannot be read"),
    ],
)
def test_what_makes_no_sense_is_one_line(given, says) -> None:
    with pytest.raises(StudioError, match=says) as raised:
        door_from(options(**given))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no token in it"),
        ("anna short", "line 1: the token must be 16"),
        (TOKEN, "line 1: write NAME TOKEN"),
        (f"anna {TOKEN}\nanna {TOKEN}x", "line 2: write NAME TOKEN, each name once"),
        (f"an/na {TOKEN}", "line 1: write NAME TOKEN"),
    ],
)
def test_a_token_file_that_is_wrong_is_told_without_its_tokens(tmp_path, text, says) -> None:
    path = tmp_path / "tokens"
    path.write_text(text)
    with pytest.raises(StudioError, match=says) as raised:
        tokens_from_file(path)
    assert TOKEN not in str(raised.value)


def test_a_certificate_that_is_none_ends_in_one_line_and_code_2(run, tmp_path) -> None:
    (tmp_path / "x.crt").write_text("none")
    words = ("--listen", "127.0.0.1:0", "--tls-cert", "x.crt", "--tls-key", "x.crt")
    outcome = run("studio", *words)
    assert outcome.code == 2
    assert "give a certificate and its own key" in outcome.line()
    outcome = run("studio", "--listen", "0.0.0.0:0")
    assert outcome.code == 2
    assert "others can reach this address" in outcome.line()
    assert not (tmp_path / "studio.audit.jsonl").exists()


def test_sessions_know_whose_they_are(tokens) -> None:
    known = Sessions(tokens_from_file(tokens))
    fresh = known.new_cookie()
    assert known.is_ours(fresh)
    assert known.who(fresh) == ""
    name, cookie = known.log_in(TOKEN, "192.0.2.1")
    assert (name, known.who(cookie)) == ("anna", "anna")
    assert cookie != fresh
    assert known.shows_csrf(cookie, known.csrf(cookie))
    assert not known.shows_csrf(cookie, known.csrf(fresh))
    known.log_out(cookie)
    assert known.who(cookie) == ""
    assert not Sessions({}).is_ours(cookie)  # after another start
    local = Sessions({})
    assert local.who(local.new_cookie()) == LOCAL


def test_a_log_in_ends_after_a_shift_and_few_are_kept(tokens, monkeypatch) -> None:
    known = Sessions(tokens_from_file(tokens))
    _, first = known.log_in(TOKEN, "192.0.2.1")
    for _ in range(64):
        known.log_in(TOKEN, "192.0.2.1")
    assert known.who(first) == ""
    monkeypatch.setattr(sessions, "LOGGED_IN_S", -1.0)
    _, late = known.log_in(TOKEN, "192.0.2.1")
    assert known.who(late) == ""


def test_wrong_tokens_are_slowed_down(tokens) -> None:
    known = Sessions(tokens_from_file(tokens))
    waits = []
    for wrong in ("", "x", TOKEN + "x", TOKEN[:-1], "\xe9"):
        assert known.log_in(wrong, "192.0.2.1") == ("", "")
        waits.append(known.wait_s("192.0.2.1"))
    assert waits == sorted(waits)
    assert waits[-1] > 5
    assert known.wait_s("192.0.2.2") == 0
    for number in range(1500):
        known.log_in("x", f"10.0.{number // 256}.{number % 256}")
    assert len(known._failed) == 1000


def test_a_record_that_cannot_be_written_is_told_at_the_start(tmp_path) -> None:
    from edge.studio.audit import Audit

    (tmp_path / "folder").mkdir()
    with pytest.raises(StudioError, match="cannot be written"):
        Audit(tmp_path / "folder")
    first = Audit(tmp_path / "x.jsonl")
    with pytest.raises(StudioError, match="another program writes to it"):
        Audit(tmp_path / "x.jsonl")
    first.close()
    assert not (tmp_path / "x.jsonl").stat().st_mode & stat.S_IWOTH

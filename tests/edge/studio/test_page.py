"""The page as a browser gets it: languages, log-in, what is recorded."""

from __future__ import annotations

import pytest

from edge.studio.app import GROUPS


@pytest.mark.parametrize("group", [group.NAME for group in GROUPS])
@pytest.mark.parametrize("language", ["en", "de"])
def test_each_page_comes_whole_in_each_language(client, studio, group, language) -> None:
    client.http.headers["Accept-Language"] = language
    page = client.page(group)
    title = studio.studio.words.text(language, f"{group}.title")
    assert f"<h1>{title}</h1>" in page
    assert f'<html lang="{language}">' in page
    assert " style=" not in page and "onclick" not in page
    script = client.http.get(f"/static/{group}.js")
    assert script.status_code == 200
    assert "javascript" in script.headers["content-type"]


def test_a_change_is_done_and_recorded(client) -> None:
    client.page("history")
    client.command("/language", language="de")
    assert '<html lang="de">' in client.page("history")
    line = client.state("/history/lines")["lines"][0]
    assert line["when"] > "2020"
    del line["when"]
    told = {"who": "local", "address": "127.0.0.1", "what": "/language", "outcome": "done"}
    assert line == told

"""A folder that is removed is gone as a whole, whenever a kill comes."""

from __future__ import annotations

import shutil

import pytest

from engines.atomic_files import remove_folder


def test_what_a_kill_leaves_is_not_taken_for_the_folder(tmp_path, monkeypatch) -> None:
    old, older = tmp_path / "0001", tmp_path / "0002"
    for folder in (old, older):
        folder.mkdir()
        (folder / "manifest.json").write_text("{}")

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, "rmtree", killed)
        remove_folder(old)
    assert not old.exists() and older.exists()
    remove_folder(older)
    assert list(tmp_path.iterdir()) == []
    remove_folder(older)  # another process was quicker

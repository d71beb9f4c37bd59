"""Settings, candidates and versions as a page drives them: seen, then accepted, and told."""

from __future__ import annotations

import json

import pytest

from edge.inspection.settings import SettingsError, WantedSettings, change_settings
from edge.teaching.marked_parts import MarkedParts
from edge.teaching.proposal import ProposalRefusedError, accept
from edge.teaching.replacement import propose_promotion, propose_rollback, propose_settings
from engines.bundle import Bundle
from engines.errors import BundleError
from engines.versions import history_of, keep_version, versions_of

ENGINE = "onnxruntime"


def test_a_threshold_is_seen_before_it_is_set(bundle) -> None:
    before = Bundle.open(bundle)
    lax = propose_settings(before, WantedSettings(threshold=1e3), engine=ENGINE)
    row = next(one for one in lax.effect.rows() if one.kind == "drawn")
    assert row.before < row.after == row.parts == 40
    with pytest.raises(ProposalRefusedError, match="drawn defects that pass: 40, before"):
        accept(lax)
    assert Bundle.open(bundle) == before
    accepted = accept(lax, by="anna\n@page", force=True)
    assert accepted.bundle.manifest.threshold.value == 1e3
    with pytest.raises(SettingsError, match="somebody changed it meanwhile"):
        accept(lax, force=True)
    last = history_of(bundle)[-1]
    assert (last.what, last.by) == ("set", "anna?@page")
    assert json.dumps(lax.to_json())


def test_candidates_and_versions_are_seen_before_they_are_at_work(bundle, tmp_path) -> None:
    first = propose_promotion(Bundle.open(bundle), tmp_path / "line.edge", engine=ENGINE)
    assert first.effect.rows()[0].parts == 0
    assert accept(first, by="anna").version is None
    candidate = propose_promotion(Bundle.open(bundle), tmp_path / "line.edge", engine=ENGINE)
    change_settings(tmp_path / "line.edge", min_area=3)
    with pytest.raises(BundleError, match="somebody changed it meanwhile"):
        accept(candidate)
    back = propose_rollback(_kept(tmp_path / "line.edge"), engine=ENGINE)
    assert not any(part.is_changed for part in back.effect.parts)
    assert accept(back, by="bob").bundle.manifest.min_area == 3
    told = [(one.what, one.by) for one in history_of(tmp_path / "line.edge")]
    assert told[:2] == [("built", ""), ("promoted", "anna")]
    assert [what for what, _ in told[2:]] == ["set", "set", "rolled back"]
    assert told[-1] == ("rolled back", "bob")


def _kept(path):
    """A bundle of which a version is kept, and that is another by now."""
    keep_version(Bundle.open(path))
    change_settings(path, min_area=0)
    return path


def test_a_damaged_bundle_has_nothing_to_compare(bundle) -> None:
    version = keep_version(Bundle.open(bundle))
    (bundle / "model.onnx").write_bytes(b"no graph")
    back = propose_rollback(bundle, marked=MarkedParts((), ()), engine=ENGINE)
    assert (back.bundle, back.version, back.problems()) == (None, version, [])
    accept(back)
    assert len(versions_of(bundle)) == 1

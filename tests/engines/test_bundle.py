"""Bundles: written whole or not at all, and refused when one byte differs."""

from __future__ import annotations

import hashlib
import json

import onnx
import pytest
from bundle_files import leftovers, manifest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engines import atomic_files
from engines.bundle import Bundle, write_bundle
from engines.errors import BundleError
from engines.score_rule import MAXIMUM
from process.plain_files import sha256_of


def test_what_was_written_is_read(bundle, contents, tmp_path) -> None:
    again = Bundle.open(tmp_path / "bottle.edge")
    assert again == bundle
    assert again.model() == contents["model.onnx"]
    assert again.manifest.threshold.value == 0.25
    assert again.manifest.size == (64, 64)
    assert set(again.manifest.files) == set(contents)
    assert again.manifest.files["report.html"].size == 13
    assert again.plans == tmp_path / "bottle.edge" / "engines"
    assert leftovers(tmp_path) == []


def test_what_an_earlier_version_did_not_write_has_its_meaning(bundle) -> None:
    """A bundle without a pixel threshold, whose score is a maximum, goes on as it was."""
    path = bundle.path / "manifest.json"
    content = json.loads(path.read_text())
    del content["pixel_threshold"], content["seal"]
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    content["seal"] = hashlib.sha256(canonical.encode()).hexdigest()
    path.write_text(json.dumps(content))
    again = Bundle.open(bundle.path).manifest
    assert (again.pixel_threshold, again.score_rule) == (None, MAXIMUM)


def test_files_may_be_given_as_paths(tmp_path, contents) -> None:
    source = tmp_path / "source.onnx"
    source.write_bytes(contents["model.onnx"])
    written = write_bundle(
        tmp_path / "b.edge", manifest=manifest(), files={**contents, "model.onnx": source}
    )
    assert written.manifest.files["model.onnx"].sha256 == sha256_of(source)


def test_a_second_build_replaces_the_first_and_its_plans(bundle, contents, tmp_path) -> None:
    bundle.plans.mkdir()
    (bundle.plans / "old.plan").write_bytes(b"plan")
    write_bundle(bundle.path, manifest=manifest(seed=1), files=contents)
    assert Bundle.open(bundle.path).manifest.seed == 1
    assert not bundle.plans.exists()
    assert leftovers(tmp_path) == []


def test_where_names_cannot_be_exchanged_two_renames_do_it(
    bundle, contents, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(atomic_files, "_exchange", lambda one, other: False)
    write_bundle(bundle.path, manifest=manifest(seed=1), files=contents)
    assert Bundle.open(bundle.path).manifest.seed == 1
    assert leftovers(tmp_path) == []


def test_a_kill_between_two_renames_is_repaired_by_whoever_comes_next(bundle, contents) -> None:
    aside = bundle.path.parent / ".bottle.edge.old-0123"
    bundle.path.rename(aside)
    assert Bundle.open(bundle.path).manifest.seed == 0
    assert not aside.exists()
    bundle.path.rename(aside)
    write_bundle(bundle.path, manifest=manifest(seed=1), files=contents)
    assert Bundle.open(bundle.path).manifest.seed == 1
    assert leftovers(bundle.path.parent) == []


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("../model.onnx", "plain relative path"),
        ("/etc/passwd", "plain relative path"),
        ("golden/../../x", "plain relative path"),
        (".hidden", "plain relative path"),
        ("engines/x.plan", "cache"),
        ("manifest.json", "manifest itself"),
        ("a\\b", "plain relative path"),
        ("", "plain relative path"),
    ],
)
def test_paths_that_leave_the_bundle_are_refused(tmp_path, contents, path, said) -> None:
    with pytest.raises(BundleError, match=said):
        write_bundle(tmp_path / "b.edge", manifest=manifest(), files={**contents, path: b"content"})
    assert list(tmp_path.iterdir()) == []
    record = {"sha256": "0" * 64, "size": 1}
    with pytest.raises(ValueError, match=said):
        manifest(files={"golden/good.png": record, path: record})


def test_a_folder_that_is_no_bundle_is_not_replaced(tmp_path, contents) -> None:
    target = tmp_path / "photos"
    target.mkdir()
    (target / "mine.jpg").write_bytes(b"photo")
    with pytest.raises(BundleError, match="is no bundle"):
        write_bundle(target, manifest=manifest(), files=contents)
    assert (target / "mine.jpg").read_bytes() == b"photo"


def test_golden_images_and_the_graph_must_be_given(tmp_path, contents) -> None:
    for missing in ("model.onnx", "golden/good.png"):
        files = {name: data for name, data in contents.items() if name != missing}
        with pytest.raises(BundleError, match=f"{missing} was not given"):
            write_bundle(tmp_path / "b.edge", manifest=manifest(), files=files)


def rewrite(bundle: Bundle, **changes: object) -> None:
    """Change the manifest's text as a forger would, seal included."""
    from engines.manifest_file import _seal

    path = bundle.path / "manifest.json"
    content = json.loads(path.read_text())
    del content["seal"]
    content.update(changes)
    path.write_text(json.dumps({**content, "seal": _seal(content)}))


def _newer(bundle: Bundle) -> None:
    rewrite(bundle, schema_version=2)


def _unknown_field(bundle: Bundle) -> None:
    rewrite(bundle, run="rm -rf /")


def _escape(bundle: Bundle) -> None:
    record = {"sha256": "0" * 64, "size": 1}
    rewrite(bundle, files={"../secret": record, "golden/good.png": record})


def _no_model(bundle: Bundle) -> None:
    files = json.loads((bundle.path / "manifest.json").read_text())["files"]
    del files["model.onnx"]
    rewrite(bundle, files=files)


def _hand_edited(bundle: Bundle) -> None:
    path = bundle.path / "manifest.json"
    path.write_text(path.read_text().replace('"value": 0.25', '"value": 0.95'))


def _not_json(bundle: Bundle) -> None:
    (bundle.path / "manifest.json").write_text("{")


def _deep_json(bundle: Bundle) -> None:
    (bundle.path / "manifest.json").write_text("[" * 200_000)


def _a_list(bundle: Bundle) -> None:
    (bundle.path / "manifest.json").write_text("[]")


def _no_manifest(bundle: Bundle) -> None:
    (bundle.path / "manifest.json").unlink()


def _missing(bundle: Bundle) -> None:
    (bundle.path / "golden" / "good.png").unlink()


def _shorter(bundle: Bundle) -> None:
    path = bundle.path / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1])


def _extra_weights(bundle: Bundle) -> None:
    (bundle.path / "weights.data").write_bytes(b"")


def _hidden_plan(bundle: Bundle) -> None:
    (bundle.path / "golden" / "x.plan").write_bytes(b"")


def _link(bundle: Bundle) -> None:
    path = bundle.path / "report.html"
    outside = bundle.path.parent / "report.html"
    path.rename(outside)
    path.symlink_to(outside)


def _linked_folder(bundle: Bundle) -> None:
    outside = bundle.path.parent / "golden"
    (bundle.path / "golden").rename(outside)
    (bundle.path / "golden").symlink_to(outside)


def _linked_plans(bundle: Bundle) -> None:
    (bundle.path / "engines").symlink_to(bundle.path.parent)


def _folder_for_a_file(bundle: Bundle) -> None:
    (bundle.path / "report.html").unlink()
    (bundle.path / "report.html").mkdir()


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (_newer, "made by a newer protoedge .* upgrade"),
        (_unknown_field, "run: no such key"),
        (_escape, "plain relative path"),
        (_no_model, "lists no model.onnx"),
        (_hand_edited, "its seal does not fit"),
        (_not_json, "not JSON"),
        (_deep_json, "not JSON"),
        (_a_list, "its seal does not fit"),
        (_no_manifest, "no manifest.json"),
        (_missing, "good.png: the bundle is damaged: it is missing"),
        (_shorter, "bytes instead of"),
        (_extra_weights, "does not list this file"),
        (_hidden_plan, "does not list this file"),
        (_link, "symbolic links"),
        (_linked_folder, "symbolic links"),
        (_linked_plans, "symbolic links"),
        (_folder_for_a_file, "Is a directory"),
    ],
)
def test_each_harm_has_its_own_line(bundle, harm, said) -> None:
    harm(bundle)
    with pytest.raises(BundleError, match=said) as caught:
        Bundle.open(bundle.path)
    assert "\n" not in str(caught.value)
    assert str(bundle.path) in str(caught.value)


def test_no_bundle_and_a_file_are_told_apart(tmp_path) -> None:
    with pytest.raises(BundleError, match="no such bundle"):
        Bundle.open(tmp_path / "none.edge")
    (tmp_path / "file.edge").write_bytes(b"")
    with pytest.raises(BundleError, match="this is a file"):
        Bundle.open(str(tmp_path / "file.edge"))


def test_a_note_beside_the_files_is_no_harm(bundle) -> None:
    (bundle.path / "README.txt").write_text("line 3, left camera")
    assert Bundle.open(bundle.path).manifest == bundle.manifest


def test_what_lies_in_the_plan_cache_is_not_the_manifests_business(bundle) -> None:
    bundle.plans.mkdir()
    (bundle.plans / "x.plan").write_bytes(b"anything")
    assert Bundle.open(bundle.path).manifest == bundle.manifest


def test_a_graph_from_another_build_is_refused(tmp_path, contents) -> None:
    model = onnx.load_model_from_string(contents["model.onnx"])
    model.metadata_props.add(key="protoedge.precision", value="int8")
    written = write_bundle(
        tmp_path / "b.edge",
        manifest=manifest(),
        files={**contents, "model.onnx": model.SerializeToString()},
    )
    with pytest.raises(BundleError, match=r"protoedge\.precision int8, the manifest fp32"):
        Bundle.open(written.path)


def test_a_graph_of_another_size_or_with_outside_weights_is_refused(tmp_path, contents) -> None:
    wrong = write_bundle(tmp_path / "a.edge", manifest=manifest(size=(64, 32)), files=contents)
    with pytest.raises(BundleError, match="the manifest says"):
        Bundle.open(wrong.path)
    model = onnx.load_model_from_string(contents["model.onnx"])
    model.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    outside = {**contents, "model.onnx": model.SerializeToString()}
    wrong = write_bundle(tmp_path / "b.edge", manifest=manifest(), files=outside)
    with pytest.raises(BundleError, match="outside the file"):
        Bundle.open(wrong.path)


def test_a_file_that_changes_after_opening_is_noticed(bundle) -> None:
    (bundle.path / "model.onnx").write_bytes(b"something else")
    with pytest.raises(BundleError, match="SHA-256"):
        bundle.model()
    with pytest.raises(BundleError, match="not part of this bundle"):
        bundle.read("../../etc/passwd")


@pytest.fixture(scope="module")
def shared(tmp_path_factory, contents) -> Bundle:
    folder = tmp_path_factory.mktemp("flips")
    return write_bundle(folder / "bottle.edge", manifest=manifest(), files=contents)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_one_changed_byte_anywhere_is_refused(shared, data) -> None:
    name = data.draw(st.sampled_from([*sorted(shared.manifest.files), "manifest.json"]))
    path = shared.path / name
    before = path.read_bytes()
    place = data.draw(st.integers(0, len(before) - 1))
    flip = data.draw(st.integers(1, 255))
    after = bytearray(before)
    after[place] ^= flip
    path.write_bytes(after)
    try:
        changed = Bundle.open(shared.path)
    except BundleError as error:
        assert "\n" not in str(error)
    else:
        # Only the manifest's layout may differ: a space that became a tab says the same.
        assert name == "manifest.json"
        assert changed.manifest == shared.manifest
    finally:
        path.write_bytes(before)

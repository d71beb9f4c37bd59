import cv2
import numpy as np
import pytest

from calibrate.dataset import dataset_from_folder, read_mask
from edge.demo import (
    DEFECTS,
    FPS,
    STORY,
    conveyor_frames,
    draw_conveyor,
    draw_dataset,
    draw_part,
)


def part(seed, **options):
    return draw_part(np.random.default_rng(seed), **options)


@pytest.mark.parametrize("defect", [None, *DEFECTS])
def test_the_same_seed_draws_the_same_pixels(defect):
    one, two = part(7, defect=defect), part(7, defect=defect)
    assert np.array_equal(one[0], two[0])
    assert np.array_equal(one[1], two[1])
    assert not np.array_equal(one[0], part(8, defect=defect)[0])


@pytest.mark.parametrize("size", [64, 256, 480, 512])
def test_sound_parts(size):
    image, mask = part(1, size=size)
    assert image.shape == (size, size, 3)
    assert mask.shape == (size, size)
    assert image.dtype == mask.dtype == np.uint8
    assert not mask.any()
    # Steel is bright, the belt round it is dark.
    ring = image[int(size * 0.18) : int(size * 0.25), size // 2].mean()
    assert ring > 2 * image[: size // 16, : size // 16].mean()


@pytest.mark.parametrize("defect", DEFECTS)
@pytest.mark.parametrize("seed", range(4))
def test_every_defect_has_a_mask_and_can_be_seen_in_it(defect, seed):
    image, mask = part(seed, defect=defect)
    share = (mask > 0).mean()
    assert set(np.unique(mask)) == {0, 255}
    assert 0.0003 < share < 0.06
    # Without noise the picture would differ only where the defect and its edges are; with the
    # pose and the noise of the same stream, the sound part is another one, so compare contrast.
    around = cv2.dilate(mask, np.ones((9, 9), np.uint8)) > 0
    assert np.ptp(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[around].astype(int)) > 25


def test_masks_are_exact():
    """Draw a surface with and without its defect: outside the mask the two must agree."""
    from edge.demo.flange import sound_flange

    for name, add in DEFECTS.items():
        rng = np.random.default_rng(3)
        sound = sound_flange(rng, size=480)
        bad = add(sound, rng)
        changed = np.abs(bad.albedo - sound.albedo).max(axis=2) > 0.15
        changed |= np.abs(bad.solid - sound.solid) > 0.5
        changed |= np.abs(bad.height - sound.height) * sound.solid > 0.006
        near = cv2.dilate(bad.defect, np.ones((5, 5), np.uint8)) > 0
        assert not (changed & ~near).any(), name
        assert (changed & (bad.defect > 0)).sum() > 0.25 * bad.defect.sum(), name


def test_the_sound_flange_is_left_alone():
    from edge.demo.flange import sound_flange

    rng = np.random.default_rng(3)
    sound = sound_flange(rng, size=128)
    before = {name: getattr(sound, name).copy() for name in sound.__slots__}
    for add in DEFECTS.values():
        add(sound, rng)
    for name, value in before.items():
        assert np.array_equal(getattr(sound, name), value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"defect": "rust"}, "no defect named 'rust'; one of chip, crack"),
        ({"size": 63}, "64 to 2048"),
        ({"size": 4096}, "64 to 2048"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        part(0, **options)


def test_data_set_in_the_layout_that_is_read(tmp_path):
    folder = tmp_path / "line"
    assert draw_dataset(folder, good=3, test_good=2, defects_each=1, size=96) == 11
    data = dataset_from_folder(folder)
    assert (data.kind, len(data.train), data.notes) == ("mvtec", 3, ())
    assert [s.defect for s in data.test] == ["good", "good", *sorted(DEFECTS)]
    for sample in data.test[2:]:
        assert cv2.imread(str(sample.path)).shape == (96, 96, 3)
        assert read_mask(sample.mask, image_size=(96, 96), size=(96, 96)).any()
    with pytest.raises(FileExistsError, match="not empty"):
        draw_dataset(folder)


def test_more_pictures_do_not_change_the_first_ones(tmp_path):
    draw_dataset(tmp_path / "a", good=1, test_good=0, defects_each=0, size=64)
    draw_dataset(tmp_path / "b", good=2, test_good=1, defects_each=0, size=64)
    names = ["train/good/000.png"]
    assert all(
        (tmp_path / "a" / n).read_bytes() == (tmp_path / "b" / n).read_bytes() for n in names
    )


def test_conveyor_tells_the_truth_about_each_frame():
    story = [None, "missing_hole"]
    frames = list(conveyor_frames(seconds=2, size=96, defects=story))
    assert [truth.frame for _, truth in frames] == list(range(2 * FPS))
    standing = [(image, truth) for image, truth in frames if truth.in_place]
    assert {truth.part: truth.defect for _, truth in standing} == {0: "good", 1: "missing_hole"}
    for _, truth in standing:
        assert (truth.defect_pixels > 0) == (truth.defect != "good")
    moving = [truth for _, truth in frames if not truth.in_place]
    assert 0.3 < len(moving) / len(frames) < 0.5
    assert any(truth.defect_pixels for truth in moving)  # it comes into sight, then leaves
    assert any(not truth.defect_pixels for truth in moving)


def test_a_standing_part_differs_only_by_noise_and_a_moving_one_moves():
    frames = [image.astype(int) for image, _ in conveyor_frames(seconds=1, size=96)]
    assert 0 < np.abs(frames[1] - frames[0]).mean() < 2
    assert np.abs(frames[20] - frames[0]).mean() > 10


@pytest.mark.parametrize(("name", "triggered"), [("line.mp4", True), ("line.avi", False)])
def test_video(tmp_path, name, triggered):
    path = tmp_path / name
    truths = draw_conveyor(path, seconds=3, size=128, triggered=triggered)
    video = cv2.VideoCapture(str(path))
    count, seen = 0, []
    while True:
        there, image = video.read()
        if not there:
            break
        count += 1
        seen.append(image.shape)
    video.release()
    assert count == len(truths)
    assert set(seen) == {(128, 128, 3)}
    assert [truth.frame for truth in truths] == list(range(count))
    assert all(truth.in_place for truth in truths) == triggered
    assert STORY[2] in {truth.defect for truth in truths}


@pytest.mark.parametrize(
    "name", ["nowhere/line.mp4", "nowhere/line.avi", "line.gif", "l\udce9.avi"]
)
def test_video_that_cannot_be_written(tmp_path, name):
    with pytest.raises((OSError, ValueError), match=r"write this video|\.mp4 or \.avi|UTF-8"):
        draw_conveyor(tmp_path / name, seconds=1, size=64)


def test_a_motion_jpeg_video_keeps_the_pictures(tmp_path):
    path = tmp_path / "line.avi"
    draw_conveyor(path, seconds=0.2)
    video = cv2.VideoCapture(str(path))
    drawn = [image for image, _ in conveyor_frames(seconds=0.2)]
    for image in drawn:
        there, read = video.read()
        assert there
        assert np.abs(read.astype(int) - image).mean() < 1.5
    video.release()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seconds": 0}, "above 0"),
        ({"seconds": float("nan")}, "above 0"),
        ({"defects": ["rust"]}, "no defect named 'rust'"),
        ({"size": 10}, "64 to 2048"),
    ],
)
def test_a_conveyor_that_cannot_be_drawn(options, message):
    with pytest.raises(ValueError, match=message):
        conveyor_frames(**options)

import itertools

import cv2
import numpy as np
import pytest

from calibrate.dataset import dataset_from_folder, read_masks
from edge.demo import DEFECTS, draw_conveyor, draw_dataset, draw_part
from edge.demo.flange import make_flange


def part(seed, **options):
    return draw_part(np.random.default_rng(seed), **options)


@pytest.mark.parametrize("defect", [None, *DEFECTS])
def test_the_same_seed_draws_the_same_pixels(defect):
    one, two = part(7, defect=defect), part(7, defect=defect)
    assert np.array_equal(one[0], two[0])
    assert np.array_equal(one[1], two[1])
    assert not np.array_equal(one[0], part(8, defect=defect)[0])


@pytest.mark.parametrize("size", [64, 256, 480])
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
    for name, add in DEFECTS.items():
        rng = np.random.default_rng(3)
        sound = make_flange(rng)
        bad = add(sound, rng)
        changed = np.abs(bad.albedo - sound.albedo).max(axis=2) > 0.15
        changed |= np.abs(bad.solid - sound.solid) > 0.5
        changed |= np.abs(bad.height - sound.height) * sound.solid > 0.006
        near = cv2.dilate(bad.defect, np.ones((5, 5), np.uint8)) > 0
        assert not (changed & ~near).any(), name
        assert (changed & (bad.defect > 0)).sum() > 0.25 * bad.defect.sum(), name


def test_the_sound_flange_is_left_alone():
    rng = np.random.default_rng(3)
    sound = make_flange(rng)
    before = {name: getattr(sound, name).copy() for name in sound.__slots__}
    for add in DEFECTS.values():
        add(sound, rng)
    for name, value in before.items():
        assert np.array_equal(getattr(sound, name), value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"defect": "rust"}, "no defect named 'rust'; one of chip, crack"),
        ({"size": 63}, "64 to 480"),
        ({"size": 481}, "64 to 480"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        part(0, **options)


def test_data_set_in_the_layout_that_is_read(tmp_path):
    folder = tmp_path / "line"
    assert draw_dataset(folder, good=3, test_good=2, defects_each=1, size=96) == 11
    data = dataset_from_folder(folder)
    assert (data.layout, len(data.train), data.left_out) == ("split", 3, ())
    assert [s.defect for s in data.test] == ["good", "good", *sorted(DEFECTS)]
    for sample in data.test[2:]:
        assert cv2.imread(str(sample.path)).shape == (96, 96, 3)
        assert read_masks(sample.masks, image_size=(96, 96), size=(96, 96)).any()
    with pytest.raises(FileExistsError, match="not empty"):
        draw_dataset(folder)


def test_more_pictures_do_not_change_the_first_ones(tmp_path):
    draw_dataset(tmp_path / "a", good=1, test_good=0, defects_each=0, size=64)
    draw_dataset(tmp_path / "b", good=2, test_good=1, defects_each=0, size=64)
    names = ["train/good/000.png"]
    assert all(
        (tmp_path / "a" / n).read_bytes() == (tmp_path / "b" / n).read_bytes() for n in names
    )


@pytest.fixture(scope="module")
def conveyor(tmp_path_factory):
    """A video of four parts, the defect that each of its frames shows, and the frames."""
    path = tmp_path_factory.mktemp("line") / "line.avi"
    truths = draw_conveyor(path, parts=4)
    video = cv2.VideoCapture(str(path))
    frames = []
    while (read := video.read())[0]:
        frames.append(read[1].astype(int))
    video.release()
    return truths, frames


def test_a_conveyors_frames_show_what_is_said_of_them(conveyor):
    truths, frames = conveyor
    assert len(frames) == len(truths) > 60
    assert {frame.shape for frame in frames} == {(480, 480, 3)}
    assert [name for name, _ in itertools.groupby(truths)] == [None, "scratch", None]
    # The pictures change where the part does, and only there.
    change = [np.abs(one - other).mean() for one, other in itertools.pairwise(frames)]
    jumps = [index + 1 for index, mean in enumerate(change) if mean > 3]
    assert jumps == [16, 32, 48]


def test_a_standing_part_differs_only_by_noise(conveyor):
    _, frames = conveyor
    assert 0 < np.abs(frames[1] - frames[0]).mean() < 2


def test_the_same_seed_draws_the_same_video(tmp_path):
    contents = []
    for seed in (1, 1, 2):
        draw_conveyor(tmp_path / "line.avi", parts=1, seed=seed)
        contents.append((tmp_path / "line.avi").read_bytes())
    assert contents[0] == contents[1] != contents[2]


def test_a_video_that_cannot_be_written(tmp_path):
    with pytest.raises(OSError, match="cannot write this video"):
        draw_conveyor(tmp_path / "nowhere/line.avi", parts=1)


def test_a_name_that_is_no_utf_8(tmp_path):
    draw_conveyor(tmp_path / "l\udce9.avi", parts=1)
    assert (tmp_path / "l\udce9.avi").stat().st_size > 0

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.drawing.grid import Row, draw_grid
from edge.result import Verdict


def row(*, size=(40, 60), level=0.0, mask=True, verdict=Verdict.OK, title="good"):
    height, width = size
    truth = np.zeros(size, dtype=bool)
    truth[height // 4 : height // 2, width // 4 : width // 2] = True
    anomaly_map = np.where(truth, level, 0.0).astype(np.float32)
    return Row(
        image=np.full((height, width, 3), 120, dtype=np.uint8),
        anomaly_map=anomaly_map,
        defect_mask=anomaly_map >= 1.0 if verdict is Verdict.NG else None,
        mask=truth if mask else None,
        title=title,
        score=level,
        verdict=verdict,
    )


def columns_of(picture):
    """Cells of the first row, by the column's left edge."""
    return [picture[38 : 38 + 224, x : x + 224] for x in range(20, picture.shape[1] - 200, 234)]


def test_one_row_an_image_and_four_columns():
    one = draw_grid([row()], threshold=1.0)
    three = draw_grid([row()] * 3, threshold=1.0)
    assert one.dtype == np.uint8
    assert one.shape[2] == 3
    assert three.shape[1] == one.shape[1] == 2 * 20 + 4 * 224 + 3 * 10
    assert three.shape[0] - one.shape[0] == 2 * (224 + 34 + 10)


def test_no_truth_column_where_nothing_is_known():
    assert len(columns_of(draw_grid([row(mask=False)], threshold=1.0))) == 3
    assert len(columns_of(draw_grid([row(mask=False), row()], threshold=1.0))) == 4


def test_what_reaches_the_threshold_is_marked_as_found():
    sound = columns_of(draw_grid([row(level=0.99)], threshold=1.0))[2]
    defective = columns_of(draw_grid([row(level=1.2, verdict=Verdict.NG)], threshold=1.0))[2]
    red = defective[..., 2].astype(int) - defective[..., 0]
    assert np.ptp(sound[112]) == 0 or (sound[..., 2] == sound[..., 0]).all()
    # The cell is 224 wide, the 60 x 40 image fills 224 x 149 of it; its spot spans x 56..112.
    assert (red[80:110, 65:105] > 40).all()
    assert (red[:, 150:] == 0).all()


def test_an_error_row_without_a_map():
    bad = Row(np.zeros((30, 30, 3), np.uint8), None, None, "frozen", None, Verdict.ERROR)
    picture = draw_grid([bad, row(level=2.0, verdict=Verdict.NG)], threshold=1.0)
    cells = columns_of(picture)
    assert np.array_equal(cells[0], cells[1])


def test_input_is_not_changed():
    source = row(level=2.0)
    image, field = source.image.copy(), source.anomaly_map.copy()
    draw_grid([source], threshold=1.0)
    assert np.array_equal(source.image, image)
    assert np.array_equal(source.anomaly_map, field)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 500), st.integers(1, 500), st.text(max_size=80))
def test_any_size_and_any_title(height, width, title):
    picture = draw_grid([row(size=(height, width), level=1.0, title=title)], threshold=0.7)
    assert picture.shape == (38 + 268 + 20, 966, 3)


@pytest.mark.parametrize("threshold", [0.0, -1.0, float("nan"), float("inf")])
def test_threshold_must_be_above_zero(threshold):
    with pytest.raises(ValueError, match="threshold"):
        draw_grid([row()], threshold=threshold)


def test_no_rows():
    with pytest.raises(ValueError, match="no rows"):
        draw_grid([], threshold=1.0)

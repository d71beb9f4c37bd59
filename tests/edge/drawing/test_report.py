import base64
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.drawing.charts import loss_chart, score_chart
from edge.drawing.report import (
    Curve,
    Picture,
    PictureGroup,
    Report,
    Table,
    ThresholdSection,
    TradeOff,
    report_html,
)

VOID = {"meta", "img", "line", "rect"}


class Page(HTMLParser):
    """Collects tags, attributes and text; checks that tags close in order."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.links, self.text, self._open = [], [], [], []
        self.feed(source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in {"src", "href", "action", "data", "srcset"}]
        assert not [k for k, _ in attrs if k.startswith("on")]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def encoded(suffix):
    image = np.random.default_rng(0).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    return cv2.imencode(suffix, image)[1].tobytes()


def full(text="x"):
    return Report(
        title=text,
        facts={text: text, "Prototypes": 1024},
        figures={"Image AUROC": 0.98765, text: None},
        threshold=ThresholdSection(
            0.5, text, ["", text], good=[0.1, 0.2, 0.2], defects=[0.7, float("nan")]
        ),
        trade_off=TradeOff(good=[0.1, 0.2, 0.6], defects=[0.4, 0.7], marked=[0.3]),
        stages_s={text: 1.25, "engine": 0.0},
        curve=Curve(text, [0.3, 0.1, float("nan"), 0.02], [(2, 0.5), (4, None)]),
        tables=[Table(text, ["Defect", "Images"], [[text, 8], ["crack"]])],
        pictures=[Picture(text, encoded(".png")), Picture(text, encoded(".jpg"))],
    )


def test_everything_is_on_the_page():
    page = Page(report_html(full("flange")))
    text = " ".join(page.text)
    for piece in ("flange", "1024", "0.9877", "Threshold 0.5", "NG from 0.5", "crack", "1.25 s"):
        assert piece in text
    assert page.tags.count("img") == 2
    assert "1 without a finite score" in text


def test_nothing_is_fetched_and_nothing_runs():
    source = report_html(full())
    page = Page(source)
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert all(link.startswith("data:image/") for link in page.links)
    assert not re.search(r"url\(|@import|https?://", source)
    assert "default-src 'none'" in source


def test_pictures_survive_unchanged():
    source = report_html(full())
    payloads = re.findall(r"data:image/(\w+);base64,([^\"]+)", source)
    assert [(kind, base64.b64decode(data)) for kind, data in payloads] == [
        ("png", encoded(".png")),
        ("jpeg", encoded(".jpg")),
    ]


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet=st.sampled_from("<>&\"'$/{}\\ aé\udce9"), max_size=30))
def test_any_text_is_escaped(text):
    page = Page(report_html(full(text)))
    assert set(page.tags) <= set(Page(report_html(full("x"))).tags)
    shown = text.encode("utf-8", "backslashreplace").decode()
    assert "".join(page.text).count(shown) >= 2
    report_html(full(text)).encode("utf-8")


def test_a_small_report_has_no_empty_parts():
    source = report_html(Report("bottle", {"Model": "ProtoAD"}))
    assert Page(source).tags.count("section") == 1
    assert "svg" not in Page(source).tags


def test_numbers_align_right_and_gaps_show_as_a_dash():
    table = Table("t", ["name", "n", "auroc"], [["a", 8, None], ["b", 12, 0.5]])
    source = report_html(Report("r", {}, tables=[table]))
    assert source.count('<td class="number">') == 4
    assert '<td class="number">\u2013</td>' in source


def test_what_cannot_be_shown_is_refused():
    with pytest.raises(ValueError, match="neither PNG nor JPEG"):
        report_html(Report("r", {}, pictures=[Picture("p", b"GIF89a")]))
    with pytest.raises(ValueError, match="a row of 2 cells under 1 headings"):
        report_html(Report("r", {}, tables=[Table("t", ["a"], [["x", "y"]])]))


def bars(svg, kind):
    found = re.findall(rf'class="bar {kind}" x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', svg)
    return [(float(x), float(x) + float(width)) for x, width in found]


def mark(svg):
    return float(re.search(r'class="mark" x1="([\d.]+)"', svg)[1])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-1e5, 1e5, width=32), min_size=1, max_size=30),
    st.lists(st.floats(-1e5, 1e5, width=32), max_size=30),
    st.floats(-1e5, 1e5, width=32),
)
def test_every_score_is_inside_the_chart(good, defects, threshold):
    svg = score_chart(good, defects, threshold=threshold)
    Page(svg)
    assert "nan" not in svg
    drawn = bars(svg, "good") + bars(svg, "bad")
    assert drawn
    assert all(left >= 12 and right <= 448.1 for left, right in drawn)
    assert 12 <= mark(svg) <= 448


def test_bars_lie_on_their_side_of_the_threshold():
    svg = score_chart([1.0, 1.1, 1.2], [3.0, 3.2], threshold=2.0)
    assert max(right for _, right in bars(svg, "good")) < mark(svg)
    assert min(left for left, _ in bars(svg, "bad")) > mark(svg)


def test_no_score_no_chart():
    assert score_chart([], [float("nan")], threshold=0.5) == ""


def way(svg, kind):
    found = re.search(rf'class="{kind}" points="([^"]+)"', svg)
    return [tuple(map(float, point.split(","))) for point in found[1].split()]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0, 1e6, width=32), min_size=1, max_size=500),
    st.lists(st.tuples(st.integers(1, 500), st.none() | st.floats(0, 1)), max_size=5),
)
def test_every_loss_is_inside_the_chart(losses, validations):
    svg = loss_chart(losses, [(min(step, len(losses)), value) for step, value in validations])
    Page(svg)
    assert "nan" not in svg and "inf" not in svg
    if svg:
        assert all(52 <= x <= 426.1 and 25.9 <= y <= 166.1 for x, y in way(svg, "loss"))
    if svg and any(value is not None for _, value in validations):
        assert all(52 <= x <= 426.1 and 25.9 <= y <= 166.1 for x, y in way(svg, "figure"))


def test_a_loss_that_falls_is_drawn_falling():
    points = way(loss_chart([0.5, 0.3, 0.1, 0.02], []), "loss")
    heights = [y for _, y in points]
    assert heights == sorted(heights)  # downwards is larger in SVG
    assert loss_chart([], []) == "" == loss_chart([float("nan")], [])


def test_no_table_is_wider_than_its_place_at_1100_px(tmp_path):
    """In a real browser, which measures: the page itself allows no script."""
    from browser import Browser

    long = "a_name_without_any_place_to_break_it_" * 4
    names = ("engine", "executes", "flips", "score error, max", "p99", "mean", "map error, max")
    tables = [
        Table("Eight columns", (*names, "image AUROC"), [("openvino", "fp16", *[0.12345] * 6)] * 2),
        Table(long, ("kind", "images", "escapes", "image AUROC"), [(long, 12, 3, 0.5)]),
        Table("Kept", ("layers", "precision", "share of the work"), [(long, "fp32", 0.1)]),
    ]
    image = cv2.imencode(".png", np.full((90, 160, 3), 99, np.uint8))[1].tobytes()
    group = PictureGroup("Good", "Look", [Picture(f"{long}.png", image)] * 7)
    page = report_html(Report(title=long, facts={"engine": long}, tables=tables, groups=[group]))
    script = """<script>const beyond = [];
      for (const one of document.querySelectorAll("section, table, figure, h1, h2, td, th")) {
        const place = one.parentElement.getBoundingClientRect(), box = one.getBoundingClientRect();
        if (box.right > place.right + 1 || one.scrollWidth > one.clientWidth + 1)
          beyond.push(one.tagName + one.textContent.slice(0, 40));
      }
      document.title = beyond.length ? "BEYOND " + beyond.join("; ") : "all within";</script>"""
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    page = page.replace("<html ", '<html style="width: 1100px" ').replace(
        "</body>", f"{script}</body>"
    )
    (tmp_path / "page.html").write_text(page)
    shown = Browser(tmp_path).dom(f"file://{tmp_path}/page.html", seconds=0.1)
    assert "<title>all within</title>" in shown, re.search("<title>.*</title>", shown)[0]

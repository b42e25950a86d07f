"""One page about runs that needs nothing else."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from train import pggan, report
from train.base.errors import run_program
from train.measure.chart import COLOURS, Curve, chart, ticks

VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Sees to it that every element is closed, and collects what the page shows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.sources, self.words = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)
        self.sources += [value for name, value in attributes if name in ("src", "href")]

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


@pytest.fixture
def run(tmp_path):
    """A function that makes the folder of a run: name, options, lines of metrics."""

    def make(name: str, swd=(), **config) -> str:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({"preset": "glyphs", **config}))
        lines = []
        for kimg in (1.0, 2.0):
            tick = {"kimg": kimg, "d_loss": -kimg, "g_loss": None, "seconds": 60 * kimg, "images_per_second": 99.6}
            lines.append({**tick, "skipped": 0})
        for kimg, value in enumerate(swd, 1):
            about = {"generated": 500, "real": 400, "seed": 0, "features": None}
            lines.append({"kimg": float(kimg), "swd": value, "evaluation": about})
        (folder / "stats.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"kimg": 3')
        for kimg in range(10):
            Image.new("RGB", (8, 8), (kimg, 0, 0)).save(folder / f"fakes_{kimg:06d}.png")
        Image.new("L", (8, 8), 9).save(folder / "reals.png")
        return str(folder)

    return make


@pytest.fixture
def show(tmp_path):
    def make(*args: str) -> Page:
        assert report.main([*args, "--out", str(tmp_path / "page.html")]) == 0
        return Page((tmp_path / "page.html").read_text())

    return make


def picture(source: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(source.split(",", 1)[1])))


def test_the_page_holds_its_pictures_and_asks_for_nothing_else(run, show):
    page = show(run("a"))
    assert all(source.startswith("data:image/") for source in page.sources)
    for source in page.sources:
        picture(source).load()


def test_grids_are_spread_over_the_run_with_the_last_and_the_reals(run, show):
    page = show(run("a"), "--grids", "4")
    pictures = [picture(source) for source in page.sources]
    assert [p.getpixel((0, 0))[0] for p in pictures[:-1]] == [0, 3, 6, 9]
    assert pictures[-1].mode == "L"


def test_other_pictures_are_no_grids(run, show, tmp_path):
    folder = run("a")
    before = show(folder).sources
    Image.new("RGB", (8, 8)).save(tmp_path / "a" / "fakes_best.png")
    assert show(folder).sources == before


def test_large_grids_are_reduced(run, show, tmp_path):
    folder = run("a")
    Image.new("RGB", (3000, 1500)).save(tmp_path / "a" / "fakes_000010.png")
    page = show(folder, "--grids", "1")
    assert picture(page.sources[0]).size == (report.WIDEST, report.WIDEST // 2)


def test_options_that_differ_come_first_and_are_marked(run, show, tmp_path):
    show(run("a", lr="0.001", seed=3), run("b", lr="0.002", seed=3))
    text = (tmp_path / "page.html").read_text()
    differing = re.search(r'<table class="differ">.*?</table>', text, re.DOTALL)[0]
    assert "lr" in differing and "0.001" in differing and "0.002" in differing
    assert "seed" not in differing and "seed" in text


def test_metrics_show_best_and_last_and_on_how_many_images(run, show, tmp_path):
    page = show(run("a", swd=[30.0, 10.0, 20.0]), run("b", swd=[40.0, 15.0]))
    assert "at 2; last 20" in page.text and "at 2; last 15" in page.text
    assert "a, b: 500 generated and 400 real images, seed 0" in page.text
    assert re.findall(r"<strong>(.*?)</strong>", (tmp_path / "page.html").read_text()) == ["10"]


def test_each_run_has_its_curve_in_each_chart(run, show, tmp_path):
    show(run("a", swd=[3, 2]), run("b", swd=[4, 1]))
    (figure,) = re.findall(r"<figure><figcaption>swd.*?</figure>", (tmp_path / "page.html").read_text())
    assert [colour in figure for colour in COLOURS[:3]] == [True, True, False]


def test_a_measurement_without_values_has_no_chart(run, show):
    text = show(run("a", swd=[None, None])).text
    assert "Loss of G" not in text and "swd" not in text


def test_what_users_named_is_escaped(run, show):
    page = show(run("<b>", data='<script>"&'))
    assert '<script>"&' in page.text and "<b>" in page.text


def test_runs_of_the_same_name_are_told_apart_by_their_paths(run, show):
    first, second = run("x/run"), run("y/run")
    assert first in show(first, second).text


def test_a_real_run_has_a_page(tiny_options, tmp_path, show):
    assert pggan.main(tiny_options(out=tmp_path / "run")) == 0
    page = show(str(tmp_path / "run"))
    assert "Loss of G" in page.text and "resolution" in page.text and len(page.sources) == 2


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "is not the folder of a run: it has no config.json"),
        ({"config.json": "{"}, "is damaged"),
        ({"config.json": "{}", "stats.jsonl": "nonsense\n"}, "is damaged"),
    ],
)
def test_a_folder_that_is_no_run_is_one_line(tmp_path, capsys, files, message):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert run_program(lambda: report.main([str(tmp_path)])) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line and str(tmp_path) in line


def test_no_runs_or_too_many_are_one_line(run, capsys):
    assert run_program(lambda: report.main([])) == 2
    assert run_program(lambda: report.main([run("a")] * 9)) == 2
    assert "9 runs are too many" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (0.13, 0.48, [0.1, 0.2, 0.3, 0.4, 0.5]),
        (-3, 3, [-4, -2, 0, 2, 4]),
        (5, 5, [2, 3, 4, 5, 6, 7, 8]),
        (0, 0, [-1, -0.5, 0, 0.5, 1]),
        (1e-9, 3e-9, [1e-9, 1.5e-9, 2e-9, 2.5e-9, 3e-9]),
    ],
)
def test_ticks_are_round_and_enclose_the_values(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


def test_a_chart_puts_the_larger_value_higher_and_the_later_one_to_the_right():
    drawn = chart([Curve("a", "#000", [(0, 1.0), (10, 3.0), (20, 2.0)])])
    points = [tuple(map(float, p.split(","))) for p in re.search(r'points="(.*?)"', drawn)[1].split()]
    assert points[0][0] < points[1][0] < points[2][0]
    assert points[1][1] < points[2][1] < points[0][1]


def test_a_chart_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="none of the curves"):
        chart([Curve("a", "#000", [])])

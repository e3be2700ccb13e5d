"""`demo` from start to end."""

import re

import pytest
from commands import content, run


def test_demo_runs_through_and_can_be_resumed(tmp_path, capsys):
    output = tmp_path / "demo"
    run("demo", "--scale", "0.005", "-o", output)
    page = (output / "report.html").read_text()
    assert page.count('<img src="data:image/png;base64,') >= 4
    assert "http" not in re.sub(r"<code>.*?</code>", "", page)  # all of it is in the file
    assert page.rstrip().endswith("</html>")
    assert not re.search(r">\s*nan\b", page)
    for name in ("md/trajectory.xtc", "model/config.json", "analysis/report.html", "model/cv.pt"):
        assert (output / name).is_file()
    for name in ("metadynamics/free_energy.png", "metadynamics/colvar.csv", "path/path.csv"):
        assert (output / name).is_file()
    assert str(output / "report.html") in capsys.readouterr().out
    before = content(output / "model")
    (output / "report.html").unlink()
    run("demo", "--scale", "0.005", "-o", output, "--resume")
    assert (output / "report.html").is_file()
    assert content(output / "model") == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo", "--scale", "0"], "--scale must be positive"),
        (["demo", "--scale", "nan"], "--scale must be positive"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_make_no_sense_are_refused(refused, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    line = refused(*arguments)
    assert message in line
    assert not list(tmp_path.iterdir())

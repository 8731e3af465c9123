import io
import os
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest
from rich.table import Table
from tensorboard.plugin_util import markdown_to_safe_html

from neoteny.core.console import (
    Lasting,
    PlainConsole,
    caution,
    lasting_output,
    open_console,
    print_error,
)
from neoteny.core.errors import InputError
from neoteny.experiments.run import folders
from neoteny.experiments.run.board import config_as_markdown
from neoteny.experiments.run.progress import Progress
from neoteny.experiments.run.table import Table as RunTable
from neoteny.experiments.statistics.runs import read_table
from neoteny.wrappers.stream_files import read_stream

UNDRAWN = """
import sys
from neoteny.experiments import main
from neoteny.experiments.report import report
report.illustrate = lambda *_: []
sys.exit(main.main(sys.argv[1:]))
"""
"""The command line, whose reports come without figures."""

NASTY = "[red]a[/] :smile: [/x] 12 'b' http://c"


def _printed(*texts: object, width: int = 200) -> str:
    console = PlainConsole(file=io.StringIO(), width=width, force_terminal=True)
    for text in texts:
        console.print(text, soft_wrap=True)
    return console.file.getvalue()


def test_texts_are_printed_as_they_are_in_lines_and_tables() -> None:
    assert _printed(NASTY) == NASTY + "\n"
    table = Table(NASTY, title=NASTY, title_style="none")
    table.add_row(NASTY)
    assert _printed(table).count(NASTY) == 3
    assert _printed("a\x1b[31mb\r") == "a\\x1b[31mb\\r\n"


def test_errors_and_warnings_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(f"{NASTY}\nmore")
    assert capsys.readouterr().err == f"error: {NASTY}\\nmore\n"
    console = PlainConsole(file=io.StringIO(), width=20)
    caution(console, f"{NASTY}\nmore")
    assert console.file.getvalue() == f"warning: {NASTY}\\nmore\n"


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_shows_names_as_they_are(terminal: bool) -> None:
    console = PlainConsole(file=io.StringIO(), width=250, force_terminal=terminal)
    with Progress(console, "[red]arm[/]", 10) as progress:
        host = {"charts/episodic_return": [1.0], "charts/SPS": [2.0]}
        progress.update(10, host, ["t[/b]\n" + "x" * 5000])
    text = console.file.getvalue()
    assert "[red]arm[/]" in text
    assert "t[/b]\\nxxx" in text
    assert max(map(len, text.split("\n"))) < 600


@pytest.mark.parametrize(
    "value",
    [
        NASTY,
        "a|b `c` *d* _e_ [l](javascript:1)",
        "<script>x</script> &amp; \\| \\n",
        "a__b__ # h",
    ],
)
def test_tensorboard_shows_a_configuration_as_it_is(value: str) -> None:
    page = markdown_to_safe_html(config_as_markdown({"key": value}))
    cells = page.split("<td>")[1:]
    assert [unescape(cell.split("</td>")[0]) for cell in cells] == ["key", value]


def test_files_of_runs_in_another_encoding_are_named(tmp_path: Path) -> None:
    latin = tmp_path / "metrics.csv"
    latin.write_bytes(b"step,task_name\n1,caf\xe9\n")
    for read in (read_table, lambda path: RunTable(path, resume_step=1), folders.read_json):
        with pytest.raises(InputError, match=r"metrics\.csv is not UTF-8 text .byte 0xe9 at"):
            read(latin)
    stream = tmp_path / "stream.yaml"
    stream.write_bytes(b"environments: CartPole-v1\nname: caf\xe9\n")
    with pytest.raises(InputError, match=r"stream\.yaml is not UTF-8 text .byte 0xe9 at"):
        read_stream(stream)


@pytest.mark.slow
def test_utf_8_is_read_and_printed_whatever_the_locale(tmp_path: Path) -> None:
    """In the C locale, without Python's UTF-8 mode and with ASCII at standard output."""
    member = tmp_path / "Größe" / "seed_0"
    member.mkdir(parents=True)
    (member / "metrics.csv").write_text("step,charts/episodic_return\n10,1.0\n", encoding="utf-8")
    (member / "config.json").write_text('{"arm": "ppo-größe", "steps": 10}', encoding="utf-8")
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", UNDRAWN, "report", os.fsencode(tmp_path / "Größe")],
        env=os.environ | locale | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert rb"gr\xf6\xdfe" in done.stdout
    assert "ppo-größe" in (tmp_path / "Größe" / "summary.csv").read_text(encoding="utf-8")


def test_output_whose_reader_left_is_lost_and_ends_nothing() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        lasting = Lasting(stream)
        assert lasting.write("heard\n") == 6
        lasting.flush()
        assert os.read(reader, 100) == b"heard\n"
        os.close(reader)
        for _ in range(3):
            PlainConsole(file=lasting).print("x" * 100_000)
            lasting.flush()
    assert lasting.closed
    lasting.write("after the stream was closed")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_behind_standard_output_is_told_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open("/dev/full", "w") as full, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", full)
        with lasting_output():
            for _ in range(3):
                print("x" * 100_000)
                open_console().print("a line")
        assert sys.stdout is full
    said = capsys.readouterr().err
    assert said == "going on without output, which failed: No space left on device\n"


def test_streams_that_are_closed_are_not_the_next_files_to_be_opened(tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "from neoteny.core.console import lasting_output, open_console\n"
        "with lasting_output():\n"
        "    print('lost')\n"
        "    open_console().print('lost')\n"
        "    os.write(2, str(open(sys.argv[1], 'w').fileno()).encode())\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "x")]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&- >&-', "sh", *command], stderr=subprocess.PIPE, check=True
    )
    assert int(done.stderr) > 2


def test_closed_standard_streams_are_those_that_take_everything(monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with lasting_output():
        assert sys.stderr.write("lost") == 4
        assert sys.stdout.write("lost too") == 8
    assert sys.stdout is sys.stderr is None


def test_other_errors_of_a_stream_are_raised() -> None:
    with open(os.devnull, "w", encoding="ascii") as stream, pytest.raises(UnicodeEncodeError):
        Lasting(stream).write("é")

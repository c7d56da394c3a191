"""What is stored is read again, and what is drawn shows every row, lost ones too.

The data are made up; nothing is measured here. Pictures are drawn by the command, in a
process of its own, as `make bench` does.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import http, stored, summary
from benchmarks.compare import Case, Outcome, budget_table, rate_table
from benchmarks.verdicts import is_ours, ratio_of

ROOT = Path(__file__).parents[2]
FILES = """## 1000 small files

Cached:

| contender | ns per file | speed against `os.open/os.read/os.close` | quartiles |
|---|---|---|---|
| os.open/os.read/os.close | 4000 | 1.00 | 1.00 to 1.00 |
| await one by one | 4500 | 0.89 | 0.85 to 0.90 |
| aiofiles gathered, uvloop | 97000 | 0.04 | 0.04 to 0.04 |"""
DISK = """## One large file

Random reads of 4 KiB, buffered:

Depth 1:

| contender | ns per read | speed against `ours` | quartiles |
|---|---|---|---|
| ours | 80000 | 1.00 | 1.00 to 1.00 |
| caio linux_uring | 90000 | 0.90 | 0.90 to 0.90 |

fio's io_uring engine: 75000 ns per read.

Depth 8:

| contender | ns per read | speed against `ours` | quartiles |
|---|---|---|---|
| ours | 20000 | 1.00 | 1.00 to 1.00 |
| caio linux_uring | 25000 | 0.80 | 0.80 to 0.80 |

fio's io_uring engine: 19000 ns per read."""


def row(key: str, title: str, **ours_and_peers: tuple[float, ...]) -> Outcome:
    rounds = {
        name: [
            {"cpu_ns": ns, "messages": 1e9 / ns, "seconds": 1.0, "p50_us": ns / 1e3,
             "p99_us": ns / 500, "rss_bytes": 2e7}
            for ns in figures
        ]
        for name, figures in ours_and_peers.items()
    }  # fmt: skip
    return Outcome(Case(key, title, 0.93), rounds, {})


WON = row(
    "won", "a row won", asyncio=(9000, 9100), uvloop=(6000, 6200), ours=(5000, 5100)
)
LOST = row(
    "lost", "a row lost", asyncio=(900, 900), uvloop=(1000, 1000), ours=(1200, 1200)
)


def test_json_gives_back_every_figure(tmp_path: Path) -> None:
    file = stored.store_json(tmp_path / "out", "a machine", [WON, LOST], [FILES])
    assert file == tmp_path / "out" / f"{stored.version()}.json"
    (found,) = stored.load(tmp_path / "out")
    assert (found.version, found.machine) == (stored.version(), "a machine")
    assert [o.rounds for o in found.outcomes] == [WON.rounds, LOST.rounds]
    assert found.tables("1000 small")[0].rows[1][:2] == ["await one by one", "4500"]


def test_a_later_run_replaces_its_rows_only(tmp_path: Path) -> None:
    file = tmp_path / "3.13.json"
    stored.store_json(file, "old", [WON, LOST], [FILES, DISK])
    again = row("lost", "a row lost", asyncio=(1,), ours=(2,))
    stored.store_json(file, "new", [again], [FILES.replace("4500", "4400")])
    found = stored.from_json(file)
    assert [o.case.key for o in found.outcomes] == ["won", "lost"]
    assert found.outcomes[1].rounds == again.rounds
    assert found.tables("1000")[0].rows[1][1] == "4400"
    assert found.tables("One large") and found.machine == "new"


def test_markdown_is_read_where_there_is_no_json(tmp_path: Path) -> None:
    title = "CPU time of the server per message, ns:"
    waits = "Messages per second, and the 99th percentile of the wait:"
    both = [WON, LOST]
    text = ["## Servers", "", title, "", budget_table(both, "cpu_ns"), ""]
    text += [waits, "", rate_table(both)]
    file = tmp_path / "benchmarks.md"
    stored.store_markdown(file, ["a machine", "\n".join(text), FILES], "3.12")
    (found,) = stored.load(tmp_path / "benchmarks")
    assert (found.version, found.machine) == ("3.12", "a machine")
    won, lost = found.outcomes
    assert won.rounds["uvloop"][0]["cpu_ns"] == 6100
    assert won.rounds["uvloop"][0]["p99_us"] == 12
    assert won.rounds["uvloop"][0]["p50_us"] == 6
    ratio = ratio_of(lost)
    assert ratio and ratio[1:] == (1.333, 1.33, 1.33, "asyncio", 0.93)


def test_pictures_come_first_in_their_section(tmp_path: Path) -> None:
    file = tmp_path / "benchmarks.md"
    stored.store_markdown(file, ["machine", FILES], "3.11")
    stored.store_markdown(
        file, ["machine", f"{stored.PICTURES}\n\n![x](y.svg)"], "3.11"
    )
    text = file.read_text()
    assert text.index("# Python 3.11") < text.index("![x]") < text.index("## 1000")
    stored.store_markdown(file, ["machine", FILES], "3.11")
    assert file.read_text().count("![x]") == 1
    assert file.read_text().count(stored.HEAD) == 1


def test_who_is_ours_in_the_tables_of_files() -> None:
    ours = ["read_bytes, one by one", "read_bytes on asyncio's loop", ".map", "ours"]
    ours += ["one syslet", "write_bytes(atomic=True)", "walk", "gather of syslets"]
    peers = ["os.open/os.read/os.close", "open().read()", "aiofiles, uvloop", "aiofile"]
    peers += ["asyncio.to_thread", "anyio.Path", "caio linux_aio", "os.walk"]
    peers += ["one after the other", "asyncio sock_* on uvloop"]
    assert [n for n in ours if not is_ours(n)] == []
    assert [n for n in peers if is_ours(n)] == []


def command(module: str, *arguments: object) -> str:
    whole = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    done = subprocess.run(whole, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_pictures_show_every_row(tmp_path: Path) -> None:
    folder = tmp_path / "benchmarks"
    stored.store_json(folder, "a machine", [WON, LOST], [FILES, DISK])
    of = stored.version()
    names = "summary servers latency memory files depth"
    assert command("plots", "--folder", folder) == f"Python {of}: {names}\n"
    page = (tmp_path / "benchmarks.md").read_text()
    for name in names.split():
        assert f"(benchmarks/{of}-{name}.svg)" in page
        assert (folder / f"{of}-{name}.png").read_bytes().startswith(b"\x89PNG")
    servers = (folder / f"{of}-servers.svg").read_text()
    for text in (
        "a row won",
        "a row lost",
        "uvloop",
        "1.33 x asyncio, the better peer",
    ):
        assert f">{text}</text>" in servers
    # The lost row has the colour that says so.
    assert "#d55e00" in servers and "#0072b2" in servers
    summary_page = (folder / f"{of}-summary.svg").read_text()
    assert ">0.83 x uvloop</text>" in summary_page
    depth = (folder / f"{of}-depth.svg").read_text()
    assert ">fio, io_uring</text>" in depth and ">caio linux_uring</text>" in depth


def test_the_readme_says_where_peers_are_ahead(tmp_path: Path) -> None:
    folder, readme = tmp_path / "benchmarks", tmp_path / "README.md"
    stored.store_json(folder, "a machine", [WON, LOST], [FILES])
    readme.write_text(
        "before\n\n<!-- numbers -->\nold\n<!-- end numbers -->\n\nafter\n"
    )
    command("summary", "--folder", folder, "--readme", readme)
    text = readme.read_text()
    assert re.search(r"^\| a row lost \| 0\.9 \| 1 \| 1\.2 \| 1\.33 \|$", text, re.M)
    assert "A peer is ahead in 1 of 2 rows." in text
    assert "old" not in text and text.startswith("before") and "after" in text


def texts(picture: Path) -> list[str]:
    """What is written in a picture, in its order."""
    return re.findall(r">([^<>]+)</text>", picture.read_text())


def test_what_is_shown_is_what_is_stored(tmp_path: Path) -> None:
    """Two pictures of the documentation and the README's table, made again."""
    docs, names = ROOT / "docs" / "benchmarks", ("summary", "chain")
    folder, readme = tmp_path / "benchmarks", tmp_path / "README.md"
    folder.mkdir()
    for file in (*docs.glob("*.json"), docs.with_suffix(".md")):
        shutil.copy(file, folder if file.suffix == ".json" else tmp_path)
    shutil.copy(ROOT / "README.md", readme)
    command("plots", *names, "--folder", folder)
    command("summary", "--folder", folder, "--readme", readme)
    drawn = {each.name: texts(each) for each in folder.glob("*.svg")}
    shown = {
        each.name: texts(each) for name in names for each in docs.glob(f"*{name}.svg")
    }
    assert drawn == shown
    assert readme.read_text() == (ROOT / "README.md").read_text()


def test_the_row_to_lead_with_is_of_the_newest_python() -> None:
    every = [stored.Stored("3.9"), stored.Stored("3.13"), stored.Stored("3.11")]
    assert summary.newest(every).version == "3.13"


WRK = """Running 2s test @ http://127.0.0.1:1/
  Latency Distribution
     50%    1.23ms
     75%    1.50ms
     90%    2.00ms
     99%  950.00us
  40000 requests in 2.00s, 5.00MB read
"""


def test_what_wrk_says() -> None:
    found = http.parse(WRK)
    assert found == {"messages": 40000, "seconds": 2, "p50_us": 1230, "p99_us": 950}
    assert json.dumps(found)
    with pytest.raises(RuntimeError, match="wrk: "):
        http.parse("unable to connect")

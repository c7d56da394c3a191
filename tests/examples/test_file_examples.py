"""The examples about files: the copier, the tail, the hasher."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def command(name: str, *args: object) -> list[str]:
    """How an example is run."""
    script = str(ROOT / "examples" / f"{name}.py")
    return [sys.executable, "-W", "error", script, *map(str, args)]


def run(name: str, *args: object) -> str:
    """The output of an example that ends well."""
    done = subprocess.run(
        command(name, *args),
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_copy_tree(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    sources = [tmp_path / str(number) for number in range(6)]
    for number, source in enumerate(sources):
        source.write_bytes(os.urandom(number * 2_000_000))
    out = run("copy_tree", *sources, target)
    assert "100%" in out and out.endswith("6 files, 30000000 bytes\n")
    for source in sources:
        assert (target / source.name).read_bytes() == source.read_bytes()


def test_hash_tree(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name, size in {"a/x": 10, "a/b/y": 3_000_000, "z": 0}.items():
        (tmp_path / name).write_bytes(os.urandom(size))
    (tmp_path / "link").symlink_to("a/x")
    paths = sorted(str(tmp_path / name) for name in ("a/x", "a/b/y", "z"))
    expected = [
        f"{hashlib.sha256(Path(path).read_bytes()).hexdigest()}  {path}\n"
        for path in paths
    ]
    assert run("hash_tree", tmp_path) == "".join(expected)


def test_tail_logs(tmp_path: Path) -> None:
    old = tmp_path / "old.log"
    old.write_text("not this\n")
    child = subprocess.Popen(
        command("tail_logs", tmp_path, 4),
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    with child, child.stdout as out:
        assert out.readline() == "watching\n"
        with old.open("a") as file:
            file.write("one\ntw")
            file.flush()
            assert out.readline() == "old.log: one\n"
            file.write("o\n")
        assert out.readline() == "old.log: two\n"
        old.write_text("cut\n")
        assert out.readline() == "old.log: cut\n"
        (tmp_path / "other.txt").write_text("ignored\n")
        (tmp_path / "new.log").write_text("made\n")
        assert out.readline() == "new.log: made\n"
        assert child.wait(60) == 0

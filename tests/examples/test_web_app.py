"""The web application: a real process with workers, asked by http.client."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_web_app(tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("content")
    command = [sys.executable, "-W", "error", str(ROOT / "examples" / "web_app.py")]
    with subprocess.Popen(
        [*command, str(tmp_path), "0", "2"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        address = child.stdout.readline().strip().removeprefix("http://").rstrip("/")
        client = http.client.HTTPConnection(address, timeout=20)

        def ask(method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
            client.request(method, path, body)
            response = client.getresponse()
            return response.status, response.read()

        assert json.loads(ask("GET", "/greet/you")[1]) == {"hello": "you"}
        assert json.loads(ask("POST", "/sum", "[1, 2]")[1]) == {"sum": 3}
        assert ask("POST", "/sum", "{")[0] == 422
        assert ask("GET", "/count/3")[1] == b"0\n1\n2\n"
        assert ask("GET", "/files/file.txt")[1] == b"content"
        assert b"file.txt" in ask("GET", "/files/")[1]
        assert ask("GET", "/")[0] == 200
        client.close()
        child.send_signal(signal.SIGTERM)
        assert child.wait(20) == 0

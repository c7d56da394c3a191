"""nginx under measurement: `python -m benchmarks.nginx FOLDER`.

One process that serves FOLDER below /files/ at a free port of 127.0.0.1, with sendfile
and without a log. This process becomes nginx; a child of it prints the address when
nginx answers.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import time
from pathlib import Path

START_SECONDS = 10
CONFIGURATION = """
daemon off; master_process off; worker_processes 1;
error_log {run}/error.log; pid {run}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
    access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000;
    types {{ }} default_type application/octet-stream;
    client_body_temp_path {run}/body; proxy_temp_path {run}/proxy;
    fastcgi_temp_path {run}/fastcgi; uwsgi_temp_path {run}/uwsgi;
    scgi_temp_path {run}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location /files/ {{ alias {folder}/; }}
    }}
}}
"""


def main() -> None:
    """See the head of this file."""
    folder = Path(sys.argv[1]).resolve(strict=True)
    run = Path(tempfile.mkdtemp(prefix="nginx-", dir=folder.parent))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    text = CONFIGURATION.format(run=run, port=port, folder=folder)
    (run / "nginx.conf").write_text(text)
    if os.fork() == 0:
        tell(port)
        return
    command = ["nginx", "-p", str(run), "-c", str(run / "nginx.conf")]
    os.execvp(command[0], command)


def tell(port: int) -> None:
    """Print the address when somebody listens there."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.01)
        else:
            print(port, flush=True)
            return


if __name__ == "__main__":
    main()

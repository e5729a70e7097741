"""`python -m routelmt` without the start: an interpreter that has imported what takes seconds.

    python warm.py serve SOCKET MODULE...    runs every command in a fork of itself
    python warm.py install SOCKET FILE       makes FILE stand for this Python

A job of vLLM spends 16 of its 19 seconds on imports, and the miniatures of the shipped configs have
dozens. FILE takes `-m routelmt ...` like the interpreter it stands for, which must be the one that
serves: the forked process has the caller's arguments, environment, folder and streams, and runs the
package that PYTHONPATH names. Any other call goes to the interpreter itself.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import signal
import socket
import sys
from pathlib import Path

CLIENT = """#!{python} -SE
import json, os, socket, sys
if sys.argv[1:3] != ["-m", "routelmt"]:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
job = json.dumps({{"argv": sys.argv[2:], "env": dict(os.environ), "cwd": os.getcwd()}}).encode()
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    socket.send_fds(server, [len(job).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(job)
    sys.exit(int(server.recv(16) or b"1"))
"""


def install(address: str, file: Path) -> None:
    """Write the client, a script that is as good as this Python for the package's commands."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(CLIENT.format(python=sys.executable, address=address))
    file.chmod(0o755)


def serve(address: str, modules: list[str]) -> None:
    """Import the modules, say so, and answer until killed."""
    for name in modules:
        importlib.import_module(name)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen(64)
        print("ready", flush=True)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who answer
        while True:
            connection, _ = server.accept()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                server.close()
                _answer(connection)
                os._exit(0)
            connection.close()


def _answer(connection: socket.socket) -> None:
    """Run one command in a process of its own, which may become another program; tell its end."""
    head, streams, _, _ = socket.recv_fds(connection, 8, 3)
    job = b""
    while len(job) < int.from_bytes(head, "big"):
        job += connection.recv(1 << 16)
    pid = os.fork()
    if pid == 0:
        connection.close()
        _run(json.loads(job), streams)
    for stream in streams:
        os.close(stream)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    connection.sendall(str(code if code >= 0 else 128 - code).encode())


def _run(job: dict, streams: list[int]) -> None:
    """What `python ARGV` does; does not return."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(job["cwd"])
    os.environ.clear()
    os.environ.update(job["env"])
    sys.path[:0] = ["", *filter(None, job["env"].get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = job["argv"]
    code = 1
    try:
        runpy.run_module(job["argv"][0], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    if sys.argv[1] == "install":
        install(sys.argv[2], Path(sys.argv[3]))
    else:
        serve(sys.argv[2], sys.argv[3:])

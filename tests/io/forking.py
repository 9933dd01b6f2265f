"""Processes to be killed, starved or locked out.

They are forked in milliseconds from one that has imported everything and started no thread.
As a module: `Children`. As a script: the process that forks.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path

WATCHED = (
    "open",
    "os.rename",
    "os.link",
    "os.mkdir",
    "os.remove",
    "os.rmdir",
    "os.chmod",
    "os.utime",
    "os.truncate",
    "ctypes.dlsym",
)


@dataclass(frozen=True)
class Ended:
    """How a child ended: `signal` that killed it (0 for none), exit `code`, and all it `said`."""

    signal: int
    code: int
    said: str


class Children:
    """Forks processes that run Python code.

    Parameters
    ----------
    preload
        Code that is run once, before any child is made.
    """

    def __init__(self, preload: str) -> None:
        self._server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._ask({"preload": preload})

    def _ask(self, request: dict) -> dict:
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())

    def start(
        self,
        code: str,
        *,
        file_size: int | None = None,
        permissions: bool = False,
        kill_at: int | None = None,
        **names: object,
    ) -> int:
        """Start a child and return its number.

        Parameters
        ----------
        code
            What it runs; `names` are its variables. `count_steps(folder)` starts the count of `kill_at`, `steps()`
            returns it.
        file_size
            Bytes beyond which no file can grow, as if the disk were full.
        permissions
            Make permissions count for a superuser too.
        kill_at
            Step at which the child kills itself (SIGKILL): steps are what it does to files below the folder, see
            `WATCHED`.
        """
        how = {"file_size": file_size, "permissions": permissions, "kill_at": kill_at}
        return self._ask({"code": code, "names": names, **how})["pid"]

    def wait(self, pid: int) -> Ended:
        """Return how a child ended."""
        return Ended(**self._ask({"wait": pid}))

    def run(self, code: str, **how: object) -> Ended:
        """Start a child and wait for it."""
        return self.wait(self.start(code, **how))

    def close(self) -> None:
        """End the process that forks."""
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()


def _steps(kill_at: int | None) -> dict:
    """Return the functions that count steps, and kill at one of them."""
    state = {"on": False, "done": 0, "below": ""}

    def watch(event: str, arguments: tuple) -> None:
        if (
            state["on"]
            and event in WATCHED
            and (event == "ctypes.dlsym" or any(state["below"] in str(item) for item in arguments))
        ):
            state["done"] += 1
            if state["done"] == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    return {"count_steps": lambda below: state.update(on=True, below=below), "steps": lambda: state["done"]}


def _child(request: dict, output: int) -> None:
    for stream in (1, 2):
        os.dup2(output, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if request["file_size"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_size"], resource.RLIM_INFINITY))
    if request["permissions"]:
        scope: dict = {}
        exec((Path(__file__).parents[1] / "faults" / "unprivileged.py").read_text(encoding="utf-8"), scope)
        if not scope["obey_permissions"]():
            print("permissions do not count here")
            os._exit(77)
    code = 0
    try:
        exec(request["code"], {**_steps(request["kill_at"]), **request["names"]})
    except Exception:  # noqa: BLE001 - the one who waits reads it, in a file
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _serve() -> None:
    children: dict = {}
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        if "preload" in request:
            exec(request["preload"], {})
            answer = {}
        elif "wait" in request:
            file = children.pop(request["wait"])
            status = os.waitpid(request["wait"], 0)[1]
            file.seek(0)
            by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
            answer = {
                "signal": by,
                "code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1,
                "said": file.read().decode(),
            }
            file.close()
        else:
            file = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the child has ended
            if (pid := os.fork()) == 0:
                _child(request, file.fileno())
            children[pid] = file
            answer = {"pid": pid}
        replies.write(json.dumps(answer) + "\n")
        replies.flush()


if __name__ == "__main__":
    _serve()

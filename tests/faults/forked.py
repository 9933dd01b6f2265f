"""A small server: forks a child per request, in which an embedding is made and something happens to it."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import spatialdata
import torch
from unprivileged import obey_permissions

import kronos_sc as ks
from kronos_sc.models import KronosModel

CALL = {"features": ("marker", "cls"), "patch_size": 32, "precision": "float32", "device": "cpu"}
_CLONE_NEWNS, _CLONE_NEWUSER, _MS_REMOUNT, _MS_REC_PRIVATE = 0x20000, 0x10000000, 32, 0x4000 | 0x40000


def embed(
    model: Any,
    *,
    path: str,
    store: str,
    at: dict[str, Any] | None = None,
    small: dict[str, Any] | None = None,
    pause: float = 0,
    **how: Any,
) -> dict[str, Any]:
    """Embed; `at` says what happens in which pass of the network, `small` puts a tiny disk where the store will be.

    Every pass takes `pause` seconds longer.
    """
    if small:
        small_disk(small["folder"], small["size"])
    if at or pause:
        happen(at, pause)
    said: dict[str, Any] = {}
    try:
        embed_once(model, path, store, **how)
    except BaseException as error:  # noqa: BLE001 - told to the one who waits
        said = {"error": type(error).__name__, "text": str(error), "notes": getattr(error, "__notes__", [])}
        said |= {"errno": getattr(error, "errno", None), "trace": traceback.format_exc()}
    if small:
        said["files"] = sorted(str(file.relative_to(store)) for file in Path(store).rglob("*"))
        call("mount", b"tmpfs", os.fsencode(small["folder"]), b"tmpfs", _MS_REMOUNT, b"size=64m")
        np.savez(small["out"], **embed_once(model, path, store, **how))
    return said


def embed_once(model: Any, path: str, store: str, **how: Any) -> dict[str, np.ndarray]:
    """Return both kinds of features."""
    sdata = spatialdata.read_zarr(path)
    ks.tl.embed(sdata, model=model, store=store, **CALL | how)
    return {
        kind: np.asarray(sdata["table"].obsm["X_kronos" if kind == "marker" else "X_kronos_cls"])
        for kind in CALL["features"]
    }


def happen(at: dict[str, Any] | None, pause: float) -> None:
    """Let something happen in pass number `at["turn"]` of the network (from 0), or before the call (-1)."""
    events = {"wait": wait_for, "limit": limit_files, "forbid": forbid}
    if at and at["turn"] < 0:
        events[at["what"]](at)
    turns = iter(range(10**6))
    encode = KronosModel.encode

    def watched(self: Any, *arguments: Any) -> Any:
        time.sleep(pause)
        if at and next(turns) == at["turn"]:
            events[at["what"]](at)
        return encode(self, *arguments)

    KronosModel.encode = watched


def wait_for(at: dict[str, Any]) -> None:
    """Say that this moment is reached, and go on when told to."""
    Path(at["here"]).touch()
    while not Path(at["go"]).exists():
        time.sleep(0.005)


def limit_files(at: dict[str, Any]) -> None:
    """Let no file grow any more."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (at["size"], resource.RLIM_INFINITY))


def forbid(at: dict[str, Any]) -> None:
    """Take away the right to write in a folder, in the midst of threads that write: of all of them."""
    Path(at["folder"]).chmod(0o500)


def small_disk(folder: str, size: str) -> None:
    """Mount a tiny file system that this process alone sees; needs no rights but those of user namespaces."""
    uid = os.getuid()
    gid = os.getgid()
    call("unshare", _CLONE_NEWNS | _CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    call("mount", b"none", b"/", None, _MS_REC_PRIVATE, None)
    call("mount", b"tmpfs", os.fsencode(folder), b"tmpfs", 0, f"size={size}".encode())


def call(name: str, *arguments: Any) -> None:
    """Call the C library."""
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def fork(model: Any, how: dict[str, Any]) -> tuple[int, int]:
    """Return the child's number and the end of a pipe that it will speak through."""
    read, write = os.pipe()
    if pid := os.fork():
        os.close(write)
        return pid, read
    os.close(read)
    for stream in (0, 1, 2):
        os.dup2(os.open(os.devnull, os.O_RDWR), stream)
    try:
        if how.pop("obey_permissions", False) and not obey_permissions():
            said = {"error": "skip", "text": "permissions do not count here"}
        else:
            said = embed(model, **how)
    except BaseException as error:  # noqa: BLE001 - told to the one who waits
        said = {"error": "broken", "text": traceback.format_exc(), "errno": getattr(error, "errno", None)}
    os.write(write, json.dumps(said).encode())
    os._exit(0)


def end(pid: int, pipe: int, began: float, kill_after: float | None) -> dict[str, Any]:
    """Wait for a child, or kill it at its time."""
    while not os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        if kill_after is not None and time.monotonic() - began > kill_after:
            os.kill(pid, signal.SIGKILL)  # not yet waited for, so the number is still its own
            kill_after = None
        time.sleep(0.001)
    seconds = time.monotonic() - began
    killed = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    with os.fdopen(pipe, "rb") as said:
        text = said.read()
    return json.loads(text or "{}") | {"seconds": seconds, "killed": killed}


def import_all(model: Any, path: str) -> None:
    """Import what a run imports on its way.

    Found out in a child, since a run starts threads and threads do not survive a fork.
    """
    read, write = os.pipe()
    if pid := os.fork():
        os.close(write)
        with os.fdopen(read) as names:
            wanted = names.read().split()
        os.waitpid(pid, 0)
        for name in wanted:
            with suppress(Exception):
                importlib.import_module(name)
        return
    before = set(sys.modules)
    with tempfile.TemporaryDirectory() as folder:
        embed_once(model, path, f"{folder}/x.zarr")
    os.write(write, " ".join(name for name in sys.modules if name not in before).encode())
    os._exit(0)


def tiny() -> Any:
    """Return the network of the fixture `tiny`."""
    spec = importlib.util.spec_from_file_location("tests_conftest", Path(__file__).parents[1] / "conftest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.tiny.__wrapped__()


def serve() -> None:
    """Answer requests, one a line."""
    torch.set_num_threads(1)
    ks.settings.block_memory, ks.settings.verbosity, ks.settings.progress = 1000, 0, False
    model = tiny()
    import_all(model, sys.argv[1])
    running = {}
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "start":
            began = time.monotonic()
            pid, pipe = fork(model, request["how"])
            running[pid] = pid, pipe, began
            answer = {"pid": pid}
        else:
            answer = end(*running.pop(request["pid"]), request["kill_after"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()

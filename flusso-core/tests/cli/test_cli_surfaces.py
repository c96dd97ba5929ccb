"""The HTTP surfaces of `flusso run`, over a backend in memory."""

from __future__ import annotations

import base64
import json
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

from flusso_core.cli import ExitCode

if TYPE_CHECKING:
    from .conftest import Place

PASSWORD = "hunter2"
ANY_PORT = ("--public-address", "127.0.0.1:0", "--private-address", "127.0.0.1:0")


def ask(url: str, *, password: str | None = None, method: str = "GET") -> tuple[int, Any]:
    request = urllib.request.Request(url, method=method)
    if password is not None:
        token = base64.b64encode(f"ops:{password}".encode()).decode()
        request.add_header("Authorization", f"Basic {token}")
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            status, body = response.status, response.read()
    except urllib.error.HTTPError as refused:
        with refused:
            status, body = refused.code, refused.read()
    return status, json.loads(body) if body[:1] == b"{" else body.decode()


def surface(process: subprocess.Popen[str], name: str) -> str:
    """The URL that the log names; the test's own timeout bounds the wait."""
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(rf"{name}: listening at (http://\S+)", line):
            return found[1]
    raise AssertionError(f"{name} is not served")


def test_a_run_answers_for_itself_and_ends_as_ever(place: Place) -> None:
    """R1, R4: a probe sees when it is ready; no answer and no log shows the password."""
    with place.start(
        "run", *ANY_PORT, FLUSSO_ADMIN_USER="ops", FLUSSO_ADMIN_PASSWORD=PASSWORD
    ) as process:
        public = surface(process, "public_address")
        private = surface(process, "private_address")
        assert ask(f"{public}/healthz") == (200, "ok\n")
        end = time.monotonic() + 30
        while ask(f"{public}/status")[1]["phase"] != "live":
            assert time.monotonic() < end
            time.sleep(0.02)
        assert ask(f"{public}/readyz") == (200, {"ready": True, "reasons": []})
        _, status = ask(f"{public}/status")
        assert status["indexes"] == {"parents": "live"}
        assert status["documents_built"] == 5
        assert 'operation="upsert",sink="out"} 5.0' in ask(f"{public}/metrics")[1]
        assert ask(f"{private}/indexes")[0] == 401
        told = ask(f"{private}/indexes", password=PASSWORD)[1]
        assert told["indexes"]["parents"]["out"].items() >= {"state": "live", "serving": 1}.items()
        assert PASSWORD not in json.dumps(status)
        assert ask(f"{private}/reindex?index=nobody", password=PASSWORD, method="POST")[0] == 404
        assert ask(f"{private}/reindex?index=parents", password=PASSWORD, method="POST")[0] == 202
        while ask(f"{public}/status")[1]["documents_built"] < 10:
            assert time.monotonic() < end
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=30)
    assert process.returncode == ExitCode.OK
    assert PASSWORD not in log


def test_a_control_surface_without_a_password_is_not_served(place: Place) -> None:
    done = place.run("run", "--once", *ANY_PORT)
    assert done.returncode == ExitCode.OK
    assert "--private-address has no effect without --admin-user and --admin-password" in (
        done.stderr
    )
    assert "private_address: listening" not in done.stderr
    assert "public_address: listening" in done.stderr


def test_a_user_without_a_password_is_refused(place: Place) -> None:
    done = place.run("run", "--once", "--admin-user", "ops")
    assert done.returncode == ExitCode.USAGE
    assert "--admin-user and --admin-password belong together" in done.stderr


def test_a_job_serves_what_was_asked_for_alone(place: Place) -> None:
    done = place.run("run", "--once")
    assert done.returncode == ExitCode.OK
    assert "listening" not in done.stderr


def test_an_address_that_was_asked_for_and_is_taken_ends_the_run(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = place.run("run", "--public-address", address)
    assert done.returncode == ExitCode.INVALID_CONFIG
    assert f"public_address {address} is in use by another process" in done.stderr


def test_an_address_that_is_none_names_its_flag(place: Place) -> None:
    done = place.run("run", "--public-address", "nowhere")
    assert done.returncode == ExitCode.INVALID_CONFIG
    assert "--public-address: public_address: expected host:port" in done.stderr

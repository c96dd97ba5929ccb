"""Certificates, credentials and signatures, verified by a proxy before the real server."""

# botocore ships no types.
# mypy: disable-error-code="import-untyped"
# pyright: reportUnknownMemberType=false, reportMissingTypeStubs=false

from __future__ import annotations

import base64
import hashlib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from aiohttp import web
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from flusso_core.errors import ConfigError, SinkFatal, SinkUnavailable
from flusso_core.model import FlushReport
from flusso_sandbox.endpoints import OpenSearchEndpoint
from flusso_sandbox.fault_proxy import Fault, FaultProxy, Outcome

if TYPE_CHECKING:
    from conftest import Bench


pytestmark = pytest.mark.integration

PASSWORD = "hunter2 ü"


@dataclass
class Guarded:
    """A proxy that asks for TLS, a client's certificate, a user and a password, and a header."""

    proxy: FaultProxy
    options: dict[str, Any]

    def options_but(self, **changed: Any) -> dict[str, Any]:
        """The right options, some of them changed; `None` leaves one out."""
        given = {**self.options, **changed}
        return {name: value for name, value in given.items() if value is not None}


@pytest.fixture
def guarded(opensearch_server: OpenSearchEndpoint, tmp_path: Path) -> Iterator[Guarded]:
    authority, clients = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    clients.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate = clients.issue_cert("flusso@example.org")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "client.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "client.key")
    basic = base64.b64encode(f"flusso:{PASSWORD}".encode()).decode()

    def inspect(request: web.Request) -> Outcome:
        right = request.headers.get("authorization") == f"Basic {basic}"
        return None if right and request.headers.get("x-team") == "s" else HTTPStatus.UNAUTHORIZED

    with FaultProxy(opensearch_server.url, tls=context) as proxy:
        proxy.choose = inspect
        options = {
            "url": proxy.url,
            "username": "flusso",
            "password": PASSWORD,
            "headers": {"X-Team": "s"},
            "ca_file": str(tmp_path / "ca.pem"),
            "client_cert": str(tmp_path / "client.pem"),
            "client_key": str(tmp_path / "client.key"),
        }
        yield Guarded(proxy, options)


@pytest.mark.parametrize("trusting", ["ca_file", "tls_verify"])
async def test_a_cluster_behind_tls_is_written_to(
    bench: Bench, guarded: Guarded, trusting: str
) -> None:
    """With its authority, a client's certificate, basic authentication and a header."""
    changed = {} if trusting == "ca_file" else {"ca_file": None, "tls_verify": False}
    sink = await bench.users(**guarded.options_but(**changed))
    assert await sink.check() == []
    report = await sink.flush([bench.document("1", 1, {"name": "x" * 900_000})], caught_up=False)
    assert report == FlushReport()
    assert await bench.get("1") == {"name": "x" * 900_000}
    assert PASSWORD not in repr(sink)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"ca_file": None}, "the certificate of https://127.0.0.1:.* is not trusted.*ca_file"),
        ({"password": "wrong"}, r"does not accept the credentials \(401\)"),
        ({"username": None, "password": None}, r"does not accept the credentials \(401\)"),
        ({"headers": None}, r"does not accept the credentials \(401\)"),
    ],
)
async def test_what_is_not_let_in_stops_with_what_to_do(
    bench: Bench, guarded: Guarded, changed: dict[str, Any], message: str
) -> None:
    """R4: the password is in no message."""
    sink = await bench.sink(acquire=False, **guarded.options_but(**changed))
    with pytest.raises(SinkFatal, match=message) as caught:
        await sink.acquire("a run")
    assert PASSWORD not in str(caught.value)


async def test_without_the_certificate_that_is_asked_for_it_says_so(
    bench: Bench, guarded: Guarded
) -> None:
    """In TLS 1.3 the server hangs up only after the handshake, and gives no reason."""
    sink = await bench.sink(acquire=False, **guarded.options_but(client_cert=None, client_key=None))
    with pytest.raises(SinkUnavailable, match="certificate"):
        await sink.acquire("a run")


async def test_a_connection_that_is_reset_is_explained_alike(
    bench: Bench, guarded: Guarded
) -> None:
    """A server that hangs up for want of a certificate may reset the connection as well."""
    guarded.proxy.choose = lambda _request: Fault.RESET_BEFORE
    sink = await bench.sink(acquire=False, **guarded.options)
    with pytest.raises(SinkUnavailable, match="certificate"):
        await sink.acquire("a run")


async def test_a_name_that_the_certificate_does_not_have_is_not_trusted(
    bench: Bench, guarded: Guarded
) -> None:
    url = guarded.proxy.url.replace("127.0.0.1", "localhost")
    sink = await bench.sink(acquire=False, **guarded.options_but(url=url))
    with pytest.raises(SinkFatal, match="is not trusted"):
        await sink.acquire("a run")


KEY, SECRET, TOKEN = "AKIAEXAMPLE", "wJalrXUtnFEMI/K7MDENG", "a/session+token=="


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)


def expected_signature(request: web.Request, method: str, body: bytes) -> str:
    """The signature that botocore makes of what has arrived."""
    authorization = request.headers["authorization"]
    fields = dict(part.strip().split("=", 1) for part in authorization.split(" ", 1)[1].split(","))
    _, _, region, service, _ = fields["Credential"].split("/")
    names = fields["SignedHeaders"].split(";")
    headers = {name: request.headers[name] for name in names if name != "host"}
    url = f"http://{request.headers['host']}{request.raw_path}"
    arrived = AWSRequest(method=method, url=url, data=body, headers=headers)
    arrived.context["timestamp"] = request.headers["x-amz-date"]
    signer = SigV4Auth(Credentials(KEY, SECRET, TOKEN), service, region)
    text = signer.string_to_sign(arrived, signer.canonical_request(arrived))
    assert signer.signature(text, arrived) == fields["Signature"]
    return f"{region}/{service}"


async def test_requests_for_aws_are_signed_as_botocore_signs_them(
    bench: Bench, opensearch_server: OpenSearchEndpoint, aws: None
) -> None:
    seen: list[web.Request] = []
    with FaultProxy(opensearch_server.url) as proxy:
        proxy.choose = seen.append
        sink = await bench.users(url=proxy.url, aws_region="eu-west-1")
        large = bench.document("ü /?", 1, {"name": "x" * 500_000})
        assert await sink.flush([large], caught_up=True) == FlushReport()
        await sink.serve_generation(bench.mapping, 1)
        await sink.load_records()
        assert await sink.check() == []
    assert await bench.get("ü /?") is not None
    assert len(seen) > 10
    for request in seen:
        body = await request.read()
        assert request.headers["x-amz-content-sha256"] == hashlib.sha256(body).hexdigest()
        assert request.headers["x-amz-security-token"] == TOKEN
        assert expected_signature(request, request.method, body) == "eu-west-1/es"


async def test_without_aws_credentials_it_says_where_they_come_from(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(ConfigError, match=r"sinks\.search: .* no AWS credentials: set AWS_ACCESS"):
        await bench.sink(acquire=False, aws_region="eu-west-1")

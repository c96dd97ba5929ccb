"""Requests signed for Amazon OpenSearch Service (AWS Signature Version 4).

The client's own signer does it, with credentials from where every AWS tool takes them: the
environment, the shared files, the role of a container or of a machine.
"""

from __future__ import annotations

from typing import Any

from opensearchpy import AWSV4SignerAsyncAuth

from flusso_core.errors import ConfigError

AWS_SERVICE = "es"
"""What the service is called in signatures of requests to a domain."""


class AwsSigner:
    """Gives each request the headers of its signature.

    Args:
        credentials: of botocore.
        region: the domain's, such as `eu-west-1`.
        service: its name in signatures.
    """

    def __init__(self, credentials: Any, region: str, service: str) -> None:
        self._sign = AWSV4SignerAsyncAuth(credentials, region, service)

    def headers(self, method: str, url: str, body: str | bytes | None) -> dict[str, str]:
        """The headers by which a request is signed. It may block: see `load_signer`.

        Only what no proxy may change is signed: method, host, path, query and body.
        """
        return self._sign(method, url, body, {})


def load_signer(region: str, service: str, *, sink: str) -> AwsSigner:
    """Find the credentials. It may block for seconds, where a role has to be asked for.

    Args:
        region: the domain's.
        service: its name in signatures.
        sink: the sink's name, for messages.

    Raises:
        ConfigError: botocore is not installed, or there are no credentials.
    """
    try:
        # It ships no types.
        from botocore.session import Session  # type: ignore[import-untyped]
    except ImportError as error:
        msg = f'sinks.{sink}: aws_region needs botocore: pip install "flusso-sink-opensearch[aws]"'
        raise ConfigError(msg) from error
    session: Any = Session()
    credentials = session.get_credentials()
    if credentials is None:
        msg = (
            f"sinks.{sink}: aws_region is given, but there are no AWS credentials: set "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, or run it with a role"
        )
        raise ConfigError(msg)
    return AwsSigner(credentials, region, service)

"""The configuration of a deployment: `flusso.toml`, options of backends, secrets, the lock."""

from flusso_core.config.options import OptionsTable, validate_options
from flusso_core.config.secrets import Secret, SecretUrl, resolve_optional

__all__ = [
    "OptionsTable",
    "Secret",
    "SecretUrl",
    "resolve_optional",
    "validate_options",
]

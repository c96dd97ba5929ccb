"""The configuration of a deployment: `flusso.toml`, options of backends, secrets.

```python
deployment = load_deployment(Path("flusso.toml"))
options = validate_options(deployment.sinks["search"].options, MySinkOptions)
password = options.password.resolve(what="sinks.search.password")
```

The compiled form of a deployment is in `flusso_core.config.lock`.
"""

from flusso_core.config.deployment import (
    Deployment,
    IndexConfig,
    QueueConfig,
    ServerConfig,
    SinkConfig,
    SourceConfig,
)
from flusso_core.config.loading import load_deployment
from flusso_core.config.options import OptionsTable, validate_options
from flusso_core.config.secrets import Secret, SecretUrl, resolve_optional

__all__ = [
    "Deployment",
    "IndexConfig",
    "OptionsTable",
    "QueueConfig",
    "Secret",
    "SecretUrl",
    "ServerConfig",
    "SinkConfig",
    "SourceConfig",
    "load_deployment",
    "resolve_optional",
    "validate_options",
]

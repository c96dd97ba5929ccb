"""Reads a deployment from its files, or from the lock file that they compile into."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from flusso_core.cli.deployment import CONFIG, DeploymentArguments

if TYPE_CHECKING:
    from pathlib import Path

    from flusso_core.config import Deployment
    from flusso_core.pipeline import Plan

logger = logging.getLogger(__name__)


def read(given: DeploymentArguments) -> Deployment:
    """The deployment that the flags name; writes nothing.

    With `--locked` it is what the lock file says. Without a configuration in the default place
    the lock file serves as well, as it does where only that one was deployed.

    Raises:
        ConfigError: a file is missing or wrong.
    """
    from flusso_core.config import load_deployment
    from flusso_core.config.lock import load_lock

    return load_lock(given["lock"]) if is_locked(given) else load_deployment(given["config"])


def is_locked(given: DeploymentArguments) -> bool:
    """Whether `read` takes the lock file for what it says."""
    absent = str(given["config"]) == CONFIG and not given["config"].exists()
    return given["locked"] or (absent and given["lock"].exists())


def rewrite(planned: Plan, lock: Path) -> None:
    """Compile a deployment into its lock file, if that can be written.

    A folder that cannot be written to is no reason not to run.
    """
    from flusso_core.config.lock import write_lock

    try:
        if write_lock(planned.deployment, lock, planned.models):
            logger.info("%s is rewritten", lock)
    except OSError as error:
        logger.warning("%s is not rewritten: %s", lock, error.strerror)

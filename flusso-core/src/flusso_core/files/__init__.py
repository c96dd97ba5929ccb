"""Files that people write: plain data with positions, and errors that point at them.

Shared by `flusso_core.config` and `flusso_core.schema`. Whatever a text holds, reading it gives
either data or a `ConfigError` that lists every problem with file, line, column and key path.
"""

from flusso_core.files.parsed import Mark, ParsedFile, Path, Problem, Problems, path_text
from flusso_core.files.reading import read_text
from flusso_core.files.toml_file import parse_toml
from flusso_core.files.validation import check, unknown, validate
from flusso_core.files.yaml_file import parse_yaml

__all__ = [
    "Mark",
    "ParsedFile",
    "Path",
    "Problem",
    "Problems",
    "check",
    "parse_toml",
    "parse_yaml",
    "path_text",
    "read_text",
    "unknown",
    "validate",
]

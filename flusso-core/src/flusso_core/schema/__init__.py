"""Schemas of search documents: the file format, the parsed model, what derives from them.

```python
schema = load_schema(Path("users.schema.yml"), index="users")
mapping = project_mapping(schema)
complete = complete_keys(schema, catalogue.primary_key)
columns = routing_columns([complete])
```

The parsed model is in `flusso_core.schema.model`.
"""

from flusso_core.schema.locating import locate
from flusso_core.schema.mapping import project_mapping
from flusso_core.schema.parsing import (
    load_schema,
    lower_schema,
    parse_schema,
    restore_schema,
)
from flusso_core.schema.tables import complete_keys, referenced_columns, routing_columns

__all__ = [
    "complete_keys",
    "load_schema",
    "locate",
    "lower_schema",
    "parse_schema",
    "project_mapping",
    "referenced_columns",
    "restore_schema",
    "routing_columns",
]

"""A differential oracle: what flusso makes of random databases, against plain Python."""

"""Schemas of search documents: the file format, the parsed model, what derives from them."""

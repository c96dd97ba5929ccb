"""Tests of the builder, on a real server where they are marked so."""

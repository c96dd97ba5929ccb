"""Tests that need more than one package, and the shop that they share."""

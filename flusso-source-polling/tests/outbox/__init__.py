"""The change-log table, its triggers and its reader."""

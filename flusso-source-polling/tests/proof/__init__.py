"""Nothing is lost: the schedules that lose changes elsewhere, and random ones."""

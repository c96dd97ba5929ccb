"""What the engine tells: observers, progress, logging."""

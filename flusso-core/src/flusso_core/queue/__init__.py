"""The in-process queue, and its registration as the queue type `memory`."""

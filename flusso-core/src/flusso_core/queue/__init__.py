"""The queues: within the process (`memory`), and in a file (`sqlite`)."""

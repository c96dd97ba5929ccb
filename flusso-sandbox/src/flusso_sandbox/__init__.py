"""Throw-away real servers to try and to test flusso on, and the demo."""

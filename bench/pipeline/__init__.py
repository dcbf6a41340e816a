"""Benchmarks of the whole stack: storage, queues, workers, webhooks."""

"""Ways to reconstruct a head. Importable without Celery, S3 or a database."""

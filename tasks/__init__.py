"""The Celery side: app, router, the chain, thin tasks, delivery, relay. No maths here."""

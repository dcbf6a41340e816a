"""PostgreSQL: models of the truth about every job, and the operations on them."""

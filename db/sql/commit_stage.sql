-- A stage's only commit: makes the attempt's prefix the one that counts while its lease is the stage's, keeps
-- its files' names, and dispatches the stage behind it. No row: the lease is lost.
-- Parameters: job_id uuid, stage text, attempt integer, lease uuid, prefix text, timings jsonb, ran jsonb,
--   files jsonb
-- Indexes: pk_stages, pk_attempts
WITH committed AS (
    UPDATE stages SET state = 'done', lease = NULL, lease_until = NULL, prefix = :prefix,
           finished_at = now()
     WHERE job_id = :job_id AND name = :stage AND attempt = :attempt AND lease = :lease
 RETURNING job_id, name, attempt, ordinal),
reported AS (
    UPDATE attempts SET outcome = 'done', finished_at = now(), timings = CAST(:timings AS jsonb),
           ran = CAST(:ran AS jsonb)
     WHERE job_id = :job_id AND stage = :stage AND number = :attempt AND lease = :lease
       AND EXISTS (SELECT 1 FROM committed)),
onward AS (
    UPDATE stages s SET state = 'dispatched', dispatched_at = now(), gpu_type = NULL, priority_class = NULL
      FROM committed c
     WHERE s.job_id = c.job_id AND s.ordinal = c.ordinal + 1 AND s.state <> 'done'),
kept AS (
    INSERT INTO artifacts (job_id, stage, attempt, name, bucket, size, sha256, content_type)
    SELECT c.job_id, c.name, c.attempt, f.name, f.bucket, f.size, f.sha256, f.content_type
      FROM committed c, jsonb_to_recordset(CAST(:files AS jsonb))
           AS f (name text, bucket text, size bigint, sha256 text, content_type text))
SELECT ordinal FROM committed

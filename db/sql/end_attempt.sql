-- Ends an attempt without a result, and gives its lease back while it is the stage's. No row: it was lost.
-- Parameters: job_id uuid, stage text, attempt integer, lease uuid, outcome text, code text, message text
-- Indexes: pk_stages, pk_attempts
WITH released AS (
    UPDATE stages SET state = 'failed', lease = NULL, lease_until = NULL, finished_at = now(),
           failures = failures + CASE WHEN :outcome = 'failed' THEN 1 ELSE 0 END
     WHERE job_id = :job_id AND name = :stage AND attempt = :attempt AND lease = :lease
 RETURNING 1)
UPDATE attempts SET outcome = :outcome, finished_at = now(), error_code = :code, error_message = :message
 WHERE job_id = :job_id AND stage = :stage AND number = :attempt AND EXISTS (SELECT 1 FROM released)
RETURNING 1

-- Leases a stage to an attempt; the caller holds the job's row and has seen that the stage is dispatched.
-- Parameters: job_id uuid, stage text, lease uuid, seconds float8, worker text, gpu_type text, device text,
--   engine text
-- Indexes: pk_stages, pk_jobs
WITH taken AS (
    UPDATE stages
       SET state = 'running', attempt = attempt + 1, lease = :lease,
           lease_until = now() + make_interval(secs => :seconds), started_at = now(), finished_at = NULL
     WHERE job_id = :job_id AND name = :stage
 RETURNING job_id, name, attempt, lease, priority_class),
started AS (
    UPDATE jobs SET state = 'running', started_at = coalesce(started_at, now())
     WHERE id = :job_id AND state = 'accepted')
INSERT INTO attempts (job_id, stage, number, lease, worker, gpu_type, device, priority_class, engine)
SELECT job_id, name, attempt, lease, :worker, :gpu_type, :device, priority_class, :engine FROM taken

-- Finds dispatched stages that nobody started, oldest first, and whether one that was sent to the same queue
-- later has started. What its caller bound to a type without a worker waits for one, and hides no other.
-- Parameters: age float8, limit integer
-- Indexes: ix_stages_active, ix_jobs_state_created_at, pk_jobs, ix_outbox_job_id
SELECT s.job_id, s.name, j.dispatch, s.gpu_type, s.priority_class, EXISTS (
           SELECT 1 FROM stages later
            WHERE later.state = 'running' AND later.name = s.name AND later.gpu_type = s.gpu_type
              AND later.priority_class = s.priority_class AND later.dispatched_at > s.dispatched_at
       ) AS overtaken
  FROM stages s JOIN jobs j ON j.id = s.job_id
 WHERE s.state = 'dispatched' AND j.state IN ('accepted', 'running')
   AND s.dispatched_at < now() - make_interval(secs => :age)
   AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.job_id = j.id)
   AND (s.gpu_type IS NULL OR j.options->>'gpu-type' = 'any' OR EXISTS (
           SELECT 1 FROM workers w
            WHERE w.gpu_type = s.gpu_type AND w.heartbeat_at > now() - interval '1 minute'))
 ORDER BY s.dispatched_at LIMIT :limit

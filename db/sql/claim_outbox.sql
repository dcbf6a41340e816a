-- Claims due chains, interactive ones first, then by age, and tells their stages that are not done; no stages:
-- the row is of an older dispatch or an ended job.
-- Rows are picked once, and stages looked up row by row: while statistics are stale, as after a thousand
-- uploads at once, the planner has repeated both for every row, for longer than a statement may take.
-- Parameters: limit integer, seconds float8
-- Indexes: ix_outbox_priority, pk_outbox, pk_jobs, pk_stages
WITH picked AS MATERIALIZED (
    SELECT id, due_at FROM outbox WHERE due_at <= now() ORDER BY priority, id LIMIT :limit
       FOR UPDATE SKIP LOCKED),
claimed AS (
    UPDATE outbox o SET due_at = now() + make_interval(secs => :seconds)
      FROM picked WHERE o.id = picked.id
 RETURNING o.id, o.job_id, o.dispatch, o.priority, o.due_at AS claimed_until, picked.due_at)
SELECT c.id, c.job_id, c.dispatch, c.claimed_until, c.due_at,
       (SELECT array_agg(s.name ORDER BY s.ordinal) FROM stages s JOIN jobs j ON j.id = s.job_id
         WHERE s.job_id = c.job_id AND s.state <> 'done' AND j.dispatch = c.dispatch
           AND j.state IN ('accepted', 'running')) AS names
  FROM claimed c ORDER BY c.priority, c.id

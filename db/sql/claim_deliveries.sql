-- Claims the messages of some endpoints that are due longest, as many as each has places.
-- Parameters: endpoints uuid[], places integer, guard float8
-- Indexes: pk_webhook_endpoints, ix_deliveries_waiting, ix_deliveries_claimed, pk_deliveries
WITH picked AS (
    SELECT d.id FROM webhook_endpoints e CROSS JOIN LATERAL (
        SELECT w.id FROM deliveries w
         WHERE w.endpoint_id = e.id AND w.state = 'pending' AND w.due_at <= now()
           AND (w.claimed_until IS NULL OR w.claimed_until <= now())
         ORDER BY w.due_at, w.id
         LIMIT greatest(0, CASE WHEN e.hangs THEN 1 ELSE :places END
            - (SELECT count(*) FROM deliveries b WHERE b.endpoint_id = e.id AND b.claimed_until > now()))
           FOR UPDATE SKIP LOCKED) d
     WHERE e.id = ANY(CAST(:endpoints AS uuid[])))
UPDATE deliveries d SET claim = d.claim + 1, claimed_until = now() + make_interval(secs => :guard)
  FROM picked WHERE d.id = picked.id RETURNING d.id, d.claim

-- Locks endpoints with messages that are due and with a free place; those that hang come last, with one place.
-- Who holds an endpoint's row counts its places right.
-- Parameters: only uuid[], places integer, endpoints integer, idle text
-- Indexes: ix_deliveries_due_at, ix_deliveries_waiting, ix_deliveries_claimed, pk_webhook_endpoints
SELECT e.id, e.hangs, set_config('idle_in_transaction_session_timeout', :idle, true)
  FROM webhook_endpoints e
 WHERE e.enabled AND (e.paused_until IS NULL OR e.paused_until <= now())
   AND (CAST(:only AS uuid[]) IS NULL OR e.id = ANY(CAST(:only AS uuid[])))
   AND EXISTS (SELECT 1 FROM deliveries d WHERE d.endpoint_id = e.id AND d.state = 'pending'
                  AND d.due_at <= now() AND (d.claimed_until IS NULL OR d.claimed_until <= now()))
   AND (SELECT count(*) FROM deliveries d WHERE d.endpoint_id = e.id AND d.claimed_until > now())
       < CASE WHEN e.hangs THEN 1 ELSE :places END
 ORDER BY e.hangs, (SELECT min(d.due_at) FROM deliveries d
                     WHERE d.endpoint_id = e.id AND d.state = 'pending')
 LIMIT :endpoints FOR NO KEY UPDATE OF e SKIP LOCKED

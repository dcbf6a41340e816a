-- Begins the send of a message under its newest claim, once: counts the try, and notes when the next is due.
-- No row: it is not to be sent.
-- Parameters: id text, claim integer, tries integer, hold float8, waits float8[], idle text
-- Indexes: pk_deliveries, pk_webhook_endpoints, pk_delivery_tries
WITH begun AS (
    UPDATE deliveries d
       SET attempts = d.attempts + 1, begun = d.claim,
           claimed_until = now() + make_interval(secs => :hold),
           due_at = now() + make_interval(secs => greatest(:hold,
               coalesce((CAST(:waits AS float8[]))[d.attempts + 1], 0)))
      FROM webhook_endpoints e
     WHERE d.id = :id AND d.claim = :claim AND d.begun < d.claim AND d.state = 'pending'
       AND d.claimed_until > now() AND d.attempts < :tries AND e.id = d.endpoint_id AND e.enabled
 RETURNING d.id, d.endpoint_id, d.job_id, e.url, e.secret, e.previous_secrets, d.payload, d.created_at,
           d.attempts),
noted AS (
    INSERT INTO delivery_tries (delivery_id, number)
    SELECT id, 1 + coalesce((SELECT max(number) FROM delivery_tries t WHERE t.delivery_id = begun.id), 0)
      FROM begun RETURNING number)
SELECT begun.*, noted.number, now() AS at,
       set_config('idle_in_transaction_session_timeout', :idle, true)
  FROM begun, noted

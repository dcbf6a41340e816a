-- Writes a job with its stages and its outbox row in one round trip; no row: the photo with these options is
-- known, or was erased and is not newer.
-- Parameters: id uuid, bucket text, key text, etag text, options_digest text, options jsonb, stated jsonb,
--   ref text, tier text, source text, name text, size bigint, content_type text, failed boolean,
--   error_code text, error_message text, error_value text, error_limit text, photo_digest text,
--   modified_at timestamptz, stages text[], channel text
-- Indexes: uq_jobs_photo_and_options, pk_erased_photos
WITH made AS (
    INSERT INTO jobs (id, bucket, key, etag, options_digest, options, stated, ref, tier, source, name,
                      size, content_type, state, finished_at,
                      error_code, error_message, error_value, error_limit)
    SELECT CAST(:id AS uuid), :bucket, :key, :etag, :options_digest, CAST(:options AS jsonb),
           CAST(:stated AS jsonb), :ref, :tier, :source, :name, CAST(:size AS bigint), :content_type,
           CASE WHEN :failed THEN 'failed' ELSE 'accepted' END,
           CASE WHEN :failed THEN now() END, :error_code, :error_message, :error_value, :error_limit
     WHERE NOT EXISTS (
           SELECT 1 FROM erased_photos erased WHERE erased.digest = :photo_digest
              AND CAST(:modified_at AS timestamptz) <= coalesce(erased.modified_at, erased.erased_at))
    ON CONFLICT ON CONSTRAINT uq_jobs_photo_and_options DO NOTHING
 RETURNING id),
planned AS (
    INSERT INTO stages (job_id, name, ordinal, state, dispatched_at)
    SELECT made.id, stage.name, stage.ordinal - 1,
           CASE WHEN stage.ordinal = 1 AND NOT :failed THEN 'dispatched' ELSE 'waiting' END,
           CASE WHEN stage.ordinal = 1 AND NOT :failed THEN now() END
      FROM made, unnest(CAST(:stages AS text[])) WITH ORDINALITY AS stage (name, ordinal)),
queued AS (
    INSERT INTO outbox (job_id, dispatch, priority)
    SELECT id, 1, CASE WHEN CAST(:tier AS text) = 'interactive' THEN 0 ELSE 9 END
      FROM made WHERE NOT :failed)
SELECT id, pg_notify(:channel, '') FROM made

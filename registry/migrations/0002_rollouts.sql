-- Rollouts, experiments, and the hash chain over the events.
--
-- `oldest_reader` stays as it was: the release before reads all that it knows, ignores what
-- this adds, and finds a rollout's routes in `routes` like any other. What it could spoil by
-- not knowing rollouts, the triggers at the end put right.

-- The event's link in the chain; empty when the release before wrote the event.
ALTER TABLE events ADD COLUMN hash TEXT;

CREATE TABLE rollouts (
    id           TEXT    NOT NULL PRIMARY KEY,
    model        TEXT    NOT NULL REFERENCES models (name),
    number       INTEGER NOT NULL,
    attempt      INTEGER NOT NULL,
    from_version INTEGER NOT NULL,
    to_version   INTEGER NOT NULL,
    spec         TEXT    NOT NULL,
    phase        TEXT    NOT NULL,
    -- Of phase live: the place in the spec's steps, from 0.
    step         INTEGER,
    -- Of phase ended.
    outcome      TEXT,
    standing     TEXT    NOT NULL,
    held_reason  TEXT,
    approved     INTEGER NOT NULL,
    revision     INTEGER NOT NULL,
    started_at   INTEGER NOT NULL,
    started_by   TEXT    NOT NULL,
    step_since   INTEGER NOT NULL,
    ended_at     INTEGER,
    reason       TEXT,
    verdict      TEXT,
    -- The sequence of the route in force before the rollout...
    base_route   INTEGER NOT NULL,
    -- ...and of the one that the rollout has put in force last, the base to begin with.
    route        INTEGER NOT NULL,
    undo_until   INTEGER,
    UNIQUE (model, number)
) STRICT;
CREATE UNIQUE INDEX one_active_rollout ON rollouts (model) WHERE ended_at IS NULL;

-- One row per rollout, written over: never part of a model.
CREATE TABLE rollout_evidence (
    rollout  TEXT    NOT NULL PRIMARY KEY REFERENCES rollouts (id),
    revision INTEGER NOT NULL,
    evidence TEXT    NOT NULL,
    put_at   INTEGER NOT NULL
) STRICT;

-- One row: whether rollouts may move forward by themselves.
CREATE TABLE rollout_freeze (
    id       INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    frozen   INTEGER NOT NULL,
    reason   TEXT,
    set_at   INTEGER,
    set_by   TEXT
) STRICT;
INSERT INTO rollout_freeze (id, frozen) VALUES (1, 0);

CREATE TABLE experiments (
    id         TEXT    NOT NULL PRIMARY KEY,
    model      TEXT    NOT NULL REFERENCES models (name),
    name       TEXT    NOT NULL,
    spec       TEXT    NOT NULL,
    versions   TEXT    NOT NULL,
    state      TEXT    NOT NULL,
    epoch      INTEGER NOT NULL,
    shares     TEXT,
    revision   INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    started_by TEXT    NOT NULL,
    stopped_at INTEGER,
    stopped_by TEXT,
    outcome    TEXT,
    -- The registry's revision when it was started: an order that no clock decides.
    started_revision INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX one_running_experiment ON experiments (model) WHERE stopped_at IS NULL;
CREATE INDEX experiments_of_model ON experiments (model, started_revision);

CREATE TABLE exposures (
    experiment    TEXT    NOT NULL REFERENCES experiments (id),
    unit          TEXT    NOT NULL,
    variant       TEXT    NOT NULL,
    share         REAL    NOT NULL,
    epoch         INTEGER NOT NULL,
    first_seen_at INTEGER NOT NULL,
    PRIMARY KEY (experiment, unit)
) STRICT, WITHOUT ROWID;

CREATE TABLE request_units (
    request    TEXT    NOT NULL,
    experiment TEXT    NOT NULL REFERENCES experiments (id),
    unit       TEXT    NOT NULL,
    at         INTEGER NOT NULL,
    PRIMARY KEY (request, experiment)
) STRICT, WITHOUT ROWID;
CREATE INDEX request_units_by_age ON request_units (at);

CREATE TABLE feedback (
    id              INTEGER NOT NULL PRIMARY KEY,
    experiment      TEXT    NOT NULL REFERENCES experiments (id),
    unit            TEXT    NOT NULL,
    metric          TEXT    NOT NULL,
    value           REAL    NOT NULL,
    -- When what it tells of happened, and when it was taken.
    at              INTEGER NOT NULL,
    taken_at        INTEGER NOT NULL,
    idempotency_key TEXT
) STRICT;
CREATE INDEX feedback_of_units ON feedback (experiment, metric, unit);
CREATE UNIQUE INDEX feedback_once ON feedback (experiment, idempotency_key)
    WHERE idempotency_key IS NOT NULL;

-- What has ended stays as it is.
CREATE TRIGGER ended_rollouts_are_not_changed BEFORE UPDATE ON rollouts
WHEN OLD.ended_at IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'ended rollouts are not changed'); END;
CREATE TRIGGER rollouts_are_not_deleted BEFORE DELETE ON rollouts
BEGIN SELECT RAISE(ABORT, 'rollouts are not deleted'); END;

-- A release that knows no rollouts may route or delete a model all the same: that ends what is
-- active. This release names the route in the rollout's row before it appends it, and ends
-- what it deletes, so these never meet its own changes. The revision is that of the event
-- that the other release appends next.
CREATE TRIGGER foreign_routes_end_rollouts AFTER INSERT ON routes
BEGIN
    UPDATE rollouts
    SET phase = 'ended', step = NULL, outcome = 'ended', ended_at = NEW.set_at,
        reason = 'a release that knows no rollouts set the route',
        revision = (SELECT COALESCE(MAX(sequence), 0) + 1 FROM events)
    WHERE model = NEW.model AND ended_at IS NULL AND route <> NEW.sequence;
END;
CREATE TRIGGER deleted_models_end_rollouts AFTER UPDATE OF deleted_at ON models
WHEN NEW.deleted_at IS NOT NULL
BEGIN
    UPDATE rollouts
    SET phase = 'ended', step = NULL, outcome = 'ended', ended_at = NEW.deleted_at,
        reason = 'a release that knows no rollouts deleted the model',
        revision = (SELECT COALESCE(MAX(sequence), 0) + 1 FROM events)
    WHERE model = NEW.name AND ended_at IS NULL;
    UPDATE experiments
    SET state = 'stopped', stopped_at = NEW.deleted_at, stopped_by = 'system',
        outcome = 'a release that knows no experiments deleted the model',
        revision = (SELECT COALESCE(MAX(sequence), 0) + 1 FROM events)
    WHERE model = NEW.name AND stopped_at IS NULL;
END;

-- The registry's first schema. Times are unix milliseconds, JSON is text.
--
-- A binary of the release before must still read what this schema holds: later migrations
-- add tables and columns that may be null or have a default, and never change what a column
-- means. The one that cannot keep to this (or adds a version state or a key role) raises
-- `oldest_reader`, and older binaries then refuse to open the database.

CREATE TABLE schema_compatibility (
    -- The lowest migration number a binary must know to read and write this database.
    oldest_reader INTEGER NOT NULL
) STRICT;
INSERT INTO schema_compatibility (oldest_reader) VALUES (1);

-- Each change is one event, and the event's sequence is the registry's revision after it:
-- there is no other counter that could disagree.
CREATE TABLE events (
    sequence   INTEGER NOT NULL PRIMARY KEY,
    at         INTEGER NOT NULL,
    actor      TEXT    NOT NULL,
    actor_name TEXT    NOT NULL,
    action     TEXT    NOT NULL,
    model      TEXT,
    version    INTEGER,
    from_value TEXT,
    to_value   TEXT
) STRICT;
CREATE INDEX events_of_model ON events (model, sequence);

-- A deleted model keeps its row: its name may come back for a new life, in which numbers of
-- versions and of routes go on from where they were.
CREATE TABLE models (
    name          TEXT    NOT NULL PRIMARY KEY,
    -- The registry's revision at the last change of route, aliases or settings.
    revision      INTEGER NOT NULL,
    settings      TEXT    NOT NULL,
    -- Routes up to this sequence belong to earlier lives of the name.
    routes_before INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    deleted_at    INTEGER
) STRICT;

-- A deleted version keeps its row, so that its number is never given again.
CREATE TABLE versions (
    model      TEXT    NOT NULL REFERENCES models (name),
    version    INTEGER NOT NULL,
    digest     TEXT    NOT NULL,
    manifest   TEXT    NOT NULL,
    state      TEXT    NOT NULL,
    -- Why a rejected version was rejected.
    reason     TEXT,
    report     TEXT,
    info       TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT    NOT NULL,
    checked_at INTEGER,
    deleted_at INTEGER,
    PRIMARY KEY (model, version)
) STRICT;
CREATE UNIQUE INDEX live_digests ON versions (model, digest) WHERE deleted_at IS NULL;

CREATE TABLE aliases (
    model   TEXT    NOT NULL,
    alias   TEXT    NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (model, alias),
    FOREIGN KEY (model, version) REFERENCES versions (model, version)
) STRICT;

CREATE TABLE routes (
    model    TEXT    NOT NULL REFERENCES models (name),
    sequence INTEGER NOT NULL,
    split    TEXT    NOT NULL,
    cause    TEXT    NOT NULL,
    set_at   INTEGER NOT NULL,
    set_by   TEXT    NOT NULL,
    -- The sequence that a rollback goes back to.
    previous INTEGER,
    PRIMARY KEY (model, sequence)
) STRICT;

CREATE VIEW current_routes AS
SELECT r.model, r.sequence, r.split, r.cause, r.set_at, r.set_by, r.previous
FROM routes r
JOIN models m ON m.name = r.model
WHERE m.deleted_at IS NULL
  AND r.sequence > m.routes_before
  AND r.sequence = (SELECT MAX(newest.sequence) FROM routes newest WHERE newest.model = r.model);

CREATE TABLE api_keys (
    id           TEXT    NOT NULL PRIMARY KEY,
    name         TEXT    NOT NULL,
    role         TEXT    NOT NULL,
    prefix       TEXT    NOT NULL UNIQUE,
    hash         TEXT    NOT NULL UNIQUE,
    created_at   INTEGER NOT NULL,
    created_by   TEXT    NOT NULL,
    expires_at   INTEGER,
    revoked_at   INTEGER,
    last_used_at INTEGER
) STRICT;

CREATE TABLE operations (
    id         TEXT    NOT NULL PRIMARY KEY,
    kind       TEXT    NOT NULL,
    model      TEXT,
    version    INTEGER,
    state      TEXT    NOT NULL,
    progress   TEXT    NOT NULL,
    result     TEXT,
    error      TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    created_by TEXT    NOT NULL
) STRICT;
CREATE INDEX operations_by_age ON operations (created_at, id);

-- Events and routes are only ever appended. The triggers on INSERT refuse what would replace
-- or precede a row: `INSERT OR REPLACE` fires no DELETE trigger.
CREATE TRIGGER events_are_not_changed BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TRIGGER events_are_not_deleted BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TRIGGER events_are_appended BEFORE INSERT ON events
WHEN NEW.sequence <= (SELECT MAX(sequence) FROM events)
BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;

CREATE TRIGGER routes_are_not_changed BEFORE UPDATE ON routes
BEGIN SELECT RAISE(ABORT, 'routes are append-only'); END;
CREATE TRIGGER routes_are_not_deleted BEFORE DELETE ON routes
BEGIN SELECT RAISE(ABORT, 'routes are append-only'); END;
CREATE TRIGGER routes_are_appended BEFORE INSERT ON routes
WHEN NEW.sequence <= (SELECT MAX(sequence) FROM routes WHERE model = NEW.model)
BEGIN SELECT RAISE(ABORT, 'routes are append-only'); END;

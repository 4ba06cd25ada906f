-- Keys for a tenant, with scopes of their own. A binary that knows only roles reads the role of
-- such a key: it is the weakest there is.
ALTER TABLE api_keys ADD COLUMN scopes TEXT;
ALTER TABLE api_keys ADD COLUMN tenant TEXT;
ALTER TABLE api_keys ADD COLUMN tier   TEXT;

-- What tenants have used of their daily quotas. Days are counted from 1970-01-01, UTC.
CREATE TABLE quota_use (
    day      INTEGER NOT NULL,
    tenant   TEXT    NOT NULL,
    requests INTEGER NOT NULL,
    "rows"   INTEGER NOT NULL,
    PRIMARY KEY (day, tenant)
) STRICT, WITHOUT ROWID;

-- A ledger of schema version 3: counters of two budgets, a lease that is out, a doubt that is resolved and one that is not.
CREATE TABLE "entry" (
    id INTEGER PRIMARY KEY,
    attempt_id TEXT NOT NULL UNIQUE,
    request_id TEXT NOT NULL,
    admitted_at INTEGER NOT NULL,
    tenant_id TEXT NOT NULL,
    plan TEXT,
    segment TEXT,
    endpoint_tag TEXT NOT NULL,
    prompt_version TEXT NOT NULL,
    data_mode TEXT NOT NULL,
    environment TEXT NOT NULL,
    user_id TEXT,
    external_request_id TEXT,
    workflow_id TEXT,
    attributes TEXT,
    retry_count INTEGER NOT NULL,
    key_name TEXT,
    provider TEXT NOT NULL,
    dialect TEXT NOT NULL,
    path TEXT NOT NULL,
    model_requested TEXT,
    model_served TEXT,
    model_answered TEXT,
    stream INTEGER NOT NULL,
    logical INTEGER NOT NULL,
    input_tokens INTEGER,
    cached_input_tokens INTEGER,
    cache_write_tokens INTEGER,
    cache_write_1h_tokens INTEGER,
    output_tokens INTEGER,
    reasoning_tokens INTEGER,
    basis TEXT NOT NULL,
    price_row TEXT,
    cost_nano_usd INTEGER,
    status INTEGER NOT NULL,
    ending TEXT NOT NULL,
    decision TEXT NOT NULL,
    would TEXT NOT NULL,
    policy TEXT NOT NULL,
    overhead_us INTEGER NOT NULL,
    first_byte_us INTEGER,
    duration_us INTEGER NOT NULL
, adjusts TEXT, actor TEXT, reason TEXT, adjusted_at INTEGER, chain BLOB) STRICT;
CREATE INDEX attempt_by_time ON "entry" (admitted_at);
CREATE INDEX attempt_decided ON "entry" (admitted_at) WHERE decision <> '' OR would <> '';
CREATE INDEX attempt_decided_by_tenant ON "entry" (tenant_id, admitted_at) WHERE decision <> '' OR would <> '';
CREATE TABLE transition (
    budget TEXT NOT NULL,
    key TEXT NOT NULL,
    window_start INTEGER NOT NULL,
    step TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (budget, key, window_start, step)
) STRICT, WITHOUT ROWID;
CREATE INDEX transition_by_time ON transition (at);
CREATE TABLE tenant (
    tenant_id TEXT PRIMARY KEY,
    name TEXT,
    plan TEXT,
    segment TEXT,
    account_owner TEXT,
    revenue_nano INTEGER,
    revenue_per TEXT,
    upgrade_url TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX entry_in_doubt ON entry (id) WHERE basis = 'in_doubt';
CREATE INDEX entry_adjusts ON entry (adjusts) WHERE adjusts IS NOT NULL;
CREATE TABLE counter (
    id INTEGER PRIMARY KEY,
    identity TEXT NOT NULL,
    key TEXT NOT NULL,
    window_start INTEGER NOT NULL,
    window_end INTEGER NOT NULL,
    posted_nano_usd INTEGER NOT NULL DEFAULT 0,
    posted_tokens INTEGER NOT NULL DEFAULT 0,
    posted_requests INTEGER NOT NULL DEFAULT 0,
    in_doubt_nano_usd INTEGER NOT NULL DEFAULT 0,
    in_doubt_tokens INTEGER NOT NULL DEFAULT 0,
    in_doubt_requests INTEGER NOT NULL DEFAULT 0,
    leased_nano_usd INTEGER NOT NULL DEFAULT 0,
    leased_tokens INTEGER NOT NULL DEFAULT 0,
    leased_requests INTEGER NOT NULL DEFAULT 0,
    UNIQUE (identity, key, window_start)
) STRICT;
CREATE INDEX counter_by_end ON counter (window_end);
CREATE INDEX counter_leased ON counter (id)
    WHERE leased_nano_usd <> 0 OR leased_tokens <> 0 OR leased_requests <> 0;
CREATE TABLE complete (identity TEXT PRIMARY KEY, since INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE doubt (
    id INTEGER PRIMARY KEY,
    counter INTEGER NOT NULL REFERENCES counter (id),
    unit TEXT NOT NULL,
    amount INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    resolved INTEGER,
    actor TEXT,
    reason TEXT
) STRICT;
CREATE INDEX doubt_open ON doubt (counter) WHERE resolved IS NULL;
CREATE TABLE price (id TEXT NOT NULL, row TEXT NOT NULL, PRIMARY KEY (id, row)) STRICT, WITHOUT ROWID;
CREATE TABLE head (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    epoch INTEGER NOT NULL,
    entry INTEGER NOT NULL,
    chain BLOB NOT NULL
) STRICT;
CREATE INDEX entry_by_request ON entry (request_id) WHERE attempt_id <> request_id;
INSERT INTO head VALUES (1, 4, 0, zeroblob(32));
INSERT INTO counter VALUES
    (3, '{"budget":"a","per":["tenantId"],"span":"month","zone":"UTC"}', 'globex', 1000, 9000, 1, 2, 3, 40, 5, 6, 0, 0, 0),
    (7, '{"budget":"b","per":[],"span":"day","zone":"UTC"}', '', 1000, 2000, 10, 20, 30, 0, 0, 0, 7, 0, 0),
    (8, '{"budget":"a","per":["tenantId"],"span":"month","zone":"UTC"}', 'acme', 1000, 9000, 4, 5, 6, 0, 0, 0, 0, 0, 0);
INSERT INTO complete VALUES ('{"budget":"a","per":["tenantId"],"span":"month","zone":"UTC"}', 500);
INSERT INTO doubt VALUES (1, 3, 'nano_usd', 40, 1, NULL, NULL, NULL), (2, 8, 'tokens', 9, 1, 5, 'ann', 'export');
PRAGMA application_id = 1349282157;
PRAGMA user_version = 3;

-- The ledger of schema version 1.
CREATE TABLE attempt (
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
) STRICT;
CREATE INDEX attempt_by_time ON attempt (admitted_at);
CREATE INDEX attempt_by_request ON attempt (request_id);
CREATE INDEX attempt_decided ON attempt (admitted_at) WHERE decision <> '' OR would <> '';
CREATE INDEX attempt_decided_by_tenant ON attempt (tenant_id, admitted_at) WHERE decision <> '' OR would <> '';
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
PRAGMA application_id = 0x506c696d;
PRAGMA user_version = 1;

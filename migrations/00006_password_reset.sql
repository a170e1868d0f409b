-- +goose Up
-- The password of a reset that is going on, sealed like the others. Meanwhile the owner reads none.
ALTER TABLE tenant_secrets ADD COLUMN pending_password bytea;

-- +goose Down
ALTER TABLE tenant_secrets DROP COLUMN pending_password;

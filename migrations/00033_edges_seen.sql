-- +goose Up
-- Since when we know of an edge, for whoever has to tell which one is gone for good.
ALTER TABLE edges ADD COLUMN first_seen timestamptz NOT NULL DEFAULT now();

-- +goose Down
ALTER TABLE edges DROP COLUMN first_seen;

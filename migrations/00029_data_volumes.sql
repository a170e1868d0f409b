-- +goose Up
-- In which of the engine's volumes a client's data are: a restore puts another in the place of the first one, which is NULL and follows
-- from the client's name.
ALTER TABLE tenants ADD COLUMN data_volume text CONSTRAINT tenants_data_volume UNIQUE CHECK (data_volume ~ '^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,254}$');

-- Volumes that restores made and nothing uses yet, and those whose place they took. A volume is written here before it is made.
CREATE TABLE spare_volumes (
    tenant_id    bigint NOT NULL REFERENCES tenants,
    volume       text NOT NULL CHECK (volume ~ '^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,254}$'),  -- may be another client's by now, if this one is deleted
    operation_id bigint NOT NULL,      -- the restore
    since        timestamptz NOT NULL, -- nothing uses it
    PRIMARY KEY (tenant_id, volume)
);
CREATE INDEX spare_volumes_since ON spare_volumes (since);

-- How far the present step has come, if it says so: ops.Progress.
ALTER TABLE operations ADD COLUMN progress jsonb;

-- +goose Down
ALTER TABLE operations DROP COLUMN progress;
DROP TABLE spare_volumes;
ALTER TABLE tenants DROP COLUMN data_volume;

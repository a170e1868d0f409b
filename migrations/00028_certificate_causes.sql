-- +goose Up
-- Why a certificate can't be had, in a word that may be shown to those who wait for it: the CA's own text may not. And since when nobody
-- wants it, by which it is forgotten: one that is in use may have been untouched for long.
ALTER TABLE certificates
    ADD cause          text NOT NULL DEFAULT '' CHECK (cause ~ '^[a-z_]{0,40}$'),
    ADD unwanted_since timestamptz,
    ADD CONSTRAINT certificates_cause CHECK (cause = '' OR failures > 0);
CREATE INDEX certificates_unwanted ON certificates (unwanted_since) WHERE unwanted_since IS NOT NULL;

-- +goose Down
ALTER TABLE certificates DROP unwanted_since, DROP cause;

-- +goose Up
-- +goose StatementBegin
-- Each edge's copy of the routes: whatever was changed before as_of is known to it, also after a restart without us. An address that was
-- freed is given away only when all of them know.
CREATE TABLE edges (
    id    text PRIMARY KEY CHECK (id ~ '^[0-9a-f]{16}$'), -- of the copy on its disk
    as_of timestamptz NOT NULL
);
CREATE INDEX edges_by_age ON edges (as_of);

-- Who sees, at this time, what an alert tells of. It is over when nobody has said so for a while.
CREATE TABLE alert_reports (
    kind        text NOT NULL CHECK (kind <> ''),
    subject     text NOT NULL CHECK (subject <> ''),
    reporter    text NOT NULL CHECK (length(reporter) BETWEEN 1 AND 100),
    reported_at timestamptz NOT NULL,
    PRIMARY KEY (kind, subject, reporter)
);
CREATE INDEX alert_reports_of ON alert_reports (reporter, kind);
-- +goose StatementEnd

-- +goose Down
DROP TABLE alert_reports, edges;

package backup

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	collectTimeout = 10 * time.Second
	// mostClients bounds the series: of more clients only the oldest are told, and the sums.
	mostClients = 2000
)

var _ prometheus.Collector = (*Planner)(nil)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("odoohost_backup_"+name, help, labels, nil)
}

//nolint:gochecknoglobals // constants
var (
	descTaken      = describe("taken_timestamp_seconds", "When the client's newest good full backup was begun.", "client")
	descVerified   = describe("verified_timestamp_seconds", "When a good full backup of the client was read back whole last.", "client")
	descProven     = describe("proven_timestamp_seconds", "When a backup of the client was restored last and Odoo answered on it.", "client")
	descStored     = describe("stored_bytes", "What the client's good backups take in the store.", "client")
	descOldest     = describe("oldest_taken_timestamp_seconds", "The oldest of all clients' newest good full backups.")
	descLeast      = describe("oldest_proven_timestamp_seconds", "The oldest of all clients' last proofs; 0: a client that has a full backup has none.")
	descAll        = describe("all_stored_bytes", "What all good backups take in the store.")
	descLately     = describe("lately", "Backups that ended in the last 24 hours, by kind and how they ended.", "kind", "state")
	descDuration   = describe("duration_seconds", "Mean time that the good ones of the last 24 hours took, by kind.", "kind")
	descLongest    = describe("longest_seconds", "The longest of these.", "kind")
	descProofs     = describe("proofs_lately", "Trials that ended in the last 7 days, by how they ended.", "state")
	descProofsTime = describe("proof_duration_seconds", "Mean time that these took, by how they ended.", "state")
)

// Describe sends nothing: which clients and kinds there are isn't known beforehand.
func (*Planner) Describe(chan<- *prometheus.Desc) {}

// Collect tells how old what could be restored is, what it takes and how it went lately.
func (p *Planner) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	for _, collect := range []func(ctx context.Context, tell func(d *prometheus.Desc, value float64, labels ...string)) error{
		p.collectClients, p.collectLately, p.collectProofs,
	} {
		err := collect(ctx, func(d *prometheus.Desc, value float64, labels ...string) {
			out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
		})
		if err != nil {
			out <- prometheus.NewInvalidMetric(descTaken, fmt.Errorf("read what is known of backups: %w", err))
		}
	}
}

func (p *Planner) collectClients(ctx context.Context, tell func(d *prometheus.Desc, value float64, labels ...string)) error {
	rows, err := p.deps.Pool.Query(ctx, `
		SELECT t.name, coalesce(extract(epoch FROM s.taken), 0)::float8, coalesce(extract(epoch FROM s.verified), 0)::float8,
			coalesce(extract(epoch FROM proven.at), 0)::float8, s.bytes::float8
		FROM tenants t
		JOIN LATERAL (SELECT max(b.started_at) FILTER (WHERE b.kind NOT IN ('hourly', 'imported')) AS taken, max(b.verified_at) FILTER (WHERE b.kind NOT IN ('hourly', 'imported')) AS verified,
			sum(b.stored_bytes) AS bytes FROM backups b WHERE b.tenant_id = t.id AND b.state = 'done' AND b.broken_at IS NULL) s ON s.bytes IS NOT NULL
		LEFT JOIN LATERAL (`+provenSQL+`) proven ON true
		WHERE t.state NOT IN ('deleting', 'deleted') ORDER BY s.taken NULLS FIRST`)
	if err != nil {
		return err
	}
	var name string
	var taken, verified, proven, bytes float64
	var clients int
	var all, oldest, least float64
	_, err = pgx.ForEachRow(rows, []any{&name, &taken, &verified, &proven, &bytes}, func() error {
		clients++
		all += bytes
		if clients == 1 {
			oldest, least = taken, proven
		}
		oldest, least = min(oldest, taken), min(least, proven)
		if clients <= mostClients {
			tell(descTaken, taken, name)
			tell(descVerified, verified, name)
			tell(descProven, proven, name)
			tell(descStored, bytes, name)
		}
		return nil
	})
	if err == nil && clients > 0 {
		tell(descOldest, oldest)
		tell(descLeast, least)
		tell(descAll, all)
	}
	return err
}

func (p *Planner) collectLately(ctx context.Context, tell func(d *prometheus.Desc, value float64, labels ...string)) error {
	rows, err := p.deps.Pool.Query(ctx, `
		SELECT kind, CASE WHEN state = 'failed' THEN 'failed' ELSE 'done' END, count(*)::float8,
			coalesce(avg(extract(epoch FROM finished_at - started_at)), 0)::float8, coalesce(max(extract(epoch FROM finished_at - started_at)), 0)::float8
		FROM backups WHERE finished_at > $1 GROUP BY 1, 2`, p.deps.Now().Add(-24*time.Hour))
	if err != nil {
		return err
	}
	var kind, state string
	var count, mean, longest float64
	_, err = pgx.ForEachRow(rows, []any{&kind, &state, &count, &mean, &longest}, func() error {
		tell(descLately, count, kind, state)
		if state == string(Done) {
			tell(descDuration, mean, kind)
			tell(descLongest, longest, kind)
		}
		return nil
	})
	return err
}

func (p *Planner) collectProofs(ctx context.Context, tell func(d *prometheus.Desc, value float64, labels ...string)) error {
	rows, err := p.deps.Pool.Query(ctx, `
		SELECT state, count(*)::float8, avg(extract(epoch FROM finished_at - created_at))::float8
		FROM backup_proofs WHERE finished_at > $1 GROUP BY 1`, p.deps.Now().Add(-7*24*time.Hour))
	if err != nil {
		return err
	}
	var state string
	var count, mean float64
	_, err = pgx.ForEachRow(rows, []any{&state, &count, &mean}, func() error {
		tell(descProofs, count, state)
		tell(descProofsTime, mean, state)
		return nil
	})
	return err
}

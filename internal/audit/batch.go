package audit

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/postgres"
	"controlplane/internal/secrets"
)

// The domains keep a digest of one kind from being taken for another; the number rises with the encoding.
const (
	rowDomain   = "activity_log row 1"
	batchDomain = "audit_batches batch 1"
)

const (
	idBytes    = 8
	entryBytes = idBytes + sha256.Size
)

// entry is one row of the log in a manifest.
type entry struct {
	id     int64
	digest [sha256.Size]byte
}

// batch is a link of the chain.
type batch struct {
	ID       int64
	FirstID  int64
	LastID   int64
	Rows     int
	Manifest []byte
	Previous []byte
	Hash     []byte
	SealedAt time.Time
	Seal     secrets.Sealed
}

// next links entries to b, which is the zero batch at the beginning.
func (b batch) next(entries []entry, now time.Time) batch {
	n := batch{
		ID: b.ID + 1, FirstID: entries[0].id, LastID: entries[len(entries)-1].id, Rows: len(entries),
		Manifest: make([]byte, 0, entryBytes*len(entries)), Previous: b.Hash, SealedAt: now,
	}
	if b.ID == 0 {
		n.Previous = make([]byte, sha256.Size)
	}
	for _, e := range entries {
		n.Manifest = binary.BigEndian.AppendUint64(n.Manifest, uint64(e.id)) //nolint:gosec // an identity is positive
		n.Manifest = append(n.Manifest, e.digest[:]...)
	}
	n.Hash = n.sum()
	return n
}

// sum is the batch's hash, over everything but its seal.
func (b batch) sum() []byte {
	d := newDigest(batchDomain)
	d.number(b.ID)
	d.number(b.FirstID)
	d.number(b.LastID)
	d.number(int64(b.Rows))
	d.text(string(b.Manifest))
	d.text(string(b.Previous))
	d.number(b.SealedAt.UnixMicro())
	return d.hash.Sum(nil)
}

// entries reads the manifest.
func (b batch) entries() []entry {
	var all []entry
	for m := b.Manifest; len(m) >= entryBytes; m = m[entryBytes:] {
		e := entry{id: int64(binary.BigEndian.Uint64(m))} //nolint:gosec // as written by next
		copy(e.digest[:], m[idBytes:entryBytes])
		all = append(all, e)
	}
	return all
}

func (b batch) head() Anchor { return Anchor{Batch: b.ID, Hash: hex.EncodeToString(b.Hash)} }

// Anchor is a batch and its hash, noted outside of the database: the chain must still have it.
type Anchor struct {
	Batch int64
	Hash  string // hexadecimal
}

// String is the form that ParseAnchor reads.
func (a Anchor) String() string { return strconv.FormatInt(a.Batch, 10) + ":" + a.Hash }

// ParseAnchor reads "<batch>:<hash>", as printed and logged.
func ParseAnchor(s string) (Anchor, error) {
	number, sum, _ := strings.Cut(strings.TrimSpace(s), ":")
	id, err := strconv.ParseInt(number, 10, 64)
	raw, err2 := hex.DecodeString(sum)
	if err != nil || err2 != nil || id < 1 || len(raw) != sha256.Size {
		return Anchor{}, errors.New("an anchor looks like 17:<64 hex digits>, as it was printed or logged")
	}
	return Anchor{Batch: id, Hash: strings.ToLower(sum)}, nil
}

// digest hashes fields so that none can be taken for another: every one bears its length.
type digest struct{ hash hash.Hash }

func newDigest(domain string) digest {
	d := digest{hash: sha256.New()}
	d.text(domain)
	return d
}

func (d digest) text(s string) {
	d.hash.Write(binary.BigEndian.AppendUint64(nil, uint64(len(s))))
	d.hash.Write([]byte(s))
}

func (d digest) number(n int64) { d.text(strconv.FormatInt(n, 10)) }

// optional tells nil from "".
func (d digest) optional(s *string) {
	if s == nil {
		d.text("null")
		return
	}
	d.text("text")
	d.text(*s)
}

// digests hashes the rows with ids above after, up to through, in the order of their ids; at most limit of them, 0: all. PostgreSQL's
// text form of an inet and of a jsonb is the same for the same value.
func digests(ctx context.Context, q postgres.Querier, after, through int64, limit int) ([]entry, error) {
	rows, err := q.Query(ctx, `
		SELECT id, (extract(epoch FROM at) * 1000000)::bigint, account_id::text, actor, tenant_id::text, action, ip::text, detail::text
		FROM activity_log WHERE id > $1 AND id <= $2 ORDER BY id LIMIT nullif($3, 0)`, after, through, limit)
	if err != nil {
		return nil, fmt.Errorf("read the activity log: %w", err)
	}
	entries, err := pgx.CollectRows(rows, scanEntry)
	if err != nil {
		return nil, fmt.Errorf("read the activity log: %w", err)
	}
	return entries, nil
}

func scanEntry(row pgx.CollectableRow) (entry, error) {
	var e entry
	var at int64
	var actor, action, detail string
	var account, tenant, ip *string
	if err := row.Scan(&e.id, &at, &account, &actor, &tenant, &action, &ip, &detail); err != nil {
		return entry{}, err
	}
	d := newDigest(rowDomain)
	d.number(e.id)
	d.number(at)
	d.optional(account)
	d.text(actor)
	d.optional(tenant)
	d.text(action)
	d.optional(ip)
	d.text(detail)
	d.hash.Sum(e.digest[:0])
	return e, nil
}

const batchColumns = "id, first_id, last_id, row_count, manifest, previous_hash, hash, sealed_at, seal"

func scanBatch(row pgx.CollectableRow) (batch, error) {
	var b batch
	err := row.Scan(&b.ID, &b.FirstID, &b.LastID, &b.Rows, &b.Manifest, &b.Previous, &b.Hash, &b.SealedAt, &b.Seal)
	return b, err
}

// lastBatch returns the newest batch, or the zero batch before the first.
func lastBatch(ctx context.Context, q postgres.Querier) (batch, error) {
	rows, err := q.Query(ctx, "SELECT "+batchColumns+" FROM audit_batches ORDER BY id DESC LIMIT 1")
	if err != nil {
		return batch{}, fmt.Errorf("read the last batch: %w", err)
	}
	b, err := pgx.CollectExactlyOneRow(rows, scanBatch)
	if err != nil && !postgres.NoRows(err) {
		return batch{}, fmt.Errorf("read the last batch: %w", err)
	}
	return b, nil
}

func insertBatch(ctx context.Context, q postgres.Querier, b batch, seal secrets.Sealed) error {
	_, err := q.Exec(ctx, "INSERT INTO audit_batches ("+batchColumns+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
		b.ID, b.FirstID, b.LastID, b.Rows, b.Manifest, b.Previous, b.Hash, b.SealedAt, seal)
	if err != nil {
		return fmt.Errorf("write batch %d: %w", b.ID, err)
	}
	return nil
}

package backup

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/backup/archive"
	"controlplane/internal/errs"
	"controlplane/internal/postgres"
	"controlplane/internal/secrets"
)

const (
	linkPrefix = "bl_" // tells people and secret scanners what it is
	linkBytes  = 32
	// linkUses is how often a download may begin: browsers and download managers ask more than once.
	linkUses = 3
)

// ErrLinkOver is the answer to a link that has expired, was used up, or never was.
var ErrLinkOver = errs.New(errs.NotFound, "link_over", "This link isn't valid (any more). Ask for a new one.")

// Link lets whoever has it download one backup for some time, where no token can be sent: a browser that saves a file. It is as good as the
// backup itself, so it is short-lived, begins few downloads, and isn't kept here.
type Link struct {
	Secret    secrets.Secret
	ExpiresAt time.Time
}

// Link makes one. Errors: ErrNotFound, ErrNotGood.
func (d *Desk) Link(ctx context.Context, r Request, id ID) (Link, error) {
	b, err := d.Find(ctx, r.By, id)
	if err != nil {
		return Link{}, err
	}
	if !b.Good() {
		return Link{}, ErrNotGood
	}
	return d.newLink(ctx, r, b, 0)
}

// newLink is for the backup as it is, or with a neutral dump's row for its own.
func (d *Desk) newLink(ctx context.Context, r Request, b Backup, neutral int64) (Link, error) {
	raw := make([]byte, linkBytes)
	_, _ = rand.Read(raw) // never fails
	link := Link{
		Secret:    secrets.Secret(linkPrefix + base64.RawURLEncoding.EncodeToString(raw)),
		ExpiresAt: d.deps.Now().UTC().Truncate(time.Second).Add(d.opts.LinkLife),
	}
	var more map[string]any
	if neutral != 0 {
		more = map[string]any{"neutralised": true}
	}
	err := postgres.InTx(ctx, d.deps.Pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO backup_links (link_hash, backup_id, neutral_dump_id, account_id, uses_left, expires_at)
			VALUES ($1, $2, nullif($3, 0), $4, $5, $6)`, linkHash(link.Secret), b.ID, neutral, r.By.AccountID, linkUses, link.ExpiresAt)
		if err != nil {
			return fmt.Errorf("store a link: %w", err)
		}
		return d.record(r, "backup.download", more)(ctx, tx, b)
	})
	return link, err
}

func linkHash(link secrets.Secret) []byte {
	sum := sha256.Sum256([]byte(link.Reveal()))
	return sum[:]
}

// Download is what a link leads to.
type Download struct {
	Backup  Backup
	Account accounts.ID   // for whom the link was made
	neutral *archive.Part // in the place of the backup's own dump
}

// Neutralised reports whether nothing in it acts on the world.
func (d Download) Neutralised() bool { return d.neutral != nil }

// Redeem returns what a link is for, if the account that it was made for could still ask for it. With begin a download is counted.
// Errors: ErrLinkOver, ErrNotGood.
func (d *Desk) Redeem(ctx context.Context, link secrets.Secret, begin bool) (Download, error) {
	if !linkShaped(link.Reveal()) {
		return Download{}, ErrLinkOver
	}
	uses := 0
	if begin {
		uses = 1
	}
	var id ID
	var found Download
	err := d.deps.Pool.QueryRow(ctx, `
		UPDATE backup_links l SET uses_left = l.uses_left - $3 FROM backups b, tenants t, accounts a
		WHERE l.link_hash = $1 AND l.expires_at > $2 AND l.uses_left > 0 AND b.id = l.backup_id AND t.id = b.tenant_id
			AND a.id = l.account_id AND a.disabled_at IS NULL AND (a.id = t.account_id OR a.role = 'admin')
			AND (l.neutral_dump_id IS NULL OR EXISTS (SELECT FROM backup_neutral_dumps n WHERE n.id = l.neutral_dump_id AND n.removed_at IS NULL))
		RETURNING b.id, a.id, (SELECT part FROM backup_neutral_dumps WHERE id = l.neutral_dump_id)`,
		linkHash(link), d.deps.Now(), uses).Scan(&id, &found.Account, &found.neutral)
	if postgres.NoRows(err) {
		return Download{}, ErrLinkOver
	}
	if err != nil {
		return Download{}, fmt.Errorf("use a link: %w", err)
	}
	found.Backup, err = d.deps.Backups.Get(ctx, id)
	if err == nil && !found.Backup.Good() {
		err = ErrNotGood
	}
	return found, err
}

// linkShaped spares the database what can't be a link.
func linkShaped(text string) bool {
	return len(text) == len(linkPrefix)+base64.RawURLEncoding.EncodedLen(linkBytes) && strings.HasPrefix(text, linkPrefix)
}

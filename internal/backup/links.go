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
	raw := make([]byte, linkBytes)
	_, _ = rand.Read(raw) // never fails
	link := Link{
		Secret:    secrets.Secret(linkPrefix + base64.RawURLEncoding.EncodeToString(raw)),
		ExpiresAt: d.deps.Now().UTC().Truncate(time.Second).Add(d.opts.LinkLife),
	}
	err = postgres.InTx(ctx, d.deps.Pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO backup_links (link_hash, backup_id, account_id, uses_left, expires_at) VALUES ($1, $2, $3, $4, $5)",
			linkHash(link.Secret), b.ID, r.By.AccountID, linkUses, link.ExpiresAt)
		if err != nil {
			return fmt.Errorf("store a link: %w", err)
		}
		return d.record(r, "backup.download", nil)(ctx, tx, b)
	})
	return link, err
}

func linkHash(link secrets.Secret) []byte {
	sum := sha256.Sum256([]byte(link.Reveal()))
	return sum[:]
}

// Redeem returns the backup that a link is for, and for whom it was made, if that account could still ask for it. With begin a download is
// counted. Errors: ErrLinkOver, ErrNotGood.
func (d *Desk) Redeem(ctx context.Context, link secrets.Secret, begin bool) (Backup, accounts.ID, error) {
	if !linkShaped(link.Reveal()) {
		return Backup{}, 0, ErrLinkOver
	}
	uses := 0
	if begin {
		uses = 1
	}
	var id ID
	var account accounts.ID
	err := d.deps.Pool.QueryRow(ctx, `
		UPDATE backup_links l SET uses_left = l.uses_left - $3 FROM backups b, tenants t, accounts a
		WHERE l.link_hash = $1 AND l.expires_at > $2 AND l.uses_left > 0 AND b.id = l.backup_id AND t.id = b.tenant_id
			AND a.id = l.account_id AND a.disabled_at IS NULL AND (a.id = t.account_id OR a.role = 'admin')
		RETURNING b.id, a.id`, linkHash(link), d.deps.Now(), uses).Scan(&id, &account)
	if postgres.NoRows(err) {
		return Backup{}, 0, ErrLinkOver
	}
	if err != nil {
		return Backup{}, 0, fmt.Errorf("use a link: %w", err)
	}
	b, err := d.deps.Backups.Get(ctx, id)
	if err == nil && !b.Good() {
		err = ErrNotGood
	}
	return b, account, err
}

// linkShaped spares the database what can't be a link.
func linkShaped(text string) bool {
	return len(text) == len(linkPrefix)+base64.RawURLEncoding.EncodedLen(linkBytes) && strings.HasPrefix(text, linkPrefix)
}

package postgres

import (
	"context"
	"fmt"
	"time"
)

// InstallationID returns the id (12 hex digits) that marks what this installation made on engines and database servers.
func InstallationID(ctx context.Context, db Querier) (string, error) {
	var id string
	if err := db.QueryRow(ctx, "SELECT id FROM installation").Scan(&id); err != nil {
		return "", fmt.Errorf("read the installation id: %w", err)
	}
	return id, nil
}

// InstalledAt returns when the platform's database was made.
func InstalledAt(ctx context.Context, db Querier) (time.Time, error) {
	var at time.Time
	if err := db.QueryRow(ctx, "SELECT created_at FROM installation").Scan(&at); err != nil {
		return time.Time{}, fmt.Errorf("read when the platform was installed: %w", err)
	}
	return at, nil
}

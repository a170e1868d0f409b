package backup

import (
	"context"
	"encoding/json"
	"fmt"

	"controlplane/internal/backup/archive"
)

// carried is what a process that can't make a zip hands to one that can.
type carried struct {
	BackupID ID            `json:"backup_id"`
	Neutral  *archive.Part `json:"neutral,omitempty"`
}

// Carry writes the download down for another process of the platform, which takes it on trust.
func (d Download) Carry() ([]byte, error) {
	order, err := json.Marshal(carried{d.Backup.ID, d.neutral})
	if err != nil {
		return nil, fmt.Errorf("hand on a download: %w", err)
	}
	return order, nil
}

// Carried is the other end of Carry. Errors: ErrNotFound, ErrNotGood.
func (s *Service) Carried(ctx context.Context, order []byte) (Download, error) {
	var c carried
	if err := json.Unmarshal(order, &c); err != nil {
		return Download{}, fmt.Errorf("read what is to be downloaded: %w", err)
	}
	b, err := s.Get(ctx, c.BackupID)
	if err == nil && !b.Good() {
		err = ErrNotGood
	}
	return Download{Backup: b, neutral: c.Neutral}, err
}

package main

import (
	"context"
	"errors"
	"strings"

	"controlplane/internal/backup"
	"controlplane/internal/capacity"
	"controlplane/internal/provision"
	"controlplane/internal/tenants"
)

// sandbox lets backups be tried where provisioning says.
type sandbox struct{ provision *provision.Service }

var (
	_ backup.Sandbox = sandbox{}
	_ backup.Neutral = sandbox{}
)

// Open implements backup.Sandbox.
func (s sandbox) Open(ctx context.Context, t tenants.Tenant, subject string, slot int) (backup.Cell, error) {
	c, err := s.provision.OpenSandbox(ctx, t, subject, slot)
	return cellOf(c), err
}

func cellOf(s provision.Sandbox) backup.Cell {
	return backup.Cell{Database: s.Database, Password: s.Password, Volume: s.Volume, Dir: s.Dir}
}

// Start implements backup.Sandbox.
func (s sandbox) Start(ctx context.Context, t tenants.Tenant, subject string, slot int) error {
	err := s.provision.StartSandbox(ctx, t, subject, slot)
	if errors.Is(err, provision.ErrNotReady) {
		return backup.ErrNoAnswer.WithCause(err)
	}
	return err
}

// Neutralise implements backup.Neutral.
func (s sandbox) Neutralise(ctx context.Context, t tenants.Tenant, subject string, slot int) (backup.Cell, error) {
	c, err := s.provision.NeutraliseSandbox(ctx, t, subject, slot)
	if errors.Is(err, provision.ErrNotNeutralised) {
		return backup.Cell{}, backup.ErrNotNeutralised.WithCause(err)
	}
	return cellOf(c), err
}

// Close implements backup.Sandbox.
func (s sandbox) Close(ctx context.Context, subject string, slot int) error {
	return s.provision.CloseSandbox(ctx, subject, slot)
}

// Sweep implements backup.Sandbox.
func (s sandbox) Sweep(ctx context.Context, lives func(ctx context.Context, subject string) (bool, error)) (int, error) {
	return s.provision.SweepSandboxes(ctx, lives)
}

// lackingFor asks the hosts' last measurements.
func lackingFor(c *capacity.Service) func(ctx context.Context, memoryMB, diskMB int64) (string, error) {
	return func(ctx context.Context, memoryMB, diskMB int64) (string, error) {
		lacking, err := c.Lacking(ctx, memoryMB, diskMB)
		return strings.Join(lacking, "; "), err
	}
}

package provision

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"controlplane/internal/tenants"
)

// neutraliserSuffix ends the name of what neutralises a database, beside the container whose Odoo works on it.
const neutraliserSuffix = "_neutralise"

// NeutraliseSandbox runs `odoo neutralize` on what was loaded into a sandbox, where it reaches nothing but the database, and returns the
// sandbox with the password that its role has then. It may be repeated. Errors: ErrNotNeutralised, ErrSandboxGone.
func (s *Service) NeutraliseSandbox(ctx context.Context, t tenants.Tenant, subject string, slot int) (Sandbox, error) {
	name := s.sandboxName(subject)
	if err := s.runtime.RemoveContainer(ctx, name+neutraliserSuffix); err != nil { // an attempt before this one left it, with another password
		return Sandbox{}, err
	}
	password, err := s.prepareSandbox(ctx, t, subject, slot)
	if err != nil {
		return Sandbox{}, err
	}
	plan, err := s.tenants.Plan(ctx, t.PlanID)
	if err != nil {
		return Sandbox{}, err
	}
	image, err := s.imageOf(ctx, t)
	if err != nil {
		return Sandbox{}, err
	}
	c := s.sandbox(t, plan, image, subject, slot)
	c.Name += neutraliserSuffix
	c.Command = neutralising(name)
	if err := s.runNeutraliser(ctx, c, TenantDatabase{Name: name, Subject: subject, Password: password}); err != nil {
		return Sandbox{}, err
	}
	return sandboxOf(name, password), nil
}

// neutralising is Odoo's own command for it.
func neutralising(database string) []string {
	return []string{"env", "odoo", "neutralize", "-d", database}
}

// runNeutraliser takes a database that may be made so that it never ends. Errors: ErrNotNeutralised.
func (s *Service) runNeutraliser(ctx context.Context, c Container, db TenantDatabase) error {
	ctx, cancel := context.WithTimeoutCause(ctx, neutraliseTimeout, ErrNotNeutralised)
	defer cancel()
	err := s.runMarked(ctx, c, db)
	if err != nil && errors.Is(context.Cause(ctx), ErrNotNeutralised) {
		return ErrNotNeutralised.WithCause(fmt.Errorf("neutralise %s: not done within %v: %w", db.Name, neutraliseTimeout, err))
	}
	return err
}

// runMarked believes only the mark in the database. Errors: ErrNotNeutralised.
func (s *Service) runMarked(ctx context.Context, c Container, db TenantDatabase) error {
	result, err := s.runtime.RunContainer(ctx, c)
	if err != nil {
		return err
	}
	if result.ExitCode != 0 {
		return ErrNotNeutralised.WithCause(fmt.Errorf("neutralise %s: exit code %d:\n%s", db.Name, result.ExitCode, strings.Join(result.Tail, "\n")))
	}
	done, err := s.database.Neutralised(ctx, db)
	if err == nil && !done {
		err = ErrNotNeutralised.WithCause(fmt.Errorf("database %s doesn't say that it is neutralised", db.Name))
	}
	return err
}

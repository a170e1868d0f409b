package billing

import (
	"context"

	"controlplane/internal/ops"
)

// EventWorkflow is what Register registers, for the generic workflow tests.
func (s *Service) EventWorkflow() ops.Workflow { return s.eventWorkflow() }

// Settle asks the gateway about one payment and applies the answer, as webhook, verify and poller do.
func (s *Service) Settle(ctx context.Context, reference string) error {
	return s.settle(ctx, reference)
}

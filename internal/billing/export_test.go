package billing

import "controlplane/internal/ops"

// EventWorkflow is what Register registers, for the generic workflow tests.
func (s *Service) EventWorkflow() ops.Workflow { return s.eventWorkflow() }

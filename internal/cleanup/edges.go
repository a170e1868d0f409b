package cleanup

import (
	"context"
	"fmt"
	"time"

	"controlplane/internal/alerts"
	"controlplane/internal/tenants"
)

const edgeSilent = "edge.silent"

// Edges is the sweep that tells of edges that reported once and haven't for silentAfter. What it has told of is over when the edge reports
// again or is forgotten.
func (s *Service) Edges(silentAfter time.Duration) Sweep {
	return Sweep{
		Name: "edges", Description: "Looks for edges that don't report any more", Cron: "* * * * *", Jitter: 10 * time.Second,
		Run: func(ctx context.Context) (Result, error) {
			silent, err := s.silentEdges(ctx, silentAfter)
			if err != nil {
				return Result{}, err
			}
			if err := alerts.Report(ctx, s.deps.Pool, "schedules/edges", edgeSilent, silent); err != nil {
				return Result{}, err
			}
			if len(silent) == 0 {
				return Result{}, nil
			}
			return Result{Note: fmt.Sprintf("%d silent", len(silent))}, nil
		},
	}
}

func (s *Service) silentEdges(ctx context.Context, after time.Duration) ([]alerts.Alert, error) {
	edges, err := tenants.Edges(ctx, s.deps.Pool, after)
	if err != nil {
		return nil, err
	}
	var silent []alerts.Alert
	for _, e := range edges {
		if e.State == tenants.EdgeReporting {
			continue
		}
		silent = append(silent, alerts.Alert{Kind: edgeSilent, Subject: "edge/" + e.ID, Message: fmt.Sprintf(
			"Edge %s, first seen %s, has reported nothing since %s, and subnets that were freed since then wait for it. If it is gone for good: controlplane admin edges forget %[1]s",
			e.ID, e.FirstSeen.UTC().Format(time.RFC3339), e.AsOf.UTC().Format(time.RFC3339))})
	}
	return silent, nil
}

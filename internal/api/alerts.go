package api

import (
	"context"
	"net/http"
	"strconv"

	"controlplane/internal/accounts"
	"controlplane/internal/alerts"
	"controlplane/internal/audit"
	"controlplane/internal/postgres"
)

type alertAnswer struct {
	ID         int64     `json:"id"`
	Kind       string    `json:"kind"`
	Subject    string    `json:"subject"`
	Message    string    `json:"message"`
	RaisedAt   wireTime  `json:"raised_at"`
	LastAt     wireTime  `json:"last_at"`
	Count      int       `json:"count"`
	ResolvedAt *wireTime `json:"resolved_at"`
}

// listAlerts shows what is open, or what was resolved, latest first.
func (s *server) listAlerts(w http.ResponseWriter, r *http.Request, _ accounts.Principal) error {
	q := parseQuery(r)
	filter := alerts.Filter{Kind: q.text("kind"), Resolved: q.boolean("resolved")}
	filter.Before, filter.Limit = q.cursor()
	if q.err != nil {
		return q.err
	}
	list, err := s.deps.Alerts.List(r.Context(), filter)
	if err != nil {
		return err
	}
	out := make([]alertAnswer, 0, len(list))
	for _, a := range list {
		out = append(out, alertAnswer{
			ID: a.ID, Kind: a.Kind, Subject: a.Subject, Message: a.Message, RaisedAt: wireTime(a.RaisedAt), LastAt: wireTime(a.LastAt),
			Count: a.Count, ResolvedAt: wireTimePtr(a.ResolvedAt),
		})
	}
	s.older(w, r, len(list), filter.Limit, func() int64 { return list[len(list)-1].ID })
	return reply(w, http.StatusOK, out)
}

// resolveAlert is for what a person has seen to. What goes on being wrong is raised again.
func (s *server) resolveAlert(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	text, ok := pathParam(r, "id")
	id, err := strconv.ParseInt(text, 10, 64)
	if !ok || err != nil {
		return alerts.ErrNotFound
	}
	entry := audit.Entry{
		AccountID: int64(p.AccountID), Actor: p.Username, Action: "alert.resolve", IP: s.clientIP(r), Detail: map[string]any{"alert": id},
	}
	err = s.deps.Alerts.Close(r.Context(), id, func(ctx context.Context, q postgres.Querier) error {
		return s.deps.Audit.RecordTx(ctx, q, entry)
	})
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, done{Success: true, Message: "The alert has been resolved."})
}

package api

import (
	"net/http"
	"strconv"

	"controlplane/internal/accounts"
	"controlplane/internal/audit"
	"controlplane/internal/tenants"
)

// activityAnswer is one thing that was done to a client, as its owner reads it.
type activityAnswer struct {
	ID     int64          `json:"id"`
	At     wireTime       `json:"at"`
	Actor  string         `json:"actor"`
	Action string         `json:"action"`
	IP     *string        `json:"ip"`
	Detail map[string]any `json:"detail"`
}

// auditAnswer is one thing that was done, as admins read it.
type auditAnswer struct {
	activityAnswer

	AccountID  *int64  `json:"account_id"` // null: the system
	ClientID   *int64  `json:"client_id"`
	ClientName *string `json:"client_name"`
}

func newActivityAnswer(rec audit.Record) activityAnswer {
	out := activityAnswer{ID: rec.ID, At: wireTime(rec.At), Actor: rec.Actor, Action: rec.Action, Detail: rec.Detail}
	if rec.IP.IsValid() {
		out.IP = orNull(rec.IP.String())
	}
	if out.Detail == nil {
		out.Detail = map[string]any{}
	}
	return out
}

func idOrNull(id int64) *int64 {
	if id == 0 {
		return nil
	}
	return &id
}

const maxCursorPage = 500

// cursor reads the parameters of lists that only grow at their head: from which id downwards, and how many.
func (q *query) cursor() (before int64, limit int) {
	limit = q.integer("limit", 100, 1, maxCursorPage)
	return q.id("before"), limit
}

// older tells where the next page is, if this one is full.
func (s *server) older(w http.ResponseWriter, r *http.Request, count, limit int, last func() int64) {
	if count < limit {
		return
	}
	next := r.URL.Query()
	next.Set("before", strconv.FormatInt(last(), 10))
	w.Header().Set("Link", "<"+s.opts.PublicURL+r.URL.EscapedPath()+"?"+next.Encode()+`>; rel="next"`)
}

// clientActivity is what was done to a client, by whom, latest first.
func (s *server) clientActivity(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	q := parseQuery(r)
	before, limit := q.cursor()
	if q.err != nil {
		return q.err
	}
	t, err := s.client(r, p)
	if err != nil {
		return err
	}
	list, err := s.deps.Audit.Activity(r.Context(), audit.ActivityFilter{
		TenantID: int64(t.ID), OwnerID: int64(t.AccountID), Before: before, Limit: limit,
	})
	if err != nil {
		return err
	}
	out := make([]activityAnswer, 0, len(list))
	for _, rec := range list {
		out = append(out, newActivityAnswer(rec))
	}
	s.older(w, r, len(list), limit, func() int64 { return list[len(list)-1].ID })
	return reply(w, http.StatusOK, out)
}

// listActivity is the whole activity log, latest first, for admins.
func (s *server) listActivity(w http.ResponseWriter, r *http.Request, _ accounts.Principal) error {
	filter, err := auditFilter(r)
	if err != nil {
		return err
	}
	list, err := s.deps.Audit.List(r.Context(), filter)
	if err != nil {
		return err
	}
	var ids []tenants.ID
	for _, rec := range list {
		ids = append(ids, tenants.ID(rec.TenantID))
	}
	names, err := s.deps.Tenants.NamesOf(r.Context(), ids)
	if err != nil {
		return err
	}
	out := make([]auditAnswer, 0, len(list))
	for _, rec := range list {
		out = append(out, auditAnswer{
			activityAnswer: newActivityAnswer(rec), AccountID: idOrNull(rec.AccountID), ClientID: idOrNull(rec.TenantID),
			ClientName: orNull(names[tenants.ID(rec.TenantID)]),
		})
	}
	s.older(w, r, len(list), filter.Limit, func() int64 { return list[len(list)-1].ID })
	return reply(w, http.StatusOK, out)
}

func auditFilter(r *http.Request) (audit.Filter, error) {
	q := parseQuery(r)
	f := audit.Filter{
		AccountID: q.id("account_id"), TenantID: q.id("client_id"), Actor: q.text("actor"), ActionPrefix: q.text("action"),
		Since: q.time("since"), Until: q.time("until"),
	}
	f.Before, f.Limit = q.cursor()
	return f, q.err
}

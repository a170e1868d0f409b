package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/backup"
	"controlplane/internal/errs"
	"controlplane/internal/ops"
	"controlplane/internal/tenants"
)

var errLimitsFixed = errs.New(errs.Invalid, "limits_fixed", "Memory and CPU limits come with the plan and can't be set one by one.")

type (
	createClientRequest struct {
		Name   string `json:"name" validate:"required,max=1000"`
		Domain string `json:"domain" validate:"max=1000"`
		Email  string `json:"email" validate:"required,max=1000"`
		Plan   string `json:"plan" validate:"max=100"`

		FromBackup *backup.ID `json:"from_backup"` // of one's own, that it is to be a copy of
	}
	// updateClientRequest names the limits only to refuse them, whatever their type.
	updateClientRequest struct {
		Email         *string         `json:"email" validate:"omitempty,max=1000"`
		Plan          *string         `json:"plan" validate:"omitempty,max=100"`
		Notes         *string         `json:"notes" validate:"omitempty,max=10000"`
		MemoryLimit   json.RawMessage `json:"memory_limit"`
		DBMemoryLimit json.RawMessage `json:"db_memory_limit"`
		CPULimit      json.RawMessage `json:"cpu_limit"`
		DBCPULimit    json.RawMessage `json:"db_cpu_limit"`
	}
)

func (in updateClientRequest) setsLimits() bool {
	for _, limit := range []json.RawMessage{in.MemoryLimit, in.DBMemoryLimit, in.CPULimit, in.DBCPULimit} {
		if limit != nil && string(limit) != "null" {
			return true
		}
	}
	return false
}

// oneClient is the path of a client. Words that are routes beside it can't be names.
const oneClient = "/api/clients/{name}"

func (s *server) clientRoutes(r chi.Router) {
	r.Get("/api/clients", s.user(s.listClients))
	r.Post("/api/clients", s.user(s.createClient))
	r.Get("/api/clients/stats", s.user(s.clientStats))
	r.Get("/api/clients/pending", s.admin(errAdminsOnly, s.pendingClients))
	r.Get(oneClient, s.user(s.getClient))
	r.Patch(oneClient, s.user(s.updateClient))
	r.Get(oneClient+"/credentials", s.user(s.credentials))
	r.Head(oneClient+"/credentials", s.methodNotAllowed) // would use up the only reading and show nothing
	r.Post(oneClient+"/reset-admin-password", s.user(s.resetAdminPassword))
	r.Get(oneClient+"/stats", s.user(s.statsOfClient))
	r.Get(oneClient+"/logs", s.stream(s.clientLogs))
	r.Head(oneClient+"/logs", s.methodNotAllowed) // would use up a ticket
	r.Get(oneClient+"/activity", s.user(s.clientActivity))
	s.transitionRoutes(r)
}

// pathParam unescapes a part of the path; what can't be unescaped names nothing.
func pathParam(r *http.Request, name string) (string, bool) {
	value, err := url.PathUnescape(chi.URLParam(r, name))
	return value, err == nil
}

func pathName(r *http.Request) (string, error) {
	name, ok := pathParam(r, "name")
	if !ok {
		return "", tenants.ErrNotFound
	}
	return name, nil
}

func (s *server) createClient(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	var in createClientRequest
	if err := s.decodeJSON(w, r, &in); err != nil {
		return err
	}
	order := tenants.CreateInput{Name: in.Name, Domain: in.Domain, Email: in.Email, PlanID: in.Plan}
	if in.FromBackup != nil {
		if s.deps.Backups == nil {
			return errNoBackups
		}
		var err error
		if order.With, err = s.deps.Backups.Copying(r.Context(), s.backupRequest(r, p), *in.FromBackup); err != nil {
			return err
		}
	}
	t, err := s.deps.Tenants.Create(r.Context(), p, s.clientIP(r), order)
	if err != nil {
		return err
	}
	w.Header().Set("Location", s.opts.PublicURL+"/api/clients/"+t.Name)
	return s.replyDetail(w, r, http.StatusCreated, p, t)
}

func (s *server) listClients(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	q := parseQuery(r)
	filter := tenants.ListFilter{IncludeScheduled: q.boolean("include_scheduled")}
	filter.Skip, filter.Limit = q.page()
	if state := tenants.State(q.text("status")); state != "" {
		filter.State = &state
	}
	if q.err != nil {
		return q.err
	}
	page, err := s.deps.Tenants.List(r.Context(), p, filter)
	if err != nil {
		return err
	}
	plans, err := s.plansOf(r, page.Tenants)
	if err != nil {
		return err
	}
	backups, err := s.outlooks(r.Context(), page.Tenants...)
	if err != nil {
		return err
	}
	own, err := s.domainsOf(r, page.Tenants...)
	if err != nil {
		return err
	}
	out := make([]clientAnswer, 0, len(page.Tenants))
	for _, t := range page.Tenants {
		out = append(out, s.newClientAnswer(t, plans[t.PlanID], backups[t.ID], own[t.ID]))
	}
	s.paging(w, r, filter.Skip, filter.Limit, page.Total)
	return reply(w, http.StatusOK, out)
}

// plansOf returns the plans of a list, each asked for once.
func (s *server) plansOf(r *http.Request, list []tenants.Tenant) (map[string]tenants.Plan, error) {
	plans := map[string]tenants.Plan{}
	for _, t := range list {
		if _, known := plans[t.PlanID]; known {
			continue
		}
		plan, err := s.deps.Tenants.Plan(r.Context(), t.PlanID)
		if err != nil {
			return nil, err
		}
		plans[t.PlanID] = plan
	}
	return plans, nil
}

// paging tells the length of the whole list and where the next page is. Links come from configuration, never from the Host header.
func (s *server) paging(w http.ResponseWriter, r *http.Request, skip, limit, total int) {
	w.Header().Set("X-Total-Count", strconv.Itoa(total))
	if skip+limit >= total {
		return
	}
	next := r.URL.Query()
	next.Set("skip", strconv.Itoa(skip+limit))
	next.Set("limit", strconv.Itoa(limit))
	path := strings.TrimSuffix(r.URL.EscapedPath(), "/")
	w.Header().Set("Link", "<"+s.opts.PublicURL+path+"?"+next.Encode()+`>; rel="next"`)
}

func (s *server) getClient(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	t, err := s.client(r, p)
	if err != nil {
		return err
	}
	return s.replyDetail(w, r, http.StatusOK, p, t)
}

func (s *server) replyDetail(w http.ResponseWriter, r *http.Request, status int, p accounts.Principal, t tenants.Tenant) error {
	plan, err := s.deps.Tenants.Plan(r.Context(), t.PlanID)
	if err != nil {
		return err
	}
	backups, err := s.outlooks(r.Context(), t)
	if err != nil {
		return err
	}
	own, err := s.domainsOf(r, t)
	if err != nil {
		return err
	}
	detail := s.newClientDetail(t, plan, backups[t.ID], own[t.ID], p.Admin)
	if detail.Progress, err = s.progress(r, t, p.Admin); err != nil {
		return err
	}
	return reply(w, status, detail)
}

// progress returns the latest operation on a client, or nil when there never was one.
func (s *server) progress(r *http.Request, t tenants.Tenant, admin bool) (*progressAnswer, error) {
	op, err := s.deps.Ops.Latest(r.Context(), t.ID.Subject())
	if errors.Is(err, ops.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return newProgressAnswer(op, admin), nil
}

func (s *server) updateClient(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	name, err := pathName(r)
	if err != nil {
		return err
	}
	var in updateClientRequest
	if err := s.decodeJSON(w, r, &in); err != nil {
		return err
	}
	if in.setsLimits() {
		if _, err := s.client(r, p); err != nil {
			return err
		}
		return errLimitsFixed
	}
	change := tenants.UpdateInput{Email: in.Email, PlanID: in.Plan, Notes: in.Notes}
	if s.deps.Backups != nil {
		change.With = s.deps.Backups.StillFits
	}
	c, err := s.deps.Tenants.Update(r.Context(), p, s.clientIP(r), name, change)
	if err != nil {
		return err
	}
	plan, err := s.deps.Tenants.Plan(r.Context(), c.Tenant.PlanID)
	if err != nil {
		return err
	}
	backups, err := s.outlooks(r.Context(), c.Tenant)
	if err != nil {
		return err
	}
	own, err := s.domainsOf(r, c.Tenant)
	if err != nil {
		return err
	}
	transition, status := s.settle(w, r, p, c, wording{})
	return reply(w, status, updateAnswer{clientAnswer: s.newClientAnswer(c.Tenant, plan, backups[c.Tenant.ID], own[c.Tenant.ID]), Operation: transition.Operation})
}

func (s *server) pendingClients(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	list, err := s.deps.Tenants.Pending(r.Context(), p)
	if err != nil {
		return err
	}
	out := make([]pendingAnswer, 0, len(list))
	for _, t := range list {
		out = append(out, newPendingAnswer(t, time.Now()))
	}
	return reply(w, http.StatusOK, out)
}

// clientStats counts the caller's own clients, and all of them for an admin.
func (s *server) clientStats(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	t, err := s.deps.Tenants.Totals(r.Context(), p)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, statsAnswer{
		TotalClients: t.Clients, ActiveClients: t.Active, SuspendedClients: t.Suspended, TotalDiskUsageMB: t.DiskUsageMB,
	})
}

// credentials shows the first password once; every answer here is no-store, as all of the API's are.
func (s *server) credentials(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	name, err := pathName(r)
	if err != nil {
		return err
	}
	c, err := s.deps.Tenants.Credentials(r.Context(), p, s.clientIP(r), name)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, credentialsAnswer{Login: c.Login, Password: c.Password.Reveal(), URL: s.opts.TenantURL(c.Domain)})
}

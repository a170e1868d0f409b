package api

import (
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/domains"
	"controlplane/internal/tenants"
)

// domainsAnswer keeps the fields of the earlier API in front.
type domainsAnswer struct {
	Domains        []string       `json:"domains"`
	PrimaryDomain  string         `json:"primary_domain"` // that the links of the client's Odoo bear
	PlatformDomain string         `json:"platform_domain"`
	Limit          int            `json:"limit"`
	Details        []domainAnswer `json:"details"`
}

type domainAnswer struct {
	Domain      string             `json:"domain"`
	Display     string             `json:"display"`
	Status      domains.Status     `json:"status"`
	Primary     bool               `json:"primary"`
	SSLEnabled  bool               `json:"ssl_enabled"`
	ReasonCode  *string            `json:"reason_code"` // what the latest check found wrong
	Reason      *string            `json:"reason"`
	AddedAt     wireTime           `json:"added_at"`
	ExpiresAt   *wireTime          `json:"expires_at"`
	VerifiedAt  *wireTime          `json:"verified_at"`
	FlaggedAt   *wireTime          `json:"flagged_at"`
	CheckedAt   *wireTime          `json:"checked_at"`
	NextCheckAt wireTime           `json:"next_check_at"`
	Certificate *certificateAnswer `json:"certificate"` // null: none was asked for yet
	Records     []recordAnswer     `json:"records"`     // that belong into the domain's DNS
}

type certificateAnswer struct {
	NotBefore   *wireTime `json:"not_before"` // null until there is one, as are the next two
	NotAfter    *wireTime `json:"not_after"`
	RenewAt     *wireTime `json:"renew_at"`
	LastError   *string   `json:"last_error"` // why there is none, or it couldn't be renewed, for the owner
	ErrorCode   *string   `json:"error_code"`
	LastErrorAt *wireTime `json:"last_error_at"`
	RetryAt     *wireTime `json:"retry_at"` // it isn't tried again before
}

type recordAnswer struct {
	Type  string `json:"type"`
	Name  string `json:"name"`
	Value string `json:"value"`
}

type addDomainRequest struct {
	Domain string `json:"domain" validate:"max=2000"`
}

type addedDomainAnswer struct {
	Success bool         `json:"success"`
	Domain  string       `json:"domain"`
	Message string       `json:"message"`
	Details domainAnswer `json:"details"`
}

func (s *server) domainRoutes(r chi.Router) {
	const one = oneClient + "/domains/{domain}"
	r.Get(oneClient+"/domains", s.user(s.listDomains))
	r.Post(oneClient+"/domains", s.user(s.addDomain))
	r.Delete(one, s.user(s.removeDomain))
	r.Post(one+"/verify", s.user(s.verifyDomain))
	r.Post(one+"/primary", s.user(s.setPrimaryDomain))
}

func (s *server) listDomains(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	name, err := pathName(r)
	if err != nil {
		return err
	}
	o, err := s.deps.Domains.Of(r.Context(), p, name)
	if err != nil {
		return err
	}
	out := domainsAnswer{
		Domains: []string{}, PrimaryDomain: o.Tenant.PrimaryDomain, PlatformDomain: o.Tenant.Domain, Limit: o.Limit, Details: []domainAnswer{},
	}
	for _, d := range o.Domains {
		out.Domains = append(out.Domains, d.Name)
		out.Details = append(out.Details, s.newDomainAnswer(r, o, d))
	}
	return reply(w, http.StatusOK, out)
}

// newDomainAnswer takes what else there is to tell from the overview.
func (s *server) newDomainAnswer(r *http.Request, o domains.Overview, d domains.Domain) domainAnswer {
	a := domainAnswer{
		Domain: d.Name, Display: d.Display, Status: d.Status, Primary: o.Tenant.PrimaryDomain == d.Name, ReasonCode: orNull(d.ReasonCode),
		Reason: orNull(d.Reason), AddedAt: wireTime(d.CreatedAt), ExpiresAt: wireTimePtr(d.ExpiresAt), VerifiedAt: wireTimePtr(d.VerifiedAt),
		FlaggedAt: wireTimePtr(d.FlaggedAt), CheckedAt: wireTimePtr(d.CheckedAt), NextCheckAt: wireTime(d.NextCheckAt), Records: []recordAnswer{},
	}
	for _, record := range s.deps.Domains.Records(r.Context(), o.Tenant, d) {
		a.Records = append(a.Records, recordAnswer(record))
	}
	if c, asked := o.Certificates[d.Name]; asked {
		a.SSLEnabled = c.Version > 0 && time.Now().Before(c.NotAfter)
		a.Certificate = &certificateAnswer{
			NotBefore: wireTimeOrNull(c.NotBefore), NotAfter: wireTimeOrNull(c.NotAfter), RenewAt: wireTimeOrNull(c.RenewAt),
			LastError: orNull(s.deps.Domains.Trouble(c)), ErrorCode: orNull(string(c.Cause)), LastErrorAt: wireTimeOrNull(c.LastErrorAt),
			RetryAt: wireTimeOrNull(c.RetryAt),
		}
	}
	return a
}

func wireTimeOrNull(at time.Time) *wireTime {
	if at.IsZero() {
		return nil
	}
	return wireTimePtr(&at)
}

// addDomain takes the domain from the query, as front ends send it, or from the body if there is one.
func (s *server) addDomain(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	name, err := pathName(r)
	if err != nil {
		return err
	}
	q := parseQuery(r)
	in := addDomainRequest{Domain: q.text("domain")}
	if q.err != nil {
		return q.err
	}
	if err := s.decodeOptional(w, r, &in); err != nil {
		return err
	}
	if err := s.limitAccount(r, p, "domains", s.opts.Rates.Domains); err != nil {
		return err
	}
	t, d, err := s.deps.Domains.Add(r.Context(), p, s.clientIP(r), name, in.Domain)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, addedDomainAnswer{
		Success: true, Domain: d.Name, Details: s.newDomainAnswer(r, domains.Overview{Tenant: t}, d),
		Message: "Domain " + d.Display + " has been added. It goes live by itself once the records listed with it are in its DNS",
	})
}

func (s *server) removeDomain(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	name, domain, err := pathDomain(r)
	if err != nil {
		return err
	}
	d, _, err := s.deps.Domains.Remove(r.Context(), p, s.clientIP(r), name, domain)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, done{Success: true, Message: "Domain " + d.Display + " has been removed"})
}

func (s *server) verifyDomain(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	name, domain, err := pathDomain(r)
	if err != nil {
		return err
	}
	if err := s.limitAccount(r, p, "domains", s.opts.Rates.Domains); err != nil {
		return err
	}
	d, err := s.deps.Domains.Verify(r.Context(), p, s.clientIP(r), name, domain)
	if err != nil {
		return err
	}
	o, err := s.deps.Domains.Of(r.Context(), p, name)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, s.newDomainAnswer(r, o, d))
}

// setPrimaryDomain also takes the platform address, which undoes it.
func (s *server) setPrimaryDomain(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	name, domain, err := pathDomain(r)
	if err != nil {
		return err
	}
	c, err := s.deps.Domains.SetPrimary(r.Context(), p, s.clientIP(r), name, domain)
	if err != nil {
		return err
	}
	text := wording{done: "The links of " + name + " begin with " + c.Tenant.PrimaryDomain, going: "The links of " + name + " will begin with " + c.Tenant.PrimaryDomain}
	if c.Tenant.LinkDomain != c.Tenant.PrimaryDomain && c.Operation == nil {
		text.done = text.going + " when what is going on is done"
	}
	return s.replyTransition(w, r, p, c, text)
}

func pathDomain(r *http.Request) (client, domain string, err error) {
	if client, err = pathName(r); err != nil {
		return "", "", err
	}
	domain, ok := pathParam(r, "domain")
	if !ok {
		return "", "", domains.ErrNotFound
	}
	return client, domain, nil
}

// domainsOf returns the names for the clients' lists.
func (s *server) domainsOf(r *http.Request, list ...tenants.Tenant) (map[tenants.ID][]string, error) {
	ids := make([]tenants.ID, 0, len(list))
	for _, t := range list {
		ids = append(ids, t.ID)
	}
	return s.deps.Domains.NamesOf(r.Context(), ids)
}

package api

import (
	"net/http"

	"controlplane/internal/accounts"
	"controlplane/internal/tenants"
)

// releaseRequest asks twice: what a copy has to send is sent from then on, and nobody gets that back.
type releaseRequest struct {
	Confirm string `json:"confirm" validate:"max=1000"`
}

// quarantineAnswer tells why a client sends nothing and runs no jobs.
type quarantineAnswer struct {
	Since       wireTime `json:"since"`
	By          string   `json:"by"` // who had it copied
	Cause       string   `json:"cause"`
	Explanation string   `json:"explanation"`
}

const aboutQuarantine = "This client is a copy. It can be used, but it reaches nobody (mail servers, banks, web services) and runs no scheduled actions, " +
	"so that nothing happens twice. Neutralise it to keep it as a copy: its mail servers, jobs and connectors are switched off for good. " +
	"Or release it to have it take over: what is waiting to be sent is sent then, and overdue actions run."

func newQuarantineAnswer(t tenants.Tenant) *quarantineAnswer {
	if t.QuarantinedAt == nil {
		return nil
	}
	return &quarantineAnswer{Since: wireTime(*t.QuarantinedAt), By: t.QuarantinedBy, Cause: t.QuarantineCause, Explanation: aboutQuarantine}
}

func (s *server) neutralise(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	name, err := pathName(r)
	if err != nil {
		return err
	}
	c, err := s.deps.Tenants.Neutralise(r.Context(), p, s.clientIP(r), name)
	if err != nil {
		return err
	}
	return s.replyTransition(w, r, p, c, wording{"Client " + name + " has been neutralised", "Client " + name + " is being neutralised"})
}

func (s *server) release(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	name, err := pathName(r)
	if err != nil {
		return err
	}
	var in releaseRequest
	if err := s.decodeOptional(w, r, &in); err != nil {
		return err
	}
	c, err := s.deps.Tenants.Release(r.Context(), p, s.clientIP(r), name, in.Confirm)
	if err != nil {
		return err
	}
	return s.replyTransition(w, r, p, c, wording{"Client " + name + " is a live one now", "Client " + name + " is a live one now and is being started anew"})
}

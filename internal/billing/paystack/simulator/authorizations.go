package simulator

import (
	"encoding/json"
	"net/http"
	"time"
)

// authorization is a card as it was saved for one customer.
type authorization struct {
	ID        int64     `json:"id"`
	Code      string    `json:"code"` // AUTH_…
	Email     string    `json:"email"`
	Card      string    `json:"card"`
	Active    bool      `json:"active"`
	CreatedAt time.Time `json:"created_at"`
}

// mint makes a new code, also for a card that has one: each use may.
func (s *Simulator) mint(d *store, email string, c card) *authorization {
	a := &authorization{ID: s.nextID(), Code: "AUTH_" + s.code(10), Email: email, Card: c.Number, Active: true, CreatedAt: s.now()}
	d.Authorizations = append(d.Authorizations, a)
	d.byAuthCode[a.Code] = a
	return a
}

func (a *authorization) render() any {
	c, _ := findCard(a.Card)
	return authorizationOf(a.Code, c)
}

func (a *authorization) reusable() bool {
	c, ok := findCard(a.Card)
	return ok && c.Reusable
}

// newestAuthorization is what a subscription takes when none is named.
func (d *store) newestAuthorization(email string) *authorization {
	for i := len(d.Authorizations) - 1; i >= 0; i-- {
		if a := d.Authorizations[i]; a.Email == email && a.Active && a.reusable() {
			return a
		}
	}
	return nil
}

// deactivate leaves "reusable" as it was in old answers: they are snapshots.
func (s *Simulator) deactivate(d *store, _ string, r *http.Request) answer {
	in, _ := fields(r)
	a := d.byAuthCode[text(in["authorization_code"])]
	if a == nil {
		return failure(http.StatusNotFound, "Authorization code not found.", "not_found", "")
	}
	a.Active = false
	s.noteLocked("deactivated", map[string]any{"email": a.Email})
	return success("Authorization has been deactivated", nil)
}

// chargeAuthorization creates nothing when it refuses. A decline is a success of the call.
func (s *Simulator) chargeAuthorization(d *store, domain string, r *http.Request) answer {
	in, ok := fields(r)
	if !ok {
		return failure(http.StatusBadRequest, "Invalid request body", "invalid_params", "Send a JSON object")
	}
	t, bad := s.newTransaction(d, domain, in)
	if bad != nil {
		return *bad
	}
	a, bad := chargeable(d, in["authorization_code"], t.Email)
	if bad != nil {
		return *bad
	}
	s.open(d, t)
	t.Card, t.Channel, t.GatewayResponse = a.Card, "card", ""
	if s.takeFor(ChargePaused, t.Email) != nil {
		t.Status, t.Challenge = "ongoing", &challenge{Card: a.Card, AuthCode: a.Code}
		return success("Charge attempted", map[string]any{
			"authorization_url": s.publicURL(r) + "/checkout/" + t.AccessCode, "reference": t.Reference, "access_code": t.AccessCode, "paused": true,
		})
	}
	t.SavedCode = a.Code
	if f := s.takeFor(ChargePending, t.Email); f != nil {
		t.Status = "pending"
		s.schedule(timer{At: s.now().Add(time.Duration(f.Delay)), Kind: chargeDecided, Domain: domain, ID: t.ID})
	} else {
		s.decideCharge(d, t)
	}
	return success("Charge attempted", s.render(d, t, s.takeLocked(LooseTypes, "charge") != nil))
}

func chargeable(d *store, code json.RawMessage, email string) (*authorization, *answer) {
	refuse := func(message, code string) (*authorization, *answer) {
		a := failure(http.StatusBadRequest, message, code, "")
		return nil, &a
	}
	if text(code) == "" {
		return refuse("Authorization code is required", "missing_params")
	}
	a := d.byAuthCode[text(code)]
	switch {
	case a == nil:
		return refuse("Authorization code is invalid", "invalid_params")
	case a.Email != email || !a.Active || !a.reusable():
		return refuse("Email does not match Authorization code. Authorization may be inactive or belong to a different email. Please confirm.",
			"invalid_params")
	}
	return a, nil
}

// decideCharge is the bank's answer about a saved card.
func (s *Simulator) decideCharge(d *store, t *transaction) {
	a := d.byAuthCode[t.SavedCode]
	if f := s.takeFor(ChargeDecline, t.Email); f != nil || a == nil || !a.Active {
		reason := "Insufficient Funds"
		if f != nil && f.Reason != "" {
			reason = f.Reason
		}
		s.decline(t, reason, true)
		return
	}
	c, _ := findCard(a.Card)
	if s.takeFor(AuthorizationRotates, t.Email) != nil {
		a = s.mint(d, t.Email, c)
	}
	s.settle(t, c, a.Code, "Approved")
}

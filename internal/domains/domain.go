package domains

import (
	"time"

	"controlplane/internal/tenants"
)

// ID identifies a claim; a domain that is claimed again gets another.
type ID int64

// Status is how far a claim is.
type Status string

// The statuses.
const (
	Pending     Status = "pending"     // claimed, not proven: nothing is routed
	Live        Status = "live"        // proven, and it leads to us
	Misdirected Status = "misdirected" // proven once, but the last check found something wrong; it is still routed
)

// Domain is one client's claim to a domain.
type Domain struct {
	ID          ID
	TenantID    tenants.ID
	Name        string // as DNS has it: lower case, punycode, no final dot
	Display     string // in its own script
	Token       string // that the proof bears
	Status      Status
	ReasonCode  string // what the latest check found wrong; "": nothing
	Reason      string // the same for the owner
	CreatedAt   time.Time
	ExpiresAt   *time.Time // of a pending one
	VerifiedAt  *time.Time // when it was proven
	FlaggedAt   *time.Time // since when it is misdirected
	CheckedAt   *time.Time
	NextCheckAt time.Time
}

// Record is one line that belongs into the DNS of a domain.
type Record struct {
	Type  string // TXT, CNAME, A, AAAA, or ALIAS where only a name can be given for a domain that can't have a CNAME
	Name  string
	Value string
}

const (
	// proofLabel stands in front of a domain, since one that is an alias can't have records of its own.
	proofLabel  = "_odoo-hosting"
	proofPrefix = "odoo-hosting-verification="
)

func (d Domain) proofName() string  { return proofLabel + "." + d.Name }
func (d Domain) proofValue() string { return proofPrefix + d.Token }

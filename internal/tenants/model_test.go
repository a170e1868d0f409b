package tenants_test

import (
	"slices"
	"time"

	"controlplane/internal/accounts"
	"controlplane/internal/tenants"
)

// twin is what a tenant should be: the state machine written down once more, as simply as possible and without a database.
type twin struct {
	id    tenants.ID
	name  string
	owner accounts.Principal

	state, desired, by, back string
	paid                     bool // by money, or by an administrator's word
	payBy, deleteAt          time.Time
	live, queued             string // kinds of operation
	held                     bool
	plan                     string
}

func (m *twin) next(kind string) {
	if m.live == "" || m.held {
		m.live, m.held = kind, false
		return
	}
	m.queued = kind
}

func (m *twin) ensure(kind string) {
	last := m.live
	if m.held {
		last = ""
	}
	if m.queued != "" {
		last = m.queued
	}
	if last != kind {
		m.next(kind)
	}
}

func (m *twin) is(states ...string) bool { return slices.Contains(states, m.state) }

func (m *twin) suspend(by string) string {
	overruled := m.by == "owner" && by != "owner"
	switch {
	case m.is("scheduled_for_deletion") && (by == "billing" || by == "quota") && m.desired == "deleted" &&
		(m.back == "active" || m.back == "suspended" && overruled):
		m.back, m.by = "suspended", by
		return ""
	case !m.is("active", "sleeping", "suspended"):
		return "state_conflict"
	case m.desired == "suspended" && m.state == "suspended":
		switch {
		case overruled:
			m.by = by
			m.stopping(tenants.SuspendKind)
		case m.by != by || !m.stopping(tenants.SuspendKind):
			return "already_suspended"
		}
		return ""
	}
	if m.desired == "active" || overruled {
		m.by = by
	}
	m.desired = "suspended"
	m.ensure(tenants.SuspendKind)
	return ""
}

// stopping begins a held stop again, and reports whether the tenant still has to stop.
func (m *twin) stopping(kind string) bool {
	last := m.live
	if m.queued != "" {
		last = m.queued
	}
	if last != tenants.SuspendKind && last != tenants.StopKind {
		return false
	}
	if m.held {
		m.next(kind)
	}
	return true
}

func (m *twin) resume(by string) string {
	system := by == "billing" || by == "quota"
	switch {
	case m.is("scheduled_for_deletion") && system && m.back == "suspended" && m.by == by:
		m.back, m.by = "active", ""
		return ""
	case m.is("scheduled_for_deletion", "deleting", "deleted"):
		return "state_conflict"
	case !m.paid:
		return "payment_required"
	case m.state != "suspended" && m.desired != "suspended":
		return "not_suspended"
	case system && m.by != by:
		return "suspended_by_other"
	case m.state == "suspended" && m.desired == "active":
		m.ensure(tenants.ResumeKind)
		return ""
	case by == "owner" && m.by != "owner":
		return "suspended_by_other"
	}
	if m.state != "suspended" {
		m.by = ""
	}
	m.desired = "active"
	m.next(tenants.ResumeKind)
	return ""
}

func (m *twin) schedule(at time.Time) string {
	switch {
	case m.is("deleting", "deleted"):
		return "already_deleted"
	case m.is("provisioning"):
		return "state_conflict"
	case m.is("scheduled_for_deletion") && m.desired == "deleted":
		m.stopping(tenants.StopKind)
		return ""
	case m.is("scheduled_for_deletion"):
	case m.is("pending", "failed"):
		m.back = m.state
	default:
		m.back = m.desired
	}
	if m.back == "active" {
		m.by = ""
	}
	m.state, m.desired, m.deleteAt = "scheduled_for_deletion", "deleted", at
	if m.back != "pending" {
		m.next(tenants.StopKind)
	}
	return ""
}

func (m *twin) cancel(now time.Time) string {
	switch {
	case m.is("deleting"):
		return "deletion_begun"
	case !m.is("scheduled_for_deletion"):
		return "not_scheduled"
	case m.desired == "active":
		m.ensure(tenants.ResumeKind)
		return ""
	case !now.Before(m.deleteAt):
		return "deletion_begun"
	}
	m.deleteAt = time.Time{}
	switch m.back {
	case "active":
		m.desired = "active"
		m.next(tenants.ResumeKind)
		return ""
	case "suspended":
		m.desired = "suspended"
	default:
		m.desired = "active"
	}
	m.state, m.back = m.back, ""
	if m.state == "suspended" {
		m.stopping(tenants.SuspendKind)
	}
	return ""
}

func (m *twin) remove(admin bool) string {
	if !admin {
		return "admin_only"
	}
	if m.state == "deleting" {
		m.ensure(tenants.DeleteKind)
		return ""
	}
	m.gone()
	return ""
}

func (m *twin) gone() {
	m.desired, m.by, m.back = "deleted", "", ""
	if !m.paid {
		m.state = "deleted"
		return
	}
	m.state = "deleting"
	m.next(tenants.DeleteKind)
}

func (m *twin) activate(admin bool) string {
	switch {
	case m.is("active") && m.desired == "active", m.is("provisioning"):
		return ""
	case m.is("pending") && !admin:
		return "payment_required"
	case m.is("failed") && !admin:
		return "admin_only"
	case !m.is("pending", "failed"):
		return "state_conflict"
	}
	m.state, m.paid = "provisioning", true
	m.next(tenants.ProvisionKind)
	return ""
}

func (m *twin) pay() {
	if m.is("pending") {
		m.state, m.paid = "provisioning", true
		m.next(tenants.ProvisionKind)
	}
}

func (m *twin) change(plan string, admin bool) string {
	atRest := m.is("active", "sleeping") && m.desired == "active" || m.is("suspended") && m.desired == "suspended"
	switch {
	case m.plan == plan:
		return ""
	case !m.is("pending") && !admin:
		return "plan_locked"
	case !m.is("pending", "failed") && !atRest:
		return "state_conflict"
	}
	m.plan = plan
	if atRest {
		m.next(tenants.ResizeKind)
	}
	return ""
}

// work ends the live operation.
func (m *twin) work(end string) {
	kind := m.live
	switch {
	case end == "cut short":
	case kind == tenants.ProvisionKind && m.is("provisioning"):
		m.state = "active"
	case kind == tenants.SuspendKind && m.desired == "suspended" && m.is("active", "sleeping"):
		m.state = "suspended"
	case kind == tenants.ResumeKind && m.desired == "active" && m.is("suspended", "sleeping", "scheduled_for_deletion"):
		m.state, m.by, m.back = "active", "", ""
	case kind == tenants.DeleteKind:
		m.state = "deleted"
	}
	m.live, m.queued = m.queued, ""
}

package prove_test

import (
	"net/http"
	"slices"
)

// modelled is a client as the rules say it is, told from what was asked of it alone. There is no other knowledge of the code under test.
type modelled struct {
	tenant

	state  string // while nothing is going on
	paid   bool
	by     string // who suspended it
	back   string // where a cancelled deletion leads
	late   bool   // its payment deadline has passed
	due    bool   // its deletion's time has come
	page   string // of an open checkout
	wanted bool   // an administrator or its owner asked for its deletion, or it was never paid for
	free   bool   // an administrator activated it
	credit bool   // money came for it when it couldn't start
}

// expect is what the rules say to a command: one of the statuses, and the client afterwards.
type expect struct {
	statuses []int
	after    modelled
}

func refused(m modelled, statuses ...int) expect { return expect{statuses: statuses, after: m} }

func granted(m modelled, change func(*modelled)) expect {
	change(&m)
	return expect{statuses: []int{http.StatusOK, http.StatusAccepted}, after: m}
}

func (m modelled) suspend(admin bool) expect {
	by := "owner"
	if admin {
		by = "admin"
	}
	switch {
	case m.state == "deleted":
		return refused(m, http.StatusNotFound)
	case m.state == "suspended" && m.by == "owner" && admin:
		return granted(m, func(n *modelled) { n.by = by })
	case m.state == "suspended":
		return refused(m, http.StatusBadRequest)
	case m.state != "active":
		return refused(m, http.StatusConflict)
	}
	return granted(m, func(n *modelled) { n.state, n.by = "suspended", by })
}

func (m modelled) resume(admin bool) expect {
	switch {
	case m.state == "deleted":
		return refused(m, http.StatusNotFound)
	case m.state == "scheduled_for_deletion":
		return refused(m, http.StatusConflict)
	case m.state == "pending":
		return refused(m, http.StatusPaymentRequired)
	case m.state != "suspended":
		return refused(m, http.StatusBadRequest)
	case !admin && m.by != "owner":
		return refused(m, http.StatusForbidden)
	}
	return granted(m, func(n *modelled) { n.state, n.by = "active", "" })
}

func (m modelled) schedule() expect {
	switch m.state {
	case "deleted":
		return refused(m, http.StatusNotFound, http.StatusBadRequest)
	case "scheduled_for_deletion":
		return refused(m, http.StatusOK, http.StatusAccepted) // the first time stays
	}
	return granted(m, func(n *modelled) { n.back, n.state, n.due = m.state, "scheduled_for_deletion", false })
}

func (m modelled) cancel() expect {
	switch {
	case m.state == "deleted":
		return refused(m, http.StatusNotFound)
	case m.state != "scheduled_for_deletion":
		return refused(m, http.StatusBadRequest)
	case m.due:
		return refused(m, http.StatusConflict)
	}
	return granted(m, func(n *modelled) { n.state, n.back = m.back, "" })
}

func (m modelled) activate(admin bool) expect {
	switch {
	case m.state == "deleted":
		return refused(m, http.StatusNotFound)
	case m.state == "active":
		return refused(m, http.StatusOK, http.StatusAccepted)
	case m.state != "pending":
		return refused(m, http.StatusConflict)
	case !admin:
		return refused(m, http.StatusPaymentRequired)
	}
	return granted(m, func(n *modelled) { n.state, n.paid, n.free = "active", true, true })
}

func (m modelled) remove(admin bool) expect {
	switch {
	case m.state == "deleted":
		return refused(m, http.StatusNotFound, http.StatusForbidden)
	case !admin:
		return refused(m, http.StatusForbidden)
	}
	return granted(m, func(n *modelled) { n.state, n.wanted = "deleted", true })
}

// money is what follows from a payment for it that has gone through: a client that waits for it starts, any other gets a credit.
func (m modelled) money() modelled {
	m.page = ""
	if m.state == "pending" {
		m.state, m.paid = "active", true
	} else {
		m.credit = true
	}
	return m
}

// sweep is what the clean-up does to it. For whom there is money is never given up.
func (m modelled) sweep() modelled {
	switch {
	case m.state == "pending" && m.late && !m.credit:
		m.state, m.wanted = "deleted", true
	case m.state == "scheduled_for_deletion" && m.due:
		m.state, m.wanted = "deleted", true
	}
	return m
}

// jump is a day that passes.
func (m modelled) jump() modelled {
	m.late = true // the deadline is a day after creation, and doesn't move while a deletion is scheduled
	m.due = m.due || m.state == "scheduled_for_deletion"
	return m
}

// lawful are the moves of the state machine, written down from the rules once more.
func lawful(from, to string) bool {
	moves := map[string][]string{
		"":             {"pending"},
		"pending":      {"provisioning", "scheduled_for_deletion", "deleted"},
		"provisioning": {"active", "failed", "deleting"},
		"active":       {"suspended", "scheduled_for_deletion", "deleting"},
		"suspended":    {"active", "scheduled_for_deletion", "deleting"},
		"failed":       {"provisioning", "active", "scheduled_for_deletion", "deleting"},
		"scheduled_for_deletion": {
			"pending", "active", "suspended", "failed", "deleting", "deleted",
		},
		"deleting": {"deleted"},
	}
	return slices.Contains(moves[from], to)
}

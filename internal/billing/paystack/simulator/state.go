package simulator

import (
	"cmp"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const firstID = 4_300_000_000 // ids went beyond 32 bits in 2022

// state is all that survives a restart. Test and live never see each other.
type state struct {
	Counter    uint64            `json:"counter"`
	Domains    map[string]*store `json:"domains"`
	Deliveries []*Delivery       `json:"deliveries"`
	Timers     []timer           `json:"timers,omitempty"` // by time
}

// store is one integration in one mode.
type store struct {
	Transactions   []*transaction       `json:"transactions"` // in the order they were made, as all lists are
	Customers      map[string]*customer `json:"customers"`    // by e-mail, which is the identity at Paystack
	Authorizations []*authorization     `json:"authorizations,omitempty"`
	Refunds        []*refund            `json:"refunds,omitempty"`
	Disputes       []*dispute           `json:"disputes,omitempty"`
	Plans          []*plan              `json:"plans,omitempty"`
	Subscriptions  []*subscription      `json:"subscriptions,omitempty"`

	byReference map[string]*transaction
	byAccess    map[string]*transaction
	byAuthCode  map[string]*authorization
}

type transaction struct {
	ID              int64           `json:"id"`
	Domain          string          `json:"domain"`
	Reference       string          `json:"reference"`
	AccessCode      string          `json:"access_code"`
	Status          string          `json:"status"`
	Amount          int64           `json:"amount"`
	Requested       int64           `json:"requested"`
	Currency        string          `json:"currency"`
	Email           string          `json:"email"`
	Label           string          `json:"label,omitempty"`
	CallbackURL     string          `json:"callback_url,omitempty"`
	CancelURL       string          `json:"cancel_url,omitempty"`
	Metadata        json.RawMessage `json:"metadata,omitempty"` // an object, or nothing
	Channel         string          `json:"channel,omitempty"`
	GatewayResponse string          `json:"gateway_response,omitempty"`
	Message         string          `json:"message,omitempty"`
	PaidAt          *time.Time      `json:"paid_at,omitempty"`
	CreatedAt       time.Time       `json:"created_at"`
	Fees            *int64          `json:"fees,omitempty"`
	Card            string          `json:"card,omitempty"`      // number of the test card that paid
	AuthCode        string          `json:"auth_code,omitempty"` // AUTH_…
	Challenge       *challenge      `json:"challenge,omitempty"`
	Attempts        int             `json:"attempts"`
	Errors          int             `json:"errors"`
	History         []historyEntry  `json:"history,omitempty"`
	SavedCode       string          `json:"saved_code,omitempty"` // AUTH_…, that is charged
	PlanCode        string          `json:"plan_code,omitempty"`  // PLN_…, of a subscription's payments
	Lost            bool            `json:"lost,omitempty"`       // to a dispute
}

func (t *transaction) identity() int64 { return t.ID }

type historyEntry struct {
	Type    string `json:"type"`
	Message string `json:"message"`
	Time    int64  `json:"time"` // seconds since it was made
}

func newState() state { return state{Domains: map[string]*store{}} }

// domain returns the store of a mode, made when it is first asked for.
func (st *state) domain(name string) *store {
	d := st.Domains[name]
	if d == nil {
		d = &store{}
		st.Domains[name] = d
	}
	if d.Customers == nil {
		d.Customers = map[string]*customer{}
	}
	if d.byReference == nil {
		d.index()
	}
	return d
}

func (d *store) index() {
	d.byReference, d.byAccess, d.byAuthCode = map[string]*transaction{}, map[string]*transaction{}, map[string]*authorization{}
	for _, a := range d.Authorizations {
		d.byAuthCode[a.Code] = a
	}
	for _, t := range d.Transactions {
		d.byReference[t.Reference], d.byAccess[t.AccessCode] = t, t
		if t.AuthCode != "" && d.byAuthCode[t.AuthCode] == nil { // saved before authorizations were
			a := &authorization{Code: t.AuthCode, Email: t.Email, Card: t.Card, Active: true, CreatedAt: t.CreatedAt}
			d.Authorizations = append(d.Authorizations, a)
			d.byAuthCode[a.Code] = a
		}
	}
}

func (d *store) add(t *transaction) {
	d.Transactions = append(d.Transactions, t)
	d.byReference[t.Reference], d.byAccess[t.AccessCode] = t, t
}

// byID relies on ids growing in the order of the list.
func byID[T interface{ identity() int64 }](list []T, id int64) (T, bool) {
	i, found := slices.BinarySearchFunc(list, id, func(v T, id int64) int { return cmp.Compare(v.identity(), id) })
	if !found {
		var none T
		return none, false
	}
	return list[i], true
}

// named finds what the path of a request names by its id.
func named[T interface{ identity() int64 }](r *http.Request, list []T, what string) (T, *answer) {
	id, _ := strconv.ParseInt(r.PathValue("id"), 10, 64) // another text finds nothing
	v, ok := byID(list, id)
	if !ok {
		a := failure(http.StatusNotFound, what+" not found", "not_found", "")
		return v, &a
	}
	return v, nil
}

// find looks through both modes, for the checkout page and the admin API.
func (st *state) find(in func(*store) *transaction) *transaction {
	for _, name := range modes() {
		if t := in(st.domain(name)); t != nil {
			return t
		}
	}
	return nil
}

func modes() []string { return []string{"test", "live"} }

func (s *Simulator) findReference(reference string) (*transaction, error) {
	t := s.state.find(func(d *store) *transaction { return d.byReference[reference] })
	if t == nil {
		return nil, fmt.Errorf("no transaction %q", reference)
	}
	return t, nil
}

// nextID counts over everything, so that no two objects share an id.
func (s *Simulator) nextID() int64 {
	s.state.Counter++
	return firstID + int64(s.state.Counter) //nolint:gosec // a counter doesn't get there
}

// code returns n lower-case letters and digits that depend on the seed and on how many were made before.
func (s *Simulator) code(n int) string {
	s.state.Counter++
	var seed [16]byte
	binary.BigEndian.PutUint64(seed[:8], s.opts.Seed)
	binary.BigEndian.PutUint64(seed[8:], s.state.Counter)
	sum := sha256.Sum256(seed[:])
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:]))[:n]
}

func loadState(path string) (state, error) {
	st := newState()
	if path == "" {
		return st, nil
	}
	text, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if errors.Is(err, fs.ErrNotExist) {
		return st, nil
	}
	if err != nil {
		return st, fmt.Errorf("read the simulator's state: %w", err)
	}
	if err := json.Unmarshal(text, &st); err != nil {
		return st, fmt.Errorf("read the simulator's state from %s: %w", filepath.Base(path), err)
	}
	if st.Domains == nil {
		st.Domains = map[string]*store{}
	}
	for _, d := range st.Deliveries {
		d.inFlight = false
	}
	return st, nil
}

// save writes the state as a whole; the caller holds mu. A simulator that can't save goes on: it says so and forgets at the end.
func (s *Simulator) save() {
	if s.opts.StateFile == "" {
		return
	}
	text, err := json.Marshal(s.state)
	if err == nil {
		err = writeFile(s.opts.StateFile, text)
	}
	if err != nil {
		s.opts.Log.Error("save the simulator's state", "error", err)
	}
}

func writeFile(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	temporary := path + ".new"
	if err := os.WriteFile(temporary, text, 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}

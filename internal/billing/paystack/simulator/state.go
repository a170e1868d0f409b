package simulator

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const firstID = 4_300_000_000 // ids went beyond 32 bits in 2022

// state is all that survives a restart. Test and live never see each other.
type state struct {
	Counter    uint64            `json:"counter"`
	Domains    map[string]*store `json:"domains"`
	Deliveries []*Delivery       `json:"deliveries"`
}

// store is one integration in one mode.
type store struct {
	Transactions []*transaction       `json:"transactions"` // in the order they were made
	Customers    map[string]*customer `json:"customers"`    // by e-mail, which is the identity at Paystack

	byReference map[string]*transaction
}

type customer struct {
	ID    int64  `json:"id"`
	Code  string `json:"code"`
	Email string `json:"email"`
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
}

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
		d.byReference = map[string]*transaction{}
		for _, t := range d.Transactions {
			d.byReference[t.Reference] = t
		}
	}
	return d
}

func (d *store) byID(id int64) *transaction {
	for _, t := range d.Transactions {
		if t.ID == id {
			return t
		}
	}
	return nil
}

// find looks through all modes, for the checkout page and the admin API.
func (st *state) find(match func(*transaction) bool) *transaction {
	for name := range st.Domains {
		for _, t := range st.domain(name).Transactions {
			if match(t) {
				return t
			}
		}
	}
	return nil
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

func (s *Simulator) customerOf(d *store, email string) *customer {
	c := d.Customers[email]
	if c == nil {
		c = &customer{ID: s.nextID(), Code: "CUS_" + s.code(15), Email: email}
		d.Customers[email] = c
	}
	return c
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

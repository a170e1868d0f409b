package simulator

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// AdminHandler serves the switches and the journal. It has no password: it belongs on loopback, on a port apart from Handler's.
// Bodies have to be JSON by their content type, which keeps other sites' forms in a browser out.
func (s *Simulator) AdminHandler() http.Handler {
	mux := http.NewServeMux()
	get := func(path string, read func() any) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, read()) })
	}
	get("/transactions", func() any { return s.transactions() })
	get("/deliveries", func() any { return s.Deliveries() })
	get("/faults", func() any { return s.Faults() })
	get("/journal", func() any { return s.Journal() })
	get("/refunds", func() any { return s.Refunds() })
	get("/disputes", func() any { return s.Disputes() })
	get("/subscriptions", func() any { return s.subscriptions() })
	get("/clock", func() any { return map[string]any{"now": s.now()} })
	mux.HandleFunc("POST /transactions/{reference}/pay", adminPost(func(r *http.Request, in adminInput) error {
		return s.Pay(r.PathValue("reference"), in.Card)
	}))
	mux.HandleFunc("POST /transactions/{reference}/status", adminPost(func(r *http.Request, in adminInput) error {
		return s.SetStatus(r.PathValue("reference"), in.Status)
	}))
	mux.HandleFunc("POST /transactions/{reference}/dispute", adminPost(func(r *http.Request, in adminInput) error {
		_, err := s.OpenDispute(r.PathValue("reference"), in.Category, in.Amount)
		return err
	}))
	mux.HandleFunc("POST /transactions", adminPost(func(_ *http.Request, in adminInput) error { return s.Import(in.Transactions...) }))
	mux.HandleFunc("POST /refunds/{id}/finish", adminPost(byNumber(func(id int64, in adminInput) error { return s.FinishRefund(id, in.Status) })))
	mux.HandleFunc("POST /disputes/{id}/decide", adminPost(byNumber(func(id int64, in adminInput) error { return s.DecideDispute(id, in.Lost) })))
	mux.HandleFunc("POST /deliveries/{id}/resend", adminPost(byNumber(func(id int64, _ adminInput) error { return s.Resend(id) })))
	mux.HandleFunc("POST /events", adminPost(func(_ *http.Request, in adminInput) error {
		s.Send(in.Domain, in.Event, in.Data)
		return nil
	}))
	mux.HandleFunc("POST /faults", adminPost(func(_ *http.Request, in adminInput) error { return s.AddFault(in.Fault) }))
	mux.HandleFunc("POST /clock", adminPost(func(_ *http.Request, in adminInput) error {
		s.Advance(time.Duration(in.Advance))
		return nil
	}))
	mux.HandleFunc("DELETE /faults", func(w http.ResponseWriter, _ *http.Request) {
		s.ClearFaults()
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}

// adminInput is the union of all bodies.
type adminInput struct {
	Fault
	Card         string     `json:"card"`
	Status       string     `json:"status"`
	Category     string     `json:"category"`
	Lost         bool       `json:"lost"`
	Domain       string     `json:"domain"`
	Event        string     `json:"event"`
	Data         any        `json:"data"`
	Advance      Duration   `json:"advance"`
	Transactions []Imported `json:"transactions"`
}

func byNumber(do func(id int64, in adminInput) error) func(*http.Request, adminInput) error {
	return func(r *http.Request, in adminInput) error {
		id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
		if err != nil {
			return errors.New("the id must be a number")
		}
		return do(id, in)
	}
}

func adminPost(do func(r *http.Request, in adminInput) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
			writeJSON(w, http.StatusUnsupportedMediaType, map[string]string{"error": "send application/json"})
			return
		}
		in := adminInput{Domain: "test"}
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest)).Decode(&in); err != nil {
			writeJSON(w, http.StatusBadRequest, map[string]string{"error": "the body isn't the JSON object that was expected"})
			return
		}
		if err := do(r, in); err != nil {
			writeJSON(w, http.StatusConflict, map[string]string{"error": err.Error()})
			return
		}
		writeJSON(w, http.StatusOK, map[string]bool{"ok": true})
	}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(encode(v), '\n')) // the caller has gone; nothing to do
}

// transactions returns all of them as the API shows them, by mode.
func (s *Simulator) transactions() map[string][]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string][]any{}
	for name := range s.state.Domains {
		d := s.state.domain(name)
		for _, t := range d.Transactions {
			out[name] = append(out[name], s.render(d, t, false))
		}
	}
	return out
}

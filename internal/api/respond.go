package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// wireTime prints in UTC with a trailing Z and microseconds, which is what PostgreSQL keeps.
type wireTime time.Time

// MarshalJSON implements json.Marshaler.
func (t wireTime) MarshalJSON() ([]byte, error) {
	return []byte(`"` + time.Time(t).UTC().Format("2006-01-02T15:04:05.000000Z") + `"`), nil
}

func wireTimePtr(t *time.Time) *wireTime {
	if t == nil {
		return nil
	}
	w := wireTime(*t)
	return &w
}

// reply answers with v as JSON. It encodes before it writes, so that what can't be encoded becomes a proper 500.
func reply(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // a caller who hung up isn't our trouble
	return nil
}

// done is the answer of requests that have nothing to tell but that they worked.
type done struct {
	Success bool   `json:"success"`
	Message string `json:"message"`
}

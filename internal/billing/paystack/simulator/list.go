package simulator

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

const defaultPerPage = 50

// list knows both ways of paging: page and perPage, and cursors.
func (s *Simulator) list(d *store, _ string, r *http.Request) answer {
	q := r.URL.Query()
	found := matching(d, q)
	slices.Reverse(found) // newest first
	perPage := positive(q.Get("perPage"), positive(q.Get("per_page"), defaultPerPage))
	var page []*transaction
	a := success("Transactions retrieved", nil)
	if q.Get("use_cursor") == "true" {
		page, a.meta = cursorPage(found, q, perPage)
	} else {
		page, a.meta = offsetPage(found, positive(q.Get("page"), 1), perPage)
	}
	loose := s.takeLocked(LooseTypes, "list") != nil
	data := make([]any, 0, len(page))
	for _, t := range page {
		data = append(data, s.render(d, t, loose))
	}
	a.data = data
	return a
}

func positive(text string, otherwise int) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return otherwise
	}
	return min(n, 1000)
}

func matching(d *store, q url.Values) []*transaction {
	from, to := parseTime(q.Get("from")), parseTime(q.Get("to"))
	var found []*transaction
	for _, t := range d.Transactions {
		switch {
		case q.Get("status") != "" && q.Get("status") != t.Status,
			q.Get("amount") != "" && q.Get("amount") != strconv.FormatInt(t.Amount, 10),
			q.Get("channel") != "" && q.Get("channel") != t.Channel,
			q.Get("customer") != "" && q.Get("customer") != strconv.FormatInt(d.Customers[t.Email].ID, 10), // a CUS_ code finds nothing
			!from.IsZero() && t.CreatedAt.Before(from),
			!to.IsZero() && t.CreatedAt.After(to):
			continue
		}
		found = append(found, t)
	}
	return found
}

func parseTime(text string) time.Time {
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at
		}
	}
	return time.Time{}
}

func offsetPage(found []*transaction, page, perPage int) ([]*transaction, any) {
	start := min((page-1)*perPage, len(found))
	var volume int64
	for _, t := range found {
		volume += t.Amount
	}
	return found[start:min(start+perPage, len(found))], map[string]any{
		"total": len(found), "total_volume": volume, "skipped": start, "perPage": perPage, "page": page,
		"pageCount": (len(found) + perPage - 1) / perPage,
	}
}

// cursorPage uses the id of the last transaction as the cursor.
func cursorPage(found []*transaction, q url.Values, perPage int) ([]*transaction, any) {
	if after, err := strconv.ParseInt(q.Get("next"), 36, 64); err == nil {
		found = slices.DeleteFunc(found, func(t *transaction) bool { return t.ID >= after })
	}
	meta := map[string]any{"next": nil, "previous": nil, "perPage": perPage}
	if len(found) > perPage {
		found = found[:perPage]
		meta["next"] = strconv.FormatInt(found[perPage-1].ID, 36)
	}
	return found, meta
}

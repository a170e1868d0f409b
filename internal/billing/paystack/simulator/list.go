package simulator

import (
	"cmp"
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
	perPage := positive(q.Get("perPage"), positive(q.Get("per_page"), defaultPerPage))
	var page []*transaction
	a := success("Transactions retrieved", nil)
	if q.Get("use_cursor") == "true" {
		page, a.meta = cursorPage(d, q, perPage)
	} else {
		found := slices.DeleteFunc(slices.Clone(d.Transactions), func(t *transaction) bool { return !matches(d, t, q) })
		slices.Reverse(found) // newest first
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

func matches(d *store, t *transaction, q url.Values) bool {
	return (q.Get("status") == "" || q.Get("status") == t.Status) &&
		(q.Get("amount") == "" || q.Get("amount") == strconv.FormatInt(t.Amount, 10)) &&
		(q.Get("channel") == "" || q.Get("channel") == t.Channel) &&
		numeric(q.Get("customer"), d.Customers[t.Email].ID) &&
		within(t.CreatedAt, q)
}

func within(at time.Time, q url.Values) bool {
	from, to := parseTime(q.Get("from")), parseTime(q.Get("to"))
	return (from.IsZero() || !at.Before(from)) && (to.IsZero() || !at.After(to))
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
	var volume int64
	for _, t := range found {
		volume += t.Amount
	}
	part, meta := pageOf(found, page, perPage)
	meta["total_volume"] = volume
	return part, meta
}

// cursorPage uses the id of the last transaction as the cursor, and looks no further than it must: lists are long.
func cursorPage(d *store, q url.Values, perPage int) ([]*transaction, any) {
	end := len(d.Transactions)
	if after, err := strconv.ParseInt(q.Get("next"), 36, 64); err == nil {
		end, _ = slices.BinarySearchFunc(d.Transactions, after, func(t *transaction, id int64) int { return cmp.Compare(t.ID, id) })
	}
	meta := map[string]any{"next": nil, "previous": nil, "perPage": perPage}
	var found []*transaction
	for i := end - 1; i >= 0; i-- {
		if !matches(d, d.Transactions[i], q) {
			continue
		}
		if len(found) == perPage {
			meta["next"] = strconv.FormatInt(found[perPage-1].ID, 36)
			break
		}
		found = append(found, d.Transactions[i])
	}
	return found, meta
}

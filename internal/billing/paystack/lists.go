package paystack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"controlplane/internal/billing"
)

const (
	perPage    = 100 // a page of transactions stays far below maxAnswer
	pageCursor = "page:"
)

// pageMeta is the union of both ways of paging: some endpoints answer with the other one than was asked for.
type pageMeta struct {
	Next      string
	Page      int64
	PageCount int64
}

// UnmarshalJSON never fails: an answer that doesn't page has a meta of any shape.
func (m *pageMeta) UnmarshalJSON(text []byte) error {
	var o looseObject
	_ = o.UnmarshalJSON(text) // never fails
	*m = pageMeta{Next: o.text("next"), Page: o.number("page"), PageCount: o.number("pageCount")}
	if m.Next == "null" { // as the documentation's sample has it
		m.Next = ""
	}
	return nil
}

// cursor is what gets the next page, "" at the end.
func (m pageMeta) cursor() string {
	switch {
	case m.Next != "":
		return m.Next
	case m.Page > 0 && m.Page < m.PageCount:
		return pageCursor + strconv.FormatInt(m.Page+1, 10)
	}
	return ""
}

// pageQuery asks for the page that a cursor stands for.
func pageQuery(cursor string) url.Values {
	q := url.Values{"perPage": {strconv.Itoa(perPage)}}
	if page, ok := strings.CutPrefix(cursor, pageCursor); ok {
		q.Set("page", page)
		return q
	}
	q.Set("use_cursor", "true")
	setUnlessEmpty(q, "next", cursor)
	return q
}

func setUnlessEmpty(q url.Values, name, value string) {
	if value != "" {
		q.Set(name, value)
	}
}

func setTimes(q url.Values, from, to time.Time) {
	const layout = "2006-01-02T15:04:05.000Z"
	if !from.IsZero() {
		q.Set("from", from.UTC().Format(layout))
	}
	if !to.IsZero() {
		q.Set("to", to.UTC().Format(layout))
	}
}

// Transactions returns up to 100 transactions. One that has neither id nor reference is an error: leaving it out would hide money.
func (c *Client) Transactions(ctx context.Context, f billing.TransactionFilter) (billing.TransactionPage, error) {
	q := pageQuery(f.Cursor)
	setTimes(q, f.From, f.To)
	setUnlessEmpty(q, "status", string(f.Status))
	data, meta, err := c.getPage(ctx, "/transaction?"+q.Encode())
	if err != nil {
		return billing.TransactionPage{}, fmt.Errorf("list transactions: %w", err)
	}
	var list []transaction
	if err := json.Unmarshal(data, &list); err != nil {
		return billing.TransactionPage{}, errors.New("list transactions: paystack: the answer's data can't be read")
	}
	page := billing.TransactionPage{Transactions: make([]billing.Transaction, 0, len(list)), Next: meta.cursor()}
	for _, t := range list {
		if t.ID.value == 0 || t.Reference == "" {
			return billing.TransactionPage{}, errors.New("list transactions: paystack: one of them has no id or no reference")
		}
		page.Transactions = append(page.Transactions, t.billing())
	}
	if page.Next != "" && (page.Next == f.Cursor || len(list) == 0) {
		return billing.TransactionPage{}, errors.New("list transactions: paystack: the pages don't end")
	}
	return page, nil
}

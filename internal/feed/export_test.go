package feed

// ReadSQL lets the tests look at its plan.
const ReadSQL = readSQL

// First is what readSQL is given beside a cursor.
func (c Cursor) First() string { return c.first() }

package odoozip

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// rows gives what follows a COPY, up to the line that ends it.
type rows struct {
	r     *bufio.Reader
	rest  []byte // of what was read and not given
	begin bool   // of a line
	ended bool
}

// Read gives as many of the rows as there is room for.
func (s *rows) Read(p []byte) (int, error) {
	if s.ended && len(s.rest) == 0 {
		return 0, io.EOF
	}
	if len(s.rest) == 0 {
		piece, err := s.r.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			if s.begin && string(bytes.TrimRight(piece, "\r\n")) == `\.` {
				s.ended = true
				return 0, io.EOF
			}
			return 0, ErrCutOff
		case err != nil:
			return 0, err
		}
		if s.begin && err == nil && string(bytes.TrimRight(piece, "\r\n")) == `\.` {
			s.ended = true
			return 0, io.EOF
		}
		s.begin, s.rest = err == nil, piece
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

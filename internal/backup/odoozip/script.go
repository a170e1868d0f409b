package odoozip

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"controlplane/internal/errs"
)

// What is wrong with a dump.sql; all are safe to show.
var (
	ErrCommand   = errs.New(errs.Invalid, "import_psql_command", "The dump.sql holds a command for the program psql, which Odoo's own backups don't; it isn't taken in.")
	ErrStatement = errs.New(errs.Invalid, "import_statement", "The dump.sql holds a statement that isn't part of a database's backup; it isn't taken in.")
	ErrCutOff    = errs.New(errs.Invalid, "import_cut_off", "The dump.sql ends in the middle of a statement.")
)

// maxStatement bounds what is held in memory: rows are not part of a statement.
const maxStatement = 32 << 20

// Statement is one of a script.
type Statement struct {
	SQL  string    // without comments and the final semicolon
	Rows io.Reader // what a COPY … FROM stdin reads; nil for all others. It ends where the next statement is read
}

// Script takes a dump apart into what is sent to a server one by one, as psql would, but without psql: a backslash outside of texts is an
// error and nothing else. What it takes for a statement needs no trust, since the server reads each again.
type Script struct {
	r    *bufio.Reader
	rows *rows
}

// NewScript reads a dump from r.
func NewScript(r io.Reader) *Script { return &Script{r: bufio.NewReaderSize(r, 64<<10)} }

// Next returns the next statement that has to be run; io.EOF after the last. What only says whose things are, or is there in every
// database, is left out. Errors: ErrCommand, ErrStatement, ErrCutOff, and the reader's.
func (s *Script) Next() (Statement, error) {
	for {
		if s.rows != nil {
			if _, err := io.Copy(io.Discard, s.rows); err != nil {
				return Statement{}, err
			}
			s.rows = nil
		}
		text, err := s.statement()
		if err != nil {
			return Statement{}, err
		}
		switch judge(text) {
		case forbidden:
			return Statement{}, ErrStatement.WithCause(fmt.Errorf("statement %.60q", text))
		case needless:
			continue
		case copies:
			if err := s.endLine(); err != nil {
				return Statement{}, err
			}
			s.rows = &rows{r: s.r, begin: true}
			return Statement{SQL: text, Rows: s.rows}, nil
		case ordinary:
			return Statement{SQL: text}, nil
		}
	}
}

// endLine wants nothing more on the line of a COPY.
func (s *Script) endLine() error {
	line, err := s.r.ReadSlice('\n')
	if err != nil || len(bytes.TrimSpace(line)) > 0 {
		return ErrStatement.WithCause(errors.Join(errors.New("rows don't begin on a line of their own"), err))
	}
	return nil
}

// lexer collects one statement.
type lexer struct {
	r     *bufio.Reader
	out   bytes.Buffer
	depth int // of parentheses
	words keywords
}

func (s *Script) statement() (string, error) {
	l := &lexer{r: s.r}
	for {
		done, err := l.next()
		switch {
		case errors.Is(err, io.EOF) && len(bytes.TrimSpace(l.out.Bytes())) == 0:
			return "", io.EOF
		case errors.Is(err, io.EOF):
			return "", ErrCutOff
		case err != nil:
			return "", err
		case l.out.Len() > maxStatement:
			return "", ErrStatement.WithCause(errors.New("it is too long"))
		case done && len(bytes.TrimSpace(l.out.Bytes())) > 0:
			return string(bytes.TrimSpace(l.out.Bytes())), nil
		}
	}
}

// next reads one character, text, name or comment.
func (l *lexer) next() (done bool, err error) {
	c, err := l.r.ReadByte()
	if err != nil {
		return false, err
	}
	l.words.read(c, l.out.Bytes(), l.depth > 0)
	switch c {
	case ';':
		if l.depth <= 0 && l.words.bodies == 0 {
			return true, nil
		}
	case '(':
		l.depth++
	case ')':
		l.depth--
	case '\'':
		return false, l.quoted(c, l.escapes())
	case '"':
		return false, l.quoted(c, false)
	case '$':
		return false, l.dollar()
	case '\\':
		return false, l.command()
	case '-', '/':
		if comment, err := l.comment(c); comment || err != nil {
			return false, err
		}
	}
	return false, l.out.WriteByte(c)
}

// escapes reports whether the text that begins is of the kind E'…'.
func (l *lexer) escapes() bool {
	b := l.out.Bytes()
	n := len(b)
	return n > 0 && (b[n-1] == 'e' || b[n-1] == 'E') && (n == 1 || !isWord(b[n-2]))
}

func isWord(c byte) bool {
	return c == '_' || c == '$' || c >= 0x80 || ('0' <= c && c <= '9') || ('a' <= c && c <= 'z') || ('A' <= c && c <= 'Z')
}

// quoted reads up to the closing quote. A doubled one closes a text and opens the next, which comes to the same.
func (l *lexer) quoted(quote byte, escapes bool) error {
	l.out.WriteByte(quote)
	for l.out.Len() <= maxStatement {
		c, err := l.r.ReadByte()
		if err != nil {
			return cutOff(err)
		}
		l.out.WriteByte(c)
		if c == '\\' && escapes {
			if c, err = l.r.ReadByte(); err != nil {
				return cutOff(err)
			}
			l.out.WriteByte(c)
			continue
		}
		if c == quote {
			return nil
		}
	}
	return nil // next refuses it
}

func cutOff(err error) error {
	if errors.Is(err, io.EOF) {
		return ErrCutOff
	}
	return err
}

// dollar reads a text between $tag$ and $tag$, or a dollar sign.
func (l *lexer) dollar() error {
	inWord := l.out.Len() > 0 && isWord(l.out.Bytes()[l.out.Len()-1])
	l.out.WriteByte('$')
	if inWord {
		return nil
	}
	tag := []byte{'$'}
	for {
		c, err := l.r.ReadByte()
		if err != nil {
			return cutOff(err)
		}
		if c != '$' && (!isWord(c) || len(tag) > 64) {
			return l.r.UnreadByte()
		}
		l.out.WriteByte(c)
		if tag = append(tag, c); c == '$' {
			break
		}
	}
	if len(tag) > 2 && '0' <= tag[1] && tag[1] <= '9' { // "$1$" is a parameter
		return nil
	}
	begin := l.out.Len()
	for l.out.Len() <= maxStatement {
		c, err := l.r.ReadByte()
		if err != nil {
			return cutOff(err)
		}
		l.out.WriteByte(c)
		if c == '$' && l.out.Len()-begin >= len(tag) && bytes.HasSuffix(l.out.Bytes(), tag) {
			return nil
		}
	}
	return nil // next refuses it
}

// comment leaves out what follows "--" or is between "/*" and "*/".
func (l *lexer) comment(c byte) (bool, error) {
	second := map[byte]byte{'-': '-', '/': '*'}[c]
	if ahead, err := l.r.Peek(1); err != nil || ahead[0] != second {
		return false, nil //nolint:nilerr // the next read finds it again
	}
	_, _ = l.r.Discard(1) // it was just seen
	l.out.WriteByte(' ')
	if c == '-' {
		return true, skipLine(l.r)
	}
	depth, last := 1, byte(0)
	for depth > 0 {
		c, err := l.r.ReadByte()
		if err != nil {
			return true, cutOff(err)
		}
		switch {
		case last == '/' && c == '*':
			depth, last = depth+1, 0
		case last == '*' && c == '/':
			depth, last = depth-1, 0
		default:
			last = c
		}
	}
	return true, nil
}

func skipLine(r *bufio.Reader) error {
	for {
		_, err := r.ReadSlice('\n')
		if !errors.Is(err, bufio.ErrBufferFull) {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// command refuses psql's commands. pg_dump writes two of them, which keep psql from running any, around all the rest; they are left out.
func (l *lexer) command() error {
	line, err := l.r.ReadSlice('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return ErrCommand.WithCause(err)
	}
	word, _, _ := bytes.Cut(bytes.TrimSpace(line), []byte(" "))
	if len(bytes.TrimSpace(l.out.Bytes())) == 0 && (string(word) == "restrict" || string(word) == "unrestrict") {
		return nil
	}
	return ErrCommand.WithCause(fmt.Errorf(`\%.20q`, line))
}

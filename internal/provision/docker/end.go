package docker

import (
	"bytes"
	"io"

	"controlplane/internal/secrets"
)

// end passes on what a program writes but for a mark that follows when it has ended well. A stream that doesn't end with it was cut.
type end struct {
	to   io.Writer
	mark []byte
	held []byte // the last bytes, as many as the mark has: they may be it
}

const markDigits = 32

func newEnd(to io.Writer) *end { return &end{to: to, mark: []byte(secrets.RandomHex(markDigits / 2))} }

// after has the command followed by the mark; its exit code stays.
func (e *end) after(command []string) []string {
	return append([]string{"sh", "-c", `mark=$1; shift; "$@" && printf %s "$mark"`, "sh", string(e.mark)}, command...)
}

// Write holds the last bytes back.
func (e *end) Write(p []byte) (int, error) {
	over := len(e.held) + len(p) - len(e.mark)
	if over <= 0 {
		e.held = append(e.held, p...)
		return len(p), nil
	}
	first := min(over, len(e.held))
	if _, err := e.to.Write(e.held[:first]); err != nil {
		return 0, err
	}
	if _, err := e.to.Write(p[:over-first]); err != nil {
		return 0, err
	}
	e.held = append(append([]byte{}, e.held[first:]...), p[over-first:]...)
	return len(p), nil
}

// come reports whether all of it has come.
func (e *end) come() bool { return bytes.Equal(e.held, e.mark) }

// flush gives what was held back of a program that didn't end well.
func (e *end) flush() error {
	_, err := e.to.Write(e.held)
	e.held = nil
	return err
}
